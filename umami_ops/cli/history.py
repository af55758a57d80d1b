"""`umami-ops history`: what the last runs of jobs came to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from umami_ops.cli import options
from umami_ops.errors import OpsError

if TYPE_CHECKING:
    from pathlib import Path

    from umami_ops.daemon.history import History
    from umami_ops.daemon.records import Run

_SIGNS = {"success": "✓", "unfinished": "◐", "failure": "✗", "interrupted": "◌", "running": "●"}


@click.command()
@click.argument("job", required=False)
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=1_000),
    default=20,
    show_default=True,
    metavar="N",
    help="How many runs to show, the newest first.",
)
@click.option(
    "--log", is_flag=True, help="Show the last run alone, step by step, with the end of what each said."
)
@options.json_output
def history(job: str | None, limit: int, log: bool, as_json: bool) -> None:
    """Show what the last runs of jobs came to.

    Of all jobs, or of JOB alone. Times are in the time zone of the schedules.
    """
    from umami_ops.cli import render, sidecar

    configuration = sidecar.read_configuration()
    folder = configuration.state_folder
    from umami_ops.daemon.history import History
    from umami_ops.daemon.store import FILE
    from umami_ops.daemon.work import report

    try:
        is_there = (folder / FILE).exists()
    except OSError as fault:
        raise OpsError(
            f"The state folder {folder} can't be read: {fault.strerror}.",
            hint="It is the daemon's; as its user, or as root, it can be.",
        ) from None
    if not is_there:
        if job:
            configuration.job(job)
        _show_none(folder, as_json=as_json)
        return
    store = History(folder, only_to_read=True)
    runs = store.runs(job=job, limit=1 if log else limit)
    if as_json:
        render.print_json([report(_with_steps(store, run)) for run in runs])
    elif not runs:
        if job:
            configuration.job(job)
        render.print_line(f"{job} has not run yet." if job else "Nothing has run yet.")
    elif log:
        _show_log(_with_steps(store, runs[0]), configuration["daemon.timezone"].key)
    else:
        _show(runs, configuration["daemon.timezone"].key)
    store.close()


def _show_none(folder: Path, *, as_json: bool) -> None:
    """Say that there is no history, which is no mistake before the first run."""
    from umami_ops.cli import render

    if as_json:
        render.print_json([])
        return
    render.print_line(f"Nothing has run yet: there is no history in {folder}.")
    render.print_line("UMAMI_OPS_STATE_DIR names the state folder of the daemon.", style="dim")


def _with_steps(store: History, run: Run) -> Run:
    from dataclasses import replace

    return replace(run, steps=store.steps(run.id))


def _show(runs: list[Run], zone_name: str) -> None:
    from zoneinfo import ZoneInfo

    from umami_ops.cli import render

    zone = ZoneInfo(zone_name)
    columns = [
        render.identifier(f"Begun, {zone_name}"),
        render.text("Job"),
        render.text("Result"),
        render.number("Time"),
        render.number("Rows", optional=True),
        render.number("Space", optional=True),
        render.text("", optional=True),
    ]
    rows = [
        (
            f"{run.started_at.astimezone(zone):%Y-%m-%d %H:%M:%S}",
            run.job,
            f"{_SIGNS[run.result]} {run.result}",
            "" if run.seconds is None else render.duration(run.seconds),
            "" if run.rows is None else render.count(run.rows),
            "" if run.size_bytes is None else render.signed_size(run.size_bytes),
            _cause(run),
        )
        for run in runs
    ]
    render.print_table(columns, rows)
    _show_reasons(runs)


def _show_reasons(runs: list[Run]) -> None:
    """Say below the table why runs did not succeed, each reason of a job once."""
    from umami_ops.cli import render

    found: dict[tuple[str, str], Run] = {}
    for run in runs:
        if run.reason:
            found.setdefault((run.job, run.reason), run)
    if found:
        render.print_line()
    for run in found.values():
        render.print_remark(_SIGNS[run.result], f"{run.job}: {run.reason}", run.hint)


def _cause(run: Run) -> str:
    missed = f", {run.missed} earlier times were missed" if run.missed else ""
    return {"catch-up": f"Caught up{missed}.", "hand": "By hand."}.get(run.cause, "")


def _show_log(run: Run, zone_name: str) -> None:
    from zoneinfo import ZoneInfo

    from umami_ops.cli import render

    facts = {
        "Job": run.job,
        "Begun": f"{run.started_at.astimezone(ZoneInfo(zone_name)):%Y-%m-%d %H:%M:%S}, {zone_name}",
        "Result": str(run.result),
    }
    facts |= {"Reason": run.reason} if run.reason else {}
    facts |= {"What to do": run.hint} if run.hint else {}
    render.print_facts(facts)
    for step in run.steps:
        render.heading(f"{step.command}: exit code {step.exit_code}, {render.duration(step.seconds)}")
        for line in step.tail.splitlines():
            render.print_line(f"  {line}", style="dim")
