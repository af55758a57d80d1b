"""The daemon itself: its threads, its signals, and the loop that they end in."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from umami_ops.daemon.agenda import Agenda, Due
from umami_ops.daemon.configuration import Configuration
from umami_ops.daemon.dispatcher import Dispatcher
from umami_ops.daemon.guard import Deposed, Guard, Role
from umami_ops.daemon.history import History
from umami_ops.daemon.jobs import Job
from umami_ops.daemon.log import Log
from umami_ops.daemon.notify import Messenger
from umami_ops.daemon.observer import Observer
from umami_ops.daemon.reaper import Reaper
from umami_ops.daemon.records import Cause, Result
from umami_ops.daemon.runner import Program
from umami_ops.daemon.status import Status, snapshot
from umami_ops.daemon.wake import Wake
from umami_ops.daemon.web import Pages
from umami_ops.daemon.work import Work, host
from umami_ops.databases.base import Database
from umami_ops.errors import LockHeld, OpsError
from umami_ops.redaction import Redaction

#: The loop looks at least this often, so that a clock that was moved, or a night's sleep, is noticed.
_LONGEST_WAIT_SECONDS = 20.0
#: A job that could not begin, the lock being held or the database gone, is tried again after so long.
_RETRY_SECONDS = 5.0
#: A step is killed after 7.5 s; to let go of the locks takes as long as others may need to look at them.
_END_SECONDS, _LETTING_GO_SECONDS = 8.5, 1.3


@dataclass(frozen=True)
class Loaded:
    """A configuration, how steps are called under it, and the database that it is about."""

    configuration: Configuration
    program: Program
    open_database: Callable[[], Database]


class Daemon:
    """Runs until it is told to end. `load` reads the configuration anew and raises what is wrong with it."""

    def __init__(
        self,
        loaded: Loaded,
        load: Callable[[], Loaded],
        log: Log,
        *,
        http: tuple[str, int] | None = None,
    ) -> None:
        self._loaded = loaded
        self._load = load
        self._log = log
        self._wake = Wake()
        self._reaper = Reaper()
        self._history = History(loaded.configuration.state_folder)
        self._messenger = Messenger(self._history, log, lambda: self._configuration.channels, host())
        self._work = Work(self._history, log, self._open_database, lambda: self._messenger)
        self._guard = Guard(self._open_database, self._role_changed)
        self._observer = Observer(
            self._history,
            log,
            lambda: self._loaded.program,
            lambda: self._guard.role,
            lambda: float(self._configuration["daemon.examine"]),
        )
        now = datetime.now(UTC)
        self._dispatcher = Dispatcher(Agenda(loaded.configuration.jobs, self._history, now))
        self._worker: threading.Thread | None = None
        self._retry_at = time.monotonic()
        self._has_told_lock = False
        self._fault_told = self._put_aside_told = ""
        self._lost_told = 0
        self._is_stopping = False
        self._is_reloading = False
        self._started_at = self._ticked_at = now
        self._away: OpsError | None = None
        self._pages: Pages | None = None
        if http is not None:
            token = loaded.configuration["daemon.http_token"] or ""
            self._pages = Pages(http, token, self._snapshot)
        log.redact = Redaction(loaded.configuration.secrets)

    @property
    def _configuration(self) -> Configuration:
        return self._loaded.configuration

    def _open_database(self) -> Database:
        return self._loaded.open_database()

    def serve(self) -> None:
        """Run jobs until SIGTERM or SIGINT."""
        with self._signals():
            self._tell_start()
            self._history.abandon(datetime.now(UTC))
            for job in reversed(self._configuration.jobs):
                self._run_again(job)
            self._guard.start()
            self._messenger.start()
            self._observer.start()
            if self._pages is not None:
                self._pages.start()
            try:
                while not self._is_stopping:
                    self._turn()
            finally:
                self._end()

    # --- the loop
    # --------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Do what is to be done now, then wait until something is due or happens."""
        if self._is_reloading:
            self._is_reloading = False
            self._reload()
        now = self._ticked_at = datetime.now(UTC)
        role = self._guard.role  # before what was seen, which is then all that was seen before it led
        self._guard.publish(self._dispatcher.done())
        self._dispatcher.pass_over(self._guard.seen)
        self._guard.look_for(self._dispatcher.open_slots(now, role))
        for due in self._dispatcher.tick(now, role):
            name = due.job.name
            self._log.warning("left_out", f"{name}: left out, the run before is still going", job=name)
        if time.monotonic() >= self._retry_at and role is Role.LEADER:
            due_now = self._dispatcher.take()
            if due_now is not None:
                self._begin(due_now)
        self._reaper.reap(now)
        self._tell_history_fault()
        self._wake.wait(self._wait_seconds())

    def _wait_seconds(self) -> float:
        """Return how long nothing is due."""
        now = datetime.now(UTC)
        at = self._dispatcher.next_wake()
        seconds = _LONGEST_WAIT_SECONDS if at is None else (at - now).total_seconds()
        if self._guard.role is Role.STANDBY:
            # What is due stays so until the other daemon is seen to have run it.
            seconds = max(seconds, 1.0)
        elif self._guard.role is Role.AWAY:
            seconds = 1.0
        if (left := self._retry_at - time.monotonic()) > 0:
            seconds = left
        return min(max(seconds, 0.01), _LONGEST_WAIT_SECONDS)

    def _begin(self, due: Due) -> None:
        self._worker = threading.Thread(target=self._carry_out, args=(due,), name=due.job.name, daemon=True)
        self._worker.start()

    def _carry_out(self, due: Due) -> None:
        """Run a job, in a thread of its own; what can't begin now is tried again."""
        cause = Cause.CATCH_UP if due.is_catch_up else Cause.SCHEDULE
        leader = self._guard.session
        try:
            run = self._work.run(
                due.job,
                self._loaded.program,
                cause=cause,
                slot=due.slot,
                missed=due.missed,
                leader=leader,
                begun=lambda: self._dispatcher.begun(due),
            )
            self._has_told_lock = False
            if run.result is Result.INTERRUPTED:
                self._dispatcher.again(due)  # before it is finished, or it would seem to be done with
        except OpsError as fault:
            if not self._has_told_lock or not isinstance(fault, LockHeld):
                self._log.warning("waits", f"{due.job.name}: has to wait: {fault.message}", job=due.job.name)
            self._has_told_lock = isinstance(fault, LockHeld)
            if isinstance(fault, Deposed):
                self._guard.step_down(leader)
            self._dispatcher.again(due)
            self._dispatcher.finished()
            self._retry_at = time.monotonic() + _RETRY_SECONDS
        except Exception as fault:  # noqa: BLE001 -- a bug in one run must not end the schedule
            self._log.error(
                "bug", f"{due.job.name}: {type(fault).__name__} in umami-ops daemon", job=due.job.name
            )
            self._dispatcher.finished()
        else:
            self._dispatcher.finished()
        self._wake.up()

    def _run_again(self, job: Job) -> None:
        """Run a job once more whose last run was interrupted; only once, since it may be what ends the
        daemon.
        """
        runs = self._history.runs(job=job.name, limit=2)
        if not runs or runs[0].result is not Result.INTERRUPTED or runs[0].cause is Cause.HAND:
            return
        last, before = runs[0], runs[1:]
        if job.schedule is None:
            return
        if before and before[0].result is Result.INTERRUPTED and before[0].slot == last.slot:
            self._log.error(
                "given_up", f"{job.name}: was interrupted twice, waits for its next time", job=job.name
            )
            self._work.give_up(last)
            return
        self._dispatcher.again(Due(job, last.slot or last.started_at, is_catch_up=True))

    # --- what happens
    # ----------------------------------------------------------------------------------------

    def _role_changed(self, role: Role, fault: OpsError | None) -> None:
        self._away = fault
        match role:
            case Role.LEADER:
                self._log.info("leader", "The database is there, and this daemon runs its jobs.")
                self._observer.look()
            case Role.STANDBY:
                self._log.info("standby", "Another daemon runs this database's jobs; this one stands by.")
                self._observer.look()
            case Role.AWAY:
                why = f": {fault.message}" if fault else ""
                self._log.warning("away", f"The database is away, jobs wait until it is back{why}")
        self._wake.up()

    def _reload(self) -> None:
        try:
            loaded = self._load()
        except OpsError as fault:
            hint = f" {fault.hint}" if fault.hint else ""
            self._log.error(
                "not_reloaded", f"The old configuration stays, the new one is wrong. {fault.message}{hint}"
            )
            return
        if loaded.configuration.state_folder != self._configuration.state_folder:
            self._log.warning("not_reloaded", "The state folder changes only with a restart.")
        self._loaded = loaded
        self._log.redact = Redaction(loaded.configuration.secrets)
        if self._pages is not None:
            self._pages.token = loaded.configuration["daemon.http_token"] or ""
        self._dispatcher.replace(loaded.configuration.jobs, datetime.now(UTC))
        self._guard.look_where()
        self._log.info("reloaded", f"The configuration was read anew: {self._jobs_in_words()}")

    def _jobs_in_words(self) -> str:
        scheduled = [
            f"{job.name} ({job.schedule.text})"
            for job in self._configuration.jobs
            if job.schedule is not None
        ]
        return ", ".join(scheduled) or "no job is scheduled"

    def _tell_start(self) -> None:
        zone = self._configuration["daemon.timezone"]
        self._log.info("started", f"umami-ops daemon began: {self._jobs_in_words()}, in {zone.key}")
        for note in self._configuration.notes:
            self._log.info("note", note)
        if self._pages is not None:
            self._log.info("http", f"The status page is at {self._pages.url}")

    def _tell_history_fault(self) -> None:
        fault, aside = self._history.fault, self._history.put_aside
        if aside != self._put_aside_told:
            self._put_aside_told = aside
            self._log.error("history", f"The history was damaged and begins anew; {aside} is what it was.")
        if fault and not self._fault_told:
            self._log.error("history", f"The history can't be written and is kept in memory: {fault}")
        elif self._fault_told and not fault:
            lost = self._history.lost - self._lost_told
            whole = "nothing of it was lost" if not lost else f"{lost:,} of its changes were lost"
            self._log.info("history", f"The history can be written again, and {whole}.")
            self._lost_told += lost
        self._fault_told = fault

    def _snapshot(self) -> dict[str, Any]:
        return snapshot(
            Status(
                configuration=self._configuration,
                dispatcher=self._dispatcher,
                history=self._history,
                role=self._guard.role,
                role_since=self._guard.since,
                away=self._away,
                started_at=self._started_at,
                ticked_at=self._ticked_at,
            ),
            datetime.now(UTC),
        )

    # --- signals, children, the end
    # --------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self) -> Any:
        handlers = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._hang_up}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        # A child that ended wakes the loop, too: it may be one that somebody else left behind.
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        old = signal.set_wakeup_fd(self._wake.writing_end, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(old)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._is_stopping = True

    def _hang_up(self, _number: int, _frame: FrameType | None) -> None:
        self._is_reloading = True

    def _end(self) -> None:
        """End what runs, in ten seconds at most."""
        self._log.info("stopping", "umami-ops daemon ends; a running step finishes its batch")
        # Side by side, since ten seconds are for all of them together.
        others = [self._observer.stop, self._messenger.stop]
        others += [self._pages.stop] if self._pages is not None else []
        ending = [threading.Thread(target=stop, daemon=True) for stop in (self._work.runner.stop, *others)]
        for thread in ending:
            thread.start()
        ends = time.monotonic() + _END_SECONDS
        for thread in (*ending, *([self._worker] if self._worker is not None else [])):
            thread.join(timeout=max(ends - time.monotonic(), 0))
        # The locks go last: another daemon begins once it has them, and is to know what this one did.
        self._guard.publish(self._dispatcher.done())
        self._guard.stop(max(ends + _LETTING_GO_SECONDS - time.monotonic(), 0))
        self._history.close()
        if lost := self._history.lost - self._lost_told:
            self._log.error(
                "history", f"{lost:,} changes of the history were lost: {self._history.fault or 'see above'}"
            )
        self._wake.close()
        self._log.info("stopped", "umami-ops daemon has ended")
