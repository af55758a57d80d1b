"""`umami-ops run JOB`: a job now."""

from __future__ import annotations

import queue
import signal
import threading
from typing import TYPE_CHECKING

import click

from umami_ops.cli import options

if TYPE_CHECKING:
    from umami_ops.daemon.records import Run

_FAILED, _STOPPED = 1, 3
_DELIVERY_SECONDS = 35.0


@click.command()
@click.argument("name", metavar="JOB")
@options.url
@options.json_output
def run(name: str, as_json: bool) -> None:
    """Run a job now, as the daemon would.

    Its steps run in order up to the first that fails; the run is in the history, and those are told who are
    told of the daemon's. It ends with 4 while a job runs on this database already.
    """
    from umami_ops.cli import sidecar

    places = options.places_from_options()
    configuration = sidecar.read_configuration(places)
    job = configuration.job(name)
    accepted = sidecar.Accepted(places)
    open_database = sidecar.database_opener(accepted)
    from umami_ops.daemon.history import History
    from umami_ops.daemon.log import Log
    from umami_ops.daemon.notify import Messenger
    from umami_ops.daemon.records import Cause
    from umami_ops.daemon.work import Work, host
    from umami_ops.redaction import Redaction

    log = Log(as_json=False)
    log.redact = Redaction(configuration.secrets)
    history = History(configuration.state_folder)
    messenger = Messenger(history, log, lambda: configuration.channels, host())
    work = Work(history, log, open_database, lambda: messenger)

    # To end a step takes locks and time: no work for a handler, which may have come in the middle of both.
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def end() -> None:
        signals.get()
        work.runner.stop()

    threading.Thread(target=end, daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` has it
            signal.signal(number, lambda number, _frame: signals.put(number))
    program = sidecar.program(accepted)
    messenger.start()
    try:
        done = work.run(job, program, cause=Cause.HAND)
        messenger.flush(_DELIVERY_SECONDS)
    finally:
        messenger.stop()
        history.close()
    _show(done, as_json=as_json)


def _show(done: Run, *, as_json: bool) -> None:
    from umami_ops.cli import render
    from umami_ops.daemon.records import Result
    from umami_ops.daemon.work import report

    if as_json:
        render.print_json(report(done))
    else:
        rows = [
            (
                step.command,
                "done" if step.exit_code == 0 else f"exit code {step.exit_code}",
                render.duration(step.seconds),
                "" if step.rows is None else render.count(step.rows),
                "" if step.size_bytes is None else render.signed_size(step.size_bytes),
            )
            for step in done.steps
        ]
        head = [render.text("Step"), render.text("Result"), render.number("Time"), render.number("Rows")]
        render.print_table([*head, render.number("Space")], rows, title=done.job)
        if done.reason:
            render.print_line()
            render.print_remark("✗", done.reason, done.hint, style="bold red")
    codes = {Result.FAILURE: _FAILED, Result.UNFINISHED: _STOPPED, Result.INTERRUPTED: _STOPPED}
    raise SystemExit(codes.get(done.result, 0))
