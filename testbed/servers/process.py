"""A server run from local binaries in a directory of its own: what PostgreSQL and MySQL have in common.

All state is in the directory, so a later Python process can go on with a server that an earlier one
left running (the demo does). Knows no SQL beyond "does it answer".
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

import psutil

from testbed.servers.certificate import write_certificates
from testbed.servers.databases import administer
from testbed.servers.server import ServerError

START_SECONDS = 90
STOP_SECONDS = 60
POLL_SECONDS = 0.03


@dataclass(frozen=True)
class Account:
    """The user and group that a server runs under."""

    user_id: int
    group_id: int

    @classmethod
    def nobody(cls) -> Account:
        """The account that owns nothing, for servers that refuse to run as root."""
        # A number without a name would not do: initdb looks its user up.
        entry = pwd.getpwnam("nobody")
        return cls(entry.pw_uid, entry.pw_gid)


class ServerProcess(ABC):
    """One server in one directory: `start` makes what is missing, `close` removes it all.

    `settings` are the server's own (postgresql.conf, mysqld variables). `tls` gives the server a
    certificate for localhost, signed by `certificate_authority`. Without `port` a free one is taken
    at the first start and kept from then on.
    """

    # How to end a server whose data nobody wants any more.
    discard_signal: ClassVar[signal.Signals]
    # How to ask for a clean stop that does not wait for clients.
    stop_signal: ClassVar[signal.Signals]

    def __init__(
        self,
        directory: Path,
        programs: Path,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        tls: bool = False,
        account: Account | None = None,
    ) -> None:
        self.directory = directory.absolute()
        self.data = self.directory / "data"
        self.programs = programs
        self.settings = dict(settings or {})
        self.tls = tls
        self.account = account
        self.port = port or 0
        self.password = ""
        self._fixed_port = port
        self._process: subprocess.Popen[bytes] | None = None
        if not self.is_new:
            self._recall()

    # -- what a kind of server has to say ------------------------------------------------------------

    @property
    @abstractmethod
    def admin_url(self) -> str:
        """The URL of the account that may do everything."""

    @property
    @abstractmethod
    def pid_file(self) -> Path:
        """Where the server writes its process id, on a line of its own."""

    @abstractmethod
    def initialise(self) -> None:
        """Fill the empty data directory."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command that runs the server in the foreground."""

    # -- life ----------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether the server runs, started by this Python process or by another."""
        return self._main_process() is not None

    @property
    def is_new(self) -> bool:
        """Whether the server has never answered yet."""
        return not self._state_file.exists()

    def start(self) -> None:
        """Start the server unless it runs, and return when it answers. Errors: ServerError."""
        if self.running:
            return
        if self.is_new:
            self._prepare()
        for _ in range(3):
            if self.is_new:
                self.port = self._fixed_port or free_port()
            if self._launch():
                self._remember()
                return
        raise ServerError(f"the server in {self.directory} found its port taken\n{self.log_tail()}")

    def stop(self) -> None:
        """Stop the server cleanly, ending its connections; the data stay."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End every process of the server with SIGKILL, the main one first; the data stay."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop cleanly if running, and start again on the same port and data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End the server in the fastest way and remove its directory."""
        self._end(self.discard_signal)
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        """What the server has logged so far."""
        return self._log_file.read_text(errors="replace") if self._log_file.exists() else ""

    def log_tail(self) -> str:
        """The last lines of the log, for an error message."""
        return "\n".join(self.log().splitlines()[-15:])

    @property
    def certificate_authority(self) -> Path | None:
        """The certificate that signed the server's own, when it was started with TLS."""
        return self.directory / "tls" / "ca.crt" if self.tls else None

    # -- how -----------------------------------------------------------------------------------------

    @property
    def _log_file(self) -> Path:
        return self.directory / "server.log"

    @property
    def _state_file(self) -> Path:
        return self.directory / "server.json"

    def _remember(self) -> None:
        """Write down what a later process must know; its presence says that the data are complete."""
        if self.is_new:
            # Renamed when complete: a kill in between must not leave half a file.
            half = self._state_file.with_suffix(".new")
            half.touch(mode=0o600)
            half.write_text(json.dumps({"port": self.port, "password": self.password}))
            half.replace(self._state_file)

    def _recall(self) -> None:
        state = json.loads(self._state_file.read_text())
        self.port, self.password = state["port"], state["password"]

    def _prepare(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check_reachable()
        shutil.rmtree(self.data, ignore_errors=True)  # of an initialisation that was interrupted
        self.data.mkdir(mode=0o700)
        if self.tls:
            write_certificates(self.directory / "tls")
        self.password = secrets.token_hex(16)
        self.give_away(self.directory)
        self.initialise()

    def _check_reachable(self) -> None:
        for parent in self.directory.parents if self.account else ():
            if not parent.stat().st_mode & 0o001:
                raise ServerError(
                    f"root runs this server as nobody, who cannot enter {parent}: choose another directory"
                )

    def give_away(self, path: Path) -> None:
        """Make `path` and what is below it the property of the account that the server runs under."""
        if self.account:
            for each in [path, *path.rglob("*")]:
                os.chown(each, self.account.user_id, self.account.group_id)

    def run(self, command: Sequence[str]) -> None:
        """Run a program of the server's to its end. Errors: ServerError with what it printed."""
        with self._popen(command, subprocess.PIPE) as process:
            output, _ = process.communicate()
        if process.returncode:
            raise ServerError(f"{command[0]} failed:\n{output.decode(errors='replace')}")

    def _popen(self, command: Sequence[str], output: int | IO[bytes]) -> subprocess.Popen[bytes]:
        # A session of its own keeps a Ctrl-C at the terminal away from the server.
        return subprocess.Popen(
            command,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=self.account.user_id if self.account else None,
            group=self.account.group_id if self.account else None,
            extra_groups=[] if self.account else None,
        )

    def _launch(self) -> bool:
        """Run the server until it answers; False when its port was taken meanwhile."""
        seen = len(self.log())
        with self._log_file.open("ab") as log:
            self._process = self._popen(self.command(), log)
        databases = administer(self.admin_url)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                if "ddress already in use" in self.log()[seen:]:
                    return False
                raise ServerError(f"the server in {self.directory} ended at once:\n{self.log_tail()}")
            if databases.answers():
                return True
            time.sleep(POLL_SECONDS)
        self.kill()
        raise ServerError(f"no answer within {START_SECONDS} s from {self.directory}:\n{self.log_tail()}")

    def _main_process(self) -> psutil.Process | None:
        if self._process and self._process.poll() is None:
            return psutil.Process(self._process.pid)
        try:
            process = psutil.Process(int(self.pid_file.read_text().split()[0]))
            # The pid file outlives a killed server, and its number may have a new bearer.
            ours = str(self.data) in " ".join(process.cmdline())
        except (FileNotFoundError, IndexError, psutil.NoSuchProcess):
            return None
        return process if ours else None

    def _end(self, how: signal.Signals) -> None:
        main = self._main_process()
        if main is None:
            return
        processes = [main, *main.children(recursive=True)]
        for process in processes if how == signal.SIGKILL else processes[:1]:
            if not _gone(process):
                process.send_signal(how)
        if not self._wait_until_gone(processes) and how != signal.SIGKILL:
            self._end(signal.SIGKILL)

    def _wait_until_gone(self, processes: Sequence[psutil.Process]) -> bool:
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            # poll() also collects our own child, which would stay a zombie.
            collected = self._process is None or self._process.poll() is not None
            if collected and all(map(_gone, processes)):
                return True
            time.sleep(POLL_SECONDS)
        return False


def _gone(process: psutil.Process) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has, too."""
    try:
        if not process.is_running():
            return True
        # The main thread is a zombie as soon as it has ended itself, while others still hold files.
        return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
    except psutil.NoSuchProcess:
        return True


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
