"""The target's disk fills up, or a server drops its sessions: a clear line, and the same command goes on."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed import servers
from testbed.bulk import connect
from testbed.servers import Server, database_name
from tests.fault import disk
from tests.fault.test_migrate_interrupted import (
    Run,
    assert_equal,
    assert_umami_would_not_start,
    both,
    cut_off,
    fill,
    wait_for,
)
from tests.plugins.directions import Direction

__all__ = ["both"]


@pytest.fixture
def filled(origin: str) -> Iterator[str]:
    """A filled source on a shared server, which is started before the next server's data has a small disk."""
    place = servers.get(origin)
    source = place.create_database()
    fill(source, events=20_000)
    yield source
    place.drop_database(source)


@pytest.mark.fault
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
@pytest.mark.parametrize(("origin", "name"), [("mariadb", "postgresql-18"), ("postgresql-18", "mariadb")])
def test_the_targets_disk_is_full(filled: str, name: str, small_disk: Path) -> None:
    source = filled
    settings = {"max_wal_size": "32MB", "min_wal_size": "32MB"} if name.startswith("postgresql") else {}
    with servers.start(name, settings=settings) as server:
        target = server.create_database()
        run = Run(source, target)
        wait_for(target, run, 5)
        ballast = small_disk / "ballast"
        disk.fill(ballast)
        if server.dialect == "postgresql":
            disk.use_up_the_log(server.as_admin(target))
        code, _, err = run.wait()
        assert code == 1, err
        ballast.unlink()
        server.restart()
        assert_umami_would_not_start(target)
        code, _, err = Run(source, target).wait()
        assert code == 0, err
        assert_equal(source, target)


def test_sessions_at_the_source_are_replaced(direction: Direction, both: tuple[str, str]) -> None:
    source, target = both
    run = Run(source, target)
    wait_for(target, run, 5)
    assert cut_off(direction.source.as_admin(source), database_name(source))
    code, _, err = run.wait()
    assert code == 0 or (code == 1 and "Run the same command again" in err), err
    if code:
        assert_umami_would_not_start(target)
        code, _, err = Run(source, target).wait()
    assert code == 0, err
    assert_equal(source, target)


@pytest.mark.slow
@pytest.mark.fault
def test_a_target_that_keeps_dropping_its_sessions(direction: Direction, both: tuple[str, str]) -> None:
    """Copying, building or proving: the run goes on or ends with a line, and a rerun completes it."""
    source, target = both
    with dropping(direction.target, target):
        code, _, err = Run(source, target).wait()
        assert code in (0, 1), err
    while code:
        assert_umami_would_not_start(target)
        code, _, err = Run(source, target).wait()
        assert code in (0, 1), err
    assert_equal(source, target)


@contextmanager
def dropping(server: Server, url: str) -> Iterator[None]:
    """End the target's sessions every half second, ten times, until the block ends."""
    ended = threading.Event()

    def work() -> None:
        for _ in range(10):
            if ended.wait(0.5):
                return
            cut_off(server.as_admin(url), database_name(url))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.fault
def test_the_target_restarts_while_indexes_are_built(direction: Direction, both: tuple[str, str]) -> None:
    source, _ = both
    with servers.start(direction.target.name) as server:
        target = server.create_database()
        run = Run(source, target)
        wait_for_an_index(server, target, run)
        server.kill()
        server.restart()
        code, _, err = run.wait()
        if code:
            assert_umami_would_not_start(target)
            code, _, err = Run(source, target).wait()
        assert code == 0, err
        assert_equal(source, target)


def wait_for_an_index(server: Server, target: str, run: Run) -> None:
    """Return as soon as one of website_event's indexes is being built or stands, or the run is over."""
    with connect(server.as_admin(target)) as loader:
        while not loader.execute(_BUILDING[server.flavour])[0][0] and run.process.poll() is None:
            loader.commit()


#: MySQL's information_schema.processlist fails while anybody's statement holds an emoji.
_BUILDING = {
    "postgresql": "SELECT COUNT(*) FROM pg_indexes WHERE indexname LIKE 'website_event_website%'",
    "mariadb": "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'alter%'",
    "mysql": "SELECT COUNT(*) FROM performance_schema.threads WHERE processlist_state LIKE 'alter%'",
}
