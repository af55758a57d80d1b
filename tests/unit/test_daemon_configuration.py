"""Jobs, settings and options: from which place, by which rank, and what is said of a mistake."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.command import run

URL = "postgresql://u:s3same@h/d"
GOOD = """
[daemon]
timezone = "Europe/Berlin"

[jobs.nightly]
schedule = "0 3 * * *"
steps = [
  "prune --days 365",
  "vacuum --if-needed",
]

[prune]
batch_size = 500
"""


def check(folder: Path, text: str, **env: str) -> tuple[int, str]:
    (folder / "umami-ops.toml").write_text(text)
    done = run("config", "check", url=URL, folder=folder, env=env)
    return done.code, done.said


def test_a_good_file_is_in_order(tmp_path: Path) -> None:
    code, said = check(tmp_path, GOOD)
    assert code == 0
    assert "postgresql://u@h:5432/d" in said
    assert "s3same" not in said


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "schedule =",
            "shedule =",
            "umami-ops.toml line 6, table [jobs.nightly]: there is no setting 'shedule'.",
        ),
        (
            "0 3 * * *",
            "0 3 * *",
            "umami-ops.toml line 6: jobs.nightly.schedule: The schedule '0 3 * *' can't be",
        ),
        (
            "--days 365",
            "--dayz 365",
            "umami-ops.toml line 8: jobs.nightly.steps: 'prune --dayz 365' is not underst",
        ),
        ("--days 365", "", "umami-ops.toml line 8: jobs.nightly.steps: How much is to be kept?"),
        (
            "--days 365",
            "--days many",
            "umami-ops.toml line 8: jobs.nightly.steps: 'prune --days many' is not",
        ),
        (
            "vacuum --if",
            "vakuum --if",
            "umami-ops.toml line 9: jobs.nightly.steps: there is no command 'vakuum'.",
        ),
        (
            "vacuum --if-needed",
            "daemon",
            "umami-ops.toml line 9: jobs.nightly.steps: 'daemon' can't be a step",
        ),
        (
            "vacuum --if-needed",
            "vacuum --help",
            "line 9: jobs.nightly.steps: 'vacuum --help' would only show help",
        ),
        ("vacuum --if-needed", "vacuum --table 'a", "line 9: jobs.nightly.steps: in"),
        (
            "Europe/Berlin",
            "Europe/Bonn",
            "umami-ops.toml line 3: daemon.timezone is not usable: There is no time",
        ),
        ("[daemon]", "[deamon]", "umami-ops.toml line 2: there is no setting 'deamon'."),
        ("timezone", "timezon", "umami-ops.toml line 3, table [daemon]: there is no setting 'timezon'."),
        (
            "batch_size",
            "batchsize",
            "umami-ops.toml line 13, table [prune]: there is no setting 'batchsize'.",
        ),
        ("500", "-5", "umami-ops.toml line 13: prune.batch_size is not usable"),
        ("[jobs.nightly]", "[jobs.Nightly]", "umami-ops.toml line 5: 'Nightly' is no name of a job."),
        ("[jobs.nightly]", "[jobs]", "umami-ops.toml line 6: jobs.schedule must be a table"),
    ],
)
def test_a_mistake_is_named_with_line_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    code, said = check(tmp_path, GOOD.replace(old, new, 1))
    assert code == 2
    assert message in said


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("UMAMI_OPS_PRUNE_DAYZ", "3", "UMAMI_OPS_PRUNE_DAYZ is no setting."),
        ("UMAMI_OPS_PRUNE_DAYZ", "3", "Did you mean UMAMI_OPS_PRUNE_DAYS?"),
        ("UMAMI_OPS_DAEMON_STATE_DIR", "/state", "Did you mean UMAMI_OPS_STATE_DIR?"),
        ("UMAMI_OPS_BACKUP_ENCRYPT_TO", "age1", "Did you mean UMAMI_OPS_BACKUP_CREATE_ENCRYPT_TO?"),
        ("UMAMI_OPS_ZEBRA", "1", "`umami-ops config show --all` lists them all."),
        ("UMAMI_OPS_PRUNE_DAYS", "many", "UMAMI_OPS_PRUNE_DAYS is not usable"),
        ("UMAMI_OPS_SCHEDULE_PRUNE", "0 4 * * *", "UMAMI_OPS_SCHEDULE_PRUNE: How much is to be kept?"),
        ("UMAMI_OPS_SCHEDULE_PRUME", "0 4 * * *", "UMAMI_OPS_SCHEDULE_PRUME schedules nothing"),
        ("UMAMI_OPS_SCHEDULE_VACUUM", "4 o'clock", "UMAMI_OPS_SCHEDULE_VACUUM: The schedule"),
        ("UMAMI_OPS_STEPS_OWN", "vacuum; prune", "UMAMI_OPS_STEPS_OWN: How much is to be kept?"),
        ("UMAMI_OPS_NOTIFY_ON", "sometimes", "UMAMI_OPS_NOTIFY_ON is not usable: 'sometimes' is none of"),
        (
            "UMAMI_OPS_NOTIFY_PING",
            "s3same",
            "UMAMI_OPS_NOTIFY_PING is not usable: it must begin with https://",
        ),
        (
            "UMAMI_OPS_NOTIFY_PING",
            "https://[s3same",
            "UMAMI_OPS_NOTIFY_PING is not usable: it is no web address",
        ),
        ("UMAMI_OPS_DAEMON_JITTER", "a while", "UMAMI_OPS_DAEMON_JITTER is not usable: write a span of time"),
        ("TZ", "Nowhere/Land", "TZ is not usable: There is no time zone"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, name: str, value: str, message: str) -> None:
    code, said = check(tmp_path, "", **{name: value})
    assert code == 2
    assert message in said
    assert "s3same" not in said


def test_what_kubernetes_sets_for_a_service_is_no_mistake(tmp_path: Path) -> None:
    ends = (
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_HTTP",
        "PORT",
        "PORT_8080_TCP",
        "PORT_8080_TCP_ADDR",
    )
    names = [f"UMAMI_OPS_{part}{end}" for part in ("", "DAEMON_", "METRICS_", "SCHEDULE_") for end in ends]
    code, said = check(tmp_path, "", **dict.fromkeys(names, "tcp://10.0.0.1:8080"))
    assert code == 0, said
    assert "Jobs: nightly, health." in " ".join(said.split())


def _jobs(folder: Path, text: str, **env: str) -> dict[str, tuple[str | None, list[str], str]]:
    (folder / "umami-ops.toml").write_text(text)
    document = run("config", "show", "--json", url=URL, folder=folder, env=env).document
    return {job["name"]: (job["schedule"], job["steps"], job["source"]) for job in document["jobs"]}


def test_jobs_come_from_the_file_and_variables_move_them(tmp_path: Path) -> None:
    steps = ["prune --days 365", "vacuum --if-needed"]
    assert _jobs(tmp_path, GOOD) == {"nightly": ("0 3 * * *", steps, "umami-ops.toml line 5")}
    moved = _jobs(tmp_path, GOOD, UMAMI_OPS_SCHEDULE_NIGHTLY="0 5 * * *", UMAMI_OPS_SCHEDULE_HEALTH="@hourly")
    assert moved["nightly"] == ("0 5 * * *", steps, "UMAMI_OPS_SCHEDULE_NIGHTLY")
    assert moved["health"][:2] == ("@hourly", ["health"])
    assert _jobs(tmp_path, GOOD, UMAMI_OPS_SCHEDULE_NIGHTLY="off")["nightly"][0] is None
    own = _jobs(tmp_path, "", UMAMI_OPS_SCHEDULE_OWN="@daily", UMAMI_OPS_STEPS_OWN="info; vacuum --if-needed")
    assert own == {"own": ("@daily", ["info", "vacuum --if-needed"], "UMAMI_OPS_SCHEDULE_OWN")}
    below = _jobs(tmp_path, "", UMAMI_OPS_SCHEDULE_PARTITION_MAINTAIN="@daily")
    assert below["partition-maintain"][1] == ["partition maintain"]


def test_without_any_job_the_usual_ones_run_and_nothing_is_pruned_unasked(tmp_path: Path) -> None:
    usual = _jobs(tmp_path, "")
    unasked = ["backup --verify", "backup prune", "partition maintain", "vacuum --if-needed"]
    assert usual["nightly"][1] == unasked
    assert usual["health"][1] == ["health"]
    assert "prune" in _jobs(tmp_path, "", UMAMI_OPS_PRUNE_DAYS="365")["nightly"][1]
    assert "prune" in _jobs(tmp_path, "[prune]\nkeep = '13mo'\n")["nightly"][1]


def test_a_usual_step_is_left_out_for_a_missing_horizon_alone_and_a_note_says_so(tmp_path: Path) -> None:
    code, said = check(tmp_path, "")
    assert code == 0
    assert "nightly runs without 'prune': How much is to be kept?" in " ".join(said.split())
    assert "runs without" not in check(tmp_path, "", UMAMI_OPS_PRUNE_DAYS="365")[1]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("UMAMI_OPS_BACKUP_CREATE_FORMAT", "portabel", "UMAMI_OPS_BACKUP_CREATE_FORMAT is not usable"),
        ("UMAMI_OPS_BACKUP_PRUNE_KEEP_LAST", "x", "UMAMI_OPS_BACKUP_PRUNE_KEEP_LAST is not usable"),
        ("UMAMI_OPS_PRUNE_DAYS", "365 days", "UMAMI_OPS_PRUNE_DAYS is not usable"),
        ("UMAMI_OPS_PRUNE_DAYS", "-1", "nightly, a job that runs where none is configured: --days -1"),
        ("UMAMI_OPS_PRUNE_KEEP", "365", "nightly, a job that runs where none is configured: --keep"),
        ("UMAMI_OPS_VACUUM_MAX_DURATION", "long", "UMAMI_OPS_VACUUM_MAX_DURATION is not usable"),
    ],
)
@pytest.mark.parametrize("words", [("run", "nightly"), ("daemon",)])
def test_a_wrong_value_ends_all_that_runs_jobs_instead_of_dropping_a_step(
    tmp_path: Path, words: tuple[str, ...], name: str, value: str, message: str
) -> None:
    state = {"UMAMI_OPS_STATE_DIR": "/proc/nothing"}  # or a daemon that took it would begin
    done = run(*words, url=URL, folder=tmp_path, env={name: value, **state})
    assert done.code == 2, done.said
    assert message in done.err


def test_a_wrong_table_of_a_command_ends_it_too(tmp_path: Path) -> None:
    (tmp_path / "umami-ops.toml").write_text("[backup.create]\nformt = 'portable'\n")
    done = run("schedule", url=URL, folder=tmp_path)
    assert (done.code, "umami-ops.toml line 2" in done.err) == (2, True), done.err


def test_each_place_of_an_option_outranks_the_next(tmp_path: Path) -> None:
    def said(*words: str, **env: str) -> str:
        return run("prune", *words, url="postgresql://u@127.0.0.1:1/d", folder=tmp_path, env=env).err

    refused, reached = "--days -1 would keep nothing", "127.0.0.1:1"
    (tmp_path / "umami-ops.toml").write_text("[prune]\ndays = -1\n")
    assert refused in said()
    (tmp_path / ".env").write_text("UMAMI_OPS_PRUNE_DAYS=365\n")
    assert reached in said()
    assert refused in said(UMAMI_OPS_PRUNE_DAYS="-1")
    assert reached in said("--days", "365", UMAMI_OPS_PRUNE_DAYS="-1")
    assert reached in said("--before", "2025-01-01", UMAMI_OPS_PRUNE_DAYS="-1"), (
        "the line outranks what it excludes"
    )
    assert "several" in said("--before", "2025-01-01", "--days", "3")


def test_secrets_are_masked_and_places_named(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("open s3same\n")
    (tmp_path / "umami-ops.toml").write_text('[daemon]\nhttp_token_file = "token"\n')
    variables = {"UMAMI_OPS_NOTIFY_APPRISE": "tgram://s3same/1", "UMAMI_OPS_BACKUP_CREATE_SCRATCH_URL": URL}
    for words in (("config", "show"), ("config", "show", "--json"), ("config", "show", "--all")):
        done = run(*words, url=URL, folder=tmp_path, env=variables)
        assert done.code == 0, done.said
        assert "s3same" not in done.said
        assert "umami-ops.toml line 2" in done.out
        assert "UMAMI_OPS_NOTIFY_APPRISE" in done.out
    step = f"backup --verify --scratch-url {URL}?sslpassword=s3same"
    (tmp_path / "umami-ops.toml").write_text(f'[jobs.look]\nschedule = "@daily"\nsteps = ["{step}"]\n')
    for line in ("config show", "config show --json", "schedule", "schedule --json"):
        done = run(*line.split(), url=URL, folder=tmp_path)
        assert done.code == 0, done.said
        assert "s3same" not in done.said
    both = '[daemon]\nhttp_token_file = "token"\nhttp_token = "x"\n'
    code, said = check(tmp_path, both)
    assert code == 2
    assert "exclude each other" in said


def test_the_daemon_says_at_its_start_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "umami-ops.toml").write_text(GOOD.replace("--days", "--dayz"))
    done = run("daemon", url=URL, folder=tmp_path)
    assert done.code == 2
    assert "umami-ops.toml line 8" in done.err
    (tmp_path / "umami-ops.toml").write_text(GOOD)
    nowhere = run("daemon", folder=tmp_path)
    assert (nowhere.code, "No database is named" in nowhere.err) == (2, True)
    wrong = run("daemon", "--http", "8080x", url=URL, folder=tmp_path)
    assert wrong.code == 2
    code, said = check(tmp_path, GOOD, UMAMI_OPS_DAEMON_HTTP="8080")
    assert (code, "--http '8080' is no address" in said) == (2, True)
    closed = run("daemon", url=URL, folder=tmp_path, env={"UMAMI_OPS_STATE_DIR": "/proc/nothing"})
    assert closed.code == 1
    assert "The state folder /proc/nothing can't be written to" in closed.err


def test_schedule_shows_the_next_runs_in_order(tmp_path: Path) -> None:
    (tmp_path / "umami-ops.toml").write_text(
        GOOD + '[jobs.often]\nschedule = "@every 30m"\nsteps = ["info"]\n'
    )
    shown = run("schedule", "--json", "--count", "60", url=URL, folder=tmp_path)
    times = [entry["at"] for entry in shown.document]
    assert times == sorted(times)
    assert {entry["job"] for entry in shown.document} == {"nightly", "often"}
    few = run("schedule", "--json", "--count", "1", url=URL, folder=tmp_path)
    assert sorted(entry["job"] for entry in few.document) == ["nightly", "often"], "the next run of each job"
    assert "Europe/Berlin" in run("schedule", folder=tmp_path).out


def test_the_time_zone_of_the_container_moves_schedules(tmp_path: Path) -> None:
    (tmp_path / "umami-ops.toml").write_text('[jobs.look]\nschedule = "0 3 * * *"\nsteps = ["info"]\n')
    hours = {}
    for variables in ({}, {"TZ": "Asia/Kolkata"}, {"TZ": "Asia/Kolkata", "UMAMI_OPS_DAEMON_TIMEZONE": "UTC"}):
        done = run("schedule", "--json", url=URL, folder=tmp_path, env=variables)
        hours["/".join(variables.values())] = json.loads(done.out)[0]["at"]
    assert [f"{datetime.fromisoformat(at).astimezone(UTC):%H:%M}" for at in hours.values()] == [
        "03:00", "21:30", "03:00",
    ]  # fmt: skip
