"""How everything is, at one moment, as data: /status.json. The page and the metrics are made from the
same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from umami_ops import __version__
from umami_ops.daemon.configuration import Configuration
from umami_ops.daemon.dispatcher import Dispatcher
from umami_ops.daemon.forecast import forecast
from umami_ops.daemon.guard import Role
from umami_ops.daemon.history import History
from umami_ops.daemon.jobs import Job
from umami_ops.daemon.records import Result, Run
from umami_ops.daemon.work import moment, report
from umami_ops.errors import OpsError

#: Grows when a field changes its meaning or goes; new fields don't count.
SCHEMA_VERSION = 1
_RECENT_RUNS, _RUNS_OF_A_JOB, _BACKUP_RUNS = 50, 30, 50
#: The loop looks several times a minute; without a look for so long, it hangs.
_HANGS = timedelta(minutes=2)
_AWAY_TOO_LONG = timedelta(minutes=5)
_FORECAST_DAYS = 365


@dataclass(frozen=True)
class Status:
    """Where a snapshot takes its facts from."""

    configuration: Configuration
    dispatcher: Dispatcher
    history: History
    role: Role
    role_since: datetime
    away: OpsError | None
    started_at: datetime
    ticked_at: datetime


def snapshot(status: Status, now: datetime) -> dict[str, Any]:
    """Return all there is to know, for programs."""
    jobs = [_job(status, job, now) for job in status.configuration.jobs]
    problems = list(_problems(status, jobs, now))
    return {
        "schema_version": SCHEMA_VERSION,
        "version": __version__,
        "now": moment(now),
        "started_at": moment(status.started_at),
        "ok": not problems,
        "problems": problems,
        "role": status.role,
        "role_since": moment(status.role_since),
        "timezone": status.configuration["daemon.timezone"].key,
        "jobs": jobs,
        "runs": [_with_steps(status.history, run) for run in status.history.runs(limit=_RECENT_RUNS)],
        "totals": [
            {"job": t.job, "result": t.result, "runs": t.runs, "seconds": round(t.seconds, 3), "rows": t.rows}
            for t in status.history.totals()
        ],
        "database": _database(status, now),
        "health": _health(status.history),
        "backups": _backups(status.history),
        "history_fault": status.history.fault or None,
    }


def _with_steps(history: History, run: Run) -> dict[str, Any]:
    """Return a run with its steps, but without what they printed: that is for `umami-ops history`."""
    document = report(run)
    document["steps"] = [
        {
            "command": step.command,
            "seconds": round(step.seconds, 3),
            "exit_code": step.exit_code,
            "rows": step.rows,
            "size_bytes": step.size_bytes,
            "reason": step.reason or None,
        }
        for step in history.steps(run.id)
    ]
    return document


def _job(status: Status, job: Job, now: datetime) -> dict[str, Any]:
    history = status.history
    runs = history.runs(job=job.name, limit=_RUNS_OF_A_JOB)
    last = next((run for run in runs if run.result is not Result.RUNNING), None)
    success = history.runs(job=job.name, result=Result.SUCCESS, limit=1)
    limit = timedelta(seconds=float(status.configuration["daemon.overdue"]))
    due_since = status.dispatcher.overdue(job.name, now, limit, status.role)
    return {
        "name": job.name,
        "schedule": job.schedule.text if job.schedule else None,
        "timezone": job.schedule.zone.key if job.schedule else None,
        "steps": [step.text for step in job.steps],
        "next_run": moment(status.dispatcher.next_runs().get(job.name)),
        "state": status.dispatcher.state(job.name),
        "running_since": moment(runs[0].started_at) if runs and runs[0].result is Result.RUNNING else None,
        "overdue_since": moment(due_since),
        "last_run": report(last) if last else None,
        "last_success": moment(success[0].ended_at) if success else None,
        "recent": [
            {
                "started_at": moment(run.started_at),
                "result": run.result,
                "seconds": run.seconds,
                "cause": run.cause,
            }
            for run in reversed(runs)
        ],
    }


def _problems(status: Status, jobs: list[dict[str, Any]], now: datetime) -> Any:
    """Yield what makes /healthz red, in sentences."""
    if now - status.ticked_at > _HANGS:
        yield "The daemon's loop hangs."
    if status.role is Role.AWAY and now - status.role_since > _AWAY_TOO_LONG:
        why = f": {status.away.message}" if status.away else "."
        yield f"The database is away since {status.role_since:%Y-%m-%d %H:%M} UTC{why}"
    for job in jobs:
        if job["overdue_since"]:
            yield f"{job['name']} is overdue since {job['overdue_since']}."
        last = status.history.verdict(job["name"])
        if last and last.result is Result.FAILURE and status.role is not Role.STANDBY:
            yield f"The last run of {job['name']} failed: {last.reason or 'for no known reason.'}"


def _database(status: Status, now: datetime) -> dict[str, Any] | None:
    """Return size, growth and outlook, or None before the first look."""
    kept = status.history.kept("info")
    if kept is None or "tables" not in kept[1]:
        return None
    read_at, info = kept
    sizes = status.history.sizes()
    events: dict[str, Any] = next((t for t in info["tables"] if t["name"] == "website_event"), {})
    first = [website["first_event"] for website in info["websites"] if website["first_event"]]
    oldest = datetime.fromisoformat(min(first)) if first else None
    per_day = sum(website["events_per_day"]["value"] for website in info["websites"])
    keeps_days = _keeps_days(status.configuration)
    to_come = forecast(sizes, now, events_per_day=per_day, oldest_event=oldest, keeps_days=keeps_days)
    total = info["totals"]["table_bytes"] + info["totals"]["index_bytes"]
    ahead = [now + timedelta(days=_FORECAST_DAYS * step / 12) for step in range(13)]
    return {
        "read_at": moment(read_at),
        "server": info["server"]["title"],
        "name": info["server"]["database"],
        "umami": info["umami"]["release"],
        "size_bytes": total,
        "index_bytes": info["totals"]["index_bytes"],
        "events": events.get("rows"),
        "events_estimated": events.get("estimated"),
        "events_per_day": round(per_day, 1),
        "oldest_event": moment(oldest),
        "keeps_days": keeps_days,
        "tables": [
            {
                "name": table["name"],
                "table_bytes": table["table_bytes"],
                "index_bytes": table["index_bytes"],
                "rows": table["rows"],
            }
            for table in info["tables"]
        ],
        "sizes": [{"at": moment(size.taken_at), "bytes": size.total_bytes} for size in sizes],
        "forecast": None
        if to_come is None
        else {
            "bytes_per_day": round(to_come.bytes_per_day),
            "level_bytes": to_come.level_bytes,
            "level_at": moment(to_come.level_at),
            "points": [{"at": moment(when), "bytes": to_come.at(when, now, total)} for when in ahead],
        },
    }


def _keeps_days(configuration: Configuration) -> float | None:
    """Return the horizon of the prune that is scheduled, if there is one."""
    for job in configuration.jobs:
        for step in job.steps:
            if step.keeps_days and job.schedule is not None:
                return step.keeps_days
    return None


def _health(history: History) -> dict[str, Any] | None:
    kept = history.kept("health")
    if kept is None:
        return None
    read_at, health = kept
    looked = [check for check in health["checks"] if check["severity"] is not None]
    return {
        "examined_at": moment(read_at),
        "severity": health["severity"],
        "findings": [
            {name: finding[name] for name in ("check", "severity", "subject", "sentence", "why", "cure")}
            for finding in health["findings"]
        ],
        "checks": health["checks"],
        "fine": sum(check["severity"] == "ok" for check in looked),
    }


def _backups(history: History) -> list[dict[str, Any]]:
    """Return the steps of the last runs that made a backup, the newest first."""
    found = []
    for run in history.runs_of("backup", limit=_BACKUP_RUNS):
        for step in history.steps(run.id) if run.ended_at else ():
            if _makes_backup(step.command):
                document = step.report or {}
                found.append(
                    {
                        "at": moment(run.ended_at),
                        "command": step.command,
                        "ok": step.exit_code == 0,
                        "name": document.get("name"),
                        "size_bytes": step.size_bytes,
                        "verified": document.get("verified"),
                        "seconds": round(step.seconds, 3),
                        "reason": step.reason or None,
                    }
                )
    return found[:10]


def _makes_backup(command: str) -> bool:
    first, *others = command.removeprefix("umami-ops ").split()
    return first == "backup" and (not others or others[0] == "create" or others[0].startswith("-"))


def parsed(text: str) -> datetime:
    """Return the time that a snapshot has as text."""
    return datetime.fromisoformat(text).astimezone(UTC)
