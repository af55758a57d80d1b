"""mysqldump or mariadb-dump, and the client that reads a dump back.

A dump is one transaction of the dump program's own. So that what we count belongs to the same moment, the
tables are locked against writes until both its transaction and ours have begun: for a fraction of a second.

DDL commits by itself here: a dump is loaded under working names beside the tables there are, and one RENAME
TABLE swaps them.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from umami_ops.databases.dumps import Check, Child, DumpPrograms, Wanted
from umami_ops.databases.mysql.programs import find_dump_programs, option_file
from umami_ops.databases.mysql.rewriting import TRAILER, Rewriter
from umami_ops.databases.mysql.staging import MysqlStaging
from umami_ops.databases.transit import Moment
from umami_ops.errors import BadData, DatabaseFault, Refused
from umami_ops.sql import Query

if TYPE_CHECKING:
    from umami_ops.databases.mysql.connection import MysqlConnection, MysqlDatabase

_NOTHING = "Nothing was changed."
_UNFINISHED = "The backup was not made."
_HEADERS = (b"-- MySQL dump", b"-- MariaDB dump")
_BEGUN = b"CREATE TABLE"
_TAIL_BYTES = 512
#: How the client tells of rows that the server doesn't take, by the class of the SQLSTATE.
_OF_ROWS = re.compile(r"ERROR \d+ \((?:22|23)\w{3}\)")


class MysqlDumpPrograms(DumpPrograms["MysqlConnection"]):
    """The dump program and the client for one server."""

    file = "database.sql"

    def __init__(self, database: MysqlDatabase, flavour: str, version: str) -> None:
        self._database = database
        self._programs = find_dump_programs(flavour, version)
        self.title = self._programs.dump.title

    @contextmanager
    def dump(self, connection: MysqlConnection, tables: Sequence[str]) -> Iterator[Iterator[bytes]]:
        """Write these tables; a view or a trigger is none of Umami's, and left out."""
        with option_file(self._database.url, self._programs.flavour) as options:
            child: Child | None = None
            try:
                with (
                    self._database.connect("umami-ops backup (lock)") as holder,
                    holder.transit().freeze(tables) as moment,
                ):
                    _check_frozen(moment, holder)
                    connection.transit().begin_at(moment)
                    _hold(connection, tables)
                    child = Child(self._dump_command(options, tables), os.environ, pass_fds=[options])
                    pieces = child.pieces()
                    head = _until_begun(pieces)
                yield _proven(child, itertools.chain([head], pieces))
            finally:
                connection.rollback()
                if child is not None:
                    child.stop()

    def _dump_command(self, options: int, tables: Sequence[str]) -> list[str]:
        command = [
            str(self._programs.dump.path),
            f"--defaults-file=/dev/fd/{options}",
            "--single-transaction",
        ]
        command += [
            "--skip-lock-tables",
            "--skip-add-locks",
            "--skip-triggers",
            "--no-tablespaces",
            "--hex-blob",
        ]
        command += ["--no-autocommit", "--max-allowed-packet=1G"]
        if self._programs.flavour == "mysql":
            command += ["--set-gtid-purged=OFF"]
        return [*command, "--", self._database.url.database, *tables]

    def recognises(self, head: bytes) -> bool:
        """Say whether this is what mysqldump or mariadb-dump begins with."""
        return any(header in head for header in _HEADERS)

    def restore(
        self, connection: MysqlConnection, chunks: Iterable[bytes], wanted: Wanted, check: Check
    ) -> list[str]:
        """Load the dump under working names and swap by one RENAME TABLE."""
        staging = MysqlStaging(self._database)
        staging.prepare()
        try:
            quote = connection.dialect.quote
            rewriter = Rewriter(lambda table: quote(staging.name(table)))
            self._load(rewriter.lines(chunks))
            if not rewriter.made:
                raise Refused("The dump holds no table.")
            check(connection, {table: staging.name(table) for table in rewriter.made})
            moved = [table for table in rewriter.made if wanted.has(table)]
            staging.swap(moved, wanted.replaced)
        finally:
            staging.discard()
        views = ", ".join(sorted(rewriter.views))
        return [f"Not restored, since only tables are: {views}."] if views else []

    def _load(self, lines: Iterable[bytes]) -> None:
        """Feed a dump's lines to the client."""
        with option_file(self._database.url, self._programs.flavour) as options:
            command = [str(self._programs.client.path), f"--defaults-file=/dev/fd/{options}"]
            command += ["--batch", "--max-allowed-packet=1G", self._database.url.database]
            child = Child(
                command, os.environ, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[options]
            )
            try:
                for line in lines:
                    if not child.feed(line):
                        break
                child.finish(BadData if _OF_ROWS.search(child.said) else DatabaseFault, _NOTHING)
            finally:
                child.stop()


def _hold(connection: MysqlConnection, tables: Sequence[str]) -> None:
    """Read of each table, so that DDL waits for us: none becomes another before it is dumped."""
    for table in tables:
        name = connection.dialect.quote(table)
        connection.rows(Query("backup.hold", "", f"SELECT 1 AS found FROM {name} LIMIT 1"))  # noqa: S608


def _check_frozen(moment: Moment | None, holder: MysqlConnection) -> None:
    """Raise Refused where the tables could not be locked, so that nothing could be counted with the dump."""
    if moment is None:
        server = holder.server()
        raise Refused(
            "The tables can't be locked for the moment at which a dump begins: the user lacks the right LOCK "
            "TABLES, or somebody else has held them for ten seconds.",
            hint=f"GRANT LOCK TABLES ON {holder.dialect.quote(server.database)}.* TO {server.user}; or try "
            "again; or take --format portable.",
            done=_UNFINISHED,
        )


def _until_begun(pieces: Iterator[bytes]) -> bytes:
    """Read until the first table shows: then the program's transaction has begun; or to the end."""
    head = b""
    while _BEGUN not in head:
        piece = next(pieces, None)
        if piece is None:
            break
        head += piece
    return head


def _proven(child: Child, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what the program writes, and make sure that it says at its end that it is the end."""
    tail = b""
    for piece in pieces:
        tail = (tail + piece)[-_TAIL_BYTES:]
        yield piece
    child.finish(DatabaseFault, _UNFINISHED)
    if TRAILER not in tail:
        raise DatabaseFault(
            f"{child.name} ended well, but what it wrote lacks its end ({TRAILER.decode()}).",
            done=_UNFINISHED,
        )
