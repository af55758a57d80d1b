"""Options that commands share, and the way from them to a database."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umami_ops.archive.manifest import Origin
    from umami_ops.archive.store import Store
    from umami_ops.databases.base import Database
    from umami_ops.databases.url import DatabaseUrl
    from umami_ops.places import Places
    from umami_ops.settings import Settings

_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}

# Click shares `meta` between the group and its commands, so an option may stand before or behind the command.
_URL, _CONFIG, _TARGET = "umami_ops.url", "umami_ops.config", "umami_ops.target_url"
_SETTINGS = "umami_ops.settings"


def _remember(key: str) -> Any:
    def callback(ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            ctx.meta[key] = value

    return callback


url = click.option(
    "--url",
    metavar="URL",
    expose_value=False,
    callback=_remember(_URL),
    help="The database, instead of DATABASE_URL. Other users of this machine can see it in the list of "
    "processes, password included: prefer the variable, or DATABASE_URL_FILE.",
)

target_url = click.option(
    "--target-url",
    metavar="URL",
    expose_value=False,
    callback=_remember(_TARGET),
    help="The other database, instead of TARGET_DATABASE_URL. As visible to others as --url: prefer the "
    "variable, or TARGET_DATABASE_URL_FILE.",
)

config = click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    expose_value=False,
    callback=_remember(_CONFIG),
    envvar="UMAMI_OPS_CONFIG",
    help="A settings file, instead of umami-ops.toml in this folder.",
)

json_output = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on stdout and nothing else there."
)


#: Words of click's that speak of types → words that don't.
_PLAIN = {
    r"is not a valid integer( range)?": "is not a whole number",
    r"is not a valid float( range)?": "is not a number",
    r"is not a valid boolean\..*": "is neither true nor false",
}


def in_words(fault: click.ClickException) -> str:
    """Return what click says, in plain words, and by the name of the variable where that was at fault."""
    parameter = getattr(fault, "param", None)
    context = getattr(fault, "ctx", None)
    if isinstance(fault, click.BadParameter) and parameter and context and parameter.envvar:
        names = [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar
        source = context.get_parameter_source(parameter.name)
        if source is click.core.ParameterSource.ENVIRONMENT:
            fault.param_hint = next(name for name in names if os.environ.get(name))
        elif source is click.core.ParameterSource.DEFAULT_MAP:
            fault.param_hint = f"{names[0]} in .env"  # what stands in umami-ops.toml was looked at before
    text = fault.format_message()
    for pattern, words in _PLAIN.items():
        text = re.sub(pattern, words, text, flags=re.DOTALL)
    return text


class Span(click.ParamType[float]):
    """A span of time such as 90s, 30m or 2h; a bare number is seconds."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?", str(value).strip())
        if match is None or float(match[1]) <= 0:
            self.fail(f"{value!r} is not a span of time: write 90s, 30m or 2h.", param, ctx)
        return float(match[1]) * _SECONDS[match[2] or "s"]


class Filled(click.ParamType[Any]):
    """A value that isn't empty: `--store "$PLACE"` of a variable that is not set means no other place."""

    name = "text"

    def __init__(self, kind: click.ParamType[Any] = click.STRING) -> None:
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return what the kind makes of it."""
        if not str(value).strip():
            self.fail("it is empty.", param, ctx)
        return self._kind.convert(value, param, ctx)


yes = click.option("--yes", "-y", is_flag=True, help="Answer yes to the question before the work begins.")


max_duration = click.option(
    "--max-duration",
    type=Span(),
    metavar="SPAN",
    help="End after this long (30m, 2h); exit code 3 if not done.",
)


store = click.option(
    "--store",
    "place",
    type=Filled(),
    metavar="DIR|s3://…",
    help="Where the backups are, instead of ./backups or UMAMI_OPS_STORE: a folder, or s3://bucket/prefix.",
)

identity = click.option(
    "--identity",
    "identities",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A key file of age, for an encrypted backup.",
)

scratch_url = click.option(
    "--scratch-url",
    type=Filled(),
    metavar="URL|embedded",
    envvar="UMAMI_OPS_SCRATCH_URL",
    help="Verify on the server of this URL, or on a PostgreSQL that runs for that moment alone, instead of "
    "the database's own. Prefer the variable UMAMI_OPS_SCRATCH_URL, which other users can't see.",
)


class Flags(NamedTuple):
    """What was said before or behind the command of every run."""

    url: str | None
    config: Path | None
    target: str | None = None


def flags() -> Flags:
    """Return --url, --config and --target-url, wherever they stand."""
    meta = click.get_current_context().meta
    return Flags(meta.get(_URL), meta.get(_CONFIG), meta.get(_TARGET))


def settings_from_options() -> Settings:
    """Return the settings of this run: flags, environment, .env, umami-ops.toml, defaults.

    They are read once, as a file may be a pipe: `DATABASE_URL_FILE=<(pass show umami)`. Raises UsageFault for
    a malformed setting, OpsError for a file that can't be read.
    """
    from umami_ops.cli import variables
    from umami_ops.settings import load

    meta = click.get_current_context().meta
    if _SETTINGS not in meta:
        url, config, target = flags()
        meta[_SETTINGS] = load(url=url, target=target, config=config, tables=variables.tables())
    settings: Settings = meta[_SETTINGS]
    return settings


def places_from_options() -> Places:
    """Return where settings come from: environment, .env, umami-ops.toml. Raises UsageFault and OpsError."""
    from umami_ops.places import gather

    return gather(config=flags().config)


def defaults_from_places(ctx: click.Context, name: str, command: click.Command | None) -> dict[str, Any]:
    """Return what .env and umami-ops.toml give for a command's options, by the names of its parameters.

    Raises UsageFault for what is misspelt there, or among the environment's variables of this command.
    """
    if command is None:
        return {}
    from umami_ops.cli import variables

    config = ctx.meta.get(_CONFIG)
    is_open = os.access(".", os.X_OK)  # root's home isn't to `sudo -u postgres`
    here = is_open and (Path(".env").exists() or Path("umami-ops.toml").exists())
    if not (config or here):
        variables.check_names(dict.fromkeys(os.environ, "environment"), name, command)
        return {}
    from umami_ops.places import gather

    places = gather(config=config)
    variables.check_names(places.names(), name, command)
    return variables.defaults(places, name, command)


def of_highest_rank(*names: str) -> set[str]:
    """Return those of some options that count where they exclude each other: the command line's before
    others'.

    So `prune --before 2025-01-01` means just that, whatever UMAMI_OPS_PRUNE_DAYS is.
    """
    context = click.get_current_context()
    ranks: dict[int, set[str]] = {}
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and context.params.get(name) not in (None, ()):
            ranks.setdefault(source.value, set()).add(name)
    return ranks[min(ranks)] if ranks else set()


def open_from_options(*, needs_session: bool = False) -> Database:
    """Return the database that this run is about; connects to nothing yet.

    With `needs_session` (locks, settings of the session) DIRECT_DATABASE_URL goes before DATABASE_URL, since
    a transaction pooler keeps no session. Raises UsageFault when there is no URL or a malformed one.
    """
    from umami_ops.databases.registry import open_database

    return open_database(settings_from_options().database(needs_session=needs_session))


def origin_from_options() -> Origin | None:
    """Return what backups of the database that DATABASE_URL names are of, if it is set."""
    settings = settings_from_options()
    if settings.database_url is None and settings.direct_database_url is None:
        return None
    return origin_at(settings.database())


def origin_at(url: DatabaseUrl) -> Origin:
    """Return what backups of the database at a URL are of."""
    from umami_ops.archive.manifest import Origin

    return Origin(url.dialect, url.database, url.effective_schema)


@contextmanager
def scratch_server(text: str | None) -> Iterator[Database | None]:
    """Give the server that --scratch-url names, for the length of the block; None without one.

    Raises UsageFault, and Refused where no embedded one can run.
    """
    from umami_ops.databases.registry import embedded_database, open_database
    from umami_ops.databases.url import DatabaseUrl

    if text == "embedded":
        with embedded_database() as database:
            yield database
    else:
        yield open_database(DatabaseUrl.parse(text, source="The URL")) if text else None


def open_store_from_options(place: str | None) -> Store:
    """Return the store that --store, UMAMI_OPS_STORE or the settings name; else ./backups.

    Raises UsageFault for an address that isn't understood.
    """
    from umami_ops.archive.places import open_store

    return open_store(place or settings_from_options().umami_ops_store or "backups")


def open_target_from_options() -> Database:
    """Return the other database, which migrate fills and verify compares; connects to nothing yet."""
    from umami_ops.databases.registry import open_database

    return open_database(settings_from_options().target())
