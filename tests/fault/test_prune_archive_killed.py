"""`prune --archive` is killed, or its place is full: what is gone can be brought back, always."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.backups import rows_of
from tests.fault.scene import Scene
from tests.process import Process


def _bring_back(scene: Scene, store: Path) -> None:
    """Restore every archive there is, the one of a killed prune included."""
    names = {path.name.removesuffix(".unfinished") for path in store.iterdir() if path.is_dir()}
    for name in sorted(names):
        ended = Process(
            "restore", name, "--store", str(store), "--yes", url=scene.url, folder=store, env={}
        ).wait()
        assert ended.code == 0, ended.said


def test_killed_at_any_moment(scene: Scene, tmp_path: Path, is_thorough: bool) -> None:
    store = tmp_path / "pruned"
    store.mkdir()
    before = rows_of(scene.url)
    kills = 12 if is_thorough else 3
    chance = random.Random(5)
    for kill in range(kills):
        run = scene.prune("--batch-size", "100", "--jobs", "2", "--archive", str(store))
        scene.wait_until_gone((kill + chance.random()) / (kills + 1), run)
        time.sleep(chance.random() * 0.02)  # so that it hits any point of a batch, not its end alone
        run.send(signal.SIGKILL)
        ended = run.wait()
        assert ended.code in (-signal.SIGKILL, 0), ended.said
        scene.wait_until_alone()
        scene.assert_nothing_is_half_deleted()
        if kill == 1:  # the others are left for the next prune to complete
            _bring_back(scene, store)
            assert rows_of(scene.url) == before
    ended = scene.prune("--archive", str(store)).wait()
    assert ended.code == 0, ended.said
    scene.assert_done()
    assert not list(store.glob("*.unfinished"))
    _bring_back(scene, store)
    assert rows_of(scene.url) == before


@pytest.mark.fault
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
def test_its_place_is_full(scene: Scene, tmp_path: Path) -> None:
    store = tmp_path / "pruned"
    store.mkdir()
    before = rows_of(scene.url)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", store], check=True)
    try:
        run = scene.prune("--batch-size", "25", "--pause", "0.05s", "--archive", str(store))
        scene.wait_until_gone(0.2, run)
        with (store / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(4096))
        ended = run.wait()
        assert ended.code == 1, ended.said
        assert "No space left" in ended.err
        assert ".unfinished" in ended.err
        (store / "ballast").unlink()
        scene.assert_nothing_is_half_deleted()
        ended = scene.prune("--archive", str(store)).wait()
        assert ended.code == 0, ended.said
        assert len(ended.document["archive"]["completed"]) == 1
        scene.assert_done()
        _bring_back(scene, store)
        assert rows_of(scene.url) == before
    finally:
        subprocess.run(["umount", "--lazy", store], check=True)
