"""What keeps a file from being summarised: settings that are none of ours, tables that contradict them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Final, get_args

import numpy as np

from patchcli.errors import UsageError
from patchcli.grid import cover
from patchcli.io.dataset import Dataset
from patchcli.pipeline.tree import parse, plain, steps_of
from patchcli.specs import Compression, Size

_MOST_PIXELS: Final = 2.0**62  # what sums over a data set hold
_AUGMENTED: Final = {"copies": int, "seed": int, "keep_original": bool, "balance": bool, "input": str}


def contradictions(data: Dataset) -> Iterator[str]:
    """What is wrong with a file's settings and tables, in words; nothing when all that is shown of them makes sense."""
    wrong = False
    for what in (*_wrong_settings(data), *_wrong_tables(data), *_wrong_stats(data)):
        wrong = True
        yield what
    if not wrong:
        yield from _wrong_sizes(data)


def _wrong_settings(data: Dataset) -> Iterator[str]:
    """Settings beyond the geometry, which is right in any file that was opened."""
    settings = data.facts.settings
    if settings.get("compression") not in get_args(Compression):
        expected = ", ".join(get_args(Compression))
        yield f"its settings have compression {_short(settings.get('compression'))}, expected one of {expected}"
    if not _is_plain(settings):
        yield "its settings hold numbers that are none"
    elif "augment" in settings:
        yield from _wrong_augmentation(settings["augment"], data)


def _wrong_augmentation(said: object, data: Dataset) -> Iterator[str]:
    """Settings of `augment` and of what was done before it: whatever is shown of them is as `augment` writes it."""
    known, steps = [*data.splits, None], [said]
    for said in steps:
        if not isinstance(said, dict):
            yield f"its settings have an augmentation {_short(said)}, expected names and values"
            return
        for name, kind in _AUGMENTED.items():
            if type(said.get(name)) is not kind:
                yield f"its settings have augment.{name} {_short(said.get(name))}, expected {kind.__name__}"
        standard, split = said.get("standardize"), said.get("only_split")
        if not isinstance(standard, dict) or not all(map(str.isidentifier, standard)):
            yield f"its settings have augment.standardize {_short(standard)}, expected names and values"
        if split not in known or not f"{split}{said.get('input')}".isprintable():
            yield f"its settings have an augmentation of split {_short(split)} of plan {_short(said.get('input'))}"
        yield from _wrong_pipeline(said.get("pipeline"))
        steps += [said["before"]] if "before" in said else []


def _wrong_pipeline(said: object) -> Iterator[str]:
    try:
        pipeline = parse(said, name="its settings")
    except UsageError as error:
        yield str(error)
        return
    names = [name for step in steps_of(pipeline) for name in (step.name, *step.arguments)]
    if not all(map(str.isidentifier, names)) or [plain(step) for step in pipeline.steps] != said:
        yield f"its settings have a pipeline that augment does not write: {_short(said)}"


def _wrong_tables(data: Dataset) -> Iterator[str]:
    facts, tables = data.facts, data.tables
    wanted = [name for name in ("split", "origin", "copy", "shards/bytes") if name in tables]
    for name in wanted:
        if tables[name].dtype.kind not in "iu" or (tables[name].size and tables[name].min() < 0):
            yield f"/{name} is {tables[name].dtype}, expected whole numbers from 0 on"
    if ("origin" in tables) != ("copy" in tables) or ("copy" in tables) != ("augment" in facts.settings):
        yield "/origin, /copy and the settings of augment are there without each other"
    if ("split" in tables) != ("splits" in tables):
        yield "/split and /splits are there without each other"
    label, width, height = (tables[f"sources/{name}"] for name in ("label", "width", "height"))
    if label.ndim != 1 or not label.shape == width.shape == height.shape:
        yield "the columns of /sources are of different shapes"
    elif len(label):
        if label.min() < 0 or label.max() >= len(data.classes):
            yield f"/sources/label goes from {label.min()} to {label.max()}, there are {len(data.classes)} classes"
        if min(width.min(), height.min()) < 1:
            yield "/sources has images without px"


def _wrong_sizes(data: Dataset) -> Iterator[str]:
    """Sizes whose sums go beyond 64 bits: no data set has so many px."""
    settings = data.facts.settings
    patch, stride = Size(*settings["patch_size"]), Size(*settings["stride"])
    widths, heights = (data.tables[f"sources/{name}"].astype(np.int64) for name in ("width", "height"))
    n_patches = cover(widths, heights, patch, stride, settings["edge"]).n_patches
    n_pixels = max(widths.astype(float) @ heights, n_patches.sum(dtype=float) * patch.width * patch.height)
    if n_pixels > _MOST_PIXELS:
        yield f"its images and settings come to {n_pixels:.1g} px, which is impossible"


def _wrong_stats(data: Dataset) -> Iterator[str]:
    facts, mean, std = data.facts, data.tables["stats/mean"], data.tables["stats/std"]
    channels = facts.patch_shape[2]
    for name, values in (("mean", mean), ("std", std)):
        if values.dtype.kind != "f" or values.shape != (channels,):
            yield f"/stats/{name} is {values.dtype} {values.shape}, expected a number for each of {channels} channels"
            return
    if not facts.n_rows:
        return
    sums = data.tables["stats/sum"]
    if facts.dtype.kind in "iu":
        most = float(np.iinfo(facts.dtype).max)
        right = all(np.all((values >= 0) & (values <= most)) for values in (mean, std))
    else:  # of px that are no numbers there is no mean
        right = bool(np.isfinite([mean, std]).all()) or (sums.dtype.kind == "f" and not np.isfinite(sums).all())
    if not right:
        yield f"/stats/mean is {mean.tolist()} and /stats/std {std.tolist()}, which no {facts.dtype} patches have"


def _is_plain(value: object) -> bool:
    """Whether a value has none of the numbers that Python reads from JSON and no other program does."""
    if isinstance(value, float):
        return math.isfinite(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(map(_is_plain, inner))


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
