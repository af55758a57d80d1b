"""How large the database will be: a straight line through the last weeks, up to what retention leaves.
Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from umami_ops.daemon.records import DatabaseSize

#: What growth is read from, once there is enough of it; before that, from the events of a day.
_LOOK_BACK, _ENOUGH = timedelta(days=30), timedelta(days=7)
_DAY_SECONDS = 86_400.0


@dataclass(frozen=True)
class Forecast:
    """What is to come: bytes a day, what retention levels off at (None without retention), and when."""

    bytes_per_day: float
    level_bytes: int | None
    level_at: datetime | None

    def at(self, when: datetime, now: datetime, size_bytes: int) -> int:
        """Return the size at a moment to come: growing up to the day when as much goes as comes."""
        until = when if self.level_at is None else min(when, max(self.level_at, now))
        grown = size_bytes + self.bytes_per_day * (until - now).total_seconds() / _DAY_SECONDS
        return max(round(grown), 0)


def forecast(
    sizes: Sequence[DatabaseSize],
    now: datetime,
    *,
    events_per_day: float | None = None,
    oldest_event: datetime | None = None,
    keeps_days: float | None = None,
) -> Forecast | None:
    """Return what is to be expected, or None where too little is known."""
    if not sizes:
        return None
    newest = sizes[-1]
    each = newest.total_bytes / newest.events if newest.events else None
    by_events = each * events_per_day if each is not None and events_per_day is not None else None
    per_day = _slope([size for size in sizes if size.taken_at >= now - _LOOK_BACK])
    per_day = by_events if per_day is None else per_day
    if per_day is None:
        return None
    if keeps_days is None or oldest_event is None:
        return Forecast(max(per_day, 0.0), None, None)
    level_at = oldest_event + timedelta(days=keeps_days)
    if level_at <= now:  # as much goes as comes, whatever the last weeks looked like
        return Forecast(0.0, newest.total_bytes, now)
    growth = max(per_day, 0.0)
    left_days = (level_at - now).total_seconds() / _DAY_SECONDS
    return Forecast(growth, round(newest.total_bytes + growth * left_days), level_at)


def _slope(sizes: Sequence[DatabaseSize]) -> float | None:
    """Return the bytes a day of the straight line that fits best; None where there is too little time
    between.
    """
    if len(sizes) < 3 or sizes[-1].taken_at - sizes[0].taken_at < _ENOUGH:
        return None
    first = sizes[0].taken_at
    days = [(size.taken_at - first).total_seconds() / _DAY_SECONDS for size in sizes]
    mean_day = sum(days) / len(days)
    mean_size = sum(size.total_bytes for size in sizes) / len(sizes)
    spread = sum((day - mean_day) ** 2 for day in days)
    together = sum(
        (day - mean_day) * (size.total_bytes - mean_size) for day, size in zip(days, sizes, strict=True)
    )
    return together / spread
