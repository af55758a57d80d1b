"""A plain load for benchmarks: exact numbers, evenly spread, cheap enough for ten million events."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from testbed.bulk import NULL, Batch, Clock, cell
from testbed.umami import ADMIN_ID
from umami_ops.umami.schema import Schema

_BATCH_ROWS = 10_000
_BROWSERS = (
    ("chrome", "Windows 10", "desktop", "1920x1080"),
    ("safari", "Mac OS", "laptop", "1512x982"),
    ("ios", "iOS", "mobile", "390x844"),
    ("firefox", "Linux", "desktop", "2560x1440"),
)
_PLACES = (("en-US", "US", "New York"), ("de-DE", "DE", "Berlin"), ("ja-JP", "JP", "東京"))
_MASK_64 = (1 << 64) - 1
_GOLDEN_64 = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Uniform:
    """A plain load for benchmarks: events spread evenly over `start <= t < end`, in exact numbers.

    Every session is one visit of events / sessions page views. PostgreSQL gets the rows in the order of time,
    as its heap would have grown; MySQL in the order of the primary key, which InnoDB needs to load fast. The
    rows are the same but for MySQL's whole seconds.
    """

    start: datetime
    end: datetime
    seed: int = 1
    events: int = 1_000_000
    sessions: int = 150_000
    event_data: int = 300_000
    websites: int = 3

    def batches(self, schema: Schema) -> Iterator[Batch]:
        """Yield website_event, session, event_data and the websites; a constant amount of memory is used.

        Raises ValueError below level 9, the first with all columns that it fills.
        """
        if schema.level < 9:
            raise ValueError(f"a uniform load needs a schema at level 9 or later, not {schema.level}")
        yield from _UniformLoad(self, schema).run()


class _Ids:
    """Ids of `count` rows that look random, each computed from its row's number.

    The step is prime to the count, so row → row * step % count is a permutation; ids grow with the permuted
    number, which lets a loader walk through the rows in the order of their ids without sorting.
    """

    def __init__(self, count: int, salt: int) -> None:
        self.count = count
        self._salt = salt * _GOLDEN_64
        self._step = next(n for n in range(int(count * 0.618) | 1, 2 * count + 3) if math.gcd(n, count) == 1)
        self._inverse = pow(self._step, -1, count) if count > 1 else 0

    def __getitem__(self, row: int) -> str:
        place = row * self._step % self.count
        high = (place << 64) // self.count
        digits = f"{high << 64 | (row * _GOLDEN_64 + self._salt) & _MASK_64:032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-a{digits[16:19]}-{digits[19:31]}"

    def in_order(self) -> Iterator[int]:
        """Yield all row numbers in the order of their ids."""
        return (place * self._inverse % self.count for place in range(self.count))


class _UniformLoad:
    def __init__(self, profile: Uniform, schema: Schema) -> None:
        self._profile = profile
        self._schema = schema
        self._clock = Clock(schema.dialect)
        self._start_ms = int(profile.start.timestamp() * 1000)
        self._span_ms = int(profile.end.timestamp() * 1000) - self._start_ms
        salt = profile.seed * 8
        # A session's events follow each other in time: its ids are asked for several times in a row.
        self._visit = lru_cache(maxsize=16)(self._visit_cells)
        self._event_ids = _Ids(profile.events, salt)
        self._session_ids = _Ids(profile.sessions, salt + 1)
        self._visit_ids = _Ids(profile.sessions, salt + 2)
        self._data_ids = _Ids(profile.event_data, salt + 3)
        self._websites = [_Ids(profile.websites, salt + 4)[number] for number in range(profile.websites)]
        self._pages = [f'"/page-{number}","Page {number} of the uniform load"' for number in range(997)]
        self._referrers = [NULL, NULL, *(f'"site-{number}.example"' for number in range(61))]

    def run(self) -> Iterator[Batch]:
        """Yield all rows, table by table."""
        for number, website_id in enumerate(self._websites):
            values = (website_id, f"Uniform {number}", f"uniform-{number}.example", ADMIN_ID)
            columns = ("website_id", "name", "domain", "user_id")
            yield Batch("website", columns, [",".join(cell(value) for value in values)])
        yield from self._table("session", self._session_ids, *self._session())
        yield from self._table("website_event", self._event_ids, *self._event())
        yield from self._table("event_data", self._data_ids, *self._data())

    def _table(
        self, table: str, ids: _Ids, columns: tuple[str, ...], line: Callable[[int], str]
    ) -> Iterator[Batch]:
        rows = iter(range(ids.count) if self._schema.dialect == "postgresql" else ids.in_order())
        while lines := [line(row) for row in itertools.islice(rows, _BATCH_ROWS)]:
            yield Batch(table, columns, lines)

    def _time(self, row: int, count: int) -> str:
        return self._clock.cell(self._start_ms + self._span_ms * row // count)

    def _visit_cells(self, session: int) -> str:
        website = self._websites[session % len(self._websites)]
        return f'"{website}","{self._session_ids[session]}","{self._visit_ids[session]}"'

    def _session(self) -> tuple[tuple[str, ...], Callable[[int], str]]:
        columns = ("session_id", "website_id", "created_at")
        looks_columns = ("browser", "os", "device", "screen", "language", "country", "city")
        looks = [
            ",".join(cell(value) for value in (*browser, *place))
            for browser, place in itertools.product(_BROWSERS, _PLACES)
        ]

        def line(row: int) -> str:
            website = self._websites[row % len(self._websites)]
            at = self._time(row, self._profile.sessions)
            return f'"{self._session_ids[row]}","{website}",{at},{looks[row * 31 % len(looks)]}'

        return columns + looks_columns, line

    def _event(self) -> tuple[tuple[str, ...], Callable[[int], str]]:
        ids = ("event_id", "website_id", "session_id", "visit_id", "created_at")
        values = ("url_path", "page_title", "referrer_domain", "event_type", "event_name", "hostname")
        events, sessions = self._profile.events, self._profile.sessions
        hosts = [f'"uniform-{number}.example"' for number in range(len(self._websites))]

        def line(row: int) -> str:
            session = row * sessions // events
            page = self._pages[int((row * _GOLDEN_64 & _MASK_64) / 2**64 * 31.5) ** 2]
            referrer = self._referrers[row * 17 % len(self._referrers)]
            kind = '2,"signup"' if row % 5 == 0 else "1,NULL"
            return (
                f'"{self._event_ids[row]}",{self._visit(session)},{self._time(row, events)},'
                f"{page},{referrer},{kind},{hosts[session % len(hosts)]}"
            )

        return ids + values, line

    def _data(self) -> tuple[tuple[str, ...], Callable[[int], str]]:
        ids = ("event_data_id", "website_id", "website_event_id", "created_at")
        values = ("data_key", "data_type", "string_value")
        profile = self._profile

        def line(row: int) -> str:
            event = row * profile.events // profile.event_data
            website = self._websites[event * profile.sessions // profile.events % len(self._websites)]
            at = self._time(event, profile.events)
            row_ids = f'"{self._data_ids[row]}","{website}","{self._event_ids[event]}"'
            return f'{row_ids},{at},"plan",1,"value {row % 97}"'

        return ids + values, line
