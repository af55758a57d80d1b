"""The ledger of a move: which ranges have arrived, written in the same transaction as their rows.

It stands on the target (sql/*/ledger.sql). Each entry carries a seal over what it says, so that a damaged one
is noticed; a missing one is noticed by the rows that are there without it (`Mover`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from umami_ops.databases.base import Connection, Row
from umami_ops.errors import Refused
from umami_ops.rows import KeyRange
from umami_ops.transfer.schema import PRISMA_TABLE


@dataclass(frozen=True)
class Begun:
    """A move that has begun: from where, at which level of Umami, and what has arrived so far."""

    source: str
    level: int
    done: dict[str, list[tuple[KeyRange, int]]] = field(default_factory=dict)

    def rows(self, table: str) -> int:
        """Return how many rows of a table have arrived."""
        return sum(rows for _, rows in self.done.get(table, ()))


def entries(connection: Connection) -> list[Row]:
    """Return what is written down of a move to this target that has begun and not ended, or nothing."""
    queries = connection.dialect.queries
    return connection.rows(queries["ledger.entries"]) if connection.value(queries["ledger.exists"]) else []


def begun(connection: Connection) -> Begun | None:
    """Return the move that has begun on this target and not ended; None when there is none.

    Raises Refused when the ledger is damaged.
    """
    if not is_under_way(connection):
        return None
    source, level = None, 0
    done: dict[str, list[tuple[KeyRange, int]]] = {}
    for row in entries(connection):
        keys, rows = KeyRange(row["since_key"], row["until_key"]), int(row["row_count"])
        if row["seal"] != _seal(row["entry"], keys, rows):
            raise _damaged()
        if row["entry"]:
            done.setdefault(row["entry"], []).append((keys, rows))
        else:
            source, level = keys.since, rows
    if source is None and done:
        raise _damaged()
    return None if source is None else Begun(source, level, done)


def is_under_way(connection: Connection) -> bool:
    """Say whether a move to this target has begun and not come to its end, which is Prisma's records.

    On MySQL a kill may leave the ledger behind beside them, where Umami may run since. Where they are the
    ledger isn't looked at: who compares two databases may well read Umami's tables alone.
    """
    return connection.transit().describe().table(PRISMA_TABLE) is None and bool(entries(connection))


def begin(connection: Connection, source: str, level: int) -> None:
    """Make an empty ledger and write down what the move is; all else waits for this to be there."""
    for statement in connection.dialect.queries["ledger.create"].statements:
        connection.run(statement)
    connection.run(connection.dialect.queries["ledger.clear"])
    note(connection, "", KeyRange(source, None), level)


def note(connection: Connection, table: str, keys: KeyRange, rows: int) -> None:
    """Write down that a range has arrived, inside the transaction that brings it."""
    connection.run(
        connection.dialect.queries["ledger.note"],
        entry=table,
        since_key=keys.since,
        until_key=keys.until,
        row_count=rows,
        seal=_seal(table, keys, rows),
    )


def has(connection: Connection, table: str, keys: KeyRange) -> bool:
    """Say whether a range is written down: whether a commit whose answer got lost has happened."""
    return any(
        (row["entry"], row["since_key"], row["until_key"]) == (table, keys.since, keys.until)
        for row in entries(connection)
    )


def forget(connection: Connection, table: str) -> None:
    """Forget all ranges of a table, which is to be copied anew."""
    connection.run(connection.dialect.queries["ledger.forget"], entry=table)


def end(connection: Connection) -> None:
    """Take the ledger away."""
    connection.run(connection.dialect.queries["ledger.drop"])


def _seal(entry: str, keys: KeyRange, rows: int) -> str:
    text = repr((entry, keys.since, keys.until, rows))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _damaged() -> Refused:
    return Refused(
        "The ledger of the move that was begun here is damaged: nobody can say what has arrived.",
        hint="Start over with --replace.",
        done="Nothing was changed.",
    )
