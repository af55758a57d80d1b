"""Tables and columns that users added: what of them a move keeps, names, or refuses before it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from testbed.bulk import connect
from tests import command, moving
from tests.plugins.directions import Direction
from umami_ops.databases.base import Connection
from umami_ops.databases.registry import open_database
from umami_ops.databases.transit import EVERYTHING, Kind, Proof
from umami_ops.databases.url import DatabaseUrl
from umami_ops.execute import RunLock
from umami_ops.execute import execute as carry_out
from umami_ops.execute.events import StepBegan
from umami_ops.operations.migrate import Wish, plan_migrate
from umami_ops.rows import Field, Rows
from umami_ops.sql import Query
from umami_ops.transfer import comparison


def run(source: str, target: str, *arguments: str) -> command.Outcome:
    return command.run(
        "migrate", "--yes", "--json", *arguments, url=source, env={"TARGET_DATABASE_URL": target}
    )


def verify(source: str, target: str) -> int:
    return command.run("verify", "--json", url=source, env={"TARGET_DATABASE_URL": target}).code


def execute(url: str, *statements: str) -> list[tuple[object, ...]]:
    with connect(url) as loader:
        found = [loader.execute(statement) for statement in statements]
    return list(found[-1] or ())


def is_empty(url: str) -> bool:
    with moving.connect(url) as connection:
        return connection.transit().describe().tables == ()


def notes(outcome: command.Outcome) -> str:
    return json.dumps(outcome.document["notes"])


# --- the checksum -----------------------------------------------------------------------------------------


def proofs(connection: Connection, values: tuple[str | None, ...]) -> tuple[Proof, dict[str, int]]:
    """Return what a server says of one row of a table of text that holds these values."""
    names = [f"t_{letter}" for letter in "abcde"[: len(values)]]
    connection.run(Query("test", "", "DELETE FROM worded"))
    insert = f"INSERT INTO worded (id, {', '.join(names)}) VALUES (1, :{', :'.join(names)})"
    connection.run(Query("test", "", insert), **dict(zip(names, values, strict=True)))
    rows = Rows("worded", (Field("id", Kind.INTEGER, False), *(Field(n, Kind.TEXT) for n in names)), "id")
    transit = connection.transit()
    return transit.prove(rows, EVERYTHING), transit.fingerprints(rows)


@pytest.mark.parametrize("columns", [2, 5])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("x\x1fy", "z"), ("x", "y\x1fz")),
        (("\x02", "z"), (None, "z")),
        (("\x02", "\x02"), (None, None)),
        (("\x02\x1f\x02", None), (None, "\x02\x1f\x02")),
    ],
)
def test_a_checksum_tells_where_a_value_ends_and_whether_it_is_null(
    umami_at: Callable[[int], str], one: tuple[str, ...], other: tuple[str, ...], columns: int
) -> None:
    """Whatever characters stand in the text: the proof is all that says a move has lost nothing."""
    with moving.connect(umami_at(13)) as connection:
        listed = ", ".join(f"t_{letter} varchar(20)" for letter in "abcde"[:columns])
        connection.run(Query("test", "", f"CREATE TABLE worded (id bigint NOT NULL PRIMARY KEY, {listed})"))
        found = [proofs(connection, (*values, *[None] * (columns - 2))) for values in (one, other)]
        assert found[0][0] != found[1][0]
        assert found[0][1] != found[1][1]


def test_documents_in_each_others_rows_under_one_first_key_are_noticed(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    """What is compared by value belongs to one row, be the key by which rows travel that of several."""
    source = source_at(13)
    execute(
        source,
        "CREATE TABLE filed (a bigint NOT NULL, b bigint NOT NULL, doc json, PRIMARY KEY (a, b))",
        """INSERT INTO filed VALUES (1, 1, '{"n": 1}'), (1, 2, '{"n": 2}')""",
    )
    assert run(source, target_url).code == 0
    assert verify(source, target_url) == 0
    execute(
        target_url,
        """UPDATE filed SET doc = '{"n": 2}' WHERE b = 1""",
        """UPDATE filed SET doc = '{"n": 1}' WHERE b = 2""",
    )
    assert verify(source, target_url) == 1
    assert run(source, target_url, "--catch-up").code == 0
    assert verify(source, target_url) == 0


def test_sums_have_memory_outside_a_transaction_too(umami_at: Callable[[int], str]) -> None:
    with moving.connect(umami_at(13)) as connection:
        if connection.dialect.name != "postgresql":
            pytest.skip("MySQL's settings are the session's")
        comparison._sums(connection, "visitors", set())
        held = connection.value(
            Query("test", "", "SELECT pg_size_bytes(current_setting('work_mem')) AS held")
        )
        assert held >= 32 * 1024 * 1024


# --- found before anything is written ---------------------------------------------------------------------


@pytest.mark.dialects("postgresql", "mysql")
@pytest.mark.parametrize("key", ["UNIQUE (site, word)", "PRIMARY KEY (site, word)", "PRIMARY KEY (word)"])
def test_keys_of_users_own_that_mysql_takes_for_the_same(
    direction: Direction, source_at: Callable[[int], str], target_url: str, key: str
) -> None:
    source = source_at(13)
    rows = "(1, 'Bob'), (1, 'bób'), (2, 'alone')" if "(word)" in key else "(1, 'Bob'), (1, 'bób'), (2, 'bob')"
    execute(
        source,
        f"CREATE TABLE crew (site bigint NOT NULL, word varchar(20) NOT NULL, {key})",
        f"INSERT INTO crew VALUES {rows}",
    )
    refused = run(source, target_url)
    assert refused.code == 5, refused.said
    (found,) = refused.document["findings"]
    assert (found["table"], found["rows"]) == ("crew", 2)
    assert all("Bob" in example and "bób" in example for example in found["examples"])
    assert found["column"] == ("word" if "(word)" in key else "site and word")
    assert is_empty(target_url)
    execute(source, "DELETE FROM crew WHERE word = 'Bob'")
    moved = run(source, target_url)
    assert moved.code == 0, moved.said


@pytest.mark.every_direction
@pytest.mark.dialects("mysql", "mysql")
@pytest.mark.parametrize("collation", ["utf8mb4_bin", "utf8mb4_0900_ai_ci"])
def test_keys_that_a_users_collation_tells_apart(
    direction: Direction, source_at: Callable[[int], str], target_url: str, collation: str
) -> None:
    """The tables that we make compare by utf8mb4_unicode_ci, to which all emoji are the same."""
    source = source_at(13)
    execute(
        source,
        f"CREATE TABLE crew (word varchar(20) COLLATE {collation} PRIMARY KEY) CHARSET utf8mb4",
        "INSERT INTO crew VALUES (CONVERT(0xF09F9880 USING utf8mb4)), (CONVERT(0xF09F8E89 USING utf8mb4))",
    )
    refused = run(source, target_url)
    assert refused.code == 5, refused.said
    (found,) = refused.document["findings"]
    assert (found["table"], found["column"], found["rows"]) == ("crew", "word", 2)
    assert is_empty(target_url)


@pytest.mark.dialects("postgresql", "mysql")
def test_numbers_with_more_digits_than_mysql_has_become_text(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    long, small = "9" * 68 + ".25", "0." + "0" * 34 + "7"
    execute(
        source,
        "CREATE TABLE counted (id bigint PRIMARY KEY, a numeric(70,2), b numeric(40,35), c numeric(3,5))",
        f"INSERT INTO counted VALUES (1, {long}, {small}, 0.00123), (2, NULL, 1.5, NULL)",
    )
    moved = run(source, target_url)
    assert moved.code == 0, moved.said
    assert "counted.a: numeric(70,2) becomes longtext" in notes(moved)
    assert execute(target_url, "SELECT a, b, c FROM counted WHERE id = 1") == [(long, small, "0.00123")]
    assert verify(source, target_url) == 0


@pytest.mark.dialects("postgresql", "mysql")
def test_a_target_that_wants_primary_keys_is_asked_before(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    execute(source, "CREATE TABLE heap (word varchar(20))")
    admin = direction.target.as_admin(target_url)
    flavour = "innodb_force_primary_key" if "MariaDB" in version(target_url) else "sql_require_primary_key"
    execute(admin, f"SET GLOBAL {flavour} = 1")
    try:
        refused = run(source, target_url)
        assert (refused.code, "heap has no primary key" in refused.err) == (5, True), refused.said
        assert is_empty(target_url)
        execute(source, "ALTER TABLE heap ADD PRIMARY KEY (word)")
        moved = run(source, target_url)
        assert moved.code == 0, moved.said
    finally:
        execute(admin, f"SET GLOBAL {flavour} = 0")


def version(url: str) -> str:
    return str(execute(url, "SELECT VERSION()")[0][0])


@pytest.mark.parametrize("operation", ["migrate", "backup"])
@pytest.mark.dialects("postgresql", "mysql")
def test_tables_that_inherit_are_refused(
    direction: Direction, source_at: Callable[[int], str], target_url: str, operation: str, tmp_path: Path
) -> None:
    """Whoever reads the parent reads the children's rows, and would bring them twice."""
    source = source_at(13)
    execute(
        source,
        "CREATE TABLE parent (id bigint PRIMARY KEY)",
        "CREATE TABLE child (said text) INHERITS (parent)",
        "INSERT INTO parent VALUES (1)",
        "INSERT INTO child VALUES (2, 'x')",
    )
    if operation == "migrate":
        refused = run(source, target_url)
    else:
        refused = command.run("backup", "--store", str(tmp_path), "--format", "portable", url=source)
    assert (refused.code, "child inherits from parent" in refused.err) == (5, True), refused.said
    assert is_empty(target_url)


@pytest.mark.dialects("mysql", "postgresql")
@pytest.mark.parametrize("key", ["", " PRIMARY KEY"])
def test_a_row_longer_than_the_servers_packets_is_found_before(
    direction: Direction, source_at: Callable[[int], str], target_url: str, key: str
) -> None:
    """Such text is NULL to MySQL, on both sides of a comparison: it must not be lost and called equal."""
    source = source_at(13)
    execute(
        source,
        f"CREATE TABLE filed (id bigint NOT NULL{key}, doc longblob)",
        "INSERT INTO filed VALUES (1, REPEAT('x', 700000)), (2, 'y')",
    )
    admin = direction.source.as_admin(source)
    ((usual,),) = execute(admin, "SELECT @@global.max_allowed_packet")
    execute(admin, "SET GLOBAL max_allowed_packet = 1048576")
    try:
        refused = run(source, target_url)
        assert refused.code == 5, refused.said
        (found,) = refused.document["findings"]
        assert (found["table"], found["column"], found["rows"]) == ("filed", "doc", 1)
        assert is_empty(target_url)
    finally:
        execute(admin, f"SET GLOBAL max_allowed_packet = {usual}")
    moved = run(source, target_url)
    assert (moved.code, verify(source, target_url)) == (0, 0), moved.said
    execute(admin, "SET GLOBAL max_allowed_packet = 1048576")
    try:
        execute(target_url, "UPDATE filed SET doc = NULL WHERE id = 1")
        assert verify(source, target_url) == 1
    finally:
        execute(admin, f"SET GLOBAL max_allowed_packet = {usual}")


# --- what can't be translated -----------------------------------------------------------------------------


@pytest.mark.dialects("postgresql", "mysql")
def test_what_an_index_loses_is_named(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    execute(
        source,
        "CREATE TABLE ours (id bigint PRIMARY KEY, n bigint, word varchar(20))",
        "CREATE INDEX newest ON ours (n DESC)",
        "CREATE INDEX covering ON ours (n) INCLUDE (word)",
        "CREATE INDEX prefixed ON ours (word varchar_pattern_ops)",
        'CREATE INDEX collated ON ours (word COLLATE "C")',
        "CREATE UNIQUE INDEX one_null ON ours (n, word) NULLS NOT DISTINCT",
        "CREATE INDEX folded ON ours (lower(word))",
        "CREATE INDEX partly ON ours (n) WHERE n > 1",
        "CREATE INDEX plain ON ours (n, word)",
    )
    told = notes(run(source, target_url, "--dry-run"))
    for lost, name in (
        ("DESC", "newest"), ("INCLUDE", "covering"), ("operator class", "prefixed"), ("COLLATE", "collated"),
        ("NULLS NOT DISTINCT", "one_null"), ("index of its own kind", "folded"),
        ("index of its own kind", "partly"),
    ):  # fmt: skip
        assert f"{lost} of index {name} on ours" in told or f"{lost} {name} on ours" in told, (name, told)
    assert "plain on ours" not in told


@pytest.mark.dialects("mysql", "postgresql")
def test_what_an_index_of_mysql_loses_is_named(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    execute(source, "CREATE TABLE ours (id bigint PRIMARY KEY, n bigint, KEY newest (n DESC), KEY plain (n))")
    told = notes(run(source, target_url, "--dry-run"))
    assert "DESC of index newest on ours" in told
    assert "plain on ours" not in told


@pytest.mark.dialects("postgresql", "mysql")
def test_text_too_long_for_mysqls_keys_and_char(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    execute(
        source,
        "CREATE TABLE paths (site varchar(500), path varchar(500), PRIMARY KEY (site, path))",
        "CREATE TABLE padded (id bigint PRIMARY KEY, word character(300))",
        "INSERT INTO paths VALUES ('a', 'b')",
        "INSERT INTO padded VALUES (1, 'a')",
    )
    moved = run(source, target_url)
    assert (moved.code, verify(source, target_url)) == (0, 0), moved.said
    assert "primary key of paths" in notes(moved)


@pytest.mark.dialects("postgresql", "mysql")
@pytest.mark.parametrize(
    "columns",
    [
        "id bigint PRIMARY KEY, " + ", ".join(f"t_{number} varchar(4000)" for number in range(5)),
        'id bigint PRIMARY KEY, a integer, "A" integer',
    ],
)
def test_a_table_that_the_target_cannot_make_is_found_before(
    direction: Direction, source_at: Callable[[int], str], target_url: str, columns: str
) -> None:
    source = source_at(13)
    execute(source, f"CREATE TABLE ours ({columns})")
    refused = run(source, target_url)
    assert refused.code == 5, refused.said
    assert "can't make table ours" in refused.said
    assert is_empty(target_url)


@pytest.mark.dialects("mysql", "postgresql")
@pytest.mark.parametrize("table", ["{0}", "ours"])
def test_names_that_postgresql_would_cut_are_found_before(
    direction: Direction, source_at: Callable[[int], str], target_url: str, table: str
) -> None:
    source = source_at(13)
    long = "n" * 64
    execute(source, f"CREATE TABLE {table.format(long)} (id bigint PRIMARY KEY, {long} integer)")
    refused = run(source, target_url)
    assert refused.code == 5, refused.said
    assert "no name of more than 63 bytes" in refused.said
    assert is_empty(target_url)


@pytest.mark.dialects("mysql", "postgresql")
def test_no_year_is_a_number(direction: Direction, source_at: Callable[[int], str], target_url: str) -> None:
    """MySQL writes it in four digits."""
    source = source_at(13)
    execute(
        source,
        "CREATE TABLE vintages (id bigint PRIMARY KEY, y year)",
        "INSERT INTO vintages VALUES (1, 0), (2, 1955), (3, NULL)",
    )
    moved = run(source, target_url)
    assert (moved.code, verify(source, target_url)) == (0, 0), moved.said
    assert execute(target_url, "SELECT y FROM vintages ORDER BY id") == [(0,), (1955,), (None,)]


# --- foreign keys -----------------------------------------------------------------------------------------


@pytest.mark.dialects("mysql", "postgresql")
def test_text_that_refers_to_an_id_becomes_one(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    """PostgreSQL makes no foreign key between text and a uuid."""
    source = source_at(13)
    site = "41e2b680-648e-4b09-bcd7-3e2b10c06265"
    execute(
        source,
        f"INSERT INTO website (website_id, name) VALUES ('{site}', 'ours')",
        "CREATE TABLE billed (id bigint NOT NULL PRIMARY KEY, site varchar(36), CONSTRAINT billed_fk"
        " FOREIGN KEY (site) REFERENCES website (website_id)) COLLATE utf8mb4_unicode_ci",
        f"INSERT INTO billed VALUES (1, '{site}'), (2, NULL)",
    )
    moved = run(source, target_url)
    assert (moved.code, verify(source, target_url)) == (0, 0), moved.said
    with pytest.raises(Exception, match="(?i)foreign key"):
        execute(target_url, "DELETE FROM website")


@pytest.mark.dialects("postgresql", "mysql")
def test_foreign_keys_of_one_name_and_to_other_schemas(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    execute(
        source,
        "CREATE SCHEMA elsewhere",
        "CREATE TABLE elsewhere.parent (id bigint PRIMARY KEY)",
        "CREATE TABLE parent (id bigint PRIMARY KEY)",
        "CREATE TABLE one (id bigint PRIMARY KEY, p bigint, CONSTRAINT fk FOREIGN KEY (p) REFERENCES parent)",
        "CREATE TABLE two (id bigint PRIMARY KEY, p bigint, CONSTRAINT fk FOREIGN KEY (p) REFERENCES parent)",
        "CREATE TABLE out (id bigint PRIMARY KEY, p bigint,"
        " CONSTRAINT away FOREIGN KEY (p) REFERENCES elsewhere.parent)",
    )
    moved = run(source, target_url)
    assert (moved.code, verify(source, target_url)) == (0, 0), moved.said
    told = notes(moved)
    assert "foreign key to another schema away on out" in told
    assert "foreign key fk on two: it becomes two_fk" in told
    for table in ("one", "two"):
        assert "FOREIGN KEY" in str(execute(target_url, f"SHOW CREATE TABLE {table}"))
    assert "FOREIGN KEY" not in str(execute(target_url, "SHOW CREATE TABLE `out`"))


@pytest.mark.dialects("mysql", "postgresql")
def test_rows_that_refer_to_none_are_found_before(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    """PostgreSQL makes no such foreign key; MySQL takes texts for the same that differ in case."""
    source = source_at(13)
    parent, site = "CREATE TABLE plan (code varchar(20) PRIMARY KEY, n int UNIQUE)", str(uuid4())
    execute(
        source,
        f"{parent} COLLATE utf8mb4_unicode_ci",
        "INSERT INTO plan VALUES ('Gold', 1), ('Silver', NULL)",
        "CREATE TABLE billed (id bigint NOT NULL PRIMARY KEY, plan varchar(20), n int, site varchar(36),"
        " CONSTRAINT plan_fk FOREIGN KEY (plan) REFERENCES plan (code),"
        " CONSTRAINT n_fk FOREIGN KEY (n) REFERENCES plan (n),"
        " CONSTRAINT site_fk FOREIGN KEY (site) REFERENCES website (website_id))"
        " COLLATE utf8mb4_unicode_ci",
        "INSERT INTO billed VALUES (1, 'Gold', 1, NULL), (2, 'GOLD', NULL, NULL), (3, NULL, 1, NULL)",
        "SET foreign_key_checks = 0",
        f"INSERT INTO billed VALUES (4, 'Silver', 7, '{site}'), (5, 'silver', 8, NULL)",
    )
    refused = run(source, target_url)
    assert refused.code == 5, refused.said
    told = {(item["column"], item["rows"], *item["examples"]) for item in refused.document["findings"]}
    assert told == {("plan", 2, "GOLD"), ("n", 2, "7"), ("site", 1, site)}
    assert is_empty(target_url)
    execute(source, "UPDATE billed SET plan = NULL WHERE id IN (2, 5)", "DELETE FROM billed WHERE id = 5")
    execute(source, "UPDATE billed SET n = NULL, site = NULL WHERE id = 4")
    moved = run(source, target_url)
    assert (moved.code, verify(source, target_url)) == (0, 0), moved.said


@pytest.mark.dialects("postgresql", "postgresql")
def test_rows_that_refer_to_none_by_a_key_that_is_not_valid(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    execute(
        source,
        "CREATE TABLE billed (id bigint PRIMARY KEY, of bigint, site uuid)",
        "INSERT INTO billed VALUES (1, 1, NULL), (2, 9, NULL), (3, NULL, gen_random_uuid())",
        "ALTER TABLE billed ADD CONSTRAINT own FOREIGN KEY (of) REFERENCES billed NOT VALID",
        "ALTER TABLE billed ADD CONSTRAINT ours FOREIGN KEY (site) REFERENCES website NOT VALID",
    )
    refused = run(source, target_url)
    assert refused.code == 5, refused.said
    found = [(item["column"], item["rows"]) for item in refused.document["findings"]]
    assert sorted(found) == [("of", 1), ("site", 1)]
    assert is_empty(target_url)


# --- catching up ------------------------------------------------------------------------------------------


@pytest.mark.dialects("mysql", "postgresql")
def test_catching_up_proves_what_hangs_on_what_it_mended(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    """A row is mended by taking it away first; what the target's keys then do to others must not pass."""
    source = source_at(13)
    execute(
        source,
        "CREATE TABLE parent (id bigint NOT NULL PRIMARY KEY, word varchar(20))",
        "CREATE TABLE child (id bigint NOT NULL PRIMARY KEY, parent_id bigint NOT NULL,"
        " CONSTRAINT child_fk FOREIGN KEY (parent_id) REFERENCES parent (id))",
        "INSERT INTO parent VALUES (1, 'a'), (2, 'b')",
        "INSERT INTO child VALUES (1, 1), (2, 2)",
    )
    assert run(source, target_url).code == 0
    execute(
        target_url,
        "ALTER TABLE child DROP CONSTRAINT child_fk",
        "ALTER TABLE child ADD FOREIGN KEY (parent_id) REFERENCES parent (id) ON DELETE CASCADE",
    )
    execute(source, "UPDATE parent SET word = 'changed' WHERE id = 1")
    outcome = run(source, target_url, "--catch-up")
    assert (outcome.code, verify(source, target_url)) == (0, 0), outcome.said


@pytest.mark.dialects("mysql", "postgresql")
def test_catching_up_swaps_unique_values_of_rows_far_apart(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    execute(
        source,
        "CREATE TABLE ours (id bigint NOT NULL PRIMARY KEY, place bigint, UNIQUE (place))",
        "INSERT INTO ours WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 900)"
        " SELECT a.i * 1000 + b.i, a.i * 1000 + b.i FROM n AS a, n AS b WHERE a.i < 13",
    )
    assert run(source, target_url).code == 0
    execute(
        source,
        "UPDATE ours SET place = 0 WHERE id = 1001",
        "UPDATE ours SET place = 1001 WHERE id = 12001",
        "UPDATE ours SET place = 12001 WHERE id = 1001",
    )
    outcome = run(source, target_url, "--catch-up")
    assert (outcome.code, verify(source, target_url)) == (0, 0), outcome.said


def test_catching_up_changes_rows_that_others_refer_to(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    execute(
        source,
        "CREATE TABLE parent (id bigint NOT NULL PRIMARY KEY, word varchar(20))",
        "CREATE TABLE child (id bigint NOT NULL PRIMARY KEY, parent_id bigint NOT NULL,"
        " CONSTRAINT child_fk FOREIGN KEY (parent_id) REFERENCES parent (id))",
        "INSERT INTO parent VALUES (1, 'a'), (2, 'b')",
        "INSERT INTO child VALUES (1, 1), (2, 2)",
    )
    assert run(source, target_url).code == 0
    execute(source, "UPDATE parent SET word = 'changed' WHERE id = 1")
    outcome = run(source, target_url, "--catch-up")
    assert (outcome.code, verify(source, target_url)) == (0, 0), outcome.said
    with pytest.raises(Exception, match="(?i)foreign key"):  # it is checked by each statement again
        execute(target_url, "DELETE FROM parent WHERE id = 1")


@pytest.mark.dialects("mysql", "postgresql")
def test_catching_up_brings_what_others_refer_to_first(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    execute(
        source,
        "CREATE TABLE z_parent (id bigint NOT NULL PRIMARY KEY, word varchar(20))",
        "CREATE TABLE a_child (id bigint NOT NULL PRIMARY KEY, parent_id bigint NOT NULL,"
        " FOREIGN KEY (parent_id) REFERENCES z_parent (id))",
        "INSERT INTO z_parent VALUES (1, 'a')",
        "INSERT INTO a_child VALUES (1, 1)",
    )
    assert run(source, target_url).code == 0
    execute(source, "INSERT INTO z_parent VALUES (2, 'b')", "INSERT INTO a_child VALUES (2, 2)")
    outcome = run(source, target_url, "--catch-up")
    assert (outcome.code, verify(source, target_url)) == (0, 0), outcome.said


def test_the_first_level_moves(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    """Its event_data has no numbers of its own to sum up."""
    source = source_at(1)
    moved = run(source, target_url)
    assert (moved.code, verify(source, target_url)) == (0, 0), moved.said


# --- going on ---------------------------------------------------------------------------------------------


class Killed(Exception):
    """Stands for the end of the process."""


def test_going_on_after_differences_were_mended(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    """The ledger knows nothing of what was mended: whatever it says, the target ends as the source."""
    url = source_at(13)
    execute(
        url,
        "CREATE TABLE ours (id bigint NOT NULL PRIMARY KEY, word varchar(20))",
        "INSERT INTO ours VALUES (1, 'a'), (2, 'b'), (3, 'c')",
    )
    source, target = (open_database(DatabaseUrl.parse(item)) for item in (url, target_url))

    def go_on(last: str | None) -> None:
        def observe(found: object) -> None:
            if isinstance(found, StepBegan) and found.title == last:
                raise Killed

        with source.connect() as here, target.connect() as there:
            plan = plan_migrate(here, there, Wish())
        with RunLock(target, "migrate") as lock:
            carry_out(plan, target, lock=lock, source=source, observer=observe)

    for statement, last in (
        ("UPDATE ours SET word = 'a' WHERE id = 1", "indexing"),
        ("UPDATE ours SET word = 'changed' WHERE id = 1", "concluding"),
        ("DELETE FROM ours WHERE id = 2", "concluding"),
        ("INSERT INTO ours VALUES (4, 'd')", "concluding"),
        ("UPDATE ours SET id = 5 WHERE id = 4", "concluding"),
    ):
        execute(url, statement)
        with pytest.raises(Killed):
            go_on(last)
    go_on(None)
    assert verify(url, target_url) == 0
    rows = execute(target_url, "SELECT id, word FROM ours ORDER BY id")
    assert [tuple(row) for row in rows] == [(1, "changed"), (3, "c"), (5, "d")]
