"""`umami-ops migrate`: move the whole database to another server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from umami_ops.cli import options
from umami_ops.errors import OpsError, UsageFault

if TYPE_CHECKING:
    from umami_ops.databases.base import Database
    from umami_ops.execute import RowsMoved
    from umami_ops.operations.migrate import Wish
    from umami_ops.plan import Move, Plan, Report

_STOPPED = 3
_Function = TypeVar("_Function", bound=Callable[..., Any])


def _policy(option: str, *words: str, help: str) -> Callable[[_Function], _Function]:
    """Return an option that says what becomes of values that can't cross."""
    return click.option(
        option, type=click.Choice(["fail", *words]), default="fail", show_default=True, help=help
    )


@click.command()
@click.option(
    "--to",
    type=click.Choice(["postgresql", "mysql"]),
    help="What the target must be, for safety; MariaDB is mysql. By default whatever its URL says.",
)
@options.target_url
@options.url
@click.option(
    "--replace", is_flag=True, help="Drop the target's tables that are in the way; the plan names them."
)
@click.option(
    "--catch-up",
    is_flag=True,
    help="Bring over what has come, changed or gone at the source since a move ended; again and again, the "
    "last time with Umami stopped.",
)
@click.option(
    "--delete-extra",
    is_flag=True,
    help="With --catch-up: delete rows at the target that the source doesn't have.",
)
@click.option(
    "--downgrade",
    is_flag=True,
    help="From Umami v3 to MySQL: go down to v2's last schema; the plan lists what has no home there.",
)
@_policy("--on-nul", "remove", help="NUL characters, which PostgreSQL can't hold.")
@_policy("--on-zero-date", "null", help="MySQL's zero dates.")
@_policy("--on-date", "null", "clamp", help="Dates outside 1970 to 2038, which MySQL's TIMESTAMP can't hold.")
@_policy("--on-long", "truncate", help="Text longer than the target's column.")
@_policy("--on-blank", "trim", help="Blanks at the end of text, where the target's CHAR forgets them.")
@_policy(
    "--on-same-name",
    "rename",
    help="User names, access codes and share ids that MySQL takes for the same.",
)
@click.option("--dry-run", is_flag=True, help="Check everything, show the plan with the DDL, change nothing.")
@options.yes
@click.option(
    "--jobs",
    type=click.IntRange(min=1, max=16),
    default=2,
    show_default=True,
    help="Pairs of connections that copy side by side, and indexes that are built at once.",
)
@options.max_duration
@options.json_output
def migrate(
    to: str | None,
    replace: bool,
    catch_up: bool,
    delete_extra: bool,
    downgrade: bool,
    on_nul: str,
    on_zero_date: str,
    on_date: str,
    on_long: str,
    on_blank: str,
    on_same_name: str,
    dry_run: bool,
    yes: bool,
    jobs: int,
    max_duration: float | None,
    as_json: bool,
) -> None:
    """Move the whole database to another server, of the same dialect or the other, and prove it.

    The source (DATABASE_URL) is only read, in one consistent snapshot; Umami may go on. The target gets
    Umami's own schema, the rows, the indexes, and, once both servers have computed the same checksums,
    Prisma's records, without which Umami doesn't start on it. After an interruption the same command goes on.
    """
    from umami_ops.operations.crossing import Policies
    from umami_ops.operations.migrate import Wish, require_possible

    wish = Wish(
        to=to,
        policies=Policies(
            nul=on_nul,
            zero_date=on_zero_date,
            date=on_date,
            long=on_long,
            blank=on_blank,
            same_name=on_same_name,
        ),
        replace=replace,
        catch_up=catch_up,
        delete_extra=delete_extra,
        downgrade=downgrade,
    )
    source, target = options.open_from_options(needs_session=True), options.open_target_from_options()
    _require_sense(wish, target)
    plan = _plan(source, target, wish, dry_run=dry_run, as_json=as_json)
    require_possible(plan)
    if dry_run:
        return
    _confirm(plan, yes)
    report = _run(source, target, plan, jobs, max_duration)
    _show_report(plan, report, wish, as_json=as_json)
    if report.stopped:
        raise SystemExit(_STOPPED)


def _require_sense(wish: Wish, target: Database) -> None:
    """Raise UsageFault for options that would do nothing."""
    from umami_ops.umami.schema import latest_level

    if wish.delete_extra and not wish.catch_up:
        raise UsageFault(
            "--delete-extra belongs to --catch-up; a move itself leaves no rows that the source lacks.",
            hint="Add --catch-up, or leave --delete-extra out.",
        )
    if wish.replace and wish.catch_up:
        raise UsageFault(
            "--replace drops the target's tables, and --catch-up goes on with them.",
            hint="Leave one of them out.",
        )
    if wish.downgrade and latest_level(target.dialect.name) > latest_level("mysql"):
        raise UsageFault(
            f"--downgrade is for a move to MySQL; the target is {target.dialect.title}, where Umami v3 runs.",
            hint="Leave --downgrade out, or correct --target-url.",
        )


def _plan(source: Database, target: Database, wish: Wish, *, dry_run: bool, as_json: bool) -> Plan:
    """Make the plan and show it."""
    from umami_ops.cli import render
    from umami_ops.execute import require_free
    from umami_ops.operations.migrate import plan_migrate

    with (
        source.connect("umami-ops migrate") as here,
        source.connect("umami-ops migrate") as beside,
        target.connect("umami-ops migrate") as there,
    ):
        if not dry_run:
            require_free(here)
            require_free(there)
        plan = plan_migrate(here, there, wish, [beside])
    if as_json and (dry_run or any(item["becomes"] is None for item in plan.facts["findings"])):
        render.print_json(plan.to_dict())
    elif not as_json:
        _show_plan(plan, with_ddl=dry_run)
    return plan


def _confirm(plan: Plan, yes: bool) -> None:
    from umami_ops.cli import render

    if plan.facts["target_state"] == "replaced":
        rows = render.count(plan.facts["dropped_rows_estimate"], estimated=True)
        render.confirm(f"Drop these tables of {rows} rows at the target and move?", yes)
    elif _move(plan).delete_extra:
        render.confirm(
            "Change the target's rows that differ, and delete those that the source doesn't have?", yes
        )
    elif plan.facts["target_state"] == "filled":
        render.confirm("Change the target's rows that differ?", yes)
    else:
        render.confirm("Move?", yes)


def _run(source: Database, target: Database, plan: Plan, jobs: int, max_duration: float | None) -> Report:
    """Carry the plan out under a lock at each side, with progress."""
    from umami_ops.cli import render
    from umami_ops.execute import RunLock, StopSignal, execute

    stop = StopSignal(max_duration)
    totals = {move.pair.target.table: move.rows for move in _move(plan).tables}
    with (
        stop.on_signals(),
        RunLock(source, "migrate"),
        RunLock(target, "migrate") as lock,
        render.Progress("migrate", sum(totals.values())) as progress,
    ):
        watcher = _Watcher(progress, totals)
        return execute(plan, target, lock=lock, stop=stop, observer=watcher, source=source, jobs=jobs)


def _move(plan: Plan) -> Move:
    (step,) = plan.steps
    return step  # type: ignore[return-value]  # a plan to migrate has this one step


class _Pace:
    """How fast one table's rows arrive, counted from the first: an earlier run's come all at once."""

    def __init__(self, total: int, rows: int) -> None:
        self._total = total
        self._first = self._rows = rows
        self._began = time.monotonic()

    def add(self, rows: int) -> None:
        self._rows += rows

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the table is complete, by its estimated rows; None before that can be said."""
        elapsed = time.monotonic() - self._began
        if self._rows == self._first or elapsed < 1 or self._rows >= self._total:
            return None
        return (self._total - self._rows) * elapsed / (self._rows - self._first)


class _Watcher:
    """Feeds the progress line with what the executor tells: rows in all, and of the table at work."""

    def __init__(self, progress: Any, totals: Mapping[str, int]) -> None:
        self._progress = progress
        self._totals = totals
        self._paces: dict[str, _Pace] = {}
        self._rows = 0
        self._phase = ""

    def __call__(self, event: Any) -> None:
        from umami_ops.cli import render
        from umami_ops.execute import RowsMoved, StepBegan, Trouble

        match event:
            case StepBegan():
                self._phase = event.title
                self._progress.at(self._rows, self._phase)
            case RowsMoved():
                self._rows += event.rows
                self._progress.at(self._rows, f"{self._phase} {event.table}{self._left(event)}")
            case Trouble():
                render.say(f"  {event.text}")

    def _left(self, event: RowsMoved) -> str:
        from umami_ops.cli import render

        pace = self._paces.get(event.table)
        if pace is None:
            self._paces[event.table] = _Pace(self._totals.get(event.table, 0), event.rows)
            return ""
        pace.add(event.rows)
        seconds = pace.seconds_left
        return "" if seconds is None else f" ({render.duration(seconds)} left)"


def _show_plan(plan: Plan, *, with_ddl: bool) -> None:
    from umami_ops.cli import render

    facts = plan.facts
    dropped = render.count(facts["dropped_rows_estimate"], estimated=True)
    deleted = "; rows that the source doesn't have are deleted" if _move(plan).delete_extra else ""
    states = {
        "empty": "empty",
        "fresh": "set up by Umami and not used; its default user is replaced",
        "begun": "a move from here has begun and goes on",
        "replaced": f"filled; tables of {dropped} rows are dropped, which are named below",
        "filled": f"a move ended here; what differs is brought over{deleted}",
    }
    free = facts["target_free_bytes"]
    rows = render.count(facts["rows_estimate"], estimated=True)
    render.print_facts(
        {
            "From": f"{facts['source']['url']} ({facts['source']['server']})",
            "To": f"{facts['target']['url']} ({facts['target']['server']})",
            "Target": states[facts["target_state"]],
            "Umami": f"level {facts['level']}, {facts['release']}",
            "Rows": f"{rows}, {render.size(facts['size_bytes'])}",
            "Time": f"about {render.duration(facts['seconds_estimate'] or 1)}",
            **({"Free there": render.size(free)} if free is not None else {}),
        }
    )
    render.print_table(
        [render.text("Table"), render.number("Rows"), render.number("Size")],
        [
            (row["table"], render.count(row["rows_estimate"], estimated=True), render.size(row["size_bytes"]))
            for row in facts["tables"]
        ],
        title="Tables",
    )
    _show_findings(facts["findings"])
    if facts["dropped"]:
        render.heading("Done to the target first")
        for statement in facts["dropped"]:
            render.print_statement(statement)
    if with_ddl:
        render.heading("What makes the target's tables")
        for statement in facts["ddl"]:
            render.print_statement(statement)
    if plan.notes:
        render.print_line()
    for note in plan.notes:
        render.print_remark("•", note.text, note.cure or "")
    if with_ddl:
        render.print_line()
        render.print_line("Dry run: nothing was changed.", style="bold")


def _show_findings(findings: list[dict[str, Any]]) -> None:
    from umami_ops.cli import render

    if not findings:
        return
    render.print_table(
        [
            render.text("Column"),
            render.number("Values"),
            render.text("Trouble"),
            render.text("Becomes"),
            render.text("Such as", optional=True),
        ],
        [
            (
                f"{row['table']}.{row['column']}",
                render.count(row["rows"]),
                row["trouble"],
                row["becomes"] or (f"refused; {row['option']}" if row["option"] else "refused"),
                ", ".join(row["examples"]),
            )
            for row in findings
        ],
        title="Values that can't cross as they are",
    )


def _show_report(plan: Plan, report: Report, wish: Wish, *, as_json: bool) -> None:
    from umami_ops.cli import render
    from umami_ops.cli.verify import show_verdicts

    if as_json:
        render.print_json(_document(plan, report))
        return
    facts = plan.facts
    if report.verdicts:
        render.heading("Proof")
        show_verdicts(report.verdicts)
    render.print_line()
    gone = sum(report.deleted.values())
    render.print_facts(
        {
            "Rows": render.count(sum(report.moved.values())),
            **({"Deleted": f"{render.count(gone)}, which the source doesn't have"} if gone else {}),
            "Time": render.duration(report.seconds)
            + " ("
            + ", ".join(f"{name} {render.duration(seconds)}" for name, seconds in report.phases.items())
            + ")",
        }
    )
    if report.stopped:
        render.print_line()
        render.print_line(f"Ended early: {report.stopped}. The same command continues.", style="bold")
        return
    render.heading("What to do next")
    for number, (sentence, follow) in enumerate(_next_steps(facts, wish), 1):
        render.print_remark(f"{number}.", sentence, follow)


def _next_steps(facts: Mapping[str, Any], wish: Wish) -> Iterator[tuple[str, str]]:
    """Yield what is left to a person, each with what to type."""
    if facts["target_state"] != "filled":
        yield (
            "Is Umami still running on the source? Stop it, then bring over what has come since, with the "
            "same addresses.",
            f"umami-ops migrate{''.join(_repeated(wish))} --catch-up",
        )
    dialect = facts["target"]["url"].partition(":")[0]
    scheme, rest = facts["target"]["url"].split("://", 1)
    user, _, address = rest.rpartition("@")
    yield "Give Umami the new address.", f"DATABASE_URL={scheme}://{user or 'USER'}:PASSWORD@{address}"
    yield _image(dialect, facts)
    yield (
        "Without APP_SECRET Umami makes its secret of DATABASE_URL: if you have none, set it to the old "
        "DATABASE_URL, or every visitor counts as new and everybody is logged out.",
        "APP_SECRET=<the old DATABASE_URL, to the letter>",
    )
    yield "To go back, start Umami on the old address: the source was only read.", ""


def _repeated(wish: Wish) -> Iterator[str]:
    """Yield the options without which catching up would be refused, or find other rows."""
    if wish.downgrade:
        yield " --downgrade"
    for name, choice in vars(wish.policies).items():
        if choice != "fail":
            yield f" --on-{name.replace('_', '-')} {choice}"


def _image(dialect: str, facts: Mapping[str, Any]) -> tuple[str, str]:
    """Say which image runs on the target; tags as the workflows of Umami's releases make them."""
    from umami_ops.umami.migrations import latest_released_level
    from umami_ops.umami.schema import latest_level

    last, image = latest_level("mysql"), "ghcr.io/umami-software/umami"
    if facts["level"] <= last:
        later = ", or a v3, which upgrades this database at its start" if latest_level(dialect) > last else ""
        sentence = f"Run the image that belongs to this schema{later}."
        return sentence, f"DATABASE_TYPE={dialect}, image {image}:{dialect}-v2.20.2"
    newest = (
        f", or the newest v3: image {image}:3" if facts["level"] <= latest_released_level(dialect) else ""
    )
    return "Run the image that you had.", f"Umami {facts['release']}{newest}"


def _document(plan: Plan, report: Report) -> dict[str, Any]:
    from umami_ops.operations.verify import verdict_to_dict

    if not report.verdicts and not report.stopped:
        raise OpsError("The move ended without a proof.")
    return {
        **plan.to_dict(),
        "started_at": report.started_at,
        "seconds": round(report.seconds, 3),
        "phases": {name: round(seconds, 3) for name, seconds in report.phases.items()},
        "moved_rows": dict(report.moved),
        "deleted_rows": dict(report.deleted),
        "proof": [verdict_to_dict(item) for item in report.verdicts],
        "stopped": report.stopped,
    }
