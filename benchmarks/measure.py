"""Runs one contender and says how long it took: a function of ours, or a process of its own."""

from __future__ import annotations

import compileall
import functools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

_WATCH_SECONDS = 0.005


@dataclass(frozen=True)
class Run:
    """One contender, once. `report` is what umami-ops said of itself by --json."""

    seconds: float
    peak_bytes: int | None = None
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """Something to be timed on a fresh copy, and the tables in which it leaves nothing undone."""

    name: str
    run: Callable[[str], Run]
    cleans: tuple[str, ...]


@dataclass
class Score:
    """All the runs of one contender; round n of one stands beside round n of the others."""

    contender: Contender
    runs: list[Run] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """The median wall time."""
        return median(run.seconds for run in self.runs)

    @property
    def peak_bytes(self) -> int | None:
        """The highest peak of memory, if it was watched."""
        return max((run.peak_bytes for run in self.runs if run.peak_bytes), default=None)

    def times(self, other: Score) -> float:
        """Return how many times as long as `other` it took: the median of the rounds' own ratios."""
        return median(a.seconds / b.seconds for a, b in zip(self.runs, other.runs, strict=True))


def timed(work: Callable[[], object]) -> Run:
    """Time a function of ours."""
    began = time.perf_counter()
    work()
    return Run(time.perf_counter() - began)


def process(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> tuple[Run, str]:
    """Time a process from its start to its end, with its peak of memory; returns its output, too.

    Raises RuntimeError with what it said when it fails.
    """
    _compile()
    began = time.perf_counter()
    child = subprocess.Popen(
        command,
        env=os.environ | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    peak = _Peak(child)
    output, errors = child.communicate()
    seconds = time.perf_counter() - began
    if child.returncode:
        raise RuntimeError(f"{Path(command[0]).name} ended with {child.returncode}:\n{errors.strip()}")
    return Run(seconds, peak.stop()), output


def umami_ops(url: str, *arguments: str) -> Run:
    """Time a whole `umami-ops …` process, interpreter and imports included."""
    command = [sys.executable, "-m", "umami_ops", *arguments, "--json"]
    run, output = process(command, {"DATABASE_URL": url})
    return Run(run.seconds, run.peak_bytes, json.loads(output))


@functools.cache
def _compile() -> None:
    """Leave this package as pip does: compiled. A tree that is worked in need not be."""
    compileall.compile_dir(Path(__file__).parents[1] / "umami_ops", quiet=1)


class _Peak:
    """Reads the high-water mark of a child's memory until it ends.

    Not getrusage: what that says of a child includes the memory of the parent it was forked from.
    """

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child
        self._bytes = 0
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> int | None:
        """Return the peak in bytes."""
        self._thread.join()
        return self._bytes or None

    def _watch(self) -> None:
        status = Path(f"/proc/{self._child.pid}/status")
        while self._child.poll() is None:
            try:
                lines = status.read_text().splitlines()
            except OSError:  # it ended meanwhile, or this is no Linux
                return
            for line in lines:
                if line.startswith("VmHWM:"):
                    self._bytes = int(line.split()[1]) * 1024
            time.sleep(_WATCH_SECONDS)
