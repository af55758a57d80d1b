"""`restore FILE --replace` over a database in use: what a file lacks isn't lost, nor what surrounds it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from testbed.servers import Server
from testbed.servers.server import database_name
from testbed.umami import create_umami
from tests import backups
from tests.backups import dump_by_hand, execute, rows_of
from tests.command import Outcome, run
from umami_ops.errors import DatabaseFault
from umami_ops.sql import Query
from umami_ops.umami.migrations import latest_released_level

Cli = Callable[..., Outcome]


@pytest.fixture
def cli(server: Server, tmp_path: Path) -> Cli:
    """The command line with this server's programs."""

    def call(*arguments: str, url: str) -> Outcome:
        return run(*arguments, url=url, env=backups.programs_of(server), folder=tmp_path)

    return call


@pytest.fixture(scope="module")
def filled(server: Server) -> Iterator[str]:
    """A database with traffic; what the tests do to it is to be refused, or to bring the same rows."""
    url = backups.fill(server, server.create_database(), events=100)
    yield url
    server.drop_database(url)


def _tables(server: Server, *names: str) -> list[str]:
    """How the server's dump program is told to dump these tables alone."""
    return [f"--table={name}" for name in names] if server.dialect == "postgresql" else list(names)


def test_a_file_of_some_tables_takes_the_place_of_no_others(
    server: Server, filled: str, cli: Cli, tmp_path: Path
) -> None:
    before = rows_of(filled)
    path = dump_by_hand(server, filled, tmp_path / "some.sql", *_tables(server, "website_event", "session"))
    replace = ("restore", str(path), "--replace", "--yes")
    for arguments in ((), ("--only", "website"), ("--only", "website", "--only", "session")):
        refused = cli(*replace, *arguments, url=filled)
        assert refused.code == 5, refused.said
        assert "The file lacks" in refused.err
        assert "The database is as it was." in refused.err
        assert rows_of(filled) == before
    execute(filled, "DELETE FROM session")
    outcome = cli(*replace, "--only", "session", url=filled)
    assert outcome.code == 0, outcome.said
    assert rows_of(filled) == before


def test_a_file_without_rows_takes_the_place_of_none(
    server: Server, filled: str, cli: Cli, tmp_path: Path
) -> None:
    before = rows_of(filled)
    bare = "--schema-only" if server.dialect == "postgresql" else "--no-data"
    path = dump_by_hand(server, filled, tmp_path / "bare.sql", bare)
    refused = cli("restore", str(path), "--replace", "--yes", url=filled)
    assert refused.code == 5, refused.said
    assert "tables without their rows" in refused.err
    assert rows_of(filled) == before


def test_a_dump_before_an_upgrade_takes_the_place_of_what_came_later(
    server: Server, umami_at: Callable[[int], str], cli: Cli, tmp_path: Path
) -> None:
    earlier, later = umami_at(8), umami_at(13)
    path = dump_by_hand(server, earlier, tmp_path / "earlier.sql")
    assert rows_of(later).keys() > rows_of(earlier).keys()
    outcome = cli("restore", str(path), "--replace", "--yes", url=later)
    assert outcome.code == 0, outcome.said
    assert rows_of(later) == rows_of(earlier)
    # As big tables are often left out.
    exclude = "--exclude-table=event_data"
    if server.dialect != "postgresql":
        exclude = f"--ignore-table={earlier.rpartition('/')[2]}.event_data"
    path = dump_by_hand(server, earlier, tmp_path / "less.sql", exclude)
    refused = cli("restore", str(path), "--replace", "--yes", url=later)
    assert refused.code == 5, refused.said
    assert "The file lacks event_data" in refused.err


def test_a_table_of_another_level_beside_the_others(
    server: Server, umami_at: Callable[[int], str], cli: Cli, tmp_path: Path
) -> None:
    earlier, later = umami_at(8), umami_at(13)
    assert cli("backup", url=earlier).code == 0
    path = dump_by_hand(server, earlier, tmp_path / "events.sql", *_tables(server, "website_event"))
    website = "5e0f1c4e-0000-4000-8000-000000000000"
    execute(later, f"INSERT INTO website (website_id, name) VALUES ('{website}', 'mine')")
    before = rows_of(later)
    for name in ("latest", str(path)):
        refused = cli("restore", name, "--only", "website_event", "--replace", "--yes", url=later)
        assert refused.code == 5, refused.said
        assert "another level of Umami" in refused.err
        assert "differ in hostname" in refused.err
        assert rows_of(later) == before
    outcome = cli("restore", "latest", "--only", "website", "--replace", "--yes", url=later)
    assert outcome.code == 0, outcome.said
    assert rows_of(later) == before | {"website": []}


def test_the_latest_in_a_store_of_several_databases(
    server: Server, filled: str, umami_database: str, cli: Cli
) -> None:
    for url in (filled, umami_database):
        assert cli("backup", url=url).code == 0
    target = ("--target-url", umami_database, "--replace")
    for arguments, url in ((target, filled), (("--replace",), filled), (("--replace",), umami_database)):
        planned = cli("restore", "latest", "--dry-run", "--json", *arguments, url=url)
        assert planned.code == 0, planned.said
        assert planned.document["name"].startswith(f"{database_name(url)}-")


@pytest.mark.usefixtures("postgresql_server")
def test_a_dump_of_another_schema_takes_the_place_of_nothing(
    server: Server, filled: str, database_url: str, cli: Cli, tmp_path: Path
) -> None:
    before = rows_of(filled)
    execute(database_url, "CREATE SCHEMA other", "CREATE TABLE other.website (website_id uuid)")
    for form in ("plain", "custom"):
        path = dump_by_hand(server, database_url, tmp_path / form, f"--format={form}")
        refused = cli("restore", str(path), "--replace", "--yes", url=filled)
        assert refused.code == 5, refused.said
        assert "?schema=" in refused.err
        assert rows_of(filled) == before
        assert rows_of(f"{filled}?schema=other") == {}


@pytest.mark.usefixtures("postgresql_server")
@pytest.mark.parametrize("schema", ["public", "web"])
def test_a_text_of_one_schema_alone(
    server: Server, database_url: str, cli: Cli, tmp_path: Path, schema: str
) -> None:
    """It makes its schema first, which is there."""
    backups.fill(server, database_url, events=10)
    before = rows_of(database_url)
    target = database_url
    if schema != "public":
        execute(database_url, f"ALTER SCHEMA public RENAME TO {schema}", "CREATE SCHEMA public")
        target += f"?schema={schema}"
    path = dump_by_hand(server, database_url, tmp_path / "alone.sql", f"--schema={schema}")
    assert f"CREATE SCHEMA {schema};" in path.read_text()
    outcome = cli("restore", str(path), "--replace", "--yes", url=target)
    assert outcome.code == 0, outcome.said
    assert rows_of(target) == before


@pytest.mark.usefixtures("postgresql_server")
def test_a_text_that_cleans_up_touches_no_other_schema(
    server: Server, database_url: str, cli: Cli, tmp_path: Path
) -> None:
    backups.fill(server, database_url, events=10)
    other = f"{database_url}?schema=other"
    execute(
        database_url,
        "CREATE SCHEMA other",
        "CREATE TABLE other.mine (id integer)",
        "INSERT INTO other.mine VALUES (1)",
    )
    before = rows_of(database_url)
    clean = ("--clean", "--if-exists")
    whole = dump_by_hand(server, database_url, tmp_path / "whole.sql", *clean)
    umami = dump_by_hand(server, database_url, tmp_path / "umami.sql", *clean, "--schema=public")
    extensions = (  # as Umami's first migration makes one, which this server lacks
        b"DROP EXTENSION IF EXISTS pgcrypto;\nCREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA public;\n"
        b"COMMENT ON EXTENSION pgcrypto IS 'cryptographic functions';\n"
    )
    first = b"SET statement_timeout"
    umami.write_bytes(umami.read_bytes().replace(first, extensions + first, 1))
    rows = dump_by_hand(server, database_url, tmp_path / "rows.sql", "--data-only", "--schema=other")
    umami_and_rows = tmp_path / "more.sql"
    umami_and_rows.write_bytes(rows.read_bytes() + umami.read_bytes())
    execute(other, "UPDATE mine SET id = 2")
    for path in (whole, umami_and_rows):
        refused = cli("restore", str(path), "--replace", "--yes", url=database_url)
        assert refused.code == 5, refused.said
        assert "other schemas: other.mine." in refused.err
        assert rows_of(database_url) == before
        assert rows_of(other) == {"mine": ["[2]"]}
    outcome = cli("restore", str(umami), "--replace", "--yes", url=database_url)
    assert outcome.code == 0, outcome.said
    assert rows_of(database_url) == before


@pytest.mark.usefixtures("postgresql_server")
@pytest.mark.parametrize(
    "control",
    ["COMMIT", "ROLLBACK", "END; DROP TABLE public.website", "ABORT", "PREPARE TRANSACTION 'mine'"],
)
def test_a_text_with_a_transaction_of_its_own(
    server: Server, filled: str, cli: Cli, tmp_path: Path, control: str
) -> None:
    """As `pg_restore --single-transaction` writes one, and pg_dump where there are large objects."""
    before = rows_of(filled)
    path = dump_by_hand(server, filled, tmp_path / "whole.sql", "--clean", "--if-exists")
    end = b"-- PostgreSQL database dump c"
    whole = path.read_bytes().replace(end, b"TRUNCATE public.website;\n" + end)
    for part in (b"DROP TABLE", b"CREATE TABLE", b"COPY public.website ", end):
        path.write_bytes(whole.replace(part, control.encode() + b";\n" + part, 1))
        refused = cli("restore", str(path), "--replace", "--yes", url=filled)
        assert refused.code == 5, refused.said
        assert "commits by itself, rolls back" in refused.err
        assert "The database is as it was." in refused.err
        assert rows_of(filled) == before


@pytest.mark.usefixtures("postgresql_server")
@pytest.mark.parametrize("command", ["\\i more.sql", "\\connect other", "\\set ON_ERROR_STOP on", "\\!ls"])
def test_a_text_with_commands_to_psql(
    server: Server, filled: str, cli: Cli, tmp_path: Path, command: str
) -> None:
    before = rows_of(filled)
    path = dump_by_hand(server, filled, tmp_path / "whole.sql")
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", command.encode() + b"\nCREATE TABLE", 1))
    refused = cli("restore", str(path), "--replace", "--yes", url=filled)
    assert refused.code == 5, refused.said
    assert "whole server" in refused.err if "connect" in command else "psql" in refused.err
    assert rows_of(filled) == before


@pytest.mark.usefixtures("postgresql_server")
def test_a_text_that_names_roles_of_another_server(
    server: Server, filled: str, cli: Cli, tmp_path: Path
) -> None:
    before = rows_of(filled)
    path = dump_by_hand(server, filled, tmp_path / "whole.sql")
    foreign = (
        b"ALTER TABLE public.website OWNER TO nobody_here;\nGRANT SELECT ON public.website TO nobody_here;\n"
        b"REVOKE ALL ON SCHEMA public FROM nobody_here;\nCREATE PUBLICATION nobodys FOR ALL TABLES;\n"
        b"ALTER DEFAULT PRIVILEGES FOR ROLE nobody_here GRANT ALL ON TABLES TO nobody_here;\n"
    )
    end = b"-- PostgreSQL database dump complete"
    path.write_bytes(path.read_bytes().replace(end, foreign + end))
    outcome = cli("restore", str(path), "--replace", "--yes", url=filled)
    assert outcome.code == 0, outcome.said
    assert rows_of(filled) == before


@pytest.mark.usefixtures("postgresql_server")
@pytest.mark.parametrize("options", [(), ("--inserts",), ("--column-inserts", "--rows-per-insert=50")])
def test_values_that_look_like_what_a_text_is_made_of(
    server: Server, database_url: str, cli: Cli, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Visitors send them."""
    backups.fill(server, database_url, events=50)
    value = (
        "''it's\n\\restrict x\nSET transaction_timeout = 0;\nGRANT ALL ON x TO y;\nDROP EXTENSION x;\n"
        "COPY public.website FROM stdin;\n\\.\n-- PostgreSQL database dump complete\n"
        "/* $$ \\'( \"\n\\connect x\n"
    )
    quoted = value.replace("'", "''")
    execute(database_url, f"UPDATE event_data SET string_value = '{quoted}'")
    before = rows_of(database_url)
    path = dump_by_hand(server, database_url, tmp_path / "whole.sql", *options)
    execute(database_url, "DELETE FROM event_data")
    outcome = cli("restore", str(path), "--replace", "--yes", url=database_url)
    assert outcome.code == 0, outcome.said
    assert rows_of(database_url) == before


@pytest.mark.usefixtures("postgresql_server")
@pytest.mark.parametrize("options", [(), ("--inserts",)])
def test_a_text_in_another_encoding(
    server: Server, database_url: str, cli: Cli, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """The second value is text in UTF-8, too, and another one."""
    create_umami(database_url, latest_released_level(server.dialect))
    for number, name in enumerate(("café", "cafÃ©")):
        values = f"'5e0f1c4e-0000-4000-8000-00000000000{number}', '{name}'"
        execute(database_url, f"INSERT INTO website (website_id, name) VALUES ({values})")
    before = rows_of(database_url)
    path = dump_by_hand(server, database_url, tmp_path / "latin.sql", "--encoding=LATIN1", *options)
    outcome = cli("restore", str(path), "--replace", "--yes", url=database_url)
    assert outcome.code == 0, outcome.said
    assert rows_of(database_url) == before


@pytest.mark.usefixtures("postgresql_server")
def test_a_statement_too_long_to_be_held(server: Server, filled: str, cli: Cli, tmp_path: Path) -> None:
    before = rows_of(filled)
    path = dump_by_hand(server, filled, tmp_path / "long.sql", "--inserts", "--rows-per-insert=50")
    first = b"INSERT INTO public.website "
    at = path.read_bytes().index(first)
    whole = path.read_bytes()
    for length, code, said in ((1 << 20, 1, "invalid input"), (70 << 20, 5, "more than 64 MB")):
        long = b"INSERT INTO public.report VALUES ('" + b"x" * length + b"');\n"
        path.write_bytes(whole[:at] + long + whole[at:])
        refused = cli("restore", str(path), "--replace", "--yes", url=filled)
        assert len(refused.err) < 2_000
        assert refused.code == code, refused.said
        assert said in refused.err
        assert rows_of(filled) == before


def test_a_text_that_ends_between_two_statements_is_cut(
    server: Server, filled: str, cli: Cli, tmp_path: Path
) -> None:
    before = rows_of(filled)
    path = dump_by_hand(server, filled, tmp_path / "whole.sql")
    whole = path.read_bytes()
    for part in (b"ALTER TABLE ONLY", b"CREATE TABLE"):
        if part in whole:
            path.write_bytes(whole[: whole.rindex(part)])
            refused = cli("restore", str(path), "--replace", "--yes", url=filled)
            assert refused.code == 5, refused.said
            assert "cut short" in refused.err
            assert rows_of(filled) == before


@pytest.mark.usefixtures("mysql_server")
def test_lines_in_another_spelling_never_reach_the_tables_in_use(
    server: Server, filled: str, cli: Cli, tmp_path: Path
) -> None:
    before = rows_of(filled)
    for number, options in enumerate((["--skip-quote-names"], ["--compatible=ansi"])):
        path = dump_by_hand(server, filled, tmp_path / f"{number}.sql", *options)
        path.write_bytes(path.read_bytes()[:-200])  # nor any later one, whatever the end says
        refused = cli("restore", str(path), "--replace", "--yes", url=filled)
        assert refused.code == 5, refused.said
        assert "DROP TABLE IF EXISTS" in refused.err
        assert rows_of(filled) == before
    path = dump_by_hand(server, filled, tmp_path / "ignore.sql", "--insert-ignore", "--skip-add-locks")
    path.write_bytes(path.read_bytes().replace(b"INSERT IGNORE INTO", b"INSERT  IGNORE INTO"))  # as others do
    outcome = cli("restore", str(path), "--replace", "--yes", url=filled)
    assert outcome.code == 0, outcome.said
    assert rows_of(filled) == before


@pytest.mark.usefixtures("mysql_server")
def test_all_that_the_programs_write_by_other_options(
    server: Server, filled: str, cli: Cli, tmp_path: Path
) -> None:
    before = rows_of(filled)
    for number, options in enumerate((
        ["--skip-opt"],
        ["--databases", "--add-drop-database", "--no-autocommit"],
        ["--replace", "--complete-insert", "--hex-blob", "--skip-extended-insert", "--skip-tz-utc"],
    )):  # fmt: skip
        path = dump_by_hand(server, filled, tmp_path / f"{number}.sql", *options)
        outcome = cli("restore", str(path), "--replace", "--yes", url=filled)
        assert outcome.code == 0, outcome.said
        assert rows_of(filled) == before


@pytest.mark.usefixtures("mysql_server")
def test_a_view_in_a_dump_is_named_and_left_out(
    server: Server, database_url: str, cli: Cli, tmp_path: Path
) -> None:
    execute(
        database_url,
        "CREATE TABLE website (website_id integer PRIMARY KEY)",
        "INSERT INTO website VALUES (1)",
        "CREATE VIEW mine AS SELECT website_id FROM website",
    )
    path = dump_by_hand(server, database_url, tmp_path / "all.sql")
    assert b"VIEW" in path.read_bytes()
    execute(database_url, "CREATE OR REPLACE VIEW mine AS SELECT website_id + 1 AS changed FROM website")
    before = rows_of(database_url)
    path.write_bytes(path.read_bytes() + b"GRANT ALL ON *.* TO somebody;\n")
    refused = cli("restore", str(path), "--replace", "--yes", url=database_url)
    assert rows_of(database_url) == before
    assert refused.code == 5, refused.said
    assert "GRANT ALL ON" in refused.err
    path.write_bytes(path.read_bytes().rpartition(b"GRANT")[0])
    outcome = cli("restore", str(path), "--replace", "--yes", url=database_url)
    assert outcome.code == 0, outcome.said
    assert "only tables are: mine" in outcome.out
    assert rows_of(database_url) == before


def test_a_foreign_key_to_what_would_give_way(
    server: Server, database_url: str, cli: Cli, tmp_path: Path
) -> None:
    backups.fill(server, database_url, events=10)
    assert cli("backup", url=database_url).code == 0
    execute(
        database_url,
        "CREATE TABLE note AS SELECT website_id FROM website",
        "ALTER TABLE note ADD CONSTRAINT note_of FOREIGN KEY (website_id) REFERENCES website (website_id)",
    )
    before = rows_of(database_url)
    for arguments in ((), ("--only", "website")):
        refused = cli("restore", "latest", "--replace", "--yes", *arguments, url=database_url)
        assert refused.code == 5, refused.said
        assert "foreign keys to those that would be replaced: note." in refused.err
    assert cli("restore", "latest", "--only", "report", "--replace", "--yes", url=database_url).code == 0
    # With the table in the backup, too.
    assert cli("backup", url=database_url).code == 0
    whole = cli("restore", "latest", "--replace", "--yes", url=database_url)
    if server.dialect == "postgresql":
        assert whole.code == 0, whole.said
    else:
        assert whole.code in (1, 5), whole.said  # by the key's name that is there twice, or by the key
        assert "The database is as it was." in whole.err
    assert rows_of(database_url) == before
    with pytest.raises(DatabaseFault, match="foreign key"):
        execute(database_url, "DELETE FROM website")


@pytest.mark.usefixtures("postgresql_server")
def test_types_of_ones_own_come_along_and_nothing_else_goes(
    server: Server, database_url: str, cli: Cli, tmp_path: Path
) -> None:
    backups.fill(server, database_url, events=10)
    execute(
        database_url,
        "CREATE TYPE mood AS ENUM ('calm', 'wild')",
        "CREATE DOMAIN short AS text CHECK (length(value) < 9)",
        "ALTER TABLE website ADD COLUMN mood mood[] DEFAULT '{wild}', ADD COLUMN short short DEFAULT 'abc'",
        "CREATE TABLE my_own (mood mood)",
    )
    before = rows_of(database_url)
    assert cli("backup", url=database_url).code == 0
    whole = cli("restore", "latest", "--replace", "--yes", url=database_url)
    assert whole.code == 0, whole.said
    assert rows_of(database_url) == before
    # A type, a function that something else needs; and one that the dump has, and a restore hasn't.
    held = (
        (
            "CREATE TABLE later (mood mood)",
            "DROP TABLE later",
            "column mood of table later depends on type mood",
        ),
        (
            "CREATE FUNCTION shout(website) RETURNS text LANGUAGE sql RETURN upper($1.name)",
            "DROP FUNCTION shout",
            "website) depends on",
        ),
    )
    for make, drop, said in held:
        execute(database_url, make)
        failed = cli("restore", "latest", "--replace", "--yes", url=database_url)
        assert failed.code == 1, failed.said
        assert said in failed.err
        assert "The database is as it was." in failed.err
        execute(database_url, drop)
        assert rows_of(database_url) == before
    execute(
        database_url,
        "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql RETURN 7",
        "ALTER TABLE report ADD COLUMN mine integer DEFAULT mine()",
    )
    before = rows_of(database_url)
    assert cli("backup", url=database_url).code == 0
    refused = cli("restore", "latest", "--replace", "--yes", url=database_url)
    assert refused.code == 5, refused.said
    assert "report would lose what" in refused.err
    assert rows_of(database_url) == before


@pytest.mark.usefixtures("postgresql_server")
@pytest.mark.parametrize("kind", ["dump", "portable"])
def test_umami_and_others_may_what_they_might(server: Server, database_url: str, cli: Cli, kind: str) -> None:
    """Whoever restores is somebody else than Umami."""
    backups.fill(server, database_url, events=10)
    admin, reader = server.as_admin(database_url), f"r{uuid.uuid4().hex[:10]}"
    execute(
        database_url,
        "CREATE TABLE mine (id integer) PARTITION BY RANGE (id)",
        "CREATE TABLE mine_low PARTITION OF mine FOR VALUES FROM (0) TO (9)",
    )
    assert cli("backup", "--format", kind, url=database_url).code == 0
    before = rows_of(database_url)
    execute(admin, f"CREATE ROLE {reader}")
    try:
        execute(
            database_url,
            f"GRANT SELECT ON website TO {reader} WITH GRANT OPTION",
            f"GRANT UPDATE (name) ON report TO {reader}",
        )
        may = _rights(database_url)
        assert f"{reader}=r*" in str(may)
        assert f"{reader}=w" in str(may)
        outcome = cli("restore", "latest", "--replace", "--yes", url=admin)
        assert outcome.code == 0, outcome.said
        after = _rights(database_url)
        assert after == {table: may[table] for table in after}
        assert may.keys() - after.keys() <= {"mine_low"}  # a portable one's `mine` has no partitions
        assert rows_of(database_url) == before
    finally:
        execute(admin, f"DROP OWNED BY {reader}", f"DROP ROLE {reader}")


def _rights(url: str) -> dict[str, tuple[str, str]]:
    """Whose each table is, and what others may do with it and its columns."""
    text = (
        "SELECT c.relname AS name, pg_get_userbyid(c.relowner) AS owner, concat(c.relacl, ARRAY("
        "SELECT a.attacl FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL)) AS rights"
        " FROM pg_class AS c"
        " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')"
    )
    with backups.opened(url) as connection:
        return {
            row["name"]: (row["owner"], row["rights"]) for row in connection.rows(Query("rights", "", text))
        }


def test_what_hangs_on_what_gives_way_is_named(server: Server, database_url: str, cli: Cli) -> None:
    backups.fill(server, database_url, events=10)
    assert cli("backup", "--format", "portable", url=database_url).code == 0
    preview = ("restore", "latest", "--replace", "--dry-run")
    assert cli(*preview, "--json", url=database_url).document["attached"] == []
    if server.dialect == "postgresql":
        execute(
            database_url,
            "CREATE FUNCTION mine() RETURNS trigger AS 'BEGIN RETURN NEW; END' LANGUAGE plpgsql",
            "CREATE TRIGGER tell BEFORE INSERT ON website FOR EACH ROW EXECUTE FUNCTION mine()",
            "CREATE POLICY own ON session USING (true)",
            "ALTER TABLE session ENABLE ROW LEVEL SECURITY",
            "CREATE PUBLICATION events FOR TABLE website_event",
            "ALTER TABLE website_event REPLICA IDENTITY FULL",
            "ALTER TABLE website_event SET (autovacuum_vacuum_scale_factor = 0.01)",
            "COMMENT ON COLUMN report.name IS 'what it is'",
            "CREATE STATISTICS together ON url_path, url_query FROM website_event",
            "CREATE RULE never AS ON DELETE TO team DO INSTEAD NOTHING",
        )
    else:
        execute(database_url, "CREATE TRIGGER tell BEFORE INSERT ON website FOR EACH ROW SET NEW.name = 'x'")
    expected = ["trigger tell of website"]
    if server.dialect == "postgresql":
        expected = [
            "comment of report", "policy own of session", "row-level security of session",
            "rule never of team", "trigger tell of website",
            "its place in publication events of website_event",
            "replica identity of website_event",
            "setting autovacuum_vacuum_scale_factor=0.01 of website_event",
            "statistics together of website_event",
        ]  # fmt: skip
    assert cli(*preview, "--json", url=database_url).document["attached"] == expected
    shown = " ".join(cli(*preview, url=database_url).said.split())
    assert f"Goes with them, and comes only if the backup has it, too: {'; '.join(expected)}." in shown
    restored = cli("restore", "latest", "--replace", "--yes", "--json", url=database_url)
    assert restored.document["attached"] == expected
    assert cli(*preview, "--json", url=database_url).document["attached"] == []


@pytest.mark.usefixtures("mysql_server")
def test_what_gave_way_and_cant_be_dropped(server: Server, database_url: str, cli: Cli) -> None:
    """The user may rename tables to the names of what goes, and not drop those."""
    backups.fill(server, database_url, events=10)
    before = rows_of(database_url)
    assert cli("backup", "--format", "portable", url=database_url).code == 0
    execute(database_url, "DELETE FROM report")
    parts = urlsplit(server.as_admin(database_url))
    admin, database, user = parts.geturl(), database_name(database_url), f"u{uuid.uuid4().hex[:10]}"
    execute(admin, f"CREATE USER {user} IDENTIFIED BY 'secret'")
    try:
        for table in before:
            may = {"": "ALL", "_umami_ops_in_": "ALL", "_umami_ops_out_": "SELECT, CREATE, INSERT, ALTER"}
            for prefix, rights in may.items():
                execute(admin, f"GRANT {rights} ON `{database}`.`{prefix}{table}` TO {user}")
        less = parts._replace(netloc=f"{user}:secret@{parts.hostname}:{parts.port}").geturl()
        outcome = cli("restore", "latest", "--replace", "--yes", url=less)
        assert outcome.code == 1, outcome.said
        assert "The backup is restored, and in its place." in outcome.err
        assert "Grant the right" in outcome.err
        found = rows_of(database_url)
        assert {table: found[table] for table in before} == before
    finally:
        execute(admin, f"DROP USER {user}")
