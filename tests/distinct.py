"""A data set in many shards in which no two patches are equal: each is known by its pixels."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash
from photos import crops

import patchcli

N_LEFT_OUT = {"grass": 4, "ihc": 6}


def distinct(folder: Path) -> Path:
    """Three classes of different sizes, 32 px patches in more shards than there are lanes of an iterable."""
    root = crops(folder / "data", per_class=9, size=(128, 96))
    shutil.rmtree(root / "retina")  # its corners are all black
    for label, n in N_LEFT_OUT.items():
        for file in sorted((root / label).iterdir())[:n]:
            file.unlink()
    patchcli.extract(root, folder / "distinct.h5", patch=32, executor="serial", shard_size="8kB")
    return folder / "distinct.h5"


class RowOf:
    """The row of a patch that was not augmented, by its pixels."""

    def __init__(self, patches: patchcli.PatchSet) -> None:
        self.of_digest = {digest: row for row, digest in enumerate(patches.digest.tolist())}
        assert len(self.of_digest) == len(patches), "two patches are equal: rows cannot be told apart by pixels"

    def __call__(self, patches: Iterable[npt.NDArray[Any]]) -> list[int]:
        """Rows of patches (k, C, H, W)."""
        upright = (np.ascontiguousarray(patch.transpose(1, 2, 0)) for patch in map(np.asarray, patches))
        return [self.of_digest[xxhash.xxh3_64_intdigest(patch.tobytes())] for patch in upright]
