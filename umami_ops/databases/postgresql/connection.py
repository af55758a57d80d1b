"""Sessions on PostgreSQL: the one module that names psycopg."""

from __future__ import annotations

import functools
import re
import secrets
import select
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors as pg
from psycopg import generators, sql
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.rows import dict_row
from psycopg.types.datetime import TimestamptzLoader
from psycopg.types.string import TextLoader

from umami_ops.databases.base import Connection, Database, Row, Server
from umami_ops.databases.postgresql.access import VARIABLES, arguments_of, refusal, unusable
from umami_ops.databases.postgresql.dialect import POSTGRESQL
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import (
    BadData,
    ConnectionLost,
    DatabaseFault,
    PermissionFault,
    Refused,
    TransientFault,
)
from umami_ops.sql import Query

if TYPE_CHECKING:  # each is loaded with the first verb that needs it
    from psycopg.abc import Buffer

    from umami_ops.databases.alterations import Alterations
    from umami_ops.databases.postgresql.dumps import PostgresqlDumpPrograms
    from umami_ops.databases.postgresql.partitioning import PostgresqlPartitioning
    from umami_ops.databases.postgresql.staging import PostgresqlStaging
    from umami_ops.databases.postgresql.upkeep import PostgresqlUpkeep
    from umami_ops.databases.transit import Transit

#: Types that a record is hashed with as they are; others go as their text.
_HASHED = frozenset({
    "uuid", "text", "character varying", "character", "integer", "bigint", "smallint", "numeric", "boolean",
    "timestamp with time zone", "timestamp without time zone", "date", "bytea", "jsonb", "double precision",
})  # fmt: skip
#: Types of most columns → what PostgreSQL hashes a value with. As parts of a record values cost far more, as
#: each record is put together first.
_HASHES = {
    "uuid": "uuid_hash_extended", "text": "hashtextextended", "character varying": "hashtextextended",
    "integer": "hashint4extended", "bigint": "hashint8extended", "smallint": "hashint2extended",
}  # fmt: skip
_HASHES_RECORDS_FROM = 140_000
_PIECE_BYTES = 262_144
#: A server repeats the value that it can't read, however long that is.
_MESSAGE_CHARACTERS = 500
_TRANSIENT = (pg.DeadlockDetected, pg.SerializationFailure, pg.LockNotAvailable)
_FORBIDDEN = (pg.InsufficientPrivilege, pg.ReadOnlySqlTransaction)
_BROKEN = (pg.AdminShutdown, pg.CrashShutdown, pg.CannotConnectNow, pg.IdleInTransactionSessionTimeout)

# A role's time limits are for Umami's queries; an idle lock and a long count must outlive them.
_NO_TIMEOUTS = (
    "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('statement_timeout',"
    " 'transaction_timeout', 'idle_session_timeout', 'idle_in_transaction_session_timeout')"
)


class PostgresqlDatabase(Database):
    """A PostgreSQL database by its URL."""

    dialect = POSTGRESQL

    def connect(self, purpose: str = "umami-ops") -> PostgresqlConnection:
        """Open a session in UTC with the URL's schema first on the search path."""
        try:
            raw = psycopg.connect(**arguments_of(self.url, purpose), autocommit=True, row_factory=dict_row)
        except psycopg.ProgrammingError as fault:
            raise unusable(_first_line(fault)) from None
        except psycopg.Error as fault:
            raise refusal(str(fault), self.url) from None
        return PostgresqlConnection(raw, self.url)

    def program_environment(self) -> dict[str, str]:
        """Return libpq's variables for this URL."""
        arguments = arguments_of(self.url, "umami-ops")
        variables = {
            VARIABLES.get(name, f"PG{name.upper()}"): str(value) for name, value in arguments.items()
        }
        if self.url.schema:
            # libpq takes a blank for the end of an option, unless a backslash stands before it.
            schema = re.sub(r"([\\\s])", r"\\\1", self.dialect.quote(self.url.schema))
            variables["PGOPTIONS"] = f"{variables.get('PGOPTIONS', '')} -c search_path={schema}".strip()
        return variables

    def staging(self) -> PostgresqlStaging:
        """Return a place for tables that are being restored."""
        from umami_ops.databases.postgresql.staging import PostgresqlStaging

        return PostgresqlStaging(self)

    def dump_programs(self, server: Server) -> PostgresqlDumpPrograms:
        """Return pg_dump and pg_restore."""
        from umami_ops.databases.postgresql.dumps import PostgresqlDumpPrograms

        return PostgresqlDumpPrograms(self, server.version)


class PostgresqlConnection(Connection):
    """One psycopg session."""

    dialect = POSTGRESQL

    def __init__(self, raw: psycopg.Connection[Row], url: DatabaseUrl) -> None:
        self.url = url
        self._raw = raw
        raw.adapters.register_loader("uuid", TextLoader)
        raw.adapters.register_loader("timestamptz", _MomentLoader)
        # A pooler answers the connection with a process id of its own making.
        self._pooled = url.is_pooled or self._single("SELECT pg_backend_pid()") != raw.info.backend_pid
        # Every batch is planned for its own values; and behind a pooler nothing can be prepared anyway.
        raw.prepare_threshold = None
        if not self._pooled:
            self._set_up()

    def rows(self, query: Query, **values: Any) -> list[Row]:
        """Run a query and return all its rows."""
        with self._settled(), _translated(query):
            return self._raw.execute(query.for_driver(), values).fetchall()

    def run(self, query: Query, **values: Any) -> int:
        """Run a statement and return the number of rows it touched."""
        with self._settled(), _translated(query):
            return self._raw.execute(query.for_driver(), values).rowcount

    def sum_of(self, table: str, columns: Mapping[str, str]) -> tuple[int, str]:
        """Return rows and checksum: the sum of what PostgreSQL itself hashes values to (from 14 on)."""
        plain = {name: re.sub(r"\(.*?\)", "", type_) for name, type_ in columns.items()}
        way, hash_ = "columns", " # ".join(self._hashes(plain)) or "0"
        if self._raw.info.server_version < _HASHES_RECORDS_FROM:
            way, hash_ = "text", f"hashtextextended(ROW({', '.join(self._fields(plain))})::text, 0)"
        text = f"SELECT COUNT(*) AS n, SUM({hash_}) AS total FROM {self.dialect.quote(table)}"  # noqa: S608
        row = self.row(Query("backup.sum", "", text))
        return int(row["n"]), f"postgresql-{way}:{int(row['total'] or 0):x}"

    def _hashes(self, columns: Mapping[str, str]) -> Iterator[str]:
        """Yield the expressions of a row's hashes, each column's with a seed of its own; NULL is 0."""
        others = {name: type_ for name, type_ in columns.items() if type_ not in _HASHES}
        for seed, (name, type_) in enumerate(columns.items(), 1):
            if name not in others:
                yield f"COALESCE({_HASHES[type_]}({self.dialect.quote(name)}, {seed}), 0)"
        if others:
            yield f"hash_record_extended(ROW({', '.join(self._fields(others))}), 0)"

    def _fields(self, columns: Mapping[str, str]) -> list[str]:
        """Return columns as fields of a record that can be hashed."""
        return [
            self.dialect.quote(name) + ("" if type_ in _HASHED else "::text")
            for name, type_ in columns.items()
        ]

    def csv(self, query: Query, columns: Sequence[str], bare: Sequence[str]) -> Iterator[tuple[bytes, int]]:
        """Yield a query's rows by COPY."""
        quoted = ", ".join(self.dialect.quote(name) for name in columns if name not in bare)
        options = f"FORMAT csv, NULL ''{f', FORCE_QUOTE ({quoted})' if quoted else ''}"
        return self.copy_out(Query(query.name, query.about, f"COPY ({query.text}) TO STDOUT ({options})"))

    def run_script(self, script: bytes) -> None:
        """Run a text of several statements, without parameters, in the open transaction.

        Raises Refused where one would end that transaction: within a function the server itself lets none do
        so. Text can't be searched for it: the body of a function may have the same words.
        """
        inner, outer = (b"$umami_ops_%b$" % secrets.token_hex(8).encode() for _ in range(2))
        block = b"".join([b"DO ", outer, b"BEGIN EXECUTE ", inner, script, inner, b"; END", outer])
        with _translated(Query("the dump's SQL", "", "")):
            try:
                self._raw.execute(block)
            except pg.FeatureNotSupported as fault:
                raise Refused(
                    "The dump commits by itself, rolls back, or has something else that can't be run in a "
                    f"restore's own transaction, and so not be undone where it fails: {_first_line(fault)}",
                    hint="Dump Umami's schema alone (pg_dump --schema=public), without --single-transaction.",
                ) from None

    def settle(self) -> None:
        """Give the session its settings again, after somebody else's SQL has changed them."""
        self._single_none("RESET ALL")
        self._set_up()

    def estimate(self, query: Query, **values: Any) -> int:
        """Return how many rows the planner expects."""
        explain = Query(query.name, query.about, f"EXPLAIN (FORMAT JSON) {query.text}")
        (statement,) = self.value(explain, **values)
        return int(statement["Plan"]["Plan Rows"])

    def upkeep(self) -> PostgresqlUpkeep:
        """Return what PostgreSQL can do for its tables."""
        from umami_ops.databases.postgresql.upkeep import PostgresqlUpkeep

        return PostgresqlUpkeep(self)

    @functools.lru_cache  # noqa: B019 -- one small object a connection
    def transit(self) -> Transit:
        """Return what PostgreSQL can do for rows on the move."""
        from umami_ops.databases.postgresql.transit import PostgresqlTransit

        return PostgresqlTransit(self)

    def copy_out(self, query: Query) -> Iterator[tuple[bytes, int]]:
        """Run COPY … TO STDOUT and yield its rows in pieces, each with how many it holds.

        Raises DatabaseFault if one got lost. Asks libpq itself: by psycopg a row takes twice as long.
        """
        raw = self._raw.pgconn
        rows = 0
        with _translated(query):
            raw.send_query(query.text.encode())
            _expect(self._raw.wait(generators.execute(raw))[0], ExecStatus.COPY_OUT)
            try:
                for piece, count in _copied(raw):
                    rows += count
                    yield piece, count
            except BaseException:
                self._abandon_copy()
                raise
            ended = _last_result(raw)
            _expect(ended, ExecStatus.COMMAND_OK)
        if ended.command_tuples != rows:
            raise DatabaseFault(f"{query.name} gave {rows:,} of {ended.command_tuples:,} rows.")

    def _abandon_copy(self) -> None:
        """Have the server end a COPY whose reader has gone, so that the session can go on."""
        with suppress(psycopg.Error):
            self._raw.cancel_safe()
            for _ in _copied(self._raw.pgconn):
                pass
            _last_result(self._raw.pgconn)

    def copy_in(self, query: Query, pieces: Iterable[bytes]) -> int:
        """Run COPY … FROM STDIN with these bytes; returns the rows that were taken."""
        with _translated(query), self._raw.cursor() as cursor:
            with cursor.copy(query.text.encode()) as copy:
                for piece in pieces:
                    copy.write(piece)
            return cursor.rowcount

    def partitioning(self) -> PostgresqlPartitioning:
        """Return what PostgreSQL can do about the partitions of website_event."""
        from umami_ops.databases.postgresql.partitioning import PostgresqlPartitioning

        return PostgresqlPartitioning(self)

    def free_bytes(self) -> int | None:
        """Return what is free on the disk of the server's data, if the server runs on this machine.

        That it does is known by its address, and by its data folder being here. Who isn't in pg_monitor is
        not told where that is.
        """
        import shutil  # with all that it could unpack, for those who ask

        place = self.row(self.dialect.queries["introspect.data_folder"])
        if place["folder"] is None:
            return None
        try:
            return shutil.disk_usage(place["folder"]).free if Path(place["folder"]).is_dir() else None
        except OSError:  # below a folder that is closed to whoever runs this
            return None

    def alterations(self) -> Alterations:
        """Return how PostgreSQL's tables are changed."""
        from umami_ops.databases.postgresql.alterations import PostgresqlAlterations

        return PostgresqlAlterations(self)

    def literal(self, value: Any) -> str:
        """Return a value as PostgreSQL would read it in a statement."""
        return sql.Literal(value).as_string(self._raw)

    @functools.lru_cache  # noqa: B019 -- one small answer a connection
    def server(self) -> Server:
        """Say what server this is."""
        row = self.row(self.dialect.queries["introspect.server"])
        return Server(
            flavour="postgresql",
            version=row["version"],
            title=f"PostgreSQL {row['version']}",
            database=row["database"],
            schema=row["schema"] or "",
            user=row["user"],
            read_only=row["read_only"],
            pooled=self._pooled,
            time_zone="+00:00",
        )

    def begin(self, *, read_only: bool) -> None:
        """Open a transaction: READ COMMITTED to write, REPEATABLE READ READ ONLY to read."""
        mode = "ISOLATION LEVEL REPEATABLE READ READ ONLY" if read_only else "ISOLATION LEVEL READ COMMITTED"
        self._single_none(f"BEGIN {mode}")
        if self._pooled:
            self._single_none("; ".join(self._settings("SET LOCAL")))

    def commit(self) -> None:
        """Commit the open transaction."""
        self._single_none("COMMIT")

    def rollback(self) -> None:
        """Roll the open transaction back; silent when the connection is already gone."""
        if not self._raw.closed:
            try:
                self._raw.execute("ROLLBACK")
            except psycopg.Error:
                self._raw.close()

    def close(self) -> None:
        """Close the session."""
        self._raw.close()

    @contextmanager
    def _settled(self) -> Iterator[None]:
        """Behind a pooler, where settings last for a transaction, open one around a lone statement."""
        if not self._pooled or self._raw.info.transaction_status != TransactionStatus.IDLE:
            yield
            return
        with self.transaction():
            yield

    def _set_up(self) -> None:
        self._single_none("; ".join((*self._settings("SET"), _NO_TIMEOUTS)))

    def _settings(self, verb: str) -> Iterator[str]:
        yield f"{verb} TIME ZONE 'UTC'"
        yield f"{verb} lock_timeout = '10s'"
        yield f"{verb} client_min_messages = warning"
        yield f"{verb} client_encoding = 'UTF8'"
        yield f"{verb} standard_conforming_strings = on"
        # What a policy hides from this user would be missing everywhere without a word: rather an error.
        yield f"{verb} row_security = off"
        # Values as text, whatever the database or the user prefers: they travel so, and are compared so.
        yield f"{verb} datestyle = 'ISO, YMD'"
        yield f"{verb} intervalstyle = 'postgres'"
        yield f"{verb} extra_float_digits = 1"
        yield f"{verb} quote_all_identifiers = off"
        # Compiling long expressions takes longer than what it saves in a statement that runs once.
        yield f"{verb} jit = off"
        if self.url.schema:
            yield f"{verb} search_path = {self.dialect.quote(self.url.schema)}"

    def _single(self, sql: str) -> Any:
        with _translated(Query("connection", "", sql)):
            row = self._raw.execute(sql).fetchone()
        return next(iter(row.values())) if row else None

    def _single_none(self, sql: str) -> None:
        with _translated(Query("connection", "", sql)):
            self._raw.execute(sql)


class _MomentLoader(TimestamptzLoader):
    """Reads a time; one that Python's calendar lacks is its first or last moment.

    Whoever is measured may send such a time with an event, and infinity is one.
    """

    def load(self, data: Buffer) -> datetime:
        try:
            return super().load(data)
        except psycopg.DataError:
            text = bytes(data)
            is_early = text.startswith(b"-") or text.endswith(b"BC")
            return (datetime.min if is_early else datetime.max).replace(tzinfo=UTC)


def _copied(raw: PGconn) -> Iterator[tuple[bytes, int]]:
    """Yield what a COPY sends, many rows at a time; to its end, or to its failure, which is the result."""
    held: list[bytes] = []
    held_bytes = 0
    while True:
        size_bytes, data = raw.get_copy_data(1)
        if size_bytes > 0:
            held.append(bytes(data))
            held_bytes += size_bytes
            if held_bytes >= _PIECE_BYTES:
                yield b"".join(held), len(held)
                held, held_bytes = [], 0
        elif size_bytes == 0:  # nothing has come yet
            select.select([raw.socket], [], [])
            raw.consume_input()
        else:
            break
    if held:
        yield b"".join(held), len(held)


def _last_result(raw: PGconn) -> PGresult:
    """Return how a COPY ended, and leave the session ready for the next statement."""
    result = raw.get_result()
    assert result is not None, "a COPY has a result"
    while raw.get_result() is not None:
        pass
    return result


def _expect(result: PGresult, status: ExecStatus) -> None:
    if result.status != status:
        raise pg.error_from_result(result, encoding="utf-8")


@contextmanager
def _translated(query: Query) -> Iterator[None]:
    try:
        yield
    except _BROKEN as fault:
        raise ConnectionLost(f"The server closed the connection: {_first_line(fault)}") from None
    except _TRANSIENT as fault:
        raise TransientFault(f"{_first_line(fault)} (in {query.name})") from None
    except _FORBIDDEN as fault:
        raise PermissionFault(
            f"The server refuses {query.name}: {_first_line(fault)}",
            hint="Grant the right to this user, or connect as the owner of Umami's tables.",
        ) from None
    except pg.DependentObjectsStillExist as fault:
        which = "; ".join((fault.diag.message_detail or "").splitlines())
        raise DatabaseFault(f"{query.name} failed: {_first_line(fault)}: {which}") from None
    except psycopg.OperationalError as fault:
        if fault.sqlstate is None or fault.sqlstate.startswith(("08", "57P")):
            raise ConnectionLost(f"The connection broke: {_first_line(fault)}") from None
        raise DatabaseFault(f"{query.name} failed: {_first_line(fault)}") from None
    except (psycopg.DataError, psycopg.IntegrityError) as fault:
        raise BadData(f"{query.name} failed: {_first_line(fault)}") from None
    except psycopg.Error as fault:
        raise DatabaseFault(f"{query.name} failed: {_first_line(fault)}") from None


def _first_line(fault: BaseException) -> str:
    lines = str(fault).strip().splitlines()
    return lines[0][:_MESSAGE_CHARACTERS] if lines else type(fault).__name__
