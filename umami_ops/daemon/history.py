"""What became of jobs, in bounded size in the state folder; and what must outlive a restart."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from umami_ops.daemon.agenda import Mark
from umami_ops.daemon.records import Cause, DatabaseSize, Message, Result, Run, StepDone, Total
from umami_ops.daemon.store import Store

#: So many runs are kept, the last success and the last failure of each job beside them.
KEPT_RUNS = 1_000
_KEPT_MESSAGES = 200
#: Sizes are kept hour by hour for so long, then day by day, then no longer.
_HOURLY, _DAILY = timedelta(days=14), timedelta(days=3 * 365)
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


class History:
    """The state folder's file. Safe to use from several threads, and from several processes.

    Raises OpsError when the folder can't be made or written to at the start; later on never. One that is
    there `only_to_read` finds the file, and keeps nobody from writing.
    """

    def __init__(self, folder: Path, *, only_to_read: bool = False) -> None:
        self.folder = folder
        self._store = Store(folder, _SCHEMA, only_to_read=only_to_read)

    @property
    def fault(self) -> str:
        """Why the file can't be written at present; empty while it can."""
        return self._store.fault

    @property
    def put_aside(self) -> str:
        """The name of the last file that was damaged, so that the history began anew; empty if none was."""
        return self._store.put_aside

    @property
    def lost(self) -> int:
        """How many changes the file will never get."""
        return self._store.lost

    def close(self) -> None:
        """Close the file, having tried once more to write what it lacks."""
        self._store.close()

    # --- runs
    # ------------------------------------------------------------------------------------------------

    def begin(self, run: Run) -> None:
        """Note that a run begins."""
        self._store.write(
            "INSERT OR REPLACE INTO runs (id, job, cause, slot, missed, started_at, result) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (run.id, run.job, run.cause, _number(run.slot), run.missed, _number(run.started_at), run.result),
        )

    def end(self, run: Run) -> None:
        """Note what a run came to, and let go of the oldest ones."""
        for number, step in enumerate(run.steps):
            report = json.dumps(step.report) if step.report is not None else None
            self._store.write(
                "INSERT OR REPLACE INTO steps VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    run.id, number, step.command, step.seconds, step.exit_code, step.rows, step.size_bytes,
                    step.reason, step.hint, step.tail[-_LONGEST_TAIL:],
                    report if report is None or len(report) <= _LONGEST_REPORT else None,
                ),
            )  # fmt: skip
        self._store.write(
            "UPDATE runs SET ended_at = ?, result = ?, row_count = ?, size_bytes = ?, reason = ?, hint = ? "
            "WHERE id = ?",
            (_number(run.ended_at), run.result, run.rows, run.size_bytes, run.reason, run.hint, run.id),
        )
        self._store.write(
            "INSERT INTO totals VALUES (?, ?, 1, ?, ?) ON CONFLICT (job, result) DO UPDATE SET "
            "runs = runs + 1, seconds = seconds + excluded.seconds, "
            "row_count = row_count + excluded.row_count",
            (run.job, run.result, run.seconds or 0.0, run.rows or 0),
        )
        self._forget_runs()

    def _forget_runs(self) -> None:
        kept = (
            "SELECT id FROM (SELECT id FROM runs ORDER BY rowid DESC LIMIT ?) UNION "
            "SELECT id FROM (SELECT id, MAX(rowid) FROM runs GROUP BY job, result)"
        )
        self._store.write(f"DELETE FROM runs WHERE id NOT IN ({kept})", (KEPT_RUNS,))  # noqa: S608 -- no value in it
        self._store.write("DELETE FROM steps WHERE run_id NOT IN (SELECT id FROM runs)", ())

    def abandon(self, now: datetime) -> None:
        """Note the runs as interrupted whose daemon was killed: they seem to go on for ever."""
        self._store.write(
            "UPDATE runs SET result = ?, ended_at = ?, reason = ? WHERE result = ?",
            (Result.INTERRUPTED, _number(now), "umami-ops was killed while it ran.", Result.RUNNING),
        )

    def runs(
        self, *, job: str | None = None, result: Result | None = None, limit: int = KEPT_RUNS
    ) -> list[Run]:
        """Return the last runs, the newest first, without their steps.

        The newest is the one that was noted last: a clock may have been ahead for a while.
        """
        return self._runs("(?1 IS NULL OR job = ?1) AND (?2 IS NULL OR result = ?2)", (job, result), limit)

    def runs_of(self, command: str, *, limit: int) -> list[Run]:
        """Return the last runs that have a step of a command, the newest first, without their steps."""
        which = "id IN (SELECT run_id FROM steps WHERE command LIKE ? OR command LIKE ?)"
        return self._runs(which, (f"{command}%", f"umami-ops {command}%"), limit)

    def _runs(self, which: str, values: tuple[str | None, ...], limit: int) -> list[Run]:
        found = self._store.read(
            "SELECT id, job, cause, slot, missed, started_at, ended_at, result, row_count, size_bytes, "  # noqa: S608 -- no value in it
            f"reason, hint FROM runs WHERE {which} ORDER BY rowid DESC LIMIT {limit}",
            values,
        )
        return [_run(row) for row in found]

    def steps(self, run_id: str) -> tuple[StepDone, ...]:
        """Return the steps of a run, in their order."""
        found = self._store.read(
            "SELECT command, seconds, exit_code, row_count, size_bytes, reason, hint, tail, report "
            "FROM steps WHERE run_id = ? ORDER BY number",
            (run_id,),
        )
        return tuple(_step(row) for row in found)

    def verdict(self, job: str) -> Run | None:
        """Return the last run of a job that ended by itself: an interrupted one says nothing."""
        found = self._runs("job = ? AND result NOT IN (?, ?)", (job, Result.RUNNING, Result.INTERRUPTED), 1)
        return found[0] if found else None

    def totals(self) -> list[Total]:
        """Return how many runs there were of each job with each result."""
        found = self._store.read(
            "SELECT job, result, runs, seconds, row_count FROM totals ORDER BY job, result"
        )
        return [Total(row[0], Result(row[1]), row[2], row[3], row[4]) for row in found]

    # --- what outlives a restart
    # -----------------------------------------------------------------------------

    def marks(self) -> dict[str, Mark]:
        """Return the last slot of each job that was dealt with."""
        found = self._store.read("SELECT job, schedule, slot FROM marks")
        return {row[0]: Mark(row[1], _moment(row[2])) for row in found}

    def mark(self, job: str, mark: Mark) -> None:
        """Keep the last slot of a job that was dealt with."""
        self._store.write(
            "INSERT OR REPLACE INTO marks VALUES (?, ?, ?)", (job, mark.schedule, _number(mark.slot))
        )

    def forget_marks(self, jobs: Collection[str]) -> None:
        """Let go of all marks but those of some jobs."""
        for job in self.marks().keys() - set(jobs):
            self._store.write("DELETE FROM marks WHERE job = ?", (job,))

    def add_size(self, size: DatabaseSize) -> None:
        """Keep the size of the database, at most one an hour; thin out what is old, or of a wrong clock."""
        self._store.write("DELETE FROM sizes WHERE taken_at > ?", (_number(size.taken_at),))
        newest = self._store.read("SELECT MAX(taken_at) FROM sizes")[0][0]
        if newest is not None and _number(size.taken_at) - newest < 3_590:
            return
        self._store.write(
            "INSERT OR REPLACE INTO sizes VALUES (?, ?, ?, ?)",
            (_number(size.taken_at), size.table_bytes, size.index_bytes, size.events),
        )
        hourly, daily = _number(size.taken_at - _HOURLY), _number(size.taken_at - _DAILY)
        thin = "SELECT MAX(taken_at) FROM sizes WHERE taken_at < ? GROUP BY CAST(taken_at / 86400 AS INTEGER)"
        self._store.write(
            f"DELETE FROM sizes WHERE taken_at < ? OR (taken_at < ? AND taken_at NOT IN ({thin}))",  # noqa: S608
            (daily, hourly, hourly),
        )

    def sizes(self) -> list[DatabaseSize]:
        """Return the sizes that are kept, the oldest first."""
        found = self._store.read(
            "SELECT taken_at, table_bytes, index_bytes, events FROM sizes ORDER BY taken_at"
        )
        return [DatabaseSize(_moment(row[0]), *row[1:]) for row in found]

    def keep(self, kind: str, document: Any, now: datetime) -> None:
        """Keep the newest document of a kind: what `health`, say, printed."""
        self._store.write(
            "INSERT OR REPLACE INTO examinations VALUES (?, ?, ?)", (kind, _number(now), json.dumps(document))
        )

    def kept(self, kind: str) -> tuple[datetime, Any] | None:
        """Return the newest document of a kind and its time."""
        found = self._store.read("SELECT taken_at, document FROM examinations WHERE kind = ?", (kind,))
        return (_moment(found[0][0]), json.loads(found[0][1])) if found else None

    def post(self, message: Message) -> None:
        """Keep a message until it is delivered; the oldest go when there are too many."""
        self._store.write(
            "INSERT OR REPLACE INTO messages VALUES (?, ?, ?, ?, ?, ?)",
            (
                message.id, _number(message.made_at), message.channel, json.dumps(message.content),
                message.attempts, _number(message.next_at),
            ),
        )  # fmt: skip
        self._store.write(
            "DELETE FROM messages WHERE id NOT IN (SELECT id FROM messages ORDER BY made_at DESC LIMIT ?)",
            (_KEPT_MESSAGES,),
        )

    def claim(self, message: Message, until: datetime) -> bool:
        """Take a message for delivery up to a moment; False where another process took it first."""
        with self._store.mutex:
            self._store.write(
                "UPDATE messages SET next_at = ? WHERE id = ? AND next_at = ?",
                (_number(until), message.id, _number(message.next_at)),
            )
            return bool(self._store.read("SELECT changes()")[0][0])

    def put_off(self, message: Message, until: datetime) -> None:
        """Note that a message could not be delivered, and when to try again; one that was let go stays so."""
        self._store.write(
            "UPDATE messages SET attempts = attempts + 1, next_at = ? WHERE id = ?",
            (_number(until), message.id),
        )

    def delivered(self, message: Message) -> None:
        """Let go of a message."""
        self._store.write("DELETE FROM messages WHERE id = ?", (message.id,))

    def messages(self) -> list[Message]:
        """Return the messages that are not delivered yet, the oldest first."""
        found = self._store.read(
            "SELECT channel, content, made_at, attempts, next_at, id FROM messages ORDER BY made_at"
        )
        return [
            Message(row[0], json.loads(row[1]), _moment(row[2]), row[3], _moment(row[4]), row[5])
            for row in found
        ]


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
