"""Puts many rows into a database fast: COPY on PostgreSQL, LOAD DATA or long INSERTs on MySQL and MariaDB.

Rows travel as lines of one CSV dialect that all three servers read alike: every value in double quotes, a
quote doubled, numbers and NULL bare. Such a line between parentheses is also a MySQL row constructor (under
the SQL mode NO_BACKSLASH_ESCAPES), which is what serves where LOAD DATA LOCAL is switched off.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import psycopg
import pymysql
from pymysql.cursors import Cursor

from umami_ops.databases.url import DatabaseUrl

NULL = "NULL"
_ROWS_PER_INSERT = 1000
_DAY_MS = 86_400_000


def cell(value: object) -> str:
    """Return one value as it stands in a line: None, numbers and booleans bare, all else in quotes."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, bytes):
        return f'"\\x{value.hex()}"'  # PostgreSQL's hex form; no table on MySQL holds bytes
    return '"' + str(value).replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows for one table: one line each, the cells in the order of `columns`."""

    table: str
    columns: tuple[str, ...]
    lines: Sequence[str]


class PostgreSQL:
    """A connection to PostgreSQL for loading; one transaction until `commit`."""

    dialect = "postgresql"

    def __init__(self, url: DatabaseUrl) -> None:
        self._connection = psycopg.connect(
            host=url.socket or url.host or "localhost",
            port=url.port or 5432,
            user=url.user,
            password=url.password,
            dbname=url.database,
            options=f"-c TimeZone=UTC -c search_path={url.schema or 'public'}",
        )

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows, if it has any."""
        cursor = self._connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []

    def load(self, batch: Batch) -> None:
        """Append a batch to its table."""
        columns = ", ".join(f'"{name}"' for name in batch.columns)
        statement = f"COPY \"{batch.table}\" ({columns}) FROM STDIN (FORMAT csv, NULL '{NULL}')"
        with self._connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            copy.write("\n".join(batch.lines) + "\n")

    def commit(self) -> None:
        """Make everything so far durable."""
        self._connection.commit()

    def close(self) -> None:
        """Close the connection; what was not committed is gone."""
        self._connection.close()


class MySQL:
    """A connection to MySQL or MariaDB for loading; one transaction until `commit`, but for DDL."""

    dialect = "mysql"

    def __init__(self, url: DatabaseUrl) -> None:
        self._connection: pymysql.Connection[Cursor] = pymysql.connect(
            host=url.host or "localhost",
            port=url.port or 3306,
            unix_socket=url.socket,
            user=url.user,
            password=url.password or "",
            database=url.database,
            charset="utf8mb4",
            local_infile=True,
            init_command="SET time_zone = '+00:00'",
        )
        self.execute("SET SESSION sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')")
        self._load_data_allowed = self._allow_load_data()

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows, if it has any."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def load(self, batch: Batch) -> None:
        """Append a batch to its table. Raises RuntimeError when the server took other than every row."""
        columns = ", ".join(f"`{name}`" for name in batch.columns)
        loaded = self._load_data(batch, columns) if self._load_data_allowed else self._insert(batch, columns)
        if loaded != len(batch.lines):
            raise RuntimeError(f"{batch.table}: sent {len(batch.lines)} rows, the server took {loaded}")

    def commit(self) -> None:
        """Make everything so far durable."""
        self._connection.commit()

    def close(self) -> None:
        """Close the connection; what was not committed is gone."""
        self._connection.close()

    def _allow_load_data(self) -> bool:
        if self.execute("SELECT @@local_infile") == [(1,)]:
            return True
        try:
            self.execute("SET GLOBAL local_infile = 1")
        except pymysql.err.OperationalError:  # needs a right that a plain user lacks
            return False
        return True

    def _load_data(self, batch: Batch, columns: str) -> int:
        # LOAD DATA LOCAL reads ahead of errors and turns them into warnings: hence the count in `load`.
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="") as file:
            file.write("\n".join(batch.lines) + "\n")
            file.flush()
            with self._connection.cursor() as cursor:
                cursor.execute(
                    f"LOAD DATA LOCAL INFILE '{file.name}' INTO TABLE `{batch.table}` CHARACTER SET utf8mb4 "
                    "FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' ESCAPED BY '' "
                    f"LINES TERMINATED BY 0x0A ({columns})"
                )
                return cursor.rowcount

    def _insert(self, batch: Batch, columns: str) -> int:
        inserted = 0
        with self._connection.cursor() as cursor:
            for start in range(0, len(batch.lines), _ROWS_PER_INSERT):
                rows = "), (".join(batch.lines[start : start + _ROWS_PER_INSERT])
                cursor.execute(f"INSERT INTO `{batch.table}` ({columns}) VALUES ({rows})")
                inserted += cursor.rowcount
        return inserted


class Clock:
    """Writes times, given in milliseconds since 1970, as the dialect keeps them: MySQL has whole seconds."""

    def __init__(self, dialect: str) -> None:
        self._milliseconds = dialect == "postgresql"
        self._seconds = [f"{s // 3600:02}:{s // 60 % 60:02}:{s % 60:02}" for s in range(86_400)]
        self._date = cache(lambda day: (datetime(1970, 1, 1) + timedelta(days=day)).strftime("%Y-%m-%d"))

    def cell(self, time_ms: int) -> str:
        """Return the time as a cell, truncated where the dialect is coarser."""
        day, rest = divmod(time_ms, _DAY_MS)
        second, millisecond = divmod(rest, 1000)
        if self._milliseconds:
            return f'"{self._date(day)} {self._seconds[second]}.{millisecond:03}"'
        return f'"{self._date(day)} {self._seconds[second]}"'


Loader = PostgreSQL | MySQL
_LOADERS: dict[str, type[PostgreSQL] | type[MySQL]] = {"postgresql": PostgreSQL, "mysql": MySQL}


@contextmanager
def connect(url: str) -> Iterator[Loader]:
    """Open a connection for loading; commits when the block ends well, closes it in any case."""
    parsed = DatabaseUrl.parse(url)
    loader = _LOADERS[parsed.dialect](parsed)
    try:
        yield loader
        loader.commit()
    finally:
        loader.close()


def load(loader: Loader, batches: Iterable[Batch]) -> dict[str, int]:
    """Load every batch, in order, and return the number of rows by table.

    One batch is on its way to the server while the next is being made.
    """
    counts: dict[str, int] = {}
    with ThreadPoolExecutor(max_workers=1) as pool:
        on_its_way: Future[None] | None = None
        for batch in batches:
            if on_its_way:
                on_its_way.result()
            on_its_way = pool.submit(loader.load, batch)
            counts[batch.table] = counts.get(batch.table, 0) + len(batch.lines)
        if on_its_way:
            on_its_way.result()
    return counts
