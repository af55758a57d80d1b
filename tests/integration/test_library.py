"""The library's face: the example of its docstring, on a real server."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from datetime import UTC, datetime

import umami_ops


def test_the_example_runs(umami_database: str) -> None:
    (example,) = re.findall(r"\n\n(    from .*)\Z", (umami_ops.__doc__ or "").rstrip(), flags=re.DOTALL)
    names = {"url": umami_database, "horizon": datetime(2020, 1, 1, tzinfo=UTC)}
    exec(textwrap.dedent(example), names)
    report = names["report"]
    assert isinstance(report, umami_ops.Report)
    assert report.stopped is None


def test_every_name_of_the_face_is_there() -> None:
    for name in umami_ops._FACE:
        assert getattr(umami_ops, name).__name__ == name


def test_the_face_itself_loads_nothing() -> None:
    seen = "import sys, umami_ops; print([m for m in sys.modules if m.startswith('umami_ops.')])"
    assert subprocess.check_output([sys.executable, "-c", seen], text=True).strip() == "[]"
