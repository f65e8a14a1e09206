"""Sums taken from the image equal sums over its patches, digit by digit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchcli import stats
from patchcli.cut import cut
from patchcli.grid import Grid, plan_grid
from patchcli.specs import Edge, Size
from patchcli.stats import NOTHING, Moments, block_moments, moments

Pixels = npt.NDArray[np.uint8]


class Case(NamedTuple):
    image: Pixels
    grid: Grid
    edge: Edge
    pad_value: int
    rows: range


@st.composite
def cases(draw: st.DrawFn) -> Case:
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    channels = draw(st.integers(1, 5))
    levels = draw(st.sampled_from([(0, 256), (255, 256), (254, 256), (0, 2)]))
    image = np.random.default_rng(draw(st.integers(0, 99))).integers(*levels, (height, width, channels), np.uint8)
    sides = st.builds(Size, st.integers(1, 12), st.integers(1, 12))
    edge: Edge = draw(st.sampled_from(["drop", "shift", "pad", "reflect"]))
    grid = plan_grid(Size(width, height), draw(sides), draw(sides), edge)
    start = draw(st.integers(0, max(0, grid.y.n - 1)))
    rows = range(start, draw(st.integers(min(start + 1, grid.y.n), grid.y.n)))
    return Case(image, grid, edge, draw(st.integers(0, 255)), draw(st.sampled_from([rows, range(grid.y.n)])))


def patches_of(case: Case) -> Pixels:
    blocks = cut(case.image, case.grid, rows=case.rows, edge=case.edge, pad_value=case.pad_value)
    copies = [patches.copy() for patches in blocks]
    shape = (0, case.grid.y.patch, case.grid.x.patch, case.image.shape[2])
    return np.concatenate(copies) if copies else np.empty(shape, np.uint8)


def moments_of(case: Case) -> Moments:
    return moments(case.image, case.grid, rows=case.rows, edge=case.edge, pad_value=case.pad_value)


def summed(patches: Pixels) -> Moments:
    """Python's integers, which cannot overflow."""
    columns = patches.reshape(-1, patches.shape[-1]).T.tolist()
    if not patches.size:
        return NOTHING
    return Moments(len(columns[0]), tuple(map(sum, columns)), tuple(sum(v * v for v in column) for column in columns))


@given(cases())
def test_moments_are_the_sums_over_the_patches(case: Case) -> None:
    assert moments_of(case) == summed(patches_of(case))


@given(cases())
def test_moments_are_whole_numbers_of_python(case: Case) -> None:
    found = moments_of(case)
    assert all(type(number) is int for number in (found.n, *found.sums, *found.squares))


@given(cases(), st.integers(1, 257))
def test_the_size_of_a_band_does_not_matter(case: Case, most_rows: int) -> None:
    expected = moments_of(case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stats, "_MOST_ROWS", most_rows)
        assert moments_of(case) == expected


@given(cases(), st.data())
def test_moments_of_parts_add_up(case: Case, data: st.DataObject) -> None:
    middle = data.draw(st.integers(case.rows.start, case.rows.stop))
    parts = [case._replace(rows=range(case.rows.start, middle)), case._replace(rows=range(middle, case.rows.stop))]
    assert moments_of(parts[0]) + moments_of(parts[1]) == moments_of(case)


@pytest.mark.parametrize("height", [256, 257, 258, 515, 1500])
def test_white_rows_do_not_overflow(height: int) -> None:
    white = np.full((height, 3, 2), 255, np.uint8)
    found = moments(white, plan_grid(Size(3, height), Size(1, 1), Size(1, 1), "drop"))
    assert found == Moments(3 * height, (3 * height * 255,) * 2, (3 * height * 255**2,) * 2)


def test_many_windows_over_a_white_image_stay_exact() -> None:
    white = np.full((300, 300, 1), 255, np.uint8)
    found = moments(white, plan_grid(Size(300, 300), Size(200, 200), Size(1, 1), "drop"))
    n = 101 * 101 * 200 * 200
    assert found == Moments(n, (n * 255,), (n * 255**2,))


@given(cases())
def test_mean_and_deviation_are_those_of_numpy(case: Case) -> None:
    patches = patches_of(case)
    if not patches.size:
        return
    mean, std = moments_of(case).mean_std()
    wide = patches.astype(np.float64)
    assert mean.dtype == std.dtype == np.float64
    np.testing.assert_allclose(mean, wide.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, wide.std(axis=(0, 1, 2)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("level", [1, 77, 254, 255])
def test_a_flat_image_deviates_by_exactly_nothing(level: int) -> None:
    flat = np.full((997, 13, 3), level, np.uint8)
    mean, std = moments(flat, plan_grid(Size(13, 997), Size(7, 11), Size(3, 2), "reflect"), edge="reflect").mean_std()
    assert mean.tolist() == [level] * 3
    assert std.tolist() == [0.0] * 3


def test_nothing_changes_nothing() -> None:
    some = Moments(4, (1, 2), (3, 4))
    assert NOTHING + some == some + NOTHING == some
    assert NOTHING + NOTHING == NOTHING


@st.composite
def blocks(draw: st.DrawFn) -> Pixels:
    """Patches (k, H, W, C) uint8, among them nothing but black or white."""
    shape = tuple(draw(st.integers(1, most)) for most in (5, 9, 9, 6))
    levels = draw(st.sampled_from([(0, 256), (0, 1), (255, 256), (254, 256)]))
    return np.random.default_rng(draw(st.integers(0, 99))).integers(*levels, shape, np.uint8)


@given(blocks())
def test_sums_over_patches_are_whole_numbers(patches: Pixels) -> None:
    found = block_moments(patches)
    assert found == summed(patches)
    assert all(type(number) is int for number in (found.n, *found.sums, *found.squares))


@given(blocks(), st.integers(1, 50))
def test_the_size_of_a_part_does_not_matter(patches: Pixels, part: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stats, "_PART", part)
        assert block_moments(patches) == summed(patches)


@pytest.mark.parametrize("channels", range(1, 7))
@pytest.mark.parametrize("pixels", [1, stats._PART - 1, stats._PART, stats._PART + 1, 5 * stats._PART // 2])
def test_white_patches_do_not_overflow(channels: int, pixels: int) -> None:
    """Parts are as large as they are summed at once: 32 bits would not hold them."""
    white = np.full((1, pixels, 1, channels), 255, np.uint8)
    white[0, -1, 0, -1] = 254
    sums, squares = [pixels * 255] * channels, [pixels * 255**2] * channels
    sums[-1] -= 1
    squares[-1] -= 255**2 - 254**2
    assert block_moments(white) == Moments(pixels, tuple(sums), tuple(squares))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_sums_of_other_dtypes_are_those_of_numpy(dtype: type[np.uint16 | np.float32]) -> None:
    patches = np.random.default_rng(0).integers(0, 65536, (3, 7, 5, 3)).astype(dtype)
    patches[0] = 65535
    wide = patches.reshape(-1, 3).astype(np.float64)
    found = block_moments(patches)
    assert found.n == len(wide)
    np.testing.assert_allclose(found.sums, wide.sum(axis=0), rtol=1e-13)
    np.testing.assert_allclose(found.squares, (wide**2).sum(axis=0), rtol=1e-13)


def test_no_patches_have_no_sums() -> None:
    assert block_moments(np.empty((0, 4, 4, 3), np.uint8)).n == 0
