"""Databases created and dropped on a server, by its administrator. Knows nothing of how the server runs."""

from __future__ import annotations

import re
import secrets
from typing import Any, Literal, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

import psycopg
import pymysql
from psycopg import sql
from pymysql.constants import ER

# Tests work as an ordinary owner, as Umami does: what needs a superuser then fails where it should.
OWNER = "umami_ops_test"


class Databases(Protocol):
    """What an administrator does on one server; every call opens a connection of its own."""

    def version(self) -> tuple[Literal["postgresql", "mysql", "mariadb"], str]:
        """The server's flavour and version number."""

    def answers(self) -> bool:
        """Whether the administrator can connect now."""

    def create(self, name: str | None, template: str | None) -> str:
        """Create a database that `OWNER` owns; returns its URL."""

    def drop(self, name: str) -> None:
        """Drop a database, with its connections."""


def administer(admin_url: str) -> Databases:
    """The databases of the server at `admin_url`, by the URL's scheme."""
    scheme = urlsplit(admin_url).scheme
    if scheme in ("postgresql", "postgres"):
        return PostgresqlDatabases(admin_url)
    if scheme in ("mysql", "mariadb"):
        return MysqlDatabases(admin_url)
    raise ValueError(f"{scheme!r} is not the scheme of a server this harness knows")


def _owner_url(admin: SplitResult, name: str) -> str:
    # The owner has the administrator's password: no second secret to keep, the same in every run.
    address = admin.netloc.rpartition("@")[2]
    return admin._replace(netloc=f"{OWNER}:{admin.password}@{address}", path=f"/{name}").geturl()


def _fresh_name() -> str:
    return f"test_{secrets.token_hex(6)}"


class PostgresqlDatabases:
    """Databases of a PostgreSQL server."""

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url
        self._admin = urlsplit(admin_url)

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self._admin_url, autocommit=True, connect_timeout=10)

    def version(self) -> tuple[Literal["postgresql"], str]:
        """The flavour and the version number."""
        with self._connect() as connection:
            row = connection.execute("SHOW server_version").fetchone()
        assert row is not None
        return "postgresql", str(row[0]).split()[0]

    def answers(self) -> bool:
        """Whether the administrator can connect now."""
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def create(self, name: str | None, template: str | None) -> str:
        """Create a database that `OWNER` owns, as a copy of `template` where one is named."""
        name = name or _fresh_name()
        owner = sql.Identifier(OWNER)
        with self._connect() as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [OWNER]).fetchone():
                password = sql.Literal(unquote(self._admin.password or ""))
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(owner, password))
            statement = sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), owner)
            if template:
                # WAL_LOG needs no checkpoint, which is what a copy of a small database would wait for.
                copy = sql.SQL("TEMPLATE {} STRATEGY WAL_LOG").format(sql.Identifier(template))
                statement = sql.SQL(" ").join([statement, copy])
            connection.execute(statement)
        return _owner_url(self._admin, name)

    def drop(self, name: str) -> None:
        """Drop a database, with its connections."""
        with self._connect() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


class MysqlDatabases:
    """Databases of a MySQL or MariaDB server."""

    def __init__(self, admin_url: str) -> None:
        self._admin = urlsplit(admin_url)

    def _connect(self) -> pymysql.Connection[Any]:
        return pymysql.connect(
            host=self._admin.hostname,
            port=self._admin.port or 3306,
            user=unquote(self._admin.username or "root"),
            password=unquote(self._admin.password or ""),
            charset="utf8mb4",
            connect_timeout=10,
            autocommit=True,
        )

    def version(self) -> tuple[Literal["mysql", "mariadb"], str]:
        """The flavour and the version number."""
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT VERSION()")
            row = cursor.fetchone()
        assert row is not None
        number = re.match(r"[\d.]+", row[0])
        assert number is not None
        return ("mariadb" if "MariaDB" in row[0] else "mysql"), number[0]

    def answers(self) -> bool:
        """Whether the administrator can connect now; a refused password will not be right later."""
        access_denied = 1045
        try:
            self._connect().close()
        except pymysql.err.OperationalError as error:
            if error.args[0] == access_denied:
                raise
            return False
        return True

    def create(self, name: str | None, template: str | None) -> str:
        """Create a database that `OWNER` may do everything in; MySQL has no templates."""
        if template:
            raise ValueError(f"MySQL and MariaDB cannot copy a database, so not {template!r}")
        name = name or _fresh_name()
        with self._connect() as connection, connection.cursor() as cursor:
            password = unquote(self._admin.password or "")
            cursor.execute(f"CREATE USER IF NOT EXISTS {OWNER}@'%%' IDENTIFIED BY %s", [password])
            # Named, because MariaDB before 11.6 would take latin1.
            cursor.execute(f"CREATE DATABASE {_quoted(name)} CHARACTER SET utf8mb4")
            # In GRANT, unlike elsewhere, _ and % stand for other characters.
            pattern = re.sub(r"([_%\\])", r"\\\1", name)
            cursor.execute(f"GRANT ALL ON {_quoted(pattern)}.* TO {OWNER}@'%'")
        return _owner_url(self._admin._replace(scheme="mysql"), name)

    def drop(self, name: str) -> None:
        """Drop a database, with its connections: an open transaction would block the drop for ever."""
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute("SHOW PROCESSLIST")
            for session in cursor.fetchall():
                if session[3] == name:
                    self._end_session(cursor, session[0])
            cursor.execute(f"DROP DATABASE IF EXISTS {_quoted(name)}")

    @staticmethod
    def _end_session(cursor: Any, session_id: int) -> None:
        try:
            cursor.execute("KILL %s", [session_id])
        except pymysql.err.MySQLError as error:
            if error.args[0] != ER.NO_SUCH_THREAD:  # it ended by itself meanwhile
                raise


def _quoted(identifier: str) -> str:
    return "`" + identifier.replace("`", "``") + "`"
