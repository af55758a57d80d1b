"""The composition root: the one place that picks a concrete database, by the scheme of a URL."""

from __future__ import annotations

from umami_ops.databases.base import Database
from umami_ops.databases.url import DatabaseUrl


def open_database(url: DatabaseUrl) -> Database:
    """Return the database behind a URL; connects to nothing. Drivers are imported here, not before."""
    if url.dialect == "postgresql":
        from umami_ops.databases.postgresql.connection import PostgresqlDatabase

        return PostgresqlDatabase(url)
    from umami_ops.databases.mysql.connection import MysqlDatabase

    return MysqlDatabase(url)
