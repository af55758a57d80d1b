"""What stands in a database's tables, as facts that another server can be held to: rows and checksums.

Checksums are the server's own quick ones (`Connection.sum_of`): a backup is to cost little more than
reading the rows once. Servers of one kind say the same of the same rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from umami_ops.archive.manifest import TableFacts
from umami_ops.databases.base import Connection, Database
from umami_ops.sql import Query
from umami_ops.transfer.meanwhile import meanwhile
from umami_ops.umami import prisma
from umami_ops.umami.migrations import migrations


def table_facts(
    connection: Connection, tables: Collection[str], names: Mapping[str, str] | None = None
) -> dict[str, TableFacts]:
    """Return rows and checksum of each of these tables, as the connection's open transaction sees them.

    `names` says under which name a table is to be found where that is another. Tables that aren't there are
    left out. The servers do the work: it takes about as long as reading the rows once.
    """
    names = names or {}
    here = {table.name: table for table in connection.transit().describe().tables}
    facts = {}
    for name in tables:
        table = here.get(names.get(name, name))
        if table is not None:
            columns = {column.name: column.type for column in sorted(table.columns, key=lambda c: c.name)}
            facts[name] = TableFacts(name, *connection.sum_of(table.name, columns))
    return facts


def recorded_level(connection: Connection, table: str = prisma.NAME) -> int | None:
    """Return the level that Prisma has written down, in a table that may have another name than its own."""
    applied = "finished_at IS NOT NULL AND rolled_back_at IS NULL"
    text = f"SELECT migration_name AS name FROM {connection.dialect.quote(table)} WHERE {applied}"  # noqa: S608
    found = {row["name"] for row in connection.rows(Query("restore.level", "", text))}
    return max((m.level for m in migrations(connection.dialect.name) if m.name in found), default=None)


@contextmanager
def counting(
    database: Database, connection: Connection, tables: Collection[str]
) -> Iterator[Mapping[str, TableFacts]]:
    """Count in the connection's open snapshot while the block goes on; the counts are there at its end."""
    counts: dict[str, TableFacts] = {}
    with meanwhile(database, connection, lambda: counts.update(table_facts(connection, tables))):
        yield counts
