"""How many rows a batch takes, so that its transaction lasts about a quarter of a second."""

from __future__ import annotations

_TARGET_SECONDS = 0.25
_SMALLEST, _FIRST = 50, 500
#: By so much at most a batch is larger than the one before: until one has taken its time, and from then on.
_AT_FIRST, _LATER = 4.0, 1.25


class Pace:
    """The size of the next batch, by what those before it took. Not for several threads at a time.

    It falls as far as a slow batch says, and rises by steps: one quick batch says little of the next. `most`
    is the largest size; `given` is a person's own, which wins.
    """

    def __init__(self, most: int, given: int | None = None) -> None:
        self._most = given or most
        self._growth = _AT_FIRST
        self.rows = min(_FIRST, self._most)

    def adapt(self, picked: int, seconds: float) -> None:
        """Follow what a batch of so many rows has taken."""
        if seconds >= _TARGET_SECONDS:
            self._growth = _LATER
        elif picked < self.rows:
            return  # the rest of a range says nothing about a full batch
        factor = min(self._growth, max(0.25, _TARGET_SECONDS / max(seconds, 1e-6)))
        self._set(int(picked * factor))

    def shrink(self) -> None:
        """Let the next batch be half as large: somebody was in the way."""
        self._set(self.rows // 2)

    def _set(self, rows: int) -> None:
        self.rows = min(max(rows, _SMALLEST), self._most)
