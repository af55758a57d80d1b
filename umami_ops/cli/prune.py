"""`umami-ops prune`: delete visitor data older than a horizon."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from umami_ops.cli import options
from umami_ops.errors import OpsError, UsageFault
from umami_ops.plan import Batches, Change, Rebuild, Statements

if TYPE_CHECKING:
    from umami_ops.archive.store import Store
    from umami_ops.databases.base import Connection, Database
    from umami_ops.operations.prune import Retention
    from umami_ops.operations.pruned import Archiving
    from umami_ops.plan import Note, Plan, Report, Step

_STOPPED = 3
_ORDER = (
    "website_event", "event_data", "revenue", "heatmap_event", "session_replay", "session", "session_data",
    "session_link",
)  # fmt: skip


@click.command()
@click.option("--days", type=int, metavar="N", help="Keep the last N days, exactly N times 24 hours.")
@click.option(
    "--before", metavar="DATE", help="Delete what is older than this day or time, UTC unless it says."
)
@click.option("--keep", metavar="AGE", help="Keep this much: 30d, 8w, 13mo or 2y, by the calendar.")
@click.option(
    "--table",
    "tables",
    multiple=True,
    metavar="TABLE=AGE",
    help="A horizon of its own for website_event, session_replay or heatmap_event, as session_replay=30d.",
)
@click.option(
    "--website",
    "websites",
    multiple=True,
    metavar="ID|DOMAIN|NAME",
    help="Only this website, link or pixel; may be given more than once.",
)
@click.option(
    "--exclude-website", "excluded", multiple=True, metavar="ID|DOMAIN|NAME", help="All but this one."
)
@click.option(
    "--null-created-at",
    "undated",
    type=click.Choice(["keep", "delete"]),
    default="keep",
    show_default=True,
    help="What becomes of rows without a time.",
)
@click.option("--orphans", is_flag=True, help="Also delete rows whose event or session is gone already.")
@click.option("--dry-run", is_flag=True, help="Show what would go and the statements, change nothing.")
@options.yes
@click.option(
    "--batch-size",
    type=click.IntRange(min=1, max=1_000_000),
    metavar="ROWS",
    help="At most so many rows of a table's own in a transaction; by default they adapt to about 250 ms.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1, max=16),
    default=2,
    show_default=True,
    help="Connections that delete side by side.",
)
@click.option(
    "--pause", type=options.Span(), default=None, metavar="SPAN", help="Rest so long after each batch."
)
@options.max_duration
@click.option(
    "--rebuild",
    is_flag=True,
    help="MySQL and MariaDB: copy the events that stay into new tables and swap them in; faster when half or "
    "more goes, needs disk space for the copies.",
)
@click.option(
    "--archive",
    "place",
    metavar="DIR|s3://…",
    help="Write what goes into an archive there first, which `umami-ops restore` brings back.",
)
@options.url
@options.json_output
def prune(
    days: int | None,
    before: str | None,
    keep: str | None,
    tables: tuple[str, ...],
    websites: tuple[str, ...],
    excluded: tuple[str, ...],
    undated: str,
    orphans: bool,
    dry_run: bool,
    yes: bool,
    batch_size: int | None,
    jobs: int,
    pause: float | None,
    max_duration: float | None,
    rebuild: bool,
    place: str | None,
    as_json: bool,
) -> None:
    """Delete visitor data older than a horizon, and what hangs on it, in small transactions.

    Events with their event_data and revenue; heatmaps; replays by visit unless saved; sessions when nothing
    kept refers to them. Numbers of the kept period stay as they are; configuration is never touched.
    """
    from umami_ops.operations.prune import Retention

    now = datetime.now(UTC)
    retention = Retention(
        horizon=_horizon(days, before, keep, now, has_tables=bool(tables)),
        tables=_table_horizons(tables, now),
        websites=websites,
        excluded=excluded,
        delete_undated=undated == "delete",
        delete_orphans=orphans,
        rebuild=rebuild,
        archived=place is not None,
    )
    store = options.open_store_from_options(place) if place else None
    database = options.open_from_options(needs_session=True)
    plan = _plan(database, retention, store, dry_run=dry_run, yes=yes, as_json=as_json)
    if dry_run or (plan.expected is not None and not any(plan.expected.values())):
        return
    pace = {"jobs": jobs, "batch_rows": batch_size, "pause_seconds": pause or 0.0}
    report, archive = _run(database, retention, plan, store, max_duration, pace)
    try:
        _show_report(plan, report, archive, as_json=as_json)
        sys.stdout.flush()
    except OSError as fault:
        raise OpsError(
            f"The report could not be written: {fault.strerror}.", done=_in_a_line(report)
        ) from None
    if report.stopped:
        raise SystemExit(_STOPPED)


def horizon_days(params: Mapping[str, Any]) -> float | None:
    """Return how many days these options keep, None where only tables have a horizon.

    Raises UsageFault for what the command would refuse.
    """
    now = datetime.now(UTC)
    _table_horizons(params["tables"], now)
    horizon = _horizon(
        params["days"], params["before"], params["keep"], now, has_tables=bool(params["tables"])
    )
    return None if horizon is None else (now - horizon).total_seconds() / 86_400


def _plan(
    database: Database, retention: Retention, store: Store | None, *, dry_run: bool, yes: bool, as_json: bool
) -> Plan:
    """Make the plan, show it, and have it confirmed."""
    from umami_ops.cli import render
    from umami_ops.operations.inspect import inspect, require_session
    from umami_ops.operations.prune import plan_prune
    from umami_ops.operations.pruned import require_room

    with database.connect("umami-ops prune") as connection:
        require_session(connection.server())
        installation = inspect(connection)
        plan = plan_prune(connection, installation, retention, counted=dry_run or not yes)
        if store is not None:
            require_room(installation, plan, store)
            plan = replace(plan, facts={**plan.facts, "archive": store.title})
        if dry_run:
            _show_dry_run(plan, connection, as_json=as_json)
            return plan
        if not as_json:
            _show_plan(plan, connection)
    if plan.expected is None or any(plan.expected.values()):
        render.confirm("Delete these rows?", yes)
    elif as_json:
        render.print_json(plan.to_dict())
    else:
        render.print_line()
        render.print_line("Nothing is past the horizon, nothing to do.", style="bold")
    return plan


def _run(
    database: Database,
    retention: Retention,
    plan: Plan,
    store: Store | None,
    max_duration: float | None,
    pace: Mapping[str, Any],
) -> tuple[Report, Archiving | None]:
    """Carry the plan out under the lock, with progress, until it is done or there is a reason to stop."""
    from umami_ops.cli import render
    from umami_ops.execute import RunLock, StopSignal, execute
    from umami_ops.operations.inspect import inspect
    from umami_ops.operations.prune import conclude
    from umami_ops.operations.pruned import archiving

    stop = StopSignal(max_duration)
    # A rebuild looks at rows that stay, too: how many there will be in all isn't known.
    total = None if _is_rebuild(plan) else plan.events
    archive = None
    with (
        stop.on_signals(),
        RunLock(database, "prune") as lock,
        render.Progress("prune", total) as progress,
        ExitStack() as stack,
    ):
        if store is not None:
            with database.connect("umami-ops prune") as connection:
                installation = inspect(connection)
            archive = stack.enter_context(archiving(database, installation, store))
            pace = {**pace, "keep": archive.keep}
        report = execute(plan, database, lock=lock, stop=stop, observer=_Watcher(progress), **pace)
        with database.connect("umami-ops prune") as connection:
            conclude(connection, inspect(connection), retention, report)
    return report, archive


def _horizon(
    days: int | None, before: str | None, keep: str | None, now: datetime, *, has_tables: bool
) -> datetime | None:
    from umami_ops.operations import horizon

    given = options.of_highest_rank("days", "before", "keep")
    if len(given) > 1:
        raise UsageFault("Give one of --days, --before and --keep, not several.")
    if not given and not has_tables:
        raise UsageFault(
            "How much is to be kept?", hint="Give --days 365, --keep 13mo or --before 2025-01-01."
        )
    if days is not None and "days" in given:
        return horizon.before_days(days, now)
    if keep is not None and "keep" in given:
        return horizon.before_age(keep, now)
    return horizon.before_date(before, now) if before is not None else None


def _table_horizons(tables: tuple[str, ...], now: datetime) -> Mapping[str, datetime]:
    from umami_ops.operations.horizon import before_age
    from umami_ops.operations.prune import check_table

    horizons: dict[str, datetime] = {}
    for written in tables:
        table, equals, age = written.partition("=")
        if not equals:
            raise UsageFault(f"--table {written!r} lacks an age.", hint="Write --table session_replay=30d.")
        check_table(table)
        if table in horizons:
            raise UsageFault(f"--table {table} is given twice.")
        horizons[table] = before_age(age, now, option=f"--table {table}=")
    return horizons


class _Watcher:
    """Feeds the progress line with what the executor tells."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._title = ""
        self._rows = 0

    def __call__(self, event: Any) -> None:
        from umami_ops.cli import render
        from umami_ops.execute import BatchDone, StepBegan, Trouble

        match event:
            case StepBegan():
                self._title = event.title
            case BatchDone():
                # Copying deletes nothing: then what was looked at is the progress.
                self._rows += event.deleted.get("website_event", 0) if event.deleted else event.picked
            case Trouble():
                render.say(f"  {event.text}")
        self._progress.at(self._rows, self._title)


def _show_plan(plan: Plan, connection: Connection) -> None:
    from umami_ops.cli import render

    facts = plan.facts
    shown = {"Database": f"{facts['database']} on {facts['server']}"}
    if facts["horizon"]:
        shown["Delete before"] = f"{render.moment(facts['horizon'], seconds=True)} UTC"
    for table, horizon in facts["table_horizons"].items():
        name = f"  in {table}" if facts["horizon"] else f"Before, in {table}"
        shown[name] = f"{render.moment(horizon, seconds=True)} UTC"
    names = ", ".join(facts["website_names"])
    if "archive" in facts:
        shown["Archive in"] = facts["archive"]
    shown["Websites"] = names if facts["websites"] else f"all but {names}" if names else "all"
    render.print_facts(shown)
    if plan.expected:
        estimates = _estimates(connection)
        render.print_table(
            [render.text("Table"), render.number("Rows to delete"), render.number("of about")],
            [
                (
                    table,
                    render.count(going),
                    render.count(max(estimates.get(table, 0), going), estimated=True),
                )
                for table, going in _ordered(plan.expected).items()
            ],
            title="What goes",
        )
    _show_notes(plan.notes)


def _kept(archive: Archiving) -> dict[str, Any]:
    """Return the archive for JSON; without a name where nothing was deleted."""
    earlier = [made.name for made in archive.earlier]
    made = archive.made
    found = {"name": made.name, "rows": made.rows, "size_bytes": made.size_bytes} if made else {"name": None}
    return found | {"completed": earlier}


def _in_a_line(report: Report) -> str:
    """Return what was done, for when there is no place for more."""
    rows = ", ".join(
        f"{count:,} rows of {table}" for table, count in _ordered(report.deleted).items() if count
    )
    end = f"; ended early: {report.stopped}" if report.stopped else ""
    return f"Deleted: {rows or 'nothing'}{end}."


def _ordered(counts: Mapping[str, int]) -> dict[str, int]:
    return {table: counts[table] for table in _ORDER if table in counts}


def _is_rebuild(plan: Plan) -> bool:
    return any(isinstance(step, Rebuild) for step in plan.steps)


def _estimates(connection: Connection) -> dict[str, int]:
    from umami_ops.databases.base import Introspector

    return {relation.name: relation.rows_estimate for relation in Introspector(connection).relations()}


def _show_dry_run(plan: Plan, connection: Connection, *, as_json: bool) -> None:
    from umami_ops.cli import render

    steps = [part for step in plan.steps for part in _printable(step, connection)]
    if as_json:
        document = plan.to_dict()
        document["steps"] = [{"title": title, "statements": texts} for title, texts in steps]
        render.print_json(document)
        return
    _show_plan(plan, connection)
    for number, (title, texts) in enumerate(steps, 1):
        render.heading(f"Step {number}: {title}")
        for text in texts:
            render.print_statement(text)
    render.print_line()
    render.print_line(
        "A name behind a colon is a value that each slice brings; :batch_rows follows how long batches take."
    )
    going = ", ".join(
        f"{render.count(n)} of {table}" for table, n in _ordered(plan.expected or {}).items() if n
    )
    render.print_line(f"Dry run: nothing was changed. {going or 'Nothing'} would go.", style="bold")


def _printable(step: Step, connection: Connection) -> Iterator[tuple[str, list[str]]]:
    """Yield titles with their SQL; the values of a first slice are written in, later ones stay `:name`."""
    match step:
        case Batches():
            values = {**step.values, **step.cursors[0]}
            ranges = f", for each of {len(step.cursors)} websites" if len(step.cursors) > 1 else ""
            texts = (*step.prepare, step.next_slice, step.work)
            title = f"{step.title}, slice by slice until none is left{ranges}"
            yield title, [connection.render(query, values) for text in texts for query in text.statements]
        case Rebuild():
            parts = step.tables.values()
            yield "empty copies", [query.text for part in parts for query in part.create]
            yield "triggers that follow", [query.text for part in parts for query in part.follow]
            for table in step.tables:
                yield from _printable(step.copying(table), connection)
            yield "their indexes", [query.text for part in parts for query in part.index]
            yield "comparison", [connection.render(part.compare, step.values) for part in parts]
            yield "swap", [query.text for query in (step.swap, *step.finish)]
        case Statements() | Change():
            yield step.title, [query.text for query in step.statements]


def _show_notes(notes: tuple[Note, ...] | list[Note]) -> None:
    from umami_ops.cli import render

    if notes:
        render.print_line()
    for note in notes:
        render.print_remark("•", note.text, note.cure or "")


def _show_report(plan: Plan, report: Report, archive: Archiving | None, *, as_json: bool) -> None:
    from umami_ops.cli import render

    if as_json:
        planned, done = plan.to_dict(), report.to_dict()
        kept = {"archive": _kept(archive)} if archive else {}
        render.print_json(planned | done | {"notes": planned["notes"] + done["notes"]} | kept)
        return
    deleted = {table: count for table, count in _ordered(report.deleted).items() if count}
    if deleted:
        render.print_table(
            [render.text("Table"), render.number("Rows deleted")],
            [(table, render.count(count)) for table, count in deleted.items()],
            title="Deleted",
        )
    else:
        render.print_line()
        render.print_line("Nothing was deleted." if report.stopped else "Nothing was past the horizon.")
    render.print_line()
    shown = {
        "Time": f"{render.duration(report.seconds)}, {render.count(report.transactions)} transactions",
        "Longest transaction": render.duration(report.longest_transaction_seconds),
    }
    if archive is not None and archive.made is not None:
        made = archive.made
        shown["Archive"] = f"{made.name}, {render.count(made.rows)} rows, {render.size(made.size_bytes)}"
    for made in archive.earlier if archive else ():
        shown["Completed"] = f"{made.name}, the archive of an earlier run that was cut off"
    render.print_facts(shown)
    _show_notes(report.notes)
    if report.stopped:
        render.print_line()
        again = "starts over" if _is_rebuild(plan) and not deleted else "continues"
        render.print_line(f"Ended early: {report.stopped}. The same command {again}.", style="bold")
