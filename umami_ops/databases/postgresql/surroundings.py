"""What stands around the schema that the text of a dump is run in: pg_dump's may name others, too.

With `pg_dump --clean` it drops their tables first, which nobody has asked a restore for. Nor may the text end
the transaction that it is run in, behind which all is left half done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from umami_ops.databases.postgresql.staging import run
from umami_ops.errors import DatabaseFault, Refused
from umami_ops.sql import Query

if TYPE_CHECKING:
    from umami_ops.databases.postgresql.connection import PostgresqlConnection

#: A constraint, in a schema of the same name, that no commit passes until it is let go.
_HELD = "umami_ops_held"
_HOLD = (
    "CREATE SCHEMA umami_ops_held",
    "CREATE TABLE umami_ops_held.twice"
    " (number integer CONSTRAINT umami_ops_held UNIQUE DEFERRABLE INITIALLY DEFERRED)",
    "INSERT INTO umami_ops_held.twice VALUES (1), (1)",
)
_LET_GO = (
    "DELETE FROM umami_ops_held.twice",
    "SET CONSTRAINTS umami_ops_held.umami_ops_held IMMEDIATE",
    "DROP SCHEMA umami_ops_held CASCADE",
)
#: What there is, by catalogue and number.
Surroundings = dict[tuple[str, int], str]

_THERE = Query(
    "restore.surroundings",
    "Tables, views, sequences and functions of all schemas but one and the server's own.",
    """SELECT 'relation' AS kind, CAST(c.oid AS bigint) AS id, n.nspname || '.' || c.relname AS name
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  AND n.nspname !~ '^pg_|^information_schema$'
  AND n.nspname <> :schema
UNION ALL
SELECT 'function', CAST(p.oid AS bigint), n.nspname || '.' || p.proname
FROM pg_proc AS p
JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname !~ '^pg_|^information_schema$'
  AND n.nspname <> :schema""",
)
_WRITTEN = Query(
    "restore.written",
    "The tables that the open transaction has written rows of.",
    """SELECT CAST(t.relid AS bigint) AS id
FROM pg_stat_xact_user_tables AS t
WHERE t.n_tup_ins + t.n_tup_upd + t.n_tup_del > 0""",
)


def surroundings(connection: PostgresqlConnection, schema: str) -> Surroundings:
    """Return what there is outside of a schema."""
    return {(row["kind"], row["id"]): row["name"] for row in connection.rows(_THERE, schema=schema)}


def require_untouched(connection: PostgresqlConnection, schema: str, before: Surroundings) -> None:
    """Raise Refused where the open transaction has dropped or written any of what there was."""
    written = {("relation", row["id"]) for row in connection.rows(_WRITTEN)}
    touched = before.keys() - surroundings(connection, schema).keys() | before.keys() & written
    if touched:
        names = ", ".join(sorted(before[each] for each in touched))
        raise Refused(
            f"The dump would change what stands in other schemas: {names}.",
            hint=f"Dump schema {schema} alone: pg_dump --schema={schema}.",
            done="Nothing was changed.",
        )


@contextmanager
def held_open(connection: PostgresqlConnection) -> Iterator[None]:
    """Keep what the block runs from committing the open transaction: the server itself refuses that.

    Text can't be searched for it: the body of a function may have the same words. Raises Refused.
    """
    for statement in _HOLD:
        run(connection, statement)
    try:
        yield
    except DatabaseFault as fault:
        if _HELD not in fault.message:
            raise
        raise Refused(
            "The dump commits by itself (COMMIT): then it could not be undone where it fails.",
            hint="Dump Umami's schema alone (pg_dump --schema=public), and without --single-transaction.",
        ) from None
    for statement in _LET_GO:
        run(connection, statement)
