"""A rebuild: tables are copied without the rows that go, and swapped in; writers go on all the while.

Until the swap, everything can be undone, and is, at a fault or a reason to stop. A kill -9 leaves triggers
and copies behind; the next run clears them away first (`Connection.leftovers`).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace

from umami_ops.databases.base import Connection, Database
from umami_ops.errors import DatabaseFault, LeftBehind, OpsError, Refused
from umami_ops.execute.batches import Crew
from umami_ops.execute.events import Observer, StepBegan
from umami_ops.execute.lock import RunLock
from umami_ops.execute.patience import BRIEF_TRIES, Ended, Patience
from umami_ops.execute.sessions import Sessions
from umami_ops.execute.stop import StopSignal
from umami_ops.plan import Batches, Rebuild, Report, TableRebuild


@dataclass
class Rebuilder:
    """Carries one Rebuild out."""

    step: Rebuild
    database: Database
    sessions: Sessions
    lock: RunLock
    stop: StopSignal
    observer: Observer
    report: Report
    batch_rows: int | None
    pause_seconds: float
    _patience: Patience = field(init=False)

    def __post_init__(self) -> None:
        self._patience = Patience(self.database, self.lock, self.stop, self.observer, self.report.operation)

    def run(self, jobs: int) -> None:
        """Create, follow, copy, index, compare, swap; or undo, leaving everything as it was."""
        with self._patience.connect() as connection:
            try:
                self._prepare(connection, jobs)
                removed = self._compare(connection)
                self.observer(StepBegan("swapping the tables"))
                self._swap(connection)
            except Ended:
                self._undo()
                return
            except BaseException:
                self._undo()
                raise
            for table, count in removed.items():
                self.report.deleted[table] = self.report.deleted.get(table, 0) + count
        # Done is done: no reason to stop counts from here on, and whoever reads an old table is waited for.
        with self.database.connect(purpose=f"umami-ops {self.report.operation}") as connection:
            for statement in self.step.finish:
                connection.run(statement)

    def _prepare(self, connection: Connection, jobs: int) -> None:
        parts = self.step.tables
        self._check_shape(connection)
        for statement in (
            *(statement for part in parts.values() for statement in part.create),
            *(statement for part in parts.values() for statement in part.follow),
        ):
            self._patience.run_briefly(connection, statement)
        # The biggest comes first: its indexes are built while the others are copied.
        with ThreadPoolExecutor(max_workers=jobs) as pool:
            indexing = []
            for table, part in parts.items():
                self.observer(StepBegan(f"copying {table}"))
                self._crew(self.step.copying(table)).work(jobs)
                self._patience.check()
                indexing.append(pool.submit(self._index, part))
            self.observer(StepBegan("building indexes"))
            for done in indexing:
                done.result()

    def _crew(self, copying: Batches) -> Crew:
        pace = (self.batch_rows, self.pause_seconds)
        return Crew(copying, self.sessions, self.lock, self.stop, self.observer, self.report, *pace)

    def _index(self, part: TableRebuild) -> None:
        """Build a table's indexes in a session of its own, which a reason to stop cancels."""
        with (
            self._patience.connect() as connection,
            self._patience.cancelling(connection, self._patience.heed_prisma),
        ):
            connection.run(connection.dialect.queries["prune.index_settings"])
            for statement in part.index:
                self._patience.run(connection, statement)

    def _compare(self, connection: Connection) -> dict[str, int]:
        """Return the rows that go, by table. Raises DatabaseFault when a copy lacks a row that is kept."""
        removed: dict[str, int] = {}
        with connection.transaction(read_only=True):
            for table, part in self.step.tables.items():
                row = connection.row(part.compare, **self.step.values)
                if row["copied"] < row["kept"]:
                    raise DatabaseFault(
                        f"The copy of {table} has {row['copied']:,} rows and should have {row['kept']:,}.",
                        done="The copies were dropped again; nothing was changed.",
                    )
                removed[table] = int(row["total"] - row["kept"])
        return removed

    def _swap(self, connection: Connection) -> None:
        """Let the tables change places, each try of it between two migrations of Prisma's."""

        def attempt() -> None:
            if not connection.value(self.step.hold_prisma):
                self.stop.request("a Prisma migration began (Umami is being upgraded)")
                raise Ended
            try:
                self._check_shape(connection)
                self._patience.give_way(connection, self.step.swap)
            finally:
                with suppress(OpsError):  # the session is gone, and the lock with it
                    connection.run(self.step.let_prisma)

        self._patience.insist(connection, attempt, tries=BRIEF_TRIES)

    def _check_shape(self, connection: Connection) -> None:
        """Raise Refused when a table has other columns, indexes or triggers than its copy was planned for."""
        for table, part in self.step.tables.items():
            if connection.rows(part.shape, table=table) != part.planned:
                raise Refused(
                    f"{table} has other columns, indexes, triggers or foreign keys than when this was"
                    " planned: Umami was upgraded, or somebody has changed it.",
                    hint="Run the same command again; it makes the copy anew.",
                    done="Nothing was changed; what had been copied was dropped again.",
                )

    def _undo(self) -> None:
        """Take triggers and copies away, on a new session: the old one may be what broke.

        A reason to stop is none to leave them. Raises LeftBehind where somebody keeps the tables in use.
        """
        patience = replace(self._patience, stop=StopSignal())
        try:
            with patience.connect() as connection:
                # Those that are there: MariaDB wants the right to drop a trigger even where there is none.
                for statement in connection.leftovers():
                    patience.run_briefly(connection, statement)
        except OpsError as fault:
            raise LeftBehind(
                f"The rebuild was given up, and what it had made could not be taken away: {fault.message}",
                hint="Run `umami-ops prune` or `umami-ops partition` again: it clears that away first.",
                done="No event was lost. Until then triggers carry every write over to the copies.",
            ) from fault
