"""`partition` killed at any moment: nothing is lost, and a rerun reaches the same end."""

from __future__ import annotations

import random
import time

import pytest

from testbed.bulk import connect
from testbed.servers import Server
from tests import command
from tests.integration.test_partition import (
    VERBS,
    WORKING,
    assert_nothing_is_left_behind,
    partition,
    partitions,
)
from tests.process import Process
from tests.visitors import assert_as_told, fill, visiting

_KILLS = 20


def _start(url: str, verb: str) -> Process:
    return Process("partition", *VERBS[verb], url=url)


def _seconds(url: str, verb: str) -> float:
    """How long it takes when nobody kills it."""
    began = time.monotonic()
    ended = _start(url, verb).wait()
    assert ended.code == 0, ended.said
    return time.monotonic() - began


def _shape(url: str) -> list[object]:
    return [part["name"] for part in partitions(url)]


def test_each_verb_killed_once(server: Server, umami_database: str) -> None:
    url = umami_database
    still = fill(url, 10)
    chance = random.Random(server.name)
    with visiting(url) as told:
        for verb in VERBS:
            process = _start(url, verb)
            time.sleep(chance.uniform(0.4, 2.0))
            process.kill()
            _again(url, verb)
            assert_nothing_is_left_behind(url)
    # How long visitors wait is measured where nobody is killed.
    assert_as_told(url, told, still, was_reset=False, most_seconds=10.0)
    assert partitions(url) == []


@pytest.mark.parametrize("verb", ["enable", "split"])
def test_disable_undoes_what_was_killed(server: Server, umami_database: str, verb: str) -> None:
    url = umami_database
    still = fill(url, 11)
    if verb == "split":
        partition(url, *VERBS["enable"])
    with visiting(url) as told:
        process = _start(url, verb)
        while not _is_in_the_middle(url) and not process.is_over:
            pass
        process.kill()
        _again(url, "disable")
    assert_as_told(url, told, still, was_reset=False, most_seconds=10.0)
    assert_nothing_is_left_behind(url)
    assert partitions(url) == []


def test_a_killed_copy_is_gone_on_with(mysql_server: Server, umami_database: str) -> None:
    url = umami_database
    fill(url, 11)
    process = _start(url, "enable")
    with connect(url) as loader:
        rows = "SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = DATABASE()"
        while loader.execute(rows) != [(3,)] and not process.is_over:
            loader.commit()
    process.kill()
    cure = partition(url, "status", "--json").document["notes"][0]["cure"]
    assert "umami-ops partition enable --by month brings it to its end" in cure
    steps = partition(url, "enable", "--dry-run", "--json").document["steps"]
    texts = [text for step in steps for text in step["statements"]]
    assert not [text for text in texts if text.startswith(("CREATE TABLE", "CREATE TRIGGER", "DROP TRIGGER"))]
    _again(url, "enable")
    assert_nothing_is_left_behind(url)
    assert partitions(url)


def _is_in_the_middle(url: str) -> bool:
    with connect(url) as loader:
        return bool(loader.execute(WORKING[loader.dialect]))


@pytest.mark.fault
@pytest.mark.parametrize("verb", VERBS)
def test_killed_at_any_moment(server: Server, umami_database: str, verb: str) -> None:
    url = umami_database
    still = fill(url, 13)
    order = list(VERBS)
    for earlier in order[: order.index(verb)]:
        partition(url, *VERBS[earlier])
    takes = _seconds(url, verb)
    shape = _shape(url)
    chance = random.Random(f"{verb} {server.name}")
    # It goes on for minutes: at full speed, what they write would soon take most of the time to copy.
    with visiting(url, pause_seconds=0.05) as told:
        for kill in range(_KILLS):
            # Round and round, so that each kill finds the database as the verb does.
            for other in (*order[order.index(verb) + 1 :], *order[: order.index(verb)]):
                partition(url, *VERBS[other])
            process = _start(url, verb)
            time.sleep(takes * (0.2 + 0.8 * (kill + chance.random()) / _KILLS))
            process.kill()
            _again(url, verb)
            assert _shape(url) == shape
            assert_nothing_is_left_behind(url)
    assert_as_told(url, told, still, was_reset=False, most_seconds=10.0)


def _again(url: str, verb: str) -> None:
    """Run it once more, as soon as the server has noticed that the killed client is gone: 4 is the lock's."""
    for _ in range(100):
        outcome = command.run("partition", *VERBS[verb], url=url)
        if outcome.code != 4:
            break
    assert outcome.code == 0, outcome.said
