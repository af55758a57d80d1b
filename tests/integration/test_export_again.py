"""`export` into a folder with earlier files: none of them is replaced by one that holds less."""

from __future__ import annotations

import csv
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from testbed.bulk import connect
from testbed.servers import Server
from tests import backups
from tests.command import Outcome, run


def _export(url: str, folder: Path, *arguments: str, form: str = "csv") -> Outcome:
    return run("export", "--format", form, "--to", str(folder), "--json", *arguments, url=url)


def _files(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    """What is in the folder's files, hidden ones left out."""
    paths = [path for path in folder.rglob(pattern) if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _prune(url: str, before: str, *arguments: str) -> None:
    outcome = run("prune", "--before", before, "--yes", *arguments, url=url)
    assert outcome.code == 0, outcome.said


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_month_stays_whole_while_it_is_pruned(
    server: Server, database_url: str, tmp_path: Path, form: str
) -> None:
    """As a nightly `export` and `prune` do it, when the horizon passes through a month."""
    backups.fill(server, database_url, events=400)
    assert _export(database_url, tmp_path, form=form).code == 0
    before = _files(tmp_path, "2025-03.*")
    assert len(before) == 13
    for horizon in ("2025-03-12", "2025-03-29"):
        _prune(database_url, horizon)
        again = _export(database_url, tmp_path, form=form)
        assert again.code == 0, again.said
        assert _files(tmp_path, "2025-03.*") == before
        kept = {str(Path(path).relative_to(tmp_path)) for path in again.document["kept"]}
        assert kept >= {*before}
        assert not {file["path"] for file in again.document["files"]} & {*again.document["kept"]}
    _prune(database_url, "2025-04-01")
    assert _export(database_url, tmp_path, form=form).code == 0
    assert _files(tmp_path, "2025-03.*") == before
    _export(database_url, tmp_path / "first", form=form)
    assert not _files(tmp_path / "first", "2025-03.*")


def test_a_website_of_its_own_horizon(server: Server, database_url: str, tmp_path: Path) -> None:
    """The month still begins with the events of others: how many there are tells."""
    backups.fill(server, database_url, events=400)
    _export(database_url, tmp_path, "session_stats", "event_data")
    before = _files(tmp_path, "2025-0[34].csv")
    with connect(database_url) as loader:
        ((name,),) = loader.execute("SELECT name FROM website ORDER BY name LIMIT 1")
    _prune(database_url, "2025-04-20", "--website", name)
    again = _export(database_url, tmp_path, "session_stats", "event_data")
    assert _files(tmp_path, "2025-0[34].csv") == before
    assert len(again.document["kept"]) >= 4


def test_other_websites_make_up_for_no_row_that_went(
    server: Server, database_url: str, tmp_path: Path
) -> None:
    backups.fill(server, database_url, events=400)
    with connect(database_url) as loader:
        ((name,),) = loader.execute("SELECT name FROM website ORDER BY name LIMIT 1")
    assert _export(database_url, tmp_path, "events", "--website", name).code == 0
    before = _files(tmp_path)
    _prune(database_url, "2025-04-20", "--website", name)
    outcome = _export(database_url, tmp_path, "events")
    assert outcome.code == 5, outcome.said
    after = _files(tmp_path)
    assert {path for path in after if before.get(path) == after[path]} == {
        "events/2025-03.csv",
        "events/2025-04.csv",
    }
    assert len(after) == len(before)


def test_a_part_of_a_month_has_its_span_for_a_name(server: Server, database_url: str, tmp_path: Path) -> None:
    backups.fill(server, database_url, events=400)
    _export(database_url, tmp_path, "events")
    before = _files(tmp_path)
    for span in (["--since", "2025-06-10"], ["--since", "2025-04-10T06:30", "--until", "2025-05-01"],
                 ["--until", "2025-03-10T00:00:00.5"]):  # fmt: skip
        assert _export(database_url, tmp_path, "events", *span).code == 0
    after = _files(tmp_path)
    assert {name: after[name] for name in before} == before
    assert {*after} - {*before} == {
        "events/2025-06-10--2025-07-01.csv",
        "events/2025-04-10T063000Z--2025-05-01.csv",
        "events/2025-03-01--2025-03-10T000000.500000Z.csv",
    }
    with connect(database_url) as loader:
        websites = [str(website) for (website,) in loader.execute("SELECT website_id FROM website")]
    refused = _export(database_url, tmp_path, "events", "--website", websites[0])
    assert refused.code == 5
    assert "Nothing was written." in refused.err
    assert _files(tmp_path) == after
    _export(database_url, tmp_path / "one", "events", "--website", websites[0])
    assert _export(database_url, tmp_path / "one", "events", "--website", websites[1]).code == 5
    assert _export(database_url, tmp_path / "one", "events").code == 0


def test_the_month_that_goes_on(server: Server, database_url: str, tmp_path: Path) -> None:
    """It is replaced night after night; but not where its beginning has gone before it was over."""
    backups.fill(server, database_url, events=50)
    start = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)

    def happens(number: int) -> None:
        backups.execute(
            database_url,
            "INSERT INTO website_event"
            " (event_id, website_id, session_id, visit_id, url_path, event_type, created_at)"
            f" SELECT '{_id(number)}', website_id, session_id, visit_id, '/', 1,"
            f" '{start + timedelta(seconds=number):%Y-%m-%d %H:%M:%S}'"
            " FROM website_event ORDER BY event_id LIMIT 1",
        )

    def goes(number: int) -> None:
        backups.execute(database_url, f"DELETE FROM website_event WHERE event_id = '{_id(number)}'")

    def exported() -> list[str]:
        with (tmp_path / f"events/{start:%Y-%m}.csv").open(newline="") as file:
            return [row["id"][-1] for row in csv.DictReader(file)]

    for number in range(3):
        happens(number)
        assert _export(database_url, tmp_path, "events").code == 0
        assert exported() == list("012"[: number + 1])
    goes(1)
    assert _export(database_url, tmp_path, "events").code == 0
    assert exported() == ["0", "2"], "what is deleted goes from the current month's file, too"
    goes(0)
    happens(3)
    outcome = _export(database_url, tmp_path, "events")
    assert outcome.code == 5, outcome.said
    assert "stayed as before" in outcome.err
    assert exported() == ["0", "2"]
    shutil.move(tmp_path / "events", tmp_path / "elsewhere")
    assert _export(database_url, tmp_path, "events").code == 0
    assert exported() == ["2", "3"]
    for label in (tmp_path / "events").glob(".*"):
        label.unlink()
    assert _export(database_url, tmp_path, "events").code == 5, "nobody knows what it holds"


def _id(number: int) -> str:
    return f"00000000-0000-4000-8000-00000000000{number}"


def test_a_label_that_cannot_be_read(server: Server, database_url: str, tmp_path: Path) -> None:
    backups.fill(server, database_url, events=50)
    assert _export(database_url, tmp_path, "websites").code == 0
    label = tmp_path / ".websites.csv.json"
    label.unlink()
    label.mkdir()  # to root, nothing else is closed
    outcome = _export(database_url, tmp_path, "websites")
    assert outcome.code == 1, outcome.said
    assert "Nothing was written." in outcome.err
    (tmp_path / "websites.csv").unlink()
    assert _export(database_url, tmp_path, "websites").code == 1
    assert not _files(tmp_path), "a file comes after its label, so that a kill leaves none without"
