"""Snapshots of the daemon as /status.json has them, for looking at the page without a daemon."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from umami_ops.daemon.agenda import Agenda
from umami_ops.daemon.configuration import Configuration
from umami_ops.daemon.dispatcher import Dispatcher
from umami_ops.daemon.guard import Role
from umami_ops.daemon.history import History
from umami_ops.daemon.jobs import Job, Step
from umami_ops.daemon.records import Cause, DatabaseSize, Result, Run, StepDone
from umami_ops.daemon.schedule import Schedule
from umami_ops.daemon.settings import SETTINGS, Found
from umami_ops.daemon.status import Status, snapshot

_WEEKLY = "vacuum --if-needed --reindex --max-duration 1h"
NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
ZONE = ZoneInfo("Europe/Berlin")
_GIGABYTE = 10**9


def step(text: str, keeps_days: float | None = None) -> Step:
    made = Step.written(text)
    return Step(made.text, made.arguments, keeps_days)


JOBS = (
    Job(
        "nightly",
        Schedule.parse("0 3 * * *", ZONE),
        (step("backup --verify"), step("prune --days 365", 365), step("vacuum --if-needed")),
    ),
    Job("health", Schedule.parse("@hourly", ZONE), (step("health"),)),
    Job(
        "weekly",
        Schedule.parse("0 4 * * sun", ZONE),
        (step("vacuum --if-needed --reindex --max-duration 1h"),),
    ),
)


def configuration(jobs: tuple[Job, ...] = JOBS) -> Configuration:
    values: dict[str, Any] = {
        "daemon.timezone": ZONE, "daemon.jitter": 0.0, "daemon.overdue": 900.0,
        "daemon.examine": 900.0, "notify.on": frozenset({"failure"}),
    }  # fmt: skip
    found = {item.key: Found(item, values.get(item.key), "", "test") for item in SETTINGS}
    return Configuration(found, jobs)


def _info(now: datetime, oldest_days: int) -> dict[str, Any]:
    tables = {
        "website_event": (1.36, 4.9, 8_412_733), "event_data": (0.62, 0.71, 3_204_118),
        "session": (0.21, 0.32, 1_108_442), "session_replay": (0.48, 0.02, 61_200),
        "revenue": (0.01, 0.02, 40_210), "session_data": (0.004, 0.006, 9_800),
    }  # fmt: skip
    oldest = now - timedelta(days=oldest_days)
    return {
        "server": {"title": "PostgreSQL 18.1", "database": "umami"},
        "umami": {"release": "v3.1.0"},
        "tables": [
            {"name": name, "table_bytes": int(table * _GIGABYTE), "index_bytes": int(index * _GIGABYTE),
             "rows": rows, "estimated": rows > 10**6}
            for name, (table, index, rows) in tables.items()
        ],
        "totals": {
            "table_bytes": sum(int(table * _GIGABYTE) for table, _, _ in tables.values()),
            "index_bytes": sum(int(index * _GIGABYTE) for _, index, _ in tables.values()),
        },
        "websites": [{"first_event": oldest.isoformat(), "events_per_day": {"value": 31_480.0}}],
    }  # fmt: skip


_FINDINGS = [
    {"check": "dead_rows", "severity": "warning", "subject": "website_event",
     "sentence": "24 % of website_event's rows are dead, and autovacuum was last there 9 days ago.",
     "why": "Dead rows are read by every dashboard query and make it slower.",
     "cure": "umami-ops vacuum --table website_event"},
    {"check": "bloated_indexes", "severity": "info", "subject": "website_event",
     "sentence": "An index of website_event wastes 410 MB.", "why": "Its holes are read from the disk, too.",
     "cure": "umami-ops vacuum --reindex"},
]  # fmt: skip


def filled(folder: Path, *, failing: bool = False, oldest_days: int = 290, days: int = 120) -> History:
    """A history as it is after some months: nights, hours, sizes, findings."""
    history = History(folder)
    newest = _info(NOW, oldest_days)
    total = newest["totals"]["table_bytes"] + newest["totals"]["index_bytes"]
    for back in range(days, -1, -1):
        share = 1 - 0.0031 * back + 0.004 * ((back * 7) % 5 - 2) / 5
        size = int(total * share)
        history.add_size(DatabaseSize(NOW - timedelta(days=back), size // 4, size - size // 4, 8_412_733))
    for night in range(25, -1, -1):
        begin = NOW.replace(hour=2, minute=0) - timedelta(days=night)
        result = Result.FAILURE if night == 11 or (failing and night == 0) else Result.SUCCESS
        _night(history, begin, result, Cause.CATCH_UP if night == 5 else Cause.SCHEDULE)
    for hour in range(30, -1, -1):
        begin = NOW.replace(minute=0) - timedelta(hours=hour)
        keep(history, "health", begin, Result.SUCCESS, [StepDone("health", 0.7, 0)], seconds=0.7)
    week = NOW.replace(hour=3, minute=0)
    done = StepDone(_WEEKLY, 812.0, 0, None, -410_000_000)
    keep(history, "weekly", week, Result.SUCCESS, [done], seconds=812.0)
    checks = [
        {"name": f"check_{n}", "severity": "ok", "could_not_look": [], "measures": []} for n in range(34)
    ]
    history.keep("info", newest, NOW - timedelta(minutes=4))
    severity = "warning"
    history.keep(
        "health", {"severity": severity, "findings": _FINDINGS, "checks": checks}, NOW - timedelta(minutes=4)
    )
    return history


def _night(history: History, begin: datetime, result: Result, cause: Cause) -> None:
    name = f"umami-{begin:%Y%m%dT%H%M%SZ}"
    report = {"name": name, "verified": {"rows": 12_836_503}}
    steps = [
        StepDone("backup --verify", 212.0, 0, None, 1_204_000_000, report=report),
        StepDone("prune --days 365", 41.0, 0, 31_204 if result is Result.SUCCESS else None, None),
        StepDone("vacuum --if-needed", 12.0, 0, None, -61_000_000),
    ]
    reason = ""
    if result is Result.FAILURE:
        reason = "The server at db:5432 can't be reached: connection refused."
        steps = [
            steps[0],
            StepDone("prune --days 365", 10.0, 1, reason=reason, hint="Is PostgreSQL running?"),
        ]
    keep(history, "nightly", begin, result, steps, seconds=265.0, reason=reason, cause=cause)


def keep(
    history: History,
    job: str,
    begin: datetime,
    result: Result,
    steps: list[StepDone],
    *,
    seconds: float,
    reason: str = "",
    cause: Cause = Cause.SCHEDULE,
) -> None:
    run = Run(f"{job}-{begin:%Y%m%d%H}", job, cause, begin, 0, begin)
    history.begin(run)
    rows = sum(step.rows or 0 for step in steps) or None
    size = sum(step.size_bytes or 0 for step in steps) or None
    ended = begin + timedelta(seconds=seconds)
    history.end(
        Run(run.id, job, cause, begin, 0, begin, ended, result, rows, size, reason, steps=tuple(steps))
    )


def shown(
    history: History, *, role: Role = Role.LEADER, now: datetime = NOW, jobs: tuple[Job, ...] = JOBS
) -> Any:
    """The snapshot of a daemon with that history."""
    dispatcher = Dispatcher(Agenda(jobs, history, now))
    return snapshot(
        Status(configuration(jobs), dispatcher, history, role, now, None, now - timedelta(days=26), now), now
    )
