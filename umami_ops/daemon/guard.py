"""Which of several daemons on one database runs the jobs, and what it has run: told by locks of the server's.

They belong to a session, so they go when their holder does, however that ends, and nothing of ours stands in
the database. One lock makes its holder the leader. Of each job it holds another, whose name is the last slot
that it is done with; the others look for those of the slots that they wait for, and so know what not to run
when they take over. Runs in a thread of its own, since a server that is away may take long to say so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from enum import StrEnum

from umami_ops.databases.base import Connection, Database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import LockHeld, OpsError

#: How often a session is asked whether it is still there, or the lock whether it is free.
_LOOK_SECONDS = 1.0
#: A leader that ends waits until the others have surely looked at what it was done with last.
_LINGER_SECONDS = 1.5
#: The server ends a session of which it hears nothing for so long, and its lock goes; ours speak more often.
_GONE_SECONDS, _SPEAK_SECONDS = 30, 8.0
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


class Deposed(LockHeld):
    """Another daemon leads, and this one has not heard of it."""


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
        self._url: DatabaseUrl | None = None
        self.session = 0
        """The server's number of the session that has the lock or waits for it; 0 while there is none."""
        self._may_have_moved = False
        self.role = Role.AWAY
        self.since = datetime.now(UTC)
        self._done: Mapping[str, datetime] = {}
        self._told: dict[str, datetime] = {}
        self._told_at = 0.0
        self._open: Mapping[str, Sequence[datetime]] = {}
        self.seen: Mapping[str, datetime] = {}
        """The last slot of each job that another daemon was seen to be done with."""

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def look_where(self) -> None:
        """See whether the database is another one by now, and leave the old one if so."""
        self._may_have_moved = True
        self._nudge.set()

    def step_down(self, session: int) -> None:
        """Begin anew without a session, since another daemon was seen to lead.

        The server has ended it then, and an answer may be waited for until the network gives it up, which
        takes a quarter of an hour.
        """
        if session == self.session != 0:
            self._connection, self._told, self.session = None, {}, 0
            self._thread = threading.Thread(target=self._watch, name="guard", daemon=True)
            self._thread.start()

    def publish(self, done: Mapping[str, datetime]) -> None:
        """Tell the others the last slot of each job that this daemon is done with."""
        if done != self._done:
            self._done = done
            self._soon()

    def look_for(self, slots: Mapping[str, Sequence[datetime]]) -> None:
        """Look which of these slots another daemon is done with: those in `seen`."""
        if slots != self._open:
            self._open = slots
            self._soon()

    def _soon(self) -> None:
        """Have the next look at once, unless the server is away, which has a rhythm of its own."""
        if self.role is not Role.AWAY:
            self._nudge.set()

    def stop(self, seconds: float = 3.0) -> None:
        """Let go of the locks; takes no longer than so many seconds, whatever the server does."""
        self._ending.set()
        self._nudge.set()
        self._thread.join(timeout=seconds)

    def _watch(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._ending.is_set():
            try:
                self._step()
                pause, wait = _FIRST_PAUSE_SECONDS, _LOOK_SECONDS
            except OpsError as fault:
                if threading.current_thread() is not self._thread:
                    return  # what it waited for was given up meanwhile
                self._drop()
                self._become(Role.AWAY, fault)
                pause, wait = min(2 * pause, _LONGEST_PAUSE_SECONDS), pause
            self._nudge.wait(wait)
            self._nudge.clear()
        with suppress(OpsError):
            self._tell()
            time.sleep(max(self._told_at + _LINGER_SECONDS - time.monotonic(), 0))
        self._drop()

    def _step(self) -> None:
        """Connect if need be, and take the lock or see that it is still held. Raises OpsError."""
        if self._may_have_moved:
            self._may_have_moved = False
            if self._open_database().url != self._url:
                self._drop()
        if self._connection is None:
            database = self._open_database()
            self._url, self._connection = database.url, database.connect("umami-ops daemon")
            _let_it_be_missed(self._connection)
            self.session = int(self._connection.value(self._connection.dialect.queries["lock.session"]))
            self.role = Role.AWAY if self.role is Role.LEADER else self.role  # the lock went with its session
        queries = self._connection.dialect.queries
        if self.role is Role.LEADER:
            self._connection.value(queries["lock.session"])
        elif self._connection.value(queries["lock.acquire_as"], role=_LEADER):
            self._become(Role.LEADER)
        else:
            self._become(Role.STANDBY)
        self._look(self._connection)
        self._tell()

    def _tell(self) -> None:
        """Hold the locks of the slots that this daemon is done with, no older ones. Raises OpsError.

        On standby, too: what the session was lost under that made it the leader may have gone on.
        """
        if self._connection is None:
            return
        queries = self._connection.dialect.queries
        for job, slot in self._done.items():
            before = self._told.get(job)
            if slot in (before, self.seen.get(job)):
                continue
            if not self._connection.value(queries["lock.acquire_as"], role=_name_of(job, slot)):
                continue
            self._told[job], self._told_at = slot, time.monotonic()
            if before is not None:
                self._connection.value(queries["lock.release_as"], role=_name_of(job, before))

    def _look(self, connection: Connection) -> None:
        """Find the newest slot of each job that another daemon holds the lock of. Raises OpsError."""
        held = connection.dialect.queries["lock.holder_as"]
        for job, slots in self._open.items():
            for slot in reversed(slots):
                if connection.value(held, role=_name_of(job, slot)):
                    self.seen = {**self.seen, job: slot}
                    break

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._told, self.session = {}, 0

    def _become(self, role: Role, fault: OpsError | None = None) -> None:
        if role is not self.role or (role is Role.AWAY and not self._was_told):
            self.role, self.since = role, datetime.now(UTC)
            self._was_told = True
            self._changed(role, fault)

    _was_told = False


def _name_of(job: str, slot: datetime) -> str:
    return f"{job} {slot.isoformat()}"


@contextmanager
def _held(database: Database, purpose: str, leader: int | None) -> Iterator[None]:
    with database.connect(purpose) as connection:
        queries = connection.dialect.queries
        if not connection.value(queries["lock.acquire_as"], role=_RUN):
            raise LockHeld(
                "A job of umami-ops runs on this database at this moment.",
                done="Nothing was changed.",
                hint="Wait for it to end; it may run in another container.",
            )
        leads = None if leader is None else connection.value(queries["lock.holder_as"], role=_LEADER)
        if leads not in (None, leader):
            raise Deposed("Another daemon runs this database's jobs by now.", done="Nothing was changed.")
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


def one_job(database: Database, purpose: str, leader: int | None = None) -> AbstractContextManager[None]:
    """Hold the lock under which jobs run, so that none runs twice or beside another.

    `leader` is the session by which the caller takes itself for the leader: a machine that slept, or that the
    network has forgotten, may be mistaken. Raises Deposed where another session leads, LockHeld while
    somebody else has the lock, and ConnectionFault.
    """
    return _held(database, purpose, leader)
