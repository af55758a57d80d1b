"""Databases with Umami's schema as pytest fixtures, on whichever `server` a test runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from testbed.servers import Server
from testbed.servers.server import database_name
from testbed.umami import create_umami
from umami_ops.umami.migrations import latest_released_level


@pytest.fixture(scope="session")
def umami_templates(server: Server) -> Iterator[Callable[[int], str]]:
    """Names of databases to copy, one a level, made when first asked for; PostgreSQL only."""
    urls: dict[int, str] = {}

    def template(level: int) -> str:
        if level not in urls:
            urls[level] = server.create_database()
            create_umami(urls[level], level)
        return database_name(urls[level])

    yield template
    for url in urls.values():
        server.drop_database(url)


@pytest.fixture
def umami_at(server: Server, umami_templates: Callable[[int], str]) -> Iterator[Callable[[int], str]]:
    """Call it with a level: the URL of a fresh database with Umami's schema at that level, and no traffic."""
    urls: list[str] = []

    def make(level: int) -> str:
        if server.dialect == "postgresql":
            urls.append(server.create_database(template=umami_templates(level)))
        else:
            urls.append(server.create_database())
            create_umami(urls[-1], level)
        return urls[-1]

    yield make
    for url in urls:
        server.drop_database(url)


@pytest.fixture
def umami_database(server: Server, umami_at: Callable[[int], str]) -> str:
    """A fresh database as Umami's newest release for the dialect leaves it: level 19, on MySQL 13."""
    return umami_at(latest_released_level(server.dialect))
