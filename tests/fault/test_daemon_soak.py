"""Ten minutes of jobs every second: memory stays flat, nothing stays open."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from testbed.servers import Server
from testbed.sessions import number_of_others
from tests.sidecar import Sidecar

_JOBS = """
[jobs.look]
schedule = "@every 1s"
steps = ["health --only connection"]

[jobs.wrong]
schedule = "@every 7s"
steps = ["prune --days 365 --website nothing"]
"""
_MEGABYTE = 2**20


@pytest.mark.parametrize("seconds", [12, pytest.param(600, marks=pytest.mark.slow)])
def test_nothing_grows(seconds: int, postgresql_server: Server, umami_database: str, tmp_path: Path) -> None:
    warm_up = min(seconds / 3, 60)
    with Sidecar(
        tmp_path / "a", umami_database, _JOBS, http=True, env={"UMAMI_OPS_DAEMON_EXAMINE": "10s"}
    ) as sidecar:
        sidecar.wait_for("run_ended")
        began = time.monotonic()
        taken: list[dict[str, float]] = []
        while (elapsed := time.monotonic() - began) < seconds:
            time.sleep(min(1.0, seconds / 20))  # the rhythm of looking, no wait for anything
            sidecar.get("/")
            sidecar.get("/metrics")
            if elapsed > warm_up:
                taken.append(
                    {
                        "seconds": elapsed,
                        "bytes": sidecar.resident_bytes,
                        "files": sidecar.open_files,
                        "threads": sidecar.threads,
                    }
                )
        runs = len(sidecar.runs())
        assert sidecar.stop() < 10
        assert "Traceback" not in sidecar.said
    if report := os.environ.get("UMAMI_OPS_SOAK_REPORT"):
        Path(report).write_text(json.dumps({"runs": runs, "taken": taken, "load": os.getloadavg()}))
    assert runs > seconds / 8, "hardly anything ran"
    sizes = [sample["bytes"] for sample in taken]
    assert max(sizes) < 120 * _MEGABYTE
    third = max(len(taken) // 3, 1)
    assert max(sizes[-third:]) - max(sizes[:third]) < 8 * _MEGABYTE, "memory grows"
    assert max(sample["files"] for sample in taken) < 40
    files = [sample["files"] for sample in taken]
    assert max(files[-third:]) <= max(files[:third]) + 2, "files stay open"
    assert max(sample["threads"] for sample in taken) < 30
    assert number_of_others(postgresql_server, umami_database) == 0
