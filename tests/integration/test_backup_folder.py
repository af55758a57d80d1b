"""Backups of several files, by pg_dump's directory format: written and loaded side by side."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pyrage
import pytest

from testbed import servers
from testbed.servers import Server
from tests import backups
from tests.backups import execute, indexes_of, rows_of
from tests.command import Outcome, run

Cli = Callable[..., Outcome]


@pytest.fixture(scope="module")
def filled(server: Server) -> Iterator[str]:
    """A database with every odd shape of traffic; only read, since tests share it."""
    url = backups.fill(server, server.create_database(), events=400)
    yield url
    server.drop_database(url)


@pytest.fixture
def cli(server: Server, tmp_path: Path) -> Cli:
    """The command line with a store of its own and this server's programs."""

    def call(*arguments: str, url: str, env: dict[str, str] | None = None) -> Outcome:
        return run(*arguments, url=url, env=backups.programs_of(server) | (env or {}), folder=tmp_path)

    return call


def test_only_where_the_program_can(server: Server, filled: str, cli: Cli, tmp_path: Path) -> None:
    assert cli("backup", "--jobs", "2", "--format", "portable", url=filled).code == 2
    if server.dialect != "postgresql":
        refused = cli("backup", "--jobs", "2", url=filled)
        assert refused.code == 5, refused.said
        assert "one table after the other" in refused.err
    assert not (tmp_path / "backups").exists()


@pytest.mark.usefixtures("postgresql_server")
def test_what_goes_in_comes_out(
    server: Server, filled: str, database_url: str, cli: Cli, tmp_path: Path
) -> None:
    outcome = cli("backup", "--jobs", "2", "--json", url=filled)
    assert outcome.code == 0, outcome.said
    name, tables = outcome.document["name"], outcome.document["tables"]
    folder = tmp_path / "backups" / name
    before = rows_of(filled)
    assert {table["name"]: table["rows"] for table in tables} == {t: len(rows) for t, rows in before.items()}
    assert len(list(folder.glob("*.dat*"))) == len(before) + 1
    assert [path for path in folder.rglob("*") if path.stat().st_mode & 0o77] == []
    assert subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True).returncode == 0
    restored = cli("restore", "latest", "--jobs", "2", "--yes", url=database_url)
    assert restored.code == 0, restored.said
    assert rows_of(database_url) == before
    assert indexes_of(database_url) == indexes_of(filled)
    # One transaction over what is there; no way for several sessions.
    execute(database_url, "DELETE FROM report", "UPDATE website SET name = 'changed'")
    changed = rows_of(database_url)
    refused = cli("restore", "latest", "--jobs", "2", "--replace", "--yes", url=database_url)
    assert refused.code == 5, refused.said
    assert "as one" in refused.err
    assert rows_of(database_url) == changed
    replaced = cli("restore", "latest", "--replace", "--yes", url=database_url)
    assert replaced.code == 0, replaced.said
    assert rows_of(database_url) == before
    verified = cli("backup", "verify", "latest", "--json", url=server.as_admin(filled))
    assert verified.code == 0, verified.said
    # By hand, as docs/backup.md says.
    execute(database_url, *(f'DROP TABLE "{table}"' for table in before))
    by_hand = [str(servers.programs(server.name) / "pg_restore"), "--jobs=2", "--no-owner"]
    assert (
        subprocess.run(
            [*by_hand, "--schema=public", "-d", database_url, str(folder)], capture_output=True
        ).returncode
        == 0
    )
    assert rows_of(database_url) == before


@pytest.mark.usefixtures("postgresql_server")
def test_encrypted(filled: str, database_url: str, cli: Cli, tmp_path: Path) -> None:
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "key").write_text(f"{identity}\n")
    made = cli("backup", "--jobs", "2", "--encrypt-to", str(identity.to_public()), "--json", url=filled)
    assert made.code == 0, made.said
    files = [path for path in (tmp_path / "backups").glob("*/*") if ".dat" in path.name]
    assert files
    assert all(path.read_bytes().startswith(b"age-encryption.org/v1") for path in files)
    assert cli("restore", "latest", "--yes", url=database_url).code == 5
    assert rows_of(database_url) == {}
    for jobs in ((), ("--jobs", "2")):
        arguments = ("restore", "latest", "--yes", "--identity", "key", *jobs)
        outcome = cli(*arguments, "--target-url", database_url, url=filled)
        assert outcome.code == 0, outcome.said
        assert rows_of(database_url) == rows_of(filled)
        execute(database_url, *(f'DROP TABLE "{table}"' for table in rows_of(filled)))


@pytest.mark.usefixtures("postgresql_server")
def test_a_program_that_lies_is_caught(server: Server, filled: str, cli: Cli, tmp_path: Path) -> None:
    """It ends well, and one table's file is cut, emptied or gone."""
    lies = (
        'for f in "$folder"/*.dat*; do head -c -9 "$f" > x; cat x > "$f"; done',
        'for f in "$folder"/*.dat*; do : > "$f"; done',
        'set -- "$folder"/*.dat*; rm "$1"',
    )
    for number, lie in enumerate(lies):
        find = 'for a in "$@"; do case "$a" in --file=*) folder=${a#--file=};; esac; done'
        script = f'"$real" "$@" || exit\n{find}\n{lie}\nexit 0'
        env = backups.wrapped(server, tmp_path / f"programs-{number}", "pg_dump", script)
        outcome = cli("backup", "--jobs", "2", url=filled, env=env)
        assert outcome.code == 1, outcome.said
        assert "ended well, but" in outcome.err
        assert list((tmp_path / "backups").iterdir()) == []


@pytest.mark.usefixtures("postgresql_server")
def test_damage_is_seen_before_anything_is_touched(
    filled: str, database_url: str, cli: Cli, tmp_path: Path
) -> None:
    made = cli("backup", "--jobs", "2", "--json", url=filled)
    assert made.code == 0, made.said
    folder = tmp_path / "backups" / made.document["name"]
    files = sorted(folder.glob("*.dat*"), key=lambda path: path.stat().st_size)
    for file in (folder / "toc.dat", files[0], files[-1]):
        content = file.read_bytes()
        for damaged in (content[:-1], content[:-1] + bytes([content[-1] ^ 1]), None):
            file.unlink()
            if damaged is not None:
                file.write_bytes(damaged)
            refused = cli("restore", "latest", "--yes", url=database_url)
            assert refused.code == 5, refused.said
            assert file.name in refused.err
            file.write_bytes(content)
    assert rows_of(database_url) == {}


@pytest.mark.usefixtures("postgresql_server")
def test_what_fails_side_by_side_leaves_nothing(
    server: Server, filled: str, database_url: str, cli: Cli, tmp_path: Path
) -> None:
    assert cli("backup", "--jobs", "2", url=filled).code == 0
    execute(database_url, "CREATE TABLE my_own (id integer)")
    for script in ('"$real" "$@"; exit 1', '"$real" --section=pre-data "$@"'):
        case = f'case "$*" in *--dbname=*) {script};; *) exec "$real" "$@";; esac'
        env = backups.wrapped(server, tmp_path / "programs", "pg_restore", case)
        failed = cli("restore", "latest", "--jobs", "2", "--yes", url=database_url, env=env)
        assert failed.code == 1, failed.said
        assert rows_of(database_url) == {"my_own": []}
