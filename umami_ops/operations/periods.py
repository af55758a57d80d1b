"""Weeks, months, quarters and years in UTC: where they begin, and what a partition of one is called."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from umami_ops.databases.partitioning import Slot

#: From the shortest to the longest.
PERIODS = ("week", "month", "quarter", "year")
_MONTHS = {"month": 1, "quarter": 3, "year": 12}


def start_of(period: str, moment: datetime) -> datetime:
    """Return the beginning of the period that a moment lies in; weeks begin on Mondays (ISO 8601)."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "week":
        return day - timedelta(days=day.weekday())
    months = _MONTHS[period]
    return day.replace(month=(day.month - 1) // months * months + 1, day=1)


def end_of(period: str, moment: datetime) -> datetime:
    """Return the end of the period that a moment lies in, which is where the next one begins."""
    start = start_of(period, moment)
    if period == "week":
        return start + timedelta(days=7)
    years, month = divmod(start.month - 1 + _MONTHS[period], 12)
    return start.replace(year=start.year + years, month=month + 1)


def slots(period: str, since: datetime, until: datetime) -> Iterator[Slot]:
    """Yield the periods from one moment to another; the first and the last may be cut short by them."""
    while since < until:
        end = min(end_of(period, since), until)
        yield Slot(label(period, since), since, end)
        since = end


def label(period: str, start: datetime) -> str:
    """Return the name of the period that begins so: 2025, 2025_q3, 2025_08 or 2025_w32; else the day's."""
    if start != start_of(period, start):
        return f"{start:%Y_%m_%d}"
    if period == "week":
        year, week, _ = start.isocalendar()
        return f"{year}_w{week:02}"
    if period == "quarter":
        return f"{start.year}_q{(start.month + 2) // 3}"
    return f"{start:%Y}" if period == "year" else f"{start:%Y_%m}"


def period_of(since: datetime, until: datetime) -> str | None:
    """Return the period that a range is, or None."""
    for period in PERIODS:
        if since == start_of(period, since) and until == end_of(period, since):
            return period
    return None
