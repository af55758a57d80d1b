"""`restore --website`: one website of a portable backup joins a database that has others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.bulk import connect
from testbed.servers import Server
from tests import backups
from tests.backups import Rows, execute, rows_of
from tests.command import Outcome, run
from umami_ops.umami.tables import belonging_column

Cli = Callable[..., Outcome]
_OTHER = "5e0f1c4e-0000-4000-8000-000000000000"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    def call(*arguments: str, url: str) -> Outcome:
        return run(*arguments, url=url, folder=tmp_path)

    return call


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    """A database with every odd shape of traffic."""
    made = backups.fill(server, server.create_database(), events=500)
    yield made
    server.drop_database(made)


def _website(url: str) -> tuple[str, str]:
    """The id and the domain of the busiest website."""
    with connect(url) as loader:
        ((id_, domain),) = loader.execute(
            "SELECT w.website_id, w.domain FROM website AS w JOIN website_event AS e"
            " ON e.website_id = w.website_id GROUP BY w.website_id, w.domain ORDER BY COUNT(*) DESC LIMIT 1"
        )
    return str(id_), domain


def _without(url: str, website: str, tables: Rows) -> None:
    columns = {table: belonging_column(table) for table in tables}
    execute(url, *(f"DELETE FROM {t} WHERE {c} = '{website}'" for t, c in columns.items() if c))


def test_one_website_joins_others(cli: Cli, url: str) -> None:
    before = rows_of(url)
    assert cli("backup", "--format", "portable", url=url).code == 0
    website, domain = _website(url)
    _without(url, website, before)
    execute(url, f"INSERT INTO website (website_id, name) VALUES ('{_OTHER}', 'another')")
    others = rows_of(url)
    assert sum(map(len, others.values())) < sum(map(len, before.values()))
    outcome = cli("restore", "latest", "--website", domain.upper(), "--yes", "--json", url=url)
    assert outcome.code == 0, outcome.said
    counts = {each["name"]: each["rows"] for each in outcome.document["tables"]}
    assert counts["website"] == 1
    assert counts["website_event"] == len(before["website_event"]) - len(others["website_event"]) > 0
    execute(url, f"DELETE FROM website WHERE website_id = '{_OTHER}'")
    assert rows_of(url) == before

    again = cli("restore", "latest", "--website", website, "--yes", url=url)
    assert again.code == 5, again.said
    assert "--replace" in again.err
    execute(url, f"UPDATE website_event SET url_path = '/changed' WHERE website_id = '{website}'")
    execute(url, f"DELETE FROM session WHERE website_id = '{website}'")
    replaced = cli("restore", "latest", "--website", website, "--replace", "--yes", url=url)
    assert replaced.code == 0, replaced.said
    assert domain in replaced.out
    assert "the rows of this website in" in replaced.out
    (in_all,) = re.findall(r"in all +([\d,]+)", replaced.out)
    assert in_all == f"{sum(counts.values()):,}"
    assert rows_of(url) == before


@pytest.mark.usefixtures("mysql_server")
def test_beside_the_copy_of_a_killed_rebuild(cli: Cli, url: str, tmp_path: Path) -> None:
    """Its triggers write to the copy until the next rebuild: without it Umami could store no event."""
    before = rows_of(url)
    assert cli("backup", "--format", "portable", url=url).code == 0
    website, domain = _website(url)
    _without(url, website, before)
    copy, trigger = "_umami_ops_new_website_event", "_umami_ops_insert_website_event"
    execute(
        url,
        f"CREATE TABLE {copy} LIKE website_event",
        f"CREATE TRIGGER {trigger} AFTER INSERT ON website_event FOR EACH ROW"
        f" REPLACE INTO {copy} (event_id, website_id, session_id, visit_id, url_path)"
        " VALUES (NEW.event_id, NEW.website_id, NEW.session_id, NEW.visit_id, NEW.url_path)",
    )
    outcome = cli("restore", "latest", "--website", domain, "--yes", url=url)
    assert outcome.code == 0, outcome.said
    after = rows_of(url)
    events = [row for row in before["website_event"] if website in row]
    assert len(after.pop(copy)) == len(events) > 0
    assert after == before
    (tmp_path / "cut.tar").write_bytes(next(tmp_path.glob("backups/*/database.tar")).read_bytes()[:-20_000])
    assert cli("restore", "cut.tar", "--replace", "--yes", url=url).code != 0
    values = ", ".join(f"'{_OTHER}'" for _ in range(4))
    columns = "event_id, website_id, session_id, visit_id, url_path"
    execute(url, f"INSERT INTO website_event ({columns}) VALUES ({values}, '/')")
    assert len(rows_of(url)[copy]) == len(events) + 1
    whole = cli("restore", "latest", "--replace", "--yes", url=url)
    assert whole.code == 0, whole.said
    execute(url, f"DROP TABLE {copy}", f"DELETE FROM website_event WHERE event_id = '{_OTHER}'")
    assert rows_of(url) == before


@pytest.mark.usefixtures("postgresql_server")
def test_a_link_whose_slug_another_has_by_now(cli: Cli, url: str) -> None:
    """Its clicks without it would be nobody's."""
    columns = "INSERT INTO link (link_id, name, url, slug) VALUES"
    execute(url, f"{columns} ('{_OTHER}', 'mine', 'https://example.org', 'promo')")
    assert cli("backup", "--format", "portable", url=url).code == 0
    another = _OTHER.replace("0000", "0001")
    execute(url, "DELETE FROM link", f"{columns} ('{another}', 'another', 'https://example.org', 'promo')")
    before = rows_of(url)
    outcome = cli("restore", "latest", "--website", _OTHER, "--yes", url=url)
    assert outcome.code == 1, outcome.said
    assert "slug" in outcome.err
    assert "The database is as it was." in outcome.err
    assert rows_of(url) == before


def test_a_website_of_nobody_here(cli: Cli, url: str, server: Server) -> None:
    """Umami shows a website to its user, or to its team."""
    quote = '"user"' if server.dialect == "postgresql" else "user"
    website, domain = _website(url)
    user = "5e0f1c4e-0000-4000-8000-0000000000aa"
    columns = f"{quote} (user_id, username, password, role)"
    execute(
        url,
        f"INSERT INTO {columns} VALUES ('{user}', 'her', 'x', 'user')",
        f"UPDATE website SET user_id = '{user}', team_id = NULL WHERE website_id = '{website}'",
    )
    assert cli("backup", "--format", "portable", url=url).code == 0
    _without(url, website, rows_of(url))
    restore = ("restore", "latest", "--website", domain, "--replace")
    assert cli(*restore, "--dry-run", "--json", url=url).document["notes"] == []
    execute(url, f"UPDATE {quote} SET deleted_at = created_at WHERE user_id = '{user}'")
    assert len(cli(*restore, "--dry-run", "--json", url=url).document["notes"]) == 1
    execute(url, f"DELETE FROM {quote} WHERE user_id = '{user}'")
    shown = " ".join(cli(*restore, "--dry-run", url=url).said.split())
    assert f"belongs to user {user}, which this database hasn't" in shown
    assert "until its user_id in table website is another's" in shown
    outcome = cli(*restore, "--yes", "--json", url=url)
    assert outcome.code == 0, outcome.said
    assert user in outcome.document["notes"][0]


def test_what_is_not_there_is_said(cli: Cli, url: str, server: Server, database_url: str) -> None:
    assert cli("backup", "--format", "portable", url=url).code == 0
    quote = '"user"' if server.dialect == "postgresql" else "user"
    execute(url, f"DELETE FROM {quote}")
    before = rows_of(url)
    for arguments, code, said in (
        (("--website", "nobody.example"), 2, "no such website"),
        (("--website", _website(url)[1], "--only", "nothing"), 2, "no such table"),
        (("--website", _website(url)[1], "--only", "user"), 2, "belong to no website"),
    ):
        outcome = cli("restore", "latest", *arguments, "--yes", url=url)
        assert (outcome.code, said in outcome.err) == (code, True), outcome.said
    assert rows_of(url) == before
    empty = cli("restore", "latest", "--website", _website(url)[1], "--yes", url=database_url)
    assert empty.code == 5, empty.said


def test_a_dump_is_not_taken_apart(cli: Cli, url: str, server: Server, tmp_path: Path) -> None:
    programs = backups.programs_of(server)
    assert run("backup", url=url, env=programs, folder=tmp_path).code == 0
    outcome = cli("restore", "latest", "--website", _website(url)[1], "--yes", url=url)
    assert outcome.code == 2, outcome.said
    assert "portable" in outcome.err
