"""How long a migration takes and how much disk it needs, from a timed sample and the sizes of tables.

The sample is a temporary table like website_event, all its indexes included, in which some of its rows are
rewritten and indexed, several times. It is written without a log and fits the memory, so a big table takes
longer: by the factors of `Alterations.pace`, which `make bench-upkeep` measures (docs/benchmarks.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from umami_ops.databases.alterations import Pace
from umami_ops.databases.base import Connection, Relation
from umami_ops.errors import DatabaseFault
from umami_ops.operations.inspect import Installation
from umami_ops.operations.upgrade.state import State
from umami_ops.umami.changes import AddIndex, Change, ChangeType, Move, RequireValues

_SAMPLE_ROWS = 10_000
#: Each part is timed so often, and the quickest counts: the others tell what else goes on on the server.
_TIMES = 3
#: A table with fewer rows than this is done before anybody could look at a clock.
FEW_ROWS = 20_000
#: What the entries of one more index take of the disk, where a table has none to compare it with.
_ENTRY_BYTES = 80


@dataclass(frozen=True)
class Rates:
    """Rows a second that are rewritten with all their indexes, and that one more index takes in."""

    rewritten: float
    indexed: float
    is_measured: bool


#: Two cores and a good disk, halved.
ASSUMED = Rates(rewritten=8_000, indexed=250_000, is_measured=False)


@dataclass(frozen=True)
class Cost:
    """What a change takes; `waits` is who waits for it: nobody, writes, or everybody."""

    table: str
    seconds: float
    disk_bytes: int
    waits: str


def measured_rates(connection: Connection, pace: Pace) -> Rates:
    """Time a sample of website_event in temporary tables; where that may not be, return what is usual."""
    queries = connection.dialect.queries
    try:
        connection.run(queries["upgrade.sample_drop"])
        for statement in queries["upgrade.sample_make"].statements:
            copied = connection.run(statement, sample=_SAMPLE_ROWS)
        rewriting = _quickest(lambda: connection.run(queries["upgrade.sample_update"]))
        building = _quickest(lambda: connection.run(queries["upgrade.sample_index"]))
        connection.run(queries["upgrade.sample_drop"])
    except DatabaseFault:
        return ASSUMED
    if copied < _SAMPLE_ROWS / 2:
        return ASSUMED
    return Rates(copied / rewriting / pace.rewrite, copied / building / pace.build, is_measured=True)


def _quickest(work: Callable[[], object]) -> float:
    return min(_timed(work) for _ in range(_TIMES))


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return max(time.perf_counter() - began, 1e-4)


class Estimator:
    """Turns changes into costs, by the sizes of tables at present."""

    def __init__(self, connection: Connection, installation: Installation, state: State) -> None:
        self._alterations = connection.alterations()
        self._relations = installation.relations
        self._state = state
        self._connection = connection
        self._rates: Rates | None = None

    @property
    def rates(self) -> Rates:
        """The speed of this server, timed at the first question."""
        if self._rates is None:
            self._rates = measured_rates(self._connection, self._alterations.pace)
        return self._rates

    @property
    def is_measured(self) -> bool:
        """Whether a sample was timed; it isn't where no table is big enough to need one."""
        return self._rates is not None and self._rates.is_measured

    def cost(self, change: Change) -> Cost | None:
        """Return what a change takes of a table that is here and not small; None for what is done at once."""
        match change:
            case Move():
                table = change.table
            case AddIndex() | ChangeType() | RequireValues():
                table = change.table
            case _:
                return None
        relation = self._relations.get(table)
        if relation is None or relation.rows_estimate < FEW_ROWS or (isinstance(change, Move) and change.few):
            return None
        seconds, disk_bytes = self._of(change, relation)
        return Cost(table, seconds, disk_bytes, self._alterations.waits(change))

    def _of(self, change: Change, relation: Relation) -> tuple[float, int]:
        rows, total_bytes = relation.rows_estimate, relation.table_bytes + relation.index_bytes
        indexes = sum(index.table == relation.name for index in self._state.indexes)
        build = rows / self.rates.indexed
        match change:
            case AddIndex():
                each = relation.index_bytes // indexes if indexes else _ENTRY_BYTES * rows
                return build, each
            case Move() if change.name == "duplicates":
                return build, 0
            case Move():
                return rows / self.rates.rewritten, total_bytes
            case _ if self._alterations.copies(change):
                return build * (1 + indexes), total_bytes
            case _:
                return build / 10, 0
