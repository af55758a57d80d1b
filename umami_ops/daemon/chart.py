"""The growth of the database as a drawn chart: SVG for the lines, HTML for the letters, which keep their
size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from typing import Any

from umami_ops.daemon import words
from umami_ops.daemon.status import parsed

#: The units of the drawing; it is stretched to the room that there is.
_WIDTH, _HEIGHT = 1000.0, 240.0
_LEAST_PAST = timedelta(days=14)


@dataclass(frozen=True)
class _Frame:
    """What the drawing shows: from when to when, and up to how many bytes."""

    begin: datetime
    end: datetime
    top_bytes: float

    def x(self, when: datetime) -> float:
        return _WIDTH * (when - self.begin).total_seconds() / (self.end - self.begin).total_seconds()

    def y(self, size_bytes: float) -> float:
        return _HEIGHT * (1 - size_bytes / self.top_bytes)

    def line(self, points: Sequence[tuple[datetime, float]]) -> str:
        return " ".join(f"{self.x(when):.1f},{self.y(size):.1f}" for when, size in points)


def growth(database: Mapping[str, Any], now: datetime) -> str:
    """Return the chart: what was, what is to be expected, and the line that retention draws."""
    past = [(parsed(point["at"]), float(point["bytes"])) for point in database["sizes"]]
    past = [*past, (now, float(database["size_bytes"]))]
    to_come = database["forecast"] or {}
    ahead = [(parsed(point["at"]), float(point["bytes"])) for point in to_come.get("points", [])]
    level = to_come.get("level_bytes")
    # As long a look ahead as back, but a month at least: a year ahead of a day's history would be a boast.
    begin = min(past[0][0], now - _LEAST_PAST)
    reach = max(now - begin, timedelta(days=30))
    ahead = [point for point in ahead if point[0] <= now + reach] or ahead[:1]
    if to_come and ahead[-1][0] < now + reach:
        ahead.append(_between(to_come["points"], min(now + reach, parsed(to_come["points"][-1]["at"]))))
    highest = max([size for _, size in (*past, *ahead)] + [float(level or 0)] + [1.0])
    frame = _Frame(
        begin, max(ahead[-1][0], now) if ahead else now + timedelta(days=1), _round_up(highest * 1.08)
    )
    return _drawn(frame, past, ahead, level, now, database)


def _between(points: Sequence[Mapping[str, Any]], when: datetime) -> tuple[datetime, float]:
    """Return the forecast at a time between two of its points."""
    for first, second in zip(points, points[1:], strict=False):
        if parsed(first["at"]) <= when <= parsed(second["at"]):
            span = (parsed(second["at"]) - parsed(first["at"])).total_seconds()
            share = (when - parsed(first["at"])).total_seconds() / span
            return when, first["bytes"] + share * (second["bytes"] - first["bytes"])
    return when, float(points[-1]["bytes"])


def _drawn(
    frame: _Frame,
    past: Sequence[tuple[datetime, float]],
    ahead: Sequence[tuple[datetime, float]],
    level: int | None,
    now: datetime,
    database: Mapping[str, Any],
) -> str:
    steps = [frame.top_bytes * share for share in (0.25, 0.5, 0.75)]
    grid = "".join(
        f'<line class="grid" x1="0" x2="{_WIDTH:.0f}" y1="{frame.y(step):.1f}" y2="{frame.y(step):.1f}"/>'
        for step in steps
    )
    area = f"{frame.line(past)} {frame.x(now):.1f},{_HEIGHT:.0f} {frame.x(past[0][0]):.1f},{_HEIGHT:.0f}"
    shapes = [
        grid,
        f'<polygon class="area" points="{area}"/>',
        f'<polyline class="past" points="{frame.line(past)}"/>',
    ]
    letters = [
        f'<span class="y" style="top:{100 * frame.y(step) / _HEIGHT:.1f}%">{words.size(step)}</span>'
        for step in steps
    ]
    if ahead:
        shapes.append(f'<polyline class="ahead" points="{frame.line([past[-1], *ahead[1:]])}"/>')
    legend = ['<span class="key past">so far</span>'] + (
        ['<span class="key ahead">expected</span>'] if ahead else []
    )
    if level is not None and level <= frame.top_bytes:
        y = frame.y(level)
        shapes.append(f'<line class="level" x1="0" x2="{_WIDTH:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        legend.append(
            f'<span class="key level">{database["keeps_days"]:g} days kept: {words.size(level)}</span>'
        )
    here = 100 * frame.x(now) / _WIDTH
    letters.append(
        f'<i class="here" style="left:{here:.1f}%;top:{100 * frame.y(past[-1][1]) / _HEIGHT:.1f}%"></i>'
    )
    return (
        f'<figure class="chart"><div class="plot"><svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" '
        f'preserveAspectRatio="none" role="img" aria-label="{escape(_told(past, ahead, level), quote=True)}">'
        f"{''.join(shapes)}</svg>{''.join(letters)}</div>"
        f'<div class="x"><span>{frame.begin:%-d %b %Y}</span>'
        f'<span class="now" style="left:{here:.1f}%">today</span><span>{frame.end:%-d %b %Y}</span></div>'
        f"<figcaption>{' '.join(legend)}</figcaption></figure>"
    )


def _told(
    past: Sequence[tuple[datetime, float]], ahead: Sequence[tuple[datetime, float]], level: int | None
) -> str:
    """Return the chart in a sentence, for those who can't see it."""
    told = f"Database size: {words.size(past[0][1])} on {past[0][0]:%Y-%m-%d}, {words.size(past[-1][1])} now"
    if ahead:
        told += f", about {words.size(ahead[-1][1])} expected on {ahead[-1][0]:%Y-%m-%d}"
    return told + (f"; retention levels it off at about {words.size(level)}" if level is not None else "")


def _round_up(size_bytes: float) -> float:
    """Return the next number that four even steps divide well."""
    unit = 1.0
    while unit * 10 < size_bytes:
        unit *= 10
    for factor in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10):
        if unit * factor >= size_bytes:
            return unit * factor
    return unit * 10
