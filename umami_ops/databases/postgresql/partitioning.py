"""Partitions of website_event on PostgreSQL: the DDL, as steps of a plan. Nothing here runs it.

Enabling copies nothing: the old table becomes the partition of all history. What would take long is done
before, while others read and write (a unique index CONCURRENTLY, a CHECK that is validated), so that the
exchange only changes the catalogue. Sources: the PostgreSQL manual on ALTER TABLE (SET NOT NULL and ATTACH
PARTITION, which both skip their scan where a valid CHECK proves the answer) and on table partitioning.

What stands in the schema only for the time of a run has a name that begins with `_umami_ops_`.
"""

# ruff: noqa: S608 -- identifiers pass through the one quoting function, values through the driver's literals

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from umami_ops.databases.base import WORKING_PREFIX, Connection, Row
from umami_ops.databases.partitioning import TABLE, Layout, Partition, Partitioning, Slot
from umami_ops.databases.postgresql.dialect import POSTGRESQL
from umami_ops.databases.postgresql.partition_catalogue import Catalogue
from umami_ops.databases.postgresql.resettling import MOST_ROWS_AT_ONCE, Resettling
from umami_ops.plan import Batches, Change, Guard, Size, Step
from umami_ops.sql import Query

_KEY_INDEX = f"{WORKING_PREFIX}event_id_created_at"
_PLAIN_KEY_INDEX = f"{WORKING_PREFIX}event_id"
_NEW = f"{WORKING_PREFIX}new_{TABLE}"
_PARKED = f"{WORKING_PREFIX}parked"
_REST = f"{WORKING_PREFIX}rest_"
_BOUNDS = f"{WORKING_PREFIX}bounds"
_PAST = f"{WORKING_PREFIX}past_"
_DEFAULT = f"{TABLE}_default"
_OUR_KEY = "RANGE (created_at)"
_BOUNDED = re.compile(r"FOR VALUES FROM \((.+)\) TO \((.+)\)")

_INSTANT = "ACCESS EXCLUSIVE on website_event for an instant: it waits 0.2 s at most, and then tries again"
_NOBODY = "nothing that others need"
_WRITERS_GO_ON = "SHARE UPDATE EXCLUSIVE on website_event: reads and writes go on"
_LONG_SECONDS = 600
_CHANGED_MEANWHILE = "website_event was changed by somebody else meanwhile"


class PostgresqlPartitioning(Partitioning):
    """What PostgreSQL can do about the partitions of website_event."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._queries = connection.dialect.queries
        self._catalogue = Catalogue(connection)

    # --- what is there --------------------------------------------------------------------------------

    def layout(self) -> Layout:
        """Return how the table lies there."""
        rows = self._connection.rows(self._queries["partition.partitions"])
        parts = [_partition(row) for row in rows if row["name"] is not None]
        left = self._leftovers()
        return Layout(
            partitions=tuple(sorted(parts, key=_by_time)),
            unfinished=_unfinished(left),
            is_foreign=bool(rows) and (rows[0]["key"] != _OUR_KEY or any(part is None for part in parts)),
        )

    def obstacles(self) -> list[str]:
        """Return what stands on the table and would be lost or broken."""
        return [row["what"] for row in self._connection.rows(self._queries["partition.obstacles"])]

    def _leftovers(self) -> dict[str, bool]:
        """Return the names of what stands here for the time of a run, and whether it is valid."""
        rows = self._connection.rows(self._queries["partition.leftovers"])
        return {row["name"]: row["is_valid"] for row in rows}

    # --- undoing --------------------------------------------------------------------------------------

    def clear(self, verb: str) -> list[Step]:
        """Return the steps that undo what an unfinished run left; a disable is brought to its end."""
        left = self._leftovers()
        steps: list[Step] = []
        if _PARKED in left:
            steps += self._unpark()
        if _NEW in left:
            steps.append(_change("dropping what an interrupted run prepared", _NOBODY, _drop_table(_NEW)))
        if verb != "split":
            steps += Resettling(self._connection, self._catalogue).clear(left)
        for index, use in ((_KEY_INDEX, "enable"), (_PLAIN_KEY_INDEX, "disable")):
            if index in left and verb != use:
                steps.append(self._drop_index(index))
        steps += self._move_rest([name for name in left if name.startswith(_REST)])
        return [*steps, *self.dropping()]

    def _drop_index(self, name: str) -> Change:
        return _alone(
            f"dropping the index {name}", _WRITERS_GO_ON, f"DROP INDEX CONCURRENTLY IF EXISTS {_q(name)}"
        )

    def _unpark(self) -> list[Step]:
        """Return the steps that take the bounds off the table and give parked events their times back."""
        plain = self._catalogue.is_table(TABLE)
        steps: list[Step] = []
        if plain:
            steps.append(
                _change(
                    "taking the bounds off",
                    _INSTANT,
                    f"DROP TRIGGER IF EXISTS {_q(_PARKED)} ON {_q(TABLE)}",
                    f"ALTER TABLE {_q(TABLE)} DROP CONSTRAINT IF EXISTS {_q(_BOUNDS)}",
                )
            )
        return [*steps, _unparking(), _change("clearing the parking place", _NOBODY, *_no_parking())]

    # --- enable ---------------------------------------------------------------------------------------

    def enable(self, boundary: datetime, ahead: Sequence[Slot], *, online: bool) -> list[Step]:  # noqa: ARG002
        """Return the steps that make the table a partition of a new one; offline would be no quicker."""
        left = self._leftovers()
        steps: list[Step] = []
        if left.get(_KEY_INDEX) is False:
            steps.append(self._drop_index(_KEY_INDEX))
        if not left.get(_KEY_INDEX):
            steps.append(_unique_index(_KEY_INDEX, TABLE, "event_id, created_at"))
        at = self._connection.literal(boundary)
        steps += [
            self._bound(at),
            _alone(
                "proving that all events lie before the boundary",
                f"{_WRITERS_GO_ON}; one scan of the table",
                f"ALTER TABLE {_q(TABLE)} VALIDATE CONSTRAINT {_q(_BOUNDS)}",
            ),
            self._prepare(ahead),
            self._exchange(boundary, at),
            _unparking(),
            _change("clearing the parking place", _NOBODY, *_no_parking()),
            # What is known of the rows stays with their partition; new is what is said of all together.
            _analyze(f"ONLY {_q(TABLE)}" if self._major >= 18 else _q(TABLE)),
        ]
        return steps

    def _bound(self, at: str) -> Change:
        """Return the step after which no event lies, or comes to lie, past the boundary.

        Umami takes times in the future, which the CHECK would refuse: a trigger parks them, dated just before
        the boundary, with their own time written down; after the exchange they get it back.
        """
        parked, function = _q(_PARKED), f"{self._schema}.{_q(_PARKED)}"
        return _change(
            "bounding the table",
            f"{_INSTANT}; events from the boundary on are parked just before it",
            f"CREATE TABLE {parked} (event_id uuid PRIMARY KEY, created_at timestamptz NOT NULL)",
            *self._owned(_PARKED),
            f"""CREATE FUNCTION {parked}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog AS $park$
BEGIN
  INSERT INTO {function} VALUES (NEW.event_id, NEW.created_at)
  ON CONFLICT (event_id) DO UPDATE SET created_at = EXCLUDED.created_at;
  NEW.created_at = {at} - INTERVAL '1 microsecond';
  RETURN NEW;
END
$park$""",
            f"LOCK TABLE {_q(TABLE)} IN ACCESS EXCLUSIVE MODE",
            f"CREATE TRIGGER {parked} BEFORE INSERT OR UPDATE ON {_q(TABLE)}"
            f" FOR EACH ROW WHEN (NEW.created_at >= {at}) EXECUTE FUNCTION {parked}()",
            f"UPDATE {_q(TABLE)} SET created_at = created_at WHERE created_at >= {at}",
            f"ALTER TABLE {_q(TABLE)} ADD CONSTRAINT {_q(_BOUNDS)}"
            f" CHECK (created_at IS NOT NULL AND created_at < {at}) NOT VALID",
        )

    def _prepare(self, ahead: Sequence[Slot]) -> Change:
        """Return the step that makes the partitioned table, under a working name, and empty partitions."""
        indexes = [index for index in self._catalogue.indexes(TABLE) if not index.is_primary]
        return _change(
            "preparing the partitioned table",
            "nothing that others need; ACCESS SHARE on website_event for an instant",
            f"CREATE TABLE {_q(_NEW)} (LIKE {_q(TABLE)} INCLUDING DEFAULTS INCLUDING COMMENTS"
            f" INCLUDING STORAGE INCLUDING GENERATED INCLUDING IDENTITY) PARTITION BY {_OUR_KEY}",
            f"ALTER TABLE {_q(_NEW)} ADD CONSTRAINT {_q(_NEW + '_pkey')} PRIMARY KEY (event_id, created_at)",
            *self._named_not_null(),
            *(
                f"CREATE INDEX {_q(_working_name(number))} ON {_q(_NEW)} USING {index.tail}"
                for number, index in enumerate(indexes)
            ),
            *(
                f"CREATE TABLE {_q(partition_name(slot.label))} PARTITION OF {_q(_NEW)} {self._bounds(slot)}"
                for slot in ahead
            ),
            f"CREATE TABLE {_q(_DEFAULT)} PARTITION OF {_q(_NEW)} DEFAULT",
            *self._owned(_NEW, *(partition_name(slot.label) for slot in ahead), _DEFAULT),
            *self._catalogue.grants(TABLE, to=_NEW),
            *self._catalogue.comment(TABLE, to=_NEW),
        )

    def _named_not_null(self) -> tuple[str, ...]:
        """Return what takes the working name out of the key's NOT NULL: since version 18 that has a name."""
        if self._major < 18:
            return ()
        mark = "created_at_not_null"
        return (
            f"ALTER TABLE {_q(_NEW)} RENAME CONSTRAINT {_q(f'{_NEW}_{mark}')} TO {_q(f'{TABLE}_{mark}')}",
        )

    def _exchange(self, boundary: datetime, at: str) -> Change:
        """Return the step that makes the old table a partition and gives its names to the new one."""
        old = partition_name(before(boundary))
        primary = self._catalogue.primary_key(TABLE)
        indexes = [index for index in self._catalogue.indexes(TABLE) if not index.is_primary]
        return Change(
            title="exchanging the tables",
            statements=_statements(
                f"LOCK TABLE {_q(TABLE)} IN ACCESS EXCLUSIVE MODE",
                f"DROP TRIGGER {_q(_PARKED)} ON {_q(TABLE)}",
                f"ALTER TABLE {_q(TABLE)} RENAME TO {_q(old)}",
                f"ALTER TABLE {_q(old)} ALTER created_at SET NOT NULL, DROP CONSTRAINT {_q(primary)}",
                f"ALTER TABLE {_q(old)} ADD CONSTRAINT {_q(old + '_pkey')} PRIMARY KEY"
                f" USING INDEX {_q(_KEY_INDEX)}",
                *(
                    f"ALTER INDEX {_q(index.name)} RENAME TO {_q(f'{old}_i{number}')}"
                    for number, index in enumerate(indexes)
                ),
                f"ALTER TABLE {_q(_NEW)} RENAME TO {_q(TABLE)}",
                f"ALTER INDEX {_q(_NEW + '_pkey')} RENAME TO {_q(primary)}",
                *(
                    f"ALTER INDEX {_q(_working_name(number))} RENAME TO {_q(index.name)}"
                    for number, index in enumerate(indexes)
                ),
                f"ALTER TABLE {_q(TABLE)} ATTACH PARTITION {_q(old)} FOR VALUES FROM (MINVALUE) TO ({at})",
                f"ALTER TABLE {_q(old)} DROP CONSTRAINT {_q(_BOUNDS)}",
            ),
            lock="ACCESS EXCLUSIVE on website_event for some 50 ms: it waits 0.2 s at most, then tries again",
            guards=(self._same_shape(),),
        )

    # --- more partitions, and fewer -------------------------------------------------------------------

    def extend(self, slots: Sequence[Slot], crowd: int) -> list[Step]:
        """Return the steps that add partitions and take what belongs to them out of the default one."""
        if crowd > MOST_ROWS_AT_ONCE:
            catch_all = self.layout().catch_all
            assert catch_all is not None
            return self.split(catch_all, slots)
        return [*(self._add(slot) for slot in slots), *([_analyze(_q(_DEFAULT))] if crowd else [])]

    def _add(self, slot: Slot) -> Change:
        name, columns = partition_name(slot.label), self._catalogue.column_list(TABLE)
        within = self._catalogue.within(slot)
        return _change(
            f"adding {name}",
            f"{_WRITERS_GO_ON}; ACCESS EXCLUSIVE on its default partition for an instant",
            f"LOCK TABLE ONLY {_q(TABLE)} IN SHARE UPDATE EXCLUSIVE MODE",
            f"LOCK TABLE {_q(_DEFAULT)} IN ACCESS EXCLUSIVE MODE",
            f"CREATE TABLE {_q(name)} (LIKE {_q(TABLE)} INCLUDING DEFAULTS INCLUDING STORAGE"
            " INCLUDING GENERATED)",
            *self._owned(name),
            f"WITH gone AS (DELETE FROM {_q(_DEFAULT)} WHERE {within} RETURNING *)"
            f" INSERT INTO {_q(name)} ({columns}) SELECT {columns} FROM gone",
            f"ALTER TABLE {_q(TABLE)} ATTACH PARTITION {_q(name)} {self._bounds(slot)}",
        )

    def split(self, source: Partition, slots: Sequence[Slot]) -> list[Step]:
        """Return the steps that put partitions in the place of one."""
        steps = Resettling(self._connection, self._catalogue).steps(source, slots)
        return [*steps, _analyze(_q(TABLE))]

    def drop(self, partition: Partition) -> list[Step]:
        """Return the steps that drop a partition, and what hangs on its events before it.

        Between the first look and the detaching events may still be written to it: they are known by their
        transaction, which is none of those that had ended when this was planned.
        """
        name, past = partition.name, f"{_PAST}{partition.name}"
        is_late = f"age(e.xmin) <= age(CAST('{self._catalogue.oldest_transaction()}' AS xid))"
        return [
            self._details(name),
            _change(
                f"detaching {name}",
                _INSTANT,
                f"LOCK TABLE ONLY {_q(TABLE)} IN ACCESS EXCLUSIVE MODE",
                f"ALTER TABLE {_q(TABLE)} DETACH PARTITION {_q(name)}",
                f"ALTER TABLE {_q(name)} RENAME TO {_q(past)}",
            ),
            *self._end(past, is_late),
        ]

    def dropping(self) -> list[Step]:
        """Return the steps that drop what interrupted drops had detached."""
        steps: list[Step] = []
        for past in (name for name in self._leftovers() if name.startswith(_PAST)):
            steps += [self._details(past), *self._end(past, "FALSE")]
        return steps

    def _end(self, past: str, is_late: str) -> list[Step]:
        """Return the steps that count what was detached, late events' details gone, and drop it."""
        gone = self._without_details(f"SELECT e.event_id, e.session_id FROM {_q(past)} AS e WHERE {is_late}")
        counting = Batches(
            title=f"counting the events of {past}",
            next_slice=_query("SELECT 1 AS last, 1 AS picked WHERE CAST(:after AS int) IS NULL"),
            work=_query(f"{gone}, (SELECT COUNT(*) FROM {_q(past)}) AS {TABLE}"),
            values={"after": None},
        )
        return [counting, _change(f"dropping {past}", _NOBODY, _drop_table(past))]

    def _details(self, table: str) -> Batches:
        """Return the step that deletes what hangs on the events of a table, in the order of their ids."""
        ranged = "(CAST(:after AS uuid) IS NULL OR e.event_id > CAST(:after AS uuid))"
        return Batches(
            title=f"what hangs on the events of {table}",
            next_slice=_query(
                "SELECT CAST(s.event_id AS text) AS last, s.picked FROM (SELECT t.event_id, COUNT(*) OVER ()"
                f" AS picked FROM (SELECT e.event_id FROM {_q(table)} AS e WHERE {ranged} ORDER BY e.event_id"
                " LIMIT :batch_rows) AS t) AS s ORDER BY s.event_id DESC LIMIT 1"
            ),
            work=_query(
                self._without_details(
                    f"SELECT e.event_id, e.session_id FROM {_q(table)} AS e"
                    f" WHERE {ranged} AND e.event_id <= CAST(:last AS uuid)"
                )
            ),
            values={"after": None},
        )

    def _without_details(self, events: str) -> str:
        """Return the statement that deletes what hangs on these events, and counts it by table."""
        gone = {
            "event_data": "d.website_event_id = ANY(ARRAY(SELECT x.event_id FROM gone AS x))",
            "revenue": "d.session_id = ANY(ARRAY(SELECT x.session_id FROM gone AS x))"
            " AND d.event_id = ANY(ARRAY(SELECT x.event_id FROM gone AS x))",
        }
        here = {table: where for table, where in gone.items() if self._catalogue.is_table(table)}
        deletes = "".join(
            f", gone_{table} AS (DELETE FROM {table} AS d WHERE {where} RETURNING 1)"
            for table, where in here.items()
        )
        counts = ", ".join(f"(SELECT COUNT(*) FROM gone_{table}) AS {table}" for table in here)
        return f"WITH gone AS MATERIALIZED ({events}){deletes} SELECT {counts or '0 AS nothing'}"

    def detach(self, partition: Partition) -> list[Step]:
        """Return the step that makes a partition a table of its own.

        DETACH CONCURRENTLY can't be had: PostgreSQL refuses it beside a default partition.
        """
        return [
            _change(
                f"detaching {partition.name}",
                _INSTANT,
                f"LOCK TABLE ONLY {_q(TABLE)} IN ACCESS EXCLUSIVE MODE",
                f"ALTER TABLE {_q(TABLE)} DETACH PARTITION {_q(partition.name)}",
            )
        ]

    # --- disable --------------------------------------------------------------------------------------

    def disable(self, *, online: bool) -> list[Step]:  # noqa: ARG002
        """Return the steps back to a plain table; there is none offline: nothing is gained by waiting.

        The largest partition becomes the table, and the others its heirs: queries see them, new events go
        into the table. Then they are emptied into it, batch by batch, and dropped.
        """
        parts = self.layout().partitions
        keeper = max(parts, key=lambda part: part.size.total_bytes).name
        others = [part.name for part in parts if part.name != keeper]
        left = self._leftovers()
        steps: list[Step] = []
        if left.get(_PLAIN_KEY_INDEX) is False:
            steps.append(self._drop_index(_PLAIN_KEY_INDEX))
        if not left.get(_PLAIN_KEY_INDEX):
            steps.append(_unique_index(_PLAIN_KEY_INDEX, keeper, "event_id"))
        steps.append(self._dissolve(keeper, others))
        rest = [f"{_REST}{number}" for number in range(len(others))]
        return [*steps, *self._move_rest(rest), _analyze(_q(TABLE))]

    def _dissolve(self, keeper: str, others: Sequence[str]) -> Change:
        key = self._catalogue.primary_key(TABLE)
        heirs = self._catalogue.heirs(keeper)
        return Change(
            title="making one partition the table, and the others its heirs",
            statements=_statements(
                f"LOCK TABLE {_q(TABLE)} IN ACCESS EXCLUSIVE MODE",
                *(
                    f"ALTER TABLE {_q(TABLE)} DETACH PARTITION {_q(name)}"
                    for name in sorted((keeper, *others), key=lambda name: name != _DEFAULT)
                ),
                f"DROP TABLE {_q(TABLE)}",
                f"ALTER TABLE {_q(keeper)} RENAME TO {_q(TABLE)}",
                f"ALTER TABLE {_q(TABLE)} DROP CONSTRAINT {_q(self._catalogue.primary_key(keeper))}",
                f"ALTER TABLE {_q(TABLE)} ALTER created_at DROP NOT NULL,"
                f" ADD CONSTRAINT {_q(key)} PRIMARY KEY USING INDEX {_q(_PLAIN_KEY_INDEX)}",
                *(
                    f"ALTER INDEX {_q(child)} RENAME TO {_q(parent)}"
                    for child, parent in heirs
                    if parent != key
                ),
                *(
                    statement
                    for number, name in enumerate(others)
                    for statement in (
                        f"ALTER TABLE {_q(name)} RENAME TO {_q(f'{_REST}{number}')}",
                        f"ALTER TABLE {_q(f'{_REST}{number}')} INHERIT {_q(TABLE)}",
                    )
                ),
                *self._catalogue.grants(TABLE, to=TABLE),
                *self._catalogue.comment(TABLE, to=TABLE),
            ),
            lock="ACCESS EXCLUSIVE on website_event for some 50 ms: it waits 0.2 s at most, then tries again",
            guards=(self._same_shape(),),
        )

    def _move_rest(self, rest: Sequence[str]) -> list[Step]:
        """Return the steps that empty the heirs into the table, and drop them."""
        columns = self._catalogue.column_list(TABLE)
        steps: list[Step] = []
        for name in rest:
            steps += [_emptying(name, columns), _dropping(name)]
        return steps

    # --- words ----------------------------------------------------------------------------------------

    @property
    def _major(self) -> int:
        """The server's version: ANALYZE ONLY and names for NOT NULL came with 18."""
        return int(self._connection.server().version.partition(".")[0])

    @property
    def _schema(self) -> str:
        return _q(self._connection.server().schema)

    def _bounds(self, slot: Slot) -> str:
        literal = self._connection.literal
        return f"FOR VALUES FROM ({literal(slot.since)}) TO ({literal(slot.until)})"

    def _owned(self, *names: str) -> tuple[str, ...]:
        """Return what gives new tables to the owner of website_event, where that is somebody else."""
        owner = self._catalogue.other_owner(TABLE)
        return tuple(f"ALTER TABLE {_q(name)} OWNER TO {_q(owner)}" for name in names) if owner else ()

    def _same_shape(self) -> Guard:
        shape = self._queries["partition.shape"]
        return Guard(shape, self._connection.value(shape), _CHANGED_MEANWHILE)


def partition_name(label: str) -> str:
    """Return the name of a partition as a table."""
    return f"{TABLE}_{label}"


def before(boundary: datetime) -> str:
    """Return the label of the partition of all history up to a boundary."""
    return f"before_{boundary:%Y_%m_%d}"


def _partition(row: Row) -> Partition:
    found = _BOUNDED.fullmatch(row["bounds"])
    since, until = (_moment(found[1]), _moment(found[2])) if found else (None, None)
    return Partition(
        name=row["name"],
        since=since,
        until=until,
        is_catch_all=row["bounds"] == "DEFAULT",
        rows_estimate=int(row["rows_estimate"]),
        size=Size(int(row["table_bytes"]), int(row["index_bytes"])),
    )


def _moment(bound: str) -> datetime | None:
    """Read a bound as the catalogue writes it for a session in UTC; None for MINVALUE and MAXVALUE."""
    return None if bound.endswith("VALUE") else datetime.fromisoformat(bound.strip("'")).astimezone(UTC)


def _by_time(part: Partition) -> tuple[bool, datetime]:
    return part.is_catch_all, part.since or datetime.min.replace(tzinfo=UTC)


def _unfinished(left: dict[str, bool]) -> str | None:
    if any(name.startswith(_REST) for name in left) or _PLAIN_KEY_INDEX in left:
        return "disable"
    if Resettling.is_among(left):
        return "split"
    if any(name.startswith(_PAST) for name in left):
        return "maintain"
    return "enable" if left.keys() & {_PARKED, _NEW, _KEY_INDEX} else None


def _working_name(number: int) -> str:
    return f"{_NEW}_i{number}"


def _unparking() -> Batches:
    """Return the step that gives parked events their own times back, whichever partition that is."""
    ranged = "(CAST(:after AS uuid) IS NULL OR p.event_id > CAST(:after AS uuid))"
    return Batches(
        title="giving parked events their times back",
        next_slice=_query(
            f"SELECT CAST(s.event_id AS text) AS last, s.picked FROM (SELECT t.event_id, COUNT(*) OVER () AS"
            f" picked FROM (SELECT p.event_id FROM {_q(_PARKED)} AS p WHERE {ranged} ORDER BY p.event_id"
            " LIMIT :batch_rows) AS t) AS s ORDER BY s.event_id DESC LIMIT 1"
        ),
        work=_query(
            f"-- copies: website_event\nLOCK TABLE {_q(TABLE)} IN SHARE ROW EXCLUSIVE MODE;\n"
            f"-- copies: website_event\nUPDATE {_q(TABLE)} AS e SET created_at = p.created_at"
            f" FROM {_q(_PARKED)} AS p WHERE p.event_id = e.event_id AND {ranged}"
            " AND p.event_id <= CAST(:last AS uuid);\n"
            f"-- copies: website_event\nDELETE FROM {_q(_PARKED)} AS p WHERE {ranged}"
            " AND p.event_id <= CAST(:last AS uuid)"
        ),
        values={"after": None},
    )


def _no_parking() -> tuple[str, ...]:
    return (
        f"DROP TABLE IF EXISTS {_q(_PARKED)}",
        f"DROP FUNCTION IF EXISTS {_q(_PARKED)}()",
    )


def _emptying(heir: str, columns: str) -> Batches:
    """Return the step that moves an heir's rows into the table, in the order of its primary key.

    A delete that began before a batch could miss the rows that the batch moves; so it locks out deletes and
    updates of the heir, for its own length. New events go into the table, which isn't locked.
    """
    ranged = "(CAST(:after AS uuid) IS NULL OR r.event_id > CAST(:after AS uuid))"
    return Batches(
        title=f"moving the rows of {heir}",
        next_slice=_query(
            "SELECT CAST(s.event_id AS text) AS last, s.picked FROM (SELECT t.event_id, COUNT(*) OVER () AS"
            f" picked FROM (SELECT r.event_id FROM ONLY {_q(heir)} AS r WHERE {ranged} ORDER BY r.event_id"
            " LIMIT :batch_rows) AS t) AS s ORDER BY s.event_id DESC LIMIT 1"
        ),
        work=_query(
            f"-- copies: website_event\nLOCK TABLE ONLY {_q(heir)} IN SHARE ROW EXCLUSIVE MODE;\n"
            f"-- copies: website_event\nWITH gone AS (DELETE FROM ONLY {_q(heir)} AS r WHERE {ranged}"
            f" AND r.event_id <= CAST(:last AS uuid) RETURNING *)"
            f" INSERT INTO {_q(TABLE)} ({columns}) SELECT {columns} FROM gone"
        ),
        values={"after": None},
    )


def _dropping(heir: str) -> Change:
    return Change(
        title=f"dropping {heir}, which is empty",
        statements=_statements(
            f"LOCK TABLE ONLY {_q(heir)} IN ACCESS EXCLUSIVE MODE", f"DROP TABLE {_q(heir)}"
        ),
        lock=_INSTANT,
        guards=(
            Guard(
                _query(f"SELECT EXISTS (SELECT FROM ONLY {_q(heir)}) AS holds"),
                expected=False,
                otherwise=f"{heir} holds rows still; run the same command again",
            ),
        ),
    )


def _unique_index(name: str, table: str, columns: str) -> Change:
    return Change(
        title=f"building the unique index ({columns}) of {table}",
        statements=_statements(f"CREATE UNIQUE INDEX CONCURRENTLY {_q(name)} ON {_q(table)} ({columns})"),
        lock=f"SHARE UPDATE EXCLUSIVE on {table}: reads and writes go on",
        together=False,
        wait_seconds=_LONG_SECONDS,
        tries=3,
        remains=_statements(f"DROP INDEX CONCURRENTLY IF EXISTS {_q(name)}"),
    )


def _analyze(what: str) -> Change:
    return _alone("refreshing the statistics", _WRITERS_GO_ON, f"ANALYZE {what}")


def _drop_table(name: str) -> str:
    return f"DROP TABLE IF EXISTS {_q(name)}"


def _change(title: str, lock: str, *statements: str) -> Change:
    return Change(title=title, statements=_statements(*statements), lock=lock)


def _alone(title: str, lock: str, statement: str) -> Change:
    return Change(
        title=title,
        statements=_statements(statement),
        lock=lock,
        together=False,
        wait_seconds=_LONG_SECONDS,
        tries=3,
    )


def _statements(*texts: str) -> tuple[Query, ...]:
    return tuple(_query(text) for text in texts)


def _query(text: str) -> Query:
    return Query("partition.change", "", text)


def _q(identifier: str) -> str:
    return POSTGRESQL.quote(identifier)
