"""Statements that wait and last: DDL and maintenance, each in a session of its own.

They wait a moment for their lock, again and again, so that nobody queues behind them; and a reason to stop
cancels the one that runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

from umami_ops.databases.base import Connection, Database, Values
from umami_ops.errors import OpsError, TransientFault
from umami_ops.execute.events import Observer, Trouble
from umami_ops.execute.lock import RunLock
from umami_ops.execute.stop import StopSignal
from umami_ops.sql import Query

#: So often what is done in an instant is tried.
BRIEF_TRIES = 240
_LOOK_EVERY_SECONDS = 0.1
_UNWATCHED_SECONDS = 0.2
_PAUSE_SECONDS = 0.5


class Ended(Exception):  # noqa: N818 -- not a fault
    """There is a reason to stop; what stands is undone by whoever catches this."""


@dataclass
class Patience:
    """Runs statements patiently on behalf of a step."""

    database: Database
    lock: RunLock
    stop: StopSignal
    observer: Observer
    purpose: str

    def connect(self, *, wait_seconds: float = 1) -> Connection:
        """Open a session whose statements wait so long at most for a lock of a table."""
        connection = self.database.connect(purpose=f"umami-ops {self.purpose}")
        connection.run(connection.dialect.queries["lock.impatient"], seconds=wait_seconds)
        return connection

    def check(self) -> None:
        """Raise Ended when there is a reason to stop."""
        if self.stop.reason:
            raise Ended

    def run(self, connection: Connection, statement: Query) -> None:
        """Run a statement again as long as its lock isn't to be had. Raises as `insist` does."""
        self.insist(connection, lambda: connection.run(statement))

    def insist(
        self,
        connection: Connection,
        attempt: Callable[[], object],
        *,
        tries: int = 120,
        clear_away: Callable[[], bool] = lambda: True,
    ) -> None:
        """Do something again as long as a lock for it isn't to be had.

        Between two tries, what the first one left is cleared away; where that can't be, there is no second:
        it would meet the remains. Raises TransientFault when the lock never was to be had, and Ended.
        """
        for number in range(1, tries + 1):
            self.check()
            try:
                self.lock.check(connection)
                attempt()
                return
            except TransientFault as fault:
                if number == tries or not clear_away():
                    raise
                self.observer(Trouble(f"{fault.message}; waiting for a free moment"))
                self.stop.wait(_PAUSE_SECONDS)

    def run_briefly(
        self, connection: Connection, statement: Query, values: Values = MappingProxyType({})
    ) -> None:
        """Run a statement as `run` does, and let go as soon as others queue behind its wait for a table.

        MySQL and MariaDB know no wait below a second. For what is done in an instant once it has its lock:
        what lasts would wait a second time, at its end, and be lost. Raises as `insist` does.
        """
        self.insist(connection, lambda: self.give_way(connection, statement, values), tries=BRIEF_TRIES)

    def give_way(
        self, connection: Connection, statement: Query, values: Values = MappingProxyType({})
    ) -> None:
        """Run a statement once; raises TransientFault when others queued behind its wait for a table."""
        queue = _Queue()
        try:
            with self.cancelling(connection, watch=queue.look, at_once=True):
                connection.run(statement, **values)
        except OpsError as fault:
            if queue.was_left:
                raise TransientFault("Somebody is using the table") from fault
            raise

    def heed_prisma(self, other: Connection, _session_id: int) -> None:
        """Make a migration of Prisma's a reason to stop: it would wait for us, and writers for it."""
        if other.value(other.dialect.queries["lock.prisma_held"]):
            self.stop.request("a Prisma migration began (Umami is being upgraded)")

    @contextmanager
    def cancelling(
        self,
        connection: Connection,
        watch: Callable[[Connection, int], None] = lambda _connection, _id: None,
        *,
        at_once: bool = False,
    ) -> Iterator[None]:
        """Cancel what this session runs inside, as soon as there is a reason to stop; that raises Ended.

        `watch` is called several times a second, with a second session and the number of the first. That one
        is opened before the statement begins if it is to look `at_once`; most end before they need a look.
        """
        session_id = int(connection.value(connection.dialect.queries["lock.session"]))
        other = self._watcher() if at_once else None
        finished = threading.Event()
        faults: list[OpsError] = []

        def look() -> None:
            try:
                self._look(other, session_id, finished, watch)
            except OpsError as fault:
                faults.append(fault)

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            yield
        except OpsError:
            self.check()
            raise
        finally:
            finished.set()
            watcher.join()
        if faults:
            self.observer(Trouble(f"{faults[0].message}; nobody watched, but the statement was done"))

    def _look(
        self,
        other: Connection | None,
        session_id: int,
        finished: threading.Event,
        watch: Callable[[Connection, int], None],
    ) -> None:
        if other is None and finished.wait(_UNWATCHED_SECONDS):
            return
        with other or self._watcher() as other:
            while not finished.is_set():
                # Again and again: a statement that begins just now has not seen the first.
                if self.stop.reason:
                    other.run(other.dialect.queries["lock.cancel"], session_id=session_id)
                else:
                    watch(other, session_id)
                finished.wait(_LOOK_EVERY_SECONDS)

    def _watcher(self) -> Connection:
        return self.database.connect(f"umami-ops {self.purpose} (watch)")


class _Queue:
    """Looks whether a session queues for a table, and takes it out when it still does at the next look."""

    def __init__(self) -> None:
        self.was_left = False
        self._was_seen = False

    def look(self, other: Connection, session_id: int) -> None:
        """Look once, from another session."""
        is_seen = bool(other.value(other.dialect.queries["lock.queues"], session_id=session_id))
        if is_seen and self._was_seen:
            self.was_left = True
            other.run(other.dialect.queries["lock.cancel"], session_id=session_id)
        self._was_seen = is_seen
