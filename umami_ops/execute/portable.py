"""Restoring a portable backup: tables are made and loaded aside, indexed, compared, swapped in.

The indexes of one table are built while the next is loaded, by sessions of their own.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import UTC, datetime

from umami_ops.archive.manifest import PRUNED
from umami_ops.databases.base import Connection, Database
from umami_ops.databases.dumps import Check, Wanted
from umami_ops.databases.lines import whole
from umami_ops.databases.staging import Addition, Staging
from umami_ops.databases.transit import Description, Rows
from umami_ops.errors import Refused
from umami_ops.sql import Query
from umami_ops.transfer.portable import Archive, Head
from umami_ops.transfer.schema import Side, pair, rows_of, translate
from umami_ops.transfer.turns import Turns
from umami_ops.umami import prisma
from umami_ops.umami.migrations import migrations
from umami_ops.umami.schema import Table, latest_level
from umami_ops.umami.tables import belonging_column, facts_of

_INDEX_SESSIONS = 2


def restore_archive(database: Database, chunks: Iterable[bytes], wanted: Wanted, check: Check) -> list[str]:
    """Bring an archive into a database; returns sentences about what a person should know.

    What is replaced stays until all is loaded and `check` has passed. Raises Refused where the archive has
    columns that the other kind of server has no place for.
    """
    archive = Archive(chunks)
    if archive.manifest.kind == PRUNED and wanted.replaced:
        raise Refused(
            "The file holds what a prune has archived: it can't take the place of anything.",
            hint="Restore it by its folder's name: its rows join those there are.",
            done="Nothing was changed.",
        )
    staging: Staging[Database] = database.staging()
    staging.prepare()
    try:
        with _Loader(staging, archive.head) as loader:
            names = loader.load(archive, wanted)
            check(loader.connection, names)  # while the indexes are built
            loader.finish()
        staging.swap(list(names), wanted.replaced)
    finally:
        staging.discard()
    if lost := "; ".join(str(thing) for thing in archive.head.others if thing.table in names):
        loader.remarks.append(f"Not restored, since no portable backup has them: {lost}.")
    return loader.remarks


def add_archive(
    database: Database, chunks: Iterable[bytes], wanted: Wanted, check: Check
) -> tuple[Mapping[str, int], list[str]]:
    """Add an archive's rows to the tables of a database; returns how many joined by table, and sentences.

    They are loaded aside and checked first, and join in one transaction. Raises Refused where they have a
    column that isn't there.
    """
    archive = Archive(chunks)
    staging: Staging[Database] = database.staging()
    with database.connect("umami-ops restore") as connection:
        here = connection.transit().describe()
    staging.prepare()
    try:
        with _Loader(staging, archive.head, indexed=False) as loader:
            names = loader.load(archive, wanted)
            check(loader.connection, names)
        added = staging.add([_addition(table, here, wanted) for table in loader.loaded])
    finally:
        staging.discard()
    return added, loader.remarks


def _addition(table: Table, here: Description, wanted: Wanted) -> Addition:
    there = here.table(table.name)
    assert there is not None, "the plan names tables that are there"
    if homeless := [name for name in table.column_names if name not in there.column_names]:
        raise Refused(
            f"The backup's {table.name} has a column {homeless[0]}, which this database hasn't.",
            hint="Restore it into a database at its own level of Umami, and upgrade that.",
        )
    key = (there.primary_key or table.primary_key).columns  # type: ignore[union-attr]
    found = Addition(table.name, table.column_names, key, yields=facts_of(table.name).role.is_visitor_data)
    if not wanted.websites:
        return found
    column, replaces = belonging_column(table.name) or "", table.name in wanted.replaced
    return replace(found, column=column, ids=wanted.websites, replaces=replaces)


class _Loader:
    """Loads tables one after the other, on one session, while others build indexes."""

    def __init__(self, staging: Staging[Database], head: Head, *, indexed: bool = True) -> None:
        self._staging = staging
        self._head = head
        self._is_indexed = indexed
        self.loaded: list[Table] = []
        self._pool = ThreadPoolExecutor(_INDEX_SESSIONS)
        self._pool_of_loads = ThreadPoolExecutor(1)
        self._sessions = threading.local()
        self._opened: list[Connection] = []
        self._building: list[Future[None]] = []
        self.remarks: list[str] = []

    def __enter__(self) -> _Loader:
        self.connection = self._staging.database.connect("umami-ops restore")
        self._beside = self._staging.database.connect("umami-ops restore")
        self._opened.append(self._beside)
        self._side = Side(self.connection.dialect.name, self.connection.server().flavour)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for pool in (self._pool_of_loads, self._pool):
            pool.shutdown(cancel_futures=kind is not None)
        for connection in (*self._opened, self.connection):
            connection.close()

    def load(self, archive: Archive, wanted: Wanted) -> dict[str, str]:
        """Load what is wanted, and begin its indexes; returns each table's name with its name in the staging
        place.
        """
        targets = {name: table for name, table in self._targets().items() if wanted.has(name)}
        self.loaded = list(targets.values())
        for table, rows in archive.tables():
            if table.name not in targets:
                continue
            target = targets[table.name]
            if self._is_translated and table.name == prisma.NAME:
                self._fill(target, rows_of(target, self._side), iter([self._migrations()]))
            else:
                self._fill(target, self._travel(table, target), rows)
        names = {name: self._staging.name(name) for name in targets}
        settle = self.connection.transit().settle_statement(list(names.values()))
        self.connection.maintain(Query("restore.settle", "", settle))
        return names

    def finish(self) -> None:
        """Wait for the indexes, and make what rests on them."""
        for future in self._building:
            future.result()
        for table in self.loaded:
            for statement in self.connection.transit().finish_statements(self._staged(table)):
                self._run(statement)

    @property
    def _is_translated(self) -> bool:
        return self._side.dialect != self._head.dialect

    def _targets(self) -> dict[str, Table]:
        """Return what the archive's tables are here."""
        if not self._is_translated:
            return {table.name: table for table in self._head.tables}
        level = self._head.level
        if level is None or level > latest_level(self._side.dialect):
            raise Refused(
                f"Umami has no release for {self.connection.dialect.title} at the backup's level ({level}).",
                hint="`umami-ops migrate --downgrade` says what would be lost.",
                done="Nothing was changed.",
            )
        translation = translate(Description(self._head.tables), self._head.side, self._side, level)
        self.remarks += [f"Not translated: {remark}." for remark in translation.remarks]
        here = {table.name for table in self._head.tables}
        found = {table.name: table for table in translation.tables if table.name in here}
        if prisma.NAME in here:
            found[prisma.NAME] = prisma.TABLES[self._side.dialect]
        return found

    def _travel(self, source: Table, target: Table) -> Rows:
        """Return the target's rows in the archive's order. Raises Refused for a column without a place."""
        found = pair(source, self._head.side, target, self._side)
        if len(found.source.fields) != len(source.columns):
            raise Refused(f"Table {source.name} has columns that don't exist on the other kind of server.")
        return found.target

    def _fill(self, table: Table, rows: Rows, pieces: Iterator[bytes]) -> None:
        """Create a table, load it, and have its indexes built."""
        transit = self.connection.transit()
        staged = self._staged(table)
        for statement in transit.create_statements(staged):
            self._run(statement)
        self._write(replace(rows, table=staged.name), pieces)
        for statement in transit.index_statements(staged) if self._is_indexed else ():
            self._building.append(self._pool.submit(self._build, statement))

    def _write(self, rows: Rows, pieces: Iterator[bytes]) -> None:
        """Load a table's rows, by two sessions at once where that is faster."""
        if not self.connection.dialect.features.loads_side_by_side:
            with self.connection.transaction():
                self.connection.transit().write(rows, pieces)
            return
        shared = Turns(whole(pieces))
        other = self._pool_of_loads.submit(self._write_share, self._beside, rows, shared)
        try:
            self._write_share(self.connection, rows, shared)
        finally:
            wait([other])
        other.result()

    def _write_share(self, connection: Connection, rows: Rows, shared: Turns[bytes]) -> None:
        try:
            with connection.transaction():
                connection.transit().write(rows, shared)
        except BaseException:
            shared.end()
            raise

    def _staged(self, table: Table) -> Table:
        return replace(table, name=self._staging.name(table.name))

    def _migrations(self) -> bytes:
        """Return Prisma's records for this kind of server, as Umami's migrations leave them."""
        now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        lines = []
        for migration in migrations(self._side.dialect):
            if migration.level <= (self._head.level or 0):
                row_id = uuid.uuid5(uuid.NAMESPACE_URL, migration.name)
                checksum = migration.checksum or "0" * 64
                lines.append(f'"{row_id}","{checksum}","{now}","{migration.name}",NULL,NULL,"{now}",1\n')
        return "".join(lines).encode()

    def _build(self, statement: str) -> None:
        if not hasattr(self._sessions, "connection"):
            self._sessions.connection = self._staging.database.connect("umami-ops restore (indexes)")
            self._opened.append(self._sessions.connection)
        self._sessions.connection.run(Query("restore.index", "", statement))

    def _run(self, statement: str) -> None:
        self.connection.run(Query("restore.table", "", statement))
