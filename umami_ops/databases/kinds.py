"""What a column holds, by its type as the catalogue spells it. Knows no connection.

Read off the spelling, which is plain: whoever compares rows, or moves Umami's own, waits for no SQL parser.
"""

from __future__ import annotations

import re
from functools import cache

from umami_ops.rows import Kind

#: A name, a length between parentheses, and what doesn't matter here. Lists (`text[]`), enums and users' own
#: types are no such thing.
_SPELLING = re.compile(r"([a-z ]+?)(?:\((\d+)(?:,\d+)?\))?(?: (?:unsigned|zerofill|with(?:out)? time zone))*")

_NAMES = {
    Kind.ID: {"uuid"},
    Kind.TEXT: {
        "char", "character", "varchar", "character varying", "text", "tinytext", "mediumtext", "longtext",
        "name",
    },
    Kind.INTEGER: {"tinyint", "smallint", "mediumint", "int", "integer", "bigint"},
    Kind.DECIMAL: {"decimal", "numeric"},
    Kind.BOOLEAN: {"boolean"},
    Kind.TIME: {"timestamp", "datetime"},
    Kind.JSON: {"json", "jsonb"},
    Kind.FLOAT: {"float", "real", "double", "double precision"},
    Kind.BYTES: {"bytea", "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"},
}  # fmt: skip
_KINDS = {name: kind for kind, names in _NAMES.items() for name in names}


@cache
def kind_of(type_: str) -> Kind:
    """Return what a column of this type holds; what isn't known is OTHER, the server's own text."""
    name, length = _read(type_)
    if type_ == "tinyint(1)":
        return Kind.BOOLEAN
    if name == "numeric" and length is None:
        return Kind.OTHER  # without a scale it has no fixed digits
    return _KINDS.get(name, Kind.OTHER)


def text_length(type_: str) -> int | None:
    """Return how many characters a text column holds; None where there is no such limit."""
    return _read(type_)[1] if kind_of(type_) is Kind.TEXT else None


def may_be_long(type_: str) -> bool:
    """Whether a value may be longer than what servers take for one row at the very least."""
    has_no_length = kind_of(type_) in (Kind.TEXT, Kind.BYTES, Kind.JSON) and _read(type_)[1] is None
    return has_no_length or type_.endswith("[]") or type_ in ("xml", "hstore")


def is_odd_number(type_: str) -> bool:
    """Whether MySQL writes such numbers in a way of its own: with zeros in front, or as the bytes of bits."""
    return type_.endswith("zerofill") or type_.startswith(("bit(", "year"))


def time_digits(type_: str, dialect: str) -> int:
    """Return how many digits of a second's fraction a time column of this type keeps."""
    length = _read(type_)[1]
    return length if length is not None else 6 if dialect == "postgresql" else 0


def _read(type_: str) -> tuple[str, int | None]:
    """Return a type's name and length; the name is empty where it isn't spelt like that."""
    found = _SPELLING.fullmatch(type_)
    return (found[1], int(found[2]) if found[2] else None) if found else ("", None)
