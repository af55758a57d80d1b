"""The client programs of MySQL and MariaDB: which fit a server, and how they are told where it is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from umami_ops.databases.programs import VARIABLE, FoundProgram, candidates, candidates_in
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import Refused

_FOLDERS = ("/usr/local/mysql/bin", "/opt/homebrew/opt/mysql-client/bin")
#: Flavour → the dump program and the client, the preferred names first.
_NAMES = {
    "mariadb": (("mariadb-dump", "mysqldump"), ("mariadb", "mysql")),
    "mysql": (("mysqldump",), ("mysql",)),
}


@dataclass(frozen=True)
class MysqlPrograms:
    """The dump program and the client of one flavour, from the same folder."""

    flavour: str
    dump: FoundProgram
    client: FoundProgram


def find_dump_programs(flavour: str, version: str) -> MysqlPrograms:
    """Return the dump program and the client for a server of this flavour and version.

    Raises Refused when there are none of the flavour, or only ones of an older major release.
    """
    dump_names, client_names = _NAMES[flavour]
    major = int(version.partition(".")[0])
    found = [program for program in candidates(dump_names, _FOLDERS) if _flavour(program) == flavour]
    for dump in found:
        if not dump.version or dump.version[0] < major:
            continue
        for name in client_names:
            for client in candidates_in(dump.path.parent, name):
                if _flavour(client) == flavour:
                    return MysqlPrograms(flavour, dump, client)
    title = "MariaDB" if flavour == "mariadb" else "MySQL"
    older = f" {found[0].title} is too old for it." if found else ""
    raise Refused(
        f"No {dump_names[0]} with its client for {title} {version} is here.{older}",
        hint=f"Install {title}'s client programs of release {major} or newer, name their folder in "
        f"{VARIABLE}, or take --format portable, which needs none.",
        done="Nothing was changed.",
    )


def _flavour(program: FoundProgram) -> str:
    return "mariadb" if "mariadb" in program.says.lower() else "mysql"


@contextmanager
def option_file(url: DatabaseUrl, flavour: str) -> Iterator[int]:
    """Write how to connect, the password included, into a file without a name; yields its descriptor.

    The program reads it as /dev/fd/N. It is 0600, in memory, and gone with the processes that hold it.
    """
    handle = os.memfd_create("client.cnf", 0)
    try:
        os.fchmod(handle, 0o600)  # the clients don't read what others could have written
        os.write(handle, _options(url, flavour).encode())
        yield handle
    finally:
        os.close(handle)


def _options(url: DatabaseUrl, flavour: str) -> str:
    values = {"user": url.user, "password": url.password, **_address(url), **_tls(url.parameters, flavour)}
    lines = [f'{name}="{_escaped(str(value))}"' for name, value in values.items() if value is not None]
    return "\n".join(["[client]", "default-character-set=utf8mb4", *lines, ""])


def _address(url: DatabaseUrl) -> dict[str, object]:
    if url.socket:
        return {"socket": url.socket}
    return {"host": url.host or "localhost", "port": url.port or 3306, "protocol": "tcp"}


def _tls(given: Mapping[str, str], flavour: str) -> dict[str, object]:
    """Translate what the URL says of TLS; without a word of it, the client's own default stands."""
    mode = (given.get("ssl-mode") or given.get("sslmode") or "").lower().replace("-", "_")
    if given.get("sslaccept") == "strict":
        mode = "verify_identity"
    elif not mode and (given.get("sslaccept") or given.get("sslcert")):
        mode = "required"
    authority = given.get("sslca") or given.get("sslcert")
    key = {"ssl-cert": given.get("sslcert"), "ssl-key": given["sslkey"]} if given.get("sslkey") else {}
    if flavour == "mysql":
        known = {
            "disable": "DISABLED", "prefer": "PREFERRED", "require": "REQUIRED", "no_verify": "REQUIRED",
            "verify_full": "VERIFY_IDENTITY",
        }  # fmt: skip
        chosen = known.get(mode, mode.upper()) if mode else None
        return {"ssl-mode": chosen, "ssl-ca": authority if chosen and "VERIFY" in chosen else None, **key}
    if mode in ("disable", "disabled"):
        return {"skip-ssl": ""}
    verify = mode in ("verify_identity", "verify_ca", "verify_full")
    if verify:
        return {"ssl": 1, "ssl-ca": authority, "ssl-verify-server-cert": 1, **key}
    # Newer clients would verify by default, which no URL of Umami's asks for.
    return {"ssl": 1 if mode else None, "ssl-verify-server-cert": 0, **key}


def _escaped(value: str) -> str:
    r"""Write a value for an option file, which knows \\, \", and \n, \t, \r, \b, \s."""
    for plain, written in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        value = value.replace(plain, written)
    return value
