"""Estimates how large a table or a B-tree index would be if it were built anew. Arithmetic, no I/O.

Sources: PostgreSQL's documentation, "Database Page Layout" and "B-Tree Indexes: Deduplication", and nbtree's
README. docs/decisions/0007-bloat-and-thresholds.md says how far off it is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

_PAGE_BYTES = 8192
_PAGE_HEADER_BYTES = 24
_ITEM_POINTER_BYTES = 4
_ROW_HEADER_BYTES = 24
# A B-tree page also ends in 16 bytes of links to its neighbours.
_LEAF_BYTES = _PAGE_BYTES - _PAGE_HEADER_BYTES - 16
_KEY_HEADER_BYTES = 8
_NULLS_BYTES = 8
#: From PostgreSQL 13 on, rows with the same key share one tuple: six bytes for each row in its list …
_POSTED_ROW_BYTES = 6
#: … which building an index ends at a tenth of a page.
_POSTING_LIST_BYTES = _PAGE_BYTES // 10
# A list repeats the row that its tuple stands for, and ends at eight bytes: four more on average.
_LIST_BYTES = _POSTED_ROW_BYTES + 4
# Pages above the leaves: with some 200 keys each they are one in two hundred.
_UPPER_PAGES_SHARE = 1 / 200


@dataclass(frozen=True)
class IndexedColumn:
    """A column of an index by its statistics: bytes of a value, the boundary it begins at, whether they vary.

    `distinct_values` is as in pg_stats: a number, or below zero the share of rows that differ.
    """

    width: int
    alignment: int
    varies: bool
    null_share: float
    distinct_values: float

    def distinct(self, rows: int) -> float:
        """Return how many different values there are, NULL being one more."""
        known = self.distinct_values if self.distinct_values >= 0 else -self.distinct_values * rows
        return max(1.0, known + (self.null_share > 0))


def table_bytes(rows: int, row_bytes: float, fill_percent: int) -> int:
    """Return what a table's rows would fill if they stood close."""
    tuple_bytes = _ROW_HEADER_BYTES + _rounded_up(row_bytes, 8) + _ITEM_POINTER_BYTES
    rows_a_page = max(1, int((_PAGE_BYTES - _PAGE_HEADER_BYTES) * fill_percent / 100 / tuple_bytes))
    return math.ceil(rows / rows_a_page) * _PAGE_BYTES


def index_bytes(
    rows: int, columns: Sequence[IndexedColumn], fill_percent: int, *, has_posting_lists: bool
) -> int:
    """Return what a B-tree over so many rows would take if it were built now.

    Columns are taken to vary independently, so that there are rather too many different keys: the estimate is
    too large rather than too small, and an index that is sound isn't called bloated.
    """
    key_bytes = _key_bytes(columns)
    keys = float(rows)
    if has_posting_lists:
        keys = min(keys, math.prod(column.distinct(rows) for column in columns))
        rows_a_list = max(1.0, (_POSTING_LIST_BYTES - key_bytes) / _POSTED_ROW_BYTES)
        keys = max(keys, rows / rows_a_list)
    # As if rows met keys at random: then this many keys have more than one row.
    lists = keys * (1 - keys / rows) if rows else 0.0
    filled = (
        keys * (key_bytes + _ITEM_POINTER_BYTES) + (rows - keys) * _POSTED_ROW_BYTES + lists * _LIST_BYTES
    )
    leaves = max(1, math.ceil(filled / (_LEAF_BYTES * fill_percent / 100)))
    return (1 + leaves + math.ceil(leaves * _UPPER_PAGES_SHARE)) * _PAGE_BYTES


def _key_bytes(columns: Sequence[IndexedColumn]) -> float:
    """Return the bytes of an average index tuple, over all the ways in which its columns may be null."""
    average = 0.0
    for is_null in itertools.product((False, True), repeat=len(columns)):
        share = math.prod(
            column.null_share if null else 1 - column.null_share
            for column, null in zip(columns, is_null, strict=True)
        )
        present = [column for column, null in zip(columns, is_null, strict=True) if not null]
        header = _KEY_HEADER_BYTES + (_NULLS_BYTES if any(is_null) else 0)
        average += share * (header + _values_bytes(present))
    return average


def _values_bytes(columns: Sequence[IndexedColumn]) -> float:
    """Return the bytes of values, each from its own boundary on; a tuple ends at eight bytes."""
    at = 0
    for column in columns:
        at = _rounded_up(at, column.alignment) + column.width
    # Where lengths vary, so does what is lost at the end: half a step, on average.
    return at + 3.5 if any(column.varies for column in columns) else _rounded_up(at, 8)


def _rounded_up(size_bytes: float, step: int) -> int:
    return math.ceil(size_bytes / step) * step
