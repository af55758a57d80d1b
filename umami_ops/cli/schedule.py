"""`umami-ops schedule`: when each job runs next."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from umami_ops.cli import options

if TYPE_CHECKING:
    from umami_ops.daemon.configuration import Configuration
    from umami_ops.daemon.jobs import Job


@click.command()
@click.option(
    "--count",
    type=click.IntRange(min=1, max=1_000),
    default=10,
    show_default=True,
    metavar="N",
    help="How many of the next runs to show; of every job at least the next.",
)
@options.json_output
def schedule(count: int, as_json: bool) -> None:
    """Show when each job runs next.

    Times are in the time zone of the schedules. A run begins up to the job's jitter later than its time.
    """
    from umami_ops.cli import render, sidecar

    configuration = sidecar.read_configuration()
    now = datetime.now(UTC)
    coming = _coming(configuration, now, count)
    if as_json:
        render.print_json(
            [
                {"at": at, "job": job.name, "steps": [step.text for step in job.steps], "source": job.source}
                for at, job in coming
            ]
        )
        return
    for note in configuration.notes:
        render.print_remark("•", note)
    if not coming:
        render.print_line("No job is scheduled.")
        return
    if configuration.notes:
        render.print_line()
    rows = [
        (
            f"{at.astimezone(job.schedule.zone):%a %Y-%m-%d %H:%M:%S}",
            f"in {render.duration((at - now).total_seconds())}",
            job.name,
            job.schedule.text,
            "; ".join(step.text for step in job.steps),
        )
        for at, job in coming
        if job.schedule is not None
    ]
    zones = {job.schedule.zone.key for _, job in coming if job.schedule is not None}
    columns = [
        render.identifier(f"Next, {', '.join(sorted(zones))}"),
        render.number(""),
        render.text("Job"),
        render.text("Schedule", optional=True),
        render.text("Steps", optional=True),
    ]
    render.print_table(columns, rows)


def _coming(configuration: Configuration, now: datetime, count: int) -> list[tuple[datetime, Job]]:
    """Return the next runs of all jobs together, in order; of each job at least the first."""
    from itertools import islice

    from umami_ops.daemon.schedule import jitter

    first: list[tuple[datetime, Job]] = []
    later: list[tuple[datetime, Job]] = []
    for job in configuration.jobs:
        if job.schedule is not None:
            slots = islice(job.schedule.slots(now), count)
            coming = [(slot + jitter(job.name, slot, job.jitter_seconds), job) for slot in slots]
            first += coming[:1]
            later += coming[1:]
    later.sort(key=lambda pair: pair[0])
    return sorted([*first, *later[: max(count - len(first), 0)]], key=lambda pair: pair[0])
