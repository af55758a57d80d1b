"""Checks of backups: that there is one, how old it is, and when one was last proven to restore."""

from __future__ import annotations

from collections.abc import Iterator

from umami_ops.archive.manifest import PRUNED
from umami_ops.errors import OpsError
from umami_ops.operations.backup import Listed, origin_of
from umami_ops.operations.health.check import (
    Examination,
    Finding,
    Measure,
    Outcome,
    Severity,
    Unseen,
    check,
    span,
)

_MAKE = "umami-ops backup --verify"


@check(
    title="Backups",
    why="What a disk or a slip of the hand takes is gone without one; and a backup that nobody ever restored "
    "may not restore.",
    rule="warning when the newest backup of this database is older than `backup_days`, when none was "
    "verified within `backup_verified_days` that hasn't failed since, for each whose last verification "
    "failed, and for each that can't be read; in the place where `backup create` is configured to make them, "
    "else that of UMAMI_OPS_STORE or the settings, or in ./backups",
    cure="umami-ops backup --verify",
    thresholds=("backup_days", "backup_verified_days"),
    measures={
        "backup_timestamp_seconds": "When the newest backup was made.",
        "backup_verified_timestamp_seconds": "When a backup that hasn't failed since was proven to restore.",
        "backup_size_bytes": "What the newest backup takes.",
    },
    needs_umami=False,
)
def backups(examination: Examination) -> Iterator[Outcome]:
    """Look at the manifests in the store, and at the notes of verifications beside them."""
    if examination.backups is None:
        yield Unseen("to know where your backups are: UMAMI_OPS_STORE")
        return
    try:
        listed = examination.backups()
    except OpsError as fault:
        yield Unseen(f"a store that can be read ({fault.message})")
        return
    origin = origin_of(examination.connection)
    mine = [
        each
        for each in listed
        if each.manifest is not None and each.manifest.origin == origin and each.manifest.kind != PRUNED
    ]
    yield from _damaged(listed)
    yield from _newest(examination, mine)
    yield from _verified(examination, mine)
    yield from _failed(mine)


def _damaged(listed: list[Listed]) -> Iterator[Outcome]:
    for each in listed:
        if each.manifest is None:
            yield Finding(
                Severity.WARNING,
                f"Backup {each.name} can't be read: {(each.fault or 'it is damaged').rstrip('.')}.",
                f"Take it away, and make another: {_MAKE}",
                each.name,
                {"fault": each.fault},
            )


def _newest(examination: Examination, mine: list[Listed]) -> Iterator[Outcome]:
    found = [each.manifest for each in mine if each.manifest is not None]
    if not found:
        yield Finding(
            Severity.WARNING, "There is no backup of this database.", _MAKE, evidence={"backups": 0}
        )
        return
    newest = max(found, key=lambda manifest: manifest.created_at)
    yield Measure("backup_timestamp_seconds", newest.created_at.timestamp())
    yield Measure("backup_size_bytes", newest.size_bytes)
    age = (examination.now - newest.created_at).total_seconds()
    if age >= examination.limits.backup_days * 86_400:
        yield Finding(
            Severity.WARNING,
            f"The newest backup is {span(age)} old.",
            _MAKE,
            newest.name,
            {"age_seconds": round(age), "created_at": newest.created_at},
        )


def _verified(examination: Examination, mine: list[Listed]) -> Iterator[Outcome]:
    if not mine:
        return
    times = [each.verified_at for each in mine if each.verified_at is not None and not each.has_failed]
    if times:
        yield Measure("backup_verified_timestamp_seconds", max(times).timestamp())
        age = (examination.now - max(times)).total_seconds()
        if age < examination.limits.backup_verified_days * 86_400:
            return
        said = f"A backup was last proven to restore {span(age)} ago."
    else:
        said = "No backup of this database was ever proven to restore"
        said += " and has not failed since." if any(each.verified_at for each in mine) else "."
    newest = mine[-1].name
    yield Finding(
        Severity.WARNING,
        said,
        f"umami-ops backup verify {newest}",
        newest,
        {"verified_at": max(times, default=None)},
    )


def _failed(mine: list[Listed]) -> Iterator[Outcome]:
    for each in mine:
        if each.has_failed and each.failed_at is not None:
            yield Finding(
                Severity.WARNING,
                f"Backup {each.name} failed its verification on {each.failed_at:%Y-%m-%d}: "
                f"{each.failure.rstrip('.')}.",
                f"umami-ops backup verify {each.name}; if the backup is at fault, make another: {_MAKE}",
                each.name,
                {"failed_at": each.failed_at, "failure": each.failure},
            )
