"""What is in an HDF5 file that patchcli did not make, as a page of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from textwrap import wrap
from typing import Any, Final

from patchcli.foreign.records import Coordinates, Facts, ForeignDataset, ForeignFile, Kind, Labels
from patchcli.report.page import Ink, plain
from patchcli.report.text import aligned, channels_name, pair, size, table

_DATASETS_SHOWN: Final = 12
_LINES_SHOWN: Final = 3  # of each kind that has no bound of its own
_COUNTS_SHOWN: Final = 6
_WIDTH: Final = 100
_PATH: Final = 40
_WORDS: Final[dict[Kind, str]] = {
    "clam-coords": "CLAM: coordinates on one slide",
    "clam-patches": "CLAM, the older way: patches of one slide with their coordinates",
    "clam-features": "CLAM: features of the patches of one slide",
    "trident-coords": "TRIDENT: coordinates on one slide",
    "trident-features": "TRIDENT: features of the patches of one slide",
    "trident-slide-features": "TRIDENT: features of one slide as a whole",
    "atlaspatch": "AtlasPatch: coordinates on one slide",
    "wsinfer": "wsinfer: coordinates on one slide",
    "patchcamelyon": "PatchCamelyon",
    "pathml": "PathML",
    "images": "no convention known here, but it holds images",
    "coords": "no convention known here, but it holds coordinates",
    "features": "no convention known here, but it holds features",
    "other": "no convention known here",
}


def foreign_lines(found: ForeignFile, ink: Ink = plain) -> Iterator[str]:
    """About a page: the data sets, what they come to in patches, what was left alone, what one can do with the file.

    Parameters
    ----------
    found : ForeignFile
    ink : callable
        Gives a text in a tone; without colour by default.
    """
    n = len(found.datasets)
    more = "at least " if any("looked at" in note for note in found.notes) else ""
    what = f"an HDF5 file that patchcli did not make, {size(found.bytes)}, {more}{n:,} data set{'s' * (n != 1)}"
    yield f"{ink(found.path, 'strong')}: {what}"
    yield ""
    if found.datasets:
        for number, line in enumerate(table(list(_rows(found.datasets)), "<<<<<")):
            yield line if number else ink(line, "faint")
        yield ""
    for line in aligned(_wrapped(_lines(found))):
        yield ink(line, "bad") if line.startswith("  doubtful") else line


def _rows(datasets: Sequence[ForeignDataset]) -> Iterator[tuple[str, ...]]:
    yield "data set", "shape", "dtype", "chunks", "compression", "bytes"
    shown = sorted(datasets, key=lambda one: (one.path.count("/") > 1, -one.declared_bytes))[:_DATASETS_SHOWN]
    for one in (one for one in datasets if one in shown):
        shape = "unknown" if one.shape is None else _tuple(one.shape)
        chunks = _tuple(one.chunks) if one.chunks else one.layout
        yield _cut(one.path), shape, one.dtype, chunks, one.compression, f"{one.bytes:,}"
    if len(datasets) > _DATASETS_SHOWN:
        rest = sum(one.bytes for one in datasets) - sum(one.bytes for one in shown)
        yield f"({len(datasets) - _DATASETS_SHOWN:,} more)", "", "", "", "", f"{rest:,}"


def _tuple(values: Sequence[int]) -> str:
    return f"({', '.join(map(str, values))}{',' * (len(values) == 1)})"


def _cut(text: str) -> str:
    return text if len(text) <= _PATH else f"{text[: _PATH // 2 - 2]}...{text[-(_PATH // 2) + 1 :]}"


def _lines(found: ForeignFile) -> Iterator[tuple[str, str]]:
    facts = found.facts
    yield "written as", _WORDS[found.kind]
    yield "patches", _patches(facts)
    if facts.slide or facts.slide_size:
        yield "slide", ", ".join(filter(None, (facts.slide, _slide_size(facts))))
    if facts.coordinates is not None:
        yield from _coordinates(facts.coordinates, facts)
    if facts.pixels is not None:
        yield "pixels", f"{facts.pixels.path}, {channels_name(facts.pixels.channels)}, axes {facts.pixels.axes}"
    elif facts.coordinates is not None or facts.feature_length is not None:
        yield "pixels", "none"
    if facts.feature_length is not None:
        whole = "the slide" if found.kind == "trident-slide-features" else "a patch"
        yield "features", f"{facts.feature_length:,} numbers for {whole}"
    yield from (("labels", _labels(one)) for one in facts.labels)
    yield from _first("doubtful", found.findings)
    yield from _first("left alone", [f"{one.path}: {one.what}" for one in found.left_alone])
    yield from _first("not looked at", found.notes)
    yield "missing", f"{', '.join(found.missing)}: files of patchcli have these"
    yield from _first("use", found.use)


def _patches(facts: Facts) -> str:
    if facts.patches is None:
        return "none that could be recognised"
    text = f"{facts.patches:,}"
    if facts.patch_size is not None:
        text += f" of {_by(facts.patch_size)} px"
    if facts.level is not None:
        text += f" on level {facts.level}"
    if facts.magnification is not None:
        text += f" at {facts.magnification:g}x"
    if facts.microns_per_px is not None:
        text += f", for {facts.microns_per_px:g} um a px"
    if facts.patch_size_level0 not in (None, facts.patch_size):
        text += f", {_by(facts.patch_size_level0)} px of full resolution"
    return text


def _by(values: tuple[int, int] | None) -> str:
    return "x".join(map(str, values or ()))


def _slide_size(facts: Facts) -> str:
    return f"{facts.slide_size[0]:,} x {facts.slide_size[1]:,} px at full resolution" if facts.slide_size else ""


def _coordinates(coords: Coordinates, facts: Facts) -> Iterator[tuple[str, str]]:
    if coords.least is None or coords.greatest is None:
        return
    where = {None: "", 0: ", px of full resolution"}.get(
        facts.level_of_coords, f", px of level {facts.level_of_coords}"
    )
    spans = (f"{axis} {low:,} to {high:,}" for axis, low, high in zip("xy", coords.least, coords.greatest, strict=True))
    yield "coordinates", ", ".join(spans) + where
    x, y = coords.stride
    if x is not None and y is not None:
        share = min(coords.stride_share)
        yield "stride", f"{pair((x, y))} px by the distances of neighbours ({share:.0%} of them){_overlap(x, y, facts)}"
    if coords.outside:
        yield "border", f"{coords.outside:,} patches reach over the border of the slide"


def _overlap(x: int, y: int, facts: Facts) -> str:
    reach = facts.patch_size_level0 if not facts.level_of_coords else facts.patch_size
    if reach is None:
        return ""
    if x <= reach[0] and y <= reach[1]:
        return f", overlap {pair((reach[0] - x, reach[1] - y))} px"
    return f", gaps of {pair((max(0, x - reach[0]), max(0, y - reach[1])))} px"


def _labels(one: Labels) -> str:
    counts = ", ".join(f"{value}: {count:,}" for value, count in islice(one.counts.items(), _COUNTS_SHOWN))
    more = one.n_values - min(len(one.counts), _COUNTS_SHOWN)
    return f"{one.path}, rows by value: {counts or 'none'}" + (f", and {more:,} values more" if more else "")


def _first(name: str, lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    yield from ((name, line) for line in lines[:_LINES_SHOWN])
    if len(lines) > _LINES_SHOWN:
        yield name, f"and {len(lines) - _LINES_SHOWN:,} more, all in --json"


def _wrapped(facts: Iterable[tuple[str, str]]) -> Iterator[tuple[str, Any]]:
    before = ""
    for name, value in facts:
        lines = wrap(value, _WIDTH, subsequent_indent="  ", break_on_hyphens=False) or [""]
        yield ("" if name == before else name), lines[0]
        yield from (("", line) for line in lines[1:])
        before = name
