"""Dumps in pg_dump's directory format: a file for each table, written and read by several sessions at once.

pg_dump compresses them itself, by zstd where it was built with that, else by gzip. What belongs to every call
of pg_dump and pg_restore stands here, too.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from umami_ops.archive.streams import plain
from umami_ops.databases.base import WORKING_PREFIX, Introspector
from umami_ops.databases.dumps import Check, Child, FolderDumps, Wanted
from umami_ops.databases.programs import FoundProgram
from umami_ops.databases.transit import Moment
from umami_ops.errors import DatabaseFault, LeftBehind, Refused
from umami_ops.sql import Query

if TYPE_CHECKING:
    from umami_ops.databases.postgresql.connection import PostgresqlConnection

_NOTHING = "Nothing was changed."
_UNFINISHED = "The backup was not made."
_LOOKS_SECONDS = 0.2
#: How the rows of a table end in its file.
_END_OF_ROWS = b"\\.\n\n\n"
#: A table's rows in what pg_restore lists, with the number of its file.
TABLE_DATA = re.compile(r"^(\d+); \d+ \d+ TABLE DATA ", re.MULTILINE)
_ZSTD, _GZIP = "zstd:3", "1"


def what_is_dumped(connection: PostgresqlConnection, moment: Moment | None) -> list[str]:
    """Return pg_dump's options for the tables of the session's schema, at a moment that has a name."""
    assert moment is not None, "PostgreSQL can always freeze a moment"
    quote = connection.dialect.quote
    schema = connection.server().schema
    return [
        "--no-password",
        "--encoding=UTF8",
        "--lock-wait-timeout=30s",
        f"--snapshot={moment.token}",
        f"--schema={quote(schema)}",
        f"--exclude-table={quote(schema)}.{WORKING_PREFIX}*",
    ]


def what_is_restored(schema: str) -> list[str]:
    """Return pg_restore's options: the tables of a schema, for whoever restores them."""
    return [
        "--no-owner",
        "--no-privileges",
        "--no-tablespaces",
        "--no-publications",
        "--no-subscriptions",
        "--no-security-labels",
        f"--schema={schema}",
    ]


def schema_for(connection: PostgresqlConnection, wanted: Wanted) -> str:
    """Return the schema that a dump goes into. Raises Refused where its tables stand in another one."""
    schema = connection.server().schema or connection.url.effective_schema
    if wanted.schema not in ("", schema):
        raise Refused(
            f"The backup's tables stand in schema {wanted.schema}; a dump can't move to schema {schema}.",
            hint=f"Write ?schema={wanted.schema} behind the target's URL, or restore a portable backup.",
            done=_NOTHING,
        )
    return schema


class PostgresqlFolderDumps(FolderDumps["PostgresqlConnection"]):
    """pg_dump and pg_restore with --jobs; `environment` leads them to the server."""

    def __init__(self, dump: FoundProgram, restore: FoundProgram, environment: Mapping[str, str]) -> None:
        self._dump = dump
        self._restore = restore
        self._environment = environment

    @contextmanager
    def dump(
        self, connection: PostgresqlConnection, tables: Sequence[str], folder: Path, jobs: int
    ) -> Iterator[Iterator[int]]:
        """Write the schema by pg_dump, whose sessions all begin at our snapshot."""
        with connection.transit().freeze(tables) as moment:
            command = [str(self._dump.path), "--format=directory", f"--file={folder}", f"--jobs={jobs}"]
            command += [f"--compress={self._compression()}", *what_is_dumped(connection, moment)]
            child = Child(command, self._environment, stdout=subprocess.DEVNULL)
            try:
                yield self._proven(child, folder)
            finally:
                child.stop()

    def _compression(self) -> str:
        """Return the best way that pg_dump was built with: it names one that it lacks before it connects."""
        command = [str(self._dump.path), f"--compress={_ZSTD}", "--file=/dev/null", "--host=/nowhere"]
        said = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        return _GZIP if "compress" in said.stderr else _ZSTD

    def _proven(self, child: Child, folder: Path) -> Iterator[int]:
        """Yield how the folder grows, and make sure at the end that each table's rows have theirs."""
        seen = 0
        while not child.has_ended(_LOOKS_SECONDS):
            size = sum(path.stat().st_size for path in folder.glob("*"))
            yield size - seen
            seen = size
        child.finish(DatabaseFault, _UNFINISHED)
        for number in TABLE_DATA.findall(self._listed(folder)):
            if not _ends_well(folder, f"{number}.dat"):
                raise DatabaseFault(
                    f"{child.name} ended well, but the rows in its file {number}.dat lack their end.",
                    done=_UNFINISHED,
                )

    def _listed(self, folder: Path) -> str:
        """Return pg_restore's list of what is in a folder. Raises DatabaseFault where it can't read it."""
        command = [str(self._restore.path), "--list", str(folder)]
        said = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if said.returncode:
            cause = (said.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise DatabaseFault(
                f"{self._dump.path.name} ended well, but pg_restore can't read what it wrote: {cause}",
                done=_UNFINISHED,
            )
        return said.stdout

    @contextmanager
    def stream(
        self, connection: PostgresqlConnection, folder: Path, wanted: Wanted
    ) -> Iterator[Iterator[bytes]]:
        """Have pg_restore turn the folder into text."""
        schema = schema_for(connection, wanted)
        command = [str(self._restore.path), "--file=-", *what_is_restored(schema), str(folder)]
        child = Child(command, os.environ)
        try:
            yield _finished(child)
        finally:
            child.stop()

    def restore(
        self, connection: PostgresqlConnection, folder: Path, jobs: int, wanted: Wanted, check: Check
    ) -> None:
        """Load by sessions of pg_restore's own, each of which commits what it does."""
        schema = schema_for(connection, wanted)
        before = _tables(connection)
        command = [str(self._restore.path), "--exit-on-error", "--no-password", f"--jobs={jobs}"]
        command += [*what_is_restored(schema), f"--dbname={connection.server().database}", str(folder)]
        child = Child(command, self._environment, stdout=subprocess.DEVNULL)
        try:
            child.finish(DatabaseFault, _NOTHING)
            check(connection, {})
        except BaseException:
            child.stop()
            _drop(connection, set(wanted.tables or ()) - before)
            raise
        finally:
            child.stop()


def _finished(child: Child) -> Iterator[bytes]:
    yield from child.pieces()
    child.finish(DatabaseFault, _NOTHING)


def _ends_well(folder: Path, name: str) -> bool:
    """Read a table's rows to their end, and say whether it is one."""
    tail = b""
    with suppress(Refused):  # compressed, and cut short
        for path in folder.glob(f"{name}*"):
            with path.open("rb") as stream:
                for piece in plain(stream):
                    tail = (tail + piece)[-len(_END_OF_ROWS) :]
        return tail == _END_OF_ROWS
    return False


def _tables(connection: PostgresqlConnection) -> set[str]:
    relations = Introspector(connection).relations()
    return {each.name for each in relations if each.kind in ("table", "partitioned table")}


def _drop(connection: PostgresqlConnection, tables: set[str]) -> None:
    """Drop those of the tables that are there. Raises LeftBehind where that fails."""
    try:
        if tables:
            listed = ", ".join(map(connection.dialect.quote, sorted(tables)))
            connection.run(Query("restore.drop", "", f"DROP TABLE IF EXISTS {listed} CASCADE"))
    except DatabaseFault as fault:
        raise LeftBehind(
            f"The restore failed, and so did dropping the tables that had come by then: {fault.message}",
            hint="`umami-ops restore --replace` goes over what is left.",
            done="Some of the backup's tables are in the database, not all of them whole.",
        ) from None
