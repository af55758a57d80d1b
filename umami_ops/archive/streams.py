"""Bytes on their way into a backup and out of it: compressed by zstd, encrypted by age, hashed as they lie.

Writers are chained: what is written is compressed, then encrypted, then hashed and stored. Reading goes the
other way. Everything is passed on in pieces; nothing is held whole.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from umami_ops.archive.manifest import FileFacts
from umami_ops.archive.store import Writer
from umami_ops.errors import CUT_SHORT, Damaged, OpsError, Refused, UsageFault

ZSTD, AGE = ".zst", ".age"
_SECRET, _SSH = "AGE-SECRET-KEY-", b"-----BEGIN "
_LEVEL = 3
_CHUNK_BYTES = 1 << 18
_HEAD_BYTES = 4096
_ZSTD_MAGIC, _GZIP_MAGIC = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most so many bytes, none at the end."""


class Told:
    """A stream whose reading somebody hears of."""

    def __init__(self, source: Readable, advanced: Callable[[int], None]) -> None:
        self._source = source
        self._advanced = advanced

    def read(self, size: int = -1, /) -> bytes:
        """Return at most so many bytes, having told how many."""
        data = self._source.read(size)
        self._advanced(len(data))
        return data


class Hashing:
    """The last of a chain: hashes and counts what is stored."""

    def __init__(self, name: str, target: Writer) -> None:
        self._name = name
        self._target = target
        self._digest = hashlib.sha256()
        self._size_bytes = 0

    def write(self, data: bytes) -> int:
        """Store some bytes."""
        self._digest.update(data)
        self._size_bytes += len(data)
        self._target.write(data)
        return len(data)

    def close(self) -> None:
        """Make them last."""
        self._target.close()

    def flush(self) -> None:
        """Do nothing: whoever writes through this asks for it."""

    @property
    def facts(self) -> FileFacts:
        """What was stored."""
        return FileFacts(self._name, self._size_bytes, self._digest.hexdigest())


class Compressing:
    """Compresses by zstd, with a checksum of its own at the end, on `threads` threads."""

    def __init__(self, target: Writer, threads: int = 2) -> None:
        self._target = target
        self._frame = (
            _zstandard().ZstdCompressor(level=_LEVEL, threads=threads, write_checksum=True).compressobj()
        )

    def write(self, data: bytes) -> int:
        """Take some bytes."""
        if packed := self._frame.compress(data):
            self._target.write(packed)
        return len(data)

    def close(self) -> None:
        """Write the frame's end."""
        self._target.write(self._frame.flush())
        self._target.close()


class Encrypting:
    """Encrypts to age recipients, in a thread that reads what is written here from a pipe."""

    def __init__(self, target: Writer, recipients: Sequence[str]) -> None:
        keys = parse_recipients(recipients)
        reader, writer = os.pipe()
        self._pipe = os.fdopen(writer, "wb", buffering=_CHUNK_BYTES)
        self._target = target
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(os.fdopen(reader, "rb"), keys), daemon=True)
        self._thread.start()

    def _run(self, source: BinaryIO, keys: Sequence[Any]) -> None:
        try:
            with source:
                _pyrage().encrypt_io(source, self._target, keys)
        except BaseException as fault:  # noqa: BLE001 -- handed to the thread that closes
            self._fault = fault

    def write(self, data: bytes) -> int:
        """Take some bytes."""
        try:
            return self._pipe.write(data)
        except OSError:
            self._finish()
            raise

    def close(self) -> None:
        """Wait for the end of the encryption."""
        with suppress(BrokenPipeError):
            self._pipe.close()
        self._finish()
        self._target.close()

    def _finish(self) -> None:
        self._thread.join()
        if isinstance(self._fault, OpsError):
            raise self._fault
        if self._fault is not None:
            raise OpsError(f"The backup could not be encrypted: {self._fault}.")


def parse_recipients(texts: Sequence[str]) -> list[Any]:
    """Return age recipients. Raises UsageFault for what isn't one; the text is no secret."""
    pyrage = _pyrage()
    keys = []
    for text in texts:
        kind = pyrage.ssh if text.startswith("ssh-") else pyrage.x25519
        if text.upper().startswith(_SECRET):
            raise UsageFault(
                "--encrypt-to takes a public key (age1…), and this is a secret one.",
                hint="`age-keygen -y KEYFILE` prints the public key.",
            )
        try:
            keys.append(kind.Recipient.from_str(text))
        except (pyrage.RecipientError, ValueError):
            raise UsageFault(
                f"--encrypt-to {text!r} is no public key of age.",
                hint="It begins with age1; `age-keygen -y KEYFILE` prints it.",
            ) from None
    return keys


def read_identities(files: Sequence[Path]) -> list[Any]:
    """Return the secret keys in key files: of age, as age-keygen writes them, or of ssh without a passphrase.

    Raises OpsError for a file that can't be read, UsageFault for one that holds no key.
    """
    keys: list[Any] = []
    for file in files:
        if file.name.upper().startswith(_SECRET):
            raise UsageFault(
                "--identity takes the file that holds the key, and this is the key itself.",
                hint="Write it into a file that only you can read: --identity FILE",
            )
        try:
            content = file.read_bytes()
        except OSError as fault:
            raise OpsError(
                f"The key file {file} can't be read: {fault.strerror}.",
                hint="Name the right key file: --identity FILE",
                done="Nothing was changed.",
            ) from None
        found = _keys_in(content)
        if not found:
            raise UsageFault(
                f"{file} holds no secret key of age, nor one of ssh without a passphrase.",
                hint="age-keygen -o FILE makes one.",
            )
        keys += found
    return keys


def _keys_in(content: bytes) -> list[Any]:
    """Return the secret keys in a key file; none where one of them is damaged or locked."""
    pyrage = _pyrage()
    lines = (line.strip() for line in content.decode("utf-8", "replace").splitlines())
    try:
        if content.startswith(_SSH):
            return [pyrage.ssh.Identity.from_buffer(content)]
        return [pyrage.x25519.Identity.from_str(line) for line in lines if line.upper().startswith(_SECRET)]
    except (pyrage.IdentityError, ValueError):
        return []


def require_key(identities: Sequence[Any], recipients: Sequence[str] = ()) -> None:
    """Raise Refused where no key opens what is encrypted to recipients, as far as that can be told."""
    if not identities:
        raise Refused(
            "This backup is encrypted.",
            hint="Name the key file: --identity FILE",
            done="Nothing was changed.",
        )
    if recipients and not may_open(identities, recipients):
        raise Refused(
            f"This backup is encrypted to {', '.join(recipients)}, and the key is another one.",
            hint="Name the key file that has this public key: --identity FILE",
            done="Nothing was changed.",
        )


def may_open(identities: Sequence[Any], recipients: Sequence[str]) -> bool:
    """Say whether one of the keys belongs to one of the recipients; an ssh key doesn't say whose it is."""
    own = [str(key.to_public()) if hasattr(key, "to_public") else None for key in identities]
    return None in own or not {text.strip().lower() for text in recipients}.isdisjoint(own)


def decrypted(source: Readable, identities: Sequence[Any]) -> Iterator[bytes]:
    """Yield what an age file holds. Raises Refused when none of the keys opens it, or it is damaged."""
    pyrage = _pyrage()
    require_key(identities)
    reader, writer = os.pipe()
    faults: list[BaseException] = []

    def run() -> None:
        try:
            with os.fdopen(writer, "wb") as target:
                pyrage.decrypt_io(source, target, identities)
        except BaseException as fault:  # noqa: BLE001 -- raised where it is read
            faults.append(fault)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        with os.fdopen(reader, "rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk
    finally:
        thread.join()
    if faults:
        raise Refused(
            "The backup can't be decrypted: the key is another one, or the file is damaged.",
            hint="Name the right key file: --identity FILE",
            done="Nothing was changed.",
        ) from None


def pieces(source: Readable) -> Iterator[bytes]:
    """Yield a stream in pieces."""
    while chunk := source.read(_CHUNK_BYTES):
        yield chunk


def decompressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what zstd frames hold. Raises Damaged for damaged and for truncated ones."""
    zstandard = _zstandard()
    frame = None
    try:
        for chunk in chunks:
            while chunk:
                frame = frame or zstandard.ZstdDecompressor().decompressobj()
                if data := frame.decompress(chunk):
                    yield data
                chunk = frame.unused_data if frame.eof else b""
                if frame.eof:
                    frame = None
    except zstandard.ZstdError as fault:
        raise _damaged(f"damaged: {fault}") from None
    if frame is not None:
        raise _damaged("cut short")


def _damaged(how: str) -> Damaged:
    return Damaged(
        f"The compressed data are {how}.",
        hint=CUT_SHORT,
        done="Nothing was changed.",
    )


def plain(source: Readable) -> Iterator[bytes]:
    """Yield a file's content, whether it is compressed by zstd, by gzip, or not at all."""
    head = source.read(_HEAD_BYTES)  # one piece, by which its reader knows what it is
    chunks = _after(head, source)
    if head.startswith(_ZSTD_MAGIC):
        return decompressed(chunks)
    if head[:2] == _GZIP_MAGIC:
        return _gunzipped(chunks)
    return chunks


def _after(head: bytes, source: Readable) -> Iterator[bytes]:
    if head:
        yield head
    yield from pieces(source)


def _gunzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    import zlib

    member = None
    try:
        for chunk in chunks:
            while chunk:
                member = member or zlib.decompressobj(wbits=31)
                if data := member.decompress(chunk):
                    yield data
                chunk = member.unused_data if member.eof else b""
                if member.eof:
                    member = None
    except zlib.error as fault:
        raise _damaged(f"damaged: {fault}") from None
    if member is not None:
        raise _damaged("cut short")


class Joined:
    """Pieces as something to `read` from."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most so many bytes, fewer only at the end."""
        while size < 0 or len(self._rest) < size:
            piece = next(self._chunks, None)
            if piece is None:
                break
            self._rest += piece
        end = len(self._rest) if size < 0 else size
        data, self._rest = self._rest[:end], self._rest[end:]
        return data


def _zstandard() -> Any:
    import zstandard

    return zstandard


def _pyrage() -> Any:
    try:
        import pyrage
    except ImportError:
        raise OpsError(
            "Encryption needs the library pyrage.", hint="pip install 'umami-ops[encrypt]'"
        ) from None
    return pyrage
