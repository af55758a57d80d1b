"""A database server as the tests see it, whoever runs it. Knows no binaries, containers or test runner."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import urlsplit

from testbed.servers.databases import Databases, administer

Dialect = Literal["postgresql", "mysql"]
Flavour = Literal["postgresql", "mysql", "mariadb"]


class ServerError(Exception):
    """A server could not be found, started or controlled; the message says why and what to do."""


class Backend(Protocol):
    """What runs a server: local binaries, a container, or somebody else."""

    @property
    def admin_url(self) -> str:
        """The URL of an account that may do everything."""

    @property
    def certificate_authority(self) -> Path | None:
        """The certificate that signed the server's own, when it was started with TLS."""

    def restart(self) -> None:
        """Stop cleanly if running, start again on the same port and data, return when it answers."""

    def kill(self) -> None:
        """End every process of the server with SIGKILL, as a power cut would; the data stay."""

    def stop(self) -> None:
        """Stop cleanly; the data stay."""

    def log(self) -> str:
        """What the server has logged so far."""

    def close(self) -> None:
        """End the server in the fastest way and remove its data."""


@dataclass(frozen=True)
class Server:
    """A running database server.

    `dialect` is the SQL it speaks, `flavour` the product (MariaDB speaks the dialect mysql), `version`
    the number alone ("10.11.6"), `origin` who runs it ("local binaries", "Docker postgres:18", …).
    Everything but `backend` is fixed for the server's life: `restart` keeps the port.
    """

    name: str
    dialect: Dialect
    flavour: Flavour
    version: str
    origin: str
    backend: Backend

    @classmethod
    def running_on(cls, backend: Backend, name: str, origin: str) -> Server:
        """Describe the server that `backend` has started, by asking it."""
        databases = administer(backend.admin_url)
        flavour, version = databases.version()
        dialect: Dialect = "postgresql" if flavour == "postgresql" else "mysql"
        return cls(name, dialect, flavour, version, origin, backend)

    @property
    def admin_url(self) -> str:
        """The URL of an account that may do everything; it contains the password."""
        return self.backend.admin_url

    @property
    def certificate_authority(self) -> Path | None:
        """For `sslrootcert` and the like: set on a server that was started with `tls=True`."""
        return self.backend.certificate_authority

    @property
    def _databases(self) -> Databases:
        return administer(self.admin_url)

    def create_database(self, name: str | None = None, template: str | None = None) -> str:
        """Create a database and return its URL, as Umami's DATABASE_URL would have it.

        The URL's user owns the database and is no superuser. Without `name` a fresh one is made up.
        `template`, PostgreSQL only, names a database to copy that nobody is connected to.
        """
        return self._databases.create(name, template)

    def drop_database(self, url: str) -> None:
        """Drop the database that `url` names, with whoever is still connected to it."""
        self._databases.drop(database_name(url))

    def as_admin(self, url: str) -> str:
        """The URL of the same database for the account that may do everything."""
        return urlsplit(self.admin_url)._replace(path=f"/{database_name(url)}").geturl()

    def restart(self) -> None:
        """Stop cleanly if running, start again on the same port and data, return when it answers."""
        self.backend.restart()

    def kill(self) -> None:
        """End every process of the server with SIGKILL, as a power cut would; `restart` brings it back."""
        self.backend.kill()

    def stop(self) -> None:
        """Stop cleanly; `restart` brings it back."""
        self.backend.stop()

    def log(self) -> str:
        """What the server has logged so far."""
        return self.backend.log()


def database_name(url: str) -> str:
    """The name of the database in `url`."""
    return urlsplit(url).path.removeprefix("/")
