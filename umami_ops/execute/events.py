"""What a run tells while it goes: events for whoever watches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class StepBegan:
    """A step begins."""

    title: str


@dataclass(frozen=True)
class BatchDone:
    """A transaction was committed: rows deleted by table, and keys of the step's own table looked at."""

    title: str
    deleted: Mapping[str, int]
    picked: int
    seconds: float


@dataclass(frozen=True)
class RowsMoved:
    """Rows of a table have arrived at the target and were committed there, or were found there already."""

    table: str
    rows: int


@dataclass(frozen=True)
class Advanced:
    """A long statement goes on: its phase in the server's words, and its share done if that is to be had."""

    title: str
    phase: str
    share: float | None


@dataclass(frozen=True)
class StepDone:
    """A step of maintenance came to its end, or was left out."""

    title: str


@dataclass(frozen=True)
class Trouble:
    """Something went wrong and is being dealt with: a retry, a new connection."""

    text: str


Event = StepBegan | BatchDone | RowsMoved | Advanced | StepDone | Trouble
Observer = Callable[[Event], None]
