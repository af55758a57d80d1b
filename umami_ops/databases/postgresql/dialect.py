"""What PostgreSQL is, as data."""

from __future__ import annotations

from umami_ops.databases.base import Dialect, Features

POSTGRESQL = Dialect(
    name="postgresql",
    title="PostgreSQL",
    quote_character='"',
    features=Features(
        deletes_in_one_statement=True,
        parallel_deletes=False,
        rebuild_pays=False,
        needs_vacuum=True,
    ),
    maintenance_command="VACUUM (FULL, ANALYZE)",
    earliest="-infinity",
)
