"""Charts as inline SVG: numbers in, markup out.

Shapes stretch to the width that they are given and hold no text but tooltips: names and numbers stand beside them in
the page, where they keep their size on a phone and on paper. Colours come from the page's style sheet by class: `s0`,
`s1`, ... for the parts of a whole. Screen readers pass the shapes over, for the page says in words what they show.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from markupsafe import Markup

MOST_PARTS: Final = 6  # that have a colour of their own; further ones share the last
_HAIR: Final = 0.4  # percent of the width: what is there at all can be seen
_MOST_TITLED: Final = 500  # columns that are wide enough to be pointed at
_GAP: Final = 0.2  # of a column's width
_HEIGHT: Final = 100
_PEAKS: Final = 8  # bins of a histogram that may be cut off
_STEEP: Final = 2  # times as high as the next: so high is a peak
_LEAST_BELOW: Final = 0.2  # of all values: fewer below the peaks are not what there is to see


def bar(parts: Sequence[float], most: float) -> str:
    """One horizontal bar of stacked parts.

    Parameters
    ----------
    parts : sequence of float
        At least 0.
    most : float
        What fills the width; at least the sum of the parts.
    """
    total = sum(parts)
    width = max(100 * total / most, _HAIR) if most > 0 and total > 0 else 0.0
    shapes, x = [], 0.0
    for number, part in enumerate(parts):
        if part > 0:
            share = part / total * width
            shapes.append(f'<rect class="{_part(number)}" x="{_n(x)}%" width="{_n(share)}%" height="100%"/>')
            x += share
    return f'<svg class="bar" width="100%" height="100%" aria-hidden="true">{"".join(shapes)}</svg>'


def columns(stacks: Sequence[Sequence[float]], titles: Sequence[str] = ()) -> str:
    """Columns side by side, each of stacked parts, the highest as high as the chart: for many classes at once.

    Parameters
    ----------
    stacks : sequence of sequence of float
        Parts of each column from the bottom up, at least 0.
    titles : sequence of str
        A printable line for each column, shown when it is pointed at; left out where columns are thin as hairs.
    """
    most = max(map(sum, stacks), default=0.0)
    titled = titles if len(stacks) <= _MOST_TITLED else ()
    width = 1 - _GAP if len(stacks) <= _MOST_TITLED else 1
    shapes = []
    for number, stack in enumerate(stacks):
        boxes = "".join(_boxes(stack, number, width, most))
        title = f"<title>{escape(titled[number])}</title>" if titled else ""
        shapes.append(f"<g>{title}{boxes}</g>" if title else boxes)
    return _stretched("columns", len(stacks), "".join(shapes))


def _boxes(stack: Sequence[float], x: int, width: float, most: float) -> Iterator[str]:
    y = float(_HEIGHT)
    for number, part in enumerate(stack):
        if part > 0:
            height = part / most * _HEIGHT
            y -= height
            size = f'width="{_n(width)}" height="{_n(height)}"'
            yield f'<rect class="{_part(number)}" x="{x}" y="{_n(y)}" {size}/>'


def histogram(counts: Sequence[int], top: float, mark: float | None = None) -> str:
    """The outline of a histogram, filled.

    Parameters
    ----------
    counts : sequence of int
        By bin.
    top : float
        The count that is as high as the chart; higher ones are cut off and get a cap.
    mark : float or None
        Where a vertical line stands, in bins from the left.
    """
    path, caps, drawn = [f"M0 {_HEIGHT}"], [], ""
    for number, count in enumerate(counts):
        height = _n(_HEIGHT - min(count / top, 1.0) * _HEIGHT if top > 0 else _HEIGHT)
        if height != drawn:
            path.append(f"V{height}")
            drawn = height
        path.append(f"H{number + 1}")
        if count > top:
            caps.append(f"M{number} 0h1")
    shapes = [f'<path class="area" d="{"".join(path)}V{_HEIGHT}Z"/>']
    if caps:
        shapes.append(f'<path class="cap" d="{"".join(caps)}"/>')
    if mark is not None and 0 <= mark <= len(counts):
        shapes.append(f'<path class="mark" d="M{_n(mark)} 0V{_HEIGHT}"/>')
    return _stretched("histogram", len(counts), "".join(shapes))


def ceiling(histograms: Sequence[Sequence[int]]) -> int:
    """The count that histograms are drawn up to, side by side: the highest, or that below a few steep peaks.

    A white background may put a third of all values into one bin, and the rest would lie flat on the axis.
    """
    return max(map(_below_peaks, histograms), default=0)


def _below_peaks(counts: Sequence[int]) -> int:
    falling = sorted(counts, reverse=True)
    total, rest = sum(falling), sum(falling)
    top = falling[0] if falling else 0
    for higher, lower in itertools.pairwise(falling[: _PEAKS + 1]):
        rest -= higher
        if rest < _LEAST_BELOW * total:
            break
        if higher > _STEEP * lower:
            top = lower
    return top


def swatch(number: int) -> str:
    """The colour of a part, for a legend."""
    shape = f'<rect class="{_part(number)}" width="12" height="12"/>'
    return f'<svg class="swatch" width="12" height="12" aria-hidden="true">{shape}</svg>'


def svg(markup: str) -> Markup:
    """A chart as what may stand in a page as it is."""
    from markupsafe import Markup

    return Markup(markup)  # noqa: S704 - numbers, and names that `columns` escapes


def _stretched(name: str, width: int, shapes: str) -> str:
    """A drawing that is pulled to the width and height of its place."""
    box = f'viewBox="0 0 {max(1, width)} {_HEIGHT}" preserveAspectRatio="none"'
    return f'<svg class="{name}" {box} width="100%" height="100%" aria-hidden="true">{shapes}</svg>'


def _part(number: int) -> str:
    return f"s{min(number, MOST_PARTS - 1)}"


def _n(number: float) -> str:
    """A number as short as three decimals allow."""
    return f"{number:.3f}".rstrip("0").rstrip(".")
