"""Where a restore reads from: a backup in a store, or a file that somebody else's program has made."""

from __future__ import annotations

import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from umami_ops.archive import manifest as manifests
from umami_ops.archive.manifest import Manifest, Origin
from umami_ops.archive.store import SEAL, Store
from umami_ops.archive.streams import (
    AGE,
    ZSTD,
    Joined,
    Told,
    decompressed,
    decrypted,
    pieces,
    plain,
    require_key,
)
from umami_ops.errors import OpsError, Refused, UsageFault

LATEST = "latest"
#: The file by which a folder is one of pg_dump's.
_PG_DUMP_LIST = "toc.dat"
_AGE_MAGIC = b"age-encryption.org/v1"
Advanced = Callable[[int], None]


def _unheard(_bytes: int) -> None:
    """Nobody wants to know how far it is."""


class Source(ABC):
    """What is to be restored. `manifest` is None for a file that has none."""

    title: str
    manifest: Manifest | None

    @abstractmethod
    def check(self, advanced: Advanced) -> None:
        """Read all of it and compare the sums. Raises Refused where something is damaged or missing."""

    @abstractmethod
    def chunks(self, advanced: Advanced = _unheard) -> Iterator[bytes]:
        """Yield the dump, decrypted and decompressed; `advanced` hears of bytes as they lie there."""

    def folder(self) -> AbstractContextManager[Path] | None:
        """Give a dump's files in a folder, decrypted, for the length of the block.

        None where it is one file, which `chunks` gives.
        """
        return None

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

    @property
    def is_encrypted(self) -> bool:
        """Whether only who has a key may read it."""
        return bool(self._manifest.encrypted_to)

    def require_key(self) -> None:
        """Raise Refused where it is encrypted and its key wasn't named, which is no fault of the backup's."""
        if self.is_encrypted:
            require_key(self._identities, self._manifest.encrypted_to)

    def check(self, advanced: Advanced) -> None:
        """Compare every file's SHA-256 with the manifest's."""
        manifests.check_files(self.store, self._manifest, advanced)

    def chunks(self, advanced: Advanced = _unheard) -> Iterator[bytes]:
        """Yield the one file of a dump."""
        (file,) = self._manifest.files
        yield from self._file(file.name, advanced)

    def folder(self) -> AbstractContextManager[Path] | None:
        """Give the folder itself where it can be read as it is, else a copy."""
        if not self._manifest.is_folder:
            return None
        there = self.store.folder_of(self.title)
        if there is None or self.is_encrypted:
            return self._unpacked()
        return nullcontext(there)

    @contextmanager
    def _unpacked(self) -> Iterator[Path]:
        place = tempfile.gettempdir()
        free = shutil.disk_usage(place).free
        if free < self.size_bytes:
            raise Refused(
                f"The backup's files take {self.size_bytes / 1e6:,.0f} MB while they are restored, of which "
                f"{free / 1e6:,.0f} MB are free in {place}.",
                hint="Name another place by the variable TMPDIR.",
                done="Nothing was changed.",
            )
        with tempfile.TemporaryDirectory(prefix="umami-ops-") as folder:
            for file in self._manifest.files:
                with (Path(folder) / file.name.removesuffix(AGE)).open("wb") as target:
                    target.writelines(self._plain(file.name, _unheard))
            yield Path(folder)

    def _file(self, name: str, advanced: Advanced) -> Iterator[bytes]:
        """Yield what a file of the backup holds, by the endings of its name."""
        content = self._plain(name, advanced)
        return decompressed(content) if name.removesuffix(AGE).endswith(ZSTD) else content

    def _plain(self, name: str, advanced: Advanced) -> Iterator[bytes]:
        """Yield a file of the backup, decrypted."""
        with self.store.open(self.title, name) as opened:
            stream = Told(opened, advanced)
            yield from decrypted(stream, self._identities) if name.endswith(AGE) else pieces(stream)

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
        for _ in self.chunks(advanced):
            pass

    def chunks(self, advanced: Advanced = _unheard) -> Iterator[bytes]:
        """Yield its content."""
        try:
            with self._path.open("rb") as opened:
                is_encrypted = opened.read(len(_AGE_MAGIC)) == _AGE_MAGIC
                opened.seek(0)
                stream = Told(opened, advanced)
                if is_encrypted:
                    yield from plain(Joined(decrypted(stream, self._identities)))
                else:
                    yield from plain(stream)
        except OSError as fault:
            raise OpsError(f"{self._path} can't be read: {fault.strerror or fault}.") from None

    @property
    def size_bytes(self) -> int:
        """The file's size."""
        return self._path.stat().st_size


class PlainFolder(Source):
    """A folder that pg_dump wrote in its directory format."""

    manifest = None

    def __init__(self, path: Path) -> None:
        self.title = str(path)
        self._path = path

    def check(self, advanced: Advanced) -> None:
        """Read all files to their ends, as `PlainFile` does."""
        for path in self._files():
            for _ in PlainFile(path).chunks(advanced):
                pass

    def chunks(self, advanced: Advanced = _unheard) -> Iterator[bytes]:  # noqa: ARG002 -- there is no one file
        """Yield nothing: `folder` gives all of it."""
        return iter(())

    def folder(self) -> AbstractContextManager[Path]:
        """Give the folder itself."""
        return nullcontext(self._path)

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(path.stat().st_size for path in self._files())

    def _files(self) -> list[Path]:
        return sorted(path for path in self._path.iterdir() if path.is_file())


def _none_in(store: Store, names: Sequence[str]) -> OpsError:
    if names:
        return OpsError(
            f"Nothing in {store.title} is what `{LATEST}` means: it is rows that prune has deleted, or "
            "damaged.",
            hint="Name what you mean: `umami-ops backup list` shows all.",
        )
    return OpsError(f"There is no backup in {store.title}.", hint="`umami-ops backup` makes one.")


def find(store: Store, typed: str, identities: Sequence[Any] = (), origin: Origin | None = None) -> Source:
    """Return the backup of that name, the newest for `latest`, or the file or folder of a dump at that path.

    `origin` is whose newest is meant. Raises UsageFault for what is none of them, or when it can't be told
    whose newest is meant; OpsError where there is no newest.
    """
    names = store.names()
    if typed == LATEST:
        found = newest(store, names, origin)
        if found is None:
            store.require_there()
            raise _none_in(store, names)
        return StoredBackup(store, found, identities)
    if typed in names:
        return StoredBackup(store, typed, identities)
    path = Path(typed).expanduser()
    if path.is_dir() and (path / SEAL).is_file():
        from umami_ops.archive.store import FolderStore

        return StoredBackup(FolderStore(path.parent), path.name, identities)
    if (path / _PG_DUMP_LIST).is_file():
        return PlainFolder(path)
    if path.is_file():
        return PlainFile(path, identities)
    raise UsageFault(
        f"{typed!r} is neither a backup in {store.title} nor a file, nor a folder of pg_dump.",
        hint="`umami-ops backup list` shows the names; --store names another place.",
    )


def newest(store: Store, names: Sequence[str], origin: Origin | None = None) -> str | None:
    """Return the newest backup whose manifest can be read; what a prune has archived is none.

    Where it has some of this origin, the newest of those. Raises UsageFault where it has none, and those of
    several others.
    """
    known = []
    for name in names:
        try:
            found = manifests.read(store, name)
        except OpsError:
            continue
        if found.kind != manifests.PRUNED:
            known.append(found)
    own = [each for each in known if each.origin == origin] or known
    if len({each.origin for each in own}) > 1:
        databases = ", ".join(sorted({str(each.origin) for each in own}))
        raise UsageFault(
            f"{store.title} has backups of several databases ({databases})"
            + (f" and none of {origin}." if origin else "."),
            hint="Name the backup: `umami-ops backup list` shows them.",
        )
    return max((each.created_at, each.name) for each in own)[1] if own else None
