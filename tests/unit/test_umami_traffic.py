"""The generators are reproducible, and write only what a schema has."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from testbed.traffic import Traffic
from testbed.umami import ADMIN_ID
from testbed.uniform import Uniform
from umami_ops.umami.schema import DIALECTS, Schema, latest_level, schema_at

START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC)
SMALL = Traffic(START, END, events=1_000)
UNIFORM = Uniform(START, END, events=1_000, sessions=150, event_data=300)
LEVELS = [(dialect, level) for dialect in DIALECTS for level in range(1, latest_level(dialect) + 1)]


def digest(profile: Traffic | Uniform, schema: Schema) -> str:
    rows = hashlib.sha256()
    for batch in profile.batches(schema):
        rows.update(repr((batch.table, batch.columns, list(batch.lines))).encode())
    return rows.hexdigest()


@pytest.mark.parametrize("profile", [SMALL, UNIFORM])
def test_the_same_seed_gives_the_same_rows(profile: Traffic | Uniform) -> None:
    schema = schema_at("postgresql", 19)
    assert digest(profile, schema) == digest(profile, schema)
    assert digest(profile, schema) != digest(replace(profile, seed=2), schema)


@pytest.mark.parametrize(
    ("profile", "dialect", "level"),
    [(SMALL, *place) for place in LEVELS[::3]] + [(UNIFORM, *place) for place in LEVELS if place[1] >= 9],
)
def test_only_what_the_schema_has(profile: Traffic | Uniform, dialect: str, level: int) -> None:
    schema = schema_at(dialect, level)
    for batch in profile.batches(schema):
        assert set(batch.columns) <= set(schema.table(batch.table).column_names)
        needed = {c.name for c in schema.table(batch.table).columns if not c.nullable and c.default is None}
        assert needed <= set(batch.columns), batch.table


def test_a_uniform_load_needs_a_late_level() -> None:
    with pytest.raises(ValueError, match="level 9"):
        list(UNIFORM.batches(schema_at("mysql", 8)))


def test_uniform_rows_are_the_same_in_both_orders() -> None:
    profile = replace(UNIFORM, sessions=100, event_data=200)

    def ids(dialect: str) -> list[str]:
        return [
            line.partition(",")[0]
            for batch in profile.batches(schema_at(dialect, 13))
            if batch.table == "website_event"
            for line in batch.lines
        ]

    by_time, by_id = ids("postgresql"), ids("mysql")
    assert by_id == sorted(by_time) != by_time
    assert len(set(by_id)) == profile.events


def test_names_are_awkward() -> None:
    lines = [line for b in SMALL.batches(schema_at("mysql", 13)) if b.table == "website" for line in b.lines]
    assert any('""Best""' in line and "🍵" in line and "\\" in line for line in lines)
    assert all(ADMIN_ID in line for line in lines)


@pytest.mark.parametrize(
    "wrong", [{"end": START}, {"end": datetime(2038, 1, 1, tzinfo=UTC)}, {"websites": 0}, {"websites": 4}]
)
def test_impossible_traffic_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="traffic|websites"):
        replace(SMALL, **wrong)  # type: ignore[arg-type]
