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


#: What a test runs on by default, one each way; --all runs it on every direction.
_BY_DEFAULT = (("mariadb", "postgresql-18"), ("postgresql-18", "mysql"))


@dataclass(frozen=True)
class Direction:
    """From which server to which."""

    source: Server
    target: Server


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers that choose directions."""
    config.addinivalue_line("markers", "dialects(source, target): only for moves between these dialects")
    config.addinivalue_line("markers", "every_direction: runs on all of them even without --all")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what says as much in one direction as in another."""
    for item in items:
        pair = None
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            pair = item.callspec.params.get("direction")
        if pair is not None and pair not in _BY_DEFAULT and not item.get_closest_marker("every_direction"):
            item.add_marker(pytest.mark.slow)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that stands on `direction` one run for each direction between the chosen servers."""
    if "direction" in metafunc.fixturenames:
        option = metafunc.config.getoption("--servers")
        chosen = set(option.split(",") if option else servers.NAMES)
        wanted = [pair for pair in DIRECTIONS if chosen.issuperset(pair)]
        if marker := metafunc.definition.get_closest_marker("dialects"):
            wanted = [
                pair for pair in wanted if tuple(servers.KINDS[name].dialect for name in pair) == marker.args
            ]
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
