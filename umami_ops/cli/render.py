"""What people see: tables, sizes and times in words, questions, progress; and JSON for programs.

The only module that imports rich, and not before something is laid out: a run for programs does without.
Results go to stdout, questions and progress to stderr. Text that came out of a database passes through
`safe`, here or in the functions that print, before a terminal may see it.
"""

from __future__ import annotations

import json
import os
import sys
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, date, datetime
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from umami_ops.cli import streams
from umami_ops.cli.signals import Terminated
from umami_ops.errors import Refused

if TYPE_CHECKING:
    from rich import progress
    from rich.console import Console
    from rich.table import Table

#: Wide enough that nothing is cut when the output isn't a terminal: a pipe has no width.
_PIPE_WIDTH = 10_000
_GAP = 2
_TEXT_MINIMUM, _WORD_MAXIMUM = 12, 24
_LINE_EVERY_SECONDS = 5.0
#: The frame of a table, a line below its head and one above its foot, without letters beyond ASCII.
_PLAIN_BOX = "    \n    \n -- \n    \n    \n -- \n    \n    \n"


# --- words for numbers -----------------------------------------------------------------------------------


def size(size_bytes: int) -> str:
    """Return `1.2 GB`: powers of ten, one decimal below ten units."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or abs(value) >= 9.95 else f"{value:.1f} {unit}"


def signed_size(size_bytes: int) -> str:
    """Return `+1.2 GB` for what was written, `−1.2 GB` for what was given back."""
    return f"{'−' if size_bytes < 0 else '+'}{size(abs(size_bytes))}" if size_bytes else "0 B"


def duration(seconds: float) -> str:
    """Return `0.42 s`, `12 s`, `3 min 20 s`, `2 h 5 min` or `3 d 4 h`."""
    if seconds < 9.95:
        return f"{seconds:.2f} s" if seconds < 0.995 else f"{seconds:.1f} s"
    whole = round(seconds)
    for large, small, large_name, small_name in (
        (86_400, 3_600, "d", "h"), (3_600, 60, "h", "min"), (60, 1, "min", "s"),
    ):  # fmt: skip
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large} {large_name}" + (f" {rest} {small_name}" if rest else "")
    return f"{whole} s"


def count(number: int, *, estimated: bool = False) -> str:
    """Return `1,234,567`, or `~1,230,000` for an estimate, whose further digits would pretend to be known."""
    if not estimated:
        return f"{number:,}"
    digits = len(str(abs(number)))
    return f"~{round(number, -max(digits - 3, 0)):,}"


def rate(per_day: float) -> str:
    """Return a number of rows a day: whole ones, unless they are few."""
    return f"{per_day:,.0f}" if per_day >= 9.95 or per_day == 0 else f"{per_day:.1f}"


def percentage(part: float, whole: float) -> str:
    """Return `12 %`, `3.4 %` or `<0.1 %`; a dash when there is no whole."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "<0.1 %"
    return f"{share:.0f} %" if share >= 9.95 or share == 0 else f"{share:.1f} %"


def moment(when: datetime | None, *, seconds: bool = False) -> str:
    """Return `2025-03-01 14:05` in UTC; a dash for none."""
    if when is None:
        return "–"
    return when.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "seconds" if seconds else "minutes")


def safe(text: str) -> str:
    """Return text with what could steer a terminal, control and direction characters, written as escapes.

    So is what the encoding of the terminal lacks: before a table is laid out, so that it keeps its columns.
    """
    return streams.encodable("".join(_visible(character) for character in text))


def _visible(character: str) -> str:
    if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp") or character == "\u200d":
        return character
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


# --- on the screen ---------------------------------------------------------------------------------------


def console(*, stderr: bool = False) -> Console:
    """Return a console that colours nothing but a terminal, respects NO_COLOR, and cuts nothing in a pipe."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False, soft_wrap=False)


@dataclass(frozen=True)
class Column:
    """A column of a table; a narrow terminal may go without an optional one."""

    head: str
    is_number: bool = False
    is_optional: bool = False
    is_whole: bool = False
    style: str = ""


def number(head: str, *, optional: bool = False) -> Column:
    """Return a column of numbers: to the right, never wrapped nor cut."""
    return Column(head, is_number=True, is_optional=optional)


def text(head: str, *, optional: bool = False, style: str = "") -> Column:
    """Return a column of text, which wraps when it must."""
    return Column(head, is_optional=optional, style=style)


def name(head: str, *, optional: bool = False) -> Column:
    """Return a column of names or dates, which would be hard to read in parts: never wrapped nor cut."""
    return Column(head, is_optional=optional, is_whole=True)


def identifier(head: str, *, optional: bool = False) -> Column:
    """Return a column of ids, to be copied: never wrapped nor cut."""
    return Column(head, is_optional=optional, is_whole=True, style="dim")


def print_table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    footer: Sequence[str] | None = None,
    dim: Iterable[int] = (),
) -> None:
    """Print a table on stdout; `footer` is a last row of totals, `dim` the numbers of rows that matter less.

    When the terminal is too narrow, optional columns go, the last first; numbers are never cut. Where what is
    left has no room either, each row is a paragraph, its first cell above the others.
    """
    from rich import box
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    out = console()
    cells = [[safe(cell) for cell in row] for row in (*rows, *([footer] if footer else []))]
    shown, width = _fitting(columns, cells, out.width)
    faint = frozenset(dim)
    if title:
        heading(title)
    if width > out.width:
        left = [columns[place] for place in shown]
        _print_paragraphs(left, [[row[place] for place in shown] for row in cells], faint)
        return
    table = Table(
        box=box.SIMPLE if streams.is_unicode(out.file) else box.Box(_PLAIN_BOX, ascii=True),
        show_edge=False,
        pad_edge=False,
        padding=(0, _GAP, 0, 0),
        collapse_padding=True,
        show_footer=footer is not None,
        header_style="dim",
        footer_style="bold",
    )
    for index in shown:
        column = columns[index]
        foot = Text(safe(footer[index])) if footer else ""
        if column.is_number:
            table.add_column(column.head, foot, justify="right", no_wrap=True, overflow="crop")
        else:
            table.add_column(column.head, foot, overflow="fold", no_wrap=column.is_whole, style=column.style)
    for position, row in enumerate(cells[: len(rows)]):
        table.add_row(*(Text(row[index]) for index in shown), style="dim" if position in faint else "")
    _print_lines(out, Padding(table, (0, 0, 0, 2)))


def _print_paragraphs(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], faint: frozenset[int]
) -> None:
    """Print rows below each other: the first cell of each, then what the others say, behind their heads."""
    from rich.cells import cell_len
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    out, others = console(), columns[1:]
    head_width = max((len(column.head) for column in others), default=0)
    numbers = (
        row[place] for row in rows for place, column in enumerate(columns) if place and column.is_number
    )
    out.width = max(out.width, 4 + head_width + _GAP + max(map(cell_len, numbers), default=0))
    for position, (name, *cells) in enumerate(rows):
        style = "dim" if position in faint else ""
        first, rest = Table.grid(), Table.grid(padding=(0, _GAP, 0, 0))
        first.add_column(overflow="fold", style=style)
        first.add_row(Text(name))
        rest.add_column(style="dim", no_wrap=True, width=head_width)
        rest.add_column(overflow="fold", style=style)
        for column, cell in zip(others, cells, strict=True):
            if cell not in ("", "–"):
                rest.add_row(column.head, Text(cell))
        _print_lines(out, Padding(first, (0, 0, 0, 2)))
        if rest.row_count:
            _print_lines(out, Padding(rest, (0, 0, 0, 4)))


def _fitting(
    columns: Sequence[Column], cells: Sequence[Sequence[str]], available: int
) -> tuple[list[int], int]:
    """Return the columns that fit, by their places, and the width that they need at least."""
    from rich.cells import cell_len

    widths = [
        max([cell_len(column.head), *(cell_len(row[place]) for row in cells)])
        for place, column in enumerate(columns)
    ]
    least = [
        width
        if column.is_number or column.is_whole
        else min(width, _wrapped_width([column.head, *(row[place] for row in cells)]))
        for place, (width, column) in enumerate(zip(widths, columns, strict=True))
    ]
    shown = list(range(len(columns)))

    def needed() -> int:
        return sum(least[place] + _GAP for place in shown) + _GAP

    for place in reversed(range(len(columns))):
        if columns[place].is_optional and needed() > available:
            shown.remove(place)
    return shown, needed()


def _wrapped_width(texts: Iterable[str]) -> int:
    """Return the width in which texts wrap between words, but for words that are too long to be words."""
    from rich.cells import cell_len

    longest = max((cell_len(word) for text in texts for word in text.split()), default=0)
    return min(max(longest, _TEXT_MINIMUM), _WORD_MAXIMUM)


def _print_lines(out: Console, renderable: Any) -> None:
    """Print without the blanks that a table leaves at the ends of its lines."""
    with out.capture() as captured:
        out.print(renderable, crop=False, no_wrap=True)
    lines = captured.get().splitlines()
    print("\n".join(line.rstrip() for line in lines), file=out.file)  # noqa: T201 -- the screen is ours


def heading(title: str) -> None:
    """Print a blank line and a heading on stdout."""
    from rich.text import Text

    out = console()
    out.print()
    out.print(Text(safe(title), style="bold"))


def print_facts(facts: Mapping[str, str]) -> None:
    """Print names with their values, one a line, on stdout."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    out = console()
    grid = Table.grid(padding=(0, _GAP, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts.items():
        grid.add_row(name, Text(safe(value)))
    _print_lines(out, Padding(grid, (0, 0, 0, 2)))


def print_remark(sign: str, sentence: str, follow: str = "", *, style: str = "") -> None:
    """Print a sign and a sentence on stdout, and below it, faintly, what follows from it."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    out = console()
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True, style=style)
    grid.add_column(overflow="fold")
    grid.add_row(safe(sign), Text(safe(sentence)))
    if follow:
        grid.add_row("", Text(safe(follow), style="dim"))
    _print_lines(out, Padding(grid, (0, 0, 0, 2)))


#: Severity → its sign and its colour.
_SIGNS = {"critical": ("✗", "bold red"), "warning": ("!", "yellow"), "info": ("•", "cyan")}
#: From this width on, a finding's cure has room below its sentence, and its severity is written out.
_WIDE = 110


def print_findings(findings: Sequence[tuple[str, str, str, str]]) -> None:
    """Print severity, name, sentence and cure of findings on stdout, each cure faintly below."""
    from rich.cells import cell_len
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    out = console()
    is_wide = out.width >= _WIDE
    name_width = max((cell_len(name) for _, name, _, _ in findings), default=0)
    for severity, name, sentence, cure in findings:
        sign, style = _SIGNS[severity]
        grid = _finding_grid(name_width, label_width=10 if is_wide else 1)
        label = f"{sign} {severity}" if is_wide else sign
        grid.add_row(Text(label, style=style), Text(safe(name), style="dim"), Text(safe(sentence)))
        if cure and is_wide:
            # Assembled, so that the blanks behind it have no style and can be cut off.
            grid.add_row("", "", Text.assemble((f"→ {safe(cure)}", "dim")))
        _print_lines(out, Padding(grid, (0, 0, 0, 2)))
        if cure and not is_wide:
            below = Table.grid(padding=(0, 1, 0, 0))
            below.add_row(Text("→", style="dim"), Text.assemble((safe(cure), "dim")))
            _print_lines(out, Padding(below, (0, 0, 0, 5)))


def _finding_grid(name_width: int, *, label_width: int) -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, _GAP, 0, 0))
    grid.add_column(no_wrap=True, width=label_width)
    grid.add_column(no_wrap=True, width=name_width)
    grid.add_column(overflow="fold")
    return grid


def print_document(text: str) -> None:
    """Print text for programs on stdout as it is."""
    print(text, end="")  # noqa: T201 -- stdout is where the result belongs


def print_line(line: str = "", *, style: str = "") -> None:
    """Print one line, or paragraph, on stdout."""
    from rich.text import Text

    console().print(Text(safe(line), style=style))


def print_statement(sql: str) -> None:
    """Print a statement as it is, its lines never broken, faintly and set in."""
    from rich.text import Text

    out = console()
    for line in f"{sql};".splitlines():
        out.print(Text(f"  {safe(line)}", style="dim"), soft_wrap=True)


def say(line: str) -> None:
    """Print talk, which is no result, on stderr; after what stdout has kept, for a log of both."""
    from rich.text import Text

    streams.flush()
    # Through the console of a bar that is shown, which takes the bar away for the moment.
    out = Progress.shown[-1] if Progress.shown else console(stderr=True)
    out.print(Text(safe(line)))


def print_json(document: Any) -> None:
    """Print one JSON document on stdout; times as ISO 8601 in UTC, dataclasses as objects."""
    text = json.dumps(document, default=_plain, indent=2, ensure_ascii=not streams.is_unicode(sys.stdout))
    print(text)  # noqa: T201 -- stdout is where the result belongs


def _plain(value: Any) -> Any:
    """Return what JSON can hold. Raises TypeError for what it can't."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset, tuple)):
        return sorted(value) if isinstance(value, (set, frozenset)) else list(value)
    raise TypeError(f"{type(value).__name__} has no place in a JSON document")


# --- questions and progress ------------------------------------------------------------------------------


def confirm(question: str, yes: bool) -> None:
    """Return if the user agrees, by --yes or at the terminal, having seen on it what he agrees to.

    Raises Refused when he doesn't, and when there is no terminal to ask at; OutputFault when what he agreed
    to could not be written.
    """
    streams.flush()
    if yes:
        return
    reason = _why_not_to_ask()
    if reason:
        look = ", or --dry-run to see what would happen" if _has_dry_run() else ""
        raise Refused(
            f"This wants a confirmation, and {reason}.",
            hint=f"Add --yes to go on without a question{look}.",
            done="Nothing was changed.",
        )
    if not _is_yes(question):
        raise Refused("You did not confirm.", done="Nothing was changed.")


def _is_for_programs() -> bool:
    """Say whether the command that runs was given --json, and so has shown no plan."""
    import click

    context = click.get_current_context(silent=True)
    return context is not None and bool(context.params.get("as_json"))


def _has_dry_run() -> bool:
    """Say whether the command that runs has such an option."""
    import click

    context = click.get_current_context(silent=True)
    return context is not None and any("--dry-run" in option.opts for option in context.command.params)


def _why_not_to_ask() -> str:
    if not sys.stdin.isatty():
        return "there is no terminal to ask at"
    if not sys.stdout.isatty():
        return "what it would do was not shown on the terminal: the output goes elsewhere"
    if _is_for_programs():
        return "what it would do is not shown with --json"
    return "" if sys.stderr.isatty() else "the question would not be seen: stderr goes elsewhere"


def _is_yes(question: str) -> bool:
    """Ask once. Whatever isn't a yes is a no, Ctrl-D and Ctrl-C too; raises Terminated for other signals."""
    try:
        sys.stderr.write(f"{safe(question)} [y/N]: ")
        sys.stderr.flush()
        answer = sys.stdin.readline()
    except Terminated:
        raise
    except KeyboardInterrupt:
        answer = ""
    if not answer.endswith("\n"):
        sys.stderr.write("\n")  # what follows begins a line of its own
    return answer.strip().lower() in ("y", "yes")


class Progress:
    """How far long work has come, on stderr: a moving bar at a terminal, else a line every few seconds.

    Use it as a context manager and call `at` as often as you like.
    """

    #: The consoles of the bars on the screen, the innermost last: what is said meanwhile goes through it.
    shown: ClassVar[list[Console]] = []

    def __init__(self, title: str, total: int | None, *, unit: str = "rows") -> None:
        self._title = safe(title)
        self._total = total
        self._unit = unit
        self._done = 0
        self._started = self._told = time.monotonic()
        self._bar: progress.Progress | None = None
        self._task: progress.TaskID | None = None

    def __enter__(self) -> Self:
        self._started = self._told = time.monotonic()
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            from rich import progress  # the heavier half of rich, for terminals alone

            out = console(stderr=True)
            self._bar = progress.Progress(
                progress.TextColumn("{task.description}", markup=False),
                # Without colours a bar that has no end looks as if it had come to it.
                progress.BarColumn(bar_width=20) if self._total else progress.SpinnerColumn("line"),
                progress.TextColumn("{task.fields[state]}", markup=False),
                console=out,
                transient=True,
            )
            self._task = self._bar.add_task(self._title, total=self._total, state="")
            self._bar.start()
            self.shown.append(out)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self.shown.pop()
            self._bar.stop()

    def at(self, done: int, note: str = "") -> None:
        """Say how much is done in all so far; `note` is shown behind it (the current table, a wait)."""
        self._done = done
        state = self._state(note)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, state=state)
        elif time.monotonic() - self._told >= _LINE_EVERY_SECONDS:
            self._told = time.monotonic()
            say(f"{self._title}: {state}")

    def _state(self, note: str) -> str:
        """Return how far it is, the rate, the time left; beside a bar without the rows, to fit a line."""
        elapsed = time.monotonic() - self._started
        speed = self._done / elapsed if elapsed > 0 else 0.0
        parts = []
        if self._total:
            # An estimated total may be passed: never claim more than all of it.
            parts.append(f"{100 * min(self._done / self._total, 1.0):.0f} %")
        if self._bar is None or not self._total:
            of = f" of {count(self._total)}" if self._total else ""
            parts.append(f"{count(self._done)}{of} {self._unit}")
        if elapsed >= 1:
            parts.append(f"{count(round(speed))} {self._unit}/s")
            if self._total and speed and self._done < self._total:
                parts.append(f"{duration((self._total - self._done) / speed)} left")
        return safe(" · ".join([*parts, note] if note else parts))
