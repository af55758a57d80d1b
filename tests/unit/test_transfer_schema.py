"""What a schema becomes on the other side: Umami's own of that level, and users' columns by type."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from umami_ops.databases import kinds, types
from umami_ops.databases.transit import Description, Kind, Thing
from umami_ops.errors import Refused
from umami_ops.transfer.schema import Side, pair, translate
from umami_ops.umami.schema import Column, Index, PrimaryKey, Table, latest_level, schema_at

POSTGRESQL, MYSQL, MARIADB = (
    Side("postgresql", "postgresql"),
    Side("mysql", "mysql"),
    Side("mysql", "mariadb"),
)


@pytest.mark.parametrize("level", range(1, latest_level("mysql") + 1))
@pytest.mark.parametrize(("source", "target"), [(POSTGRESQL, MYSQL), (MARIADB, POSTGRESQL), (MYSQL, MARIADB)])
def test_every_level_becomes_what_umami_itself_makes(source: Side, target: Side, level: int) -> None:
    tables = schema_at(source.dialect, level).tables
    found = translate(Description(tables), source, target, level)
    assert found.tables == schema_at(target.dialect, level).tables
    # Up to level 5 PostgreSQL alone had that column.
    homeless = ("column session_data.deleted_at: Umami has none there",)
    assert found.remarks == (homeless if source is POSTGRESQL and 2 <= level <= 5 else ())


@pytest.mark.parametrize("level", range(1, latest_level("postgresql") + 1))
def test_postgresql_to_postgresql_keeps_every_level(level: int) -> None:
    tables = schema_at("postgresql", level).tables
    assert translate(Description(tables), POSTGRESQL, POSTGRESQL, level).tables == tables


def test_a_type_of_ones_own_becomes_text_or_is_refused() -> None:
    mood = Column("mood", "mood", nullable=True)
    here = Description((Table("note", (mood,), None),), (), (("note", mood),))
    assert translate(here, POSTGRESQL, MYSQL, 13).table("note").column("mood").type == "longtext"
    with pytest.raises(Refused, match=r"note\.mood has a type that can't be taken along: mood"):
        translate(here, POSTGRESQL, POSTGRESQL, 13)


@pytest.mark.parametrize("level", range(1, 14))
def test_every_column_has_its_partner(level: int) -> None:
    for table in schema_at("mysql", level).tables:
        other = schema_at("postgresql", level).table(table.name)
        both = pair(table, MYSQL, other, POSTGRESQL)
        lost = set(table.column_names) - set(both.source.names)
        assert lost == set()
        assert all(
            own.kind is their.kind for own, their in zip(both.source.fields, both.target.fields, strict=True)
        )
        assert both.source.key == table.primary_key.columns[0] if table.primary_key else None


def test_a_partitioned_tables_rows_are_told_apart_by_their_id_alone() -> None:
    """Though its primary key has the date in it, which the other side's doesn't."""
    table = schema_at("postgresql", 13).table("website_event")
    parted = replace(table, primary_key=PrimaryKey("website_event_pkey", ("event_id", "created_at")))
    for source, target in ((parted, table), (table, parted)):
        assert pair(source, POSTGRESQL, target, POSTGRESQL).is_told_by_key
    both = pair(parted, POSTGRESQL, parted, POSTGRESQL)
    assert (both.is_told_by_key, both.identity.target.names) == (False, ("event_id", "created_at"))


def test_an_index_gets_a_name_of_its_own_where_names_are_the_schemas() -> None:
    """MySQL calls an index by its first column, in each table; Umami's migrations drop theirs by name."""
    own, key = Column("user_id", "bigint"), ("user_id",)
    indexes = (
        Index("ours", (*key, *key)),
        Index("user_id", key),
        Index("website_created_at_idx", key * 3),
    )
    ours = [Table(name, (own,), None, indexes) for name in ("ours", "theirs")]
    umamis = schema_at("mysql", 13).tables
    found = translate(Description((*umamis, *ours)), MYSQL, POSTGRESQL, 13)
    names = [index.name for table in found.tables for index in table.indexes]
    assert len({*names, *(table.name for table in found.tables)}) == len(names) + len(found.tables)
    assert [index.name for index in found.table("ours").indexes] == [
        "ours_ours_idx", "user_id", "ours_website_created_at_idx_idx",
    ]  # fmt: skip
    assert found.table("website") == schema_at("postgresql", 13).table("website")
    assert "index user_id on theirs: it becomes theirs_user_id_idx, as the name is taken" in found.remarks


def test_a_key_of_text_gets_a_length_where_it_needs_one() -> None:
    word = Table("worded", (Column("word", "text"),), PrimaryKey("worded_pkey", ("word",)))
    code = Table("coded", (Column("code", "bytea"),), PrimaryKey("coded_pkey", ("code",)))
    found = translate(Description((word, code)), POSTGRESQL, MYSQL, 13)
    assert found.table("worded").column("word").type == "varchar(255)"
    assert found.table("worded").primary_key == PrimaryKey("PRIMARY", ("word",))
    assert found.table("coded").primary_key is None
    assert found.remarks == (
        "primary key of coded: MySQL indexes no such type without a length",
        "column worded.word: text becomes varchar(255)",
    )


def test_an_index_of_more_text_than_a_key_holds_is_named() -> None:
    columns = (
        Column("a", "character varying(500)"),
        Column("b", "character varying(268)"),
        Column("c", "date"),
    )
    indexes = (Index("fits", ("a", "b", "c")), Index("long", ("a", "a2")))
    table = Table("noted", (*columns, Column("a2", "character varying(269)")), None, indexes)
    found = translate(Description((table,)), POSTGRESQL, MYSQL, 13)
    assert found.table("noted").indexes == indexes[:1]
    assert found.remarks == (
        "index long on noted: MySQL indexes no more than 3,072 bytes of a row, four a character",
    )


def test_users_columns_tables_and_indexes_travel() -> None:
    columns = (
        Column("note", "character varying(80)", nullable=True, default="'none'::character varying"),
        Column("weight", "numeric(8,3)", default="0"),
        Column("is_vip", "boolean", default="false"),
        Column("seen_at", "timestamp with time zone", nullable=True, default="now()"),
        Column("place", "point", nullable=True),
        Column("extra", "jsonb", nullable=True),
    )
    session = schema_at("postgresql", 13).table("session")
    session = replace(
        session,
        columns=(*session.columns, *columns),
        indexes=(
            *session.indexes,
            Index("session_note_idx", ("note",)),
            Index("session_place_idx", ("place",)),
        ),
    )
    key = PrimaryKey("ours_key", ("id",))
    ours = Table("ours", (Column("id", "bigint"), Column("name", "text", nullable=True)), key)
    others = [table for table in schema_at("postgresql", 13).tables if table.name != "session"]
    found = translate(Description((*others, session, ours), (Thing("view", "v"),)), POSTGRESQL, MYSQL, 13)
    added = found.table("session").columns[-6:]
    assert added == (
        Column("note", "varchar(80)", nullable=True, default="none"),
        Column("weight", "decimal(8,3)", default="0"),
        Column("is_vip", "tinyint(1)", default="0"),
        Column("seen_at", "datetime(6)", nullable=True, default="CURRENT_TIMESTAMP(6)"),
        Column("place", "longtext", nullable=True),
        Column("extra", "json", nullable=True),
    )
    assert found.table("ours").columns == (Column("id", "bigint"), Column("name", "longtext", nullable=True))
    assert found.table("ours").primary_key == PrimaryKey("PRIMARY", ("id",))
    assert "session_note_idx" in {index.name for index in found.table("session").indexes}
    assert "session_place_idx" not in {index.name for index in found.table("session").indexes}
    assert "view v" in found.remarks
    assert "column session.place: point becomes longtext" in found.remarks


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        ("uuid", Kind.ID), ("character varying(5)", Kind.TEXT), ("text", Kind.TEXT),
        ("numeric(19,4)", Kind.DECIMAL), ("numeric", Kind.OTHER), ("numeric(5,-2)", Kind.OTHER),
        ("jsonb", Kind.JSON), ("bytea", Kind.BYTES), ("timestamp(6) with time zone", Kind.TIME),
        ("timestamp without time zone", Kind.TIME), ("time without time zone", Kind.OTHER),
        ("double precision", Kind.FLOAT), ("float", Kind.FLOAT),
        ("date", Kind.OTHER), ("integer[]", Kind.OTHER),
        ("character varying(5)[]", Kind.OTHER), ("mood", Kind.OTHER), ('"char"', Kind.OTHER),
        ("int unsigned", Kind.INTEGER), ("bigint unsigned", Kind.INTEGER), ("tinyint(1)", Kind.BOOLEAN),
        ("int(5) unsigned zerofill", Kind.INTEGER), ("decimal(10,2) unsigned", Kind.DECIMAL),
        ("tinyint", Kind.INTEGER), ("datetime(3)", Kind.TIME), ("timestamp", Kind.TIME), ("json", Kind.JSON),
        ("longblob", Kind.BYTES), ("enum('a','b')", Kind.OTHER), ("enum('text')", Kind.OTHER),
    ],
)  # fmt: skip
def test_kinds(type_: str, kind: Kind) -> None:
    assert kinds.kind_of(type_) is kind


def test_a_comparison_waits_for_no_sql_parser() -> None:
    code = (
        "import sys, umami_ops.operations.verify\n"
        "from umami_ops.databases.mysql import transit\n"
        "from umami_ops.databases.postgresql import transit\n"
        "print('sqlglot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("type_", "source", "there"),
    [
        ("int unsigned", "mysql", "bigint"), ("bigint unsigned", "mysql", "numeric(20,0)"),
        ("tinyint(1)", "mysql", "boolean"), ("mediumtext", "mysql", "text"),
        ("varchar(9)", "mysql", "character varying(9)"),
        ("datetime(3)", "mysql", "timestamp(3) with time zone"), ("blob", "mysql", "bytea"),
        ("double", "mysql", "double precision"), ("enum('a','b')", "mysql", None),
        ("uuid", "postgresql", "varchar(36)"), ("text", "postgresql", "longtext"),
        ("character varying", "postgresql", "longtext"), ("smallint", "postgresql", "smallint"),
        ("double precision", "postgresql", "double"), ("integer[]", "postgresql", None),
    ],
)  # fmt: skip
def test_types_of_users_columns(type_: str, source: str, there: str | None) -> None:
    target = "postgresql" if source == "mysql" else "mysql"
    assert types.translated(type_, source, target) == there
