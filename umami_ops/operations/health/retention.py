"""Checks of visitor data: what is too old, without a time, without its event, or there twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from umami_ops.operations.health.check import Examination, Finding, Measure, Outcome, Severity, check
from umami_ops.umami.schema import latest_level

#: The migration that deletes duplicates of session_data.
_DELETES_DUPLICATES = 23


@check(
    title="Retention",
    why="What is older than you mean to keep costs space and time, and perhaps breaks a promise of privacy.",
    rule="warning when the oldest event is more than `retention_slack_days` past `retention_days`",
    cure="umami-ops prune --days N",
    thresholds=("retention_days", "retention_slack_days"),
    measures={"oldest_event_timestamp_seconds": "When the oldest event happened."},
)
def retention(examination: Examination) -> Iterator[Outcome]:
    """Compare the oldest event with the horizon, if there is one."""
    row = examination.row("oldest_event")
    oldest = row["oldest"] if row else None
    if oldest is None:
        return
    yield Measure("oldest_event_timestamp_seconds", oldest.timestamp())
    limits = examination.limits
    late = examination.now - oldest - timedelta(days=limits.retention_days)
    if limits.retention_days and late > timedelta(days=limits.retention_slack_days):
        yield Finding(
            Severity.WARNING,
            f"The oldest event is of {oldest:%Y-%m-%d}, {late.days} days past the {limits.retention_days} to "
            "keep.",
            f"umami-ops prune --days {limits.retention_days}",
            evidence={
                "oldest_event": oldest,
                "days_late": late.days,
                "retention_days": limits.retention_days,
            },
        )


@check(
    title="Events without a time",
    why="No chart shows an event whose created_at is NULL, and no retention ever deletes it.",
    rule="warning when there is one; they are counted up to `sample_rows`",
    cure="umami-ops prune --days N --null-created-at delete",
    thresholds=("sample_rows",),
)
def undated_events(examination: Examination) -> Iterator[Outcome]:
    """Count events without a time, up to a limit."""
    sample = examination.limits.sample_rows
    row = examination.row("undated_events", sample=sample)
    found = int(row["found"]) if row else 0
    if found:
        number = f"{found:,} or more events have" if found >= sample else f"{found:,} events have"
        number = "1 event has" if found == 1 else number
        yield Finding(
            Severity.WARNING,
            f"{number} no created_at: charts don't show them, and retention passes them by.",
            f"umami-ops prune --days {examination.limits.retention_days or 365} --null-created-at delete "
            "--dry-run",
            "website_event",
            {"rows": found, "counted_to": sample},
        )


@check(
    title="Orphans",
    why="Rows whose event or session was deleted by hand are never shown again; event_data's are often the "
    "most.",
    rule="warning when `orphan_percent` of a sample of `sample_rows` rows are orphans, info when fewer are",
    cure="umami-ops prune --days N --orphans",
    thresholds=("orphan_percent", "sample_rows"),
    measures={"orphan_ratio": "Share of orphans in a sample of a table."},
)
def orphans(examination: Examination) -> Iterator[Outcome]:
    """Look each row of a sample's event or session up."""
    installation, limits = examination.installation, examination.limits
    if not installation.has("event_data", "website_event_id"):
        return
    words = [name for name in ("revenue", "session_data") if installation.has(name)]
    for row in examination.rows("orphans", *words, sample=limits.sample_rows):
        looked_at, found = int(row["looked_at"]), int(row["orphans"])
        if not looked_at:
            continue
        yield Measure("orphan_ratio", found / looked_at, row["table"])
        percent = 100 * found / looked_at
        if found:
            parent = "session" if row["table"] == "session_data" else "event"
            yield Finding(
                Severity.WARNING if percent >= limits.orphan_percent else Severity.INFO,
                f"{found:,} of {looked_at:,} rows of {row['table']} looked at have lost their {parent} "
                f"({percent:.1f} %).",
                f"umami-ops prune --days {limits.retention_days or 365} --orphans --dry-run",
                row["table"],
                {"looked_at": looked_at, "orphans": found, "orphan_percent": round(percent, 2)},
            )


@check(
    title="Sessions never used",
    why="Visitors without an event, revenue or recording are shown nowhere: what an import or a delete by "
    "hand left.",
    rule="warning when `unused_percent_of_sessions` of a sample of `sample_rows` older than a day were "
    "never used",
    cure="umami-ops prune --days N deletes those that are past the horizon.",
    thresholds=("unused_percent_of_sessions", "sample_rows"),
    measures={"unused_session_ratio": "Share of sessions of a sample that nothing refers to."},
)
def unused_sessions(examination: Examination) -> Iterator[Outcome]:
    """Look for whatever refers to each session of a sample."""
    installation, limits = examination.installation, examination.limits
    words = [name for name in ("revenue", "session_replay") if installation.has(name)]
    since = examination.now - timedelta(days=1)
    row = examination.row("unused_sessions", *words, sample=limits.sample_rows, since=since)
    looked_at, found = (int(row["looked_at"]), int(row["unused"])) if row else (0, 0)
    if not looked_at:
        return
    yield Measure("unused_session_ratio", found / looked_at)
    percent = 100 * found / looked_at
    if found and percent >= limits.unused_percent_of_sessions:
        yield Finding(
            Severity.WARNING,
            f"{found:,} of {looked_at:,} sessions looked at were never used ({percent:.0f} %).",
            f"umami-ops prune --days {limits.retention_days or 365} --dry-run",
            "session",
            {"looked_at": looked_at, "unused": found, "unused_percent": round(percent, 2)},
        )


@check(
    title="Duplicate session_data",
    why="Umami before migration 23 may write a visitor's property twice; that migration deletes all but one, "
    "and takes "
    "its time.",
    rule="info when a sample of `sample_rows` rows has any",
    cure="umami-ops upgrade prepare deletes them ahead, in short transactions.",
    thresholds=("sample_rows",),
)
def duplicate_session_data(examination: Examination) -> Iterator[Outcome]:
    """Look for rows of a sample with the same session and key as another."""
    if not examination.installation.has("session_data", "data_key"):
        return
    row = examination.row("duplicate_session_data", sample=examination.limits.sample_rows)
    looked_at, found = (int(row["looked_at"]), int(row["duplicates"])) if row else (0, 0)
    if found:
        yield Finding(
            Severity.INFO,
            f"{found:,} of {looked_at:,} rows of session_data looked at repeat another's session and key.",
            _cure_of_duplicates(examination),
            "session_data",
            {"looked_at": looked_at, "duplicates": found},
        )


def _cure_of_duplicates(examination: Examination) -> str:
    if latest_level(examination.connection.dialect.name) >= _DELETES_DUPLICATES:
        return "umami-ops upgrade prepare --to newest --dry-run"
    return "None is needed here; after a move to PostgreSQL `umami-ops upgrade prepare` deletes them."
