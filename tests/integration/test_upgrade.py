"""`umami-ops upgrade` on databases as they break, judged by what a migration then does on a real server."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from testbed import servers
from testbed.servers import Server
from testbed.umami import create_umami
from testbed.upgrading import MigrationFailed, upgrade
from tests.command import run
from umami_ops.databases.base import Connection
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import Refused
from umami_ops.execute import RunLock, StopSignal, execute
from umami_ops.execute.events import Event, StepBegan
from umami_ops.operations.inspect import inspect
from umami_ops.operations.upgrade.outlook import Outlook, look_ahead
from umami_ops.operations.upgrade.prepare import plan_prepare
from umami_ops.operations.upgrade.repair import plan_repair
from umami_ops.operations.upgrade.state import State, read_state
from umami_ops.plan import Plan, Report
from umami_ops.sql import Query
from umami_ops.umami.schema import Schema, schema_at

WEBSITE = "00000000-0000-4000-8000-00000000000a"
OTHER = "00000000-0000-4000-8000-00000000000b"


@contextmanager
def _open(url: str) -> Iterator[Connection]:
    with open_database(DatabaseUrl.parse(url)).connect() as connection:
        yield connection


def _execute(url: str, *statements: str) -> None:
    with _open(url) as connection:
        for statement in statements:
            connection.run(Query("test", "", statement))


def _rows(url: str, statement: str) -> list[dict[str, Any]]:
    with _open(url) as connection:
        return connection.rows(Query("test", "", statement))


def _outlook(url: str, release: str | None = None) -> Outlook:
    with _open(url) as connection:
        return look_ahead(connection, inspect(connection), release)


def _codes(outlook: Outlook) -> list[str]:
    for obstacle in outlook.obstacles:
        assert obstacle.sentence.endswith("."), obstacle
        assert obstacle.cure, obstacle
    return [obstacle.code for obstacle in outlook.obstacles]


def _execute_plan(url: str, plan: Plan, **how: Any) -> Report:
    database = open_database(DatabaseUrl.parse(url))
    with RunLock(database, plan.operation) as lock:
        return execute(plan, database, lock=lock, **how)


def _prepare(url: str, release: str | None = None, **how: Any) -> Plan:
    with _open(url) as connection:
        plan = plan_prepare(connection, inspect(connection), release)
    report = _execute_plan(url, plan, **how)
    assert how or report.stopped is None
    return plan


def _repair(url: str, *, undo: bool = False) -> Plan:
    with _open(url) as connection:
        plan = plan_repair(connection, inspect(connection), undo=undo)
    assert _execute_plan(url, plan).stopped is None
    return plan


def _state(url: str) -> State:
    with _open(url) as connection:
        return read_state(connection)


def _assert_is_level(url: str, schema: Schema) -> None:
    """Columns, their types and the names of indexes are those of a level."""
    state = _state(url)
    assert set(state.tables) - {"_prisma_migrations"} == set(schema.table_names)
    for table in schema.tables:
        assert {name: here.nullable for name, here in state.tables[table.name].items()} == {
            column.name: column.nullable for column in table.columns
        }
        here = {index.name for index in state.indexes if index.table == table.name and not index.primary}
        assert here == {index.name for index in table.indexes}, table.name


def _website(url: str, website: str = WEBSITE, **more: str) -> None:
    names, values = ", ".join(("website_id", "name", *more)), [website, "Shop", *more.values()]
    _execute(url, f"INSERT INTO website ({names}) VALUES ({', '.join(repr(v) for v in values)})")


def _events(
    url: str, number: int, *, sessions: int = 3, visits: bool = True, at: str = "CURRENT_TIMESTAMP"
) -> None:
    """Insert events of a few sessions."""
    column, value = (", visit_id", f", '{OTHER}'") if visits else ("", "")
    rows = ", ".join(
        f"('{uuid.uuid4()}', '{WEBSITE}', '00000000-0000-4000-8000-{n % sessions:012}', '/', {at}{value})"
        for n in range(number)
    )
    _execute(
        url,
        f"INSERT INTO website_event (event_id, website_id, session_id, url_path, created_at{column})"
        f" VALUES {rows}",
    )


# --- check: what it says comes true ----------------------------------------------------------------------


@dataclass(frozen=True)
class Broken:
    """A database at a level, broken by statements: `code` is what check calls it, `migration` what then
    fails.
    """

    name: str
    level: int
    statements: tuple[str, ...]
    code: str
    migration: str
    verdict: str = "no go"


_REPORT = "INSERT INTO report (report_id, user_id, website_id, type, name, description, parameters) VALUES"
_IDS = f"'{uuid.uuid4()}', '{uuid.uuid4()}', '{WEBSITE}'"
_SHARED = ", ".join(f"('{uuid.uuid4()}', 'Shop', 'abc')" for _ in range(2))
_PREPARED = "go once prepared"

ON_POSTGRESQL = [
    Broken(
        "index dropped",
        14,
        ("DROP INDEX website_share_id_idx",),
        "index_missing",
        "15_add_share",
        _PREPARED,
    ),
    Broken(
        "unique index dropped",
        14,
        ("DROP INDEX website_share_id_key",),
        "index_missing",
        "15_add_share",
        _PREPARED,
    ),
    Broken(
        "key dropped",
        16,
        ("DROP INDEX session_session_id_key",),
        "index_missing",
        "17_remove_duplicate_key",
        _PREPARED,
    ),
    Broken(
        "index renamed",
        16,
        ("ALTER INDEX session_session_id_key RENAME TO session_key",),
        "index_missing",
        "17_remove_duplicate_key",
        _PREPARED,
    ),
    Broken(
        "constraint",
        16,
        ('ALTER TABLE "user" ADD CONSTRAINT user_user_id_key UNIQUE USING INDEX user_user_id_key',),
        "index_owned",
        "17_remove_duplicate_key",
    ),
    Broken(
        "view on session",
        8,
        ("CREATE VIEW visitors AS SELECT session_id, hostname FROM session",),
        "read_by",
        "09_update_hostname_region",
    ),
    Broken(
        "view on website",
        14,
        ("CREATE VIEW public_sites AS SELECT * FROM website",),
        "read_by",
        "15_add_share",
    ),
    Broken(
        "materialised view",
        11,
        ("CREATE MATERIALIZED VIEW asked AS SELECT parameters FROM report",),
        "read_by",
        "12_update_report_parameter",
    ),
    Broken("table there", 15, ("CREATE TABLE board (id int)",), "already_there", "16_boards"),
    Broken(
        "column there",
        17,
        ("ALTER TABLE website_event ADD lcp int",),
        "already_there",
        "18_add_performance",
    ),
    Broken(
        "index there",
        12,
        ("CREATE INDEX revenue_website_id_idx ON website (name)",),
        "already_there",
        "13_add_revenue",
    ),
    Broken(
        "no JSON",
        11,
        (f"{_REPORT} ({_IDS}, 'funnel', 'x', '', 'window=60')",),
        "report_parameters",
        "12_update_report_parameter",
    ),
    Broken(
        "steps no list",
        13,
        (f"""{_REPORT} ({_IDS}, 'funnel', 'x', '', '{{"steps": {{"a": 1}}}}')""",),
        "report_parameters",
        "14_add_link_and_pixel",
    ),
    Broken(
        "parameters no jsonb",
        13,
        (
            "ALTER TABLE report ALTER parameters TYPE varchar(6000)",
            f"{_REPORT} ({_IDS}, 'funnel', 'x', '', '{{}}')",
        ),
        "column_type",
        "14_add_link_and_pixel",
    ),
    Broken(
        "currency too long",
        13,
        (
            "INSERT INTO revenue (revenue_id, website_id, session_id, event_id, event_name, currency) "
            f"VALUES ({_IDS}, '{OTHER}', 'buy', 'Euro, the coin')",
        ),
        "too_long",
        "14_add_link_and_pixel",
    ),
    Broken(
        "share id twice",
        14,
        (
            "DROP INDEX website_share_id_key",
            f"INSERT INTO website (website_id, name, share_id) VALUES {_SHARED}",
            "CREATE INDEX website_share_id_key ON website (share_id)",
        ),
        "shared_twice",
        "15_add_share",
    ),
    Broken(
        "an id that is no uuid",
        14,
        (
            "ALTER TABLE website ALTER website_id TYPE varchar(36)",
            "INSERT INTO website (website_id, name, share_id) VALUES ('shop', 'Shop', 'abc')",
        ),
        "column_type",
        "15_add_share",
    ),
    Broken(
        "event without a time",
        4,
        (
            "INSERT INTO website_event (event_id, website_id, session_id, url_path, created_at)"
            f" VALUES ({_IDS}, '/', NULL)",
        ),
        "undated_events",
        "05_add_visit_id",
        _PREPARED,
    ),
]  # fmt: skip
ON_MYSQL = [
    Broken(
        "index dropped",
        5,
        ("ALTER TABLE event_data DROP INDEX event_data_website_id_created_at_event_key_idx",),
        "index_missing",
        "06_session_data",
        _PREPARED,
    ),
    Broken(
        "index renamed",
        8,
        ("ALTER TABLE session RENAME INDEX session_website_id_created_at_hostname_idx TO visitors",),
        "index_missing",
        "09_update_hostname_region",
        _PREPARED,
    ),
    Broken("table there", 10, ("CREATE TABLE segment (id int)",), "already_there", "11_add_segment"),
    Broken(
        "column there",
        9,
        ("ALTER TABLE session ADD distinct_id int",),
        "already_there",
        "10_add_distinct_id",
    ),
    Broken(
        "no JSON",
        11,
        (f"{_REPORT} ({_IDS}, 'funnel', 'x', '', 'window=60')",),
        "report_parameters",
        "12_update_report_parameter",
    ),
]  # fmt: skip


def _assert_comes_true(url: str, broken: Broken) -> None:
    _execute(url, *broken.statements)
    top = broken.level + 1
    outlook = _outlook(url, "newest")
    assert [o.code for o in outlook.obstacles if o.migration in (None, broken.migration)] == [broken.code]
    assert outlook.verdict == broken.verdict
    if broken.verdict == _PREPARED:
        _prepare(url, "newest")
        assert _codes(_outlook(url, "newest")) == []
        upgrade(url, top)
        return
    with pytest.raises(MigrationFailed, match=broken.migration):
        upgrade(url, top)
    assert _codes(_outlook(url, "newest"))[0] == "migration_failed"


@pytest.mark.parametrize("broken", ON_POSTGRESQL, ids=lambda broken: broken.name)
def test_what_will_fail_on_postgresql(
    broken: Broken, postgresql_server: Server, umami_at: Callable[[int], str]
) -> None:
    _assert_comes_true(umami_at(broken.level), broken)


@pytest.mark.parametrize("broken", ON_MYSQL, ids=lambda broken: broken.name)
def test_what_will_fail_on_mysql(
    broken: Broken, mysql_server: Server, umami_at: Callable[[int], str]
) -> None:
    _assert_comes_true(umami_at(broken.level), broken)


@pytest.mark.parametrize("level", [2, 8])
def test_what_will_work(level: int, server: Server, umami_at: Callable[[int], str]) -> None:
    if server.name == "mariadb" and level < 5:
        pytest.skip("migration 05 fails there")
    url = umami_at(level)
    _website(url, share_id="abc")
    _events(url, 5, visits=level >= 5)
    outlook = _outlook(url, "newest")
    assert (_codes(outlook), outlook.verdict) == ([], "go")
    upgrade(url, outlook.target)
    assert _outlook(url, "newest").upcoming == ()


def test_mariadb_lacks_what_migration_05_calls(mysql_server: Server, umami_at: Callable[[int], str]) -> None:
    outlook = _outlook(umami_at(4))
    lacks = mysql_server.name == "mariadb"
    assert _codes(outlook) == (["no_bin_to_uuid"] if lacks else [])
    assert outlook.verdict == (_PREPARED if lacks else "go")


def test_a_role_without_rights(server: Server, umami_at: Callable[[int], str]) -> None:
    is_postgresql = server.dialect == "postgresql"
    url = umami_at(14 if is_postgresql else 8)
    admin, name = server.as_admin(url), f"reader_{uuid.uuid4().hex[:8]}"
    parts = DatabaseUrl.parse(url)
    rights = "SELECT, INSERT, UPDATE, DELETE ON"
    make, drop = (
        (
            f"CREATE ROLE {name} LOGIN PASSWORD 'x'",
            f"GRANT {rights} ALL TABLES IN SCHEMA public TO {name}",
        ),
        (f"DROP OWNED BY {name}", f"DROP ROLE {name}"),
    ) if is_postgresql else (
        (f"CREATE USER {name} IDENTIFIED BY 'x'", f"GRANT {rights} `{parts.database}`.* TO {name}"),
        (f"DROP USER {name}",),
    )  # fmt: skip
    other = url.replace(f"{parts.user}:{parts.password}@", f"{name}:x@")
    _execute(admin, *make)
    try:
        outlook = _outlook(other)
        assert set(_codes(outlook)) == {"no_rights"}
        assert outlook.verdict == "no go"
        with pytest.raises(MigrationFailed, match=r"permission denied|must be owner|denied to user"):
            upgrade(other, 15 if is_postgresql else 9)
    finally:
        _execute(admin, *drop)


def test_a_big_table_takes_time(server: Server, umami_at: Callable[[int], str]) -> None:
    url = umami_at(6)
    _fill(url, 15)
    outlook = _outlook(url, "2.18")
    tag = next(migration for migration in outlook.upcoming if migration.name == "07_add_tag")
    hostname = next(migration for migration in outlook.upcoming if migration.level == 9)
    assert outlook.is_measured
    assert 0 < tag.seconds < hostname.seconds
    assert tag.disk_bytes > 0
    everybody = server.dialect == "postgresql"
    assert tag.waits == ({"website_event": "everybody"} if everybody else {})
    assert hostname.waits["website_event"] == ("everybody" if everybody else "writes")
    assert not _rows(url, "SELECT 1 AS one FROM _prisma_migrations WHERE migration_name = '07_add_tag'")


def test_it_is_timed_where_each_table_must_have_a_primary_key(mysql_server: Server) -> None:
    name = "sql_require_primary_key" if mysql_server.flavour == "mysql" else "innodb_force_primary_key"
    with servers.start(mysql_server.name, settings={name: "ON"}) as server:
        url = server.create_database()
        create_umami(url, 6)
        _fill(url, 15)
        assert _outlook(url, "2.18").is_measured


def _fill(url: str, doublings: int) -> None:
    """Double the events until there are many, each with an id of its own."""
    _events(url, 1)
    with _open(url) as connection:
        new_id = "gen_random_uuid()" if connection.dialect.name == "postgresql" else "UUID()"
        columns = "website_id, url_path, page_title, created_at, visit_id"
        for _ in range(doublings):
            connection.run(Query("test", "", (
                f"INSERT INTO website_event (event_id, session_id, {columns}) "
                f"SELECT {new_id}, {new_id}, {columns} FROM website_event"
            )))  # fmt: skip
        analyze = (
            "ANALYZE website_event"
            if connection.dialect.name == "postgresql"
            else "ANALYZE TABLE website_event"
        )
        connection.maintain(Query("test", "", analyze))


def test_an_id_that_postgresql_will_not_take_is_named(
    mysql_server: Server, umami_at: Callable[[int], str]
) -> None:
    url = umami_at(13)
    assert not any("UUID" in note.text for note in _outlook(url).notes)
    _website(url, "shop")
    (note,) = (note for note in _outlook(url).notes if "UUID" in note.text)
    assert "website shop" in note.text


# --- prepare ---------------------------------------------------------------------------------------------


def test_nothing_to_prepare_where_nothing_comes(umami_database: str, server: Server) -> None:
    release = "2.20" if server.dialect == "mysql" else "3.1"
    assert _prepare(umami_database, release).steps == ()
    assert _outlook(umami_database, release).upcoming == ()


def test_the_indexes_of_27_and_28_are_built_ahead(
    postgresql_server: Server, umami_at: Callable[[int], str]
) -> None:
    url = umami_at(19)
    _events(url, 50)
    plan = _prepare(url)
    assert len([work for work in plan.facts["work"] if work["title"].startswith("build index")]) == 7
    assert plan.facts["work"][0]["undo"].startswith("drop index")
    assert _prepare(url).steps == ()
    assert _outlook(url).verdict == "go"
    upgrade(url, 30)
    _assert_is_level(url, schema_at("postgresql", 30))


def test_a_partitioned_table_gets_its_indexes_ahead(
    postgresql_server: Server, umami_at: Callable[[int], str]
) -> None:
    url = umami_at(19)
    _execute(
        url,
        "ALTER TABLE website_event RENAME TO flat",
        "CREATE TABLE website_event (LIKE flat INCLUDING DEFAULTS) PARTITION BY RANGE (created_at)",
        "CREATE TABLE website_event_old PARTITION OF website_event"
        " FOR VALUES FROM (MINVALUE) TO ('2020-01-01')",
        "CREATE TABLE website_event_rest PARTITION OF website_event DEFAULT",
        "DROP TABLE flat",
    )
    _events(url, 20)
    _prepare(url)
    name = "website_event_website_event_name_created_idx"
    assert [index.valid for index in _state(url).indexes if index.name == name] == [True]
    assert _prepare(url).steps == ()
    upgrade(url, 28)


def test_duplicates_go_as_migration_23_deletes_them(server: Server, umami_at: Callable[[int], str]) -> None:
    level = 19 if server.dialect == "postgresql" else 13
    url = umami_at(level)
    kept = _duplicates(url)
    with _open(url) as connection:
        # MySQL never gets migration 23; its statements are the same.
        queries = connection.dialect.queries
        if server.dialect == "mysql":
            from umami_ops.plan import Batches

            step = Batches(
                "dup",
                queries["upgrade.next_session_data"],
                queries["upgrade.move_duplicates"],
                {"after": None},
            )
            plan = Plan("upgrade prepare", {}, (step,))
        else:
            plan = plan_prepare(connection, inspect(connection))
    report = _execute_plan(url, plan, batch_rows=2)
    assert {row["id"] for row in _rows(url, "SELECT session_data_id AS id FROM session_data")} == kept
    assert report.deleted == {"session_data": 60 - len(kept)}
    if server.dialect == "postgresql":
        upgrade(url, 23)


def _duplicates(url: str) -> set[str]:
    """Insert rows of a few sessions and keys at a few times; return what Umami's rule keeps."""
    rows = []
    for number in range(60):
        at = None if number % 7 == 0 else f"2025-01-{1 + number % 5:02} 00:00:00"
        rows.append((str(uuid.uuid4()), f"00000000-0000-4000-8000-{number % 6:012}", f"key{number % 2}", at))
    values = ", ".join(
        f"('{row_id}', '{WEBSITE}', '{session}', '{key}', 1, {repr(at) if at else 'NULL'})"
        for row_id, session, key, at in rows
    )
    columns = "session_data_id, website_id, session_id, data_key, data_type, created_at"
    _execute(url, f"INSERT INTO session_data ({columns}) VALUES {values}")
    best: dict[tuple[str, str], tuple[str, str]] = {}
    for row_id, session, key, at in rows:
        best[session, key] = max(best.get((session, key), ("", "")), (at or "", row_id))
    return {row_id for _, row_id in best.values()}


@pytest.mark.parametrize(("level", "ahead"), [(2, 3), (4, 5), (6, 7)])
def test_a_migration_that_only_adds_is_done_ahead(
    level: int, ahead: int, server: Server, umami_at: Callable[[int], str]
) -> None:
    url = umami_at(level)
    has_visits = level >= 5
    _events(url, 40, visits=has_visits)
    if level > 2:  # migration 05 would fail, which comes later
        _events(url, 2, visits=has_visits, at="NULL")
    _prepare(url, "2.20")
    # The Umami that runs knows nothing of the new column.
    _events(url, 3, visits=has_visits)
    assert (
        _rows(
            url,
            "SELECT 1 AS one FROM website_event WHERE "
            + ("visit_id" if ahead >= 5 else "url_path")
            + " IS NULL",
        )
        == []
    )
    if ahead == 5:
        visits = _rows(
            url, "SELECT DISTINCT session_id, visit_id FROM website_event WHERE created_at IS NOT NULL"
        )
        assert len(visits) in range(6, 13)  # three sessions, an hour or two, and three events since
    upgrade(url, ahead + 1)
    if ahead == 5:
        # Umami fills it by now: the default that bridged the time until then can go, and 07 come.
        _prepare(url, "2.20")
        assert _state(url).tables["website_event"]["visit_id"].default is None
    _assert_is_level(url, schema_at(server.dialect, 7 if ahead == 5 else ahead + 1))


def test_writers_go_on_while_indexes_are_built(server: Server, umami_at: Callable[[int], str]) -> None:
    level, release = (19, "newest") if server.dialect == "postgresql" else (6, "2.14")
    url = umami_at(level)
    _fill(url, 16)
    waits: list[float] = []
    over = threading.Event()

    def write() -> None:
        with _open(url) as connection:
            while not over.wait(0.002):
                began = time.monotonic()
                connection.run(Query("test", "", (
                    "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path) VALUES "
                    f"('{uuid.uuid4()}', '{WEBSITE}', '{OTHER}', '{OTHER}', '/now')"
                )))  # fmt: skip
                waits.append(time.monotonic() - began)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        plan = _prepare(url, release)
    finally:
        over.set()
        writer.join()
    assert plan.steps
    assert len(waits) > 20  # a writer that had to wait for an index would have come no further than one
    assert max(waits) < 2


def test_a_stop_leaves_what_the_next_run_finishes(server: Server, umami_at: Callable[[int], str]) -> None:
    level, release = (19, "newest") if server.dialect == "postgresql" else (6, "2.14")
    url = umami_at(level)
    _fill(url, 14)
    stop = StopSignal()

    def watch(event: Event) -> None:
        if isinstance(event, StepBegan) and event.title.startswith("build index"):
            threading.Timer(0.01, stop.request, ["the test wants it"]).start()

    with _open(url) as connection:
        plan = plan_prepare(connection, inspect(connection), release)
    assert _execute_plan(url, plan, stop=stop, observer=watch).stopped
    assert [index for index in _state(url).indexes if not index.valid] == []
    _prepare(url, release)
    assert _outlook(url, release).obstacles == ()
    upgrade(url, 28 if server.dialect == "postgresql" else 7)


def test_an_invalid_index_is_built_anew(postgresql_server: Server, umami_at: Callable[[int], str]) -> None:
    url = umami_at(19)
    name = "website_event_website_event_name_created_idx"
    _execute(url, f"CREATE INDEX {name} ON website_event (website_id, event_name, created_at)")
    _execute(
        postgresql_server.as_admin(url),
        f"UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = '{name}'::regclass",
    )
    assert _codes(_outlook(url)) == ["index_invalid"]
    _prepare(url)
    assert _outlook(url).verdict == "go"


# --- repair ----------------------------------------------------------------------------------------------

_HALF = [(5, 1), (6, 5), (9, 6), (12, 0)]
_SLOW = [(2, 3), (2, 8), (4, 3), (4, 7), (4, 8), (5, 3), (6, 2), (8, 4), (9, 2), (9, 4), (11, 1), (13, 2)]


@pytest.mark.parametrize(
    ("level", "after"), [*_HALF, *(pytest.param(*half, marks=pytest.mark.slow) for half in _SLOW)]
)
@pytest.mark.parametrize("undo", [False, True], ids=["completed", "undone"])
def test_a_migration_that_failed_half_way(
    level: int, after: int, undo: bool, mysql_server: Server, umami_at: Callable[[int], str]
) -> None:
    url = umami_at(level - 1)
    _events(url, 10, visits=level > 5)
    with pytest.raises(MigrationFailed):
        upgrade(url, level, fails_after=after)
    if undo and (level, after) in ((9, 6), (4, 8)):
        with pytest.raises(Refused, match="can't be undone: it drops"):
            _repair(url, undo=True)
        return
    plan = _repair(url, undo=undo)
    assert [migration["name"][:2] for migration in plan.facts["migrations"]] == [f"{level:02}"]
    _assert_is_level(url, schema_at("mysql", level - 1 if undo or after == 0 else level))
    if not (undo and level == 5 and mysql_server.name == "mariadb"):
        upgrade(url, level)
        _assert_is_level(url, schema_at("mysql", level))
    assert _rows(url, "SELECT COUNT(*) AS n FROM website_event") == [{"n": 10}]
    assert (
        _rows(
            url, "SELECT 1 AS n FROM _prisma_migrations WHERE finished_at IS NULL AND rolled_back_at IS NULL"
        )
        == []
    )
    assert _repair(url).steps == ()


def test_migration_05_on_mariadb(server: Server, umami_at: Callable[[int], str]) -> None:
    if server.name != "mariadb":
        pytest.skip("MySQL has BIN_TO_UUID")
    url = umami_at(4)
    _events(url, 30, visits=False)
    _events(url, 2, visits=False, at="NULL")
    with pytest.raises(MigrationFailed, match="BIN_TO_UUID"):
        upgrade(url, 5)
    _repair(url)
    _assert_is_level(url, schema_at("mysql", 5))
    upgrade(url, 13)
    _assert_is_level(url, schema_at("mysql", 13))


def test_a_cause_that_stands_is_for_the_user(
    postgresql_server: Server, umami_at: Callable[[int], str]
) -> None:
    url = umami_at(8)
    _execute(url, "CREATE VIEW visitors AS SELECT session_id, hostname FROM session")
    with pytest.raises(MigrationFailed):
        upgrade(url, 13)
    with pytest.raises(Refused, match=r"view public.visitors reads session.hostname"):
        _repair(url)
    _execute(url, "DROP VIEW visitors")
    assert _repair(url).facts["migrations"][0]["found"] == "nothing of it was applied"
    upgrade(url, 13)


def test_a_cause_that_prepare_mends(postgresql_server: Server, umami_at: Callable[[int], str]) -> None:
    url = umami_at(16)
    _execute(url, "DROP INDEX session_session_id_key")
    with pytest.raises(MigrationFailed):
        upgrade(url, 17)
    assert "upgrade prepare" in str(_repair(url).notes[0].cure)
    _prepare(url)
    upgrade(url, 19)


def test_what_was_applied_by_hand_is_completed(
    postgresql_server: Server, umami_at: Callable[[int], str]
) -> None:
    url = umami_at(8)
    _execute(url, "ALTER TABLE website_event ADD hostname varchar(100)")
    with pytest.raises(MigrationFailed, match="already exists"):
        upgrade(url, 9)
    _repair(url)
    _assert_is_level(url, schema_at("postgresql", 9))
    upgrade(url, 19)


def test_a_record_that_is_missing(server: Server, umami_at: Callable[[int], str]) -> None:
    url = umami_at(13)
    _execute(
        url,
        "DELETE FROM _prisma_migrations WHERE migration_name = '11_add_segment'",
        "UPDATE _prisma_migrations SET rolled_back_at = started_at WHERE migration_name = '07_add_tag'",
    )
    assert "already_there" in _codes(_outlook(url, "2.20"))
    plan = _repair(url)
    assert [m["found"] for m in plan.facts["migrations"]] == ["all of it is here"] * 2
    assert _outlook(url, "2.20").upcoming == ()


def test_a_failed_attempt_that_was_repeated(server: Server, umami_at: Callable[[int], str]) -> None:
    url = umami_at(13)
    _execute(
        url,
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, started_at)"
        " SELECT 'x', checksum, migration_name, started_at FROM _prisma_migrations"
        " WHERE migration_name = '13_add_revenue'",
    )
    with pytest.raises(MigrationFailed, match="P3009"):
        upgrade(url, 13)
    _repair(url)
    upgrade(url, 13)
    _assert_is_level(url, schema_at(server.dialect, 13))


def test_a_stranger_is_left_to_its_maker(server: Server, umami_at: Callable[[int], str]) -> None:
    url = umami_at(13)
    _execute(
        url,
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, started_at)"
        " VALUES ('x', 'y', '14_add_my_own', CURRENT_TIMESTAMP)",
    )
    with pytest.raises(Refused, match="14_add_my_own isn't known"):
        _repair(url)


# --- the commands ----------------------------------------------------------------------------------------


def test_check_as_a_command(server: Server, umami_at: Callable[[int], str]) -> None:
    url = umami_at(8)
    fine = run("upgrade", "check", url=url)
    assert fine.code == 0, fine.said
    assert "09_update_hostname_region" in fine.out
    document = run("upgrade", "check", "--to", "2.18", "--json", url=url).document
    assert [m["name"][:2] for m in document["migrations"]] == ["09", "10"]
    assert document["verdict"] == "go"
    assert run("upgrade", "check", "--to", "one", url=url).code == 2
    for command in ("check", "prepare"):
        unknown = run("upgrade", command, "--to", "9.9", url=url)
        assert (unknown.code, unknown.out) == (2, "")
        assert "v2.0.0 to v" in unknown.err
        older = run("upgrade", command, "--to", "2.0", url=url)
        assert (older.code, older.out) == (2, "")
        assert "older than what is installed: Umami part way through the upgrade to v2.18.0" in older.err
    with pytest.raises(MigrationFailed):
        upgrade(url, 9, fails_after=2)
    failed = run("upgrade", "check", url=url)
    assert failed.code == 5
    assert "umami-ops upgrade repair" in failed.out


def test_repair_as_a_command(server: Server, umami_at: Callable[[int], str]) -> None:
    url = umami_at(8)
    with pytest.raises(MigrationFailed):
        upgrade(url, 9, fails_after=3)
    before = _rows(url, "SELECT * FROM _prisma_migrations ORDER BY id")
    dry = run("upgrade", "repair", "--dry-run", url=url)
    assert (dry.code, _rows(url, "SELECT * FROM _prisma_migrations ORDER BY id")) == (0, before)
    assert "UPDATE _prisma_migrations" in dry.out
    assert run("upgrade", "repair", url=url).code == 5  # nobody to ask
    done = run("upgrade", "repair", "--yes", url=url)
    assert done.code == 0, done.said
    upgrade(url, 13)
    assert "Nothing to repair" in run("upgrade", "repair", url=url).out


def test_prepare_as_a_command(server: Server, umami_at: Callable[[int], str]) -> None:
    url = umami_at(6)
    dry = run("upgrade", "prepare", "--dry-run", "--json", url=url)
    assert any("website_event_website_id_created_at_tag_idx" in str(s) for s in dry.document["steps"])
    with _open(url) as other:
        other.rows(other.dialect.queries["lock.acquire"])
        beside = run("upgrade", "prepare", "--yes", url=url)
        assert beside.code == 4, beside.said
    done = run("upgrade", "prepare", "--yes", "--json", url=url)
    assert done.code == 0, done.said
    assert done.document["stopped"] is None
    assert "Nothing to prepare" in run("upgrade", "prepare", url=url).out


def test_nothing_is_prepared_where_there_is_no_room(
    postgresql_server: Server, umami_at: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = umami_at(6)
    with _open(url) as connection:
        monkeypatch.setattr(type(connection), "free_bytes", lambda _connection: 0)
        connection.run(
            Query(
                "test",
                "",
                "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path)"
                " SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), '/'"
                " FROM generate_series(1, 500)",
            )
        )
    refused = run("upgrade", "prepare", "--yes", url=url)
    assert refused.code == 5, refused.said
    assert "0.0 GB are free" in refused.err
