"""Writes CREATE TABLE, CREATE INDEX and ALTER TABLE statements for MySQL 8 and later, and MariaDB.

Takes tables as values and returns text: knows no connection. Statements are built as sqlglot expressions,
every identifier quoted. Tables are InnoDB, utf8mb4 and utf8mb4_unicode_ci, as Umami's own migrations make
them.
"""

from __future__ import annotations

import re

import sqlglot
from sqlglot import exp

from umami_ops.umami.schema import Column, ForeignKey, Index, Table

_DIALECT = "mysql"
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def create_statements(table: Table, *, schema: str | None = None) -> list[str]:
    """Return CREATE TABLE and its CREATE INDEX statements, in the order to run them; foreign keys come apart.

    `schema` names the database to create in; without it the connection's own database is meant.
    """
    return [table_statement(table, schema=schema), *index_statements(table, schema=schema)]


def table_statement(table: Table, *, schema: str | None = None, temporary: bool = False) -> str:
    """Return the CREATE TABLE statement, with the primary key but no other index: right for a fast load."""
    parts: list[exp.Expression] = [_column(column) for column in table.columns]
    if table.primary_key:
        parts.append(exp.PrimaryKey(expressions=[_quoted(name) for name in table.primary_key.columns]))
    body = exp.Schema(this=_table(table.name, schema), expressions=parts)
    properties = exp.Properties(
        expressions=[
            *([exp.TemporaryProperty()] if temporary else []),
            exp.EngineProperty(this=exp.var("InnoDB")),
            exp.CharacterSetProperty(this=exp.var("utf8mb4"), default=True),
            exp.CollateProperty(this=exp.var("utf8mb4_unicode_ci")),
        ]
    )
    return exp.Create(this=body, kind="TABLE", properties=properties).sql(dialect=_DIALECT)


def index_statements(table: Table, *, schema: str | None = None) -> list[str]:
    """Return the statements that create the secondary indexes: one ALTER TABLE, as one pass reads the rows.

    InnoDB builds them online; the table stays readable and writable.
    """
    if not table.indexes:
        return []
    actions = [exp.AddConstraint(expressions=[_index(index)]) for index in table.indexes]
    return [_alter(table.name, schema, actions)]


def column_definition(column: Column) -> str:
    """Return a column as ALTER TABLE reads it: its name, type, default and whether it takes NULL."""
    return _column(column).sql(dialect=_DIALECT)


def foreign_key_statements(table: Table, *, schema: str | None = None) -> list[str]:
    """Return an ALTER TABLE statement for each foreign key; run them when all tables are there."""
    return [
        _alter(table.name, schema, [exp.AddConstraint(expressions=[_foreign_key(key, schema)])])
        for key in table.foreign_keys
    ]


def _quoted(name: str) -> exp.Identifier:
    return exp.to_identifier(name, quoted=True)


def _table(name: str, schema: str | None) -> exp.Table:
    return exp.Table(this=_quoted(name), db=_quoted(schema) if schema else None)


def _alter(name: str, schema: str | None, actions: list[exp.AddConstraint]) -> str:
    return exp.Alter(this=_table(name, schema), kind="TABLE", actions=actions).sql(dialect=_DIALECT)


def _column(column: Column) -> exp.ColumnDef:
    # NULL is always said: MariaDB makes a TIMESTAMP that says nothing NOT NULL, and updates it by itself.
    constraints: list[exp.Expression] = [exp.NotNullColumnConstraint(allow_null=column.nullable)]
    if column.default is not None:
        constraints.append(_default(column.default))
    return exp.ColumnDef(
        this=_quoted(column.name),
        kind=_type(column.type),
        constraints=[exp.ColumnConstraint(kind=constraint) for constraint in constraints],
    )


def _type(text: str) -> exp.DataType:
    """Return a type as the catalogue spells it: sqlglot doesn't know all of them, and not all of some."""
    return exp.DataType(this=exp.DataType.Type.USERDEFINED, kind=text)


def _default(text: str) -> exp.DefaultColumnConstraint:
    """Return the default that MySQL's catalogue shows as `text`, where a string stands without its quotes."""
    if text.upper().startswith("CURRENT_TIMESTAMP"):
        value = sqlglot.parse_one(text, read=_DIALECT)
    else:
        value = exp.Literal.number(text) if _NUMBER.fullmatch(text) else exp.Literal.string(text)
    return exp.DefaultColumnConstraint(this=value)


def _foreign_key(key: ForeignKey, schema: str | None) -> exp.Constraint:
    referenced = exp.Schema(
        this=_table(key.references, schema), expressions=[_quoted(name) for name in key.referenced_columns]
    )
    foreign = exp.ForeignKey(
        expressions=[_quoted(name) for name in key.columns], reference=exp.Reference(this=referenced)
    )
    return exp.Constraint(this=_quoted(key.name), expressions=[foreign])


def _index(index: Index) -> exp.Expression:
    columns = [_quoted(name) for name in index.columns]
    if index.unique:
        return exp.UniqueColumnConstraint(this=exp.Schema(this=_quoted(index.name), expressions=columns))
    return exp.IndexColumnConstraint(this=_quoted(index.name), expressions=columns)
