"""Backups: one moment of a database, in files that say what they hold. Changes no database.

The rows of every table are counted in the same snapshot that is written, so that a restore can be held to
them. Verifying, which restores, is `umami_ops/execute/restore.py`.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from umami_ops import __version__
from umami_ops.archive import manifest as manifests
from umami_ops.archive.manifest import (
    DUMP,
    IN_SEVERAL_FILES,
    PORTABLE,
    PRUNED,
    FileFacts,
    Manifest,
    Origin,
    TableFacts,
)
from umami_ops.archive.rotation import Aged, Keep, sort_out
from umami_ops.archive.store import SEAL, Draft, Store, Writer
from umami_ops.archive.streams import AGE, ZSTD, Compressing, Encrypting, Hashing, parse_recipients, pieces
from umami_ops.databases.base import WORKING_PREFIX, Connection, Database, Relation
from umami_ops.errors import OpsError, Refused
from umami_ops.operations.inspect import Installation, inspect, require_events_in_place
from umami_ops.transfer.contents import counting
from umami_ops.umami.migrations import migrations

#: The note beside a backup that says that it was restored once.
VERIFIED = "verified.json"
# What a table's bytes become in a compressed dump, as a share: recordings are compressed already.
_SHARE, _SHARE_OF_REPLAYS = 0.35, 1.2
_REPLAYS = "session_replay"
_ABANDONED = timedelta(days=2)

Advanced = Callable[[int], None]


@dataclass(frozen=True)
class BackupPlan:
    """What is going to be written. `size_estimate_bytes` is what it may take in the store.

    `notes` say what won't be in it. What came after `planned_at` may not be in it, either.

    With `jobs` several tables are dumped side by side, each into a file of its own.
    """

    name: str
    planned_at: datetime
    kind: str
    tables: tuple[str, ...]
    table_bytes: int
    size_estimate_bytes: int
    encrypt_to: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    jobs: int | None = None


def plan_backup(
    connection: Connection,
    installation: Installation,
    store: Store,
    *,
    kind: str = DUMP,
    encrypt_to: Sequence[str] = (),
    jobs: int | None = None,
) -> BackupPlan:
    """Decide what a backup holds and whether there is room for it.

    Raises Refused where the database isn't Umami's, the store has too little space or the server's own
    programs dump one table after the other, or a portable one can't take a column along; UsageFault for a
    recipient that is none.
    """
    if jobs and not connection.dialect.features.dumps_side_by_side:
        raise Refused(
            f"The dump program of {connection.dialect.title} writes one table after the other.",
            hint="Take the backup without --jobs.",
            done="Nothing was written.",
        )
    if not installation.is_umami:
        installation.require_safe()
    if encrypt_to:
        parse_recipients(encrypt_to)
    tables = _tables(installation)
    notes = list(_left_out(installation, tables))
    if kind == PORTABLE:
        notes += _lost(connection, [table.name for table in tables])
    estimate = sum(
        int(table.table_bytes * (_SHARE_OF_REPLAYS if table.name == _REPLAYS else _SHARE)) for table in tables
    )
    _check_room(store, estimate, is_spooled=kind != DUMP or bool(jobs))
    return BackupPlan(
        name=fresh_name(origin_of(connection), store),
        planned_at=datetime.now(UTC),
        kind=kind,
        tables=tuple(table.name for table in tables),
        table_bytes=sum(table.table_bytes for table in tables),
        size_estimate_bytes=estimate,
        encrypt_to=tuple(encrypt_to),
        notes=tuple(notes),
        jobs=jobs,
    )


def _left_out(installation: Installation, tables: Sequence[Relation]) -> Iterator[str]:
    names = [
        name
        for name, relation in installation.relations.items()
        if relation not in tables and not name.startswith(WORKING_PREFIX)
    ]
    if names:
        yield f"Not in it, since only tables are: {', '.join(names)}."


def _lost(connection: Connection, tables: Sequence[str]) -> Iterator[str]:
    """Yield what the tables have that no portable backup holds. Raises Refused where that is a type."""
    from umami_ops.transfer.schema import require_no_heirs, require_unbound

    here = connection.transit().describe()
    require_no_heirs(here, tables)
    require_unbound(here, tables, "A dump takes it along: --format dump.")
    if lost := here.others_of(tables):
        yield f"Not in it, since only plain columns, keys and indexes are: {'; '.join(map(str, lost))}."


def _check_room(store: Store, estimate_bytes: int, *, is_spooled: bool) -> None:
    """Raise Refused where a backup has no room; what is spooled stands there twice for a moment.

    A bucket has room; what goes there is spooled in the system's own place.
    """
    free, place = store.free_bytes(), store.title
    hint = "Name another place with --store, or make room: `umami-ops backup prune`."
    needed = estimate_bytes * (2 if is_spooled else 1)
    if free is None:
        place, hint = tempfile.gettempdir(), "Name another place by the variable TMPDIR."
        free = shutil.disk_usage(place).free
        needed -= estimate_bytes
    if free < needed:
        raise Refused(
            f"The backup takes about {needed / 1e6:,.0f} MB, of which {free / 1e6:,.0f} MB are free in "
            f"{place}.",
            hint=hint,
            done="Nothing was written.",
        )


def make_backup(
    plan: BackupPlan,
    database: Database,
    installation: Installation,
    store: Store,
    advanced: Advanced = lambda _bytes: None,
) -> Manifest:
    """Write a backup; `advanced` hears of bytes as they come out of the database.

    Raises what went wrong, having left nothing in the store. Locks: as `DumpPrograms.dump` says.
    """
    began = time.monotonic()
    write = _write_portable if plan.kind != DUMP else _write_folder if plan.jobs else _write_dump
    with store.draft(plan.name) as draft:
        manifest = write(plan, database, installation, draft, advanced)
        manifest = replace(manifest, seconds=round(time.monotonic() - began, 3))
        manifests.seal(draft, manifest)
    return manifest


def _write_dump(
    plan: BackupPlan, database: Database, installation: Installation, draft: Draft, advanced: Advanced
) -> Manifest:
    """Write a dump by the server's own program, counting in the same snapshot."""
    programs = database.dump_programs(installation.server)
    stored = _begin(draft, programs.file + ZSTD, plan)
    writer = Compressing(_closing(stored, plan))
    with (
        database.connect("umami-ops backup") as connection,
        programs.dump(connection, plan.tables) as dumped,
    ):
        _require_as_planned(plan, installation, connection)
        with counting(database, connection, plan.tables) as facts:
            for piece in dumped:
                writer.write(piece)
                advanced(len(piece))
    writer.close()
    return manifest_of(plan, installation, database.dialect.name, programs.title, facts, [stored.facts])


def _write_folder(
    plan: BackupPlan, database: Database, installation: Installation, draft: Draft, advanced: Advanced
) -> Manifest:
    """Write a dump of several files into a folder of its own; then store one after the other."""
    programs = database.dump_programs(installation.server)
    assert programs.folders is not None, "planned only where there are"
    assert plan.jobs is not None, "planned so"
    with tempfile.TemporaryDirectory(dir=draft.spool, prefix=".spool-") as spool:
        folder = Path(spool) / "dump"
        with (
            database.connect("umami-ops backup") as connection,
            programs.folders.dump(connection, plan.tables, folder, plan.jobs) as growing,
        ):
            _require_as_planned(plan, installation, connection)
            with counting(database, connection, plan.tables) as facts:
                for grown in growing:
                    advanced(grown)
        files = [_store(path, draft, plan) for path in sorted(folder.iterdir())]
    manifest = manifest_of(plan, installation, database.dialect.name, programs.title, facts, files)
    return replace(manifest, format=IN_SEVERAL_FILES)


def _store(path: Path, draft: Draft, plan: BackupPlan) -> FileFacts:
    """Move a file into the backup."""
    stored = _begin(draft, path.name, plan)
    writer = _closing(stored, plan)
    with path.open("rb") as stream:
        for piece in pieces(stream):
            writer.write(piece)
    writer.close()
    path.unlink()
    return stored.facts


def _write_portable(
    plan: BackupPlan, database: Database, installation: Installation, draft: Draft, advanced: Advanced
) -> Manifest:
    """Write an archive of CSV files; its own manifest is the backup's, but for the files."""
    from umami_ops.transfer.portable import ARCHIVE, pack

    with ExitStack() as stack:
        check = partial(_require_as_planned, plan, installation)
        packed = pack(database, plan.tables, installation.level, draft.spool, stack, check, advanced)
        own = [facts for facts, _ in packed.files]
        dialect = database.dialect.name
        manifest = manifest_of(plan, installation, dialect, f"umami-ops {__version__}", packed.tables, own)
        stored = _begin(draft, ARCHIVE, plan)
        packed.assemble(manifest, _closing(stored, plan))
    return replace(manifest, files=(stored.facts,))


def _require_as_planned(plan: BackupPlan, installation: Installation, connection: Connection) -> None:
    """Raise Refused where a session at the backup's moment sees other tables or migrations than planned.

    A migration of Umami's that came in between has made tables which nobody would back up.
    """
    found = inspect(connection)
    require_events_in_place(connection, found)
    tables = {table.name for table in _tables(found)}
    if (found.migrations, tables) != (installation.migrations, set(plan.tables)):
        raise Refused(
            "The tables, or Umami's migrations, changed just when the backup began: is Umami being upgraded?",
            hint="Wait until Umami has started, then run this again.",
            done="No backup was made.",
        )


def _tables(installation: Installation) -> list[Relation]:
    """Return what holds rows; what an operation of ours works with or has left over isn't the user's."""
    return [
        relation
        for relation in installation.relations.values()
        if relation.kind in ("table", "partitioned table") and not relation.name.startswith(WORKING_PREFIX)
    ]


def _begin(draft: Draft, name: str, plan: BackupPlan) -> Hashing:
    name += AGE if plan.encrypt_to else ""
    return Hashing(name, draft.create(name))


def _closing(stored: Hashing, plan: BackupPlan) -> Writer:
    """Return what encrypts before it stores, where that is wanted."""
    return Encrypting(stored, plan.encrypt_to) if plan.encrypt_to else stored


def manifest_of(
    plan: BackupPlan,
    installation: Installation,
    dialect: str,
    tool: str,
    facts: Mapping[str, TableFacts],
    files: Sequence[FileFacts],
) -> Manifest:
    """Return the manifest of what was planned, of this database and moment."""
    server = installation.server
    return Manifest(
        name=plan.name,
        kind=plan.kind,
        created_at=plan.planned_at.replace(microsecond=0),
        seconds=0.0,
        umami_ops=__version__,
        tool=tool,
        dialect=dialect,
        flavour=server.flavour,
        version=server.version,
        database=server.database,
        schema=server.schema,
        level=installation.level,
        release=installation.release,
        tables=tuple(facts[table] for table in plan.tables),
        files=tuple(files),
        encrypted_to=plan.encrypt_to,
    )


def origin_of(connection: Connection) -> Origin:
    """Return what a backup of this database would be of."""
    server = connection.server()
    return Origin(connection.dialect.name, server.database, server.schema)


def fresh_name(origin: Origin, store: Store, what: str = "") -> str:
    """Name a backup by its database and the second, which sorts them by time."""
    stem = re.sub(r"[^A-Za-z0-9_]+", "-", str(origin)).strip("-") or "umami"
    return store.free_name(f"{stem}{what}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")


# --- what there is ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listed:
    """A backup in a store. `manifest` is None when it can't be read, and `fault` says why.

    `failed_at` is when its last verification failed, if it did, and `failure` why.
    """

    name: str
    manifest: Manifest | None
    verified_at: datetime | None = None
    fault: str | None = None
    failed_at: datetime | None = None
    failure: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether the last verification failed; one that succeeds takes the note of a failure away."""
        return self.failed_at is not None


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
    note = _note(store, name)
    failed = note.get("failed") or {}
    return Listed(
        name,
        manifest,
        verified_at=_moment(note.get("at")),
        failed_at=_moment(failed.get("at")),
        failure=str(failed.get("why", "")),
    )


def note_verified(store: Store, name: str, seal_digest: str, server_title: str) -> None:
    """Write down beside a backup that it was restored, and compared, at this moment."""
    _write_note(store, name, {"at": _now(), "server": server_title, "seal": seal_digest})


def note_failed(store: Store, name: str, seal_digest: str, why: str) -> None:
    """Write down beside a backup that it isn't what it should be, and why; that it once was stays noted."""
    _write_note(
        store, name, {**_note(store, name), "seal": seal_digest, "failed": {"at": _now(), "why": why}}
    )


def _write_note(store: Store, name: str, note: dict[str, Any]) -> None:
    store.note(name, VERIFIED, (json.dumps(note, indent=2) + "\n").encode())


def _note(store: Store, name: str) -> dict[str, Any]:
    """Return what is noted about a backup's verification; a note that isn't about this very one is none."""
    import hashlib

    if VERIFIED not in store.files(name):
        return {}
    try:
        note = json.loads(store.read(name, VERIFIED))
        is_its_own = note["seal"] == hashlib.sha256(store.read(name, SEAL)).hexdigest()
    except (ValueError, KeyError, TypeError):
        return {}
    return dict(note) if is_its_own else {}


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except (ValueError, TypeError):
        return None


def plan_rotation(store: Store, keep: Keep) -> dict[str, str | None]:
    """Return every readable backup's name with why it is kept, or None when it goes; newest first.

    What prune has archived is no backup, and nothing that ages.
    """
    return sort_out(
        [
            Aged(
                each.name,
                each.manifest.created_at,
                each.manifest.origin,
                was_verified=each.verified_at is not None,
                has_failed=each.has_failed,
            )
            for each in list_backups(store)
            if each.manifest is not None and each.manifest.kind != PRUNED
        ],
        keep,
    )


def abandoned_backups(store: Store) -> list[str]:
    """Return what killed runs have left: backups that were never finished, or half deleted.

    The youngest may still be at work: a big one goes up into a bucket for hours.
    """
    return store.abandoned(datetime.now(UTC) - _ABANDONED)


def discard_abandoned(store: Store, name: str) -> None:
    """Delete what `abandoned_backups` has named."""
    store.discard(name, sorted(store.files(name)))


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
