"""Two databases at once: what each is, that they are two, and how their tables correspond."""

from __future__ import annotations

from umami_ops.databases.base import Connection
from umami_ops.errors import Refused
from umami_ops.rows import Pair
from umami_ops.transfer.schema import Side, is_ours_or_prismas, pair


def side_of(connection: Connection) -> Side:
    """Return what one end of a move is."""
    return Side(connection.dialect.name, connection.server().flavour)


def pairs_of(source: Connection, target: Connection) -> tuple[list[Pair], list[str], list[str]]:
    """Return how the tables that both databases have correspond, and what the source has and the target not.

    That is tables, and TABLE.COLUMN of the tables that both have.
    """
    sides = (side_of(source), side_of(target))
    there = target.transit().describe()
    pairs, tables, columns = [], [], []
    for table in source.transit().describe().tables:
        if is_ours_or_prismas(table.name):
            continue
        other = there.table(table.name)
        if other is None:
            tables.append(table.name)
            continue
        both = pair(table, sides[0], other, sides[1])
        pairs.append(both)
        columns += [f"{table.name}.{name}" for name in table.column_names if name not in both.source.names]
    return pairs, tables, columns


def require_two(source: Connection, target: Connection) -> None:
    """Raise Refused where both ends are one: a move into itself, or a proof that proves nothing."""
    # Two addresses may be one server: localhost and 127.0.0.1, a published port and a container's name.
    places = {
        (
            item.value(item.dialect.queries["introspect.identity"]),
            item.server().database,
            item.server().schema,
        )
        for item in (source, target)
    }
    if len(places) == 1:
        raise Refused(
            f"Source and target are the same database: {source.server().database} at {source.url.where}.",
            hint="Name the other one by --target-url or TARGET_DATABASE_URL.",
            done="Nothing was changed.",
        )
