"""Which of several daemons on one database runs the jobs: the one that holds a lock of the server's.

The lock belongs to a session, so it goes when its holder does, however that ends, and nothing of ours stands
in the database. Runs in a thread of its own, since a server that is away may take long to say so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from umami_ops.databases.base import Connection, Database
from umami_ops.errors import LockHeld, OpsError

#: How often a session is asked whether it is still there, or the lock whether it is free.
_LOOK_SECONDS = 2.0
#: The server ends a session of which it hears nothing for so long, and its lock goes; ours speak more often.
_GONE_SECONDS, _SPEAK_SECONDS = 30, 8.0
#: What was due so long ago another daemon has run, since the lock of a dead one would be gone by now; but
#: only if it has run nothing for a few seconds, or the job may still wait behind another there.
_PROOF, _IDLE = timedelta(seconds=60), timedelta(seconds=10)
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0
_LEADER, _RUN = "daemon", "job"


class Role(StrEnum):
    """What this daemon is at the moment."""

    AWAY = "away"
    """The database can't be reached."""
    STANDBY = "standby"
    """Another daemon runs the jobs."""
    LEADER = "leader"
    """This one does."""


class Guard:
    """Keeps the lock, or waits for it. `changed` is called, in the guard's thread, when the role changes."""

    def __init__(
        self, open_database: Callable[[], Database], changed: Callable[[Role, OpsError | None], None]
    ) -> None:
        self._open_database = open_database
        self._changed = changed
        self._ending = threading.Event()
        self._nudge = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="guard", daemon=True)
        self._connection: Connection | None = None
        self.role = Role.AWAY
        self.since = datetime.now(UTC)
        self.observed_at: datetime | None = None
        """Up to when another daemon has run what was due, as far as could be seen; None off standby."""
        self._idle_since: datetime | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Let go of the lock; takes no longer than a second, whatever the server does."""
        self._ending.set()
        self._nudge.set()
        self._thread.join(timeout=1)

    def _watch(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._ending.is_set():
            try:
                self._step()
                pause, wait = _FIRST_PAUSE_SECONDS, _LOOK_SECONDS
            except OpsError as fault:
                self._drop()
                self._become(Role.AWAY, fault)
                pause, wait = min(2 * pause, _LONGEST_PAUSE_SECONDS), pause
            self._nudge.wait(wait)
            self._nudge.clear()
        self._drop()

    def _step(self) -> None:
        """Connect if need be, and take the lock or see that it is still held. Raises OpsError."""
        if self._connection is None:
            self._connection = self._open_database().connect("umami-ops daemon")
            _let_it_be_missed(self._connection)
            self.role = Role.AWAY if self.role is Role.LEADER else self.role  # the lock went with its session
        queries = self._connection.dialect.queries
        if self.role is Role.LEADER:
            self._connection.value(queries["lock.session"])
        elif self._connection.value(queries["lock.acquire_as"], role=_LEADER):
            self._become(Role.LEADER)
        else:
            self._become(Role.STANDBY)
            self._observe(self._connection.value(queries["lock.held_as"], role=_RUN), datetime.now(UTC))

    def _observe(self, is_busy: object, now: datetime) -> None:
        """Note how far the other daemon, which holds the lock, has certainly come."""
        self._idle_since = None if is_busy else self._idle_since or now
        if self._idle_since is not None and now - self._idle_since >= _IDLE and now - self.since >= _PROOF:
            self.observed_at = now - _PROOF

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _become(self, role: Role, fault: OpsError | None = None) -> None:
        if role is not self.role or (role is Role.AWAY and not self._was_told):
            self.role, self.since = role, datetime.now(UTC)
            self.observed_at = self._idle_since = None
            self._was_told = True
            self._changed(role, fault)

    _was_told = False


@contextmanager
def _held(database: Database, purpose: str) -> Iterator[None]:
    with database.connect(purpose) as connection:
        if not connection.value(connection.dialect.queries["lock.acquire_as"], role=_RUN):
            raise LockHeld(
                "A job of umami-ops runs on this database at this moment.",
                done="Nothing was changed.",
                hint="Wait for it to end; it may run in another container.",
            )
        _let_it_be_missed(connection)
        done = threading.Event()
        speaker = threading.Thread(target=_speak, args=(connection, done), name="lock", daemon=True)
        speaker.start()
        try:
            yield
        finally:
            done.set()
            speaker.join(timeout=1)


def _let_it_be_missed(connection: Connection) -> None:
    """Have the server end this session soon after its client is gone without a word: a power cut, a cable."""
    connection.run(connection.dialect.queries["lock.missed"], seconds=_GONE_SECONDS)


def _speak(connection: Connection, done: threading.Event) -> None:
    """Let the server hear from a session that has nothing to do, until it is done."""
    with suppress(OpsError):
        while not done.wait(_SPEAK_SECONDS):
            connection.value(connection.dialect.queries["lock.session"])


def one_job(database: Database, purpose: str) -> AbstractContextManager[None]:
    """Hold the lock under which jobs run, so that none runs twice or beside another.

    Raises LockHeld while somebody else has it, and ConnectionFault.
    """
    return _held(database, purpose)
