"""What counts as equal where two servers write a value in different ways."""

from __future__ import annotations

import pytest

from umami_ops.databases.transit import Kind
from umami_ops.transfer import proof


@pytest.mark.parametrize(
    ("one", "other", "kind", "equal"),
    [
        ("0.1", "1e-1", Kind.FLOAT, True),
        ("0.1", "0.10000001", Kind.FLOAT, False),
        ("12.500", "12.5", Kind.OTHER, True),
        ("10", "1", Kind.OTHER, False),
        ("12345678901234567890.1", "12345678901234567890.2", Kind.OTHER, False),
        ("1_0", "10", Kind.OTHER, False),
        ("1e1", "10", Kind.OTHER, False),
        ('{"a": 1.0, "b": 2}', '{"b":2,"a":1}', Kind.JSON, True),
        ('{"a": "1"}', '{"a": 1}', Kind.JSON, False),
        ('{"a": "number 1.0"}', '{"a": 1}', Kind.JSON, False),
        (None, "", Kind.OTHER, False),
        (None, "\x02", Kind.OTHER, False),
    ],
)
def test_equal_values(one: str | None, other: str | None, kind: Kind, equal: bool) -> None:
    assert (proof._plain(one, kind) == proof._plain(other, kind)) is equal
