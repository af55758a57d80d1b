"""The portable backup: every table as CSV that the server has written, in one archive that tar and zstd open.

    manifest.json           as beside every backup; its files are the archive's own
    schema.json             tables with columns, keys and indexes, as the catalogue has them
    website_event.csv.zst   the rows (docs/decisions/0010), one file a table

Reading and writing is done here; what becomes of the rows in another database is `execute/portable.py`.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote

from umami_ops.archive.manifest import MANIFEST, FileFacts, Manifest, TableFacts
from umami_ops.archive.store import Writer
from umami_ops.archive.streams import ZSTD, Compressing, Hashing, Joined, decompressed, pieces
from umami_ops.databases.base import Connection, Database
from umami_ops.databases.transit import Thing
from umami_ops.errors import CUT_SHORT, Damaged, DatabaseFault
from umami_ops.transfer.contents import counting, table_facts
from umami_ops.transfer.schema import Side, rows_of
from umami_ops.transfer.snapshot import Snapshot
from umami_ops.umami.schema import Column, ForeignKey, Index, PrimaryKey, Table

#: The archive's name in a backup, and the name of its description of the tables.
ARCHIVE = "database.tar"
SCHEMA = "schema.json"
_CSV = f".csv{ZSTD}"
#: What tarfile passes on at a time; by its default of 10 KB it takes twice as long.
_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class Head:
    """What the rows of an archive are rows of. `others` is what the tables had that isn't in it."""

    dialect: str
    flavour: str
    level: int | None
    tables: tuple[Table, ...]
    others: tuple[Thing, ...] = ()

    @property
    def side(self) -> Side:
        """The side that the rows come from."""
        return Side(self.dialect, self.flavour)

    def to_bytes(self) -> bytes:
        """Return the text of schema.json."""
        return (json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def parse(cls, content: bytes) -> Head:
        """Read a schema.json. Raises Refused for what isn't one."""
        try:
            found = json.loads(content)
            tables = tuple(_table(entry) for entry in found["tables"])
            others = tuple(Thing(**entry) for entry in found.get("others", ()))
            return cls(found["dialect"], found["flavour"], found["level"], tables, others)
        except (ValueError, KeyError, TypeError):
            raise Damaged(f"{SCHEMA} in the archive can't be understood.") from None


def _table(entry: dict[str, Any]) -> Table:
    key = entry["primary_key"]
    return Table(
        entry["name"],
        tuple(Column(**column) for column in entry["columns"]),
        PrimaryKey(key["name"], tuple(key["columns"])) if key else None,
        tuple(Index(i["name"], tuple(i["columns"]), i["unique"]) for i in entry["indexes"]),
        tuple(
            ForeignKey(k["name"], tuple(k["columns"]), k["references"], tuple(k["referenced_columns"]))
            for k in entry["foreign_keys"]
        ),
    )


@dataclass
class Packed:
    """Tables in files of their own, which are gone when closed; `facts` are the files' and the tables'."""

    head: Head
    tables: dict[str, TableFacts]
    files: list[tuple[FileFacts, IO[bytes]]]

    def assemble(self, manifest: Manifest, writer: Writer) -> None:
        """Write the archive: manifest and schema first, then the tables, the largest first."""
        target: Any = writer
        form = tarfile.PAX_FORMAT
        with tarfile.open(fileobj=target, mode="w|", bufsize=_BLOCK_BYTES, format=form) as archive:
            for name, content in ((MANIFEST, manifest.to_bytes()), (SCHEMA, self.head.to_bytes())):
                archive.addfile(_member(name, len(content), manifest), io.BytesIO(content))
            for facts, spool in self.files:
                spool.seek(0)
                archive.addfile(_member(facts.name, facts.size_bytes, manifest), spool)
        writer.close()


def _member(name: str, size_bytes: int, manifest: Manifest) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size_bytes
    info.mode = 0o600
    info.mtime = int(manifest.created_at.timestamp())
    return info


def pack(
    database: Database,
    tables: Sequence[str],
    level: int | None,
    spool: Path | None,
    stack: ExitStack,
    check: Callable[[Connection], None],
    advanced: Callable[[int], None],
) -> Packed:
    """Read the tables, at one moment, each into a compressed file without a name; `stack` closes them.

    `check` looks at that moment before anything is read, and raises what forbids it. A second session counts
    and sums in the same moment, where it is allowed to see it; else the first does it afterwards. Raises
    DatabaseFault when what was read isn't what was counted. No lock but `Snapshot`'s.
    """
    with Snapshot(database, tables, 2, "backup") as snapshot:
        reader = snapshot.connections[0]
        check(reader)
        here = reader.transit().describe()
        found = {table.name: table for table in here.tables}
        head = Head(
            database.dialect.name,
            reader.server().flavour,
            level,
            tuple(found[name] for name in tables if name in found),
            here.others_of(tables),
        )
        if snapshot.is_shared:
            with counting(database, snapshot.connections[1], tables) as facts:
                files = [_read(reader, table, head.side, spool, stack, advanced) for table in head.tables]
        else:
            files = [_read(reader, table, head.side, spool, stack, advanced) for table in head.tables]
            facts = table_facts(reader, tables)
    for table, (_, _, rows) in zip(head.tables, files, strict=True):
        if facts[table.name].rows != rows:
            raise DatabaseFault(
                f"{table.name} gave {rows:,} rows, and the server counts {facts[table.name].rows:,}.",
                done="The backup was not made.",
            )
    by_size = sorted(files, key=lambda each: -each[0].size_bytes)
    return Packed(head, dict(facts), [(each, held) for each, held, _ in by_size])


def _read(
    reader: Connection,
    table: Table,
    side: Side,
    spool: Path | None,
    stack: ExitStack,
    advanced: Callable[[int], None],
) -> tuple[FileFacts, IO[bytes], int]:
    """Read one table into a file; returns the file and the rows that the server gave."""
    held = stack.enter_context(tempfile.TemporaryFile(dir=spool))  # noqa: SIM115
    stored = Hashing(f"{quote(table.name, safe='')}{_CSV}", _Spooled(held))
    writer = Compressing(stored)
    reading = reader.transit().read(rows_of(table, side))
    for piece in reading:
        writer.write(piece)
        advanced(len(piece))
    writer.close()
    return stored.facts, held, reading.rows


class _Spooled:
    """A file that stays open when its writer is done."""

    def __init__(self, held: IO[bytes]) -> None:
        self._held = held

    def write(self, data: bytes) -> int:
        return self._held.write(data)

    def close(self) -> None:
        self._held.flush()


def is_archive(head: bytes) -> bool:
    """Say whether a file that begins so is an archive of ours."""
    return head.startswith(MANIFEST.encode() + b"\0") and head[257:262] == b"ustar"


class Archive:
    """An archive as it is read, once, from its beginning to its end."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        source: Any = Joined(chunks)
        with _told():
            self._tar: Any = tarfile.open(fileobj=source, mode="r|", bufsize=_BLOCK_BYTES)  # noqa: SIM115
        self.manifest = self._manifest()
        self.head = Head.parse(self._small(SCHEMA))

    def tables(self) -> Iterator[tuple[Table, Iterator[bytes]]]:
        """Yield each table with its rows, which must be read before the next. Raises Refused for damage."""
        by_name = {table.name: table for table in self.head.tables}
        while (member := self._next()) is not None:
            name = unquote(member.name.removesuffix(_CSV))
            if not member.name.endswith(_CSV) or name not in by_name:
                raise Damaged(f"The archive holds {member.name}, which its schema doesn't know.")
            yield by_name.pop(name), decompressed(self._content(member))
        if by_name:
            raise Damaged(f"The archive is cut short: it lacks {', '.join(by_name)}.", hint=CUT_SHORT)

    def _manifest(self) -> Manifest:
        content = self._small(MANIFEST)
        try:
            return Manifest.parse(content)
        except ValueError:
            raise Damaged(f"{MANIFEST} in the archive can't be understood.") from None

    def _small(self, name: str) -> bytes:
        member = self._next()
        if member is None or member.name != name:
            raise Damaged(f"The archive is no backup of ours: it lacks {name}.")
        return b"".join(self._content(member))

    def _content(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        stream = self._tar.extractfile(member)
        assert stream is not None
        with _told():
            yield from pieces(stream)

    def _next(self) -> tarfile.TarInfo | None:
        with _told():
            member: tarfile.TarInfo | None = self._tar.next()
            return member


@contextmanager
def _told() -> Iterator[None]:
    """Turn what is wrong with an archive into a sentence."""
    try:
        yield
    except tarfile.TarError as fault:
        raise Damaged(f"The archive is damaged or cut short: {fault}.", hint=CUT_SHORT) from None
