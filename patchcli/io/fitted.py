"""Statistics of a data set for standardising: from its tables where those hold them, otherwise from its patches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from patchcli.errors import UsageError
from patchcli.io.dataset import Dataset
from patchcli.pipeline.standardize import MOST_WHITENED, Standard, Statistics, fit

MOST_FITTED: Final = 20_000
"""Patches that a whitening matrix is worked out from, at most: each costs a product of the matrix' size."""

_BLOCK_BYTES: Final = 1 << 20


def statistics_of(
    dataset: Dataset,
    standard: Standard,
    rows: npt.NDArray[np.int64],
    beat: Callable[[int, int], None] = lambda *_: None,
) -> Statistics | None:
    """Statistics of some patches of a data set, or None where none are needed.

    Parameters
    ----------
    rows : int64 (k,)
        Ascending: those that are augmented, so that nothing of a validation split gets into training.
    beat : callable
        Called with patches done and all.

    Raises
    ------
    UsageError
        Patches too large to be whitened.
    DamagedFile
    """
    if not standard.needs_statistics:
        return None
    size = int(np.prod(dataset.facts.patch_shape))
    if standard.zca_whitening and size > MOST_WHITENED:
        raise UsageError(
            f"zca_whitening: these patches have {size:,} values, so the matrix would have {size:,} x {size:,}: "
            f"expected at most {MOST_WHITENED:,} values, such as 64x64 px gray or 36x36 px RGB"
        )
    if len(rows) == dataset.facts.n_rows and not standard.samplewise_center and not standard.zca_whitening:
        factor = 1.0 if standard.rescale is None else standard.rescale
        return Statistics(dataset.tables["stats/mean"] * factor, dataset.tables["stats/std"] * abs(factor))
    if standard.zca_whitening and len(rows) > MOST_FITTED:
        rows = np.sort(rows[np.argsort(dataset.tables["digest"][rows], kind="stable")[:MOST_FITTED]])
    return fit((patches for _, patches in blocks_of(dataset, rows, beat)), standard)


def blocks_of(
    dataset: Dataset, rows: npt.NDArray[np.int64], beat: Callable[[int, int], None]
) -> Iterator[tuple[range, npt.NDArray[Any]]]:
    """Patches of some rows (k,) in blocks of about 1 MiB: where in `rows` they stand, and the patches."""
    step = max(1, _BLOCK_BYTES // dataset.facts.patch_bytes)
    for start in range(0, len(rows), step):
        beat(start, len(rows))
        span = range(start, min(start + step, len(rows)))
        yield span, dataset.read(rows[span.start : span.stop])
