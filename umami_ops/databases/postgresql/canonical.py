"""A value on the move as PostgreSQL's SQL: its canonical text, and what can be wrong with it."""

from __future__ import annotations

from umami_ops.databases.transit import Field, Kind, Offence
from umami_ops.rows import Repair

#: What MySQL's TIMESTAMP holds: from here on, and before there.
_FIRST, _END = "1970-01-01 00:00:01+00", "2038-01-19 03:14:08+00"


def offends(item: Field, offence: Offence, column: str) -> str:
    """Return the condition under which a value offends; what PostgreSQL can't hold never does."""
    column = item.expression or column
    match offence:
        case Offence.OUTSIDE_TIMESTAMP:
            return f"({column} < '{_FIRST}' OR {column} >= '{_END}')"
        case Offence.OUTSIDE_DATETIME:
            return f"NOT ({column} >= '0001-01-01' AND {column} < '10000-01-01')"
        case Offence.NEGATIVE:
            return f"{column} < 0"
        case Offence.NAN if item.kind is Kind.FLOAT:
            return f"{column} IN ('NaN', 'Infinity', '-Infinity')"
        case Offence.NAN:  # with a scale none is infinite
            return f"{column} = 'NaN'"
        case Offence.TOO_LONG:
            return f"char_length({column}) > {item.length}"
        case Offence.BLANK_END:
            return f"{column} LIKE '% '"
    return "false"


def text(item: Field, column: str) -> str:
    """Return the expression of a column's canonical text; COPY and a cast to text write it alike."""
    column = item.expression or column
    if item.length is not None:
        column = f"left({column}, {item.length})"
    match item.repair:
        case Repair.NULL_OUTSIDE_TIMESTAMP:
            column = f"CASE WHEN {column} >= '{_FIRST}' AND {column} < '{_END}' THEN {column} END"
        case Repair.CLAMP_TO_TIMESTAMP:
            last = f"timestamptz '{_END}' - interval '1 second'"
            clamped = f"GREATEST(timestamptz '{_FIRST}', LEAST({column}, {last}))"
            column = f"CASE WHEN {column} IS NOT NULL THEN {clamped} END"
        case Repair.TRIM_END:
            column = f"rtrim({column}, ' ')"
    match item.kind:
        case Kind.TIME if item.digits is None:
            return f"CAST({column} AS timestamp)"
        case Kind.TIME if item.digits == 0:
            return f"date_trunc('second', CAST({column} AS timestamp))"
        case Kind.TIME:
            return f"left(to_char({column}, 'YYYY-MM-DD HH24:MI:SS.US'), {20 + (item.digits or 0)})"
        case Kind.BOOLEAN:
            return f"CAST({column} AS integer)"
        case Kind.FLOAT:
            return f"CAST(CAST({column} AS double precision) AS text)"
        case Kind.BYTES:
            return f"'\\x' || encode({column}, 'hex')"
        case Kind.TEXT | Kind.JSON | Kind.OTHER:
            return f"CAST({column} AS text)"
    return column
