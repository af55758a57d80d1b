"""stdout and stderr as they really are: closed, full, without a reader, or of an encoding that lacks letters.

Results are what was asked for: that they can't be written is a failure, `OutputFault`. Talk is not: a prune
goes on when its progress can't be shown.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import IO, Any, TextIO

#: What stands in for a sign that the encoding of the terminal lacks.
_PLAIN = {"→": "->", "–": "-", "—": "-", "…": "...", "·": "-", "•": "*", "✗": "x", "×": "x"}
_ERRORS = "umami_ops"


class OutputFault(OSError):
    """The output could not be written: the disk is full, say. Further output is thrown away, in silence."""


class ReaderGone(OutputFault, BrokenPipeError):
    """Nobody reads the output any more (`| head`), which is no reason for complaints."""


class _Results(io.FileIO):
    """Where results go. After a failed write nothing fails again, at the end of the process neither."""

    _is_lost = False

    def write(self, data: Any, /) -> int:
        if self._is_lost:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as fault:
            self._is_lost = True
            kind = ReaderGone if isinstance(fault, BrokenPipeError) else OutputFault
            raise kind(fault.errno, fault.strerror) from None


class _Talk(io.FileIO):
    """Where talk goes, or not."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def prepare() -> None:
    """Put streams in place that fail in one known way; closed ones become /dev/null."""
    # In this order, since each takes the lowest number that is free: so no connection becomes "stdout".
    # What was closed on purpose stays open to the end of the process.
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123
    sys.stdout = _wrapped(sys.stdout, _Results)
    sys.stderr = _wrapped(sys.stderr, _Talk)


def _wrapped(stream: TextIO | None, kind: type[io.FileIO]) -> TextIO:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    # Anything else was put there by somebody who calls us from Python, and stays.
    if not isinstance(stream, io.TextIOWrapper) or isinstance(getattr(stream.buffer, "raw", None), kind):
        return stream
    try:
        number = stream.fileno()
    except OSError:
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(kind(number, "w", closefd=False)),
        encoding=stream.encoding,
        errors=_ERRORS,
        line_buffering=stream.line_buffering,
    )


def flush() -> None:
    """Write what stdout has kept. Raises OutputFault when that fails."""
    sys.stdout.flush()


def is_unicode(stream: IO[str]) -> bool:
    """Say whether the stream takes every letter."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "").startswith("utf")


def encodable(text: str) -> str:
    """Return text as stdout can write it, so that its width is known before it is laid out."""
    if is_unicode(sys.stdout):
        return text
    return text.encode(sys.stdout.encoding, _ERRORS).decode(sys.stdout.encoding)


def _fall_back(fault: UnicodeError) -> tuple[str | bytes, int]:
    """Write signs that the encoding lacks in plainer ones, letters as escapes."""
    if not isinstance(fault, UnicodeEncodeError):
        raise fault
    lacking = fault.object[fault.start : fault.end]
    plain = (_PLAIN.get(sign) or sign.encode("ascii", "backslashreplace").decode("ascii") for sign in lacking)
    return "".join(plain), fault.end


codecs.register_error(_ERRORS, _fall_back)
