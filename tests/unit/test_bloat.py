"""The size that an index would have: posting lists, alignment, nulls. Real indexes: test_vacuum.py."""

from __future__ import annotations

import pytest

from umami_ops.databases.postgresql.bloat import IndexedColumn, index_bytes, table_bytes

_ID = IndexedColumn(width=16, alignment=1, varies=False, null_share=0, distinct_values=-1)
_WEBSITE = IndexedColumn(width=16, alignment=1, varies=False, null_share=0, distinct_values=3)
_ROWS = 1_000_000


def _index(*columns: IndexedColumn, has_posting_lists: bool = True, rows: int = _ROWS) -> int:
    return index_bytes(rows, columns, 90, has_posting_lists=has_posting_lists)


def test_a_unique_id_takes_28_bytes_a_row() -> None:
    # Header 8, id 16, pointer 4; pages nine tenths full.
    assert _index(_ID) == pytest.approx(_ROWS * 28 / 0.9, rel=0.02)


def test_rows_of_one_website_take_six_bytes_each() -> None:
    assert _index(_WEBSITE) == pytest.approx(_ROWS * 6.2 / 0.9, rel=0.05)
    assert _index(_WEBSITE, has_posting_lists=False) == _index(_ID)


def test_values_begin_at_their_boundary() -> None:
    odd = IndexedColumn(width=1, alignment=1, varies=False, null_share=0, distinct_values=-1)
    time = IndexedColumn(width=8, alignment=8, varies=False, null_share=0, distinct_values=-1)
    # 1 and 8 bytes take 16, as the second begins at the eighth.
    assert _index(odd, time) == _index(_ID)


def test_null_takes_a_bitmap_and_no_value() -> None:
    tag = IndexedColumn(width=40, alignment=1, varies=True, null_share=1, distinct_values=0)
    assert _index(_ID, tag) == pytest.approx(_ROWS * (28 + 8) / 0.9, rel=0.02)


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_the_smallest_index_has_two_pages_and_its_root(rows: int) -> None:
    assert _index(_ID, rows=rows) <= 3 * 8192


def test_a_table_of_narrow_rows() -> None:
    # Header 24, 96 of values, pointer 4: 65 rows a page.
    assert table_bytes(65_000, 96, 100) == pytest.approx(1_000 * 8192, rel=0.02)
    assert table_bytes(0, 96, 100) == 0
