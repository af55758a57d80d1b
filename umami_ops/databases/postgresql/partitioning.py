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
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from umami_ops.databases.base import WORKING_PREFIX, Connection, Row
from umami_ops.databases.partitioning import TABLE, Layout, Partition, Partitioning, Slot
from umami_ops.databases.postgresql.dissolving import PLAIN_KEY_INDEX, Dissolving
from umami_ops.databases.postgresql.dropping import Dropping
from umami_ops.databases.postgresql.partition_catalogue import Catalogue
from umami_ops.databases.postgresql.partition_settings import LIKE_COLUMNS, Settings
from umami_ops.databases.postgresql.partition_steps import (
    INSTANT,
    NOBODY,
    PATIENTLY,
    WRITERS_GO_ON,
    alone,
    analyze,
    by_event_id,
    change,
    locking_writers_out,
    query,
    quoted,
    statements,
    unique_index,
)
from umami_ops.databases.postgresql.resettling import MOST_ROWS_AT_ONCE, Resettling
from umami_ops.errors import Refused
from umami_ops.plan import Batches, Change, Guard, Size, Step

_KEY_INDEX = f"{WORKING_PREFIX}event_id_created_at"
_NEW = f"{WORKING_PREFIX}new_{TABLE}"
_PARKED = f"{WORKING_PREFIX}parked"
_BOUNDS = f"{WORKING_PREFIX}bounds"
_DEFAULT = f"{TABLE}_default"
_OUR_KEY = "RANGE (created_at)"
_BOUNDED = re.compile(r"FOR VALUES FROM \((.+)\) TO \((.+)\)")
_CHECKED = re.compile(r"created_at < ('[^']+')")
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

#: An entry of an index over an id and a time, with what a page of them leaves free.
_KEY_BYTES = 40

_CHANGED_MEANWHILE = "website_event was changed by somebody else meanwhile; run the same command again"


class PostgresqlPartitioning(Partitioning):
    """What PostgreSQL can do about the partitions of website_event."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._queries = connection.dialect.queries
        self._catalogue = Catalogue(connection)
        self._settings = Settings(connection)

    # --- what is there --------------------------------------------------------------------------------

    def layout(self) -> Layout:
        """Return how the table lies there."""
        rows = self._connection.rows(self._queries["partition.partitions"])
        # The key is what anybody would choose; without our catch-all there is nothing to take events from.
        is_ours = any((row["name"], row["bounds"]) == (_DEFAULT, "DEFAULT") for row in rows)
        is_foreign = bool(rows) and not (is_ours and rows[0]["key"] == _OUR_KEY)
        parts = [_partition(row, has_times=not is_foreign) for row in rows if row["name"] is not None]
        left = self._leftovers()
        return Layout(
            partitions=tuple(sorted(parts, key=_by_time)),
            unfinished=_unfinished(left),
            is_foreign=is_foreign,
            begun=tuple(sorted(self._begun(), key=lambda slot: slot.since))
            if Resettling.is_among(left)
            else (),
            bounded_at=self._bounded_at() if _PARKED in left else None,
        )

    def _bounded_at(self) -> datetime | None:
        """Return the time past which the trigger of an enable parks events, where it stands."""
        found = _CHECKED.search(self._catalogue.check(TABLE, _BOUNDS) or "")
        return _moment(found[1]) if found else None

    def _begun(self) -> Iterator[Slot]:
        """Yield the partitions that an unfinished resettling makes, but for what lies outside of them."""
        for row in Resettling(self._connection, self._catalogue).staged():
            since, until = _times(row["bounds"])
            if since and until:
                yield Slot(row["name"].removeprefix(f"{TABLE}_"), since, until)

    def keeps_events_aside(self) -> bool:
        """Say whether an unfinished disable left heirs of the table, or an enable parked events."""
        left = self._leftovers()
        if Dissolving.has_heirs_among(left):
            return True
        parked = query(f"SELECT EXISTS (SELECT FROM {quoted(_PARKED)}) AS holds")
        return _PARKED in left and bool(self._connection.value(parked))

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
            steps.append(
                change(
                    "dropping what an interrupted run prepared",
                    NOBODY,
                    f"DROP TABLE IF EXISTS {quoted(_NEW)}",
                )
            )
        if verb != "split":
            steps += Resettling(self._connection, self._catalogue).clear(left)
        for index, use in ((_KEY_INDEX, "enable"), (PLAIN_KEY_INDEX, "disable")):
            if index in left and verb != use:
                steps.append(self._drop_index(index))
        return [*steps, *Dissolving(self._catalogue, self._settings).rest(left)]

    def _drop_index(self, name: str) -> Change:
        return alone(
            f"dropping the index {name}", WRITERS_GO_ON, f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(name)}"
        )

    def _unpark(self) -> list[Step]:
        """Return the steps that take the bounds off the table and give parked events their times back."""
        plain = self._catalogue.is_table(TABLE)
        steps: list[Step] = []
        if plain:
            steps.append(
                change(
                    "taking the bounds off",
                    INSTANT,
                    f"DROP TRIGGER IF EXISTS {quoted(_PARKED)} ON {quoted(TABLE)}",
                    f"ALTER TABLE {quoted(TABLE)} DROP CONSTRAINT IF EXISTS {quoted(_BOUNDS)}",
                )
            )
        return [*steps, _unparking(), change("clearing the parking place", NOBODY, *_no_parking())]

    # --- enable ---------------------------------------------------------------------------------------

    def enable(self, boundary: datetime, ahead: Sequence[Slot], *, online: bool) -> list[Step]:  # noqa: ARG002
        """Return the steps that make the table a partition of a new one; offline would be no quicker."""
        self._refuse_namesakes([_DEFAULT, partition_name(before(boundary))], ahead)
        left = self._leftovers()
        steps: list[Step] = []
        if left.get(_KEY_INDEX) is False:
            steps.append(self._drop_index(_KEY_INDEX))
        if not left.get(_KEY_INDEX):
            steps.append(unique_index(_KEY_INDEX, TABLE, "event_id, created_at"))
        at = self._connection.literal(boundary)
        steps += [
            self._bound(at),
            alone(
                "proving that all events lie before the boundary",
                f"{WRITERS_GO_ON}; one scan of the table",
                f"ALTER TABLE {quoted(TABLE)} VALIDATE CONSTRAINT {quoted(_BOUNDS)}",
            ),
            self._prepare(ahead),
            self._exchange(boundary, at),
            _unparking(),
        ]
        # What is known of the rows stays with their partition; new is what is said of all together.
        known = self._major >= 18 and bool(self._connection.value(self._queries["partition.is_analyzed"]))
        taken_over = (_statistics_of(partition_name(before(boundary))),) if known else ()
        steps.append(change("clearing the parking place", NOBODY, *_no_parking(), *taken_over))
        return steps if known else [*steps, analyze(quoted(TABLE))]

    def _bound(self, at: str) -> Change:
        """Return the step after which no event lies, or comes to lie, past the boundary.

        Umami takes times in the future, which the CHECK would refuse: a trigger parks them, dated just before
        the boundary, with their own time written down; after the exchange they get it back.
        """
        parked, function = quoted(_PARKED), f"{self._schema}.{quoted(_PARKED)}"
        return change(
            "bounding the table",
            f"{INSTANT}; events from the boundary on are parked just before it",
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
            f"LOCK TABLE {quoted(TABLE)} IN ACCESS EXCLUSIVE MODE",
            f"CREATE TRIGGER {parked} BEFORE INSERT OR UPDATE ON {quoted(TABLE)}"
            f" FOR EACH ROW WHEN (NEW.created_at >= {at}) EXECUTE FUNCTION {parked}()",
            f"UPDATE {quoted(TABLE)} SET created_at = created_at WHERE created_at >= {at}",
            f"ALTER TABLE {quoted(TABLE)} ADD CONSTRAINT {quoted(_BOUNDS)}"
            f" CHECK (created_at IS NOT NULL AND created_at < {at}) NOT VALID",
        )

    def _prepare(self, ahead: Sequence[Slot]) -> Change:
        """Return the step that makes the partitioned table, under a working name, and empty partitions."""
        indexes = [index for index in self._catalogue.indexes(TABLE) if not index.is_primary]
        key = f"{_NEW}_pkey"
        made = [*(partition_name(slot.label) for slot in ahead), _DEFAULT]
        return change(
            "preparing the partitioned table",
            "nothing that others need; ACCESS SHARE on website_event for an instant",
            f"CREATE TABLE {quoted(_NEW)} (LIKE {quoted(TABLE)} {LIKE_COLUMNS}) PARTITION BY {_OUR_KEY}",
            f"ALTER TABLE {quoted(_NEW)} ADD CONSTRAINT {quoted(key)} PRIMARY KEY (event_id, created_at)",
            *self._named_not_null(),
            *(
                f"CREATE INDEX {quoted(_working_name(number))} ON {quoted(_NEW)} USING {index.tail}"
                for number, index in enumerate(indexes)
            ),
            *(
                f"CREATE TABLE {quoted(partition_name(slot.label))} PARTITION OF {quoted(_NEW)}"
                f" {self._bounds(slot)}"
                for slot in ahead
            ),
            f"CREATE TABLE {quoted(_DEFAULT)} PARTITION OF {quoted(_NEW)} DEFAULT",
            *self._owned(_NEW, *made),
            *self._settings.of_columns(TABLE, to=_NEW),
            *(text for name in (_NEW, *made) for text in self._settings.of_replication(TABLE, to=name)),
            *(text for name in made for text in self._settings.of_storage(TABLE, to=name)),
            *self._settings.of_comments(TABLE, to=_NEW),
            *self._settings.of_key(TABLE, to=_NEW, key=key),
            *self._catalogue.comments(
                TABLE, on={index.name: _working_name(number) for number, index in enumerate(indexes)}
            ),
            *self._settings.of_rights(TABLE, to=_NEW),
        )

    def _named_not_null(self) -> tuple[str, ...]:
        """Return what takes the working name out of the key's NOT NULL: since version 18 that has a name."""
        if self._major < 18:
            return ()
        mark = "created_at_not_null"
        return (
            f"ALTER TABLE {quoted(_NEW)} RENAME CONSTRAINT {quoted(f'{_NEW}_{mark}')}"
            f" TO {quoted(f'{TABLE}_{mark}')}",
        )

    def _exchange(self, boundary: datetime, at: str) -> Change:
        """Return the step that makes the old table a partition and gives its names to the new one."""
        old = partition_name(before(boundary))
        primary = self._catalogue.primary_key(TABLE)
        indexes = [index for index in self._catalogue.indexes(TABLE) if not index.is_primary]
        return Change(
            title="exchanging the tables",
            statements=statements(
                f"LOCK TABLE {quoted(TABLE)} IN ACCESS EXCLUSIVE MODE",
                f"DROP TRIGGER {quoted(_PARKED)} ON {quoted(TABLE)}",
                f"ALTER TABLE {quoted(TABLE)} RENAME TO {quoted(old)}",
                f"ALTER TABLE {quoted(old)} ALTER created_at SET NOT NULL, DROP CONSTRAINT {quoted(primary)}",
                f"ALTER TABLE {quoted(old)} ADD CONSTRAINT {quoted(old + '_pkey')} PRIMARY KEY"
                f" USING INDEX {quoted(_KEY_INDEX)}",
                *(
                    f"ALTER INDEX {quoted(index.name)} RENAME TO {quoted(f'{old}_i{number}')}"
                    for number, index in enumerate(indexes)
                ),
                f"ALTER TABLE {quoted(_NEW)} RENAME TO {quoted(TABLE)}",
                f"ALTER INDEX {quoted(_NEW + '_pkey')} RENAME TO {quoted(primary)}",
                *(
                    f"ALTER INDEX {quoted(_working_name(number))} RENAME TO {quoted(index.name)}"
                    for number, index in enumerate(indexes)
                ),
                f"ALTER TABLE {quoted(TABLE)} ATTACH PARTITION {quoted(old)}"
                f" FOR VALUES FROM (MINVALUE) TO ({at})",
                f"ALTER TABLE {quoted(old)} DROP CONSTRAINT {quoted(_BOUNDS)}",
            ),
            lock=f"ACCESS EXCLUSIVE on website_event for some 50 ms: {PATIENTLY}",
            guards=self._unchanged(),
        )

    # --- more partitions, and fewer -------------------------------------------------------------------

    def extend(self, slots: Sequence[Slot], crowd: int) -> list[Step]:
        """Return the steps that add partitions and take what belongs to them out of the default one."""
        if crowd > MOST_ROWS_AT_ONCE:
            catch_all = self.layout().catch_all
            assert catch_all is not None
            return self.split([(catch_all, slots)])
        self._refuse_namesakes([], slots)
        # An interrupted resettling of a catch-all that is empty by now has tables of these names.
        is_in_the_way = not {slot.label for slot in self._begun()}.isdisjoint(slot.label for slot in slots)
        resettling = Resettling(self._connection, self._catalogue)
        steps: list[Step] = resettling.clear(self._leftovers()) if is_in_the_way else []
        steps += [self._add(slot) for slot in slots]
        return [*steps, analyze(quoted(_DEFAULT))] if crowd else steps

    def _add(self, slot: Slot) -> Change:
        """Return the step that adds one partition, with what lies in the default one of its time.

        The lock of the table itself, which queries take before they read what partitions there are, keeps
        out who would wait for the default one: an INSERT would find that its constraint has changed, and
        fail, and a SELECT or DELETE would miss the rows that were moved.
        """
        name, columns = partition_name(slot.label), self._catalogue.column_list(TABLE)
        within = self._catalogue.within(slot)
        return change(
            f"adding {name}",
            INSTANT,
            f"LOCK TABLE ONLY {quoted(TABLE)} IN ACCESS EXCLUSIVE MODE",
            f"LOCK TABLE {quoted(_DEFAULT)} IN ACCESS EXCLUSIVE MODE",
            f"CREATE TABLE {quoted(name)} (LIKE {quoted(TABLE)} {LIKE_COLUMNS})",
            *self._owned(name),
            *self._settings.of_partition(TABLE, beside=_DEFAULT, to=name),
            f"WITH gone AS (DELETE FROM {quoted(_DEFAULT)} WHERE {within} RETURNING *)"
            f" INSERT INTO {quoted(name)} ({columns}) SELECT {columns} FROM gone",
            f"ALTER TABLE {quoted(TABLE)} ATTACH PARTITION {quoted(name)} {self._bounds(slot)}",
        )

    def split(self, parts: Sequence[tuple[Partition, Sequence[Slot]]]) -> list[Step]:
        """Return the steps that put partitions in the place of each, one after another."""
        self._refuse_namesakes([], [slot for _, slots in parts for slot in slots])
        resettling = Resettling(self._connection, self._catalogue)
        steps = [step for source, slots in parts for step in resettling.steps(source, slots)]
        return [*steps, analyze(quoted(TABLE))] if steps else []

    def drop(self, partition: Partition) -> list[Step]:
        """Return the steps that drop a partition, and what hangs on its events before it."""
        return Dropping(self._catalogue).steps(partition)

    def dropping(self) -> list[Step]:
        """Return the steps that drop what interrupted drops had detached."""
        return Dropping(self._catalogue).rest(self._leftovers())

    def detach(self, partition: Partition) -> list[Step]:
        """Return the step that makes a partition a table of its own.

        DETACH CONCURRENTLY can't be had: PostgreSQL refuses it beside a default partition.
        """
        return [
            change(
                f"detaching {partition.name}",
                INSTANT,
                f"LOCK TABLE ONLY {quoted(TABLE)} IN ACCESS EXCLUSIVE MODE",
                f"ALTER TABLE {quoted(TABLE)} DETACH PARTITION {quoted(partition.name)}",
            )
        ]

    # --- disable --------------------------------------------------------------------------------------

    def disable(self, *, online: bool) -> list[Step]:  # noqa: ARG002
        """Return the steps back to a plain table; there is none offline: nothing is gained by waiting."""
        steps: list[Step] = []
        if self._leftovers().get(PLAIN_KEY_INDEX) is False:
            steps.append(self._drop_index(PLAIN_KEY_INDEX))
        has_index = bool(self._leftovers().get(PLAIN_KEY_INDEX))
        dissolving = Dissolving(self._catalogue, self._settings)
        steps += dissolving.steps(self.layout().partitions, self._unchanged(), has_index=has_index)
        return [*steps, analyze(quoted(TABLE))]

    def copied_by_disable(self, partitions: Sequence[Partition]) -> Sequence[Partition]:
        """Return all but the one that becomes the table."""
        stays = Dissolving.keeper(partitions)
        return [part for part in partitions if part is not stays]

    # --- what it takes of the disk --------------------------------------------------------------------

    def bytes_for_enable(self, rows: int, table: Size) -> int:  # noqa: ARG002
        """Return the size of the one new index: nothing is copied."""
        return rows * _KEY_BYTES

    def bytes_for_extend(self, layout: Layout, crowd: int) -> int:
        """Return the size of the catch-all where many of its rows are moved."""
        assert layout.catch_all is not None
        return layout.catch_all.size.total_bytes if crowd > MOST_ROWS_AT_ONCE else 0

    def bytes_for_split(self, layout: Layout, sources: Sequence[Partition]) -> int:  # noqa: ARG002
        """Return the size of the largest: one is dropped before the next one is copied."""
        return max((part.size.total_bytes for part in sources), default=0)

    def bytes_for_disable(self, layout: Layout) -> int:
        """Return the size of the new index, and of the largest heir: each is dropped before the next one."""
        copied = [part.size.total_bytes for part in self.copied_by_disable(layout.partitions)]
        stays = Dissolving.keeper(layout.partitions)
        return stays.rows_estimate * _KEY_BYTES + max(copied, default=0)

    def _refuse_namesakes(self, names: Sequence[str], slots: Sequence[Slot]) -> None:
        """Raise Refused where something else bears the name of a partition that is to be made."""
        wanted = [*names, *(partition_name(slot.label) for slot in slots)]
        if taken := self._catalogue.namesakes(wanted):
            raise Refused(
                f"{', '.join(taken)} is there already, and no partition: a partition is to get that name.",
                hint="Rename it or drop it first. What `partition maintain --detach` leaves has such a name.",
                done="Nothing was changed.",
            )

    # --- words ----------------------------------------------------------------------------------------

    @property
    def _major(self) -> int:
        """The server's version: statistics that can be written, and names for NOT NULL, came with 18."""
        return int(self._connection.server().version.partition(".")[0])

    @property
    def _schema(self) -> str:
        return quoted(self._connection.server().schema)

    def _bounds(self, slot: Slot) -> str:
        literal = self._connection.literal
        return f"FOR VALUES FROM ({literal(slot.since)}) TO ({literal(slot.until)})"

    def _owned(self, *names: str) -> tuple[str, ...]:
        """Return what gives new tables to the owner of website_event, where that is somebody else."""
        owner = self._catalogue.other_owner(TABLE)
        return (
            tuple(f"ALTER TABLE {quoted(name)} OWNER TO {quoted(owner)}" for name in names) if owner else ()
        )

    def _unchanged(self) -> tuple[Guard, ...]:
        """Return what must be so under the lock of an exchange: nothing was changed, and nothing hangs on it.

        A view that somebody has made since the plan would look at one partition, a trigger would be gone.
        """
        shape = self._queries["partition.shape"]
        count = f"SELECT COUNT(*) AS obstacles FROM ({self._queries['partition.obstacles'].text}) AS o"
        return (
            Guard(shape, self._connection.value(shape), _CHANGED_MEANWHILE),
            Guard(query(count), 0, _CHANGED_MEANWHILE),
        )


def partition_name(label: str) -> str:
    """Return the name of a partition as a table."""
    return f"{TABLE}_{label}"


def before(boundary: datetime) -> str:
    """Return the label of the partition of all history up to a boundary."""
    return f"before_{boundary:%Y_%m_%d}"


def _partition(row: Row, *, has_times: bool) -> Partition:
    since, until = _times(row["bounds"]) if has_times else (None, None)
    return Partition(
        name=row["name"],
        since=since,
        until=until,
        is_catch_all=row["bounds"] == "DEFAULT",
        rows_estimate=int(row["rows_estimate"]),
        size=Size(int(row["table_bytes"]), int(row["index_bytes"])),
    )


def _times(bounds: str) -> tuple[datetime | None, datetime | None]:
    """Return the beginning and the end of a partition; None where it has none, as the default one."""
    found = _BOUNDED.fullmatch(bounds)
    if not found:
        return None, None
    since, until = _moment(found[1]), _moment(found[2])
    return None if since == _FIRST else since, None if until == _LAST else until


def _moment(bound: str) -> datetime:
    """Read a bound as the catalogue writes it for a session in UTC, as near as a datetime comes to it.

    Beside ours somebody may have made a partition from '-infinity' on, of years BC, or of the year 12026.
    """
    text = bound.strip("'")
    if text in ("MINVALUE", "-infinity") or text.endswith(" BC"):
        return _FIRST
    if text in ("MAXVALUE", "infinity") or len(text.partition("-")[0]) > len("9999"):
        return _LAST
    return datetime.fromisoformat(text).astimezone(UTC)


def _by_time(part: Partition) -> tuple[bool, datetime]:
    return part.is_catch_all, part.since or _FIRST


def _unfinished(left: dict[str, bool]) -> str | None:
    if Dissolving.is_among(left):
        return "disable"
    if Resettling.is_among(left):
        return "split"
    if Dropping.is_among(left):
        return "maintain"
    return "enable" if left.keys() & {_PARKED, _NEW, _KEY_INDEX} else None


def _working_name(number: int) -> str:
    return f"{_NEW}_i{number}"


def _unparking() -> Batches:
    """Return the step that gives parked events their own times back, whichever partition that is."""
    mark = "-- copies: website_event\n"
    work = (
        f"{locking_writers_out(quoted(TABLE))}"
        f"{mark}UPDATE {quoted(TABLE)} AS e SET created_at = r.created_at FROM {quoted(_PARKED)} AS r"
        " WHERE r.event_id = e.event_id AND {ranged};\n"
        f"{mark}DELETE FROM {quoted(_PARKED)} AS r WHERE {{ranged}}"
    )
    lock = f"SHARE ROW EXCLUSIVE on website_event for a batch, only where an event is parked: {PATIENTLY}"
    return replace(by_event_id("giving parked events their times back", _PARKED, work), lock=lock)


def _statistics_of(partition: str) -> str:
    """Return what gives the table the statistics of the partition that holds nearly all of its rows.

    They are what ANALYZE would find, after some seconds. Source: the PostgreSQL 18 manual on
    pg_restore_attribute_stats.
    """
    columns = {
        "null_frac": "", "avg_width": "", "n_distinct": "", "most_common_vals": "::text",
        "most_common_freqs": "", "histogram_bounds": "::text", "correlation": "",
    }  # fmt: skip
    pairs = ", ".join(f"'{name}', s.{name}{cast}" for name, cast in columns.items())
    return (
        "SELECT pg_restore_attribute_stats('schemaname', s.schemaname::text, 'relname', "
        f"'{TABLE}', 'attname', s.attname::text, 'inherited', TRUE, {pairs}) FROM pg_stats AS s"
        f" WHERE s.schemaname = current_schema() AND s.tablename = '{partition}' AND NOT s.inherited"
    )


def _no_parking() -> tuple[str, ...]:
    return (
        f"DROP TABLE IF EXISTS {quoted(_PARKED)}",
        f"DROP FUNCTION IF EXISTS {quoted(_PARKED)}()",
    )
