"""`umami-ops partition`: website_event in partitions by time, online, and back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from umami_ops.cli import options, partition_views
from umami_ops.errors import OpsError

if TYPE_CHECKING:
    from umami_ops.cli.planner import Planner
    from umami_ops.databases.base import Database
    from umami_ops.plan import Note

_STOPPED = 3
_PERIODS = click.Choice(["week", "month", "quarter", "year"])

_dry_run = click.option(
    "--dry-run", is_flag=True, help="Show the statements and what each locks, change nothing."
)
_offline = click.option(
    "--offline",
    is_flag=True,
    help="MySQL and MariaDB: one plain ALTER TABLE instead, during which nobody can write.",
)
_ahead = click.option(
    "--ahead",
    type=click.IntRange(min=1, max=60),
    default=3,
    show_default=True,
    help="So many periods after the current one get a partition.",
)


@click.group()
def partition() -> None:
    """Put website_event into partitions by time, online; maintain and split them; and go back.

    Umami doesn't notice, and its later migrations apply. Retention is then the drop of a partition.
    """


@partition.command()
@options.url
@options.json_output
def status(as_json: bool) -> None:
    """Show the partitions and what they hold."""
    from umami_ops.cli import render
    from umami_ops.operations.inspect import inspect
    from umami_ops.operations.partition import layout_of, notes_on

    database = options.open_from_options(needs_session=True)
    with database.connect("umami-ops partition") as connection:
        layout = layout_of(connection, inspect(connection))
        server = connection.server()
    notes = tuple(notes_on(layout, datetime.now(UTC)))
    if as_json:
        render.print_json(
            {
                "database": server.database,
                "server": server.title,
                "is_partitioned": layout.is_partitioned,
                "unfinished": layout.unfinished,
                "partitions": [partition_views.part_document(part) for part in layout.partitions],
                "notes": [{"text": note.text, "cure": note.cure} for note in notes],
            }
        )
        return
    render.print_facts({"Database": f"{server.database} on {server.title}"})
    if layout.partitions:
        partition_views.show_layout(layout)
    elif not layout.is_foreign:
        render.print_line()
        render.print_line("website_event is a plain table.", style="bold")
    partition_views.show_notes(notes)


@partition.command()
@click.option(
    "--by", "period", type=_PERIODS, default="month", show_default=True, help="How long each partition is."
)
@_ahead
@click.option(
    "--null-created-at",
    "undated",
    type=click.Choice(["refuse", "session-time", "session-time-or-delete", "delete"]),
    default="refuse",
    show_default=True,
    help="What becomes of events without a time, which no partition takes.",
)
@click.option(
    "--table", default="website_event", metavar="TABLE", help="website_event; any other is refused."
)
@_offline
@_dry_run
@options.yes
@options.max_duration
@options.url
@options.json_output
def enable(
    period: str,
    ahead: int,
    undated: str,
    table: str,
    offline: bool,
    dry_run: bool,
    yes: bool,
    max_duration: float | None,
    as_json: bool,
) -> None:
    """Make one partition of all history, and some ahead.

    Umami goes on meanwhile. PostgreSQL copies nothing. MySQL and MariaDB copy the table, with triggers that
    follow its writers.
    """
    from umami_ops.operations.partition import Enabling, check_table, plan_enable

    check_table(table)
    wish = Enabling(period, ahead, undated, online=not offline)
    _carry_out(
        lambda connection, found: plan_enable(connection, found, wish, datetime.now(UTC)),
        dry_run=dry_run, yes=yes, max_duration=max_duration, as_json=as_json,
        question="Partition website_event?",
    )  # fmt: skip


@partition.command()
@_ahead
@click.option("--keep", metavar="AGE", help="Drop partitions that lie wholly past this age: 13mo, 2y.")
@click.option("--detach", is_flag=True, help="With --keep: make them tables of their own instead.")
@_dry_run
@options.yes
@options.max_duration
@options.url
@options.json_output
def maintain(
    ahead: int,
    keep: str | None,
    detach: bool,
    dry_run: bool,
    yes: bool,
    max_duration: float | None,
    as_json: bool,
) -> None:
    """Make the coming partitions; drop old ones.

    Empties the catch-all into partitions that were missing. Safe to run at any time, and to miss for months:
    a scheduler's job.
    """
    from umami_ops.operations.horizon import before_age
    from umami_ops.operations.partition import Upkeep, plan_maintain

    now = datetime.now(UTC)
    wish = Upkeep(ahead, before_age(keep, now) if keep else None, detach)
    _carry_out(
        lambda connection, found: plan_maintain(connection, found, wish, now),
        dry_run=dry_run, yes=yes or not keep, max_duration=max_duration, as_json=as_json,
        question="Maintain the partitions?",
    )  # fmt: skip


@partition.command()
@click.option(
    "--by", "period", type=_PERIODS, default="year", show_default=True, help="How long each partition is."
)
@_dry_run
@options.yes
@options.max_duration
@options.url
@options.json_output
def split(period: str, dry_run: bool, yes: bool, max_duration: float | None, as_json: bool) -> None:
    """Copy history into smaller partitions.

    That happens in the background; then they are exchanged. Takes the space of a copy until it is done. The
    more partitions, the slower are reports on event data.
    """
    from umami_ops.operations.partition import plan_split

    _carry_out(
        lambda connection, found: plan_split(connection, found, period),
        dry_run=dry_run, yes=yes, max_duration=max_duration, as_json=as_json,
        question="Split the history?",
    )  # fmt: skip


@partition.command()
@_offline
@_dry_run
@options.yes
@options.max_duration
@options.url
@options.json_output
def disable(offline: bool, dry_run: bool, yes: bool, max_duration: float | None, as_json: bool) -> None:
    """Go back to the plain table.

    It is then as Umami's migrations make it. Also undoes an interrupted enable or split.
    """
    from umami_ops.operations.partition import plan_disable

    _carry_out(
        lambda connection, found: plan_disable(connection, found, online=not offline),
        dry_run=dry_run, yes=yes, max_duration=max_duration, as_json=as_json,
        question="Go back to a plain table?",
    )  # fmt: skip


def _carry_out(
    planner: Planner,
    *,
    dry_run: bool,
    yes: bool,
    max_duration: float | None,
    as_json: bool,
    question: str,
) -> None:
    """Plan, show, confirm, execute, report."""
    from umami_ops.cli import render
    from umami_ops.cli.planner import plan_under_lock
    from umami_ops.cli.progress import RowsWatcher
    from umami_ops.execute import RunLock, StopSignal, execute, require_free
    from umami_ops.operations.inspect import inspect, require_session

    database = options.open_from_options(needs_session=True)
    with database.connect("umami-ops partition") as connection:
        require_session(connection.server())
        plan = planner(connection, inspect(connection))
        if dry_run:
            partition_views.show_dry_run(plan, connection, as_json=as_json)
            return
        if plan.steps:
            require_free(connection)
    if not as_json:
        partition_views.show_plan(plan)
    if not plan.steps:
        if as_json:
            render.print_json(partition_views.plan_document(plan))
        else:
            render.print_line()
            render.print_line("Nothing to do.", style="bold")
        return
    render.confirm(question, yes)
    stop = StopSignal(max_duration)
    with (
        stop.on_signals(),
        RunLock(database, plan.operation) as lock,
        render.Progress(plan.operation, None) as progress,
    ):
        plan = plan_under_lock(database, planner)
        try:
            report = execute(plan, database, lock=lock, stop=stop, observer=RowsWatcher(progress))
        except OpsError as fault:
            left = [f"{note.text} {note.cure}." for note in _left_standing(database)]
            fault.done = " ".join([*filter(None, [fault.done]), *left])
            raise
    if report.stopped:
        report.notes += _left_standing(database)
    partition_views.show_report(plan, report, as_json=as_json)
    if report.stopped:
        raise SystemExit(_STOPPED)


def _left_standing(database: Database) -> list[Note]:
    """Return what a run that ended early leaves standing, and does to Umami, as far as it can be seen."""
    from umami_ops.operations.partition import about_bounds

    try:
        with database.connect("umami-ops partition") as connection:
            return list(about_bounds(connection.partitioning().layout()))
    except OpsError:
        return []
