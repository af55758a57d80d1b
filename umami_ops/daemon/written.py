"""Jobs as they are written: the file's tables, and the variables that make, move or switch off a job."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from umami_ops.daemon.jobs import Job, Step
from umami_ops.daemon.schedule import Schedule
from umami_ops.daemon.settings import OFF, span, zone
from umami_ops.errors import UsageFault
from umami_ops.places import Places, in_words, is_of_kubernetes

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
SCHEDULE, STEPS = "UMAMI_OPS_SCHEDULE_", "UMAMI_OPS_STEPS_"
_JOB_KEYS = ("schedule", "steps", "timezone", "jitter")


class Lacking(UsageFault):
    """A step is not told what it can't do without: a prune has no horizon."""


@dataclass(frozen=True)
class Commands:
    """What the command line knows and the configuration asks for.

    `prepare` returns a step as it will be run, and raises Lacking or UsageFault; `variables` are the names of
    all variables of commands; `default_jobs` are name, schedule and steps of the jobs that run where none is
    configured; `by_variable` is the command that UMAMI_OPS_SCHEDULE_… schedules, by what stands in the dots.
    """

    prepare: Callable[[Step], Step]
    variables: Collection[str]
    default_jobs: tuple[tuple[str, str, tuple[str, ...]], ...]
    by_variable: Mapping[str, str]
    tables: Mapping[str, Collection[str]]
    options: Collection[str] = ()
    """The keys of [daemon] that are options of the command."""


class WrittenJobs:
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
        scheduled, steps = self._from_variables(SCHEDULE), self._from_variables(STEPS)
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
                made = tuple(self._usual_steps(name, lines))
                yield Job(name, Schedule.parse(schedule, self._zone), made, self._jitter_seconds, "default")

    def _usual_steps(self, job: str, lines: tuple[str, ...]) -> Iterator[Step]:
        """Yield the steps of a usual job that lack nothing. Raises UsageFault for what is wrong."""
        for line in lines:
            with _at(f"{job}, a job that runs where none is configured"):
                try:
                    step = self._commands.prepare(Step.written(line))
                except Lacking as fault:
                    self.notes.append(
                        f"{job} runs without {line!r}: {fault.message} {fault.hint or ''}".strip()
                    )
                    continue
            yield step

    def _from_variables(self, prefix: str) -> dict[str, tuple[str, str]]:
        found = {}
        for name in sorted(self._places.names()):
            is_job = name.startswith(prefix) and not is_of_kubernetes(name)
            given = self._places.variable(name) if is_job else None
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
        own_zone, jitter = self._zone, self._jitter_seconds
        with _at(file.place("jobs", name, "timezone"), f"jobs.{name}.timezone"):
            own_zone = zone(table["timezone"]) if "timezone" in table else own_zone
        with _at(file.place("jobs", name, "jitter"), f"jobs.{name}.jitter"):
            jitter = span(table["jitter"]) if "jitter" in table else jitter
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
            source = in_words(f"{SCHEDULE}{_variable_part(name)}", schedule[1])
            when = self._schedule(schedule[0], own_zone, f"{SCHEDULE}{_variable_part(name)}")
        else:
            written = table.get("schedule", OFF)
            source, where = file.place("jobs", name), file.place("jobs", name, "schedule")
            if not isinstance(written, str):
                raise UsageFault(f"{where}: jobs.{name}.schedule must be text in quotes.")
            when = self._schedule(written, own_zone, f"{where}: jobs.{name}.schedule")
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
            raise UsageFault(f"{SCHEDULE}{written}: {name!r} is no name of a job.")
        if steps is not None:
            made = self._steps_of(steps, name)
        elif written in self._commands.by_variable:
            made = (self._step(self._commands.by_variable[written], f"{SCHEDULE}{written}"),)
        else:
            near = difflib.get_close_matches(written, self._commands.by_variable, n=1)
            hint = (
                f"Did you mean {SCHEDULE}{near[0]}?" if near else f"Give {STEPS}{written} its command lines."
            )
            raise UsageFault(f"{SCHEDULE}{written} schedules nothing: there is no such command.", hint=hint)
        when = None
        if schedule is not None:
            when = self._schedule(schedule[0], self._zone, f"{SCHEDULE}{written}")
        place = (schedule or steps or ("", ""))[1]
        variable = f"{SCHEDULE if schedule is not None else STEPS}{written}"
        return Job(name, when, made, self._jitter_seconds, in_words(variable, place))

    def _steps_of(self, steps: tuple[str, str], name: str) -> tuple[Step, ...]:
        variable = f"{STEPS}{_variable_part(name)}"
        lines = [line.strip() for line in re.split(r"[;\n]", steps[0]) if line.strip()]
        if not lines:
            raise UsageFault(f"{variable} holds no command line.")
        return tuple(self._step(line, variable) for line in lines)

    def _schedule(self, written: str, zone: ZoneInfo, place: str) -> Schedule | None:
        if written.strip().lower() == OFF:
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
