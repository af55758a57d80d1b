"""What may be asked of a database that is to get another schema: Umami's changes, as steps of a plan.

Whoever asks knows no dialect: `postgresql/alterations.py` and `mysql/alterations.py` answer. All steps wait a
second at most for a lock, so that nobody queues behind them, and try again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from umami_ops.plan import Maintenance
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
from umami_ops.umami.schema import Column

SchemaChange = (
    AddTable | DropTable | AddColumn | RequireValues | RenameColumn | ChangeType | DropColumn | AddIndex
    | DropIndex | AddForeignKey
)  # fmt: skip


@dataclass(frozen=True)
class Pace:
    """How much longer a row takes in a real table than in the sample that `upgrade check` times.

    The sample fits the memory and isn't logged. `make bench-upkeep` measures the factors.
    """

    rewrite: float
    build: float


class Alterations(ABC):
    """Writes the statements of changes. Every method returns steps and does nothing."""

    @abstractmethod
    def statements(self, change: SchemaChange) -> list[str]:
        """Return a change in words of its own, as a migration would make it: what it locks, it locks."""

    @property
    @abstractmethod
    def is_atomic(self) -> bool:
        """Whether a migration is one transaction: all or nothing, and what it locks is locked to its end."""

    @abstractmethod
    def waits(self, change: Change) -> str:
        """Return who waits while a migration makes a change: `nobody`, `writes` or `everybody`."""

    @abstractmethod
    def copies(self, change: Change) -> bool:
        """Say whether a change copies its whole table."""

    @property
    @abstractmethod
    def pace(self) -> Pace:
        """How a migration's time follows from that of the sample."""

    @abstractmethod
    def make(self, change: SchemaChange) -> tuple[Maintenance, ...]:
        """Return the steps that make a change, beside writers where the server can."""

    @abstractmethod
    def rename_index(self, table: str, before: str, after: str) -> Maintenance:
        """Return what gives an index another name, at once."""

    @abstractmethod
    def drop_index(self, table: str, name: str) -> Maintenance:
        """Return what drops an index beside writers; one that isn't there is fine."""

    @abstractmethod
    def give_default(self, table: str, column: Column) -> Maintenance:
        """Return what makes the server give new rows a new uuid in a column, at once; no row is touched."""

    @abstractmethod
    def require_values(self, table: str, column: Column) -> tuple[Maintenance, ...]:
        """Return what makes a column NOT NULL that `give_default` gave a default, which it keeps."""

    @abstractmethod
    def drop_default(self, table: str, column: Column) -> Maintenance:
        """Return what undoes `give_default`, at once."""


def undone(change: Change) -> SchemaChange | None:
    """Return the change that takes a change back, or None where what it took away is gone.

    Columns and tables that it added go with what is in them.
    """
    match change:
        case AddTable():
            return DropTable(change.table.name)
        case AddColumn():
            return DropColumn(change.table, change.column, tolerant=False)
        case RenameColumn():
            before = Column(change.before, change.after.type, change.after.nullable, change.after.default)
            return RenameColumn(change.table, change.after.name, before)
        case AddIndex():
            return DropIndex(change.table, change.index, tolerant=False)
        case DropIndex():
            return AddIndex(change.table, change.index, tolerant=False)
        case _:
            return None


def described(change: Change) -> str:
    """Return a change in a few words, as `adds column tag to website_event`."""
    match change:
        case AddTable():
            return f"creates table {change.table.name}"
        case DropTable():
            return f"drops table {change.table}"
        case AddColumn():
            return f"adds column {change.column.name} to {change.table}"
        case RequireValues():
            return f"makes {change.table}.{change.column.name} NOT NULL"
        case RenameColumn():
            return f"renames {change.table}.{change.before} to {change.after.name}"
        case ChangeType():
            return f"makes {change.table}.{change.after.name} {change.after.type}"
        case DropColumn():
            return f"drops {change.table}.{change.column.name}"
        case AddIndex():
            return f"builds index {change.index.name}"
        case DropIndex():
            return f"drops index {change.index.name}"
        case AddForeignKey():
            return f"adds foreign key {change.key.name} to {change.table}"
        case Move():
            return change.about
