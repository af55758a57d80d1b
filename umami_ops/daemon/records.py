"""Runs, sizes and messages as values: what the history keeps and everybody else passes on."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class Result(StrEnum):
    """How a run ended. `unfinished`: a time limit came first, and the next run continues."""

    RUNNING = "running"
    SUCCESS = "success"
    UNFINISHED = "unfinished"
    FAILURE = "failure"
    INTERRUPTED = "interrupted"


class Cause(StrEnum):
    """Why a run began."""

    SCHEDULE = "schedule"
    CATCH_UP = "catch-up"
    HAND = "hand"


@dataclass(frozen=True)
class StepDone:
    """What one command line came to. `tail` is the end of what it said, `report` its JSON document."""

    command: str
    seconds: float
    exit_code: int
    rows: int | None = None
    size_bytes: int | None = None
    reason: str = ""
    hint: str = ""
    tail: str = ""
    report: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Run:
    """One run of a job. Times are in UTC; `missed` is how many earlier slots had no run."""

    id: str
    job: str
    cause: Cause
    slot: datetime | None
    missed: int
    started_at: datetime
    ended_at: datetime | None = None
    result: Result = Result.RUNNING
    rows: int | None = None
    size_bytes: int | None = None
    reason: str = ""
    hint: str = ""
    steps: tuple[StepDone, ...] = ()

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it runs, and where nobody saw its end."""
        return None if self.ended_at is None else (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True)
class Total:
    """All runs of a job with one result since the history began."""

    job: str
    result: Result
    runs: int
    seconds: float
    rows: int


@dataclass(frozen=True)
class DatabaseSize:
    """The database at one moment."""

    taken_at: datetime
    table_bytes: int
    index_bytes: int
    events: int | None

    @property
    def total_bytes(self) -> int:
        """Tables and indexes together."""
        return self.table_bytes + self.index_bytes


@dataclass(frozen=True)
class Message:
    """Something to tell somebody, kept until it is told."""

    channel: str
    content: Mapping[str, Any]
    made_at: datetime
    attempts: int = 0
    next_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
