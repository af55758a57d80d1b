"""The server's disk is full: prune fails with a clear line, and continues once there is room."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from testbed import servers
from tests.fault import disk
from tests.fault.scene import scene_on


@pytest.mark.fault
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
@pytest.mark.parametrize("name", ["postgresql-18", "mariadb"])
def test_the_disk_is_full(name: str, small_disk: Path) -> None:
    settings = {"max_wal_size": "32MB", "min_wal_size": "32MB"} if name.startswith("postgresql") else {}
    with servers.start(name, settings=settings) as server:
        scene = scene_on(server, events=5_000)
        run = scene.prune("--batch-size", "20", "--pause", "0.1s")
        scene.wait_until_gone(0.05, run)
        ballast = small_disk / "ballast"
        disk.fill(ballast)
        if server.dialect == "postgresql":
            disk.use_up_the_log(server.as_admin(scene.url))
        ended = run.wait()
        assert ended.code == 1, ended.said
        assert "Committed before that" in ended.err
        assert "Run" in ended.err
        ballast.unlink()
        server.restart()
        scene.assert_nothing_is_half_deleted()
        scene.finish()
