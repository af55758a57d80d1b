"""Partitions of website_event on MySQL and MariaDB: the DDL, as steps of a plan. Nothing here runs it.

The table is partitioned by RANGE (UNIX_TIMESTAMP(created_at)), the one expression on a TIMESTAMP that the
servers take, and its primary key becomes (event_id, created_at), since every unique key must contain the
partitions' column. What the servers would do with writers locked out is done on a copy that triggers keep up
to date, and that changes places with the table in one RENAME (`rebuild`).
"""

# ruff: noqa: S608 -- identifiers pass through the one quoting function, values are parameters

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from umami_ops.databases.base import Connection
from umami_ops.databases.mysql import rebuild
from umami_ops.databases.mysql.dialect import MYSQL
from umami_ops.databases.partitioning import TABLE, Layout, Partition, Partitioning, Slot
from umami_ops.errors import Refused
from umami_ops.plan import Batches, Change, Size, Statements, Step
from umami_ops.sql import Query

_CATCH_ALL = "catch_all"
_OUR_KEY = "range unix_timestamp(created_at)"
#: So many rows of the catch-all are copied while nobody can write, more beside the table.
_MOST_ROWS_AT_ONCE = 5_000
_INSTANT = "a metadata lock for an instant: it waits until others queue, 0.4 s at most, and then tries again"


class MysqlPartitioning(Partitioning):
    """What MySQL and MariaDB can do about the partitions of website_event."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._queries = connection.dialect.queries

    # --- what is there --------------------------------------------------------------------------------

    def layout(self) -> Layout:
        """Return how the table lies there."""
        rows = self._connection.rows(self._queries["partition.partitions"])
        # The key is what anybody would choose; without our catch-all there is nothing to take events from.
        is_ours = any((row["name"], row["bounds"]) == (_CATCH_ALL, "MAXVALUE") for row in rows)
        has_our_key = all(str(row["key"]).replace("`", "").lower() == _OUR_KEY for row in rows)
        is_foreign = bool(rows) and not (is_ours and has_our_key)
        parts: list[Partition] = []
        for row in rows:
            is_last = row["bounds"] == "MAXVALUE"
            parts.append(
                Partition(
                    name=row["name"],
                    since=parts[-1].until if parts else None,
                    until=None if is_foreign else row["until"],
                    is_catch_all=is_last,
                    rows_estimate=int(row["rows_estimate"]),
                    size=Size(int(row["table_bytes"]), int(row["index_bytes"])),
                )
            )
        unfinished = self._unfinished(is_partitioned=bool(rows))
        begun = tuple(self._begun({part.name for part in parts})) if unfinished in ("enable", "split") else ()
        return Layout(tuple(parts), unfinished, is_foreign, begun)

    def _begun(self, there: Collection[str]) -> Iterator[Slot]:
        """Yield the partitions of the copy that the table lacks, but for the one without a beginning."""
        since: datetime | None = None
        for row in self._connection.rows(_COPY_BOUNDS):
            until = row["until"]
            if until is None:
                continue
            if since and row["name"] not in there:
                yield Slot(row["name"].removeprefix("p"), since, until)
            since = until

    def _unfinished(self, *, is_partitioned: bool) -> str | None:
        """Return what was not brought to its end, by the copy that stands beside the table."""
        copies = self._connection.rows(_COPY)
        if not copies:
            return None
        becomes_partitioned = bool(copies[0]["is_partitioned"])
        if is_partitioned:
            return "split" if becomes_partitioned else "disable"
        return "enable" if becomes_partitioned else None

    def obstacles(self) -> list[str]:
        """Return what stands on the table and would be lost or broken."""
        return [row["what"] for row in self._connection.rows(self._queries["partition.obstacles"])]

    def clear(self, verb: str) -> list[Step]:
        """Return the step that takes away what an interrupted run left, unless this verb goes on with it."""
        if self.layout().unfinished == verb:
            return []
        return self._clearing()

    def _clearing(self) -> list[Step]:
        left = rebuild.leftovers(self._connection)
        return [Statements("clearing away what an interrupted run left", left)] if left else []

    # --- there, and back ------------------------------------------------------------------------------

    def enable(self, boundary: datetime, ahead: Sequence[Slot], *, online: bool) -> list[Step]:
        """Return the step that makes the table a partitioned one, by a copy or by one ALTER TABLE."""
        bounds = [(before(boundary), boundary), *((_name(slot), slot.until) for slot in ahead)]
        change = (
            f"MODIFY created_at {self._created_at('NOT NULL')},"
            f" DROP PRIMARY KEY, ADD PRIMARY KEY (event_id, created_at) {_partitions(bounds)}"
        )
        return self._remake("partitioning website_event", change, bounds, online=online)

    def disable(self, *, online: bool) -> list[Step]:
        """Return the step back to the plain table."""
        change = (
            f"MODIFY created_at {self._created_at('NULL')},"
            " DROP PRIMARY KEY, ADD PRIMARY KEY (event_id) REMOVE PARTITIONING"
        )
        return self._remake("making website_event plain", change, [], online=online)

    def copied_by_disable(self, partitions: Sequence[Partition]) -> Sequence[Partition]:
        """Return all of them: the table is made anew."""
        return partitions

    def bytes_for_enable(self, rows: int, table: Size) -> int:  # noqa: ARG002
        """Return the size of a copy: offline, too, the server makes one."""
        return table.total_bytes

    def bytes_for_extend(self, layout: Layout, crowd: int) -> int:
        """Return the size of the table where the catch-all holds many rows, else next to nothing."""
        return layout.size.total_bytes if _is_crowded(layout, crowd) else 0

    def bytes_for_split(self, layout: Layout, sources: Sequence[Partition]) -> int:
        """Return the size of the table, all of which is copied, whatever is split."""
        return layout.size.total_bytes if sources else 0

    def bytes_for_disable(self, layout: Layout) -> int:
        """Return the size of the table."""
        return layout.size.total_bytes

    def split(self, parts: Sequence[tuple[Partition, Sequence[Slot]]]) -> list[Step]:
        """Return the step that puts partitions in the place of each: one copy of the table for all."""
        if not parts:
            return []
        replaced = {source.name: slots for source, slots in parts}
        bounds: list[tuple[str, datetime]] = []
        for part in self.layout().dated:
            assert part.until is not None
            slots = replaced.get(part.name)
            if slots is None:
                bounds.append((part.name, part.until))
                continue
            if part.since is None:
                bounds.append((before(slots[0].since), slots[0].since))
            bounds += [(_name(slot), slot.until) for slot in slots]
        return self._remake(f"splitting {', '.join(replaced)}", _partitions(bounds), bounds, online=True)

    def _remake(
        self, title: str, change: str, bounds: Sequence[tuple[str, datetime]], *, online: bool
    ) -> list[Step]:
        """Return the steps to a table with this change; a copy with just these bounds is gone on with."""
        if online and self._is_begun(bounds):
            return [rebuild.relay_on(self._connection, TABLE, title)]
        if online:
            return [*self._clearing(), rebuild.relay(self._connection, TABLE, title, [change])]
        lock = "the whole table: nobody can write until it is done"
        return [*self._clearing(), _change(title, lock, f"ALTER TABLE {_q(TABLE)} {change}")]

    def _is_begun(self, bounds: Sequence[tuple[str, datetime]]) -> bool:
        """Say whether an interrupted run left a copy with these bounds that is still kept up to date."""
        rows = self._connection.rows(_COPY_BOUNDS)
        found = [(row["name"], row["until"]) for row in rows if row["until"] is not None]
        return found == list(bounds) and rebuild.is_followed(self._connection, TABLE)

    # --- more partitions, and fewer -------------------------------------------------------------------

    def extend(self, slots: Sequence[Slot], crowd: int) -> list[Step]:
        """Return the step that adds partitions and takes what belongs to them out of the catch-all."""
        layout = self.layout()
        bounds = [(part.name, part.until) for part in layout.dated if part.until]
        bounds += [(_name(slot), slot.until) for slot in slots]
        if _is_crowded(layout, crowd):
            return self._remake("emptying the catch-all", _partitions(bounds), bounds, online=True)
        new = ", ".join(_definitions(bounds[len(layout.dated) :]))
        return [
            *self._clearing(),  # a copy without the new partitions is of no use any more
            _brief(
                f"adding {len(slots)} partitions",
                f"{_INSTANT}; writers wait while what lies in the catch-all is copied",
                f"ALTER TABLE {_q(TABLE)} REORGANIZE PARTITION {_q(_CATCH_ALL)} INTO ({new})",
            ),
        ]

    def drop(self, partition: Partition) -> list[Step]:
        """Return the steps that drop a partition, and what hangs on its events before it."""
        text = f"ALTER TABLE {_q(TABLE)} DROP PARTITION {_q(partition.name)}"
        part = f"{_q(TABLE)} PARTITION ({_q(partition.name)})"
        return [
            self._details(part, partition.name),
            Batches(
                title=f"counting the events of {partition.name}",
                next_slice=_query("SELECT 1 AS last, 1 AS picked FROM DUAL WHERE :after IS NULL"),
                work=_query(f"SELECT COUNT(*) AS {TABLE} FROM {part}"),
                values={"after": None},
            ),
            _brief(f"dropping {partition.name}", _INSTANT, text),
        ]

    def dropping(self) -> list[Step]:
        """Return none: a partition is there, or it isn't."""
        return []

    def _details(self, part: str, name: str) -> Batches:
        """Return the step that deletes what hangs on the events of a partition, in the order of their ids."""
        ranged = "(:after IS NULL OR e.event_id > :after)"
        keys = {
            "event_data": "d.website_event_id = e.event_id",
            "revenue": "d.session_id = e.session_id AND d.event_id = e.event_id",
        }
        deletes = [
            f"-- deletes: {table}\nDELETE d FROM {part} AS e STRAIGHT_JOIN {table} AS d ON {key}"
            f" WHERE {ranged} AND e.event_id <= :last"
            for table, key in keys.items()
            if self._connection.rows(_IS_TABLE, name=table)
        ]
        return Batches(
            title=f"what hangs on the events of {name}",
            next_slice=_query(
                "SELECT s.event_id AS last, s.picked FROM (SELECT t.event_id, COUNT(*) OVER () AS picked"
                f" FROM (SELECT e.event_id FROM {part} AS e WHERE {ranged} ORDER BY e.event_id"
                " LIMIT :batch_rows) AS t) AS s ORDER BY s.event_id DESC LIMIT 1"
            ),
            work=_query(";\n".join(deletes) or "SELECT 0 AS nothing"),
            values={"after": None},
        )

    def detach(self, partition: Partition) -> list[Step]:
        """Raise Refused: EXCHANGE PARTITION leaves a moment in which what is written would be lost."""
        raise Refused(
            f"{self._connection.server().title} can't detach {partition.name} while others write.",
            hint="umami-ops prune --before drops whole partitions; umami-ops backup keeps a copy first.",
            done="Nothing was changed.",
        )

    # --- words ----------------------------------------------------------------------------------------

    def _created_at(self, nullable: str) -> str:
        """Return the definition of created_at as it is, but for whether it may be NULL."""
        row = self._connection.row(_CREATED_AT)
        default = "" if row["default_text"] in (None, "NULL") else f" DEFAULT {row['default_text']}"
        comment = f" COMMENT {self._connection.literal(row['comment'])}" if row["comment"] else ""
        return f"{row['type']} {nullable}{default}{comment}"


def before(boundary: datetime) -> str:
    """Return the name of the partition of all history up to a boundary."""
    return f"before_{boundary:%Y_%m_%d}"


def _is_crowded(layout: Layout, crowd: int) -> bool:
    """Say whether the catch-all is too full to be split at once: what stays in it is copied, too."""
    assert layout.catch_all is not None
    return max(crowd, layout.catch_all.rows_estimate) > _MOST_ROWS_AT_ONCE


def _name(slot: Slot) -> str:
    return f"p{slot.label}"


def _partitions(bounds: Sequence[tuple[str, datetime]]) -> str:
    """Return the PARTITION BY of these partitions and the catch-all, as ALTER TABLE takes it."""
    return f"PARTITION BY RANGE (UNIX_TIMESTAMP(created_at)) ({', '.join(_definitions(bounds))})"


def _definitions(bounds: Sequence[tuple[str, datetime]]) -> list[str]:
    """Return the partitions with their bounds as times, which the session's zone turns into moments."""
    return [
        *(
            f"PARTITION {_q(name)} VALUES LESS THAN (UNIX_TIMESTAMP('{until:%Y-%m-%d %H:%M:%S}'))"
            for name, until in bounds
        ),
        f"PARTITION {_q(_CATCH_ALL)} VALUES LESS THAN MAXVALUE",
    ]


def _change(title: str, lock: str, text: str) -> Change:
    return Change(
        title=title,
        statements=(_query(text),),
        lock=lock,
        together=False,
        wait_seconds=1,
    )


def _brief(title: str, lock: str, text: str) -> Change:
    """Return a change that others don't wait for: the servers know no wait below a second."""
    return replace(_change(title, lock, text), gives_way=True)


def _query(text: str) -> Query:
    return Query("partition.change", "", text)


def _q(identifier: str) -> str:
    return MYSQL.quote(identifier)


_COPY_BOUNDS = Query(
    "partition.copy_bounds",
    "The partitions of the copy that a run makes, or left.",
    "SELECT p.partition_name AS name, CASE WHEN p.partition_description <> 'MAXVALUE'"
    " THEN FROM_UNIXTIME(CAST(p.partition_description AS UNSIGNED)) END AS until"
    " FROM information_schema.partitions AS p WHERE p.table_schema = DATABASE()"
    " AND p.table_name = '_umami_ops_new_website_event'"
    " AND p.partition_name IS NOT NULL ORDER BY p.partition_ordinal_position",
)
_IS_TABLE = Query(
    "partition.is_table",
    "A table of that name, if there is one.",
    "SELECT t.table_name AS name FROM information_schema.tables AS t"
    " WHERE t.table_schema = DATABASE() AND t.table_name = :name",
)
_CREATED_AT = Query(
    "partition.created_at",
    "The type of website_event.created_at, its default, and its comment.",
    "SELECT c.column_type AS type, c.column_default AS default_text, c.column_comment AS comment"
    " FROM information_schema.columns AS c"
    " WHERE c.table_schema = DATABASE() AND c.table_name = 'website_event' AND c.column_name = 'created_at'",
)
_COPY = Query(
    "partition.copy",
    "The copy of website_event that a run makes, or left.",
    "SELECT t.create_options LIKE '%partitioned%' AS is_partitioned FROM information_schema.tables AS t"
    " WHERE t.table_schema = DATABASE() AND t.table_name = '_umami_ops_new_website_event'",
)
