"""The manners of the command line: exit codes, streams, colours, secrets, and a quick start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

from tests.command import run
from umami_ops import __version__, cli
from umami_ops.cli import sidecar
from umami_ops.errors import ConnectionFault, LockHeld, OpsError, Refused, UsageFault

SECRET = "s3same"
_HEAVY = ("rich", "sqlglot", "psycopg", "pymysql", "pydantic", "pydantic_settings", "dotenv")


def _process(
    *arguments: str, env: Mapping[str, str] | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `umami-ops` in a process of its own."""
    bare = {name: value for name, value in os.environ.items() if "DATABASE_URL" not in name}
    return subprocess.run(
        [sys.executable, "-m", "umami_ops", *arguments],
        capture_output=True, text=True, timeout=60, env=bare | dict(env or {}), cwd=folder, check=False,
    )  # fmt: skip


def _raise(monkeypatch: pytest.MonkeyPatch, fault: BaseException) -> None:
    """Make the command `info` end with this."""

    @click.command()
    def info() -> None:
        raise fault

    monkeypatch.setattr("umami_ops.cli.info.info", info)


# --- help, version, usage --------------------------------------------------------------------------------


def test_help_names_every_command_and_every_exit_code() -> None:
    outcome = run("--help")
    assert outcome.code == 0
    for name, (_, about) in cli.COMMANDS.items():
        assert f"{name} " in outcome.out
        assert about.split(",")[0] in outcome.out
    assert "5 refused" in outcome.out
    assert "\\b" not in outcome.out
    assert "\b" not in outcome.out


def test_without_a_command_the_help_is_shown_and_nothing_is_done() -> None:
    outcome = run()
    assert (outcome.code, outcome.out, outcome.err) == (2, run("--help").out, "")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom umami_ops.cli import main\n"
        "try:\n    main(['--help'], prog_name='umami-ops')\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {_HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str) -> None:
    outcome = run(name, "--help")
    assert outcome.code == 0
    assert outcome.out.startswith(f"Usage: umami-ops {name}")
    assert run(name, "-h").out == outcome.out


def test_version() -> None:
    outcome = run("--version")
    assert (outcome.code, outcome.out) == (0, f"umami-ops {__version__}\n")


def test_an_unknown_command_suggests_the_nearest() -> None:
    outcome = run("inof")
    assert outcome.code == 2
    assert outcome.err.startswith("error: No such command 'inof'. Did you mean 'info'?")
    assert "There are: info" in run("zzz").err


def test_below_a_command_too_and_without_any_its_help_is_on_stdout() -> None:
    for group, typed, meant in (("backup", "creat", "create"), ("partition", "enabl", "enable")):
        outcome = run(group, typed)
        assert outcome.code == 2
        assert f"No such command '{typed}'. Did you mean '{meant}'?" in outcome.err
    groups: list[tuple[str, ...]] = [(), ("partition",), ("upgrade",), ("config",)]
    for words in groups:
        alone = run(*words)
        assert (alone.code, alone.out, alone.err) == (2, run(*words, "--help").out, "")


@pytest.mark.parametrize(
    ("arguments", "variable", "said"),
    [
        (("history", "--limit", "x"), "", "Invalid value for '--limit': 'x' is not a whole number."),
        (
            ("prune", "--days", "3"),
            "UMAMI_OPS_PRUNE_DRY_RUN",
            "UMAMI_OPS_PRUNE_DRY_RUN: 'x' is neither true nor",
        ),
        (
            ("health",),
            "UMAMI_OPS_HEALTH_DEAD_ROWS",
            "UMAMI_OPS_HEALTH_DEAD_ROWS is not usable: it must be a whole",
        ),
        # or the backup would lie there unencrypted
        (
            ("backup",),
            "UMAMI_OPS_BACKUP_ENCRYPT_TO",
            "is no setting.\nhint: Did you mean UMAMI_OPS_BACKUP_CREATE_ENCRYPT_TO?",
        ),
    ],
)
def test_a_wrong_value_is_called_by_what_was_set(
    arguments: tuple[str, ...], variable: str, said: str
) -> None:
    env = {variable: "x"} if variable else {}
    outcome = run(*arguments, url="postgresql://u:p@127.0.0.1:1/d", env=env)
    assert outcome.code == 2
    assert said in outcome.err


def test_an_unknown_option_is_a_usage_error() -> None:
    outcome = run("info", "--jsno", url="postgresql://u:p@h/d")
    assert outcome.code == 2
    assert outcome.err.startswith("error: No such option")
    assert "umami-ops info --help" in outcome.err


# --- which database --------------------------------------------------------------------------------------


def test_no_database_named() -> None:
    outcome = run("info")
    assert outcome.code == 2
    assert outcome.err.splitlines()[0] == "error: No database is named."
    assert "DATABASE_URL" in outcome.err


@pytest.mark.parametrize("text", ["", f"oracle://u:{SECRET}@h/d", f"postgresql://u:{SECRET}/x@h/d", SECRET])
def test_a_malformed_url(text: str) -> None:
    outcome = run("info", url=text)
    assert outcome.code == 2
    assert outcome.err.startswith("error: DATABASE_URL")
    assert SECRET not in outcome.said


def test_url_may_stand_before_or_behind_the_command() -> None:
    for arguments in (("--url", "x://", "info"), ("info", "--url", "x://")):
        outcome = run(*arguments)
        assert outcome.code == 2
        assert outcome.err.startswith("error: --url")


def test_dotenv_and_secret_files_are_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"DATABASE_URL=mongodb://u:{SECRET}@h/d\n")
    outcome = run("info", folder=tmp_path)
    assert outcome.err.startswith("error: DATABASE_URL in .env does not begin with a scheme")
    (tmp_path / "secret").write_text(f"mongodb://u:{SECRET}@h/d\n")
    outcome = run("info", folder=tmp_path, env={"DATABASE_URL_FILE": "secret"})
    assert outcome.err.startswith("error: DATABASE_URL_FILE (secret) does not begin with a scheme")
    outcome = run("info", folder=tmp_path, env={"DATABASE_URL_FILE": "nothing"})
    assert outcome.code == 1
    assert "can't be read: No such file" in outcome.err


@pytest.mark.parametrize("command", ["health", "backup", "prune --days 30 --yes"])
def test_a_secret_file_may_be_a_pipe(command: str) -> None:
    """As in `DATABASE_URL_FILE=<(pass show umami)`: it can be read once."""
    reading, writing = os.pipe()
    os.write(writing, b"postgresql://u:p@127.0.0.1:1/nothing\n")
    os.close(writing)
    outcome = run(*command.split(), env={"DATABASE_URL_FILE": f"/dev/fd/{reading}"})
    os.close(reading)
    assert "Nothing answers at 127.0.0.1:1" in outcome.said


def test_a_wrong_settings_file(tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text("database_url = 1\n")
    outcome = run("--config", "ours.toml", "info", folder=tmp_path)
    assert outcome.code == 2
    assert outcome.err.startswith("error: ours.toml line 1: database_url must be text")


# --- failures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "code"), [(OpsError, 1), (ConnectionFault, 1), (UsageFault, 2), (LockHeld, 4), (Refused, 5)]
)
def test_each_error_says_what_why_and_what_next(
    kind: type[OpsError], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _raise(monkeypatch, kind("It broke.", hint="Mend it.", done="Nothing was changed."))
    outcome = run("info")
    assert outcome.code == code
    assert outcome.out == ""
    assert outcome.err == "error: It broke.\nNothing was changed.\nhint: Mend it.\n"


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    _raise(monkeypatch, KeyboardInterrupt())
    outcome = run("info")
    assert (outcome.code, outcome.err) == (3, "Interrupted. Nothing was changed.\n")
    _raise(monkeypatch, KeyboardInterrupt("What was committed stays."))  # as StopSignal has it
    outcome = run("info")
    assert (outcome.code, outcome.err) == (3, "Interrupted. What was committed stays.\n")


def test_a_bug_is_one_line_and_a_traceback_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    _raise(monkeypatch, ZeroDivisionError(f"postgresql://u:{SECRET}@h/d"))
    outcome = run("info")
    assert outcome.code == 1
    assert "this is a bug in umami-ops" in outcome.err
    assert "ZeroDivisionError in test_cli_manners.py" in outcome.err
    assert "Traceback" not in outcome.err
    outcome = run("info", env={"UMAMI_OPS_DEBUG": "1"})
    assert "Traceback" in outcome.err
    assert "postgresql://u:***@h/d" in outcome.err
    assert SECRET not in outcome.said


def test_a_password_in_a_message_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    _raise(monkeypatch, OpsError(f"no such place: mysql://u:{SECRET}@h/d", hint=f"x://:{SECRET}@h"))
    assert SECRET not in run("info").said


def test_a_message_steers_no_terminal(tmp_path: Path) -> None:
    outcome = run("--config", "\x1b]0;evil\x07.toml", "info", folder=tmp_path)
    assert outcome.code == 1
    assert "\\x1b]0;evil\\x07.toml" in outcome.err
    assert "\x1b" not in outcome.err


def test_a_reader_that_goes_away_is_no_drama() -> None:
    # `--help` into a pipe whose reader has closed it.
    process = subprocess.Popen(
        [sys.executable, "-m", "umami_ops", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    complaint = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=30)
    assert complaint == ""


# --- on real databases -----------------------------------------------------------------------------------


def test_info_in_a_pipe_has_no_colour_and_is_not_cut(umami_database: str) -> None:
    done = _process("info", env={"DATABASE_URL": umami_database, "COLUMNS": "40"})
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "…" not in done.stdout
    assert any(len(line) > 60 for line in done.stdout.splitlines())
    assert done.stderr == ""


def test_json_is_one_document_and_nothing_else(umami_database: str) -> None:
    done = _process("info", "--json", env={"DATABASE_URL": umami_database})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["umami"]["is_umami"] is True
    assert done.stderr == ""


def test_output_survives_an_ascii_locale(umami_database: str) -> None:
    environment = {"DATABASE_URL": umami_database, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = _process("info", env=environment)
    assert done.returncode == 0, done.stderr
    assert "website_event" in done.stdout
    assert "-> 0 events are older" in done.stdout
    assert done.stdout.isascii()
    assert "\\u" not in done.stdout
    done = _process("info", "--json", env=environment)
    assert json.loads(done.stdout)["umami"]["is_umami"] is True


def test_dotenv_beside_you(umami_database: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f'DATABASE_URL="{umami_database}"\n')
    assert run("info", folder=tmp_path).code == 0


def test_a_secret_file(umami_database: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{umami_database}\n")
    assert run("info", env={"DATABASE_URL_FILE": str(tmp_path / "secret")}).code == 0


# --- what the help looks like ----------------------------------------------------------------------------


def test_help_fits_eighty_columns_and_cuts_no_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    paths: list[tuple[str, ...]] = [(), *(path for path, _ in sidecar.all_commands())]
    for path in paths:
        for line in run(*path, "--help").out.splitlines():
            assert len(line) <= 80, (path, line)
            assert line.startswith("Usage:") or not line.endswith("..."), (path, line)


# --- before and without ----------------------------------------------------------------------------------


def test_a_history_before_the_first_run_is_none(tmp_path: Path) -> None:
    env = {"UMAMI_OPS_STATE_DIR": str(tmp_path / "none")}
    outcome = run("history", env=env)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("Nothing has run yet")
    assert run("history", "--json", env=env).document == []
    assert run("history", "nothing", env=env).code == 2


@pytest.mark.parametrize(
    ("library", "arguments", "extra"),
    [
        ("apscheduler.triggers.cron", ("history",), "daemon"),
        ("pyrage", ("backup", "--verify", "--encrypt-to", "age1x", "--identity", "key"), "encrypt"),
        ("obstore", ("backup", "list", "--store", "s3://bucket/x"), "s3"),
    ],
)
def test_without_an_extra_it_says_so_with_one_code(
    library: str, arguments: tuple[str, ...], extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("AGE-SECRET-KEY-1")
    monkeypatch.setitem(sys.modules, library, None)
    outcome = run(*arguments, url="postgresql://u:p@127.0.0.1:1/d", folder=tmp_path)
    assert outcome.code == 1, outcome.said
    assert f"umami-ops[{extra}]" in outcome.err
