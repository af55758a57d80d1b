"""Plans, made once to be shown and once more to be carried out: another run may have ended meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from umami_ops.databases.base import Connection, Database
    from umami_ops.operations.inspect import Installation
    from umami_ops.plan import Plan

    #: Makes a plan for what stands in a database, and changes nothing.
    Planner = Callable[[Connection, Installation], Plan]


def plan_under_lock(database: Database, planner: Planner) -> Plan:
    """Plan for the database as it stands now that this run has its lock."""
    from umami_ops.operations.inspect import inspect

    with database.connect("umami-ops (plan)") as connection:
        return planner(connection, inspect(connection))
