"""`make demo`: from nothing to a pruned database, touching no other, and gone again when asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from testbed import servers

# Whatever a person has set, the demo must not touch: here nobody listens.
NOWHERE = {
    "DATABASE_URL": "postgresql://u:p@127.0.0.1:1/production",
    "DIRECT_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/production",
}
CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def directory() -> Iterator[Path]:
    place = servers.temporary_directory()
    yield place
    demo(place, "--stop")


def demo_command(directory: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "testbed.demo", "--directory", str(directory), *arguments]


def demo(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        demo_command(directory, *arguments),
        cwd=CHECKOUT,
        env=os.environ | NOWHERE,
        capture_output=True,
        text=True,
        timeout=120,
    )


def servers_in(directory: Path) -> list[psutil.Process]:
    """The processes that name the directory in their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(directory) in part for part in process.cmdline()) and "postgres" in process.name():
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def succeeding_demo(directory: Path, *arguments: str) -> str:
    done = demo(directory, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def events_by_url_file(file: Path) -> int:
    """How many events `umami-ops info` sees, called as the demo's last lines tell."""
    info = subprocess.run(
        [Path(sys.executable).with_name("umami-ops"), "info", "--json"],
        env={"PATH": os.environ["PATH"], "DATABASE_URL_FILE": str(file)},
        cwd=file.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    tables = {table["name"]: table["rows"] for table in json.loads(info.stdout)["tables"]}
    return int(tables["website_event"])


def test_demo_prunes_says_how_to_go_on_and_stops(directory: Path) -> None:
    shown = succeeding_demo(directory, "--events", "4000")
    parts = [
        "4,000 events",
        "$ umami-ops info",
        "$ umami-ops prune --days 365 --dry-run",
        "Dry run: nothing was changed.",
        "$ umami-ops prune --days 365 --yes",
        "Before and after",
        "as a dashboard shows them",
        f'make demo-stop ARGS="--directory {directory}"',
    ]
    places = [shown.find(part) for part in parts]
    assert -1 not in places
    assert places == sorted(places)
    dashboard = shown.partition("as a dashboard shows them")[2].partition("How to go on")[0]
    numbers = [line.split() for line in dashboard.splitlines() if line.endswith(" 0")]
    assert len(numbers) == 5
    assert all(line[-3] == line[-2] != "0" for line in numbers)

    url_file = directory / "url"
    assert url_file.stat().st_mode & 0o077 == 0
    assert 0 < events_by_url_file(url_file) < 4000
    succeeding_demo(directory, "--stop")
    assert not servers_in(directory)
    assert not directory.exists()


@pytest.mark.slow
def test_demo_again_begins_anew(directory: Path) -> None:
    for _ in range(2):
        succeeding_demo(directory, "--events", "2000")
        assert 0 < events_by_url_file(directory / "url") < 2000
        assert len([each for each in servers_in(directory) if "-D" in each.cmdline()]) == 1


@pytest.mark.fault
@pytest.mark.parametrize("stage", ["A PostgreSQL in", "13 months", "$ umami-ops info", "--dry-run", "--yes"])
def test_interrupted_demo_leaves_nothing(directory: Path, stage: str) -> None:
    with subprocess.Popen(
        demo_command(directory, "--events", "20000"),
        cwd=CHECKOUT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        seen = b""
        while stage.encode() not in seen:
            seen += os.read(process.stdout.fileno(), 4096) or pytest.fail(
                f"ended before {stage}: {seen.decode()}"
            )
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all in the foreground
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Nothing is left" in complaint
    assert b"Traceback" not in complaint
    assert not servers_in(directory)
    assert not directory.exists()


def test_failing_demo_says_why_in_one_line() -> None:
    done = demo(Path("/proc/no-such-place"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
