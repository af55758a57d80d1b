"""Writes docs/health.md out of the checks, so that it says what they do; a test holds the file to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from umami_ops.operations import thresholds
from umami_ops.operations.health import CHECKS, Check
from umami_ops.operations.thresholds import Thresholds

_HEAD = """\
# Health

<!-- Written by umami_ops/operations/health/handbook.py, from the checks themselves. To change it, change
them. -->

`umami-ops health` looks at a database and says what is wrong, how bad it is, why that matters to Umami, and
the command that mends it. It reads only: the catalogue, the server's statistics, look-ups in indexes and
small samples, never a whole table; where pgstattuple is installed, it reads indexes and tables for a moment,
too. Each check runs in a read-only transaction of its own that ends by itself
after a second, all of them together after `budget_seconds`.

A user with no more than Umami's own rights is enough. What its rights don't allow is listed as not looked at,
with what it would need (PostgreSQL: `GRANT pg_monitor TO umami`; MySQL and MariaDB: `GRANT PROCESS ON *.* TO
umami`).

| severity | means |
|---|---|
| critical | Umami is down, or will be; act now |
| warning | it will hurt: slow charts, a failing upgrade, a full disk |
| info | good to know |

## Thresholds

In `umami-ops.toml`:

    [health]
    retention_days = 365
    dead_percent = 10

or in the environment, each as `UMAMI_OPS_HEALTH_` and its name: `UMAMI_OPS_HEALTH_RETENTION_DAYS=365`.

"""

_FORMATS = """\
## Formats

**json** is one document: `schema_version` (1), `examined_at`, `seconds`, `severity` (`ok`, `info`, `warning`,
`critical`: the worst of all), `server` (null when it could not be reached), `umami` (`level`, `release`),
`findings` and `checks`. A finding has `check`, `severity`, `subject` (a table, an index, a website …, or
null), `sentence`, `why`, `cure` (or null) and `evidence`, an object of its own for each check. A check has
`name`, `title`, `severity` (null when it could not look), `could_not_look` (what it would need) and
`measures` (`name`, `table` or null, `value`). Times are ISO 8601 in UTC, numbers carry their unit in their
name. Fields may be added; one that goes or changes its meaning raises `schema_version`.

**prometheus** is the text format for a scrape or the node exporter's textfile collector: `umami_ops_up`,
`umami_ops_check_severity{check="…"}` (0 ok, 1 info, 2 warning, 3 critical; absent where a check could not
look), `umami_ops_check_findings`, `umami_ops_check_blind`, `umami_ops_examination_seconds`,
`umami_ops_examined_timestamp_seconds`, and the measures below as `umami_ops_…`. The labels are `check` and
`table`; websites are never labels. All are gauges.

**nagios** is one line with performance data and the exit codes 0 (ok), 1 (warning), 2 (critical) and 3
(unknown).

"""


def handbook() -> str:
    """Return the text of docs/health.md."""
    return "".join((_HEAD, *_thresholds(), "\n", _FORMATS, "## Checks\n", *map(_section, CHECKS)))


def _thresholds() -> Iterator[str]:
    yield "| threshold | default | what it means |\n|---|---|---|\n"
    for item in fields(Thresholds):
        value = thresholds.default(item.name)
        yield f"| `{item.name}` | {value:,} | {thresholds.about(item.name)} |\n"


def _section(check: Check) -> str:
    lines = [f"\n### {check.name}\n", f"{check.title}. {check.why}\n", f"- Severity: {check.rule}."]
    if check.thresholds:
        named = (f"`{name}` = {thresholds.default(name):,}" for name in check.thresholds)
        lines.append(f"- Thresholds: {', '.join(named)}.")
    lines.append(f"- Cure: {check.cure.rstrip('.')}.")
    lines += [f"- Measures `{name}`: {about}" for name, about in check.measures.items()]
    return "\n".join(lines) + "\n"
