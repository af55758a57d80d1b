"""What an operation may ask of a database: Connection, Dialect, Features, Introspector, Database.

Nothing here knows a driver or a dialect by name. `postgresql/` and `mysql/` implement it under the same
file names, their SQL stands under the same query names in sql/, and `registry.py` picks one by the URL.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import ConnectionLost, DatabaseFault, Refused, TransientFault
from umami_ops.sql import Queries, Query, queries

if TYPE_CHECKING:  # each is loaded with the first verb that needs it
    from umami_ops.databases.alterations import Alterations
    from umami_ops.databases.dumps import DumpPrograms
    from umami_ops.databases.partitioning import Partitioning
    from umami_ops.databases.staging import Staging
    from umami_ops.databases.transit import Transit
    from umami_ops.databases.upkeep import Upkeep
    from umami_ops.plan import Rebuild

#: What stands in Umami's schema for the time of a rebuild has a name that begins so.
WORKING_PREFIX = "_umami_ops_"

#: A row as it is handed out: column name → value. Ids are text, times are aware and in UTC.
Row = dict[str, Any]
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Features:
    """What a server can and can't do, one question a line. Operations branch on these, never on a name."""

    #: Does a delete of a range also lock the row beyond its end, so that workers on neighbouring ranges wait?
    locks_beyond_range: bool
    #: Does copying the survivors and swapping the tables by RENAME beat deleting when much goes?
    rebuild_pays: bool
    #: Can an index be rebuilt without its table?
    rebuilds_indexes: bool
    #: Does the server rewrite a table while others write to it?
    rewrites_online: bool
    #: Must an index's name differ from those of other tables' indexes, too?
    index_names_are_global: bool
    #: Must a foreign key's name differ from those of other tables' foreign keys, too?
    foreign_key_names_are_global: bool
    #: Does making a foreign key, as a move does it, look at the rows that are there?
    checks_foreign_keys: bool
    #: Do two sessions load one table faster than one? Not where rows are kept in the order of their key.
    loads_side_by_side: bool
    #: Does a look along the primary key spare the server the rows? Not where they lie in the key itself.
    reads_keys_alone: bool
    #: Does the server's own dump program write several tables at once?
    dumps_side_by_side: bool
    #: Can text and JSON hold a NUL character?
    holds_nul: bool
    #: Can a number be NaN, or infinite?
    holds_nan: bool
    #: Are there dates without a year, a month or a day?
    has_zero_dates: bool
    #: Does a TIMESTAMP column end in 2038?
    timestamps_end_in_2038: bool
    #: Do unique keys take texts for the same that differ in case, accents or blanks at the end?
    keys_ignore_case: bool
    #: Does CHAR give its values back without the blanks at their end?
    char_loses_blanks: bool
    #: Has every type a text that another dialect can keep? Those of places and vectors may have none.
    types_have_text: bool
    #: Are times written with all digits that their column keeps, zeros included?
    times_show_all_digits: bool


@dataclass(frozen=True)
class Dialect:
    """One SQL dialect: its name, how it quotes identifiers, what it can do, and its queries.

    `space_after_delete` says what becomes of a deleted row's space.
    """

    name: str
    title: str
    quote_character: str
    features: Features
    space_after_delete: str
    #: So many keys at most are looked at by a transaction that deletes: where few of those before had to go,
    #: a slice has grown, and all of the next may have to.
    most_rows_deleted: int
    #: A time that no row's is before, as the server reads it: what no calendar has may be a row's time, too.
    earliest: str
    #: The first time of a row that is in the calendar: what is before, and no time at all, is not.
    first_moment: datetime
    #: What a primary key is called where nobody names it; {} is the table.
    primary_key_name: str
    #: Types of columns that take neither a default nor, without a length, an index.
    long_types: frozenset[str]
    #: How many bytes a key of an index may have at most, where that is less than a column of text may.
    most_key_bytes: int | None
    #: How many bytes a name may have at most, where the server cuts what is longer instead of refusing it.
    most_name_bytes: int | None
    #: How an empty database is made, and dropped with whoever is connected to it; {} is its quoted name.
    create_database: str
    drop_database: str
    #: What a user who may make no scratch database is to do.
    scratch_right: str

    @property
    def queries(self) -> Queries:
        """The named queries of sql/<dialect>/."""
        return queries(self.name)

    def quote(self, identifier: str) -> str:
        """Quote one identifier, doubling the quote character: the only place where that is done."""
        mark = self.quote_character
        return f"{mark}{identifier.replace(mark, mark * 2)}{mark}"


@dataclass(frozen=True)
class Server:
    """The server behind a connection. `flavour` is postgresql, mysql or mariadb.

    `time_zone` is that of Umami's sessions as far as it bears on what is stored: +00:00 wherever it doesn't.
    """

    flavour: str
    version: str
    title: str
    database: str
    schema: str
    user: str
    read_only: bool
    pooled: bool
    time_zone: str


@dataclass(frozen=True)
class Relation:
    """A table, view or partitioned table as the catalogue shows it. Sizes in bytes; rows are an estimate."""

    name: str
    kind: str
    rows_estimate: int
    table_bytes: int
    index_bytes: int


@dataclass(frozen=True)
class MigrationRow:
    """A row of `_prisma_migrations`."""

    name: str
    checksum: str
    started_at: datetime | None
    finished_at: datetime | None
    rolled_back_at: datetime | None
    logs: str | None


@dataclass(frozen=True)
class Elsewhere:
    """Another schema (on MySQL: another database) with Umami's tables, with Prisma's, or with both."""

    schema: str
    has_umami: bool
    has_migrations: bool


class Connection(ABC):
    """One session on a server: UTC, autocommit outside `transaction()`, driver errors translated.

    Raises (by every method that talks to the server) DatabaseFault, PermissionFault, TransientFault or
    ConnectionLost, never a driver's own exception.
    """

    dialect: Dialect
    url: DatabaseUrl

    @abstractmethod
    def rows(self, query: Query, **values: Any) -> list[Row]:
        """Run a query and return all its rows."""

    @abstractmethod
    def run(self, query: Query, **values: Any) -> int:
        """Run a statement and return the number of rows it touched."""

    def maintain(self, query: Query) -> None:
        """Run a statement that maintains a table, outside a transaction, and raise what it only mentions."""
        self.run(query)

    @abstractmethod
    def upkeep(self) -> Upkeep:
        """Return what this server can do for its tables, and how they are."""

    @abstractmethod
    def transit(self) -> Transit:
        """Return what this server can do for rows on the move: into it, out of it, compared."""

    @abstractmethod
    def partitioning(self) -> Partitioning:
        """Return what this server can do about the partitions of website_event, and how they are."""

    @abstractmethod
    def alterations(self) -> Alterations:
        """Return how this server's tables are changed."""

    @abstractmethod
    def sum_of(self, table: str, columns: Mapping[str, str]) -> tuple[int, str]:
        """Return a table's rows, and a checksum of these columns (name → type) that is quick to compute.

        It begins with the way it was made; sums made in the same way are equal where the rows are, in
        whatever order. For backups: between kinds of servers `Transit.prove` compares.
        """

    @abstractmethod
    def csv(self, query: Query, columns: Sequence[str], bare: Sequence[str]) -> Iterator[tuple[bytes, int]]:
        """Yield a query's rows as CSV, written by the server: texts in quotes, nothing for NULL.

        In pieces of many lines, each with how many rows it holds.

        `columns` are the query's own, in its order; those in `bare` hold numbers and stand without quotes.
        The query has no parameters left.
        """

    @abstractmethod
    def estimate(self, query: Query, **values: Any) -> int:
        """Return how many rows the server's planner expects of a query, without running it.

        The query must not aggregate, since the planner would expect one row.
        """

    def count(self, query: Query, **values: Any) -> int:
        """Return how many rows a query has, without fetching them."""
        text = f"SELECT COUNT(*) AS row_count FROM ({query.text}) AS counted"  # noqa: S608 -- no value in it
        counting = Query(query.name, query.about, text)
        return int(self.value(counting, **values))

    @abstractmethod
    def literal(self, value: Any) -> str:
        """Return a value as this server would read it in a statement, for `render` alone."""

    def render(self, query: Query, values: Values) -> str:
        """Return the statement with the known values written in, for a person to read or paste."""
        return query.with_literals({name: self.literal(value) for name, value in values.items()})

    @abstractmethod
    def server(self) -> Server:
        """Say what server this is; one round trip at the first call."""

    @abstractmethod
    def begin(self, *, read_only: bool) -> None:
        """Open a transaction: READ COMMITTED to write, one consistent snapshot to read."""

    @abstractmethod
    def commit(self) -> None:
        """Commit the open transaction."""

    @abstractmethod
    def rollback(self) -> None:
        """Roll the open transaction back; silent when the connection is already gone."""

    @abstractmethod
    def close(self) -> None:
        """Close the session; silent when it is already gone."""

    def rebuild(self, tables: Sequence[str], words: Iterable[str], values: Values) -> Rebuild:  # noqa: ARG002
        """Return the step that makes event tables anew without the rows past the horizon.

        `words` and `values` choose the rows as in sql/*/prune.sql: only, except; event_horizon, null_past,
        websites.

        Raises Refused where `Features.rebuild_pays` is false, and for tables that can't be rebuilt.
        """
        raise Refused(
            f"On {self.dialect.title} a rebuild would be slower than deleting.",
            hint="Prune without --rebuild.",
            done="Nothing was changed.",
        )

    def free_bytes(self) -> int | None:
        """Return what is free on the disk of the server's data, or None where that can't be known."""
        return None

    def leftovers(self) -> tuple[Query, ...]:
        """Return what clears away a rebuild that goes on no more, killed or given up."""
        return ()

    @contextmanager
    def transaction(self, *, read_only: bool = False) -> Iterator[None]:
        """Commit what happens inside, or roll it back when that raises."""
        self.begin(read_only=read_only)
        try:
            yield
        except BaseException:
            self.rollback()
            raise
        self.commit()

    def row(self, query: Query, **values: Any) -> Row:
        """Run a query that returns exactly one row."""
        (row,) = self.rows(query, **values)
        return row

    def value(self, query: Query, **values: Any) -> Any:
        """Run a query that returns exactly one value."""
        (value,) = self.row(query, **values).values()
        return value

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Introspector:
    """Reads the catalogue of the schema that a connection looks at; the SQL differs, the answers don't."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._queries = connection.dialect.queries

    def relations(self) -> list[Relation]:
        """Return every table and view of the schema with sizes and row estimates, without a scan."""
        return [
            Relation(
                name=row["name"],
                kind=row["kind"],
                rows_estimate=int(row["rows_estimate"] or 0),
                table_bytes=int(row["table_bytes"] or 0),
                index_bytes=int(row["index_bytes"] or 0),
            )
            for row in self._connection.rows(self._queries["introspect.relations"])
        ]

    def columns(self) -> dict[str, dict[str, str]]:
        """Return relation → column → type, as the server spells the type."""
        columns: dict[str, dict[str, str]] = {}
        for row in self._connection.rows(self._queries["introspect.columns"]):
            columns.setdefault(row["relation"], {})[row["name"]] = row["type"]
        return columns

    def can_read_together(self, tables: Sequence[str]) -> bool:
        """Say whether all these tables are there to be read, once whoever has locked one is done with it.

        Raises TransientFault when that takes too long. The catalogue alone can mislead: MariaDB lists a table
        by its files, and has none under its name for a moment of RENAME TABLE.
        """
        names = ", ".join(self._connection.dialect.quote(table) for table in tables)
        try:
            self._connection.rows(Query("introspect.read_together", "", f"SELECT 1 FROM {names} LIMIT 0"))  # noqa: S608
        except (TransientFault, ConnectionLost):
            raise
        except DatabaseFault:
            return False
        return True

    def missing_rights(self, tables: Sequence[str], right: str) -> list[str]:
        """Return those of `tables`, in their order, on which the user surely lacks `right` (as DELETE)."""
        query = self._queries["introspect.missing_rights"]
        found = {row["name"] for row in self._connection.rows(query, tables=list(tables), right=right)}
        return [name for name in tables if name in found]

    def prisma_migrations(self) -> list[MigrationRow]:
        """Return the rows of `_prisma_migrations`, oldest first; the table must exist."""
        return [
            MigrationRow(
                name=row["migration_name"],
                checksum=row["checksum"],
                started_at=row["started_at"],
                finished_at=row["finished_at"],
                rolled_back_at=row["rolled_back_at"],
                logs=row["logs"],
            )
            for row in self._connection.rows(self._queries["introspect.prisma_migrations"])
        ]

    def elsewhere(self) -> list[Elsewhere]:
        """Return the other schemas (on MySQL: databases) in reach that hold Umami's or Prisma's tables."""
        return [
            Elsewhere(row["schema"], bool(row["has_umami"]), bool(row["has_migrations"]))
            for row in self._connection.rows(self._queries["introspect.elsewhere"])
        ]

    def prisma_lock_held(self) -> bool:
        """Say whether a Prisma migration runs at this moment (its lock: shared/umami, `migrate deploy`)."""
        return bool(self._connection.value(self._queries["lock.prisma_held"]))


class Database(ABC):
    """A database by its URL: hands out connections. Holds none itself."""

    dialect: Dialect

    def __init__(self, url: DatabaseUrl) -> None:
        self.url = url

    @abstractmethod
    def connect(self, purpose: str = "umami-ops") -> Connection:
        """Open a session; `purpose` is what the server's list of sessions shows, where it has such a thing.

        Raises ConnectionFault with one clear sentence, UsageFault for a parameter that can't be honoured.
        """

    @abstractmethod
    def dump_programs(self, server: Server) -> DumpPrograms[Any]:
        """Return the server's own dump programs.

        Raises Refused where there are none here, or only ones that are too old for it.
        """

    @abstractmethod
    def staging(self) -> Staging[Any]:
        """Return a place for tables that are being restored, beside those there are."""

    def beside(self, name: str, schema: str = "") -> Self:
        """Return another database of the same server, by its name.

        `schema` is where its tables stand, if databases have schemas; without it, where this one's do.
        """
        parameters = {**self.url.parameters, **({"schema": schema} if schema else {})}
        return type(self)(replace(self.url, database=name, parameters=parameters))

    def program_environment(self) -> dict[str, str]:
        """Return the variables by which the server's client programs find it, the password among them."""
        return {}
