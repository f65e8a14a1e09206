"""Charts are as large as their numbers; histograms count what is there, whatever the order of rows."""

from __future__ import annotations

import math
import os
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from photos import retyped, shards, table

import patchcli
from patchcli.io.dataset import Dataset
from patchcli.report.html.charts import bar, ceiling, columns, histogram, swatch
from patchcli.report.html.histograms import Histograms, channel_histograms

SVG = "{http://www.w3.org/2000/svg}"


def opened(path: Path) -> Dataset:
    return Dataset(os.fsencode(path))


def moved(made: Path, folder: Path) -> Path:
    """A private copy of a data set, under its own name."""
    shutil.copytree(made.with_suffix(".shards"), folder / made.with_suffix(".shards").name)
    return Path(shutil.copy2(made, folder))


def shapes(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup.replace("<svg", f'<svg xmlns="{SVG[1:-1]}"', 1))


# charts


@given(st.lists(st.integers(0, 10**9), max_size=8), st.integers(0, 10**10))
def test_a_bar_is_as_long_as_its_parts(parts: list[int], more: int) -> None:
    most = sum(parts) + more
    rects = list(shapes(bar(parts, most)))
    assert [rect.get("class") for rect in rects] == [f"s{min(k, 5)}" for k, part in enumerate(parts) if part]
    widths = [float((rect.get("width") or "").rstrip("%")) for rect in rects]
    starts = [float((rect.get("x") or "").rstrip("%")) for rect in rects]
    if sum(parts):
        assert 0.4 - 1e-2 <= sum(widths) <= 100.01, "what is there can be seen, and nothing is longer than all"
        assert sum(widths) == pytest.approx(max(100 * sum(parts) / most, 0.4), abs=0.01)
        for start, width, after in zip(starts, widths, [*starts[1:], sum(widths)], strict=True):
            assert start + width == pytest.approx(after, abs=0.01), "parts touch and do not overlap"


@given(st.lists(st.lists(st.floats(0, 1e9), min_size=1, max_size=4), max_size=40))
def test_columns_stand_beside_each_other(stacks: list[list[float]]) -> None:
    drawn = shapes(columns(stacks, ["<&>\"'" * (k % 3) for k in range(len(stacks))]))
    most = max(map(sum, stacks), default=0)
    for number, group in enumerate(drawn):
        title, *rects = group
        assert (title.tag, title.text or "") == (f"{SVG}title", "<&>\"'" * (number % 3))
        assert {rect.get("x") for rect in rects} <= {str(number)}
        heights = [float(rect.get("height") or "") for rect in rects]
        assert sum(heights) == pytest.approx(100 * sum(stacks[number]) / most if most else 0, abs=0.01)
        assert all(-0.01 <= float(rect.get("y") or "") <= 100.01 for rect in rects)


def test_columns_of_very_many_classes_stay_small() -> None:
    assert len(columns([[1.0]] * 3000)) < 300_000
    assert "title" not in columns([[1.0]] * 3000, ["x"] * 3000)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=64), st.integers(0, 10**12), st.floats(-5, 70))
def test_a_histogram_is_as_high_as_its_counts(counts: list[int], top: int, mark: float) -> None:
    drawn = list(shapes(histogram(counts, top, mark)))
    commands = re.findall(r"([MVHZ])([\d.]*)(?: ([\d.]+))?", drawn[0].get("d") or "")
    assert commands[0] == ("M", "0", "100")
    assert commands[-2:] == [("V", "100", ""), ("Z", "", "")]
    found, y = [], 100.0
    for letter, number, _ in commands[1:-2]:
        if letter == "V":
            y = float(number)
        else:
            found.append(100 - y)
            assert int(number) == len(found)
    assert found == pytest.approx([100 * min(count / top, 1) if top else 0 for count in counts], abs=0.001)
    caps = re.findall(r"M(\d+) 0h1", drawn[1].get("d") or "") if drawn[1:] and drawn[1].get("class") == "cap" else []
    assert [int(cap) for cap in caps] == [k for k, count in enumerate(counts) if count > top]
    assert (drawn[-1].get("class") == "mark") == (0 <= mark <= len(counts))


@given(st.lists(st.lists(st.integers(0, 10**9), min_size=1, max_size=300), min_size=1, max_size=4))
def test_peaks_are_cut_off_where_they_would_flatten_the_rest(counts: list[list[int]]) -> None:
    top = ceiling(counts)
    assert top <= max(map(max, counts))
    for channel in counts:
        assert sum(count > top for count in channel) <= 8
        if sum(channel):
            assert sum(count for count in channel if count <= top) >= 0.2 * sum(channel) or max(channel) <= top
    assert ceiling([[10 * count for count in channel] for channel in counts]) == 10 * top


def test_a_white_background_is_a_peak_and_a_hill_is_none() -> None:
    hill = [round(1000 * math.exp(-(((k - 90) / 30) ** 2))) for k in range(256)]
    assert ceiling([hill]) == 1000
    assert ceiling([[*hill[:-1], 40_000]]) == 1000
    assert ceiling([[*hill[:-1], 40_000_000]]) == 40_000_000, "nearly all px are white: that is what there is to see"
    assert ceiling([[0, 7, 0]]) == 7
    assert shapes(swatch(9))[0].get("class") == "s5"


# histograms


def by_hand(patches: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    channels = patches.reshape(-1, patches.shape[-1]).T
    return np.array([np.bincount(channel, minlength=256) for channel in channels])


def test_uint8_is_counted_exactly(cut: Path) -> None:
    data = opened(cut)
    patches = data.read(np.arange(data.facts.n_rows))
    found = channel_histograms(data, seed=3)
    assert (found.n_patches, found.n_unreadable, found.all_patches, found.whole_numbers) == (80, 0, True, True)
    assert found.edges.tolist() == list(range(257))
    assert np.array_equal(found.counts, by_hand(patches))
    flat = patches.reshape(-1, 3)
    assert np.array_equal(found.low, flat.min(0))
    assert np.array_equal(found.high, flat.max(0))
    for channel in range(3):
        for part in (0.0, 0.25, 0.5, 0.75, 1.0):
            expected = np.quantile(flat[:, channel], part, method="inverted_cdf")
            assert found.quantile(channel, part) == expected


def test_the_sample_is_of_patches_and_not_of_rows(root: Path, cut: Path, cut_sharded: Path, tmp_path: Path) -> None:
    patchcli.extract(root, tmp_path / "other.h5", patch=32, executor="serial", shuffle=True, seed=5, shard_size="70kB")
    assert not np.array_equal(table(tmp_path / "other.h5", "digest"), table(cut, "digest"))
    found = [
        channel_histograms(opened(path), seed=1, most_patches=20) for path in (cut, cut_sharded, tmp_path / "other.h5")
    ]
    assert [one.n_patches for one in found] == [20, 20, 20]
    assert not found[0].all_patches
    assert np.array_equal(found[0].counts, found[1].counts)
    assert np.array_equal(found[0].counts, found[2].counts)
    assert not np.array_equal(found[0].counts, channel_histograms(opened(cut), seed=2, most_patches=20).counts)


def check_counts(found: Histograms, patches: npt.NDArray[Any]) -> None:
    for channel in range(patches.shape[-1]):
        values = patches[..., channel].astype(np.float64).ravel()
        finite = values[np.isfinite(values)]
        assert found.no_number[channel] == len(values) - len(finite)
        assert np.array_equal(found.counts[channel], np.histogram(finite, found.edges)[0])
        assert found.below[channel] == (finite < found.edges[0]).sum()
        assert found.above[channel] == (finite > found.edges[-1]).sum()
        assert (found.low[channel], found.high[channel]) == (finite.min(), finite.max())
        width = found.edges[1] - found.edges[0]
        for part in (0.25, 0.5, 0.75):
            assert found.quantile(channel, part) == pytest.approx(np.quantile(finite, part), abs=1.5 * width)


def test_uint16_over_the_range_found(cut: Path, tmp_path: Path) -> None:
    path = retyped(cut, tmp_path / "wide.h5", lambda patches: patches.astype(np.uint16) * 200 + 1000)
    found = channel_histograms(opened(path), seed=0)
    check_counts(found, opened(path).read(np.arange(80)))
    assert found.edges[0] == found.low.min()
    assert found.edges[-1] > found.high.max()
    assert np.diff(found.edges).tolist() == [200] * 256 or set(np.diff(found.edges)) == {
        math.ceil((found.high.max() - found.low.min() + 1) / 256)
    }
    assert not found.below.any()
    assert not found.above.any()


def test_floats_with_strays_and_no_numbers(cut: Path, tmp_path: Path) -> None:
    def changed(patches: npt.NDArray[Any]) -> npt.NDArray[Any]:
        values = patches.astype(np.float32) / 255
        values[0, 0, 0], values[0, 0, 1], values[0, 0, 2] = np.nan, np.inf, 1e6
        return values

    path = retyped(cut, tmp_path / "float.h5", changed)
    found = channel_histograms(opened(path), seed=0)
    check_counts(found, opened(path).read(np.arange(80)))
    assert found.edges[-1] < 2, "one stray value does not push all others into one bin"
    assert found.above.tolist() == [1, 1, 1]
    assert found.no_number.tolist() == [2, 2, 2]
    assert not found.whole_numbers


@pytest.mark.parametrize("value", [0.0, 0.5, -3e30, float("nan")])
def test_pixels_that_are_all_the_same(cut: Path, tmp_path: Path, value: float) -> None:
    path = retyped(cut, tmp_path / "same.h5", lambda patches: np.full(patches.shape, value, np.float32))
    found = channel_histograms(opened(path), seed=0)
    n = 80 * 32 * 32
    assert (found.counts.sum(1) + found.no_number).tolist() == [n, n, n]
    assert (np.diff(found.edges) > 0).all()
    if math.isnan(value):
        assert math.isnan(found.quantile(0, 0.5))
    else:
        assert found.quantile(0, 0.5) == pytest.approx(value, abs=abs(value) * 1e-2 + 0.01)


def test_patches_that_cannot_be_read_are_left_out_and_counted(cut_sharded: Path, tmp_path: Path) -> None:
    out = moved(cut_sharded, tmp_path)
    data = opened(out)
    patches = data.read(np.arange(80))
    starts = table(out, "shards/row_start").tolist()
    shards(out)[1].unlink()
    found = channel_histograms(opened(out), seed=0)
    kept = np.delete(patches, np.arange(starts[1], starts[2]), axis=0)
    assert (found.n_patches, found.n_unreadable) == (len(kept), 80 - len(kept))
    assert np.array_equal(found.counts, by_hand(kept))
    shutil.rmtree(out.with_suffix(".shards"))
    found = channel_histograms(opened(out), seed=0)
    assert (found.n_patches, found.n_unreadable) == (0, 80)


def test_one_flipped_bit_costs_one_patch(cut: Path, tmp_path: Path) -> None:
    shutil.copy(cut, tmp_path / "bit.h5")
    with open(tmp_path / "bit.h5", "r+b") as file:
        file.seek(opened(cut).facts.offset or 0)
        file.write(bytes([table(cut, "patches")[0, 0, 0, 0] ^ 1]))
    found = channel_histograms(opened(tmp_path / "bit.h5"), seed=0)
    assert (found.n_patches, found.n_unreadable) == (79, 1)
    assert np.array_equal(found.counts, by_hand(table(cut, "patches")[1:]))


@pytest.mark.slow
def test_no_more_than_64_megabytes_are_read(tree: Any, tmp_path: Path) -> None:
    patchcli.extract(tree("a/a.png", size=(600, 500)), tmp_path / "big.h5", patch=256, stride=14, compression="gzip")
    found = channel_histograms(opened(tmp_path / "big.h5"), seed=0)
    assert found.n_patches == 64_000_000 // (256 * 256 * 3)
    assert not found.all_patches
