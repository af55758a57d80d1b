"""Umami's changes in the words of MySQL and MariaDB. Every statement commits by itself."""

from __future__ import annotations

from umami_ops.databases.alterations import Alterations, Pace, SchemaChange, described
from umami_ops.databases.base import Connection
from umami_ops.databases.mysql import ddl
from umami_ops.databases.mysql.dialect import MYSQL
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

_q = MYSQL.quote

_ONLINE = "metadata locks for an instant at both ends: reads and writes go on"
_WRITERS_WAIT = "shared: writes wait until it is done"
_NEW = "none that anybody waits for: the table is new"
_PATIENT_TRIES = 60
#: What was built is lost when the lock at its end isn't to be had within a second; writers wait as long.
_TRIES_TO_BUILD = 5


class MysqlAlterations(Alterations):
    """Changes of InnoDB's tables in the database that a connection looks at."""

    is_atomic = False
    # With 200,000 events, on both servers: the log costs a rewrite half as much again; an index is written
    # straight to its pages, where the sample inserts each entry.
    pace = Pace(rewrite=1.5, build=0.7)

    def __init__(self, connection: Connection) -> None:
        self._schema = connection.server().schema

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
                return [f"{_alter(change.table)} MODIFY {ddl.column_definition(change.column)}"]
            case RenameColumn():
                return [
                    f"{_alter(change.table)} RENAME COLUMN {_q(change.before)} TO {_q(change.after.name)}"
                ]
            case ChangeType():
                return [f"{_alter(change.table)} MODIFY {ddl.column_definition(change.after)}"]
            case DropColumn():
                return [f"{_alter(change.table)} DROP COLUMN {_q(change.column.name)}"]
            case AddIndex():
                return [_add_index(change.table, change.index)]
            case DropIndex():
                return [f"{_alter(change.table)} DROP INDEX {_q(change.index.name)}"]
            case AddForeignKey():
                return ddl.foreign_key_statements(Table(change.table, (), None, foreign_keys=(change.key,)))

    def waits(self, change: Change) -> str:
        """Return who waits: InnoDB builds indexes and columns beside writers, but changes of rows lock
        them.
        """
        return "writes" if isinstance(change, ChangeType | Move | AddForeignKey) else "nobody"

    def copies(self, change: Change) -> bool:
        """Say whether a change copies its whole table: another type does, and NOT NULL."""
        return isinstance(change, ChangeType | RequireValues)

    def make(self, change: SchemaChange) -> tuple[Maintenance, ...]:
        """Return the steps that make a change, beside writers where InnoDB can: it fails rather than lock."""
        match change:
            case AddTable():
                return self._steps(change, change.table.name, _NEW)
            case ChangeType() | AddForeignKey():
                return self._steps(change, change.table, _WRITERS_WAIT)
            case RequireValues():
                text = f"{self.statements(change)[0]}, ALGORITHM=INPLACE, LOCK=NONE"
                return (self._step(described(change), change.table, text, _ONLINE, tries=_TRIES_TO_BUILD),)
            case AddIndex():
                text = f"{self.statements(change)[0]}, ALGORITHM=INPLACE, LOCK=NONE"
                title = f"build index {change.index.name}"
                return (self._step(title, change.table, text, _ONLINE, tries=_TRIES_TO_BUILD),)
            case _:
                return self._steps(change, change.table, _ONLINE)

    def rename_index(self, table: str, before: str, after: str) -> Maintenance:
        """Return RENAME INDEX."""
        text = f"{_alter(table)} RENAME INDEX {_q(before)} TO {_q(after)}"
        return self._step(f"rename index {before} to {after}", table, text, _ONLINE)

    def drop_index(self, table: str, name: str) -> Maintenance:
        """Return DROP INDEX."""
        return self._step(f"drop index {name}", table, f"{_alter(table)} DROP INDEX {_q(name)}", _ONLINE)

    def give_default(self, table: str, column: Column) -> Maintenance:
        """Return SET DEFAULT (UUID()), which touches no row."""
        text = f"{_alter(table)} ALTER COLUMN {_q(column.name)} SET DEFAULT (UUID())"
        return self._step(f"give {table}.{column.name} a default", table, text, _ONLINE)

    def require_values(self, table: str, column: Column) -> tuple[Maintenance, ...]:
        """Return MODIFY … NOT NULL with the default said again, which MySQL would else forget."""
        change = RequireValues(table, column)
        text = f"{self.statements(change)[0]} DEFAULT (UUID()), ALGORITHM=INPLACE, LOCK=NONE"
        return (self._step(described(change), table, text, _ONLINE, tries=_TRIES_TO_BUILD),)

    def drop_default(self, table: str, column: Column) -> Maintenance:
        """Return DROP DEFAULT."""
        text = f"{_alter(table)} ALTER COLUMN {_q(column.name)} DROP DEFAULT"
        return self._step(f"drop the default of {table}.{column.name}", table, text, _ONLINE)

    def _steps(self, change: SchemaChange, table: str, lock: str) -> tuple[Maintenance, ...]:
        about = described(change)
        return tuple(self._step(about, table, text, lock) for text in self.statements(change))

    def _step(
        self, title: str, table: str, text: str, lock: str, *, tries: int = _PATIENT_TRIES
    ) -> Maintenance:
        return Maintenance(
            title=title,
            table=TableName(self._schema, table),
            statement=Query("upgrade.change", "", text),
            lock=lock,
            tries=tries,
            is_essential=True,
        )


def _alter(table: str) -> str:
    return f"ALTER TABLE {_q(table)}"


def _add_index(table: str, index: Index) -> str:
    columns = ", ".join(_q(column) for column in index.columns)
    return f"{_alter(table)} ADD {'UNIQUE ' if index.unique else ''}INDEX {_q(index.name)} ({columns})"
