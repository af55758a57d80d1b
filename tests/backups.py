"""Databases to back up, every row of them as text, and programs in the place of others."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from testbed import servers
from testbed.servers import Server
from testbed.servers.server import database_name
from testbed.traffic import Traffic, populate
from testbed.umami import build_indexes, create_umami
from umami_ops.databases.base import Connection, Introspector
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.sql import Query
from umami_ops.umami.migrations import latest_released_level

NOW = datetime(2025, 7, 1, tzinfo=UTC)

Rows = dict[str, list[str]]


def fill(server: Server, url: str, events: int = 1_200) -> str:
    """Give an empty database Umami's newest schema and every odd shape of traffic."""
    level = latest_released_level(server.dialect)
    create_umami(url, level, indexes=False)
    populate(url, Traffic(NOW - timedelta(days=120), NOW, events=events), level)
    build_indexes(url, level)
    return url


@contextmanager
def opened(url: str) -> Iterator[Connection]:
    """A session of ours."""
    with open_database(DatabaseUrl.parse(url)).connect() as connection:
        yield connection


def rows_of(url: str) -> Rows:
    """Every row of every table, as sorted text."""
    with opened(url) as connection:
        found = {}
        for table, columns in Introspector(connection).columns().items():
            names = ", ".join(connection.dialect.quote(name) for name in sorted(columns))
            query = Query("all", "", f"SELECT {names} FROM {connection.dialect.quote(table)}")
            found[table] = sorted(repr(list(row.values())) for row in connection.rows(query))
        return found


def indexes_of(url: str) -> set[tuple[str, str]]:
    """The names of all keys and indexes with their tables."""
    with opened(url) as connection:
        found = connection.transit().describe().tables
        keys = {(table.name, table.primary_key.name) for table in found if table.primary_key}
        return keys | {(table.name, index.name) for table in found for index in table.indexes}


def execute(url: str, *statements: str) -> None:
    """Run statements, each by itself."""
    with opened(url) as connection:
        for statement in statements:
            connection.run(Query("test", "", statement))


def programs_of(server: Server) -> dict[str, str]:
    """The variable that names the programs which belong to this server."""
    return {"UMAMI_OPS_PROGRAMS": str(servers.programs(server.name))}


def wrapped(server: Server, folder: Path, program: str, script: str) -> dict[str, str]:
    """Put a shell script into a program's place: `$real` is the program, `"$@"` what it is called with.

    Asked for its version, it answers as the program does. Returns the variable that names the folder.
    """
    own = servers.programs(server.name)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("pg_dump", "pg_restore", "mysqldump", "mysql", "mariadb-dump", "mariadb"):
        if (own / name).exists() and not (folder / name).exists():
            (folder / name).symlink_to((own / name).resolve() if name.startswith("pg") else own / name)
    (folder / program).unlink(missing_ok=True)
    (folder / program).write_text(
        f'#!/bin/sh\nreal={own / program}\n[ "$1" = --version ] && exec "$real" --version\n{script}\n'
    )
    (folder / program).chmod(0o755)
    return {"UMAMI_OPS_PROGRAMS": str(folder)}


def dump_by_hand(server: Server, url: str, path: Path, *arguments: str) -> Path:
    """What a person gets who calls the server's own program: a file, or a folder."""
    program = servers.programs(server.name) / dump_program(server)
    if server.dialect == "postgresql":
        command = [str(program), f"--file={path}", url, *arguments]
    else:
        parts = urlsplit(url)
        command = [
            str(program),
            f"--host={parts.hostname}",
            f"--port={parts.port}",
            f"--user={parts.username}",
        ]
        command += [f"--password={parts.password}", "--no-tablespaces", f"--result-file={path}"]
        options = [each for each in arguments if each.startswith("-")]
        tables = [each for each in arguments if not each.startswith("-")]
        command += [*options, database_name(url), *tables]
    subprocess.run(command, check=True, capture_output=True)
    return path


def dump_program(server: Server) -> str:
    """The name of the program that dumps this server."""
    return {"postgresql": "pg_dump", "mysql": "mysqldump", "mariadb": "mariadb-dump"}[server.flavour]
