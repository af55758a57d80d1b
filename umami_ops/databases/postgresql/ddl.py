"""Writes CREATE TABLE, CREATE INDEX and ALTER TABLE statements for PostgreSQL 13 and later.

Takes tables as values and returns text: knows no connection. Statements are built as sqlglot expressions,
every identifier quoted. Primary keys, indexes and foreign keys keep their names, since Umami's later
migrations drop indexes by name.
"""

from __future__ import annotations

import sqlglot
from sqlglot import exp

from umami_ops.umami.schema import Column, ForeignKey, Index, PrimaryKey, Table

_DIALECT = "postgres"


def create_statements(table: Table, *, schema: str | None = None) -> list[str]:
    """Return CREATE TABLE and its CREATE INDEX statements, in the order to run them; foreign keys come apart.

    `schema` names the PostgreSQL schema to create in; without it the search path decides.
    """
    return [table_statement(table, schema=schema), *index_statements(table, schema=schema)]


def table_statement(table: Table, *, schema: str | None = None, temporary: bool = False) -> str:
    """Return the CREATE TABLE statement, with the primary key but no other index: right for a fast load."""
    parts: list[exp.Expression] = [_column(column) for column in table.columns]
    if table.primary_key:
        parts.append(_primary_key(table.primary_key))
    body = exp.Schema(this=_table(table.name, schema), expressions=parts)
    properties = exp.Properties(expressions=[exp.TemporaryProperty()]) if temporary else None
    return exp.Create(this=body, kind="TABLE", properties=properties).sql(dialect=_DIALECT)


def primary_key_statements(table: Table, *, schema: str | None = None) -> list[str]:
    """Return an ALTER TABLE statement that adds the primary key to a table created without one.

    After a big load it is built by one sort, where filling it row by row touches a random page for each.
    """
    if table.primary_key is None:
        return []
    return [_add_constraint(_primary_key(table.primary_key), _table(table.name, schema))]


def index_statements(table: Table, *, schema: str | None = None) -> list[str]:
    """Return one CREATE INDEX statement for each secondary index; each locks the table against writes."""
    return [_index(index, _table(table.name, schema)).sql(dialect=_DIALECT) for index in table.indexes]


def column_definition(column: Column) -> str:
    """Return a column as ALTER TABLE reads it: its name, type, default and whether it takes NULL."""
    return _column(column).sql(dialect=_DIALECT)


def foreign_key_statements(table: Table, *, schema: str | None = None) -> list[str]:
    """Return an ALTER TABLE statement for each foreign key; run them when all tables are there."""
    return [
        _add_constraint(_foreign_key(key, schema), _table(table.name, schema)) for key in table.foreign_keys
    ]


def _quoted(name: str) -> exp.Identifier:
    return exp.to_identifier(name, quoted=True)


def _table(name: str, schema: str | None) -> exp.Table:
    return exp.Table(this=_quoted(name), db=_quoted(schema) if schema else None)


def _add_constraint(constraint: exp.Constraint, table: exp.Table) -> str:
    action = exp.AddConstraint(expressions=[constraint])
    return exp.Alter(this=table, kind="TABLE", actions=[action]).sql(dialect=_DIALECT)


def _column(column: Column) -> exp.ColumnDef:
    constraints: list[exp.Expression] = []
    if not column.nullable:
        constraints.append(exp.NotNullColumnConstraint())
    if column.default is not None:
        value = sqlglot.parse_one(column.default, read=_DIALECT)
        constraints.append(exp.DefaultColumnConstraint(this=value))
    return exp.ColumnDef(
        this=_quoted(column.name),
        kind=_type(column.type),
        constraints=[exp.ColumnConstraint(kind=constraint) for constraint in constraints],
    )


def _type(text: str) -> exp.DataType:
    """Return a type as the catalogue spells it: sqlglot doesn't know all of them, and not all of some."""
    return exp.DataType(this=exp.DataType.Type.USERDEFINED, kind=text)


def _primary_key(key: PrimaryKey) -> exp.Constraint:
    columns = [_quoted(name) for name in key.columns]
    return exp.Constraint(this=_quoted(key.name), expressions=[exp.PrimaryKey(expressions=columns)])


def _foreign_key(key: ForeignKey, schema: str | None) -> exp.Constraint:
    referenced = exp.Schema(
        this=_table(key.references, schema), expressions=[_quoted(name) for name in key.referenced_columns]
    )
    foreign = exp.ForeignKey(
        expressions=[_quoted(name) for name in key.columns], reference=exp.Reference(this=referenced)
    )
    return exp.Constraint(this=_quoted(key.name), expressions=[foreign])


def _index(index: Index, table: exp.Table) -> exp.Create:
    # nulls_first=False is PostgreSQL's own default: with it sqlglot writes no NULLS clause.
    columns = [exp.Ordered(this=exp.Column(this=_quoted(name)), nulls_first=False) for name in index.columns]
    definition = exp.Index(this=_quoted(index.name), table=table, params=exp.IndexParameters(columns=columns))
    return exp.Create(this=definition, kind="INDEX", unique=index.unique)
