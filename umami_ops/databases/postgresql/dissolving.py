"""The way back to a plain table: the largest partition becomes the table, and the others its heirs.

Queries see the heirs' rows (inheritance), new events go into the table. Then the heirs are emptied into it,
batch by batch, and dropped. No row is copied that lies in the right place already.
"""

# ruff: noqa: S608 -- identifiers pass through the one quoting function

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from umami_ops.databases.base import WORKING_PREFIX
from umami_ops.databases.partitioning import TABLE, Partition
from umami_ops.databases.postgresql.partition_catalogue import Catalogue
from umami_ops.databases.postgresql.partition_settings import Settings
from umami_ops.databases.postgresql.partition_steps import (
    INSTANT,
    PATIENTLY,
    by_event_id,
    locking_writers_out,
    query,
    quoted,
    statements,
    unique_index,
)
from umami_ops.plan import Batches, Change, Guard, Step

#: The index that becomes the plain table's primary key.
PLAIN_KEY_INDEX = f"{WORKING_PREFIX}event_id"
_REST = f"{WORKING_PREFIX}rest_"


class Dissolving:
    """Makes the steps."""

    def __init__(self, catalogue: Catalogue, settings: Settings) -> None:
        self._catalogue = catalogue
        self._settings = settings

    @staticmethod
    def is_among(leftovers: Collection[str]) -> bool:
        """Say whether these names are those of an unfinished way back."""
        return PLAIN_KEY_INDEX in leftovers or Dissolving.has_heirs_among(leftovers)

    @staticmethod
    def has_heirs_among(leftovers: Collection[str]) -> bool:
        """Say whether one of these names is that of an heir, in which events lie."""
        return any(name.startswith(_REST) for name in leftovers)

    @staticmethod
    def keeper(partitions: Sequence[Partition]) -> Partition:
        """Return the partition that becomes the table: the largest, whose rows stay where they are."""
        return max(partitions, key=lambda part: part.size.total_bytes)

    def steps(
        self, partitions: Sequence[Partition], unchanged: Sequence[Guard], *, has_index: bool
    ) -> list[Step]:
        """Return the steps; `unchanged` says that nobody changed the table meanwhile."""
        keeper = self.keeper(partitions).name
        others = [part.name for part in partitions if part.name != keeper]
        steps: list[Step] = []
        if not has_index:
            steps.append(unique_index(PLAIN_KEY_INDEX, keeper, "event_id"))
        steps.append(self._dissolve(keeper, others, unchanged))
        return [*steps, *self.rest([f"{_REST}{number}" for number in range(len(others))])]

    def rest(self, leftovers: Collection[str]) -> list[Step]:
        """Return the steps that empty the heirs into the table, and drop them."""
        columns = self._catalogue.column_list(TABLE)
        steps: list[Step] = []
        for name in (name for name in leftovers if name.startswith(_REST)):
            steps += [_emptying(name, columns), _dropping(name)]
        return steps

    def _dissolve(self, keeper: str, others: Sequence[str], unchanged: Sequence[Guard]) -> Change:
        key = self._catalogue.primary_key(TABLE)
        heirs = self._catalogue.heirs(keeper)
        table = quoted(TABLE)
        return Change(
            title="making one partition the table, and the others its heirs",
            statements=statements(
                f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE",
                *(f"ALTER TABLE {table} DETACH PARTITION {quoted(name)}" for name in (*others, keeper)),
                f"DROP TABLE {table}",
                f"ALTER TABLE {quoted(keeper)} RENAME TO {table}",
                f"ALTER TABLE {table} DROP CONSTRAINT {quoted(self._catalogue.primary_key(keeper))}",
                f"ALTER TABLE {table} ALTER created_at DROP NOT NULL,"
                f" ADD CONSTRAINT {quoted(key)} PRIMARY KEY USING INDEX {quoted(PLAIN_KEY_INDEX)}",
                *(
                    f"ALTER INDEX {quoted(child)} RENAME TO {quoted(parent)}"
                    for child, parent in heirs
                    if parent != key
                ),
                *(
                    statement
                    for number, name in enumerate(others)
                    for statement in (
                        f"ALTER TABLE {quoted(name)} RENAME TO {quoted(f'{_REST}{number}')}",
                        f"ALTER TABLE {quoted(f'{_REST}{number}')} INHERIT {table}",
                    )
                ),
                *self._settings.of_columns(TABLE, to=TABLE),
                *self._settings.of_replication(TABLE, to=TABLE),
                *self._settings.of_comments(TABLE, to=TABLE),
                *self._settings.of_key(TABLE, to=TABLE, key=key),
                *self._catalogue.comments(TABLE, on={parent: parent for _, parent in heirs if parent != key}),
                *self._settings.of_rights(TABLE, to=TABLE),
            ),
            lock=f"ACCESS EXCLUSIVE on website_event for some 50 ms: {PATIENTLY}",
            guards=tuple(unchanged),
        )


def _emptying(heir: str, columns: str) -> Batches:
    """Return the step that moves an heir's rows into the table, in the order of its primary key.

    A delete that began before a batch could miss the rows that the batch moves; so it locks out deletes and
    updates of the heir, for its own length. New events go into the table, which isn't locked.
    """
    work = (
        f"{locking_writers_out(f'ONLY {quoted(heir)}')}"
        f"-- copies: website_event\nWITH gone AS (DELETE FROM ONLY {quoted(heir)} AS r WHERE {{ranged}}"
        f" RETURNING *) INSERT INTO {quoted(TABLE)} ({columns}) SELECT {columns} FROM gone"
    )
    lock = (
        f"SHARE ROW EXCLUSIVE on {heir} for a batch of about 250 ms: new events go into website_event;"
        f" {PATIENTLY}"
    )
    return replace(by_event_id(f"moving the rows of {heir}", heir, work), lock=lock)


def _dropping(heir: str) -> Change:
    return Change(
        title=f"dropping {heir}, which is empty",
        statements=statements(
            f"LOCK TABLE ONLY {quoted(heir)} IN ACCESS EXCLUSIVE MODE", f"DROP TABLE {quoted(heir)}"
        ),
        lock=INSTANT,
        guards=(
            Guard(
                query(f"SELECT EXISTS (SELECT FROM ONLY {quoted(heir)}) AS holds"),
                expected=False,
                otherwise=f"{heir} holds rows still; run the same command again",
            ),
        ),
    )
