"""Who else has a session on a database: killed clients are noticed by the server in its own time."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pymysql
from pymysql.constants import ER

from testbed.bulk import Loader, connect
from testbed.servers.server import Server, database_name

#: The list of sessions of MySQL and MariaDB. MySQL's in information_schema fails while anybody's statement
#: holds an emoji.
PROCESSLIST = "/*!80022 performance_schema.*/ /*M!100000 information_schema.*/ processlist"
_PATIENCE_SECONDS = 60


def number_of_others(server: Server, url: str) -> int:
    """Return how many clients have a session on a database."""
    with connect(server.as_admin(url)) as loader:
        return _number(loader, database_name(url))


def wait_until_alone(server: Server, url: str) -> None:
    """Return when the server has noticed that killed clients are gone, and rolled back for them."""
    ends = time.monotonic() + _PATIENCE_SECONDS
    with connect(server.as_admin(url)) as loader:
        while _number(loader, database_name(url)):
            assert time.monotonic() < ends
            loader.commit()


def end_sessions(loader: Loader, ids: Iterable[int]) -> None:
    """Cut sessions off, as an administrator or a firewall would; one that has ended by itself is none."""
    for id_ in ids:
        if loader.dialect == "postgresql":
            loader.execute(f"SELECT pg_terminate_backend({id_})")
            continue
        try:
            loader.execute(f"KILL {id_}")
        except pymysql.err.MySQLError as error:
            if error.args[0] != ER.NO_SUCH_THREAD:
                raise


def _number(loader: Loader, name: str) -> int:
    asked = (
        "SELECT COUNT(*) FROM pg_stat_activity"
        f" WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND datname = '{name}'"
        if loader.dialect == "postgresql"
        else f"SELECT COUNT(*) FROM {PROCESSLIST} WHERE db = '{name}' AND id <> CONNECTION_ID()"
    )
    ((number,),) = loader.execute(asked)
    return int(number)
