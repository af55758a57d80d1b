"""What must not happen in a move: values that can't cross, a source that is written to, rights that lack."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from testbed.bulk import connect
from testbed.servers import Server
from testbed.sessions import end_sessions
from testbed.umami import create_umami
from tests import command, moving
from tests.plugins.directions import Direction
from umami_ops.databases.postgresql import ddl
from umami_ops.databases.registry import open_database
from umami_ops.databases.transit import EVERYTHING
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import Refused
from umami_ops.execute import RunLock
from umami_ops.execute import execute as carry_out
from umami_ops.execute.events import StepBegan
from umami_ops.operations import namesakes
from umami_ops.operations.migrate import Wish, plan_migrate
from umami_ops.transfer import ledger
from umami_ops.umami.migrations import latest_released_level
from umami_ops.umami.schema import schema_at

READER, PASSWORD = "umami_ops_reader", "only-reads-1"
IDS = [f"0000000{number}-0000-4000-8000-000000000000" for number in range(9)]


def run(source: str, target: str, *arguments: str) -> command.Outcome:
    return command.run(
        "migrate", "--yes", "--json", *arguments, url=source, env={"TARGET_DATABASE_URL": target}
    )


def execute(url: str, *statements: str) -> None:
    with connect(url) as loader:
        for statement in statements:
            loader.execute(statement)


def event(number: int, column: str, value: str) -> str:
    """Return a statement that inserts an event with this expression in one column."""
    ids = ", ".join(f"'{IDS[number]}'" for _ in range(4))
    path = "" if column == "url_path" else ", url_path"
    plain = "" if column == "url_path" else ", '/'"
    return (
        f"INSERT INTO website_event (event_id, website_id, session_id, visit_id{path}, {column}) "
        f"VALUES ({ids}{plain}, {value})"
    )


def findings(outcome: command.Outcome) -> dict[str, Any]:
    return {f"{item['table']}.{item['column']}": item for item in outcome.document["findings"]}


@pytest.mark.dialects("postgresql", "mysql")
def test_dates_that_mysql_cannot_hold(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    execute(
        source,
        event(1, "created_at", "'1969-12-31 23:59:59+00'"),
        event(2, "created_at", "'2038-01-19 03:14:08+00'"),
        event(3, "created_at", "'2038-01-19 03:14:07.999999+00'"),
        event(4, "created_at", "'1970-01-01 00:00:01+00'"),
        event(5, "created_at", "'infinity'"),
        event(6, "created_at", "NULL"),
    )
    refused = run(source, target_url)
    assert refused.code == 5
    found = findings(refused)["website_event.created_at"]
    assert (found["rows"], set(found["examples"])) == (3, {IDS[1], IDS[2], IDS[5]})
    with moving.connect(target_url) as connection:
        assert connection.transit().describe().tables == ()
    outcome = run(source, target_url, "--on-date", "clamp")
    assert outcome.code == 0, outcome.said
    with connect(target_url) as loader:
        loader.execute("SET time_zone = '+00:00'")
        rows = loader.execute("SELECT CAST(created_at AS CHAR) FROM website_event ORDER BY event_id")
    low, high = "1970-01-01 00:00:01", "2038-01-19 03:14:07"
    assert [row[0] for row in rows] == [low, high, high, low, high, None]


@pytest.mark.dialects("postgresql", "mysql")
def test_dates_become_null_where_that_is_wished(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    execute(source, event(1, "created_at", "'1960-01-01'"))
    outcome = run(source, target_url, "--on-date", "null")
    assert outcome.code == 0, outcome.said
    with connect(target_url) as loader:
        assert loader.execute("SELECT created_at FROM website_event") == [(None,)]


@pytest.mark.dialects("postgresql", "mysql")
def test_names_alike_to_mysql(direction: Direction, source_at: Callable[[int], str], target_url: str) -> None:
    source = source_at(13)
    names = ["Bob", "bob", "Zoe", "zoé ", "alone", "x😀", "x😁"]
    execute(
        source,
        *(
            'INSERT INTO "user" (user_id, username, password, role) '
            f"VALUES ('{IDS[n]}', '{name}', 'x', 'user')"
            for n, name in enumerate(names)
        ),
    )
    refused = run(source, target_url)
    assert refused.code == 5
    found = findings(refused)["user.username"]
    assert (found["rows"], found["examples"]) == (6, ["Bob and bob", "Zoe and zoé ", "x😀 and x😁"])
    outcome = run(source, target_url, "--on-same-name", "rename")
    assert outcome.code == 0, outcome.said
    assert findings(outcome)["user.username"]["becomes"] == "bob-2, zoé-2, x😁-2"
    with connect(target_url) as loader:
        rows = loader.execute("SELECT username FROM `user` WHERE role = 'user' ORDER BY user_id")
    assert [row[0] for row in rows] == ["Bob", "bob-2", "Zoe", "zoé-2", "alone", "x😀", "x😁-2"]


def test_a_new_name_is_nobodys_and_fits() -> None:
    same = [[("1", "Bob"), ("2", "bob"), ("3", "BOB")], [("4", "x" * 10), ("5", "X" * 10)]]
    renamed = namesakes.renames(same, ["Bob", "bob", "BOB", "bob-2", "x" * 10, "X" * 10], 10)
    assert renamed == {"2": "bob-3", "3": "BOB-4", "5": "XXXXXXXX-2"}


@pytest.mark.dialects("postgresql", "mysql")
def test_blanks_at_the_end_of_a_region(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    execute(
        source,
        f"INSERT INTO session (session_id, website_id, region) VALUES ('{IDS[1]}', '{IDS[1]}', 'DE-BY  ')",
        f"INSERT INTO session (session_id, website_id, region) VALUES ('{IDS[2]}', '{IDS[1]}', 'DE-BE')",
    )
    refused = run(source, target_url)
    assert (refused.code, findings(refused)["session.region"]["examples"]) == (5, [IDS[1]])
    outcome = run(source, target_url, "--on-blank", "trim")
    assert outcome.code == 0, outcome.said
    with connect(target_url) as loader:
        rows = loader.execute("SELECT region FROM session ORDER BY session_id")
    assert [row[0] for row in rows] == ["DE-BY", "DE-BE"]


def test_what_must_be_unique_and_is_not(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    on = "" if direction.source.dialect == "postgresql" else " ON website"
    execute(
        source,
        f"DROP INDEX website_share_id_key{on}",
        *(
            f"INSERT INTO website (website_id, name, share_id) VALUES ('{IDS[n]}', 'w', 'the-same')"
            for n in (1, 2)
        ),
    )
    refused = run(source, target_url)
    assert refused.code == 5
    found = findings(refused)["website.share_id"]
    assert (found["rows"], found["becomes"]) == (2, None)
    with moving.connect(target_url) as connection:
        assert connection.transit().describe().tables == ()


@pytest.mark.dialects("mysql", "postgresql")
def test_zero_dates(direction: Direction, source_at: Callable[[int], str], target_url: str) -> None:
    source = source_at(13)
    execute(
        source,
        "SET SESSION sql_mode = ''",
        event(1, "created_at", "'0000-00-00 00:00:00'"),
        event(2, "created_at", "'2024-02-29 00:00:00'"),
    )
    refused = run(source, target_url)
    assert (refused.code, findings(refused)["website_event.created_at"]["examples"]) == (5, [IDS[1]])
    outcome = run(source, target_url, "--on-zero-date", "null")
    assert outcome.code == 0, outcome.said
    with connect(target_url) as loader:
        rows = loader.execute("SELECT created_at IS NULL FROM website_event ORDER BY event_id")
    assert [bool(row[0]) for row in rows] == [True, False]


@pytest.mark.dialects("mysql", "postgresql")
def test_characters_and_numbers_that_postgresql_cannot_hold(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    execute(
        source,
        event(1, "page_title", "CONCAT('a', CHAR(0 USING utf8mb4), 'b')"),
        event(2, "event_type", "4294967295"),
        event(3, "page_title", "'harmless'"),
        "INSERT INTO segment (segment_id, website_id, type, name, parameters) "
        f"VALUES ('not-a-uuid', '{IDS[1]}', 't', 'n', CONCAT('{{\"a\": \"', CHAR(92), 'u0000\"}}'))",
        "INSERT INTO segment (segment_id, website_id, type, name, parameters) "
        f"VALUES ('{IDS[2]}', '{IDS[1]}', 't', 'n', CONCAT('{{\"a\": \"', CHAR(92), CHAR(92), 'u0000\"}}'))",
    )
    refused = run(source, target_url)
    assert refused.code == 5
    counts = {name: found["rows"] for name, found in findings(refused).items()}
    assert counts == {
        "segment.parameters": 1,
        "segment.segment_id": 1,
        "website_event.page_title": 1,
        "website_event.event_type": 1,
    }
    execute(
        source,
        "UPDATE website_event SET event_type = 1 WHERE event_type > 2",
        "DELETE FROM segment WHERE segment_id = 'not-a-uuid'",
    )
    outcome = run(source, target_url, "--on-nul", "remove")
    assert outcome.code == 0, outcome.said
    with connect(target_url) as loader:
        title = f"SELECT page_title FROM website_event WHERE event_id = '{IDS[1]}'"
        assert loader.execute(title) == [("ab",)]
        assert loader.execute("SELECT parameters ->> 'a' FROM segment") == [("\\u0000",)]


def test_the_source_needs_the_right_to_read_alone(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    with connect(source) as loader:
        for number in range(30):
            loader.load(moving.batch("website_event", moving.awkward_event(number, "x")))
    before = proofs(source)
    with reader_of(direction.source, source) as reading:
        outcome = run(reading, target_url)
        assert outcome.code == 0, outcome.said
        assert PASSWORD not in outcome.said
    assert proofs(source) == before


def test_verify_needs_the_right_to_read_alone(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    """At the target, too: where a move has ended, nobody has to look into what it kept its ledger in."""
    source = source_at(13)
    assert run(source, target_url).code == 0
    with reader_of(direction.target, target_url) as reading:
        answer = command.run("verify", "--json", url=source, env={"TARGET_DATABASE_URL": reading})
    assert (answer.code, answer.document["equal"]) == (0, True), answer.said


@contextmanager
def reader_of(server: Server, url: str) -> Iterator[str]:
    """Yield the URL of a user who may read this database, hold it still for a moment, and no more."""
    parts = urlsplit(server.as_admin(url))
    admin = parts.geturl()
    if server.dialect == "postgresql":
        execute(
            admin,
            f"DROP ROLE IF EXISTS {READER}",
            f"CREATE ROLE {READER} LOGIN PASSWORD '{PASSWORD}'",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}",
        )
    else:
        execute(
            admin,
            f"DROP USER IF EXISTS {READER}@'%'",
            f"CREATE USER {READER}@'%' IDENTIFIED BY '{PASSWORD}'",
            f"GRANT SELECT, LOCK TABLES ON `{parts.path[1:]}`.* TO {READER}@'%'",
        )
    try:
        yield parts._replace(netloc=f"{READER}:{PASSWORD}@{parts.hostname}:{parts.port}").geturl()
    finally:
        if server.dialect == "postgresql":
            execute(admin, f"DROP OWNED BY {READER}", f"DROP ROLE {READER}")
        else:
            execute(admin, f"DROP USER {READER}@'%'")


def proofs(url: str) -> dict[str, Any]:
    """Return what the server says of every table, and which there are."""
    with moving.connect(url) as connection:
        names = [table.name for table in connection.transit().describe().tables]
        return {
            name: connection.transit().prove(moving.rows_in(connection, name), EVERYTHING) for name in names
        }


#: By the source: names that only one schema can hold twice, and a key that only one server takes as it is.
NAMED = {
    "mysql": (
        "CREATE TABLE a_note (id bigint, user_id bigint, KEY user_id (user_id), KEY ours (id))",
        "CREATE TABLE b_note (user_id bigint, KEY user_id (user_id))",
    ),
    "postgresql": (
        "CREATE TABLE worded (word text PRIMARY KEY, n integer)",
        "INSERT INTO worded VALUES ('one', 1), ('two', 2)",
    ),
}
#: What becomes of it, by the target.
BECOMES = {
    "postgresql": {
        "index user_id on b_note: it becomes b_note_user_id_idx, as the name is taken.",
        "index ours on a_note: it becomes a_note_ours_idx, as the name is taken.",
    },
    "mysql": {
        "column worded.word: text becomes varchar(255).",
    },
}


def test_users_tables_and_columns_come_along(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    execute(
        source,
        "ALTER TABLE session ADD COLUMN note varchar(40)",
        "CREATE TABLE ours (id bigint NOT NULL PRIMARY KEY, word varchar(20), amount decimal(9,2))",
        "INSERT INTO ours VALUES (1, 'a\"b', 1.50), (2, NULL, -7.25), (10, '', 0)",
        "CREATE VIEW seen AS SELECT session_id FROM session",
        *NAMED[direction.source.dialect],
    )
    outcome = run(source, target_url)
    assert outcome.code == 0, outcome.said
    assert {"ours", "session"} <= {table["table"] for table in outcome.document["proof"]}
    assert any("view seen" in note["text"] for note in outcome.document["notes"])
    notes = {note["text"].partition(": ")[2] for note in outcome.document["notes"]}
    assert notes.issuperset(BECOMES[direction.target.dialect]), notes
    with connect(target_url) as loader:
        rows = loader.execute("SELECT id, word, amount FROM ours ORDER BY id")
        loader.execute("SELECT note FROM session")
    assert [(int(i), word, float(amount)) for i, word, amount in rows] == [
        (1, 'a"b', 1.5),
        (2, None, -7.25),
        (10, "", 0),
    ]


@pytest.mark.dialects("postgresql", "mysql")
def test_v3_goes_down_to_mysql_only_when_asked(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(19)
    site, other = IDS[1], IDS[2]
    execute(
        source,
        f"INSERT INTO website (website_id, name) VALUES ('{site}', 'One'), ('{other}', 'Two')",
        "INSERT INTO share (share_id, entity_id, name, share_type, slug, parameters, created_at) VALUES "
        f"('{IDS[3]}', '{site}', 'a', 1, 'first', '{{}}', '2025-01-01'), "
        f"('{IDS[4]}', '{site}', 'b', 1, 'second', '{{}}', '2025-02-01')",
        "INSERT INTO report (report_id, user_id, website_id, type, name, description, parameters) "
        f"VALUES ('{IDS[5]}', '{IDS[6]}', '{site}', 'funnel', 'Checkout', '', '{{}}')",
        f"INSERT INTO link (link_id, name, url, slug) VALUES ('{IDS[7]}', 'l', 'u', 's')",
    )
    refused = run(source, target_url)
    assert refused.code == 5
    assert "--downgrade" in refused.err
    outcome = run(source, target_url, "--downgrade")
    assert outcome.code == 0, outcome.said
    notes = " ".join(note["text"] for note in outcome.document["notes"])
    assert "table link, 1 rows" in notes
    assert "1 others have no home" in notes
    assert "Checkout" in notes
    proven = command.run("verify", "--json", url=source, env={"TARGET_DATABASE_URL": target_url})
    assert (proven.code, proven.document["equal"]) == (1, False)
    assert {"link", "share"} <= set(proven.document["lacking_tables"])
    assert "website_event.lcp" in proven.document["lacking_columns"]
    assert all(table["equal"] for table in proven.document["tables"])
    with connect(target_url) as loader:
        shares = loader.execute("SELECT name, share_id FROM website ORDER BY name")
        count = loader.execute("SELECT COUNT(*) FROM _prisma_migrations")
    assert shares == [("One", "first"), ("Two", None)]
    assert count == [(13,)]


def test_what_others_hang_on_is_not_dropped(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    """No table goes before it is clear that all of them can."""
    source = source_at(13)
    create_umami(target_url, 13)
    execute(target_url, f"INSERT INTO website (website_id, name) VALUES ('{IDS[1]}', 'theirs')")
    ours = "CREATE TABLE ours (website_id {} REFERENCES website (website_id))"
    if direction.target.dialect == "mysql":
        ours = "CREATE TABLE ours (website_id {0}, FOREIGN KEY (website_id) REFERENCES website (website_id))"
    holders = {
        "ours": ours.format(
            "uuid" if direction.target.dialect == "postgresql" else "varchar(36) COLLATE utf8mb4_unicode_ci"
        )
    }
    if direction.target.dialect == "postgresql":
        holders["seen"] = "CREATE VIEW seen AS SELECT event_id FROM website_event"
    for name, statement in holders.items():
        execute(target_url, statement)
        before = proofs(target_url)
        for outcome in (
            run(source, target_url, "--replace", "--dry-run"),
            run(source, target_url, "--replace"),
        ):
            assert (outcome.code, f"replaced: {name}" in outcome.err) == (5, True), outcome.said
        assert proofs(target_url) == before
        execute(target_url, f"DROP {'VIEW' if name == 'seen' else 'TABLE'} {name}")
    assert run(source, target_url, "--replace").code == 0


@pytest.mark.parametrize("is_fresh", [False, True])
def test_what_has_come_to_the_target_since_the_plan_stays(
    direction: Direction, source_at: Callable[[int], str], target_url: str, is_fresh: bool
) -> None:
    source = open_database(DatabaseUrl.parse(source_at(13)))
    target = open_database(DatabaseUrl.parse(target_url))
    if is_fresh:
        create_umami(target_url, 13)
    with source.connect() as here, target.connect() as there:
        plan = plan_migrate(here, there, Wish())
    if not is_fresh:
        create_umami(target_url, 13)
    execute(target_url, f"INSERT INTO website (website_id, name) VALUES ('{IDS[1]}', 'theirs')")
    before = proofs(target_url)
    with (
        RunLock(target, "migrate") as lock,
        pytest.raises(Refused, match="changed since the plan was made: .*website") as caught,
    ):
        carry_out(plan, target, lock=lock, source=source)
    assert caught.value.done == "Nothing was changed."
    assert proofs(target_url) == before


def test_what_has_begun_at_a_complete_target_since_the_plan_is_noticed(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    """A move by somebody else, broken off; or Umami's next migration, while a person reads the plan."""
    source = open_database(DatabaseUrl.parse(source_at(13)))
    target = open_database(DatabaseUrl.parse(target_url))
    create_umami(target_url, 13)
    execute(target_url, "DELETE FROM website")
    with source.connect() as here, target.connect() as there:
        plan = plan_migrate(here, there, Wish(catch_up=True))
        execute(target_url, "ALTER TABLE session ADD COLUMN note varchar(40)")
        with RunLock(target, "migrate") as lock, pytest.raises(Refused, match="its schema"):
            carry_out(plan, target, lock=lock, source=source)
        plan = plan_migrate(here, there, Wish(catch_up=True))
        execute(target_url, "DROP TABLE _prisma_migrations")
        with RunLock(target, "migrate") as lock, pytest.raises(Refused, match="_prisma_migrations"):
            carry_out(plan, target, lock=lock, source=source)


def test_a_ledger_left_behind_the_end_costs_no_row(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    """Killed between Prisma's records and the ledger's end, where Umami has run since."""
    source = source_at(13)
    execute(source, event(1, "url_path", "'/'"))
    assert run(source, target_url).code == 0
    with moving.connect(target_url) as there:
        ledger.begin(there, DatabaseUrl.parse(source).place, 13)
    execute(target_url, event(2, "url_path", "'/since'"))
    before = proofs(target_url)["website_event"]
    refused = run(source, target_url)
    assert (refused.code, "--catch-up" in refused.err) == (5, True), refused.said
    assert proofs(target_url)["website_event"] == before
    execute(target_url, f"DELETE FROM website_event WHERE event_id = '{IDS[2]}'")
    assert run(source, target_url, "--catch-up").code == 0
    with moving.connect(target_url) as there:
        assert ledger.entries(there) == []


#: By the source: numbers of more digits than a server shows, and letters that it stores in its own way.
OWN_VALUES = {
    "mysql": (
        "CREATE TABLE measured (id bigint NOT NULL PRIMARY KEY, f float, d double)",
        "CREATE TABLE lettered (id bigint NOT NULL PRIMARY KEY, word varchar(20)) CHARACTER SET latin1",
    ),
    "postgresql": (
        "CREATE TABLE measured (id bigint NOT NULL PRIMARY KEY, f real, d double precision)",
        "CREATE TABLE lettered (id bigint NOT NULL PRIMARY KEY, word varchar(20))",
    ),
}
DOUBLES = {1: 1.2345678901234567, 2: 1e22, 3: 5e-324, 4: -0.1}
SINGLES = {1: 1.234567, 2: 16777216.0, 3: -3.402823e38, 4: 0.1}
WORDS = ("é", "Ã©", "plain")


def test_numbers_and_letters_of_users_own_arrive_as_they_are(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    execute(
        source,
        *OWN_VALUES[direction.source.dialect],
        *(f"INSERT INTO measured VALUES ({n}, {SINGLES[n]!r}, {DOUBLES[n]!r})" for n in DOUBLES),
        *(f"INSERT INTO lettered VALUES ({n}, '{word}')" for n, word in enumerate(WORDS)),
    )
    outcome = run(source, target_url)
    assert outcome.code == 0, outcome.said
    wide = "CAST(f AS double precision)" if direction.target.dialect == "postgresql" else "f + 0e0"
    with connect(target_url) as loader:
        numbers = loader.execute(f"SELECT {wide}, d FROM measured ORDER BY id")
        words = loader.execute("SELECT word FROM lettered ORDER BY id")
    singles = [struct.unpack("f", struct.pack("f", value))[0] for value in SINGLES.values()]
    assert numbers == list(zip(singles, DOUBLES.values(), strict=True))
    assert words == [(word,) for word in WORDS]


@pytest.mark.dialects("postgresql", "mysql")
def test_times_that_no_datetime_holds(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    execute(
        source,
        "CREATE TABLE seen (id bigint NOT NULL PRIMARY KEY, seen_at timestamptz(3), at timestamp, day date)",
        "INSERT INTO seen VALUES (1, 'infinity', NULL), (2, '0044-03-15 00:00:00 BC', '-infinity')",
        "INSERT INTO seen VALUES (3, '9999-12-31 23:59:59.999', '0001-01-01', '0001-01-01')",
        "UPDATE seen SET day = '0001-12-31 BC' WHERE id = 1",
    )
    refused = run(source, target_url)
    assert refused.code == 5, refused.said
    found = findings(refused)
    assert [found[f"seen.{name}"]["rows"] for name in ("seen_at", "at", "day")] == [2, 1, 1]
    execute(source, "DELETE FROM seen WHERE id < 3")
    outcome = run(source, target_url)
    assert outcome.code == 0, outcome.said


@pytest.mark.dialects("postgresql", "mysql")
def test_numbers_that_are_none(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    execute(
        source,
        "CREATE TABLE measured (id bigint NOT NULL PRIMARY KEY, f real, price numeric(9,2))",
        "INSERT INTO measured VALUES (1, 'NaN', 'NaN'), (2, '-Infinity', 1), (3, NULL, NULL), (4, 1e38, -1)",
    )
    refused = run(source, target_url)
    found = {name: item["rows"] for name, item in findings(refused).items()}
    assert (refused.code, found) == (5, {"measured.f": 2, "measured.price": 1}), refused.said
    execute(source, "DELETE FROM measured WHERE id < 3")
    outcome = run(source, target_url)
    assert outcome.code == 0, outcome.said


@pytest.mark.dialects("postgresql", "mysql")
def test_a_date_style_of_ones_own_changes_no_date(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    name = urlsplit(source).path.removeprefix("/")
    execute(source, event(1, "created_at", "'2025-02-03 04:05:06+00'"))
    execute(source, f"ALTER DATABASE {name} SET datestyle = 'SQL, DMY'")
    outcome = run(source, target_url)
    assert outcome.code == 0, outcome.said
    with connect(target_url) as loader:
        assert loader.execute("SELECT CAST(created_at AS CHAR) FROM website_event") == [
            ("2025-02-03 04:05:06",)
        ]


@pytest.mark.dialects("mysql", "postgresql")
def test_numbers_and_days_that_mysql_alone_writes_so(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    """Zeros in front of numbers, bits, and days that are in no calendar."""
    source = source_at(13)
    execute(
        source,
        "SET SESSION sql_mode = ''",
        "CREATE TABLE filled (id int(5) unsigned zerofill NOT NULL PRIMARY KEY, price decimal(8,2) zerofill,"
        " flag bit(1) NOT NULL DEFAULT b'1', bits bit(64), day date)",
        "INSERT INTO filled VALUES (7, 1.5, b'0', 18446744073709551615, '2024-02-29'),"
        " (42, NULL, b'1', NULL, '2024-00-10'), (100000, 0, b'1', 0, '0000-05-05')",
    )
    refused = run(source, target_url)
    assert (refused.code, findings(refused)["filled.day"]["rows"]) == (5, 2), refused.said
    outcome = run(source, target_url, "--on-zero-date", "null")
    assert outcome.code == 0, outcome.said
    with connect(target_url) as loader:
        rows = loader.execute("SELECT id, price, flag, bits, CAST(day AS text) FROM filled ORDER BY id")
    assert rows == [
        (7, Decimal("1.50"), 0, 2**64 - 1, "2024-02-29"),
        (42, None, 1, None, None),
        (100000, 0, 1, 0, None),
    ]


@pytest.mark.dialects("mysql", "postgresql")
def test_a_target_that_has_not_all_letters_is_refused(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    parts = urlsplit(target_url)
    name = f"{parts.path[1:]}_ascii"
    made = (
        f"CREATE DATABASE {name} OWNER {parts.username} ENCODING 'SQL_ASCII'"
        " LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    with psycopg.connect(direction.target.as_admin(target_url), autocommit=True) as admin:
        admin.execute(made)
        try:
            refused = run(source, parts._replace(path=f"/{name}").geturl())
            assert (refused.code, "SQL_ASCII" in refused.err) == (5, True), refused.said
        finally:
            admin.execute(f"DROP DATABASE {name}")


@pytest.mark.dialects("mysql", "postgresql")
def test_sessions_lost_while_indexes_are_built_are_made_up_for(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    """New ones see a later moment, and what has come till then is brought over, too."""
    url = source_at(13)
    source, target = (open_database(DatabaseUrl.parse(item)) for item in (url, target_url))
    with source.connect() as here, target.connect() as there:
        plan = plan_migrate(here, there, Wish())

    def observe(found: object) -> None:
        if isinstance(found, StepBegan) and found.title == "indexing":
            with connect(direction.source.as_admin(url)) as loader:
                others = loader.execute(
                    f"SELECT id FROM information_schema.processlist WHERE db = '{urlsplit(url).path[1:]}'"
                    " AND id <> CONNECTION_ID()"
                )
                end_sessions(loader, [row[0] for row in others])
            execute(url, event(1, "page_title", "'late'"))

    with RunLock(target, "migrate") as lock:
        report = carry_out(plan, target, lock=lock, source=source, observer=observe)
    assert {verdict.table: verdict.target_rows for verdict in report.verdicts}["website_event"] == 1


@pytest.mark.dialects("mysql", "postgresql")
def test_values_without_a_text_are_refused(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    execute(source, "ALTER TABLE session ADD COLUMN place point", "UPDATE session SET place = POINT(1, 2)")
    refused = run(source, target_url)
    assert (refused.code, "session.place has a type that can't be taken along: point" in refused.err) == (
        5, True,
    ), refused.said  # fmt: skip
    with moving.connect(target_url) as connection:
        assert connection.transit().describe().tables == ()


@pytest.mark.dialects("postgresql", "mysql")
def test_a_long_link_goes_down_to_mysql_only_when_asked(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    """A link that was cut opens nothing any more; two that are the same then can't both be there."""
    source = source_at(19)
    sites, long = (IDS[1], IDS[2]), "s" * 50
    for number, site in enumerate(sites):
        execute(
            source,
            f"INSERT INTO website (website_id, name) VALUES ('{site}', 'w')",
            "INSERT INTO share (share_id, entity_id, name, share_type, slug, parameters) "
            f"VALUES ('{IDS[3 + number]}', '{site}', 'a', 1, '{long}-and-{number}', '{{}}')",
        )
    refused = run(source, target_url, "--downgrade")
    found = findings(refused)["website.share_id"]
    assert (refused.code, found["rows"], found["option"]) == (5, 2, "--on-long")
    cut = run(source, target_url, "--downgrade", "--on-long", "truncate")
    assert (cut.code, findings(cut)["website.share_id"]["option"]) == (5, None)
    execute(source, f"DELETE FROM share WHERE share_id = '{IDS[4]}'")
    outcome = run(source, target_url, "--downgrade", "--on-long", "truncate")
    assert (outcome.code, findings(outcome)["website.share_id"]["becomes"]) == (0, "truncate"), outcome.said
    with connect(target_url) as loader:
        assert loader.execute("SELECT share_id FROM website ORDER BY website_id") == [(long,), (None,)]


@pytest.mark.dialects("postgresql", "postgresql")
@pytest.mark.every_direction
def test_v3_moves_between_postgresql_servers(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    for level in (19, 23):
        source, target = source_at(level), direction.target.create_database()
        try:
            outcome = run(source, target)
            assert outcome.code == 0, outcome.said
            with moving.connect(source) as here, moving.connect(target) as there:
                tables = [
                    [
                        (t.name, set(t.columns), set(t.indexes), t.primary_key)
                        for t in c.transit().describe().tables
                    ]
                    for c in (here, there)
                ]
            assert tables[0] == tables[1]
        finally:
            direction.target.drop_database(target)


@pytest.mark.dialects("mysql", "postgresql")
def test_later_migrations_of_umami_apply_on_a_migrated_target(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    """Up to the last release, in our words: columns altered and added, indexes dropped by name."""
    assert run(source_at(13), target_url).code == 0
    latest = latest_released_level("postgresql")
    assert latest > 17
    for level in range(13, latest):
        execute(target_url, *migration(level))
    with moving.connect(target_url) as connection:
        found = {table.name: table for table in connection.transit().describe().tables}
    for table in schema_at("postgresql", latest).tables:
        other = found[table.name]
        assert other.primary_key == table.primary_key, table.name
        assert (set(other.columns), set(other.indexes)) == (set(table.columns), set(table.indexes)), (
            table.name
        )


def migration(level: int) -> Iterator[str]:
    """Yield what makes the next level of this one, as plainly as Umami does: without IF EXISTS."""
    before = schema_at("postgresql", level)
    for table in schema_at("postgresql", level + 1).tables:
        if table.name not in before:
            yield from ddl.create_statements(table)
            continue
        old, alter = before.table(table.name), f'ALTER TABLE "{table.name}"'
        yield from (f'DROP INDEX "{index.name}"' for index in set(old.indexes) - set(table.indexes))
        for column in table.columns:
            if column.name not in old.column_names:
                yield f"{alter} ADD COLUMN {ddl.column_definition(column)}"
            elif column != (was := old.column(column.name)):
                assert (column.nullable, column.default) == (was.nullable, was.default)
                yield f'{alter} ALTER COLUMN "{column.name}" SET DATA TYPE {column.type}'
        gone = set(old.column_names) - set(table.column_names)
        yield from (f'{alter} DROP COLUMN "{name}"' for name in gone)
        added = tuple(index for index in table.indexes if index not in old.indexes)
        yield from ddl.index_statements(replace(table, indexes=added))


def test_a_user_who_may_not_create_is_refused(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    parts = urlsplit(direction.target.as_admin(target_url))
    admin = parts.geturl()
    if direction.target.dialect == "postgresql":
        execute(admin, f"DROP ROLE IF EXISTS {READER}", f"CREATE ROLE {READER} LOGIN PASSWORD '{PASSWORD}'")
    else:
        execute(
            admin,
            f"DROP USER IF EXISTS {READER}@'%'",
            f"CREATE USER {READER}@'%' IDENTIFIED BY '{PASSWORD}'",
            f"GRANT SELECT ON `{parts.path[1:]}`.* TO {READER}@'%'",
        )
    poor = parts._replace(netloc=f"{READER}:{PASSWORD}@{parts.hostname}:{parts.port}").geturl()
    try:
        outcome = run(source, poor)
        assert outcome.code == 5, outcome.said
        assert "lacks" in outcome.err
        assert PASSWORD not in outcome.said
    finally:
        execute(
            admin,
            f"DROP ROLE {READER}" if direction.target.dialect == "postgresql" else f"DROP USER {READER}@'%'",
        )


@pytest.mark.dialects("postgresql", "mysql")
def test_rows_that_a_policy_hides_are_not_left_behind(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    """Both servers would agree about none: without a policy for the user a table looks empty."""
    source = source_at(13)
    execute(source, event(1, "page_title", "'hidden'"))
    admin = direction.source.as_admin(source)
    parts = urlsplit(admin)
    execute(
        admin,
        "ALTER TABLE website_event ENABLE ROW LEVEL SECURITY",
        f"DROP ROLE IF EXISTS {READER}",
        f"CREATE ROLE {READER} LOGIN PASSWORD '{PASSWORD}'",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}",
    )
    try:
        reading = parts._replace(netloc=f"{READER}:{PASSWORD}@{parts.hostname}:{parts.port}").geturl()
        refused = run(reading, target_url)
        assert refused.code == 5, refused.said
        assert "row-level security" in refused.err
    finally:
        execute(admin, f"DROP OWNED BY {READER}", f"DROP ROLE {READER}")


@pytest.mark.dialects("mysql", "postgresql")
def test_the_new_address_is_told_with_its_schema(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source, target = source_at(13), f"{target_url}?schema=other&sslmode=prefer&sslpassword=hidden"
    for option in ("--dry-run", "--on-nul=remove"):
        refused = run(source, target, option)
        assert (refused.code, "has no schema other" in refused.err) == (5, True), refused.said
    execute(target_url, "CREATE SCHEMA other")
    outcome = command.run(
        "migrate", "--yes", "--on-nul=remove", url=source, env={"TARGET_DATABASE_URL": target}
    )
    assert outcome.code == 0, outcome.said
    assert f"{target_url.rpartition('@')[2]}?schema=other&sslmode=prefer\n" in outcome.out
    assert "umami-ops migrate --on-nul remove --catch-up\n" in outcome.out
    assert "hidden" not in outcome.said
    with moving.connect(target_url) as connection:
        assert connection.transit().describe().tables == ()


def test_source_and_target_must_be_two(direction: Direction, source_at: Callable[[int], str]) -> None:
    source = source_at(13)
    by_name = source.replace("@127.0.0.1:", "@localhost:")
    assert by_name != source
    moved, again = run(source, source), run(source, by_name)
    proven = command.run("verify", "--json", url=source, env={"TARGET_DATABASE_URL": by_name})
    for outcome in (moved, again, proven):
        assert (outcome.code, outcome.out) == (5, "")
        assert "same database" in outcome.err
        assert "--target-url" in outcome.err


def test_the_target_must_be_what_to_says(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    wrong = "mysql" if direction.target.dialect == "postgresql" else "postgresql"
    outcome = run(source_at(1), target_url, "--to", wrong)
    assert outcome.code == 5
    assert "--to" in outcome.err


@pytest.mark.parametrize(
    ("target", "arguments", "sentence"),
    [
        ("mysql", ["--delete-extra"], "--delete-extra belongs to --catch-up"),
        ("mysql", ["--replace", "--catch-up"], "--replace drops the target's tables"),
        ("postgresql", ["--downgrade"], "--downgrade is for a move to MySQL"),
    ],
)
def test_options_that_would_do_nothing_are_named(target: str, arguments: list[str], sentence: str) -> None:
    outcome = run("postgresql://nobody@localhost:1/a", f"{target}://nobody@localhost:1/b", *arguments)
    assert outcome.code == 2
    assert sentence in outcome.err


def test_without_a_target_it_says_what_to_set(source_at: Callable[[int], str]) -> None:
    outcome = command.run("migrate", "--yes", url=source_at(1))
    assert outcome.code == 2
    assert "TARGET_DATABASE_URL" in outcome.err
