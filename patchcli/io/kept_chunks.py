"""Compressed chunks that were decompressed lately: whoever reads in windows comes back to them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final

import numpy.typing as npt

WINDOW_BYTES: Final = 96 << 20
"""Bytes in each process: a window of `ShuffleWindow` and the begin of the next."""


class KeptChunks:
    """Chunks by their place, the latest ones; safe for many threads, which may decompress one twice.

    Parameters
    ----------
    budget : int
        Bytes that are kept; 0: none.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._chunks: OrderedDict[Hashable, npt.NDArray[Any]] = OrderedDict()
        self._n_bytes = 0

    def get(self, place: Hashable, make: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """The chunk of a place, made when it is not kept; not to be written to."""
        with self._lock:
            chunk = self._chunks.get(place)
            if chunk is not None:
                self._chunks.move_to_end(place)
                return chunk
        chunk = make()
        with self._lock:
            if place not in self._chunks and chunk.nbytes <= self._budget:
                self._chunks[place] = chunk
                self._n_bytes += chunk.nbytes
            while self._n_bytes > self._budget:
                self._n_bytes -= self._chunks.popitem(last=False)[1].nbytes
        return chunk
