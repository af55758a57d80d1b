"""`make demo`: a PostgreSQL of its own with a year of Umami's data, and umami-ops at work on it.

Every run begins anew; the server of a run that came to its end stays, for trying further, until `--stop`.
A run that fails or is interrupted leaves nothing behind.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier

from testbed import servers
from testbed.servers import Server, ServerError, ServerProcess
from testbed.servers.databases import OWNER
from testbed.traffic import Traffic, populate
from testbed.umami import build_indexes, create_umami
from umami_ops.cli import render
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.operations.info import Contents, read_contents
from umami_ops.operations.inspect import inspect

NAME = "demo"
SERVER = "postgresql-18"
LEVEL = 19
EVENTS = 300_000
KEPT_DAYS = 365

# A day fewer than prune keeps, so that the range lies inside what is kept, whenever prune is called.
_COMPARED_DAYS = KEPT_DAYS - 1
_DASHBOARD = """
SELECT count(*) FILTER (WHERE e.event_type = 1) AS "page views",
       count(DISTINCT e.visit_id) AS "visits",
       count(DISTINCT e.session_id) AS "visitors",
       count(DISTINCT s.session_id) FILTER (WHERE s.country = 'DE') AS "visitors from Germany",
       count(DISTINCT s.session_id) FILTER (WHERE s.browser = 'firefox') AS "visitors with Firefox"
FROM website_event AS e
LEFT JOIN session AS s ON s.session_id = e.session_id
WHERE e.created_at >= %s
"""


def main() -> int:
    """Run the demo, or with --stop remove what it left; returns the exit code."""
    options = _parser().parse_args()
    os.umask(0o022)  # root's server runs as nobody, who must be able to reach it
    directory: Path = options.directory or servers.lasting_directory(NAME)
    try:
        process = servers.process_in(directory, SERVER)
        if options.stop:
            _remove(process)
            print(f"The demo's server and its data in {directory} are gone.")
        else:
            _run(process, options.events)
    except (ServerError, OSError) as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as fault:
        print(f"error: {shlex.join(fault.cmd[1:])} ended with exit code {fault.returncode}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Nothing is left of the demo; make demo begins anew.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--stop", action="store_true", help="stop the demo's server and remove its data")
    parser.add_argument("--events", type=int, default=EVENTS, help="how many events (default: %(default)s)")
    parser.add_argument("--directory", type=Path, help="where the server lives")
    return parser


def _run(process: ServerProcess, events: int) -> None:
    try:
        url = _prepare(process, events)
        since = datetime.now(UTC) - timedelta(days=_COMPARED_DAYS)
        contents, dashboard = _contents(url), _dashboard(url, since)
        _command(process, url, "info")
        _command(process, url, "prune", "--days", str(KEPT_DAYS), "--dry-run")
        _command(process, url, "prune", "--days", str(KEPT_DAYS), "--yes")
        _compare(contents, _contents(url), dashboard, _dashboard(url, since))
        _say_how_to_go_on(_remember(process, url))
    except BaseException:  # Ctrl-C included: half a demo is of no use to anybody
        _remove(process)
        raise


def _prepare(process: ServerProcess, events: int) -> str:
    """Return the URL of a fresh database full of traffic, on a fresh server."""
    process.close()  # an earlier run's, or what is left of one that was killed
    render.heading("An Umami with a year behind it")
    with _step(f"A PostgreSQL in {_short(process.directory)}"):
        process.start()
    server = Server.running_on(process, SERVER, "the demo")
    with _step(f"The tables of Umami's migrations 1 to {LEVEL}, in PostgreSQL {server.version}"):
        url = server.create_database("umami")
        with psycopg.connect(server.admin_url) as connection:  # for scratch databases of `backup --verify`
            connection.execute(SQL("ALTER ROLE {} CREATEDB").format(Identifier(OWNER)))
        create_umami(url, LEVEL, indexes=False)
    with _step(f"13 months of traffic, {events:,} events"):
        populate(url, Traffic.of_last_months(events=events), LEVEL)
    with _step("Umami's indexes"):
        build_indexes(url, LEVEL)
    return url


@contextmanager
def _step(title: str) -> Iterator[None]:
    """Print what is being done, and behind it how long it took."""
    print(f"  {title:<66}", end="", flush=True)
    began = time.monotonic()
    try:
        yield
    except BaseException:
        print()
        raise
    print(f"{render.duration(time.monotonic() - began):>10}", flush=True)


def _command(process: ServerProcess, url: str, *arguments: str) -> None:
    """Run umami-ops as a person would, and show the command line. Errors: CalledProcessError."""
    print()
    render.print_line(f"$ umami-ops {shlex.join(arguments)}", style="bold")
    print(flush=True)
    # Neither variables of the person's own nor a settings file beside them may have a say here.
    environment = {
        name: value
        for name, value in os.environ.items()
        if "DATABASE_URL" not in name.upper() and not name.upper().startswith("UMAMI_OPS_")
    }
    program = Path(sys.executable).with_name("umami-ops")
    subprocess.run(
        [program, *arguments],
        check=True,
        cwd=process.directory,
        env=environment | {"DATABASE_URL": url},
    )


def _contents(url: str) -> Contents:
    with open_database(DatabaseUrl.parse(url)).connect("umami-ops demo") as connection:
        return read_contents(connection, inspect(connection))


def _dashboard(url: str, since: datetime) -> dict[str, int]:
    """Return some numbers as Umami's dashboard counts them, from a moment on."""
    with psycopg.connect(url) as connection:
        cursor = connection.execute(_DASHBOARD, [since])
        numbers = cursor.fetchone()
        assert numbers is not None and cursor.description is not None
        return {column.name: number for column, number in zip(cursor.description, numbers, strict=True)}


def _compare(
    before: Contents, after: Contents, dashboard_before: dict[str, int], dashboard_after: dict[str, int]
) -> None:
    render.heading("Before and after")
    left = {table.name: table.amount.rows for table in after.tables}
    tables = {table.name: (table.amount.rows, left[table.name]) for table in before.tables if table.older}
    _print_pairs("rows", tables)
    render.heading(f"The last {_COMPARED_DAYS} days as a dashboard shows them")
    _print_pairs("", {name: (number, dashboard_after[name]) for name, number in dashboard_before.items()})


def _print_pairs(title: str, pairs: dict[str, tuple[int, int]]) -> None:
    columns = [render.text(title), *(render.number(head) for head in ("before", "after", "gone"))]
    render.print_table(
        columns,
        [
            (name, render.count(before), render.count(after), render.count(before - after))
            for name, (before, after) in pairs.items()
        ],
    )


def _remember(process: ServerProcess, url: str) -> Path:
    """Write the URL, with its password, where nobody else can read it."""
    file = process.directory / "url"
    file.touch(mode=0o600)
    file.write_text(f"{url}\n")
    return file


def _say_how_to_go_on(url_file: Path) -> None:
    render.heading("How to go on")
    print("  The demo's database stays until you remove it. Another look at it:")
    print(f"    DATABASE_URL_FILE={_short(url_file)} .venv/bin/umami-ops info")
    print("  Your own; info and --dry-run change nothing:")
    print("    DATABASE_URL=postgresql://user:password@host/umami .venv/bin/umami-ops info")
    print("  Stop the demo's server and remove it:")
    elsewhere = url_file.parent != servers.lasting_directory(NAME)
    chosen = f' ARGS="--directory {_short(url_file.parent)}"' if elsewhere else ""
    print(f"    make demo-stop{chosen}")


def _remove(process: ServerProcess) -> None:
    process.close()
    if process.directory == servers.lasting_directory(NAME):
        with suppress(OSError):  # not empty: other servers live there
            process.directory.parent.rmdir()


def _short(path: Path) -> str:
    """Return a path as a shell takes it, with ~ for the person's home where that is shorter."""
    home = Path.home()
    if path.is_relative_to(home) and os.environ.get("HOME"):
        return f"~/{shlex.quote(str(path.relative_to(home)))}"
    return shlex.quote(str(path))


if __name__ == "__main__":
    sys.exit(main())
