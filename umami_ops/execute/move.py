"""A move: ranges of rows from one database to another, then indexes, proof, and last what makes it usable.

A range is one transaction on the target, with its entry in the ledger; so a kill at any moment loses the
ranges in flight and nothing else, and a rerun continues. The source is looked at through read-only sessions
that share one moment (`transfer/snapshot.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

from umami_ops.databases.base import Connection, Database
from umami_ops.errors import ConnectionFault, ConnectionLost, DatabaseFault, OpsError, Refused, TransientFault
from umami_ops.execute.events import Observer, RowsMoved, StepBegan, Trouble
from umami_ops.execute.lock import RunLock
from umami_ops.execute.patience import Ended, Patience
from umami_ops.execute.stop import StopSignal
from umami_ops.plan import Changed, Move, Report
from umami_ops.rows import KeyRange, Pair, Rows
from umami_ops.sql import Query
from umami_ops.transfer import ledger, ranges
from umami_ops.transfer.comparison import Comparison, Found, sums_that_differ
from umami_ops.transfer.proof import Differences
from umami_ops.transfer.schema import is_ours, referred_first
from umami_ops.transfer.snapshot import Snapshot, state_of

_Work = TypeVar("_Work")

_TRIES = 5
_RECONNECT_SECONDS = 60.0
#: How often differences are mended where mending makes others.
_MENDS = 3
#: What a comparison finds of rows, in the order of Differences.
_LISTS = ("missing", "extra", "changed")
#: Keys that one statement names.
_KEYS = 500


@dataclass
class Mover:
    """Carries one Move out."""

    step: Move
    source: Database
    target: Database
    lock: RunLock
    stop: StopSignal
    observer: Observer
    report: Report
    jobs: int
    _mutex: threading.Lock = field(default_factory=threading.Lock)
    _fault: BaseException | None = None
    _moments: int = 1

    def run(self) -> None:
        """Copy, build, prove, conclude; or end in between, leaving what a rerun continues from.

        Raises DatabaseFault when the two sides turn out to differ.
        """
        self._patience = Patience(self.target, self.lock, self.stop, self.observer, "migrate")
        try:
            with self._snapshot("Nothing was changed.") as snapshot:
                with self._phase("preparing"):
                    done = self._prepare()
                if not snapshot.is_shared and self.jobs > 1:
                    self.observer(Trouble("The source can't be held still for a moment: one session copies"))
                if not self.step.catch_up:
                    with self._phase("copying"):
                        self._copy(snapshot, done)
                    with self._phase("indexing"):
                        self._index()
                with self._phase("proving"):
                    self._prove(snapshot, mends=self.step.catch_up or bool(done.done))
            with self._phase("concluding"):
                self._conclude()
        except Ended:
            return

    @contextmanager
    def _snapshot(self, done: str) -> Iterator[Snapshot]:
        """Hold one moment of the source's, in which its schema is the one that was planned for.

        `done` says what has been done until then. Raises Refused where that is another schema.
        """
        names = [move.pair.source.table for move in self.step.tables]
        with Snapshot(self.source, names, self.jobs, "migrate") as snapshot:
            self._require_same_schema(snapshot.connections[0], done)
            yield snapshot

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        self.observer(StepBegan(name))
        try:
            yield
        finally:
            self.report.phases[name] = time.monotonic() - began

    # --- before ---------------------------------------------------------------------------------------

    def _prepare(self) -> ledger.Begun:
        """Clear and create what the plan says, and open the ledger; return what has arrived before."""
        with self._patience.connect() as connection:
            found = self._as_planned(connection)
            if self.step.catch_up:
                return found
            self._patience.insist(connection, lambda: self._begin(connection))
            wanted = [
                *(queries for _, queries in self.step.empty),
                *(move.create for move in self.step.tables),
            ]
            for statement in (query for queries in wanted for query in queries):
                self._patience.run(connection, statement)
            return self._settled(connection, found) if self.step.goes_on else found

    def _as_planned(self, connection: Connection) -> ledger.Begun:
        """Return what has arrived before.

        Raises Refused where the target isn't what it was: nobody has agreed to lose what is there now.
        """
        here = {table.name for table in connection.transit().describe().tables if not is_ours(table.name)}
        changed = here ^ self.step.found.keys()
        for name, rows in self.step.found.items():
            if rows is not None and name in here and _count(connection, name) != rows:
                changed.add(name)
        anew = ledger.Begun(self.step.source, self.step.level)
        # A ledger that the plan doesn't go on with is cleared away, be it damaged.
        found = ledger.begun(connection) if self.step.goes_on else anew
        if self.step.catch_up and state_of(connection) != self.step.target_state:
            changed.add("its schema, or Prisma's records")
        if found is None or (found.source, found.level) != (anew.source, anew.level):
            changed.add("the ledger of the move")
        elif not changed:
            return found
        raise Refused(
            f"The target has changed since the plan was made: {', '.join(sorted(changed))}.",
            hint="Run the same command again, and look at the new plan.",
            done="Nothing was changed.",
        )

    def _begin(self, connection: Connection) -> None:
        """Clear the target and open the ledger if there is none: in one transaction where DDL allows that."""
        began = time.monotonic()
        with connection.transaction():
            for statement in self.step.clear:
                connection.run(statement)
            if not self.step.goes_on:
                ledger.begin(connection, self.step.source, self.step.level)
        seconds = time.monotonic() - began
        title = "clearing the target as planned" if self.step.clear else "preparing the target"
        self.report.changed.append(Changed(title, seconds, seconds))

    def _require_same_schema(self, source: Connection, done: str) -> None:
        """Raise Refused where Umami has migrated the source since it was planned, or is at it."""
        is_migrating = bool(source.value(source.dialect.queries["lock.prisma_held"]))
        if is_migrating or state_of(source) != self.step.source_state:
            raise Refused(
                "The source's schema, or Prisma's records of it, have changed since this was planned: was "
                "Umami upgraded meanwhile?",
                hint="Wait until Umami has started, then run the same command again, which plans anew.",
                done=done,
            )

    def _settled(self, connection: Connection, found: ledger.Begun) -> ledger.Begun:
        """Make sure that the target's rows are those of the ledger; else the table begins anew."""
        done = dict(found.done)
        unknown = [
            rows
            for rows in (move.pair.target for move in self.step.tables)
            if _count(connection, rows.table) != found.rows(rows.table)
        ]
        if unknown:
            names = ", ".join(rows.table for rows in unknown)
            self.observer(Trouble(f"Rows changed since the move was interrupted; copied anew: {names}"))
        for rows in unknown:
            with connection.transaction():
                connection.transit().delete(rows, KeyRange())
                ledger.forget(connection, rows.table)
            done.pop(rows.table, None)
        return ledger.Begun(found.source, found.level, done)

    # --- rows -----------------------------------------------------------------------------------------

    def _copy(self, snapshot: Snapshot, done: ledger.Begun) -> None:
        """Copy all ranges that have not arrived, the largest table first."""
        moves = sorted(self.step.tables, key=lambda move: move.rows, reverse=True)
        work = []
        for move in moves:
            arrived = done.done.get(move.pair.target.table, [])
            if arrived:
                self._note_rows(move.pair.target.table, sum(rows for _, rows in arrived))
            is_number = any(
                item.name == move.pair.target.key and item.kind.is_bare for item in move.pair.target.fields
            )
            left = ranges.gaps([keys for keys, _ in arrived], int if is_number else str)
            work.append((move.pair.source, left))
        tiles = ranges.Tiles(work, ranges.RANGE_ROWS)
        pairs = [move.pair for move in moves]
        threads = [
            threading.Thread(target=self._run_worker, args=(snapshot, source, tiles, pairs))
            for source in snapshot.connections[1:]
        ]
        for thread in threads:
            thread.start()
        self._run_worker(snapshot, snapshot.connections[0], tiles, pairs)
        for thread in threads:
            thread.join()
        if self._fault is not None:
            raise self._fault
        self._patience.check()

    def _run_worker(
        self, snapshot: Snapshot, source: Connection, tiles: ranges.Tiles, pairs: Sequence[Pair]
    ) -> None:
        try:
            _Worker(self, snapshot, source, tiles, pairs).run()
        except BaseException as fault:  # noqa: BLE001 -- handed to the thread that called _copy()
            with self._mutex:
                self._fault = self._fault or fault

    @property
    def is_ending(self) -> bool:
        """Whether there is a reason to stop before the end."""
        return self.stop.reason is not None or self._fault is not None

    def carry(self, source: Connection, target: Connection, pair: Pair, keys: KeyRange) -> None:
        """Bring one range over in one transaction."""
        began = time.monotonic()
        with target.transaction():
            self.lock.check(target)
            reading = source.transit().read(pair.source, keys, ordered=True)
            taken = target.transit().write(pair.target, reading)
            if taken != reading.rows:
                raise DatabaseFault(
                    f"{pair.target.table}: {reading.rows:,} rows were sent and {taken:,} were taken.",
                    hint="Does the target have triggers, or a key that the source hasn't?",
                )
            ledger.note(target, pair.target.table, keys, taken)
        with self._mutex:
            self.report.transactions += 1
            self.report.transaction_seconds.append(time.monotonic() - began)
        self._note_rows(pair.target.table, taken)

    def _note_rows(self, table: str, rows: int) -> None:
        with self._mutex:
            self.report.moved[table] = self.report.moved.get(table, 0) + rows
        self.observer(RowsMoved(table, rows))

    def renewed(self, snapshot: Snapshot, source: Connection) -> Connection:
        """Replace a session of the source's; on MySQL it sees a later moment, which the proof then mends."""
        if not snapshot.has_name:
            self._moments += 1
        return snapshot.renew(source)

    # --- indexes --------------------------------------------------------------------------------------

    def _index(self) -> None:
        """Build what isn't there, side by side; then keys and foreign keys; then fresh statistics."""
        moves = sorted(self.step.tables, key=lambda move: move.rows, reverse=True)
        with self.target.connect("umami-ops migrate") as connection:
            transit = connection.transit()
            here = transit.describe()
            texts = [
                text
                for move in moves
                for text in transit.index_statements(move.table, here.table(move.table.name))
            ]
        left = [Query("migrate.index", "", text) for text in reversed(texts)]
        fresh = [move.pair.target.table for move in reversed(moves)]
        with ThreadPoolExecutor(max_workers=self.jobs) as pool:
            for done in [pool.submit(self._build, left, fresh) for _ in range(self.jobs)]:
                done.result()
        self._patience.check()
        with self._patience.connect(wait_seconds=60) as connection:
            transit = connection.transit()
            here = transit.describe()
            for table in (move.table for move in moves):
                for text in transit.finish_statements(table, here.table(table.name)):
                    self._patience.run(connection, Query("migrate.finish", "", text))

    def _build(self, left: list[Query], fresh: list[str]) -> None:
        """Build one index after the other in a session that a reason to stop cancels; then settle tables."""
        with self._patience.connect(wait_seconds=600) as connection:
            _set(connection, "transfer.build_settings")
            with self._patience.cancelling(connection):
                while (statement := self._taken(left)) is not None:
                    self._patience.run(connection, statement)
                while (table := self._taken(fresh)) is not None:
                    settle = connection.transit().settle_statement([table])
                    connection.maintain(Query("migrate.settle", "", settle))

    def _taken(self, left: list[_Work]) -> _Work | None:
        with self._mutex:
            return left.pop() if left else None

    # --- proof ----------------------------------------------------------------------------------------

    def _prove(self, snapshot: Snapshot, *, mends: bool) -> None:
        """Compare both sides; with `mends`, copy what differs first. Raises DatabaseFault if they differ.

        Mends too where sessions were lost, be it while indexes were built: the moment is a later one then.
        """
        with self._sessions(snapshot) as sessions:
            mends = mends or self._moments > 1
            comparison = Comparison(sessions, ended=lambda: self.is_ending)
            pairs = [move.pair for move in self.step.tables]
            found = comparison.compare(pairs)
            self._patience.check()
            if mends and any(item.differing for item in found):
                self.observer(StepBegan("catching up"))
                changed = [item for item in found if item.differing]
                if self.step.catch_up and not self.step.delete_extra:
                    self._require_no_extra(comparison, changed)
                found = self._mended(comparison, sessions[0], found)
            self.report.verdicts = [comparison.verdict(item) for item in found]
            if all(verdict.is_equal for verdict in self.report.verdicts):
                self.report.sums_differ = sums_that_differ(sessions, pairs)
        wrong = [verdict.table for verdict in self.report.verdicts if not verdict.is_equal]
        if wrong or self.report.sums_differ:
            done = (
                "What differed was brought over, in vain there. Umami can start on the target as before."
                if self.step.catch_up
                else "The rows were copied, but the target was not made usable."
            )
            raise DatabaseFault(
                f"The two sides differ: {', '.join(wrong) or self.report.sums_differ[0]}.",
                hint="Was something else writing to the target? `umami-ops verify` says which rows differ.",
                done=done,
            )

    def _mended(
        self, comparison: Comparison, session: tuple[Connection, Connection], found: list[Found]
    ) -> list[Found]:
        """Mend what differs, and compare again.

        A row that is taken away for a moment may take others along, by foreign keys and triggers of the
        target's. Where there are any all tables are compared again, and mended once more.
        """
        there = session[1].transit().describe()
        has_side_effects = any(table.foreign_keys for table in there.tables) or any(
            thing.kind == "trigger" for thing in there.others
        )
        there_by_name = {table.name: table for table in there.tables}
        order = referred_first(there.tables)
        for _ in range(_MENDS if has_side_effects else 1):
            differing = [item for item in found if item.differing]
            for item in sorted(differing, key=lambda item: order.index(item.pair.target.table)):
                indexes = there_by_name[item.pair.target.table].indexes
                own = {*item.pair.target.primary_key}
                # A unique index over the primary key, such as Umami makes, has no value that wanders.
                is_told = any(index.unique and not own <= {*index.columns} for index in indexes)
                self._mend(comparison, session, item, is_told_by_other_keys=is_told)
            pairs = [item.pair for item in (found if has_side_effects else differing)]
            again = {item.pair.source.table: item for item in comparison.compare(pairs)}
            found = [again.get(item.pair.source.table, item) for item in found]
            self._patience.check()
            if not any(item.differing for item in found):
                break
        return found

    @contextmanager
    def _sessions(self, snapshot: Snapshot) -> Iterator[list[tuple[Connection, Connection]]]:
        """Open a session of the target's beside each of the source's, all of which see one moment.

        Where one was lost for which there is only a later moment, that is a new one for all: rows that have
        come in between would be there to some and not to others.
        """
        for source in list(snapshot.connections):
            self._keep_alive(snapshot, source)
        with ExitStack() as stack:
            if self._moments > 1:
                snapshot = stack.enter_context(self._snapshot("Rows were copied, nothing else was done."))
            sessions = []
            for source in snapshot.connections:
                target = self.target.connect("umami-ops migrate")
                stack.callback(target.close)
                sessions.append((source, target))
            yield sessions

    def _keep_alive(self, snapshot: Snapshot, source: Connection) -> None:
        """Ask a session that was idle, maybe for long, whether it is still there; else replace it."""
        try:
            source.value(source.dialect.queries["lock.session"])
        except ConnectionLost:
            self.renewed(snapshot, source)

    def _require_no_extra(self, comparison: Comparison, changed: Sequence[Found]) -> None:
        """Raise Refused where any table has rows of its own at the target: before the first is written to."""
        for item in changed:
            extra = comparison.extra(item)
            self._patience.check()
            if extra is not None:
                raise Refused(
                    f"{item.pair.target.table} has {extra}: has Umami used the target already?",
                    hint="If they are gone from the source, add --delete-extra.",
                    done="Nothing was changed.",
                )

    def _mend(
        self,
        comparison: Comparison,
        session: tuple[Connection, Connection],
        item: Found,
        *,
        is_told_by_other_keys: bool,
    ) -> None:
        """Copy the rows that differ, range by range, each in one transaction; or all of them in one."""
        if item.pair.source.key is None:
            self._copy_whole(*session, item.pair)
            return
        if not is_told_by_other_keys:
            for _, found in comparison.narrowed(item):
                self._apply(*session, item.pair, found)
            return
        # One row's value may have gone to another of a later range: all go before the first comes.
        every = [found for _, found in comparison.narrowed(item)]
        lists = (chain.from_iterable(getattr(found, name) for found in every) for name in _LISTS)
        self._apply(*session, item.pair, Differences(*map(tuple, lists)))

    def _apply(self, source: Connection, target: Connection, pair: Pair, found: Differences) -> None:
        # What only the target has and nobody wished away has come since it was asked; the proof tells.
        may_delete = self.step.delete_extra or not self.step.catch_up
        wanted = [*found.missing, *found.changed]
        with target.transaction(), target.transit().keys_deferred(pair.target):
            deleted = _delete(target, pair.target, found.extra if may_delete else ())
            _delete(target, pair.target, found.changed)
            for start in range(0, len(wanted), _KEYS):
                reading = source.transit().read_keys(pair.source, wanted[start : start + _KEYS])
                target.transit().write(pair.target, reading)
        if deleted:
            self.report.deleted[pair.target.table] = self.report.deleted.get(pair.target.table, 0) + deleted
        self._note_rows(pair.target.table, len(wanted))

    def _copy_whole(self, source: Connection, target: Connection, pair: Pair) -> None:
        with target.transaction(), target.transit().keys_deferred(pair.target):
            target.transit().delete(pair.target, KeyRange())
            taken = target.transit().write(pair.target, source.transit().read(pair.source))
        self._note_rows(pair.target.table, taken)

    def _conclude(self) -> None:
        """Write Prisma's records, which open the door to Umami, and take the ledger away."""
        # One transaction where DDL allows that; else the ledger goes last, so that a rerun concludes.
        with self._patience.connect() as connection, connection.transaction():
            self.lock.check(connection)
            for statement in self.step.conclude:
                connection.run(statement)
            if not self.step.catch_up or ledger.entries(connection):
                ledger.end(connection)


class _Worker:
    """A pair of sessions that carries range after range; retries, and connects again when one is lost."""

    def __init__(
        self,
        mover: Mover,
        snapshot: Snapshot,
        source: Connection,
        tiles: ranges.Tiles,
        pairs: Sequence[Pair],
    ) -> None:
        self._mover = mover
        self._snapshot = snapshot
        self._source = source
        self._tiles = tiles
        self._pairs = pairs

    def run(self) -> None:
        """Carry ranges until there are none left, or there is a reason to stop."""
        self._target = self._connected()
        try:
            while not self._mover.is_ending and (work := self._next()) is not None:
                self._carry(self._pairs[work[0]], work[1])
        finally:
            self._target.close()

    def _connected(self) -> Connection:
        connection = self._mover.target.connect("umami-ops migrate")
        _set(connection, "transfer.load_settings")
        return connection

    def _next(self) -> tuple[int, KeyRange] | None:
        try:
            return self._tiles.next(self._source.transit())
        except ConnectionLost as fault:
            self._reconnect(fault)
            return self._tiles.next(self._source.transit())

    def _carry(self, pair: Pair, keys: KeyRange) -> None:
        for attempt in range(1, _TRIES + 1):
            try:
                self._mover.carry(self._source, self._target, pair, keys)
                return
            except TransientFault as fault:
                if attempt == _TRIES:
                    raise
                self._mover.observer(Trouble(f"{fault.message}; trying that range again"))
                self._mover.stop.wait(0.1 * 2**attempt)
            except ConnectionLost as fault:
                if attempt == _TRIES:
                    raise
                self._reconnect(fault)
                # A commit whose answer was lost may have happened all the same.
                if ledger.has(self._target, pair.target.table, keys):
                    return

    def _reconnect(self, fault: ConnectionLost) -> None:
        """Open both sessions anew, waiting for a server that restarts."""
        self._mover.observer(Trouble(f"{fault.message}; connecting again"))
        deadline = time.monotonic() + _RECONNECT_SECONDS
        while True:
            try:
                self._target.close()
                self._target = self._connected()
                self._source = self._mover.renewed(self._snapshot, self._source)
                return
            except (ConnectionFault, ConnectionLost):
                if time.monotonic() >= deadline or self._mover.stop.reason:
                    fault.hint = "Check both servers, then run the same command again; it continues."
                    raise fault from None
                self._mover.stop.wait(0.5)
            except OpsError:
                # The moment had a name and is gone with the session that kept it: only a rerun has a new one.
                fault.hint = "Run the same command again; it continues."
                raise fault from None


def _count(connection: Connection, table: str) -> int:
    return connection.transit().prove(Rows(table, (), None)).rows


def _delete(target: Connection, rows: Rows, keys: Sequence[str]) -> int:
    """Delete the rows with these keys, some at a time; returns how many."""
    transit = target.transit()
    return sum(transit.delete_keys(rows, keys[at : at + _KEYS]) for at in range(0, len(keys), _KEYS))


def _set(connection: Connection, name: str) -> None:
    for setting in connection.dialect.queries[name].statements:
        connection.run(setting)
