"""What a person can ask prune for, on traffic with every odd shape: what stays is what the oracle says."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from testbed.bulk import connect
from testbed.servers import Server
from testbed.traffic import Traffic, populate
from tests import pruning
from tests.command import Outcome, run
from tests.oracle import Rules, survivors
from umami_ops.operations.prune import Retention
from umami_ops.umami.migrations import latest_released_level
from umami_ops.umami.schema import Schema

_TRAFFIC = Traffic(
    start=datetime(2025, 1, 1, tzinfo=UTC), end=datetime(2025, 7, 1, tzinfo=UTC), seed=3, events=1000
)
_HORIZON = datetime(2025, 4, 20, tzinfo=UTC)
_BEFORE = ("--before", "2025-04-20")


@pytest.fixture
def schema(server: Server, umami_database: str) -> Schema:
    """The schema of `umami_database`, which is then full of traffic."""
    level = latest_released_level(server.dialect)
    populate(umami_database, _TRAFFIC, level)
    return pruning.schema_of(umami_database, level)


def _website_ids(url: str) -> dict[str, str]:
    with connect(url) as loader:
        return {name: str(id_) for name, id_ in loader.execute("SELECT name, website_id FROM website")}


def _prune_as(
    url: str,
    schema: Schema,
    *arguments: str,
    horizon: datetime | None = _HORIZON,
    only: Iterable[str] = (),
    except_: Iterable[str] = (),
    delete_undated: bool = False,
    delete_orphans: bool = False,
) -> Outcome:
    """Prune with the command, and hold what is left to the oracle with these rules."""
    rules = Rules(
        *(horizon, horizon, horizon, horizon, frozenset(only), frozenset(except_)),
        delete_undated=delete_undated,
        delete_orphans=delete_orphans,
    )
    return _prune_by(url, schema, rules, *arguments)


def _prune_by(url: str, schema: Schema, rules: Rules, *arguments: str) -> Outcome:
    rows = pruning.read_rows(url, schema)
    done = run("prune", *arguments, "--yes", url=url)
    assert done.code == 0, done.said
    with connect(url) as loader:
        assert pruning.keys_of(loader, schema) == pruning.keys_in(survivors(rows, rules), schema)
    return done


def test_everything_past_the_horizon(umami_database: str, schema: Schema) -> None:
    done = _prune_as(umami_database, schema, *_BEFORE)
    assert "have no time (created_at is NULL) and are kept" in done.out
    assert "are orphans from earlier deletes" in done.out
    assert "--orphans deletes them too" in done.out
    assert "reusable" in done.out and "not returned" in done.out


def test_undated_and_orphans_go_when_asked(umami_database: str, schema: Schema) -> None:
    arguments = (*_BEFORE, "--null-created-at", "delete", "--orphans")
    done = _prune_as(umami_database, schema, *arguments, delete_undated=True, delete_orphans=True)
    assert "created_at is NULL" not in done.out
    assert "orphans from earlier" not in done.out


def test_one_website(umami_database: str, schema: Schema) -> None:
    id_ = _website_ids(umami_database)["Acme Shop"]
    _prune_as(umami_database, schema, *_BEFORE, "--website", "Shop.Acme.example", only=[id_])


def test_a_website_with_quotes_in_its_name_and_a_link(umami_database: str, schema: Schema) -> None:
    ids = _website_ids(umami_database)
    (odd,) = (name for name in ids if "Bücher" in name)
    only = [ids[odd]]
    arguments = [*_BEFORE, "--website", odd]
    if "link" in schema:
        with connect(umami_database) as loader:
            ((link,),) = loader.execute("SELECT link_id FROM link")
        only.append(str(link))
        arguments += ["--website", "spring"]
    _prune_as(umami_database, schema, *arguments, only=only)


def test_all_but_one_website(umami_database: str, schema: Schema) -> None:
    id_ = _website_ids(umami_database)["Documentation"]
    _prune_as(umami_database, schema, *_BEFORE, "--exclude-website", id_, except_=[id_])


def test_a_table_with_a_horizon_of_its_own(
    postgresql_server: Server, umami_database: str, schema: Schema
) -> None:
    days = (datetime.now(UTC) - _TRAFFIC.end).days + 20
    replays = datetime.now(UTC) - timedelta(days=days)
    rules = Rules(events=_HORIZON, heatmaps=_HORIZON, replays=replays, sessions=_HORIZON)
    arguments = (*_BEFORE, "--table", f"session_replay={days}d")
    done = _prune_by(umami_database, schema, rules, *arguments, "--json")
    assert done.document["deleted_rows"]["session_replay"] > 0


def test_replays_alone(postgresql_server: Server, umami_database: str, schema: Schema) -> None:
    days = (datetime.now(UTC) - _TRAFFIC.end).days + 20
    rules = Rules(events=None, heatmaps=None, replays=datetime.now(UTC) - timedelta(days=days), sessions=None)
    done = _prune_by(umami_database, schema, rules, "--table", f"session_replay={days}d", "--json")
    assert set(done.document["deleted_rows"]) == {"session_replay"}


def test_times_that_no_calendar_has_are_past(server: Server, umami_database: str, schema: Schema) -> None:
    never = {"postgresql": "'-infinity'", "mysql": "'0000-00-00 00:00:00'"}[server.dialect]
    tables = [t for t in ("website_event", "session", "session_replay", "heatmap_event") if t in schema]
    with connect(umami_database) as loader:
        if server.dialect == "mysql":
            loader.execute("SET sql_mode = ''")
        for table in tables:
            primary_key = schema.table(table).primary_key
            assert primary_key is not None
            (key,) = primary_key.columns
            (last,) = loader.execute(f"SELECT {key} FROM {table} ORDER BY created_at DESC LIMIT 1")[0]
            loader.execute(f"UPDATE {table} SET created_at = {never} WHERE {key} = '{last}'")
    done = pruning.prune(umami_database, Retention(horizon=_HORIZON), batch_rows=100)
    assert done.report.stopped is None
    assert done.report.remaining == 0
    gone = {table: count for table, count in done.report.deleted.items() if count}
    assert gone == {table: count for table, count in (done.plan.expected or {}).items() if count}
    with connect(umami_database) as loader:
        for table in set(tables) - {"session", "session_replay"}:
            left = f"SELECT COUNT(*) FROM {table} WHERE created_at < '2025-04-20'"
            assert loader.execute(left) == [(0,)], table
