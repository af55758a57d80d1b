"""The lock that keeps two runs from one database, and a run from Prisma's migrations."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from datetime import datetime

from umami_ops.databases.base import Connection, Database, Row
from umami_ops.errors import DatabaseFault, LockHeld, OpsError, Refused

_UNFINISHED_SECONDS, _LOOK_EVERY_SECONDS = 10.0, 0.1


class RunLock:
    """One run at a time: a lock of the server's, on a session that does nothing else.

    A run that was killed lets go of it at once, while the server goes on with its last statement: whoever
    takes the lock waits for the end of that, ten seconds at most.

    A worker asks before each batch whether it still stands (`check`); after a restart of the server it is
    taken again, once, unless another run was quicker.
    """

    def __init__(self, database: Database, purpose: str) -> None:
        self._database = database
        self._purpose = purpose
        self._mutex = threading.Lock()
        self._renewals_left = 1

    def __enter__(self) -> RunLock:
        """Take the lock; raises LockHeld (exit 4) or, while Prisma migrates, Refused (exit 5)."""
        try:
            self._take()
            try:
                self._outwait_the_killed()
            except BaseException:
                self._connection.close()
                raise
        except (LockHeld, Refused) as fault:
            fault.done = "Nothing was changed."
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OpsError):  # the session is gone, and the lock with it
            self._connection.run(self._connection.dialect.queries["lock.release"])
        self._connection.close()

    def check(self, worker: Connection) -> None:
        """Make sure, from a worker's session, that the lock is this run's. Raises LockHeld, DatabaseFault."""
        if self._is_held(worker):
            return
        with self._mutex:
            if self._is_held(worker):
                return
            if not self._renewals_left:
                raise DatabaseFault(
                    "The session that held this run's lock was ended, so the run ended too.",
                    hint="Run the same command again; it continues.",
                )
            self._renewals_left -= 1
            self._connection.close()
            self._take()

    def _outwait_the_killed(self) -> None:
        ends = time.monotonic() + _UNFINISHED_SECONDS
        unfinished = self._connection.dialect.queries["lock.unfinished"]
        while found := self._connection.rows(unfinished):
            if time.monotonic() > ends:
                raise _held_by_the_killed(found[0])
            time.sleep(_LOOK_EVERY_SECONDS)

    def _is_held(self, worker: Connection) -> bool:
        holders = worker.rows(worker.dialect.queries["lock.holder"])
        return any(int(row["session_id"]) == self._session_id for row in holders)

    def _take(self) -> None:
        connection = self._database.connect(purpose=f"umami-ops {self._purpose} (lock)")
        queries = connection.dialect.queries
        try:
            if connection.value(queries["lock.prisma_held"]):
                raise Refused(
                    "Prisma is migrating this database at this moment (Umami is starting or being upgraded).",
                    hint="Wait until Umami has started, then run this again.",
                )
            if not connection.value(queries["lock.acquire"]):
                raise _held_by_another(connection)
            self._session_id = int(connection.value(queries["lock.session"]))
        except OpsError:
            connection.close()
            raise
        self._connection = connection


def require_free(connection: Connection) -> None:
    """Raise LockHeld where another run is at work, before anybody reads or agrees to a plan that can't be.

    Takes nothing: a run that begins later is met by its own `RunLock`.
    """
    if connection.rows(connection.dialect.queries["lock.holder"]):
        fault = _held_by_another(connection)
        fault.done = "Nothing was changed."
        raise fault


def _held_by_another(connection: Connection) -> LockHeld:
    holders = connection.rows(connection.dialect.queries["lock.holder"])
    since = holders[0]["since"] if holders else None
    when = f" since {since:%Y-%m-%d %H:%M:%S} UTC" if isinstance(since, datetime) else ""
    return LockHeld(
        f"Another run of umami-ops is at work on this database{when}.",
        hint="Wait for it to end; it may run in another container or on another machine.",
    )


def _held_by_the_killed(found: Row) -> LockHeld:
    words = " ".join(str(found["statement"]).split()[:2])
    return LockHeld(
        f"A run of umami-ops was killed, and the server still goes on with its {words}: for"
        f" {float(found['seconds'] or 0):.0f} s now, in session {found['session_id']}.",
        hint="Wait until the server has come to its end, then run this again.",
    )
