"""Reads now and then how the database is, for the status page and the metrics: by commands, as a person
would.
"""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from umami_ops.daemon.child import Child
from umami_ops.daemon.guard import Role
from umami_ops.daemon.history import History
from umami_ops.daemon.log import Log
from umami_ops.daemon.records import DatabaseSize
from umami_ops.daemon.runner import Program

#: What is read: the name that it is kept under, and the command line.
READINGS = {"health": ("health", "--format", "json"), "info": ("info", "--json")}
_LONGEST_SECONDS = 120.0


class Observer:
    """Reads in a thread, each time in processes of their own."""

    def __init__(
        self,
        history: History,
        log: Log,
        program: Callable[[], Program],
        role: Callable[[], Role],
        every_seconds: Callable[[], float],
    ) -> None:
        self._history = history
        self._log = log
        self._program = program
        self._role = role
        self._every_seconds = every_seconds
        self._ending = threading.Event()
        self._now = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="observer", daemon=True)
        self._reader = Child()
        self._has_failed = False

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def look(self) -> None:
        """Read soon: the database is there again."""
        self._now.set()

    def stop(self) -> None:
        """End reading."""
        self._ending.set()
        self._now.set()
        self._reader.end(signal.SIGTERM)
        self._thread.join(timeout=1)

    def _watch(self) -> None:
        while not self._ending.is_set():
            every = self._every_seconds()
            if every and self._role() is not Role.AWAY:
                self._read()
            self._now.wait(every or 60.0)
            self._now.clear()

    def _read(self) -> None:
        for kind, arguments in READINGS.items():
            document = self._document(arguments)
            if self._ending.is_set():
                return
            if document is not None:
                self._history.keep(kind, document, datetime.now(UTC))
                if kind == "info":
                    self._keep_size(document)

    def _document(self, arguments: tuple[str, ...]) -> Any:
        program = self._program()
        try:
            _, printed = self._reader.run(
                [*program.words, *arguments], _LONGEST_SECONDS, environment=program.environment
            )
            document = json.loads(printed)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            if not self._has_failed and not self._ending.is_set():
                self._has_failed = True
                self._log.warning(
                    "not_examined", f"`umami-ops {arguments[0]}` could not be read", command=arguments[0]
                )
            return None
        self._has_failed = False
        return document

    def _keep_size(self, document: Any) -> None:
        totals = document.get("totals")
        if totals:
            events = [table["rows"] for table in document["tables"] if table["name"] == "website_event"]
            size = DatabaseSize(
                datetime.now(UTC), totals["table_bytes"], totals["index_bytes"], events[0] if events else None
            )
            self._history.add_size(size)
