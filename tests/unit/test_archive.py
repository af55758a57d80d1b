"""A backup as files: every damage is seen, nothing half made counts, keys open what they should."""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pyrage
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from umami_ops.archive import manifest as manifests
from umami_ops.archive.manifest import Manifest, Origin, TableFacts, check_files
from umami_ops.archive.places import open_store
from umami_ops.archive.rotation import Keep
from umami_ops.archive.source import PlainFile, StoredBackup, find
from umami_ops.archive.store import SEAL, FolderStore
from umami_ops.archive.streams import (
    Compressing,
    Encrypting,
    Hashing,
    decompressed,
    decrypted,
    parse_recipients,
    read_identities,
)
from umami_ops.errors import OpsError, Refused, UsageFault
from umami_ops.operations.backup import note_failed, note_verified, plan_rotation

_CONTENT = os.urandom(300) + b"umami" * 100
_DATA = "database.dump.zst"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def _write(
    store: FolderStore,
    name: str = "umami-1",
    encrypt_to: tuple[str, ...] = (),
    day: int = 2,
    database: str = "umami",
    schema: str = "public",
) -> Manifest:
    with store.draft(name) as draft:
        stored = Hashing(_DATA, draft.create(_DATA))
        writer = Compressing(Encrypting(stored, encrypt_to) if encrypt_to else stored)
        writer.write(_CONTENT)
        writer.close()
        manifest = Manifest(
            name=name, kind="dump", created_at=datetime(2025, 1, day, 3, 4, 5, tzinfo=UTC), seconds=1.5,
            umami_ops="0.1.0", tool="pg_dump 18.1", dialect="postgresql", flavour="postgresql",
            version="18.1", database=database, schema=schema, level=19, release="v3.1.0",
            tables=(TableFacts("session", 3, "abc"), TableFacts("Büro", 0)), files=(stored.facts,),
            encrypted_to=encrypt_to,
        )  # fmt: skip
        manifests.seal(draft, manifest)
    return manifest


def _check(store: FolderStore, name: str = "umami-1") -> None:
    check_files(store, manifests.read(store, name))


def _folder(tmp_path: Path, name: str = "umami-1") -> Path:
    return tmp_path / "store" / name


def test_it_reads_back(store: FolderStore, tmp_path: Path) -> None:
    manifest = _write(store)
    assert manifests.read(store, "umami-1") == manifest
    _check(store)
    assert b"".join(StoredBackup(store, "umami-1").chunks()) == _CONTENT
    done = subprocess.run(["sha256sum", "-c", SEAL], cwd=_folder(tmp_path), capture_output=True)
    assert done.returncode == 0


def test_every_byte_that_changes_is_seen(store: FolderStore, tmp_path: Path) -> None:
    _write(store)
    for path in _folder(tmp_path).iterdir():
        content = path.read_bytes()
        for place in range(len(content)):
            for flip in (0x01, 0x20, 0x80):
                path.write_bytes(content[:place] + bytes([content[place] ^ flip]) + content[place + 1 :])
                with pytest.raises(Refused, match="damaged|newer"):
                    _check(store)
        path.write_bytes(content)
    _check(store)


def test_every_byte_that_is_missing_or_too_much_is_seen(store: FolderStore, tmp_path: Path) -> None:
    _write(store)
    for path in _folder(tmp_path).iterdir():
        content = path.read_bytes()
        for changed in (
            *(content[:length] for length in range(len(content))),
            content + b"\n",
            content + b"\0",
        ):
            path.write_bytes(changed)
            with pytest.raises(Refused, match="damaged"):
                _check(store)
        path.unlink()
        with pytest.raises(OpsError):
            _check(store)
        path.write_bytes(content)
    _check(store)


def test_rotation_trusts_no_backup_that_has_failed_since_it_was_verified(store: FolderStore) -> None:
    for day in (1, 2, 3, 4):
        _write(store, f"umami-{day}", day=day)
        if day < 4:
            note_verified(store, f"umami-{day}", StoredBackup(store, f"umami-{day}").seal_digest(), "server")
    for name in ("umami-2", "umami-3"):
        note_failed(store, name, StoredBackup(store, name).seal_digest(), "database.dump.zst is damaged")
    reasons = plan_rotation(store, Keep(last=1))
    assert reasons == {
        "umami-4": "among the last",
        "umami-3": "was verified, and failed since",
        "umami-2": None,
        "umami-1": "the newest that was verified",
    }


def test_only_its_owner_may_read_it(store: FolderStore, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        _write(store)
        store.note("umami-1", "verified.json", b"{}")
    finally:
        os.umask(before)
    assert stat.S_IMODE(_folder(tmp_path).stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in _folder(tmp_path).iterdir()} == {0o600}


def test_a_failure_leaves_nothing(store: FolderStore, tmp_path: Path) -> None:
    def fail() -> Iterator[None]:
        with store.draft("umami-1") as draft:
            draft.create(_DATA).write(b"half")
            raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        next(fail())
    assert list((tmp_path / "store").iterdir()) == []


def test_what_a_killed_run_left_is_no_backup_and_goes_later(store: FolderStore, tmp_path: Path) -> None:
    left = tmp_path / "store" / ".umami-0.partial"
    left.mkdir(parents=True)
    (left / _DATA).write_bytes(b"half")
    assert store.names() == []
    with store.draft("other") as draft:  # a run of now, which the next one must leave alone
        draft.create(_DATA).close()
        _write(store)
        assert (tmp_path / "store" / ".other.partial").is_dir()
        assert not left.exists()
    assert store.names() == ["umami-1"]


def test_a_name_is_given_once(store: FolderStore) -> None:
    _write(store)
    with pytest.raises(Refused, match="there already"):
        _write(store)
    _check(store)


def test_without_its_seal_it_is_no_backup(store: FolderStore, tmp_path: Path) -> None:
    _write(store)
    (_folder(tmp_path) / SEAL).unlink()
    (tmp_path / "store" / "notes").mkdir()
    assert store.names() == []


def test_the_latest_is_of_the_database_that_is_named(store: FolderStore) -> None:
    made = (("umami-1", "umami", "public"), ("umami-2", "umami", "public"), ("beside", "umami", "beside"),
            ("test-1", "test", "public"))  # fmt: skip
    for day, (name, database, schema) in enumerate(made, 2):
        _write(store, name, day=day, database=database, schema=schema)

    def latest(dialect: str, database: str, schema: str = "public") -> str:
        return find(store, "latest", (), Origin(dialect, database, schema)).title

    assert latest("postgresql", "umami") == "umami-2"
    assert latest("postgresql", "umami", "beside") == "beside"
    assert latest("postgresql", "test") == "test-1"
    for other in (Origin("postgresql", "umami", "new"), Origin("mysql", "umami", "umami"), None):
        with pytest.raises(UsageFault, match=r"several databases \(test, umami, umami.beside\)"):
            find(store, "latest", (), other)
    for name in ("test-1", "beside"):
        store.remove(name)
    assert latest("postgresql", "new") == "umami-2"


def test_what_is_kept_under_another_name_is_damaged(store: FolderStore, tmp_path: Path) -> None:
    _write(store)
    _folder(tmp_path).rename(_folder(tmp_path, "umami-2"))
    with pytest.raises(Refused, match="don't agree"):
        _check(store, "umami-2")


@contextmanager
def _as_somebody_else(folder: Path, mode: int) -> Iterator[None]:
    """Be a user to whom the folder is open as `mode` says, and no further; root is to be somebody else."""
    before, user = folder.stat().st_mode, os.geteuid()
    folder.chmod(mode)
    if user == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(before)


def test_a_store_that_is_closed_to_this_user(tmp_path: Path) -> None:
    closed = FolderStore(tmp_path / "below" / "store")
    (tmp_path / "below" / "store").mkdir(parents=True)
    for ask in (closed.require_there, closed.names, closed.free_bytes):
        with _as_somebody_else(tmp_path, 0), pytest.raises(OpsError, match="closed to this user") as fault:
            ask()
        assert "--store" in str(fault.value.hint)


def test_a_store_that_cannot_be_written_into() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder))
        with _as_somebody_else(Path(folder), 0o555), pytest.raises(OpsError) as fault, store.draft("umami-1"):
            pass
    assert fault.value.message == f"The folder {folder} can't be written into: Permission denied."
    assert fault.value.done == "Nothing was written."
    assert "s3://" in str(fault.value.hint)


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OpsError, match="is a file"):
        FolderStore(tmp_path / "file").require_there()


def _keys(tmp_path: Path, name: str) -> tuple[str, Path]:
    identity = pyrage.x25519.Identity.generate()
    file = tmp_path / name
    file.write_text(f"# created: now\n# public key: {identity.to_public()}\n{identity}\n")
    return str(identity.to_public()), file


def test_encrypted_for_each_of_its_keys_and_nobody_else(store: FolderStore, tmp_path: Path) -> None:
    (one, one_file), (two, two_file), (_, other) = (_keys(tmp_path, name) for name in ("a", "b", "c"))
    _write(store, encrypt_to=(one, two))
    content = (_folder(tmp_path) / _DATA).read_bytes()
    assert b"umami" not in content
    for file in (one_file, two_file):
        found = decrypted(store.open("umami-1", _DATA), read_identities([file]))
        assert b"".join(decompressed(found)) == _CONTENT
    with pytest.raises(Refused, match="can't be decrypted"):
        list(decrypted(store.open("umami-1", _DATA), read_identities([other])))
    with pytest.raises(Refused, match="encrypted"):
        list(decrypted(store.open("umami-1", _DATA), []))


def test_a_key_of_ssh_opens_what_is_encrypted_to_it(store: FolderStore, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    written = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    (tmp_path / "key").write_bytes(written)
    (tmp_path / "damaged").write_bytes(written[:90])
    _write(store, encrypt_to=(public,))
    keys = read_identities([tmp_path / "key"])
    StoredBackup(store, "umami-1", keys).require_key()
    found = decrypted(store.open("umami-1", _DATA), keys)
    assert b"".join(decompressed(found)) == _CONTENT
    with pytest.raises(UsageFault, match="without a passphrase"):
        read_identities([tmp_path / "damaged"])


def test_a_key_in_the_place_of_its_file_is_not_repeated(tmp_path: Path) -> None:
    identity = str(pyrage.x25519.Identity.generate())
    for typed in (identity, identity.lower()):
        with pytest.raises(UsageFault, match="the key itself") as fault:
            read_identities([Path(typed)])
        assert typed not in f"{fault.value} {fault.value.hint}"


def test_another_key_is_named_before_anything_is_read(store: FolderStore, tmp_path: Path) -> None:
    (one, one_file), (_, other) = (_keys(tmp_path, name) for name in ("a", "b"))
    _write(store, encrypt_to=(one,))
    StoredBackup(store, "umami-1", read_identities([other, one_file])).require_key()
    with pytest.raises(Refused, match=f"encrypted to {one}, and the key is another one"):
        StoredBackup(store, "umami-1", read_identities([other])).require_key()


def test_keys_that_are_none() -> None:
    identity = str(pyrage.x25519.Identity.generate())
    with pytest.raises(UsageFault, match="secret") as fault:
        parse_recipients([identity])
    assert identity not in str(fault.value)
    with pytest.raises(UsageFault, match="no public key"):
        parse_recipients(["age1nonsense"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=5000), max_size=5), st.integers(1, 4000), st.data())
def test_compressed_data_come_back_or_are_refused(parts: list[bytes], cut: int, data: st.DataObject) -> None:
    class Sink:
        content = b""

        def write(self, piece: bytes) -> int:
            self.content += piece
            return len(piece)

        def close(self) -> None:
            pass

    sink = Sink()
    writer = Compressing(sink)
    for part in parts:
        writer.write(part)
    writer.close()
    packed = sink.content
    pieces = [packed[start : start + cut] for start in range(0, len(packed), cut)]
    assert b"".join(decompressed(pieces)) == b"".join(parts)
    short = packed[: data.draw(st.integers(1, len(packed) - 1))]
    with pytest.raises(Refused, match="cut short|damaged"):
        list(decompressed([short]))


_PACKED = {"gzip": gzip.compress(_CONTENT), "zstd": zstandard.compress(_CONTENT), "nothing": _CONTENT}


@pytest.mark.parametrize("by", _PACKED)
def test_plain_files_are_read_as_they_are_compressed(by: str, tmp_path: Path) -> None:
    file = tmp_path / "dump.sql"
    file.write_bytes(_PACKED[by])
    assert b"".join(PlainFile(file).chunks()) == _CONTENT
    if by != "nothing":
        file.write_bytes(file.read_bytes()[:-5])
        with pytest.raises(Refused, match="cut short|damaged"):
            list(PlainFile(file).chunks())


def test_stores_are_known_by_their_address() -> None:
    with pytest.raises(UsageFault, match="gs://"):
        open_store("gs://bucket")
    with pytest.raises(UsageFault, match="names no bucket"):
        open_store("s3://key:secret@bucket/prefix")


def test_sums_are_what_the_manifest_says(store: FolderStore, tmp_path: Path) -> None:
    manifest = _write(store)
    for file in manifest.files:
        content = (_folder(tmp_path) / file.name).read_bytes()
        assert (file.size_bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
