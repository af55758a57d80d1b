"""What a person is told to type after an interrupted `partition`, derived from what it left."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from umami_ops.databases.partitioning import Layout, Partition, Slot
from umami_ops.operations.partition import way_to_end
from umami_ops.operations.periods import slots
from umami_ops.plan import Size

_END = datetime(2026, 2, 1, tzinfo=UTC)
_HISTORY = Partition("before", None, _END, is_catch_all=False, rows_estimate=1, size=Size(1, 1))


def _told(verb: str, begun: tuple[Slot, ...] = ()) -> str:
    return way_to_end(Layout((_HISTORY,), verb, begun=begun))


@pytest.mark.parametrize("period", ["week", "month", "quarter", "year"])
@pytest.mark.parametrize("since", [datetime(2024, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)])
def test_split_goes_on_by_the_period_it_was_begun_with(period: str, since: datetime) -> None:
    """Even where the only partition is cut short by the end of history: its name tells which."""
    told = _told("split", tuple(slots(period, since, _END)))
    assert told.startswith(f"umami-ops partition split --by {period} brings it to its end")


def test_what_empties_the_catch_all_is_maintain() -> None:
    begun = tuple(slots("month", _END, datetime(2026, 5, 1, tzinfo=UTC)))
    assert _told("split", begun).startswith("umami-ops partition maintain brings it to its end")


def test_a_period_that_cannot_be_told_is_asked_for() -> None:
    assert "with the --by that it was given" in _told("enable")


def test_the_way_back_has_no_way_back() -> None:
    assert _told("disable") == "umami-ops partition disable brings it to its end"
