"""The sessions of one run, handed on from step to step: to open one takes longer than many a step."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from umami_ops.databases.base import Connection, Database
from umami_ops.errors import OpsError


class Sessions:
    """Gives workers their sessions, keeps those that come back for the next step, and closes them at the end.

    Workers of several threads may take and give back at a time.
    """

    def __init__(self, database: Database, purpose: str) -> None:
        self._database = database
        self._purpose = purpose
        self._idle: list[Connection] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _fault: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def take(self) -> Connection:
        """Return a session that was given back, or else a new one with the settings of workers."""
        try:
            return self._idle.pop()
        except IndexError:
            return self.open()

    def open(self) -> Connection:
        """Return a new session with the settings of workers. Raises as `Database.connect`."""
        connection = self._database.connect(purpose=self._purpose)
        try:
            connection.run(connection.dialect.queries["prune.worker_settings"])
        except OpsError:
            connection.close()
            raise
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep a session that is sound, outside a transaction and without tables of its own."""
        self._idle.append(connection)
