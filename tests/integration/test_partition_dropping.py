"""Retention on partitions: whole ones go with what hangs on their events, wherever a run is cut off."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from testbed.bulk import Loader, connect
from testbed.servers import Server
from testbed.traffic import Traffic, populate
from testbed.umami import build_indexes, create_umami
from tests import backups, command, pruning
from tests.examining import user_with
from tests.integration.test_partition import assert_nothing_is_left_behind, partition, partitions
from tests.oracle import survivors
from umami_ops.cli import render
from umami_ops.databases.base import Connection
from umami_ops.databases.registry import open_database
from umami_ops.execute import Event, RunLock, StepBegan, execute
from umami_ops.operations.inspect import Installation, inspect
from umami_ops.operations.partition import Upkeep, plan_disable, plan_maintain
from umami_ops.operations.prune import Retention, plan_prune
from umami_ops.plan import Plan, Report, Step
from umami_ops.umami.migrations import latest_released_level
from umami_ops.umami.schema import Schema

_START, _END = datetime(2025, 1, 10, tzinfo=UTC), datetime(2025, 9, 1, tzinfo=UTC)


@pytest.fixture
def a_year(server: Server) -> Iterator[tuple[str, Schema]]:
    """A year of traffic with all that hangs on it, partitioned by the month."""
    url = server.create_database()
    level = latest_released_level(server.dialect)
    create_umami(url, level, indexes=False)
    populate(url, Traffic(_START, _END, seed=5, events=3_000), level)
    build_indexes(url, level)
    partition(url, "enable", "--null-created-at", "delete", "--yes")
    partition(url, "split", "--by", "month", "--yes")
    yield url, pruning.schema_of(url, level)
    server.drop_database(url)


def test_prune_drops_whole_partitions(a_year: tuple[str, Schema]) -> None:
    url, schema = a_year
    before = pruning.read_rows(url, schema)
    names = [part["name"] for part in partitions(url) if str(part["until"]) <= "2025-05-01"]
    retention = Retention(horizon=datetime(2025, 5, 10, tzinfo=UTC))
    expected = pruning.keys_in(survivors(before, pruning.rules_of(retention)), schema)
    outcome = command.run("prune", "--before", "2025-05-10", "--yes", "--json", url=url)
    assert outcome.code == 0, outcome.said
    with connect(url) as loader:
        assert pruning.keys_of(loader, schema) == expected
    left = [part["name"] for part in partitions(url)]
    assert len(names) > 3
    assert not set(names) & set(left)
    gone = len(before["website_event"]) - len(expected["website_event"])
    assert outcome.document["deleted_rows"]["website_event"] == gone
    assert_nothing_is_left_behind(url)


def test_prune_of_one_website_or_without_the_right_drops_no_partition(
    server: Server, a_year: tuple[str, Schema]
) -> None:
    url, schema = a_year
    before = pruning.read_rows(url, schema)
    website = before["website_event"][0]["website_id"]
    names = [part["name"] for part in partitions(url)]
    retention = Retention(horizon=datetime(2025, 5, 10, tzinfo=UTC), websites=(str(website),))
    rules = pruning.rules_of(retention, only=[website])
    outcome = command.run("prune", "--before", "2025-05-10", "--website", str(website), "--yes", url=url)
    assert outcome.code == 0, outcome.said
    with connect(url) as loader:
        assert pruning.keys_of(loader, schema) == pruning.keys_in(survivors(before, rules), schema)
    assert [part["name"] for part in partitions(url)] == names

    expected = pruning.keys_in(survivors(before, pruning.rules_of(replace(retention, websites=()))), schema)
    grant = {
        "postgresql": "SELECT, DELETE ON ALL TABLES IN SCHEMA public",
        "mysql": "SELECT, DELETE, CREATE TEMPORARY TABLES ON {db}*",
    }
    with user_with(server, url, grant[server.dialect]) as humble:
        outcome = command.run("prune", "--before", "2025-05-10", "--yes", url=humble)
    assert outcome.code == 0, outcome.said
    with connect(url) as loader:
        assert pruning.keys_of(loader, schema) == expected
    assert [part["name"] for part in partitions(url)] == names


def test_maintain_drops_what_is_past(a_year: tuple[str, Schema]) -> None:
    url, schema = a_year
    before = pruning.read_rows(url, schema)
    now = datetime.now(UTC)
    months = (now.year - 2025) * 12 + now.month - 5
    gone = sum(
        int(str(part["rows_estimate"])) for part in partitions(url) if str(part["until"]) <= "2025-05-02"
    )
    shown = partition(url, "maintain", "--keep", f"{months}mo", "--dry-run").out
    assert re.search(r"Dropped +\S+2025_01_01, .*2025_04, with ~[\d,]+ events\n", shown)
    assert re.search("Deleted +their event_data and revenue first", shown)
    outcome = partition(url, "maintain", "--keep", f"{months}mo", "--yes", "--json")
    assert [name[-7:] for name in outcome.document["past"]][-1] == "2025_04"
    assert outcome.document["past_events"] == gone > 0
    rules = pruning.rules_of(Retention(None, tables={"website_event": datetime(2025, 5, 1, tzinfo=UTC)}))
    with connect(url) as loader:
        assert pruning.keys_of(loader, schema) == pruning.keys_in(survivors(before, rules), schema)


def test_a_detached_partition_is_a_table(postgresql_server: Server, a_year: tuple[str, Schema]) -> None:
    url, _ = a_year
    partition(url, "maintain", "--keep", "1mo", "--detach", "--yes")
    with connect(url) as loader:
        ((held,),) = loader.execute("SELECT COUNT(*) FROM website_event_2025_02")
    assert held > 0
    assert "website_event_2025_02" not in [part["name"] for part in partitions(url)]


def test_a_run_that_is_cut_off_after_any_step(server: Server, a_year: tuple[str, Schema]) -> None:
    """The next one brings to its end what was begun, and each partition's events are told once."""
    url, schema = a_year
    before = pruning.read_rows(url, schema)
    retention = Retention(horizon=datetime(2025, 6, 1, tzinfo=UTC))
    reports = [_first_steps(url, retention, count) for count in range(1, 6)]
    reports.append(pruning.prune(url, retention).report)
    expected = pruning.keys_in(survivors(before, pruning.rules_of(retention)), schema)
    with connect(url) as loader:
        assert pruning.keys_of(loader, schema) == expected
    assert_nothing_is_left_behind(url)
    told = sum(report.deleted.get("website_event", 0) for report in reports)
    gone = len(before["website_event"]) - len(expected["website_event"])
    # MySQL drops a partition by itself: a run that is cut off before has told its events already.
    assert told == gone if server.dialect == "postgresql" else told >= gone


def _first_steps(url: str, retention: Retention, count: int) -> Report:
    return _cut_off(
        url,
        lambda connection, found: plan_prune(connection, found, retention, counted=False),
        lambda steps: count,
    )


def _cut_off(
    url: str, planner: Callable[[Connection, Installation], Plan], until: Callable[[Sequence[Step]], int]
) -> Report:
    """Carry out the first steps of a plan."""
    database = open_database(pruning.url_of(url))
    with database.connect("umami-ops test") as connection:
        plan = planner(connection, inspect(connection))
    with RunLock(database, "test") as lock:
        return execute(replace(plan, steps=plan.steps[: until(plan.steps)]), database, lock=lock)


def test_a_maintain_that_is_cut_off_is_finished_by_the_next(
    postgresql_server: Server, a_year: tuple[str, Schema]
) -> None:
    url, _ = a_year
    keep = ("--keep", "1mo", "--yes")
    wish = Upkeep(horizon=datetime(2025, 6, 1, tzinfo=UTC))
    now = datetime.now(UTC)
    _cut_off(
        url,
        lambda connection, found: plan_maintain(connection, found, wish, now),
        lambda steps: 1 + next(n for n, step in enumerate(steps) if step.title.startswith("detaching")),
    )
    outcome = partition(url, "maintain", *keep)
    assert "2025_05" not in str(partitions(url)), outcome.said
    assert_nothing_is_left_behind(url)


def test_no_backup_while_events_lie_beside_the_table(
    postgresql_server: Server, a_year: tuple[str, Schema], tmp_path: Path
) -> None:
    """A dump leaves our own tables out; an interrupted `disable` has events in them."""
    url, _ = a_year
    _cut_off(
        url,
        plan_disable,
        lambda steps: 1 + next(n for n, step in enumerate(steps) if step.title.startswith("making one")),
    )
    env = backups.programs_of(postgresql_server)
    for form in ("dump", "portable"):
        refused = command.run("backup", "--format", form, url=url, env=env, folder=tmp_path)
        assert refused.code == 5, refused.said
        assert "events lie beside the table" in " ".join(refused.err.split())
    assert not list(tmp_path.glob("backups/*"))
    assert "umami-ops partition disable" in partition(url, "status").out
    partition(url, "disable", "--yes")
    assert command.run("backup", url=url, env=env, folder=tmp_path).code == 0


def test_partitions_that_went_while_somebody_was_asked(
    a_year: tuple[str, Schema], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan that was shown names partitions; another run dropped them before the answer came."""
    url, schema = a_year

    def confirm(_question: str, _yes: bool) -> None:  # noqa: FBT001 -- the signature is that of render
        monkeypatch.undo()
        pruning.prune(url, Retention(horizon=datetime(2025, 5, 1, tzinfo=UTC)))

    before = pruning.read_rows(url, schema)
    monkeypatch.setattr(render, "confirm", confirm)
    outcome = command.run("prune", "--before", "2025-05-10", "--yes", url=url)
    assert outcome.code == 0, outcome.said
    rules = pruning.rules_of(Retention(horizon=datetime(2025, 5, 10, tzinfo=UTC)))
    with connect(url) as loader:
        assert pruning.keys_of(loader, schema) == pruning.keys_in(survivors(before, rules), schema)


_BY_TYPE = {
    "postgresql": (
        "ALTER TABLE website_event RENAME TO before",
        "CREATE TABLE website_event (LIKE before INCLUDING DEFAULTS) PARTITION BY RANGE (event_type)",
        "CREATE TABLE views PARTITION OF website_event FOR VALUES FROM (0) TO (2)",
        "CREATE TABLE others PARTITION OF website_event FOR VALUES FROM (2) TO (100)",
        "DROP TABLE before",
    ),
    "mysql": (
        "ALTER TABLE website_event DROP PRIMARY KEY, ADD PRIMARY KEY (event_id, event_type)"
        " PARTITION BY RANGE (event_type)"
        " (PARTITION views VALUES LESS THAN (2), PARTITION others VALUES LESS THAN (100))",
    ),
}


def test_partitions_of_somebody_else_are_not_dropped(server: Server, umami_database: str) -> None:
    """Their bounds are no times, though they may look like some."""
    url = umami_database
    events = {str(uuid.uuid4()): (kind, at) for kind in (1, 2) for at in ("2020-01-01", "2025-01-01")}
    with connect(url) as loader:
        for statement in _BY_TYPE[server.dialect]:
            loader.execute(statement)
        for key, (kind, at) in events.items():
            loader.execute(
                "INSERT INTO website_event"
                " (event_id, website_id, session_id, visit_id, url_path, event_type, created_at)"
                f" VALUES ('{key}', '{key}', '{key}', '{key}', '/', {kind}, '{at}')"
            )
        loader.commit()
        assert command.run("partition", "status", url=url).code == 0
        outcome = command.run("prune", "--before", "2024-01-01", "--yes", url=url)
        assert outcome.code == 0, outcome.said
        left = {str(key) for (key,) in loader.execute("SELECT event_id FROM website_event")}
    assert left == {key for key, (_, at) in events.items() if at > "2024"}


def test_what_hangs_on_an_event_that_comes_late_goes_too(
    postgresql_server: Server, a_year: tuple[str, Schema]
) -> None:
    url, _ = a_year
    late = str(uuid.uuid4())

    def observe(event: Event) -> None:
        if isinstance(event, StepBegan) and event.title == "detaching website_event_2025_03":
            with connect(url) as loader:
                _write_with_data(loader, late, "2025-03-10 00:00:00")

    report = pruning.prune(url, Retention(horizon=datetime(2025, 4, 1, tzinfo=UTC)), observer=observe).report
    with connect(url) as loader:
        for table, key in (("website_event", "event_id"), ("event_data", "website_event_id")):
            assert loader.execute(f"SELECT COUNT(*) FROM {table} WHERE {key} = '{late}'") == [(0,)]
    assert report.stopped is None


def _write_with_data(loader: Loader, key: str, when: str) -> None:
    loader.execute(
        "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path, created_at)"
        f" VALUES ('{key}', '{key}', '{key}', '{key}', '/', '{when}')"
    )
    loader.execute(
        "INSERT INTO event_data (event_data_id, website_id, website_event_id, data_key, data_type)"
        f" VALUES ('{key}', '{key}', '{key}', 'key', 1)"
    )
