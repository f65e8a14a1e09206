"""Contact sheets: patches in rows with their names, laid out like a figure in a paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy.typing as npt

from patchcli.io.canvas import Canvas, Style, shortened, text_width
from patchcli.report.drawing.levels import for_the_eye
from patchcli.report.drawing.style import (
    HAIRLINE,
    HEADING,
    MARGIN,
    MUTED,
    NARROWEST,
    SUBTITLE,
    TITLE,
    caption_height,
    caption_lines,
    draw_caption,
    draw_heading,
)

Array = npt.NDArray[Any]

_WIDEST: Final = 2400
_LABEL: Final = 300  # widest names; longer ones are shortened
_LABEL_GAP: Final = 20
_GAP: Final = 8  # between patches side by side
_ROW_GAP: Final = 14
_ROW: Final = 40  # lowest rows: two lines of text
_SMALL: Final = 128  # patches up to this size are enlarged up to it
_LARGE: Final = 192  # larger ones are made this small
_LEAST: Final = 24  # smaller, nothing is seen
_COLUMN: Final = Style(14, MUTED)


@dataclass(frozen=True, slots=True, eq=False)
class SheetRow:
    """A row of a contact sheet.

    Attributes
    ----------
    title, subtitle : str
        Two lines to its left; long ones are shortened.
    patches : tuple of ndarray (H, W, C)
        From left to right; there may be none.
    """

    title: str
    subtitle: str
    patches: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where things are: widths and heights in px."""

    label: int
    cell: tuple[int, int]
    n_columns: int

    @property
    def left(self) -> int:
        return MARGIN + self.label + _LABEL_GAP

    @property
    def right(self) -> int:
        return self.x(self.n_columns) - _GAP

    @property
    def row(self) -> int:
        return max(self.cell[1], _ROW)

    def x(self, column: int) -> int:
        return self.left + column * (self.cell[0] + _GAP)


def contact_sheet(rows: Sequence[SheetRow], *, heading: str, columns: Sequence[str] = (), caption: str = "") -> Canvas:
    """Draw a contact sheet.

    Parameters
    ----------
    rows : sequence of SheetRow
        From top to bottom; all patches have the same shape and dtype. Rows may differ in length.
    heading : str
    columns : sequence of str
        Names above the columns; none: no line for them.
    caption : str
        Below; what was done so that patches can be seen is added to it.

    Raises
    ------
    UsageError
        The rows make a picture larger than programs open.
    """
    shown, note = for_the_eye([patch for row in rows for patch in row.patches])
    most = max((len(row.patches) for row in rows), default=0)
    grid = _grid(rows, shown[0].shape[:2] if shown else (_SMALL, _SMALL), most)
    width = min(_WIDEST, max(grid.right, MARGIN + text_width(heading, HEADING), NARROWEST) + MARGIN)
    inner = width - 2 * MARGIN
    left_out = f"{most - grid.n_columns} more in a row are not shown" if most > grid.n_columns else ""
    scale = scale_note(shown[0].shape[1], grid.cell[0]) if shown else ""
    lines = caption_lines([caption, note, scale, left_out], inner)
    top = MARGIN + 48 + (28 if columns else 0)
    bottom = top + len(rows) * (grid.row + _ROW_GAP)
    canvas = Canvas(width, bottom + caption_height(lines))
    draw_heading(canvas, heading)
    _draw_columns(canvas, grid, columns)
    unseen = iter(shown)
    for number, row in enumerate(rows):
        pictures = [next(unseen) for _ in row.patches]
        _draw_row(canvas, grid, row, pictures, top + number * (grid.row + _ROW_GAP))
    draw_caption(canvas, lines, bottom)
    return canvas


def _grid(rows: Sequence[SheetRow], patch: tuple[int, ...], n_columns: int) -> _Grid:
    height, width = patch
    names = [text_width(row.title, TITLE) for row in rows] + [text_width(row.subtitle, SUBTITLE) for row in rows]
    label = min(_LABEL, max(names, default=0))
    room = _WIDEST - 2 * MARGIN - label - _LABEL_GAP + _GAP  # each cell takes its gap with it
    n_columns = max(1, min(n_columns, room // (min(width, _LEAST) + _GAP)))
    return _Grid(label, _cell(width, height, room // n_columns - _GAP), n_columns)


def _cell(width: int, height: int, room: int) -> tuple[int, int]:
    """Width and height at which a patch is drawn: whole multiples when it is enlarged."""
    longer = max(width, height)
    limit = _SMALL if longer <= _SMALL else _LARGE
    if longer <= limit and width <= room:
        factor = max(1, min(limit // longer, room // width))
        return width * factor, height * factor
    shrink = min(limit / longer, room / width)
    return max(1, round(width * shrink)), max(1, round(height * shrink))


def scale_note(width: int, drawn: int) -> str:
    """How large a patch `width` px wide is drawn, for a caption."""
    factor = drawn / width
    if factor > 1:
        return f"1 px drawn as {factor:.0f}x{factor:.0f}"
    return f"drawn at {factor:.0%} of their size" if factor < 1 else ""


def _draw_columns(canvas: Canvas, grid: _Grid, columns: Sequence[str]) -> None:
    width = grid.cell[0]
    if any(text_width(name, _COLUMN) > width for name in columns):
        columns = [name.split(" ")[-1] for name in columns]  # of "copy 12" the number says more than "co...2"
    for number, name in enumerate(columns[: grid.n_columns]):
        canvas.text(shortened(name, _COLUMN, width), (grid.x(number), MARGIN + 64), style=_COLUMN)


def _draw_row(canvas: Canvas, grid: _Grid, row: SheetRow, pictures: Sequence[Array], top: int) -> None:
    middle = top + grid.row // 2
    title, subtitle = (middle - 3, middle + 16) if row.subtitle else (middle + 6, middle)
    canvas.text(shortened(row.title, TITLE, grid.label), (MARGIN, title), style=TITLE)
    canvas.text(shortened(row.subtitle, SUBTITLE, grid.label), (MARGIN, subtitle), style=SUBTITLE)
    for number, picture in enumerate(pictures[: grid.n_columns]):
        at = grid.x(number), top + (grid.row - grid.cell[1]) // 2
        canvas.frame(at, size=grid.cell, color=HAIRLINE)  # where a patch is white, it has a border all the same
        canvas.paste(picture, at, size=grid.cell)
