"""What `umami-ops health` finds that other sessions do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from testbed import servers
from testbed.servers import Server
from testbed.umami import create_umami
from tests.examining import examined, execute, finding_of, findings_of, opened, until, user_with
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import OpsError
from umami_ops.operations.health import Severity
from umami_ops.sql import Query
from umami_ops.umami.migrations import latest_released_level


@contextmanager
def _beside(url: str, *statements: str, program: str = "umami") -> Iterator[None]:
    """Run statements, the last of which takes its time, in a session and thread of their own."""

    def work() -> None:
        try:
            database = open_database(DatabaseUrl.parse(url))
            with database.connect(program) as connection, connection.transaction():
                for statement in statements:
                    connection.rows(Query("beside", "", statement))
        except OpsError:
            pass

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_a_long_transaction(server: Server, healthy: str, admin: str) -> None:
    watcher = healthy if server.dialect == "postgresql" else admin
    sleep = "SELECT pg_sleep(2)" if server.dialect == "postgresql" else "SELECT SLEEP(2)"
    with _beside(healthy, "SELECT COUNT(*) AS n FROM website_event", sleep):
        until(lambda: bool(findings_of(watcher, "long_transactions", transaction_seconds=0)))
        finding = finding_of(watcher, "long_transactions", transaction_seconds=0)
        assert finding.severity is Severity.WARNING
        assert finding.evidence["user"] == urlsplit(healthy).username
        assert findings_of(watcher, "long_transactions") == []
        assert findings_of(watcher, "idle_in_transaction", idle_in_transaction_seconds=0) == []
        critical = finding_of(watcher, "long_transactions", transaction_critical_seconds=0)
        assert critical.severity is Severity.CRITICAL


def test_a_long_transaction_of_ours(postgresql_server: Server, healthy: str) -> None:
    with _beside(healthy, "SELECT pg_sleep(2)", program="umami-ops backup"):
        until(lambda: bool(findings_of(healthy, "long_transactions", transaction_critical_seconds=0)))
        finding = finding_of(healthy, "long_transactions", transaction_critical_seconds=0)
    assert finding.severity is Severity.INFO
    assert "pg_terminate_backend" not in finding.cure


def test_an_emoji_in_a_running_statement_is_in_nobody_s_way(
    mysql_server: Server, healthy: str, admin: str
) -> None:
    """MySQL's own lists, in information_schema, fail as long as a session runs such a statement."""
    with _beside(healthy, "SELECT COUNT(*) AS n FROM website_event", "SELECT SLEEP(2) AS s, '\N{OWL}' AS e"):
        until(lambda: bool(findings_of(admin, "long_transactions", transaction_seconds=0)))
        for name in ("long_transactions", "idle_in_transaction", "lock_waits"):
            assert findings_of(admin, name) == []


def test_idle_in_transaction_and_its_cure(server: Server, healthy: str, admin: str) -> None:
    watcher = healthy if server.dialect == "postgresql" else admin
    with opened(healthy) as other:
        other.begin(read_only=False)
        other.run(Query("test", "", "UPDATE website SET name = 'Shop'"))
        finding = finding_of(watcher, "idle_in_transaction", idle_in_transaction_seconds=0)
        assert "sleeps inside a transaction" in finding.sentence
        assert findings_of(watcher, "idle_in_transaction") == []
        assert findings_of(watcher, "long_transactions", transaction_seconds=0) == []
        execute(admin, finding.cure.rstrip(";"))
        until(lambda: not findings_of(watcher, "idle_in_transaction", idle_in_transaction_seconds=0))


def test_sessions_of_others_are_hidden(postgresql_server: Server, healthy: str) -> None:
    with (
        opened(healthy) as other,
        user_with(postgresql_server, healthy, "SELECT ON ALL TABLES IN SCHEMA public") as url,
    ):
        other.begin(read_only=True)
        other.value(Query("test", "", "SELECT COUNT(*) FROM website_event"))
        (verdict,) = examined(url, "long_transactions", transaction_seconds=0).verdicts
        other.rollback()
    assert "pg_read_all_stats" in verdict.unseen[0].needs


@pytest.mark.parametrize("other_name", ["Blog", "\N{OWL}"])
def test_a_wait_for_a_lock(other_name: str, server: Server, healthy: str, admin: str) -> None:
    watcher = healthy if server.dialect == "postgresql" else admin
    update = f"UPDATE website SET name = 'Shop' WHERE name <> '{other_name}'"
    with opened(healthy) as first:
        first.begin(read_only=False)
        first.run(Query("first", "", update))
        waiting = threading.Thread(target=execute, args=(healthy, update))
        waiting.start()
        try:
            until(lambda: bool(findings_of(watcher, "lock_waits", lock_wait_seconds=0)))
            finding = finding_of(watcher, "lock_waits", lock_wait_seconds=0)
            assert findings_of(watcher, "lock_waits", lock_wait_seconds=60) == []
        finally:
            first.rollback()
            waiting.join()
    assert finding.severity is Severity.WARNING
    if server.dialect == "postgresql" or (server.flavour, other_name) == ("mysql", "\N{OWL}"):
        assert finding.evidence["blocker"] in finding.cure
    assert findings_of(watcher, "lock_waits", lock_wait_seconds=0) == []


def test_a_long_statement_that_has_just_begun_to_wait(postgresql_server: Server, healthy: str) -> None:
    late = "DO $$ BEGIN PERFORM pg_sleep(4); LOCK TABLE website IN ACCESS EXCLUSIVE MODE; END $$"
    with opened(healthy) as first:
        first.begin(read_only=False)
        first.run(Query("test", "", "UPDATE website SET name = 'Shop'"))
        waiting = threading.Thread(target=execute, args=(healthy, late))
        waiting.start()
        try:
            until(lambda: bool(findings_of(healthy, "lock_waits", lock_wait_seconds=0)))
            assert findings_of(healthy, "lock_waits", lock_wait_seconds=3) == []
        finally:
            first.rollback()
            waiting.join()


def test_a_wait_behind_a_prepared_transaction(postgresql_server: Server) -> None:
    """No session stands behind it, so there is none to end."""
    with servers.start(postgresql_server.name, settings={"max_prepared_transactions": "5"}) as server:
        url = server.create_database()
        create_umami(url, latest_released_level("postgresql"))
        lock = "LOCK TABLE website IN ACCESS EXCLUSIVE MODE"
        execute(url, "BEGIN", lock, "PREPARE TRANSACTION 'left'")
        waiting = threading.Thread(target=execute, args=(url, "UPDATE website SET name = 'Shop'"))
        waiting.start()
        try:
            until(lambda: bool(findings_of(url, "lock_waits", lock_wait_seconds=0)))
            finding = finding_of(url, "lock_waits", lock_wait_seconds=0)
            (prepared,) = findings_of(url, "prepared_transactions", prepared_seconds=0)
        finally:
            execute(url, "ROLLBACK PREPARED 'left'")
            waiting.join()
    assert (finding.evidence["blocker"], finding.cure) == (None, "")
    assert prepared.cure == "ROLLBACK PREPARED 'left';"


def test_a_table_that_another_session_has_locked(postgresql_server: Server, healthy: str) -> None:
    with opened(healthy) as other, other.transaction():
        other.run(Query("lock", "", "LOCK TABLE website_event IN ACCESS EXCLUSIVE MODE"))
        began = time.monotonic()
        found = examined(healthy, budget_seconds=2.5)
        assert time.monotonic() - began < 5
    assert [check.name for check, _ in found.worst_first() if check.name != "server_version"] == ["umami"]
    assert "Another session has locked" in found.worst_first()[0][1].sentence
