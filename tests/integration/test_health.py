"""What `umami-ops health` finds: every condition made for real and seen, and silence where all is well."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from testbed import servers
from testbed.servers import Server, database_name
from testbed.umami import create_umami
from tests.command import run
from umami_ops.databases.base import Connection
from umami_ops.databases.postgresql import ddl
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import DatabaseFault, OpsError
from umami_ops.operations.health import CHECKS, Check, Finding, Health, Severity, Thresholds, examine
from umami_ops.operations.health.support import support_ends
from umami_ops.sql import Query
from umami_ops.umami.migrations import latest_released_level
from umami_ops.umami.schema import schema_at

WEBSITE = "00000000-0000-4000-8000-00000000000a"
OTHER = "00000000-0000-4000-8000-00000000000b"
EVENTS = 48


@contextmanager
def _open(url: str) -> Iterator[Connection]:
    with open_database(DatabaseUrl.parse(url)).connect() as connection:
        yield connection


def _execute(url: str, *statements: str) -> None:
    with _open(url) as connection:
        for statement in statements:
            connection.run(Query("test", "", statement))


def _examined(
    url: str, *names: str, now: datetime | None = None, more: Sequence[Check] = (), **limits: Any
) -> Health:
    """Make the named checks, or all of them; the clock of slow test machines is no matter here."""
    checks = [*more, *(check for check in CHECKS if not names or check.name in names)]
    thresholds = Thresholds(**{"budget_seconds": 30.0, "round_trip_seconds": 10.0, **limits})
    return examine(open_database(DatabaseUrl.parse(url)).connect, thresholds, checks, now=now)


def _found(url: str, name: str, *, now: datetime | None = None, **limits: Any) -> list[Finding]:
    (verdict,) = _examined(url, name, now=now, **limits).verdicts
    assert not verdict.unseen, verdict.unseen
    for finding in verdict.findings:
        assert finding.sentence.endswith("."), finding
        assert finding.evidence, finding
    return list(verdict.findings)


def _one(url: str, name: str, *, now: datetime | None = None, **limits: Any) -> Finding:
    (finding,) = _found(url, name, now=now, **limits)
    return finding


def _until(look: Callable[[], bool]) -> None:
    """Wait until a server shows what it was made to be; statistics come late."""
    ends = time.monotonic() + 20
    while not look():
        assert time.monotonic() < ends
        time.sleep(0.1)


def _insert_events(url: str, website: str, times: Sequence[datetime | None]) -> None:
    insert = Query(
        "insert",
        "",
        "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path, created_at)"
        " VALUES (:event, :website, :session, :visit, '/', :at)",
    )
    with _open(url) as connection, connection.transaction():
        for at in times:
            event, session, visit = (str(uuid.uuid4()) for _ in range(3))
            connection.run(insert, event=event, website=website, session=session, visit=visit, at=at)


@pytest.fixture(scope="module")
def healthy(server: Server) -> Iterator[str]:
    """Umami as it should be: a website with an event an hour. Who changes it undoes that."""
    url = server.create_database()
    create_umami(url, latest_released_level(server.dialect))
    now = datetime.now(UTC)
    _execute(url, f"INSERT INTO website (website_id, name) VALUES ('{WEBSITE}', 'Shop')")
    _insert_events(url, WEBSITE, [now - timedelta(hours=hours) for hours in range(EVENTS)])
    yield url
    server.drop_database(url)


@pytest.fixture
def admin(server: Server, healthy: str) -> str:
    return server.as_admin(healthy)


@contextmanager
def _undone(url: str, statement: str, undo: str) -> Iterator[None]:
    _execute(url, statement)
    try:
        yield
    finally:
        _execute(url, undo)


# --- as it should be -------------------------------------------------------------------------------------


def test_silence_on_a_healthy_database(server: Server, healthy: str) -> None:
    found = _examined(healthy, now=None)
    assert [(c.name, f) for c, f in found.worst_first() if c.name != "server_version"] == []
    assert {v.check.name for v in found.verdicts} == {check.name for check in CHECKS}
    assert found.level == latest_released_level(server.dialect)
    blind = {verdict.check.name for verdict in found.verdicts if verdict.unseen}
    needs_process = {"lock_waits", "long_transactions", "idle_in_transaction", "purge_lag"}
    needs_process.add("binary_log_size")
    out_of_sight = {"disk", "growth", "backups"}
    assert blind <= out_of_sight | (needs_process if server.dialect == "mysql" else set())


def test_the_administrator_sees_everything(server: Server, admin: str) -> None:
    found = _examined(admin)
    assert [(c.name, f) for c, f in found.worst_first() if c.name != "server_version"] == []
    blind = {verdict.check.name for verdict in found.verdicts if verdict.unseen}
    assert blind <= {"disk", "growth", "backups"}


def test_only_what_was_declared_is_measured(healthy: str) -> None:
    for verdict in _examined(healthy).verdicts:
        assert {measure.name for measure in verdict.measures} <= set(verdict.check.measures)


@pytest.mark.parametrize("level", [1, 8])
def test_old_levels_can_be_examined(level: int, umami_at: Callable[[int], str]) -> None:
    found = _examined(umami_at(level))
    names = {check.name for check, _ in found.worst_first()}
    assert names <= {"server_version"}


def test_umami_in_another_schema_behind_a_pooler(postgresql_server: Server, umami_database: str) -> None:
    _execute(umami_database, "ALTER SCHEMA public RENAME TO web", "CREATE SCHEMA public")
    found = _examined(f"{umami_database}?schema=web&pgbouncer=true")
    names = [check.name for check, _ in found.worst_first() if check.name != "server_version"]
    assert names == ["access"]
    assert "transaction pooler" in next(f for c, f in found.worst_first() if c.name == "access").sentence


def test_website_event_in_partitions(postgresql_server: Server, umami_database: str) -> None:
    table = schema_at("postgresql", latest_released_level("postgresql")).table("website_event")
    _execute(
        umami_database,
        "ALTER TABLE website_event RENAME TO flat",
        "CREATE TABLE website_event (LIKE flat INCLUDING DEFAULTS) PARTITION BY RANGE (created_at)",
        "DROP TABLE flat",
        "ALTER TABLE website_event ADD PRIMARY KEY (event_id, created_at)",
        *ddl.index_statements(table),
        "CREATE TABLE website_event_rest PARTITION OF website_event DEFAULT",
        "ALTER TABLE website_event_rest SET (autovacuum_enabled = off)",
    )
    _insert_events(umami_database, WEBSITE, [datetime.now(UTC)] * 50)
    _execute(umami_database, "DELETE FROM website_event")
    _until(lambda: bool(_found(umami_database, "dead_rows", dead_rows=50)))
    finding = _one(umami_database, "dead_rows", dead_rows=50)
    assert finding.subject == "website_event_rest"
    assert finding.cure == "umami-ops vacuum --table website_event"
    found = _examined(umami_database).worst_first()
    assert [c.name for c, _ in found if c.name != "server_version"] == ["autovacuum", "partitions", "umami"]
    assert "off for website_event_rest" in found[0][1].sentence


def test_it_changes_nothing(healthy: str) -> None:
    with _open(healthy) as connection:
        count = Query("count", "", "SELECT COUNT(*) AS n FROM website_event")
        before = connection.value(count)
        _examined(healthy)
        assert connection.value(count) == before


# --- the server ------------------------------------------------------------------------------------------


def test_no_connection(healthy: str) -> None:
    parts = urlsplit(healthy)
    url = parts._replace(netloc=f"{parts.username}:x@127.0.0.1:1").geturl()
    found = _examined(url)
    assert [check.name for check, _ in found.worst_first()] == ["connection"]
    assert found.severity is Severity.CRITICAL
    for form, code in (("text", 2), ("json", 2), ("prometheus", 2), ("nagios", 2)):
        assert run("health", "--format", form, url=url).code == code
    assert "umami_ops_up 0\n" in run("health", "--format", "prometheus", url=url).out
    assert run("health", "--format", "nagios", url=url).out.startswith("UMAMI CRITICAL - connection: ")
    assert run("health", "--format", "json", url=url).document["server"] is None


def test_a_slow_network(healthy: str) -> None:
    assert _one(healthy, "connection", round_trip_seconds=0).severity is Severity.WARNING


def test_a_server_without_support(server: Server, healthy: str) -> None:
    ends = support_ends(server.flavour, server.version)
    assert ends is not None, f"support.py doesn't know {server.flavour} {server.version}"
    last_day = datetime(ends.year, ends.month, ends.day, tzinfo=UTC)
    assert _found(healthy, "server_version", now=last_day - timedelta(days=200)) == []
    assert _one(healthy, "server_version", now=last_day - timedelta(days=30)).severity is Severity.INFO
    assert _one(healthy, "server_version", now=last_day + timedelta(days=2)).severity is Severity.WARNING


def test_a_clock_that_is_wrong(healthy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) - timedelta(minutes=10)

    monkeypatch.setattr("umami_ops.operations.health.server.datetime", Late)
    finding = _one(healthy, "clock")
    assert "ahead of" in finding.sentence
    assert 590 < finding.evidence["clock_difference_seconds"] < 610


def test_few_connections_are_left(healthy: str) -> None:
    assert _found(healthy, "connections", connections_percent=50) == []
    with _open(healthy), _open(healthy), _open(healthy), _open(healthy):
        finding = _one(healthy, "connections", connections_percent=2, connections_critical_percent=90)
        assert finding.severity is Severity.WARNING
        assert finding.evidence["used"] >= 4
        assert _one(healthy, "connections", connections_critical_percent=2).severity is Severity.CRITICAL


def test_a_cache_that_is_too_small(healthy: str) -> None:
    assert _one(healthy, "cache", cache_hit_percent=101, cache_reads=0).severity is Severity.INFO
    assert _found(healthy, "cache", cache_hit_percent=101, cache_reads=10**12) == []


def test_a_full_disk(mysql_server: Server, healthy: str) -> None:
    (verdict,) = _examined(healthy, "disk", free_disk_bytes=10**18).verdicts
    # A server in a container has a disk that can't be seen from here.
    assert verdict.severity is Severity.CRITICAL or "own machine" in verdict.unseen[0].needs
    assert all(finding.evidence["free_bytes"] > 0 for finding in verdict.findings)


# --- Umami and its migrations ----------------------------------------------------------------------------


def test_a_database_that_is_not_umami_s(database_url: str) -> None:
    found = _examined(database_url)
    assert [(c.name, f.severity) for c, f in found.worst_first() if c.name != "server_version"] == [
        ("umami", Severity.CRITICAL)
    ]
    assert all(v.unseen for v in found.verdicts if v.check.needs_umami)
    assert run("health", url=database_url).code == 2


def test_a_table_that_is_missing(healthy: str) -> None:
    with _undone(healthy, "ALTER TABLE report RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO report"):
        missing, strange = sorted(_found(healthy, "umami"), key=lambda finding: -finding.severity)
    assert missing.severity is Severity.WARNING
    assert "Table report is missing" in missing.sentence
    assert strange.severity is Severity.INFO
    assert "elsewhere" in strange.sentence


@pytest.mark.parametrize(
    ("logs", "sentence", "cure"),
    [
        ('ERROR: relation "revenue" already exists', "already exists", "umami-ops upgrade repair"),
        ("Error: cannot alter type of a column used by a view or rule", "used by a view", "drop it first"),
        ("Database error: FUNCTION umami.BIN_TO_UUID does not exist", "BIN_TO_UUID", "MariaDB has no"),
        ('ERROR: index "x" does not exist', "does not exist", "another name"),
        ("something new", "something new", "upgrade repair --dry-run"),
        (None, "it failed, or still runs", "wait"),
    ],
)
def test_a_migration_that_failed(logs: str | None, sentence: str, cure: str, healthy: str) -> None:
    text = "NULL" if logs is None else f"'{logs}'"
    where = "WHERE migration_name = '13_add_revenue'"
    with _undone(
        healthy,
        f"UPDATE _prisma_migrations SET finished_at = NULL, logs = {text} {where}",
        f"UPDATE _prisma_migrations SET finished_at = started_at, logs = NULL {where}",
    ):
        finding = _one(healthy, "migrations")
    assert finding.severity is Severity.CRITICAL
    assert sentence in finding.sentence
    assert cure in finding.cure
    assert finding.evidence["level"] == 13


def test_a_migration_that_was_rolled_back(healthy: str) -> None:
    where = "WHERE migration_name = '13_add_revenue'"
    with _undone(
        healthy,
        f"UPDATE _prisma_migrations SET rolled_back_at = started_at {where}",
        f"UPDATE _prisma_migrations SET rolled_back_at = NULL {where}",
    ):
        assert _one(healthy, "migrations").severity is Severity.WARNING


@contextmanager
def _user(server: Server, url: str, *grants: str) -> Iterator[str]:
    """A user with these rights alone; `{db}` in a grant is the database."""
    admin, name, parts = server.as_admin(url), database_name(url), urlsplit(url)
    if server.dialect == "postgresql":
        make, drop = (
            ["CREATE ROLE health_user LOGIN PASSWORD 'pw'"],
            ["DROP OWNED BY health_user", "DROP ROLE health_user"],
        )
        rights = [f"GRANT {grant} TO health_user" for grant in grants]
    else:
        make, drop = (
            ["CREATE USER health_user@'%' IDENTIFIED BY 'pw'"],
            ["DROP USER health_user@'%'"],
        )
        rights = [f"GRANT {grant} TO health_user@'%'" for grant in grants]
    _execute(admin, *make, *(right.replace("{db}", f"`{name}`.") for right in rights))
    try:
        yield parts._replace(netloc=f"health_user:pw@{parts.hostname}:{parts.port}").geturl()
    finally:
        _execute(admin, *drop)


def test_a_user_who_may_read_a_few_tables(server: Server, healthy: str) -> None:
    place = "" if server.dialect == "postgresql" else "{db}"
    tables = ("website", "session", "website_event", "_prisma_migrations")
    with _user(server, healthy, *(f"SELECT ON {place}{table}" for table in tables)) as url:
        found = _examined(url)
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
    with _user(postgresql_server, healthy) as url:
        found = _examined(url)
    verdicts = {verdict.check.name: verdict for verdict in found.verdicts}
    assert verdicts["umami"].severity is Severity.CRITICAL
    assert verdicts["connections"].has_looked
    assert all(verdict.unseen or verdict.has_looked for verdict in found.verdicts)


# --- schema ----------------------------------------------------------------------------------------------

INDEX = "website_event_website_id_created_at_tag_idx"


def _drop_index(server: Server, name: str, table: str) -> str:
    return f"DROP INDEX {name}" if server.dialect == "postgresql" else f"DROP INDEX {name} ON {table}"


def test_an_index_that_is_missing_and_its_cure(server: Server, healthy: str) -> None:
    _execute(healthy, _drop_index(server, INDEX, "website_event"))
    finding = _one(healthy, "indexes")
    assert finding.severity is Severity.WARNING
    assert f"{INDEX} on website_event (website_id, created_at, tag) is missing" in finding.sentence
    _execute(healthy, finding.cure.rstrip(";"))
    assert _found(healthy, "indexes") == []


def test_an_index_that_was_renamed_and_its_cure(server: Server, healthy: str) -> None:
    rename = "ALTER INDEX {0} RENAME TO {1}" if server.dialect == "postgresql" else (
        "ALTER TABLE website_event RENAME INDEX {0} TO {1}"
    )  # fmt: skip
    _execute(healthy, rename.format(INDEX, "my_idx"))
    finding = _one(healthy, "indexes")
    assert "is called my_idx here" in finding.sentence
    assert [f.sentence for f in _found(healthy, "superfluous_indexes")] == []
    _execute(healthy, finding.cure.rstrip(";"))
    assert _found(healthy, "indexes") == []


def test_an_index_that_is_another(server: Server, healthy: str) -> None:
    for columns in ("website_id, tag", "website_id, created_at, tag"):
        drop = _drop_index(server, INDEX, "website_event")
        _execute(healthy, drop, f"CREATE INDEX {INDEX} ON website_event ({columns})")
        found = _found(healthy, "indexes")
        assert bool(found) == (columns == "website_id, tag")
        assert all("is not as Umami made it" in finding.sentence for finding in found)


def test_a_table_without_a_primary_key_and_its_cure(server: Server, healthy: str) -> None:
    key = "CONSTRAINT segment_pkey" if server.dialect == "postgresql" else "PRIMARY KEY"
    _execute(healthy, f"ALTER TABLE segment DROP {key}")
    finding = _one(healthy, "indexes")
    assert finding.severity is Severity.CRITICAL
    assert "Table segment has no primary key" in finding.sentence
    _execute(healthy, finding.cure.rstrip(";"))
    assert _found(healthy, "indexes") == []


def test_an_index_that_the_next_migration_needs(
    postgresql_server: Server, umami_at: Callable[[int], str]
) -> None:
    url = umami_at(13)
    _execute(url, "DROP INDEX session_session_id_key", "DROP INDEX website_share_id_key")
    by_level = {finding.evidence["dropped_by_level"]: finding for finding in _found(url, "indexes")}
    assert set(by_level) == {15, 17}
    assert by_level[17].severity is Severity.CRITICAL
    assert "CREATE UNIQUE INDEX" in by_level[17].cure


def test_an_index_that_is_invalid(postgresql_server: Server, healthy: str) -> None:
    with pytest.raises(DatabaseFault):
        _execute(healthy, "CREATE UNIQUE INDEX CONCURRENTLY half_built ON website_event (website_id)")
    finding = _one(healthy, "invalid_indexes")
    assert "half_built" in finding.sentence
    _execute(healthy, finding.cure.rstrip(";"))
    assert _found(healthy, "invalid_indexes") == []


def test_indexes_that_are_superfluous(server: Server, healthy: str) -> None:
    with _undone(
        healthy,
        "CREATE INDEX second_idx ON website_event (created_at)",
        _drop_index(server, "second_idx", "website_event"),
    ):
        finding = _one(healthy, "superfluous_indexes")
        assert finding.severity is Severity.WARNING
        assert "website_event_created_at_idx" in finding.sentence
        assert "second_idx" in finding.cure


def test_an_index_that_nothing_uses(postgresql_server: Server, healthy: str) -> None:
    with _undone(
        healthy, "CREATE INDEX strange_idx ON website_event (url_path, tag)", "DROP INDEX strange_idx"
    ):
        finding = _one(healthy, "superfluous_indexes")
    assert finding.severity is Severity.INFO
    assert "strange_idx" in finding.sentence


def test_a_column_of_another_type(server: Server, healthy: str) -> None:
    change = "ALTER TABLE report ALTER COLUMN name TYPE varchar({0})" if server.dialect == "postgresql" else (
        "ALTER TABLE report MODIFY name varchar({0}) NOT NULL"
    )  # fmt: skip
    with _undone(healthy, change.format(300), change.format(200)):
        finding = _one(healthy, "column_types")
    assert finding.subject == "report.name"
    assert "300" in finding.evidence["found"]


def test_a_view_on_a_table(postgresql_server: Server, healthy: str) -> None:
    with _undone(
        healthy,
        'CREATE VIEW "My view" AS SELECT url_path, name FROM website_event JOIN website USING (website_id)',
        'DROP VIEW "My view"',
    ):
        finding = _one(healthy, "views")
    assert finding.severity is Severity.WARNING
    assert finding.evidence["tables"] == ["website", "website_event"]
    assert 'public."My view"' in finding.sentence


def test_a_view_stops_nothing_on_mysql(mysql_server: Server, healthy: str) -> None:
    with _undone(healthy, "CREATE VIEW v AS SELECT url_path FROM website_event", "DROP VIEW v"):
        assert _found(healthy, "views") == []


def test_a_trigger(server: Server, healthy: str) -> None:
    if server.dialect == "postgresql":
        body = "CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
        make = "CREATE TRIGGER mine BEFORE INSERT ON session FOR EACH ROW EXECUTE FUNCTION noop()"
        _execute(healthy, body, make)
        undo = ["DROP TRIGGER mine ON session", "DROP FUNCTION noop"]
    else:
        _execute(healthy, "CREATE TRIGGER mine BEFORE INSERT ON session FOR EACH ROW SET @mine = 1")
        undo = ["DROP TRIGGER mine"]
    try:
        finding = _one(healthy, "triggers")
    finally:
        _execute(healthy, *undo)
    assert finding.severity is Severity.INFO
    assert "mine on session" in finding.sentence


def test_columns_in_another_character_set(mysql_server: Server, healthy: str) -> None:
    change = "ALTER TABLE report MODIFY name varchar(200) CHARACTER SET {0} NOT NULL"
    with _undone(healthy, change.format("latin1"), change.format("utf8mb4 COLLATE utf8mb4_unicode_ci")):
        finding = _one(healthy, "character_sets")
    assert finding.evidence["names"] == ["report.name"]
    assert "latin1" in finding.sentence


def test_a_database_in_another_encoding(postgresql_server: Server, healthy: str) -> None:
    admin = postgresql_server.as_admin(healthy)
    _execute(admin, "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    url = urlsplit(admin)._replace(path="/latin").geturl()
    try:
        create_umami(url, 13)
        assert "LATIN1" in _one(url, "character_sets").sentence
    finally:
        _execute(admin, "DROP DATABASE latin")


# --- storage ---------------------------------------------------------------------------------------------


def test_dead_rows_and_old_statistics(postgresql_server: Server, umami_database: str) -> None:
    _execute(umami_database, "ALTER TABLE website_event SET (autovacuum_enabled = off)")
    _insert_events(umami_database, WEBSITE, [datetime.now(UTC)] * 100)
    half = "event_id < '80000000-0000-0000-0000-000000000000'"
    _execute(umami_database, f"DELETE FROM website_event WHERE {half}")
    _until(lambda: bool(_found(umami_database, "dead_rows", dead_rows=10)))
    finding = _one(umami_database, "dead_rows", dead_rows=10)
    assert finding.subject == "website_event"
    assert "never vacuumed" in finding.sentence
    assert _found(umami_database, "dead_rows") == []
    assert _one(umami_database, "statistics", changed_rows=10).subject == "website_event"
    _execute(umami_database, "VACUUM (ANALYZE) website_event")
    _until(lambda: not _found(umami_database, "dead_rows", dead_rows=10))
    _until(lambda: not _found(umami_database, "statistics", changed_rows=10))


def test_autovacuum_is_off(postgresql_server: Server, healthy: str) -> None:
    _execute(healthy, "ALTER TABLE session SET (autovacuum_enabled = false)")
    finding = _one(healthy, "autovacuum")
    assert "off for session" in finding.sentence
    _execute(healthy, finding.cure.rstrip(";"))
    assert _found(healthy, "autovacuum") == []


def test_unused_space(mysql_server: Server, healthy: str) -> None:
    columns = "website_id, data_key, data_type, string_value"
    _execute(
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
    _until(lambda: bool(_found(healthy, "unused_space", unused_bytes=5_000_000)))
    finding = _one(healthy, "unused_space", unused_bytes=5_000_000)
    assert finding.subject == "session_data"
    assert finding.evidence["unused_percent"] > 33
    _execute(healthy, "TRUNCATE session_data")


def test_a_table_full_of_holes_and_bloated_indexes(postgresql_server: Server, umami_database: str) -> None:
    rows = "FROM generate_series(1, 4000)"
    _execute(
        umami_database,
        "ALTER TABLE website_event SET (autovacuum_enabled = off)",
        "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path)"
        f" SELECT gen_random_uuid(), '{WEBSITE}', gen_random_uuid(), gen_random_uuid(), '/' {rows}",
        "VACUUM (ANALYZE) website_event",
    )
    low: dict[str, Any] = {"unused_bytes": 100_000, "bloat_bytes": 500_000}
    assert _found(umami_database, "unused_space", **low) == []
    assert _found(umami_database, "bloated_indexes", **low) == []
    _execute(
        umami_database,
        "DELETE FROM website_event WHERE event_id > '28000000-0000-0000-0000-000000000000'",
        "VACUUM (ANALYZE) website_event",
    )
    unused, bloated = (_one(umami_database, name, **low) for name in ("unused_space", "bloated_indexes"))
    assert (unused.severity, unused.subject) == (Severity.INFO, "website_event")
    assert unused.evidence["unused_percent"] > 50
    assert bloated.severity is Severity.WARNING
    assert bloated.evidence["estimated"] is True
    assert _found(umami_database, "unused_space") == _found(umami_database, "bloated_indexes") == []
    _execute(umami_database, "REINDEX TABLE website_event")
    assert _found(umami_database, "bloated_indexes", **low) == []


def test_old_transaction_ids(postgresql_server: Server, healthy: str) -> None:
    assert _one(healthy, "transaction_ids", transaction_id_age=1).severity is Severity.WARNING
    assert _one(healthy, "transaction_ids", transaction_id_critical_age=1).severity is Severity.CRITICAL


def test_old_versions_that_wait_to_be_purged(mysql_server: Server, healthy: str, admin: str) -> None:
    with _open(healthy) as other:
        other.begin(read_only=True)
        _execute(healthy, *(f"UPDATE website SET name = 'Shop {n}'" for n in range(30)))
        _until(lambda: bool(_found(admin, "purge_lag", history_length=5)))
        assert _one(admin, "purge_lag", history_length=5).evidence["history_length"] >= 5
        other.rollback()
    _execute(healthy, "UPDATE website SET name = 'Shop'")


def test_a_server_that_is_not_strict(mysql_server: Server, healthy: str, admin: str) -> None:
    with _open(admin) as connection:
        mode = connection.value(Query("mode", "", "SELECT @@global.sql_mode"))
    with _undone(admin, "SET GLOBAL sql_mode = 'NO_ENGINE_SUBSTITUTION'", f"SET GLOBAL sql_mode = '{mode}'"):
        assert _one(healthy, "sql_mode").evidence["sql_mode"] == "NO_ENGINE_SUBSTITUTION"


def test_a_replication_slot_that_nobody_reads(postgresql_server: Server, healthy: str, admin: str) -> None:
    with _undone(
        admin,
        "SELECT pg_create_physical_replication_slot('left_behind', true)",
        "SELECT pg_drop_replication_slot('left_behind')",
    ):
        assert _found(healthy, "replication_slots") == []
        finding = _one(healthy, "replication_slots", held_wal_bytes=0)
    assert finding.severity is Severity.WARNING
    assert "left_behind" in finding.cure


@pytest.mark.slow
def test_a_prepared_transaction(postgresql_server: Server) -> None:
    with servers.start(postgresql_server.name, settings={"max_prepared_transactions": "2"}) as own:
        url = own.create_database()
        create_umami(url, 13)
        with _open(url) as connection:
            connection.begin(read_only=False)
            connection.run(Query("test", "", "UPDATE website SET name = 'x'"))
            connection.run(Query("test", "", "PREPARE TRANSACTION 'forgotten'"))
            assert _found(url, "prepared_transactions") == []
            finding = _one(url, "prepared_transactions", prepared_seconds=0)
            connection.run(Query("test", "", finding.cure.rstrip(";")))
            assert _found(url, "prepared_transactions", prepared_seconds=0) == []


@pytest.mark.slow
def test_a_binary_log_for_ever(mysql_server: Server) -> None:
    settings = {"log-bin": "log", "binlog_expire_logs_seconds": "0"}
    with servers.start(mysql_server.name, settings=settings) as own:
        url = own.create_database()
        assert "for ever" in _one(url, "binary_log").sentence
        _execute(own.as_admin(url), "SET GLOBAL binlog_expire_logs_seconds = 3600")
        assert _found(url, "binary_log") == []


# --- what others do --------------------------------------------------------------------------------------


@contextmanager
def _beside(url: str, *statements: str) -> Iterator[None]:
    """Run statements, the last of which takes its time, in a session and thread of their own."""

    def work() -> None:
        try:
            with _open(url) as connection, connection.transaction():
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
        _until(lambda: bool(_found(watcher, "long_transactions", transaction_seconds=0)))
        finding = _one(watcher, "long_transactions", transaction_seconds=0)
        assert finding.severity is Severity.WARNING
        assert finding.evidence["user"] == urlsplit(healthy).username
        assert _found(watcher, "long_transactions") == []
        assert _found(watcher, "idle_in_transaction", idle_in_transaction_seconds=0) == []
        critical = _one(watcher, "long_transactions", transaction_critical_seconds=0)
        assert critical.severity is Severity.CRITICAL


def test_idle_in_transaction_and_its_cure(server: Server, healthy: str, admin: str) -> None:
    watcher = healthy if server.dialect == "postgresql" else admin
    with _open(healthy) as other:
        other.begin(read_only=False)
        other.run(Query("test", "", "UPDATE website SET name = 'Shop'"))
        finding = _one(watcher, "idle_in_transaction", idle_in_transaction_seconds=0)
        assert "sleeps inside a transaction" in finding.sentence
        assert _found(watcher, "idle_in_transaction") == []
        assert _found(watcher, "long_transactions", transaction_seconds=0) == []
        _execute(admin, finding.cure.rstrip(";"))
        _until(lambda: not _found(watcher, "idle_in_transaction", idle_in_transaction_seconds=0))


def test_sessions_of_others_are_hidden(postgresql_server: Server, healthy: str) -> None:
    with (
        _open(healthy) as other,
        _user(postgresql_server, healthy, "SELECT ON ALL TABLES IN SCHEMA public") as url,
    ):
        other.begin(read_only=True)
        other.value(Query("test", "", "SELECT COUNT(*) FROM website_event"))
        (verdict,) = _examined(url, "long_transactions", transaction_seconds=0).verdicts
        other.rollback()
    assert "pg_read_all_stats" in verdict.unseen[0].needs


def test_a_wait_for_a_lock(server: Server, healthy: str, admin: str) -> None:
    watcher = healthy if server.dialect == "postgresql" else admin
    update = "UPDATE website SET name = 'Shop'"
    with _open(healthy) as first:
        first.begin(read_only=False)
        first.run(Query("first", "", update))
        waiting = threading.Thread(target=_execute, args=(healthy, update))
        waiting.start()
        try:
            _until(lambda: bool(_found(watcher, "lock_waits", lock_wait_seconds=0)))
            finding = _one(watcher, "lock_waits", lock_wait_seconds=0)
            assert _found(watcher, "lock_waits", lock_wait_seconds=60) == []
        finally:
            first.rollback()
            waiting.join()
    assert finding.severity is Severity.WARNING
    if server.dialect == "postgresql":
        assert finding.evidence["blocker"] in finding.cure
    assert _found(watcher, "lock_waits", lock_wait_seconds=0) == []


def test_a_table_that_another_session_has_locked(postgresql_server: Server, healthy: str) -> None:
    with _open(healthy) as other, other.transaction():
        other.run(Query("lock", "", "LOCK TABLE website_event IN ACCESS EXCLUSIVE MODE"))
        began = time.monotonic()
        found = _examined(healthy, budget_seconds=2.5)
        assert time.monotonic() - began < 5
    assert [check.name for check, _ in found.worst_first() if check.name != "server_version"] == ["umami"]
    assert "Another session has locked" in found.worst_first()[0][1].sentence


# --- visitor data ----------------------------------------------------------------------------------------


def test_events_past_the_horizon(healthy: str) -> None:
    assert _found(healthy, "retention") == []
    assert _found(healthy, "retention", retention_days=30) == []
    finding = _one(healthy, "retention", retention_days=1, retention_slack_days=0)
    assert finding.severity is Severity.WARNING
    assert finding.cure == "umami-ops prune --days 1"


def test_events_without_a_time(healthy: str) -> None:
    _insert_events(healthy, WEBSITE, [None, None, None])
    try:
        assert _one(healthy, "undated_events").evidence["rows"] == 3
        assert "2 or more events" in _one(healthy, "undated_events", sample_rows=2).sentence
    finally:
        _execute(healthy, "DELETE FROM website_event WHERE created_at IS NULL")


def test_orphans(server: Server, healthy: str) -> None:
    insert = Query(
        "insert",
        "",
        "INSERT INTO event_data (event_data_id, website_id, website_event_id, data_key, data_type)"
        " VALUES (:id, :website, :event, 'k', 1)",
    )
    with _open(healthy) as connection:
        one = Query("event", "", "SELECT event_id AS id FROM website_event LIMIT 1")
        first = connection.value(one)
        for event in (first, first, first, str(uuid.uuid4())):
            connection.run(insert, id=str(uuid.uuid4()), website=WEBSITE, event=event)
    try:
        finding = _one(healthy, "orphans")
        assert (finding.evidence["looked_at"], finding.evidence["orphans"]) == (4, 1)
        assert finding.severity is Severity.WARNING
        assert _one(healthy, "orphans", orphan_percent=50).severity is Severity.INFO
    finally:
        _execute(healthy, "DELETE FROM event_data")


def test_session_data_that_is_there_twice(healthy: str) -> None:
    insert = Query(
        "insert",
        "",
        "INSERT INTO session_data (session_data_id, website_id, session_id, data_key, data_type)"
        " VALUES (:id, :website, :session, :key, 1)",
    )
    with _open(healthy) as connection:
        for key in ("plan", "plan", "name"):
            connection.run(insert, id=str(uuid.uuid4()), website=WEBSITE, session=WEBSITE, key=key)
    try:
        finding = _one(healthy, "duplicate_session_data")
        assert (finding.evidence["looked_at"], finding.evidence["duplicates"]) == (3, 2)
    finally:
        _execute(healthy, "DELETE FROM session_data")


def test_websites_that_fell_silent(healthy: str) -> None:
    now = datetime.now(UTC)
    assert _found(healthy, "silent_websites", now=now + timedelta(hours=20)) == []
    finding = _one(healthy, "silent_websites", now=now + timedelta(hours=30))
    assert finding.severity is Severity.WARNING
    assert finding.sentence.startswith("Shop has sent nothing for 30 h")
    assert _found(healthy, "silent_websites", now=now + timedelta(days=60)) == []
    assert _found(healthy, "silent_websites", now=now + timedelta(hours=30), silence_factor=50) == []

    _execute(healthy, f"INSERT INTO website (website_id, name) VALUES ('{OTHER}', 'Blog')")
    try:
        # Too few events to know a rhythm, so its silence means nothing …
        _insert_events(healthy, OTHER, [now - timedelta(hours=hours) for hours in range(5)])
        assert _one(healthy, "silent_websites", now=now + timedelta(hours=30)).subject == "Shop"
        # … and with enough of them everything is silent.
        _insert_events(healthy, OTHER, [now - timedelta(hours=hours) for hours in range(25)])
        finding = _one(healthy, "silent_websites", now=now + timedelta(hours=30))
        assert finding.severity is Severity.CRITICAL
        _execute(healthy, f"UPDATE website SET deleted_at = CURRENT_TIMESTAMP WHERE website_id = '{OTHER}'")
        assert _one(healthy, "silent_websites", now=now + timedelta(hours=30)).subject == "Shop"
    finally:
        _execute(
            healthy,
            f"DELETE FROM website_event WHERE website_id = '{OTHER}'",
            f"DELETE FROM website WHERE website_id = '{OTHER}'",
        )


# --- how it runs -----------------------------------------------------------------------------------------


def _broken(text: str) -> Check:
    def look(examination: object) -> Iterator[Finding]:
        yield from examination.connection.rows(Query("test.broken", "", text))  # type: ignore[attr-defined]

    return Check("broken", "", "", "", "", look)


def test_a_check_that_fails_leaves_the_others_alone(healthy: str) -> None:
    broken, *others = _examined(healthy, more=[_broken("SELECT * FROM nowhere")]).verdicts
    assert "nowhere" in broken.unseen[0].needs
    assert len(others) == len(CHECKS)
    assert all(v.has_looked for v in others if v.check.name in ("connection", "umami", "retention"))


def test_a_check_that_takes_too_long_is_ended(server: Server, healthy: str) -> None:
    digests = "SELECT SUM(CRC32(CONCAT(a.event_id, b.event_id, c.event_id, d.event_id)))"
    tables = "website_event AS a, website_event AS b, website_event AS c, website_event AS d"
    sleep = "SELECT pg_sleep(30)" if server.dialect == "postgresql" else f"{digests} FROM {tables}"
    began = time.monotonic()
    found = _examined(healthy, "clock", more=[_broken(sleep)], budget_seconds=2.5)
    assert time.monotonic() - began < 8
    assert found.verdicts[0].unseen[0].needs == "more time than a second"
    assert found.verdicts[1].measures


def test_without_time_nothing_is_looked_at(healthy: str) -> None:
    found = _examined(healthy, budget_seconds=0)
    assert all("more time" in unseen.needs for verdict in found.verdicts for unseen in verdict.unseen)
    assert any(verdict.unseen for verdict in found.verdicts)


# --- the command -----------------------------------------------------------------------------------------

UNDATED = ("health", "--only", "undated_events")


@pytest.fixture
def warned(healthy: str) -> Iterator[str]:
    """The healthy database with one warning."""
    _insert_events(healthy, WEBSITE, [None])
    yield healthy
    _execute(healthy, "DELETE FROM website_event WHERE created_at IS NULL")


def test_the_exit_code(warned: str) -> None:
    assert run(*UNDATED, url=warned).code == 0
    assert run(*UNDATED, "--fail-on", "warning", url=warned).code == 1
    skip = ("--skip", "undated_events", "--skip", "server_version")
    assert run("health", *skip, "--fail-on", "warning", url=warned).code == 0
    assert run(*UNDATED, "--format", "nagios", url=warned).code == 1


def test_what_a_person_sees(warned: str) -> None:
    outcome = run("health", url=warned)
    lines = [line for line in outcome.out.splitlines() if line.strip()]
    assert lines[1].split()[:3] == ["!", "warning", "undated_events"]
    assert "→ umami-ops prune" in lines[2]
    assert "checks are fine" in outcome.out
    assert outcome.err == ""


def test_what_a_program_sees(server: Server, warned: str) -> None:
    document = run("health", "--format", "json", url=warned).document
    assert document["schema_version"] == 1
    assert document["severity"] == "warning"
    assert document["server"]["flavour"] == server.flavour
    (finding,) = [f for f in document["findings"] if f["check"] == "undated_events"]
    assert set(finding) == {"check", "severity", "subject", "sentence", "why", "cure", "evidence"}
    assert finding["evidence"]["rows"] == 1
    assert {check["name"] for check in document["checks"]} == {check.name for check in CHECKS}
    assert all(
        set(c) == {"name", "title", "severity", "could_not_look", "measures"} for c in document["checks"]
    )


def test_what_prometheus_sees(warned: str) -> None:
    text = run("health", "--format", "prometheus", url=warned).out
    sample = re.compile(r'(umami_ops_\w+)(?:\{(check|table)="\w+"\})? -?\d+(\.\d+)?')
    names = set()
    for line in text.splitlines():
        found = re.fullmatch(r"# (?:HELP (umami_ops_\w+) \S.*|TYPE (umami_ops_\w+) gauge)", line)
        if found is None:
            found = sample.fullmatch(line)
            assert found, line
            names.add(found[1])
    assert len(re.findall("^# TYPE", text, re.MULTILINE)) == len(names)
    assert 'umami_ops_check_severity{check="undated_events"} 2\n' in text
    assert "umami_ops_up 1\n" in text
    assert "Shop" not in text


def test_what_nagios_sees(warned: str) -> None:
    outcome = run("health", "--format", "nagios", "--skip", "server_version", url=warned)
    (line,) = outcome.out.splitlines()
    text, _, data = line.partition(" | ")
    assert text.startswith("UMAMI WARNING - undated_events: 1 event has no created_at")
    assert all(re.fullmatch(r"\w+=-?[\d.]+(s|B)?", part) for part in data.split()), data
    fine = run("health", "--format", "nagios", "--only", "connections", url=warned)
    assert (fine.code, fine.out[:10]) == (0, "UMAMI OK -")


def test_thresholds_come_from_file_and_environment(warned: str, tmp_path: Path) -> None:
    (tmp_path / "umami-ops.toml").write_text("[health]\nretention_days = 1\nretention_slack_days = 0\n")
    only = ("health", "--only", "retention", "--fail-on", "warning")
    assert run(*only, url=warned, folder=tmp_path).code == 1
    assert run(*only, url=warned, folder=tmp_path, env={"UMAMI_OPS_HEALTH_RETENTION_DAYS": "30"}).code == 0


def test_unknown_names_are_refused(healthy: str, tmp_path: Path) -> None:
    outcome = run("health", "--only", "conections", url=healthy)
    assert outcome.code == 2
    assert "Did you mean connections?" in outcome.err
    assert run("health", "--format", "nagios", "--only", "x", url=healthy).code == 3
    outcome = run("health", url=healthy, env={"UMAMI_OPS_HEALTH_RETENTION_DAY": "3"})
    assert outcome.code == 2
    assert "UMAMI_OPS_HEALTH_RETENTION_DAYS" in outcome.err
    for text in ("[health]\nretention = 3\n", "[health]\nretention_days = 'x'\n", "health = 'x'\n"):
        (tmp_path / "umami-ops.toml").write_text(text)
        outcome = run("health", url=healthy, folder=tmp_path)
        assert outcome.code == 2, text
        assert "health" in outcome.err


# --- growth, configuration, partitions, backups ----------------------------------------------------------


def test_when_the_disk_will_be_full(server: Server, healthy: str, admin: str) -> None:
    verdicts = _examined(admin, "growth", disk_full_critical_days=0, disk_full_days=0).verdicts
    assert {m.name for m in verdicts[0].measures} >= {"growth_bytes_per_day"}
    assert not verdicts[0].findings
    if any(unseen.needs for unseen in verdicts[0].unseen):
        return  # the server is not on this machine
    finding = _one(admin, "growth", disk_full_days=1e12, disk_full_critical_days=0)
    assert finding.severity is Severity.WARNING
    assert finding.evidence["free_bytes"] > 0
    assert (
        _one(admin, "growth", disk_full_days=1e12, disk_full_critical_days=1e12).severity is Severity.CRITICAL
    )


def test_an_ordinary_user_is_not_told_where_postgresql_lies(postgresql_server: Server, healthy: str) -> None:
    (verdict,) = _examined(healthy, "growth").verdicts
    assert [unseen.needs for unseen in verdict.unseen] == [
        "to run on the server's own machine, to see its disk"
    ]
    assert verdict.measures


def test_the_disk_of_postgresql_is_known_on_its_machine(postgresql_server: Server, admin: str) -> None:
    if "local" not in postgresql_server.origin:
        pytest.skip("the server is in a container")
    assert _found(admin, "disk") == []
    assert _one(admin, "disk", free_disk_bytes=10**18).severity is Severity.CRITICAL


def test_sessions_that_were_never_used(healthy: str) -> None:
    assert _found(healthy, "unused_sessions") == []
    columns = "session_id, website_id, created_at"
    rows = ", ".join(f"('{uuid.uuid4()}', '{OTHER}', '2025-01-01 00:00:00')" for _ in range(5))
    with _undone(
        healthy,
        f"INSERT INTO session ({columns}) VALUES {rows}",
        f"DELETE FROM session WHERE website_id = '{OTHER}'",
    ):
        finding = _one(healthy, "unused_sessions")
        assert finding.evidence["unused"] == 5
        assert _found(healthy, "unused_sessions", unused_percent_of_sessions=101) == []
        with _open(healthy) as connection:
            sessions = connection.rows(
                Query("s", "", f"SELECT session_id FROM session WHERE website_id = '{OTHER}'")
            )
        used = ", ".join(
            f"('{uuid.uuid4()}', '{OTHER}', '{row['session_id']}', '{OTHER}', '/')" for row in sessions
        )
        _execute(
            healthy,
            f"INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path) VALUES {used}",
        )
        assert _found(healthy, "unused_sessions") == []
        _execute(healthy, f"DELETE FROM website_event WHERE website_id = '{OTHER}'")


def test_checkpoints_before_their_time(postgresql_server: Server, healthy: str, admin: str) -> None:
    assert _found(healthy, "checkpoints", checkpoints=10**9) == []
    _execute(admin, *["CHECKPOINT"] * 3)
    _until(lambda: bool(_found(healthy, "checkpoints", checkpoints=1, checkpoints_forced_percent=1)))
    finding = _one(healthy, "checkpoints", checkpoints=1, checkpoints_forced_percent=1)
    assert finding.evidence["forced"] >= 1
    assert "max_wal_size" in finding.cure


def test_a_time_zone_other_than_utc(mysql_server: Server, healthy: str, admin: str) -> None:
    before = "SYSTEM"
    with _undone(admin, "SET GLOBAL time_zone = '+00:00'", f"SET GLOBAL time_zone = '{before}'"):
        assert _found(healthy, "time_zone") == []
        _execute(admin, "SET GLOBAL time_zone = '-03:30'")
        finding = _one(healthy, "time_zone")
        assert "-3:30 from UTC" in finding.sentence
        assert finding.evidence["offset_minutes"] == -210


def test_the_size_of_the_binary_log(mysql_server: Server, healthy: str, admin: str) -> None:
    (verdict,) = _examined(admin, "binary_log_size").verdicts
    if not verdict.measures:
        with _open(admin) as connection:
            assert not connection.value(Query("log", "", "SELECT @@global.log_bin AS n"))
        return
    assert not verdict.findings
    assert _one(admin, "binary_log_size", binary_log_bytes=1).evidence["size_bytes"] > 0
    (blind,) = _examined(healthy, "binary_log_size").verdicts
    assert "a right" in blind.unseen[0].needs


def test_a_collation_that_has_another_version(postgresql_server: Server) -> None:
    name = f"test_{uuid.uuid4().hex[:12]}"
    url = postgresql_server.create_database()
    admin = postgresql_server.as_admin(url)
    try:
        assert _found(admin, "collation_version") == []
        _execute(
            admin,
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"
            " LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LC_COLLATE 'C' LC_CTYPE 'C'",
        )
        other = admin.replace(database_name(admin), name)
        assert _found(other, "collation_version") == []
        _execute(admin, f"UPDATE pg_database SET datcollversion = '0' WHERE datname = '{name}'")
        finding = _one(other, "collation_version")
        assert finding.evidence["expected"] == "0"
        assert "REINDEX DATABASE" in finding.cure
    finally:
        _execute(admin, f"DROP DATABASE IF EXISTS {name}")
        postgresql_server.drop_database(url)


def test_partitions(server: Server, umami_database: str) -> None:
    assert _found(umami_database, "partitions") == []
    _insert_events(umami_database, WEBSITE, [datetime.now(UTC)] * 20)
    made = run("partition", "enable", "--yes", url=umami_database)
    assert made.code == 0, made.said
    assert _found(umami_database, "partitions") == []
    soon = datetime.now(UTC) + timedelta(days=365)
    assert _one(umami_database, "partitions", now=soon).severity is Severity.CRITICAL
    assert _one(umami_database, "partitions", partition_days=3650).severity is Severity.WARNING
    _insert_events(umami_database, WEBSITE, [datetime.now(UTC) + timedelta(days=2000)] * 50)
    analyze = "ANALYZE" if server.dialect == "postgresql" else "ANALYZE TABLE website_event"
    with _open(umami_database) as connection:
        connection.maintain(Query("analyze", "", analyze))
    finding = _one(umami_database, "partitions")
    assert finding.evidence["rows"] > 0
    assert finding.cure == "umami-ops partition maintain"


def test_backups(server: Server, umami_database: str, tmp_path: Path) -> None:
    environment = {
        "UMAMI_OPS_STORE": str(tmp_path / "store"),
        "UMAMI_OPS_PROGRAMS": str(servers.programs(server.name)),
    }

    def found(*more: str) -> list[dict[str, Any]]:
        outcome = run("health", "--only", "backups", "--format", "json", url=umami_database, env=environment)
        return list(outcome.document["findings"])

    (nowhere,) = _examined(umami_database, "backups").verdicts
    assert "UMAMI_OPS_STORE" in nowhere.unseen[0].needs
    (tmp_path / "store").mkdir()
    assert ["no backup of this database" in f["sentence"] for f in found()] == [True]
    made = run("backup", url=umami_database, env=environment)
    assert made.code == 0, made.said
    (unproven,) = found()
    assert "ever proven to restore" in unproven["sentence"]
    verified = run(
        "backup", "verify", unproven["subject"], url=server.as_admin(umami_database), env=environment
    )
    assert verified.code == 0, verified.said
    assert found() == []
    environment["UMAMI_OPS_HEALTH_BACKUP_DAYS"] = "0"
    assert ["The newest backup is" in f["sentence"] for f in found()] == [True]
    (next((tmp_path / "store").rglob("manifest.json"))).write_text("{}")
    assert any("can't be read" in f["sentence"] for f in found())


def test_autovacuum_that_comes_too_seldom(postgresql_server: Server, healthy: str, admin: str) -> None:
    _execute(admin, "ANALYZE website_event")
    assert _found(healthy, "autovacuum_pace") == []
    _until(lambda: bool(_found(healthy, "autovacuum_pace", paced_rows=10, vacuum_days=1)))
    finding = _one(healthy, "autovacuum_pace", paced_rows=10, vacuum_days=1)
    assert finding.severity is Severity.INFO
    assert finding.evidence["waits_for_rows"] > 900
    eager = "autovacuum_vacuum_insert_threshold = 1, autovacuum_vacuum_insert_scale_factor = 0.01"
    names = eager.replace(" = 1", "").replace(" = 0.01", "")
    with _undone(
        healthy, f"ALTER TABLE website_event SET ({eager})", f"ALTER TABLE website_event RESET ({names})"
    ):
        assert _found(healthy, "autovacuum_pace", paced_rows=10, vacuum_days=1) == []
