"""Makes a database that looks as Umami's own migrations leave it, at any level, on any of the servers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

from testbed.bulk import Batch, Loader, cell, connect
from umami_ops.databases.mysql import ddl as mysql_ddl
from umami_ops.databases.postgresql import ddl as postgresql_ddl
from umami_ops.umami import prisma
from umami_ops.umami.migrations import migrations
from umami_ops.umami.schema import Schema, schema_at

ADMIN_ID = "41e2b680-648e-4b09-bcd7-3e2b10c06264"
_DDL: dict[str, ModuleType] = {"postgresql": postgresql_ddl, "mysql": mysql_ddl}

# bcrypt of "umami": what Umami's first migration inserts, and its documentation tells to change.
_ADMIN_PASSWORD = "$2b$10$BUli0c.muyCW1ErNJc3jL.vFRFtFJWrT8/GcR4A.sUdCznaXiqFXa"


def create_umami(url: str, level: int, *, indexes: bool = True) -> None:
    """Create Umami's schema at `level` in an empty database, with Prisma's records and the user admin.

    Without `indexes` every index and foreign key is left out for a fast load: `build_indexes` adds them.
    MySQL's primary keys stay, as InnoDB stores rows in their order.
    """
    with connect(url) as loader:
        schema = schema_at(loader.dialect, level)
        writer = _DDL[loader.dialect]
        bare = not indexes and loader.dialect == "postgresql"
        for table in schema.tables:
            loader.execute(writer.table_statement(replace(table, primary_key=None) if bare else table))
        loader.execute(writer.table_statement(prisma.TABLES[loader.dialect]))
        loader.load(_applied_migrations(schema))
        loader.load(_admin())
        if indexes:
            _build_indexes(loader, schema)


def build_indexes(url: str, level: int) -> None:
    """Create what `create_umami(…, indexes=False)` left out, and refresh the planner's statistics."""
    with connect(url) as loader:
        schema = schema_at(loader.dialect, level)
        if schema.dialect == "postgresql":
            for table in schema.tables:
                for statement in postgresql_ddl.primary_key_statements(table):
                    loader.execute(statement)
        _build_indexes(loader, schema)
        loader.commit()
        for statement in _analyze_statements(schema):
            loader.execute(statement)


def _build_indexes(loader: Loader, schema: Schema) -> None:
    writer = _DDL[schema.dialect]
    for table in schema.tables:
        for statement in writer.index_statements(table):
            loader.execute(statement)
    for table in schema.tables:
        for statement in writer.foreign_key_statements(table):
            loader.execute(statement)


def _analyze_statements(schema: Schema) -> Iterator[str]:
    if schema.dialect == "postgresql":
        yield "ANALYZE"
    else:
        yield "ANALYZE TABLE " + ", ".join(f"`{name}`" for name in schema.table_names)


def _applied_migrations(schema: Schema) -> Batch:
    """Return Prisma's records, as `prisma migrate deploy` of Umami's newest release writes them."""
    lines = []
    for migration in migrations(schema.dialect):
        if migration.level <= schema.level:
            row_id = uuid.uuid5(uuid.NAMESPACE_URL, migration.name)
            # An unreleased migration's file, and so its checksum, is not known: zeros stand for it.
            checksum = migration.checksum or "0" * 64
            at = f"2024-01-01 00:00:{migration.level:02}"
            values = (row_id, checksum, f"{at}.500", migration.name, None, None, at, 1)
            lines.append(",".join(cell(value) for value in values))
    return Batch("_prisma_migrations", prisma.TABLES[schema.dialect].column_names, lines)


def _admin() -> Batch:
    values = {"user_id": ADMIN_ID, "username": "admin", "role": "admin", "password": _ADMIN_PASSWORD}
    return Batch("user", tuple(values), [",".join(cell(value) for value in values.values())])
