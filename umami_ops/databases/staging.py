"""Tables on their way into a database: beside those there are, until one swap puts them into their places.

`postgresql/staging.py` uses a schema of its own, `mysql/staging.py` names of their own. What a killed run
left is cleared away by the next.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from umami_ops.errors import LeftBehind, OpsError

#: A database of the dialect's own.
Place = TypeVar("Place")


@dataclass(frozen=True)
class Addition:
    """Rows of a staged table that join those of the table itself, unless their `key` is there already.

    With a `column`, those alone that have one of `ids` in it; with `replaces` the table's own such rows go
    first. One that `yields` is left away, too, where another key of the table's has its like: a visitor's
    property that was written anew.
    """

    table: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    column: str = ""
    ids: tuple[str, ...] = ()
    replaces: bool = False
    yields: bool = False


class Staging(ABC, Generic[Place]):
    """A place for tables that aren't anybody's yet. `database` is where sessions see them."""

    database: Place

    @abstractmethod
    def prepare(self) -> None:
        """Make the place, empty."""

    @abstractmethod
    def name(self, table: str) -> str:
        """Return the name that a table has there."""

    @abstractmethod
    def swap(self, moved: Sequence[str], replaced: Sequence[str]) -> None:
        """Put the staged tables of these names into their places, where the replaced ones give way for good.

        Others see all of it or nothing. Locks: all of them, for a moment.
        """

    @abstractmethod
    def add(self, additions: Sequence[Addition]) -> Mapping[str, int]:
        """Add rows to the tables that are there, all or none; returns how many joined, by table.

        Locks: the rows that go and come.
        """

    @abstractmethod
    def discard(self) -> None:
        """Drop what is still there; after a swap, what was left out of it. Raises LeftBehind then."""


def left_behind(fault: OpsError) -> LeftBehind:
    """Return what a failure of `discard` after the swap means."""
    return LeftBehind(
        f"What is no longer needed could not be dropped: {fault.message}",
        hint=fault.hint,
        done="The backup is restored, and in its place.",
    )
