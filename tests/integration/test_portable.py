"""The portable backup: into its own kind of server whole, into the other kind as far as that can hold it."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed import servers
from testbed.servers import Server
from testbed.traffic import Traffic, populate
from testbed.umami import build_indexes, create_umami
from tests import backups
from tests.backups import indexes_of, rows_of
from tests.command import Outcome, run
from umami_ops.umami.schema import schema_at

Cli = Callable[..., Outcome]


@pytest.fixture(scope="module")
def filled(server: Server) -> Iterator[str]:
    """A database with every odd shape of traffic; only read, since tests share it."""
    url = backups.fill(server, server.create_database())
    yield url
    server.drop_database(url)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command line with a store of its own, and no client programs."""

    def call(*arguments: str, url: str) -> Outcome:
        env = {"UMAMI_OPS_PROGRAMS": str(tmp_path / "none")}
        return run(*arguments, url=url, env=env, folder=tmp_path)

    return call


def test_what_goes_in_comes_out(
    server: Server, filled: str, database_url: str, cli: Cli, tmp_path: Path
) -> None:
    made = cli("backup", "--format", "portable", "--json", url=filled)
    assert made.code == 0, made.said
    folder = tmp_path / "backups" / made.document["name"]
    for _ in range(2):  # into nothing, then over what is there
        outcome = cli("restore", "latest", "--replace", "--yes", url=database_url)
        assert outcome.code == 0, outcome.said
        assert rows_of(database_url) == rows_of(filled)
        assert indexes_of(database_url) == indexes_of(filled)
        backups.execute(database_url, "DELETE FROM session")
    verified = cli("backup", "verify", url=server.as_admin(filled))
    assert verified.code == 0, verified.said
    _assert_tar_opens_it(folder / "database.tar", made.document)


#: Columns of types that Umami has none of, with a value each.
_ODD = {
    "postgresql": {
        "a": ("tsvector", "'b':1"),
        "b": ("cidr", "10.0.0.0/8"),
        "c": ('"char"', "x"),
        "d": ("bit varying(3)", "101"),
    },
    "mysql": {"a": ("set('x','y')", "x,y"), "b": ("int(5) unsigned zerofill", "7")},
    "mariadb": {"a": ("inet6", "::1"), "b": ("int(5) unsigned zerofill", "7")},
}
#: A column of a type that no portable backup can take along.
_BOUND = {
    "postgresql": ("CREATE TYPE mood AS ENUM ('ok')", "ALTER TABLE website ADD odd mood"),
    "mysql": ("ALTER TABLE website ADD odd point",),
}


def test_types_that_umami_has_none_of(
    server: Server, umami_database: str, database_url: str, cli: Cli, tmp_path: Path
) -> None:
    columns = _ODD[server.flavour]
    made = ", ".join(f"{name} {type_}" for name, (type_, _) in columns.items())
    values = ", ".join("'" + value.replace("'", "''") + "'" for _, value in columns.values())
    backups.execute(umami_database, f"CREATE TABLE note ({made})", f"INSERT INTO note VALUES ({values})")
    assert cli("backup", "--format", "portable", url=umami_database).code == 0
    restored = cli("restore", "latest", "--yes", url=database_url)
    assert restored.code == 0, restored.said
    assert rows_of(database_url) == rows_of(umami_database)
    backups.execute(umami_database, *_BOUND[server.dialect])
    refused = cli("backup", "--format", "portable", url=umami_database)
    assert refused.code == 5, refused.said
    assert "website.odd" in refused.err
    assert "--format dump" in refused.err
    assert len(list((tmp_path / "backups").iterdir())) == 1


#: Tables with what no portable backup has, and as what each is named.
_MORE = {
    "postgresql": (
        "CREATE TABLE parent (id serial PRIMARY KEY CONSTRAINT positive CHECK (id > 0))",
        "CREATE TABLE child (id integer REFERENCES parent ON DELETE CASCADE)",
        "CREATE INDEX partly ON child (id) WHERE id > 1",
    ),
    "mysql": (
        "CREATE TABLE parent (id int AUTO_INCREMENT PRIMARY KEY, a varchar(36) DEFAULT (uuid()), b varchar(9)"
        " DEFAULT 'x', c timestamp DEFAULT CURRENT_TIMESTAMP, CONSTRAINT positive CHECK (b > ''))",
        "CREATE TABLE child (id int, CONSTRAINT child_id_fkey FOREIGN KEY (id) REFERENCES parent (id)"
        " ON DELETE CASCADE, a text)",
        "CREATE INDEX partly ON child (a(9))",
    ),
}
_NAMED = {
    "postgresql": {"column filled by a sequence parent.id"},
    "mysql": {"column that counts by itself parent.id", "computed default of column parent.a"},
}


def test_what_tables_of_ones_own_lose_is_said(
    server: Server, umami_database: str, database_url: str, cli: Cli
) -> None:
    backups.execute(umami_database, *_MORE[server.dialect])
    named = _NAMED[server.dialect] | {
        "check positive on parent",
        "index of its own kind partly on child",
        "ON DELETE or ON UPDATE of foreign key child_id_fkey on child",
    }
    made = cli("backup", "--format", "portable", "--json", url=umami_database)
    restored = cli("restore", "latest", "--yes", "--json", url=database_url)
    for outcome in (made, restored):
        assert outcome.code == 0, outcome.said
        (note,) = outcome.document["notes"]
        assert {*note.removesuffix(".").partition(": ")[2].split("; ")} == named
    with backups.opened(database_url) as connection:
        parent = connection.transit().describe().table("parent")
    assert parent is not None
    if server.dialect == "mysql":
        assert [column.default for column in parent.columns] == [None, None, "x", "CURRENT_TIMESTAMP"]


@pytest.mark.usefixtures("postgresql_server")
def test_the_latest_is_of_the_schema_that_the_url_names(
    server: Server, umami_database: str, cli: Cli
) -> None:
    backups.execute(umami_database, "ALTER SCHEMA public RENAME TO production", "CREATE SCHEMA staging")
    production, staging = (f"{umami_database}?schema={name}" for name in ("production", "staging"))
    made = cli("backup", "--format", "portable", "--json", url=production)
    assert made.code == 0, made.said
    name = made.document["name"]
    assert "production" in name
    restored = cli("restore", "latest", "--yes", url=staging)
    assert restored.code == 0, restored.said
    assert ".production on PostgreSQL" in restored.out
    before = rows_of(production)
    backups.execute(staging, 'DELETE FROM "user"')
    assert cli("backup", "--format", "portable", url=staging).code == 0
    outcome = cli("restore", "latest", "--replace", "--yes", "--json", url=production)
    assert (outcome.code, outcome.document["name"]) == (0, name), outcome.said
    assert rows_of(production) == before
    admin = f"{server.as_admin(umami_database)}?schema=production"
    verified = cli("backup", "verify", "latest", "--json", url=admin)
    assert (verified.code, verified.document["name"]) == (0, name), verified.said


def _assert_tar_opens_it(archive: Path, manifest: dict[str, object]) -> None:
    import zstandard

    with tarfile.open(archive) as tar:
        names = tar.getnames()
        assert names[:2] == ["manifest.json", "schema.json"]
        member = tar.extractfile("website.csv.zst")
        assert member is not None
        rows = zstandard.ZstdDecompressor().decompressobj().decompress(member.read())
    assert rows.count(b"\n") == 3
    assert rows.startswith(b'"')


def _into_the_other(source: Server, target: Server, level: int, cli: Cli) -> tuple[str, str, Outcome]:
    url, other = source.create_database(), target.create_database()
    create_umami(url, level, indexes=False)
    populate(url, Traffic(backups.NOW.replace(month=5), backups.NOW, events=400), level)
    build_indexes(url, level)
    made = cli("backup", "--format", "portable", "--json", url=url)
    assert made.code == 0, made.said
    return url, other, cli("restore", "latest", "--yes", "--json", url=other)


@pytest.mark.parametrize("names", [("mariadb", "postgresql-18"), ("mysql", "postgresql-18"),
                                   ("postgresql-18", "mysql"), ("postgresql-18", "mariadb"),
                                   ("mariadb", "mysql"), ("mysql", "mariadb"),
                                   ("postgresql-17", "postgresql-18")])  # fmt: skip
def test_into_another_kind_or_release_of_server(
    names: tuple[str, str], cli: Cli, request: pytest.FixtureRequest
) -> None:
    """Between releases of one kind what the servers hash values to is compared, too."""
    chosen = request.config.getoption("--servers")
    if chosen and not set(names) <= set(chosen.split(",")):
        pytest.skip("needs servers that weren't chosen")
    source, target = (servers.get(name) for name in names)
    url, other, outcome = _into_the_other(source, target, 13, cli)
    try:
        assert outcome.code == 0, outcome.said
        here, there = rows_of(url), rows_of(other)
        assert {table: len(rows) for table, rows in here.items()} == {t: len(r) for t, r in there.items()}
        with backups.opened(other) as connection:
            found = {table.name: table for table in connection.transit().describe().tables}
        for table in schema_at(target.dialect, 13).tables:
            assert {index.name for index in found[table.name].indexes} == {
                index.name for index in table.indexes
            }
    finally:
        source.drop_database(url)
        target.drop_database(other)


def test_an_archive_by_itself_that_is_cut_short(
    filled: str, database_url: str, cli: Cli, tmp_path: Path
) -> None:
    """Without the sums that lie beside it."""
    assert cli("backup", "--format", "portable", url=filled).code == 0
    whole = next(tmp_path.glob("backups/*/database.tar")).read_bytes()
    for size in (300, 1_500, 5_000, len(whole) // 2, len(whole) - 12_000):  # in heads, texts and rows
        (tmp_path / "cut.tar").write_bytes(whole[:size])
        outcome = cli("restore", "cut.tar", "--yes", url=database_url)
        assert outcome.code == 5, outcome.said
        assert "cut short" in outcome.err or "is no dump" in outcome.err
        assert rows_of(database_url) == {}


def test_what_has_no_place_there_is_refused(cli: Cli, request: pytest.FixtureRequest) -> None:
    chosen = request.config.getoption("--servers")
    if chosen and not {"postgresql-18", "mariadb"} <= set(chosen.split(",")):
        pytest.skip("needs servers that weren't chosen")
    source, target = servers.get("postgresql-18"), servers.get("mariadb")
    url, other, outcome = _into_the_other(source, target, 19, cli)
    try:
        assert outcome.code == 5, outcome.said
        assert rows_of(other) == {}
    finally:
        source.drop_database(url)
        target.drop_database(other)
