"""The reasons to end a run early: a signal, a time limit, a migration of Prisma's."""

from __future__ import annotations

import queue
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

#: Further signals so soon after the first are the same wish: a key pressed twice, a supervisor in doubt.
_SAME_WISH_SECONDS = 2.0


class StopSignal:
    """The reasons to end early. The first one given stays; a batch in flight is finished."""

    def __init__(self, max_duration_seconds: float | None = None) -> None:
        # A handler may come in the middle of `request` or `wait`, where an Event would wait for itself:
        # put() of this queue is the one wake-up of the library's that is safe there.
        self._wake_up: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._reason: str | None = None
        self._signalled: float | None = None
        self._deadline = None if max_duration_seconds is None else time.monotonic() + max_duration_seconds

    def request(self, reason: str) -> None:
        """Ask the run to end after its current batch."""
        if self._reason is None:
            self._reason = reason
        self._wake_up.put(None)

    @property
    def reason(self) -> str | None:
        """Why the run should end now, or None."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self.request("the time limit was reached")
        return self._reason

    def wait(self, seconds: float) -> None:
        """Pause, but not beyond a request to stop or the time limit."""
        if self._deadline is not None:
            seconds = min(seconds, self._deadline - time.monotonic())
        if seconds > 0 and self._reason is None:
            with suppress(queue.Empty):
                self._wake_up.get(timeout=seconds)
                self._wake_up.put(None)  # for the next who waits

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Let SIGTERM, SIGINT and SIGHUP end the run after its batch; one that comes later, here and now.

        That one raises KeyboardInterrupt, with a word on what it means for what was done. So does one that
        comes when the block is over, and cuts its report short: the handlers stay until the caller of all
        puts back his own.
        """
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.getsignal(number) for number in numbers}
        # What the caller had ignored stays so: `nohup` means that a hangup is no reason to stop.
        before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
        for number in before:
            signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number in before:
                signal.signal(number, self._handle_late)

    def _handle_late(self, _number: int, _frame: FrameType | None) -> None:
        if not self._is_same_wish():
            raise KeyboardInterrupt("The run had ended already: only what it says of itself is cut short.")

    def _is_same_wish(self) -> bool:
        return self._signalled is not None and time.monotonic() - self._signalled < _SAME_WISH_SECONDS

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._signalled is None:
            self._signalled = time.monotonic()
        elif not self._is_same_wish():
            raise KeyboardInterrupt(
                "What was committed stays, the rest is rolled back. Running it again continues."
            )
        name = signal.Signals(number).name
        self.request("Ctrl-C was pressed" if number == signal.SIGINT else f"{name} was received")
