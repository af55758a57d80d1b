"""`umami-ops daemon` as a process of its own, whose log the tests read as it comes."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.command import bare_environment
from umami_ops.daemon.history import History
from umami_ops.daemon.records import Run
from umami_ops.daemon.store import FILE

Event = dict[str, Any]


class Sidecar:
    """A daemon in a folder of its own. Use it as a context manager; leaving it kills whatever is left."""

    def __init__(
        self,
        folder: Path,
        url: str | None,
        settings: str,
        *,
        env: Mapping[str, str] | None = None,
        http: bool = False,
        before: Callable[[], None] | None = None,
        command: tuple[str, ...] = (sys.executable, "-m", "umami_ops", "daemon"),
    ) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.settings = folder / "umami-ops.toml"
        self.settings.write_text(settings)
        self.state = folder / "state"
        self.port = free_port() if http else 0
        self._url = url
        self._environment = {
            **bare_environment(),
            **({"DATABASE_URL": url} if url else {}),
            "UMAMI_OPS_STATE_DIR": str(self.state),
            "UMAMI_OPS_DAEMON_EXAMINE": "off",
            **({"UMAMI_OPS_DAEMON_HTTP": f"127.0.0.1:{self.port}"} if http else {}),
            **(env or {}),
        }
        self._before = before
        self._command = command
        self._news = threading.Condition()
        self.events: list[Event] = []
        self.said = ""
        self.start()

    def start(self) -> None:
        """Begin, or begin anew."""
        self.process = subprocess.Popen(
            self._command,
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=self._before,  # noqa: PLW1509 -- limits of the process, set before it begins
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            with self._news:
                self.said += line
                if line.startswith("{"):
                    self.events.append(json.loads(line))
                self._news.notify_all()

    def wait_for(
        self,
        name: str,
        fits: Callable[[Event], bool] = lambda _event: True,
        *,
        count: int = 1,
        seconds: float = 60,
    ) -> Event:
        """Return the newest event of a name once there are so many that fit."""
        ends = time.monotonic() + seconds
        with self._news:
            while True:
                found = [event for event in self.events if event["event"] == name and fits(event)]
                if len(found) >= count:
                    return found[-1]
                left = ends - time.monotonic()
                assert left > 0, f"no {name} in {seconds} s:\n{self.said[-4_000:]}"
                assert self.process.poll() is None or left > seconds - 1, f"it ended:\n{self.said[-4_000:]}"
                self._news.wait(min(left, 0.5))

    def forget(self) -> None:
        """Let only what comes from now on count."""
        with self._news:
            self.events.clear()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> float:
        """Ask it to end, and return how many seconds that took."""
        began = time.monotonic()
        self.send(signal.SIGTERM)
        code = self.process.wait(timeout=30)
        self._reader.join(timeout=5)
        assert code == 0, self.said[-4_000:]
        assert "Traceback" not in self.said, self.said[-4_000:]
        return time.monotonic() - began

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()
        self._reader.join(timeout=5)

    def runs(self, job: str | None = None) -> list[Run]:
        """The history, the newest first; read from the file as `umami-ops history` does."""
        if not (self.state / FILE).exists():
            return []
        history = History(self.state, only_to_read=True)
        try:
            return history.runs(job=job)
        finally:
            history.close()

    def marks(self) -> set[datetime]:
        """The last slot of each job that it takes as dealt with."""
        history = History(self.state)
        try:
            return {mark.slot for mark in history.marks().values()}
        finally:
            history.close()

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Ask a page."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body

    @property
    def resident_bytes(self) -> int:
        """What it takes of the memory."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1_024 for line in lines if line.startswith("VmRSS"))

    @property
    def open_files(self) -> int:
        """How many files, pipes and connections it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    @property
    def threads(self) -> int:
        """How many threads it has."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    @property
    def children(self) -> list[int]:
        """The processes that it has, ended ones included."""
        found = []
        for file in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            found += [int(word) for word in file.read_text().split()]
        return found

    def __enter__(self) -> Sidecar:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
