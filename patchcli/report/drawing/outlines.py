"""Windows drawn on an image: outlines, what no window covers, and what they hold beyond its border. Arrays in and out.

Outlines of all windows would be a mesh once they overlap. So only those of a tiling are drawn, side by side, with a dot
at the centre of every window, and one window with the next along x and y in another colour shows the stride.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from patchcli.io.canvas import Color
from patchcli.report.drawing.covered import Windows
from patchcli.specs import Size

Array = npt.NDArray[Any]

LINE: Final[Color] = (255, 255, 255)
ONE: Final[Color] = (255, 196, 0)
OPEN: Final[Color] = (214, 69, 35)
PAD: Final[Color] = (64, 110, 180)
BLANK: Final[Color] = (206, 208, 212)  # where px are not stored

_LEAST_OUTLINE: Final = 5  # px of a drawn window; smaller ones are not outlined
_LEAST_OWN_LINE: Final = 64  # smaller ones share fainter lines with their neighbours
_LEAST_STEP: Final = 14  # px between dots
_SHADE: Final = 0.45  # of the ink beside white lines
_FAINT: Final = 0.6
_BRIGHT: Final = 190
_DARK: Final = 110
_HATCH: Final = 8  # px from line to line
_FADED: Final = 0.55  # how far hatched px are faded to paper


def draw_windows(picture: Array, windows: Windows, stride: Size) -> set[str]:
    """Draw windows on the picture of an image, in place.

    Parameters
    ----------
    picture : uint8 (height, width, 3)
        Shows `windows.extent`, at any scale.
    windows : Windows
    stride : Size
        Of the grid they come from, px.

    Returns
    -------
    set of str
        What is to be seen, of `patch dot one open pad`.
    """
    size = Size(picture.shape[1], picture.shape[0])
    seen = set()
    for name, mask in (("open", windows.uncovered(size)), ("pad", windows.padded(size))):
        if mask.any():
            hatch(picture, mask, name)
            seen.add(name)
    scale = size.width / windows.extent.width, size.height / windows.extent.height
    side = min(windows.patch.width * scale[0], windows.patch.height * scale[1])
    if side < _LEAST_OUTLINE or not len(windows.coords):
        return seen
    corners = _corners(windows, size)
    seen.add("patch")
    if side < _LEAST_OWN_LINE:
        _mesh(picture, corners[windows.tiling])
    else:
        for corner in corners[windows.tiling].tolist():
            outline(picture, *corner)
    if not windows.overlap:
        return seen
    if min(stride.width * scale[0], stride.height * scale[1]) >= _LEAST_STEP:
        _dots(picture, corners)
        seen.add("dot")
    if stride.width < windows.patch.width or stride.height < windows.patch.height:
        for number, row in enumerate(_one_and_next(windows)):
            outline(picture, *corners[row].tolist(), color=ONE, width=1 if number else 2, dashed=number > 0)
        seen.add("one")
    return seen


def swatch(name: str, size: Size) -> Array:
    """A sample of what `draw_windows` names, for a legend: uint8 (height, width, 3)."""
    gray = (232, 233, 236) if name == "pad" else BLANK if name == "blank" else (138, 141, 146)
    picture = np.full((size.height, size.width, 3), gray, np.uint8)
    middle = size.width // 2
    if name in ("open", "pad"):
        hatch(picture, np.ones(picture.shape[:2], bool), name)
    elif name == "patch":
        outline(picture, 0, 0, middle, size.height)
        outline(picture, middle, 0, size.width, size.height)
    elif name == "one":
        outline(picture, 6, 0, size.width, size.height, color=ONE, dashed=True)
        outline(picture, 0, 0, size.width - 6, size.height, color=ONE, width=2)
    elif name == "dot":
        _dots(picture, np.array([[0, 0, size.width, size.height]]))
    return picture


def hatch(picture: Array, mask: npt.NDArray[np.bool_], name: str) -> None:
    """Fade some px and draw lines over them: `open` falling to the left, `pad` to the right."""
    y, x = np.nonzero(mask)
    color, along = (OPEN, x + y) if name == "open" else (PAD, x - y)
    tint = 255 - (255 - np.array(color, float)) * 0.12
    picture[y, x] = picture[y, x] * (1 - _FADED) + tint * _FADED + 0.5
    on_line = along % _HATCH < 2
    picture[y[on_line], x[on_line]] = color


def outline(
    picture: Array,
    left: int,
    top: int,
    right: int,
    bottom: int,
    *,
    color: Color = LINE,
    width: int = 1,
    dashed: bool = False,
) -> None:
    """A rectangle's own border px, and a darker line within so that it is seen on white too."""
    if not dashed:
        inner = width
        _ring(picture, left + inner, top + inner, right - inner, bottom - inner, None, 1)
    for number in range(width):
        _ring(picture, left + number, top + number, right - number, bottom - number, color, 2 if dashed else 1)


def _ring(picture: Array, left: int, top: int, right: int, bottom: int, color: Color | None, part: int) -> None:
    """The px of a rectangle's border; `right` and `bottom` are one past the last. `color` None: darker."""
    if right <= left or bottom <= top:
        return
    x, y = np.arange(left, right), np.arange(top, bottom)
    if part > 1:
        x, y = x[x % 6 < 4], y[y % 6 < 4]
    for ys, xs in ((top, x), (bottom - 1, x), (y, left), (y, right - 1)):
        picture[ys, xs] = picture[ys, xs] * (1 - _SHADE) if color is None else color


def _mesh(picture: Array, corners: Array) -> None:
    """Faint lines around windows, light on dark and dark on light, each px of them once: neighbours share them."""
    height, width = picture.shape[:2]
    on_line = np.zeros((height, width), bool)
    for left, top, right, bottom in corners.tolist():
        right, bottom = min(right, width - 1), min(bottom, height - 1)
        on_line[top : bottom + 1, (left, right)] = True
        on_line[(top, bottom), left : right + 1] = True
    y, x = np.nonzero(on_line)
    below = picture[y, x]
    ink = np.where(below.mean(axis=1, keepdims=True) > _BRIGHT, _DARK, LINE[0])
    picture[y, x] = below * (1 - _FAINT) + ink * _FAINT + 0.5


def _dots(picture: Array, corners: Array) -> None:
    """A dot at the centre of each window."""
    x, y = (corners[:, 0] + corners[:, 2]) // 2, (corners[:, 1] + corners[:, 3]) // 2
    for reach, color in ((2, (40, 40, 44)), (1, LINE)):
        for dx in range(-reach, reach):
            for dy in range(-reach, reach):
                picture[y + dy, x + dx] = color


def _corners(windows: Windows, size: Size) -> Array:
    """Left, top, right and bottom of each window as drawn, int64 (n, 4)."""
    starts = windows.coords.astype(np.int64)
    places = np.concatenate([starts, starts + np.array(windows.patch)], axis=1)
    scale = np.array([size.width, size.height] * 2), np.array([windows.extent.width, windows.extent.height] * 2)
    corners: Array = (2 * places * scale[0] + scale[1]) // (2 * scale[1])  # rounded
    return corners


def _one_and_next(windows: Windows) -> list[int]:
    """The first window, and its next neighbours along x and along y, where there are any."""
    x, y = windows.coords[:, 0], windows.coords[:, 1]
    first = int(windows.tiling[0])
    found = [first]
    for along, across in ((x, y), (y, x)):
        later = np.flatnonzero((across == across[first]) & (along > along[first]))
        if len(later):
            found.append(int(later[np.argmin(along[later])]))
    return found
