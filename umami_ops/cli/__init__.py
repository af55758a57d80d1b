"""The command line: the group `main`, commands loaded on demand, the one place that ends a run with an error.

A command lives in a module of its own, named in `COMMANDS`. Nothing that is imported here or by `--help` may
import a driver, rich, sqlglot or pydantic: a test looks.
"""

from __future__ import annotations

import difflib
import io
import os
import re
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from umami_ops import __version__
from umami_ops.cli import options
from umami_ops.errors import OpsError

#: Command → the module that holds it under the command's own name, and its line in `--help`.
COMMANDS = {
    "info": ("umami_ops.cli.info", "Show what this database is, what it holds and how it grows."),
    "health": ("umami_ops.cli.health", "Say what is wrong with this database, and what mends it."),
    "prune": (
        "umami_ops.cli.prune",
        "Delete visitor data older than a horizon, and what hangs on it, in small transactions.",
    ),
    "vacuum": (
        "umami_ops.cli.vacuum",
        "Refresh statistics, make space of dead rows usable, rebuild indexes, return space to the disk.",
    ),
}

_ISSUES = "https://github.com/umami-ops/umami-ops/issues"
_COLOURS = {"error": "red", "hint": "cyan"}
_STOPPED = 3
_SECRET = re.compile(r"(://[^:/@\s]*):[^\s]*@")


class OpsGroup(click.Group):
    """A group that imports its commands on demand and turns every failure into lines and an exit code.

    0 done · 1 failed · 2 usage · 3 stopped early, safe to rerun · 4 lock held · 5 refused.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Return the names of the commands, imported or not."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command of that name; None when there is none."""
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command = getattr(import_module(module), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name; for an unknown one suggest the nearest."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
            hint = f" Did you mean '{near[0]}'?" if near else f" There are: {', '.join(COMMANDS)}."
            ctx.fail(f"No such command '{name}'.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands from `COMMANDS`, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run the command line and leave the process with the exit code that says how it went."""
        extra["standalone_mode"] = False
        for stream in (sys.stdout, sys.stderr):
            # A terminal of another encoding than UTF-8 gets escapes instead of a crash.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        code = _guarded(lambda: super(OpsGroup, self).main(args, prog_name, **extra))
        sys.exit(code)


def _guarded(run: Any) -> int:
    """Run the command line; return the exit code, having said on stderr what went wrong."""
    try:
        code = run()
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as fault:
        _correct(fault)
        return fault.exit_code
    except OpsError as fault:
        _explain(fault)
        return fault.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("stopped by Ctrl-C: what was committed stays, the rest was rolled back; rerunning is safe")
        return _STOPPED
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing is left to say, at interpreter exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as fault:  # noqa: BLE001 -- the last resort before a traceback would meet the user
        _confess(fault)
        return 1


def _correct(fault: click.ClickException) -> None:
    """Say what is wrong with the command line, and where its help is."""
    context = fault.ctx if isinstance(fault, click.UsageError) else None
    _say(fault.format_message(), "error")
    if context is not None:
        _say(f"see '{context.command_path} --help'", "hint")


def _explain(fault: OpsError) -> None:
    _say(fault.message, "error")
    if fault.done:
        _say(fault.done)
    if fault.hint:
        _say(fault.hint, "hint")


def _confess(fault: Exception) -> None:
    """Admit a bug in one line; the traceback is for those who ask, since it may show data."""
    if os.environ.get("UMAMI_OPS_DEBUG") == "1":
        _say("".join(traceback.format_exception(fault)).rstrip())
    frame = traceback.extract_tb(fault.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    _say(f"this is a bug in umami-ops {__version__}: {type(fault).__name__} in {place}", "error")
    _say(f"UMAMI_OPS_DEBUG=1 shows the traceback; please report it at {_ISSUES}", "hint")


def _say(text: str, label: str = "") -> None:
    """Print on stderr, with a label in colour where a terminal takes colours."""
    if label:
        is_plain = bool(os.environ.get("NO_COLOR"))
        shown = f"{label}:" if is_plain else click.style(f"{label}:", fg=_COLOURS[label], bold=True)
        text = f"{shown} {text}"
    click.echo(_redacted(text), err=True)


def _redacted(text: str) -> str:
    """Take the password out of whatever looks like a URL, should one have slipped into a message."""
    return _SECRET.sub(r"\1:***@", text)


@click.group(cls=OpsGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="umami-ops", message="%(prog)s %(version)s")
@options.config
@options.url
def main() -> None:
    r"""Operate the database of a self-hosted Umami on PostgreSQL, MySQL or MariaDB.

    DATABASE_URL is read exactly as Umami reads it, from the environment or from .env in this folder.

    \b
    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 stopped early and safe to rerun,
    4 another run holds the lock, 5 refused because a precondition is not met.
    """
