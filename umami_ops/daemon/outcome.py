"""What a command left behind, read: rows and bytes from its JSON document, reason and hint from what it said.

These are the manners of every command (docs/cli.md): one JSON document on stdout, and on stderr lines that
begin with `error:` and `hint:`. Pure.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from typing import Any

from umami_ops.daemon.records import Result

_STOPPED, _LOCK_HELD = 3, 4
#: What stands for "so much was moved" in the documents of the various commands, the first that is there
# counts.
_SIZES = ("size_bytes", "bytes", "total_bytes")


def document(stdout: str) -> dict[str, Any] | None:
    """Return the JSON document that a command printed, if it is one."""
    try:
        found = json.loads(stdout)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def rows(report: Mapping[str, Any] | None) -> int | None:
    """Return how many rows a command deleted, wrote or moved, if it says so."""
    for name in ("deleted_rows", "rows"):
        value = (report or {}).get(name)
        if isinstance(value, Mapping):
            return sum(number for number in value.values() if isinstance(number, int))
        if isinstance(value, int):
            return value
    return None


def size_bytes(report: Mapping[str, Any] | None) -> int | None:
    """Return the bytes that a command wrote or, below zero, gave back."""
    report = report or {}
    before, after = report.get("before"), report.get("after")
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return _sum(after) - _sum(before)
    return next((report[name] for name in _SIZES if isinstance(report.get(name), int)), None)


def _sum(size: Mapping[str, Any]) -> int:
    return int(size.get("table_bytes", 0)) + int(size.get("index_bytes", 0))


def reason_and_hint(exit_code: int, said: str, report: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return why a command failed, in a sentence, and what to type about it."""
    errors = [line.removeprefix("error: ") for line in said.splitlines() if line.startswith("error: ")]
    hints = [line.removeprefix("hint: ") for line in said.splitlines() if line.startswith("hint: ")]
    if errors:
        return errors[-1], hints[-1] if hints else ""
    findings = (report or {}).get("findings")
    if isinstance(findings, list) and findings:
        return _worst(findings)
    stopped = (report or {}).get("stopped")
    if stopped:
        return f"Ended early: {stopped}.", ""
    if exit_code < 0:
        return _signalled(-exit_code), ""
    lines = [line for line in said.splitlines() if line.strip()]
    return (lines[-1] if lines else f"It ended with exit code {exit_code}."), ""


def _worst(findings: list[Any]) -> tuple[str, str]:
    """Return the first finding, which is the worst, and how many more there are."""
    worst = findings[0]
    more = sum(finding.get("severity") == worst.get("severity") for finding in findings) - 1
    rest = f" And {more} more that are as bad." if more else ""
    return f"{worst.get('check')}: {worst.get('sentence')}{rest}", str(worst.get("cure") or "")


def _signalled(number: int) -> str:
    name = signal.Signals(number).name if number in {item.value for item in signal.Signals} else str(number)
    why = " Was there too little memory?" if name == "SIGKILL" else ""
    return f"Its process was ended by {name}.{why}"


def result_of(exit_code: int, *, continues: bool) -> Result:
    """Return what an exit code means for the job: 3 is no failure where the next run continues.

    A backup that was ended early is none, and nothing may be pruned after it.
    """
    if exit_code == 0:
        return Result.SUCCESS
    return Result.UNFINISHED if exit_code == _STOPPED and continues else Result.FAILURE


def is_lock_held(command: str, exit_code: int) -> bool:
    """Whether another run was at work on the database, so that it may be tried again in a while."""
    return exit_code == _LOCK_HELD and command != "health"
