"""Client programs of a server: where they are looked for, which of those found will do, and how one begins.

Knows no dialect: `postgresql/programs.py` and `mysql/programs.py` say names, folders and versions.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ANSWERS_SECONDS = 10
#: So long a program has that is ended as soon as it began.
_ENDS_SECONDS = 5
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
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


def begun(arguments: Sequence[str | Path], **streams: Any) -> subprocess.Popen[Any]:
    """Begin a program in a session of its own; `streams` is what else Popen takes.

    A signal that comes meanwhile and ends the run counts once the program is there, and ends it, too: else it
    would go on, and nobody would know of it.
    """
    process: subprocess.Popen[Any] | None = None
    try:
        with _signals_held():
            process = subprocess.Popen(arguments, start_new_session=True, **streams)
    except BaseException:
        if process is not None:
            _end(process)
        raise
    return process


def _end(process: subprocess.Popen[Any]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_ENDS_SECONDS)
            break
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.close()


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let the signals that end a run wait until the end of the block.

    By handlers, which a new program doesn't inherit; to block them would keep it from hearing them, too.
    """
    held: list[int] = []
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # elsewhere no handler ever runs
        before = {number: signal.getsignal(number) for number in _ENDING}
        before = {number: handler for number, handler in before.items() if callable(handler)}
    for number in before:
        signal.signal(number, lambda number, _frame: held.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in held:
        signal.raise_signal(number)
