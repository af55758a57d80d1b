"""What a person would use: umami-ops, one big transaction, a loop of small deletes, pt-archiver."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql

from benchmarks.measure import Contender, Run, process, timed, umami_ops
from benchmarks.prepare import TABLES
from testbed import servers
from testbed.servers import database_name

PRUNE = "umami-ops prune"
REBUILD = "umami-ops prune --rebuild"
TRANSACTION = "one transaction, all tables"
ARCHIVER = "pt-archiver, website_event alone"
LOOP = "DELETE … LIMIT 5000 loop, website_event alone"
_EVENTS = ("website_event",)
_LIMIT = 5000

# Children first. What it deletes is what umami-ops deletes, which the rows left behind must show.
_ONE_TRANSACTION = (
    "SET LOCAL work_mem = '64MB'",
    """DELETE FROM event_data AS d USING website_event AS e
       WHERE e.event_id = d.website_event_id AND e.created_at < %(horizon)s""",
    """DELETE FROM revenue AS r USING website_event AS e
       WHERE e.event_id = r.event_id AND e.created_at < %(horizon)s""",
    "DELETE FROM website_event WHERE created_at < %(horizon)s",
    """CREATE TEMPORARY TABLE doomed ON COMMIT DROP AS
       SELECT s.session_id FROM session AS s
       WHERE s.created_at < %(horizon)s
         AND NOT EXISTS (SELECT FROM website_event AS e WHERE e.session_id = s.session_id)
         AND NOT EXISTS (SELECT FROM revenue AS r WHERE r.session_id = s.session_id)
         AND NOT EXISTS (SELECT FROM session_replay AS r WHERE r.session_id = s.session_id)
         AND NOT EXISTS (
           SELECT FROM session_data AS d WHERE d.session_id = s.session_id AND d.created_at >= %(horizon)s
         )""",
    "DELETE FROM session_data AS d USING doomed AS x WHERE d.session_id = x.session_id",
    "DELETE FROM session AS s USING doomed AS x WHERE s.session_id = x.session_id",
)


def prune(horizon: datetime, *extra: str) -> Contender:
    """Return umami-ops at a fixed horizon, so that it deletes what the others delete."""
    arguments = ("prune", "--before", f"{horizon:%Y-%m-%d %H:%M:%S}", "--yes", *extra)
    return Contender(" ".join([PRUNE, *extra]), lambda url: umami_ops(url, *arguments), TABLES)


def one_transaction(horizon: datetime) -> Contender:
    """Return the right delete by hand: everything in one transaction, as fast as we know how."""

    def run(url: str) -> None:
        with psycopg.connect(url) as connection:
            for statement in _ONE_TRANSACTION:
                connection.execute(statement.encode(), {"horizon": horizon})

    return Contender(TRANSACTION, lambda url: timed(lambda: run(url)), TABLES)


def plain_delete(horizon: datetime) -> Contender:
    """Return what people type first: it leaves all that hangs on the events."""

    def run(url: str) -> None:
        with psycopg.connect(url) as connection:
            connection.execute("DELETE FROM website_event WHERE created_at < %s", [horizon])

    return Contender("plain DELETE, website_event alone", lambda url: timed(lambda: run(url)), _EVENTS)


def delete_loop(horizon: datetime) -> Contender:
    """Return the loop that every answer on the web has, on one connection, a commit each."""

    def run(url: str) -> None:
        with mysql_session(url) as connection, connection.cursor() as cursor:
            statement = f"DELETE FROM website_event WHERE created_at < %s ORDER BY created_at LIMIT {_LIMIT}"
            while cursor.execute(statement, [f"{horizon:%Y-%m-%d %H:%M:%S}"]):
                pass

    return Contender(LOOP, lambda url: timed(lambda: run(url)), _EVENTS)


def archiver(horizon: datetime) -> Contender:
    """Return Percona Toolkit's pt-archiver, as its manual says to purge."""
    where = f"created_at < '{horizon:%Y-%m-%d %H:%M:%S}'"
    options = ["--purge", "--bulk-delete", "--commit-each", "--limit", str(_LIMIT), "--where", where]

    def run(url: str) -> Run:
        with TemporaryDirectory() as directory:
            source = f"F={_option_file(url, Path(directory))},D={database_name(url)},t=website_event"
            program = servers.find_pt_archiver()
            return process([program, "--source", source, "--no-check-charset", *options])[0]

    return Contender(ARCHIVER, run, _EVENTS)


@contextmanager
def mysql_session(url: str) -> Iterator[pymysql.Connection[pymysql.cursors.Cursor]]:
    """Open a session in UTC that commits every statement."""
    parts = urlsplit(url)
    connection: pymysql.Connection[pymysql.cursors.Cursor] = pymysql.connect(
        host=parts.hostname,
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=database_name(url),
        charset="utf8mb4",
        autocommit=True,
        init_command="SET time_zone = '+00:00'",
    )
    try:
        yield connection
    finally:
        connection.close()


def _option_file(url: str, directory: Path) -> Path:
    """Write how to connect, so that the password is not on the command line."""
    parts = urlsplit(url)
    lines = [
        "[client]",
        f"host={parts.hostname}",
        f"port={parts.port}",
        f"user={unquote(parts.username or '')}",
        f"password={unquote(parts.password or '')}",
        "default-character-set=utf8mb4",
        "init-command=SET time_zone = '+00:00'",
    ]
    file = directory / "client.cnf"
    file.touch(mode=0o600)
    file.write_text("\n".join(lines) + os.linesep)
    return file
