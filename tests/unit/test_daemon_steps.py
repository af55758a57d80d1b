"""Steps as they are run: what their ends mean, and what of them is told and kept."""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tests.snapshots import JOBS, NOW, configuration, filled, keep, shown, step
from umami_ops.cli.sidecar import prepared
from umami_ops.daemon import metrics
from umami_ops.daemon.agenda import Agenda
from umami_ops.daemon.dispatcher import Dispatcher
from umami_ops.daemon.guard import Role
from umami_ops.daemon.history import History
from umami_ops.daemon.jobs import Job, Step
from umami_ops.daemon.records import Result, StepDone
from umami_ops.daemon.runner import Program, Runner
from umami_ops.daemon.status import Status, snapshot
from umami_ops.places import Places, SettingsFile
from umami_ops.redaction import Redaction

_ENDS_WITH_3 = Program([sys.executable, "-c", "raise SystemExit(3)"], {})


@pytest.mark.parametrize(
    ("line", "continues"),
    [
        ("prune --days 365", True), ("vacuum", True), ("partition maintain", True),
        ("backup --verify", False), ("backup create", False), ("health", False), ("export --to x", False),
    ],
)  # fmt: skip
def test_only_after_what_the_next_run_goes_on_with_does_a_job_go_on(line: str, continues: bool) -> None:
    ended: list[StepDone] = []
    made = prepared(Step.written(line), Places({}, {}, SettingsFile()))
    job = Job("nightly", None, (made, step("vacuum")))
    done = Runner(lambda *_: None).run(job, _ENDS_WITH_3, lambda _step: None, ended.append)
    assert [each.exit_code for each in ended] == ([3, 3] if continues else [3])
    assert done.result is Result.FAILURE, "the second step, which nothing prepared, is no exception"


def test_a_step_is_told_without_its_passwords_and_run_with_them() -> None:
    line = "verify --target-url mysql://u:p@ss@h/d?sslpassword=geheim"
    made = Step.written(line)
    assert made.text == "verify --target-url mysql://u:***@h/d?sslpassword=***"
    assert made.arguments == tuple(line.split())


def test_what_is_kept_of_a_report_has_no_secret_in_whatever_depth() -> None:
    report = {"url": "postgresql://u:geheim@h/d", "deep": [{"token": "a geheim b", "rows": 3}], "none": None}
    assert Redaction(["geheim"]).document(report) == {
        "url": "postgresql://u:***@h/d",
        "deep": [{"token": "a *** b", "rows": 3}],
        "none": None,
    }


def test_the_rotation_of_backups_is_no_backup(tmp_path: Path) -> None:
    history = History(tmp_path)
    lines = ("backup --verify", "backup prune --keep-last 3", "backup create", "backup list", "backup")
    keep(history, "nightly", NOW, Result.SUCCESS, [StepDone(line, 1.0, 0) for line in lines], seconds=5)
    backups = shown(history)["backups"]
    assert [each["command"] for each in backups] == ["backup --verify", "backup create", "backup"]


def test_backups_are_shown_however_often_other_jobs_run(tmp_path: Path) -> None:
    history = History(tmp_path)
    lines = ("umami-ops backup --verify", "prune --days 365")
    keep(history, "nightly", NOW, Result.SUCCESS, [StepDone(line, 1.0, 0) for line in lines], seconds=5)
    for hours in range(1, 251):
        begin = NOW + timedelta(hours=hours)
        keep(history, "health", begin, Result.SUCCESS, [StepDone("health", 1.0, 0)], seconds=5)
    assert [each["command"] for each in shown(history)["backups"]] == ["umami-ops backup --verify"]


def test_a_standby_says_nothing_of_runs_that_are_long_over(tmp_path: Path) -> None:
    history = filled(tmp_path, failing=True)
    told = {role: metrics.exposition(shown(history, role=role)).decode() for role in Role}
    assert "umami_ops_job_last_failed{" in told[Role.LEADER]
    assert "umami_ops_job_last_failed{" in told[Role.AWAY]
    assert not re.findall(r"^umami_ops_job_(last|overdue)\S*", told[Role.STANDBY], re.MULTILINE)


def test_an_overdue_job_makes_the_daemon_unwell_and_a_standby_not(tmp_path: Path) -> None:
    history = History(tmp_path)
    dispatcher = Dispatcher(Agenda(JOBS, history, NOW))
    later = NOW + timedelta(hours=1)  # health was due at nine

    def told(role: Role) -> tuple[bool, list[str]]:
        facts = Status(configuration(), dispatcher, history, role, NOW, None, NOW, later)
        document = snapshot(facts, later)
        return document["ok"], document["problems"]

    assert told(Role.LEADER) == (False, ["health is overdue since 2026-11-22T09:00:00Z."])
    assert told(Role.STANDBY) == (True, [])
