"""`prune --archive`: what goes is in the archive, nothing else is, and `restore` brings it back."""

from __future__ import annotations

import itertools
import random
import tarfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from testbed.bulk import connect
from testbed.servers import Server
from tests import backups
from tests.backups import Rows, execute, rows_of
from tests.command import Outcome, run
from umami_ops.databases.base import Connection
from umami_ops.errors import ConnectionLost
from umami_ops.transfer.pruned import PrunedRows

Cli = Callable[..., Outcome]
_PRUNE = ("prune", "--before", "2025-05-20", "--yes", "--json", "--archive", "pruned")
_EVERYTHING = ("--orphans", "--null-created-at", "delete")


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    """A database with every odd shape of traffic."""
    made = backups.fill(server, server.create_database(), events=800)
    yield made
    server.drop_database(made)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    def call(*arguments: str, url: str) -> Outcome:
        return run(*arguments, url=url, folder=tmp_path)

    return call


def _restored(cli: Cli, url: str, name: str, *options: str) -> Outcome:
    outcome = cli("restore", name, "--store", "pruned", "--yes", "--json", *options, url=url)
    assert outcome.code == 0, outcome.said
    return outcome


def _gone(before: Rows, after: Rows) -> dict[str, int]:
    counts = {table: len(rows) - len(after[table]) for table, rows in before.items()}
    return {table: count for table, count in counts.items() if count}


def test_what_goes_comes_back(cli: Cli, url: str, tmp_path: Path) -> None:
    before = rows_of(url)
    outcome = cli(*_PRUNE, *_EVERYTHING, "--batch-size", "50", url=url)
    assert outcome.code == 0, outcome.said
    after = rows_of(url)
    archive = outcome.document["archive"]
    folder = tmp_path / "pruned" / archive["name"]
    assert sorted(path.name for path in folder.iterdir()) == ["SHA256SUMS", "database.tar", "manifest.json"]
    assert [path.name for path in (tmp_path / "pruned").iterdir()] == [archive["name"]]
    with tarfile.open(folder / "database.tar") as tar:
        assert tar.getnames()[:2] == ["manifest.json", "schema.json"]
    assert _gone(before, after) == {t: n for t, n in outcome.document["deleted_rows"].items() if n}
    assert archive["rows"] == sum(_gone(before, after).values())
    restored = _restored(cli, url, archive["name"])
    assert {t["name"]: t["rows"] for t in restored.document["tables"]} == _gone(before, after)
    assert rows_of(url) == before
    again = _restored(cli, url, archive["name"])
    assert not any(table["rows"] for table in again.document["tables"])
    assert rows_of(url) == before
    told = cli("restore", archive["name"], "--store", "pruned", "--yes", url=url)
    assert f"Nothing of {archive['name']} was lacking, and nothing was added." in told.out
    assert "Rows added" not in told.out


def test_it_is_no_backup_but_can_be_verified(server: Server, cli: Cli, url: str) -> None:
    name = cli(*_PRUNE, url=url).document["archive"]["name"]
    latest = cli("restore", "latest", "--store", "pruned", "--yes", url=url)
    assert latest.code == 1, latest.said
    assert "rows that prune has deleted" in latest.err
    verified = cli("backup", "verify", name, "--store", "pruned", url=server.as_admin(url))
    assert verified.code == 0, verified.said
    rotated = cli(
        "backup", "prune", "--store", "pruned", "--keep-last", "0", "--keep-daily", "0", "--keep-weekly", "0",
        "--keep-monthly", "0", "--yes", "--json", url=url,
    )  # fmt: skip
    assert rotated.document["deleted"] == []
    listed = cli("backup", "list", "--store", "pruned", "--json", url=url)
    assert [(each["name"], each["kind"]) for each in listed.document["backups"]] == [(name, "pruned")]


def test_visitors_who_write_old_events_meanwhile_lose_none(server: Server, cli: Cli, url: str) -> None:
    before = rows_of(url)
    with connect(url) as loader:
        ((website, session),) = loader.execute("SELECT website_id, session_id FROM website_event LIMIT 1")
    written: list[str] = []
    over = threading.Event()
    chance = random.Random(3)

    def visit() -> None:
        with connect(url) as loader:
            while not over.wait(0.005):  # some hundred visits a second
                event = str(uuid.uuid4())
                loader.execute(
                    "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path,"
                    f" created_at) VALUES ('{event}', '{website}', '{session}', '{session}', '/',"
                    f" '2025-{chance.randint(3, 4):02}-{chance.randint(1, 30):02} 12:00:00')"
                )
                loader.commit()
                written.append(event)

    writer = threading.Thread(target=visit)
    writer.start()
    try:
        outcome = cli(*_PRUNE, "--batch-size", "50", url=url)
    finally:
        over.set()
        writer.join()
    assert outcome.code in (0, 3), outcome.said
    assert written
    after = rows_of(url)
    gone = _gone(before, after)
    archived = outcome.document["archive"]["rows"]
    assert archived == sum(gone.values()) + len(written)
    _restored(cli, url, outcome.document["archive"]["name"])
    restored = rows_of(url)
    with connect(url) as loader:
        found = {str(event) for (event,) in loader.execute("SELECT event_id FROM website_event")}
    assert found >= set(written)
    execute(url, f"DELETE FROM website_event WHERE event_id IN ({', '.join(map(repr, written))})")
    assert rows_of(url) == before, {t: (len(restored[t]), len(before[t])) for t in before}


def test_nothing_past_the_horizon_leaves_no_archive(cli: Cli, url: str, tmp_path: Path) -> None:
    outcome = cli("prune", "--before", "2001-01-01", "--yes", "--json", "--archive", "pruned", url=url)
    assert outcome.code == 0, outcome.said
    assert outcome.document["archive"] == {"name": None, "completed": []}
    assert list((tmp_path / "pruned").iterdir()) == []


def test_where_nothing_can_be_written_nothing_goes(cli: Cli, url: str, tmp_path: Path) -> None:
    before = rows_of(url)
    (tmp_path / "pruned").write_text("a file stands here")
    outcome = cli(*_PRUNE, url=url)
    assert outcome.code == 1, outcome.said
    assert rows_of(url) == before
    rebuilt = cli(*_PRUNE, "--rebuild", url=url)
    assert rebuilt.code == 2, rebuilt.said


def test_one_website_of_an_archive_comes_back(cli: Cli, url: str) -> None:
    with connect(url) as loader:
        ((website,),) = loader.execute(
            "SELECT website_id FROM website_event WHERE created_at < '2025-05-20' AND website_id IN "
            "(SELECT website_id FROM website) GROUP BY website_id ORDER BY COUNT(*) DESC LIMIT 1"
        )
    count = f"SELECT COUNT(*) FROM website_event WHERE website_id = '{website}'"
    others = "SELECT COUNT(*) FROM website_event"
    with connect(url) as loader:
        ((whole,),), ((all_before,),) = loader.execute(count), loader.execute(others)
    name = cli(*_PRUNE, url=url).document["archive"]["name"]
    with connect(url) as loader:
        ((left,),), ((all_left,),) = loader.execute(count), loader.execute(others)
    _restored(cli, url, name, "--website", str(website))
    with connect(url) as loader:
        ((now,),), ((all_now,),) = loader.execute(count), loader.execute(others)
    assert (now, all_now) == (whole, all_left + whole - left)
    assert all_now < all_before


def test_the_dry_run_shows_where_it_goes(cli: Cli, url: str, tmp_path: Path) -> None:
    shown = cli("prune", "--before", "2025-05-20", "--dry-run", "--archive", "pruned", url=url)
    assert shown.code == 0, shown.said
    assert "Archive in" in shown.out
    assert "umami_ops_kept_website_event" in shown.out
    assert not (tmp_path / "pruned").exists()


@pytest.mark.parametrize("is_committed", [True, False])
def test_cut_off_in_a_commit(
    server: Server, cli: Cli, url: str, is_committed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows_of(url)
    with backups.opened(url) as connection:
        session = type(connection)
    commit, keep = session.commit, PrunedRows.keep
    batches, cut = itertools.count(), set[int]()

    def keep_and_cut(self: PrunedRows, connection: Connection, deleted: Mapping[str, int]) -> None:
        keep(self, connection, deleted)
        if next(batches) == 2:
            cut.add(id(connection))

    def commit_or_not(self: Connection) -> None:
        if id(self) not in cut:
            commit(self)
            return
        cut.clear()
        if is_committed:
            commit(self)
        self.close()
        raise ConnectionLost("The connection broke: cut off")

    monkeypatch.setattr(PrunedRows, "keep", keep_and_cut)
    monkeypatch.setattr(session, "commit", commit_or_not)
    outcome = cli(*_PRUNE, "--batch-size", "50", url=url)
    assert outcome.code == 0, outcome.said
    assert outcome.document["reconnects"] == 1
    archive = outcome.document["archive"]
    assert archive["rows"] == sum(_gone(before, rows_of(url)).values())
    verified = cli("backup", "verify", archive["name"], "--store", "pruned", url=server.as_admin(url))
    assert verified.code == 0, verified.said
    _restored(cli, url, archive["name"])
    assert rows_of(url) == before
