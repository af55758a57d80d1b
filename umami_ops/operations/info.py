"""What a database holds: rows and bytes by table, traffic by website, and what lies past a horizon.

Exact where that is fast. Where a table is big, the planner's expectations stand in, and every number that is
one says so; first and last events are looked up in an index and always exact. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from umami_ops.databases.base import Connection
from umami_ops.operations.inspect import Installation
from umami_ops.umami.tables import TABLES, Role, facts_of

#: Counting below this many rows takes a fraction of a second on any server.
EXACT_ROWS = 1_000_000
#: So many rows of a big table, all websites together, may be counted through an index.
_LOOKED_UP_ROWS = 100_000
HORIZON_DAYS = 365
GROWTH_DAYS = 30


@dataclass(frozen=True)
class Amount:
    """A number of rows; an estimate unless they were counted."""

    rows: int
    estimated: bool = False

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.rows + other.rows, self.estimated or other.estimated)


@dataclass(frozen=True)
class TableInfo:
    """A table's rows and bytes; `older` is how many visitor data are dated before the horizon, else None."""

    name: str
    role: Role
    kind: str
    amount: Amount
    table_bytes: int
    index_bytes: int
    older: Amount | None


@dataclass(frozen=True)
class SourceInfo:
    """A website, link or pixel and its traffic; `kind` is `gone` when events name an id that nothing has."""

    id: str
    kind: str
    name: str
    address: str
    deleted: bool
    events: Amount
    sessions: Amount
    first_event: datetime | None
    last_event: datetime | None
    events_per_day: float
    growth_estimated: bool


@dataclass(frozen=True)
class Contents:
    """All that `umami-ops info` tells beyond the installation. `horizon` is what `older` is measured by."""

    read_at: datetime
    horizon: datetime
    tables: tuple[TableInfo, ...]
    sources: tuple[SourceInfo, ...]

    @property
    def table_bytes(self) -> int:
        """Bytes of all tables, indexes apart."""
        return sum(table.table_bytes for table in self.tables)

    @property
    def index_bytes(self) -> int:
        """Bytes of all indexes."""
        return sum(table.index_bytes for table in self.tables)


def read_contents(
    connection: Connection, installation: Installation, *, now: datetime | None = None, exact: bool = False
) -> Contents:
    """Read what an Umami database holds, at one moment; `exact` counts every row however long it takes.

    Raises PermissionFault when the user may not read a table.
    """
    now = now or datetime.now(UTC)
    with connection.transaction(read_only=True):
        reading = _Reading(connection, installation, now, exact=exact)
        tables = tuple(reading.tables())
        sources = tuple(reading.sources())
    return Contents(now, reading.horizon, tables, sources)


class _Reading:
    """One reading of a database, inside one transaction."""

    def __init__(
        self, connection: Connection, installation: Installation, now: datetime, *, exact: bool
    ) -> None:
        self._connection = connection
        self._installation = installation
        self._queries = connection.dialect.queries
        self._exact = exact
        self._recent = now - timedelta(days=GROWTH_DAYS)
        self.horizon = now - timedelta(days=HORIZON_DAYS)
        self._now = now
        self._amounts: dict[str, Amount] = {}

    def tables(self) -> Iterator[TableInfo]:
        """Yield every table of the schema: Umami's in the order of their meaning, then unknown ones."""
        here = self._installation.relations
        settings = self._configuration_rows()
        for name in (*(name for name in TABLES if name in here), *self._installation.unknown_tables):
            relation, facts = here[name], facts_of(name)
            older = None
            if f"info.{name}" in self._queries:
                amount = self._rows_of(name)
                if facts.role.is_visitor_data:
                    older = self._older(name, amount)
            else:
                amount = settings.get(name) or Amount(relation.rows_estimate, estimated=True)
            self._amounts[name] = amount
            yield TableInfo(
                name, facts.role, relation.kind, amount, relation.table_bytes, relation.index_bytes, older
            )

    def sources(self) -> Iterator[SourceInfo]:
        """Yield websites, links and pixels, and the ids in events that are none of these."""
        spans = {row["id"]: row for row in self._rows("info.spans")}
        events, recent = self._events_by_source(list(spans))
        sessions = self._sessions_by_source(list(spans))
        known: set[str] = set()
        for kind, row in self._known_sources():
            known.add(row["id"])
            yield self._source(kind, row, spans, events, recent, sessions)
        for gone in (id_ for id_ in spans if id_ not in known):
            row = {"id": gone, "name": "", "address": "", "deleted_at": None}
            yield self._source("gone", row, spans, events, recent, sessions)

    def _source(
        self,
        kind: str,
        row: Mapping[str, Any],
        spans: Mapping[str, Mapping[str, Any]],
        events: Mapping[str, Amount],
        recent: Mapping[str, Amount],
        sessions: Mapping[str, Amount],
    ) -> SourceInfo:
        span = spans.get(row["id"], {})
        first, last = span.get("first_event"), span.get("last_event")
        new = recent.get(row["id"], Amount(0))
        return SourceInfo(
            id=row["id"],
            kind=kind,
            name=row["name"],
            address=row["address"] or "",
            deleted=row["deleted_at"] is not None,
            events=events.get(row["id"], Amount(0)),
            sessions=sessions.get(row["id"], Amount(0)),
            first_event=first,
            last_event=last,
            events_per_day=new.rows / self._days_since(first),
            growth_estimated=new.estimated,
        )

    def _days_since(self, first: datetime | None) -> float:
        """Return over how many days recent events are spread: a new website has fewer than thirty."""
        if first is None or first <= self._recent:
            return float(GROWTH_DAYS)
        return max((self._now - first) / timedelta(days=1), 1.0)

    def _known_sources(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for kind in ("website", "link", "pixel"):
            if self._installation.has(kind, "deleted_at"):
                for row in self._rows(f"info.{kind}s"):
                    yield kind, row

    def _rows(self, name: str, **values: Any) -> list[dict[str, Any]]:
        return self._connection.rows(self._queries[name].when(()), **values)

    def _configuration_rows(self) -> dict[str, Amount]:
        query = self._queries["info.configuration"].when(self._installation.relations)
        return {row["name"]: Amount(row["row_count"]) for row in self._connection.rows(query)}

    def _is_small(self, table: str) -> bool:
        return self._exact or self._installation.relations[table].rows_estimate < EXACT_ROWS

    def _rows_of(self, table: str) -> Amount:
        if self._is_small(table):
            return Amount(self._connection.count(self._queries[f"info.{table}"].when(())))
        return Amount(self._installation.relations[table].rows_estimate, estimated=True)

    def _older(self, table: str, amount: Amount) -> Amount:
        """Return how many rows are dated before the horizon."""
        query = self._queries[f"info.{table}"]
        if self._is_small(table):
            return Amount(self._connection.count(query.when({"before"}), before=self.horizon))
        older = self._connection.estimate(query.when({"before"}), before=self.horizon)
        newer = self._connection.estimate(query.when({"since"}), since=self.horizon)
        # The smaller range is the better known one (see Connection.estimate in MySQL's dialect).
        rows = older if older <= newer else max(amount.rows - newer, older)
        return Amount(min(rows, amount.rows), estimated=True)

    def _events_by_source(self, ids: list[str]) -> tuple[dict[str, Amount], dict[str, Amount]]:
        """Return all events and the recent ones, by website."""
        if self._is_small("website_event"):
            found = self._rows("info.events_by_website", since=self._recent)
            return (
                {row["id"]: Amount(row["row_count"]) for row in found},
                {row["id"]: Amount(int(row["recent"])) for row in found},
            )
        shares, excess = self._shares("website_event", ids)
        return shares, {id_: self._recent_events(id_, len(ids), excess) for id_ in ids}

    def _sessions_by_source(self, ids: list[str]) -> dict[str, Amount]:
        if self._is_small("session"):
            found = self._rows("info.sessions_by_website")
            return {row["id"]: Amount(row["row_count"]) for row in found}
        return self._shares("session", ids)[0]

    def _shares(self, table: str, ids: list[str]) -> tuple[dict[str, Amount], float]:
        """Estimate each website's rows, and by what factor the planner expects too many.

        InnoDB doubles what it expects of a long range, up to half of the table. So shares of more than all
        rows are scaled down; else the largest, being the least well known, gets what the others leave.
        """
        query = self._queries[f"info.{table}"].when({"website"})
        shares = {id_: self._connection.estimate(query, website=id_) for id_ in ids}
        total, expected = self._amounts[table].rows, sum(shares.values())
        excess = max(expected / total, 1.0) if total else 1.0
        if shares and excess == 1.0:
            shares[max(shares, key=lambda id_: shares[id_])] += total - expected
        return {id_: Amount(round(rows / excess), estimated=True) for id_, rows in shares.items()}, excess

    def _recent_events(self, id_: str, websites: int, excess: float) -> Amount:
        """Count a website's recent events where the planner expects few, and take its word for the rest."""
        query = self._queries["info.website_event"].when({"website", "since"})
        expected = self._connection.estimate(query, website=id_, since=self._recent)
        if expected < _LOOKED_UP_ROWS // websites:
            return Amount(self._connection.count(query, website=id_, since=self._recent))
        return Amount(round(expected / excess), estimated=True)
