"""MySQL and MariaDB, from the machine's packages or unpacked by unpack.sh.

One class runs both: they differ in how a data directory is made and in a few options.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from testbed.servers.packages import unpack
from testbed.servers.process import ServerProcess
from testbed.servers.server import ServerError

Product = Literal["mysql", "mariadb"]

_DAEMONS: dict[Product, str] = {"mysql": "mysqld", "mariadb": "mariadbd"}
# Not on every user's PATH, but where distributions put daemons.
_DAEMON_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/local/mysql/bin")

# For servers whose data may be lost: nothing waits for the disk.
NOT_DURABLE = {
    "innodb_flush_log_at_trx_commit": "0",
    "innodb_doublewrite": "OFF",
    "innodb_flush_method": "nosync",
}


class MysqlProcess(ServerProcess):
    """A MySQL or MariaDB in a directory of its own. Root runs it as root, it being a test server."""

    stop_signal = signal.SIGTERM
    discard_signal = signal.SIGKILL

    def __init__(
        self,
        directory: Path,
        product: Product,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        tls: bool = False,
    ) -> None:
        self.product = product
        self.daemon = find_daemon(product)
        super().__init__(directory, find_programs(product), port=port, settings=settings, tls=tls)

    @property
    def admin_url(self) -> str:
        """The URL of root, who may come from anywhere; it names no database."""
        return f"mysql://root:{self.password}@127.0.0.1:{self.port}/"

    @property
    def pid_file(self) -> Path:
        """In the server's directory."""
        return self.directory / "server.pid"

    def initialise(self) -> None:
        """Make the system tables; root has no password until the first start gives it one."""
        as_root = ["--user=root"] if os.geteuid() == 0 else []
        if self.product == "mysql":
            make = [str(self.daemon), "--no-defaults", "--initialize-insecure"]
        else:
            # Two levels up from usr/sbin/mariadbd: the script looks for all it needs below.
            prefix = self.daemon.parent.parent
            make = [str(prefix / "bin" / "mariadb-install-db"), "--no-defaults", f"--basedir={prefix}"]
            make += ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
        self.run([*make, f"--datadir={self.data}", f"--tmpdir={self.directory}", *as_root])

    def command(self) -> list[str]:
        """Run the daemon on 127.0.0.1 and on a socket in the server's directory, without option files."""
        settings = {
            "datadir": str(self.data),
            "bind-address": "127.0.0.1",
            "port": str(self.port),
            "socket": str(self.directory / "socket"),
            "pid-file": str(self.pid_file),
            "skip-name-resolve": "ON",
            "secure-file-priv": "",
            # Not /tmp, nor while it is made: a MariaDB that starts deletes there what another one is using.
            "tmpdir": str(self.directory),
        }
        if self.product == "mysql":
            settings |= {"mysqlx": "OFF"}
        if self.tls:
            certificates = self.directory / "tls"
            settings["ssl-ca"] = str(certificates / "ca.crt")
            settings["ssl-cert"] = str(certificates / "server.crt")
            settings["ssl-key"] = str(certificates / "server.key")
        if os.geteuid() == 0:
            settings["user"] = "root"
        if self.is_new:
            settings["init-file"] = str(self._write_accounts())
        settings |= self.settings
        binary_log = [] if "log-bin" in settings or "log_bin" in settings else ["--skip-log-bin"]
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [str(self.daemon), "--no-defaults", *binary_log, *options]

    def _write_accounts(self) -> Path:
        """Write the statements, one a line, that let root in with the password only, and by TCP."""
        file = self.directory / "accounts.sql"
        file.touch(mode=0o600)
        file.write_text(
            # MariaDB makes these, more specific than root@'%' and without a password.
            "DROP USER IF EXISTS root@'127.0.0.1', root@'::1';\n"
            f"ALTER USER root@localhost IDENTIFIED BY '{self.password}';\n"
            f"CREATE USER root@'%' IDENTIFIED BY '{self.password}';\n"
            "GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;\n"
        )
        return file


@cache
def find_daemon(product: Product) -> Path:
    """The server program of `product`, unpacked from packages if need be. Errors: ServerError."""
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), *_DAEMON_FOLDERS])
    installed = shutil.which(_DAEMONS[product], path=folders)
    # MariaDB's packages install a `mysqld`, too.
    if installed and ("MariaDB" in _version_line(Path(installed))) == (product == "mariadb"):
        return Path(installed)
    return unpack(product) / "sbin" / _DAEMONS[product]


def find_programs(product: Product) -> Path:
    """The folder of the client programs that belong to `find_daemon`'s server. Errors: ServerError."""
    return find_daemon(product).parent.parent / "bin"


def program_version(product: Product) -> str:
    """The version of `product` here, without starting it."""
    found = re.search(r"Ver ([\d.]+)", _version_line(find_daemon(product)))
    if not found:
        raise ServerError(f"{find_daemon(product)} --version tells no version")
    return found[1]


@cache
def find_pt_archiver() -> Path:
    """Percona Toolkit's pt-archiver, installed or unpacked. Errors: ServerError."""
    installed = shutil.which("pt-archiver")
    return Path(installed) if installed else unpack("pt-archiver") / "bin" / "pt-archiver"


def _version_line(daemon: Path) -> str:
    command = [str(daemon), "--no-defaults", "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
