"""A schema as it is, on which changes can be tried without making them. Reads the catalogue once.

`is_made` says whether a change's effect is there, `obstacle` why it would fail, `make` what comes after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter

from umami_ops.databases.base import Connection
from umami_ops.umami.changes import (
    AddColumn,
    AddForeignKey,
    AddIndex,
    AddTable,
    Change,
    ChangeType,
    DropColumn,
    DropIndex,
    DropTable,
    Move,
    RenameColumn,
    RequireValues,
    same_type,
)
from umami_ops.umami.schema import Index, Schema


@dataclass(frozen=True)
class ColumnHere:
    """A column as the catalogue shows it."""

    type: str
    nullable: bool
    default: str | None


@dataclass(frozen=True)
class IndexHere:
    """An index as the catalogue shows it; a `plain` one is neither partial nor of expressions."""

    table: str
    name: str
    columns: tuple[str | None, ...]
    unique: bool
    valid: bool
    plain: bool
    primary: bool = False

    def serves_as(self, index: Index) -> bool:
        """Say whether it is that index under whatever name."""
        return self.plain and self.valid and (self.columns, self.unique) == (index.columns, index.unique)


@dataclass(frozen=True)
class Hitch:
    """Why a change would fail: `what` for programs, a sentence for people, and what stands in the way."""

    what: str
    sentence: str
    subject: str


@dataclass
class State:
    """Tables with their columns, indexes, and what forbids to drop some of them."""

    tables: dict[str, dict[str, ColumnHere]]
    indexes: list[IndexHere]
    readers: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    partitioned: frozenset[str] = frozenset()
    index_names_are_global: bool = True

    def index(self, table: str, name: str) -> IndexHere | None:
        """Return the table's index of that name."""
        return next((i for i in self.indexes if (i.table, i.name) == (table, name)), None)

    def twin(self, table: str, index: Index, schema: Schema | None) -> IndexHere | None:
        """Return an index like the one that is missing, under a name that isn't Umami's."""
        known = {own.name for own in schema.table(table).indexes} if schema and table in schema else set()
        return next(
            (
                here
                for here in self.indexes
                if here.table == table
                and not here.primary
                and here.name not in known
                and here.serves_as(index)
            ),
            None,
        )

    def has(self, table: str, column: str) -> bool:
        """Say whether the table has the column."""
        return column in self.tables.get(table, {})

    def is_made(self, change: Change) -> bool:
        """Say whether a change's effect is there; of a move, whether nothing is left for it to read."""
        match change:
            case AddTable():
                return all(self.has(change.table.name, column) for column in change.table.column_names)
            case DropTable():
                return change.table not in self.tables
            case AddColumn():
                return self.has(change.table, change.column.name)
            case RequireValues():
                here = self.tables.get(change.table, {}).get(change.column.name)
                return here is not None and not here.nullable
            case RenameColumn():
                return self.has(change.table, change.after.name) and not self.has(change.table, change.before)
            case ChangeType():
                here = self.tables.get(change.table, {}).get(change.after.name)
                return here is not None and same_type(here.type, change.after.type)
            case DropColumn():
                return not self.has(change.table, change.column.name)
            case AddIndex():
                found = self.index(change.table, change.index.name)
                return found is not None and found.valid
            case DropIndex():
                return self.index(change.table, change.index.name) is None
            case AddForeignKey():
                return change.key.name in self.owners.values()
            case Move():
                return not self.has(*change.source)

    def hitches(self, change: Change) -> Iterator[Hitch]:
        """Yield the reasons for which a migration would fail at a change, as far as the catalogue shows
        them.
        """
        match change:
            case AddTable():
                if change.table.name in self.tables:
                    yield _there(f"table {change.table.name}", change.table.name)
            case AddColumn():
                if self.has(change.table, change.column.name):
                    yield _there(f"column {change.table}.{change.column.name}", change.column.name)
            case AddIndex():
                if not change.tolerant and self._is_taken(change):
                    yield _there(f"index {change.index.name}", change.index.name)
                elif change.tolerant and self._is_broken(change):
                    yield Hitch(
                        "index_invalid",
                        f"index {change.index.name} is invalid, and would be passed over as it is",
                        change.index.name,
                    )
            case RenameColumn():
                if not self.has(change.table, change.before):
                    yield _gone(f"column {change.table}.{change.before}", change.before)
            case DropIndex():
                yield from self._hitches_of_drop(change)
            case DropTable():
                if change.table not in self.tables:
                    yield _gone(f"table {change.table}", change.table)
                yield from self._read(change.table, None, "drops")
            case DropColumn():
                if not change.tolerant and not self.has(change.table, change.column.name):
                    yield _gone(f"column {change.table}.{change.column.name}", change.column.name)
                yield from self._read(change.table, change.column.name, "drops")
            case ChangeType():
                yield from self._read(change.table, change.after.name, "changes")
            case Move():
                yield from self._hitches_of_move(change)

    def _hitches_of_drop(self, change: DropIndex) -> Iterator[Hitch]:
        name = change.index.name
        if not change.tolerant and self.index(change.table, name) is None:
            yield Hitch(
                "index_missing", f"index {name} of {change.table} is missing, which it drops by name", name
            )
        elif name in self.owners:
            yield Hitch(
                "index_owned", f"constraint {self.owners[name]} rests on index {name}, which it drops", name
            )

    def _hitches_of_move(self, change: Move) -> Iterator[Hitch]:
        for (table, column), expected in change.types.items():
            here = self.tables.get(table, {}).get(column)
            if here is not None and not same_type(here.type, expected):
                yield Hitch(
                    "column_type",
                    f"{table}.{column} is {here.type}, where it expects {expected}",
                    f"{table}.{column}",
                )

    def _read(self, table: str, column: str | None, verb: str) -> Iterator[Hitch]:
        found = [
            reader
            for (of, name), readers in self.readers.items()
            if of == table and column in (None, name)
            for reader in readers
        ]
        thing = f"{table}.{column}" if column else table
        for reader in dict.fromkeys(found):
            yield Hitch("read_by", f"{reader} reads {thing}, which it {verb}", reader)

    def _is_taken(self, change: AddIndex) -> bool:
        found = [i.table for i in self.indexes if i.name == change.index.name]
        return bool(found) if self.index_names_are_global else change.table in found

    def _is_broken(self, change: AddIndex) -> bool:
        found = self.index(change.table, change.index.name)
        return found is not None and not found.valid

    def make(self, change: Change) -> None:
        """Become what comes after a change."""
        match change:
            case AddTable():
                self.tables[change.table.name] = {
                    c.name: ColumnHere(c.type, c.nullable, c.default) for c in change.table.columns
                }
            case DropTable():
                self.tables.pop(change.table, None)
                self.indexes = [index for index in self.indexes if index.table != change.table]
            case AddColumn() | RequireValues():
                column = change.column
                here = ColumnHere(column.type, column.nullable, column.default)
                self.tables.setdefault(change.table, {})[column.name] = here
            case RenameColumn():
                columns = self.tables.get(change.table, {})
                columns[change.after.name] = columns.pop(
                    change.before, ColumnHere(change.after.type, change.after.nullable, None)
                )
            case ChangeType():
                here = ColumnHere(change.after.type, change.after.nullable, change.after.default)
                self.tables.setdefault(change.table, {})[change.after.name] = here
            case DropColumn():
                self.tables.get(change.table, {}).pop(change.column.name, None)
            case AddIndex():
                index = change.index
                here_ = IndexHere(
                    change.table, index.name, index.columns, index.unique, valid=True, plain=True
                )
                self.indexes = [i for i in self.indexes if i.name != index.name or i.table != change.table]
                self.indexes.append(here_)
            case DropIndex():
                self.indexes = [
                    i for i in self.indexes if (i.table, i.name) != (change.table, change.index.name)
                ]
            case AddForeignKey() | Move():
                pass

    def copy(self) -> State:
        """Return a state of its own, to try changes on."""
        tables = {name: dict(columns) for name, columns in self.tables.items()}
        return replace(self, tables=tables, indexes=list(self.indexes))


def _there(thing: str, subject: str) -> Hitch:
    return Hitch("already_there", f"{thing} is there already, which it makes", subject)


def _gone(thing: str, subject: str) -> Hitch:
    return Hitch("missing", f"{thing} is missing", subject)


def read_state(connection: Connection) -> State:
    """Return the schema that a connection looks at, from the catalogue."""
    queries = connection.dialect.queries
    tables: dict[str, dict[str, ColumnHere]] = {}
    for row in connection.rows(queries["upgrade.columns"]):
        here = ColumnHere(row["type"], bool(row["nullable"]), row["default"])
        tables.setdefault(row["relation"], {})[row["name"]] = here
    readers: dict[tuple[str, str], list[str]] = {}
    for row in connection.rows(queries["upgrade.readers"]):
        readers.setdefault((row["table"], row["column"]), []).append(row["name"])
    return State(
        tables=tables,
        indexes=list(_indexes(connection)),
        readers=readers,
        owners={row["index"]: row["name"] for row in connection.rows(queries["upgrade.index_owners"])},
        partitioned=frozenset(row["table"] for row in connection.rows(queries["upgrade.partitions"])),
        index_names_are_global=connection.dialect.features.index_names_are_global,
    )


def _indexes(connection: Connection) -> Iterator[IndexHere]:
    found = connection.rows(connection.dialect.queries["health.indexes"])
    for (table, name), group in groupby(found, key=itemgetter("table", "name")):
        rows = list(group)
        yield IndexHere(
            table,
            name,
            tuple(row["column"] for row in rows),
            unique=bool(rows[0]["is_unique"]),
            valid=bool(rows[0]["is_valid"]),
            plain=all(row["plain"] for row in rows),
            primary=bool(rows[0]["is_primary"]),
        )
