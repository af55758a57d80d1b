"""What the daemon's loop waits at: a pipe that signals and threads write to."""

from __future__ import annotations

import contextlib
import os
import select


class Wake:
    """Unlike at a lock, a signal's handler can't get stuck in it."""

    def __init__(self) -> None:
        self._reading_end, self.writing_end = os.pipe()
        os.set_blocking(self._reading_end, False)
        os.set_blocking(self.writing_end, False)

    def up(self) -> None:
        """Wake the loop."""
        with contextlib.suppress(OSError):
            os.write(self.writing_end, b".")

    def wait(self, seconds: float) -> None:
        """Wait for so long, or for less when woken."""
        ready, _, _ = select.select([self._reading_end], [], [], seconds)
        if ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._reading_end, 4_096)

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._reading_end)
        os.close(self.writing_end)
