"""Rows of one value out of MySQL's packets."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umami_ops.databases.mysql.packets import ErrorPacket, OutOfStep, Packets

_FULL = 0xFFFFFF
_END = b"\xfe\0\0\2\0"


def _packets(payloads: list[bytes], number: int = 0) -> io.BytesIO:
    """As a server sends them: a payload of 16 MB or more in several."""
    sent = io.BytesIO()
    for payload in payloads:
        parts = [payload[at : at + _FULL] for at in range(0, len(payload) + 1, _FULL)]
        for part in parts:
            sent.write(len(part).to_bytes(3, "little") + bytes([number & 0xFF]) + part)
            number += 1
    sent.seek(0)
    return sent


def _row(value: bytes) -> bytes:
    size = len(value)
    if size < 251:
        return bytes([size]) + value
    for mark, width in ((0xFC, 2), (0xFD, 3), (0xFE, 8)):
        if size < 1 << 8 * width:
            return bytes([mark]) + size.to_bytes(width, "little") + value
    raise AssertionError


@given(
    values=st.lists(st.builds(bytes.__mul__, st.binary(min_size=1, max_size=4), st.integers(0, 30_000))),
    number=st.integers(0, 255),
    least=st.integers(1, 100_000),
)
def test_values_come_as_lines(values: list[bytes], number: int, least: int) -> None:
    packets = Packets(_packets([*map(_row, values), _END], number).read, number)
    found = list(packets.pieces(least))
    assert b"".join(piece for piece, _ in found) == b"".join(value + b"\n" for value in values)
    assert sum(rows for _, rows in found) == len(values)
    assert packets.number == (number + len(values) + 1) % 256


@pytest.mark.parametrize(
    "size", [250, 251, 65_535, 65_536, _FULL - 10, _FULL - 4, _FULL - 9, _FULL, 2 * _FULL]
)
def test_a_value_of_any_length(size: int) -> None:
    values = [b"a", b"x" * size, b"z"]
    found = list(Packets(_packets([*map(_row, values), _END]).read, 0).pieces(1))
    assert [piece[:-1] for piece, _ in found] == values


def test_an_error_ends_the_rows() -> None:
    error = b"\xff\x25\x05#70100Query execution was interrupted"
    packets = Packets(_packets([_row(b"a"), error]).read, 0).pieces(1)
    assert next(packets) == (b"a\n", 1)
    with pytest.raises(ErrorPacket) as caught:
        next(packets)
    assert caught.value.packet == error


def test_a_packet_out_of_its_turn_is_no_row() -> None:
    with pytest.raises(OutOfStep):
        list(Packets(_packets([_row(b"a"), _END], number=7).read, 6).pieces(1))
