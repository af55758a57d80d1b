"""What Umami's dashboards show, as queries of our own that aggregate like Umami's (src/queries/sql, v3.1.0).

They filter on website_event.created_at and join `session` and `session_data` where Umami does, so that a
session deleted too early makes numbers vanish. Each runs on both dialects. Ranges are half open.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from testbed.bulk import Loader

#: Dashboard → range → its rows.
Numbers = dict[str, list[tuple[Any, ...]]]

_IN_RANGE = "e.website_id = '{website}' AND e.created_at >= '{since}' AND e.created_at < '{until}'"
_VIEWS = f"{_IN_RANGE} AND e.event_type NOT IN (2, 5)"
_JOIN_SESSION = "JOIN session AS s ON s.session_id = e.session_id AND s.website_id = e.website_id"

_VISITS = """
SELECT SUM(v.views), COUNT(DISTINCT v.session_id), COUNT(DISTINCT v.visit_id),
       SUM(CASE WHEN v.views = 1 THEN 1 ELSE 0 END), SUM({{seconds}})
FROM (
  SELECT e.session_id, e.visit_id, COUNT(*) AS views,
         MIN(e.created_at) AS first_at, MAX(e.created_at) AS last_at
  FROM website_event AS e {join}
  WHERE {where}
  GROUP BY e.session_id, e.visit_id
) AS v
"""
_SECONDS = {
    "postgresql": "EXTRACT(EPOCH FROM v.last_at - v.first_at)",
    "mysql": "TIMESTAMPDIFF(SECOND, v.first_at, v.last_at)",
}


def _top(column: str, *, join: str = "", where: str = _VIEWS, counted: str = "COUNT(*)") -> str:
    return (
        f"SELECT {column}, {counted} FROM website_event AS e {join} WHERE {where} "
        f"GROUP BY {column} ORDER BY 2 DESC, 1 LIMIT 100"
    )


_DASHBOARDS = {
    "visits": _VISITS.format(join="", where=_VIEWS),
    "visits from Germany": _VISITS.format(join=_JOIN_SESSION, where=f"{_VIEWS} AND s.country = 'DE'"),
    "visits of sessions": _VISITS.format(join=_JOIN_SESSION, where=_VIEWS),
    "views by day": _top("CAST(e.created_at AS date)"),
    "visitors by day": _top("CAST(e.created_at AS date)", counted="COUNT(DISTINCT e.session_id)"),
    "pages": _top("e.url_path"),
    "referrers": _top("e.referrer_domain", where=f"{_VIEWS} AND e.referrer_domain IS NOT NULL"),
    "browsers": _top("s.browser", join=_JOIN_SESSION, counted="COUNT(DISTINCT e.session_id)"),
    "countries": _top("s.country", join=_JOIN_SESSION, counted="COUNT(DISTINCT e.session_id)"),
    "views by language": _top("s.language", join=_JOIN_SESSION),
    "events": _top("e.event_name", where=f"{_IN_RANGE} AND e.event_type = 2"),
    "event properties": f"""
        SELECT d.data_key, COALESCE(d.string_value, ''), COUNT(*)
        FROM event_data AS d JOIN website_event AS e ON e.event_id = d.website_event_id
        WHERE {_IN_RANGE} AND d.website_id = '{{website}}'
        GROUP BY 1, 2 ORDER BY 1, 2
    """,
    "visitor properties": f"""
        SELECT d.data_key, COALESCE(d.string_value, ''), COUNT(DISTINCT d.session_id)
        FROM website_event AS e
        JOIN session_data AS d ON d.session_id = e.session_id AND d.website_id = e.website_id
        WHERE {_IN_RANGE}
        GROUP BY 1, 2 ORDER BY 1, 2
    """,
    "revenue of events": f"""
        SELECT r.currency, r.event_name, CAST(r.created_at AS date), SUM(r.revenue), COUNT(r.event_id)
        FROM revenue AS r
        JOIN website_event AS e
          ON e.event_id = r.event_id AND e.session_id = r.session_id AND e.website_id = r.website_id
        {_JOIN_SESSION}
        WHERE {_IN_RANGE}
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    """,
    "sessions": f"""
        SELECT s.session_id, s.browser, s.os, s.device, s.screen, s.country, s.region, s.city, s.distinct_id,
               MIN(e.created_at), MAX(e.created_at), COUNT(DISTINCT e.visit_id),
               SUM(CASE WHEN e.event_type = 1 THEN 1 ELSE 0 END),
               SUM(CASE WHEN e.event_type = 2 THEN 1 ELSE 0 END)
        FROM website_event AS e {_JOIN_SESSION}
        WHERE {_IN_RANGE}
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9 ORDER BY 1
    """,
}

# These filter by the clock of the row itself: an odd one dated after its event is theirs alone to count.
_BY_OWN_CLOCK = {
    "revenue": """
        SELECT r.currency, CAST(r.created_at AS date), SUM(r.revenue), COUNT(DISTINCT r.session_id)
        FROM revenue AS r
        WHERE r.website_id = '{website}' AND r.created_at >= '{since}' AND r.created_at < '{until}'
        GROUP BY 1, 2 ORDER BY 1, 2
    """,
    "event data": """
        SELECT d.data_key, d.data_type, COUNT(*)
        FROM event_data AS d
        WHERE d.website_id = '{website}' AND d.created_at >= '{since}' AND d.created_at < '{until}'
        GROUP BY 1, 2 ORDER BY 1, 2
    """,
}
_REPLAYS = """
    SELECT r.visit_id, r.session_id, MIN(r.started_at), MAX(r.ended_at), SUM(r.event_count), COUNT(*),
           s.browser, s.country
    FROM session_replay AS r LEFT JOIN session AS s ON s.session_id = r.session_id
    WHERE r.website_id = '{website}' AND r.created_at >= '{since}' AND r.created_at < '{until}'
    GROUP BY r.visit_id, r.session_id, s.browser, s.country ORDER BY 1
"""


def numbers(
    loader: Loader, website_id: object, since: datetime, until: datetime, *, replays: bool, own_clock: bool
) -> Numbers:
    """Return every dashboard of one website for one range; `own_clock` adds those that ask no event."""
    values = {
        "website": str(website_id),
        "since": f"{since:%Y-%m-%d %H:%M:%S}",
        "until": f"{until:%Y-%m-%d %H:%M:%S}",
        "seconds": _SECONDS[loader.dialect],
    }
    return {
        name: [tuple(map(_folded, row)) for row in loader.execute(query.format(**values))]
        for name, query in _chosen(replays=replays, own_clock=own_clock)
    }


def _folded(value: Any) -> Any:
    """MySQL groups `Bob` with `bob` and shows either; so case says nothing here."""
    return value.casefold() if isinstance(value, str) else value


def _chosen(*, replays: bool, own_clock: bool) -> Iterator[tuple[str, str]]:
    yield from _DASHBOARDS.items()
    if own_clock:
        yield from _BY_OWN_CLOCK.items()
    if replays:
        yield "replays", _REPLAYS
