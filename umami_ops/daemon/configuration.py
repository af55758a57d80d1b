"""The daemon's settings and jobs: each by its key in umami-ops.toml and its variable, with where it was
found.

The table in docs/daemon.md is made from `SETTINGS`. Steps are handed to `prepare`, which knows the commands
and raises UsageFault for a command line that none of them takes.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from umami_ops.daemon.jobs import Job, Step
from umami_ops.daemon.notify import Channels
from umami_ops.daemon.schedule import Schedule, zone_named
from umami_ops.errors import UsageFault
from umami_ops.settings import Places, read_secret

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?")
_SECONDS = {None: 1, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_SCHEDULE, _STEPS = "UMAMI_OPS_SCHEDULE_", "UMAMI_OPS_STEPS_"
_JOB_KEYS = ("schedule", "steps", "timezone", "jitter")
_OFF = "off"
#: Kubernetes gives every container such variables for a Service that is called umami-ops.
_KUBERNETES = re.compile(r"UMAMI_OPS_(SERVICE_.*|PORT(_.*)?)")
_OCCASIONS = ("failure", "recovery", "success")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("it must be text in quotes")
    return value


def _span(value: Any) -> float:
    found = _SPAN.fullmatch(str(value).strip())
    if isinstance(value, bool) or found is None:
        raise ValueError("write a span of time: 90s, 15m, 2h")
    return float(found[1]) * _SECONDS[found[2]]


def _span_or_off(value: Any) -> float:
    return 0.0 if value == _OFF else _span(value)


def _words(value: Any) -> tuple[str, ...]:
    """Return a list, or the words of a text: no address holds a blank."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return tuple(_text(value).split())


def _occasions(value: Any) -> frozenset[str]:
    names = value if isinstance(value, list) else _text(value).replace(",", " ").split()
    strange = [name for name in names if name not in _OCCASIONS]
    if strange:
        raise ValueError(f"{strange[0]!r} is none of {', '.join(_OCCASIONS)}")
    return frozenset(names)


def _zone(value: Any) -> ZoneInfo:
    try:
        return zone_named(_text(value))
    except UsageFault as fault:
        raise ValueError(fault.message.rstrip(".")) from None


def _address(value: Any) -> str:
    if not re.match(r"https?://[^\s]+$", _text(value).strip()):
        raise ValueError("it must begin with https:// or http://")
    return str(value).strip()


@dataclass(frozen=True)
class Setting:
    """One setting. `key` is its place in umami-ops.toml; a secret may also be in a file that `…_file`
    names.
    """

    key: str
    variable: str
    about: str
    default: str
    read: Callable[[Any], Any]
    is_secret: bool = False
    also: str = ""
    """A variable that counts when `variable` isn't set."""


SETTINGS = (
    Setting(
        "daemon.timezone", "UMAMI_OPS_DAEMON_TIMEZONE", "the time zone of schedules", "UTC", _zone, also="TZ"
    ),
    Setting("daemon.jitter", "UMAMI_OPS_DAEMON_JITTER", "a run begins up to so much later", "0s", _span),
    Setting(
        "daemon.overdue", "UMAMI_OPS_DAEMON_OVERDUE", "a job that is so late makes /healthz red", "15m", _span
    ),
    Setting(
        "daemon.examine",
        "UMAMI_OPS_DAEMON_EXAMINE",
        "how often health and sizes are read for the status page and the metrics; `off` is never",
        "15m",
        _span_or_off,
    ),
    Setting(
        "daemon.state_dir",
        "UMAMI_OPS_STATE_DIR",
        "the state folder, where the history is",
        "`/var/lib/umami-ops/state` for root, else `~/.local/state/umami-ops/state`",
        _text,
        also="STATE_DIRECTORY",
    ),
    Setting(
        "daemon.http_token",
        "UMAMI_OPS_DAEMON_HTTP_TOKEN",
        "what the pages ask for, `/healthz` excepted: as a bearer token, or as the password of any user",
        "",
        _text,
        is_secret=True,
    ),
    Setting(
        "notify.apprise",
        "UMAMI_OPS_NOTIFY_APPRISE",
        "addresses of apprise (`mailtos://…`, `tgram://…`), separated by blanks, or a list",
        "",
        _words,
        is_secret=True,
    ),
    Setting(
        "notify.on",
        "UMAMI_OPS_NOTIFY_ON",
        "which of failure, recovery and success apprise is told of",
        "failure recovery",
        _occasions,
    ),
    Setting(
        "notify.ping",
        "UMAMI_OPS_NOTIFY_PING",
        "a healthchecks.io address, pinged at start and end with the exit code; `{job}` is the job's name",
        "",
        _address,
        is_secret=True,
    ),
    Setting(
        "notify.webhook",
        "UMAMI_OPS_NOTIFY_WEBHOOK",
        "an address that gets every run's report as JSON",
        "",
        _address,
        is_secret=True,
    ),
)


def keys(table: str) -> frozenset[str]:
    """Return the keys of a table of umami-ops.toml that are settings, those that name files included."""
    settings = [setting for setting in SETTINGS if setting.key.startswith(f"{table}.")]
    files = {f"{setting.key}_file" for setting in settings if setting.is_secret}
    return frozenset(key.partition(".")[2] for key in {setting.key for setting in settings} | files)


@dataclass(frozen=True)
class Found:
    """A setting's value and where it was found; `written` is what stands there, for people."""

    setting: Setting
    value: Any
    written: str
    source: str


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


@dataclass(frozen=True)
class Commands:
    """What the command line knows and the configuration asks for.

    `prepare` returns a step as it will be run; `variables` are the names of all variables of commands;
    `default_jobs` are name, schedule and steps of the jobs that run where none is configured; `by_variable`
    is the command that UMAMI_OPS_SCHEDULE_… schedules, by what stands in the dots.
    """

    prepare: Callable[[Step], Step]
    variables: Collection[str]
    default_jobs: tuple[tuple[str, str, tuple[str, ...]], ...]
    by_variable: Mapping[str, str]
    tables: Mapping[str, Collection[str]]
    options: Collection[str] = ()
    """The keys of [daemon] that are options of the command."""


def read(places: Places, commands: Commands) -> Configuration:
    """Read settings and jobs from all places.

    Raises UsageFault with file, line and key, or with the variable; OpsError for a secret that can't be read.
    """
    places.file.check(commands.tables)
    _check_variables(places, commands)
    _check_keys(places, commands)
    found = {setting.key: _found(setting, places) for setting in SETTINGS}
    reader = _Jobs(places, commands, found["daemon.timezone"].value, found["daemon.jitter"].value)
    jobs = tuple(reader.all())
    secrets = [part for item in found.values() if item.setting.is_secret for part in _parts(item.value)]
    return Configuration(found, jobs, tuple(reader.notes), tuple(secrets))


def _parts(value: Any) -> Iterable[str]:
    return [] if not value else [value] if isinstance(value, str) else value


def _found(setting: Setting, places: Places) -> Found:
    table, _, key = setting.key.partition(".")
    given = places.secret(setting.variable) if setting.is_secret else places.variable(setting.variable)
    if given is not None:
        return _understood(setting, given[0], given[1], setting.variable)
    values = places.file.values.get(table, {})
    file = values.get(f"{key}_file") if setting.is_secret else None
    if key in values and file is not None:
        raise UsageFault(
            f"{places.file.place(table, key)}: {setting.key} and {setting.key}_file exclude each other."
        )
    if key in values:
        place = places.file.place(table, key)
        return _understood(setting, values[key], place, f"{place}: {setting.key}")
    if file is not None:
        place = places.file.place(table, f"{key}_file")
        return _understood(setting, read_secret(str(file), f"{place}: {setting.key}_file"), place, place)
    if setting.also and (given := places.variable(setting.also)):
        return _understood(setting, given[0], f"{setting.also}, {given[1]}", setting.also)
    return _default(setting)


def _understood(setting: Setting, value: Any, source: str, name: str) -> Found:
    try:
        read = setting.read(value)
    except ValueError as fault:
        raise UsageFault(f"{name} is not usable: {fault}.") from None
    written = (
        "***" if setting.is_secret else " ".join(map(str, value)) if isinstance(value, list) else str(value)
    )
    return Found(setting, read, written, source)


def _default(setting: Setting) -> Found:
    if setting.key == "daemon.state_dir":
        home = Path("/var/lib") if os.geteuid() == 0 else Path.home() / ".local" / "state"
        folder = str(home / "umami-ops" / "state")
        return Found(setting, folder, folder, "default")
    return Found(
        setting, setting.read(setting.default) if setting.default else None, setting.default, "default"
    )


def _check_variables(places: Places, commands: Commands) -> None:
    """Refuse a variable that begins with UMAMI_OPS_ and means nothing: it is misspelt. Raises UsageFault."""
    known = {*commands.variables}
    for setting in SETTINGS:
        known |= {setting.variable, f"{setting.variable}_FILE"} if setting.is_secret else {setting.variable}
    for name, place in sorted(places.names().items()):
        is_ours = name.startswith("UMAMI_OPS_") and not name.startswith((_SCHEDULE, _STEPS))
        if is_ours and name not in known and not _KUBERNETES.fullmatch(name):
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            where = "" if place == "environment" else f" in {place}"
            raise UsageFault(
                f"{name}{where} is no setting.",
                hint=f"Did you mean {near[0]}?" if near else "`umami-ops config show --all` lists them all.",
            )


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


class _Jobs:
    """Reads the jobs: the file's, then the environment's, which may move or switch off one of the file's."""

    def __init__(self, places: Places, commands: Commands, zone: ZoneInfo, jitter_seconds: float) -> None:
        self._places = places
        self._commands = commands
        self._zone = zone
        self._jitter_seconds = jitter_seconds
        self.notes: list[str] = []

    def all(self) -> Iterator[Job]:
        """Yield every job in the order in which they stand."""
        tables = self._places.file.values.get("jobs", {})
        scheduled, steps = self._from_variables(_SCHEDULE), self._from_variables(_STEPS)
        names: set[str] = set()
        for name, table in tables.items():
            written = _variable_part(name)
            names.add(written)
            yield self._from_file(name, table, scheduled.get(written), steps.get(written))
        for written in dict.fromkeys([*scheduled, *steps]):
            if written not in names:
                yield self._from_environment(written, scheduled.get(written), steps.get(written))
        if not tables and not scheduled and not steps:
            self.notes.append(
                "No job is configured, so the usual ones run; docs/daemon.md says how to choose."
            )
            for name, schedule, lines in self._commands.default_jobs:
                yield Job(
                    name,
                    Schedule.parse(schedule, self._zone),
                    tuple(self._commands.prepare(Step.written(line)) for line in lines),
                    self._jitter_seconds,
                    "default",
                )

    def _from_variables(self, prefix: str) -> dict[str, tuple[str, str]]:
        found = {}
        for name in sorted(self._places.names()):
            given = self._places.variable(name) if name.startswith(prefix) else None
            if given is not None and name not in self._commands.variables:
                found[name.removeprefix(prefix)] = given
        return found

    def _from_file(
        self, name: str, table: Any, schedule: tuple[str, str] | None, steps: tuple[str, str] | None
    ) -> Job:
        file = self._places.file
        place = file.place("jobs", name)
        if not isinstance(table, dict):
            raise UsageFault(f"{place}: jobs.{name} must be a table: [jobs.{name}]")
        if not _NAME.fullmatch(name):
            raise UsageFault(f"{place}: {name!r} is no name of a job.", hint="Use a-z, 0-9, - and _.")
        for key in table:
            if key not in _JOB_KEYS:
                near = difflib.get_close_matches(key, _JOB_KEYS, n=1)
                raise UsageFault(
                    f"{file.place('jobs', name, key)}, table [jobs.{name}]: there is no setting {key!r}.",
                    hint=f"Did you mean {near[0]}?" if near else f"There are: {', '.join(_JOB_KEYS)}.",
                )
        lines = table.get("steps")
        zone, jitter = self._zone, self._jitter_seconds
        with _at(file.place("jobs", name, "timezone"), f"jobs.{name}.timezone"):
            zone = _zone(table["timezone"]) if "timezone" in table else zone
        with _at(file.place("jobs", name, "jitter"), f"jobs.{name}.jitter"):
            jitter = _span(table["jitter"]) if "jitter" in table else jitter
        if steps is None and (not isinstance(lines, list) or not lines):
            raise UsageFault(
                f"{file.place('jobs', name, 'steps')}: jobs.{name}.steps must be a list of command lines.",
                hint='Write steps = ["prune --days 365", "vacuum --if-needed"].',
            )
        made = (
            self._steps_of(steps, name)
            if steps is not None
            else tuple(
                self._step(line, f"{self._place_of(name, line)}: jobs.{name}.steps") for line in lines or ()
            )
        )
        if schedule is not None:
            source = f"{_SCHEDULE}{_variable_part(name)}, {schedule[1]}"
            when = self._schedule(schedule[0], zone, f"{_SCHEDULE}{_variable_part(name)}")
        else:
            written = table.get("schedule", _OFF)
            source, where = file.place("jobs", name), file.place("jobs", name, "schedule")
            if not isinstance(written, str):
                raise UsageFault(f"{where}: jobs.{name}.schedule must be text in quotes.")
            when = self._schedule(written, zone, f"{where}: jobs.{name}.schedule")
        return Job(name, when, made, jitter, source)

    def _place_of(self, name: str, line: Any) -> str:
        """Return the line of the file on which a step stands, in a list of several lines too."""
        file = self._places.file
        number = int(file.place("jobs", name, "steps").rpartition(" ")[2])
        for offset, text in enumerate(file.text.splitlines()[number - 1 :]):
            if isinstance(line, str) and line in text:
                return f"{file.name} line {number + offset}"
        return f"{file.name} line {number}"

    def _from_environment(
        self, written: str, schedule: tuple[str, str] | None, steps: tuple[str, str] | None
    ) -> Job:
        name = written.lower().replace("_", "-")
        if not _NAME.fullmatch(name):
            raise UsageFault(f"{_SCHEDULE}{written}: {name!r} is no name of a job.")
        if steps is not None:
            made = self._steps_of(steps, name)
        elif written in self._commands.by_variable:
            made = (self._step(self._commands.by_variable[written], f"{_SCHEDULE}{written}"),)
        else:
            near = difflib.get_close_matches(written, self._commands.by_variable, n=1)
            hint = (
                f"Did you mean {_SCHEDULE}{near[0]}?"
                if near
                else f"Give {_STEPS}{written} its command lines."
            )
            raise UsageFault(f"{_SCHEDULE}{written} schedules nothing: there is no such command.", hint=hint)
        when = None
        if schedule is not None:
            when = self._schedule(schedule[0], self._zone, f"{_SCHEDULE}{written}")
        place = (schedule or steps or ("", ""))[1]
        variable = f"{_SCHEDULE if schedule is not None else _STEPS}{written}"
        return Job(name, when, made, self._jitter_seconds, f"{variable}, {place}")

    def _steps_of(self, steps: tuple[str, str], name: str) -> tuple[Step, ...]:
        variable = f"{_STEPS}{_variable_part(name)}"
        lines = [line.strip() for line in re.split(r"[;\n]", steps[0]) if line.strip()]
        if not lines:
            raise UsageFault(f"{variable} holds no command line.")
        return tuple(self._step(line, variable) for line in lines)

    def _schedule(self, written: str, zone: ZoneInfo, place: str) -> Schedule | None:
        if written.strip().lower() == _OFF:
            return None
        with _at(place):
            return Schedule.parse(written, zone)

    def _step(self, line: Any, place: str) -> Step:
        if not isinstance(line, str) or not line.strip():
            raise UsageFault(f"{place}: a step is a command line in quotes.")
        try:
            step = Step.written(line)
        except ValueError:
            raise UsageFault(f"{place}: in {line!r} a quote is not closed.") from None
        if not step.arguments:
            raise UsageFault(f"{place}: {line!r} names no command.")
        with _at(place):
            return self._commands.prepare(step)


class _at:  # noqa: N801 -- reads as a word: with _at(place)
    """Puts the place before the message of what is raised inside."""

    def __init__(self, place: str, name: str = "") -> None:
        self._place = place
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        if isinstance(fault, UsageFault):
            raise UsageFault(f"{self._place}: {fault.message}", hint=fault.hint) from None
        if isinstance(fault, ValueError):
            raise UsageFault(f"{self._place}: {self._name} is not usable: {fault}.") from None


def _variable_part(name: str) -> str:
    return name.upper().replace("-", "_")
