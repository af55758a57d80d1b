"""An SQLite file that must never keep a job from running.

When its disk is full or broken everything goes on in memory, and is written once the disk takes it again.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from umami_ops.errors import OpsError

FILE = "history.sqlite"
#: So many changes wait in memory for a disk that takes them again: days of jobs every minute.
KEPT_UNWRITTEN = 10_000
_MEND_EVERY_SECONDS = 10.0


class Store:
    """The file in a folder. Safe to use from several threads, and from several processes.

    `schema` is DDL that may be repeated. Raises OpsError when the folder can't be made or written to at the
    start; later on never. One that is there `only_to_read` finds a file, and takes no lock that keeps those
    from writing who have a job to note.
    """

    def __init__(self, folder: Path, schema: str, *, only_to_read: bool = False) -> None:
        self._folder = folder
        self._schema = schema
        self._only_to_read = only_to_read
        self.mutex = threading.RLock()
        self.fault = ""
        """Why the file can't be written at present; empty while it can."""
        self.lost = 0
        """How many changes the file will never get, since there were more than memory keeps."""
        self.put_aside = ""
        """The name of the file that was damaged, where there was one; the store began anew then."""
        self._file: sqlite3.Connection | None = None
        self._unwritten: list[tuple[str, tuple[Any, ...]]] = []
        self._tried_at = 0.0
        self._store = self._opened()

    def close(self) -> None:
        """Close the file, having tried once more to write what it lacks."""
        with self.mutex:
            self._tried_at = 0.0
            self._mend()
            self.lost += len(self._unwritten)
            self._store.close()

    def _opened(self) -> sqlite3.Connection:
        """Open the file; one that is damaged is put aside."""
        path = self._folder / FILE
        if self._only_to_read:
            return self._opened_to_read(path)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                return self._connected(path)
            except sqlite3.DatabaseError as fault:
                if isinstance(fault, sqlite3.OperationalError):
                    raise
                aside = path.with_suffix(f".damaged-{time.time():.0f}")
                path.replace(aside)
                self.put_aside = aside.name
                return self._connected(path)
        except (OSError, sqlite3.Error) as fault:
            why = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
            raise OpsError(
                f"The state folder {self._folder} can't be written to: {why}.",
                hint="UMAMI_OPS_STATE_DIR names another one; in a container, mount a volume there.",
            ) from None

    def _opened_to_read(self, path: Path) -> sqlite3.Connection:
        try:
            store = _session(path)
            _require_whole(store)
        except sqlite3.Error as fault:
            raise OpsError(
                f"The history in {self._folder} can't be read: {fault}.",
                hint="If it is damaged, the daemon puts it aside when it starts, and begins a new one.",
            ) from None
        return store

    def _connected(self, path: Path) -> sqlite3.Connection:
        path.touch(mode=0o600, exist_ok=True)
        store = _session(path)
        try:
            _require_whole(store)
            store.execute("PRAGMA synchronous = NORMAL")
            store.executescript(self._schema)
            # A write, since a read would not tell that the disk is full or read only.
            store.execute("BEGIN IMMEDIATE")
            store.execute("PRAGMA user_version = 1")
            store.execute("COMMIT")
        except sqlite3.Error:
            store.close()
            raise
        return store

    def read(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.mutex:
            return self._answered(sql, values)

    def write(self, sql: str, values: tuple[Any, ...]) -> None:
        """Carry out a statement that changes something."""
        with self.mutex:
            self._mend()
            self._answered(sql, values)
            if self._file is not None:
                self.lost += len(self._unwritten) >= KEPT_UNWRITTEN
                self._unwritten = [*self._unwritten[-KEPT_UNWRITTEN + 1 :], (sql, values)]

    def _answered(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Carry out a statement in the file, or in memory where that fails."""
        try:
            return self._store.execute(sql, values).fetchall()
        except sqlite3.Error as fault:
            if self._file is not None:
                raise  # memory doesn't fail but for a bug
            self._go_on_in_memory(fault)
            return self._store.execute(sql, values).fetchall()

    def _memory(self) -> sqlite3.Connection:
        memory = _session(":memory:")
        memory.executescript(self._schema)
        return memory

    def _go_on_in_memory(self, fault: sqlite3.Error) -> None:
        """Copy what can be read into memory, and keep what the file doesn't take."""
        self.fault = str(fault)
        memory = self._memory()
        try:
            self._store.backup(memory, progress=_give_up_where_locked)
            _require_whole(memory)
            memory.executescript(self._schema)
        except sqlite3.Error:
            memory.close()
            memory = self._memory()
        self._file, self._store = self._store, memory
        self._tried_at = time.monotonic()

    def _mend(self) -> None:
        """Write what the file lacks, if it takes it again; tried every ten seconds."""
        if self._file is None or time.monotonic() - self._tried_at < _MEND_EVERY_SECONDS:
            return
        self._tried_at = time.monotonic()
        try:
            _require_whole(self._file)
            self._file.execute("BEGIN IMMEDIATE")
            for sql, values in self._unwritten:
                self._file.execute(sql, values)
            self._file.execute("COMMIT")
        except sqlite3.Error as fault:
            if self._file.in_transaction:
                self._file.rollback()
            is_damaged = type(fault) is sqlite3.DatabaseError  # its subclasses speak of disks, locks and bugs
            if not is_damaged or not self._has_replaced_the_file():
                return
        self._store.close()
        self._store, self._file, self._unwritten, self.fault = self._file, None, [], ""

    def _has_replaced_the_file(self) -> bool:
        """Put the file, which is damaged, aside; write what memory holds into a new one, and say whether that
        went well.
        """
        assert self._file is not None
        try:
            new = self._opened()
            self._store.backup(new)
        except (OpsError, sqlite3.Error):
            return False
        self._file.close()
        self._file = new
        return True


def _session(path: Path | str) -> sqlite3.Connection:
    session = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    session.text_factory = _text
    return session


def _require_whole(store: sqlite3.Connection) -> None:
    """Raise DatabaseError for a damaged page anywhere; a statement would meet it only when it needs it."""
    found = store.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError("the file is damaged")


def _text(raw: bytes) -> str:
    """Return text also where damage has left what is none."""
    return raw.decode("utf-8", "replace")


def _give_up_where_locked(status: int, _remaining: int, _total: int) -> None:
    """Raise where another session holds the file: a backup of SQLite's would wait for it without an end."""
    if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise sqlite3.OperationalError("database is locked")
