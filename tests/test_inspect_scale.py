"""What `inspect` promises of large data sets: counts worked out for all images at once, and memory within a bound."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from large_index import SIDE, write_index

from patchcli.account import account_classes
from patchcli.cli import main
from patchcli.grid import cover, plan_grid
from patchcli.io.dataset import Dataset
from patchcli.io.patchfile import read_names
from patchcli.report.selected import select
from patchcli.report.summary import inspect
from patchcli.specs import Size

MOST_BYTES = 300_000_000
SIZES = st.builds(Size, st.integers(1, 50), st.integers(1, 50))

WATCHED = """
import sys
from patchcli.__main__ import main
try:
    main()
finally:
    with open("/proc/self/status") as status:
        print(next(line for line in status if line.startswith("VmHWM:")), file=sys.stderr)
"""
"""The whole command, and the most memory that it took: what its parent took does not count, as in `ru_maxrss`."""


@given(st.lists(SIZES, max_size=20), SIZES, SIZES, st.sampled_from(["drop", "shift", "pad", "reflect"]))
def test_many_images_are_covered_as_each_of_them(sizes: list[Size], patch: Size, stride: Size, edge: Any) -> None:
    widths, heights = (np.array([size[axis] for size in sizes], np.int64) for axis in (0, 1))
    grids = [plan_grid(size, patch, stride, edge) for size in sizes]
    found = cover(widths, heights, patch, stride, edge)
    assert found.n_patches.tolist() == [grid.n_patches for grid in grids]
    assert found.n_uncovered.tolist() == [grid.n_uncovered for grid in grids]
    assert found.n_padded.tolist() == [grid.n_padded for grid in grids]
    assert {column.dtype for column in found} == {np.dtype(np.int64)}


@pytest.mark.parametrize(("images", "patches", "copies"), [(120, 20, 0), (60, 10, 3), (70, 1, 0)])
def test_an_index_comes_to_what_its_tables_say(tmp_path: Path, images: int, patches: int, copies: int) -> None:
    n = write_index(tmp_path / "big.h5", images=images, patches=patches, copies=copies)
    found = inspect(os.fsencode(tmp_path / "big.h5"))
    assert (found.patches, found.images, len(found.classes)) == (n, images, 50)
    tables = Dataset(os.fsencode(tmp_path / "big.h5")).tables
    columns = zip(*(tables[f"sources/{name}"].tolist() for name in ("label", "width", "height")), strict=True)
    square = Size(SIDE, SIDE)
    for one, expected in zip(
        found.classes, account_classes(read_names(tables["classes"]), columns, square, square, "drop"), strict=True
    ):
        rows = tables["labels"] == int(one.name[-2:])
        assert (one.patches, expected.patches * (1 + copies)) == (np.sum(rows), np.sum(rows))
        assert (one.name, one.images, one.pixels) == (expected.name, expected.images, expected.pixels)
        assert (one.pixels_uncovered, one.pixels_padded) == (expected.pixels_uncovered, expected.pixels_padded)
        splits = np.bincount(tables["split"][rows], minlength=3).tolist()
        assert one.split_patches == dict(zip(("train", "val", "test"), splits, strict=True))
    assert sum(one.share for one in found.classes) == pytest.approx(1)
    assert found.copies == n * copies // (1 + copies)
    assert found.repeated == bool(copies)
    assert (found.mean, found.damaged) == ((100.0,) * 3, ())
    assert found.bytes == n * SIDE**2 * 3 + os.path.getsize(tmp_path / "big.h5")


def test_an_index_is_ours_however_large(tmp_path: Path) -> None:
    """Its attributes, which say so, are in the last bytes of the file: HDF5 puts more than eight into a heap."""
    write_index(tmp_path / "big.h5", images=100, patches=100)
    content = (tmp_path / "big.h5").read_bytes()
    assert content.find(b"patchset") > 1 << 16
    done = CliRunner().invoke(main, ["inspect", str(tmp_path / "big.h5")], prog_name="patchcli")
    assert "10,000 patches of 320x320 px" in done.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "patches", "copies"),
    [(20_000, 50, 0), (100_000, 10, 0), (1_000_000, 1, 0), (20_000, 20, 2)],
    ids=["20,000 images", "100,000 sizes", "an image for each patch", "copies"],
)
def test_a_million_rows_within_300_mb(tmp_path: Path, images: int, patches: int, copies: int) -> None:
    n = write_index(tmp_path / "big.h5", images=images, patches=patches, copies=copies)
    assert n >= 1_000_000
    printed, peak = watched("inspect", str(tmp_path / "big.h5"))
    assert f"{n:,} patches of 320x320 px" in printed
    assert len(printed.splitlines()) <= 44
    assert peak < MOST_BYTES
    printed, peak = watched("inspect", str(tmp_path / "big.h5"), "--json")
    assert peak < MOST_BYTES


def watched(*words: str) -> tuple[str, int]:
    """What a command prints, and the most bytes of memory that it took."""
    done = subprocess.run([sys.executable, "-c", WATCHED, *words], capture_output=True, text=True, check=True)
    match = re.search(r"VmHWM:\s+(\d+) kB", done.stderr)
    assert match, done.stderr
    return done.stdout, int(match[1]) * 1024


@pytest.mark.slow
def test_a_selection_of_a_million_rows(tmp_path: Path) -> None:
    n = write_index(tmp_path / "big.h5", images=20_000, patches=50)
    data = Dataset(os.fsencode(tmp_path / "big.h5"))
    found = select(data, where=["class=class 03|class 04,split!=val", "source=*/image 0000*,x=320-"], most=10)
    images = [k for k in range(100) if k % 50 in (3, 4) and k % 7 % 3 != 1]
    assert found.n_patches == len(images) * 45
    assert [one.source[-10:-4] for one in found.patches[:1]] == [f"{images[0]:06d}"]
    assert select(data, where=[f"row={n - 1}"]).n_patches == 1
