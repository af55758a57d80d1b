"""What else there is to do with a database, on partitions: look at it, move it."""

from __future__ import annotations

from collections.abc import Callable

from testbed.servers import Server
from tests import backups, command
from tests.integration.test_migrate import fill, migrate, verify
from tests.integration.test_partition import partition, partitions
from tests.plugins.directions import Direction
from umami_ops.operations.inspect import inspect


def test_info_sees_one_table(server: Server, umami_database: str) -> None:
    listed = {}
    for verb in ("enable", "disable"):
        partition(umami_database, verb, "--yes")
        document = command.run("info", "--json", url=umami_database).document
        listed[verb] = sorted(table["name"] for table in document["tables"])
    assert "website_event" in listed["enable"]
    assert listed["enable"] == listed["disable"]


def test_a_move_leaves_the_partitions_behind(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    source = source_at(13)
    fill(source)
    partition(source, "enable", "--null-created-at", "delete", "--yes")
    outcome = migrate(source, target_url, "--json")
    assert outcome.code == 0, outcome.said
    assert all(table["equal"] for table in outcome.document["proof"])
    assert partitions(target_url) == []
    with backups.opened(target_url) as connection:
        inspect(connection).require_safe()
    partition(target_url, "enable", "--yes")
    assert verify(source, target_url).code == 0
