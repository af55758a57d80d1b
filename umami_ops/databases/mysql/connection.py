"""Sessions on MySQL and MariaDB: the one module that names PyMySQL."""

from __future__ import annotations

import functools
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql
from pymysql.constants import CLIENT, CR, FIELD_TYPE
from pymysql.converters import conversions, escape_datetime
from pymysql.converters import convert_datetime as _convert_datetime
from pymysql.cursors import DictCursor, SSCursor

from umami_ops.databases.base import Connection, Database, Row, Server, Values
from umami_ops.databases.mysql import rebuild
from umami_ops.databases.mysql.access import Tls, refusal, tls_of
from umami_ops.databases.mysql.dialect import MYSQL
from umami_ops.databases.mysql.pipe import Pipe
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import (
    BadData,
    ConnectionFault,
    ConnectionLost,
    DatabaseFault,
    PermissionFault,
    TransientFault,
    UnreadableFault,
    UsageFault,
)
from umami_ops.plan import Rebuild
from umami_ops.sql import Query

if TYPE_CHECKING:  # each is loaded with the first verb that needs it
    from umami_ops.databases.alterations import Alterations
    from umami_ops.databases.mysql.dumps import MysqlDumpPrograms
    from umami_ops.databases.mysql.partitioning import MysqlPartitioning
    from umami_ops.databases.mysql.staging import MysqlStaging
    from umami_ops.databases.mysql.upkeep import MysqlUpkeep
    from umami_ops.databases.transit import Transit

# Numbers from https://dev.mysql.com/doc/mysql-errors/en/server-error-reference.html and mariadb.com/kb
_DEADLOCK, _LOCK_WAIT_TIMEOUT, _RECORD_CHANGED = 1213, 1205, 1020
_PIECE_BYTES = 1_000_000
_TRANSIENT = {_DEADLOCK, _LOCK_WAIT_TIMEOUT, _RECORD_CHANGED}
#: Lists of information_schema hold utf8mb3, and fail over a statement of anybody's with an emoji in it.
_NO_CONVERSION = 3854
_FORBIDDEN = {1044, 1142, 1143, 1227, 1290, 1792, 1836, 3098, 1419}
_BROKEN = {0, 1053, 1077, 1079, 1927, 2006, 2013, 2014, 2055, 3169, 4031}

#: What a run executes names it in the server's list of sessions; queries that only read go without.
_MARK = "/* umami-ops */ "

#: A session's zone converts every TIMESTAMP. Prisma writes and reads UTC and leaves the zone as it finds it:
#: only in that zone a time is what Umami takes it for (decision 0018). An offset is quicker than a name.
_ZONE_OF_UMAMI = (
    "CASE WHEN @@session.time_zone = 'UTC'"
    " OR (@@session.time_zone = 'SYSTEM' AND @@global.system_time_zone = 'UTC')"
    " THEN '+00:00' ELSE @@session.time_zone END"
)

#: The warning that text is longer than max_allowed_packet, and NULL for that.
_LONGER_THAN_A_PACKET = 1301

_TLS_CIPHER = Query(
    "connection.tls_cipher",
    "The cipher of this session's TLS, empty without TLS.",
    "SHOW SESSION STATUS LIKE 'Ssl_cipher'",
)


class MysqlDatabase(Database):
    """A MySQL or MariaDB database by its URL."""

    dialect = MYSQL

    def connect(self, purpose: str = "umami-ops") -> MysqlConnection:
        """Open a session in the time zone that Umami's have."""
        tls = self._tls
        arguments = _arguments(self.url, purpose)
        try:
            connection = MysqlConnection(_session(arguments, tls), self.url)
        except _NoTlsOffered:
            raise self._no_tls() from None
        except (pymysql.Error, OSError, RuntimeError) as fault:
            raise refusal(*_said(fault), self.url) from None
        if tls.required and not connection.is_encrypted():
            connection.close()
            raise self._no_tls()
        return connection

    @functools.cached_property
    def _tls(self) -> Tls:
        """How to reach TLS: prepared once, for all sessions."""
        return tls_of(self.url)

    def staging(self) -> MysqlStaging:
        """Return a place for tables that are being restored."""
        from umami_ops.databases.mysql.staging import MysqlStaging

        return MysqlStaging(self)

    def dump_programs(self, server: Server) -> MysqlDumpPrograms:
        """Return mysqldump or mariadb-dump, with its client."""
        from umami_ops.databases.mysql.dumps import MysqlDumpPrograms

        return MysqlDumpPrograms(self, server.flavour, server.version)

    def _no_tls(self) -> ConnectionFault:
        return ConnectionFault(
            f"The server at {self.url.where} offers no TLS, and the URL requires it.",
            hint="Enable TLS on the server, or drop the ssl parameters from the URL.",
        )


class MysqlConnection(Connection):
    """One PyMySQL session."""

    dialect = MYSQL

    def __init__(self, raw: pymysql.Connection[DictCursor], url: DatabaseUrl) -> None:
        self.url = url
        self._raw = raw
        # READ COMMITTED takes no gap locks, so that ingest is not stopped by deletes beside it.
        self._execute(
            f"SET time_zone = {_ZONE_OF_UMAMI}, sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION',"
            " innodb_lock_wait_timeout = 10, lock_wait_timeout = 10, wait_timeout = 86400,"
            # A limit of rows would cut every answer short without a word.
            " sql_select_limit = 18446744073709551615, sql_safe_updates = 0, sql_big_selects = 1,"
            # PyMySQL takes every server for one that commits by itself; a chain would begin anew behind us.
            " autocommit = 1, completion_type = 'NO_CHAIN'"
            # The server's limits of time are not meant for these. Each reads the comment that is for it.
            # MySQL's catalogue would else show sizes of up to a day ago.
            " /*!80000 , max_execution_time = 0, information_schema_stats_expiry = 0 */"
            " /*M!100300 , max_statement_time = 0, idle_transaction_timeout = 0,"
            " idle_readonly_transaction_timeout = 0, idle_write_transaction_timeout = 0 */"
        )

    def rows(self, query: Query, **values: Any) -> list[Row]:
        """Run a query and return all its rows."""
        with _translated(query), self._raw.cursor() as cursor:
            cursor.execute(query.for_driver(), values)
            return list(cursor.fetchall())

    def run(self, query: Query, **values: Any) -> int:
        """Run a statement and return the number of rows it touched."""
        with _translated(query), self._raw.cursor() as cursor:
            return cursor.execute(_MARK + query.for_driver(), values)

    def estimate(self, query: Query, **values: Any) -> int:
        """Return how many rows the optimiser expects: those that it reads, less those that it filters out.

        InnoDB looks into the index for this, and by its own rule never expects more than half of a table.
        """
        # MySQL 9 would draw a tree, MariaDB leave out `filtered`: each reads the comment that is for it.
        how = "/*!80000 FORMAT=TRADITIONAL */ /*M! EXTENDED */"
        explain = Query(query.name, query.about, f"EXPLAIN {how} {query.text}")
        expected = 1.0
        for row in self.rows(explain, **values):
            expected *= float(row["rows"] or 0) * float(row["filtered"] or 100) / 100
        return round(expected)

    def maintain(self, query: Query) -> None:
        """Run ANALYZE TABLE and the like, whose errors come as rows of an answer."""
        for row in self.rows(replace(query, text=_MARK + query.text)):
            if str(row.get("Msg_type", "")).lower() == "error":
                raise _table_fault(query, str(row["Msg_text"]))

    def upkeep(self) -> MysqlUpkeep:
        """Return what MySQL and MariaDB can do for their tables."""
        from umami_ops.databases.mysql.upkeep import MysqlUpkeep

        return MysqlUpkeep(self)

    @functools.lru_cache  # noqa: B019 -- one small object a connection
    def transit(self) -> Transit:
        """Return what MySQL and MariaDB can do for rows on the move."""
        from umami_ops.databases.mysql.transit import MysqlTransit

        return MysqlTransit(self)

    def sum_of(self, table: str, columns: Mapping[str, str]) -> tuple[int, str]:
        """Return rows and checksum: the sum of CRC-32s over the values' text."""
        fields = ", ".join(f"COALESCE({self.dialect.quote(name)}, CHAR(2))" for name in columns)
        text = (
            f"SELECT COUNT(*) AS n, SUM(CRC32(CONCAT_WS(CHAR(31), {fields}))) AS total"  # noqa: S608
            f" FROM {self.dialect.quote(table)}"
        )
        row = self.row(Query("backup.sum", "", text))
        return int(row["n"]), f"mysql-crc32:{int(row['total'] or 0):x}"

    def csv(self, query: Query, columns: Sequence[str], bare: Sequence[str]) -> Iterator[tuple[bytes, int]]:
        """Yield a query's rows, each built by the server as one value: a driver's own rows cost far more."""
        self.transit()  # for its session's settings: a long list in a row must not be cut short
        cells = []
        for name in columns:
            text = f"CAST({self.dialect.quote(name)} AS CHAR)"
            cell = text if name in bare else f"""CONCAT('"', REPLACE({text}, '"', '""'), '"')"""
            cells.append(f"COALESCE({cell}, '')")
        line = f"CAST(CONCAT_WS(',', {', '.join(cells)}) AS BINARY)"
        whole = f"SELECT {line} AS line FROM ({query.text}) AS found"  # noqa: S608
        return self.pieces(Query(query.name, query.about, whole))

    def unwarned_row(self, query: Query) -> Row | None:
        """Return the one row of a query as the text says it, or None when the server warned of it."""
        with _translated(query), self._raw.cursor() as cursor:
            cursor.execute(query.text)
            row = cursor.fetchone()
            return None if cursor.warning_count else row

    def pieces(self, query: Query) -> Iterator[tuple[bytes, int]]:
        """Yield the one value of each row as a line, in pieces of many with how many those are.

        They come as the server sends them; nothing else may run meanwhile.
        """
        held: list[bytes] = []
        held_bytes = 0
        with _translated(query), self._raw.cursor(SSCursor) as cursor:
            cursor.execute(query.text)
            for (line,) in cursor:
                held.append(line)
                held_bytes += len(line)
                if held_bytes >= _PIECE_BYTES:
                    yield b"\n".join(held) + b"\n", len(held)
                    held, held_bytes = [], 0
            if held:
                yield b"\n".join(held) + b"\n", len(held)
        self.require_whole(query)

    def require_whole(self, query: Query) -> None:
        """Raise DatabaseFault where the last statement made NULL of text too long for the server."""
        found = self.rows(Query("connection.warnings", "", "SHOW WARNINGS"))
        if any(row["Code"] == _LONGER_THAN_A_PACKET for row in found):
            raise DatabaseFault(
                f"{query.name} failed: a value or a row is longer than the server's max_allowed_packet.",
                hint="Raise max_allowed_packet on that server.",
            )

    def insert(self, query: Query, statement: bytes) -> int:
        """Run an INSERT that is bytes already; returns the rows it made. Raises what it only warns of."""
        with _translated(query), self._raw.cursor() as cursor:
            taken = int(cursor.execute(statement))  # type: ignore[call-overload]  # bytes go as they are
            if cursor.warning_count:
                raise self._warned_of(query)
            return taken

    def load(self, query: Query, pieces: Iterable[bytes]) -> int:
        """Run LOAD DATA LOCAL from '{file}' with these bytes, which another thread makes meanwhile.

        Returns the rows that the server took. Raises DatabaseFault for its first warning: LOCAL turns errors
        into warnings. What making the bytes raises is raised here.
        """
        with Pipe(pieces) as pipe, _translated(query), self._raw.cursor() as cursor, self._may_send_files():
            taken = cursor.execute(query.text.replace("{file}", pipe.path))
            pipe.check()
            if cursor.warning_count:
                raise self._warned_of(query)
            return taken

    @contextmanager
    def _may_send_files(self) -> Iterator[None]:
        """Let the server ask for a file, which PyMySQL sends whichever it is."""
        self._raw._local_infile = True  # type: ignore[attr-defined]
        try:
            yield
        except AttributeError:
            # PyMySQL goes on sending when the connection broke meanwhile, and misses its socket.
            if self._raw.open:
                raise
            raise ConnectionLost("The connection broke while rows were being sent") from None
        finally:
            self._raw._local_infile = False  # type: ignore[attr-defined]

    def _warned_of(self, query: Query) -> DatabaseFault:
        warnings = self.rows(Query("connection.warnings", "", "SHOW WARNINGS LIMIT 1"))
        text = warnings[0]["Message"] if warnings else "the server warned, and didn't say of what"
        return DatabaseFault(f"{query.name} was refused by the server: {text}")

    def partitioning(self) -> MysqlPartitioning:
        """Return what MySQL and MariaDB can do about the partitions of website_event."""
        from umami_ops.databases.mysql.partitioning import MysqlPartitioning

        return MysqlPartitioning(self)

    def alterations(self) -> Alterations:
        """Return how MySQL's and MariaDB's tables are changed."""
        from umami_ops.databases.mysql.alterations import MysqlAlterations

        return MysqlAlterations(self)

    def literal(self, value: Any) -> str:
        """Return a value as MySQL would read it in a statement."""
        return str(self._raw.escape(value, _CONVERSIONS))  # type: ignore[arg-type]

    @functools.lru_cache  # noqa: B019 -- one small answer a connection
    def server(self) -> Server:
        """Say what server this is; MariaDB names itself in its version."""
        row = self.row(self.dialect.queries["introspect.server"])
        is_mariadb = "mariadb" in f"{row['version']} {row['comment']}".lower()
        version = row["version"].removeprefix("5.5.5-").partition("-")[0]
        name = "MariaDB" if is_mariadb else "MySQL"
        return Server(
            flavour=name.lower(),
            version=version,
            title=f"{name} {version}",
            database=row["database"],
            schema=row["database"],
            user=row["user"],
            read_only=bool(row["read_only"]),
            pooled=False,
            time_zone=row["time_zone"],
        )

    def rebuild(self, tables: Sequence[str], words: Iterable[str], values: Values) -> Rebuild:
        """Return the step that makes event tables anew without the rows past the horizon."""
        return rebuild.rebuild(self, tables, words, values)

    def free_bytes(self) -> int | None:
        """Return what is free on the disk of the server's data, if the server runs on this machine."""
        place = self.row(self.dialect.queries["introspect.data_folder"])
        folder = Path(place["folder"])
        if place["host"] != socket.gethostname():
            return None
        try:
            return shutil.disk_usage(folder).free if (folder / place["name"]).is_dir() else None
        except OSError:  # a folder that is closed to whoever runs this: packages make it so
            return None

    def leftovers(self) -> tuple[Query, ...]:
        """Return what clears away a rebuild that goes on no more, killed or given up."""
        return rebuild.leftovers(self)

    def is_encrypted(self) -> bool:
        """Say whether this session runs over TLS."""
        return bool(self.row(_TLS_CIPHER)["Value"])

    def begin(self, *, read_only: bool) -> None:
        """Open a transaction: READ COMMITTED to write, one consistent snapshot to read."""
        if read_only:
            self._execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            self._execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        else:
            self._execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
            self._execute("START TRANSACTION")

    def commit(self) -> None:
        """Commit the open transaction."""
        self._execute("COMMIT")

    def rollback(self) -> None:
        """Roll the open transaction back; silent when the connection is already gone."""
        if self._raw.open:
            try:
                self._raw.rollback()
            except (pymysql.Error, OSError):
                self.close()

    def close(self) -> None:
        """Close the session."""
        if self._raw.open:
            try:
                self._raw.close()
            except (pymysql.Error, OSError):
                # The server is gone already; PyMySQL has closed its socket by now.
                return

    def _execute(self, sql: str) -> None:
        self.run(Query("connection", "", sql))


class _NoTlsOffered(Exception):  # noqa: N818 -- an answer, not an error of ours
    """The server has no TLS though this session requires it."""


def _session(arguments: dict[str, Any], tls: Tls) -> pymysql.Connection[DictCursor]:
    """Open a session: with TLS if there is TLS, without if there is none and none is required."""
    try:
        return _connected(arguments | tls.arguments)
    except pymysql.OperationalError as fault:
        # Before 1.2 PyMySQL went on in the clear, hence the look at the cipher in `connect`.
        if fault.args[0] != CR.CR_SSL_CONNECTION_ERROR or "doesn't support" not in str(fault.args[-1]):
            raise
        if tls.required:
            raise _NoTlsOffered from None
    return _connected(arguments | {"ssl_disabled": True})


def _connected(arguments: dict[str, Any]) -> pymysql.Connection[DictCursor]:
    """Connect, and give up on a server that says nothing: PyMySQL's connect_timeout covers TCP alone."""
    raw: pymysql.Connection[DictCursor] = pymysql.connect(
        **arguments, read_timeout=arguments["connect_timeout"]
    )
    # A statement may take as long as it takes; PyMySQL has no public way to say so afterwards.
    raw._read_timeout = None  # type: ignore[attr-defined]
    # With local_infile on, PyMySQL sends any file that a server asks for: `load` alone allows that.
    raw._local_infile = False  # type: ignore[attr-defined]
    return raw


def _arguments(url: DatabaseUrl, purpose: str) -> dict[str, Any]:
    address = {"unix_socket": url.socket} if url.socket else {"host": url.host or "localhost"}
    return address | {
        "port": url.port or 3306,
        "user": url.user,
        # PyMySQL would encode text as Latin-1, which no other client does.
        "password": (url.password or "").encode(),
        "database": url.database,
        "charset": "utf8mb4",
        "autocommit": True,
        "connect_timeout": _seconds(url.parameters.get("connect_timeout")),
        "client_flag": CLIENT.FOUND_ROWS,
        "cursorclass": DictCursor,
        "conv": _CONVERSIONS,
        "program_name": purpose,
        "local_infile": True,
    }


def _seconds(text: str | None) -> int:
    if text is None:
        return 10
    if not text.isdecimal():
        raise UsageFault(f"The URL's connect_timeout {text!r} is not a number of seconds.")
    return int(text) or 10


def _aware(text: str | bytes) -> Any:
    """Read a server's time as Umami does, which takes it for UTC; a zero date stays text."""
    moment = _convert_datetime(text)
    return moment.replace(tzinfo=UTC) if isinstance(moment, datetime) else moment


def _naive(moment: datetime, mapping: Any = None) -> str:
    """Write a time for the server in UTC, without an offset, which older servers don't take."""
    return escape_datetime(moment.astimezone(UTC).replace(tzinfo=None), mapping)


_CONVERSIONS = conversions | {
    FIELD_TYPE.TIMESTAMP: _aware,
    FIELD_TYPE.DATETIME: _aware,
    datetime: _naive,
}


@contextmanager
def _translated(query: Query) -> Iterator[None]:
    try:
        yield
    except pymysql.Error as fault:
        number, text = _said(fault)
        if number in _BROKEN or isinstance(fault, pymysql.InterfaceError):
            raise ConnectionLost(f"The connection broke: {text or 'it is closed'}") from None
        if number in _TRANSIENT:
            raise TransientFault(f"{text} (in {query.name})") from None
        if number in _FORBIDDEN:
            raise PermissionFault(
                f"The server refuses {query.name}: {text}",
                hint="Grant the right to this user, or connect as the owner of Umami's tables.",
            ) from None
        if number == _NO_CONVERSION:
            raise UnreadableFault(f"{query.name} failed: {text}") from None
        is_of_rows = isinstance(fault, (pymysql.DataError, pymysql.IntegrityError))
        kind = BadData if is_of_rows else DatabaseFault
        raise kind(f"{query.name} failed: {text}") from None
    except OSError as fault:
        raise ConnectionLost(f"The connection broke: {fault}") from None


def _said(fault: BaseException) -> tuple[int, str]:
    """Return the error's number, 0 without one, and its text."""
    if not fault.args:
        return 0, type(fault).__name__
    return fault.args[0] if isinstance(fault.args[0], int) else 0, str(fault.args[-1])


def _table_fault(query: Query, text: str) -> DatabaseFault:
    """Turn an error that came as a row, without its number, into one of ours."""
    if "lock wait timeout" in text.lower():
        return TransientFault(f"{text} (in {query.name})")
    return DatabaseFault(f"{query.name} failed: {text}")
