"""`umami-ops health`: what is wrong with a database, how bad it is, and what mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from umami_ops.cli import options
from umami_ops.errors import OpsError, UsageFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umami_ops.operations.backup import Listed
    from umami_ops.operations.health import Check, Health
    from umami_ops.operations.health.check import Backups

_FORMATS = ("text", "json", "prometheus", "nagios")
_UNKNOWN = 3
#: --fail-on → the exit code of a finding that is as bad.
_CODES = {"warning": 1, "critical": 2}


@click.command()
@options.url
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    default="text",
    show_default=True,
    help="For people, for programs, for a scrape by Prometheus, or for Nagios and Icinga.",
)
@click.option(
    "--only", metavar="CHECK", multiple=True, help="Make this check alone; may be given more than once."
)
@click.option(
    "--skip", metavar="CHECK", multiple=True, help="Leave this check out; may be given more than once."
)
@click.option(
    "--fail-on",
    type=click.Choice(tuple(_CODES)),
    default="critical",
    show_default=True,
    help="End with an exit code from this severity on: 1 for a warning, 2 for a critical finding.",
)
@click.pass_context
def health(ctx: click.Context, form: str, only: tuple[str, ...], skip: tuple[str, ...], fail_on: str) -> None:
    """Say what is wrong with this database, and what mends it.

    Changes nothing and takes three seconds at most. Every finding has its numbers, why it matters to Umami
    and the command that mends it; docs/health.md describes each check and its thresholds, which
    umami-ops.toml or variables UMAMI_OPS_HEALTH_… can move.

    Exit codes: 0 nothing as bad as --fail-on, 1 a warning and --fail-on warning, 2 a critical finding or no
    connection. With --format nagios: 0 ok, 1 warning, 2 critical, 3 unknown, whatever --fail-on says.
    """
    from umami_ops.cli import render
    from umami_ops.operations.health import formats

    try:
        found = _examined(only, skip)
    except OpsError as fault:
        if form != "nagios":
            raise
        render.print_line(f"UMAMI UNKNOWN - {fault.message}")
        ctx.exit(_UNKNOWN)
    match form:
        case "json":
            render.print_json(formats.document(found))
        case "prometheus":
            render.print_document(formats.prometheus(found))
        case "nagios":
            line, code = formats.nagios(found)
            render.print_document(f"{render.safe(line)}\n")
            ctx.exit(code)
        case _:
            _print_health(found)
    ctx.exit(_exit_code(found, fail_on))


def _examined(only: Sequence[str], skip: Sequence[str]) -> Health:
    from umami_ops.operations.health import examine

    checks = _chosen(only, skip)
    settings = options.settings_from_options()
    database = options.open_from_options()
    return examine(
        lambda: database.connect("umami-ops health"),
        settings.health,
        checks,
        store=_store(_made_in() or settings.umami_ops_store),
    )


def _made_in() -> str | None:
    """Return the place in which `backup create` is configured to put backups, if it has one of its own."""
    from umami_ops.cli import variables

    places = options.places_from_options()
    if found := places.variable(variables.variable(("backup", "create"), "store")):
        return found[0]
    table = places.file.values.get("backup", {}).get("create")
    return str(table["store"]) if isinstance(table, dict) and table.get("store") else None


def _store(place: str | None) -> Backups | None:
    """Return how to look for backups; None where no place is named and ./backups isn't there."""
    import os

    if place is None and not os.access("backups", os.R_OK | os.X_OK):
        return None

    def look() -> list[Listed]:
        from umami_ops.archive.places import open_store
        from umami_ops.operations.backup import list_backups

        return list_backups(open_store(place or "backups"))

    return look


def _chosen(only: Sequence[str], skip: Sequence[str]) -> list[Check]:
    """Return the checks to make. Raises UsageFault for a name that no check has."""
    import difflib

    from umami_ops.operations.health import CHECKS

    names = [check.name for check in CHECKS]
    for name in (*only, *skip):
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(names)}."
            raise UsageFault(f"There is no check {name!r}.", hint=hint)
    return [check for check in CHECKS if (not only or check.name in only) and check.name not in skip]


def _exit_code(found: Health, fail_on: str) -> int:
    from umami_ops.operations.health import Severity

    if found.severity == Severity.CRITICAL:
        return _CODES["critical"]
    return _CODES["warning"] if found.severity == Severity.WARNING and fail_on == "warning" else 0


def _print_health(found: Health) -> None:
    """Print the worst first, then what is fine in one line, then what could not be looked at."""
    from umami_ops.cli import render

    if found.server is not None:
        level = f", Umami {found.release} (level {found.level})" if found.level else ""
        render.print_line(f"{found.server.title}, database {found.server.database}{level}", style="dim")
    pairs = found.worst_first()
    if pairs:
        render.print_line()
        rows = [(f.severity.word, check.name, f.sentence, f.cure) for check, f in pairs]
        render.print_findings(rows)
    render.print_line()
    _print_summary(found)
    _print_unseen(found)


def _print_summary(found: Health) -> None:
    from umami_ops.cli import render
    from umami_ops.operations.health import Severity

    counts = {
        severity: sum(f.severity == severity for _, f in found.worst_first())
        for severity in reversed(Severity)
    }
    fine = sum(not verdict.findings and verdict.has_looked for verdict in found.verdicts)
    plural = {Severity.WARNING: "warnings"}  # the other words have none
    parts = [
        f"{number} {plural.get(severity, severity.word) if number > 1 else severity.word}"
        for severity, number in counts.items()
        if number
    ]
    parts.append(f"{fine} of {len(found.verdicts)} checks are fine")
    sign, style = ("✓", "green") if found.severity < Severity.WARNING else ("→", "bold")
    render.print_remark(sign, f"{', '.join(parts)}; {render.duration(found.seconds)}.", style=style)


def _print_unseen(found: Health) -> None:
    """Print what could not be looked at, one line for each thing that it would need."""
    from umami_ops.cli import render

    needs: dict[str, list[str]] = {}
    for verdict in found.verdicts:
        for unseen in verdict.unseen:
            needs.setdefault(unseen.needs, []).append(verdict.check.name)
    for need, names in needs.items():
        render.print_remark(
            "?", f"Could not look at {', '.join(names)}: needs {need.rstrip('.')}.", style="cyan"
        )
