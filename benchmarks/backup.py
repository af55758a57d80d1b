"""How fast `umami-ops backup` and `restore` are, beside what a person would call by hand.

    python -m benchmarks.backup [--servers postgresql-18,mariadb] [--events 1000000] [--rounds 3]

With the same settings. Contenders take turns, and a ratio is the median of the rounds' own ratios, so
that load from elsewhere hits all of them. Nothing here fails for slowness: it reports.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from benchmarks.measure import Contender, Run, Score, process, umami_ops
from benchmarks.prepare import Size, Stage, stage
from benchmarks.results import Goal, Line, Results, environment
from testbed import servers
from testbed.bulk import connect
from testbed.servers import Server, database_name

_RESULTS = Path(__file__).parent / "results" / "backup.json"
_MOST_BYTES = 150_000_000
_LEAST_ROWS = 100_000
#: How much more memory five times the rows may take.
_FLAT = 1.2
_OURS_DUMP, _OURS_PORTABLE = "umami-ops backup", "umami-ops backup --format portable"
_OURS_RESTORE = "umami-ops restore (portable)"


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--servers", default="postgresql-18,mariadb")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=_RESULTS)
    options = parser.parse_args()
    if shutil.which("zstd") is None:
        sys.exit("The contenders need the program zstd.")
    results = Results(environment())
    for name in options.servers.split(","):
        with stage(name, Size(options.events)) as on, _folder() as folder:
            os.environ["UMAMI_OPS_PROGRAMS"] = str(servers.programs(name))
            os.environ["UMAMI_OPS_STORE"] = str(folder / "store")
            _Measurement(on, results, options.rounds, folder).run()
        results.write_json(options.json)
    results.environment["Load average at the end"] = f"{os.getloadavg()[0]:.1f}"
    results.show()
    results.write_json(options.json)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="umami-ops-", dir="/var/tmp") as name:
        yield Path(name)


@dataclass
class _Measurement:
    """All that is measured on one server."""

    on: Stage
    results: Results
    rounds: int
    folder: Path
    sizes: dict[str, int] = field(default_factory=dict)

    def run(self) -> None:
        """Dumps, portable backups, restores; each beside its rival."""
        url = self.on.once()
        server = self.on.server
        by_hand = _DumpByHand(server, self.folder)
        scores = self._take_turns(
            [
                Contender(by_hand.name, lambda url: by_hand.run(url), ()),
                Contender(_OURS_DUMP, lambda url: self._ours(url, "dump"), ()),
                *(
                    [Contender(_COPY, lambda url: _copy_all(url, self.folder), ())]
                    if by_hand.is_postgresql
                    else []
                ),
                Contender(_OURS_PORTABLE, lambda url: self._ours(url, "portable"), ()),
            ],
            url,
        )
        self._goal(scores, _OURS_DUMP, by_hand.name, 1.1)
        if by_hand.is_postgresql:
            self._goal(scores, _OURS_PORTABLE, _COPY, 1.3)
            self._restores(url)
        self._exports(url)
        share = self.sizes["portable"] / by_hand.size_bytes
        self._add("size of portable, the native dump's = 1", f"{share:.2f}", "at most 1.1", share <= 1.1)
        for name in (_OURS_DUMP, _OURS_PORTABLE):
            peak = scores[name].peak_bytes or 0
            self._add(f"peak memory of {name}", f"{peak / 1e6:.0f} MB", "under 150 MB", peak < _MOST_BYTES)

    def _take_turns(self, rivals: Sequence[Contender], url: str) -> dict[str, Score]:
        scores = {rival.name: Score(rival) for rival in rivals}
        for number in range(self.rounds):
            for place in range(len(rivals)):
                rival = rivals[(place + number) % len(rivals)]
                run = rival.run(url)
                scores[rival.name].runs.append(run)
                print(f"{rival.name}: {run.seconds:.2f} s", file=sys.stderr, flush=True)
        for score in scores.values():
            rate = self.on.size.events / score.seconds
            seconds = [run.seconds for run in score.runs]
            name = score.contender.name
            self.results.lines.append(Line(self._title, name, score.seconds, rate, "", seconds))
        return scores

    @property
    def _title(self) -> str:
        return f"{self.on.server.name} {self.on.server.version}"

    def _ours(self, url: str, form: str) -> Run:
        run = umami_ops(url, "backup", "--format", form)
        self.sizes[form] = int(run.report["size_bytes"])
        shutil.rmtree(self.folder / "store")
        return run

    def _restores(self, url: str) -> None:
        """Bring back a portable backup, and the same data by pg_restore on two connections."""
        server = self.on.server
        dump = self.folder / "plain.dump"
        programs = servers.programs(server.name)
        process(
            [
                str(programs / "pg_dump"),
                "--format=custom",
                "--compress=0",
                "--schema=public",
                f"--file={dump}",
                url,
            ]
        )
        umami_ops(url, "backup", "--format", "portable")
        by_hand = "pg_restore -j2"

        def into(restore: Callable[[str], Run]) -> Run:
            target = server.create_database()
            try:
                return restore(target)
            finally:
                server.drop_database(target)

        def theirs(target: str) -> Run:
            command = [
                str(programs / "pg_restore"),
                "--no-owner",
                "--schema=public",
                "--jobs=2",
                f"--dbname={target}",
                str(dump),
            ]
            return process(command)[0]

        def ours(target: str) -> Run:
            return umami_ops(target, "restore", "latest", "--yes")

        rivals = [
            Contender(by_hand, lambda _: into(theirs), ()),
            Contender(_OURS_RESTORE, lambda _: into(ours), ()),
        ]
        scores = self._take_turns(rivals, url)
        self._goal(scores, _OURS_RESTORE, by_hand, 1.3)
        peak = scores[_OURS_RESTORE].peak_bytes or 0
        self._add("peak memory of restore", f"{peak / 1e6:.0f} MB", "under 150 MB", peak < _MOST_BYTES)

    def _exports(self, url: str) -> None:
        """Write sessions and events to Parquet: all of them, and for the memory's sake the newest fifth."""
        since = self.on.size.end - timedelta(days=146)
        for stream in ("sessions", "events"):
            target = self.folder / stream
            command = ("export", "--format", "parquet", "--to", str(target), stream)
            fifth = umami_ops(url, *command, "--since", f"{since:%Y-%m-%d}")
            shutil.rmtree(target)
            run = umami_ops(url, *command)
            rows = sum(int(file["rows"]) for file in run.report["files"])
            rate = rows / run.seconds
            what = f"umami-ops export {stream}"
            print(f"{what}: {run.seconds:.2f} s", file=sys.stderr, flush=True)
            self.results.lines.append(Line(self._title, what, run.seconds, rate, "", [run.seconds]))
            measured = f"{rate:,.0f} rows/s"
            self._add(f"{what} to Parquet", measured, "at least 100,000 rows/s", rate >= _LEAST_ROWS)
            peak, of_fifth = run.peak_bytes or 0, fifth.peak_bytes or 0
            measured = f"{peak / 1e6:.0f} MB; {of_fifth / 1e6:.0f} MB for a fifth of the rows"
            self._add(f"peak memory of {what}", measured, "flat: at most 1.2 ×", peak <= _FLAT * of_fifth)
            shutil.rmtree(target)

    def _goal(self, scores: dict[str, Score], ours: str, rival: str, most: float) -> None:
        ratio = scores[ours].times(scores[rival])
        self._add(f"{ours}, {rival} = 1", f"{ratio:.2f}", f"at most {most}", ratio <= most)

    def _add(self, what: str, measured: str, target: str, met: bool | None) -> None:
        self.results.goals.append(Goal(self._title, what, measured, target, met))


_COPY = "psql COPY of all tables to zstd files"


class _DumpByHand:
    """The server's own dump program into zstd, as docs/backup.md has it."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.is_postgresql = server.dialect == "postgresql"
        self._program = {"postgresql": "pg_dump", "mysql": "mysqldump", "mariadb": "mariadb-dump"}[
            server.flavour
        ]
        self._path = servers.programs(server.name) / self._program
        self._file = folder / "by-hand.zst"
        self.name = f"{self._program} | zstd"

    @property
    def size_bytes(self) -> int:
        return self._file.stat().st_size

    def run(self, url: str) -> Run:
        return _pipe(f"{self._command(url)} | zstd -q -f -3 -T2 -o {self._file}", url)

    def _command(self, url: str) -> str:
        if self.is_postgresql:
            return shlex.join([str(self._path), "--format=custom", "--compress=0", url])
        parts = urlsplit(url)
        options = [f"--host={parts.hostname}", f"--port={parts.port}", f"--user={parts.username}"]
        options += ["--single-transaction", "--no-tablespaces", "--hex-blob", "--no-autocommit"]
        return shlex.join([str(self._path), *options, database_name(url)])


def _copy_all(url: str, folder: Path) -> Run:
    """Copy every table by psql, one after the other, into zstd."""
    with connect(url) as loader:
        tables = [
            name for (name,) in loader.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ]
    psql = servers.programs("postgresql-18") / "psql"
    commands = [
        shlex.join([str(psql), "-q", "-c", f'COPY "{table}" TO STDOUT (FORMAT csv)', url])
        + f" | zstd -q -f -3 -T2 -o {folder / table}.zst"
        for table in tables
    ]
    return _pipe("\n".join(commands), url)


def _pipe(script: str, url: str) -> Run:
    secret = {"MYSQL_PWD": unquote(urlsplit(url).password or "")}
    return process(["bash", "-e", "-o", "pipefail", "-c", script], secret)[0]


if __name__ == "__main__":
    main()
