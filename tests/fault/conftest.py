"""A database big enough to be interrupted, and the command as a process that can be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.servers import Server
from tests.fault.disk import small_file_system
from tests.fault.scene import Scene, scene_on


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the second PostgreSQL to --all: these tests take long, and on the first they say as much.

    So do the daemon's on the second of MariaDB and MySQL.
    """
    for item in items:
        if item.path.is_relative_to(__file__.rpartition("/")[0]):
            is_daemon = item.path.stem == "test_daemon_faults"
            if "[postgresql-17" in item.name or (is_daemon and "[mysql" in item.name):
                item.add_marker(pytest.mark.fault)


@pytest.fixture
def is_thorough(request: pytest.FixtureRequest) -> bool:
    """Whether everything was asked for: more data, more kills."""
    return bool(request.config.getoption("--all"))


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of its own for the next server's data."""
    with small_file_system() as disk:
        monkeypatch.setenv("TMPDIR", str(disk))
        yield disk


@pytest.fixture
def scene(server: Server, is_thorough: bool) -> Iterator[Scene]:
    """Traffic on a shared server, half of it past the horizon."""
    made = scene_on(server, events=30_000 if is_thorough else 2_500)
    yield made
    server.drop_database(made.url)
