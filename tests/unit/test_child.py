"""A program that is run: its pipes are as wide as the system lets them be."""

from __future__ import annotations

import os
import subprocess

import pytest

from umami_ops.databases import dumps
from umami_ops.databases.dumps import Child
from umami_ops.errors import DatabaseFault


def test_where_pipes_may_not_be_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system refuses that to a user with many pipes, and to everybody so wide a one."""
    monkeypatch.setattr(dumps, "_PIPE_BYTES", 2**31 - 1)
    child = Child(["/bin/cat"], os.environ, stdin=subprocess.PIPE)
    try:
        assert child.feed(b"row")
        assert child.process.stdin is not None
        child.process.stdin.close()
        assert b"".join(child.pieces()) == b"row"
        child.finish(DatabaseFault, "")
    finally:
        child.stop()
