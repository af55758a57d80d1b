"""Real database servers by name, for the demo, the tests and the benchmarks.

    from testbed import servers

    server = servers.get("mariadb")                  # shared by this process, fast, not durable
    with servers.start("postgresql-18") as server:   # your own: kill it, restart it, fill its disk
        url = server.create_database()

Names are in `servers.NAMES`. Where servers come from: `testbed.servers.resolve`. A server that outlives
the Python process: `servers.process_in(directory, name)`.
"""

from testbed.servers.mysql import find_pt_archiver
from testbed.servers.process import ServerProcess
from testbed.servers.resolve import (
    KINDS,
    NAMES,
    Kind,
    Source,
    find,
    lasting_directory,
    pool,
    process_in,
    programs,
    temporary_directory,
)
from testbed.servers.server import Backend, Server, ServerError, database_name

get = pool.get
start = pool.start
stop_all = pool.stop_all

__all__ = [
    "KINDS",
    "NAMES",
    "Backend",
    "Kind",
    "Server",
    "ServerError",
    "ServerProcess",
    "Source",
    "database_name",
    "find",
    "find_pt_archiver",
    "get",
    "lasting_directory",
    "process_in",
    "programs",
    "start",
    "stop_all",
    "temporary_directory",
]
