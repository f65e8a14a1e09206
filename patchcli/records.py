"""Facts that come out: frozen values that travel between scan, plan, workers, index and report."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from patchcli.specs import Compression, ExtractSpec, Size

T = TypeVar("T", bound="Task")
SkipKind = Literal["ignored", "small", "unreadable"]
Identity = tuple[int, ...]
"""What tells a file from another that takes its name: device, inode, size, time of the last change."""

_ITEM_BYTES: Final = {"uint8": 1, "uint16": 2, "float32": 4}


@dataclass(frozen=True, slots=True)
class Image:
    """A source image as its header describes it.

    Attributes
    ----------
    path : bytes
        Relative to the source folder, `/` between the parts, as the file system spells it.
    label : int
        Row of the class table.
    split : int
        Row of the split table, -1 without splits.
    n_bytes : int
        Size of the file.
    width, height : int
        Upright (EXIF orientation applied), px.
    model : str
        Colour model of the file, as Pillow names it: `L`, `RGB`, `P`, `CMYK`, ...
    alpha : bool
        Whether it has transparency.
    orientation : int
        EXIF orientation still to be applied to what the decoder gives, 1 to 8.
    """

    path: bytes
    label: int
    split: int
    n_bytes: int
    width: int
    height: int
    model: str
    alpha: bool
    orientation: int

    @property
    def is_gray(self) -> bool:
        """Whether gray levels hold all that the file shows (its transparency apart)."""
        return self.model in ("1", "L", "LA", "La")

    @property
    def size(self) -> Size:
        """Width and height, upright, px."""
        return Size(self.width, self.height)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that gives no patches, and why.

    `kind` is `ignored` (not an image for us), `small` (no window fits) or `unreadable` (an image that is broken).
    """

    path: bytes
    reason: str
    kind: SkipKind


def too_small(path: bytes, size: Size, patch: Size) -> Skipped:
    """An image, upright, into which no patch fits."""
    return Skipped(path, f"{size.width}x{size.height} is smaller than a patch of {patch}", "small")


def show(path: bytes | str) -> str:
    """A path for a line of text: control characters and undecodable bytes are escaped, so that it stays one line."""
    text = os.fsdecode(path)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "".join(f"\\x{b:02x}" for b in os.fsencode(c)) for c in text)


@dataclass(frozen=True, slots=True)
class Scan:
    """What stands in a source folder: images sorted by path, and all that is left out."""

    root: bytes
    classes: tuple[bytes, ...]
    splits: tuple[bytes, ...]
    images: tuple[Image, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True)
class Portion:
    """Some rows of windows of one image; all of them unless the image is split over shards."""

    source: int
    image: Image
    start: int
    stop: int

    @property
    def rows(self) -> range:
        """The rows of windows, numbers within the image's grid."""
        return range(self.start, self.stop)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What all files of a data set have in common, and say of themselves.

    Attributes
    ----------
    patch_shape : (int, int, int)
        Height, width, channels.
    dtype : str
        Of the pixels, as numpy names it.
    stride : Size
        Of the grid that the patches were cut on, px.
    settings : str
        Canonical JSON.
    copies : bool
        Whether rows are copies of another data set's rows, and say of which (`/origin`, `/copy`).
    """

    patch_shape: tuple[int, int, int]
    dtype: str
    stride: Size
    compression: Compression
    classes: tuple[bytes, ...]
    splits: tuple[bytes, ...]
    plan_id: str
    settings: str
    n_shards: int
    copies: bool = False

    @property
    def channels(self) -> int:
        """Channels of a patch."""
        return self.patch_shape[2]

    @property
    def shard_role(self) -> str:
        """What a shard says it is: the only one is the whole data set."""
        return "single" if self.n_shards == 1 else "shard"

    @property
    def patch_size(self) -> Size:
        """Width and height of a patch, px."""
        return Size(self.patch_shape[1], self.patch_shape[0])

    @property
    def patch_bytes(self) -> int:
        """Bytes of the pixels of a patch."""
        height, width, channels = self.patch_shape
        return height * width * channels * _ITEM_BYTES[self.dtype]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One shard to keep or build: it travels to a worker, which owns that file and no other.

    Attributes
    ----------
    path : bytes
        Final name of the file.
    n_rows : int
        Patches planned.
    run : str
        This run's name in temporary files.
    digest : str
        What the index says the file's digest is; empty where there is no index yet.
    skipped : tuple of Skipped
        What a file that is the whole data set says of the files left out before; empty for shards.
    seen : Identity or None
        What stood in the place of the data set when the run began, and may be replaced.
    """

    shard: int
    path: bytes
    n_rows: int
    recipe: Recipe
    run: str
    digest: str = ""
    skipped: tuple[Skipped, ...] = ()
    seen: Identity | None = None

    def ready(self: T) -> T:
        """What travels to a worker: this task, with what is only put together then."""
        return self

    def rows_begun(self, noted: int) -> int:
        """Rows that are done, from what a worker noted last."""
        return noted

    def place(self, noted: int) -> str:
        """What a worker was at, from what it noted last, for an obituary."""
        return f"row {noted} of {self.n_rows} in this shard"


@dataclass(frozen=True, slots=True, kw_only=True)
class CutTask(Task):
    """A shard to be cut from images; its worker notes the number of images begun.

    Attributes
    ----------
    root : bytes
        Source folder.
    rebuild : bool
        Whether a whole shard of images that have changed or been mended is built again; otherwise that is only said.
    withheld : bool
        Whether the file must not be published whatever its images are; they are only looked at.
    keep_going : bool
        Whether unreadable images are left out instead of stopping the shard.
    """

    root: bytes
    portions: tuple[Portion, ...]
    spec: ExtractSpec
    max_pixels: int
    rebuild: bool = False
    withheld: bool = False
    keep_going: bool = False

    def rows_begun(self, noted: int) -> int:
        """Rows that are done, if all images had as many."""
        return self.n_rows * max(0, noted - 1) // len(self.portions)

    def place(self, noted: int) -> str:
        """The image that was being read."""
        images = [show(portion.image.path) for portion in self.portions]
        last = max(0, min(noted, len(images)) - 1)
        return f"{images[last]} (image {last + 1} of {len(images)} in this shard, {images[0]} to {images[-1]})"


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """What a worker says about its shard.

    Attributes
    ----------
    state : {"built", "kept", "stopped"}
        `kept`: it was there and whole. `stopped`: an unreadable image kept it from being published.
    changed : tuple of bytes
        Images of a kept shard whose files are no longer those that it was cut from.
    mended : bool
        Whether an image that a kept shard was built without can be read by now.
    n_bytes, digest
        Size of the file and its XXH3-128, 32 hex digits.
    skipped : tuple of Skipped
        Its unreadable images.
    """

    shard: int
    state: Literal["built", "kept", "stopped"]
    n_bytes: int = 0
    digest: str = ""
    skipped: tuple[Skipped, ...] = ()
    changed: tuple[bytes, ...] = ()
    mended: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: handed to a callback about ten times a second. What the callback raises stops the run."""

    phase: Literal["scan", "cut", "augment", "index", "verify", "compare"]
    done: int
    total: int
    unit: str


ProgressCallback = Callable[[Progress], None]


def no_progress(progress: Progress) -> None:
    """The callback of a silent run."""
