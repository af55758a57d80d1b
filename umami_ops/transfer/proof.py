"""Whether two sides hold the same rows: by checksums that both servers computed, and where they differ.

What the servers can't write alike (JSON across dialects, floats, types of one server alone) is compared by
value here, row by row; only small tables of Umami's have such columns.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from umami_ops.databases.lines import lines, values
from umami_ops.databases.transit import EVERYTHING, KeyRange, Kind, Pair, Proof, Rows, Transit

_MASK = (1 << 60) - 1
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def prove(transit: Transit, rows: Rows, keys: KeyRange = EVERYTHING, *, ids_as_stored: bool = False) -> Proof:
    """Return count and checksum of a range on one side, over every column.

    The checksum is the server's; what checksums leave out is read, brought to one form, and added. With
    `ids_as_stored` the server is quicker, and ids in capitals differ from the same in small letters.
    """
    proof = transit.prove(rows, keys, ids_as_stored=ids_as_stored)
    rest = rows.without_one_text
    if rest is None or not proof.rows:
        return proof
    return Proof(proof.rows, proof.checksum + sum(_hashes(transit, rest, keys).values()))


def fingerprints(transit: Transit, rows: Rows, keys: KeyRange) -> dict[str, int]:
    """Return key → hash of a range's rows, over every column; for a range that fits into memory."""
    found = transit.fingerprints(rows, keys)
    rest = rows.without_one_text
    if rest is not None and found:
        for key, hash_ in _hashes(transit, rest, keys).items():
            found[key] = found.get(key, 0) + hash_
    return found


@dataclass(frozen=True)
class Differences:
    """The keys by which two sides differ: on one side alone, or with other values."""

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    changed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.changed)


def differences(source: dict[str, int], target: dict[str, int]) -> Differences:
    """Compare the fingerprints of both sides; `missing` are those that the target lacks."""
    return Differences(
        missing=tuple(sorted(source.keys() - target.keys())),
        extra=tuple(sorted(target.keys() - source.keys())),
        changed=tuple(sorted(key for key in source.keys() & target.keys() if source[key] != target[key])),
    )


def extra_rows(source: Transit, target: Transit, pair: Pair, keys: KeyRange) -> int:
    """Return how many of the target's rows in a range are not at the source, whatever their values there.

    For a range that fits into memory. Where nothing tells rows apart, a changed row is another one.
    """
    identity = pair.identity
    return (_told(target, identity.target, keys) - _told(source, identity.source, keys)).total()


def _told(transit: Transit, rows: Rows, keys: KeyRange) -> Counter[int | str]:
    """Return by what rows are told apart, over every column, with the number of rows that have it."""
    if rows.without_one_text is None:
        return Counter(transit.hashes(rows, keys))
    return Counter(_plain_row(values(line), rows) for line in lines(transit.read(rows, keys)))


def _hashes(transit: Transit, rows: Rows, keys: KeyRange) -> dict[str, int]:
    """Return key → sum of hashes of the columns that are compared by value; one key without a key.

    What tells rows apart is part of what is hashed: in another row a value is another one.
    """
    place = rows.names.index(rows.key) if rows.key in rows.names else None
    sums: dict[str, int] = {}
    for line in lines(transit.read(rows, keys)):
        found = values(line)
        text = _plain_row(found, rows)
        hash_ = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") & _MASK
        key = "" if place is None else (found[place] or "").lower()
        sums[key] = sums.get(key, 0) + hash_
    return sums


def _plain_row(found: Sequence[str | None], rows: Rows) -> str:
    """Return one text for rows that are equal, and for no others: of each value it says where it ends."""
    return repr([_plain(value, item.kind) for value, item in zip(found, rows.fields, strict=True)])


def _plain(text: str | None, kind: Kind) -> str | None:
    """Return one form for values that are equal, however a server writes them."""
    if text is None:
        return None
    if kind is Kind.ID:
        return text.lower()
    if kind is Kind.JSON:
        document = json.loads(text, parse_int=Decimal, parse_float=Decimal)
        return json.dumps(_plain_json(document), sort_keys=True)
    if kind is Kind.FLOAT:
        return repr(float(text))
    if kind is Kind.OTHER and _NUMBER.fullmatch(text):
        return _every_digit(text)
    return text


def _every_digit(text: str) -> str:
    """Return a number of as many digits as it likes without the zeros that say nothing."""
    number = f"{Decimal(text):f}"
    return number.rstrip("0").rstrip(".") if "." in number else number


def _plain_json(value: Any) -> Any:
    """Return a document with its numbers as the value that a double has: MySQL keeps no more of them.

    Text says that it is text, so that none is taken for a number.
    """
    if isinstance(value, str):
        return f"text {value}"
    if isinstance(value, dict):
        return {key: _plain_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain_json(item) for item in value]
    if isinstance(value, Decimal):
        try:
            return f"number {float(value)!r}"
        except OverflowError:
            return f"number {value}"
    return value
