"""What PostgreSQL's catalogue says about website_event and its partitions, for the DDL of partitions."""

# ruff: noqa: S608 -- identifiers pass through the one quoting function, values are parameters

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from umami_ops.databases.base import Connection, Row
from umami_ops.databases.partitioning import Slot
from umami_ops.databases.postgresql.dialect import POSTGRESQL
from umami_ops.sql import Query


@dataclass(frozen=True)
class CatalogueIndex:
    """An index as the catalogue shows it; `tail` is its definition from the access method on."""

    name: str
    tail: str
    is_primary: bool
    comment: str | None = None


class Catalogue:
    """Reads the catalogue of the schema that a connection looks at."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def is_table(self, name: str) -> bool:
        """Say whether there is a plain table of that name."""
        return bool(self._connection.value(_IS_TABLE, name=name))

    def namesakes(self, names: Sequence[str]) -> list[str]:
        """Return those of the names that something in the schema bears which is no partition of any table."""
        return [row["name"] for row in self._connection.rows(_NAMESAKES, names=list(names))]

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns in their order."""
        return [row["name"] for row in self._connection.rows(_COLUMNS, name=table)]

    def definitions(self, table: str) -> list[Row]:
        """Return a table's columns in their order, with their types."""
        return self._connection.rows(_DEFINITIONS, name=table)

    def column_list(self, table: str) -> str:
        """Return the columns as they stand in an INSERT and its SELECT."""
        return ", ".join(_q(column) for column in self.columns(table))

    def indexes(self, table: str) -> list[CatalogueIndex]:
        """Return a table's indexes by name, but for those of a run."""
        return [
            CatalogueIndex(row["name"], row["tail"], row["is_primary"], row["comment"])
            for row in self._connection.rows(_INDEXES, name=table)
        ]

    def comments(self, table: str, *, on: Mapping[str, str]) -> tuple[str, ...]:
        """Return what gives indexes the comments of a table's: `on` names them by those."""
        return tuple(
            f"COMMENT ON INDEX {_q(on[index.name])} IS {self._connection.literal(index.comment)}"
            for index in self.indexes(table)
            if index.comment and index.name in on
        )

    def primary_key(self, table: str) -> str:
        """Return the name of the primary key."""
        return str(self._connection.value(_PRIMARY_KEY, name=table))

    def check(self, table: str, name: str) -> str | None:
        """Return a CHECK of a table as the catalogue writes it, or None where there is none of that name."""
        row = self._connection.rows(_CHECK, name=table, check=name)
        return str(row[0]["definition"]) if row else None

    def heirs(self, partition: str) -> list[tuple[str, str]]:
        """Return the indexes of a partition, each with the name of the index that it is a part of."""
        return [(row["name"], row["parent"]) for row in self._connection.rows(_HEIRS, name=partition)]

    def other_owner(self, table: str) -> str | None:
        """Return the owner of a table, or None where that is the user of this session."""
        owner, user = self._connection.row(_OWNER, name=table).values()
        return None if owner == user else str(owner)

    def oldest_transaction(self) -> str:
        """Return the oldest transaction that may still be at work."""
        return str(self._connection.value(_OLDEST_TRANSACTION))

    def within(self, slot: Slot) -> str:
        """Return the condition that a row lies in the slot."""
        literal = self._connection.literal
        return f"created_at >= {literal(slot.since)} AND created_at < {literal(slot.until)}"


def _q(identifier: str) -> str:
    return POSTGRESQL.quote(identifier)


#: The table `:name` of this schema.
HERE = (
    "(SELECT c.oid FROM pg_class AS c WHERE c.relname = :name AND c.relnamespace ="
    " (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema()))"
)
_IS_TABLE = Query(
    "partition.is_table",
    "Whether there is a plain table of that name.",
    f"SELECT EXISTS (SELECT FROM pg_class AS t WHERE t.oid = {HERE} AND t.relkind = 'r') AS found",
)
_NAMESAKES = Query(
    "partition.namesakes",
    "What bears one of these names, and is no partition.",
    "SELECT c.relname AS name FROM pg_class AS c WHERE c.relname = ANY(CAST(:names AS text[]))"
    " AND NOT c.relispartition AND c.relnamespace ="
    " (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema()) ORDER BY c.relname",
)
_COLUMNS = Query(
    "partition.columns",
    "The columns of a table that are written, in their order.",
    "SELECT a.attname AS name FROM pg_attribute AS a"
    f" WHERE a.attrelid = {HERE} AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''"
    " ORDER BY a.attnum",
)
_DEFINITIONS = Query(
    "partition.definitions",
    "The columns of a table in their order, with their types, whether they may be NULL, and defaults.",
    "SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS is_not_null,"
    " pg_get_expr(d.adbin, d.adrelid) AS default_text"
    " FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
    f" WHERE a.attrelid = {HERE} AND a.attnum > 0 AND NOT a.attisdropped"
    " ORDER BY a.attnum",
)
_INDEXES = Query(
    "partition.indexes",
    "The indexes of a table.",
    "SELECT i.relname AS name, x.indisprimary AS is_primary, obj_description(i.oid, 'pg_class') AS comment,"
    " SUBSTR(pg_get_indexdef(i.oid), STRPOS(pg_get_indexdef(i.oid), ' USING ') + 7) AS tail"
    " FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid"
    f" WHERE x.indrelid = {HERE} AND i.relname NOT LIKE '\\_umami\\_ops\\_%'"
    " AND (x.indisvalid OR i.relkind = 'I') ORDER BY i.relname",
)
_PRIMARY_KEY = Query(
    "partition.primary_key",
    "The name of a table's primary key.",
    f"SELECT k.conname AS name FROM pg_constraint AS k WHERE k.conrelid = {HERE} AND k.contype = 'p'",
)
_CHECK = Query(
    "partition.check",
    "The definition of a CHECK of a table.",
    "SELECT pg_get_constraintdef(k.oid) AS definition FROM pg_constraint AS k"
    f" WHERE k.conrelid = {HERE} AND k.conname = :check AND k.contype = 'c'",
)
_HEIRS = Query(
    "partition.heirs",
    "The indexes of a partition with those they are a part of.",
    "SELECT i.relname AS name, p.relname AS parent FROM pg_index AS x"
    " JOIN pg_class AS i ON i.oid = x.indexrelid"
    " JOIN pg_inherits AS h ON h.inhrelid = i.oid"
    f" JOIN pg_class AS p ON p.oid = h.inhparent WHERE x.indrelid = {HERE} ORDER BY i.relname",
)
_OWNER = Query(
    "partition.owner",
    "The owner of a table, and the user of this session.",
    "SELECT pg_get_userbyid(t.relowner) AS owner, current_user AS session_user_name"
    f" FROM pg_class AS t WHERE t.oid = {HERE}",
)
_OLDEST_TRANSACTION = Query(
    "partition.oldest_transaction",
    "The oldest transaction that has not ended.",
    "SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS xid) AS text) AS number",
)
