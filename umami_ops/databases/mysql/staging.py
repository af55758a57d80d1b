"""Tables of a restore on MySQL and MariaDB: under working names, and renamed all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from umami_ops.databases.base import WORKING_PREFIX
from umami_ops.databases.staging import Addition, Staging, left_behind
from umami_ops.errors import OpsError, Refused
from umami_ops.sql import Query

if TYPE_CHECKING:
    from umami_ops.databases.mysql.connection import MysqlConnection, MysqlDatabase

#: Not the names of a rebuild's copies, which triggers may be writing to since one was killed.
_NEW, _OLD = f"{WORKING_PREFIX}in_", f"{WORKING_PREFIX}out_"


class MysqlStaging(Staging["MysqlDatabase"]):
    """Working names in the same database: Umami's own user may make no other."""

    def __init__(self, database: MysqlDatabase) -> None:
        self.database = database
        self._is_in_place = False

    def prepare(self) -> None:
        """Drop what an ended run left."""
        self.discard()

    def name(self, table: str) -> str:
        """Return the working name."""
        return f"{_NEW}{table}"

    def swap(self, moved: Sequence[str], replaced: Sequence[str]) -> None:
        """Rename by one atomic statement; `discard` drops what gave way.

        Raises Refused where a table has a foreign key to what gives way, and would hang on that still.
        """
        with self.database.connect("umami-ops restore") as connection:
            _refuse_referrers(connection, replaced)
            quote = connection.dialect.quote
            renames = [f"{quote(table)} TO {quote(_OLD + table)}" for table in replaced]
            renames += [f"{quote(_NEW + table)} TO {quote(table)}" for table in moved]
            if renames:
                connection.run(Query("restore.swap", "", f"RENAME TABLE {', '.join(renames)}"))
        self._is_in_place = True

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
        self._is_in_place = True
        return added

    def discard(self) -> None:
        """Drop whatever stands under a working name of ours."""
        try:
            with self.database.connect("umami-ops restore") as connection:
                _drop_staged(connection)
        except OpsError as fault:
            if self._is_in_place:
                raise left_behind(fault) from None
            raise


def _refuse_referrers(connection: MysqlConnection, replaced: Sequence[str]) -> None:
    """Look for foreign keys of what stays, and of what was loaded while the tables were there."""
    query = connection.dialect.queries["backup.referrers"]
    if rows := connection.rows(query, tables=list(replaced)) if replaced else []:
        names = ", ".join(row["name"].removeprefix(_NEW) for row in rows)
        raise Refused(
            f"Tables have foreign keys to those that would be replaced: {names}.",
            hint="Restore it into an empty database by --target-url.",
        )


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
