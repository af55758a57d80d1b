"""Migrates a database as Umami does at its start: by Prisma's rules, with Umami's changes in our own words.

On PostgreSQL a migration is one transaction, on MySQL and MariaDB every statement commits by itself. One
that fails leaves its row unfinished, and while there is such a row nothing is applied (Prisma's P3009).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from umami_ops.databases.base import Connection
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import DatabaseFault
from umami_ops.sql import Query
from umami_ops.umami.changes import Change, DropColumn, DropIndex, Move, changes
from umami_ops.umami.migrations import Migration, migrations

_MAX = {"postgresql": "ffffffff-ffff-ffff-ffff-ffffffffffff", "mysql": "g"}


class MigrationFailed(Exception):
    """A migration failed, or an earlier one had: its name, and what the server said."""


def upgrade(url: str, level: int, *, fails_after: int | None = None) -> None:
    """Apply what is missing up to a level. Raises MigrationFailed, as Umami would not start then.

    `fails_after` lets the next migration fail for no reason after so many changes.
    """
    with open_database(DatabaseUrl.parse(url)).connect("prisma") as connection:
        failed = connection.rows(_query(
            "SELECT migration_name AS name FROM _prisma_migrations"
            " WHERE finished_at IS NULL AND rolled_back_at IS NULL"
        ))  # fmt: skip
        if failed:
            raise MigrationFailed(f"P3009 {failed[0]['name']}")
        applied = {
            row["name"]
            for row in connection.rows(_query(
                "SELECT migration_name AS name FROM _prisma_migrations WHERE rolled_back_at IS NULL"
            ))
        }  # fmt: skip
        for migration in migrations(connection.dialect.name):
            if migration.name not in applied and migration.level <= level:
                _apply(connection, migration, fails_after)


def _apply(connection: Connection, migration: Migration, fails_after: int | None) -> None:
    row_id, checksum = str(uuid.uuid4()), migration.checksum or "0" * 64
    connection.run(
        _query(
            "INSERT INTO _prisma_migrations (id, checksum, migration_name, started_at)"
            " VALUES (:id, :checksum, :name, CURRENT_TIMESTAMP)"
        ),
        id=row_id,
        checksum=checksum,
        name=migration.name,
    )
    try:
        if connection.alterations().is_atomic:
            with connection.transaction():
                _make(connection, migration, fails_after)
        else:
            _make(connection, migration, fails_after)
    except DatabaseFault as fault:
        text = f"ERROR: {fault.message}"
        connection.run(
            _query("UPDATE _prisma_migrations SET logs = :logs WHERE id = :id"), logs=text, id=row_id
        )
        raise MigrationFailed(f"{migration.name}: {fault.message}") from None
    connection.run(
        _query(
            "UPDATE _prisma_migrations SET finished_at = CURRENT_TIMESTAMP, applied_steps_count = 1"
            " WHERE id = :id"
        ),
        id=row_id,
    )


def _make(connection: Connection, migration: Migration, fails_after: int | None) -> None:
    for number, change in enumerate(_in_its_order(connection.dialect.name, migration.level)):
        if number == fails_after:
            raise DatabaseFault("the server went away")
        make(connection, change)


def make(connection: Connection, change: Change) -> None:
    """Make one change as its migration does."""
    if isinstance(change, Move):
        _move(connection, change)
    else:
        for statement in connection.alterations().statements(change):
            connection.run(_query(statement))


def _in_its_order(dialect: str, level: int) -> Iterator[Change]:
    """Yield the changes; the migrations 06 and 17 begin with what they drop, and so may fail there."""
    made = changes(dialect, level)
    first = [change for change in made if level in (6, 17) and isinstance(change, DropIndex | DropColumn)]
    yield from first
    yield from (change for change in made if change not in first)


def _move(connection: Connection, move: Move) -> None:
    if move.name == "visits" and not connection.value(connection.dialect.queries["upgrade.makes_uuids"]):
        connection.run(_query("SELECT BIN_TO_UUID(RANDOM_BYTES(16))"))
    if move.name == "visits":
        _visits(connection)
        return
    values: dict[str, object] = {} if move.few else {"after": None, "last": _MAX[connection.dialect.name]}
    for statement in connection.dialect.queries[f"upgrade.move_{move.name}"].statements:
        if statement.collect:
            found = connection.rows(statement, **values)
            if not found:
                return
            values[statement.collect] = [row[statement.collect] for row in found]
        else:
            connection.run(statement, **values)


def _visits(connection: Connection) -> None:
    """Give each session's events of an hour a visit; events without a time get none, as Umami has it."""
    hour, new_id = (
        ("date_trunc('hour', created_at)", "gen_random_uuid()")
        if connection.dialect.name == "postgresql"
        else ("DATE_FORMAT(created_at, '%Y-%m-%d %H')", "UUID()")
    )
    connection.run(_query(
        f"CREATE TEMPORARY TABLE _visit AS SELECT session_id, {hour} AS hour, {new_id} AS id"
        " FROM website_event WHERE created_at IS NOT NULL GROUP BY 1, 2"
    ))  # fmt: skip
    table, set_ = ("website_event AS e", "FROM _visit AS v WHERE")
    condition = f"v.session_id = e.session_id AND v.hour = {hour.replace('created_at', 'e.created_at')}"
    if connection.dialect.name == "postgresql":
        connection.run(_query(f"UPDATE {table} SET visit_id = v.id {set_} {condition}"))
    else:
        connection.run(_query(f"UPDATE {table} JOIN _visit AS v ON {condition} SET e.visit_id = v.id"))
    connection.run(_query("DROP TABLE _visit"))


def _query(text: str) -> Query:
    return Query("prisma", "", text)
