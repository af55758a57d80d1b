"""Rows into and out of PostgreSQL: COPY in CSV, hashes by the server, an exported snapshot.

The formats are those of `databases/transit.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from umami_ops.databases.catalogue import described
from umami_ops.databases.postgresql import canonical
from umami_ops.databases.transit import (
    EVERYTHING,
    MISSING,
    PARTING,
    Description,
    Field,
    KeyRange,
    Kind,
    Loading,
    Moment,
    Offence,
    Reading,
    Rows,
    Transit,
    left_of,
)
from umami_ops.sql import Query
from umami_ops.umami.schema import Index, Table

if TYPE_CHECKING:
    from umami_ops.databases.postgresql.connection import PostgresqlConnection


#: The release from which eight bytes are a number by a cast; before it they are spelt out and read again.
_CASTS_BYTES_FROM = 18


class PostgresqlTransit(Transit):
    """What a PostgreSQL session can do for rows on the move."""

    def __init__(self, connection: PostgresqlConnection) -> None:
        super().__init__(connection)
        self._connection = connection

    # --- schema ---------------------------------------------------------------------------------------

    def describe(self) -> Description:
        """Return the schema as the catalogue shows it."""
        return described(self._connection, lambda type_: type_, lambda default: default)

    def create_statements(self, table: Table, *, temporary: bool = False) -> list[str]:
        """Return CREATE TABLE, without any key: each is built by one sort after the load."""
        from umami_ops.databases.postgresql import ddl

        return [ddl.table_statement(replace(table, primary_key=None), temporary=temporary)]

    def index_statements(self, table: Table, own: Table | None = None) -> list[str]:
        """Return a statement for each index; the primary key's is one among them, and may be built beside."""
        from umami_ops.databases.postgresql import ddl

        key = left_of(table, own).primary_key
        unique = [Index(key.name, key.columns, unique=True)] if key else []
        whole = replace(table, indexes=(*unique, *table.indexes))
        return ddl.index_statements(left_of(whole, own))

    def finish_statements(self, table: Table, own: Table | None = None) -> list[str]:
        """Return what makes the index the primary key, which reads no row again, and foreign keys."""
        from umami_ops.databases.postgresql import ddl

        table = left_of(table, own)
        key = table.primary_key
        quote = self._quote
        attach = (
            [
                f"ALTER TABLE {quote(table.name)} ADD CONSTRAINT {quote(key.name)}"
                f" PRIMARY KEY USING INDEX {quote(key.name)}"
            ]
            if key
            else []
        )
        return [*attach, *ddl.foreign_key_statements(table)]

    def settle_statement(self, tables: Sequence[str]) -> str:
        """Return VACUUM (ANALYZE), which also notes of each page that everybody sees all its rows.

        Without it whoever reads looks at every row's transaction, and at the table behind every index, until
        autovacuum has come. There are no dead rows: it reads the table once, and no index.
        """
        return f"VACUUM (ANALYZE) {', '.join(self._quote(name) for name in tables)}"

    # --- one moment -----------------------------------------------------------------------------------

    @contextmanager
    def freeze(self, tables: Sequence[str]) -> Iterator[Moment | None]:
        """Export a snapshot, and keep this session's transaction open while others begin at it.

        Locks the tables as any reader does (ACCESS SHARE), all of them and before the moment: a table that is
        rewritten afterwards, as some of Umami's migrations do, is an empty one to whoever looks at it.
        """
        with self._connection.transaction(read_only=True):
            if tables:
                listed = ", ".join(self._quote(name) for name in tables)
                self._connection.run(_query(f"LOCK TABLE {listed} IN ACCESS SHARE MODE"))
            yield Moment(str(self._connection.value(_query("SELECT pg_export_snapshot() AS token"))))

    def begin_at(self, moment: Moment | None) -> None:
        """Begin a read-only transaction on an exported snapshot, or on a new one."""
        self._connection.begin(read_only=True)
        if moment is not None and moment.token is not None:
            token = self._connection.literal(moment.token)
            self._connection.run(_query(f"SET TRANSACTION SNAPSHOT {token}"))

    # --- rows -----------------------------------------------------------------------------------------

    def read(
        self,
        rows: Rows,
        keys: KeyRange = EVERYTHING,
        *,
        condition: str = "",
        values: Mapping[str, object] | None = None,
        ordered: bool = False,
    ) -> Reading:
        """Return the rows of a range by COPY TO."""
        where = self._where(rows, keys, condition, values or {})
        order = f" ORDER BY {self._quote(rows.key)}" if ordered and rows.key else ""
        return Reading(self._pieces(rows, where + order))

    @contextmanager
    def keys_deferred(self, rows: Rows) -> Iterator[None]:
        """Let keys wait that each statement checks; what fails takes that back with the transaction."""
        found = self._connection.rows(
            self._connection.dialect.queries["transfer.prompt_keys"], relation=rows.table
        )
        keys = [
            f"ALTER TABLE {self._quote(row['schema_name'])}.{self._quote(row['relation'])}"
            f" ALTER CONSTRAINT {self._quote(row['name'])}"
            for row in found
        ]
        for key in keys:
            self._connection.run(_query(f"{key} DEFERRABLE"))
        self._connection.run(_query("SET CONSTRAINTS ALL DEFERRED"))
        yield
        self._connection.run(_query("SET CONSTRAINTS ALL IMMEDIATE"))
        for key in keys:
            self._connection.run(_query(f"{key} NOT DEFERRABLE"))

    def read_keys(self, rows: Rows, keys: Sequence[str]) -> Reading:
        """Return the rows with these keys."""
        return Reading(self._pieces(rows, self._where_keys(rows, keys)))

    def _pieces(self, rows: Rows, where: str) -> Iterator[tuple[bytes, int]]:
        columns = ", ".join(f"{self.text(item)} AS {self._quote(item.name)}" for item in rows.fields)
        quoted = ", ".join(self._quote(item.name) for item in rows.fields if not item.kind.is_bare)
        force = f", FORCE_QUOTE ({quoted})" if quoted else ""
        source = f"SELECT {columns} FROM {self._quote(rows.table)}{where}"  # noqa: S608 -- identifiers are quoted
        statement = f"COPY ({source}) TO STDOUT (FORMAT csv, NULL 'NULL'{force})"
        return self._connection.copy_out(_query(statement, f"read_{rows.table}"))

    def write(self, rows: Rows, pieces: Iterable[bytes]) -> int:
        """Load bytes by COPY FROM, which fails at the first value that it can't take."""
        columns = ", ".join(self._quote(name) for name in rows.names)
        statement = f"COPY {self._quote(rows.table)} ({columns}) FROM STDIN (FORMAT csv, NULL 'NULL')"
        return self._connection.copy_in(_query(statement, f"write_{rows.table}"), pieces)

    def loading(self) -> Loading:
        """Say that it is COPY."""
        return Loading(in_bulk=True)

    def offends(
        self, rows: Rows, asked: Sequence[tuple[Field, Offence]], keys: KeyRange = EVERYTHING
    ) -> bool:
        """Ask for one row that offends."""
        conditions = " OR ".join(
            canonical.offends(item, offence, self._quote(item.name)) for item, offence in asked
        )
        return self._any(rows, keys, conditions)

    def offences(self, rows: Rows, asked: Sequence[tuple[Field, Offence]]) -> list[tuple[int, list[str]]]:
        """Return counts and examples by one scan, which sorts nothing."""
        key = self._key_text(rows) if rows.key else "''"
        parts = []
        for place, (item, offence) in enumerate(asked):
            condition = canonical.offends(item, offence, self._quote(item.name))
            parts.append(f"COUNT(*) FILTER (WHERE {condition}) AS c{place}")
            parts.append(f"(array_agg({key}) FILTER (WHERE {condition}))[1:3] AS e{place}")
        statement = f"SELECT {', '.join(parts)} FROM {self._quote(rows.table)}"  # noqa: S608
        row = self._connection.row(_query(statement, f"check_{rows.table}"))
        return [(int(row[f"c{place}"]), list(row[f"e{place}"] or ())) for place in range(len(asked))]

    # --- text -----------------------------------------------------------------------------------------

    def text(self, item: Field) -> str:
        """Return the expression of a column's canonical text."""
        return canonical.text(item, self._quote(item.name))

    def _size(self, item: Field) -> str:
        column = self._quote(item.name)
        if item.kind is Kind.BYTES:
            return f"2 * CAST(octet_length({column}) AS bigint)"
        return f"CAST(octet_length(CAST({column} AS text)) AS bigint)"

    def _key_text(self, rows: Rows) -> str:
        return f"CAST({self._key(rows)} AS text)"

    def _hash(self, rows: Rows, *, ids_as_stored: bool = False) -> str:  # noqa: ARG002 -- a uuid has no capitals
        """Return the expression of a row's hash: the first 60 bits of SHA-256."""
        ids, runs = self._hashed(rows)
        parts = [*map(self._or_marker, ids), *map(self._run_text, runs)]
        # One function that builds the text: a chain of operators would copy it once a column.
        text = f"concat_ws({_PARTING}, {', '.join(parts)})" if parts else "''"
        first = f"substr(sha256(convert_to({text}, 'UTF8')), 1, 8)"
        if int(self._connection.server().version.partition(".")[0]) >= _CASTS_BYTES_FROM:
            return f"((CAST({first} AS bigint) >> 4) & {2**60 - 1})"
        return f"('x' || encode({first}, 'hex'))::bit(60)::bigint"

    def _run_text(self, run: Sequence[Field]) -> str:
        """Return the text of columns that stand together; all at once where all of several are NULL."""
        texts = ", ".join(map(self._or_marker, run))
        if len(run) == 1:
            return texts
        none = " AND ".join(f"{self._quote(item.name)} IS NULL" for item in run)
        nothing = f" || {_PARTING} || ".join([_MISSING] * len(run))  # a constant to the planner
        return f"CASE WHEN {none} THEN {nothing} ELSE concat_ws({_PARTING}, {texts}) END"

    def _or_marker(self, item: Field) -> str:
        text = self.text(item)
        return f"COALESCE(CAST({text} AS text), {_MISSING})" if item.can_be_null else text


def _letters(text: str) -> str:
    """Return text by its characters' numbers, which is a constant to the planner, in whatever encoding."""
    return f"({' || '.join(f'chr({ord(letter)})' for letter in text)})"


_PARTING, _MISSING = _letters(PARTING), _letters(MISSING)


def _query(text: str, name: str = "transfer.statement") -> Query:
    return Query(name, "", text)
