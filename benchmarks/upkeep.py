"""How long health takes, whether a writer waits for upgrade prepare, and what vacuum --reindex gives back.

On each server one load of events: health several times, then, while four sessions insert as Umami does,
`upgrade prepare`; then half of the events are pruned, and `vacuum --reindex` runs beside the same writers.
How long an insert waits with nothing beside it is measured for the same time, before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.contenders import prune
from benchmarks.prepare import Size, Stage, stage
from benchmarks.results import Goal, Results, environment
from benchmarks.writers import Waits, writers
from testbed.servers import KINDS, Server

_RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
_ROUNDS = 5
_HEALTH_SECONDS, _WAIT_SECONDS, _GIVEN_BACK = 3.0, 0.2, 0.4
_QUIET_SECONDS = 20


def main() -> None:
    """Measure, show, keep."""
    options = _options()
    results = Results(environment())
    for name in options.servers.split(","):
        print(f"{name}: loading {options.events:,} events", file=sys.stderr, flush=True)
        with stage(name, Size(options.events)) as on:
            _Measurement(on, results).run(options.parts.split(","))
    results.show()
    results.write_json(options.json)


class _Measurement:
    """All that is measured on one server."""

    def __init__(self, on: Stage, results: Results) -> None:
        self._on = on
        self._url = on.once()
        self._results = results
        self._locked = 0.0
        self._title = f"{on.server.flavour} {on.server.version}, {on.size.events:,} events"

    def run(self, parts: Sequence[str]) -> None:
        """Measure the parts that were asked for, in the order that they build on."""
        if "health" in parts:
            self._health()
        if "prepare" in parts:
            self._prepare()
        if "vacuum" in parts and self._on.server.dialect == "postgresql":
            prune(self._on.size.horizon).run(self._url)
            self._vacuum()

    def _health(self) -> None:
        documents, wall = [], []
        for _ in range(_ROUNDS):
            began = time.monotonic()
            documents.append(self._command("health", "--format", "json", codes=(0, 1, 2)))
            wall.append(time.monotonic() - began)
        inside = sorted(float(document["seconds"]) for document in documents)
        longest = max(wall)
        said = f"{inside[_ROUNDS // 2]:.2f} s, longest of {_ROUNDS} {longest:.2f} s with the start of Python"
        self._goal("health", said, f"under {_HEALTH_SECONDS:.0f} s", longest < _HEALTH_SECONDS)

    def _prepare(self) -> None:
        to = ("--to", "newest") if self._on.server.dialect == "postgresql" else ()
        alone, beside, document = self._beside("upgrade", "prepare", *to, "--yes", "--json")
        steps = len(document.get("done", ()))
        said = f"{_waits(beside)}; alone {_waits(alone)}; {steps} steps, {document.get('seconds', 0):.0f} s"
        self._goal("upgrade prepare: longest time of an insert", said, "told, no target", not beside.failures)
        self._judge_locks("upgrade prepare")

    def _vacuum(self) -> None:
        alone, beside, document = self._beside("vacuum", "--reindex", "--yes", "--json")
        before, after = document["before"]["index_bytes"], document["after"]["index_bytes"]
        given_back = 1 - after / before
        said = f"{100 * given_back:.0f} %: {before / 1e6:.0f} MB to {after / 1e6:.0f} MB"
        self._goal(
            "vacuum --reindex: index bytes given back", said, "at least 40 %", given_back >= _GIVEN_BACK
        )
        quiet = beside.longest < _WAIT_SECONDS and not beside.failures
        said = f"{_waits(beside)}; alone {_waits(alone)}; {document['seconds']:.0f} s"
        self._goal("vacuum --reindex: longest time of an insert", said, "under 200 ms", quiet)
        self._judge_locks("vacuum --reindex")

    def _judge_locks(self, what: str) -> None:
        """Tell apart what was locked from what was merely slow on a busy machine; PostgreSQL only."""
        if self._on.server.dialect == "postgresql":
            said = f"{self._locked * 1000:.0f} ms, looked at every 10 ms"
            met = self._locked < _WAIT_SECONDS
            self._goal(f"{what}: longest wait of an insert for a lock", said, "under 200 ms", met)

    def _beside(self, *arguments: str) -> tuple[Waits, Waits, Any]:
        """Return how long inserts waited alone, then beside a command, and what the command said."""
        with writers(self._url) as alone:
            time.sleep(_QUIET_SECONDS)
        with _lock_waits(self._on.server, self._url) as locked, writers(self._url) as beside:
            document = self._command(*arguments)
        self._locked = max(locked, default=0.0)
        self._results.reports.append({"server": self._title, "command": arguments, "report": document})
        return alone, beside, document

    def _command(self, *arguments: str, codes: Sequence[int] = (0,)) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "umami_ops", *arguments],
            env=os.environ | {"DATABASE_URL": self._url},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in codes:
            sys.exit(f"{arguments} ended with {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)

    def _goal(self, what: str, measured: str, target: str, met: bool) -> None:  # noqa: FBT001
        load = f"load average {os.getloadavg()[0]:.1f}"
        print(f"{self._title}: {what}: {measured} ({target}; {load})", file=sys.stderr, flush=True)
        self._results.goals.append(Goal(self._title, what, f"{measured}; {load}", target, met))


@contextmanager
def _lock_waits(server: Server, url: str) -> Iterator[list[float]]:
    """Look every 10 ms for inserts that wait for a lock, and for how long they have, in seconds."""
    seen: list[float] = []
    over = threading.Event()
    look = (
        "SELECT EXTRACT(EPOCH FROM clock_timestamp() - query_start) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT%'"
    )

    def watch() -> None:
        with psycopg.connect(server.as_admin(url), autocommit=True) as admin:
            while not over.wait(0.01):
                seen.extend(float(row[0]) for row in admin.execute(look))

    thread = threading.Thread(target=watch)
    if server.dialect == "postgresql":
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        if thread.ident is not None:
            thread.join()


def _waits(waits: Waits) -> str:
    """Say how long inserts took."""
    return (
        f"{waits.longest * 1000:.0f} ms (p99 {waits.percentile(0.99) * 1000:.0f} ms, "
        f"{len(waits.failures)} of {len(waits.seconds):,} failed)"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--servers", default="postgresql-18", help="some of " + ", ".join(KINDS))
    parser.add_argument("--events", type=int, default=1_000_000, help="how many events the load has")
    parser.add_argument("--parts", default="health,prepare,vacuum", help="some of health, prepare, vacuum")
    default = _RESULTS / f"upkeep-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    parser.add_argument("--json", type=Path, default=default, help="where to keep the result")
    return parser.parse_args()


if __name__ == "__main__":
    main()
