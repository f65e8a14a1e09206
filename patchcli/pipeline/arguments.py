"""Arguments of transforms as a user writes them: plain values, checked before albumentations sees them.

albumentations takes what can be turned into the right type, warns of names it does not know and then uses the default,
and builds whatever size it is told to. Nothing here imports it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from patchcli.errors import UsageError
from patchcli.pipeline.catalogue import (
    CATALOGUE,
    FILLS_FIRST_CHANNEL,
    LEAST_OF,
    MOST,
    MOST_OF,
    ONLY_EIGHT_BIT,
    REFUSED,
    blame,
    nearest,
)
from patchcli.pipeline.tree import Step

_INTERPOLATIONS: Final = ("nearest", "linear", "cubic", "area", "lanczos4", "linear_exact", "nearest_exact")
_BORDERS: Final = ("constant", "replicate", "reflect", "wrap", "reflect_101")
_MOST: Final = 1_000_000
_LONGEST: Final = 1000
_DEEPEST: Final = 3
_FILLS: Final = ("fill", "drop_value")
_SCALARS: Final = 4  # an OpenCV scalar has four values


def plain(step: Step, key: str, value: Any, *, depth: int = 0) -> Any:
    """An argument as a JSON value: lists for tuples, names for OpenCV's constants.

    Raises
    ------
    UsageError
        It is no plain value, or out of all proportion.
    """
    names = constants(key)
    if names and (isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))):
        return _constant(step, key, value, names)
    if isinstance(value, Mapping):
        _bounded(step, key, value, depth)
        inner = {str(k): plain(step, key, v, depth=depth + 1) for k, v in value.items()}
        return dict(sorted(inner.items()))
    if isinstance(value, list | tuple):
        _bounded(step, key, value, depth)
        return [plain(step, key, v, depth=depth + 1) for v in value]
    if isinstance(value, str):
        return _bounded(step, key, value, depth)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number(step, key, value)
    raise wrong(step, key, value, f"{type(value).__name__} is no plain value")


def for_albumentations(step: Step) -> dict[str, Any]:
    """The arguments of a resolved step as albumentations wants them: tuples, and numbers for OpenCV's constants."""
    arguments = {key: _unplain(key, value) for key, value in step.arguments.items()}
    fill = arguments.get("fill")
    if step.name in FILLS_FIRST_CHANNEL and not isinstance(fill, tuple):
        arguments["fill"] = (fill,) * _SCALARS
    return arguments


def check_values(step: Step, arguments: Mapping[str, Any], shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
    """Check what albumentations does not: values, in plain form, that are wrong for such patches or for any.

    Raises
    ------
    UsageError
        With the place, the value and the reason.
    """
    for key, value in arguments.items():
        for each in _leaves(value):
            refused = REFUSED.get((step.name, key, each)) if isinstance(each, str | bool) else None
            if refused:
                raise wrong(step, key, each, refused)
            if (key, each) in ONLY_EIGHT_BIT and dtype != np.uint8:
                raise wrong(step, key, each, f"only for uint8 patches, these are {dtype}")
            if key in _FILLS and isinstance(each, int | float) and dtype.kind == "u":
                most = np.iinfo(dtype).max
                if not 0 <= each <= most:
                    raise wrong(step, key, each, f"{dtype} patches hold 0 to {most}")
    _check_sizes(step, arguments, shape)


def wrong(step: Step, key: str, value: Any, reason: str) -> UsageError:
    """The error for an argument whose value will not do."""
    return blame(step, f"{step.name}: {key}: {short(value)}: {reason}")


def constants(key: str) -> tuple[str, ...]:
    """The names that an argument takes for OpenCV's constants, at the index that is the constant's number."""
    if "interpolation" in key:
        return _INTERPOLATIONS
    return _BORDERS if key == "border_mode" else ()


def short(value: Any) -> str:
    """A value for a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _unplain(key: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_unplain(key, each) for each in value)
    if isinstance(value, dict):
        return {k: _unplain(key, v) for k, v in value.items()}
    names = constants(key)
    return names.index(value) if isinstance(value, str) and value in names else value


def _constant(step: Step, key: str, value: int | str, names: tuple[str, ...]) -> str:
    if isinstance(value, int):
        if 0 <= value < len(names):
            return names[value]
    else:
        name = value.lower().removeprefix("cv2.").removeprefix("inter_").removeprefix("border_")
        name = {"reflect101": "reflect_101", "default": "reflect_101"}.get(name, name)
        if name in names:
            return name
    hint = nearest(str(value), names)
    raise wrong(step, key, value, (f"did you mean {hint}? " if hint else "") + f"one of {', '.join(names)}")


def _bounded(step: Step, key: str, value: Any, depth: int) -> Any:
    if len(value) > _LONGEST or depth > _DEEPEST:
        raise wrong(step, key, value, "too long" if len(value) > _LONGEST else "too deep")
    return value


def _number(step: Step, key: str, value: float) -> float:
    least = LEAST_OF.get((step.name, key), -math.inf)
    most = MOST_OF.get((step.name, key), MOST.get(key, _MOST))
    if not abs(value) <= most:
        raise wrong(step, key, value, f"at most {most}")
    if value < least:
        raise wrong(step, key, value, f"at least {least}")
    return value


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _leaves(each)
    else:
        yield value


def _check_sizes(step: Step, arguments: Mapping[str, Any], shape: tuple[int, int, int]) -> None:
    height, width, n_channels = shape
    size = arguments.get("size")
    if size is not None and size != [height, width]:
        raise wrong(step, "size", size, f"the patches are [{height}, {width}] (height, width) and stay so")
    for key in _FILLS:
        fill = arguments.get(key)
        if isinstance(fill, list) and len(fill) != n_channels:
            raise wrong(step, key, fill, f"one value, or one for each of {n_channels} channels")
        if isinstance(fill, list) and _takes_one_fill(step, n_channels):
            raise wrong(step, key, fill, "one value for all channels")
    bits = arguments.get("num_bits")
    if isinstance(bits, list) and any(isinstance(each, list) for each in bits) and len(bits) != n_channels:
        raise wrong(step, "num_bits", bits, f"one range, or one for each of {n_channels} channels")
    shear = arguments.get("shear")
    if isinstance(shear, dict) and set(shear) != {"x", "y"}:
        raise wrong(step, "shear", shear, "both x and y are needed: albumentations takes 1 degree for what is not said")
    highest = max((n for n in _leaves(arguments.get("min_max_height")) if isinstance(n, int)), default=0)
    ratio = max((n for n in _leaves(arguments.get("w2h_ratio", 1)) if isinstance(n, int | float)), default=1)
    if highest > height or highest * ratio > width:
        raise wrong(step, "min_max_height", highest, f"larger than the patches of {width}x{height} px")


def _takes_one_fill(step: Step, n_channels: int) -> bool:
    return step.name == "CropAndPad" or (CATALOGUE[step.name].group == "geometry" and n_channels > _SCALARS)
