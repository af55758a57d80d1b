"""Plans are data: what would happen, step by step, printable and serialisable. Nothing here runs anything."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from umami_ops.rows import KeyRange, Pair
from umami_ops.sql import Query
from umami_ops.umami.schema import Table

#: Table → rows.
Counts = Mapping[str, int]


@dataclass(frozen=True)
class TableName:
    """A table's place: on MySQL `schema` is the database."""

    schema: str
    name: str


@dataclass(frozen=True)
class Batches:
    """A step that works slice by slice, one transaction each, until no slice is left.

    `next_slice` finds the end of a slice of `batch_rows` keys that begins after (`since`, `after`): one row
    with `until`, `last` and the number of keys `picked`, or no row at the end. A slice goes up to the key
    (`until`, `last`), or to before the time `until` where `last` is NULL. `work` then deletes, or
    copies, it. Each of `cursors` is a disjoint range of its own (a website, say) with the values it begins
    with; `values` are the same for all of them. `prepare` runs once in each worker's session.

    With `is_kept` what is deleted must be written down before it is gone (`execute`'s `keeper`).

    With `apart` workers keep away from each other: each cuts its slices off a stretch of its own, which is
    a range from one time (`since`) to another (`horizon`). `work` must not look at `horizon` then.

    A slice grows to `most_rows` keys at most. `lock` is what each transaction locks, in words.
    """

    title: str
    next_slice: Query
    work: Query
    values: Mapping[str, Any]
    cursors: tuple[Mapping[str, Any], ...] = ({},)
    prepare: tuple[Query, ...] = ()
    apart: bool = False
    is_kept: bool = False
    most_rows: int = 50_000
    lock: str = "the rows of one batch, of about 250 ms"


@dataclass(frozen=True)
class Statements:
    """A step of statements that run once, in their order, each committing by itself (DDL on MySQL does)."""

    title: str
    statements: tuple[Query, ...]
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TableRebuild:
    """How one table is made anew: a copy beside it, triggers that follow, slices of keys, then its indexes.

    `compare` returns, in one snapshot, the rows there are in `total`, those to be `kept` and those `copied`.
    `shape` asks for the columns and indexes of a `:table`: the copy is made after those that were `planned`,
    and must not take the place of others.
    """

    shape: Query
    planned: Sequence[Mapping[str, Any]]
    create: tuple[Query, ...]
    follow: tuple[Query, ...]
    next_slice: Query
    copy: Query
    index: tuple[Query, ...]
    compare: Query


@dataclass(frozen=True)
class Rebuild:
    """A step that copies what is kept into new tables and swaps all of them in by one statement.

    Around the swap `hold_prisma` keeps migrations from beginning, if its one value is true; `let_prisma` ends
    that.
    """

    title: str
    tables: Mapping[str, TableRebuild]
    hold_prisma: Query
    swap: Query
    let_prisma: Query
    finish: tuple[Query, ...]
    values: Mapping[str, Any]

    def copying(self, table: str) -> Batches:
        """Return the copying of one table as batches."""
        part = self.tables[table]
        values = {**self.values, "after": None}
        return Batches(f"copying {table}", part.next_slice, part.copy, values)


@dataclass(frozen=True)
class Program:
    """A client program, and what it is called with: no secret, those go by its environment."""

    arguments: tuple[str, ...]

    @property
    def text(self) -> str:
        """The command line, for a person to read."""
        return shlex.join(self.arguments)


@dataclass(frozen=True)
class Maintenance:
    """A step that maintains a table by a statement outside a transaction, or a program; it may take long.

    `lock` is what it locks, in words. It waits `wait_seconds` at most for a lock, `tries` times, and is then
    left out, unless it `is_essential`: then the run ends, since what follows rests on it. `otherwise` runs
    where the statement fails, `remains` returns statements (in the column `statement`) that clear away what
    it leaves when it doesn't reach its end. `size_bytes` is how much there is to read.
    """

    title: str
    table: TableName
    statement: Query | Program
    lock: str
    size_bytes: int = 0
    wait_seconds: int = 1
    tries: int = 5
    otherwise: Query | None = None
    remains: Query | None = None
    is_essential: bool = False


@dataclass(frozen=True)
class Guard:
    """A question asked under the lock of a Change, whose one value must be `expected` for it to go on.

    Where it isn't, a `passing` state is waited for like a lock; else the Change fails with `otherwise`.
    """

    query: Query
    expected: Any
    otherwise: str
    passing: bool = False


@dataclass(frozen=True)
class Change:
    """A step of DDL that others hardly notice: one short transaction or, not `together`, statements alone.

    `lock` is what it locks, in words. It waits `wait_seconds` at most for a lock, again and again, so that
    nobody queues behind it for longer; where the server knows no wait as short as that, what is done in an
    instant `gives_way` instead. `before` is worked off in front of every try, and the `guards` are asked once
    the first statement has its lock. `remains` clears away what the statements leave when they don't reach
    their end.
    """

    title: str
    statements: tuple[Query, ...]
    lock: str
    together: bool = True
    gives_way: bool = False
    wait_seconds: float = 0.2
    tries: int = 600
    before: Batches | None = None
    guards: tuple[Guard, ...] = ()
    remains: tuple[Query, ...] = ()


@dataclass(frozen=True)
class TableMove:
    """One table of a move: how its rows travel, how many there are about, and what makes it on the target.

    `create` is empty where the target has the table already. `table` is what it becomes: the keys and indexes
    that it has not by then follow the rows.
    """

    pair: Pair
    rows: int
    create: tuple[Query, ...]
    table: Table


@dataclass(frozen=True)
class Move:
    """A step that fills a database's tables from another's, proves it, and only then makes it usable.

    `source` names the other database without a password: whoever resumes must name the same one. `found` are
    the target's tables when the plan was made, each with its rows where these matter; where `goes_on`, a
    move had begun there. `clear` takes away what is in the way; `empty` are tables of Umami's that neither
    has. `conclude` runs when both sides were proven equal: Prisma's records come last. With `catch_up` the
    target has been filled before, and only what differs is copied; `delete_extra` lets it delete rows that
    the source doesn't have.
    `source_state` marks the schema that all this was planned for, as `target_state` does the target's for
    `catch_up`: with another one it is not carried out.
    """

    title: str
    source: str
    source_state: str
    level: int
    tables: tuple[TableMove, ...]
    found: Mapping[str, int | None]
    goes_on: bool = False
    empty: tuple[tuple[str, tuple[Query, ...]], ...] = ()
    clear: tuple[Query, ...] = ()
    conclude: tuple[Query, ...] = ()
    catch_up: bool = False
    delete_extra: bool = False
    target_state: str | None = None


@dataclass(frozen=True)
class TableVerdict:
    """Whether both sides hold the same rows of a table. Checksums are each server's own, over every column.

    `differing` names the first ranges of keys in which they differ, `missing`, `extra` and `changed` the
    first rows, by key.
    """

    table: str
    source_rows: int
    target_rows: int
    source_checksum: int
    target_checksum: int
    differing: tuple[KeyRange, ...] = ()
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return (self.source_rows, self.source_checksum) == (self.target_rows, self.target_checksum)


Step = Batches | Statements | Rebuild | Maintenance | Change | Move


@dataclass(frozen=True)
class Remaining:
    """A question asked at the goal: how many rows that were to go are there still. One value."""

    query: Query
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Note:
    """Something a person should know before or after: a sentence, and what to type about it."""

    text: str
    cure: str | None = None


@dataclass(frozen=True)
class Plan:
    """What an operation will do. `facts` are its fixed decisions (the horizon, the websites …).

    `expected` counts the rows that go, table by table; None when they weren't counted. `events` is
    website_event's share, which is always known, for the progress. `remaining` is asked when every step was
    carried out; who stops a run wants it to end.
    """

    operation: str
    facts: Mapping[str, Any]
    steps: tuple[Step, ...]
    expected: Counts | None = None
    events: int = 0
    notes: tuple[Note, ...] = ()
    remaining: Remaining | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the plan for `--json`."""
        return {
            "operation": self.operation,
            **self.facts,
            "expected_rows": dict(self.expected) if self.expected is not None else None,
            "steps": [step.title for step in self.steps],
            "notes": [{"text": note.text, "cure": note.cure} for note in self.notes],
        }


@dataclass(frozen=True)
class Size:
    """What a table and its indexes take of the disk, in bytes."""

    table_bytes: int
    index_bytes: int

    @property
    def total_bytes(self) -> int:
        """Both together."""
        return self.table_bytes + self.index_bytes

    def __add__(self, other: Size) -> Size:
        return Size(self.table_bytes + other.table_bytes, self.index_bytes + other.index_bytes)


@dataclass(frozen=True)
class Maintained:
    """What became of one Maintenance; `skipped` says why it was left out, None when it was done."""

    title: str
    table: str
    before: Size
    after: Size
    seconds: float
    skipped: str | None = None


@dataclass(frozen=True)
class Changed:
    """What one Change took: in all, and from its first lock to its commit, in seconds."""

    title: str
    seconds: float
    held_seconds: float


@dataclass
class Report:
    """What an execution did. Times in seconds; `stopped` is the reason of an early end, None at the goal."""

    operation: str
    started_at: datetime
    deleted: dict[str, int] = field(default_factory=dict)
    transactions: int = 0
    longest_transaction_seconds: float = 0.0
    seconds: float = 0.0
    retries: int = 0
    reconnects: int = 0
    stopped: str | None = None
    remaining: int = 0
    transaction_seconds: list[float] = field(default_factory=list, repr=False)
    notes: list[Note] = field(default_factory=list)
    maintained: list[Maintained] = field(default_factory=list)
    changed: list[Changed] = field(default_factory=list)
    moved: dict[str, int] = field(default_factory=dict)
    verdicts: list[TableVerdict] = field(default_factory=list)
    sums_differ: list[str] = field(default_factory=list)
    phases: dict[str, float] = field(default_factory=dict)

    def percentile(self, share: float) -> float:
        """Return the given percentile (0 to 1) of the transactions' durations, in seconds."""
        ordered = sorted(self.transaction_seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the report for `--json`."""
        return {
            "operation": self.operation,
            "started_at": self.started_at,
            "deleted_rows": dict(self.deleted),
            "seconds": round(self.seconds, 3),
            "transactions": self.transactions,
            "longest_transaction_seconds": round(self.longest_transaction_seconds, 3),
            "p99_transaction_seconds": round(self.percentile(0.99), 3),
            "retries": self.retries,
            "reconnects": self.reconnects,
            "changed": [
                {
                    "title": done.title,
                    "seconds": round(done.seconds, 4),
                    "locked_seconds": round(done.held_seconds, 4),
                }
                for done in self.changed
            ],
            "stopped": self.stopped,
            "notes": [{"text": note.text, "cure": note.cure} for note in self.notes],
        }
