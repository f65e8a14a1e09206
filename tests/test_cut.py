"""Patches equal plain slices of a padded image, whatever the policy, the block and the rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchcli import cut as cut_module
from patchcli.cut import cut, new_block
from patchcli.grid import Grid, plan_grid
from patchcli.specs import Edge, Size

Pixels = npt.NDArray[np.uint8]


class Case(NamedTuple):
    image: Pixels
    patch: Size
    stride: Size
    edge: Edge
    pad_value: int

    @property
    def grid(self) -> Grid:
        return plan_grid(Size(self.image.shape[1], self.image.shape[0]), self.patch, self.stride, self.edge)


@st.composite
def cases(draw: st.DrawFn, most_px: int = 30) -> Case:
    width, height = draw(st.integers(1, most_px)), draw(st.integers(1, most_px))
    channels = draw(st.sampled_from([1, 2, 3, 4, 5]))
    sides = st.integers(1, 12)
    image = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, (height, width, channels), np.uint8)
    edge: Edge = draw(st.sampled_from(["drop", "shift", "pad", "reflect"]))
    return Case(image, Size(draw(sides), draw(sides)), Size(draw(sides), draw(sides)), edge, draw(st.integers(0, 255)))


def sliced(case: Case) -> Pixels:
    """Slices of the image, padded by numpy far enough for every window."""
    beyond = ((0, case.patch.height + case.stride.height), (0, case.patch.width + case.stride.width), (0, 0))
    if case.edge == "reflect":
        padded = np.pad(case.image, beyond, mode="reflect")
    else:
        padded = np.pad(case.image, beyond, mode="constant", constant_values=case.pad_value)
    height, width = case.patch.height, case.patch.width
    patches = [padded[y : y + height, x : x + width] for x, y in case.grid.coords.tolist()]
    return np.stack(patches) if patches else np.empty((0, height, width, case.image.shape[2]), np.uint8)


def together(case: Case, rows: range | None = None, block: Pixels | None = None) -> Pixels:
    blocks = cut(case.image, case.grid, rows=rows, edge=case.edge, pad_value=case.pad_value, block=block)
    copies = [patches.copy() for patches in blocks]
    shape = (0, case.patch.height, case.patch.width, case.image.shape[2])
    return np.concatenate(copies) if copies else np.empty(shape, np.uint8)


@given(cases())
def test_patches_are_slices_of_the_padded_image(case: Case) -> None:
    np.testing.assert_array_equal(together(case), sliced(case))


@given(cases(), st.integers(1, 3000))
def test_the_size_of_a_block_does_not_matter(case: Case, block_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cut_module, "BLOCK_BYTES", block_bytes)
        np.testing.assert_array_equal(together(case), sliced(case))


@given(cases(), st.integers(1, 3000), st.data())
def test_some_rows_of_windows_are_that_part_of_all(case: Case, block_bytes: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, case.grid.y.n))
    rows = range(start, data.draw(st.integers(start, case.grid.y.n)))
    expected = sliced(case)[rows.start * case.grid.x.n : rows.stop * case.grid.x.n]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cut_module, "BLOCK_BYTES", block_bytes)
        np.testing.assert_array_equal(together(case, rows=rows), expected)


@pytest.mark.parametrize("edge", ["drop", "shift", "pad", "reflect"])
def test_no_rows_give_no_patches(edge: Edge) -> None:
    case = Case(np.zeros((12, 12, 1), np.uint8), Size(4, 4), Size(3, 3), edge, 0)
    for start in range(case.grid.y.n + 1):
        assert len(together(case, rows=range(start, start))) == 0


@given(cases(), st.integers(1, 3000))
def test_a_block_is_a_view_of_the_buffer_and_no_larger(case: Case, block_bytes: int) -> None:
    patch_bytes = case.patch.width * case.patch.height * case.image.shape[2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cut_module, "BLOCK_BYTES", block_bytes)
        block = new_block(patch_bytes)
    assert block.size % patch_bytes == 0
    assert block.size <= max(block_bytes, patch_bytes)
    for patches in cut(case.image, case.grid, edge=case.edge, pad_value=case.pad_value, block=block):
        assert len(patches) > 0
        assert patches.flags.c_contiguous
        assert patches.ctypes.data == block.ctypes.data
        np.testing.assert_array_equal(patches.reshape(-1), block[: patches.size])
    np.testing.assert_array_equal(together(case, block=block), sliced(case))


def test_a_step_overwrites_the_patches_before() -> None:
    image = np.arange(8, dtype=np.uint8).reshape(8, 1, 1)
    blocks = cut(image, plan_grid(Size(1, 8), Size(1, 1), Size(1, 1), "drop"), block=np.empty(4, np.uint8))
    first = next(blocks)
    assert first.ravel().tolist() == [0, 1, 2, 3]
    next(blocks)
    assert first.ravel().tolist() == [4, 5, 6, 7]


def test_the_image_stays_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (33, 47, 3), np.uint8)
    image.setflags(write=False)
    for edge in ("drop", "shift", "pad", "reflect"):
        for _ in cut(image, plan_grid(Size(47, 33), Size(8, 8), Size(5, 5), edge), edge=edge):
            pass


@pytest.mark.parametrize("edge", ["drop", "shift", "pad", "reflect"])
def test_a_photo_in_blocks_of_ordinary_size(edge: Edge) -> None:
    image = np.random.default_rng(1).integers(0, 256, (611, 803, 3), np.uint8)
    case = Case(image, Size(64, 48), Size(32, 24), edge, 7)
    blocks = [len(patches) for patches in cut(image, case.grid, edge=edge, pad_value=7)]
    assert len(blocks) > 1
    assert max(blocks) * 64 * 48 * 3 <= cut_module.BLOCK_BYTES
    np.testing.assert_array_equal(together(case), sliced(case))


@pytest.mark.parametrize("turned", [(1, 9, 3), (9, 1, 3), (1, 1, 3), (1, 1, 1)])
def test_lines_of_one_px_with_unusual_strides(turned: tuple[int, int, int]) -> None:
    """Turning a line upright leaves strides that differ from those of a fresh array, though it counts as contiguous."""
    height, width, channels = turned
    lying = np.random.default_rng(2).integers(0, 256, (width, height, channels), np.uint8)
    image = np.ascontiguousarray(lying.swapaxes(0, 1))
    for edge in ("drop", "shift", "pad", "reflect"):
        for patch in (Size(1, 1), Size(2, 2), Size(width, height), Size(width + 2, height + 1)):
            case = Case(image, patch, Size(1, 1), edge, 9)
            np.testing.assert_array_equal(together(case), sliced(case))
