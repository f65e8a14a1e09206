"""What `augment --list-transforms` prints: every transform that a pipeline can hold."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from textwrap import wrap
from typing import Final

from patchcli.pipeline.catalogue import CATALOGUE, REMARKS, Support
from patchcli.pipeline.keras_ranges import KerasRanges
from patchcli.pipeline.transforms import parameters

_WIDTH: Final = 110


def transform_lines() -> Iterator[str]:
    """Transforms by kind, with their parameters and defaults, and the patches that they are right for."""
    yield "What a pipeline for augment --config can hold: transforms of albumentations 2.0.8 with their parameters and"
    yield "defaults, and the patches that each is right for. In a file: - GaussianBlur: {blur_limit: [3, 5], p: 0.3}"
    yield ""
    yield "groups"
    yield "  OneOf(transforms, p=0.5)                     one of them, in proportion to each one's p"
    yield "  SomeOf(transforms, n=1, replace=false, p=1)  n of them chosen evenly, each then with its own p"
    yield "  Sequential(transforms, p=0.5)                all of them, in order"
    yield ""
    yield "Keras' ranges, in one warp"
    said = ", ".join(KerasRanges.names())
    yield from wrap(f"Keras({said}, p=1.0)", _WIDTH, initial_indent="  ", subsequent_indent=" " * 6)
    yield "      as the options of augment; for uint8, uint16, float32; any number of channels"
    for group, found in groupby(sorted(CATALOGUE.values(), key=lambda one: one.group), key=lambda one: one.group):
        yield ""
        yield group
        for support in found:
            said = ", ".join(f"{name}={default}" for name, default in parameters(support.name))
            yield from wrap(f"{support.name}({said})", _WIDTH, initial_indent="  ", subsequent_indent=" " * 6)
            yield f"      for {_limits(support)}"
            if support.name in REMARKS:
                yield f"      {REMARKS[support.name]}"


def _limits(support: Support) -> str:
    words = [", ".join(support.dtypes), support.channels]
    if support.square:
        words.append("square patches")
    if support.ranged and "float32" in support.dtypes:
        words.append("float32 from 0 to 1")
    return "; ".join(words)
