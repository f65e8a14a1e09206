"""Pictures and pages of a data set, as they were asked for: written, and said in its record."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from patchcli.errors import UsageError
from patchcli.inspected import Inspection, Written
from patchcli.io.canvas import Canvas
from patchcli.io.dataset import Dataset
from patchcli.io.publish import new_run
from patchcli.records import show
from patchcli.report.drawing.overlay import choose_sources, overlay
from patchcli.report.drawing.sheet import class_sheet
from patchcli.report.html.histograms import channel_histograms
from patchcli.report.html.page import html_report, write_html
from patchcli.report.preview import check_sheet
from patchcli.report.selected import select, selected_rows, write_patch
from patchcli.specs import MAX_PIXELS

_OVERLAY: Final = "overlay.png"
_OVERLAYS_OF_A_PAGE: Final = 3


@dataclass(frozen=True)
class Asked:
    """What is to be drawn, and of which patches.

    Attributes
    ----------
    where : sequence of str
        Conditions that patches must meet; none: all patches.
    patch : (int, str), optional
        One row, and the picture that its pixels go to.
    sheet, html : str, optional
        Files to write.
    overlay : sequence of str
        Images (a number of them, or paths of the data set's sources) and, at most once, the picture to write.
    per_class, seed : int
    source : str, optional
        Folder that the data set was cut from.
    max_pixels : int
        Of an image that is opened.
    most_listed : int
        Of the patches that `where` selects.
    """

    where: Sequence[str] = ()
    patch: tuple[int, str] | None = None
    sheet: str | None = None
    html: str | None = None
    overlay: Sequence[str] = ()
    per_class: int = 8
    seed: int = 0
    source: str | None = None
    max_pixels: int = MAX_PIXELS
    most_listed: int = 20


def draw(found: Inspection, asked: Asked) -> Inspection:
    """Select, draw and write what was asked for; the record with the selection, and with what was written.

    Raises
    ------
    UsageError
        There is no such row, key or image, or a file must not be replaced.
    PatchcliError
    """
    data = Dataset(os.fsencode(found.path))
    images, picture = _overlay(data, asked)
    _check_apart(picture, asked)
    written: list[Written] = []
    if asked.patch is not None:
        row, path = asked.patch
        found = replace(found, selection=select(data, patch=row))
        written.append(write_patch(data, row, path))
    elif asked.where:
        found = replace(found, selection=select(data, where=asked.where, most=asked.most_listed))
    wants_page = asked.html is not None
    sheet = _sheet(data, asked) if asked.sheet is not None or wants_page else None
    if wants_page and not images:
        images = choose_sources(data, str(_OVERLAYS_OF_A_PAGE), asked.seed)
    outlined = _outlined(data, images, asked) if images else None
    for name, drawn in ((asked.sheet, sheet), (picture if asked.overlay else None, outlined)):
        if name is not None and drawn is not None:
            drawn[0].write(os.fsencode(name), new_run())
            written.append(Written(name, drawn[1]))
    if asked.html is not None:
        text = html_report(
            found,
            sheet=None if sheet is None else (sheet[0].png(), sheet[1]),
            overlays=[] if outlined is None else [(outlined[0].png(), outlined[1])],
            histograms=channel_histograms(data, seed=asked.seed),
        )
        write_html(os.fsencode(asked.html), text)
        written.append(Written(asked.html, "all of this on one page, with pictures and histograms"))
    return replace(found, written=tuple(written))


def _sheet(data: Dataset, asked: Asked) -> tuple[Canvas, str]:
    """Patches of each class, or of those that were selected."""
    rows = selected_rows(data, asked.where) if asked.where else None
    return class_sheet(data, per_class=asked.per_class, seed=asked.seed, rows=rows)


def _outlined(data: Dataset, images: Sequence[int], asked: Asked) -> tuple[Canvas, str]:
    """Images with their patches outlined: on the images themselves, or on the patches where these are not to be had."""
    if asked.source is None:
        return overlay(data, images, root=None, max_pixels=asked.max_pixels)
    try:
        return overlay(data, images, root=os.fsencode(asked.source), max_pixels=asked.max_pixels)
    except UsageError as error:
        canvas, shows = overlay(data, images, root=None, max_pixels=asked.max_pixels)
        return canvas, f"{shows}; not on the images themselves: {str(error).partition(';')[0]}"


def _overlay(data: Dataset, asked: Asked) -> tuple[list[int], str]:
    """The images to draw, and the picture to write: what names no image of the data set is the picture."""
    if not asked.overlay:
        return [], _OVERLAY
    known = set(data.sources.path)
    folders = {os.path.dirname(path) for path in known} - {b""}  # a picture there is an image that was misspelt
    pictures = []
    for value in asked.overlay:
        path = os.path.normpath(os.fsencode(value))
        if value.lower().endswith(".png") and path not in known and os.path.dirname(path) not in folders:
            pictures.append(value)
    if len(pictures) > 1:
        raise UsageError(f"--overlay {pictures[0]} and {pictures[1]}: neither is an image of {show(data.path)}")
    wanted = [value for value in asked.overlay if value not in pictures] or ["1"]
    images = [image for value in wanted for image in choose_sources(data, value, asked.seed)]
    picture = pictures[0] if pictures else _OVERLAY
    check_sheet(picture)
    return list(dict.fromkeys(images)), picture


def _check_apart(picture: str, asked: Asked) -> None:
    """Refuse two outputs of one name."""
    outputs = [asked.sheet, asked.patch[1] if asked.patch else None, asked.html, picture if asked.overlay else None]
    places = [os.path.realpath(output) for output in outputs if output]
    for place in places:
        if places.count(place) > 1:
            raise UsageError(f"{place}: two things would be written to it: give each a name of its own")
