"""How partitions, and plans and reports about them, are shown: on the screen, and as documents for --json."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umami_ops.databases.base import Connection
    from umami_ops.databases.partitioning import Layout
    from umami_ops.plan import Note, Plan, Report, Step


def show_layout(layout: Layout) -> None:
    """Show the partitions as a table."""
    from umami_ops.cli import render

    total = layout.size
    render.print_table(
        [
            render.name("Partition"),
            render.name("From", optional=True),
            render.name("To"),
            render.number("Events, about"),
            render.number("Size"),
            render.number("Indexes", optional=True),
        ],
        [
            (
                part.name,
                "" if part.is_catch_all else _day(part.since, "the beginning"),
                "all else" if part.is_catch_all else _day(part.until, "the end"),
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


def show_plan(plan: Plan) -> None:
    """Show what a plan comes to, with its notes."""
    from umami_ops.cli import render

    facts = plan.facts
    shown = {"Database": f"{facts['database']} on {facts['server']}"}
    if facts.get("boundary"):
        shown["History"] = f"one partition, up to {facts['boundary']:%Y-%m-%d} (UTC)"
    if new := facts["new_partitions"]:
        few = _few([slot.label for slot in new])
        shown["New partitions"] = f"{len(new)} by the {facts['period']}: {few}"
    shown |= _undated_words(**facts.get("undated_events", {}))
    if facts.get("moved"):
        shown["Out of the catch-all"] = f"{render.count(facts['moved'])} events"
    if facts.get("past"):
        shown |= _past_words(facts["past"], facts["past_events"], detach=facts["detach"])
    if facts.get("copied_events"):
        shown["Copied"] = f"{render.count(facts['copied_events'], estimated=True)} events"
    if facts.get("needed_bytes"):
        shown["Space needed"] = f"about {render.size(facts['needed_bytes'])} until it is done"
    if plan.steps:
        shown["Steps"] = str(len(plan.steps))
    render.print_facts(shown)
    show_notes(plan.notes)


def _undated_words(dated: int = 0, deleted: int = 0) -> dict[str, str]:
    """Return what becomes of events without a time."""
    from umami_ops.cli import render

    words = {}
    if dated:
        words["Given a time"] = f"{render.count(dated)} events without one, that of their session"
    if deleted:
        words["Deleted"] = f"{render.count(deleted)} events without a time, with their event_data and revenue"
    return words


def _past_words(names: list[str], events: int, *, detach: bool) -> dict[str, str]:
    """Return what becomes of partitions past the horizon, and of what hangs on their events."""
    from umami_ops.cli import render

    about = f"{_few(names)}, with {render.count(events, estimated=True)} events"
    if detach:
        return {"Detached": f"{about}: they become tables of their own, which nothing drops"}
    return {
        "Dropped": about,
        "Deleted": "their event_data and revenue first; sessions of that time that are left without events",
    }


def _few(names: list[str]) -> str:
    return ", ".join(names if len(names) <= 6 else [*names[:3], "…", *names[-2:]])


def show_dry_run(plan: Plan, connection: Connection, *, as_json: bool) -> None:
    """Show every statement of a plan and its lock; with --json as one document."""
    from umami_ops.cli import render

    steps = [_printable(step, connection) for step in plan.steps]
    if as_json:
        render.print_json(plan_document(plan) | {"steps": steps})
        return
    show_plan(plan)
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
                "lock": step.lock,
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


def show_notes(notes: tuple[Note, ...] | list[Note]) -> None:
    """Show sentences, each with its cure."""
    from umami_ops.cli import render

    if notes:
        render.print_line()
    for note in notes:
        render.print_remark("•", note.text, note.cure or "")


def show_report(plan: Plan, report: Report, *, as_json: bool) -> None:
    """Show what was done, how long it took, and for how long others were locked out."""
    from umami_ops.cli import render

    if as_json:
        render.print_json(plan_document(plan, report))
        return
    if report.changed:
        render.print_line()
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
    show_notes(report.notes)
    if report.stopped:
        render.print_line()
        again = "starts over" if _is_copied_whole(plan) else "continues"
        render.print_line(f"Ended early: {report.stopped}. The same command {again}.", style="bold")


def _is_copied_whole(plan: Plan) -> bool:
    """Say whether the table is copied in one step, which an early end undoes."""
    from umami_ops.plan import Rebuild

    return any(isinstance(step, Rebuild) for step in plan.steps)


def plan_document(plan: Plan, report: Report | None = None) -> dict[str, Any]:
    """Return what --json prints."""
    found = plan.to_dict()
    found["partitions"] = [part_document(part) for part in plan.facts["partitions"]]
    return found if report is None else found | report.to_dict()


def part_document(part: Any) -> dict[str, Any]:
    """Return a partition as --json prints it."""
    return {
        "name": part.name,
        "since": part.since,
        "until": part.until,
        "is_catch_all": part.is_catch_all,
        "rows_estimate": part.rows_estimate,
        "table_bytes": part.size.table_bytes,
        "index_bytes": part.size.index_bytes,
    }
