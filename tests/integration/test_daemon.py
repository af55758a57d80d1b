"""The daemon on real servers: jobs every second, two of them on one database, signals, notifiers, pages."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from testbed.bulk import connect
from testbed.servers import Server
from testbed.sessions import number_of_others
from tests.command import bare_environment, run
from tests.process import Process
from tests.sidecar import Sidecar
from umami_ops.daemon import guard, observer
from umami_ops.daemon.history import History
from umami_ops.daemon.log import Log
from umami_ops.daemon.records import Cause, Result
from umami_ops.daemon.runner import Program
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import LockHeld
from umami_ops.sql import Query

_EVERY_SECOND = '[jobs.look]\nschedule = "@every 1s"\nsteps = ["health --only connection"]\n'
_BY_HAND = '[jobs.look]\nsteps = ["info"]\n'


def test_jobs_run_and_it_ends_in_time_and_leaves_nothing(
    server: Server, umami_database: str, tmp_path: Path
) -> None:
    with Sidecar(tmp_path / "a", umami_database, _EVERY_SECOND) as sidecar:
        sidecar.wait_for("run_ended", lambda event: event["result"] == "success", count=3)
        assert sidecar.stop() < 10
    runs = sidecar.runs()
    assert all(done.seconds is not None for done in runs)
    slots = [done.slot for done in runs]
    assert len(slots) == len(set(slots))
    assert {event["event"] for event in sidecar.events} >= {
        "started",
        "leader",
        "run_began",
        "step_began",
        "step_ended",
        "stopped",
    }
    password = urlsplit(umami_database).password
    assert password
    assert password not in sidecar.said
    assert password.encode() not in b"".join(file.read_bytes() for file in sidecar.state.iterdir())
    assert number_of_others(server, umami_database) == 0


def _covered(sidecar: Sidecar, span: timedelta) -> list[datetime]:
    """The slots that a daemon ran, or took as missed."""
    return [
        run.slot - n * span
        for run in sidecar.runs()
        if run.slot is not None and run.result is Result.SUCCESS
        for n in range(run.missed + 1)
    ]


def test_two_on_one_database_run_each_job_once_and_one_takes_over(
    server: Server, umami_database: str, tmp_path: Path
) -> None:
    with Sidecar(tmp_path / "a", umami_database, _EVERY_SECOND) as first:
        first.wait_for("leader")
        with Sidecar(tmp_path / "b", umami_database, _EVERY_SECOND) as second:
            second.wait_for("standby")
            first.wait_for("run_ended", count=3)
            assert not second.runs()
            assert first.stop() < 10
            second.wait_for("leader", seconds=20)
            second.wait_for("run_ended", lambda event: event["result"] == "success", count=2)
            first.forget()
            first.start()
            first.wait_for("standby")
            second.wait_for("run_ended", count=4)
            second.kill()
            first.wait_for("leader", seconds=20)
            first.wait_for("run_ended", lambda event: event["result"] == "success", count=2)
            assert first.stop() < 10
    ran = Counter(slot for sidecar in (first, second) for slot in _covered(sidecar, timedelta(seconds=1)))
    assert len(ran) >= 3 + 4 + 2 - 1, "as many as were waited for, but for one that may be repeated"
    # Nobody may have looked between the end of a run and that of its daemon, where that was killed.
    # The next one may have begun by then.
    last = {run.slot for run in second.runs()[:2]}
    assert {slot for slot, times in ran.items() if times > 1} <= last


def test_what_another_was_seen_to_be_done_with_is_not_run_when_that_one_dies(
    server: Server, umami_database: str, tmp_path: Path
) -> None:
    settings = (
        '[jobs.look]\nschedule = "@every 10s"\nsteps = ["info"]\n'
        '[jobs.again]\nschedule = "@every 10s"\nsteps = ["info"]\n'
    )
    with Sidecar(tmp_path / "a", umami_database, settings) as first:
        first.wait_for("leader")
        with Sidecar(tmp_path / "b", umami_database, settings) as second:
            second.wait_for("standby")

            def is_seen() -> list[int]:
                done = Counter(run.slot for run in first.runs() if run.slot and run.result is Result.SUCCESS)
                last = max(done, default=None)
                return [1] if last is not None and done[last] == 2 and second.marks() == {last} else []

            _eventually(is_seen, seconds=60)
            first.kill()
            second.wait_for("run_ended", count=2)
            second.stop()
    done, then = (_covered(sidecar, timedelta(seconds=10)) for sidecar in (first, second))
    assert not set(done) & set(then)
    assert min(then) - max(done) == timedelta(seconds=10)


def test_what_the_first_was_running_when_it_died_the_second_runs(
    postgresql_server: Server, umami_database: str, tmp_path: Path
) -> None:
    settings = '[jobs.look]\nschedule = "@every 5s"\nsteps = ["info"]\n'
    with Sidecar(tmp_path / "a", umami_database, settings) as first:
        first.wait_for("leader")
        with Sidecar(tmp_path / "b", umami_database, settings) as second:
            second.wait_for("standby")
            first.forget()
            first.wait_for("run_ended")
            with _locked(postgresql_server, umami_database) as release:
                first.forget()
                first.wait_for("run_began")
                time.sleep(3)  # so that the second has looked since
                first.kill()
                second.wait_for("run_began")
                release()
                second.stop()
    lost, taken = first.runs()[0], second.runs()[-1]
    assert lost.slot is not None
    assert taken.slot is not None
    assert lost.result is Result.RUNNING
    assert taken.slot - timedelta(seconds=5 * taken.missed) <= lost.slot


def _guards(url: str) -> set[int]:
    """The sessions in which daemons hold their locks, or wait for them."""
    with connect(url) as hand:
        found = hand.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'umami-ops daemon'"
            " AND datname = current_database()"
        )
    return {pid for (pid,) in found}


def test_a_run_that_goes_on_when_its_daemon_lost_the_lead_is_not_repeated(
    postgresql_server: Server, umami_database: str, tmp_path: Path
) -> None:
    settings = '[jobs.look]\nschedule = "@every 10s"\nsteps = ["info"]\n'
    with Sidecar(tmp_path / "a", umami_database, settings) as first:
        first.wait_for("leader")
        leaders = _guards(umami_database)
        with Sidecar(tmp_path / "b", umami_database, settings) as second:
            second.wait_for("standby")
            (other,) = _guards(umami_database) - leaders
            with _locked(postgresql_server, umami_database) as release:
                first.forget()
                first.wait_for("run_began")
                slot = first.runs()[0].slot

                def leads() -> list[int]:
                    """Whoever is back first leads; so the first may have to be thrown out again."""
                    with connect(umami_database) as hand:
                        for number in _guards(umami_database) - {other}:
                            hand.execute(f"SELECT pg_terminate_backend({number})")
                    return [1 for event in second.events if event["event"] == "leader"]

                _eventually(leads)
                second.wait_for("waits")
                release()
            first.wait_for("run_ended")
            second.wait_for("run_began")
            assert first.runs()[0].result is Result.SUCCESS
            assert slot not in {run.slot for run in second.runs()}
            assert second.stop() < 10


class _Forgetful:
    """A way to a server that forgets the connections through it, as a firewall does when it restarts."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._there = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = url.replace(f":{parts.port}/", f":{self._listener.getsockname()[1]}/")
        self._known: list[socket.socket] = []
        self._forgotten: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._there)
                self._known += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while (piece := one.recv(65_536)) or one not in self._forgotten:
                if one not in self._forgotten:
                    other.sendall(piece)
                if not piece:
                    other.shutdown(socket.SHUT_WR)
                    return

    def forget(self) -> None:
        """Pass nothing on any more of what goes on now, without a word; what begins from now on goes well."""
        self._forgotten += self._known

    def close(self) -> None:
        for each in (self._listener, *self._known):
            each.close()


def test_a_leader_of_which_the_server_hears_nothing_runs_nothing_that_the_next_one_has_run(
    postgresql_server: Server, umami_database: str, tmp_path: Path
) -> None:
    """It may wait for an answer for a quarter of an hour, and takes itself for the leader as long."""
    settings = '[jobs.look]\nschedule = "@every 10s"\nsteps = ["info"]\n'
    way = _Forgetful(umami_database)
    with closing(way), Sidecar(tmp_path / "a", way.url, settings) as first:
        first.wait_for("leader")
        leaders = _guards(umami_database)
        with Sidecar(tmp_path / "b", umami_database, settings) as second:
            second.wait_for("standby")
            first.wait_for("run_ended")
            time.sleep(1.5)  # so that the second knows of that
            way.forget()
            with connect(umami_database) as hand:
                for number in leaders:
                    hand.execute(f"SELECT pg_terminate_backend({number})")
            second.wait_for("leader")
            second.wait_for("run_ended", count=2)
            first.wait_for("standby")
            time.sleep(8)  # what the first would do for a slot, it has begun by now
            first.forget()
            assert second.stop() < 10
            first.wait_for("leader")
            first.wait_for("run_ended")
            assert first.stop() < 10
    ran, then = (_covered(sidecar, timedelta(seconds=10)) for sidecar in (first, second))
    assert not set(ran) & set(then)


def test_a_leader_tells_what_it_is_done_with_as_long_as_it_lives(
    server: Server, umami_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(guard, "_LINGER_SECONDS", 0.5)
    database = open_database(DatabaseUrl.parse(umami_database))
    leader, standby = (guard.Guard(lambda: database, lambda _role, _fault: None) for _ in range(2))
    hours = [datetime(2026, 11, 22, hour, tzinfo=UTC) for hour in range(6)]
    leader.publish({"nightly": hours[1], "ärger": hours[0]})
    leader.start()
    _eventually(lambda: [1] if leader.role is guard.Role.LEADER else [])
    standby.look_for({"nightly": hours, "ärger": hours, "other": hours})
    standby.start()
    try:
        _eventually(lambda: [1] if standby.seen == {"nightly": hours[1], "ärger": hours[0]} else [])
        leader.publish({"nightly": hours[3]})  # the other one runs now
        _eventually(lambda: [1] if standby.seen == {"nightly": hours[3], "ärger": hours[0]} else [])
        with database.connect() as connection:
            held = connection.dialect.queries["lock.holder_as"]
            assert not connection.value(held, role=guard._name_of("nightly", hours[1]))
            leader.publish({"nightly": hours[4]})
            leader.stop()
            _eventually(lambda: [1] if standby.role is guard.Role.LEADER else [])
            assert standby.seen["nightly"] == hours[4], "it lingers until the other has looked"
            assert not connection.value(held, role=guard._name_of("nightly", hours[4]))
    finally:
        standby.stop()
        leader.stop()


def test_the_server_misses_a_session_that_is_gone_and_keeps_one_that_waits(
    server: Server, umami_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client whose machine is gone can't be had here. MySQL takes silence for that, PostgreSQL asks the
    network.
    """
    monkeypatch.setattr(guard, "_GONE_SECONDS", 2)
    monkeypatch.setattr(guard, "_SPEAK_SECONDS", 0.3)
    database = open_database(DatabaseUrl.parse(umami_database))
    with database.connect() as silent, database.connect() as other:
        queries = silent.dialect.queries
        assert silent.value(queries["lock.acquire_as"], role="daemon")
        silent.run(queries["lock.missed"], seconds=2)
        with guard.one_job(database, "umami-ops look"):
            time.sleep(3.5)
            with pytest.raises(LockHeld), guard.one_job(database, "umami-ops look"):
                pass
        if server.dialect == "postgresql":
            keepalive = "SELECT setting FROM pg_settings WHERE name = 'tcp_keepalives_idle'"
            assert silent.value(Query("test", "", keepalive)) == "1"
        else:
            assert other.value(queries["lock.acquire_as"], role="daemon")


@contextmanager
def _locked(server: Server, url: str) -> Iterator[Callable[[], object]]:
    """Lock a table that `info` reads, until what is yielded is called."""
    lock, release = (
        ("LOCK TABLE website IN ACCESS EXCLUSIVE MODE", "COMMIT")
        if server.dialect == "postgresql"
        else ("LOCK TABLES website WRITE", "UNLOCK TABLES")
    )
    with connect(url) as loader:
        loader.execute(lock)
        yield lambda: loader.execute(release)


def test_killed_in_a_step_it_runs_the_job_once_more_and_then_says_that_it_failed(
    server: Server, umami_database: str, tmp_path: Path, listener: _Listener
) -> None:
    """The step ends with it; the run is repeated after the start, and if that is killed, too, no more."""
    with _locked(server, umami_database) as release:
        settings = (
            '[jobs.look]\nschedule = "@every 3s"\nsteps = ["info"]\n'
            f'[notify]\napprise = ["json://{listener.address}"]\nwebhook = "http://{listener.address}/hook"\n'
        )
        with Sidecar(tmp_path / "a", umami_database, settings, http=True) as sidecar:
            for _ in range(2):
                sidecar.wait_for("run_began")
                (step,) = _eventually(lambda: _steps_of(sidecar))
                sidecar.kill()
                _eventually(partial(_is_zombie, step))
                sidecar.forget()
                sidecar.start()
            sidecar.wait_for("given_up")
            assert sidecar.get("/healthz")[0] == 503
            _eventually(lambda: [1] if len(_told(listener)) == 1 else [])
            assert sidecar.get("/healthz")[0] == 503, "a run that goes on meanwhile makes nothing green"
            release()
            sidecar.wait_for("run_ended", lambda event: event["result"] == "success", seconds=60)
            _eventually(lambda: [1] if len(_told(listener)) == 2 else [])
            assert sidecar.get("/healthz")[0] == 200
            sidecar.stop()
        causes = [(run.result, run.cause) for run in reversed(sidecar.runs())]
        assert causes[:2] == [(Result.INTERRUPTED, Cause.SCHEDULE), (Result.FAILURE, Cause.CATCH_UP)]
    failed, works = _told(listener)
    assert "look failed" in failed["title"]
    assert "ended twice while it ran" in failed["message"]
    assert "look works again" in works["title"]
    first = next(json.loads(body) for path, body in listener.got if path == "/hook")
    assert (first["result"], first["cause"]) == ("failure", "catch-up")


def _told(listener: _Listener) -> list[dict[str, str]]:
    return [json.loads(body) for path, body in listener.got if path == "/"]


def _steps_of(sidecar: Sidecar) -> list[int]:
    return [child for child in sidecar.children if not _is_zombie(child)]


def _is_zombie(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _eventually(found: object, seconds: float = 20) -> list[int]:
    """Ask again and again until the answer is yes."""
    assert callable(found)
    ends = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < ends
        time.sleep(0.02)
    return answer if isinstance(answer, list) else []


def test_hanging_up_reloads_and_a_wrong_file_changes_nothing(
    postgresql_server: Server, umami_database: str, tmp_path: Path
) -> None:
    with Sidecar(tmp_path / "a", umami_database, _EVERY_SECOND) as sidecar:
        sidecar.wait_for("run_ended")
        sidecar.settings.write_text(
            _EVERY_SECOND.replace("connection", "konnection").replace("--only", "--onely")
        )
        sidecar.send(signal.SIGHUP)
        refused = sidecar.wait_for("not_reloaded")
        assert "umami-ops.toml line 3: jobs.look.steps" in refused["message"]
        sidecar.forget()
        # Steps keep to the file that was accepted, though the one on the disk is wrong.
        sidecar.wait_for("run_ended", lambda event: event["result"] == "success", count=2)
        # So does what opens the database for the locks: jobs begin, too, with a file that is no TOML.
        sidecar.settings.write_text("[jobs.look\n")
        sidecar.send(signal.SIGHUP)
        sidecar.wait_for("not_reloaded")
        sidecar.forget()
        sidecar.wait_for("run_ended", lambda event: event["result"] == "success", count=2)
        assert not [event for event in sidecar.events if event["event"] == "waits"]
        sidecar.settings.write_text(_EVERY_SECOND.replace("look", "other"))
        sidecar.send(signal.SIGHUP)
        sidecar.wait_for("reloaded")
        sidecar.forget()
        sidecar.wait_for("run_ended", lambda event: event["job"] == "other")
        sidecar.stop()


def _is_held(url: str, role: str) -> bool:
    with open_database(DatabaseUrl.parse(url)).connect() as connection:
        return bool(connection.value(connection.dialect.queries["lock.holder_as"], role=role))


def test_a_reload_that_names_another_database_moves_the_lock_there(
    server: Server, umami_at: Callable[[int], str], tmp_path: Path
) -> None:
    urls = [umami_at(9), umami_at(9)]

    def held() -> list[bool]:
        return [_is_held(url, "daemon") for url in urls]

    settings = [f'database_url = "{url}"\n{_BY_HAND}' for url in urls]
    with Sidecar(tmp_path / "a", None, settings[0]) as sidecar:
        sidecar.wait_for("leader")
        assert held() == [True, False]
        sidecar.forget()
        sidecar.settings.write_text(settings[1])
        sidecar.send(signal.SIGHUP)
        sidecar.wait_for("leader")
        assert held() == [False, True]
        sidecar.stop()


def test_a_run_by_hand_keeps_the_daemon_waiting_and_the_other_way_round(
    server: Server, umami_database: str, tmp_path: Path
) -> None:
    with (
        Sidecar(tmp_path / "a", umami_database, _BY_HAND) as sidecar,
        _locked(server, umami_database) as release,
    ):
        variables = {"UMAMI_OPS_STATE_DIR": str(sidecar.state)}
        sidecar.wait_for("leader")  # at its start it takes a run that goes on for one that was killed
        first = _by_hand(sidecar.folder, umami_database, variables)
        _eventually(lambda: [1 for run in sidecar.runs() if run.result is Result.RUNNING])
        refused = _by_hand(sidecar.folder, umami_database, variables).wait()
        assert refused.code == 4, refused.said
        assert "A job of umami-ops runs on this database" in refused.err
        release()
        ended = first.wait()
        assert ended.code == 0, ended.said
        assert [run.cause for run in sidecar.runs()] == [Cause.HAND]
        sidecar.stop()


def test_a_run_by_hand_tells_of_its_steps_as_they_go(umami_database: str, tmp_path: Path) -> None:
    wrong = "prune --days 365 --website nothing"
    (tmp_path / "umami-ops.toml").write_text(f'[jobs.look]\nsteps = ["info", "{wrong}"]\n')
    ended = _by_hand(tmp_path, umami_database, {"UMAMI_OPS_STATE_DIR": str(tmp_path / "state")}).wait()
    parts = ("info: begins", "info: exit code 0", f"{wrong}: begins", "error:", f"{wrong}: exit code 2")
    places = [ended.err.index(part) for part in parts]
    assert ended.code == 1
    assert places == sorted(places), ended.err


def _by_hand(folder: Path, url: str, env: dict[str, str]) -> Process:
    return Process("run", "look", url=url, env=env, folder=folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_by_hand_that_is_ended_says_so_in_the_history(
    number: signal.Signals, postgresql_server: Server, umami_database: str, tmp_path: Path
) -> None:
    """A terminal that is closed sends SIGHUP."""
    by_hand = (sys.executable, "-m", "umami_ops", "run", "look")
    with (
        _locked(postgresql_server, umami_database) as release,
        Sidecar(tmp_path / "a", umami_database, _BY_HAND, command=by_hand) as hand,
    ):
        _eventually(lambda: hand.children)
        time.sleep(1)  # until the step waits
        hand.send(number)
        assert hand.process.wait(timeout=15) == 3
        assert [run.result for run in hand.runs()] == [Result.INTERRUPTED]
        release()


def test_it_reaps_what_others_leave_behind(
    postgresql_server: Server, umami_database: str, tmp_path: Path
) -> None:
    """As PID 1 would it inherits a process whose parent is gone; once that ends it must not stay a zombie."""
    script = (
        "import ctypes, os, sys, time\n"
        "ctypes.CDLL(None).prctl(36, 1)\n"  # PR_SET_CHILD_SUBREAPER: orphans come to this process
        "if os.fork() == 0:\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(1.5); os._exit(0)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'umami_ops', 'daemon'])\n"
    )
    with Sidecar(tmp_path / "a", umami_database, _BY_HAND, command=(sys.executable, "-c", script)) as sidecar:
        sidecar.wait_for("leader")
        _eventually(lambda: not sidecar.children)
        sidecar.stop()


class _Listener:
    """A web server on this machine that keeps what it is sent; it can be told to hang, or to fail."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str]] = []
        self.status = 200
        self.hangs = threading.Event()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # noqa: N802
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                listener.got.append((self.path, body))
                if listener.hangs.is_set():
                    time.sleep(60)
                self.send_response(listener.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def paths(self) -> list[str]:
        return [path for path, _ in self.got]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def listener() -> Iterator[_Listener]:
    made = _Listener()
    yield made
    made.close()


def test_somebody_is_told_of_failure_and_recovery_and_of_every_run(
    postgresql_server: Server, umami_database: str, tmp_path: Path, listener: _Listener
) -> None:
    settings = (
        '[jobs.look]\nschedule = "@every 2s"\nsteps = ["info", "prune --days 365 --website nothing"]\n'
        f'[notify]\napprise = ["json://{listener.address}/apprise"]\nping = "http://{listener.address}/ping/{{job}}"\n'
        f'webhook = "http://{listener.address}/hook/s3cret"\n'
    )
    with Sidecar(tmp_path / "a", umami_database, settings) as sidecar:
        sidecar.wait_for("run_ended", count=2)
        _eventually(lambda: [path for path in listener.paths() if path == "/apprise"])
        sidecar.settings.write_text(settings.replace(" --website nothing", ""))
        sidecar.send(signal.SIGHUP)
        sidecar.wait_for("run_ended", lambda event: event["result"] == "success")
        _eventually(lambda: [1] if listener.paths().count("/apprise") == 2 else [])
        sidecar.stop()
    told = [json.loads(body) for path, body in listener.got if path == "/apprise"]
    assert "look failed" in told[0]["title"]
    for part in ("prune --days 365 --website nothing", "Reason:", "nothing", "umami-ops run look", "error:"):
        assert part in told[0]["message"]
    assert "look works again" in told[1]["title"]
    assert len(told) == 2, "the same failure is told once"
    pings = [path.partition("?")[0] for path in listener.paths() if path.startswith("/ping")]
    assert {"/ping/look/start", "/ping/look/0"} < set(pings)
    assert set(pings) - {"/ping/look/start", "/ping/look/0"}, "failures are pinged with their exit code"
    reports = [json.loads(body) for path, body in listener.got if path == "/hook/s3cret"]
    assert {report["result"] for report in reports} >= {"failure", "success"}
    assert reports[0]["steps"][0]["report"]["umami"]["is_umami"] is True
    assert "s3cret" not in sidecar.said


def test_a_notifier_that_hangs_or_fails_is_in_nobodys_way_and_tried_again(
    postgresql_server: Server, umami_database: str, tmp_path: Path, listener: _Listener
) -> None:
    settings = f'{_EVERY_SECOND}[notify]\nwebhook = "http://{listener.address}/hook"\n'
    listener.status = 500
    with Sidecar(tmp_path / "a", umami_database, settings) as sidecar:
        refused = sidecar.wait_for("not_delivered")
        assert "answered 500" in refused["message"]
        listener.hangs.set()
        before = len(listener.got)
        _eventually(lambda: [1] if len(listener.got) > before else [])
        sidecar.forget()
        sidecar.wait_for("run_ended", lambda event: event["result"] == "success", count=3)
        assert sidecar.stop() < 10
        listener.hangs.clear()
        listener.status = 200
        sidecar.forget()
        sidecar.start()
        sidecar.wait_for("delivered", count=2)  # those of before the restart, too
        sidecar.stop()


def test_pages(postgresql_server: Server, umami_database: str, tmp_path: Path) -> None:
    secret = "Sesam, öffne dich"
    token = {"UMAMI_OPS_DAEMON_HTTP_TOKEN": secret}
    settings = '[jobs.wrong]\nschedule = "@every 3s"\nsteps = ["prune --days 365 --website nothing"]\n'
    allowed = {"Authorization": f"Bearer {secret}".encode().decode("latin-1")}
    with Sidecar(tmp_path / "a", umami_database, settings, env=token, http=True) as sidecar:
        sidecar.wait_for("run_ended")
        assert sidecar.get("/healthz") == (503, "not ok\n")
        assert "The last run of wrong failed" in sidecar.get("/healthz", **allowed)[1]
        assert sidecar.get("/")[0] == sidecar.get("/metrics")[0] == sidecar.get("/status.json")[0] == 401
        assert sidecar.get("/", Authorization="Basic " + _base64(f":{secret}"))[0] == 200
        for wrong in ("Bearer close", "Basic !", "Basic " + _base64(secret), "Bearer öffne"):
            assert sidecar.get("/", Authorization=wrong.encode().decode("latin-1"))[0] == 401
        assert sidecar.get("/nowhere", **allowed)[0] == 404
        status, text = sidecar.get("/metrics", **allowed)
        values = {
            sample.name: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.labels.get("job", "wrong") == "wrong"
        }
        assert status == 200
        assert values["umami_ops_job_last_failed"] == 1
        assert values["umami_ops_ok"] == 0
        assert values["umami_ops_leader"] == 1
        assert values["umami_ops_job_runs_total"] >= 1
        probe = {"UMAMI_OPS_DAEMON_HTTP": f"127.0.0.1:{sidecar.port}"}
        red = run("daemon", "--probe", env=probe)
        assert (red.code, red.out) == (1, "not ok\n")
        told = run("daemon", "--probe", env=probe | token)
        assert (told.code, "The last run of wrong failed" in told.out) == (1, True)
        sidecar.settings.write_text(settings.replace(" --website nothing", ""))
        sidecar.send(signal.SIGHUP)
        sidecar.wait_for("run_ended", lambda event: event["result"] == "success")
        assert run("daemon", "--probe", env=probe).code == 0
        # It is well by the file that it began with, whatever has become of that since.
        sidecar.settings.write_text("[jobs.wrong\n")
        assert run("daemon", "--probe", env=probe | token, folder=sidecar.folder).code == 0
        sidecar.stop()
    gone = run("daemon", "--probe", env=probe)
    assert gone.code == 1
    assert "does not answer" in gone.err
    assert "Connection refused.\nhint: Does `umami-ops daemon --http` run there?" in gone.err


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_what_lies_in_the_working_directory_is_in_no_steps_way(umami_database: str, tmp_path: Path) -> None:
    """Python takes it for libraries where it is begun by `-m`."""
    settings = '[jobs.look]\nschedule = "@every 1s"\nsteps = ["info"]\n'
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "secrets.py").write_text("raise SystemExit(9)\n")
    (tmp_path / "a" / "click.py").write_text("raise SystemExit(9)\n")
    script = (str(Path(sys.executable).with_name("umami-ops")), "daemon")
    with Sidecar(tmp_path / "a", umami_database, settings, command=script) as sidecar:
        assert sidecar.wait_for("run_ended")["result"] == "success"
        assert sidecar.stop() < 10


def test_a_look_that_takes_too_long_leaves_no_query_on_the_server(
    postgresql_server: Server, umami_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next look would begin another beside it, and so on."""
    monkeypatch.setattr(observer, "_LONGEST_SECONDS", 3.0)
    words = [sys.executable, "-m", "umami_ops"]
    program = Program(words, {**bare_environment(), "DATABASE_URL": umami_database})
    history = History(tmp_path)
    reader = observer.Observer(history, Log(), lambda: program, lambda: guard.Role.LEADER, lambda: 600.0)
    with _locked(postgresql_server, umami_database) as release:
        assert reader._document(("info", "--json")) is None
        others = partial(number_of_others, postgresql_server, umami_database)
        _eventually(lambda: [1] if others() == 1 else [], seconds=5)
        release()
    history.close()


def test_variables_alone_make_a_job_and_the_history_tells_rows(
    server: Server, umami_database: str, tmp_path: Path
) -> None:
    with connect(umami_database) as loader:
        loader.execute(
            "INSERT INTO website_event "
            "(event_id, website_id, session_id, visit_id, created_at, url_path, event_type) VALUES "
            "('00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002', "
            "'00000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-000000000004', "
            "'2020-01-01 00:00:00', '/', 1)"
        )
        loader.commit()
    variables = {"UMAMI_OPS_SCHEDULE_PRUNE": "@every 1s", "UMAMI_OPS_PRUNE_DAYS": "365"}
    with Sidecar(tmp_path / "a", umami_database, "", env=variables) as sidecar:
        sidecar.wait_for("run_ended")
        sidecar.stop()
    first = sidecar.runs()[-1]
    assert (first.job, first.result, first.rows) == ("prune", Result.SUCCESS, 1)
    shown = run("history", "--json", env={"UMAMI_OPS_STATE_DIR": str(sidecar.state)}, url=umami_database)
    assert shown.document[-1]["steps"][0]["report"]["deleted_rows"]["website_event"] == 1
    assert "prune" in run("history", env={"UMAMI_OPS_STATE_DIR": str(sidecar.state)}).out
    assert os.stat(sidecar.state / "history.sqlite").st_mode & 0o077 == 0  # noqa: PTH116
