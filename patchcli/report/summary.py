"""What is in a patchcli file, as one record: from its small tables, no pixel is read."""

from __future__ import annotations

import os

import numpy as np

from patchcli.account import account_classes
from patchcli.commands import commands
from patchcli.copies import n_repeated
from patchcli.inspected import InspectedClass, Inspection, ShardState
from patchcli.io.dataset import Dataset
from patchcli.io.h5 import Array
from patchcli.io.listed import ListedShard, listed_shards
from patchcli.io.patchfile import read_names
from patchcli.records import show
from patchcli.specs import Size
from patchcli.summaries import group_left_out


def inspect_file(path: bytes) -> Inspection:
    """Look into a patchcli file: index, single file or shard.

    Raises
    ------
    FileNotFoundError, DamagedFile
    """
    data = Dataset(path)
    facts, tables = data.facts, data.tables
    shards = tuple(_state(shard) for shard in listed_shards(facts, tables))
    classes = _classes(data)
    splits = tuple(map(_shown, data.splits))
    patch, stride = (tuple(facts.settings[name]) for name in ("patch_size", "stride"))
    return Inspection(
        path=os.fsdecode(path),
        role=facts.role,
        plan_id=facts.plan_id,
        patches=facts.n_rows,
        patch_shape=facts.patch_shape,
        dtype=str(facts.dtype),
        compression=str(facts.settings.get("compression", facts.compression)),
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
        left_out=group_left_out(data.skipped),
        command=commands(facts.settings, os.fsdecode(path)),
        settings=facts.settings,
    )


def _rounded(values: Array) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values) if np.isfinite(values).all() else ()


def _shown(name: str) -> str:
    return show(os.fsencode(name))


def _state(shard: ListedShard) -> ShardState:
    found = ""
    try:
        n_bytes = os.stat(shard.path).st_size
        if n_bytes != shard.n_bytes:
            found = f"{n_bytes:,} bytes"
    except OSError:
        found = "missing"
    return ShardState(os.fsdecode(shard.name), shard.n_bytes, shard.n_rows, found)


def _classes(data: Dataset) -> tuple[InspectedClass, ...]:
    """Counts per class: patches as they are labelled, coverage worked out anew from the images' sizes."""
    facts, tables = data.facts, data.tables
    patch, stride = Size(*facts.settings["patch_size"]), Size(*facts.settings["stride"])
    images = zip(*(tables[f"sources/{name}"].tolist() for name in ("label", "width", "height")), strict=True)
    classes = account_classes(read_names(tables["classes"]), images, patch, stride, facts.settings["edge"])
    splits = tuple(map(_shown, data.splits))
    # one count for each pair of class and split
    n_splits = max(1, len(splits))
    pairs = tables["labels"] * n_splits + tables.get("split", np.int64(0))
    counts = np.bincount(pairs, minlength=len(classes) * n_splits).reshape(len(classes), n_splits).tolist()
    return tuple(
        InspectedClass(
            name=one.name,
            images=one.images,
            patches=sum(count),
            share=sum(count) / facts.n_rows if facts.n_rows else 0.0,
            split_patches=dict(zip(splits, count, strict=True)) if splits else {},
            pixels=one.pixels,
            pixels_uncovered=one.pixels_uncovered,
            pixels_padded=one.pixels_padded,
        )
        for one, count in zip(classes, counts, strict=True)
    )
