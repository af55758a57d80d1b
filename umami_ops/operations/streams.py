"""The streams that data pipelines ask of Umami: their names, which are their queries', and their columns.

Names of columns are those of Umami's API.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TEXT, INTEGER, NUMBER, TIME = "text", "integer", "number", "time"
_INTEGERS = frozenset({"eventType", "dataType", "visits", "views", "events", "totaltime", "pageviews",
                       "visitors", "bounces", "y", "sessions"})  # fmt: skip
_TIMES = frozenset({"createdAt", "updatedAt", "deletedAt", "resetAt", "dateValue", "firstAt", "lastAt"})
_NUMBERS = frozenset({"numberValue"})


@dataclass(frozen=True)
class Stream:
    """A stream by its name, which is also its query's; its columns in their order."""

    name: str
    columns: tuple[str, ...]
    is_monthly: bool = True

    def kind(self, column: str) -> str:
        """Return what a column holds."""
        if column in _INTEGERS:
            return INTEGER
        return TIME if column in _TIMES else NUMBER if column in _NUMBERS else TEXT


def _stream(name: str, columns: str, *, is_monthly: bool = True) -> Stream:
    return Stream(name, tuple(columns.split()), is_monthly)


_METRICS = ("url", "referrer", "country", "device", "browser", "os", "event")
STREAMS: Mapping[str, Stream] = {
    stream.name: stream
    for stream in (
        _stream("websites", "id name domain userId teamId createdBy createdAt updatedAt deletedAt resetAt",
                is_monthly=False),
        _stream("sessions", "id websiteId distinctId browser os device screen language country region city"
                " firstAt lastAt visits views events totaltime visitIds"),
        _stream("session_stats", "websiteId pageviews visitors visits bounces totaltime"),
        _stream("events", "id websiteId sessionId visitId createdAt hostname urlPath urlQuery referrerDomain"
                " referrerPath referrerQuery pageTitle eventType eventName tag utmSource utmMedium"
                " utmCampaign utmContent utmTerm gclid fbclid msclkid ttclid liFatId twclid"),
        _stream("event_data", "websiteId eventId sessionId eventName urlPath dataKey stringValue numberValue"
                " dateValue dataType createdAt"),
        _stream("event_stats", "websiteId eventName events visitors visits"),
        _stream("pageviews", "websiteId x y sessions"),
        *(_stream(f"metrics_{name}", "websiteId x y") for name in _METRICS),
    )
}  # fmt: skip
