"""What a database is: every condition made for real, each with its sentence, and whether it blocks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from testbed.servers import Server, database_name
from testbed.umami import create_umami
from umami_ops.databases.base import Connection
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import Refused
from umami_ops.operations.inspect import Installation, inspect, require_session
from umami_ops.operations.problems import Problem
from umami_ops.sql import Query
from umami_ops.umami.migrations import latest_released_level, migrations
from umami_ops.umami.tables import Role

Make = Callable[[int], str]


@contextmanager
def _open(url: str) -> Iterator[Connection]:
    with open_database(DatabaseUrl.parse(url)).connect() as connection:
        yield connection


def _execute(url: str, *statements: str) -> None:
    with _open(url) as connection:
        for statement in statements:
            connection.run(Query("test", "", statement))


def _inspected(url: str) -> Installation:
    with _open(url) as connection:
        return inspect(connection)


def _problem(url: str, code: str) -> Problem:
    """The one problem of that code; every problem has a sentence, and a cure if it blocks."""
    problems = _inspected(url).problems
    for problem in problems:
        assert problem.sentence.endswith("."), problem
        assert problem.cure or not problem.blocks, problem
    (found,) = [problem for problem in problems if problem.code == code]
    return found


@pytest.fixture
def umami_at(server: Server, umami_templates: Callable[[int], str]) -> Iterator[Make]:
    """As everywhere, but without indexes where making them takes long: nothing here looks at one."""
    urls: list[str] = []

    def make(level: int) -> str:
        if server.dialect == "postgresql":
            urls.append(server.create_database(template=umami_templates(level)))
        else:
            urls.append(server.create_database())
            create_umami(urls[-1], level, indexes=False)
        return urls[-1]

    yield make
    for url in urls:
        server.drop_database(url)


def test_a_healthy_database_at_every_level(server: Server, umami_at: Make) -> None:
    for level in (1, 5, 9, latest_released_level(server.dialect)):
        found = _inspected(umami_at(level))
        assert found.level == level
        assert found.problems == ()
        assert found.is_umami
        assert found.unknown_tables == ()
        found.require_safe()


def test_levels_that_no_release_has_shipped(postgresql_server: Server, umami_at: Make) -> None:
    found = _inspected(umami_at(30))
    assert (found.level, found.problems) == (30, ())


def test_it_knows_tables_columns_and_roles(server: Server, umami_database: str) -> None:
    found = _inspected(umami_database)
    assert found.has("website_event")
    assert found.has("website_event", "created_at")
    assert not found.has("website_event", "no_such_column")
    assert not found.has("heatmap_event")
    assert [facts.name for facts in found.tables(Role.EVENT, Role.SESSION)] == ["website_event", "session"]
    assert found.server.flavour == server.flavour
    assert found.release.startswith("v")


# --- not Umami, or not here ------------------------------------------------------------------------------


def test_an_empty_database(database_url: str) -> None:
    problem = _problem(database_url, "empty")
    assert problem.blocks
    assert "is empty: Umami has not been set up here" in problem.sentence


def test_somebody_else_s_database(database_url: str) -> None:
    _execute(database_url, "CREATE TABLE wp_posts (id int)", "CREATE TABLE wp_users (id int)")
    problem = _problem(database_url, "not_umami")
    assert problem.blocks
    assert "wp_posts, wp_users" in problem.sentence


def test_umami_v1(database_url: str) -> None:
    _execute(
        database_url,
        "CREATE TABLE account (user_id int, username varchar(255), is_admin boolean)",
        "CREATE TABLE website (website_id int, website_uuid varchar(36), user_id int)",
        "CREATE TABLE session (session_id int, website_id int)",
        "CREATE TABLE pageview (view_id int, website_id int, session_id int, url varchar(500))",
        "CREATE TABLE event (event_id int, website_id int, session_id int)",
    )
    problem = _problem(database_url, "umami_v1")
    assert problem.blocks
    assert "Umami v1" in problem.sentence


def test_a_database_without_website_event(umami_database: str) -> None:
    _execute(umami_database, "DROP TABLE website_event")
    problem = _problem(umami_database, "table_missing")
    assert problem.blocks
    assert "lacks Umami's website_event" in problem.sentence


def test_a_schema_that_does_not_exist(postgresql_server: Server, umami_database: str) -> None:
    problem = _problem(f"{umami_database}?schema=nowhere", "no_schema")
    assert problem.blocks
    assert "no schema nowhere" in problem.sentence
    assert "?schema=public" in problem.cure


def test_umami_in_another_schema(postgresql_server: Server, umami_database: str) -> None:
    _execute(umami_database, "ALTER SCHEMA public RENAME TO web", "CREATE SCHEMA public")
    assert "?schema=web" in _problem(umami_database, "empty").cure
    assert _inspected(f"{umami_database}?schema=web").problems == ()


def test_umami_in_another_database(mysql_server: Server, umami_database: str, database_url: str) -> None:
    problem = _problem(mysql_server.as_admin(database_url), "empty")
    assert "has it: name that one in the URL" in problem.cure


# --- migrations ------------------------------------------------------------------------------------------


def test_no_migrations_table(server: Server, umami_database: str) -> None:
    _execute(umami_database, "DROP TABLE _prisma_migrations")
    problem = _problem(umami_database, "no_migrations")
    assert "is missing" in problem.sentence
    assert not problem.blocks
    # Some levels look like the one before: the first of these is named.
    level = _inspected(umami_database).level
    assert level is not None
    assert f"look like level {level}" in problem.sentence
    assert latest_released_level(server.dialect) - level <= 1


def test_an_empty_migrations_table(umami_database: str) -> None:
    _execute(umami_database, "DELETE FROM _prisma_migrations")
    assert "is empty" in _problem(umami_database, "no_migrations").sentence


def test_tables_like_no_level_and_no_migrations_block(umami_database: str) -> None:
    _execute(umami_database, "DROP TABLE _prisma_migrations", "ALTER TABLE session DROP COLUMN country")
    assert _problem(umami_database, "no_migrations").blocks


def test_migrations_table_in_another_schema(postgresql_server: Server, umami_database: str) -> None:
    _execute(umami_database, "CREATE SCHEMA web", "ALTER TABLE _prisma_migrations SET SCHEMA web")
    assert "?schema=web" in _problem(umami_database, "no_migrations").cure


def test_a_failed_migration(umami_database: str) -> None:
    _execute(
        umami_database,
        "UPDATE _prisma_migrations SET finished_at = NULL, logs = 'boom'"
        " WHERE migration_name = '13_add_revenue'",
    )
    problem = _problem(umami_database, "migration_failed")
    assert problem.blocks
    assert "13_add_revenue" in problem.sentence
    assert "umami-ops upgrade repair" in problem.cure


def test_a_migration_rolled_back(umami_database: str) -> None:
    _execute(
        umami_database,
        "UPDATE _prisma_migrations SET rolled_back_at = started_at WHERE migration_name = '13_add_revenue'",
    )
    problem = _problem(umami_database, "migration_rolled_back")
    assert not problem.blocks
    assert "13_add_revenue" in problem.sentence


def test_a_migration_rolled_back_and_repeated_is_fine(umami_database: str) -> None:
    _execute(
        umami_database,
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, started_at, rolled_back_at)"
        " SELECT 'earlier', checksum, migration_name, started_at, started_at FROM _prisma_migrations"
        " WHERE migration_name = '13_add_revenue'",
    )
    assert _inspected(umami_database).problems == ()


def _insert_migration(url: str, name: str) -> None:
    _execute(
        url,
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, started_at, finished_at)"
        f" VALUES ('new', 'x', '{name}', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)",
    )


def test_a_migration_of_the_future(server: Server, umami_database: str) -> None:
    _insert_migration(umami_database, "77_time_travel")
    problem = _problem(umami_database, "migration_unknown")
    assert not problem.blocks
    assert "77_time_travel" in problem.sentence
    assert _inspected(umami_database).level == latest_released_level(server.dialect)


def test_a_gap_in_the_migrations(umami_database: str) -> None:
    _execute(umami_database, "DELETE FROM _prisma_migrations WHERE migration_name = '07_add_tag'")
    problem = _problem(umami_database, "migration_gap")
    assert not problem.blocks
    assert "07_add_tag" in problem.sentence


def test_prisma_migrates_at_this_moment(server: Server, umami_database: str) -> None:
    lock = (
        "SELECT pg_advisory_lock(72707369)"
        if server.dialect == "postgresql"
        else "SELECT GET_LOCK('prisma_migrate', 10)"
    )
    with _open(umami_database) as prisma:
        prisma.rows(Query("lock", "", lock))
        assert _problem(umami_database, "prisma_lock").blocks
    assert _inspected(umami_database).problems == ()


# --- tables against the level ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "blocks"), [("event_data", True), ("revenue", True), ("segment", False), ("report", False)]
)
def test_a_table_of_the_level_is_missing(table: str, blocks: bool, umami_database: str) -> None:
    _execute(umami_database, f"DROP TABLE {table}")
    problem = _problem(umami_database, "table_missing")
    assert problem.blocks is blocks
    assert f"Table {table} is missing" in problem.sentence


@pytest.mark.parametrize(
    ("table", "column", "blocks"),
    [
        ("website_event", "visit_id", True),
        ("event_data", "created_at", True),
        ("website_event", "tag", False),
    ],
)
def test_a_column_of_the_level_is_missing(table: str, column: str, blocks: bool, umami_database: str) -> None:
    _execute(umami_database, f"ALTER TABLE {table} DROP COLUMN {column}")
    problem = _problem(umami_database, "column_missing")
    assert problem.blocks is blocks
    assert f"Table {table} lacks {column}" in problem.sentence


def test_tables_ahead_of_the_migrations(umami_at: Make) -> None:
    url = umami_at(12)
    _execute(url, "CREATE TABLE revenue (revenue_id varchar(36))")
    problem = _problem(url, "ahead_of_level")
    assert "level 12" in problem.sentence
    assert "revenue" in problem.sentence


def test_unknown_tables_are_named_and_left_alone(server: Server, umami_database: str) -> None:
    name = '"My `odd` table"' if server.dialect == "postgresql" else "`My ``odd`` table`"
    _execute(umami_database, f"CREATE TABLE {name} (id int)")
    found = _inspected(umami_database)
    assert found.unknown_tables == ("My `odd` table",)
    problem = _problem(umami_database, "unknown_tables")
    assert "left alone: My `odd` table" in problem.sentence
    found.require_safe()


def test_website_event_as_a_view(umami_database: str) -> None:
    _execute(
        umami_database,
        "ALTER TABLE website_event RENAME TO website_event_store",
        "CREATE VIEW website_event AS SELECT * FROM website_event_store",
    )
    problem = _problem(umami_database, "not_a_table")
    assert problem.blocks
    assert "website_event is a view" in problem.sentence


def test_website_event_partitioned_on_postgresql(postgresql_server: Server, umami_database: str) -> None:
    _execute(
        umami_database,
        "DROP TABLE website_event",
        "CREATE TABLE website_event (event_id uuid, website_id uuid, session_id uuid, visit_id uuid,"
        " created_at timestamptz) PARTITION BY RANGE (created_at)",
        "CREATE TABLE website_event_default PARTITION OF website_event DEFAULT",
    )
    assert not _problem(umami_database, "partitioned").blocks
    assert "website_event_default" not in _inspected(umami_database).unknown_tables


def test_website_event_partitioned_on_mysql(mysql_server: Server, umami_database: str) -> None:
    _execute(
        umami_database,
        "DELETE FROM website_event",
        "ALTER TABLE website_event MODIFY created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,"
        " DROP PRIMARY KEY, ADD PRIMARY KEY (event_id, created_at)"
        " PARTITION BY RANGE (UNIX_TIMESTAMP(created_at)) (PARTITION rest VALUES LESS THAN MAXVALUE)",
    )
    assert _inspected(umami_database).relations["website_event"].kind == "partitioned table"
    assert not _problem(umami_database, "partitioned").blocks


# --- rights, replicas, poolers ---------------------------------------------------------------------------


@pytest.fixture
def reader(server: Server, umami_database: str) -> Iterator[str]:
    """A user who may only read."""
    admin, name = server.as_admin(umami_database), database_name(umami_database)
    parts = urlsplit(umami_database)
    if server.dialect == "postgresql":
        make = [
            "CREATE ROLE only_reader LOGIN PASSWORD 'pw'",
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO only_reader",
        ]
        drop = ["DROP OWNED BY only_reader", "DROP ROLE only_reader"]
    else:
        make = [
            "CREATE USER only_reader@'%' IDENTIFIED BY 'pw'",
            f"GRANT SELECT ON `{name}`.* TO only_reader@'%'",
        ]
        drop = ["DROP USER only_reader@'%'"]
    _execute(admin, *make)
    yield parts._replace(netloc=f"only_reader:pw@{parts.hostname}:{parts.port}").geturl()
    _execute(admin, *drop)


def test_a_user_who_may_only_read(reader: str) -> None:
    problem = _problem(reader, "no_delete")
    assert problem.blocks
    assert "may not DELETE from" in problem.sentence
    assert "website_event" in problem.sentence


def test_a_server_that_is_read_only(server: Server, umami_database: str) -> None:
    admin = server.as_admin(umami_database)
    if server.dialect == "postgresql":
        name = database_name(umami_database)
        _execute(admin, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        assert _problem(umami_database, "read_only").blocks
        return
    _execute(admin, "SET GLOBAL read_only = ON")
    try:
        assert _problem(umami_database, "read_only").blocks
    finally:
        _execute(admin, "SET GLOBAL read_only = OFF")


def test_a_pooled_connection(postgresql_server: Server, umami_database: str) -> None:
    found = _inspected(f"{umami_database}?pgbouncer=true")
    assert [problem.code for problem in found.problems] == ["pooled"]
    with pytest.raises(Refused, match="transaction pooler") as caught:
        require_session(found.server)
    assert "DIRECT_DATABASE_URL" in (caught.value.hint or "")
    require_session(_inspected(umami_database).server)


def test_a_table_that_is_locked_by_another_session(postgresql_server: Server, umami_database: str) -> None:
    with _open(umami_database) as other, _open(umami_database) as ours, other.transaction():
        other.run(Query("lock", "", "LOCK TABLE website_event IN ACCESS EXCLUSIVE MODE"))
        ours.run(Query("hurry", "", "SET lock_timeout = '200ms'"))
        with pytest.raises(Refused, match="Another session has locked"):
            inspect(ours)
        other.rows(Query("lock", "", "SELECT pg_advisory_lock(72707369)"))
        with pytest.raises(Refused, match="migrates this database at this moment"):
            inspect(ours)


# --- refusing --------------------------------------------------------------------------------------------


def test_require_safe_names_every_reason(umami_database: str) -> None:
    _execute(
        umami_database,
        "DROP TABLE event_data",
        "UPDATE _prisma_migrations SET finished_at = NULL WHERE migration_name = '13_add_revenue'",
    )
    with pytest.raises(Refused) as caught:
        _inspected(umami_database).require_safe()
    assert "event_data" in caught.value.message
    assert "13_add_revenue" in caught.value.message
    assert caught.value.exit_code == 5
    assert caught.value.done == "Nothing was changed."


def test_every_known_migration_is_listed_as_applied(server: Server, umami_database: str) -> None:
    level = latest_released_level(server.dialect)
    names = tuple(m.name for m in migrations(server.dialect) if m.level <= level)
    assert _inspected(umami_database).migrations.applied == names


def test_a_table_that_changes_places_is_not_missing(mysql_server: Server, umami_at: Make) -> None:
    url = umami_at(latest_released_level(mysql_server.dialect))
    _execute(url, "CREATE TABLE other LIKE website_event")
    swap = Query("test", "", "RENAME TABLE website_event TO gone, other TO website_event, gone TO other")
    over = threading.Event()

    def swap_and_swap() -> None:
        with _open(url) as connection:
            # As any command would find it: one change of places, and then none for a while.
            while not over.wait(0.03):
                connection.run(swap)

    with ThreadPoolExecutor(1) as pool, _open(url) as connection:
        swapping = pool.submit(swap_and_swap)
        try:
            for _ in range(200):
                assert not inspect(connection).blocking
        finally:
            over.set()
        swapping.result()
