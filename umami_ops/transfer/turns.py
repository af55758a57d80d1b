"""Work that several threads take turns at, each with a session of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Turns(Generic[Item]):
    """Gives each item to the one who asks next; whoever iterates gets what the others leave."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = iter(items)
        self._mutex = threading.Lock()
        self.is_over = False

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._mutex:
                if self.is_over:
                    return
                try:
                    item = next(self._items)
                except StopIteration:
                    return
            yield item

    def end(self) -> None:
        """Let the others end with what they have, since one has failed."""
        self.is_over = True
