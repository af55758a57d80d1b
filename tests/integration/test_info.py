"""What `umami-ops info` tells: exact on small tables, marked estimates on big ones, odd names harmless."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from testbed.servers import Server
from testbed.traffic import Traffic, populate
from testbed.umami import build_indexes, create_umami
from tests.command import run
from tests.examining import WEBSITE, user_with
from umami_ops.databases.base import Connection
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.operations import info
from umami_ops.operations.info import Contents, read_contents
from umami_ops.operations.inspect import inspect
from umami_ops.sql import Query
from umami_ops.umami.migrations import latest_released_level

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVENTS = 6_000
Make = Callable[[int], str]


@contextmanager
def _open(url: str) -> Iterator[Connection]:
    with open_database(DatabaseUrl.parse(url)).connect() as connection:
        yield connection


def _contents(url: str, *, exact: bool = False) -> Contents:
    with _open(url) as connection:
        return read_contents(connection, inspect(connection), now=NOW, exact=exact)


def _value(url: str, sql: str) -> int:
    with _open(url) as connection:
        return int(connection.value(Query("ask", "", sql)))


def _execute(url: str, *statements: str) -> None:
    with _open(url) as connection:
        for statement in statements:
            connection.run(Query("test", "", statement))


@pytest.fixture(scope="module")
def traffic(server: Server) -> Iterator[str]:
    """Thirteen months of traffic; read only, since all tests share it."""
    url = server.create_database()
    level = latest_released_level(server.dialect)
    create_umami(url, level, indexes=False)
    populate(url, Traffic(NOW - timedelta(days=395), NOW, events=EVENTS), level)
    build_indexes(url, level)
    yield url
    server.drop_database(url)


def test_rows_of_small_tables_are_counted(traffic: str) -> None:
    for table in _contents(traffic).tables:
        assert not table.amount.estimated
        name = table.name
        quoted = f"`{name}`" if traffic.startswith("mysql") else f'"{name}"'
        assert table.amount.rows == _value(traffic, f"SELECT COUNT(*) FROM {quoted}"), name


def test_bytes_are_told_apart(traffic: str) -> None:
    contents = _contents(traffic)
    (events,) = [table for table in contents.tables if table.name == "website_event"]
    assert events.table_bytes > 500_000
    assert events.index_bytes > events.table_bytes
    assert contents.table_bytes == sum(table.table_bytes for table in contents.tables)


def test_what_is_past_the_horizon(traffic: str) -> None:
    (events,) = [table for table in _contents(traffic).tables if table.name == "website_event"]
    horizon = (NOW - timedelta(days=365)).strftime("%Y-%m-%d %H:%M:%S")
    assert events.older is not None
    assert 0 < events.older.rows < events.amount.rows
    assert events.older.rows == _value(
        traffic, f"SELECT COUNT(*) FROM website_event WHERE created_at < '{horizon}'"
    )


def test_only_visitor_data_can_be_past_a_horizon(traffic: str) -> None:
    for table in _contents(traffic).tables:
        assert (table.older is not None) == table.role.is_visitor_data


def test_traffic_of_each_website_link_and_pixel(server: Server, traffic: str) -> None:
    sources = _contents(traffic).sources
    assert {source.kind for source in sources} >= {"website"}
    if server.dialect == "postgresql":
        assert {source.kind for source in sources} >= {"link", "pixel"}
    for source in sources:
        mine = f"FROM website_event WHERE website_id = '{source.id}'"
        assert source.events.rows == _value(traffic, f"SELECT COUNT(*) {mine}")
        assert source.sessions.rows == _value(
            traffic, f"SELECT COUNT(*) {mine}".replace("website_event", "session")
        )
        with _open(traffic) as connection:
            first, last = connection.row(
                Query("ask", "", f"SELECT MIN(created_at) AS a, MAX(created_at) AS b {mine}")
            ).values()
        assert (source.first_event, source.last_event) == (first, last)
        since = (NOW - timedelta(days=30)).strftime("%Y-%m-%d %H:%M:%S")
        recent = _value(traffic, f"SELECT COUNT(*) {mine} AND created_at >= '{since}'")
        assert source.events_per_day == pytest.approx(recent / 30)


def test_big_tables_are_estimated_and_say_so(traffic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "EXACT_ROWS", 500)
    monkeypatch.setattr(info, "_LOOKED_UP_ROWS", 0)
    guessed, counted = _contents(traffic), _contents(traffic, exact=True)
    (events,) = [table for table in guessed.tables if table.name == "website_event"]
    assert events.amount.estimated
    assert events.older is not None
    assert events.older.estimated
    assert 0.5 * EVENTS < events.amount.rows < 2 * EVENTS
    for one, other in zip(guessed.sources, counted.sources, strict=True):
        assert one.events.estimated
        assert one.growth_estimated
        assert not other.events.estimated
        assert (one.first_event, one.last_event) == (other.first_event, other.last_event)
        assert one.events.rows < 3 * other.events.rows + 200
    assert all(not table.amount.estimated for table in counted.tables)


def test_a_table_that_was_never_analysed(postgresql_server: Server, umami_database: str) -> None:
    _execute(
        umami_database,
        "ALTER TABLE website_event SET (autovacuum_enabled = off)",
        "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path)"
        " SELECT gen_random_uuid(), '00000000-0000-4000-8000-000000000001', gen_random_uuid(),"
        " gen_random_uuid(), '/' FROM generate_series(1, 5000)",
    )
    with _open(umami_database) as connection:
        assert 1_000 < inspect(connection).relations["website_event"].rows_estimate < 25_000
    (source,) = _contents(umami_database).sources
    assert (source.kind, source.events.rows) == ("gone", 5000)
    assert "(no longer there)" in run("info", url=umami_database).out


def test_an_umami_without_any_traffic(umami_database: str) -> None:
    outcome = run("info", url=umami_database)
    assert outcome.code == 0
    assert "0 events are older than 365 days" in outcome.out
    assert "prune" not in outcome.out  # there is nothing that it would do
    assert run("info", "--json", url=umami_database).document["websites"] == []


def test_the_ids_of_websites_stand_where_there_is_room(traffic: str) -> None:
    outcome = run("info", url=traffic)
    assert "umami-ops prune --days 365 --dry-run" in outcome.out
    assert all(source.id in outcome.out for source in _contents(traffic).sources)


def test_every_level_can_be_read(server: Server, umami_at: Make) -> None:
    for level in (1, 4, 8) + ((14, 23, 30) if server.dialect == "postgresql" else (13,)):
        assert run("info", url=umami_at(level)).code == 0


@pytest.mark.parametrize(
    "name", ['O\'Brien "quoted" `tick`', "茶 🍵 Bücher", "x\x1b[31mred\x07\r\nnext", "[bold]%s{}"]
)
def test_odd_names_are_harmless(name: str, server: Server, umami_database: str) -> None:
    insert = Query(
        "insert",
        "",
        "INSERT INTO website (website_id, name, domain, deleted_at) VALUES (:id, :name, :domain, :gone)",
    )
    id_ = "00000000-0000-4000-8000-000000000001"
    with _open(umami_database) as connection:
        connection.run(insert, id=id_, name=name, domain="\u202eelpmaxe", gone=NOW)
    outcome = run("info", url=umami_database)
    assert outcome.code == 0, outcome.said
    assert not [character for character in outcome.out if ord(character) < 32 and character != "\n"]
    assert "\u202e" not in outcome.out
    assert "(deleted)" in outcome.out
    if name.isprintable():
        assert name in outcome.out
    (website,) = run("info", "--json", url=umami_database).document["websites"]
    assert (website["name"], website["deleted"]) == (name, True)


def test_the_json_document(server: Server, traffic: str) -> None:
    document = run("info", "--json", url=traffic).document
    assert document["server"]["flavour"] == server.flavour
    assert document["umami"]["level"] == latest_released_level(server.dialect)
    assert document["problems"] == []
    events = next(table for table in document["tables"] if table["name"] == "website_event")
    assert (events["rows"], events["estimated"], events["role"]) == (
        sum(source["events"]["rows"] for source in document["websites"]),
        False,
        "event",
    )
    assert document["horizon"].endswith("Z")
    assert all(source["last_event"].endswith("Z") for source in document["websites"])


def test_what_is_not_umami_is_said_and_is_no_failure(database_url: str) -> None:
    outcome = run("info", url=database_url)
    assert outcome.code == 0
    assert "✗ Database" in outcome.out
    assert "is empty" in outcome.out
    document = run("info", "--json", url=database_url).document
    assert document["umami"]["is_umami"] is False
    assert [problem["code"] for problem in document["problems"]] == ["empty"]


def test_info_changes_nothing_and_needs_no_right_to(server: Server, traffic: str) -> None:
    before = _value(traffic, "SELECT COUNT(*) FROM website_event")
    assert run("info", "--exact", url=traffic).code == 0
    assert _value(traffic, "SELECT COUNT(*) FROM website_event") == before


def test_a_user_who_may_not_read_is_told_by_a_problem(postgresql_server: Server, umami_database: str) -> None:
    with user_with(postgresql_server, umami_database, "SELECT ON _prisma_migrations") as url:
        outcome = run("info", "--json", url=url)
    assert outcome.code == 0, outcome.said
    assert [problem["code"] for problem in outcome.document["problems"]] == ["no_select", "no_delete"]


def test_a_table_without_its_time_is_told_by_a_problem(umami_database: str) -> None:
    _execute(umami_database, "ALTER TABLE event_data DROP COLUMN created_at")
    outcome = run("info", "--json", url=umami_database)
    assert outcome.code == 0, outcome.said
    assert [problem["code"] for problem in outcome.document["problems"]] == ["column_missing"]


def test_events_outside_of_the_calendar(postgresql_server: Server, umami_database: str) -> None:
    """Whoever is measured may send such a time."""
    for when in ("12026-01-01", "0044-03-15 BC", "infinity"):
        _execute(
            umami_database,
            "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path, created_at)"
            f" VALUES (gen_random_uuid(), '{WEBSITE}', gen_random_uuid(), gen_random_uuid(), '/', '{when}')",
        )
    (website,) = run("info", "--json", url=umami_database).document["websites"]
    assert website["first_event"].startswith("0001-01-01")
    assert website["last_event"].startswith("9999-12-31")
    assert "0001-01-01" in run("info", url=umami_database).out
