"""The sentences about a database that isn't as Umami leaves it, each with its cure. Reads nothing itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from umami_ops.databases.base import WORKING_PREFIX, Elsewhere, Relation, Server
from umami_ops.umami.schema import schema_at
from umami_ops.umami.tables import TABLES, Role, TableFacts, facts_of, is_v1

MIGRATIONS_TABLE = "_prisma_migrations"
#: Without these nothing that is done to visitor data can be right.
CORE_TABLES = ("website", "session", "website_event")


@dataclass(frozen=True)
class Problem:
    """Something about a database that its user should know.

    `code` is for programs, `sentence` and `cure` are for people (a cure may be empty); `blocks` says that
    nothing may be changed while it lasts.
    """

    code: str
    sentence: str
    cure: str
    blocks: bool


@dataclass(frozen=True)
class Migrations:
    """What Prisma wrote down about its migrations: their names, sorted.

    `failed` never finished; `rolled_back` were not applied again; `unknown` are none of Umami's that are
    known here; `missing` were skipped, though later ones were applied.
    """

    applied: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    rolled_back: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Catalogue:
    """What the server says about the schema that the URL names, and about its neighbours."""

    server: Server
    url_schema: str | None
    relations: Mapping[str, Relation]
    columns: Mapping[str, Mapping[str, str]]
    elsewhere: Sequence[Elsewhere]

    def has(self, table: str, column: str | None = None) -> bool:
        """Say whether it has the table, and in it the column."""
        return table in self.relations and (column is None or column in self.columns.get(table, {}))

    @property
    def place(self) -> str:
        """The database in words, with its schema where that isn't the obvious one."""
        server = self.server
        if server.schema in ("public", server.database, ""):
            return f"Database {server.database}"
        return f"Schema {server.schema} of database {server.database}"

    def pointer(self, there: Sequence[str]) -> str:
        """Point at the schema or database that has what was looked for; empty when none has."""
        if not there:
            return ""
        # Where a database has no schemas apart from itself, the two names are the same.
        if self.server.schema == self.server.database:
            return f"Database {there[0]} has it: name that one in the URL."
        return f"Schema {there[0]} has it: write ?schema={there[0]} behind the URL."


def about_strangers(catalogue: Catalogue) -> Iterator[Problem]:
    """Say what this is, since it isn't Umami v2 or later."""
    server, place = catalogue.server, catalogue.place
    there = [other.schema for other in catalogue.elsewhere if other.has_umami]
    if not server.schema:
        yield _blocking(
            "no_schema",
            f"Database {server.database} has no schema {catalogue.url_schema or 'public'} "
            f"that user {server.user} may look into.",
            catalogue.pointer(there) or "Correct ?schema= in the URL, or grant USAGE on the schema.",
        )
        return
    if is_v1(catalogue.columns):
        yield _blocking(
            "umami_v1",
            f"{place} holds Umami v1, whose tables are other ones.",
            "Upgrade Umami to v2 first: https://umami.is/docs/migrate-v1-v2",
        )
        return
    cure = catalogue.pointer(there) or "Check that the URL is the one that Umami has."
    present = [table for table in CORE_TABLES if catalogue.has(table)]
    others = [name for name in catalogue.relations if facts_of(name).role is not Role.MIGRATIONS]
    if not others:
        yield _blocking("empty", f"{place} is empty: Umami has not been set up here.", cure)
    elif any(catalogue.has(name) and facts_of(name).role.is_visitor_data for name in present):
        missing = [table for table in CORE_TABLES if not catalogue.has(table)]
        yield _blocking(
            "table_missing",
            f"{place} lacks Umami's {some(missing)}, though it has {some(present)}.",
            "Restore the database from a backup, or check the URL.",
        )
    else:
        yield _blocking("not_umami", f"{place} is not Umami's: it holds {some(others)}.", cure)


def about_migrations(
    catalogue: Catalogue, facts: Migrations, level: int | None, *, recorded: bool
) -> Iterator[Problem]:
    """Say what is wrong with the migrations; `recorded` is whether Prisma's table has any row."""
    if not recorded:
        yield _unrecorded(catalogue, level)
    if facts.failed:
        yield _blocking(
            "migration_failed",
            f"{_migration(facts.failed)} unfinished: it failed, or it still runs.",
            "If Umami is upgrading right now, wait. Else see what it left: "
            "umami-ops upgrade repair --dry-run",
        )
    if facts.rolled_back:
        yield _note(
            "migration_rolled_back",
            f"{_migration(facts.rolled_back)} marked as rolled back, and not applied again since.",
            "Umami applies it at its next start. Where its changes are here already, that fails: "
            "umami-ops upgrade repair marks it then.",
        )
    if facts.missing:
        yield _note(
            "migration_gap",
            f"{_migration(facts.missing)} missing from _prisma_migrations, though later ones are there.",
            "Umami applies it at its next start. Where its changes are here already, that fails: "
            "umami-ops upgrade repair marks it then.",
        )
    if facts.unknown:
        yield _note(
            "migration_unknown",
            f"{_migration(facts.unknown)} unknown: this Umami is newer than umami-ops, or a fork.",
            "Look for a newer umami-ops. Tables that it doesn't know are left alone.",
        )


def prisma_lock() -> Problem:
    """Say that a migration runs."""
    return _blocking(
        "prisma_lock",
        "Umami migrates this database at this moment (Prisma's lock is held).",
        "Wait until Umami has started.",
    )


def _unrecorded(catalogue: Catalogue, level: int | None) -> Problem:
    there = [other.schema for other in catalogue.elsewhere if other.has_migrations]
    what = "is empty" if catalogue.has(MIGRATIONS_TABLE) else "is missing"
    looks = f"the tables look like level {level}" if level else "the tables look like no level known here"
    cure = catalogue.pointer(there) or (
        "Umami will not start like this (Prisma's P3005). Restore that table from a backup, or baseline it: "
        "https://www.prisma.io/docs/orm/prisma-migrate/workflows/baselining"
    )
    return Problem("no_migrations", f"Table _prisma_migrations {what}; {looks}.", cure, blocks=level is None)


def about_tables(catalogue: Catalogue) -> Iterator[Problem]:
    """Say what is unusual about the tables, whatever their level."""
    if catalogue.relations["website_event"].kind == "partitioned table":
        yield _note("partitioned", "Table website_event is partitioned, which Umami doesn't notice.", "")
    for name in TABLES:
        relation = catalogue.relations.get(name)
        if relation is not None and relation.kind not in ("table", "partitioned table"):
            yield _blocking(
                "not_a_table",
                f"{name} is a {relation.kind}, not a table: its rows belong to something else.",
                "Work on the database that holds the table itself.",
            )
    if any(name.startswith(WORKING_PREFIX) for name in catalogue.relations):
        yield _note(
            "rebuild",
            "A prune --rebuild or a partition run is at work, or was interrupted: its copies and triggers are"
            " here.",
            "If none is at work: the same command, or any `umami-ops prune` for a rebuild, clears them away;"
            " don't drop them by hand.",
        )
    strangers = strangers_among(catalogue.relations)
    if strangers:
        count = "1 table is" if len(strangers) == 1 else f"{len(strangers)} tables are"
        yield _note("unknown_tables", f"{count} not Umami's and left alone: {some(strangers)}.", "")


def strangers_among(relations: Iterable[str]) -> list[str]:
    """Return the tables that are neither Umami's nor ours."""
    return [
        name
        for name in relations
        if facts_of(name).role is Role.UNKNOWN and not name.startswith(WORKING_PREFIX)
    ]


def about_level(catalogue: Catalogue, dialect: str, level: int) -> Iterator[Problem]:
    """Say where the catalogue contradicts the level that the migrations claim."""
    expected = schema_at(dialect, level)
    for table in expected.tables:
        facts = facts_of(table.name)
        if not catalogue.has(table.name):
            yield Problem(
                "table_missing",
                f"Table {table.name} is missing, which Umami has at level {level}.",
                "Restore it from a backup.",
                blocks=_matters(facts),
            )
            continue
        lacking = [column for column in table.column_names if not catalogue.has(table.name, column)]
        if lacking:
            yield Problem(
                "column_missing",
                f"Table {table.name} lacks {some(lacking)}, which Umami has at level {level}.",
                "Was a migration marked as applied by hand, or the table restored from an older backup?",
                blocks=_matters(facts) and not _working_columns(facts).isdisjoint(lacking),
            )
    ahead = sorted(name for name in catalogue.relations if name in TABLES and name not in expected)
    ahead = [name for name in ahead if name != MIGRATIONS_TABLE]
    if ahead:
        yield _note(
            "ahead_of_level",
            f"The migrations say level {level}, where Umami has no {some(ahead)}; yet it is here.",
            "Compare _prisma_migrations with the tables before the next upgrade of Umami, which may fail.",
        )


def about_access(
    catalogue: Catalogue, unreadable: Sequence[str], undeletable: Sequence[str]
) -> Iterator[Problem]:
    """Say what the server or this user won't allow."""
    user = catalogue.server.user
    if catalogue.server.read_only:
        yield _blocking(
            "read_only",
            "The server is read only (a replica, or set so).",
            "Connect to the primary server to change anything.",
        )
    if catalogue.server.pooled:
        yield _note(
            "pooled",
            "The connection goes through a transaction pooler.",
            "What needs a session of its own wants DIRECT_DATABASE_URL as well.",
        )
    for right, tables in (("SELECT", unreadable), ("DELETE", undeletable)):
        if tables:
            yield _blocking(
                f"no_{right.lower()}",
                f"User {user} may not {right} from {some(tables)}.",
                f"Grant {right} on {'it' if len(tables) == 1 else 'them'}, or connect as the tables' owner.",
            )


def _blocking(code: str, sentence: str, cure: str) -> Problem:
    return Problem(code, sentence, cure, blocks=True)


def _note(code: str, sentence: str, cure: str) -> Problem:
    return Problem(code, sentence, cure, blocks=False)


def _matters(facts: TableFacts) -> bool:
    return facts.role.is_visitor_data or facts.role is Role.REPLAY_BOOKMARK or facts.name in CORE_TABLES


def _working_columns(facts: TableFacts) -> frozenset[str | None]:
    return frozenset(
        (
            facts.time_column,
            facts.website_column,
            facts.session_column,
            facts.visit_column,
            facts.event_column,
        )
    )


def _migration(names: Sequence[str]) -> str:
    return f"Migration {names[0]} is" if len(names) == 1 else f"Migrations {some(names)} are"


def some(names: Sequence[str], limit: int = 5) -> str:
    """Name a few and count the rest."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
