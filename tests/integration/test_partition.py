"""`partition` on real servers: there and back again, while four visitors write."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from testbed.bulk import Loader, connect
from testbed.servers import Server
from tests import backups, command
from tests.process import Process
from tests.visitors import assert_as_told, fill, visiting
from umami_ops.databases.mysql import partitioning as mysql_partitioning
from umami_ops.databases.mysql import rebuild
from umami_ops.databases.postgresql import partitioning as postgresql_partitioning
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.operations.inspect import inspect
from umami_ops.operations.partition import Upkeep, plan_maintain
from umami_ops.plan import Change, Rebuild
from umami_ops.sql import Query

WORKING = {
    "postgresql": "SELECT relname FROM pg_class WHERE relname LIKE '\\_umami\\_ops\\_%' UNION ALL "
    "SELECT tgname FROM pg_trigger WHERE tgname LIKE '\\_umami\\_ops\\_%' UNION ALL "
    "SELECT proname FROM pg_proc WHERE proname LIKE '\\_umami\\_ops\\_%' UNION ALL "
    "SELECT conname FROM pg_constraint WHERE conname LIKE '\\_umami\\_ops\\_%'",
    "mysql": "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() "
    "AND table_name LIKE '@_umami@_ops@_%' ESCAPE '@' UNION ALL "
    "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE()",
}

_SHAPE = (
    "SELECT s.index_name, s.seq_in_index, s.column_name FROM information_schema.statistics AS s"
    " WHERE s.table_schema = DATABASE() AND s.table_name = 'website_event'"
    " UNION ALL SELECT c.column_name, c.ordinal_position, c.column_type FROM information_schema.columns AS c"
    " WHERE c.table_schema = DATABASE() AND c.table_name = 'website_event' ORDER BY 1, 2"
)
_CATCH_ALL = "website_event PARTITION (catch_all)"


def partition(url: str, *arguments: str, code: int = 0) -> command.Outcome:
    outcome = command.run("partition", *arguments, url=url)
    assert outcome.code == code, outcome.said
    return outcome


def partitions(url: str) -> list[dict[str, object]]:
    return list(partition(url, "status", "--json").document["partitions"])


def spans(url: str) -> list[timedelta]:
    """How long the partitions are that have a beginning and an end."""
    return [
        datetime.fromisoformat(str(part["until"])) - datetime.fromisoformat(str(part["since"]))
        for part in partitions(url)
        if part["since"] and part["until"]
    ]


def assert_nothing_is_left_behind(url: str) -> None:
    with connect(url) as loader:
        assert loader.execute(WORKING[loader.dialect]) == []


VERBS = {
    "enable": ("enable", "--yes"),
    "split": ("split", "--by", "quarter", "--yes"),
    "maintain": ("maintain", "--ahead", "5"),
    "disable": ("disable", "--yes"),
}


def test_there_and_back_beside_visitors(server: Server, umami_database: str) -> None:
    url = umami_database
    still = fill(url, 11)
    with visiting(url) as told:
        for verb in VERBS.values():
            partition(url, *verb)
            assert_nothing_is_left_behind(url)
    assert_as_told(url, told, still, was_reset=False)
    assert partitions(url) == []


@pytest.mark.parametrize("verb", ["enable", "maintain"])
def test_a_long_look_at_the_table_makes_nobody_wait(server: Server, umami_database: str, verb: str) -> None:
    """Others queue behind whoever waits for the whole table: so it gives way soon, and comes again."""
    url = umami_database
    fill(url, 6)
    if verb == "maintain":
        partition(url, *VERBS["enable"])
    before = partitions(url)
    with connect(url) as reader, connect(url) as writer:
        reader.execute("SELECT COUNT(*) FROM website_event")
        changing = Process("partition", *VERBS[verb], url=url)
        longest = 0.0
        looking_until = time.monotonic() + 3
        while time.monotonic() < looking_until:
            began = time.monotonic()
            _write(writer, "now", datetime.now(UTC))
            writer.commit()
            longest = max(longest, time.monotonic() - began)
            time.sleep(0.01)
        assert _names(partitions(url)) == _names(before)
        reader.commit()
        ended = changing.wait()
        assert ended.code == 0, ended.said
    assert len(partitions(url)) > len(before)
    assert longest < 0.9


def test_an_autovacuum_that_takes_long_is_in_nobodys_way(
    postgresql_server: Server, umami_database: str
) -> None:
    """The server ends it for who waits a second; what waits a fifth of one would wait for its end."""
    url = umami_database
    fill(url, 6)
    admin_url = DatabaseUrl.parse(postgresql_server.admin_url)
    here = open_database(replace(admin_url, database=DatabaseUrl.parse(url).database))
    with connect(url) as loader, here.connect() as admin:
        admin.run(statement("ALTER SYSTEM SET autovacuum_naptime = 1"))
        admin.run(statement("SELECT pg_reload_conf()"))
        try:
            loader.execute(
                "ALTER TABLE website_event SET (autovacuum_vacuum_threshold = 1,"
                " autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100,"
                " autovacuum_vacuum_cost_limit = 1)"
            )
            columns = "website_id, session_id, visit_id, url_path, created_at"
            loader.execute(
                f"INSERT INTO website_event (event_id, {columns}) SELECT gen_random_uuid(), {columns}"
                " FROM website_event, generate_series(1, 200)"
            )
            loader.commit()
            loader.execute("UPDATE website_event SET event_name = 'seen'")
            loader.commit()
            until(lambda: admin.value(statement(_AUTOVACUUM)) == 1)
            partition(url, *VERBS["enable"])
            assert partitions(url)
            assert admin.value(statement(_ENDED)) == 0, "it was waited for"
        finally:
            admin.run(statement("ALTER SYSTEM RESET autovacuum_naptime"))
            admin.run(statement("SELECT pg_reload_conf()"))


_AUTOVACUUM = (
    "SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'"
    " AND datname = current_database() AND query LIKE '%website_event%'"
)


_ENDED = (
    "SELECT SUM(autovacuum_count + autoanalyze_count) FROM pg_stat_user_tables"
    " WHERE relname LIKE 'website_event%'"
)


def statement(text: str) -> Query:
    return Query("test", "", text)


def until(is_so: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.1)


def _names(parts: list[dict[str, object]]) -> list[object]:
    return [part["name"] for part in parts]


def test_what_is_deleted_between_triggers_stays_deleted(mysql_server: Server, umami_database: str) -> None:
    """Each of them may have to wait for its lock, for as long as somebody looks at the table."""
    url = umami_database
    with backups.opened(url) as connection, connect(url) as loader:
        copy = rebuild.relay(connection, "website_event", "", ()).tables["website_event"]
        for statement in copy.create:
            connection.run(statement)
        for statement in copy.follow:
            _write(loader, "short-lived", datetime.now(UTC))
            loader.commit()
            connection.run(statement)
            loader.execute("DELETE FROM website_event WHERE event_name = 'short-lived'")
            loader.commit()
        assert loader.execute("SELECT COUNT(*) FROM _umami_ops_new_website_event") == [(0,)]


@pytest.mark.parametrize("verb", ["split", "disable"])
def test_a_reset_in_the_middle(server: Server, umami_database: str, verb: str) -> None:
    url = umami_database
    still = fill(url, 12)
    partition(url, *VERBS["enable"])
    if verb == "disable":
        partition(url, *VERBS["split"])
    with visiting(url, reset_after_seconds=0.7) as told:
        partition(url, *VERBS[verb])
    # The reset itself locks what the visitors write beside it, on InnoDB.
    assert_as_told(url, told, still, was_reset=True, most_seconds=5.0)


def test_a_second_split_leaves_alone_what_the_first_found_too_old(
    server: Server, umami_database: str
) -> None:
    """An import of long ago gets no partition for each month since, however often somebody splits."""
    url = umami_database
    fill(url, 6)
    with connect(url) as loader:
        _write(loader, "long ago", datetime(2015, 2, 3, tzinfo=UTC))
        loader.commit()
    partition(url, *VERBS["enable"])
    partition(url, *VERBS["split"])
    before = _names(partitions(url))
    assert "Nothing to do." in partition(url, *VERBS["split"]).out
    assert _names(partitions(url)) == before


def test_a_second_split_makes_each_partition_finer(server: Server, umami_database: str) -> None:
    url = umami_database
    events = 2 * fill(url, 8, days=900)
    partition(url, "enable", "--yes")
    for period, most_days in (("year", 366), ("month", 31)):
        partition(url, "split", "--by", period, "--yes")
        assert len(spans(url)) >= 900 // most_days
        assert max(spans(url)) <= timedelta(days=most_days)
        with connect(url) as loader:
            assert loader.execute("SELECT COUNT(*) FROM website_event") == [(events,)]


def test_odd_times_land_and_are_found(server: Server, umami_database: str) -> None:
    url = umami_database
    fill(url, 6)
    odd = {datetime(2031, 1, 2, tzinfo=UTC), datetime(2015, 1, 2, tzinfo=UTC)}
    _write_at(url, "a", odd)
    partition(url, *VERBS["enable"])
    _write_at(url, "b", odd)
    partition(url, *VERBS["split"])
    _write_at(url, "c", odd)
    for _ in range(2):
        with connect(url) as loader:
            rows = loader.execute("SELECT event_name, created_at FROM website_event WHERE event_name <> ''")
        assert sorted(rows) == sorted(
            (name, when.replace(tzinfo=rows[0][1].tzinfo)) for name in "abc" for when in odd
        )
        partition(url, *VERBS["disable"])


def _write_at(url: str, name: str, times: set[datetime]) -> None:
    with connect(url) as loader:
        for when in times:
            _write(loader, name, when)


def _write(loader: Loader, name: str, when: datetime) -> None:
    new_id = "gen_random_uuid()" if loader.dialect == "postgresql" else "UUID()"
    loader.execute(
        "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path, event_name,"
        f" created_at) VALUES ({new_id}, {new_id}, {new_id}, {new_id}, '/', '{name}',"
        f" '{when:%Y-%m-%d %H:%M:%S}')"
    )


def test_every_verb_again_does_nothing(server: Server, umami_database: str) -> None:
    url = umami_database
    fill(url, 6)
    for verb in VERBS.values():
        partition(url, *verb)
        before = partitions(url)
        document = partition(url, *verb, "--json").document
        assert document["steps"] == []
        assert [part["name"] for part in partitions(url)] == [part["name"] for part in before]


@pytest.mark.parametrize("table", ["session", "revenue", "website"])
def test_no_other_table(server: Server, umami_database: str, table: str) -> None:
    outcome = partition(umami_database, "enable", "--table", table, "--yes", code=5)
    assert f"{table} is not partitioned: " in outcome.err


def test_where_detaching_is_not_safe_it_is_refused(mysql_server: Server, umami_database: str) -> None:
    url = umami_database
    partition(url, *VERBS["enable"])
    as_if_enabled_long_ago(url)
    before = [part["name"] for part in partitions(url)]
    said = partition(url, "maintain", "--keep", "1mo", "--detach", "--yes", code=5).err
    assert f"can't detach {before[0]} while others write" in said
    assert [part["name"] for part in partitions(url)] == before


def test_months_without_maintenance(server: Server, umami_database: str) -> None:
    """What lies in the catch-all by then moves into the partitions that are made late."""
    url = umami_database
    fill(url, 8, days=200)
    partition(url, *VERBS["enable"])
    as_if_enabled_long_ago(url)
    with connect(url) as loader:
        before = loader.execute("SELECT COUNT(*), COUNT(DISTINCT event_id) FROM website_event")
    partition(url, "maintain")
    with connect(url) as loader:
        assert loader.execute("SELECT COUNT(*), COUNT(DISTINCT event_id) FROM website_event") == before
        inside = "website_event_default" if loader.dialect == "postgresql" else _CATCH_ALL
        assert loader.execute(f"SELECT COUNT(*) FROM {inside}") == [(0,)]
    assert partition(url, "maintain", "--json").document["steps"] == []


def test_maintenance_begins_anew_once_a_prune_has_dropped_all_partitions(
    server: Server, umami_database: str
) -> None:
    """Nobody had made any since: what was written lies in the catch-all, the only one that is left."""
    url = umami_database
    fill(url, 8, days=200)
    partition(url, *VERBS["enable"])
    as_if_enabled_long_ago(url)
    horizon = str(partitions(url)[0]["until"])[:10]
    assert command.run("prune", "--before", horizon, "--yes", url=url).code == 0
    assert [part["is_catch_all"] for part in partitions(url)] == [True]
    with connect(url) as loader:
        before = loader.execute("SELECT COUNT(*), COUNT(DISTINCT event_id) FROM website_event")
    partition(url, "maintain")
    assert len(partitions(url)) > 6
    with connect(url) as loader:
        assert loader.execute("SELECT COUNT(*), COUNT(DISTINCT event_id) FROM website_event") == before
        inside = "website_event_default" if loader.dialect == "postgresql" else _CATCH_ALL
        assert loader.execute(f"SELECT COUNT(*) FROM {inside}") == [(0,)]
    assert partition(url, "maintain", "--json").document["steps"] == []


def test_an_interrupted_move_out_of_the_catch_all_is_gone_on_with(
    server: Server, umami_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = umami_database
    fill(url, 8, days=200)
    partition(url, *VERBS["enable"])
    as_if_enabled_long_ago(url)
    monkeypatch.setattr(postgresql_partitioning, "MOST_ROWS_AT_ONCE", 10)
    monkeypatch.setattr(mysql_partitioning, "_MOST_ROWS_AT_ONCE", 10)
    _begin_to_maintain(url)
    cure = partition(url, "status", "--json").document["notes"][0]["cure"]
    assert "umami-ops partition maintain brings it to its end" in cure
    partition(url, "maintain")
    assert_nothing_is_left_behind(url)
    assert partition(url, "maintain", "--json").document["steps"] == []


def test_an_interrupted_move_out_of_a_catch_all_that_is_empty_by_now(
    server: Server, umami_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A website was reset meanwhile: what the interrupted run prepared bears the names that are wanted."""
    url = umami_database
    fill(url, 8, days=200)
    partition(url, *VERBS["enable"])
    as_if_enabled_long_ago(url)
    with monkeypatch.context() as patch:
        patch.setattr(postgresql_partitioning, "MOST_ROWS_AT_ONCE", 10)
        patch.setattr(mysql_partitioning, "_MOST_ROWS_AT_ONCE", 10)
        _begin_to_maintain(url)
    with connect(url) as loader:
        loader.execute("DELETE FROM website_event")
        loader.commit()
    partition(url, "maintain")
    assert_nothing_is_left_behind(url)
    assert len(spans(url)) > 3


def test_a_catch_all_full_of_far_events_is_not_copied_under_a_lock(
    mysql_server: Server, umami_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They belong to none of the partitions that are added, but REORGANIZE would copy them all the same."""
    url = umami_database
    fill(url, 8, days=200)
    partition(url, *VERBS["enable"])
    monkeypatch.setattr(mysql_partitioning, "_MOST_ROWS_AT_ONCE", 10)
    with connect(url) as loader:
        loader.execute("UPDATE website_event SET created_at = '2036-05-05' ORDER BY event_id LIMIT 40")
        loader.commit()
        loader.execute("ANALYZE TABLE website_event")
    arguments = ("maintain", "--ahead", "6", "--json")
    steps = partition(url, *arguments, "--dry-run").document["steps"]
    texts = [text for step in steps for text in step["statements"]]
    assert [text for text in texts if text.startswith("RENAME TABLE")]
    assert not [text for text in texts if "REORGANIZE" in text]
    partition(url, *arguments)
    with connect(url) as loader:
        assert loader.execute(f"SELECT COUNT(*) FROM {_CATCH_ALL}") == [(40,)]


@pytest.mark.parametrize(
    "change", ["ADD INDEX lately (url_path, tag)", "MODIFY url_path VARCHAR(700) NOT NULL"]
)
def test_an_interrupted_copy_and_an_upgrade_since(
    mysql_server: Server, umami_database: str, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The copy had its indexes already: what a migration made of the table since is there at the end."""
    url = umami_database
    fill(url, 8, days=200)
    partition(url, *VERBS["enable"])
    as_if_enabled_long_ago(url)
    monkeypatch.setattr(mysql_partitioning, "_MOST_ROWS_AT_ONCE", 10)
    _begin_to_maintain(url, with_indexes=True)
    with connect(url) as loader:
        loader.execute(f"ALTER TABLE website_event {change}")
        indexes = loader.execute(_SHAPE)
    partition(url, "maintain")
    assert_nothing_is_left_behind(url)
    assert len(spans(url)) > 3
    with connect(url) as loader:
        assert loader.execute(_SHAPE) == indexes


def _begin_to_maintain(url: str, *, with_indexes: bool = False) -> None:
    """Run what makes the new tables and follows the writers, and no more but perhaps the indexes."""
    with backups.opened(url) as connection:
        plan = plan_maintain(connection, inspect(connection), Upkeep(), datetime.now(UTC))
        first = plan.steps[0]
        if isinstance(first, Rebuild):
            copy = first.tables["website_event"]
            statements = (*copy.create, *copy.follow, *(copy.index if with_indexes else ()))
        else:
            assert isinstance(first, Change)
            statements = first.statements
        with connection.transaction():
            for statement in statements:
                connection.run(statement)


def as_if_enabled_long_ago(url: str) -> None:
    """Cut the partition of history off months ago, with the rest in the catch-all."""
    parts = partitions(url)
    month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    boundary = (month - timedelta(days=100)).replace(day=1)
    first, *ahead = [str(part["name"]) for part in parts[:-1]]
    with connect(url) as loader:
        if loader.dialect == "postgresql":
            for name in ahead:
                loader.execute(f"DROP TABLE {name}")
            loader.execute(f"ALTER TABLE website_event DETACH PARTITION {first}")
            loader.execute(
                f"WITH gone AS (DELETE FROM {first} WHERE created_at >= '{boundary:%Y-%m-%d}' RETURNING *)"
                " INSERT INTO website_event SELECT * FROM gone"
            )
            loader.execute(
                f"ALTER TABLE website_event ATTACH PARTITION {first} FOR VALUES FROM (MINVALUE)"
                f" TO ('{boundary:%Y-%m-%d}')"
            )
            loader.commit()
            loader.execute("ANALYZE website_event")
        else:
            loader.execute(
                "ALTER TABLE website_event PARTITION BY RANGE (UNIX_TIMESTAMP(created_at)) ("
                f"PARTITION {first} VALUES LESS THAN ({int(boundary.timestamp())}),"
                " PARTITION catch_all VALUES LESS THAN MAXVALUE)"
            )
