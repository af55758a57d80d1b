"""A move that is killed, stopped or cut off at any moment is finished by the same command, and proven."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from testbed.bulk import connect
from testbed.servers.server import database_name
from testbed.sessions import PROCESSLIST, end_sessions, wait_until_alone
from testbed.traffic import Traffic, populate
from testbed.umami import create_umami
from tests import command, moving
from tests.plugins.directions import Direction
from umami_ops.databases.base import Connection
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.execute import RunLock
from umami_ops.execute import execute as carry_out
from umami_ops.execute.events import RowsMoved
from umami_ops.operations.migrate import Wish, plan_migrate
from umami_ops.sql import Query
from umami_ops.transfer import comparison, ranges
from umami_ops.umami.schema import schema_at

START, END = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC)
_SMALL_RANGES = (
    "from umami_ops.transfer import ranges; ranges.RANGE_ROWS = 100; from umami_ops.cli import main; main()"
)


def fill(url: str, events: int = 3_000) -> None:
    create_umami(url, 13)
    populate(url, Traffic(START, END, seed=3, events=events), 13)


class Run:
    """`umami-ops migrate` in ranges of a hundred rows, so that there is a middle, as a process of its own."""

    def __init__(self, source: str, target: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SMALL_RANGES, "migrate", "--yes", "--json", *arguments],
            env=command.bare_environment() | {"DATABASE_URL": source, "TARGET_DATABASE_URL": target},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=180)
        assert "Traceback" not in err, err
        return self.process.returncode, out, err


@pytest.fixture
def both(direction: Direction) -> Iterator[tuple[str, str]]:
    """A filled source and an empty target."""
    source, target = direction.source.create_database(), direction.target.create_database()
    fill(source)
    yield source, target
    direction.source.drop_database(source)
    direction.target.drop_database(target)


def rows_there(connection: Connection) -> int:
    """Count the entries of the ledger; none before it is there."""
    if not connection.value(connection.dialect.queries["ledger.exists"]):
        return 0
    return len(connection.rows(connection.dialect.queries["ledger.entries"]))


def wait_for(target: str, run: Run, entries: int) -> None:
    """Return as soon as so many ranges have arrived, or the run is over."""
    with moving.connect(target) as connection:
        while rows_there(connection) < entries and run.process.poll() is None:
            pass


def assert_umami_would_not_start(target: str) -> None:
    with moving.connect(target) as connection:
        assert connection.transit().describe().table("_prisma_migrations") is None


def assert_equal(source: str, target: str) -> None:
    answer = command.run("verify", "--json", url=source, env={"TARGET_DATABASE_URL": target})
    assert (answer.code, answer.document["equal"]) == (0, True), answer.said


@pytest.mark.parametrize("entries", [2, 30])
def test_a_killed_move_goes_on(direction: Direction, both: tuple[str, str], entries: int) -> None:
    source, target = both
    run = Run(source, target)
    wait_for(target, run, entries)
    run.process.kill()
    run.process.communicate()
    wait_until_alone(direction.target, target)
    assert_umami_would_not_start(target)
    half = command.run("verify", "--json", url=source, env={"TARGET_DATABASE_URL": target})
    assert (half.code, half.document["half_moved"]) == (1, True), half.said
    code, out, err = Run(source, target).wait()
    assert code == 0, err
    assert all(table["equal"] for table in json.loads(out)["proof"])
    assert_equal(source, target)


@pytest.mark.slow
@pytest.mark.fault
def test_killed_at_twenty_random_moments(direction: Direction, both: tuple[str, str]) -> None:
    source, target = both
    dice = random.Random(7)
    for _ in range(20):
        run = Run(source, target)
        time.sleep(dice.uniform(0.3, 3.0))  # any moment will do: nothing is waited for
        run.process.kill()
        ended = run.process.wait() == 0
        run.process.communicate()
        wait_until_alone(direction.target, target)
        if ended:
            break
        if rows_there_in(target):
            assert_umami_would_not_start(target)
    code, _, err = Run(source, target).wait()
    assert code == 0 or "isn't empty" in err, err
    assert_equal(source, target)


def rows_there_in(url: str) -> int:
    with moving.connect(url) as connection:
        return rows_there(connection)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_its_range(
    direction: Direction, both: tuple[str, str], number: signal.Signals
) -> None:
    source, target = both
    run = Run(source, target)
    wait_for(target, run, 5)
    run.process.send_signal(number)
    code, out, err = run.wait()
    assert code == 3, err
    assert json.loads(out)["stopped"]
    assert_umami_would_not_start(target)
    code, _, err = Run(source, target).wait()
    assert code == 0, err
    assert_equal(source, target)


def test_ingest_goes_on_meanwhile_and_is_caught_up(direction: Direction, both: tuple[str, str]) -> None:
    source, target = both
    with ingest(source) as written:
        code, out, err = Run(source, target).wait()
        assert code == 0, err
    assert written
    first = sum(json.loads(out)["moved_rows"].values())
    code, out, err = Run(source, target, "--catch-up").wait()
    assert code == 0, err
    with connect(source) as loader:
        (count,) = loader.execute("SELECT COUNT(*) FROM website_event")[0]
    assert first > 3_000
    assert count >= 3_000
    assert_equal(source, target)


def test_catching_up_waits_for_the_end_of_the_move(direction: Direction, both: tuple[str, str]) -> None:
    source, target = both
    begin_and_stop(source, target)
    with moving.connect(target) as connection:
        arrived = rows_there(connection)
    code, _, err = Run(source, target, "--catch-up").wait()
    assert (code, "goes on where it stopped" in err) == (5, True), err
    with moving.connect(target) as connection:
        assert rows_there(connection) == arrived
    execute(target, "DELETE FROM {ledger}")
    code, _, err = Run(source, target, "--catch-up").wait()
    assert (code, "isn't complete: it lacks the records in" in err) == (5, True), err
    code, _, err = Run(source, target, "--replace").wait()
    assert code == 0, err
    code, _, err = Run(source, target, "--catch-up").wait()
    assert code == 0, err


@contextmanager
def ingest(url: str) -> Iterator[list[int]]:
    """Insert events, one a transaction, until the block ends."""
    written: list[int] = []
    ended = threading.Event()

    def work() -> None:
        with connect(url) as loader:
            number = 10_000
            while not ended.is_set():
                loader.load(moving.batch("website_event", moving.awkward_event(number, "meanwhile")))
                loader.commit()
                written.append(number)
                number += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield written
    finally:
        ended.set()
        thread.join()


def test_a_session_that_is_cut_off_is_replaced(direction: Direction, both: tuple[str, str]) -> None:
    source, target = both
    run = Run(source, target)
    wait_for(target, run, 5)
    cut = cut_off(direction.target.as_admin(target), database_name(target))
    code, _, err = run.wait()
    assert cut
    assert code == 0, err
    assert "connecting again" in err
    assert_equal(source, target)


@pytest.mark.dialects("mysql", "postgresql")
def test_a_later_moment_of_one_session_is_no_difference(
    direction: Direction, both: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MySQL's snapshot goes with the session: what takes its place sees later rows, and the others don't."""
    monkeypatch.setattr(ranges, "RANGE_ROWS", 100)
    monkeypatch.setattr(comparison, "PROVEN_ROWS", 50)
    url, target_url = both
    source, target = (open_database(DatabaseUrl.parse(each)) for each in both)
    cut: list[int] = []
    first = threading.Lock()

    def observe(event: object) -> None:
        if not isinstance(event, RowsMoved) or not first.acquire(blocking=False):
            return
        with connect(direction.source.as_admin(url)) as admin:
            found = admin.execute(
                f"SELECT id FROM {PROCESSLIST} WHERE db = '{database_name(url)}' AND id <> CONNECTION_ID()"
                " ORDER BY id DESC LIMIT 1"
            )
            cut.extend(int(session) for (session,) in found)
            write_more(url)
            end_sessions(admin, cut)

    with source.connect() as here, target.connect() as there:
        plan = plan_migrate(here, there, Wish())
    with RunLock(target, "migrate") as lock:
        carry_out(plan, target, lock=lock, source=source, observer=observe)
    assert cut
    assert_equal(url, target_url)


def write_more(url: str, count: int = 300) -> None:
    """Insert events all over the primary key."""
    with connect(url) as loader:
        ((site, session),) = loader.execute("SELECT website_id, session_id FROM website_event LIMIT 1")
        rows = ", ".join(
            f"('{uuid.uuid4()}', '{site}', '{session}', '{session}', '2025-02-01', '/later')"
            for _ in range(count)
        )
        loader.execute(
            "INSERT INTO website_event (event_id, website_id, session_id, visit_id, created_at, url_path)"
            f" VALUES {rows}"
        )
        loader.commit()


def cut_off(admin: str, name: str) -> int:
    """End every session on a database, PostgreSQL's but for the lock's; return how many there were."""
    with connect(admin) as loader:
        if loader.dialect == "postgresql":
            ended = loader.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                f"AND datname = '{name}' AND application_name = 'umami-ops migrate'"
            )
            return len(ended)
        found = loader.execute(f"SELECT id FROM {PROCESSLIST} WHERE id <> CONNECTION_ID() AND db = '{name}'")
        end_sessions(loader, [int(session) for (session,) in found])
        return len(found)


@pytest.mark.parametrize(
    "damage",
    ["UPDATE {ledger} SET row_count = row_count + 1 WHERE entry <> ''", "UPDATE {ledger} SET seal = 'x'"],
)
def test_a_damaged_ledger_is_refused_and_replaced(
    direction: Direction, both: tuple[str, str], damage: str
) -> None:
    source, target = both
    begin_and_stop(source, target)
    execute(target, damage)
    code, _, err = Run(source, target).wait()
    assert code == 5
    assert "damaged" in err
    code, _, err = Run(source, target, "--replace").wait()
    assert code == 0, err
    assert_equal(source, target)


def test_a_ledger_that_lost_entries_costs_time_and_no_rows(
    direction: Direction, both: tuple[str, str]
) -> None:
    source, target = both
    begin_and_stop(source, target)
    execute(target, "DELETE FROM {ledger} WHERE entry = 'website_event' AND since_key IS NULL")
    code, _, err = Run(source, target).wait()
    assert code == 0, err
    assert err.count("copied anew") == 1
    assert_equal(source, target)


def test_a_column_that_came_in_between_comes_along(direction: Direction, both: tuple[str, str]) -> None:
    source, target = both
    begin_and_stop(source, target)
    with connect(source) as loader:
        loader.execute("ALTER TABLE session ADD COLUMN note varchar(40)")
        loader.execute("UPDATE session SET note = 'kept'")
    code, _, err = Run(source, target, "--replace").wait()
    assert code == 0, err
    assert_equal(source, target)


@pytest.mark.dialects("postgresql", "mysql")
def test_an_index_that_is_there_already_keeps_no_other_away(
    direction: Direction, both: tuple[str, str]
) -> None:
    source, target = both
    begin_and_stop(source, target)
    with connect(target) as loader:
        loader.execute("CREATE INDEX session_created_at_idx ON session (created_at)")
    code, _, err = Run(source, target).wait()
    assert code == 0, err
    with moving.connect(target) as connection:
        found = connection.transit().describe().table("session")
    wanted = schema_at("mysql", 13).table("session").indexes
    assert found is not None
    assert {index.name for index in wanted} == {index.name for index in found.indexes}


def begin_and_stop(source: str, target: str) -> None:
    run = Run(source, target)
    wait_for(target, run, 8)
    run.process.send_signal(signal.SIGTERM)
    assert run.wait()[0] == 3


def execute(target: str, statement: str) -> None:
    ledger = "umami_ops.move" if target.startswith("postgresql") else "_umami_ops_move"
    with moving.connect(target) as connection:
        connection.run(Query("test", "", statement.replace("{ledger}", ledger)))


def test_another_source_is_not_mixed_in(
    direction: Direction, both: tuple[str, str], source_at: Callable[[int], str]
) -> None:
    source, target = both
    begin_and_stop(source, target)
    others = [source_at(13)]
    if direction.source.dialect == "postgresql":  # another schema of the same database
        others.append(f"{source}?schema=theirs")
        with connect(source) as loader:
            loader.execute("CREATE SCHEMA theirs")
        create_umami(others[-1], 13)
    for other in others:
        code, _, err = Run(other, target).wait()
        assert code == 5
        assert "Another move has begun here" in err


def test_a_target_that_goes_away_is_an_error_and_nothing_is_lost(
    direction: Direction, both: tuple[str, str]
) -> None:
    source, target = both
    begin_and_stop(source, target)
    other = database_name(target)
    direction.target.drop_database(target)
    outcome: Any = command.run("migrate", "--yes", url=source, env={"TARGET_DATABASE_URL": target})
    assert outcome.code == 1
    assert other in outcome.err
    direction.target.create_database(other)
