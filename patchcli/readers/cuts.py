"""Patches that stand in no file: cut on the fly from images, as `extract` cuts them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from patchcli.cut import window
from patchcli.errors import UsageError
from patchcli.grid import Grid, plan_grid
from patchcli.order import Rows, Windows
from patchcli.pipeline.seeding import Before
from patchcli.records import show
from patchcli.specs import Edge, ExtractSpec, Size

Array = npt.NDArray[Any]


class Cutting(NamedTuple):
    """How images are cut; `patch` and `stride` None: whole images, which must have one size."""

    patch: Size | None
    stride: Size | None
    edge: Edge
    pad_value: int


def cutting_of(patch: object, overlap: object, stride: object, edge: Edge, pad_value: int) -> Cutting:
    """How images are cut, from the options as users write them.

    Raises
    ------
    UsageError
    """
    if patch is None:
        if overlap is not None or stride is not None:
            raise UsageError("overlap and stride are those of patches: give patch_size")
        return Cutting(None, None, edge, pad_value)
    spec = ExtractSpec.of(patch=patch, overlap=overlap, stride=stride, edge=edge, pad_value=pad_value)
    return Cutting(spec.patch_size, spec.stride, spec.edge, spec.pad_value)


class Cuts:
    """Patches of some images by position: image by image, row-major within each.

    Only what is said of images is held, whatever the number of patches.

    Parameters
    ----------
    names : sequence of bytes
        What tells images apart, wherever they are: paths relative to the folder.
    sizes : sequence of Size
    cutting : Cutting
    most : int
        Px of a window: images are taken in random order, and patches are shuffled among those of so many px.

    Raises
    ------
    UsageError
        Whole images are asked for and sizes differ.
    """

    dtype: np.dtype[Any] = np.dtype(np.uint8)
    channels = 3

    def __init__(self, names: Sequence[bytes], sizes: Sequence[Size], cutting: Cutting, most: int) -> None:
        self.names, self.cutting, self._most = names, cutting, most
        self.patch, stride = _whole(names, sizes) if cutting.patch is None else (cutting.patch, cutting.stride)
        grids = {size: plan_grid(size, self.patch, stride or self.patch, cutting.edge) for size in set(sizes)}
        self._grids: list[Grid] = [grids[size] for size in sizes]
        self._bounds = np.cumsum([0, *(grid.n_patches for grid in self._grids)], dtype=np.int64)
        self._px = np.array([size.width * size.height for size in sizes], np.int64)

    def __len__(self) -> int:
        return int(self._bounds[-1])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels of a patch."""
        return self.patch.height, self.patch.width, self.channels

    @property
    def name(self) -> str:
        """What tells these patches, and their order, from those of others."""
        said = b"\0".join(self.names) + self._px.tobytes() + f"{self.cutting} {self._most}".encode()
        return f"images {xxhash.xxh3_64_hexdigest(said)}"

    @property
    def source(self) -> npt.NDArray[np.int32]:
        """Number of the image of each patch, int32 (n,)."""
        return np.repeat(np.arange(len(self.names), dtype=np.int32), np.diff(self._bounds))

    @property
    def coords(self) -> npt.NDArray[np.int32]:
        """(x, y) of the top-left corner of each patch, int32 (n, 2), px."""
        return np.concatenate([grid.coords for grid in self._grids] or [np.empty((0, 2), np.int32)])

    def sources_of(self, positions: Rows) -> Rows:
        """Number of the image of some patches, int64 (k,)."""
        return np.asarray(np.searchsorted(self._bounds, positions, side="right") - 1)

    def order(self, *, seed: int, epoch: int) -> Windows:
        """Positions in the order of an epoch: the patches of an image come near each other, among those of others."""
        return Windows(self._bounds, self._px, self._most, seed=seed, epoch=epoch)

    def read(self, positions: Rows) -> Array:
        """Patches at some positions (k,): array (k, H, W, C); each image among them is taken once."""
        patches = np.empty((len(positions), *self.shape), self.dtype)
        edge, pad_value = self.cutting.edge, self.cutting.pad_value
        places: dict[int, list[int]] = {}
        for place, number in enumerate(self.sources_of(positions).tolist()):
            places.setdefault(number, []).append(place)
        for number, its in places.items():
            image, xys = self.image(number), self._xys(number, positions[its])
            for place, (x, y) in zip(its, xys, strict=True):
                patches[place] = window(image, (x, y), self.patch, edge=edge, pad_value=pad_value)
        return patches

    def identities(self, positions: Rows) -> list[tuple[bytes, tuple[int, int], Before]]:
        """What each patch is: name of the image, corner, and nothing more, for it is nobody's copy."""
        sources = self.sources_of(positions).tolist()
        xys = [self._xys(source, positions[place : place + 1])[0] for place, source in enumerate(sources)]
        return [(self.names[source], (x, y), ()) for source, (x, y) in zip(sources, xys, strict=True)]

    def augmented(self, positions: Rows) -> list[bool]:
        """Which of some patches are for training: all."""
        return [True] * len(positions)

    def _xys(self, number: int, positions: Rows) -> list[list[int]]:
        xys: list[list[int]] = self._grids[number].coords[positions - self._bounds[number]].tolist()
        return xys

    def image(self, number: int) -> Array:
        """Px of an image (height, width, C)."""
        raise NotImplementedError

    def share(self) -> None:
        """Make ready to be read by several processes."""


def _whole(names: Sequence[bytes], sizes: Sequence[Size]) -> tuple[Size, Size]:
    first = sizes[0] if sizes else Size(1, 1)
    for name, size in zip(names, sizes, strict=True):
        if size != first:
            raise UsageError(
                f"{show(name)} has {size.width}x{size.height} px, {show(names[0])} {first.width}x{first.height}: whole "
                f"images must have one size: give patch_size, or target_size to resize them"
            )
    return first, first


class OfImages:
    """What belongs to images, for their patches: `values[positions]` and `values[:]`, like an array of n rows."""

    def __init__(self, values: Array, cuts: Cuts) -> None:
        self._values, self._cuts = values, cuts

    def __getitem__(self, positions: Any) -> Array:
        at = self._cuts.source[positions] if isinstance(positions, slice) else self._cuts.sources_of(positions)
        return np.asarray(self._values[at])


class ArrayCuts(Cuts):
    """Patches of some images of an array (n, height, width, C), told apart by their numbers.

    uint8 and uint16 stay what they are, all else becomes float32.
    """

    def __init__(self, images: Array, numbers: Rows, cutting: Cutting) -> None:
        # what a batch is shuffled among need not be held: the array is there
        self._images, self.numbers = images, numbers
        self.dtype = images.dtype if images.dtype in (np.uint8, np.uint16) else np.dtype(np.float32)
        self.channels = images.shape[3]
        sizes = [Size(images.shape[2], images.shape[1])] * len(numbers)
        super().__init__([b"%d" % number for number in numbers.tolist()], sizes, cutting, 2**62)

    def image(self, number: int) -> Array:
        # one by one: the array may be a file that is larger than memory
        return np.asarray(self._images[self.numbers[number]]).astype(self.dtype, copy=False)
