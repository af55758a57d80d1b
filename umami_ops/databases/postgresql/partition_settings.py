"""What is set on a table beside its columns and indexes, rights and comments too: as statements for others.

CREATE TABLE … LIKE brings none of it. A partitioned table can't have storage parameters, which its partitions
could take over: each new one gets those of the partition beside it.
"""

# ruff: noqa: S608 -- identifiers pass through the one quoting function, values through the driver's literals

from __future__ import annotations

from collections.abc import Iterator

from umami_ops.databases.base import Connection
from umami_ops.databases.postgresql.dialect import POSTGRESQL
from umami_ops.databases.postgresql.partition_catalogue import HERE
from umami_ops.sql import Query

#: What CREATE TABLE … LIKE brings of a partition's columns.
LIKE_COLUMNS = "INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING GENERATED"


class Settings:
    """Reads what is set on the tables of the schema that a connection looks at."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of_partition(self, table: str, *, beside: str, to: str) -> tuple[str, ...]:
        """Return what a new partition of a table needs: its storage parameters are those of one beside it."""
        return (
            *self.of_columns(table, to=to),
            *self.of_replication(table, to=to),
            *self.of_storage(beside, to=to),
        )

    def of_storage(self, table: str, *, to: str) -> tuple[str, ...]:
        """Return what gives a table the storage parameters of another one, which may be a partition."""
        return tuple(
            f"ALTER TABLE {_q(to)} SET ({row['name']} = {self._connection.literal(row['value'])})"
            for row in self._connection.rows(_STORAGE, name=table)
        )

    def of_columns(self, table: str, *, to: str) -> tuple[str, ...]:
        """Return what gives a table's columns the targets and options for statistics of another one's."""
        rows = self._connection.rows(_COLUMNS, name=table)
        return tuple(f"ALTER TABLE {_q(to)} {text}" for row in rows for text in self._column(row))

    def _column(self, row: dict[str, object]) -> Iterator[str]:
        column = f"ALTER COLUMN {_q(str(row['column_name']))} SET"
        if row["option"] is None:
            yield f"{column} STATISTICS {row['target']}"
        else:
            yield f"{column} ({row['option']} = {row['value']})"

    def of_replication(self, table: str, *, to: str) -> tuple[str, ...]:
        """Return what lets all of a table's rows tell what they were, where those of another one do."""
        is_full = self._connection.value(_TELLS_ALL, name=table)
        return (f"ALTER TABLE {_q(to)} REPLICA IDENTITY FULL",) if is_full else ()

    def of_comments(self, table: str, *, to: str) -> tuple[str, ...]:
        """Return what gives a table, and its columns, the comments of another one."""
        return tuple(
            f"COMMENT ON {row['kind']} {_q(to)}{_part(row['column_name'])}"
            f" IS {self._connection.literal(row['text'])}"
            for row in self._connection.rows(_COMMENTS, name=table)
        )

    def of_key(self, table: str, *, to: str, key: str) -> tuple[str, ...]:
        """Return what gives a table's primary key, of this name, the comment of another one's."""
        rows = self._connection.rows(_KEY_COMMENT, name=table)
        return tuple(
            f"COMMENT ON CONSTRAINT {_q(key)} ON {_q(to)} IS {self._connection.literal(row['text'])}"
            for row in rows
        )

    def of_rights(self, table: str, *, to: str) -> tuple[str, ...]:
        """Return what leaves the rights on a table to those alone who have them on another one.

        It may have others: by default privileges, or of the time when it was the table itself.
        """
        return (_NO_RIGHTS.replace("{table}", _q(to)), *self.grants(table, to=to))

    def grants(self, table: str, *, to: str) -> tuple[str, ...]:
        """Return the statements that grant on another table what is granted on this one."""
        return tuple(
            f"GRANT {row['privilege']}{_columns_of(row['column_name'])} ON TABLE {_q(to)} TO {row['grantee']}"
            + (" WITH GRANT OPTION" if row["is_grantable"] else "")
            for row in self._connection.rows(_GRANTS, name=table)
        )


def _part(column: str | None) -> str:
    return f".{_q(column)}" if column else ""


def _columns_of(column: str | None) -> str:
    return f" ({_q(column)})" if column else ""


def _q(identifier: str) -> str:
    return POSTGRESQL.quote(identifier)


_WHO = "CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END"
_NO_RIGHTS = f"""DO $rights$ DECLARE who text; BEGIN
  FOR who IN
    SELECT {_WHO} FROM pg_class AS t, aclexplode(t.relacl) AS a
    WHERE t.oid = '{{table}}'::regclass AND a.grantee <> t.relowner
    UNION
    SELECT {_WHO} FROM pg_attribute AS k, aclexplode(k.attacl) AS a
    WHERE k.attrelid = '{{table}}'::regclass
  LOOP EXECUTE 'REVOKE ALL ON TABLE {{table}} FROM ' || who || ' CASCADE'; END LOOP;
END $rights$"""
_STORAGE = Query(
    "partition.storage",
    "The storage parameters of a table, and those of what it keeps out of line.",
    "SELECT o.option_name AS name, o.option_value AS value"
    f" FROM pg_class AS t, pg_options_to_table(t.reloptions) AS o WHERE t.oid = {HERE}"
    " UNION ALL SELECT 'toast.' || o.option_name, o.option_value"
    " FROM pg_class AS t JOIN pg_class AS a ON a.oid = t.reltoastrelid,"
    f" pg_options_to_table(a.reloptions) AS o WHERE t.oid = {HERE}",
)
_COLUMNS = Query(
    "partition.column_settings",
    "What is set on a table's columns for their statistics.",
    "SELECT a.attname AS column_name, CAST(a.attstattarget AS int) AS target,"
    " CAST(NULL AS text) AS option, CAST(NULL AS text) AS value"
    f" FROM pg_attribute AS a WHERE a.attrelid = {HERE} AND a.attnum > 0 AND NOT a.attisdropped"
    " AND a.attstattarget >= 0"
    " UNION ALL SELECT a.attname, NULL, o.option_name, o.option_value"
    f" FROM pg_attribute AS a, pg_options_to_table(a.attoptions) AS o WHERE a.attrelid = {HERE}"
    " AND a.attnum > 0 AND NOT a.attisdropped",
)
_TELLS_ALL = Query(
    "partition.tells_all",
    "Whether replication is told whole rows of a table.",
    f"SELECT t.relreplident = 'f' AS is_full FROM pg_class AS t WHERE t.oid = {HERE}",
)
_COMMENTS = Query(
    "partition.comments",
    "The comments of a table and its columns.",
    "SELECT CASE WHEN d.objsubid = 0 THEN 'TABLE' ELSE 'COLUMN' END AS kind,"
    " a.attname AS column_name, d.description AS text FROM pg_description AS d"
    " LEFT JOIN pg_attribute AS a ON a.attrelid = d.objoid AND a.attnum = d.objsubid AND d.objsubid > 0"
    f" WHERE d.classoid = 'pg_class'::regclass AND d.objoid = {HERE} ORDER BY d.objsubid",
)
_KEY_COMMENT = Query(
    "partition.key_comment",
    "The comment of a table's primary key.",
    "SELECT d.description AS text FROM pg_constraint AS k JOIN pg_description AS d"
    " ON d.classoid = 'pg_constraint'::regclass AND d.objoid = k.oid"
    f" WHERE k.conrelid = {HERE} AND k.contype = 'p'",
)
_GRANTS = Query(
    "partition.grants",
    "What is granted on a table and its columns to others than its owner.",
    f"SELECT a.privilege_type AS privilege, a.is_grantable, NULL AS column_name, {_WHO} AS grantee"
    f" FROM pg_class AS t, aclexplode(t.relacl) AS a WHERE t.oid = {HERE} AND a.grantee <> t.relowner"
    " UNION ALL"
    f" SELECT a.privilege_type, a.is_grantable, k.attname, {_WHO}"
    f" FROM pg_attribute AS k, aclexplode(k.attacl) AS a WHERE k.attrelid = {HERE}",
)
