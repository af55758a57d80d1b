"""`umami-ops export`: streams of Umami's data, as files for a pipeline."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from umami_ops.cli import options

if TYPE_CHECKING:
    from umami_ops.operations.export import Written


@click.command()
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl", "parquet"]),
    default="csv",
    show_default=True,
    help="What to write; parquet needs the extra `parquet`.",
)
@click.option(
    "--to",
    "folder",
    required=True,
    type=options.Filled(click.Path(path_type=Path, file_okay=False)),
    metavar="DIR",
    help="Where the files go.",
)
@click.option(
    "--website", "websites", multiple=True, metavar="ID|DOMAIN|NAME", help="Only this one; may be repeated."
)
@click.option("--since", metavar="DATE", help="From this day or time on, UTC unless it says.")
@click.option("--until", metavar="DATE", help="Up to, and without, this day or time.")
@options.url
@options.json_output
def export(
    streams: tuple[str, ...],
    form: str,
    folder: Path,
    websites: tuple[str, ...],
    since: str | None,
    until: str | None,
    as_json: bool,
) -> None:
    """Write Umami's data as files, month by month, under the names of its API.

    Streams, all if none is named: websites, sessions, session_stats, events, event_data, event_stats,
    pageviews, metrics_url, metrics_referrer, metrics_country, metrics_device, metrics_browser, metrics_os,
    metrics_event.
    """
    from umami_ops.cli import render
    from umami_ops.operations.export import export as carry_out
    from umami_ops.operations.export import plan_export
    from umami_ops.operations.inspect import inspect

    began = time.monotonic()
    database = options.open_from_options()
    with database.connect("umami-ops export") as connection:
        plan = plan_export(
            connection,
            inspect(connection),
            streams=streams,
            websites=websites,
            since=_moment(since, "--since"),
            until=_moment(until, "--until"),
            form=form,
        )
    with render.Progress("export", None) as progress:
        rows_done = 0

        def told(file: Written) -> None:
            nonlocal rows_done
            rows_done += file.rows
            progress.at(rows_done, file.stream)

        done = carry_out(plan, database, folder, told)
    seconds = time.monotonic() - began
    if as_json:
        files = [{"stream": each.stream, "path": str(each.path), "rows": each.rows} for each in done.files]
        kept = [str(path) for path in done.kept]
        render.print_json(
            {"files": files, "kept": kept, "left_out": plan.left_out, "seconds": round(seconds, 3)}
        )
        return
    rows: dict[str, list[int]] = {stream.name: [] for stream in plan.streams}
    for each in done.files:
        rows[each.stream].append(each.rows)
    render.print_table(
        [render.text("Stream"), render.number("Files"), render.number("Rows")],
        [(name, render.count(len(found)), render.count(sum(found))) for name, found in rows.items()],
    )
    render.print_line()
    facts = {"In": str(folder), "Time": render.duration(seconds)}
    if done.kept:
        facts["Kept"] = f"{render.count(len(done.kept))} files that hold more than the database has left"
    if plan.left_out:
        counts = " and ".join(f"{render.count(count)} of {table}" for table, count in plan.left_out.items())
        facts["Left out"] = f"{counts}, whose time is missing or outside of the years 1 to 9999"
    render.print_facts(facts)


def _moment(text: str | None, option: str) -> datetime | None:
    from umami_ops.operations.horizon import moment_of

    return moment_of(text, option).astimezone(UTC) if text is not None else None
