"""The daemon's loop under a clock of the test's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from umami_ops.cli import sidecar
from umami_ops.daemon import service
from umami_ops.daemon.agenda import Due
from umami_ops.daemon.guard import Role
from umami_ops.daemon.log import Log
from umami_ops.daemon.runner import Program
from umami_ops.databases.base import Database
from umami_ops.errors import ConnectionFault
from umami_ops.places import gather

START = datetime(2026, 11, 22, 3, tzinfo=UTC)
JOBS = '[jobs.look]\nschedule = "@hourly"\nsteps = ["info"]\n'


def _daemon(folder: Path, monkeypatch: pytest.MonkeyPatch) -> service.Daemon:
    monkeypatch.setenv("UMAMI_OPS_STATE_DIR", str(folder / "state"))
    file = folder / "umami-ops.toml"
    file.write_text(JOBS)
    configuration = sidecar.read_configuration(gather(config=file))

    def away() -> Database:
        raise ConnectionFault("It is away.")

    loaded = service.Loaded(configuration, Program([], {}), away)
    return service.Daemon(loaded, lambda: loaded, Log())


def test_a_clock_that_is_put_right_keeps_no_job_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=lambda _zone: START + timedelta(days=365))
    monkeypatch.setattr(service, "datetime", clock)
    daemon = _daemon(tmp_path, monkeypatch)
    begun: list[Due] = []
    monkeypatch.setattr(daemon, "_begin", begun.append)
    monkeypatch.setattr(daemon._wake, "wait", lambda _seconds: None)
    daemon._guard.role = Role.LEADER
    daemon._turn()
    clock.now = lambda _zone: START + timedelta(minutes=30)
    daemon._turn()
    clock.now = lambda _zone: START + timedelta(hours=1)
    daemon._turn()
    assert [due.slot for due in begun] == [START + timedelta(hours=1)]
