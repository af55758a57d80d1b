"""A primary key cut into half-open ranges that tile it: no key is in two of them, none is in no one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

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
