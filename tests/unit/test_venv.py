"""testbed/venv.sh: which Python it takes, and what it says when none will do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "testbed" / "venv.sh"
OLD = '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit\nexit 1\n'
WITHOUT_VENV = '#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; *) exit 0 ;; esac\n'
ABLE = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'


def make_venv(folder: Path, pythons: dict[str, str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script where these are the only programs named python…"""
    programs = folder / "bin"
    programs.mkdir()
    for name, script in pythons.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    (programs / "basename").symlink_to("/usr/bin/basename")
    return subprocess.run(
        ["/bin/sh", SCRIPT, folder / "venv"],
        env={"PATH": str(programs)} | variables,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("pythons", "said"),
    [
        ({}, ["3.11 or newer, and here is no python3", "apt-get install python3.11"]),
        ({"python3": OLD}, ["3.11 or newer, and here is Python 3.9.2", "PYTHON="]),
        ({"python3": WITHOUT_VENV}, ["python3 has no venv module", "apt-get install python3-venv"]),
        ({"python3": OLD, "python3.12": WITHOUT_VENV}, ["apt-get install python3.12-venv"]),
    ],
)
def test_says_what_is_missing(tmp_path: Path, pythons: dict[str, str], said: list[str]) -> None:
    done = make_venv(tmp_path, pythons)
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]
    assert all(part in done.stderr for part in said)
    assert not (tmp_path / "venv").exists()


def test_takes_a_newer_python_where_python3_is_old(tmp_path: Path) -> None:
    done = make_venv(tmp_path, {"python3": OLD, "python3.13": ABLE})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "venv/bin/pip").exists()


def test_takes_the_python_that_is_named_or_none(tmp_path: Path) -> None:
    done = make_venv(tmp_path, {"python3": ABLE, "old": OLD}, PYTHON="old")
    assert done.returncode == 1
    assert "Python 3.9.2" in done.stderr
