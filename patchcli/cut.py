"""Windows of an image, copied out as patches in blocks of about 1 MiB: strided copies, no loop over patches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from patchcli.grid import Axis, Grid
from patchcli.specs import Edge, Size

BLOCK_BYTES = 1 << 20
"""Size of a block: fits the cache of a core, so that digests read it warm, and is a good size for one write."""

Pixels = npt.NDArray[np.uint8]


def cut(
    image: Pixels,
    grid: Grid,
    *,
    rows: range | None = None,
    edge: Edge = "drop",
    pad_value: int = 0,
    block: Pixels | None = None,
) -> Iterator[Pixels]:
    """Patches of an image, block by block, in row-major order of the windows.

    Parameters
    ----------
    image : uint8 (height, width, C)
        C-contiguous.
    grid : Grid
        Windows of an image of that size.
    rows : range, optional
        Only these rows of windows (default: all).
    edge, pad_value
        What stands outside the image: `pad` the value, `reflect` the mirrored image without its border px, as
        `numpy.pad(mode="reflect")`.
    block : uint8 (n_bytes,), optional
        Buffer to reuse, from `new_block`.

    Yields
    ------
    uint8 (k, patch height, patch width, C)
        A view of `block`, overwritten by the next step.
    """
    rows = range(grid.y.n) if rows is None else rows
    if grid.n_patches == 0:
        return
    channels = image.shape[2]
    shape = (grid.y.patch, grid.x.patch, channels)
    patch_bytes = shape[0] * shape[1] * shape[2]
    block = new_block(patch_bytes) if block is None else block
    per_block = block.size // patch_bytes
    columns_step = min(grid.x.n, per_block)
    rows_step = max(1, per_block // grid.x.n)
    for row_span in _spans(grid.y, rows, rows_step):
        for column_span in _chunks(range(grid.x.n), columns_step):
            region, offset = _region(image, grid, row_span, column_span, edge, pad_value)
            n = len(row_span) * len(column_span)
            out = block[: n * patch_bytes].reshape(len(row_span), len(column_span), *shape)
            _copy_windows(region, offset, grid, column_span, out)
            yield out.reshape(n, *shape)


def window(image: Pixels, xy: tuple[int, int], patch: Size, *, edge: Edge = "drop", pad_value: int = 0) -> Pixels:
    """One patch of an image, wherever it stands: `cut`, one at a time.

    Parameters
    ----------
    image : array (height, width, C)
    xy : (int, int)
        Of the top-left px, which lies inside.
    patch : Size
    edge, pad_value
        As for `cut`.

    Returns
    -------
    array (patch height, patch width, C)
        A view of the image where it lies inside.
    """
    (left, top), (width, height) = xy, patch
    return _part(image, (top, top + height), (left, left + width), edge, pad_value)


def new_block(patch_bytes: int) -> Pixels:
    """A buffer for `cut`: about 1 MiB, and at least one patch."""
    return np.empty(max(1, BLOCK_BYTES // patch_bytes) * patch_bytes, np.uint8)


def _spans(axis: Axis, rows: range, step: int) -> Iterator[range]:
    """Cut rows of windows into spans of `step`; a shifted last row, off the raster, stands alone."""
    stop = max(rows.start, min(rows.stop, axis.n_regular))
    yield from _chunks(range(rows.start, stop), step)
    yield from _chunks(range(stop, rows.stop), 1)


def _chunks(numbers: range, step: int) -> Iterator[range]:
    for start in range(numbers.start, numbers.stop, step):
        yield range(start, min(numbers.stop, start + step))


def _start(axis: Axis, number: int) -> int:
    return number * axis.stride if number < axis.n_regular or axis.last is None else axis.last


def _region(image: Pixels, grid: Grid, rows: range, columns: range, edge: Edge, pad_value: int) -> tuple[Pixels, int]:
    """The px under some windows: the image itself where they lie inside, otherwise a padded copy of that part.

    Returns the array and the offset in bytes of the first window's first px.
    """
    top, left = _start(grid.y, rows[0]), _start(grid.x, columns[0])
    bottom = _start(grid.y, rows[-1]) + grid.y.patch
    right = _start(grid.x, columns[-1]) + grid.x.patch
    height, width, channels = image.shape
    if bottom <= height and right <= width:
        return image, (top * width + left) * channels
    return _part(image, (top, bottom), (left, right), edge, pad_value), 0


def _part(image: Pixels, y: tuple[int, int], x: tuple[int, int], edge: Edge, pad_value: int) -> Pixels:
    """Part of an image from (top, left) to (bottom, right); what lies beyond its border is made up."""
    height, width, channels = image.shape
    inside = image[slice(*y), slice(*x)]
    if y[1] <= height and x[1] <= width:
        return inside
    if edge == "reflect":
        return image[mirror(np.arange(*y), height)[:, None], mirror(np.arange(*x), width)]
    part = np.full((y[1] - y[0], x[1] - x[0], channels), pad_value, image.dtype)
    part[: inside.shape[0], : inside.shape[1]] = inside
    return part


def mirror(positions: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    """Px that a position at or beyond the border shows under `reflect`: 0 1 2 | 1 0 1 2 for length 3."""
    if length == 1:
        return np.zeros_like(positions)
    folded = positions % (2 * length - 2)
    return np.minimum(folded, 2 * length - 2 - folded)


def _copy_windows(region: Pixels, offset: int, grid: Grid, columns: range, out: Pixels) -> None:
    """Copy the windows that begin `offset` bytes into a region to `out` (ny, nx, h, w, C).

    Each line of a patch is one item of a void type, so that numpy copies it in one piece.
    """
    n_rows, n_columns, height, width, channels = out.shape
    line = np.dtype((np.void, width * channels))
    dy, dx, _ = region.strides
    strides = (grid.y.stride * dy, grid.x.stride * dx, dy)
    lines = out.reshape(-1).view(line).reshape(n_rows, n_columns, height)
    n_regular = n_columns - (columns[-1] >= grid.x.n_regular)
    if n_regular:
        np.copyto(lines[:, :n_regular], np.ndarray((n_rows, n_regular, height), line, region, offset, strides))
    if n_regular < n_columns:
        offset += (_start(grid.x, columns[-1]) - _start(grid.x, columns[0])) * dx
        np.copyto(lines[:, n_regular:], np.ndarray((n_rows, 1, height), line, region, offset, strides))
