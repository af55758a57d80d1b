"""Processes, one at a time, each in a session of its own and for so long at most; any thread may end them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence

#: So long a process has for its end once its time is over.
_GRACE_SECONDS = 5.0


class Child:
    """The place of one process. `end` ends whoever is in it, and from then on nobody begins."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._is_over = False
        self._process: subprocess.Popen[bytes] | None = None

    def run(
        self,
        words: Sequence[str],
        seconds: float,
        *,
        given: bytes = b"",
        environment: Mapping[str, str] | None = None,
    ) -> tuple[int, str]:
        """Run a process to its end; return its exit code and what it printed.

        Raises OSError when it can't begin, and TimeoutExpired when its time was over and it was ended.
        """
        with self._mutex:
            if self._is_over:
                raise ChildProcessError("It is time to end.")
            process = self._process = subprocess.Popen(
                words,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            printed, _ = process.communicate(given, timeout=seconds)
        except subprocess.TimeoutExpired:
            # A command that is asked to end takes its query back, which the server would else go on with.
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=_GRACE_SECONDS)
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            raise
        finally:
            self._process = None
        return process.returncode, printed.decode("utf-8", "replace")

    def end(self, signal_number: int) -> None:
        """Send a signal to the process that runs, and let no other begin."""
        with self._mutex:
            self._is_over = True
            process = self._process
        if process is not None:
            with contextlib.suppress(OSError):
                process.send_signal(signal_number)
