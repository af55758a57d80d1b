"""`umami-ops prune`: delete visitor data older than a horizon."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from umami_ops.cli import options, pruning
from umami_ops.errors import OpsError, UsageFault

if TYPE_CHECKING:
    from umami_ops.archive.store import Store
    from umami_ops.databases.base import Database
    from umami_ops.operations.prune import Retention
    from umami_ops.operations.pruned import Archiving
    from umami_ops.plan import Plan, Report

_STOPPED = 3


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
    type=options.Filled(),
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
    if dry_run or not pruning.has_work(plan):
        return
    pace = {"jobs": jobs, "batch_rows": batch_size, "pause_seconds": pause or 0.0}
    report, archive = _run(database, retention, plan, store, max_duration, pace)
    try:
        pruning.show_report(plan, report, archive, as_json=as_json)
        sys.stdout.flush()
    except OSError as fault:
        raise OpsError(
            f"The report could not be written: {fault.strerror}.", done=pruning.in_a_line(report)
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
    from umami_ops.execute import require_free
    from umami_ops.operations.inspect import inspect, require_session
    from umami_ops.operations.prune import plan_prune

    with database.connect("umami-ops prune") as connection:
        require_session(connection.server())
        if not dry_run:
            require_free(connection)
        installation = inspect(connection)
        counted = dry_run or not yes
        plan = plan_prune(connection, installation, retention, counted=counted, beside=database)
        if store is not None:
            from umami_ops.operations.pruned import require_room

            require_room(installation, plan, store)
            plan = replace(plan, facts={**plan.facts, "archive": store.title})
        if dry_run:
            pruning.show_dry_run(plan, connection, as_json=as_json)
            return plan
        if not as_json:
            pruning.show_plan(plan, connection)
    if pruning.has_work(plan):
        render.confirm(pruning.question(plan), yes)
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
    from umami_ops.cli.planner import plan_under_lock
    from umami_ops.cli.progress import RowsWatcher
    from umami_ops.execute import RunLock, StopSignal, execute
    from umami_ops.operations.inspect import inspect
    from umami_ops.operations.prune import conclude, plan_prune

    stop = StopSignal(max_duration)
    # A rebuild looks at rows that stay, too: how many there will be in all isn't known.
    total = None if pruning.is_rebuild(plan) else plan.events
    archive = None
    with (
        stop.on_signals(),
        RunLock(database, "prune") as lock,
        render.Progress("prune", total) as progress,
        ExitStack() as stack,
    ):
        if pruning.may_be_stale(plan):
            steps_alone = partial(plan_prune, retention=retention, counted=False, noted=False)
            again = plan_under_lock(database, steps_alone)
            plan = replace(plan, steps=again.steps)
        if store is not None:
            from umami_ops.operations.pruned import archiving

            with database.connect("umami-ops prune") as connection:
                installation = inspect(connection)
            archive = stack.enter_context(archiving(database, installation, store))
            pace = {**pace, "keeper": archive.keeper}
        report = execute(plan, database, lock=lock, stop=stop, observer=RowsWatcher(progress), **pace)
        conclude(database.dialect, retention, report)
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
