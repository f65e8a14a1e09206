"""What each thread that reads has for itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import cv2
import numpy.typing as npt

from patchcli.pipeline.augmenter import Augmenter


class PerThread(threading.local):
    """An augmenter, whose generators are set for one patch at a time, and memory to read into; pickled, nothing."""

    scratch: npt.NDArray[Any] | None = None
    _augmenter: Augmenter | None = None

    def augmenter(self, make: Callable[[], Augmenter]) -> Augmenter:
        """That of the calling thread, made when it is first asked for."""
        if self._augmenter is None:
            cv2.setNumThreads(1)  # readers are the parallelism, and OpenCV's threads do not survive fork
            self._augmenter = make()
        return self._augmenter

    def __reduce__(self) -> tuple[Any, ...]:
        return PerThread, ()
