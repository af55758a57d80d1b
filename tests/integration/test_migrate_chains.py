"""Moves in a row, from a partitioned source, and beside writers who hold several tables."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from testbed import servers
from testbed.servers import Server
from testbed.traffic import Traffic, populate
from testbed.umami import create_umami
from tests import command, moving
from tests.plugins.directions import Direction
from umami_ops.databases.base import Connection
from umami_ops.databases.registry import open_database
from umami_ops.databases.transit import Kind, Rows
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import TransientFault
from umami_ops.sql import Query
from umami_ops.transfer.schema import pair
from umami_ops.transfer.snapshot import Snapshot

LEVEL = 13
_TABLES = ("website_event", "session", "event_data", "segment", "website", "revenue")
_CHAINS = (("postgresql-18", "mysql", "postgresql-18"), ("mariadb", "postgresql-18", "mysql"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test of chains those whose servers were chosen."""
    if "chain" in metafunc.fixturenames:
        option = metafunc.config.getoption("--servers")
        chosen = set(option.split(",") if option else servers.NAMES)
        wanted = [chain for chain in _CHAINS if chosen.issuperset(chain)]
        metafunc.parametrize("chain", wanted, ids=["-".join(chain) for chain in wanted])


@pytest.fixture
def chained(chain: Sequence[str]) -> Iterator[list[str]]:
    """A database on each server of the chain, the first with Umami's schema."""
    places = [servers.get(name) for name in chain]
    urls = [place.create_database() for place in places]
    create_umami(urls[0], LEVEL)
    yield urls
    for place, url in zip(places, urls, strict=True):
        place.drop_database(url)


@pytest.mark.slow
@settings(
    max_examples=3,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
@given(data=st.data())
def test_rows_survive_a_chain_byte_for_byte(chained: list[str], data: st.DataObject) -> None:
    """What leaves the first server, cut to whole seconds, is to the byte what the last one has."""
    fill(chained[0], data)
    for source, target in zip(chained, chained[1:], strict=False):
        move(source, target, "--replace")
    with contextlib.ExitStack() as stack:
        first, middle, last = (stack.enter_context(moving.connect(url)) for url in chained)
        for table in _TABLES:
            assert texts(first, middle, last, table) == texts(last, middle, first, table), table


def fill(url: str, data: st.DataObject) -> None:
    """Fill tables with values that Hypothesis makes."""
    with moving.connect(url) as connection:
        description = connection.transit().describe()
        for table in _TABLES:
            rows = moving.rows_in(connection, table)
            found = description.table(table)
            assert found is not None
            types = {column.name: column.type for column in found.columns}
            lines = data.draw(moving.lines_of(rows, types))
            with connection.transaction():
                connection.run(Query("test", "", f"DELETE FROM {connection.dialect.quote(table)}"))
                connection.transit().write(rows, [lines])


def texts(connection: Connection, middle: Connection, end: Connection, table: str) -> bytes:
    """Return a table's rows as they travel to the chain's middle; JSON where both ends spell it alike."""
    own, there = (each.transit().describe().table(table) for each in (connection, middle))
    assert own is not None
    assert there is not None
    rows = pair(own, moving.side_of(connection), there, moving.side_of(middle)).source
    is_alike = moving.side_of(connection) == moving.side_of(end)
    fields = tuple(item for item in rows.fields if is_alike or item.kind is not Kind.JSON)
    return b"".join(connection.transit().read(Rows(table, fields, rows.key), ordered=True))


def move(source: str, target: str, *arguments: str) -> command.Outcome:
    outcome = command.run(
        "migrate", "--yes", "--json", *arguments, url=source, env={"TARGET_DATABASE_URL": target}
    )
    assert outcome.code == 0, outcome.said
    return outcome


def test_a_partitioned_source_arrives_as_one_table(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(LEVEL)
    start, end = datetime(2025, 1, 10, tzinfo=UTC), datetime(2025, 6, 1, tzinfo=UTC)
    populate(source, Traffic(start, end, seed=7, events=2_000), LEVEL)
    for verb in (("enable", "--null-created-at", "session-time"), ("split", "--by", "quarter")):
        assert command.run("partition", *verb, "--yes", url=source).code == 0
    outcome = move(source, target_url)
    assert any("website_event is partitioned" in note["text"] for note in outcome.document["notes"])
    assert all(table["equal"] for table in outcome.document["proof"])
    with moving.connect(target_url) as connection:
        table = connection.transit().describe().table("website_event")
        assert table is not None
        assert table.primary_key is not None
        assert table.primary_key.columns == ("event_id",)
    answer = command.run("verify", "--json", url=source, env={"TARGET_DATABASE_URL": target_url})
    assert (answer.code, answer.document["equal"]) == (0, True), answer.said


def test_a_snapshot_beside_writers_who_hold_several_tables(server: Server, umami_database: str) -> None:
    """Each transaction writes a session, its event and its property: no snapshot sees a part of one."""
    tables = ("event_data", "revenue", "session", "website_event")
    # With all rights: without RELOAD, MySQL itself ends a writer's transaction where the two would deadlock.
    database = open_database(DatabaseUrl.parse(server.as_admin(umami_database)))
    with writing(umami_database, 3) as (written, failed):
        for _ in range(5):
            before = len(written)
            began = time.monotonic()
            with Snapshot(database, tables, 2, "test") as snapshot:
                assert snapshot.is_shared
                seen = [[count(connection, table) for table in tables] for connection in snapshot.connections]
            assert seen[0] == seen[1]
            assert seen[0][0] == seen[0][2] == seen[0][3]
            assert time.monotonic() - began < 10
            while len(written) < before + 10:
                time.sleep(0.01)
    assert not failed


def test_nobody_is_connected_while_writers_wait(
    server: Server, umami_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handshake may take seconds, of a busy server or one far away; tables are locked for none of it."""
    database = open_database(DatabaseUrl.parse(server.as_admin(umami_database)))
    connect_plainly = database.connect
    opened: list[str] = []
    with connect_plainly("writer") as writer:
        writer.run(writer.dialect.queries["lock.impatient"], seconds=1)

        def connect(purpose: str) -> Connection:
            opened.append(purpose)
            writer.run(Query("test", "", "DELETE FROM segment"))  # raises TransientFault while it must wait
            return connect_plainly(purpose)

        monkeypatch.setattr(database, "connect", connect)
        with Snapshot(database, ("segment",), 3, "test") as snapshot:
            assert snapshot.is_shared
            assert len(snapshot.connections) == 3
    assert len(opened) == 4


def count(connection: Connection, table: str) -> int:
    return int(connection.value(Query("test", "", f"SELECT COUNT(*) AS n FROM {table}")))


@contextlib.contextmanager
def writing(url: str, writers: int) -> Iterator[tuple[list[int], list[BaseException]]]:
    """Write a session with an event and a property a transaction, as Umami does, until the block ends."""
    written: list[int] = []
    failed: list[BaseException] = []
    ended = threading.Event()

    def work(first: int) -> None:
        with moving.connect(url) as connection:
            number = first
            while not ended.is_set():
                try:
                    with connection.transaction():
                        for statement in _rows_of(number):
                            connection.run(Query("test", "", statement))
                except TransientFault as fault:
                    failed.append(fault)
                else:
                    written.append(number)
                number += 1

    threads = [threading.Thread(target=work, args=(place * 1_000_000,)) for place in range(1, writers + 1)]
    for thread in threads:
        thread.start()
    try:
        yield written, failed
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _rows_of(number: int) -> Iterator[str]:
    key = f"00000000-0000-4000-8000-{number:012d}"
    yield f"INSERT INTO session (session_id, website_id) VALUES ('{key}', '{key}')"
    yield (
        "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path) "
        f"VALUES ('{key}', '{key}', '{key}', '{key}', '/')"
    )
    yield (
        "INSERT INTO event_data (event_data_id, website_event_id, website_id, data_key, data_type) "
        f"VALUES ('{key}', '{key}', '{key}', 'k', 1)"
    )
