"""How the sample's times become rates; what is timed is tried on real servers."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest

from umami_ops.databases.alterations import Pace
from umami_ops.databases.dialects import dialect_named
from umami_ops.operations.upgrade.estimate import ASSUMED, measured_rates
from umami_ops.sql import Query

_ROWS = 10_000


class Clockwork:
    """Stands in for a connection: the first time that something is timed the server is busy."""

    def __init__(self, name: str, rows: int) -> None:
        self.dialect = dialect_named(name)
        self.times: Counter[str] = Counter()
        self._rows = rows

    def run(self, query: Query, **_values: Any) -> int:
        self.times[query.name] += 1
        if query.name in ("upgrade.sample_update", "upgrade.sample_index") and self.times[query.name] == 1:
            time.sleep(0.5)
        return self._rows


@pytest.mark.parametrize("name", ["postgresql", "mysql"])
def test_a_busy_moment_makes_no_other_estimate(name: str) -> None:
    connection: Any = Clockwork(name, _ROWS)
    rates = measured_rates(connection, Pace(rewrite=2.0, build=0.5))
    assert rates.is_measured
    # In half a second it would be half, and the double, of twenty thousand.
    assert rates.rewritten > 20_000
    assert rates.indexed > 80_000
    assert connection.times["upgrade.sample_update"] == connection.times["upgrade.sample_index"] == 3
    assert connection.times["upgrade.sample_drop"] == 2


def test_too_few_rows_make_no_estimate() -> None:
    connection: Any = Clockwork("postgresql", 100)
    assert measured_rates(connection, Pace(rewrite=1.0, build=1.0)) == ASSUMED
