"""`umami-ops health` as a whole: silence where all is well, and limits of time and of rights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from testbed.servers import Server
from tests.command import run
from tests.examining import (
    WEBSITE,
    examined,
    execute,
    finding_of,
    findings_of,
    insert_events,
    opened,
    until,
    user_with,
)
from umami_ops.databases.postgresql import ddl
from umami_ops.operations.health import CHECKS, Check, Finding, Severity
from umami_ops.sql import Query
from umami_ops.umami.migrations import latest_released_level
from umami_ops.umami.schema import schema_at


def test_silence_on_a_healthy_database(server: Server, healthy: str) -> None:
    found = examined(healthy, now=None)
    assert [(c.name, f) for c, f in found.worst_first() if c.name != "server_version"] == []
    assert {v.check.name for v in found.verdicts} == {check.name for check in CHECKS}
    assert found.level == latest_released_level(server.dialect)
    blind = {verdict.check.name for verdict in found.verdicts if verdict.unseen}
    needs_process = {"lock_waits", "long_transactions", "idle_in_transaction", "purge_lag"}
    needs_process.add("binary_log_size")
    out_of_sight = {"disk", "growth", "backups"}
    assert blind <= out_of_sight | (needs_process if server.dialect == "mysql" else set())


def test_the_administrator_sees_everything(server: Server, admin: str) -> None:
    found = examined(admin)
    assert [(c.name, f) for c, f in found.worst_first() if c.name != "server_version"] == []
    blind = {verdict.check.name for verdict in found.verdicts if verdict.unseen}
    assert blind <= {"disk", "growth", "backups"}


def test_only_what_was_declared_is_measured(healthy: str) -> None:
    for verdict in examined(healthy).verdicts:
        assert {measure.name for measure in verdict.measures} <= set(verdict.check.measures)


@pytest.mark.parametrize("level", [1, 8])
def test_old_levels_can_be_examined(level: int, umami_at: Callable[[int], str]) -> None:
    found = examined(umami_at(level))
    names = {check.name for check, _ in found.worst_first()}
    assert names <= {"server_version"}


def test_umami_in_another_schema_behind_a_pooler(postgresql_server: Server, umami_database: str) -> None:
    execute(umami_database, "ALTER SCHEMA public RENAME TO web", "CREATE SCHEMA public")
    found = examined(f"{umami_database}?schema=web&pgbouncer=true")
    names = [check.name for check, _ in found.worst_first() if check.name != "server_version"]
    assert names == ["access"]
    assert "transaction pooler" in next(f for c, f in found.worst_first() if c.name == "access").sentence


def test_website_event_in_partitions(postgresql_server: Server, umami_database: str) -> None:
    table = schema_at("postgresql", latest_released_level("postgresql")).table("website_event")
    execute(
        umami_database,
        "ALTER TABLE website_event RENAME TO flat",
        "CREATE TABLE website_event (LIKE flat INCLUDING DEFAULTS) PARTITION BY RANGE (created_at)",
        "DROP TABLE flat",
        "ALTER TABLE website_event ADD PRIMARY KEY (event_id, created_at)",
        *ddl.index_statements(table),
        "CREATE TABLE website_event_rest PARTITION OF website_event DEFAULT",
        "ALTER TABLE website_event_rest SET (autovacuum_enabled = off)",
    )
    insert_events(umami_database, WEBSITE, [datetime.now(UTC)] * 50)
    execute(umami_database, "DELETE FROM website_event")
    until(lambda: bool(findings_of(umami_database, "dead_rows", dead_rows=50)))
    finding = finding_of(umami_database, "dead_rows", dead_rows=50)
    assert finding.subject == "website_event_rest"
    assert finding.cure == "umami-ops vacuum --table website_event"
    found = examined(umami_database).worst_first()
    assert [c.name for c, _ in found if c.name != "server_version"] == ["autovacuum", "partitions", "umami"]
    assert "off for website_event_rest" in found[0][1].sentence


def test_it_changes_nothing(healthy: str) -> None:
    with opened(healthy) as connection:
        count = Query("count", "", "SELECT COUNT(*) AS n FROM website_event")
        before = connection.value(count)
        examined(healthy)
        assert connection.value(count) == before


def test_a_user_who_may_read_a_few_tables(server: Server, healthy: str) -> None:
    place = "" if server.dialect == "postgresql" else "{db}"
    tables = ("website", "session", "website_event", "_prisma_migrations")
    with user_with(server, healthy, *(f"SELECT ON {place}{table}" for table in tables)) as url:
        found = examined(url)
        outcome = run("health", url=url)
    verdicts = {verdict.check.name: verdict for verdict in found.verdicts}
    assert verdicts["retention"].has_looked
    assert verdicts["silent_websites"].has_looked
    if server.dialect == "postgresql":
        assert "permission denied" in verdicts["orphans"].unseen[0].needs
        assert verdicts["access"].severity is Severity.CRITICAL
    else:
        assert "PROCESS" in verdicts["lock_waits"].unseen[0].needs
    assert "Could not look at" in outcome.out
    assert outcome.err == ""


def test_a_user_without_any_right(postgresql_server: Server, healthy: str) -> None:
    with user_with(postgresql_server, healthy) as url:
        found = examined(url)
    verdicts = {verdict.check.name: verdict for verdict in found.verdicts}
    assert verdicts["umami"].severity is Severity.CRITICAL
    assert verdicts["connections"].has_looked
    assert all(verdict.unseen or verdict.has_looked for verdict in found.verdicts)


def test_a_user_with_no_right_on_the_statistics(postgresql_server: Server, umami_database: str) -> None:
    """Where an administrator closed them, what stands on them can't be looked at, and the rest can."""
    insert_events(umami_database, WEBSITE, [datetime.now(UTC)])
    execute(postgresql_server.as_admin(umami_database), _CLOSE_STATISTICS)
    found = examined(umami_database)
    outcome = run("health", url=umami_database)
    blind = {verdict.check.name: verdict.unseen[0].needs for verdict in found.verdicts if verdict.unseen}
    closed = {
        "connections", "cache", "lock_waits", "long_transactions", "idle_in_transaction", "checkpoints",
        "dead_rows", "statistics", "autovacuum_pace", "unused_space", "bloated_indexes", "indexes",
        "invalid_indexes", "superfluous_indexes",
    }  # fmt: skip
    assert set(blind) == closed | {"disk", "growth", "backups"}
    assert all(blind[name].startswith("a right (permission denied for view pg_stat") for name in closed)
    assert [check.name for check, _ in found.worst_first() if check.name != "server_version"] == []
    assert (outcome.code, outcome.err) == (0, "")
    assert "Could not look at" in outcome.out


_CLOSE_STATISTICS = """
DO $$
DECLARE each record;
BEGIN
  FOR each IN SELECT c.relname FROM pg_class AS c WHERE c.relkind = 'v' AND c.relname LIKE 'pg\\_stat%' LOOP
    EXECUTE FORMAT('REVOKE ALL ON pg_catalog.%I FROM PUBLIC', each.relname);
  END LOOP;
END $$
"""


def _broken(text: str) -> Check:
    def look(examination: object) -> Iterator[Finding]:
        yield from examination.connection.rows(Query("test.broken", "", text))  # type: ignore[attr-defined]

    return Check("broken", "", "", "", "", look)


def test_a_check_that_fails_leaves_the_others_alone(healthy: str) -> None:
    broken, *others = examined(healthy, more=[_broken("SELECT * FROM nowhere")]).verdicts
    assert "nowhere" in broken.unseen[0].needs
    assert len(others) == len(CHECKS)
    assert all(v.has_looked for v in others if v.check.name in ("connection", "umami", "retention"))


def test_a_check_that_takes_too_long_is_ended(server: Server, healthy: str) -> None:
    digests = "SELECT SUM(CRC32(CONCAT(a.event_id, b.event_id, c.event_id, d.event_id)))"
    tables = "website_event AS a, website_event AS b, website_event AS c, website_event AS d"
    sleep = "SELECT pg_sleep(30)" if server.dialect == "postgresql" else f"{digests} FROM {tables}"
    began = time.monotonic()
    found = examined(healthy, "clock", more=[_broken(sleep)], budget_seconds=2.5)
    assert time.monotonic() - began < 8
    assert found.verdicts[0].unseen[0].needs == "more time than a second"
    assert found.verdicts[1].measures


def test_without_time_nothing_is_looked_at(healthy: str) -> None:
    found = examined(healthy, budget_seconds=0)
    assert all("more time" in unseen.needs for verdict in found.verdicts for unseen in verdict.unseen)
    assert any(verdict.unseen for verdict in found.verdicts)
