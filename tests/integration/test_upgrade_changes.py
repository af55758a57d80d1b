"""Umami's migrations in our words: from level to level they make the schema that Umami's own make."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from testbed.servers import Server
from testbed.upgrading import upgrade
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.operations.upgrade.state import State, read_state
from umami_ops.umami.changes import same_type
from umami_ops.umami.schema import latest_level, schema_at


def _state(url: str) -> State:
    with open_database(DatabaseUrl.parse(url)).connect() as connection:
        return read_state(connection)


def _assert_is(state: State, dialect: str, level: int) -> None:
    schema = schema_at(dialect, level)
    assert set(state.tables) - {"_prisma_migrations"} == set(schema.table_names)
    for table in schema.tables:
        here = state.tables[table.name]
        assert set(here) == set(table.column_names), table.name
        for column in table.columns:
            assert same_type(here[column.name].type, column.type), (table.name, column, here[column.name])
            assert here[column.name].nullable == column.nullable, (table.name, column)
        secondary = {i.name: i for i in state.indexes if i.table == table.name and not i.primary}
        assert set(secondary) == {index.name for index in table.indexes}, table.name
        for index in table.indexes:
            assert secondary[index.name].serves_as(index), index


def test_every_migration_makes_the_next_level(server: Server, umami_at: Callable[[int], str]) -> None:
    # MariaDB has no BIN_TO_UUID, by which migration 05 makes ids.
    first = 5 if server.name == "mariadb" else 1
    url = umami_at(first)
    for level in range(first + 1, latest_level(server.dialect) + 1):
        upgrade(url, level)
        _assert_is(_state(url), server.dialect, level)


@pytest.mark.parametrize("level", [1, 9, 13])
def test_a_state_reads_what_is_there(level: int, server: Server, umami_at: Callable[[int], str]) -> None:
    _assert_is(_state(umami_at(level)), server.dialect, level)
