"""The text of mysqldump or mariadb-dump, line by line: its tables get working names.

What isn't surely a statement about such a table, or about the session, never comes to the server: there it
would meet the tables that are in use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from enum import Enum

from umami_ops.databases.dumps import Peeked
from umami_ops.errors import CUT_SHORT, Damaged, Refused

_NOTHING = "Nothing was changed."
#: The last thing that the programs write, before the time.
TRAILER = b"-- Dump completed"

#: How the lines begin that name a table.
_NAMES_TABLE = re.compile(
    rb"(CREATE TABLE(?: IF NOT EXISTS)? |DROP TABLE IF EXISTS |LOCK TABLES |INSERT\s+(?:IGNORE\s+)?INTO\s+"
    rb"|REPLACE\s+INTO\s+|/\*!40000 ALTER TABLE |ALTER TABLE )`((?:[^`]|``)+)`"
)
_BRINGS_ROWS = (b"INSERT", b"REPLACE")
#: Steers a client of MariaDB's, by a line without an end.
_SANDBOX = b"/*M!999999"
# What belongs to the whole server, or to another database.
_LEFT_OUT = (
    b"USE `", b"CREATE DATABASE", b"SET @@GLOBAL.GTID_PURGED", b"SET @MYSQLDUMP_TEMP_LOG_BIN",
    b"SET @@SESSION.SQL_LOG_BIN", b"/*!40000 DROP DATABASE",
)  # fmt: skip
#: How Percona's mysqldump asks for an engine of its own.
_ASKS_FOR_AN_ENGINE = re.compile(rb"/\*!(?:50112|50717) (?:SELECT|PREPARE|EXECUTE|DEALLOCATE) ")
_OF_A_VIEW = re.compile(rb"/\*!50001 (?:DROP|CREATE|VIEW) ")
_VIEW = re.compile(rb"\bVIEW (?:IF EXISTS )?`((?:[^`]|``)+)`")
#: What changes no more than the session does.
_HARMLESS = re.compile(
    rb"\s*$|--|/\*M!999999|UNLOCK TABLES;\s*$|COMMIT;\s*$"
    rb"|(?:/\*M?!\d+ )?SET (?!GLOBAL|@@GLOBAL|PERSIST|@@PERSIST|PASSWORD)[^;]*;\s*$",
    re.IGNORECASE,
)
_NEWLINE = b"\n"
_PIECE_BYTES = 1 << 20
#: Where the semicolon that ends a statement is looked for.
_TAIL_BYTES = 16
_BEGINNING = re.compile(rb"[\w /*!.]{0,40}")


class _Kind(Enum):
    """What a line is; all but the first go on until one ends in a semicolon."""

    LINE = "a line by itself"
    STATEMENT = "a statement about a table"
    ROWS = "a table's rows"
    LEFT_OUT = "what isn't for this database, or isn't needed, or a view"


class Rewriter:
    """Gives the tables of one dump the names that `name` says, quoted.

    `made` are their own names, `views` what was left out, as far as the lines have been read.
    """

    def __init__(self, name: Callable[[str], str]) -> None:
        self._name = name
        self.made: list[str] = []
        self.views: set[str] = set()
        self._databases: set[bytes] = set()

    def lines(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the lines for the client, long ones in pieces: a table's rows may all stand in one.

        Raises Refused before the first that could touch what is there.
        """
        stream = Peeked(chunks).stream()
        begun: _Kind | None = None
        kind: _Kind | None = None
        has_end, number, tail = False, 0, _NEWLINE
        while piece := stream.readline(_PIECE_BYTES):
            if tail.endswith(_NEWLINE):
                number, tail = number + 1, b""
                kind = begun or self._kind(piece)
                if kind is None or (begun is _Kind.ROWS and not piece.startswith(b"(")):
                    raise _not_understood(piece, number)
                has_end = has_end or (begun is None and piece.startswith(TRAILER))
                if kind is _Kind.LEFT_OUT:
                    self.views |= {_plain(name) for name in _VIEW.findall(piece)}
                else:
                    yield piece if begun else self._renamed(piece)
            elif kind is not _Kind.LEFT_OUT:
                yield piece
            tail = (tail + piece)[-_TAIL_BYTES:]
            if tail.endswith(_NEWLINE):
                begun = None if kind is _Kind.LINE or tail.rstrip().endswith(b";") else kind
        if not has_end:
            raise Damaged(
                f"The dump is cut short: it lacks its end ({TRAILER.decode()}).",
                hint=CUT_SHORT,
                done=_NOTHING,
            )

    def _kind(self, line: bytes) -> _Kind | None:
        """Say what begins with a line that is outside of statements; None where that isn't known."""
        if line.startswith(_LEFT_OUT) or _OF_A_VIEW.match(line) or _ASKS_FOR_AN_ENGINE.match(line):
            self._note_database(line)
            return _Kind.LEFT_OUT
        if _NAMES_TABLE.match(line):
            return _Kind.ROWS if line.startswith(_BRINGS_ROWS) else _Kind.STATEMENT
        if line.startswith(b"DELIMITER "):
            raise Refused(
                "The dump holds triggers or routines, which can't be restored beside what there is.",
                hint="Restore it by the client into a database of its own.",
                done=_NOTHING,
            )
        return _Kind.LINE if _HARMLESS.match(line) else None

    def _note_database(self, line: bytes) -> None:
        if line.startswith(b"USE `"):
            self._databases.add(line)
        if len(self._databases) > 1:
            raise Refused("The dump holds more than one database.", done=_NOTHING)

    def _renamed(self, line: bytes) -> bytes:
        """Return a line with its table under its working name, if it begins with one."""
        match = _NAMES_TABLE.match(line)
        if match is None:
            return b"" if line.startswith(_SANDBOX) else line
        table = _plain(match[2])
        if match[1].startswith(b"CREATE TABLE"):
            self.made.append(table)
        return match[1] + self._name(table).encode() + line[match.end() :]


def _plain(quoted: bytes) -> str:
    return quoted.decode().replace("``", "`")


def _not_understood(line: bytes, number: int) -> Refused:
    beginning = _BEGINNING.match(line)
    assert beginning is not None, "it may be empty"
    return Refused(
        f"Line {number:,} of the dump is none that could be kept away from what there is: "
        f"{beginning[0].decode().strip()}…",
        hint="Dump again with the program's default options, or restore it by the client into a database of "
        "its own.",
        done=_NOTHING,
    )
