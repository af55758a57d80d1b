"""Prune beside others who work on the same rows: visitors who write, sessions that lock, deadlocks."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from testbed.bulk import Loader, connect
from testbed.servers import Server
from tests import pruning
from tests.fault.scene import HORIZON, RETENTION, Scene, scene_on, sessions_that_wait
from umami_ops.execute import Event, StepBegan
from umami_ops.umami.schema import latest_level

_LONGEST_WAIT_SECONDS = 1
_NOW = HORIZON + timedelta(days=70)


@dataclass
class _Writer:
    """Visitors' requests, as Umami writes them: the session unless it is there, the event, what hangs on it.

    Each statement is committed by itself. The server fails one that waits for a lock longer than a second.
    """

    url: str
    website: str
    old_sessions: list[str]
    seed: int
    written: list[dict[str, str]] = field(default_factory=list)
    fault: BaseException | None = None
    longest_seconds: float = 0.0

    def run(self, over: threading.Event) -> None:
        draw = random.Random(self.seed)
        try:
            with connect(self.url) as loader:
                self._limit_waits(loader)
                while not over.is_set():
                    self._visit(loader, draw)
        except BaseException as fault:  # noqa: BLE001 -- the test shows it
            self.fault = fault

    def _limit_waits(self, loader: Loader) -> None:
        setting = (
            f"lock_timeout = '{_LONGEST_WAIT_SECONDS}s'"
            if loader.dialect == "postgresql"
            else f"innodb_lock_wait_timeout = {_LONGEST_WAIT_SECONDS}"
        )
        loader.execute(f"SET {setting}")
        loader.commit()

    def _visit(self, loader: Loader, draw: random.Random) -> None:
        kind = draw.choice(["new", "new", "returning", "backdated"])
        session = draw.choice(self.old_sessions) if kind == "returning" else str(uuid.uuid4())
        at = HORIZON - timedelta(days=draw.random() * 90) if kind == "backdated" else _NOW
        visit = {"kind": kind, "session": session, "event": str(uuid.uuid4()), "data": str(uuid.uuid4())}
        when = f"{at:%Y-%m-%d %H:%M:%S}"
        website, event, data = self.website, visit["event"], visit["data"]
        ignore, unless = ("", "ON CONFLICT DO NOTHING") if loader.dialect == "postgresql" else ("IGNORE", "")
        self._write(
            loader,
            f"INSERT {ignore} INTO session (session_id, website_id, created_at) "
            f"VALUES ('{session}', '{website}', '{_NOW:%Y-%m-%d %H:%M:%S}') {unless}",
        )
        self._write(
            loader,
            "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path, created_at) "
            f"VALUES ('{event}', '{website}', '{session}', '{uuid.uuid4()}', '/', '{when}')",
        )
        visit["at"] = repr(time.monotonic())
        self._write(
            loader,
            "INSERT INTO event_data "
            "(event_data_id, website_id, website_event_id, data_key, data_type, created_at) "
            f"VALUES ('{data}', '{website}', '{event}', 'k', 1, '{when}')",
        )
        self._write(
            loader,
            "INSERT INTO revenue "
            "(revenue_id, website_id, session_id, event_id, event_name, currency, revenue, created_at) "
            f"VALUES ('{data}', '{website}', '{session}', '{event}', 'buy', 'EUR', 1, '{when}')",
        )
        self.written.append(visit)

    def _write(self, loader: Loader, statement: str) -> None:
        began = time.monotonic()
        loader.execute(statement)
        loader.commit()
        self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)


@contextmanager
def _writing(scene: Scene, number: int = 4) -> Iterator[list[_Writer]]:
    """Visitors who write until the end."""
    gone = {
        key for (key,) in pruning.keys_in(scene.before, scene.schema)["session"] - scene.expected["session"]
    }
    website = scene.before["session"][0]["website_id"]
    # Each visitor has sessions of his own: InnoDB fails one of two who wait for the same session to be gone.
    writers = [_Writer(scene.url, website, sorted(gone)[seed::number], seed) for seed in range(number)]
    over = threading.Event()
    threads = [threading.Thread(target=writer.run, args=[over]) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        yield writers
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_visitors_write_meanwhile(scene: Scene, record_property: Callable[[str, object], None]) -> None:
    sessions_began: list[float] = []

    def observe(event: Event) -> None:
        if isinstance(event, StepBegan) and event.title == "sessions":
            sessions_began.append(time.monotonic())

    with _writing(scene) as writers:
        done = pruning.prune(scene.url, RETENTION, batch_rows=50, observer=observe)
    assert [writer.fault for writer in writers] == [None] * len(writers)
    assert done.report.transactions > 20
    written = [visit for writer in writers for visit in writer.written]
    assert {visit["kind"] for visit in written} == {"new", "returning", "backdated"}

    bereft = _bereft(scene, written)
    returned = [v for v in written if v["kind"] == "returning" and float(v["at"]) > sessions_began[0]]
    record_property("longest_wait_seconds", max(writer.longest_seconds for writer in writers))
    record_property("returned_while_sessions_went", len(returned))
    record_property("returned_and_lost_the_session", len(bereft))
    # Who came back in the very moment in which the session went is the known exception.
    assert all(visit in returned for visit in bereft)


def _bereft(scene: Scene, written: list[dict[str, str]]) -> list[dict[str, str]]:
    """Hold the database to what was there and what was written; return events without their session."""
    rows = pruning.read_rows(scene.url, scene.schema)
    here = {table: {row[0] for row in keys} for table, keys in pruning.keys_in(rows, scene.schema).items()}
    dated = [visit for visit in written if visit["kind"] != "backdated"]
    new, data = {visit["event"] for visit in dated}, {visit["data"] for visit in dated}
    assert new <= here["website_event"]
    assert data <= here["event_data"]
    assert data <= here["revenue"]
    events, details = {visit["event"] for visit in written}, {visit["data"] for visit in written}
    for table, theirs in (("website_event", events), ("event_data", details), ("revenue", details)):
        assert here[table] - theirs == {key for (key,) in scene.expected[table]}
    return [visit for visit in dated if visit["session"] not in here["session"]]


def test_somebody_locks_rows_for_two_seconds(scene: Scene) -> None:
    admin = scene.server.as_admin(scene.url)
    with connect(admin) as holder, connect(admin) as watcher:
        holder.execute(
            f"SELECT event_id FROM website_event WHERE created_at < '{HORIZON:%Y-%m-%d}' "
            "ORDER BY created_at DESC LIMIT 20 FOR UPDATE"
        )
        run = scene.prune("--jobs", "1")
        while not sessions_that_wait(watcher):
            assert not run.is_over, run.wait().said
        time.sleep(2)
        holder.commit()
    ended = run.wait()
    assert ended.code == 0, ended.said
    assert ended.document["longest_transaction_seconds"] >= 2
    scene.assert_done()


def test_a_deadlock_is_tried_again(scene: Scene) -> None:
    # So few that they are one batch.
    horizon = sorted(row["created_at"] for row in scene.before["website_event"] if row["created_at"])[100]
    past = f"created_at < '{horizon:%Y-%m-%d %H:%M:%S}' ORDER BY created_at"
    admin = scene.server.as_admin(scene.url)
    with connect(admin) as other, connect(admin) as watcher:
        # So that the server gives the other side right: it has changed more, or never looks for a deadlock.
        if other.dialect == "postgresql":
            other.execute("SET deadlock_timeout = '1h'")
        other.execute(f"UPDATE event_data SET string_value = 'x' WHERE created_at >= '{HORIZON:%Y-%m-%d}'")
        ((last,),) = other.execute(f"SELECT event_id FROM website_event WHERE {past} DESC LIMIT 1 FOR UPDATE")
        ((first,),) = watcher.execute(f"SELECT event_id FROM website_event WHERE {past} LIMIT 1")
        watcher.commit()
        run = scene.prune("--before", f"{horizon:%Y-%m-%dT%H:%M:%S}", "--jobs", "1")
        while not sessions_that_wait(watcher):
            assert not run.is_over, run.wait().said
        # Only a deadlock's victim lets go of the first event.
        assert other.execute(f"SELECT event_id FROM website_event WHERE event_id = '{first}' FOR UPDATE")
        other.commit()
    ended = run.wait()
    assert ended.code == 0, ended.said
    assert ended.document["retries"] >= 1
    scene.assert_nothing_is_half_deleted()
    scene.finish()


def test_who_returns_while_his_session_goes_keeps_it(server: Server) -> None:
    scene = scene_on(server, events=600, level=latest_level(server.dialect))
    gone = pruning.keys_in(scene.before, scene.schema)["session"] - scene.expected["session"]
    ((session,), *_) = sorted(gone)
    website = next(row["website_id"] for row in scene.before["session"] if row["session_id"] == session)
    # What a visitor may bring without an event, by identify().
    brought, columns, values = (
        ("session_link", "distinct_id", "'bob'")
        if "session_link" in scene.schema
        else ("session_data", "session_data_id, data_key, data_type", f"'{uuid.uuid4()}', 'plan', 1")
    )
    admin = server.as_admin(scene.url)
    with connect(admin) as visitor, connect(admin) as watcher:
        visitor.execute(
            f"INSERT INTO {brought} (website_id, session_id, created_at, {columns}) "
            f"VALUES ('{website}', '{session}', '{_NOW:%Y-%m-%d %H:%M:%S}', {values})"
        )
        visitor.execute(f"SELECT session_id FROM session WHERE session_id = '{session}' FOR UPDATE")
        run = scene.prune("--jobs", "1")
        while not sessions_that_wait(watcher):
            assert not run.is_over, run.wait().said
        visitor.commit()
    ended = run.wait()
    assert ended.code == 0, ended.said
    with connect(scene.url) as loader:
        for table in ("session", brought):
            assert loader.execute(f"SELECT session_id FROM {table} WHERE session_id = '{session}'"), table
    server.drop_database(scene.url)
