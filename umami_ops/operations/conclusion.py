"""The end of a move: Prisma's records, by which Umami knows the target and applies nothing twice."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from umami_ops.databases.base import Connection, Introspector
from umami_ops.sql import Query
from umami_ops.umami import prisma
from umami_ops.umami.migrations import level_of, migrations


def conclusion(source: Connection, target: Connection, level: int) -> Iterator[Query]:
    """Return what makes Prisma's table with its records for this level, under another name at first."""
    dialect = target.dialect
    working = f"_umami_ops{prisma.NAME}"
    table = prisma.TABLES[dialect.name]
    transit = target.transit()
    quoted = dialect.quote(working)
    yield _query("prisma", f"DROP TABLE IF EXISTS {quoted}")
    for text in transit.create_statements(replace(table, name=working)):
        yield _query("prisma", text)
    for record in _records(source, target, level):
        names = ", ".join(dialect.quote(name) for name in record)
        values = ", ".join(target.literal(value) for value in record.values())
        yield _query("prisma", f"INSERT INTO {quoted} ({names}) VALUES ({values})")  # noqa: S608
    yield _query("prisma", f"DROP TABLE IF EXISTS {dialect.quote(prisma.NAME)}")
    yield _query("prisma", f"ALTER TABLE {quoted} RENAME TO {dialect.quote(prisma.NAME)}")
    for text in (*transit.index_statements(table), *transit.finish_statements(table)):
        yield _query("prisma", text)


def _records(source: Connection, target: Connection, level: int) -> Iterator[dict[str, Any]]:
    """Return Prisma's rows: the source's where the dialect is the same, else those of the same level."""
    applied = {
        row.name: row
        for row in Introspector(source).prisma_migrations()
        if row.finished_at and not row.rolled_back_at
    }
    same = source.dialect.name == target.dialect.name
    known = {migration.name: migration for migration in migrations(target.dialect.name)}
    now = datetime.now(UTC).replace(microsecond=0)
    for name in sorted(applied if same else known):
        own = level_of(name)
        if not same and (own is None or own > level):
            continue
        row = applied.get(name)
        checksum = row.checksum if row and same else known[name].checksum
        yield {
            "id": str(uuid.uuid4()),
            "checksum": checksum or "",
            "finished_at": row.finished_at if row else now,
            "migration_name": name,
            "started_at": (row.started_at if row else None) or now,
            "applied_steps_count": 1,
        }


def _query(name: str, text: str) -> Query:
    return Query(f"migrate.{name}", "", text)
