"""`backup`, `backup verify`, `restore` by the server's own tools: what goes in comes out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

import pyrage
import pytest

from testbed import servers
from testbed.bulk import connect
from testbed.servers import Server
from tests import backups
from tests.backups import execute, indexes_of, rows_of
from tests.command import Outcome, run
from umami_ops.archive import manifest as manifests
from umami_ops.archive.manifest import DUMP, PORTABLE, Manifest
from umami_ops.archive.store import FolderStore
from umami_ops.databases.registry import open_database
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import Refused
from umami_ops.operations.backup import make_backup, plan_backup
from umami_ops.operations.inspect import inspect

Cli = Callable[..., Outcome]


@pytest.fixture(scope="module")
def filled(server: Server) -> Iterator[str]:
    """A database with every odd shape of traffic; only read, since tests share it."""
    url = backups.fill(server, server.create_database())
    yield url
    server.drop_database(url)


@pytest.fixture
def cli(server: Server, tmp_path: Path) -> Cli:
    """The command line with a store of its own and this server's programs."""

    def call(*arguments: str, url: str, env: dict[str, str] | None = None) -> Outcome:
        return run(*arguments, url=url, env=backups.programs_of(server) | (env or {}), folder=tmp_path)

    return call


@pytest.fixture(scope="module")
def kept(server: Server, filled: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one backup of `filled`."""
    folder = tmp_path_factory.mktemp("kept")
    outcome = run("backup", "--json", url=filled, env=backups.programs_of(server), folder=folder)
    assert outcome.code == 0, outcome.said
    return folder / "backups"


@pytest.fixture
def stored(kept: Path, tmp_path: Path) -> str:
    """The name of that backup, in the test's own store."""
    shutil.copytree(kept, tmp_path / "backups")
    (name,) = (path.name for path in kept.iterdir())
    return name


def _made(outcome: Outcome) -> str:
    assert outcome.code == 0, outcome.said
    name = outcome.document["name"]
    assert isinstance(name, str)
    return name


@pytest.mark.usefixtures("postgresql_server")
@pytest.mark.parametrize("how", [(), ("--jobs", "2"), ("--format", "portable")])
def test_a_schema_of_any_name(server: Server, database_url: str, cli: Cli, how: tuple[str, ...]) -> None:
    """Blanks and backslashes mean something to libpq, where they stand among options."""
    backups.fill(server, database_url, events=50)
    schema = 'Web "st\\ats of us'
    quoted = schema.replace('"', '""')
    execute(database_url, f'ALTER SCHEMA public RENAME TO "{quoted}"', "CREATE SCHEMA public")
    url = f"{database_url}?schema={quote(schema)}"
    before = rows_of(url)
    name = _made(cli("backup", "--json", *how, url=url))
    # The other server's URL names no schema, and needn't.
    verified = cli("backup", "verify", name, "--scratch-url", server.as_admin(database_url), url=url)
    assert verified.code == 0, verified.said
    execute(url, 'DELETE FROM "user"')
    restored = cli("restore", name, "--replace", "--yes", url=url)
    assert restored.code == 0, restored.said
    assert rows_of(url) == before


def test_what_goes_in_comes_out(
    filled: str, stored: str, database_url: str, cli: Cli, tmp_path: Path, server: Server
) -> None:
    name = stored
    before = rows_of(filled)
    manifest = json.loads((tmp_path / "backups" / name / "manifest.json").read_text())
    assert (manifest["version"], manifest["flavour"]) == (server.version, server.flavour)
    counts = {table["name"]: table["rows"] for table in manifest["tables"]}
    assert counts == {table: len(rows) for table, rows in before.items()}
    outcome = cli("restore", "latest", "--yes", url=database_url)
    assert outcome.code == 0, outcome.said
    assert "ghcr.io/umami-software/umami:" in outcome.out
    assert rows_of(database_url) == before
    assert indexes_of(database_url) == indexes_of(filled)
    # By hand, as docs/backup.md says.
    sums = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "backups" / name, capture_output=True
    )
    assert sums.returncode == 0


def test_verified_in_a_scratch_database(server: Server, filled: str, cli: Cli) -> None:
    admin = server.as_admin(filled)
    before = _scratch_databases(admin)
    outcome = cli("backup", "--verify", "--json", url=admin)
    name = _made(outcome)
    assert outcome.document["verified"]["rows"] == sum(map(len, rows_of(filled).values()))
    (listed,) = cli("backup", "list", "--json", url=admin).document["backups"]
    assert (listed["name"], bool(listed["verified_at"])) == (name, True)
    assert _scratch_databases(admin) == before


def test_who_may_make_no_database_verifies_elsewhere(
    server: Server, filled: str, stored: str, cli: Cli, tmp_path: Path
) -> None:
    refused = cli("backup", "verify", url=filled)
    assert refused.code == 5, refused.said
    assert "--scratch-url" in refused.err
    refused = cli("backup", "--verify", url=filled)
    assert refused.code == 5, refused.said
    assert "No backup was made." in refused.err
    assert "--scratch-url" in refused.err
    assert _failure(cli, filled) is None  # it's the user who may not
    assert [path.name for path in (tmp_path / "backups").iterdir()] == [stored]
    outcome = cli("backup", "verify", url=filled, env={"UMAMI_OPS_SCRATCH_URL": server.as_admin(filled)})
    assert outcome.code == 0, outcome.said


def test_a_backup_that_could_not_be_verified_is_kept(
    server: Server, filled: str, cli: Cli, tmp_path: Path
) -> None:
    program = {"postgresql": "pg_restore", "mysql": "mysql", "mariadb": "mariadb"}[server.flavour]
    loads = "*--schema=*" if program == "pg_restore" else "*"  # it also looks whether a dump can be read
    script = f'case "$*" in {loads}) echo "error: no room" >&2; exit 3;; esac\nexec "$real" "$@"'
    programs = backups.wrapped(server, tmp_path / "programs", program, script)
    failed = cli("backup", "--verify", url=server.as_admin(filled), env=programs)
    assert failed.code == 1, failed.said
    (kept,) = (tmp_path / "backups").iterdir()
    assert f"The backup is kept as {kept.name}" in failed.err
    assert f"umami-ops backup verify {kept.name}" in failed.err
    assert _failure(cli, filled) is None  # the program's failure says nothing about the backup
    assert cli("backup", "verify", kept.name, url=server.as_admin(filled)).code == 0


def _failure(cli: Cli, url: str) -> str | None:
    """Why the one backup is noted as bad, if it is."""
    (listed,) = cli("backup", "list", "--json", url=url).document["backups"]
    return listed["failed"] and str(listed["failed"]["why"])


def _sealed_anew(folder: Path, old: bytes, new: bytes) -> None:
    """Change a manifest, and what vouches for it."""
    content = (folder / "manifest.json").read_bytes().replace(old, new, 1)
    (folder / "manifest.json").write_bytes(content)
    (folder / "SHA256SUMS").write_bytes(manifests.sums(Manifest.parse(content), content))


def test_what_is_the_backups_own_fault_is_noted(
    server: Server, filled: str, stored: str, cli: Cli, tmp_path: Path
) -> None:
    admin = server.as_admin(filled)
    rows = len(rows_of(filled)["website_event"])
    counted = f'"name": "website_event",\n      "rows": {rows}'.encode()
    _sealed_anew(tmp_path / "backups" / stored, counted, counted + b"0")
    assert cli("backup", "verify", url=admin).code == 1
    assert "not what the backup says: website_event" in str(_failure(cli, admin))
    _sealed_anew(tmp_path / "backups" / stored, counted + b"0", counted)
    assert cli("backup", "verify", url=admin).code == 0
    assert _failure(cli, admin) is None


def test_rows_that_no_server_takes_are_noted(server: Server, filled: str, cli: Cli, tmp_path: Path) -> None:
    """As a table has them whose index was broken: two with one key."""
    if server.dialect == "postgresql":
        program = "pg_restore"
        twice = (
            'case "$*" in *--file=-*) "$real" "$@" | sed \'/^COPY public.website_event /{n;p}\'; exit;; esac'
        )
        script = f'{twice}\nexec "$real" "$@"'
    else:
        program = backups.dump_program(server)
        again = "p" if server.flavour == "mysql" else "{n;p}"  # all rows in one line, or each in its own
        script = f'"$real" "$@" | sed "/^INSERT INTO .website_event./{again}"'
    programs = backups.wrapped(server, tmp_path / "programs", program, script)
    failed = cli("backup", "--verify", url=server.as_admin(filled), env=programs)
    assert failed.code == 1, failed.said
    if server.flavour == "mariadb":  # which fails as it commits, for a reason that it doesn't know
        return
    why = str(_failure(cli, filled))
    assert "website_event_pkey" in why or "Duplicate entry" in why, failed.err


@pytest.mark.usefixtures("postgresql_server")
def test_the_note_about_an_encrypted_one_holds_nothing_that_is_in_it(
    server: Server, filled: str, cli: Cli, tmp_path: Path
) -> None:
    """Servers repeat a value that they can't take, and the note stands there for everybody to read."""
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "key").write_text(str(identity))
    key = ("--identity", str(tmp_path / "key"))
    script = (
        'case "$*" in *--file=-*) "$real" "$@" | sed \'/^COPY public.website /{n;s/^/secret/}\'; exit;;'
        " esac\n"
        'exec "$real" "$@"'
    )
    programs = backups.wrapped(server, tmp_path / "programs", "pg_restore", script)
    create = ("backup", "--verify", "--encrypt-to", str(identity.to_public()), *key)
    failed = cli(*create, url=server.as_admin(filled), env=programs)
    assert failed.code == 1, failed.said
    assert "secret" in failed.err
    assert "rows" in str(_failure(cli, filled))
    assert "secret" not in str(_failure(cli, filled))


def test_verified_on_a_server_of_its_own(server: Server, stored: str, filled: str, cli: Cli) -> None:
    if server.dialect != "postgresql":
        refused = cli("backup", "verify", "--scratch-url", "embedded", url=filled)
        assert refused.code in (1, 5), refused.said
        return
    outcome = cli("backup", "verify", stored, "--scratch-url", "embedded", "--json", url=filled)
    assert outcome.code == 0, outcome.said
    assert outcome.document["verified"] is True


@pytest.mark.parametrize("form", ["dump", "folder", "portable"])
def test_what_umami_makes_just_before_it_begins_is_not_left_out(
    server: Server, umami_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """A migration between the plan and the moment that is written: its table was in nobody's list."""
    if form == "folder" and server.dialect != "postgresql":
        pytest.skip("several files come from pg_dump alone")
    monkeypatch.setenv(*next(iter(backups.programs_of(server).items())))
    database, store = open_database(DatabaseUrl.parse(umami_database)), FolderStore(tmp_path)
    kind = PORTABLE if form == "portable" else DUMP
    with database.connect("test") as connection:
        installation = inspect(connection)
        plan = plan_backup(connection, installation, store, kind=kind, jobs=2 if form == "folder" else None)
    made = make_backup(plan, database, installation, store)
    assert {table.name for table in made.tables} == set(plan.tables)
    execute(umami_database, "CREATE TABLE new_in_umami (id integer PRIMARY KEY)")
    with pytest.raises(Refused, match="changed just when the backup began"):
        make_backup(replace(plan, name="another"), database, installation, store)
    execute(
        umami_database,
        "DROP TABLE new_in_umami",
        "DELETE FROM _prisma_migrations WHERE migration_name > '12'",
    )
    with pytest.raises(Refused, match="changed just when the backup began"):
        make_backup(replace(plan, name="another"), database, installation, store)
    assert store.names() == [plan.name]


def _scratch_databases(url: str) -> list[str]:
    with backups.opened(url) as connection:
        rows = connection.rows(connection.dialect.queries["backup.databases"])
        return [row["name"] for row in rows if "scratch" in row["name"]]


def test_over_a_database_that_is_in_use(filled: str, stored: str, database_url: str, cli: Cli) -> None:
    assert cli("restore", stored, "--yes", url=database_url).code == 0
    execute(database_url, "CREATE TABLE my_own (id integer)", "INSERT INTO my_own VALUES (7)")
    execute(database_url, "DELETE FROM report", "DELETE FROM session", "UPDATE website SET name = 'changed'")
    before = rows_of(database_url)
    refused = cli("restore", "latest", "--yes", url=database_url)
    assert refused.code == 5, refused.said
    assert "--replace" in refused.err
    assert cli("restore", "latest", "--replace", url=database_url).code == 5
    assert cli("restore", "latest", "--only", "reports", "--yes", url=database_url).code == 2
    assert rows_of(database_url) == before
    outcome = cli("restore", "latest", "--only", "report", "--replace", "--yes", url=database_url)
    assert outcome.code == 0, outcome.said
    assert rows_of(database_url) == {**before, "report": rows_of(filled)["report"]}
    outcome = cli("restore", "latest", "--replace", "--yes", "--json", url=database_url)
    assert outcome.code == 0, outcome.said
    assert rows_of(database_url) == {**rows_of(filled), "my_own": ["[7]"]}
    assert indexes_of(database_url) == indexes_of(filled)


def test_an_interruption_of_what_is_said_of_a_restore_takes_nothing_back(
    filled: str, stored: str, database_url: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umami_ops.cli.restore._show_restored", _interrupted)
    outcome = cli("restore", stored, "--yes", url=database_url)
    assert outcome.code == 3, outcome.said
    assert "The restore had ended already" in outcome.err
    assert rows_of(database_url) == rows_of(filled)


def _interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_dry_run_changes_nothing(filled: str, stored: str, database_url: str, cli: Cli) -> None:
    shown = cli("restore", "latest", "--dry-run", url=database_url)
    assert shown.code == 0, shown.said
    assert "Dry run: nothing was changed" in shown.out
    assert rows_of(database_url) == {}
    assert cli("restore", "latest", "--dry-run", url=filled).code == 5
    execute(database_url, "CREATE TABLE my_own (id integer)", "CREATE TABLE report (id integer)")
    planned = cli("restore", "latest", "--replace", "--dry-run", "--json", url=database_url)
    assert planned.code == 0, planned.said
    plan = planned.document
    assert (plan["name"], plan["dry_run"], plan["replaced"], plan["kept"]) == (
        stored, True, ["report"], ["my_own"],
    )  # fmt: skip
    assert {table["name"]: table["rows"] for table in plan["tables"]} == {
        table: len(rows) for table, rows in rows_of(filled).items()
    }
    assert rows_of(database_url) == {"my_own": [], "report": []}


def test_the_backup_is_one_moment(server: Server, database_url: str, cli: Cli, tmp_path: Path) -> None:
    """A writer gives each event two properties: however far he was, the backup shows him at one moment."""
    backups.fill(server, database_url, events=100)
    target = server.create_database()
    try:
        with _writer(database_url) as written:
            for _ in range(2):
                name = _made(cli("backup", "--json", url=database_url))
        assert written() > 10
        outcome = cli("restore", name, "--yes", url=target)
        assert outcome.code == 0, outcome.said
        with connect(target) as loader:
            ((events, properties),) = loader.execute(
                "SELECT (SELECT COUNT(*) FROM website_event WHERE url_path = '/written'),"
                " (SELECT COUNT(*) FROM event_data WHERE data_key = 'written')"
            )
        assert events > 0
        if server.dialect == "postgresql":
            assert properties == 2 * events
        else:
            assert 2 * (events - 1) <= properties <= 2 * events
    finally:
        server.drop_database(target)


@contextmanager
def _writer(url: str) -> Iterator[Callable[[], int]]:
    """Somebody who writes all the while; yields how often he has.

    As Umami does: each statement by itself; on PostgreSQL, where nothing is locked, an event with its
    properties in one transaction.
    """
    over = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        with connect(url) as loader:
            while not over.is_set():
                event, site = uuid.uuid4(), uuid.uuid4()
                loader.execute(
                    "INSERT INTO website_event (event_id, website_id, session_id, visit_id, url_path)"
                    f" VALUES ('{event}', '{site}', '{uuid.uuid4()}', '{uuid.uuid4()}', '/written')"
                )
                for _ in range(2):
                    if loader.dialect == "mysql":
                        loader.commit()
                    loader.execute(
                        "INSERT INTO event_data"
                        " (event_data_id, website_id, website_event_id, data_key, data_type)"
                        f" VALUES ('{uuid.uuid4()}', '{site}', '{event}', 'written', 1)"
                    )
                loader.commit()
                written += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield lambda: written
    finally:
        over.set()
        thread.join()


def test_encrypted(filled: str, database_url: str, cli: Cli, tmp_path: Path) -> None:
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "key").write_text(f"{identity}\n")
    (tmp_path / "other").write_text(f"{pyrage.x25519.Identity.generate()}\n")
    name = _made(cli("backup", "--encrypt-to", str(identity.to_public()), "--json", url=filled))
    (file,) = (path for path in (tmp_path / "backups" / name).iterdir() if path.suffix == ".age")
    assert file.read_bytes().startswith(b"age-encryption.org/v1")
    for arguments in ([], ["--identity", "other"]):
        refused = cli("restore", name, "--yes", *arguments, url=database_url)
        assert (refused.code, refused.out) == (5, ""), refused.said  # before a plan is read, and agreed to
        assert rows_of(database_url) == {}
    assert "It is encrypted" in cli("restore", name, "--dry-run", url=database_url).out
    closed = ("backup", "--verify", "--encrypt-to", str(identity.to_public()), "--identity", "other")
    assert cli(*closed, url=filled).code == 2
    assert len(cli("backup", "list", "--json", url=filled).document["backups"]) == 1
    outcome = cli("restore", name, "--yes", "--identity", "key", url=database_url)
    assert outcome.code == 0, outcome.said
    assert rows_of(database_url) == rows_of(filled)
    assert cli("backup", "verify", name, url=filled).code == 5
    (listed,) = cli("backup", "list", "--json", url=filled).document["backups"]
    assert listed["failed"] is None  # whose key was forgotten


def test_files_of_others(server: Server, filled: str, database_url: str, cli: Cli, tmp_path: Path) -> None:
    for path in _foreign_dumps(server, filled, tmp_path):
        outcome = cli("restore", str(path), "--replace", "--yes", url=database_url)
        assert outcome.code == 0, outcome.said
        assert rows_of(database_url) == rows_of(filled)
        _damage(path)
        cut = cli("restore", str(path), "--replace", "--yes", url=database_url)
        assert cut.code != 0, cut.said
        assert cut.code != 5 or "hint:" in cut.err
        assert rows_of(database_url) == rows_of(filled)
    (tmp_path / "letter.txt").write_text("Dear Umami,\n" * 100)
    assert cli("restore", "letter.txt", "--replace", "--yes", url=database_url).code == 5


def _damage(path: Path) -> None:
    """Take the end away: of the file, or of the largest in the folder."""
    if path.is_dir():
        path = max(path.glob("*.dat*"), key=lambda each: each.stat().st_size)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3] if path.suffix in (".sql", ".tar") else content[:-200])


def _foreign_dumps(server: Server, url: str, folder: Path) -> list[Path]:
    """What a person gets who calls the server's own program."""
    if server.dialect != "postgresql":
        return [backups.dump_by_hand(server, url, folder / "plain.sql")]
    names = {"plain": "plain.sql", "custom": "custom.dump", "tar": "all.tar", "directory": "folder"}
    return [
        backups.dump_by_hand(server, url, folder / name, f"--format={form}") for form, name in names.items()
    ]


def test_nothing_of_the_password_anywhere(
    server: Server, filled: str, database_url: str, cli: Cli, tmp_path: Path
) -> None:
    password = urlsplit(filled).password
    assert password
    log = tmp_path / "argv"
    programs = {}
    for program in ("pg_dump", "pg_restore", "mysqldump", "mysql", "mariadb-dump", "mariadb"):
        if (servers.programs(server.name) / program).exists():
            programs = backups.wrapped(
                server, tmp_path / "programs", program, f'echo "$0 $@" >> {log}\nexec "$real" "$@"'
            )
    backup = cli("backup", url=filled, env=programs)
    restore = cli("restore", "latest", "--yes", url=database_url, env=programs)
    assert (backup.code, restore.code) == (0, 0), backup.said + restore.said
    assert log.read_text().count("\n") >= 2
    for text in (log.read_text(), backup.said, restore.said):
        assert password not in text
    for path in (tmp_path / "backups").rglob("*"):
        assert path.is_dir() or password.encode() not in path.read_bytes()


#: Cuts what pg_dump writes behind the rows of the table before the last one.
_CUT_BETWEEN_TABLES = """
import sys
whole, end = sys.stdin.buffer.read(), bytes([10, 0, 0, 0, 0, 0, 1, 0])
sys.stdout.buffer.write(whole[: whole.rindex(end) + 6])
"""


def test_a_long_one_is_of_the_moment_at_which_it_began(
    server: Server, filled: str, cli: Cli, tmp_path: Path
) -> None:
    """Its rows are; who restores it must not look for later ones in it."""
    script = '"$real" "$@"\nsleep 2'
    env = backups.wrapped(server, tmp_path / "stub", backups.dump_program(server), script)
    made = cli("backup", "--json", url=filled, env=env)
    ended = datetime.now(UTC)
    assert made.code == 0, made.said
    assert made.document["seconds"] > 2
    assert datetime.fromisoformat(made.document["created_at"]) <= ended - timedelta(seconds=2)


def test_a_program_that_lies(server: Server, filled: str, cli: Cli, tmp_path: Path) -> None:
    """It ends well after half of the dump; or whole, and then with an error."""
    program = backups.dump_program(server)
    (tmp_path / "cut.py").write_text(_CUT_BETWEEN_TABLES)
    cut = f'"$real" "$@" | {sys.executable} {tmp_path / "cut.py"}'
    for script, sign in (
        ('size=$("$real" "$@" | wc -c)\n"$real" "$@" | head -c $((size / 2))\nexit 0', "end"),
        ('size=$("$real" "$@" | wc -c)\n"$real" "$@" | head -c $((size - 30))\nexit 0', "end"),
        ('"$real" "$@"\necho "error: no space in the sky" >&2\nexit 3', "no space in the sky"),
        ('kill -9 $$', "SIGKILL"),
        *([(cut, "lacks its end")] if program == "pg_dump" else []),
    ):  # fmt: skip
        # Run twice by the script, it must not ask for our snapshot's moment to pass; that is held open.
        outcome = cli("backup", url=filled, env=backups.wrapped(server, tmp_path / "stub", program, script))
        assert outcome.code == 1, outcome.said
        assert sign in outcome.err
        assert list((tmp_path / "backups").iterdir()) == []


def test_programs_that_are_too_old(server: Server, filled: str, cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    for program, says in (
        ("pg_dump", "pg_dump (PostgreSQL) 12.3"), ("pg_restore", "pg_restore (PostgreSQL) 12.3"),
        ("mysqldump", "mysqldump  Ver 8.0.1 for Linux on x86_64"), ("mysql", "mysql  Ver 8.0.1"),
        ("mariadb-dump", "mariadb-dump  Ver 9.19 Distrib 5.5.60-MariaDB"),
    ):  # fmt: skip
        folder.mkdir(exist_ok=True)
        (folder / program).write_text(f"#!/bin/sh\necho '{says}'\n")
        (folder / program).chmod(0o755)
    outcome = cli("backup", url=filled, env={"UMAMI_OPS_PROGRAMS": str(folder)})
    assert outcome.code == 5, outcome.said
    assert "too old" in outcome.err
    assert "Install" in outcome.err


def test_damage_is_seen_before_anything_is_touched(
    filled: str, stored: str, database_url: str, cli: Cli, tmp_path: Path
) -> None:
    name = stored
    folder = tmp_path / "backups" / name
    good = {path: path.read_bytes() for path in folder.iterdir()}
    for path, content in good.items():
        middle = len(content) // 2
        for damaged in (
            content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :],
            content[:-1],
            None,
        ):
            if damaged is None:
                path.unlink()
            else:
                path.write_bytes(damaged)
            outcome = cli("restore", name, "--yes", url=database_url)
            assert outcome.code == (2 if damaged is None and path.name == "SHA256SUMS" else 5), outcome.said
            assert "hint:" in outcome.err
            assert rows_of(database_url) == {}
            path.write_bytes(content)
    listed = cli("backup", "list", url=filled)
    assert name in listed.out
    assert "damaged" not in listed.out
    (folder / "manifest.json").write_text("{}")
    listed = cli("backup", "list", url=filled)
    assert listed.code == 0
    assert "damaged" in listed.out


def test_a_place_that_cannot_be_meant(filled: str, cli: Cli, tmp_path: Path) -> None:
    for arguments in (["list"], ["verify"], ["prune"], [], ["--verify", "--scratch-url", ""]):
        empty = cli("backup", *arguments, *([] if "" in arguments else ["--store", ""]), url=filled)
        assert empty.code == 2, empty.said
        assert "it is empty" in empty.err
    assert cli("prune", "--days", "30", "--archive", "", "--yes", url=filled).code == 2
    for command in ("list", "prune", "verify"):
        missing = cli("backup", command, "--store", "nowhere", url=filled)
        assert missing.code == 1, missing.said
        assert "There is no folder nowhere" in missing.err
    (tmp_path / "nothing").mkdir()
    for verb in (("backup", "verify"), ("restore",)):
        none = cli(*verb, "latest", "--store", "nothing", url=filled)
        assert none.code == 1, none.said
        assert "There is no backup in nothing" in none.err
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below"):
        refused = cli("backup", "--store", place, url=filled)
        assert refused.code == 1, refused.said
        assert "Nothing was written." in refused.err
        assert "hint:" in refused.err
    no_key = cli("restore", "latest", "--identity", "nowhere", url=filled, env={"UMAMI_OPS_STORE": ""})
    assert (no_key.code, "hint:" in no_key.err) == (1, True), no_key.said


def test_old_ones_go_and_others_stay(filled: str, stored: str, cli: Cli, tmp_path: Path) -> None:
    names = [stored, *(_made(cli("backup", "--json", url=filled)) for _ in range(2))]
    shutil.copytree(tmp_path / "backups" / names[0], tmp_path / "backups" / "copy")  # damaged, by its name
    (tmp_path / "backups" / "notes").mkdir()
    keep = ["--keep-last", "2", "--keep-daily", "0", "--keep-weekly", "0", "--keep-monthly", "0"]
    dry = cli("backup", "prune", *keep, "--dry-run", "--json", url=filled)
    assert dry.document["deleted"] == [names[0]]
    assert len(list((tmp_path / "backups").iterdir())) == 5
    assert cli("backup", "prune", *keep, url=filled).code == 5
    assert cli("backup", "prune", *keep, "--yes", url=filled).code == 0
    assert {path.name for path in (tmp_path / "backups").iterdir()} == {*names[1:], "copy", "notes"}


def test_who_interrupts_the_deletion_of_old_ones_is_told_that_some_are_gone(
    stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FolderStore, "remove", _interrupted)
    monkeypatch.setattr("umami_ops.operations.backup.plan_rotation", lambda *_: {stored: None})
    outcome = run("backup", "prune", "--yes", folder=tmp_path)
    assert outcome.code == 3, outcome.said
    assert "What was deleted by then is gone" in outcome.err


def test_what_is_left_of_a_backup_goes_with_the_old_ones(stored: str, tmp_path: Path) -> None:
    """As where its deletion was cut off: without its seal it is no backup any more."""
    half, young, others = (
        shutil.copytree(tmp_path / "backups" / stored, tmp_path / "backups" / f"umami-2025010{day}T010203Z")
        for day in (1, 2, 3)
    )
    (others / "notes.txt").write_text("mine")
    for folder in (half, young, others):
        (folder / "SHA256SUMS").unlink()
    long_ago = (datetime.now(UTC) - timedelta(days=3)).timestamp()
    for folder in (half, others):
        for path in (*folder.iterdir(), folder):
            os.utime(path, (long_ago, long_ago))
    prune = ("backup", "prune", "--yes")
    preview = run(*prune, "--dry-run", "--json", folder=tmp_path).document
    assert (preview["deleted"], preview["abandoned"]) == ([], [half.name])
    assert half.exists()
    assert "what is left of 1" in run(*prune, folder=tmp_path).out
    assert sorted((tmp_path / "backups").iterdir()) == sorted([tmp_path / "backups" / stored, young, others])
