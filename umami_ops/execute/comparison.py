"""What a restore has brought, held to what it should bring, before it takes the place of anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from umami_ops.archive.manifest import Manifest, TableFacts, differences
from umami_ops.databases.base import Connection
from umami_ops.databases.dumps import Wanted
from umami_ops.errors import BadData, Refused
from umami_ops.transfer.contents import recorded_level, table_facts
from umami_ops.umami import prisma
from umami_ops.umami.schema import Table, latest_level, schema_at


class Comparison:
    """Holds what was restored to what the manifest says; a file without a manifest is counted only."""

    def __init__(self, manifest: Manifest | None, wanted: Wanted) -> None:
        self._manifest = manifest
        self._wanted = wanted
        self.found: dict[str, TableFacts] = {}
        self.has_passed = False

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that the manifest names."""
        return tuple(table.name for table in self._manifest.tables) if self._manifest else ()

    def __call__(self, connection: Connection, names: Mapping[str, str]) -> None:
        """Compare what is there under these names.

        Raises BadData where it isn't what the manifest says; Refused where it lacks, without one, what
        it would take the place of, or is of another level than what stays beside it.
        """
        expected = self._expected(connection, names)
        self.found = table_facts(connection, [table.name for table in expected] or sorted(names), names)
        wrong = differences(expected, self.found)
        if wrong:
            raise BadData(
                f"What was restored is not what the backup says: {'; '.join(wrong)}.",
                hint="Take another backup: `umami-ops backup list`.",
            )
        if self._manifest is None:
            _require_all(connection, names, self._wanted)
            if prisma.NAME in self._wanted.replaced and not self.found[prisma.NAME].rows:
                raise Refused(
                    f"The file has tables without their rows: none of {prisma.NAME}, which every Umami has.",
                    hint="Dump again, with data.",
                )
        if self._wanted.level is not None:
            _require_level(connection, names, self._wanted.tables or (), self._wanted.level)
        self.has_passed = True

    def _expected(self, connection: Connection, names: Mapping[str, str]) -> list[TableFacts]:
        """Return what the manifest says; where times or JSON are spelt otherwise, rows alone count."""
        manifest = self._manifest
        if manifest is None:
            return []
        tables = [table for table in manifest.tables if self._wanted.has(table.name)]
        if manifest.dialect != connection.dialect.name:
            return [replace(table, checksum=None) for table in tables if table.name != prisma.NAME]
        if manifest.flavour == connection.server().flavour:
            return tables
        here = connection.transit().describe()
        spelt = [table.name for table in tables if _has_json(here.table(names.get(table.name, table.name)))]
        return [replace(table, checksum=None) if table.name in spelt else table for table in tables]


def _has_json(table: Table | None) -> bool:
    return table is not None and any(column.type == "json" for column in table.columns)


def _require_level(
    connection: Connection, names: Mapping[str, str], tables: Sequence[str], level: int
) -> None:
    """Raise Refused where a restored table hasn't the columns that Umami's has at this level."""
    here, dialect = connection.transit().describe(), connection.dialect.name
    for name in tables:
        found = here.table(names.get(name, name))
        if found is None:
            continue
        known = _columns(dialect, name, range(1, latest_level(dialect) + 1))  # others are somebody's own
        if wrong := known & {*found.column_names} ^ _columns(dialect, name, [level]):
            raise Refused(
                f"The backup's {name} is of another level of Umami than the database (level {level}): they "
                f"differ in {', '.join(sorted(wrong))}.",
                hint="Restore all of it: into a database of its own by --target-url, or here by --replace.",
            )


def _columns(dialect: str, table: str, levels: Iterable[int]) -> set[str]:
    """Return the columns that a table of Umami's has at any of these levels."""
    schemas = (schema_at(dialect, level) for level in levels)
    return {name for schema in schemas if table in schema for name in schema.table(table).column_names}


def _require_all(connection: Connection, names: Mapping[str, str], wanted: Wanted) -> None:
    """Raise Refused where a file, which says nothing of itself, lacks what it is to take the place of.

    It may lack what Umami had not at the level of its `_prisma_migrations`.
    """
    if missing := sorted(set(wanted.tables or ()) - set(names)):
        raise Refused(f"The file lacks {', '.join(missing)}, which --only names.")
    missing = sorted(set(wanted.replaced) - set(names))
    level = recorded_level(connection, names[prisma.NAME]) if missing and prisma.NAME in names else None
    if level:
        had = schema_at(connection.dialect.name, level)
        missing = [table for table in missing if table in had]
    if missing:
        raise Refused(
            f"The file lacks {', '.join(missing)}, which would be gone.",
            hint="It is no dump of a whole Umami. --only TABLE brings one table of it.",
        )
