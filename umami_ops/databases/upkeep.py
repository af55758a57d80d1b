"""What may be asked about the state of a database's tables, and what can be done for them.

Whoever asks knows no dialect: `postgresql/upkeep.py` and `mysql/upkeep.py` answer, and what they give back
are values, and steps of a plan.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from umami_ops.plan import Maintenance, Size, TableName


@dataclass(frozen=True)
class TableState:
    """How a table is, by the server's own counters. A partition's `root` is the table it belongs to.

    `changed_rows` were written since its statistics were taken, `inserted_rows` since it was vacuumed;
    `free_bytes` are what a rewrite of the table, indexes apart, would give back, or None where nothing can be
    said; `is_estimate` says that they were reckoned from statistics, and not looked at. A server that has no
    such counter says 0.
    """

    place: TableName
    root: str
    holds_rows: bool
    may_maintain: bool
    size: Size
    indexes: int
    rows: int
    dead_rows: int
    changed_rows: int
    inserted_rows: int
    is_analyzed: bool
    freeze_age: int
    free_bytes: int | None
    is_estimate: bool


@dataclass(frozen=True)
class IndexState:
    """How an index is. `wasted_bytes` is what a rebuild would give back, None where nothing can be said.

    `is_estimate` says that it was reckoned from statistics, and not read from the index itself;
    `is_remains` that a failed rebuild left the index behind.
    """

    name: str
    table: TableName
    size_bytes: int
    is_valid: bool
    is_remains: bool
    wasted_bytes: int | None
    is_estimate: bool


class Upkeep(ABC):
    """What a server can do for its tables. All but `tables` and `indexes` return steps, and do nothing."""

    @abstractmethod
    def tables(self, *, measured_seconds: float) -> list[TableState]:
        """Return every table of the schema, and every partition, from the catalogue.

        Their free space is an estimate, or measured where the server can and it takes no longer than
        `measured_seconds` for all of them, the largest first; 0 asks for no more than the catalogue. Within a
        transaction.
        """

    @abstractmethod
    def indexes(self, *, measured_bytes: float) -> list[IndexState]:
        """Return every index of those tables: estimated, and where the server can measured, the worst first.

        That reads an index whole, so no more than `measured_bytes` of them are.
        """

    @abstractmethod
    def refresh(self, table: TableState) -> Maintenance:
        """Return what refreshes the planner's statistics."""

    @abstractmethod
    def clean(self, table: TableState) -> Maintenance:
        """Return what makes dead rows' space usable again and refreshes the statistics; writers go on."""

    @abstractmethod
    def rewrite(self, table: TableState) -> tuple[Maintenance, ...]:
        """Return what gives a table's free space back to the disk."""

    @abstractmethod
    def rebuild(self, index: IndexState) -> Maintenance:
        """Return what builds an index anew beside the old one, while writers go on.

        Raises Refused where no index can be built anew without its table.
        """

    @abstractmethod
    def drop(self, index: IndexState) -> Maintenance:
        """Return what drops an index that a failed rebuild left."""

    @property
    @abstractmethod
    def rewrite_is_online(self) -> bool:
        """Whether writers go on while a table is rewritten."""
