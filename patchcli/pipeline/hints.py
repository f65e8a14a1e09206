"""What a message about a pipeline says beside what is wrong: where it stands, and what was probably meant.

Nothing here knows trees or transforms, nor imports numpy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any, Final

_GROUPS: Final = "groups are OneOf, SomeOf and Sequential"
NOT_GROUPS: Final = {
    "Compose": "Compose: leave it out, a pipeline is a list; Sequential groups steps",
    "ReplayCompose": "ReplayCompose: leave it out, a pipeline is a list; every copy can be made again from its seed",
    "RandomOrder": f"RandomOrder is not taken: {_GROUPS}, which keep the order",
    "OneOrOther": f"OneOrOther is not taken: {_GROUPS}; OneOf: {{transforms: [...], p: 1}} chooses one of two",
    "SelectiveChannelTransform": f"SelectiveChannelTransform is not taken: {_GROUPS}, of all channels",
}
"""Groups of albumentations that a pipeline cannot hold, with what to do."""

_SIZE: Final = "drop it, the patch's size is taken"
_GONE: Final = "it is gone"
_OLD_TABLE: Final = (
    ("GaussNoise", "var_limit", "say std_range, a share of the full range: sqrt(variance) / 255"),
    ("GaussNoise", "mean", "say mean_range, a share of the full range"),
    ("Rotate SafeRotate ElasticTransform GridDistortion OpticalDistortion", "value", "say fill"),
    ("Rotate SafeRotate ElasticTransform GridDistortion OpticalDistortion", "mask_value", "say fill_mask"),
    ("Affine", "cval", "say fill"),
    ("Affine", "cval_mask", "say fill_mask"),
    ("Affine", "mode", "say border_mode"),
    ("Perspective CropAndPad", "pad_mode", "say border_mode"),
    ("Perspective", "pad_val", "say fill"),
    ("Perspective", "mask_pad_val", "say fill_mask"),
    ("CropAndPad", "pad_cval", "say fill"),
    ("CropAndPad", "pad_cval_mask", "say fill_mask"),
    ("CoarseDropout GridDropout ChannelDropout XYMasking", "fill_value", "say fill"),
    ("CoarseDropout GridDropout XYMasking", "mask_fill_value", "say fill_mask"),
    ("CoarseDropout", "min_holes max_holes", "say num_holes_range: [least, most]"),
    ("CoarseDropout", "min_height max_height", "say hole_height_range: [least, most]"),
    ("CoarseDropout", "min_width max_width", "say hole_width_range: [least, most]"),
    ("GridDropout", "unit_size_min unit_size_max", "say unit_size_range: [least, most]"),
    ("GridDropout", "holes_number_x holes_number_y", "say holes_number_xy: [x, y]"),
    ("GridDropout", "shift_x shift_y", "say shift_xy: [x, y]"),
    ("ElasticTransform", "alpha_affine", f"{_GONE}, put an Affine before it"),
    ("OpticalDistortion", "shift_limit", f"{_GONE}, put an Affine before it"),
    ("RandomResizedCrop RandomSizedCrop", "height width", _SIZE),
    ("RandomGamma", "eps", _GONE),
    ("RandomBrightnessContrast", "limit", "say brightness_limit and contrast_limit"),
    ("ColorJitter", "brightness_limit", "say brightness"),
    ("ColorJitter", "contrast_limit", "say contrast"),
    ("ImageCompression", "quality_lower quality_upper", "say quality_range: [least, most]"),
    ("Downscale", "scale_min scale_max", "say scale_range: [least, most]"),
    ("Downscale", "interpolation", "say interpolation_pair: {downscale: ..., upscale: ...}"),
    ("Solarize", "threshold", "say threshold_range, shares of the full range"),
    ("RandomFog", "fog_coef_lower fog_coef_upper", "say fog_coef_range: [least, most]"),
    ("RandomRain", "slant_lower slant_upper", "say slant_range: [least, most]"),
    ("RandomSnow", "snow_point_lower snow_point_upper", "say snow_point_range: [least, most]"),
    ("RandomShadow", "num_shadows_lower num_shadows_upper", "say num_shadows_limit: [least, most]"),
    ("RandomSunFlare", "angle_lower angle_upper", "say angle_range: [least, most]"),
    (
        "RandomSunFlare",
        "num_flare_circles_lower num_flare_circles_upper",
        "say num_flare_circles_range: [least, most]",
    ),
)
OLD: Final = {
    (name, key): advice for names, keys, advice in _OLD_TABLE for name in names.split() for key in keys.split()
}
"""Arguments that albumentations 1 had, by transform and name, with what to say now."""

_TUPLE: Final = re.compile(r"\(([-+.\deE\s]+(?:,[-+.\deE\s]+)+)\)", re.ASCII)


def place_of(name: str, *values: object) -> str:
    """A file's name, with the line of the first value that knows it."""
    lines = (getattr(value, "line", None) for value in values)
    line = next((one for one in lines if one is not None), None)
    return name if line is None else f"{name}, line {line}"


def of_older(name: str, key: str) -> str | None:
    """What to say instead of an argument that the transform had in albumentations 1; None where it had no such one."""
    if key == "always_apply":
        return "albumentations 1 had it: drop it, and say p: 1 for true"
    advice = OLD.get((name, key))
    return f"albumentations 1 had it: {advice}" if advice else None


def not_indented(value: Mapping[Any, Any]) -> str | None:
    """What to do about arguments that stand beside a transform, not within it; None where it is something else."""
    (name, inner), *others = value.items() or [(None, "")]
    keys = [key for key, _ in others if isinstance(key, str) and key.islower()]
    if inner is not None or not keys or len(keys) < len(others):
        return None
    said = ", ".join(f"{key}: {_scalar(one)}" for key, one in others)
    said = f"{name}: {{{said}}}"
    return f"indent {_short(' and '.join(keys), 60)} deeper, or write {_short(said, 100)}"


def in_round_brackets(arguments: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    """Each text that begins a value written as `(0.9, 1.1)`, and what to do about it.

    Within `{}` the text ends with the comma, and what follows are keys without values.
    """
    items = list(arguments.items())
    for at, (key, value) in enumerate(items):
        if isinstance(value, Mapping):
            yield from in_round_brackets(value)
        if isinstance(value, str) and value.startswith("("):
            rest = [str(more) for more, _ in takewhile(lambda item: item[1] is None, items[at + 1 :])]
            found = _TUPLE.match(", ".join((value, *rest)))
            if found:
                inner = _short(", ".join(found[1].replace(",", " ").split()), 60)
                yield value, f"{key}: write [{inner}], not ({inner})"


def _scalar(value: object) -> str:
    if isinstance(value, Mapping | list):
        return "..."
    return value if isinstance(value, str) else json.dumps(value)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
