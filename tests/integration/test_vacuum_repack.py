"""`vacuum --full` by the real pg_repack, on the PostgreSQL that the distribution has: often an older one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from testbed.bulk import connect
from testbed.servers import Server, temporary_directory
from testbed.servers.postgresql import PostgresqlProcess, find_repackable
from testbed.umami import create_umami
from tests import command, pruning
from tests.visitors import RESET, STILL, assert_as_told, visiting
from umami_ops.umami.migrations import latest_released_level

pytestmark = pytest.mark.slow
_FULL = ("vacuum", "--full", "--yes", "--json", "--table", "website_event")


@pytest.fixture(scope="module")
def repackable() -> Iterator[Server]:
    """A server of its own that could have the extension in any database."""
    process = PostgresqlProcess(temporary_directory(), programs=find_repackable())
    try:
        process.start()
        yield Server.running_on(process, "repackable", "unpacked packages")
    finally:
        process.close()


@pytest.fixture
def half_empty(repackable: Server) -> Iterator[str]:
    """A database with the extension, in which most of the events were deleted."""
    url = repackable.create_database()
    create_umami(url, latest_released_level("postgresql"))
    with connect(url) as loader:
        loader.execute(
            "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path, created_at)"
            f" SELECT gen_random_uuid(), CASE WHEN n % 2 = 0 THEN '{STILL}' ELSE '{RESET}' END::uuid,"
            " gen_random_uuid(), gen_random_uuid(), '/', now() - n * interval '1 second'"
            " FROM generate_series(1, 30000) AS n"
        )
        # As many of either website stay.
        loader.execute("DELETE FROM website_event WHERE created_at < now() - interval '7500 seconds'")
        loader.commit()
    with connect(repackable.as_admin(url)) as admin:
        admin.execute("CREATE EXTENSION pg_repack")
        admin.commit()
    yield url
    repackable.drop_database(url)


def _path() -> dict[str, str]:
    return {"PATH": f"{find_repackable()}:{os.environ['PATH']}"}


def _number(url: str, question: str) -> int:
    with connect(url) as loader:
        ((number,),) = loader.execute(question)
    return int(number)


def _assert_nothing_is_left(admin: str) -> None:
    """Neither its trigger nor its tables: a log that a trigger writes would grow for ever."""
    assert _number(admin, "SELECT COUNT(*) FROM pg_trigger WHERE tgname LIKE '%repack%'") == 0
    assert _number(
        admin,
        "SELECT COUNT(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'repack' AND c.relkind = 'r'",
    ) == 0  # fmt: skip


def test_it_gives_space_back_while_others_write(repackable: Server, half_empty: str) -> None:
    admin = repackable.as_admin(half_empty)
    still = _number(half_empty, f"SELECT COUNT(*) FROM website_event WHERE website_id = '{STILL}'")
    shown = command.run(*_FULL[:2], "--dry-run", *_FULL[4:], url=admin, env=_path())
    assert "pg_repack" in shown.out
    assert "Umami goes on reading and writing" in shown.out
    with visiting(half_empty) as told:
        done = command.run(*_FULL, url=admin, env=_path())
    assert done.code == 0, done.said
    assert done.document["steps"] == ["REPACK website_event", "ANALYZE website_event"]
    (work,) = done.document["done"]
    assert sum(work["after"].values()) < 0.6 * sum(work["before"].values())
    assert_as_told(half_empty, told, still, was_reset=False, most_seconds=2)
    _assert_nothing_is_left(admin)


def test_interrupted_it_takes_away_what_it_made(repackable: Server, half_empty: str) -> None:
    admin = repackable.as_admin(half_empty)
    before = pruning.digest(half_empty)
    with connect(half_empty) as reader:
        # It makes its trigger, and then waits for this transaction to end.
        reader.execute("SELECT COUNT(*) FROM website_event")
        stopped = command.run(*_FULL, "--max-duration", "3s", url=admin, env=_path())
    assert stopped.code == 3, stopped.said
    _assert_nothing_is_left(admin)
    assert pruning.digest(half_empty) == before


def test_one_that_was_killed_is_told_of(repackable: Server, half_empty: str) -> None:
    """Its trigger keeps the next one from the table, and that one ends with 0 all the same."""
    admin = repackable.as_admin(half_empty)
    with connect(admin) as killed:
        killed.execute(
            "CREATE TRIGGER repack_trigger BEFORE INSERT ON website_event FOR EACH ROW"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()"
        )
        killed.commit()
    done = command.run(*_FULL, url=admin, env=_path())
    assert done.code == 1, done.said
    assert "repack_trigger" in done.said


def test_where_only_a_superuser_may_call_it(repackable: Server, half_empty: str) -> None:
    """Umami's own user gets VACUUM FULL, and is told of the lock before."""
    plain = command.run(*_FULL[:2], *_FULL[4:], url=half_empty, env=_path())
    assert plain.code == 5
    assert "ACCESS EXCLUSIVE" in plain.out
    done = command.run(*_FULL, url=half_empty, env=_path())
    assert done.code == 0, done.said
    assert done.document["steps"] == ["VACUUM FULL website_event"]


def test_the_rest_works_there_too(repackable: Server, half_empty: str) -> None:
    """PostgreSQL of before the newest ones: what of the commands stands on catalogues that changed."""
    assert repackable.version.split(".")[0] < "17"
    health = command.run("health", "--format", "json", url=repackable.as_admin(half_empty))
    blind = {check["name"] for check in health.document["checks"] if check["could_not_look"]}
    assert blind <= {"backups", "disk", "growth"}, health.document
    for arguments in (
        ("info",), ("vacuum",), ("vacuum", "--reindex"), ("upgrade", "check"),
        ("upgrade", "prepare", "--yes"), ("prune", "--days", "1", "--yes"),
        ("partition", "enable", "--yes"), ("partition", "maintain", "--yes"),
    ):  # fmt: skip
        done = command.run(*arguments, url=half_empty)
        assert done.code == 0, (arguments, done.said)
