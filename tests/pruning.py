"""Rows in and out of a database for the tests of prune, and prune by way of the library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from testbed.bulk import Batch, Loader, cell, connect
from tests.oracle import TABLES, Rows, Rules
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.execute import Event, RunLock, StopSignal, execute
from umami_ops.operations.inspect import Installation, inspect
from umami_ops.operations.prune import Retention, conclude, plan_prune
from umami_ops.plan import Plan, Report
from umami_ops.umami.schema import Column, Schema, schema_at

#: Table → the primary keys of its rows.
Keys = dict[str, set[tuple[str, ...]]]

# A column that must hold something gets this, by the first word of its type.
_FILLERS: Mapping[str, object] = {
    "character": "x",
    "varchar": "x",
    "char": "x",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "integer": 1,
    "int": 1,
    "bytea": b"x",
    "timestamp": "2025-01-01 00:00:00",
}


def url_of(text: str) -> DatabaseUrl:
    return DatabaseUrl.parse(text)


def schema_of(url: str, level: int) -> Schema:
    return schema_at(url_of(url).dialect, level)


def quoted(loader: Loader, name: str) -> str:
    return f'"{name}"' if loader.dialect == "postgresql" else f"`{name}`"


# Rows in


def load_rows(loader: Loader, schema: Schema, rows: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """Write rows; columns that a row doesn't name and that must hold something are filled."""
    for table, dicts in rows.items():
        if table in schema:
            needed = [column for column in schema.table(table).columns if _must_be_given(column)]
            lines = [_line(schema.table(table).column_names, needed, row) for row in dicts]
            names = _columns(schema.table(table).column_names, needed, dicts)
            if lines:
                loader.load(Batch(table, names, lines))


def _must_be_given(column: Column) -> bool:
    return not column.nullable and column.default is None


def _columns(
    existing: Iterable[str], needed: Iterable[Column], rows: Iterable[Mapping[str, Any]]
) -> tuple[str, ...]:
    given = next(iter(rows), {})
    names = {column.name for column in needed} | set(given)
    return tuple(name for name in existing if name in names)


def _line(existing: Iterable[str], needed: Iterable[Column], row: Mapping[str, Any]) -> str:
    fillers = {column.name: _FILLERS[column.type.partition("(")[0].split()[0]] for column in needed}
    values = fillers | dict(row)
    return ",".join(_cell(values[name]) for name in existing if name in values)


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return cell(value.astimezone(UTC).replace(tzinfo=None))
    return cell(value)


def empty(loader: Loader, schema: Schema) -> None:
    """Delete all visitor data."""
    for table in TABLES:
        if table in schema:
            loader.execute(f"DELETE FROM {quoted(loader, table)}")


# Rows out


def keys_of(loader: Loader, schema: Schema) -> Keys:
    """Return the primary keys of every row of visitor data."""
    keys: Keys = {}
    for table in TABLES:
        if table in schema:
            columns = ", ".join(quoted(loader, name) for name in _key_columns(schema, table))
            found = loader.execute(f"SELECT {columns} FROM {quoted(loader, table)}")
            keys[table] = {tuple(str(value) for value in row) for row in found}
    return keys


def keys_in(rows: Rows, schema: Schema) -> Keys:
    """Return the primary keys of the given rows, of the tables that the schema has."""
    return {
        table: {tuple(str(row[name]) for name in _key_columns(schema, table)) for row in rows.get(table, ())}
        for table in TABLES
        if table in schema
    }


def _key_columns(schema: Schema, table: str) -> tuple[str, ...]:
    key = schema.table(table).primary_key
    assert key is not None
    return key.columns


def read_rows(url: str, schema: Schema) -> dict[str, list[dict[str, Any]]]:
    """Return the keys, ids and times of every row of visitor data, times aware and in UTC."""
    rows: dict[str, list[dict[str, Any]]] = {}
    with connect(url) as loader:
        for table in (name for name in TABLES if name in schema):
            names = [
                name
                for name in schema.table(table).column_names
                if name.endswith("_id") or name == "created_at"
            ]
            columns = ", ".join(quoted(loader, name) for name in names)
            found = loader.execute(f"SELECT {columns} FROM {quoted(loader, table)}")
            rows[table] = [dict(zip(names, map(_plain, row), strict=True)) for row in found]
    return rows


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)
    return None if value is None else str(value)


# Prune by the library


def rules_of(retention: Retention, *, only: Iterable[str] = (), except_: Iterable[str] = ()) -> Rules:
    """Return the oracle's rules for a retention; website ids are given apart, as they were resolved."""
    return Rules(
        events=retention.of("website_event"),
        heatmaps=retention.of("heatmap_event"),
        replays=retention.of("session_replay"),
        sessions=retention.of_sessions,
        only=frozenset(only),
        except_=frozenset(except_),
        delete_undated=retention.delete_undated,
        delete_orphans=retention.delete_orphans,
    )


@dataclass(frozen=True)
class Pruned:
    """A plan and what came of it."""

    plan: Plan
    report: Report


def prune(
    url: str,
    retention: Retention,
    *,
    jobs: int = 2,
    batch_rows: int | None = None,
    stop: StopSignal | None = None,
    observer: Callable[[Event], None] = lambda _event: None,
    installation: Installation | None = None,
) -> Pruned:
    """Plan with every count, execute and conclude, as the command does; inspects if that wasn't done yet."""
    database = open_database(url_of(url))
    with database.connect("umami-ops test") as connection:
        installation = installation or inspect(connection)
        made = plan_prune(connection, installation, retention, counted=True)
        with RunLock(database, "prune") as lock:
            report = execute(
                made, database, lock=lock, stop=stop, observer=observer, jobs=jobs, batch_rows=batch_rows
            )
        conclude(database.dialect, retention, report)
    return Pruned(made, report)


def installation_at(url: str) -> Installation:
    """Inspect a database once, for several prunes."""
    with open_database(url_of(url)).connect("umami-ops test") as connection:
        return inspect(connection)


# A whole database


def digest(url: str) -> dict[str, str]:
    """Return a checksum over all rows of every table, whosever it is."""
    with connect(url) as loader:
        here = "current_schema()" if loader.dialect == "postgresql" else "DATABASE()"
        names = loader.execute(
            f"SELECT table_name FROM information_schema.tables WHERE table_schema = {here} ORDER BY 1"
        )
        return {name: _checksum(loader, name) for (name,) in names}


def _checksum(loader: Loader, table: str) -> str:
    name = quoted(loader, table)
    if loader.dialect == "mysql":
        # Of rows sent in the order of the key, so that a table made anew has the same.
        ((_, checksum),) = loader.execute(f"CHECKSUM TABLE {name}")
        return str(checksum)
    ((checksum,),) = loader.execute(
        f"SELECT md5(string_agg(CAST(t AS text), ',' ORDER BY CAST(t AS text))) FROM {name} AS t"
    )
    return str(checksum)
