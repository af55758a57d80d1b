"""Rows into and out of MySQL and MariaDB: CSV built by the server, LOAD DATA LOCAL, hashes, table locks.

The formats are those of `databases/transit.py`. Rows come out as one value of many rows (GROUP_CONCAT over a
range of the primary key), since a driver that takes rows apart in Python costs more than both servers.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from umami_ops.databases.catalogue import described
from umami_ops.databases.lines import fields, lines
from umami_ops.databases.mysql import canonical
from umami_ops.databases.transit import (
    EVERYTHING,
    MISSING,
    NULL,
    PARTING,
    Description,
    Field,
    KeyRange,
    Kind,
    Loading,
    Moment,
    Offence,
    Proof,
    Reading,
    Rows,
    Transit,
    left_of,
)
from umami_ops.errors import ConnectionLost, DatabaseFault, TransientFault
from umami_ops.sql import Query
from umami_ops.umami.schema import Table

if TYPE_CHECKING:
    from umami_ops.databases.mysql.connection import MysqlConnection

#: A piece is to take so many bytes; the first is small, as nobody knows yet how wide its rows are.
_PIECE_BYTES = 1_000_000
_FIRST_ROWS, _MOST_ROWS = 500, 20_000
#: The longest INSERT, where rows can't be loaded in bulk; below any server's max_allowed_packet.
_INSERT_BYTES = 1_000_000
#: How long writers may have to wait behind a lock that isn't had yet.
_LOCK_SECONDS = 1
#: The order in which Umami writes to its tables, so that a lock meets its transactions without a deadlock.
_WRITTEN = ("session", "session_data", "website_event", "event_data", "revenue")
_WIDTH = re.compile(r"\b((?:tiny|small|medium|big)?int)\((\d+)\)")

# What a session needs once before rows move. Strict, so that a value that doesn't fit is an error, not a
# shorter value; MariaDB cuts fractions of seconds off by itself, MySQL if told.
_MODE = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION"
_SETTINGS = (
    "SET SESSION group_concat_max_len = 1073741824, net_read_timeout = 3600, net_write_timeout = 3600,"
    f" foreign_key_checks = 0, sql_notes = 0, sql_mode = '{_MODE}'"
    f" /*!80000 , sql_mode = '{_MODE},TIME_TRUNCATE_FRACTIONAL' */"
)
# While bytes stand in a statement as they are, a backslash is a character like any other.
_PLAIN = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')"


class MysqlTransit(Transit):
    """What a MySQL or MariaDB session can do for rows on the move."""

    _by_key = " FORCE INDEX (PRIMARY)"

    def __init__(self, connection: MysqlConnection) -> None:
        super().__init__(connection)
        self._connection = connection
        connection.run(_query(_SETTINGS))

    # --- schema ---------------------------------------------------------------------------------------

    def describe(self) -> Description:
        """Return the schema as the catalogue shows it, MariaDB's in MySQL's words."""
        is_mariadb = self._connection.server().flavour == "mariadb"
        return described(self._connection, _plain_type, _plain_default if is_mariadb else _mysql_default)

    def create_statements(self, table: Table, *, temporary: bool = False) -> list[str]:
        """Return CREATE TABLE with the primary key, in whose order InnoDB keeps the rows."""
        from umami_ops.databases.mysql import ddl

        return [ddl.table_statement(table, temporary=temporary)]

    def index_statements(self, table: Table, own: Table | None = None) -> list[str]:
        """Return one ALTER TABLE: all indexes are built in one pass over the rows."""
        from umami_ops.databases.mysql import ddl

        return ddl.index_statements(left_of(table, own))

    def finish_statements(self, table: Table, own: Table | None = None) -> list[str]:
        """Return the foreign keys."""
        from umami_ops.databases.mysql import ddl

        return ddl.foreign_key_statements(left_of(table, own))

    def settle_statement(self, tables: Sequence[str]) -> str:
        """Return ANALYZE TABLE."""
        return f"ANALYZE TABLE {', '.join(self._quote(name) for name in tables)}"

    # --- one moment -----------------------------------------------------------------------------------

    @contextmanager
    def freeze(self, tables: Sequence[str]) -> Iterator[Moment | None]:
        """Lock against writes until others have begun: everything where that is allowed, else the tables.

        The first waits for statements alone, never for transactions; the second may be what a transaction of
        several tables waits for, while it waits for that, and then the server ends one of the two.
        """
        listed = ", ".join(f"{self._quote(name)} READ" for name in sorted(tables, key=_place_in_writing))
        if not (self._locked("FLUSH TABLES WITH READ LOCK", 2) or self._locked(f"LOCK TABLES {listed}", 8)):
            yield None
            return
        try:
            yield Moment()
        finally:
            self._connection.run(_query("UNLOCK TABLES", "transfer.thaw"))

    def _locked(self, statement: str, tries: int) -> bool:
        """Lock, and give up in time: while this waits, writers wait behind it."""
        self._connection.run(_query(f"SET SESSION lock_wait_timeout = {_LOCK_SECONDS}"))
        for _ in range(tries):
            try:
                self._connection.run(_query(statement, "transfer.freeze"))
            except TransientFault:
                time.sleep(_LOCK_SECONDS * random.uniform(0.1, 1))
            except ConnectionLost:
                raise
            except (
                DatabaseFault
            ):  # it isn't allowed: kinds of servers and of hosting have a number each for that
                return False
            else:
                return True
        return False

    def begin_at(self, moment: Moment | None) -> None:  # noqa: ARG002 -- it is now, while tables are locked
        """Begin a read-only transaction with a consistent snapshot."""
        self._connection.begin(read_only=True)

    # --- rows -----------------------------------------------------------------------------------------

    def read(
        self,
        rows: Rows,
        keys: KeyRange = EVERYTHING,
        *,
        condition: str = "",
        values: Mapping[str, object] | None = None,
        ordered: bool = False,  # noqa: ARG002 -- the primary key is the order in which rows lie
    ) -> Reading:
        """Return the rows of a range, slice by slice of the primary key, or row by row without a key."""
        if rows.key is None:
            return Reading(self._streamed(rows, self._where(rows, keys, condition, values)))
        return Reading(self._sliced(rows, keys, condition, values))

    def keys_deferred(self, rows: Rows) -> AbstractContextManager[None]:  # noqa: ARG002 -- none is checked
        """Do nothing: sessions that move rows have foreign keys switched off."""
        return nullcontext()

    def read_keys(self, rows: Rows, keys: Sequence[str]) -> Reading:
        """Return the rows with these keys."""
        return Reading(self._streamed(rows, self._where_keys(rows, keys)))

    def _sliced(
        self, rows: Rows, keys: KeyRange, condition: str, values: Mapping[str, object] | None
    ) -> Iterator[tuple[bytes, int]]:
        wanted = _FIRST_ROWS
        since = keys.since
        while True:
            until = self.key_after(rows, KeyRange(since, keys.until), wanted) or keys.until
            where = self._where(rows, KeyRange(since, until), condition, values)
            statement = (
                "SELECT COUNT(*) AS row_count,"  # noqa: S608
                f" CAST(GROUP_CONCAT({self._line(rows)} SEPARATOR '\n') AS BINARY) AS piece"
                f" FROM {self._quote(rows.table)}{self._by_key}{where}"
            )
            row = self._connection.unwarned_row(_query(statement, f"read_{rows.table}"))
            if row is None and wanted == 1:
                raise DatabaseFault(
                    f"A row of {rows.table} is longer than the server may send.",
                    hint="Raise max_allowed_packet on the source.",
                )
            if row is None:  # cut short: too much for one packet
                wanted = max(1, wanted // 4)
                continue
            if row["row_count"]:
                piece = row["piece"] + b"\n"
                yield piece, int(row["row_count"])
                wide = len(piece) / int(row["row_count"])
                wanted = int(min(_MOST_ROWS, max(1, min(4 * wanted, _PIECE_BYTES / wide))))
            if until == keys.until:
                return
            since = until

    def _streamed(self, rows: Rows, where: str) -> Iterator[tuple[bytes, int]]:
        statement = f"SELECT CAST({self._line(rows)} AS BINARY) FROM {self._quote(rows.table)}{where}"  # noqa: S608
        return self._connection.pieces(_query(statement, f"read_{rows.table}"))

    def write(self, rows: Rows, pieces: Iterable[bytes]) -> int:
        """Load bytes by LOAD DATA LOCAL, whose errors come as warnings, or by long INSERTs."""
        if self.loading().in_bulk:
            return self._connection.load(_query(self._load_statement(rows), f"write_{rows.table}"), pieces)
        found = lines(pieces)
        binary = [place for place, item in enumerate(rows.fields) if item.kind is Kind.BYTES]
        if binary:
            found = (_with_literals(line, binary) for line in found)
        taken = 0
        self._connection.run(_query(_PLAIN))
        columns = ", ".join(self._quote(name) for name in rows.names)
        head = f"INSERT INTO {self._quote(rows.table)} ({columns}) VALUES (".encode()  # noqa: S608
        for batch in _in_batches(found):
            statement = head + b"),(".join(batch) + b")"
            taken += self._connection.insert(_query("", f"write_{rows.table}"), statement)
        self._connection.run(_query(_SETTINGS))
        return taken

    def loading(self) -> Loading:
        """Say whether LOAD DATA LOCAL is allowed."""
        if int(self._connection.value(self._connection.dialect.queries["transfer.bulk_allowed"])):
            return Loading(in_bulk=True)
        return Loading(
            in_bulk=False,
            remark="local_infile is off at the target, so rows are inserted, which takes twice as long; an "
            "administrator can switch it on for a while: SET GLOBAL local_infile = 1.",
        )

    def _load_statement(self, rows: Rows) -> str:
        columns = ", ".join(
            f"@v{place}" if item.kind is Kind.BYTES else self._quote(item.name)
            for place, item in enumerate(rows.fields)
        )
        binary = ", ".join(
            f"{self._quote(item.name)} = UNHEX(SUBSTRING(@v{place}, 3))"
            for place, item in enumerate(rows.fields)
            if item.kind is Kind.BYTES
        )
        return (
            f"LOAD DATA LOCAL INFILE '{{file}}' INTO TABLE {self._quote(rows.table)} CHARACTER SET utf8mb4"
            " FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' ESCAPED BY ''"
            f" LINES TERMINATED BY '\n' ({columns}){f' SET {binary}' if binary else ''}"
        )

    def offends(
        self, rows: Rows, asked: Sequence[tuple[Field, Offence]], keys: KeyRange = EVERYTHING
    ) -> bool:
        """Ask for one row that offends, by conditions over several columns at once where that is cheaper."""
        texts = [self._quote(item.name) for item, offence in asked if canonical.is_plain_nul(item, offence)]
        conditions = [
            canonical.offends(item, offence, self._quote(item.name))
            for item, offence in asked
            if not canonical.is_plain_nul(item, offence)
        ]
        if texts:
            conditions.append(f"LOCATE(0x00, CAST(CONCAT_WS('', {', '.join(texts)}) AS BINARY)) > 0")
        return self._any(rows, keys, " OR ".join(conditions))

    def offences(self, rows: Rows, asked: Sequence[tuple[Field, Offence]]) -> list[tuple[int, list[str]]]:
        """Return counts by one scan, and examples by another where there are any."""
        conditions = [canonical.offends(item, offence, self._quote(item.name)) for item, offence in asked]
        counted = ", ".join(f"SUM({part}) AS c{place}" for place, part in enumerate(conditions))
        table = self._quote(rows.table)
        row = self._connection.row(_query(f"SELECT {counted} FROM {table}", f"check_{rows.table}"))  # noqa: S608
        found = []
        for place, condition in enumerate(conditions):
            count = int(row[f"c{place}"] or 0)
            examples: list[str] = []
            if count and rows.key:
                statement = f"SELECT {self._key_text(rows)} AS k FROM {table} WHERE {condition} LIMIT 3"  # noqa: S608
                examples = [str(hit["k"]) for hit in self._connection.rows(_query(statement))]
            found.append((count, examples))
        return found

    # --- proof ----------------------------------------------------------------------------------------

    def prove(self, rows: Rows, keys: KeyRange = EVERYTHING, *, ids_as_stored: bool = False) -> Proof:
        """Return count and checksum; a row too long for the server's text would be left out of the sum."""
        found = super().prove(rows, keys, ids_as_stored=ids_as_stored)
        self._connection.require_whole(_query("", f"prove_{rows.table}"))
        return found

    def _size(self, item: Field) -> str:
        column = self._quote(item.name)
        return f"2 * OCTET_LENGTH({column})" if item.kind is Kind.BYTES else f"OCTET_LENGTH({column})"

    # --- text -----------------------------------------------------------------------------------------

    def text(self, item: Field) -> str:
        """Return the expression of a column's canonical text."""
        return canonical.text(item, self._quote(item.name))

    def as_key(self, item: Field) -> str:
        """Return text in the collation of the tables we make: users' own may tell more apart."""
        text = self.text(item)
        is_text = item.kind is Kind.TEXT
        return f"CONVERT({text} USING utf8mb4) COLLATE utf8mb4_unicode_ci" if is_text else text

    def exact(self, item: Field) -> str:
        """Return text as bytes: its collation takes texts for the same that differ. Ids become no text."""
        text = self.text(item)
        return f"CAST(CONVERT({text} USING utf8mb4) AS BINARY)" if item.kind is Kind.TEXT else text

    def _key_text(self, rows: Rows) -> str:
        return f"LOWER(CAST({self._key(rows)} AS CHAR))"  # as PostgreSQL writes an id in capitals

    def _line(self, rows: Rows) -> str:
        """Return the expression of a row as a line of CSV, constant parts joined."""
        parts: list[str] = []
        for place, item in enumerate(rows.fields):
            comma = "," if place else ""
            text = self.text(item)
            if item.kind.is_bare:
                parts += [f"'{comma}'", f"COALESCE({text}, 'NULL')" if item.nullable else text]
            elif item.kind in (Kind.ID, Kind.TIME, Kind.BYTES):
                quoted = f"""CONCAT('"', {text}, '"')"""
                parts += (
                    [f"'{comma}'", f"COALESCE({quoted}, 'NULL')"]
                    if item.nullable
                    else [f"""'{comma}"'""", text, """'"'"""]
                )
            else:
                doubled = f"""REPLACE({text}, '"', '""')"""
                quoted = f"""CONCAT('"', {doubled}, '"')"""
                parts += (
                    [f"'{comma}'", f"COALESCE({quoted}, 'NULL')"]
                    if item.nullable
                    else [f"""'{comma}"'""", doubled, """'"'"""]
                )
        return f"CONCAT({_IN_UTF8MB4}, {', '.join(part for part in parts if part != _EMPTY)})"

    def _hash(self, rows: Rows, *, ids_as_stored: bool = False) -> str:
        """Return the expression of a row's hash: the first 60 bits of SHA-256."""
        ids, runs = self._hashed(rows)
        parts = [self._run_text(run) for run in runs]
        if ids:
            # In small letters all at once: LOWER costs the server more by the call than by the letter.
            listed = f"CONCAT_WS({_PARTING}, {', '.join(self._or_marker(item) for item in ids)})"
            parts.insert(0, listed if ids_as_stored else f"LOWER({listed})")
        # A NULL is passed over, but says of which characters the text is to be, as in a line.
        text = f"CONCAT_WS({_PARTING}, CAST(NULL AS CHAR), {', '.join(parts)})" if parts else "''"
        return f"CAST(CONV(LEFT(SHA2({text}, 256), 15), 16, 10) AS UNSIGNED)"

    def _run_text(self, run: Sequence[Field]) -> str:
        """Return the text of columns that stand together; all at once where all of several are NULL."""
        texts = ", ".join(self._or_marker(item) for item in run)
        if len(run) == 1:
            return texts
        none = " AND ".join(f"{self._quote(item.name)} IS NULL" for item in run)
        nothing = _literal(PARTING.join([MISSING] * len(run)))
        return f"IF({none}, {nothing}, CONCAT_WS({_PARTING}, {texts}))"

    def _or_marker(self, item: Field) -> str:
        text = self._quote(item.name) if item.kind is Kind.ID else self.text(item)
        return f"COALESCE({text}, {_MISSING})" if item.can_be_null else text


def _literal(text: str) -> str:
    return f"_utf8mb4 0x{text.encode().hex()}"


_PARTING, _MISSING = _literal(PARTING), _literal(MISSING)
_EMPTY = "''"
#: Joins as nothing, but in the session's characters: a literal takes on those of a column, be they latin1.
_IN_UTF8MB4 = "CAST('' AS CHAR)"


def _place_in_writing(table: str) -> tuple[int, str]:
    return (_WRITTEN.index(table) if table in _WRITTEN else len(_WRITTEN), table)


def _with_literals(line: bytes, binary: Sequence[int]) -> bytes:
    r"""Return a row with MySQL's literals of bytes (x'…') in the place of text that tells them ("\x…")."""
    parts = list(fields(line))
    for place in binary:
        if parts[place] != NULL:
            parts[place] = b"x'%b'" % parts[place][3:-1]
    return b",".join(parts)


def _in_batches(rows: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield rows for a statement each; one that is longer than a statement has one to itself."""
    batch: list[bytes] = []
    size_bytes = 0
    for line in rows:
        line_bytes = len(line) + 3
        if batch and size_bytes + line_bytes > _INSERT_BYTES:
            yield batch
            batch, size_bytes = [], 0
        batch.append(line)
        size_bytes += line_bytes
    if batch:
        yield batch


def _plain_type(text: str) -> str:
    """Return a type without the display width of whole numbers, unless it says boolean or is filled up."""
    return text if text == "tinyint(1)" or text.endswith("zerofill") else _WIDTH.sub(r"\1", text)


def _mysql_default(text: str) -> str | None:
    return text


def _plain_default(text: str) -> str | None:
    """Return MariaDB's expression as MySQL shows a default: a string without its quotes."""
    if text == "NULL":
        return None
    if text.lower().startswith("current_timestamp"):
        return text.upper().replace("()", "")
    if text.startswith("'") and text.endswith("'"):
        return text[1:-1].replace("''", "'")
    return text


def _query(text: str, name: str = "transfer.statement") -> Query:
    return Query(name, "", text)
