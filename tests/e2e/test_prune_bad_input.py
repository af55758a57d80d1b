"""What a person can get wrong with prune: a clear line, the right exit code, nothing changed."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from testbed.bulk import connect
from testbed.servers import Server, database_name
from testbed.traffic import Traffic, populate
from testbed.umami import create_umami
from tests import pruning
from tests.command import Outcome, run
from tests.examining import undone, user_with
from umami_ops.umami.migrations import latest_released_level

# Nothing answers there, so that exit code 2 shows that nobody asked a server.
_NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
_TRAFFIC = Traffic(
    start=datetime(2025, 1, 1, tzinfo=UTC), end=datetime(2025, 7, 1, tzinfo=UTC), seed=6, events=300
)
_BEFORE = ("--before", "2025-04-20")
_EVIL = 'Evil \x1b[31m\x07\r\n\t🍵 O\'Neil "x" \\ %s {0}'


def _refused(done: Outcome, code: int) -> None:
    """Hold an outcome to its code, and to the manners of a refusal."""
    assert done.code == code, done.said
    assert "Traceback" not in done.said
    assert done.out == ""
    assert done.err.strip()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--days", "0"],
        ["--days", "-1"],
        ["--days", "1.5"],
        ["--days", "many"],
        ["--days", "20000000"],
        ["--days", "9" * 40],
        ["--days", "30", "--before", "2025-01-01"],
        ["--days", "30", "--keep", "1y"],
        ["--keep", "1y", "--before", "2025-01-01"],
        ["--keep", ""],
        ["--keep", "10"],
        ["--keep", "0d"],
        ["--keep", "-3d"],
        ["--keep", "13 moons"],
        ["--keep", "99999y"],
        ["--keep", "9" * 40 + "w"],
        ["--before", ""],
        ["--before", "yesterday"],
        ["--before", "2025-02-30"],
        ["--before", "2025-13-01"],
        ["--before", "30.06.2025"],
        ["--before", "2999-01-01"],
        ["--before", "1969-12-31"],
        ["--before", "0001-01-01T00:00:00+14:00"],
        ["--before", "9999-12-31T23:59:59-14:00"],
        ["--table", "website_event"],
        ["--table", "website_event=0d"],
        ["--table", "website_event=soon"],
        ["--table", "session_replay=1d", "--table", "session_replay=2d"],
        ["--days", "30", "--table", "event_data=30d"],
        ["--days", "30", "--table", "session=30d"],
        ["--days", "30", "--table", "user=30d"],
        ["--days", "30", "--table", "no_such_table=30d"],
        ["--days", "30", "--batch-size", "0"],
        ["--days", "30", "--jobs", "0"],
        ["--days", "30", "--pause", "-1s"],
        ["--days", "30", "--pause", "a while"],
        ["--days", "30", "--max-duration", "0"],
        ["--days", "30", "--null-created-at", "perhaps"],
        ["--days", "30", "2025-01-01"],
    ],
    ids=" ".join,
)
def test_a_wish_that_makes_no_sense(arguments: list[str]) -> None:
    _refused(run("prune", *arguments, "--yes", url=_NOWHERE), 2)


@pytest.fixture(scope="module")
def quiet(server: Server) -> Iterator[str]:
    """One database for all tests that must change nothing."""
    url = server.create_database()
    level = latest_released_level(server.dialect)
    create_umami(url, level)
    populate(url, _TRAFFIC, level)
    with connect(url) as loader:
        websites = [
            {"website_id": f"00000000-0000-4000-8000-00000000000{n}", "name": name}
            for n, name in enumerate(("Twice", "twice", _EVIL, f"{_EVIL} twice", f"{_EVIL} TWICE"))
        ]
        pruning.load_rows(loader, pruning.schema_of(url, level), {"website": websites})
    yield url
    server.drop_database(url)


@pytest.fixture
def unchanged(quiet: str) -> Iterator[str]:
    """`quiet`, and the certainty that the test left it as it was."""
    before = pruning.digest(quiet)
    yield quiet
    assert pruning.digest(quiet) == before


def test_a_website_that_is_not_there(unchanged: str) -> None:
    for typed in (
        "docs.acme.exampel",
        "",
        "' OR 1=1 --",
        "\x1b[31m",
        "%",
        "00000000-0000-4000-8000-0000000000ff",
    ):
        for option in ("--website", "--exclude-website"):
            done = run("prune", *_BEFORE, option, typed, "--yes", url=unchanged)
            _refused(done, 2)
            assert "no such website" in done.err
            assert "\x1b" not in done.err
    done = run("prune", *_BEFORE, "--website", "docs.acme.exampel", "--yes", url=unchanged)
    assert "Did you mean docs.acme.example?" in done.err
    done = run("prune", *_BEFORE, "--website", "DOCS.AC", "--yes", url=unchanged)
    assert "Did you mean docs.acme.example?" in done.err
    done = run("prune", *_BEFORE, "--website", "exempli", "--yes", url=unchanged)
    assert "Did you mean" not in done.err


def test_a_name_that_two_websites_have(unchanged: str) -> None:
    done = run("prune", *_BEFORE, "--website", "TWICE", "--yes", url=unchanged)
    _refused(done, 2)
    for number in (0, 1):
        assert f"00000000-0000-4000-8000-00000000000{number}" in done.err
    done = run("prune", *_BEFORE, "--website", f"{_EVIL} twice", "--yes", url=unchanged)
    _refused(done, 2)
    assert "\\x1b[31m" in done.err


def test_a_website_chosen_and_excluded(unchanged: str) -> None:
    names = ("--website", "Documentation", "--exclude-website", "docs.acme.example")
    _refused(run("prune", *_BEFORE, *names, "--yes", url=unchanged), 2)


def test_a_website_by_its_id_its_domain_and_its_name(unchanged: str) -> None:
    by_id = "00000000-0000-4000-8000-000000000002"
    for typed in (by_id, _EVIL):
        done = run("prune", *_BEFORE, "--website", typed, "--dry-run", "--json", url=unchanged)
        assert done.document["websites"] == [by_id], done.said
    for typed in ("Documentation", "DOCS.acme.example"):
        done = run("prune", *_BEFORE, "--website", typed, "--dry-run", "--json", url=unchanged)
        assert len(done.document["websites"]) == 1


def test_control_characters_of_a_name_reach_no_terminal(unchanged: str) -> None:
    done = run("prune", *_BEFORE, "--website", _EVIL, "--dry-run", url=unchanged)
    assert done.code == 0, done.said
    assert "🍵" in done.out
    assert not {"\x1b", "\x07", "\r"} & set(done.said)
    assert "\\x1b[31m" in done.out


def test_a_horizon_for_a_table_that_this_umami_lacks(unchanged: str) -> None:
    done = run("prune", "--table", "heatmap_event=30d", "--yes", url=unchanged)
    _refused(done, 2)
    assert "no table heatmap_event" in done.err


def test_without_a_terminal_and_without_yes(unchanged: str) -> None:
    done = run("prune", *_BEFORE, url=unchanged)
    assert done.code == 5, done.said
    assert "--yes" in done.err


def _ask(url: str, act: Callable[[subprocess.Popen[bytes], int], object], *options: str) -> tuple[int, str]:
    """Run prune at a terminal and `act` when it asks; return exit code and all that the terminal showed."""
    outer, inner = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "umami_ops", "prune", *_BEFORE, *options],
        env=os.environ | {"DATABASE_URL": url, "NO_COLOR": "1"}, stdin=inner, stdout=inner, stderr=inner,
    )  # fmt: skip
    os.close(inner)
    shown = b""
    with contextlib.suppress(OSError):  # EIO is how a terminal says that nobody is left
        while part := os.read(outer, 4096):
            shown += part
            if shown.endswith(b"[y/N]: "):
                time.sleep(0.2)  # until it really reads; nobody answers sooner
                act(process, outer)
    os.close(outer)
    return process.wait(timeout=30), shown.decode().replace("\r", "")


def test_no_answer_is_a_no_and_a_signal_is_a_signal(unchanged: str) -> None:
    refusal = "\nerror: You did not confirm.\nNothing was changed.\n"
    for act in (
        lambda process, _: process.send_signal(signal.SIGINT),
        lambda _, keyboard: os.write(keyboard, b"\x04"),
        lambda _, keyboard: os.write(keyboard, b"n\n"),
    ):
        code, shown = _ask(unchanged, act)
        assert code == 5, shown
        assert shown.endswith(refusal)
        assert "What goes" in shown
    code, shown = _ask(unchanged, lambda process, _: process.send_signal(signal.SIGTERM))
    assert code == 3, shown
    assert shown.endswith("\nInterrupted. Nothing was changed.\n")


def test_with_json_nothing_was_shown_that_could_be_agreed_to(unchanged: str) -> None:
    code, shown = _ask(unchanged, lambda _, keyboard: os.write(keyboard, b"y\n"), "--json")
    assert code == 5, shown
    assert "[y/N]" not in shown
    assert "not shown with --json" in shown


def test_json_is_one_document_even_when_it_fails(unchanged: str) -> None:
    done = run("prune", *_BEFORE, "--website", "nobody", "--yes", "--json", url=unchanged)
    assert done.code == 2
    assert done.out == "" or isinstance(done.document, dict)


def _read_only(server: Server, url: str) -> tuple[str, str]:
    """How to make it so, and how to undo it."""
    if server.dialect == "mysql":
        return "SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0"
    database = f"ALTER DATABASE {url.rpartition('/')[2]}"
    setting = "default_transaction_read_only"
    return f"{database} SET {setting} = on", f"{database} RESET {setting}"


def test_a_server_that_is_read_only(server: Server, unchanged: str) -> None:
    on, off = _read_only(server, unchanged)
    with connect(server.as_admin(unchanged)) as loader:
        loader.execute(on)
    try:
        done = run("prune", *_BEFORE, "--yes", url=unchanged)
    finally:
        with connect(server.as_admin(unchanged)) as loader:
            if server.dialect == "postgresql":
                loader.execute("SET TRANSACTION READ WRITE")
            loader.execute(off)
    _refused(done, 5)
    assert "read only" in done.err


def test_a_user_who_may_make_no_temporary_tables(postgresql_server: Server, unchanged: str) -> None:
    """Without them events would go, and their sessions stay."""
    on_database = f"TEMPORARY ON DATABASE {database_name(unchanged)}"
    admin = postgresql_server.as_admin(unchanged)
    rights = "SELECT, DELETE ON ALL TABLES IN SCHEMA public"
    with (
        undone(admin, f"REVOKE {on_database} FROM PUBLIC", f"GRANT {on_database} TO PUBLIC"),
        user_with(postgresql_server, unchanged, rights) as url,
    ):
        done = run("prune", *_BEFORE, "--yes", url=url)
    _refused(done, 5)
    assert "may not make temporary tables" in done.err


def test_a_table_that_is_missing_and_one_that_is_a_view(server: Server, umami_database: str) -> None:
    with connect(umami_database) as loader:
        loader.execute("ALTER TABLE session_data RENAME TO elsewhere")
    before = pruning.digest(umami_database)
    done = run("prune", *_BEFORE, "--yes", url=umami_database)
    _refused(done, 5)
    assert "session_data is missing" in done.err
    assert pruning.digest(umami_database) == before

    with connect(umami_database) as loader:
        loader.execute("ALTER TABLE elsewhere RENAME TO session_data")
        loader.execute("ALTER TABLE website_event RENAME TO behind")
        loader.execute("CREATE VIEW website_event AS SELECT * FROM behind")
    done = run("prune", *_BEFORE, "--yes", url=umami_database)
    _refused(done, 5)
    assert "website_event is a view" in done.err
