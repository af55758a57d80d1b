"""Which store an address means: a folder of this machine, or a bucket behind the S3 protocol."""

from __future__ import annotations

from pathlib import Path

from umami_ops.archive.store import FolderStore, Store
from umami_ops.errors import UsageFault


def open_store(place: str) -> Store:
    """Return the store at a folder's path or at `s3://bucket/prefix`; reads nothing yet.

    Raises UsageFault for an address of another kind.
    """
    if place.startswith("s3://"):
        from umami_ops.archive.bucket import BucketStore

        return BucketStore(place)
    if "://" in place:
        raise UsageFault(
            f"--store: {place.partition('://')[0]}:// is not known.",
            hint="Name a folder, or s3://bucket/prefix.",
        )
    return FolderStore(Path(place).expanduser())
