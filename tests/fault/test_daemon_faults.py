"""What goes wrong around the daemon: stopped in a prune, servers that vanish, a disk that is full."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import servers
from testbed.bulk import connect
from testbed.servers import Server
from testbed.umami import create_umami
from tests import pruning
from tests.fault.scene import HORIZON, Scene
from tests.sidecar import Sidecar
from umami_ops.daemon.records import Cause, Result
from umami_ops.databases.registry import open_database
from umami_ops.umami.migrations import latest_released_level

_LOOK = '[jobs.look]\nschedule = "@every 1s"\nsteps = ["health --only connection"]\n'


def test_stopped_in_the_middle_of_a_prune_it_finishes_it_after_the_next_start(
    server: Server, scene: Scene, tmp_path: Path
) -> None:
    settings = (
        '[jobs.prune]\nschedule = "@every 2s"\n'
        f'steps = ["prune --before {HORIZON.isoformat()} --batch-size 25 --jobs 1 --pause 0.05s"]\n'
    )
    with Sidecar(tmp_path / "a", scene.url, settings) as sidecar:
        sidecar.wait_for("run_began")
        total = sum(len(rows) for rows in scene.before.values())
        with connect(scene.url) as loader:
            while scene.rows_left(loader) > total - 0.1 * scene.doomed:
                assert sidecar.process.poll() is None
        assert sidecar.stop() < 10
        scene.wait_until_alone()
        scene.assert_nothing_is_half_deleted()
        (first,) = sidecar.runs()
        assert first.result is Result.INTERRUPTED
        with connect(scene.url) as loader:
            assert scene.rows_left(loader) > total - scene.doomed, "the prune was not in its middle"
        with open_database(pruning.url_of(scene.url)).connect() as connection:
            assert not connection.rows(connection.dialect.queries["lock.holder"])
        sidecar.settings.write_text(settings.replace("--batch-size 25 --jobs 1 --pause 0.05s", ""))
        sidecar.forget()
        sidecar.start()
        sidecar.wait_for("run_ended", lambda event: event["result"] == "success")
        sidecar.stop()
        caught_up = sidecar.runs()[-2]
        assert (caught_up.cause, caught_up.slot) == (Cause.CATCH_UP, first.slot)
    scene.assert_done()


@pytest.fixture(
    params=["postgresql-18", *(pytest.param(n, marks=pytest.mark.fault) for n in ("mariadb", "mysql"))]
)
def own_server(request: pytest.FixtureRequest) -> Iterator[tuple[Server, str]]:
    """A server that may be stopped, with an empty Umami on it."""
    with servers.start(request.param) as server:
        url = server.create_database()
        create_umami(url, latest_released_level(server.dialect))
        yield server, url


def test_a_database_that_is_away_is_waited_for_and_said_so_once(
    own_server: tuple[Server, str], tmp_path: Path
) -> None:
    """At the start, and again in the middle; each time everything goes on by itself."""
    server, url = own_server
    server.backend.stop()
    with Sidecar(tmp_path / "a", url, _LOOK, http=True) as sidecar:
        sidecar.wait_for("away")
        assert sidecar.get("/healthz")[0] == 200, "a moment's absence is no alarm"
        server.restart()
        sidecar.wait_for("run_ended", lambda event: event["result"] == "success", count=2)
        assert len([event for event in sidecar.events if event["event"] == "away"]) == 1
        sidecar.forget()
        server.kill()
        sidecar.wait_for("away")
        server.restart()
        sidecar.wait_for("leader")
        sidecar.wait_for("run_ended", lambda event: event["result"] == "success", count=2)
        assert len([event for event in sidecar.events if event["event"] == "away"]) == 1
        assert sidecar.stop() < 10


@pytest.mark.fault
def test_a_full_disk_keeps_no_job_from_running_and_costs_no_history(
    postgresql_server: Server, umami_database: str, tmp_path: Path
) -> None:
    """The limit of a file's size is to the daemon what a full disk is, and can be lifted from outside."""
    with Sidecar(tmp_path / "a", umami_database, _LOOK) as sidecar:
        sidecar.wait_for("run_ended")
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.prlimit(sidecar.process.pid, resource.RLIMIT_FSIZE, (4_096, hard))
        told = sidecar.wait_for("history")
        assert "kept in memory" in told["message"]
        sidecar.forget()
        sidecar.wait_for("run_ended", lambda event: event["result"] == "success", count=2)
        resource.prlimit(sidecar.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        sidecar.wait_for("history", lambda event: "again" in event["message"], seconds=60)
        begun = {event["run"] for event in sidecar.events if event["event"] == "run_began"}
        sidecar.stop()
        assert begun <= {run.id for run in sidecar.runs()}
