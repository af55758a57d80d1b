"""The one place that changes a database: carries out a plan, step by step.

It knows plans and connections, and nothing of what a step means. A batch is one transaction, so that an
end at any moment, kill -9 included, leaves nothing half done; a rerun of the same plan goes on. What works
on steps is loaded with the first plan: others want the lock alone.
"""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from umami_ops.databases.base import Database
from umami_ops.errors import Interrupted, OpsError, Refused
from umami_ops.execute.events import (
    Advanced,
    BatchDone,
    Event,
    Observer,
    RowsMoved,
    StepBegan,
    StepDone,
    Trouble,
)
from umami_ops.execute.lock import RunLock, require_free
from umami_ops.execute.patience import Ended, Patience
from umami_ops.execute.sessions import Sessions
from umami_ops.execute.stop import StopSignal

if TYPE_CHECKING:
    from umami_ops.execute.batches import Keeper
    from umami_ops.plan import Plan, Remaining, Report, Statements

__all__ = [
    "Advanced", "BatchDone", "Event", "Observer", "RowsMoved", "RunLock", "StepBegan", "StepDone",
    "StopSignal", "Trouble", "execute", "require_free",
]  # fmt: skip


def execute(
    plan: Plan,
    database: Database,
    *,
    lock: RunLock,
    stop: StopSignal | None = None,
    observer: Observer = lambda _event: None,
    source: Database | None = None,
    jobs: int = 2,
    batch_rows: int | None = None,
    pause_seconds: float = 0.0,
    keeper: Keeper | None = None,
) -> Report:
    """Carry a plan out and report what was done.

    `source` is the other database of a Move. `batch_rows` caps the keys of one transaction, which otherwise
    adapts to about 250 ms; `jobs` is the number of sessions that work on disjoint slices. `keeper` writes
    down what batches that are to be kept delete, before it is gone. Ends early, with `Report.stopped` set,
    when `stop` asks for it. An error carries in `done` what had been committed by then.

    Locks taken: row locks of one batch at a time; on PostgreSQL also Prisma's advisory lock, shared, for
    the length of a transaction, so that a migration waits for the batch and the run then ends. A Maintenance
    says itself what it locks.
    """
    from umami_ops.execute.batches import NOBODY, Crew
    from umami_ops.execute.change import Changer
    from umami_ops.execute.maintenance import Maintainer
    from umami_ops.execute.rebuild import Rebuilder
    from umami_ops.plan import Batches, Change, Maintenance, Move, Rebuild, Report, Statements

    report = Report(operation=plan.operation, started_at=datetime.now(UTC))
    stop = stop or StopSignal()
    began = time.monotonic()
    pace = (batch_rows, pause_seconds)
    try:
        with Sessions(database, f"umami-ops {plan.operation}") as sessions:
            for step in plan.steps:
                if stop.reason:
                    break
                observer(StepBegan(step.title))
                match step:
                    case Batches():
                        Crew(step, sessions, lock, stop, observer, report, *pace, keeper or NOBODY).work(jobs)
                    case Rebuild():
                        Rebuilder(step, database, sessions, lock, stop, observer, report, *pace).run(jobs)
                    case Maintenance():
                        Maintainer(step, database, lock, stop, observer, report).run()
                    case Change():
                        Changer(step, database, sessions, lock, stop, observer, report).run()
                    case Move():
                        from umami_ops.execute.move import Mover  # with all that compares two databases

                        assert source is not None, "a move comes from somewhere"
                        Mover(step, source, database, lock, stop, observer, report, jobs).run()
                    case Statements():
                        _run_statements(step, Patience(database, lock, stop, observer, plan.operation))
            if plan.remaining is not None and not stop.reason:
                report.remaining = _ask(plan.remaining, sessions)
    except OpsError as fault:
        fault.done = fault.done or _so_far(report)
        if fault.exit_code == Refused.exit_code and _has_changed(report):
            fault.exit_code = OpsError.exit_code  # a refusal promises that nothing was changed
        raise
    except KeyboardInterrupt:
        raise Interrupted("Interrupted in the middle of a batch.", done=_so_far(report)) from None
    finally:
        report.seconds = time.monotonic() - began
        report.stopped = stop.reason
    return report


def _run_statements(step: Statements, patience: Patience) -> None:
    with suppress(Ended), patience.connect() as connection:
        for statement in step.statements:
            patience.run_briefly(connection, statement, step.values)


def _ask(remaining: Remaining, sessions: Sessions) -> int:
    connection = sessions.take()
    try:
        return int(connection.value(remaining.query, **remaining.values))
    finally:
        connection.close()


def _has_changed(report: Report) -> bool:
    return bool(any(report.deleted.values()) or report.maintained or report.changed or report.moved)


def _so_far(report: Report) -> str:
    if report.maintained:
        return f"Done before that: {', '.join(done.title for done in report.maintained)}."
    if report.moved:
        arrived, gone = sum(report.moved.values()), sum(report.deleted.values())
        deleted = f" Deleted: {gone:,}, which the source doesn't have." if gone else ""
        return f"Arrived before that: {arrived:,} rows.{deleted} Running it again continues."
    if report.changed:
        return f"Done before that: {', '.join(done.title for done in report.changed)}. Run it again to go on."
    if not report.transactions:
        return "Nothing was changed."
    rows = ", ".join(f"{count:,} of {table}" for table, count in report.deleted.items() if count)
    return f"Committed before that: {rows or 'nothing'} deleted. Running it again continues."
