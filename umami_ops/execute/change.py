"""A change of the schema: its statements in one short transaction, tried until the lock is free for a moment.

What must not run in a transaction runs alone. A migration of Prisma's is a reason to stop; a reason to stop
cancels what runs, and a transaction that didn't commit has changed nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from umami_ops.databases.base import Connection, Database
from umami_ops.errors import DatabaseFault, OpsError, TransientFault
from umami_ops.execute.batches import Crew
from umami_ops.execute.events import Observer, StepDone, Trouble
from umami_ops.execute.lock import RunLock
from umami_ops.execute.patience import Ended, Patience
from umami_ops.execute.sessions import Sessions
from umami_ops.execute.stop import StopSignal
from umami_ops.plan import Change, Changed, Report
from umami_ops.sql import Query


@dataclass
class Changer:
    """Carries one Change out."""

    step: Change
    database: Database
    sessions: Sessions
    lock: RunLock
    stop: StopSignal
    observer: Observer
    report: Report
    _patience: Patience = field(init=False)
    _held_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._patience = Patience(self.database, self.lock, self.stop, self.observer, self.report.operation)

    def run(self) -> None:
        """Make the change and note how long it took; one that was cut short has changed nothing."""
        began = time.monotonic()
        with self._patience.connect(wait_seconds=self.step.wait_seconds) as connection:
            try:
                self._try(connection)
            except Ended:
                self._clear_away()
                return
            except OpsError:
                self._clear_away()
                raise
        self.report.changed.append(Changed(self.step.title, time.monotonic() - began, self._held_seconds))
        self.observer(StepDone(self.step.title))

    def _try(self, connection: Connection) -> None:
        # What lasts is cancelled by a reason to stop; a short transaction comes to its end.
        is_short = self.step.together or self.step.gives_way
        watched = self._patience.cancelling(connection, self._patience.heed_prisma)
        with contextlib.nullcontext() if is_short else watched:
            self._patience.insist(
                connection,
                lambda: self._attempt(connection),
                tries=self.step.tries,
                clear_away=partial(self._make_way, connection) if self.step.together else self._clear_away,
            )

    def _attempt(self, connection: Connection) -> None:
        if self.step.before is not None:
            Crew(
                self.step.before, self.sessions, self.lock, self.stop, self.observer, self.report, None, 0.0
            ).work(1)
            self._patience.check()
        if self.step.together:
            self._run_together(connection, self.step.statements)
            return
        self._fence(connection)
        for statement in self.step.statements:
            self._patience.check()
            if self.step.gives_way:
                self._patience.give_way(connection, statement)
            else:
                connection.run(statement)

    def _run_together(self, connection: Connection, statements: Sequence[Query]) -> None:
        with connection.transaction():
            self._fence(connection)
            connection.run(statements[0])
            locked_at = time.monotonic()
            self._ask(connection)
            for statement in statements[1:]:
                connection.run(statement)
        self._held_seconds = time.monotonic() - locked_at

    def _fence(self, connection: Connection) -> None:
        if not connection.value(connection.dialect.queries["lock.fence_prisma"]):
            self.stop.request("a Prisma migration began (Umami is being upgraded)")
            raise Ended

    def _ask(self, connection: Connection) -> None:
        for guard in self.step.guards:
            if connection.value(guard.query) != guard.expected:
                raise (TransientFault if guard.passing else DatabaseFault)(guard.otherwise)

    def _make_way(self, connection: Connection) -> bool:
        """Have an autovacuum of website_event end, which the short wait of a try never makes it do."""
        queries = connection.dialect.queries
        with contextlib.suppress(TransientFault), connection.transaction():
            connection.run(queries["lock.outlast"])
            connection.run(queries["lock.end_vacuum"])
        return self._clear_away()

    def _clear_away(self) -> bool:
        """Take away what the statements left, on a new session; False where the next run must do it."""
        if not self.step.remains:
            return True
        try:
            with self._patience.connect() as connection:
                for statement in self.step.remains:
                    connection.run(statement)
        except OpsError as fault:
            self.observer(Trouble(f"{fault.message}; the next run clears it away"))
            return False
        return True
