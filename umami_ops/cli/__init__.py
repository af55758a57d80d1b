"""The command line: the group `main`, commands loaded on demand, the one place that ends a run with an error.

A command lives in a module of its own, named in `COMMANDS`. Nothing that is imported here or by `--help` may
import a driver, rich, sqlglot or pydantic: a test looks.
"""

from __future__ import annotations

import atexit
import difflib
import gc
import os
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from umami_ops import __version__
from umami_ops.cli import options, signals, streams, variables
from umami_ops.errors import OpsError
from umami_ops.redaction import redact_urls

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
    "backup": (
        "umami_ops.cli.backup",
        "Make a backup that is proven to restore; list, verify and rotate backups.",
    ),
    "restore": ("umami_ops.cli.restore", "Bring a backup back, all of it or nothing."),
    "export": (
        "umami_ops.cli.export",
        "Write Umami's data as files, month by month, under the names of its API.",
    ),
    "partition": (
        "umami_ops.cli.partition",
        "Put website_event into partitions by time, online; maintain and split them; and go back.",
    ),
    "upgrade": (
        "umami_ops.cli.upgrade",
        "See what Umami's next upgrade will do, prepare it, or repair one that failed.",
    ),
    "migrate": (
        "umami_ops.cli.migrate",
        "Move the whole database to another server, of the same dialect or the other, and prove it.",
    ),
    "verify": ("umami_ops.cli.verify", "Compare two databases row by row, by checksums of both servers."),
    "daemon": ("umami_ops.cli.daemon", "Run jobs on a schedule, keep their history, and tell somebody."),
    "run": ("umami_ops.cli.run", "Run a job now, as the daemon would."),
    "schedule": ("umami_ops.cli.schedule", "Show when each job runs next."),
    "history": ("umami_ops.cli.history", "Show what the last runs of jobs came to."),
    "config": ("umami_ops.cli.config", "Check the configuration, or show it and where each value is from."),
}

_COLOURS = {"error": "red", "hint": "cyan"}
_FAILED, _USAGE, _STOPPED = 1, 2, 3
#: So many new objects between two looks for garbage, instead of 700: nearly all that a command makes at its
#: start is modules and classes, which stay; looking through them again and again took a sixth of that time.
_OBJECTS_BETWEEN_COLLECTIONS = 50_000


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
        return variables.bind(command, (cmd_name,))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name; for an unknown one suggest the nearest."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
            hint = f" Did you mean '{near[0]}'?" if near else f" There are: {', '.join(COMMANDS)}."
            ctx.fail(f"No such command '{name}'.{hint}")
        found = super().resolve_command(ctx, args)
        if name in COMMANDS and not {"-h", "--help"} & set(args):
            ctx.default_map = {name: _defaults(ctx, name, found[1], args)}
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands from `COMMANDS`, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the options before the command; without anything at all, show the help."""
        if not args and not ctx.resilient_parsing:
            # To stdout, since it helps; but a script that lost its command must not pass for done.
            click.echo(ctx.get_help())
            ctx.exit(_USAGE)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises _Interruption for a Ctrl-C, which click would keep to itself."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as fault:
            raise _Interruption(signals.told(fault)) from fault

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run the command line and leave the process with the exit code that says how it went."""
        extra["standalone_mode"] = False
        gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
        atexit.register(gc.freeze)  # at its end Python would look through all of it again
        streams.prepare()
        with signals.interrupting(to_the_end=args is None):
            code = _ended(lambda: super(OpsGroup, self).main(args, prog_name, **extra))
        sys.exit(code)


def _defaults(
    ctx: click.Context, name: str, command: click.Command | None, args: Sequence[str]
) -> dict[str, Any]:
    """Return what the settings give for a command's options."""
    try:
        return options.defaults_from_places(ctx, name, command)
    except OpsError:
        # The daemon that is asked how it is keeps to the file as it was when it was right.
        if "--probe" not in args:
            raise
        return {}


class _Interruption(Exception):  # noqa: N818 -- the user's own doing
    """A signal ended the command; carried as an exception that click leaves alone."""


def _ended(run: Callable[[], Any]) -> int:
    """Run the command line to its very end, output included; return the exit code."""
    try:
        code = _guarded(run)
        streams.flush()
    except streams.ReaderGone:
        return _FAILED
    except streams.OutputFault as fault:
        _say(f"the output could not be written: {fault.strerror}", "error")
        return _FAILED
    except KeyboardInterrupt:
        return _STOPPED  # a second one, while the first was being told of
    return code


def _guarded(run: Callable[[], Any]) -> int:
    """Run the command line; return the exit code, having said on stderr what went wrong.

    Raises OutputFault when stdout can't be written.
    """
    try:
        code = run()
        return code if isinstance(code, int) else 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else _FAILED
    except click.ClickException as fault:
        _correct(fault)
        return fault.exit_code
    except OpsError as fault:
        _explain(fault)
        return fault.exit_code
    except _Interruption as fault:
        _admit(str(fault))
        return _STOPPED
    except (click.Abort, KeyboardInterrupt) as fault:
        _admit(signals.told(fault))
        return _STOPPED
    except streams.OutputFault:
        raise
    except Exception as fault:  # noqa: BLE001 -- the last resort before a traceback would meet the user
        _confess(fault)
        return _FAILED


def _admit(text: str) -> None:
    """Say that a signal ended the run; at a terminal, where `^C` stands, on a line of its own."""
    if sys.stderr.isatty():
        _say("")
    _say(text)


def _correct(fault: click.ClickException) -> None:
    """Say what is wrong with the command line, and where its help is; a group alone gets its help."""
    if isinstance(fault, click.exceptions.NoArgsIsHelpError):
        click.echo(fault.message)  # to stdout, as for umami-ops alone
        return
    context = fault.ctx if isinstance(fault, click.UsageError) else None
    _say(options.in_words(fault), "error")
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
    _say("With UMAMI_OPS_DEBUG=1 the same command shows the traceback: please report it with that.", "hint")


def _say(text: str, label: str = "") -> None:
    """Print on stderr, after what stdout has kept, with a label in colour where a terminal takes colours."""
    from umami_ops.cli import render

    with suppress(streams.OutputFault):  # what is said here is a failure already, and worth more
        streams.flush()
    plain = "\n".join(render.safe(line) for line in redact_urls(text).split("\n"))
    shown = _folded(f"{label}: {plain}" if label else plain, len(label) + 2)
    if label and sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        shown = click.style(f"{label}:", fg=_COLOURS[label], bold=True) + shown.removeprefix(f"{label}:")
    sys.stderr.write(f"{shown}\n")
    sys.stderr.flush()


def _folded(text: str, indent: int) -> str:
    """Break long lines between words for a terminal, set in from the second on; nowhere else."""
    if not sys.stderr.isatty():
        return text
    fold = textwrap.TextWrapper(
        width=_columns(),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(fold.fill(line) for line in text.splitlines())


def _columns() -> int:
    """Return the width of the terminal behind stderr; stdout may lead elsewhere."""
    wanted = os.environ.get("COLUMNS", "")
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80


@click.group(
    cls=OpsGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 stopped early and safe to rerun, "
    "4 another run holds the lock, 5 refused because a precondition is not met.",
)
@click.version_option(__version__, prog_name="umami-ops", message="%(prog)s %(version)s")
@options.config
@options.url
def main() -> None:
    """Operate the database of a self-hosted Umami on PostgreSQL, MySQL or MariaDB.

    DATABASE_URL is read exactly as Umami reads it, from the environment or from .env in this folder.
    """
