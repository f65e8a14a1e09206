"""Patches as a PatchImageDataGenerator shows them: cut, augmented one by one, standardised."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from patchcli.io.prepared import TRAIN
from patchcli.order import Rows, shuffled
from patchcli.pipeline.augmenter import Augmenter
from patchcli.pipeline.seeding import befores
from patchcli.pipeline.tree import Group
from patchcli.readers.arrays import PatchSet
from patchcli.readers.keras.sources import Identities, Standardizes, Uncut
from patchcli.readers.own import PerThread

Array = npt.NDArray[Any]


class Stored:
    """The patches of a data set, as `Uncut`."""

    def __init__(self, patches: PatchSet) -> None:
        self.patches = patches
        self.dtype, self.shape = patches.dtype, patches.patch_shape
        self.name = patches.name

    def __len__(self) -> int:
        return len(self.patches)

    def order(self, *, seed: int, epoch: int) -> Rows:
        return shuffled(len(self), seed=seed, epoch=epoch)

    def read(self, positions: Rows) -> Array:
        return self.patches[positions]

    def identities(self, positions: Rows) -> Identities:
        patches = self.patches
        paths, sources = patches.sources.path, patches.source[positions].tolist()
        before = befores(patches.digest[positions], None if patches.copy is None else patches.copy[positions])
        xys = patches.coords[positions].tolist()
        return [(paths[source], (x, y), last) for source, (x, y), last in zip(sources, xys, before, strict=True)]

    def augmented(self, positions: Rows) -> list[bool]:
        """Where there are splits, those of `train`, as `patchcli augment` does it."""
        patches = self.patches
        if patches.split is None:
            return [True] * len(positions)
        is_train = np.array([name == TRAIN for name in patches.splits])
        chosen: list[bool] = is_train[patches.split[positions]].tolist()
        return chosen

    def share(self) -> None:
        """Files are shared as they are."""


class Generated:
    """Patches by position as an epoch shows them; may be read from many threads, after fork, and pickled.

    Parameters
    ----------
    uncut : Uncut
    finishing : Standardizes
    pipeline : Group or None
        None: nothing is augmented.
    seed : int
    """

    def __init__(self, uncut: Uncut, finishing: Standardizes, pipeline: Group | None, seed: int) -> None:
        self.uncut, self._finishing, self._pipeline, self._seed = uncut, finishing, pipeline, seed
        self.shape, self.name = uncut.shape, uncut.name
        self._own = PerThread()
        self._augmenter()  # what cannot be is said now

    def __len__(self) -> int:
        return len(self.uncut)

    def order(self, *, seed: int, epoch: int) -> Any:
        return self.uncut.order(seed=seed, epoch=epoch)

    def share(self) -> None:
        self.uncut.share()

    def untouched(self, positions: Rows) -> Array:
        return self.uncut.read(positions)

    def read(self, positions: Rows, epoch: int) -> Array:
        """Patches (k, H, W, C); epoch e shows what `patchcli augment` writes as copy e + 1."""
        patches, augmenter = self.uncut.read(positions), self._augmenter()
        if augmenter is not None:
            chosen = self.uncut.augmented(positions)
            for place, (path, xy, before) in enumerate(self.uncut.identities(positions)):
                if chosen[place]:
                    patches[place] = augmenter.copy(patches[place], path, xy, epoch + 1, before=before)
        return self._finishing.finish(patches)

    def _augmenter(self) -> Augmenter | None:
        if self._pipeline is None:
            return None
        return self._own.augmenter(partial(Augmenter, self._pipeline, self._seed, self.shape, self.uncut.dtype))
