"""What may be asked about the partitions of website_event, and what can be done with them.

Whoever asks knows no dialect: `postgresql/partitioning.py` and `mysql/partitioning.py` answer, and what they
give back are values, and steps of a plan.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from umami_ops.plan import Size, Step

#: The one table that may be partitioned.
TABLE = "website_event"


@dataclass(frozen=True)
class Slot:
    """A partition that is to be: the times it is for, `since <= t < until`, and the end of its name."""

    label: str
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Partition:
    """A partition that is there. `since` is None without a beginning, `until` without an end.

    The catch-all takes what no other one takes.
    """

    name: str
    since: datetime | None
    until: datetime | None
    is_catch_all: bool
    rows_estimate: int
    size: Size


@dataclass(frozen=True)
class Layout:
    """How website_event lies there. `partitions` in the order of time, the catch-all last; none when plain.

    `unfinished` is the verb (enable, split, maintain, disable) that didn't come to its end, or None; `begun`
    are the partitions that it prepared, in the order of time, as far as they stand there.
    `bounded_at` is where an unfinished enable bounded the plain table: events from then on are dated just
    before it.
    `is_foreign` says that somebody else partitioned the table, in a way that isn't ours: those partitions
    have no times.
    """

    partitions: tuple[Partition, ...] = ()
    unfinished: str | None = None
    is_foreign: bool = False
    begun: tuple[Slot, ...] = ()
    bounded_at: datetime | None = None

    @property
    def is_partitioned(self) -> bool:
        """Whether there are partitions, or could be."""
        return bool(self.partitions) or self.is_foreign

    @property
    def dated(self) -> tuple[Partition, ...]:
        """The partitions that have an end, the one of all history among them."""
        return tuple(part for part in self.partitions if not part.is_catch_all)

    @property
    def catch_all(self) -> Partition | None:
        """The partition for what no other one takes."""
        return next((part for part in self.partitions if part.is_catch_all), None)

    @property
    def end(self) -> datetime | None:
        """The end of the last dated partition."""
        return max((part.until for part in self.dated if part.until), default=None)

    @property
    def size(self) -> Size:
        """All partitions together."""
        return sum((part.size for part in self.partitions), Size(0, 0))


class Partitioning(ABC):
    """What a server can do about the partitions of website_event."""

    @abstractmethod
    def layout(self) -> Layout:
        """Return how the table lies there, from the catalogue alone."""

    def keeps_events_aside(self) -> bool:
        """Say whether an interrupted run keeps events, or their times, in tables of its own."""
        return False

    @abstractmethod
    def obstacles(self) -> list[str]:
        """Return what stands on the table and would be lost or broken, each as in `the trigger x`."""

    @abstractmethod
    def clear(self, verb: str) -> list[Step]:
        """Return the steps that undo what an unfinished run left, but for what `verb` goes on with.

        A disable can't be undone any more: those steps bring it to its end.
        """

    @abstractmethod
    def enable(self, boundary: datetime, ahead: Sequence[Slot], *, online: bool) -> list[Step]:
        """Return the steps that make the plain table one partition up to `boundary`, with those `ahead`."""

    @abstractmethod
    def extend(self, slots: Sequence[Slot], crowd: int) -> list[Step]:
        """Return the steps that add partitions; `crowd` rows in the catch-all belong to them already.

        Where there are many, they are moved as by a split, and an interrupted run is gone on with.
        """

    @abstractmethod
    def split(self, parts: Sequence[tuple[Partition, Sequence[Slot]]]) -> list[Step]:
        """Return the steps that put partitions in the place of each, and one for what lies before them."""

    @abstractmethod
    def drop(self, partition: Partition) -> list[Step]:
        """Return the steps that drop a partition: what hangs on its events goes first.

        A last step counts as deleted what the partition held.
        """

    @abstractmethod
    def dropping(self) -> list[Step]:
        """Return the steps that bring interrupted drops to their end."""

    @abstractmethod
    def detach(self, partition: Partition) -> list[Step]:
        """Return the steps that make a partition a table of its own; raises Refused where none is safe."""

    @abstractmethod
    def disable(self, *, online: bool) -> list[Step]:
        """Return the steps back to the plain table, as Umami's migrations make it."""

    @abstractmethod
    def copied_by_disable(self, partitions: Sequence[Partition]) -> Sequence[Partition]:
        """Return those of the partitions whose rows are copied on the way back."""

    @abstractmethod
    def bytes_for_enable(self, rows: int, table: Size) -> int:
        """Return about how much of the disk `enable` takes, until it is done, for a plain table like this."""

    @abstractmethod
    def bytes_for_extend(self, layout: Layout, crowd: int) -> int:
        """Return about how much of the disk `extend` takes, until it is done."""

    @abstractmethod
    def bytes_for_split(self, layout: Layout, sources: Sequence[Partition]) -> int:
        """Return about how much of the disk `split` takes, until it is done, where it replaces these."""

    @abstractmethod
    def bytes_for_disable(self, layout: Layout) -> int:
        """Return about how much of the disk `disable` takes, until it is done."""
