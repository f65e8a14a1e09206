"""Sums over all patches of an image, taken from the image itself: each px counts as often as a window holds it.

The windows of a grid are a product, so the count of a px is `weights(y axis)[y] * weights(x axis)[x]`. That reads each
px once where the patches hold it `1 / (1 - overlap)^2` times, and integers make the result exact in any order.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from patchcli.cut import mirror
from patchcli.grid import Axis, Grid
from patchcli.specs import Edge

_MOST_SUMMED = 4  # channels that OpenCV splits fast
_PART = 1 << 17  # px that are split into channels at once: they stay in the second-level cache
_MOST_ROWS = 257  # 257 * 255 is the largest sum of bytes that 16 bits hold


class Moments(NamedTuple):
    """Sums over px: how many (per channel), their values and their squares, each list (C,); exact for whole numbers."""

    n: int
    sums: tuple[float, ...]
    squares: tuple[float, ...]

    def __add__(self, other: object) -> Moments:
        if not isinstance(other, Moments):
            return NotImplemented
        if not self.sums:
            return other
        if not other.sums:
            return self
        sums = tuple(a + b for a, b in zip(self.sums, other.sums, strict=True))
        squares = tuple(a + b for a, b in zip(self.squares, other.squares, strict=True))
        return Moments(self.n + other.n, sums, squares)

    def mean_std(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Mean and population standard deviation per channel, float64 (C,), in grey levels."""
        mean = [total / self.n for total in self.sums]
        # n * squares - sums^2 in whole numbers: no cancellation
        std = [(max(0, self.n * q - s * s) ** 0.5) / self.n for s, q in zip(self.sums, self.squares, strict=True)]
        return np.array(mean), np.array(std)


NOTHING = Moments(0, (), ())


@lru_cache(maxsize=64)  # images of a set are often of one size
def weights(axis: Axis, numbers: range, edge: Edge) -> npt.NDArray[np.int64]:
    """How many of the windows `numbers` hold each px of an axis, int64 (length,), read-only."""
    starts = axis.starts[numbers.start : numbers.stop]
    steps = np.zeros(max(axis.end, axis.length) + 1, np.int64)
    np.add.at(steps, starts, 1)
    np.add.at(steps, starts + axis.patch, -1)
    counts = np.cumsum(steps)[:-1]
    inside = counts[: axis.length].copy()
    if edge == "reflect":
        beyond = np.arange(axis.length, len(counts))
        np.add.at(inside, mirror(beyond, axis.length), counts[axis.length :])
    inside.flags.writeable = False
    return inside


@lru_cache(maxsize=64)
def _rows_by_weight(axis: Axis, numbers: range, edge: Edge) -> tuple[tuple[int, npt.NDArray[np.intp]], ...]:
    """Each count above zero with the px that have it."""
    counts = weights(axis, numbers, edge)
    return tuple((int(count), np.flatnonzero(counts == count)) for count in np.unique(counts[counts > 0]))


def moments(
    image: npt.NDArray[np.uint8], grid: Grid, *, rows: range | None = None, edge: Edge = "drop", pad_value: int = 0
) -> Moments:
    """Sums over all patches that `cut` makes of an image, without cutting it.

    Parameters
    ----------
    image : uint8 (height, width, C)
    grid, rows, edge, pad_value
        As for `patchcli.cut.cut`.
    """
    rows = range(grid.y.n) if rows is None else rows
    if not grid.n_patches or not rows:
        return NOTHING
    height, width, channels = image.shape
    per_row, per_column = weights(grid.y, rows, edge), weights(grid.x, range(grid.x.n), edge)
    end = min(grid.x.end, width)
    lines = image.reshape(height, width * channels)[:, : end * channels]
    totals = np.zeros((2, end * channels), np.int64)
    for weight, picked in _rows_by_weight(grid.y, rows, edge):
        totals += weight * _column_sums(lines, picked)
    sums, squares = np.einsum("kxc,x->kc", totals.reshape(2, end, channels), per_column[:end])
    n = len(rows) * grid.x.n * grid.y.patch * grid.x.patch
    n_padded = 0 if edge == "reflect" else n - int(per_row.sum()) * int(per_column.sum())
    return Moments(
        n,
        tuple(int(total) + n_padded * pad_value for total in sums),
        tuple(int(total) + n_padded * pad_value**2 for total in squares),
    )


def block_moments(patches: npt.NDArray[Any]) -> Moments:
    """Sums over patches (k, H, W, C): exact for uint8, float64 for the others."""
    channels = patches.shape[-1]
    if patches.dtype == np.uint8 and channels <= _MOST_SUMMED:
        return _byte_moments(patches)
    lines = patches.reshape(-1, patches.shape[2] * channels)
    if patches.dtype == np.uint8:
        totals: npt.NDArray[Any] = _column_sums(lines, np.arange(len(lines)))
    else:
        squares = np.einsum("ij,ij->j", lines, lines, dtype=np.float64, casting="unsafe")
        totals = np.stack([lines.sum(axis=0, dtype=np.float64), squares])
    sums, squares = totals.reshape(2, -1, channels).sum(axis=1).tolist()
    return Moments(patches.size // channels, tuple(sums), tuple(squares))


def _byte_moments(patches: npt.NDArray[np.uint8]) -> Moments:
    """Sums over uint8 patches (k, H, W, C) by OpenCV: its sums and norms of bytes come from whole numbers."""
    import cv2  # a sixth of numpy's time; where patches are summed, it is there already

    channels = patches.shape[-1]
    pixels = patches.reshape(1, -1, channels)
    n = pixels.shape[1]
    sums, squares = [0] * channels, [0] * channels
    # planes made anew for each part would cost more than all else
    room = [np.empty((1, min(n, _PART)), np.uint8) for _ in range(channels)]
    for start in range(0, n, _PART):
        part = pixels[:, start : start + _PART]
        planes = cv2.split(part, [plane[:, : part.shape[1]] for plane in room]) if channels > 1 else [part]
        for channel, (total, plane) in enumerate(zip(cv2.sumElems(part), planes, strict=False)):
            sums[channel] += int(total)
            squares[channel] += round(cv2.norm(plane, cv2.NORM_L2SQR))  # the square of a root: off by 1e-6
    return Moments(n, tuple(sums), tuple(squares))


def _column_sums(lines: npt.NDArray[np.uint8], picked: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
    """Sums and sums of squares of each column over the picked rows, int64 (2, columns).

    einsum squares and sums in one pass, without room for the squares.
    """
    totals = np.zeros((2, lines.shape[1]), np.int64)
    contiguous = int(picked[-1]) - int(picked[0]) + 1 == len(picked)
    if contiguous:
        lines = lines[picked[0] : picked[-1] + 1]
    for start in range(0, len(picked), _MOST_ROWS):
        band = lines[start : start + _MOST_ROWS] if contiguous else lines[picked[start : start + _MOST_ROWS]]
        totals[0] += np.add.reduce(band, axis=0, dtype=np.uint16)
        totals[1] += np.einsum("ij,ij->j", band, band, dtype=np.uint32, casting="unsafe")
    return totals
