"""What visitors meet who come in the moment in which partitions change on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

from testbed.bulk import connect
from testbed.servers import Server
from tests import backups
from tests.integration.test_partition import VERBS, as_if_enabled_long_ago, partition, statement, until
from tests.visitors import RESET, STILL, fill
from umami_ops.databases.base import Connection
from umami_ops.operations.inspect import inspect
from umami_ops.operations.partition import Upkeep, plan_maintain
from umami_ops.plan import Change, Plan

_ID = "gen_random_uuid()"
_WAITING = (
    "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@contextmanager
def _maintaining(url: str) -> Iterator[tuple[Connection, Plan]]:
    with backups.opened(url) as connection:
        yield connection, plan_maintain(connection, inspect(connection), Upkeep(), datetime.now(UTC))


def _visit(url: str, text: str) -> int:
    """Say something to the server, and return how many rows it answers."""
    with connect(url) as loader:
        rows = loader.execute(text)
        loader.commit()
        return len(rows)


def test_who_comes_while_a_partition_is_added_waits_for_it(
    postgresql_server: Server, umami_database: str
) -> None:
    """Who knew the partitions of before would be refused by the catch-all, or miss what was moved."""
    url = umami_database
    events = fill(url, 8, days=1)
    partition(url, *VERBS["enable"])
    as_if_enabled_long_ago(url)
    visits = (
        "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path)"
        f" VALUES ({_ID}, {_ID}, {_ID}, {_ID}, '/now') RETURNING event_id",
        f"SELECT event_id FROM website_event WHERE website_id = '{STILL}'",
        f"DELETE FROM website_event WHERE website_id = '{RESET}' RETURNING event_id",
    )
    answers = {}
    with (
        _maintaining(url) as (connection, plan),
        backups.opened(url) as looking,
        ThreadPoolExecutor() as threads,
    ):
        for step in plan.steps:
            assert isinstance(step, Change)
            if not step.together:
                continue
            with connection.transaction():
                for text in step.statements[:-1]:
                    connection.run(text)
                if step.title == f"adding website_event_{datetime.now(UTC):%Y_%m}":
                    answers = {text: threads.submit(_visit, url, text) for text in visits}
                    until(lambda: looking.value(statement(_WAITING)) == len(visits))
                connection.run(step.statements[-1])
        assert [answer.result() for answer in answers.values()] == [1, events, events]
