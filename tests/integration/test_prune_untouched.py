"""What prune must never touch, and that a dry run touches nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from testbed.bulk import connect
from testbed.servers import Server
from testbed.traffic import Traffic, populate
from tests import pruning
from tests.command import run
from tests.oracle import TABLES
from umami_ops.umami.migrations import latest_released_level

_TRAFFIC = Traffic(
    start=datetime(2025, 1, 1, tzinfo=UTC), end=datetime(2025, 7, 1, tzinfo=UTC), seed=4, events=1000
)
_BEFORE = ("--before", "2025-04-20")
_PRUNED = set(TABLES) - {"session_replay_saved"}


@pytest.fixture
def populated(server: Server, umami_database: str) -> str:
    """A database with traffic, and with tables that aren't Umami's but look like it."""
    populate(umami_database, _TRAFFIC, latest_released_level(server.dialect))
    with connect(umami_database) as loader:
        loader.execute("CREATE TABLE website_event_2023 AS SELECT * FROM website_event")
        loader.execute("CREATE TABLE session_backup AS SELECT * FROM session")
    return umami_database


def test_only_visitor_data_is_touched(populated: str) -> None:
    before = pruning.digest(populated)
    done = run("prune", *_BEFORE, "--orphans", "--null-created-at", "delete", "--yes", url=populated)
    assert done.code == 0, done.said
    after = pruning.digest(populated)
    changed = {table for table in before if after[table] != before[table]}
    assert {"website_event", "event_data", "revenue", "session", "session_data"} <= changed <= _PRUNED
    assert set(after) == set(before)
    assert "website_event_2023" in done.out


@pytest.fixture
def writes(populated: str) -> Callable[[], int]:
    """How many rows or statements have ever written, as the server counts them itself."""

    def count() -> int:
        with connect(populated) as loader:
            if loader.dialect == "postgresql":
                rows = loader.execute(
                    "SELECT SUM(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables"
                )
            else:
                rows = loader.execute("SHOW GLOBAL STATUS")
        return sum(int(value) for *name, value in rows if not name or _writes(name[0]))

    return count


def _writes(variable: str) -> bool:
    verbs = (
        "delete",
        "delete_multi",
        "insert",
        "update",
        "update_multi",
        "replace",
        "create_table",
        "truncate",
    )
    return variable.lower() in {f"com_{verb}" for verb in verbs}


@pytest.mark.parametrize("json", [False, True])
def test_a_dry_run_changes_nothing_and_prints_what_would_run(
    populated: str, writes: Callable[[], int], json: bool
) -> None:
    before, written = pruning.digest(populated), writes()
    arguments = (*_BEFORE, "--orphans", "--null-created-at", "delete")
    dry = run("prune", *arguments, "--dry-run", *(["--json"] if json else []), url=populated)
    assert dry.code == 0, dry.said
    assert writes() == written
    assert pruning.digest(populated) == before
    for table in ("website_event", "event_data", "revenue", "session", "session_data"):
        assert f"DELETE FROM {table}" in dry.out or f"{table} AS" in dry.out
    assert "DELETE" in dry.out
    assert "2025-04-20" in dry.out
    if json:
        done = run("prune", *arguments, "--yes", "--json", url=populated)
        gone = {table: count for table, count in done.document["deleted_rows"].items() if count}
        assert gone == {table: count for table, count in dry.document["expected_rows"].items() if count}


@pytest.fixture
def reader(server: Server, populated: str) -> Iterator[str]:
    """The URL of a user who may only read."""
    user, password = "umami_ops_reader", "r"
    on = "ALL TABLES IN SCHEMA public" if server.dialect == "postgresql" else "*"
    with connect(server.as_admin(populated)) as loader:
        if server.dialect == "postgresql":
            loader.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'")
            loader.execute(f"GRANT SELECT ON {on} TO {user}")
        else:
            loader.execute(f"CREATE USER {user}@'%' IDENTIFIED BY '{password}'")
            loader.execute(f"GRANT SELECT ON {on} TO {user}@'%'")
    scheme, _, rest = populated.partition("://")
    yield f"{scheme}://{user}:{password}@{rest.partition('@')[2]}"
    with connect(server.as_admin(populated)) as loader:
        if server.dialect == "postgresql":
            loader.execute(f"DROP OWNED BY {user}")
            loader.execute(f"DROP ROLE {user}")
        else:
            loader.execute(f"DROP USER {user}@'%'")


def test_who_may_not_delete_is_told_so(populated: str, reader: str) -> None:
    before = pruning.digest(populated)
    done = run("prune", *_BEFORE, "--yes", url=reader)
    assert done.code == 5, done.said
    assert "may not DELETE from" in done.err and "website_event" in done.err
    assert "Traceback" not in done.said
    assert pruning.digest(populated) == before
