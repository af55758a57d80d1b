"""Prune is stopped, killed, cut off, doubled; nothing is ever half deleted, and a rerun finishes."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from testbed import servers
from testbed.bulk import connect
from testbed.sessions import end_sessions
from tests import pruning
from tests.command import Outcome
from tests.fault.scene import HORIZON, RETENTION, Scene, scene_on, sessions_that_wait
from umami_ops.databases.registry import open_database
from umami_ops.execute import Event, RunLock, StepBegan, execute
from umami_ops.operations.inspect import inspect
from umami_ops.operations.prune import plan_prune


def test_a_signal_ends_it_after_the_batch(scene: Scene) -> None:
    for number, share, reason in (
        (signal.SIGTERM, 0.2, "SIGTERM was received"),
        (signal.SIGINT, 0.5, "Ctrl-C was pressed"),
    ):
        run = scene.prune()
        scene.wait_until_gone(share, run)
        run.send(number)
        ended = run.wait()
        assert ended.code == 3, ended.said
        assert ended.document["stopped"] == reason
        scene.assert_nothing_is_half_deleted()
    scene.finish()


def test_a_key_pressed_twice_cuts_no_report_short(scene: Scene, is_thorough: bool) -> None:
    """The second signal comes while what was deleted is told, or when the process ends."""
    gaps = [number / 1_000 for number in range(0, 60, 3 if is_thorough else 12)]
    for place, gap in enumerate(gaps):
        before = scene.rows_left_now()
        run = scene.prune("--batch-size", "10", "--pause", "0.05s")
        scene.wait_until_gone((place + 1) / (len(gaps) + 2), run)
        run.send(signal.SIGINT)
        time.sleep(gap)
        run.send(signal.SIGINT)
        ended = run.wait()
        assert ended.code == 3, (gap, ended.code, ended.said)
        assert sum(ended.document["deleted_rows"].values()) == before - scene.rows_left_now(), gap
    scene.finish()


def test_killed_at_any_moment(scene: Scene, is_thorough: bool) -> None:
    kills = 20 if is_thorough else 3
    chance = random.Random(7)
    for kill in range(kills):
        run = scene.prune("--batch-size", "100", "--jobs", "2")
        scene.wait_until_gone((kill + chance.random()) / (kills + 1), run)
        time.sleep(chance.random() * 0.02)  # so that it hits any point of a batch, not its end alone
        run.send(signal.SIGKILL)
        ended = run.wait()
        assert ended.code in (-signal.SIGKILL, 0), ended.said
        scene.wait_until_alone()
        scene.assert_nothing_is_half_deleted()
    scene.finish()


def test_a_worker_is_cut_off(scene: Scene) -> None:
    admin = scene.server.as_admin(scene.url)
    with connect(admin) as holder, connect(admin) as watcher:
        # So that there is a worker in the middle of a batch for sure.
        holder.execute(
            f"SELECT event_id FROM website_event WHERE created_at < '{HORIZON:%Y-%m-%d}' "
            "ORDER BY created_at DESC LIMIT 1 FOR UPDATE"
        )
        run = scene.prune("--jobs", "2")
        while not (workers := sessions_that_wait(watcher)):
            assert not run.is_over, run.wait().said
        end_sessions(watcher, workers[:1])
        watcher.commit()
        holder.commit()
    ended = run.wait()
    assert ended.code == 0, ended.said
    assert ended.document["reconnects"] == 1
    scene.assert_done()


def test_the_session_that_holds_the_lock_is_ended(scene: Scene) -> None:
    database = open_database(pruning.url_of(scene.url))
    run = scene.prune()
    scene.wait_until_gone(0.1, run)
    with database.connect("test") as connection:
        (holder,) = connection.rows(connection.dialect.queries["lock.holder"])
    with connect(scene.server.as_admin(scene.url)) as loader:
        end_sessions(loader, [int(holder["session_id"])])
    ended = run.wait()
    assert ended.code == 0, ended.said
    scene.assert_done()


def test_a_second_run_is_turned_away(scene: Scene) -> None:
    first = scene.prune("--batch-size", "25", "--pause", "0.15s")
    scene.wait_until_gone(0.02, first)
    second = scene.prune().wait()
    assert second.code == 4, second.said
    assert " since 20" in second.err
    ended = first.wait()
    assert ended.code == 0, ended.said
    scene.assert_done()


def test_ctrl_c_while_the_plan_is_made_cancels_what_is_counted(scene: Scene) -> None:
    if scene.server.dialect != "postgresql":
        pytest.skip("a locked table of InnoDB's shows no row that is waited for")
    with connect(scene.url) as holder, connect(scene.server.as_admin(scene.url)) as watcher:
        holder.execute("LOCK TABLE event_data IN ACCESS EXCLUSIVE MODE")
        run = scene.prune()
        while not sessions_that_wait(watcher):
            assert not run.is_over, run.wait().said
        began = time.monotonic()
        run.send(signal.SIGINT)
        ended = run.wait()
        assert time.monotonic() - began < 5  # the lock itself would be given up after ten seconds
        assert (ended.code, ended.out) == (3, ""), ended.said
        assert sessions_that_wait(watcher) == []
        holder.commit()
    scene.finish()


@pytest.fixture(params=["postgresql-18", "mysql", "mariadb"])
def durable(request: pytest.FixtureRequest, is_thorough: bool) -> Iterator[Scene]:
    """The scene on a server of its own, as durable as its defaults."""
    with servers.start(request.param) as server:
        yield scene_on(server, events=30_000 if is_thorough else 2_000)


def test_the_server_is_killed_and_comes_back(durable: Scene, is_thorough: bool) -> None:
    for number, share in enumerate((0.2, 0.5, 0.8) if is_thorough else (0.3,)):
        scene = durable.again() if number else durable
        run = scene.prune()
        scene.wait_until_gone(share, run)
        scene.server.kill()
        scene.server.restart()
        ended = run.wait()
        assert ended.code == 0 or _says_what_to_do(ended), ended.said
        scene.assert_nothing_is_half_deleted()
        if ended.code == 0:
            scene.assert_done()
            assert ended.document["reconnects"] >= 1
        scene.finish()


def _says_what_to_do(ended: Outcome) -> bool:
    return ended.code == 1 and "Committed before that" in ended.err and "Run" in ended.err


@pytest.mark.fault
def test_the_server_is_away_when_the_next_step_begins(durable: Scene) -> None:
    back = threading.Thread(target=durable.server.restart)

    def observe(event: Event) -> None:
        if isinstance(event, StepBegan) and event.title == "sessions":
            durable.server.kill()
            back.start()

    database = open_database(pruning.url_of(durable.url))
    with database.connect() as connection:
        plan = plan_prune(connection, inspect(connection), RETENTION, counted=True)
    with RunLock(database, "prune") as lock:
        report = execute(plan, database, lock=lock, observer=observe)
    back.join()
    assert report.reconnects >= 1
    durable.assert_done()
