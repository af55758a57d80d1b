"""Which backups may go: grandfather, father, son. Pure arithmetic over names and times."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Keep:
    """How many to keep: the newest ones, and the newest of each of the last days, weeks and months."""

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0


@dataclass(frozen=True)
class Aged:
    """A backup as far as this goes: its name, when it was made, what of, and whether it was ever verified.

    `has_failed` says that its last verification failed.
    """

    name: str
    created_at: datetime
    origin: Hashable
    was_verified: bool
    has_failed: bool


def sort_out(backups: Sequence[Aged], keep: Keep) -> dict[str, str | None]:
    """Return every backup's name with why it is kept, or None when it may go; newest first.

    Days, weeks (from Monday) and months are UTC's. Backups of different origins don't count for each other.
    The newest of an origin is kept whatever the numbers say; so is the newest verified one that hasn't failed
    since. One newer than that which has failed since is kept besides: the fault may have been the server's.
    """
    reasons: dict[str, str | None] = {}
    ordered = sorted(backups, key=lambda backup: (backup.created_at, backup.name), reverse=True)
    for backup in ordered:
        reasons[backup.name] = None
    for origin in {backup.origin for backup in ordered}:
        ours = [backup for backup in ordered if backup.origin == origin]
        for name, reason in _kept(ours, keep).items():
            reasons[name] = reason
    return reasons


def _kept(newest_first: Sequence[Aged], keep: Keep) -> dict[str, str]:
    kept: dict[str, str] = {}
    for backup in newest_first[: max(keep.last, 1)]:
        kept[backup.name] = "among the last" if keep.last else "the newest"
    for count, period, reason in (
        (keep.daily, lambda when: (when.date(),), "daily"),
        (keep.weekly, lambda when: when.isocalendar()[:2], "weekly"),
        (keep.monthly, lambda when: (when.year, when.month), "monthly"),
    ):
        for backup in _newest_of_each(newest_first, period)[:count]:
            kept.setdefault(backup.name, reason)
    verified = [backup for backup in newest_first if backup.was_verified]
    for backup in [backup for backup in verified if not backup.has_failed][:1]:
        kept.setdefault(backup.name, "the newest that was verified")
    for backup in verified[:1]:
        kept.setdefault(backup.name, "was verified, and failed since")
    return kept


def _newest_of_each(
    newest_first: Sequence[Aged], period: Callable[[datetime], tuple[object, ...]]
) -> list[Aged]:
    found: dict[tuple[object, ...], Aged] = {}
    for backup in newest_first:
        found.setdefault(period(backup.created_at.astimezone(UTC)), backup)
    return list(found.values())
