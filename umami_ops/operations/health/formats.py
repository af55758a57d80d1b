"""A database's health for programs: a JSON document, Prometheus' text exposition, a line for Nagios.

Pure text and data; what a person reads is made in cli/health.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from umami_ops.operations.health import Health, Verdict
from umami_ops.operations.health.check import Check, Finding, Measure, Severity

#: Grows when a field changes its meaning or goes; new fields don't count.
SCHEMA_VERSION = 1
_PREFIX = "umami_ops_"
_NAGIOS = {Severity.OK: 0, Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}
_NAGIOS_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_NAGIOS_UNITS = {"seconds": "s", "bytes": "B"}


def document(health: Health) -> dict[str, Any]:
    """Return what `--format json` prints; docs/health.md describes it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "examined_at": health.examined_at,
        "seconds": round(health.seconds, 3),
        "severity": health.severity.word,
        "server": health.server,
        "umami": {"level": health.level, "release": health.release},
        "findings": [_finding(check, finding) for check, finding in health.worst_first()],
        "checks": [_verdict(verdict) for verdict in health.verdicts],
    }


def _finding(check: Check, finding: Finding) -> dict[str, Any]:
    return {
        "check": check.name,
        "severity": finding.severity.word,
        "subject": finding.subject or None,
        "sentence": finding.sentence,
        "why": check.why,
        "cure": finding.cure or None,
        "evidence": dict(finding.evidence),
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "name": verdict.check.name,
        "title": verdict.check.title,
        "severity": verdict.severity.word if verdict.has_looked else None,
        "could_not_look": [unseen.needs for unseen in verdict.unseen],
        "measures": [
            {"name": measure.name, "table": measure.table or None, "value": measure.value}
            for measure in verdict.measures
        ],
    }


def prometheus(health: Health) -> str:
    """Return the health in Prometheus' text format 0.0.4; a table is the only label of a measure."""
    up = health.server is not None
    lines = [*_metric("up", "Whether the database could be reached.", [("", float(up))])]
    lines += _metric(
        "examined_timestamp_seconds", "When this was read.", [("", health.examined_at.timestamp())]
    )
    lines += _metric("examination_seconds", "How long all checks took together.", [("", health.seconds)])
    looked = [verdict for verdict in health.verdicts if verdict.has_looked]
    lines += _metric(
        "check_severity",
        "Worst finding of a check: 0 ok, 1 info, 2 warning, 3 critical. Absent where it could not look.",
        [(_label("check", verdict.check.name), float(verdict.severity)) for verdict in looked],
    )
    lines += _metric(
        "check_findings",
        "How many findings a check has.",
        [(_label("check", verdict.check.name), float(len(verdict.findings))) for verdict in looked],
    )
    lines += _metric(
        "check_blind",
        "Whether a check lacked a right, time or answer to look everywhere.",
        [(_label("check", verdict.check.name), float(bool(verdict.unseen))) for verdict in health.verdicts],
    )
    for verdict in health.verdicts:
        for name, about in verdict.check.measures.items():
            values = [(_table(m), m.value) for m in verdict.measures if m.name == name]
            lines += _metric(name, about, values)
    return "\n".join(lines) + "\n"


def _metric(name: str, about: str, values: Iterable[tuple[str, float]]) -> Iterator[str]:
    values = list(values)
    if values:
        yield f"# HELP {_PREFIX}{name} {about}"
        yield f"# TYPE {_PREFIX}{name} gauge"
        yield from (f"{_PREFIX}{name}{label} {_number(value)}" for label, value in values)


def _label(name: str, value: str) -> str:
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'{{{name}="{escaped}"}}'


def _table(measure: Measure) -> str:
    return _label("table", measure.table) if measure.table else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.6f}"


def nagios(health: Health) -> tuple[str, int]:
    """Return the line for Nagios, with performance data, and its exit code: 0, 1, 2, or 3 for unknown.

    What could not be looked at for lack of a right is no fault of the database's and changes no code.
    """
    if not any(verdict.has_looked for verdict in health.verdicts):
        return "UMAMI UNKNOWN - nothing could be looked at", 3
    code = _NAGIOS[health.severity]
    serious = [
        (check, finding) for check, finding in health.worst_first() if finding.severity > Severity.INFO
    ]
    if serious:
        worst = serious[0][1]
        more = f" (and {len(serious) - 1} more)" if len(serious) > 1 else ""
        text = f"{serious[0][0].name}: {worst.sentence}{more}"
    else:
        looked = sum(verdict.has_looked for verdict in health.verdicts)
        text = f"{looked} checks, nothing to worry about"
    data = " ".join(_performance(health))
    # A pipe begins the performance data, a line break the long output.
    text = " ".join(text.replace("|", "/").split())
    return f"UMAMI {_NAGIOS_WORDS[code]} - {text} | {data}", code


def _performance(health: Health) -> Iterator[str]:
    """Yield what belongs to the database as a whole; a number for each table would make the line endless."""
    yield f"examination_seconds={health.seconds:.3f}s"
    yield f"findings={sum(len(verdict.findings) for verdict in health.verdicts)}"
    for verdict in health.verdicts:
        for measure in verdict.measures:
            if not measure.table:
                unit = _NAGIOS_UNITS.get(measure.name.rpartition("_")[2], "")
                yield f"{measure.name}={_number(measure.value)}{unit}"
