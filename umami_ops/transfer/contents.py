"""What stands in a database's tables, as facts that any other server can be held to: rows and checksums.

Checksums don't depend on the kind of server, but for times: those are taken as precisely as the server has
them, so that the checksum of a table with times says nothing to a server that keeps fewer digits.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from umami_ops.archive.manifest import TableFacts
from umami_ops.databases.base import Connection, Database
from umami_ops.databases.transit import Rows
from umami_ops.errors import OpsError
from umami_ops.transfer.proof import prove
from umami_ops.transfer.schema import Side, pair
from umami_ops.umami.schema import Table

_ANY = "any"


def table_facts(
    connection: Connection, tables: Collection[str], names: Mapping[str, str] | None = None
) -> dict[str, TableFacts]:
    """Return rows and checksum of each of these tables, as the connection's open transaction sees them.

    `names` says under which name a table is to be found where that is another. Tables that aren't there are
    left out. The servers do the work: it takes about as long as reading the rows once.
    """
    names = names or {}
    transit = connection.transit()
    here = {table.name: table for table in transit.describe().tables}
    side = Side(connection.dialect.name, connection.server().flavour)
    facts = {}
    for name in tables:
        table = here.get(names.get(name, name))
        if table is not None:
            proof = prove(transit, _neutral(replace(table, name=name), side, table.name))
            facts[name] = TableFacts(name, proof.rows, f"{proof.checksum:x}")
    return facts


@contextmanager
def counting(
    database: Database, connection: Connection, tables: Collection[str]
) -> Iterator[Mapping[str, TableFacts]]:
    """Count in the connection's open snapshot while the block goes on; the counts are there at its end."""
    session = int(connection.value(connection.dialect.queries["lock.session"]))
    counts: dict[str, TableFacts] = {}
    faults: list[BaseException] = []

    def run() -> None:
        try:
            counts.update(table_facts(connection, tables))
        except BaseException as fault:  # noqa: BLE001 -- raised by the thread that waits
            faults.append(fault)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield counts
    except BaseException:
        if thread.is_alive():
            _cancel(database, session)
        thread.join()
        raise
    thread.join()
    if faults:
        raise faults[0]


def _cancel(database: Database, session: int) -> None:
    """End what another session of ours is doing; where no connection is to be had, it has ended already."""
    try:
        with database.connect("umami-ops backup (cancel)") as other:
            other.rows(other.dialect.queries["lock.cancel"], session_id=session)
    except OpsError:
        return


def _neutral(table: Table, side: Side, place: str) -> Rows:
    """Return the rows to hash: columns in the order of their names, JSON by its value."""
    ordered = replace(table, columns=tuple(sorted(table.columns, key=lambda column: column.name)))
    rows = pair(ordered, side, ordered, Side(side.dialect, _ANY)).source
    return replace(rows, table=place)
