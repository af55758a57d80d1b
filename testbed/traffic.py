"""Makes up visitors: believable, seeded, streaming traffic for the demo and the tests.

There is a daily and a weekly rhythm, growth, returning and identified visitors, purchases, replays, and every
odd shape that Umami leaves behind (`_EVERY` lists them). Only tables and columns that the schema has are
written; the same seed gives the same rows. Source: Umami's write path, src/queries/sql, v3.1.0.
`testbed.uniform` has a plainer load for benchmarks.
"""

from __future__ import annotations

import gzip
import itertools
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Protocol

from testbed.bulk import NULL, Batch, Clock, cell, connect, load
from testbed.umami import ADMIN_ID
from umami_ops.umami.schema import Schema, schema_at

Counts = dict[str, int]
_DAY_MS = 86_400_000
_SALT_MS = 30 * _DAY_MS  # Umami changes it with the calendar month
_BATCH_ROWS = 10_000

# Every column that a table has at any level, in the order in which rows are made below; those that were
# renamed stand under each name. A schema takes what it has.
_COLUMNS: dict[str, tuple[str, ...]] = {
    "website_event": (
        *("event_id", "website_id", "session_id", "visit_id", "created_at"),
        *("url_path", "page_title", "event_type", "event_name", "hostname", "tag"),
        *("url_query", "referrer_domain", "referrer_path", "referrer_query"),
        *("utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term"),
        *("gclid", "fbclid", "msclkid", "ttclid", "li_fat_id", "twclid"),
        *("lcp", "inp", "cls", "fcp", "ttfb"),
    ),
    "session": (
        *("session_id", "website_id", "created_at", "distinct_id", "hostname"),
        *("browser", "os", "device", "screen", "language"),
        *("country", "region", "subdivision1", "city"),
    ),
    "event_data": (
        *("event_data_id", "event_id", "website_id", "website_event_id", "created_at"),
        *("data_key", "event_key", "data_type", "event_data_type"),
        *("string_value", "event_string_value", "number_value", "event_numeric_value"),
        *("date_value", "event_date_value"),
    ),
    "session_data": (
        *("session_data_id", "website_id", "session_id", "created_at", "distinct_id"),
        *("data_key", "session_key", "event_key", "data_type", "string_value", "number_value", "date_value"),
    ),
    "revenue": (
        *("revenue_id", "website_id", "session_id", "event_id", "event_name"),
        *("currency", "revenue", "created_at"),
    ),
    "session_link": ("website_id", "session_id", "distinct_id", "created_at"),
    "session_replay": (
        *("replay_id", "website_id", "session_id", "visit_id", "chunk_index", "events", "event_count"),
        *("started_at", "ended_at", "created_at"),
    ),
    "session_replay_saved": ("saved_replay_id", "name", "website_id", "visit_id", "created_at"),
    "heatmap_event": (
        *("heatmap_event_id", "website_id", "session_id", "visit_id", "url_path", "event_type"),
        *("x", "y", "viewport_w", "viewport_h", "page_h", "scroll_pct", "created_at"),
    ),
}

_PAGE_VIEW, _CUSTOM, _LINK, _PIXEL, _PERFORMANCE = "1", "2", "3", "4", "5"
_STRING, _NUMBER, _BOOLEAN, _DATE = "1", "2", "3", "4"  # event_data.data_type

# How often an odd shape comes: at one visit in so many, counted and not drawn, so that a small run has each.
_EVERY = {
    "no session row": 33,  # the visitor's cached token outlives the monthly salt
    "session never used": 90,
    "imported": 200,  # sent with an old timestamp: the session is dated at the import, after its events
    "NULL created_at": 300,
    "own clock": 150,  # event_data and revenue dated 40 days after their event
    "link": 41,
    "pixel": 37,
    "performance": 9,
    "replay": 45,
    "heatmap": 6,
}

_WEBSITES = (
    ("Acme Shop", "shop.acme.example"),
    ('Bob\'s "Best" Bücher 🍵 \\ 茶', "buecher.example"),
    ("Documentation", "docs.acme.example"),
)
_HOURS = (2, 1, 1, 1, 1, 2, 4, 7, 10, 12, 12, 11, 11, 12, 12, 11, 10, 10, 11, 12, 12, 10, 7, 4)
_WEEKDAYS = (1.1, 1.15, 1.15, 1.1, 1.0, 0.7, 0.65)
_BROWSERS = (
    ("chrome", "Windows 10", "desktop", "1920x1080"),
    ("chrome", "Mac OS", "laptop", "1440x900"),
    ("safari", "Mac OS", "laptop", "1512x982"),
    ("ios", "iOS", "mobile", "390x844"),
    ("chrome", "Android OS", "mobile", "412x915"),
    ("firefox", "Linux", "desktop", "2560x1440"),
    ("edge-chromium", "Windows 10", "laptop", "1536x864"),
    ("samsung", "Android OS", "mobile", "360x800"),
)
_PLACES = (
    ("en-US", "US", "US-CA", "San Francisco"),
    ("en-US", "US", "US-NY", "New York"),
    ("de-DE", "DE", "DE-BE", "Berlin"),
    ("de-AT", "AT", "AT-9", "Vienna"),
    ("fr-FR", "FR", "FR-IDF", "Paris"),
    ("ja-JP", "JP", "JP-13", "東京"),
    ("pt-BR", "BR", "BR-SP", "São Paulo"),
    ("en-GB", "GB", "GB-ENG", "London"),
    (None, None, None, None),
)
_ARRIVALS = (
    # query, referrer domain, path and query, then utm_source, _medium, _campaign, _content and _term
    (None, None, None, None, None, None, None, None, None),
    (None, "google.com", "/", None, None, None, None, None, None),
    (None, "duckduckgo.com", "/", None, None, None, None, None, None),
    (None, "news.ycombinator.com", "/item", "id=1", None, None, None, None, None),
    (None, "github.com", "/acme/acme", None, None, None, None, None, None),
    ("utm_source=newsletter", None, None, None, "newsletter", "email", "spring sale", None, None),
    ("gclid=x", "google.com", "/", None, "google", "cpc", "brand", "ad-1", 'tea, "green"'),
    ("fbclid=x", "facebook.com", "/", None, "facebook", "social", "spring sale", "video", None),
)
_ARRIVAL_WEIGHTS = (40, 70, 76, 80, 84, 90, 96, 100)  # cumulative
_WORDS = (
    "tea",
    "cups",
    "kettles",
    "guide",
    "pricing",
    "about",
    "About",
    "blog",
    "install",
    "größen",
    "faq",
    "茶",
)


class Profile(Protocol):
    """Something that yields rows for Umami's tables."""

    def batches(self, schema: Schema) -> Iterator[Batch]:
        """Yield every row of the profile that the schema has a place for."""


def populate(url: str, profile: Profile, level: int) -> Counts:
    """Write a profile's rows into a database that `create_umami` made at `level`; returns rows by table.

    Loading is several times faster before the secondary indexes are there: `create_umami(…, indexes=False)`,
    `populate`, `build_indexes`.
    """
    with connect(url) as loader:
        return load(loader, profile.batches(schema_at(loader.dialect, level)))


@dataclass(frozen=True)
class Traffic:
    """Believable traffic of about `events` events in `start <= t < end`, on up to three websites.

    With `orphans` there are a few rows whose event or session never was: event_data, revenue, session_data.
    """

    start: datetime
    end: datetime
    seed: int = 1
    events: int = 300_000
    websites: int = 3
    orphans: bool = True

    def __post_init__(self) -> None:
        if not self.start < self.end or self.end.year > 2037:
            raise ValueError("traffic needs start < end, and MySQL's TIMESTAMP ends in 2038")
        if not 1 <= self.websites <= len(_WEBSITES):
            raise ValueError(f"there are 1 to {len(_WEBSITES)} websites")

    @classmethod
    def of_last_months(cls, *, events: int = 300_000, seed: int = 1, end: datetime | None = None) -> Traffic:
        """Return thirteen months of traffic that end now, or at `end`."""
        end = end or datetime.now(UTC).replace(microsecond=0)
        return cls(start=end - timedelta(days=396), end=end, seed=seed, events=events)

    def batches(self, schema: Schema) -> Iterator[Batch]:
        """Yield the rows hour by hour, configuration first; holds no more than some batches in memory."""
        return _Simulation(self, schema).run()


def _picker(positions: Sequence[int]) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    """Return a function that takes the cells at these positions, two or more, out of a row."""
    return itemgetter(*positions)


class _Writer:
    """Collects lines by table, leaving out tables and columns that the schema lacks."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._lines: dict[str, list[str]] = {}
        self._columns: dict[str, tuple[str, ...]] = {}
        self._pick: dict[str, Callable[[tuple[str, ...]], tuple[str, ...]]] = {}
        for table, columns in _COLUMNS.items():
            if table in schema:
                existing = set(schema.table(table).column_names)
                kept = [position for position, name in enumerate(columns) if name in existing]
                self._lines[table] = []
                self._columns[table] = tuple(columns[position] for position in kept)
                self._pick[table] = _picker(kept)

    def add(self, table: str, *cells: str) -> None:
        """Add a row of one of the tables in `_COLUMNS`, as cells in that order."""
        pick = self._pick.get(table)
        if pick:
            self._lines[table].append(",".join(pick(cells)))

    def row(self, table: str, **values: object) -> Iterator[Batch]:
        """Yield one row of any other table; `None` is NULL."""
        if table in self._schema:
            existing = set(self._schema.table(table).column_names)
            kept = {name: cell(value) for name, value in values.items() if name in existing}
            yield Batch(table, tuple(kept), [",".join(kept.values())])

    def full(self, rows: int = _BATCH_ROWS) -> Iterator[Batch]:
        """Yield and forget what has gathered in tables with at least so many lines."""
        for table, lines in self._lines.items():
            if lines and len(lines) >= rows:
                yield Batch(table, self._columns[table], lines)
                self._lines[table] = []


@dataclass(slots=True)
class _Visitor:
    """A session: its id, and for an identified person how long they stay and when they came last."""

    session_id: str
    distinct_id: str = NULL
    leaves_ms: int = 0
    last_seen_ms: int = 0
    has_row: bool = False


@dataclass(slots=True)
class _Site:
    """What has traffic: a website, and under its own id each link and pixel."""

    website_id: str
    hostname: str
    pages: Sequence[tuple[str, str]]
    cumulative_weights: Sequence[float]
    people: list[_Visitor] = field(default_factory=list)
    month: int = -1
    visitors_of_month: list[_Visitor] = field(default_factory=list)


@dataclass(slots=True)
class _Visit:
    """One visitor on one site for some minutes."""

    site: _Site
    visitor: _Visitor
    visit_id: str


def _quoted_all(rows: Sequence[Sequence[str | None]]) -> list[tuple[str, ...]]:
    return [tuple(cell(value) for value in row) for row in rows]


def _click_ids(query: str) -> tuple[str, ...]:
    """Return the six click ids that Umami takes from a query, Google's and Facebook's here."""
    google = '"EAIaIQ"' if "gclid" in query else NULL
    facebook = '"IwAR0"' if "fbclid" in query else NULL
    return (google, facebook, NULL, NULL, NULL, NULL)


class _Simulation:
    """One run over a `Traffic`: visits follow each other in time, each writes its rows."""

    def __init__(self, traffic: Traffic, schema: Schema) -> None:
        self._traffic = traffic
        self._random = random.Random(traffic.seed)
        self._schema = schema
        self._writer = _Writer(schema)
        self._clock = Clock(schema.dialect)
        self._start_ms = int(traffic.start.timestamp() * 1000)
        self._end_ms = int(traffic.end.timestamp() * 1000)
        self._events = 0
        self._browsers, self._places = _quoted_all(_BROWSERS), _quoted_all(_PLACES)
        self._arrivals = [(*row, *_click_ids(row[0])) for row in _quoted_all(_ARRIVALS)]
        self._within = (NULL,) * 15
        self._no_performance = (NULL,) * 5
        self._has_links = "link" in schema and "pixel" in schema
        self._measures_performance = "lcp" in schema.table("website_event").column_names
        self._chunks = self._replay_chunks() if "session_replay" in schema else []
        self._replays = 0
        self._sites = [self._website(*_WEBSITES[number]) for number in range(traffic.websites)]
        self._link = _Site(self._uuid(), cell("go.acme.example"), [(cell("/go"), NULL)], [1.0])
        self._pixel = _Site(self._uuid(), cell("pixel.acme.example"), [(cell("/open"), NULL)], [1.0])

    def run(self) -> Iterator[Batch]:
        """Yield all rows."""
        yield from self._configuration()
        visits = itertools.count(1)
        for hour_ms, target in self._hours():
            while self._events < target:
                self._visit(next(visits), hour_ms)
            yield from self._writer.full()
        self._identify()
        if self._traffic.orphans:
            self._orphans()
        yield from self._writer.full(1)

    def _hours(self) -> Iterator[tuple[int, int]]:
        """Yield each hour's beginning and how many events there shall be at its end."""
        hours = range(self._start_ms, self._end_ms, 3_600_000)
        weights = []
        for number, hour_ms in enumerate(hours):
            moment = datetime.fromtimestamp(hour_ms / 1000, UTC)
            growth = 1 + number / len(hours)
            weights.append(_HOURS[moment.hour] * _WEEKDAYS[moment.weekday()] * growth)
        total = sum(weights)
        for hour_ms, so_far in zip(hours, itertools.accumulate(weights), strict=True):
            yield hour_ms, round(self._traffic.events * so_far / total)

    # Visits

    def _visit(self, number: int, hour_ms: int) -> None:
        draw = self._random.random
        time_ms = min(hour_ms + int(draw() * 3_600_000), self._end_ms - 1)
        if self._has_links and number % _EVERY["link"] == 0:
            self._single_hit(self._link, time_ms, _LINK)
        elif self._has_links and number % _EVERY["pixel"] == 0:
            self._single_hit(self._pixel, time_ms, _PIXEL)
        else:
            site = self._sites[int(draw() ** 1.6 * len(self._sites))]
            self._page_views(
                _Visit(site, self._visitor(site, number, time_ms), self._uuid()), number, time_ms
            )

    def _single_hit(self, site: _Site, time_ms: int, event_type: str) -> None:
        visitor = self._anonymous(site, time_ms)
        self._session_row(site, visitor, time_ms)
        visit = _Visit(site, visitor, self._uuid())
        self._event(visit, time_ms, site.pages[0], event_type)

    def _page_views(self, visit: _Visit, number: int, time_ms: int) -> None:
        draw = self._random.random
        first_ms, site = time_ms, visit.site
        arrival = self._random.choices(self._arrivals, cum_weights=_ARRIVAL_WEIGHTS)[0]
        views = 1 + min(int(-math.log(1 - draw()) * 1.5), 24)
        for page in self._random.choices(site.pages, cum_weights=site.cumulative_weights, k=views):
            undated = number % _EVERY["NULL created_at"] == 0 and time_ms == first_ms
            self._event(visit, None if undated else time_ms, page, arrival=arrival)
            arrival = self._within
            if number % _EVERY["heatmap"] == 0:
                self._click(visit, time_ms, page)
            if draw() < 0.14:
                clock_ms = time_ms + 40 * _DAY_MS if number % _EVERY["own clock"] == 0 else time_ms
                self._custom_event(visit, time_ms, page, min(clock_ms, self._end_ms - 1))
            time_ms = min(time_ms + 1000 + int(-math.log(1 - draw()) * 45_000), self._end_ms - 1)
        visit.visitor.last_seen_ms = time_ms
        if self._measures_performance and number % _EVERY["performance"] == 0:
            self._performance(visit, first_ms)
        if self._chunks and number % _EVERY["replay"] == 0:
            self._replay(visit, first_ms)

    def _event(
        self,
        visit: _Visit,
        time_ms: int | None,
        page: tuple[str, str],
        event_type: str = _PAGE_VIEW,
        name: str = NULL,
        *,
        arrival: tuple[str, ...] | None = None,
        performance: tuple[str, ...] | None = None,
    ) -> str:
        event_id = self._uuid()
        self._events += 1
        self._writer.add(
            "website_event",
            event_id,
            *(visit.site.website_id, visit.visitor.session_id, visit.visit_id),
            NULL if time_ms is None else self._clock.cell(time_ms),
            *(*page, event_type, name, visit.site.hostname),
            '"beta"' if self._events % 50 == 0 else NULL,
            *(arrival or self._within),
            *(performance or self._no_performance),
        )
        return event_id

    def _custom_event(self, visit: _Visit, time_ms: int, page: tuple[str, str], details_ms: int) -> None:
        """Write a custom event and its properties; these and revenue are dated `details_ms`."""
        draw, site = self._random.random, visit.site
        name = self._random.choice(('"purchase"', '"signup"', '"Download"', '"download"'))
        event_id = self._event(visit, time_ms, page, _CUSTOM, name)
        at = self._clock.cell(details_ms)
        if name == '"purchase"':
            price = f"{1 + int(draw() * 20_000) / 100:.4f}"
            delivery = self._clock.cell(time_ms + 3 * _DAY_MS)
            self._property(site, event_id, at, '"total"', _NUMBER, f'"{price}"', number=price)
            self._property(site, event_id, at, '"product.name"', _STRING, '"Kettle, 1 l"')
            self._property(site, event_id, at, '"delivery"', _DATE, delivery, date=delivery)
            self._writer.add(
                *("revenue", self._uuid(), site.website_id, visit.visitor.session_id, event_id, name),
                *('"EUR"' if draw() < 0.7 else '"USD"', price, at),
            )
        else:
            self._property(site, event_id, at, '"plan"', _STRING, '"free"' if draw() < 0.8 else '"größer"')
            self._property(site, event_id, at, '"agreed"', _BOOLEAN, '"true"')

    def _property(
        self,
        site: _Site,
        event_id: str,
        at: str,
        key: str,
        kind: str,
        text: str,
        *,
        number: str = NULL,
        date: str = NULL,
    ) -> None:
        row_id = self._uuid()
        self._writer.add(
            *("event_data", row_id, row_id, site.website_id, event_id, at, key, key, kind, kind),
            *(text, text, number, number, date, date),
        )

    def _performance(self, visit: _Visit, time_ms: int) -> None:
        draw = self._random.random
        lcp, inp, fcp, ttfb = (f"{scale * (0.3 + draw() * 2):.1f}" for scale in (1800, 90, 1100, 300))
        measured = (lcp, inp, f"{draw() / 4:.4f}", fcp, ttfb)
        self._event(visit, time_ms, visit.site.pages[0], _PERFORMANCE, performance=measured)

    def _click(self, visit: _Visit, time_ms: int, page: tuple[str, str]) -> None:
        x, y = int(self._random.random() * 1400), int(self._random.random() * 3000)
        self._writer.add(
            *("heatmap_event", self._uuid(), visit.site.website_id, visit.visitor.session_id, visit.visit_id),
            *(page[0], "1", str(x), str(y), "1440", "900", "3200", NULL, self._clock.cell(time_ms)),
        )

    # Visitors

    def _visitor(self, site: _Site, number: int, time_ms: int) -> _Visitor:
        """Choose who comes: an identified person, somebody back within the month, or somebody new."""
        draw = self._random.random
        odd = number % _EVERY["no session row"] == 0 or number % _EVERY["imported"] == 0
        chance = 1.0 if odd else draw()
        if chance < 0.12:
            person = site.people[int(draw() * len(site.people))]
            if time_ms < person.leaves_ms:
                self._session_row(site, person, time_ms)
                return person
        elif chance < 0.4 and site.visitors_of_month and site.month == time_ms // _SALT_MS:
            return site.visitors_of_month[int(draw() * len(site.visitors_of_month))]
        visitor = self._anonymous(site, time_ms)
        if number % _EVERY["imported"] == 0:
            age_days = 30 + int(draw() * 200)
            self._session_row(site, visitor, min(time_ms + age_days * _DAY_MS, self._end_ms - 1))
        elif number % _EVERY["no session row"]:
            self._session_row(site, visitor, time_ms)
        if number % _EVERY["session never used"] == 0:
            self._session_row(site, self._new_visitor(), time_ms)
        return visitor

    def _anonymous(self, site: _Site, time_ms: int) -> _Visitor:
        """Return a new visitor; the salt changes by the month, so those of the month before are forgotten."""
        month = time_ms // _SALT_MS
        if month != site.month:
            site.month, site.visitors_of_month = month, []
        visitor = self._new_visitor()
        if len(site.visitors_of_month) < 5000:
            site.visitors_of_month.append(visitor)
        return visitor

    def _new_visitor(self) -> _Visitor:
        return _Visitor(self._uuid())

    def _session_row(self, site: _Site, visitor: _Visitor, time_ms: int) -> None:
        if visitor.has_row:
            return
        visitor.has_row = True
        draw = self._random.random
        language, *place = self._places[int(draw() ** 1.5 * len(self._places))]
        self._writer.add(
            *("session", visitor.session_id, site.website_id, self._clock.cell(time_ms), visitor.distinct_id),
            site.hostname,
            *self._browsers[int(draw() ** 1.3 * len(self._browsers))],
            *(language, place[0], place[1], place[1], place[2]),
        )
        if visitor.distinct_id != NULL:
            at = self._clock.cell(time_ms)
            self._writer.add("session_link", site.website_id, visitor.session_id, visitor.distinct_id, at)

    def _identify(self) -> None:
        """Write what identified people said of themselves, dated at their last identify().

        Every third of those who left long ago was identified again in the last days, by a server, without an
        event. Until level 23 forbids it, some said the same thing twice.
        """
        for site in self._sites:
            for number, person in enumerate(site.people):
                if not person.has_row:
                    continue
                at = person.last_seen_ms
                if person.leaves_ms < self._end_ms and number % 3 == 0:
                    at = self._end_ms - 1 - int(self._random.random() * 9 * _DAY_MS)
                self._trait(site, person, at, '"plan"', _STRING, '"Bob"' if number % 2 else '"bob"')
                self._trait(site, person, at, '"visits"', _NUMBER, '"3.0000"', "3.0000")
                if number % 5 == 0 and self._schema.level < 23:
                    self._trait(site, person, at, '"plan"', _STRING, '"twice"')

    def _trait(
        self, site: _Site, person: _Visitor, time_ms: int, key: str, kind: str, text: str, number: str = NULL
    ) -> None:
        self._writer.add(
            *("session_data", self._uuid(), site.website_id, person.session_id, self._clock.cell(time_ms)),
            *(person.distinct_id, key, key, key, kind, text, number, NULL),
        )

    # Replays

    def _replay(self, visit: _Visit, time_ms: int) -> None:
        """Record a visit in chunks of half a minute; every tenth visitor comes back to the tab days later."""
        draw, website_id = self._random.random, visit.site.website_id
        self._replays += 1
        for chunk in range(2 + int(draw() * 8)):
            if self._replays % 10 == 0 and chunk == 1:
                time_ms += 3 * _DAY_MS
            begin_ms = min(time_ms + chunk * 30_000, self._end_ms - 30_000)
            begin, end = self._clock.cell(begin_ms), self._clock.cell(begin_ms + 29_000)
            self._writer.add(
                *("session_replay", self._uuid(), website_id, visit.visitor.session_id, visit.visit_id),
                *(str(chunk), *self._random.choice(self._chunks), begin, end, end),
            )
        if self._replays % 7 == 1:
            name, at = cell(f"Odd checkout {self._replays}"), self._clock.cell(time_ms)
            self._writer.add("session_replay_saved", self._uuid(), name, website_id, visit.visit_id, at)

    def _replay_chunks(self) -> list[tuple[str, str]]:
        """Return some payloads, gzipped JSON as Umami keeps them, with the number of events in each."""
        chunks = []
        for _ in range(24):
            count = self._random.randrange(20, 120)
            moves = [{"type": 3, "data": {"x": self._random.random()}} for _ in range(40)]
            recorded = [{**self._random.choice(moves), "timestamp": number * 250} for number in range(count)]
            chunks.append((cell(gzip.compress(json.dumps(recorded).encode(), mtime=0)), str(count)))
        return chunks

    # What doesn't move

    def _website(self, name: str, domain: str) -> _Site:
        words = [*_WORDS, *(f"{first}/{second}" for first in _WORDS for second in _WORDS)]
        pages = [
            (cell("/"), cell(name)),
            *((cell(f"/{word}"), cell(f"{word.title()} – {name}")) for word in words),
        ]
        zipf = [1 / rank for rank in range(1, len(pages) + 1)]
        return _Site(self._uuid(), cell(domain), pages, list(itertools.accumulate(zipf)), self._people())

    def _people(self) -> list[_Visitor]:
        """Return people whom the website identifies; every fifth leaves after a third of the time."""
        a_third_ms = self._start_ms + (self._end_ms - self._start_ms) // 3
        return [
            _Visitor(self._uuid(), cell(f"person-{number}"), self._end_ms if number % 5 else a_third_ms)
            for number in range(max(15, self._traffic.events // 4000))
        ]

    def _configuration(self) -> Iterator[Batch]:
        """Yield users, teams, websites, and what people set up for them."""
        row, at = self._writer.row, self._clock.cell(self._start_ms).strip('"')
        user, team = self._plain_id(), self._plain_id()
        yield from row("user", user_id=user, username="Zoë", password="-" * 60, role="user", created_at=at)
        yield from row("team", team_id=team, name="Marketing", access_code="team_x", created_at=at)
        for member, role in ((ADMIN_ID, "team-owner"), (user, "team-member")):
            ids = {"team_user_id": self._plain_id(), "team_id": team, "user_id": member}
            yield from row("team_user", **ids, role=role, created_at=at)
        for number, (site, (name, domain)) in enumerate(zip(self._sites, _WEBSITES, strict=False)):
            website_id = site.website_id.strip('"')
            ids = {"website_id": website_id, "created_by": ADMIN_ID}
            owner = {"team_id": team} if number == 1 else {"user_id": ADMIN_ID}
            replay = {"replay_enabled": True, "share_id": "shared" if number == 0 else None}
            yield from row("website", **ids, **owner, **replay, name=name, domain=domain, created_at=at)
            yield from self._saved_views(website_id, team if number == 1 else None, at)
        owner = {"user_id": ADMIN_ID, "created_at": at}
        link_id, pixel_id = self._link.website_id.strip('"'), self._pixel.website_id.strip('"')
        target = "https://shop.acme.example/tea"
        yield from row("link", link_id=link_id, name="Spring mail", url=target, slug="spring", **owner)
        yield from row("pixel", pixel_id=pixel_id, name="Newsletter opened", slug="opened", **owner)

    def _saved_views(self, website_id: str, team: str | None, at: str) -> Iterator[Batch]:
        """Yield a report, segment, board, share and note of one website."""
        row, common = self._writer.row, {"website_id": website_id, "created_at": at}
        report, board = {"report_id": self._plain_id(), "user_id": ADMIN_ID}, {"board_id": self._plain_id()}
        parameters = json.dumps({"websiteId": website_id, "name": 'tea, "green" 🍵'}, ensure_ascii=False)
        named = {"name": "Funnel", "description": "", "parameters": parameters}
        yield from row("report", **report, **common, **named, type="funnel")
        segment = {"segment_id": self._plain_id(), "name": "From Berlin", "parameters": parameters}
        yield from row("segment", **segment, **common, type="segment")
        owner = {"team_id": team} if team else {"user_id": ADMIN_ID}
        yield from row("board", **board, **named, **owner, type="dashboard", slug=website_id, created_at=at)
        share = {"share_id": self._plain_id(), "entity_id": website_id, "slug": website_id[:8]}
        yield from row("share", **share, name="Public", share_type=1, parameters="{}", created_at=at)
        note = {"annotation_id": self._plain_id(), "user_id": ADMIN_ID, "note": "Went on sale"}
        yield from row("annotation", **note, **common, date=at, all_day=True)

    def _plain_id(self) -> str:
        return self._uuid().strip('"')

    def _orphans(self) -> None:
        site = self._sites[0]
        for number in range(4):
            time_ms = self._start_ms + (self._end_ms - self._start_ms) * number // 4
            at = self._clock.cell(time_ms)
            self._property(site, self._uuid(), at, '"plan"', _STRING, '"orphan"')
            self._trait(site, self._new_visitor(), time_ms, '"plan"', _STRING, '"orphan"')
            self._writer.add(
                *("revenue", self._uuid(), site.website_id, self._uuid(), self._uuid(), '"purchase"'),
                *('"EUR"', "9.9900", at),
            )

    def _uuid(self) -> str:
        digits = f"{self._random.getrandbits(128):032x}"
        return f'"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"'
