"""Retention horizons: the moment before which data goes, from what a person types. Knows no database."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta

from umami_ops.errors import UsageFault

_AGE = re.compile(r"(\d+)\s*(d|days?|w|weeks?|mo|months?|y|years?)", re.IGNORECASE)
_OLDEST = datetime(1970, 1, 2, tzinfo=UTC)


def before_days(days: int, now: datetime) -> datetime:
    """Return exactly `now` minus `days` times 24 hours. Raises UsageFault for none, or too many."""
    if days < 1:
        raise UsageFault(f"--days {days} would keep nothing: it takes a whole number from 1 on.")
    try:
        return _checked(now - timedelta(days=days), f"--days {days}", now)
    except OverflowError:
        raise _too_old(f"--days {days}") from None


def before_age(age: str, now: datetime, *, option: str = "--keep") -> datetime:
    """Return `now` minus an age such as 30d, 8w, 13mo or 2y; months and years are the calendar's.

    A month before the 31st is the last day of a shorter month. Raises UsageFault.
    """
    match = _AGE.fullmatch(age.strip())
    if match is None or int(match[1]) < 1:
        raise UsageFault(
            f"{option} {age!r} is not an age.", hint="Write a number and a unit: 30d, 8w, 13mo or 2y."
        )
    number, unit = int(match[1]), match[2].lower()
    try:
        if unit.startswith("mo"):
            horizon = _months_before(now, number)
        elif unit.startswith("y"):
            horizon = _months_before(now, 12 * number)
        else:
            horizon = now - timedelta(days=number * (7 if unit.startswith("w") else 1))
    except (OverflowError, ValueError):
        raise _too_old(f"{option} {age}") from None
    return _checked(horizon, f"{option} {age}", now)


def before_date(date: str, now: datetime) -> datetime:
    """Return the moment a person wrote for --before. Raises UsageFault where it isn't past."""
    return _checked(moment_of(date, "--before"), f"--before {date}", now)


def moment_of(date: str, option: str) -> datetime:
    """Return the moment a person wrote: a day (its midnight) or a time, in UTC unless it says otherwise."""
    try:
        moment = datetime.fromisoformat(date.strip())
    except ValueError:
        raise UsageFault(
            f"{option} {date!r} is not a date.", hint="Write 2025-06-30 or 2025-06-30T12:00:00+02:00."
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise UsageFault(f"{option} {date} lies outside the years that there are in UTC.") from None


def _months_before(now: datetime, months: int) -> datetime:
    year, month = divmod(now.year * 12 + now.month - 1 - months, 12)
    day = min(now.day, calendar.monthrange(year, month + 1)[1]) if year > 0 else 1
    return now.replace(year=year, month=month + 1, day=day)


def _checked(horizon: datetime, written: str, now: datetime) -> datetime:
    if horizon > now:
        raise UsageFault(f"{written} lies in the future: everything would go.")
    if horizon < _OLDEST:
        raise _too_old(written)
    return horizon


def _too_old(written: str) -> UsageFault:
    return UsageFault(
        f"{written} reaches back before 1970: nothing could be that old.", hint="Check the number."
    )
