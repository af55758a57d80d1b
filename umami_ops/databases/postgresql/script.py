"""The text of a dump as statements: where they begin and end, which is all that is understood of them.

A value may have lines that look like statements, or like what is said to psql: visitors send such values.
"""

from __future__ import annotations

import re

from umami_ops.errors import Refused

#: As much as one statement may have: it is held in memory, here and by the server, several times.
LONGEST_BYTES = 64 << 20
#: Comments, quotes and ends of statements; between them words and whatever else.
_TOKEN = re.compile(
    rb"--[^\n]*|/\*|[Ee]'|['\";()]|\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$"
    rb"|[\w\x80-\xff][\w$\x80-\xff]*|[$/-]|[^\s\w\x80-\xff'\"();$/-]+"
)
_IN_COMMENT = re.compile(rb"/\*|\*/")
_IN_ESCAPES = re.compile(rb"(?:[^\\']|\\.|'')*", re.DOTALL)
#: The commonest statement, whole in its line: to look at each of its values would take several times as long.
_ROW = re.compile(
    rb"INSERT INTO [\w.\"]+ (?:\([\w\", ]+\) )?VALUES \((?:'[^']*'|NULL|true|false|[0-9 ,.])*+\);\n"
)
_ESCAPES = re.compile(rb"SET standard_conforming_strings = (on|off)")


class Script:
    """Takes lines, and hands out those of whole statements by `take`."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self.size_bytes = 0
        self._statement_bytes = 0
        self._drops = False
        self._closing = b""  # what ends the text, name or body that a line begins in
        self._has_escapes = False
        self._escapes_all = False
        self._comments = 0
        self._parentheses = 0
        self._has_begun = False

    @property
    def is_between(self) -> bool:
        """Whether the next line begins outside of every statement."""
        return not (self._has_begun or self._closing or self._comments)

    def add(self, line: bytes, *, drops: bool = False) -> None:
        """Take the next line; with `drops` the statement that begins with it is left out to its end.

        Raises Refused for a statement that is longer than what can be held.
        """
        if self.is_between:
            self._drops, self._statement_bytes = drops, 0
            if setting := _ESCAPES.match(line):
                self._escapes_all = setting[1] == b"off"
        self._statement_bytes += len(line)
        if self._statement_bytes >= LONGEST_BYTES:
            raise Refused(
                f"The dump has a statement of more than {LONGEST_BYTES >> 20} MB, which would have to "
                "be held in memory whole.",
                hint="Dump again without --inserts and --rows-per-insert, or restore it by psql into a "
                "database of its own.",
                done="Nothing was changed.",
            )
        if not (self.is_between and not self._escapes_all and _ROW.fullmatch(line)):
            self._follow(line)
        if not self._drops:
            self._kept.append(line)
            self.size_bytes += len(line)

    def take(self) -> bytes:
        """Return what was kept since the last time, empty where that is nothing but space and comments."""
        lines, self._kept, self.size_bytes = self._kept, [], 0
        is_empty = all(not line.strip() or line.startswith(b"--") for line in lines)
        return b"" if is_empty else b"".join(lines)

    def _follow(self, line: bytes) -> None:
        place = 0
        while place < len(line):
            if self._comments:
                place = self._through_comment(line, place)
            elif self._closing:
                place = self._through_text(line, place)
            else:
                place = self._through_statement(line, place)

    def _through_comment(self, line: bytes, place: int) -> int:
        found = _IN_COMMENT.search(line, place)
        if found is None:
            return len(line)
        self._comments += 1 if found[0] == b"/*" else -1
        return found.end()

    def _through_text(self, line: bytes, place: int) -> int:
        """Go on to the end of a text; a doubled quote ends one and begins another: that is the same here."""
        if self._has_escapes and (inside := _IN_ESCAPES.match(line, place)):
            place = inside.end()
        end = line.find(self._closing, place)
        if end < 0:
            return len(line)
        place = end + len(self._closing)
        self._closing, self._has_escapes = b"", False
        return place

    def _through_statement(self, line: bytes, place: int) -> int:
        found = _TOKEN.search(line, place)
        if found is None:
            return len(line)
        token = found[0]
        if token.startswith(b"--"):
            return found.end()
        if token == b"/*":
            self._comments = 1
            return found.end()
        self._has_begun = True
        if token.endswith(b"'"):
            self._closing, self._has_escapes = b"'", self._escapes_all or len(token) > 1
        elif token == b'"' or (token.startswith(b"$") and len(token) > 1):
            self._closing = token
        elif token in (b"(", b")"):
            self._parentheses += 1 if token == b"(" else -1
        elif token == b";" and self._parentheses <= 0:
            self._has_begun, self._parentheses = False, 0
        return found.end()
