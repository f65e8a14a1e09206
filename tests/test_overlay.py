"""Overlays: outlines stand where the patches were cut, and exactly what no patch covers is hatched."""

from __future__ import annotations

import io
import os
import shutil
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from conftest import Tree
from hypothesis import given, settings
from hypothesis import strategies as st
from photos import copied, retyped
from PIL import Image

import patchcli
from patchcli.errors import DamagedFile, UsageError
from patchcli.grid import plan_grid
from patchcli.io.canvas import Canvas
from patchcli.io.dataset import Dataset
from patchcli.io.headers import Unreadable
from patchcli.io.originals import decode_file
from patchcli.report.drawing.covered import Windows
from patchcli.report.drawing.legend import plan_legend
from patchcli.report.drawing.outlines import LINE, ONE, OPEN, PAD, draw_windows
from patchcli.report.drawing.overlay import choose_sources, overlay
from patchcli.report.drawing.style import MARGIN
from patchcli.specs import Edge, Size

Array = npt.NDArray[Any]
MAX_PIXELS = 10_000_000
FACTOR = 10  # images of 128 px are drawn so much larger


def opened(path: Path) -> Dataset:
    return Dataset(os.fsencode(path))


def picture(canvas: Canvas) -> Array:
    with Image.open(io.BytesIO(canvas.png())) as image:
        return np.asarray(image)


def image_in(canvas: Canvas, width: int, height: int) -> Array:
    """The only image of an overlay, with a legend of one line."""
    top = MARGIN + 66 + 28 + 14
    return picture(canvas)[top : top + height, MARGIN : MARGIN + width]


def noise(size: Size) -> Array:
    """A picture in which no px has a colour that is drawn."""
    drawn = np.random.default_rng(size.width * size.height).integers(1, 200, (size.height, size.width, 3))
    return drawn.astype(np.uint8)


def layers(windows: Windows) -> Array:
    """In how many windows each px is, counted one by one: int (height, width) of the extent."""
    counts = np.zeros((windows.extent.height, windows.extent.width), int)
    for x, y in windows.coords.tolist():
        counts[y : y + windows.patch.height, x : x + windows.patch.width] += 1
    return counts


def inside(windows: Windows) -> Array:
    mask = np.zeros((windows.extent.height, windows.extent.width), bool)
    mask[: windows.image.height, : windows.image.width] = True
    return mask


@st.composite
def some_windows(draw: st.DrawFn) -> Windows:
    """Part of a grid, often irregular, also beyond the border."""
    image, patch = (Size(draw(st.integers(1, most)), draw(st.integers(1, most))) for most in (40, 12))
    stride = Size(draw(st.integers(1, 14)), draw(st.integers(1, 14)))
    edges: tuple[Edge, ...] = ("drop", "shift", "pad")
    coords = plan_grid(image, patch, stride, draw(st.sampled_from(edges))).coords
    kept = draw(st.lists(st.booleans(), min_size=len(coords), max_size=len(coords)))
    return Windows(image, patch, coords[np.array(kept, bool)] if draw(st.booleans()) else coords)


@given(some_windows(), st.integers(1, 4))
def test_what_windows_cover_is_worked_out_as_if_px_by_px(windows: Windows, factor: int) -> None:
    counts, image = layers(windows), inside(windows)
    assert windows.n_uncovered == np.sum(image & (counts == 0))
    assert windows.n_padded == np.sum(~image & (counts > 0))
    assert windows.overlap == (counts.max(initial=0) > 1)
    size = Size(windows.extent.width * factor, windows.extent.height * factor)
    for found, expected in (
        (windows.uncovered(size), image & (counts == 0)),
        (windows.padded(size), ~image & (counts > 0)),
    ):
        assert np.array_equal(found, expected.repeat(factor, 0).repeat(factor, 1))


@given(some_windows(), st.integers(1, 40), st.integers(1, 40))
def test_no_uncovered_px_is_lost_when_an_image_is_drawn_smaller(windows: Windows, width: int, height: int) -> None:
    size = Size(min(width, windows.extent.width), min(height, windows.extent.height))
    found = windows.uncovered(size)
    ys, xs = np.nonzero(inside(windows) & (layers(windows) == 0))
    assert found[ys * size.height // windows.extent.height, xs * size.width // windows.extent.width].all()
    assert found.any() == (len(ys) > 0)


@given(some_windows())
def test_a_tiling_covers_all_that_is_covered(windows: Windows) -> None:
    tiling = windows.tiling
    assert len(set(tiling.tolist())) == len(tiling)
    assert windows.coords[tiling].tolist() == sorted(windows.coords[tiling].tolist(), key=lambda xy: (xy[1], xy[0]))
    part = Windows(windows.image, windows.patch, windows.coords[tiling])
    assert part.extent == windows.extent
    assert np.array_equal(layers(part) > 0, layers(windows) > 0)


@pytest.mark.parametrize("overlap", [0, 0.5, 0.9])
def test_a_tiling_is_as_fine_as_patches_whatever_the_overlap(overlap: float) -> None:
    stride = round(64 * (1 - overlap))
    grid = plan_grid(Size(1000, 800), Size(64, 64), Size(stride, stride), "drop")
    n = len(Windows(Size(1000, 800), Size(64, 64), grid.coords).tiling)
    assert 15 * 12 <= n <= 18 * 15


@pytest.mark.parametrize("edge", ["drop", "pad", "shift"])
@pytest.mark.parametrize("kept", [1.0, 0.7])
def test_exactly_what_no_patch_covers_is_hatched_and_outlines_stand_at_the_coords(edge: Edge, kept: float) -> None:
    image, patch = Size(500, 420), Size(80, 70)
    coords = plan_grid(image, patch, patch, edge).coords
    coords = coords[np.random.default_rng(1).random(len(coords)) < kept]
    windows = Windows(image, patch, coords)
    before = noise(windows.extent)
    after = before.copy()
    seen = draw_windows(after, windows, patch)
    counts, within = layers(windows), inside(windows)
    uncovered, padded = within & (counts == 0), ~within & (counts > 0)
    assert seen - {"dot"} == {"patch"} | ({"open"} if uncovered.any() else set()) | ({"pad"} if padded.any() else set())
    assert ("dot" in seen) == (edge == "shift")

    on_line = {name: (after == color).all(-1) for name, color in (("open", OPEN), ("pad", PAD), ("line", LINE))}
    assert (after != before).any(-1)[uncovered].all(), "all of it is faded or hatched"
    assert (on_line["open"] <= uncovered).all()
    assert (on_line["pad"] <= padded).all()
    for name, mask in (("open", uncovered), ("pad", padded)):
        assert not mask.any() or 0.15 < on_line[name][mask].mean() < 0.35

    rings = np.zeros(counts.shape, bool)
    near = np.zeros(counts.shape, bool)
    for x, y in coords.tolist():
        ring = np.zeros(counts.shape, bool)
        ring[y : y + 70, x : x + 80] = True
        ring[y + 1 : y + 69, x + 1 : x + 79] = False
        rings |= ring
        near[y : y + 70, x : x + 80] = True
        near[y + 2 : y + 68, x + 2 : x + 78] &= counts[y + 2 : y + 68, x + 2 : x + 78] > 1
    assert edge == "shift" or on_line["line"][rings].all(), "the border px of every patch"
    assert on_line["line"][rings].mean() > 0.9
    if edge != "shift":
        assert np.array_equal(on_line["line"], rings), "and nothing else"
        assert not (after != before).any(-1)[(counts > 0) & ~near & ~padded].any(), "a patch's own px are as they were"


@pytest.mark.parametrize("overlap", [0.5, 0.9])
def test_overlapping_patches_stay_readable(overlap: float) -> None:
    """Most px of the image are as they were; one patch and its neighbours show the stride."""
    image, stride = Size(1000, 800), Size(*(round(100 * (1 - overlap)),) * 2)
    windows = Windows(image, Size(100, 100), plan_grid(image, Size(100, 100), stride, "drop").coords)
    before = noise(image)
    after = before.copy()
    dots = {"dot"} if overlap < 0.9 else set()  # which would be too many
    assert draw_windows(after, windows, stride) == {"patch", "one"} | dots
    assert (after == before).all(-1).mean() > 0.9
    marked = (after == ONE).all(-1)
    assert marked[0, :100].all(), "the first patch"
    assert marked[:100, 99].all()
    neighbour = marked[50, 100 : 100 + stride.width]
    assert neighbour.any() or marked[51:56, 99 + stride.width].any(), "the next one along x"
    centres = windows.coords + 50
    assert not dots or np.mean((after[centres[:, 1], centres[:, 0]] == LINE).all(-1)) > 0.8


def test_5000_patches_on_an_image_are_a_faint_mesh_and_fast() -> None:
    image, patch = Size(1000, 800), Size(12, 12)
    windows = Windows(image, patch, plan_grid(image, patch, patch, "drop").coords)
    assert len(windows.coords) > 5000
    before = np.full((800, 1000, 3), 100, np.uint8)
    after = before.copy()
    began = time.perf_counter()
    assert draw_windows(after, windows, patch) == {"patch", "open"}
    assert time.perf_counter() - began < 2
    covered = layers(windows) > 0
    assert 0.12 < (after != before).any(-1)[covered].mean() < 0.2
    assert (after[12:780:12, 5] > 150).all(), "a line where each patch begins"


def test_patches_too_small_to_be_outlined_are_not() -> None:
    image, patch = Size(4000, 4000), Size(16, 16)
    windows = Windows(image, patch, plan_grid(image, patch, patch, "drop").coords[::2])
    after = noise(Size(400, 400))
    assert draw_windows(after, windows, patch) == {"open"}


def test_windows_at_too_many_places_are_refused() -> None:
    steps = np.arange(4000)
    coords = np.stack([steps * 7, steps * 5], axis=1)
    with pytest.raises(UsageError, match="4,000 patches of one image stand at too many places"):
        Windows(Size(30_000, 30_000), Size(3, 3), coords)


@pytest.mark.parametrize("from_folder", [True, False])
def test_an_image_is_drawn_with_its_patches(cut: Path, root: Path, from_folder: bool) -> None:
    data = opened(cut)
    (source,) = choose_sources(data, "ihc/1.png", 0)
    canvas, words = overlay(data, [source], root=os.fsencode(root) if from_folder else None, max_pixels=MAX_PIXELS)
    assert words == "1 image with 8 patches"
    with Image.open(root / "ihc" / "1.png") as image:
        original = np.asarray(image.convert("RGB"))
    height, width = original.shape[:2]
    drawn = image_in(canvas, width * FACTOR, height * FACTOR)
    middles = drawn[5::FACTOR, 5::FACTOR][: height // 32 * 32]
    lined = np.zeros((height // 32 * 32, width), bool)
    lined[:, ::32] = lined[::32] = lined[:, 31::32] = lined[31::32] = True
    assert np.array_equal(middles[~lined], original[: height // 32 * 32][~lined])
    below = drawn[height // 32 * 32 * FACTOR :]
    assert (below == OPEN).all(-1).mean() > 0.15
    assert not (drawn[: height // 32 * 32 * FACTOR] == OPEN).all(-1).any()


def thinned(single: Path, out: Path, keep: Array) -> Path:
    """A data set with some of the rows of another one."""
    with h5py.File(single) as file, h5py.File(out, "w", libver=("v110", "v110")) as new:
        for name, value in file.attrs.items():
            new.attrs.create(name, value)
        for name in file:
            if name in ("labels", "digest", "coords", "source"):
                values = file[name][:][keep]
                new.create_dataset(name, data=values, chunks=values.shape, fletcher32=True)
            elif name == "patches":
                new[name] = file[name][:][keep]
            else:
                file.copy(name, new)
    return out


def test_patches_that_a_filter_dropped_are_not_covered(cut: Path, root: Path, tmp_path: Path) -> None:
    """What the file holds is the truth, not the grid that was planned."""
    data = opened(cut)
    (source,) = choose_sources(data, "brick/0.jpg", 0)
    gone = np.flatnonzero(data.tables["source"] == source)[5]
    x, y = data.tables["coords"][gone].tolist()
    path = thinned(cut, tmp_path / "thin.h5", np.arange(data.facts.n_rows) != gone)
    for folder in (None, os.fsencode(root)):
        canvas, words = overlay(opened(path), [source], root=folder, max_pixels=MAX_PIXELS)
        assert words == "1 image with 11 patches"
        drawn = (image_in(canvas, 128 * FACTOR, 96 * FACTOR) == OPEN).all(-1)
        ys, xs = np.nonzero(drawn)
        assert (xs.min(), ys.min()) == pytest.approx((x * FACTOR, y * FACTOR), abs=8)
        assert (xs.max(), ys.max()) == pytest.approx(((x + 32) * FACTOR, (y + 32) * FACTOR), abs=8)


def test_several_images_stand_side_by_side(cut: Path) -> None:
    data = opened(cut)
    sizes = [overlay(data, list(range(n)), root=None, max_pixels=MAX_PIXELS)[0].size for n in (1, 2, 4, 8)]
    assert sizes[1][0] > 1.2 * sizes[0][0] * 0.8
    assert all(0.4 < width / height < 2.5 for width, height in sizes)
    with pytest.raises(UsageError, match="no image"):
        overlay(data, [], root=None, max_pixels=MAX_PIXELS)


def test_the_same_bytes_from_one_file_or_shards_or_images(
    cut: Path, cut_sharded: Path, root: Path, tmp_path: Path
) -> None:
    shutil.copy(cut_sharded, tmp_path / cut.name)
    shutil.copytree(cut_sharded.with_suffix(".shards"), tmp_path / cut_sharded.with_suffix(".shards").name)
    drawn = []
    for path in (cut, tmp_path / cut.name):
        data = opened(path)
        images = choose_sources(data, "3", 4)
        drawn.append(overlay(data, images, root=None, max_pixels=MAX_PIXELS)[0].png())
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("kind", ["uint16", "float32", "gray", "rgba"])
def test_any_kind_of_px(kind: Any, cut: Path, root: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    if kind in ("gray", "rgba"):
        patchcli.extract(root, path, patch=32, overlap=0.5, edge="reflect", mode=kind, executor="serial")
    else:
        factor = 100 if kind == "uint16" else 1 / 255
        retyped(cut, path, lambda patches: (patches * factor).astype(kind))
    data = opened(path)
    images = choose_sources(data, "2", 0)
    for folder in (None, os.fsencode(root)):
        canvas, words = overlay(data, images, root=folder, max_pixels=MAX_PIXELS)
        assert words == f"2 images with {np.isin(data.tables['source'], images).sum()} patches"
        assert picture(canvas)[200:400, 60:400].std() > 15


def test_where_only_copies_are_stored_px_are_gray(cut: Path, root: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"horizontal_flip": True, "copies": 2, "executor": "serial"}
    patchcli.augment(cut, tmp_path / "copies.h5", keep_original=False, **options)
    patchcli.augment(cut, tmp_path / "all.h5", **options)
    (source,) = choose_sources(opened(cut), "grass/0.jpg", 0)
    drawn = {
        name: image_in(overlay(opened(tmp_path / name), [source], root=None, max_pixels=MAX_PIXELS)[0], 1280, 960)
        for name in ("copies.h5", "all.h5")
    }
    plain = image_in(overlay(opened(cut), [source], root=None, max_pixels=MAX_PIXELS)[0], 1280, 960)
    assert np.array_equal(drawn["all.h5"], plain), "copies change nothing where originals are"
    assert np.ptp(drawn["copies.h5"][20:300, 20:300], axis=(0, 1)).max() == 0
    data = opened(tmp_path / "copies.h5")
    canvas, _ = overlay(data, [source], root=os.fsencode(root), max_pixels=MAX_PIXELS)
    assert np.array_equal(image_in(canvas, 1280, 960), plain)


def test_patches_that_cannot_be_read_end_nothing(cut_sharded: Path, tmp_path: Path) -> None:
    path = copied(cut_sharded, tmp_path)
    folder = tmp_path / cut_sharded.with_suffix(".shards").name
    os.rename(path.with_suffix(".shards"), folder)
    min(folder.iterdir()).unlink()
    data = opened(path)
    n = int(data.tables["shards/row_start"][1])
    _, words = overlay(data, choose_sources(data, "8", 0), root=None, max_pixels=MAX_PIXELS)
    assert words == f"8 images with {data.facts.n_rows} patches; {n} patches could not be read"


def test_the_folder_must_hold_the_images_that_were_cut(cut: Path, root: Path, tmp_path: Path) -> None:
    data, folder = opened(cut), tmp_path / "moved"
    shutil.copytree(root, folder)
    (source,) = choose_sources(data, "ihc/1.png", 0)
    path = folder / "ihc" / "1.png"

    def fails(match: str) -> None:
        with pytest.raises(UsageError, match=match):
            overlay(data, [source], root=os.fsencode(folder), max_pixels=MAX_PIXELS)

    assert overlay(data, [source], root=os.fsencode(folder), max_pixels=MAX_PIXELS)
    with pytest.raises(UsageError, match="more than 100 px"):
        overlay(data, [source], root=os.fsencode(folder), max_pixels=100)
    path.write_bytes((root / "ihc" / "0.jpg").read_bytes())
    fails(r"ihc/1\.png: .* no longer the file that patches were cut from: its SHA-256 is .*put that file back")
    path.write_bytes(path.read_bytes()[:500])
    fails(r"ihc/1\.png: cannot be taken from .*cannot be decoded.*expected the folder")
    path.unlink()
    fails(r"ihc/1\.png: cannot be taken from .*is not there; expected the folder that .*in\.h5 was cut from")
    os.mkfifo(path)
    fails("is no regular file")


@pytest.mark.parametrize("path", [b"../secret.png", b"/etc/passwd", b"a/../../b.png", b""])
def test_paths_that_lead_out_of_the_folder_are_not_opened(path: bytes, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (tmp_path / "data").mkdir()
    with pytest.raises(Unreadable, match="leads out"):
        decode_file(os.fsencode(tmp_path / "data"), path, channels=3, background=(255, 255, 255), max_pixels=MAX_PIXELS)


def test_patches_outside_their_image_are_said_and_not_drawn(cut: Path, tmp_path: Path) -> None:
    """A file may say anything: no place outside the image costs memory or time."""
    path = thinned(cut, tmp_path / "in.h5", np.ones(80, bool))
    with h5py.File(path, "r+") as file:
        coords = file["coords"][:]
        coords[0], coords[1] = (2_000_000_000, 5), (0, 500)
        del file["coords"]
        file.create_dataset("coords", data=coords, chunks=coords.shape, fletcher32=True)
    data = opened(path)
    _, words = overlay(data, [int(data.tables["source"][0])], root=None, max_pixels=MAX_PIXELS)
    assert words == "1 image with 10 patches"
    with h5py.File(path, "r+") as file:
        del file["sources/width"]
        file.create_dataset("sources/width", data=np.zeros(8, np.int32), chunks=(8,), fletcher32=True)
    with pytest.raises(DamagedFile, match="has 0x"):
        overlay(opened(path), [0], root=None, max_pixels=MAX_PIXELS)


def test_images_are_chosen_by_seed_from_all_classes(cut: Path, root: Path, tmp_path: Path) -> None:
    data = opened(cut)
    labels, paths = data.sources.label, data.sources.path
    for n in (1, 3, 4, 6, 8, 99):
        chosen = choose_sources(data, str(n), 5)
        assert len(set(chosen)) == len(chosen) == min(n, 8)
        counts = np.bincount(labels[chosen], minlength=4)
        assert counts.max() - counts.min() <= 1
    assert {tuple(choose_sources(data, "1", seed)) for seed in range(60)} == {(source,) for source in range(8)}
    patchcli.extract(root, tmp_path / "out.h5", patch=32, shuffle=True, seed=3, executor="serial")
    other = opened(tmp_path / "out.h5")
    assert other.sources.path != paths
    found = [other.sources.path[source] for source in choose_sources(other, "3", 5)]
    assert found == [paths[source] for source in choose_sources(data, "3", 5)]


def test_an_image_is_named_as_the_file_has_it(cut: Path, tree: Tree, tmp_path: Path) -> None:
    data = opened(cut)
    assert choose_sources(data, "ihc/1.png", 0) == choose_sources(data, "./ihc//1.png", 0)
    with pytest.raises(UsageError, match=r"ihc/1\.pgn: no image of .*in\.h5 is called so; did you mean ihc/1\.png\?"):
        choose_sources(data, "ihc/1.pgn", 0)
    with pytest.raises(UsageError, match="expected a path as the file has it"):
        choose_sources(data, "-1", 0)
    with pytest.raises(UsageError, match="0 images cannot be drawn, there are 8"):
        choose_sources(data, "0", 0)
    odd: list[str | bytes] = [b"\xff/\xfe.png", "中/ü.png", "a/b\nc.png", "a/7"]
    patchcli.extract(tree(*odd), tmp_path / "odd.h5", patch=16, executor="serial")
    data = opened(tmp_path / "odd.h5")
    for name in odd:
        (source,) = choose_sources(data, os.fsdecode(name), 0)
        assert data.sources.path[source] == os.fsencode(name)
    assert choose_sources(data, r"a/b\x0ac.png", 0) == choose_sources(data, "a/b\nc.png", 0)
    assert len(choose_sources(data, "7" * 5000, 0)) == 4


@settings(max_examples=30)
@given(st.frozensets(st.sampled_from(["patch", "dot", "one", "open", "pad", "blank"])), st.integers(400, 1500))
def test_a_legend_has_room_for_all_its_entries(seen: frozenset[str], width: int) -> None:
    legend = plan_legend(seen, stride="64", width=width)
    assert {name for _, _, name, _ in legend.entries} == seen
    assert len({(x, y) for x, y, _, _ in legend.entries}) == len(seen)
    assert all(0 <= x < width and 0 <= y < legend.height for x, y, _, _ in legend.entries)
