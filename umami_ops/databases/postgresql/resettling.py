"""Partitions in the place of one: its rows are copied batch by batch, while others write, then exchanged.

A trigger notes the key of every row that is written meanwhile; after the copying, what was noted is copied
anew, and the last of it under the lock of the exchange (the way of pg_repack). The new tables stand under a
partitioned table of their own until then, and those with a primary key are copied to their end: that is
where a rerun goes on.
"""

# ruff: noqa: S608 -- identifiers pass through the one quoting function, values through the driver's literals

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from umami_ops.databases.base import WORKING_PREFIX, Connection, Row
from umami_ops.databases.partitioning import TABLE, Partition, Slot
from umami_ops.databases.postgresql.partition_catalogue import Catalogue
from umami_ops.databases.postgresql.partition_settings import LIKE_COLUMNS, Settings
from umami_ops.databases.postgresql.partition_steps import (
    NOBODY,
    PATIENTLY,
    ROOM_TO_SORT,
    alone,
    change,
    query,
    quoted,
)
from umami_ops.plan import Batches, Change, Guard, Step
from umami_ops.sql import Query

#: So many rows of the catch-all are moved in one transaction, more are resettled.
MOST_ROWS_AT_ONCE = 5_000

_STAGE = f"{WORKING_PREFIX}stage"
_NOTED = f"{WORKING_PREFIX}noted"
_BOUNDS = f"{WORKING_PREFIX}bounds"
#: For some rows, of a table of which the planner knows little: others wait, and no join reads it all.
_BY_INDEX = ("SET LOCAL enable_hashjoin = off", "SET LOCAL enable_mergejoin = off")
#: So many noted rows may be left for the moment of the exchange.
_FEW, _MANY = 100, 2_000


class Resettling:
    """Makes the steps."""

    def __init__(self, connection: Connection, catalogue: Catalogue) -> None:
        self._connection = connection
        self._catalogue = catalogue
        self._settings = Settings(connection)
        self._queries = connection.dialect.queries

    @staticmethod
    def is_among(leftovers: Collection[str]) -> bool:
        """Say whether these names are those of an unfinished resettling."""
        return _STAGE in leftovers or _NOTED in leftovers

    def clear(self, leftovers: Collection[str]) -> list[Step]:
        """Return the step that undoes an unfinished one; all rows are where they were."""
        if not self.is_among(leftovers):
            return []
        source = self._connection.rows(_FOLLOWED)
        return [
            change(
                "undoing an interrupted split",
                f"ACCESS EXCLUSIVE on the partition for an instant: {PATIENTLY}",
                *(f"DROP TRIGGER IF EXISTS {quoted(_NOTED)} ON {quoted(row['name'])}" for row in source),
                f"DROP FUNCTION IF EXISTS {quoted(_NOTED)}()",
                f"DROP TABLE IF EXISTS {quoted(_NOTED)}",
                f"DROP TABLE IF EXISTS {quoted(_STAGE)}",
            )
        ]

    def steps(self, source: Partition, slots: Sequence[Slot]) -> list[Step]:
        """Return the steps that put the slots in its place, and a partition for what lies outside of them."""
        stages = list(self._stages(source, slots))
        parts: list[Step] = []
        is_going_on = self._is_going_on(source, stages)
        if not is_going_on:
            left = self._connection.rows(self._queries["partition.leftovers"])
            parts += self.clear([row["name"] for row in left])
            parts.append(self._begin(source, stages))
        for stage in stages:
            parts += self._fill(source, stage, is_new=not is_going_on)
        return [*parts, self._exchange(source, stages)]

    # --- what is there --------------------------------------------------------------------------------

    def staged(self) -> list[Row]:
        """Return the new tables that a run makes, or left, with their bounds."""
        return self._connection.rows(_STAGED)

    def _stages(self, source: Partition, slots: Sequence[Slot]) -> Iterator[_Stage]:
        literal = self._connection.literal
        for slot in slots:
            yield _Stage(
                f"{TABLE}_{slot.label}",
                f"FOR VALUES FROM ({literal(slot.since)}) TO ({literal(slot.until)})",
                self._catalogue.within(slot),
            )
        if source.is_catch_all:
            outside = " AND ".join(f"NOT ({self._catalogue.within(slot)})" for slot in slots)
            yield _Stage(f"{WORKING_PREFIX}new_default", "DEFAULT", outside)
        elif source.since is None:
            first = slots[0].since
            yield _Stage(
                f"{TABLE}_before_{first:%Y_%m_%d}",
                f"FOR VALUES FROM (MINVALUE) TO ({literal(first)})",
                f"created_at < {literal(first)}",
            )

    def _is_going_on(self, source: Partition, stages: Sequence[_Stage]) -> bool:
        """Say whether an interrupted run left just these tables, with today's columns and indexes.

        Umami may have been upgraded since. Indexes are numbered: one with another's number would stay.
        """
        followed = [row["name"] for row in self._connection.rows(_FOLLOWED)]
        there = {row["name"] for row in self.staged()}
        return (
            followed == [source.name]
            and there == {stage.name for stage in stages}
            and self._catalogue.definitions(_STAGE) == self._catalogue.definitions(TABLE)
            and all(self._built(stage).items() <= self._indexes_of(stage).items() for stage in stages)
        )

    def _built(self, stage: _Stage) -> dict[str, str]:
        """Return the indexes that stand on a new table, as the catalogue defines them."""
        found = self._catalogue.indexes(stage.name)
        return {index.name: index.tail for index in found if not index.is_primary}

    def _indexes_of(self, stage: _Stage) -> dict[str, str]:
        """Return the indexes that a new table gets, under names of its own."""
        found = [index for index in self._catalogue.indexes(TABLE) if not index.is_primary]
        return {f"{stage.name}_i{number}": index.tail for number, index in enumerate(found)}

    # --- what to do -----------------------------------------------------------------------------------

    def _begin(self, source: Partition, stages: Sequence[_Stage]) -> Change:
        schema = quoted(self._connection.server().schema)
        noted = f"{schema}.{quoted(_NOTED)}"
        owner = self._catalogue.other_owner(TABLE)
        made = (_STAGE, _NOTED, *(stage.name for stage in stages))
        return change(
            f"following what is written to {source.name}",
            f"SHARE ROW EXCLUSIVE on {source.name} for an instant: {PATIENTLY}",
            f"LOCK TABLE ONLY {quoted(source.name)} IN SHARE ROW EXCLUSIVE MODE",
            f"CREATE TABLE {quoted(_STAGE)} (LIKE {quoted(TABLE)} {LIKE_COLUMNS})"
            " PARTITION BY RANGE (created_at)",
            *(
                f"CREATE TABLE {quoted(stage.name)} PARTITION OF {quoted(_STAGE)}"
                f" (CONSTRAINT {quoted(_BOUNDS)} CHECK (created_at IS NOT NULL"
                f" AND {stage.condition})) {stage.bounds}"
                for stage in stages
            ),
            f"CREATE TABLE {quoted(_NOTED)} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
            " event_id uuid NOT NULL, created_at timestamptz NOT NULL)",
            *(f"ALTER TABLE {quoted(name)} OWNER TO {quoted(owner)}" for name in made if owner),
            *(
                text
                for stage in stages
                for text in self._settings.of_partition(TABLE, beside=source.name, to=stage.name)
            ),
            f"""CREATE FUNCTION {quoted(_NOTED)}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog AS $noted$
BEGIN
  IF TG_OP <> 'INSERT' THEN
    INSERT INTO {noted} (event_id, created_at) VALUES (OLD.event_id, OLD.created_at);
  END IF;
  IF TG_OP <> 'DELETE' THEN
    INSERT INTO {noted} (event_id, created_at) VALUES (NEW.event_id, NEW.created_at);
  END IF;
  RETURN NULL;
END
$noted$""",
            f"CREATE TRIGGER {quoted(_NOTED)} AFTER INSERT OR UPDATE OR DELETE ON {quoted(source.name)}"
            f" FOR EACH ROW EXECUTE FUNCTION {quoted(_NOTED)}()",
        )

    def _fill(self, source: Partition, stage: _Stage, *, is_new: bool) -> list[Step]:
        """Return the steps that fill one new table and give it its indexes, as far as that wasn't done."""
        is_copied = not is_new and bool(self._connection.rows(_KEYS, name=stage.name))
        steps: list[Step] = []
        if not is_copied:
            if not is_new:
                steps.append(alone(f"emptying {stage.name}", NOBODY, f"TRUNCATE {quoted(stage.name)}"))
            steps += [
                self._copying(source, stage),
                alone(
                    f"building the primary key of {stage.name}",
                    NOBODY,
                    f"ALTER TABLE {quoted(stage.name)} ADD CONSTRAINT {quoted(stage.name + '_pkey')}"
                    " PRIMARY KEY (event_id, created_at)",
                ),
            ]
        if stage.bounds == "DEFAULT":
            return steps  # few rows: it gets its indexes, and their names, when it takes the old one's place
        builds = [
            f"CREATE INDEX IF NOT EXISTS {quoted(name)} ON {quoted(stage.name)} USING {tail}"
            for name, tail in self._indexes_of(stage).items()
        ]
        if builds:
            steps.append(alone(f"building the indexes of {stage.name}", NOBODY, ROOM_TO_SORT, *builds))
        return steps

    def _copying(self, source: Partition, stage: _Stage) -> Batches:
        columns = self._catalogue.column_list(TABLE)
        since = "e.created_at >= CAST(:since AS timestamptz)"
        after = (
            "(CAST(:after AS uuid) IS NULL OR e.created_at > CAST(:since AS timestamptz)"
            " OR e.event_id > CAST(:after AS uuid))"
        )
        inside = stage.condition.replace("created_at", "e.created_at")
        return Batches(
            title=f"copying into {stage.name}",
            next_slice=query(
                "SELECT CAST(MAX(t.created_at) AS text) AS until,"
                " CAST((ARRAY_AGG(t.event_id))[COUNT(*)] AS text) AS last, COUNT(*) AS picked"
                f" FROM (SELECT e.created_at, e.event_id FROM ONLY {quoted(source.name)} AS e"
                f" WHERE {inside} AND {since} AND {after} ORDER BY e.created_at, e.event_id"
                " LIMIT :batch_rows) AS t HAVING COUNT(*) > 0"
            ),
            work=query(
                f"-- copies: website_event\nINSERT INTO {quoted(stage.name)} ({columns})"
                f" SELECT {columns} FROM ONLY {quoted(source.name)} AS e"
                f" WHERE {inside} AND {since} AND {after}"
                " AND e.created_at <= CAST(:until AS timestamptz)"
                " AND (e.created_at < CAST(:until AS timestamptz) OR e.event_id <= CAST(:last AS uuid))"
            ),
            values={"since": self._connection.dialect.earliest, "after": None},
        )

    def _catching_up(self, source: Partition) -> Batches:
        """Return the step that copies anew what was noted, until little is left of it."""
        columns = self._catalogue.column_list(TABLE)
        keys = (
            f"(SELECT n.event_id, n.created_at FROM {quoted(_NOTED)} AS n"
            " WHERE n.id = ANY(CAST(:taken AS bigint[])))"
        )
        return Batches(
            title="catching up with what was written meanwhile",
            next_slice=query(
                f"SELECT 0 AS last, COUNT(*) AS picked "
                f" FROM (SELECT FROM {quoted(_NOTED)} LIMIT :batch_rows) AS n"
                f" HAVING COUNT(*) > {_FEW}"
            ),
            work=query(
                f"-- collect: taken\nSELECT n.id AS taken FROM {quoted(_NOTED)} AS n"
                " ORDER BY n.id LIMIT :batch_rows;\n"
                f"-- copies: website_event\n{_take_out(keys)};\n"
                f"-- copies: website_event\n{_put_in(source.name, columns, keys)};\n"
                f"-- copies: website_event\nDELETE FROM {quoted(_NOTED)}"
                " WHERE id = ANY(CAST(:taken AS bigint[]))"
            ),
            values={"after": None},
        )

    def _exchange(self, source: Partition, stages: Sequence[_Stage]) -> Change:
        columns = self._catalogue.column_list(TABLE)
        # The guard has seen that these are all. Without a limit the planner goes by the size of the file,
        # which has grown with all that was ever noted.
        keys = f"(SELECT n.event_id, n.created_at FROM {quoted(_NOTED)} AS n LIMIT {_MANY + 1})"
        shape = self._queries["partition.shape"]
        return Change(
            title=f"exchanging {source.name}",
            statements=tuple(
                query(text)
                for text in (
                    f"LOCK TABLE {quoted(TABLE)} IN ACCESS EXCLUSIVE MODE",
                    *_BY_INDEX,
                    _take_out(keys),
                    _put_in(source.name, columns, keys),
                    *(
                        f"ALTER TABLE {quoted(_STAGE)} DETACH PARTITION {quoted(stage.name)}"
                        for stage in stages
                    ),
                    f"DROP TABLE {quoted(_STAGE)}",
                    f"ALTER TABLE {quoted(TABLE)} DETACH PARTITION {quoted(source.name)}",
                    f"DROP TABLE {quoted(source.name)}",
                    *(text for stage in stages for text in _attach(source, stage)),
                    f"DROP TABLE {quoted(_NOTED)}",
                    f"DROP FUNCTION {quoted(_NOTED)}()",
                )
            ),
            lock=f"ACCESS EXCLUSIVE on website_event for some 50 ms and 5 ms for each partition: {PATIENTLY}",
            before=self._catching_up(source),
            guards=(
                Guard(
                    shape,
                    self._connection.value(shape),
                    "website_event was changed by somebody else meanwhile; run the same command again",
                ),
                Guard(
                    query(
                        f"SELECT COUNT(*) > {_MANY} AS many"
                        f" FROM (SELECT FROM {quoted(_NOTED)} LIMIT {_MANY + 1}) AS n"
                    ),
                    expected=False,
                    otherwise="Much is being written at this moment",
                    passing=True,
                ),
            ),
        )


class _Stage:
    """A new table: its name, its bounds as a partition, and the condition that its rows fulfil."""

    def __init__(self, name: str, bounds: str, condition: str) -> None:
        self.name = name
        self.bounds = bounds
        self.condition = condition


def _attach(source: Partition, stage: _Stage) -> Iterator[str]:
    name = stage.name
    if stage.bounds == "DEFAULT":
        yield f"ALTER TABLE {quoted(name)} RENAME TO {quoted(source.name)}"
        yield f"ALTER INDEX {quoted(name + '_pkey')} RENAME TO {quoted(source.name + '_pkey')}"
        name = source.name
    yield f"ALTER TABLE {quoted(TABLE)} ATTACH PARTITION {quoted(name)} {stage.bounds}"
    yield f"ALTER TABLE {quoted(name)} DROP CONSTRAINT {quoted(_BOUNDS)}"


def _take_out(keys: str) -> str:
    return (
        f"DELETE FROM {quoted(_STAGE)} AS t USING {keys} AS k"
        " WHERE t.event_id = k.event_id AND t.created_at = k.created_at"
    )


def _put_in(source: str, columns: str, keys: str) -> str:
    return (
        f"INSERT INTO {quoted(_STAGE)} ({columns}) SELECT {columns} FROM ONLY {quoted(source)} AS e"
        f" WHERE (e.event_id, e.created_at) IN {keys}"
    )


_FOLLOWED = Query(
    "partition.followed",
    "The tables whose writes are noted.",
    "SELECT t.relname AS name FROM pg_trigger AS g JOIN pg_class AS t ON t.oid = g.tgrelid"
    " WHERE g.tgname = '_umami_ops_noted' AND t.relnamespace ="
    " (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())",
)
_STAGED = Query(
    "partition.staged",
    "The new tables that an interrupted run left, with their bounds.",
    "SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds"
    " FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid"
    " JOIN pg_class AS p ON p.oid = i.inhparent WHERE p.relname = '_umami_ops_stage' AND p.relnamespace ="
    " (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())",
)
_KEYS = Query(
    "partition.keys",
    "The primary key of a table of this schema.",
    "SELECT k.conname AS name FROM pg_constraint AS k JOIN pg_class AS t ON t.oid = k.conrelid"
    " WHERE t.relname = :name AND k.contype = 'p' AND t.relnamespace ="
    " (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())",
)
