"""What else there is to do with a database, on partitions: look at it, keep it, bring it back, move it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.servers import Server
from tests import backups, command
from tests.backups import rows_of
from tests.integration.test_migrate import fill, migrate, verify
from tests.integration.test_partition import partition, partitions
from tests.plugins.directions import Direction
from umami_ops.operations.inspect import inspect


@pytest.fixture
def parted(server: Server) -> Iterator[str]:
    """Some months with every odd shape of traffic, a partition each."""
    url = backups.fill(server, server.create_database())
    partition(url, "enable", "--null-created-at", "delete", "--yes")
    partition(url, "split", "--by", "month", "--yes")
    yield url
    server.drop_database(url)


def _names(url: str) -> list[object]:
    return [part["name"] for part in partitions(url)]


def test_a_backup_brings_the_partitions_back(
    server: Server, parted: str, database_url: str, tmp_path: Path
) -> None:
    env = backups.programs_of(server) | {"UMAMI_OPS_SCRATCH_URL": server.as_admin(parted)}
    for arguments, url in (
        (("backup", "--verify"), parted),
        (("restore", "latest", "--yes"), database_url),
    ):
        outcome = command.run(*arguments, url=url, env=env, folder=tmp_path)
        assert outcome.code == 0, outcome.said
    assert rows_of(database_url) == rows_of(parted)
    assert len(_names(parted)) > 6
    assert _names(database_url) == _names(parted)
    assert verify(parted, database_url).code == 0
    partition(database_url, "disable", "--yes")
    outcome = verify(parted, database_url)
    assert outcome.code == 0, outcome.said


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
