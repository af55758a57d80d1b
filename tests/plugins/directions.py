"""Moves between two servers as a pytest fixture: each direction that the chosen servers allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from testbed import servers
from testbed.servers import Server
from testbed.umami import create_umami

#: Source and target: both dialects each way, each server on either side, and the same dialect.
DIRECTIONS = (
    ("mariadb", "postgresql-18"), ("mysql", "postgresql-17"), ("postgresql-18", "mysql"),
    ("postgresql-17", "mariadb"), ("mysql", "mariadb"), ("postgresql-17", "postgresql-18"),
)  # fmt: skip


@dataclass(frozen=True)
class Direction:
    """From which server to which."""

    source: Server
    target: Server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that stands on `direction` one run for each direction between the chosen servers."""
    if "direction" in metafunc.fixturenames:
        option = metafunc.config.getoption("--servers")
        chosen = set(option.split(",") if option else servers.NAMES)
        wanted = [pair for pair in DIRECTIONS if chosen.issuperset(pair)]
        names = [f"{source}-to-{target}" for source, target in wanted]
        metafunc.parametrize("direction", wanted, indirect=True, ids=names, scope="session")


@pytest.fixture(scope="session")
def direction(request: pytest.FixtureRequest) -> Direction:
    """Each pair of servers, shared by all tests."""
    source, target = request.param
    return Direction(servers.get(source), servers.get(target))


@pytest.fixture
def source_at(direction: Direction) -> Iterator[Callable[[int], str]]:
    """Call it with a level: the URL of a fresh database with Umami's schema on the direction's source."""
    urls: list[str] = []

    def make(level: int) -> str:
        urls.append(direction.source.create_database())
        create_umami(urls[-1], level)
        return urls[-1]

    yield make
    for url in urls:
        direction.source.drop_database(url)


@pytest.fixture
def target_url(direction: Direction) -> Iterator[str]:
    """A fresh, empty database on the direction's target."""
    url = direction.target.create_database()
    yield url
    direction.target.drop_database(url)
