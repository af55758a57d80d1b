"""Tables of a restore on PostgreSQL: in a schema of their own, and moved from there in one transaction."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from umami_ops.databases.staging import Addition, Staging
from umami_ops.errors import TransientFault
from umami_ops.sql import Query

if TYPE_CHECKING:
    from umami_ops.databases.postgresql.connection import PostgresqlConnection, PostgresqlDatabase

_STAGING, _REPLACED = "umami_ops_staging", "umami_ops_replaced"
_TRIES = 10


class PostgresqlStaging(Staging["PostgresqlDatabase"]):
    """A schema that lasts as long as the restore."""

    def __init__(self, database: PostgresqlDatabase) -> None:
        self._target = database
        url = replace(database.url, parameters={**database.url.parameters, "schema": _STAGING})
        self.database = type(database)(url)

    def prepare(self) -> None:
        """Make the schema anew."""
        with self._target.connect("umami-ops restore") as connection:
            run(connection, f"DROP SCHEMA IF EXISTS {connection.dialect.quote(_STAGING)} CASCADE")
            run(connection, f"CREATE SCHEMA {connection.dialect.quote(_STAGING)}")

    def name(self, table: str) -> str:
        """Return the same name."""
        return table

    def swap(self, moved: Sequence[str], replaced: Sequence[str]) -> None:
        """Move the tables in one transaction."""
        with self._target.connect("umami-ops restore") as connection, connection.transaction():
            swap(connection, _STAGING, connection.server().schema, moved, replaced)

    def add(self, additions: Sequence[Addition]) -> Mapping[str, int]:
        """Add rows in one transaction; whatever key a row offends against, the one that is there stays."""
        added = {}
        with self._target.connect("umami-ops restore") as connection, connection.transaction():
            quote = connection.dialect.quote
            schema = quote(connection.server().schema)
            for each in additions:
                chosen = f" WHERE {quote(each.column)} = ANY(CAST(:ids AS uuid[]))" if each.column else ""
                target, columns = f"{schema}.{quote(each.table)}", ", ".join(map(quote, each.columns))
                if each.replaces:
                    going = Query("restore.replace", "", f"DELETE FROM {target}{chosen}")  # noqa: S608
                    connection.run(going, ids=list(each.ids))
                source = f"SELECT {columns} FROM {quote(_STAGING)}.{quote(each.table)}{chosen}"  # noqa: S608
                statement = f"INSERT INTO {target} ({columns}) {source} ON CONFLICT DO NOTHING"
                added[each.table] = connection.run(Query("restore.add", "", statement), ids=list(each.ids))
        return added

    def discard(self) -> None:
        """Drop the schema."""
        with self._target.connect("umami-ops restore") as connection:
            run(connection, f"DROP SCHEMA IF EXISTS {connection.dialect.quote(_STAGING)} CASCADE")


def swap(
    connection: PostgresqlConnection, source: str, schema: str, moved: Sequence[str], replaced: Sequence[str]
) -> None:
    """Move tables from one schema into another, in the open transaction; all of `source` where none is named.

    Waits for the locks a few times, and not for long, so that nobody queues behind it. Raises TransientFault.
    """
    quote = connection.dialect.quote
    arriving = _with_partitions(connection, source, moved)
    leaving = _with_partitions(connection, schema, replaced) if replaced else []
    for number in range(1, _TRIES + 1):
        run(connection, "SAVEPOINT swap")
        try:
            run(connection, f"CREATE SCHEMA {quote(_REPLACED)}")
            for table in leaving:
                run(connection, f"ALTER TABLE {quote(schema)}.{quote(table)} SET SCHEMA {quote(_REPLACED)}")
            for table in arriving:
                run(connection, f"ALTER TABLE {quote(source)}.{quote(table)} SET SCHEMA {quote(schema)}")
            run(connection, f"DROP SCHEMA {quote(_REPLACED)} CASCADE")
            return
        except TransientFault:
            if number == _TRIES:
                raise
            run(connection, "ROLLBACK TO SAVEPOINT swap")
            time.sleep(1)


def run(connection: PostgresqlConnection, statement: str) -> None:
    """Run a statement without values, its identifiers quoted by now."""
    connection.run(Query("restore", "", statement))


def _with_partitions(connection: PostgresqlConnection, schema: str, tables: Sequence[str]) -> list[str]:
    """Return these tables of a schema, or all, each with its partitions, which move by themselves."""
    rows = connection.rows(connection.dialect.queries["backup.tables_of"], schema=schema)
    return [row["name"] for row in rows if not tables or row["root"] in tables]
