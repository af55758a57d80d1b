"""Compares two databases: every row's checksum by both servers, and the sums that dashboards are made of."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from umami_ops.databases.base import Connection, Database
from umami_ops.errors import Refused
from umami_ops.operations.inspect import inspect, require_session
from umami_ops.operations.sides import pairs_of, require_two
from umami_ops.plan import TableVerdict
from umami_ops.transfer import ledger
from umami_ops.transfer.comparison import Comparison, sums_that_differ
from umami_ops.transfer.snapshot import Snapshot


@dataclass(frozen=True)
class Verification:
    """What both servers said of what both have.

    `lacking_tables` and `lacking_columns` (TABLE.COLUMN) are the source's that the target doesn't have.

    `is_half_moved` says that a move to the target has begun and not ended: Prisma's records are to come.
    """

    source: str
    target: str
    verdicts: tuple[TableVerdict, ...]
    lacking_tables: tuple[str, ...]
    lacking_columns: tuple[str, ...]
    sums_differ: tuple[str, ...]
    is_half_moved: bool
    seconds: float

    @property
    def is_equal(self) -> bool:
        """Whether the target holds just what the source holds."""
        return not self.lacks_anything and self.is_equal_in_both

    @property
    def is_equal_in_both(self) -> bool:
        """Whether the tables and columns that both have hold the same."""
        return not self.sums_differ and all(item.is_equal for item in self.verdicts)

    @property
    def lacks_anything(self) -> bool:
        """Whether the source has a table or column that the target has not."""
        return bool(self.lacking_tables or self.lacking_columns)

    def to_dict(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {
            "operation": "verify",
            "source": self.source,
            "target": self.target,
            "equal": self.is_equal,
            "seconds": round(self.seconds, 3),
            "tables": [verdict_to_dict(item) for item in self.verdicts],
            "lacking_tables": list(self.lacking_tables),
            "lacking_columns": list(self.lacking_columns),
            "sums_differ": list(self.sums_differ),
            "half_moved": self.is_half_moved,
        }


def verdict_to_dict(item: TableVerdict) -> dict[str, Any]:
    """Return a verdict for `--json`; checksums as text, since they pass what JSON's numbers hold."""
    return {
        "table": item.table,
        "equal": item.is_equal,
        "source_rows": item.source_rows,
        "target_rows": item.target_rows,
        "source_checksum": f"{item.source_checksum:x}",
        "target_checksum": f"{item.target_checksum:x}",
        "differing_ranges": [[keys.since, keys.until] for keys in item.differing],
        "missing": list(item.missing),
        "extra": list(item.extra),
        "changed": list(item.changed),
    }


def verify(
    source: Database,
    target: Database,
    *,
    jobs: int = 2,
    ended: Callable[[], bool] = lambda: False,
    noted: Callable[[str, int], None] = lambda _table, _rows: None,
) -> Verification:
    """Compare two databases as they are now, each in one consistent snapshot; neither is written to.

    `noted` hears of each range that was compared. Raises Refused when either isn't Umami's,
    or both are one.
    """
    began = time.monotonic()
    with source.connect("umami-ops verify") as here, target.connect("umami-ops verify") as there:
        for connection in (here, there):
            require_session(connection.server())
        require_two(here, there)
        for connection in (here, there):
            _require_umami(connection)
        pairs, tables, columns = pairs_of(here, there)
        is_half_moved = ledger.is_under_way(there)
        titles = [connection.server().title for connection in (here, there)]
    with (
        Snapshot(source, [pair.source.table for pair in pairs], jobs, "verify") as own,
        Snapshot(target, [pair.target.table for pair in pairs], jobs, "verify") as other,
    ):
        sessions = list(zip(own.connections, other.connections, strict=False))
        comparison = Comparison(sessions, ended=ended, noted=noted)
        found = comparison.compare(pairs)
        verdicts = tuple(comparison.verdict(item) for item in found)
        sums = sums_that_differ(sessions, pairs) if all(item.is_equal for item in verdicts) else []
    seconds = time.monotonic() - began
    return Verification(
        titles[0],
        titles[1],
        verdicts,
        lacking_tables=tuple(tables),
        lacking_columns=tuple(columns),
        sums_differ=tuple(sums),
        is_half_moved=is_half_moved,
        seconds=seconds,
    )


def _require_umami(connection: Connection) -> None:
    installation = inspect(connection)
    if not installation.is_umami:
        raise Refused(
            "\n       ".join(problem.sentence for problem in installation.blocking)
            or "This is no database of Umami's.",
            hint="Check DATABASE_URL and --target-url.",
        )
