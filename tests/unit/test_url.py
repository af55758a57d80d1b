"""DATABASE_URL as Prisma and Umami read it."""

from __future__ import annotations

import pytest

from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import UsageFault

SECRET = "s3same"


@pytest.mark.parametrize(
    ("scheme", "dialect"),
    [
        ("postgresql", "postgresql"),
        ("postgres", "postgresql"),
        ("POSTGRES", "postgresql"),
        ("mysql", "mysql"),
        ("mariadb", "mysql"),
    ],
)
def test_the_scheme_names_the_dialect(scheme: str, dialect: str) -> None:
    assert DatabaseUrl.parse(f"{scheme}://umami:x@db/umami").dialect == dialect


def test_every_part_is_read_and_decoded() -> None:
    url = DatabaseUrl.parse(
        "postgresql://um%40mi:p%40ss%2Fw%3Ard%23%25@db.example:6432/my%20db?schema=web&sslmode=require"
    )
    assert (url.user, url.password, url.host, url.port, url.database) == (
        "um@mi",
        "p@ss/w:rd#%",
        "db.example",
        6432,
        "my db",
    )
    assert url.schema == "web"
    assert url.parameters["sslmode"] == "require"


def test_an_at_sign_in_the_password_is_read_as_umami_reads_it() -> None:
    url = DatabaseUrl.parse("postgresql://u:p@ss@h/d")
    assert (url.user, url.password, url.host) == ("u", "p@ss", "h")


def test_a_plus_in_the_password_stays_a_plus() -> None:
    assert DatabaseUrl.parse("postgresql://u:a+b@h/d").password == "a+b"


def test_quotes_and_newlines_around_it_are_forgiven() -> None:
    assert DatabaseUrl.parse(' "postgresql://u:p@h/d"\n').host == "h"


@pytest.mark.parametrize(
    ("text", "socket"),
    [
        ("postgresql://u:p@localhost/d?host=/run/postgresql", "/run/postgresql"),
        ("postgresql://u:p@%2Frun%2Fpostgresql/d", "/run/postgresql"),
        ("mysql://u:p@localhost/d?socket=/run/mysqld/mysqld.sock", "/run/mysqld/mysqld.sock"),
        ("mysql://u:p@localhost/d?socket=(/run/mysqld/mysqld.sock)", "/run/mysqld/mysqld.sock"),
        ("postgresql://u:p@localhost/d", None),
    ],
)
def test_unix_sockets(text: str, socket: str | None) -> None:
    assert DatabaseUrl.parse(text).socket == socket


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("postgres://u:p@h/d?schema=a%26b&sslmode=require&sslpassword=p&pgbouncer=false",
         "postgresql://u@h:5432/d?schema=a%26b&sslmode=require"),
        ("postgresql://u:p@%2Frun%2Fpg:6000/d", "postgresql://u@localhost:6000/d?host=/run/pg"),
        ("mysql://localhost/d?socket=/run/s", "mysql://localhost/d?socket=/run/s"),
    ],
)  # fmt: skip
def test_the_template_is_what_prisma_reads(text: str, template: str) -> None:
    assert DatabaseUrl.parse(text).template == template


def test_a_slash_behind_the_database_is_none_of_its_name() -> None:
    assert DatabaseUrl.parse("postgresql://u:p@h/umami/?schema=web").database == "umami"


@pytest.mark.parametrize(("value", "pooled"), [("true", True), ("TRUE", True), ("false", False), ("", False)])
def test_a_pooler_is_recognised(value: str, pooled: bool) -> None:
    assert DatabaseUrl.parse(f"postgresql://u:p@h/d?pgbouncer={value}").is_pooled is pooled


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("postgresql://h/d", "h:5432"),
        ("mysql://h/d", "h:3306"),
        ("postgresql://[::1]:6000/d", "[::1]:6000"),
        ("postgresql:///d", "localhost:5432"),
        ("mysql://localhost/d?socket=/run/s", "/run/s"),
    ],
)
def test_where_is_what_a_message_can_say(text: str, where: str) -> None:
    assert DatabaseUrl.parse(text).where == where


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "''",
        f"mongodb://u:{SECRET}@h/d",
        f"u:{SECRET}@h/d",
        f"{SECRET}",
        f"postgresql:u:{SECRET}@h/d",
        f"postgresql://u:{SECRET}@h",
        f"postgresql://u:{SECRET}@h/",
        f"postgresql://u:{SECRET}@h:port/d",
        f"postgresql://u:{SECRET}@h:99999/d",
        f"postgresql://u:{SECRET}#1@h/d",
        f"postgresql://u:{SECRET}/1@h/d",
        f"postgresql://u:{SECRET}?1@h/d",
        f"postgresql://u:12/{SECRET}@h/d",
        f"postgresql://u:12?{SECRET}@h/d",
        f"postgresql://u:a@{SECRET}/@h/d",
        f"postgresql://u:a@{SECRET}/b@h:1/d",
        f"postgresql://u:a@{SECRET}?@h/d",
        f"mysql://u:a@{SECRET}#@h/d",
        f"mysql://u@{SECRET}/:x@h/d",
        f"mysql://u:a@b:1/{SECRET}@h/d",
        f"postgresql://u:{SECRET}@[::1/d",
        f"postgresql://u:{SECRET}%00@h/d",
        f"postgresql://u:{SECRET}@a b/d",
        f"postgresql://u:{SECRET}@{'h' * 300}/d",
        f"postgresql://u:{SECRET}@h1:5432,h2:5432/d",
    ],
)
def test_malformed_urls_are_refused_without_repeating_them(text: str) -> None:
    with pytest.raises(UsageFault) as caught:
        DatabaseUrl.parse(text, source="DATABASE_URL_FILE")
    assert caught.value.exit_code == 2
    assert caught.value.message.startswith("DATABASE_URL_FILE")
    assert caught.value.hint
    assert SECRET not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("port", ["abc", "999999", "0", "-1", "5432x"])
def test_a_wrong_port_is_called_one(port: str) -> None:
    for address in (f"u:{SECRET}@h:{port}", f"h:{port}"):
        with pytest.raises(UsageFault) as caught:
            DatabaseUrl.parse(f"mysql://{address}/d")
        assert caught.value.message == "DATABASE_URL has a port that is not a number from 1 to 65535."


def test_no_repr_and_no_str_holds_the_password() -> None:
    url = DatabaseUrl.parse(f"postgresql://u:{SECRET}@h/d?sslpassword={SECRET}")
    assert SECRET not in f"{url!r} {url}"
    assert str(url) == "postgresql://u@h:5432/d"


def test_a_place_is_told_by_its_schema_and_by_nothing_secret() -> None:
    def place(text: str) -> str:
        return DatabaseUrl.parse(text).place

    plain = "postgresql://umami@db:5432/umami"
    assert place("postgres://umami:secret@db/umami?sslmode=require") == plain
    assert place("postgresql://umami:other@db:5432/umami?schema=public") == plain
    assert place("postgresql://umami:secret@db/umami?schema=theirs") == f"{plain}?schema=theirs"
    assert place("mysql://umami:secret@db/umami?schema=theirs") == "mysql://umami@db:3306/umami"
