"""Servers set up as in production and filled with a plain load; every contender gets the same fresh copy.

The horizon lies exactly half way through the load, at a fixed time: all contenders delete the same rows,
whenever they run, and what they leave can be compared row for row.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import psycopg

from testbed import servers
from testbed.bulk import Loader, connect, load
from testbed.servers import Server, ServerProcess, database_name
from testbed.servers.databases import OWNER
from testbed.umami import build_indexes, create_umami
from testbed.uniform import Uniform
from umami_ops.umami.schema import schema_at

#: The newest levels that both v3 and v2 releases of Umami have.
LEVELS = {"postgresql": 19, "mysql": 13}
#: A sane set-up for production, and the same for every contender. The load takes 2.2 GB in InnoDB, so that it
#: fits into the pool: what is measured is not the disk of the day.
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "postgresql": {
        "shared_buffers": "2GB",
        "max_wal_size": "4GB",
        "random_page_cost": "1.1",
        "checkpoint_timeout": "15min",
    },
    "mysql": {"innodb_buffer_pool_size": "3G", "innodb_redo_log_capacity": "1G"},
    "mariadb": {"innodb_buffer_pool_size": "3G", "innodb_log_file_size": "1G"},
}
# Durable at every commit, and nothing read back behind a contender's back at the server's start.
_INNODB = {
    "innodb_flush_log_at_trx_commit": "1",
    "innodb_buffer_pool_dump_at_shutdown": "OFF",
    "innodb_buffer_pool_load_at_startup": "OFF",
}
TABLES = ("website_event", "event_data", "revenue", "session", "session_data")


@dataclass(frozen=True)
class Size:
    """How much there is to prune: two years of it, of which the older half goes."""

    events: int
    end: datetime = field(
        default_factory=lambda: datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    )

    @property
    def horizon(self) -> datetime:
        """What `--days 365` would be at the load's end."""
        return self.end - timedelta(days=365)

    @property
    def load(self) -> Uniform:
        """Events, a session for every 6.7 of them, event_data for every 3.3."""
        return Uniform(
            start=self.end - timedelta(days=730),
            end=self.end,
            events=self.events,
            sessions=self.events * 15 // 100,
            event_data=self.events * 30 // 100,
        )


class Stage(Protocol):
    """A server whose database comes back as it was, warm, as often as one asks."""

    server: Server
    size: Size

    def fresh(self) -> str:
        """Return the URL of an untouched copy in a warm cache; the copy before it is gone."""

    def copies(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return untouched copies by name, or the same one for every name where there can be only one."""

    def once(self) -> str:
        """Return the URL of the data themselves: for a load that is too big to be copied. Ends `fresh`."""


@contextmanager
def stage(name: str, size: Size) -> Iterator[Stage]:
    """Start the server `name`, fill it, and clear everything away at the end."""
    flavour = servers.KINDS[name].flavour
    settings = {**SETTINGS[flavour], **({} if flavour == "postgresql" else _INNODB)}
    process = servers.process_in(servers.temporary_directory(), name, settings=settings)
    try:
        process.start()
        server = Server.running_on(process, name, "local binaries")
        yield PostgresqlStage(server, size) if flavour == "postgresql" else InnodbStage(server, process, size)
    finally:
        process.close()


def fill(url: str, dialect: str, size: Size) -> None:
    """Make Umami's database with the load, some revenue and some session properties."""
    level = LEVELS[dialect]
    create_umami(url, level, indexes=False)
    with connect(url) as loader:
        load(loader, size.load.batches(schema_at(dialect, level)))
        _add_revenue(loader)
        _add_session_data(loader)
    build_indexes(url, level)


def _add_revenue(loader: Loader) -> None:
    """Every fiftieth event earns something: ids are spread evenly, so a prefix picks a share."""
    loader.execute(
        "INSERT INTO revenue (revenue_id, website_id, session_id, event_id, event_name, currency, revenue,"
        " created_at) SELECT event_id, website_id, session_id, event_id, 'purchase', 'USD', 9.99, created_at"
        " FROM website_event WHERE event_id < '05200000-0000-0000-0000-000000000000'"
    )


def _add_session_data(loader: Loader) -> None:
    """Every fourth session was identified when it began."""
    loader.execute(
        "INSERT INTO session_data (session_data_id, website_id, session_id, data_key, string_value,"
        " data_type, created_at) SELECT session_id, website_id, session_id, 'plan', 'free', 1, created_at"
        " FROM session WHERE session_id < '40000000-0000-0000-0000-000000000000'"
    )


class PostgresqlStage:
    """Copies are made from a template that was vacuumed once, then read into the cache."""

    _TEMPLATE = "benchmark_template"
    _COPY = "benchmark_copy"

    def __init__(self, server: Server, size: Size) -> None:
        self.server = server
        self.size = size
        self._template = server.create_database(self._TEMPLATE)
        fill(self._template, "postgresql", size)
        with psycopg.connect(server.as_admin(self._template), autocommit=True) as admin:
            admin.execute("CREATE EXTENSION pg_prewarm")
            admin.execute("VACUUM (ANALYZE)")

    def fresh(self) -> str:
        """Copy the template's files, flush, and read the copy into the cache."""
        return self._copied(self._COPY)

    def copies(self, names: Sequence[str]) -> Mapping[str, str]:
        """Make a copy for each name."""
        return {name: self._copied(f"{self._COPY}_{number}") for number, name in enumerate(names)}

    def _copied(self, copy: str) -> str:
        with psycopg.connect(self.server.admin_url, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {copy} WITH (FORCE)")
            admin.execute(
                f"CREATE DATABASE {copy} OWNER {OWNER} TEMPLATE {self._TEMPLATE} STRATEGY FILE_COPY"
            )
        url = self._template.replace(self._TEMPLATE, copy)
        with psycopg.connect(self.server.as_admin(url), autocommit=True) as admin:
            admin.execute(
                "SELECT pg_prewarm(oid) FROM pg_class"
                " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')"
            )
            admin.execute("CHECKPOINT")
        return url

    def once(self) -> str:
        """Return the URL of the template itself."""
        return self._template


class InnodbStage:
    """InnoDB has no templates: the stopped server's data directory is copied, then every index is read."""

    def __init__(self, server: Server, process: ServerProcess, size: Size) -> None:
        self.server = server
        self.size = size
        self._process = process
        self._pristine = process.directory / "pristine"
        self._url = server.create_database("benchmark")
        fill(self._url, "mysql", size)

    def fresh(self) -> str:
        """Stop the server, put the data back, start it, and read every index into the buffer pool."""
        self._process.stop()
        if self._pristine.exists():
            shutil.rmtree(self._process.data)
            _copy(self._pristine, self._process.data)
        else:
            _copy(self._process.data, self._pristine)
        self._process.start()
        _read_every_index(self._url)
        return self._url

    def copies(self, names: Sequence[str]) -> Mapping[str, str]:
        """Make one copy for all."""
        return dict.fromkeys(names, self.fresh())

    def once(self) -> str:
        """Return the URL of the database as it was loaded."""
        return self._url


def _copy(source: Path, target: Path) -> None:
    """Copy a directory, sharing blocks where the file system can, and wait for the disk."""
    subprocess.run(["cp", "-a", "--reflink=auto", source, target], check=True)
    subprocess.run(["sync", "-f", target], check=True)


def _read_every_index(url: str) -> None:
    with connect(url) as loader:
        found = loader.execute(
            "SELECT DISTINCT table_name, index_name FROM information_schema.statistics"
            f" WHERE table_schema = '{database_name(url)}'"
        )
        for table, index in found:
            loader.execute(f"SELECT COUNT(*) FROM `{table}` FORCE INDEX (`{index}`)")


def rows_left(url: str) -> dict[str, int]:
    """Count what a contender left, table by table."""
    with connect(url) as loader:
        return {table: int(loader.execute(f"SELECT COUNT(*) FROM {table}")[0][0]) for table in TABLES}
