"""What a backup says of itself: manifest.json, and SHA256SUMS, by which `sha256sum -c` checks it by hand.

Both are written by `seal` alone, byte for byte the same from the same facts; whatever doesn't read back so
has been damaged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from umami_ops.archive.store import NAME, SEAL, Draft, Store
from umami_ops.errors import Damaged, OpsError, Refused

MANIFEST = "manifest.json"
#: The formats, of which the number grows when an older umami-ops couldn't read what a newer one writes.
IN_ONE_FILE, IN_SEVERAL_FILES = 1, 2
_TITLES = {"postgresql": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB"}
#: The kinds of backups: by the server's own programs, or by none, for either kind of server; and what a prune
#: has deleted, in the form of the latter: no backup of a database, and the only copy that there is.
DUMP, PORTABLE, PRUNED = "dump", "portable", "pruned"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class TableFacts:
    """A table in a backup: its rows, and the checksum that the server computed over them."""

    name: str
    rows: int
    checksum: str | None = None


@dataclass(frozen=True)
class FileFacts:
    """A file of a backup, as it lies there: compressed and encrypted as it is."""

    name: str
    size_bytes: int
    sha256: str


class Origin(NamedTuple):
    """What a backup is of: those of one origin belong together. On MySQL `schema` is the database, too."""

    dialect: str
    database: str
    schema: str

    def __str__(self) -> str:
        """Return the database's name, with the schema's where that isn't the obvious one: `main.staging`."""
        is_obvious = self.schema in ("public", self.database)
        return self.database if is_obvious else f"{self.database}.{self.schema}"


@dataclass(frozen=True)
class Manifest:
    """All that is known about a backup without opening it.

    `created_at` is when it began: what came later may not be in it. `kind` is dump or portable; `tool` made
    it; `flavour` and `version` are the server's; `release` names Umami's. `encrypted_to` are age recipients,
    which are public. Times in UTC.
    """

    name: str
    kind: str
    created_at: datetime
    seconds: float
    umami_ops: str
    tool: str
    dialect: str
    flavour: str
    version: str
    database: str
    schema: str
    level: int | None
    release: str
    tables: tuple[TableFacts, ...]
    files: tuple[FileFacts, ...]
    encrypted_to: tuple[str, ...] = ()
    format: int = IN_ONE_FILE

    @property
    def is_folder(self) -> bool:
        """Whether its files make up a folder, which the server's own programs read."""
        return self.format == IN_SEVERAL_FILES

    @property
    def size_bytes(self) -> int:
        """The files together."""
        return sum(file.size_bytes for file in self.files)

    @property
    def rows(self) -> int:
        """The rows of all tables."""
        return sum(table.rows for table in self.tables)

    @property
    def server(self) -> str:
        """The server that it was made of, for people: `PostgreSQL 18.6`."""
        return f"{_TITLES.get(self.flavour, self.flavour)} {self.version}"

    @property
    def origin(self) -> Origin:
        """What it is a backup of."""
        return Origin(self.dialect, self.database, self.schema)

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self) | {"created_at": f"{self.created_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"}

    def to_bytes(self) -> bytes:
        """Return the text of manifest.json, always the same from the same facts."""
        return (json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n").encode()

    @classmethod
    def parse(cls, content: bytes) -> Manifest:
        """Read a manifest.json. Raises ValueError for what isn't one, byte for byte."""
        fields: dict[str, Any] = json.loads(content)
        if not isinstance(fields, dict):
            raise ValueError("not an object")
        if int(fields.get("format", 0)) > IN_SEVERAL_FILES:
            raise NewerFormat
        try:
            manifest = cls(
                **{
                    **fields,
                    "created_at": datetime.strptime(fields["created_at"], "%Y-%m-%dT%H:%M:%SZ").replace(
                        tzinfo=UTC
                    ),
                    "tables": tuple(TableFacts(**table) for table in fields["tables"]),
                    "files": tuple(FileFacts(**file) for file in fields["files"]),
                    "encrypted_to": tuple(fields["encrypted_to"]),
                }
            )
        except (TypeError, KeyError, AttributeError) as fault:
            raise ValueError(f"it lacks or exceeds what a manifest has: {fault}") from None
        if manifest.to_bytes() != content:
            raise ValueError("it doesn't read back as it was written")
        return manifest


class NewerFormat(ValueError):
    """A newer umami-ops wrote this."""


def seal(draft: Draft, manifest: Manifest) -> None:
    """Write the manifest and, last of all, the sums: with them a backup is complete."""
    content = manifest.to_bytes()
    for file, data in ((MANIFEST, content), (SEAL, sums(manifest, content))):
        writer = draft.create(file)
        writer.write(data)
        writer.close()


def sums(manifest: Manifest, content: bytes) -> bytes:
    """Return the text of SHA256SUMS for a manifest and the files that it names."""
    named = {file.name: file.sha256 for file in manifest.files}
    named[MANIFEST] = hashlib.sha256(content).hexdigest()
    return "".join(f"{digest}  {file}\n" for file, digest in sorted(named.items())).encode()


def read(store: Store, name: str) -> Manifest:
    """Return the manifest of a complete backup, checked against its seal.

    Raises Refused where one of the two is damaged; OpsError where they can't be read.
    """
    try:
        content = store.read(name, MANIFEST)
    except OpsError:
        if MANIFEST in store.files(name):
            raise
        raise damaged(name, f"{MANIFEST} is missing") from None
    try:
        manifest = Manifest.parse(content)
    except NewerFormat:
        raise Refused(
            f"{name} was written by a newer umami-ops.", hint="Update umami-ops.", done="Nothing was changed."
        ) from None
    except (ValueError, RecursionError):
        raise damaged(name, f"{MANIFEST} is damaged") from None
    if store.read(name, SEAL) != sums(manifest, content) or manifest.name != name:
        raise damaged(name, f"{SEAL} and {MANIFEST} don't agree")
    return manifest


def check_files(store: Store, manifest: Manifest, advanced: Any = lambda _bytes: None) -> None:
    """Read every file of a backup and compare its size and its SHA-256; `advanced` hears of bytes read.

    Raises Refused that names the file, and what is wrong with it.
    """
    there = store.files(manifest.name)
    for file in manifest.files:
        if file.name not in there:
            raise damaged(manifest.name, f"{file.name} is missing")
        if there[file.name] != file.size_bytes:
            raise damaged(
                manifest.name,
                f"{file.name} has {there[file.name]:,} bytes where {file.size_bytes:,} were written",
            )
    for file in manifest.files:
        digest = hashlib.sha256()
        with store.open(manifest.name, file.name) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                advanced(len(chunk))
        if digest.hexdigest() != file.sha256:
            raise damaged(manifest.name, f"{file.name} is not what was written: its SHA-256 is another")


def damaged(name: str, how: str) -> Damaged:
    """Return the refusal of a damaged backup."""
    return Damaged(
        f"Backup {name} is damaged: {how}.",
        hint="Take another one: `umami-ops backup list`.",
        done="Nothing was changed.",
    )


def named(known: Sequence[str], typed: str) -> str | None:
    """Return the name that was typed if it is one of a backup's, or could be."""
    return typed if NAME.fullmatch(typed) and typed in known else None


def differences(expected: Sequence[TableFacts], found: Mapping[str, TableFacts]) -> list[str]:
    """Return a sentence for each table that isn't as it should be."""
    wrong = []
    for table in expected:
        there = found.get(table.name)
        if there is None:
            wrong.append(f"{table.name} is missing")
        elif there.rows != table.rows:
            wrong.append(f"{table.name} has {there.rows:,} rows instead of {table.rows:,}")
        elif _is_comparable(table, there) and there.checksum != table.checksum:
            wrong.append(f"{table.name} has {there.rows:,} rows, but not the same content")
    return wrong


def _is_comparable(one: TableFacts, other: TableFacts) -> bool:
    """Whether both have a checksum, made in the same way: it stands before the colon."""
    ways = {(facts.checksum or "").partition(":")[0] for facts in (one, other)}
    return len(ways) == 1 and "" not in ways
