"""The limits of the checks. The defaults stand here; `[health]` or the environment moves them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any


def _limit(default: Any, about: str) -> Any:
    return field(default=default, metadata={"about": about})


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """When a check speaks up. Every number is at least 0; the unit stands in the name."""

    budget_seconds: float = _limit(2.5, "no check begins later than this, and none runs longer")
    round_trip_seconds: float = _limit(0.1, "a question and its answer take this long")
    end_of_life_days: int = _limit(90, "the server's support ends within so many days")
    clock_seconds: float = _limit(5, "server and this machine differ by this much")
    connections_percent: float = _limit(80, "so much of the connection limit is in use")
    connections_critical_percent: float = _limit(95, "so much of it leaves no room")
    cache_hit_percent: float = _limit(90, "fewer reads than this are answered from memory")
    cache_reads: int = _limit(1_000_000, "so many reads must have been counted to judge the cache")
    transaction_seconds: float = _limit(900, "a transaction is open this long")
    transaction_critical_seconds: float = _limit(7_200, "a transaction is open far too long")
    idle_in_transaction_seconds: float = _limit(60, "a session waits this long inside a transaction")
    idle_in_transaction_critical_seconds: float = _limit(1_800, "it waits far too long")
    lock_wait_seconds: float = _limit(5, "a session waits this long for a lock")
    lock_wait_critical_seconds: float = _limit(60, "it waits far too long")
    held_wal_bytes: int = _limit(1_000_000_000, "a replication slot that nobody reads holds so much WAL")
    held_wal_critical_bytes: int = _limit(10_000_000_000, "it holds far too much")
    prepared_seconds: float = _limit(300, "a prepared transaction waits this long for its end")
    transaction_id_age: int = _limit(500_000_000, "so many transactions since the oldest freeze")
    transaction_id_critical_age: int = _limit(1_500_000_000, "at 2.1 billion the server refuses to write")
    history_length: int = _limit(1_000_000, "so many old versions of rows wait to be purged")
    free_disk_bytes: int = _limit(1_000_000_000, "less than this is free on the server's disk")
    growth_days: float = _limit(30, "growth is reckoned from so many days")
    disk_full_days: float = _limit(30, "the disk is full within so many days")
    disk_full_critical_days: float = _limit(7, "it is full within days")
    checkpoints: int = _limit(50, "so many checkpoints must have been counted to judge them")
    checkpoints_forced_percent: float = _limit(50, "so many of them came before their time")
    binary_log_bytes: int = _limit(20_000_000_000, "the binary log takes so much of the disk")
    partition_days: float = _limit(7, "the last partition ends within so many days")
    backup_days: float = _limit(8, "the newest backup is this old")
    backup_verified_days: float = _limit(35, "no backup was proven to restore for so long")
    unused_percent_of_sessions: float = _limit(20, "so much of a sample of sessions was never used")
    paced_rows: int = _limit(1_000_000, "a smaller table is vacuumed often enough")
    vacuum_days: float = _limit(30, "autovacuum comes to the table of events less often than this")
    dead_rows: int = _limit(50_000, "fewer dead rows than this never matter")
    dead_percent: float = _limit(20, "so much of a table's rows is dead")
    changed_rows: int = _limit(50_000, "fewer changed rows than this never matter")
    changed_percent: float = _limit(30, "so much of a table changed since its statistics were made")
    unused_bytes: int = _limit(100_000_000, "less unused space than this never matters")
    unused_percent: float = _limit(33, "so much of a table is unused")
    bloat_bytes: int = _limit(100_000_000, "less wasted space than this never matters")
    bloat_percent: float = _limit(33, "so much of an index is holes; a quarter is everyday life")
    retention_days: int = _limit(0, "events are to be kept so many days; 0 is for ever")
    retention_slack_days: int = _limit(2, "a prune may be so many days late")
    sample_rows: int = _limit(1_000, "so many rows are looked at to find orphans and duplicates")
    orphan_percent: float = _limit(5, "so much of a sample are orphans")
    silence_hours: float = _limit(24, "shorter silence than this is never reported")
    silence_factor: float = _limit(3, "silence is this many times the longest pause before")
    silence_forget_days: float = _limit(30, "a website silent for longer has been given up")

    def __post_init__(self) -> None:
        for item in fields(self):
            if math.isnan(getattr(self, item.name)):
                raise ValueError(f"{item.name} is no number")
            if getattr(self, item.name) < 0:
                raise ValueError(f"{item.name} is below 0")


def about(name: str) -> str:
    """Return what a threshold means. Raises KeyError for an unknown one."""
    return {item.name: str(item.metadata["about"]) for item in fields(Thresholds)}[name]


def default(name: str) -> float:
    """Return a threshold's default."""
    value: float = getattr(Thresholds(), name)
    return value
