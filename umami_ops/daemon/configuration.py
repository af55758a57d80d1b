"""The daemon's settings and jobs: each by its key in umami-ops.toml and its variable, with where it was
found.

Steps are handed to `prepare`, which knows the commands and raises UsageFault for a command line that none of
them takes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from umami_ops import VARIABLE_PREFIX
from umami_ops.daemon.jobs import Job
from umami_ops.daemon.notify import Channels
from umami_ops.daemon.settings import SETTINGS, Found, found_in, keys
from umami_ops.daemon.written import SCHEDULE, STEPS, Commands, WrittenJobs
from umami_ops.errors import UsageFault
from umami_ops.places import Places, check_names
from umami_ops.settings import check_keys


@dataclass(frozen=True)
class Configuration:
    """All that the daemon is to know. `notes` are worth saying at the start, and no mistakes."""

    found: Mapping[str, Found]
    jobs: tuple[Job, ...]
    notes: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def __getitem__(self, key: str) -> Any:
        """Return the value of a setting by its key."""
        return self.found[key].value

    @property
    def channels(self) -> Channels:
        """Where messages go."""
        return Channels(
            self["notify.apprise"] or (),
            self["notify.ping"] or "",
            self["notify.webhook"] or "",
            self["notify.on"],
        )

    @property
    def state_folder(self) -> Path:
        """The state folder, which may not be there yet."""
        return Path(self["daemon.state_dir"])

    def job(self, name: str) -> Job:
        """Return a job by its name. Raises UsageFault when there is none."""
        for job in self.jobs:
            if job.name == name:
                return job
        near = difflib.get_close_matches(name, [job.name for job in self.jobs], n=1)
        names = ", ".join(job.name for job in self.jobs) or "none"
        raise UsageFault(
            f"There is no job {name!r}.", hint=f"Did you mean {near[0]}?" if near else f"There are: {names}."
        )


def read(places: Places, commands: Commands) -> Configuration:
    """Read settings and jobs from all places.

    Raises UsageFault with file, line and key, or with the variable; OpsError for a secret that can't be read.
    """
    check_keys(places.file, commands.tables)
    _check_variables(places, commands)
    _check_keys(places, commands)
    found = {setting.key: found_in(setting, places) for setting in SETTINGS}
    reader = WrittenJobs(places, commands, found["daemon.timezone"].value, found["daemon.jitter"].value)
    jobs = tuple(reader.all())
    secrets = [part for item in found.values() if item.setting.is_secret for part in _parts(item.value)]
    return Configuration(found, jobs, tuple(reader.notes), tuple(secrets))


def _parts(value: Any) -> Iterable[str]:
    return [] if not value else [value] if isinstance(value, str) else value


def _check_variables(places: Places, commands: Commands) -> None:
    """Refuse a variable that begins with UMAMI_OPS_ and means nothing: it is misspelt. Raises UsageFault."""
    known = {*commands.variables}
    for setting in SETTINGS:
        known |= {setting.variable, f"{setting.variable}_FILE"} if setting.is_secret else {setting.variable}
    ours = {
        name: place
        for name, place in places.names().items()
        if name.startswith(VARIABLE_PREFIX) and not name.startswith((SCHEDULE, STEPS))
    }
    check_names(ours, known)


def _check_keys(places: Places, commands: Commands) -> None:
    """Refuse a key of [daemon] or [notify] that means nothing. Raises UsageFault."""
    for table in ("daemon", "notify"):
        known = sorted({*keys(table), *(commands.options if table == "daemon" else ())})
        for key in places.file.values.get(table, {}):
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                raise UsageFault(
                    f"{places.file.place(table, key)}, table [{table}]: there is no setting {key!r}.",
                    hint=f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}.",
                )
