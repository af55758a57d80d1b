"""What visitors meet who come in the moment in which partitions change on PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from testbed.bulk import connect
from testbed.servers import Server
from tests import backups
from tests.integration.test_partition import (
    VERBS,
    as_if_enabled_long_ago,
    assert_nothing_is_left_behind,
    partition,
    statement,
    until,
)
from tests.visitors import RESET, STILL, fill
from umami_ops.databases.base import Connection
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import DatabaseFault
from umami_ops.execute import RunLock, execute
from umami_ops.operations.inspect import inspect
from umami_ops.operations.partition import (
    Enabling,
    Upkeep,
    plan_disable,
    plan_enable,
    plan_maintain,
    plan_split,
)
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


def test_the_exchange_of_a_split_reads_no_table_as_a_whole(
    postgresql_server: Server, umami_database: str
) -> None:
    """Others wait for it; and what the planner knows of the noted keys is the size of their file."""
    url = umami_database
    fill(url, 12)
    partition(url, *VERBS["enable"])
    with backups.opened(url) as connection:
        step = _split_until(connection, url, "exchanging")
        connection.run(statement(_MUCH_WAS_NOTED))
        connection.run(statement("DELETE FROM _umami_ops_noted WHERE id > 5"))
        read: list[str] = []
        with connection.transaction():
            for text in step.statements:
                if text.text.startswith(("DELETE", "INSERT")):
                    lines = connection.rows(statement(f"EXPLAIN {text.text}"))
                    read += [line["QUERY PLAN"] for line in lines if "Seq Scan" in line["QUERY PLAN"]]
                elif text.text.startswith("ALTER"):
                    break
                connection.run(text)
    assert read
    assert [line for line in read if "_umami_ops_noted" not in line] == []


_MUCH_WAS_NOTED = (
    "INSERT INTO _umami_ops_noted (event_id, created_at)"
    " SELECT event_id, created_at FROM website_event, generate_series(1, 10)"
)


def _split_until(connection: Connection, url: str, title: str) -> Change:
    """Carry a split out up to a step of this title, and return that one."""
    rest = _carry_out_until(url, plan_split(connection, inspect(connection), "quarter"), title)
    assert isinstance(rest.steps[0], Change)
    return rest.steps[0]


def _carry_out_until(url: str, plan: Plan, title: str) -> Plan:
    """Carry a plan out up to a step of this title, and return what is left of it."""
    number = [step.title.startswith(title) for step in plan.steps].index(True)
    _carry_out(url, replace(plan, steps=plan.steps[:number]))
    return replace(plan, steps=plan.steps[number:])


def _carry_out(url: str, plan: Plan) -> None:
    database = open_database(DatabaseUrl.parse(url))
    with RunLock(database, plan.operation) as lock:
        execute(plan, database, lock=lock)


@pytest.mark.parametrize(
    "upgrade",
    [
        "DROP INDEX website_event_created_at_idx; CREATE INDEX z ON website_event (hostname, tag)",
        "ALTER TABLE website_event ALTER hostname TYPE varchar(101)",
        "ALTER TABLE website_event ALTER tag SET DEFAULT 'x'",
    ],
)
def test_a_split_begins_anew_after_an_upgrade(
    postgresql_server: Server, umami_database: str, upgrade: str
) -> None:
    """Its new tables have the columns and indexes of before, which would stay, or couldn't be attached."""
    url = umami_database
    fill(url, 6)
    partition(url, *VERBS["enable"])
    with backups.opened(url) as connection:
        _split_until(connection, url, "exchanging")
        going_on = plan_split(connection, inspect(connection), "quarter")
        assert not [step.title for step in going_on.steps if step.title.startswith(("following", "copying"))]
    with connect(url) as loader:
        for text in upgrade.split("; "):
            loader.execute(text)
        loader.commit()
    partition(url, *VERBS["split"])
    assert_nothing_is_left_behind(url)
    with connect(url) as loader:
        assert len(loader.execute(_NUMBERS_OF_INDEXES)) == 1
        assert len(loader.execute(_DEFAULTS_OF_TAGS)) == 1


@pytest.mark.parametrize("verb", ["enable", "disable"])
def test_what_somebody_changes_between_plan_and_exchange_is_noticed(
    postgresql_server: Server, umami_database: str, verb: str
) -> None:
    """It would be lost, or be left on one partition, without a word: the same command again sees it."""
    url = umami_database
    fill(url, 6)
    for change, back in _CHANGES.items():
        if verb == "disable":
            partition(url, *VERBS["enable"])
        with backups.opened(url) as connection:
            found, now = inspect(connection), datetime.now(UTC)
            if verb == "enable":
                rest = _carry_out_until(
                    url, plan_enable(connection, found, Enabling(), now), "exchanging the tables"
                )
            else:
                rest = _carry_out_until(url, plan_disable(connection, found), "making one partition")
            connection.run(statement(change))
            with pytest.raises(DatabaseFault, match="changed by somebody else meanwhile"):
                _carry_out(url, rest)
            if back:
                assert "which would be lost" in partition(url, *VERBS[verb], code=5).err
                connection.run(statement(back))
        for each in ("enable", "disable") if verb == "enable" else ("disable",):
            partition(url, *VERBS[each])
    assert_nothing_is_left_behind(url)


#: Each with what takes it back, where the way there is refused until then.
_CHANGES = {
    "ALTER TABLE website_event ALTER tag SET DEFAULT 'x'": None,
    "ALTER TABLE website_event ALTER page_title SET NOT NULL": None,
    "GRANT SELECT ON website_event TO PUBLIC": None,
    "COMMENT ON COLUMN website_event.tag IS 'A tag'": None,
    "DROP INDEX website_event_visit_id_idx; CREATE INDEX website_event_visit_id_idx"
    " ON website_event (visit_id, tag)": None,
    "CREATE VIEW mine AS SELECT event_id FROM website_event": "DROP VIEW mine",
    "CREATE PUBLICATION mine FOR TABLE website_event": "DROP PUBLICATION mine",
    "ALTER TABLE website_event ENABLE ROW LEVEL SECURITY": (
        "ALTER TABLE website_event DISABLE ROW LEVEL SECURITY"
    ),
}

_DEFAULTS_OF_TAGS = (
    "SELECT DISTINCT pg_get_expr(d.adbin, d.adrelid) FROM pg_class AS c"
    " JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tag'"
    " LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum"
    " WHERE c.relname LIKE 'website_event%' AND c.relkind IN ('r', 'p')"
)
_NUMBERS_OF_INDEXES = (
    "SELECT DISTINCT COUNT(*) FROM pg_indexes WHERE tablename LIKE 'website_event%' GROUP BY tablename"
)


@pytest.mark.parametrize("verb", ["enable", "disable"])
def test_nobody_waits_behind_a_batch_that_waits_for_a_long_writer(
    postgresql_server: Server, umami_database: str, verb: str
) -> None:
    url = umami_database
    fill(url, 8)
    with connect(url) as loader:
        loader.execute(
            "UPDATE website_event SET created_at = '2031-01-02' WHERE website_id = '" + STILL + "'"
        )
        loader.commit()
    with backups.opened(url) as connection:
        if verb == "enable":
            plan = plan_enable(connection, inspect(connection), Enabling(), datetime.now(UTC))
            rest = _carry_out_until(url, plan, "giving parked events")
        else:
            partition(url, *VERBS["enable"])
            plan = plan_disable(connection, inspect(connection))
            rest = _carry_out_until(url, plan, "moving the rows of _umami_ops_rest_3")
    longest = 0.0
    with connect(url) as long, connect(url) as short, ThreadPoolExecutor() as threads:
        long.execute(f"UPDATE website_event SET tag = 'seen' WHERE website_id = '{STILL}'")
        running = threads.submit(_carry_out, url, rest)
        ends = time.monotonic() + 2.5
        while time.monotonic() < ends:
            began = time.monotonic()
            short.execute(f"DELETE FROM website_event WHERE event_id = {_ID}")
            short.commit()
            longest = max(longest, time.monotonic() - began)
        assert not running.done()
        long.commit()
        running.result()
        assert long.execute(
            "SELECT DISTINCT tag, created_at::date::text FROM website_event WHERE tag <> ''"
        ) == [("seen", "2031-01-02")]
    assert longest < 0.9
    assert_nothing_is_left_behind(url)
