"""Checks of indexes, columns and what others hung on Umami's tables, against the schema of its level."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from umami_ops.databases.base import WORKING_PREFIX
from umami_ops.operations.health.check import (
    Examination,
    Finding,
    Outcome,
    Severity,
    bytes_in_words,
    check,
    some,
)
from umami_ops.umami.changes import DropIndex, changes
from umami_ops.umami.migrations import migrations
from umami_ops.umami.schema import Index, PrimaryKey, Schema, latest_level, schema_at
from umami_ops.umami.tables import TABLES


@dataclass(frozen=True)
class _IndexHere:
    """An index as the catalogue shows it; `plain` ones are neither partial nor of expressions."""

    table: str
    name: str
    columns: tuple[str | None, ...]
    unique: bool
    primary: bool
    valid: bool
    building: bool
    plain: bool
    size_bytes: int | None
    scans: int | None


def _indexes(examination: Examination) -> list[_IndexHere]:
    found = []
    for (table, name), group in groupby(examination.rows("indexes"), key=itemgetter("table", "name")):
        rows = list(group)
        first = rows[0]
        found.append(
            _IndexHere(
                table,
                name,
                tuple(row["column"] for row in rows),
                unique=bool(first["is_unique"]),
                primary=bool(first["is_primary"]),
                valid=bool(first["is_valid"]),
                building=bool(first["is_building"]),
                plain=all(row["plain"] for row in rows),
                size_bytes=first["size_bytes"],
                scans=first["scans"],
            )
        )
    return found


def _schema(examination: Examination) -> Schema | None:
    level = examination.installation.level
    return None if level is None else schema_at(examination.connection.dialect.name, level)


@check(
    title="Keys and indexes of Umami's: missing, renamed or changed",
    why="Without its index a dashboard reads the whole table; and Umami's later migrations drop indexes by "
    "their name "
    "and fail when it isn't there.",
    rule="critical when a later migration drops the missing name, or a primary key is missing; "
    "warning otherwise",
    cure="The finding names the statement that creates or renames the index.",
)
def indexes(examination: Examination) -> Iterator[Outcome]:
    """Compare the indexes of each table that is here with those of the level."""
    schema = _schema(examination)
    if schema is None:
        return
    here = _indexes(examination)
    for table in schema.tables:
        mine = [index for index in here if index.table == table.name]
        names = {index.name for index in mine}
        if table.name in examination.installation.relations:
            if table.primary_key and not any(index.primary for index in mine):
                yield _keyless(examination, table.name, table.primary_key)
            for index in table.indexes:
                if index.name not in names:
                    yield _missing(examination, schema, table.name, index, mine)
            expected = {index.name: index for index in table.indexes}
            yield from (_changed(i, expected[i.name]) for i in mine if _differs(i, expected.get(i.name)))


def _missing(
    examination: Examination, schema: Schema, table: str, index: Index, here: list[_IndexHere]
) -> Finding:
    quote = examination.quote
    expected = {index.name for index in schema.table(table).indexes}
    twins = [
        other.name
        for other in here
        if other.columns == index.columns and other.plain and not other.primary and other.name not in expected
    ]
    columns = ", ".join(index.columns)
    dropped_by = _dropped_by(schema, table, index.name)
    fails = f"; migration {dropped_by:02} drops it by name and will fail" if dropped_by else ""
    if twins:
        sentence = f"Index {index.name} of {table} is called {twins[0]} here{fails}."
        cure = examination.cure(
            "rename_index",
            found=examination.place(twins[0]),
            relation=examination.place(table),
            name=quote(index.name),
        )
    else:
        sentence = f"Index {index.name} on {table} ({columns}) is missing{fails}."
        cure = examination.cure(
            "create_unique_index" if index.unique else "create_index",
            *_words(examination, table),
            name=quote(index.name),
            relation=examination.place(table),
            columns=", ".join(quote(column) for column in index.columns),
        )
    return Finding(
        Severity.CRITICAL if dropped_by else Severity.WARNING,
        sentence,
        cure,
        index.name,
        {
            "table": table,
            "columns": list(index.columns),
            "found_as": twins[:1],
            "dropped_by_level": dropped_by,
        },
    )


def _keyless(examination: Examination, table: str, key: PrimaryKey) -> Finding:
    quote = examination.quote
    columns = ", ".join(quote(column) for column in key.columns)
    return Finding(
        Severity.CRITICAL,
        f"Table {table} has no primary key ({', '.join(key.columns)}).",
        examination.cure(
            "add_primary_key", relation=examination.place(table), name=quote(key.name), columns=columns
        ),
        table,
        {"table": table, "columns": list(key.columns)},
    )


def _differs(here: _IndexHere, expected: Index | None) -> bool:
    if expected is None:
        return False
    return here.columns != expected.columns or here.unique != expected.unique or not here.plain


def _changed(here: _IndexHere, expected: Index) -> Finding:
    kind = "a unique index" if expected.unique else "an index"
    return Finding(
        Severity.WARNING,
        f"Index {here.name} of {here.table} is not as Umami made it: {kind} on "
        f"{', '.join(expected.columns)}.",
        "Drop it and run this again: it names the statement that creates it.",
        here.name,
        {"table": here.table, "columns": list(here.columns), "expected": list(expected.columns)},
    )


def _dropped_by(schema: Schema, table: str, name: str) -> int | None:
    """Return the level, later than the schema's, whose migration fails without the index, if any."""
    for level in (migration.level for migration in migrations(schema.dialect)):
        if level > schema.level and any(
            isinstance(change, DropIndex)
            and not change.tolerant
            and (change.table, change.index.name) == (table, name)
            for change in changes(schema.dialect, level)
        ):
            return level
    return None


@check(
    title="Column types",
    why="Umami's migrations and queries expect the type that earlier migrations made; another one fails or "
    "is slow.",
    rule="warning for each column of another type than the level's",
    cure="ALTER the column to the type that the finding names; rewriting a big table locks it meanwhile.",
)
def column_types(examination: Examination) -> Iterator[Outcome]:
    """Compare the types of columns that are here with those of the level."""
    schema = _schema(examination)
    for table in schema.tables if schema else ():
        for column in table.columns:
            found = examination.installation.columns.get(table.name, {}).get(column.name)
            if found is not None and not _same_type(found, column.type):
                yield Finding(
                    Severity.WARNING,
                    f"Column {table.name}.{column.name} is {found}, where Umami has {column.type}.",
                    f"ALTER TABLE {examination.quote(table.name)} … to {column.type}, after a backup.",
                    f"{table.name}.{column.name}",
                    {"found": found, "expected": column.type},
                )


def _same_type(found: str, expected: str) -> bool:
    """Say whether types are the same; MariaDB shows a display width, and JSON as the longtext it is."""
    plain = re.sub(r"\bint\(\d+\)", "int", found)
    return plain == expected or (plain, expected) == ("longtext", "json")


@check(
    title="Invalid indexes",
    why="What a failed CREATE INDEX CONCURRENTLY leaves answers no query, yet every insert has to keep it up "
    "to date.",
    rule="warning for each",
    cure="DROP INDEX CONCURRENTLY, then create it again.",
)
def invalid_indexes(examination: Examination) -> Iterator[Outcome]:
    """Name the indexes that the catalogue calls invalid."""
    for index in _indexes(examination):
        # One that is being built is invalid until its end; dropping it would wait for that, and then undo it.
        if not index.valid and not index.building:
            yield Finding(
                Severity.WARNING,
                f"Index {index.name} of {index.table} is invalid: it costs every insert and answers nothing.",
                _drop(examination, index),
                index.name,
                {"table": index.table, "size_bytes": index.size_bytes},
            )


@check(
    title="Duplicate and unused indexes",
    why="website_event has fourteen indexes already, 80 % of its size; each further one slows every page "
    "view.",
    rule="warning for an index that isn't Umami's and has the same columns as another; info for one that "
    "isn't Umami's and that nothing has used since the statistics began",
    cure="DROP INDEX, after a look at who made it and what for.",
)
def superfluous_indexes(examination: Examination) -> Iterator[Outcome]:
    """Look at indexes that aren't Umami's; its own stay, used or not: migrations drop them."""
    schema = _schema(examination)
    if schema is None:
        return
    here = [index for index in _indexes(examination) if index.valid and index.table in schema]
    # `upgrade prepare` builds those of migrations to come.
    later = schema_at(schema.dialect, latest_level(schema.dialect))
    coming = {own.name for table in later.tables for own in table.indexes}
    for index in here:
        table = schema.table(index.table)
        if index.primary or not index.plain or index.name in {own.name for own in table.indexes} | coming:
            continue
        same = [o for o in here if o != index and (o.table, o.columns) == (index.table, index.columns)]
        twins = [other.name for other in same if other.plain and other.unique >= index.unique]
        # Of two strangers alike one is enough; a renamed one of Umami's is another finding.
        own = [name for name in twins if name in {i.name for i in table.indexes} or name < index.name]
        primary = [other.name for other in same if other.primary]
        evidence = {"table": index.table, "columns": list(index.columns), "size_bytes": index.size_bytes}
        size = f", {bytes_in_words(index.size_bytes)}" if index.size_bytes else ""
        if own or primary:
            yield Finding(
                Severity.WARNING,
                f"Index {index.name} of {index.table} has the same columns as {(primary or own)[0]}{size}.",
                _drop(examination, index),
                index.name,
                evidence | {"same_as": (primary or own)[0]},
            )
        elif (
            index.scans == 0 and not index.unique and index.columns not in {i.columns for i in table.indexes}
        ):
            yield Finding(
                Severity.INFO,
                f"Index {index.name} of {index.table} is not Umami's, and nothing has used it yet{size}.",
                _drop(examination, index),
                index.name,
                evidence | {"scans": 0},
            )


def _drop(examination: Examination, index: _IndexHere) -> str:
    return examination.cure(
        "drop_index",
        *_words(examination, index.table),
        name=examination.place(index.name),
        relation=examination.place(index.table),
    )


def _words(examination: Examination, table: str) -> tuple[str, ...]:
    """Return what a cure must know: beside writers nothing can be done to an index of all partitions."""
    relation = examination.installation.relations.get(table)
    return ("partitioned",) if relation is not None and relation.kind == "partitioned table" else ()


@check(
    title="Views on Umami's tables",
    why="PostgreSQL refuses to change or drop a column that a view reads, and with it Umami's migration.",
    rule="warning for each view, on PostgreSQL; on MySQL and MariaDB views stop no migration",
    cure="Drop the view before Umami's next upgrade and create it again afterwards; pg_dump -t VIEW keeps "
    "its text.",
)
def views(examination: Examination) -> Iterator[Outcome]:
    """Name the views that read Umami's tables."""
    read: dict[str, list[str]] = {}
    for row in examination.rows("views"):
        if row["table"] in TABLES:
            read.setdefault(row["name"], []).append(row["table"])
    for view, tables in read.items():
        yield Finding(
            Severity.WARNING,
            f"View {view} reads {some(tables)}: a migration that changes one of its columns will fail.",
            f"Before Umami's next upgrade keep its text (pg_dump -t '{view}'), then DROP VIEW {view}.",
            view,
            {"tables": tables},
        )


@check(
    title="Triggers on Umami's tables",
    why="Umami makes none. A trigger runs with every insert of every page view, and stops --rebuild.",
    rule="info for each",
    cure="DROP TRIGGER, unless you know what it is for.",
)
def triggers(examination: Examination) -> Iterator[Outcome]:
    """Name the triggers on Umami's tables."""
    for row in examination.rows("triggers"):
        # Those of a change of partitions are told of by the check `partitions`.
        if row["table"] in TABLES and not row["name"].startswith(WORKING_PREFIX):
            yield Finding(
                Severity.INFO,
                f"Trigger {row['name']} on {row['table']} is not Umami's and runs with every write.",
                "Find out who made it and what for.",
                row["name"],
                {"table": row["table"]},
            )


@check(
    title="Character sets and collations",
    why="Anything but UTF-8 can't hold all page titles; columns of different collations compare slowly or "
    "not at all.",
    rule="warning when the database (PostgreSQL) or a column (MySQL, MariaDB) is not as Umami's migrations "
    "make it",
    cure="On MySQL: ALTER TABLE … CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci, after a "
    "backup. On "
    "PostgreSQL: dump, create the database with ENCODING 'UTF8', restore.",
)
def character_sets(examination: Examination) -> Iterator[Outcome]:
    """Name what is encoded or collated otherwise, all in one finding."""
    tables = [name for name in TABLES if name in examination.installation.relations]
    wrong = examination.rows("character_sets", tables=tables)
    if wrong:
        names, first = [row["name"] for row in wrong], wrong[0]
        yield Finding(
            Severity.WARNING,
            f"{some(names)}: {first['found']}, where Umami has {first['expected']}.",
            "See docs/health.md, character_sets; make a backup first.",
            evidence={
                "found": sorted({row["found"] for row in wrong}),
                "count": len(wrong),
                "names": names[:20],
            },
        )
