"""Whose HDF5 file it is and what it holds, by the names, shapes and attributes that programs are known to write.

As their own writers have it: CLAM (`wsi_core/wsi_utils.py`, `WholeSlideImage.py`, `utils/file_utils.py`), TRIDENT
(`IO.py`), AtlasPatch, wsinfer (`patchlib`), PatchCamelyon, PathML. Anything else is described by its shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from patchcli.foreign.records import Coordinates, Facts, ForeignDataset, Kind, Labels, Pair, Pixels

Table = npt.NDArray[np.int64]
Datasets = Mapping[str, ForeignDataset]

_COORDS_WIDTHS: Final = (2, 4, 5)  # x, y; then width, height (wsinfer); then level (AtlasPatch)
_PIXEL_NAMES: Final = ("patches", "imgs", "x", "images", "data", "X", "image")
_LABEL_NAMES: Final = ("y", "label", "labels", "target", "targets", "class", "classes", "Y")
_SLIDE_NAMES: Final = ("wsi_name", "name", "wsi_path")
_MOST_LABEL_TABLES: Final = 4
_IN_LINE: Final = 4  # of so many points of a grid at least one has a neighbour in its row
_MOST_COUNTS: Final = 16
_CHANNELS: Final = (1, 3, 4)
_PIXEL_DTYPES: Final = ("uint8", "uint16", "float16", "float32", "float64")
_PCAM_SHAPES: Final = {"x": (96, 96, 3), "y": (1, 1, 1), "mask": (96, 96, 1)}
_UNKNOWN: Final = ("pathml", "images", "coords", "features", "other")
_LARGEST: Final = 1 << 40  # of numbers that are taken for sizes in px


@dataclass(frozen=True)
class Values:
    """The first rows of a table, of `rows` in all."""

    rows: int
    read: Table


def tables_wanted(datasets: Datasets) -> tuple[str, ...]:
    """Paths of the small tables whose values are worth reading: coordinates, and labels."""
    coords = [] if _coords(datasets) is None else ["/coords"]
    return (*coords, *list(_label_tables(datasets))[:_MOST_LABEL_TABLES])


def kind_of(datasets: Datasets, groups: Sequence[str], root: Mapping[str, Any]) -> Kind:
    """The convention that a file follows; groups by path, and the root's attributes."""
    top = {path[1:] for path in datasets if path.count("/") == 1}
    if top and top <= set(_PCAM_SHAPES) and all(_is_pcam(datasets["/" + name], name) for name in top):
        return "patchcamelyon"
    if {"/fields", "/tiles"} <= set(groups):
        return "pathml"
    coords = _coords(datasets)
    if coords is not None:
        return _kind_of_coords(coords, datasets, root)
    if _pixels(datasets) is not None:
        return "images"
    return "features" if _features(datasets) is not None else "other"


def _kind_of_coords(coords: ForeignDataset, datasets: Datasets, root: Mapping[str, Any]) -> Kind:
    said, features = coords.attributes, _features(datasets)
    kind: Kind = "coords"
    if "/imgs" in datasets:
        kind = "clam-patches"
    elif coords.shape and coords.shape[1] == _COORDS_WIDTHS[-1] and "patch_size_level0" in root:
        kind = "atlaspatch"
    elif "target_magnification" in said:
        kind = "trident-coords"
        if features is not None:
            kind = "trident-features" if len(features.shape or ()) > 1 else "trident-slide-features"
    elif "patch_spacing_um_px" in said:
        kind = "wsinfer"
    elif {"patch_size", "patch_level"} <= set(said):
        kind = "clam-coords"
    elif features is not None:  # CLAM keeps no attributes beside its features
        kind = "clam-features"
    elif _pixels(datasets) is not None:
        kind = "images"
    return kind


def _is_pcam(one: ForeignDataset, name: str) -> bool:
    return one.shape is not None and one.shape[1:] == _PCAM_SHAPES[name] and one.dtype == "uint8"


def _coords(datasets: Datasets) -> ForeignDataset | None:
    one = datasets.get("/coords")
    if one is None or one.shape is None or len(one.shape) != 2 or one.shape[1] not in _COORDS_WIDTHS:
        return None
    return one if one.dtype.startswith(("int", "uint", "float")) else None


def _features(datasets: Datasets) -> ForeignDataset | None:
    for path, one in datasets.items():
        if (path == "/features" or path.startswith("/features/")) and one.shape and len(one.shape) <= 2:
            return one
    return None


def _label_tables(datasets: Datasets) -> Iterator[str]:
    for path, one in datasets.items():
        whole = one.dtype.startswith(("int", "uint")) and one.shape
        if whole and path.rpartition("/")[2] in _LABEL_NAMES and all(length == 1 for length in one.shape[1:]):  # type: ignore[index]
            yield path


def _pixels(datasets: Datasets) -> Pixels | None:
    """The images of a file: under a name that is in use for them, or else the largest."""
    found = [(one, pixels) for one in datasets.values() if (pixels := _as_pixels(one)) is not None]

    def rank(item: tuple[ForeignDataset, Pixels]) -> tuple[int, int]:
        name = item[0].path.rpartition("/")[2]
        return (_PIXEL_NAMES.index(name) if name in _PIXEL_NAMES else len(_PIXEL_NAMES), -item[0].declared_bytes)

    return min(found, key=rank)[1] if found else None


def _as_pixels(one: ForeignDataset) -> Pixels | None:
    shape = one.shape or ()
    if one.dtype not in _PIXEL_DTYPES or len(shape) not in (3, 4):
        return None
    if len(shape) == 3:  # a stack of gray images; three or four columns are one image in colour
        rows, height, width = shape
        channels, axes = 1, "n,y,x"
        if width in (3, 4):
            return None
    elif shape[3] in _CHANNELS:
        rows, height, width, channels = shape
        axes = "n,y,x,c"
    elif shape[1] in _CHANNELS:
        rows, channels, height, width = shape
        axes = "n,c,y,x"
    else:
        return None
    return Pixels(one.path, rows, (width, height), channels, axes) if min(width, height) > 1 else None


def facts_of(kind: Kind, datasets: Datasets, root: Mapping[str, Any], values: Mapping[str, Values]) -> Facts:
    """What the file holds in the terms of patches, from what it says and from the tables that were read."""
    pixels, table, features = _pixels(datasets), datasets.get("/coords"), _features(datasets)
    said: dict[str, Any] = {**root, **(table.attributes if table else {})}
    if kind == "clam-patches":
        said.update(datasets["/imgs"].attributes)
    level, scale = _whole(said, "patch_level", least=0), _scale(said)
    size = pixels.size if pixels else _square(said, "patch_size")
    size0 = _square(said, "patch_size_level0")
    slide = _pair(said, "level0_width", "level0_height")
    if scale is not None:
        dims, more = _listed(said, "level_dim"), _more(said)
        size0 = size0 or (_times(size, (scale[0] * more, scale[1] * more)) if size else None)
        slide = slide or (_times(dims, scale) if dims else None)
    elif kind == "wsinfer":
        size0 = size  # its patch_size counts px of full resolution
    level_of_coords = level if kind == "clam-patches" else None if kind in _UNKNOWN or table is None else 0
    reach, border = (size, _listed(said, "downsampled_level_dim")) if kind == "clam-patches" else (size0, slide)
    coords = coordinates("/coords", values["/coords"], reach, border) if "/coords" in values else None
    labels = tuple(count_labels(path, one) for path, one in values.items() if path != "/coords")
    rows = [one.rows for one in (pixels, coords) if one] + [one.rows for one in labels]
    if features is not None and kind != "trident-slide-features" and features.shape and len(features.shape) == 2:
        rows.append(features.shape[0])
    return Facts(
        patches=rows[0] if rows else None,
        patch_size=size,
        patch_size_level0=size0,
        level=level,
        level_of_coords=level_of_coords,
        magnification=_number(said, "target_magnification"),
        microns_per_px=_number(said, "patch_spacing_um_px"),
        slide=next(
            (str(said[name]) for name in ("wsi_name", "name", "wsi_path") if isinstance(said.get(name), str)), ""
        ),
        slide_size=slide,
        pixels=pixels,
        coordinates=coords,
        labels=labels,
        feature_length=features.shape[-1] if features is not None and features.shape else None,
    )


def coordinates(path: str, values: Values, size: Pair | None = None, border: Pair | None = None) -> Coordinates:
    """What a table of coordinates (k, 2 or more) comes to: extent, stride, repetitions.

    Parameters
    ----------
    size, border : (int, int), optional
        Of a patch and of the slide, in the unit of the coordinates; to count what reaches over the border.
    """
    xy = values.read[:, :2]
    x, y = xy[:, 0], xy[:, 1]
    by_row, by_column = np.lexsort((x, y)), np.lexsort((y, x))
    across, across_share = _stride(x[by_row], y[by_row])
    down, down_share = _stride(y[by_column], x[by_column])
    ordered = xy[by_row]
    outside = None
    if size and border:
        outside = int(np.sum((x > border[0] - size[0]) | (y > border[1] - size[1])))
    return Coordinates(
        path=path,
        rows=values.rows,
        rows_read=len(xy),
        least=(int(x.min()), int(y.min())) if len(xy) else None,
        greatest=(int(x.max()), int(y.max())) if len(xy) else None,
        stride=(across, down),
        stride_share=(across_share, down_share),
        repeated=int(np.sum((ordered[1:] == ordered[:-1]).all(axis=1))),
        negative=int(np.sum((xy < 0).any(axis=1))),
        outside=outside,
    )


def _stride(along: Table, line: Table) -> tuple[int | None, float]:
    """The most frequent step along a row or column; CLAM begins a grid anew for each piece of tissue.

    None where few points have a neighbour in their row or column: they are on no grid.
    """
    steps = np.diff(along)[np.diff(line) == 0]
    lengths, counts = np.unique(steps[steps > 0], return_counts=True)
    if _IN_LINE * counts.sum() < len(along) or not len(lengths):
        return None, 0.0
    best = int(np.argmax(counts))
    return int(lengths[best]), round(float(counts[best] / counts.sum()), 4)


def count_labels(path: str, values: Values) -> Labels:
    """How often each value occurs, the most frequent values, in their own order."""
    numbers, counts = np.unique(values.read, return_counts=True)
    kept = np.sort(np.argsort(-counts, kind="stable")[:_MOST_COUNTS])
    named = {str(number): count for number, count in zip(numbers[kept].tolist(), counts[kept].tolist(), strict=True)}
    return Labels(path, values.rows, values.read.shape[0], named, len(numbers))


# --- attributes of strangers: any type, any value


def _whole(said: Mapping[str, Any], name: str, least: int = 1) -> int | None:
    number = _number(said, name)
    return int(number) if number is not None and number == int(number) and least <= number < _LARGEST else None


def _number(said: Mapping[str, Any], name: str) -> float | None:
    value = said.get(name)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST
    return value if good else None


def _square(said: Mapping[str, Any], name: str) -> Pair | None:
    side = _whole(said, name)
    return (side, side) if side is not None else _listed(said, name)


def _pair(said: Mapping[str, Any], *names: str) -> Pair | None:
    first, second = (_whole(said, name) for name in names)
    return None if first is None or second is None else (first, second)


def _listed(said: Mapping[str, Any], name: str) -> Pair | None:
    value = said.get(name)
    if not isinstance(value, list) or len(value) != 2:
        return None
    return _pair(dict(zip("ab", value, strict=True)), "a", "b")


def _scale(said: Mapping[str, Any]) -> tuple[float, float] | None:
    """How many px of full resolution a px of the level is wide and high."""
    value = said.get("downsample")
    numbers = [_number({"a": one}, "a") for one in (value if isinstance(value, list) else [value, value])]
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None or min(numbers[0], numbers[1]) <= 0:
        return None
    return float(numbers[0]), float(numbers[1])


def _more(said: Mapping[str, Any]) -> float:
    """How many px of the level became one of a patch: CLAM halves patches where a slide lacks a level between."""
    dims, stored = _listed(said, "level_dim"), _listed(said, "downsampled_level_dim")
    return _number(said, "custom_downsample") or (round(dims[0] / stored[0]) if dims and stored else 0) or 1.0


def _times(size: Pair, scale: tuple[float, float]) -> Pair:
    return round(size[0] * scale[0]), round(size[1] * scale[1])
