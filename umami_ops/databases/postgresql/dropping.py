"""Partitions that go with their rows: first what hangs on their events, then they are detached and dropped.

Between the first look and the detaching events may still be written to a partition: they are known by their
transaction, which is none of those that had ended when the drop was planned.
"""

# ruff: noqa: S608 -- identifiers pass through the one quoting function

from __future__ import annotations

from collections.abc import Collection

from umami_ops.databases.base import WORKING_PREFIX
from umami_ops.databases.partitioning import TABLE, Partition
from umami_ops.databases.postgresql.partition_catalogue import Catalogue
from umami_ops.databases.postgresql.partition_steps import (
    INSTANT,
    NOBODY,
    by_event_id,
    change,
    query,
    quoted,
)
from umami_ops.plan import Batches, Step

_PAST = f"{WORKING_PREFIX}past_"
_DETAILS = {
    "event_data": "d.website_event_id = ANY(ARRAY(SELECT x.event_id FROM gone AS x))",
    "revenue": "d.session_id = ANY(ARRAY(SELECT x.session_id FROM gone AS x))"
    " AND d.event_id = ANY(ARRAY(SELECT x.event_id FROM gone AS x))",
}


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
            *self._end(past, is_late),
        ]

    def rest(self, leftovers: Collection[str]) -> list[Step]:
        """Return the steps that drop what interrupted drops had detached."""
        steps: list[Step] = []
        for past in (name for name in leftovers if name.startswith(_PAST)):
            steps += [self._details(past), *self._end(past, "FALSE")]
        return steps

    def _end(self, past: str, is_late: str) -> list[Step]:
        """Return the steps that count what was detached, late events' details gone, and drop it."""
        late = f"SELECT e.event_id, e.session_id FROM {quoted(past)} AS e WHERE {is_late}"
        counting = Batches(
            title=f"counting the events of {past}",
            next_slice=query("SELECT 1 AS last, 1 AS picked WHERE CAST(:after AS int) IS NULL"),
            work=query(f"{self._without_details(late)}, (SELECT COUNT(*) FROM {quoted(past)}) AS {TABLE}"),
            values={"after": None},
        )
        return [counting, change(f"dropping {past}", NOBODY, f"DROP TABLE IF EXISTS {quoted(past)}")]

    def _details(self, table: str) -> Batches:
        """Return the step that deletes what hangs on the events of a table."""
        events = f"SELECT r.event_id, r.session_id FROM {quoted(table)} AS r WHERE {{ranged}}"
        title = f"what hangs on the events of {table}"
        return by_event_id(title, table, self._without_details(events))

    def _without_details(self, events: str) -> str:
        """Return the statement that deletes what hangs on these events, and counts it by table."""
        here = {table: where for table, where in _DETAILS.items() if self._catalogue.is_table(table)}
        deletes = "".join(
            f", gone_{table} AS (DELETE FROM {table} AS d WHERE {where} RETURNING 1)"
            for table, where in here.items()
        )
        counts = ", ".join(f"(SELECT COUNT(*) FROM gone_{table}) AS {table}" for table in here)
        return f"WITH gone AS MATERIALIZED ({events}){deletes} SELECT {counts or '0 AS nothing'}"
