"""docs/cli.md describes every command and every option."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from umami_ops.cli import COMMANDS, main
from umami_ops.operations import problems

_DOCUMENT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


def _section(name: str) -> str:
    """The text under a command's heading."""
    found = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", _DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found, f"docs/cli.md has no section '## {name}'"
    return found[1]


def _options(command: click.Command) -> list[str]:
    """The long names of a command's options, and of those below it, `--help` excepted, which all share."""
    if isinstance(command, click.Group) and command is not main:
        below = (option for each in command.commands.values() for option in _options(each))
        return list(dict.fromkeys(below))
    names = [name for option in command.params for name in (*option.opts, *option.secondary_opts)]
    return [name for name in names if name.startswith("--") and name != "--help"]


def _command(name: str) -> click.Command:
    command = main.get_command(click.Context(main, **main.context_settings), name)
    assert command is not None
    return command


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    section = _section(f"umami-ops {name}")
    missing = [option for option in _options(_command(name)) if f"`{option}" not in section]
    assert not missing


def test_the_options_of_the_group_are_documented() -> None:
    section = _section("umami-ops")
    assert not [option for option in _options(main) if f"`{option}" not in section]


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_is_documented_that_does_not_exist(name: str) -> None:
    rows = re.findall(r"^\| `(--[a-z-]+)", _section(f"umami-ops {name}"), re.MULTILINE)
    assert not set(rows) - set(_options(_command(name)))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_the_group_says_what_the_command_says(name: str) -> None:
    assert (_command(name).help or "").splitlines()[0] == COMMANDS[name][1]


def test_every_problem_is_documented() -> None:
    source = Path(problems.__file__).read_text(encoding="utf-8")
    codes = set(re.findall(r"(?:_blocking|_note|Problem)\(\s*\"(\w+)\"", source)) | {"no_select", "no_delete"}
    assert len(codes) > 10
    assert not [code for code in codes if f"`{code}`" not in _DOCUMENT]
