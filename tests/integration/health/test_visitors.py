"""What `umami-ops health` finds in visitor data: retention, orphans, silence."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from testbed.servers import Server
from tests.examining import OTHER, WEBSITE, execute, finding_of, findings_of, insert_events, opened, undone
from umami_ops.operations.health import Severity
from umami_ops.sql import Query


def test_events_past_the_horizon(healthy: str) -> None:
    assert findings_of(healthy, "retention") == []
    assert findings_of(healthy, "retention", retention_days=30) == []
    finding = finding_of(healthy, "retention", retention_days=1, retention_slack_days=0)
    assert finding.severity is Severity.WARNING
    assert finding.cure == "umami-ops prune --days 1"


def test_events_without_a_time(healthy: str) -> None:
    insert_events(healthy, WEBSITE, [None, None, None])
    try:
        assert finding_of(healthy, "undated_events").evidence["rows"] == 3
        assert "2 or more events" in finding_of(healthy, "undated_events", sample_rows=2).sentence
    finally:
        execute(healthy, "DELETE FROM website_event WHERE created_at IS NULL")


def test_orphans(server: Server, healthy: str) -> None:
    insert = Query(
        "insert",
        "",
        "INSERT INTO event_data (event_data_id, website_id, website_event_id, data_key, data_type)"
        " VALUES (:id, :website, :event, 'k', 1)",
    )
    with opened(healthy) as connection:
        one = Query("event", "", "SELECT event_id AS id FROM website_event LIMIT 1")
        first = connection.value(one)
        for event in (first, first, first, str(uuid.uuid4())):
            connection.run(insert, id=str(uuid.uuid4()), website=WEBSITE, event=event)
    try:
        finding = finding_of(healthy, "orphans")
        assert (finding.evidence["looked_at"], finding.evidence["orphans"]) == (4, 1)
        assert finding.severity is Severity.WARNING
        assert finding_of(healthy, "orphans", orphan_percent=50).severity is Severity.INFO
    finally:
        execute(healthy, "DELETE FROM event_data")


def test_sessions_that_were_never_used(healthy: str) -> None:
    assert findings_of(healthy, "unused_sessions") == []
    columns = "session_id, website_id, created_at"
    rows = ", ".join(f"('{uuid.uuid4()}', '{OTHER}', '2025-01-01 00:00:00')" for _ in range(5))
    with undone(
        healthy,
        f"INSERT INTO session ({columns}) VALUES {rows}",
        f"DELETE FROM session WHERE website_id = '{OTHER}'",
    ):
        finding = finding_of(healthy, "unused_sessions")
        assert finding.evidence["unused"] == 5
        assert findings_of(healthy, "unused_sessions", unused_percent_of_sessions=101) == []
        with opened(healthy) as connection:
            sessions = connection.rows(
                Query("s", "", f"SELECT session_id FROM session WHERE website_id = '{OTHER}'")
            )
        used = ", ".join(
            f"('{uuid.uuid4()}', '{OTHER}', '{row['session_id']}', '{OTHER}', '/')" for row in sessions
        )
        execute(
            healthy,
            f"INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path) VALUES {used}",
        )
        assert findings_of(healthy, "unused_sessions") == []
        execute(healthy, f"DELETE FROM website_event WHERE website_id = '{OTHER}'")


def test_session_data_that_is_there_twice(healthy: str) -> None:
    insert = Query(
        "insert",
        "",
        "INSERT INTO session_data (session_data_id, website_id, session_id, data_key, data_type)"
        " VALUES (:id, :website, :session, :key, 1)",
    )
    with opened(healthy) as connection:
        for key in ("plan", "plan", "name"):
            connection.run(insert, id=str(uuid.uuid4()), website=WEBSITE, session=WEBSITE, key=key)
    try:
        finding = finding_of(healthy, "duplicate_session_data")
        assert (finding.evidence["looked_at"], finding.evidence["duplicates"]) == (3, 2)
    finally:
        execute(healthy, "DELETE FROM session_data")


def test_websites_that_fell_silent(healthy: str) -> None:
    now = datetime.now(UTC)
    assert findings_of(healthy, "silent_websites", now=now + timedelta(hours=20)) == []
    finding = finding_of(healthy, "silent_websites", now=now + timedelta(hours=30))
    assert finding.severity is Severity.WARNING
    assert finding.sentence.startswith("Shop has sent nothing for 30 h")
    assert findings_of(healthy, "silent_websites", now=now + timedelta(days=60)) == []
    assert findings_of(healthy, "silent_websites", now=now + timedelta(hours=30), silence_factor=50) == []

    execute(healthy, f"INSERT INTO website (website_id, name) VALUES ('{OTHER}', 'Blog')")
    try:
        # Too few events to know a rhythm, so its silence means nothing …
        insert_events(healthy, OTHER, [now - timedelta(hours=hours) for hours in range(5)])
        assert finding_of(healthy, "silent_websites", now=now + timedelta(hours=30)).subject == "Shop"
        # … and with enough of them everything is silent.
        insert_events(healthy, OTHER, [now - timedelta(hours=hours) for hours in range(25)])
        finding = finding_of(healthy, "silent_websites", now=now + timedelta(hours=30))
        assert finding.severity is Severity.CRITICAL
        execute(healthy, f"UPDATE website SET deleted_at = CURRENT_TIMESTAMP WHERE website_id = '{OTHER}'")
        assert finding_of(healthy, "silent_websites", now=now + timedelta(hours=30)).subject == "Shop"
    finally:
        execute(
            healthy,
            f"DELETE FROM website_event WHERE website_id = '{OTHER}'",
            f"DELETE FROM website WHERE website_id = '{OTHER}'",
        )
