"""`upgrade repair`: after a failed migration, finds out what had been applied, and completes or undoes it.

A careful person would compare the schema with the migration, run what is missing, statement by statement,
and tell Prisma by `migrate resolve`. So does this. On PostgreSQL a failed migration has left nothing; on
MySQL and MariaDB every statement up to the one that failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from umami_ops.databases.alterations import SchemaChange, described, undone
from umami_ops.databases.base import Connection, Introspector, MigrationRow
from umami_ops.errors import Refused
from umami_ops.operations.inspect import Installation
from umami_ops.operations.upgrade.obstacles import Obstacle, obstacles_of
from umami_ops.operations.upgrade.pending import require_level
from umami_ops.operations.upgrade.prepare import SLICES
from umami_ops.operations.upgrade.state import read_state
from umami_ops.plan import Batches, Note, Plan, Statements, Step
from umami_ops.sql import Query
from umami_ops.umami.changes import (
    AddColumn,
    AddIndex,
    AddTable,
    Change,
    Move,
    RenameColumn,
    RequireValues,
    changes,
)
from umami_ops.umami.migrations import Migration, migrations
from umami_ops.umami.schema import Schema, schema_at

#: What stands for the checksum of a file that no release has brought yet.
_UNKNOWN_CHECKSUM = "0" * 64
#: Problems that are what this mends, or don't matter to it.
_MENDED = ("migration_failed", "no_delete", "table_missing", "column_missing")


@dataclass(frozen=True)
class Trouble:
    """A migration that failed, or isn't recorded: what of it was applied and what is missing.

    `rows` are the failed attempts; there are none where only the record is missing.
    """

    migration: Migration
    rows: tuple[MigrationRow, ...]
    made: tuple[Change, ...]
    missing: tuple[Change, ...]
    checksum: str

    @property
    def changes_made(self) -> tuple[Change, ...]:
        """What was applied, but for changes of rows, which leave no trace."""
        return tuple(change for change in self.made if not isinstance(change, Move))

    @property
    def missing_changes(self) -> tuple[Change, ...]:
        """What is missing, in the same sense."""
        return tuple(change for change in self.missing if not isinstance(change, Move))


def plan_repair(connection: Connection, installation: Installation, *, undo: bool = False) -> Plan:
    """Plan what mends every migration that failed, or whose record is missing though its objects are here.

    With `undo` what was applied is taken back instead. Raises Refused where something must be done by hand
    first.
    """
    require_level(connection, installation)
    installation.require_safe(despite=_MENDED)
    with connection.transaction(read_only=True):
        return _Planner(connection, installation, undo=undo).plan()


class _Planner:
    """Decides for each migration whether it is completed, undone, or only marked."""

    def __init__(self, connection: Connection, installation: Installation, *, undo: bool) -> None:
        self._connection = connection
        self._dialect = connection.dialect.name
        self._queries = connection.dialect.queries
        self._alterations = connection.alterations()
        self._installation = installation
        self._undo = undo
        self._state = read_state(connection)
        self._steps: list[Step] = []
        self._about: list[dict[str, Any]] = []
        self._notes: list[Note] = []

    def plan(self) -> Plan:
        """Return the plan."""
        for trouble in self._troubles():
            self._settle(trouble)
        server = self._connection.server()
        return Plan(
            operation="upgrade repair",
            facts={
                "database": server.database,
                "server": server.title,
                "level": self._installation.level,
                "release": self._installation.release,
                "migrations": self._about,
            },
            steps=tuple(self._steps),
            notes=tuple(self._notes),
        )

    def _troubles(self) -> Iterator[Trouble]:
        rows = Introspector(self._connection).prisma_migrations() if self._has_records else []
        failed = [row for row in rows if row.finished_at is None and row.rolled_back_at is None]
        known = {migration.name: migration for migration in migrations(self._dialect)}
        strangers = [row.name for row in failed if row.name not in known]
        if strangers:
            raise Refused(
                f"Migration {strangers[0]} isn't known here: a fork's, or a newer Umami's.",
                hint="Complete or undo it by hand, then: npx prisma migrate resolve --applied "
                f"{strangers[0]} (or --rolled-back).",
                done="Nothing was changed.",
            )
        facts = self._installation.migrations
        astray = {*facts.rolled_back, *facts.missing} if rows else set()
        for name, migration in known.items():
            attempts = tuple(row for row in failed if row.name == name)
            if migration.level > 1 and (attempts or name in astray):
                made, missing = self._compare(migration)
                written = [row.checksum for row in rows if row.name == name]
                checksum = (written or [migration.checksum or _UNKNOWN_CHECKSUM])[-1]
                trouble = Trouble(migration, attempts, made, missing, checksum)
                if attempts or self._is_behind(trouble) or self._leaves_a_trace(made):
                    yield trouble

    @property
    def _has_records(self) -> bool:
        return self._installation.has("_prisma_migrations")

    def _compare(self, migration: Migration) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
        """Return what of a migration is here and what isn't, of all that later migrations haven't undone."""
        lasting = self._lasting(migration)
        made = tuple(change for change in lasting if self._state.is_made(change))
        return made, tuple(change for change in lasting if not self._state.is_made(change))

    def _lasting(self, migration: Migration) -> list[Change]:
        """Return what a migration does, as far as later ones have left it."""
        schema = schema_at(self._dialect, max(migration.level, self._installation.level or 0))
        return [_as_of(c, schema) for c in changes(self._dialect, migration.level) if _lasts(c, schema)]

    @staticmethod
    def _leaves_a_trace(made: Sequence[Change]) -> bool:
        """Say whether what is there was made by the migration, rather than never been there."""
        return any(
            isinstance(c, AddTable | AddColumn | RenameColumn)
            # An index that may be there before was perhaps built ahead, by `upgrade prepare`.
            or (isinstance(c, AddIndex) and not c.tolerant)
            for c in made
        )

    def _is_behind(self, trouble: Trouble) -> bool:
        """Say whether later migrations were applied, and nothing of this one is missing."""
        return trouble.migration.level < (self._installation.level or 0) and not trouble.missing

    def _settle(self, trouble: Trouble) -> None:
        name = trouble.migration.name
        if name in self._installation.migrations.applied:
            self._end(trouble, "was applied later", "marked as rolled back: another attempt succeeded")
        elif not self._has_begun(trouble):
            self._require_way(trouble)
            self._end(
                trouble,
                "nothing of it was applied",
                "marked as rolled back: Umami applies it at its next start",
            )
        elif self._undo and self._is_new(trouble):
            self._take_back(trouble)
        else:
            self._complete(trouble)

    def _is_new(self, trouble: Trouble) -> bool:
        """Say whether the Umami that ran last does without a migration: else it fills what that had made."""
        return bool(trouble.rows) and trouble.migration.level > (self._installation.level or 0)

    def _has_begun(self, trouble: Trouble) -> bool:
        """Say whether anything of a migration was applied; what is absent may just never have been there."""
        if self._is_behind(trouble):
            return True
        if self._alterations.is_atomic:
            return self._leaves_a_trace(trouble.made)
        return bool(trouble.changes_made)

    # --- the ways out ---------------------------------------------------------------------------------------

    def _take_back(self, trouble: Trouble) -> None:
        """Undo what was applied and mark the attempt as rolled back: Umami applies it at its next start."""
        taken: list[SchemaChange] = []
        for change in reversed(trouble.changes_made):
            if isinstance(change, RequireValues):
                continue  # goes with its column
            back = undone(change)
            if back is None or self._holds_something(change, trouble):
                raise Refused(
                    f"Migration {trouble.migration.name} can't be undone: it {described(change)}.",
                    hint="Without --undo it is completed.",
                    done="Nothing was changed.",
                )
            taken.append(back)
        # An index that was dropped may be on a column that gets its old name back first.
        for change_back in sorted(taken, key=lambda back: isinstance(back, AddIndex)):
            self._steps += self._alterations.make(change_back)
        outcome = "marked as rolled back: Umami applies it at its next start"
        self._end(trouble, f"{len(taken)} changes are taken back", outcome, taken)

    def _holds_something(self, change: Change, trouble: Trouble) -> bool:
        """Say whether a table that was made has rows, or a column values that it wasn't made with."""
        quote = self._connection.dialect.quote
        match change:
            case AddTable():
                text = f"SELECT 1 AS one FROM {quote(change.table.name)} LIMIT 1"  # noqa: S608 -- quoted
            case AddColumn() if change.column.default is None and not self._moves_rows(trouble):
                column = quote(change.column.name)
                text = f"SELECT 1 AS one FROM {quote(change.table)} WHERE {column} IS NOT NULL LIMIT 1"  # noqa: S608
            case _:
                return False
        return bool(self._connection.rows(Query("upgrade.any_row", "", text)))

    def _moves_rows(self, trouble: Trouble) -> bool:
        return any(isinstance(change, Move) for change in changes(self._dialect, trouble.migration.level))

    def _require_way(self, trouble: Trouble) -> None:
        """Raise Refused while the cause stands: the migration would only fail again."""
        causes = obstacles_of(self._connection, trouble.migration, self._state, here=self._state)
        hard = [cause for cause in causes if not cause.is_prepared]
        if hard:
            raise _first_by_hand(hard)
        if causes:
            cures = [cause.sentence for cause in causes]
            self._notes.append(
                Note(
                    f"It would fail again: {' '.join(cures)}",
                    "umami-ops upgrade prepare, before Umami starts.",
                )
            )

    def _complete(self, trouble: Trouble) -> None:
        """Make what is missing, in its order, and mark the migration as applied."""
        self._require_known(trouble)
        steps: list[Step] = []
        for change in self._lasting(trouble.migration):
            if isinstance(change, Move):
                steps += self._moving(change, trouble)
            elif change in trouble.missing:
                steps += self._alterations.make(change)
                self._state.make(change)
        self._steps += steps
        number = len(trouble.changes_made)
        all_of_it = f"{number} of {number + len(trouble.missing_changes)} changes are here"
        found = all_of_it if steps else "all of it is here"
        name = trouble.migration.name
        self._end(trouble, found, "completed and marked as applied" if steps else "marked as applied")
        record = self._queries["upgrade.record"]
        values = {"migration": name, "checksum": trouble.checksum}
        self._steps.append(Statements(f"mark {name} as applied", (record,), values))

    def _require_known(self, trouble: Trouble) -> None:
        """Raise Refused for a file that isn't the one whose changes are known here."""
        known = {checksum.sha256 for checksum in trouble.migration.checksums}
        if trouble.missing_changes and trouble.checksum not in known:
            name = trouble.migration.name
            raise Refused(
                f"What Umami's file of migration {name} does isn't known here: no release had it when this "
                "was written, or its text was another one.",
                hint="Compare it with the database, run what is missing, then: npx prisma migrate resolve "
                f"--applied {name}",
                done="Nothing was changed.",
            )

    def _moving(self, move: Move, trouble: Trouble) -> list[Step]:
        """Return the steps of a change of rows, unless what it reads is gone, and it was made by then."""
        gone = self._state.is_made(move)
        if gone or (not trouble.missing_changes and not trouble.rows):
            return []
        query = self._queries[f"upgrade.move_{move.name}"]
        if move.few:
            return [Statements(move.about, query.statements)]
        return [Batches(move.about, self._queries[f"upgrade.{SLICES[move.name]}"], query, {"after": None})]

    def _end(
        self, trouble: Trouble, found: str, outcome: str, taken_back: Sequence[SchemaChange] = ()
    ) -> None:
        name = trouble.migration.name
        if trouble.rows:
            give_up = self._queries["upgrade.give_up"]
            self._steps.append(Statements(f"give the attempt at {name} up", (give_up,), {"migration": name}))
        self._about.append(
            {
                "name": name,
                "started_at": trouble.rows[-1].started_at if trouble.rows else None,
                "log": _telling(trouble.rows[-1].logs or "") if trouble.rows else None,
                "found": found,
                "outcome": outcome,
                "made": [described(change) for change in trouble.changes_made],
                "missing": [described(change) for change in trouble.missing_changes],
                "taken_back": [described(change) for change in taken_back],
            }
        )


def _lasts(change: Change, schema: Schema) -> bool:
    """Say whether a change's effect can still be seen at a schema's level."""
    match change:
        case AddTable():
            return change.table.name in schema
        case AddIndex():
            return change.table in schema and change.index in schema.table(change.table).indexes
        case Move():
            return True
        case _ if hasattr(change, "column"):
            wanted = isinstance(change, AddColumn | RequireValues)
            here = change.table in schema and change.column.name in schema.table(change.table).column_names
            return here is wanted
        case _:
            return True


def _as_of(change: Change, schema: Schema) -> Change:
    """Return a change with a new table's columns as far as later migrations have left them."""
    if not isinstance(change, AddTable):
        return change
    later = schema.table(change.table.name).column_names
    columns = tuple(column for column in change.table.columns if column.name in later)
    return replace(change, table=replace(change.table, columns=columns))


def _telling(logs: str) -> str:
    lines = [line.strip() for line in logs.splitlines() if line.strip()]
    telling = [line for line in lines if line.lower().startswith(("error:", "db error", "message"))]
    return (telling or lines or [""])[-1][:300]


def _first_by_hand(causes: Sequence[Obstacle]) -> Refused:
    sentences = dict.fromkeys(cause.sentence for cause in causes)
    cures = dict.fromkeys(cause.cure for cause in causes)
    return Refused(
        "\n       ".join(sentences),
        hint="\n      ".join([*cures, "Then run this again."]),
        done="Nothing was changed; the migration had left nothing.",
    )
