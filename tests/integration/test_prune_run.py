"""How a run of prune behaves: one at a time, never beside a migration, in time; on partitions, too."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NoReturn

import pytest

from testbed.bulk import connect
from testbed.servers import Server
from testbed.traffic import Traffic, populate
from tests import pruning
from tests.command import run
from tests.oracle import survivors
from umami_ops.databases.registry import open_database
from umami_ops.errors import PermissionFault, TransientFault
from umami_ops.execute import BatchDone, Event, RunLock, StopSignal
from umami_ops.operations.prune import Retention
from umami_ops.umami.migrations import latest_released_level
from umami_ops.umami.schema import Schema

_TRAFFIC = Traffic(
    start=datetime(2025, 1, 1, tzinfo=UTC), end=datetime(2025, 7, 1, tzinfo=UTC), seed=8, events=600
)
_RETENTION = Retention(horizon=datetime(2025, 4, 20, tzinfo=UTC))
_BEFORE = ("--before", "2025-04-20")
_PRISMA = {
    "postgresql": ("SELECT pg_advisory_lock(72707369)", "SELECT pg_advisory_unlock(72707369)"),
    "mysql": ("SELECT GET_LOCK('prisma_migrate', 10)", "SELECT RELEASE_LOCK('prisma_migrate')"),
}
_PRISMA_WAITS = {
    "postgresql": "SELECT COUNT(*) FROM pg_locks WHERE objid = 72707369 AND mode = 'ExclusiveLock'",
    "mysql": "SELECT IS_USED_LOCK('prisma_migrate') IS NOT NULL",
}


@pytest.fixture
def schema(server: Server, umami_database: str) -> Schema:
    """The schema of `umami_database`, which is then full of traffic."""
    level = latest_released_level(server.dialect)
    populate(umami_database, _TRAFFIC, level)
    return pruning.schema_of(umami_database, level)


@contextmanager
def _holding(url: str, *, then: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold Prisma's lock as its migration engine does."""
    with connect(url) as loader:
        take, release = _PRISMA[loader.dialect]
        loader.execute(take)
        then()
        yield
        loader.execute(release)


def _holds_to_the_oracle(url: str, schema: Schema, rows: dict[str, list[dict[str, object]]]) -> None:
    expected = pruning.keys_in(survivors(rows, pruning.rules_of(_RETENTION)), schema)
    with connect(url) as loader:
        assert pruning.keys_of(loader, schema) == expected


def test_one_run_at_a_time_and_none_beside_a_migration(umami_database: str, schema: Schema) -> None:
    before = pruning.digest(umami_database)
    database = open_database(pruning.url_of(umami_database))
    with RunLock(database, "prune"):
        second = run("prune", *_BEFORE, "--yes", url=umami_database)
    assert second.code == 4, second.said
    assert "Nothing was changed." in second.err
    assert f" since {datetime.now(UTC):%Y-%m-%d }" in second.err
    with _holding(umami_database):
        beside = run("prune", *_BEFORE, "--yes", url=umami_database)
    assert beside.code == 5, beside.said
    assert pruning.digest(umami_database) == before


class _Ahead(datetime):
    """A clock that is three hours ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> _Ahead:
        return super().now(tz) + timedelta(hours=3)


def test_a_machine_whose_clock_is_ahead_deletes_nothing(
    umami_database: str, schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pruning.digest(umami_database)
    monkeypatch.setattr("umami_ops.operations.prune.datetime", _Ahead)
    done = run("prune", "--days", "30", "--yes", url=umami_database)
    assert done.code == 5, done.said
    assert "by 3 h" in done.err
    assert pruning.digest(umami_database) == before


def test_a_migration_that_begins_ends_the_run(umami_database: str, schema: Schema) -> None:
    rows = pruning.read_rows(umami_database, schema)
    has_lock, is_over = threading.Event(), threading.Event()

    def migrate() -> None:
        with _holding(umami_database, then=has_lock.set):
            is_over.wait(60)

    migration = threading.Thread(target=migrate)

    def observe(event: Event) -> None:
        if isinstance(event, BatchDone) and not migration.ident:
            migration.start()
            _wait_until_prisma_asks(umami_database)

    try:
        done = pruning.prune(umami_database, _RETENTION, batch_rows=5, jobs=1, observer=observe)
        assert done.report.stopped is not None
        assert "Prisma migration" in done.report.stopped
        assert has_lock.wait(60)
    finally:
        is_over.set()
        migration.join()
    assert done.report.deleted["website_event"] == 5
    again = run("prune", *_BEFORE, "--yes", url=umami_database)
    assert again.code == 0, again.said
    _holds_to_the_oracle(umami_database, schema, rows)


def _wait_until_prisma_asks(url: str) -> None:
    with connect(url) as loader:
        while not loader.execute(_PRISMA_WAITS[loader.dialect])[0][0]:
            loader.commit()


def test_a_batch_that_is_locked_out_is_not_tried_again_once_there_is_a_reason_to_stop(
    umami_database: str, schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try waits ten seconds for its lock, which is all that a container is given to end."""
    stop = StopSignal()

    def locked_out(*_: object) -> NoReturn:
        stop.request("SIGTERM was received")
        raise TransientFault("canceling statement due to lock timeout")

    monkeypatch.setattr("umami_ops.execute.batches._run_batch", locked_out)
    done = pruning.prune(umami_database, _RETENTION, stop=stop)
    assert done.report.stopped == "SIGTERM was received"
    assert done.report.retries == 0


def test_a_right_that_is_lost_on_the_way_is_no_refusal(umami_database: str, schema: Schema) -> None:
    """Exit code 5 promises that nothing was changed."""

    def observe(event: Event) -> None:
        if isinstance(event, BatchDone):
            raise PermissionFault("The server refuses it.")

    with pytest.raises(PermissionFault) as caught:
        pruning.prune(umami_database, _RETENTION, batch_rows=5, jobs=1, observer=observe)
    assert "Committed before that: " in (caught.value.done or "")
    assert caught.value.exit_code == 1


def test_the_time_limit_ends_it_and_a_rerun_finishes(umami_database: str, schema: Schema) -> None:
    rows = pruning.read_rows(umami_database, schema)
    slow = ("--batch-size", "4", "--jobs", "1", "--pause", "0.05s", "--max-duration", "0.5s")
    first = run("prune", *_BEFORE, *slow, "--yes", "--json", url=umami_database)
    assert first.code == 3, first.said
    assert first.document["stopped"] == "the time limit was reached"
    assert first.document["seconds"] >= (first.document["transactions"] - 1) * 0.05
    assert 0 < first.document["deleted_rows"]["website_event"] < 100
    again = run("prune", *_BEFORE, "--yes", "--json", url=umami_database)
    assert again.code == 0, again.said
    assert again.document["stopped"] is None
    _holds_to_the_oracle(umami_database, schema, rows)


def test_it_starts_without_what_other_verbs_need(umami_database: str, schema: Schema) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "umami_ops", "prune", *_BEFORE, "--yes"],
        env={**os.environ, "DATABASE_URL": umami_database},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "umami_ops.operations.prune" in done.stderr
    assert "sqlglot" not in done.stderr, "a tenth of a second for nothing"


def test_a_batch_is_never_larger_than_asked(umami_database: str, schema: Schema) -> None:
    sizes: list[int] = []

    def observe(event: Event) -> None:
        if isinstance(event, BatchDone):
            sizes.append(event.picked)

    pruning.prune(umami_database, _RETENTION, batch_rows=7, observer=observe)
    assert max(sizes) == 7


_PARTITIONED = """
ALTER TABLE website_event RENAME TO plain;
CREATE TABLE website_event (LIKE plain INCLUDING DEFAULTS) PARTITION BY RANGE (created_at);
ALTER TABLE website_event ADD CONSTRAINT we_pkey PRIMARY KEY (event_id, created_at);
CREATE INDEX ON website_event (session_id);
CREATE INDEX ON website_event (created_at);
CREATE INDEX ON website_event (website_id, created_at);
CREATE TABLE website_event_a PARTITION OF website_event FOR VALUES FROM ('2024-01-01') TO ('2025-03-01');
CREATE TABLE website_event_b PARTITION OF website_event FOR VALUES FROM ('2025-03-01') TO ('2025-06-01');
CREATE TABLE website_event_c PARTITION OF website_event FOR VALUES FROM ('2025-06-01') TO ('2026-01-01');
INSERT INTO website_event SELECT * FROM plain WHERE created_at IS NOT NULL;
DROP TABLE plain
"""


def test_a_partitioned_website_event(postgresql_server: Server, umami_database: str, schema: Schema) -> None:
    with connect(umami_database) as loader:
        for statement in _PARTITIONED.split(";"):
            loader.execute(statement)
        # So that the way for revenue which names another session is taken, too.
        loader.execute(
            "UPDATE revenue SET session_id = (SELECT MIN(CAST(s.session_id AS text)) FROM session AS s)::uuid"
        )
    rows = pruning.read_rows(umami_database, schema)
    done = pruning.prune(umami_database, _RETENTION, batch_rows=40)
    assert done.plan.expected is not None
    for table, count in done.report.deleted.items():
        assert count == done.plan.expected[table]
    _holds_to_the_oracle(umami_database, schema, rows)
