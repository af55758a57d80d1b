"""`upgrade prepare`: does ahead, while Umami goes on, what its next migrations would stop it for.

Whatever is done stays harmless if the upgrade never comes. What a migration would do without IF NOT EXISTS
is done only together with the whole migration, which is then marked as applied in Prisma's table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from umami_ops.databases.base import Connection
from umami_ops.errors import Refused
from umami_ops.operations.inspect import Installation
from umami_ops.operations.upgrade.pending import (
    IN_THE_MAKING,
    pending_migrations,
    require_level,
    target_level,
)
from umami_ops.operations.upgrade.state import read_state
from umami_ops.plan import Batches, Maintenance, Note, Plan, Statements, Step
from umami_ops.umami.changes import AddColumn, AddIndex, Change, DropIndex, Move, RequireValues, changes
from umami_ops.umami.migrations import Migration
from umami_ops.umami.schema import Column, Index, schema_at

#: The slices by which a move of rows works.
SLICES = {
    "event_values": "next_event_data",
    "visits": "next_website_event",
    "hostnames": "next_website_event",
    "duplicates": "next_session_data",
}
_VISITS = 5


def plan_prepare(connection: Connection, installation: Installation, release: str | None = None) -> Plan:
    """Plan what can be done ahead of the upgrade to `release`.

    Raises Refused when the database isn't fit for changes, UsageFault for what is no release.
    """
    level = require_level(connection, installation)
    installation.require_safe()
    target = target_level(connection.dialect.name, level, release)
    with connection.transaction(read_only=True):
        return _Planner(connection, installation, level, target).plan()


class _Planner:
    """Collects steps, each with why it is done and what undoes it."""

    def __init__(self, connection: Connection, installation: Installation, level: int, target: int) -> None:
        self._connection = connection
        self._dialect = connection.dialect.name
        self._queries = connection.dialect.queries
        self._alterations = connection.alterations()
        self._installation = installation
        self._level = level
        self._target = target
        self._state = read_state(connection)
        self._pending = pending_migrations(self._dialect, installation, target)
        self._steps: list[Step] = []
        self._about: list[dict[str, Any]] = []
        self._notes: list[Note] = []
        self._build_bytes = 0

    def plan(self) -> Plan:
        """Return the plan."""
        self._rename_indexes()
        self._restore_indexes()
        done = self._migrations_ahead()
        self._tolerated_indexes([m for m in self._pending if m not in done])
        self._duplicates()
        self._forgotten_default()
        self._look_at_disk()
        if self._steps and any(migration.first_release is None for migration in self._pending):
            self._notes.append(IN_THE_MAKING)
        server = self._connection.server()
        return Plan(
            operation="upgrade prepare",
            facts={
                "database": server.database,
                "server": server.title,
                "level": self._level,
                "release": self._installation.release,
                "target_level": max(self._level, self._target),
                "work": self._about,
                "index_bytes": self._build_bytes,
            },
            steps=tuple(self._steps),
            notes=tuple(self._notes),
        )

    def _add(self, steps: Sequence[Step], title: str, why: str, undo: str) -> None:
        if steps:
            self._steps += steps
            self._about.append({"title": title, "why": why, "undo": undo, "steps": len(steps)})

    # --- indexes ------------------------------------------------------------------------------------------

    def _rename_indexes(self) -> None:
        """Give indexes that have another name the one by which migrations know them."""
        schema = schema_at(self._dialect, self._level)
        for table in schema.tables:
            for index in table.indexes:
                if table.name not in self._state.tables or self._state.index(table.name, index.name):
                    continue
                twin = self._state.twin(table.name, index, schema)
                if twin is not None:
                    step = self._alterations.rename_index(table.name, twin.name, index.name)
                    why = "Umami's migrations know it by this name"
                    self._add([step], step.title, why, f"rename it back to {twin.name}")
                    self._state.indexes.remove(twin)
                    self._state.make(AddIndex(table.name, index, tolerant=False))

    def _restore_indexes(self) -> None:
        """Build the indexes that are missing now and that a migration to come drops by name."""
        schema = schema_at(self._dialect, self._level)
        for migration in self._pending:
            for change in changes(self._dialect, migration.level):
                if not isinstance(change, DropIndex) or change.tolerant:
                    continue
                expected = change.table in schema and change.index in schema.table(change.table).indexes
                missing = self._state.index(change.table, change.index.name) is None
                if expected and missing and change.table in self._state.tables:
                    why = f"migration {migration.name} fails without it"
                    self._build(change.table, change.index, why)

    def _tolerated_indexes(self, pending: Sequence[Migration]) -> None:
        """Build the indexes over which migrations pass when they are there."""
        for migration in pending:
            for change in changes(self._dialect, migration.level):
                if not isinstance(change, AddIndex) or not change.tolerant:
                    continue
                if all(self._state.has(change.table, column) for column in change.index.columns):
                    why = f"migration {migration.name} passes over it then"
                    self._build(change.table, change.index, why)
                elif change.table in self._state.tables:
                    self._notes.append(
                        Note(
                            f"Index {change.index.name} can't be built before the columns it needs are there."
                        )
                    )

    def _build(self, table: str, index: Index, why: str) -> None:
        here = self._state.index(table, index.name)
        if here is not None and here.valid:
            return
        steps: list[Maintenance] = []
        if here is not None and table not in self._state.partitioned:
            steps.append(self._alterations.drop_index(table, index.name))
        change = AddIndex(table, index, tolerant=False)
        steps += self._alterations.make(change)
        self._add(steps, f"build index {index.name}", why, f"drop index {index.name}")
        self._count_index(table)
        self._state.make(change)

    def _count_index(self, table: str) -> None:
        relation = self._installation.relations[table]
        number = sum(index.table == table for index in self._state.indexes)
        self._build_bytes += relation.index_bytes // number if number else 0

    # --- whole migrations -----------------------------------------------------------------------------------

    def _migrations_ahead(self) -> list[Migration]:
        """Do the next migrations in line whole, as long as they only add what Umami of today doesn't
        notice.
        """
        done: list[Migration] = []
        for migration in self._pending:
            made = changes(self._dialect, migration.level)
            if not self._is_ahead(made) or self._has_gaps(migration, done):
                break
            for change in made:
                self._do_ahead(migration, change)
            checksum = migration.checksum or "0" * 64
            values = {"migration": migration.name, "checksum": checksum}
            title = f"mark {migration.name} as applied"
            step = Statements(title, (self._queries["upgrade.record"],), values)
            self._add([step], title, "all of it is there then", "delete its row from _prisma_migrations")
            done.append(migration)
        return done

    def _has_gaps(self, migration: Migration, done: Sequence[Migration]) -> bool:
        """Say whether a migration isn't the next in line."""
        return migration.level <= self._level or migration != self._pending[len(done)]

    def _is_ahead(self, made: Sequence[Change]) -> bool:
        """Say whether a migration only adds, and builds something that is worth doing ahead."""
        added = {(change.table, change.column.name) for change in made if isinstance(change, AddColumn)}
        for change in made:
            match change:
                case AddColumn() | RequireValues():
                    pass
                case AddIndex():
                    if change.table not in self._state.tables or change.tolerant:
                        return False
                case Move():
                    if change.source not in added:
                        return False
                case _:
                    return False
        return any(isinstance(change, AddIndex) for change in made)

    def _do_ahead(self, migration: Migration, change: Change) -> None:
        name = migration.name
        if isinstance(change, AddIndex):
            self._build(change.table, change.index, f"migration {name} would build it")
        elif isinstance(change, AddColumn) and not self._state.is_made(change):
            steps = self._alterations.make(change)
            undo = f"drop column {change.column.name}"
            self._add(steps, f"add column {change.table}.{change.column.name}", f"part of {name}", undo)
        elif isinstance(change, RequireValues) and not self._state.is_made(change):
            self._require_values(change, name)

    def _require_values(self, change: RequireValues, migration: str) -> None:
        """Fill a column that today's Umami doesn't know and demand values: a default gives new rows some."""
        table, column = change.table, change.column
        where = f"{table}.{column.name}"
        default = self._alterations.give_default(table, column)
        self._add([default], default.title, "the Umami that runs now doesn't fill it", "drop the default")
        fill = self._batches("visits", f"fill {where}")
        self._add(
            [fill], fill.title, f"part of {migration}, in short transactions", "nothing: values were none"
        )
        steps = self._alterations.require_values(table, column)
        self._add(steps, f"make {where} NOT NULL", f"part of {migration}", "DROP NOT NULL")
        self._notes.append(
            Note(
                "Until Umami is upgraded each new event makes a visit of its own; upgrade soon after.",
                "Afterwards `umami-ops upgrade prepare` takes the default of visit_id away again.",
            )
        )

    # --- rows -----------------------------------------------------------------------------------------------

    def _duplicates(self) -> None:
        """Delete the duplicates of session_data as migration 23 will, but in short transactions."""
        moves = [
            change
            for migration in self._pending
            for change in changes(self._dialect, migration.level)
            if isinstance(change, Move) and change.name == "duplicates"
        ]
        if not moves or not self._state.has(*moves[0].source):
            return
        found = int(self._connection.value(self._queries["upgrade.duplicates"]))
        if found:
            title = "delete duplicates of session_data"
            why = f"{found:,} rows that migration 23_update_session_data deletes under a lock"
            undo = "nothing: until then Umami shows all of them; a backup has them"
            self._add([self._batches("duplicates", title)], title, why, undo)

    def _batches(self, move: str, title: str) -> Batches:
        return Batches(
            title,
            self._queries[f"upgrade.{SLICES[move]}"],
            self._queries[f"upgrade.move_{move}"],
            {"after": None},
        )

    def _forgotten_default(self) -> None:
        """Take the default of visit_id away, which an earlier `prepare` gave it, once Umami fills it
        itself.
        """
        here = self._state.tables.get("website_event", {}).get("visit_id")
        if self._level > _VISITS and here is not None and here.default is not None:
            column = Column("visit_id", here.type)
            step = self._alterations.drop_default("website_event", column)
            self._add([step], step.title, "Umami fills it by now", "give it the default again")

    def _look_at_disk(self) -> None:
        free_bytes = self._connection.free_bytes()
        if free_bytes is not None and self._build_bytes > free_bytes:
            raise Refused(
                f"The indexes need about {self._build_bytes / 1e9:.1f} GB, "
                f"and {free_bytes / 1e9:.1f} GB are free.",
                hint="Make room first: umami-ops prune, umami-ops vacuum --full, or a bigger disk.",
                done="Nothing was changed.",
            )
        if free_bytes is not None and self._build_bytes > free_bytes * 0.8:
            self._notes.append(
                Note(
                    f"The indexes need about {self._build_bytes / 1e9:.1f} GB, "
                    f"and {free_bytes / 1e9:.1f} GB are free.",
                    "Make room first: umami-ops prune, umami-ops vacuum --full, or a bigger disk.",
                )
            )
