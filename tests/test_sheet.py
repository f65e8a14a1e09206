"""Class sheets: which patches are shown, where they stand, and what is said of those that are not."""

from __future__ import annotations

import io
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import Tree
from hypothesis import given, settings
from hypothesis import strategies as st
from photos import copied, retyped
from PIL import Image

import patchcli
from patchcli.choice import in_turn, name_ranks, row_ranks, spread
from patchcli.errors import DamagedFile
from patchcli.io.canvas import Canvas
from patchcli.io.dataset import Dataset
from patchcli.report.drawing.blocks import Blocks, plan_blocks
from patchcli.report.drawing.levels import averaged, look_at
from patchcli.report.drawing.sheet import class_sheet
from patchcli.report.drawing.style import HAIRLINE

Array = npt.NDArray[Any]
Row = tuple[int, bytes, int, int]


def opened(path: Path) -> Dataset:
    return Dataset(os.fsencode(path))


def picture(canvas: Canvas) -> Array:
    with Image.open(io.BytesIO(canvas.png())) as image:
        return np.asarray(image)


def cells(canvas: Canvas, patch: tuple[int, int], factor: int = 4) -> list[bytes]:
    """The patches in a picture, found by their frames, each px of `factor` x `factor` as one px again."""
    drawn = picture(canvas)
    line = (drawn == HAIRLINE).all(-1)
    corners = np.argwhere(line[:-1, :-1] & line[:-1, 1:] & line[1:, :-1] & ~line[1:, 1:]) + 1
    size = patch[0] * factor, patch[1] * factor
    found = [drawn[y : y + size[0], x : x + size[1]] for y, x in corners]
    small = [np.ascontiguousarray(one[::factor, ::factor]) for one in found]
    for one, whole in zip(small, found, strict=True):
        assert np.array_equal(one.repeat(factor, 0).repeat(factor, 1), whole), "px are sharp"
    return [one.tobytes() for one in small]


def colors(patches: Array) -> list[bytes]:
    """Patches (n, H, W, C) as `cells` finds them."""
    return [np.ascontiguousarray(np.broadcast_to(patch, (*patch.shape[:2], 3))).tobytes() for patch in patches]


def chosen(rows: list[Row], seed: int, n_each: int) -> list[Row]:
    """What `spread` takes of rows (label, path, x, y)."""
    labels = np.array([label for label, *_ in rows], np.int64)
    groups = name_ranks(seed, [path for _, path, _, _ in rows])
    columns = [np.array([row[2 + axis] for row in rows], np.int32) for axis in (0, 1)]
    return [rows[number] for number in spread(labels, groups, row_ranks(groups, columns), n_each)]


rows_of_images = st.lists(
    st.tuples(
        st.integers(0, 4), st.sampled_from([b"a.jpg", b"b/a.jpg", b"\xff"]), st.integers(0, 9), st.integers(0, 9)
    ),
    unique=True,
    max_size=80,
)


@given(rows_of_images, st.randoms(), st.integers(0, 2**63 - 1), st.integers(1, 9))
def test_the_choice_does_not_depend_on_the_order_of_rows(rows: list[Row], random: Any, seed: int, n_each: int) -> None:
    shuffled = random.sample(rows, len(rows))
    assert chosen(rows, seed, n_each) == chosen(shuffled, seed, n_each)


@given(rows_of_images, st.integers(0, 99), st.integers(1, 9))
def test_the_choice_takes_all_images_of_a_class_before_one_of_them_again(
    rows: list[Row], seed: int, n_each: int
) -> None:
    taken = chosen(rows, seed, n_each)
    assert len(set(taken)) == len(taken)
    for label in range(5):
        mine, there = [row for row in taken if row[0] == label], [row for row in rows if row[0] == label]
        assert len(mine) == min(n_each, len(there))
        counts = {path: sum(row[1] == path for row in mine) for _, path, _, _ in there}
        for path, count in counts.items():
            left = sum(row[1] == path for row in there) - count
            assert not left or count >= max(counts.values()) - 1, "one image gives a second one only after all others"


@given(rows_of_images, st.integers(0, 99))
def test_a_larger_choice_begins_with_the_smaller_one(rows: list[Row], seed: int) -> None:
    few, many = chosen(rows, seed, 2), chosen(rows, seed, 5)
    for label in range(5):
        assert [row for row in few if row[0] == label] == [row for row in many if row[0] == label][:2]


@given(rows_of_images, st.integers(0, 99), st.integers(1, 30))
def test_classes_in_turn(rows: list[Row], seed: int, n: int) -> None:
    labels = np.array([label for label, *_ in rows], np.int64)
    groups = name_ranks(seed, [path for _, path, _, _ in rows])
    ranks = row_ranks(groups, [np.array([row[axis] for row in rows], np.int32) for axis in (2, 3)])
    taken = in_turn(labels, groups, ranks, n)
    assert len(taken) == len(set(taken.tolist())) == min(n, len(rows))
    assert (np.diff(labels[taken]) >= 0).all()
    counts = np.bincount(labels[taken], minlength=5)
    for label in range(5):
        assert counts[label] == np.sum(labels == label) or counts[label] >= counts.max() - 1
    assert set(taken.tolist()) <= set(in_turn(labels, groups, ranks, n + 1).tolist())


def test_the_choice_is_even() -> None:
    """Each of 30 patches of an image is taken first about as often as the others, over seeds."""
    rows: list[Row] = [(0, b"a.jpg", x, 7) for x in range(30)]
    counts = np.bincount([chosen(rows, seed, 1)[0][2] for seed in range(3000)], minlength=30)
    assert 50 < counts.min() <= counts.max() < 160


@pytest.mark.slow
def test_a_choice_from_a_million_rows_is_a_matter_of_a_second() -> None:
    rng = np.random.default_rng(0)
    source = rng.integers(0, 50_000, 1_000_000)
    began = time.perf_counter()
    groups = name_ranks(0, [b"class/%d.jpg" % number for number in range(50_000)])[source]
    ranks = row_ranks(groups, [rng.integers(0, 9999, 1_000_000), rng.integers(0, 9999, 1_000_000)])
    assert len(spread(source % 80, groups, ranks, 8)) == 640
    assert time.perf_counter() - began < 3


blocks_of_all_kinds = st.builds(
    plan_blocks,
    st.integers(1, 300),
    st.integers(1, 40),
    st.tuples(st.integers(1, 600), st.integers(1, 600)),
    narrow=st.tuples(st.integers(1, 200), st.just(54)),
    wide=st.tuples(st.integers(200, 400), st.just(36)),
)


@settings(max_examples=60)
@given(blocks_of_all_kinds)
def test_blocks_and_patches_never_overlap_and_stay_on_the_sheet(blocks: Blocks) -> None:
    """Each px belongs to one label or patch at most."""
    width, height = blocks.size
    taken = np.zeros((height, width), np.uint8)
    for number in range(blocks.n):
        x, y = blocks.block(number)
        assert x + blocks.width <= width
        taken[y : y + blocks.label, x : x + blocks.width] += 1
        for place in range(blocks.across * blocks.lines):
            left, top = blocks.patch(number, place)
            assert 0 <= left <= left + blocks.cell[0] <= x + blocks.width
            assert y + blocks.label <= top <= top + blocks.cell[1] <= height
            taken[top : top + blocks.cell[1], left : left + blocks.cell[0]] += 1
    assert taken.max() == 1


@pytest.mark.parametrize("n_classes", [2, 10, 40, 80])
@pytest.mark.parametrize("patch", [(8, 8), (64, 64), (128, 128), (256, 64), (512, 512)])
def test_a_sheet_has_the_shape_of_a_page(n_classes: int, patch: tuple[int, int]) -> None:
    """80 classes of 8 patches in one column were 1,259 x 11,510 px."""
    blocks = plan_blocks(n_classes, 8, patch, narrow=(180, 54), wide=(340, 36))
    width, height = blocks.size
    assert max(width, height) <= 2600
    assert 0.6 < width / (height + 150) < 2.2
    assert max(blocks.cell) >= 56
    if max(patch) <= 128:
        assert blocks.cell[0] % patch[0] == 0 or blocks.cell[0] < patch[0], "px are enlarged by whole numbers"


def test_patches_stand_on_the_sheet_as_they_are(cut: Path) -> None:
    data = opened(cut)
    canvas, words = class_sheet(data, per_class=4, seed=0)
    assert words == "4 classes, 4 patches each"
    rows = {color: row for row, color in enumerate(colors(data.read(np.arange(data.facts.n_rows))))}
    shown = [rows[cell] for cell in cells(canvas, (32, 32))]
    assert sorted(data.tables["labels"][shown].tolist()) == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    assert len(np.unique(data.tables["source"][shown])) == 8, "of both images of each class"


def test_rows_shards_and_names_make_no_difference(cut: Path, cut_sharded: Path, root: Path, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    shutil.copy(cut_sharded, tmp_path / "a" / cut.name)
    shutil.copytree(cut_sharded.with_suffix(".shards"), tmp_path / "a" / cut_sharded.with_suffix(".shards").name)
    patchcli.extract(root, tmp_path / "b" / cut.name, patch=32, shuffle=True, seed=5, executor="serial")
    drawn = [class_sheet(opened(path), per_class=3, seed=1)[0].png() for path in (cut, *tmp_path.glob(f"*/{cut.name}"))]
    assert len(drawn) == 3
    assert len(set(drawn)) == 1
    assert class_sheet(opened(cut), per_class=3, seed=2)[0].png() != drawn[0]


def test_a_selection_is_drawn_alone(cut: Path) -> None:
    data = opened(cut)
    rows = np.flatnonzero(data.tables["labels"] == 2)
    canvas, words = class_sheet(data, per_class=99, seed=0, rows=rows)
    assert words == f"1 class, {len(rows)} patches each"
    assert sorted(cells(canvas, (32, 32))) == sorted(colors(data.read(rows)))


def test_nothing_to_draw(cut: Path) -> None:
    canvas, words = class_sheet(opened(cut), per_class=8, seed=0, rows=np.empty(0, np.int64))
    assert words == "0 classes, 0 patches each"
    assert canvas.size[1] < 250


def test_a_missing_shard_leaves_the_others(cut_sharded: Path, tmp_path: Path) -> None:
    path = copied(cut_sharded, tmp_path)
    folder = tmp_path / cut_sharded.with_suffix(".shards").name
    os.rename(path.with_suffix(".shards"), folder)
    sorted(folder.iterdir())[1].unlink()
    data = opened(path)
    start, stop = data.tables["shards/row_start"][1:3].tolist()
    with pytest.raises(DamagedFile, match="missing"):
        data.read(np.arange(data.facts.n_rows))
    rest = np.r_[:start, stop : data.facts.n_rows]
    canvas, words = class_sheet(data, per_class=99, seed=0)
    assert sorted(cells(canvas, (32, 32))) == sorted(colors(data.read(rest)))
    assert words == f"4 classes, 20 patches each; {stop - start} patches could not be read"


def test_a_patch_that_is_not_as_it_was_written_leaves_the_others(cut: Path, tmp_path: Path) -> None:
    block = bytearray(cut.read_bytes())
    offset = opened(cut).facts.offset
    assert offset is not None
    block[offset + 40 * 32 * 32 * 3 + 7] ^= 1
    (tmp_path / "in.h5").write_bytes(block)
    data = opened(tmp_path / "in.h5")
    rest = np.delete(np.arange(data.facts.n_rows), 40)
    canvas, words = class_sheet(data, per_class=99, seed=0)
    assert sorted(cells(canvas, (32, 32))) == sorted(colors(data.read(rest)))
    assert words == "4 classes, 20 patches each; 1 patch could not be read"


@pytest.mark.parametrize("convert", ["uint16", "float32", "nan"])
def test_any_kind_of_px(cut: Path, tmp_path: Path, convert: str) -> None:
    ways: dict[str, Any] = {
        "uint16": lambda patches: patches.astype(np.uint16) * 200 + 500,
        "float32": lambda patches: patches.astype(np.float32) / 255,
        "nan": lambda patches: np.full(patches.shape, np.nan, np.float32),
    }
    path = retyped(cut, tmp_path / "in.h5", ways[convert])
    plain, _ = class_sheet(opened(cut), per_class=2, seed=0)
    canvas, words = class_sheet(opened(path), per_class=2, seed=0)
    assert words == "4 classes, 2 patches each"
    if convert != "nan":
        first, second = (picture(one)[:300, :400].reshape(-1) for one in (plain, canvas))
        assert np.corrcoef(first, second)[0, 1] > 0.9


def test_rgba_and_any_name(tree: Tree, tmp_path: Path) -> None:
    names: list[str | bytes] = [
        "中文/a.png",
        "Größe/a.png",
        f"{'x' * 200}/a.png",
        " /a.png",
        b"\xff\xfe/a.png",
        "a\nb/a.png",
    ]
    root = tree(*names, mode="RGBA")
    (root / "empty").mkdir()
    patchcli.extract(root, tmp_path / "out.h5", patch=16, mode="rgba", executor="serial")
    data = opened(tmp_path / "out.h5")
    canvas, words = class_sheet(data, per_class=2, seed=0)
    assert words == "6 classes, 2 patches each"
    look = look_at([data.read(np.array([0]))[0]])
    there = {look.of(patch).tobytes() for patch in data.read(np.arange(data.facts.n_rows))}
    assert len(set(cells(canvas, (16, 16), 8)) & there) == 12


def test_copies_are_among_what_is_shown(cut: Path, tmp_path: Path) -> None:
    out = tmp_path / "more.h5"
    patchcli.augment(cut, out, rotation_range=40, copies=9, executor="serial")
    data = opened(out)
    rows = {color: row for row, color in enumerate(colors(data.read(np.arange(data.facts.n_rows))))}
    shown = [rows[cell] for cell in cells(class_sheet(data, per_class=10, seed=0)[0], (32, 32))]
    assert len(shown) == 40
    assert 25 <= np.sum(data.tables["copy"][shown] > 0) < 40


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5))
def test_averaged(height: int, width: int, step: int) -> None:
    step = min(step, height, width)
    pixels = np.random.default_rng(height * width).integers(0, 65536, (height, width, 2)).astype(np.uint16)
    found = averaged(pixels, step)
    assert found.shape == (height // step, width // step, 2)
    assert found.dtype == np.uint16
    first = pixels[:step, :step].reshape(-1, 2).astype(float).mean(axis=0)
    assert np.abs(found[0, 0] - first).max() <= 0.51
