"""Patches as training sees them: rows of a data set, augmented by what they are and by the epoch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from patchcli.copies import AugmentSpec
from patchcli.errors import UsageError
from patchcli.io.pipelines import spec_of
from patchcli.io.prepared import Prepared, prepare_opened
from patchcli.io.stored import Rows
from patchcli.order import shuffled
from patchcli.readers.arrays import PatchSet
from patchcli.readers.arrays import open as open_patches
from patchcli.readers.own import PerThread

Array = npt.NDArray[Any]
Path: TypeAlias = str | os.PathLike[str]

_PIPELINE_KEYS: Final = frozenset({"transform", "__class_fullname__"})


def patches_of(patches: PatchSet | Path, split: str | None = None) -> PatchSet:
    """A data set, opened where it is named by its path; only one of its splits where one is said."""
    opened = patches if isinstance(patches, PatchSet) else open_patches(patches)
    return opened if split is None else opened.subset(split=split)


def augmentation(said: object, seed: int) -> AugmentSpec | None:
    """What `augment=` of a reader means.

    Parameters
    ----------
    said : None, path, list or mapping
        A pipeline as `patchcli augment --config` takes it, or the options of `patchcli.augment` by their names, with
        the pipeline as `config`.

    Raises
    ------
    UsageError
    """
    if said is None or (isinstance(said, Mapping) and not said):
        return None
    options: dict[str, Any] = {}
    if isinstance(said, Mapping) and not _PIPELINE_KEYS & said.keys():
        options = dict(said)
        said = options.pop("config", None)
    own = spec_of(said, options)[0].seed
    if own not in (0, seed):
        raise UsageError(
            f"seed is {seed}, and {own} within augment: say seed={own} here, which is that of the order too"
        )
    return spec_of(said, {**options, "seed": seed})[0]


class Samples:
    """Patches of a data set by position, as an epoch shows them.

    Epoch e shows what `patchcli augment` with the same options and seed writes as copy e + 1: it depends on the image's
    path, the patch's coordinates, seed and epoch, and on nothing else. As there, patches outside the split that is
    augmented (`train`, where there are splits) are standardised at most, by that split's statistics.

    May be read from many threads, after fork, and pickled.

    Parameters
    ----------
    patches : PatchSet
    spec : AugmentSpec, optional

    Attributes
    ----------
    shape : (int, int, int)
        Height, width, channels.
    dtype : numpy.dtype
        Of what is read: that of the data set, or float32 when patches are standardised.
    """

    def __init__(self, patches: PatchSet, spec: AugmentSpec | None = None) -> None:
        self.patches = patches
        patches.whole.shards.keep_chunks()
        self.shape, self.dtype = patches.patch_shape, patches.dtype
        self._prepared: Prepared | None = None
        if spec is not None:
            self._prepared = prepare_opened(patches.whole, spec)
            self._statistics = self._prepared.statistics()
            self.dtype = self._prepared.augmenter(self._statistics).dtype
        self._own = PerThread()

    def __len__(self) -> int:
        return len(self.patches)

    @property
    def name(self) -> str:
        """What tells its patches from those of others."""
        return self.patches.name

    def order(self, *, seed: int, epoch: int) -> Rows:
        """Positions in the order of an epoch."""
        return shuffled(len(self), seed=seed, epoch=epoch)

    def read(self, positions: Rows, epoch: int, *, scratch: bool = False) -> Array:
        """Patches at some positions (k,), in any order and with duplicates: array (k, H, W, C).

        Parameters
        ----------
        scratch : bool
            What is returned may be overwritten by this thread's next call: fresh memory costs more than a read.

        Raises
        ------
        IndexError, DamagedFile
        """
        patches = self.patches.read(positions, self._scratch(len(positions)) if scratch else None)
        if self._prepared is None:
            return patches
        rows = self.patches.rows_at(positions)
        augmenter = self._own.augmenter(partial(self._prepared.augmenter, self._statistics))
        chosen = self._prepared.chosen[rows].tolist()
        paths, sources = self.patches.sources.path, self.patches.source[positions].tolist()
        xys, befores = self.patches.coords[positions].tolist(), self._prepared.before(rows)
        shown = np.empty(patches.shape, self.dtype)
        for number, (source, (x, y), before) in enumerate(zip(sources, xys, befores, strict=True)):
            copy = epoch + 1 if chosen[number] else 0
            shown[number] = augmenter.copy(patches[number], paths[source], (x, y), copy, before=before)
        return shown

    @property
    def is_augmenting(self) -> bool:
        """Whether any of these patches becomes another in another epoch."""
        if self._prepared is None or not self._prepared.pipeline.steps:
            return False
        return bool(self._prepared.chosen[self.patches.rows_at(np.arange(len(self)))].any())

    def untouched(self, positions: Rows) -> Array:
        """Patches as the data set has them: array (k, H, W, C)."""
        return self.patches[positions]

    def share(self) -> None:
        """Make ready to be read by several processes: they read the same files."""

    def _scratch(self, n: int) -> Array | None:
        mine = self._own.scratch
        if mine is None:  # the first time a shard is looked at before memory is taken for what an index claims
            self._own.scratch = np.empty((0, *self.shape), self.patches.dtype)
            return None
        if len(mine) < n:
            mine = self._own.scratch = np.empty((n, *self.shape), self.patches.dtype)
        return mine[:n]

    def __getstate__(self) -> dict[str, Any]:
        # a data set travels as its name, within the patches; what was checked once is not checked again
        known = None if self._prepared is None else (self._prepared.spec, self._prepared.pipeline, self._prepared.split)
        kept = {name: value for name, value in self.__dict__.items() if name != "_prepared"}
        return {**kept, "_known": known}

    def __setstate__(self, state: dict[str, Any]) -> None:
        known = state.pop("_known")
        self.__dict__.update(state)
        self.patches.whole.shards.keep_chunks()
        self._prepared = None if known is None else Prepared(self.patches.whole, *known)
