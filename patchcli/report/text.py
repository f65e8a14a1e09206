"""Records as text for people and as JSON for programs: two renderings of the same facts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from textwrap import wrap
from typing import Any

from patchcli.summaries import (
    AugmentSummary,
    ClassSummary,
    CopiedClass,
    Drawn,
    ExtractSummary,
    LeftOut,
)

_CLASSES_SHOWN = 24
_WIDTH = 100
_SHARDS_SHOWN = 5
_VERBS = {"made": "", "already done": " (already done)", "planned": " (dry run, nothing written)"}
_EACH_CHANNEL = {1: ("gray",), 3: ("red", "green", "blue"), 4: ("red", "green", "blue", "alpha")}
_CHANNELS = {1: "gray", 3: "RGB", 4: "RGBA"}


def as_json_text(record: Any) -> str:
    """One JSON object with the fields of a record, stable keys, ASCII."""
    return json.dumps(dataclasses.asdict(record), indent=2, default=str)


def json_schema() -> str:
    """What `inspect --json` prints, as JSON Schema."""
    return resources.files("patchcli.report").joinpath("inspection.schema.json").read_text("utf-8").rstrip()


def extract_lines(summary: ExtractSummary) -> Iterator[str]:
    """What `extract` made, or would make: about a page."""
    height, width, channels = summary.patch_shape
    verb = _VERBS[summary.state]
    yield f"{summary.output}: {summary.patches:,} patches of {width}x{height} px, {channels_name(channels)}{verb}"
    yield ""
    yield from class_table(summary.classes)
    yield ""
    yield from aligned(_facts(summary))


def augment_lines(summary: AugmentSummary) -> Iterator[str]:
    """What `augment` made, or would make: about a page."""
    height, width, channels = summary.patch_shape
    kind = "" if summary.dtype == "uint8" else f", {summary.dtype}"
    what = f"{summary.patches:,} patches of {width}x{height} px, {channels_name(channels)}{kind}"
    yield f"{summary.output}: {what}{_VERBS[summary.state]}"
    yield ""
    yield from table(_cut_middle(list(_copied_rows(summary.classes))))
    yield ""
    yield from aligned(_augmented(summary))


def drawn_line(drawn: Drawn) -> str:
    """What a contact sheet shows."""
    counts = [(drawn.patches, "patch", "patches"), (drawn.copies, "copy of each", "copies of each")]
    return f"{drawn.sheet}: {', '.join(f'{n} {one if n == 1 else more}' for n, one, more in counts)}"


def _copied_rows(classes: Sequence[CopiedClass]) -> Iterator[tuple[str, ...]]:
    yield "class", "patches in", "augmented", "copies of each", "patches out"
    for one in classes:
        least, most = one.copies
        copies = f"{least:,}" if least == most else f"{least:,} or {most:,}"
        yield one.name, f"{one.patches_in:,}", f"{one.augmented:,}", copies, f"{one.patches:,}"
    sums = [sum(getattr(one, name) for one in classes) for name in ("patches_in", "augmented", "patches")]
    yield _n_classes(classes), f"{sums[0]:,}", f"{sums[1]:,}", "", f"{sums[2]:,}"


def _augmented(summary: AugmentSummary) -> Iterator[tuple[str, str]]:
    yield "input", summary.input
    rest = f"; {summary.split} alone is augmented, other splits pass as they are" if summary.split else ""
    yield "copies", f"{summary.copies:,}, and {summary.originals:,} originals{rest}"
    if summary.repeated:
        yield "identical", f"{summary.repeated:,} patches have the pixels of another copy of theirs, or of the original"
    yield from pipeline_facts(summary.pipeline)
    if summary.standardize:
        yield "standardized", ", ".join(map(argument, summary.standardize.items()))
    yield "seed", str(summary.seed)
    for note in summary.notes:
        yield "note", note
    yield from _stored(summary)
    if summary.state != "planned":
        yield "time", _rate(summary)


def pipeline_facts(pipeline: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """A pipeline line by line, groups indented."""
    name = "pipeline"
    for line in _pipeline_lines(pipeline, ""):
        yield name, line
        name = ""


def _pipeline_lines(steps: Sequence[Any], indent: str) -> Iterator[str]:
    for step in steps:
        name, said = next(iter(step.items()))
        inner = said.get("transforms") if isinstance(said, dict) else None
        listed = sorted((item for item in said.items() if item[0] != "transforms"), key=lambda item: item[0] == "p")
        arguments = ", ".join(map(argument, listed))
        yield from wrap(f"{name}({arguments})", _WIDTH, initial_indent=indent, subsequent_indent=f"{indent}    ")
        if isinstance(inner, list):
            yield from _pipeline_lines(inner, indent + "  ")


def argument(item: tuple[str, Any]) -> str:
    """A name and its value as they stand in a call."""
    return f"{item[0]}={json.dumps(item[1])}"


def class_table(classes: Sequence[ClassSummary]) -> Iterator[str]:
    """Classes with counts, aligned; the middle of a very long list is left out, the totals are not."""
    rows: list[tuple[str, ...]] = [("class", "images", "patches", "px never covered", "")]
    rows += [_row(one.name, [one]) for one in classes]
    rows.append(_row(_n_classes(classes), classes))
    yield from table(_cut_middle(rows))


def _cut_middle(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Rows of a table, between a heading and totals, without those that make it too long."""
    if len(rows) > _CLASSES_SHOWN + 3:
        left_out = len(rows) - _CLASSES_SHOWN - 1
        rows[_CLASSES_SHOWN:-1] = [(f"({left_out} more)", *[""] * (len(rows[0]) - 1))]
    return rows


def _n_classes(classes: Sequence[Any]) -> str:
    return f"{len(classes)} classes" if len(classes) != 1 else "1 class"


def _row(name: str, classes: Sequence[ClassSummary]) -> tuple[str, ...]:
    pixels = sum(one.pixels for one in classes)
    uncovered = sum(one.pixels_uncovered for one in classes)
    share = f"{uncovered / pixels:.1%}" if pixels else "-"
    counts = sum(one.images for one in classes), sum(one.patches for one in classes), uncovered
    return (name, *(f"{count:,}" for count in counts), share)


def _facts(summary: ExtractSummary) -> Iterator[tuple[str, str]]:
    height, width, _ = summary.patch_shape
    overlap = max(0, width - summary.stride[0]), max(0, height - summary.stride[1])
    yield "geometry", f"stride {pair(summary.stride)} px (overlap {pair(overlap)}), edge {summary.edge}"
    if summary.splits:
        yield "splits", ", ".join(summary.splits)
    yield from _stored(summary)
    yield "never covered", _uncovered(summary)
    if summary.pixels_padded:
        yield "padded", f"{summary.pixels_padded:,} px outside the images"
    for note in summary.notes:
        yield "converted", note
    yield from left_out_facts(summary.left_out)
    if summary.state == "planned" and any(one.kind == "unreadable" for one in summary.left_out):
        yield "note", "without --on-error skip, unreadable images end the run with exit code 3"
    if summary.state != "planned":
        yield "time", _rate(summary)


def left_out_facts(left_out: Iterable[LeftOut]) -> Iterator[tuple[str, str]]:
    """Each reason for which files were left out, with its count and an example."""
    said = False
    for one in left_out:
        example = one.examples[0] + (", ..." if one.files > 1 else "")
        yield f"left out, {one.kind}", f"{one.files:,} file{'s' * (one.files != 1)}: {one.reason} ({example})"
        said = True
    if not said:
        yield "left out", "nothing"


def _stored(summary: ExtractSummary | AugmentSummary) -> Iterator[tuple[str, str]]:
    shards = f"{summary.shards:,} shard{'s' * (summary.shards != 1)}"
    if summary.shards_kept and summary.state == "made":
        shards += f" ({summary.shards_kept:,} kept from before)"
    if summary.state == "planned":
        yield "size", f"{size(summary.bytes)} of pixels before any compression, in {shards}"
        workers = f"{summary.workers} worker{'s' * (summary.workers != 1)}"
        yield "memory", f"at most {size(summary.worker_bytes)} a worker, {workers}"
    else:
        yield "size", f"{size(summary.bytes)} in {shards}"


def _uncovered(summary: ExtractSummary) -> str:
    if not summary.pixels_uncovered:
        return "0 px"
    text = f"{summary.pixels_uncovered:,} of {summary.pixels:,} px ({summary.pixels_uncovered / summary.pixels:.1%})"
    height, width, _ = summary.patch_shape
    if summary.stride[0] > width or summary.stride[1] > height:
        return f"{text}: the stride is larger than the patch"
    if summary.edge == "drop":
        return f"{text}: --edge shift, pad or reflect would cover them"
    return text


def _rate(summary: ExtractSummary | AugmentSummary) -> str:
    text = f"{summary.seconds:,.1f} s"
    if summary.state == "made" and summary.seconds:
        rate, speed = summary.patches / summary.seconds, summary.bytes / summary.seconds / 1e6
        if not summary.shards_kept:
            text += f", {rate:,.0f} patches/s, {speed:,.0f} MB/s"
    return text


def channels_name(channels: int) -> str:
    """What a number of channels is called."""
    return _CHANNELS.get(channels, f"{channels} channels")


def channel_names(channels: int) -> tuple[str, ...]:
    """What each of them is called."""
    return _EACH_CHANNEL.get(channels, tuple(f"channel {number}" for number in range(channels)))


def pair(values: tuple[int, int]) -> str:
    """Numbers along x and y: one where they are the same."""
    return f"{values[0]}" if values[0] == values[1] else f"{values[0]}x{values[1]}"


def size(n_bytes: int) -> str:
    """Bytes in words: exact, and in the unit people compare."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= factor:
            return f"{n_bytes:,} bytes ({n_bytes / factor:.1f} {unit})"
    return f"{n_bytes:,} bytes"


def aligned(facts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Names and values in two columns."""
    listed = list(facts)
    width = max(len(name) for name, _ in listed)
    for name, value in listed:
        yield f"  {name:<{width}}  {value}"


def table(rows: Sequence[tuple[str, ...]], align: str = "<") -> Iterator[str]:
    """Rows of text; `align` says which columns stand to the left `<` or right `>`: to the right, where it ends."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    sides = align.ljust(len(widths), ">")
    for row in rows:
        cells = [f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)]
        yield ("  " + "  ".join(cells)).rstrip()
