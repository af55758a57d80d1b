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
    start; later on never.
    """

    def __init__(self, folder: Path, schema: str) -> None:
        self._folder = folder
        self._schema = schema
        self.mutex = threading.RLock()
        self.fault = ""
        """Why the file can't be written at present; empty while it can."""
        self.lost = 0
        """How many changes the file will never get, since there were more than memory keeps."""
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
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                return self._connected(path)
            except sqlite3.DatabaseError as fault:
                if isinstance(fault, sqlite3.OperationalError):
                    raise
                path.replace(path.with_suffix(f".damaged-{time.time():.0f}"))
                return self._connected(path)
        except (OSError, sqlite3.Error) as fault:
            why = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
            raise OpsError(
                f"The state folder {self._folder} can't be written to: {why}.",
                hint="UMAMI_OPS_STATE_DIR names another one; in a container, mount a volume there.",
            ) from None

    def _connected(self, path: Path) -> sqlite3.Connection:
        path.touch(mode=0o600, exist_ok=True)
        store = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        try:
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
            try:
                return self._store.execute(sql, values).fetchall()
            except sqlite3.Error as fault:
                self._go_on_in_memory(fault)
                return self._store.execute(sql, values).fetchall()

    def write(self, sql: str, values: tuple[Any, ...]) -> None:
        """Carry out a statement that changes something."""
        with self.mutex:
            self._mend()
            try:
                self._store.execute(sql, values)
            except sqlite3.Error as fault:
                if self._file is not None:
                    raise  # memory doesn't fail but for a bug
                self._go_on_in_memory(fault)
                self._store.execute(sql, values)
            if self._file is not None:
                self.lost += len(self._unwritten) >= KEPT_UNWRITTEN
                self._unwritten = [*self._unwritten[-KEPT_UNWRITTEN + 1 :], (sql, values)]

    def _go_on_in_memory(self, fault: sqlite3.Error) -> None:
        """Copy what can be read into memory, and keep what the file doesn't take."""
        self.fault = str(fault)
        memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        try:
            self._store.backup(memory, progress=_give_up_where_locked)
        except sqlite3.Error:
            memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        memory.executescript(self._schema)
        self._file, self._store = self._store, memory
        self._tried_at = time.monotonic()

    def _mend(self) -> None:
        """Write what the file lacks, if it takes it again; tried every ten seconds."""
        if self._file is None or time.monotonic() - self._tried_at < _MEND_EVERY_SECONDS:
            return
        self._tried_at = time.monotonic()
        try:
            self._file.execute("BEGIN IMMEDIATE")
            for sql, values in self._unwritten:
                self._file.execute(sql, values)
            self._file.execute("COMMIT")
        except sqlite3.Error:
            if self._file.in_transaction:
                self._file.rollback()
            return
        self._store.close()
        self._store, self._file, self._unwritten, self.fault = self._file, None, [], ""


def _give_up_where_locked(status: int, _remaining: int, _total: int) -> None:
    """Raise where another session holds the file: a backup of SQLite's would wait for it without an end."""
    if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise sqlite3.OperationalError("database is locked")
