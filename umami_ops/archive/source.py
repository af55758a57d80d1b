"""Where a restore reads from: a backup in a store, or a file that somebody else's program has made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from umami_ops.archive import manifest as manifests
from umami_ops.archive.manifest import Manifest
from umami_ops.archive.store import SEAL, Store
from umami_ops.archive.streams import AGE, ZSTD, Joined, decompressed, decrypted, pieces, plain
from umami_ops.errors import OpsError, UsageFault

LATEST = "latest"
_AGE_MAGIC = b"age-encryption.org/v1"
Advanced = Callable[[int], None]


class Source(ABC):
    """What is to be restored. `manifest` is None for a file that has none."""

    title: str
    manifest: Manifest | None

    @abstractmethod
    def check(self, advanced: Advanced) -> None:
        """Read all of it and compare the sums. Raises Refused where something is damaged or missing."""

    @abstractmethod
    def chunks(self) -> Iterator[bytes]:
        """Yield the dump, decrypted and decompressed."""

    @property
    @abstractmethod
    def size_bytes(self) -> int:
        """How much there is to read, as it lies there."""


class StoredBackup(Source):
    """A backup of ours."""

    def __init__(self, store: Store, name: str, identities: Sequence[Any] = ()) -> None:
        self.store = store
        self.title = name
        self._manifest = manifests.read(store, name)
        self.manifest = self._manifest
        self._identities = identities

    def check(self, advanced: Advanced) -> None:
        """Compare every file's SHA-256 with the manifest's."""
        manifests.check_files(self.store, self._manifest, advanced)

    def chunks(self) -> Iterator[bytes]:
        """Yield the one file of a dump."""
        (file,) = self._manifest.files
        yield from self.file(file.name)

    def file(self, name: str) -> Iterator[bytes]:
        """Yield what a file of the backup holds, by the endings of its name."""
        with self.store.open(self.title, name) as stream:
            content = pieces(stream)
            if name.endswith(AGE):
                content = decrypted(stream, self._identities)
                name = name.removesuffix(AGE)
            yield from decompressed(content) if name.endswith(ZSTD) else content

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return self._manifest.size_bytes

    def seal_digest(self) -> str:
        """Return what a note about this very backup names it by."""
        import hashlib

        return hashlib.sha256(self.store.read(self.title, SEAL)).hexdigest()


class PlainFile(Source):
    """A file of pg_dump, mysqldump or mariadb-dump, compressed or not."""

    manifest = None

    def __init__(self, path: Path, identities: Sequence[Any] = ()) -> None:
        self.title = str(path)
        self._path = path
        self._identities = identities

    def check(self, advanced: Advanced) -> None:
        """Read it to its end: what is compressed or encrypted tells its damage; there are no sums."""
        for chunk in self.chunks():
            advanced(len(chunk))

    def chunks(self) -> Iterator[bytes]:
        """Yield its content."""
        try:
            with self._path.open("rb") as stream:
                if stream.read(len(_AGE_MAGIC)) == _AGE_MAGIC:
                    stream.seek(0)
                    yield from plain(Joined(decrypted(stream, self._identities)))
                else:
                    stream.seek(0)
                    yield from plain(stream)
        except OSError as fault:
            raise OpsError(f"{self._path} can't be read: {fault.strerror or fault}.") from None

    @property
    def size_bytes(self) -> int:
        """The file's size."""
        return self._path.stat().st_size


def find(store: Store, typed: str, identities: Sequence[Any] = ()) -> Source:
    """Return the backup of that name, the newest for `latest`, or the file at that path.

    Raises UsageFault when there is none of the kind, OpsError where `latest` has no place to be in.
    """
    names = store.names()
    if typed == LATEST:
        found = newest(store, names)
        if found is None:
            store.require_there()
            raise UsageFault(f"There is no backup in {store.title}.", hint="`umami-ops backup` makes one.")
        return StoredBackup(store, found, identities)
    if typed in names:
        return StoredBackup(store, typed, identities)
    path = Path(typed).expanduser()
    if path.is_dir() and (path / SEAL).is_file():
        from umami_ops.archive.store import FolderStore

        return StoredBackup(FolderStore(path.parent), path.name, identities)
    if path.is_file():
        return PlainFile(path, identities)
    raise UsageFault(
        f"{typed!r} is neither a backup in {store.title} nor a file.",
        hint="`umami-ops backup list` shows the names; --store names another place.",
    )


def newest(store: Store, names: Sequence[str]) -> str | None:
    """Return the newest backup whose manifest can be read; what a prune has archived is none."""
    known = []
    for name in names:
        try:
            found = manifests.read(store, name)
        except OpsError:
            continue
        if found.kind != manifests.PRUNED:
            known.append((found.created_at, name))
    return max(known)[1] if known else None
