"""The reasons to end a run early: a signal, a time limit, a migration of Prisma's."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopSignal:
    """The reasons to end early. The first one given stays; a batch in flight is finished."""

    def __init__(self, max_duration_seconds: float | None = None) -> None:
        self._event = threading.Event()
        self._reason: str | None = None
        self._deadline = None if max_duration_seconds is None else time.monotonic() + max_duration_seconds

    def request(self, reason: str) -> None:
        """Ask the run to end after its current batch."""
        if self._reason is None:
            self._reason = reason
        self._event.set()

    @property
    def reason(self) -> str | None:
        """Why the run should end now, or None."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self.request("the time limit was reached")
        return self._reason

    def wait(self, seconds: float) -> None:
        """Pause, but not beyond a request to stop."""
        if seconds > 0:
            self._event.wait(seconds)

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Let SIGTERM, SIGINT and SIGHUP end the run after its batch; a second Ctrl-C is Python's own."""

        def handle(number: int, _frame: FrameType | None) -> None:
            name = signal.Signals(number).name
            self.request("Ctrl-C was pressed" if number == signal.SIGINT else f"{name} was received")
            signal.signal(number, before[signal.Signals(number)])

        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.getsignal(number) for number in numbers}
        for number in numbers:
            signal.signal(number, handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
