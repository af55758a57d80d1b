"""What `umami-ops health` finds about the server, its disk and its configuration."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from testbed import servers
from testbed.servers import Server, database_name
from tests.command import run
from tests.examining import examined, execute, finding_of, findings_of, opened, undone, until
from umami_ops.operations.health import Severity
from umami_ops.operations.health.support import support_ends
from umami_ops.sql import Query


def test_no_connection(healthy: str) -> None:
    parts = urlsplit(healthy)
    url = parts._replace(netloc=f"{parts.username}:x@127.0.0.1:1").geturl()
    found = examined(url)
    assert [check.name for check, _ in found.worst_first()] == ["connection"]
    assert found.severity is Severity.CRITICAL
    for form, code in (("text", 2), ("json", 2), ("prometheus", 2), ("nagios", 2)):
        assert run("health", "--format", form, url=url).code == code
    assert "umami_ops_up 0\n" in run("health", "--format", "prometheus", url=url).out
    assert run("health", "--format", "nagios", url=url).out.startswith("UMAMI CRITICAL - connection: ")
    assert run("health", "--format", "json", url=url).document["server"] is None


def test_a_slow_network(healthy: str) -> None:
    assert finding_of(healthy, "connection", round_trip_seconds=0).severity is Severity.WARNING


def test_a_server_without_support(server: Server, healthy: str) -> None:
    ends = support_ends(server.flavour, server.version)
    assert ends is not None, f"support.py doesn't know {server.flavour} {server.version}"
    last_day = datetime(ends.year, ends.month, ends.day, tzinfo=UTC)
    assert findings_of(healthy, "server_version", now=last_day - timedelta(days=200)) == []
    assert finding_of(healthy, "server_version", now=last_day - timedelta(days=30)).severity is Severity.INFO
    assert (
        finding_of(healthy, "server_version", now=last_day + timedelta(days=2)).severity is Severity.WARNING
    )


def test_a_clock_that_is_wrong(healthy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) - timedelta(minutes=10)

    monkeypatch.setattr("umami_ops.operations.health.server.datetime", Late)
    finding = finding_of(healthy, "clock")
    assert "ahead of" in finding.sentence
    assert 590 < finding.evidence["clock_difference_seconds"] < 610


def test_few_connections_are_left(healthy: str) -> None:
    assert findings_of(healthy, "connections", connections_percent=50) == []
    with opened(healthy), opened(healthy), opened(healthy), opened(healthy):
        finding = finding_of(healthy, "connections", connections_percent=2, connections_critical_percent=90)
        assert finding.severity is Severity.WARNING
        assert finding.evidence["used"] >= 4
        assert (
            finding_of(healthy, "connections", connections_critical_percent=2).severity is Severity.CRITICAL
        )


def test_a_cache_that_is_too_small(healthy: str) -> None:
    assert finding_of(healthy, "cache", cache_hit_percent=101, cache_reads=0).severity is Severity.INFO
    assert findings_of(healthy, "cache", cache_hit_percent=101, cache_reads=10**12) == []


def test_a_full_disk(mysql_server: Server, healthy: str) -> None:
    (verdict,) = examined(healthy, "disk", free_disk_bytes=10**18).verdicts
    # A server in a container has a disk that can't be seen from here.
    assert verdict.severity is Severity.CRITICAL or "own machine" in verdict.unseen[0].needs
    assert all(finding.evidence["free_bytes"] > 0 for finding in verdict.findings)


def test_when_the_disk_will_be_full(server: Server, healthy: str, admin: str) -> None:
    # MySQL counts rows at an ANALYZE, or in its own time.
    execute(healthy, f"ANALYZE {'' if server.dialect == 'postgresql' else 'TABLE '}website_event")
    verdicts = examined(admin, "growth", disk_full_critical_days=0, disk_full_days=0).verdicts
    assert {m.name for m in verdicts[0].measures} >= {"growth_bytes_per_day"}
    assert not verdicts[0].findings
    if any(unseen.needs for unseen in verdicts[0].unseen):
        return  # the server is not on this machine
    finding = finding_of(admin, "growth", disk_full_days=1e12, disk_full_critical_days=0)
    assert finding.severity is Severity.WARNING
    assert finding.evidence["free_bytes"] > 0
    assert (
        finding_of(admin, "growth", disk_full_days=1e12, disk_full_critical_days=1e12).severity
        is Severity.CRITICAL
    )


def test_an_ordinary_user_is_not_told_where_postgresql_lies(postgresql_server: Server, healthy: str) -> None:
    (verdict,) = examined(healthy, "growth").verdicts
    assert [unseen.needs for unseen in verdict.unseen] == [
        "to run on the server's own machine, and to be told where its data are"
    ]
    assert verdict.measures


def test_the_disk_of_postgresql_is_known_on_its_machine(postgresql_server: Server, admin: str) -> None:
    if "local" not in postgresql_server.origin:
        pytest.skip("the server is in a container")
    assert findings_of(admin, "disk") == []
    assert finding_of(admin, "disk", free_disk_bytes=10**18).severity is Severity.CRITICAL


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_disk_that_whoever_runs_it_may_not_look_at(server: Server, admin: str) -> None:
    """Servers' packages close the folder of the data to all but the server."""
    with opened(admin) as connection:
        seen = connection.free_bytes()
        os.seteuid(12_345)  # not nobody, whom root gives PostgreSQL to
        try:
            assert connection.free_bytes() is None
        finally:
            os.seteuid(0)
    assert seen is not None or "local" not in server.origin


def test_checkpoints_before_their_time(postgresql_server: Server, healthy: str, admin: str) -> None:
    assert findings_of(healthy, "checkpoints", checkpoints=10**9) == []
    execute(admin, *["CHECKPOINT"] * 3)
    until(lambda: bool(findings_of(healthy, "checkpoints", checkpoints=1, checkpoints_forced_percent=1)))
    finding = finding_of(healthy, "checkpoints", checkpoints=1, checkpoints_forced_percent=1)
    assert finding.evidence["forced"] >= 1
    assert "max_wal_size" in finding.cure


def test_a_time_zone_other_than_utc(mysql_server: Server, healthy: str, admin: str) -> None:
    before = "SYSTEM"
    with undone(admin, "SET GLOBAL time_zone = '+00:00'", f"SET GLOBAL time_zone = '{before}'"):
        assert findings_of(healthy, "time_zone") == []
        execute(admin, "SET GLOBAL time_zone = '-03:30'")
        finding = finding_of(healthy, "time_zone")
        assert "-3:30 from UTC" in finding.sentence
        assert finding.evidence["offset_minutes"] == -210


@pytest.mark.slow
def test_a_binary_log_its_age_and_its_size(mysql_server: Server) -> None:
    settings = {"log-bin": "log", "binlog_expire_logs_seconds": "0"}
    with servers.start(mysql_server.name, settings=settings) as own:
        url = own.create_database()
        admin = own.as_admin(url)
        assert "for ever" in finding_of(url, "binary_log").sentence
        execute(admin, "SET GLOBAL binlog_expire_logs_seconds = 3600")
        assert findings_of(url, "binary_log") == findings_of(admin, "binary_log_size") == []
        assert finding_of(admin, "binary_log_size", binary_log_bytes=1).evidence["size_bytes"] > 0
        (blind,) = examined(url, "binary_log_size").verdicts
        assert "a right" in blind.unseen[0].needs


def test_a_server_that_is_not_strict(mysql_server: Server, healthy: str, admin: str) -> None:
    with opened(admin) as connection:
        mode = connection.value(Query("mode", "", "SELECT @@global.sql_mode"))
    with undone(admin, "SET GLOBAL sql_mode = 'NO_ENGINE_SUBSTITUTION'", f"SET GLOBAL sql_mode = '{mode}'"):
        assert finding_of(healthy, "sql_mode").evidence["sql_mode"] == "NO_ENGINE_SUBSTITUTION"


def test_a_collation_that_has_another_version(postgresql_server: Server) -> None:
    name = f"test_{uuid.uuid4().hex[:12]}"
    url = postgresql_server.create_database()
    admin = postgresql_server.as_admin(url)
    try:
        assert findings_of(admin, "collation_version") == []
        execute(
            admin,
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"
            " LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LC_COLLATE 'C' LC_CTYPE 'C'",
        )
        other = admin.replace(database_name(admin), name)
        assert findings_of(other, "collation_version") == []
        execute(admin, f"UPDATE pg_database SET datcollversion = '0' WHERE datname = '{name}'")
        finding = finding_of(other, "collation_version")
        assert finding.evidence["expected"] == "0"
        assert "REINDEX DATABASE" in finding.cure
    finally:
        execute(admin, f"DROP DATABASE IF EXISTS {name}")
        postgresql_server.drop_database(url)
