"""Runs the command line inside the test's own process, in an empty folder and a bare environment."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from umami_ops.cli import main

_OURS = ("DATABASE_URL", "DIRECT_DATABASE_URL", "TARGET_DATABASE_URL", "UMAMI_OPS_")


@dataclass(frozen=True)
class Outcome:
    """What a run left behind."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Both streams, for what must appear in neither."""
        return self.out + self.err

    @property
    def document(self) -> Any:
        """The JSON document on stdout."""
        return json.loads(self.out)


def bare_environment() -> dict[str, str]:
    """Variables without any of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}


def run(
    *arguments: str, url: str | None = None, env: Mapping[str, str] | None = None, folder: Path | None = None
) -> Outcome:
    """Run `umami-ops` with these arguments; `url` becomes DATABASE_URL, `folder` the working directory."""
    variables = bare_environment()
    variables |= {"DATABASE_URL": url} if url is not None else {}
    variables |= env or {}
    out, err = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, variables, clear=True))
        place = folder or stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(contextlib.chdir(place))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        ended = stack.enter_context(_SystemExit())
        main(list(arguments), prog_name="umami-ops")
    return Outcome(ended.code, out.getvalue(), err.getvalue())


class _SystemExit:
    """Swallows the SystemExit that ends every run, and keeps its code."""

    code = -1

    def __enter__(self) -> _SystemExit:
        return self

    def __exit__(self, kind: object, fault: BaseException | None, trace: object) -> bool:
        if not isinstance(fault, SystemExit):
            return False
        self.code = fault.code if isinstance(fault.code, int) else 1
        return True
