"""From a server's name to a running server: an URL in the environment, Docker, or local binaries.

A server is found first (cheap: version and origin are known then) and started at its first use.
Never skips: what cannot be found is a ServerError that tells every way that was tried.
"""

from __future__ import annotations

import atexit
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from testbed.servers import containers, mysql, postgresql
from testbed.servers.databases import administer
from testbed.servers.process import ServerProcess
from testbed.servers.server import Backend, Dialect, Flavour, Server, ServerError


@dataclass(frozen=True)
class Kind:
    """A server by name: what it is, and the major versions that may stand for it, preferred first."""

    name: str
    dialect: Dialect
    flavour: Flavour
    majors: tuple[str, ...]

    @property
    def variable(self) -> str:
        """The environment variable that may hold an administrator's URL."""
        return f"UMAMI_OPS_TEST_{self.name.replace('-', '_').upper()}_URL"


KINDS = {
    kind.name: kind
    for kind in (
        Kind("postgresql-18", "postgresql", "postgresql", ("18",)),
        Kind("postgresql-17", "postgresql", "postgresql", ("17",)),
        # Ubuntu's own MySQL is 8.
        Kind("mysql", "mysql", "mysql", ("9", "8")),
        # What distributions of these years carry.
        Kind("mariadb", "mysql", "mariadb", ("11", "10", "12")),
    )
}
NAMES = tuple(KINDS)

Start = Callable[[Mapping[str, str], bool], Backend]


@dataclass(frozen=True)
class Source:
    """Where a server comes from, before it runs. `start` takes settings and whether to use TLS."""

    kind: Kind
    origin: str
    version: str
    start: Start

    def __str__(self) -> str:
        return f"{self.kind.name}: {self.version} ({self.origin})"


class NotHere(ServerError):
    """One way to a server that is not open on this machine."""


class GivenServer:
    """A server that somebody else runs, named by a URL: it can be used, not stopped."""

    certificate_authority = None

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url

    @property
    def admin_url(self) -> str:
        """The URL from the environment."""
        return self._admin_url

    def restart(self) -> None:
        """Refuse."""
        self._refuse()

    def kill(self) -> None:
        """Refuse."""
        self._refuse()

    def stop(self) -> None:
        """Refuse."""
        self._refuse()

    def log(self) -> str:
        """Nothing: the log is somebody else's."""
        return ""

    def close(self) -> None:
        """Leave the server alone."""

    @staticmethod
    def _refuse() -> None:
        raise ServerError("a server given by URL is not ours to stop; use servers.start() for one that is")


def _from_environment(kind: Kind) -> Source:
    url = os.environ.get(kind.variable)
    if not url:
        raise NotHere(f"{kind.variable} is not set")
    flavour, version = administer(url).version()
    if flavour != kind.flavour or version.split(".")[0] not in kind.majors:
        raise ServerError(f"{kind.variable} leads to {flavour} {version}, which is no {kind.name}")
    return Source(kind, kind.variable, version, lambda _settings, _tls: GivenServer(url))


def _from_docker(kind: Kind) -> Source:
    if reason := containers.why_no_docker():
        raise NotHere(reason)
    service = containers.services()[kind.name]

    def start(settings: Mapping[str, str], _tls: bool) -> Backend:
        container = containers.ServerContainer(service, settings)
        container.start()
        return container

    return Source(kind, f"Docker {service.image}", service.tag, start)


def _from_binaries(kind: Kind) -> Source:
    try:
        if kind.flavour == "postgresql":
            version = postgresql.program_version(kind.majors[0])
        else:
            version = mysql.program_version(kind.flavour)
    except ServerError as error:
        raise NotHere(str(error)) from error
    if version.split(".")[0] not in kind.majors:
        raise NotHere(f"the local binaries are version {version}")
    return Source(kind, "local binaries", version, partial(_start_process, kind))


def _start_process(kind: Kind, settings: Mapping[str, str], tls: bool) -> Backend:
    process = process_in(temporary_directory(), kind.name, settings=settings, tls=tls)
    try:
        process.start()
    except BaseException:  # an interrupt, too, must leave nothing behind
        process.close()
        raise
    return process


def temporary_directory() -> Path:
    """A new directory for a server's data.

    Below /var/tmp, because /tmp is often in memory, where fsync costs nothing and big tables cost
    much, and because a socket's path must be short. TMPDIR overrides it.
    """
    return Path(tempfile.mkdtemp(prefix="umami-ops-", dir=os.environ.get("TMPDIR", "/var/tmp")))


def lasting_directory(name: str) -> Path:
    """Where a server named `name` may live on after this process; not created yet.

    Root's is outside its home, which PostgreSQL's account could not enter.
    """
    if os.geteuid() == 0:
        state = Path("/var/lib")
    else:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    return state / "umami-ops" / name


def process_in(
    directory: Path,
    name: str,
    *,
    port: int | None = None,
    settings: Mapping[str, str] | None = None,
    tls: bool = False,
) -> ServerProcess:
    """The server `name` from local binaries in `directory`, new or used before; not started yet.

    For servers that live longer than a Python process: a later one gets the same server by the same
    directory. Run by root, the directory's parents must be open to every user (0755), because
    PostgreSQL then runs as nobody. Errors: ServerError.
    """
    kind = KINDS[name]
    if kind.flavour == "postgresql":
        return postgresql.PostgresqlProcess(directory, kind.majors[0], port=port, settings=settings, tls=tls)
    return mysql.MysqlProcess(directory, kind.flavour, port=port, settings=settings, tls=tls)


def programs(name: str) -> Path:
    """The folder of the client programs that fit the server `name` (pg_dump, mysqldump, …).

    Always local binaries, whoever runs the server. Errors: ServerError.
    """
    kind = KINDS[name]
    if kind.flavour == "postgresql":
        return postgresql.find_programs(kind.majors[0])
    return mysql.find_programs(kind.flavour)


@cache
def find(name: str, *, ours: bool = False, tls: bool = False) -> Source:
    """Where the server `name` will come from. Errors: ServerError with all that was tried.

    `ours` leaves out servers that somebody else runs, `tls` also Docker, whose images take no
    certificate without a mount.
    """
    kind = KINDS[name]
    ways: list[Callable[[Kind], Source]] = [_from_binaries]
    if not tls:
        ways.insert(0, _from_docker)
    if not (ours or tls):
        ways.insert(0, _from_environment)
    tried = []
    for way in ways:
        try:
            return way(kind)
        except NotHere as error:
            tried.append(str(error))
    raise ServerError(f"no {name} here: " + "; ".join(tried))


class Pool:
    """The servers of one Python process: one shared server of each name, and private ones."""

    def __init__(self) -> None:
        self._shared: dict[str, Server] = {}
        self._open: list[Server] = []

    def get(self, name: str) -> Server:
        """The shared server `name`, started at its first use with settings that make it fast, not durable."""
        if name not in self._shared:
            flavour = KINDS[name].flavour
            fast = postgresql.NOT_DURABLE if flavour == "postgresql" else mysql.NOT_DURABLE
            self._shared[name] = self._start(find(name), fast, tls=False)
        return self._shared[name]

    @contextmanager
    def start(
        self, name: str, *, settings: Mapping[str, str] | None = None, tls: bool = False
    ) -> Iterator[Server]:
        """A server `name` of the caller's own, as durable as its defaults are, gone at the end.

        `tls` gives it a certificate for localhost. PostgreSQL 18's wheel is built without TLS, so that
        `postgresql-17` is the one for tests of it. Errors: ServerError.
        """
        server = self._start(find(name, ours=True, tls=tls), settings or {}, tls=tls)
        try:
            yield server
        finally:
            self._close(server)

    def stop_all(self) -> None:
        """End every server that was started here and remove its data."""
        self._shared.clear()
        for server in list(self._open):
            self._close(server)

    def _start(self, source: Source, settings: Mapping[str, str], *, tls: bool) -> Server:
        backend = source.start(settings, tls)
        server = Server.running_on(backend, source.kind.name, source.origin)
        self._open.append(server)
        return server

    def _close(self, server: Server) -> None:
        if server in self._open:
            self._open.remove(server)
            server.backend.close()


pool = Pool()
atexit.register(pool.stop_all)
