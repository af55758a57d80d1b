"""A server of MySQL's in another zone than UTC: Umami writes and reads UTC there, and takes no notice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest

from testbed import servers
from testbed.bulk import connect
from testbed.servers import Server
from testbed.umami import create_umami
from tests import command
from tests.examining import WEBSITE, undone
from tests.integration.test_partition import partition, partitions

_HORIZON = datetime(2026, 3, 1, tzinfo=UTC)
_BEFORE, _AFTER = "2026-02-28 23:30:00", "2026-03-01 00:30:00"


@pytest.fixture
def far_away(mysql_server: Server, umami_database: str) -> Iterator[str]:
    """A database on a server far from UTC, with an event on each side of a month's beginning."""
    admin = mysql_server.as_admin(umami_database)
    with undone(admin, "SET GLOBAL time_zone = '+08:00'", "SET GLOBAL time_zone = 'SYSTEM'"):
        with connect(umami_database) as loader:
            # Like Prisma, which sets no zone.
            loader.execute("SET time_zone = @@global.time_zone")
            loader.execute(
                f"INSERT INTO website (website_id, name, created_at) VALUES ('{WEBSITE}', 'far', '{_BEFORE}')"
            )
            for when in (_BEFORE, _AFTER):
                loader.execute(
                    "INSERT INTO website_event"
                    " (event_id, website_id, session_id, visit_id, url_path, created_at)"
                    f" VALUES (UUID(), '{WEBSITE}', UUID(), UUID(), '/', '{when}')"
                )
            loader.commit()
        yield umami_database


def _as_umami_reads(url: str) -> Sequence[str]:
    with connect(url) as loader:
        loader.execute("SET time_zone = @@global.time_zone")
        rows = loader.execute("SELECT created_at FROM website_event ORDER BY created_at")
    return [f"{when:%Y-%m-%d %H:%M:%S}" for (when,) in rows]


def test_prune_has_the_horizon_that_umami_means(far_away: str) -> None:
    done = command.run("prune", "--before", f"{_HORIZON:%Y-%m-%d}", "--yes", url=far_away)
    assert done.code == 0, done.said
    assert _as_umami_reads(far_away) == [_AFTER]


def test_partitions_begin_when_umami_s_month_does(far_away: str) -> None:
    partition(far_away, "enable", "--yes")
    partition(far_away, "split", "--by", "month", "--yes")
    ends = [str(part["until"]) for part in partitions(far_away) if part["until"]]
    assert ends and all(end.endswith("-01T00:00:00Z") for end in ends), ends
    with connect(far_away) as loader:
        assert loader.execute("SELECT COUNT(*) FROM website_event PARTITION (p2026_02)") == [(1,)]
        assert loader.execute("SELECT COUNT(*) FROM website_event PARTITION (p2026_03)") == [(1,)]
    partition(far_away, "disable", "--yes")
    assert _as_umami_reads(far_away) == [_BEFORE, _AFTER]


def test_a_move_brings_the_times_that_umami_sees(far_away: str) -> None:
    target = servers.get("postgresql-18").create_database()
    moved = command.run(
        "migrate", "--yes", "--to", "postgresql", url=far_away, env={"TARGET_DATABASE_URL": target}
    )
    assert moved.code == 0, moved.said
    assert "+08:00" in moved.said
    with connect(target) as loader:
        rows = loader.execute("SELECT created_at AT TIME ZONE 'UTC' FROM website_event ORDER BY created_at")
    assert [f"{when:%Y-%m-%d %H:%M:%S}" for (when,) in rows] == [_BEFORE, _AFTER]


def test_info_tells_the_times_that_umami_sees(far_away: str) -> None:
    (website,) = command.run("info", "--json", url=far_away).document["websites"]
    assert website["first_event"].startswith(_BEFORE.replace(" ", "T"))


#: A zone whose clocks are put forward on 31 March 2024 at 01:00 UTC, and back on 27 October.
_SUMMER_TIME = (
    "INSERT INTO mysql.time_zone (time_zone_id, use_leap_seconds) VALUES (9001, 'N')",
    "INSERT INTO mysql.time_zone_name (name, time_zone_id) VALUES ('Test/Summer', 9001)",
    "INSERT INTO mysql.time_zone_transition_type"
    " VALUES (9001, 0, 3600, 0, 'CET'), (9001, 1, 7200, 1, 'CEST')",
    "INSERT INTO mysql.time_zone_transition"
    " VALUES (9001, 0, 0), (9001, 1711846800, 1), (9001, 1729990800, 0)",
)


def test_a_target_that_leaves_an_hour_out_is_refused(mysql_server: Server) -> None:
    """Whatever the source holds now, it may be a time of that hour; in the same zone it can't."""
    with servers.start(mysql_server.name) as server:
        source, target = server.create_database(), server.create_database()
        create_umami(source, 13)
        with connect(server.as_admin(source)) as loader:
            for statement in _SUMMER_TIME:
                loader.execute(statement)
            loader.commit()
            loader.execute("SET GLOBAL time_zone = 'Test/Summer'")
        away = servers.get("postgresql-18").create_database()
        create_umami(away, 13)
        refused = command.run("migrate", "--yes", url=away, env={"TARGET_DATABASE_URL": target})
        assert refused.code == 5, refused.said
        assert "zone with summer time (Test/Summer)" in refused.err
        moved = command.run("migrate", "--yes", url=source, env={"TARGET_DATABASE_URL": target})
        assert moved.code == 0, moved.said
