"""What a progress line is told by a run that works by rows, whichever the command."""

from __future__ import annotations

from umami_ops.cli import render
from umami_ops.execute import BatchDone, Event, StepBegan, Trouble


class RowsWatcher:
    """Feeds a progress line with what the executor tells: rows, and the step at work.

    Where a step deletes, website_event's rows count; where it copies, what was looked at does.
    """

    def __init__(self, progress: render.Progress) -> None:
        self._progress = progress
        self._title = ""
        self._rows = 0

    def __call__(self, event: Event) -> None:
        """Take one event in and show what it comes to."""
        match event:
            case StepBegan():
                self._title = event.title
            case BatchDone():
                self._rows += event.deleted.get("website_event", 0) if event.deleted else event.picked
            case Trouble():
                render.say(f"  {event.text}")
        self._progress.at(self._rows, self._title)
