"""The images of a class tree, and their patches cut on the fly."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from patchcli.errors import UnreadableInputs, UsageError
from patchcli.grid import plan_grid
from patchcli.io.decoded import Decoded
from patchcli.io.scan import scan
from patchcli.readers.cuts import Cuts, Cutting, OfImages
from patchcli.records import Image, Scan, Skipped, show, too_small
from patchcli.specs import Size

Array = npt.NDArray[Any]

_MOST_LISTED: Final = 20
_WINDOW_BYTES: Final = 8
"""Of the cache for each px of a window: two windows, of at most four channels. Gray masks come in the same order."""


class FolderCuts(Cuts):
    """Patches of the images of a class tree, decoded as they are needed; made by `cut_folder`."""

    def __init__(
        self,
        decoded: Decoded,
        images: Sequence[Image],
        sizes: Sequence[Size],
        cutting: Cutting,
        *,
        channels: int,
        small: Sequence[Skipped],
        most: int,
    ) -> None:
        self.decoded, self.channels = decoded, channels
        self.images, self.small = tuple(images), tuple(small)
        self.labels = OfImages(np.array([image.label for image in images], np.int64), self)
        super().__init__([image.path for image in images], sizes, cutting, most)

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
    small: list[Skipped] = []
    if cutting.patch is not None and cutting.stride is not None:
        fits = {one for one in set(sizes) if plan_grid(one, cutting.patch, cutting.stride, cutting.edge).n_patches}
        pairs = list(zip(images, sizes, strict=True))
        small = [too_small(image.path, one, cutting.patch) for image, one in pairs if one not in fits]
        images = [image for image, one in pairs if one in fits]
        sizes = [one for one in sizes if one in fits]
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
    return FolderCuts(
        decoded, images, sizes, cutting, channels=channels, small=small, most=max(1, cache // _WINDOW_BYTES)
    )
