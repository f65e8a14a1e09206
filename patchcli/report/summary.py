"""What is in a patchcli file, as one record: from its small tables, no pixel is read."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import numpy as np

from patchcli.account import account_classes
from patchcli.copies import n_repeated
from patchcli.io.h5 import Array
from patchcli.io.listed import ListedShard, listed_shards
from patchcli.io.patchfile import Facts, opened, read_names, read_tables, skipped_in
from patchcli.specs import Size
from patchcli.summaries import ClassSummary, Inspection, ShardState, group_left_out


def inspect_file(path: bytes) -> Inspection:
    """Look into a patchcli file: index, single file or shard.

    Raises
    ------
    FileNotFoundError, DamagedFile
    """
    with opened(path) as (file, facts):
        tables = read_tables(file)
    shards = tuple(_state(shard) for shard in listed_shards(facts, tables))
    classes = _classes(facts, tables)
    splits = read_names(tables["splits"]) if "splits" in tables else ()
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
        split_patches={os.fsdecode(name): int(np.sum(tables["split"] == row)) for row, name in enumerate(splits)},
        copies=int(np.sum(tables["copy"] > 0)) if "copy" in tables else 0,
        repeated=n_repeated(tables["origin"], tables["digest"]) if "origin" in tables else 0,
        pixels=sum(one.pixels for one in classes),
        pixels_uncovered=sum(one.pixels_uncovered for one in classes),
        pixels_padded=sum(one.pixels_padded for one in classes),
        mean=tuple(round(float(value), 6) for value in tables["stats/mean"]),
        std=tuple(round(float(value), 6) for value in tables["stats/std"]),
        shards=shards,
        left_out=group_left_out(skipped_in(tables)),
        settings=facts.settings,
    )


def _state(shard: ListedShard) -> ShardState:
    found = ""
    try:
        n_bytes = os.stat(shard.path).st_size
        if n_bytes != shard.n_bytes:
            found = f"{n_bytes:,} bytes"
    except OSError:
        found = "missing"
    return ShardState(os.fsdecode(shard.name), shard.n_bytes, shard.n_rows, found)


def _classes(facts: Facts, tables: dict[str, Array]) -> tuple[ClassSummary, ...]:
    """Counts per class: patches as they are labelled, coverage worked out anew from the images' sizes."""
    patch, stride = Size(*facts.settings["patch_size"]), Size(*facts.settings["stride"])
    images = zip(*(tables[f"sources/{name}"].tolist() for name in ("label", "width", "height")), strict=True)
    classes = account_classes(read_names(tables["classes"]), images, patch, stride, facts.settings["edge"])
    n_patches = Counter(tables["labels"].tolist())
    return tuple(replace(one, patches=n_patches[label]) for label, one in enumerate(classes))
