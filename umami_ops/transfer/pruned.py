"""What prune deletes, on its way into a portable backup: piece by piece, each whole before its rows are gone.

While a prune is at work, and after one that was killed, its store has a folder `NAME.unfinished`:

    manifest.json, schema.json          what the rows are rows of
    website_event.000017.4711.csv.zst   the 4,711 rows of a table that one batch deleted

A piece is written and synced inside the batch's transaction, before the commit: what is gone is in one.
`complete` joins the pieces of each table; what comes of it is a backup like others (`transfer/portable.py`).
"""

from __future__ import annotations

import hashlib
import io
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, cast
from urllib.parse import quote, unquote

from umami_ops.archive.manifest import MANIFEST, FileFacts, Manifest, Origin, TableFacts, seal
from umami_ops.archive.store import UNFINISHED, Store
from umami_ops.archive.streams import ZSTD, Compressing, Hashing, Joined, decompressed
from umami_ops.databases.base import Connection
from umami_ops.databases.lines import lines, values
from umami_ops.errors import Refused, TransientFault
from umami_ops.rows import Rows
from umami_ops.sql import Query
from umami_ops.transfer.portable import ARCHIVE, SCHEMA, Head, Packed
from umami_ops.transfer.schema import rows_of

_PIECE = re.compile(rf"(.+)\.(\d{{6,}})\.(\d+)\.csv\{ZSTD}")
#: Where a batch leaves the rows that it deletes: sql/*/prune.sql.
_KEPT = "umami_ops_kept_"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class _Piece:
    """The rows of a table that one batch deleted, compressed."""

    table: str
    file: str
    content: bytes

    def keys(self, places: Sequence[int]) -> set[tuple[str | None, ...]]:
        """Return the values in these places of each row."""
        found = (values(line) for line in lines(decompressed([self.content])))
        return {tuple(row[place] for place in places) for row in found}


class PrunedRows:
    """An archive that grows while a prune is at work; its methods may be called by several threads."""

    def __init__(self, store: Store, manifest: Manifest, head: Head) -> None:
        self._store = store
        self._manifest = manifest
        self._head = head
        self._rows = {table.name: _as_kept(rows_of(table, head.side)) for table in head.tables}
        self._tables = {table.name: table for table in head.tables}
        self._own = threading.local()
        self._begun = manifest.name + UNFINISHED
        self._number = 0
        self._mutex = threading.Lock()
        self._began = time.monotonic()
        store.begin(self._begun)
        store.note(self._begun, MANIFEST, manifest.to_bytes())
        store.note(self._begun, SCHEMA, head.to_bytes())

    @property
    def place(self) -> str:
        """Where the pieces are until the archive is complete, for people."""
        return self._store.path_of(self._begun, "")

    def keep(self, connection: Connection, deleted: Mapping[str, int]) -> None:
        """Write down what a batch has deleted in its open transaction, which may be committed then.

        Raises TransientFault where other rows went than were left for the archive.
        """
        pieces = [
            (table, count, self._read(connection, table, count)) for table, count in deleted.items() if count
        ]
        with self._mutex:
            self._number += 1
            number = self._number
        written = [
            _Piece(table, f"{quote(table, safe='')}.{number:06}.{count}.csv{ZSTD}", content)
            for table, count, content in pieces
        ]
        for piece in written:
            self._store.note(self._begun, piece.file, piece.content)
        self._forget_what_was_rolled_back(written)
        self._own.unsettled = written

    def settle(self) -> None:
        """Hear that what this thread wrote last is gone from the database."""
        self._own.unsettled = []

    def _forget_what_was_rolled_back(self, written: Sequence[_Piece]) -> None:
        """Delete this thread's last pieces if their commit failed: their rows went once more just now.

        A connection that breaks in a commit leaves that open. Pieces whose rows didn't come again stay.
        """
        before: list[_Piece] = getattr(self._own, "unsettled", [])
        again = {piece.table: piece for piece in written}
        if any(self._share_rows(piece, again[piece.table]) for piece in before if piece.table in again):
            self._store.discard(self._begun, [piece.file for piece in before])

    def _share_rows(self, one: _Piece, other: _Piece) -> bool:
        rows, table = self._rows[one.table], self._tables[one.table]
        assert table.primary_key is not None, "all of Umami's tables have one"
        places = [rows.names.index(name) for name in table.primary_key.columns]
        return not one.keys(places).isdisjoint(other.keys(places))

    def _read(self, connection: Connection, table: str, count: int) -> bytes:
        """Return the rows that were left, compressed, and empty the place for the next batch."""
        rows = self._rows[table]
        held = _Held()
        writer = Compressing(held, threads=0)
        reading = connection.transit().read(rows)
        for piece in reading:
            writer.write(piece)
        writer.close()
        if reading.rows != count:
            raise TransientFault(f"rows of {table} changed under a batch")
        connection.run(Query("prune.forget", "", f"DELETE FROM {connection.dialect.quote(rows.table)}"))  # noqa: S608
        return held.getvalue()

    def complete(self) -> Manifest | None:
        """Make the archive of the pieces; returns None where nothing was deleted."""
        took = replace(self._manifest, seconds=round(time.monotonic() - self._began, 3))
        return _join(self._store, self._begun, took, self._head)


def complete(store: Store, name: str, origin: Origin | None = None) -> Manifest | None:
    """Complete an archive whose prune was killed.

    Returns None where it has no rows, and where its rows are of another origin.
    """
    begun = name + UNFINISHED
    files = store.files(begun)
    if origin is not None and (MANIFEST not in files or _manifest(store, begun).origin != origin):
        return None  # somebody else's, who may be at work
    if not any(_PIECE.fullmatch(file) for file in files):
        store.discard(begun, list(files))
        return None
    return _join(store, begun, _manifest(store, begun), Head.parse(store.read(begun, SCHEMA)))


def _manifest(store: Store, begun: str) -> Manifest:
    try:
        return Manifest.parse(store.read(begun, MANIFEST))
    except ValueError:
        raise Refused(f"{store.path_of(begun, MANIFEST)} can't be understood.") from None


def _join(store: Store, begun: str, manifest: Manifest, head: Head) -> Manifest | None:
    """Write the archive, and only then take the pieces away: those that are in it."""
    found = sorted(store.files(begun))
    pieces: dict[str, list[str]] = {}
    rows: dict[str, int] = {}
    for file in found:
        if match := _PIECE.fullmatch(file):
            table = unquote(match[1])
            pieces.setdefault(table, []).append(file)
            rows[table] = rows.get(table, 0) + int(match[3])
    if not pieces:
        store.discard(begun, found)
        return None
    tables = tuple(table for table in head.tables if table.name in pieces)
    if len(tables) != len(pieces):
        raise Refused(f"{store.path_of(begun, SCHEMA)} doesn't know all tables that there are pieces of.")
    files = [
        (
            _facts(store, begun, table.name, pieces[table.name]),
            cast(IO[bytes], _Joined(store, begun, pieces[table.name])),
        )
        for table in tables
    ]
    packed = Packed(replace(head, tables=tables), {}, sorted(files, key=lambda each: -each[0].size_bytes))
    manifest = replace(
        manifest,
        name=store.free_name(manifest.name),
        tables=tuple(TableFacts(table.name, rows[table.name]) for table in tables),
        files=tuple(facts for facts, _ in packed.files),
    )
    with store.draft(manifest.name) as draft:
        stored = Hashing(ARCHIVE, draft.create(ARCHIVE))
        packed.assemble(manifest, stored)
        manifest = replace(manifest, files=(stored.facts,))
        seal(draft, manifest)
    store.discard(begun, found)
    return manifest


def _facts(store: Store, begun: str, table: str, pieces: Sequence[str]) -> FileFacts:
    digest = hashlib.sha256()
    size_bytes = 0
    for chunk in _chunks(store, begun, pieces):
        digest.update(chunk)
        size_bytes += len(chunk)
    return FileFacts(f"{quote(table, safe='')}.csv{ZSTD}", size_bytes, digest.hexdigest())


def _chunks(store: Store, begun: str, pieces: Sequence[str]) -> Iterator[bytes]:
    for piece in pieces:
        with store.open(begun, piece) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk


class _Joined:
    """Pieces as one file, read from its beginning."""

    def __init__(self, store: Store, begun: str, pieces: Sequence[str]) -> None:
        self._store = store
        self._begun = begun
        self._pieces = pieces

    def seek(self, _offset: int) -> None:
        """Begin anew."""
        self._stream = Joined(_chunks(self._store, self._begun, self._pieces))

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        return self._stream.read(size)


class _Held(io.BytesIO):
    """Bytes in memory that are still there when their writer is done."""

    def close(self) -> None:
        """Keep them."""


def _as_kept(rows: Rows) -> Rows:
    return replace(rows, table=_KEPT + rows.table, key=None)
