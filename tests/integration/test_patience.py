"""Statements that have to wait: what a failed try leaves, who gives way to whom, and what is undone."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from testbed.bulk import Loader, connect
from testbed.servers import Server
from tests import command, pruning
from tests.process import Process
from umami_ops.databases.postgresql import alterations
from umami_ops.execute import Event, StepBegan, StopSignal
from umami_ops.operations.prune import Retention

_HORIZON = datetime(2025, 1, 1, tzinfo=UTC)


def _insert(loader: Loader, at: str, kind: int = 1) -> None:
    new = str(uuid.uuid4())
    loader.execute(
        "INSERT INTO website_event"
        " (event_id, website_id, session_id, visit_id, url_path, event_type, created_at)"
        f" VALUES ('{new}', '{new}', '{new}', '{new}', '/', {kind}, '{at}')"
    )
    loader.commit()


@contextmanager
def _kept_in_use(url: str) -> Iterator[Callable[[], None]]:
    """Hold a transaction open that has read and written the table, until its end is asked for."""
    with connect(url) as loader:
        loader.execute("UPDATE website_event SET url_path = '/' WHERE url_path = 'none'")
        loader.execute("SELECT COUNT(*) FROM website_event")
        yield loader.commit


def _eventually(loader: Loader, query: str) -> None:
    ends = time.monotonic() + 30
    while not loader.execute(query)[0][0]:
        loader.commit()
        assert time.monotonic() < ends, query
    loader.commit()


def test_an_index_that_never_came_is_not_taken_for_built(
    postgresql_server: Server, umami_at: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first try leaves an invalid index, which IF NOT EXISTS would pass over."""
    url = umami_at(21)
    monkeypatch.setattr(alterations, "_WAIT_FOR_TRANSACTIONS_SECONDS", 1)
    with _kept_in_use(url) as let_go:
        outcome = command.run("upgrade", "prepare", "--to", "newest", "--yes", url=url)
        assert outcome.code == 1, outcome.said
        let_go()
    again = command.run("upgrade", "prepare", "--to", "newest", "--yes", url=url)
    assert again.code == 0, again.said
    with connect(url) as loader:
        assert loader.execute("SELECT COUNT(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]


def test_partitions_give_way_to_a_migration(postgresql_server: Server, umami_database: str) -> None:
    """Prisma's ALTER would wait for the index that is being built, and all writers for that."""
    url = umami_database
    with _kept_in_use(url) as let_go, connect(url) as prisma:
        enabling = Process("partition", "enable", "--yes", url=url)
        _eventually(prisma, "SELECT COUNT(*) FROM pg_stat_progress_create_index")
        prisma.execute("SELECT pg_advisory_lock(72707369)")
        prisma.commit()
        ended = enabling.wait(20)
        let_go()
    assert ended.code == 3, ended.said
    assert "a Prisma migration began" in ended.said
    assert command.run("partition", "enable", "--yes", url=url).code == 0


def test_a_rebuild_is_undone_though_the_table_is_in_use(mysql_server: Server, umami_database: str) -> None:
    url, stop = umami_database, StopSignal()
    with connect(url) as loader:
        for at in ("2024-06-01", "2025-06-01"):
            _insert(loader, at)
    with connect(url) as reader:

        def observe(event: Event) -> None:
            if isinstance(event, StepBegan) and event.title == "copying website_event":
                reader.execute("SELECT COUNT(*) FROM website_event")
                threading.Timer(2, reader.commit).start()
                stop.request("the test wants it")

        report = pruning.prune(url, Retention(_HORIZON, rebuild=True), stop=stop, observer=observe).report
    assert report.stopped == "the test wants it"
    with connect(url) as loader:
        assert _left(loader) == 0
        assert loader.execute("SELECT COUNT(*) FROM website_event") == [(2,)]


def test_nobody_waits_while_what_a_killed_rebuild_left_is_cleared_away(
    mysql_server: Server, umami_database: str
) -> None:
    url = umami_database
    with connect(url) as loader:
        _insert(loader, "2025-06-01")
        loader.execute("CREATE TABLE _umami_ops_new_website_event LIKE website_event")
        loader.execute(
            "CREATE TRIGGER _umami_ops_delete_website_event AFTER DELETE ON website_event FOR EACH ROW"
            " DELETE FROM _umami_ops_new_website_event WHERE event_id = OLD.event_id"
        )
    longest = 0.0
    with connect(url) as reader, connect(url) as writer:
        reader.execute("SELECT COUNT(*) FROM website_event")
        _insert(writer, "2024-06-01")
        clearing = Process("prune", "--before", "2025-01-01", "--yes", url=url)
        looking_until = time.monotonic() + 4
        while time.monotonic() < looking_until:
            began = time.monotonic()
            _insert(writer, "2025-06-01")
            longest = max(longest, time.monotonic() - began)
            time.sleep(0.02)  # the rhythm of visitors, no wait for anything
        assert not clearing.is_over
        reader.commit()
        ended = clearing.wait()
    assert ended.code == 0, ended.said
    assert longest < 0.9
    with connect(url) as loader:
        assert _left(loader) == 0


def _left(loader: Loader) -> int:
    ((tables, triggers),) = loader.execute(
        "SELECT (SELECT COUNT(*) FROM information_schema.tables"
        "        WHERE table_schema = DATABASE() AND table_name LIKE '\\_umami\\_ops%'),"
        " (SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = DATABASE())"
    )
    return int(tables) + int(triggers)
