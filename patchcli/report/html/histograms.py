"""How often each value occurs in each channel, counted over a sample of the patches that no order of rows changes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from patchcli.choice import name_ranks, row_ranks
from patchcli.errors import DamagedFile
from patchcli.io.dataset import Dataset

Array = npt.NDArray[Any]
Edges = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

BINS: Final = 256
_MOST_BYTES: Final = 64_000_000  # of pixels read
_BLOCK_BYTES: Final = 4_000_000  # read and counted at a time
_MOST_VALUES: Final = 1 << 20  # for percentiles
_BULK: Final = (0.1, 99.9)  # percentiles that nearly all values lie between
_LEAST_PART: Final = 0.25  # of the axis, which they must take
_MARGIN: Final = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Histograms:
    """How often each value occurs, by channel.

    Attributes
    ----------
    edges : float64 (257,)
        Of the bins, ascending, the same for all channels: bin k holds edges[k] <= value < edges[k + 1], the last bin
        its upper edge too. For uint8 bin k is the value k.
    counts : int64 (C, 256)
    below, above : int64 (C,)
        Values outside of the edges, which a few strays would have drawn too wide.
    no_number : int64 (C,)
        NaN and infinite values.
    low, high : float64 (C,)
        The least and the greatest value; NaN where there is none.
    n_patches : int
        Patches counted.
    n_unreadable : int
        Patches of the sample that could not be read.
    all_patches : bool
        Whether the sample is all there are.
    whole_numbers : bool
        Whether values are integers.
    """

    edges: Edges
    counts: Counts
    below: Counts
    above: Counts
    no_number: Counts
    low: Edges
    high: Edges
    n_patches: int
    n_unreadable: int
    all_patches: bool
    whole_numbers: bool

    def quantile(self, channel: int, part: float) -> float:
        """The value that a part (0 to 1) of a channel's values does not exceed, to the width of a bin.

        NaN where the channel has no values; -inf and inf where it lies outside of the edges.
        """
        steps = np.cumsum([self.below[channel], *self.counts[channel], self.above[channel]])
        if not steps[-1]:
            return float("nan")
        at = int(np.searchsorted(steps, max(1.0, part * float(steps[-1])))) - 1
        if not 0 <= at < BINS:
            return float("-inf") if at < 0 else float("inf")
        if self.whole_numbers:
            return float((self.edges[at] + self.edges[at + 1] - 1) // 2)
        return float((self.edges[at] + self.edges[at + 1]) / 2)


def channel_histograms(data: Dataset, *, seed: int, most_patches: int = 2000) -> Histograms:
    """Count values of all patches, or of a sample of them.

    Which patches are in the sample depends on the seed and on their pixels, never on the order of rows or on shards.
    Patches that cannot be read are left out and counted.

    Parameters
    ----------
    data : Dataset
    seed : int
        At least 0.
    most_patches : int
        Fewer are read where these would be more than 64 MB; at least one.
    """
    facts = data.facts
    patch_bytes = max(1, math.prod(facts.patch_shape) * facts.dtype.itemsize)
    n = min(facts.n_rows, most_patches, max(1, _MOST_BYTES // patch_bytes))
    ranks = row_ranks(np.repeat(name_ranks(seed, [b"histograms"]), facts.n_rows), [data.tables["digest"]])
    rows = np.sort(np.argsort(ranks, kind="stable")[:n])
    most = max(1, _BLOCK_BYTES // patch_bytes)
    blocks = [block for start in range(0, n, most) for block in _readable(data, rows[start : start + most])]
    n_read, values = sum(map(len, blocks)), [_values(block) for block in blocks]
    low = high = np.full(facts.patch_shape[2], np.nan)
    for block in values:  # fmin and fmax pass NaN over
        low, high = np.fmin(low, np.fmin.reduce(block)), np.fmax(high, np.fmax.reduce(block))
    edges = _edges(values, facts.dtype, float(np.fmin.reduce(low)), float(np.fmax.reduce(high)))
    counts = np.zeros((len(low), BINS + 3), np.int64)
    for block in values:
        counts += _counted(block, edges)
    return Histograms(
        edges=edges,
        counts=counts[:, 1 : BINS + 1],
        below=counts[:, 0],
        above=counts[:, BINS + 1],
        no_number=counts[:, BINS + 2],
        low=low,
        high=high,
        n_patches=n_read,
        n_unreadable=n - n_read,
        all_patches=n == facts.n_rows,
        whole_numbers=facts.dtype.kind in "iu",
    )


def _readable(data: Dataset, rows: npt.NDArray[np.int64]) -> Iterator[Array]:
    """The patches of rows in blocks (k, H, W, C); those that cannot be read are missing."""
    try:
        yield data.read(rows)
    except (DamagedFile, OSError, MemoryError):  # the last when an index says that its patches are enormous
        if len(rows) > 1:  # halves, so that one bad patch among many good ones costs few reads
            yield from _readable(data, rows[: len(rows) // 2])
            yield from _readable(data, rows[len(rows) // 2 :])


def _values(block: Array) -> Array:
    """A block as (px, C); what is no number is NaN."""
    values = block.reshape(-1, block.shape[-1])
    return values if values.dtype.kind in "iu" else np.where(np.isfinite(values), values, np.nan)


def _edges(blocks: Sequence[Array], dtype: np.dtype[Any], low: float, high: float) -> Edges:
    """All values from `low` to `high`, or nearly all where strays would leave the others no room to be told apart."""
    if dtype == np.uint8 or math.isnan(low):
        return np.arange(BINS + 1, dtype=np.float64)
    step = -(-sum(block.size for block in blocks) // _MOST_VALUES)
    some = np.concatenate([block.reshape(-1)[::step] for block in blocks])
    first, last = map(float, np.nanpercentile(some, _BULK)) if not np.isnan(some).all() else (low, high)
    if 0 < last - first < _LEAST_PART * (high - low):
        margin = _MARGIN * (last - first)
        low, high = max(low, first - margin), min(high, last + margin)
    if dtype.kind in "iu":
        low, high = math.floor(low), math.ceil(high)
        return low + np.arange(BINS + 1, dtype=np.float64) * -(-(high - low + 1) // BINS)
    if low == high:
        low, high = low - max(0.5, 1e-3 * abs(low)), high + max(0.5, 1e-3 * abs(high))
    return np.linspace(low, high, BINS + 1)


def _counted(values: Array, edges: Edges) -> Counts:
    """Counts (C, 259) of values (px, C): below the edges, in each bin, above, and no number."""
    if values.dtype.kind in "iu":
        low, width = int(edges[0]), int(edges[1] - edges[0])
        at = np.clip((values.astype(np.int64) - low) // width, -1, BINS) + 1
    else:
        at = np.searchsorted(edges, values, side="right")
        at[values == edges[-1]] = BINS
        at[np.isnan(values)] = BINS + 2
    channels = values.shape[1]
    at += np.arange(channels) * (BINS + 3)
    counts = np.bincount(at.reshape(-1), minlength=channels * (BINS + 3))
    return counts.reshape(channels, BINS + 3)
