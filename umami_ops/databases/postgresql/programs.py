"""PostgreSQL's client programs: where they are, and whether they are the right ones."""

from __future__ import annotations

import shutil
import subprocess

_ANSWERS_SECONDS = 10


def find(name: str, version: str) -> str | None:
    """Return the path of a program on PATH that says it has this version; None when there is none."""
    path = shutil.which(name)
    if path is None:
        return None
    try:
        said = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_ANSWERS_SECONDS, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    return path if version in said.split() else None
