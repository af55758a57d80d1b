"""The history: bounded, readable by others, and no reason to stop when its disk is full or its file bad."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from umami_ops.daemon import history as module
from umami_ops.daemon import outcome, store
from umami_ops.daemon.agenda import Mark
from umami_ops.daemon.history import History
from umami_ops.daemon.notify import Channels, occasion
from umami_ops.daemon.records import Cause, DatabaseSize, Message, Result, Run, StepDone
from umami_ops.errors import OpsError

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)


def keep(history: History, number: int, *, job: str = "nightly", result: Result = Result.SUCCESS) -> Run:
    begun = NOW + timedelta(minutes=number)
    run = Run(f"{job}{number}", job, Cause.SCHEDULE, begun, 0, begun)
    history.begin(run)
    step = StepDone("prune --days 365", 1.5, 0, 12, None, "", "", "a\nb", {"deleted_rows": {"session": 12}})
    done = replace(run, ended_at=begun + timedelta(seconds=2), result=result, rows=12, steps=(step,))
    history.end(done)
    return done


def test_what_is_kept_is_what_comes_back(tmp_path: Path) -> None:
    history = History(tmp_path)
    done = keep(history, 1)
    history.mark("nightly", Mark("@daily UTC", NOW))
    history.keep("health", {"a": [1]}, NOW)
    history.close()
    again = History(tmp_path)
    (run,) = again.runs()
    assert replace(run, steps=again.steps(run.id)) == done
    assert again.marks() == {"nightly": Mark("@daily UTC", NOW)}
    assert again.kept("health") == (NOW, {"a": [1]})
    assert (tmp_path / "history.sqlite").stat().st_mode & 0o077 == 0


def test_it_is_bounded_and_keeps_each_jobs_last_success_and_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_RUNS", 20)
    history = History(tmp_path)
    keep(history, 0, job="yearly")
    keep(history, 1, job="yearly", result=Result.FAILURE)
    for number in range(2, 60):
        keep(history, number)
    runs = history.runs()
    assert len([run for run in runs if run.job == "nightly"]) == 20
    assert {run.result for run in runs if run.job == "yearly"} == {Result.SUCCESS, Result.FAILURE}
    assert {total.job: total.runs for total in history.totals() if total.result is Result.SUCCESS} == {
        "nightly": 58,
        "yearly": 1,
    }
    assert not history.steps("nightly2")


def test_the_last_run_is_the_one_that_began_last_whatever_the_clock_said(tmp_path: Path) -> None:
    history = History(tmp_path)
    keep(history, 365 * 1440, result=Result.FAILURE)  # the clock was ahead by a year
    later = keep(history, 1)
    assert [run.id for run in history.runs(limit=1)] == [later.id]
    verdict = history.verdict("nightly")
    assert verdict is not None
    assert verdict.result is Result.SUCCESS
    history.add_size(DatabaseSize(NOW + timedelta(days=365), 1, 2, 3))
    history.add_size(DatabaseSize(NOW, 4, 5, 6))
    assert [size.taken_at for size in history.sizes()] == [NOW]


def test_sizes_thin_out(tmp_path: Path) -> None:
    history = History(tmp_path)
    for hour in range(24 * 60):
        history.add_size(DatabaseSize(NOW + timedelta(hours=hour), hour, 0, None))
    history.add_size(DatabaseSize(NOW + timedelta(hours=24 * 60 - 1, minutes=5), 1, 0, None))
    taken = [size.taken_at for size in history.sizes()]
    assert taken == sorted(taken)
    assert 14 * 24 + 40 < len(taken) < 14 * 24 + 60


def test_messages_are_bounded_and_claimed_once(tmp_path: Path) -> None:
    history, other = History(tmp_path), History(tmp_path)
    for number in range(300):
        history.post(Message("webhook", {"n": number}, NOW + timedelta(seconds=number), next_at=NOW))
    (*_, message) = history.messages()
    assert len(history.messages()) == 200
    assert history.claim(message, NOW + timedelta(minutes=1))
    assert not other.claim(message, NOW + timedelta(minutes=1))


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "history.sqlite").write_bytes(b"no database at all" * 500)
    history = History(tmp_path)
    keep(history, 1)
    assert len(history.runs()) == 1
    assert len(list(tmp_path.glob("history.damaged-*"))) == 1


def test_who_only_reads_waits_for_no_writer_and_keeps_none_waiting(tmp_path: Path) -> None:
    history = History(tmp_path)
    keep(history, 1)
    history._store._store.execute("BEGIN IMMEDIATE")
    reader = History(tmp_path, only_to_read=True)
    assert len(reader.runs()) == 1
    history._store._store.execute("COMMIT")
    keep(history, 2)
    assert not history.fault
    assert len(reader.runs()) == 2
    reader.close()


def test_who_only_reads_says_that_the_file_is_damaged_and_leaves_it(tmp_path: Path) -> None:
    file = tmp_path / store.FILE
    file.write_bytes(b"no database at all" * 500)
    with pytest.raises(OpsError, match="can't be read: file is not a database"):
        History(tmp_path, only_to_read=True)
    assert [path.name for path in tmp_path.iterdir()] == [store.FILE]


def test_a_file_that_is_only_being_made_holds_no_runs(tmp_path: Path) -> None:
    (tmp_path / store.FILE).touch()
    reader = History(tmp_path, only_to_read=True)
    assert reader.runs() == []
    reader.close()


def filled(folder: Path) -> History:
    """A history of so many runs that the file has pages to spare."""
    history = History(folder)
    history._store._store.execute("BEGIN")
    for number in range(400):
        keep(history, number)
    history._store._store.execute("COMMIT")
    return history


def damage(folder: Path) -> None:
    """Overwrite pages in the middle of the file, and leave its header and its schema as they are."""
    with (folder / store.FILE).open("r+b") as file:
        size = file.seek(0, 2)
        assert size > 30 * 4_096
        file.seek(16 * 4_096)
        file.write(b"\xa5" * (size - 20 * 4_096))


def test_a_file_that_is_damaged_in_its_middle_is_put_aside(tmp_path: Path) -> None:
    filled(tmp_path).close()
    damage(tmp_path)
    history = History(tmp_path)
    assert (tmp_path / history.put_aside).is_file()
    keep(history, 1)
    assert len(history.runs()) == 1
    history.abandon(NOW)
    history.close()
    assert len(list(tmp_path.glob("history.damaged-*"))) == 1


def test_a_file_that_is_damaged_while_it_is_open_stops_nothing_and_heals(tmp_path: Path) -> None:
    history = filled(tmp_path)
    damage(tmp_path)
    history._store._store.execute("PRAGMA cache_size = 1")
    for number in range(500, 503):
        history.verdict("nightly")
        keep(history, number)
    assert history.fault
    assert [run.id for run in history.runs()] == ["nightly502", "nightly501", "nightly500"]
    history._store._tried_at = 0.0
    keep(history, 503)
    assert not history.fault
    assert history.lost == 0
    history.close()
    again = History(tmp_path)
    assert [run.id for run in again.runs()] == ["nightly503", "nightly502", "nightly501", "nightly500"]
    assert again.steps("nightly500")
    assert len(list(tmp_path.glob("history.damaged-*"))) == 1


def test_text_that_is_none_stops_nothing(tmp_path: Path) -> None:
    """SQLite doesn't call it damage."""
    history = History(tmp_path)
    keep(history, 1)
    history._store._store.execute("UPDATE runs SET reason = CAST(x'ff' AS TEXT)")
    assert [run.reason for run in history.runs()] == ["\ufffd"]


def test_what_was_running_when_it_was_killed_is_interrupted(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.begin(Run("x", "nightly", Cause.SCHEDULE, NOW, 0, NOW))
    history.abandon(NOW + timedelta(hours=1))
    (run,) = history.runs()
    assert (run.result, run.seconds) == (Result.INTERRUPTED, 3_600)


def test_an_interrupted_run_hides_no_failure(tmp_path: Path) -> None:
    history = History(tmp_path)
    assert history.verdict("nightly") is None
    failed = keep(history, 1, result=Result.FAILURE)
    for number in range(2, 9):
        keep(history, number, result=Result.INTERRUPTED)
    found = history.verdict("nightly")
    assert found is not None
    assert found.id == failed.id
    done = replace(failed, result=Result.SUCCESS)
    assert (occasion(done, found), occasion(done, None)) == ("recovery", "success")
    keep(history, 10)
    found = history.verdict("nightly")
    assert found is not None
    assert found.id == "nightly10"


@pytest.mark.parametrize(
    ("address", "pinged"),
    [
        ("https://hc.example/KEY/umami-{job}", "https://hc.example/KEY/umami-look/1?rid=7"),
        ("https://hc.example/{job}/", "https://hc.example/look/1?rid=7"),
        ("https://hc.example/KEY/{job}?create=1", "https://hc.example/KEY/look/1?create=1&rid=7"),
        ("https://hc.example?create=1", "https://hc.example/1?create=1&rid=7"),
    ],
)
def test_a_ping_goes_to_the_path_of_its_exit_code_whatever_the_address_has_behind_it(
    address: str, pinged: str
) -> None:
    content = {"job": "look", "path": "/1?rid=7"}
    assert Channels(ping=address).address("ping", content) == {"url": pinged}
    assert Channels().address("ping", content) is None


_FULL = """
import resource, signal, sys
from pathlib import Path
from tests.unit.test_daemon_history import keep
from umami_ops.daemon import history as module
history = module.History(Path(sys.argv[1]))
keep(history, 0)
size = (Path(sys.argv[1]) / "history.sqlite").stat().st_size
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4096, hard))
for number in range(1, 120):
    keep(history, number)
assert history.fault, "the disk was not full"
assert len(history.runs()) == 120
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
history._store._tried_at = 0.0
keep(history, 120)
assert not history.fault
assert len(history.runs()) == 121
history.close()
"""


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """A limit of the file's size is to SQLite what a full disk is; and it can be lifted again."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(History(tmp_path).runs()) == 121


def test_what_memory_could_not_keep_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "KEPT_UNWRITTEN", 10)
    history = History(tmp_path)
    other = sqlite3.connect(tmp_path / store.FILE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    history._store._store.execute("PRAGMA busy_timeout = 1")
    for number in range(3):
        history.mark(f"job{number}", Mark("@daily", NOW))
    assert (bool(history.fault), history.lost) == (True, 0)
    for number in range(20):
        history.mark(f"job{number}", Mark("@daily", NOW))
    assert history.lost == 13
    history.close()
    assert history.lost == 23, "what the file doesn't take at the end is lost, too"
    other.close()


@pytest.mark.parametrize(
    ("code", "said", "report", "reason"),
    [
        (1, "error: It broke.\nnoise\nhint: Mend it.", None, ("It broke.", "Mend it.")),
        (-9, "", None, ("Its process was ended by SIGKILL. Was there too little memory?", "")),
        (3, "", {"stopped": "the time limit was reached"}, ("Ended early: the time limit was reached.", "")),
        (2, "", {"findings": [{"check": "disk", "sentence": "Full.", "severity": "critical", "cure": "rm"}]},
         ("disk: Full.", "rm")),
        (7, "one\ntwo\n", None, ("two", "")),
        (7, "", None, ("It ended with exit code 7.", "")),
    ],
)  # fmt: skip
def test_reasons(code: int, said: str, report: dict[str, object] | None, reason: tuple[str, str]) -> None:
    assert outcome.reason_and_hint(code, said, report) == reason


def test_rows_and_bytes_of_the_commands() -> None:
    assert outcome.rows({"deleted_rows": {"session": 2, "website_event": 40}}) == 42
    assert outcome.rows({"size_bytes": 3}) is None
    before, after = ({"table_bytes": number, "index_bytes": 5} for number in (100, 60))
    assert outcome.size_bytes({"before": before, "after": after}) == -40
    assert outcome.size_bytes({"size_bytes": 7}) == 7
    assert outcome.result_of(3, continues=True) is Result.UNFINISHED
    assert outcome.result_of(3, continues=False) is Result.FAILURE
