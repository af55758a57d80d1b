"""Several sessions that look at one moment of a database, all of them read-only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from umami_ops.databases.base import Connection, Database, Introspector
from umami_ops.databases.transit import Moment
from umami_ops.transfer.schema import OURS_PREFIX, PRISMA_TABLE


def state_of(connection: Connection) -> str:
    """Return a mark of the schema and of Prisma's records; any migration changes it, begun or ended."""
    description = connection.transit().describe()
    has_records = description.table(PRISMA_TABLE) is not None
    records = Introspector(connection).prisma_migrations() if has_records else []
    theirs = [table for table in description.tables if not table.name.startswith(OURS_PREFIX)]
    return hashlib.sha256(repr((theirs, records)).encode()).hexdigest()


class Snapshot:
    """Sessions in read-only transactions that all see the same moment, until the block ends.

    PostgreSQL: an exported snapshot; what rewrites or drops a table waits for its end. MySQL and MariaDB: the
    tables are locked against writes for as long as it takes to begin the transactions; where that isn't
    allowed, or writers don't let go within some ten seconds, there is one session (`is_shared` is False).
    Nothing is ever written through these sessions.
    """

    def __init__(self, database: Database, tables: Sequence[str], sessions: int, purpose: str) -> None:
        self._database = database
        self._tables = tables
        self._wanted = sessions
        self._purpose = purpose
        self._moment: Moment | None = None
        self.connections: list[Connection] = []

    def __enter__(self) -> Self:
        self._keeper = self._database.connect(f"umami-ops {self._purpose} (snapshot)")
        try:
            # Before writers are held up: they are to wait for no handshake.
            for _ in range(self._wanted):
                self.connections.append(self._opened())
            ready = [connection.transit() for connection in self.connections]
            self._freezing = self._keeper.transit().freeze(self._tables)
            self._moment = self._freezing.__enter__()
            if self._moment is None:
                self._close_all_but_one()
            for transit in ready[: len(self.connections)]:
                transit.begin_at(self._moment)
            # A moment with a name lives as long as the session that named it; a lock must go at once.
            if self._moment is None or self._moment.token is None:
                self._freezing.__exit__(None, None, None)
        except BaseException:
            self._close()
            raise
        return self

    @property
    def is_shared(self) -> bool:
        """Whether more sessions than one can see this moment."""
        return self._moment is not None

    @property
    def has_name(self) -> bool:
        """Whether a session that is lost can be replaced by one that sees the same moment."""
        return self._moment is not None and self._moment.token is not None

    def renew(self, lost: Connection) -> Connection:
        """Replace a session that broke: at the same moment where that has a name, else at this one."""
        lost.close()
        fresh = self._opened()
        fresh.transit().begin_at(self._moment)
        self.connections[self.connections.index(lost)] = fresh
        return fresh

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _opened(self) -> Connection:
        return self._database.connect(f"umami-ops {self._purpose}")

    def _close_all_but_one(self) -> None:
        for connection in self.connections[1:]:
            connection.close()
        del self.connections[1:]

    def _close(self) -> None:
        for connection in (*self.connections, self._keeper):
            connection.close()
