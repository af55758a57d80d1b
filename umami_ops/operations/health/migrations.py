"""Checks of what Umami's installation is: its tables, its release, its migrations, this user's rights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from umami_ops.databases.base import Introspector, MigrationRow
from umami_ops.operations.health.check import Examination, Finding, Measure, Outcome, Severity, check
from umami_ops.operations.inspect import Problem
from umami_ops.umami.migrations import latest_released_level, level_of

_ACCESS = frozenset({"no_select", "no_delete", "read_only", "pooled"})
_MIGRATIONS = frozenset(
    {
        "no_migrations",
        "migration_failed",
        "migration_rolled_back",
        "migration_gap",
        "migration_unknown",
        "prisma_lock",
    }
)
#: Conditions that are as somebody wanted them.
_HARMLESS = frozenset({"unknown_tables", "partitioned", "pooled", "read_only", "no_delete", "prisma_lock"})

# What the server said when a migration failed → what to do about it. Sources: Umami's migrations, and what
# Prisma does with what it finds, seen on real servers.
_KNOWN_FAILURES = (
    ("already exists", "Its objects are there already, from an earlier attempt or a restored dump."),
    ("duplicate column", "Part of it was applied before it failed."),
    ("used by a view or rule", "A view reads a column that it changes: keep its text and drop it first."),
    ("depend on it", "A view reads what it drops: keep its text and drop it first."),
    ("bin_to_uuid", "MariaDB has no BIN_TO_UUID: what it was for can be done in another way."),
    ("does not exist", "Something that it changes or drops is missing or has another name."),
    ("check that column/key exists", "An index that it drops is missing or has another name."),
    ("permission denied", "Umami's user may not change the schema: make it the tables' owner first."),
    ("must be owner", "Umami's user may not change the schema: make it the tables' owner first."),
    ("no space left", "The disk was full: make room first."),
)
_REPAIR = "umami-ops upgrade repair"


@check(
    title="Umami's tables and release",
    why="Everything else stands on this: that the database is Umami's, and complete for its migration level.",
    rule="critical when tables or columns that matter are missing, or it is no Umami; warning for other "
    "contradictions "
    "between tables and migrations; info for tables that aren't Umami's",
    cure="Correct the URL, or restore what is missing from a backup. `umami-ops info` shows more.",
    measures={
        "migration_level": "The migration level of Umami's schema.",
        "migrations_behind": "How many released migrations this schema lacks.",
    },
    needs_umami=False,
)
def umami(examination: Examination) -> Iterator[Outcome]:
    """Pass on what `inspect` found about the tables."""
    installation = examination.installation
    if installation.level is not None:
        latest = latest_released_level(examination.connection.dialect.name)
        yield Measure("migration_level", installation.level)
        yield Measure("migrations_behind", max(latest - installation.level, 0))
    yield from _passed_on(p for p in installation.problems if p.code not in _ACCESS | _MIGRATIONS)


@check(
    title="Prisma's migrations",
    why="Umami doesn't start while a migration is unfinished (P3009), and fails at its next upgrade if "
    "records and "
    "tables disagree.",
    rule="critical when a migration failed or never finished; warning when records are missing or rolled "
    "back; info "
    "when Umami migrates at this moment",
    cure="`umami-ops upgrade repair`, which completes or undoes what a failed migration left. For known "
    "failures the finding says what to do first.",
)
def migrations(examination: Examination) -> Iterator[Outcome]:
    """Pass on what `inspect` found about migrations; for failed ones say what was in the way, if known."""
    installation = examination.installation
    problems = [p for p in installation.problems if p.code in _MIGRATIONS]
    yield from _passed_on(p for p in problems if p.code != "migration_failed")
    if installation.migrations.failed:
        rows = Introspector(examination.connection).prisma_migrations()
        general = next(p.cure for p in problems if p.code == "migration_failed")
        for row in rows:
            if row.finished_at is None and row.rolled_back_at is None:
                yield _failed(row, general)


def _failed(row: MigrationRow, general: str) -> Finding:
    evidence: dict[str, Any] = {
        "migration": row.name,
        "level": level_of(row.name),
        "started_at": row.started_at,
        "log": _cause(row.logs or ""),
    }
    known = [cause for sign, cause in _KNOWN_FAILURES if sign in (row.logs or "").lower()]
    cure = f"{known[0]} Then: {_REPAIR}" if known else general
    said = f": {evidence['log']}" if evidence["log"] else "; it failed, or still runs"
    return Finding(Severity.CRITICAL, f"Migration {row.name} is unfinished{said}.", cure, row.name, evidence)


def _cause(logs: str) -> str:
    """Return the telling line of what Prisma wrote down, without its end stop."""
    lines = [line.strip() for line in logs.splitlines() if line.strip()]
    telling = [line for line in lines if line.lower().startswith(("error:", "db error", "message"))]
    return (telling or lines or [""])[-1][:200].rstrip(".")


@check(
    title="Rights and kind of connection",
    why="Retention and upgrades need to change tables; a user who may only read, or a replica, can't.",
    rule="critical when visitor data can't be read; info when they can't be changed, or a pooler stands in "
    "between",
    cure="Grant the right, connect as the owner of Umami's tables, or name the primary server.",
    needs_umami=False,
)
def access(examination: Examination) -> Iterator[Outcome]:
    """Pass on what `inspect` found about rights."""
    yield from _passed_on(p for p in examination.installation.problems if p.code in _ACCESS)


def _passed_on(problems: Iterable[Problem]) -> Iterator[Finding]:
    for problem in problems:
        severity = Severity.CRITICAL if problem.blocks else Severity.WARNING
        severity = Severity.INFO if problem.code in _HARMLESS else severity
        yield Finding(severity, problem.sentence, problem.cure, evidence={"code": problem.code})
