"""Which values can't cross to the other database, found by questions to the source before a row is copied.

Each kind of trouble has a policy: `fail`, or what the user has chosen to become of such values. Where only
`fail` is offered, docs/migrate.md says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from umami_ops.databases import kinds, types
from umami_ops.databases.base import Connection
from umami_ops.databases.transit import EVERYTHING, Offence
from umami_ops.operations import namesakes
from umami_ops.rows import Field, KeyRange, Kind, Pair, Repair, Rows
from umami_ops.sql import Query
from umami_ops.transfer.schema import Side
from umami_ops.umami.schema import Column, Table

#: A table of more rows is looked through by two sessions, a half each: ids are random.
_HALVED_ROWS = 50_000
_MIDDLE = "80000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class Policies:
    """What becomes of values that can't cross: `fail`, or the other word that each knows."""

    nul: str = "fail"
    zero_date: str = "fail"
    date: str = "fail"
    long: str = "fail"
    blank: str = "fail"
    same_name: str = "fail"


class Columns(NamedTuple):
    """Some columns of one table, in an order that means something."""

    table: str
    fields: Sequence[Field]


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
    Offence.OUTSIDE_DATETIME: ("a date outside the years 1 to 9999", None, None),
    Offence.TOO_LONG: ("text longer than the target's column", "--on-long", "long"),
    Offence.BLANK_END: ("a blank at the end, which CHAR forgets", "--on-blank", "blank"),
    Offence.NOT_AN_ID: ("an id that isn't a UUID", None, None),
    Offence.TOO_LARGE: ("a number above 2,147,483,647", None, None),
    Offence.NAN: ("no finite number", None, None),
    Offence.NEGATIVE: ("a negative number, for an unsigned column", None, None),
    Offence.NOT_BOOLEAN: ("neither 0 nor 1", None, None),
}
_REPAIRS = {
    (Offence.NUL, "remove"): Repair.REMOVE_NUL,
    (Offence.ZERO_DATE, "null"): Repair.NO_ZERO_DATE,
    (Offence.OUTSIDE_TIMESTAMP, "null"): Repair.NULL_OUTSIDE_TIMESTAMP,
    (Offence.OUTSIDE_TIMESTAMP, "clamp"): Repair.CLAMP_TO_TIMESTAMP,
    (Offence.BLANK_END, "trim"): Repair.TRIM_END,
}
#: Days without a time, which are compared by value and have the same limits.
_DATES = ("date", "date")
_SAME_NAME = "names that MySQL takes for the same"


@dataclass
class Crossing:
    """A table on its way: how its rows travel, and what was found of them.

    `tables` and `sides` are the source's and the target's; `rows` is an estimate. `most_row_bytes` is how
    long a row's text may be for both servers.
    """

    pair: Pair
    tables: tuple[Table, Table]
    sides: tuple[Side, Side]
    rows: int
    most_row_bytes: int
    findings: list[Finding] = field(default_factory=list)

    @property
    def questions(self) -> list[tuple[Field, Offence]]:
        """What may be wrong with values, by their columns' types."""
        asked: list[tuple[Field, Offence]] = []
        for own, other in zip(self.pair.source.fields, self.pair.target.fields, strict=True):
            text = Column(own.name, types.any_text(self.sides[0].dialect))  # an expression's, of any length
            here = text if own.expression else self.tables[0].column(own.name)
            for offence, length in _questions(own, (here, self.tables[1].column(other.name)), self.sides):
                asked.append((replace(own, length=length), offence))
        return asked

    def settle(
        self,
        asked: Sequence[tuple[Field, Offence]],
        answers: Sequence[tuple[int, list[str]]],
        policies: Policies,
    ) -> None:
        """Note what was found, and let rows travel as the policies want."""
        repaired = {item.name: item for item in self.pair.source.fields}
        for (item, offence), (rows, examples) in zip(asked, answers, strict=True):
            if rows:
                word, option, policy = _TROUBLES[offence]
                choice = getattr(policies, policy) if policy else "fail"
                becomes = None if choice == "fail" or self._forbids(item, choice) else choice
                self._note(item.name, word, rows, tuple(examples), option, becomes)
                if becomes:
                    repaired[item.name] = _repaired(repaired[item.name], item, offence, becomes)
        self._travel_as(repaired)

    def _forbids(self, item: Field, choice: str) -> bool:
        """Whether the target's column takes no NULL, which the policy would make."""
        names = [own.name for own in self.pair.source.fields]
        other = self.pair.target.fields[names.index(item.name)]
        return choice == "null" and not other.nullable

    def settle_names(self, connection: Connection, policies: Policies) -> None:
        """Find names that a unique key of the target's takes for the same, though they differ in case, say.

        Of Umami's only short tables of names have such keys; their values are read.
        """
        if self.sides[0].features.keys_ignore_case or not self.sides[1].features.keys_ignore_case:
            return
        repaired = {item.name: item for item in self.pair.source.fields}
        for column in _unique_texts(self.pair.source, self.tables[1]):
            name = connection.transit().text(repaired[column])
            named = namesakes.named(connection, self.pair.source, name)
            same = namesakes.alike(named)
            if not same:
                continue
            may_rename = policies.same_name == "rename" and self.pair.source.key is not None
            becomes = None
            if may_rename:
                length = kinds.text_length(self.tables[1].column(column).type)
                renamed = namesakes.renames(same, [text for _, text in named], length or 255)
                becomes = ", ".join(renamed.values())
                expression = namesakes.renaming(connection, self.pair.source, name, renamed)
                repaired[column] = replace(repaired[column], expression=expression, length=None, repair=None)
            shown = tuple(" and ".join(text for _, text in group) for group in same[:3])
            count = sum(len(group) for group in same)
            self._note(column, _SAME_NAME, count, shown, "--on-same-name", becomes)
        self._travel_as(repaired)
        self._find_alike(connection)

    def _find_alike(self, connection: Connection) -> None:
        """Find the same under keys of several columns, text among them: tables of users' own have those."""
        names = dict(zip(self.pair.target.names, self.pair.source.fields, strict=True))
        for key in _unique_keys(self.tables[1]):
            fields = [names[column] for column in key if column in names]
            if len(key) == 1 or len(fields) < len(key) or all(item.kind is not Kind.TEXT for item in fields):
                continue
            same = namesakes.alike_together(connection, replace(self.pair.source, fields=tuple(fields)))
            if same:
                shown = tuple(" and ".join(f"({', '.join(row)})" for row in group) for group in same[:3])
                count = sum(len(group) for group in same)
                self._note(" and ".join(key), _SAME_NAME, count, shown, None, None)

    def find_doubles(self, connection: Connection) -> None:
        """Find rows that share what must be unique at the target, where no key of the source's forbids it."""
        own = {index.columns for index in self.tables[0].indexes if index.unique}
        own |= {self.tables[0].primary_key.columns} if self.tables[0].primary_key else set()
        names = dict(zip(self.pair.target.names, self.pair.source.fields, strict=True))
        ignores_case = all(side.features.keys_ignore_case for side in self.sides)
        for key in _unique_keys(self.tables[1]):
            fields = [names[column] for column in key if column in names]
            given = {item.name for item in fields if item.is_whole}
            is_kept = any(given.issuperset(columns) for columns in own)
            # A user's text may be in a collation that tells more apart than that of the tables we make.
            may_merge = ignores_case and any(item.kind is Kind.TEXT for item in fields)
            if len(fields) < len(key) or (is_kept and not may_merge):
                continue
            texts = [connection.transit().as_key(item) for item in fields]
            present = " AND ".join(f"{text} IS NOT NULL" for text in texts)
            query = Query(
                "migrate.doubles",
                "",
                f"SELECT COUNT(*) AS row_count FROM {connection.dialect.quote(self.pair.source.table)}"  # noqa: S608
                f" WHERE {present} GROUP BY {', '.join(texts)} HAVING COUNT(*) > 1",
            )
            found = [int(row["row_count"]) for row in connection.rows(query)]
            if found:
                self._note(" and ".join(key), "the same in several rows, where it must be unique",
                           sum(found), (), None, None)  # fmt: skip

    def find_orphans(self, connection: Connection, parents: Mapping[str, Crossing]) -> None:
        """Find rows that refer to none, by a foreign key that the target would then refuse to make.

        MySQL holds such rows, of a time when it was told not to look, and PostgreSQL those of a key that is
        NOT VALID; and of texts MySQL takes some for the same that differ.
        """
        if not self.sides[1].features.checks_foreign_keys:
            return
        names = dict(zip(self.pair.target.names, self.pair.source.fields, strict=True))
        for key in self.tables[1].foreign_keys:
            parent = parents[key.references].pair
            theirs = dict(zip(parent.target.names, parent.source.fields, strict=True))
            own = Columns(self.pair.source.table, [names[column] for column in key.columns])
            other = Columns(parent.source.table, [theirs[column] for column in key.referenced_columns])
            for row in connection.rows(_orphans(connection, own, other)):
                trouble = f"refers to no row of {key.references}, by foreign key {key.name}"
                self._note(", ".join(key.columns), trouble, int(row["row_count"]), (str(row["example"]),),
                           None, None)  # fmt: skip

    def find_long_rows(self, connection: Connection) -> None:
        """Find rows that are longer, as text, than one of the servers takes or sends."""
        here = self.tables[0]
        wide = [item.name for item in self.pair.source.fields if kinds.may_be_long(_type(here, item.name))]
        if not wide:
            return
        count, examples = connection.transit().long_rows(self.pair.source, self.most_row_bytes)
        if count:
            trouble = f"a row of more than {self.most_row_bytes:,} bytes, bytes counted as two each"
            self._note(", ".join(wide), trouble, count, tuple(examples), None, None)

    def _note(
        self, column: str, trouble: str, rows: int, examples: tuple[str, ...], option: str | None,
        becomes: str | None,
    ) -> None:  # fmt: skip
        self.findings.append(
            Finding(self.pair.source.table, column, trouble, rows, examples, option, becomes)
        )

    def _travel_as(self, fields: dict[str, Field]) -> None:
        kept = tuple(fields[item.name] for item in self.pair.source.fields)
        self.pair = replace(self.pair, source=replace(self.pair.source, fields=kept))


def cross(sessions: Sequence[Connection], crossings: Sequence[Crossing], policies: Policies) -> None:
    """Ask the source about all tables, on several sessions at once; settle what becomes of the answers."""
    asked = [crossing.questions for crossing in crossings]
    work = [
        (place, keys)
        for place, crossing in sorted(enumerate(crossings), key=lambda item: -item[1].rows)
        if asked[place]
        for keys in _halves(crossing)
    ]
    suspects: set[int] = set()

    def look(connection: Connection) -> None:
        while work:
            try:
                place, keys = work.pop(0)
            except IndexError:
                return
            if connection.transit().offends(crossings[place].pair.source, asked[place], keys):
                suspects.add(place)

    with ThreadPoolExecutor(max_workers=len(sessions)) as pool:
        for done in [pool.submit(look, connection) for connection in sessions]:
            done.result()
    for place, crossing in enumerate(crossings):
        if place in suspects:
            answers = sessions[0].transit().offences(crossing.pair.source, asked[place])
            crossing.settle(asked[place], answers, policies)
        crossing.settle_names(sessions[0], policies)
        crossing.find_doubles(sessions[0])
        crossing.find_long_rows(sessions[0])
    parents = {crossing.pair.target.table: crossing for crossing in crossings}
    for crossing in crossings:
        crossing.find_orphans(sessions[0], parents)


def _orphans(connection: Connection, child: Columns, parent: Columns) -> Query:
    """Return the question for rows whose columns, none of them NULL, are in no row of another table.

    The answer is one of them and how many there are, or no row. A join of two hashes, wherever the server has
    those: no index helps expressions.
    """
    quote, transit = connection.dialect.quote, connection.transit()
    names = [f"k{place}" for place, _ in enumerate(child.fields)]
    own, other = (
        ", ".join(f"{transit.exact(item)} AS {name}" for item, name in zip(part.fields, names, strict=True))
        for part in (child, parent)
    )
    same = " AND ".join(f"p.{name} = c.{name}" for name in names)
    given = " AND ".join(f"c.{name} IS NOT NULL" for name in names)
    return Query(
        "migrate.orphans",
        "",
        "SELECT c.shown AS example, COUNT(*) OVER () AS row_count"  # noqa: S608
        f" FROM (SELECT {own}, {transit.text(child.fields[0])} AS shown FROM {quote(child.table)}) AS c"
        f" LEFT JOIN (SELECT DISTINCT {other} FROM {quote(parent.table)}) AS p ON {same}"
        f" WHERE p.k0 IS NULL AND {given} ORDER BY c.k0 LIMIT 1",
    )


def _halves(crossing: Crossing) -> list[KeyRange]:
    rows = crossing.pair.source
    is_id = any(item.name == rows.key and item.kind is Kind.ID for item in rows.fields)
    if not is_id or crossing.rows < _HALVED_ROWS:
        return [EVERYTHING]
    return [KeyRange(None, _MIDDLE), KeyRange(_MIDDLE, None)]


def _unique_keys(table: Table) -> list[tuple[str, ...]]:
    keys = [index.columns for index in table.indexes if index.unique]
    return list(dict.fromkeys([*keys, *([table.primary_key.columns] if table.primary_key else [])]))


def _unique_texts(rows: Rows, target: Table) -> list[str]:
    """Return the source's columns of text that must be unique by themselves at the target."""
    texts = {item.name for item in rows.fields if item.kind is Kind.TEXT}
    return [key[0] for key in _unique_keys(target) if len(key) == 1 and key[0] in texts]


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
        case Kind.TIME | Kind.OTHER if own.kind is Kind.TIME or (here.type, there.type) == _DATES:
            if source.features.has_zero_dates and not target.features.has_zero_dates:
                yield Offence.ZERO_DATE, None
            if _ends_in_2038(there, target) and not _ends_in_2038(here, source):
                yield Offence.OUTSIDE_TIMESTAMP, None
            if there.type.startswith("date") and not source.features.timestamps_end_in_2038:
                yield Offence.OUTSIDE_DATETIME, None
        case Kind.DECIMAL | Kind.FLOAT if source.features.holds_nan and not target.features.holds_nan:
            yield Offence.NAN, None
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
    limits = (kinds.text_length(here.type), kinds.text_length(there.type))
    if limits[1] is not None and (limits[0] is None or limits[0] > limits[1]):
        yield Offence.TOO_LONG, limits[1]


def _type(table: Table, name: str) -> str:
    return next((column.type for column in table.columns if column.name == name), "")


def _ends_in_2038(column: Column, side: Side) -> bool:
    return side.features.timestamps_end_in_2038 and column.type.startswith("timestamp")


def _is_padded(column: Column) -> bool:
    return column.type.startswith(("char(", "character("))


def _repaired(item: Field, asked: Field, offence: Offence, choice: str) -> Field:
    if offence is Offence.TOO_LONG:
        return replace(item, length=asked.length)
    return replace(item, repair=_REPAIRS[offence, choice])
