"""`umami-ops config check` and `config show`: what is configured, where from, and whether it can work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import click

from umami_ops.cli import options, variables

if TYPE_CHECKING:
    from umami_ops.daemon.configuration import Configuration
    from umami_ops.places import Places


class Row(NamedTuple):
    """A line of `config show`: the setting, its value with secrets masked, and where it was found."""

    setting: str
    value: str
    source: str


@click.group()
def config() -> None:
    """Check the configuration, or show it and where each value is from."""


@config.command(short_help="Hold everything configured to what there is, say what's wrong.")
@options.url
def check() -> None:
    """Hold everything configured to what there is; a mistake names its file, line and key. Connects to
    nothing.
    """
    from umami_ops.cli import render, sidecar

    places = options.places_from_options()
    configuration = sidecar.read_configuration(places)
    settings = options.settings_from_options()
    database = settings.database(needs_session=True)
    sidecar.parsed("daemon", [], places)
    for note in configuration.notes:
        render.print_remark("•", note)
    jobs = ", ".join(job.name for job in configuration.jobs) or "none"
    render.print_remark(
        "✓", f"The configuration is in order. Database: {database}. Jobs: {jobs}.", style="green"
    )


@config.command(short_help="Show what is configured and where each value was found.")
@click.option(
    "--all", "everything", is_flag=True, help="Also what is not set, with the name of its variable."
)
@options.url
@options.json_output
def show(everything: bool, as_json: bool) -> None:
    """Show what is configured and where each value was found; secrets are masked."""
    from umami_ops.cli import render, sidecar

    places = options.places_from_options()
    configuration = sidecar.read_configuration(places)
    rows = [
        *_database_rows(),
        *_setting_rows(configuration),
        *_threshold_rows(places),
        *_option_rows(places, everything),
    ]
    jobs = [
        {
            "name": job.name,
            "schedule": job.schedule.text if job.schedule else None,
            "timezone": job.schedule.zone.key if job.schedule else None,
            "jitter_seconds": job.jitter_seconds,
            "steps": [step.text for step in job.steps],
            "source": job.source,
        }
        for job in configuration.jobs
    ]
    if as_json:
        settings = [row._asdict() for row in rows]
        render.print_json({"settings": settings, "jobs": jobs, "notes": configuration.notes})
        return
    columns = [render.text("Setting"), render.text("Value"), render.text("From")]
    unset = [place for place, row in enumerate(rows) if row.source in ("default", "not set")]
    render.print_table(columns, rows, dim=unset)
    head = [render.text("Job"), render.text("Schedule"), render.text("Steps"), render.text("From")]
    render.print_table(head, list(_job_rows(configuration)), title="Jobs")


def _job_rows(configuration: Configuration) -> Iterator[tuple[str, str, str, str]]:
    """Yield the lines of a job: one for each step, the first of which says the rest, too."""
    usual = configuration["daemon.timezone"]
    for job in configuration.jobs:
        schedule = job.schedule.text if job.schedule else "only by hand"
        if job.schedule and job.schedule.zone != usual:
            schedule = f"{schedule} ({job.schedule.zone.key})"
        first, *others = [step.text for step in job.steps] or [""]
        yield job.name, schedule, first, job.source
        for text in others:
            yield "", "", text, ""


def _database_rows() -> Iterator[Row]:
    """Yield the addresses of the database, without their passwords."""
    settings = options.settings_from_options()
    for key in ("database_url", "direct_database_url"):
        address = getattr(settings, key)
        if address is not None:
            yield Row(key, str(address.parsed()), address.source)


def _setting_rows(configuration: Configuration) -> Iterator[Row]:
    for key, found in configuration.found.items():
        if found.value is not None or found.source != "default":
            yield Row(key, found.written, found.source)


def _threshold_rows(places: Places) -> Iterator[Row]:
    """Yield the thresholds of health that somebody has moved."""
    from umami_ops.places import in_words

    table = places.file.values.get("health", {})
    for key in sorted(variables.owned("health")):
        given = places.variable(variables.variable(("health",), key))
        if given is not None:
            name = variables.variable(("health",), key)
            yield Row(f"health.{key}", given[0], in_words(name, given[1]))
        elif key in table:
            yield Row(f"health.{key}", str(table[key]), places.file.place("health", key))


def _option_rows(places: Places, everything: bool) -> Iterator[Row]:
    """Yield the options of commands that a variable or the file sets, or all of them."""
    from umami_ops.cli import sidecar
    from umami_ops.places import in_words

    for path, command in sidecar.all_commands():
        for key, option in variables.options_of(command).items():
            names = [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())
            name = next((name for name in names if places.variable(name)), names[0])
            given = places.variable(name)
            table = places.file.values
            for part in path:
                table = table.get(part, {}) if isinstance(table, dict) else {}
            if given is not None:
                yield Row(".".join((*path, key)), _masked(key, given[0]), in_words(name, given[1]))
            elif isinstance(table, dict) and key in table:
                yield Row(
                    ".".join((*path, key)), _masked(key, str(table[key])), places.file.place(*path, key)
                )
            elif everything:
                yield Row(".".join((*path, key)), "", f"not set: {name}")


def _masked(key: str, value: str) -> str:
    """Return a value without what may be secret in it: passwords of URLs, and whatever a key calls a
    secret.
    """
    from umami_ops.redaction import redact_urls

    is_secret = any(word in key for word in ("password", "token", "secret", "identity"))
    return "***" if is_secret and not os.path.exists(value) else redact_urls(value)  # noqa: PTH110 -- a plain question
