"""What each of Umami's migrations does to a database, change by change, as frozen values.

Most of it is the difference between the schemas of two levels. What a difference can't show stands here as
facts, read off Umami's migrations: which column was renamed rather than dropped, which statement passes
over what is already there, and what happens to rows. The order within a migration is one that always works,
not Umami's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

from umami_ops.umami.schema import Column, ForeignKey, Index, Schema, Table, schema_at

#: (level, table) → old name → new name, on whichever dialect has the old one.
_RENAMED: Mapping[tuple[int, str], Mapping[str, str]] = {
    (2, "event_data"): {
        "event_data_type": "data_type",
        "event_date_value": "date_value",
        "event_id": "event_data_id",
        "event_numeric_value": "number_value",
        "event_string_value": "string_value",
    },
    (6, "event_data"): {"event_key": "data_key"},
    (6, "session_data"): {"session_key": "data_key", "event_key": "data_key"},
    (9, "session"): {"subdivision1": "region"},
}
#: Levels whose statements say IF EXISTS when they drop, and IF NOT EXISTS when they add an index.
_TOLERANT_DROPS = {"postgresql": frozenset({6, 9, 19, 27}), "mysql": frozenset[int]()}
_TOLERANT_INDEXES = frozenset({22, 27, 28})


@dataclass(frozen=True, slots=True)
class AddTable:
    """CREATE TABLE, its indexes apart."""

    table: Table


@dataclass(frozen=True, slots=True)
class DropTable:
    """DROP TABLE."""

    table: str


@dataclass(frozen=True, slots=True)
class AddColumn:
    """ADD COLUMN: without a default it allows NULL, which RequireValues ends when the rows are filled."""

    table: str
    column: Column


@dataclass(frozen=True, slots=True)
class RequireValues:
    """SET NOT NULL."""

    table: str
    column: Column


@dataclass(frozen=True, slots=True)
class RenameColumn:
    """RENAME COLUMN."""

    table: str
    before: str
    after: Column


@dataclass(frozen=True, slots=True)
class ChangeType:
    """A column gets another type; on every server this reads all rows and writes them anew."""

    table: str
    before: Column
    after: Column


@dataclass(frozen=True, slots=True)
class DropColumn:
    """DROP COLUMN; a tolerant one passes over a column that is gone already."""

    table: str
    column: Column
    tolerant: bool


@dataclass(frozen=True, slots=True)
class AddIndex:
    """CREATE INDEX; a tolerant one passes over an index that is there already."""

    table: str
    index: Index
    tolerant: bool


@dataclass(frozen=True, slots=True)
class DropIndex:
    """DROP INDEX; a tolerant one passes over an index that is gone already."""

    table: str
    index: Index
    tolerant: bool


@dataclass(frozen=True, slots=True)
class AddForeignKey:
    """ADD FOREIGN KEY."""

    table: str
    key: ForeignKey


@dataclass(frozen=True, slots=True)
class Move:
    """A change of rows, `upgrade.move_<name>` in sql/: run again it changes nothing more.

    `table` is written, every row of it or `few`. It reads `source`, a column that the same migration may
    drop, and fails where a column of `types` isn't of that type.
    """

    name: str
    about: str
    table: str
    few: bool
    source: tuple[str, str]
    types: Mapping[tuple[str, str], str]


Change = (
    AddTable | DropTable | AddColumn | RequireValues | RenameColumn | ChangeType | DropColumn | AddIndex
    | DropIndex | AddForeignKey | Move
)  # fmt: skip

_MOVES: Mapping[int, Move] = {
    2: Move(
        "event_values",
        "writes numbers and dates of event_data as text, too",
        "event_data",
        few=False,
        source=("event_data", "string_value"),
        types={},
    ),
    4: Move(
        "website_owners",
        "notes who made each website",
        "website",
        few=True,
        source=("website", "created_by"),
        types={},
    ),
    5: Move(
        "visits",
        "gives every event the visit that it belongs to: a session's events of one hour",
        "website_event",
        few=False,
        source=("website_event", "visit_id"),
        types={},
    ),
    9: Move(
        "hostnames",
        "copies the hostname from session into every event",
        "website_event",
        few=False,
        source=("session", "hostname"),
        types={},
    ),
    14: Move(
        "reports",
        "rewrites reports of funnels and goals",
        "report",
        few=True,
        source=("report", "parameters"),
        types={("report", "parameters"): "jsonb"},
    ),
    15: Move(
        "shares",
        "moves share ids from website to the new table share",
        "share",
        few=True,
        source=("website", "share_id"),
        types={("website", "website_id"): "uuid"},
    ),
    23: Move(
        "duplicates",
        "deletes duplicates of session_data: of a session's rows with the same key the newest stays",
        "session_data",
        few=False,
        source=("session_data", "data_key"),
        types={},
    ),
}


@cache
def changes(dialect: str, level: int) -> tuple[Change, ...]:
    """Return what migration `level` does. Raises ValueError for level 1, which makes everything, and
    unknown ones.
    """
    before, after = schema_at(dialect, level - 1), schema_at(dialect, level)
    return tuple(_changes(dialect, level, before, after))


def _changes(dialect: str, level: int, before: Schema, after: Schema) -> Iterator[Change]:
    kept = [(before.table(name), after.table(name)) for name in before.table_names if name in after]
    new = [after.table(name) for name in after.table_names if name not in before]
    drops_tolerant = level in _TOLERANT_DROPS[dialect]
    for old, table in kept:
        yield from _columns(level, old, table)
    yield from (AddTable(replace(table, indexes=(), foreign_keys=())) for table in new)
    if level in _MOVES:
        yield _MOVES[level]
    for old, table in kept:
        renamed = set(_RENAMED.get((level, table.name), {}).values())
        for column in table.columns:
            if column.name not in {*old.column_names, *renamed} and _is_filled_later(column):
                yield RequireValues(table.name, column)
    for old, table in kept:
        names = {index.name for index in table.indexes}
        yield from (DropIndex(table.name, i, drops_tolerant) for i in old.indexes if i.name not in names)
        renames = _RENAMED.get((level, table.name), {})
        for column in old.columns:
            if column.name not in table.column_names and column.name not in renames:
                yield DropColumn(table.name, column, drops_tolerant)
    yield from (DropTable(name) for name in before.table_names if name not in after)
    tolerant = level in _TOLERANT_INDEXES
    for old, table in kept:
        names = {index.name for index in old.indexes}
        for index in table.indexes:
            if index.name not in names:
                yield AddIndex(table.name, index, tolerant)
    for table in new:
        yield from (AddIndex(table.name, index, tolerant=False) for index in table.indexes)
        yield from (AddForeignKey(table.name, key) for key in table.foreign_keys)


def _columns(level: int, old: Table, table: Table) -> Iterator[Change]:
    renames = _RENAMED.get((level, table.name), {})
    renamed = {after: before for before, after in renames.items() if before in old.column_names}
    for column in table.columns:
        if column.name in old.column_names:
            former = old.column(column.name)
            if former.type != column.type:
                yield ChangeType(table.name, former, column)
        elif column.name in renamed:
            yield RenameColumn(table.name, renamed[column.name], column)
        else:
            yield AddColumn(
                table.name, replace(column, nullable=True) if _is_filled_later(column) else column
            )


def _is_filled_later(column: Column) -> bool:
    return not column.nullable and column.default is None


def same_type(found: str, expected: str) -> bool:
    """Say whether types are the same; MariaDB shows a display width, and JSON as the longtext it is."""
    plain = re.sub(r"\bint\(\d+\)", "int", found)
    return plain == expected or (plain, expected) == ("longtext", "json")
