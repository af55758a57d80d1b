"""Runs the steps of a job, one after the other, each as a process of its own; ends them when asked to.

A process, since a crash, a leak or a driver that hangs then ends with the step
(docs/decisions/0015-daemon.md).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from umami_ops.daemon import outcome
from umami_ops.daemon.jobs import Job, Step
from umami_ops.daemon.records import Result, StepDone

_TAIL_LINES = 60
_LONGEST_LINE = 2_000
_LONGEST_DOCUMENT = 1_000_000
#: A step ends its batch upon SIGTERM; a second one, so much later, makes it roll back; then it is killed.
_SECOND_SIGNAL_SECONDS, _KILL_SECONDS = 4.0, 7.5
#: So long a step whose lock another run holds is tried again, and so often.
LOCK_PATIENCE_SECONDS, _LOCK_RETRY_SECONDS = 900.0, 10.0


@dataclass(frozen=True)
class Program:
    """How the command line is called: the words before its arguments, and the environment."""

    words: Sequence[str]
    environment: Mapping[str, str]
    settings: object = None
    """What must not be closed while steps may read it: the settings file as it was when it was accepted."""


@dataclass(frozen=True)
class Done:
    """What all steps came to."""

    result: Result
    steps: tuple[StepDone, ...]


class Runner:
    """Runs one job at a time. `stop` may be called from any thread, and from then on nothing begins."""

    def __init__(self, said: Callable[[str, str, str], None]) -> None:
        self._said = said  # job, step, line
        self._stopping = threading.Event()
        self._mutex = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def run(
        self,
        job: Job,
        program: Program,
        began: Callable[[Step], None],
        ended: Callable[[StepDone], None],
    ) -> Done:
        """Run the steps in order up to the first that fails; each is told of as it begins and ends."""
        steps: list[StepDone] = []
        result = Result.SUCCESS
        for step in job.steps:
            if self._stopping.is_set():
                return Done(Result.INTERRUPTED, tuple(steps))
            began(step)
            done = self._patiently(job, step, program)
            ended(done)
            steps.append(done)
            if self._stopping.is_set() and done.exit_code != 0:
                return Done(Result.INTERRUPTED, tuple(steps))
            this = outcome.result_of(done.exit_code, continues=step.continues)
            if this is Result.FAILURE:
                return Done(this, tuple(steps))
            if this is Result.UNFINISHED:
                result = this
        return Done(result, tuple(steps))

    def _patiently(self, job: Job, step: Step, program: Program) -> StepDone:
        """Run a step; where another run holds the database's lock, try again for a while."""
        until = time.monotonic() + LOCK_PATIENCE_SECONDS
        while True:
            done = self._step(job, step, program)
            is_held = outcome.is_lock_held(step.command, done.exit_code)
            if not is_held or time.monotonic() >= until or self._stopping.wait(_LOCK_RETRY_SECONDS):
                return done

    def _step(self, job: Job, step: Step, program: Program) -> StepDone:
        began = time.monotonic()
        try:
            process = self._started([*program.words, *step.arguments], program.environment)
        except OSError as fault:
            return StepDone(step.text, 0.0, 1, reason=f"It could not be started: {fault.strerror}.")
        if process is None:
            return StepDone(step.text, 0.0, -signal.SIGTERM, reason="umami-ops daemon was asked to end.")
        tail: deque[str] = deque(maxlen=_TAIL_LINES)
        printed = bytearray()

        def told(line: str) -> None:
            tail.append(line)
            self._said(job.name, step.text, line)

        assert process.stdout is not None
        assert process.stderr is not None
        readers = [
            threading.Thread(target=_read_document, args=(process.stdout, printed), daemon=True),
            threading.Thread(target=_read_lines, args=(process.stderr, told), daemon=True),
        ]
        for reader in readers:
            reader.start()
        exit_code = process.wait()
        for reader in readers:
            # What the step has started and left behind may hold the pipes open for ever.
            reader.join(timeout=2)
        self._process = None
        for pipe, reader in zip((process.stdout, process.stderr), readers, strict=True):
            if not reader.is_alive():
                pipe.close()
        stdout = printed.decode("utf-8", "replace")
        report = outcome.document(stdout)
        if report is None:
            tail.extend(stdout.splitlines()[-_TAIL_LINES:])
        said = "\n".join(tail)
        failed = exit_code != 0
        reason, hint = outcome.reason_and_hint(exit_code, said, report) if failed else ("", "")
        return StepDone(
            step.text,
            time.monotonic() - began,
            exit_code,
            outcome.rows(report),
            outcome.size_bytes(report),
            reason,
            hint,
            said,
            report,
        )

    def _started(
        self, words: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes] | None:
        """Start a process in a session of its own, unless it is time to end."""
        with self._mutex:
            if self._stopping.is_set():
                return None
            self._process = subprocess.Popen(
                list(words),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            return self._process

    def stop(self) -> None:
        """End the step that runs, after its batch if it can; returns within eight seconds, with it ended."""
        with self._mutex:
            self._stopping.set()
            process = self._process
        if process is None:
            return
        for number, seconds in (
            (signal.SIGTERM, _SECOND_SIGNAL_SECONDS),
            (signal.SIGTERM, _KILL_SECONDS - _SECOND_SIGNAL_SECONDS),
        ):
            if process.poll() is not None:
                return
            with contextlib.suppress(OSError):
                process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
                return
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)


def _read_document(pipe: IO[bytes], into: bytearray) -> None:
    """Read to the end, keeping no more than a report may be long."""
    with contextlib.suppress(OSError, ValueError):
        while chunk := pipe.read1(65_536):  # type: ignore[attr-defined]
            if len(into) < _LONGEST_DOCUMENT:
                into += chunk


def _read_lines(pipe: IO[bytes], told: Callable[[str], None]) -> None:
    with contextlib.suppress(OSError, ValueError):
        while line := pipe.readline(_LONGEST_LINE):
            told(line.decode("utf-8", "replace").rstrip())
