"""One source image, its windows and its px, ready to be drawn: from the folder of images, or from the patches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from patchcli.errors import DamagedFile
from patchcli.io.dataset import Dataset
from patchcli.io.originals import original
from patchcli.io.readable import readable
from patchcli.records import show
from patchcli.report.drawing.covered import Windows
from patchcli.report.drawing.levels import averaged
from patchcli.report.drawing.style import visible_name
from patchcli.specs import Size

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]

_TALLEST: Final = 1.25  # height of a drawn image for its width
_WIDER: Final = 1.35  # images may be so much larger than asked for, where whole px are drawn then
_CLEAR: Final = 12  # px that a drawn patch should have, and for which an image is drawn larger
_LARGER: Final = 2.0  # at most so much
_MOST_ENLARGED: Final = 16
_FINEST: Final = 2  # px of an image for a px of the picture; more are averaged


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A source image with its patches.

    Attributes
    ----------
    title : str
        Its path.
    facts : tuple of str
        What there is to say below it, line by line.
    windows : Windows
    rows : int64 (n,)
        For each window, a row of the data set with its patch; the original where that is stored.
    stored : bool (n,)
        Whether it is the original.
    size : Size
        At which it is drawn, with what windows hold beyond its border.
    """

    title: str
    facts: tuple[str, ...]
    windows: Windows
    rows: Rows
    stored: npt.NDArray[np.bool_]
    size: Size

    @property
    def step(self) -> int:
        """Px of the image along each axis that become one before it is drawn."""
        return max(1, self.windows.extent.width // (_FINEST * self.size.width))


def scene(data: Dataset, source: int, *, width: int) -> Scene:
    """Look up the windows of a source, to be drawn about `width` px wide; no px is read.

    Raises
    ------
    DamagedFile
        Its size cannot be.
    UsageError
        It has more windows than can be drawn.
    """
    image = Size(int(data.sources.width[source]), int(data.sources.height[source]))
    title = show(data.sources.path[source])
    if min(image) < 1:
        raise DamagedFile(f"{show(data.path)}: says that {title} has {image.width}x{image.height} px")
    rows = np.flatnonzero(data.tables["source"] == source)
    copy = data.tables["copy"][rows] if "copy" in data.tables else np.zeros(len(rows), np.int16)
    coords = data.tables["coords"][rows].astype(np.int64)
    inside = ((coords >= 0) & (coords < np.array(image))).all(axis=1)
    first = _first_of_each(coords, copy, np.flatnonzero(inside))
    height, patch_width, _ = data.facts.patch_shape
    windows = Windows(image, Size(patch_width, height), coords[first])
    size = _drawn_size(windows, width)
    facts = [
        _what(data, rows, image, size.width / windows.extent.width),
        _how_many(windows, copy),
        f"{np.sum(~inside):,} patches are said to stand outside the image" if not inside.all() else "",
    ]
    return Scene(title, tuple(filter(None, facts)), windows, rows[first], copy[first] == 0, size)


def from_folder(data: Dataset, source: int, one: Scene, *, root: bytes, max_pixels: int) -> tuple[Array, Array]:
    """Px (H, W, C) of the image's own file, averaged to `one.step`, and which of them are there: bool (H, W).

    Raises
    ------
    UsageError, DamagedFile
        As `patchcli.io.originals.original`.
    """
    pixels = averaged(original(data, source, root=root, max_pixels=max_pixels), one.step)
    height, width = _lattice(one)
    more = ((0, max(0, height - pixels.shape[0])), (0, max(0, width - pixels.shape[1])))
    there = np.pad(np.ones(pixels.shape[:2], bool), more)
    return np.pad(pixels, (*more, (0, 0)), mode="edge"), there


def from_patches(data: Dataset, one: Scene) -> tuple[Array, Array, int]:
    """The same put together from stored patches that are no copies, and how many of those could not be read."""
    height, width = _lattice(one)
    pixels = np.zeros((height, width, data.facts.patch_shape[2]), data.facts.dtype)
    there = np.zeros((height, width), bool)
    tiles = [number for number in one.windows.tiling.tolist() if one.stored[number]]
    places = {int(one.rows[number]): one.windows.coords[number].tolist() for number in tiles}
    n_read = 0
    for row, patch in readable(data, np.array(list(places), np.int64)):
        x, y = places[row]
        part = patch[-y % one.step :: one.step, -x % one.step :: one.step]  # px that stand on the lattice
        top, left = -(-y // one.step), -(-x // one.step)
        pixels[top : top + len(part), left : left + part.shape[1]] = part
        there[top : top + len(part), left : left + part.shape[1]] = True
        n_read += 1
    return pixels, there, len(tiles) - n_read


def _first_of_each(coords: Array, copy: Array, rows: Rows) -> Rows:
    """Of the rows at one place the one with the lowest copy number; places in reading order."""
    rows = rows[np.lexsort((copy[rows], coords[rows, 0], coords[rows, 1]))]
    is_first = np.ones(len(rows), bool)
    is_first[1:] = (np.diff(coords[rows], axis=0) != 0).any(axis=1)
    return rows[is_first]


def _lattice(one: Scene) -> tuple[int, int]:
    """Height and width of all that is drawn, in steps."""
    return -(-one.windows.extent.height // one.step), -(-one.windows.extent.width // one.step)


def _drawn_size(windows: Windows, width: int) -> Size:
    extent, patch = windows.extent, windows.patch
    scale = min(width / extent.width, _TALLEST * width / extent.height)
    if scale * min(patch) < _CLEAR:
        scale *= min(_LARGER, _CLEAR / (scale * min(patch)))
    if scale * _WIDER >= 1:  # px for px, or enlarged by a whole number
        scale = min(int(scale * _WIDER), _MOST_ENLARGED)
    return Size(max(1, round(extent.width * scale)), max(1, round(extent.height * scale)))


def _what(data: Dataset, rows: Rows, image: Size, scale: float) -> str:
    parts = [visible_name(show(data.classes[label])) for label in _distinct(data, "labels", rows)]
    if data.splits:
        parts += [visible_name(show(data.splits[split])) for split in _distinct(data, "split", rows)]
    parts.append(f"{image.width:,}x{image.height:,} px")
    if scale != 1:
        parts.append(f"drawn at {scale:.0%}" if scale < 1 else f"1 px drawn as {scale:.0f}x{scale:.0f}")
    return ", ".join(parts)


def _distinct(data: Dataset, name: str, rows: Rows) -> Iterator[int]:
    if name in data.tables:
        yield from np.unique(data.tables[name][rows]).tolist()


def _how_many(windows: Windows, copy: Array) -> str:
    n, n_copies, n_uncovered = len(windows.coords), int(np.sum(copy > 0)), windows.n_uncovered
    counts = f"{n:,} patch{'es' * (n != 1)}"
    if n_copies:
        counts = f"{n_copies:,} copies of {counts}" if n_copies == len(copy) else f"{counts} and {n_copies:,} copies"
    share = n_uncovered / (windows.image.width * windows.image.height)
    covered = f"{n_uncovered:,} px never covered ({share:.1%})" if n_uncovered else "all px covered"
    return f"{counts}, {covered}"
