"""Rows found again in bytes that were cut anywhere."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from umami_ops.databases.lines import lines, whole

_VALUES = st.text(alphabet='a,"\n', max_size=6)
_ROWS = st.lists(st.lists(_VALUES, min_size=1, max_size=3), max_size=8)


def _line(row: list[str]) -> bytes:
    return ",".join(f'"{value.replace(chr(34), chr(34) * 2)}"' for value in row).encode()


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[begin:end] for begin, end in zip(ends, ends[1:], strict=False)]


@given(_ROWS, st.lists(st.integers(0, 200), max_size=8))
def test_pieces_are_cut_behind_rows_only(rows: list[list[str]], places: list[int]) -> None:
    written = [_line(row) for row in rows]
    data = b"".join(line + b"\n" for line in written)
    pieces = list(whole(_cut(data, places)))
    assert b"".join(pieces) == data
    assert [line for piece in pieces for line in lines([piece])] == written
    assert list(lines(_cut(data, places))) == written
