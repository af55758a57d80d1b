"""What stands around the schema that the text of a dump is run in: pg_dump's may name others, too.

With `pg_dump --clean` it drops their tables first, which nobody has asked a restore for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from umami_ops.errors import Refused
from umami_ops.sql import Query

if TYPE_CHECKING:
    from umami_ops.databases.postgresql.connection import PostgresqlConnection

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
