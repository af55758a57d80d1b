"""A disk that can be filled: a small file system of its own, and what uses up its room."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

_SIZE = "200m"


@contextmanager
def small_file_system() -> Iterator[Path]:
    """Mount a file system of its own, where PostgreSQL's own account may enter; that takes root."""
    disk = Path("/var/tmp") / f"umami-ops-disk-{os.getpid()}"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=1777", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)
    disk.rmdir()


def fill(ballast: Path) -> None:
    """Write into a file until nothing more goes in."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def use_up_the_log(url: str) -> None:
    """Go through the segments that PostgreSQL keeps for its log, until it has to make one and can't."""
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as connection:
        while True:
            connection.execute("SELECT pg_logical_emit_message(true, 'test', 'x')")
            connection.execute("SELECT pg_switch_wal()")
