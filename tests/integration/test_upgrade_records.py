"""Migrations whose record is missing, whose file is another one, and what `--undo` must leave alone."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from testbed.bulk import connect
from testbed.servers import Server
from testbed.upgrading import MigrationFailed, upgrade
from tests.command import run
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.operations.upgrade.state import State, read_state
from umami_ops.umami.migrations import latest_released_level, migrations

_REPEATABLE = 12  # its rows are changed again by its next run, and nothing tells whether they were
_RECORDS = "SELECT COUNT(*) FROM _prisma_migrations WHERE migration_name = '{}' AND finished_at IS NOT NULL"


def _state(url: str) -> State:
    with open_database(DatabaseUrl.parse(url)).connect() as connection:
        return read_state(connection)


def _execute(url: str, *statements: str) -> None:
    with connect(url) as loader:
        for statement in statements:
            loader.execute(statement)
        loader.commit()


def _is_recorded(url: str, name: str) -> bool:
    with connect(url) as loader:
        return loader.execute(_RECORDS.format(name)) == [(1,)]


@pytest.mark.parametrize("undo", [(), ("--undo",)])
def test_a_missing_record_is_all_that_is_mended(
    server: Server, umami_database: str, undo: tuple[str, ...]
) -> None:
    """Whatever was recorded once is in use: even --undo takes nothing of it back."""
    url = umami_database
    before = _state(url)
    level = latest_released_level(server.dialect)
    for migration in migrations(server.dialect):
        if not 1 < migration.level < level or migration.level == _REPEATABLE:
            continue
        _execute(url, f"DELETE FROM _prisma_migrations WHERE migration_name = '{migration.name}'")
        outcome = run("upgrade", "repair", *undo, "--yes", url=url)
        assert outcome.code == 0, outcome.said
        assert _is_recorded(url, migration.name), (migration.name, outcome.said)
        assert _state(url) == before, migration.name


def test_what_was_rolled_back_stays_to_be_done_though_an_index_was_built_ahead(
    postgresql_server: Server, umami_database: str
) -> None:
    """PostgreSQL leaves nothing of a failed migration: the index is that of `upgrade prepare`."""
    url, name = umami_database, "22_add_2fa"
    (migration,) = (each for each in migrations("postgresql") if each.level == 22)
    assert run("upgrade", "prepare", "--to", "newest", "--yes", url=url).code == 0
    _execute(
        url,
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, started_at, applied_steps_count)"
        f" VALUES ('{uuid.uuid4()}', '{'a' * 64}', '{migration.name}', now(), 0)",
    )
    outcome = run("upgrade", "repair", "--yes", url=url)
    assert outcome.code == 0, outcome.said
    assert "nothing of it was applied" in outcome.out
    assert not _is_recorded(url, name)
    assert "two_factor_auth" not in _state(url).tables


def test_another_file_of_that_name_is_left_to_a_person(
    mysql_server: Server, umami_at: Callable[[int], str]
) -> None:
    url = umami_at(8)
    with pytest.raises(MigrationFailed):
        upgrade(url, 9, fails_after=2)
    before = _state(url)
    _execute(url, f"UPDATE _prisma_migrations SET checksum = '{'a' * 64}' WHERE finished_at IS NULL")
    refused = run("upgrade", "repair", "--yes", url=url)
    assert refused.code == 5, refused.said
    assert "isn't known here" in refused.err
    assert "migrate resolve --applied 09_" in refused.err
    assert _state(url) == before


def test_an_undo_shows_what_it_takes_back_and_keeps_values(
    mysql_server: Server, umami_at: Callable[[int], str]
) -> None:
    url = umami_at(9)
    with pytest.raises(MigrationFailed):
        upgrade(url, 10, fails_after=1)
    shown = run("upgrade", "repair", "--undo", "--dry-run", url=url)
    assert "Takes back" in shown.out, shown.said
    table = next(table for table in ("session", "session_data") if _state(url).has(table, "distinct_id"))
    names, values = {
        "session": ("session_id, website_id", "UUID(), UUID()"),
        "session_data": (
            "session_data_id, website_id, session_id, data_key, data_type",
            "UUID(), UUID(), UUID(), 'x', 1",
        ),
    }[table]
    _execute(url, f"INSERT INTO {table} ({names}, distinct_id) VALUES ({values}, 'someone')")
    refused = run("upgrade", "repair", "--undo", "--yes", url=url)
    assert refused.code == 5, refused.said
    assert _state(url).has(table, "distinct_id")


def test_visits_are_not_prepared_before_their_turn(
    mysql_server: Server, umami_at: Callable[[int], str]
) -> None:
    """Migration 04 isn't done ahead, so 05 can't be either, at which MariaDB fails, and MySQL doesn't."""
    fails = mysql_server.flavour == "mariadb"
    outcome = run("upgrade", "check", "--to", "2.20", url=umami_at(3))
    assert outcome.code == (5 if fails else 0), outcome.said
    assert ("Upgrade first to the last release before it" in outcome.out) == fails


def test_a_goal_whose_name_will_be_too_long(
    postgresql_server: Server, umami_at: Callable[[int], str]
) -> None:
    url, key = umami_at(13), str(uuid.uuid4())
    goals = '{"goals": [{"type": "url", "value": "/' + "x" * 150 + '"}]}'
    _execute(
        url,
        "INSERT INTO report (report_id, user_id, website_id, type, name, description, parameters)"
        f" VALUES ('{key}', '{key}', '{key}', 'goals', '{'n' * 100}', '', '{goals}')",
    )
    outcome = run("upgrade", "check", url=url)
    assert outcome.code == 5, outcome.said
    assert "over 200 characters together" in " ".join(outcome.out.split())
