"""What was measured, as rows: for a terminal, for docs/benchmarks.md, for a JSON file."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

_DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True)
class Line:
    """One contender's line. `ratio` says what it is a ratio of; `seconds` is the median of the rounds."""

    server: str
    contender: str
    seconds: float
    rows_per_second: float
    ratio: str
    rounds: Sequence[float]


@dataclass(frozen=True)
class Goal:
    """A target and what became of it; `met` is None when it could not be measured here."""

    server: str
    what: str
    measured: str
    target: str
    met: bool | None


@dataclass
class Results:
    """Everything that one run of the benchmark found out."""

    environment: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)

    def show(self) -> None:
        """Print it all."""
        console = Console(width=None if sys.stdout.isatty() else 150)
        for headings, rows in (_line_rows(self), _goal_rows(self)):
            table = Table(*headings)
            for row in rows:
                table.add_row(*row)
            console.print(table)
        for name, value in self.environment.items():
            console.print(f"{name}: {value}", highlight=False)

    def write_json(self, file: Path) -> None:
        """Keep it all for later comparison."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(self), indent=2, default=str) + "\n")

    def write_document(self) -> None:
        """Put the tables into docs/benchmarks.md, between its two marks."""
        parts = [_markdown(*_line_rows(self)), _markdown(*_goal_rows(self))]
        parts.append("\n".join(f"- {name}: {value}" for name, value in self.environment.items()))
        before, _, rest = _DOCUMENT.read_text().partition(_BEGIN)
        after = rest.partition(_END)[2]
        _DOCUMENT.write_text("\n\n".join([f"{before}{_BEGIN}", *parts, f"{_END}{after}"]))


def environment() -> dict[str, str]:
    """Describe this machine in general terms, and what else it had to do."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "Measured": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "Machine": f"{os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}",
        "Load average at the beginning": f"{os.getloadavg()[0]:.1f}",
    }


def _line_rows(results: Results) -> tuple[list[str], list[list[str]]]:
    headings = ["Server", "Contender", "Wall time", "website_event rows/s", "Ratio"]
    rows = [
        [line.server, line.contender, f"{line.seconds:.2f} s", f"{line.rows_per_second:,.0f}", line.ratio]
        for line in results.lines
    ]
    return headings, rows


def _goal_rows(results: Results) -> tuple[list[str], list[list[str]]]:
    words = {True: "yes", False: "NO", None: "not measured"}
    rows = [[goal.server, goal.what, goal.measured, goal.target, words[goal.met]] for goal in results.goals]
    return ["Server", "What", "Measured", "Target", "Met"], rows


def _markdown(headings: list[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
