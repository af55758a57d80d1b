"""Batches: slice after slice, a transaction each, by workers side by side, until none is left.

A slice is retried when others were at work on its rows, and after a lost connection; its size follows a Pace.
"""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from umami_ops.databases.base import Connection
from umami_ops.errors import ConnectionFault, ConnectionLost, OpsError, Refused, TransientFault
from umami_ops.execute.events import BatchDone, Observer, Trouble
from umami_ops.execute.lock import RunLock
from umami_ops.execute.pace import Pace
from umami_ops.execute.sessions import Sessions
from umami_ops.execute.stop import StopSignal
from umami_ops.plan import Batches, Report

#: A worker's own stretch, in slices.
_STRETCH = 8
_TRIES = 7
_RECONNECT_SECONDS = 30.0


class Keeper(Protocol):
    """Who writes down what batches delete. Each worker calls from a thread of its own."""

    def keep(self, connection: Connection, deleted: Mapping[str, int]) -> None:
        """Write down what a batch has deleted, by table, before its open transaction is committed."""

    def settle(self) -> None:
        """Hear that what this thread kept last was committed."""


class _Nobody:
    """Who has no place to write."""

    def keep(self, _connection: Connection, _deleted: Mapping[str, int]) -> None:
        raise Refused("What this plan deletes is to be archived, and there is no archive.")

    def settle(self) -> None:
        """Do nothing."""


NOBODY: Keeper = _Nobody()

_Result = TypeVar("_Result")


@dataclass
class _Slice:
    """A range of keys for one transaction: the values of its cursor, and how many keys it holds at most."""

    values: dict[str, Any]
    picked: int


@dataclass
class Crew:
    """The workers of one step: they share cursors, the size of a batch, the report, the first fault."""

    step: Batches
    sessions: Sessions
    lock: RunLock
    stop: StopSignal
    observer: Observer
    report: Report
    most_rows: int | None
    pause_seconds: float
    keeper: Keeper = NOBODY
    _mutex: threading.Lock = field(default_factory=threading.Lock)
    _fault: BaseException | None = None
    _others: list[threading.Thread] = field(default_factory=list)

    def work(self, jobs: int) -> None:
        """Run the step to its end, or to a reason to stop."""
        self._pace = Pace(self.step.most_rows, given=self.most_rows)
        self._cursors = [dict(cursor) for cursor in self.step.cursors]
        self._workers_left = jobs - 1
        self._run_worker()
        for thread in self._others:
            thread.join()
        if self._fault is not None:
            raise self._fault

    def _call_others(self) -> None:
        """Let the others begin, once there is more than one slice: a session that does nothing costs time."""
        for _ in range(self._workers_left):
            self._others.append(threading.Thread(target=self._run_worker))
            self._others[-1].start()
        self._workers_left = 0

    def _run_worker(self) -> None:
        try:
            _Worker(self).run()
        except BaseException as fault:  # noqa: BLE001 -- handed to the thread that called work()
            with self._mutex:
                self._fault = self._fault or fault

    @property
    def is_ending(self) -> bool:
        """Whether there is a reason to stop before the step's end."""
        return self.stop.reason is not None or self._fault is not None

    def next_slice(self, connection: Connection) -> _Slice | None:
        """Take the next slice off the shared cursors; None when there is none, or a reason to stop."""
        with self._mutex:
            while self._cursors and not self.is_ending:
                if found := self.cut(connection, self._cursors[0]):
                    if found.picked == found.values["batch_rows"] or len(self._cursors) > 1:
                        self._call_others()
                    return found
                self._cursors.pop(0)
        return None

    def cut(self, connection: Connection, cursor: dict[str, Any]) -> _Slice | None:
        """Cut the next slice off a cursor, which then stands at the slice's end; None when it is used up."""
        values = {**self.step.values, **cursor, "batch_rows": self._pace.rows}
        rows = connection.rows(self.step.next_slice, **values)
        if not rows:
            return None
        end = rows[0]
        cursor["since"] = end.get("until", values.get("since"))
        cursor["after"] = end["last"]
        return _Slice({**values, **end}, int(end["picked"]))

    def next_stretch(self, connection: Connection) -> dict[str, Any] | None:
        """Cut a stretch of several slices off the shared cursors: a cursor of one worker's own.

        A range locks the row at which it ends, the neighbour's first, in InnoDB: workers on neighbouring
        slices would wait for each other, and for the purge of what the other has deleted.
        """
        with self._mutex:
            while self._cursors and not self.is_ending:
                cursor = self._cursors[0]
                values = {**self.step.values, **cursor, "batch_rows": self._pace.rows * _STRETCH}
                rows = connection.rows(self.step.next_slice, **values)
                if rows and rows[0]["picked"] == values["batch_rows"] and rows[0]["until"] != values["since"]:
                    stretch = {**cursor, "horizon": rows[0]["until"]}
                    cursor |= {"since": rows[0]["until"], "after": None}
                    self._call_others()
                    return stretch
                self._cursors.pop(0)
                if rows:
                    return cursor  # the rest
        return None

    def delete(self, connection: Connection, found: _Slice) -> None:
        """Empty one slice in one transaction."""
        began = time.monotonic()
        with connection.transaction():
            self._fence(connection)
            deleted = _run_batch(connection, self.step, found.values)
            if self.step.is_kept:
                self.keeper.keep(connection, deleted)
        if self.step.is_kept:
            self.keeper.settle()
        seconds = time.monotonic() - began
        with self._mutex:
            self._note(deleted, seconds)
            self._pace.adapt(found.picked, seconds)
        self.observer(BatchDone(self.step.title, deleted, found.picked, seconds))

    def _fence(self, connection: Connection) -> None:
        self.lock.check(connection)
        if not connection.value(connection.dialect.queries["lock.fence_prisma"]):
            self.stop.request("a Prisma migration began (Umami is being upgraded)")
            raise _Stopped

    def _note(self, deleted: Mapping[str, int], seconds: float) -> None:
        for table, count in deleted.items():
            self.report.deleted[table] = self.report.deleted.get(table, 0) + count
        self.report.transactions += 1
        self.report.transaction_seconds.append(seconds)
        self.report.longest_transaction_seconds = max(self.report.longest_transaction_seconds, seconds)

    def note_retry(self, text: str) -> None:
        """Count a retry, say why, and let the next batch be smaller."""
        with self._mutex:
            self.report.retries += 1
            self._pace.shrink()
        self.observer(Trouble(f"{text}; trying that batch again"))

    def note_reconnect(self, text: str) -> None:
        """Count a new connection and say why."""
        with self._mutex:
            self.report.reconnects += 1
        self.observer(Trouble(f"{text}; connecting again"))


class _Stopped(Exception):  # noqa: N818 -- not a fault
    """A batch was given up before it changed anything, because the run ends."""


class _Worker:
    """One connection of a crew: retries what is transient, and connects again, once, when it is lost."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._reconnects_left = 1
        self._stretch: dict[str, Any] | None = None
        self._put_off: _Slice | None = None

    def run(self) -> None:
        """Take slice after slice until there is none left, or a reason to stop."""
        crew = self._crew
        try:
            self._connection = self._prepared(crew.sessions.take())
        except (ConnectionFault, ConnectionLost) as fault:
            self._reconnect(fault)
        try:
            while (found := self._guarded(self._next_slice)) is not None:
                self._guarded(functools.partial(crew.delete, found=found))
                crew.stop.wait(crew.pause_seconds)
        except _Stopped:
            pass
        except BaseException:
            self._connection.close()
            raise
        self._leave()

    def _leave(self) -> None:
        """Hand the session on, unless the step has made tables in it."""
        if any(query.statements for query in self._crew.step.prepare):
            self._connection.close()
        else:
            self._crew.sessions.give_back(self._connection)

    def _next_slice(self, connection: Connection) -> _Slice | None:
        """Take a slice, off a stretch of this worker's own where the step wants workers apart.

        The first of a stretch comes last: whoever is on the stretch before it locks its first row at his end.
        """
        crew = self._crew
        if not crew.step.apart:
            return crew.next_slice(connection)
        while not crew.is_ending:
            if self._stretch is None:
                self._stretch = crew.next_stretch(connection)
                if self._stretch is None:
                    return None
                self._put_off = crew.cut(connection, self._stretch)
            if found := crew.cut(connection, self._stretch):
                return found
            self._stretch = None
            if self._put_off is not None:
                found, self._put_off = self._put_off, None
                return found
        return None

    def _prepared(self, connection: Connection) -> Connection:
        try:
            for query in self._crew.step.prepare:
                for statement in query.statements:
                    connection.run(statement, **self._crew.step.values)
        except OpsError:
            connection.close()
            raise
        return connection

    def _guarded(self, task: Callable[[Connection], _Result]) -> _Result:
        for attempt in itertools.count(1):
            try:
                return task(self._connection)
            except TransientFault as fault:
                if self._crew.stop.reason:
                    raise _Stopped from None
                if attempt >= _TRIES:
                    raise
                self._crew.note_retry(fault.message)
                self._crew.stop.wait(0.05 * 2**attempt)
            except ConnectionLost as fault:
                self._connection.close()
                self._reconnect(fault)
        raise AssertionError("unreachable")

    def _reconnect(self, fault: ConnectionFault | ConnectionLost) -> None:
        """Connect again, waiting for a server that restarts; a second loss is final."""
        if not self._reconnects_left:
            fault.hint = "Check the server and the network, then run the same command again; it continues."
            raise fault
        self._reconnects_left -= 1
        self._crew.note_reconnect(fault.message)
        deadline = time.monotonic() + _RECONNECT_SECONDS
        while True:
            try:
                self._connection = self._prepared(self._crew.sessions.open())
                return
            except (ConnectionFault, ConnectionLost):
                if time.monotonic() >= deadline or self._crew.stop.reason:
                    raise fault from None
                self._crew.stop.wait(0.5)


def _run_batch(connection: Connection, step: Batches, values: Mapping[str, Any]) -> dict[str, int]:
    """Run the statements of one slice inside the open transaction and return the rows deleted by table.

    Raises TransientFault when fewer or more rows went than the batch itself had seen, or visitors `returned`:
    somebody else was at work on the same rows, and the transaction must not be committed.
    """
    deleted: dict[str, int] = {}
    expected: dict[str, int] = {}
    values = dict(values)
    for statement in step.work.statements:
        if statement.collect:
            values[statement.collect] = [
                row[statement.collect] for row in connection.rows(statement, **values)
            ]
            if not values[statement.collect]:
                break
            if statement.deletes:
                deleted[statement.deletes] = len(values[statement.collect])
        elif statement.copies:
            connection.run(statement, **values)
        elif statement.deletes:
            count = connection.run(statement, **values)
            deleted[statement.deletes] = deleted.get(statement.deletes, 0) + count
        else:
            for name, count in connection.row(statement, **values).items():
                if name == "returned":
                    if count:
                        raise TransientFault("Visitors returned while their sessions were going")
                    continue
                counts, table = (expected, name[7:]) if name.startswith("expect_") else (deleted, name)
                counts[table] = int(count)
    for table, count in expected.items():
        if deleted.get(table, 0) != count:
            raise TransientFault(f"rows of {table} changed under a batch")
    return deleted
