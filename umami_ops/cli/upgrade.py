"""`umami-ops upgrade`: what Umami's next upgrade will do, what can be done ahead, what a failed one needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from umami_ops.cli import options

if TYPE_CHECKING:
    from umami_ops.cli.planner import Planner
    from umami_ops.databases.base import Connection, Database
    from umami_ops.operations.inspect import Installation
    from umami_ops.operations.upgrade.outlook import Outlook, Upcoming
    from umami_ops.plan import Note, Plan, Report, Step

_STOPPED, _NO_GO = 3, 5

_to = click.option(
    "--to",
    "release",
    metavar="RELEASE",
    help="The release of Umami to come, as 3.1, or `newest` for all that is known; by default the newest "
    "released one, and behind that what is in the making.",
)
_dry_run = click.option(
    "--dry-run", is_flag=True, help="Show the steps with their statements, change nothing."
)


@click.group()
def upgrade() -> None:
    """See what Umami's next upgrade will do, prepare it, or repair one that failed."""


@upgrade.command(short_help="Say what the next migrations do, how long, and what fails them.")
@_to
@options.url
@options.json_output
def check(release: str | None, as_json: bool) -> None:
    """Say what the next migrations will do to this database, how long they take, and what makes them fail.

    Changes nothing; a temporary table is timed to estimate durations. Ends with 5 on a no go.
    """
    from umami_ops.cli import render
    from umami_ops.operations.inspect import inspect
    from umami_ops.operations.upgrade.outlook import look_ahead

    database = options.open_from_options(needs_session=True)
    with database.connect("umami-ops upgrade check") as connection:
        outlook = look_ahead(connection, inspect(connection), release)
    if as_json:
        render.print_json(outlook.to_dict())
    else:
        _show_outlook(outlook)
    if outlook.verdict == "no go":
        raise SystemExit(_NO_GO)


@upgrade.command(short_help="Do ahead, while Umami goes on, what migrations stop it for.")
@_to
@_dry_run
@options.yes
@options.max_duration
@options.url
@options.json_output
def prepare(release: str | None, dry_run: bool, yes: bool, max_duration: float | None, as_json: bool) -> None:
    """Do ahead, while Umami goes on, what the next migrations would stop it for.

    Builds indexes beside writers, gives indexes their names back, deletes duplicates in small transactions.
    """
    from umami_ops.operations.upgrade.prepare import plan_prepare

    def planned(connection: Connection, found: Installation) -> Plan:
        return plan_prepare(connection, found, release)

    database = options.open_from_options(needs_session=True)
    if _shown(database, planned, _show_work, "Do this?", dry_run=dry_run, yes=yes, as_json=as_json):
        _carry_out(database, planned, max_duration, as_json=as_json)


@upgrade.command(short_help="Complete or undo a migration that failed, and mark it.")
@click.option(
    "--undo",
    is_flag=True,
    help="Take back what the failed migration had done, to go on with the release of before.",
)
@_dry_run
@options.yes
@options.max_duration
@options.url
@options.json_output
def repair(undo: bool, dry_run: bool, yes: bool, max_duration: float | None, as_json: bool) -> None:
    """Complete or undo a migration that failed, and mark it, so that Umami starts again.

    Says which one, what of it had been applied, and what it will do about it; then asks.
    """
    from umami_ops.operations.upgrade.repair import plan_repair

    def planned(connection: Connection, found: Installation) -> Plan:
        return plan_repair(connection, found, undo=undo)

    database = options.open_from_options(needs_session=True)
    if _shown(database, planned, _show_repair, "Repair it?", dry_run=dry_run, yes=yes, as_json=as_json):
        _carry_out(database, planned, max_duration, as_json=as_json)


# --- check ------------------------------------------------------------------------------------------------


def _show_outlook(outlook: Outlook) -> None:
    from umami_ops.cli import render

    render.print_facts(
        {
            "Database": f"{outlook.database} on {outlook.server}",
            "Umami": f"{outlook.release} (level {outlook.level})",
            "Upgrade to": f"level {outlook.target}" if outlook.upcoming else "nothing to come is known",
        }
    )
    if outlook.upcoming:
        render.print_table(
            [
                render.identifier("Migration"),
                render.text("Release", optional=True),
                render.number("Time"),
                render.number("Disk"),
                render.text("Waits"),
                render.text("Does", optional=True),
            ],
            [_row(migration) for migration in outlook.upcoming],
            title="What Umami's next start will do",
            footer=("all", "", _time(outlook.seconds), _disk(outlook.disk_bytes), "", ""),
        )
    if outlook.obstacles:
        render.heading("What will make it fail")
        for obstacle in outlook.obstacles:
            sign, style = ("•", "yellow") if obstacle.is_prepared else ("✗", "bold red")
            render.print_remark(sign, obstacle.sentence, obstacle.cure, style=style)
    _show_notes(outlook.notes)
    _show_verdict(outlook)


def _row(migration: Upcoming) -> tuple[str, ...]:
    return (
        migration.name,
        migration.release if migration.is_released else f"({migration.release})",
        _time(migration.seconds),
        _disk(migration.disk_bytes),
        ", ".join(f"{table}: {who}" for table, who in migration.waits.items()) or "–",
        migration.gist,
    )


def _time(seconds: float) -> str:
    from umami_ops.cli import render

    return f"~{render.duration(seconds)}" if seconds >= 1 else "at once"


def _disk(size_bytes: int) -> str:
    from umami_ops.cli import render

    return f"~{render.size(size_bytes)}" if size_bytes else "–"


def _show_verdict(outlook: Outlook) -> None:
    from umami_ops.cli import render

    took = (
        f"about {render.duration(outlook.seconds)}, by a timed sample"
        if outlook.is_measured
        else (f"about {render.duration(outlook.seconds)}, by what is usual")
    )
    sentences = {
        "go": "Go." if outlook.upcoming else "Nothing to upgrade.",
        "go with time": f"Go, with time: Umami will be down for {took}.",
        "go once prepared": "Go, once `umami-ops upgrade prepare` has run.",
        "no go": "No go: what is marked ✗ needs you first.",
    }
    render.print_line()
    render.print_line(sentences[outlook.verdict], style="bold")
    if outlook.verdict == "go with time":
        render.print_line("`umami-ops upgrade prepare` does ahead what can be done while Umami goes on.")


# --- prepare and repair -----------------------------------------------------------------------------------


def _shown(
    database: Database,
    planner: Planner,
    show: Any,
    question: str,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> bool:
    """Show the plan and have it confirmed; say whether there is something to carry out."""
    from umami_ops.cli import render
    from umami_ops.execute import require_free
    from umami_ops.operations.inspect import inspect, require_session

    with database.connect("umami-ops upgrade") as connection:
        require_session(connection.server())
        plan = planner(connection, inspect(connection))
        steps = list(_printable(plan.steps, connection)) if dry_run else []
        if plan.steps and not dry_run:
            require_free(connection)
    if dry_run:
        if as_json:
            render.print_json(plan.to_dict() | {"steps": steps})
            return False
        show(plan)
        for number, step in enumerate(steps, 1):
            render.heading(f"Step {number}: {step['title']}")
            for text in step["statements"]:
                render.print_statement(text)
            if step["lock"]:
                render.print_line(f"  Lock: {step['lock']}.")
        render.print_line()
        render.print_line("Dry run: nothing was changed.", style="bold")
        return False
    if not plan.steps:
        if as_json:
            render.print_json(plan.to_dict())
        else:
            show(plan)
        return False
    if not as_json:
        show(plan)
    render.confirm(question, yes)
    return True


def _printable(steps: Sequence[Step], connection: Connection) -> Iterator[dict[str, Any]]:
    from umami_ops.plan import Batches, Maintenance, Statements

    for step in steps:
        lock, texts = "", list[str]()
        match step:
            case Maintenance():
                lock, texts = step.lock, [step.statement.text]
            case Batches():
                lock = "the rows of one short transaction at a time"
                queries = (*step.next_slice.statements, *step.work.statements)
                texts = [connection.render(query, step.values) for query in queries]
            case Statements():
                texts = [connection.render(query, step.values) for query in step.statements]
        yield {"title": step.title, "statements": texts, "lock": lock}


def _show_facts(plan: Plan) -> None:
    from umami_ops.cli import render

    facts = plan.facts
    render.print_facts(
        {
            "Database": f"{facts['database']} on {facts['server']}",
            "Umami": f"{facts['release']} (level {facts['level']})",
        }
    )


def _show_work(plan: Plan) -> None:
    from umami_ops.cli import render

    _show_facts(plan)
    if plan.facts["work"]:
        render.print_table(
            [render.text("What"), render.text("Why"), render.text("Undone by")],
            [(work["title"], work["why"], work["undo"]) for work in plan.facts["work"]],
            title=f"Ahead of level {plan.facts['target_level']}",
        )
        if plan.facts["index_bytes"]:
            render.print_line()
            render.print_facts({"Disk": f"about {render.size(plan.facts['index_bytes'])}, for indexes"})
    else:
        render.print_line()
        render.print_line("Nothing to prepare: the next upgrade finds all that can be done ahead.")
    _show_notes(plan.notes)


def _show_repair(plan: Plan) -> None:
    from umami_ops.cli import render

    _show_facts(plan)
    for migration in plan.facts["migrations"]:
        render.heading(f"Migration {migration['name']}")
        facts = {"Found": migration["found"]}
        if migration["started_at"]:
            facts = {"Tried": f"{render.moment(migration['started_at'])} UTC", **facts}
        if migration["log"]:
            facts["It said"] = migration["log"]
        if migration["missing"] and migration["made"]:
            facts["Missing"] = "; ".join(migration["missing"])
        if migration["taken_back"]:
            facts["Takes back"] = "; ".join(migration["taken_back"])
        render.print_facts(facts | {"Outcome": migration["outcome"]})
    if not plan.facts["migrations"]:
        render.print_line()
        render.print_line("Nothing to repair: no migration failed, and none lacks its record.")
    _show_notes(plan.notes)


def _show_notes(notes: Sequence[Note]) -> None:
    from umami_ops.cli import render

    if notes:
        render.print_line()
    for note in notes:
        render.print_remark("•", note.text, note.cure or "")


def _carry_out(database: Database, planner: Planner, max_duration: float | None, *, as_json: bool) -> None:
    """Carry the plan out under the lock and report; a reason to stop ends with its exit code."""
    from umami_ops.cli import render
    from umami_ops.cli.planner import plan_under_lock
    from umami_ops.execute import RunLock, StopSignal, execute

    stop = StopSignal(max_duration)
    with stop.on_signals(), RunLock(database, "upgrade") as lock, ExitStack() as stack:
        plan = plan_under_lock(database, planner)
        progress = stack.enter_context(render.Progress(plan.operation, len(plan.steps), unit="steps"))
        report = execute(plan, database, lock=lock, stop=stop, observer=_Watcher(progress))
    _show_report(plan, report, as_json=as_json)
    if report.stopped:
        raise SystemExit(_STOPPED)


class _Watcher:
    """Feeds the progress line with what the executor tells: steps, and rows or phases within one."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._begun = 0
        self._rows = 0
        self._title = ""

    def __call__(self, event: Any) -> None:
        from umami_ops.cli import render
        from umami_ops.execute import Advanced, BatchDone, StepBegan, Trouble

        note = self._title
        match event:
            case StepBegan():
                self._begun, self._rows, self._title = self._begun + 1, 0, event.title
                note = event.title
            case BatchDone():
                self._rows += event.picked
                note = f"{self._title}: {render.count(self._rows)} rows"
            case Advanced():
                share = f" {100 * event.share:.0f} %" if event.share is not None else ""
                note = f"{self._title}: {event.phase}{share}"
            case Trouble():
                render.say(f"  {event.text}")
        self._progress.at(max(self._begun - 1, 0), note)


def _show_report(plan: Plan, report: Report, *, as_json: bool) -> None:
    from umami_ops.cli import render

    if as_json:
        render.print_json(plan.to_dict() | report.to_dict() | {"done": [d.title for d in report.maintained]})
        return
    render.print_line()
    facts = {"Time": render.duration(report.seconds)}
    for table, number in report.deleted.items():
        facts[f"Deleted from {table}"] = render.count(number)
    if report.transactions:
        facts["Longest transaction"] = render.duration(report.longest_transaction_seconds)
    render.print_facts(facts)
    render.print_line()
    if report.stopped:
        render.print_line(f"Ended early: {report.stopped}. The same command continues.", style="bold")
    else:
        render.print_line("Done.", style="bold")
