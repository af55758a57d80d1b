"""`export` of events with times that anybody may have sent: in thousands of years, or none at all."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet
import pytest

from testbed.servers import Server
from tests import backups
from tests.command import run
from umami_ops.sql import Query

#: Times as far as the server's columns go, and the month of each; then what no calendar has.
_FAR = {
    "postgresql": {"0001-01-02": "0001-01", "9998-06-01": "9998-06", "9999-12-31 23:59:59": "9999-12"},
    "mysql": {"1970-01-01 00:00:01": "1970-01", "2038-01-19 03:14:07": "2038-01"},
}
_NEVER = {
    "postgresql": ("12026-01-01", "0044-03-15 BC", "infinity", "-infinity"),
    "mysql": ("0000-00-00 00:00:00",),
}
_COLUMNS = "event_id, website_id, session_id, visit_id, url_path, event_type, created_at"


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_times_of_thousands_of_years(server: Server, database_url: str, tmp_path: Path, form: str) -> None:
    backups.fill(server, database_url, events=50)
    far, never = _FAR[server.dialect], _NEVER[server.dialect]
    with backups.opened(database_url) as connection:
        if server.dialect == "mysql":
            connection.run(Query("test", "", "SET sql_mode = ''"))
        for number, time in enumerate((*far, *never)):
            identifier = f"00000000-0000-4000-8000-00000000000{number}"
            text = (
                f"INSERT INTO website_event ({_COLUMNS}) SELECT '{identifier}', website_id, session_id,"
                f" visit_id, '/', 1, '{time}' FROM website_event LIMIT 1"
            )
            connection.run(Query("test", "", text))
        undated = connection.value(
            Query("test", "", "SELECT COUNT(*) FROM website_event WHERE created_at IS NULL")
        )
        every = connection.value(Query("test", "", "SELECT COUNT(*) FROM website_event"))
    arguments = ("export", "--format", form, "--to", str(tmp_path))
    outcome = run(*arguments, "--json", url=database_url)
    assert outcome.code == 0, outcome.said
    months = {path.stem for path in (tmp_path / "events").glob(f"*.{form}")}
    assert {month for month in months if not month.startswith("2025")} == {*far.values()}
    left_out = undated + len(never)
    assert outcome.document["left_out"]["events"] == left_out
    rows = sum(file["rows"] for file in outcome.document["files"] if file["stream"] == "events")
    assert rows == every - left_out
    if form == "parquet":
        for month in far.values():
            assert pyarrow.parquet.read_metadata(tmp_path / f"events/{month}.parquet").num_rows == 1
    assert f"{left_out} of events" in run(*arguments, url=database_url).out


@pytest.mark.parametrize("span", [("--since", "2040-01-01"), ("--until", "1960-01-01")])
def test_a_span_beyond_the_servers_times(
    server: Server, database_url: str, tmp_path: Path, span: tuple[str, str]
) -> None:
    backups.fill(server, database_url, events=50)
    outcome = run("export", "--to", str(tmp_path), "events", "--json", *span, url=database_url)
    assert outcome.code == 0, outcome.said
    assert outcome.document["files"] == []


def test_properties_of_a_month_without_events(server: Server, database_url: str, tmp_path: Path) -> None:
    backups.fill(server, database_url, events=50)
    backups.execute(database_url, "UPDATE event_data SET created_at = '2026-02-03 04:05:06'")
    assert run("export", "--to", str(tmp_path), "event_data", url=database_url).code == 0
    assert [path.name for path in (tmp_path / "event_data").glob("[!.]*")] == ["2026-02.csv"]
