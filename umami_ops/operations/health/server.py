"""Checks of the server itself: is it there, is it in time, has it room."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime

from umami_ops.operations.health.check import (
    Examination,
    Finding,
    Measure,
    Outcome,
    Severity,
    Unseen,
    bytes_in_words,
    check,
    graded,
    span,
)
from umami_ops.operations.health.ingest import events_per_day
from umami_ops.operations.health.support import support_ends

_ROUND_TRIPS = 3


@check(
    title="Connection and latency",
    why="Umami asks several questions for every page view and every chart; each waits for the network.",
    rule="critical when no connection can be made; warning when a round trip takes `round_trip_seconds` or "
    "more",
    cure="Correct DATABASE_URL or start the server; bring Umami and its database closer together.",
    thresholds=("round_trip_seconds",),
    measures={"round_trip_seconds": "Shortest of three questions and answers."},
    needs_umami=False,
)
def connection(examination: Examination) -> Iterator[Outcome]:
    """Time some round trips; that there is a connection has shown by now."""
    seconds = min(_round_trip(examination)[0] for _ in range(_ROUND_TRIPS))
    yield Measure("round_trip_seconds", seconds)
    if seconds >= examination.limits.round_trip_seconds:
        yield Finding(
            Severity.WARNING,
            f"A question to the server takes {seconds * 1000:.0f} ms until its answer is here.",
            "Run Umami on the server's own network; look at the server's load.",
            evidence={"round_trip_seconds": round(seconds, 4)},
        )


@check(
    title="Server version and its end of life",
    why="A release without support gets no fixes for lost data and security holes.",
    rule="warning when support has ended; info when it ends within `end_of_life_days`",
    cure="Upgrade the server to a supported release.",
    thresholds=("end_of_life_days",),
    needs_umami=False,
)
def server_version(examination: Examination) -> Iterator[Outcome]:
    """Look the release up in the table of `support`; one that isn't there is taken to be newer."""
    server = examination.connection.server()
    ends = support_ends(server.flavour, server.version)
    if ends is None:
        return
    days = (ends - date.fromtimestamp(examination.now.timestamp())).days
    evidence = {"version": server.version, "support_ends": ends, "days_left": days}
    cure = "Upgrade the server to a supported release; make a backup first."
    if days < 0:
        yield Finding(
            Severity.WARNING, f"{server.title} has had no support since {ends}.", cure, evidence=evidence
        )
    elif days < examination.limits.end_of_life_days:
        yield Finding(Severity.INFO, f"Support of {server.title} ends on {ends}.", cure, evidence=evidence)


@check(
    title="Clock difference",
    why="Umami dates events by its own clock or the server's; a wrong one moves visitors to other hours and "
    "days.",
    rule="warning when the clocks differ by `clock_seconds` or more",
    cure="Let both machines follow an NTP server.",
    thresholds=("clock_seconds",),
    measures={"clock_difference_seconds": "The server's clock less this machine's."},
    needs_umami=False,
)
def clock(examination: Examination) -> Iterator[Outcome]:
    """Compare the server's time with the middle of the round trip that brought it."""
    seconds, ahead = min(_round_trip(examination) for _ in range(_ROUND_TRIPS))
    yield Measure("clock_difference_seconds", ahead)
    # What the way there and back may hide is no difference.
    if abs(ahead) - seconds / 2 >= examination.limits.clock_seconds:
        side = "ahead of" if ahead > 0 else "behind"
        yield Finding(
            Severity.WARNING,
            f"The server's clock is {abs(ahead):.1f} s {side} this machine's.",
            "Let both machines follow an NTP server (timedatectl set-ntp true).",
            evidence={"clock_difference_seconds": round(ahead, 3)},
        )


def _round_trip(examination: Examination) -> tuple[float, float]:
    """Return how long one took, in seconds, and by how many seconds the server's clock is ahead."""
    began, ticks = datetime.now(UTC), time.perf_counter()
    there = examination.rows("clock")[0]["now"]
    seconds = time.perf_counter() - ticks
    return seconds, (there - began).total_seconds() - seconds / 2


@check(
    title="Connections against the limit",
    why="Without a free connection Umami answers page views with an error, and they are lost.",
    rule="warning from `connections_percent` of the limit, critical from `connections_critical_percent`",
    cure="Lower connection_limit in Umami's DATABASE_URL, put a pooler in between, or raise max_connections.",
    thresholds=("connections_percent", "connections_critical_percent"),
    measures={
        "connections_used": "Sessions on the whole server.",
        "connections_available": "Sessions that the server gives to ordinary users.",
    },
    needs_umami=False,
)
def connections(examination: Examination) -> Iterator[Outcome]:
    """Compare the sessions of the whole server with its limit."""
    row = examination.row("connections")
    if row is None:
        yield Unseen("the server's status counters (performance_schema is off)")
        return
    used, available = int(row["used"]), int(row["available"])
    yield Measure("connections_used", used)
    yield Measure("connections_available", available)
    percent = 100 * used / max(available, 1)
    limits = examination.limits
    severity = graded(percent, limits.connections_percent, limits.connections_critical_percent)
    if severity:
        yield Finding(
            severity,
            f"{used} of {available} connections are in use ({percent:.0f} %).",
            "Lower connection_limit in Umami's DATABASE_URL, put a pooler in between, or raise "
            "max_connections.",
            evidence={"used": used, "available": available, "used_percent": round(percent, 1)},
        )


@check(
    title="Cache hit rate",
    why="A dashboard over months reads much of an index; from the disk that takes seconds instead of "
    "milliseconds.",
    rule="info when fewer than `cache_hit_percent` of at least `cache_reads` reads were answered from memory",
    cure="Give the server more memory: shared_buffers on PostgreSQL, innodb_buffer_pool_size on MySQL and "
    "MariaDB.",
    thresholds=("cache_hit_percent", "cache_reads"),
    measures={
        "cache_hit_ratio": "Share of reads answered from the server's memory since its statistics began.",
        "cache_size_bytes": "The memory that the server has for that.",
    },
    needs_umami=False,
)
def cache(examination: Examination) -> Iterator[Outcome]:
    """Judge the counters of shared buffers or buffer pool; the system's own cache isn't seen by either."""
    row = examination.row("cache")
    if row is None or row["hits"] is None:
        yield Unseen("the server's status counters (performance_schema is off)")
        return
    hits, misses, size_bytes = int(row["hits"]), int(row["misses"]), int(row["cache_bytes"])
    reads = hits + misses
    yield Measure("cache_size_bytes", size_bytes)
    if not reads:
        return
    yield Measure("cache_hit_ratio", hits / reads)
    percent = 100 * hits / reads
    if percent < examination.limits.cache_hit_percent and reads >= examination.limits.cache_reads:
        yield Finding(
            Severity.INFO,
            f"Only {percent:.1f} % of reads are answered from the server's {bytes_in_words(size_bytes)} of "
            "cache.",
            "Raise shared_buffers (PostgreSQL) or innodb_buffer_pool_size (MySQL, MariaDB), up to a quarter "
            "or two "
            "thirds of the server's memory.",
            evidence={"hit_percent": round(percent, 2), "reads": reads, "cache_bytes": size_bytes},
        )


@check(
    title="Room on the server's disk",
    why="On a full disk ingest fails; and Umami's upgrades and a table's rewrite need room for a second "
    "copy.",
    rule="critical when less than `free_disk_bytes` is free; warning when the largest table has no room for "
    "a copy",
    cure="Enlarge the disk, or prune: umami-ops prune --days N.",
    thresholds=("free_disk_bytes",),
    measures={"disk_free_bytes": "What is free where the server keeps its data."},
)
def disk(examination: Examination) -> Iterator[Outcome]:
    """Compare what is free with the largest table, where the server runs on this machine."""
    free = examination.connection.free_bytes()
    if free is None:
        yield Unseen("to run on the server's own machine, and to be told where its data are")
        return
    yield Measure("disk_free_bytes", free)
    relations = examination.installation.relations.values()
    largest = max(relations, key=lambda relation: relation.table_bytes + relation.index_bytes)
    needed = largest.table_bytes + largest.index_bytes
    evidence = {"free_bytes": free, "largest_table": largest.name, "largest_table_bytes": needed}
    if free < examination.limits.free_disk_bytes:
        severity, sentence = Severity.CRITICAL, f"Only {bytes_in_words(free)} are free on the server's disk."
    elif free < needed:
        severity = Severity.WARNING
        sentence = (
            f"{bytes_in_words(free)} are free on the server's disk, no room for a copy of {largest.name} "
            f"({bytes_in_words(needed)})."
        )
    else:
        return
    yield Finding(
        severity, sentence, "Enlarge the disk, or see what umami-ops prune --days 365 --dry-run frees.",
        evidence=evidence,
    )  # fmt: skip


@check(
    title="Growth of the database",
    why="Umami keeps every page view for ever: the disk fills on a day that can be foreseen, and then ingest "
    "fails.",
    rule="warning when the disk is full within `disk_full_days` at the growth of the last `growth_days`, "
    "critical "
    "within `disk_full_critical_days`; an estimate of the planner's, and the days only on the server's "
    "own machine",
    cure="umami-ops prune --days N, by a schedule, or a bigger disk.",
    thresholds=("growth_days", "disk_full_days", "disk_full_critical_days"),
    measures={
        "growth_bytes_per_day": "What visitor data grow by in a day, by estimate.",
        "disk_full_days": "In how many days the disk is full at that growth.",
    },
)
def growth(examination: Examination) -> Iterator[Outcome]:
    """Reckon the bytes that an event costs with all that hangs on it, and the events of late."""
    installation, limits = examination.installation, examination.limits
    events = installation.relations["website_event"].rows_estimate
    sizes = [
        installation.relations[facts.name] for facts in installation.tables() if facts.role.is_visitor_data
    ]
    total = sum(relation.table_bytes + relation.index_bytes for relation in sizes)
    a_day = events_per_day(examination)
    if not events or a_day is None:
        return
    per_day = a_day * (total / events)
    yield Measure("growth_bytes_per_day", round(per_day))
    free = examination.connection.free_bytes()
    if free is None:
        yield Unseen("to run on the server's own machine, and to be told where its data are")
        return
    if per_day < 1:
        return
    left = free / per_day
    yield Measure("disk_full_days", round(left, 1))
    severity = Severity.WARNING if left < limits.disk_full_days else Severity.OK
    severity = Severity.CRITICAL if left < limits.disk_full_critical_days else severity
    if severity:
        yield Finding(
            severity,
            f"At {bytes_in_words(per_day)} a day the server's disk is full in {span(left * 86_400)}.",
            "umami-ops prune --days 365 --dry-run shows what retention would free",
            evidence={
                "growth_bytes_per_day": round(per_day),
                "free_bytes": free,
                "days_left": round(left, 1),
            },
        )
