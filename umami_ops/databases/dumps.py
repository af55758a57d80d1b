"""What may be asked of a server's own dump programs: to write a dump, and to bring one back.

Whoever asks knows no dialect: `postgresql/dumps.py` and `mysql/dumps.py` answer. A dump is a stream of bytes;
where they are kept, compressed or encrypted, is nobody's business here.
"""

from __future__ import annotations

import fcntl
import io
import os
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from umami_ops.databases.programs import begun
from umami_ops.errors import OpsError

_CHUNK_BYTES = 1 << 18
#: As much as Linux lets anybody have.
_PIPE_BYTES = 1 << 20
_ENDS_SECONDS = 10

#: A session of the dialect's own.
Session = TypeVar("Session")

#: Looks at what was restored before it takes the place of anything, on the session that restored it:
#: table → the name under which it is now; with none, those that the manifest names are where they belong.
Check = Callable[[Any, Mapping[str, str]], None]


@dataclass(frozen=True)
class Wanted:
    """What of a backup is to be restored, and what it takes the place of.

    `tables` are the only ones that are wanted, all where it is None; `replaced` are those there are now
    that give way. `schema` is the one that the dump's tables stand in, where the server has such a thing;
    `level` is Umami's, at which they must be, where others stay.

    With `adds` rows join those that the tables have; those of these `websites` alone, where any are named.
    Then `replaced` are the tables in which the rows of these websites give way.
    """

    tables: tuple[str, ...] | None = None
    replaced: tuple[str, ...] = ()
    schema: str = ""
    level: int | None = None
    adds: bool = False
    websites: tuple[str, ...] = ()

    def has(self, table: str) -> bool:
        """Say whether this table of the backup is wanted."""
        return self.tables is None or table in self.tables


class DumpPrograms(ABC, Generic[Session]):
    """The programs that belong to one server: found, and new enough for it."""

    #: The file that a dump is kept in, before compression.
    file: str
    #: The program and its version, for people.
    title: str
    #: Dumps of several tables side by side, where `Features.dumps_side_by_side`.
    folders: FolderDumps[Session] | None = None

    @abstractmethod
    def dump(self, connection: Session, tables: Sequence[str]) -> AbstractContextManager[Iterator[bytes]]:
        """Write these tables of the connection's schema.

        Inside the block the connection is in a read-only transaction at the very moment of the dump. The
        iterator ends when the dump is whole; it raises DatabaseFault when a program fails or the dump lacks
        its end. Leaving the block early ends the programs.
        """

    @abstractmethod
    def restore(
        self, connection: Session, chunks: Iterable[bytes], wanted: Wanted, check: Check
    ) -> list[str]:
        """Bring a dump back; returns sentences about what a person should know.

        What is replaced stays in its place until the dump is loaded and `check` has passed; a failure, or a
        kill, leaves it as it was. Locks: the replaced tables, for the moment of the swap.
        """

    @abstractmethod
    def recognises(self, head: bytes) -> bool:
        """Say whether these first bytes are those of a dump for this server."""


class FolderDumps(ABC, Generic[Session]):
    """Dumps that are a folder of files, a table each, which several sessions write and read side by side."""

    @abstractmethod
    def dump(
        self, connection: Session, tables: Sequence[str], folder: Path, jobs: int
    ) -> AbstractContextManager[Iterator[int]]:
        """Write these tables into a folder that isn't there yet, `jobs` of them at once.

        As `DumpPrograms.dump`; the iterator yields how many bytes have come since the last time.
        """

    @abstractmethod
    def stream(
        self, connection: Session, folder: Path, wanted: Wanted
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Yield the tables in such a folder as the dump that `DumpPrograms.restore` takes."""

    @abstractmethod
    def restore(self, connection: Session, folder: Path, jobs: int, wanted: Wanted, check: Check) -> None:
        """Load `jobs` tables at once, into a database that has none of them; `wanted` names them all.

        What fails drops what had come by then; a kill leaves it. No lock on anything that was there. Raises
        LeftBehind where it can't be dropped.
        """


@dataclass
class Child:
    """A program with its streams: its errors are kept, its secrets come by the environment or by a file."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    stdin: IO[bytes] | int | None = subprocess.DEVNULL
    stdout: IO[bytes] | int | None = subprocess.PIPE
    pass_fds: Sequence[int] = ()
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 -- closed in stop()
        self.process = begun(
            self.arguments,
            env=dict(self.environment),
            stdin=self.stdin,
            stdout=self.stdout,
            stderr=self._errors,
            pass_fds=tuple(self.pass_fds),
        )  # in a session of its own: Ctrl-C is for us to pass on
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                _widen(stream)

    @property
    def name(self) -> str:
        """The program's name."""
        return Path(self.arguments[0]).name

    def pieces(self) -> Iterator[bytes]:
        """Yield what it writes."""
        assert self.process.stdout is not None
        while chunk := self.process.stdout.read(_CHUNK_BYTES):
            yield chunk

    def feed(self, data: bytes) -> bool:
        """Write to it; False when it no longer reads, whose reason `finish` then tells."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(data)
        except OSError:
            return False
        return True

    def has_ended(self, seconds: float) -> bool:
        """Wait so long for its end."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def finish(self, fault: type[OpsError], done: str) -> None:
        """Wait for its end. Raises `fault` with what it said last unless it ended well."""
        if self.process.stdin is not None:
            with suppress(OSError):
                self.process.stdin.close()
        code = self.process.wait()
        if code:
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else "failed"
            raise fault(f"{self.name} {how}: {self.said}", done=done)

    @property
    def said(self) -> str:
        """Its last word on stderr, the error among its lines if there is one."""
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().decode(errors="replace").splitlines()]
        lines = [line for line in lines if line]
        errors = [line for line in lines if "error" in line.lower()]
        return (errors or lines or ["it said nothing"])[-1]

    def stop(self) -> None:
        """End it if it still runs, and let go of its streams."""
        if self.process.poll() is None:
            self._signal(signal.SIGTERM)
            try:
                self.process.wait(_ENDS_SECONDS)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._errors):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def _signal(self, number: signal.Signals) -> None:
        """Signal the program with whatever it has started: it may be a script around the real one."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def _widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold more, so that a program needn't wait while somebody else is at work.

    A user with many pipes, as root on a machine full of containers has them, may be refused it.
    """
    if setting := getattr(fcntl, "F_SETPIPE_SZ", None):
        with suppress(OSError):
            fcntl.fcntl(pipe, setting, _PIPE_BYTES)


class Peeked:
    """Pieces of bytes, of which the first can be looked at before they are read."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.head = next(self._chunks, b"")

    def __iter__(self) -> Iterator[bytes]:
        if self.head:
            yield self.head
        yield from self._chunks

    def stream(self) -> IO[bytes]:
        """Return them as a stream of lines."""
        return io.BufferedReader(_Raw(iter(self)), _CHUNK_BYTES)


class _Raw(io.RawIOBase):
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._rest:
            piece = next(self._chunks, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
