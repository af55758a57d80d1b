"""Umami's later migrations of website_event, as the difference between two levels of its schema."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

from testbed.bulk import Loader
from umami_ops.databases.mysql import ddl as mysql_ddl
from umami_ops.databases.postgresql import ddl as postgresql_ddl
from umami_ops.umami.schema import Table, schema_at

_DDL: dict[str, ModuleType] = {"postgresql": postgresql_ddl, "mysql": mysql_ddl}
_TABLE = "website_event"


def migrate(loader: Loader, since: int, until: int) -> None:
    """Bring website_event from one level to another, one after the other, as Prisma runs the migrations."""
    for level in range(since, until):
        old = schema_at(loader.dialect, level).table(_TABLE)
        new = schema_at(loader.dialect, level + 1).table(_TABLE)
        for statement in _statements(loader.dialect, old, new):
            loader.execute(statement)
        loader.commit()


def _statements(dialect: str, old: Table, new: Table) -> Iterator[str]:
    for column in new.columns:
        if column.name in old.column_names:
            continue
        yield f"ALTER TABLE {_TABLE} ADD COLUMN {column.name} {column.type}"
        if column.name == "hostname":
            yield _FROM_SESSION[dialect]
        if not column.nullable:
            yield f"UPDATE {_TABLE} SET {column.name} = session_id WHERE {column.name} IS NULL"
            yield f"ALTER TABLE {_TABLE} {_NOT_NULL[dialect].format(column)}"
    for index in set(old.indexes) - set(new.indexes):
        # By its name and without IF EXISTS, as Umami's do.
        on = f" ON {_TABLE}" if dialect == "mysql" else ""
        yield f"DROP INDEX {index.name}{on}"
    added = tuple(index for index in new.indexes if index not in old.indexes)
    yield from _DDL[dialect].index_statements(replace(new, indexes=added))


_FROM_SESSION = {
    "postgresql": "UPDATE website_event AS w SET hostname = s.browser FROM session AS s"
    " WHERE s.website_id = w.website_id AND s.session_id = w.session_id",
    "mysql": "UPDATE website_event AS w JOIN session AS s ON s.website_id = w.website_id"
    " AND s.session_id = w.session_id SET w.hostname = s.browser",
}
_NOT_NULL = {
    "postgresql": "ALTER COLUMN {0.name} SET NOT NULL",
    "mysql": "MODIFY {0.name} {0.type} NOT NULL",
}
