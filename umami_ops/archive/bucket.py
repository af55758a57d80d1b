"""A bucket behind the S3 protocol, by obstore: the one module that names it.

Credentials, region and endpoint come from the AWS variables (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_REGION, AWS_ENDPOINT_URL …) or from the machine's role, never from the address. There is no rename here: a
backup counts once its seal, the last file, is there.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from umami_ops.archive.store import NAME, SEAL, Draft, Store, Writer
from umami_ops.errors import OpsError, Refused, UsageFault

_PART_BYTES = 8 << 20
_TIMEOUT = "30s"
#: What a server of S3 answers → what it means.
_CODES = {
    "NoSuchBucket": "there is no such bucket.",
    "AccessDenied": "the keys don't allow it.",
    "InvalidAccessKeyId": "the server doesn't know the key in AWS_ACCESS_KEY_ID.",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY doesn't belong to AWS_ACCESS_KEY_ID.",
}


class BucketStore(Store):
    """Backups below a prefix of a bucket."""

    def __init__(self, address: str) -> None:
        bucket, _, prefix = address.removeprefix("s3://").partition("/")
        if not bucket or "@" in bucket:
            raise UsageFault(
                f"--store: {'s3://…' if '@' in bucket else address} names no bucket.",
                hint="Write s3://bucket/prefix; keys go into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            )
        self._title = f"s3://{bucket}/{prefix.strip('/')}".rstrip("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._obstore = _obstore()
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        with self._told():
            self._bucket = self._obstore.store.S3Store(
                bucket,
                **({"endpoint": endpoint} if endpoint else {}),
                client_options={
                    "allow_http": bool(endpoint and endpoint.startswith("http://")),
                    "connect_timeout": _TIMEOUT,
                    "timeout": "10m",
                },
                retry_config={"max_retries": 3},
            )

    @property
    def title(self) -> str:
        """The address."""
        return self._title

    def names(self) -> list[str]:
        """Return the prefixes that have a seal."""
        return [name for name in self._folders() if SEAL in self.files(name)]

    def begun(self) -> list[str]:
        """Return the prefixes that have none."""
        return [name for name in self._folders() if SEAL not in self.files(name)]

    def _folders(self) -> list[str]:
        with self._told():
            found = self._obstore.list_with_delimiter(self._bucket, self._prefix or None)
            folders = [path.removeprefix(self._prefix).strip("/") for path in found["common_prefixes"]]
            return sorted(name for name in folders if NAME.fullmatch(name))

    def files(self, name: str) -> Mapping[str, int]:
        """Return the files of a backup."""
        return {entry["path"].rpartition("/")[2]: entry["size"] for entry in self._objects(name)}

    def written_at(self, name: str) -> datetime:
        """Return the time of the newest object."""
        times = [entry["last_modified"] for entry in self._objects(name)]
        return max(times, default=datetime.now(UTC))  # somebody else has just deleted them

    def _objects(self, name: str) -> Sequence[Mapping[str, Any]]:
        with self._told():
            found = self._obstore.list_with_delimiter(self._bucket, f"{self._prefix}{name}/")
            return cast(Sequence[Mapping[str, Any]], found["objects"])

    def open(self, name: str, file: str) -> BinaryIO:
        """Open an object."""
        with self._told():
            reader = self._obstore.open_reader(self._bucket, self._key(name, file), buffer_size=_PART_BYTES)
            return cast(BinaryIO, io.BufferedReader(_Reader(reader, self), 1 << 20))

    def begin(self, name: str) -> None:
        """Do nothing: a prefix is there with its first object."""

    def discard(self, name: str, files: Sequence[str]) -> None:
        """Delete them one by one."""
        with self._told():
            for file in files:
                self._obstore.delete(self._bucket, self._key(name, file))

    def note(self, name: str, file: str, content: bytes) -> None:
        """Put an object."""
        with self._told():
            self._obstore.put(self._bucket, self._key(name, file), content)

    def remove(self, name: str) -> None:
        """Delete the seal, then the rest."""
        with self._told():
            self._obstore.delete(self._bucket, self._key(name, SEAL))
            self._delete_rest(name)

    @contextmanager
    def draft(self, name: str) -> Iterator[Draft]:
        """Write under the final names; without a seal they are no backup."""
        if self.files(name):
            raise Refused(f"{self._title}/{name} is there already.", done="Nothing was written.")
        try:
            yield _BucketDraft(self, name)
        except BaseException:
            with suppress(OpsError):
                self._delete_rest(name)
            raise

    def writer(self, name: str, file: str) -> Writer:
        """Begin an object, which is uploaded in parts and there once it is closed."""
        if file == SEAL:
            return _Put(self, name)
        with self._told():
            return _Writer(
                self._obstore.open_writer(self._bucket, self._key(name, file), buffer_size=_PART_BYTES), self
            )

    def _delete_rest(self, name: str) -> None:
        with self._told():
            for file in self.files(name):
                self._obstore.delete(self._bucket, self._key(name, file))

    def _key(self, name: str, file: str) -> str:
        return f"{self._prefix}{name}/{file}"

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn the library's errors into a sentence: what the server's code means, else their first line.

        Neither holds a secret.
        """
        try:
            yield
        except OpsError:
            raise
        except FileNotFoundError:
            raise OpsError(f"{self._title}: what is asked for is not there.") from None
        except (self._obstore.exceptions.BaseError, OSError, ValueError) as fault:
            lines = str(fault).strip().splitlines() or [type(fault).__name__]
            code = re.search(r"<Code>(\w+)</Code>", str(fault))
            raise OpsError(
                f"{self._title}: {_CODES.get(code[1] if code else '') or lines[0][:300]}",
                hint="Check the bucket, AWS_ENDPOINT_URL, AWS_REGION and the keys (AWS_ACCESS_KEY_ID …).",
            ) from None

    told = _told


class _BucketDraft(Draft):
    def __init__(self, store: BucketStore, name: str) -> None:
        self._store = store
        self._name = name

    def create(self, file: str) -> Writer:
        """Begin an object."""
        return self._store.writer(self._name, file)

    @property
    def spool(self) -> Path | None:
        """The system's own place."""
        return None


class _Writer:
    """An upload in parts."""

    def __init__(self, writer: Any, store: BucketStore) -> None:
        self._writer = writer
        self._store = store

    def write(self, data: bytes) -> int:
        """Send, part by part."""
        with self._store.told():
            self._writer.write(data)
        return len(data)

    def close(self) -> None:
        """Complete the upload."""
        with self._store.told():
            self._writer.close()


class _Put:
    """A small object, put at once."""

    def __init__(self, store: BucketStore, name: str) -> None:
        self._store = store
        self._name = name
        self._content = b""

    def write(self, data: bytes) -> int:
        """Keep it."""
        self._content += data
        return len(data)

    def close(self) -> None:
        """Put it."""
        self._store.note(self._name, SEAL, self._content)


class _Reader(io.RawIOBase):
    """The library's reader as a stream."""

    def __init__(self, reader: Any, store: BucketStore) -> None:
        self._reader = reader
        self._store = store

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        with self._store.told():
            data = bytes(self._reader.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)


def _obstore() -> Any:
    try:
        import obstore
        import obstore.store
    except ImportError:
        raise OpsError("A bucket needs the library obstore.", hint="pip install 'umami-ops[s3]'") from None
    return obstore
