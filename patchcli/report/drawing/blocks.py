"""Where the patches of a class sheet stand: classes as blocks side by side. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_GAP: Final = 6  # between patches
_COLUMN_GAP: Final = 36  # between blocks
_ROW_GAP: Final = 22
_ENLARGED: Final = 128  # patches are enlarged up to this size, by whole factors
_SHRUNK: Final = (192, 160, 128, 112, 96, 80, 64, 56, 48, 40, 32, 24)  # larger ones are made as small as one of these

# Patches are drawn as large as fits a page, so wide and high, within these sizes; where none fits, the next page is
# tried.
_PAGES: Final = (
    (1300, 950, range(112, 193)),
    (1600, 1300, range(96, 193)),
    (2000, 1800, range(80, 193)),
    (2400, 2560, range(56, 193)),
    (3200, 3200, range(40, 97)),
    (4800, 4800, range(24, 65)),
    (13_000, 13_000, range(1, 33)),
)
_SCREEN: Final = 1.4  # width to height of what a page is looked at on
_MORE_HEIGHT: Final = 150  # heading and caption
_ANY: Final = 1_000_000
_MORE_LINES: Final = 0.12  # how much worse a block is for each line more


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of patches, each below its label, in rows and columns; places are (x, y) from the top-left one, px.

    Attributes
    ----------
    n : int
        Blocks.
    across, lines : int
        Patches side by side in a block, and below each other.
    cell : (int, int)
        Width and height of a patch as it is drawn.
    columns : int
        Blocks side by side.
    label : int
        Height of a label.
    width : int
        Of a block.
    """

    n: int
    across: int
    lines: int
    cell: tuple[int, int]
    columns: int
    label: int
    width: int

    @property
    def height(self) -> int:
        """Of a block with its label."""
        return self.label + self.lines * (self.cell[1] + _GAP) - _GAP

    @property
    def rows(self) -> int:
        """Blocks below each other."""
        return -(-self.n // self.columns)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of all."""
        columns = min(self.columns, self.n)
        return (
            columns * (self.width + _COLUMN_GAP) - _COLUMN_GAP,
            self.rows * (self.height + _ROW_GAP) - _ROW_GAP,
        )

    def block(self, number: int) -> tuple[int, int]:
        """Where a block begins, with its label; blocks are read like text."""
        row, column = divmod(number, self.columns)
        return column * (self.width + _COLUMN_GAP), row * (self.height + _ROW_GAP)

    def patch(self, number: int, place: int) -> tuple[int, int]:
        """Where a patch of a block begins."""
        x, y = self.block(number)
        line, column = divmod(place, self.across)
        return x + column * (self.cell[0] + _GAP), y + self.label + line * (self.cell[1] + _GAP)


def plan_blocks(
    n: int, n_each: int, patch: tuple[int, int], *, narrow: tuple[int, int], wide: tuple[int, int]
) -> Blocks:
    """The largest patches that make a page of a sensible size.

    Parameters
    ----------
    n, n_each : int
        Blocks, and patches in the longest of them; at least 1.
    patch : (int, int)
        Width and height of a patch, px.
    narrow, wide : (int, int)
        Least width that a label needs and its height then: in several lines, and in fewer when a block is wide enough.
    """
    for width, height, sizes in _PAGES:
        for cell in _cells(*patch):
            if max(cell) not in sizes:
                continue
            found = [
                blocks
                for blocks in _arrangements(n, n_each, cell, narrow, wide, width)
                if blocks.size[0] <= width and blocks.size[1] <= height
            ]
            if found:
                return min(found, key=lambda blocks: _badness(blocks, n_each))
    cell = _cells(*patch)[-1]
    return min(_arrangements(n, n_each, cell, narrow, wide, _ANY), key=lambda blocks: max(blocks.size))


def _cells(width: int, height: int) -> list[tuple[int, int]]:
    """Sizes at which a patch can be drawn, falling: whole multiples, itself, and smaller."""
    longer = max(width, height)
    enlarged = [(width * n, height * n) for n in range(_ENLARGED // longer, 0, -1)]
    if not enlarged and longer <= _SHRUNK[0]:
        enlarged = [(width, height)]
    shrunk = [size for size in _SHRUNK if size < longer]
    return enlarged + [(max(1, round(width * size / longer)), max(1, round(height * size / longer))) for size in shrunk]


def _arrangements(
    n: int, n_each: int, cell: tuple[int, int], narrow: tuple[int, int], wide: tuple[int, int], most: int
) -> Iterator[Blocks]:
    """All ways to arrange blocks that are no wider than `most`."""
    shapes = {-(-n_each // lines): lines for lines in range(n_each, 0, -1)}  # the fewest lines for so many side by side
    for across, lines in shapes.items():
        patches = across * (cell[0] + _GAP) - _GAP
        width = max(patches, narrow[0])
        label = wide[1] if width >= wide[0] else narrow[1]
        if width > most:
            continue
        for columns in range(1, min(n, max(1, (most + _COLUMN_GAP) // (width + _COLUMN_GAP))) + 1):
            yield Blocks(n, across, lines, cell, columns, label, width)


def _badness(blocks: Blocks, n_each: int) -> float:
    """How much paper is left white, how far a page is from the shape of a screen, and how ragged blocks are."""
    width, height = blocks.size
    used = blocks.n * n_each * blocks.cell[0] * blocks.cell[1]
    shape = abs(math.log(width / (height + _MORE_HEIGHT) / _SCREEN))
    ragged = blocks.across * blocks.lines > n_each
    return math.log(width * height / used) + 0.35 * shape + _MORE_LINES * (blocks.lines - 1 + ragged)
