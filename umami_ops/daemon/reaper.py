"""Takes note of the ends of processes that others left behind: process 1 of a container inherits them."""

from __future__ import annotations

import contextlib
import os
from datetime import datetime, timedelta
from pathlib import Path

_LEFT_BEHIND = timedelta(seconds=10)


class Reaper:
    """Ends the zombies among this process's children, and leaves alone those that somebody here waits for.

    A step's own process begins a session and is waited for where it was started; whoever else begins one is
    taken for left behind once it has been dead for a while.
    """

    def __init__(self) -> None:
        self._ended: dict[int, datetime] = {}

    def reap(self, now: datetime) -> None:
        """Look once."""
        ended = {}
        for children in Path("/proc/self/task").glob("*/children"):
            with contextlib.suppress(OSError):
                for child in map(int, children.read_text().split()):
                    since = self._ended.get(child, now)
                    if (is_leader := _ended_as_leader(child)) is None:
                        continue
                    if not is_leader or now - since > _LEFT_BEHIND:
                        os.waitpid(child, os.WNOHANG)
                    else:
                        ended[child] = since
        self._ended = ended


def _ended_as_leader(process: int) -> bool | None:
    """Return whether a process that has ended had begun a session; None while it lives."""
    state, _, _, session = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[:4]
    return int(session) == process if state == "Z" else None
