"""The arguments of Keras' ImageDataGenerator that make sense on patches, as users write them and as one meaning.

Names, defaults and meanings are those of keras 3.15.1 (keras/src/legacy/preprocessing/image.py). Two differ: widths
move columns and heights rows (Keras swaps them: keras#17398), and a list of shifts is px when any of it is 1 or more in
size (Keras looks at the largest value only, so that it takes [-4, 0] for fractions of the patch).
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from patchcli.errors import UsageError

FillMode = Literal["nearest", "reflect", "constant", "wrap"]
Pair = tuple[float, float]
Shift = float | range | tuple[float, ...]

KERAS: Final = "Keras"
"""Name of the step of a pipeline that holds these ranges."""

LARGEST: Final = 1e9
"""No number of any range may be larger in size."""

_NUMBER: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_BETWEEN: Final = re.compile(r"\s*,\s*|\s+")
_WHOLE: Final = re.compile(r"[+-]?\d+", re.ASCII)


@dataclass(frozen=True)
class KerasRanges:
    """What parameters are drawn from; made by `KerasRanges.of`, which reads, checks and brings to one form.

    Attributes
    ----------
    rotation_range : float
        Degrees, drawn evenly from -r to r.
    width_shift_range, height_shift_range : float, range or tuple of float
        Columns and rows. A float (below 1 a fraction of the patch, from 1 on px): drawn evenly from -s to s. `range(n)`
        (written as the whole number n): whole px from -(n - 1) to n - 1, 0 twice as likely as each other. A tuple
        (written as a list): one of the sizes with a random sign; ascending, fractions when all are below 1.
    shear_range : float
        Degrees, drawn evenly from -s to s. The documentation of Keras up to 2.0.8 said radians, which is what old
        tutorials mean by 0.2: `0.2rad`.
    zoom_range : (float, float)
        Factors, drawn evenly and for each axis on its own; above 1 shows more of the scene, that is, smaller. Written
        as a pair, or as z for (1 - z, 1 + z).
    channel_shift_range : float
        Pixel values, drawn evenly from -c to c, one for all channels.
    brightness_range : (float, float) or None
        Factors, drawn evenly; None: left as it is.
    horizontal_flip, vertical_flip : bool
        Each with probability 1/2.
    fill_mode : {"nearest", "reflect", "constant", "wrap"}
        What lies outside the patch: `aaa|abcd|ddd`, `cba|abcd|dcb`, `cval`, or Keras' (scipy's) `wrap`, which has
        period w - 1, so that first and last pixel are one.
    cval : float
        Pixel value for `constant`.
    interpolation_order : {1, 0}
        Linear, or the nearest px as it is. Keras' splines of higher order overshoot and are not offered.
    """

    rotation_range: float = 0.0
    width_shift_range: Shift = 0.0
    height_shift_range: Shift = 0.0
    shear_range: float = 0.0
    zoom_range: Pair = (1.0, 1.0)
    channel_shift_range: float = 0.0
    brightness_range: Pair | None = None
    horizontal_flip: bool = False
    vertical_flip: bool = False
    fill_mode: FillMode = "nearest"
    cval: float = 0.0
    interpolation_order: int = 1

    @classmethod
    def of(cls, **values: object) -> KerasRanges:
        """Read ranges by Keras' names, as text of a command line or as values of a file; None is the default.

        What has no effect is left out: `fill_mode` without a warp, `cval` without `constant`, brightness of 1 to 1.

        Raises
        ------
        UsageError
            Names the argument, the value found and what was expected.

        Examples
        --------
        >>> KerasRanges.of(shear_range="0.2rad", zoom_range=0.2, width_shift_range="-4,0,4").settings()
        {'width_shift_range': [0.0, 4.0, 4.0], 'shear_range': 11.459155902616466, 'zoom_range': [0.8, 1.2]}
        """
        read: dict[str, Any] = {}
        for name, value in values.items():
            if name not in _READERS:
                near = difflib.get_close_matches(name, _READERS, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_READERS)}"
                raise UsageError(f"{name} is no argument of Keras' ranges: {hint}")
            if value is not None:
                read[name] = _READERS[name](name, value)
        ranges = cls(**read)
        if not ranges.is_warping:
            return replace(ranges, fill_mode="nearest", cval=0.0, interpolation_order=1)
        return ranges if ranges.fill_mode == "constant" else replace(ranges, cval=0.0)

    @staticmethod
    def names() -> tuple[str, ...]:
        """The arguments, in the order of the attributes."""
        return tuple(_READERS)

    @property
    def is_warping(self) -> bool:
        """Whether anything else than flips moves pixels."""
        shifts = (self.width_shift_range, self.height_shift_range)
        return bool(self.rotation_range or self.shear_range or shifts != (0.0, 0.0) or self.zoom_range != (1.0, 1.0))

    @property
    def is_nothing(self) -> bool:
        """Whether patches would stay as they are."""
        return self == KerasRanges()

    def settings(self) -> dict[str, Any]:
        """What differs from the defaults, as plain JSON values that `of` reads back.

        Ranges of one meaning have one form. Compare forms as JSON text: `3` and `3.0` px differ, while Python says that
        they are equal.
        """
        said = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {name: _plain(value) for name, (value, default) in said.items() if value != default}


def _plain(value: Any) -> Any:
    if isinstance(value, range):
        return len(value)
    return list(value) if isinstance(value, tuple) else value


def _read_rotation(name: str, value: object) -> float:
    return _between(name, value, 0, 360, "degrees from 0 to 360")


def _read_shear(name: str, value: object) -> float:
    expected = "degrees from 0 to below 90, or radians such as 0.2rad"
    match = re.fullmatch(r"(.*?)\s*(deg|rad)", value.strip()) if isinstance(value, str) else None
    size = float(_number(name, match[1] if match else value, expected, found=value))
    degrees = math.degrees(size) if match and match[2] == "rad" else size
    if not 0 <= degrees < 90:
        raise UsageError(f"{name} is {value!r}: expected {expected}")
    return degrees or 0.0


def _read_shift(name: str, value: object) -> Shift:
    expected = "a fraction below 1, px (a whole number: whole px; 3.0: any up to 3), or a list such as -4,0,4"
    several = _several(value)
    if several is not None:
        if not several:
            raise UsageError(f"{name} is {value!r}: expected {expected}")
        return _choices([abs(float(_number(name, one, expected, found=value))) for one in several])
    size = _number(name, value, expected)
    if size < 0:
        raise UsageError(f"{name} is {value!r}: expected {expected}; 0 or more, for the sign is drawn")
    if isinstance(size, int) and size == 1:  # range(1) in Keras: it shifts nothing and does not say so
        raise UsageError(f"{name} is 1: whole px below 1 are none; say 1.0 for up to 1 px, or 2 for whole px up to 1")
    if isinstance(size, int):
        return range(size) if size else 0.0
    return size or 0.0


def _choices(sizes: Sequence[float]) -> Shift:
    """Sizes without their signs, which are drawn, and as few as have the same probabilities."""
    times = Counter(size or 0.0 for size in sizes)
    if set(times) == {0.0}:
        return 0.0
    common = math.gcd(*times.values())
    return tuple(size for size in sorted(times) for _ in range(times[size] // common))


def _read_zoom(name: str, value: object) -> Pair:
    expected = "a number from 0 to below 1, or two factors above 0 and up to 100 such as 0.8,1.2"
    if _several(value) is not None:
        low, high = _pair(name, value, expected)
        if low <= 0 or high > 100:
            raise UsageError(f"{name} is {value!r}: expected {expected}")
        return low, high
    zoom = _number(name, value, expected)
    if not 0 <= zoom < 1:
        raise UsageError(
            f"{name} is {value!r}, which gives factors from {1 - zoom:g} to {1 + zoom:g}: expected {expected}"
        )
    exact = Decimal(repr(zoom))  # in binary 1 - 0.9 is not 0.1
    return float(1 - exact), float(1 + exact)


def _read_channel_shift(name: str, value: object) -> float:
    return _between(name, value, 0, LARGEST, "pixel values, 0 or more")


def _read_brightness(name: str, value: object) -> Pair | None:
    expected = "two factors from 0 to 1000 such as 0.8,1.2"
    low, high = _pair(name, value, expected)
    if low < 0 or high > 1000:
        raise UsageError(f"{name} is {value!r}: expected {expected}")
    return None if (low, high) == (1.0, 1.0) else (low, high)


def _read_flip(name: str, value: object) -> bool:
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if not isinstance(value, bool):
        raise UsageError(f"{name} is {value!r}: expected true or false")
    return value


def _read_fill_mode(name: str, value: object) -> str:
    if value not in get_args(FillMode):
        raise UsageError(f"{name} is {value!r}: expected one of {', '.join(get_args(FillMode))}")
    return str(value)


def _read_cval(name: str, value: object) -> float:
    return _between(name, value, -LARGEST, LARGEST, "a pixel value")


def _read_order(name: str, value: object) -> int:
    order = _number(name, value, "0 or 1")
    if order not in (0, 1):
        raise UsageError(f"{name} is {value!r}: expected 1, linear, or 0, nearest neighbour; splines are not offered")
    return int(order)


def _between(name: str, value: object, least: float, most: float, expected: str) -> float:
    number = float(_number(name, value, expected))
    if not least <= number <= most:
        raise UsageError(f"{name} is {value!r}: expected {expected}")
    return number or 0.0  # not -0.0


def _pair(name: str, value: object, expected: str) -> Pair:
    several = _several(value)
    if several is None or len(several) != 2:
        n = "1 value" if several is None else f"{len(several)} values"
        raise UsageError(f"{name} is {value!r}, {n}: expected {expected}")
    low, high = sorted(float(_number(name, one, expected, found=value)) for one in several)
    return low or 0.0, high or 0.0


def _several(value: object) -> Sequence[object] | None:
    """The values of a list, or of text with commas or blanks between them; None where there is but one value."""
    if isinstance(value, str) and _BETWEEN.search(value.strip()):
        return _BETWEEN.split(value.strip().strip("[]()").strip())
    return value if isinstance(value, (list, tuple)) else None


def _number(name: str, value: object, expected: str, *, found: object = None) -> int | float:
    """A finite number: int where it was written as a whole number, float otherwise; `found` is the whole argument."""
    number: int | float = math.nan
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        text = value.strip()
        # int() refuses more than 4,300 digits
        number = int(text) if _WHOLE.fullmatch(text) and len(text) < 20 else float(text)
    elif not isinstance(value, bool) and isinstance(value, Integral):
        number = int(value)
    elif not isinstance(value, bool) and isinstance(value, Real):
        number = float(value)
    if not abs(number) <= LARGEST:
        found = value if found is None else found
        too_large = f", larger than {LARGEST:g}" if abs(number) > LARGEST else ""
        raise UsageError(f"{name} is {found!r}{too_large}: expected {expected}")
    return number


_READERS: Final[Mapping[str, Callable[[str, object], object]]] = MappingProxyType(
    {
        "rotation_range": _read_rotation,
        "width_shift_range": _read_shift,
        "height_shift_range": _read_shift,
        "shear_range": _read_shear,
        "zoom_range": _read_zoom,
        "channel_shift_range": _read_channel_shift,
        "brightness_range": _read_brightness,
        "horizontal_flip": _read_flip,
        "vertical_flip": _read_flip,
        "fill_mode": _read_fill_mode,
        "cval": _read_cval,
        "interpolation_order": _read_order,
    }
)
