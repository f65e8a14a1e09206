"""Which px of an image its patches cover, and which patches show that best. Pure arithmetic on their places.

Windows of one size share few edges along each axis, so everything is worked out on the cells between those edges and
not on px: an image of 100 million px with 5,000 windows has some 20,000 cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from patchcli.errors import UsageError
from patchcli.specs import Size

Coords = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

_MOST_CELLS: Final = 1 << 25


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of one image.

    Parameters
    ----------
    image : Size
        Of the image, px.
    patch : Size
    coords : int (n, 2)
        (x, y) of their top-left px, each at least 0 and within the image; no two are the same.

    Raises
    ------
    UsageError
        They stand at more different places than can be worked out (some 4 million on a lattice).
    """

    image: Size
    patch: Size
    coords: Coords

    def __post_init__(self) -> None:
        if (len(self._x_edges) - 1) * (len(self._y_edges) - 1) > _MOST_CELLS:
            raise UsageError(f"{len(self.coords):,} patches of one image stand at too many places to be drawn")

    @cached_property
    def extent(self) -> Size:
        """The image with what windows cover beyond its right and bottom border."""
        x, y = (int(self.coords[:, axis].max(initial=-self.patch[axis])) + self.patch[axis] for axis in (0, 1))
        return Size(max(self.image.width, x), max(self.image.height, y))

    @property
    def overlap(self) -> bool:
        """Whether some px is in more than one window."""
        return bool((self._counts(np.arange(len(self.coords))) > 1).any())

    @property
    def n_uncovered(self) -> int:
        """Px of the image in no window."""
        return self._area(self._open & self._inside)

    @property
    def n_padded(self) -> int:
        """Px outside the image in some window, each counted once."""
        return self._area(~self._inside & ~self._open)

    def uncovered(self, size: Size) -> Mask:
        """Where the image is not covered, drawn on `size` px: bool (height, width); no place is lost by shrinking."""
        return self._drawn(self._open & self._inside, size)

    def padded(self, size: Size) -> Mask:
        """Where windows reach beyond the image, drawn on `size` px: bool (height, width)."""
        return self._drawn(~self._inside, size) & ~self._drawn(self._inside, size) & ~self._drawn(self._open, size)

    @cached_property
    def tiling(self) -> npt.NDArray[np.int64]:
        """The fewest windows, about, that cover all that is covered, in reading order: int64 (k,), rows of `coords`.

        Those of a lattice about as wide as a patch; where windows of it are missing, others.
        """
        x, y = self.coords[:, 0], self.coords[:, 1]
        on_lattice = np.isin(x, _chain(x, self.patch.width)) & np.isin(y, _chain(y, self.patch.height))
        chosen = np.flatnonzero(on_lattice)
        missing = (self._counts(chosen) == 0) & ~self._open
        if missing.any():
            chosen = np.append(chosen, self._fill(missing, np.flatnonzero(~on_lattice)))
        tiling: npt.NDArray[np.int64] = chosen[np.lexsort((x[chosen], y[chosen]))]
        return tiling

    @cached_property
    def _x_edges(self) -> Coords:
        return _edges(self.coords[:, 0], self.patch.width, self.image.width, self.extent.width)

    @cached_property
    def _y_edges(self) -> Coords:
        return _edges(self.coords[:, 1], self.patch.height, self.image.height, self.extent.height)

    @cached_property
    def _open(self) -> Mask:
        """Cells in no window."""
        cells: Mask = self._counts(np.arange(len(self.coords))) == 0
        return cells

    @cached_property
    def _inside(self) -> Mask:
        """Cells of the image."""
        inside: Mask = (self._y_edges[:-1, None] < self.image.height) & (self._x_edges[:-1] < self.image.width)
        return inside

    def _spans(self, rows: npt.NDArray[np.int64]) -> tuple[Coords, Coords, Coords, Coords]:
        """First cell and one past the last of some windows, along x and along y."""
        x, y = self.coords[rows, 0].astype(np.int64), self.coords[rows, 1].astype(np.int64)
        return (
            np.searchsorted(self._x_edges, x),
            np.searchsorted(self._x_edges, x + self.patch.width),
            np.searchsorted(self._y_edges, y),
            np.searchsorted(self._y_edges, y + self.patch.height),
        )

    def _counts(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """In how many of some windows each cell is: each is added at its corners, and sums run over them."""
        left, right, top, bottom = self._spans(rows)
        counts = np.zeros((len(self._y_edges), len(self._x_edges)), np.int32)
        for y, x, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
            np.add.at(counts, (y, x), sign)
        return counts.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)[:-1, :-1]

    def _fill(self, missing: Mask, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Those of some windows, in reading order, that cover something which is still missing then."""
        missing = missing.copy()
        rows = rows[np.lexsort((self.coords[rows, 0], self.coords[rows, 1]))]
        left, right, top, bottom = self._spans(rows)
        sums = np.pad(missing.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32), ((1, 0), (1, 0)))
        useful = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left] > 0
        spans = np.stack([left, right, top, bottom], axis=1)[useful].tolist()
        taken = []
        for row, (x0, x1, y0, y1) in zip(rows[useful].tolist(), spans, strict=True):
            part = missing[y0:y1, x0:x1]
            if part.any():
                part[:] = False
                taken.append(row)
        return np.array(taken, np.int64)

    def _area(self, cells: Mask) -> int:
        widths, heights = np.diff(self._x_edges), np.diff(self._y_edges)
        return int(heights @ cells.astype(np.int64) @ widths)

    def _drawn(self, cells: Mask, size: Size) -> Mask:
        """Where a drawing of `size` px shows any px of some cells."""
        sums = np.pad(cells.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32), ((1, 0), (1, 0)))
        x0, x1 = _cells_under(size.width, self._x_edges)
        y0, y1 = (one[:, None] for one in _cells_under(size.height, self._y_edges))
        drawn: Mask = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0] > 0
        return drawn


def _edges(starts: Coords, patch: int, length: int, extent: int) -> Coords:
    """Where anything begins or ends along an axis, int64, ascending."""
    distinct = np.unique(starts).astype(np.int64)
    return np.unique(np.concatenate([distinct, distinct + patch, [0, length, extent]]))


def _chain(starts: Coords, patch: int) -> list[int]:
    """Some of the places along an axis: each the last that touches or overlaps the one before, or else the next."""
    distinct = np.unique(starts)
    taken: list[int] = []
    at = 0
    while at < len(distinct):
        taken.append(int(distinct[at]))
        at = max(at + 1, int(np.searchsorted(distinct, taken[-1] + patch, side="right")) - 1)
    return taken


def _cells_under(n: int, edges: Coords) -> tuple[Coords, Coords]:
    """For each of `n` px in which an axis is drawn: the first cell that it shows, and one past the last."""
    ends = np.arange(n + 1, dtype=np.int64) * int(edges[-1])  # in parts of n, so that all is exact
    first = np.searchsorted(edges * n, ends[:-1], side="right") - 1
    last = np.searchsorted(edges * n, ends[1:], side="left")
    return first, last
