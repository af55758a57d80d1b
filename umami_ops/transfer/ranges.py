"""A primary key cut into half-open ranges that tile it: no key is in two of them, none is in no one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from umami_ops.databases.transit import EVERYTHING, KeyRange, Rows, Transit

#: A range's rows: what is copied in one transaction and lost to a crash at worst.
RANGE_ROWS = 25_000


def tile(
    transit: Transit, rows: Rows, *, within: KeyRange = EVERYTHING, range_rows: int = RANGE_ROWS
) -> Iterator[KeyRange]:
    """Yield ranges of about so many rows each, in the key's order, whose union is `within`.

    Without a key there is one range. Lazy: each is found by a look at the primary key when it is asked for,
    and what others insert or delete meanwhile changes sizes, never the tiling.
    """
    if rows.key is None:
        yield within
        return
    since = within.since
    while (until := transit.key_after(rows, KeyRange(since, within.until), range_rows)) is not None:
        yield KeyRange(since, until)
        since = until
    yield KeyRange(since, within.until)


def gaps(done: Iterable[KeyRange], key: Callable[[str], object] = str) -> list[KeyRange]:
    """Return what is left of everything when these disjoint ranges are done, in order.

    `key` orders keys as the servers do: text for ids, `int` for numbers.
    """

    def start(item: KeyRange) -> tuple[bool, object]:
        return (item.since is not None, key(item.since) if item.since is not None else "")

    left: list[KeyRange] = []
    since: str | None = None
    is_first = True
    for item in sorted(done, key=start):
        if item.since != since or (is_first and item.since is not None):
            left.append(KeyRange(since, item.since))
        is_first = False
        since = item.until
        if since is None:
            return left
    return [*left, KeyRange(since, None)]


class Tiles:
    """The ranges of several tables, handed out to workers one by one; each asks with a session of its own.

    `work` names, for each table, the ranges within which to cut.
    """

    def __init__(self, work: Sequence[tuple[Rows, Sequence[KeyRange]]], range_rows: int) -> None:
        self._left = [(place, rows, keys) for place, (rows, within) in enumerate(work) for keys in within]
        self._left.reverse()
        self._range_rows = range_rows
        self._mutex = threading.Lock()

    def next(self, transit: Transit) -> tuple[int, KeyRange] | None:
        """Return the next range and its table's place in `work`; None when there are no more."""
        with self._mutex:
            if not self._left:
                return None
            # Taken off the list once the server has said where it ends: a session that breaks loses no range.
            place, rows, keys = self._left[-1]
            until = None if rows.key is None else transit.key_after(rows, keys, self._range_rows)
            self._left.pop()
            if until is not None:
                self._left.append((place, rows, KeyRange(until, keys.until)))
            return place, KeyRange(keys.since, until if until is not None else keys.until)
