"""What partitions cost and bring: the way there, retention, and Umami's own queries before and after.

    python -m benchmarks.partition [--servers postgresql-18,mariadb,mysql] [--events 1000000] [--rounds 3]
        [--parts enable split waits prune queries]

Each thing is measured beside what a person would do instead, on fresh copies of the same load in a warm
cache, in one run. Nothing here fails for slowness: it reports.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.measure import umami_ops
from benchmarks.prepare import Size, Stage, stage
from benchmarks.results import Goal, Results, environment
from benchmarks.writers import writers
from testbed.bulk import Loader, connect
from tests import pruning
from tests.dashboards import numbers
from umami_ops.execute import BatchDone, Event
from umami_ops.operations.prune import Retention
from umami_ops.plan import Report

_RESULTS = Path(__file__).parent / "results"
_LAYOUTS = {"plain": (), "history whole": (), "history by the year": ("year",), "by the month": ("month",)}
_EVENT_DATA = """
SELECT d.data_key, COUNT(*) FROM event_data AS d JOIN website_event AS e ON e.event_id = d.website_event_id
WHERE d.website_id = '{website}' AND d.created_at >= '{since}' AND d.created_at < '{until}'
GROUP BY d.data_key
"""
_VIEWS = """
SELECT CAST(e.created_at AS date), COUNT(*) FROM website_event AS e
WHERE e.website_id = '{website}' AND e.created_at >= '{since}' AND e.created_at < '{until}'
  AND e.event_type <> 2 GROUP BY 1
"""
_VISITS = """
SELECT COUNT(*), SUM(v.views) FROM (
  SELECT e.session_id, e.visit_id, COUNT(*) AS views, MIN(e.created_at) AS a, MAX(e.created_at) AS b
  FROM website_event AS e
  WHERE e.website_id = '{website}' AND e.created_at >= '{since}' AND e.created_at < '{until}'
    AND e.event_type <> 2
  GROUP BY e.session_id, e.visit_id) AS v
"""
_PAGES = """
SELECT e.url_path, COUNT(*) FROM website_event AS e
WHERE e.website_id = '{website}' AND e.created_at >= '{since}' AND e.created_at < '{until}'
  AND e.event_type <> 2 GROUP BY e.url_path ORDER BY 2 DESC LIMIT 100
"""
_QUERIES = {"views": _VIEWS, "visits": _VISITS, "top pages": _PAGES, "event data by event_id": _EVENT_DATA}
_TIMES = 12
#: Seconds by query and span.
Times = dict[tuple[str, str], float]
_PARTS = ("enable", "split", "waits", "prune", "queries")


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    servers: Sequence[str]
    events: int
    rounds: int
    parts: Sequence[str]
    json: Path


def main() -> None:
    """Measure, print, keep."""
    options = _options()
    results = Results(environment())
    for name in options.servers:
        _say(f"{name}: loading {options.events:,} events")
        with stage(name, Size(options.events)) as on:
            _Measurement(on, results, options.rounds).run(options.parts)
        results.write_json(options.json)
    results.environment["Load average at the end"] = f"{os.getloadavg()[0]:.1f}"
    results.show()
    results.write_json(options.json)


class _Measurement:
    """All that is measured on one server."""

    def __init__(self, on: Stage, results: Results, rounds: int) -> None:
        self._on = on
        self._results = results
        self._rounds = rounds
        self._title = f"{on.server.name}, {on.size.events / 1e6:g} M events"

    def run(self, parts: Collection[str]) -> None:
        """Measure the way there, retention, and queries, as far as they are among the parts."""
        on_postgresql = self._on.server.dialect == "postgresql"
        enable = self._enable_on_postgresql if on_postgresql else self._enable_on_innodb
        every: dict[str, Callable[[], None]] = {
            "enable": enable, "split": self._split, "waits": self._blocked_by_enable, "prune": self._prune,
            "queries": self._queries,
        }  # fmt: skip
        for part in parts:
            if part != "split" or on_postgresql:  # on the others it is what enable is: one copy
                every[part]()

    def _enable_on_postgresql(self) -> None:
        index = "CREATE UNIQUE INDEX CONCURRENTLY bench ON website_event (event_id, created_at)"
        by_hand, ours, grown = [], [], []
        for _ in range(self._rounds):
            by_hand.append(self._statement(self._on.fresh(), index))
            url = self._on.fresh()
            before = _size(url)
            report = _report(url, "partition", "enable")
            ours.append(float(report["seconds"]))
            grown.append((_size(url) - before) / _key_size(url))
        ratio = _ratio(ours, by_hand)
        self._goal("enable, building the unique index = 1", f"{ratio:.2f}", "at most 1.2", ratio <= 1.2)
        more = statistics.median(grown)
        self._goal("disk that enable takes, that index = 1", f"{more:.2f}", "about 1", more <= 1.1)

    def _split(self) -> None:
        by_hand, ours = [], []
        for _ in range(self._rounds):
            url = self._on.fresh()
            umami_ops(url, "partition", "enable", "--yes")
            by_hand.append(self._insert_select(url))
            ours.append(float(_report(url, "partition", "split")["seconds"]))
        ratio = _ratio(ours, by_hand)
        self._goal("split, INSERT … SELECT with indexes = 1", f"{ratio:.2f}", "at most 1.5", ratio <= 1.5)

    def _insert_select(self, url: str) -> float:
        with connect(url) as loader:
            loader.execute("CREATE TABLE by_hand (LIKE website_event INCLUDING ALL)")
            loader.commit()
            began = time.perf_counter()
            loader.execute("INSERT INTO by_hand SELECT * FROM website_event")
            loader.commit()
            seconds = time.perf_counter() - began
            loader.execute("DROP TABLE by_hand")
        return seconds

    def _enable_on_innodb(self) -> None:
        by_hand, ours = [], []
        for _ in range(self._rounds):
            by_hand.append(_seconds_of(self._on.fresh(), "enable", "--offline"))
            ours.append(_seconds_of(self._on.fresh(), "enable"))
        ratio = _ratio(ours, by_hand)
        self._goal("enable online, the plain ALTER = 1", f"{ratio:.2f}", "at most 2", ratio <= 2)

    def _blocked_by_enable(self) -> None:
        url = self._on.fresh()
        with writers(url) as waits:
            time.sleep(1)
            document = _report(url, "partition", "enable")
        locked = max((float(done["locked_seconds"]) for done in document["changed"]), default=0.0)
        self._goal(
            "longest wait of four writers during enable",
            f"{waits.longest * 1000:.0f} ms ({locked * 1000:.0f} ms locked), {len(waits.failures)} failed",
            "under 200 ms",
            waits.longest < 0.2 and not waits.failures,
        )

    def _prune(self) -> None:
        """Prune the month that has become a year old, and the next one without what hangs on its events."""
        month = _first_of_month(self._on.size.end - timedelta(days=365))
        rest = _next_month(month)
        times: dict[str, list[float]] = {}
        for _ in range(self._rounds):
            url = self._on.fresh()
            umami_ops(url, "prune", "--before", f"{month:%Y-%m-%d}", "--yes")
            self._prune_months(url, month, rest, times, "by batches")
            url = self._on.fresh()
            umami_ops(url, "prune", "--before", f"{month:%Y-%m-%d}", "--yes")
            umami_ops(url, "partition", "enable", "--yes")
            umami_ops(url, "partition", "split", "--by", "month", "--yes")
            # As a nightly run finds it: of what lies before that month, not even the empty partition is left.
            umami_ops(url, "prune", "--before", f"{month:%Y-%m-%d}", "--yes")
            self._prune_months(url, month, rest, times, "by partition")
            self._delete(month, rest, times)
        for what in ("a month", "a month without event_data and revenue"):
            faster = _ratio(times[f"{what}, by batches"], times[f"{what}, by partition"])
            seconds = statistics.median(times[f"{what}, by partition"])
            measured = f"{faster:.1f} × faster ({seconds:.2f} s)"
            self._goal(f"prune of {what}, by batches = 1", measured, "at least 20", faster >= 20)
        for what in ("one DELETE", "DELETE and VACUUM"):
            if what in times:
                alone = _ratio(times[what], times["drop"])
                measured = f"{alone:.0f} × faster ({statistics.median(times['drop']):.3f} s)"
                self._goal(f"its events alone, {what} = 1", measured, "at least 100", alone >= 100)

    def _prune_months(
        self, url: str, month: datetime, rest: datetime, times: dict[str, list[float]], how: str
    ) -> None:
        """Prune a month, and then the one after it, of whose events nothing hangs any more."""
        drop = _Drop(f"{month:%Y_%m}")
        report = pruning.prune(url, Retention(horizon=rest), observer=drop).report
        times.setdefault(f"a month, {how}", []).append(report.seconds)
        if how == "by partition":
            times.setdefault("drop", []).append(drop.seconds(report))
        until = _next_month(rest)
        with connect(url) as loader:
            for table in ("event_data", "revenue"):
                loader.execute(f"DELETE FROM {table} WHERE created_at < '{until:%Y-%m-%d}'")
        bare = pruning.prune(url, Retention(horizon=until)).report
        times.setdefault(f"a month without event_data and revenue, {how}", []).append(bare.seconds)

    def _delete(self, since: datetime, until: datetime, times: dict[str, list[float]]) -> None:
        """Delete a month's events by hand; PostgreSQL cleans its indexes up only with the VACUUM after it."""
        url = self._on.fresh()
        statement = (
            f"DELETE FROM website_event WHERE created_at >= '{since:%Y-%m-%d}'"
            f" AND created_at < '{until:%Y-%m-%d}'"
        )
        with connect(url) as loader:
            began = time.perf_counter()
            loader.execute(statement)
            loader.commit()
            taken = time.perf_counter() - began
        times.setdefault("one DELETE", []).append(taken)
        if self._on.server.dialect == "postgresql":
            taken += self._statement(url, "VACUUM website_event")
            times.setdefault("DELETE and VACUUM", []).append(taken)

    def _queries(self) -> None:
        """Time Umami's queries in every layout, round by round beside the plain table."""
        rounds = [self._round_of_queries() for _ in range(self._rounds)]
        for layout in [name for name in _LAYOUTS if name != "plain"]:
            for query, span in rounds[0]["plain"]:
                ratios = [took[layout][query, span] / took["plain"][query, span] for took in rounds]
                seconds = statistics.median(took[layout][query, span] for took in rounds)
                ratio = statistics.median(ratios)
                most = {"year": 1.5 if "event data" in query else 1.15}.get(span, 1.0)
                judged = ratio <= most if layout == "history whole" else None
                self._goal(
                    f"{query}, a {span}, {layout}",
                    f"{seconds * 1000:.1f} ms, {ratio:.2f} of plain ({min(ratios):.2f} to {max(ratios):.2f})",
                    f"at most {most}" if judged is not None else "–",
                    judged,
                )

    def _round_of_queries(self) -> dict[str, Times]:
        """Put copies into all layouts, and hold the answers in each to those of the plain table.

        Where several copies fit side by side, their queries are timed in turns: a machine that does other
        things, too, is at one moment half as fast as at another.
        """
        copies = self._on.copies(list(_LAYOUTS))
        times: dict[str, Times] = {}
        urls: dict[str, str] = {}
        answers: Any = None
        for layout, period in _LAYOUTS.items():
            url = urls[layout] = copies[layout]
            if layout == "history whole" or (period and url not in list(urls.values())[:-1]):
                umami_ops(url, "partition", "enable", "--yes")
            if period:
                umami_ops(url, "partition", "split", "--by", *period, "--yes")
            found = self._answers(url)
            answers = answers or found
            if found != answers:
                self._goal(f"dashboards, {layout}", "OTHERS", "the same", met=False)
            if len(set(copies.values())) == 1:
                times |= self._timed_queries({layout: url})
        return times or self._timed_queries(urls)

    def _timed_queries(self, urls: Mapping[str, str]) -> dict[str, Times]:
        """Time every query in every layout, in turns."""
        times: dict[str, Times] = {layout: {} for layout in urls}
        with ExitStack() as stack:
            loaders = {layout: stack.enter_context(connect(url)) for layout, url in urls.items()}
            website = _largest_website(next(iter(loaders.values())))
            for span, since, until in self._spans():
                for name, query in _QUERIES.items():
                    text = query.format(website=website, since=since, until=until)
                    taken: dict[str, list[float]] = {layout: [] for layout in urls}
                    for number in range(_TIMES + 1):
                        for layout, loader in loaders.items():
                            # A driver that meets a text again has it planned once for all.
                            again = partial(loader.execute, f"/* {number} */ {text}")
                            taken[layout].append(_timed(again))
                    for layout, seconds in taken.items():
                        times[layout][name, span] = statistics.median(seconds[1:])
        return times

    def _answers(self, url: str) -> Any:
        _, since, until = next(self._spans())
        with connect(url) as loader:
            website = _largest_website(loader)
            return numbers(loader, website, since, until, replays=False, own_clock=True)

    def _spans(self) -> Iterator[tuple[str, datetime, datetime]]:
        end = self._on.size.end
        for name, days in (("month", 30), ("day", 1), ("year", 365)):
            yield name, (end - timedelta(days=days)).replace(tzinfo=None), end.replace(tzinfo=None)

    def _statement(self, url: str, text: str) -> float:
        with psycopg.connect(url, autocommit=True) as connection:
            return _timed(lambda: connection.execute(text.encode()))

    def _goal(self, what: str, measured: str, target: str, met: bool | None) -> None:
        _say(f"{self._title}: {what}: {measured} (target: {target})")
        self._results.goals.append(Goal(self._title, what, measured, target, met))


class _Drop:
    """Sums up how long the statements took that made away with a month's partition, connecting apart."""

    def __init__(self, month: str) -> None:
        self._month = month
        self._seconds = 0.0

    def __call__(self, event: Event) -> None:
        """Take one event of the run in."""
        if isinstance(event, BatchDone) and event.title.startswith("dropping") and self._is_ours(event.title):
            self._seconds += event.seconds

    def seconds(self, report: Report) -> float:
        """Return the time, with that of the changes that the run reports."""
        ours = [done for done in report.changed if self._is_ours(done.title)]
        return self._seconds + sum(done.held_seconds or done.seconds for done in ours)

    def _is_ours(self, title: str) -> bool:
        return title.endswith(self._month)


def _report(url: str, *arguments: str) -> Mapping[str, Any]:
    report = umami_ops(url, *arguments, "--yes").report
    assert report is not None
    return report


def _seconds_of(url: str, *arguments: str) -> float:
    return float(_report(url, "partition", *arguments)["seconds"])


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _largest_website(loader: Loader) -> str:
    """Return the website with the most events; where several have as many, always the same one."""
    ((website,),) = loader.execute(
        "SELECT website_id FROM website_event GROUP BY website_id ORDER BY COUNT(*) DESC, website_id LIMIT 1"
    )
    return str(website)


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the rounds' own ratios."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def _size(url: str) -> int:
    with connect(url) as loader:
        return int(loader.execute("SELECT pg_database_size(current_database())")[0][0])


def _key_size(url: str) -> int:
    with connect(url) as loader:
        return int(
            loader.execute(
                "SELECT MAX(pg_relation_size(oid)) FROM pg_class WHERE relkind = 'i'"
                " AND relname LIKE 'website\\_event\\_%\\_pkey'"
            )[0][0]
        )


def _first_of_month(moment: datetime) -> datetime:
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _next_month(moment: datetime) -> datetime:
    return _first_of_month(moment.replace(day=28) + timedelta(days=7))


def _options() -> Options:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--servers", default="postgresql-18,mariadb,mysql", help="comma-separated")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=_PARTS)
    parser.add_argument(
        "--json", type=Path, default=_RESULTS / f"partition-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    )
    found = parser.parse_args()
    return Options(found.servers.split(","), found.events, found.rounds, found.parts, found.json)


def _say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", flush=True)


if __name__ == "__main__":
    main()
