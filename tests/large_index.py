"""Indexes of a million rows for tests and benchmarks, written in a second: their shards are sparse files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from patchcli.copies import AugmentSpec
from patchcli.io import layout
from patchcli.io.shard import root_attributes
from patchcli.io.tables import RowColumns, SourceColumns, file_tables
from patchcli.plan import canonical
from patchcli.records import Recipe, Skipped
from patchcli.specs import ExtractSpec, Size
from patchcli.stats import Moments

SIDE = 320
"""Width, height and stride of the patches, px."""

_ACROSS = 10
_SHARDS = 40
_CLASSES = 50
_SPLITS = (b"train", b"val", b"test")


def write_index(out: Path, *, images: int, patches: int, copies: int = 0) -> int:
    """Write an index of three-channel patches in 50 classes, three splits and 40 shards; the number of its rows.

    Parameters
    ----------
    images : int
        In the index, each with a size of its own as far as there are (102,400).
    patches : int
        Of each image: below 10, or a multiple of it.
    copies : int
        Of each patch, as `augment` makes them; every thousandth is equal to its original.
    """
    rng = np.random.default_rng(0)
    across = min(_ACROSS, patches)
    down = patches // across
    n_cut = images * patches
    y, x = np.divmod(np.arange(patches, dtype=np.int32), across)
    cut = RowColumns(
        labels=np.repeat(np.arange(images) % _CLASSES, patches),
        digest=rng.integers(0, 2**64, n_cut, np.uint64),
        coords=np.tile(np.stack([x, y], axis=1) * np.int32(SIDE), (images, 1)),
        source=np.repeat(np.arange(images, dtype=np.int32), patches),
        split=np.repeat((np.arange(images) % 7 % 3).astype(np.uint8), patches),
    )
    rows = _copied(cut, copies, rng) if copies else cut
    n = len(rows)
    offsets = np.arange(images, dtype=np.int32) % SIDE**2
    sources = SourceColumns(
        path=tuple(b"%s/class %02d/image %06d.jpg" % (_SPLITS[k % 7 % 3], k % _CLASSES, k) for k in range(images)),
        width=across * SIDE + offsets % SIDE,
        height=down * SIDE + offsets // SIDE,
        sha256=np.array([b"%064x" % k for k in range(images)], "S64"),
        label=np.arange(images) % _CLASSES,
        group=(b"",) * images,
    )
    settings = ExtractSpec(Size(SIDE, SIDE), Size(SIDE, SIDE), layout="splits").settings()
    if copies:
        spec = AugmentSpec.of(horizontal_flip=True, copies=copies, only_split="all")
        settings["augment"] = {**spec.settings(spec.pipeline, None), "input": "0" * 32}
    recipe = Recipe(
        patch_shape=(SIDE, SIDE, 3),
        dtype="uint8",
        stride=Size(SIDE, SIDE),
        compression="none",
        classes=tuple(b"class %02d" % k for k in range(_CLASSES)),
        splits=_SPLITS,
        plan_id=f"{images:08x}".ljust(32, "0"),
        settings=canonical(settings),
        n_shards=_SHARDS,
        copies=bool(copies),
    )
    total = Moments(n * SIDE**2, (n * SIDE**2 * 100,) * 3, (n * SIDE**2 * 12_500,) * 3)
    skipped = [Skipped(b"train/class 00/%04d.txt" % k, "not an image", "ignored") for k in range(1000)]
    starts = np.arange(_SHARDS + 1) * n // _SHARDS
    names = [b"%s.shards/%05d.h5" % (os.fsencode(out.stem), k) for k in range(_SHARDS)]
    sizes = np.diff(starts) * recipe.patch_bytes
    tables = file_tables(rows, sources, recipe, skipped, total) | {
        "shards/name": layout.names_table(names),
        "shards/bytes": sizes,
        "shards/digest": np.full(_SHARDS, b"0" * 32, "S32"),
        "shards/row_start": starts,
    }
    attributes = root_attributes("index", recipe, 0) | {
        "patch_shape": np.array(recipe.patch_shape, np.int64),
        "patch_dtype": recipe.dtype,
    }
    out.write_bytes(layout.lay_out(attributes, None, tables).tail(0))
    (out.parent / f"{out.stem}.shards").mkdir()
    for name, size in zip(names, sizes.tolist(), strict=True):
        with open(out.parent / os.fsdecode(name), "wb") as shard:
            shard.truncate(size)
    return n


def _copied(cut: RowColumns, copies: int, rng: np.random.Generator) -> RowColumns:
    origin = np.repeat(np.arange(len(cut)), 1 + copies)
    copy = np.tile(np.arange(1 + copies, dtype=np.int16), len(cut))
    digest = rng.integers(0, 2**64, len(origin), np.uint64)
    equal = np.flatnonzero((copy == 1) & (origin % 1000 == 0))
    digest[equal] = digest[equal - 1]
    split = None if cut.split is None else cut.split[origin]
    return RowColumns(cut.labels[origin], digest, cut.coords[origin], cut.source[origin], split, origin, copy)
