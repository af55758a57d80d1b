"""Prune holds to the oracle: on small databases full of collisions, the rows that stay are the oracle's."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from testbed.bulk import Loader, connect
from testbed.servers import Server
from tests import pruning
from tests.oracle import survivors
from umami_ops.operations.inspect import Installation
from umami_ops.operations.prune import Retention
from umami_ops.umami.schema import Schema

Row = dict[str, Any]
_HORIZON = datetime(2025, 6, 15, 12, 0, 0, 500_000, tzinfo=UTC)
_ROUND = datetime(2025, 6, 15, 12, 0, 0, tzinfo=UTC)


def _id(kind: str, number: object) -> str:
    """An id whose order has nothing to do with the number's."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind} {number}"))


WEBSITES = [_id("website", number) for number in range(3)]
SESSIONS = [_id("session", number) for number in range(4)]
VISITS = [_id("visit", number) for number in range(3)]

# Times stand around the horizon, and on it; few of them, so that many rows share one.
_OFFSETS = [
    *(timedelta(days=-40), timedelta(days=-2), timedelta(seconds=-1), timedelta(microseconds=-1)),
    *(timedelta(0), timedelta(microseconds=1), timedelta(seconds=1), timedelta(days=3)),
]
_times = st.sampled_from([_ROUND + offset for offset in _OFFSETS] + [_HORIZON, _HORIZON - _OFFSETS[5]])
_maybe_times = st.one_of(_times, _times, _times, st.none())
_websites, _sessions, _visits = (st.sampled_from(ids) for ids in (WEBSITES, SESSIONS, VISITS))
# The last two are of events that never were.
_event_ids = st.sampled_from([_id("event", number) for number in range(8)] + [_id("event", "none")])


def _table(key: str, most: int, **columns: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Row]]:
    """Up to `most` rows with keys of their own."""

    def numbered(rows: list[Row]) -> list[Row]:
        return [{key: _id(key.removesuffix("_id"), number), **row} for number, row in enumerate(rows)]

    return st.lists(st.fixed_dictionaries(columns), max_size=most).map(numbered)


_OF_WEBSITE = {"website_id": _websites, "session_id": _sessions}
_OF_VISIT = {**_OF_WEBSITE, "visit_id": _visits}
_links = st.fixed_dictionaries(
    {**_OF_WEBSITE, "distinct_id": st.sampled_from(["Ann", "bob"]), "created_at": _maybe_times}
)
_databases = st.fixed_dictionaries(
    {
        "website_event": _table("event_id", 8, **_OF_VISIT, created_at=_maybe_times),
        "event_data": _table(
            "event_data_id", 6, website_id=_websites, website_event_id=_event_ids, created_at=_maybe_times
        ),
        "revenue": _table("revenue_id", 4, **_OF_WEBSITE, event_id=_event_ids, created_at=_maybe_times),
        "session": st.lists(
            st.fixed_dictionaries({**_OF_WEBSITE, "created_at": _maybe_times}),
            max_size=4,
            unique_by=lambda row: row["session_id"],
        ),
        "session_data": _table("session_data_id", 5, **_OF_WEBSITE, created_at=_maybe_times),
        "session_link": st.lists(
            _links,
            max_size=4,
            unique_by=lambda row: (row["website_id"], row["distinct_id"], row["session_id"]),
        ),
        "session_replay": _table("replay_id", 5, **_OF_VISIT, created_at=_maybe_times),
        "session_replay_saved": _table("saved_replay_id", 1, website_id=_websites, visit_id=_visits),
        "heatmap_event": _table("heatmap_event_id", 4, **_OF_VISIT, created_at=_times),
    }
)


@dataclass(frozen=True)
class Case:
    """One database and one wish."""

    rows: Mapping[str, list[Row]]
    retention: Retention
    batch_rows: int
    jobs: int
    is_repeated: bool


@st.composite
def _retentions(draw: st.DrawFn, tables: tuple[str, ...]) -> Retention:
    own = draw(st.dictionaries(st.sampled_from(tables), _times, max_size=2)) if draw(st.booleans()) else {}
    horizon = draw(st.sampled_from([_ROUND, _HORIZON, None] if own else [_ROUND, _HORIZON]))
    chosen = tuple(draw(st.lists(_websites, max_size=2, unique=True)))
    is_only = draw(st.booleans())
    return Retention(
        horizon=horizon,
        tables=own,
        websites=chosen if is_only else (),
        excluded=() if is_only else chosen,
        delete_undated=draw(st.booleans()),
        delete_orphans=draw(st.booleans()),
    )


def _cases(schema: Schema) -> st.SearchStrategy[Case]:
    tables = tuple(name for name in ("website_event", "heatmap_event", "session_replay") if name in schema)
    return st.builds(
        Case, _databases, _retentions(tables), st.integers(1, 3), st.integers(1, 3), st.booleans()
    )


def _as_stored(rows: Mapping[str, list[Row]], schema: Schema) -> dict[str, list[Row]]:
    """The rows as the database will hold them: of its tables alone, MySQL's times in whole seconds."""
    if schema.dialect == "postgresql":
        return {table: found for table, found in rows.items() if table in schema}
    return {
        table: [
            {name: v.replace(microsecond=0) if isinstance(v, datetime) else v for name, v in row.items()}
            for row in found
        ]
        for table, found in rows.items()
        if table in schema
    }


def _without_missing_columns(rows: Mapping[str, list[Row]], schema: Schema) -> dict[str, list[Row]]:
    return {
        table: [{k: v for k, v in row.items() if k in schema.table(table).column_names} for row in found]
        for table, found in rows.items()
    }


def _hold(case: Case, url: str, installation: Installation, loader: Loader, schema: Schema) -> None:
    """Load, plan, prune, compare with the oracle; then plan and prune again, which finds nothing."""
    rows = _as_stored(case.rows, schema)
    pruning.empty(loader, schema)
    pruning.load_rows(loader, schema, _without_missing_columns(rows, schema))
    loader.commit()
    wish = case.retention
    rules = pruning.rules_of(wish, only=wish.websites, except_=wish.excluded)
    expected = pruning.keys_in(survivors(rows, rules), schema)

    prune = functools.partial(
        pruning.prune, url, wish, installation=installation, jobs=case.jobs, batch_rows=case.batch_rows
    )
    done = prune()
    found = pruning.keys_of(loader, schema)
    loader.commit()
    assert found == expected
    gone = {table: len(rows[table]) - len(keys) for table, keys in found.items()}
    assert _positive(done.report.deleted) == _positive(gone)
    assert _positive(done.plan.expected or {}) == _positive(gone)
    assert done.report.stopped is None

    if case.is_repeated:
        again = prune()
        assert _positive(again.plan.expected or {}) == _positive(again.report.deleted) == {}


def _positive(counts: Mapping[str, int]) -> dict[str, int]:
    return {table: count for table, count in counts.items() if count}


def _check(url: str, schema: Schema, examples: int) -> None:
    """Run the property with so many examples, always the same ones."""

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(_cases(schema))
    def holds(case: Case) -> None:
        _hold(case, url, installation, loader, schema)

    installation = pruning.installation_at(url)
    with connect(url) as loader:
        websites = [{"website_id": id_, "name": f"Website {id_[:4]}"} for id_ in WEBSITES]
        pruning.load_rows(loader, schema, {"website": websites})
        loader.commit()
        holds()


@pytest.fixture
def examples(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """How many examples: ten times as many with --all."""
    return lambda number: number * 10 if request.config.getoption("--all") else number


@pytest.mark.parametrize("level", [19, 21])
def test_prune_leaves_what_the_oracle_leaves_on_postgresql(
    postgresql_server: Server, umami_at: Callable[[int], str], examples: Callable[[int], int], level: int
) -> None:
    url = umami_at(level)
    _check(url, pruning.schema_of(url, level), examples(25))


def test_prune_leaves_what_the_oracle_leaves_on_mysql(
    mysql_server: Server, umami_at: Callable[[int], str], examples: Callable[[int], int]
) -> None:
    url = umami_at(13)
    _check(url, pruning.schema_of(url, 13), examples(25))


@pytest.mark.parametrize("level", [2, 5, 9])
def test_prune_leaves_what_the_oracle_leaves_at_old_levels(
    server: Server, umami_at: Callable[[int], str], examples: Callable[[int], int], level: int
) -> None:
    url = umami_at(level)
    _check(url, pruning.schema_of(url, level), examples(4))
