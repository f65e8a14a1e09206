"""The copies that `augment` makes of a data set, one at a time: for a look, for a check, for training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from patchcli.choice import in_turn, patch_ranks
from patchcli.copies import MOST_COPIES
from patchcli.errors import UsageError
from patchcli.io.pipelines import spec_of
from patchcli.io.prepared import prepare
from patchcli.pipeline.augmenter import Augmenter
from patchcli.pipeline.tree import plain
from patchcli.records import show
from patchcli.summaries import Sampled

__all__ = ["Augmented"]

Array = npt.NDArray[Any]

_MOST_SHOWN: Final = 64


class Augmented:
    """Copies of the patches of a data set, as `augment` with the same options writes them.

    Parameters
    ----------
    src : path
        A patchcli file.
    config, options
        As for `patchcli.augment`. Those that say how many copies are made of which patches change nothing here.

    Examples
    --------
    >>> augmented = patchcli.Augmented("in.h5", config="aug.yaml", seed=0)   # doctest: +SKIP
    >>> augmented.copy(1234, 2)                                              # doctest: +SKIP
    """

    def __init__(self, src: str | os.PathLike[str], *, config: object = None, **options: Any) -> None:
        self.spec, _ = spec_of(config, options)
        self._prepared = prepare(os.fsencode(src), self.spec)
        self._tables = self._prepared.dataset.tables

    def __len__(self) -> int:
        return self._prepared.dataset.facts.n_rows

    @property
    def pipeline(self) -> list[Any]:
        """As it was resolved, every argument said."""
        return [plain(step) for step in self._prepared.pipeline.steps]

    def copy(self, row: int, copy: int) -> Array:
        """One copy of the patch of a row: array (H, W, C); 0 is the original, standardised if that is asked for.

        Raises
        ------
        IndexError, DamagedFile
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} is out of range for {len(self)} patches")
        if not 0 <= copy <= MOST_COPIES:
            raise IndexError(f"copy {copy} is out of range: 0 is the original, copies are 1 to {MOST_COPIES:,}")
        return self._made(self._augmenter, row, copy)

    def sample(self, n: int) -> Iterator[Sampled]:
        """Some of the patches that are augmented, classes in turn, each with its copies; chosen by the seed.

        Nothing is standardised: that is for networks, not for eyes. More than 64 copies fit on no sheet.
        """
        n_copies = min(max(1, self.spec.copies), _MOST_SHOWN)
        labels, classes = self._tables["labels"], self._prepared.dataset.classes
        augmenter = self._prepared.unstandardised()
        for row in self._chosen(n):
            path = self._path(row)
            yield Sampled(
                class_name=show(classes[labels[row]]),
                source=show(path),
                xy=self._xy(row),
                patches=tuple(self._made(augmenter, row, copy) for copy in range(n_copies + 1)),
            )

    @cached_property
    def _augmenter(self) -> Augmenter:
        return self._prepared.augmenter(self._prepared.statistics())

    def _made(self, augmenter: Augmenter, row: int, copy: int) -> Array:
        patch = self._prepared.dataset.read(np.array([row]))[0]
        before = self._prepared.before(np.array([row]))[0]
        return augmenter.copy(patch, self._path(row), self._xy(row), copy, before=before)

    def _path(self, row: int) -> bytes:
        path: bytes = self._prepared.dataset.sources.path[self._tables["source"][row]]
        return path

    def _xy(self, row: int) -> tuple[int, int]:
        x, y = self._tables["coords"][row].tolist()
        return x, y

    def _chosen(self, n: int) -> list[int]:
        """Rows in the order of the classes, about as many of each and of each image."""
        rows = np.flatnonzero(self._prepared.chosen)
        if not len(rows):
            raise UsageError("there is no patch to be augmented")
        paths = self._prepared.dataset.sources.path
        groups, ranks = patch_ranks(self._tables, paths, rows, seed=self.spec.seed)
        found: list[int] = rows[in_turn(self._tables["labels"][rows], groups, ranks, n)].tolist()
        return found
