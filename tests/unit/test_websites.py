"""Which website a person means by what is typed."""

from __future__ import annotations

from typing import Any

import pytest

from umami_ops.errors import UsageFault
from umami_ops.operations.websites import matching

_KNOWN: list[dict[str, Any]] = [
    {"id": "1", "name": "Shop", "domain": "shop.example"},
    {"id": "2", "name": "shop.example", "domain": "staging.shop.example"},
    {"id": "3", "name": "Blog", "domain": "blog"},
    {"id": "4", "name": "1", "domain": None},
]


def test_one_s_domain_that_is_another_s_name_is_neither() -> None:
    with pytest.raises(UsageFault) as caught:
        matching(_KNOWN, "shop.example", "--website")
    assert "1 ('Shop'), 2 ('shop.example')" in caught.value.message


@pytest.mark.parametrize(("typed", "id_"), [(" SHOP ", "1"), ("blog", "3"), ("1", "1")])
def test_one_that_is_meant_is_found(typed: str, id_: str) -> None:
    assert matching(_KNOWN, typed, "--website")["id"] == id_
