"""Prune is stopped, killed, cut off, doubled; nothing is ever half deleted, and a rerun finishes."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator

import pytest

from testbed import servers
from testbed.bulk import Loader, connect
from testbed.servers.server import database_name
from tests import pruning
from tests.fault.scene import Ended, Scene, scene_on
from umami_ops.databases.registry import open_database


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


def _end_sessions(loader: Loader, ids: list[int]) -> None:
    for id_ in ids:
        loader.execute(
            f"SELECT pg_terminate_backend({id_})" if loader.dialect == "postgresql" else f"KILL {id_}"
        )


def _workers(loader: Loader, url: str) -> list[int]:
    """The sessions that have a transaction open now."""
    name = database_name(url)
    busy = (
        f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}' AND xact_start IS NOT NULL "
        "AND application_name = 'umami-ops prune'"
        if loader.dialect == "postgresql"
        else "SELECT t.trx_mysql_thread_id FROM information_schema.innodb_trx AS t "
        f"JOIN information_schema.processlist AS p ON p.id = t.trx_mysql_thread_id WHERE p.db = '{name}' "
        "AND t.trx_rows_modified > 0"
    )
    found = [int(id_) for (id_,) in loader.execute(busy)]
    loader.commit()
    return found


def test_a_worker_is_cut_off(scene: Scene) -> None:
    run = scene.prune("--batch-size", "100", "--jobs", "2")
    scene.wait_until_gone(0.1, run)
    with connect(scene.server.as_admin(scene.url)) as loader:
        while not (workers := _workers(loader, scene.url)) and not run.is_over:
            pass
        _end_sessions(loader, workers[:1])
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
        _end_sessions(loader, [int(holder["session_id"])])
    ended = run.wait()
    assert ended.code == 0, ended.said
    scene.assert_done()


def test_a_second_run_is_turned_away(scene: Scene) -> None:
    first = scene.prune()
    scene.wait_until_gone(0.05, first)
    second = scene.prune().wait()
    assert second.code == 4, second.said
    assert " since 20" in second.err
    ended = first.wait()
    assert ended.code == 0, ended.said
    scene.assert_done()


@pytest.fixture(params=["postgresql-18", "mysql", "mariadb"])
def durable(request: pytest.FixtureRequest, is_thorough: bool) -> Iterator[Scene]:
    """The scene on a server of its own, as durable as its defaults."""
    with servers.start(request.param) as server:
        yield scene_on(server, events=30_000 if is_thorough else 2_000)


def test_the_server_is_killed_and_comes_back(durable: Scene, is_thorough: bool) -> None:
    for share in (0.2, 0.5, 0.8) if is_thorough else (0.3,):
        run = durable.prune()
        durable.wait_until_gone(share, run)
        durable.server.kill()
        durable.server.restart()
        ended = run.wait()
        assert ended.code == 0 or _says_what_to_do(ended), ended.said
        durable.assert_nothing_is_half_deleted()
        if ended.code == 0:
            durable.assert_done()
            assert ended.document["reconnects"] >= 1
    durable.finish()


def _says_what_to_do(ended: Ended) -> bool:
    return ended.code == 1 and "Committed before that" in ended.err and "Run" in ended.err
