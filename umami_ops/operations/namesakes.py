"""Names that one server takes for the same and the other doesn't, and what the later ones become."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from umami_ops.databases.base import Connection
from umami_ops.databases.lines import lines, values
from umami_ops.rows import Kind, Rows
from umami_ops.sql import Query

#: The column that says which of two rows was there first.
_BORN = "created_at"
#: A row's key and its name.
Named = tuple[str, str]


def named(connection: Connection, rows: Rows, name: str) -> list[Named]:
    """Return all names, those of the oldest rows first; `name` is the column, or what stands for it."""
    quote = connection.dialect.quote
    key = quote(rows.key) if rows.key else "''"
    # By the alias: without a key it is a constant, by which PostgreSQL orders nothing.
    order = f"{quote(_BORN)}, row_key" if _BORN in rows.names else "row_key"
    text = f"SELECT {key} AS row_key, {name} AS row_name FROM {quote(rows.table)} WHERE {name} IS NOT NULL"  # noqa: S608
    found = connection.rows(Query("migrate.unique_texts", "", f"{text} ORDER BY {order}"))
    return [(str(row["row_key"]), str(row["row_name"])) for row in found]


def alike(named: Iterable[Named]) -> list[list[Named]]:
    """Return the names that MySQL takes for the same, in groups."""
    groups: dict[str, list[Named]] = {}
    for key, text in named:
        groups.setdefault(_folded(text), []).append((key, text))
    return [group for group in groups.values() if len(group) > 1]


def alike_together(connection: Connection, rows: Rows) -> list[list[tuple[str, ...]]]:
    """Return rows that MySQL takes for the same, in groups; one with a NULL is like no other.

    Reads twice where there are any, so as to remember little of a long table.
    """
    counts = Counter(hash(folded) for folded, _ in _folded_rows(connection, rows))
    if not any(count > 1 for count in counts.values()):
        return []
    groups: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for folded, row in _folded_rows(connection, rows):
        if counts[hash(folded)] > 1:
            groups.setdefault(folded, []).append(row)
    return [group for group in groups.values() if len(group) > 1]


def _folded_rows(connection: Connection, rows: Rows) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    for line in lines(connection.transit().read(rows)):
        row = tuple(value for value in values(line) if value is not None)
        if len(row) == len(rows.fields):
            pairs = zip(row, rows.fields, strict=True)
            yield tuple(_folded(text) if item.kind is Kind.TEXT else text for text, item in pairs), row


def renames(same: Iterable[Sequence[Named]], taken: Collection[str], length: int) -> dict[str, str]:
    """Return key → new name for all but the first of each group: with a number that makes it new."""
    folded = {_folded(text) for text in taken}
    renamed: dict[str, str] = {}
    for group in same:
        for key, text in group[1:]:
            number = 2
            while True:
                end = f"-{number}"
                name = text.rstrip(" ")[: length - len(end)] + end
                number += 1
                if _folded(name) not in folded:
                    break
            folded.add(_folded(name))
            renamed[key] = name
    return renamed


def renaming(connection: Connection, rows: Rows, name: str, renamed: dict[str, str]) -> str:
    """Return the expression that gives renamed rows their new names."""
    assert rows.key is not None, "who has no key isn't renamed"
    key = connection.dialect.quote(rows.key)
    parts = " ".join(
        f"WHEN {connection.literal(row)} THEN {connection.literal(text)}" for row, text in renamed.items()
    )
    return f"(CASE {key} {parts} ELSE {name} END)"


def _folded(text: str) -> str:
    """Return what utf8mb4_unicode_ci compares: no case, accents, control characters, last blanks.

    Beyond U+FFFF, where emoji are, all characters are the same to it.
    """
    plain = "".join("\ufffd" if letter > "\uffff" else letter for letter in text)
    plain = unicodedata.normalize("NFKD", plain).casefold()
    kept = (letter for letter in plain if unicodedata.category(letter) not in ("Mn", "Cc", "Cf"))
    return "".join(kept).rstrip(" ")
