"""Patches of a data set that may be damaged: as many as can be read, shard by shard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from patchcli.errors import DamagedFile
from patchcli.io.dataset import Dataset

_BLOCK_BYTES: Final = 64 << 20


def readable(data: Dataset, rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Rows (k,) and their patches (H, W, C), by row; those missing or not as they were written are left out."""
    starts = data.tables["shards/row_start"] if data.facts.role == "index" else np.zeros(1, np.int64)
    rows = np.sort(rows)
    shards = np.searchsorted(starts, rows, side="right")
    step = max(1, _BLOCK_BYTES // data.facts.patch_bytes)
    for shard in np.unique(shards):
        here = rows[shards == shard]
        for start in range(0, len(here), step):
            yield from _together(data, here[start : start + step])


def _together(data: Dataset, rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Patches of one shard: all at once, or in halves where one of them is damaged, until it stands alone."""
    try:
        patches = data.read(rows)
    except (DamagedFile, OSError):
        if len(rows) > 1:
            yield from _together(data, rows[: len(rows) // 2])
            yield from _together(data, rows[len(rows) // 2 :])
        return
    yield from zip(rows.tolist(), patches, strict=True)
