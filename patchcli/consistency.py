"""Whether the tables of a file agree with each other: each rule with the rows that break it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from patchcli.specs import Edge, Size
from patchcli.stats import Moments

Array = npt.NDArray[Any]
Tables = Mapping[str, Array]

_RELATIVE: float = 1e-9  # float64 sums of the same values in another order


class Broken(NamedTuple):
    """A rule that does not hold: rows int64 (k,) that break it (none: it is about the file), and what is wrong."""

    rows: npt.NDArray[np.int64]
    what: str


def misshapen(tables: Tables, n_rows: int, channels: int) -> str:
    """Which table has not the shape or the kind of values that it should have; empty when all do."""
    whole = ("labels", "digest", "source", "split", "origin", "copy")
    sums = tuple(f"stats/{name}" for name in ("mean", "std", "sum", "sum_of_squares"))
    shapes: dict[str, tuple[int, ...]] = {"coords": (n_rows, 2), "stats/n_pixels": (1,)}
    shapes |= dict.fromkeys(whole, (n_rows,)) | dict.fromkeys(sums, (channels,))
    for name, shape in shapes.items():
        if name in tables and tables[name].shape != shape:
            return f"/{name} has the shape {tables[name].shape}, expected {shape}"
    kinds = dict.fromkeys((*whole, "coords", "stats/n_pixels"), "iu") | dict.fromkeys(sums, "iuf")
    kinds |= dict.fromkeys(("classes", "splits", "sources/path", "sources/sha256"), "S")
    for name, kind in kinds.items():
        if name in tables and tables[name].dtype.kind not in kind:
            return f"/{name} is {tables[name].dtype}, expected {'text' if kind == 'S' else 'numbers'}"
    return ""


def broken_rules(tables: Tables, patch: Size, edge: Edge) -> Iterator[Broken]:
    """Rules of `/labels`, `/source`, `/split`, `/coords`, `/origin` and `/copy` that do not hold.

    Parameters
    ----------
    tables : mapping of str to array
        By path, all of the lengths that they should have.
    patch : Size
        Px.
    edge : {"drop", "shift", "pad", "reflect"}
        With the last two a patch may reach beyond its image, at the right and at the bottom.
    """
    n_sources = len(tables["sources/path"])
    yield from _in_range(tables, "labels", len(tables["classes"]), "/classes")
    yield from _in_range(tables, "source", n_sources, "/sources")
    yield from _in_range(tables, "split", len(tables.get("splits", ())), "/splits")
    yield from _in_range(tables, "sources/label", len(tables["classes"]), "/classes")
    source = tables["source"]
    known = (source >= 0) & (source < n_sources)
    if n_sources:
        at = np.where(known, source, 0)
        yield from _broken(
            known & (tables["labels"] != tables["sources/label"][at]), "/labels: not the label that their image has"
        )
        yield from _outside(tables, at, known, patch, edge)
    if "copy" in tables:
        yield from _broken((tables["copy"] < 0) | (tables["origin"] < 0), "/origin or /copy is below 0")
    yield from _twice(tables)


def _in_range(tables: Tables, name: str, n: int, of: str) -> Iterator[Broken]:
    if name in tables:
        values = tables[name]
        yield from _broken((values < 0) | (values >= n), f"/{name}: expected rows of {of}, from 0 to {n - 1}")


def _broken(where: npt.NDArray[np.bool_], what: str) -> Iterator[Broken]:
    rows = np.flatnonzero(where)
    if rows.size:
        yield Broken(rows, what)


def _outside(
    tables: Tables, at: npt.NDArray[Any], known: npt.NDArray[np.bool_], patch: Size, edge: Edge
) -> Iterator[Broken]:
    corners = tables["coords"].astype(np.int64)
    sizes = np.stack([tables["sources/width"], tables["sources/height"]], axis=1).astype(np.int64)[at]
    # padding is at the right and the bottom: the corner itself is a px of the image
    reach = np.ones(2, np.int64) if edge in ("pad", "reflect") else np.array(patch, np.int64)
    outside = (corners < 0) | (corners + reach > sizes)
    yield from _broken(known & outside.any(axis=1), "/coords: the patch lies outside its image")


def _twice(tables: Tables) -> Iterator[Broken]:
    """Rows that say the same as an earlier one: the same window of the same image, or the same copy of it."""
    columns = [tables["source"], tables["coords"][:, 0], tables["coords"][:, 1]]
    columns += [tables[name] for name in ("origin", "copy") if name in tables]
    order = np.lexsort(columns)
    same = np.ones(max(0, len(order) - 1), np.bool_)
    for column in columns:
        ordered = column[order]
        same &= ordered[1:] == ordered[:-1]
    rows = np.sort(order[1:][same])
    if rows.size:
        yield Broken(rows, "the same window of the same image stands twice")


def differing_stats(tables: Tables, found: Moments, dtype: str) -> str:
    """How `/stats/*` differ from sums over all patches; empty where they agree.

    Sums of uint8 are exact; those of other dtypes are float64, and may differ in the order in which they were added.
    """
    if not found.n:
        return ""
    n_said, sums, squares = (tables[f"stats/{name}"].tolist() for name in ("n_pixels", "sum", "sum_of_squares"))
    if n_said != [found.n]:
        return f"/stats/n_pixels is {n_said}, the patches have {found.n:,} px"
    for channel, (total, square) in enumerate(zip(found.sums, found.squares, strict=True)):
        # of all orders of adding, none moves a sum further than the squares' root lets it
        span = 0.0 if dtype == "uint8" else _RELATIVE * square
        pairs = {
            "sum": (sums[channel], total, _RELATIVE * (span * found.n / _RELATIVE) ** 0.5),
            "sum_of_squares": (squares[channel], square, span),
        }
        for name, (said, expected, most) in pairs.items():
            if not _near(said, expected, most):
                return f"/stats/{name} of channel {channel} is {said:,}, the patches come to {expected:,}"
    said_moments = Moments(found.n, tuple(sums), tuple(squares))
    for name, values in zip(("mean", "std"), said_moments.mean_std(), strict=True):
        # roots differ in their last digit from one C library to the next
        if not np.allclose(tables[f"stats/{name}"], values, rtol=_RELATIVE, atol=0, equal_nan=True):
            return f"/stats/{name} is {tables[f'stats/{name}'].tolist()}, the sums come to {values.tolist()}"
    return ""


def _near(said: float, expected: float, most: float) -> bool:
    """Whether two numbers are at most so far apart; two that are no numbers are alike."""
    return said == expected or abs(said - expected) <= most < math.inf or (math.isnan(said) and math.isnan(expected))
