"""Finds out what a database is: whether Umami's, at which migration level, and whether it is safe to work on.

Reads the catalogue and `_prisma_migrations`, never a table of Umami's. Every condition becomes a Problem.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from umami_ops.databases.base import (
    WORKING_PREFIX,
    Connection,
    Introspector,
    MigrationRow,
    Relation,
    Server,
)
from umami_ops.errors import Refused, TransientFault
from umami_ops.operations.problems import (
    CORE_TABLES,
    MIGRATIONS_TABLE,
    Catalogue,
    Migrations,
    Problem,
    about_access,
    about_level,
    about_migrations,
    about_strangers,
    about_tables,
    prisma_lock,
    some,
    strangers_among,
)
from umami_ops.umami.migrations import known_names, level_of, likely_release, migrations
from umami_ops.umami.schema import latest_level, schema_at
from umami_ops.umami.tables import TABLES, Role, TableFacts

__all__ = ["Installation", "Migrations", "Problem", "inspect", "require_session"]


@dataclass(frozen=True)
class Installation:
    """One Umami database as its catalogue shows it.

    `level` is the highest known migration level that Prisma finished or, where Prisma's table is missing, the
    one that the tables look like; None when that can't be said. `release` names it for people.
    """

    server: Server
    relations: Mapping[str, Relation]
    columns: Mapping[str, Mapping[str, str]]
    level: int | None
    release: str
    migrations: Migrations
    unknown_tables: tuple[str, ...]
    problems: tuple[Problem, ...]

    def has(self, table: str, column: str | None = None) -> bool:
        """Say whether the database has the table, and in it the column."""
        return table in self.relations and (column is None or column in self.columns.get(table, {}))

    @property
    def is_umami(self) -> bool:
        """Whether the tables of Umami v2 or later are here, complete enough to be read."""
        return all(self.has(table) for table in CORE_TABLES)

    @property
    def blocking(self) -> tuple[Problem, ...]:
        """The problems under which nothing may be changed."""
        return tuple(problem for problem in self.problems if problem.blocks)

    def tables(self, *roles: Role) -> list[TableFacts]:
        """Return the known tables that are here, in the order of `umami.tables`: all, or those of `roles`."""
        here = [facts for facts in TABLES.values() if facts.name in self.relations]
        return [facts for facts in here if not roles or facts.role in roles]

    def require_safe(self, *, despite: Collection[str] = ()) -> None:
        """Raise Refused when a problem makes it unsafe to change anything; the message lists them all.

        `despite` are the codes of problems that don't matter to what is to be done.
        """
        blocking = [problem for problem in self.blocking if problem.code not in despite]
        if not blocking:
            return
        sentences = [problem.sentence for problem in blocking]
        cures = dict.fromkeys(problem.cure for problem in blocking if problem.cure)
        raise Refused("\n       ".join(sentences), hint="\n      ".join(cures), done="Nothing was changed.")


def inspect(connection: Connection) -> Installation:
    """Return what the database behind a connection is: a dozen queries of the catalogue, which hold no lock.

    Raises Refused when another session keeps the catalogue from being read, as some of Umami's migrations do.
    """
    introspector = Introspector(connection)
    try:
        catalogue = _settled_catalogue(connection, introspector)
    except TransientFault:
        raise _locked_out(introspector) from None
    facts, level, problems = Migrations(), None, list[Problem]()
    if all(catalogue.has(table) for table in CORE_TABLES):
        facts, level, problems = _examine(catalogue, introspector, connection.dialect.name)
    else:
        problems = list(about_strangers(catalogue))
    return Installation(
        server=catalogue.server,
        relations=catalogue.relations,
        columns=catalogue.columns,
        level=level,
        release=likely_release(connection.dialect.name, level) if level else "unknown",
        migrations=facts,
        unknown_tables=tuple(strangers_among(catalogue.relations)),
        problems=tuple(problems),
    )


def require_session(server: Server) -> None:
    """Raise Refused behind a transaction pooler, where a lock of the session would mean nothing."""
    if server.pooled:
        raise Refused(
            "The connection goes through a transaction pooler, and this needs a session of its own.",
            hint="Set DIRECT_DATABASE_URL to the server's own address; DATABASE_URL may stay as it is.",
            done="Nothing was changed.",
        )


def require_schema(connection: Connection) -> None:
    """Raise Refused where the schema that tables are to go into isn't there yet."""
    server = connection.server()
    if not server.schema:
        raise Refused(
            f"Database {server.database} has no schema {connection.url.effective_schema}.",
            hint="Create it first.",
            done="Nothing was changed.",
        )


def require_events_in_place(connection: Connection, installation: Installation) -> None:
    """Raise Refused while events, or their times, lie in tables of our own, which nobody else reads."""
    has_ours = any(name.startswith(WORKING_PREFIX) for name in installation.relations)
    if has_ours and connection.partitioning().keeps_events_aside():
        raise Refused(
            "A change of website_event's partitions is at work, or was interrupted: events lie beside the "
            "table, or their times do, and would be missed.",
            hint="`umami-ops partition status` says which command brings it to its end; then run this again.",
            done="Nothing was changed.",
        )


def require_detached(connection: Connection, tables: Sequence[str]) -> None:
    """Raise Refused where views or foreign keys of others would go with these tables, or keep them."""
    queries = connection.dialect.queries
    views = connection.rows(queries["backup.dependents"], tables=tables)
    if views:
        raise Refused(
            f"Views read the tables that would be replaced: {some([row['name'] for row in views])}.",
            hint="Drop them first, and make them anew afterwards.",
            done="Nothing was changed.",
        )
    referrers = connection.rows(queries["backup.referrers"], tables=tables)
    if referrers:
        raise Refused(
            "Tables that stay have foreign keys to those that would be replaced: "
            f"{some([row['name'] for row in referrers])}.",
            hint="Drop the keys first, and make them anew afterwards.",
            done="Nothing was changed.",
        )


def _catalogue(connection: Connection, introspector: Introspector) -> Catalogue:
    return Catalogue(
        server=connection.server(),
        url_schema=connection.url.schema,
        relations={relation.name: relation for relation in introspector.relations()},
        columns=introspector.columns(),
        elsewhere=introspector.elsewhere(),
    )


def _settled_catalogue(connection: Connection, introspector: Introspector) -> Catalogue:
    """Read the catalogue, and once more when a table was just changing places."""
    catalogue = _catalogue(connection, introspector)
    if _is_in_flux(catalogue) and introspector.can_read_together(CORE_TABLES):
        return _catalogue(connection, introspector)
    return catalogue


def _is_in_flux(catalogue: Catalogue) -> bool:
    """Whether one of the core tables is lacking beside others, as MariaDB lists them during a RENAME."""
    listed = [catalogue.has(table) and table in catalogue.columns for table in CORE_TABLES]
    return any(listed) and not all(listed)


def _locked_out(introspector: Introspector) -> Refused:
    if introspector.prisma_lock_held():
        problem = prisma_lock()
        return Refused(problem.sentence, hint=problem.cure, done="Nothing was changed.")
    return Refused(
        "Another session has locked one of the tables for itself (ALTER TABLE, VACUUM FULL …).",
        hint="Wait until it is done, then run this again.",
        done="Nothing was changed.",
    )


def _examine(
    catalogue: Catalogue, introspector: Introspector, dialect: str
) -> tuple[Migrations, int | None, list[Problem]]:
    """Return migrations, level and problems of a database that has Umami's core tables."""
    rows = introspector.prisma_migrations() if catalogue.has(MIGRATIONS_TABLE) else []
    facts = _sorted_migrations(dialect, rows)
    level = _recorded_level(dialect, facts) if rows else _apparent_level(catalogue, dialect)
    problems = list(about_migrations(catalogue, facts, level, recorded=bool(rows)))
    if introspector.prisma_lock_held():
        problems.append(prisma_lock())
    problems += about_tables(catalogue)
    if level is not None:
        problems += about_level(catalogue, dialect, level)
    data = [name for name in TABLES if catalogue.has(name) and TABLES[name].role.is_visitor_data]
    unreadable = introspector.missing_rights(data, "SELECT")
    problems += about_access(catalogue, unreadable, introspector.missing_rights(data, "DELETE"))
    return facts, level, problems


def _sorted_migrations(dialect: str, rows: Sequence[MigrationRow]) -> Migrations:
    """Sort Prisma's rows; a name may have several, when an attempt was rolled back and repeated."""
    applied = {row.name for row in rows if row.finished_at and not row.rolled_back_at}
    failed = {row.name for row in rows if not row.finished_at and not row.rolled_back_at}
    rolled_back = {row.name for row in rows if row.rolled_back_at} - applied - failed
    known = migrations(dialect)
    top = max((level_of(name) or 0 for name in applied), default=0)
    # Migrations that change nothing in the schema are not listed among the known ones.
    unlisted = set(range(1, latest_level(dialect) + 1)) - {migration.level for migration in known}
    strangers = applied - known_names(dialect)
    seen = applied | failed | rolled_back
    return Migrations(
        applied=tuple(sorted(applied)),
        failed=tuple(sorted(failed)),
        rolled_back=tuple(sorted(rolled_back)),
        unknown=tuple(sorted(name for name in strangers if level_of(name) not in unlisted)),
        missing=tuple(m.name for m in known if m.level < top and m.name not in seen),
    )


def _recorded_level(dialect: str, facts: Migrations) -> int | None:
    known = known_names(dialect)
    return max((level_of(name) or 0 for name in facts.applied if name in known), default=0) or None


def _apparent_level(catalogue: Catalogue, dialect: str) -> int | None:
    """Return the highest level whose tables and columns are all here; of those that look alike the first."""
    found, before = None, None
    for level in range(1, latest_level(dialect) + 1):
        shape = {table.name: table.column_names for table in schema_at(dialect, level).tables}
        is_new = shape != before
        before = shape
        if is_new and all(catalogue.has(table, column) for table in shape for column in shape[table]):
            found = level
    return found
