"""Client programs of a server: where they are looked for, and which of those found will do.

Knows no dialect: `postgresql/programs.py` and `mysql/programs.py` say names, folders and versions.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_ANSWERS_SECONDS = 10
#: A folder that goes before all others.
VARIABLE = "UMAMI_OPS_PROGRAMS"


@dataclass(frozen=True)
class FoundProgram:
    """A program: its path, and what it says its version is."""

    path: Path
    says: str

    @property
    def version(self) -> tuple[int, ...]:
        """The first number with dots in what it says, behind `Distrib` or `from` if such a word is there."""
        found = re.search(r"(?:Distrib |from )(\d+(?:\.\d+)+)", self.says) or re.search(
            r"(\d+(?:\.\d+)+)", self.says
        )
        return tuple(int(part) for part in found[1].split(".")) if found else ()

    @property
    def title(self) -> str:
        """Name and version, for people."""
        return f"{self.path.name} {'.'.join(map(str, self.version))}"


def candidates(names: Sequence[str], folders: Iterable[str]) -> Iterator[FoundProgram]:
    """Yield the programs of these names: in UMAMI_OPS_PROGRAMS if that is set, else on PATH and there.

    Each is run to ask for its version: who has found the right one needs no more.
    """
    chosen = os.environ.get(VARIABLE)
    places = [chosen] if chosen else [*os.environ.get("PATH", os.defpath).split(os.pathsep), *folders]
    seen: set[Path] = set()
    for place in places:
        for name in names:
            path = shutil.which(name, path=place) if place else None
            if path is None or Path(path) in seen:
                continue
            seen.add(Path(path))
            if said := _asked(path):
                yield FoundProgram(Path(path), said)


def candidates_in(folder: Path, name: str) -> list[FoundProgram]:
    """Return the program of this name in this folder alone."""
    path = shutil.which(name, path=str(folder))
    said = _asked(path) if path else ""
    return [FoundProgram(Path(path), said)] if path and said else []


def _asked(path: str) -> str:
    """Return what a program says to --version; empty when it doesn't run."""
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_ANSWERS_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
