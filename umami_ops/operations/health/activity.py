"""Checks of what other sessions do at this moment: long transactions, idle ones, waits for locks.

They look at no table of Umami's: one that is locked is when they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

from umami_ops.databases.base import Row
from umami_ops.operations.health.check import (
    Examination,
    Finding,
    Measure,
    Outcome,
    Severity,
    Unseen,
    check,
    graded,
    span,
)

_HIDDEN = "the role pg_read_all_stats, to see what {hidden} sessions of other users do"


@check(
    title="Long transactions",
    why="As long as one is open no row that was deleted since can be cleared away: tables grow and charts "
    "slow down.",
    rule="warning from `transaction_seconds`, critical from `transaction_critical_seconds`, for sessions "
    "that work; info for umami-ops' own, as far as the server names programs",
    cure="End the session that the finding names, having looked what it does.",
    thresholds=("transaction_seconds", "transaction_critical_seconds"),
    measures={"oldest_transaction_seconds": "Age of the oldest open transaction of another session."},
    needs_umami=False,
)
def long_transactions(examination: Examination) -> Iterator[Outcome]:
    """Look at the open transactions that are not idle."""
    limits = examination.limits
    rows = examination.rows("transactions")
    yield Measure("oldest_transaction_seconds", max((float(row["seconds"]) for row in rows), default=0.0))
    for row in rows:
        seconds = float(row["seconds"])
        severity = graded(seconds, limits.transaction_seconds, limits.transaction_critical_seconds)
        if severity and row["idle_seconds"] is None:
            is_ours = str(row["program"]).startswith("umami-ops")
            end = examination.cure("end_session", session=row["id"])
            yield Finding(
                Severity.INFO if is_ours else severity,
                f"{_session(row)} has a transaction open for {span(seconds)}.",
                "Let it come to its end: it is at work." if is_ours else end,
                row["id"],
                {"seconds": round(seconds, 1), "user": row["user"], "program": row["program"]},
            )
    yield from _hidden(examination)


@check(
    title="Idle in transaction",
    why="A session that began a transaction and went to sleep keeps its locks; Umami's migrations queue up "
    "behind it, "
    "and page views behind them.",
    rule="warning from `idle_in_transaction_seconds`, critical from `idle_in_transaction_critical_seconds`",
    cure="End the session, and set idle_in_transaction_session_timeout (PostgreSQL).",
    thresholds=("idle_in_transaction_seconds", "idle_in_transaction_critical_seconds"),
    needs_umami=False,
)
def idle_in_transaction(examination: Examination) -> Iterator[Outcome]:
    """Look at the open transactions whose session waits for its client."""
    limits = examination.limits
    for row in examination.rows("transactions"):
        if row["idle_seconds"] is None:
            continue
        seconds = float(row["idle_seconds"])
        severity = graded(
            seconds, limits.idle_in_transaction_seconds, limits.idle_in_transaction_critical_seconds
        )
        if severity:
            yield Finding(
                severity,
                f"{_session(row)} sleeps inside a transaction for {span(seconds)}.",
                examination.cure("end_session", session=row["id"]),
                row["id"],
                {
                    "idle_seconds": round(seconds, 1),
                    "transaction_seconds": round(float(row["seconds"]), 1),
                    "user": row["user"],
                    "program": row["program"],
                },
            )
    yield from _hidden(examination)


@check(
    title="Waits for locks",
    why="What waits here is most often Umami itself, and each waiting page view holds one of its "
    "connections.",
    rule="warning from `lock_wait_seconds`, critical from `lock_wait_critical_seconds`",
    cure="Look at the session in the way, and end it if it is not to be waited for.",
    thresholds=("lock_wait_seconds", "lock_wait_critical_seconds"),
    measures={"sessions_waiting": "Sessions that wait for a lock."},
    needs_umami=False,
)
def lock_waits(examination: Examination) -> Iterator[Outcome]:
    """Look at the sessions that wait for a lock."""
    limits = examination.limits
    rows = examination.rows("lock_waits")
    yield Measure("sessions_waiting", len(rows))
    for row in rows:
        seconds = float(row["seconds"])
        severity = graded(seconds, limits.lock_wait_seconds, limits.lock_wait_critical_seconds)
        if severity:
            of = f" of {row['table']}" if row["table"] else ""
            behind = f", behind session {row['blocker']}" if row["blocker"] else ""
            yield Finding(
                severity,
                f"Session {row['id']} waits for a lock{of} for {span(seconds)}{behind}.",
                examination.cure("end_session", session=row["blocker"]) if row["blocker"] else "",
                row["id"],
                {"seconds": round(seconds, 1), "table": row["table"], "blocker": row["blocker"]},
            )


def _session(row: Row) -> str:
    program = f", {row['program']}" if row["program"] else ""
    return f"Session {row['id']} ({row['user']}{program})"


def _hidden(examination: Examination) -> Iterator[Unseen]:
    row = examination.row("hidden_sessions")
    if row and row["hidden"]:
        yield Unseen(_HIDDEN.format(hidden=row["hidden"]))
