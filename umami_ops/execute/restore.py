"""Restoring a backup: into its place, or into a scratch database to see that it can be done.

What is restored is compared with the backup's manifest before it takes the place of anything.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from umami_ops.archive.manifest import DUMP, Manifest, TableFacts
from umami_ops.archive.source import Source
from umami_ops.databases.base import Connection, Database, Introspector
from umami_ops.databases.dumps import DumpPrograms, Peeked, Wanted
from umami_ops.errors import ConnectionLost, LeftBehind, OpsError, PermissionFault, Refused
from umami_ops.execute.comparison import Comparison
from umami_ops.execute.portable import add_archive, restore_archive
from umami_ops.sql import Query
from umami_ops.transfer.portable import is_archive

_SCRATCH = "umami_ops_scratch_"
_STALE_SECONDS = 86_400
_MOST_JOBS = 4
_LOOKS_SECONDS = 1.0
_INTACT = "The database is as it was."
_EITHER = "The backup was taking its place: the database has all of it, or is as it was."

Advanced = Callable[[int], None]


@dataclass
class Restored:
    """What a restore did."""

    tables: tuple[TableFacts, ...]
    seconds: float
    notes: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """The rows of all tables."""
        return sum(table.rows for table in self.tables)


def restore(
    source: Source,
    database: Database,
    wanted: Wanted,
    advanced: Advanced = lambda _bytes: None,
    jobs: int | None = None,
) -> Restored:
    """Bring a backup into a database, all of it or nothing; `advanced` hears of bytes as they are read.

    With `jobs` a dump of several files is loaded side by side, into a database that has none of its tables: a
    kill leaves what has come by then. Then `advanced` hears of bytes as they arrive in the database.

    Whoever calls has checked the sums. Where rows are added, the result counts those that joined. Locks: the
    replaced tables, for the moment of the swap. Raises BadData when what came out isn't what the backup
    holds; then, and after any failure before the swap, the database is as it was. Raises LeftBehind when all
    is in its place and what gave way can't be dropped.
    """
    began = time.monotonic()
    with database.connect("umami-ops restore") as connection:
        comparison = Comparison(source.manifest, wanted)
        try:
            if (folder := source.folder()) is not None:
                with folder as path:
                    notes = _restore_folder(path, database, connection, wanted, comparison, advanced, jobs)
            else:
                notes = _restore_stream(source, database, connection, wanted, comparison, advanced)
        except LeftBehind:
            raise
        except ConnectionLost as fault:
            fault.done = _EITHER if comparison.has_passed else _INTACT
            raise
        except OpsError as fault:
            fault.done = _INTACT
            raise
    return Restored(tuple(comparison.found.values()), time.monotonic() - began, notes)


def _restore_stream(
    source: Source,
    database: Database,
    connection: Connection,
    wanted: Wanted,
    comparison: Comparison,
    advanced: Advanced,
) -> list[str]:
    """Bring back what is one file: an archive, or a dump."""
    chunks = Peeked(source.chunks(advanced))
    if wanted.adds:
        added, notes = add_archive(database, chunks, wanted, comparison)
        comparison.found = {table: TableFacts(table, rows) for table, rows in added.items()}
        return notes
    if is_archive(chunks.head):
        return restore_archive(database, chunks, wanted, comparison)
    programs = database.dump_programs(connection.server())
    _check_recognised(programs, chunks.head, source.title)
    return programs.restore(connection, chunks, wanted, comparison)


def _restore_folder(
    folder: Path,
    database: Database,
    connection: Connection,
    wanted: Wanted,
    comparison: Comparison,
    advanced: Advanced,
    jobs: int | None,
) -> list[str]:
    """Bring back a dump of several files: as one stream in one transaction, or side by side."""
    programs = database.dump_programs(connection.server())
    if programs.folders is None:
        raise _unrecognised(programs, str(folder))
    if jobs is None:
        with programs.folders.stream(connection, folder, wanted) as pieces:
            return programs.restore(connection, _told(pieces, advanced), wanted, comparison)
    coming = replace(wanted, tables=comparison.tables)
    with database.connect("umami-ops restore") as observer, _watching(observer, advanced):
        programs.folders.restore(connection, folder, jobs, coming, comparison)
    return []


@contextmanager
def _watching(observer: Connection, advanced: Advanced) -> Iterator[None]:
    """Tell how many bytes tables and indexes have grown by, every second while the block goes on."""
    over = threading.Event()

    def look() -> None:
        seen = 0
        with suppress(OpsError):  # the block fails then, too, and says why
            while not over.wait(_LOOKS_SECONDS):
                relations = Introspector(observer).relations()
                size = sum(each.table_bytes + each.index_bytes for each in relations)
                advanced(size - seen)
                seen = size

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _told(pieces: Iterator[bytes], advanced: Advanced) -> Iterator[bytes]:
    for piece in pieces:
        advanced(len(piece))
        yield piece


def verify(source: Source, database: Database, advanced: Advanced = lambda _bytes: None) -> Restored:
    """Restore a backup into a scratch database of this server, compare, and drop it again.

    Raises Refused where the user may not make one.
    """
    manifest = source.manifest
    with scratch(database, manifest) as empty:
        return restore(source, empty, Wanted(), advanced, _side_by_side(manifest))


def _side_by_side(manifest: Manifest | None) -> int | None:
    """Return how many tables of a dump of several files are loaded at once where nobody else looks."""
    return min(os.cpu_count() or 1, _MOST_JOBS) if manifest is not None and manifest.is_folder else None


def _check_recognised(programs: DumpPrograms[Any], head: bytes, title: str) -> None:
    """Look at how a dump begins. Raises Refused for what is none of this server's."""
    if not programs.recognises(head):
        raise _unrecognised(programs, title)


def _unrecognised(programs: DumpPrograms[Any], title: str) -> Refused:
    return Refused(
        f"{title} is no dump that {programs.title} could have written for this kind of server.",
        hint="What pg_dump, mysqldump and mariadb-dump write is understood.",
    )


def require_scratch(database: Database) -> None:
    """Make a scratch database and drop it, before a backup is written that is to be verified in one.

    Raises Refused where the user may not make one.
    """
    try:
        with scratch(database, None):
            pass
    except Refused as fault:
        fault.done = "No backup was made."
        raise


@contextmanager
def scratch(database: Database, manifest: Manifest | None) -> Iterator[Database]:
    """Make an empty database on the same server, and drop it at the end; those that killed runs left, too."""
    name = f"{_SCRATCH}{int(time.time())}_{secrets.token_hex(3)}"
    with database.connect("umami-ops verify") as connection:
        quote = connection.dialect.quote
        _drop_stale(connection)
        try:
            connection.run(Query("verify.create", "", connection.dialect.create_database.format(quote(name))))
        except PermissionFault:
            raise Refused(
                f"User {connection.server().user} may not make a scratch database on this server.",
                hint=connection.dialect.scratch_right,
                done="The backup's sums are right; it was not restored.",
            ) from None
        try:
            # A dump goes into no other schema than it is of, whatever the server's URL says.
            schema = manifest.schema if manifest is not None and manifest.kind == DUMP else ""
            empty = database.beside(name, schema)
            _make_schema(empty)
            yield empty
        finally:
            _drop(connection, name)


def _make_schema(empty: Database) -> None:
    """Give the scratch database the schema that the backup's tables are to stand in."""
    with empty.connect("umami-ops verify") as connection:
        if not connection.server().schema:
            schema = connection.dialect.quote(empty.url.effective_schema)
            connection.run(Query("verify.schema", "", f"CREATE SCHEMA {schema}"))


def _drop(connection: Connection, name: str) -> None:
    statement = connection.dialect.drop_database.format(connection.dialect.quote(name))
    connection.run(Query("verify.drop", "", statement))


def _drop_stale(connection: Connection) -> None:
    """Drop scratch databases that are older than a day: nobody restores for so long."""
    for row in connection.rows(connection.dialect.queries["backup.databases"]):
        made = re.fullmatch(rf"{_SCRATCH}(\d+)_[0-9a-f]+", row["name"])
        if made and time.time() - int(made[1]) > _STALE_SECONDS:
            _drop(connection, row["name"])
