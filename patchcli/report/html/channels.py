"""The statistics and histograms of channels as what an HTML page sets: rows, words and charts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from patchcli.inspected import Inspection
from patchcli.report.html.charts import ceiling, histogram, svg
from patchcli.report.html.histograms import BINS, Histograms
from patchcli.report.text import channel_names


def channels(found: Inspection, counted: Histograms | None) -> list[dict[str, Any]]:
    """Statistics of each channel, and its histogram."""
    n = found.patch_shape[2]
    names = channel_names(n)
    rows: list[dict[str, Any]] = []
    for number, name in enumerate(names):
        digits = 4 if found.dtype == "float32" else 2
        mean, std = (_fixed(values[number], digits) if found.mean else "-" for values in (found.mean, found.std))
        rows.append({"name": name, "mean": mean, "std": std, "values": (), "chart": None})
    if counted is not None and counted.n_patches:
        first, stop = _used(counted)
        shown = counted.counts[:, first:stop]
        top = ceiling(shown.tolist())
        for number, row in enumerate(rows):
            row.update(_panel(found, counted, number, (first, stop), top))
    return rows


def _fixed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:,.{digits}f}"  # minus nothing is nothing


def _used(counted: Histograms) -> tuple[int, int]:
    """The bins that an axis must show: all of uint8, of others from the first to the last with a value in it."""
    filled = np.flatnonzero(counted.counts.sum(axis=0))
    if (counted.edges[0] == 0 and counted.edges[-1] == BINS) or not len(filled):
        return 0, BINS
    return int(filled[0]), int(filled[-1]) + 1


def _panel(found: Inspection, counted: Histograms, number: int, used: tuple[int, int], top: int) -> dict[str, Any]:
    first, stop = used
    counts = counted.counts[number, first:stop].tolist()
    low, width = float(counted.edges[first]), float(counted.edges[1] - counted.edges[0])
    mark = None
    if found.mean:  # whole numbers stand in the middle of their bins
        mark = (found.mean[number] - low + (0.5 if counted.whole_numbers else 0.0)) / width
    n_values = int(counted.counts[number].sum() + counted.below[number] + counted.above[number])
    quartiles = [counted.quantile(number, part) for part in (0.25, 0.5, 0.75)]
    ends = low, float(counted.edges[stop]) - (1 if counted.whole_numbers else 0)
    outside = int(counted.below[number] + counted.above[number])
    fullest = max(range(len(counts)), key=counts.__getitem__)
    return {
        "values": tuple(_value(value, counted) for value in (counted.low[number], *quartiles, counted.high[number])),
        "ends": tuple(_value(end, counted) for end in ends),
        "fullest": (_bin(counted, first + fullest), _part(counts[fullest], n_values)),
        "cut": [(_bin(counted, first + at), _part(count, n_values)) for at, count in enumerate(counts) if count > top],
        "outside": _part(outside, n_values) if outside else "",
        "no_number": int(counted.no_number[number]),
        "chart": svg(histogram(counts, top, mark)),
    }


def _value(value: float, counted: Histograms) -> str:
    if math.isnan(value):
        return "-"
    if math.isinf(value):  # in the part that the bins leave out
        return (
            f"< {_value(float(counted.edges[0]), counted)}"
            if value < 0
            else f"> {_value(float(counted.edges[-1]), counted)}"
        )
    return f"{value:,.0f}" if counted.whole_numbers else f"{value:.4g}"


def _bin(counted: Histograms, at: int) -> str:
    """The values of a bin in words."""
    low, high = float(counted.edges[at]), float(counted.edges[at + 1]) - (1 if counted.whole_numbers else 0)
    return _value(low, counted) if low == high else f"{_value(low, counted)} to {_value(high, counted)}"


def _part(count: int, total: int) -> str:
    part = count / max(1, total)
    return f"{part:.1%}" if part >= 0.001 else f"{part:.2g}" if not part else f"{part * 100:.2g}%"
