"""Retention: decides what `prune` deletes, and in which order. The SQL stands in sql/*/prune.sql.

Which rows go (sources: Umami's queries at v2.20.2 and v3.1.0, and its schema, which has no foreign keys):

- website_event and heatmap_event by their own time; event_data and revenue with their event, always.
- session_replay by visit, when its newest chunk is past the horizon, unless the visit was saved.
- session, session_data and session_link of one session id together, when no event, revenue, replay or
  heatmap row refers to the id any more and none of the three is dated inside the kept period: dashboards join
  a kept event to its session's properties, however old those are.

Events go first and sessions last, so that each step sees what the ones before it left.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from umami_ops.databases.base import Connection, Database, Dialect, Introspector
from umami_ops.errors import Refused, UsageFault
from umami_ops.operations.inspect import Installation
from umami_ops.operations.websites import Scope, scope_of
from umami_ops.plan import Batches, Note, Plan, Rebuild, Remaining, Report, Statements, Step
from umami_ops.transfer.meanwhile import aside

#: The tables that may have a horizon of their own; all others follow what they hang on.
OWN_HORIZON = ("website_event", "heatmap_event", "session_replay")
#: What --rebuild makes anew, and the size from which it is worth offering.
_REBUILT = ("website_event", "event_data", "revenue")
_REBUILD_PAYS_FROM_ROWS = 50_000
#: Ages are reckoned from this machine's time, which may be so much ahead of the server's.
_CLOCK_AHEAD = timedelta(hours=1)
#: All that retention deletes from.
PRUNED = (
    "website_event", "event_data", "revenue", "heatmap_event", "session_replay", "session", "session_data",
    "session_link",
)  # fmt: skip
_FOLLOWS = {
    "event_data": "its event",
    "revenue": "its event",
    "session": "the last row that refers to it",
    "session_data": "its session",
    "session_link": "its session",
    "session_replay_saved": "the person who saved it",
}


@dataclass(frozen=True)
class Retention:
    """What a person asked for. `horizon` is fixed: rows with a time before it are past.

    `tables` are horizons of their own (see OWN_HORIZON), `websites` and `excluded` ids, domains or names as
    typed. `delete_undated` counts a missing time as past; `delete_orphans` also deletes rows whose event or
    session was gone before. `rebuild` copies the events that stay, with event_data and revenue, instead of
    deleting those that go. With `archived` each batch leaves what it deletes where an archive takes it from.
    """

    horizon: datetime | None
    tables: Mapping[str, datetime] = field(default_factory=dict)
    websites: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    delete_undated: bool = False
    delete_orphans: bool = False
    rebuild: bool = False
    archived: bool = False

    def of(self, table: str) -> datetime | None:
        """Return the horizon of a table, or None when it isn't to be pruned."""
        return self.tables.get(table, self.horizon)

    @property
    def of_sessions(self) -> datetime | None:
        """Sessions follow the general horizon, or else that of the events."""
        return self.horizon or self.tables.get("website_event")


def plan_prune(
    connection: Connection,
    installation: Installation,
    retention: Retention,
    *,
    counted: bool,
    noted: bool = True,
    beside: Database | None = None,
) -> Plan:
    """Plan a prune in one read-only transaction.

    With `counted` the rows that go are counted on that snapshot, as a dry run shows them; without, only the
    events are. What stays against expectation is looked for in either case, and before the deletes: dead rows
    would make that three times as slow. With `beside` that is done by a second session at the same time; who
    wants the steps alone has it not `noted`.
    Raises Refused when the database isn't fit, UsageFault for a website that isn't there.
    """
    _require_fit(installation, retention)
    with connection.transaction(read_only=True):
        _require_temporary_tables(connection, retention)
        _require_right_clock(connection)
        scope = scope_of(connection, installation, retention.websites, retention.excluded)
        planner = _Planner(connection, installation, retention, scope)
        connection.run(connection.dialect.queries["prune.worker_settings"])
        with _noting(planner, beside) if noted else nullcontext(()) as kept:
            events = planner.event_count()
            expected = planner.counts() if counted else None
            steps = tuple(planner.steps(events))
        return Plan(
            operation="prune",
            facts=planner.facts(),
            steps=steps,
            expected=expected,
            events=events,
            notes=(*planner.about_rebuild(events), *kept),
            remaining=planner.remaining(),
        )


@contextmanager
def _noting(planner: _Planner, beside: Database | None) -> Iterator[Sequence[Note]]:
    """Give what the planner notes of rows that stay, which is there at the block's end."""
    kept: list[Note] = []
    if beside is None:
        yield kept
        kept += planner.notes()
        return

    def note(session: Connection) -> None:
        with session.transaction(read_only=True):
            session.run(session.dialect.queries["prune.worker_settings"])
            kept.extend(planner.on(session).notes())

    with aside(beside, "umami-ops prune", note):
        yield kept


def conclude(dialect: Dialect, retention: Retention, report: Report) -> None:
    """Say whether the goal was reached, and add to the report what its reader should know."""
    if report.remaining:
        report.stopped = f"{report.remaining:,} events past the horizon are there still, written meanwhile"
    if report.deleted.get("website_event") and not retention.rebuild and not report.changed:
        cure = "umami-ops vacuum --full returns it, and says before what it locks and for how long"
        report.notes.append(Note(dialect.space_after_delete, cure))


def _require_fit(installation: Installation, retention: Retention) -> None:
    installation.require_safe()
    if retention.archived and retention.rebuild:
        raise UsageFault("--archive keeps what batches delete, and --rebuild deletes none.")
    for table in OWN_HORIZON:
        if table in retention.tables and not installation.has(table):
            raise UsageFault(f"This database has no table {table}: Umami's level is {installation.level}.")
    for table in PRUNED[1:]:
        if installation.has(table) and installation.relations[table].kind != "table":
            raise Refused(
                f"{table} is a {installation.relations[table].kind}, where Umami makes a plain table.",
                hint="umami-ops deletes from plain tables only (website_event may be partitioned).",
            )


def _require_temporary_tables(connection: Connection, retention: Retention) -> None:
    """Raise Refused where sessions would be left when their events are gone, for want of a right."""
    is_needed = retention.of_sessions is not None or retention.archived
    if is_needed and not connection.value(connection.dialect.queries["prune.may_make_temporary"]):
        server = connection.server()
        raise Refused(
            f"User {server.user} may not make temporary tables in database {server.database}.",
            hint="Grant TEMPORARY on the database, or connect as its owner.",
            done="Nothing was changed.",
        )


def _require_right_clock(connection: Connection) -> None:
    """Raise Refused where this machine's clock is far ahead: what is to be kept would be past the horizon."""
    ahead = datetime.now(UTC) - connection.row(connection.dialect.queries["health.clock"])["now"]
    if ahead > _CLOCK_AHEAD:
        raise Refused(
            f"This machine's clock is ahead of the server's, by {ahead.total_seconds() / 3600:,.0f} h: the "
            "horizon would lie as much too late.",
            hint="Set the clock that is wrong, then run this again.",
            done="Nothing was changed.",
        )


def check_table(table: str) -> None:
    """Raise UsageFault unless the table may have a horizon of its own; say what it follows otherwise."""
    if table in OWN_HORIZON:
        return
    if table in _FOLLOWS:
        raise UsageFault(
            f"--table {table}: it has no horizon of its own, it follows {_FOLLOWS[table]}.",
            hint=f"Tables with one: {', '.join(OWN_HORIZON)}.",
        )
    near = difflib.get_close_matches(table, OWN_HORIZON, n=1)
    raise UsageFault(
        f"--table {table}: retention does not touch it." + (f" Did you mean {near[0]}?" if near else ""),
        hint=f"Tables with a horizon of their own: {', '.join(OWN_HORIZON)}.",
    )


class _Planner:
    """Turns a retention into steps and counts for one database, inside the caller's snapshot."""

    _OPTIONAL = (
        "event_data", "revenue", "session_data", "session_link", "session_replay", "session_replay_saved",
        "heatmap_event",
    )  # fmt: skip

    def __init__(
        self, connection: Connection, installation: Installation, retention: Retention, scope: Scope
    ) -> None:
        self._connection = connection
        self._queries = connection.dialect.queries
        self._installation = installation
        self._retention = retention
        self._scope = scope
        words = {f"has_{table}" for table in self._OPTIONAL if installation.has(table)}
        if installation.relations["website_event"].kind == "partitioned table":
            words.add("partitioned")
        if retention.delete_orphans:
            words.add("orphans")
        if retention.archived:
            words |= {f"keeps_{table}" for table in PRUNED if installation.has(table)}
        self._words = frozenset(words)
        self._earliest = connection.dialect.earliest
        # A table that isn't pruned keeps every row: nothing is before the earliest time.
        self._values = {
            "websites": list(scope.only or scope.except_),
            "null_past": retention.delete_undated,
            "null_event_past": retention.delete_undated and retention.of("website_event") is not None,
            "null_replay_past": retention.delete_undated and retention.of("session_replay") is not None,
            "event_horizon": retention.of("website_event") or self._earliest,
            "heatmap_horizon": retention.of("heatmap_event") or self._earliest,
            "replay_horizon": retention.of("session_replay") or self._earliest,
            "session_horizon": retention.of_sessions or self._earliest,
        }

    def on(self, session: Connection) -> _Planner:
        """Return the same planner, which asks another session."""
        return _Planner(session, self._installation, self._retention, self._scope)

    # --- what it says ---------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """Return the decisions that the plan fixes."""
        server = self._connection.server()
        return {
            "database": server.database,
            "server": server.title,
            "horizon": self._retention.horizon,
            "table_horizons": dict(self._retention.tables),
            "websites": list(self._scope.only),
            "excluded_websites": list(self._scope.except_),
            "website_names": list(self._scope.names),
            "delete_undated": self._retention.delete_undated,
            "delete_orphans": self._retention.delete_orphans,
            "partitioned": "partitioned" in self._words,
        }

    def event_count(self) -> int:
        """Count the events alone: quick, by an index."""
        if self._retention.of("website_event") is None:
            return 0
        return self._count("count_events")["website_event"]

    def counts(self) -> dict[str, int]:
        """Count every row that goes, by table, as the run would delete them."""
        total: dict[str, int] = {}
        for name in self._count_queries():
            for table, count in self._count(name).items():
                total[table] = total.get(table, 0) + count
        return {table: count for table, count in total.items() if table != "nothing"}

    def _count_queries(self) -> Iterator[str]:
        retention = self._retention
        if retention.of("website_event"):
            yield "count_events"
            yield "count_event_details"
        if retention.of("heatmap_event") and "has_heatmap_event" in self._words:
            yield "count_heatmaps"
        if retention.of("session_replay") and "has_session_replay" in self._words:
            yield "count_replays"
        if retention.of_sessions:
            yield "count_sessions"
        if retention.delete_orphans:
            yield "count_orphans"
            if "has_session_data" in self._words:
                yield "count_orphan_session_data"

    def notes(self) -> Iterator[Note]:
        """Say what is kept that a reader might expect to go, and why."""
        undated = {t: n for t, n in self._count("count_undated").items() if n}
        if undated and not self._retention.delete_undated:
            yield Note(
                f"{_listed(undated)} have no time (created_at is NULL) and are kept.",
                "--null-created-at delete treats them as past the horizon",
            )
        if not self._retention.delete_orphans:
            orphans = self._count("count_orphans")
            if "has_session_data" in self._words:
                orphans |= self._count("count_orphan_session_data")
            orphans = {table: count for table, count in orphans.items() if count}
            if orphans:
                yield Note(
                    f"{_listed(orphans)} are orphans from earlier deletes: their event or session is gone.",
                    "--orphans deletes them too",
                )
        if unknown := self._installation.unknown_tables:
            yield Note(f"Not Umami's, left alone: {', '.join(unknown)}.")

    def about_rebuild(self, events: int) -> Iterator[Note]:
        """Offer --rebuild when it pays, or say what room it takes; raises Refused when there is less."""
        if not self._retention.rebuild and not self._connection.dialect.features.rebuild_pays:
            return
        tables = [self._installation.relations[t] for t in _REBUILT if self._installation.has(t)]
        rows = max(1, self._installation.relations["website_event"].rows_estimate)
        share_kept = max(0.0, 1 - events / rows)
        needed_bytes = int(share_kept * sum(table.table_bytes + table.index_bytes for table in tables))
        room = f"{needed_bytes / 1e6:,.0f} MB"
        free_bytes = self._connection.free_bytes()
        if self._retention.rebuild and events:
            if free_bytes is not None and free_bytes < needed_bytes:
                raise Refused(
                    f"--rebuild needs about {room} for the copies, and {free_bytes / 1e6:,.0f} MB are free.",
                    hint="Prune without --rebuild.",
                    done="Nothing was changed.",
                )
            yield Note(f"The copies take about {room} of the server's disk until the old tables are dropped.")
        elif (
            self._connection.dialect.features.rebuild_pays
            and rows >= _REBUILD_PAYS_FROM_ROWS
            and share_kept <= 0.5
            and (free_bytes is None or free_bytes >= needed_bytes)
        ):
            yield Note(
                "Half or more of website_event goes: copying what stays is faster than deleting.",
                f"--rebuild does that; it takes about {room} of the server's disk meanwhile",
            )

    def remaining(self) -> Remaining | None:
        """Return how to count, up to 100,000, the events that are past their horizon still."""
        if self._retention.of("website_event") is None:
            return None
        return Remaining(self._queries["prune.left_over"].when(self._words | self._scope.words), self._values)

    def _count(self, name: str) -> dict[str, int]:
        query = self._queries[f"prune.{name}"].when(self._words | self._scope.words)
        row = self._connection.row(query, **self._values)
        return {table: int(count) for table, count in row.items() if table != "nothing"}

    # --- what it does ---------------------------------------------------------------------------------

    def steps(self, events: int) -> Iterator[Step]:
        """Return the steps in their order: events, heatmaps, replays, orphans, and sessions last."""
        retention = self._retention
        if leftovers := self._connection.leftovers():
            yield Statements("clearing away an interrupted rebuild", leftovers)
        if retention.rebuild and (rebuild := self._rebuild()) and events:
            yield rebuild
        if horizon := retention.of("website_event"):
            yield from self._event_steps(horizon)
        if (horizon := retention.of("heatmap_event")) and (sites := self._websites("heatmap_event")):
            yield self._step("heatmap events", "heatmaps", horizon, {"dated"}, self._cursors(sites))
        if (horizon := retention.of("session_replay")) and (sites := self._websites("session_replay")):
            yield self._step("replays of visits", "replays", horizon, {"dated"}, self._cursors(sites))
            if retention.delete_undated:
                yield self._step(
                    "replays without a time", "replays", horizon, {"undated"}, self._cursors(sites)
                )
        if retention.delete_orphans:
            yield from self._orphan_steps("event_data", "revenue")
        if horizon := retention.of_sessions:
            prepare = (self._queries["prune.prepare_sessions"],)
            sites = list(self._scope.only)
            yield self._step("sessions", "sessions", horizon, {"dated"}, self._cursors(sites), prepare)
            if retention.delete_undated:
                yield self._step(
                    "sessions without a time", "sessions", horizon, {"undated"}, self._cursors(sites), prepare
                )
        if retention.delete_orphans:
            yield from self._orphan_steps("session_data")

    def _rebuild(self) -> Rebuild:
        """Return the step that makes website_event and what hangs on it anew, without what goes."""
        if self._retention.of("website_event") is None:
            raise UsageFault("--rebuild is about website_event, which has no horizon here.")
        tables = [name for name in _REBUILT if self._installation.has(name)]
        return self._connection.rebuild(tables, self._scope.words, self._values)

    def _event_steps(self, horizon: datetime) -> Iterator[Step]:
        cursors = self._cursors(self._scope.only)
        yield from self._unfinished_drops()
        if "has_revenue" in self._words and self._count("count_astray_revenue")["revenue"]:
            yield self._step(
                "events whose revenue names another session", "astray_events", horizon, {"dated"}, cursors
            )
        yield from self._whole_partitions(horizon)
        apart = self._connection.dialect.features.locks_beyond_range
        prepare = (self._queries["prune.prepare_events"],)
        yield replace(self._step("events", "events", horizon, {"dated"}, cursors, prepare), apart=apart)
        if self._retention.delete_undated:
            yield self._step("events without a time", "events", horizon, {"undated"}, cursors, prepare)

    def _unfinished_drops(self) -> list[Step]:
        steps = self._connection.partitioning().dropping()
        if steps and self._retention.archived:
            raise Refused(
                "An earlier prune was cut off while it dropped a partition, which has left the table.",
                hint="Prune once without --archive, which finishes that.",
                done="Nothing was changed.",
            )
        return steps

    def _whole_partitions(self, horizon: datetime) -> Iterator[Step]:
        """Return the steps that drop partitions which lie past the horizon whole, whatever the website."""
        if "partitioned" not in self._words or self._scope.words or self._retention.archived:
            return
        partitioning = self._connection.partitioning()
        layout = partitioning.layout()
        if layout.is_foreign:
            return  # what those hold only who made them knows
        if Introspector(self._connection).missing_rights(["website_event"], "DROP"):
            return  # what hangs on their events would go, and they would stay
        for part in layout.dated:
            if part.until is not None and part.until <= horizon:
                yield from partitioning.drop(part)

    def _orphan_steps(self, *tables: str) -> Iterator[Batches]:
        for table in tables:
            if f"has_{table}" in self._words:
                yield self._step(f"orphans in {table}", f"orphan_{table}", None, self._scope.words, ({},))

    def _step(
        self,
        title: str,
        subject: str,
        horizon: datetime | None,
        words: Iterable[str],
        cursors: Iterable[Mapping[str, Any]],
        prepare: tuple[Any, ...] = (),
    ) -> Batches:
        cursors = tuple(cursors)
        chosen = self._words | set(words)
        if self._retention.archived:
            prepare = (self._queries["prune.prepare_archive"], *prepare)
        if any("website_id" in cursor for cursor in cursors):
            chosen |= {"website"}
        elif self._scope.except_:
            chosen |= {"except"}
        return Batches(
            title=title,
            next_slice=self._queries[f"prune.next_{subject}"].when(chosen),
            work=self._queries[f"prune.delete_{subject}"].when(chosen),
            values=self._values | {"horizon": horizon, "since": self._earliest, "after": None},
            cursors=cursors,
            prepare=tuple(query.when(chosen) for query in prepare),
            is_kept=self._retention.archived,
            most_rows=self._connection.dialect.most_rows_deleted,
        )

    def _cursors(self, website_ids: Iterable[str]) -> tuple[Mapping[str, Any], ...]:
        return tuple({"website_id": id_} for id_ in website_ids) or ({},)

    def _websites(self, table: str) -> list[str]:
        """Return the websites in scope that have rows in a table whose indexes begin with the website."""
        if f"has_{table}" not in self._words:
            return []
        query = {"heatmap_event": "websites_of_heatmaps", "session_replay": "websites_of_replays"}[table]
        rows = self._connection.rows(self._queries[f"prune.{query}"])
        return self._scope.restrict(row["website_id"] for row in rows)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} rows of {table}" for table, count in counts.items())
