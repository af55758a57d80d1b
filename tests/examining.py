"""Conditions made on real servers, and what `umami-ops health` says of them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from testbed.servers import Server, database_name
from umami_ops.databases.base import Connection
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.operations.health import CHECKS, Check, Finding, Health, Thresholds, examine
from umami_ops.sql import Query

WEBSITE = "00000000-0000-4000-8000-00000000000a"
OTHER = "00000000-0000-4000-8000-00000000000b"


@contextmanager
def opened(url: str) -> Iterator[Connection]:
    with open_database(DatabaseUrl.parse(url)).connect() as connection:
        yield connection


def execute(url: str, *statements: str) -> None:
    with opened(url) as connection:
        for statement in statements:
            connection.run(Query("test", "", statement))


def examined(
    url: str, *names: str, now: datetime | None = None, more: Sequence[Check] = (), **limits: Any
) -> Health:
    """Make the named checks, or all of them; the clock of slow test machines is no matter here."""
    checks = [*more, *(check for check in CHECKS if not names or check.name in names)]
    thresholds = Thresholds(**{"budget_seconds": 30.0, "round_trip_seconds": 10.0, **limits})
    return examine(open_database(DatabaseUrl.parse(url)).connect, thresholds, checks, now=now)


def findings_of(url: str, name: str, *, now: datetime | None = None, **limits: Any) -> list[Finding]:
    (verdict,) = examined(url, name, now=now, **limits).verdicts
    assert not verdict.unseen, verdict.unseen
    for finding in verdict.findings:
        assert finding.sentence.endswith("."), finding
        assert finding.evidence, finding
    return list(verdict.findings)


def finding_of(url: str, name: str, *, now: datetime | None = None, **limits: Any) -> Finding:
    (finding,) = findings_of(url, name, now=now, **limits)
    return finding


def until(look: Callable[[], bool]) -> None:
    """Wait until a server shows what it was made to be; statistics come late."""
    ends = time.monotonic() + 20
    while not look():
        assert time.monotonic() < ends
        time.sleep(0.1)


def insert_events(url: str, website: str, times: Sequence[datetime | None]) -> None:
    insert = Query(
        "insert",
        "",
        "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path, created_at)"
        " VALUES (:event, :website, :session, :visit, '/', :at)",
    )
    with opened(url) as connection, connection.transaction():
        for at in times:
            event, session, visit = (str(uuid.uuid4()) for _ in range(3))
            connection.run(insert, event=event, website=website, session=session, visit=visit, at=at)


@contextmanager
def undone(url: str, statement: str, undo: str) -> Iterator[None]:
    execute(url, statement)
    try:
        yield
    finally:
        execute(url, undo)


@contextmanager
def user_with(server: Server, url: str, *grants: str) -> Iterator[str]:
    """A user with these rights alone; `{db}` in a grant is the database."""
    admin, name, parts = server.as_admin(url), database_name(url), urlsplit(url)
    if server.dialect == "postgresql":
        make, drop = (
            ["CREATE ROLE health_user LOGIN PASSWORD 'pw'"],
            ["DROP OWNED BY health_user", "DROP ROLE health_user"],
        )
        rights = [f"GRANT {grant} TO health_user" for grant in grants]
    else:
        make, drop = (
            ["CREATE USER health_user@'%' IDENTIFIED BY 'pw'"],
            ["DROP USER health_user@'%'"],
        )
        rights = [f"GRANT {grant} TO health_user@'%'" for grant in grants]
    execute(admin, *make, *(right.replace("{db}", f"`{name}`.") for right in rights))
    try:
        yield parts._replace(netloc=f"health_user:pw@{parts.hostname}:{parts.port}").geturl()
    finally:
        execute(admin, *drop)
