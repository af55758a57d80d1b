"""The named queries: both dialects have the same ones, and all of them are SQL."""

from __future__ import annotations

import re

import pytest
import sqlglot
from sqlglot.errors import SqlglotError

from umami_ops.sql import Query, queries, resource

DIALECTS = {"postgresql": "postgres", "mysql": "mysql"}


def _files(dialect: str) -> list[str]:
    return sorted(file.name for file in resource(dialect).iterdir())


def test_both_dialects_have_the_same_files() -> None:
    assert _files("postgresql") == _files("mysql")


@pytest.mark.parametrize("file", _files("postgresql"))
def test_both_dialects_have_the_same_queries(file: str) -> None:
    def names(dialect: str) -> set[str]:
        stem = file.removesuffix(".sql")
        return {name for name in queries(dialect) if name.startswith(f"{stem}.")}

    assert names("postgresql") == names("mysql")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_query_says_what_it_does(dialect: str) -> None:
    for name, query in queries(dialect).items():
        assert query.about.endswith("."), name


def _variants(query: Query) -> list[set[str]]:
    """With none of its conditional lines, with all, and with each alone."""
    return [set(), set(query.words), *({word} for word in query.words)]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_query_parses_whichever_lines_stand(dialect: str) -> None:
    wrong = []
    for name, query in queries(dialect).items():
        for words in _variants(query):
            for statement in query.when(words).statements:
                # Neither dialect's grammar knows `:name`; the drivers put values there.
                text = re.sub(r"(?<![:\w]):([a-z_]+)", "'x'", statement.text)
                try:
                    sqlglot.parse_one(text, read=DIALECTS[dialect])
                except SqlglotError as fault:
                    wrong.append(f"{name} {words}: {fault}")
    assert not wrong, "\n".join(wrong)


def test_conditional_lines_stand_when_asked_for() -> None:
    query = Query("x", "", "SELECT 1\n  AND a  --? a\n  AND b  --? !a\nEND")
    assert query.when({"a"}).text == "SELECT 1\n  AND a\nEND"
    assert query.when(()).text == "SELECT 1\n  AND b\nEND"


def test_parameters_are_neither_casts_nor_times() -> None:
    query = Query("x", "", "SELECT :horizon, id::uuid, '12:30', :one_website")
    assert query.parameters == {"horizon", "one_website"}


def test_percent_signs_reach_the_server_as_they_are() -> None:
    assert Query("x", "", "SELECT :a LIKE '%x%'").for_driver() == "SELECT %(a)s LIKE '%%x%%'"
