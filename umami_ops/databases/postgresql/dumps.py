"""pg_dump and pg_restore: a dump in the custom format, at the moment of a snapshot that we hold.

Restoring goes through our own session, in one transaction: pg_restore turns the dump into text, whose
statements are run and whose rows go to COPY. So a failure, or a kill, leaves everything as it was.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from umami_ops.databases.dumps import Check, Child, DumpPrograms, Peeked, Wanted
from umami_ops.databases.postgresql.folders import (
    TABLE_DATA,
    PostgresqlFolderDumps,
    schema_for,
    what_is_dumped,
    what_is_restored,
)
from umami_ops.databases.postgresql.programs import find_dump_programs
from umami_ops.databases.postgresql.script import LONGEST_BYTES, Script
from umami_ops.databases.postgresql.staging import bring_types, run, swap
from umami_ops.databases.postgresql.surroundings import require_untouched, surroundings
from umami_ops.errors import CUT_SHORT, Damaged, DatabaseFault, Refused
from umami_ops.sql import Query

if TYPE_CHECKING:
    from umami_ops.databases.postgresql.connection import PostgresqlConnection, PostgresqlDatabase

_NOTHING = "Nothing was changed."
_UNFINISHED = "The backup was not made."
#: How the custom format begins, and the tar format, with the name of its first file.
_MAGICS = (b"PGDMP", b"toc.dat\0")
#: The last thing that pg_dump and pg_restore write into a text.
_TRAILER = b"-- PostgreSQL database dump complete"
_COPY = re.compile(rb"COPY .* FROM stdin;\n", re.DOTALL)
_END_OF_ROWS = b"\\.\n"
#: How a table's rows end in the custom format, and how the next one's follow: a newline, a piece without a
#: byte, and the mark and the positive number of a block. Neither rows nor the list before them can hold that:
#: their texts have no NUL.
_END_OF_TABLE = b"\n" + bytes(5)
_NEXT_TABLE = _END_OF_TABLE + b"\x01\x00"
_BLOCK_BYTES = 1 << 18
#: How much of rows that stand in INSERTs is sent at once.
_SCRIPT_BYTES = 1 << 22
#: Where the tables of now, and those of the dump, stand during a swap.
_ASIDE, _RESTORED = "umami_ops_aside", "umami_ops_restored"


class PostgresqlDumpPrograms(DumpPrograms["PostgresqlConnection"]):
    """pg_dump and pg_restore for one server."""

    file = "database.dump"

    def __init__(self, database: PostgresqlDatabase, version: str) -> None:
        self._database = database
        self._dump, self._restore = find_dump_programs(version)
        self.title = self._dump.title
        self.folders = PostgresqlFolderDumps(self._dump, self._restore, self._environment())

    @contextmanager
    def dump(
        self,
        connection: PostgresqlConnection,
        tables: Sequence[str],
    ) -> Iterator[Iterator[bytes]]:
        """Write the schema by pg_dump, uncompressed; pg_restore reads the list of what is in it meanwhile."""
        with connection.transit().freeze(tables) as moment:
            command = [str(self._dump.path), "--format=custom", "--compress=0"]
            writer = Child([*command, *what_is_dumped(connection, moment)], self._environment())
            reader: Child | None = None
            try:
                with tempfile.TemporaryFile() as listed:
                    command = [str(self._restore.path), "--list"]
                    reader = Child(command, os.environ, stdin=subprocess.PIPE, stdout=listed)
                    yield _proven(writer, reader, listed)
            finally:
                writer.stop()
                if reader is not None:
                    reader.stop()

    def recognises(self, head: bytes) -> bool:
        """Say whether this is a dump in the custom or the tar format, or plain text of pg_dump's."""
        return head.startswith(_MAGICS) or b"PostgreSQL database dump" in head

    def restore(
        self, connection: PostgresqlConnection, chunks: Iterable[bytes], wanted: Wanted, check: Check
    ) -> list[str]:
        """Load the dump in one transaction, beside what it replaces, and swap at its end."""
        schema = schema_for(connection, wanted)
        with connection.transaction():
            self._stage(connection, schema)
            before = surroundings(connection, schema)
            with self._as_text(chunks, schema) as text:
                _load(connection, text, schema)
            connection.settle()  # the dump has its own idea of the search path
            require_untouched(connection, schema, before)
            check(connection, self._loaded(connection, schema))
            return _put_in_place(connection, schema, wanted)

    def _stage(self, connection: PostgresqlConnection, schema: str) -> None:
        """Put an empty schema in the place of the one there is: nobody else sees that before the commit."""
        quote = connection.dialect.quote
        run(connection, f"ALTER SCHEMA {quote(schema)} RENAME TO {quote(_ASIDE)}")
        run(connection, f"CREATE SCHEMA {quote(schema)}")

    def _loaded(self, connection: PostgresqlConnection, schema: str) -> dict[str, str]:
        """Return the tables that came, by their names. Raises Refused where there is none."""
        rows = connection.rows(connection.dialect.queries["backup.tables_of"], schema=schema)
        if not rows:
            raise Refused(
                f"The dump holds no table of schema {schema}.",
                hint="Where they stand in another one, write ?schema=NAME behind the target's URL.",
            )
        return {row["root"]: row["root"] for row in rows}

    @contextmanager
    def _as_text(self, chunks: Iterable[bytes], schema: str) -> Iterator[IO[bytes]]:
        """Turn a dump into SQL with rows in COPY's format; what is text already passes as it is."""
        source = Peeked(chunks)
        if not source.head.startswith(_MAGICS):
            yield source.stream()
            return
        command = [str(self._restore.path), "--file=-", *what_is_restored(schema)]
        child = Child(command, os.environ, stdin=subprocess.PIPE)
        faults: list[BaseException] = []
        feeder = threading.Thread(target=_feed, args=(child, source, faults), daemon=True)
        try:
            feeder.start()
            assert child.process.stdout is not None
            try:
                yield child.process.stdout
            except Damaged:
                _require_well(child, feeder, faults)  # by which it is known why the text lacks its end
                raise
            _require_well(child, feeder, faults)
        finally:
            child.stop()
            if feeder.ident is not None:  # a signal may come before it has begun
                feeder.join()

    def _environment(self) -> dict[str, str]:
        return os.environ | self._database.program_environment()


def _proven(writer: Child, reader: Child, listed: IO[bytes]) -> Iterator[bytes]:
    """Yield what pg_dump writes, and make sure that the rows of each table in its list are there."""
    reads = True
    ends = 0
    tail = b""
    for chunk in writer.pieces():
        reads = reads and reader.feed(chunk)
        ends += chunk.count(_NEXT_TABLE) + (tail + chunk[: len(_NEXT_TABLE) - 1]).count(_NEXT_TABLE)
        tail = (tail + chunk[-len(_NEXT_TABLE) :])[1 - len(_NEXT_TABLE) :]
        yield chunk
    writer.finish(DatabaseFault, _UNFINISHED)
    try:
        reader.finish(DatabaseFault, _UNFINISHED)
    except DatabaseFault as fault:
        raise DatabaseFault(
            f"{writer.name} ended well, but pg_restore can't read what it wrote: {reader.said}",
            done=fault.done,
        ) from None
    listed.seek(0)
    tables = len(TABLE_DATA.findall(listed.read().decode()))
    if tables and (ends + 1 != tables or not tail.endswith(_END_OF_TABLE)):
        raise DatabaseFault(
            f"{writer.name} ended well, but what it wrote lacks its end: it has the rows of "
            f"{ends + tail.endswith(_END_OF_TABLE)} of {tables} tables.",
            done=_UNFINISHED,
        )


def _require_well(child: Child, feeder: threading.Thread, faults: list[BaseException]) -> None:
    """Raise what was wrong with the source, or made the program fail."""
    feeder.join()
    if faults:
        raise faults[0]
    child.finish(DatabaseFault, _NOTHING)


def _feed(child: Child, source: Iterable[bytes], faults: list[BaseException]) -> None:
    """Feed a program from another thread; what goes wrong with the source is kept for the reader."""
    try:
        for chunk in source:
            if not child.feed(chunk):
                return
    except BaseException as fault:  # noqa: BLE001 -- raised by whoever reads the program's output
        faults.append(fault)
        child.process.kill()
    finally:
        assert child.process.stdin is not None
        try:
            child.process.stdin.close()
        except OSError:
            return


def _load(connection: PostgresqlConnection, text: IO[bytes], schema: str) -> None:
    """Run a dump's statements, and send its rows. Raises Damaged where it lacks its end.

    What it says of the schema itself is left out, and of extensions: those belong to the database. So are
    owners, grants and publications, as pg_restore leaves them: their roles needn't be here.
    """
    names = "|".join(re.escape(name) for name in (schema, connection.dialect.quote(schema)))
    is_left_out = re.compile(
        rf"(?:CREATE|DROP|ALTER|COMMENT ON) (?:EXTENSION|PUBLICATION|SUBSCRIPTION) |"
        rf"(?:CREATE|DROP|ALTER|COMMENT ON) SCHEMA (?:IF (?:NOT )?EXISTS )?(?:{names})[ ;]|"
        rf"ALTER [A-Z ]+ .* OWNER TO .*;$|GRANT |REVOKE |ALTER DEFAULT PRIVILEGES |SECURITY LABEL |"
        rf"SET (?:transaction_timeout|SESSION AUTHORIZATION) ".encode()  # the former is none of older servers
    ).match
    script = Script()
    has_end = False
    while line := text.readline(LONGEST_BYTES):
        if script.is_between:
            has_end = has_end or line.startswith(_TRAILER)
            if line.startswith(b"\\"):
                _require_harmless(line)
                continue
            if line.startswith(b"COPY ") and _COPY.fullmatch(line):
                _run(connection, script)
                statement = line.decode().rstrip().rstrip(";")
                connection.copy_in(Query("restore.rows", "", statement), _rows(text))
                continue
            if line.startswith(b"INSERT ") and script.size_bytes >= _SCRIPT_BYTES:
                _run(connection, script)
            script.add(line, drops=bool(is_left_out(line)))
            if line.startswith(b"SET client_encoding"):
                _run(connection, script)  # the server reads what comes together as it did before
        else:
            script.add(line)
    _run(connection, script)
    if not has_end:
        raise Damaged(
            f"The dump is cut short: it lacks its end ({_TRAILER.decode()}).", hint=CUT_SHORT, done=_NOTHING
        )


def _rows(text: IO[bytes]) -> Iterator[bytes]:
    """Yield the rows of one table, in blocks, up to the line that ends them."""
    block: list[bytes] = []
    size = 0
    begins = True
    while line := text.readline(_BLOCK_BYTES):
        if begins and line == _END_OF_ROWS:
            yield b"".join(block)
            return
        begins = line.endswith(b"\n")
        block.append(line)
        size += len(line)
        if size >= _BLOCK_BYTES:
            yield b"".join(block)
            block, size = [], 0
    raise Damaged("The dump is cut short: the rows of a table have no end.", hint=CUT_SHORT, done=_NOTHING)


def _run(connection: PostgresqlConnection, script: Script) -> None:
    if statements := script.take():
        connection.run_script(statements)


def _require_harmless(line: bytes) -> None:
    r"""Raise Refused for a command to psql, but for \restrict and its kind, which pg_dump itself writes."""
    if line.startswith((b"\\restrict ", b"\\unrestrict ")):
        return
    if line.startswith(b"\\connect"):
        raise Refused("The dump is of a whole server (pg_dumpall, or pg_dump --create).", done=_NOTHING)
    command = line.split(None, 1)[0][:40].decode(errors="replace")
    raise Refused(
        f"The dump has a command to psql ({command}), which a restore can't follow.",
        hint="What pg_dump writes has none: restore it by psql into a database of its own, and dump that.",
        done=_NOTHING,
    )


def _put_in_place(connection: PostgresqlConnection, schema: str, wanted: Wanted) -> list[str]:
    """Let the restored tables take their places, with locks held for a moment; returns what was left out."""
    quote = connection.dialect.quote
    run(connection, f"ALTER SCHEMA {quote(schema)} RENAME TO {quote(_RESTORED)}")
    run(connection, f"ALTER SCHEMA {quote(_ASIDE)} RENAME TO {quote(schema)}")
    swap(connection, _RESTORED, schema, wanted.tables, wanted.replaced)
    bring_types(connection, _RESTORED, schema)
    left = [
        row["name"]
        for row in connection.rows(connection.dialect.queries["backup.others_of"], schema=_RESTORED)
    ]
    before = connection.transit().describe()
    run(connection, f"DROP SCHEMA {quote(_RESTORED)} CASCADE")
    after = connection.transit().describe()
    if torn := [table.name for table in before.tables if table != after.table(table.name)]:
        raise Refused(
            f"Only tables and their types are restored; {', '.join(torn)} would lose what else they need.",
            hint="Restore it by pg_restore into a database of its own.",
            done=_NOTHING,
        )
    return [f"Not restored, since only tables are: {', '.join(left)}."] if left else []
