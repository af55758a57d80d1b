"""Checks of whether page views still arrive, website by website, against each one's own rhythm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from umami_ops.operations.health.check import (
    Examination,
    Finding,
    Measure,
    Outcome,
    Severity,
    Unseen,
    check,
    some,
    span,
)

_WEBSITES = 100
#: With fewer events than this no rhythm is known.
_ENOUGH_EVENTS = 20


@dataclass(frozen=True)
class _Rhythm:
    """When a website was last heard of, and how long it was silent at most before that."""

    name: str
    last_event: datetime
    longest_pause_seconds: float
    events: int


def events_per_day(examination: Examination) -> float | None:
    """Return about how many events a day there were of late, by the planner; None where there are none."""
    oldest = (examination.row("oldest_event") or {}).get("oldest")
    if oldest is None or not examination.limits.growth_days:
        return None
    days = min(examination.limits.growth_days, max((examination.now - oldest).total_seconds() / 86_400, 1))
    query = examination.connection.dialect.queries["health.recent_events"]
    recent = examination.connection.estimate(query, since=examination.now - timedelta(days=days))
    return float(recent / days)


@check(
    title="Silent websites",
    why="A tracker that was lost in a website's new release, or an Umami that can't write, is noticed weeks "
    "later.",
    rule="warning when a website is silent for `silence_hours` and `silence_factor` times its longest pause "
    "among its "
    "last `sample_rows` events; critical when that is so of every website heard of in `silence_forget_days`",
    cure="Open the website and look whether it calls /api/send; look into Umami's log.",
    thresholds=("silence_hours", "silence_factor", "silence_forget_days", "sample_rows"),
    measures={"last_event_timestamp_seconds": "When the newest event of any website happened."},
)
def silent_websites(examination: Examination) -> Iterator[Outcome]:
    """Compare each website's silence with the pauses it made before."""
    limits = examination.limits
    websites = examination.connection.rows(examination.connection.dialect.queries["info.websites"])
    alive = [website for website in websites if website["deleted_at"] is None]
    known, looked_at = list[_Rhythm](), 0
    for website in alive[:_WEBSITES]:
        if not examination.has_time:
            break
        looked_at += 1
        if rhythm := _rhythm(examination, website):
            known.append(rhythm)
    if looked_at < len(alive):
        yield Unseen(f"more time, for {len(alive) - looked_at} further websites")
    if known:
        newest = max(rhythm.last_event for rhythm in known)
        yield Measure("last_event_timestamp_seconds", newest.timestamp())
    in_use = [r for r in known if _silence(examination, r) < limits.silence_forget_days * 86_400]
    silent = [r for r in in_use if _is_silent(examination, r)]
    if len(silent) > 1 and len(silent) == len(in_use):
        seconds = min(_silence(examination, rhythm) for rhythm in silent)
        yield Finding(
            Severity.CRITICAL,
            f"No website has sent anything for {span(seconds)}: {some([rhythm.name for rhythm in silent])}.",
            "Look into Umami's log, and whether /api/send answers.",
            evidence={"silent_seconds": round(seconds), "websites": len(silent)},
        )
        return
    for rhythm in silent:
        seconds = _silence(examination, rhythm)
        yield Finding(
            Severity.WARNING,
            f"{rhythm.name} has sent nothing for {span(seconds)}; its longest pause before was "
            f"{span(rhythm.longest_pause_seconds)}.",
            "Open the website and look whether it calls Umami's /api/send.",
            rhythm.name,
            {
                "silent_seconds": round(seconds),
                "last_event": rhythm.last_event,
                "longest_pause_seconds": round(rhythm.longest_pause_seconds),
                "events_looked_at": rhythm.events,
            },
        )


def _rhythm(examination: Examination, website: dict[str, object]) -> _Rhythm | None:
    sample = examination.limits.sample_rows
    row = examination.row("rhythm", website=website["id"], now=examination.now, sample=sample)
    if row is None or row["last_event"] is None:
        return None
    pause = float(row["longest_pause_seconds"] or 0)
    return _Rhythm(str(website["name"]), row["last_event"], pause, int(row["events"]))


def _silence(examination: Examination, rhythm: _Rhythm) -> float:
    return (examination.now - rhythm.last_event).total_seconds()


def _is_silent(examination: Examination, rhythm: _Rhythm) -> bool:
    limits = examination.limits
    usual = max(limits.silence_hours * 3600, limits.silence_factor * rhythm.longest_pause_seconds)
    return rhythm.events >= _ENOUGH_EVENTS and _silence(examination, rhythm) >= usual
