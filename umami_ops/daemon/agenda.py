"""Which job is due at a moment, which slots passed without a run, and what comes next. Knows no clock, no
thread.

Each job has a mark: the last slot that was dealt with. What lies between mark and now is due, once, however
many slots that are; so a sleep or a restart is caught up with a single run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from umami_ops.daemon.jobs import Job
from umami_ops.daemon.schedule import jitter

#: A slot noticed later than this was missed: the machine slept, the daemon or the database was away.
PROMPT = timedelta(seconds=60)
#: A mark so far ahead was made by a clock that went wrong; smaller steps back are everyday life.
_CLOCK_STEP = timedelta(hours=1)
_MOST_COUNTED = 10_000
#: Of a job that waits for another daemon to be done with it, the newest slots by which that is recognised.
_MOST_OPEN = 16
#: The clock of another daemon may be ahead of this one's by as much.
_CLOCK_SKEW = timedelta(minutes=1)


@dataclass(frozen=True)
class Mark:
    """The last slot of a job that was dealt with, under the schedule that it had then."""

    schedule: str
    slot: datetime


class Marks(Protocol):
    """Where marks outlive the daemon."""

    def marks(self) -> Mapping[str, Mark]:
        """Return all marks by job."""

    def mark(self, job: str, mark: Mark) -> None:
        """Keep a job's mark."""

    def forget_marks(self, jobs: Collection[str]) -> None:
        """Let go of all marks but those of some jobs."""


@dataclass(frozen=True)
class Due:
    """A job to run now: for which slot, and how many earlier slots passed without a run."""

    job: Job
    slot: datetime
    missed: int = 0
    is_catch_up: bool = False


class _Entry:
    """A job, its mark, the first slot after that, and those that have come since."""

    def __init__(self, job: Job, mark: datetime) -> None:
        self.job = job
        self.place(mark)

    def place(self, mark: datetime) -> None:
        """Put the mark somewhere."""
        assert self.job.schedule is not None
        self.mark = mark
        self._coming = self.job.schedule.slots(mark)
        self.slot = next(self._coming, None)
        self._arrive(mark)

    def advance(self) -> None:
        """Move the mark to the first slot after it."""
        assert self.slot is not None
        self.mark, self.slot = self.slot, next(self._coming, None)

    def _arrive(self, since: datetime) -> None:
        assert self.job.schedule is not None
        self._open: deque[datetime] = deque(maxlen=_MOST_OPEN)
        self._arriving = self.job.schedule.slots(since)
        self._next = next(self._arriving, None)

    def open_slots(self, now: datetime) -> list[datetime]:
        """Return the newest slots between the mark and now, and the next one if it is about to come."""
        for _ in range(_MOST_COUNTED):
            if self._next is None or self._next > now:
                break
            self._open.append(self._next)
            self._next = next(self._arriving, None)
        else:
            self._arrive(now)
        coming = [self._next] if self._next is not None and self._next - now <= _CLOCK_SKEW else []
        return [slot for slot in (*self._open, *coming) if slot > self.mark]

    @property
    def runs_at(self) -> datetime | None:
        """When the job runs for the first slot: later by its jitter."""
        return (
            None
            if self.slot is None
            else self.slot + jitter(self.job.name, self.slot, self.job.jitter_seconds)
        )


class Agenda:
    """The jobs and their marks. Call `due` when jobs can run and `keep` when one begins; `pass_over` when
    another daemon has run them.
    """

    def __init__(self, jobs: Iterable[Job], marks: Marks, now: datetime) -> None:
        self._marks = marks
        self._entries: dict[str, _Entry] = {}
        self.replace(jobs, now)

    def replace(self, jobs: Iterable[Job], now: datetime) -> None:
        """Take other jobs. One that is new, was switched off, or has another schedule, has missed nothing."""
        known = {name: Mark(_key(entry.job), entry.mark) for name, entry in self._entries.items()}
        known = {**self._marks.marks(), **known}
        self._entries = {}
        for job in jobs:
            if job.schedule is None:
                continue
            before = known.get(job.name)
            is_known = before is not None and before.schedule == _key(job)
            mark = before.slot if before is not None and is_known else now
            if mark - now > _CLOCK_STEP:
                mark = now
            self._entries[job.name] = _Entry(job, mark)
            if mark is now:
                self._marks.mark(job.name, Mark(_key(job), now))
        self._marks.forget_marks(self._entries)

    def due(self, now: datetime) -> list[Due]:
        """Return the jobs to run now, the longest due first, and move their marks: each is returned once, if
        the daemon lives on.
        """
        self._heed_clock(now)
        found = []
        for entry in self._entries.values():
            first = entry.runs_at
            if first is None or first > now:
                continue
            last, count = self._move(entry, now)
            found.append((first, Due(entry.job, last, count - 1, is_catch_up=now - first > PROMPT)))
        return [due for _, due in sorted(found, key=lambda pair: pair[0])]

    def keep(self, job: str) -> None:
        """Let a job's mark outlive the daemon; what a job waits for is due again after a restart."""
        if (entry := self._entries.get(job)) is not None:
            self._marks.mark(job, Mark(_key(entry.job), entry.mark))

    def pass_over(self, job: str, until: datetime) -> None:
        """Take a job's slots up to one of them as dealt with by somebody else."""
        entry = self._entries.get(job)
        if entry is not None and entry.mark < until:
            entry.place(until)
            self.keep(job)

    def open_slots(self, now: datetime) -> dict[str, list[datetime]]:
        """Return of each job the newest slots that have come and were not dealt with."""
        self._heed_clock(now)
        return {name: entry.open_slots(now) for name, entry in self._entries.items()}

    def dealt_with(self) -> dict[str, datetime]:
        """Return each job's mark."""
        return {name: entry.mark for name, entry in self._entries.items()}

    def _heed_clock(self, now: datetime) -> None:
        """Move back the marks of a clock that was far ahead: nothing would be due until it is that late."""
        for name, entry in self._entries.items():
            if entry.mark - now > _CLOCK_STEP:
                entry.place(now)
                self.keep(name)

    def _move(self, entry: _Entry, now: datetime) -> tuple[datetime, int]:
        """Move a mark to the last slot that is due; return that, and the number of slots on the way."""
        count = 0
        while entry.slot is not None and entry.slot <= now:
            if count and (entry.runs_at or now) > now:
                break
            entry.advance()
            count += 1
            if count == _MOST_COUNTED:  # a job of every second, after a day
                entry.place(now)
        return entry.mark, count

    def waiting_since(self, job: str, now: datetime) -> datetime | None:
        """Return since when a job should have been run that `due` has not been asked about; None if it
        isn't.
        """
        entry = self._entries.get(job)
        at = entry.runs_at if entry else None
        return at if at is not None and at <= now else None

    def job(self, name: str) -> Job | None:
        """Return a scheduled job as it is at present; None where there is none."""
        entry = self._entries.get(name)
        return entry.job if entry else None

    def next_runs(self) -> dict[str, datetime | None]:
        """Return each job's next run."""
        return {name: entry.runs_at for name, entry in self._entries.items()}

    def next_wake(self) -> datetime | None:
        """Return when something is due next."""
        return min((at for at in self.next_runs().values() if at is not None), default=None)


def _key(job: Job) -> str:
    assert job.schedule is not None
    return f"{job.schedule.text} {job.schedule.zone.key}"
