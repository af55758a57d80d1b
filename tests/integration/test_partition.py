"""`partition` on real servers: there and back again, while four visitors write."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from testbed.bulk import connect
from testbed.servers import Server
from tests import command
from tests.visitors import assert_as_told, fill, visiting

_WORKING = {
    "postgresql": "SELECT relname FROM pg_class WHERE relname LIKE '\\_umami\\_ops\\_%' UNION ALL "
    "SELECT tgname FROM pg_trigger WHERE tgname LIKE '\\_umami\\_ops\\_%' UNION ALL "
    "SELECT proname FROM pg_proc WHERE proname LIKE '\\_umami\\_ops\\_%' UNION ALL "
    "SELECT conname FROM pg_constraint WHERE conname LIKE '\\_umami\\_ops\\_%'",
    "mysql": "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() "
    "AND table_name LIKE '@_umami@_ops@_%' ESCAPE '@' UNION ALL "
    "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE()",
}


def partition(url: str, *arguments: str, code: int = 0) -> command.Outcome:
    outcome = command.run("partition", *arguments, url=url)
    assert outcome.code == code, outcome.said
    return outcome


def partitions(url: str) -> list[dict[str, object]]:
    return list(partition(url, "status", "--json").document["partitions"])


def assert_nothing_is_left_behind(url: str) -> None:
    with connect(url) as loader:
        assert loader.execute(_WORKING[loader.dialect]) == []


VERBS = {
    "enable": ("enable", "--yes"),
    "split": ("split", "--by", "quarter", "--yes"),
    "maintain": ("maintain", "--ahead", "5"),
    "disable": ("disable", "--yes"),
}


def test_there_and_back_beside_visitors(server: Server, umami_database: str) -> None:
    url = umami_database
    still = fill(url, 11)
    with visiting(url) as told:
        for verb in VERBS.values():
            partition(url, *verb)
            assert_nothing_is_left_behind(url)
    assert_as_told(url, told, still, was_reset=False)
    assert partitions(url) == []


@pytest.mark.parametrize("verb", ["split", "disable"])
def test_a_reset_in_the_middle(server: Server, umami_database: str, verb: str) -> None:
    url = umami_database
    still = fill(url, 12)
    partition(url, *VERBS["enable"])
    if verb == "disable":
        partition(url, *VERBS["split"])
    with visiting(url, reset_after_seconds=0.7) as told:
        partition(url, *VERBS[verb])
    # The reset itself locks what the visitors write beside it, on InnoDB.
    assert_as_told(url, told, still, was_reset=True, most_seconds=5.0)


def test_odd_times_land_and_are_found(server: Server, umami_database: str) -> None:
    url = umami_database
    fill(url, 6)
    odd = {datetime(2031, 1, 2, tzinfo=UTC), datetime(2015, 1, 2, tzinfo=UTC)}
    _write_at(url, "a", odd)
    partition(url, *VERBS["enable"])
    _write_at(url, "b", odd)
    partition(url, *VERBS["split"])
    _write_at(url, "c", odd)
    for _ in range(2):
        with connect(url) as loader:
            rows = loader.execute("SELECT event_name, created_at FROM website_event WHERE event_name <> ''")
        assert sorted(rows) == sorted(
            (name, when.replace(tzinfo=rows[0][1].tzinfo)) for name in "abc" for when in odd
        )
        partition(url, *VERBS["disable"])


def _write_at(url: str, name: str, times: set[datetime]) -> None:
    with connect(url) as loader:
        for when in times:
            new_id = "gen_random_uuid()" if loader.dialect == "postgresql" else "UUID()"
            loader.execute(
                "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path, event_name,"
                f" created_at) VALUES ({new_id}, {new_id}, {new_id}, {new_id}, '/', '{name}',"
                f" '{when:%Y-%m-%d %H:%M:%S}')"
            )


def test_every_verb_again_does_nothing(server: Server, umami_database: str) -> None:
    url = umami_database
    fill(url, 6)
    for verb in VERBS.values():
        partition(url, *verb)
        before = partitions(url)
        document = partition(url, *verb, "--json").document
        assert document["steps"] == []
        assert [part["name"] for part in partitions(url)] == [part["name"] for part in before]


@pytest.mark.parametrize("table", ["session", "revenue", "website"])
def test_no_other_table(server: Server, umami_database: str, table: str) -> None:
    outcome = partition(umami_database, "enable", "--table", table, "--yes", code=5)
    assert f"{table} is not partitioned: " in outcome.err
