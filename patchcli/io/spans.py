"""A file from one place to another, piece by piece, while the disk goes ahead."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from patchcli.io.patchfile import read_exactly

_AHEAD_BYTES: Final = 8 << 20


def spans(fd: int, start: int, stop: int, step: int, path: bytes) -> Iterator[memoryview]:
    """The bytes of a file, piece by piece.

    Read into memory of ours: mapping the file would save the copy, and a file that shrinks meanwhile would end the
    process by a signal.

    Parameters
    ----------
    fd : int
    start, stop : int
        Places in the file, bytes.
    step : int
        Bytes of a piece; the last one may be shorter.
    path : bytes
        For messages.

    Yields
    ------
    memoryview
        Overwritten by the next step.

    Raises
    ------
    DamagedFile
        The file ends before `stop`.
    OSError
    """
    buffer = memoryview(bytearray(max(0, min(step, stop - start))))
    for at in range(start, stop, max(1, step)):
        piece = buffer[: min(step, stop - at)]
        if hasattr(os, "posix_fadvise"):  # otherwise the disk waits for us, and we for it
            os.posix_fadvise(fd, at + len(piece), _AHEAD_BYTES, os.POSIX_FADV_WILLNEED)
        read_exactly(fd, piece, at, path)
        yield piece
