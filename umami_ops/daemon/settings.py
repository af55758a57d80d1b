"""Every setting of the daemon: its key in umami-ops.toml, its variable, and how a value is understood.

The table in docs/daemon.md is made from `SETTINGS`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from umami_ops.daemon.schedule import zone_named
from umami_ops.errors import UsageFault
from umami_ops.places import Places, in_words, read_secret

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?")
_SECONDS = {None: 1, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
OFF = "off"
_OCCASIONS = ("failure", "recovery", "success")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("it must be text in quotes")
    return value


def span(value: Any) -> float:
    """Return a span of time in seconds. Raises ValueError."""
    found = _SPAN.fullmatch(str(value).strip())
    if isinstance(value, bool) or found is None:
        raise ValueError("write a span of time: 90s, 15m, 2h")
    return float(found[1]) * _SECONDS[found[2]]


def _span_or_off(value: Any) -> float:
    return 0.0 if value == OFF else span(value)


def _words(value: Any) -> tuple[str, ...]:
    """Return a list, or the words of a text: no address holds a blank."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return tuple(_text(value).split())


def _occasions(value: Any) -> frozenset[str]:
    names = value if isinstance(value, list) else _text(value).replace(",", " ").split()
    strange = [name for name in names if name not in _OCCASIONS]
    if strange:
        raise ValueError(f"{strange[0]!r} is none of {', '.join(_OCCASIONS)}")
    return frozenset(names)


def zone(value: Any) -> ZoneInfo:
    """Return a time zone by its name. Raises ValueError."""
    try:
        return zone_named(_text(value))
    except UsageFault as fault:
        raise ValueError(fault.message.rstrip(".")) from None


def _address(value: Any) -> str:
    if not re.match(r"https?://[^\s]+$", _text(value).strip()):
        raise ValueError("it must begin with https:// or http://")
    try:
        urlsplit(value.strip())
    except ValueError:
        raise ValueError("it is no web address") from None  # what urllib says may hold the address
    return str(value).strip()


@dataclass(frozen=True)
class Setting:
    """One setting. `key` is its place in umami-ops.toml; a secret may also be in a file that `…_file`
    names.
    """

    key: str
    variable: str
    about: str
    default: str
    read: Callable[[Any], Any]
    is_secret: bool = False
    also: str = ""
    """A variable that counts when `variable` isn't set."""


SETTINGS = (
    Setting(
        "daemon.timezone", "UMAMI_OPS_DAEMON_TIMEZONE", "the time zone of schedules", "UTC", zone, also="TZ"
    ),
    Setting("daemon.jitter", "UMAMI_OPS_DAEMON_JITTER", "a run begins up to so much later", "0s", span),
    Setting(
        "daemon.overdue", "UMAMI_OPS_DAEMON_OVERDUE", "a job that is so late makes /healthz red", "15m", span
    ),
    Setting(
        "daemon.examine",
        "UMAMI_OPS_DAEMON_EXAMINE",
        "how often health and sizes are read for the status page and the metrics; `off` is never",
        "15m",
        _span_or_off,
    ),
    Setting(
        "daemon.state_dir",
        "UMAMI_OPS_STATE_DIR",
        "the state folder, where the history is",
        "`/var/lib/umami-ops/state` for root, else `~/.local/state/umami-ops/state`",
        _text,
        also="STATE_DIRECTORY",
    ),
    Setting(
        "daemon.http_token",
        "UMAMI_OPS_DAEMON_HTTP_TOKEN",
        "what the pages ask for, `/healthz` excepted: as a bearer token, or as the password of any user",
        "",
        _text,
        is_secret=True,
    ),
    Setting(
        "notify.apprise",
        "UMAMI_OPS_NOTIFY_APPRISE",
        "addresses of apprise (`mailtos://…`, `tgram://…`), separated by blanks, or a list",
        "",
        _words,
        is_secret=True,
    ),
    Setting(
        "notify.on",
        "UMAMI_OPS_NOTIFY_ON",
        "which of failure, recovery and success apprise is told of",
        "failure recovery",
        _occasions,
    ),
    Setting(
        "notify.ping",
        "UMAMI_OPS_NOTIFY_PING",
        "a healthchecks.io address, pinged at start and end with the exit code; `{job}` is the job's name",
        "",
        _address,
        is_secret=True,
    ),
    Setting(
        "notify.webhook",
        "UMAMI_OPS_NOTIFY_WEBHOOK",
        "an address that gets every run's report as JSON",
        "",
        _address,
        is_secret=True,
    ),
)


def keys(table: str) -> frozenset[str]:
    """Return the keys of a table of umami-ops.toml that are settings, those that name files included."""
    settings = [setting for setting in SETTINGS if setting.key.startswith(f"{table}.")]
    files = {f"{setting.key}_file" for setting in settings if setting.is_secret}
    return frozenset(key.partition(".")[2] for key in {setting.key for setting in settings} | files)


@dataclass(frozen=True)
class Found:
    """A setting's value and where it was found; `written` is what stands there, for people."""

    setting: Setting
    value: Any
    written: str
    source: str


def found_in(setting: Setting, places: Places) -> Found:
    """Return a setting as its variable, the file or the default has it. Raises UsageFault, and OpsError for a
    secret that can't be read.
    """
    table, _, key = setting.key.partition(".")
    given = places.secret(setting.variable) if setting.is_secret else places.variable(setting.variable)
    if given is not None:
        return _understood(setting, given[0], in_words(setting.variable, given[1]), setting.variable)
    values = places.file.values.get(table, {})
    file = values.get(f"{key}_file") if setting.is_secret else None
    if key in values and file is not None:
        raise UsageFault(
            f"{places.file.place(table, key)}: {setting.key} and {setting.key}_file exclude each other."
        )
    if key in values:
        place = places.file.place(table, key)
        return _understood(setting, values[key], place, f"{place}: {setting.key}")
    if file is not None:
        place = places.file.place(table, f"{key}_file")
        return _understood(setting, read_secret(str(file), f"{place}: {setting.key}_file"), place, place)
    if setting.also and (given := places.variable(setting.also)):
        return _understood(setting, given[0], in_words(setting.also, given[1]), setting.also)
    return _default(setting)


def _understood(setting: Setting, value: Any, source: str, name: str) -> Found:
    try:
        read = setting.read(value)
    except ValueError as fault:
        raise UsageFault(f"{name} is not usable: {fault}.") from None
    written = (
        "***" if setting.is_secret else " ".join(map(str, value)) if isinstance(value, list) else str(value)
    )
    return Found(setting, read, written, source)


def _default(setting: Setting) -> Found:
    if setting.key == "daemon.state_dir":
        home = Path("/var/lib") if os.geteuid() == 0 else Path.home() / ".local" / "state"
        folder = str(home / "umami-ops" / "state")
        return Found(setting, folder, folder, "default")
    return Found(
        setting, setting.read(setting.default) if setting.default else None, setting.default, "default"
    )
