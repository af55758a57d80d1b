"""Umami's schema at every migration level, as frozen values.

The facts stand in `sql/umami/<dialect>.json`, one file a dialect, in which every table, column, key and index
carries the level `since` which it exists and, when it is gone again, the level `until` (exclusive). An entry
without `since` is as old as its table. A column whose type changed has one entry a type.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

DIALECTS = ("postgresql", "mysql")


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `type` and `default` are spelt as the dialect's catalogue spells them."""

    name: str
    type: str
    nullable: bool = False
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Index:
    """A secondary index, unique or not."""

    name: str
    columns: tuple[str, ...]
    unique: bool = False


@dataclass(frozen=True, slots=True)
class PrimaryKey:
    """A primary key; on MySQL it is always named PRIMARY."""

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key that the server enforces. Umami has one: api_key to user, from level 26."""

    name: str
    columns: tuple[str, ...]
    references: str
    referenced_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its columns in the order of an installation that went through every migration."""

    name: str
    columns: tuple[Column, ...]
    primary_key: PrimaryKey | None
    indexes: tuple[Index, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """Return the column of that name. Raises KeyError when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name} has no column {name}")


@dataclass(frozen=True, slots=True)
class Schema:
    """All tables at one level, sorted by name; `_prisma_migrations` is Prisma's and not among them."""

    dialect: str
    level: int
    tables: tuple[Table, ...]

    @property
    def table_names(self) -> tuple[str, ...]:
        """The names of the tables, sorted."""
        return tuple(table.name for table in self.tables)

    def table(self, name: str) -> Table:
        """Return the table of that name. Raises KeyError when the level has none."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(f"Umami's schema at level {self.level} has no table {name}")

    def __contains__(self, name: object) -> bool:
        return any(table.name == name for table in self.tables)


def latest_level(dialect: str) -> int:
    """Return the highest migration level whose schema is known (13 on MySQL, which Umami v3 dropped).

    It may be unreleased: `migrations.latest_released_level` tells what Umami has shipped.
    """
    level = _document(dialect)["latest_level"]
    assert isinstance(level, int)
    return level


@cache
def schema_at(dialect: str, level: int) -> Schema:
    """Return the schema after migration `level`; a level that changed no table equals the one before it.

    Raises ValueError for a level below 1 or above `latest_level(dialect)`.
    """
    latest = latest_level(dialect)
    if not 1 <= level <= latest:
        raise ValueError(f"Umami's {dialect} schema is known at levels 1 to {latest}, not {level}")
    tables = _document(dialect)["tables"]
    return Schema(
        dialect,
        level,
        tuple(
            _table(name, entry, level) for name, entry in sorted(tables.items()) if _exists(entry, 1, level)
        ),
    )


@cache
def id_columns(table: str) -> frozenset[str]:
    """Return the columns of a table that hold UUIDs, at any level: MySQL's types don't say so."""
    entry = _document("postgresql")["tables"].get(table, {"columns": []})
    return frozenset(column["name"] for column in entry["columns"] if column["type"] == "uuid")


@cache
def _document(dialect: str) -> Mapping[str, Any]:
    if dialect not in DIALECTS:
        raise ValueError(f"Umami runs on {' and '.join(DIALECTS)}, not on {dialect}")
    # Imported here, not above: most commands never ask for a schema, and start-up is to stay fast.
    from umami_ops.sql import resource

    document = json.loads(resource(f"umami/{dialect}.json").read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def _exists(entry: Mapping[str, Any], table_since: int, level: int) -> bool:
    since, until = entry.get("since", table_since), entry.get("until")
    return bool(since <= level and (until is None or level < until))


def _table(name: str, entry: Mapping[str, Any], level: int) -> Table:
    def alive(key: str) -> Iterable[Mapping[str, Any]]:
        return (item for item in entry.get(key, ()) if _exists(item, entry["since"], level))

    keys = [PrimaryKey(key["name"], tuple(key["columns"])) for key in alive("primary_key")]
    return Table(
        name,
        columns=tuple(
            Column(c["name"], c["type"], c.get("nullable", False), c.get("default")) for c in alive("columns")
        ),
        primary_key=keys[0] if keys else None,
        indexes=tuple(
            Index(i["name"], tuple(i["columns"]), i.get("unique", False)) for i in alive("indexes")
        ),
        foreign_keys=tuple(
            ForeignKey(f["name"], tuple(f["columns"]), f["references"], tuple(f["referenced_columns"]))
            for f in alive("foreign_keys")
        ),
    )
