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

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from patchcli.errors import UsageError
from patchcli.pipeline.keras_ranges import KerasRanges, Shift
from patchcli.pipeline.seeding import Streams
from patchcli.pipeline.tree import Array
from patchcli.pipeline.warp import rounded, warp

_LEVELS: Final = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}


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
    """Draws from Keras' distributions and applies as Keras does: a `Transform` of patchcli/pipeline/tree.py.

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
        low, high = ranges.zoom_range
        # random() alone costs half as much as uniform(); all twelve are called whether their ranges are used or not
        light, brightness = random(), ranges.brightness_range
        return KerasDraw(
            theta=(2 * random() - 1) * ranges.rotation_range,
            tx=_shifted(self._width_shift, random(), random()),
            ty=_shifted(self._height_shift, random(), random()),
            shear=(2 * random() - 1) * ranges.shear_range,
            zx=low + (high - low) * random(),
            zy=low + (high - low) * random(),
            flip_horizontal=random() < 0.5 and ranges.horizontal_flip,
            flip_vertical=random() < 0.5 and ranges.vertical_flip,
            channel_shift=(2 * random() - 1) * ranges.channel_shift_range or None,
            brightness=brightness and brightness[0] + (brightness[1] - brightness[0]) * light,
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
        moved = warp(
            source,
            matrix,
            fill_mode=ranges.fill_mode,
            cval=ranges.cval,
            interpolation="linear" if ranges.interpolation_order else "nearest",
            exact=exact,
        )
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
    # in the order in which Keras' matrices add it: a shift of -1e-17 px moves no border out of the patch
    x = cx + (cos * drawn.tx - sin * drawn.ty) - (xx * cx + xy * cy)
    y = cy + (sin * drawn.tx + cos * drawn.ty) - (yx * cx + yy * cy)
    return np.array([[xx, xy, x], [yx, yy, y]])


def _flipped(image: Array, drawn: KerasDraw) -> Array:
    if drawn.flip_horizontal:
        code = -1 if drawn.flip_vertical else 1
    elif drawn.flip_vertical:
        code = 0
    else:
        return image
    flipped: Array = cv2.flip(image, code).reshape(image.shape)
    return flipped


@np.errstate(over="ignore", invalid="ignore")
def _lit(image: Array, drawn: KerasDraw, dtype: np.dtype[Any]) -> Array:
    """Channel shift and brightness of an image that was warped to float32, or not warped at all, as `dtype`."""
    if drawn.channel_shift is None and drawn.brightness is None:
        return image
    by_table = image.dtype == np.uint8  # there are but 256 values to do
    values = np.arange(256, dtype=np.float32) if by_table else image.astype(np.float32, copy=False)
    if drawn.channel_shift is not None:
        values = values + drawn.channel_shift
        np.maximum(values, image.min(), out=values)  # np.clip takes twice as long
        np.minimum(values, image.max(), out=values)
    lit = _brightened(values, drawn.brightness, dtype)
    if by_table:
        lit = cv2.LUT(image.reshape(len(image), -1), lit).reshape(image.shape)
    if drawn.brightness is not None and image.shape[2] == 4:
        alpha = _brightened(values, None, dtype)
        lit[..., 3] = alpha[image[..., 3]] if by_table else alpha[..., 3]
    return lit


def _brightened(values: Array, factor: float | None, dtype: np.dtype[Any]) -> Array:
    if factor is None:
        return rounded(values, dtype)
    if dtype == np.uint8:  # PIL's ImageEnhance.Brightness: bytes times a float32, which truncates twice
        return np.minimum(np.trunc(values) * np.float32(factor), 255).astype(np.uint8)
    return rounded(np.minimum(values * np.float32(factor), _LEVELS.get(dtype, np.inf)), dtype)


def _in_px(shift: Shift, size: int, *, name: str, side: str) -> float | Sequence[float]:
    """A shift's largest size or its choices, px, along a side of `size` px."""
    largest: float = shift if isinstance(shift, float) else shift[-1]
    unit = size if largest < 1 else 1
    if largest * unit >= size:
        raise UsageError(f"{name} is up to {largest:g} px: expected less than the patch, which is {size} px {side}")
    if isinstance(shift, range):
        return shift
    return shift * unit if isinstance(shift, float) else [choice * unit for choice in shift]


def _shifted(shift: float | Sequence[float], first: float, second: float) -> float:
    """A shift, px, from two numbers from 0 to below 1."""
    if isinstance(shift, float):
        return (2 * first - 1) * shift
    size = float(shift[int(first * len(shift))])
    return size if second < 0.5 else -size
