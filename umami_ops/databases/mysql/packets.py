"""Rows of one value, out of the packets in which MySQL and MariaDB send them, many at a time.

The driver's own way makes several objects of each row, which takes four times as long. The format is that of
the protocol's text rows: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

#: A packet of this size goes on in the next one.
_FULL_BYTES = 0xFFFFFF
#: First bytes: of a value's length in 2, 3 or 8 bytes behind it; and of an error.
_LONG, _LONGER, _LONGEST, _ERROR = 0xFC, 0xFD, 0xFE, 0xFF
_END_BYTES = 9


class ErrorPacket(Exception):  # noqa: N818 -- what the server says, not a fault of ours
    """The server ended the rows with an error, whose packet this is."""

    def __init__(self, packet: bytes) -> None:
        super().__init__()
        self.packet = packet


class OutOfStep(Exception):  # noqa: N818
    """A packet has another number than its turn: the server is going away."""


class Packets:
    """What comes from a server from the first row on; `number` is that of the next packet."""

    def __init__(self, read: Callable[[int], bytes], number: int) -> None:
        self._read = read
        self.number = number

    def pieces(self, least_bytes: int) -> Iterator[tuple[bytes, int]]:
        """Yield values as lines, in pieces of at least so many bytes, with how many they are.

        Raises ErrorPacket, OutOfStep, and whatever reading raises. No value may be NULL.
        """
        held: list[bytes] = []
        held_bytes = 0
        while True:
            packet = self._next()
            first = packet[0]
            if first < _LONG:
                held.append(packet[1:])
            elif first == _LONG:
                held.append(packet[3:])
            elif first == _LONGER:
                held.append(packet[4:])
            elif first == _LONGEST and len(packet) >= _END_BYTES:
                held.append(packet[9:])
            elif first == _ERROR:
                raise ErrorPacket(packet)
            else:
                break
            held_bytes += len(packet)
            if held_bytes >= least_bytes:
                yield b"\n".join(held) + b"\n", len(held)
                held, held_bytes = [], 0
        if held:
            yield b"\n".join(held) + b"\n", len(held)

    def _next(self) -> bytes:
        packet = b""
        while True:
            header = self._read(4)
            if header[3] != self.number:
                raise OutOfStep
            self.number = (self.number + 1) & 0xFF
            size_bytes = header[0] | header[1] << 8 | header[2] << 16
            part = self._read(size_bytes)
            if size_bytes < _FULL_BYTES:
                return packet + part if packet else part
            packet += part
