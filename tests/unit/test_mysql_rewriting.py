"""What of a dump's lines comes to a server on which tables of the same names are in use."""

from __future__ import annotations

import pytest

from umami_ops.databases.mysql.rewriting import TRAILER, Rewriter
from umami_ops.errors import Refused

_TABLE = b"DROP TABLE IF EXISTS `website`;\nCREATE TABLE `website` (\n  `a` int COMMENT ';'\n);\n"


def _rewritten(*lines: bytes) -> bytes:
    rewriter = Rewriter(lambda table: f"`new_{table}`")
    return b"".join(rewriter.lines([*lines, TRAILER + b"\n"]))


def test_tables_get_their_working_names() -> None:
    assert _rewritten(_TABLE) == _TABLE.replace(b"`website`", b"`new_website`") + TRAILER + b"\n"


def test_what_percona_asks_its_server_is_left_out() -> None:
    asked = (
        b"/*!50717 SELECT COUNT(*) INTO @rocksdb_has FROM INFORMATION_SCHEMA.TABLES */;\n",
        b"/*!50717 PREPARE s FROM @rocksdb_get_is_supported */;\n",
        b"/*!50717 EXECUTE s */;\n",
        b"/*!50717 DEALLOCATE PREPARE s */;\n",
    )
    at_the_end = tuple(line.replace(b"50717", b"50112") for line in asked[1:])
    assert _rewritten(*asked, _TABLE, *at_the_end) == _rewritten(_TABLE)


@pytest.mark.parametrize(
    "line",
    [
        b"DROP TABLE IF EXISTS website;",
        b"DELETE FROM `website`;",
        b"/*!50717 DROP TABLE `website` */;",
        b"RENAME TABLE `website` TO `b`;",
        b"TRUNCATE `website`;",
        b"SET GLOBAL read_only = 1;",
        b"SET NAMES utf8; DROP TABLE `website`;",
        b"COMMIT; DROP TABLE `website`;",
        b"ROLLBACK;",
    ],
)
def test_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(Refused, match="^Line 1 of the dump is none"):
        _rewritten(line + b"\n", _TABLE)


@pytest.mark.parametrize("more", range(-3, 3))
def test_rows_in_one_line_are_passed_on_in_pieces(more: int) -> None:
    """The statement's end may be in a piece of its own."""
    begin, end = b"INSERT INTO `website` VALUES ('", b"');\n"
    rows = begin + b"x" * (3 * (1 << 20) - len(begin) - len(end) + more) + end
    rewriter = Rewriter(lambda table: f"`new_{table}`")
    pieces = list(rewriter.lines([_TABLE, rows, b"UNLOCK TABLES;\n", rows, TRAILER + b"\n"]))
    assert max(map(len, pieces)) < 2 << 20
    assert b"".join(pieces) == _rewritten(_TABLE, rows, b"UNLOCK TABLES;\n", rows)
    renamed = rows.replace(b"`website`", b"`new_website`")
    assert b"".join(pieces).count(renamed) == 2
