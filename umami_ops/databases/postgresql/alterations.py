"""Umami's changes in PostgreSQL's words, and how indexes are built there while others write."""

from __future__ import annotations

import hashlib

from sqlglot import exp

from umami_ops.databases.alterations import Alterations, Pace, SchemaChange, described
from umami_ops.databases.base import Connection
from umami_ops.databases.postgresql import ddl
from umami_ops.databases.postgresql.dialect import POSTGRESQL
from umami_ops.plan import Maintenance, TableName
from umami_ops.sql import Query
from umami_ops.umami.changes import (
    AddColumn,
    AddForeignKey,
    AddIndex,
    AddTable,
    Change,
    ChangeType,
    DropColumn,
    DropIndex,
    DropTable,
    Move,
    RenameColumn,
    RequireValues,
)
from umami_ops.umami.schema import Column, Index, Table

_q = POSTGRESQL.quote

_WRITERS_GO_ON = "SHARE UPDATE EXCLUSIVE: reads and writes go on"
_INSTANT = "ACCESS EXCLUSIVE for an instant"
_ALONE = "ACCESS EXCLUSIVE: nobody reads or writes the table until it is done"
_NEW = "none that anybody waits for: the table is new"
# Building an index concurrently waits for every transaction that began before; nobody queues behind that.
_WAIT_FOR_TRANSACTIONS_SECONDS = 60
_PATIENT_TRIES = 60


class PostgresqlAlterations(Alterations):
    """Changes of PostgreSQL's tables in the schema that a connection looks at."""

    is_atomic = True
    # With 200,000 and a million events: the log, and indexes that outgrow the processor's cache.
    pace = Pace(rewrite=2.0, build=1.2)

    def __init__(self, connection: Connection) -> None:
        self._schema = connection.server().schema
        queries = connection.dialect.queries
        self._remains = queries["upgrade.remains"]
        self._parts: dict[str, list[str]] = {}
        for row in connection.rows(queries["upgrade.partitions"]):
            self._parts.setdefault(row["table"], []).append(row["name"])

    def statements(self, change: SchemaChange) -> list[str]:
        """Return a change in words of its own, as a migration would make it."""
        match change:
            case AddTable():
                return [ddl.table_statement(change.table)]
            case DropTable():
                return [f"DROP TABLE {_q(change.table)}"]
            case AddColumn():
                return [f"{_alter(change.table)} ADD COLUMN {ddl.column_definition(change.column)}"]
            case RequireValues():
                return [f"{_alter(change.table)} ALTER COLUMN {_q(change.column.name)} SET NOT NULL"]
            case RenameColumn():
                return [
                    f"{_alter(change.table)} RENAME COLUMN {_q(change.before)} TO {_q(change.after.name)}"
                ]
            case ChangeType():
                column, kind = _q(change.after.name), _type(change.after)
                text = f"{_alter(change.table)} ALTER COLUMN {column} SET DATA TYPE {kind}"
                # To a shorter text a cast would cut what doesn't fit; without one the server refuses.
                is_text = change.after.type.startswith("character varying")
                return [text if is_text else f"{text} USING CAST({column} AS {kind})"]
            case DropColumn():
                return [f"{_alter(change.table)} DROP COLUMN {_if(change.tolerant)}{_q(change.column.name)}"]
            case AddIndex():
                not_there = "IF NOT EXISTS " if change.tolerant else ""
                return [_create_index(change.table, change.index, not_there)]
            case DropIndex():
                return [f"DROP INDEX {_if(change.tolerant)}{_q(change.index.name)}"]
            case AddForeignKey():
                table = Table(change.table, (), None, foreign_keys=(change.key,))
                return ddl.foreign_key_statements(table)

    def waits(self, change: Change) -> str:
        """Return who waits: CREATE INDEX and changes of rows let others read."""
        return "writes" if isinstance(change, AddIndex | Move) else "everybody"

    def copies(self, change: Change) -> bool:
        """Say whether a change copies its whole table: another type does."""
        return isinstance(change, ChangeType)

    def make(self, change: SchemaChange) -> tuple[Maintenance, ...]:
        """Return the steps that make a change, beside writers where PostgreSQL can."""
        match change:
            case AddIndex():
                return self._build(change.table, change.index)
            case DropIndex():
                return (self.drop_index(change.table, change.index.name),)
            case RequireValues():
                return self.require_values(change.table, change.column)
            case AddTable():
                return self._steps(change, change.table.name, _NEW)
            case ChangeType() | AddForeignKey():
                return self._steps(change, change.table, _ALONE)
            case _:
                return self._steps(change, change.table, _INSTANT)

    def rename_index(self, table: str, before: str, after: str) -> Maintenance:
        """Return ALTER INDEX … RENAME, which locks the index alone."""
        text = f"ALTER INDEX {_q(before)} RENAME TO {_q(after)}"
        return self._step(f"rename index {before} to {after}", table, text, _WRITERS_GO_ON)

    def drop_index(self, table: str, name: str) -> Maintenance:
        """Return DROP INDEX, concurrently where the table is one."""
        how = "" if table in self._parts else "CONCURRENTLY "
        lock = _INSTANT if table in self._parts else _WRITERS_GO_ON
        text = f"DROP INDEX {how}IF EXISTS {_q(name)}"
        return self._step(f"drop index {name}", table, text, lock)

    def give_default(self, table: str, column: Column) -> Maintenance:
        """Return SET DEFAULT gen_random_uuid(), which touches no row."""
        text = f"{_alter(table)} ALTER COLUMN {_q(column.name)} SET DEFAULT gen_random_uuid()"
        return self._step(f"give {table}.{column.name} a default", table, text, _INSTANT)

    def require_values(self, table: str, column: Column) -> tuple[Maintenance, ...]:
        """Return SET NOT NULL by way of a constraint, which is checked while others write.

        Source: PostgreSQL's manual on ALTER TABLE, SET NOT NULL, which passes over the rows when a valid
        constraint says so already.
        """
        name, field = _q(f"{table}_{column.name}_required"), _q(column.name)
        texts = (
            (f"{_alter(table)} DROP CONSTRAINT IF EXISTS {name}", _INSTANT),
            (f"{_alter(table)} ADD CONSTRAINT {name} CHECK ({field} IS NOT NULL) NOT VALID", _INSTANT),
            (f"{_alter(table)} VALIDATE CONSTRAINT {name}", _WRITERS_GO_ON),
            (f"{_alter(table)} ALTER COLUMN {field} SET NOT NULL", _INSTANT),
            (f"{_alter(table)} DROP CONSTRAINT {name}", _INSTANT),
        )
        title = f"make {table}.{column.name} NOT NULL"
        return tuple(self._step(title, table, text, lock) for text, lock in texts)

    def drop_default(self, table: str, column: Column) -> Maintenance:
        """Return DROP DEFAULT."""
        text = f"{_alter(table)} ALTER COLUMN {_q(column.name)} DROP DEFAULT"
        return self._step(f"drop the default of {table}.{column.name}", table, text, _INSTANT)

    def _steps(self, change: SchemaChange, table: str, lock: str) -> tuple[Maintenance, ...]:
        about = described(change)
        return tuple(self._step(about, table, text, lock) for text in self.statements(change))

    def _step(self, title: str, table: str, text: str, lock: str, *, build: bool = False) -> Maintenance:
        return Maintenance(
            title=title,
            table=TableName(self._schema, table),
            statement=Query("upgrade.change", "", text),
            lock=lock,
            wait_seconds=_WAIT_FOR_TRANSACTIONS_SECONDS if build else 1,
            tries=2 if build else _PATIENT_TRIES,
            remains=self._remains if build else None,
            is_essential=True,
        )

    def _build(self, table: str, index: Index) -> tuple[Maintenance, ...]:
        """Return CREATE INDEX CONCURRENTLY; of a partitioned table each part's index is built, then
        attached.
        """
        title = f"build index {index.name}"
        if table not in self._parts:
            text = _create_index(table, index, "CONCURRENTLY IF NOT EXISTS ")
            return (self._step(title, table, text, _WRITERS_GO_ON, build=True),)
        frame = _create_index(table, index, "IF NOT EXISTS ").replace(" ON ", " ON ONLY ", 1)
        steps = [self._step(f"declare index {index.name}", table, frame, "SHARE for an instant")]
        for part in self._parts[table]:
            name = _part_name(part, index.name)
            text = _create_index(
                part, Index(name, index.columns, index.unique), "CONCURRENTLY IF NOT EXISTS "
            )
            attach = f"ALTER INDEX {_q(index.name)} ATTACH PARTITION {_q(name)}"
            steps.append(self._step(f"{title}, {part}", part, text, _WRITERS_GO_ON, build=True))
            steps.append(self._step(f"attach index {name}", part, attach, _INSTANT))
        return tuple(steps)


def _alter(table: str) -> str:
    return f"ALTER TABLE {_q(table)}"


def _if(tolerant: bool) -> str:  # noqa: FBT001
    return "IF EXISTS " if tolerant else ""


def _type(column: Column) -> str:
    return exp.DataType.build(column.type, dialect="postgres").sql(dialect="postgres")


def _create_index(table: str, index: Index, words: str) -> str:
    columns = ", ".join(_q(column) for column in index.columns)
    unique = "UNIQUE " if index.unique else ""
    return f"CREATE {unique}INDEX {words}{_q(index.name)} ON {_q(table)} ({columns})"


def _part_name(part: str, index: str) -> str:
    """Return a name for a partition's index: readable, its own, and short enough for PostgreSQL."""
    mark = hashlib.sha256(index.encode()).hexdigest()[:8]
    return f"{part[:50]}_{mark}_idx"
