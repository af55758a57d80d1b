"""Down from Umami v3 to v2: what has no home there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from umami_ops.databases.base import Connection
from umami_ops.databases.transit import Description
from umami_ops.sql import Query
from umami_ops.transfer.schema import is_ours_or_prismas
from umami_ops.umami.schema import Table


def homeless(source: Connection, schema: Description, tables: Sequence[Table]) -> Iterator[str]:
    """Say what the target's `tables` have no home for, with numbers of rows."""
    quote = source.dialect.quote
    target = {table.name for table in tables}
    for table in schema.tables:
        if is_ours_or_prismas(table.name) or table.name in target:
            continue
        query = Query("migrate.count", "", f"SELECT COUNT(*) AS found FROM {quote(table.name)}")  # noqa: S608
        yield f"No home in v2: table {table.name}, {int(source.value(query)):,} rows."
    for table in tables:
        own = schema.table(table.name)
        for column in own.columns if own else ():
            if column.name in table.column_names:
                continue
            name = quote(column.name)
            text = f"SELECT COUNT({name}) AS found FROM {quote(table.name)}"  # noqa: S608
            count = int(source.value(Query("migrate.count", "", text)))
            if count:
                yield f"No home in v2: {table.name}.{column.name}, {count:,} values."
    if schema.table("share"):
        further = int(source.value(source.dialect.queries["transfer.further_shares"]))
        yield f"A website's first share returns to website.share_id; {further:,} others have no home."
    reports = source.rows(source.dialect.queries["transfer.reports_of_v3"])
    for row in reports:
        yield f"Report {row['name']} ({row['type']}) was rewritten by v3: v2 may not show it."
