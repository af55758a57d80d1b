"""The composition root: the one place that picks a concrete database, by the scheme of a URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from umami_ops.databases.base import Database
from umami_ops.databases.url import DatabaseUrl


def open_database(url: DatabaseUrl) -> Database:
    """Return the database behind a URL; connects to nothing. Drivers are imported here, not before."""
    if url.dialect == "postgresql":
        from umami_ops.databases.postgresql.connection import PostgresqlDatabase

        return PostgresqlDatabase(url)
    from umami_ops.databases.mysql.connection import MysqlDatabase

    return MysqlDatabase(url)


@contextmanager
def embedded_database() -> Iterator[Database]:
    """Run a server of our own until the block ends. Raises Refused where none can run here."""
    from umami_ops.databases.postgresql.embedded import embedded_server

    with embedded_server() as url:
        yield open_database(url)
