"""Patches that stand in no file: cut on the fly from the images of a folder, or from arrays, as `extract` cuts them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from patchcli.cut import window
from patchcli.errors import UnreadableInputs, UsageError
from patchcli.grid import Grid, plan_grid
from patchcli.io.decoded import Decoded
from patchcli.io.scan import scan
from patchcli.order import Rows, windowed
from patchcli.pipeline.seeding import Before
from patchcli.records import Image, Scan, Skipped, show
from patchcli.specs import Edge, ExtractSpec, Size

Array = npt.NDArray[Any]

_MOST_LISTED: Final = 20
_WINDOW_BYTES: Final = 8
"""Of the cache for each px of a window: two windows, of at most four channels. Gray masks come in the same order."""


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

    Parameters
    ----------
    names : sequence of bytes
        What tells images apart, wherever they are: paths relative to the folder.
    sizes : sequence of Size
    cutting : Cutting
    most : int
        Px of a window: images are taken in random order, and patches are shuffled among those of so many px.

    Attributes
    ----------
    source : int32 (n,)
        Number of the image of each patch.
    coords : int32 (n, 2)
        (x, y) of its top-left corner, px.

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
        self.source = np.repeat(np.arange(len(sizes), dtype=np.int32), np.diff(self._bounds))

    def __len__(self) -> int:
        return int(self._bounds[-1])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels of a patch."""
        return self.patch.height, self.patch.width, self.channels

    @cached_property
    def coords(self) -> npt.NDArray[np.int32]:
        return np.concatenate([grid.coords for grid in self._grids] or [np.empty((0, 2), np.int32)])

    def order(self, *, seed: int, epoch: int) -> Rows:
        """Positions in the order of an epoch: the patches of an image come near each other, among those of others."""
        return windowed(self._bounds, self._px, self._most, seed=seed, epoch=epoch)

    def read(self, positions: Rows) -> Array:
        """Patches at some positions (k,): array (k, H, W, C); each image among them is taken once."""
        patches = np.empty((len(positions), *self.shape), self.dtype)
        sources, xys = self.source[positions].tolist(), self.coords[positions].tolist()
        edge, pad_value = self.cutting.edge, self.cutting.pad_value
        places: dict[int, list[int]] = {}
        for place, number in enumerate(sources):
            places.setdefault(number, []).append(place)
        for number, its in places.items():
            image = self.image(number)
            for place in its:
                x, y = xys[place]
                patches[place] = window(image, (x, y), self.patch, edge=edge, pad_value=pad_value)
        return patches

    def identities(self, positions: Rows) -> list[tuple[bytes, tuple[int, int], Before]]:
        """What each patch is: name of the image, corner, and nothing more, for it is nobody's copy."""
        sources, xys = self.source[positions].tolist(), self.coords[positions].tolist()
        return [(self.names[source], (x, y), ()) for source, (x, y) in zip(sources, xys, strict=True)]

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


class ArrayCuts(Cuts):
    """Patches of the images of an array (n, height, width, C); images are told apart by their numbers."""

    def __init__(self, images: Array, numbers: Rows, cutting: Cutting) -> None:
        # what a batch is shuffled among need not be held: the array is there
        self._images, self.numbers = images, numbers
        self.dtype, self.channels = images.dtype, images.shape[3]
        sizes = [Size(images.shape[2], images.shape[1])] * len(numbers)
        super().__init__([b"%d" % number for number in numbers.tolist()], sizes, cutting, 2**62)

    def image(self, number: int) -> Array:
        return np.asarray(self._images[self.numbers[number]])


class FolderCuts(Cuts):
    """Patches of the images of a class tree, decoded as they are needed; see `open_folder`."""

    def __init__(
        self,
        decoded: Decoded,
        images: Sequence[Image],
        sizes: Sequence[Size],
        cutting: Cutting,
        *,
        channels: int,
        most: int,
    ) -> None:
        self.decoded, self.channels, self.images = decoded, channels, tuple(images)
        super().__init__([image.path for image in images], sizes, cutting, most)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Label of each patch, int64 (n,)."""
        return np.array([image.label for image in self.images], np.int64)[self.source]

    def image(self, number: int) -> Array:
        return self.decoded.get(number)

    def share(self) -> None:
        self.decoded.share()


class Folder(NamedTuple):
    """What stands in a class tree: classes by label, images by label and path, and all that is left out."""

    classes: tuple[bytes, ...]
    images: tuple[Image, ...]
    skipped: tuple[Skipped, ...]


def look_at_folder(
    root: str | os.PathLike[str],
    *,
    classes: Sequence[str] | None,
    max_pixels: int,
    keep_going: bool,
    follow_links: bool,
) -> Folder:
    """List the images of `root/<class>/**`, sorted by label and path.

    Raises
    ------
    UsageError
        No class folder, or a class that is not there.
    UnreadableInputs
        Images whose headers cannot be read, all listed, unless `keep_going`.
    """
    chosen = tuple(map(os.fsencode, classes)) if classes else None
    if chosen is not None and len(set(chosen)) < len(chosen):
        raise UsageError(f"classes: a name stands twice in {list(classes or ())!r:.200}")
    found: Scan = scan(
        os.fsencode(root), layout="classes", classes=chosen, max_pixels=max_pixels, follow_links=follow_links
    )
    unreadable = [one for one in found.skipped if one.kind == "unreadable"]
    if unreadable and not keep_going:
        listed = "\n".join(f"  {show(one.path)}: {one.reason}" for one in unreadable[:_MOST_LISTED])
        more = f"\n  and {len(unreadable) - _MOST_LISTED} more" if len(unreadable) > _MOST_LISTED else ""
        raise UnreadableInputs(
            f"{len(unreadable)} file{'s' * (len(unreadable) != 1)} in {os.fsdecode(root)} could not be read:\n"
            f"{listed}{more}\nMend or remove them, or leave them out with on_error='skip'."
        )
    # the files of a folder before those of folders in it, as Keras has them
    images = sorted(found.images, key=lambda image: (image.label, *os.path.split(image.path)))
    return Folder(found.classes, tuple(images), found.skipped)


def cut_folder(
    root: str | os.PathLike[str],
    images: Sequence[Image],
    cutting: Cutting,
    *,
    channels: int,
    background: tuple[int, int, int],
    max_pixels: int,
    cache: int,
    size: Size | None,
    interpolation: str,
    keep_aspect_ratio: bool,
) -> FolderCuts:
    """The patches of some images of a folder.

    Parameters
    ----------
    cache : int
        Bytes of decoded images that are held.
    size : Size, optional
        That images are resized to before they are cut.
    """
    sizes = [image.size if size is None else size for image in images]
    if cutting.patch is not None:
        fits = [
            plan_grid(one, cutting.patch, cutting.stride or cutting.patch, cutting.edge).n_patches > 0 for one in sizes
        ]
        images = [image for image, fit in zip(images, fits, strict=True) if fit]
        sizes = [one for one, fit in zip(sizes, fits, strict=True) if fit]
    decoded = Decoded(
        os.fsencode(root),
        images,
        channels=channels,
        background=background,
        max_pixels=max_pixels,
        budget=cache,
        size=size,
        interpolation=interpolation,
        keep_aspect_ratio=keep_aspect_ratio,
    )
    return FolderCuts(decoded, images, sizes, cutting, channels=channels, most=max(1, cache // _WINDOW_BYTES))
