"""Loads the named queries of the top-level folder sql/, each file once. Knows no dialect and no driver.

A file holds queries separated by their headers::

    -- name: delete_sessions
    -- Deletes the next batch of sessions that nothing refers to any more.
    DELETE FROM session AS s WHERE s.created_at < :horizon
      AND s.website_id = :website_id                                    --? one_website

Values are written `:name` and always travel as parameters. A line that ends in `--? word` stands only
when the caller asks for that word, one that ends in `--? !word` only when he doesn't; a line `--? word`
by itself begins a block that ends at `--? end` (docs/decisions/0002-conditional-lines.md).

A query may be several statements, each closed by `;` at the end of a line. Above a statement,
`-- deletes: table` or `-- copies: table` says which table's rows its row count counts, and
`-- collect: name` that its one column becomes a list, the value `:name` of the statements after it.

What several queries say in the same words stands once, under `-- part: name`; `--+ name` puts it in.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import indent

_HEADER = re.compile(r"^-- (name|part): (\w+)\s*$", re.MULTILINE)
_INCLUDE = re.compile(r"^([ \t]*)--\+ (\w+)[ \t]*$", re.MULTILINE)
_CONDITION = re.compile(r"\s*--\? (!?)(\w+)\s*$")
_END_OF_STATEMENT = re.compile(r";[ \t]*$", re.MULTILINE)
_MARK = re.compile(r"^-- (deletes|copies|collect): (\w+)\n", re.MULTILINE)
# A single colon before a name: neither the cast `::uuid` nor the minutes of a time literal.
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")


@dataclass(frozen=True)
class Query:
    """One named piece of fixed SQL.

    `name` is file and query, as in `prune.delete_sessions`; `about` the sentence under its header;
    `text` the SQL with `:name` parameters and, until `when` was called, its conditional lines;
    `deletes`, `copies` and `collect` the marks of a single statement.
    """

    name: str
    about: str
    text: str
    deletes: str | None = None
    copies: str | None = None
    collect: str | None = None

    def when(self, words: Iterable[str]) -> Query:
        """Return the query with its conditional lines settled: those asked for by `words` stay."""
        wanted = frozenset(words)
        lines: list[str] = []
        in_dropped_block = False
        for line in self.text.splitlines():
            condition = _CONDITION.search(line)
            if condition is not None:
                stands = (condition[2] in wanted) != (condition[1] == "!")
                line = line[: condition.start()]
                if not line.strip():
                    in_dropped_block = condition[2] != "end" and not stands
                    continue
            else:
                stands = True
            if stands and not in_dropped_block:
                lines.append(line)
        return replace(self, text="\n".join(lines))

    @functools.cached_property
    def words(self) -> frozenset[str]:
        """The words that this query's conditional lines ask about."""
        found = (_CONDITION.search(line) for line in self.text.splitlines())
        return frozenset(condition[2] for condition in found if condition) - {"end"}

    @functools.cached_property
    def statements(self) -> tuple[Query, ...]:
        """The statements of this query one by one, each with what it `deletes` or `collect`s."""
        statements = []
        for text in _END_OF_STATEMENT.split(self.text):
            marks = dict(_MARK.findall(text))
            bare = _MARK.sub("", text).strip()
            if bare:
                statements.append(
                    replace(
                        self,
                        text=bare,
                        deletes=marks.get("deletes"),
                        copies=marks.get("copies"),
                        collect=marks.get("collect"),
                    )
                )
        return tuple(statements)

    @functools.cached_property
    def parameters(self) -> frozenset[str]:
        """The names of the values this query takes."""
        return frozenset(_PARAMETER.findall(self.text))

    def for_driver(self) -> str:
        """Return the SQL with `%(name)s` parameters, as both drivers spell them."""
        return _PARAMETER.sub(r"%(\1)s", self.text.replace("%", "%%"))

    def with_literals(self, literals: Mapping[str, str]) -> str:
        """Return the SQL with the given literals in place of their parameters; others stay `:name`."""
        return _PARAMETER.sub(lambda match: literals.get(match[1], match[0]), self.text)

    def __hash__(self) -> int:
        return hash((self.name, self.text))


class Queries(Mapping[str, Query]):
    """All queries of one dialect, by `file.name`."""

    def __init__(self, dialect: str) -> None:
        self._queries = dict(_load(dialect))

    def __getitem__(self, name: str) -> Query:
        return self._queries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._queries)

    def __len__(self) -> int:
        return len(self._queries)


@functools.cache
def queries(dialect: str) -> Queries:
    """Return the queries of sql/<dialect>/, read at the first call."""
    return Queries(dialect)


def resource(path: str) -> Path:
    """Return a file or folder of sql/: inside the installed package, or in the checkout it runs from.

    Not by importlib.resources, which loads what unpacks archives: that takes longer than to read all queries.
    """
    inside = Path(__file__).parent / "_sql"
    root = inside if inside.is_dir() else Path(__file__).parents[1] / "sql"
    return root / path


def _load(dialect: str) -> Iterable[tuple[str, Query]]:
    for file in sorted(resource(dialect).iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".sql"):
            stem = file.name.removesuffix(".sql")
            for query in _parse(stem, file.read_text(encoding="utf-8")):
                yield query.name, query


def _parse(stem: str, text: str) -> Iterator[Query]:
    _, *pieces = _HEADER.split(text)
    bodies = [
        (kind, name, *_about_and_text(body))
        for kind, name, body in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True)
    ]
    parts = {name: text for kind, name, _, text in bodies if kind == "part"}
    for kind, name, about, text in bodies:
        if kind == "name":
            whole = _INCLUDE.sub(lambda line: indent(parts[line[2]], line[1]), text)
            yield Query(f"{stem}.{name}", about, whole.rstrip(";"))


def _about_and_text(body: str) -> tuple[str, str]:
    """Split a body into the sentence at its top and its SQL."""
    about: list[str] = []
    lines = body.strip().splitlines()
    while lines and lines[0].startswith("-- ") and not _MARK.match(lines[0] + "\n"):
        about.append(lines.pop(0).removeprefix("-- "))
    return " ".join(about), "\n".join(lines).strip()
