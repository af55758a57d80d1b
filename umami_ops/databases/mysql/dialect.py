"""What MySQL and MariaDB are, as data."""

from __future__ import annotations

from datetime import UTC, datetime

from umami_ops.databases.base import Dialect, Features

MYSQL = Dialect(
    name="mysql",
    title="MySQL",
    quote_character="`",
    features=Features(
        locks_beyond_range=True,
        rebuild_pays=True,
        rebuilds_indexes=False,
        rewrites_online=True,
        index_names_are_global=False,
        foreign_key_names_are_global=True,
        checks_foreign_keys=False,
        loads_side_by_side=False,
        reads_keys_alone=False,
        dumps_side_by_side=False,
        holds_nul=True,
        holds_nan=False,
        has_zero_dates=True,
        timestamps_end_in_2038=True,
        keys_ignore_case=True,
        char_loses_blanks=True,
        types_have_text=False,
        times_show_all_digits=True,
    ),
    space_after_delete="The space is reusable for new rows, but not returned to the disk.",
    most_rows_deleted=5_000,
    earliest="0000-00-00 00:00:00",
    first_moment=datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
    primary_key_name="PRIMARY",
    most_key_bytes=3072,  # InnoDB in pages of 16 kB, as nearly all are
    long_types=frozenset(
        {"tinytext", "text", "mediumtext", "longtext", "tinyblob", "blob", "mediumblob", "longblob", "json"}
    ),
    most_name_bytes=None,
    create_database="CREATE DATABASE {} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
    drop_database="DROP DATABASE IF EXISTS {}",
    scratch_right="Verify on another server (--scratch-url URL), or grant the right: GRANT ALL ON"
    " `umami_ops_scratch_%`.* TO ….",
)
