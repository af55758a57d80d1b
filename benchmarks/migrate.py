"""How fast `umami-ops migrate` is, beside pgloader and beside the floor.

    python -m benchmarks.migrate [--directions mariadb:postgresql-18,postgresql-18:mysql] [--events 1000000]

The floor is what the servers' own clients do at best: rows from the source's client straight into `COPY` or
LOAD DATA, then all indexes (PostgreSQL: on two connections; MySQL: one ALTER TABLE a table). All contenders
get the same data and an empty target each time. pgloader is Debian's, fetched by apt without being installed.
Nothing here fails for slowness: it reports.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.measure import process
from benchmarks.prepare import SETTINGS
from benchmarks.results import Goal, Line, Results, environment
from testbed import servers
from testbed.bulk import Batch, connect, load
from testbed.servers import Server, database_name
from testbed.umami import build_indexes, create_umami
from testbed.uniform import Uniform
from umami_ops.databases.mysql import ddl as mysql_ddl
from umami_ops.databases.postgresql import ddl as postgresql_ddl
from umami_ops.umami.schema import schema_at

LEVEL = 13
DIRECTIONS = "mariadb:postgresql-18,mysql:postgresql-18,postgresql-18:mysql,postgresql-18:mariadb"
_RESULTS = Path(__file__).parent / "results"
_TABLES = ("website_event", "event_data", "session")
_OURS = "umami-ops migrate"


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--directions", default=DIRECTIONS, help="source:target, …")
    parser.add_argument("--events", type=int, default=1_000_000, help="how many events the load has")
    parser.add_argument("--rounds", type=int, default=2, help="how often each contender runs")
    default = _RESULTS / f"migrate-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    parser.add_argument("--json", type=Path, default=default, help="where to keep the result")
    given = parser.parse_args()
    results = Results(environment())
    pairs = [tuple(part.split(":")) for part in given.directions.split(",")]
    for source in dict.fromkeys(name for name, _ in pairs):
        with _started(source) as server:
            url = server.create_database()
            _say(f"{source}: loading {given.events:,} events")
            fill(url, given.events)
            for target in (other for name, other in pairs if name == source):
                with _started(target) as there:
                    _Measurement(server, url, there, given.rounds, given.events, results).run()
                    results.write_json(given.json)
    results.environment["Load average at the end"] = f"{os.getloadavg()[0]:.1f}"
    results.show()
    results.write_json(given.json)


def _started(name: str) -> Any:
    flavour = servers.KINDS[name].flavour
    return servers.start(name, settings=dict(SETTINGS[flavour]))


def fill(url: str, events: int) -> None:
    """Make the source: events, sessions and properties with all indexes, awkward text among the titles."""
    create_umami(url, LEVEL, indexes=False)
    load_ = Uniform(
        start=datetime(2025, 1, 1, tzinfo=UTC),
        end=datetime(2025, 7, 1, tzinfo=UTC),
        events=events,
        sessions=events * 15 // 100,
        event_data=events * 30 // 100,
    )
    with connect(url) as loader:
        load(loader, _seasoned(load_.batches(schema_at(loader.dialect, LEVEL))))
    build_indexes(url, LEVEL)


def _seasoned(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Put quotes, newlines and letters beyond ASCII into every tenth title."""
    awkward = '""of"" the üniform löad, 世界\nsecond line'
    for batch in batches:
        lines = [
            line.replace("of the uniform load", awkward) if place % 10 == 0 else line
            for place, line in enumerate(batch.lines)
        ]
        yield replace(batch, lines=lines)


class _Measurement:
    """One direction: every contender in turn, round by round."""

    def __init__(
        self, source: Server, url: str, target: Server, rounds: int, events: int, results: Results
    ) -> None:
        self._source, self._url, self._target = source, url, target
        self._rounds, self._events, self._results = rounds, events, results
        self._title = f"{source.name} → {target.name}"
        self._seconds: dict[str, list[float]] = {}
        self._peak = 0

    def run(self) -> None:
        """Take turns and judge."""
        # Each may return seconds that it spent on something else, which don't count.
        contenders: dict[str, Callable[[str], float | None]] = {
            "umami-ops migrate": self._migrate,
            "floor": self._floor,
        }
        loader = find_pgloader() if self._target.dialect == "postgresql" else None
        if loader and self._source.flavour == "mariadb":  # it can't log in to MySQL 8 and later
            contenders["pgloader"] = lambda target: self._pgloader(loader, target)
        if self._target.dialect == "mysql":
            contenders[f"{_OURS}, local_infile off"] = self._migrate_by_inserts
        for _ in range(self._rounds):
            for name, contender in contenders.items():
                target = self._target.create_database()
                began = time.perf_counter()
                aside = contender(target) or 0.0
                seconds = time.perf_counter() - began - aside
                self._require_all_rows(name, target)
                _say(f"{self._title}: {name} {seconds:.1f} s")
                self._seconds.setdefault(name, []).append(seconds)
                self._target.drop_database(target)
        self._judge()

    def _ratio(self, one: str, other: str) -> float | None:
        if not {one, other} <= self._seconds.keys():
            return None
        return min(self._seconds[one]) / min(self._seconds[other])

    def _judge(self) -> None:
        for name, rounds in self._seconds.items():
            ratio = self._ratio(name, "floor")
            self._results.lines.append(
                Line(
                    self._title,
                    name,
                    min(rounds),
                    self._events / min(rounds),
                    f"{ratio or 0:.2f} × floor",
                    rounds,
                )
            )
        most = 1.4 if self._target.dialect == "postgresql" else 1.3
        ours, whole = _OURS, f"{_OURS}, without its proof"
        self._goal(f"whole job, at most {most} × the floor", self._ratio(whole, "floor"), most)
        self._goal(
            "pgloader's time over ours, at least 1.5 ×", self._ratio("pgloader", whole), 1.5, least=True
        )
        self._goal(
            "website_event's copy, pgloader's over ours, at least 2 ×",
            self._ratio("pgloader: copy of website_event", f"{ours}: copy"), 2.0, least=True,
        )  # fmt: skip
        self._goal(
            "local_infile off, at most 2.5 × the floor",
            self._ratio(f"{ours}, local_infile off", "floor"),
            2.5,
        )
        self._goal("verify, at most a quarter of the move", self._ratio("umami-ops verify", ours), 0.25)
        self._results.goals.append(
            Goal(self._title, "peak memory", f"{self._peak / 1e6:.0f} MB", "200 MB", self._peak < 200e6)
        )

    def _goal(self, what: str, measured: float | None, limit: float, *, least: bool = False) -> None:
        if measured is not None:
            met = measured >= limit if least else measured <= limit
            self._results.goals.append(Goal(self._title, what, f"{measured:.2f} ×", f"{limit} ×", met))

    # --- contenders -----------------------------------------------------------------------------------

    def _require_all_rows(self, name: str, target: str) -> None:
        """Raise RuntimeError for a contender that ended well and brought less than everything."""
        with connect(target) as loader:
            if loader.dialect == "postgresql":
                loader.execute(f"SET search_path = public, {database_name(self._url)}")
            (count,) = loader.execute("SELECT COUNT(*) FROM website_event")[0]
        if count != self._events:
            raise RuntimeError(f"{name} brought {count:,} of {self._events:,} events")

    def _migrate(self, target: str) -> float:
        environment_ = {"DATABASE_URL": self._url, "TARGET_DATABASE_URL": target}
        self._allow_local_infile(allowed=True)
        command = [sys.executable, "-m", "umami_ops", "migrate", "--yes", "--json"]
        run, output = process(command, environment_)
        report = json.loads(output)
        self._peak = max(self._peak, run.peak_bytes or 0)
        phases = report["phases"]
        note = self._seconds.setdefault
        note(f"{_OURS}: copy", []).append(phases["copying"])
        note(f"{_OURS}, without its proof", []).append(run.seconds - phases["proving"])
        verified, _ = process([sys.executable, "-m", "umami_ops", "verify", "--json"], environment_)
        note("umami-ops verify", []).append(verified.seconds)
        _say(f"{self._title}: phases {phases}, verify {verified.seconds:.1f} s")
        return verified.seconds

    def _migrate_by_inserts(self, target: str) -> None:
        self._allow_local_infile(allowed=False)
        environment_ = {"DATABASE_URL": self._url, "TARGET_DATABASE_URL": target}
        process([sys.executable, "-m", "umami_ops", "migrate", "--yes", "--json"], environment_)

    def _allow_local_infile(self, *, allowed: bool) -> None:
        if self._target.dialect == "mysql":
            with connect(self._target.as_admin(self._target.create_database("scratch"))) as loader:
                loader.execute(f"SET GLOBAL local_infile = {int(allowed)}")
            self._target.drop_database(self._target.admin_url.rstrip("/") + "/scratch")

    def _floor(self, target: str) -> None:
        """Rows from client to client by a pipe, two tables at once; then indexes."""
        self._allow_local_infile(allowed=True)
        create_umami(target, LEVEL, indexes=False)
        with ThreadPoolExecutor(max_workers=2) as pool:
            for done in [
                pool.submit(self._pump, target, table) for table in ("website_event", "session", "event_data")
            ]:
                done.result()
        schema = schema_at(self._target.dialect, LEVEL)
        tables = [schema.table(name) for name in _TABLES]
        if self._target.dialect == "postgresql":
            keys = [text for table in tables for text in postgresql_ddl.primary_key_statements(table)]
            indexes = [text for table in tables for text in postgresql_ddl.index_statements(table)]
        else:
            keys, indexes = [], [text for table in tables for text in mysql_ddl.index_statements(table)]
        for statement in keys:
            _execute(target, statement)
        with ThreadPoolExecutor(max_workers=2) as pool:
            for done in [pool.submit(_execute, target, statement) for statement in indexes]:
                done.result()

    def _pump(self, target: str, table: str) -> None:
        columns = schema_at("postgresql", LEVEL).table(table).column_names
        read, write = os.pipe()
        giving = subprocess.Popen(self._out(table, columns), stdout=write, env=self._environment())
        os.close(write)
        taking = subprocess.Popen(self._into(target, table, columns), stdin=read, env=self._environment())
        os.close(read)
        if giving.wait() or taking.wait():
            raise RuntimeError(f"the floor failed for {table}")

    def _out(self, table: str, columns: Sequence[str]) -> list[str]:
        if self._source.dialect == "postgresql":
            names = ", ".join(_seconds_of(name) for name in columns)
            copy = f"COPY (SELECT {names} FROM {table} ORDER BY 1) TO STDOUT"
            return [
                str(_program(self._source, "psql")),
                "-qX",
                self._url,
                "-c",
                "SET TIME ZONE 'UTC'",
                "-c",
                copy,
            ]
        names = ", ".join(f"`{name}`" for name in columns)
        return [
            *_client(self._source, self._url),
            "-N",
            "-B",
            "--quick",
            "-e",
            f"SELECT {names} FROM {table}",
        ]

    def _into(self, target: str, table: str, columns: Sequence[str]) -> list[str]:
        if self._target.dialect == "postgresql":
            names = ", ".join(f'"{name}"' for name in columns)
            copy = rf"\copy {table} ({names}) FROM STDIN (NULL 'NULL')"
            return [str(_program(self._target, "psql")), "-qX", target, "-c", copy]
        names = ", ".join(f"`{name}`" for name in columns)
        statement = (
            "SET time_zone = '+00:00', unique_checks = 0; LOAD DATA LOCAL INFILE '/dev/stdin' INTO TABLE "
            f"{table} CHARACTER SET utf8mb4 ({names})"
        )
        return [*_client(self._target, target), "--local-infile=1", "-e", statement]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PGTZ": "UTC", "MYSQL_PWD": _password(self._source, self._target)}

    def _pgloader(self, program: Path, target: str) -> None:
        libraries = program.parents[1] / "lib" / "x86_64-linux-gnu"
        with tempfile.TemporaryDirectory() as folder:
            orders = Path(folder) / "umami.load"
            source = self._url.replace("mariadb://", "mysql://")
            orders.write_text(_PGLOADER.format(source=source, target=target))
            run, output = process([program, orders], {"LD_LIBRARY_PATH": str(libraries)})
        _say(f"pgloader: {run.seconds:.1f} s, {(run.peak_bytes or 0) / 1e6:.0f} MB")
        for line in output.splitlines():
            words = line.split()
            if words and words[0].endswith(".website_event") and words[-1].endswith("s"):
                self._seconds.setdefault("pgloader: copy of website_event", []).append(_span(words[-1]))


#: pgloader can't read the default of Prisma's own started_at, current_timestamp(3), and would end there.
_PGLOADER = """
LOAD DATABASE FROM {source} INTO {target}
  WITH prefetch rows = 25000
  EXCLUDING TABLE NAMES MATCHING '_prisma_migrations';
"""


def _seconds_of(name: str) -> str:
    is_time = name.endswith("_at") or name == "date_value"
    return f"date_trunc('second', {name})::timestamp" if is_time else f'"{name}"'


def _span(text: str) -> float:
    """Read pgloader's `1m2.345s`."""
    minutes, _, seconds = text.rstrip("s").rpartition("m")
    return 60 * float(minutes or 0) + float(seconds)


def _password(*sides: Server) -> str:
    return next((urlsplit(s.admin_url).password or "" for s in sides if s.dialect == "mysql"), "")


def _program(server: Server, name: str) -> Path:
    return Path(servers.programs(server.name)) / name


def _client(server: Server, url: str) -> list[str]:
    parts = urlsplit(url)
    name = "mariadb" if server.flavour == "mariadb" else "mysql"
    return [
        str(_program(server, name)), "--no-defaults", "-h", parts.hostname or "", "-P", str(parts.port),
        "-u", parts.username or "", "--default-character-set=utf8mb4", database_name(url),
    ]  # fmt: skip


def _execute(url: str, statement: str) -> None:
    with connect(url) as loader:
        loader.execute(statement)


def find_pgloader() -> Path | None:
    """Return pgloader, installed or unpacked from the distribution's packages; None where neither works."""
    installed = shutil.which("pgloader")
    if installed:
        return Path(installed)
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "umami-ops" / "pgloader"
    program = folder / "root" / "usr" / "bin" / "pgloader"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(
                ["apt-get", "-qq", "download", "pgloader", "libsybdb5", "freetds-common"],
                cwd=folder,
                check=True,
            )
            for package in folder.glob("*.deb"):
                subprocess.run(["dpkg-deb", "-x", package, folder / "root"], check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
    return program


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
