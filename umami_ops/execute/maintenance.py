"""Maintenance: one statement or program for one table, outside a transaction, watched, cancelled on a stop.

A table that others keep locked is left out rather than waited for. A migration of Prisma's, which would have
to wait for the statement, is a reason to stop.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from umami_ops.databases.base import Connection, Database
from umami_ops.databases.programs import begun
from umami_ops.errors import ConnectionLost, DatabaseFault, OpsError, PermissionFault, TransientFault
from umami_ops.execute.events import Advanced, Observer, StepDone, Trouble
from umami_ops.execute.lock import RunLock
from umami_ops.execute.patience import Ended, Patience
from umami_ops.execute.stop import StopSignal
from umami_ops.plan import Maintained, Maintenance, Program, Report, Size
from umami_ops.sql import Query

_LOOK_EVERY_SECONDS = 0.5
# What pg_repack says when it leaves a table alone, and then ends as if all were well.
_DID_NOTHING = ("timed out, do not cancel", "repack_trigger", "must have a primary key")
# What other words for the same statement can't mend.
_FINAL = (ConnectionLost, PermissionFault, TransientFault)


@dataclass
class Maintainer:
    """Carries one Maintenance out."""

    step: Maintenance
    database: Database
    lock: RunLock
    stop: StopSignal
    observer: Observer
    report: Report
    _patience: Patience = field(init=False)

    def __post_init__(self) -> None:
        self._patience = Patience(self.database, self.lock, self.stop, self.observer, self.report.operation)

    def run(self) -> None:
        """Run the statement and note what came of it; an interrupted one leaves nothing, and no note."""
        with self._patience.connect(wait_seconds=self.step.wait_seconds) as connection:
            before, began = self._size(connection), time.monotonic()
            skipped = None
            try:
                with self._patience.cancelling(connection, self._watch):
                    self._run(connection)
            except Ended:
                self._clear_away()
                return
            except TransientFault as fault:
                self._clear_away()
                if self.step.is_essential:
                    raise
                skipped = fault.message
            except OpsError:
                self._clear_away()
                raise
            seconds = time.monotonic() - began
            self.report.maintained.append(
                Maintained(
                    self.step.title, self.step.table.name, before, self._size(connection), seconds, skipped
                )
            )
        self.observer(StepDone(self.step.title))

    def _run(self, connection: Connection) -> None:
        try:
            self._run_patiently(connection, self.step.statement)
        except DatabaseFault as fault:
            if self.step.otherwise is None or self.stop.reason or isinstance(fault, _FINAL):
                raise
            self.observer(Trouble(f"{fault.message}; trying it in another way"))
            self._run_patiently(connection, self.step.otherwise)

    def _run_patiently(self, connection: Connection, statement: Query | Program) -> None:
        if isinstance(statement, Program):
            self._run_program(statement)
            return
        self._patience.insist(
            connection,
            lambda: connection.maintain(statement),
            tries=self.step.tries,
            clear_away=self._clear_away,
        )

    def _run_program(self, program: Program) -> None:
        """Run a client program; a reason to stop interrupts it, once, and then it clears up after itself."""
        is_interrupted = False
        process = begun(
            program.arguments,
            env=os.environ | self.database.program_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        while True:
            try:
                _, said = process.communicate(timeout=_LOOK_EVERY_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if self.stop.reason and not is_interrupted:
                    os.killpg(process.pid, signal.SIGINT)
                    is_interrupted = True
        self._patience.check()
        if idle := [line for line in said.splitlines() if any(words in line for words in _DID_NOTHING)]:
            raise DatabaseFault(f"{Path(program.arguments[0]).name} did nothing: {idle[0].strip()}")
        if process.returncode:
            last = (said.strip().splitlines() or ["it said nothing"])[-1]
            raise DatabaseFault(f"{Path(program.arguments[0]).name} failed: {last}")

    def _watch(self, other: Connection, session_id: int) -> None:
        self._patience.heed_prisma(other, session_id)
        for row in other.rows(other.dialect.queries["vacuum.progress"], session_id=session_id):
            self.observer(Advanced(self.step.title, row["phase"], row["share"]))

    def _size(self, connection: Connection) -> Size:
        place = self.step.table
        query = connection.dialect.queries["vacuum.size"]
        found = connection.rows(query, schema=place.schema, name=place.name)
        if not found:
            return Size(0, 0)  # the step makes the table, or has dropped it
        return Size(int(found[0]["table_bytes"]), int(found[0]["index_bytes"]))

    def _clear_away(self) -> bool:
        """Take away what the statement left, on a new session; False where the next run must do it."""
        if self.step.remains is None:
            return True
        try:
            with self._patience.connect() as connection:
                place = self.step.table
                left = connection.rows(self.step.remains, schema=place.schema, name=place.name)
                for row in left:
                    connection.run(Query("upkeep.clear", "", row["statement"]))
        except OpsError as fault:
            self.observer(Trouble(f"{fault.message}; the next run clears it away"))
            return False
        return True
