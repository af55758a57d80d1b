"""Where settings stand: the environment, .env in the working directory, and umami-ops.toml; as they are.

What they mean is told by settings.py, by the commands and by the daemon. Each variable of a secret has a twin
that ends in _FILE and names a file which holds it.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from umami_ops import VARIABLE_PREFIX
from umami_ops.errors import OpsError, UsageFault

DEFAULT_FILE = Path("umami-ops.toml")
DOTENV = ".env"
#: A byte order mark, which some editors put in front, belongs to no name and no URL.
ENCODING = "utf-8-sig"
#: No URL is longer; what is, /dev/zero say, is no secret.
_LONGEST_SECRET_BYTES = 65_536
#: Kubernetes gives every container such variables for each Service: for umami-ops, for umami-ops-anything.
_KUBERNETES = re.compile(
    r"UMAMI_OPS_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)"
)


@dataclass(frozen=True)
class SettingsFile:
    """A settings file: its name, its text, and what stands in it."""

    name: str = str(DEFAULT_FILE)
    text: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    def place(self, *path: str) -> str:
        """Return `umami-ops.toml line 3` for the key at the end of a path of tables and keys."""
        return f"{self.name} line {_line_of(self.text, path)}"


@dataclass(frozen=True)
class Places:
    """All places that settings come from but the command line, as they are: for what isn't in Settings."""

    environment: Mapping[str, str]
    dotenv: Mapping[str, str]
    file: SettingsFile

    def variable(self, name: str) -> tuple[str, str] | None:
        """Return a variable's value and its place. An empty one doesn't count, as compose files leave them
        so.
        """
        for place, values in (("environment", self.environment), (DOTENV, self.dotenv)):
            if values.get(name):
                return values[name], place
        return None

    def secret(self, name: str) -> tuple[str, str] | None:
        """Return a variable's value and its place; a file that name_FILE names may hold it.

        Raises UsageFault where both are set in one place, OpsError for a file that can't be read.
        """
        for place, values in (("environment", self.environment), (DOTENV, self.dotenv)):
            text, file = values.get(name), values.get(f"{name}_FILE")
            if text and file:
                raise UsageFault(
                    f"Both {name} and {name}_FILE are set in {title(place)}, and only one can count.",
                    hint="Remove one of the two.",
                )
            if text:
                return text, place
            if file:
                return read_secret(file, f"{name}_FILE"), f"{name}_FILE ({file})"
        return None

    def names(self) -> dict[str, str]:
        """Return every variable's name with its place."""
        return {**dict.fromkeys(self.dotenv, DOTENV), **dict.fromkeys(self.environment, "environment")}


def gather(*, config: Path | None = None) -> Places:
    """Read all places. Raises UsageFault for malformed ones, OpsError for a file that can't be read."""
    values = _dotenv_values(Path(DOTENV)) if may_look_here() else {}
    return Places(dict(os.environ), values, read_file(config))


def _dotenv_values(dotenv: Path) -> dict[str, str]:
    try:
        check_dotenv(dotenv)
        found = dotenv_values(dotenv, encoding=ENCODING) if dotenv.is_file() else {}
    except UnicodeDecodeError:
        raise UsageFault(f"The file {dotenv} is not UTF-8 text.") from None
    except OSError as fault:
        raise OpsError(f"The file {dotenv} can't be read: {fault.strerror}.") from None
    return {name: value for name, value in found.items() if value is not None}


def may_look_here() -> bool:
    """Say whether the working directory is open to this user; `sudo -u postgres` in root's home isn't.

    What stands there is then none of this user's settings.
    """
    return os.access(".", os.X_OK)


def in_words(variable: str, place: str) -> str:
    """Say where a variable was found; a place that names the variable itself says enough."""
    if place == "environment":
        return variable
    return place if place.startswith(variable) else f"{variable} in {place}"


def check_names(names: Mapping[str, str], known: Collection[str]) -> None:
    """Refuse a variable that is none of those known: it is misspelt, and what it was to do wouldn't be done.

    `names` have their places. Raises UsageFault.
    """
    for name, place in sorted(names.items()):
        if name not in known and not is_of_kubernetes(name):
            near = _nearest(name, known)
            where = "" if place == "environment" else f" in {place}"
            raise UsageFault(
                f"{name}{where} is no setting.",
                hint=f"Did you mean {near}?" if near else "`umami-ops config show --all` lists them all.",
            )


def _nearest(name: str, known: Collection[str]) -> str | None:
    """Return the variable that was probably meant: one with a word more or less, or with other letters.

    Letters are compared behind the beginning that all have, by which any two were alike.
    """
    words = set(name.removeprefix(VARIABLE_PREFIX).split("_"))
    ours = {
        variable.removeprefix(VARIABLE_PREFIX): variable
        for variable in known
        if variable.startswith(VARIABLE_PREFIX)
    }
    for end, variable in sorted(ours.items()):
        parts = set(end.split("_"))
        if len(parts ^ words) == 1 and len(parts & words) > 1:
            return variable
    near = difflib.get_close_matches(name.removeprefix(VARIABLE_PREFIX), ours, n=1, cutoff=0.7)
    return ours[near[0]] if near else None


def is_of_kubernetes(variable: str) -> bool:
    """Say whether a variable is one that Kubernetes sets for a Service, and nobody's wish."""
    return _KUBERNETES.fullmatch(variable) is not None


def title(place: str) -> str:
    """Return a place's name for a sentence."""
    return "the environment" if place == "environment" else place


def read_secret(file: str, variable: str) -> str:
    """Return the one line of a file, without the newline that editors and `echo` put behind it."""
    if not file.strip():
        raise UsageFault(f"{variable} is empty.", hint="It must name a file that holds the URL.")
    try:
        with Path(file).open("rb") as stream:
            content = stream.read(_LONGEST_SECRET_BYTES + 1)
        lines = [line for line in content.decode(ENCODING).splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise UsageFault(f"{variable} names {file}, which is not UTF-8 text.") from None
    except OSError as fault:
        raise OpsError(
            f"{variable} names {file}, which can't be read: {fault.strerror}.",
            hint="Check the path, and that the secret is mounted for this user.",
        ) from None
    if len(content) > _LONGEST_SECRET_BYTES:
        raise UsageFault(f"{variable} names {file}, which is too long to be a URL.")
    if len(lines) > 1:
        raise UsageFault(
            f"{variable} names {file}, which holds {len(lines)} lines.",
            hint="It must hold the URL and nothing else, neither a name before it nor a second one.",
        )
    return lines[0] if lines else ""


def check_dotenv(path: Path) -> None:
    """Refuse a .env that is none, or in which a line about a database can't be understood.

    Other such lines don't matter, as they don't to Umami. Raises OpsError and UsageFault, with the line.
    """
    logging.getLogger("dotenv").setLevel(logging.ERROR)  # or each of them would be reported in its own way
    if path.is_dir():
        raise OpsError(f"The file {path} can't be read: it is a directory.")
    if not path.is_file():
        return
    with path.open(encoding=ENCODING) as stream:
        for binding in parse_stream(stream):
            written = binding.original.string
            if binding.error and "DATABASE_URL" in written.upper():
                # What precedes a line counts as its own.
                blank = written[: -len(written.lstrip())].count("\n")
                raise UsageFault(
                    f"{path} line {binding.original.line + blank} can't be understood.",
                    hint="Is a quote not closed? It must read DATABASE_URL='…', or without quotes.",
                )


def read_file(config: Path | None) -> SettingsFile:
    """Read the settings file, which may be missing unless it was asked for.

    Raises UsageFault with line and key.
    """
    path = config or DEFAULT_FILE
    if config is None and not (may_look_here() and path.exists()):
        return SettingsFile()
    try:
        text = path.read_text(encoding=ENCODING)
        return SettingsFile(str(path), text, tomllib.loads(text))
    except OSError as fault:
        raise OpsError(
            f"The settings file {path} can't be read: {fault.strerror}.",
            hint="Check the path, which --config or UMAMI_OPS_CONFIG names, and who may read it.",
        ) from None
    except UnicodeDecodeError:
        raise UsageFault(f"The settings file {path} is not UTF-8 text.") from None
    except tomllib.TOMLDecodeError as fault:
        raise UsageFault(_syntax_fault(path, text, str(fault))) from None


def _syntax_fault(path: Path, text: str, fault: str) -> str:
    """Say where the file stops being TOML: `… (at line 3, column 8)` is how tomllib puts it."""
    found = re.search(r"\(at line (\d+), column \d+\)", fault)
    number = int(found[1]) if found else len(text.splitlines())
    what = re.sub(r"\s*\(at .*\)$", "", fault)
    line = text.splitlines()[number - 1] if number <= len(text.splitlines()) else ""
    key = line.partition("=")[0].strip()
    return f"{path} line {number}{f', key {key}' if key and '=' in line else ''}: {what}."


def _line_of(text: str, path: tuple[str, ...]) -> int:
    """Return the line of a key, or of the nearest table around it: tomllib doesn't tell."""
    found, best = 1, 0
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        head = re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]", line)
        names = _names(head[1]) if head else _names(line.partition("=")[0]) if "=" in line else ()
        if head:
            table = names
        here = table if head else table + names
        if names and len(here) > best and here == path[: len(here)]:
            found, best = number, len(here)
    return found


def _names(written: str) -> tuple[str, ...]:
    """Return the parts of a dotted key, quoted or not; nothing where that isn't one."""
    parts = re.findall(r"\s*(?:\"([^\"]*)\"|'([^']*)'|([\w-]+))\s*(?:\.|$)", written.strip())
    return tuple(next(name for name in part if name) for part in parts if any(part))
