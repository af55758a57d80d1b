"""Names, releases and checksums of Umami's migrations."""

from __future__ import annotations

import re

import pytest

from umami_ops.umami.migrations import (
    known_names,
    latest_released_level,
    level_of,
    level_of_release,
    likely_release,
    migrations,
)
from umami_ops.umami.schema import DIALECTS, latest_level


@pytest.mark.parametrize("dialect", DIALECTS)
def test_migrations_are_ordered_and_end_at_the_latest_level(dialect: str) -> None:
    levels = [migration.level for migration in migrations(dialect)]
    assert levels == sorted(set(levels))
    assert levels[0] == 1 and levels[-1] == latest_level(dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_released_migrations_have_a_checksum_and_others_a_guess(dialect: str) -> None:
    for migration in migrations(dialect):
        assert (migration.first_release is None) == (migration.checksum is None)
        assert (migration.first_release is None) == (migration.expected_release is not None)
        assert all(re.fullmatch("[0-9a-f]{64}", checksum.sha256) for checksum in migration.checksums)


def test_latest_released_levels() -> None:
    assert (latest_released_level("postgresql"), latest_released_level("mysql")) == (19, 13)


@pytest.mark.parametrize(
    ("dialect", "level", "release"),
    [
        ("postgresql", 0, "unknown"),
        ("postgresql", 1, "v2.0.0 or later, before v2.3.0"),
        ("postgresql", 8, "part way through the upgrade to v2.18.0"),
        ("postgresql", 13, "v2.19.0 or later v2"),
        ("mysql", 13, "v2.19.0 or later v2"),
        ("postgresql", 14, "v3.0.0 or later, before v3.1.0"),
        ("postgresql", 17, "part way through the upgrade to v3.1.0"),
        ("postgresql", 19, "v3.1.0"),
        ("postgresql", 20, "about v3.3, unreleased when this was written"),
        ("postgresql", 24, "about v3.3, unreleased when this was written"),
        ("postgresql", 30, "after v3.3, unreleased when this was written"),
        ("postgresql", 31, "newer than any Umami that this version of umami-ops knows"),
        ("mysql", 14, "newer than any Umami that this version of umami-ops knows"),
    ],
)
def test_likely_release(dialect: str, level: int, release: str) -> None:
    assert likely_release(dialect, level) == release


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("13_add_revenue", 13),
        ("20_someones_fork", 20),
        ("20210522150533_initial", None),
        ("baseline", None),
        ("", None),
    ],
)
def test_level_of(name: str, level: int | None) -> None:
    assert level_of(name) == level


def test_known_names() -> None:
    assert "19_add_session_replay" in known_names("postgresql")
    assert "19_add_session_replay" not in known_names("mysql")
    assert "04_add_uuid" not in known_names("postgresql"), "that is Umami v1's"


@pytest.mark.parametrize(
    ("dialect", "release", "level"),
    [
        ("postgresql", "2.10", 4),
        ("postgresql", "v2.11.1", 5),
        ("postgresql", "3", 23),
        ("postgresql", "3.1", 19),
        ("postgresql", "3.2", 19),
        ("postgresql", "3.3", 23),
        ("mysql", "2.20.2", 13),
    ],
)
def test_level_of_release(dialect: str, release: str, level: int) -> None:
    assert level_of_release(dialect, release) == level


@pytest.mark.parametrize(
    ("dialect", "release", "known"),
    [
        ("postgresql", "9.9", "v2.0.0 to v3.1.0 are, and v3.3 as it was in the making"),
        ("postgresql", "4", "v2.0.0 to v3.1.0"),
        ("mysql", "3.1", "v2.0.0 to v2.20.2 are"),
        ("postgresql", "1.40", "from v2 on"),
    ],
)
def test_a_release_that_is_not_known_has_no_level(dialect: str, release: str, known: str) -> None:
    with pytest.raises(ValueError, match=re.escape(known)):
        level_of_release(dialect, release)
