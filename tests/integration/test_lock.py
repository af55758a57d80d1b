"""The lock of a run, and what a run that was killed leaves at work in the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import command
from tests.visitors import fill
from umami_ops.databases.base import Connection, Database
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import LockHeld
from umami_ops.execute import RunLock, lock
from umami_ops.sql import Query

#: Statements that change one of Umami's tables for so many seconds.
_LONG = {
    "postgresql": "UPDATE website SET name = name WHERE pg_sleep({seconds}) IS NOT NULL",
    "mysql": "UPDATE website SET name = name WHERE SLEEP({seconds}) = 0",
}
_LONG_READ = {
    "postgresql": "SELECT name, pg_sleep({seconds})::text AS slept FROM website",
    "mysql": "SELECT name, SLEEP({seconds}) AS slept FROM website",
}
_WEBSITE = Query(
    "test", "", "INSERT INTO website (website_id, name) VALUES ('10000000-0000-4000-8000-000000000000', 'x')"
)


@contextmanager
def _left_at_work(database: Database, seconds: float) -> Iterator[threading.Thread]:
    """Have the server go on with a statement of ours while nobody holds the lock."""
    with database.connect() as connection, database.connect() as watcher:
        website = (
            "INSERT INTO website (website_id, name) VALUES ('10000000-0000-4000-8000-000000000000', 'x')"
        )
        connection.run(Query("test", "", website))
        statement = Query("test", "", _LONG[connection.dialect.name].format(seconds=seconds))
        at_work = threading.Thread(target=connection.run, args=(statement,))
        at_work.start()
        while not _unfinished(watcher):
            assert at_work.is_alive()
        yield at_work
        at_work.join()


def _statement(connection: Connection, texts: Mapping[str, str], seconds: float) -> Query:
    return Query("test", "", texts[connection.dialect.name].format(seconds=seconds))


def _unfinished(connection: Connection) -> bool:
    return bool(connection.rows(connection.dialect.queries["lock.unfinished"]))


def test_a_run_begins_when_the_server_has_ended_what_a_killed_one_began(umami_database: str) -> None:
    database = open_database(DatabaseUrl.parse(umami_database))
    with _left_at_work(database, 1) as at_work, RunLock(database, "prune"):
        at_work.join(timeout=0.2)  # its thread reads the answer that the server has given by now
        assert not at_work.is_alive()


def test_what_does_not_end_is_named(umami_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = open_database(DatabaseUrl.parse(umami_database))
    monkeypatch.setattr(lock, "_UNFINISHED_SECONDS", 0.3)
    with _left_at_work(database, 2):
        began = time.monotonic()
        with pytest.raises(LockHeld, match=r"goes on with its UPDATE website: for \d s now, in ses"):
            RunLock(database, "prune").__enter__()
        assert time.monotonic() - began < 1.5
    with RunLock(database, "prune"):
        pass


@pytest.mark.parametrize(
    "arguments",
    [
        ("prune", "--days", "1"),
        ("vacuum", "--full"),
        ("partition", "enable"),
        ("upgrade", "prepare", "--to", "newest"),
        ("restore", "latest", "--replace"),
    ],
)
def test_nobody_reads_a_plan_that_another_run_forbids(
    umami_database: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    fill(umami_database, 5)
    made = command.run("backup", "--format", "portable", url=umami_database, folder=tmp_path)
    assert made.code == 0, made.said
    shown = command.run(*arguments, "--dry-run", url=umami_database, folder=tmp_path).out
    with RunLock(open_database(DatabaseUrl.parse(umami_database)), "prune"):
        outcome = command.run(*arguments, "--yes", url=umami_database, folder=tmp_path)
        beside = command.run(*arguments, "--dry-run", url=umami_database, folder=tmp_path)
    if "Nothing to prepare" in shown:  # MySQL has no later level
        assert (outcome.code, beside.code) == (0, 0)
        return
    assert (outcome.code, outcome.out) == (4, "")
    assert "Another run of umami-ops is at work" in outcome.err
    assert "Nothing was changed." in outcome.err
    assert beside.code == 0, beside.said


def test_who_only_reads_is_not_waited_for(umami_database: str) -> None:
    database = open_database(DatabaseUrl.parse(umami_database))
    with database.connect() as reader:
        reader.run(_WEBSITE)
        reading = threading.Thread(target=reader.rows, args=(_statement(reader, _LONG_READ, 2),))
        reading.start()
        with RunLock(database, "prune"):
            assert reading.is_alive()
        reading.join()
