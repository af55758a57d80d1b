"""A PostgreSQL for a moment, to restore a backup into: in a folder of its own, with a socket in there alone.

The programs are those on the machine, or of the wheel that the extra `demo` brings. PostgreSQL refuses to run
as root: root runs it as nobody.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from umami_ops.databases.postgresql.programs import find_server_programs
from umami_ops.databases.programs import begun
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import OpsError, Refused

_STARTS_SECONDS, _STOPS_SECONDS = 60, 30
_USER = "umami_ops"
# Its data are gone in a moment anyway.
_SETTINGS = (
    "listen_addresses=", "fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_wal_size=4GB",
    "shared_buffers=256MB", "maintenance_work_mem=256MB", "autovacuum=off", "logging_collector=off",
)  # fmt: skip


@contextmanager
def embedded_server() -> Iterator[DatabaseUrl]:
    """Run a server until the block ends; nothing stays. Raises Refused where none can run here."""
    programs = find_server_programs()
    account: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="umami-ops-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        said = folder / "said"
        with said.open("wb") as log:
            _initialise(programs, folder, said, log.fileno(), account)
            server = _started(programs, folder, log.fileno(), account)
            try:
                _wait(server, programs, folder, said)
                yield DatabaseUrl("postgresql", None, None, _USER, None, "postgres", {"host": str(folder)})
            finally:
                _stop(server)


def _initialise(programs: Path, folder: Path, said: Path, log: int, account: dict[str, Any]) -> None:
    command = [str(programs / "initdb"), f"--pgdata={folder / 'data'}", f"--username={_USER}", "--auth=trust"]
    command += ["--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions"]
    try:
        code = subprocess.run(command, stdout=log, stderr=log, cwd=folder, **account).returncode
    except OSError as fault:
        raise Refused(
            f"The embedded server can't be run here: {programs}: {fault.strerror}.",
            hint="PostgreSQL doesn't run as root, and nobody may not run it there: be another user.",
        ) from None
    if code:
        raise OpsError(f"The embedded server could not be made: {_last(said)}")


def _started(programs: Path, folder: Path, log: int, account: dict[str, Any]) -> subprocess.Popen[bytes]:
    settings = (*_SETTINGS, f"unix_socket_directories={folder}")
    command: Sequence[str | Path] = [programs / "postgres", "-D", folder / "data"]
    command = [*command, *(part for setting in settings for part in ("-c", setting))]
    return begun(command, stdout=log, stderr=log, cwd=folder, **account)


def _wait(server: subprocess.Popen[bytes], programs: Path, folder: Path, said: Path) -> None:
    """Wait until it answers."""
    deadline = time.monotonic() + _STARTS_SECONDS
    question = [str(programs / "pg_isready"), "--quiet", f"--host={folder}"]
    while subprocess.run(question, check=False).returncode:
        if server.poll() is not None or time.monotonic() > deadline:
            raise OpsError(f"The embedded server doesn't start: {_last(said)}")
        time.sleep(0.05)


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End it with all its sessions."""
    server.send_signal(signal.SIGINT)
    try:
        server.wait(_STOPS_SECONDS)
    except subprocess.TimeoutExpired:
        server.send_signal(signal.SIGQUIT)
        server.wait()


def _last(said: Path) -> str:
    lines = [line.strip() for line in said.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
