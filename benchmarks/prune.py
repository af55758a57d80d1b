"""How fast `umami-ops prune` is, beside what a person would use instead.

    python -m benchmarks.prune [--servers postgresql-18,mariadb,mysql] [--events 1000000] [--rounds 3]

Every contender deletes the same half of the same load from a fresh copy in a warm cache; they take turns,
and a ratio is the median of the rounds' own ratios, so that load from elsewhere hits all of them. What they
leave is compared row for row. Nothing here fails for slowness: it reports. `--scale 10` adds one run on ten
times the data; `--document` puts the result into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import contenders
from benchmarks.measure import Contender, Run, Score
from benchmarks.prepare import SETTINGS, Size, Stage, rows_left, stage
from benchmarks.results import Goal, Line, Results, environment
from benchmarks.writers import WRITERS, Waits, writers
from testbed.servers import KINDS

_RESULTS = Path(__file__).parent / "results"
_MOST_BYTES = 100_000_000


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    servers: Sequence[str]
    events: int
    rounds: int
    scale: int
    json: Path
    document: bool


def main() -> None:
    """Measure, print, keep."""
    options = _options()
    results = Results(environment())
    for name in options.servers:
        _say(f"{name}: loading {options.events:,} events")
        with stage(name, Size(options.events)) as on:
            _describe(on, results)
            measured = _Measurement(on, results, options).run()
        if options.scale > 1:
            _scale(name, options, measured, results)
        results.write_json(options.json)
    results.environment["Load average at the end"] = f"{os.getloadavg()[0]:.1f}"
    results.show()
    results.write_json(options.json)
    if options.document:
        results.write_document()


class _Measurement:
    """All that is measured on one server."""

    def __init__(self, on: Stage, results: Results, options: Options) -> None:
        self._on = on
        self._results = results
        self._rounds = options.rounds
        self._title = _title(on)
        self._left: dict[str, int] = {}
        self._deleted = 0

    def run(self) -> Score:
        """Take turns, judge, then let writers in; returns the score of `umami-ops prune`."""
        scores = self._take_turns(_contenders(self._on))
        if self._on.server.dialect == "postgresql":
            self._judge_postgresql(scores)
        else:
            self._judge_innodb(scores)
        self._judge_memory(scores[contenders.PRUNE])
        self._beside_writers()
        return scores[contenders.PRUNE]

    def _take_turns(self, rivals: list[Contender]) -> dict[str, Score]:
        """Run every contender once a round, each round beginning with another one."""
        scores = {rival.name: Score(rival) for rival in rivals}
        for number in range(self._rounds):
            for rival in rivals[number % len(rivals) :] + rivals[: number % len(rivals)]:
                url = self._on.fresh()
                before = rows_left(url)["website_event"]
                run = rival.run(url)
                self._check(rival, url, before)
                scores[rival.name].runs.append(run)
                _say(f"{self._title}: round {number + 1}, {rival.name}: {run.seconds:.2f} s")
                if run.report:
                    self._results.reports.append({"contender": rival.name, **run.report})
        return scores

    def _check(self, rival: Contender, url: str, before: int) -> None:
        """Hold what a contender left in the tables it cleans to what the others left there."""
        left = rows_left(url)
        self._deleted = before - left["website_event"]
        for table in rival.cleans:
            if self._left.setdefault(table, left[table]) != left[table]:
                sys.exit(f"{rival.name} left {left[table]:,} rows in {table}, others {self._left[table]:,}")

    def _judge_postgresql(self, scores: dict[str, Score]) -> None:
        ours, by_hand = scores[contenders.PRUNE], scores[contenders.TRANSACTION]
        self._add_lines(scores, by_hand, "the time of one transaction")
        ratio = ours.times(by_hand)
        self._goal("wall time, one transaction = 1", f"{ratio:.2f}", "at most 1.5", ratio <= 1.5)
        slowest = max(float(run.report["p99_transaction_seconds"]) for run in ours.runs)
        self._goal("p99 of a transaction", f"{slowest * 1000:.0f} ms", "under 500 ms", slowest < 0.5)

    def _judge_innodb(self, scores: dict[str, Score]) -> None:
        ours = scores[contenders.PRUNE]
        rival = scores[contenders.ARCHIVER]
        self._add_lines(scores, rival, "the time of pt-archiver")
        ratio = 1 / ours.times(rival)
        self._goal(f"rows a second, {rival.contender.name} = 1", f"{ratio:.2f}", "at least 1.0", ratio >= 1)
        if rebuild := scores.get(contenders.REBUILD):
            faster = ours.times(rebuild)
            self._goal("--rebuild, deleting = 1", f"{faster:.2f} × faster", "at least 1.8", faster >= 1.8)
        slowest = max(float(run.report["p99_transaction_seconds"]) for run in ours.runs)
        self._goal("p99 of a transaction", f"{slowest * 1000:.0f} ms", "under 1 s", slowest < 1)

    def _add_lines(self, scores: dict[str, Score], one: Score, of: str) -> None:
        for name, score in scores.items():
            ratio = "1" if score is one else f"{score.times(one):.2f} × {of}"
            rounds = [run.seconds for run in score.runs]
            rate = self._deleted / score.seconds
            self._results.lines.append(Line(self._title, name, score.seconds, rate, ratio, rounds))

    def _judge_memory(self, ours: Score) -> None:
        peak = ours.peak_bytes or 0
        self._goal("peak memory", f"{peak / 1e6:.0f} MB", "under 100 MB", peak < _MOST_BYTES)

    def _beside_writers(self) -> None:
        """Let writers insert for as long as a prune takes, without one and with one."""
        prune = contenders.prune(self._on.size.horizon)
        url = self._on.fresh()
        with writers(url) as beside:
            took = prune.run(url)
        url = self._on.fresh()
        with writers(url) as alone:
            time.sleep(took.seconds)
        for waits, when in ((alone, "without prune"), (beside, "while prune runs")):
            what = f"{WRITERS} writers {when}: longest wait of an insert"
            quiet = waits.longest < 1 and not waits.failures
            self._goal(what, _waits(waits), "no failure, under 1 s", quiet)

    def _goal(self, what: str, measured: str, target: str, met: bool) -> None:
        self._results.goals.append(Goal(self._title, what, measured, target, met))
        _say(f"{self._title}: {what}: {measured} ({target})")


def _contenders(on: Stage) -> list[Contender]:
    horizon = on.size.horizon
    if on.server.dialect == "postgresql":
        by_hand = [contenders.one_transaction(horizon), contenders.plain_delete(horizon)]
        return [contenders.prune(horizon), *by_hand]
    rivals = [contenders.prune(horizon), contenders.archiver(horizon), contenders.delete_loop(horizon)]
    if _knows("--rebuild"):
        rivals.append(contenders.prune(horizon, "--rebuild"))
    return rivals


def _knows(option: str) -> bool:
    command = [sys.executable, "-m", "umami_ops", "prune", "--help"]
    return option in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _scale(name: str, options: Options, small: Score, results: Results) -> None:
    """Prune one load that is `scale` times as big: memory stays, time grows no faster than the rows."""
    size = Size(options.events * options.scale)
    _say(f"{name}: loading {size.events:,} events")
    with stage(name, size) as on:
        run: Run = contenders.prune(size.horizon).run(on.once())
        title = f"{_title(on)}, {size.events:,} events"
    peak = run.peak_bytes or 0
    growth = run.seconds / small.seconds
    results.goals += [
        Goal(title, "peak memory", f"{peak / 1e6:.0f} MB", "under 100 MB", peak < _MOST_BYTES),
        Goal(
            title,
            f"wall time, that of {options.events:,} events = 1",
            f"{run.seconds:.1f} s, {growth:.1f}",
            f"at most {options.scale}",
            growth <= options.scale,
        ),
    ]
    results.reports.append({"contender": f"{contenders.PRUNE}, {size.events:,} events", **run.report})


def _waits(waits: Waits) -> str:
    return (
        f"{waits.longest * 1000:.0f} ms, p99 {waits.percentile(0.99) * 1000:.0f} ms, "
        f"{len(waits.failures)} of {len(waits.seconds):,} failed"
    )


def _title(on: Stage) -> str:
    names = {"postgresql": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB"}
    return f"{names[on.server.flavour]} {on.server.version}"


def _describe(on: Stage, results: Results) -> None:
    settings = ", ".join(f"{name} = {value}" for name, value in SETTINGS[on.server.flavour].items())
    durable = "" if on.server.dialect == "postgresql" else "; every commit flushed, no binary log"
    results.environment[f"{_title(on)} settings"] = f"{settings}{durable}"
    load = on.size.load
    results.environment["Load"] = (
        f"{load.events:,} website_event, {load.sessions:,} session, {load.event_data:,} event_data, "
        "revenue for every 50th event, session_data for every 4th session, over two years; half of it goes"
    )


def _options() -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--servers", default="postgresql-18,mariadb,mysql", help="some of " + ", ".join(KINDS)
    )
    parser.add_argument("--events", type=int, default=1_000_000, help="how many events the load has")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender runs")
    parser.add_argument("--scale", type=int, default=1, help="also prune a load so many times as big, once")
    default = _RESULTS / f"prune-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    parser.add_argument("--json", type=Path, default=default, help="where to keep the result")
    parser.add_argument("--document", action="store_true", help="write the tables into docs/benchmarks.md")
    given = parser.parse_args()
    names = [name.strip() for name in given.servers.split(",")]
    if unknown := [name for name in names if name not in KINDS]:
        parser.error(f"unknown servers {', '.join(unknown)}: choose from {', '.join(KINDS)}")
    return Options(names, given.events, given.rounds, given.scale, given.json, given.document)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
