"""Which migrations Umami will apply at its next start."""

from __future__ import annotations

from umami_ops.databases.base import Connection
from umami_ops.errors import Refused, UsageFault
from umami_ops.operations.inspect import Installation
from umami_ops.plan import Note
from umami_ops.umami.migrations import (
    Migration,
    latest_released_level,
    level_of_release,
    likely_release,
    migrations,
)
from umami_ops.umami.schema import latest_level

IN_THE_MAKING = Note("Migrations that no release had brought when this was written may still change.")


def target_level(dialect: str, level: int, release: str | None) -> int:
    """Return the level that the next Umami brings: that of `release`, else the newest that there is to come.

    That is the newest released one or, where it is reached, the newest seen in the making. Raises
    UsageFault for what is no release, one that isn't known, and one before that of `level`.
    """
    if release is None:
        released = latest_released_level(dialect)
        return released if level < released else latest_level(dialect)
    if release == "newest":
        return latest_level(dialect)
    try:
        target = level_of_release(dialect, release)
    except ValueError as fault:
        raise UsageFault(f"--to: {fault}.", hint="Or `--to newest` for all that is known.") from None
    if target < level:
        raise UsageFault(
            f"--to {release} is older than what is installed: Umami {likely_release(dialect, level)}.",
            hint="Name a newer release, or `--to newest` for all that is known.",
        )
    return target


def pending_migrations(dialect: str, installation: Installation, target: int) -> list[Migration]:
    """Return what Prisma will apply on the way to `target`, in its order: also what it finds missing or
    undone.
    """
    applied = set(installation.migrations.applied)
    return [m for m in migrations(dialect) if m.name not in applied and 1 < m.level <= target]


def require_level(connection: Connection, installation: Installation) -> int:
    """Return the level. Raises Refused for a database that isn't Umami's, or whose level nobody can tell."""
    if installation.level is None:
        installation.require_safe(despite=("no_delete",))
        raise Refused(
            f"Which migrations of Umami's this {connection.dialect.title} database has can't be told.",
            hint="`umami-ops info` says what is known.",
            done="Nothing was changed.",
        )
    return installation.level
