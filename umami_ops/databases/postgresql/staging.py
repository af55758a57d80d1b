"""Tables of a restore on PostgreSQL: in a schema of their own, and moved from there in one transaction."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from umami_ops.databases.postgresql.partition_catalogue import Catalogue
from umami_ops.databases.postgresql.partition_settings import Settings
from umami_ops.databases.staging import Addition, Staging, left_behind
from umami_ops.errors import OpsError, TransientFault
from umami_ops.sql import Query

if TYPE_CHECKING:
    from umami_ops.databases.postgresql.connection import PostgresqlConnection, PostgresqlDatabase

_STAGING, _REPLACED = "umami_ops_staging", "umami_ops_replaced"
_TRIES = 10
_TYPES = Query(
    "restore.types",
    "The types in a schema that columns of the tables of another one have, or arrays of them.",
    """SELECT DISTINCT t.typname AS name
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_type AS u ON u.oid = a.atttypid
JOIN pg_type AS t ON t.oid = CASE u.typcategory WHEN 'A' THEN u.typelem ELSE u.oid END
JOIN pg_namespace AS h ON h.oid = t.typnamespace
WHERE n.nspname = :schema
  AND h.nspname = :source
  AND c.relkind IN ('r', 'p')
  AND a.attnum > 0
  AND NOT a.attisdropped
ORDER BY t.typname""",
)


class PostgresqlStaging(Staging["PostgresqlDatabase"]):
    """A schema that lasts as long as the restore."""

    def __init__(self, database: PostgresqlDatabase) -> None:
        self._target = database
        url = replace(database.url, parameters={**database.url.parameters, "schema": _STAGING})
        self.database = type(database)(url)
        self._is_in_place = False

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
        self._is_in_place = True

    def add(self, additions: Sequence[Addition]) -> Mapping[str, int]:
        """Add rows in one transaction; one that another key forbids, a slug's say, must yield or fails it."""
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
                key = "" if each.yields else f" ({', '.join(map(quote, each.key))})"
                statement = f"INSERT INTO {target} ({columns}) {source} ON CONFLICT{key} DO NOTHING"
                added[each.table] = connection.run(Query("restore.add", "", statement), ids=list(each.ids))
        self._is_in_place = True
        return added

    def discard(self) -> None:
        """Drop the schema."""
        try:
            with self._target.connect("umami-ops restore") as connection:
                run(connection, f"DROP SCHEMA IF EXISTS {connection.dialect.quote(_STAGING)} CASCADE")
        except OpsError as fault:
            if self._is_in_place:
                raise left_behind(fault) from None
            raise


def swap(
    connection: PostgresqlConnection,
    source: str,
    schema: str,
    moved: Sequence[str] | None,
    replaced: Sequence[str],
) -> None:
    """Move tables from one schema into another, in the open transaction; all of `source` for None.

    What takes a table's place has its owner and its grants: Umami, and a dashboard beside it, may connect as
    somebody else than who restores.

    Waits for the locks a few times, and not for long, so that nobody queues behind it. Raises TransientFault;
    DatabaseFault where something that stays depends on what is replaced.
    """
    quote = connection.dialect.quote
    arriving = _with_partitions(connection, source, moved)
    leaving = _with_partitions(connection, schema, replaced)
    rights = [statement for table in replaced for statement in _rights(connection, table, arriving)]
    for number in range(1, _TRIES + 1):
        run(connection, "SAVEPOINT swap")
        try:
            run(connection, f"CREATE SCHEMA {quote(_REPLACED)}")
            for table in leaving:
                run(connection, f"ALTER TABLE {quote(schema)}.{quote(table)} SET SCHEMA {quote(_REPLACED)}")
            for table in arriving:
                run(connection, f"ALTER TABLE {quote(source)}.{quote(table)} SET SCHEMA {quote(schema)}")
            _drop(connection, _REPLACED, leaving)
            for statement in rights:
                run(connection, statement)
            return
        except TransientFault:
            if number == _TRIES:
                raise
            run(connection, "ROLLBACK TO SAVEPOINT swap")
            time.sleep(1)


def bring_types(connection: PostgresqlConnection, source: str, schema: str) -> None:
    """Move the types that the schema's columns have from another schema, in the place of their namesakes.

    Raises DatabaseFault where something that stays needs such a namesake.
    """
    quote = connection.dialect.quote
    for row in connection.rows(_TYPES, source=source, schema=schema):
        name = quote(row["name"])
        run(connection, f"DROP TYPE IF EXISTS {quote(schema)}.{name}")
        run(connection, f"ALTER TYPE {quote(source)}.{name} SET SCHEMA {quote(schema)}")


def run(connection: PostgresqlConnection, statement: str) -> None:
    """Run a statement without values, its identifiers quoted by now."""
    connection.run(Query("restore", "", statement))


def _rights(connection: PostgresqlConnection, table: str, arriving: Mapping[str, str]) -> Iterator[str]:
    """Yield what gives those that take a table's place its owner, and the first of them its grants."""
    quote = connection.dialect.quote
    if table in arriving:
        yield from Settings(connection).grants(table, to=table)
    if owner := Catalogue(connection).other_owner(table):
        for name, root in arriving.items():
            if root == table:
                yield f"ALTER TABLE {quote(name)} OWNER TO {quote(owner)}"


def _drop(connection: PostgresqlConnection, schema: str, tables: Collection[str]) -> None:
    """Drop a schema and its tables, but nothing else that depends on them."""
    quote = connection.dialect.quote
    if tables:
        run(connection, f"DROP TABLE {', '.join(f'{quote(schema)}.{quote(table)}' for table in tables)}")
    run(connection, f"DROP SCHEMA {quote(schema)}")


def _with_partitions(
    connection: PostgresqlConnection, schema: str, tables: Sequence[str] | None
) -> dict[str, str]:
    """Return these tables of a schema, all for None, with their partitions, which move by themselves.

    Each has the table that it belongs to.
    """
    rows = connection.rows(connection.dialect.queries["backup.tables_of"], schema=schema)
    return {row["name"]: row["root"] for row in rows if tables is None or row["root"] in tables}
