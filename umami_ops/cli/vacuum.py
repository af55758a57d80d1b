"""`umami-ops vacuum`: statistics fresh, dead space back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from umami_ops.cli import options

if TYPE_CHECKING:
    from umami_ops.databases.base import Database
    from umami_ops.operations.vacuum import Wish
    from umami_ops.plan import Maintained, Maintenance, Note, Plan, Report, Size

_STOPPED = 3


@click.command()
@click.option(
    "--table", "tables", multiple=True, metavar="TABLE", help="Only this table; may be given more than once."
)
@click.option("--analyze-only", is_flag=True, help="Only refresh the statistics that queries are planned by.")
@click.option("--if-needed", is_flag=True, help="Leave tables alone that are in order, and say why.")
@click.option(
    "--reindex",
    is_flag=True,
    help="PostgreSQL: also rebuild bloated and invalid indexes, worst first, while Umami goes on.",
)
@click.option(
    "--full",
    is_flag=True,
    help="Rewrite the tables: free space goes back to the disk; PostgreSQL locks each meanwhile.",
)
@click.option("--dry-run", is_flag=True, help="Show the statements and what each locks, change nothing.")
@options.yes
@options.max_duration
@options.url
@options.json_output
def vacuum(
    tables: tuple[str, ...],
    analyze_only: bool,
    if_needed: bool,
    reindex: bool,
    full: bool,
    dry_run: bool,
    yes: bool,
    max_duration: float | None,
    as_json: bool,
) -> None:
    """Refresh statistics, make space of dead rows usable, rebuild indexes, return space to the disk.

    PostgreSQL: VACUUM (ANALYZE). MySQL and MariaDB: ANALYZE TABLE. Umami goes on meanwhile, but for --full on
    PostgreSQL, which asks first. Configuration and rows are never touched.
    """
    from umami_ops.operations.vacuum import Wish

    wish = Wish(tables, analyze_only=analyze_only, if_needed=if_needed, reindex=reindex, full=full)
    database = options.open_from_options(needs_session=True)
    plan = _plan(database, wish, dry_run=dry_run, yes=yes, as_json=as_json)
    if dry_run:
        return
    report = _run(database, plan, max_duration)
    _show_report(plan, report, as_json=as_json)
    if report.stopped:
        raise SystemExit(_STOPPED)


def _plan(database: Database, wish: Wish, *, dry_run: bool, yes: bool, as_json: bool) -> Plan:
    """Make the plan, show it, and have a rewrite confirmed."""
    from umami_ops.cli import render
    from umami_ops.execute import require_free
    from umami_ops.operations.inspect import inspect, require_session
    from umami_ops.operations.vacuum import plan_vacuum

    with database.connect("umami-ops vacuum") as connection:
        require_session(connection.server())
        plan = plan_vacuum(connection, inspect(connection), wish)
        if plan.steps and not dry_run:
            require_free(connection)
    if dry_run:
        _show_dry_run(plan, as_json=as_json)
        return plan
    if not as_json:
        _show_plan(plan)
    if wish.full and plan.steps:
        render.confirm("Rewrite these tables?", yes)
    return plan


def _run(database: Database, plan: Plan, max_duration: float | None) -> Report:
    """Carry the plan out under the lock, with progress, until it is done or there is a reason to stop."""
    from umami_ops.cli import render
    from umami_ops.execute import RunLock, StopSignal, execute
    from umami_ops.operations.vacuum import conclude

    stop = StopSignal(max_duration)
    steps = _maintenance(plan)
    total = sum(_megabytes(step) for step in steps)
    with (
        stop.on_signals(),
        RunLock(database, "vacuum") as lock,
        render.Progress("vacuum", total, unit="MB") as progress,
    ):
        report = execute(plan, database, lock=lock, stop=stop, observer=_Watcher(progress, steps))
    conclude(report)
    return report


def _megabytes(step: Maintenance) -> int:
    return step.size_bytes // 1_000_000 + 1


class _Watcher:
    """Feeds the progress line with what the executor tells: megabytes of the tables that are done."""

    def __init__(self, progress: Any, steps: list[Any]) -> None:
        self._progress = progress
        self._weights = {step.title: _megabytes(step) for step in steps}
        self._done = 0
        self._title = ""

    def __call__(self, event: Any) -> None:
        from umami_ops.cli import render
        from umami_ops.execute import Advanced, StepBegan, StepDone, Trouble

        part, note = 0.0, self._title
        match event:
            case StepBegan():
                self._title = note = event.title
            case Advanced():
                part = (event.share or 0.0) * self._weights.get(event.title, 0)
                note = f"{event.title}: {event.phase}"
            case StepDone():
                self._done += self._weights.get(event.title, 0)
            case Trouble():
                render.say(f"  {event.text}")
        self._progress.at(self._done + int(part), note)


def _show_plan(plan: Plan) -> None:
    from umami_ops.cli import render

    facts = plan.facts
    render.print_facts({"Database": f"{facts['database']} on {facts['server']}"})
    if facts["tables"]:
        render.print_table(
            [render.text("Table"), render.number("Size"), render.number("Indexes"), render.text("Why")],
            [
                (
                    row["table"],
                    render.size(row["table_bytes"]),
                    render.size(row["index_bytes"]),
                    row["why"],
                )
                for row in facts["tables"]
            ],
            title="Tables to work on",
        )
    if facts["indexes"]:
        render.print_table(
            [render.text("Index"), render.number("Size"), render.number("Wasted")],
            [(row["index"], render.size(row["size_bytes"]), _wasted(row)) for row in facts["indexes"]],
            title="Indexes to rebuild",
        )
    _show_left_alone(facts["left_alone"])
    _show_notes(plan.notes)


def _wasted(row: dict[str, Any]) -> str:
    from umami_ops.cli import render

    if row["gain_bytes"] is None:
        return "invalid"
    sign = "~" if row["estimated"] else ""
    return f"{sign}{render.percentage(row['gain_bytes'], row['size_bytes'])}"


def _show_left_alone(left: list[dict[str, str]]) -> None:
    """Name the tables that nothing is done to, those with the same reason in one line."""
    from umami_ops.cli import render

    by_reason: dict[str, list[str]] = {}
    for row in left:
        by_reason.setdefault(row["why"], []).append(row["table"])
    if by_reason:
        render.print_line()
        render.print_table(
            [render.text("Left alone"), render.text("Why")],
            [(", ".join(tables), why) for why, tables in by_reason.items()],
            dim=range(len(by_reason)),
        )


def _show_dry_run(plan: Plan, *, as_json: bool) -> None:
    from umami_ops.cli import render

    steps = [
        {
            "title": step.title,
            "table": step.table.name,
            "statement": step.statement.text,
            "lock": step.lock,
        }
        for step in _maintenance(plan)
    ]
    if as_json:
        render.print_json(plan.to_dict() | {"steps": steps})
        return
    _show_plan(plan)
    for number, step in enumerate(steps, 1):
        render.heading(f"Step {number}: {step['title']}")
        render.print_statement(step["statement"])
        render.print_line(f"  Lock: {step['lock']}.")
    render.print_line()
    render.print_line("Dry run: nothing was changed.", style="bold")


def _maintenance(plan: Plan) -> list[Maintenance]:
    from umami_ops.plan import Maintenance

    return [step for step in plan.steps if isinstance(step, Maintenance)]


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
    if not plan.steps:
        render.print_line()
        render.print_line("Nothing to do.")
        return
    _show_sizes(report)
    for done in report.maintained:
        if done.skipped:
            render.print_remark("•", f"Skipped: {done.title} ({done.skipped})", style="yellow")
    render.print_line()
    render.print_facts({"Time": render.duration(report.seconds)})
    if report.stopped:
        render.print_line()
        render.print_line(f"Ended early: {report.stopped}. The same command continues.", style="bold")


def _show_sizes(report: Report) -> None:
    """Print bytes before and after of what was worked on, the largest first."""
    from umami_ops.cli import render

    rows = [
        (
            table,
            f"{render.size(first.before.table_bytes)} → {render.size(last.after.table_bytes)}",
            f"{render.size(first.before.index_bytes)} → {render.size(last.after.index_bytes)}",
            render.duration(sum(done.seconds for done in work)),
        )
        for table, work in _by_table(report).items()
        for first, last in [(work[0], work[-1])]
    ]
    before, after = _total(report)
    render.print_table(
        [render.text("Table"), render.number("Table"), render.number("Indexes"), render.number("Time")],
        rows,
        title="Done",
        footer=(
            "total",
            f"{render.size(before.table_bytes)} → {render.size(after.table_bytes)}",
            f"{render.size(before.index_bytes)} → {render.size(after.index_bytes)}",
            "",
        ),
    )


def _by_table(report: Report) -> dict[str, list[Maintained]]:
    """Return what was done, by table, the largest first."""
    found: dict[str, list[Maintained]] = {}
    for done in report.maintained:
        found.setdefault(done.table, []).append(done)
    return dict(sorted(found.items(), key=lambda item: -item[1][0].before.total_bytes))


def _total(report: Report) -> tuple[Size, Size]:
    from umami_ops.plan import Size

    tables = _by_table(report).values()
    nothing = Size(0, 0)
    return (
        sum((work[0].before for work in tables), nothing),
        sum((work[-1].after for work in tables), nothing),
    )


def _document(plan: Plan, report: Report) -> dict[str, Any]:
    """Return what --json prints."""
    before, after = _total(report)
    return plan.to_dict() | {
        "started_at": report.started_at,
        "seconds": round(report.seconds, 3),
        "done": [
            {
                "table": table,
                "before": work[0].before,
                "after": work[-1].after,
                "seconds": round(sum(done.seconds for done in work), 3),
                "steps": [done.title for done in work if not done.skipped],
            }
            for table, work in _by_table(report).items()
        ],
        "skipped": [
            {"title": done.title, "table": done.table, "why": done.skipped}
            for done in report.maintained
            if done.skipped
        ],
        "before": before,
        "after": after,
        "stopped": report.stopped,
    }
