"""`umami-ops restore`: bring a backup back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from umami_ops.cli import options, signals
from umami_ops.errors import Refused, UsageFault

if TYPE_CHECKING:
    from umami_ops.archive.manifest import TableFacts
    from umami_ops.archive.source import Source
    from umami_ops.archive.store import Store
    from umami_ops.databases.base import Database
    from umami_ops.execute.restore import Restored
    from umami_ops.operations.restore import RestorePlan


@click.command()
@click.argument("name", metavar="NAME|FILE|latest")
@options.store
@options.target_url
@click.option(
    "--replace",
    is_flag=True,
    help="Take the place of what is there, which stays until the backup is loaded and compared.",
)
@click.option(
    "--only",
    "only",
    multiple=True,
    metavar="TABLE",
    help="Restore this table alone; may be given more than once.",
)
@click.option(
    "--website",
    "websites",
    multiple=True,
    metavar="ID|DOMAIN|NAME",
    help="Add the rows of this website alone, from a portable backup; may be given more than once.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1, max=64),
    metavar="N",
    help="Load so many tables at once, from a backup made with --jobs, into a database without them.",
)
@options.identity
@click.option("--dry-run", is_flag=True, help="Show what would come and what would give way, change nothing.")
@options.yes
@options.url
@options.json_output
def restore(
    name: str,
    place: str | None,
    replace: bool,
    only: tuple[str, ...],
    websites: tuple[str, ...],
    jobs: int | None,
    identities: tuple[Path, ...],
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Bring a backup back, all of it or nothing.

    NAME is one of the store's, `latest` the newest of the database, FILE what pg_dump, mysqldump or
    mariadb-dump wrote.
    The sums are checked before anything is touched, and the rows compared before anything gives way.
    """
    from umami_ops.archive.source import StoredBackup, find
    from umami_ops.archive.streams import read_identities
    from umami_ops.cli import render
    from umami_ops.execute import require_free
    from umami_ops.operations.addition import is_addition, plan_addition
    from umami_ops.operations.inspect import require_session
    from umami_ops.operations.restore import plan_restore

    if jobs and (only or websites):
        raise UsageFault("--jobs loads all of a backup: it goes with neither --only nor --website.")
    store = options.open_store_from_options(place)
    is_elsewhere = options.settings_from_options().target_database_url is not None
    database = (
        options.open_target_from_options() if is_elsewhere else options.open_from_options(needs_session=True)
    )
    with database.connect("umami-ops restore") as connection:
        require_session(connection.server())
        if not dry_run:
            require_free(connection)
        _complete(store, name, database, dry_run=dry_run)
        whose = options.origin_from_options() or options.origin_at(database.url)
        source = find(store, name, read_identities(identities), whose)
        if isinstance(source, StoredBackup) and (identities or not dry_run):
            source.require_key()
        if is_addition(source.manifest, websites):
            plan = plan_addition(connection, source, websites=websites, replace=replace, only=only)
        else:
            plan = plan_restore(connection, source.manifest, replace=replace, only=only, jobs=jobs)
    if not as_json:
        _show_plan(source, plan, database.url.where)
    if dry_run:
        _end_dry_run(source, plan, as_json=as_json)
        return
    what = f"the rows of {_them(plan)}" if plan.wanted.adds else "these tables"
    render.confirm(f"Replace {what}?" if plan.replaces else "Restore it?", yes)
    restored = _run(source, database, plan, jobs)
    with signals.telling("The restore had ended already: only what is said of it is cut short."):
        _show_result(source, plan, restored, as_json=as_json)


def _show_result(source: Source, plan: RestorePlan, restored: Restored, *, as_json: bool) -> None:
    from umami_ops.cli import render

    if as_json:
        render.print_json(
            {
                "name": source.title,
                "database": plan.database,
                "replaced": plan.wanted.replaced,
                "attached": plan.attached,
                "added": plan.wanted.adds,
                "tables": restored.tables,
                "seconds": round(restored.seconds, 3),
                "notes": [*plan.notes, *restored.notes],
            }
        )
        return
    if plan.wanted.adds:
        _show_added(source, restored, plan)
    else:
        _show_restored(restored, is_compared=source.manifest is not None)


def _end_dry_run(source: Source, plan: RestorePlan, *, as_json: bool) -> None:
    from umami_ops.cli import render

    if as_json:
        render.print_json(
            {
                "name": source.title,
                "dry_run": True,
                "database": plan.database,
                "tables": [
                    {"name": table.name, "rows": None if plan.websites else table.rows}
                    for table in _coming(source, plan)
                ],
                "websites": plan.websites,
                "replaced": plan.wanted.replaced,
                "attached": plan.attached,
                "kept": plan.kept,
                "added": plan.wanted.adds,
                "notes": plan.notes,
            }
        )
        return
    render.print_line()
    if source.manifest is not None and source.manifest.encrypted_to:
        render.print_remark("•", "It is encrypted: restoring it takes the key file.", "--identity FILE")
    render.print_line("Dry run: nothing was changed, and the sums were not checked.", style="bold")


def _complete(store: Store, name: str, database: Database, *, dry_run: bool) -> None:
    """Complete the archive of that name where its prune was killed; not while one is at work."""
    if name in store.unfinished():
        if dry_run:
            raise Refused(
                f"{name} isn't finished: its prune is at work, or was cut off.",
                hint="Without --dry-run it is completed first, where nobody is at work on it.",
                done="Nothing was changed.",
            )
        from umami_ops.cli import render
        from umami_ops.execute import RunLock
        from umami_ops.transfer.pruned import complete

        with RunLock(database, "restore"):
            made = complete(store, name)
        if made is not None:
            render.say(f"Completed {made.name}, the archive of a prune that was cut off.")


def _run(source: Source, database: Database, plan: RestorePlan, jobs: int | None) -> Restored:
    from umami_ops.cli import render
    from umami_ops.cli.backup import loading, megabytes
    from umami_ops.execute import RunLock
    from umami_ops.execute.restore import restore as carry_out

    with render.Progress("sums", source.size_bytes // 10**6, unit="MB") as progress:
        source.check(megabytes(progress))
    with RunLock(database, "restore"), loading(source) as advanced:
        return carry_out(source, database, plan.wanted, advanced, jobs)


def _show_plan(source: Source, plan: RestorePlan, where: str) -> None:
    from umami_ops.cli import render
    from umami_ops.operations.backup import image_for

    manifest = source.manifest
    facts = {"Backup": source.title, "Into": f"{plan.database} on {plan.server_title} at {where}"}
    if manifest is not None:
        facts["Made"] = f"{render.moment(manifest.created_at)} UTC of {manifest.origin} on {manifest.server}"
        facts["Umami"] = manifest.release
        facts["Image"] = image_for(manifest.dialect, manifest.level)
    if plan.websites:
        facts["Website" if len(plan.websites) == 1 else "Websites"] = ", ".join(plan.websites)
        facts["What comes"] = f"only the rows of {_them(plan)}"
    render.print_facts(facts)
    if manifest is not None and not plan.websites:
        render.print_table(
            [render.text("Table"), render.number("Rows")],
            [(table.name, render.count(table.rows)) for table in _coming(source, plan)],
            title="What comes",
        )
    if plan.replaces:
        tables = ", ".join(plan.wanted.replaced)
        render.print_line()
        render.print_remark(
            "!",
            f"Replaced: the rows of {_them(plan)} in {tables}; those of others stay." if plan.websites
            else f"Replaced: {tables}.",
            style="yellow",
        )  # fmt: skip
    if plan.attached:
        render.print_remark(
            "!",
            f"Goes with them, and comes only if the backup has it, too: {'; '.join(plan.attached)}.",
            "`pg_dump --schema-only` or SHOW CREATE TRIGGER writes down how to make it anew.",
            style="yellow",
        )
    for note in plan.notes:
        render.print_remark("!", note, style="yellow")
    if plan.kept:
        render.print_remark("•", f"Left alone: {', '.join(plan.kept)}.")


def _coming(source: Source, plan: RestorePlan) -> list[TableFacts]:
    """Return the tables that come, by the backup's manifest; a file without one doesn't say."""
    tables = source.manifest.tables if source.manifest else ()
    return [table for table in tables if plan.wanted.has(table.name)]


def _them(plan: RestorePlan) -> str:
    return "this website" if len(plan.websites) == 1 else "these websites"


def _show_added(source: Source, restored: Restored, plan: RestorePlan) -> None:
    from umami_ops.cli import render

    render.print_line()
    if restored.rows:
        render.print_table(
            [render.text("Table"), render.number("Rows added")],
            [(table.name, render.count(table.rows)) for table in restored.tables if table.rows],
            footer=("in all", render.count(restored.rows)),
        )
        render.print_line()
        said = f"Added from {source.title} in {render.duration(restored.seconds)}."
    else:
        said = f"Nothing of {source.title} was lacking, and nothing was added."
    render.print_remark("✓", said, style="green")
    coming = sum(table.rows for table in _coming(source, plan))
    if not plan.wanted.websites and restored.rows < coming:
        render.print_remark("•", f"{render.count(coming - restored.rows)} rows were there already.")
    for note in restored.notes:
        render.print_remark("•", note)


def _show_restored(restored: Restored, *, is_compared: bool) -> None:
    from umami_ops.cli import render

    render.print_line()
    render.print_remark(
        "✓",
        f"Restored: {len(restored.tables)} tables with {render.count(restored.rows)} rows in "
        f"{render.duration(restored.seconds)}" + ("; they are what the backup says." if is_compared else "."),
        style="green",
    )
    for note in restored.notes:
        render.print_remark("•", note)
