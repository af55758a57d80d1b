"""What runs now, what waits, and what is left out: the daemon's decisions, without its threads. Knows no
clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from umami_ops.daemon.agenda import Agenda, Due
from umami_ops.daemon.guard import Role
from umami_ops.daemon.jobs import Job


class Dispatcher:
    """One job at a time, in the order in which they came due; a job that waits or runs is not begun twice."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._waiting: dict[str, Due] = {}
        self.running: Due | None = None
        self._late_since: datetime | None = None

    def again(self, due: Due) -> None:
        """Put a job in front that has to be run once more: it was interrupted, or could not begin.

        It is run as it is configured by now, and not at all where that has gone.
        """
        if (job := self._agenda.job(due.job.name)) is not None:
            self._waiting = {job.name: replace(due, job=job), **self._waiting}

    def tick(self, now: datetime, role: Role) -> list[Due]:
        """Look what is due; return what was left out, since the run before is still going."""
        if role is not Role.LEADER:
            return []
        left_out = []
        for due in self._agenda.due(now):
            name = due.job.name
            if self.state(name) == "idle":
                self._waiting[name] = due
                continue
            left_out.append(due)
            if name not in self._waiting:
                self._late_since = self._late_since or due.slot
                self._agenda.keep(name)
        return left_out

    def done(self) -> dict[str, datetime]:
        """Return the last slot of each job that is over: run, left out, or another daemon's."""
        return {name: slot for name, slot in self._agenda.dealt_with().items() if self.state(name) == "idle"}

    def open_slots(self, now: datetime, role: Role) -> dict[str, list[datetime]]:
        """Return the slots of each job that another daemon may be done with, in order.

        On standby that are all that this one would run if it led; the leader may find that what it waits for
        the lock to run was still going elsewhere.
        """
        marks = self._agenda.dealt_with()
        found = self._agenda.open_slots(now) if role is Role.STANDBY else {}
        for name, due in self._waiting.items():
            found[name] = sorted({due.slot, marks.get(name, due.slot), *found.get(name, ())})
        return found

    def pass_over(self, seen: Mapping[str, datetime]) -> None:
        """Leave to another daemon what it was seen to be done with: all up to a slot, job by job."""
        for name, slot in seen.items():
            self._agenda.pass_over(name, slot)
            if name in self._waiting and self._waiting[name].slot <= slot:
                del self._waiting[name]

    def take(self) -> Due | None:
        """Return the job to begin now, if there is one and none runs."""
        if self.running is not None or not self._waiting:
            return None
        self.running = self._waiting.pop(next(iter(self._waiting)))
        return self.running

    def begun(self, due: Due) -> None:
        """Note that a run stands in the history, so that a restart need not make up for its slot."""
        self._agenda.keep(due.job.name)

    def finished(self) -> None:
        """Note that the job which ran has ended."""
        self.running = self._late_since = None

    def replace(self, jobs: Iterable[Job], now: datetime) -> None:
        """Take other jobs; what waits and is still scheduled goes on waiting."""
        jobs = list(jobs)
        self._agenda.replace(jobs, now)
        by_name = {job.name: job for job in jobs if job.schedule is not None}
        self._waiting = {
            name: Due(by_name[name], due.slot, due.missed, due.is_catch_up)
            for name, due in self._waiting.items()
            if name in by_name
        }

    def state(self, job: str) -> str:
        """Return whether a job is running, waiting or idle."""
        if self.running is not None and self.running.job.name == job:
            return "running"
        return "waiting" if job in self._waiting else "idle"

    def overdue(self, job: str, now: datetime, limit: timedelta, role: Role) -> datetime | None:
        """Return since when a job should have begun, if that is longer than the limit; on standby never.

        One whose run before is still going should have begun at the first time that was left out for that.
        """
        if role is Role.STANDBY:
            return None
        match self.state(job):
            case "running":
                since = self._late_since
            case "waiting":
                since = self._waiting[job].slot
            case _:
                since = self._agenda.waiting_since(job, now)
        return since if since is not None and now - since > limit else None

    def next_runs(self) -> dict[str, datetime | None]:
        """Return each scheduled job's next run."""
        return self._agenda.next_runs()

    def next_wake(self) -> datetime | None:
        """Return when something is due next."""
        return self._agenda.next_wake()
