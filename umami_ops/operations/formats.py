"""Rows of a stream, as the server wrote them, into a file: CSV, lines of JSON, Parquet."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from umami_ops.databases.lines import lines
from umami_ops.errors import OpsError
from umami_ops.operations.labels import Label
from umami_ops.operations.streams import INTEGER, NUMBER, TEXT, TIME, Stream

#: A whole piece must fit into what Arrow reads at once, however long its lines are.
_ARROW_BLOCK_BYTES = 8 << 20
#: Arrow takes over half as long again for the same rows in pieces as small as a server's.
_ARROW_PIECE_BYTES = 1 << 20
#: Rows that make up a group in a Parquet file, which readers skip or read as one.
_GROUP_ROWS = 25_000

#: Rows as CSV, and how many they are.
Block = tuple[bytes, int]


def write_file(stream: Stream, blocks: Iterator[Block], path: Path, form: str, label: Label) -> int:
    """Write one file with its label, 0600 whatever the umask; returns its rows.

    Leaves none behind when there are none or something fails. Raises OSError and OpsError.
    """
    first = next(blocks, None)
    if first is None:
        return 0
    path.parent.mkdir(mode=0o700, exist_ok=True)
    hidden = path.with_name(f".{path.name}.partial")
    hidden.unlink(missing_ok=True)
    os.close(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        rows = _WRITERS[form](stream, _chained(first, blocks), hidden)
        label.write(path)
        hidden.rename(path)
    finally:
        with suppress(OSError):
            hidden.unlink(missing_ok=True)
    return rows


def _chained(first: Block, blocks: Iterator[Block]) -> Iterator[Block]:
    yield first
    yield from blocks


def _csv(stream: Stream, blocks: Iterator[Block], path: Path) -> int:
    """Write a head and the lines as they are; a missing value is empty, an empty text is a pair of quotes."""
    rows = 0
    with path.open("wb") as file:
        file.write((",".join(stream.columns) + "\n").encode())
        for block, count in blocks:
            file.write(block)
            rows += count
        file.flush()
        os.fsync(file.fileno())
    return rows


def _jsonl(stream: Stream, blocks: Iterator[Block], path: Path) -> int:
    rows = 0
    readers = [_READERS[stream.kind(column)] for column in stream.columns]
    with path.open("w", encoding="utf-8") as file:
        for line in lines(block for block, _ in blocks):
            row = {
                column: read(value[1:-1].replace('""', '"') if value.startswith('"') else value)
                if value
                else None
                for column, read, value in zip(stream.columns, readers, _cells(line), strict=True)
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            rows += 1
        file.flush()
        os.fsync(file.fileno())
    return rows


def _cells(line: bytes) -> list[str]:
    """Return the cells of a line as they stand, in their quotes: a comma parts them where those are even."""
    cells: list[str] = []
    begun = ""
    for part in line.decode().split(","):
        begun += part
        if begun.count('"') & 1:
            begun += ","
            continue
        cells.append(begun)
        begun = ""
    return cells


_READERS: Mapping[str, Callable[[str], Any]] = {TEXT: str, TIME: str, INTEGER: int, NUMBER: float}


def _parquet(stream: Stream, blocks: Iterator[Block], path: Path) -> int:
    """Write by pyarrow, a block at a time: its CSV reader takes the server's bytes."""
    arrow = _pyarrow()
    types = {
        TEXT: arrow.string(),
        INTEGER: arrow.int64(),
        NUMBER: arrow.float64(),
        TIME: arrow.timestamp("us", "UTC"),
    }
    schema = arrow.schema([(column, types[stream.kind(column)]) for column in stream.columns])
    read = arrow.csv.ReadOptions(
        column_names=list(stream.columns), block_size=_ARROW_BLOCK_BYTES, use_threads=False
    )
    parse = arrow.csv.ParseOptions(newlines_in_values=True)
    convert = arrow.csv.ConvertOptions(
        column_types=schema, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    rows = held = 0
    group: list[Any] = []
    with arrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for block, count in _in_pieces(blocks):
            table = arrow.csv.read_csv(arrow.py_buffer(block), read, parse, convert)
            if table.num_rows != count:
                raise OpsError(f"{stream.name}: {count:,} rows became {table.num_rows:,} in {path.name}.")
            group.append(table)
            held += count
            if held >= _GROUP_ROWS:
                writer.write_table(arrow.concat_tables(group))
                rows, held, group = rows + held, 0, []
        if group:
            writer.write_table(arrow.concat_tables(group))
    return rows + held


def _in_pieces(blocks: Iterator[Block]) -> Iterator[Block]:
    """Join blocks until they are as much as Arrow likes to read at once."""
    held: list[bytes] = []
    held_bytes = rows = 0
    for block, count in blocks:
        held.append(block)
        held_bytes, rows = held_bytes + len(block), rows + count
        if held_bytes >= _ARROW_PIECE_BYTES:
            yield b"".join(held), rows
            held, held_bytes, rows = [], 0, 0
    if held:
        yield b"".join(held), rows


def _pyarrow() -> Any:
    """Import what is slow to import: by the first who has rows, while the server prepares others'."""
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    return pyarrow


#: Formats whose writers read the server's own times: others hold its texts as they are.
READS_TIMES = frozenset({"parquet"})
_WRITERS = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}
