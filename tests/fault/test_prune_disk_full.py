"""The server's disk is full: prune fails with a clear line, and continues once there is room."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from testbed import servers
from tests.fault.scene import scene_on

_SIZE = "200m"


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of its own for the next server's data; mounting one takes root."""
    # Where PostgreSQL's own account may enter, unlike pytest's folders.
    disk = Path("/var/tmp") / f"umami-ops-disk-{os.getpid()}"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=1777", "tmpfs", disk], check=True)
    monkeypatch.setenv("TMPDIR", str(disk))
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)
    disk.rmdir()


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
        _fill(ballast)
        if server.dialect == "postgresql":
            _use_up_the_log(server.as_admin(scene.url))
        ended = run.wait()
        assert ended.code == 1, ended.said
        assert "Committed before that" in ended.err
        assert "Run" in ended.err
        ballast.unlink()
        server.restart()
        scene.assert_nothing_is_half_deleted()
        scene.finish()


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def _use_up_the_log(url: str) -> None:
    """Go through the segments that PostgreSQL keeps for its log, until it has to make one and can't."""
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as connection:
        while True:
            connection.execute("SELECT pg_logical_emit_message(true, 'test', 'x')")
            connection.execute("SELECT pg_switch_wal()")
