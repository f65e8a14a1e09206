"""What keeps a file from being summarised: settings that are none of ours, tables that contradict them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Final, get_args

import numpy as np

from patchcli.errors import UsageError
from patchcli.grid import cover
from patchcli.io.dataset import Dataset
from patchcli.pipeline.tree import parse, steps_of
from patchcli.specs import Compression, Edge, Size

_MOST_PIXELS: Final = 2.0**62  # what sums over a data set hold
_PLAN_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_MOST_DEPTH: Final = 64
_AUGMENTED: Final = {"copies": int, "seed": int, "keep_original": bool, "balance": bool}


def contradictions(data: Dataset) -> Iterator[str]:
    """What is wrong with a file's settings and tables, in words; nothing when all that is shown of them makes sense."""
    wrong = False
    for what in (*_wrong_settings(data), *_wrong_tables(data), *_wrong_stats(data)):
        wrong = True
        yield what
    if not wrong:
        yield from _wrong_sizes(data)


def _wrong_settings(data: Dataset) -> Iterator[str]:
    facts, settings = data.facts, data.facts.settings
    if not _PLAN_ID.fullmatch(facts.plan_id):
        yield f"its plan is {_short(facts.plan_id)}, expected 32 hex digits"
    for name in ("patch_size", "stride"):
        size = settings.get(name)
        if not (isinstance(size, list) and len(size) == 2 and all(map(_is_length, size))):
            yield f"its settings have {name} {_short(size)}, expected two whole numbers of px"
            return
    height, width, _ = facts.patch_shape
    if settings["patch_size"] != [width, height]:
        yield f"its settings have patch_size {_short(settings['patch_size'])}, its patches are {width}x{height} px"
    for name, choices in (("edge", get_args(Edge)), ("compression", get_args(Compression))):
        if settings.get(name) not in choices:
            yield f"its settings have {name} {_short(settings.get(name))}, expected one of {', '.join(choices)}"
    if not _is_plain(settings):
        yield f"its settings hold numbers that are none, or are nested deeper than {_MOST_DEPTH}"
        return
    if "augment" in settings:
        yield from _wrong_augmentation(settings["augment"], data)


def _wrong_augmentation(said: object, data: Dataset) -> Iterator[str]:
    """Settings of `augment` and of what was done before it: whatever is shown of them is as `augment` writes it."""
    known = [*data.splits, None]
    while said is not None:
        if not isinstance(said, dict):
            yield f"its settings have an augmentation {_short(said)}, expected names and values"
            return
        for name, kind in _AUGMENTED.items():
            if type(said.get(name)) is not kind:
                yield f"its settings have augment.{name} {_short(said.get(name))}, expected {kind.__name__}"
        split = said.get("only_split")
        if not isinstance(said.get("standardize"), dict) or split not in known or not str(split).isprintable():
            yield "its settings have an augmentation without standardize, or for a split that is not there"
        try:
            steps = list(steps_of(parse(said.get("pipeline"), name="its settings")))
        except UsageError as error:
            yield str(error)
            return
        if not all(name.isidentifier() for step in steps for name in (step.name, *step.arguments)):
            yield "its settings have a transform or an argument whose name is none"
        said = said.get("before")


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


def _is_plain(value: object, depth: int = 1) -> bool:
    """Whether a value can be written as JSON, by whatever goes through it."""
    if isinstance(value, float):
        return math.isfinite(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth <= _MOST_DEPTH and all(_is_plain(one, depth + 1) for one in inner)


def _is_length(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
