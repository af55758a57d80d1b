"""`umami-ops partition`: website_event in partitions by time, online, and back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from umami_ops.cli import options

if TYPE_CHECKING:
    from umami_ops.databases.base import Connection, Database
    from umami_ops.databases.partitioning import Layout
    from umami_ops.operations.inspect import Installation
    from umami_ops.plan import Note, Plan, Report, Step

    Planner = Callable[[Connection, Installation], Plan]

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
                "partitions": [_as_document(part) for part in layout.partitions],
                "notes": [{"text": note.text, "cure": note.cure} for note in notes],
            }
        )
        return
    render.print_facts({"Database": f"{server.database} on {server.title}"})
    if layout.partitions:
        _show_layout(layout)
    elif not layout.is_foreign:
        render.print_line()
        render.print_line("website_event is a plain table.", style="bold")
    _show_notes(notes)


@partition.command()
@click.option(
    "--by", "period", type=_PERIODS, default="month", show_default=True, help="How long each partition is."
)
@_ahead
@click.option(
    "--null-created-at",
    "undated",
    type=click.Choice(["refuse", "session-time", "delete"]),
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
    from umami_ops.execute import RunLock, StopSignal, execute
    from umami_ops.operations.inspect import inspect, require_session

    database = options.open_from_options(needs_session=True)
    with database.connect("umami-ops partition") as connection:
        require_session(connection.server())
        plan = planner(connection, inspect(connection))
        if dry_run:
            _show_dry_run(plan, connection, as_json=as_json)
            return
    if not as_json:
        _show_plan(plan)
    if not plan.steps:
        if as_json:
            render.print_json(_document(plan))
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
        plan = _planned_again(database, planner)
        report = execute(plan, database, lock=lock, stop=stop, observer=_Watcher(progress))
    _show_report(plan, report, as_json=as_json)
    if report.stopped:
        raise SystemExit(_STOPPED)


def _planned_again(database: Database, planner: Planner) -> Plan:
    """Plan once more, under the lock: another run may have come to its end since."""
    from umami_ops.operations.inspect import inspect

    with database.connect("umami-ops partition") as connection:
        return planner(connection, inspect(connection))


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
                self._rows += event.picked
            case Trouble():
                render.say(f"  {event.text}")
        self._progress.at(self._rows, self._title)


# --- what is shown -----------------------------------------------------------------------------------------


def _show_layout(layout: Layout) -> None:
    from umami_ops.cli import render

    total = layout.size
    render.print_table(
        [
            render.text("Partition"),
            render.text("From"),
            render.text("To"),
            render.number("Events, about"),
            render.number("Size"),
            render.number("Indexes", optional=True),
        ],
        [
            (
                part.name,
                "all else" if part.is_catch_all else _day(part.since, "the beginning"),
                "" if part.is_catch_all else _day(part.until, "the end"),
                render.count(part.rows_estimate, estimated=True),
                render.size(part.size.table_bytes),
                render.size(part.size.index_bytes),
            )
            for part in layout.partitions
        ],
        title="Partitions of website_event",
        footer=(
            "total",
            "",
            "",
            render.count(sum(part.rows_estimate for part in layout.partitions), estimated=True),
            render.size(total.table_bytes),
            render.size(total.index_bytes),
        ),
    )


def _day(moment: datetime | None, otherwise: str) -> str:
    return otherwise if moment is None else f"{moment:%Y-%m-%d}"


def _show_plan(plan: Plan) -> None:
    from umami_ops.cli import render

    facts = plan.facts
    shown = {"Database": f"{facts['database']} on {facts['server']}"}
    if facts.get("boundary"):
        shown["History"] = f"one partition, up to {facts['boundary']:%Y-%m-%d} (UTC)"
    if new := facts["new_partitions"]:
        labels = [slot.label for slot in new]
        few = labels if len(labels) <= 6 else [*labels[:3], "…", *labels[-2:]]
        shown["New partitions"] = f"{len(new)} by the {facts['period']}: {', '.join(few)}"
    if facts.get("moved"):
        shown["Out of the catch-all"] = f"{render.count(facts['moved'])} events"
    if facts.get("past"):
        shown["Past the horizon"] = ", ".join(facts["past"])
    if facts.get("needed_bytes"):
        shown["Space for the copies"] = f"about {render.size(facts['needed_bytes'])} until it is done"
    if plan.steps:
        shown["Steps"] = str(len(plan.steps))
    render.print_facts(shown)
    _show_notes(plan.notes)


def _show_dry_run(plan: Plan, connection: Connection, *, as_json: bool) -> None:
    from umami_ops.cli import render

    steps = [_printable(step, connection) for step in plan.steps]
    if as_json:
        render.print_json(_document(plan) | {"steps": steps})
        return
    _show_plan(plan)
    for number, step in enumerate(steps, 1):
        render.heading(f"Step {number}: {step['title']}")
        for text in step["statements"]:
            render.print_statement(text)
        render.print_line(f"  Lock: {step['lock']}.")
    render.print_line()
    render.print_line("Dry run: nothing was changed.", style="bold")


def _printable(step: Step, connection: Connection) -> dict[str, Any]:
    from umami_ops.plan import Batches, Change, Rebuild, Statements

    match step:
        case Change():
            texts = [statement.text for statement in step.statements]
            if step.together:
                texts = ["BEGIN", *texts, "COMMIT"]
            return {"title": step.title, "statements": texts, "lock": step.lock}
        case Batches():
            queries = [*step.next_slice.statements, *step.work.statements]
            return {
                "title": f"{step.title}, slice by slice until none is left",
                "statements": [connection.render(query, step.values) for query in queries],
                "lock": "the rows of one batch, of about 250 ms",
            }
        case Rebuild():
            parts = step.tables.values()
            queries = [
                *(query for part in parts for query in (*part.create, *part.follow)),
                *(query for part in parts for query in (part.next_slice, *part.copy.statements, *part.index)),
                step.swap,
                *step.finish,
            ]
            return {
                "title": step.title,
                "statements": [connection.render(query, step.values) for query in queries],
                "lock": "metadata locks for an instant, for triggers and RENAME; the rows of one batch",
            }
        case Statements():
            return {
                "title": step.title,
                "statements": [statement.text for statement in step.statements],
                "lock": "what it drops, which nobody uses",
            }
    return {"title": step.title, "statements": [], "lock": ""}


def _show_notes(notes: tuple[Note, ...] | list[Note]) -> None:
    from umami_ops.cli import render

    if notes:
        render.print_line()
    for note in notes:
        render.print_remark("•", note.text, note.cure or "")


def _show_report(plan: Plan, report: Report, *, as_json: bool) -> None:
    from umami_ops.cli import render

    if as_json:
        render.print_json(_document(plan, report))
        return
    if report.changed:
        render.print_table(
            [render.text("Done"), render.number("Time"), render.number("Locked for")],
            [
                (
                    done.title,
                    render.duration(done.seconds),
                    render.duration(done.held_seconds) if done.held_seconds else "–",
                )
                for done in report.changed
            ],
        )
    render.print_line()
    render.print_facts({"Time": render.duration(report.seconds)})
    _show_notes(report.notes)
    if report.stopped:
        render.print_line()
        again = "starts over" if _is_copied_whole(plan) else "continues"
        render.print_line(f"Ended early: {report.stopped}. The same command {again}.", style="bold")


def _is_copied_whole(plan: Plan) -> bool:
    """Say whether the table is copied in one step, which an early end undoes."""
    from umami_ops.plan import Rebuild

    return any(isinstance(step, Rebuild) for step in plan.steps)


def _document(plan: Plan, report: Report | None = None) -> dict[str, Any]:
    """Return what --json prints."""
    document = plan.to_dict()
    document["partitions"] = [_as_document(part) for part in plan.facts["partitions"]]
    if report is None:
        return document
    return document | report.to_dict()


def _as_document(part: Any) -> dict[str, Any]:
    return {
        "name": part.name,
        "since": part.since,
        "until": part.until,
        "is_catch_all": part.is_catch_all,
        "rows_estimate": part.rows_estimate,
        "table_bytes": part.size.table_bytes,
        "index_bytes": part.size.index_bytes,
    }
