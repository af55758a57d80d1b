"""stdout and stderr that are closed, full or terminals, and signals that come before any change."""

from __future__ import annotations

import os
import pty
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from umami_ops.cli import streams

_FULL = "error: the output could not be written: No space left on device\n"
_NOWHERE = "postgresql://u@127.0.0.1:1/d"


def _shell(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which `umami-ops` is this checkout's."""
    bare = {name: value for name, value in os.environ.items() if "DATABASE_URL" not in name}
    start = shlex.join([sys.executable, "-m", "umami_ops"])
    return subprocess.run(
        ["sh", "-c", command.replace("umami-ops", start)],
        capture_output=True, text=True, timeout=60, env=bare | variables, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("arguments", ["--help", "", "--version", "info --help"])
def test_a_full_disk_is_one_line_and_a_failure(arguments: str) -> None:
    for variables in ({}, {"PYTHONIOENCODING": "ascii"}):
        done = _shell(f"umami-ops {arguments} >/dev/full", **variables)
        assert (done.returncode, done.stderr) == (1, _FULL)


def test_info_on_a_full_disk(umami_database: str) -> None:
    for arguments in ("info", "info --json"):
        done = _shell(f"umami-ops {arguments} >/dev/full", DATABASE_URL=umami_database)
        assert (done.returncode, done.stderr) == (1, _FULL)


def test_nothing_is_deleted_after_a_plan_that_could_not_be_written(umami_database: str) -> None:
    done = _shell("umami-ops prune --days 30 --dry-run >/dev/full", DATABASE_URL=umami_database)
    assert (done.returncode, done.stderr) == (1, _FULL)


def test_what_is_closed_is_as_if_it_led_nowhere() -> None:
    for closed in (">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"):
        assert _shell(f"umami-ops --help {closed}").returncode == 0, closed
        done = _shell(f"umami-ops info {closed}", DATABASE_URL=_NOWHERE)
        assert done.returncode == 1
        assert "bug" not in done.stderr
    assert _shell("umami-ops info 2>/dev/full", DATABASE_URL=_NOWHERE).returncode == 1


def test_a_log_of_both_streams_keeps_the_order(tmp_path: Path) -> None:
    talk = "from umami_ops.cli import render, streams; streams.prepare(); "
    talk += "render.print_line('plan'); render.say('progress'); render.print_line('report')"
    log = tmp_path / "log"
    with log.open("w") as both:
        subprocess.run([sys.executable, "-c", talk], stdout=both, stderr=both, check=True)
    assert log.read_text() == "plan\nprogress\nreport\n"


def test_a_lost_reader_is_an_output_fault_too() -> None:
    # `prune` catches the one kind, to tell on stderr what it deleted.
    assert issubclass(streams.ReaderGone, streams.OutputFault)
    assert issubclass(streams.OutputFault, OSError)


def test_errors_at_a_terminal_break_between_words() -> None:
    outer, inner = pty.openpty()
    variables = os.environ | {"DATABASE_URL": _NOWHERE, "COLUMNS": "30", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "umami_ops", "info"]
    subprocess.run(command, stderr=inner, env=variables, timeout=60, check=False)
    shown = os.read(outer, 4096).decode().replace("\r", "").splitlines()
    os.close(inner)
    os.close(outer)
    assert shown[:2] == ["error: Nothing answers at", "       127.0.0.1:1: connection"]
    assert max(map(len, shown)) <= 30


# --- signals ---------------------------------------------------------------------------------------------


@pytest.fixture
def silence() -> Iterator[socket.socket]:
    """A server that lets you connect and then says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(30)
        yield listening


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("command", ["info", "prune --days 30 --yes", "prune --days 30 --dry-run --json"])
@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_signal_while_connecting(
    scheme: str, command: str, number: signal.Signals, silence: socket.socket
) -> None:
    url = f"{scheme}://u:p@127.0.0.1:{silence.getsockname()[1]}/d"
    process = subprocess.Popen(
        [sys.executable, "-m", "umami_ops", *command.split()],
        env=os.environ | {"DATABASE_URL": url}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    connection, _ = silence.accept()
    with connection:
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (3, "", "Interrupted. Nothing was changed.\n")
