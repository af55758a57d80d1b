"""What PostgreSQL is, as data."""

from __future__ import annotations

from umami_ops.databases.base import Dialect, Features

POSTGRESQL = Dialect(
    name="postgresql",
    title="PostgreSQL",
    quote_character='"',
    features=Features(
        locks_beyond_range=False,
        rebuild_pays=False,
        rebuilds_indexes=True,
        rewrites_online=False,
        index_names_are_global=True,
    ),
    space_after_delete="The space is reusable for new rows once autovacuum has passed,"
    " but not returned to the disk.",
    earliest="-infinity",
    create_database="CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'",
    drop_database="DROP DATABASE IF EXISTS {} WITH (FORCE)",
)
