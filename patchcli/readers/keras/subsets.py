"""Which images are for training and which for validation, and what is given with the images of an array."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from patchcli.errors import UsageError
from patchcli.order import Rows
from patchcli.readers.arrays import PatchSet
from patchcli.readers.cuts import ArrayCuts, OfImages
from patchcli.readers.keras.arguments import DataFormat
from patchcli.readers.keras.flow import Targets
from patchcli.specs import Size

Array = npt.NDArray[Any]
Subset = Literal["training", "validation"] | None


def check_subset(subset: object, validation_split: float) -> None:
    """Raise `UsageError` for a subset that is none, or that nothing was split off for."""
    if subset not in ("training", "validation", None):
        raise UsageError(f"subset is {subset!r}: expected 'training' or 'validation'")
    if subset is not None and not validation_split:
        raise UsageError(f"subset is {subset!r}, but validation_split is 0: say which part of the images is for it")


def by_class(labels: Sequence[int], subset: Subset, validation_split: float) -> list[bool]:
    """Which of some images, sorted by name, a subset takes: as in Keras, the first part of each class is validation.

    Neighbours by name often show the same scene: taken as a run, fewer of them are torn apart than by chance.
    """
    if subset is None:
        return [True] * len(labels)
    n_validation = {label: int(validation_split * n) for label, n in Counter(labels).items()}
    seen = dict.fromkeys(n_validation, 0)
    chosen = []
    for label in labels:
        chosen.append((seen[label] < n_validation[label]) == (subset == "validation"))
        seen[label] += 1
    return chosen


def of_images(patches: PatchSet, subset: Subset, validation_split: float) -> npt.NDArray[np.bool_]:
    """Which images of a data set a subset takes, of those with patches here: by name, as `by_class`; bool (m,)."""
    sources = patches.sources
    here = np.unique(patches.source).tolist()
    here.sort(key=lambda source: (sources.label[source], *os.path.split(sources.path[source])))
    taken = np.zeros(len(sources), bool)
    taken[here] = by_class([int(sources.label[source]) for source in here], subset, validation_split)
    return taken


def check_not_empty(n_patches: int, n_images: int, patch: Size, subset: Subset) -> None:
    """Raise `UsageError` when there is nothing to show."""
    if n_patches:
        return
    if not n_images:
        of = (
            f"the {subset} subset takes no image: another validation_split, or more images, "
            if subset
            else "no image: "
        )
        raise UsageError(f"nothing to show: {of}expected at least one")
    raise UsageError(f"nothing to show: a patch of {patch} px is larger than every image; choose a smaller patch_size")


@dataclass(frozen=True, eq=False)
class Images:
    """Those of an array that a subset takes.

    Attributes
    ----------
    pixels : array (n, height, width, C)
        All of them.
    numbers : int64 (m,)
    """

    pixels: Array
    numbers: Rows


@dataclass(frozen=True, eq=False)
class Given:
    """What was given with the images, one row each."""

    y: Array | None
    weights: Array | None
    more: tuple[Array, ...]

    def of(self, numbers: Rows, cuts: ArrayCuts) -> Targets:
        """For the patches of some images."""

        def spread(values: Array) -> OfImages:
            return OfImages(values[numbers], cuts)

        y = None if self.y is None else spread(self.y)
        weights = None if self.weights is None else spread(self.weights)
        return Targets(y, 0, weights, tuple(map(spread, self.more)))


def of_arrays(
    x: Any,
    y: Any,
    sample_weight: Any,
    *,
    data_format: DataFormat,
    subset: Subset,
    validation_split: float,
    ignore_class_split: bool,
) -> tuple[Images, Given]:
    """Images and what belongs to them, as Keras' `flow` takes them.

    Raises
    ------
    UsageError
        Lengths or ranks that do not fit, weights without `y`, or a subset that lacks values of `y`.
    """
    more: tuple[Array, ...] = ()
    if isinstance(x, (tuple, list)):
        if len(x) != 2:
            raise UsageError(
                f"x is a {type(x).__name__} of {len(x)}: expected an array, or a pair (images, more inputs)"
            )
        x, said = x
        more = tuple(map(np.asarray, said)) if isinstance(said, list) else (np.asarray(said),)
    pixels = np.asarray(x)
    if pixels.ndim != 4:
        raise UsageError(f"x has shape {pixels.shape}: expected (n, height, width, channels), or with channels first")
    if data_format == "channels_first":
        pixels = np.moveaxis(pixels, 1, 3)
    given = Given(
        None if y is None else np.asarray(y), None if sample_weight is None else np.asarray(sample_weight), more
    )
    named = [("y", given.y), ("sample_weight", given.weights), *(("a further input", one) for one in more)]
    for name, array in named:
        if array is not None and (array.ndim == 0 or len(array) != len(pixels)):
            raise UsageError(f"{name} has shape {array.shape}: expected a row for each of {len(pixels)} images")
    if given.y is None and given.weights is not None:
        raise UsageError("sample_weight without y: there is no loss to weigh")
    numbers = _numbers(len(pixels), given.y, subset, validation_split, ignore_class_split)
    return Images(pixels, numbers), given


def _numbers(n: int, y: Array | None, subset: Subset, validation_split: float, ignore_class_split: bool) -> Rows:
    everything = np.arange(n)
    if subset is None:
        return everything
    validation, training = np.split(everything, [int(n * validation_split)])
    if y is not None and not ignore_class_split:
        # an axis is kept: rows of one-hot labels are values too
        seen = [np.unique(y[part], axis=0) for part in (validation, training)]
        if not np.array_equal(seen[0], seen[1]):
            raise UsageError(
                "training and validation subsets hold different values of y: shuffle images and labels together, or "
                "say ignore_class_split=True"
            )
    return validation if subset == "validation" else training
