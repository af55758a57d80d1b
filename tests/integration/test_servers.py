"""The harness itself: servers start, answer, survive restarts and kills, and are private to us."""

from __future__ import annotations

import os
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pymysql
import pytest

from testbed import servers
from testbed.servers import Server, ServerError, ServerProcess


def connect(url: str, **options: Any) -> Any:
    """A connection of the URL's dialect, that commits each statement."""
    parts = urlsplit(url)
    if parts.scheme == "postgresql":
        return psycopg.connect(url, autocommit=True, **options)
    return pymysql.connect(
        host=parts.hostname,
        port=parts.port or 3306,
        user=parts.username,
        password=parts.password or "",
        database=parts.path.removeprefix("/"),
        autocommit=True,
        **options,
    )


def query(url: str, statement: str) -> Any:
    """The first value that `statement` returns."""
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


def execute(url: str, *statements: str) -> None:
    """Run statements, each committed."""
    with connect(url) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def test_version_is_of_the_kind_asked_for(server: Server) -> None:
    kind = servers.KINDS[server.name]
    assert (server.dialect, server.flavour) == (kind.dialect, kind.flavour)
    assert server.version.split(".")[0] in kind.majors
    assert servers.get(server.name) is server


def test_database_is_empty_and_its_user_owns_it(server: Server, database_url: str) -> None:
    execute(database_url, "CREATE TABLE t (a integer)", "INSERT INTO t VALUES (7)")
    assert query(database_url, "SELECT a FROM t") == 7
    assert query(server.as_admin(database_url), "SELECT a FROM t") == 7


def test_database_can_be_dropped_under_an_open_transaction(server: Server) -> None:
    url = server.create_database("short_lived")
    with closing(connect(url)) as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE t (a integer)")
        cursor.execute("BEGIN")
        cursor.execute("SELECT a FROM t")
        server.drop_database(url)
    with pytest.raises((psycopg.OperationalError, pymysql.err.OperationalError)):
        connect(url)


def test_template_is_copied(postgresql_server: Server) -> None:
    template = postgresql_server.create_database()
    execute(template, "CREATE TABLE t (a integer)", "INSERT INTO t VALUES (7)")
    url = postgresql_server.create_database(template=servers.database_name(template))
    execute(url, "UPDATE t SET a = 8")
    assert (query(url, "SELECT a FROM t"), query(template, "SELECT a FROM t")) == (8, 7)
    postgresql_server.drop_database(url)
    postgresql_server.drop_database(template)


def test_mysql_refuses_a_template(mysql_server: Server) -> None:
    with pytest.raises(ValueError, match="cannot copy"):
        mysql_server.create_database(template="mysql")


def test_server_given_by_url_is_used_but_not_stopped(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(servers.KINDS[server.name].variable, server.admin_url)
    source = servers.find.__wrapped__(server.name)
    given = Server.running_on(source.start({}, False), server.name, source.origin)
    assert (given.version, given.origin) == (server.version, servers.KINDS[server.name].variable)
    with pytest.raises(ServerError, match="not ours"):
        given.stop()


def test_url_of_another_kind_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    other = next(kind for kind in servers.KINDS.values() if kind.name != server.name)
    monkeypatch.setenv(other.variable, server.admin_url)
    with pytest.raises(ServerError, match=f"is no {other.name}"):
        servers.find.__wrapped__(other.name)


@pytest.mark.parametrize("name", servers.NAMES)
def test_private_server_keeps_its_data(name: str) -> None:
    with servers.start(name) as server:
        assert server.admin_url != servers.get(name).admin_url
        url = server.create_database()
        execute(url, "CREATE TABLE t (a integer)", "INSERT INTO t VALUES (1)")
        server.restart()
        execute(url, "INSERT INTO t VALUES (2)")
        server.kill()
        with pytest.raises((psycopg.OperationalError, pymysql.err.OperationalError)):
            connect(url)
        server.restart()
        assert query(url, "SELECT sum(a) FROM t") == 3
        assert server.log()
        backend = server.backend
    if isinstance(backend, ServerProcess):
        assert not backend.running
        assert not backend.directory.exists()


@pytest.mark.parametrize("name", ["postgresql-17", "mysql", "mariadb"])  # 18's wheel has no TLS
def test_settings_and_certificate_are_used(name: str) -> None:
    with servers.start(name, settings={"max_connections": "33"}, tls=True) as server:
        authority = str(server.certificate_authority)
        if server.dialect == "postgresql":
            encrypted = {"sslmode": "verify-full", "sslrootcert": authority}
            shown = "SELECT setting FROM pg_settings WHERE name = 'max_connections'"
        else:
            encrypted = {"ssl_ca": authority, "ssl_verify_cert": "1", "ssl_verify_identity": "1"}
            shown = "SELECT @@max_connections"
        url = server.create_database()
        connect(url, **encrypted).close()
        assert int(query(url, shown)) == 33


@pytest.mark.parametrize("name", ["postgresql-18", "mariadb"])
def test_later_process_goes_on_with_a_server_left_running(name: str) -> None:
    first = servers.process_in(servers.temporary_directory(), name)
    try:
        first.start()
        later = servers.process_in(first.directory, name)
        assert later.running
        assert later.admin_url == first.admin_url
        later.stop()
        assert not first.running
    finally:
        first.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="concerns root alone")
def test_postgresql_does_not_run_as_root() -> None:
    process = servers.process_in(servers.temporary_directory(), "postgresql-18")
    try:
        process.start()
        assert psutil.Process(int(process.pid_file.read_text().split()[0])).uids().real != 0
    finally:
        process.close()
