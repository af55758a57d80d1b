"""Rows on the move as values: which columns travel, as what, and by which ranges of keys.

How a server writes and reads them is `databases/transit.py`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class Kind(Enum):
    """What a column holds, whatever a dialect calls its type; decides how a value is written as text."""

    ID = "id"  # a UUID, in small letters with hyphens
    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"  # with all digits of its scale
    BOOLEAN = "boolean"  # 1 or 0
    TIME = "time"  # YYYY-MM-DD HH:MM:SS[.ffffff], UTC
    JSON = "json"
    BYTES = "bytes"  # \x and hexadecimal digits, as PostgreSQL writes them
    FLOAT = "float"  # with all digits of the double that it is
    OTHER = "other"  # what the server itself writes: dates, arrays, enums

    @property
    def is_bare(self) -> bool:
        """Whether values stand without quotes."""
        return self in (Kind.INTEGER, Kind.DECIMAL, Kind.BOOLEAN)


class Repair(Enum):
    """What becomes of a value that the other side can't hold, where the user has said so."""

    REMOVE_NUL = "remove"
    NO_ZERO_DATE = "null"
    NULL_OUTSIDE_TIMESTAMP = "null outside"
    CLAMP_TO_TIMESTAMP = "clamp"
    TRIM_END = "trim"
    #: Nobody's choice: MySQL writes zeros in front of some numbers, and bits as bytes.
    PLAIN_NUMBER = "number"


@dataclass(frozen=True)
class Field:
    """A column on the move. `digits` of a time's fraction are kept, the rest is cut off; None keeps all.

    `length` cuts text to so many characters, `repair` says what becomes of values that can't be held, and
    `expression` stands for the column where the table has none: they count on the side that is read, in what
    travels and in the checksum alike.

    `is_alike` says that both sides are the same kind of server, so that even JSON is written alike.
    """

    name: str
    kind: Kind
    nullable: bool = True
    digits: int | None = None
    is_alike: bool = False
    length: int | None = None
    repair: Repair | None = None
    expression: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether values travel as they are, so that what is unique stays so; cut or repaired it may not."""
        return (self.digits, self.length, self.repair, self.expression) == (None, None, None, None)

    @property
    def has_one_text(self) -> bool:
        """Whether both sides write the same value as the same text, so that checksums can be compared."""
        return self.is_alike or self.kind not in (Kind.JSON, Kind.FLOAT, Kind.OTHER)

    @property
    def can_be_null(self) -> bool:
        """Whether the text of a value can be missing: where the column may be NULL, or may become it."""
        return self.nullable or self.repair is not None or self.expression is not None


@dataclass(frozen=True)
class Rows:
    """Rows of a table: which columns, in which order. `key` is the primary key's first column.

    `primary_key` are the columns that tell rows apart; it is empty where nothing is known to.

    `key` is None where there is no such key, or none whose order both dialects agree on (text): then all rows
    are one range.
    """

    table: str
    fields: tuple[Field, ...]
    key: str | None = None
    primary_key: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(item.name for item in self.fields)

    @property
    def without_one_text(self) -> Rows | None:
        """The same rows with those columns alone that checksums leave out and that tell rows apart.

        None without any of the former. Where nothing tells rows apart, all columns stay: they alone say whose
        value it is.
        """
        left_out = {item.name for item in self.fields if not item.has_one_text}
        telling = {self.key, *(self.primary_key or self.names)}
        kept = tuple(item for item in self.fields if item.name in left_out | telling)
        return replace(self, fields=kept) if left_out else None


@dataclass(frozen=True)
class KeyRange:
    """Half open: since <= key < until, both as the key's canonical text; None is open at that end."""

    since: str | None = None
    until: str | None = None


@dataclass(frozen=True)
class Pair:
    """One table's rows as each side calls them; the fields stand in the same order on both."""

    source: Rows
    target: Rows

    @property
    def is_told_by_key(self) -> bool:
        """Whether a key that rows are moved by is that of one row."""
        return self.source.key is not None and self.source.primary_key == (self.source.key,)

    @property
    def identity(self) -> Pair:
        """The same rows with those columns alone that tell them apart; with all where nothing else does."""
        if not self.source.primary_key:
            return self
        source, target = (
            replace(rows, fields=tuple(item for item in rows.fields if item.name in rows.primary_key))
            for rows in (self.source, self.target)
        )
        return Pair(source, target)
