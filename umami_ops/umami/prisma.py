"""Prisma's table of applied migrations, as its migration engine makes it, and the rows it writes.

Source: Prisma's schema engine, seen on both servers; shared facts in sql/umami/migrations.json.
"""

from __future__ import annotations

from umami_ops.umami.schema import Column, PrimaryKey, Table

NAME = "_prisma_migrations"

TABLES = {
    "postgresql": Table(
        NAME,
        (
            Column("id", "character varying(36)"),
            Column("checksum", "character varying(64)"),
            Column("finished_at", "timestamp with time zone", nullable=True),
            Column("migration_name", "character varying(255)"),
            Column("logs", "text", nullable=True),
            Column("rolled_back_at", "timestamp with time zone", nullable=True),
            Column("started_at", "timestamp with time zone", default="now()"),
            Column("applied_steps_count", "integer", default="0"),
        ),
        PrimaryKey("_prisma_migrations_pkey", ("id",)),
    ),
    "mysql": Table(
        NAME,
        (
            Column("id", "varchar(36)"),
            Column("checksum", "varchar(64)"),
            Column("finished_at", "datetime(3)", nullable=True),
            Column("migration_name", "varchar(255)"),
            Column("logs", "text", nullable=True),
            Column("rolled_back_at", "datetime(3)", nullable=True),
            Column("started_at", "datetime(3)", default="CURRENT_TIMESTAMP(3)"),
            Column("applied_steps_count", "int unsigned", default="0"),
        ),
        PrimaryKey("PRIMARY", ("id",)),
    ),
}
