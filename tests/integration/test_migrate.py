"""`umami-ops migrate` and `verify`, from each server to each other: the same rows, schema and records."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from testbed.bulk import connect
from testbed.traffic import Traffic, populate
from testbed.umami import create_umami
from tests import command, moving
from tests.plugins.directions import Direction
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.execute import RowsMoved, RunLock
from umami_ops.execute import execute as carry_out
from umami_ops.operations.inspect import inspect
from umami_ops.operations.migrate import Wish, plan_migrate
from umami_ops.operations.sides import pairs_of
from umami_ops.sql import Query
from umami_ops.transfer.comparison import sums_that_differ
from umami_ops.transfer.schema import Side, translate
from umami_ops.umami.migrations import migrations
from umami_ops.umami.schema import Table, schema_at

OWN = "00000001-0000-4000-8000-000000000000"
START, END = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC)

#: Tables that weren't vacuumed and analysed, or of which PostgreSQL doesn't know that all see every row;
#: the latter not where autovacuum was here, whose session VACUUM may have had to heed.
_UNSETTLED = (
    "SELECT s.relname FROM pg_stat_user_tables AS s JOIN pg_class AS c ON c.oid = s.relid"
    " WHERE s.schemaname = current_schema() AND s.relname <> '_prisma_migrations'"
    " AND (s.vacuum_count = 0 OR s.analyze_count = 0 OR c.relallvisible < c.relpages"
    " AND NOT EXISTS (SELECT FROM pg_stat_all_tables AS a WHERE a.autovacuum_count + a.autoanalyze_count > 0)"
    " AND NOT EXISTS (SELECT FROM pg_stat_activity AS w WHERE w.datname = current_database()"
    "                 AND w.backend_type = 'autovacuum worker'))"
)


def fill(url: str, level: int = 13) -> None:
    """Put made-up traffic into a database, and awkward events beside it."""
    populate(url, Traffic(START, END, seed=7, events=2_000), level)
    with connect(url) as loader:
        for number, text in enumerate(moving.AWKWARD):
            event = moving.awkward_event(number, text)
            loader.load(moving.batch("website_event", event))


def migrate(source: str, target: str, *arguments: str) -> command.Outcome:
    return command.run("migrate", "--yes", *arguments, url=source, env={"TARGET_DATABASE_URL": target})


def verify(source: str, target: str) -> Any:
    return command.run("verify", "--json", url=source, env={"TARGET_DATABASE_URL": target})


def tables_in(url: str) -> tuple[Table, ...]:
    with moving.connect(url) as connection:
        return connection.transit().describe().tables


def execute(url: str, statement: str) -> list[tuple[Any, ...]]:
    with connect(url) as loader:
        return loader.execute(statement)


def quoted(url: str, name: str) -> str:
    return f'"{name}"' if url.startswith("postgresql") else f"`{name}`"


@pytest.mark.parametrize("level", [13])
@pytest.mark.every_direction
def test_everything_arrives(
    direction: Direction, source_at: Callable[[int], str], target_url: str, level: int
) -> None:
    source = source_at(level)
    fill(source)
    before = tables_in(source)
    outcome = migrate(source, target_url, "--json")
    assert outcome.code == 0, outcome.said
    document = outcome.document
    assert all(table["equal"] for table in document["proof"])
    assert sum(document["moved_rows"].values()) > 3_000
    dialect = direction.target.dialect
    found = tables_in(target_url)
    expected = {table.name: table for table in schema_at(dialect, level).tables}
    assert {table.name for table in found} == {*expected, "_prisma_migrations"}
    for table in found:
        if table.name in expected:
            assert sets(table) == sets(expected[table.name]), table.name
    if dialect == "postgresql":
        assert execute(target_url, _UNSETTLED) == []
    columns = "migration_name, checksum, applied_steps_count, logs, rolled_back_at, finished_at IS NOT NULL"
    records = execute(target_url, f"SELECT {columns} FROM _prisma_migrations ORDER BY 1")
    wanted = [(m.name, m.checksum, 1, None, None, True) for m in migrations(dialect) if m.level <= level]
    assert [tuple(row) for row in records] == wanted
    with moving.connect(target_url) as connection:
        installation = inspect(connection)
        assert (installation.level, [problem.code for problem in installation.problems]) == (level, [])
    answer = verify(source, target_url)
    assert (answer.code, answer.document["equal"]) == (0, True)
    assert tables_in(source) == before


def sets(table: Table) -> tuple[Any, ...]:
    return set(table.columns), table.primary_key, set(table.indexes), set(table.foreign_keys)


def test_verify_names_what_differs(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    fill(source)
    assert migrate(source, target_url).code == 0
    ids = [
        row[0] for row in execute(target_url, "SELECT event_id FROM website_event ORDER BY event_id LIMIT 3")
    ]
    execute(target_url, f"DELETE FROM website_event WHERE event_id = '{ids[0]}'")
    execute(target_url, f"UPDATE website_event SET url_path = 'elsewhere' WHERE event_id = '{ids[1]}'")
    execute(source, f"DELETE FROM website_event WHERE event_id = '{ids[2]}'")
    answer = verify(source, target_url)
    assert answer.code == 1
    (wrong,) = [table for table in answer.document["tables"] if not table["equal"]]
    assert wrong["table"] == "website_event"
    assert (wrong["missing"], wrong["extra"], wrong["changed"]) == tuple(
        [str(key)] for key in (ids[0], ids[2], ids[1])
    )
    assert len(wrong["differing_ranges"]) == 1


def test_values_in_each_others_rows_are_not_where_they_belong(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    """Their sum is the same: documents are compared by value, each with the row that it belongs to."""
    source = source_at(13)
    for number in (1, 2):
        execute(
            source,
            "INSERT INTO segment (segment_id, website_id, type, name, parameters) VALUES "
            f"('{OWN[:-1]}{number}', '{OWN}', 't', 'n', '{{\"n\": {number}}}')",
        )
    assert migrate(source, target_url).code == 0
    assert verify(source, target_url).code == 0
    for number in (1, 2):
        execute(
            target_url,
            f"UPDATE segment SET parameters = '{{\"n\": {3 - number}}}'"
            f" WHERE segment_id = '{OWN[:-1]}{number}'",
        )
    answer = verify(source, target_url)
    (wrong,) = [table for table in answer.document["tables"] if not table["equal"]]
    assert (answer.code, wrong["table"], len(wrong["changed"])) == (1, "segment", 2)


@pytest.mark.dialects("mysql", "postgresql")
def test_ids_in_capitals_are_the_same_ids(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    """MySQL keeps the letters that were written, PostgreSQL the number that they stand for."""
    source = source_at(13)
    event = moving.awkward_event(1, "/")
    capitals = {name: text.upper() if name.endswith("_id") else text for name, text in event.items()}
    with connect(source) as loader:
        loader.load(moving.batch("website_event", capitals))
        # Another event of the same visit, in small letters: one visit and one visitor all the same.
        loader.load(moving.batch("website_event", event | {"event_id": OWN}))
    assert migrate(source, target_url).code == 0
    answer = verify(source, target_url)
    assert (answer.code, answer.document["equal"]) == (0, True)
    execute(target_url, f"UPDATE website_event SET tag = 'x' WHERE event_id = '{event['event_id']}'")
    answer = verify(source, target_url)
    (wrong,) = [table for table in answer.document["tables"] if not table["equal"]]
    assert (answer.code, wrong["changed"]) == (1, [event["event_id"]])


def test_sums_by_website_and_day_are_compared_too(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    fill(source)
    assert migrate(source, target_url).code == 0
    event, other = moving.awkward_event(1, "/"), moving.awkward_event(2, "/")

    def differing() -> list[str]:
        with moving.connect(source) as here, moving.connect(target_url) as there:
            return sums_that_differ([(here, there)], pairs_of(here, there)[0])

    assert differing() == []
    where = f"WHERE event_id = '{event['event_id']}'"
    execute(target_url, f"UPDATE website_event SET website_id = '{other['website_id']}' {where}")
    found = [sentence for sentence in differing() if event["website_id"] in sentence]
    assert sorted(word for word in ("visitors", "visits") for text in found if f"'{word}'" in text) == [
        "visitors",
        "visits",
    ]
    execute(target_url, f"UPDATE website_event SET website_id = '{event['website_id']}' {where}")
    assert differing() == []


def test_verify_names_the_columns_that_the_target_lacks(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    """An old database is deleted on its word, and what is in such a column is nowhere else."""
    source = source_at(13)
    assert migrate(source, target_url).code == 0
    execute(source, "ALTER TABLE website_event ADD COLUMN lcp integer")
    answer = verify(source, target_url)
    assert (answer.code, answer.document["equal"]) == (1, False)
    assert answer.document["lacking_columns"] == ["website_event.lcp"]
    assert all(table["equal"] for table in answer.document["tables"])
    told = command.run("verify", url=source, env={"TARGET_DATABASE_URL": target_url})
    assert "The target has no column website_event.lcp." in told.out
    assert "In all else both hold the same" in told.out
    execute(target_url, "ALTER TABLE website_event ADD COLUMN lcp integer")
    assert verify(source, target_url).code == 0


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE website_event ADD COLUMN lcp integer",
        "UPDATE _prisma_migrations SET finished_at = NULL WHERE migration_name LIKE '13%'",
    ],
)
def test_a_migration_since_the_plan_is_noticed(
    direction: Direction,
    source_at: Callable[[int], str],
    target_url: str,
    statement: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was planned is for another schema, while a person reads the plan and thinks."""
    source = source_at(13)
    monkeypatch.setattr("umami_ops.cli.migrate._confirm", lambda _plan, _yes: execute(source, statement))
    outcome = migrate(source, target_url)
    assert (outcome.code, "have changed since this was planned" in outcome.err) == (5, True), outcome.said
    assert tables_in(target_url) == ()


def test_catch_up_brings_over_what_has_come(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    fill(source)
    assert migrate(source, target_url).code == 0
    with connect(source) as loader:
        for number in range(100, 120):
            loader.load(moving.batch("website_event", moving.awkward_event(number, "new")))
        loader.execute(f"UPDATE {quoted(source, 'user')} SET display_name = 'Changed'")
    outcome = migrate(source, target_url, "--catch-up", "--json")
    assert outcome.code == 0, outcome.said
    assert outcome.document["moved_rows"]["website_event"] == 20
    assert verify(source, target_url).code == 0
    gone = execute(source, "SELECT MIN(CAST(event_id AS CHAR(36))) FROM website_event")[0][0]
    execute(source, f"DELETE FROM website_event WHERE event_id = '{gone}'")
    refused = migrate(source, target_url, "--catch-up")
    assert refused.code == 5
    assert gone in refused.err
    deleted = migrate(source, target_url, "--catch-up", "--delete-extra")
    assert deleted.code == 0, deleted.said
    assert "rows that the source doesn't have are deleted" in deleted.out
    assert re.search(r"Deleted +1, which the source doesn't have", deleted.out), deleted.out
    assert verify(source, target_url).code == 0


def test_catching_up_takes_many_new_rows_range_by_range(
    direction: Direction, source_at: Callable[[int], str], target_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Umami's session has a unique index over its own primary key, by which no value wanders."""
    url = source_at(13)
    source, target = (open_database(DatabaseUrl.parse(item)) for item in (url, target_url))
    assert migrate(url, target_url).code == 0
    fill(url)
    with source.connect() as here, target.connect() as there:
        plan = plan_migrate(here, there, Wish(catch_up=True))
    moved: list[int] = []

    def observe(found: object) -> None:
        if isinstance(found, RowsMoved) and found.table == "session":
            moved.append(found.rows)

    monkeypatch.setattr("umami_ops.transfer.comparison.NARROW_ROWS", 100)
    with RunLock(target, "migrate") as lock:
        carry_out(plan, target, lock=lock, source=source, observer=observe)
    assert sum(moved) > 300
    assert max(moved) <= 100


@pytest.mark.dialects("mysql", "postgresql")
def test_catching_up_in_vain_says_what_the_target_is(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    assert migrate(source, target_url).code == 0
    execute(
        target_url,
        "CREATE FUNCTION other_title() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.page_title := 'other'; RETURN NEW; END $$",
    )
    execute(
        target_url,
        "CREATE TRIGGER other_title BEFORE INSERT ON website_event"
        " FOR EACH ROW EXECUTE FUNCTION other_title()",
    )
    with connect(source) as loader:
        loader.load(moving.batch("website_event", moving.awkward_event(1, "new")))
    outcome = migrate(source, target_url, "--catch-up")
    assert (outcome.code, "The two sides differ: website_event" in outcome.err) == (1, True), outcome.said
    assert "not made usable" not in outcome.err
    assert "Umami can start on the target as before" in outcome.err


def test_catching_up_asks_all_tables_before_it_changes_one(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    """What only the target has, in a table of whatever key, refuses it; until then no edit is overwritten."""
    source = source_at(13)
    for statement in (
        "CREATE TABLE a_note (word varchar(20) NOT NULL PRIMARY KEY, said varchar(20))",
        "CREATE TABLE b_link (a bigint NOT NULL, b bigint NOT NULL, PRIMARY KEY (a, b))",
        "CREATE TABLE c_heap (word varchar(20))",
        "CREATE TABLE d_day (day date NOT NULL PRIMARY KEY)",
        "INSERT INTO a_note VALUES ('one', 'source'), ('two', 'source')",
        "INSERT INTO b_link VALUES (1, 1), (1, 2), (2, 1)",
        "INSERT INTO c_heap VALUES ('same'), ('same')",
    ):
        execute(source, statement)
    assert migrate(source, target_url).code == 0
    edited = "UPDATE a_note SET said = 'target' WHERE word = 'one'"
    execute(target_url, edited)
    execute(source, "INSERT INTO a_note VALUES ('three', 'source')")
    execute(source, "INSERT INTO d_day VALUES ('2025-01-02')")
    own = (
        ("INSERT INTO a_note VALUES ('own', 'x')", "DELETE FROM a_note WHERE word = 'own'"),
        ("INSERT INTO b_link VALUES (1, 3)", "DELETE FROM b_link WHERE b = 3"),
        ("INSERT INTO c_heap VALUES ('own')", "DELETE FROM c_heap WHERE word = 'own'"),
        ("INSERT INTO d_day VALUES ('2025-01-01')", "DELETE FROM d_day"),
        (
            f"INSERT INTO session (session_id, website_id) VALUES ('{OWN}', '{OWN}')",
            f"DELETE FROM session WHERE session_id = '{OWN}'",
        ),
    )
    notes = "SELECT word, said FROM a_note ORDER BY word"
    for insert, delete in own:
        execute(target_url, insert)
        held = execute(target_url, notes)
        refused = migrate(source, target_url, "--catch-up")
        assert (refused.code, "Nothing was changed" in refused.err) == (5, True), refused.said
        assert insert.split()[2] in refused.err
        assert execute(target_url, notes) == held
        execute(target_url, delete)
    for statement in (insert for insert, _ in own[1:3]):
        execute(target_url, statement)
    assert migrate(source, target_url, "--catch-up", "--delete-extra").code == 0
    assert verify(source, target_url).code == 0
    # A row that changed at the source is no row of the target's own, be its key text or a part of the key.
    execute(target_url, edited)
    assert migrate(source, target_url, "--catch-up").code == 0
    assert verify(source, target_url).code == 0


def test_catching_up_wants_a_complete_target(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    empty = migrate(source, target_url, "--catch-up")
    assert empty.code == 5
    assert "without --catch-up first" in empty.err
    assert migrate(source, target_url).code == 0
    on = "" if direction.target.dialect == "postgresql" else " ON report"
    execute(target_url, f"DROP INDEX report_user_id_idx{on}")
    poor = migrate(source, target_url, "--catch-up")
    assert (poor.code, "lacks index report_user_id_idx" in poor.err) == (5, True), poor.said
    execute(target_url, "CREATE INDEX mine ON report (user_id)")
    execute(target_url, "DELETE FROM _prisma_migrations")
    poor = migrate(source, target_url, "--catch-up")
    assert (poor.code, "lacks the records in _prisma_migrations" in poor.err) == (5, True), poor.said


def test_a_target_that_umami_has_set_up_is_filled(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    fill(source)
    create_umami(target_url, 13)
    execute(source, f"UPDATE {quoted(source, 'user')} SET display_name = 'Mine'")
    # What the target's tables lack of the source's own.
    execute(source, "ALTER TABLE session ADD COLUMN note varchar(40)")
    execute(source, "UPDATE session SET note = 'kept'")
    execute(source, "CREATE INDEX mine ON report (created_at, name)")
    execute(source, "CREATE TABLE ours (id bigint NOT NULL PRIMARY KEY)")
    execute(source, "INSERT INTO ours VALUES (1)")
    outcome = migrate(source, target_url)
    assert outcome.code == 0, outcome.said
    assert verify(source, target_url).code == 0
    assert execute(target_url, "SELECT COUNT(*) FROM _prisma_migrations") == [(13,)]
    assert execute(target_url, "SELECT DISTINCT note FROM session") == [("kept",)]
    (report,) = (table for table in tables_in(target_url) if table.name == "report")
    assert "mine" in {index.name for index in report.indexes}


def test_a_target_that_holds_something_is_refused_unless_replaced(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    fill(source)
    create_umami(target_url, 13)
    with connect(target_url) as loader:
        loader.load(moving.batch("website_event", moving.awkward_event(1, "theirs")))
    outcome = migrate(source, target_url)
    assert outcome.code == 5
    assert "--replace" in outcome.err
    assert execute(target_url, "SELECT COUNT(*) FROM website_event") == [(1,)]
    with connect(target_url) as loader:
        for number in range(2, 102):
            loader.load(moving.batch("website_event", moving.awkward_event(number, "theirs")))
    analyse(target_url)
    replaced = migrate(source, target_url, "--replace")
    assert replaced.code == 0, replaced.said
    assert "DROP TABLE" in replaced.out
    # Whoever has taken one side for the other sees it by the rows that would be gone.
    dropped = re.search(r"filled; tables of ~([\d,]+) rows are dropped", replaced.out)
    assert dropped is not None, replaced.out
    assert 100 <= int(dropped[1]) <= 130
    assert verify(source, target_url).code == 0


def analyse(url: str) -> None:
    """Have the server count its rows, by which it then says how many there are."""
    with moving.connect(url) as connection:
        names = [table.name for table in connection.transit().describe().tables]
        connection.maintain(Query("test", "", connection.transit().settle_statement(names)))


@pytest.mark.dialects("mysql", "postgresql")
def test_replacing_leaves_no_table_of_a_later_umami(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    """Or v3's next migration, which makes its tables, fails, and Umami never starts on the proven target."""
    create_umami(target_url, 19)
    execute(target_url, "CREATE TABLE mine (id integer PRIMARY KEY)")
    source = source_at(13)
    assert migrate(source, target_url).code == 5
    outcome = migrate(source, target_url, "--replace")
    assert outcome.code == 0, outcome.said
    left = {*schema_at("postgresql", 13).table_names, "_prisma_migrations", "mine"}
    assert {table.name for table in tables_in(target_url)} == left


def test_a_dry_run_changes_nothing_and_shows_the_statements(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    outcome = command.run("migrate", "--dry-run", url=source, env={"TARGET_DATABASE_URL": target_url})
    assert outcome.code == 0, outcome.said
    assert "CREATE TABLE" in outcome.out
    assert re.search(r"(CREATE INDEX|ADD INDEX|ADD KEY|INDEX).*website_event_created_at_idx", outcome.out)
    assert tables_in(target_url) == ()


def test_without_a_terminal_it_asks_for_yes(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    outcome = command.run("migrate", url=source_at(13), env={"TARGET_DATABASE_URL": target_url})
    assert outcome.code == 5
    assert tables_in(target_url) == ()


def test_translation_equals_what_the_servers_show(
    direction: Direction, source_at: Callable[[int], str]
) -> None:
    """At an early and a middle level, too: what the catalogue shows becomes what Umami makes there."""
    for level in (1, 5, 9):
        with moving.connect(source_at(level)) as connection:
            source = connection.transit().describe()
            target = Side(direction.target.dialect, direction.target.flavour)
            found = translate(source, moving.side_of(connection), target, level)
        expected = schema_at(direction.target.dialect, level).tables
        assert [sets(table) for table in found.tables] == [sets(table) for table in expected]
