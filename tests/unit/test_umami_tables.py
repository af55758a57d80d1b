"""Every table that Umami ever had is known, and the columns named for it exist."""

from __future__ import annotations

import pytest

from umami_ops.umami.schema import DIALECTS, latest_level, schema_at
from umami_ops.umami.tables import TABLES, Role, facts_of, is_v1

LEVELS = [(dialect, level) for dialect in DIALECTS for level in range(1, latest_level(dialect) + 1)]


@pytest.mark.parametrize(("dialect", "level"), LEVELS)
def test_every_table_is_known_and_has_the_columns_named(dialect: str, level: int) -> None:
    for table in schema_at(dialect, level).tables:
        facts = facts_of(table.name)
        assert facts.role is not Role.UNKNOWN, table.name
        named = {facts.time_column, facts.website_column, facts.session_column, facts.event_column} - {None}
        if level >= 5 or table.name != "website_event":
            named |= {facts.visit_column} - {None}
        assert named <= set(table.column_names), table.name


def test_no_table_is_made_up() -> None:
    seen = {table.name for dialect, level in LEVELS for table in schema_at(dialect, level).tables}
    assert set(TABLES) == seen | {"_prisma_migrations"}


def test_visitor_data_is_what_holds_a_session_or_an_event() -> None:
    for facts in TABLES.values():
        assert facts.role.is_visitor_data == bool(facts.session_column or facts.event_column), facts.name


def test_an_unknown_table() -> None:
    facts = facts_of("wordpress_posts")
    assert facts.role is Role.UNKNOWN
    assert not facts.role.is_visitor_data


V1 = {
    "account": ["user_id", "username", "password", "is_admin"],
    "event": ["event_id", "website_id", "session_id", "created_at", "url", "event_name"],
    "pageview": ["view_id", "website_id", "session_id", "created_at", "url", "referrer"],
    "session": ["session_id", "session_uuid", "website_id"],
    "website": ["website_id", "website_uuid", "user_id"],
}


def test_v1_is_recognised() -> None:
    assert is_v1(V1)
    assert not is_v1({**V1, "website_event": ["event_id"]}), "v1's leftovers beside v2"
    assert not is_v1({})
    assert not is_v1({"account": ["id"], "event": ["id"], "pageview": ["id"]}), "somebody else's tables"
    for dialect, level in LEVELS:
        assert not is_v1({table.name: table.column_names for table in schema_at(dialect, level).tables})
