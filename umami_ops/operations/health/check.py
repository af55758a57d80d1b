"""What a check is, what it may find, and what it may ask. Knows no check in particular."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from umami_ops.databases.base import Connection, Row
from umami_ops.errors import UnreadableFault
from umami_ops.operations.inspect import Installation
from umami_ops.operations.thresholds import Thresholds

if TYPE_CHECKING:
    from umami_ops.operations.backup import Listed


class Severity(IntEnum):
    """How bad a finding is; the numbers are those that Prometheus is told."""

    OK = 0
    INFO = 1
    WARNING = 2
    CRITICAL = 3

    @property
    def word(self) -> str:
        """The word for people and programs."""
        return self.name.lower()


@dataclass(frozen=True)
class Finding:
    """Something that isn't as it should be: a sentence, the numbers behind it, and what to type.

    Numbers in `evidence` carry their unit in their name. `subject` is the table, index or website it is
    about.
    """

    severity: Severity
    sentence: str
    cure: str = ""
    subject: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Measure:
    """A number for monitoring, found wrong or not; `table` is the only label there is, so they stay few."""

    name: str
    value: float
    table: str = ""


@dataclass(frozen=True)
class Unseen:
    """What could not be looked at, and what it would need."""

    needs: str


Outcome = Finding | Measure | Unseen
Look = Callable[["Examination"], Iterator[Outcome]]


@dataclass(frozen=True)
class Check:
    """One question to a database, with all that its documentation says.

    `rule` says which answer has which severity, `measures` what each number it yields is. A check that
    `needs_umami` is left out where Umami's tables aren't, or can't be read.
    """

    name: str
    title: str
    why: str
    rule: str
    cure: str
    look: Look
    thresholds: tuple[str, ...] = ()
    measures: Mapping[str, str] = field(default_factory=dict)
    needs_umami: bool = True


def check(
    *,
    title: str,
    why: str,
    rule: str,
    cure: str,
    thresholds: tuple[str, ...] = (),
    measures: Mapping[str, str] | None = None,
    needs_umami: bool = True,
) -> Callable[[Look], Check]:
    """Make a check out of a function, whose name becomes the check's."""

    def made(look: Look) -> Check:
        name = getattr(look, "__name__", "")
        return Check(name, title, why, rule, cure, look, thresholds, measures or {}, needs_umami)

    return made


#: The word for the lines of a query that ask somewhere else.
_ELSEWHERE = "elsewhere"
#: How to look into the place of the backups.
Backups = Callable[[], "list[Listed]"]


class Examination:
    """What a check may ask: the database, what it is known to be, the limits, the time, and the backups.

    `backups` is None where nobody said in which place they are.
    """

    def __init__(
        self,
        connection: Connection,
        installation: Installation | None,
        thresholds: Thresholds,
        now: datetime,
        ends: float,
        backups: Backups | None = None,
    ) -> None:
        self.connection = connection
        self.limits = thresholds
        self.now = now
        self.backups = backups
        self._installation = installation
        self._ends = ends

    @property
    def has_time(self) -> bool:
        """Whether a check that asks again and again may ask once more."""
        return time.monotonic() < self._ends

    @property
    def installation(self) -> Installation:
        """What `inspect` found; only a check that `needs_umami` may rely on it."""
        assert self._installation is not None, "a check that asks for it needs Umami"
        return self._installation

    def rows(self, name: str, *words: str, **values: Any) -> list[Row]:
        """Return the rows of a query of sql/<dialect>/health.sql, with the lines that `words` ask for.

        What the server can't express is asked elsewhere, where the query has lines for that.
        """
        query = self.connection.dialect.queries[f"health.{name}"]
        try:
            return self.connection.rows(query.when(words), **values)
        except UnreadableFault:
            if _ELSEWHERE not in query.words:
                raise
            return self.connection.rows(query.when({*words, _ELSEWHERE}), **values)

    def row(self, name: str, *words: str, **values: Any) -> Row | None:
        """Return the first row, or None where the query has nothing to say on this server."""
        found = self.rows(name, *words, **values)
        return found[0] if found else None

    def quote(self, identifier: str) -> str:
        """Quote an identifier for a cure that a person pastes."""
        return self.connection.dialect.quote(identifier)

    def place(self, relation: str) -> str:
        """Quote a table or an index for a cure, with its schema where a session wouldn't look there first."""
        server = self.connection.server()
        if server.schema in ("public", server.database):
            return self.quote(relation)
        return f"{self.quote(server.schema)}.{self.quote(relation)}"

    def cure(self, statement: str, /, *words: str, **parts: str) -> str:
        """Return a statement for a person to paste, `cure_…` in health.sql; the parts are quoted by now."""
        query = self.connection.dialect.queries[f"health.cure_{statement}"].when(words)
        return f"{query.with_literals(parts).strip()};"


def graded(value: float, warning: float, critical: float) -> Severity:
    """Return the severity of a number that is better when smaller."""
    if value >= critical:
        return Severity.CRITICAL
    return Severity.WARNING if value >= warning else Severity.OK


def span(seconds: float) -> str:
    """Return a time in words for a sentence: its largest unit, as `42 s`, `5 min`, `3 h` or `12 days`."""
    for unit_seconds, unit in ((172_800, "days"), (7_200, "h"), (120, "min")):
        if seconds >= unit_seconds:
            size = {"days": 86_400, "h": 3_600, "min": 60}[unit]
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def bytes_in_words(size_bytes: float) -> str:
    """Return bytes in words for a sentence, in powers of ten."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def some(names: list[str], limit: int = 3) -> str:
    """Name a few and count the rest."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
