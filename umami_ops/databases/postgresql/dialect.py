"""What PostgreSQL is, as data."""

from __future__ import annotations

from datetime import UTC, datetime

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
        foreign_key_names_are_global=False,
        checks_foreign_keys=True,
        loads_side_by_side=True,
        reads_keys_alone=True,
        dumps_side_by_side=True,
        holds_nul=False,
        holds_nan=True,
        has_zero_dates=False,
        timestamps_end_in_2038=False,
        keys_ignore_case=False,
        char_loses_blanks=False,
        types_have_text=True,
        times_show_all_digits=False,
    ),
    space_after_delete="The space is reusable for new rows once autovacuum has passed,"
    " but not returned to the disk.",
    most_rows_deleted=50_000,
    earliest="-infinity",
    first_moment=datetime.min.replace(tzinfo=UTC),
    primary_key_name="{}_pkey",
    most_key_bytes=None,
    long_types=frozenset(),
    most_name_bytes=63,
    create_database="CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'",
    drop_database="DROP DATABASE IF EXISTS {} WITH (FORCE)",
    scratch_right="Verify on a PostgreSQL that runs for that moment alone (--scratch-url embedded) or on"
    " another server (--scratch-url URL), or let a superuser grant the right: ALTER ROLE … CREATEDB.",
)
