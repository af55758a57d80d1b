"""Words for numbers, and tables that fit."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import click
import pytest

from umami_ops.cli import render
from umami_ops.cli.signals import Terminated
from umami_ops.errors import Refused


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9_949, "9.9 kB"), (9_950, "10 kB"), (999_499, "999 kB"),
     (999_500, "1.0 MB"), (1_234_567_890, "1.2 GB"), (5 * 10**15, "5000 TB")],
)  # fmt: skip
def test_sizes(size_bytes: int, words: str) -> None:
    assert render.size(size_bytes) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0.00 s"), (0.42, "0.42 s"), (0.999, "1.0 s"), (9.94, "9.9 s"), (12.4, "12 s"), (59.6, "1 min"),
     (200, "3 min 20 s"), (7500, "2 h 5 min"), (3599.9, "1 h"), (273_600, "3 d 4 h")],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert render.duration(seconds) == words


@pytest.mark.parametrize(
    ("number", "counted", "estimated"),
    [(0, "0", "~0"), (999, "999", "~999"), (1234, "1,234", "~1,230"), (1_234_567, "1,234,567", "~1,230,000")],
)
def test_counts(number: int, counted: str, estimated: str) -> None:
    assert render.count(number) == counted
    assert render.count(number, estimated=True) == estimated


@pytest.mark.parametrize(
    ("part", "whole", "words"),
    [(0, 0, "–"), (0, 10, "0 %"), (1, 10_000, "<0.1 %"), (1, 30, "3.3 %"), (1, 3, "33 %"), (7, 7, "100 %")],
)
def test_percentages(part: int, whole: int, words: str) -> None:
    assert render.percentage(part, whole) == words


def test_moments_are_in_utc() -> None:
    assert render.moment(None) == "–"
    assert (
        render.moment(datetime(2025, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))) == "2025-02-28 23:30"
    )


def test_terminals_are_not_steered() -> None:
    assert render.safe("a\x1b[2Jb\r\n\u202e\x9b\x00") == r"a\x1b[2Jb\r\n\u202e\x9b\x00"
    assert render.safe("Bücher 🍵 👩\u200d💻 [bold]") == "Bücher 🍵 👩\u200d💻 [bold]"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


_COLUMNS = (
    render.text("name"),
    render.number("rows"),
    render.number("bytes"),
    render.text("place", optional=True),
)
_ROWS = [
    ("session_replay_saved", "12,345,678,901", "123,456,789", "a place with quite a few words in it")
] * 2


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_numbers_are_never_cut(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = _Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    render.print_table(_COLUMNS, _ROWS, title="Tables", footer=("total", "24,691,357,802", "246,913,578", ""))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    assert shown.count("12,345,678,901") == 2
    assert shown.count("246,913,578") == 1
    assert ("place" in shown) == (width >= 80)
    assert max(map(len, shown.splitlines())) <= max(width, 30)


def test_a_table_without_room_is_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = _Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    columns = [
        render.identifier("Migration"),
        render.number("Time"),
        render.number("Disk"),
        render.text("Waits"),
    ]
    rows = [
        ("27_optimize_website_event_indexes", "~3 min", "~8.1 MB", "website_event: everybody"),
        ("a_name_that_is_much_longer_than_the_terminal_is_wide", "at once", "–", "–"),
    ]
    render.print_table(columns, rows, title="What comes", footer=("all", "~3 min", "~8.1 MB", ""))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    assert shown == (
        "\nWhat comes\n"
        "  27_optimize_website_event_indexes\n"
        "    Time   ~3 min\n"
        "    Disk   ~8.1 MB\n"
        "    Waits  website_event: everybody\n"
        "  a_name_that_is_much_longer_than_the_te\n"
        "  rminal_is_wide\n"
        "    Time   at once\n"
        "  all\n"
        "    Time   ~3 min\n"
        "    Disk   ~8.1 MB\n"
    )


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_findings_fit(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = _Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    sentence = "Index website_event_website_id_created_at_tag_idx of website_event is called foo here."
    findings = [("critical", "duplicate_session_data", sentence, "umami-ops prune --days 365 --orphans")]
    render.print_findings([*findings, ("info", "x\x1b[2J", "Fine.", "")])
    shown = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    assert max(map(len, shown.splitlines())) <= width
    assert "duplicate_session_data" in shown
    assert "→ umami-ops prune --days 365 --orphans\n" in shown
    assert ("✗ critical" in shown) == (width >= 110)
    assert r"x\x1b[2J" in shown


def test_a_pipe_gets_whole_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    render.print_table(_COLUMNS, _ROWS)
    shown = capsys.readouterr().out
    assert "a place with quite a few words in it\n" in shown
    assert "\x1b" not in shown


def test_without_a_terminal_only_yes_confirms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    render.confirm("Go on?", yes=True)
    with pytest.raises(Refused) as caught:
        render.confirm("Go on?", yes=False)
    assert "--yes" in (caught.value.hint or "")


def _terminals(monkeypatch: pytest.MonkeyPatch, typed: str, *elsewhere: str) -> io.StringIO:
    """Make all three streams terminals, but for some; return stderr."""
    kinds = {name: io.StringIO if name in elsewhere else _Terminal for name in ("stdin", "stdout", "stderr")}
    streams = {name: kind(typed if name == "stdin" else "") for name, kind in kinds.items()}
    for name, stream in streams.items():
        monkeypatch.setattr(f"sys.{name}", stream)
    return streams["stderr"]


@pytest.mark.parametrize("elsewhere", ["stdin", "stdout", "stderr"])
def test_nobody_is_asked_about_what_he_has_not_seen(elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _terminals(monkeypatch, "y\n", elsewhere)
    with pytest.raises(Refused, match="wants a confirmation") as caught:
        render.confirm("Go on?", yes=False)
    assert "--dry-run" not in (caught.value.hint or "")
    assert asked.getvalue() == ""
    looking = click.Command("look", params=[click.Option(["--dry-run"], is_flag=True)])
    with click.Context(looking), pytest.raises(Refused) as caught:
        render.confirm("Go on?", yes=False)
    assert "--dry-run" in (caught.value.hint or "")


def test_a_question_is_answered_with_yes_or_else_no(monkeypatch: pytest.MonkeyPatch) -> None:
    for typed in ("y\n", " YES\n"):
        asked = _terminals(monkeypatch, typed)
        render.confirm("Go on?", yes=False)
        assert asked.getvalue() == "Go on? [y/N]: "
    for typed in ("\n", "n\n", "yesterday\n", "perhaps\n"):
        _terminals(monkeypatch, typed)
        with pytest.raises(Refused, match="You did not confirm"):
            render.confirm("Go on?", yes=False)


def test_the_end_of_the_input_is_a_no_on_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _terminals(monkeypatch, "")
    with pytest.raises(Refused, match="You did not confirm"):
        render.confirm("Go on?", yes=False)
    assert asked.getvalue() == "Go on? [y/N]: \n"


class _Keyboard(_Terminal):
    """A terminal at which somebody does something else than to answer."""

    def __init__(self, fault: BaseException) -> None:
        super().__init__()
        self._fault = fault

    def readline(self, *_size: object) -> Any:
        raise self._fault


def test_ctrl_c_at_the_question_is_a_no_and_sigterm_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _terminals(monkeypatch, "")
    monkeypatch.setattr("sys.stdin", _Keyboard(KeyboardInterrupt()))
    with pytest.raises(Refused, match="You did not confirm"):
        render.confirm("Go on?", yes=False)
    assert asked.getvalue().endswith("\n")
    monkeypatch.setattr("sys.stdin", _Keyboard(Terminated()))
    with pytest.raises(Terminated):
        render.confirm("Go on?", yes=False)


@pytest.mark.parametrize(("width", "shown"), [(80, False), (120, True)])
def test_ids_appear_whole_or_not_at_all(width: int, shown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = _Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("COLUMNS", str(width))
    id_ = "0b64b7a6-7f4c-4a5b-9d5e-2f8a2b0c1d3e"
    columns = (*_COLUMNS, render.identifier("id", optional=True))
    render.print_table(columns, [(*_ROWS[0], id_)])
    assert (id_ in screen.getvalue()) is shown


def test_a_terminal_without_letters_gets_plain_signs_in_straight_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", screen)
    render.print_table(_COLUMNS[:2], [("B\u00fccher \u2013 \U0001f375", "12"), ("b", "1,234")])
    render.print_remark("\u2192", "onwards")
    render.print_json({"name": "B\u00fccher"})
    screen.seek(0)
    table, document = screen.read().split("{", 1)
    assert table.splitlines() == [
        "  name                      rows",
        "  ------------------------------",
        "  B\\xfccher - \\U0001f375      12",
        "  b                        1,234",
        "  -> onwards",
    ]
    assert document.strip() == '"name": "B\\u00fccher"\n}'


def test_progress_in_a_pipe_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with render.Progress("Deleting", 1000) as progress:
        for done in range(0, 1100, 100):
            progress.at(done, "session" if done else "")
            now += 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 3
    assert lines[0] == "Deleting: 30 % · 300 of 1,000 rows · 50 rows/s · 14 s left · session"


def test_what_is_said_beside_a_bar_has_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = _Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    sentence = "The server closed the connection; connecting again."
    with render.Progress("prune", 100) as progress:
        progress.at(10, "events")
        render.say(sentence)
    render.say("After it.")
    shown = screen.getvalue()
    said = shown.index(sentence)
    # The line is emptied before, and the bar is drawn anew below.
    assert re.search(r"\r\x1b\[2K(\x1b\[\d*m)*$", shown[:said])
    assert re.match(r"(\x1b\[\d*m)*\r?\n.*prune", shown[said + len(sentence) :])
    assert shown.endswith("After it.\n")


def test_json_speaks_iso_8601_in_utc(capsys: pytest.CaptureFixture[str]) -> None:
    render.print_json({"at": datetime(2025, 3, 1, 12, tzinfo=UTC), "names": frozenset({"b", "a"})})
    assert '"2025-03-01T12:00:00Z"' in capsys.readouterr().out
