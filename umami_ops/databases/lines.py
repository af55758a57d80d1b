"""Rows and values out of the bytes that travel (`databases/transit.py`): for who must look inside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from umami_ops.databases.transit import NULL


def lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield rows without their newlines, out of bytes cut wherever.

    A newline ends a row where the quotes before it are even.
    """
    begun = b""
    for piece in pieces:
        *whole, rest = piece.split(b"\n")
        for part in whole:
            line = begun + part
            if line.count(b'"') & 1:
                begun = line + b"\n"
            else:
                yield line
                begun = b""
        begun += rest
    if begun:
        yield begun


def whole(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes, cut behind rows only."""
    held = b""
    for piece in pieces:
        held += piece
        end = held.rfind(b"\n")
        while end >= 0 and held.count(b'"', 0, end) & 1:  # a newline inside of a value
            end = held.rfind(b"\n", 0, end)
        if end >= 0:
            yield held[: end + 1]
            held = held[end + 1 :]
    if held:
        yield held


def fields(line: bytes) -> Iterator[bytes]:
    """Yield what stands between the commas of a row, quotes and all."""
    begun = b""
    for part in line.split(b","):
        begun += part
        if begun.count(b'"') & 1:
            begun += b","
            continue
        yield begun
        begun = b""


def values(line: bytes) -> list[str | None]:
    """Return the values of a row, None for NULL."""
    return [_value(field) for field in fields(line)]


def _value(field: bytes) -> str | None:
    if field == NULL:
        return None
    return (field[1:-1].replace(b'""', b'"') if field.startswith(b'"') else field).decode()
