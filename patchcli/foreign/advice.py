"""What does not fit together in a file that patchcli did not make, what it lacks beside ours, what to do with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from patchcli.foreign.records import Facts, ForeignDataset, Kind

_FLETCHER32 = 3
_FREE = frozenset({2, _FLETCHER32})  # filters that do not make data smaller


def findings(facts: Facts, datasets: Mapping[str, ForeignDataset]) -> tuple[str, ...]:
    """Lengths that differ, values that were never written, coordinates that cannot be."""
    return (*_lengths(facts, datasets), *_unwritten(datasets), *_coordinates(facts))


def _lengths(facts: Facts, datasets: Mapping[str, ForeignDataset]) -> Iterator[str]:
    rows = {one.path: one.rows for one in (facts.pixels, facts.coordinates, *facts.labels) if one is not None}
    rows |= {
        path: one.shape[0]
        for path, one in datasets.items()
        if one.shape and len(one.shape) == 2 and (path == "/features" or path.startswith("/features/"))
    }
    if len(set(rows.values())) > 1:
        yield "as many rows were expected in each: " + ", ".join(f"{path} has {n:,}" for path, n in rows.items())


def _unwritten(datasets: Mapping[str, ForeignDataset]) -> Iterator[str]:
    for path, one in datasets.items():
        if one.layout in ("virtual", "external") or not one.declared_bytes:
            continue
        compressed = not set(one.filters) <= _FREE
        if one.bytes == 0 or (not compressed and one.bytes < one.declared_bytes):
            holds = f"{path} holds {one.bytes:,} of {one.declared_bytes:,} bytes"
            yield f"{holds}: the rest was never written and reads as a fill value"


def _coordinates(facts: Facts) -> Iterator[str]:
    coords = facts.coordinates
    if coords is not None and coords.repeated:
        yield f"{coords.repeated:,} of {coords.rows_read:,} coordinates stand there before"
    if coords is not None and coords.negative:
        yield f"{coords.negative:,} coordinates are negative"


def missing(facts: Facts, datasets: Mapping[str, ForeignDataset]) -> tuple[str, ...]:
    """What files of patchcli hold of each patch and this one does not."""
    checked = [one for one in datasets.values() if _FLETCHER32 in one.filters]
    lacks = {
        "pixels": facts.pixels is None,
        "labels": not facts.labels,
        "class names": True,
        "coordinates": facts.coordinates is None,
        "the image of each patch (path, size, SHA-256)": True,
        "a digest of each patch": True,
        "checksums": not checked,
        "the settings it was made with": True,
    }
    return tuple(name for name, lacking in lacks.items() if lacking)


def use(kind: Kind, facts: Facts) -> tuple[str, ...]:
    """What can be done with a file, by its kind and what it says."""
    return tuple(_use(kind, facts))


def _use(kind: Kind, facts: Facts) -> Iterator[str]:
    pixels, coords = facts.pixels, facts.coordinates
    if pixels is not None:
        yield f"h5py.File(FILE)[{pixels.path!r}][i] holds the pixels of patch i, axes {pixels.axes[2:]}"
    if coords is not None and pixels is None and kind != "trident-slide-features":
        yield from _region(facts)
    if facts.feature_length is not None:
        what = "the slide" if kind == "trident-slide-features" else "a patch"
        yield f"{facts.feature_length:,} numbers stand for {what}: a model can use them, pixels cannot be got back"
    if kind == "patchcamelyon":
        yield "rows of the _x, _y and _mask files of one split belong together, in this order"
    if pixels is not None or (coords is not None and kind != "trident-slide-features"):
        yield "for patchcli: write the patches as PNG to data/CLASS/, then patchcli extract data out.h5 --patch N"


def _region(facts: Facts) -> Iterator[str]:
    """How to read the patches from the slide, as OpenSlide takes it: a place on level 0, a size on the level."""
    slide = f" of {facts.slide}" if facts.slide else ""
    if facts.level is not None and facts.patch_size is not None:
        level, (width, height) = facts.level, facts.patch_size
        yield f"OpenSlide: read_region((x, y), {level}, ({width}, {height})){slide} is a patch"
    elif facts.patch_size_level0 is not None:
        (width, height), small = facts.patch_size_level0, facts.patch_size
        scaled = f", scaled to {small[0]}x{small[1]}" if small and small != facts.patch_size_level0 else ""
        yield f"OpenSlide: read_region((x, y), 0, ({width}, {height})){slide} is a patch{scaled}"
    else:
        yield "the size of a patch is not in the file: the program that wrote the coordinates knows it"
