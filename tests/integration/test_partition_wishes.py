"""What `partition` shows beforehand, refuses, and keeps as it was."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from testbed.bulk import Loader, connect
from testbed.servers import Server
from tests import backups, command, pruning
from tests.integration.test_partition import VERBS, partition, partitions, spans, statement, until
from tests.process import Process
from tests.visitors import fill
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import Refused
from umami_ops.execute import RunLock, execute
from umami_ops.operations import partition as operation
from umami_ops.operations.inspect import inspect
from umami_ops.operations.periods import end_of

_ID = "90000000-0000-4000-8000-000000000000"


def _insert_undated(loader: Loader, *, session: bool, key: str = _ID) -> None:
    loader.execute(
        "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path, created_at)"
        f" VALUES ('{key}', '{key}', '{key}', '{key}', '/', NULL)"
    )
    loader.execute(
        "INSERT INTO event_data (event_data_id, website_id, website_event_id, data_key, data_type)"
        f" VALUES ('{key}', '{key}', '{key}', 'key', 1)"
    )
    if session:
        loader.execute(
            "INSERT INTO session (session_id, website_id, created_at)"
            f" VALUES ('{key}', '{key}', '2025-02-03 04:05:06')"
        )


@pytest.fixture
def a_writer(server: Server, umami_database: str) -> Iterator[str]:
    """The URL of a user who may read, write and delete rows, and owns no table."""
    parts, writer = urlsplit(umami_database), f"writer_{uuid.uuid4().hex[:8]}"
    rights = "SELECT, INSERT, UPDATE, DELETE"
    with connect(server.as_admin(umami_database)) as loader:
        if server.dialect == "postgresql":
            loader.execute(f"CREATE ROLE {writer} LOGIN PASSWORD '{parts.password}'")
            loader.execute(f"GRANT {rights} ON ALL TABLES IN SCHEMA public TO {writer}")
        else:
            loader.execute(f"CREATE USER {writer}@'%' IDENTIFIED BY '{parts.password}'")
            loader.execute(f"GRANT {rights}, CREATE TEMPORARY TABLES ON `{parts.path[1:]}`.* TO {writer}@'%'")
        loader.commit()
        yield parts._replace(netloc=f"{writer}:{parts.password}@{parts.hostname}:{parts.port}").geturl()
        if server.dialect == "postgresql":
            loader.execute(f"DROP OWNED BY {writer}")
            loader.execute(f"DROP ROLE {writer}")
        else:
            loader.execute(f"DROP USER {writer}@'%'")
        loader.commit()


def test_who_may_not_change_the_table_deletes_nothing_of_it(umami_database: str, a_writer: str) -> None:
    """Events without a time would go first, and the table stay as it is."""
    with connect(umami_database) as loader:
        _insert_undated(loader, session=False)
        loader.commit()
    before = pruning.digest(umami_database)
    said = partition(a_writer, "enable", "--null-created-at", "delete", "--yes", code=5).err
    assert "may not change website_event" in said
    assert "Nothing was changed." in said
    assert pruning.digest(umami_database) == before
    partition(umami_database, "enable", "--null-created-at", "delete", "--yes")
    for verb in (("split", "--by", "month"), ("disable",)):
        outcome = command.run("partition", *verb, "--yes", url=a_writer)
        assert outcome.code == 5 or "Nothing to do" in outcome.out, outcome.said
    assert partitions(umami_database)


@pytest.mark.parametrize("verb", VERBS)
def test_a_dry_run_says_all_and_does_nothing(server: Server, umami_database: str, verb: str) -> None:
    url = umami_database
    fill(url, 5)
    if verb != "enable":
        partition(url, *VERBS["enable"])
    before = partitions(url), pruning.digest(url)
    arguments = [argument for argument in VERBS[verb] if argument != "--yes"]
    steps = partition(url, *arguments, "--dry-run", "--json").document["steps"]
    assert steps
    assert all(step["title"] and step["statements"] and step["lock"] for step in steps)
    shown = partition(url, *arguments, "--dry-run").out
    assert shown.count("Lock: ") == len(steps)
    assert ("Space needed" in shown) == (verb != "maintain")
    assert (partitions(url), pruning.digest(url)) == before


def test_events_without_a_time_take_a_decision(server: Server, umami_database: str) -> None:
    url = umami_database
    with connect(url) as loader:
        _insert_undated(loader, session=True)
    outcome = partition(url, "enable", "--yes", code=5)
    assert "1 events have no time" in outcome.err
    assert "--null-created-at session-time gives them their session's" in outcome.err
    done = partition(url, "enable", "--null-created-at", "session-time", "--yes")
    assert "1 events without one, that of their session" in done.out
    with connect(url) as loader:
        ((when,),) = loader.execute(f"SELECT created_at FROM website_event WHERE event_id = '{_ID}'")
    assert f"{when:%Y-%m-%d %H:%M:%S}" == "2025-02-03 04:05:06"


def test_events_without_a_time_can_go(server: Server, umami_database: str) -> None:
    url = umami_database
    with connect(url) as loader:
        _insert_undated(loader, session=False)
    said = partition(url, "enable", "--null-created-at", "session-time", "--yes", code=5).err
    assert "--null-created-at delete deletes all 1; none has a session with a time" in said
    assert "--null-created-at session-time" not in said
    done = partition(url, "enable", "--null-created-at", "delete", "--yes")
    assert "1 events without a time, with their event_data and revenue" in done.out
    with connect(url) as loader:
        assert loader.execute("SELECT COUNT(*) FROM website_event") == [(0,)]
        assert loader.execute("SELECT COUNT(*) FROM event_data") == [(0,)]


def test_events_without_a_time_whose_session_has_none_can_go_alone(
    server: Server, umami_database: str
) -> None:
    url = umami_database
    other = _ID.replace("9", "8")
    with connect(url) as loader:
        _insert_undated(loader, session=True)
        _insert_undated(loader, session=False, key=other)
    said = partition(url, "enable", "--null-created-at", "session-time", "--yes", code=5).err
    assert "--null-created-at session-time-or-delete gives 1 their session's and deletes the other 1" in said
    partition(url, "enable", "--null-created-at", "session-time-or-delete", "--yes")
    with connect(url) as loader:
        ((kept, when),) = loader.execute("SELECT event_id, created_at FROM website_event")
        ((data,),) = loader.execute("SELECT website_event_id FROM event_data")
    assert (str(kept), f"{when:%Y-%m-%d %H:%M:%S}", str(data)) == (_ID, "2025-02-03 04:05:06", _ID)


@pytest.mark.parametrize("tables", ["TABLE website_event", "TABLES IN SCHEMA public", "ALL TABLES"])
def test_a_publication_is_refused(postgresql_server: Server, umami_database: str, tables: str) -> None:
    """On the way there and back: what it publishes would bear the names of partitions, or lose them."""
    url = umami_database
    if tables != "TABLE website_event":  # takes more than to own the table
        url = _as_superuser(postgresql_server, url)
    for verb in ("enable", "disable"):
        with connect(url) as loader:
            loader.execute(f"CREATE PUBLICATION mine FOR {tables}")
            loader.commit()
        assert "website_event has the publication mine" in partition(url, *VERBS[verb], code=5).err
        with connect(url) as loader:
            loader.execute("DROP PUBLICATION mine")
            loader.commit()
        partition(url, *VERBS[verb])


def _as_superuser(server: Server, url: str) -> str:
    admin = urlsplit(server.admin_url)
    return admin._replace(path=urlsplit(url).path).geturl()


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("CREATE VIEW mine AS SELECT event_id FROM website_event", "the view mine"),
        ("CREATE STATISTICS mine ON url_path, hostname FROM website_event", "the statistics mine"),
        ("CREATE POLICY mine ON website_event USING (true)", "the policy mine"),
        ("ALTER TABLE website_event ADD mine bigserial", "the sequence website_event_mine_seq"),
        (
            "ALTER TABLE website_event ADD mine bigint GENERATED ALWAYS AS IDENTITY",
            "the sequence website_event_mine_seq",
        ),
        (
            "CREATE FUNCTION mine() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM website_event; END",
            "the function mine",
        ),
        (
            "CREATE FUNCTION mine(website_event) RETURNS text LANGUAGE sql AS 'SELECT $1.tag'",
            "the function mine",
        ),
    ],
)
def test_what_would_be_lost_is_refused(
    postgresql_server: Server, umami_database: str, statement: str, what: str
) -> None:
    """It hangs on this very table, which becomes one of the partitions."""
    with connect(umami_database) as loader:
        loader.execute(statement)
    assert f"website_event has {what}," in partition(umami_database, "enable", "--yes", code=5).err
    assert partitions(umami_database) == []


def test_a_trigger_is_refused(mysql_server: Server, umami_database: str) -> None:
    with connect(umami_database) as loader:
        loader.execute(
            "CREATE TRIGGER mine BEFORE DELETE ON website_event FOR EACH ROW SET @gone = OLD.event_id"
        )
    assert "website_event has the trigger mine" in partition(umami_database, "enable", "--yes", code=5).err


def test_a_trigger_that_somebody_makes_after_the_plan_is_not_lost(
    mysql_server: Server, umami_database: str
) -> None:
    """The copy that takes the table's place has none."""
    database = open_database(DatabaseUrl.parse(umami_database))
    with database.connect() as connection:
        plan = operation.plan_enable(connection, inspect(connection), operation.Enabling(), datetime.now(UTC))
    with connect(umami_database) as loader:
        loader.execute(
            "CREATE TRIGGER mine BEFORE DELETE ON website_event FOR EACH ROW SET @gone = OLD.event_id"
        )
    with RunLock(database, plan.operation) as lock, pytest.raises(Refused, match="triggers"):
        execute(plan, database, lock=lock)
    assert partitions(umami_database) == []


def test_comments_stay_on_a_copy(mysql_server: Server, umami_database: str) -> None:
    url, comments = umami_database, []
    with connect(url) as loader:
        loader.execute(
            "ALTER TABLE website_event COMMENT = 'Counted', ADD INDEX mine (tag) COMMENT 'It''s mine',"
            " MODIFY created_at timestamp NULL DEFAULT CURRENT_TIMESTAMP COMMENT 'When'"
        )
    for verb in (None, *VERBS.values()):
        if verb:
            partition(url, *verb)
        with connect(url) as loader:
            comments.append(
                [
                    loader.execute(
                        "SELECT index_comment FROM information_schema.statistics"
                        " WHERE table_schema = DATABASE() AND index_name = 'mine'"
                    ),
                    loader.execute(
                        "SELECT column_comment FROM information_schema.columns"
                        " WHERE table_schema = DATABASE() AND table_name = 'website_event'"
                        " AND column_name = 'created_at'"
                    ),
                    loader.execute(
                        "SELECT table_comment FROM information_schema.tables"
                        " WHERE table_schema = DATABASE() AND table_name = 'website_event'"
                    ),
                ]
            )
    assert comments == [[[("It's mine",)], [("When",)], [("Counted",)]]] * 5


def test_partitions_of_somebody_else_are_left_alone(mysql_server: Server, umami_database: str) -> None:
    with connect(umami_database) as loader:
        loader.execute("ALTER TABLE website_event PARTITION BY KEY (event_id) PARTITIONS 4")
    for verb in (VERBS["enable"], VERBS["split"], VERBS["disable"], ("maintain", "--keep", "1y")):
        assert "in a way that isn't umami-ops's" in partition(umami_database, *verb, code=5).err
    assert "partitioned by somebody else" in partition(umami_database, "maintain").out


_BY_HAND = {
    "postgresql": (
        "ALTER TABLE website_event RENAME TO before",
        "CREATE TABLE website_event (LIKE before INCLUDING DEFAULTS) PARTITION BY RANGE (created_at)",
        "CREATE TABLE we_old PARTITION OF website_event FOR VALUES FROM ('-infinity') TO ('2024-01-01')",
        "CREATE TABLE we_2024 PARTITION OF website_event FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
        "DROP TABLE before",
    ),
    "mysql": (
        "ALTER TABLE website_event MODIFY created_at timestamp NOT NULL,"
        " DROP PRIMARY KEY, ADD PRIMARY KEY (event_id, created_at)"
        " PARTITION BY RANGE (UNIX_TIMESTAMP(created_at))"
        " (PARTITION we_old VALUES LESS THAN (1704067200), PARTITION we_2024 VALUES LESS THAN (1735689600))",
    ),
}


def test_partitions_by_the_same_key_without_our_catch_all_are_somebody_else_s(
    server: Server, umami_database: str
) -> None:
    """The key alone is what anybody would choose: they have no catch-all of ours to take events from."""
    url = umami_database
    with connect(url) as loader:
        for text in _BY_HAND[server.dialect]:
            loader.execute(text)
        loader.commit()
    assert "partitioned by somebody else" in partition(url, "status").out
    assert "partitioned by somebody else" in partition(url, "maintain", "--yes").out
    for verb in (VERBS["enable"], VERBS["split"], VERBS["disable"], ("maintain", "--keep", "1y", "--yes")):
        assert "in a way that isn't umami-ops's" in partition(url, *verb, code=5).err


@pytest.mark.parametrize(
    ("bounds", "shown"),
    [
        ("'-infinity') TO ('0044-03-15 BC'", (None, "0001-01-01T00:00:00Z")),
        ("'0044-03-15 BC') TO ('0010-01-01'", (None, "0010-01-01T00:00:00Z")),
        ("'2099-01-01') TO ('infinity'", ("2099-01-01T00:00:00Z", None)),
        ("'2099-01-01') TO (MAXVALUE", ("2099-01-01T00:00:00Z", None)),
        ("'12026-01-01') TO ('12027-01-01'", ("9999-12-31T23:59:59.999999Z", None)),
    ],
)
def test_a_partition_of_somebody_else_beside_ours_is_in_nobodys_way(
    postgresql_server: Server, umami_database: str, bounds: str, shown: tuple[str | None, str | None]
) -> None:
    """Its bounds may be such as no calendar of Python's has."""
    url = umami_database
    partition(url, *VERBS["enable"])
    history = partitions(url)[0]["name"]
    with connect(url) as loader:
        loader.execute(f"ALTER TABLE website_event DETACH PARTITION {history}")
        loader.execute(f"CREATE TABLE others PARTITION OF website_event FOR VALUES FROM ({bounds})")
        loader.commit()
    ((since, until),) = [(p["since"], p["until"]) for p in partitions(url) if p["name"] == "others"]
    assert (since, until) == shown
    assert command.run("health", url=url).code in (0, 1, 2)
    for verb in (("maintain", "--ahead", "5"), VERBS["split"], ("maintain", "--keep", "1y", "--yes")):
        partition(url, *verb)
    partition(url, *VERBS["disable"])


@pytest.mark.parametrize("verb", ["enable", "maintain", "split"])
def test_a_table_with_a_partition_s_name_is_left_alone(
    postgresql_server: Server, umami_database: str, verb: str
) -> None:
    """Before anything is done: an enable would fail at its end, with the events of next month parked."""
    url = umami_database
    fill(url, 5)
    if verb != "enable":
        partition(url, *VERBS["enable"])
    dry = ("--dry-run", "--json")
    options = [option for option in VERBS[verb] if option != "--yes"]
    name = f"website_event_{partition(url, *options, *dry).document['new_partitions'][0]['label']}"
    before = partitions(url)
    with connect(url) as loader:
        loader.execute(f"CREATE TABLE {name} (mine int)")
        loader.commit()
    assert f"{name} is there already, and no partition" in partition(url, *VERBS[verb], code=5).err
    assert partitions(url) == before
    assert partition(url, "status", "--json").document["unfinished"] is None


def test_nothing_is_partitioned(server: Server, umami_database: str) -> None:
    """A schedule's `maintain` is content; who wants something split or dropped hears why it can't be."""
    url = umami_database
    assert "website_event is not partitioned, nothing to maintain." in partition(url, "maintain").out
    assert partition(url, "maintain", "--json").document["steps"] == []
    for verb in (VERBS["split"], ("maintain", "--keep", "1y", "--yes")):
        assert "umami-ops partition enable" in partition(url, *verb, code=5).err


@pytest.mark.parametrize("verb", ["enable", "split", "disable"])
def test_a_disk_that_is_too_small_is_refused(
    server: Server, umami_database: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = umami_database
    fill(url, 6)
    if verb != "enable":
        partition(url, *VERBS["enable"])
    before = partitions(url)
    with backups.opened(url) as connection:
        monkeypatch.setattr(type(connection), "free_bytes", lambda _connection: 10)
    said = partition(url, *VERBS[verb], code=5).err
    assert "of the server's disk until it is done, and 0 MB are free" in said
    assert partitions(url) == before


def test_too_many_partitions(server: Server, umami_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation, "_MOST_PARTITIONS", 20)
    fill(umami_database, 8)
    partition(umami_database, *VERBS["enable"])
    assert "--by quarter" in partition(umami_database, "split", "--by", "week", "--yes", code=5).err


def test_without_a_terminal_it_asks_for_yes(server: Server, umami_database: str) -> None:
    assert "Add --yes" in partition(umami_database, "enable", code=5).err
    assert partitions(umami_database) == []


@pytest.mark.parametrize(("period", "most_days"), [("week", 7), ("quarter", 92), ("year", 366)])
def test_other_periods(server: Server, umami_database: str, period: str, most_days: int) -> None:
    url = umami_database
    fill(url, 4, days=100)
    partition(url, "enable", "--by", period, "--ahead", "2", "--yes")
    assert len(partitions(url)) == 4
    partition(url, "maintain", "--ahead", "4")
    # On the last day of a period the history already holds the next one.
    assert len(partitions(url)) in (5, 6)
    partition(url, "split", "--by", period, "--yes")
    assert len(spans(url)) >= 3 + 80 // most_days
    assert max(spans(url)) <= timedelta(days=most_days)


_SET = (
    "COMMENT ON TABLE website_event IS 'Counted'",
    "COMMENT ON COLUMN website_event.url_path IS 'Where'",
    "COMMENT ON INDEX website_event_visit_id_idx IS 'Visits'",
    "COMMENT ON CONSTRAINT website_event_pkey ON website_event IS 'One each'",
    "GRANT SELECT ON website_event TO PUBLIC",
    "GRANT UPDATE (tag) ON website_event TO PUBLIC",
    "CREATE INDEX mine ON website_event (lower(url_path) DESC) WHERE event_type = 1",
    "CREATE INDEX covering ON website_event (tag) INCLUDE (url_path) WITH (fillfactor = 70)",
    "ALTER TABLE website_event ALTER url_path SET STATISTICS 500, ALTER session_id SET (n_distinct = -0.1)",
    "ALTER TABLE website_event ALTER url_path SET STORAGE EXTERNAL, ALTER tag SET COMPRESSION pglz",
    "ALTER TABLE website_event SET (autovacuum_vacuum_scale_factor = 0.02, fillfactor = 90,"
    " toast.autovacuum_enabled = off)",
    "ALTER TABLE website_event REPLICA IDENTITY FULL",
)


def test_what_stands_on_the_table_stays(postgresql_server: Server, umami_database: str) -> None:
    """Comments, grants, settings, indexes of one's own; there and back."""
    url = umami_database
    fill(url, 6)
    with connect(url) as loader:
        for text in _SET:
            loader.execute(text)
        # What new tables are readable by; this one was there already.
        loader.execute("ALTER DEFAULT PRIVILEGES GRANT DELETE ON TABLES TO PUBLIC")
    before, stored = _standing(url), _stored(url)
    for verb in ("enable", "maintain", "split"):
        partition(url, *VERBS[verb])
        assert _standing(url) == before
        # A partitioned table has no storage parameters; a new partition is vacuumed as the table was.
        assert _stored(url) == stored
    partition(url, *VERBS["disable"])
    assert _standing(url) == before
    assert _stored(url) == stored


def test_what_was_taken_back_meanwhile_is_not_given_again(
    postgresql_server: Server, umami_database: str
) -> None:
    """The partition of history was the table, and becomes it again: its own rights are of long ago."""
    url = umami_database
    with connect(url) as loader:
        loader.execute("GRANT SELECT, DELETE ON website_event TO PUBLIC")
        loader.execute("GRANT UPDATE (tag) ON website_event TO PUBLIC")
    partition(url, *VERBS["enable"])
    with connect(url) as loader:
        loader.execute("REVOKE ALL ON website_event FROM PUBLIC")
        loader.execute("GRANT SELECT ON website_event TO PUBLIC")
    before = _standing(url)
    partition(url, *VERBS["disable"])
    assert _standing(url) == before


def test_the_planner_knows_all_rows_at_once(postgresql_server: Server, umami_database: str) -> None:
    """Else a look at the whole table is planned by guess until somebody runs ANALYZE."""
    url = umami_database
    fill(url, 6)
    with connect(url) as loader:
        loader.execute("ANALYZE website_event")
        loader.commit()
        columns = loader.execute("SELECT COUNT(*) FROM pg_stats WHERE tablename = 'website_event'")
    partition(url, *VERBS["enable"])
    with connect(url) as loader:
        known = "SELECT COUNT(*) FROM pg_stats WHERE tablename = 'website_event' AND inherited"
        assert loader.execute(known) == columns
        assert loader.execute(f"{known} AND attname = 'website_id' AND n_distinct = 2") == [(1,)]


def _standing(url: str) -> list[Any]:
    with connect(url) as loader:
        return [
            loader.execute(
                "SELECT obj_description(oid), ARRAY(SELECT unnest(relacl)::text ORDER BY 1),"
                " pg_get_userbyid(relowner), relreplident FROM pg_class WHERE relname = 'website_event'"
            ),
            loader.execute(
                "SELECT attname, col_description(attrelid, attnum), attacl, attstorage, attcompression,"
                " attstattarget, attoptions FROM pg_attribute"
                " WHERE attrelid = 'website_event'::regclass AND attnum > 0 ORDER BY attnum"
            ),
            loader.execute(
                "SELECT indexname, replace(indexdef, ' ONLY ', ' '), obj_description(indexname::regclass)"
                " FROM pg_indexes"
                " WHERE tablename = 'website_event' AND indexname <> 'website_event_pkey' ORDER BY 1"
            ),
            loader.execute(
                "SELECT obj_description(oid) FROM pg_constraint"
                " WHERE conrelid = 'website_event'::regclass AND contype = 'p'"
            ),
        ]


def _stored(url: str) -> set[Any]:
    """What is set for the storage of the table, or of its partitions."""
    with connect(url) as loader:
        return set(
            loader.execute(
                "SELECT ARRAY(SELECT unnest(t.reloptions) ORDER BY 1)::text, a.reloptions::text,"
                " t.relreplident FROM pg_class AS t JOIN pg_class AS a ON a.oid = t.reltoastrelid"
                " WHERE t.relname LIKE 'website_event%' AND t.relkind = 'r' AND (t.relispartition"
                " OR t.relname = 'website_event')"
            )
        )


def test_a_signal_ends_it_and_a_rerun_goes_on(server: Server, umami_database: str) -> None:
    url = umami_database
    fill(url, 12)
    partition(url, *VERBS["enable"])
    process = Process("partition", *VERBS["split"], url=url)
    while partition(url, "status", "--json").document["unfinished"] is None and not process.is_over:
        time.sleep(0.01)
    process.send(signal.SIGTERM)
    ended = process.wait()
    assert ended.code in (0, 3), ended.said
    if ended.code == 3:
        assert "SIGTERM was received" in ended.out
        if server.dialect == "postgresql":  # on the others it undoes what it copied
            cure = partition(url, "status", "--json").document["notes"][0]["cure"]
            assert "umami-ops partition split --by quarter brings it to its end" in cure
    partition(url, *VERBS["split"])
    assert partition(url, "status", "--json").document["unfinished"] is None
    assert len(partitions(url)) > 6


@pytest.mark.parametrize("ending", ["signal", "error"])
def test_an_enable_that_ends_early_says_what_it_does_to_new_events(
    postgresql_server: Server, umami_database: str, ending: str
) -> None:
    """Its trigger stands, which dates them falsely: until somebody brings it to its end, or undoes it."""
    url = umami_database
    with connect(url) as other:
        if ending == "error":  # the name is taken: a table has a type of its name
            other.execute("CREATE TYPE website_event_default AS ENUM ('mine')")
            other.commit()
            said = partition(url, *VERBS["enable"], code=1).err
        else:  # it may be, says the server, and lets it wait
            other.execute("CREATE TABLE website_event_default (mine int)")
            process = Process("partition", *VERBS["enable"], url=url)
            trigger = statement("SELECT COUNT(*) FROM pg_trigger WHERE tgname = '_umami_ops_parked'")
            with backups.opened(url) as looking:
                until(lambda: looking.value(trigger) == 1)
            process.send(signal.SIGTERM)
            ended = process.wait()
            assert ended.code == 3, ended.said
            said = ended.out
            other.execute("ROLLBACK")
    boundary = end_of("month", datetime.now(UTC) + timedelta(days=1))
    words = f"events of {boundary:%Y-%m-%d} and later are dated just before that day"
    assert words in " ".join(said.split())
    assert words in str(partition(url, "status", "--json").document["notes"])
    partition(url, *VERBS["disable"])
    assert 'notes": []' in partition(url, "status", "--json").out
