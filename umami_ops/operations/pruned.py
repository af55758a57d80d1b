"""The archive of what a prune deletes: begun before it, completed after it, whatever its end was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from umami_ops import __version__
from umami_ops.archive.manifest import PRUNED, Manifest
from umami_ops.archive.store import Store
from umami_ops.databases.base import Connection, Database
from umami_ops.errors import OpsError, Refused
from umami_ops.operations.backup import BackupPlan, fresh_name, manifest_of, origin_of
from umami_ops.operations.inspect import Installation
from umami_ops.operations.prune import PRUNED as TABLES
from umami_ops.plan import Plan
from umami_ops.transfer.portable import Head
from umami_ops.transfer.pruned import PrunedRows, complete
from umami_ops.transfer.schema import require_unbound

#: What a table's bytes become in an archive, as a share; while it is completed it is there twice.
_SHARE = 0.35


def require_room(installation: Installation, plan: Plan, store: Store) -> None:
    """Raise Refused where the store has surely too little space for what a plan deletes."""
    free_bytes = store.free_bytes()
    if free_bytes is None:
        return
    tables = [installation.relations[table] for table in TABLES if installation.has(table)]
    rows = max(plan.events, installation.relations["website_event"].rows_estimate, 1)
    needed_bytes = int(2 * _SHARE * plan.events / rows * sum(table.table_bytes for table in tables))
    if free_bytes < needed_bytes:
        raise Refused(
            f"The archive takes about {needed_bytes / 1e6:,.0f} MB, of which {free_bytes / 1e6:,.0f} MB "
            f"are free in {store.title}.",
            hint="Name another place with --archive, or make room there.",
            done="Nothing was changed.",
        )


@dataclass
class Archiving:
    """An archive while a prune is at work: `keeper` is whom `execute` asks for, `made` is there at its end.

    `made` stays None where nothing was deleted. `earlier` are archives of killed runs, completed by now.
    """

    keeper: PrunedRows
    earlier: tuple[Manifest, ...] = ()
    made: Manifest | None = None


@contextmanager
def archiving(database: Database, installation: Installation, store: Store) -> Iterator[Archiving]:
    """Begin an archive and complete it at the end, also when the prune fails; nobody else prunes meanwhile.

    Raises OpsError where nothing can be written there, before anything is deleted.
    """
    with database.connect("umami-ops prune (archive)") as connection:
        earlier = tuple(_completed_earlier(connection, store))
        rows = _begin(connection, installation, store)
    archive = Archiving(rows, earlier)
    try:
        yield archive
    except OpsError as fault:
        fault.done = f"{fault.done or ''} {_what_became_of(rows, store)}".strip()
        raise
    try:
        archive.made = rows.complete()
    except OpsError as fault:
        fault.done = f"All that was deleted is in {rows.place}."
        fault.hint = (
            "Make room, or mend the place: the next prune with the same --archive completes the archive."
        )
        raise


def _what_became_of(rows: PrunedRows, store: Store) -> str:
    try:
        made = rows.complete()
    except OpsError:
        return (
            f"What was deleted is in {rows.place}; the next prune with this --archive makes an archive of it."
        )
    return f"What was deleted is archived: {store.path_of(made.name, '')}." if made else ""


def _begin(connection: Connection, installation: Installation, store: Store) -> PrunedRows:
    here = connection.transit().describe()
    described = {table.name: table for table in here.tables}
    tables = tuple(described[table] for table in TABLES if installation.has(table))
    require_unbound(here, [table.name for table in tables], "Leave --archive away, after `umami-ops backup`.")
    head = Head(connection.dialect.name, installation.server.flavour, installation.level, tables)
    name = fresh_name(origin_of(connection), store, "-pruned")
    plan = BackupPlan(name, datetime.now(UTC), PRUNED, (), 0, 0)
    manifest = manifest_of(plan, installation, head.dialect, f"umami-ops {__version__}", {}, ())
    return PrunedRows(store, manifest, head)


def _completed_earlier(connection: Connection, store: Store) -> Iterator[Manifest]:
    origin = origin_of(connection)
    for name in store.unfinished():
        if manifest := complete(store, name, origin):
            yield manifest
