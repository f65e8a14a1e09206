"""An affine warp whose pixels are scipy's, hence Keras', in all fill modes: by cv2 where that is as good, or by numpy.

Three times as fast as scipy by numpy, ten times by cv2; scipy itself is not needed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

from patchcli.pipeline.keras_ranges import FillMode
from patchcli.pipeline.tree import Array

Interpolation = Literal["linear", "nearest"]

_BORDERS: Final = {"nearest": cv2.BORDER_REPLICATE, "reflect": cv2.BORDER_REFLECT, "constant": cv2.BORDER_REPLICATE}
_REACH: Final = 4096  # px: cv2's float32 coordinates are good to 0.1 of 255 levels up to here, measured on white noise
_STRIP: Final = 4096  # px that are interpolated at once: float64 of them stays in the second-level cache


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
        Where each pixel of the result comes from: `(x, y) = matrix @ (column, row, 1)`.
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
        for top, strip in _strips(out):
            x, y = _sources(matrix, top, len(strip), width)
            strip[_is_outside(x, y, height, width)] = rounded(np.array(cval), image.dtype)
    return out


@functools.cache
def _is_cv2_exact() -> bool:
    """Whether this cv2 interpolates at the very coordinates: before 5.0 (4.12 was tried) to 1/32 px only."""
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 4)).astype(np.float32)
    matrix = np.array([[0.85, -0.34, 8.7], [0.31, 0.94, -2.9]])
    right = _warp_exactly(noise, matrix, fill_mode="nearest", cval=0, interpolation="linear")
    warped = [
        _warp_by_cv2(noise[..., :n].astype(dtype), matrix, cv2.BORDER_REPLICATE) - right[..., :n]
        for n in (1, 3, 4)
        for dtype in (np.uint8, np.float32)
    ]
    return all(float(np.abs(difference).max()) < 0.6 for difference in warped)


def _warp_by_cv2(image: Array, matrix: npt.NDArray[np.float64], border: int) -> Array:
    height, width, channels = image.shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if channels == 3 and image.dtype == np.uint8:  # the same px, in two thirds of the time, a fourth channel included
        padded = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2RGBA)
        warped = cv2.warpAffine(padded, matrix, (width, height), flags=flags, borderMode=border)
        return cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB)
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


@np.errstate(invalid="ignore")  # inf - inf, in silence as scipy
def _warp_exactly(
    image: Array, matrix: npt.NDArray[np.float64], *, fill_mode: FillMode, cval: float, interpolation: Interpolation
) -> Array:
    height, width, channels = image.shape
    out = np.empty_like(image)
    flat = image.reshape(height * width, channels)
    for top, strip in _strips(out):
        x, y = _sources(matrix, top, len(strip), width)
        outside = _is_outside(x, y, height, width) if fill_mode == "constant" else None
        x, y = _folded(x, width, fill_mode), _folded(y, height, fill_mode)
        if interpolation == "nearest":
            taken = flat.take(np.floor(y + 0.5).astype(np.intp) * width + np.floor(x + 0.5).astype(np.intp), 0)
        else:
            taken = _interpolated(flat, x, y, (height, width))
        if outside is not None:
            taken[outside] = cval
        strip[...] = rounded(taken, image.dtype)
    return out


def _strips(image: Array) -> Iterator[tuple[int, Array]]:
    """Views of as many rows as make `_STRIP` px, each with its first row."""
    rows = max(1, _STRIP // image.shape[1])
    for top in range(0, len(image), rows):
        yield top, image[top : top + rows]


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
    upper, lower = (_mixed(flat.take(at, 0), flat.take(at + right, 0), x) for at in (index, index + down))
    return _mixed(upper, lower, y)


def _mixed(first: Array, second: Array, part: Array) -> Array:
    """The weighted mean, float64, in place where the two are that already.

    Not `first + (second - first) * part`, one step less: it would make nan of inf and a number.
    """
    out, other = first.astype(np.float64, copy=False), second.astype(np.float64, copy=False)
    out *= 1 - part
    other *= part
    out += other
    return out


def rounded(values: Array, dtype: np.dtype[Any]) -> Array:
    """Values that the dtype can hold as that dtype: integers are rounded, halves to even."""
    return (np.rint(values) if dtype.kind == "u" else values).astype(dtype, copy=False)
