"""What our DDL creates reads back from the server's catalogue as the schema it was made from, each level."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

import pytest

from testbed.bulk import Loader, connect
from testbed.servers import Server
from testbed.umami import ADMIN_ID, create_umami
from umami_ops.umami.migrations import migrations
from umami_ops.umami.schema import (
    Column,
    ForeignKey,
    Index,
    PrimaryKey,
    Table,
    latest_level,
    schema_at,
)

Rows = list[tuple[Any, ...]]

PG_COLUMNS = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
           pg_get_expr(d.adbin, d.adrelid)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY c.relname, a.attnum"""
PG_INDEXES = """
    SELECT t.relname, i.relname, x.indisunique, x.indisprimary, a.attname
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
    JOIN pg_attribute a ON a.attrelid = i.oid
    WHERE t.relnamespace = 'public'::regnamespace ORDER BY t.relname, i.relname, a.attnum"""
PG_FOREIGN_KEYS = """
    SELECT t.relname, k.conname, r.relname, a.attname, b.attname
    FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid JOIN pg_class r ON r.oid = k.confrelid
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.conkey[1]
    JOIN pg_attribute b ON b.attrelid = r.oid AND b.attnum = k.confkey[1]
    WHERE k.contype = 'f'"""
MY_COLUMNS = """
    SELECT table_name, column_name, column_type, is_nullable, column_default, extra
    FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position"""
MY_INDEXES = """
    SELECT table_name, index_name, non_unique, index_name = 'PRIMARY', column_name
    FROM information_schema.statistics WHERE table_schema = DATABASE()
    ORDER BY table_name, index_name, seq_in_index"""
MY_TABLES = "SELECT engine, table_collation FROM information_schema.tables WHERE table_schema = DATABASE()"


def read_postgresql(loader: Loader) -> tuple[Table, ...]:
    columns = defaultdict(list)
    for table, *column in loader.execute(PG_COLUMNS):
        columns[table].append(Column(*column))
    keys = defaultdict(list)
    for table, name, references, column, referenced in loader.execute(PG_FOREIGN_KEYS):
        keys[table].append(ForeignKey(name, (column,), references, (referenced,)))
    return tables(columns, loader.execute(PG_INDEXES), keys)


def read_mysql(loader: Loader) -> tuple[Table, ...]:
    columns = defaultdict(list)
    for table, name, type_, nullable, default, extra in loader.execute(MY_COLUMNS):
        assert "on update" not in extra.lower(), f"{table}.{name} changes by itself"
        columns[table].append(Column(name, plain_type(type_), nullable == "YES", plain_default(default)))
    indexes = [(t, name, not other, primary, c) for t, name, other, primary, c in loader.execute(MY_INDEXES)]
    return tables(columns, indexes, {})


def plain_type(text: str) -> str:
    """MariaDB shows a display width, and a JSON column as the longtext that it is."""
    return re.sub(r"\bint\(\d+\)", "int", text).replace("longtext", "json")


def plain_default(text: str | None) -> str | None:
    """MariaDB writes NULL for no default, and CURRENT_TIMESTAMP its own way."""
    if text is None or text == "NULL":
        return None
    return text.upper().replace("()", "")


def tables(
    columns: dict[str, list[Column]], indexes: Rows, keys: dict[str, list[ForeignKey]]
) -> tuple[Table, ...]:
    primary: dict[str, PrimaryKey] = {}
    secondary = defaultdict(list)
    for (table, name, unique, is_primary), rows in groupby(indexes, lambda row: row[:4]):
        names = tuple(row[4] for row in rows)
        if is_primary:
            primary[table] = PrimaryKey(name, names)
        else:
            secondary[table].append(Index(name, names, bool(unique)))
    return tuple(
        Table(name, tuple(columns[name]), primary[name], by_name(secondary[name]), tuple(keys.get(name, ())))
        for name in sorted(columns)
        if name != "_prisma_migrations"
    )


def by_name(indexes: Iterable[Index]) -> tuple[Index, ...]:
    return tuple(sorted(indexes, key=lambda index: index.name))


@pytest.mark.parametrize("level", range(1, latest_level("postgresql") + 1))
def test_every_level_on_postgresql(postgresql_server: Server, database_url: str, level: int) -> None:
    create_umami(database_url, level)
    with connect(database_url) as loader:
        assert read_postgresql(loader) == schema_at("postgresql", level).tables


@pytest.mark.parametrize("level", range(1, latest_level("mysql") + 1))
def test_every_level_on_mysql(mysql_server: Server, database_url: str, level: int) -> None:
    create_umami(database_url, level)
    with connect(database_url) as loader:
        assert read_mysql(loader) == schema_at("mysql", level).tables
        assert set(loader.execute(MY_TABLES)) == {("InnoDB", "utf8mb4_unicode_ci")}


def test_prisma_takes_every_migration_as_applied(server: Server, umami_database: str) -> None:
    with connect(umami_database) as loader:
        rows = loader.execute(
            "SELECT migration_name, checksum, finished_at IS NOT NULL, rolled_back_at, logs,"
            " applied_steps_count FROM _prisma_migrations ORDER BY migration_name"
        )
    released = [migration for migration in migrations(server.dialect) if migration.first_release]
    assert rows == [(migration.name, migration.checksum, True, None, None, 1) for migration in released]


def test_the_first_user_is_admin(server: Server, umami_database: str) -> None:
    quote = '"' if server.dialect == "postgresql" else "`"
    with connect(umami_database) as loader:
        rows = loader.execute(f"SELECT user_id, username, role FROM {quote}user{quote}")
    assert [(str(user_id), *rest) for user_id, *rest in rows] == [(ADMIN_ID, "admin", "admin")]


def test_databases_of_one_test_are_independent(umami_at: Callable[[int], str]) -> None:
    first, second = umami_at(13), umami_at(13)
    with connect(first) as loader:
        loader.execute("DELETE FROM _prisma_migrations")
    with connect(second) as loader:
        assert loader.execute("SELECT COUNT(*) FROM _prisma_migrations") == [(13,)]
