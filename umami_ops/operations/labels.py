"""What a file of an export holds, noted in a hidden file beside it, and whether a new one may take its place.

A file must not be replaced by less: what the database has lost since, to `prune` say, may be nowhere else.
Knows neither formats nor streams.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path


class Verdict(Enum):
    """What becomes of a file that is there already."""

    REPLACE = "replace"
    #: It holds all of its span, and more than the database has left.
    KEEP = "keep"
    #: It holds what the database has lost, and may lack what came later; or nobody knows what it holds.
    CONTESTED = "contested"


@dataclass(frozen=True)
class Label:
    """The rows that a file was made from, as they were then; of these websites, or of all when empty."""

    rows: int
    first_at: datetime | None
    taken_at: datetime
    websites: tuple[str, ...]

    def write(self, path: Path) -> None:
        """Write the label of the file `path`, which comes next: after a kill it claims too much at worst."""
        beside = path.with_name(f".{path.name}.json.partial")
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(self), file, default=datetime.isoformat)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(_beside(path))

    def lacks_websites_of(self, other: Label) -> bool:
        """Say whether the other one was made of websites that this one leaves out."""
        return bool(self.websites) and (not other.websites or not {*other.websites} <= {*self.websites})


#: Says what the database holds now, in a file's span, of some websites, or of all.
Held = Callable[[tuple[str, ...]], Label]


def read_label(path: Path) -> Label | None:
    """Return the label of the file `path`; None where it has none that can be read, or isn't there."""
    try:
        found = json.loads(_beside(path).read_text()) if path.exists() else None
        if found is None:
            return None
        first_at = found["first_at"] and datetime.fromisoformat(found["first_at"])
        taken_at = datetime.fromisoformat(found["taken_at"])
        return Label(int(found["rows"]), first_at, taken_at, tuple(map(str, found["websites"])))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def verdict(path: Path, new: Label, until: datetime, held: Held) -> Verdict:
    """Decide about the file `path`, of a span that ends before `until`, if it would be replaced by `new`."""
    if not path.exists():
        return Verdict.REPLACE
    old = read_label(path)
    if old is None:
        return Verdict.CONTESTED
    is_wider = {*old.websites} != {*new.websites}
    left = held(old.websites) if is_wider else new  # other websites' rows don't make up for those that went
    begins_later = old.first_at is not None and (left.first_at is None or left.first_at > old.first_at)
    if left.rows >= old.rows and not begins_later:
        return Verdict.REPLACE
    if is_wider:
        return Verdict.CONTESTED
    if old.taken_at >= until:
        return Verdict.KEEP
    # The span went on when the file was written. Rows that go from its midst were deleted on purpose, with a
    # website say; where its beginning is gone, neither file would hold all.
    return Verdict.CONTESTED if begins_later else Verdict.REPLACE


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.json")
