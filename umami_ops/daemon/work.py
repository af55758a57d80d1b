"""One run of a job from beginning to end: under the lock, into the history, with everybody told.

The daemon calls it on schedule and `umami-ops run` by hand; it is the same either way.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from umami_ops.daemon.guard import one_job
from umami_ops.daemon.history import History
from umami_ops.daemon.jobs import Job, Step
from umami_ops.daemon.log import Log
from umami_ops.daemon.notify import Messenger
from umami_ops.daemon.records import Cause, Result, Run, StepDone
from umami_ops.daemon.runner import Program, Runner
from umami_ops.databases.base import Database


class Work:
    """Runs jobs. `open_database` finds the database anew each time, since its address may change."""

    def __init__(
        self,
        history: History,
        log: Log,
        open_database: Callable[[], Database],
        messenger: Callable[[], Messenger],
    ) -> None:
        self._history = history
        self._log = log
        self._open_database = open_database
        self._messenger = messenger
        self.runner = Runner(self._said)

    def run(
        self,
        job: Job,
        program: Program,
        *,
        cause: Cause,
        slot: datetime | None = None,
        missed: int = 0,
        leader: int | None = None,
        begun: Callable[[], None] = lambda: None,
    ) -> Run:
        """Run a job and return what it came to; `begun` is called once it stands in the history.

        Raises LockHeld where a job runs on this database already, or another session than `leader` leads,
        ConnectionFault where it can't be reached; the history then knows nothing of it.
        """
        with one_job(self._open_database(), f"umami-ops {job.name}", leader):
            run = Run(uuid.uuid4().hex, job.name, cause, slot, missed, datetime.now(UTC))
            before = self._history.verdict(job.name)
            self._history.begin(run)
            begun()
            self._tell_beginning(run)
            self._messenger().began(run)
            done = self.runner.run(
                job,
                program,
                lambda step: self._tell_step(run, step),
                lambda step: self._tell_step_end(run, step),
            )
            last = done.steps[-1] if done.steps else None
            is_over = done.result is Result.SUCCESS
            run = replace(
                run,
                ended_at=datetime.now(UTC),
                result=done.result,
                rows=_sum(step.rows for step in done.steps),
                size_bytes=_sum(step.size_bytes for step in done.steps),
                reason="" if is_over or last is None else self._log.redact(last.reason),
                hint="" if is_over or last is None else self._log.redact(last.hint),
                steps=tuple(self._without_secrets(step) for step in done.steps),
            )
            self._history.end(run)
            self._tell_end(run)
            self._messenger().ended(run, before, report(run))
            return run

    def _without_secrets(self, step: StepDone) -> StepDone:
        redact = self._log.redact
        return replace(
            step,
            reason=redact(step.reason),
            hint=redact(step.hint),
            tail=redact(step.tail),
            report=redact.document(step.report),
        )

    def give_up(self, run: Run) -> None:
        """Let an interrupted run count as failed, and tell everybody: it may be what ends the daemon."""
        before = self._history.verdict(run.job)
        run = replace(
            run,
            result=Result.FAILURE,
            reason="umami-ops was ended twice while it ran.",
            hint="Was there too little memory? It waits for its next time.",
        )
        self._history.end(run)
        self._tell_end(run)
        self._messenger().ended(run, before, report(run))

    def _tell_beginning(self, run: Run) -> None:
        why = {Cause.SCHEDULE: "begins", Cause.CATCH_UP: "begins, to catch up", Cause.HAND: "begins, by hand"}
        missed = f"; {run.missed} earlier times were missed" if run.missed else ""
        self._log.info(
            "run_began",
            f"{run.job}: {why[run.cause]}{missed}",
            job=run.job,
            run=run.id,
            cause=run.cause,
            missed=run.missed,
        )

    def _tell_step(self, run: Run, step: Step) -> None:
        self._log.info(
            "step_began", f"{run.job}: {step.text}: begins", job=run.job, run=run.id, step=step.text
        )

    def _tell_step_end(self, run: Run, step: StepDone) -> None:
        self._log.info(
            "step_ended",
            f"{run.job}: {step.command}: exit code {step.exit_code} after {step.seconds:.1f} s",
            job=run.job,
            run=run.id,
            step=step.command,
            exit_code=step.exit_code,
            seconds=round(step.seconds, 3),
        )

    def _tell_end(self, run: Run) -> None:
        seconds = run.seconds or 0.0
        words = {
            Result.SUCCESS: "done",
            Result.UNFINISHED: "ended early, the next run continues",
            Result.INTERRUPTED: "interrupted, will be run again after the next start",
            Result.FAILURE: "failed",
        }
        tell = self._log.error if run.result is Result.FAILURE else self._log.info
        reason = f": {run.reason}" if run.reason else ""
        tell(
            "run_ended",
            f"{run.job}: {words[run.result]} after {seconds:.1f} s{reason}",
            job=run.job,
            run=run.id,
            result=run.result,
            seconds=round(seconds, 3),
            rows=run.rows,
            reason=run.reason or None,
            hint=run.hint or None,
        )

    def _said(self, job: str, step: str, line: str) -> None:
        if line.strip():
            self._log.info("output", f"{job}: {line}", job=job, step=step)


def host() -> str:
    """Return the name of this machine or container, for those who are told."""
    return os.uname().nodename


def report(run: Run) -> dict[str, Any]:
    """Return a run as JSON, for the webhook, `history --json` and /status.json."""
    return {
        "id": run.id,
        "job": run.job,
        "cause": run.cause,
        "slot": moment(run.slot),
        "missed": run.missed,
        "started_at": moment(run.started_at),
        "ended_at": moment(run.ended_at),
        "seconds": None if run.seconds is None else round(run.seconds, 3),
        "result": run.result,
        "rows": run.rows,
        "size_bytes": run.size_bytes,
        "reason": run.reason or None,
        "hint": run.hint or None,
        "steps": [asdict(step) for step in run.steps],
    }


def moment(when: datetime | None) -> str | None:
    """Return a time as ISO 8601 in UTC."""
    return None if when is None else when.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _sum(numbers: Any) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None
