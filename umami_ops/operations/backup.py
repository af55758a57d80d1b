"""Backups: one moment of a database, in files that say what they hold. Changes no database.

The rows of every table are counted in the same snapshot that is written, so that a restore can be held to
them. Verifying, which restores, is `umami_ops/execute/restore.py`.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from umami_ops import __version__
from umami_ops.archive import manifest as manifests
from umami_ops.archive.manifest import Manifest, TableFacts
from umami_ops.archive.rotation import Aged, Keep, sort_out
from umami_ops.archive.store import SEAL, Store, Writer
from umami_ops.archive.streams import AGE, ZSTD, Compressing, Encrypting, Hashing, parse_recipients
from umami_ops.databases.base import WORKING_PREFIX, Connection, Database
from umami_ops.errors import OpsError, Refused
from umami_ops.operations.inspect import Installation
from umami_ops.transfer.contents import table_facts
from umami_ops.umami.migrations import migrations

DUMP = "dump"
#: The note beside a backup that says that it was restored once.
VERIFIED = "verified.json"
# What a table's bytes become in a compressed dump, as a share: recordings are compressed already.
_SHARE, _SHARE_OF_REPLAYS = 0.35, 1.2
_REPLAYS = "session_replay"

Advanced = Callable[[int], None]


@dataclass(frozen=True)
class BackupPlan:
    """What is going to be written. `size_estimate_bytes` is what it may take in the store."""

    name: str
    kind: str
    tables: tuple[str, ...]
    table_bytes: int
    size_estimate_bytes: int
    encrypt_to: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass
class Made:
    """A backup that is complete."""

    manifest: Manifest
    notes: list[str] = field(default_factory=list)


def plan_backup(
    connection: Connection,
    installation: Installation,
    store: Store,
    *,
    kind: str = DUMP,
    encrypt_to: Sequence[str] = (),
) -> BackupPlan:
    """Decide what a backup holds and whether there is room for it.

    Raises Refused where the database isn't Umami's or the store has too little space, UsageFault for a
    recipient that is none.
    """
    if not installation.is_umami:
        installation.require_safe()
    if encrypt_to:
        parse_recipients(encrypt_to)
    relations = [
        relation
        for relation in installation.relations.values()
        if not relation.name.startswith(WORKING_PREFIX)
    ]
    tables = [relation for relation in relations if relation.kind in ("table", "partitioned table")]
    estimate = sum(
        int(table.table_bytes * (_SHARE_OF_REPLAYS if table.name == _REPLAYS else _SHARE)) for table in tables
    )
    free = store.free_bytes()
    if free is not None and free < estimate:
        raise Refused(
            f"The backup takes about {estimate / 1e6:,.0f} MB, of which {free / 1e6:,.0f} MB are free in "
            f"{store.title}.",
            hint="Name another place with --store, or make room: `umami-ops backup prune`.",
            done="Nothing was written.",
        )
    server = connection.server()
    return BackupPlan(
        name=_fresh_name(server.database, store),
        kind=kind,
        tables=tuple(table.name for table in tables),
        table_bytes=sum(table.table_bytes for table in tables),
        size_estimate_bytes=estimate,
        encrypt_to=tuple(encrypt_to),
        left_out=tuple(relation.name for relation in relations if relation not in tables),
    )


def make_backup(
    plan: BackupPlan,
    database: Database,
    installation: Installation,
    store: Store,
    advanced: Advanced = lambda _bytes: None,
) -> Made:
    """Write a backup; `advanced` hears of bytes as they come out of the database.

    Raises what went wrong, having left nothing in the store. Locks: as `DumpPrograms.dump` says.
    """
    began, now = time.monotonic(), datetime.now(UTC).replace(microsecond=0)
    server = installation.server
    programs = database.dump_programs(server)
    with store.draft(plan.name) as draft, database.connect("umami-ops backup") as connection:
        name = programs.file + ZSTD + (AGE if plan.encrypt_to else "")
        stored = Hashing(name, draft.create(name))
        writer = chain(stored, plan.encrypt_to)
        with (
            programs.dump(connection, plan.tables) as pieces,
            _counting(database, connection, plan.tables) as counts,
        ):
            for piece in pieces:
                writer.write(piece)
                advanced(len(piece))
        writer.close()
        manifest = Manifest(
            name=plan.name,
            kind=plan.kind,
            created_at=now,
            seconds=round(time.monotonic() - began, 3),
            umami_ops=__version__,
            tool=programs.title,
            dialect=database.dialect.name,
            flavour=server.flavour,
            version=server.version,
            database=server.database,
            schema=server.schema,
            level=installation.level,
            release=installation.release,
            tables=tuple(counts[table] for table in plan.tables),
            files=(stored.facts,),
            encrypted_to=plan.encrypt_to,
        )
        manifests.seal(draft, manifest)
    return Made(manifest)


def chain(stored: Hashing, encrypt_to: Sequence[str], *, threads: int = 2) -> Writer:
    """Return what compresses, encrypts where that is wanted, and stores."""
    return Compressing(Encrypting(stored, encrypt_to) if encrypt_to else stored, threads)


@contextmanager
def _counting(
    database: Database, connection: Connection, tables: Sequence[str]
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


def _fresh_name(database: str, store: Store) -> str:
    """Name a backup by its database and the second, which sorts them by time."""
    stem = re.sub(r"[^A-Za-z0-9_]+", "-", database).strip("-") or "umami"
    name = f"{stem}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    known = set(store.names())
    return next(free for free in (name, *(f"{name}-{n}" for n in range(2, 1000))) if free not in known)


# --- what there is ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listed:
    """A backup in a store. `manifest` is None when it can't be read, and `fault` says why."""

    name: str
    manifest: Manifest | None
    verified_at: datetime | None = None
    fault: str | None = None


def list_backups(store: Store) -> list[Listed]:
    """Return the backups of a store, oldest first; the damaged ones, whose age isn't known, at the end."""
    listed = [_listed(store, name) for name in store.names()]
    far = datetime.max.replace(tzinfo=UTC)
    return sorted(listed, key=lambda each: (each.manifest.created_at if each.manifest else far, each.name))


def _listed(store: Store, name: str) -> Listed:
    try:
        manifest = manifests.read(store, name)
    except OpsError as fault:
        return Listed(name, None, fault=fault.message)
    return Listed(name, manifest, _verified_at(store, name))


def note_verified(store: Store, name: str, seal_digest: str, server_title: str) -> None:
    """Write down beside a backup that it was restored, and compared, at this moment."""
    note = {"at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "server": server_title, "seal": seal_digest}
    store.note(name, VERIFIED, (json.dumps(note, indent=2) + "\n").encode())


def _verified_at(store: Store, name: str) -> datetime | None:
    """Return when a backup was verified; a note that isn't about this very backup doesn't count."""
    import hashlib

    if VERIFIED not in store.files(name):
        return None
    try:
        note = json.loads(store.read(name, VERIFIED))
        if note["seal"] != hashlib.sha256(store.read(name, SEAL)).hexdigest():
            return None
        return datetime.strptime(note["at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except (ValueError, KeyError, TypeError):
        return None


def plan_rotation(store: Store, keep: Keep) -> dict[str, str | None]:
    """Return every readable backup's name with why it is kept, or None when it goes; newest first."""
    return sort_out(
        [
            Aged(each.name, each.manifest.created_at, each.manifest.source, each.verified_at is not None)
            for each in list_backups(store)
            if each.manifest is not None
        ],
        keep,
    )


def image_for(dialect: str, level: int | None) -> str:
    """Name the image of the first release of Umami that leaves a database at this level."""
    shipped = [m for m in migrations(dialect) if m.first_release and level and m.level <= level]
    if not shipped or level != shipped[-1].level:
        return "unknown: newer than any release that this version of umami-ops knows"
    release = str(shipped[-1].first_release)
    image = "ghcr.io/umami-software/umami"
    return (
        f"{image}:{dialect}-{release}" if release.startswith("v2") else f"{image}:{release.removeprefix('v')}"
    )
