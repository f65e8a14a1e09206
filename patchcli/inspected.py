"""What `inspect` found: one record, which text, JSON and HTML are renderings of.

The keys of `--json` are the names of the fields here; `patchcli/report/inspection.schema.json` describes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from patchcli.specs import Compression, Edge
from patchcli.summaries import LeftOut

FindingKind = Literal["missing", "foreign", "damaged", "contradiction", "leak", "conflict", "source"]
"""`missing`, `foreign`, `damaged`: a file. `contradiction`: tables that do not agree with each other or the pixels.
`leak`: the same in two splits. `conflict`: the same in two classes. `source`: pixels differ from those of the images.
"""
Depth = Literal["quick", "deep"]


@dataclass(frozen=True, slots=True)
class InspectedClass:
    """One class of a data set in numbers.

    Attributes
    ----------
    images : int
        With at least one patch.
    share : float
        Of all patches, 0 to 1.
    split_patches : dict of str to int
        Patches by split, empty without splits.
    pixels, pixels_uncovered, pixels_padded : int
        Of those images: all, in no patch, and added at their borders (summed over patches).
    """

    name: str
    images: int
    patches: int
    share: float
    split_patches: dict[str, int]
    pixels: int
    pixels_uncovered: int
    pixels_padded: int


@dataclass(frozen=True, slots=True)
class ShardState:
    """A shard as it stands on disk; `found` is empty when it is as the index says."""

    name: str
    bytes: int
    patches: int
    found: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    Attributes
    ----------
    file : str
        Where.
    rows : tuple of int
        The first rows of that file that it is about; empty when it is about the file.
    n_rows : int
        How many rows it is about.
    what, remedy : str
        What was found and what was expected; what to do about it.
    """

    kind: FindingKind
    file: str
    rows: tuple[int, ...]
    n_rows: int
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of `--verify`.

    Attributes
    ----------
    ok : bool
        Nothing was found.
    files, bytes, patches : int
        That were looked at; `quick` reads no patch.
    recut : int
        Patches that were cut again from the images and compared.
    findings : tuple of Finding
        The first of each kind.
    n_findings : int
        How many there are in all.
    notes : tuple of str
        What could not be checked, and what is exempt.
    """

    depth: Depth
    ok: bool
    files: int
    bytes: int
    patches: int
    recut: int
    findings: tuple[Finding, ...]
    n_findings: int
    notes: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class PatchFacts:
    """Where one patch comes from.

    Attributes
    ----------
    row : int
        Of the file that was named.
    file, file_row
        Where its pixels are.
    pixels : str
        Python that gives them, as an array (H, W, C).
    class_name, label
        The class, and its row in `/classes`.
    split : str or None
    source, group : str
        Path of its image, relative to the source folder; the group of that, empty without groups.
    source_size : (int, int)
        Width and height of that image, upright, px.
    source_sha256 : str
        Of that image's file.
    xy : (int, int)
        Of the top-left px in the upright image.
    pixels_outside : int
        How many of its px lie outside the image: padded, or mirrored.
    digest : str
        XXH3-64 of its bytes, 16 hex digits.
    origin, copy : int or None
        After `augment`: row of the input, and 0 for the original, copies from 1.
    mean : tuple of float
        Per channel, in grey levels; empty when its px were not read, or hold what is no number.
    """

    row: int
    file: str
    file_row: int
    pixels: str
    class_name: str
    label: int
    split: str | None
    source: str
    group: str
    source_size: tuple[int, int]
    source_sha256: str
    xy: tuple[int, int]
    pixels_outside: int
    digest: str
    origin: int | None
    copy: int | None
    mean: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """Patches that were asked for: how they were selected, how many there are, and the first of them.

    Attributes
    ----------
    where : str
        As `--where` takes it: `class=tumor, split=val`, or `row=17` for `--patch 17`.
    single : bool
        Whether one patch was asked for by its number, and read.
    """

    where: str
    single: bool
    n_patches: int
    patches: tuple[PatchFacts, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was drawn or written: its name, and what it shows in a few words."""

    path: str
    shows: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A patchcli file that is too damaged for anything but its verification."""

    path: str
    verification: Verification
    format: Literal["damaged"] = "damaged"


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is in a patchcli file.

    Attributes
    ----------
    format : "patchcli"
    role : {"single", "index", "shard"}
    patch_shape : (int, int, int)
        Height, width, channels.
    bytes : int
        On disk, of this file and the shards that it lists.
    stride, overlap : (int, int)
        Along x and y, px.
    split_patches : dict of str to int
    copies, repeated : int
        Rows that `augment` made, and those whose px are those of another row of the same patch.
    pixels, pixels_uncovered, pixels_padded : int
        Of the images that have patches: all, in no patch, and added at their borders (summed over patches).
    mean, std : tuple of float
        Per channel over all patches, in grey levels; empty when there are no patches.
    command : tuple of str
        Commands that make it, the first first; `SRC` stands for the folder of images, which no file names.
    settings : dict
        All that decides its bytes.
    verification, selection
        None when they were not asked for.
    written : tuple of Written
    """

    path: str
    role: Literal["single", "index", "shard"]
    plan_id: str
    patches: int
    patch_shape: tuple[int, int, int]
    dtype: Literal["uint8", "uint16", "float32"]
    compression: Compression
    images: int
    bytes: int
    classes: tuple[InspectedClass, ...]
    split_patches: dict[str, int]
    stride: tuple[int, int]
    overlap: tuple[int, int]
    edge: Edge
    copies: int
    repeated: int
    pixels: int
    pixels_uncovered: int
    pixels_padded: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shards: tuple[ShardState, ...]
    left_out: tuple[LeftOut, ...]
    command: tuple[str, ...]
    settings: dict[str, Any]
    verification: Verification | None = None
    selection: Selection | None = None
    written: tuple[Written, ...] = field(default=())
    format: Literal["patchcli"] = "patchcli"

    @property
    def damaged(self) -> tuple[ShardState, ...]:
        """Shards that are missing or not of the size that the index says."""
        return tuple(shard for shard in self.shards if shard.found)
