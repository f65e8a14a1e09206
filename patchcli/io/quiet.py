"""Pillow's warnings and its limit on large images, held back while threads decode.

`warnings.catch_warnings` puts back the filters that it found, which may be those that another thread had set for a
moment; here one filter is put in and taken out again, and no other is touched.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import warnings
from collections.abc import Iterator
from typing import Any, Final

from PIL import Image as Pillow

_IGNORE_PILLOW: Final[Any] = ("ignore", None, Warning, re.compile(r"PIL\."), 0)  # as `warnings` notes a filter


@contextlib.contextmanager
def quiet_for_threads(max_pixels: int) -> Iterator[None]:
    """Let Pillow open images of up to `max_pixels`, without its warnings; for any number of threads at once."""
    quiet = _quiet
    quiet.begin(max_pixels)
    try:
        yield
    finally:
        quiet.end()


class _Quiet:
    """Begun by the first thread, ended by the last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.n_inside = 0
        self.limit: int | None = None
        self.filters: Any = None

    def begin(self, max_pixels: int) -> None:
        with self.lock:
            if self.n_inside == 0:
                self.limit, self.filters = Pillow.MAX_IMAGE_PIXELS, warnings.filters
                self.filters.insert(0, _IGNORE_PILLOW)
            if Pillow.MAX_IMAGE_PIXELS is not None:
                Pillow.MAX_IMAGE_PIXELS = max(Pillow.MAX_IMAGE_PIXELS, max_pixels)
            self.n_inside += 1

    def end(self) -> None:
        with self.lock:
            self.n_inside -= 1
            if self.n_inside == 0:
                self.undo()

    def undo(self) -> None:
        Pillow.MAX_IMAGE_PIXELS = self.limit
        now: Any = warnings.filters
        for filters in (self.filters, now):  # the list is another one where `catch_warnings` has begun meanwhile
            if _IGNORE_PILLOW in filters:
                filters.remove(_IGNORE_PILLOW)


_quiet = _Quiet()


def _begin_anew() -> None:
    """In a child of fork: threads that were decoding are not there."""
    global _quiet
    if _quiet.n_inside:
        _quiet.undo()
    _quiet = _Quiet()


os.register_at_fork(after_in_child=_begin_anew)
