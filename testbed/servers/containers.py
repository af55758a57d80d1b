"""Servers in Docker, as docker-compose.test.yml describes them, started through testcontainers."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from testbed.servers.databases import administer
from testbed.servers.process import POLL_SECONDS, START_SECONDS, free_port
from testbed.servers.server import ServerError

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

COMPOSE_FILE = Path(__file__).parents[2] / "docker-compose.test.yml"


@dataclass(frozen=True)
class Service:
    """A service of the compose file, as far as the harness uses it.

    Its tmpfs is left out: a container's memory is gone after a kill, and tests kill and restart.
    """

    name: str
    image: str
    environment: dict[str, str]
    command: list[str]
    port: int

    @property
    def tag(self) -> str:
        """The image's tag, which begins with the server's version."""
        return self.image.rpartition(":")[2]

    @property
    def is_postgresql(self) -> bool:
        """Whether the service speaks PostgreSQL's protocol, by its port."""
        return self.port == 5432

    def admin_url(self, port: int) -> str:
        """The URL of the image's administrator, reached at `port` of 127.0.0.1."""
        (password,) = (value for name, value in self.environment.items() if name.endswith("_PASSWORD"))
        if self.is_postgresql:
            return f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
        return f"mysql://root:{password}@127.0.0.1:{port}/"

    def command_with(self, settings: Mapping[str, str]) -> list[str]:
        """The container's command with server settings added."""
        if self.is_postgresql:
            return [*self.command, *(part for item in settings.items() for part in ("-c", "=".join(item)))]
        return [*self.command, *(f"--{name}={value}" for name, value in settings.items())]


def services() -> dict[str, Service]:
    """The services of docker-compose.test.yml by name."""
    described: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE_FILE.read_text())["services"]
    return {
        name: Service(
            name=name,
            image=service["image"],
            environment=service["environment"],
            command=service.get("command", []),
            port=int(service["ports"][0].rpartition(":")[2]),
        )
        for name, service in described.items()
    }


@cache
def why_no_docker() -> str | None:
    """Why containers cannot be started here; None when they can."""
    if not importlib.util.find_spec("testcontainers"):
        return "testcontainers is not installed"
    import docker
    from docker.errors import DockerException

    try:
        docker.from_env(timeout=5).ping()
    except DockerException:
        return "no Docker engine answers"
    return None


class ServerContainer:
    """A server in a container, on a fixed port so that its URL survives a restart."""

    certificate_authority = None

    def __init__(self, service: Service, settings: Mapping[str, str]) -> None:
        from testcontainers.core.container import DockerContainer

        port = free_port()
        self._url = service.admin_url(port)
        self._container: DockerContainer = DockerContainer(service.image)
        self._container.with_bind_ports(service.port, port)
        self._container.with_envs(**service.environment)
        self._container.with_command(service.command_with(settings))

    @property
    def admin_url(self) -> str:
        """The URL of the image's administrator."""
        return self._url

    def start(self) -> None:
        """Create the container and return when the server answers."""
        self._container.start()
        self._wait()

    def restart(self) -> None:
        """Restart the container and return when the server answers."""
        self._container.get_wrapped_container().restart()
        self._wait()

    def kill(self) -> None:
        """Kill the container with SIGKILL; its data stay."""
        container = self._container.get_wrapped_container()
        container.kill()
        container.wait()

    def stop(self) -> None:
        """Stop the server cleanly; its data stay."""
        self._container.get_wrapped_container().stop(timeout=60)

    def log(self) -> str:
        """What the container has printed so far."""
        return b"".join(self._container.get_logs()).decode(errors="replace")

    def close(self) -> None:
        """Remove the container with its data."""
        self._container.stop(force=True, delete_volume=True)

    def _wait(self) -> None:
        databases = administer(self.admin_url)
        deadline = time.monotonic() + START_SECONDS
        while not databases.answers():
            if time.monotonic() > deadline:
                raise ServerError(
                    f"no answer within {START_SECONDS} s from the container\n{self.log()[-2000:]}"
                )
            time.sleep(POLL_SECONDS)
