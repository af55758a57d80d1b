"""Rows on the move: what may be asked of a database that gives them, takes them, or proves them.

Rows travel as bytes of one CSV dialect that the servers write and read themselves (docs/decisions/0010): a
comma between fields, a newline (and nothing else) behind a row, every value in double quotes with quotes
doubled, but for numbers and booleans (1 and 0), which stand bare, and NULL, which is the bare word. UTF-8, no
escapes, no header. Such a row between parentheses is also a MySQL row constructor.

Whoever asks knows no dialect: `postgresql/transit.py` and `mysql/transit.py` answer. Used by migrate, verify,
the portable backup, restore and export.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Protocol

from umami_ops.rows import Field, KeyRange, Kind, Pair, Rows
from umami_ops.sql import Query
from umami_ops.umami.schema import Column, Table

__all__ = [
    "EVERYTHING", "MISSING", "NOTHING", "NULL", "PARTING", "Description", "Field", "KeyRange", "Kind",
    "Loading", "Moment", "Offence", "Pair", "Proof", "Reading", "Rows", "Thing", "Transit",
]  # fmt: skip

#: The word for NULL; it stands without quotes.
NULL = b"NULL"

#: What text hardly ever holds; tabs and ends of lines it does.
_CONTROLS = "".join(chr(code) for code in (*range(1, 9), 11, 12, *range(14, 32), 127))
_DRAWN = "".join(random.SystemRandom().sample(_CONTROLS, 6))
#: What parts the values in a row's hashed text, and what stands there for NULL. Each process draws its own,
#: so that no value that is stored can have been made to look like either: two rows would have one text. No
#: character is in them twice, so neither is found where the end of a value meets the beginning of one.
PARTING, MISSING = _DRAWN[:3], _DRAWN[3:]

#: How many columns in a row are asked at once whether they are all NULL; of 2 to 13 tried the fastest.
_RUN = 4

#: A table that is tried out; in a schema there never is one of that name.
_TRIAL = "_umami_ops_trial"

#: All rows of a table.
EVERYTHING = KeyRange()


@dataclass(frozen=True)
class Proof:
    """What a server says of a range of rows: their number, and the sum of their hashes.

    A row's hash is the first 60 bits of the SHA-256 of its canonical text, so the sum doesn't depend on the
    order. Two servers that say the same to one process hold the same rows, at the precision asked for.
    """

    rows: int
    checksum: int

    def __add__(self, other: Proof) -> Proof:
        return Proof(self.rows + other.rows, self.checksum + other.checksum)


NOTHING = Proof(0, 0)


@dataclass
class Reading:
    """Rows as they come out of a server: iterate over it once for the bytes, in pieces that end with a row.

    `rows` counts those handed out so far; it is the server's own count, so a piece that lacks a row raises.
    """

    pieces: Iterator[tuple[bytes, int]]
    rows: int = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece, rows in self.pieces:
            self.rows += rows
            yield piece


@dataclass(frozen=True)
class Thing:
    """Something in a schema that isn't a table with columns and indexes: it can't be moved, only named.

    `table` is the one that it belongs to, if it does.
    """

    kind: str  # view, trigger, extension, sequence, function, generated column …
    name: str
    table: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Description:
    """A schema as the catalogue shows it: tables with all their columns, keys and indexes.

    Types and defaults are spelt as `umami/schema.py` spells them, MariaDB's as MySQL's. `others` is what has
    no place in that. `bound` are columns, with their tables' names, whose type stays behind when they move:
    another server of the dialect may not have it, or it has no text. `heirs` are tables, behind
    the name of the one whose readers get their rows as well.
    """

    tables: tuple[Table, ...]
    others: tuple[Thing, ...] = ()
    bound: tuple[tuple[str, Column], ...] = ()
    heirs: tuple[tuple[str, str], ...] = ()

    def table(self, name: str) -> Table | None:
        """Return the table of that name, if there is one."""
        return next((table for table in self.tables if table.name == name), None)

    def others_of(self, tables: Collection[str]) -> tuple[Thing, ...]:
        """Return what belongs to these tables and has no place in them."""
        return tuple(thing for thing in self.others if thing.table in tables)


@dataclass(frozen=True)
class Moment:
    """A moment of a database that several sessions can look at. `token` names it, where it has a name."""

    token: str | None = None


class Offence(Enum):
    """What can be wrong with a value that is to cross."""

    NUL = "nul"  # a NUL character, or \\u0000 in JSON
    ZERO_DATE = "zero-date"
    NOT_AN_ID = "not-a-uuid"
    OUTSIDE_TIMESTAMP = "outside-1970-2038"
    OUTSIDE_DATETIME = "outside-1-9999"
    TOO_LARGE = "above-2147483647"
    NEGATIVE = "negative"
    NAN = "not-a-number"
    TOO_LONG = "too-long"
    BLANK_END = "blank-at-the-end"
    NOT_BOOLEAN = "neither-0-nor-1"


@dataclass(frozen=True)
class Loading:
    """How rows enter a server: in bulk (COPY, LOAD DATA LOCAL), or by INSERTs where that is switched off."""

    in_bulk: bool
    remark: str = ""


class Quoting(Protocol):
    """What is asked of a dialect here."""

    def quote(self, identifier: str) -> str:
        """Quote one identifier."""


class Session(Protocol):
    """What is asked of a connection here: `base.Connection` is one."""

    @property
    def dialect(self) -> Quoting:
        """The dialect."""

    def rows(self, query: Query, **values: Any) -> list[dict[str, Any]]:
        """Run a query and return all its rows."""

    def row(self, query: Query, **values: Any) -> dict[str, Any]:
        """Run a query that returns exactly one row."""

    def run(self, query: Query, **values: Any) -> int:
        """Run a statement and return the number of rows it touched."""

    def literal(self, value: Any) -> str:
        """Return a value as this server would read it in a statement."""

    def render(self, query: Query, values: Mapping[str, Any]) -> str:
        """Return the statement with the known values written in."""


class Transit(ABC):
    """What a session can do for rows on the move. Get it by `Connection.transit()`.

    Every method talks to the server and raises what `Connection` raises. Nothing here opens or ends a
    transaction but `freeze` and `begin_at`: the caller decides what is one.
    """

    #: What makes the server walk along the primary key, behind a table's name.
    _by_key = ""

    def __init__(self, session: Session) -> None:
        self._session = session

    # --- schema ---------------------------------------------------------------------------------------

    @abstractmethod
    def describe(self) -> Description:
        """Return the schema as the catalogue shows it; `_prisma_migrations` and our own tables included."""

    @abstractmethod
    def create_statements(self, table: Table, *, temporary: bool = False) -> list[str]:
        """Return what creates the table without secondary indexes: right for a fast load.

        A temporary one is this session's alone.
        """

    @abstractmethod
    def index_statements(self, table: Table, own: Table | None = None) -> list[str]:
        """Return what makes keys and indexes after the load, in as few passes as the server allows.

        Each statement may run in a session of its own, beside the others. `own` is the table as it is: what
        that has by the same name is left out.
        """

    @abstractmethod
    def finish_statements(self, table: Table, own: Table | None = None) -> list[str]:
        """Return what is quick once the indexes stand: the primary key on its index, foreign keys.

        What `own`, the table as it is, has already is left out.
        """

    @abstractmethod
    def settle_statement(self, tables: Sequence[str]) -> str:
        """Return what tables need after a load: the planner's statistics, and what else makes reading cheap.

        Not for a transaction; the caller gives it to `Connection.maintain`.
        """

    def try_out(self, table: Table) -> None:
        """Make an empty table like this for this session alone, with its indexes, and drop it again.

        Foreign keys are left out. Raises DatabaseFault where the server makes no such table.
        """
        trial = replace(table, name=_TRIAL, foreign_keys=())
        texts = [*self.index_statements(trial), *self.finish_statements(trial)]
        for text in self.create_statements(trial, temporary=True):
            self._session.run(_query(text, f"trying out {table.name}"))
        try:
            for text in texts:
                self._session.run(_query(text, f"trying out {table.name}"))
        finally:
            self._session.run(_query(f"DROP TABLE {self._quote(_TRIAL)}"))

    # --- one moment -----------------------------------------------------------------------------------

    @abstractmethod
    def freeze(self, tables: Sequence[str]) -> AbstractContextManager[Moment | None]:
        """Hold the database still while other sessions `begin_at` the moment; short.

        PostgreSQL exports a snapshot (this session keeps its transaction open, and what rewrites or drops one
        of the tables waits for its end). MySQL locks the tables against writes until all have begun (LOCK
        TABLES … READ). Yields None where neither is allowed: then two sessions can't see the same moment.
        """

    @abstractmethod
    def begin_at(self, moment: Moment | None) -> None:
        """Begin a read-only transaction that sees that moment, or now where there is none."""

    # --- rows -----------------------------------------------------------------------------------------

    @abstractmethod
    def read(
        self,
        rows: Rows,
        keys: KeyRange = EVERYTHING,
        *,
        condition: str = "",
        values: Mapping[str, object] | None = None,
        ordered: bool = False,
    ) -> Reading:
        """Return the rows of a key range as bytes, encoded by the server.

        Holds a piece at a time in memory. `condition` is a further SQL condition with `:name` values; with
        `ordered` rows come in the order of their key, which InnoDB wants when it loads them.
        """

    @abstractmethod
    def write(self, rows: Rows, pieces: Iterable[bytes]) -> int:
        """Load bytes of the format above, cut wherever, and return how many rows the server took.

        Raises DatabaseFault when the server warned of a value, cut one short or left a row out. The caller
        compares the number with what was sent, and commits. Times lose what the column can't hold, by
        truncation.
        """

    @abstractmethod
    def loading(self) -> Loading:
        """Say how `write` will do it."""

    @abstractmethod
    def offends(
        self, rows: Rows, asked: Sequence[tuple[Field, Offence]], keys: KeyRange = EVERYTHING
    ) -> bool:
        """Whether any value of a range offends; one scan, and the cheapest that answers that."""

    @abstractmethod
    def offences(self, rows: Rows, asked: Sequence[tuple[Field, Offence]]) -> list[tuple[int, list[str]]]:
        """Return for each question how many values offend, and the keys of three of them; one scan in all."""

    def long_rows(self, rows: Rows, most_bytes: int) -> tuple[int, list[str]]:
        """Return how many rows take more bytes than that on the way, and the keys of three of them."""
        table = self._quote(rows.table)
        sizes = (f"COALESCE({self._size(item)}, 4) + 3" for item in rows.fields)
        where = f" FROM {table} WHERE {' + '.join(sizes)} > {most_bytes}"
        count = int(self._session.row(_query(f"SELECT COUNT(*) AS row_count{where}"))["row_count"])
        if not count or rows.key is None:
            return count, []
        found = self._session.rows(_query(f"SELECT {self._key_text(rows)} AS found_key{where} LIMIT 3"))
        return count, [str(row["found_key"]) for row in found]

    @abstractmethod
    def _size(self, item: Field) -> str:
        """Return the expression of how many bytes a value takes on the way, quotes doubled not counted."""

    def prove(self, rows: Rows, keys: KeyRange = EVERYTHING, *, ids_as_stored: bool = False) -> Proof:
        """Return count and checksum of a range, computed by the server over canonical text.

        Columns whose text differs between dialects (`Field.has_one_text`) are left out; see `transfer.proof`.
        `ids_as_stored` spares the server what only ids in capitals need: sides that agree are the same; sides
        that don't are to be asked without it.
        """
        hash_ = self._hash(rows, ids_as_stored=ids_as_stored)
        statement = (
            f"SELECT COUNT(*) AS row_count, COALESCE(SUM({hash_}), 0) AS checksum"  # noqa: S608
            f" FROM {self._quote(rows.table)}{self._where(rows, keys)}"
        )
        row = self._session.row(_query(statement, f"prove_{rows.table}"))
        return Proof(int(row["row_count"]), int(row["checksum"]))

    def fingerprints(self, rows: Rows, keys: KeyRange = EVERYTHING) -> dict[str, int]:
        """Return key → sum of the hashes of the rows with that key, for a range small enough to hold."""
        statement = (
            f"SELECT {self._key_text(rows)} AS found_key, SUM({self._hash(rows)}) AS hash"  # noqa: S608
            f" FROM {self._quote(rows.table)}{self._where(rows, keys)} GROUP BY {self._key(rows)}"
        )
        found = self._session.rows(_query(statement, f"compare_{rows.table}"))
        return {row["found_key"]: int(row["hash"]) for row in found}

    def hashes(self, rows: Rows, keys: KeyRange = EVERYTHING) -> dict[int, int]:
        """Return hash → number of the rows that have it, for a range small enough to hold."""
        statement = (
            f"SELECT {self._hash(rows)} AS hash, COUNT(*) AS row_count"  # noqa: S608
            f" FROM {self._quote(rows.table)}{self._where(rows, keys)} GROUP BY 1"
        )
        found = self._session.rows(_query(statement, f"tell_{rows.table}"))
        return {int(row["hash"]): int(row["row_count"]) for row in found}

    def key_after(self, rows: Rows, keys: KeyRange, skip: int) -> str | None:
        """Return the key that `skip` rows of the range come before; None when there are no more than that.

        Where many rows share that key with the range's start, the next key. Cheap: walks the primary key.
        Only where `rows.key` is set.
        """
        found = self._first_key(rows, self._where(rows, keys), skip)
        return found if found is None or found != keys.since else self.next_key(rows, found)

    def next_key(self, rows: Rows, after: str) -> str | None:
        """Return the first key after this one; None when there is none."""
        return self._first_key(rows, f" WHERE {self._key(rows)} > {self._session.literal(after)}", 0)

    def _first_key(self, rows: Rows, where: str, skip: int) -> str | None:
        statement = (
            f"SELECT {self._key_text(rows)} AS found_key FROM {self._quote(rows.table)}{self._by_key}{where}"  # noqa: S608
            f" ORDER BY {self._key(rows)} LIMIT 1 OFFSET {skip}"
        )
        found = self._session.rows(_query(statement, "transfer.first_key"))
        return found[0]["found_key"] if found else None

    def delete(self, rows: Rows, keys: KeyRange) -> int:
        """Delete a range of rows; returns how many."""
        where = self._where(rows, keys)
        return self._session.run(_query(f"DELETE FROM {self._quote(rows.table)}{where}"))  # noqa: S608

    def delete_keys(self, rows: Rows, keys: Sequence[str]) -> int:
        """Delete the rows with these keys; returns how many."""
        where = self._where_keys(rows, keys)
        return self._session.run(_query(f"DELETE FROM {self._quote(rows.table)}{where}"))  # noqa: S608

    @abstractmethod
    def keys_deferred(self, rows: Rows) -> AbstractContextManager[None]:
        """Check foreign keys that refer to a table at the block's end; it is a part of a transaction."""

    @abstractmethod
    def read_keys(self, rows: Rows, keys: Sequence[str]) -> Reading:
        """Return the rows with these keys, as `read` does."""

    # --- text -----------------------------------------------------------------------------------------

    @abstractmethod
    def text(self, item: Field) -> str:
        """Return the expression of a column's canonical text: what travels of its values."""

    def as_key(self, item: Field) -> str:
        """Return the expression by which keys of tables that we make compare a column's values."""
        return self.text(item)

    def exact(self, item: Field) -> str:
        """Return the expression by which values are the same that differ in nothing."""
        return self.text(item)

    @abstractmethod
    def _hash(self, rows: Rows, *, ids_as_stored: bool = False) -> str:
        """Return the expression of a row's hash: the first 60 bits of the SHA-256 of its canonical text."""

    @staticmethod
    def _hashed(rows: Rows) -> tuple[list[Field], list[list[Field]]]:
        """Return the columns that a row's hash is made of, in its order: ids, then the others, in runs.

        The columns of a run of several may well be NULL all at once, which is asked faster than each alone:
        the text of many NULLs is a constant.
        """
        fields = [item for item in rows.fields if item.has_one_text]
        runs: list[list[Field]] = []
        for item in fields:
            if item.kind is Kind.ID:
                continue
            if (
                runs
                and len(runs[-1]) < _RUN
                and _is_plainly_nullable(item)
                and _is_plainly_nullable(runs[-1][0])
            ):
                runs[-1].append(item)
            else:
                runs.append([item])
        return [item for item in fields if item.kind is Kind.ID], runs

    @abstractmethod
    def _key_text(self, rows: Rows) -> str:
        """Return the expression of the key as text."""

    def _any(self, rows: Rows, keys: KeyRange, condition: str) -> bool:
        """Whether any row of a range meets a condition, which has no values to fill in."""
        where = self._where(rows, keys)
        by_key = self._by_key if where else ""
        statement = (
            f"SELECT 1 AS found FROM {self._quote(rows.table)}{by_key}"  # noqa: S608
            f"{where or ' WHERE 1 = 1'} AND ({condition}) LIMIT 1"
        )
        return bool(self._session.rows(_query(statement, f"check_{rows.table}")))

    def _quote(self, identifier: str) -> str:
        return self._session.dialect.quote(identifier)

    def _key(self, rows: Rows) -> str:
        assert rows.key is not None, f"{rows.table} has no key to walk along"
        return self._quote(rows.key)

    def _where(
        self, rows: Rows, keys: KeyRange, condition: str = "", values: Mapping[str, object] | None = None
    ) -> str:
        parts = []
        if keys.since is not None:
            parts.append(f"{self._key(rows)} >= {self._session.literal(keys.since)}")
        if keys.until is not None:
            parts.append(f"{self._key(rows)} < {self._session.literal(keys.until)}")
        if condition:
            parts.append(self._session.render(_query(f"({condition})"), values or {}))
        return f" WHERE {' AND '.join(parts)}" if parts else ""

    def _where_keys(self, rows: Rows, keys: Sequence[str]) -> str:
        listed = ", ".join(self._session.literal(key) for key in keys)
        return f" WHERE {self._key(rows)} IN ({listed})" if listed else " WHERE 1 = 0"


def left_of(table: Table, own: Table | None) -> Table:
    """Return a table without the keys and indexes that the one which is there has by the same name."""
    if own is None:
        return table
    built = {index.name for index in own.indexes}
    bound = {key.name for key in own.foreign_keys}
    return replace(
        table,
        primary_key=None if own.primary_key else table.primary_key,
        indexes=tuple(index for index in table.indexes if index.name not in built),
        foreign_keys=tuple(key for key in table.foreign_keys if key.name not in bound),
    )


def _is_plainly_nullable(item: Field) -> bool:
    """Whether a column's text is NULL where, and only where, the column is."""
    return item.nullable and item.repair is None and item.expression is None


def _query(text: str, name: str = "transfer.statement") -> Query:
    return Query(name, "", text)
