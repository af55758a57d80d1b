"""A schema out of the answers of sql/*/transfer.sql: tables as values, the same on every server."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import groupby

from umami_ops.databases.base import Connection, Row
from umami_ops.databases.transit import Description, Thing
from umami_ops.umami.schema import Column, ForeignKey, Index, PrimaryKey, Table


def described(
    connection: Connection, plain_type: Callable[[str], str], plain_default: Callable[[str], str | None]
) -> Description:
    """Return the description of the schema behind a connection.

    `plain_type` and `plain_default` bring what the server shows into the words of `umami/schema.py`.
    """
    queries = connection.dialect.queries
    columns: dict[str, list[Column]] = {}
    bound: list[tuple[str, Column]] = []
    others = [
        Thing(row["kind"], row["name"], row["relation"])
        for row in connection.rows(queries["transfer.others"])
    ]
    for row in connection.rows(queries["transfer.columns"]):
        default = None if row["default_value"] is None else plain_default(row["default_value"])
        if row["special"]:
            others.append(Thing(row["special"], f"{row['relation']}.{row['name']}", row["relation"]))
            default = None
        column = Column(row["name"], plain_type(row["type"]), bool(row["nullable"]), default)
        columns.setdefault(row["relation"], []).append(column)
        if row["is_bound"]:
            bound.append((row["relation"], column))
    primary: dict[str, PrimaryKey] = {}
    indexes: dict[str, list[Index]] = defaultdict(list)
    for row, names in _by_name(connection.rows(queries["transfer.indexes"])):
        lost = dict.fromkeys(word for part in names for word in part["lost"].split(", ") if word)
        if lost and not row["is_special"]:
            others.append(_on_table(f"{', '.join(lost)} of index", row))
        if row["is_special"]:
            others.append(_on_table("index of its own kind", row))
        elif row["is_primary"]:
            primary[row["relation"]] = PrimaryKey(row["name"], tuple(part["column_name"] for part in names))
        else:
            parts = tuple(part["column_name"] for part in names)
            indexes[row["relation"]].append(Index(row["name"], parts, bool(row["is_unique"])))
    keys: dict[str, list[ForeignKey]] = defaultdict(list)
    for row, names in _by_name(connection.rows(queries["transfer.foreign_keys"])):
        own = tuple(part["column_name"] for part in names)
        other = tuple(part["referenced_column"] for part in names)
        if row["is_special"]:
            others.append(_on_table("ON DELETE or ON UPDATE of foreign key", row))
        keys[row["relation"]].append(ForeignKey(row["name"], own, row["referenced"], other))
    return Description(
        tuple(
            Table(
                name,
                tuple(columns[name]),
                primary.get(name),
                tuple(sorted(indexes[name], key=lambda index: index.name)),
                tuple(keys[name]),
            )
            for name in sorted(columns)
        ),
        tuple(others),
        tuple(bound),
        tuple((row["relation"], row["heir"]) for row in connection.rows(queries["transfer.heirs"])),
    )


def _on_table(kind: str, row: Row) -> Thing:
    return Thing(kind, f"{row['name']} on {row['relation']}", row["relation"])


def _by_name(rows: list[Row]) -> Iterator[tuple[Row, list[Row]]]:
    """Group the rows of one index or key: those that follow each other under one name."""
    for _, group in groupby(rows, key=lambda row: (row["relation"], row["name"])):
        parts = list(group)
        special = any(part.get("is_special") for part in parts)
        yield {**parts[0], "is_special": special}, parts
