"""Flows that know where each patch comes from: over a class tree, over a data set."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from patchcli.readers.arrays import PatchSet
from patchcli.readers.cuts import ArrayCuts, OfImages
from patchcli.readers.folders import Folder, FolderCuts
from patchcli.readers.keras.flow import Flow, Targets
from patchcli.readers.keras.sources import Source

Array = npt.NDArray[Any]


class _Labelled(Flow):
    """Batches of patches that have a class.

    Attributes
    ----------
    class_indices : dict of str to int
    num_classes : int
    """

    def __init__(self, source: Source, labels: Array | OfImages, names: tuple[str, ...], **others: Any) -> None:
        self.class_indices = {name: label for label, name in enumerate(names)}
        self.num_classes = len(names)
        self._labels = labels
        # class_mode input and None hand out no labels
        values = None if others["class_mode"] in (None, "input") else labels
        super().__init__(source, Targets(values, len(names)), **others)

    @property
    def classes(self) -> npt.NDArray[np.int32]:
        """Label of each patch, int32 (n,)."""
        return self._labels[:].astype(np.int32)

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """Label of each patch, int32 (n,)."""
        return self.classes


class DirectoryFlow(_Labelled):
    """Batches of patches cut from the images of a class tree.

    Attributes
    ----------
    directory : str
    images : tuple of Image
        Those with patches: path, width and height.
    skipped : tuple of Skipped
        Files that gave no patches, each with its reason.
    """

    def __init__(self, directory: Any, folder: Folder, cuts: FolderCuts, source: Source, **others: Any) -> None:
        self.directory = os.fsdecode(directory)
        self.skipped = tuple(sorted([*folder.skipped, *cuts.small], key=lambda one: one.path))
        self._cuts = cuts
        self.images = cuts.images
        names = tuple(map(os.fsdecode, folder.classes))
        super().__init__(source, cuts.labels, names, **others)

    @property
    def coords(self) -> npt.NDArray[np.int32]:
        """(x, y) of each patch's top-left corner in its image, px: int32 (n, 2)."""
        return self._cuts.coords

    @property
    def source(self) -> npt.NDArray[np.int32]:
        """Number of the image of each patch, int32 (n,)."""
        return self._cuts.source

    @property
    def filenames(self) -> list[str]:
        """Image of each patch, relative to the directory; n of them."""
        names = [os.fsdecode(image.path) for image in self.images]
        return [names[number] for number in self.source.tolist()]

    @property
    def filepaths(self) -> list[str]:
        """Image of each patch."""
        return [os.path.join(self.directory, name) for name in self.filenames]

    @property
    def n_decoded(self) -> int:
        """How often this process has decoded an image so far."""
        return self._cuts.decoded.n_decoded


class ArrayFlow(Flow):
    """Batches of patches cut from the images of an array.

    Attributes
    ----------
    coords : int32 (n, 2)
        (x, y) of each patch's top-left corner in its image, px.
    source : int64 (n,)
        Number of its image in the array.
    """

    def __init__(self, cuts: ArrayCuts, source: Source, targets: Targets, **others: Any) -> None:
        super().__init__(source, targets, **others)
        self.coords, self.source = cuts.coords, cuts.numbers[cuts.source]


class SetFlow(_Labelled):
    """Batches of patches of a data set.

    Attributes
    ----------
    patches : PatchSet
    """

    def __init__(self, patches: PatchSet, source: Source, **others: Any) -> None:
        self.patches = patches
        super().__init__(source, patches.labels, patches.classes, **others)
        self.coords, self.source = patches.coords, patches.source

    @property
    def filenames(self) -> list[str]:
        """Image of each patch, relative to the folder that it was cut from; n of them."""
        names = [os.fsdecode(path) for path in self.patches.sources.path]
        return [names[number] for number in self.source.tolist()]
