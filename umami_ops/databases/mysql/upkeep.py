"""ANALYZE TABLE and the rebuild of a table: how InnoDB's tables are, and the statements that mend them."""

from __future__ import annotations

from umami_ops.databases.base import Connection, Introspector, Row
from umami_ops.databases.mysql.dialect import MYSQL
from umami_ops.databases.upkeep import IndexState, TableState, Upkeep
from umami_ops.errors import Refused
from umami_ops.plan import Maintenance, Size, TableName
from umami_ops.sql import Query

_SHARED = "a shared metadata lock: reads and writes go on"
_ONLINE = "metadata locks for an instant at both ends: reads and writes go on (LOCK=NONE)"


class MysqlUpkeep(Upkeep):
    """What MySQL and MariaDB can do for their tables. Purging dead rows isn't asked for: InnoDB does it."""

    rewrite_is_online = True

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def tables(self, *, measured_seconds: float) -> list[TableState]:  # noqa: ARG002 -- InnoDB counts it itself
        """Return every table of the database; partitions come and go with their table."""
        rows = self._connection.rows(self._connection.dialect.queries["vacuum.tables"])
        names = [row["name"] for row in rows]
        locked = set(Introspector(self._connection).missing_rights(names, "INSERT")) if names else set()
        return [_table(row, may_maintain=row["name"] not in locked) for row in rows]

    def indexes(self, *, measured_bytes: float) -> list[IndexState]:  # noqa: ARG002 -- there is nothing to measure
        """Return none: InnoDB's indexes can't be rebuilt by themselves."""
        return []

    def refresh(self, table: TableState) -> Maintenance:
        """Return ANALYZE TABLE."""
        name = _q(table.place)
        return Maintenance(
            title=f"ANALYZE {table.place.name}",
            table=table.place,
            statement=Query("upkeep.analyze", "", f"ANALYZE TABLE {name}"),
            lock=_SHARED,
        )

    def clean(self, table: TableState) -> Maintenance:
        """Return ANALYZE TABLE: dead rows are InnoDB's own affair."""
        return self.refresh(table)

    def rewrite(self, table: TableState) -> tuple[Maintenance, ...]:
        """Return what OPTIMIZE TABLE does, in words that make the server fail rather than lock.

        Source: the MySQL manual on OPTIMIZE TABLE, "InnoDB Details", and on online DDL.
        """
        text = f"ALTER TABLE {_q(table.place)} FORCE, ALGORITHM=INPLACE, LOCK=NONE"
        optimize = Maintenance(
            title=f"OPTIMIZE {table.place.name}",
            table=table.place,
            statement=Query("upkeep.optimize", "", text),
            lock=_ONLINE,
            size_bytes=table.size.total_bytes,
        )
        return optimize, self.refresh(table)

    def rebuild(self, index: IndexState) -> Maintenance:
        """Raise Refused: an index of InnoDB's lies in one file with its table, and is rebuilt with it."""
        raise Refused(
            f"On {MYSQL.title} index {index.name} isn't rebuilt without its table: both are one file.",
            hint=f"umami-ops vacuum --full --table {index.table.name} rebuilds both, while Umami goes on.",
            done="Nothing was changed.",
        )

    def drop(self, index: IndexState) -> Maintenance:
        """Return DROP INDEX."""
        text = f"ALTER TABLE {_q(index.table)} DROP INDEX {MYSQL.quote(index.name)}, LOCK=NONE"
        return Maintenance(
            title=f"DROP {index.name}",
            table=index.table,
            statement=Query("upkeep.drop", "", text),
            lock=_ONLINE,
        )


def _table(row: Row, *, may_maintain: bool) -> TableState:
    return TableState(
        place=TableName(row["schema"], row["name"]),
        root=row["name"],
        holds_rows=True,
        may_maintain=may_maintain,
        size=Size(int(row["data_bytes"]) + int(row["free_bytes"]), int(row["index_bytes"])),
        indexes=int(row["indexes"]),
        rows=int(row["live_rows"]),
        dead_rows=0,
        changed_rows=0,
        inserted_rows=0,
        is_analyzed=bool(row["refreshes_itself"]),
        freeze_age=0,
        free_bytes=int(row["free_bytes"]),
        is_estimate=False,
    )


def _q(place: TableName) -> str:
    return f"{MYSQL.quote(place.schema)}.{MYSQL.quote(place.name)}"
