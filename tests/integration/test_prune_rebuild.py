"""`prune --rebuild`: the survivors are copied and swapped in, on MySQL and MariaDB, with writers going on."""

from __future__ import annotations

import random
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from testbed import servers
from testbed.bulk import Loader, connect
from testbed.servers import Server
from testbed.traffic import Traffic, populate
from testbed.umami import create_umami
from tests import command, pruning
from tests.oracle import survivors
from tests.process import Process
from umami_ops.errors import Refused
from umami_ops.execute import StepBegan, StopSignal
from umami_ops.operations.prune import Retention

_LEVEL = 13
_END = datetime(2026, 6, 1, tzinfo=UTC)
_START = _END - timedelta(days=300)
_HORIZON = _END - timedelta(days=120)
_RETENTION = Retention(_HORIZON, rebuild=True)


@pytest.fixture
def traffic(mysql_server: Server, umami_at: Callable[[int], str]) -> str:
    url = umami_at(_LEVEL)
    populate(url, Traffic(_START, _END, events=2_000), _LEVEL)
    return url


def _objects(loader: Loader) -> list[tuple[Any, ...]]:
    """Everything that a rebuild could change or leave: tables as they are made, and triggers."""
    names = [row[0] for row in loader.execute("SHOW TABLES")]
    made = [loader.execute(f"SHOW CREATE TABLE {pruning.quoted(loader, name)}")[0] for name in sorted(names)]
    return [*made, *loader.execute("SELECT trigger_name FROM information_schema.triggers")]


def _expected(url: str, **rules: Any) -> pruning.Keys:
    schema = pruning.schema_of(url, _LEVEL)
    before = pruning.read_rows(url, schema)
    retention = Retention(_HORIZON, **rules)
    only = retention.websites
    return pruning.keys_in(
        survivors(before, pruning.rules_of(retention, only=only, except_=retention.excluded)), schema
    )


def _keys(url: str) -> pruning.Keys:
    with connect(url) as loader:
        return pruning.keys_of(loader, pruning.schema_of(url, _LEVEL))


def _websites(url: str) -> list[str]:
    with connect(url) as loader:
        return [row[0] for row in loader.execute("SELECT website_id FROM website ORDER BY website_id")]


@pytest.mark.parametrize("case", ["all", "only", "undated"])
def test_what_stays_is_what_deleting_would_leave(traffic: str, case: str) -> None:
    first = _websites(traffic)[0]
    rules_of_case: dict[str, dict[str, Any]] = {
        "all": {},
        "only": {"websites": (first,)},
        "undated": {"delete_undated": True, "delete_orphans": True, "excluded": (first,)},
    }
    rules = rules_of_case[case]
    expected = _expected(traffic, **rules)
    with connect(traffic) as loader:
        before = _objects(loader)
    pruned = pruning.prune(traffic, Retention(_HORIZON, rebuild=True, **rules))
    assert _keys(traffic) == expected
    expected_rows = pruned.plan.expected or {}
    assert pruned.report.deleted == {table: count for table, count in expected_rows.items() if count}
    with connect(traffic) as loader:
        assert _objects(loader) == before


def _insert(loader: Loader, website: str, at: datetime) -> tuple[str, str]:
    """Write an event and a property of it as Umami does: one statement each, the event first."""
    event, data = str(uuid.uuid4()), str(uuid.uuid4())
    time = f"'{at:%Y-%m-%d %H:%M:%S}'"
    loader.execute(
        "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path, created_at)"
        f" VALUES ('{event}', '{website}', '{uuid.uuid4()}', '{uuid.uuid4()}', '/new', {time})"
    )
    loader.commit()
    loader.execute(
        "INSERT INTO event_data"
        " (event_data_id, website_id, website_event_id, data_key, data_type, created_at)"
        f" VALUES ('{data}', '{website}', '{event}', 'k', 1, {time})"
    )
    loader.commit()
    return event, data


@contextmanager
def _writers(url: str, number: int) -> Iterator[list[tuple[str, str]]]:
    """Writers that insert recent events until the end; what they wrote, and no fault of theirs is lost."""
    written: list[tuple[str, str]] = []
    faults: list[BaseException] = []
    done = threading.Event()
    website = _websites(url)[0]

    def write() -> None:
        try:
            with connect(url) as loader:
                while not done.is_set():
                    written.append(_insert(loader, website, _END))
        except BaseException as fault:  # noqa: BLE001 -- shown below
            faults.append(fault)

    threads = [threading.Thread(target=write) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield written
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not faults


def test_writers_lose_nothing_and_deletes_carry_over(traffic: str) -> None:
    expected = _expected(traffic)
    victims = sorted(expected["website_event"])[:40]

    def reset(event: object) -> None:
        """Delete some kept events while the copying goes on, as a website's reset would."""
        if isinstance(event, StepBegan) and event.title in ("copying event_data", "building indexes"):
            with connect(traffic) as loader:
                for (victim,) in victims[:20] if "copying" in event.title else victims[20:]:
                    loader.execute(f"DELETE FROM event_data WHERE website_event_id = '{victim}'")
                    loader.execute(f"DELETE FROM revenue WHERE event_id = '{victim}'")
                    loader.execute(f"DELETE FROM website_event WHERE event_id = '{victim}'")
                loader.commit()

    with _writers(traffic, 2) as written:
        pruning.prune(traffic, _RETENTION, observer=reset)
    keys = _keys(traffic)
    new_events, new_data = {(event,) for event, _ in written}, {(data,) for _, data in written}
    assert keys["website_event"] == (expected["website_event"] - set(victims)) | new_events
    assert new_data <= keys["event_data"]
    assert len(written) > 20


def test_a_reason_to_stop_undoes_everything(traffic: str) -> None:
    before = _keys(traffic)
    with connect(traffic) as loader:
        objects = _objects(loader)
    stop = StopSignal()

    def ask(event: object) -> None:
        if isinstance(event, StepBegan) and event.title == "building indexes":
            stop.request("the test said so")

    report = pruning.prune(traffic, _RETENTION, stop=stop, observer=ask).report
    assert (report.stopped, report.deleted) == ("the test said so", {})
    assert _keys(traffic) == before
    with connect(traffic) as loader:
        assert _objects(loader) == objects


@pytest.mark.parametrize("moment", ["building indexes", "swapping the tables"])
def test_a_table_that_was_upgraded_meanwhile_is_not_swapped_out(traffic: str, moment: str) -> None:
    """A migration begins and ends while nobody looks: what it added stays, with what was written to it."""

    def upgrade(event: object) -> None:
        if isinstance(event, StepBegan) and event.title == moment:
            with connect(traffic) as loader:
                loader.execute("ALTER TABLE website_event ADD COLUMN lately INT NULL")
                loader.execute("UPDATE website_event SET lately = 7")
                loader.commit()

    before = _keys(traffic)["website_event"]
    with pytest.raises(Refused, match="Umami was upgraded"):
        pruning.prune(traffic, _RETENTION, observer=upgrade)
    with connect(traffic) as loader:
        assert loader.execute("SELECT COUNT(*) FROM website_event WHERE lately = 7") == [(len(before),)]
        assert not loader.execute("SHOW TABLES LIKE '@_umami@_ops%'".replace("@", "\\\\"))


@pytest.mark.parametrize("moment", ["building indexes", "swapping the tables"])
def test_a_migration_that_began_ends_it(traffic: str, moment: str) -> None:
    with connect(traffic) as prisma:

        def migrate(event: object) -> None:
            if isinstance(event, StepBegan) and event.title == moment:
                prisma.execute("SELECT GET_LOCK('prisma_migrate', 0)")

        before = _keys(traffic)
        report = pruning.prune(traffic, _RETENTION, observer=migrate).report
        assert report.stopped == "a Prisma migration began (Umami is being upgraded)"
    assert _keys(traffic) == before


def _kill_during_rebuild(url: str, after_seconds: float) -> None:
    process = Process("prune", "--before", _HORIZON.isoformat(), "--rebuild", "--yes", url=url)
    with suppress(subprocess.TimeoutExpired):
        process.wait(after_seconds)


@pytest.mark.fault
@pytest.mark.parametrize("attempt", range(20))
def test_killed_at_any_moment_the_next_run_finishes(traffic: str, attempt: int) -> None:
    _killed_then_finished(traffic, random.Random(attempt).uniform(0.5, 3.0))


@pytest.mark.parametrize(("after_seconds", "rebuild"), [(1.0, True), (1.6, False)])
def test_killed_half_way_the_next_run_finishes(traffic: str, after_seconds: float, rebuild: bool) -> None:
    _killed_then_finished(traffic, after_seconds, rebuild=rebuild)


def test_what_a_killed_rebuild_left_is_named_and_cleared(traffic: str) -> None:
    """The copy and the trigger stand as a kill would leave them; the same command goes on."""
    with connect(traffic) as loader:
        loader.execute("CREATE TABLE _umami_ops_new_event_data LIKE event_data")
        loader.execute(
            "CREATE TRIGGER _umami_ops_delete_event_data AFTER DELETE ON event_data FOR EACH ROW"
            " DELETE FROM _umami_ops_new_event_data WHERE event_data_id = OLD.event_data_id"
        )
    said = command.run("info", url=traffic).out
    assert "its copies and triggers are here" in said
    assert "not Umami's" not in said
    expected = _expected(traffic)
    outcome = command.run("prune", "--before", _HORIZON.isoformat(), "--rebuild", "--yes", url=traffic)
    assert outcome.code == 0
    assert _keys(traffic) == expected
    with connect(traffic) as loader:
        assert not [row for row in loader.execute("SHOW TABLES") if row[0].startswith("_umami_ops")]


def test_what_a_rebuild_left_that_was_killed_after_the_swap_is_cleared_though_no_row_goes(
    traffic: str,
) -> None:
    with connect(traffic) as loader:
        loader.execute("CREATE TABLE _umami_ops_old_event_data LIKE event_data")
    arguments = ("prune", "--before", "2020-01-01")
    asked = command.run(*arguments, url=traffic)
    assert asked.code == 5, asked.said
    assert "nothing to do" not in asked.out
    assert command.run(*arguments, "--yes", url=traffic).code == 0
    with connect(traffic) as loader:
        assert not [row for row in loader.execute("SHOW TABLES") if row[0].startswith("_umami_ops")]
    assert command.run(*arguments, url=traffic).code == 0


def test_a_second_run_beside_it_finds_the_lock(traffic: str) -> None:
    found: list[command.Outcome] = []

    def ask(event: object) -> None:
        if isinstance(event, StepBegan) and event.title == "building indexes":
            found.append(command.run("prune", "--days", "30", "--rebuild", "--yes", url=traffic))

    pruning.prune(traffic, _RETENTION, observer=ask)
    (outcome,) = found
    assert outcome.code == 4
    assert "Another run of umami-ops is at work" in outcome.err


def test_with_nothing_past_the_horizon_nothing_is_copied(traffic: str) -> None:
    outcome = command.run("prune", "--before", "2020-01-01", "--rebuild", "--dry-run", url=traffic)
    assert outcome.code == 0
    assert "_umami_ops" not in outcome.out
    assert command.run("prune", "--before", "2020-01-01", url=traffic).code == 0


def _killed_then_finished(url: str, after_seconds: float, *, rebuild: bool = False) -> None:
    expected = _expected(url)
    _kill_during_rebuild(url, after_seconds)
    half = _keys(url)
    for table in ("website_event", "event_data", "revenue"):
        assert expected[table] <= half[table]
    _wait_for_the_lock(url)
    pruning.prune(url, Retention(_HORIZON, rebuild=rebuild))
    assert _keys(url) == expected
    with connect(url) as loader:
        assert not loader.execute(
            "SELECT 1 FROM information_schema.triggers WHERE trigger_schema = DATABASE()"
        )
        assert not [row for row in loader.execute("SHOW TABLES") if row[0].startswith("_umami_ops")]


def _wait_for_the_lock(url: str) -> None:
    """A killed client's lock goes when the server notices; GET_LOCK itself waits for that."""
    name = "CONCAT('umami_ops.', LEFT(SHA2(DATABASE(), 256), 40))"
    with connect(url) as loader:
        assert loader.execute(f"SELECT GET_LOCK({name}, 20)")[0][0] == 1
        loader.execute(f"SELECT RELEASE_LOCK({name})")


def test_what_gave_way_is_dropped_only_where_something_took_its_place(traffic: str) -> None:
    with connect(traffic) as loader:
        loader.execute("CREATE TABLE _umami_ops_old_session_data LIKE session_data")
        loader.execute("CREATE TABLE _umami_ops_old_lost LIKE session_data")
    outcome = command.run("prune", "--before", _HORIZON.isoformat(), "--yes", url=traffic)
    assert outcome.code == 0, outcome.said
    with connect(traffic) as loader:
        ours = [row[0] for row in loader.execute("SHOW TABLES") if row[0].startswith("_umami_ops")]
    assert ours == ["_umami_ops_old_lost"]


def test_a_table_with_a_trigger_of_its_own_is_refused(traffic: str) -> None:
    with connect(traffic) as loader:
        loader.execute("CREATE TRIGGER mine AFTER INSERT ON event_data FOR EACH ROW SET @seen = 1")
        before = _objects(loader)
    outcome = command.run("prune", "--days", "30", "--rebuild", "--yes", url=traffic)
    assert outcome.code == 5
    assert "event_data can't be rebuilt, it has the trigger mine." in outcome.err
    with connect(traffic) as loader:
        assert _objects(loader) == before


#: A server as providers run it: replicated, and each table must have a primary key.
_HOSTED = {
    "mysql": {"gtid_mode": "ON", "enforce_gtid_consistency": "ON", "sql_require_primary_key": "ON"},
    "mariadb": {"server-id": "1"},
}


def test_on_a_hosted_server(mysql_server: Server, tmp_path: Path) -> None:
    """With a binary log, a user without SUPER may not create triggers: said so, and nothing is left.

    Deleting goes all the same, and so does moving.
    """
    settings = {"log-bin": "binlog", **_HOSTED[mysql_server.flavour]}
    with servers.start(mysql_server.name, settings=settings) as server:
        url = server.create_database()
        create_umami(url, _LEVEL)
        populate(url, Traffic(_START, _END, events=300), _LEVEL)
        before = _keys(url)
        outcome = command.run("prune", "--before", _HORIZON.isoformat(), "--rebuild", "--yes", url=url)
        assert (outcome.code, _keys(url)) == (5, before)
        assert "log_bin_trust_function_creators" in outcome.err
        with connect(url) as loader:
            assert not [row for row in loader.execute("SHOW TABLES") if row[0].startswith("_umami_ops")]
        expected = _expected(url)
        archived = ("--archive", str(tmp_path))
        outcome = command.run("prune", "--before", _HORIZON.isoformat(), *archived, "--yes", url=url)
        assert (outcome.code, _keys(url)) == (0, expected), outcome.said
        target = server.create_database()
        outcome = command.run("migrate", "--yes", url=url, env={"TARGET_DATABASE_URL": target})
        assert (outcome.code, _keys(target)) == (0, expected), outcome.said


def test_on_postgresql_it_is_refused(postgresql_server: Server, umami_at: Callable[[int], str]) -> None:
    outcome = command.run("prune", "--days", "30", "--rebuild", "--yes", url=umami_at(19))
    assert outcome.code == 5
    assert "On PostgreSQL a rebuild would be slower than deleting." in outcome.err
