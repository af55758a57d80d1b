"""Tables of a restore on MySQL and MariaDB: under working names, and renamed all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from umami_ops.databases.base import WORKING_PREFIX
from umami_ops.databases.staging import Addition, Staging
from umami_ops.errors import OpsError
from umami_ops.sql import Query

if TYPE_CHECKING:
    from umami_ops.databases.mysql.connection import MysqlConnection, MysqlDatabase

#: Not the names of a rebuild's copies, which triggers may be writing to since one was killed.
_NEW, _OLD = f"{WORKING_PREFIX}in_", f"{WORKING_PREFIX}out_"


class MysqlStaging(Staging["MysqlDatabase"]):
    """Working names in the same database: Umami's own user may make no other."""

    def __init__(self, database: MysqlDatabase) -> None:
        self.database = database

    def prepare(self) -> None:
        """Drop what an ended run left."""
        self.discard()

    def name(self, table: str) -> str:
        """Return the working name."""
        return f"{_NEW}{table}"

    def swap(self, moved: Sequence[str], replaced: Sequence[str]) -> None:
        """Rename by one atomic statement, then drop what gave way."""
        with self.database.connect("umami-ops restore") as connection:
            quote = connection.dialect.quote
            renames = [f"{quote(table)} TO {quote(_OLD + table)}" for table in replaced]
            renames += [f"{quote(_NEW + table)} TO {quote(table)}" for table in moved]
            if renames:
                connection.run(Query("restore.swap", "", f"RENAME TABLE {', '.join(renames)}"))

    def add(self, additions: Sequence[Addition]) -> Mapping[str, int]:
        """Add rows in one transaction; not by INSERT IGNORE, which would cut values short, too."""
        added = {}
        with self.database.connect("umami-ops restore") as connection, connection.transaction():
            quote = connection.dialect.quote
            for each in additions:
                target, staged = quote(each.table), quote(_NEW + each.table)
                if each.replaces:
                    statement = f"DELETE FROM {target} WHERE {quote(each.column)} IN :ids"  # noqa: S608
                    connection.run(Query("restore.replace", "", statement), ids=list(each.ids))
                columns = ", ".join(map(quote, each.columns))
                values = ", ".join(f"s.{quote(name)}" for name in each.columns)
                same = " AND ".join(f"t.{quote(name)} = s.{quote(name)}" for name in each.key)
                chosen = f" AND s.{quote(each.column)} IN :ids" if each.column else ""
                statement = (
                    f"INSERT INTO {target} ({columns}) SELECT {values} FROM {staged} AS s"  # noqa: S608
                    f" LEFT JOIN {target} AS t ON {same} WHERE t.{quote(each.key[0])} IS NULL{chosen}"
                )
                added[each.table] = connection.run(Query("restore.add", "", statement), ids=list(each.ids))
        return added

    def discard(self) -> None:
        """Drop whatever stands under a working name of ours."""
        with self.database.connect("umami-ops restore") as connection:
            _drop_staged(connection)


def _drop_staged(connection: MysqlConnection) -> None:
    rows = connection.rows(connection.dialect.queries["backup.tables_of"], schema=connection.server().schema)
    left = [row["name"] for row in rows if row["name"].startswith((_NEW, _OLD))]
    if not left:
        return
    names = ", ".join(connection.dialect.quote(table) for table in left)
    try:
        connection.run(Query("restore.clear", "", f"DROP TABLE {names}"))
    except OpsError as fault:
        fault.hint = fault.hint or f"DROP TABLE {names} by hand."
        raise
