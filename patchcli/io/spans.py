"""A file from one place to another, piece by piece, without a copy where the system maps files into memory."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from typing import Final

from patchcli.io.patchfile import read_exactly

_WINDOW_BYTES: Final = 8 << 20
_POPULATE_READ: Final = 22  # MADV_POPULATE_READ of Linux 5.14, which Python has no name for


def spans(fd: int, start: int, stop: int, step: int, path: bytes) -> Iterator[memoryview]:
    """The bytes of a file from `start` to `stop`, `step` at a time; while they are worked on, the disk goes ahead.

    A copy out of the page cache takes as long as two digests, so pieces are read-only windows on the file itself. They
    are brought in as a whole before they are looked at: a file that shrinks or a disk that fails is an error then, and
    no signal that ends the process.

    Raises
    ------
    DamagedFile
        The file ends before `stop`.
    OSError
    """
    width = max(1, _WINDOW_BYTES // step) * step
    for low in range(start, stop, width):
        high = min(stop, low + width)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, high, width, os.POSIX_FADV_WILLNEED)
        window = _window(fd, low, high, path)
        for at in range(0, high - low, step):
            yield window[at : min(high - low, at + step)]


def _window(fd: int, low: int, high: int, path: bytes) -> memoryview:
    base = low - low % mmap.ALLOCATIONGRANULARITY
    try:
        mapped = mmap.mmap(fd, high - base, access=mmap.ACCESS_READ, offset=base)
        mapped.madvise(_POPULATE_READ)
    except (OSError, ValueError, AttributeError):  # not here, not for this file, or damaged: reading tells
        buffer = memoryview(bytearray(high - low))
        read_exactly(fd, buffer, low, path)
        return buffer
    return memoryview(mapped)[low - base :]
