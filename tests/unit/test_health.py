"""The checks as data: documented, registered, with thresholds that exist; docs/health.md is theirs."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from umami_ops.operations.health import (
    CHECKS,
    activity,
    backups,
    configuration,
    ingest,
    migrations,
    retention,
    schema,
    server,
    storage,
)
from umami_ops.operations.health.check import Check, bytes_in_words, span
from umami_ops.operations.health.handbook import handbook
from umami_ops.operations.health.support import support_ends
from umami_ops.operations.thresholds import Thresholds

DOCUMENT = Path(__file__).parents[2] / "docs" / "health.md"
WRITE = "python -c 'from umami_ops.operations.health.handbook import handbook; print(handbook(), end=str())'"


def test_the_handbook_is_what_the_checks_say() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == handbook(), f"run: {WRITE} > docs/health.md"


def test_every_check_is_registered_once() -> None:
    themes = (activity, backups, configuration, ingest, migrations, retention, schema, server, storage)
    made = {id(value) for theme in themes for value in vars(theme).values() if isinstance(value, Check)}
    assert {id(check) for check in CHECKS} == made
    assert len({check.name for check in CHECKS}) == len(CHECKS)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_every_check_says_what_it_does(check: Check) -> None:
    assert check.title
    assert check.why.endswith(".")
    assert check.rule
    assert check.cure
    known = {item.name for item in fields(Thresholds)}
    assert set(check.thresholds) <= known
    assert {name for name in known if f"`{name}`" in check.rule} <= set(check.thresholds)
    assert all(about.endswith(".") for about in check.measures.values())


def test_every_threshold_belongs_to_a_check() -> None:
    used = {name for check in CHECKS for name in check.thresholds}
    assert {item.name for item in fields(Thresholds)} - used == {"budget_seconds"}


def test_measures_have_names_of_their_own() -> None:
    names = [name for check in CHECKS for name in check.measures]
    assert len(names) == len(set(names))


def test_thresholds_are_never_negative() -> None:
    with pytest.raises(ValueError, match="dead_rows is below 0"):
        Thresholds(dead_rows=-1)


@pytest.mark.parametrize(
    ("flavour", "version", "known"),
    [
        ("postgresql", "14.20", True),
        ("postgresql", "99.1", False),
        ("mysql", "8.4.3", True),
        ("mariadb", "10.11.6", True),
    ],
)
def test_support(flavour: str, version: str, known: bool) -> None:
    assert (support_ends(flavour, version) is not None) is known


def test_words_for_sentences() -> None:
    assert [span(s) for s in (0.42, 59, 300, 10_000, 900_000)] == ["0.4 s", "59 s", "5 min", "3 h", "10 days"]
    assert [bytes_in_words(b) for b in (10, 2_000, 5 * 10**6, 7 * 10**9)] == ["10 B", "2 kB", "5 MB", "7 GB"]
