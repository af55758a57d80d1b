"""Streams for data pipelines, straight from the database, month by month, side by side.

The queries stand in sql/*/export.sql, with Umami's own definitions of a visit, a bounce and the total time,
and the names of its API. A stream with a time is written month by month, in UTC; each month is read in a
snapshot of its own. A month's file is never replaced by one that holds less. Changes no database.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time
from functools import partial
from pathlib import Path
from typing import Any

from umami_ops.databases.base import Connection, Database
from umami_ops.errors import Interrupted, LockHeld, OpsError, Refused, UsageFault
from umami_ops.operations.formats import READS_TIMES, Block, write_file
from umami_ops.operations.inspect import Installation
from umami_ops.operations.labels import Held, Label, Verdict, read_label, verdict
from umami_ops.operations.streams import INTEGER, NUMBER, STREAMS, Stream
from umami_ops.operations.websites import matching_websites
from umami_ops.sql import Query
from umami_ops.transfer.meanwhile import cancel
from umami_ops.transfer.turns import Turns

_LEAST_LEVEL = 13
#: All times that there are: what else a server holds has no place in a calendar, nor in a reader of Parquet.
_ALWAYS = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
#: Sessions that write side by side: the server groups one month while another is written.
_SESSIONS = 2
_CANCELLED_SECONDS = 0.5


@dataclass(frozen=True)
class ExportPlan:
    """What is written: streams, websites by their ids (all when empty), months as half-open spans.

    Rows by their table that no month has, since their time isn't one, are counted as left out.
    """

    streams: tuple[Stream, ...]
    websites: tuple[str, ...]
    months: tuple[tuple[datetime, datetime], ...]
    format: str
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class Written:
    """A file, with its rows."""

    stream: str
    path: Path
    rows: int


@dataclass(frozen=True)
class Exported:
    """The files that were written, and those that were kept, which hold more than the database has left."""

    files: list[Written]
    kept: list[Path]


def plan_export(
    connection: Connection,
    installation: Installation,
    *,
    streams: Sequence[str],
    websites: Sequence[str],
    since: datetime | None,
    until: datetime | None,
    form: str,
) -> ExportPlan:
    """Decide what is exported.

    Raises UsageFault for a stream or a website that isn't there and for a span without a moment in it,
    OpsError where the format's library is missing, Refused where Umami is older than v2.19.
    """
    if since is not None and until is not None and since >= until:
        raise UsageFault(
            f"--until isn't after --since: nothing lies between {since:%Y-%m-%dT%H:%M:%SZ} and "
            f"{until:%Y-%m-%dT%H:%M:%SZ}."
        )
    if not installation.is_umami:
        installation.require_safe()
    if installation.level is not None and installation.level < _LEAST_LEVEL:
        raise Refused(
            f"Exports need the columns of Umami v2.19 or later, and this is {installation.release}.",
            hint="Upgrade Umami first.",
        )
    for name in streams:
        if name not in STREAMS:
            raise UsageFault(f"There is no stream {name!r}.", hint=f"There are: {', '.join(STREAMS)}.")
    if form == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise OpsError(
            "Parquet needs the library pyarrow.", hint="pip install 'umami-ops[parquet]', or --format csv."
        )
    chosen = matching_websites(connection, installation, websites)
    return ExportPlan(
        tuple(STREAMS[name] for name in streams or STREAMS),
        chosen,
        tuple(_months(connection, since or _ALWAYS[0], until or _ALWAYS[1])),
        form,
        _left_out(connection, chosen),
    )


def _months(connection: Connection, since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the calendar's months that have rows, the first and the last cut where they must be.

    Anybody can send an event with a date in thousands of years: what lies between is stepped over.
    """
    query = connection.dialect.queries["export.first_of"]
    end = since
    while True:
        first_at = connection.value(query, since=_from(end, connection), until=until)
        # A time that its column can't have is none to MariaDB, which then finds the date of all zeros.
        if not isinstance(first_at, datetime) or not end <= first_at < until:
            return
        begin, end = max(_month_of(first_at), since), min(_month_after(first_at), until)
        yield begin, end


def _left_out(connection: Connection, websites: Sequence[str]) -> dict[str, int]:
    query = connection.dialect.queries["export.undated"].when({"chosen"} if websites else ())
    row = connection.row(
        query, since=_from(_ALWAYS[0], connection), until=_ALWAYS[1], websites=list(websites)
    )
    return {table: int(rows) for table, rows in row.items() if rows}


def _from(since: datetime, connection: Connection) -> datetime:
    """Return where a span begins for the server: MySQL takes 1970 itself for the date of all zeros."""
    return max(since, connection.dialect.first_moment)


def _month_of(moment: datetime) -> datetime:
    return datetime(moment.year, moment.month, 1, tzinfo=UTC)


def _month_after(moment: datetime) -> datetime:
    if (moment.year, moment.month) == (_ALWAYS[1].year, _ALWAYS[1].month):
        return _ALWAYS[1]
    return datetime(moment.year + moment.month // 12, moment.month % 12 + 1, 1, tzinfo=UTC)


def export(
    plan: ExportPlan,
    database: Database,
    folder: Path,
    told: Callable[[Written], None] = lambda _file: None,
) -> Exported:
    """Write the files: STREAM.FORMAT, or STREAM/YYYY-MM.FORMAT; each under a hidden name until it is whole.

    A month that is cut has its span for a name. Sessions side by side take turns at the files; `told` hears
    of each in the order in which they are done. Months without a row make no file.

    Raises OpsError where a file can't be written; LockHeld, before the first, where another export is at work
    in the folder; Refused, before the first, where one holds other websites, and at the end where neither the
    old one nor the new one would hold all.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as fault:
        raise OpsError(
            f"The folder {folder} can't be made: {fault.strerror or fault}.",
            hint="Name another folder.",
            done="Nothing was written.",
        ) from None
    writers = _Writers(plan, database, folder, told)
    try:
        with _alone_in(folder):
            _require_same_websites(plan, folder)
            writers.run()
    except OSError as fault:
        raise OpsError(
            f"{fault.filename or folder} can't be read or written: {fault.strerror or fault}.",
            hint="Make room or name another folder, and export again.",
            done=writers.so_far,
        ) from None
    except KeyboardInterrupt as fault:
        raise type(fault)(writers.so_far) from None
    writers.require_uncontested()
    return Exported([file for _, file in sorted(writers.done.items())], sorted(writers.kept))


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder for the block: two exports would write into one another's hidden files."""
    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockHeld(
                f"Another export is writing into {folder}.",
                hint="Wait for it to end, or name another folder.",
                done="Nothing was written.",
            ) from None
        yield
    finally:
        os.close(held)


def _require_same_websites(plan: ExportPlan, folder: Path) -> None:
    """Raise Refused if the folder has files of these streams with other websites than are asked for."""
    chosen = _unlimited(plan.websites)
    for stream in plan.streams:
        name = f"{stream.name}/*" if stream.is_monthly else stream.name
        for path in sorted(folder.glob(f"{name}.{plan.format}")):
            label = read_label(path)
            if label is not None and chosen.lacks_websites_of(label):
                raise Refused(
                    f"{path} holds other websites than those that were chosen, and would be replaced.",
                    hint="Name another folder: each choice of websites needs its own.",
                    done="Nothing was written.",
                )


class _Writers:
    """Sessions that write one file after the other, side by side; `done` has what is whole, by its place."""

    def __init__(
        self, plan: ExportPlan, database: Database, folder: Path, told: Callable[[Written], None]
    ) -> None:
        self._plan = plan
        self._database = database
        self._folder = folder
        self._told = told
        self._mutex = threading.Lock()
        pieces = (piece for stream in plan.streams for piece in _pieces(stream, plan))
        self._turns = Turns(enumerate(pieces))
        count = sum(len(plan.months) if stream.is_monthly else 1 for stream in plan.streams)
        self._sessions = min(_SESSIONS, count)
        self.done: dict[int, Written] = {}
        self.kept: list[Path] = []
        self._contested: list[Path] = []

    def run(self) -> None:
        """Write all files. Raises what ended one, or us, once nobody writes any more."""
        with ExitStack() as stack:
            open_session = partial(self._database.connect, "umami-ops export")
            sessions = [stack.enter_context(open_session()) for _ in range(self._sessions)]
            ids = [_number_of(session) for session in sessions]
            pool = stack.enter_context(ThreadPoolExecutor(max(1, self._sessions)))
            futures = [pool.submit(self._write_in, session) for session in sessions]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self._turns.end()
                for session_id, future in zip(ids, futures, strict=True):
                    while session_id is not None and not wait([future], _CANCELLED_SECONDS).done:
                        cancel(self._database, session_id)
                raise

    @property
    def so_far(self) -> str:
        """What is there when it ends early."""
        count = len(self.done)
        return f"{count:,} files were written before, and are whole." if count else "Nothing was written."

    def require_uncontested(self) -> None:
        """Raise Refused if a file was neither replaced nor known to hold more than the database."""
        if not self._contested:
            return
        others = f" and {len(self._contested) - 1:,} more" if len(self._contested) > 1 else ""
        raise Refused(
            f"{min(self._contested)}{others} stayed as before: the database may lack rows that are in there,"
            " and have rows that aren't.",
            hint="Move them elsewhere and export again: they are made anew from what the database has now.",
            done=self.so_far,
        )

    def _write_in(self, session: Connection) -> None:
        session.run(session.dialect.queries["export.settings"])
        for place, piece in self._turns:
            if (file := self._write(piece, session)) is not None:
                with self._mutex:
                    self.done[place] = file
                    self._told(file)

    def _write(self, piece: _Piece, session: Connection) -> Written | None:
        path = self._folder / f"{piece.name}.{self._plan.format}"
        with session.transaction(read_only=True):
            held = partial(_held, piece, session)
            label = held(self._plan.websites)
            if not self._maywrite_file(path, label, piece, held):
                return None
            with closing(_read(piece, self._plan, session)) as blocks:
                rows = write_file(piece.stream, self._while_wanted(blocks), path, self._plan.format, label)
        return Written(piece.stream.name, path, rows) if rows else None

    def _maywrite_file(self, path: Path, label: Label, piece: _Piece, held: Held) -> bool:
        """Say whether a file may be written, and note it if not."""
        if not piece.stream.is_monthly:
            return True
        found = verdict(path, label, piece.until, held)
        if found is not Verdict.REPLACE:
            with self._mutex:
                (self.kept if found is Verdict.KEEP else self._contested).append(path)
        return found is Verdict.REPLACE

    def _while_wanted(self, blocks: Iterator[Block]) -> Iterator[Block]:
        for block in blocks:
            if self._turns.is_over:
                raise Interrupted("Another file could not be written.")
            yield block


def _number_of(session: Connection) -> int | None:
    """Return the number by which a session is cancelled; behind a pooler it may be somebody else's."""
    if session.server().pooled:
        return None
    return int(session.value(session.dialect.queries["lock.session"]))


@dataclass(frozen=True)
class _Piece:
    """What becomes one file: a stream's rows of a month, or all of one that has no time."""

    stream: Stream
    name: str
    since: datetime
    until: datetime


def _pieces(stream: Stream, plan: ExportPlan) -> Iterator[_Piece]:
    if not stream.is_monthly:
        yield _Piece(stream, stream.name, *_ALWAYS)
        return
    for since, until in plan.months:
        yield _Piece(stream, f"{stream.name}/{_name_of(since, until)}", since, until)


def _name_of(since: datetime, until: datetime) -> str:
    """Return YYYY-MM for a whole month, its span for part of one."""
    if since == _month_of(since) and until == _month_after(since):
        return since.date().isoformat()[:7]
    return f"{_stamp(since)}--{_stamp(until)}"


def _stamp(moment: datetime) -> str:
    """Return a day, or a time as far as it goes, that can stand in a file's name."""
    day = moment.date().isoformat()
    if moment.microsecond:
        return f"{day}T{moment:%H%M%S.%f}Z"
    return day if moment.time() == time() else f"{day}T{moment:%H%M%S}Z"


def _unlimited(websites: tuple[str, ...]) -> Label:
    """Return the label of what has no span: it tells of websites alone."""
    return Label(0, None, datetime.now(UTC), websites)


def _held(piece: _Piece, connection: Connection, websites: tuple[str, ...]) -> Label:
    """Return what a piece is made from, of these websites or of all, as the open transaction sees it."""
    if not piece.stream.is_monthly:
        return _unlimited(websites)
    name = "held_data" if piece.stream.name == "event_data" else "held"
    query = connection.dialect.queries[f"export.{name}"].when({"chosen"} if websites else ())
    row = connection.row(
        query, since=_from(piece.since, connection), until=piece.until, websites=list(websites)
    )
    return Label(int(row["n"]), row["first_at"], row["taken_at"], websites)


def _read(piece: _Piece, plan: ExportPlan, connection: Connection) -> Generator[Block, None, None]:
    """Yield the rows as CSV that the server has written."""
    stream = piece.stream
    words = {"chosen"} if plan.websites else set()
    if plan.format in READS_TIMES:
        words.add("typed")
    query = connection.dialect.queries[f"export.{stream.name}"].when(words)
    given: dict[str, Any] = {
        "since": _from(piece.since, connection),
        "until": piece.until,
        "websites": list(plan.websites),
    }
    text = connection.render(query, {name: given[name] for name in query.parameters})
    bare = [column for column in stream.columns if stream.kind(column) in (INTEGER, NUMBER)]
    yield from connection.csv(Query(query.name, query.about, text), stream.columns, bare)
