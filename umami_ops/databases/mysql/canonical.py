"""A value on the move as MySQL's and MariaDB's SQL: its canonical text, and what can be wrong with it."""

from __future__ import annotations

from umami_ops.databases.transit import Field, Kind, Offence
from umami_ops.rows import Repair

_ID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
#: An escaped NUL in JSON: with one more backslash before it, it would be none. In hexadecimal, since what a
#: backslash means in a literal depends on the session.
_NUL_PATTERN = rb"(^|[^\\])(\\\\)*\\u0000".hex()
_ESCAPED_NUL = f"CONVERT(0x{_NUL_PATTERN} USING utf8mb4)"


def is_plain_nul(item: Field, offence: Offence) -> bool:
    """Whether a question is about NUL characters in text, where several columns can be asked at once."""
    return offence is Offence.NUL and item.kind is not Kind.JSON


def offends(item: Field, offence: Offence, column: str) -> str:
    """Return the condition under which a value offends: 1, 0, or NULL."""
    column = item.expression or column
    match offence:
        case Offence.NUL if item.kind is Kind.JSON:
            return f"CAST({column} AS CHAR) REGEXP {_ESCAPED_NUL}"
        case Offence.NUL:
            return f"LOCATE(0x00, CAST({column} AS BINARY)) > 0"
        case Offence.ZERO_DATE:
            return f"(MONTH({column}) = 0 OR DAYOFMONTH({column}) = 0 OR YEAR({column}) = 0)"
        case Offence.NOT_AN_ID:
            return f"{column} NOT REGEXP '{_ID}'"
        case Offence.TOO_LARGE:
            return f"{column} > 2147483647"
        case Offence.TOO_LONG:
            return f"CHAR_LENGTH({column}) > {item.length}"
        case Offence.OUTSIDE_TIMESTAMP:
            return f"({column} < '1970-01-01 00:00:01' OR {column} >= '2038-01-19 03:14:08')"
        case Offence.OUTSIDE_DATETIME | Offence.NAN:  # it holds none
            return "0"
        case Offence.NEGATIVE:
            return f"{column} < 0"
        case Offence.BLANK_END:
            return f"{column} LIKE '% '"
        case Offence.NOT_BOOLEAN:
            return f"{column} NOT IN (0, 1)"


def text(item: Field, column: str) -> str:
    """Return the expression of a column's canonical text."""
    column = item.expression or column
    if item.length is not None:
        column = f"LEFT({column}, {item.length})"
    match item.repair:
        case Repair.REMOVE_NUL if item.kind is Kind.JSON:
            column = f"REPLACE(CAST({column} AS CHAR), _utf8mb4 0x5C7530303030, '')"
        case Repair.REMOVE_NUL:
            column = f"CONVERT(REPLACE(CAST({column} AS BINARY), 0x00, '') USING utf8mb4)"
        case Repair.NO_ZERO_DATE:
            column = f"CASE WHEN NOT {offends(item, Offence.ZERO_DATE, column)} THEN {column} END"
        case Repair.PLAIN_NUMBER:
            column = f"({column} + 0)"
        case Repair.TRIM_END:
            column = f"TRIM(TRAILING ' ' FROM {column})"
        case Repair.NULL_OUTSIDE_TIMESTAMP:
            column = f"CASE WHEN NOT {offends(item, Offence.OUTSIDE_TIMESTAMP, column)} THEN {column} END"
        case Repair.CLAMP_TO_TIMESTAMP:
            column = f"GREATEST('1970-01-01 00:00:01', LEAST({column}, '2038-01-19 03:14:07'))"
    match item.kind:
        case Kind.TIME if item.digits is not None:
            return f"LEFT({column}, {20 + item.digits if item.digits else 19})"
        case Kind.FLOAT:  # FLOAT's own text has six digits, of eight or nine
            return f"CAST({column} + 0e0 AS CHAR)"
        case Kind.JSON | Kind.OTHER:
            return f"CAST({column} AS CHAR)"
        case Kind.BYTES:
            return f"CONCAT(_utf8mb4 0x5C78, LOWER(HEX({column})))"
    return column
