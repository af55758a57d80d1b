"""What a schema becomes on the other side, and as what each column travels.

Umami's own tables become what its migrations make there (`umami/schema.py`); what users added is translated
by type. Knows no connection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from umami_ops.databases import kinds
from umami_ops.databases.base import Features
from umami_ops.databases.dialects import dialect_named
from umami_ops.databases.transit import Description
from umami_ops.errors import Refused
from umami_ops.rows import Field, Kind, Pair, Repair, Rows
from umami_ops.umami.schema import Column, ForeignKey, Index, PrimaryKey, Schema, Table, id_columns, schema_at

PRISMA_TABLE = "_prisma_migrations"
#: What begins so is ours, and stands in Umami's schema on MySQL alone, for a while.
OURS_PREFIX = "_umami_ops_"
#: What text may hold that is a key where keys have a longest length; InnoDB takes 768 of four bytes in all.
_KEY_CHARACTERS = 255
_LETTER_BYTES = 4


@dataclass(frozen=True)
class Side:
    """One end of a move: `dialect` decides types, `flavour` (postgresql, mysql, mariadb) what is alike."""

    dialect: str
    flavour: str

    @property
    def features(self) -> Features:
        """What the dialect can and can't do."""
        return dialect_named(self.dialect).features


@dataclass(frozen=True)
class Translation:
    """The tables to create, and sentences about what couldn't be translated."""

    tables: tuple[Table, ...]
    remarks: tuple[str, ...] = ()

    def table(self, name: str) -> Table:
        """Return the table of that name."""
        return next(table for table in self.tables if table.name == name)


def require_unbound(source: Description, tables: Collection[str], hint: str) -> None:
    """Raise Refused where one of these tables has a column whose type can't be taken along."""
    for table, column in source.bound:
        if table in tables:
            raise Refused(
                f"Column {table}.{column.name} has a type that can't be taken along: {column.type}.",
                hint=hint,
                done="Nothing was changed.",
            )


def require_no_heirs(source: Description, tables: Collection[str]) -> None:
    """Raise Refused where another table inherits from one of these: its rows would come twice.

    What is ours and does so, in a change of partitions, is told of where that is asked for.
    """
    for table, heir in source.heirs:
        if table in tables and not is_ours(heir):
            raise Refused(
                f"Table {heir} inherits from {table}: whoever reads {table} gets the rows of both.",
                hint=f"ALTER TABLE {heir} NO INHERIT {table} parts them; `umami-ops backup` dumps them as "
                "they are.",
                done="Nothing was changed.",
            )


def is_ours(table: str) -> bool:
    """Whether a table is umami-ops's own."""
    return table.startswith(OURS_PREFIX)


def is_ours_or_prismas(table: str) -> bool:
    """Whether a table is bookkeeping, which never travels as it is."""
    return table == PRISMA_TABLE or is_ours(table)


def translate(
    source: Description, side: Side, target: Side, level: int, *, source_level: int | None = None
) -> Translation:
    """Return the tables that `source` becomes at `level` of Umami; the source's own level may be higher.

    All of Umami's tables at that level are there, with every column and index that its migrations make, in
    their order; users' columns, indexes and tables follow. What Umami has on the source's side alone is left
    out, with a remark. Raises Refused for a type that another server of the same dialect may not
    have, and for one without a text where the other dialect is to read it.
    """
    known = schema_at(target.dialect, level)
    own = schema_at(side.dialect, source_level or level)
    tables: list[Table] = []
    remarks = [str(thing) for thing in source.others]
    here = {table.name: table for table in source.tables if not is_ours_or_prismas(table.name)}
    for name in sorted({*here, *known.table_names}):
        if name not in here:
            tables.append(known.table(name))
            continue
        if name in own and name not in known:
            remarks.append(f"table {name}: Umami has none at level {level}")
            continue
        require_no_heirs(source, [name])
        if side.dialect == target.dialect:
            require_unbound(
                source, [name], "A dump takes it along: `umami-ops backup`, then `restore --target-url`."
            )
        elif not side.features.types_have_text:
            require_unbound(source, [name], "Drop it, or keep what it holds in a column of text.")
        umami = known.table(name) if name in known else None
        added = _without(here[name], own.table(name), umami, remarks) if umami and name in own else here[name]
        tables.append(_translated(added, umami, side, target, remarks))
    tables = list(_with_keys_that_hold(tables, known, target, remarks))
    if target.features.index_names_are_global:
        umamis = {index.name: table.name for table in known.tables for index in table.indexes}
        tables = list(_with_names_of_their_own(tables, umamis, remarks))
    return Translation(tuple(tables), tuple(remarks))


def referred_first(tables: Collection[Table]) -> list[str]:
    """Return the tables' names, each behind those that its foreign keys refer to, unless in a circle."""
    referred = {table.name: [key.references for key in table.foreign_keys] for table in tables}
    order: list[str] = []
    entered: set[str] = set()

    def enter(name: str) -> None:
        if name in referred and name not in entered:
            entered.add(name)
            for other in referred[name]:
                enter(other)
            order.append(name)

    for name in sorted(referred):
        enter(name)
    return order


def pair(source: Table, side: Side, target: Table, target_side: Side) -> Pair:
    """Return how a table's rows travel: the columns that both have, and as what."""
    fields: list[tuple[Field, Field]] = []
    for column in source.columns:
        name = renamed(source.name, column.name, target)
        if name in target.column_names:
            fields.append(_fields(source.name, column, side, target.column(name), target_side))
    key = _key(source)
    other = _key(target)
    same = key is not None and other is not None and renamed(source.name, key, target) == other
    names = {field.name: other_field.name for field, other_field in fields}
    telling = _primary_key(source, target, names)
    there = tuple(names[name] for name in telling)
    return Pair(
        Rows(source.name, tuple(field for field, _ in fields), key if same else None, telling),
        Rows(target.name, tuple(field for _, field in fields), other if same else None, there),
    )


def rows_of(table: Table, side: Side) -> Rows:
    """Return a table's rows as they travel into a file: all columns, at their full precision."""
    return pair(table, side, table, side).source


def renamed(table: str, column: str, target: Table) -> str:
    """Return a column's name on the other side; up to level 5 the two dialects disagree about one."""
    other = {"event_key": "session_key", "session_key": "event_key"}.get(column, column)
    is_there = column in target.column_names or other not in target.column_names
    return column if table != "session_data" or is_there else other


def _without(table: Table, own: Table, umami: Table, remarks: list[str]) -> Table:
    """Return a table without what Umami has on this side and not on the other."""
    homeless = {
        name
        for name in own.column_names
        if name in table.column_names and renamed(table.name, name, umami) not in umami.column_names
    }
    remarks += [f"column {table.name}.{name}: Umami has none there" for name in sorted(homeless)]
    theirs = {index.name for index in own.indexes} - {index.name for index in umami.indexes}
    return replace(
        table,
        columns=tuple(column for column in table.columns if column.name not in homeless),
        indexes=tuple(index for index in table.indexes if index.name not in theirs),
    )


def _translated(table: Table, umami: Table | None, side: Side, target: Side, remarks: list[str]) -> Table:
    theirs = umami.columns if umami else ()
    known = {column.name for column in theirs}
    added = [
        column for column in table.columns if renamed(table.name, column.name, umami or table) not in known
    ]
    if side.dialect != target.dialect:
        added = [_translated_column(table, column, side, target, remarks) for column in added]
    names = {column.name for column in table.columns}
    missing = [c for c in theirs if not c.nullable and c.default is None and c.name not in names]
    missing = [c for c in missing if renamed(table.name, c.name, table) not in names]
    kept = [column for column in theirs if column not in missing]
    columns = (*kept, *added)
    present = {column.name for column in columns}
    own = {index.name for index in umami.indexes} if umami else set()
    indexes = [index for index in (umami.indexes if umami else ()) if present.issuperset(index.columns)]
    dialect = dialect_named(target.dialect)
    wide = {column.name for column in columns if column.type in dialect.long_types}
    for index in table.indexes:
        if index.name not in own and present.issuperset(index.columns):
            if not wide.isdisjoint(index.columns):
                remarks.append(
                    f"index {index.name} on {table.name}: {dialect.title} indexes no text without a length"
                )
            elif _is_too_long(index, columns, dialect.most_key_bytes):
                remarks.append(
                    f"index {index.name} on {table.name}: {dialect.title} indexes no more than"
                    f" {dialect.most_key_bytes:,} bytes of a row, four a character"
                )
            elif not _stands_for(index, indexes):
                indexes.append(index)
    primary = umami.primary_key if umami and umami.primary_key else table.primary_key
    if primary and not wide.isdisjoint(primary.columns):
        remarks.append(f"primary key of {table.name}: {dialect.title} indexes no such type without a length")
        primary = None
    elif primary and not umami and _is_too_long(primary, columns, dialect.most_key_bytes):
        remarks.append(
            f"primary key of {table.name}: {dialect.title} indexes no more than"
            f" {dialect.most_key_bytes:,} bytes of a row, four a character"
        )
        primary = None
    if primary and target.dialect != side.dialect and not umami:
        primary = replace(primary, name=dialect.primary_key_name.format(table.name))
    keys = {key.name: key for key in (*(umami.foreign_keys if umami else ()), *table.foreign_keys)}
    return Table(table.name, columns, primary, tuple(indexes), tuple(keys.values()))


def _with_names_of_their_own(
    tables: Collection[Table], umamis: Mapping[str, str], remarks: list[str]
) -> Iterator[Table]:
    """Yield the tables with other names for those users' indexes whose name a table or an index has.

    `umamis` are the tables by the indexes of Umami's, which keep their names.
    """
    keys = {table.primary_key.name for table in tables if table.primary_key}
    taken = {*umamis, *keys, *(table.name for table in tables), PRISMA_TABLE, f"{PRISMA_TABLE}_pkey"}
    for table in tables:
        indexes = []
        for index in table.indexes:
            name, number = index.name, 1
            while name in taken and umamis.get(name) != table.name:
                name = f"{table.name}_{index.name}_idx{number if number > 1 else ''}"
                number += 1
            if name != index.name:
                remarks.append(f"index {index.name} on {table.name}: it becomes {name}, as the name is taken")
            taken.add(name)
            indexes.append(replace(index, name=name))
        yield replace(table, indexes=tuple(indexes))


def _with_keys_that_hold(
    tables: Collection[Table], known: Schema, target: Side, remarks: list[str]
) -> Iterator[Table]:
    """Yield the tables with the foreign keys that the target can make, and columns of types that fit.

    Text that refers to an id becomes an id; Umami's own columns stay as they are.
    """
    by_name = {table.name: table for table in tables}
    taken: set[str] = set()
    for table in tables:
        umamis = known.table(table.name).column_names if table.name in known else ()
        keys: list[ForeignKey] = []
        types: dict[str, str] = {}
        for key in table.foreign_keys:
            other = by_name.get(key.references)
            missing = other is None or not set(key.referenced_columns) <= set(other.column_names)
            if other is None or missing or not set(key.columns) <= set(table.column_names):
                remarks.append(f"foreign key {key.name} on {table.name}: what it is about isn't there")
                continue
            for own, referred in zip(key.columns, key.referenced_columns, strict=True):
                if kinds.kind_of(other.column(referred).type) is Kind.ID and own not in umamis:
                    types[own] = other.column(referred).type
            name = key.name
            while target.features.foreign_key_names_are_global and name.lower() in taken:
                name = f"{table.name}_{name}"
            if name != key.name:
                remarks.append(
                    f"foreign key {key.name} on {table.name}: it becomes {name}, as the name is taken"
                )
            taken.add(name.lower())
            keys.append(replace(key, name=name))
        columns = (replace(item, type=types.get(item.name, item.type)) for item in table.columns)
        yield replace(table, columns=tuple(columns), foreign_keys=tuple(keys))


def _is_too_long(index: Index | PrimaryKey, columns: Collection[Column], most_bytes: int | None) -> bool:
    """Whether the text alone that an index is of may be longer than an index's key."""
    letters = sum(kinds.text_length(column.type) or 0 for column in columns if column.name in index.columns)
    return most_bytes is not None and _LETTER_BYTES * letters > most_bytes


def _stands_for(index: Index, others: Collection[Index]) -> bool:
    """Whether an index of the other dialect's has a twin under another name already."""
    return any(index.columns == other.columns and index.unique == other.unique for other in others)


def _translated_column(table: Table, column: Column, side: Side, target: Side, remarks: list[str]) -> Column:
    from umami_ops.databases import types

    type_ = types.translated(column.type, side.dialect, target.dialect)
    plain = type_ or types.any_text(target.dialect)
    is_key = table.primary_key is not None and column.name in table.primary_key.columns
    is_text = kinds.kind_of(column.type) is Kind.TEXT
    if is_key and is_text and plain in dialect_named(target.dialect).long_types:
        plain = types.bounded_text(_KEY_CHARACTERS, target.dialect)
    if plain != type_:
        type_ = plain
        remarks.append(f"column {table.name}.{column.name}: {column.type} becomes {type_}")
    default = _default(column.default, side, target, type_)
    if column.default is not None and default is None:
        remarks.append(f"default of {table.name}.{column.name}: {column.default}")
    return Column(column.name, type_, column.nullable, default)


def _default(text: str | None, side: Side, target: Side, type_: str) -> str | None:
    """Return a default in the other dialect's spelling; None for what is more than a value."""
    if text is None or type_ in dialect_named(target.dialect).long_types:
        return None
    from umami_ops.databases import types

    return types.translated_default(text, side.dialect, target.dialect, type_)


def _fields(table: str, column: Column, side: Side, other: Column, target: Side) -> tuple[Field, Field]:
    kind = _kind(table, column, other)
    is_alike = side.flavour == target.flavour and column.type == other.type
    digits: tuple[int | None, int | None] = (None, None)
    if kind is Kind.TIME:
        own = kinds.time_digits(column.type, side.dialect)
        theirs = kinds.time_digits(other.type, target.dialect)
        digits = (_digits(own, theirs, side, target), _digits(theirs, own, target, side))
    return (
        Field(column.name, kind, column.nullable, digits[0], is_alike, repair=_repair(column, other)),
        Field(other.name, kind, other.nullable, digits[1], is_alike, repair=_repair(other, column)),
    )


def _repair(column: Column, other: Column) -> Repair | None:
    """Return what makes a number of one that only this side writes in a way of its own."""
    is_odd = kinds.is_odd_number(column.type) and column.type != other.type
    return Repair.PLAIN_NUMBER if is_odd else None


def _digits(own: int, other: int, side: Side, target: Side) -> int | None:
    """Return the digits to cut a time to on one side: None where the server's own text has just those."""
    shows_all = side.features.times_show_all_digits
    if own <= other and (shows_all or not target.features.times_show_all_digits):
        return None
    return min(own, other)


def _kind(table: str, column: Column, other: Column) -> Kind:
    if column.name in id_columns(table):
        return Kind.ID
    own, theirs = kinds.kind_of(column.type), kinds.kind_of(other.type)
    if own is theirs:
        return own
    for kind in (Kind.ID, Kind.BOOLEAN, Kind.JSON, Kind.TIME, Kind.BYTES, Kind.FLOAT):
        if kind in (own, theirs):
            return kind
    return own if theirs is Kind.OTHER else theirs


def _primary_key(source: Table, target: Table, names: Mapping[str, str]) -> tuple[str, ...]:
    """Return the shorter primary key of both whose columns both have, by the source's names.

    A partitioned table's has one column more, which tells no rows apart that the others don't.
    """
    own = {other: name for name, other in names.items()}
    keys = [key.columns for key in (source.primary_key,) if key and names.keys() >= set(key.columns)]
    if target.primary_key and own.keys() >= set(target.primary_key.columns):
        keys.append(tuple(own[column] for column in target.primary_key.columns))
    return min(keys, key=len, default=())


def _key(table: Table) -> str | None:
    """Return the first column of the primary key, if both dialects order and write its values alike."""
    if table.primary_key is None:
        return None
    column = table.column(table.primary_key.columns[0])
    kind = Kind.ID if column.name in id_columns(table.name) else kinds.kind_of(column.type)
    return column.name if kind in (Kind.ID, Kind.INTEGER) and not kinds.is_odd_number(column.type) else None
