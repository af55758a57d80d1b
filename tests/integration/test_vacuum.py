"""`vacuum` on real servers: what it gives back, what it leaves alone, and that nobody waits for it."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from testbed.bulk import Loader, connect
from testbed.servers import Server
from tests import command, pruning
from tests.process import Process
from umami_ops.databases.registry import open_database
from umami_ops.databases.upkeep import IndexState
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import Refused
from umami_ops.execute import Advanced, Event, Observer, RunLock, StopSignal, Trouble, execute
from umami_ops.operations import vacuum
from umami_ops.operations.inspect import inspect
from umami_ops.operations.prune import Retention
from umami_ops.operations.vacuum import Wish, conclude, plan_vacuum
from umami_ops.plan import Maintenance, Plan, Report
from umami_ops.sql import Query

_NOW = datetime(2025, 7, 1, tzinfo=UTC)
_DAYS = 200
_HORIZON = _NOW - timedelta(days=_DAYS / 2)
_DOUBLINGS = 14  # 16,384 events, of which half is past the horizon
_WEBSITE = "10000000-0000-4000-8000-000000000000"
_PRISMA = {
    "postgresql": "SELECT pg_advisory_lock(72707369)",
    "mysql": "SELECT GET_LOCK('prisma_migrate', 10)",
}


def _fill(url: str, doublings: int = _DOUBLINGS) -> None:
    """Double one event until there are enough, all different, evenly spread over the days before now."""
    with connect(url) as loader:
        new_id, later = (
            ("gen_random_uuid()", f"TIMESTAMP '{_NOW:%Y-%m-%d}' - RANDOM() * INTERVAL '{_DAYS} days'")
            if loader.dialect == "postgresql"
            else (
                "UUID()",
                f"TIMESTAMP('{_NOW:%Y-%m-%d}') - INTERVAL FLOOR(RAND() * {_DAYS * 86_400}) SECOND",
            )
        )
        columns = "event_id, website_id, session_id, visit_id, url_path, page_title, created_at"
        row = f"{new_id}, website_id, {new_id}, {new_id}, url_path, page_title, {later}"
        loader.execute(
            f"INSERT INTO website_event ({columns}) VALUES "
            f"({new_id}, '{_WEBSITE}', {new_id}, {new_id}, '/a/path/of/some/length', 'A title', {later})"
        )
        for _ in range(doublings):
            loader.execute(f"INSERT INTO website_event ({columns}) SELECT {row} FROM website_event")
        loader.commit()


@pytest.fixture
def full_of_events(umami_database: str) -> str:
    """A database with events, tidied up."""
    _fill(umami_database)
    outcome = command.run("vacuum", url=umami_database)
    assert outcome.code == 0, outcome.said
    assert "website_event" in outcome.out
    return umami_database


@pytest.fixture
def few_events(umami_database: str) -> str:
    """A database with enough in it to be locked."""
    _fill(umami_database, doublings=6)
    return umami_database


def _prune(url: str) -> None:
    assert pruning.prune(url, Retention(_HORIZON)).report.deleted["website_event"] > 2**_DOUBLINGS / 3


def _plan(url: str, wish: Wish) -> Plan:
    with open_database(pruning.url_of(url)).connect() as connection:
        return plan_vacuum(connection, inspect(connection), wish)


def _vacuum(
    url: str,
    wish: Wish,
    *,
    tries: int = 2,
    stop: StopSignal | None = None,
    observer: Observer = lambda _event: None,
) -> Report:
    """Plan and execute as the command does, but give up sooner where a lock isn't to be had."""
    plan = _plan(url, wish)
    steps = tuple(replace(step, tries=tries) for step in plan.steps if isinstance(step, Maintenance))
    database = open_database(pruning.url_of(url))
    with RunLock(database, "vacuum") as lock:
        report = execute(replace(plan, steps=steps), database, lock=lock, stop=stop, observer=observer)
    conclude(report)
    return report


@contextmanager
def _writer(url: str) -> Iterator[list[float]]:
    """Somebody who writes an event every few milliseconds; how long each took, in seconds."""
    waits: list[float] = []
    over = threading.Event()

    def write() -> None:
        with connect(url) as loader:
            while not over.wait(0.005):
                began = time.monotonic()
                loader.execute(
                    "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path) VALUES "
                    f"('{uuid.uuid4()}', '{_WEBSITE}', '{uuid.uuid4()}', '{uuid.uuid4()}', '/now')"
                )
                loader.commit()
                waits.append(time.monotonic() - began)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield waits
    finally:
        over.set()
        thread.join()
    assert waits


@contextmanager
def _reading(url: str, table: str) -> Iterator[Loader]:
    """Somebody who has looked into a table and not ended his transaction."""
    with connect(url) as loader:
        loader.execute(f"SELECT COUNT(*) FROM {pruning.quoted(loader, table)}")
        yield loader


def _invalid(loader: Loader) -> list[str]:
    return [
        row[0]
        for row in loader.execute(
            "SELECT c.relname FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid WHERE NOT x.indisvalid"
        )
    ]


# What it does


def test_a_healthy_database_needs_nothing(few_events: str) -> None:
    assert command.run("vacuum", url=few_events).code == 0
    outcome = command.run("vacuum", "--if-needed", url=few_events)
    assert outcome.code == 0, outcome.said
    assert "Nothing to do." in outcome.out
    document = command.run("vacuum", "--if-needed", "--json", url=few_events).document
    assert (document["steps"], document["done"]) == ([], [])
    assert "website_event" in {row["table"] for row in document["left_alone"]}


def test_dead_rows_are_reason_enough(postgresql_server: Server, full_of_events: str) -> None:
    _prune(full_of_events)
    document = command.run("vacuum", "--if-needed", "--json", url=full_of_events).document
    assert document["steps"] == ["VACUUM website_event"]
    assert "dead rows" in document["tables"][0]["why"]
    assert command.run("vacuum", "--if-needed", "--json", url=full_of_events).document["steps"] == []


def test_statistics_alone(few_events: str) -> None:
    outcome = command.run("vacuum", "--analyze-only", "--table", "website_event", "--json", url=few_events)
    assert outcome.code == 0, outcome.said
    assert outcome.document["steps"] == ["ANALYZE website_event"]
    assert [done["table"] for done in outcome.document["done"]] == ["website_event"]


def test_no_index_is_rebuilt_where_there_is_no_room(
    postgresql_server: Server, full_of_events: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _prune(full_of_events)
    with open_database(DatabaseUrl.parse(full_of_events)).connect() as connection:
        monkeypatch.setattr(type(connection), "free_bytes", lambda _connection: 10)
    outcome = command.run("vacuum", "--reindex", url=full_of_events)
    assert outcome.code == 5, outcome.said
    assert "while it is rebuilt, and 0 MB are free" in outcome.err


def test_indexes_shrink_and_nobody_waits(
    postgresql_server: Server, full_of_events: str, record_property: Callable[[str, object], None]
) -> None:
    _prune(full_of_events)
    with _writer(full_of_events) as waits:
        outcome = command.run("vacuum", "--reindex", "--json", url=full_of_events)
    assert outcome.code == 0, outcome.said
    (done,) = (done for done in outcome.document["done"] if done["table"] == "website_event")
    share = 1 - done["after"]["index_bytes"] / done["before"]["index_bytes"]
    record_property("index_bytes_given_back", share)
    record_property("longest_wait_seconds", max(waits))
    # Small indexes aren't rebuilt; the large ones lose half. A machine that is busy makes a writer wait, too.
    assert share >= 0.3
    assert max(waits) < 1
    # The worst comes first, and what was rebuilt isn't bloated any more.
    gains = [index["gain_bytes"] for index in outcome.document["indexes"]]
    assert gains == sorted(gains, reverse=True)
    assert command.run("vacuum", "--reindex", "--json", url=full_of_events).document["indexes"] == []


def test_a_rewrite_returns_space(full_of_events: str) -> None:
    _prune(full_of_events)
    outcome = command.run("vacuum", "--full", "--yes", "--json", url=full_of_events)
    assert outcome.code == 0, outcome.said
    (done,) = (done for done in outcome.document["done"] if done["table"] == "website_event")
    before, after = done["before"], done["after"]
    assert sum(after.values()) < 0.8 * sum(before.values())


def test_a_rewrite_where_enough_is_free(full_of_events: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vacuum, "FREE_BYTES", 1_000_000)
    wish = Wish(("website_event",), full=True, if_needed=True)
    assert _plan(full_of_events, wish).steps == ()
    with connect(full_of_events) as loader:
        loader.execute("DELETE FROM website_event")
        loader.commit()
    # InnoDB clears deleted rows away in its own time.
    deadline = time.monotonic() + 30
    while not (plan := _plan(full_of_events, wish)).steps and time.monotonic() < deadline:
        time.sleep(0.2)
    assert plan.facts["tables"][0]["rewritten"]
    assert "of it is free" in plan.facts["tables"][0]["why"]
    assert _vacuum(full_of_events, wish).stopped is None
    assert _plan(full_of_events, wish).steps == ()


def test_a_rewrite_asks_first_and_says_what_it_takes(few_events: str) -> None:
    before = pruning.digest(few_events)
    outcome = command.run("vacuum", "--full", "--table", "website_event", url=few_events)
    assert outcome.code == 5
    assert "Estimated time" in outcome.out
    assert "of the server's disk meanwhile" in outcome.out
    assert pruning.digest(few_events) == before


def test_a_dry_run_shows_statements_and_locks(few_events: str) -> None:
    outcome = command.run("vacuum", "--full", "--dry-run", "--json", url=few_events)
    assert outcome.code == 0, outcome.said
    steps = outcome.document["steps"]
    assert {"title", "table", "statement", "lock"} == set(steps[0])
    shown = command.run("vacuum", "--full", "--dry-run", url=few_events)
    assert all(step["statement"] in shown.out and step["lock"] in shown.out for step in steps)
    assert "nothing was changed" in shown.out


def test_partitions_one_by_one(postgresql_server: Server, umami_database: str) -> None:
    with connect(umami_database) as loader:
        for statement in (
            "ALTER TABLE website_event RENAME TO plain",
            "CREATE TABLE website_event (LIKE plain INCLUDING DEFAULTS) PARTITION BY RANGE (created_at)",
            "CREATE TABLE we_a PARTITION OF website_event FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
            "CREATE TABLE we_b PARTITION OF website_event DEFAULT",
            "CREATE INDEX ON website_event (session_id)",
            "DROP TABLE plain",
        ):
            loader.execute(statement)
        loader.commit()
    outcome = command.run("vacuum", "--table", "website_event", "--reindex", "--json", url=umami_database)
    assert outcome.code == 0, outcome.said
    assert set(outcome.document["steps"]) == {"VACUUM we_a", "VACUUM we_b", "ANALYZE website_event"}


def test_progress_is_what_the_server_says(postgresql_server: Server, full_of_events: str) -> None:
    """On a server that is told to take its time; the stop comes once the share has grown."""
    name = pruning.url_of(full_of_events).database
    with connect(postgresql_server.as_admin(full_of_events)) as admin:
        admin.execute(f"ALTER DATABASE {name} SET vacuum_cost_delay = '20ms'")
        admin.execute(f"ALTER DATABASE {name} SET vacuum_cost_limit = 4")
        admin.execute("ALTER TABLE website_event SET (autovacuum_enabled = false)")  # it would be as slow
        admin.commit()
    _prune(full_of_events)
    stop, shares = StopSignal(), list[float]()

    def observe(event: Event) -> None:
        if isinstance(event, Advanced) and event.title == "VACUUM website_event" and event.share is not None:
            assert "heap" in event.phase or "index" in event.phase, event.phase
            shares.append(event.share)
            if len(set(shares)) >= 2:
                stop.request("the test saw enough")

    report = _vacuum(full_of_events, Wish(("website_event",)), stop=stop, observer=observe)
    assert report.stopped == "the test saw enough"
    assert shares == sorted(shares)
    assert 0 <= shares[0] < shares[-1] <= 1


# Indexes that others left


def test_what_a_failed_rebuild_left_goes_first(postgresql_server: Server, full_of_events: str) -> None:
    stop = StopSignal()

    def observe(event: Event) -> None:
        if isinstance(event, Advanced) and event.phase.startswith("waiting for"):
            stop.request("the test said so")

    _prune(full_of_events)
    with connect(full_of_events) as loader:
        with connect(full_of_events) as writer:
            writer.execute("UPDATE website_event SET url_path = url_path WHERE FALSE")
            # The new index stands and waits for that transaction: the middle of the rebuild.
            report = _vacuum(full_of_events, Wish(reindex=True), stop=stop, observer=observe)
        assert (report.stopped, report.maintained) == ("the test said so", [])
        assert len(_invalid(loader)) == 1
        loader.commit()
        outcome = command.run("vacuum", "--reindex", "--json", url=full_of_events)
        assert outcome.code == 0, outcome.said
        assert outcome.document["steps"][0].startswith("DROP ")
        assert outcome.document["steps"][0].endswith("_ccnew")
        assert _invalid(loader) == []


def test_an_invalid_index_of_umamis_is_rebuilt(postgresql_server: Server, umami_database: str) -> None:
    name = "website_event_created_at_idx"
    with connect(postgresql_server.as_admin(umami_database)) as admin:
        admin.execute(f"UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = '{name}'::regclass")
        admin.commit()
        outcome = command.run("vacuum", "--reindex", "--json", url=umami_database)
        assert outcome.code == 0, outcome.said
        assert outcome.document["steps"][0] == f"REINDEX {name}"
        assert _invalid(admin) == []


def test_pgstattuple_measures_where_it_is_installed(postgresql_server: Server, full_of_events: str) -> None:
    _prune(full_of_events)
    with connect(postgresql_server.as_admin(full_of_events)) as admin:
        if not admin.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'pgstattuple'"):
            pytest.skip("this server has no pgstattuple")
        admin.execute("CREATE EXTENSION pgstattuple")
        admin.execute("GRANT EXECUTE ON FUNCTION pgstatindex(regclass) TO PUBLIC")
        admin.execute("GRANT EXECUTE ON FUNCTION pgstatindex(text) TO PUBLIC")
        admin.commit()
    outcome = command.run("vacuum", "--reindex", "--dry-run", "--json", url=full_of_events)
    assert outcome.code == 0, outcome.said
    indexes = outcome.document["indexes"]
    assert indexes
    assert not any(index["estimated"] for index in indexes)


def test_on_mysql_an_index_has_no_rebuild_of_its_own(mysql_server: Server, umami_database: str) -> None:
    outcome = command.run("vacuum", "--reindex", url=umami_database)
    assert outcome.code == 5
    assert "both are one file" in outcome.err
    assert "vacuum --full" in outcome.err


# Beside others


def test_a_table_that_is_in_use_is_tried_again_then_left_out(few_events: str) -> None:
    troubles: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, Trouble):
            troubles.append(event.text)

    with _reading(few_events, "website_event"), _writer(few_events) as waits:
        report = _vacuum(few_events, Wish(("website_event",), full=True), observer=observe)
    assert report.stopped is not None
    assert "website_event could not be locked" in report.stopped
    assert report.maintained[0].skipped
    assert len(troubles) == 1
    # A second at a time is what it asks for the table; writers wait no longer.
    assert max(waits) < 3


def test_a_table_that_becomes_free_is_done(few_events: str) -> None:
    with _reading(few_events, "website_event") as loader:

        def observe(event: Event) -> None:
            if isinstance(event, Trouble):
                loader.commit()

        report = _vacuum(few_events, Wish(("website_event",), full=True), tries=5, observer=observe)
    assert report.stopped is None
    assert not any(done.skipped for done in report.maintained)


def test_a_lock_that_stops_no_writer_is_not_waited_for_either(
    postgresql_server: Server, few_events: str
) -> None:
    with connect(few_events) as loader:
        loader.execute("LOCK TABLE website_event IN SHARE UPDATE EXCLUSIVE MODE")
        with _writer(few_events) as waits:
            report = _vacuum(few_events, Wish(("website_event", "session")))
    assert [(done.table, bool(done.skipped)) for done in report.maintained] == [
        ("website_event", True),
        ("session", False),
    ]
    assert max(waits) < 1


def test_a_signal_ends_it_at_once(few_events: str) -> None:
    with _reading(few_events, "website_event"):
        vacuum = Process("vacuum", "--full", "--yes", "--table", "website_event", url=few_events)
        assert vacuum.process.stderr is not None
        # The first word of its progress is that it waits for the table.
        assert "waiting for a free moment" in vacuum.process.stderr.readline()
        vacuum.send(signal.SIGTERM)
        ended = vacuum.wait(20)
    assert ended.code == 3, ended.said
    assert "Ended early: SIGTERM was received" in ended.out


def test_the_time_limit_ends_it(few_events: str) -> None:
    with _reading(few_events, "website_event"):
        outcome = command.run(
            "vacuum", "--full", "--yes", "--json", "--max-duration", "1.5s", "--table", "website_event",
            url=few_events,
        )  # fmt: skip
    assert outcome.code == 3, outcome.said
    assert outcome.document["stopped"] == "the time limit was reached"


def test_one_run_at_a_time_and_none_beside_a_migration(umami_database: str) -> None:
    with RunLock(open_database(pruning.url_of(umami_database)), "prune"):
        assert command.run("vacuum", url=umami_database).code == 4
    with connect(umami_database) as loader:
        loader.execute(_PRISMA[loader.dialect])
        assert command.run("vacuum", url=umami_database).code == 5


def test_a_migration_that_begins_ends_it(few_events: str) -> None:
    with _reading(few_events, "website_event"), connect(few_events) as prisma:

        def observe(event: Event) -> None:
            if isinstance(event, Trouble):
                prisma.execute(_PRISMA[prisma.dialect])

        report = _vacuum(few_events, Wish(("website_event",), full=True), tries=20, observer=observe)
    assert report.stopped is not None
    assert "Prisma migration" in report.stopped


# What goes wrong


def test_only_the_owner_may(server: Server, umami_database: str) -> None:
    admin = server.as_admin(umami_database)
    stranger = f"stranger_{uuid.uuid4().hex[:8]}"
    parts = urlsplit(umami_database)
    url = parts._replace(netloc=f"{stranger}:{parts.password}@{parts.hostname}:{parts.port}").geturl()
    with connect(admin) as loader:
        if loader.dialect == "postgresql":
            loader.execute(f"CREATE ROLE {stranger} LOGIN PASSWORD '{parts.password}'")
            loader.execute(f"GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO {stranger}")
        else:
            loader.execute(f"CREATE USER {stranger}@'%' IDENTIFIED BY '{parts.password}'")
            loader.execute(f"GRANT SELECT ON `{parts.path[1:]}`.* TO {stranger}@'%'")
        loader.commit()
        try:
            outcome = command.run("vacuum", url=url)
        finally:
            if loader.dialect == "postgresql":
                loader.execute(f"DROP OWNED BY {stranger}")
                loader.execute(f"DROP ROLE {stranger}")
            else:
                loader.execute(f"DROP USER {stranger}@'%'")
            loader.commit()
    assert outcome.code == 5
    assert f"User {stranger}" in outcome.err
    assert "may not maintain" in outcome.err


def test_another_way_where_the_first_fails(umami_database: str) -> None:
    plan = _plan(umami_database, Wish(("session",), analyze_only=True))
    (step,) = (step for step in plan.steps if isinstance(step, Maintenance))
    assert isinstance(step.statement, Query)
    broken = replace(
        step, statement=Query("test.broken", "", "ANALYSE NOTHING AT ALL"), otherwise=step.statement
    )
    database = open_database(pruning.url_of(umami_database))
    told: list[Event] = []
    with RunLock(database, "vacuum") as lock:
        report = execute(replace(plan, steps=(broken,)), database, lock=lock, observer=told.append)
    assert [done.skipped for done in report.maintained] == [None]
    assert any(isinstance(event, Trouble) and "in another way" in event.text for event in told)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--table", "website_evnt"), "Did you mean website_event?"),
        (("--analyze-only", "--full"), "leave --reindex and --full away"),
        (("--full", "--reindex"), "leave --reindex away"),
    ],
)
def test_wrong_usage(umami_database: str, arguments: tuple[str, ...], says: str) -> None:
    outcome = command.run("vacuum", *arguments, url=umami_database)
    assert outcome.code == 2
    assert says in outcome.err


def _fake_repack(folder: Path, script: str) -> str:
    """Put a client of pg_repack on a PATH of its own that says its version, and else runs `script`."""
    client = folder / "pg_repack"
    client.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "pg_repack 1.5.2" && exit\n{script}\n')
    client.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_pg_repack_where_it_is_installed(postgresql_server: Server, few_events: str, tmp_path: Path) -> None:
    # None of the servers has it: what is tried here is when it is called, and how.
    arguments = ("vacuum", "--full", "--yes", "--json", "--table", "session")
    env = {"PATH": _fake_repack(tmp_path, f'echo "$@ $PGUSER $PGDATABASE" > {tmp_path}/called')}
    without = command.run(*arguments, url=few_events, env=env)
    assert without.document["steps"] == ["VACUUM FULL session"]
    with connect(postgresql_server.as_admin(few_events)) as admin:
        admin.execute(
            "INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)"
            " VALUES (99999, 'pg_repack', 10, 2200, FALSE, '1.5.2')"
        )
        admin.commit()
    outcome = command.run(*arguments, url=few_events, env=env)
    assert outcome.document["steps"] == ["REPACK session", "ANALYZE session"]
    parts = urlsplit(few_events)
    called = (tmp_path / "called").read_text()
    assert called.endswith(f'--table="public"."session" {parts.username} {parts.path[1:]}\n')
    assert str(parts.password) not in called
    _fake_repack(tmp_path, "echo 'ERROR: no luck' >&2; exit 1")
    failed = command.run(*arguments, url=few_events, env=env)
    assert (failed.code, "pg_repack failed: ERROR: no luck" in failed.err) == (1, True)
    _fake_repack(tmp_path, "sleep 30")
    stopped = command.run(*arguments, "--max-duration", "1s", url=few_events, env=env)
    assert stopped.code == 3, stopped.said


def test_an_index_of_innodb_goes_but_isn_t_rebuilt(mysql_server: Server, few_events: str) -> None:
    database = open_database(pruning.url_of(few_events))
    with database.connect() as connection:
        upkeep = connection.upkeep()
        place = next(
            table.place for table in upkeep.tables(measured_seconds=0) if table.root == "website_event"
        )
        index = IndexState("website_event_visit_id_idx", place, 0, True, False, None, True)
        with pytest.raises(Refused, match="isn't rebuilt without its table"):
            upkeep.rebuild(index)
        plan = Plan("vacuum", {}, (upkeep.drop(index),))
        with RunLock(database, "vacuum") as lock:
            execute(plan, database, lock=lock)
        found = connection.rows(Query("test", "", "SHOW INDEX FROM website_event"))
        assert index.name not in {row["Key_name"] for row in found}
