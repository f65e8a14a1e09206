"""The arithmetic of windows against masks that are painted px by px."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchcli.grid import Grid, plan_axis, plan_grid
from patchcli.specs import Edge, Size

EDGES: tuple[Edge, ...] = ("drop", "shift", "pad", "reflect")

lengths = st.integers(1, 40)
sizes = st.builds(Size, lengths, lengths)
small_sizes = st.builds(Size, st.integers(1, 14), st.integers(1, 14))
edges = st.sampled_from(EDGES)


class Painted(NamedTuple):
    """How often each px of the image is seen, and px of windows that lie outside it."""

    seen: npt.NDArray[np.int64]
    n_outside: int


def paint(grid: Grid, size: Size, patch: Size) -> Painted:
    """Paint each window on a canvas that is large enough for all of them."""
    canvas = np.zeros((3 * size.height + 3 * patch.height, 3 * size.width + 3 * patch.width), np.int64)
    for x, y in grid.coords.tolist():
        canvas[y : y + patch.height, x : x + patch.width] += 1
    seen = canvas[: size.height, : size.width].copy()
    return Painted(seen, int(canvas.sum() - seen.sum()))


def obvious_starts(length: int, patch: int, stride: int, edge: Edge) -> list[int]:
    """The contract's words as a loop."""
    if edge in ("drop", "shift"):
        starts = list(range(0, length - patch + 1, stride))
        if edge == "shift" and starts and starts[-1] + patch < length:
            starts.append(length - patch)
        return starts
    starts = []
    for start in range(0, length, stride):
        starts.append(start)
        if start + patch >= length:
            break
    return starts


@pytest.mark.parametrize("edge", EDGES)
def test_every_small_axis_is_that_of_the_loop(edge: Edge) -> None:
    for length, patch, stride in itertools.product(range(1, 20), range(1, 9), range(1, 12)):
        axis = plan_axis(length, patch, stride, edge)
        starts = obvious_starts(length, patch, stride, edge)
        held = [px for start in starts for px in range(start, start + patch)]
        assert axis.starts.tolist() == starts
        assert axis.n == len(starts)
        assert axis.end == (held[-1] + 1 if held else 0)
        assert axis.n_covered == len({px for px in held if px < length})
        assert axis.n_inside == len([px for px in held if px < length])


@given(lengths, st.integers(1, 14), st.integers(1, 20), edges)
def test_the_windows_of_an_axis_are_those_of_the_loop(length: int, patch: int, stride: int, edge: Edge) -> None:
    axis = plan_axis(length, patch, stride, edge)
    assert axis.starts.dtype == np.int64
    assert axis.starts.tolist() == obvious_starts(length, patch, stride, edge)


@given(sizes, small_sizes, small_sizes, edges)
def test_rows_are_y_outer_x_inner(size: Size, patch: Size, stride: Size, edge: Edge) -> None:
    grid = plan_grid(size, patch, stride, edge)
    xs = obvious_starts(size.width, patch.width, stride.width, edge)
    ys = obvious_starts(size.height, patch.height, stride.height, edge)
    assert grid.coords.tolist() == [[x, y] for y in ys for x in xs]
    assert grid.coords.dtype == np.int32
    assert grid.coords.shape == (grid.n_patches, 2)


@given(sizes, small_sizes, small_sizes, edges)
def test_counts_are_those_of_the_painted_image(size: Size, patch: Size, stride: Size, edge: Edge) -> None:
    grid = plan_grid(size, patch, stride, edge)
    painted = paint(grid, size, patch)
    assert grid.n_uncovered == int((painted.seen == 0).sum())
    assert grid.n_padded == painted.n_outside


@given(sizes, small_sizes, small_sizes, st.sampled_from(["drop", "shift"]))
def test_drop_and_shift_stay_inside_the_image(size: Size, patch: Size, stride: Size, edge: Edge) -> None:
    grid = plan_grid(size, patch, stride, edge)
    assert grid.n_padded == 0
    if grid.n_patches:
        assert (grid.coords >= 0).all()
        assert (grid.coords + patch <= size).all()
    else:
        assert patch.width > size.width or patch.height > size.height


@given(sizes, small_sizes, st.data(), st.sampled_from(["shift", "pad", "reflect"]))
def test_every_px_is_covered_where_windows_touch(size: Size, patch: Size, data: st.DataObject, edge: Edge) -> None:
    stride = Size(data.draw(st.integers(1, patch.width)), data.draw(st.integers(1, patch.height)))
    grid = plan_grid(size, patch, stride, edge)
    if edge == "shift" and (patch.width > size.width or patch.height > size.height):
        assert grid.n_patches == 0
        return
    assert grid.n_uncovered == 0
    assert (paint(grid, size, patch).seen > 0).all()


@given(sizes, small_sizes, small_sizes, st.sampled_from(["pad", "reflect"]))
def test_every_padded_window_holds_a_px_of_the_image(size: Size, patch: Size, stride: Size, edge: Edge) -> None:
    grid = plan_grid(size, patch, stride, edge)
    assert grid.n_patches >= 1
    assert (grid.coords < size).all()


@given(sizes, small_sizes, small_sizes, st.sampled_from(["pad", "reflect"]))
def test_padding_stops_at_the_first_window_that_reaches_the_border(
    size: Size, patch: Size, stride: Size, edge: Edge
) -> None:
    grid = plan_grid(size, patch, stride, edge)
    for axis in (grid.x, grid.y):
        assert (axis.starts[:-1] + axis.patch < axis.length).all()


@given(small_sizes, st.integers(1, 5), st.integers(1, 5), edges)
def test_an_exact_fit_without_overlap_is_a_partition(patch: Size, columns: int, rows: int, edge: Edge) -> None:
    size = Size(patch.width * columns, patch.height * rows)
    grid = plan_grid(size, patch, patch, edge)
    assert grid.n_patches == columns * rows
    assert (paint(grid, size, patch).seen == 1).all()
    assert grid.n_padded == grid.n_uncovered == 0


@pytest.mark.parametrize(
    ("length", "edge", "starts", "covered"),
    [
        (10, "drop", [0, 3, 6], 10),
        (12, "drop", [0, 3, 6], 10),
        (12, "shift", [0, 3, 6, 8], 12),
        (12, "pad", [0, 3, 6, 9], 12),
        (3, "drop", [], 0),
        (3, "shift", [], 0),
        (3, "reflect", [0], 3),
    ],
)
def test_the_pictures_of_the_module(length: int, edge: Edge, starts: list[int], covered: int) -> None:
    axis = plan_axis(length, 4, 3, edge)
    assert axis.starts.tolist() == starts
    assert axis.n_covered == covered


def test_an_image_that_is_too_small_on_one_side_gives_no_coords() -> None:
    grid = plan_grid(Size(100, 9), Size(10, 10), Size(5, 5), "drop")
    assert grid.coords.shape == (0, 2)
    assert grid.coords.dtype == np.int32
    assert (grid.n_patches, grid.n_uncovered, grid.n_padded) == (0, 900, 0)
