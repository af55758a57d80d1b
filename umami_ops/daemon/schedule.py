"""When a job runs: cron expressions, `@daily` and `@every 90s`, in a time zone. Pure; knows no clock.

APScheduler's triggers compute the times; what cron understands otherwise than they do is put right here.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from umami_ops.errors import UsageFault

#: Names for expressions, as cron has them.
NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS = ("minute", "hour", "day of month", "month", "day of week")
#: cron's numbers of the days; APScheduler would begin with Monday.
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"@every\s+(\d+(?:\.\d+)?)\s*(s|m|min|h|d)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
_EXAMPLE = "Write five fields as cron has them (0 3 * * *), @daily, @hourly or @every 30m."
#: Slots beyond so many count as so many: nobody needs to know how many seconds a month had.
_MOST_COUNTED = 10_000
#: No clock is set forward or back by more.
_LONGEST_CHANGE = timedelta(hours=3)


@dataclass(frozen=True)
class Schedule:
    """When a job is due, by its text. Equal texts in equal zones are equal schedules."""

    text: str
    zone: ZoneInfo
    _triggers: tuple[Any, ...] = field(compare=False, repr=False)
    _has_fixed_hour: bool = field(compare=False, repr=False, default=False)
    _is_span: bool = field(compare=False, repr=False, default=False)

    @classmethod
    def parse(cls, text: str, zone: ZoneInfo) -> Schedule:
        """Understand an expression. Raises UsageFault, which says what in it can't be."""
        from apscheduler.triggers.interval import IntervalTrigger

        written = " ".join(text.split())
        if every := _SPAN.fullmatch(written):
            seconds = float(every[1]) * _SECONDS[every[2]]
            if not 1 <= seconds <= 366 * 86_400:
                raise _wrong(text, "a span from 1s to 366d is possible")
            # Counted from the same moment everywhere, so that a restart, or another replica, has the same
            # slots.
            epoch = datetime(2024, 1, 1, tzinfo=UTC)
            trigger = IntervalTrigger(seconds=seconds, start_date=epoch, timezone=UTC)
            return cls(written, zone, (trigger,), _is_span=True)
        if written.startswith("@") and written not in NICKNAMES:
            raise _wrong(text, f"there are {', '.join(NICKNAMES)} and @every SPAN")
        fields = NICKNAMES.get(written, written).split(" ")
        if len(fields) != len(_FIELDS):
            raise _wrong(text, f"it has {len(fields)} fields, not five")
        triggers = tuple(_cron(part, text) for part in _alternatives(fields))
        # As in cron: a job of a fixed hour runs once where clocks are set back, others as hours go by.
        schedule = cls(written, zone, triggers, _has_fixed_hour=not fields[1].startswith("*"))
        if schedule.after(datetime(2024, 1, 1, tzinfo=UTC)) is None:
            raise _wrong(text, "that day never comes")
        return schedule

    def after(self, moment: datetime) -> datetime | None:
        """Return the first slot after a moment, in UTC; None where no day ever fits."""
        return next(self.slots(moment), None)

    def slots(self, moment: datetime) -> Iterator[datetime]:
        """Yield every slot after a moment, in UTC and in order."""
        if self._is_span:
            yield from self._fires(moment)
            return
        # Clocks are asked on the wall, and put into UTC only then: adding days to a time in a zone, as the
        # trigger would, is an hour off on the day after clocks were set forward, and loses that day's slot.
        wall = (moment - _LONGEST_CHANGE).astimezone(self.zone).replace(tzinfo=UTC)
        ahead: list[datetime] = []
        last = moment
        for fire in self._fires(wall):
            first, second = (fire.replace(tzinfo=self.zone, fold=fold).astimezone(UTC) for fold in (0, 1))
            while ahead and ahead[0] <= first:
                slot = heapq.heappop(ahead)
                if slot > last:
                    yield slot
                    last = slot
            is_there = first.astimezone(self.zone).replace(tzinfo=UTC) == fire
            if is_there or self._has_fixed_hour:
                heapq.heappush(ahead, first)
            if is_there and second > first and not self._has_fixed_hour:
                heapq.heappush(ahead, second)
        while ahead:
            slot = heapq.heappop(ahead)
            if slot > last:
                yield slot
                last = slot

    def _fires(self, moment: datetime) -> Iterator[datetime]:
        """Yield when a trigger fires after a moment, in order."""
        while True:
            begin = moment + timedelta(microseconds=1)
            found = [
                fire
                for trigger in self._triggers
                if (fire := trigger.get_next_fire_time(None, begin)) is not None
            ]
            if not found:
                return
            moment = min(found)
            yield moment

    def missed(self, since: datetime, until: datetime) -> int:
        """Count the slots in `since < slot <= until`, up to ten thousand."""
        count = 0
        for slot in islice(self.slots(since), _MOST_COUNTED):
            if slot > until:
                break
            count += 1
        return count


@lru_cache(maxsize=64)
def zone_named(name: str) -> ZoneInfo:
    """Return the time zone of that name. Raises UsageFault for one that isn't known here."""
    try:
        return ZoneInfo(name.removeprefix(":"))
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise UsageFault(
            f"There is no time zone {name!r}.", hint="Write it as Europe/Berlin, America/New_York or UTC."
        ) from None


def jitter(job: str, slot: datetime, limit_seconds: float) -> timedelta:
    """Return by how much a slot is put off: anything up to the limit, always the same for the same slot.

    So a restart in between neither repeats a slot nor loses one.
    """
    digest = hashlib.sha256(f"{job} {slot.timestamp():.0f}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return timedelta(seconds=round(share * limit_seconds, 3))


def _alternatives(fields: list[str]) -> Iterator[list[str]]:
    """Yield the field lists whose union is meant: cron joins a restricted day of month and of week by
    `or`.
    """
    minute, hour, day, month, weekday = fields
    if day.startswith("*") or weekday.startswith("*"):
        yield fields
    else:
        yield [minute, hour, day, month, "*"]
        yield [minute, hour, "*", month, weekday]


def _cron(fields: list[str], text: str) -> Any:
    from apscheduler.triggers.cron import CronTrigger

    minute, hour, day, month, weekday = (part.lower() for part in fields)
    for name, part in zip(_FIELDS, fields, strict=True):
        if not re.fullmatch(r"[0-9a-zA-Z*/,-]+", part):
            raise _wrong(text, f"{part!r} is no {name}")
    try:
        return CronTrigger(
            minute=minute,
            hour=hour,
            day=day,
            month=month,
            day_of_week=_days_of_week(weekday),
            second=0,
            timezone=UTC,
        )
    except ValueError as fault:
        raise _wrong(text, str(fault)) from None


def _days_of_week(part: str) -> str:
    """Return names in place of cron's numbers, ranges such as 5-7 and steps such as 1-5/2 written out."""
    names: list[str] = []
    for item in part.split(","):
        # A step without an end goes on to Saturday, the week of cron's beginning on Sunday.
        spelt = re.sub(r"^(\*|[^-]+)(?=/)", lambda start: "0-6" if start[0] == "*" else f"{start[0]}-6", item)
        found = re.fullmatch(r"(\d|[a-z]{3})(?:-(\d|[a-z]{3}))?(?:/(\d+))?", spelt)
        if found is None:
            names.append(item)
            continue
        first, last = _day_number(found[1]), _day_number(found[2] or found[1])
        if found[2] and last < first:
            last += 7
        names += [_DAYS[number % 7] for number in range(first, last + 1, max(int(found[3] or 1), 1))]
    return ",".join(dict.fromkeys(names))


def _day_number(name: str) -> int:
    number = int(name) if name.isdigit() else _DAYS.index(name) if name in _DAYS else -1
    if not 0 <= number <= 7:
        raise ValueError(f"{name!r} is no day of the week")
    return number


def _wrong(text: str, why: str) -> UsageFault:
    return UsageFault(f"The schedule {text!r} can't be understood: {why}.", hint=_EXAMPLE)
