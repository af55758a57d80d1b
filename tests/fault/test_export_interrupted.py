"""An export that is stopped ends at once, with whole files alone."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from testbed.bulk import connect
from testbed.servers import Server
from testbed.sessions import PROCESSLIST
from tests import backups
from tests.process import Process
from umami_ops.sql import Query

#: Sessions that wait for a lock on a table.
_WAITING = {
    "postgresql": "SELECT COUNT(*) AS n FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'",
    "mysql": f"SELECT COUNT(*) AS n FROM {PROCESSLIST} AS p"
    " WHERE db = DATABASE() AND state LIKE 'Waiting for table%'",
}
# On PostgreSQL a locked table would stop the plan, which asks for its size: who measures a visit waits
# instead, which the sessions alone do, by this function.
_PREPARE = {
    "postgresql": (
        "CREATE FUNCTION date_part(text, interval) RETURNS double precision LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN pg_catalog.date_part($1, $2); END'",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog',"
        " current_database()); END $$",
    ),
    "mysql": (),
}
_LOCK = {"postgresql": "SELECT pg_advisory_lock(7)", "mysql": "LOCK TABLES session WRITE"}


def test_a_signal_ends_queries_that_wait(server: Server, database_url: str, tmp_path: Path) -> None:
    backups.fill(server, database_url, events=300)
    backups.execute(database_url, *_PREPARE[server.dialect])
    with connect(database_url) as holder, backups.opened(server.as_admin(database_url)) as observer:
        holder.execute(_LOCK[server.dialect])
        run = Process("export", "--to", "out", "events", "sessions", url=database_url, folder=tmp_path)
        deadline = time.monotonic() + 60
        while observer.value(Query("waiting", "", _WAITING[server.dialect])) < 2:
            assert not run.is_over, run.wait().said
            assert time.monotonic() < deadline
            time.sleep(0.02)
        beside = Process("export", "--to", "out", "websites", url=database_url, folder=tmp_path).wait()
        assert beside.code == 4, beside.said
        assert "Another export is writing into out" in beside.err
        sent = time.monotonic()
        run.send(signal.SIGTERM)
        ended = run.wait()
        assert ended.code == 3, ended.said
        assert time.monotonic() - sent < 5
    files = [path for path in (tmp_path / "out").rglob("[!.]*") if path.is_file()]
    assert {path.parent.name for path in files} == {"events"}
    assert f"{len(files)} files were written before, and are whole." in ended.err
    assert not [path for path in files if path.suffix != ".csv"]
    assert not [*(tmp_path / "out").rglob("*.partial")]
    again = Process("export", "--to", "out", "websites", url=database_url, folder=tmp_path).wait()
    assert again.code == 0, again.said
