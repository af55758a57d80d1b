"""How far off the estimates of `upgrade check` are: migrations of before are made again, and timed.

A migration is undone as far as it concerns website_event: its columns and its indexes go. Then it is
estimated and made, with Umami's changes in our own words, on a table that has all other indexes of today.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from testbed.upgrading import make
from umami_ops.databases.base import Connection
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.operations.inspect import inspect
from umami_ops.operations.upgrade.estimate import Estimator
from umami_ops.operations.upgrade.state import read_state
from umami_ops.sql import Query
from umami_ops.umami.changes import AddColumn, AddIndex, Change, DropIndex, Move, RequireValues, changes
from umami_ops.umami.schema import Index

_TABLE = "website_event"
#: Of the migrations those that do something to every event; MariaDB can't make ids as Umami's 05 does.
LEVELS = {"postgresql": (5, 7, 9, 27, 28), "mysql": (5, 7, 9), "mariadb": (7, 9)}


@dataclass(frozen=True)
class Estimated:
    """A change, what it was thought to take, and what it took."""

    level: int
    change: str
    estimated_seconds: float
    seconds: float


def estimates(url: str, flavour: str) -> Iterator[Estimated]:
    """Estimate and make one migration after the other; what each of its changes took is yielded."""
    with open_database(DatabaseUrl.parse(url)).connect() as connection:
        for level in LEVELS[flavour]:
            concerned = [
                change for change in changes(connection.dialect.name, level)
                if isinstance(change, AddColumn | AddIndex | Move | RequireValues) and change.table == _TABLE
            ]  # fmt: skip
            _forget(connection, level, concerned)
            yield from _made(connection, level, concerned)


def _made(connection: Connection, level: int, concerned: Sequence[Change]) -> Iterator[Estimated]:
    estimator = Estimator(connection, inspect(connection), read_state(connection))
    for change in concerned:
        cost = estimator.cost(change)
        began = time.monotonic()
        make(connection, change)
        seconds = time.monotonic() - began
        if cost is not None:
            yield Estimated(level, type(change).__name__, cost.seconds, seconds)


def _forget(connection: Connection, level: int, concerned: Sequence[Change]) -> None:
    """Undo what the migration did to website_event, and bring back the column that 09 copied from."""
    columns = {change.column.name for change in concerned if isinstance(change, AddColumn)}
    names = {change.index.name for change in concerned if isinstance(change, AddIndex)}
    for index in read_state(connection).indexes:
        if index.table == _TABLE and (index.name in names or columns & set(index.columns)):
            doomed = Index(index.name, tuple(map(str, index.columns)), index.unique)
            for text in connection.alterations().statements(DropIndex(_TABLE, doomed, tolerant=False)):
                _run(connection, text)
    for column in columns:
        _run(connection, f"ALTER TABLE {_TABLE} DROP COLUMN {column}")
    if level == 9:
        _run(connection, "ALTER TABLE session ADD COLUMN hostname VARCHAR(100)")
        _run(connection, "UPDATE session SET hostname = 'uniform-0.example'")


def _run(connection: Connection, text: str) -> None:
    connection.run(Query("benchmark", "", text))
