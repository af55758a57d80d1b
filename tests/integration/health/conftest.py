"""The healthy Umami that the tests of this folder change and mend again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from testbed.servers import Server
from testbed.umami import create_umami
from tests.examining import WEBSITE, execute, insert_events
from umami_ops.umami.migrations import latest_released_level

_EVENTS = 48

#: Those that tests before this one asked of the server.
_FORGET_CHECKPOINTS = (
    "SELECT pg_stat_reset_shared(CASE WHEN to_regclass('pg_catalog.pg_stat_checkpointer') IS NULL"
    " THEN 'bgwriter' ELSE 'checkpointer' END)"
)


@pytest.fixture(scope="package")
def healthy(server: Server) -> Iterator[str]:
    """Umami as it should be: a website with an event an hour. Who changes it undoes that."""
    url = server.create_database()
    create_umami(url, latest_released_level(server.dialect))
    now = datetime.now(UTC)
    execute(url, f"INSERT INTO website (website_id, name) VALUES ('{WEBSITE}', 'Shop')")
    insert_events(url, WEBSITE, [now - timedelta(hours=hours) for hours in range(_EVENTS)])
    if server.dialect == "postgresql":
        execute(server.as_admin(url), _FORGET_CHECKPOINTS)
    yield url
    server.drop_database(url)


@pytest.fixture
def admin(server: Server, healthy: str) -> str:
    return server.as_admin(healthy)
