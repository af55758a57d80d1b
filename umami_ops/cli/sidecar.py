"""What `daemon`, `run`, `schedule`, `history` and `config` share: the configuration, with steps held to the
commands.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from umami_ops import VARIABLE_PREFIX
from umami_ops.cli import COMMANDS, main, options, variables
from umami_ops.errors import OpsError, UsageFault

if TYPE_CHECKING:
    from umami_ops.daemon.configuration import Configuration
    from umami_ops.daemon.jobs import Step
    from umami_ops.daemon.runner import Program
    from umami_ops.daemon.written import Commands
    from umami_ops.databases.base import Database
    from umami_ops.places import Places

#: What runs where nothing is configured; a step that needs more than is there, prune without a horizon say,
#: is left out.
_NIGHTLY = ("backup --verify", "backup prune", "prune", "partition maintain", "vacuum --if-needed")
_USUAL = (("nightly", "0 3 * * *", _NIGHTLY), ("health", "@hourly", ("health",)))
#: The options of prune without any of which it has no horizon.
_HORIZONS = ("days", "before", "keep", "tables")
_HELP = {"-h", "--help"}
#: Variables that belong to no option and to no setting of the daemon.
_READ_ELSEWHERE = ("CONFIG", "DEBUG", "DAEMON_PROCESS", "PROGRAMS", "STORE")


def read_configuration(places: Places | None = None) -> Configuration:
    """Read the daemon's settings and jobs, and hold the options of every command to what they take.

    Raises UsageFault with the place of a mistake, OpsError for a file that can't be read, and where the
    libraries of the extra `daemon` are missing.
    """
    try:
        from umami_ops.daemon.configuration import read
    except ModuleNotFoundError as fault:
        raise _extra(fault) from None
    places = places or options.places_from_options()
    try:
        _check_options(places)
        return read(places, commands(places))
    except ModuleNotFoundError as fault:
        raise _extra(fault) from None


def _check_options(places: Places) -> None:
    """Hold what is configured for the options of commands to what they take, or it would be told at three in
    the morning. Raises UsageFault.
    """
    for path, command in all_commands():
        variables.check_variables(places, path, command)
        if len(path) == 1:
            variables.defaults(places, path[0], command)


def _extra(fault: ModuleNotFoundError) -> OpsError:
    return OpsError(
        f"The library {fault.name} is not installed.",
        hint="Install the extra: pip install 'umami-ops[daemon]'",
    )


def all_commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with its path, those below groups too."""
    context = click.Context(main, **main.context_settings)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        yield from variables.walk(command, (name,))


def commands(places: Places) -> Commands:
    """Return what the configuration is to know of the commands."""
    from umami_ops.daemon.written import Commands

    def prepare(step: Step) -> Step:
        return prepared(step, places)

    known = {VARIABLE_PREFIX + name for name in _READ_ELSEWHERE}
    known |= {variables.variable(("health",), name) for name in variables.owned("health")}
    for _, command in all_commands():
        for option in variables.options_of(command).values():
            known |= {option.envvar} if isinstance(option.envvar, str) else set(option.envvar or ())
    paths = [path for path, _ in all_commands() if path[0] not in variables.ABOUT_JOBS]
    daemon = main.get_command(click.Context(main, **main.context_settings), "daemon")
    assert daemon is not None
    return Commands(
        prepare,
        frozenset(known),
        _USUAL,
        {"_".join(path).upper().replace("-", "_"): " ".join(path) for path in paths},
        variables.tables(),
        tuple(variables.options_of(daemon)),
    )


def prepared(step: Step, places: Places) -> Step:
    """Return a step as it will be run: it asks nobody, and prints JSON. Raises UsageFault for what can't be
    run.
    """
    from dataclasses import replace

    name, *words = step.arguments
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(COMMANDS)}."
        raise UsageFault(f"there is no command {name!r}.", hint=hint)
    if name in variables.ABOUT_JOBS:
        raise UsageFault(f"{name!r} can't be a step of a job.")
    if _HELP & set(words):
        raise UsageFault(f"{step.text!r} would only show help.")
    context = parsed(name, words, places)
    extra = _extra_words(context)
    at = step.arguments.index("--") if "--" in step.arguments else len(step.arguments)
    arguments = (*step.arguments[:at], *extra, *step.arguments[at:])
    continues = "max_duration" in variables.options_of(context.command)
    return replace(step, arguments=arguments, keeps_days=_keeps_days(name, context), continues=continues)


def parsed(name: str, words: list[str], places: Places) -> click.Context:
    """Parse a command line as it would be when it runs. Raises UsageFault."""
    top = click.Context(main, info_name="umami-ops", **main.context_settings)
    command = main.get_command(top, name)
    assert command is not None
    top.default_map = {name: variables.defaults(places, name, command)}
    try:
        with top:
            context = command.make_context(name, [*words], parent=top)
            while isinstance(context.command, click.Group):
                rest = [*_protected(context), *context.args]
                if not rest:
                    if not context.command.invoke_without_command:
                        raise click.UsageError(f"{context.info_name} needs one of its commands", context)
                    break
                with context:
                    sub_name, sub, sub_words = context.command.resolve_command(context, rest)
                    assert sub is not None
                    context = sub.make_context(sub_name, sub_words, parent=context)
    except click.UsageError as fault:
        raise UsageFault(
            f"{' '.join((name, *words))!r} is not understood: {options.in_words(fault)}"
        ) from None
    return context


def _protected(context: click.Context) -> list[str]:
    """Return the words that click took for the name of a command; the attribute's name changed with 8.2."""
    words: list[str] = getattr(context, "_protected_args", None) or []
    return words


def _extra_words(context: click.Context) -> list[str]:
    """Return what a step needs beyond what was written: nobody is there to be asked, and a program reads."""
    known = variables.options_of(context.command)
    words = []
    for key in ("yes", "json"):
        option = known.get(key)
        if option is not None and not context.params.get(str(option.name)):
            words.append(f"--{key}")
    form = known.get("format")
    is_written = (
        form is not None
        and context.get_parameter_source(str(form.name)) is click.core.ParameterSource.COMMANDLINE
    )
    if form is not None and not is_written and "json" in getattr(form.type, "choices", ()):
        words += ["--format", "json"]
    return words


def _keeps_days(name: str, context: click.Context) -> float | None:
    """Return the horizon of a step that has one. Raises Lacking where none is given, UsageFault for a wrong
    one.
    """
    from umami_ops.daemon.written import Lacking

    horizon_days = getattr(import_module(COMMANDS[name][0]), "horizon_days", None)
    if horizon_days is None:
        return None
    try:
        with context:
            days: float | None = horizon_days(context.params)
    except UsageFault as fault:
        if any(context.params[option] not in (None, ()) for option in _HORIZONS):
            raise
        raise Lacking(fault.message, hint=fault.hint) from None
    return days


class Accepted:
    """The settings file as it was when it was accepted, whatever becomes of the one on the disk.

    In memory and without a name, gone with this process: it may hold a password.
    """

    def __init__(self, places: Places) -> None:
        self._stream = os.fdopen(os.memfd_create("umami-ops.toml"), "w+b")
        self._stream.write(places.file.text.encode())
        self._stream.flush()
        self.path = Path(f"/proc/{os.getpid()}/fd/{self._stream.fileno()}")
        """Where this process and those that it starts find it, for as long as this object is kept."""


def program(accepted: Accepted) -> Program:
    """Return how steps are called: with the settings file that was accepted."""
    from umami_ops.daemon.runner import Program

    environment = {**os.environ, "NO_COLOR": "1", "UMAMI_OPS_DAEMON_PROCESS": str(os.getpid())}
    url = options.flags().url
    if url is not None:
        for name in ("DATABASE_URL_FILE", "DIRECT_DATABASE_URL", "DIRECT_DATABASE_URL_FILE"):
            environment.pop(name, None)
        environment["DATABASE_URL"] = url
    # Without -P Python would look for libraries in the working directory first.
    words = [sys.executable, "-P", "-m", "umami_ops.cli.step", "--config", str(accepted.path)]
    return Program(words, environment, accepted)


def database_opener(accepted: Accepted) -> Callable[[], Database]:
    """Return what opens the database of the accepted settings, from any thread: the one that steps work on.

    Files that hold the address are read anew each time. Raises UsageFault at once when none is named.
    """
    from umami_ops.databases.registry import open_database
    from umami_ops.settings import load

    url = options.flags().url
    tables = variables.tables()

    def open_it() -> Database:
        settings = load(url=url, config=accepted.path, tables=tables)
        return open_database(settings.database(needs_session=True))

    open_it()
    return open_it
