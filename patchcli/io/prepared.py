"""The data set to be augmented: which of its patches, with which pipeline, and whether that can be."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from patchcli.copies import ALL, AugmentSpec
from patchcli.errors import DamagedFile, UsageError
from patchcli.io.dataset import Dataset
from patchcli.io.fitted import blocks_of, statistics_of
from patchcli.io.patchfile import read_names
from patchcli.pipeline import catalogue
from patchcli.pipeline.augmenter import Augmenter, resolved
from patchcli.pipeline.keras_ranges import KERAS
from patchcli.pipeline.seeding import Before, befores, identity
from patchcli.pipeline.standardize import Statistics
from patchcli.pipeline.tree import Array, Group, steps_of
from patchcli.plan import canonical
from patchcli.records import Recipe
from patchcli.specs import Size

TRAIN: Final = "train"
"""The split that is augmented unless another is asked for."""

Beat = Callable[[int, int], None]
"""Called while patches are looked through, with those done and all."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A data set, what is to be done with it, and what that needs.

    Attributes
    ----------
    pipeline : Group
        As resolved for these patches.
    split : str or None
        The one that is augmented; None: all patches are.
    """

    dataset: Dataset
    spec: AugmentSpec
    pipeline: Group
    split: str | None

    @cached_property
    def chosen(self) -> npt.NDArray[np.bool_]:
        """The patches that are augmented, bool (n,)."""
        if self.split is None:
            return np.ones(self.dataset.facts.n_rows, bool)
        return np.asarray(self.dataset.tables["split"] == self.dataset.splits.index(self.split))

    def before(self, rows: npt.NDArray[np.int64]) -> list[Before]:
        """What tells patches of one place apart, for those that are copies already."""
        tables = self.dataset.tables
        return befores(tables["digest"][rows], tables["copy"][rows] if "copy" in tables else None)

    def ranks(self, rows: npt.NDArray[np.int64]) -> list[int]:
        """Numbers to choose patches by: of their identities, so that the order of the rows does not matter."""
        tables, path, seed = self.dataset.tables, self.dataset.sources.path, self.spec.seed
        places = zip(tables["source"][rows].tolist(), tables["coords"][rows].tolist(), self.before(rows), strict=True)
        return [identity(seed, path[source], (x, y), 0, before=before) for source, (x, y), before in places]

    def augmenter(self, statistics: Statistics | None) -> Augmenter:
        """What makes the copies."""
        facts, spec = self.dataset.facts, self.spec
        return Augmenter(
            self.pipeline, spec.seed, facts.patch_shape, facts.dtype, standard=spec.standard, statistics=statistics
        )

    def unstandardised(self) -> Augmenter:
        """What makes the copies as they are before they are standardised."""
        facts = self.dataset.facts
        return Augmenter(self.pipeline, self.spec.seed, facts.patch_shape, facts.dtype)

    def statistics(self, beat: Beat = lambda *_: None) -> Statistics | None:
        """What standardising needs to know of the patches that are augmented."""
        return statistics_of(self.dataset, self.spec.standard, np.flatnonzero(self.chosen), beat)

    def recipe(self, kind: np.dtype[Any], n_shards: int) -> Recipe:
        """What the files say: the settings of the input, and under `augment` what was done to it."""
        spec = self.spec
        facts, tables = self.dataset.facts, self.dataset.tables
        done = {**spec.settings(self.pipeline, self.split), "input": facts.plan_id}
        if "augment" in facts.settings:
            done["before"] = facts.settings["augment"]
        settings = {
            **facts.settings,
            "shard_size": spec.shard_size,
            "compression": spec.compression,
            "augment": done,
        }
        said = canonical(settings)
        return Recipe(
            patch_shape=facts.patch_shape,
            dtype=kind.name,
            stride=Size(*facts.settings["stride"]),
            compression=spec.compression,
            classes=read_names(tables["classes"]),
            splits=read_names(tables["splits"]) if "splits" in tables else (),
            plan_id=_plan_id(said, tables),
            settings=said,
            n_shards=n_shards,
            copies=True,
        )


def prepare(src: bytes, spec: AugmentSpec, beat: Beat = lambda *_: None) -> Prepared:
    """Open a data set and check that it can be augmented so.

    Raises
    ------
    UsageError
        As `prepare_opened`.
    DamagedFile
        No such file, or no whole patchcli file.
    """
    try:
        dataset = Dataset(os.path.abspath(src))
    except FileNotFoundError:
        raise DamagedFile(f"{os.fsdecode(src)}: no such file") from None
    return prepare_opened(dataset, spec, beat)


def prepare_opened(dataset: Dataset, spec: AugmentSpec, beat: Beat = lambda *_: None) -> Prepared:
    """Check that a data set can be augmented so; float patches are looked through where it matters.

    Raises
    ------
    UsageError
        No such split, a transform that is not for such patches, levels that it cannot take.
    """
    facts = dataset.facts
    pipeline = resolved(spec.pipeline, facts.patch_shape, facts.dtype)
    split = _split(dataset, spec)
    prepared = Prepared(dataset, spec, pipeline, split)
    if facts.dtype == np.float32:
        _check_levels(dataset, pipeline, np.flatnonzero(prepared.chosen), beat)
    return prepared


def _split(dataset: Dataset, spec: AugmentSpec) -> str | None:
    wanted, there = spec.only_split, dataset.splits
    if wanted == ALL or (wanted is None and not there):
        return None
    wanted = TRAIN if wanted is None else wanted
    if wanted not in there:
        listed = f"the splits are {', '.join(there)}" if there else "the data set has no splits"
        raise UsageError(
            f"{os.fsdecode(dataset.path)}: no split {wanted!r} to augment: {listed}; --only-split {ALL} augments all"
        )
    return wanted


def _check_levels(dataset: Dataset, pipeline: Group, rows: npt.NDArray[np.int64], beat: Beat) -> None:
    """Float patches have no fixed range: transforms that take 0 to 1 for granted would clip what lies outside."""
    ranged = [one for one in steps_of(pipeline) if one.name != KERAS and catalogue.support(one).ranged]
    if not ranged:
        return
    for span, block in blocks_of(dataset, rows, beat):
        outside = np.flatnonzero(~((block >= 0) & (block <= 1)).reshape(len(block), -1).all(axis=1))
        if len(outside):
            patch, row = block[outside[0]], rows[span.start + outside[0]]
            raise UsageError(
                f"{ranged[0].place}: {ranged[0].name} takes float patches from 0 to 1, patch {row} of "
                f"{os.fsdecode(dataset.path)} goes from {patch.min():g} to {patch.max():g}: rescale the images before "
                f"they are cut, or use geometric transforms and the Keras ranges only"
            )


def _plan_id(settings: str, tables: dict[str, Array]) -> str:
    """SHA-256 of the settings and of the input's tables, among them the digest of each patch."""
    digest = hashlib.sha256(settings.encode())
    for name, table in sorted(tables.items()):
        if not name.startswith("shards/"):  # how the input is stored makes no difference
            digest.update(f"\0{name}\0{table.shape}\0{table.dtype}\0".encode())
            digest.update(np.ascontiguousarray(table).view(np.uint8).data if table.size else b"")
    return digest.hexdigest()[:32]
