"""What is wrong with a database, how bad it is, and what mends it. Reads only, and for seconds at most.

A check is a function in the module of its theme, put into `CHECKS` here. Each runs in a read-only transaction
of its own with a limit of time, so that one that fails, or may not look, leaves the others alone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from umami_ops.databases.base import Connection, Introspector, Server
from umami_ops.errors import (
    ConnectionFault,
    ConnectionLost,
    DatabaseFault,
    OpsError,
    PermissionFault,
    TransientFault,
)
from umami_ops.operations.health import (
    activity,
    backups,
    configuration,
    ingest,
    migrations,
    retention,
    schema,
    server,
    storage,
)
from umami_ops.operations.health.check import (
    Backups,
    Check,
    Examination,
    Finding,
    Measure,
    Severity,
    Unseen,
)
from umami_ops.operations.inspect import Installation, inspect
from umami_ops.operations.thresholds import Thresholds

__all__ = [
    "CHECKS",
    "Check",
    "Finding",
    "Health",
    "Measure",
    "Severity",
    "Thresholds",
    "Unseen",
    "Verdict",
    "examine",
]

#: Every check, in the order in which they are made.
CHECKS: tuple[Check, ...] = (
    server.connection,
    server.server_version,
    server.clock,
    migrations.umami,
    migrations.migrations,
    migrations.access,
    server.connections,
    activity.lock_waits,
    activity.long_transactions,
    activity.idle_in_transaction,
    server.disk,
    server.growth,
    storage.replication_slots,
    storage.prepared_transactions,
    storage.transaction_ids,
    schema.indexes,
    schema.invalid_indexes,
    schema.superfluous_indexes,
    schema.column_types,
    schema.views,
    schema.triggers,
    schema.character_sets,
    storage.sizes,
    storage.autovacuum,
    storage.autovacuum_pace,
    storage.dead_rows,
    storage.statistics,
    storage.unused_space,
    storage.bloated_indexes,
    storage.purge_lag,
    storage.sql_mode,
    storage.binary_log,
    configuration.binary_log_size,
    configuration.checkpoints,
    configuration.time_zone,
    configuration.collation_version,
    server.cache,
    storage.partitions,
    ingest.silent_websites,
    retention.retention,
    retention.undated_events,
    retention.orphans,
    retention.unused_sessions,
    retention.duplicate_session_data,
    backups.backups,
)

#: So long a single check may take at most.
_CHECK_SECONDS = 1.0
#: A check that begins just before the end still gets this much.
_LEAST_SECONDS = 0.1

#: How the three servers say that a statement ran into its limit.
_OUT_OF_TIME = re.compile("statement timeout|statement execution time exceeded|max_statement_time exceeded")

_LOCKED = Finding(
    Severity.CRITICAL,
    "Another session has locked one of Umami's tables for itself (ALTER TABLE, VACUUM FULL …).",
    "Wait until it is done, or see who it is: umami-ops health --only lock_waits",
    evidence={"locked": True},
)


@dataclass(frozen=True)
class Verdict:
    """What one check found; `unseen` is what it could not look at, and why."""

    check: Check
    findings: tuple[Finding, ...] = ()
    measures: tuple[Measure, ...] = ()
    unseen: tuple[Unseen, ...] = ()

    @property
    def severity(self) -> Severity:
        """The severity of the worst finding."""
        return max((finding.severity for finding in self.findings), default=Severity.OK)

    @property
    def has_looked(self) -> bool:
        """Whether anything was seen at all."""
        return not self.unseen or bool(self.findings or self.measures)


@dataclass(frozen=True)
class Health:
    """All verdicts on one database; `server` is None when it could not be reached."""

    examined_at: datetime
    seconds: float
    server: Server | None
    release: str
    level: int | None
    verdicts: tuple[Verdict, ...]

    @property
    def severity(self) -> Severity:
        """The severity of the worst finding of all."""
        return max((verdict.severity for verdict in self.verdicts), default=Severity.OK)

    def worst_first(self) -> list[tuple[Check, Finding]]:
        """Return all findings with their checks, the worst first, else in the order of the checks."""
        pairs = [(verdict.check, finding) for verdict in self.verdicts for finding in verdict.findings]
        return sorted(pairs, key=lambda pair: -pair[1].severity)


def examine(
    connect: Callable[[], Connection],
    thresholds: Thresholds,
    checks: Sequence[Check] = CHECKS,
    *,
    now: datetime | None = None,
    store: Backups | None = None,
) -> Health:
    """Make the checks in one read-only session, for `thresholds.budget_seconds` or little more.

    `store` looks into the place of the backups. That there is no connection is a finding, too. Raises
    UsageFault for a URL that can't be used.
    """
    now = now or datetime.now(UTC)
    began = time.monotonic()
    try:
        connection = connect()
    except ConnectionFault as fault:
        finding = Finding(Severity.CRITICAL, fault.message, fault.hint or "", evidence={"connected": False})
        verdicts = tuple(_unreached(check, finding) for check in checks)
        return Health(now, time.monotonic() - began, None, "unknown", None, verdicts)
    with connection:
        run = _Run(connection, thresholds, now, began, store)
        installation = run.inspected()
        verdicts = tuple(run.verdict(check) for check in checks)
        seconds = time.monotonic() - began
        level = installation.level if installation else None
        release = installation.release if installation else "unknown"
        return Health(now, seconds, run.server, release, level, verdicts)


def _unreached(check: Check, finding: Finding) -> Verdict:
    if check is server.connection:
        return Verdict(check, findings=(finding,))
    return Verdict(check, unseen=(Unseen("a connection"),))


class _Run:
    """One session and its time."""

    def __init__(
        self,
        connection: Connection,
        thresholds: Thresholds,
        now: datetime,
        began: float,
        store: Backups | None,
    ) -> None:
        self._store = store
        self._connection = connection
        self._limits = thresholds
        self._now = now
        self._ends = began + thresholds.budget_seconds
        self._installation: Installation | None = None
        self._obstacle: Finding | None = None
        self.server: Server | None = None

    def inspected(self) -> Installation | None:
        """Find out what the database is; what keeps it from that is told by the check `umami`."""
        try:
            # Asked outside, since inside every server is read only.
            self.server = self._connection.server()
            with self._bounded():
                # What inspect would do about a locked table needs another transaction than this one.
                Introspector(self._connection).relations()
            with self._bounded():
                self._installation = inspect(self._connection)
        except TransientFault:
            self._obstacle = _LOCKED
        except OpsError as fault:
            self._obstacle = Finding(Severity.CRITICAL, fault.message, fault.hint or "")
        return self._installation

    def verdict(self, check: Check) -> Verdict:
        """Make one check; whatever the server refuses becomes what it could not look at."""
        if check is migrations.umami and self._obstacle is not None:
            return Verdict(check, findings=(self._obstacle,))
        if self._is_out_of_reach(check):
            return Verdict(check, unseen=(Unseen("Umami's tables, and a look at them"),))
        if time.monotonic() >= self._ends:
            return Verdict(
                check, unseen=(Unseen(f"more time than {self._limits.budget_seconds:g} s in all"),)
            )
        findings, measures, unseen = list[Finding](), list[Measure](), list[Unseen]()
        ends = min(self._ends, time.monotonic() + _CHECK_SECONDS)
        examination = Examination(
            self._connection, self._installation, self._limits, self._now, ends, self._store
        )
        try:
            with self._bounded():
                for outcome in check.look(examination):
                    match outcome:
                        case Finding():
                            findings.append(outcome)
                        case Measure():
                            measures.append(outcome)
                        case Unseen():
                            unseen.append(outcome)
        except DatabaseFault as fault:
            unseen.append(Unseen(_needs(fault)))
        return Verdict(check, tuple(findings), tuple(measures), tuple(unseen))

    def _is_out_of_reach(self, check: Check) -> bool:
        asks_inspect = check.needs_umami or check in (migrations.umami, migrations.access)
        if self._installation is None:
            return asks_inspect
        return check.needs_umami and not self._installation.is_umami

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        seconds = min(_CHECK_SECONDS, max(self._ends - time.monotonic(), _LEAST_SECONDS))
        limit = self._connection.dialect.queries["health.limit"]
        with self._connection.transaction(read_only=True):
            self._connection.run(limit, milliseconds=round(1000 * seconds))
            yield


def _needs(fault: DatabaseFault) -> str:
    """Say what a check would need that the server refused to answer."""
    if isinstance(fault, ConnectionLost):
        return f"a connection that lasts ({fault.message})"
    if isinstance(fault, TransientFault):
        return f"a table that nobody has locked ({fault.message})"
    if _OUT_OF_TIME.search(fault.message):
        return "more time than a second"
    if isinstance(fault, PermissionFault):
        return f"a right ({fault.message.partition(': ')[2]})"
    return f"another answer of the server ({fault.message})"
