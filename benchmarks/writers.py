"""Visitors who keep coming: sessions that insert as Umami does, and how long each insert waited."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
import pymysql

from benchmarks.contenders import mysql_session

WRITERS = 4
_PAUSE_SECONDS = 0.02
_EVENTS_PER_VISIT = 5

_SESSION = (
    "session",
    ("session_id", "website_id", "browser", "os", "device", "screen", "language", "country", "created_at"),
)
_EVENT = (
    "website_event",
    ("event_id", "website_id", "session_id", "visit_id", "url_path", "page_title", "event_type",
     "event_name", "hostname", "created_at"),
)  # fmt: skip
_DATA = (
    "event_data",
    (
        "event_data_id",
        "website_id",
        "website_event_id",
        "data_key",
        "string_value",
        "data_type",
        "created_at",
    ),
)


@dataclass
class Waits:
    """How long inserts took, in seconds, and what failed."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def longest(self) -> float:
        """The longest wait."""
        return max(self.seconds, default=0.0)

    def percentile(self, share: float) -> float:
        """Return a percentile (0 to 1) of the waits."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@contextmanager
def writers(url: str) -> Iterator[Waits]:
    """Let four sessions insert until the block ends."""
    waits = Waits()
    stop = threading.Event()
    threads = [threading.Thread(target=_write, args=(url, waits, stop)) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield waits
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _write(url: str, waits: Waits, stop: threading.Event) -> None:
    with _session(url) as cursor:
        website = _website(cursor)
        while not stop.is_set():
            for statement, values in _visit(website):
                if stop.wait(_PAUSE_SECONDS):
                    return
                began = time.perf_counter()
                try:
                    cursor.execute(statement, values)
                except (psycopg.Error, pymysql.Error) as fault:
                    waits.failures.append(str(fault))
                waits.seconds.append(time.perf_counter() - began)


@contextmanager
def _session(url: str) -> Iterator[Any]:
    if url.startswith("postgresql"):
        with psycopg.connect(url, autocommit=True) as connection:
            yield connection.cursor()
    else:
        with mysql_session(url) as connection:
            yield connection.cursor()


def _website(cursor: Any) -> str:
    cursor.execute("SELECT website_id FROM website LIMIT 1")
    (row,) = cursor.fetchall()
    return str(row[0])


def _visit(website: str) -> Iterator[tuple[str, Sequence[object]]]:
    """Yield a visit's inserts: its session, page views, and one custom event with its data."""
    session, visit = uuid.uuid4(), uuid.uuid4()
    look = ("chrome", "Linux", "desktop", "1920x1080", "en-US", "US")
    yield _insert(_SESSION, (session, website, *look, _now()))
    for number in range(_EVENTS_PER_VISIT):
        event = uuid.uuid4()
        kind = (1, None) if number else (2, "signup")
        page = (f"/page-{number}", f"Page {number}")
        yield _insert(_EVENT, (event, website, session, visit, *page, *kind, "uniform-0.example", _now()))
        if not number:
            yield _insert(_DATA, (uuid.uuid4(), website, event, "plan", "free", 1, _now()))


def _insert(what: tuple[str, tuple[str, ...]], values: Sequence[object]) -> tuple[str, Sequence[object]]:
    table, columns = what
    marks = ", ".join(["%s"] * len(columns))
    texts = [str(value) if isinstance(value, uuid.UUID) else value for value in values]
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", texts


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
