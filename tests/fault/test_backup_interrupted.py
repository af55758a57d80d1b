"""Backups and restores are stopped and killed: nothing half made counts, and old data stay until the swap."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.servers import Server
from testbed.sessions import wait_until_alone
from tests import backups
from tests.backups import rows_of
from tests.process import Process
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import TransientFault
from umami_ops.sql import Query

# A dump that stands still in its middle until a file appears.
_SLOW = '"$real" "$@" | ( head -c 20000; while [ ! -e go ]; do sleep 0.05; done; cat )'


@pytest.fixture
def filled(server: Server) -> Iterator[str]:
    """A database with some traffic."""
    url = backups.fill(server, server.create_database(), events=300)
    yield url
    server.drop_database(url)


def _wait_for(folder: Path, pattern: str, run: Process) -> None:
    """Wait until the run has written something; its end would be a fault."""
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 0 for path in folder.glob(pattern) if path.is_file()):
        assert not run.is_over, run.wait().said
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _backing_up(server: Server, url: str, folder: Path) -> Process:
    env = backups.wrapped(server, folder / "programs", backups.dump_program(server), _SLOW)
    return Process("backup", url=url, folder=folder, env=env)


def test_a_signal_leaves_nothing_half_made(server: Server, filled: str, tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        run = _backing_up(server, filled, tmp_path)
        _wait_until_there(tmp_path, run)
        run.send(number)
        ended = run.wait()
        assert ended.code == 3, ended.said
        assert list((tmp_path / "backups").iterdir()) == []


def test_no_table_becomes_another_while_it_is_dumped(
    server: Server, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a migration, say: it would stand in the dump beside Prisma's records of before."""
    for name, value in backups.programs_of(server).items():
        monkeypatch.setenv(name, value)
    database = open_database(DatabaseUrl.parse(filled))
    tables = sorted(rows_of(filled))
    with backups.opened(filled) as holder, backups.opened(filled) as other:
        other.run(other.dialect.queries["lock.impatient"], seconds=1)
        with database.dump_programs(holder.server()).dump(holder, tables) as dumped:
            for table in ("website_event", "team"):
                with pytest.raises(TransientFault):
                    other.run(Query("test", "", f"ALTER TABLE {table} ADD COLUMN extra integer"))
            assert sum(map(len, dumped)) > 20_000


def _wait_until_there(folder: Path, run: Process) -> None:
    deadline = time.monotonic() + 60
    while not list(folder.glob("backups/.*.partial/*")):
        assert not run.is_over, run.wait().said
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)  # into the middle of it, wherever that is


def test_a_signal_during_the_proof_keeps_the_backup(server: Server, filled: str, tmp_path: Path) -> None:
    program = {"postgresql": "pg_restore", "mysql": "mysql", "mariadb": "mariadb"}[server.flavour]
    stands_still = "touch loading; while [ ! -e go ]; do sleep 0.05; done"
    loads = "*--schema=*" if program == "pg_restore" else "*"  # it also looks whether a dump can be read
    script = f'case "$*" in {loads}) {stands_still};; esac\nexec "$real" "$@"'
    env = backups.wrapped(server, tmp_path / "programs", program, script)
    admin = server.as_admin(filled)
    run = Process("backup", "--verify", url=admin, folder=tmp_path, env=env)
    deadline = time.monotonic() + 60
    while not (tmp_path / "loading").exists():
        assert not run.is_over, run.wait().said
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.send(signal.SIGINT)
    ended = run.wait()
    # A script that was begun at that very moment is nobody's; the real program ends with its stdin.
    (tmp_path / "go").touch()
    assert ended.code == 3, ended.said
    (kept,) = (path.name for path in (tmp_path / "backups").iterdir())
    assert f"The backup is kept as {kept}" in ended.err
    with backups.opened(admin) as connection:
        rows = connection.rows(connection.dialect.queries["backup.databases"])
    assert not [row["name"] for row in rows if "scratch" in row["name"]]


def test_killed_it_is_no_backup_and_the_next_one_clears_up(
    server: Server, filled: str, tmp_path: Path
) -> None:
    run = _backing_up(server, filled, tmp_path)
    _wait_until_there(tmp_path, run)
    run.send(signal.SIGKILL)
    run.wait()
    (tmp_path / "go").touch()  # what it had started may end, too
    assert len(list(tmp_path.glob("backups/.*.partial"))) == 1
    listed = Process("backup", "list", "--json", url=filled, folder=tmp_path).wait()
    assert listed.document["backups"] == []
    again = Process("backup", "--json", url=filled, folder=tmp_path, env=backups.programs_of(server)).wait()
    assert again.code == 0, again.said
    assert [path.name for path in (tmp_path / "backups").iterdir()] == [again.document["name"]]


@pytest.mark.parametrize("form", ["dump", "portable"])
def test_a_restore_killed_at_any_moment_keeps_the_old_data(
    server: Server, filled: str, tmp_path: Path, is_thorough: bool, form: str
) -> None:
    programs = backups.programs_of(server)
    made = Process("backup", "--format", form, "--json", url=filled, folder=tmp_path, env=programs).wait()
    assert made.code == 0, made.said
    new = rows_of(filled)
    backups.execute(filled, "DELETE FROM report", "UPDATE website SET name = 'old'")
    old = rows_of(filled)
    chance = random.Random(11)
    command = ("restore", "latest", "--replace", "--yes")
    for kill in range(20 if is_thorough else 3):
        run = Process(*command, url=filled, folder=tmp_path, env=programs)
        time.sleep(0.3 + chance.random() * (2.5 if kill else 0.5))
        run.send(signal.SIGKILL)
        run.wait()
        found = {t: rows for t, rows in _settled(server, filled).items() if not t.startswith("_umami_ops_")}
        assert found in (old, new)
        if found == new:
            backups.execute(filled, "DELETE FROM report", "UPDATE website SET name = 'old'")
    run = Process(*command, url=filled, folder=tmp_path, env=programs)
    ended = run.wait()
    assert ended.code == 0, ended.said
    assert rows_of(filled) == new


@pytest.mark.usefixtures("postgresql_server")
def test_a_restore_side_by_side_that_is_killed_is_gone_over(
    server: Server, filled: str, tmp_path: Path
) -> None:
    """pg_restore, whose sessions commit table by table, outlives us by as much as it likes."""
    programs = backups.programs_of(server)
    made = Process("backup", "--jobs", "2", url=filled, folder=tmp_path, env=programs).wait()
    assert made.code == 0, made.said
    loads = '"$real" --section=pre-data "$@"; touch loading; while [ ! -e go ]; do sleep 0.05; done'
    script = f'case "$*" in *--dbname=*) {loads}; "$real" --section=data "$@"; touch ended; exit;; esac'
    env = backups.wrapped(server, tmp_path / "programs", "pg_restore", f'{script}\nexec "$real" "$@"')
    target = server.create_database()
    beside, over = ("restore", "latest", "--jobs", "2", "--yes"), ("restore", "latest", "--replace", "--yes")
    try:
        run = Process(*beside, url=target, folder=tmp_path, env=env)
        _wait_until_exists(tmp_path / "loading", run)
        run.send(signal.SIGKILL)
        run.wait()
        half = rows_of(target)
        assert half.keys() == rows_of(filled).keys()
        assert not any(half.values())
        refused = Process(*beside, url=target, folder=tmp_path, env=programs).wait()
        assert refused.code == 5, refused.said
        (tmp_path / "go").touch()
        _wait_until_exists(tmp_path / "ended")
        again = Process(*over, url=target, folder=tmp_path, env=programs).wait()
        assert again.code == 0, again.said
        assert rows_of(target) == rows_of(filled)
        assert backups.indexes_of(target) == backups.indexes_of(filled)
    finally:
        server.drop_database(target)


def _wait_until_exists(file: Path, run: Process | None = None) -> None:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert run is None or not run.is_over, run.wait().said
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _settled(server: Server, url: str) -> dict[str, list[str]]:
    """The rows, once the sessions of the killed process are gone: the server ends what it was told to do."""
    wait_until_alone(server, url)
    return rows_of(url)


@pytest.mark.fault
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
@pytest.mark.parametrize("form", ["dump", "portable"])
def test_the_disk_of_the_store_is_full(server: Server, filled: str, tmp_path: Path, form: str) -> None:
    store = tmp_path / "backups"
    store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", store], check=True)
    try:
        # The estimate is passed, and then somebody else is quicker.
        env = backups.wrapped(
            server, tmp_path / "programs", backups.dump_program(server),
            f'head -c 5000000 /dev/urandom > {store}/ballast 2>/dev/null\nexec "$real" "$@"',
        )  # fmt: skip
        if form == "portable":
            (store / "ballast").write_bytes(os.urandom(4_190_000))
        ended = Process("backup", "--format", form, url=filled, folder=tmp_path, env=env).wait()
        assert ended.code == (5 if form == "portable" else 1), ended.said
        assert [path.name for path in store.iterdir()] == ["ballast"]
        (store / "ballast").unlink()
        ended = Process(
            "backup", "--format", form, url=filled, folder=tmp_path, env=backups.programs_of(server)
        ).wait()
        assert ended.code == 0, ended.said
    finally:
        subprocess.run(["umount", "--lazy", store], check=True)
