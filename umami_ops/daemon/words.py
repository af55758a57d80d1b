"""Numbers, times and schedules in words, for the page. Pure."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from umami_ops.daemon.schedule import NICKNAMES

_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAYS = ("Sundays", "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")


def size(size_bytes: float) -> str:
    """Return `1.2 GB`, with a minus sign where it is below zero."""
    value = abs(float(size_bytes))
    unit = "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    number = f"{value:.0f}" if unit == "B" or value >= 9.95 else f"{value:.1f}"
    return f"{'−' if size_bytes < 0 else ''}{number} {unit}"


def duration(seconds: float) -> str:
    """Return `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min` or `3 d 4 h`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for large, small, large_name, small_name in (
        (86_400, 3_600, "d", "h"),
        (3_600, 60, "h", "min"),
        (60, 1, "min", "s"),
    ):
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large} {large_name}" + (f" {rest} {small_name}" if rest else "")
    return f"{whole} s"


def distance(when: datetime, now: datetime) -> str:
    """Return `in 6 h` or `3 min ago`, in the largest unit."""
    seconds = (when - now).total_seconds()
    span = abs(seconds)
    for unit_seconds, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if span >= unit_seconds * (2 if name == "days" else 1):
            words = f"{span / unit_seconds:.0f} {name}"
            return f"in {words}" if seconds > 0 else f"{words} ago"
    return "in a moment" if seconds > 0 else "just now"


def clock(when: datetime, now: datetime, zone: ZoneInfo) -> str:
    """Return `03:00` for today, `Mon 03:00` for the days around, `29 Nov 03:00`, or `29 Nov 2025`."""
    local, today = when.astimezone(zone), now.astimezone(zone)
    days = abs((local.date() - today.date()).days)
    if days == 0:
        return f"{local:%H:%M}"
    if days < 7:
        return f"{local:%a %H:%M}"
    return f"{local:%-d %b %H:%M}" if days < 300 else f"{local:%-d %b %Y}"


def schedule(text: str) -> str:
    """Return the plain schedules in words and others as they are."""
    fields = NICKNAMES.get(text, text).split()
    if text.startswith("@every "):
        return f"every {text.removeprefix('@every ')}"
    if len(fields) != 5 or not re.fullmatch(r"\d+", fields[0]):
        return text
    minute, hour, day, month, weekday = fields
    if hour == "*" and (day, month, weekday) == ("*", "*", "*"):
        return "every hour" if minute == "0" else f"every hour at :{int(minute):02}"
    if not re.fullmatch(r"\d+", hour) or month != "*":
        return text
    at = f"{int(hour):02}:{int(minute):02}"
    if (day, weekday) == ("*", "*"):
        return f"every day at {at}"
    if weekday.lower() in _NAMES:
        weekday = str(_NAMES.index(weekday.lower()))
    if day == "*" and re.fullmatch(r"[0-7]", weekday):
        return f"{_DAYS[int(weekday)]} at {at}"
    if weekday == "*" and re.fullmatch(r"\d+", day):
        return f"day {day} of the month at {at}"
    return text
