"""Connecting as Umami does, and every way in which that fails: one clear line, no traceback, no password."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

import pytest

from testbed import servers
from testbed.servers import Server
from testbed.servers.certificate import write_certificates
from tests.command import Outcome, run
from tests.examining import undone
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import OpsError
from umami_ops.sql import Query

WRONG = "s3same-öpen"
_TLS_SERVERS = ("postgresql-17", "mysql", "mariadb")  # the wheel of PostgreSQL 18 is built without TLS


def _with(
    url: str,
    *,
    user: str | None = None,
    password: str | None = None,
    host: str | None = None,
    port: int | None = None,
    database: str | None = None,
    query: str = "",
    scheme: str | None = None,
) -> str:
    """The same URL but for these parts."""
    parts: SplitResult = urlsplit(url)
    user = user or parts.username or ""
    secret = quote(password, safe="") if password is not None else parts.password
    address = f"{host or parts.hostname}:{port or parts.port}"
    path = f"/{database}" if database else parts.path
    return f"{scheme or parts.scheme}://{user}:{secret}@{address}{path}{query and '?' + query}"


def _fails(outcome: Outcome, *needles: str, code: int = 1) -> None:
    """Hold a failure to the manners of the command line."""
    assert outcome.code == code, outcome.said
    assert outcome.out == ""
    lines = outcome.err.splitlines()
    assert lines[0].startswith("error: ")
    assert len([line for line in lines if not line.startswith("hint: ")]) == 1, outcome.err
    assert "Traceback" not in outcome.err
    assert WRONG not in outcome.said
    for needle in needles:
        assert needle in lines[0], outcome.err


def _works(url: str) -> None:
    with open_database(DatabaseUrl.parse(url)).connect() as connection:
        assert connection.server().database


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_it_says_which_server_it_reached(server: Server, database_url: str) -> None:
    with open_database(DatabaseUrl.parse(database_url)).connect() as connection:
        found = connection.server()
    assert (found.flavour, found.version) == (server.flavour, server.version)
    assert found.database == urlsplit(database_url).path.removeprefix("/")
    assert not found.read_only
    assert not found.pooled


def test_wrong_password(database_url: str) -> None:
    _fails(
        run("info", url=_with(database_url, password=WRONG)), "rejects the password of user umami_ops_test"
    )


def test_no_password(database_url: str) -> None:
    _fails(run("info", url=_with(database_url, password="")), "password")


def test_unknown_user(database_url: str) -> None:
    _fails(run("info", url=_with(database_url, user="nobody_here", password=WRONG)), "nobody_here")


def test_unknown_host(database_url: str) -> None:
    outcome = run("info", url=_with(database_url, host="no-such-host.invalid", password=WRONG))
    _fails(outcome, "The host no-such-host.invalid is unknown.")


def test_refused_port(database_url: str) -> None:
    port = _free_port()
    outcome = run("info", url=_with(database_url, port=port, password=WRONG))
    _fails(outcome, f"Nothing answers at 127.0.0.1:{port}: connection refused.")


def test_missing_database(database_url: str) -> None:
    outcome = run("info", url=_with(database_url, database="nosuchdatabase"))
    _fails(outcome, "There is no database 'nosuchdatabase'")


def test_a_password_of_any_characters(server: Server, database_url: str) -> None:
    password = "p@ss/w:rd#%?& é'\"\\"
    name = urlsplit(database_url).path.removeprefix("/")
    with open_database(DatabaseUrl.parse(server.as_admin(database_url))).connect() as admin:
        doubled = password.replace("'", "''")
        if server.dialect == "postgresql":
            admin.run(Query("make", "", f"CREATE ROLE odd_user LOGIN PASSWORD '{doubled}'"))
        else:
            escaped = password.replace("\\", "\\\\").replace("'", "''")
            admin.run(Query("make", "", f"CREATE USER odd_user@'%' IDENTIFIED BY '{escaped}'"))
            admin.run(Query("grant", "", f"GRANT ALL ON `{name}`.* TO odd_user@'%'"))
        try:
            _works(_with(database_url, user="odd_user", password=password))
        finally:
            suffix = "" if server.dialect == "postgresql" else "@'%'"
            admin.run(Query("drop", "", f"DROP {'ROLE' if not suffix else 'USER'} odd_user{suffix}"))


def test_other_spellings_of_the_scheme(server: Server, database_url: str) -> None:
    _works(_with(database_url, scheme="postgres" if server.dialect == "postgresql" else "mariadb"))


def test_prisma_s_own_parameters_do_not_reach_the_driver(database_url: str) -> None:
    _works(
        _with(database_url, query="connection_limit=5&pool_timeout=3&socket_timeout=9&statement_cache_size=0")
    )


def test_a_unix_socket(server: Server, database_url: str) -> None:
    if server.origin != "local binaries":
        pytest.skip("the socket of a server elsewhere is out of reach")
    directory = _socket_directory(server, database_url)
    socket_path = f"host={directory}" if server.dialect == "postgresql" else f"socket={directory}"
    _works(_with(database_url, host="localhost", query=socket_path))


def _socket_directory(server: Server, database_url: str) -> str:
    """Ask the server where its socket is."""
    with open_database(DatabaseUrl.parse(server.as_admin(database_url))).connect() as connection:
        if server.dialect == "postgresql":
            return str(connection.value(Query("ask", "", "SHOW unix_socket_directories")))
        return str(connection.value(Query("ask", "", "SELECT @@socket")))


def test_a_socket_that_is_not_there(server: Server, database_url: str) -> None:
    name = "host" if server.dialect == "postgresql" else "socket"
    outcome = run("info", url=_with(database_url, password=WRONG, query=f"{name}=/nonexistent/place"))
    _fails(outcome, "socket", "/nonexistent/place")


def test_a_malformed_parameter(database_url: str) -> None:
    _fails(run("info", url=_with(database_url, query="connect_timeout=soon")), "connect_timeout", code=2)
    outcome = run("info", url=_with(database_url, query="sslmode=sometimes"))
    _fails(outcome, "sometimes", code=2)
    assert "verify" in outcome.err.splitlines()[1]
    _fails(run("info", url=_with(database_url, query="sslidentity=client.p12")), "sslidentity", code=2)


def test_a_schema_in_the_url(postgresql_server: Server, database_url: str) -> None:
    with open_database(DatabaseUrl.parse(database_url)).connect() as connection:
        connection.run(Query("make", "", 'CREATE SCHEMA "web stats"'))
    with open_database(
        DatabaseUrl.parse(_with(database_url, query="schema=web%20stats"))
    ).connect() as connection:
        assert connection.server().schema == "web stats"


def test_a_pooler_named_in_the_url(postgresql_server: Server, database_url: str) -> None:
    """Behind a pooler a setting lasts as long as a transaction: lone statements must see the schema too."""
    with open_database(DatabaseUrl.parse(database_url)).connect() as connection:
        connection.run(Query("make", "", "CREATE SCHEMA stats"))
    url = _with(database_url, query="pgbouncer=true&schema=stats")
    with open_database(DatabaseUrl.parse(url)).connect() as connection:
        assert connection.server().pooled
        assert connection.server().schema == "stats"
        with connection.transaction(read_only=True):
            assert connection.value(Query("ask", "", "SHOW TIME ZONE")) == "UTC"


def test_the_session_is_in_utc(server: Server, database_url: str) -> None:
    with open_database(DatabaseUrl.parse(database_url)).connect() as connection:
        moment = connection.value(Query("ask", "", "SELECT CAST('2025-03-30 02:30:00' AS DATETIME)"
                                        if server.dialect == "mysql" else
                                        "SELECT TIMESTAMPTZ '2025-03-30 02:30:00'"))  # fmt: skip
    assert moment.isoformat() == "2025-03-30T02:30:00+00:00"


@pytest.mark.parametrize(
    ("name", "value"),
    [("autocommit", "0"), ("completion_type", "'CHAIN'"), ("max_join_size", "1"), ("sql_select_limit", "1")],
)
def test_what_a_server_gives_each_session_is_not_ours(
    mysql_server: Server, database_url: str, name: str, value: str
) -> None:
    admin = mysql_server.as_admin(database_url)
    usual = f"SET GLOBAL {name} = DEFAULT"
    with undone(admin, f"SET GLOBAL {name} = {value}", usual):
        database = open_database(DatabaseUrl.parse(database_url))
        with database.connect() as connection, database.connect() as other:
            connection.run(Query("test", "", "CREATE TABLE given (n int)"))
            connection.run(Query("test", "", "INSERT INTO given VALUES (1), (2)"))
            assert len(other.rows(Query("test", "", "SELECT a.n FROM given AS a JOIN given AS b"))) == 4
            for rows in (3, 4):
                with connection.transaction():
                    connection.run(Query("test", "", "INSERT INTO given VALUES (3)"))
                with other.transaction(read_only=True):
                    assert other.value(Query("test", "", "SELECT COUNT(*) FROM given")) == rows


# --- what answers is not what the URL promises -----------------------------------------------------------


@pytest.fixture(params=["closes", "greets", "keeps silent"])
def stranger(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """Something on a port that is no database server: how it behaves, and where."""
    behaviour: str = request.param
    listener = socket.create_server(("127.0.0.1", 0))
    kept: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            if behaviour == "closes":
                connection.close()
                continue
            if behaviour == "greets":
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n")
            kept.append(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield behaviour, listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(timeout=5)
    for connection in kept:
        connection.close()


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_something_else_answers(scheme: str, stranger: tuple[str, int]) -> None:
    behaviour, port = stranger
    outcome = run("info", url=f"{scheme}://u:{quote(WRONG)}@127.0.0.1:{port}/d?connect_timeout=2")
    said = {
        "closes": "closed the connection at once",
        "greets": f"What answers at 127.0.0.1:{port} is no",
        "keeps silent": "does not answer in time",
    }
    _fails(outcome, said[behaviour])


def test_the_other_dialect_answers(server: Server, database_url: str) -> None:
    other = "mysql" if server.dialect == "postgresql" else "postgresql"
    url = _with(database_url, scheme=other, password=WRONG, query="connect_timeout=2")
    _fails(run("info", url=url), "127.0.0.1")


# --- TLS -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=_TLS_SERVERS)
def tls_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that offers TLS under a certificate of its own authority."""
    if request.param not in (request.config.getoption("--servers") or request.param).split(","):
        pytest.skip("not among --servers")
    with servers.start(request.param, tls=True) as server:
        yield server


@pytest.fixture
def tls_url(tls_server: Server) -> Iterator[str]:
    """A database on `tls_server`, by the name that its certificate has."""
    url = tls_server.create_database()
    yield _with(url, host="localhost")
    tls_server.drop_database(url)


@pytest.fixture(scope="module")
def another_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of an authority that signed no server's."""
    folder = tmp_path_factory.mktemp("authority") / "tls"
    write_certificates(folder)
    return folder / "ca.crt"


def test_tls_that_is_offered_and_trusted(tls_server: Server, tls_url: str) -> None:
    authority = tls_server.certificate_authority
    _works(tls_url)
    _works(_with(tls_url, query="sslaccept=accept_invalid_certs"))
    _works(_with(tls_url, query=f"sslmode=require&sslaccept=strict&sslcert={authority}"))
    _works(_with(tls_url, query="sslmode=disable"))


def _as_from_python_3_13(make: Callable[..., ssl.SSLContext]) -> Callable[..., ssl.SSLContext]:
    def made(**arguments: Any) -> ssl.SSLContext:
        context = make(**arguments)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    return made


def test_libpq_s_and_mysql_s_own_tls_parameters(
    tls_server: Server, tls_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = tls_server.certificate_authority
    monkeypatch.setattr(ssl, "create_default_context", _as_from_python_3_13(ssl.create_default_context))
    if tls_server.dialect == "postgresql":
        _works(_with(tls_url, query=f"sslmode=verify-full&sslrootcert={authority}"))
        _works(_with(tls_url, query="sslmode=no-verify"))
    else:
        _works(_with(tls_url, query=f"ssl-mode=VERIFY_IDENTITY&sslca={authority}"))
        _works(_with(tls_url, query="ssl-mode=REQUIRED"))


def test_a_certificate_of_another_authority(tls_url: str, another_authority: Path) -> None:
    query = f"sslmode=require&sslaccept=strict&sslcert={another_authority}"
    _fails(run("info", url=_with(tls_url, query=query)), "TLS with localhost")


def test_a_certificate_that_this_system_does_not_trust(tls_url: str) -> None:
    outcome = run("info", url=_with(tls_url, query="sslmode=require&sslaccept=strict"))
    _fails(outcome, "TLS with localhost", "certificate verify failed")


def test_a_certificate_file_that_is_not_there(tls_url: str) -> None:
    query = "sslmode=require&sslaccept=strict&sslcert=/nonexistent.pem"
    _fails(run("info", url=_with(tls_url, query=query)), "/nonexistent.pem")


def test_a_wrong_password_over_tls(tls_url: str) -> None:
    _fails(run("info", url=_with(tls_url, password=WRONG)), "rejects the password")


def test_tls_that_is_required_but_not_offered(server: Server, database_url: str) -> None:
    if server.flavour == "mysql":
        pytest.skip("MySQL makes itself a certificate and always offers TLS")
    mode = "sslmode=require" if server.dialect == "postgresql" else "ssl-mode=REQUIRED"
    _fails(run("info", url=_with(database_url, query=mode)), "offers no TLS")


def test_a_server_that_asks_for_a_file_gets_none(
    mysql_server: Server, database_url: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not for the server\n")
    with open_database(DatabaseUrl.parse(database_url)).connect() as connection:
        connection.run(Query("t", "", "CREATE TABLE taken (line TEXT)"))
        with pytest.raises((RuntimeError, OpsError)):
            connection.run(Query("t", "", f"LOAD DATA LOCAL INFILE '{secret}' INTO TABLE taken"))
    with open_database(DatabaseUrl.parse(database_url)).connect() as connection:
        assert connection.value(Query("t", "", "SELECT COUNT(*) AS n FROM taken")) == 0
