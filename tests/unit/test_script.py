"""Where the statements of a dump's text begin and end."""

from __future__ import annotations

import pytest

from umami_ops.databases.postgresql.script import Script


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t VALUES ('it''s;\n', E'\\';\n', 1);",
        "INSERT INTO t VALUES (e'a'';\n\\\\', 'b\\');",
        'CREATE TABLE "a;\n""b" (a$b$ integer, "$$" integer);',
        "CREATE FUNCTION f() RETURNS trigger AS $body$BEGIN RETURN $$;\n$$; END$body$ LANGUAGE plpgsql;",
        "SELECT 1 /* ;\n /* ' */ \" ; */ - 2 -- it's;\n;",
        "CREATE RULE r AS ON INSERT TO t DO (DELETE FROM t;\nDELETE FROM u);",
        "SELECT $1;",
    ],
)
def test_a_statement_ends_where_it_ends(statement: str) -> None:
    script = Script()
    *lines, last = statement.encode().splitlines(keepends=True)
    for line in lines:
        script.add(line)
        assert not script.is_between
    script.add(last)
    assert script.is_between
    assert script.take() == statement.encode()


def test_a_backslash_means_what_the_text_says() -> None:
    script = Script()
    script.add(b"SET standard_conforming_strings = off;\n")
    script.add(b"SELECT 'it\\';\n")
    assert not script.is_between
    script.add(b"';\n")
    script.add(b"SET standard_conforming_strings = on;\n")
    script.add(b"SELECT 'it\\';\n")
    assert script.is_between


def test_what_is_dropped_goes_to_its_end() -> None:
    script = Script()
    script.add(b"-- a comment\n")
    script.add(b"COMMENT ON EXTENSION x IS 'one\n", drops=True)
    script.add(b"two';\n")
    assert script.take() == b""
    script.add(b"SELECT 1;\n")
    assert script.take() == b"SELECT 1;\n"
