"""`upgrade check`: what Umami's next migrations will do to this database, and whether they will succeed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from umami_ops.databases.alterations import described
from umami_ops.databases.base import Connection
from umami_ops.operations.inspect import Installation
from umami_ops.operations.upgrade.estimate import Cost, Estimator
from umami_ops.operations.upgrade.obstacles import Obstacle, find_obstacles
from umami_ops.operations.upgrade.pending import (
    IN_THE_MAKING,
    pending_migrations,
    require_level,
    target_level,
)
from umami_ops.operations.upgrade.state import read_state
from umami_ops.plan import Note
from umami_ops.umami.changes import (
    AddColumn,
    AddIndex,
    AddTable,
    Change,
    ChangeType,
    DropColumn,
    DropIndex,
    DropTable,
    Move,
    RenameColumn,
    changes,
)
from umami_ops.umami.migrations import Migration, latest_released_level

#: What takes longer than this is worth planning for.
_LONG_SECONDS = 10.0
_WAITERS = ("nobody", "writes", "everybody")
#: So many phrases say what a migration does; the others are counted.
_FEW = 4
_PHRASES: dict[type, str] = {
    AddColumn: "adds {n} column{s} to {table}",
    RenameColumn: "renames {n} column{s} of {table}",
    ChangeType: "changes {n} type{s} in {table}",
    DropColumn: "drops {n} column{s} of {table}",
    AddIndex: "builds {n} index{es} on {table}",
    DropIndex: "drops {n} index{es} of {table}",
}


@dataclass(frozen=True)
class Upcoming:
    """A migration to come: what it does, how long it takes, which tables wait, and how much disk it needs.

    `waits` says who waits for it, table by table: writes, or everybody.
    """

    name: str
    level: int
    release: str
    is_released: bool
    does: tuple[str, ...]
    gist: str
    seconds: float
    disk_bytes: int
    waits: dict[str, str]


@dataclass(frozen=True)
class Outlook:
    """What the next upgrade will be like. `verdict` is go, go with time, go once prepared, or no go."""

    database: str
    server: str
    level: int
    release: str
    target: int
    upcoming: tuple[Upcoming, ...]
    obstacles: tuple[Obstacle, ...]
    is_measured: bool
    free_bytes: int | None
    notes: tuple[Note, ...]

    @property
    def seconds(self) -> float:
        """How long all of it takes."""
        return sum(migration.seconds for migration in self.upcoming)

    @property
    def disk_bytes(self) -> int:
        """How much disk all of it needs, should nothing be given back meanwhile."""
        return sum(migration.disk_bytes for migration in self.upcoming)

    @property
    def verdict(self) -> str:
        """The answer, in a word or a few."""
        if any(not obstacle.is_prepared for obstacle in self.obstacles):
            return "no go"
        if self.obstacles:
            return "go once prepared"
        return "go with time" if self.seconds >= _LONG_SECONDS else "go"

    def to_dict(self) -> dict[str, Any]:
        """Return the outlook for `--json`."""
        return {
            "operation": "upgrade check",
            "database": self.database,
            "server": self.server,
            "level": self.level,
            "release": self.release,
            "target_level": self.target,
            "verdict": self.verdict,
            "seconds": round(self.seconds, 1),
            "is_measured": self.is_measured,
            "disk_bytes": self.disk_bytes,
            "free_bytes": self.free_bytes,
            "migrations": [
                {
                    "name": migration.name,
                    "release": migration.release,
                    "is_released": migration.is_released,
                    "does": list(migration.does),
                    "seconds": round(migration.seconds, 1),
                    "disk_bytes": migration.disk_bytes,
                    "waits": migration.waits,
                }
                for migration in self.upcoming
            ],
            "obstacles": list(self.obstacles),
            "notes": [{"text": note.text, "cure": note.cure} for note in self.notes],
        }


def look_ahead(connection: Connection, installation: Installation, release: str | None = None) -> Outlook:
    """Find out what the upgrade to `release` will be like; reads only, but for a temporary table of its own.

    Raises Refused for what isn't Umami's, UsageFault for what is no release of Umami's.
    """
    level = require_level(connection, installation)
    dialect = connection.dialect.name
    target = target_level(dialect, level, release)
    pending = pending_migrations(dialect, installation, target)
    state = read_state(connection)
    estimator = Estimator(connection, installation, state)
    upcoming = tuple(_upcoming(connection, migration, estimator) for migration in pending)
    obstacles = find_obstacles(connection, installation, state, pending)
    free_bytes = connection.free_bytes()
    needed = sum(migration.disk_bytes for migration in upcoming)
    if free_bytes is not None and needed > free_bytes:
        obstacles.append(_too_full(needed, free_bytes))
    return Outlook(
        database=installation.server.database,
        server=installation.server.title,
        level=level,
        release=installation.release,
        target=max(level, target),
        upcoming=upcoming,
        obstacles=tuple(obstacles),
        is_measured=estimator.is_measured,
        free_bytes=free_bytes,
        notes=tuple(_notes(connection, pending, level)),
    )


def _upcoming(connection: Connection, migration: Migration, estimator: Estimator) -> Upcoming:
    made = changes(connection.dialect.name, migration.level)
    costs = [cost for change in made if (cost := estimator.cost(change)) is not None]
    return Upcoming(
        name=migration.name,
        level=migration.level,
        release=migration.first_release or migration.expected_release or "unknown",
        is_released=migration.first_release is not None,
        does=tuple(described(change) for change in made),
        gist=_gist(made),
        seconds=sum(cost.seconds for cost in costs),
        disk_bytes=sum(cost.disk_bytes for cost in costs),
        waits=_waits(connection, migration, costs),
    )


def _gist(made: Sequence[Change]) -> str:
    """Return what a migration does in one line: changes of a kind counted, a new table's indexes left out."""
    new = {change.table.name for change in made if isinstance(change, AddTable)}
    counted: dict[tuple[str, str], int] = {}
    for change in made:
        match change:
            case AddTable():
                phrase = ("creates {table}", change.table.name)
            case DropTable():
                phrase = ("drops {table}", change.table)
            case Move():
                phrase = (change.about, change.table)
            case _ if type(change) in _PHRASES and change.table not in new:
                phrase = (_PHRASES[type(change)], change.table)
            case _:
                continue
        counted[phrase] = counted.get(phrase, 0) + 1
    phrases = [_phrase(text, table, number) for (text, table), number in counted.items()]
    more = f"; {len(phrases) - _FEW} more" if len(phrases) > _FEW else ""
    return "; ".join(phrases[:_FEW]) + more


def _phrase(text: str, table: str, number: int) -> str:
    if number > 1:
        return text.format(table=table, n=number, s="s", es="es")
    return text.format(table=table, n="a", s="", es="").replace("a index", "an index")


def _waits(connection: Connection, migration: Migration, costs: Sequence[Cost]) -> dict[str, str]:
    """Return who waits for which table; in one transaction the strongest lock of a table is held to its
    end.
    """
    waits = {cost.table: cost.waits for cost in costs}
    for cost in costs:
        waits[cost.table] = max(waits[cost.table], cost.waits, key=_WAITERS.index)
    alterations = connection.alterations()
    if costs and alterations.is_atomic:
        for change in changes(connection.dialect.name, migration.level):
            table = getattr(change, "table", "")
            if table in waits:
                waits[table] = max(waits[table], alterations.waits(change), key=_WAITERS.index)
    return {table: who for table, who in waits.items() if who != "nobody"}


def _too_full(needed: int, free_bytes: int) -> Obstacle:
    return Obstacle(
        "disk",
        None,
        f"The migrations need about {needed / 1e9:.1f} GB of disk, and {free_bytes / 1e9:.1f} GB are free.",
        "Make room first: umami-ops prune, umami-ops vacuum --full, or a bigger disk.",
    )


def _notes(connection: Connection, pending: Sequence[Migration], level: int) -> list[Note]:
    notes = []
    dialect = connection.dialect.name
    if any(migration.first_release is None for migration in pending):
        notes.append(IN_THE_MAKING)
    if not connection.alterations().is_atomic and level >= latest_released_level(dialect):
        odd = connection.rows(connection.dialect.queries["upgrade.odd_ids"])
        notes.append(
            Note(
                f"This is Umami v2's last level on {connection.dialect.title}: v3 runs on PostgreSQL alone.",
                "umami-ops migrate --to postgresql takes this database there.",
            )
        )
        if odd:
            notes.append(
                Note(
                    f"{len(odd)} ids aren't UUIDs, {odd[0]['table']} {odd[0]['id']} for one: "
                    "PostgreSQL will refuse them.",
                    "Replace them, wherever they are referred to, before you migrate.",
                )
            )
    return notes
