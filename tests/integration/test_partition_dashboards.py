"""What Umami shows is the same on partitions, and a range of days asks only those it lies in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from testbed.bulk import Loader, connect
from testbed.servers import Server
from testbed.traffic import Traffic, populate
from testbed.umami import build_indexes, create_umami
from tests import dashboards
from tests.integration.test_partition import partition
from umami_ops.umami.migrations import latest_released_level

_START, _END = datetime(2025, 1, 10, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC)
_RANGES = [
    (_START, _END),
    (datetime(2025, 2, 1, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC)),
    (datetime(2025, 3, 30, 22, tzinfo=UTC), datetime(2025, 4, 2, 7, 30, tzinfo=UTC)),
    (datetime(2025, 6, 30, 23, 59, 59, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
]


@pytest.fixture
def half_a_year(server: Server) -> Iterator[str]:
    url = server.create_database()
    level = latest_released_level(server.dialect)
    create_umami(url, level, indexes=False)
    populate(url, Traffic(_START, _END, seed=3, events=4_000), level)
    build_indexes(url, level)
    with connect(url) as loader:
        # What no partition takes, no dashboard shows either.
        loader.execute("DELETE FROM website_event WHERE created_at IS NULL")
    yield url
    server.drop_database(url)


def _shown(url: str) -> list[Any]:
    with connect(url) as loader:
        websites = [str(id_) for (id_,) in loader.execute("SELECT website_id FROM website ORDER BY 1")]
        replays = loader.dialect == "postgresql"
        return [
            dashboards.numbers(loader, website, since, until, replays=replays, own_clock=True)
            for website in websites
            for since, until in _RANGES
        ]


def test_every_number_is_the_same(server: Server, half_a_year: str) -> None:
    url = half_a_year
    before = _shown(url)
    assert any(number["pages"] for number in before)
    for verb in (("enable",), ("split", "--by", "month"), ("disable",)):
        partition(url, *verb, "--yes")
        assert _shown(url) == before


def test_a_range_of_days_asks_its_partitions_alone(server: Server, half_a_year: str) -> None:
    url = half_a_year
    partition(url, "enable", "--yes")
    partition(url, "split", "--by", "month", "--yes")
    query = (
        "SELECT COUNT(*) FROM website_event"
        " WHERE created_at >= '2025-03-05 00:00:00' AND created_at < '2025-03-08 00:00:00'"
    )
    with connect(url) as loader:
        assert _asked(loader, query) == {"2025_03"}
        assert len(_asked(loader, "SELECT COUNT(*) FROM website_event")) > 6


def _asked(loader: Loader, query: str) -> set[str]:
    """The months whose partitions the server's plan names."""
    if loader.dialect == "postgresql":
        text = " ".join(row[0] for row in loader.execute(f"EXPLAIN {query}"))
        return set(re.findall(r"on website_event_(\d{4}_\d\d)\b", text)) | set(
            re.findall(r"website_event_(before\w+|default)\b", text)
        )
    ((mariadb,),) = loader.execute("SELECT VERSION() LIKE '%MariaDB%'")
    row = loader.execute(f"EXPLAIN {'PARTITIONS ' if mariadb else 'FORMAT=TRADITIONAL '}{query}")[0]
    return {name.removeprefix("p") for name in str(row[3]).split(",")}
