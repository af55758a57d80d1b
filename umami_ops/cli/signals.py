"""SIGTERM and SIGHUP end a run as Ctrl-C does: with a line, and the exit code for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Terminated(KeyboardInterrupt):
    """A signal other than Ctrl-C ended the run. Drivers cancel their query for a KeyboardInterrupt alone."""


_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interrupting(*, to_the_end: bool = False) -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise Terminated, unless the caller had them ignored (`nohup`).

    With `to_the_end` signals count no more when the block is over, since nothing follows but the end of the
    process with the exit code that is known by then; else what was there before is there again.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
        before = {number: signal.getsignal(number) for number in _NUMBERS}
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
    for number in before.keys() - {signal.SIGINT}:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if to_the_end else handler)


@contextmanager
def telling(words: str) -> Iterator[None]:
    """Let an interruption in this block say these words, since something was changed by then."""
    try:
        yield
    except KeyboardInterrupt as fault:
        raise type(fault)(*(fault.args or (words,))) from None


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def told(fault: BaseException) -> str:
    """Return the line about an interruption; one that comes without a word came before any change."""
    return f"Interrupted. {fault.args[0] if fault.args else 'Nothing was changed.'}"
