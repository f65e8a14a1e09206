"""The settings that a file says it was made with: JSON from anyone, checked for what all readers rely on."""

from __future__ import annotations

import json
from typing import Any, Final, get_args

from patchcli.specs import Edge

_MOST_DEPTH: Final = 200
_MOST_LENGTH: Final = 2**31 - 1


def checked_settings(text: str, patch_shape: tuple[int, int, int]) -> dict[str, Any]:
    """Settings as a file says them: names and values, with the geometry that its patches have.

    Parameters
    ----------
    text : str
        JSON.
    patch_shape : (int, int, int)
        Height, width, channels.

    Raises
    ------
    ValueError, TypeError, RecursionError
        They are not as patchcli writes them.
    """
    settings = json.loads(text)
    if not isinstance(settings, dict):
        raise TypeError(f"settings {text!r:.60}, expected names and values")
    if _is_deep(settings):
        raise ValueError(f"settings nested deeper than {_MOST_DEPTH}")
    height, width, _ = patch_shape
    patch, stride, edge = (settings.get(name) for name in ("patch_size", "stride", "edge"))
    if patch != [width, height]:
        raise ValueError(f"settings with patch_size {patch!r:.60} for patches of {width}x{height} px")
    if not isinstance(stride, list) or len(stride) != 2 or not all(map(_is_length, stride)):
        raise ValueError(f"settings with stride {stride!r:.60}, expected two whole numbers of px")
    if edge not in get_args(Edge):
        raise ValueError(f"settings with edge {edge!r:.60}, expected one of {', '.join(get_args(Edge))}")
    return settings


def _is_length(value: object) -> bool:
    return type(value) is int and 1 <= value <= _MOST_LENGTH


def _is_deep(value: Any) -> bool:
    """Whether lists are in lists so often that going through them would end whoever does."""
    level = [value]
    for _ in range(_MOST_DEPTH):
        inner = [one.values() if isinstance(one, dict) else one for one in level]
        level = [value for values in inner for value in values if isinstance(value, (dict, list))]
        if not level:
            return False
    return True
