"""Source images with the patches that were cut from them: what a data set covers, and what it leaves out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import accumulate
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from patchcli.choice import in_turn, name_ranks
from patchcli.errors import UsageError
from patchcli.io.canvas import Canvas, resized, shortened, wrapped
from patchcli.io.dataset import Dataset
from patchcli.records import show
from patchcli.report.drawing.legend import draw_legend, plan_legend
from patchcli.report.drawing.levels import Look, look_at
from patchcli.report.drawing.outlines import BLANK, draw_windows
from patchcli.report.drawing.scenes import Scene, from_folder, from_patches, scene
from patchcli.report.drawing.style import (
    HAIRLINE,
    MARGIN,
    NARROWEST,
    SUBTITLE,
    TITLE,
    caption_height,
    caption_lines,
    counted,
    draw_caption,
    draw_heading,
)
from patchcli.specs import Size
from patchcli.summaries import setting_text

Array = npt.NDArray[Any]

_WIDTHS: Final = {1: 1000, 2: 680, 3: 520, 4: 420}  # of an image, by how many stand side by side
_NARROWEST_COLUMN: Final = 300  # for what is said below an image
_COLUMN_GAP: Final = 36
_ROW_GAP: Final = 28
_TITLE_LINE: Final = 24
_FACT_LINE: Final = 18
_PAPER: Final = 250  # beyond an image
_LEGEND_TOP: Final = MARGIN + 66
_MOST_COMPARED: Final = 5000  # names, for the nearest one


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    """An image as it is drawn, and what is said below it."""

    pixels: Array
    scene: Scene
    notes: tuple[str, ...]
    seen: frozenset[str]
    n_unread: int

    def lines(self, width: int) -> list[str]:
        """What is said below it but for its title."""
        return [line for fact in (*self.scene.facts, *self.notes) for line in wrapped(fact, SUBTITLE, width)]


def choose_sources(data: Dataset, wanted: str, seed: int) -> list[int]:
    """Which images to draw: rows of `data.sources`.

    Parameters
    ----------
    wanted : str
        How many, which the seed then chooses from the classes in turn; or the path of one as `/sources/path` has it.

    Raises
    ------
    UsageError
        No such image: the message names the nearest; or less than one, or there is none.
    """
    paths = data.sources.path
    if wanted.isascii() and wanted.isdigit() and os.fsencode(wanted) not in paths:
        n = min(len(paths), int(wanted[:18]))
        if not n:
            raise UsageError(
                f"{show(data.path)}: {wanted} images cannot be drawn, there are {len(paths):,}: expected 1 or more"
            )
        labels = data.sources.label
        ranks = name_ranks(seed, paths)
        chosen = in_turn(labels, ranks, ranks, n)
        return sorted(chosen.tolist(), key=lambda source: (int(labels[source]), paths[source]))
    for name in (os.fsencode(wanted), os.path.normpath(os.fsencode(wanted))):
        if name in paths:
            return [paths.index(name)]
    shown = [show(path) for path in paths]
    if wanted in shown:
        return [shown.index(wanted)]
    meant = _nearest(wanted, shown)
    hint = f"did you mean {meant}?" if meant else "expected a path as the file has it, such as cat/1.jpg, or a number"
    raise UsageError(f"{wanted}: no image of {show(data.path)} is called so; {hint}")


def overlay(data: Dataset, sources: Sequence[int], *, root: bytes | None, max_pixels: int) -> tuple[Canvas, str]:
    """Draw images with their patches outlined and what no patch covers hatched.

    Parameters
    ----------
    sources : sequence of int
        Rows of `data.sources`.
    root : bytes or None
        The folder that the data set was cut from; None: images are put together from the stored patches.
    max_pixels : int
        Larger images are not opened.

    Returns
    -------
    Canvas
    str
        What it shows, in a few words.

    Raises
    ------
    UsageError
        An image is not below `root`, cannot be read or is no longer the one that was cut; or the picture would be
        larger than programs open.
    DamagedFile
        The data set contradicts itself.
    """
    n_columns = _side_by_side(len(sources))
    pictures, look = _pictures(data, sources, root, max_pixels, _WIDTHS[n_columns])
    column = max(_NARROWEST_COLUMN, *(one.scene.size.width for one in pictures))
    inner = max(NARROWEST - 2 * MARGIN, n_columns * (column + _COLUMN_GAP) - _COLUMN_GAP)
    seen = frozenset[str]().union(*(one.seen for one in pictures))
    legend = plan_legend(seen, stride=setting_text(list(data.facts.settings["stride"])), width=inner)
    rows = [pictures[start : start + n_columns] for start in range(0, len(pictures), n_columns)]
    tops = list(accumulate((_height(row, column) for row in rows), initial=_LEGEND_TOP + legend.height + 14))
    where = "drawn on the patches, put together" if root is None else "drawn on the images themselves"
    caption = caption_lines([where, look.note], inner)
    canvas = Canvas(inner + 2 * MARGIN, tops[-1] + caption_height(caption))
    draw_heading(canvas, show(os.path.basename(data.path)), _about(data))
    draw_legend(canvas, legend, (MARGIN, _LEGEND_TOP))
    for row, top in zip(rows, tops, strict=False):
        for place, one in enumerate(row):
            _draw(canvas, one, (MARGIN + place * (column + _COLUMN_GAP), top), column)
    draw_caption(canvas, caption, tops[-1])
    n = sum(len(one.scene.windows.coords) for one in pictures)
    words = f"{counted(len(pictures), 'image', 'images')} with {counted(n, 'patch', 'patches')}"
    return canvas, "; ".join(filter(None, [words, _unread(sum(one.n_unread for one in pictures))]))


def _side_by_side(n: int) -> int:
    if not n:
        raise UsageError("there is no image to draw")
    return {1: 1, 2: 2, 3: 3, 4: 2}.get(n, 3 if n < 10 else 4)


def _pictures(
    data: Dataset, sources: Sequence[int], root: bytes | None, max_pixels: int, width: int
) -> tuple[list[_Picture], Look]:
    """The images with all that is drawn on them, all px shown in the same way."""
    stride = Size(*data.facts.settings["stride"])
    found = []
    for source in sources:
        one, unread = scene(data, source, width=width), 0
        if root is None:
            pixels, there, unread = from_patches(data, one)
        else:
            pixels, there = from_folder(data, source, one, root=root, max_pixels=max_pixels)
        found.append((one, pixels, there, unread))
    known = [pixels[there][None] for _, pixels, there, _ in found if there.any()]
    look = look_at(known or [pixels for _, pixels, _, _ in found])
    pictures = []
    for one, pixels, there, unread in found:
        picture, blank = _shown(one, look.of(pixels).copy(), there)
        seen = draw_windows(picture, one.windows, stride) | ({"blank"} if blank else set())
        notes = _unread(unread), "" if one.stored.all() or root is not None else _only_copies(one)
        pictures.append(_Picture(picture, one, tuple(filter(None, notes)), frozenset(seen), unread))
    return pictures, look


def _shown(one: Scene, colors: Array, there: Array) -> tuple[Array, bool]:
    """The px of an image at the size of the picture; and whether some are gray because nobody knows them."""
    image = one.windows.image
    height, width = there.shape
    y, x = np.ogrid[:height, :width]
    inside = (y * one.step < image.height) & (x * one.step < image.width)
    unknown = inside & ~there
    colors[unknown] = BLANK
    colors[~inside & ~there] = _PAPER
    blank = bool((unknown & ~one.windows.uncovered(Size(width, height))).any())
    return resized(colors, one.size).copy(), blank


def _unread(n: int) -> str:
    return f"{counted(n, 'patch', 'patches')} could not be read" if n else ""


def _only_copies(one: Scene) -> str:
    n = int(np.sum(~one.stored))
    return (
        "only copies of its patches are stored" if n == len(one.stored) else f"of {n:,} patches only copies are stored"
    )


def _height(row: Sequence[_Picture], column: int) -> int:
    """Of a row of images with what is said below them, px."""
    below = max(_TITLE_LINE + _FACT_LINE * len(one.lines(column)) for one in row)
    return max(one.scene.size.height for one in row) + below + _ROW_GAP


def _draw(canvas: Canvas, one: _Picture, at: tuple[int, int], column: int) -> None:
    x, y = at
    canvas.frame((x, y), size=one.scene.size, color=HAIRLINE)
    canvas.paste(one.pixels, (x, y), size=one.scene.size)
    y += one.scene.size.height + _TITLE_LINE
    canvas.text(shortened(one.scene.title, TITLE, column), (x, y), style=TITLE)
    for number, line in enumerate(one.lines(column)):
        canvas.text(line, (x, y + _FACT_LINE * (number + 1) + 2), style=SUBTITLE)


def _about(data: Dataset) -> str:
    settings, (height, width, _) = data.facts.settings, data.facts.patch_shape
    return (
        f"patches of {width}x{height} px, stride {setting_text(list(settings['stride']))} px, edge {settings['edge']}"
    )


def _nearest(wanted: str, shown: Sequence[str]) -> str:
    """The image that was probably meant: in a long list, one of the same name or folder."""
    if len(shown) > _MOST_COMPARED:
        name, folder = os.path.basename(wanted), wanted.split("/")[0]
        alike = [path for path in shown if os.path.basename(path) == name]
        shown = (alike or [path for path in shown if path.split("/")[0] == folder] or shown)[:_MOST_COMPARED]
    close = get_close_matches(wanted, shown, 1, cutoff=0.5)
    return close[0] if close else ""
