"""The temporal schema files yield, at every level, exactly the schema that was observed on a real server."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from umami_ops.umami.schema import Schema, latest_level, schema_at

# Made once from schemas read off real servers after each of Umami's own migrations had run; see `canonical`.
DIGESTS: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parents[1] / "data" / "umami_schema_digests.json").read_text()
)
LEVELS = [(dialect, int(level)) for dialect, levels in DIGESTS.items() for level in levels]


def canonical(schema: Schema) -> dict[str, Any]:
    """A schema as plain JSON, column order included."""
    return {
        table.name: {
            "columns": [[c.name, c.type, c.nullable, c.default] for c in table.columns],
            "primary_key": table.primary_key and [table.primary_key.name, list(table.primary_key.columns)],
            "indexes": sorted([i.name, list(i.columns), i.unique] for i in table.indexes),
            "foreign_keys": [[f.name, f.references] for f in table.foreign_keys],
        }
        for table in schema.tables
    }


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@pytest.mark.parametrize(("dialect", "level"), LEVELS)
def test_every_level_is_reproduced(dialect: str, level: int) -> None:
    assert digest(canonical(schema_at(dialect, level))) == DIGESTS[dialect][str(level)]


def test_every_level_has_a_digest() -> None:
    for dialect, unchanged in (("postgresql", {24, 29}), ("mysql", set())):
        every = set(range(1, latest_level(dialect) + 1))
        assert {int(level) for level in DIGESTS[dialect]} == every - unchanged


@pytest.mark.parametrize(("level", "same_as"), [(24, 23), (29, 28)])
def test_a_level_that_changed_nothing_equals_the_one_before(level: int, same_as: int) -> None:
    assert schema_at("postgresql", level).tables == schema_at("postgresql", same_as).tables


@pytest.mark.parametrize(
    ("dialect", "level"), [("postgresql", 0), ("postgresql", 31), ("mysql", 14), ("sqlite", 1), ("mysql", -1)]
)
def test_an_unknown_level_or_dialect_is_refused(dialect: str, level: int) -> None:
    with pytest.raises(ValueError, match="Umami"):
        schema_at(dialect, level)


def test_tables_and_columns_are_found_by_name() -> None:
    schema = schema_at("postgresql", 19)
    assert "session_replay" in schema and "heatmap_event" not in schema
    assert schema.table("website_event").column("created_at").nullable
    with pytest.raises(KeyError):
        schema.table("heatmap_event")
    with pytest.raises(KeyError):
        schema.table("session").column("hostname")


def test_the_one_foreign_key() -> None:
    keys = [(table.name, key) for table in schema_at("postgresql", 26).tables for key in table.foreign_keys]
    assert [(table, key.references) for table, key in keys] == [("api_key", "user")]
