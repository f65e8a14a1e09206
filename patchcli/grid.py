"""Where the windows of an image stand: pure arithmetic on sizes, no pixel is touched.

Along one axis of length 10 with patch 4 and stride 3 (`#` covered, `.` never covered, `+` padded):

    drop     0..3  3..6  6..9        ##########        every window inside; here it fits
    length 12:
    drop     0..3  3..6  6..9        ##########..      two px are never covered
    shift    0..3  3..6  6..9 8..11  ############      the last window moves inwards
    pad      0..3  3..6  6..9 9..12  ############+     and stops at the first window that reaches the border

An image's windows are the product of its two axes, in row-major order: y outer, x inner.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from patchcli.specs import Edge, Size

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# numpy is imported where arrays are made: planning needs none, and starts a tenth of a second earlier without.


@dataclass(frozen=True)
class Axis:
    """The windows along one axis of an image.

    Parameters
    ----------
    length, patch, stride : int
        Image, window and step, px.
    n_regular : int
        Windows that start at 0, stride, 2 * stride, ...
    last : int or None
        Start of one more window off that raster (only with `shift`), px.
    """

    length: int
    patch: int
    stride: int
    n_regular: int
    last: int | None = None

    @property
    def n(self) -> int:
        """How many windows."""
        return self.n_regular + (self.last is not None)

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """First px of each window, int64 (n,), ascending."""
        import numpy as np

        regular = np.arange(self.n_regular, dtype=np.int64) * self.stride
        return regular if self.last is None else np.append(regular, np.int64(self.last))

    @property
    def end(self) -> int:
        """One past the last px of the last window; beyond `length` when the axis is padded."""
        if self.n == 0:
            return 0
        return (self.last if self.last is not None else (self.n_regular - 1) * self.stride) + self.patch

    @property
    def n_covered(self) -> int:
        """Px of the image that lie in at least one window."""
        if self.n == 0:
            return 0
        step = min(self.stride, self.patch)
        regular_end = (self.n_regular - 1) * self.stride + self.patch
        covered = (self.n_regular - 1) * step + self.patch - max(0, regular_end - self.length)
        if self.last is not None:
            covered += self.last + self.patch - max(self.last, regular_end)
        return covered

    @property
    def n_inside(self) -> int:
        """Px of the image summed over the windows, those seen twice counted twice."""
        return self.n * self.patch - max(0, self.end - self.length)


def plan_axis(length: int, patch: int, stride: int, edge: Edge) -> Axis:
    """Windows along an axis under an edge policy.

    Parameters
    ----------
    length, patch, stride : int
        Px, each at least 1.
    edge : {"drop", "shift", "pad", "reflect"}
        `drop` keeps whole windows; `shift` adds a last one that ends at the border; `pad` and `reflect` go on until a
        window reaches the border (never one that holds no px of the image).

    Returns
    -------
    Axis
        With no windows when the image is shorter than the patch, except under `pad` and `reflect`.
    """
    whole = max(0, (length - patch) // stride + 1)
    if edge in ("pad", "reflect"):
        reach = max(0, -(-(length - patch) // stride)) + 1
        return Axis(length, patch, stride, min(reach, -(-length // stride)))
    uncovered = whole > 0 and (whole - 1) * stride + patch < length
    return Axis(length, patch, stride, whole, length - patch if edge == "shift" and uncovered else None)


@dataclass(frozen=True)
class Grid:
    """The windows of one image: the product of its axes, row-major."""

    x: Axis
    y: Axis

    @property
    def n_patches(self) -> int:
        """How many windows."""
        return self.x.n * self.y.n

    @property
    def n_uncovered(self) -> int:
        """Px of the image that no window holds."""
        return self.x.length * self.y.length - self.x.n_covered * self.y.n_covered

    @property
    def n_padded(self) -> int:
        """Px outside the image summed over the windows."""
        return self.n_patches * self.x.patch * self.y.patch - self.x.n_inside * self.y.n_inside

    @cached_property
    def coords(self) -> npt.NDArray[np.int32]:
        """(x, y) of each window's top-left px, int32 (n_patches, 2), row-major."""
        import numpy as np

        xs, ys = self.x.starts, self.y.starts
        coords = np.empty((len(ys), len(xs), 2), np.int32)
        coords[..., 0] = xs
        coords[..., 1] = ys[:, None]
        return coords.reshape(-1, 2)


def plan_grid(size: Size, patch: Size, stride: Size, edge: Edge) -> Grid:
    """Windows of an image of `size` px; empty when a side is shorter than the patch and nothing is padded."""
    return Grid(
        plan_axis(size.width, patch.width, stride.width, edge),
        plan_axis(size.height, patch.height, stride.height, edge),
    )


class Coverage(NamedTuple):
    """Of many images, int64 (n,) each: windows, px that no window holds, and px outside summed over the windows."""

    n_patches: npt.NDArray[np.int64]
    n_uncovered: npt.NDArray[np.int64]
    n_padded: npt.NDArray[np.int64]


def cover(
    widths: npt.NDArray[np.int64], heights: npt.NDArray[np.int64], patch: Size, stride: Size, edge: Edge
) -> Coverage:
    """What `Grid` says of each of many images: a million of them in a quarter of a second.

    Parameters
    ----------
    widths, heights : int64 (n,)
        Px, each at least 1.
    """
    x, y = _axes(widths, patch.width, stride.width, edge), _axes(heights, patch.height, stride.height, edge)
    n_patches = x[0] * y[0]
    return Coverage(n_patches, widths * heights - x[1] * y[1], n_patches * (patch.width * patch.height) - x[2] * y[2])


def _axes(lengths: npt.NDArray[np.int64], patch: int, stride: int, edge: Edge) -> npt.NDArray[np.int64]:
    """Windows, px covered and px inside of each length, int64 (3, n): axes of one length are worked out once."""
    import numpy as np

    distinct, which = np.unique(lengths, return_inverse=True)
    axes = [plan_axis(length, patch, stride, edge) for length in distinct.tolist()]
    numbers = np.array([(axis.n, axis.n_covered, axis.n_inside) for axis in axes], np.int64).reshape(-1, 3)
    return np.ascontiguousarray(numbers.T)[:, which]
