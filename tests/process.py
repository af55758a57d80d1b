"""`umami-ops …` as a process of its own, which a test can watch, signal and kill."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.command import Outcome, bare_environment

_MODULE = ("-m", "umami_ops")


class Process:
    """Begins at once; `wait` reads what it says. `program` is what Python is given before the arguments."""

    def __init__(
        self,
        *arguments: str,
        url: str,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
        program: Sequence[str] = _MODULE,
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            env=bare_environment() | {"DATABASE_URL": url, **(env or {})},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut would, and wait until it is gone."""
        self.process.kill()
        self.process.communicate()

    @property
    def is_over(self) -> bool:
        return self.process.poll() is not None

    def wait(self, seconds: float = 180) -> Outcome:
        """Wait for its end; one that doesn't come is a fault of its own, and so is a traceback."""
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        assert "Traceback" not in err, err
        return Outcome(self.process.returncode, out, err)
