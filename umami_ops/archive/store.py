"""A place for backups: what is asked of it, and the one that is a folder of this machine.

A backup is a folder of files under its own name. It counts from the moment at which it is complete: in a
folder by a rename, in a bucket by the last file. What was begun and never completed is nobody's backup.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from umami_ops.errors import OpsError, Refused

#: Names of backups: what a person may type without quotes, and no path.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
#: The file that is written last, and without which a folder is no backup.
SEAL = "SHA256SUMS"

#: The end of a folder's name in which an archive's pieces are put together.
UNFINISHED = ".unfinished"

_PARTIAL = ".partial"
_ANOTHER = "Name another place: a folder that this user may write into, or s3://bucket/prefix."
#: How we name backups, by the moment at which they began, and what stands in one.
_OURS = re.compile(r".+-\d{8}T\d{6}Z(-\d+)?")
_OF_OURS = re.compile(
    r"(database\.(dump|sql|tar)|toc\.dat|\d+\.dat)(\.zst|\.gz)?(\.age)?|manifest\.json|verified\.json"
)


class Writer(Protocol):
    """What takes bytes until it is closed; `close` raises what went wrong."""

    def write(self, data: bytes, /) -> object:
        """Take some bytes."""

    def close(self) -> None:
        """Make them last."""


class Draft(ABC):
    """A backup while it is being written."""

    @abstractmethod
    def create(self, file: str) -> Writer:
        """Begin a file; several may be open at once."""

    @property
    @abstractmethod
    def spool(self) -> Path | None:
        """A folder for files that will be copied into the backup; None where the system's own serves."""


class Store(ABC):
    """Where backups are kept. Raises OpsError with the place and the cause by every method."""

    @property
    @abstractmethod
    def title(self) -> str:
        """The place, for people; never a secret."""

    def require_there(self) -> None:
        """Raise OpsError where the place doesn't exist: a name mistyped is no empty store."""
        return

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of all complete backups, sorted; folders without a seal are not among them."""

    @abstractmethod
    def begun(self) -> list[str]:
        """Return the names of all folders without a seal, sorted; drafts are not among them."""

    @abstractmethod
    def files(self, name: str) -> Mapping[str, int]:
        """Return the files of a backup with their sizes in bytes."""

    @abstractmethod
    def open(self, name: str, file: str) -> BinaryIO:
        """Open a file of a backup to read it."""

    @abstractmethod
    def begin(self, name: str) -> None:
        """Make a folder that `note` fills, and that is no backup."""

    @abstractmethod
    def note(self, name: str, file: str, content: bytes) -> None:
        """Put a small file into a folder, whole or not at all; it lasts when this returns."""

    @abstractmethod
    def discard(self, name: str, files: Sequence[str]) -> None:
        """Delete these files of a folder without a seal, and the folder if nothing else is in it."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Delete a backup, its seal first, so that it isn't taken for one while it goes."""

    @abstractmethod
    def draft(self, name: str) -> AbstractContextManager[Draft]:
        """Write a backup: complete when the block ends well, gone without a trace otherwise."""

    def free_bytes(self) -> int | None:
        """Return what is free there, or None where that can't be known."""
        return None

    def unfinished(self) -> list[str]:
        """Return the names of archives that are still in pieces: their maker is at work, or was killed."""
        return [name.removesuffix(UNFINISHED) for name in self.begun() if name.endswith(UNFINISHED)]

    def abandoned(self, since: datetime) -> list[str]:
        """Return the backups that were never completed, or half removed, and that nobody has written `since`.

        A folder with any file that isn't a backup's is not ours.
        """
        return [
            name
            for name in self.begun()
            if _OURS.fullmatch(name)
            and all(_OF_OURS.fullmatch(file) for file in self.files(name))
            and self.written_at(name) < since
        ]

    @abstractmethod
    def written_at(self, name: str) -> datetime:
        """Return when a folder without a seal was written to last."""

    def free_name(self, wanted: str) -> str:
        """Return a name that no backup has: the wanted one, or that with a number."""
        taken = set(self.names())
        return next(
            name for name in (wanted, *(f"{wanted}-{n}" for n in range(2, 10_000))) if name not in taken
        )

    def read(self, name: str, file: str) -> bytes:
        """Return a small file of a backup."""
        with self.open(name, file) as stream:
            return stream.read()

    def folder_of(self, name: str) -> Path | None:  # noqa: ARG002 -- a folder's own answer
        """Return the folder on this machine that has the files of a backup, or None where there is none."""
        return None

    def path_of(self, name: str, file: str) -> str:
        """Return where a file of a backup is, for people."""
        return f"{self.title.rstrip('/')}/{name}/{file}"


class FolderStore(Store):
    """Backups in a folder: files 0600, folders 0700, all synced before the rename that completes it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def title(self) -> str:
        """The folder."""
        return str(self._folder)

    def require_there(self) -> None:
        """Look for the folder."""
        with _told(self._folder):
            is_there, is_file = self._folder.is_dir(), self._folder.is_file()
        if is_file:
            raise OpsError(f"{self._folder} is a file, and no folder of backups.", hint=_ANOTHER)
        if not is_there:
            raise OpsError(
                f"There is no folder {self._folder}, so there is no backup in it.",
                hint="`umami-ops backup` makes it; --store or UMAMI_OPS_STORE names another place.",
            )

    def names(self) -> list[str]:
        """Return the folders that have a seal."""
        return [name for name in self._folders() if (self._folder / name / SEAL).is_file()]

    def begun(self) -> list[str]:
        """Return the folders that have none."""
        return [name for name in self._folders() if not (self._folder / name / SEAL).is_file()]

    def _folders(self) -> list[str]:
        with _told(self._folder):
            if not self._folder.is_dir():
                return []
            return sorted(
                entry.name
                for entry in self._folder.iterdir()
                if NAME.fullmatch(entry.name) and entry.is_dir()
            )

    def files(self, name: str) -> Mapping[str, int]:
        """Return the files of a backup."""
        with _told(self._folder / name):
            return {
                entry.name: entry.stat().st_size
                for entry in sorted((self._folder / name).iterdir())
                if entry.is_file()
            }

    def written_at(self, name: str) -> datetime:
        """Return the newest of the times of the folder and its files."""
        folder = self._folder / name
        with _told(folder):
            newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
        return datetime.fromtimestamp(newest, UTC)

    def open(self, name: str, file: str) -> BinaryIO:
        """Open a file."""
        with _told(self._folder / name / file):
            return (self._folder / name / file).open("rb")

    def begin(self, name: str) -> None:
        """Make the folder, and make it last."""
        with _told(self._folder / name):
            self._make_folder()
            (self._folder / name).mkdir(mode=0o700)
            _sync(self._folder)

    def discard(self, name: str, files: Sequence[str]) -> None:
        """Delete them one by one."""
        folder = self._folder / name
        with _told(folder):
            for file in files:
                (folder / file).unlink(missing_ok=True)
            if not any(folder.iterdir()):
                folder.rmdir()

    def note(self, name: str, file: str, content: bytes) -> None:
        """Write beside, sync, rename."""
        folder = self._folder / name
        with _told(folder / file):
            beside = folder / f".{file}{_PARTIAL}"
            beside.unlink(missing_ok=True)
            writer = _FileWriter(beside)
            writer.write(content)
            writer.close()
            beside.rename(folder / file)
            _sync(folder)

    def remove(self, name: str) -> None:
        """Take the seal off, then delete the folder."""
        folder = self._folder / name
        with _told(folder):
            (folder / SEAL).unlink(missing_ok=True)
            _sync(folder)
            shutil.rmtree(folder)

    @contextmanager
    def draft(self, name: str) -> Iterator[Draft]:
        """Write into a hidden folder, which is renamed at the end."""
        partial = self._folder / f".{name}{_PARTIAL}"
        with _told(self._folder):
            self._make_folder()
            self._clear_away()
            if (self._folder / name).exists():
                raise Refused(f"{self._folder / name} is there already.", done="Nothing was written.")
            self._begin_writing(partial)
            lock = os.open(partial, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            draft = _FolderDraft(partial)
            yield draft
            with _told(partial):
                draft.finish()
                partial.rename(self._folder / name)
                _sync(self._folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            os.close(lock)

    def folder_of(self, name: str) -> Path | None:
        """Return its folder."""
        return self._folder / name

    def free_bytes(self) -> int | None:
        """Return what is free on the folder's disk."""
        with _told(self._folder):
            nearest = next(
                (place for place in (self._folder, *self._folder.absolute().parents) if place.exists()), None
            )
            return shutil.disk_usage(nearest).free if nearest else None

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as fault:
            why = "it is a file" if self._folder.is_file() else fault.strerror or str(fault)
            raise OpsError(
                f"The folder {self._folder} can't be made: {why}.",
                hint=_ANOTHER,
                done="Nothing was written.",
            ) from None

    def _begin_writing(self, partial: Path) -> None:
        try:
            partial.mkdir(mode=0o700)
        except OSError as fault:
            raise OpsError(
                f"The folder {self._folder} can't be written into: {fault.strerror or fault}.",
                hint=_ANOTHER,
                done="Nothing was written.",
            ) from None

    def _clear_away(self) -> None:
        """Delete what killed runs left; a folder that its run still holds is locked."""
        for left in self._folder.glob(f".*{_PARTIAL}"):
            with suppress(OSError):
                lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(left)
                finally:
                    os.close(lock)


class _FolderDraft(Draft):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, file: str) -> Writer:
        """Begin a file that its owner alone may read."""
        return _FileWriter(self._folder / file)

    @property
    def spool(self) -> Path | None:
        """The same disk, so that the estimate of space holds; it goes with the draft."""
        return self._folder

    def finish(self) -> None:
        """Sync the folder's own entries."""
        _sync(self._folder)


class _FileWriter:
    """A new file, 0600 whatever the umask, synced when closed."""

    def __init__(self, path: Path) -> None:
        with _told(path):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._stream = os.fdopen(handle, "wb", buffering=0)
        self._path = path

    def write(self, data: bytes) -> int:
        """Write all of it; an unbuffered file may take a part."""
        view = memoryview(data)
        with _told(self._path):
            while view:
                view = view[self._stream.write(view) :]
        return len(data)

    def close(self) -> None:
        """Sync and close."""
        with _told(self._path):
            try:
                os.fsync(self._stream.fileno())
            finally:
                self._stream.close()


@contextmanager
def _told(place: Path) -> Iterator[None]:
    """Turn the system's errors into a sentence."""
    try:
        yield
    except FileNotFoundError:
        raise OpsError(f"{place} is not there.") from None
    except PermissionError as fault:
        raise OpsError(
            f"{fault.filename or place} is closed to this user: {fault.strerror or fault}.",
            hint="Run it as the user whose backups they are, or name another place by --store.",
        ) from None
    except OSError as fault:
        raise OpsError(
            f"{fault.filename or place} can't be read or written: {fault.strerror or fault}."
        ) from None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
