"""`umami-ops backup`: make a backup, prove it, list what there is, let old ones go."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from umami_ops.cli import options, signals
from umami_ops.errors import BadData, Damaged, OpsError, UsageFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from umami_ops.archive.manifest import Manifest
    from umami_ops.archive.source import Source, StoredBackup
    from umami_ops.archive.store import Store
    from umami_ops.databases.base import Database
    from umami_ops.execute.restore import Restored
    from umami_ops.operations.backup import BackupPlan, Listed

_CREATE = "create"
_Command = TypeVar("_Command", bound="Callable[..., Any]")


class BackupGroup(click.Group):
    """A group whose first command is meant when none is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `create` in front of options, but for a request for help."""
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
            args = [_CREATE, *args]
        return super().parse_args(ctx, args)


@click.group(cls=BackupGroup, subcommand_metavar="[create] [OPTIONS] | COMMAND [ARGS]...")
def backup() -> None:
    """Make a backup that is proven to restore; list, verify and rotate backups.

    Without a command it makes one: `umami-ops backup --help` is about the commands, `umami-ops backup create
    --help` about what a backup can be. Backups lie in ./backups, or where --store or UMAMI_OPS_STORE says.
    """


@backup.command(_CREATE)
@options.store
@click.option(
    "--format",
    "kind",
    type=click.Choice(["dump", "portable"]),
    default="dump",
    show_default=True,
    help="By the server's own dump program; or by none, for either kind of server.",
)
@click.option(
    "--encrypt-to",
    "encrypt_to",
    multiple=True,
    metavar="age1…",
    help="Encrypt to this public key of age; may be given more than once.",
)
@click.option("--verify", "and_verify", is_flag=True, help="Restore it into a scratch database at once.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1, max=64),
    metavar="N",
    help="Dump so many tables at once, each into a file of its own (PostgreSQL).",
)
@options.scratch_url
@options.identity
@options.url
@options.json_output
def create(
    place: str | None,
    kind: str,
    encrypt_to: tuple[str, ...],
    and_verify: bool,
    jobs: int | None,
    scratch_url: str | None,
    identities: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Make a backup of this moment, while Umami goes on."""
    from umami_ops.archive.source import StoredBackup
    from umami_ops.archive.streams import may_open, read_identities
    from umami_ops.cli import render

    if and_verify and encrypt_to and not identities:
        raise UsageFault(
            "--verify must read what --encrypt-to closes.", hint="Name the key file: --identity FILE"
        )
    if jobs and kind != "dump":
        raise UsageFault("--jobs is for --format dump: a portable backup is read by one session.")
    keys = read_identities(identities)
    if and_verify and encrypt_to and not may_open(keys, encrypt_to):
        raise UsageFault(
            "--verify must read what --encrypt-to closes, and the key of --identity is another one.",
            hint="`age-keygen -y KEYFILE` prints the public key that belongs to a key file.",
        )
    store = options.open_store_from_options(place)
    database = options.open_from_options(needs_session=True)
    with options.scratch_server(scratch_url if and_verify else None) as scratch:
        if and_verify:
            from umami_ops.execute.restore import require_scratch

            require_scratch(scratch or database)
        manifest, notes = _make(database, store, kind, encrypt_to, jobs)
        document: dict[str, Any] = manifest.to_dict() | {
            "store": store.title,
            "size_bytes": manifest.size_bytes,
            "notes": notes,
        }
        if not as_json:
            _show_manifest(manifest, store)
            for note in notes:
                render.print_remark("•", note)
        if and_verify:
            restored = _prove(StoredBackup(store, manifest.name, keys), scratch or database)
            document["verified"] = {"rows": restored.rows, "seconds": round(restored.seconds, 3)}
            if not as_json:
                _show_verified(manifest.name, restored)
    if as_json:
        render.print_json(document)


def _make(
    database: Database, store: Store, kind: str, encrypt_to: tuple[str, ...], jobs: int | None
) -> tuple[Manifest, tuple[str, ...]]:
    from umami_ops.cli import render
    from umami_ops.execute import RunLock
    from umami_ops.operations.backup import make_backup, plan_backup
    from umami_ops.operations.inspect import inspect, require_session

    with database.connect("umami-ops backup") as connection:
        require_session(connection.server())
        installation = inspect(connection)
        plan: BackupPlan = plan_backup(
            connection, installation, store, kind=kind, encrypt_to=encrypt_to, jobs=jobs
        )
    to_come = plan.size_estimate_bytes if jobs else plan.table_bytes  # the programs compress it themselves
    with (
        RunLock(database, "backup"),
        render.Progress("backup", to_come // 10**6, unit="MB") as progress,
    ):
        manifest = make_backup(plan, database, installation, store, megabytes(progress))
    return manifest, plan.notes


@contextmanager
def loading(source: Source) -> Iterator[Callable[[int], None]]:
    """Show how far the loading of a backup is.

    A dump of several files says how much has arrived in the database, which nobody knows before.
    """
    from umami_ops.cli import render

    is_folder = source.manifest is not None and source.manifest.is_folder
    total_bytes = None if is_folder else source.size_bytes
    with render.Progress("restore", total_bytes and total_bytes // 10**6, unit="MB") as progress:
        yield megabytes(progress, total_bytes)


def megabytes(progress: Any, to_load_bytes: int | None = None) -> Callable[[int], None]:
    """Return what adds bytes up and tells a progress line of them in megabytes.

    What is loaded isn't restored yet: behind the last of `to_load_bytes` the line says what is still done.
    """
    done = 0

    def advanced(count: int) -> None:
        nonlocal done
        done += count
        is_loaded = to_load_bytes is not None and done >= to_load_bytes
        progress.at(done // 10**6, "read; indexes follow" if is_loaded else "")

    return advanced


@backup.command(short_help="Prove a backup: restore it into a scratch database, compare.")
@click.argument("name", metavar="NAME|latest", default="latest")
@options.store
@options.scratch_url
@options.identity
@options.url
@options.json_output
def verify(
    name: str, place: str | None, scratch_url: str | None, identities: tuple[Path, ...], as_json: bool
) -> None:
    """Prove a backup: check its sums, restore it into a scratch database, compare, drop that again."""
    from umami_ops.archive.source import StoredBackup, find
    from umami_ops.archive.streams import read_identities
    from umami_ops.cli import render

    store, whose = options.open_store_from_options(place), options.origin_from_options()
    source = find(store, name, read_identities(identities), whose)
    if not isinstance(source, StoredBackup):
        raise UsageFault(f"{name} is a file without a manifest: nothing says what should be in it.")
    with options.scratch_server(scratch_url) as scratch:
        restored = _verify(source, scratch or options.open_from_options(needs_session=True))
    if as_json:
        render.print_json(
            {
                "name": source.title,
                "verified": True,
                "seconds": round(restored.seconds, 3),
                "tables": restored.tables,
            }
        )
        return
    _show_verified(source.title, restored)


def _prove(source: StoredBackup, database: Database) -> Restored:
    """Verify a backup that was made a moment ago; what fails is no longer refused, since the backup stays.

    Raises what interrupts it with a word about that, too.
    """
    kept = (
        f"The backup is kept as {source.title} in {source.store.title}, and isn't verified: "
        f"`umami-ops backup verify {source.title}` does that later."
    )
    try:
        return _verify(source, database)
    except OpsError as fault:
        raise OpsError(fault.message, done=kept, hint=fault.hint) from None
    except KeyboardInterrupt as fault:
        raise type(fault)(kept) from None


def _verify(source: StoredBackup, database: Database) -> Restored:
    """Check the sums, restore into a scratch database, and note beside the backup what came of it."""
    from umami_ops.cli import render
    from umami_ops.execute.restore import verify as restore_for_proof
    from umami_ops.operations.backup import note_verified

    source.require_key()
    with _noting(source), render.Progress("sums", source.size_bytes // 10**6, unit="MB") as progress:
        source.check(megabytes(progress))
    with database.connect("umami-ops verify") as connection:
        title = connection.server().title
    with _noting(source), loading(source) as advanced:
        restored = restore_for_proof(source, database, advanced)
    note_verified(source.store, source.title, source.seal_digest(), title)
    return restored


@contextmanager
def _noting(source: StoredBackup) -> Iterator[None]:
    """Note beside a backup that it isn't what it should be; a note that can't be written hides nothing.

    What else ends a verification, a full disk or a lost connection, says nothing about the backup.
    """
    from umami_ops.operations.backup import note_failed

    try:
        yield
    except (BadData, Damaged) as fault:
        why = fault.message
        if (
            isinstance(fault, BadData) and source.is_encrypted
        ):  # a server repeats the value that it can't take
            why = "A server didn't take its rows, or they aren't those that were counted."
        with suppress(OpsError):
            note_failed(source.store, source.title, source.seal_digest(), why)
        raise


@backup.command("list")
@options.store
@options.json_output
def list_(place: str | None, as_json: bool) -> None:
    """List the backups in a store, oldest first."""
    from umami_ops.cli import render
    from umami_ops.operations.backup import list_backups

    store = options.open_store_from_options(place)
    store.require_there()
    listed, begun = list_backups(store), store.unfinished()
    if as_json:
        entries = [_entry(each) for each in listed]
        render.print_json({"store": store.title, "backups": entries, "unfinished": begun})
        return
    for name in begun:
        render.print_remark(
            "!",
            f"{name} isn't finished: its prune is at work, or was cut off.",
            f"the next prune with the same --archive completes it, or umami-ops restore {name}",
            style="yellow",
        )
    if not listed:
        render.print_line(f"There is no backup in {store.title}.")
        return
    render.print_table(
        [
            render.identifier("Name"),
            render.text("Made (UTC)"),
            render.number("Size"),
            render.number("Rows", optional=True),
            render.text("Kind", optional=True),
            render.text("Server", optional=True),
            render.text("Verified"),
        ],
        [_row(each) for each in listed],
    )
    for each in listed:
        if each.fault:
            render.print_remark("✗", each.fault, style="bold red")


def _entry(each: Listed) -> dict[str, Any]:
    facts = each.manifest.to_dict() | {"size_bytes": each.manifest.size_bytes} if each.manifest else {}
    failed = {"at": each.failed_at, "why": each.failure} if each.failed_at else None
    return {
        "name": each.name,
        "verified_at": each.verified_at,
        "failed": failed,
        "fault": each.fault,
        **facts,
    }


def _verdict(each: Listed) -> str:
    """Say when a backup was verified, or that its last verification failed."""
    from umami_ops.cli import render

    if each.has_failed:
        return "failed"
    return render.moment(each.verified_at) if each.verified_at else "no"


def _row(each: Listed) -> list[str]:
    from umami_ops.cli import render

    manifest = each.manifest
    if manifest is None:
        return [each.name, "–", "–", "–", "–", "–", "damaged"]
    kind = f"{manifest.kind}, encrypted" if manifest.encrypted_to else manifest.kind
    return [
        each.name,
        render.moment(manifest.created_at),
        render.size(manifest.size_bytes),
        render.count(manifest.rows),
        kind,
        manifest.server,
        _verdict(each),
    ]


def _keep(what: str, default: int, about: str) -> Callable[[_Command], _Command]:
    """Return an option that says how many backups to keep."""
    number = click.IntRange(min=0)
    return click.option(
        f"--keep-{what}", what, type=number, default=default, show_default=True, metavar="N", help=about
    )


@backup.command()
@options.store
@_keep("last", 7, "Keep the newest N.")
@_keep("daily", 7, "Keep the newest of each of the last N days that have one.")
@_keep("weekly", 4, "The same for weeks, from Monday.")
@_keep("monthly", 12, "The same for months.")
@click.option("--dry-run", is_flag=True, help="Show what would go, delete nothing.")
@options.yes
@options.json_output
def prune(
    place: str | None,
    last: int,
    daily: int,
    weekly: int,
    monthly: int,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete old backups: grandfather, father, son. Never the newest, nor the newest verified one.

    What a killed run has left of one goes, too, once nobody has written to it for two days.
    """
    from umami_ops.archive.rotation import Keep
    from umami_ops.cli import render
    from umami_ops.operations.backup import abandoned_backups, discard_abandoned, plan_rotation

    store = options.open_store_from_options(place)
    store.require_there()
    reasons = plan_rotation(store, Keep(last, daily, weekly, monthly))
    going = [name for name, reason in reasons.items() if reason is None]
    abandoned = abandoned_backups(store)
    if not as_json and (reasons or abandoned):
        render.print_table(
            [render.identifier("Name"), render.text("")],
            [
                *((name, f"kept: {reason}" if reason else "goes") for name, reason in reasons.items()),
                *((name, "goes: it was never finished, or half deleted") for name in abandoned),
            ],
        )
    if (going or abandoned) and not dry_run:
        render.confirm(f"Delete {len(going)} of {len(reasons)} backups{_and_rests(abandoned)}?", yes)
        with signals.telling("What was deleted by then is gone; the same command goes on."):
            for name in going:
                store.remove(name)
            for name in abandoned:
                discard_abandoned(store, name)
    if as_json:
        render.print_json(
            {
                "store": store.title,
                "dry_run": dry_run,
                "deleted": going,
                "abandoned": abandoned,
                "kept": [n for n in reasons if n not in going],
            }
        )
        return
    if not reasons and not abandoned:
        render.print_line(f"There is no backup in {store.title}.")
        return
    render.print_line()
    render.print_line(
        "Nothing is old enough to go." if not going and not abandoned
        else f"Dry run: nothing was deleted. {len(going)}{_and_rests(abandoned)} would go." if dry_run
        else f"Deleted {len(going)} of {len(reasons)}{_and_rests(abandoned)}.",
        style="bold",
    )  # fmt: skip


def _and_rests(abandoned: list[str]) -> str:
    return f", and what is left of {len(abandoned)}" if abandoned else ""


def _show_manifest(manifest: Manifest, store: Store) -> None:
    from umami_ops.cli import render

    render.print_facts(
        {
            "Backup": manifest.name,
            "In": store.title,
            "Of": f"{manifest.origin} on {manifest.server}, Umami {manifest.release}",
            "By": manifest.tool,
            "Size": render.size(manifest.size_bytes) + (", encrypted" if manifest.encrypted_to else ""),
            "Time": render.duration(manifest.seconds),
        }
    )
    render.print_line()
    render.print_table(
        [render.text("Table"), render.number("Rows")],
        [(table.name, render.count(table.rows)) for table in manifest.tables if table.rows],
        footer=("in all", render.count(manifest.rows)),
    )


def _show_verified(name: str, restored: Restored) -> None:
    from umami_ops.cli import render

    render.print_line()
    render.print_remark(
        "✓",
        f"Verified: {name} was restored into a scratch database, {len(restored.tables)} tables with "
        f"{render.count(restored.rows)} rows, in {render.duration(restored.seconds)}.",
        style="green",
    )
