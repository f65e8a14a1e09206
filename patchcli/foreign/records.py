"""What is in an HDF5 file that patchcli did not make: records, which text and JSON are renderings of.

The keys of `--json` are the names of the fields here. Names in such files are untrusted: they are shown escaped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "clam-coords",
    "clam-patches",
    "clam-features",
    "trident-coords",
    "trident-features",
    "trident-slide-features",
    "atlaspatch",
    "wsinfer",
    "patchcamelyon",
    "pathml",
    "images",
    "coords",
    "features",
    "other",
]
"""Which convention a file follows: that of a program, or pixels, coordinates or features that stand for themselves."""

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ForeignDataset:
    """A data set as the file describes it; none of its values.

    Attributes
    ----------
    path : str
        Absolute in the file, escaped.
    shape : tuple of int or None
        None where it has no values at all, or where they are in other files.
    dtype : str
        In numpy's words where those suffice.
    layout : {"contiguous", "chunked", "compact", "virtual", "external", "unknown"}
        `virtual` and `external` values are in other files, which are never opened.
    chunks : tuple of int or None
    compression : str
        Filters in the order in which they were applied; `none`.
    filters : tuple of int
        Their registered numbers.
    bytes : int
        Stored in this file.
    declared_bytes : int
        That its shape comes to, uncompressed.
    attributes : dict of str to value
        Those that are text or numbers, the first of them.
    """

    path: str
    shape: tuple[int, ...] | None
    dtype: str
    layout: str
    chunks: tuple[int, ...] | None
    compression: str
    filters: tuple[int, ...]
    bytes: int
    declared_bytes: int
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """Something in the file that was not followed, opened or read, and what it is."""

    path: str
    what: str


@dataclass(frozen=True, slots=True)
class Coordinates:
    """What the values of a table of coordinates come to.

    Attributes
    ----------
    rows, rows_read : int
        In the table, and those that were looked at: the first.
    least, greatest : (int, int) or None
        Smallest and largest x and y.
    stride : (int or None, int or None)
        The most frequent distance of neighbours in a row and in a column of patches, in the unit of the coordinates.
    stride_share : (float, float)
        Of the neighbours that are that far apart, 0 to 1.
    repeated : int
        Rows whose coordinates stand in an earlier row too.
    negative : int
        Rows with an x or y below 0.
    outside : int or None
        Rows whose patch reaches over the right or bottom border of the slide; None where sizes are not known.
    """

    path: str
    rows: int
    rows_read: int
    least: Pair | None
    greatest: Pair | None
    stride: tuple[int | None, int | None]
    stride_share: tuple[float, float]
    repeated: int
    negative: int
    outside: int | None


@dataclass(frozen=True, slots=True)
class Labels:
    """Whole numbers, one a patch: how often each value occurs among the rows read; the most frequent values."""

    path: str
    rows: int
    rows_read: int
    counts: dict[str, int]
    n_values: int


@dataclass(frozen=True, slots=True)
class Pixels:
    """A data set that holds images.

    Attributes
    ----------
    size : (int, int)
        Width and height of each, px.
    axes : str
        Order of its axes: `n,y,x,c`, `n,c,y,x` or `n,y,x`.
    """

    path: str
    rows: int
    size: Pair
    channels: int
    axes: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file holds in the terms of patches.

    Attributes
    ----------
    patches : int or None
        How many, by the table or the pixels that say so first.
    patch_size : (int, int) or None
        Width and height in px, as they are read or stored.
    patch_size_level0 : (int, int) or None
        In px of the slide's full resolution.
    level : int or None
        Of the slide's pyramid, on which the patches are read.
    level_of_coords : int or None
        On which the coordinates count px; 0 is full resolution.
    magnification : float or None
        Of the patches.
    microns_per_px : float or None
        Of the patches.
    slide : str
        Its name; empty where none is given.
    slide_size : (int, int) or None
        Width and height at full resolution, px.
    pixels : Pixels or None
    coordinates : Coordinates or None
    labels : tuple of Labels
    feature_length : int or None
        Numbers that stand for a patch, or for the whole slide.
    """

    patches: int | None = None
    patch_size: Pair | None = None
    patch_size_level0: Pair | None = None
    level: int | None = None
    level_of_coords: int | None = None
    magnification: float | None = None
    microns_per_px: float | None = None
    slide: str = ""
    slide_size: Pair | None = None
    pixels: Pixels | None = None
    coordinates: Coordinates | None = None
    labels: tuple[Labels, ...] = ()
    feature_length: int | None = None


@dataclass(frozen=True, slots=True)
class ForeignFile:
    """An HDF5 file that patchcli did not make.

    Attributes
    ----------
    format : "other"
    bytes : int
        On disk.
    groups : int
        That were looked into, the root among them.
    attributes : dict of str to value
        Of the root, the first of them.
    left_alone : tuple of LeftAlone
        Links and values in other files, which are never followed, and objects that could not be read.
    findings : tuple of str
        What does not fit together.
    missing : tuple of str
        What files of patchcli have and this one has not.
    use : tuple of str
        What can be done with it.
    notes : tuple of str
        What was not looked at, because the file has more of it than is looked at.
    """

    path: str
    kind: Kind
    bytes: int
    groups: int
    attributes: dict[str, Any]
    datasets: tuple[ForeignDataset, ...]
    left_alone: tuple[LeftAlone, ...]
    facts: Facts
    findings: tuple[str, ...]
    missing: tuple[str, ...]
    use: tuple[str, ...]
    notes: tuple[str, ...]
    format: Literal["other"] = "other"
