"""`umami-ops verify`: compare two databases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from umami_ops.cli import options

if TYPE_CHECKING:
    from umami_ops.operations.verify import Verification
    from umami_ops.plan import TableVerdict

_FAILED, _STOPPED = 1, 3


@click.command()
@options.target_url
@options.url
@click.option(
    "--jobs",
    type=click.IntRange(min=1, max=16),
    default=2,
    show_default=True,
    help="Pairs of connections that compare side by side.",
)
@options.json_output
def verify(jobs: int, as_json: bool) -> None:
    """Compare two databases row by row, by checksums of both servers.

    Every column of every table counts, at the precision of the coarser side; then views, visits, visitors,
    event data and revenue by website and day. Where they differ, the first rows are named, and the exit code
    is 1, as it is where the target lacks a table or column, and while a move to it has not ended. Nothing is
    written to either side.
    """
    from umami_ops.cli import render
    from umami_ops.execute import StopSignal
    from umami_ops.operations.verify import verify as compare

    source, target = options.open_from_options(needs_session=True), options.open_target_from_options()
    stop = StopSignal()
    done = 0
    with stop.on_signals(), render.Progress("verify", None) as progress:

        def note(table: str, rows: int) -> None:
            nonlocal done
            done += rows
            progress.at(done, table)

        found = compare(source, target, jobs=jobs, ended=lambda: stop.reason is not None, noted=note)
    if stop.reason:
        render.say(f"Ended early: {stop.reason}. Nothing was changed.")
        raise SystemExit(_STOPPED)
    if as_json:
        render.print_json(found.to_dict())
    else:
        _show(found)
    if not found.is_equal or found.is_half_moved:
        raise SystemExit(_FAILED)


def _show(found: Verification) -> None:
    from umami_ops.cli import render

    render.print_facts({"Source": found.source, "Target": found.target})
    render.print_line()
    show_verdicts(found.verdicts)
    for table in found.lacking_tables:
        render.print_remark("✗", f"The target has no table {table}.", style="bold red")
    for column in found.lacking_columns:
        render.print_remark("✗", f"The target has no column {column}.", style="bold red")
    for sentence in found.sums_differ[:5]:
        render.print_remark("✗", sentence, style="bold red")
    if found.is_half_moved:
        sentence = "A move to the target has begun and not ended: keys or Prisma's records are to come."
        render.print_remark("✗", sentence, "umami-ops migrate, as before, goes on", style="bold red")
    render.print_line()
    rows = sum(item.source_rows for item in found.verdicts)
    word = (
        "They differ, of" if not found.is_equal_in_both
        else "The target lacks what is named above. In all else both hold the same" if found.lacks_anything
        else "Both hold the same"
    )  # fmt: skip
    render.print_line(
        f"{word} {render.count(rows)} rows, compared in {render.duration(found.seconds)}.", style="bold"
    )


def show_verdicts(verdicts: Sequence[TableVerdict]) -> None:
    """Print what both servers said of each table, and below it the rows that differ."""
    from umami_ops.cli import render

    render.print_table(
        [
            render.Column("Table", is_whole=True),
            render.number("Source"),
            render.number("Target"),
            render.identifier("Checksum", optional=True),
            render.text("Verdict"),
        ],
        [
            (
                item.table,
                render.count(item.source_rows),
                render.count(item.target_rows),
                f"{item.source_checksum & (1 << 64) - 1:016x}",
                "equal" if item.is_equal else "DIFFERENT",
            )
            for item in verdicts
        ],
        dim=[place for place, item in enumerate(verdicts) if not item.source_rows and item.is_equal],
    )
    for item in verdicts:
        for keys in item.differing:
            span = f"from {keys.since or 'the first'} up to {keys.until or 'the last'}"
            render.print_remark("✗", f"{item.table} differs in the keys {span}.", style="bold red")
        for word, rows in (
            ("Not at the target", item.missing), ("Only at the target", item.extra), ("Changed", item.changed)
        ):  # fmt: skip
            if rows:
                render.print_remark(" ", f"{word}: {', '.join(rows)}")
