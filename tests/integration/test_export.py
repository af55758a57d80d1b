"""`export` on real servers: the figures are Umami's own, and the same in every format."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from testbed.bulk import connect
from testbed.servers import Server
from testbed.servers.server import database_name
from tests import backups
from tests.command import Outcome, run


@pytest.fixture(scope="module")
def filled(server: Server) -> Iterator[str]:
    """A database with every odd shape of traffic; only read, since tests share it."""
    url = backups.fill(server, server.create_database(), events=600)
    yield url
    server.drop_database(url)


Exported = dict[str, list[dict[str, Any]]]


def _export(url: str, folder: Path, *arguments: str, form: str = "csv") -> Outcome:
    outcome = run("export", "--format", form, "--to", str(folder), "--json", *arguments, url=url)
    assert outcome.code == 0, outcome.said
    return outcome


def _read(folder: Path, form: str) -> Exported:
    found: Exported = {}
    for path in sorted(folder.rglob(f"*.{form}")):
        stream = path.stem if path.parent == folder else path.parent.name
        rows = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}[form](path)
        found.setdefault(stream, []).extend(rows)
    return found


def _csv(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _parquet(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    if isinstance(value, int | float) or (isinstance(value, str) and value.replace(".", "", 1).isdigit()):
        return f"{float(value):.6f}"
    return "" if value is None else str(value)


def test_every_format_says_the_same(filled: str, tmp_path: Path) -> None:
    read = {}
    for form in ("csv", "jsonl", "parquet"):
        _export(filled, tmp_path / form, form=form)
        read[form] = {
            stream: [{name: _plain(value) for name, value in row.items()} for row in rows]
            for stream, rows in _read(tmp_path / form, form).items()
        }
    assert len(read["csv"]) >= 12
    assert read["csv"] == read["jsonl"]
    assert read["csv"] == read["parquet"]


@pytest.mark.usefixtures("postgresql_server")
@pytest.mark.parametrize("behind", ["", "?pgbouncer=true"])
def test_times_are_the_same_whatever_the_database_prefers(
    server: Server, database_url: str, tmp_path: Path, behind: str
) -> None:
    """Parquet's are made of the server's own, with as many digits as each has."""
    backups.fill(server, database_url, events=200)
    name = database_name(database_url)
    backups.execute(
        database_url,
        f"ALTER DATABASE {name} SET datestyle = 'German'",
        f"ALTER DATABASE {name} SET timezone = 'America/New_York'",
        "UPDATE website_event SET created_at = date_trunc('second', created_at) + INTERVAL '1 microsecond'"
        " * (ARRAY[0, 1, 100000, 999990])[1 + abs(hashtext(event_id::text) % 4)]",
    )
    times = []
    for form in ("csv", "parquet"):
        _export(database_url + behind, tmp_path / form, "events", "sessions", "event_data", form=form)
        read = _read(tmp_path / form, form)
        times.append([
            (row["id"], *(_plain(row[column]) for column in columns))
            for stream, columns in (("events", ["createdAt"]), ("sessions", ["firstAt", "lastAt"]))
            for row in read[stream]
        ])  # fmt: skip
    assert times[0] == times[1]
    assert {time[-7:] for _, time, *_ in times[0]} >= {"000000Z", "000001Z", "100000Z", "999990Z"}


def test_the_figures_are_umamis(filled: str, tmp_path: Path) -> None:
    """Counted anew in plain Python, from the rows themselves."""
    _export(filled, tmp_path, form="jsonl")
    found = _read(tmp_path, "jsonl")
    with connect(filled) as loader:
        events = loader.execute(
            "SELECT website_id, session_id, visit_id, event_type, created_at FROM website_event"
            " WHERE created_at IS NOT NULL"
        )
        sessions = {(str(w), str(s)) for w, s in loader.execute("SELECT website_id, session_id FROM session")}
    assert len(found["events"]) == len(events)
    visits: dict[tuple[str, str, str, str], list[tuple[int, datetime]]] = {}
    for website, session, visit, kind, at in events:
        month = f"{at.astimezone(UTC) if at.tzinfo else at:%Y-%m}"
        visits.setdefault((month, str(website), str(session), str(visit)), []).append((kind, at))
    views = {key: [at for kind, at in rows if kind == 1] for key, rows in visits.items()}
    assert sum(row["pageviews"] for row in found["session_stats"]) == sum(map(len, views.values()))
    assert sum(row["bounces"] for row in found["session_stats"]) == sum(len(v) == 1 for v in views.values())
    spans = [max(at) - min(at) for at in views.values() if at]
    assert sum(row["totaltime"] for row in found["session_stats"]) == sum(
        s // timedelta(seconds=1) for s in spans
    )
    assert sum(row["y"] for row in found["pageviews"]) == sum(map(len, views.values()))
    counted = {
        (month, website, session)
        for (month, website, session, _), rows in visits.items()
        if (website, session) in sessions and any(kind != 5 for kind, _ in rows)
    }
    assert len(found["sessions"]) == len(counted)
    of_sessions = [row for key, rows in visits.items() if key[1:3] in sessions for row in rows]
    assert sum(row["views"] for row in found["sessions"]) == sum(kind == 1 for kind, _ in of_sessions)
    assert all(len(row["visitIds"].split()) == row["visits"] for row in found["sessions"])


def test_a_span_and_a_website(filled: str, tmp_path: Path) -> None:
    with connect(filled) as loader:
        ((website, name),) = loader.execute("SELECT website_id, name FROM website ORDER BY name LIMIT 1")
    span = ["--since", "2025-04-10", "--until", "2025-05-20"]
    _export(filled, tmp_path / "new", *span, "websites", "events", form="parquet")
    modes = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "new", *(tmp_path / "new").rglob("*"))}
    assert len(modes) == 8, "two folders; three files, each with a hidden one that says what it holds"
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items())
    shutil.rmtree(tmp_path / "new")
    _export(filled, tmp_path, *span, "--website", name, "events", form="jsonl")
    found = _read(tmp_path, "jsonl")
    assert set(found) == {"events"}
    assert {row["websiteId"] for row in found["events"]} == {str(website)}
    times = [row["createdAt"] for row in found["events"]]
    assert "2025-04-10" <= min(times) <= max(times) < "2025-05-20"
    assert {path.name for path in (tmp_path / "events").glob("[!.]*")} == {
        "2025-04-10--2025-05-01.jsonl",
        "2025-05-01--2025-05-20.jsonl",
    }


def test_what_is_wrong_is_said(filled: str, tmp_path: Path) -> None:
    for arguments, sign in (
        (["visits"], "There are"), (["--website", "nobody"], "nobody"), (["--since", "soon"], "--since"),
        (["--since", "2026-11-01", "--until", "2026-10-01"], "--until"), (["--to", ""], "--to"),
    ):  # fmt: skip
        outcome = run("export", "--to", str(tmp_path / "x"), *arguments, url=filled)
        assert outcome.code == 2, outcome.said
        assert sign in outcome.err
        assert not (tmp_path / "x").exists()
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "below", Path("/proc/x")):
        outcome = run("export", "--to", str(place), url=filled)
        assert outcome.code == 1, outcome.said
        assert "Nothing was written." in outcome.err


Make = Callable[[int], str]


def test_an_older_umami_is_refused(server: Server, umami_at: Make, tmp_path: Path) -> None:
    assert run("export", "--to", str(tmp_path), url=umami_at(9)).code == 5
