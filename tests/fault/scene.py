"""A database in the middle of which a prune is interrupted, and what must hold afterwards."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from testbed.bulk import Loader, connect
from testbed.servers import Server
from testbed.sessions import PROCESSLIST, wait_until_alone
from testbed.traffic import Traffic, populate
from testbed.umami import build_indexes, create_umami
from tests import pruning
from tests.oracle import TABLES, half_deleted, survivors
from tests.process import Process
from umami_ops.operations.prune import Retention
from umami_ops.umami.migrations import latest_released_level
from umami_ops.umami.schema import Schema

START, END = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC)
HORIZON = datetime(2025, 4, 20, tzinfo=UTC)
RETENTION = Retention(horizon=HORIZON)


@dataclass(frozen=True)
class Scene:
    """A database with `before` in it, of which a prune leaves `expected`."""

    server: Server
    url: str
    schema: Schema
    before: dict[str, list[dict[str, Any]]]

    def again(self) -> Scene:
        """Return the same rows in a new database of the same server."""
        return scene_on(self.server, len(self.before["website_event"]))

    @cached_property
    def expected(self) -> pruning.Keys:
        return pruning.keys_in(survivors(self.before, pruning.rules_of(RETENTION)), self.schema)

    @cached_property
    def doomed(self) -> int:
        """How many rows go in all."""
        return sum(len(rows) for rows in self.before.values()) - sum(map(len, self.expected.values()))

    def prune(self, *arguments: str) -> Process:
        """Begin a prune in small batches, so that there is a middle to interrupt."""
        command = ("prune", "--before", HORIZON.isoformat(), "--yes", "--json")
        return Process(*command, *(arguments or ("--batch-size", "25", "--pause", "0.02s")), url=self.url)

    def rows_left(self, loader: Loader) -> int:
        """Count the rows of all tables, now."""
        names = [name for name in TABLES if name in self.schema]
        counts = " + ".join(f"(SELECT COUNT(*) FROM {pruning.quoted(loader, name)})" for name in names)
        ((number,),) = loader.execute(f"SELECT {counts}")
        loader.commit()
        return int(number)

    def rows_left_now(self) -> int:
        """Count them in a session of its own."""
        with connect(self.url) as loader:
            return self.rows_left(loader)

    def wait_until_gone(self, share: float, run: Process) -> None:
        """Return as soon as this share of what goes has gone, or the run is over."""
        total = sum(len(rows) for rows in self.before.values())
        with connect(self.url) as loader:
            while self.rows_left(loader) > total - share * self.doomed and not run.is_over:
                pass

    def wait_until_alone(self) -> None:
        """Return when the server has noticed that a killed client is gone, and rolled back for it."""
        wait_until_alone(self.server, self.url)

    def assert_nothing_is_half_deleted(self) -> None:
        assert half_deleted(self.before, pruning.read_rows(self.url, self.schema)) == []

    def assert_done(self) -> None:
        with connect(self.url) as loader:
            assert pruning.keys_of(loader, self.schema) == self.expected

    def finish(self) -> None:
        """Prune once more, which must reach the end."""
        ended = self.prune("--jobs", "2").wait()
        assert ended.code == 0, ended.said
        self.assert_done()


def scene_on(server: Server, events: int, level: int | None = None) -> Scene:
    """Make a database on a server, with traffic of which more than half is past the horizon."""
    url = server.create_database()
    level = level or latest_released_level(server.dialect)
    create_umami(url, level, indexes=False)
    populate(url, Traffic(START, END, seed=9, events=events), level)
    build_indexes(url, level)
    schema = pruning.schema_of(url, level)
    return Scene(server, url, schema, pruning.read_rows(url, schema))


def sessions_that_wait(loader: Loader) -> list[int]:
    """Return the ids of the run's sessions that wait for a row which another session has locked."""
    # InnoDB shows the same picture again and again to who looks more often than every tenth of a second.
    time.sleep(0.12)
    waiting = (
        "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        "AND application_name = 'umami-ops prune' AND datname = current_database()"
        if loader.dialect == "postgresql"
        else "SELECT p.id FROM information_schema.innodb_trx AS t "
        f"JOIN {PROCESSLIST} AS p ON p.id = t.trx_mysql_thread_id "
        "WHERE t.trx_state = 'LOCK WAIT' AND p.db = DATABASE()"
    )
    found = [int(id_) for (id_,) in loader.execute(waiting)]
    loader.commit()
    return found
