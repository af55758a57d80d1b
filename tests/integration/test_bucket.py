"""Backups in a bucket, behind a real S3 API on this machine."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import obstore
import obstore.store
import pytest
from moto.server import ThreadedMotoServer

from testbed import servers
from tests import backups
from tests.command import run
from umami_ops.archive import manifest as manifests
from umami_ops.archive.manifest import Manifest, TableFacts, check_files
from umami_ops.archive.places import open_store
from umami_ops.archive.store import SEAL, Store
from umami_ops.archive.streams import Hashing
from umami_ops.errors import OpsError, Refused
from umami_ops.operations.backup import discard_abandoned

_BUCKET = "umami-backups"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An S3 API of our own."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def variables(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What tells every AWS tool where it is; the bucket is there, and empty."""
    found = {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "very-secret",
        "AWS_REGION": "us-east-1",
    }  # fmt: skip
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    for method, path in (("POST", "moto-api/reset"), ("PUT", _BUCKET)):
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{path}", method=method)).close()
    return found


def _write(store: Store, name: str, content: bytes) -> Manifest:
    with store.draft(name) as draft:
        stored = Hashing("database.dump.zst", draft.create("database.dump.zst"))
        for start in range(0, len(content), 1 << 20):
            stored.write(content[start : start + (1 << 20)])
        stored.close()
        manifest = Manifest(
            name=name, kind="dump", created_at=datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC), seconds=1.5,
            umami_ops="0.1.0", tool="pg_dump 18.1", dialect="postgresql", flavour="postgresql",
            version="18.1", database="umami", schema="public", level=19, release="v3.1.0",
            tables=(TableFacts("session", 3),), files=(stored.facts,),
        )  # fmt: skip
        manifests.seal(draft, manifest)
    return manifest


@pytest.mark.parametrize("prefix", ["", "/some/prefix"])
def test_it_reads_back(variables: dict[str, str], prefix: str) -> None:
    store = open_store(f"s3://{_BUCKET}{prefix}")
    assert store.names() == []
    content = bytes(range(256)) * 80_000  # more than one part
    manifest = _write(store, "umami-1", content)
    assert store.names() == ["umami-1"]
    assert manifests.read(store, "umami-1") == manifest
    check_files(store, manifest)
    with pytest.raises(Refused, match="there already"):
        _write(store, "umami-1", b"")
    store.note("umami-1", "verified.json", b"{}")
    store.remove("umami-1")
    assert store.files("umami-1") == {}


def test_what_is_not_whole_is_no_backup(variables: dict[str, str]) -> None:
    store = open_store(f"s3://{_BUCKET}")
    with pytest.raises(KeyboardInterrupt), store.draft("umami-1") as draft:
        draft.create("database.dump.zst").write(b"half")
        raise KeyboardInterrupt
    assert store.files("umami-1") == {}
    store.note("umami-2", "manifest.json", b"{}")  # as a killed run would leave it
    assert store.names() == []


def test_damage_is_seen(variables: dict[str, str]) -> None:
    store = open_store(f"s3://{_BUCKET}")
    manifest = _write(store, "umami-1", b"x" * 1000)
    for file in store.files("umami-1"):
        good = store.read("umami-1", file)
        store.note("umami-1", file, good[:-1] + b"?")
        with pytest.raises(Refused, match="damaged"):
            check_files(store, manifests.read(store, "umami-1"))
        store.note("umami-1", file, good)
    address = variables["AWS_ENDPOINT_URL"]
    bucket = obstore.store.S3Store(_BUCKET, client_options={"allow_http": True}, endpoint=address)
    obstore.delete(bucket, "umami-1/database.dump.zst")
    with pytest.raises(Refused, match="missing"):
        check_files(store, manifest)
    obstore.delete(bucket, f"umami-1/{SEAL}")
    with pytest.raises(OpsError):
        manifests.read(store, "umami-1")


def test_what_can_go_wrong_is_said_without_secrets(variables: dict[str, str]) -> None:
    with pytest.raises(OpsError) as fault:
        open_store("s3://no-such-bucket").names()
    assert "very-secret" not in f"{fault.value.message} {fault.value.hint}"
    assert fault.value.message == "s3://no-such-bucket: there is no such bucket."


def test_a_backup_goes_there_and_comes_back(variables: dict[str, str], tmp_path: Path) -> None:
    server = servers.get("postgresql-18")
    url, target = backups.fill(server, server.create_database(), events=100), server.create_database()
    env = backups.programs_of(server) | {"UMAMI_OPS_STORE": f"s3://{_BUCKET}/here"}
    try:
        for form in ("dump", "portable"):
            made = run("backup", "--format", form, "--json", url=url, env=env, folder=tmp_path)
            assert made.code == 0, made.said
            outcome = run("restore", "latest", "--replace", "--yes", url=target, env=env, folder=tmp_path)
            assert outcome.code == 0, outcome.said
            assert backups.rows_of(target) == backups.rows_of(url)
        listed = run("backup", "list", url=url, env=env, folder=tmp_path)
        assert made.document["name"] in listed.out
        assert list(tmp_path.iterdir()) == []
    finally:
        server.drop_database(url)
        server.drop_database(target)


def test_a_backup_of_several_files_goes_there_and_comes_back(
    variables: dict[str, str], tmp_path: Path
) -> None:
    server = servers.get("postgresql-18")
    url, target = backups.fill(server, server.create_database(), events=100), server.create_database()
    (tmp_path / "spool").mkdir()
    store = {"UMAMI_OPS_STORE": f"s3://{_BUCKET}/here", "TMPDIR": str(tmp_path / "spool")}
    env = backups.programs_of(server) | store
    try:
        made = run("backup", "--jobs", "2", "--json", url=url, env=env, folder=tmp_path)
        assert made.code == 0, made.said
        tables = [file for file in made.document["files"] if ".dat" in file["name"]]
        assert len(tables) == len(backups.rows_of(url)) + 1  # and toc.dat
        there = open_store(store["UMAMI_OPS_STORE"])
        check_files(there, manifests.read(there, made.document["name"]))
        restored = run("restore", "latest", "--jobs", "2", "--yes", url=target, env=env, folder=tmp_path)
        assert restored.code == 0, restored.said
        assert backups.rows_of(target) == backups.rows_of(url)
        assert backups.indexes_of(target) == backups.indexes_of(url)
        verified = run("backup", "verify", "latest", url=server.as_admin(url), env=env, folder=tmp_path)
        assert verified.code == 0, verified.said
        smallest = min(tables, key=lambda file: int(file["size_bytes"]))["name"]
        there.note(made.document["name"], smallest, b"\0" + there.read(made.document["name"], smallest)[1:])
        refused = run("restore", "latest", "--replace", "--yes", url=target, env=env, folder=tmp_path)
        assert refused.code == 5, refused.said
        assert smallest in refused.err
        assert list((tmp_path / "spool").iterdir()) == []
    finally:
        server.drop_database(url)
        server.drop_database(target)


def test_what_a_killed_run_left_is_cleared_away(variables: dict[str, str], tmp_path: Path) -> None:
    """Ours alone, and not while it may be somebody's who is at work."""
    address = f"s3://{_BUCKET}/here"
    store = open_store(address)
    old, half, young = (f"umami-{day}T010203Z" for day in ("20250102", "20250103", "20250104"))
    _write(store, "umami-20250101T010203Z", b"whole")
    store.note(old, "database.dump.zst", b"x")
    for name in (half, young):
        _write(store, name, b"whole")
    bucket = obstore.store.S3Store(
        _BUCKET, client_options={"allow_http": True}, endpoint=variables["AWS_ENDPOINT_URL"]
    )
    obstore.delete(bucket, f"here/{half}/{SEAL}")
    store.note("umami-20250105T010203Z", "letters.txt", b"somebody's")
    store.note("somebodys", "manifest.json", b"{}")
    store.note("umami-pruned-20250106T010203Z.unfinished", "manifest.json", b"{}")
    begun = store.begun()
    prune = ("backup", "prune", "--store", address, "--yes", "--json")
    assert run(*prune, folder=tmp_path).document["abandoned"] == []
    assert store.begun() == begun
    assert store.abandoned(datetime.now(UTC) + timedelta(minutes=1)) == [old, half]
    for name in (old, half):
        discard_abandoned(store, name)
    assert store.begun() == [name for name in begun if name not in (old, half)]
    assert store.names() == ["umami-20250101T010203Z", young]


def test_what_a_prune_deletes_goes_there_and_comes_back(variables: dict[str, str], tmp_path: Path) -> None:
    server = servers.get("postgresql-18")
    url = backups.fill(server, server.create_database(), events=100)
    place = f"s3://{_BUCKET}/pruned"
    try:
        before = backups.rows_of(url)
        pruned = run(
            "prune", "--before", "2025-05-20", "--yes", "--json", "--archive", place, url=url, folder=tmp_path
        )
        assert pruned.code == 0, pruned.said
        name = pruned.document["archive"]["name"]
        store = open_store(place)
        assert (store.names(), store.begun()) == ([name], [])
        outcome = run("restore", name, "--store", place, "--yes", url=url, folder=tmp_path)
        assert outcome.code == 0, outcome.said
        assert backups.rows_of(url) == before
    finally:
        server.drop_database(url)
