"""Umami's later migrations apply to a partitioned website_event, and to one that was partitioned."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from testbed.bulk import Loader, connect
from testbed.servers import Server
from tests import command
from tests.integration.test_partition import partition, partitions
from tests.integration.test_schema_catalogue import (
    PG_COLUMNS,
    PG_INDEXES,
    read_mysql,
    read_postgresql,
)
from tests.migrating import migrate
from umami_ops.umami.schema import Column, Table, latest_level, schema_at

_READ = {"postgresql": read_postgresql, "mysql": read_mysql}
_SESSION = "50000000-0000-4000-8000-000000000000"


def _write(loader: Loader, level: int) -> None:
    """Write some events of three years, and their session."""
    loader.execute(
        "INSERT INTO session (session_id, website_id, browser, created_at)"
        f" VALUES ('{_SESSION}', '{_SESSION}', 'firefox', '2025-01-01 00:00:00')"
    )
    visit, visit_id = (", visit_id", f", '{_SESSION}'") if level >= 5 else ("", "")
    for number in range(12):
        loader.execute(
            f"INSERT INTO website_event (event_id, website_id, session_id, url_path, created_at{visit})"
            f" VALUES ('{uuid.uuid5(uuid.NAMESPACE_URL, str(number))}', '{_SESSION}', '{_SESSION}',"
            f" '/{number}',"
            f" '{2024 + number % 3}-{number + 1:02}-02 03:04:05'{visit_id})"
        )
    loader.commit()


def _rows(loader: Loader, level: int) -> list[tuple[Any, ...]]:
    columns = ", ".join(schema_at(loader.dialect, level).table("website_event").column_names)
    return sorted(loader.execute(f"SELECT {columns} FROM website_event"), key=str)


def _table(loader: Loader) -> Table:
    """Read website_event as the catalogue shows it, partitioned or not."""
    found = [table for table in _READ[loader.dialect](loader) if table.name == "website_event"]
    assert len(found) == 1
    return found[0]


def _plain(table: Table) -> Table:
    """The table but for what partitions demand: a wider primary key, and a time for each event."""
    columns = tuple(
        Column(c.name, c.type, True, c.default) if c.name == "created_at" else c for c in table.columns
    )
    assert table.primary_key is not None
    return replace(table, columns=columns, primary_key=replace(table.primary_key, columns=("event_id",)))


@pytest.fixture
def partitioned_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the catalogue be read with partitioned tables in the place of their partitions."""
    from tests.integration import test_schema_catalogue as catalogue

    monkeypatch.setattr(
        catalogue,
        "PG_COLUMNS",
        PG_COLUMNS.replace("c.relkind = 'r'", "c.relkind IN ('r', 'p') AND NOT c.relispartition"),
    )
    monkeypatch.setattr(
        catalogue, "PG_INDEXES", PG_INDEXES.replace("ORDER BY", "AND NOT t.relispartition ORDER BY", 1)
    )


@pytest.mark.usefixtures("partitioned_catalogue")
@pytest.mark.parametrize("since", [4, 13])
def test_later_migrations(server: Server, umami_at: Callable[[int], str], since: int) -> None:
    latest = latest_level(server.dialect)
    plain, url = umami_at(since), umami_at(since)
    for each in (plain, url):
        with connect(each) as loader:
            _write(loader, since)
    partition(url, "enable", "--yes")
    partition(url, "split", "--yes")
    for each in (plain, url):
        with connect(each) as loader:
            migrate(loader, since, latest)
    with connect(plain) as one, connect(url) as other:
        assert _plain(_table(other)) == _table(one)
        assert _rows(other, latest) == _rows(one, latest)
    partition(url, "disable", "--yes")
    with connect(plain) as one, connect(url) as other:
        assert _table(other) == _table(one) == schema_at(server.dialect, latest).table("website_event")
        assert _rows(other, latest) == _rows(one, latest)


@pytest.mark.usefixtures("partitioned_catalogue")
def test_migrations_after_going_back(server: Server, umami_at: Callable[[int], str]) -> None:
    latest = latest_level(server.dialect)
    url = umami_at(4)
    with connect(url) as loader:
        _write(loader, 4)
    partition(url, "enable", "--yes")
    partition(url, "disable", "--yes")
    with connect(url) as loader:
        assert _table(loader) == schema_at(server.dialect, 4).table("website_event")
        migrate(loader, 4, latest)
        assert _table(loader) == schema_at(server.dialect, latest).table("website_event")


def test_going_back_offline_is_one_statement(mysql_server: Server, umami_at: Callable[[int], str]) -> None:
    """Two would leave, after the first, a plain table with a partitioned one's key, which nothing mends."""
    url = umami_at(13)
    with connect(url) as loader:
        _write(loader, 13)
        rows = _rows(loader, 13)
    partition(url, "enable", "--offline", "--yes")
    partition(url, "disable", "--offline", "--yes")
    with connect(url) as loader:
        assert _table(loader) == schema_at(mysql_server.dialect, 13).table("website_event")
        assert _rows(loader, 13) == rows
    partition(url, "enable", "--offline", "--yes")
    with connect(url) as loader:
        again = "event_id, website_id, session_id, url_path, visit_id"
        loader.execute(
            f"INSERT INTO website_event ({again}, created_at)"
            f" SELECT {again}, created_at + INTERVAL 1 SECOND FROM website_event LIMIT 1"
        )
        loader.commit()
    assert command.run("partition", "disable", "--offline", "--yes", url=url).code in (1, 5)
    assert partitions(url)


def test_names_can_be_changed(server: Server, umami_database: str) -> None:
    """A column, an index and the table itself can be renamed, and back."""
    url = umami_database
    partition(url, "enable", "--yes")
    index = "website_event_visit_id_idx"
    renames = [
        "ALTER TABLE website_event RENAME COLUMN {0}tag TO {1}tag",
        f"ALTER TABLE website_event RENAME INDEX {{0}}{index} TO {{1}}{index}"
        if server.dialect == "mysql"
        else f"ALTER INDEX {{0}}{index} RENAME TO {{1}}{index}",
        "ALTER TABLE {0}website_event RENAME TO {1}website_event",
    ]
    with connect(url) as loader:
        for there, back in (("", "x_"), ("x_", "")):
            ordered = renames if there == "" else reversed(renames)
            for rename in ordered:
                loader.execute(rename.format(there, back))
        loader.commit()
        assert _read_names(loader) >= {"website_event_visit_id_idx"}


def _read_names(loader: Loader) -> set[str]:
    query = (
        "SELECT indexname FROM pg_indexes WHERE tablename = 'website_event'"
        if loader.dialect == "postgresql"
        else "SELECT DISTINCT index_name FROM information_schema.statistics"
        " WHERE table_schema = DATABASE() AND table_name = 'website_event'"
    )
    return {name for (name,) in loader.execute(query)}
