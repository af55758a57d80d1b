"""What each of Umami's tables is for, which column is its clock, and what its rows hang on.

Umami declares no foreign keys (Prisma's `relationMode = "prisma"`), so the relations stand here. Sources:
Umami's prisma/schema.prisma and its queries up to v3.1.0, and the schema levels 20 to 30 as seen unreleased.
A database may lack any of these tables, and any column but a table's first ones: ask its catalogue.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """What a table is to an operation. Only roles of visitor data are ever pruned."""

    EVENT = "event"
    EVENT_DETAIL = "event detail"
    SESSION = "session"
    SESSION_DETAIL = "session detail"
    REPLAY = "replay"
    REPLAY_BOOKMARK = "replay bookmark"
    HEATMAP = "heatmap"
    CONFIGURATION = "configuration"
    MIGRATIONS = "migrations"
    UNKNOWN = "unknown"

    @property
    def is_visitor_data(self) -> bool:
        """Whether the rows record what visitors did; a bookmark is a member's, though it names a visit."""
        return self in _VISITOR_DATA


_VISITOR_DATA = frozenset(
    {Role.EVENT, Role.EVENT_DETAIL, Role.SESSION, Role.SESSION_DETAIL, Role.REPLAY, Role.HEATMAP}
)


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table's role and the names of the columns that matter; None where it has no such column.

    `event_column` holds a website_event.event_id. On event tables `website_column` holds a website's, a
    link's or a pixel's id.
    """

    name: str
    role: Role
    meaning: str
    time_column: str | None = None
    website_column: str | None = None
    session_column: str | None = None
    visit_column: str | None = None
    event_column: str | None = None


def _configuration(
    name: str, meaning: str, *, time_column: str | None = "created_at", website_column: str | None = None
) -> TableFacts:
    return TableFacts(
        name, Role.CONFIGURATION, meaning, time_column=time_column, website_column=website_column
    )


TABLES: Mapping[str, TableFacts] = {
    facts.name: facts
    for facts in (
        TableFacts(
            "website_event",
            Role.EVENT,
            "a page view, custom event, link click, pixel view or performance measurement",
            time_column="created_at",  # nullable
            website_column="website_id",
            session_column="session_id",
            visit_column="visit_id",  # from level 05
            event_column="event_id",
        ),
        TableFacts(
            "event_data",
            Role.EVENT_DETAIL,
            "one property of a custom event",
            time_column="created_at",
            website_column="website_id",
            event_column="website_event_id",
        ),
        TableFacts(
            "revenue",
            Role.EVENT_DETAIL,
            "the money that an event brought",
            time_column="created_at",
            website_column="website_id",
            session_column="session_id",
            event_column="event_id",  # no index
        ),
        TableFacts(
            "session",
            Role.SESSION,
            "a visitor's browser, device and place, dated at first sight",
            time_column="created_at",
            website_column="website_id",
            session_column="session_id",
        ),
        TableFacts(
            "session_data",
            Role.SESSION_DETAIL,
            "one property of a visitor, dated at the last identify() and rewritten in place",
            time_column="created_at",
            website_column="website_id",
            session_column="session_id",
        ),
        TableFacts(
            "session_link",
            Role.SESSION_DETAIL,
            "which identified person a session belongs to",
            time_column="created_at",
            website_column="website_id",
            session_column="session_id",
        ),
        TableFacts(
            "session_replay",
            Role.REPLAY,
            "one chunk of a visit's recording",
            time_column="created_at",
            website_column="website_id",
            session_column="session_id",
            visit_column="visit_id",
        ),
        TableFacts(
            "session_replay_saved",
            Role.REPLAY_BOOKMARK,
            "a member's wish to keep a visit's recording; holds no recording itself",
            time_column="created_at",
            website_column="website_id",
            visit_column="visit_id",
        ),
        TableFacts(
            "session_replay_view",
            Role.REPLAY_BOOKMARK,
            "which member has watched which visit's recording",
            time_column="created_at",
            website_column="website_id",
            visit_column="visit_id",
        ),
        TableFacts(
            "heatmap_event",
            Role.HEATMAP,
            "one click or scroll for the heat map",
            time_column="created_at",
            website_column="website_id",
            session_column="session_id",
            visit_column="visit_id",
        ),
        _configuration("website", "a website that is measured"),
        _configuration("link", "a short link whose clicks are measured"),
        _configuration("pixel", "an image whose loads are measured"),
        _configuration("user", "a person who can log in"),
        _configuration("team", "people who share websites"),
        _configuration("team_user", "who belongs to which team"),
        _configuration("team_website", "which team sees which website, before level 04"),
        _configuration("report", "a saved report", website_column="website_id"),
        _configuration("segment", "a saved filter or cohort", website_column="website_id"),
        _configuration("annotation", "a note on a date of a website's chart", website_column="website_id"),
        _configuration("share", "a public address of a website, link, pixel or board"),
        _configuration("board", "a dashboard put together by hand"),
        _configuration("api_key", "a user's key to the API"),
        _configuration("app_setting", "a setting of the whole installation", time_column=None),
        _configuration("two_factor_auth", "a user's second factor"),
        _configuration("two_factor_backup_code", "a code for a user who lost the second factor"),
        _configuration("two_factor_otp_used", "a one-time password already used", time_column="expires_at"),
        _configuration(
            "two_factor_rate_limit", "failed attempts at a second factor", time_column="updated_at"
        ),
        TableFacts(
            "_prisma_migrations",
            Role.MIGRATIONS,
            "the migrations that Prisma has applied",
            time_column="started_at",
        ),
    )
}


#: Where a row is about one website, link or pixel as such.
_ABOUT_ONE = {
    "website": "website_id", "link": "link_id", "pixel": "pixel_id", "share": "entity_id",
    "team_website": "website_id",
}  # fmt: skip


def belonging_column(table_name: str) -> str | None:
    """Return the column that says to which website, link or pixel a row belongs; None where none does."""
    return facts_of(table_name).website_column or _ABOUT_ONE.get(table_name)


def facts_of(table_name: str) -> TableFacts:
    """Return what is known of a table; a table that isn't Umami's has the role UNKNOWN and no columns."""
    return TABLES.get(table_name) or TableFacts(table_name, Role.UNKNOWN, "not one of Umami's tables")


# Umami v1 kept integer ids and wrote page views and events into tables of their own. v2 dropped these three
# tables' names for good (`account` became `user`), while `session` and `website` live on in another shape.
_V1_MARKS: Mapping[str, frozenset[str]] = {
    "account": frozenset({"user_id", "username", "is_admin"}),
    "pageview": frozenset({"view_id", "website_id", "session_id", "url"}),
    "event": frozenset({"event_id", "website_id", "session_id"}),
}


def is_v1(columns_by_table: Mapping[str, Collection[str]]) -> bool:
    """Whether these tables, each with the names of its columns, are those of Umami v1.

    A v2 database that still has v1's tables lying about has website_event too, and isn't v1.
    """
    return "website_event" not in columns_by_table and all(
        marks <= set(columns_by_table.get(table, ())) for table, marks in _V1_MARKS.items()
    )
