"""Source images with the patches that were cut from them: what a data set covers, and what it leaves out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from patchcli.choice import name_ranks, spread
from patchcli.errors import UsageError
from patchcli.io.canvas import Canvas, resized, shortened, text_width, wrapped
from patchcli.io.dataset import Dataset
from patchcli.records import show
from patchcli.report.levels import Look, look_at
from patchcli.report.outlines import BLANK, draw_windows, swatch
from patchcli.report.scenes import Scene, from_folder, from_patches, scene
from patchcli.report.style import (
    HAIRLINE,
    MARGIN,
    NARROWEST,
    SUBTITLE,
    TITLE,
    caption_height,
    caption_lines,
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
_LEGEND_LINE: Final = 28
_SWATCH: Final = (30, 18)
_LEGEND_GAP: Final = 28
_MOST_COMPARED: Final = 5000  # names, for the nearest one


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    """An image as it is drawn, and what is said below it."""

    pixels: Array
    scene: Scene
    notes: tuple[str, ...]
    seen: frozenset[str]

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
        n = int(wanted)
        if not n or not paths:
            raise UsageError(
                f"{show(data.path)}: {wanted} images cannot be drawn, there are {len(paths):,}: expected 1 or more"
            )
        labels = data.sources.label
        ranks = name_ranks(seed, paths)
        # one image of each class, then a second one of each, as far as they go
        order = spread(labels, ranks, ranks, n)
        turns = np.arange(len(order)) - np.searchsorted(labels[order], labels[order])
        chosen = order[np.lexsort((labels[order], turns))[:n]]
        return sorted(chosen.tolist(), key=lambda source: (int(labels[source]), paths[source]))
    for name in (os.fsencode(wanted), os.path.normpath(os.fsencode(wanted))):
        if name in paths:
            return [paths.index(name)]
    shown = [show(path) for path in paths]
    if wanted in shown:
        return [shown.index(wanted)]
    raise UsageError(
        f"{wanted}: no image of {show(data.path)} is called so{_nearest(wanted, shown)}; expected a path as the file "
        f"has it, such as cat/1.jpg, or how many images to draw"
    )


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
    width = max(NARROWEST, n_columns * (column + _COLUMN_GAP) - _COLUMN_GAP + 2 * MARGIN)
    seen = frozenset[str]().union(*(one.seen for one in pictures))
    legend = _legend(data, seen, width - 2 * MARGIN)
    top = _LEGEND_TOP + _LEGEND_LINE * (1 + max((line for line, _, _, _ in legend), default=-1)) + 14
    rows = [pictures[start : start + n_columns] for start in range(0, len(pictures), n_columns)]
    heights = [
        max(one.scene.size.height for one in row)
        + max(_TITLE_LINE + _FACT_LINE * len(one.lines(column)) for one in row)
        + _ROW_GAP
        for row in rows
    ]
    where = "drawn on the patches, put together" if root is None else "drawn on the images themselves"
    caption = caption_lines([where, look.note], width - 2 * MARGIN)
    bottom = top + sum(heights)
    canvas = Canvas(width, bottom + caption_height(caption))
    draw_heading(canvas, show(os.path.basename(data.path)), _about(data))
    for line, x, name, text in legend:
        at = MARGIN + x, _LEGEND_TOP + line * _LEGEND_LINE
        canvas.paste(swatch(name, Size(*_SWATCH)), at, size=_SWATCH)
        canvas.text(text, (at[0] + _SWATCH[0] + 9, at[1] + 14), style=SUBTITLE)
    for number, row in enumerate(rows):
        for place, one in enumerate(row):
            _draw(canvas, one, (MARGIN + place * (column + _COLUMN_GAP), top + sum(heights[:number])), column)
    draw_caption(canvas, caption, bottom)
    n = sum(len(one.scene.windows.coords) for one in pictures)
    return canvas, f"{_count(len(pictures), 'image', 'images')} with {_count(n, 'patch', 'patches')}"


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
        notes = (
            f"{_count(unread, 'patch', 'patches')} could not be read" if unread else "",
            "" if one.stored.all() or root is not None else _only_copies(one),
        )
        pictures.append(_Picture(picture, one, tuple(filter(None, notes)), frozenset(seen)))
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


def _only_copies(one: Scene) -> str:
    n = int(np.sum(~one.stored))
    return (
        "only copies of its patches are stored" if n == len(one.stored) else f"of {n:,} patches only copies are stored"
    )


def _legend(data: Dataset, seen: frozenset[str], width: int) -> list[tuple[int, int, str, str]]:
    """Line, x, name and text of each entry."""
    stride = setting_text(list(data.facts.settings["stride"]))
    texts = {
        "patch": "patch" if "one" not in seen else "some of the patches, side by side",
        "dot": "centre of each patch",
        "one": f"a patch and the next ones along x and y (stride {stride} px)",
        "open": "px in no patch",
        "pad": "padding, outside the image",
        "blank": "px that are not stored",
    }
    entries, line, x = [], 0, 0
    for name, text in texts.items():
        if name not in seen:
            continue
        needed = _SWATCH[0] + 9 + text_width(text, SUBTITLE)
        if x and x + needed > width:
            line, x = line + 1, 0
        entries.append((line, x, name, text))
        x += needed + _LEGEND_GAP
    return entries


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
    return f"; did you mean {close[0]}?" if close else ""


def _count(n: int, one: str, more: str) -> str:
    return f"{n:,} {one if n == 1 else more}"
