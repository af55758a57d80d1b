"""Backups of a database whose website_event is partitioned, and archives of what a prune deletes from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.servers import Server
from tests import backups
from tests.backups import execute, rows_of
from tests.command import Outcome, run


@pytest.fixture(scope="module")
def filled(server: Server) -> Iterator[str]:
    """A partitioned database with every odd shape of traffic; tests that change it put it back."""
    url = backups.fill(server, server.create_database(), events=400)
    outcome = run("partition", "enable", "--null-created-at", "delete", "--yes", url=url)
    assert outcome.code == 0, outcome.said
    yield url
    server.drop_database(url)


def _done(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, outcome.said
    return outcome


def _is_partitioned(url: str) -> bool:
    return bool(_done(run("partition", "status", "--json", url=url)).document["partitions"])


@pytest.mark.parametrize("form", ["dump", "portable"])
def test_what_goes_in_comes_out(
    server: Server, filled: str, database_url: str, tmp_path: Path, form: str
) -> None:
    env = backups.programs_of(server)
    _done(run("backup", "--format", form, url=filled, env=env, folder=tmp_path))
    before = rows_of(filled)
    parents = {table for table in before if not table.startswith("website_event_")}
    for _ in range(2):  # into nothing, then over what is there
        _done(run("restore", "latest", "--replace", "--yes", url=database_url, env=env, folder=tmp_path))
        found = rows_of(database_url)
        assert {t: found[t] for t in parents} == {t: before[t] for t in parents}
        execute(database_url, "DELETE FROM session")
    # The schema travels with a dump; a portable backup brings the plain table that Umami's migrations make.
    assert _is_partitioned(database_url) == (form == "dump")


def test_what_a_prune_deletes_comes_back(filled: str, tmp_path: Path) -> None:
    before = rows_of(filled)
    pruned = _done(
        run(
            "prune", "--before", "2025-05-20", "--yes", "--json", "--archive", "pruned",
            url=filled, folder=tmp_path,
        )
    )  # fmt: skip
    assert pruned.document["archive"]["rows"] == sum(pruned.document["deleted_rows"].values()) > 0
    name = pruned.document["archive"]["name"]
    _done(run("restore", name, "--store", "pruned", "--yes", url=filled, folder=tmp_path))
    assert rows_of(filled) == before
    assert _is_partitioned(filled)
