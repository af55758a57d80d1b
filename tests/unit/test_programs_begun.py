"""Programs that are begun while a signal comes: none may go on that nobody can end any more."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from umami_ops.cli.signals import Terminated, interrupting
from umami_ops.databases.dumps import Child
from umami_ops.databases.postgresql import embedded


def _alive(mark: str) -> list[int]:
    """The processes that sleep for as long as `mark` says."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if mark in words:
            found.append(int(folder.name))
    return found


def _dump(mark: str, _folder: Path) -> None:
    Child(["sleep", mark], os.environ)


def _server(mark: str, folder: Path) -> None:
    (folder / "postgres").write_text(f"#!/bin/sh\nexec sleep {mark}\n")
    (folder / "postgres").chmod(0o755)
    with (folder / "said").open("wb") as log:
        embedded._started(folder, folder, log.fileno(), {})


@pytest.mark.parametrize("begin", [_dump, _server])
def test_a_signal_that_comes_while_a_program_begins_leaves_none_behind(
    begin: Callable[[str, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes as soon as there is a process, and before anybody knows of it."""
    mark = f"{1000 + os.getpid() + time.time() % 1:.6f}"
    forked: Callable[..., Any] = subprocess.Popen._execute_child  # type: ignore[attr-defined]

    def hit(*arguments: Any, **named: Any) -> None:
        forked(*arguments, **named)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(subprocess.Popen, "_execute_child", hit)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with interrupting(), pytest.raises(Terminated):
            begin(mark, tmp_path)
        assert not _alive(mark)
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        for process in _alive(mark):
            os.kill(process, signal.SIGKILL)
