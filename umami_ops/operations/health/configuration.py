"""Checks of how the server is set up, where that harms Umami: checkpoints, time zone, collations, the
binary log.
"""

from __future__ import annotations

from collections.abc import Iterator

from umami_ops.operations.health.check import (
    Examination,
    Finding,
    Measure,
    Outcome,
    Severity,
    bytes_in_words,
    check,
)


@check(
    title="Checkpoints",
    why="A checkpoint that is forced because the log is full writes everything at once, and page views wait "
    "for the disk meanwhile.",
    rule="warning when `checkpoints_forced_percent` of at least `checkpoints` since the statistics began "
    "came "
    "before their time; PostgreSQL only",
    cure="ALTER SYSTEM SET max_wal_size = '4GB'; or more, and reload the configuration.",
    thresholds=("checkpoints", "checkpoints_forced_percent"),
    measures={
        "checkpoints_timed": "Checkpoints that came when they were due.",
        "checkpoints_forced": "Checkpoints that came before their time.",
    },
    needs_umami=False,
)
def checkpoints(examination: Examination) -> Iterator[Outcome]:
    """Compare checkpoints that came in their time with those that were forced."""
    place = examination.row("checkpoints_place")
    if place is None:
        return
    row = examination.row("checkpoints", place["place"])
    if row is None:
        return
    timed, forced = int(row["timed"]), int(row["forced"])
    yield Measure("checkpoints_timed", timed)
    yield Measure("checkpoints_forced", forced)
    limits, every = examination.limits, timed + forced
    percent = 100 * forced / max(every, 1)
    if every >= max(limits.checkpoints, 1) and percent >= limits.checkpoints_forced_percent:
        yield Finding(
            Severity.WARNING,
            f"{forced:,} of {every:,} checkpoints came before their time ({percent:.0f} %): "
            f"max_wal_size is {row['max_wal_size']}.",
            "ALTER SYSTEM SET max_wal_size = '4GB'; SELECT pg_reload_conf();",
            evidence={"timed": timed, "forced": forced, "forced_percent": round(percent, 1)},
        )


@check(
    title="Time zone",
    why="Umami writes and reads UTC and leaves MySQL's session in the zone that the server gives it. In "
    "another one than UTC all that is stored is shifted by it. Umami doesn't notice, since it reads in the "
    "same zone; whoever reads in UTC sees other times, an hour of spring can't be stored, and a change of "
    "the zone shifts all history.",
    rule="warning when sessions don't begin in UTC; MySQL and MariaDB only",
    cure="Leave the zone as it is: changed alone, all earlier times are shifted. Or move to a server in UTC: "
    "umami-ops migrate, or a portable backup, restored there. umami-ops reads times as Umami does.",
    needs_umami=False,
)
def time_zone(examination: Examination) -> Iterator[Outcome]:
    """Look how far from UTC the zone is that new sessions begin with."""
    row = examination.row("time_zone")
    if row is None or row["offset_minutes"] in (0, None):
        return
    minutes = int(row["offset_minutes"])
    sign = "-" if minutes < 0 else "+"
    yield Finding(
        Severity.WARNING,
        f"The server's time zone is {row['zone']}, {sign}{abs(minutes) // 60}:{abs(minutes) % 60:02} from "
        f"UTC: all times are stored shifted by it.",
        "Leave it as it is, or move to a server in UTC: umami-ops migrate --target-url …",
        evidence={"time_zone": row["zone"], "offset_minutes": minutes},
    )


@check(
    title="Version of the collation",
    why="When the operating system sorts text in another way than when an index was built, PostgreSQL no "
    "longer "
    "finds rows by it, and unique indexes let doubles in. It happens with a new base image.",
    rule="warning when the database's collation has another version now; PostgreSQL 15 and later",
    cure="Build the indexes anew (umami-ops vacuum --reindex doesn't: REINDEX DATABASE), then ALTER "
    "DATABASE … "
    "REFRESH COLLATION VERSION.",
    needs_umami=False,
)
def collation_version(examination: Examination) -> Iterator[Outcome]:
    """Compare the collation's version at the database's creation with that of today."""
    if examination.row("collation_versions") is None:
        return
    row = examination.row("collation_version")
    if row is None:
        return
    name = examination.quote(row["name"])
    yield Finding(
        Severity.WARNING,
        f"Text is sorted by version {row['found']} of the collation, and indexes were built by "
        f"{row['expected']}.",
        f"REINDEX DATABASE CONCURRENTLY {name}; ALTER DATABASE {name} REFRESH COLLATION VERSION;",
        row["name"],
        {"found": row["found"], "expected": row["expected"]},
    )


@check(
    title="Size of the binary log",
    why="It holds every page view a second time, for replicas and for recovery; without either it is lost "
    "room.",
    rule="warning from `binary_log_bytes`; MySQL and MariaDB only, with the right REPLICATION CLIENT or "
    "BINLOG "
    "MONITOR",
    cure="SET GLOBAL binlog_expire_logs_seconds to less, or PURGE BINARY LOGS BEFORE a time; or switch it "
    "off "
    "where there is no replica.",
    thresholds=("binary_log_bytes",),
    measures={"binary_log_bytes": "What the binary log takes of the disk."},
    needs_umami=False,
)
def binary_log_size(examination: Examination) -> Iterator[Outcome]:
    """Add up the files of the binary log, where there is one."""
    if examination.row("binary_log") is None:
        return
    size_bytes = sum(int(row["File_size"]) for row in examination.rows("binary_log_files"))
    yield Measure("binary_log_bytes", size_bytes)
    if size_bytes >= examination.limits.binary_log_bytes:
        yield Finding(
            Severity.WARNING,
            f"The binary log takes {bytes_in_words(size_bytes)} of the disk.",
            "PURGE BINARY LOGS BEFORE NOW() - INTERVAL 3 DAY; and a smaller binlog_expire_logs_seconds",
            evidence={"size_bytes": size_bytes},
        )
