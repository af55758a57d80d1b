"""The end of a move: Prisma's records, by which Umami knows the target and applies nothing twice.

And whether a target has come so far, which is what `--catch-up` begins with.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from umami_ops.databases.base import Connection, Introspector
from umami_ops.errors import Refused
from umami_ops.operations.inspect import inspect
from umami_ops.operations.problems import some
from umami_ops.sql import Query
from umami_ops.transfer import ledger
from umami_ops.transfer.schema import is_ours_or_prismas
from umami_ops.umami import prisma
from umami_ops.umami.migrations import level_of, migrations
from umami_ops.umami.schema import Table, schema_at


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


def require_ended(target: Connection, level: int, source_level: int) -> None:
    """Raise Refused unless a move to this target has come to its end: keys, indexes, Prisma's records.

    The rows of an interrupted one may be equal all the same, and Umami would not start on them, or crawl.
    """
    there = {table.name: table for table in target.transit().describe().tables}
    if not any(not is_ours_or_prismas(name) for name in there):
        raise Refused(
            "There is nothing to catch up with: the target is empty.",
            hint="Run `umami-ops migrate` without --catch-up first; it moves the database there.",
            done="Nothing was changed.",
        )
    if ledger.is_under_way(target):
        raise Refused(
            "The move to this target was interrupted: it has not come to its end, which --catch-up wants.",
            hint="Run `umami-ops migrate` without --catch-up; it goes on where it stopped.",
            done="Nothing was changed.",
        )
    installation = inspect(target)
    installation.require_safe(despite=("no_delete", "pooled"))
    if installation.level != level:
        raise Refused(
            f"The target is at level {installation.level} and the source at level {source_level}.",
            hint="Upgrade both to the same release of Umami first.",
            done="Nothing was changed.",
        )
    lacking = list(_lacking(target, there, level))
    if any(problem.code == "no_migrations" for problem in installation.problems):
        lacking.insert(0, f"the records in {prisma.NAME}")
    if lacking:
        raise Refused(
            f"The target isn't complete: it lacks {some(lacking)}.",
            hint="`umami-ops health`, asked about the target, names what creates what is missing. If a move "
            "was broken off here, begin anew with `umami-ops migrate --replace`.",
            done="Nothing was changed.",
        )


def _lacking(target: Connection, there: dict[str, Table], level: int) -> Iterator[str]:
    """Yield what Umami's schema of this level has and the target has not, by columns: names may differ."""
    schema = schema_at(target.dialect.name, level)
    for name in schema.table_names:
        if name not in there:
            yield f"table {name}"
            continue
        wanted, found = schema.table(name), there[name]
        own = [index.columns for index in found.indexes]
        if found.primary_key is not None:
            own.append(found.primary_key.columns)
        elif wanted.primary_key is not None:
            yield f"the primary key of {name}"
        for index in wanted.indexes:
            if not any(columns[: len(index.columns)] == index.columns for columns in own):
                yield f"index {index.name}"


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
