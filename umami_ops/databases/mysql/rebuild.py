"""Rebuilding tables without the rows that go, or in another layout: the SQL, as data. Nothing here runs it.

The way of pt-online-schema-change and gh-ost: beside each table stands an empty copy without secondary
indexes; triggers carry every write over; what is kept is copied in key order; then the indexes are built at
once and all tables change places in one RENAME. The copies stand in Umami's own database, as only there a
user surely may create tables and RENAME keeps the triggers; Prisma minds none beside `_prisma_migrations`.
"""

# ruff: noqa: S608 -- identifiers pass through the one quoting function, values are parameters

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from umami_ops.databases.base import WORKING_PREFIX, Connection, Row
from umami_ops.databases.mysql.dialect import MYSQL
from umami_ops.errors import Refused
from umami_ops.plan import Rebuild, TableRebuild
from umami_ops.sql import Query

# Which rows (alias t) stay, by the words and values of prune.
_DOOMED = """COALESCE(e.created_at < :event_horizon, :null_past)
  AND e.website_id IN :websites --? only
  AND e.website_id NOT IN :websites --? except
"""
_KEPT = {
    "website_event": Query("rebuild.kept", "", f"NOT (\n  {_DOOMED})".replace("e.", "t.")),
    "event_data": Query(
        "rebuild.kept",
        "",
        f"NOT EXISTS (SELECT 1 FROM website_event AS e WHERE e.event_id = t.website_event_id AND {_DOOMED})",
    ),
    "revenue": Query(
        "rebuild.kept",
        "",
        f"NOT EXISTS (SELECT 1 FROM website_event AS e WHERE e.event_id = t.event_id AND {_DOOMED})",
    ),
}

_NEW, _OLD = f"{WORKING_PREFIX}new_", f"{WORKING_PREFIX}old_"
_ONLINE = "ALGORITHM=INPLACE, LOCK=NONE"
#: In this order: a row that the trigger of inserts brings, and that is deleted before the one of deletes
#: stands, would come back with the copy.
_TRIGGERS = ("delete", "update", "insert")


def rebuild(
    connection: Connection, tables: Sequence[str], words: Iterable[str], values: Mapping[str, Any]
) -> Rebuild:
    """Return the step that makes tables anew; `words` and `values` as in sql/mysql/prune.sql.

    Raises Refused when a table has what a copy would lose or break: triggers, foreign keys, generated columns
    or indexes of other kinds than Prisma makes. Sources: the MySQL manual on CREATE TABLE … LIKE, and on
    online DDL; `LOCK IN SHARE MODE` keeps a row from being deleted between the read and the copy.
    """
    kept = {table: _KEPT[table].when(words).text for table in tables}
    parts = {table: _table_sql(connection, table, condition) for table, condition in kept.items()}
    return _rebuild(f"rebuild of {', '.join(parts)}", parts, values)


def relay(connection: Connection, table: str, title: str, layout: Sequence[str]) -> Rebuild:
    """Return the step that makes a table anew with all its rows, in another layout.

    `layout` are what ALTER TABLE is given for the empty copy, one after the other. Raises Refused as
    `rebuild` does, but for partitions.
    """
    return _rebuild(title, {table: _table_sql(connection, table, "TRUE", layout)}, {})


def relay_on(connection: Connection, table: str, title: str) -> Rebuild:
    """Return the step that goes on with the copy which an interrupted run left, in its layout.

    Its triggers have kept it up to date, so that rows which are there already are merely passed over. Indexes
    that it lacks are built.
    """
    part = _table_sql(connection, table, "TRUE", ())
    there = _indexes(connection, f"{_NEW}{table}")
    lacking = {name: keys for name, keys in _indexes(connection, table).items() if name not in there}
    part = replace(part, create=(), follow=(), index=_building(connection, table, lacking))
    return _rebuild(title, {table: part}, {})


def is_followed(connection: Connection, table: str) -> bool:
    """Say whether a copy of the table is there, with its columns, no other indexes, and all its triggers."""
    triggers = {row["name"] for row in connection.rows(_LEFT_TRIGGERS)}
    own, copied = (connection.rows(_SHAPE, table=name) for name in (table, f"{_NEW}{table}"))
    return (
        {f"{WORKING_PREFIX}{kind}_{table}" for kind in _TRIGGERS} <= triggers
        and _columns(own) == _columns(copied)
        and _secondary(copied).items() <= _secondary(own).items()
    )


def _columns(shape: Iterable[Row]) -> list[tuple[Any, ...]]:
    """Return the columns of a shape, but for what a layout changes: a key of partitions is never NULL."""
    return [
        (row["name"], row["place"], row["type"], row["collation"])
        + (() if row["name"] == "created_at" else (row["nullable"], row["default_text"]))
        for row in shape
        if row["kind"] == "column"
    ]


def _secondary(shape: Iterable[Row]) -> dict[str, tuple[Any, ...]]:
    """Return the indexes of a shape, each with its columns and whether it is unique."""
    indexes: dict[str, tuple[Any, ...]] = {}
    for row in shape:
        if row["kind"] == "index" and row["name"] != "PRIMARY":
            indexes[row["name"]] = (*indexes.get(row["name"], ()), (row["type"], row["nullable"]))
    return indexes


def _rebuild(title: str, parts: Mapping[str, TableRebuild], values: Mapping[str, Any]) -> Rebuild:
    swap = ", ".join(
        f"{_q(table)} TO {_q(_OLD + table)}, {_q(_NEW + table)} TO {_q(table)}" for table in parts
    )
    return Rebuild(
        title=title,
        tables=parts,
        hold_prisma=_HOLD_PRISMA,
        let_prisma=_LET_PRISMA,
        swap=_statement("swap", "All tables change places at once.", f"RENAME TABLE {swap}"),
        finish=tuple(
            _statement("finish", "The old tables go, with their triggers.", f"DROP TABLE {_q(_OLD + table)}")
            for table in parts
        ),
        values=values,
    )


def leftovers(connection: Connection) -> tuple[Query, ...]:
    """Return the statements that clear away what a killed rebuild left: triggers first, then the copies."""
    triggers = connection.rows(_LEFT_TRIGGERS)
    tables = connection.rows(_LEFT_TABLES)
    return tuple(
        _statement(
            "clear", "A trigger of an interrupted rebuild.", f"DROP TRIGGER IF EXISTS {_q(row['name'])}"
        )
        for row in triggers
    ) + tuple(
        _statement("clear", "A copy of an interrupted rebuild.", f"DROP TABLE IF EXISTS {_q(row['name'])}")
        for row in tables
    )


def _table_sql(
    connection: Connection, table: str, keep: str, layout: Sequence[str] | None = None
) -> TableRebuild:
    columns = [row["name"] for row in connection.rows(_COLUMNS, table=table)]
    indexes = _indexes(connection, table)
    _refuse_what_is_special(connection, table, but=() if layout is None else ("partitions",))
    keys = indexes.pop("PRIMARY", ())
    if len(keys) != 1 and layout is None:
        raise Refused(f"{table} has no primary key of one column, which a rebuild needs.")
    key = keys[0]
    new = _q(_NEW + table)
    drops = ", ".join(f"DROP INDEX {_q(name)}" for name in indexes)
    ranged = f"(:after IS NULL OR t.{_q(key)} > :after) AND t.{_q(key)} <= :last"
    return TableRebuild(
        shape=_SHAPE,
        planned=connection.rows(_SHAPE, table=table),
        create=(
            _statement("create", "An empty copy beside the table.", f"CREATE TABLE {new} LIKE {_q(table)}"),
            *(
                [_statement("create", "Without indexes it fills fast.", f"ALTER TABLE {new} {drops}")]
                if drops
                else []
            ),
            *(
                _statement("create", "In its new layout.", f"ALTER TABLE {new} {change}")
                for change in layout or ()
            ),
        ),
        follow=tuple(_trigger(table, kind, key, columns) for kind in _TRIGGERS),
        next_slice=_statement(
            "next",
            "Finds the end of the next range of keys.",
            f"SELECT MAX(r.k) AS last, COUNT(*) AS picked FROM (SELECT t.{_q(key)} AS k FROM {_q(table)} AS t"
            f" WHERE :after IS NULL OR t.{_q(key)} > :after ORDER BY t.{_q(key)} LIMIT :batch_rows) AS r"
            " HAVING COUNT(*) > 0",
        ),
        copy=_statement(
            "copy",
            "Copies what is kept of a range; rows that the triggers brought are there already.",
            f"-- copies: {table}\nINSERT IGNORE INTO {new} SELECT t.* FROM {_q(table)} AS t"
            f" WHERE {ranged} AND {keep} LOCK IN SHARE MODE",
        ),
        index=_building(connection, table, indexes),
        compare=_statement(
            "compare",
            "In one snapshot the copy holds what is kept, and what the triggers brought since.",
            f"SELECT (SELECT COUNT(*) FROM {_q(table)}) AS total,"
            f" (SELECT COUNT(*) FROM {_q(table)} AS t WHERE {keep}) AS kept,"
            f" (SELECT COUNT(*) FROM {new}) AS copied",
        ),
    )


def _trigger(table: str, kind: str, key: str, columns: Sequence[str]) -> Query:
    new = _q(_NEW + table)
    names = ", ".join(map(_q, columns))
    values = ", ".join(f"NEW.{_q(column)}" for column in columns)
    write = f"REPLACE INTO {new} ({names}) VALUES ({values})"
    delete = f"DELETE FROM {new} WHERE {_q(key)} = OLD.{_q(key)}"
    body = {"insert": write, "update": f"BEGIN {delete}; {write}; END", "delete": delete}[kind]
    return _statement(
        "follow",
        "Carries writes over to the copy.",
        f"CREATE TRIGGER {_trigger_name(table, kind)} AFTER {kind.upper()} ON {_q(table)}"
        f" FOR EACH ROW {body}",
    )


def _indexes(connection: Connection, table: str) -> dict[str, tuple[str, ...]]:
    indexes: dict[str, tuple[str, ...]] = {}
    for row in connection.rows(_INDEX_COLUMNS, table=table):
        indexes[row["name"]] = (*indexes.get(row["name"], ()), row["column_name"])
    return indexes


def _is_unique(connection: Connection, table: str, index: str) -> bool:
    rows = connection.rows(_INDEX_COLUMNS, table=table)
    return any(row["name"] == index and not row["non_unique"] for row in rows)


def _refuse_what_is_special(connection: Connection, table: str, but: Collection[str]) -> None:
    special = [row["what"] for row in connection.rows(_SPECIAL, table=table) if row["what"] not in but]
    if special:
        raise Refused(
            f"{table} can't be rebuilt, it has {', '.join(special)}.",
            hint="Prune without --rebuild.",
            done="Nothing was changed.",
        )


def _trigger_name(table: str, kind: str) -> str:
    return _q(f"{WORKING_PREFIX}{kind}_{table}")


def _building(connection: Connection, table: str, indexes: Mapping[str, Sequence[str]]) -> tuple[Query, ...]:
    comments = {row["name"]: row["comment"] for row in connection.rows(_INDEX_COLUMNS, table=table)}
    adds = ", ".join(
        f"ADD {'UNIQUE ' if _is_unique(connection, table, name) else ''}INDEX {_q(name)} "
        f"({', '.join(map(_q, parts))})"
        + (f" COMMENT {connection.literal(comments[name])}" if comments.get(name) else "")
        for name, parts in indexes.items()
    )
    text = f"ALTER TABLE {_q(_NEW + table)} {adds}, {_ONLINE}"
    return (_statement("index", "All indexes in one pass.", text),) if adds else ()


def _statement(step: str, about: str, text: str) -> Query:
    return Query(f"rebuild.{step}", about, text)


def _q(identifier: str) -> str:
    return MYSQL.quote(identifier)


_COLUMNS = Query(
    "rebuild.columns",
    "The columns of a table in their order.",
    "SELECT c.column_name AS name FROM information_schema.columns AS c"
    " WHERE c.table_schema = DATABASE() AND c.table_name = :table ORDER BY c.ordinal_position",
)
_SHAPE = Query(
    "rebuild.shape",
    "The columns and indexes of a table, with all that a migration can change of them; triggers and keys.",
    "SELECT 'column' AS kind, c.column_name AS name, c.ordinal_position AS place, c.column_type AS type,"
    " c.is_nullable AS nullable, c.column_default AS default_text, c.collation_name AS collation"
    " FROM information_schema.columns AS c"
    " WHERE c.table_schema = DATABASE() AND c.table_name = :table"
    " UNION ALL"
    " SELECT 'index', s.index_name, s.seq_in_index, s.column_name, s.non_unique, NULL, NULL"
    " FROM information_schema.statistics AS s"
    " WHERE s.table_schema = DATABASE() AND s.table_name = :table"
    " UNION ALL"
    " SELECT 'trigger', t.trigger_name, t.action_order, t.event_manipulation, NULL, NULL, NULL"
    " FROM information_schema.triggers AS t"
    " WHERE t.trigger_schema = DATABASE() AND t.event_object_table = :table"
    " AND t.trigger_name NOT LIKE '\\_umami\\_ops\\_%'"
    " UNION ALL"
    " SELECT 'foreign key', k.constraint_name, NULL, k.table_name, NULL, NULL, NULL"
    " FROM information_schema.referential_constraints AS k"
    " WHERE k.constraint_schema = DATABASE() AND :table IN (k.table_name, k.referenced_table_name)"
    " ORDER BY kind, name, place",
)
_HOLD_PRISMA = Query(
    "rebuild.hold_prisma",
    "Takes the lock of Prisma's migration engine, if nobody migrates: one that begins waits a moment.",
    "SELECT GET_LOCK('prisma_migrate', 0) AS held",
)
_LET_PRISMA = Query(
    "rebuild.let_prisma",
    "Lets go of that lock.",
    "SELECT RELEASE_LOCK('prisma_migrate') AS released",
)
_INDEX_COLUMNS = Query(
    "rebuild.indexes",
    "The indexes of a table, column by column.",
    "SELECT s.index_name AS name, s.column_name AS column_name, s.non_unique AS non_unique,"
    " s.index_comment AS comment FROM information_schema.statistics AS s"
    " WHERE s.table_schema = DATABASE() AND s.table_name = :table ORDER BY s.index_name, s.seq_in_index",
)
_SPECIAL = Query(
    "rebuild.special",
    "What a copy by CREATE TABLE … LIKE would lose, or a rebuild not carry over.",
    """SELECT CONCAT('the trigger ', t.trigger_name) AS what
FROM information_schema.triggers AS t
WHERE t.trigger_schema = DATABASE()
  AND t.event_object_table = :table
  AND t.trigger_name NOT LIKE '\\_umami\\_ops\\_%'
UNION ALL
SELECT CONCAT('the foreign key ', k.constraint_name)
FROM information_schema.referential_constraints AS k
WHERE k.constraint_schema = DATABASE() AND :table IN (k.table_name, k.referenced_table_name)
UNION ALL
SELECT CONCAT('the generated column ', c.column_name)
FROM information_schema.columns AS c
WHERE c.table_schema = DATABASE()
  AND c.table_name = :table
  AND c.extra LIKE '%GENERATED%'
  AND c.generation_expression <> ''
UNION ALL
SELECT CONCAT('the ', s.index_type, ' index ', s.index_name)
FROM information_schema.statistics AS s
WHERE s.table_schema = DATABASE()
  AND s.table_name = :table
  AND (s.index_type <> 'BTREE' OR s.sub_part IS NOT NULL OR s.column_name IS NULL OR s.collation = 'D')
UNION ALL
SELECT 'partitions'
FROM information_schema.tables AS t
WHERE t.table_schema = DATABASE() AND t.table_name = :table AND t.create_options LIKE '%partitioned%'""",
)
_LEFT_TRIGGERS = Query(
    "rebuild.left_triggers",
    "Triggers that an interrupted rebuild left.",
    "SELECT t.trigger_name AS name FROM information_schema.triggers AS t"
    " WHERE t.trigger_schema = DATABASE() AND t.trigger_name LIKE '\\\\_umami\\\\_ops\\\\_%'",
)
_LEFT_TABLES = Query(
    "rebuild.left_tables",
    "What an interrupted rebuild or restore left; what gave way only where another has taken its place.",
    "SELECT t.table_name AS name FROM information_schema.tables AS t"
    " WHERE t.table_schema = DATABASE()"
    " AND (t.table_name REGEXP '^_umami_ops_(new|in)_'"
    " OR t.table_name REGEXP '^_umami_ops_(old|out)_'"
    " AND EXISTS (SELECT 1 FROM information_schema.tables AS o WHERE o.table_schema = DATABASE()"
    " AND o.table_name = REGEXP_REPLACE(t.table_name, '^_umami_ops_(old|out)_', '')))",
)
