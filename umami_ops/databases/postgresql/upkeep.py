"""VACUUM, ANALYZE and REINDEX: how PostgreSQL's tables and indexes are, and the statements that mend them."""

from __future__ import annotations

import functools
import math
import time
from dataclasses import replace

from umami_ops.databases.base import Connection, Row
from umami_ops.databases.postgresql import programs
from umami_ops.databases.postgresql.bloat import IndexedColumn, index_bytes, table_bytes
from umami_ops.databases.postgresql.dialect import POSTGRESQL
from umami_ops.databases.upkeep import IndexState, TableState, Upkeep
from umami_ops.errors import ConnectionLost, DatabaseFault
from umami_ops.plan import Maintenance, Program, Size, TableName
from umami_ops.sql import Query

_SHARED = "SHARE UPDATE EXCLUSIVE: reads and writes go on"
_ALONE = "ACCESS EXCLUSIVE: nobody reads or writes the table until it is done"
_BRIEFLY_ALONE = "ACCESS EXCLUSIVE for an instant at both ends: reads and writes go on"
# Building an index concurrently waits for every transaction that began before; nobody queues behind that.
_WAIT_FOR_TRANSACTIONS_SECONDS = 60
# Below this an index, or a table, is read as fast as it is reckoned, and it doesn't matter either.
_MEASURED_FROM_BYTES = 250_000
_SAVE = Query("upkeep.save", "", "SAVEPOINT measured")
_UNDO = Query("upkeep.undo", "", "ROLLBACK TO SAVEPOINT measured")


class PostgresqlUpkeep(Upkeep):
    """What PostgreSQL can do for its tables."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._queries = connection.dialect.queries

    @functools.cached_property
    def _repack(self) -> str | None:
        """Where the client of pg_repack is, if it is one for the extension that is installed."""
        found = self._connection.rows(self._queries["vacuum.repack"])
        return programs.find("pg_repack", found[0]["version"]) if found else None

    @property
    def rewrite_is_online(self) -> bool:
        """Whether pg_repack is there: VACUUM FULL isn't."""
        return self._repack is not None

    def tables(self, *, measured_seconds: float) -> list[TableState]:
        """Return every table and partition of the schema; where pgstattuple is installed it measures them.

        That reads the pages which VACUUM hasn't found wholly visible, and of the others the map of free
        space.
        """
        rows = self._connection.rows(self._queries["vacuum.tables"])
        states = {row["name"]: _table(row) for row in rows}
        schema = self._schema_of("pgstattuple_approx") if measured_seconds else None
        ends = time.monotonic() + measured_seconds
        for row in sorted(rows, key=lambda row: -int(row["heap_bytes"])) if schema else ():
            left_seconds = ends - time.monotonic()
            if left_seconds <= 0 or not row["holds_rows"] or row["heap_bytes"] < _MEASURED_FROM_BYTES:
                break
            free_bytes = self._measured_free_bytes(row, str(schema), left_seconds)
            if free_bytes is not None:
                states[row["name"]] = replace(states[row["name"]], free_bytes=free_bytes, is_estimate=False)
        return list(states.values())

    def indexes(self, *, measured_bytes: float) -> list[IndexState]:
        """Return every index; where pgstattuple is installed, so many bytes of the worst are read by it."""
        rows = self._connection.rows(self._queries["vacuum.indexes"])
        states = {row["name"]: _estimated(row) for row in rows}
        schema = self._schema_of("pgstatindex") if measured_bytes else None
        left = measured_bytes if schema else 0
        for row in sorted(rows, key=lambda row: -(states[row["name"]].wasted_bytes or 0)):
            size_bytes = int(row["size_bytes"])
            is_measurable = row["is_plain"] and row["is_valid"]
            if is_measurable and _MEASURED_FROM_BYTES <= size_bytes <= left:
                left -= size_bytes
                fresh_bytes = self._measured_bytes(row, str(schema))
                wasted_bytes = max(0, size_bytes - fresh_bytes)
                states[row["name"]] = replace(
                    states[row["name"]], wasted_bytes=wasted_bytes, is_estimate=False
                )
        return list(states.values())

    def refresh(self, table: TableState) -> Maintenance:
        """Return ANALYZE."""
        return _step("ANALYZE", table, f"ANALYZE {_q(table.place)}", _SHARED, table.size.table_bytes)

    def clean(self, table: TableState) -> Maintenance:
        """Return VACUUM (ANALYZE) with as many workers as the server gives for so many indexes.

        Workers share memory, of which a container often has too little: then it goes without them.
        """
        workers = min(self._workers(), max(table.indexes - 1, 0))
        alone = f"VACUUM (ANALYZE, PARALLEL 0) {_q(table.place)}"
        return _step(
            "VACUUM",
            table,
            f"VACUUM (ANALYZE, PARALLEL {workers}) {_q(table.place)}",
            _SHARED,
            table.size.total_bytes,
            otherwise=_statement("vacuum", alone) if workers else None,
        )

    def rewrite(self, table: TableState) -> tuple[Maintenance, ...]:
        """Return pg_repack, which copies the table while others write, and else VACUUM (FULL, ANALYZE)."""
        if self._repack is not None:
            return (_repacking(self._repack, table), self.refresh(table))
        text = f"VACUUM (FULL, ANALYZE) {_q(table.place)}"
        return (_step("VACUUM FULL", table, text, _ALONE, table.size.total_bytes),)

    def rebuild(self, index: IndexState) -> Maintenance:
        """Return REINDEX INDEX CONCURRENTLY."""
        name = _q(TableName(index.table.schema, index.name))
        return Maintenance(
            title=f"REINDEX {index.name}",
            table=index.table,
            statement=_statement("reindex", f"REINDEX INDEX CONCURRENTLY {name}"),
            lock=_SHARED,
            size_bytes=index.size_bytes,
            wait_seconds=_WAIT_FOR_TRANSACTIONS_SECONDS,
            tries=2,
            remains=self._queries["vacuum.remains"],
        )

    def drop(self, index: IndexState) -> Maintenance:
        """Return DROP INDEX CONCURRENTLY."""
        name = _q(TableName(index.table.schema, index.name))
        return Maintenance(
            title=f"DROP {index.name}",
            table=index.table,
            statement=_statement("drop", f"DROP INDEX CONCURRENTLY IF EXISTS {name}"),
            lock=_SHARED,
            wait_seconds=_WAIT_FOR_TRANSACTIONS_SECONDS,
            tries=2,
        )

    def _schema_of(self, function: str) -> str | None:
        """Return where a function of pgstattuple is, if it is there and this user may call it."""
        found = self._connection.rows(self._queries["vacuum.measuring"], function=function)
        return found[0]["schema"] if found else None

    def _measured_free_bytes(self, row: Row, schema: str, limit_seconds: float) -> int | None:
        """Return what is free in a table, dead rows included, by pgstattuple_approx.

        None when that takes longer. Afterwards the open transaction is as it was, and so are its limits.
        """
        function = f"{POSTGRESQL.quote(schema)}.pgstattuple_approx"
        measure = Query(
            "upkeep.measure",
            "How much of a table is free, or filled by dead rows.",
            f"SELECT s.table_len, s.approx_free_space + s.dead_tuple_len AS free"  # noqa: S608 -- quoted
            f" FROM {function}(CAST(:table AS regclass)) AS s",
        )
        limit = self._queries["health.limit"]
        self._connection.run(_SAVE)
        try:
            if not math.isinf(limit_seconds):
                self._connection.run(limit, milliseconds=max(1, round(1000 * limit_seconds)))
            found = self._connection.row(measure, table=_q(TableName(row["schema"], row["name"])))
        except ConnectionLost:
            raise
        except DatabaseFault:
            return None
        finally:
            self._connection.run(_UNDO)
        left_free = found["table_len"] * (1 - row["fill_percent"] / 100)
        return max(0, int(found["free"] - left_free))

    def _measured_bytes(self, row: Row, schema: str) -> int:
        """Return what the entries fill, by pgstatindex; until VACUUM has come, a share of them is dead."""
        function = f"{POSTGRESQL.quote(schema)}.pgstatindex"
        measure = Query(
            "upkeep.measure",
            "How full the leaves of an index are.",
            f"SELECT s.leaf_pages, s.internal_pages, s.avg_leaf_density"  # noqa: S608 -- quoted
            f" FROM {function}(CAST(:index AS regclass)) AS s",
        )
        index = _q(TableName(row["schema"], row["name"]))
        found = self._connection.row(measure, index=index)
        rows = row["live_rows"] + row["dead_rows"]
        live_share = row["live_rows"] / rows if rows else 1.0
        density = float(found["avg_leaf_density"])
        filled = found["leaf_pages"] * min(1.0, density / row["fill_percent"]) * live_share
        return int((filled + found["internal_pages"] + 1) * 8192)

    def _workers(self) -> int:
        return int(self._connection.value(self._queries["vacuum.workers"]))


def _table(row: Row) -> TableState:
    rows = int(row["live_rows"])
    free_bytes = None
    if row["row_bytes"] is not None and row["is_analyzed"]:
        close = table_bytes(rows, float(row["row_bytes"]), row["fill_percent"])
        free_bytes = max(0, int(row["heap_bytes"]) - close)
    return TableState(
        place=TableName(row["schema"], row["name"]),
        root=row["root"],
        holds_rows=row["holds_rows"],
        may_maintain=row["may_maintain"],
        size=Size(int(row["table_bytes"]), int(row["index_bytes"])),
        indexes=int(row["indexes"]),
        rows=rows,
        dead_rows=int(row["dead_rows"]),
        changed_rows=int(row["changed_rows"]),
        inserted_rows=int(row["inserted_rows"]),
        is_analyzed=row["is_analyzed"],
        freeze_age=int(row["freeze_age"]),
        free_bytes=free_bytes,
        is_estimate=True,
    )


def _estimated(row: Row) -> IndexState:
    size_bytes, fresh_bytes = int(row["size_bytes"]), _fresh_bytes(row)
    return IndexState(
        name=row["name"],
        table=TableName(row["schema"], row["table_name"]),
        size_bytes=size_bytes,
        is_valid=row["is_valid"],
        is_remains=row["is_remains"],
        wasted_bytes=None if fresh_bytes is None else max(0, size_bytes - fresh_bytes),
        is_estimate=True,
    )


def _fresh_bytes(row: Row) -> int | None:
    """Return the estimate of a new index's size; None for other kinds, and without statistics."""
    columns = [row[name] for name in ("widths", "alignments", "varying", "null_shares", "distinct_values")]
    if not row["is_plain"] or any(part is None or None in part for part in columns):
        return None
    return index_bytes(
        int(row["live_rows"]),
        [IndexedColumn(*values) for values in zip(*columns, strict=True)],
        row["fill_percent"],
        has_posting_lists=row["has_posting_lists"],
    )


def _step(
    verb: str, table: TableState, text: str, lock: str, size_bytes: int, *, otherwise: Query | None = None
) -> Maintenance:
    return Maintenance(
        title=f"{verb} {table.place.name}",
        table=table.place,
        statement=_statement(verb.lower().replace(" ", "_"), text),
        lock=lock,
        size_bytes=size_bytes,
        otherwise=otherwise,
    )


def _repacking(client: str, table: TableState) -> Maintenance:
    """Return a call of pg_repack that ends nobody's session, and gives up where it can't have its lock."""
    options = ("--no-order", "--no-kill-backend", "--wait-timeout=60", "--no-analyze", "--no-superuser-check")
    return Maintenance(
        title=f"REPACK {table.place.name}",
        table=table.place,
        statement=Program((client, *options, f"--table={_q(table.place)}")),
        lock=_BRIEFLY_ALONE,
        size_bytes=table.size.total_bytes,
    )


def _statement(step: str, text: str) -> Query:
    return Query(f"upkeep.{step}", "", text)


def _q(place: TableName) -> str:
    return f"{POSTGRESQL.quote(place.schema)}.{POSTGRESQL.quote(place.name)}"
