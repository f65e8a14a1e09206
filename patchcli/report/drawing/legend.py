"""What is drawn on an image, in words: samples side by side, in as many lines as they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from patchcli.io.canvas import Canvas, text_width
from patchcli.report.drawing.outlines import swatch
from patchcli.report.drawing.style import SUBTITLE
from patchcli.specs import Size

_LINE: Final = 28
_SWATCH: Final = Size(30, 18)
_TEXT: Final = _SWATCH.width + 9  # from the left of a sample
_GAP: Final = 28


@dataclass(frozen=True, slots=True)
class Legend:
    """Entries as (x, y, name, text), from the top-left of the legend; and its height."""

    entries: tuple[tuple[int, int, str, str], ...]
    height: int


def plan_legend(seen: frozenset[str], *, stride: str, width: int) -> Legend:
    """A legend for what `draw_windows` drew, at most `width` px wide."""
    texts = {
        "patch": "some of the patches, side by side" if "one" in seen else "patch",
        "dot": "centre of each patch",
        "one": f"a patch and the next ones along x and y (stride {stride} px)",
        "open": "px in no patch",
        "pad": "padding, outside the image",
        "blank": "px that are not stored",
    }
    entries, x, y = [], 0, 0
    for name in filter(seen.__contains__, texts):
        needed = _TEXT + text_width(texts[name], SUBTITLE)
        if x and x + needed > width:
            x, y = 0, y + _LINE
        entries.append((x, y, name, texts[name]))
        x += needed + _GAP
    return Legend(tuple(entries), y + _LINE if entries else 0)


def draw_legend(canvas: Canvas, legend: Legend, at: tuple[int, int]) -> None:
    """Draw it with its top-left at a place."""
    for x, y, name, text in legend.entries:
        left, top = at[0] + x, at[1] + y
        canvas.paste(swatch(name, _SWATCH), (left, top), size=_SWATCH)
        canvas.text(text, (left + _TEXT, top + 14), style=SUBTITLE)
