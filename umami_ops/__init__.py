"""Runs the database of a self-hosted Umami: what it is, what it holds, and retention that loses no number.

The library's face: what a program needs to do what the command line does, loaded at the first use.

    from umami_ops import DatabaseUrl, Retention, RunLock, inspect, open_database, plan_prune
    from umami_ops.execute import execute

    database = open_database(DatabaseUrl.parse(url))
    with database.connect() as connection:
        plan = plan_prune(connection, inspect(connection), Retention(horizon), counted=True)
    with RunLock(database, "prune") as lock:
        report = execute(plan, database, lock=lock)
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
#: How the names of all our environment variables begin.
VARIABLE_PREFIX = "UMAMI_OPS_"

_FACE = {
    "DatabaseUrl": "umami_ops.databases.url",
    "OpsError": "umami_ops.errors",
    "Plan": "umami_ops.plan",
    "Report": "umami_ops.plan",
    "Retention": "umami_ops.operations.prune",
    "RunLock": "umami_ops.execute",
    "StopSignal": "umami_ops.execute",
    "conclude": "umami_ops.operations.prune",
    "inspect": "umami_ops.operations.inspect",
    "open_database": "umami_ops.databases.registry",
    "plan_prune": "umami_ops.operations.prune",
}


def __getattr__(name: str) -> Any:
    """Load a name of the face when it is asked for, so that `umami-ops --help` needn't."""
    if name not in _FACE:
        raise AttributeError(f"module 'umami_ops' has no attribute {name!r}")
    return getattr(import_module(_FACE[name]), name)
