"""Rows for tests of moves: awkward values in every column, by hand and by Hypothesis, as lines of CSV."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from testbed.bulk import Batch, cell
from umami_ops.databases.base import Connection
from umami_ops.databases.registry import open_database
from umami_ops.databases.transit import Field, Kind, Rows
from umami_ops.databases.url import DatabaseUrl
from umami_ops.transfer.schema import Side, rows_of

AWKWARD = (
    "", "NULL", "\\N", "\\", "\t", "a\r\nb", "a\nb", '"', '""', "','", '","', "😀é", "e\u0301", "\\.",
    "\n\\.\n", "a,b", "'", "tail\\", "%s %(x)s :name ?", "ﷺ\u200fא", "\x01\x02\x1f\x7f", " both ends ",
    "x" * 500, "𝔘" * 500, "\ufeff", "0", "-0", "null", "\\\\", "'; DROP TABLE session; --",
)  # fmt: skip


def connect(url: str) -> Connection:
    """Open a session of ours."""
    return open_database(DatabaseUrl.parse(url)).connect()


def side_of(connection: Connection) -> Side:
    return Side(connection.dialect.name, connection.server().flavour)


def rows_in(connection: Connection, table: str) -> Rows:
    """Return a table's rows as they travel into a file."""
    found = connection.transit().describe().table(table)
    assert found is not None
    return rows_of(found, side_of(connection))


def texts(longest: int) -> st.SearchStrategy[str]:
    """Whatever text both dialects can hold: no NUL, no half of a surrogate pair."""
    letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    special = st.sampled_from([text for text in AWKWARD if len(text) <= longest])
    return special | st.text(letters, max_size=longest)


def _numbers(type_: str) -> st.SearchStrategy[Decimal]:
    precision, scale = (int(part) for part in type_.partition("(")[2].rstrip(")").split(","))
    most = Decimal(10) ** (precision - scale) - Decimal(1).scaleb(-scale)
    extremes = st.sampled_from([most, -most, Decimal(0), Decimal(1).scaleb(-scale)])
    return extremes | st.decimals(-most, most, places=scale, allow_nan=False)


#: What MySQL's TIMESTAMP can hold; the last second of 19 January 2038 is not in it.
FIRST, LAST = datetime(1970, 1, 1, 0, 0, 1), datetime(2038, 1, 19, 3, 14, 6, 999_999)


def times() -> st.SearchStrategy[datetime]:
    """Return times with microseconds, the edges of MySQL's and those just before midnight among them."""
    edges = [FIRST, LAST, datetime(2024, 12, 31, 23, 59, 59, 999_999), datetime(2024, 2, 29, 0, 0, 0, 1)]
    return st.sampled_from(edges) | st.datetimes(FIRST, LAST)


def documents() -> st.SearchStrategy[Any]:
    """Return JSON documents that every server keeps: no NUL, numbers that a double has exactly."""
    leaves = st.none() | st.booleans() | st.integers(-(2**50), 2**50) | texts(20)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(8), inner, max_size=3),
        max_leaves=8,
    )


#: Columns with a unique key of their own, which MySQL compares without regard to case.
UNIQUE = ("username", "access_code", "share_id")


def values_for(item: Field, type_: str) -> st.SearchStrategy[str]:
    """Return lines' cells for a column of this (PostgreSQL) type."""
    made: st.SearchStrategy[Any]
    if item.name in UNIQUE:
        return st.uuids().map(lambda value: cell(value.hex))
    match item.kind:
        case Kind.ID:
            made = st.uuids().map(str)
        case Kind.INTEGER:
            made = st.integers(0, 2**31 - 1)
        case Kind.DECIMAL:
            made = _numbers(type_).map(lambda number: _Bare(format(number, "f")))
        case Kind.TIME:
            made = times().map(lambda moment: moment.isoformat(" "))
        case Kind.JSON:
            made = documents().map(lambda value: json.dumps(value, ensure_ascii=False))
        case Kind.BOOLEAN:
            made = st.sampled_from([_Bare("0"), _Bare("1")])
        case _:
            length = int(type_.partition("(")[2].rstrip(")") or 50)
            made = texts(length)
            if type_.startswith("character(") or item.name in ("region", "subdivision1"):
                made = made.map(lambda text: text.rstrip(" "))  # CHAR pads with blanks and forgets them
    cells = made.map(lambda value: str(value) if isinstance(value, _Bare) else cell(value))
    return st.just("NULL") | cells if item.nullable else cells


class _Bare(str):
    """A cell that stands without quotes."""


def lines_of(rows: Rows, types: dict[str, str]) -> st.SearchStrategy[bytes]:
    """Return a few rows of a table with distinct keys, as bytes."""
    cells = st.tuples(*(values_for(item, types[item.name]) for item in rows.fields))
    place = rows.names.index(rows.key) if rows.key else 0
    return st.lists(cells, max_size=8, unique_by=lambda row: row[place]).map(
        lambda found: "".join(f"{','.join(row)}\n" for row in found).encode()
    )


def awkward_event(number: int, text: str) -> dict[str, Any]:
    """Return a website_event with this text wherever it fits."""
    ids = (str(uuid.UUID(int=number * 7919 + place, version=4)) for place in range(4))
    return {
        "event_id": next(ids), "website_id": next(ids), "session_id": next(ids), "visit_id": next(ids),
        "created_at": datetime(2024, 5, 1, 23, 59, number % 60, tzinfo=UTC) if number % 5 else None,
        "url_path": text, "url_query": text, "page_title": None if number % 3 else text,
        "event_type": 1 + number % 2, "event_name": text[:50], "tag": None,
    }  # fmt: skip


def batch(table: str, row: dict[str, Any]) -> Batch:
    """Return one row as the testbed loads it."""
    values = (
        value.strftime("%Y-%m-%d %H:%M:%S") if isinstance(value, datetime) else value
        for value in row.values()
    )
    return Batch(table, tuple(row), [",".join(cell(value) for value in values)])
