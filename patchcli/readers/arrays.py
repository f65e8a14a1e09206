"""A data set as one array of patches: rows in any order, read past HDF5 and checked by their digests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xxhash

from patchcli.errors import DamagedFile, UsageError
from patchcli.io.dataset import Dataset, Sources
from patchcli.io.stored import Rows

__all__ = ["PatchSet", "Sources", "open"]

Array = npt.NDArray[Any]

_ITERATED_BYTES: Final = 1 << 20


def open(path: str | os.PathLike[str], *, check: bool = True) -> PatchSet:
    """Open a data set, or one shard of it, for reading.

    Only the small tables are read; a shard is opened when a patch of it is asked for.

    Parameters
    ----------
    path : path
        `out.h5`: an index, a data set in one file, or a shard.
    check : bool
        Whether each patch that is read is compared with its digest.

    Raises
    ------
    FileNotFoundError
    DamagedFile
        Not a patchcli file, or its tables are broken or contradict each other.
    """
    return PatchSet(Dataset(os.path.abspath(os.fsencode(path)), check=check))


class PatchSet:
    """Patches as an array (n, H, W, C) on disk, with the tables that say what each of them is.

    `ps[i]` is an array (H, W, C); slices, lists in any order and masks give (k, H, W, C). It may be read from many
    threads, from children after fork, and pickled. Reading raises IndexError for an index out of range, and DamagedFile
    naming the shard that is missing, foreign or truncated, or in which a patch is not as it was written.

    Attributes
    ----------
    labels : int64 (n,)
        Rows of `classes`.
    coords : int32 (n, 2)
        (x, y) of the top-left corner in the upright image, px.
    source : int32 (n,)
        Rows of `sources`.
    split : uint8 (n,) or None
        Rows of `splits`.
    origin : int64 (n,) or None
        After `augment`: the row of its input that each patch is a copy of.
    copy : int16 (n,) or None
        0 for the original, copies from 1.
    digest : uint64 (n,)
        XXH3-64 of each patch's bytes.
    classes, splits : tuple of str
    sources : Sources
    mean, std : float64 (C,)
        Over all patches of the data set, in a subset too.
    skipped : tuple of Skipped
        Files that gave no patches, each with its reason.
    settings : dict
        What the data set was made with.
    plan_id, path : str
    patch_shape : (int, int, int)
        Height, width, channels.
    dtype : numpy.dtype
    """

    def __init__(self, whole: Dataset, rows: Rows | None = None) -> None:
        tables, chosen = whole.tables, slice(None) if rows is None else rows
        self._whole, self._rows = whole, rows
        self.labels: npt.NDArray[np.int64] = tables["labels"][chosen]
        self.coords: npt.NDArray[np.int32] = tables["coords"][chosen]
        self.source: npt.NDArray[np.int32] = tables["source"][chosen]
        self.split: npt.NDArray[np.uint8] | None = tables["split"][chosen] if "split" in tables else None
        self.origin: npt.NDArray[np.int64] | None = tables["origin"][chosen] if "origin" in tables else None
        self.copy: npt.NDArray[np.int16] | None = tables["copy"][chosen] if "copy" in tables else None
        self.digest: npt.NDArray[np.uint64] = tables["digest"][chosen]
        self.classes, self.splits, self.sources = whole.classes, whole.splits, whole.sources
        self.mean: npt.NDArray[np.float64] = tables["stats/mean"]
        self.std: npt.NDArray[np.float64] = tables["stats/std"]
        self.skipped, self.settings = whole.skipped, whole.facts.settings
        self.plan_id, self.path = whole.facts.plan_id, os.fsdecode(whole.path)
        self.patch_shape, self.dtype = whole.facts.patch_shape, whole.facts.dtype

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> Array:
        return self.read(index)

    def read(self, index: Any, out: Array | None = None) -> Array:
        """As `ps[index]`, into an array of the right shape and dtype where one is given."""
        positions = _positions(index, len(self))
        rows = np.atleast_1d(positions if self._rows is None else self._rows[positions])
        patches = self._whole.read(rows, out)
        return patches if positions.ndim else patches[0]

    def __iter__(self) -> Iterator[Array]:
        step = max(1, _ITERATED_BYTES // self._whole.facts.patch_bytes)
        for start in range(0, len(self), step):
            yield from self[start : start + step]

    def __repr__(self) -> str:
        size = "x".join(map(str, self.patch_shape))
        part = "" if self._rows is None else f" of {self._whole.facts.n_rows:,}"
        return f"<PatchSet {self.path!r}: {len(self):,}{part} patches {size} {self.dtype}, {len(self.classes)} classes>"

    def subset(self, indices: Any = None, *, split: str | None = None) -> PatchSet:
        """Some of the patches as a set of their own, which shares the open shards.

        Parameters
        ----------
        indices : slice, list or mask
            As in `ps[indices]`; order and duplicates are kept.
        split : str
            Instead: one of `splits`.

        Raises
        ------
        UsageError
            No such split, or both or neither given.
        IndexError
        """
        if (indices is None) == (split is None):
            raise UsageError("subset takes either indices or split=..., for instance subset(split='train')")
        if split is not None:
            if self.split is None or split not in self.splits:
                there = f"the splits are {', '.join(self.splits)}" if self.splits else "the data set has no splits"
                raise UsageError(f"{self.path}: no split {split!r}: {there}")
            indices = self.split == self.splits.index(split)
        positions = np.array(_positions(indices, len(self)), ndmin=1)  # a copy: the caller may change his
        return PatchSet(self._whole, positions if self._rows is None else self._rows[positions])

    def class_counts(self) -> dict[str, int]:
        """Patches of each class by name, in the order of `classes`."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist(), strict=True))

    def class_weight(self) -> dict[int, float]:
        """Weight of each label, n / (n_classes * count), as scikit-learn's `balanced`; empty classes are left out."""
        counts = np.bincount(self.labels, minlength=len(self.classes)).tolist()
        n_classes = sum(count > 0 for count in counts)
        return {label: len(self) / (n_classes * count) for label, count in enumerate(counts) if count}

    def close(self) -> None:
        """Close the open shards; a later read opens them again."""
        self._whole.shards.close()

    def __enter__(self) -> PatchSet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def whole(self) -> Dataset:
        """The data set that this is all or part of."""
        return self._whole

    @property
    def name(self) -> str:
        """What tells these patches, and their order, from others, in a word or two."""
        plan = f"plan {self.plan_id[:8]}"
        return plan if self._rows is None else f"rows {xxhash.xxh3_64_hexdigest(self._rows.tobytes())[:8]} of {plan}"

    def rows_at(self, positions: Rows) -> Rows:
        """Rows in the whole data set of the patches at some positions (k,), none of them negative: int64 (k,)."""
        return positions if self._rows is None else np.asarray(self._rows[positions])

    def __reduce__(self) -> tuple[Any, ...]:
        # A name travels, not the tables: each process reads them from the file, which is no slower than a pipe.
        return _reopen, (self._whole.path, self._whole.check, self.plan_id, self._rows)


def _reopen(path: bytes, check: bool, plan_id: str, rows: Rows | None) -> PatchSet:
    whole = Dataset(path, check=check)
    if whole.facts.plan_id != plan_id:
        raise DamagedFile(
            f"{os.fsdecode(path)}: was replaced since it was opened: has plan {whole.facts.plan_id}, expected {plan_id}"
        )
    return PatchSet(whole, rows)


def _positions(index: Any, n: int) -> Rows:
    """What an index means: int64 () for a number, (k,) for all else."""
    is_plain = isinstance(index, np.ndarray) and index.dtype == np.int64 and index.ndim == 1 and len(index) > 0
    if is_plain and index.min() >= 0 and index.max() < n:
        return np.asarray(index)  # what loaders ask for, batch after batch
    if isinstance(index, slice):
        return np.arange(*index.indices(n), dtype=np.int64)
    asked = np.asarray(index)
    if asked.dtype == bool and asked.ndim == 1:
        if len(asked) != n:
            raise IndexError(f"mask of length {len(asked)}, expected {n}, the number of patches")
        return np.flatnonzero(asked)
    if isinstance(index, list) and not index:
        return np.empty(0, np.int64)
    is_number = isinstance(index, int) or asked.dtype.kind in "iu"  # an int may be larger than any dtype
    if not is_number or asked.dtype == bool or asked.ndim > 1 or isinstance(index, tuple):
        raise TypeError(f"patches are indexed by numbers, slices, lists of numbers and masks, not by {index!r:.60}")
    outside = np.asarray((asked < -n) | (asked >= n), bool)
    if outside.any():
        raise IndexError(f"index {asked[outside].flat[0]} is out of range for {n} patches")
    positions = asked.astype(np.int64)
    return np.asarray(np.where(positions < 0, positions + n, positions))
