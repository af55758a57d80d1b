"""What `umami-ops health` finds about dead rows, bloat, old transactions' traces and partitions."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from testbed import servers
from testbed.bulk import connect
from testbed.servers import Server, database_name
from testbed.umami import create_umami
from tests.command import run
from tests.examining import (
    WEBSITE,
    examined,
    execute,
    finding_of,
    findings_of,
    insert_events,
    opened,
    undone,
    until,
)
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.execute import RunLock
from umami_ops.execute import execute as carry_out
from umami_ops.operations.health import Severity
from umami_ops.operations.inspect import inspect
from umami_ops.operations.partition import Enabling, plan_enable
from umami_ops.sql import Query


def test_dead_rows_and_old_statistics(postgresql_server: Server, umami_database: str) -> None:
    execute(umami_database, "ALTER TABLE website_event SET (autovacuum_enabled = off)")
    insert_events(umami_database, WEBSITE, [datetime.now(UTC)] * 100)
    half = "event_id < '80000000-0000-0000-0000-000000000000'"
    execute(umami_database, f"DELETE FROM website_event WHERE {half}")
    until(lambda: bool(findings_of(umami_database, "dead_rows", dead_rows=10)))
    finding = finding_of(umami_database, "dead_rows", dead_rows=10)
    assert finding.subject == "website_event"
    assert "never vacuumed" in finding.sentence
    assert findings_of(umami_database, "dead_rows") == []
    assert finding_of(umami_database, "statistics", changed_rows=10).subject == "website_event"
    execute(umami_database, "VACUUM (ANALYZE) website_event")
    until(lambda: not findings_of(umami_database, "dead_rows", dead_rows=10))
    until(lambda: not findings_of(umami_database, "statistics", changed_rows=10))


def test_no_statistics_at_all(postgresql_server: Server, umami_database: str) -> None:
    execute(umami_database, "ALTER TABLE website_event SET (autovacuum_enabled = off)")
    ids = ", ".join(["gen_random_uuid()"] * 4)
    execute(
        umami_database,
        "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path)"
        f" SELECT {ids}, '/' FROM generate_series(1, 10000)",
    )
    # As after pg_upgrade: nothing is known, nor that anything has changed.
    forget = "SELECT pg_stat_reset_single_table_counters('website_event'::regclass)"
    execute(postgresql_server.as_admin(umami_database), forget)
    assert "has no statistics" in finding_of(umami_database, "statistics").sentence
    execute(umami_database, "ANALYZE website_event")
    assert findings_of(umami_database, "statistics") == []


def test_autovacuum_is_off(postgresql_server: Server, healthy: str) -> None:
    execute(healthy, "ALTER TABLE session SET (autovacuum_enabled = false)")
    finding = finding_of(healthy, "autovacuum")
    assert "off for session" in finding.sentence
    execute(healthy, finding.cure.rstrip(";"))
    assert findings_of(healthy, "autovacuum") == []


def test_autovacuum_is_off_everywhere(postgresql_server: Server, umami_database: str) -> None:
    # What autovacuum counts by can be switched off for one database; it then never comes there.
    name = database_name(umami_database)
    execute(postgresql_server.as_admin(umami_database), f"ALTER DATABASE {name} SET track_counts = off")
    finding = finding_of(umami_database, "autovacuum")
    assert finding.severity is Severity.WARNING
    assert "off on the whole server" in finding.sentence


def test_autovacuum_that_comes_too_seldom(postgresql_server: Server, healthy: str, admin: str) -> None:
    execute(admin, "ANALYZE website_event")
    assert findings_of(healthy, "autovacuum_pace") == []
    until(lambda: bool(findings_of(healthy, "autovacuum_pace", paced_rows=10, vacuum_days=1)))
    finding = finding_of(healthy, "autovacuum_pace", paced_rows=10, vacuum_days=1)
    assert finding.severity is Severity.INFO
    assert finding.evidence["waits_for_rows"] > 900
    never = "autovacuum_vacuum_insert_threshold"
    with undone(
        healthy, f"ALTER TABLE website_event SET ({never} = -1)", f"ALTER TABLE website_event RESET ({never})"
    ):
        assert "-1" in finding_of(healthy, "autovacuum_pace").sentence
    eager = "autovacuum_vacuum_insert_threshold = 1, autovacuum_vacuum_insert_scale_factor = 0.01"
    names = eager.replace(" = 1", "").replace(" = 0.01", "")
    with undone(
        healthy, f"ALTER TABLE website_event SET ({eager})", f"ALTER TABLE website_event RESET ({names})"
    ):
        assert findings_of(healthy, "autovacuum_pace", paced_rows=10, vacuum_days=1) == []


def test_sizes_are_those_of_the_server(server: Server, healthy: str) -> None:
    # MySQL counts an index's pages at an ANALYZE, or in its own time.
    execute(healthy, f"ANALYZE {'' if server.dialect == 'postgresql' else 'TABLE '}website_event")
    (verdict,) = examined(healthy, "sizes").verdicts
    sizes = {measure.name: measure.value for measure in verdict.measures if measure.table == "website_event"}
    assert set(sizes) == {"table_bytes", "index_bytes", "table_rows_estimate"}
    with opened(healthy) as connection:
        size = connection.row(
            connection.dialect.queries["vacuum.size"], schema=connection.server().schema, name="website_event"
        )
    assert sizes["index_bytes"] == size["index_bytes"] > 0


def test_unused_space(mysql_server: Server, healthy: str) -> None:
    columns = "website_id, data_key, data_type, string_value"
    execute(
        healthy,
        f"INSERT INTO session_data (session_data_id, session_id, {columns})"
        " VALUES (UUID(), UUID(), UUID(), 'k', 1, REPEAT('x', 500))",
        *[
            f"INSERT INTO session_data (session_data_id, session_id, {columns})"
            f" SELECT UUID(), session_id, {columns} FROM session_data"
        ]
        * 14,
        "DELETE FROM session_data",
    )
    until(lambda: bool(findings_of(healthy, "unused_space", unused_bytes=5_000_000)))
    finding = finding_of(healthy, "unused_space", unused_bytes=5_000_000)
    assert finding.subject == "session_data"
    assert finding.evidence["unused_percent"] > 33
    execute(healthy, "TRUNCATE session_data")


def test_a_table_full_of_holes_and_bloated_indexes(postgresql_server: Server, umami_database: str) -> None:
    rows = "FROM generate_series(1, 20000) AS n"
    execute(
        umami_database,
        "ALTER TABLE website_event SET (autovacuum_enabled = off)",
        "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path, created_at)"
        f" SELECT gen_random_uuid(), '{WEBSITE}', gen_random_uuid(), gen_random_uuid(), '/',"
        f" now() - (20000 - n) * interval '1 second' {rows}",
        "VACUUM (ANALYZE) website_event",
    )
    low: dict[str, Any] = {"unused_bytes": 100_000, "bloat_bytes": 500_000}
    assert findings_of(umami_database, "unused_space", **low) == []
    assert findings_of(umami_database, "bloated_indexes", **low) == []
    execute(
        umami_database,
        "DELETE FROM website_event WHERE event_id > '28000000-0000-0000-0000-000000000000'",
    )
    # In another session: the deletes of one that goes on may be counted after the rows were counted anew.
    execute(umami_database, "VACUUM (ANALYZE) website_event")
    unused, bloated = (
        finding_of(umami_database, name, **low) for name in ("unused_space", "bloated_indexes")
    )
    assert (unused.severity, unused.subject) == (Severity.INFO, "website_event")
    assert unused.evidence["unused_percent"] > 50
    assert bloated.severity is Severity.WARNING
    assert bloated.evidence["estimated"] is unused.evidence["estimated"] is True
    assert "by estimate" in unused.sentence
    with connect(postgresql_server.as_admin(umami_database)) as admin:
        if admin.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'pgstattuple'"):
            admin.execute("CREATE EXTENSION pgstattuple")
            admin.execute(
                "GRANT EXECUTE ON FUNCTION pgstatindex(regclass), pgstattuple_approx(regclass) TO PUBLIC"
            )
            admin.commit()
            measured = finding_of(umami_database, "bloated_indexes", **low)
            assert measured.evidence["estimated"] is False
            assert "measured by pgstattuple" in measured.sentence
            looked_at = finding_of(umami_database, "unused_space", **low)
            assert looked_at.evidence["estimated"] is False
            assert "as measured" in looked_at.sentence
            assert abs(looked_at.evidence["unused_percent"] - unused.evidence["unused_percent"]) < 10
    assert findings_of(umami_database, "unused_space") == findings_of(umami_database, "bloated_indexes") == []
    execute(umami_database, "REINDEX TABLE website_event")
    assert findings_of(umami_database, "bloated_indexes", **low) == []


def test_where_measuring_takes_too_long_it_is_an_estimate(
    postgresql_server: Server, umami_database: str
) -> None:
    rows = "FROM generate_series(1, 20000) AS n"
    execute(
        umami_database,
        "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path)"
        f" SELECT gen_random_uuid(), '{WEBSITE}', gen_random_uuid(), gen_random_uuid(), '/' {rows}",
        "ANALYZE website_event",
        "DELETE FROM website_event WHERE event_id > '28000000-0000-0000-0000-000000000000'",
    )
    execute(umami_database, "VACUUM (ANALYZE) website_event")
    with connect(postgresql_server.as_admin(umami_database)) as admin:
        if not admin.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'pgstattuple'"):
            pytest.skip("this server has no pgstattuple")
        for statement in (
            "CREATE EXTENSION pgstattuple",
            "ALTER EXTENSION pgstattuple DROP FUNCTION pgstattuple_approx(regclass)",
            "DROP FUNCTION pgstattuple_approx(regclass)",
            "CREATE FUNCTION pgstattuple_approx(reloid regclass, OUT table_len bigint,"
            " OUT approx_free_space bigint, OUT dead_tuple_len bigint)"
            " LANGUAGE sql AS 'SELECT 0::bigint, 0::bigint, 0::bigint FROM pg_sleep(30)'",
        ):
            admin.execute(statement)
        admin.commit()
    began = time.monotonic()
    finding = finding_of(umami_database, "unused_space", unused_bytes=100_000)
    assert time.monotonic() - began < 5
    assert finding.evidence["estimated"] is True


def test_old_transaction_ids(postgresql_server: Server, healthy: str) -> None:
    assert finding_of(healthy, "transaction_ids", transaction_id_age=1).severity is Severity.WARNING
    assert finding_of(healthy, "transaction_ids", transaction_id_critical_age=1).severity is Severity.CRITICAL


def test_old_versions_that_wait_to_be_purged(mysql_server: Server, healthy: str, admin: str) -> None:
    with opened(healthy) as other:
        other.begin(read_only=True)
        execute(healthy, *(f"UPDATE website SET name = 'Shop {n}'" for n in range(30)))
        until(lambda: bool(findings_of(admin, "purge_lag", history_length=5)))
        assert finding_of(admin, "purge_lag", history_length=5).evidence["history_length"] >= 5
        other.rollback()
    execute(healthy, "UPDATE website SET name = 'Shop'")


def test_a_replication_slot_that_nobody_reads(postgresql_server: Server, healthy: str, admin: str) -> None:
    with undone(
        admin,
        "SELECT pg_create_physical_replication_slot('left_behind', true)",
        "SELECT pg_drop_replication_slot('left_behind')",
    ):
        assert findings_of(healthy, "replication_slots") == []
        finding = finding_of(healthy, "replication_slots", held_wal_bytes=0)
    assert finding.severity is Severity.WARNING
    assert "left_behind" in finding.cure


@pytest.mark.slow
def test_a_prepared_transaction(postgresql_server: Server) -> None:
    with servers.start(postgresql_server.name, settings={"max_prepared_transactions": "2"}) as own:
        url = own.create_database()
        create_umami(url, 13)
        with opened(url) as connection:
            connection.begin(read_only=False)
            connection.run(Query("test", "", "UPDATE website SET name = 'x'"))
            connection.run(Query("test", "", "PREPARE TRANSACTION 'forgotten'"))
            assert findings_of(url, "prepared_transactions") == []
            finding = finding_of(url, "prepared_transactions", prepared_seconds=0)
            connection.run(Query("test", "", finding.cure.rstrip(";")))
            assert findings_of(url, "prepared_transactions", prepared_seconds=0) == []


def test_partitions(server: Server, umami_database: str) -> None:
    assert findings_of(umami_database, "partitions") == []
    insert_events(umami_database, WEBSITE, [datetime.now(UTC)] * 20)
    made = run("partition", "enable", "--yes", url=umami_database)
    assert made.code == 0, made.said
    assert findings_of(umami_database, "partitions") == []
    soon = datetime.now(UTC) + timedelta(days=365)
    assert finding_of(umami_database, "partitions", now=soon).severity is Severity.CRITICAL
    assert finding_of(umami_database, "partitions", partition_days=3650).severity is Severity.WARNING
    insert_events(umami_database, WEBSITE, [datetime.now(UTC) + timedelta(days=2000)] * 50)
    analyze = "ANALYZE" if server.dialect == "postgresql" else "ANALYZE TABLE website_event"
    with opened(umami_database) as connection:
        connection.maintain(Query("analyze", "", analyze))
    finding = finding_of(umami_database, "partitions")
    assert finding.evidence["rows"] > 0
    assert finding.cure == "umami-ops partition maintain"


def test_a_change_of_partitions_that_was_interrupted(postgresql_server: Server, umami_database: str) -> None:
    database = open_database(DatabaseUrl.parse(umami_database))
    with database.connect() as connection:
        plan = plan_enable(connection, inspect(connection), Enabling(), datetime.now(UTC))
    titles = [step.title for step in plan.steps]
    half = replace(plan, steps=plan.steps[: titles.index("bounding the table") + 1])
    with RunLock(database, "test") as lock:
        carry_out(half, database, lock=lock)
    finding = finding_of(umami_database, "partitions")
    assert finding.evidence["unfinished"] == "enable"
    assert "umami-ops partition disable undoes it" in finding.cure
    assert findings_of(umami_database, "triggers") == []
    assert run("partition", "disable", "--yes", url=umami_database).code == 0
    assert findings_of(umami_database, "partitions") == []
