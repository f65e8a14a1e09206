"""How figures look: colours, type and spaces that they share, and the lines below them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from patchcli.io.canvas import Canvas, Color, Style, shortened, wrapped

INK: Final[Color] = (28, 30, 34)
MUTED: Final[Color] = (112, 116, 122)
HAIRLINE: Final[Color] = (222, 224, 228)

HEADING: Final = Style(24, INK, 0.4)
TITLE: Final = Style(17, INK, 0.3)
SUBTITLE: Final = Style(13, MUTED)
CAPTION: Final = Style(14, MUTED)

MARGIN: Final = 36
NARROWEST: Final = 480  # so that a heading has room above a single patch
_LINE: Final = 20


def caption_lines(parts: Iterable[str], inner: int) -> list[str]:
    """Parts of a caption, those that say something, as lines of `inner` px."""
    return wrapped("; ".join(filter(None, parts)), CAPTION, inner)


def caption_height(lines: list[str]) -> int:
    """Px below what is drawn, down to the end of the paper."""
    return (10 + _LINE * len(lines) if lines else 0) + MARGIN


def draw_heading(canvas: Canvas, heading: str, about: str = "") -> None:
    """A heading at the top, and a line about it."""
    inner = canvas.size[0] - 2 * MARGIN
    canvas.text(shortened(heading, HEADING, inner), (MARGIN, MARGIN + 18), style=HEADING)
    canvas.text(shortened(about, CAPTION, inner), (MARGIN, MARGIN + 44), style=CAPTION)


def draw_caption(canvas: Canvas, lines: list[str], top: int) -> None:
    """A rule, and lines of a caption below it."""
    if lines:
        canvas.rule((MARGIN, top), width=canvas.size[0] - 2 * MARGIN, color=HAIRLINE)
    for number, line in enumerate(lines):
        canvas.text(line, (MARGIN, top + 24 + _LINE * number), style=CAPTION)


def visible_name(name: str) -> str:
    """A name that is blank, or begins or ends so, in quotes."""
    return name if name and name == name.strip() else f'"{name}"'


def counted(n: int, one: str, more: str) -> str:
    """A number of things: `1 patch`, `2,000 patches`."""
    return f"{n:,} {one if n == 1 else more}"
