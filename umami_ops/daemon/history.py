"""What became of jobs, in an SQLite file of bounded size in the state folder; and what must outlive a
restart.

A full or broken disk must not keep a job from running: then everything goes on in memory, and is written once
the disk takes it again.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from umami_ops.daemon.agenda import Mark
from umami_ops.errors import OpsError

FILE = "history.sqlite"
#: So many runs are kept, the last success and the last failure of each job beside them.
KEPT_RUNS = 1_000
_KEPT_MESSAGES = 200
_KEPT_UNWRITTEN = 10_000
#: Sizes are kept hour by hour for so long, then day by day, then no longer.
_HOURLY, _DAILY = timedelta(days=14), timedelta(days=3 * 365)
_MEND_EVERY_SECONDS = 10.0
_LONGEST_TAIL, _LONGEST_REPORT = 8_000, 20_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
  id TEXT PRIMARY KEY, job TEXT NOT NULL, cause TEXT NOT NULL, slot REAL, missed INTEGER NOT NULL,
  started_at REAL NOT NULL, ended_at REAL, result TEXT NOT NULL, row_count INTEGER, size_bytes INTEGER,
  reason TEXT, hint TEXT
);
CREATE INDEX IF NOT EXISTS runs_by_job ON runs (job, started_at);
CREATE TABLE IF NOT EXISTS steps (
  run_id TEXT NOT NULL, number INTEGER NOT NULL, command TEXT NOT NULL, seconds REAL NOT NULL,
  exit_code INTEGER NOT NULL, row_count INTEGER, size_bytes INTEGER, reason TEXT, hint TEXT,
  tail TEXT, report TEXT,
  PRIMARY KEY (run_id, number)
);
CREATE TABLE IF NOT EXISTS totals (
  job TEXT NOT NULL, result TEXT NOT NULL, runs INTEGER NOT NULL, seconds REAL NOT NULL,
  row_count INTEGER NOT NULL,
  PRIMARY KEY (job, result)
);
CREATE TABLE IF NOT EXISTS marks (job TEXT PRIMARY KEY, schedule TEXT NOT NULL, slot REAL NOT NULL);
CREATE TABLE IF NOT EXISTS sizes (
  taken_at REAL PRIMARY KEY, table_bytes INTEGER, index_bytes INTEGER, events INTEGER
);
CREATE TABLE IF NOT EXISTS examinations (
  kind TEXT PRIMARY KEY, taken_at REAL NOT NULL, document TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS messages (
  id TEXT PRIMARY KEY, made_at REAL NOT NULL, channel TEXT NOT NULL, content TEXT NOT NULL,
  attempts INTEGER NOT NULL, next_at REAL NOT NULL
);
"""


class Result(StrEnum):
    """How a run ended. `unfinished`: a time limit came first, and the next run continues."""

    RUNNING = "running"
    SUCCESS = "success"
    UNFINISHED = "unfinished"
    FAILURE = "failure"
    INTERRUPTED = "interrupted"


class Cause(StrEnum):
    """Why a run began."""

    SCHEDULE = "schedule"
    CATCH_UP = "catch-up"
    HAND = "hand"


@dataclass(frozen=True)
class StepDone:
    """What one command line came to. `tail` is the end of what it said, `report` its JSON document."""

    command: str
    seconds: float
    exit_code: int
    rows: int | None = None
    size_bytes: int | None = None
    reason: str = ""
    hint: str = ""
    tail: str = ""
    report: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Run:
    """One run of a job. Times are in UTC; `missed` is how many earlier slots had no run."""

    id: str
    job: str
    cause: Cause
    slot: datetime | None
    missed: int
    started_at: datetime
    ended_at: datetime | None = None
    result: Result = Result.RUNNING
    rows: int | None = None
    size_bytes: int | None = None
    reason: str = ""
    hint: str = ""
    steps: tuple[StepDone, ...] = ()

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it runs, and where nobody saw its end."""
        return None if self.ended_at is None else (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True)
class Total:
    """All runs of a job with one result since the history began."""

    job: str
    result: Result
    runs: int
    seconds: float
    rows: int


@dataclass(frozen=True)
class DatabaseSize:
    """The database at one moment."""

    taken_at: datetime
    table_bytes: int
    index_bytes: int
    events: int | None

    @property
    def total_bytes(self) -> int:
        """Tables and indexes together."""
        return self.table_bytes + self.index_bytes


@dataclass(frozen=True)
class Message:
    """Something to tell somebody, kept until it is told."""

    channel: str
    content: Mapping[str, Any]
    made_at: datetime
    attempts: int = 0
    next_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


class History:
    """The state folder's file. Safe to use from several threads, and from several processes.

    Raises OpsError when the folder can't be made or written to at the start; later on never.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mutex = threading.RLock()
        self.fault = ""
        """Why the file can't be written at present; empty while it can."""
        self._file: sqlite3.Connection | None = None
        self._unwritten: list[tuple[str, tuple[Any, ...]]] = []
        self._tried_at = 0.0
        self._store = self._opened()

    # --- runs
    # ------------------------------------------------------------------------------------------------

    def begin(self, run: Run) -> None:
        """Note that a run begins."""
        self._write(
            "INSERT OR REPLACE INTO runs (id, job, cause, slot, missed, started_at, result) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (run.id, run.job, run.cause, _number(run.slot), run.missed, _number(run.started_at), run.result),
        )

    def end(self, run: Run) -> None:
        """Note what a run came to, and let go of the oldest ones."""
        for number, step in enumerate(run.steps):
            report = json.dumps(step.report) if step.report is not None else None
            self._write(
                "INSERT OR REPLACE INTO steps VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    run.id, number, step.command, step.seconds, step.exit_code, step.rows, step.size_bytes,
                    step.reason, step.hint, step.tail[-_LONGEST_TAIL:],
                    report if report is None or len(report) <= _LONGEST_REPORT else None,
                ),
            )  # fmt: skip
        self._write(
            "UPDATE runs SET ended_at = ?, result = ?, row_count = ?, size_bytes = ?, reason = ?, hint = ? "
            "WHERE id = ?",
            (_number(run.ended_at), run.result, run.rows, run.size_bytes, run.reason, run.hint, run.id),
        )
        self._write(
            "INSERT INTO totals VALUES (?, ?, 1, ?, ?) ON CONFLICT (job, result) DO UPDATE SET "
            "runs = runs + 1, seconds = seconds + excluded.seconds, "
            "row_count = row_count + excluded.row_count",
            (run.job, run.result, run.seconds or 0.0, run.rows or 0),
        )
        self._forget_runs()

    def _forget_runs(self) -> None:
        kept = (
            "SELECT id FROM (SELECT id FROM runs ORDER BY started_at DESC LIMIT ?) UNION "
            "SELECT id FROM (SELECT id, MAX(started_at) FROM runs GROUP BY job, result)"
        )
        self._write(f"DELETE FROM runs WHERE id NOT IN ({kept})", (KEPT_RUNS,))  # noqa: S608 -- no value in it
        self._write("DELETE FROM steps WHERE run_id NOT IN (SELECT id FROM runs)", ())

    def abandon(self, now: datetime) -> None:
        """Note the runs as interrupted whose daemon was killed: they seem to go on for ever."""
        self._write(
            "UPDATE runs SET result = ?, ended_at = ?, reason = ? WHERE result = ?",
            (Result.INTERRUPTED, _number(now), "umami-ops was killed while it ran.", Result.RUNNING),
        )

    def runs(
        self, *, job: str | None = None, result: Result | None = None, limit: int = KEPT_RUNS
    ) -> list[Run]:
        """Return the last runs, the newest first, without their steps."""
        found = self._read(
            "SELECT id, job, cause, slot, missed, started_at, ended_at, result, row_count, size_bytes, "
            "reason, hint "
            "FROM runs WHERE (?1 IS NULL OR job = ?1) AND (?2 IS NULL OR result = ?2) "
            "ORDER BY started_at DESC LIMIT ?3",
            (job, result, limit),
        )
        return [_run(row) for row in found]

    def steps(self, run_id: str) -> tuple[StepDone, ...]:
        """Return the steps of a run, in their order."""
        found = self._read(
            "SELECT command, seconds, exit_code, row_count, size_bytes, reason, hint, tail, report "
            "FROM steps WHERE run_id = ? ORDER BY number",
            (run_id,),
        )
        return tuple(_step(row) for row in found)

    def last(self, job: str, *, result: Result | None = None, ended: bool = True) -> Run | None:
        """Return a job's last run, of those that came to an end or of all."""
        for run in self.runs(job=job, result=result, limit=3):
            if run.result is not Result.RUNNING or not ended:
                return run
        return None

    def totals(self) -> list[Total]:
        """Return how many runs there were of each job with each result."""
        found = self._read("SELECT job, result, runs, seconds, row_count FROM totals ORDER BY job, result")
        return [Total(row[0], Result(row[1]), row[2], row[3], row[4]) for row in found]

    # --- what outlives a restart
    # -----------------------------------------------------------------------------

    def marks(self) -> dict[str, Mark]:
        """Return the last slot of each job that was dealt with."""
        found = self._read("SELECT job, schedule, slot FROM marks")
        return {row[0]: Mark(row[1], _moment(row[2])) for row in found}

    def mark(self, job: str, mark: Mark) -> None:
        """Keep the last slot of a job that was dealt with."""
        self._write("INSERT OR REPLACE INTO marks VALUES (?, ?, ?)", (job, mark.schedule, _number(mark.slot)))

    def add_size(self, size: DatabaseSize) -> None:
        """Keep the size of the database, at most one an hour, and thin out what is old."""
        newest = self._read("SELECT MAX(taken_at) FROM sizes")[0][0]
        if newest is not None and _number(size.taken_at) - newest < 3_590:
            return
        self._write(
            "INSERT OR REPLACE INTO sizes VALUES (?, ?, ?, ?)",
            (_number(size.taken_at), size.table_bytes, size.index_bytes, size.events),
        )
        hourly, daily = _number(size.taken_at - _HOURLY), _number(size.taken_at - _DAILY)
        thin = "SELECT MAX(taken_at) FROM sizes WHERE taken_at < ? GROUP BY CAST(taken_at / 86400 AS INTEGER)"
        self._write(
            f"DELETE FROM sizes WHERE taken_at < ? OR (taken_at < ? AND taken_at NOT IN ({thin}))",  # noqa: S608
            (daily, hourly, hourly),
        )

    def sizes(self) -> list[DatabaseSize]:
        """Return the sizes that are kept, the oldest first."""
        found = self._read("SELECT taken_at, table_bytes, index_bytes, events FROM sizes ORDER BY taken_at")
        return [DatabaseSize(_moment(row[0]), *row[1:]) for row in found]

    def keep(self, kind: str, document: Any, now: datetime) -> None:
        """Keep the newest document of a kind: what `health`, say, printed."""
        self._write(
            "INSERT OR REPLACE INTO examinations VALUES (?, ?, ?)", (kind, _number(now), json.dumps(document))
        )

    def kept(self, kind: str) -> tuple[datetime, Any] | None:
        """Return the newest document of a kind and its time."""
        found = self._read("SELECT taken_at, document FROM examinations WHERE kind = ?", (kind,))
        return (_moment(found[0][0]), json.loads(found[0][1])) if found else None

    def post(self, message: Message) -> None:
        """Keep a message until it is delivered; the oldest go when there are too many."""
        self._write(
            "INSERT OR REPLACE INTO messages VALUES (?, ?, ?, ?, ?, ?)",
            (
                message.id, _number(message.made_at), message.channel, json.dumps(message.content),
                message.attempts, _number(message.next_at),
            ),
        )  # fmt: skip
        self._write(
            "DELETE FROM messages WHERE id NOT IN (SELECT id FROM messages ORDER BY made_at DESC LIMIT ?)",
            (_KEPT_MESSAGES,),
        )

    def claim(self, message: Message, until: datetime) -> bool:
        """Take a message for delivery up to a moment; False where another process took it first."""
        with self._mutex:
            self._write(
                "UPDATE messages SET next_at = ? WHERE id = ? AND next_at = ?",
                (_number(until), message.id, _number(message.next_at)),
            )
            return bool(self._read("SELECT changes()")[0][0])

    def delivered(self, message: Message) -> None:
        """Let go of a message."""
        self._write("DELETE FROM messages WHERE id = ?", (message.id,))

    def messages(self) -> list[Message]:
        """Return the messages that are not delivered yet, the oldest first."""
        found = self._read(
            "SELECT channel, content, made_at, attempts, next_at, id FROM messages ORDER BY made_at"
        )
        return [
            Message(row[0], json.loads(row[1]), _moment(row[2]), row[3], _moment(row[4]), row[5])
            for row in found
        ]

    # --- the file
    # --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the file, having tried once more to write what it lacks."""
        with self._mutex:
            self._tried_at = 0.0
            self._mend()
            self._store.close()

    def _opened(self) -> sqlite3.Connection:
        """Open the file; one that is damaged is put aside."""
        path = self.folder / FILE
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
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
                f"The state folder {self.folder} can't be written to: {why}.",
                hint="UMAMI_OPS_STATE_DIR names another one; in a container, mount a volume there.",
            ) from None

    def _connected(self, path: Path) -> sqlite3.Connection:
        path.touch(mode=0o600, exist_ok=True)
        store = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        try:
            store.execute("PRAGMA synchronous = NORMAL")
            store.executescript(_SCHEMA)
            # A write, since a read would not tell that the disk is full or read only.
            store.execute("BEGIN IMMEDIATE")
            store.execute("PRAGMA user_version = 1")
            store.execute("COMMIT")
        except sqlite3.Error:
            store.close()
            raise
        return store

    def _read(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._mutex:
            try:
                return self._store.execute(sql, values).fetchall()
            except sqlite3.Error as fault:
                self._go_on_in_memory(fault)
                return self._store.execute(sql, values).fetchall()

    def _write(self, sql: str, values: tuple[Any, ...]) -> None:
        with self._mutex:
            self._mend()
            try:
                self._store.execute(sql, values)
            except sqlite3.Error as fault:
                if self._file is not None:
                    raise  # memory doesn't fail but for a bug
                self._go_on_in_memory(fault)
                self._store.execute(sql, values)
            if self._file is not None:
                self._unwritten = [*self._unwritten[-_KEPT_UNWRITTEN + 1 :], (sql, values)]

    def _go_on_in_memory(self, fault: sqlite3.Error) -> None:
        """Copy what can be read into memory, and keep what the file doesn't take."""
        self.fault = str(fault)
        memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        try:
            self._store.backup(memory)
        except sqlite3.Error:
            memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        memory.executescript(_SCHEMA)
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


def _step(row: tuple[Any, ...]) -> StepDone:
    reason, hint, tail = (text or "" for text in row[5:8])
    report = json.loads(row[8]) if row[8] else None
    return StepDone(row[0], row[1], row[2], row[3], row[4], reason, hint, tail, report)


def _run(row: tuple[Any, ...]) -> Run:
    return Run(
        id=row[0],
        job=row[1],
        cause=Cause(row[2]),
        slot=None if row[3] is None else _moment(row[3]),
        missed=row[4],
        started_at=_moment(row[5]),
        ended_at=None if row[6] is None else _moment(row[6]),
        result=Result(row[7]),
        rows=row[8],
        size_bytes=row[9],
        reason=row[10] or "",
        hint=row[11] or "",
    )


def _number(moment: datetime | None) -> Any:
    return None if moment is None else moment.timestamp()


def _moment(number: float) -> datetime:
    return datetime.fromtimestamp(number, UTC)
