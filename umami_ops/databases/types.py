"""Column types and defaults of one dialect in the other's words, through sqlglot's syntax trees.

Knows no connection. Umami's own columns need none of this: what they are on either side stands in
`umami/schema.py`. This is for columns and tables that users added.
"""

from __future__ import annotations

import re
from functools import cache

import sqlglot
from sqlglot import exp

from umami_ops.databases.kinds import kind_of
from umami_ops.rows import Kind

#: Our dialects' names → sqlglot's.
_SQLGLOT = {"postgresql": "postgres", "mysql": "mysql"}
_T = exp.DataType.Type

#: The longest CHAR of MySQL's.
_MOST_OF_CHAR = 255
_TO_MYSQL = {
    _T.UUID: "varchar(36)", _T.TEXT: "longtext", _T.NAME: "varchar(64)", _T.JSON: "json", _T.JSONB: "json",
    _T.BOOLEAN: "tinyint(1)", _T.VARBINARY: "longblob", _T.BINARY: "longblob", _T.BLOB: "longblob",
    _T.DOUBLE: "double", _T.FLOAT: "float", _T.DATE: "date", _T.SMALLINT: "smallint", _T.INT: "int",
    _T.BIGINT: "bigint",
}  # fmt: skip
_TO_POSTGRESQL = {
    _T.TINYINT: "smallint", _T.UTINYINT: "smallint", _T.SMALLINT: "smallint", _T.USMALLINT: "integer",
    _T.MEDIUMINT: "integer", _T.UMEDIUMINT: "integer", _T.INT: "integer", _T.UINT: "bigint",
    _T.BIGINT: "bigint", _T.UBIGINT: "numeric(20,0)", _T.BOOLEAN: "boolean", _T.TINYTEXT: "text",
    _T.TEXT: "text", _T.MEDIUMTEXT: "text", _T.LONGTEXT: "text", _T.JSON: "jsonb", _T.BINARY: "bytea",
    _T.VARBINARY: "bytea", _T.BLOB: "bytea", _T.TINYBLOB: "bytea", _T.MEDIUMBLOB: "bytea",
    _T.LONGBLOB: "bytea", _T.DOUBLE: "double precision", _T.FLOAT: "real", _T.DATE: "date",
    _T.YEAR: "smallint", _T.BIT: "numeric(20,0)",
}  # fmt: skip


@cache
def translated(type_: str, source: str, target: str) -> str | None:
    """Return the type that holds the same values in the target's dialect; None where there is none."""
    if source == target:
        return type_
    parsed = _parsed(type_, source)
    arguments = [str(part.this.this) for part in parsed.expressions if isinstance(part, exp.DataTypeParam)]
    listed = ",".join(arguments)
    kind = kind_of(type_)
    if parsed.this in (_T.VARCHAR, _T.CHAR) and listed:
        return _text_type("char" if parsed.this == _T.CHAR else "varchar", int(arguments[0]), target)
    if parsed.this == _T.VARCHAR:
        return "text" if target == "postgresql" else "longtext"
    if kind is Kind.DECIMAL and listed:
        if target == "mysql" and not _fits_mysql(*map(int, arguments)):
            return None
        return f"{'numeric' if target == 'postgresql' else 'decimal'}({listed})"
    if kind is Kind.TIME:
        return _time_type(listed, source, target)
    return (_TO_MYSQL if target == "mysql" else _TO_POSTGRESQL).get(parsed.this)


def any_text(dialect: str) -> str:
    """Return the type that holds text of any length."""
    return "text" if dialect == "postgresql" else "longtext"


def bounded_text(length: int, dialect: str) -> str:
    """Return the type that holds text of so many characters."""
    return _text_type("varchar", length, dialect)


def translated_default(text: str, source: str, target: str, type_: str) -> str | None:
    """Return a default in the target's spelling, for a column of `type_`; None for more than a value."""
    if re.match(r"(?i)(current_timestamp|now\(\))", text):
        digits = re.search(r"\((\d)\)", type_) if target == "mysql" else None
        return "CURRENT_TIMESTAMP" + (f"({digits[1]})" if digits else "")
    if source == "mysql":
        if type_ == "boolean":
            return {"0": "false", "1": "true"}.get(text)
        if bits := re.fullmatch(r"b'([01]+)'", text):
            return str(int(bits[1], 2))
        is_number = re.fullmatch(r"-?\d+(\.\d+)?", text) is not None
        return text if is_number else exp.Literal.string(text).sql(dialect="postgres")
    value = sqlglot.parse_one(text, read="postgres")
    while isinstance(value, exp.Cast):
        value = value.this
    if isinstance(value, exp.Boolean):
        return "1" if value.this else "0"
    if isinstance(value, exp.Neg) and isinstance(value.this, exp.Literal):
        return f"-{value.this.this}"
    return str(value.this) if isinstance(value, exp.Literal) else None


@cache
def _parsed(type_: str, dialect: str) -> exp.DataType:
    if type_ == "tinyint(1)":
        return exp.DataType(this=_T.BOOLEAN)
    try:
        return exp.DataType.build(type_, dialect=_SQLGLOT[dialect], udt=True)
    except Exception:  # noqa: BLE001 -- sqlglot's errors are many, and each means that the type is unknown
        return exp.DataType(this=_T.UNKNOWN)


def _fits_mysql(digits: int, scale: int = 0) -> bool:
    """Whether MySQL's DECIMAL has so many digits, and so many of them behind the point."""
    return digits <= 65 and scale <= min(30, digits)


def _text_type(word: str, length: int, target: str) -> str:
    if target == "postgresql":
        return f"character varying({length})" if word == "varchar" else f"character({length})"
    # A row of InnoDB's holds 65,535 bytes of such columns, four a character.
    if length > 4000:
        return "longtext"
    return f"{word if length <= _MOST_OF_CHAR else 'varchar'}({length})"


def _time_type(listed: str, source: str, target: str) -> str:
    if target == "postgresql":
        return f"timestamp({listed or 0}) with time zone"
    # DATETIME holds all years, where TIMESTAMP ends in 2038.
    return f"datetime({listed or 6})" if source == "postgresql" else f"datetime({listed or 0})"
