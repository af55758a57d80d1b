"""Two databases compared, table by table: checksums of ranges side by side, then the rows that differ."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue

from umami_ops.databases.base import Connection
from umami_ops.databases.transit import EVERYTHING, NOTHING, Proof
from umami_ops.plan import TableVerdict
from umami_ops.rows import KeyRange, Pair
from umami_ops.transfer import proof, ranges

#: Rows whose checksum is one statement; and so many that their keys and hashes are held in memory.
PROVEN_ROWS, NARROW_ROWS = 100_000, 5_000
#: How many ranges and rows are named.
_NAMED_RANGES, _NAMED_ROWS = 3, 5


@dataclass
class Found:
    """What a comparison of one table found."""

    pair: Pair
    source: Proof = NOTHING
    target: Proof = NOTHING
    differing: list[KeyRange] = field(default_factory=list)


class Comparison:
    """Compares tables on pairs of sessions, one thread a pair; the sessions see what the caller wants."""

    def __init__(
        self,
        sessions: Sequence[tuple[Connection, Connection]],
        *,
        ended: Callable[[], bool] = lambda: False,
        noted: Callable[[str, int], None] = lambda _table, _rows: None,
    ) -> None:
        self._sessions = sessions
        self._ended = ended
        self._noted = noted
        self._mutex = threading.Lock()

    def compare(self, pairs: Iterable[Pair]) -> list[Found]:
        """Return for each table what both sides say, and the ranges in which they differ."""
        found = [Found(pair) for pair in pairs]
        here, there = (session.dialect.features for session in self._sessions[0])
        # Where a range ends is asked of the side that finds it without reading the rows.
        asks_target = there.reads_keys_alone and not here.reads_keys_alone
        sides = [item.pair.target if asks_target else item.pair.source for item in found]
        tiles = ranges.Tiles([(rows, [EVERYTHING]) for rows in sides], PROVEN_ROWS)

        def run(source: Connection, target: Connection) -> None:
            with ThreadPoolExecutor(max_workers=1) as beside:
                while not self._ended():
                    work = tiles.next((target if asks_target else source).transit())
                    if work is None:
                        return
                    item, keys = found[work[0]], work[1]
                    self._note(item, keys, *_both(beside, (source, target), item.pair, keys))

        with ThreadPoolExecutor(max_workers=len(self._sessions)) as pool:
            for done in [pool.submit(run, *both) for both in self._sessions]:
                done.result()
        return found

    def _note(self, item: Found, keys: KeyRange, source: Proof, target: Proof) -> None:
        with self._mutex:
            item.source += source
            item.target += target
            if source != target:
                item.differing.append(keys)
        self._noted(item.pair.source.table, source.rows)

    def narrowed(self, item: Found) -> Iterator[tuple[KeyRange, proof.Differences]]:
        """Yield, for each small range in which a table differs, the rows by which it does."""
        source, target = (session.transit() for session in self._sessions[0])
        for wide in item.differing:
            for keys in ranges.tile(source, item.pair.source, within=wide, range_rows=NARROW_ROWS):
                if self._ended():
                    return
                own = proof.prove(target, item.pair.target, keys)
                if item.pair.source.key is None:
                    yield keys, proof.Differences((), (), ())
                elif proof.prove(source, item.pair.source, keys) != own:
                    yield keys, self._differences(item.pair, keys)

    def extra(self, item: Found) -> str | None:
        """Say which rows of a table the target alone has, without its name; None where there are none.

        Cuts the ranges in which it differs down to small ones.
        """
        source, target = (session.transit() for session in self._sessions[0])
        small = []
        for keys, found in self.narrowed(item):
            small.append(keys)
            if found.extra:
                return f"rows that the source doesn't have, {found.extra[0]} among them"
            if not item.pair.is_told_by_key and (rows := proof.extra_rows(source, target, item.pair, keys)):
                return f"{rows:,} rows that the source doesn't have"
        item.differing = small
        return None

    def _differences(self, pair: Pair, keys: KeyRange) -> proof.Differences:
        source, target = (session.transit() for session in self._sessions[0])
        return proof.differences(
            proof.fingerprints(source, pair.source, keys), proof.fingerprints(target, pair.target, keys)
        )

    def verdict(self, item: Found) -> TableVerdict:
        """Return what to say of a table; where it differs, the first ranges and rows are looked for."""
        named: list[KeyRange] = []
        lists: dict[str, list[str]] = {"missing": [], "extra": [], "changed": []}
        for keys, found in self.narrowed(item):
            named.append(keys)
            for name, keep in lists.items():
                keep += getattr(found, name)
            if len(named) == _NAMED_RANGES:
                break
        rows = {name: tuple(keys[:_NAMED_ROWS]) for name, keys in lists.items()}
        return TableVerdict(
            item.pair.source.table, item.source.rows, item.target.rows, item.source.checksum,
            item.target.checksum, tuple(named), rows["missing"], rows["extra"], rows["changed"],
        )  # fmt: skip


def _both(
    beside: Executor, sessions: tuple[Connection, Connection], pair: Pair, keys: KeyRange
) -> tuple[Proof, Proof]:
    """Return what each side says of a range, asked side by side.

    At first with ids as they are stored. Where as many rows differ, they may differ in capitals alone.
    """
    for as_stored in (True, False):
        asked = beside.submit(proof.prove, sessions[0].transit(), pair.source, keys, ids_as_stored=as_stored)
        target = proof.prove(sessions[1].transit(), pair.target, keys, ids_as_stored=as_stored)
        source = asked.result()
        if source == target or source.rows != target.rows:
            break
    return source, target


#: Query of sql/*/verify.sql → its table, the column that it is about, and one that it may do without.
_SUMS = {
    "visitors": ("website_event", "session_id", ""),
    "visits": ("website_event", "visit_id", ""),
    "event_data": ("event_data", "website_id", "number_value"),
    "revenue": ("revenue", "website_id", ""),
}


def sums_that_differ(sessions: Sequence[tuple[Connection, Connection]], tables: Iterable[Pair]) -> list[str]:
    """Compare the sums by website and day of both sides; returns a sentence for each difference.

    A table in which values were to become others has no sums to compare: its checksums say what it holds.
    """
    here = {
        pair.source.table: pair.source.names
        for pair in tables
        if all(item.repair is None for item in pair.source.fields)
    }
    asked = [name for name, (table, needed, _) in _SUMS.items() if needed in here.get(table, ())]
    free: SimpleQueue[tuple[Connection, Connection]] = SimpleQueue()
    for both in sessions:
        free.put(both)

    def differing(name: str) -> list[str]:
        table, _, optional = _SUMS[name]
        words = {f"has_{optional}"} if optional in here[table] else set()
        both = free.get()
        try:
            # At first with ids as they are stored; only where capitals and small letters mix, they tell lies.
            found: list[str] = []
            for how in ({"as_stored"}, set[str]()):
                with ThreadPoolExecutor(max_workers=1) as beside:
                    other = beside.submit(_sums, both[0], name, words | how)
                    own = _sums(both[1], name, words | how)
                    found = list(_differences(table, other.result(), own))
                if not found:
                    break
            return found
        finally:
            free.put(both)

    with ThreadPoolExecutor(max_workers=len(sessions)) as pool:
        return [sentence for found in pool.map(differing, asked) for sentence in found]


_Sums = dict[tuple[str, str], dict[str, str]]


def _differences(table: str, theirs: _Sums, own: _Sums) -> Iterator[str]:
    for place in sorted(own.keys() | theirs.keys()):
        if own.get(place) != theirs.get(place):
            sides = f"source {theirs.get(place, 'nothing')}, target {own.get(place, 'nothing')}"
            yield f"{table} of website {place[0]} on {place[1]}: {sides}"


def _sums(connection: Connection, name: str, words: set[str]) -> _Sums:
    for setting in connection.dialect.queries["verify.sum_settings"].statements:
        connection.run(setting)
    query = connection.dialect.queries[f"verify.{name}"].when(words)
    found = {}
    for row in connection.rows(query):
        place = (str(row.pop("website")), str(row.pop("day")))
        found[place] = {key: str(value) for key, value in row.items()}
    return found
