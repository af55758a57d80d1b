"""An environment variable for every option, and the tables of umami-ops.toml that set options.

`prune --days` is UMAMI_OPS_PRUNE_DAYS, or `days` in the table [prune]. The command line outranks variables,
these `.env`, and that the file.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from umami_ops import VARIABLE_PREFIX
from umami_ops.errors import UsageFault

if TYPE_CHECKING:
    from umami_ops.places import Places

#: `--url` is DATABASE_URL, in all its forms; the others say nothing about a run.
_WITHOUT = {"url", "config", "help", "version"}
#: Commands that are about jobs can't be steps of one, and read the variables of all commands.
ABOUT_JOBS = ("daemon", "run", "schedule", "history", "config")
#: Tables and variables whose names begin like a command's, and which settings of the daemon own.
NO_COMMANDS = ("jobs", "notify")


def options_of(command: click.Command) -> dict[str, click.Option]:
    """Return a command's options by key: the long name with underscores."""
    found = {}
    for option in command.params:
        if isinstance(option, click.Option):
            key = _key(option)
            if key not in _WITHOUT:
                found[key] = option
    return found


def _key(option: click.Option) -> str:
    names = [name for name in option.opts if name.startswith("--")]
    return (max(names, key=len) if names else option.opts[0]).lstrip("-").replace("-", "_")


def variable(path: tuple[str, ...], key: str) -> str:
    """Return the name of the variable of an option: `("prune",), "days"` is UMAMI_OPS_PRUNE_DAYS."""
    return VARIABLE_PREFIX + "_".join((*path, key)).upper().replace("-", "_")


def owned(name: str) -> frozenset[str]:
    """Return the keys of a command's table that are no options of it: thresholds, the daemon's settings."""
    if name == "health":
        from dataclasses import fields

        from umami_ops.operations.thresholds import Thresholds

        return frozenset(item.name for item in fields(Thresholds))
    if name == "daemon":
        from umami_ops.daemon.settings import keys

        return keys("daemon")
    return frozenset()


def bind(command: click.Command, path: tuple[str, ...]) -> click.Command:
    """Give each option of a command, and of those below it, its variable, before those it has already."""
    for key, option in options_of(command).items():
        own = variable(path, key)
        others = [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())
        option.envvar = [own, *(name for name in others if name != own)]
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            bind(below, (*path, name))
    return command


def walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield a command and all below it, with their paths."""
    yield path, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from walk(below, (*path, name))


def check_names(names: Mapping[str, str], name: str, command: click.Command) -> None:
    """Refuse a variable that begins like a command's and is none of its. Raises UsageFault.

    `names` have their places. Commands about jobs hold all variables to what there is by themselves.
    """
    if name in ABOUT_JOBS:
        return
    beginning = variable((name,), "")
    ours = {written: place for written, place in names.items() if written.startswith(beginning)}
    if not ours:
        return
    from umami_ops.places import check_names as check

    known = {variable((name,), key) for key in owned(name)}
    for path, below in walk(command, (name,)):
        known |= {variable(path, key) for key in options_of(below)}
    check(ours, known)


def defaults(places: Places, name: str, command: click.Command) -> dict[str, Any]:
    """Return what `.env` and umami-ops.toml give for a command's options, as click's default_map.

    Raises UsageFault for a key of its table that doesn't exist, with its line.
    """
    table = places.file.values.get(name, {})
    if not isinstance(table, dict):
        raise UsageFault(f"{places.file.place(name)}: {name} must be a table.")
    return _defaults(places, (name,), command, table, owned(name))


def _defaults(
    places: Places,
    path: tuple[str, ...],
    command: click.Command,
    table: Mapping[str, Any],
    others: Collection[str],
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    known = options_of(command)
    below = command.commands if isinstance(command, click.Group) else {}
    for key, value in table.items():
        if key in below and isinstance(value, dict):
            found[key] = _defaults(places, (*path, key), below[key], value, ())
        elif key in known:
            found[str(known[key].name)] = _checked(places, (*path, key), known[key], value)
        elif key not in others:
            names = [*known, *below, *others]
            near = difflib.get_close_matches(key, names, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(names) or 'none'}."
            table_name = ".".join(path)
            raise UsageFault(
                f"{places.file.place(*path, key)}, table [{table_name}]: there is no setting {key!r}.",
                hint=hint,
            )
    for key, option in known.items():
        written = places.dotenv.get(variable(path, key))
        if written:
            found[str(option.name)] = written.split() if option.multiple else written
    for name, part in below.items():
        found.setdefault(name, {})
        found[name] = {**found[name], **_defaults(places, (*path, name), part, {}, ())}
    return found


def _checked(places: Places, path: tuple[str, ...], option: click.Option, value: Any) -> Any:
    """Return a value of the file that the option takes. Raises UsageFault with line and key."""
    fault = _misfit(option, value)
    if fault:
        raise UsageFault(f"{places.file.place(*path)}: {'.'.join(path)} is not usable: {fault}.")
    return [value] if option.multiple and not isinstance(value, list) else value


def _misfit(option: click.Option, value: Any) -> str:
    """Return why an option doesn't take a value, or nothing."""
    if isinstance(value, dict) or (isinstance(value, list) and not option.multiple):
        return "a single value belongs here"
    if option.is_flag and not isinstance(value, bool):
        return "write true or false"
    try:
        for item in value if isinstance(value, list) else [value]:
            option.type.convert(item, option, None)
    except click.UsageError as error:
        return error.message.rstrip(".")
    return ""


def check_variables(places: Places, path: tuple[str, ...], command: click.Command) -> None:
    """Hold the variables of a command's own options to what the options take. Raises UsageFault."""
    for key, option in options_of(command).items():
        name = variable(path, key)
        given = places.variable(name)
        if given is None:
            continue
        try:
            for word in given[0].split() if option.multiple else [given[0]]:
                option.type.convert(word, option, None)
        except click.UsageError as fault:
            where = "" if given[1] == "environment" else f" in {given[1]}"
            raise UsageFault(f"{name}{where} is not usable: {fault.message.rstrip('.')}.") from None


def tables() -> dict[str, tuple[str, ...]]:
    """Return the tables of umami-ops.toml that are not settings of every command, and what is theirs in
    [health].
    """
    from umami_ops.cli import COMMANDS, main

    context = click.Context(main, **main.context_settings)
    health = main.get_command(context, "health")
    assert health is not None
    return {**dict.fromkeys((*COMMANDS, *NO_COMMANDS), ()), "health": tuple(options_of(health))}
