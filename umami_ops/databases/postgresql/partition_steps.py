"""The steps that changes of partitions are made of on PostgreSQL, and the words for their locks."""

# ruff: noqa: S608 -- identifiers pass through the one quoting function

from __future__ import annotations

from umami_ops.databases.partitioning import TABLE
from umami_ops.databases.postgresql.dialect import POSTGRESQL
from umami_ops.plan import Batches, Change
from umami_ops.sql import Query

PATIENTLY = "it waits 0.2 s at most, and then tries again"
INSTANT = f"ACCESS EXCLUSIVE on website_event for an instant: {PATIENTLY}"
NOBODY = "nothing that others need"
WRITERS_GO_ON = "SHARE UPDATE EXCLUSIVE on website_event: reads and writes go on"
#: Sorts the keys of some ten million events without files, where the server's own setting is smaller.
ROOM_TO_SORT = (
    "SELECT set_config('maintenance_work_mem', GREATEST(CAST(s.setting AS int), 262144) || 'kB', false)"
    " FROM pg_settings AS s WHERE s.name = 'maintenance_work_mem'"
)
_LONG_SECONDS = 600


def quoted(identifier: str) -> str:
    """Quote one identifier."""
    return POSTGRESQL.quote(identifier)


def query(text: str) -> Query:
    """Return a statement that was put together here."""
    return Query("partition.change", "", text)


def statements(*texts: str) -> tuple[Query, ...]:
    """Return statements that were put together here."""
    return tuple(query(text) for text in texts)


def change(title: str, lock: str, *texts: str) -> Change:
    """Return statements as one short transaction."""
    return Change(title=title, statements=statements(*texts), lock=lock)


def alone(title: str, lock: str, *texts: str) -> Change:
    """Return statements that may take long, each on its own; nobody queues behind them for a lock."""
    return Change(
        title=title,
        statements=statements(*texts),
        lock=lock,
        together=False,
        wait_seconds=_LONG_SECONDS,
        tries=3,
    )


def analyze(what: str) -> Change:
    """Return what refreshes the statistics of a table."""
    return alone("refreshing the statistics", WRITERS_GO_ON, f"ANALYZE {what}")


def unique_index(name: str, table: str, columns: str) -> Change:
    """Return the building of a unique index beside writers; an invalid one is dropped again."""
    return Change(
        title=f"building the unique index ({columns}) of {table}",
        statements=statements(
            ROOM_TO_SORT,
            f"CREATE UNIQUE INDEX CONCURRENTLY {quoted(name)} ON {quoted(table)} ({columns})",
        ),
        lock=f"SHARE UPDATE EXCLUSIVE on {table}: reads and writes go on",
        together=False,
        wait_seconds=_LONG_SECONDS,
        tries=3,
        remains=statements(f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(name)}"),
    )


def by_event_id(title: str, table: str, work: str) -> Batches:
    """Return a step over a table in the order of its event_id; `{ranged}` in `work` chooses a slice of r."""
    begun = "(CAST(:after AS uuid) IS NULL OR r.event_id > CAST(:after AS uuid))"
    return Batches(
        title=title,
        next_slice=query(
            "SELECT CAST(s.event_id AS text) AS last, s.picked FROM (SELECT t.event_id, COUNT(*) OVER () AS"
            f" picked FROM (SELECT r.event_id FROM ONLY {quoted(table)} AS r WHERE {begun}"
            " ORDER BY r.event_id LIMIT :batch_rows) AS t) AS s ORDER BY s.event_id DESC LIMIT 1"
        ),
        work=query(work.replace("{ranged}", f"{begun} AND r.event_id <= CAST(:last AS uuid)")),
        values={"after": None},
    )


def locking_writers_out(table: str) -> str:
    """Return what a batch begins with that locks updates and deletes of a table out, to the batch's end.

    Nobody queues behind its wait for longer than 0.2 s: the lock is asked for again and again, for 10 s. The
    first lock is in no writer's way; for it, an autovacuum ends after deadlock_timeout (a second).
    """
    lock = f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE;"
    return (
        f"-- copies: {TABLE}\nLOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE;\n"
        f"-- copies: {TABLE}\nDO $lock$ BEGIN SET LOCAL lock_timeout = '200ms';"
        f" FOR attempt IN 1..14 LOOP BEGIN {lock} RETURN; EXCEPTION WHEN lock_not_available"
        f" THEN PERFORM pg_sleep(0.5); END; END LOOP; {lock} END $lock$;\n"
    )
