"""Upkeep of tables: decides which are vacuumed, analysed, reindexed or rewritten, and says why.

What is done to a table stands in databases/*/upkeep.py. The thresholds here decide what `--if-needed` leaves
alone and which indexes `--reindex` rebuilds; docs/decisions/0007-bloat-and-thresholds.md has the reasons.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from umami_ops.databases.base import Connection
from umami_ops.databases.upkeep import IndexState, TableState
from umami_ops.errors import Refused, UsageFault
from umami_ops.operations.inspect import Installation
from umami_ops.plan import Maintenance, Note, Plan, Report
from umami_ops.umami.tables import Role, facts_of

#: Half of what autovacuum waits for by default (a fifth of the rows): who calls by night won't wait for it.
DEAD_SHARE, INSERTED_SHARE = 0.1, 0.1
#: Half of what its ANALYZE waits for (a tenth).
CHANGED_SHARE = 0.05
#: So many rows more, or else a table of ten rows would be vacuumed for one.
LEAST_ROWS = 1_000
#: From 200 million transactions on, autovacuum freezes a table at whatever hour; from here on VACUUM does.
FREEZE_AGE = 150_000_000
#: Filled in random order, a B-tree is 69 % full where a new one is 90 %: it wastes a quarter, and soon would
#: again. Beyond a third, rows have gone. What is smaller than a quarter of a megabyte costs nobody anything.
WASTED_INDEX_SHARE, WASTED_INDEX_BYTES = 0.33, 250_000
#: A rewrite copies what stays: it must give back a third at least. InnoDB keeps up to 4 MB free in any file.
FREE_SHARE, FREE_BYTES = 0.33, 8_000_000

# Half of what VACUUM FULL did with fifteen indexes on two cores: most disks are slower than that one.
_REWRITTEN_BYTES_A_SECOND = 20_000_000


@dataclass(frozen=True)
class Wish:
    """What a person asked for. `tables` are names as typed; none means all of Umami's."""

    tables: tuple[str, ...] = ()
    analyze_only: bool = False
    if_needed: bool = False
    reindex: bool = False
    full: bool = False

    def __post_init__(self) -> None:
        if self.analyze_only and (self.reindex or self.full):
            raise UsageFault("--analyze-only changes no table: leave --reindex and --full away.")
        if self.reindex and self.full:
            raise UsageFault("--full builds the indexes anew, too: leave --reindex away.")


@dataclass(frozen=True)
class Verdict:
    """What is done about a table, or nothing, and why. `gain_bytes` is what a rewrite would give back."""

    table: TableState
    work: tuple[Maintenance, ...]
    why: str
    rewrites: bool = False
    gain_bytes: int | None = None


def plan_vacuum(connection: Connection, installation: Installation, wish: Wish) -> Plan:
    """Plan the upkeep in one read-only transaction.

    Raises Refused when the database isn't fit or the user isn't the tables' owner, UsageFault for a table
    that isn't Umami's.
    """
    # Who may maintain tables need not be one who may delete from them.
    installation.require_safe(despite=("no_delete",))
    if wish.reindex and not connection.dialect.features.rebuilds_indexes:
        raise Refused(
            f"On {connection.dialect.title} an index isn't rebuilt without its table: both are one file.",
            hint="`umami-ops vacuum --full` rebuilds both, while Umami goes on (OPTIMIZE TABLE).",
            done="Nothing was changed.",
        )
    with connection.transaction(read_only=True):
        return _Planner(connection, installation, wish).plan()


def conclude(report: Report) -> None:
    """Add to the report what was left out; it then ended early, and the same command goes on."""
    skipped = [done.table for done in report.maintained if done.skipped]
    if skipped and report.stopped is None:
        names = ", ".join(dict.fromkeys(skipped))
        report.stopped = f"{names} could not be locked, others are at work there"


class _Planner:
    """Turns a wish into verdicts and steps for one database, inside the caller's snapshot."""

    def __init__(self, connection: Connection, installation: Installation, wish: Wish) -> None:
        self._connection = connection
        self._wish = wish
        self._upkeep = connection.upkeep()
        self._tables = self._chosen(self._upkeep.tables(measured_seconds=math.inf if wish.full else 0))
        places = {table.place for table in self._tables}
        indexes = self._upkeep.indexes(measured_bytes=math.inf if wish.reindex else 0)
        self._indexes = [index for index in indexes if index.table in places]
        self._user = installation.server.user
        self._rewrites_online = connection.dialect.features.rewrites_online

    def plan(self) -> Plan:
        """Return the plan."""
        self._require_owner()
        verdicts = [self._verdict(table) for table in self._tables]
        verdicts.sort(key=lambda verdict: verdict.table.size.total_bytes, reverse=True)
        doing = [verdict for verdict in verdicts if verdict.work]
        return Plan(
            operation="vacuum",
            facts=self._facts(doing, [verdict for verdict in verdicts if not verdict.work]),
            steps=(*self._index_steps(), *(step for verdict in doing for step in verdict.work)),
            notes=tuple(self._notes(doing)),
        )

    def _chosen(self, tables: Sequence[TableState]) -> list[TableState]:
        """Return the tables that were named, with their partitions, or all of Umami's."""
        ours = [table for table in tables if facts_of(table.root).role is not Role.UNKNOWN]
        names = {name for table in ours for name in (table.root, table.place.name)}
        for typed in self._wish.tables:
            if typed not in names:
                near = difflib.get_close_matches(typed, names, n=1)
                raise UsageFault(
                    f"--table {typed}: Umami has no such table here."
                    + (f" Did you mean {near[0]}?" if near else ""),
                    hint="`umami-ops info` lists them. Tables that aren't Umami's are left alone.",
                )
        wanted = set(self._wish.tables) or names
        return [table for table in ours if {table.root, table.place.name} & wanted]

    def _require_owner(self) -> None:
        foreign = [table.place.name for table in self._tables if not table.may_maintain]
        if foreign:
            some = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")
            raise Refused(
                f"User {self._user} may not maintain {some}.",
                hint="Connect as the tables' owner, the user that Umami itself has.",
                done="Nothing was changed.",
            )

    def _facts(self, doing: Sequence[Verdict], left: Sequence[Verdict]) -> dict[str, Any]:
        server = self._connection.server()
        return {
            "database": server.database,
            "server": server.title,
            "tables": [
                {
                    "table": verdict.table.place.name,
                    "why": verdict.why,
                    "rewritten": verdict.rewrites,
                    "table_bytes": verdict.table.size.table_bytes,
                    "index_bytes": verdict.table.size.index_bytes,
                    "gain_bytes": verdict.gain_bytes,
                }
                for verdict in doing
            ],
            "indexes": [
                {
                    "index": index.name,
                    "table": index.table.name,
                    "size_bytes": index.size_bytes,
                    "gain_bytes": index.wasted_bytes,
                    "estimated": index.is_estimate,
                }
                for index in self._doomed_indexes()
            ],
            "left_alone": [{"table": verdict.table.place.name, "why": verdict.why} for verdict in left],
        }

    # --- tables ---------------------------------------------------------------------------------------

    def _verdict(self, table: TableState) -> Verdict:
        if not table.holds_rows:
            return self._verdict_of_parent(table)
        if self._wish.full:
            return self._verdict_of_rewrite(table)
        if self._wish.analyze_only:
            why = self._why_refresh(table)
            return self._settled(table, (self._upkeep.refresh(table),), why)
        why = self._why_clean(table) or self._why_refresh(table)
        if why is None and self._wish.if_needed and self._rewrites_online:
            # Where writers go on meanwhile, free space alone is reason enough.
            return self._verdict_of_rewrite(table)
        return self._settled(table, (self._upkeep.clean(table),), why)

    def _settled(self, table: TableState, work: tuple[Maintenance, ...], why: str | None) -> Verdict:
        """Return what is to be done: always, unless only what is needed was asked for."""
        if why is None and self._wish.if_needed:
            return Verdict(table, (), "in order")
        return Verdict(table, work, why or "asked for")

    def _verdict_of_parent(self, table: TableState) -> Verdict:
        """A partitioned table has statistics of its own, which nobody refreshes but ANALYZE."""
        parts = [part for part in self._tables if part.root == table.root and part.holds_rows]
        stale = [part for part in parts if self._why_refresh(part)]
        why = f"{len(stale)} of its partitions have stale statistics" if stale else None
        return self._settled(table, (self._upkeep.refresh(table),), why)

    def _verdict_of_rewrite(self, table: TableState) -> Verdict:
        gain_bytes = self._gain(table)
        total = table.size.total_bytes
        pays = gain_bytes is not None and gain_bytes >= max(FREE_SHARE * total, FREE_BYTES)
        if self._wish.if_needed and not pays:
            why = self._why_clean(table) or self._why_refresh(table)
            if why is not None:
                return Verdict(table, (self._upkeep.clean(table),), why)
            if gain_bytes is None:
                return Verdict(table, (), "nothing is known of its free space: ANALYZE it first")
            return Verdict(table, (), f"in order, {_share(gain_bytes, total)} of it free")
        why = "asked for" if gain_bytes is None else f"about {_share(gain_bytes, total)} of it is free"
        return Verdict(table, self._upkeep.rewrite(table), why, rewrites=True, gain_bytes=gain_bytes)

    def _gain(self, table: TableState) -> int | None:
        """Return what a rewrite would give back: free space of the table, and what its indexes waste."""
        if table.free_bytes is None:
            return None
        wasted = [index.wasted_bytes or 0 for index in self._indexes if index.table == table.place]
        return table.free_bytes + sum(wasted)

    def _why_clean(self, table: TableState) -> str | None:
        if _passes(table.dead_rows, DEAD_SHARE, table.rows + table.dead_rows):
            return f"{table.dead_rows:,} dead rows, {_share(table.dead_rows, table.rows + table.dead_rows)}"
        if _passes(table.inserted_rows, INSERTED_SHARE, table.rows):
            return f"{table.inserted_rows:,} rows inserted since it was vacuumed"
        if table.freeze_age >= FREEZE_AGE:
            return f"{table.freeze_age:,} transactions since it was frozen"
        return None

    def _why_refresh(self, table: TableState) -> str | None:
        if not table.is_analyzed:
            return "has no statistics"
        if _passes(table.changed_rows, CHANGED_SHARE, table.rows):
            return f"{table.changed_rows:,} rows changed since it was analysed"
        return None

    # --- indexes --------------------------------------------------------------------------------------

    def _doomed_indexes(self) -> list[IndexState]:
        """Return the indexes to rebuild: invalid ones, then those that waste most."""
        if not self._wish.reindex:
            return []
        found = [index for index in self._indexes if not index.is_remains and _is_bloated(index)]
        return sorted(found, key=lambda index: (index.is_valid, -(index.wasted_bytes or 0)))

    def _index_steps(self) -> Iterator[Maintenance]:
        """Yield what is left of failed runs first, then the rebuilds.

        Before VACUUM, which then has less to read: a rebuilt index holds no dead rows.
        """
        if self._wish.reindex:
            for index in self._indexes:
                if index.is_remains:
                    yield self._upkeep.drop(index)
        for index in self._doomed_indexes():
            yield self._upkeep.rebuild(index)

    # --- what to know before --------------------------------------------------------------------------

    def _notes(self, doing: Sequence[Verdict]) -> Iterator[Note]:
        if self._wish.reindex:
            yield from self._notes_on_indexes()
        if rewritten := [verdict.table for verdict in doing if verdict.rewrites]:
            yield from self._notes_on_rewrite(rewritten)

    def _notes_on_indexes(self) -> Iterator[Note]:
        doomed = self._doomed_indexes()
        if doomed:
            room = max(index.size_bytes - (index.wasted_bytes or 0) for index in doomed)
            largest = f"The largest index takes about {_mb(room)} while it is rebuilt"
            self._require_room(room, largest, "Make room, or vacuum without --reindex.")
            how = "estimated" if any(index.is_estimate for index in doomed) else "measured by pgstattuple"
            yield Note(f"What indexes waste is {how}; a rebuild takes about {_mb(room)} of disk meanwhile.")
        else:
            share = f"{WASTED_INDEX_SHARE:.0%}".replace("%", " %")
            yield Note(f"No index wastes {share} or more: none is rebuilt.")
        unknown = [index.name for index in self._indexes if index.is_valid and index.wasted_bytes is None]
        if unknown:
            yield Note(
                f"Nothing is known of {len(unknown)} indexes, {unknown[0]} for one.",
                "`umami-ops vacuum --analyze-only` gathers the statistics, if it is these that are missing",
            )

    def _notes_on_rewrite(self, tables: Sequence[TableState]) -> Iterator[Note]:
        """Say what a rewrite locks, how long and what room it takes; raises Refused where there is less."""
        largest = max(tables, key=lambda table: table.size.total_bytes)
        needed_bytes = max(largest.size.total_bytes - (self._gain(largest) or 0), 0)
        seconds = sum(table.size.total_bytes for table in tables) / _REWRITTEN_BYTES_A_SECOND
        copied = f"The copy of {largest.place.name} needs about {_mb(needed_bytes)}"
        free_bytes = self._require_room(
            needed_bytes, copied, "Name smaller tables with --table, or make room."
        )
        known = "" if free_bytes is None else f", {_mb(free_bytes)} are free"
        yield Note(f"The copies take up to {_mb(needed_bytes)} of the server's disk meanwhile{known}.")
        if self._upkeep.rewrite_is_online:
            yield Note(f"Estimated time: {_time(seconds)}. Umami goes on reading and writing.")
        else:
            yield Note(
                f"Estimated time: {_time(seconds)}. Each table is locked meanwhile (ACCESS EXCLUSIVE): Umami "
                "waits, and visits may be lost.",
                "without --full nothing is locked; --if-needed leaves alone what would give little back",
            )

    def _require_room(self, needed_bytes: int, what: str, hint: str) -> int | None:
        """Return what is free, None where that can't be known. Raises Refused where it is too little."""
        free_bytes = self._connection.free_bytes()
        if free_bytes is not None and free_bytes < needed_bytes:
            raise Refused(f"{what}, and {_mb(free_bytes)} are free.", hint=hint, done="Nothing was changed.")
        return free_bytes


def _passes(rows: int, share: float, of: int) -> bool:
    return rows >= LEAST_ROWS + share * of


def _is_bloated(index: IndexState) -> bool:
    if not index.is_valid:
        return True
    wasted = index.wasted_bytes or 0
    return wasted >= max(WASTED_INDEX_SHARE * index.size_bytes, WASTED_INDEX_BYTES)


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.0f} MB"


def _time(seconds: float) -> str:
    return "under a minute" if seconds < 60 else f"about {seconds / 60:,.0f} min"
