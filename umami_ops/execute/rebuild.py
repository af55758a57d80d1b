"""A rebuild: tables are copied without the rows that go, and swapped in; writers go on all the while.

Until the swap, everything can be undone, and is, at a fault or a reason to stop. A kill -9 leaves triggers
and copies behind; the next run clears them away first (`Connection.leftovers`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from umami_ops.databases.base import Connection, Database
from umami_ops.errors import DatabaseFault, OpsError, TransientFault
from umami_ops.execute.batches import Crew
from umami_ops.execute.events import Observer, StepBegan, Trouble
from umami_ops.execute.lock import RunLock
from umami_ops.execute.stop import StopSignal
from umami_ops.plan import Batches, Rebuild, Report, TableRebuild
from umami_ops.sql import Query

_PATIENCE_TRIES = 120


class _Ended(Exception):  # noqa: N818 -- not a fault
    """There is a reason to stop; what stands is undone."""


@dataclass
class Rebuilder:
    """Carries one Rebuild out."""

    step: Rebuild
    database: Database
    lock: RunLock
    stop: StopSignal
    observer: Observer
    report: Report
    batch_rows: int | None
    pause_seconds: float

    def run(self, jobs: int) -> None:
        """Create, follow, copy, index, compare, swap; or undo, leaving everything as it was."""
        with self._connect() as connection:
            try:
                self._prepare(connection, jobs)
                removed = self._compare(connection)
                self.observer(StepBegan("swapping the tables"))
                self._patiently(connection, self.step.swap)
            except _Ended:
                self._undo()
                return
            except BaseException:
                self._undo()
                raise
            for table, count in removed.items():
                self.report.deleted[table] = self.report.deleted.get(table, 0) + count
            # Done is done: from here on no reason to stop counts, the old tables go.
            for statement in self.step.finish:
                connection.run(statement)

    def _prepare(self, connection: Connection, jobs: int) -> None:
        parts = self.step.tables
        for part in parts.values():
            self._run_all(connection, part.create)
        for part in parts.values():
            self._run_all(connection, part.follow)
        for table in parts:
            self.observer(StepBegan(f"copying {table}"))
            self._crew(self.step.copying(table)).work(jobs)
            self._check()
        self.observer(StepBegan("building indexes"))
        with ThreadPoolExecutor(max_workers=jobs) as pool:
            for done in [pool.submit(self._index, part) for part in parts.values()]:
                done.result()

    def _crew(self, copying: Batches) -> Crew:
        pace = (self.batch_rows, self.pause_seconds)
        return Crew(copying, self.database, self.lock, self.stop, self.observer, self.report, *pace)

    def _index(self, part: TableRebuild) -> None:
        """Build a table's indexes in a session of its own, which a reason to stop cancels."""
        with self._connect() as connection:
            session_id = connection.value(connection.dialect.queries["lock.session"])
            finished = threading.Event()
            watch = threading.Thread(target=self._cancel_on_stop, args=(session_id, finished))
            watch.start()
            try:
                self._run_all(connection, part.index)
            except OpsError:
                self._check()
                raise
            finally:
                finished.set()
                watch.join()

    def _cancel_on_stop(self, session_id: int, finished: threading.Event) -> None:
        while not finished.wait(0.2):
            if self.stop.reason:
                with self.database.connect() as connection:
                    connection.run(connection.dialect.queries["lock.cancel"], session_id=session_id)
                return

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

    def _run_all(self, connection: Connection, statements: Iterable[Query]) -> None:
        for statement in statements:
            self._patiently(connection, statement)

    def _patiently(self, connection: Connection, statement: Query) -> None:
        """Run DDL that waits a second at most for its lock, again and again: nobody queues behind it."""
        for attempt in range(1, _PATIENCE_TRIES + 1):
            self._check()
            try:
                self.lock.check(connection)
                connection.run(statement)
                return
            except TransientFault as fault:
                if attempt == _PATIENCE_TRIES:
                    raise
                self.observer(Trouble(f"{fault.message}; waiting for a free moment"))
                self.stop.wait(0.5)

    def _check(self) -> None:
        if self.stop.reason:
            raise _Ended

    def _undo(self) -> None:
        """Take triggers and copies away, on a new session: the old one may be what broke."""
        with self._connect() as connection:
            for part in self.step.tables.values():
                for statement in (*part.unfollow, part.drop):
                    connection.run(statement)

    def _connect(self) -> Connection:
        connection = self.database.connect(purpose=f"umami-ops {self.report.operation}")
        connection.run(connection.dialect.queries["lock.impatient"])
        return connection
