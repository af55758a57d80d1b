"""The daemon's log: a line an event, for people on a terminal, else JSON. No secret passes."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

from umami_ops.redaction import Redaction


class Log:
    """Writes events to a stream, stderr by default; safe to use from several threads."""

    def __init__(self, stream: TextIO | None = None, *, as_json: bool | None = None) -> None:
        self._stream = stream or sys.stderr
        self._as_json = not self._stream.isatty() if as_json is None else as_json
        self._mutex = threading.Lock()
        self.redact = Redaction()

    def info(self, event: str, message: str, **fields: Any) -> None:
        """Tell what happens."""
        self._write("info", event, message, fields)

    def warning(self, event: str, message: str, **fields: Any) -> None:
        """Tell what somebody may want to look at."""
        self._write("warning", event, message, fields)

    def error(self, event: str, message: str, **fields: Any) -> None:
        """Tell what went wrong."""
        self._write("error", event, message, fields)

    def _write(self, level: str, event: str, message: str, fields: dict[str, Any]) -> None:
        now = datetime.now(UTC)
        if self._as_json:
            time = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            document = {"time": time, "level": level, "event": event, "message": message, **fields}
            # Redacted before it is JSON: in there a secret may look otherwise, and a quote could be lost.
            line = json.dumps(self.redact.document(document), ensure_ascii=False, default=str)
        else:
            sign = {"info": " ", "warning": "!", "error": "✗"}[level]
            # A line is one event, whatever a program has said.
            stamp = f"{now.astimezone():%Y-%m-%d %H:%M:%S} {sign} "
            # Redacted first: a secret that is broken in two would not be found.
            line = self._folded(stamp + self.redact(" ".join(message.split())), len(stamp))
        with self._mutex, suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    def _folded(self, line: str, indent: int) -> str:
        """Break a line between words for a terminal, set in from the second on; nowhere else."""
        if not self._stream.isatty():
            return line
        return textwrap.fill(
            line,
            shutil.get_terminal_size().columns,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
