"""A task on one session while another goes on; it is cancelled where that one fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from umami_ops.databases.base import Connection, Database
from umami_ops.errors import OpsError


@contextmanager
def meanwhile(database: Database, session: Connection, task: Callable[[], object]) -> Iterator[None]:
    """Carry out what the task does by this session while the block goes on, and wait for it at the end.

    Raises what the task raised. Where the block fails, the session's statement is cancelled.
    """
    with _beside(database, task, [_number(session)]):
        yield


@contextmanager
def aside(database: Database, purpose: str, task: Callable[[Connection], object]) -> Iterator[None]:
    """Carry a task out as `meanwhile` does, by a session of its own: to open it takes its time, too."""
    numbers: list[int] = []

    def run() -> None:
        with database.connect(purpose) as session:
            numbers.append(_number(session))
            try:
                task(session)
            finally:
                numbers.clear()

    with _beside(database, run, numbers):
        yield


@contextmanager
def _beside(database: Database, task: Callable[[], object], numbers: Sequence[int]) -> Iterator[None]:
    """Run the task in a thread; where the block fails, cancel what the sessions of these numbers do."""
    faults: list[BaseException] = []

    def run() -> None:
        try:
            task()
        except BaseException as fault:  # noqa: BLE001 -- raised by the thread that waits
            faults.append(fault)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
        thread.join()
    except BaseException:
        while thread.is_alive():
            for number in tuple(numbers):
                cancel(database, number)
            thread.join(0.5)
        raise
    if faults:
        raise faults[0]


def _number(session: Connection) -> int:
    return int(session.value(session.dialect.queries["lock.session"]))


def cancel(database: Database, number: int) -> None:
    """End what another session of ours is doing; where no connection is to be had, it has ended already."""
    try:
        with database.connect("umami-ops (cancel)") as other:
            other.rows(other.dialect.queries["lock.cancel"], session_id=number)
    except OpsError:
        return
