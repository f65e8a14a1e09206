"""Keras' ImageDataGenerator for one patch: one affine warp with one interpolation, channel shift, flips, brightness.

For given parameters the pixels are those of keras 3.15.1 (keras/src/legacy/preprocessing/image.py: `apply_transform`),
to 1e-5 on floats from 0 to 1 and to 1 on integers. Where Keras is wrong we are not:

- `width_shift_range` moves columns and `height_shift_range` rows; Keras swaps them (keras#17398).
- Patches turn about their centre; Keras' centre is right on squares only.
- Brightness multiplies. Keras goes through an 8-bit image, which leaves nothing of a float image from 0 to 1 and little
  of a 16-bit one. On uint8 we do as Keras, its truncation included.
- More than four channels, and two, can be made brighter too. Of four the last is taken for alpha, as Keras does.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from patchcli.errors import UsageError
from patchcli.keras_ranges import FillMode, KerasRanges, Shift
from patchcli.seeding import Streams

Array = npt.NDArray[Any]
Interpolation = Literal["linear", "nearest"]

_BORDERS: Final = {"nearest": cv2.BORDER_REPLICATE, "reflect": cv2.BORDER_REFLECT, "constant": cv2.BORDER_REPLICATE}
_LEVELS: Final = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}
_REACH: Final = 4096  # px: cv2's float32 coordinates are good to 0.1 of 255 levels up to here, measured on white noise
_STRIP: Final = 4096  # px that are interpolated at once: float64 of them stays in the second-level cache


class KerasDraw(NamedTuple):
    """What was drawn for one patch; the warp's parameters are those of Keras' `apply_affine_transform`.

    Attributes
    ----------
    theta, shear : float
        Degrees.
    tx, ty : float
        Columns and rows, px, in the patch's frame after the rotation.
    zx, zy : float
        Factors of columns and rows; above 1 shows more of the scene.
    flip_horizontal, flip_vertical : bool
    channel_shift : float or None
        Pixel values.
    brightness : float or None
        Factor.
    """

    theta: float = 0.0
    tx: float = 0.0
    ty: float = 0.0
    shear: float = 0.0
    zx: float = 1.0
    zy: float = 1.0
    flip_horizontal: bool = False
    flip_vertical: bool = False
    channel_shift: float | None = None
    brightness: float | None = None


class KerasTransform:
    """Draws from Keras' distributions and applies as Keras does: a `Transform` of patchcli/pipeline.py.

    Parameters
    ----------
    ranges : KerasRanges
    streams : Streams
        Its `random` is drawn from, twelve numbers for each patch whatever the ranges are: a further range changes
        nothing of what the others and later transforms draw.
    shape : (int, int, int)
        Height, width, channels of every patch.
    dtype : dtype
        uint8, uint16 or float32.

    Raises
    ------
    UsageError
        When the ranges do not fit the patches: a shift as large as the patch, a `cval` that the dtype cannot hold.
    """

    p: float = 1.0

    def __init__(
        self, ranges: KerasRanges, streams: Streams, shape: tuple[int, int, int], dtype: npt.DTypeLike
    ) -> None:
        self.ranges = ranges
        self._random = streams.random.random
        self._dtype = np.dtype(dtype)
        if self._dtype not in (*_LEVELS, np.dtype(np.float32)):
            raise UsageError(f"patches are {self._dtype}: expected uint8, uint16 or float32")
        most = _LEVELS.get(self._dtype)
        if most is not None and not 0 <= ranges.cval <= most:
            raise UsageError(f"cval is {ranges.cval:g}: expected 0 to {most:g}, for patches are {self._dtype}")
        self._width_shift = _in_px(ranges.width_shift_range, shape[1], name="width_shift_range", side="wide")
        self._height_shift = _in_px(ranges.height_shift_range, shape[0], name="height_shift_range", side="high")

    def draw(self, image: Array) -> KerasDraw:  # noqa: ARG002 - nothing depends on the patch
        """Draw from Keras' distributions (`get_random_transform`); `image` is not looked at."""
        ranges, random = self.ranges, self._random
        # all are drawn in any case, and with random() alone: half the cost of uniform()
        a, b, c, d, e, f = random(), random(), random(), random(), random(), random()
        g, h, i, j, k, m = random(), random(), random(), random(), random(), random()
        low, high = ranges.zoom_range
        light = ranges.brightness_range
        return KerasDraw(
            theta=(2 * a - 1) * ranges.rotation_range,
            tx=_shifted(self._width_shift, b, c),
            ty=_shifted(self._height_shift, d, e),
            shear=(2 * f - 1) * ranges.shear_range,
            zx=low + (high - low) * g,
            zy=low + (high - low) * h,
            flip_horizontal=ranges.horizontal_flip and i < 0.5,
            flip_vertical=ranges.vertical_flip and j < 0.5,
            channel_shift=(2 * k - 1) * ranges.channel_shift_range if ranges.channel_shift_range else None,
            brightness=None if light is None else light[0] + (light[1] - light[0]) * m,
        )

    def apply(self, image: Array, drawn: KerasDraw) -> Array:
        """Warp, shift channels, flip and brighten.

        Parameters
        ----------
        image : array (H, W, C)
            Not written to.

        Returns
        -------
        array (H, W, C)
            Of the same dtype, C-contiguous; `image` itself when nothing was drawn that changes it.
        """
        image = np.ascontiguousarray(image)
        lit = drawn.channel_shift is not None or drawn.brightness is not None
        height, width, _ = image.shape
        if drawn[:6] == (0, 0, 0, 0, 1, 1):
            return _lit(_flipped(image, drawn), drawn, image.dtype)
        matrix = affine_matrix(drawn, (height, width))
        source = image.astype(np.float32) if lit else image
        # a truncation follows, and a factor: what cv2 gives as 199.99999 must be the 200 that it is
        exact = drawn.brightness is not None or image.dtype != np.uint8
        ranges = self.ranges
        moved = warp(source, matrix, fill_mode=ranges.fill_mode, cval=ranges.cval, exact=exact)
        return _lit(moved, drawn, image.dtype)


def affine_matrix(drawn: KerasDraw, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Where each pixel of the result comes from: `(x, y) = matrix @ (column, row, 1)`, flips included.

    Keras' product C . R(theta) . T(tx, ty) . S(shear) . Z(zx, zy) . 1/C, multiplied out, with C the translation to the
    centre ((w - 1) / 2, (h - 1) / 2), R = [[cos, -sin], [sin, cos]] and S = [[1, -sin], [0, cos]]. A flip after the
    warp is a negative zoom within it.

    Parameters
    ----------
    size : (int, int)
        Height and width, px.

    Returns
    -------
    float64 (2, 3)
    """
    turn, lean = math.radians(drawn.theta), math.radians(drawn.shear)
    zx = -drawn.zx if drawn.flip_horizontal else drawn.zx
    zy = -drawn.zy if drawn.flip_vertical else drawn.zy
    cos, sin = math.cos(turn), math.sin(turn)
    xx, xy = cos * zx, -math.sin(turn + lean) * zy
    yx, yy = sin * zx, math.cos(turn + lean) * zy
    cx, cy = (size[1] - 1) / 2, (size[0] - 1) / 2
    x = cx - xx * cx - xy * cy + cos * drawn.tx - sin * drawn.ty
    y = cy - yx * cx - yy * cy + sin * drawn.tx + cos * drawn.ty
    return np.array([[xx, xy, x], [yx, yy, y]])


def warp(
    image: Array,
    matrix: npt.NDArray[np.float64],
    *,
    fill_mode: FillMode = "nearest",
    cval: float = 0.0,
    interpolation: Interpolation = "linear",
    exact: bool = True,
) -> Array:
    """Take each pixel from where `matrix` says, interpolated between its four neighbours.

    Equal to `scipy.ndimage.affine_transform` channel by channel (orders 1 and 0), which Keras uses, in all fill modes.

    Parameters
    ----------
    image : array (H, W, C)
        C-contiguous.
    matrix : float64 (2, 3)
        Of `affine_matrix`.
    exact : bool
        False: cv2 may be used where it is right to 0.1 of 255 levels; five times as fast. Its coordinates are float32,
        which on white noise of 256 px makes a difference of 3.5e-5 of full scale: two levels of uint16.

    Returns
    -------
    array (H, W, C)
        Of the same dtype; integers are rounded.
    """
    near = not exact and interpolation == "linear" and fill_mode in _BORDERS
    if not (near and _reach(image, matrix) < _REACH and _is_cv2_exact()):
        return _warp_exactly(image, matrix, fill_mode=fill_mode, cval=cval, interpolation=interpolation)
    out = _warp_by_cv2(image, matrix, _BORDERS[fill_mode])
    if fill_mode == "constant":  # cv2 would interpolate between border and cval, scipy does not
        height, width, _ = image.shape
        x, y = _sources(matrix, 0, height, width)
        out[_is_outside(x, y, height, width)] = _rounded(np.array(cval), image.dtype)
    return out


@functools.cache
def _is_cv2_exact() -> bool:
    """Whether this cv2 interpolates at the very coordinates: before 5.0, and in some builds, to 1/32 px only."""
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 4), np.uint8)
    matrix = affine_matrix(KerasDraw(theta=20.0, tx=3.3, zx=0.9), (32, 32))
    right = _warp_exactly(noise, matrix, fill_mode="nearest", cval=0, interpolation="linear").astype(np.int16)
    return all(
        np.abs(_warp_by_cv2(noise[..., :n], matrix, cv2.BORDER_REPLICATE) - right[..., :n]).max() <= 1
        for n in (1, 3, 4)
    )


def _warp_by_cv2(image: Array, matrix: npt.NDArray[np.float64], border: int) -> Array:
    height, width, channels = image.shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if channels in (1, 3, 4):
        warped = cv2.warpAffine(np.ascontiguousarray(image), matrix, (width, height), flags=flags, borderMode=border)
        return warped.reshape(image.shape)
    # cv2 takes at most four channels, and two (also of 5.0) only by its older way
    first = 4 if channels > 4 else 1
    parts = image[..., :first], image[..., first:]
    return np.concatenate([_warp_by_cv2(part, matrix, border) for part in parts], axis=2)


def _reach(image: Array, matrix: npt.NDArray[np.float64]) -> float:
    """Largest coordinate that can occur, px."""
    height, width, _ = image.shape
    reach: float = max(abs(xx) * width + abs(xy) * height + abs(x) for xx, xy, x in matrix.tolist())
    return reach


def _warp_exactly(
    image: Array, matrix: npt.NDArray[np.float64], *, fill_mode: FillMode, cval: float, interpolation: Interpolation
) -> Array:
    height, width, channels = image.shape
    out = np.empty_like(image)
    flat = image.reshape(height * width, channels)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        strip = out[top : top + rows]
        x, y = _sources(matrix, top, len(strip), width)
        outside = _is_outside(x, y, height, width) if fill_mode == "constant" else None
        x, y = _folded(x, width, fill_mode), _folded(y, height, fill_mode)
        if interpolation == "nearest":
            taken = flat.take(np.floor(y + 0.5).astype(np.intp) * width + np.floor(x + 0.5).astype(np.intp), 0)
        else:
            taken = _interpolated(flat, x, y, (height, width))
        if outside is not None:
            taken[outside] = cval
        strip[...] = _rounded(taken, image.dtype)
    return out


def _sources(matrix: npt.NDArray[np.float64], top: int, rows: int, width: int) -> tuple[Array, Array]:
    """Coordinates x and y that rows from `top` on come from, each float64 (rows, width)."""
    (xx, xy, x), (yx, yy, y) = matrix.tolist()
    across = np.arange(width, dtype=np.float64)
    down = np.arange(top, top + rows, dtype=np.float64)[:, np.newaxis]
    return xx * across + (xy * down + x), yx * across + (yy * down + y)


def _is_outside(x: Array, y: Array, height: int, width: int) -> Array:
    return (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)


def _folded(at: Array, n: int, fill_mode: FillMode) -> Array:
    """Coordinates along an axis of `n` px brought into it, from 0 to n - 1, as scipy does (ni_interpolation.c)."""
    if fill_mode == "reflect":
        around = (at + 0.5) % (2 * n)
        at = np.where((at < 0) | (at > n - 1), np.minimum(around, 2 * n - around) - 0.5, at)
    elif fill_mode == "wrap" and n > 1:
        period = n - 1
        at = np.where(at < 0, at + period * (np.floor(-at / period) + 1), at)
        at = np.where(at > period, at - period * np.floor(at / period), at)
    return np.minimum(np.maximum(at, 0), n - 1)


def _interpolated(flat: Array, x: Array, y: Array, size: tuple[int, int]) -> Array:
    """Pixels (H * W, C) at coordinates within the image, float64 (*shape of x, C)."""
    height, width = size
    left, up = np.minimum(x.astype(np.intp), max(width - 2, 0)), np.minimum(y.astype(np.intp), max(height - 2, 0))
    right, down = (1 if width > 1 else 0), (width if height > 1 else 0)
    x, y = (x - left)[..., np.newaxis], (y - up)[..., np.newaxis]
    index = up * width + left
    upper, lower = (_between(flat, at, right, x) for at in (index, index + down))
    lower -= upper
    lower *= y
    lower += upper
    return lower


def _between(flat: Array, index: Array, step: int, part: Array) -> Array:
    here = flat.take(index, 0).astype(np.float64)
    there = flat.take(index + step, 0).astype(np.float64)
    there -= here
    there *= part
    there += here
    return there


def _flipped(image: Array, drawn: KerasDraw) -> Array:
    if drawn.flip_horizontal:
        code = -1 if drawn.flip_vertical else 1
    elif drawn.flip_vertical:
        code = 0
    else:
        return image
    flipped: Array = cv2.flip(image, code).reshape(image.shape)
    return flipped


def _lit(image: Array, drawn: KerasDraw, dtype: np.dtype[Any]) -> Array:
    """Channel shift and brightness of an image that was warped to float32, or not warped at all, as `dtype`."""
    if drawn.channel_shift is None and drawn.brightness is None:
        return image
    by_table = image.dtype == np.uint8  # there are but 256 values to do
    values = np.arange(256, dtype=np.float32) if by_table else image.astype(np.float32, copy=False)
    if drawn.channel_shift is not None:
        values = np.minimum(np.maximum(values + drawn.channel_shift, image.min()), image.max())
    lit = _brightened(values, drawn.brightness, dtype)
    if by_table:
        lit = cv2.LUT(image.reshape(len(image), -1), lit).reshape(image.shape)
    if drawn.brightness is not None and image.shape[2] == 4:
        alpha = _brightened(values, None, dtype)
        lit[..., 3] = alpha[image[..., 3]] if by_table else alpha[..., 3]
    return lit


def _brightened(values: Array, factor: float | None, dtype: np.dtype[Any]) -> Array:
    if factor is None:
        return _rounded(values, dtype)
    if dtype == np.uint8:  # PIL's ImageEnhance.Brightness: bytes times a float32, which truncates twice
        return np.minimum(np.trunc(values) * np.float32(factor), 255).astype(np.uint8)
    return _rounded(np.minimum(values * np.float32(factor), _LEVELS.get(dtype, np.inf)), dtype)


def _rounded(values: Array, dtype: np.dtype[Any]) -> Array:
    return (np.rint(values) if dtype.kind == "u" else values).astype(dtype, copy=False)


def _in_px(shift: Shift, size: int, *, name: str, side: str) -> float | Sequence[float]:
    """A shift's largest size or its choices, px, along a side of `size` px."""
    choices: Sequence[float] = (shift,) if isinstance(shift, float) else shift
    if max(choices) < 1:
        choices = [choice * size for choice in choices]
    if max(choices) >= size:
        raise UsageError(
            f"{name} is up to {max(choices):g} px: expected less than the patch, which is {size} px {side}"
        )
    return choices[0] if isinstance(shift, float) else choices


def _shifted(shift: float | Sequence[float], first: float, second: float) -> float:
    """A shift, px, from two numbers from 0 to below 1."""
    if isinstance(shift, float):
        return (2 * first - 1) * shift
    size = float(shift[int(first * len(shift))])
    return size if second < 0.5 else -size
