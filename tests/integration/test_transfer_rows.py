"""Rows out of one server and into another are the same bytes, whatever stands in them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from testbed.servers import Server
from tests import moving
from tests.plugins.directions import Direction
from umami_ops.databases.base import Connection, Database
from umami_ops.databases.lines import lines
from umami_ops.databases.registry import open_database
from umami_ops.databases.transit import EVERYTHING, KeyRange, Pair, Rows
from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import ConnectionLost, DatabaseFault, OpsError
from umami_ops.sql import Query
from umami_ops.transfer import proof, ranges
from umami_ops.transfer.meanwhile import cancel
from umami_ops.transfer.schema import pair
from umami_ops.transfer.snapshot import Snapshot
from umami_ops.umami.schema import schema_at

EVENT_COLUMNS = (
    "event_id", "website_id", "session_id", "visit_id", "created_at", "url_path", "url_query", "page_title",
    "event_type", "event_name", "tag",
)  # fmt: skip


@pytest.fixture
def connection(umami_at: Callable[[int], str]) -> Iterator[Connection]:
    with moving.connect(umami_at(13)) as opened:
        yield opened


def database(url: str) -> Database:
    return open_database(DatabaseUrl.parse(url))


def fill(connection: Connection, count: int = 60) -> Rows:
    """Put awkward events into website_event; returns how its rows travel."""
    names, values = ", ".join(EVENT_COLUMNS), ", ".join(f":{name}" for name in EVENT_COLUMNS)
    insert = Query("test", "", f"INSERT INTO website_event ({names}) VALUES ({values})")
    with connection.transaction():
        for number in range(count):
            connection.run(
                insert, **moving.awkward_event(number, moving.AWKWARD[number % len(moving.AWKWARD)])
            )
    return moving.rows_in(connection, "website_event")


def bytes_of(connection: Connection, rows: Rows, keys: KeyRange = EVERYTHING) -> bytes:
    return b"".join(sorted(line + b"\n" for line in lines(connection.transit().read(rows, keys))))


@pytest.mark.parametrize("cut", [1, 7, 100_000])
def test_what_came_out_goes_in_however_it_is_cut(connection: Connection, cut: int) -> None:
    rows = fill(connection)
    before, proven = bytes_of(connection, rows), connection.transit().prove(rows)
    connection.run(Query("test", "", "DELETE FROM website_event"))
    pieces = [before[start : start + cut] for start in range(0, len(before), cut)]
    with connection.transaction():
        assert connection.transit().write(rows, pieces) == 60
    assert bytes_of(connection, rows) == before
    assert connection.transit().prove(rows) == proven


def test_local_infile_switched_off_gives_the_same_rows(
    mysql_server: Server, connection: Connection, umami_database: str
) -> None:
    rows = fill(connection)
    admin = moving.connect(mysql_server.as_admin(umami_database))
    allowed = admin.value(Query("test", "", "SELECT @@global.local_infile AS allowed"))
    before = bytes_of(connection, rows)
    connection.run(Query("test", "", "DELETE FROM website_event"))
    try:
        for mode, found in ((1, True), (0, False)):
            admin.run(Query("test", "", f"SET GLOBAL local_infile = {mode}"))
            transit = connection.transit()
            assert transit.loading().in_bulk is found
            assert transit.write(rows, [before]) == 60
            assert bytes_of(connection, rows) == before
            connection.run(Query("test", "", "DELETE FROM website_event"))
    finally:
        admin.run(Query("test", "", f"SET GLOBAL local_infile = {allowed}"))
        admin.close()


def test_bytes_are_inserted_as_they_are_loaded(
    mysql_server: Server, connection: Connection, umami_database: str
) -> None:
    """Columns of users' own, where bytes have to become literals."""
    made = "CREATE TABLE mine (id bigint PRIMARY KEY, raw blob, fixed binary(3) NOT NULL, said varchar(20))"
    connection.run(Query("test", "", made))
    row = b"(1, x'005c27220a2c', x'ff0027', 'a,\"b'), (2, '', x'000000', '\\\\x41'), (3, NULL, '   ', NULL)"
    connection.run(Query("test", "", f"INSERT INTO mine VALUES {row.decode()}"))
    rows = moving.rows_in(connection, "mine")
    before, proven = bytes_of(connection, rows), connection.transit().prove(rows)
    connection.run(Query("test", "", "DELETE FROM mine"))
    with moving.connect(mysql_server.as_admin(umami_database)) as admin:
        allowed = admin.value(Query("test", "", "SELECT @@global.local_infile AS allowed"))
        admin.run(Query("test", "", "SET GLOBAL local_infile = 0"))
        try:
            assert connection.transit().write(rows, [before]) == 3
        finally:
            admin.run(Query("test", "", f"SET GLOBAL local_infile = {allowed}"))
    assert bytes_of(connection, rows) == before
    assert connection.transit().prove(rows) == proven


def test_rows_together_do_not_pass_the_longest_statement(mysql_server: Server, umami_database: str) -> None:
    """Each goes into a megabyte, which a server's limit may be; the third would be more with the others."""
    with moving.connect(mysql_server.as_admin(umami_database)) as admin:
        was = {
            name: admin.value(Query("test", "", f"SELECT @@global.{name} AS value"))
            for name in ("local_infile", "max_allowed_packet")
        }
        admin.run(Query("test", "", "SET GLOBAL local_infile = 0"))
        admin.run(Query("test", "", "SET GLOBAL max_allowed_packet = 1048576"))
        try:
            with moving.connect(umami_database) as small:
                small.run(Query("test", "", "CREATE TABLE long_rows (id bigint PRIMARY KEY, doc longtext)"))
                rows = moving.rows_in(small, "long_rows")
                given = [b'%d,"%b"\n' % (key, b"x" * 450_000) for key in range(3)]
                assert small.transit().write(rows, given) == 3
                assert bytes_of(small, rows) == b"".join(given)
        finally:
            for name, value in was.items():
                admin.run(Query("test", "", f"SET GLOBAL {name} = {value}"))


def test_a_row_that_does_not_fit_is_refused_not_cut(connection: Connection) -> None:
    rows = fill(connection, 3)
    good = bytes_of(connection, rows)
    connection.run(Query("test", "", "DELETE FROM website_event"))
    first = good.split(b"\n")[0]
    assert b'"2024-' in good
    for wrong in (
        first.replace(first.split(b",")[5], b'"' + b"x" * 501 + b'"'),  # too long
        good.replace(b'"2024-05', b'"2024-13'),  # no such month
        good + good,  # every key twice
        first.rpartition(b",")[0],  # a column short
    ):
        with pytest.raises(DatabaseFault), connection.transaction():
            connection.transit().write(rows, [wrong + b"\n"])
        assert connection.transit().prove(rows).rows == 0


def test_what_breaks_at_the_source_breaks_the_load(connection: Connection) -> None:
    rows = fill(connection, 5)
    good = bytes_of(connection, rows)
    connection.run(Query("test", "", "DELETE FROM website_event"))

    def broken() -> Iterator[bytes]:
        yield good
        raise ConnectionLost("the source went away")

    with pytest.raises(ConnectionLost, match="the source went away"), connection.transaction():
        connection.transit().write(rows, broken())
    assert connection.transit().prove(rows).rows == 0


def test_ranges_tile_the_key(connection: Connection) -> None:
    rows, transit = fill(connection), connection.transit()
    whole = transit.prove(rows)
    for size in (1, 7, 59, 60, 61, 1000):
        found = list(ranges.tile(transit, rows, range_rows=size))
        assert (found[0].since, found[-1].until) == (None, None)
        assert all(before.until == after.since for before, after in zip(found, found[1:], strict=False))
        proofs = [transit.prove(rows, keys) for keys in found]
        assert sum(item.rows for item in proofs) == whole.rows
        assert sum(item.checksum for item in proofs) == whole.checksum
        assert all(item.rows <= size for item in proofs)
        assert b"".join(bytes_of(connection, rows, keys) for keys in found) == bytes_of(connection, rows)


@given(st.lists(st.integers(0, 40), unique=True), st.data())
def test_gaps_and_what_is_done_tile_the_key(cuts: list[int], data: st.DataObject) -> None:
    edges = [None, *(str(cut) for cut in sorted(cuts)), None]
    tiles = [KeyRange(since, until) for since, until in zip(edges, edges[1:], strict=False)]
    done = [tile for tile in tiles if data.draw(st.booleans())]
    left = ranges.gaps(done, int)

    def holds(item: KeyRange, key: int) -> bool:
        return (item.since is None or key >= int(item.since)) and (
            item.until is None or key < int(item.until)
        )

    for key in range(-1, 42):
        assert sum(holds(item, key) for item in (*done, *left)) == 1


def test_a_snapshot_is_one_moment_for_all_its_sessions(connection: Connection) -> None:
    rows = fill(connection, 10)
    with Snapshot(database(text_of(connection)), ["website_event"], 3, "test") as snapshot:
        assert snapshot.is_shared
        assert len(snapshot.connections) == 3
        connection.run(Query("test", "", "DELETE FROM website_event WHERE event_type = 1"))
        assert {session.transit().prove(rows).rows for session in snapshot.connections} == {10}
        for session in snapshot.connections:
            with pytest.raises(DatabaseFault):
                session.run(Query("test", "", "DELETE FROM website_event"))
    assert connection.transit().prove(rows).rows == 5


def test_what_rewrites_a_table_takes_no_row_from_a_snapshot(connection: Connection) -> None:
    """As migrations of Umami's do: PostgreSQL would show an older moment an empty table, and say nothing."""
    rows = fill(connection, 10)
    rewrite = {
        "postgresql": "ALTER TABLE website_event ALTER COLUMN tag TYPE varchar(40)",
        "mysql": "ALTER TABLE website_event MODIFY tag varchar(40), ALGORITHM = COPY",
    }[connection.dialect.name]
    with Snapshot(database(text_of(connection)), ["website_event"], 2, "test") as snapshot:
        connection.run(connection.dialect.queries["lock.impatient"], seconds=1)
        with suppress(OpsError):
            connection.run(Query("test", "", rewrite))
        for session in snapshot.connections:
            try:
                found = session.transit().prove(rows).rows
            except OpsError as fault:
                # MySQL says that it can't show that moment any more.
                assert connection.dialect.name == "mysql", fault
            else:
                assert found == 10
    connection.run(Query("test", "", rewrite))


def text_of(connection: Connection) -> str:
    url = connection.url
    return f"{url.dialect}://{url.user}:{url.password}@{url.host}:{url.port}/{url.database}"


def test_differences_name_the_rows(connection: Connection) -> None:
    rows, transit = fill(connection, 20), connection.transit()
    before = proof.fingerprints(transit, rows, EVERYTHING)
    keys = sorted(before)
    assert transit.delete_keys(rows, keys[:2]) == 2
    connection.run(Query("test", "", "UPDATE website_event SET tag = 'x' WHERE event_id = :id"), id=keys[5])
    found = proof.differences(before, proof.fingerprints(transit, rows, EVERYTHING))
    assert (found.missing, found.extra, found.changed) == (tuple(keys[:2]), (), (keys[5],))
    assert b"".join(transit.read_keys(rows, keys[5:6])).count(b'"x"') == 1


def pairs_at(source: Connection, target: Connection, level: int) -> list[Pair]:
    sides = (moving.side_of(source), moving.side_of(target))
    tables = [
        schema_at(source.dialect.name, level).table_names,
        schema_at(target.dialect.name, level).table_names,
    ]
    here, there = source.transit().describe(), target.transit().describe()
    found = []
    for name in sorted(set(tables[0]) & set(tables[1])):
        own, other = here.table(name), there.table(name)
        assert own is not None
        assert other is not None
        found.append(pair(own, sides[0], other, sides[1]))
    return found


@pytest.mark.every_direction
def test_every_row_survives_the_way_there_and_back(
    direction: Direction, source_at: Callable[[int], str], target_url: str
) -> None:
    from testbed.umami import create_umami

    create_umami(target_url, 13)
    types = {t.name: {c.name: c.type for c in t.columns} for t in schema_at("postgresql", 13).tables}
    with moving.connect(source_at(13)) as source, moving.connect(target_url) as target:
        for both in pairs_at(source, target, 13):
            assert both.source.table in types
            check_way(source, target, both, types[both.source.table])


def check_way(source: Connection, target: Connection, both: Pair, types: dict[str, str]) -> None:
    @settings(
        max_examples=6,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # shrinking takes minutes on a server, and says little more
    )
    @given(moving.lines_of(both.source, types))
    def check(made: bytes) -> None:
        for connection, rows in ((source, both.source), (target, both.target)):
            connection.run(Query("test", "", f"DELETE FROM {connection.dialect.quote(rows.table)}"))
        with source.transaction():
            source.transit().write(both.source, [made])
        with target.transaction():
            target.transit().write(both.target, source.transit().read(both.source, ordered=True))
        there = proof.prove(target.transit(), both.target)
        assert there == proof.prove(source.transit(), both.source), both.source.table
        assert there == proof.prove(source.transit(), both.source, ids_as_stored=True), both.source.table
        here = proof.fingerprints(source.transit(), both.source, EVERYTHING)
        assert here == proof.fingerprints(target.transit(), both.target, EVERYTHING)
        # And back: what the coarser side has kept is what comes home.
        source.run(Query("test", "", f"DELETE FROM {source.dialect.quote(both.source.table)}"))
        with source.transaction():
            source.transit().write(both.source, target.transit().read(both.target, ordered=True))
        assert proof.prove(source.transit(), both.source) == there

    check()


def test_a_session_goes_on_when_its_rows_are_left_or_cut_short(connection: Connection) -> None:
    digits = f"(SELECT 0 AS n {'UNION ALL SELECT 1 ' * 9})"
    many = " CROSS JOIN ".join(f"{digits} AS {name}" for name in "abcde")
    text = f"SELECT REPEAT('x', 2000) AS x FROM {many} LIMIT "
    one = Query("test", "", "SELECT 1 AS one")

    def rows(count: int) -> Generator[tuple[bytes, int], None, None]:
        yield from connection.csv(Query("test", "", f"{text}{count}"), ["x"], [])

    assert sum(count for _, count in rows(3_000)) == 3_000
    left = rows(3_000)
    next(left)
    left.close()
    assert connection.value(one) == 1
    number = int(connection.value(connection.dialect.queries["lock.session"]))
    long = rows(20_000)
    next(long)
    cancel(open_database(connection.url), number)
    with pytest.raises(DatabaseFault):
        for _ in long:
            pass
    assert connection.value(one) == 1
