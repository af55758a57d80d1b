"""What will make a migration fail, found out without running it: in the catalogue, in rows, in rights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from umami_ops.databases.base import Connection
from umami_ops.operations.inspect import Installation
from umami_ops.operations.upgrade.state import Hitch, State
from umami_ops.umami.changes import AddTable, Change, changes
from umami_ops.umami.migrations import Migration

#: The characters that fit into the name of a report.
_MOST_NAME = 200
#: What `prepare` mends.
_PREPARED = frozenset({"index_missing", "index_invalid"})


@dataclass(frozen=True)
class Obstacle:
    """Why an upgrade will fail, and what to do; `is_prepared` says that `upgrade prepare` does it.

    `code` is for programs; `migration` is None for what stops all of them.
    """

    code: str
    migration: str | None
    sentence: str
    cure: str
    is_prepared: bool = False


def find_obstacles(
    connection: Connection, installation: Installation, state: State, pending: Sequence[Migration]
) -> list[Obstacle]:
    """Return every obstacle on the way, those that stop everything first."""
    tried = state.copy()
    found = list(_of_the_installation(installation))
    for migration in pending:
        found += obstacles_of(connection, migration, tried, here=state)
        for change in changes(connection.dialect.name, migration.level):
            tried.make(change)
    return found + list(_of_rights(connection, state, pending))


def obstacles_of(
    connection: Connection, migration: Migration, state: State, *, here: State
) -> list[Obstacle]:
    """Return what will make one migration fail on a schema in this state; rows are looked for `here`."""
    tried = state.copy()
    found = []
    for change in changes(connection.dialect.name, migration.level):
        found += [_obstacle(migration, hitch) for hitch in tried.hitches(change)]
        tried.make(change)
    return found + list(_of_rows(connection, migration, here))


def _of_the_installation(installation: Installation) -> Iterator[Obstacle]:
    for problem in installation.problems:
        if problem.code == "migration_failed":
            yield Obstacle(problem.code, None, problem.sentence, "umami-ops upgrade repair")
        elif problem.code == "no_migrations" or (problem.blocks and problem.code != "no_delete"):
            yield Obstacle(problem.code, None, problem.sentence, problem.cure)


def _obstacle(migration: Migration, hitch: Hitch) -> Obstacle:
    cures = {
        "index_missing": "umami-ops upgrade prepare renames or builds it.",
        "index_invalid": "umami-ops upgrade prepare builds it anew.",
        "index_owned": f"Drop the constraint and create a plain unique index {hitch.subject} instead.",
        "already_there": "If an interrupted upgrade prepare made it: umami-ops upgrade prepare. If the "
        "migration itself did: umami-ops upgrade repair. If you did: rename it.",
        "missing": "Was it renamed or dropped by hand? See umami-ops health --only umami",
        "column_type": "Change its type first, after a backup: umami-ops health --only column_types",
        "read_by": "Keep its text (pg_dump keeps it), drop it, upgrade, and create it again.",
    }
    return Obstacle(
        hitch.what,
        migration.name,
        f"Migration {migration.name} will fail: {hitch.sentence}.",
        cures[hitch.what],
        hitch.what in _PREPARED,
    )


def _of_rows(connection: Connection, migration: Migration, state: State) -> Iterator[Obstacle]:
    """Yield what rows will make a migration fail; only migrations that look at rows ask for any."""
    match migration.level:
        case 5:
            yield from _before_visits(connection, migration, is_next="team_website" not in state.tables)
        case 12 | 14 if "report" in state.tables:
            yield from _before_reports(connection, migration, state)
        case 15 if state.has("website", "share_id"):
            rows = connection.rows(connection.dialect.queries["upgrade.shared_twice"])
            twice = [row["id"] for row in rows]
            if twice:
                yield _failing(
                    migration,
                    "shared_twice",
                    f"several websites have the share id {twice[0]}",
                    "Give one of them another share id in Umami.",
                )


def _failing(migration: Migration, code: str, why: str, cure: str, *, is_prepared: bool = False) -> Obstacle:
    return Obstacle(code, migration.name, f"Migration {migration.name} will fail: {why}.", cure, is_prepared)


def _before_visits(connection: Connection, migration: Migration, *, is_next: bool) -> Iterator[Obstacle]:
    """Yield why migration 05 will fail; `prepare` does it in its place once that before it was applied."""
    queries = connection.dialect.queries
    first = "" if is_next else "Upgrade first to the last release before it (Umami 2.10); then "
    if not connection.value(queries["upgrade.makes_uuids"]):
        yield _failing(
            migration,
            "no_bin_to_uuid",
            "it calls BIN_TO_UUID, which MariaDB doesn't have",
            f"{first}umami-ops upgrade prepare does what it does in another way.",
            is_prepared=is_next,
        )
    if connection.value(queries["health.undated_events"], sample=1):
        yield _failing(
            migration,
            "undated_events",
            "events without created_at get no visit, which it then demands",
            f"{first}umami-ops upgrade prepare gives them one.",
            is_prepared=is_next,
        )


def _before_reports(connection: Connection, migration: Migration, state: State) -> Iterator[Obstacle]:
    queries = connection.dialect.queries
    for row in connection.rows(queries["upgrade.reports"]):
        why = _unfit(row["type"], row["name"], row["parameters"], migration.level)
        if why:
            yield _failing(
                migration,
                "report_parameters",
                f"report {row['id']} {why}",
                "Delete that report in Umami, or mend its parameters.",
            )
    if migration.level == 14:
        words = [name for name in ("revenue", "segment") if name in state.tables]
        for row in connection.rows(queries["upgrade.too_long"].when(words)):
            yield _failing(
                migration,
                "too_long",
                f"{row['column']} holds {row['longest']} characters, of which {row['fits']} will fit",
                "Shorten those values, after a backup.",
            )


def _unfit(kind: str, name: str, text: str, level: int) -> str | None:
    """Say what is wrong with a report's parameters, if anything is."""
    try:
        parameters = json.loads(text, parse_constant=_no_json)
    except ValueError:
        return "has parameters that aren't JSON"
    if level == 12 or not isinstance(parameters, dict):
        return None
    part = {"funnel": "steps", "goal": "goals", "goals": "goals"}.get(kind)
    if part in parameters and not isinstance(parameters[part], list):
        return f"of the kind {kind} has no list of {part}"
    if part == "goals":
        # Each goal becomes a report of its own, whose name says both.
        values = [str(goal.get("value", "")) for goal in parameters.get(part, ()) if isinstance(goal, dict)]
        if any(len(name) + len(" - ") + len(value) > _MOST_NAME for value in values):
            return f"and one of its goals have names of over {_MOST_NAME} characters together"
    return None


def _no_json(word: str) -> None:
    raise ValueError(word)


def _of_rights(connection: Connection, state: State, pending: Sequence[Migration]) -> Iterator[Obstacle]:
    if not pending:
        return
    dialect = connection.dialect.name
    touched = {_table_of(change) for m in pending for change in changes(dialect, m.level)}
    tables = sorted(touched & set(state.tables)) or ["website"]
    missing = connection.rows(connection.dialect.queries["upgrade.missing_rights"], tables=tables)
    for right in dict.fromkeys(row["right"] for row in missing):
        names = [row["name"] for row in missing if row["right"] == right]
        some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        yield Obstacle(
            "no_rights",
            None,
            f"User {connection.server().user} lacks {right} of {some}: Umami can't migrate as this user.",
            "Give Umami's user that right, or make it the owner.",
        )


def _table_of(change: Change) -> str:
    return change.table.name if isinstance(change, AddTable) else change.table
