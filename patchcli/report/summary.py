"""What is in a patchcli file, as one record: from its small tables, no pixel is read."""

from __future__ import annotations

import os
import re
from typing import Final

import numpy as np

from patchcli.commands import commands
from patchcli.copies import n_repeated
from patchcli.errors import DamagedFile
from patchcli.grid import cover
from patchcli.inspected import InspectedClass, Inspection, ShardState
from patchcli.io.dataset import Dataset
from patchcli.io.h5 import Array
from patchcli.io.listed import ListedShard, listed_shards
from patchcli.io.names import SUFFIXES, shards_folder
from patchcli.io.patchfile import Facts, read_names
from patchcli.records import Skipped, show
from patchcli.report.contradictions import contradictions
from patchcli.specs import MAX_PIXELS, Size
from patchcli.summaries import group_left_out

_NOT_SHOWN: Final = ("coords", "source", "sources/path", "sources/sha256", "sources/group")
_LIMIT: Final = re.compile(r"more than ([\d,]{1,30}) px, see --max-pixels$")


def inspect(path: str | bytes | os.PathLike[str]) -> Inspection:
    """Look into a patchcli file, index, single file or shard: what `patchcli inspect` shows, as a record.

    No pixel is read; `patchcli.verify` does that.

    Raises
    ------
    FileNotFoundError
    DamagedFile
        Not a patchcli file, or one whose tables and settings contradict each other.
    """
    path = os.fsencode(path)
    data = Dataset(path)
    for name in _NOT_SHOWN:  # read for their checksums alone
        del data.tables[name]
    for wrong in contradictions(data):
        raise DamagedFile(f"{os.fsdecode(path)}: {wrong}; the file is damaged, or another program wrote it")
    facts, tables = data.facts, data.tables
    shards = tuple(_state(shard) for shard in listed_shards(facts, tables))
    classes = _classes(data)
    splits = tuple(map(show, data.splits))
    patch, stride = (tuple(facts.settings[name]) for name in ("patch_size", "stride"))
    return Inspection(
        path=os.fsdecode(path),
        role=facts.role,
        plan_id=facts.plan_id,
        patches=facts.n_rows,
        patch_shape=facts.patch_shape,
        dtype=facts.dtype.name,  # type: ignore[arg-type]  # one of three: no file is opened with another
        compression=facts.settings["compression"],
        images=sum(one.images for one in classes),
        bytes=os.path.getsize(path) + sum(shard.bytes for shard in shards),
        classes=classes,
        split_patches={name: sum(one.split_patches[name] for one in classes) for name in splits},
        stride=stride,
        overlap=(max(0, patch[0] - stride[0]), max(0, patch[1] - stride[1])),
        edge=facts.settings["edge"],
        copies=int(np.sum(tables["copy"] > 0)) if "copy" in tables else 0,
        repeated=n_repeated(tables["origin"], tables["digest"]) if "origin" in tables else 0,
        pixels=sum(one.pixels for one in classes),
        pixels_uncovered=sum(one.pixels_uncovered for one in classes),
        pixels_padded=sum(one.pixels_padded for one in classes),
        mean=_rounded(tables["stats/mean"]),
        std=_rounded(tables["stats/std"]),
        shards=shards,
        left_out=group_left_out([Skipped(one.path, show(one.reason), one.kind) for one in data.skipped]),
        command=_commands(data),
        settings=facts.settings,
    )


def _rounded(values: Array) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values) if np.isfinite(values).all() else ()


def _state(shard: ListedShard) -> ShardState:
    found = ""
    try:
        n_bytes = os.stat(shard.path).st_size
        if n_bytes != shard.n_bytes:
            found = f"{n_bytes:,} bytes"
    except OSError:
        found = "missing"
    return ShardState(show(shard.name), shard.n_bytes, shard.n_rows, found)


def _classes(data: Dataset) -> tuple[InspectedClass, ...]:
    """Counts per class: patches as they are labelled, coverage worked out anew from the images' sizes."""
    facts, tables = data.facts, data.tables
    patch, stride = Size(*facts.settings["patch_size"]), Size(*facts.settings["stride"])
    widths, heights = (tables[f"sources/{name}"].astype(np.int64) for name in ("width", "height"))
    covered = cover(widths, heights, patch, stride, facts.settings["edge"])
    sums = np.zeros((4, len(data.classes)), np.int64)
    columns = (np.ones_like(widths), widths * heights, covered.n_uncovered, covered.n_padded)
    for total, values in zip(sums, columns, strict=True):
        np.add.at(total, tables["sources/label"], values)
    splits = tuple(map(show, data.splits))
    # one count for each pair of class and split
    n_splits = max(1, len(splits))
    pairs = tables["labels"].astype(np.int64) * n_splits
    if splits:
        pairs += tables["split"].astype(np.int64)
    counts = np.bincount(pairs, minlength=len(data.classes) * n_splits).reshape(-1, n_splits).tolist()
    return tuple(
        InspectedClass(
            name=show(name),
            images=images,
            patches=sum(count),
            share=sum(count) / facts.n_rows if facts.n_rows else 0.0,
            split_patches=dict(zip(splits, count, strict=True)) if splits else {},
            pixels=pixels,
            pixels_uncovered=uncovered,
            pixels_padded=padded,
        )
        for name, (images, pixels, uncovered, padded), count in zip(
            read_names(tables["classes"]), sums.T.tolist(), counts, strict=True
        )
    )


def _commands(data: Dataset) -> tuple[str, ...]:
    """The commands that made the whole data set: a shard is mended by making that again."""
    reasons = [one.reason for one in data.skipped if one.kind == "unreadable"]
    limits = [int(match[1].replace(",", "")) for match in map(_LIMIT.search, reasons) if match]
    widths, heights = (data.tables[f"sources/{name}"].astype(np.int64) for name in ("width", "height"))
    largest = max(limits or [int((widths * heights).max(initial=0))])
    return commands(
        data.facts.settings,
        os.fsdecode(_whole(data.facts)),
        classes=data.classes,
        max_pixels=largest if limits or largest > MAX_PIXELS else None,
        skips=bool(reasons),
    )


def _whole(facts: Facts) -> bytes:
    """Name of the data set that a file is, or is a shard of."""
    if facts.role != "shard":
        return facts.path
    folder = os.path.dirname(facts.path)
    stem = folder.removesuffix(b".shards")
    names = [stem + suffix for suffix in (SUFFIXES[0], b"")]
    ours = [name for name in names if folder and shards_folder(name) == folder]
    return next((name for name in ours if os.path.isfile(name)), ours[0] if ours else b"OUT.h5")
