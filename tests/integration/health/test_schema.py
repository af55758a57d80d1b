"""What `umami-ops health` finds about indexes, columns, views and triggers."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from testbed.servers import Server
from testbed.umami import create_umami
from tests import command
from tests.examining import execute, finding_of, findings_of, undone
from umami_ops.errors import DatabaseFault
from umami_ops.operations.health import Severity
from umami_ops.umami.migrations import latest_released_level

INDEX = "website_event_website_id_created_at_tag_idx"


def _drop_index(server: Server, name: str, table: str) -> str:
    return f"DROP INDEX {name}" if server.dialect == "postgresql" else f"DROP INDEX {name} ON {table}"


def test_an_index_that_is_missing_and_its_cure(server: Server, healthy: str) -> None:
    execute(healthy, _drop_index(server, INDEX, "website_event"))
    finding = finding_of(healthy, "indexes")
    assert finding.severity is Severity.WARNING
    assert f"{INDEX} on website_event (website_id, created_at, tag) is missing" in finding.sentence
    execute(healthy, finding.cure.rstrip(";"))
    assert findings_of(healthy, "indexes") == []


def test_cures_for_an_index_of_all_partitions(postgresql_server: Server, umami_database: str) -> None:
    """Beside writers PostgreSQL neither builds nor drops one."""
    index = "website_event_website_id_created_at_idx"
    made = command.run("partition", "enable", "--yes", url=umami_database)
    assert made.code == 0, made.said
    execute(umami_database, f"DROP INDEX {index}")
    execute(umami_database, finding_of(umami_database, "indexes").cure.rstrip(";"))
    assert findings_of(umami_database, "indexes") == []
    execute(umami_database, "CREATE INDEX twin_idx ON website_event (website_id, created_at)")
    execute(umami_database, finding_of(umami_database, "superfluous_indexes").cure.rstrip(";"))
    assert findings_of(umami_database, "superfluous_indexes") == []


def test_a_cure_names_the_schema(postgresql_server: Server) -> None:
    url = f"{postgresql_server.create_database()}?schema=analytics"
    execute(url.partition("?")[0], "CREATE SCHEMA analytics")
    create_umami(url, latest_released_level("postgresql"))
    index = "website_event_website_id_created_at_idx"
    execute(url, f"DROP INDEX {index}")
    cure = finding_of(url, "indexes").cure.rstrip(";")
    # As psql would: without that schema in the path.
    execute(url.partition("?")[0], cure)
    assert findings_of(url, "indexes") == []


def test_an_index_that_was_renamed_and_its_cure(server: Server, healthy: str) -> None:
    rename = "ALTER INDEX {0} RENAME TO {1}" if server.dialect == "postgresql" else (
        "ALTER TABLE website_event RENAME INDEX {0} TO {1}"
    )  # fmt: skip
    execute(healthy, rename.format(INDEX, "my_idx"))
    finding = finding_of(healthy, "indexes")
    assert "is called my_idx here" in finding.sentence
    assert [f.sentence for f in findings_of(healthy, "superfluous_indexes")] == []
    execute(healthy, finding.cure.rstrip(";"))
    assert findings_of(healthy, "indexes") == []


def test_an_index_that_is_another(server: Server, healthy: str) -> None:
    for columns in ("website_id, tag", "website_id, created_at, tag"):
        drop = _drop_index(server, INDEX, "website_event")
        execute(healthy, drop, f"CREATE INDEX {INDEX} ON website_event ({columns})")
        found = findings_of(healthy, "indexes")
        assert bool(found) == (columns == "website_id, tag")
        assert all("is not as Umami made it" in finding.sentence for finding in found)


def test_a_table_without_a_primary_key_and_its_cure(server: Server, healthy: str) -> None:
    key = "CONSTRAINT segment_pkey" if server.dialect == "postgresql" else "PRIMARY KEY"
    execute(healthy, f"ALTER TABLE segment DROP {key}")
    finding = finding_of(healthy, "indexes")
    assert finding.severity is Severity.CRITICAL
    assert "Table segment has no primary key" in finding.sentence
    execute(healthy, finding.cure.rstrip(";"))
    assert findings_of(healthy, "indexes") == []


def test_an_index_that_the_next_migration_needs(
    postgresql_server: Server, umami_at: Callable[[int], str]
) -> None:
    url = umami_at(13)
    execute(url, "DROP INDEX session_session_id_key", "DROP INDEX website_share_id_key")
    by_level = {finding.evidence["dropped_by_level"]: finding for finding in findings_of(url, "indexes")}
    assert set(by_level) == {15, 17}
    assert by_level[17].severity is Severity.CRITICAL
    assert "CREATE UNIQUE INDEX" in by_level[17].cure


def test_an_index_that_is_invalid(postgresql_server: Server, healthy: str) -> None:
    with pytest.raises(DatabaseFault):
        execute(healthy, "CREATE UNIQUE INDEX CONCURRENTLY half_built ON website_event (website_id)")
    finding = finding_of(healthy, "invalid_indexes")
    assert "half_built" in finding.sentence
    execute(healthy, finding.cure.rstrip(";"))
    assert findings_of(healthy, "invalid_indexes") == []


def test_indexes_that_are_superfluous(server: Server, healthy: str) -> None:
    with undone(
        healthy,
        "CREATE INDEX second_idx ON website_event (created_at)",
        _drop_index(server, "second_idx", "website_event"),
    ):
        finding = finding_of(healthy, "superfluous_indexes")
        assert finding.severity is Severity.WARNING
        assert "website_event_created_at_idx" in finding.sentence
        assert "second_idx" in finding.cure


def test_an_index_that_nothing_uses(postgresql_server: Server, healthy: str) -> None:
    with undone(
        healthy, "CREATE INDEX strange_idx ON website_event (url_path, tag)", "DROP INDEX strange_idx"
    ):
        finding = finding_of(healthy, "superfluous_indexes")
    assert finding.severity is Severity.INFO
    assert "strange_idx" in finding.sentence


def test_a_column_of_another_type(server: Server, healthy: str) -> None:
    change = "ALTER TABLE report ALTER COLUMN name TYPE varchar({0})" if server.dialect == "postgresql" else (
        "ALTER TABLE report MODIFY name varchar({0}) NOT NULL"
    )  # fmt: skip
    with undone(healthy, change.format(300), change.format(200)):
        finding = finding_of(healthy, "column_types")
    assert finding.subject == "report.name"
    assert "300" in finding.evidence["found"]


def test_a_view_on_a_table(postgresql_server: Server, healthy: str) -> None:
    with undone(
        healthy,
        'CREATE VIEW "My view" AS SELECT url_path, name FROM website_event JOIN website USING (website_id)',
        'DROP VIEW "My view"',
    ):
        finding = finding_of(healthy, "views")
    assert finding.severity is Severity.WARNING
    assert finding.evidence["tables"] == ["website", "website_event"]
    assert 'public."My view"' in finding.sentence


def test_a_view_stops_nothing_on_mysql(mysql_server: Server, healthy: str) -> None:
    with undone(healthy, "CREATE VIEW v AS SELECT url_path FROM website_event", "DROP VIEW v"):
        assert findings_of(healthy, "views") == []


def test_a_trigger(server: Server, healthy: str) -> None:
    if server.dialect == "postgresql":
        body = "CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
        make = "CREATE TRIGGER mine BEFORE INSERT ON session FOR EACH ROW EXECUTE FUNCTION noop()"
        execute(healthy, body, make)
        undo = ["DROP TRIGGER mine ON session", "DROP FUNCTION noop"]
    else:
        execute(healthy, "CREATE TRIGGER mine BEFORE INSERT ON session FOR EACH ROW SET @mine = 1")
        undo = ["DROP TRIGGER mine"]
    try:
        finding = finding_of(healthy, "triggers")
    finally:
        execute(healthy, *undo)
    assert finding.severity is Severity.INFO
    assert "mine on session" in finding.sentence


@pytest.mark.parametrize("other", ["latin1", "utf8mb4 COLLATE utf8mb4_general_ci"])
def test_columns_in_another_character_set(other: str, mysql_server: Server, healthy: str) -> None:
    change = "ALTER TABLE report MODIFY name varchar(200) CHARACTER SET {0} NOT NULL"
    with undone(healthy, change.format(other), change.format("utf8mb4 COLLATE utf8mb4_unicode_ci")):
        finding = finding_of(healthy, "character_sets")
    assert finding.evidence["names"] == ["report.name"]
    assert other.split("_")[-1] in finding.sentence


def test_a_database_in_another_encoding(postgresql_server: Server, healthy: str) -> None:
    admin = postgresql_server.as_admin(healthy)
    execute(admin, "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    url = urlsplit(admin)._replace(path="/latin").geturl()
    try:
        create_umami(url, 13)
        assert "LATIN1" in finding_of(url, "character_sets").sentence
    finally:
        execute(admin, "DROP DATABASE latin")
