"""What a job is: a name, a schedule, and command lines as a person would type them. Data alone."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from umami_ops.daemon.schedule import Schedule
from umami_ops.redaction import redact_urls


@dataclass(frozen=True)
class Step:
    """One command line. `text` is what was written, without passwords; `arguments` what the process is given.

    `keeps_days` is the horizon of a prune, for the chart. `continues` says that a run which is ended early is
    no failure, since the next one goes on from there.
    """

    text: str
    arguments: tuple[str, ...]
    keeps_days: float | None = None
    continues: bool = False

    @property
    def command(self) -> str:
        """The command's name."""
        return self.arguments[0]

    @classmethod
    def written(cls, text: str) -> Step:
        """Take a command line apart as a shell would. Raises ValueError for a quote that isn't closed."""
        words = shlex.split(text)
        if words and words[0] == "umami-ops":
            words = words[1:]
        return cls(redact_urls(text), tuple(words))


@dataclass(frozen=True)
class Job:
    """Steps that run in order, up to the first that fails. `schedule` is None for a job that only `run`
    starts.

    `jitter_seconds` is the most that a run is put off. `source` says where the job was found.
    """

    name: str
    schedule: Schedule | None
    steps: tuple[Step, ...]
    jitter_seconds: float = 0.0
    source: str = ""
