"""Partitions that go with their rows: first what hangs on their events, then they are detached and dropped.

Between the first look and the detaching events may still be written to a partition: they are known by their
transaction, which is none of those that had ended when the drop was planned.
"""

# ruff: noqa: S608 -- identifiers pass through the one quoting function

from __future__ import annotations

from collections.abc import Collection

from umami_ops.databases.base import WORKING_PREFIX
from umami_ops.databases.partitioning import TABLE, Partition
from umami_ops.databases.postgresql.dialect import POSTGRESQL
from umami_ops.databases.postgresql.partition_catalogue import Catalogue
from umami_ops.databases.postgresql.partition_steps import (
    INSTANT,
    NOBODY,
    change,
    query,
    quoted,
)
from umami_ops.plan import Batches, Step

_PAST = f"{WORKING_PREFIX}past_"
#: In the order of its index, each is met in one pass.
_DETAILS = {
    "event_data": "event_data AS d"
    " WHERE d.website_event_id = ANY(ARRAY(SELECT x.event_id FROM gone AS x ORDER BY x.event_id))",
    "revenue": "revenue AS d USING gone AS x"
    " WHERE d.session_id = ANY(ARRAY(SELECT DISTINCT y.session_id FROM gone AS y ORDER BY y.session_id))"
    " AND d.event_id = x.event_id AND d.session_id = x.session_id",
}
#: A slice of events in the order of their time, in which they lie on the disk.
_SLICE = """e.created_at >= CAST(:since AS timestamptz) AND e.created_at <= CAST(:until AS timestamptz)
  AND (CAST(:after AS uuid) IS NULL OR e.created_at > CAST(:since AS timestamptz)
    OR e.event_id > CAST(:after AS uuid))
  AND (e.created_at < CAST(:until AS timestamptz) OR e.event_id <= CAST(:last AS uuid))"""


class Dropping:
    """Makes the steps."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    @staticmethod
    def is_among(leftovers: Collection[str]) -> bool:
        """Say whether these names are those of an unfinished drop."""
        return any(name.startswith(_PAST) for name in leftovers)

    def steps(self, partition: Partition) -> list[Step]:
        """Return the steps that drop a partition."""
        name, past = partition.name, f"{_PAST}{partition.name}"
        is_late = f"age(e.xmin) <= age(CAST('{self._catalogue.oldest_transaction()}' AS xid))"
        return [
            self._details(name),
            change(
                f"detaching {name}",
                INSTANT,
                f"LOCK TABLE ONLY {quoted(TABLE)} IN ACCESS EXCLUSIVE MODE",
                f"ALTER TABLE {quoted(TABLE)} DETACH PARTITION {quoted(name)}",
                f"ALTER TABLE {quoted(name)} RENAME TO {quoted(past)}",
            ),
            self._end(past, is_late),
        ]

    def rest(self, leftovers: Collection[str]) -> list[Step]:
        """Return the steps that drop what interrupted drops had detached."""
        steps: list[Step] = []
        for past in (name for name in leftovers if name.startswith(_PAST)):
            steps += [self._details(past), self._end(past, "FALSE")]
        return steps

    def _end(self, past: str, is_late: str) -> Batches:
        """Return the step that drops what was detached, counted in the same transaction.

        Late events' details go there, too. Nobody finds the table any more: whoever waits for it is we.
        """
        late = f"SELECT e.event_id, e.session_id FROM {quoted(past)} AS e WHERE {is_late}"
        return Batches(
            title=f"dropping {past.removeprefix(_PAST)}",
            next_slice=query("SELECT 1 AS last, 1 AS picked WHERE CAST(:after AS int) IS NULL"),
            work=query(
                f"{self._without_details(late)}, (SELECT COUNT(*) FROM {quoted(past)}) AS {TABLE};\n"
                f"-- copies: {TABLE}\nDROP TABLE {quoted(past)}"
            ),
            values={"after": None},
            lock=NOBODY,
        )

    def _details(self, table: str) -> Batches:
        """Return the step that deletes what hangs on the events of a table."""
        events = f"SELECT e.event_id, e.session_id FROM {quoted(table)} AS e WHERE {_SLICE}"
        ahead = POSTGRESQL.queries["prune.next_events"].when({"dated"})
        return Batches(
            title=f"what hangs on the events of {table}",
            next_slice=query(ahead.text.replace(f"FROM {TABLE} AS e", f"FROM {quoted(table)} AS e")),
            work=query(self._without_details(events)),
            values={"since": "-infinity", "after": None, "horizon": "infinity"},
        )

    def _without_details(self, events: str) -> str:
        """Return the statement that deletes what hangs on these events, and counts it by table."""
        here = {table: rows for table, rows in _DETAILS.items() if self._catalogue.is_table(table)}
        deletes = "".join(
            f",\ngone_{table} AS (DELETE FROM {rows} RETURNING 1)" for table, rows in here.items()
        )
        counts = ", ".join(f"(SELECT COUNT(*) FROM gone_{table}) AS {table}" for table in here)
        return f"WITH gone AS MATERIALIZED ({events}){deletes}\nSELECT {counts or '0 AS nothing'}"
