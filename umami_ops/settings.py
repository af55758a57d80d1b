"""Settings: flag > environment > .env in the working directory > umami-ops.toml > default.

Each place may name a URL directly (DATABASE_URL) or by a file that holds it (DATABASE_URL_FILE, as Docker
secrets do). Both in one place are refused, since nobody could say which was meant; otherwise the place of
higher rank wins, whichever form it has. A DIRECT_DATABASE_URL counts only if no place of higher rank names a
DATABASE_URL: else `DATABASE_URL=<test> umami-ops prune` in a folder with production's .env would meet
production. Importing this module imports pydantic, so commands do it late.

The thresholds of `health` stand in a table `[health]`, or in variables that begin with UMAMI_OPS_HEALTH_;
each of them counts by itself. Other tables belong to commands and to the daemon, who read them from `Places`.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import OpsError, UsageFault
from umami_ops.operations.thresholds import Thresholds
from umami_ops.places import (
    DOTENV,
    ENCODING,
    Places,
    SettingsFile,
    check_dotenv,
    gather,
    in_words,
    may_look_here,
    read_file,
    read_secret,
    title,
)

_URLS = ("database_url", "direct_database_url", "target_database_url")
_HEALTH = "umami_ops_health_"


class Address(SecretStr):
    """The text of a URL, kept out of every repr, and the place where it was found."""

    source: str = "DATABASE_URL"

    @classmethod
    def found(cls, text: str, source: str) -> Address:
        """Return an address that remembers its source."""
        address = cls(text)
        address.source = source
        return address

    def parsed(self) -> DatabaseUrl:
        """Parse it. Raises UsageFault, which names the source."""
        return DatabaseUrl.parse(self.get_secret_value(), source=self.source)


class Settings(BaseSettings):
    """What a run needs to know beyond its command's own options."""

    model_config = SettingsConfigDict(
        env_file=DOTENV, env_file_encoding=ENCODING, extra="ignore", frozen=True
    )

    database_url: Address | None = None
    database_url_file: Path | None = None
    direct_database_url: Address | None = None
    direct_database_url_file: Path | None = None
    umami_ops_store: str | None = None
    target_database_url: Address | None = None
    target_database_url_file: Path | None = None
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

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- the signature is pydantic's
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the places into their order of rank."""
        flags = dict(init_settings())
        config: Path | None = flags.pop("config", None)
        tables: Tables = flags.pop("tables", {})
        others = tables.get("health", ())
        file = read_file(config)
        check_keys(file, tables)
        places = {
            "": flags,
            "environment": {**env_settings(), "health": _health_variables(env_settings, others)},
            DOTENV: {**dotenv_settings(), "health": _health_variables(dotenv_settings, others)},
            file.name: {**file.values, "health": _without(file.values.get("health", {}), others)},
        }
        return (_Ranked(settings_cls, places),)


def load(
    *,
    url: str | None = None,
    target: str | None = None,
    config: Path | None = None,
    tables: Mapping[str, Collection[str]] | None = None,
) -> Settings:
    """Gather the settings of this run.

    `tables` names the tables of umami-ops.toml that others read, and the keys in `[health]` that are theirs.
    Raises UsageFault for contradictions and malformed settings, OpsError for a file that can't be read.
    """
    flags: dict[str, Any] = {"config": config, "tables": tables or {}}
    if url is not None:
        flags["database_url"] = Address.found(url, "--url")
    if target is not None:
        flags["target_database_url"] = Address.found(target, "--target-url")
    try:
        if not may_look_here():
            return Settings(**flags, _env_file=None)  # type: ignore[call-arg]
        check_dotenv(Path(DOTENV))
        return Settings(**flags)
    except ValidationError as fault:
        raise _unusable(fault, gather(config=config)) from None
    except UnicodeDecodeError:
        raise UsageFault("The file .env is not UTF-8 text.") from None
    except OSError as fault:
        raise OpsError(f"The file {fault.filename} can't be read: {fault.strerror}.") from None


#: What pydantic calls a kind of mistake → in words for people.
_KINDS = {"int": "a whole number", "float": "a number", "finite": "a number"}


def _unusable(fault: ValidationError, places: Places) -> UsageFault:
    """Say which setting can't be used and why, by the name and at the place where it was set."""
    first = fault.errors(include_url=False)[0]
    kind = _KINDS.get(first["type"].partition("_")[0])
    reason = f"it must be {kind}" if kind else first["msg"].removeprefix("Value error, ")
    path = tuple(str(part) for part in first["loc"])
    if path[0] == "health" and len(path) == 1 and not kind:
        path = ("health", reason.partition(" ")[0])  # Thresholds begin so what they say about a value
    variable = (_HEALTH if path[0] == "health" else "") + path[-1]
    found = places.variable(variable.upper())
    where = in_words(variable.upper(), found[1]) if found else f"{places.file.place(*path)}: {'.'.join(path)}"
    return UsageFault(f"{where} is not usable: {reason}.", hint=_threshold_hint(path))


def _threshold_hint(path: tuple[str, ...]) -> str | None:
    if path[0] != "health":
        return None
    limits = {item.name: item for item in fields(Thresholds)}
    about = limits[path[-1]].metadata["about"] if path[-1] in limits else ""
    return f"It means: {about}; by default {limits[path[-1]].default}." if about else None


Tables = Mapping[str, Collection[str]]


class _Ranked(PydanticBaseSettingsSource):
    """All places as one source, so that what counts in one can depend on those of higher rank."""

    def __init__(self, settings_cls: type[BaseSettings], places: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__(settings_cls)
        self._places = places

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Return nothing: all values come at once, from `__call__`."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for place, given in self._places.items():
            is_decided = "database_url" in values
            for name in _URLS:
                if name not in values and not (is_decided and name == "direct_database_url"):
                    values |= _address(name, given, place)
            limits = {**given.get("health", {}), **values.get("health", {})}
            # Compose files leave empty what they don't fill in.
            values = {key: value for key, value in given.items() if not _is_url(key) and value != ""} | values
            values["health"] = limits
        return values


def _is_url(key: str) -> bool:
    return key.removesuffix("_file") in _URLS


def _address(name: str, given: Mapping[str, Any], place: str) -> dict[str, Address]:
    """Return the URL that a place gives under `name`, or by the file that it names; nothing if neither."""
    text, file = given.get(name), given.get(f"{name}_file")
    if isinstance(text, Address):
        return {name: text}
    variable = name.upper()
    if text and file:
        raise UsageFault(
            f"Both {variable} and {variable}_FILE are set in {title(place)}, and only one can count.",
            hint="Remove one of the two.",
        )
    # Compose files leave empty what they don't fill in; so an empty one of the two yields to the other.
    if file is not None and not text:
        return {name: Address.found(read_secret(str(file), f"{variable}_FILE"), f"{variable}_FILE ({file})")}
    if text is not None:
        return {name: Address.found(str(text), in_words(variable, place))}
    return {}


def _without(table: Any, keys: Collection[str]) -> Any:
    return (
        {key: value for key, value in table.items() if key not in keys} if isinstance(table, dict) else table
    )


def _health_variables(source: PydanticBaseSettingsSource, others: Collection[str]) -> dict[str, Any]:
    """Return the thresholds that a place gives in variables. Raises UsageFault for one that doesn't exist."""
    variables = source.env_vars if isinstance(source, EnvSettingsSource) else {}
    theirs = {_HEALTH + name for name in others}
    given = {
        name: value
        for name, value in variables.items()
        if name.startswith(_HEALTH) and value and name not in theirs
    }
    for name in given:
        _check_threshold(name.removeprefix(_HEALTH), f"{name.upper()} is no setting.", _HEALTH.upper())
    return {name.removeprefix(_HEALTH): value for name, value in given.items()}


def _check_threshold(name: str, sentence: str, prefix: str = "") -> None:
    """Raise UsageFault with this sentence when there is no threshold of that name."""
    known = [item.name for item in fields(Thresholds)]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        shown = prefix + (near[0].upper() if prefix else near[0]) if near else ""
        raise UsageFault(
            sentence, hint=f"Did you mean {shown}?" if near else "docs/health.md lists them all."
        )


def check_keys(file: SettingsFile, tables: Tables) -> None:
    """Hold a file's keys to those that exist, the insides of `tables` excepted. Raises UsageFault."""
    for key, value in file.values.items():
        _check_key(file, key, value, tables)


def _check_key(file: SettingsFile, key: str, value: Any, tables: Tables) -> None:
    """Hold a key of the file to those that exist, and its value to text, or to a table where that belongs."""
    known = [*Settings.model_fields, *tables]
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(dict.fromkeys(known))}."
        raise UsageFault(f"{file.place(key)}: there is no setting {key!r}.", hint=hint)
    if key == "health":
        if not isinstance(value, dict):
            raise UsageFault(f"{file.place(key)}: health must be a table of numbers.")
        for name in _without(value, tables.get("health", ())):
            _check_threshold(name, f"{file.place(key, name)}, table [health]: there is no setting {name!r}.")
    elif key in tables:
        if not isinstance(value, dict):
            raise UsageFault(f"{file.place(key)}: {key} must be a table.")
    elif not isinstance(value, str):
        raise UsageFault(f"{file.place(key)}: {key} must be text in quotes.")
