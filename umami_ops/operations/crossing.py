"""Which values can't cross to the other database, found by questions to the source before a row is copied.

Each kind of trouble has a policy: `fail`, or what the user has chosen to become of such values.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from umami_ops.databases import types
from umami_ops.databases.base import Connection
from umami_ops.databases.transit import Offence
from umami_ops.rows import Field, Kind, Pair, Repair, Rows
from umami_ops.sql import Query
from umami_ops.transfer.schema import Side
from umami_ops.umami.schema import Column, Table


@dataclass(frozen=True)
class Policies:
    """What becomes of values that can't cross: `fail`, or the other word that each knows."""

    nul: str = "fail"
    zero_date: str = "fail"
    date: str = "fail"
    long: str = "fail"


@dataclass(frozen=True)
class Finding:
    """Values of one column that can't cross as they are; `becomes` says what the policy makes of them."""

    table: str
    column: str
    trouble: str
    rows: int
    examples: tuple[str, ...]
    option: str | None
    becomes: str | None

    @property
    def blocks(self) -> bool:
        """Whether nothing may be copied because of it."""
        return self.becomes is None

    def to_dict(self) -> dict[str, object]:
        """Return it for `--json`."""
        return {
            "table": self.table, "column": self.column, "trouble": self.trouble, "rows": self.rows,
            "examples": list(self.examples), "option": self.option, "becomes": self.becomes,
        }  # fmt: skip


#: Offence → what to call it, the option that has a say, and the policy's field.
_TROUBLES = {
    Offence.NUL: ("a NUL character, which PostgreSQL can't hold", "--on-nul", "nul"),
    Offence.ZERO_DATE: ("a zero date", "--on-zero-date", "zero_date"),
    Offence.OUTSIDE_TIMESTAMP: ("a date outside MySQL's 1970 to 2038", "--on-date", "date"),
    Offence.TOO_LONG: ("text longer than the target's column", "--on-long", "long"),
    Offence.NOT_AN_ID: ("an id that isn't a UUID", None, None),
    Offence.TOO_LARGE: ("a number above 2,147,483,647", None, None),
    Offence.NEGATIVE: ("a negative number, for an unsigned column", None, None),
    Offence.BLANK_END: ("a blank at the end, which CHAR forgets", None, None),
    Offence.NOT_BOOLEAN: ("neither 0 nor 1", None, None),
}
_REPAIRS = {
    (Offence.NUL, "remove"): Repair.REMOVE_NUL,
    (Offence.ZERO_DATE, "null"): Repair.NO_ZERO_DATE,
    (Offence.OUTSIDE_TIMESTAMP, "null"): Repair.NULL_OUTSIDE_TIMESTAMP,
    (Offence.OUTSIDE_TIMESTAMP, "clamp"): Repair.CLAMP_TO_TIMESTAMP,
}


def cross(
    connection: Connection,
    pair: Pair,
    tables: tuple[Table, Table],
    sides: tuple[Side, Side],
    policies: Policies,
) -> tuple[Pair, list[Finding]]:
    """Ask the source about one table; return how its rows travel under the policies, and what was found.

    `tables` and `sides` are the source's and the target's.
    """
    asked: list[tuple[Field, Offence]] = []
    for own, other in zip(pair.source.fields, pair.target.fields, strict=True):
        if own.expression is None:
            columns = (tables[0].column(own.name), tables[1].column(other.name))
            for offence, length in _questions(own, columns, sides):
                asked.append((replace(own, length=length), offence))
    answers = connection.transit().offences(pair.source, asked) if asked else []
    repaired = {item.name: item for item in pair.source.fields}
    findings = []
    for (item, offence), (rows, examples) in zip(asked, answers, strict=True):
        if rows:
            word, option, policy = _TROUBLES[offence]
            choice = getattr(policies, policy) if policy else "fail"
            becomes = None if choice == "fail" else choice
            findings.append(
                Finding(pair.source.table, item.name, word, rows, tuple(examples), option, becomes)
            )
            if becomes:
                repaired[item.name] = _repaired(repaired[item.name], item, offence, becomes)
    fields = tuple(repaired[item.name] for item in pair.source.fields)
    return Pair(replace(pair.source, fields=fields), pair.target), findings


def collisions(connection: Connection, rows: Rows, target: Table, side: Side) -> list[Finding]:
    """Find texts that a unique key of MySQL's takes for the same, but for case, accents and last blanks.

    Only short tables of names have such keys; their values are read.
    """
    if not side.features.keys_ignore_case:
        return []
    texts = {item.name: item.expression for item in rows.fields if item.kind is Kind.TEXT}
    keys = [index.columns for index in target.indexes if index.unique]
    keys += [target.primary_key.columns] if target.primary_key else []
    unique = [key[0] for key in keys if len(key) == 1]
    findings = []
    for column in dict.fromkeys(unique):
        if column not in texts:
            continue
        name = texts[column] or connection.dialect.quote(column)
        query = Query(
            "migrate.unique_texts",
            "",
            f"SELECT {name} AS value FROM {connection.dialect.quote(rows.table)} WHERE {name} IS NOT NULL",  # noqa: S608
        )
        same = list(_alike(row["value"] for row in connection.rows(query)))
        if same:
            shown = tuple(" and ".join(values) for values in same[:3])
            count = sum(len(values) for values in same)
            trouble = "names that MySQL takes for the same"
            findings.append(Finding(rows.table, column, trouble, count, shown, None, None))
    return findings


def _questions(
    own: Field, columns: tuple[Column, Column], sides: tuple[Side, Side]
) -> Iterator[tuple[Offence, int | None]]:
    """Yield what may be wrong with a column's values, with the length that they must not pass."""
    here, there = columns
    source, target = sides
    match own.kind:
        case Kind.TEXT | Kind.JSON if source.features.holds_nul and not target.features.holds_nul:
            yield Offence.NUL, None
        case Kind.ID if here.type != "uuid" and there.type == "uuid":
            yield Offence.NOT_AN_ID, None
        case Kind.TIME:
            if source.features.has_zero_dates and not target.features.has_zero_dates:
                yield Offence.ZERO_DATE, None
            if _ends_in_2038(there, target) and not _ends_in_2038(here, source):
                yield Offence.OUTSIDE_TIMESTAMP, None
        case Kind.BOOLEAN if here.type != "boolean" and there.type == "boolean":
            yield Offence.NOT_BOOLEAN, None
        case Kind.INTEGER:
            if here.type.endswith("unsigned") and there.type == "integer":
                yield Offence.TOO_LARGE, None
            if there.type.endswith("unsigned") and not here.type.endswith("unsigned"):
                yield Offence.NEGATIVE, None
    if own.kind is not Kind.TEXT:
        return
    if target.features.char_loses_blanks and _is_padded(there) and not _is_padded(here):
        yield Offence.BLANK_END, None
    limits = (types.text_length(here.type, source.dialect), types.text_length(there.type, target.dialect))
    if limits[1] is not None and (limits[0] is None or limits[0] > limits[1]):
        yield Offence.TOO_LONG, limits[1]


def _ends_in_2038(column: Column, side: Side) -> bool:
    return side.features.timestamps_end_in_2038 and column.type.startswith("timestamp")


def _is_padded(column: Column) -> bool:
    return column.type.startswith(("char(", "character("))


def _repaired(field: Field, asked: Field, offence: Offence, choice: str) -> Field:
    if offence is Offence.TOO_LONG:
        return replace(field, length=asked.length)
    return replace(field, repair=_REPAIRS[offence, choice])


def _alike(values: Iterable[str]) -> Iterator[list[str]]:
    groups: dict[str, list[str]] = {}
    for value in values:
        groups.setdefault(_folded(value), []).append(value)
    return (group for group in groups.values() if len(group) > 1)


def _folded(text: str) -> str:
    """Return what utf8mb4_unicode_ci compares: no case, accents, control characters, last blanks."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    kept = (letter for letter in plain if unicodedata.category(letter) not in ("Mn", "Cc", "Cf"))
    return "".join(kept).rstrip(" ")
