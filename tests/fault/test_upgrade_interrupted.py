"""`upgrade prepare` and `repair`, killed in the middle: the same command goes on, and nothing is lost."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import pytest

from testbed.bulk import connect
from testbed.servers import Server
from testbed.upgrading import MigrationFailed, upgrade
from tests.command import run
from tests.process import Process
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.operations.upgrade.state import read_state
from umami_ops.umami.schema import schema_at

pytestmark = pytest.mark.fault

WEBSITE = "10000000-0000-4000-8000-000000000000"


def _fill(url: str, doublings: int, *, visits: bool) -> None:
    column, value = (", visit_id", f", '{WEBSITE}'") if visits else ("", "")
    with connect(url) as loader:
        new_id = "gen_random_uuid()" if loader.dialect == "postgresql" else "UUID()"
        loader.execute(
            f"INSERT INTO website_event (event_id, website_id, session_id, url_path{column})"
            f" VALUES ('{uuid.uuid4()}', '{WEBSITE}', '{WEBSITE}', '/'{value})"
        )
        for _ in range(doublings):
            loader.execute(
                f"INSERT INTO website_event (event_id, website_id, session_id, url_path{column})"
                f" SELECT {new_id}, website_id, session_id, url_path{column} FROM website_event"
            )
        loader.commit()


def _kill_in_the_middle(url: str, *arguments: str, seconds: float) -> None:
    """Begin a command, and kill it when so much time has passed since it took its lock, unless it has
    ended.
    """
    process = Process(*arguments, "--yes", url=url)
    try:
        with open_database(DatabaseUrl.parse(url)).connect() as connection:
            holder = connection.dialect.queries["lock.holder"]
            while not process.is_over and not connection.rows(holder):
                pass
        time.sleep(seconds)
    finally:
        process.kill()


def _ends_well(url: str, *arguments: str) -> None:
    """Run it again; the killed one's session may hold the lock for a moment yet."""
    ends = time.monotonic() + 60
    while (outcome := run(*arguments, "--yes", url=url)).code == 4:
        assert time.monotonic() < ends, outcome.said
        time.sleep(0.2)
    assert outcome.code == 0, outcome.said


@pytest.mark.parametrize("seconds", [0.05, 0.3, 0.8])
def test_prepare_killed(seconds: float, server: Server, umami_at: Callable[[int], str]) -> None:
    level, ahead = (4, 5)
    url = umami_at(level)
    _fill(url, 14, visits=False)
    _kill_in_the_middle(url, "upgrade", "prepare", "--to", "2.11", seconds=seconds)
    _ends_well(url, "upgrade", "prepare", "--to", "2.11")
    with open_database(DatabaseUrl.parse(url)).connect() as connection:
        state = read_state(connection)
    assert all(index.valid for index in state.indexes)
    assert not state.tables["website_event"]["visit_id"].nullable
    with connect(url) as loader:
        ((rows, without, visits),) = loader.execute(
            "SELECT COUNT(*), SUM(CASE WHEN visit_id IS NULL THEN 1 ELSE 0 END), COUNT(DISTINCT visit_id)"
            " FROM website_event"
        )
        ((recorded,),) = loader.execute(
            "SELECT COUNT(*) FROM _prisma_migrations WHERE migration_name = '05_add_visit_id'"
            " AND finished_at IS NOT NULL AND rolled_back_at IS NULL"
        )
    # One session, within an hour or two.
    assert (int(rows), int(without), int(recorded)) == (2**14, 0, 1)
    assert int(visits) <= 2
    upgrade(url, ahead + 1)


@pytest.mark.parametrize("seconds", [0.02, 0.2, 0.6])
def test_repair_killed(seconds: float, mysql_server: Server, umami_at: Callable[[int], str]) -> None:
    url = umami_at(8)
    _fill(url, 13, visits=True)
    with pytest.raises(MigrationFailed):
        upgrade(url, 9, fails_after=2)
    _kill_in_the_middle(url, "upgrade", "repair", seconds=seconds)
    _ends_well(url, "upgrade", "repair")
    upgrade(url, 13)
    with open_database(DatabaseUrl.parse(url)).connect() as connection:
        state = read_state(connection)
    for table in schema_at("mysql", 13).tables:
        assert set(state.tables[table.name]) == set(table.column_names)
    with connect(url) as loader:
        assert loader.execute("SELECT COUNT(*) FROM website_event") == [(2**13,)]
