"""How long health takes, whether a writer waits for upgrade prepare, and what vacuum --reindex gives back.

On each server one load of events: health several times, then, while four sessions insert as Umami does,
`upgrade prepare`; then half of the events are pruned, and `vacuum --reindex` runs beside the same writers.
How long an insert takes with nothing beside it is measured before. At the end migrations are made again, for
the estimates of upgrade check.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.contenders import prune
from benchmarks.estimates import estimates
from benchmarks.prepare import Size, Stage, stage
from benchmarks.results import Goal, Results, environment
from benchmarks.waiting import Waiting, watched
from benchmarks.writers import Waits, writers
from testbed.servers import KINDS

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
        self._title = f"{on.server.flavour} {on.server.version}, {on.size.events:,} events"

    def run(self, parts: Sequence[str]) -> None:
        """Measure the parts that were asked for, in the order that they build on."""
        if "health" in parts:
            self._health()
        if "prepare" in parts:
            self._prepare()
        if "vacuum" in parts:
            prune(self._on.size.horizon).run(self._url)
            self._vacuum()
        if "estimate" in parts:
            self._estimate()

    def _health(self) -> None:
        documents, wall = [], []
        for _ in range(_ROUNDS):
            began = time.monotonic()
            documents.append(self._command("health", "--format", "json", codes=(0, 1, 2)))
            wall.append(time.monotonic() - began)
        inside = sorted(float(document["seconds"]) for document in documents)
        late = {
            check["name"]
            for document in documents
            for check in document["checks"]
            if any("more time" in needs for needs in check["could_not_look"])
        }
        longest = max(wall)
        said = f"{inside[_ROUNDS // 2]:.2f} s, longest of {_ROUNDS} {longest:.2f} s with the start of Python"
        said += f", without time for {', '.join(sorted(late))}" if late else ""
        self._goal("health", said, f"under {_HEALTH_SECONDS:.0f} s", longest < _HEALTH_SECONDS and not late)

    def _prepare(self) -> None:
        to = ("--to", "newest") if self._on.server.dialect == "postgresql" else ()
        document = self._beside("upgrade", "prepare", *to, "--yes", "--json")
        self._results.reports[-1]["steps"] = len(document.get("done", ()))

    def _vacuum(self) -> None:
        """On InnoDB an index is rebuilt with its table, so all that a table takes counts there."""
        is_postgresql = self._on.server.dialect == "postgresql"
        how = "--reindex" if is_postgresql else "--full"
        kinds = ["index_bytes"] if is_postgresql else ["table_bytes", "index_bytes"]
        document = self._beside("vacuum", how, "--yes", "--json")
        before, after = (sum(document[when][kind] for kind in kinds) for when in ("before", "after"))
        given_back = 1 - after / before
        said = f"{100 * given_back:.0f} %: {before / 1e6:.0f} MB to {after / 1e6:.0f} MB"
        target = "at least 40 %" if is_postgresql else "told, no target"
        met = not is_postgresql or given_back >= _GIVEN_BACK
        self._goal(f"vacuum {how}: bytes given back", said, target, met)

    def _beside(self, *arguments: str) -> Any:
        """Run a command beside writers, judge how long they waited, and return what the command said."""
        with writers(self._url) as alone:
            time.sleep(_QUIET_SECONDS)
        with watched(self._on.server, self._url) as waiting, writers(self._url) as beside:
            document = self._command(*arguments)
        self._results.reports.append(
            {"server": self._title, "command": arguments, "report": document, "slow": dict(waiting.slow)}
        )
        self._judge(" ".join(arguments[:2]), alone, beside, waiting, document["seconds"])
        return document

    def _judge(self, what: str, alone: Waits, beside: Waits, waiting: Waiting, seconds: float) -> None:
        """Tell apart what was locked from what was merely slow."""
        said = f"{waiting.longest_for_lock * 1000:.0f} ms, looked at every 10 ms"
        met = waiting.longest_for_lock < _WAIT_SECONDS and not beside.failures
        self._goal(f"{what}: longest wait of an insert for a lock", said, "under 200 ms", met)
        said = f"{_waits(beside)}; alone {_waits(alone)}; {seconds:.0f} s; slow ones: {waiting.in_words()}"
        has_target = what == "vacuum --reindex"
        met = (not has_target or beside.longest < _WAIT_SECONDS) and not beside.failures
        target = "under 200 ms" if has_target else "told, no target"
        self._goal(f"{what}: longest time of an insert", said, target, met)

    def _estimate(self) -> None:
        """Compare what migrations take with what was said of them: within half and double is about right."""
        all_made = list(estimates(self._url, self._on.server.flavour))
        self._results.reports.append(
            {"server": self._title, "estimates": [asdict(made) for made in all_made]}
        )
        for level in dict.fromkeys(made.level for made in all_made):
            seconds = sum(made.seconds for made in all_made if made.level == level)
            estimated = sum(made.estimated_seconds for made in all_made if made.level == level)
            ratio = seconds / estimated
            said = f"{seconds:.1f} s, estimated {estimated:.1f} s: {ratio:.2f} x"
            self._goal(f"migration {level:02}", said, "0.5 to 2 x", 0.5 <= ratio <= 2)

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
    parser.add_argument("--parts", default="health,prepare,vacuum,estimate", help="which parts, of these")
    default = _RESULTS / f"upkeep-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    parser.add_argument("--json", type=Path, default=default, help="where to keep the result")
    return parser.parse_args()


if __name__ == "__main__":
    main()
