"""What `umami-ops prune` prints: the plan before it, the report after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from umami_ops.plan import Batches, Change, Rebuild, Statements

if TYPE_CHECKING:
    from umami_ops.databases.base import Connection
    from umami_ops.operations.pruned import Archiving
    from umami_ops.plan import Note, Plan, Report, Step

_ORDER = (
    "website_event", "event_data", "revenue", "heatmap_event", "session_replay", "session", "session_data",
    "session_link",
)  # fmt: skip


def show_plan(plan: Plan, connection: Connection) -> None:
    """Print what would be done, and about which rows."""
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


def in_a_line(report: Report) -> str:
    """Return what was done, for when there is no place for more."""
    rows = ", ".join(
        f"{count:,} rows of {table}" for table, count in _ordered(report.deleted).items() if count
    )
    end = f"; ended early: {report.stopped}" if report.stopped else ""
    return f"Deleted: {rows or 'nothing'}{end}."


def _ordered(counts: Mapping[str, int]) -> dict[str, int]:
    return {table: counts[table] for table in _ORDER if table in counts}


def has_work(plan: Plan) -> bool:
    """Say whether a plan changes anything: rows go, or what a killed run left is cleared away."""
    return plan.expected is None or any(plan.expected.values()) or bool(_beside_rows(plan))


def question(plan: Plan) -> str:
    """Return what is asked before a plan is carried out."""
    if plan.expected is None or any(plan.expected.values()):
        return "Delete these rows?"
    return f"Nothing is past the horizon. Go on with {', '.join(_beside_rows(plan))}?"


def _beside_rows(plan: Plan) -> list[str]:
    return [step.title for step in plan.steps if isinstance(step, Statements | Change)]


def is_rebuild(plan: Plan) -> bool:
    """Say whether a plan makes tables anew."""
    return any(isinstance(step, Rebuild) for step in plan.steps)


def may_be_stale(plan: Plan) -> bool:
    """Say whether a plan names what other runs make and drop: partitions, copies, what was left of a run."""
    return plan.facts["partitioned"] or any(isinstance(step, Rebuild | Statements) for step in plan.steps)


def _estimates(connection: Connection) -> dict[str, int]:
    from umami_ops.databases.base import Introspector

    return {relation.name: relation.rows_estimate for relation in Introspector(connection).relations()}


def show_dry_run(plan: Plan, connection: Connection, *, as_json: bool) -> None:
    """Print the plan with its very statements."""
    from umami_ops.cli import render

    steps = [part for step in plan.steps for part in _printable(step, connection)]
    if as_json:
        document = plan.to_dict()
        document["steps"] = [{"title": title, "statements": texts} for title, texts in steps]
        render.print_json(document)
        return
    show_plan(plan, connection)
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


def show_report(plan: Plan, report: Report, archive: Archiving | None, *, as_json: bool) -> None:
    """Print what was done."""
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
        again = "starts over" if is_rebuild(plan) and not deleted else "continues"
        render.print_line(f"Ended early: {report.stopped}. The same command {again}.", style="bold")
