"""`backup`, `backup verify`, `restore` by the server's own tools: what goes in comes out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from testbed import servers
from testbed.servers import Server
from testbed.traffic import Traffic, populate
from testbed.umami import build_indexes, create_umami
from tests.command import Outcome, run
from umami_ops.databases.base import Connection, Introspector
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.sql import Query
from umami_ops.umami.migrations import latest_released_level

_NOW = datetime(2025, 7, 1, tzinfo=UTC)
_EVENTS = 1_500


@contextmanager
def _open(url: str) -> Iterator[Connection]:
    with open_database(DatabaseUrl.parse(url)).connect() as connection:
        yield connection


def _rows(url: str) -> dict[str, list[str]]:
    """Every row of every table, as sorted text."""
    with _open(url) as connection:
        found = {}
        for table, columns in Introspector(connection).columns().items():
            names = ", ".join(connection.dialect.quote(name) for name in sorted(columns))
            query = Query("all", "", f"SELECT {names} FROM {connection.dialect.quote(table)}")
            found[table] = sorted(repr(list(row.values())) for row in connection.rows(query))
        return found


def _indexes(url: str) -> set[str]:
    with _open(url) as connection:
        return {index.name for index in connection.upkeep().indexes(measured=False)}


@pytest.fixture(scope="module")
def filled(server: Server) -> Iterator[str]:
    """A database with every odd shape of traffic; only read, since tests share it."""
    url = server.create_database()
    level = latest_released_level(server.dialect)
    create_umami(url, level, indexes=False)
    populate(url, Traffic(_NOW - timedelta(days=120), _NOW, events=_EVENTS), level)
    build_indexes(url, level)
    yield url
    server.drop_database(url)


@pytest.fixture
def cli(server: Server, tmp_path: Path) -> Callable[..., Outcome]:
    """The command line with a store of its own and this server's programs."""

    def call(*arguments: str, url: str, env: dict[str, str] | None = None) -> Outcome:
        programs = {"UMAMI_OPS_PROGRAMS": str(servers.programs(server.name))}
        return run(*arguments, url=url, env=programs | (env or {}), folder=tmp_path)

    return call


def _made(outcome: Outcome) -> str:
    assert outcome.code == 0, outcome.said
    name = outcome.document["name"]
    assert isinstance(name, str)
    return name


def test_what_goes_in_comes_out(
    server: Server, filled: str, database_url: str, cli: Callable[..., Outcome], tmp_path: Path
) -> None:
    name = _made(cli("backup", "--json", url=filled))
    before = _rows(filled)
    manifest = json.loads((tmp_path / "backups" / name / "manifest.json").read_text())
    assert {table["name"]: table["rows"] for table in manifest["tables"]} == {
        t: len(r) for t, r in before.items()
    }
    outcome = cli("restore", "latest", "--yes", url=database_url)
    assert outcome.code == 0, outcome.said
    assert _rows(database_url) == before
    assert _indexes(database_url) == _indexes(filled)


def test_verified_in_a_scratch_database(server: Server, filled: str, cli: Callable[..., Outcome]) -> None:
    admin = server.as_admin(filled)
    before = _databases(admin)
    outcome = cli("backup", "--verify", "--json", url=admin)
    name = _made(outcome)
    assert outcome.document["verified"]["rows"] == sum(map(len, _rows(filled).values()))
    (listed,) = cli("backup", "list", "--json", url=admin).document["backups"]
    assert listed["name"] == name
    assert listed["verified_at"]
    assert _databases(admin) == before


def _databases(url: str) -> list[str]:
    with _open(url) as connection:
        rows = connection.rows(connection.dialect.queries["backup.databases"])
        return [row["name"] for row in rows if "scratch" in row["name"]]
