"""What `augment --list-transforms` prints: every transform that a pipeline can hold."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from patchcli.pipeline.catalogue import CATALOGUE, Support
from patchcli.pipeline.transforms import parameters


def transform_lines() -> Iterator[str]:
    """Transforms by kind, with their parameters and defaults, and the patches that they are right for."""
    yield "Transforms for augment --config, with their parameters and defaults; patches of these dtypes and channels."
    yield "The names and parameters are those of albumentations 2.0.8."
    yield ""
    yield "groups"
    yield "  OneOf(transforms, p=0.5)                     one of them, in proportion to each one's p"
    yield "  SomeOf(transforms, n=1, replace=false, p=1)  n of them chosen evenly, each then with its own p"
    yield "  Sequential(transforms, p=0.5)                all of them, in order"
    yield ""
    yield "Keras' ranges in one warp"
    yield "  Keras(rotation_range=0, width_shift_range=0, ...)  as the options of augment; uint8, uint16, float32"
    for group, found in groupby(sorted(CATALOGUE.values(), key=lambda one: one.group), key=lambda one: one.group):
        yield ""
        yield group
        for support in found:
            said = ", ".join(f"{name}={default}" for name, default, _ in parameters(support.name))
            yield f"  {support.name}({said})"
            yield f"      {_limits(support)}"


def _limits(support: Support) -> str:
    words = [", ".join(support.dtypes), support.channels]
    if support.square:
        words.append("square patches")
    if support.ranged and "float32" in support.dtypes:
        words.append("float32 from 0 to 1")
    return "; ".join(words)
