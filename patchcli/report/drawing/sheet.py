"""The contact sheet of a data set: some patches of each class, with its name and counts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from patchcli.choice import patch_ranks, spread
from patchcli.io.canvas import Canvas, shortened, text_width
from patchcli.io.dataset import Dataset
from patchcli.io.readable import readable
from patchcli.records import show
from patchcli.report.drawing.blocks import Blocks, plan_blocks
from patchcli.report.drawing.contact import scale_note
from patchcli.report.drawing.levels import Look, averaged, look_at
from patchcli.report.drawing.style import (
    HAIRLINE,
    INK,
    MARGIN,
    NARROWEST,
    SUBTITLE,
    TITLE,
    caption_height,
    caption_lines,
    counted,
    draw_caption,
    draw_heading,
    visible_name,
)
from patchcli.report.text import channels_name

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]

_TOP: Final = MARGIN + 76  # below the heading
_NAME: Final = 180  # px of a name that stand beside the counts; longer ones are shortened
_NAME_GAP: Final = 16
_LEAST_NAME: Final = 120
_NARROW_LABEL: Final = 54
_WIDE_LABEL: Final = 36
_BAR: Final = 3  # px high
_BAR_GAP: Final = 8  # px between it and the patches
_MOST_CLASSES: Final = 1000
_NAMED: Final = 12  # classes without patches that are named
_FINEST: Final = 2  # px of a patch for a px of the sheet; more are averaged when they are read


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    """A class on the sheet.

    Attributes
    ----------
    counts : str
        How many patches and images it has, and its share.
    size : float
        Its patches relative to those of the largest class.
    rows : int64 (k,)
        Of its patches that are shown.
    """

    name: str
    counts: str
    size: float
    rows: Rows


def class_sheet(data: Dataset, *, per_class: int, seed: int, rows: Rows | None = None) -> tuple[Canvas, str]:
    """Draw some patches of each class, chosen by the seed and spread over its images.

    Parameters
    ----------
    data : Dataset
    per_class : int
        Patches of each class, as far as there are so many.
    seed : int
    rows : int64 (k,), optional
        A selection; patches are chosen from it, and counts are of it.

    Returns
    -------
    Canvas
    str
        What it shows, in a few words.

    Raises
    ------
    UsageError
        The picture would be larger than programs open.
    """
    chosen_from = np.arange(data.facts.n_rows) if rows is None else rows
    everyone = _classes(data, chosen_from, per_class, seed)
    classes = everyone[:_MOST_CLASSES]
    most = max((len(one.rows) for one in classes), default=0)
    blocks = _planned(classes, max(1, most), data.facts.patch_shape)
    patches = _read(data, np.concatenate([np.empty(0, np.int64), *(one.rows for one in classes)]), blocks)
    look = look_at(list(patches.values()))
    upto = "up to " if any(len(one.rows) < most for one in classes) else ""
    words = f"{counted(len(everyone), 'class', 'classes')}, {upto}{counted(most, 'patch', 'patches')} each"
    unread = _unread(sum(len(one.rows) for one in classes) - len(patches))
    caption = [
        f"{words}, chosen with seed {seed}" if classes else "no patches",
        "bars compare the classes' patches" if len(classes) > 1 else "",
        f"the first {len(classes):,} classes are shown" if len(classes) < len(everyone) else "",
        look.note,
        scale_note(data.facts.patch_shape[1], blocks.cell[0]) if patches else "",
        _without(data, chosen_from) if rows is None else "",
        unread,
    ]
    width = max(NARROWEST, blocks.size[0] * bool(classes) + 2 * MARGIN)
    lines = caption_lines(caption, width - 2 * MARGIN)
    bottom = _TOP + (blocks.size[1] if classes else 0) + 24
    canvas = Canvas(width, bottom + caption_height(lines))
    draw_heading(canvas, show(os.path.basename(data.path)), _about(data, chosen_from, len(everyone)))
    for number, one in enumerate(classes):
        _draw_label(canvas, blocks, number, one)
        _draw_patches(canvas, blocks, number, [patches.get(row) for row in one.rows.tolist()], look)
    draw_caption(canvas, lines, bottom)
    return canvas, "; ".join(filter(None, [words, unread]))


def _classes(data: Dataset, rows: Rows, per_class: int, seed: int) -> list[_Shown]:
    """Classes that have patches among some rows, with those that are shown."""
    tables = data.tables
    labels, source = tables["labels"][rows], tables["source"][rows]
    chosen = spread(labels, *patch_ranks(tables, data.sources.path, rows, seed=seed), per_class)
    counts = np.bincount(labels, minlength=len(data.classes)).tolist()
    pairs = np.unique(labels * max(1, len(data.sources)) + source) // max(1, len(data.sources))
    n_images = np.bincount(pairs, minlength=len(data.classes)).tolist()
    return [
        _Shown(
            name=visible_name(show(name)),
            counts=f"{counted(count, 'patch', 'patches')}, {counted(n_images[label], 'image', 'images')}, "
            f"{count / len(rows):.1%}",
            size=count / max(counts),
            rows=rows[chosen[labels[chosen] == label]],
        )
        for label, (name, count) in enumerate(zip(data.classes, counts, strict=True))
        if count
    ]


def _planned(classes: Sequence[_Shown], most: int, shape: tuple[int, int, int]) -> Blocks:
    names = max((min(_NAME, text_width(one.name, TITLE)) for one in classes), default=0)
    counts = max((text_width(one.counts, SUBTITLE) for one in classes), default=0)
    return plan_blocks(
        max(1, len(classes)),
        most,
        (shape[1], shape[0]),
        narrow=(max(min(names, _LEAST_NAME), counts), _NARROW_LABEL),
        wide=(names + _NAME_GAP + counts, _WIDE_LABEL),
    )


def _read(data: Dataset, rows: Rows, blocks: Blocks) -> dict[int, Array]:
    """Patches by row, no finer than they are drawn; those that cannot be read are not there."""
    height, width, _ = data.facts.patch_shape
    step = max(1, min(width // (_FINEST * blocks.cell[0]), height // (_FINEST * blocks.cell[1])))
    return {row: averaged(patch, step) for row, patch in readable(data, rows)}


def _draw_label(canvas: Canvas, blocks: Blocks, number: int, one: _Shown) -> None:
    x, y = (MARGIN + blocks.block(number)[0], _TOP + blocks.block(number)[1])
    counts, bar = text_width(one.counts, SUBTITLE), y + blocks.label - _BAR_GAP - _BAR
    if blocks.label == _WIDE_LABEL:
        canvas.text(shortened(one.name, TITLE, blocks.width - counts - _NAME_GAP), (x, y + 16), style=TITLE)
        canvas.text(one.counts, (x + blocks.width - counts, y + 16), style=SUBTITLE)
    else:
        canvas.text(shortened(one.name, TITLE, blocks.width), (x, y + 16), style=TITLE)
        canvas.text(shortened(one.counts, SUBTITLE, blocks.width), (x, y + 34), style=SUBTITLE)
    canvas.fill((x, bar), size=(blocks.width, _BAR), color=HAIRLINE)
    canvas.fill((x, bar), size=(max(1, round(one.size * blocks.width)), _BAR), color=INK)


def _draw_patches(canvas: Canvas, blocks: Blocks, number: int, patches: Sequence[Array | None], look: Look) -> None:
    readable = [patch for patch in patches if patch is not None]
    for place, patch in enumerate(readable):
        x, y = blocks.patch(number, place)
        at = MARGIN + x, _TOP + y
        canvas.frame(at, size=blocks.cell, color=HAIRLINE)  # where a patch is white, it has a border all the same
        canvas.paste(look.of(patch), at, size=blocks.cell)


def _about(data: Dataset, rows: Rows, n_classes: int) -> str:
    height, width, channels = data.facts.patch_shape
    kind = "" if data.facts.dtype == np.uint8 else f", {data.facts.dtype}"
    n = f"{len(rows):,} of {data.facts.n_rows:,}" if len(rows) < data.facts.n_rows else f"{len(rows):,}"
    return (
        f"{n} patch{'es' * (n != '1')} of {width}x{height} px, {channels_name(channels)}{kind}, "
        f"{counted(n_classes, 'class', 'classes')}"
    )


def _without(data: Dataset, rows: Rows) -> str:
    """Classes of which there is nothing to show."""
    counts = np.bincount(data.tables["labels"][rows], minlength=len(data.classes))
    names = [visible_name(show(data.classes[label])) for label in np.flatnonzero(counts == 0)]
    if not names:
        return ""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"without patches: {', '.join(names[:_NAMED])}{more}"


def _unread(n: int) -> str:
    return f"{counted(n, 'patch', 'patches')} could not be read" if n else ""
