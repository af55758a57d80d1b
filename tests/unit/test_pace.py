"""How many rows a batch takes: held to a server whose rows cost now more, now less."""

from __future__ import annotations

import random
from collections.abc import Iterator
from statistics import mean

from umami_ops.databases.mysql.dialect import MYSQL
from umami_ops.execute.pace import Pace

_OVERHEAD_SECONDS = 0.008


def _batches(pace: Pace, costs: Iterator[float], rows: int) -> list[float]:
    """Return how long batch after batch takes where a row costs so many seconds, until so many are gone."""
    durations = []
    while rows > 0:
        picked = min(pace.rows, rows)
        seconds = _OVERHEAD_SECONDS + picked * next(costs)
        pace.adapt(picked, seconds)
        durations.append(seconds)
        rows -= picked
    return durations


def _uneven(seed: int) -> Iterator[float]:
    """InnoDB beside its own purge: 75 µs a row, as often half as twice as much."""
    chance = random.Random(seed)
    while True:
        yield 75e-6 * chance.lognormvariate(0, 0.4)


def test_a_batch_takes_a_quarter_of_a_second_soon() -> None:
    durations = _batches(Pace(50_000), iter(lambda: 20e-6, None), 200_000)
    assert max(durations) < 0.3
    assert durations[4] > 0.2


def test_where_rows_cost_unevenly_the_longest_transaction_stays_under_a_second() -> None:
    runs = [_batches(Pace(50_000), _uneven(seed), 500_000) for seed in range(40)]
    assert mean(max(run) for run in runs) < 0.85
    assert mean(mean(run) for run in runs) > 0.2, "small batches cost time"


def test_a_batch_grows_by_a_quarter_at_most_once_one_has_taken_its_time() -> None:
    pace = Pace(50_000)
    pace.adapt(500, 0.25)
    before = pace.rows
    pace.adapt(before, 0.01)
    assert pace.rows == before * 5 // 4


def test_rows_that_go_after_many_that_stay_take_less_than_a_second_on_innodb() -> None:
    pace = Pace(MYSQL.most_rows_deleted)
    _batches(pace, iter(lambda: 15e-6, None), 100_000)
    assert max(_batches(pace, iter(lambda: 130e-6, None), 20_000)) < 1


def test_what_a_person_gave_wins_and_halves_when_somebody_is_in_the_way() -> None:
    pace = Pace(5_000, given=20_000)
    _batches(pace, iter(lambda: 1e-6, None), 400_000)
    assert pace.rows == 20_000
    pace.shrink()
    assert pace.rows == 10_000
    assert Pace(5_000, given=7).rows == 7


def test_the_rest_of_a_range_says_nothing_about_a_full_batch() -> None:
    pace = Pace(50_000)
    pace.adapt(3, 0.001)
    assert pace.rows == 500
