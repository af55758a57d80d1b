"""Every shape that Umami's data takes is in a small run of the traffic, counted on real servers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from testbed.bulk import connect
from testbed.servers import Server
from testbed.traffic import Traffic, populate
from testbed.umami import build_indexes, create_umami
from testbed.uniform import Uniform
from umami_ops.umami.migrations import latest_released_level

START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC)
SMALL = Traffic(START, END, events=3_000)
FEW = Traffic(START, END, events=500)

#: What it is, and a query that counts it; `level` is the first that has it.
SHAPES: list[tuple[int, str, str]] = [
    (1, "events", "SELECT COUNT(*) FROM website_event"),
    (1, "page views", "SELECT COUNT(*) FROM website_event WHERE event_type = 1"),
    (1, "custom events", "SELECT COUNT(*) FROM website_event WHERE event_type = 2"),
    (14, "link clicks", "SELECT COUNT(*) FROM website_event e JOIN link l ON l.link_id = e.website_id"),
    (14, "pixel views", "SELECT COUNT(*) FROM website_event e JOIN pixel p ON p.pixel_id = e.website_id"),
    (18, "performance", "SELECT COUNT(*) FROM website_event WHERE event_type = 5 AND lcp > 0 AND cls < 1"),
    (1, "undated events", "SELECT COUNT(*) FROM website_event WHERE created_at IS NULL"),
    (
        1,
        "events without a session row",
        "SELECT COUNT(*) FROM website_event e LEFT JOIN session s ON s.session_id = e.session_id"
        " WHERE s.session_id IS NULL",
    ),
    (
        1,
        "imported events",
        "SELECT COUNT(*) FROM website_event e JOIN session s ON s.session_id = e.session_id"
        " WHERE e.created_at < s.created_at",
    ),
    (
        10,
        "identified people seen for half a year",
        "SELECT COUNT(*) FROM session s WHERE s.distinct_id IS NOT NULL AND s.created_at < '2024-06-01'"
        " AND EXISTS (SELECT 1 FROM website_event e"
        " WHERE e.session_id = s.session_id AND e.created_at > '2024-12-15')",
    ),
    (
        1,
        "sessions never used",
        "SELECT COUNT(*) FROM session s WHERE NOT EXISTS"
        " (SELECT 1 FROM website_event e WHERE e.session_id = s.session_id)",
    ),
    (
        6,
        "session data rewritten long after the last event",
        "SELECT COUNT(*) FROM session_data d WHERE d.created_at > '2025-01-20'"
        " AND EXISTS (SELECT 1 FROM website_event e WHERE e.session_id = d.session_id)"
        " AND NOT EXISTS (SELECT 1 FROM website_event e"
        " WHERE e.session_id = d.session_id AND e.created_at > '2024-08-01')",
    ),
    (
        6,
        "traits said twice",
        "SELECT COUNT(*) FROM (SELECT session_id FROM session_data GROUP BY session_id, data_key"
        " HAVING COUNT(*) > 1) t",
    ),
    (
        6,
        "event data with a clock of its own",
        "SELECT COUNT(*) FROM event_data d JOIN website_event e ON e.event_id = d.website_event_id"
        " WHERE d.created_at > e.created_at",
    ),
    (
        6,
        "event data orphans",
        "SELECT COUNT(*) FROM event_data d LEFT JOIN website_event e ON e.event_id = d.website_event_id"
        " WHERE e.event_id IS NULL",
    ),
    (6, "numbers", "SELECT COUNT(*) FROM event_data WHERE data_type = 2 AND number_value > 1"),
    (6, "dates", "SELECT COUNT(*) FROM event_data WHERE data_type = 4 AND date_value > '2024-01-01'"),
    (13, "revenue", "SELECT COUNT(*) FROM revenue r JOIN website_event e ON e.event_id = r.event_id"),
    (
        13,
        "revenue orphans",
        "SELECT COUNT(*) FROM revenue r LEFT JOIN website_event e ON e.event_id = r.event_id"
        " WHERE e.event_id IS NULL",
    ),
    (
        6,
        "session data orphans",
        "SELECT COUNT(*) FROM session_data d LEFT JOIN session s ON s.session_id = d.session_id"
        " WHERE s.session_id IS NULL",
    ),
    (8, "campaigns", "SELECT COUNT(*) FROM website_event WHERE utm_campaign = 'spring sale'"),
    (1, "referrers", "SELECT COUNT(*) FROM website_event WHERE referrer_domain = 'google.com'"),
    (
        19,
        "replays in several chunks",
        "SELECT COUNT(*) FROM (SELECT visit_id FROM session_replay GROUP BY visit_id HAVING COUNT(*) > 1) v",
    ),
    (
        19,
        "replays that span days",
        "SELECT COUNT(*) FROM (SELECT visit_id FROM session_replay GROUP BY visit_id"
        " HAVING MAX(created_at) > MIN(created_at) + INTERVAL '2 days') v",
    ),
    (
        19,
        "saved replays",
        "SELECT COUNT(DISTINCT v.visit_id) FROM session_replay_saved v"
        " JOIN session_replay r ON r.visit_id = v.visit_id",
    ),
    (20, "heat map", "SELECT COUNT(*) FROM heatmap_event h JOIN session s ON s.session_id = h.session_id"),
    (
        21,
        "session links",
        "SELECT COUNT(*) FROM session_link l JOIN session s ON s.session_id = l.session_id",
    ),
    (14, "configuration", "SELECT COUNT(*) FROM link CROSS JOIN pixel CROSS JOIN report CROSS JOIN segment"),
    (16, "boards and shares", "SELECT COUNT(*) FROM board CROSS JOIN share"),
    (1, "an awkward name", "SELECT COUNT(*) FROM website WHERE name LIKE '%\"Best\" Bücher 🍵%'"),
    (1, "teams", "SELECT COUNT(*) FROM team_user JOIN team ON team.team_id = team_user.team_id"),
]


def assert_every_shape(url: str, level: int) -> None:
    create_umami(url, level, indexes=False)
    populate(url, SMALL, level)
    build_indexes(url, level)
    with connect(url) as loader:
        counts = {what: loader.execute(query)[0][0] for first, what, query in SHAPES if first <= level}
    assert 2_950 <= counts.pop("events") <= 3_050
    assert not [what for what, count in counts.items() if not count], counts


def test_every_shape_of_the_newest_release_is_there(server: Server, database_url: str) -> None:
    assert_every_shape(database_url, latest_released_level(server.dialect))


def test_every_unreleased_shape_is_there(postgresql_server: Server, database_url: str) -> None:
    assert_every_shape(database_url, 22)


@pytest.mark.parametrize("level", [1, 2, 6, 9, 13])
def test_every_level_takes_traffic(server: Server, umami_at: Callable[[int], str], level: int) -> None:
    url = umami_at(level)
    counts = populate(url, FEW, level)
    with connect(url) as loader:
        for table in ("website_event", "session", "event_data", "website"):
            assert loader.execute(f"SELECT COUNT(*) FROM {table}") == [(counts[table],)]


@pytest.mark.parametrize("level", [14, 17, 18, 23, 26, 30])
def test_every_v3_level_takes_traffic(
    postgresql_server: Server, umami_at: Callable[[int], str], level: int
) -> None:
    assert populate(umami_at(level), FEW, level)["website_event"] >= 490


def test_uniform_load_is_exact(server: Server, umami_database: str) -> None:
    profile = Uniform(START, END, events=2_000, sessions=300, event_data=600)
    counts = populate(umami_database, profile, latest_released_level(server.dialect))
    assert counts == {"website": 3, "session": 300, "website_event": 2_000, "event_data": 600}
    with connect(umami_database) as loader:
        joined = loader.execute(
            "SELECT COUNT(*) FROM event_data d JOIN website_event e ON e.event_id = d.website_event_id"
            " JOIN session s ON s.session_id = e.session_id AND s.website_id = d.website_id"
        )
    assert joined == [(600,)]
