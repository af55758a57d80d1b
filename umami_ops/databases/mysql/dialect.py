"""What MySQL and MariaDB are, as data."""

from __future__ import annotations

from umami_ops.databases.base import Dialect, Features

MYSQL = Dialect(
    name="mysql",
    title="MySQL",
    quote_character="`",
    features=Features(
        deletes_in_one_statement=False,
        parallel_deletes=True,
        rebuild_pays=True,
        needs_vacuum=False,
    ),
    maintenance_command="OPTIMIZE TABLE",
    earliest="1970-01-01 00:00:01",
)
