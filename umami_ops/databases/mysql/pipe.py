"""Bytes made by one thread for a driver that wants a file's name."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self

#: What the pipe holds.
_ROOM_BYTES = 1_048_576


class Pipe:
    """A pipe under a file's name, filled by a thread of its own with the given bytes.

    Leaving it early (an error of the reader's) ends the thread as well.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self._fault: BaseException | None = None

    def __enter__(self) -> Self:
        self._out, self._into = os.pipe()
        if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux alone: room for who gives to go on while who takes is busy
            fcntl.fcntl(self._into, fcntl.F_SETPIPE_SZ, _ROOM_BYTES)
        self._thread = threading.Thread(target=self._fill)
        self._thread.start()
        return self

    @property
    def path(self) -> str:
        """The name under which this process can open the pipe."""
        return f"/dev/fd/{self._out}"

    def check(self) -> None:
        """Raise what ended the making of bytes, if something did; call it when all has been read."""
        self._thread.join()
        if self._fault is not None:
            raise self._fault

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._out)
        self._thread.join()

    def _fill(self) -> None:
        try:
            with open(self._into, "wb", buffering=0) as into:  # noqa: PTH123 -- a descriptor, no path
                for piece in self._pieces:
                    view = memoryview(piece)
                    while view:
                        view = view[into.write(view) :]
        except BrokenPipeError:
            return  # the reader left first, and says why
        except BaseException as fault:  # noqa: BLE001 -- handed to the thread that reads
            self._fault = fault
