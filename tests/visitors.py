"""Visitors who write to website_event while something is done to it, and a witness who looks on.

Each visitor knows which events it was told are there; in the end just those must be.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pymysql

from testbed.bulk import Loader, connect

#: Nobody writes for it; it is deleted in the middle, as by a reset; the visitors write for it.
STILL, RESET, VISITED = (f"{number}0000000-0000-4000-8000-000000000000" for number in (1, 2, 3))
VISITORS = 4
_COLUMNS = "event_id, website_id, session_id, visit_id, url_path, page_title, event_type, created_at"
_DEADLOCK = 1213
#: Clocks that are wrong, and imports: /api/send accepts any time.
_ODD_TIMES = (datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC), datetime(2015, 2, 3, 4, 5, 6, tzinfo=UTC))


def fill(url: str, doublings: int, *, days: int = 400) -> int:
    """Give the still and the reset website 2 ** doublings events each, spread over the days before now."""
    with connect(url) as loader:
        if loader.dialect == "postgresql":
            new_id, when = "gen_random_uuid()", f"now() - RANDOM() * INTERVAL '{days} days'"
        else:
            new_id, when = "UUID()", f"NOW() - INTERVAL FLOOR(RAND() * {days * 86_400}) SECOND"
        for website in (STILL, RESET):
            loader.execute(
                f"INSERT INTO website_event ({_COLUMNS}) VALUES "
                f"({new_id}, '{website}', {new_id}, {new_id}, '/a/path', 'A title', 1, {when})"
            )
            for _ in range(doublings):
                loader.execute(
                    f"INSERT INTO website_event ({_COLUMNS}) SELECT {new_id}, website_id, {new_id}, {new_id},"
                    f" url_path, page_title, event_type, {when} FROM website_event"
                    f" WHERE website_id = '{website}'"
                )
        loader.commit()
    return 1 << doublings


@dataclass
class Told:
    """What the visitors were told, and what the witness saw."""

    resets: bool = False
    pause_seconds: float = 0.005
    there: set[str] = field(default_factory=set)
    waits: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    counts: set[tuple[int, int]] = field(default_factory=set)

    @property
    def longest_wait_seconds(self) -> float:
        return max(self.waits, default=0.0)


@contextmanager
def visiting(
    url: str, *, reset_after_seconds: float | None = None, pause_seconds: float = 0.005
) -> Iterator[Told]:
    """Let four visitors write, and one witness count, until the block ends."""
    told = Told(resets=reset_after_seconds is not None, pause_seconds=pause_seconds)
    stop = threading.Event()
    jobs = [threading.Thread(target=_guarded, args=(_visit, url, told, stop, n)) for n in range(VISITORS)]
    jobs.append(threading.Thread(target=_guarded, args=(_witness, url, told, stop, 0)))
    if reset_after_seconds is not None:
        jobs.append(threading.Thread(target=_guarded, args=(_reset, url, told, stop, reset_after_seconds)))
    for job in jobs:
        job.start()
    try:
        yield told
    finally:
        stop.set()
        for job in jobs:
            job.join()


def _guarded(work, url, told, stop, number) -> None:  # type: ignore[no-untyped-def]
    try:
        with connect(url) as loader:
            work(loader, told, stop, number)
    except Exception as fault:  # noqa: BLE001 -- whatever it is, a visitor met it
        told.faults.append(f"{work.__name__}: {type(fault).__name__}: {fault}")


def _visit(loader: Loader, told: Told, stop: threading.Event, number: int) -> None:
    chance = random.Random(number)
    mine: list[str] = []
    while not stop.wait(told.pause_seconds):
        began = time.perf_counter()
        new = [_written(loader, chance) for _ in range(chance.choice((1, 1, 3)))]
        values = ", ".join(text for _, text in new)
        returning = " RETURNING event_id" if loader.dialect == "postgresql" else ""
        back = _unless_deadlocked(
            loader, f"INSERT INTO website_event ({_COLUMNS}) VALUES {values}{returning}", told.resets
        )
        loader.commit()
        told.waits.append(time.perf_counter() - began)
        ids = [id_ for id_, _ in new]
        if returning:
            assert [str(row[0]) for row in back] == ids
        told.there.update(ids)
        mine += ids
        found = loader.execute(f"SELECT event_id FROM website_event WHERE event_id = '{chance.choice(mine)}'")
        assert len(found) == 1, "an event that was written is not found, or found twice"
        loader.commit()
        if chance.random() < 0.2:
            gone = mine.pop(chance.randrange(len(mine)))
            began = time.perf_counter()
            _unless_deadlocked(loader, f"DELETE FROM website_event WHERE session_id = '{gone}'", told.resets)
            loader.commit()
            told.waits.append(time.perf_counter() - began)
            told.there.discard(gone)


def _written(loader: Loader, chance: random.Random) -> tuple[str, str]:
    """Return an event's id, which is also its session's, and its values."""
    id_ = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    when = datetime.now(UTC)
    if chance.random() < 0.2:
        when -= timedelta(days=chance.random() * 400)
    elif chance.random() < 0.05:
        when = chance.choice(_ODD_TIMES)
    return id_, (f"('{id_}', '{VISITED}', '{id_}', '{id_}', '/now', 'Now', 1, '{when:%Y-%m-%d %H:%M:%S}')")


def _witness(loader: Loader, told: Told, stop: threading.Event, _number: int) -> None:
    while not stop.wait(0.01):
        ((count, different),) = loader.execute(
            f"SELECT COUNT(*), COUNT(DISTINCT event_id) FROM website_event WHERE website_id = '{STILL}'"
        )
        loader.commit()
        told.counts.add((int(count), int(different)))


def _reset(loader: Loader, told: Told, stop: threading.Event, after_seconds: float) -> None:
    """Delete a website's events as Umami does, in one statement."""
    stop.wait(after_seconds)
    _unless_deadlocked(loader, f"DELETE FROM website_event WHERE website_id = '{RESET}'", is_reset=True)
    loader.commit()


def _unless_deadlocked(loader: Loader, statement: str, is_reset: bool) -> list[tuple[Any, ...]]:
    """Run a statement, again where a reset is about: InnoDB may give up either beside it, whoever else is."""
    for attempt in range(20):
        try:
            return loader.execute(statement)
        except pymysql.OperationalError as fault:
            if fault.args[0] != _DEADLOCK or not is_reset or attempt == 19:
                raise
    raise AssertionError("unreachable")


def assert_as_told(url: str, told: Told, still: int, *, was_reset: bool, most_seconds: float = 1.0) -> None:
    """No visitor failed or waited long, no event was lost or doubled, and none came back."""
    assert told.faults == []
    assert told.counts == {(still, still)}
    with connect(url) as loader:
        found = [str(id_) for (id_,) in loader.execute(
            f"SELECT event_id FROM website_event WHERE website_id = '{VISITED}'"
        )]  # fmt: skip
        ((left,),) = loader.execute(f"SELECT COUNT(*) FROM website_event WHERE website_id = '{RESET}'")
    assert len(found) == len(set(found))
    assert set(found) == told.there
    assert left == 0 if was_reset else left == still
    assert told.longest_wait_seconds < most_seconds
