"""Settings: flag > environment > .env in the working directory > umami-ops.toml > default.

Each place may name a URL directly (DATABASE_URL) or by a file that holds it (DATABASE_URL_FILE, as Docker
secrets do). Both in one place are refused, since nobody could say which was meant; otherwise the place of
higher rank wins, whichever form it has. A DIRECT_DATABASE_URL counts only if no place of higher rank names a
DATABASE_URL: else `DATABASE_URL=<test> umami-ops prune` in a folder with production's .env would meet
production. No library reads them (docs/decisions/0017): every command would wait for it.

The thresholds of `health` stand in a table `[health]`, or in variables that begin with UMAMI_OPS_HEALTH_;
each of them counts by itself. Other tables belong to commands and to the daemon, who read them from `Places`.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import UsageFault
from umami_ops.operations.thresholds import Thresholds
from umami_ops.places import DOTENV, Places, SettingsFile, gather, in_words, read_secret, title

_URLS = ("database_url", "direct_database_url", "target_database_url")
_STORE = "umami_ops_store"
_HEALTH = "health"
_HEALTH_VARIABLE = "UMAMI_OPS_HEALTH_"
_ENVIRONMENT = "environment"

Tables = Mapping[str, Collection[str]]


@dataclass(frozen=True)
class Address:
    """The text of a URL, kept out of every repr, and the place where it was found."""

    text: str = field(repr=False)
    source: str = "DATABASE_URL"

    def parsed(self) -> DatabaseUrl:
        """Parse it. Raises UsageFault, which names the source."""
        return DatabaseUrl.parse(self.text, source=self.source)


@dataclass(frozen=True)
class Settings:
    """What a run needs to know beyond its command's own options."""

    database_url: Address | None = None
    direct_database_url: Address | None = None
    target_database_url: Address | None = None
    umami_ops_store: str | None = None
    health: Thresholds = Thresholds()

    def database(self, *, needs_session: bool = False) -> DatabaseUrl:
        """Return the URL to use: with `needs_session` the direct one, if there is one.

        Raises UsageFault when none is set or it is malformed.
        """
        named = (self.database_url, self.direct_database_url)
        address = next((a for a in (named[::-1] if needs_session else named) if a is not None), None)
        if address is None:
            raise UsageFault(
                "No database is named.",
                hint="Set DATABASE_URL as Umami has it (in the environment or in .env here), or point "
                "DATABASE_URL_FILE at a file that holds it.",
            )
        return address.parsed()

    def target(self) -> DatabaseUrl:
        """Return the URL of the other database, which migrate fills and verify compares.

        Raises UsageFault when none is set or it is malformed.
        """
        if self.target_database_url is None:
            raise UsageFault(
                "No target is named.",
                hint="Set TARGET_DATABASE_URL in the environment or in .env here, or point "
                "TARGET_DATABASE_URL_FILE at a file that holds it.",
            )
        return self.target_database_url.parsed()


def load(
    *,
    url: str | None = None,
    target: str | None = None,
    config: Path | None = None,
    tables: Tables | None = None,
) -> Settings:
    """Gather the settings of this run.

    `tables` names the tables of umami-ops.toml that others read, and the keys in `[health]` that are theirs.
    Raises UsageFault for contradictions and malformed settings, OpsError for a file that can't be read.
    """
    places = gather(config=config)
    tables = tables or {}
    check_keys(places.file, tables)
    flags = {}
    if url is not None:
        flags["database_url"] = Address(url, "--url")
    if target is not None:
        flags["target_database_url"] = Address(target, "--target-url")
    stores = (given.get(_STORE) for _, given in _ranked(places))
    return Settings(
        **_addresses(flags, places),
        umami_ops_store=next(filter(None, stores), None),
        health=_thresholds(places, tables.get(_HEALTH, ())),
    )


def _ranked(places: Places) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each place with what it gives by the names of the settings, the highest rank first."""
    names = {name.upper(): name for name in _text_keys()}
    for place, variables in ((_ENVIRONMENT, places.environment), (DOTENV, places.dotenv)):
        yield place, {names[key]: value for key, value in variables.items() if key in names}
    yield places.file.name, places.file.values


def _text_keys() -> list[str]:
    return [*_URLS, *(f"{name}_file" for name in _URLS), _STORE]


def _addresses(flags: Mapping[str, Address], places: Places) -> dict[str, Address]:
    found = dict(flags)
    is_decided = "database_url" in found
    for place, given in _ranked(places):
        for name in _URLS:
            if name not in found and not (is_decided and name == "direct_database_url"):
                found |= _address(name, given, place)
        is_decided = "database_url" in found
    return found


def _address(name: str, given: Mapping[str, Any], place: str) -> dict[str, Address]:
    """Return the URL that a place gives under `name`, or by the file that it names; nothing if neither."""
    text, file = given.get(name), given.get(f"{name}_file")
    variable = name.upper()
    if text and file:
        raise UsageFault(
            f"Both {variable} and {variable}_FILE are set in {title(place)}, and only one can count.",
            hint="Remove one of the two.",
        )
    # Compose files leave empty what they don't fill in; so an empty one of the two yields to the other.
    if file is not None and not text:
        return {name: Address(read_secret(file, f"{variable}_FILE"), f"{variable}_FILE ({file})")}
    if text is not None:
        return {name: Address(text, in_words(variable, place))}
    return {}


# --- thresholds ------------------------------------------------------------------------------------------


def _thresholds(places: Places, others: Collection[str]) -> Thresholds:
    """Return the thresholds with what moves them; `others` are names of options, which are none.

    Raises UsageFault for one that doesn't exist, and for a value that is none.
    """
    limits = {item.name: item for item in fields(Thresholds)}
    table = places.file.values.get(_HEALTH, {})
    moved = {name: (value, places.file.name) for name, value in table.items() if name not in others}
    for place, variables in ((DOTENV, places.dotenv), (_ENVIRONMENT, places.environment)):
        for name, value in _health_variables(variables, others):
            moved[name] = (value, place)
    return Thresholds(
        **{name: _limit(limits[name], value, place, places) for name, (value, place) in moved.items()}
    )


def _health_variables(variables: Mapping[str, str], others: Collection[str]) -> Iterator[tuple[str, str]]:
    for variable, value in variables.items():
        name = variable.removeprefix(_HEALTH_VARIABLE).lower()
        if variable.startswith(_HEALTH_VARIABLE) and value and name not in others:
            _check_threshold(name, f"{variable} is no setting.", _HEALTH_VARIABLE)
            yield name, value


def _limit(limit: Field[Any], value: Any, place: str, places: Places) -> Any:
    """Return a threshold's number. Raises UsageFault, which names the value's place, where it is none."""
    try:
        number: Any = _number(value, is_whole=limit.type == "int")
        Thresholds(**{limit.name: number})
    except ValueError as fault:
        if place == places.file.name:
            where = f"{places.file.place(_HEALTH, limit.name)}: {_HEALTH}.{limit.name}"
        else:
            where = in_words(_HEALTH_VARIABLE + limit.name.upper(), place)
        raise UsageFault(
            f"{where} is not usable: {fault}.",
            hint=f"It means: {limit.metadata['about']}; by default {limit.default}.",
        ) from None
    return number


def _number(value: Any, *, is_whole: bool) -> float:
    """Return what a person wrote as a number. Raises ValueError, which says what it must be."""
    kind = "a whole number" if is_whole else "a number"
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        raise ValueError(f"it must be {kind}")
    try:
        number = int(value) if is_whole and isinstance(value, str) else float(value)
    except ValueError:
        raise ValueError(f"it must be {kind}") from None
    if number != number or (is_whole and not float(number).is_integer()):
        raise ValueError(f"it must be {kind}")
    return int(number) if is_whole else number


def _check_threshold(name: str, sentence: str, prefix: str = "") -> None:
    """Raise UsageFault with this sentence when there is no threshold of that name."""
    known = [item.name for item in fields(Thresholds)]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        shown = prefix + (near[0].upper() if prefix else near[0]) if near else ""
        raise UsageFault(
            sentence, hint=f"Did you mean {shown}?" if near else "docs/health.md lists them all."
        )


# --- the file --------------------------------------------------------------------------------------------


def check_keys(file: SettingsFile, tables: Tables) -> None:
    """Hold a file's keys to those that exist, the insides of `tables` excepted. Raises UsageFault."""
    for key, value in file.values.items():
        _check_key(file, key, value, tables)


def _check_key(file: SettingsFile, key: str, value: Any, tables: Tables) -> None:
    """Hold a key of the file to those that exist, and its value to text, or to a table where that belongs."""
    known = [*_text_keys(), _HEALTH, *tables]
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(dict.fromkeys(known))}."
        raise UsageFault(f"{file.place(key)}: there is no setting {key!r}.", hint=hint)
    if key == _HEALTH:
        if not isinstance(value, dict):
            raise UsageFault(f"{file.place(key)}: health must be a table of numbers.")
        for name in value.keys() - set(tables.get(_HEALTH, ())):
            _check_threshold(name, f"{file.place(key, name)}, table [health]: there is no setting {name!r}.")
    elif key in tables:
        if not isinstance(value, dict):
            raise UsageFault(f"{file.place(key)}: {key} must be a table.")
    elif not isinstance(value, str):
        raise UsageFault(f"{file.place(key)}: {key} must be text in quotes.")
