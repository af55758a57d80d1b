"""Umami's migrations: their names, the releases that brought them, and the checksums that Prisma recorded.

The facts stand in `sql/umami/migrations.json`. A migration's level is the number that its name begins with;
24 and 29 never changed the schema and are not listed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache

from umami_ops.umami.schema import DIALECTS

_LEVEL = re.compile(r"(\d{2})_\w+")


@dataclass(frozen=True, slots=True)
class Checksum:
    """A migration file's sha256, as `_prisma_migrations.checksum` holds it, and the releases that shipped it.

    Umami edited some files after their release (comments and spelling, never the effect), so an older
    installation rightly holds an older checksum.
    """

    sha256: str
    releases: str


@dataclass(frozen=True, slots=True)
class Migration:
    """One migration; when no release had shipped it yet, `expected_release` is a guess."""

    level: int
    name: str
    first_release: str | None
    expected_release: str | None
    checksums: tuple[Checksum, ...]

    @property
    def checksum(self) -> str | None:
        """The checksum in the newest release; None for an unreleased migration."""
        return self.checksums[-1].sha256 if self.checksums else None


@cache
def migrations(dialect: str) -> tuple[Migration, ...]:
    """Return every known migration of the dialect, in the order in which Prisma applies them."""
    from umami_ops.sql import resource

    if dialect not in DIALECTS:
        raise ValueError(f"Umami runs on {' and '.join(DIALECTS)}, not on {dialect}")
    document = json.loads(resource("umami/migrations.json").read_text(encoding="utf-8"))
    return tuple(
        Migration(
            level=int(entry["name"][:2]),
            name=entry["name"],
            first_release=entry["first_release"],
            expected_release=entry.get("expected_release"),
            checksums=tuple(Checksum(c["sha256"], c["releases"]) for c in entry["checksums"]),
        )
        for entry in document[dialect]
    )


def known_names(dialect: str) -> frozenset[str]:
    """Return the names of Umami's own migrations; any other is a fork's or a newer Umami's."""
    return frozenset(migration.name for migration in migrations(dialect))


def level_of(migration_name: str) -> int | None:
    """Return the level in a migration's name (`13_add_revenue` → 13), known or not; None without one."""
    match = _LEVEL.fullmatch(migration_name)
    return int(match[1]) if match else None


def latest_released_level(dialect: str) -> int:
    """Return the highest level that a release of Umami has shipped: 19 on PostgreSQL, 13 on MySQL."""
    return max(migration.level for migration in migrations(dialect) if migration.first_release)


def likely_release(dialect: str, level: int) -> str:
    """Name the releases of Umami that leave a database at this level, in words for people.

    Levels alone can't tell releases apart that brought no migration: level 13 is any v2 from v2.19.0 on.
    """
    reached = [migration for migration in migrations(dialect) if migration.level <= level]
    if not reached:
        return "unknown"
    if level > migrations(dialect)[-1].level:
        return "newer than any Umami that this version of umami-ops knows"
    current = reached[-1]
    if current.first_release is None:
        return f"{current.expected_release}, unreleased when this was written"
    following = migrations(dialect)[len(reached) :]
    return _release_range(current, following[0].first_release if following else None)


def _release_range(current: Migration, next_release: str | None) -> str:
    first = current.first_release
    assert first is not None
    if next_release == first:
        return f"part way through the upgrade to {first}"
    if current.checksums and current.checksums[-1].releases == f"{first}..{first}":
        return first
    major = first.partition(".")[0]
    if next_release is None or not next_release.startswith(f"{major}."):
        return f"{first} or later {major}"
    return f"{first} or later, before {next_release}"


def level_of_release(dialect: str, release: str) -> int:
    """Return the level that a release leaves a database at: `3.1` is the newest 3.1 that is known, `v3.1.0`
    that one.

    Releases that hadn't shipped are taken at their expected numbers. Raises ValueError for what is no
    release, one before v2, or one that isn't known yet.
    """
    match = re.fullmatch(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?", release.strip())
    if match is None or int(match[1]) < 2:
        raise ValueError(f"{release!r} is no release of Umami from v2 on, as 3.1 or v2.19.0")
    shipped, newest = _newest(dialect)
    given = tuple(int(part) for part in match.groups() if part)
    if given > newest[: len(given)]:
        more = f", and v{newest[0]}.{newest[1]} as it was in the making" if newest > shipped else ""
        known = ".".join(str(part) for part in shipped)
        raise ValueError(f"Umami {release.strip()} isn't known here; v2.0.0 to v{known} are{more}")
    wanted = (*given, *[10_000] * (3 - len(given)))
    reached = [m.level for m in migrations(dialect) if (came := _came_with(m)) and came <= wanted]
    return max(reached)


def _newest(dialect: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the newest release that has shipped, and the newest that is known at all."""
    ends = [sums.releases.rpartition("..")[2] for m in migrations(dialect) for sums in m.checksums]
    shipped = max(tuple(int(part) for part in end.removeprefix("v").split(".")) for end in ends)
    return shipped, max(shipped, *(came for m in migrations(dialect) if (came := _came_with(m))))


def _came_with(migration: Migration) -> tuple[int, ...] | None:
    """Return the release that brought a migration, or None where not even a guess is known."""
    text = migration.first_release or migration.expected_release or ""
    found = re.fullmatch(r"(?:about )?v(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else None
