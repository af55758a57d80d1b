"""What prune must leave, worked out in plain Python over rows as dictionaries: no SQL, no index, no batches.

It says each rule of retention once, in the words of the issue, and nothing of how a database gets there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Row = Mapping[str, Any]
#: Table → its rows. A table that the schema lacks may be missing, or empty.
Rows = Mapping[str, Sequence[Row]]

TABLES = (
    "website_event",
    "event_data",
    "revenue",
    "session",
    "session_data",
    "session_link",
    "session_replay",
    "session_replay_saved",
    "heatmap_event",
)


@dataclass(frozen=True)
class Rules:
    """What is asked for. A horizon of None prunes nothing; `only` and `except_` are website ids."""

    events: datetime | None
    heatmaps: datetime | None
    replays: datetime | None
    sessions: datetime | None
    only: frozenset[str] = frozenset()
    except_: frozenset[str] = frozenset()
    delete_undated: bool = False
    delete_orphans: bool = False

    def chooses(self, row: Row) -> bool:
        """Whether the row's website, link or pixel is one that the prune is about."""
        website = row["website_id"]
        return (not self.only or website in self.only) and website not in self.except_

    def is_past(self, row: Row, horizon: datetime | None) -> bool:
        """Whether the row is older than the horizon; without a time only if that counts as old."""
        if horizon is None:
            return False
        at: datetime | None = row["created_at"]
        return self.delete_undated if at is None else at < horizon


def survivors(rows: Rows, rules: Rules) -> dict[str, list[Row]]:
    """Return the rows that stay, by table."""
    before = {table: list(rows.get(table, ())) for table in TABLES}
    after = dict(before)
    after["website_event"] = _kept_events(before, rules)
    for table, column in (("event_data", "website_event_id"), ("revenue", "event_id")):
        after[table] = _kept_details(before, after, rules, table, column)
    after["heatmap_event"] = _without(
        before["heatmap_event"], lambda row: rules.chooses(row) and rules.is_past(row, rules.heatmaps)
    )
    after["session_replay"] = _kept_replays(before, rules)
    return after | _kept_sessions(before, after, rules)


def _without(rows: Sequence[Row], goes: Callable[[Row], bool]) -> list[Row]:
    return [row for row in rows if not goes(row)]


def _kept_events(before: Rows, rules: Rules) -> list[Row]:
    return _without(
        before["website_event"], lambda row: rules.chooses(row) and rules.is_past(row, rules.events)
    )


def _kept_details(before: Rows, after: Rows, rules: Rules, table: str, column: str) -> list[Row]:
    """What hangs on an event shares its fate; without one it is an orphan."""
    all_events = {row["event_id"] for row in before["website_event"]}
    kept_events = {row["event_id"] for row in after["website_event"]}

    def goes(row: Row) -> bool:
        if row[column] in all_events:
            return row[column] not in kept_events
        return rules.delete_orphans and rules.chooses(row)

    return _without(before[table], goes)


def _kept_replays(before: Rows, rules: Rules) -> list[Row]:
    """A visit's chunks go together, when each is past and nobody saved the visit."""
    saved = {row["visit_id"] for row in before["session_replay_saved"]}
    chunks: dict[tuple[str, str], list[Row]] = {}
    for row in before["session_replay"]:
        chunks.setdefault((row["website_id"], row["visit_id"]), []).append(row)
    return [
        row
        for (_, visit), visits in chunks.items()
        for row in visits
        if visit in saved
        or not rules.chooses(row)
        or not all(rules.is_past(chunk, rules.replays) for chunk in visits)
    ]


def _kept_sessions(before: Rows, after: Rows, rules: Rules) -> dict[str, list[Row]]:
    """The rows of one session id go together, when nothing kept refers to it and none of them is kept."""
    referring = ("website_event", "revenue", "session_replay", "heatmap_event")
    referred = {row["session_id"] for table in referring for row in after[table]}
    recent = {
        row["session_id"]
        for table in ("session_data", "session_link")
        for row in before[table]
        if not rules.is_past(row, rules.sessions)
    }
    gone = {
        row["session_id"]
        for row in before["session"]
        if rules.chooses(row)
        and rules.is_past(row, rules.sessions)
        and row["session_id"] not in referred | recent
    }
    all_sessions = {row["session_id"] for row in before["session"]}

    def is_doomed_orphan(row: Row) -> bool:
        is_orphan = row["session_id"] not in all_sessions | referred
        return is_orphan and rules.delete_orphans and rules.chooses(row)

    def of_gone(row: Row) -> bool:
        return row["session_id"] in gone

    return {
        "session": _without(before["session"], of_gone),
        "session_link": _without(before["session_link"], of_gone),
        "session_data": _without(before["session_data"], lambda row: of_gone(row) or is_doomed_orphan(row)),
    }


def half_deleted(before: Rows, after: Rows) -> list[str]:
    """Return what an interrupted prune must never leave: an event, visit or session with part of its rows."""
    found = []
    for table, column, parents, key in (
        ("event_data", "website_event_id", "website_event", "event_id"),
        ("revenue", "event_id", "website_event", "event_id"),
        ("session_data", "session_id", "session", "session_id"),
        ("session_link", "session_id", "session", "session_id"),
    ):
        whole = {row[key] for row in before.get(parents, ())}
        there = {row[key] for row in after.get(parents, ())}
        was, now = _by(before, table, (column,)), _by(after, table, (column,))
        for (parent,), number in was.items():
            due = number if parent in there or parent not in whole else 0
            if now.get((parent,), 0) != due:
                found.append(f"{table} of {parent}: {number} before, {now.get((parent,), 0)} now, {due} due")
    visit = ("website_id", "visit_id")
    was, now = _by(before, "session_replay", visit), _by(after, "session_replay", visit)
    found += [f"{now[key]} of {was[key]} chunks of {key}" for key in now if now[key] != was[key]]
    return found


def _by(rows: Rows, table: str, columns: tuple[str, ...]) -> dict[tuple[Any, ...], int]:
    """Count a table's rows by these columns."""
    counts: dict[tuple[Any, ...], int] = {}
    for row in rows.get(table, ()):
        key = tuple(row[column] for column in columns)
        counts[key] = counts.get(key, 0) + 1
    return counts
