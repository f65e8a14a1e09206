"""Each rule that tables have to keep, broken alone, is named with the rows that break it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from patchcli.consistency import broken_rules, differing_stats, misshapen
from patchcli.grid import plan_grid
from patchcli.specs import Edge, Size
from patchcli.stats import Moments, block_moments

Tables = dict[str, npt.NDArray[Any]]

PATCH = Size(8, 6)
SIZES = ((20, 15), (8, 6), (33, 9))
EDGES: tuple[Edge, ...] = ("drop", "shift", "pad", "reflect")


def tables_of(edge: Edge = "drop", *, splits: bool = True, copies: int = 0) -> Tables:
    """What three images of two classes come to."""
    coords = [plan_grid(Size(*size), PATCH, Size(5, 4), edge).coords for size in SIZES]
    source = np.repeat(np.arange(3, dtype=np.int32), [len(some) for some in coords])
    label = np.array([0, 1, 0], np.int64)
    n = len(source) * (1 + copies)
    tables: Tables = {
        "labels": np.tile(label[source], 1 + copies),
        "digest": np.arange(n, dtype=np.uint64),
        "coords": np.tile(np.concatenate(coords), (1 + copies, 1)),
        "source": np.tile(source, 1 + copies),
        "classes": np.array([b"cat", b"dog"]),
        "sources/path": np.array([b"cat/0.png", b"dog/1.png", b"cat/2.png"]),
        "sources/sha256": np.array([b"a" * 64] * 3),
        "sources/width": np.array([size[0] for size in SIZES], np.int32),
        "sources/height": np.array([size[1] for size in SIZES], np.int32),
        "sources/label": label,
        "stats/mean": np.zeros(3),
        "stats/std": np.zeros(3),
        "stats/n_pixels": np.array([n], np.uint64),
        "stats/sum": np.zeros(3, np.uint64),
        "stats/sum_of_squares": np.zeros(3, np.uint64),
    }
    if splits:
        tables |= {
            "split": np.tile(np.array([0, 1, 1], np.uint8)[source], 1 + copies),
            "splits": np.array([b"t", b"v"]),
        }
    if copies:
        tables["origin"] = np.tile(np.arange(len(source)), 1 + copies)
        tables["copy"] = np.repeat(np.arange(1 + copies), len(source)).astype(np.int16)
    return tables


def broken(tables: Tables, edge: Edge = "drop") -> list[tuple[str, list[int]]]:
    return [(rule.what, rule.rows.tolist()) for rule in broken_rules(tables, PATCH, edge)]


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("splits", [True, False])
@pytest.mark.parametrize("copies", [0, 2])
def test_what_patchcli_writes_keeps_all_rules(edge: Edge, splits: bool, copies: int) -> None:
    tables = tables_of(edge, splits=splits, copies=copies)
    assert misshapen(tables, len(tables["labels"]), 3) == ""
    assert broken(tables, edge) == []


def test_no_rows_keep_all_rules() -> None:
    tables = {
        name: table[:0] if "/" not in name and name != "classes" else table for name, table in tables_of().items()
    }
    assert misshapen(tables, 0, 3) == ""
    assert broken(tables) == []
    without = tables | {name: table[:0] for name, table in tables.items() if name.startswith("sources/")}
    assert broken(without) == []


@pytest.mark.parametrize("value", [-1, 2, 2**40])
def test_a_label_that_is_no_class(value: int) -> None:
    tables = tables_of()
    tables["labels"][[2, 5]] = value
    assert ("/labels: expected rows of /classes, from 0 to 1", [2, 5]) in broken(tables)


def test_a_label_that_its_image_has_not() -> None:
    tables = tables_of()
    row = int(np.flatnonzero(tables["source"] == 1)[0])
    tables["labels"][row] = 0
    assert broken(tables) == [("/labels: not the label that their image has", [row])]


def test_a_label_of_an_image_that_is_no_class() -> None:
    tables = tables_of()
    tables["sources/label"][1] = 7
    assert ("/sources/label: expected rows of /classes, from 0 to 1", [1]) in broken(tables)


@pytest.mark.parametrize("value", [-1, 3, 2**31 - 1])
def test_a_source_that_is_no_image(value: int) -> None:
    """Nothing else is said of a row whose image is not known."""
    tables = tables_of()
    tables["source"][4] = value
    assert broken(tables) == [("/source: expected rows of /sources, from 0 to 2", [4])]


def test_a_split_that_has_no_name() -> None:
    tables = tables_of()
    tables["split"][1] = 2
    assert broken(tables) == [("/split: expected rows of /splits, from 0 to 1", [1])]
    del tables["splits"]
    assert broken(tables)[0][1] == list(range(len(tables["split"])))


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("corner", [(-1, 0), (0, -1), (33, 0), (0, 9), (-(2**31), 0), (2**31 - 1, 0)])
def test_a_corner_outside_its_image(edge: Edge, corner: tuple[int, int]) -> None:
    tables = tables_of(edge)
    row = int(np.flatnonzero(tables["source"] == 2)[0])
    tables["coords"][row] = corner
    assert broken(tables, edge) == [("/coords: the patch lies outside its image", [row])]


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("corner", [(26, 0), (0, 4), (32, 8)])
def test_only_padded_patches_reach_beyond_their_image(edge: Edge, corner: tuple[int, int]) -> None:
    tables = tables_of(edge)
    row = int(np.flatnonzero(tables["source"] == 2)[-1])
    tables["coords"][row] = corner
    found = [] if edge in ("pad", "reflect") else [("/coords: the patch lies outside its image", [row])]
    assert [one for one in broken(tables, edge) if "twice" not in one[0]] == found


def test_the_same_window_twice() -> None:
    tables = tables_of()
    row = int(np.flatnonzero(tables["source"] == 2)[0])
    tables["coords"][row + 2] = tables["coords"][row]
    assert broken(tables) == [("the same window of the same image stands twice", [row + 2])]


def test_the_same_copy_twice() -> None:
    tables = tables_of(copies=2)
    last = len(tables["copy"]) - 1
    tables["copy"][last] = 1
    assert broken(tables) == [("the same window of the same image stands twice", [last])]


@pytest.mark.parametrize("name", ["origin", "copy"])
def test_origin_and_copy_below_zero(name: str) -> None:
    tables = tables_of(copies=1)
    tables[name][3] = -1
    assert broken(tables) == [("/origin or /copy is below 0", [3])]


ROW = st.tuples(st.integers(-1, 3), st.integers(-1, 4), st.integers(-1, 3), st.integers(-1, 30), st.integers(-1, 16))


@given(st.lists(ROW, max_size=12), st.sampled_from(EDGES))
def test_broken_rules_are_those_of_a_loop_over_rows(rows: list[tuple[int, ...]], edge: Edge) -> None:
    tables = tables_of(edge)
    columns = np.array(rows, np.int64).reshape(-1, 5)
    tables |= {"labels": columns[:, 0], "source": columns[:, 1], "split": columns[:, 2], "coords": columns[:, 3:]}
    expected: dict[str, list[int]] = {}
    seen = set()
    for row, (label, source, split, x, y) in enumerate(rows):
        wrong = {
            "/labels: expected": not 0 <= label < 2,
            "/source: expected": not 0 <= source < 3,
            "/split: expected": not 0 <= split < 2,
            "the same window": (source, x, y) in seen,
        }
        if 0 <= source < 3:
            (width, height), reach = SIZES[source], (1, 1) if edge in ("pad", "reflect") else PATCH
            wrong["/labels: not"] = label != tables["sources/label"][source]
            wrong["/coords:"] = not (0 <= x <= width - reach[0] and 0 <= y <= height - reach[1])
        seen.add((source, x, y))
        for rule, is_broken in wrong.items():
            if is_broken:
                expected.setdefault(rule, []).append(row)
    found = broken(tables, edge)
    assert len(found) == len(expected)
    for rule, wrong_rows in expected.items():
        assert [one[1] for one in found if one[0].startswith(rule)] == [wrong_rows]


@pytest.mark.parametrize("name", ["labels", "digest", "source", "split", "origin", "copy", "coords"])
def test_a_column_of_another_length_is_named(name: str) -> None:
    tables = tables_of(copies=1)
    n = len(tables["labels"])
    tables[name] = tables[name][:-1]
    assert misshapen(tables, n, 3).startswith(f"/{name} has the shape")


@pytest.mark.parametrize("name", ["mean", "std", "sum", "sum_of_squares", "n_pixels"])
@pytest.mark.parametrize("shape", [(), (4,), (0,), (3, 1)])
def test_statistics_of_another_shape_are_named(name: str, shape: tuple[int, ...]) -> None:
    tables = tables_of()
    tables[f"stats/{name}"] = np.zeros(shape)
    assert misshapen(tables, len(tables["labels"]), 3).startswith(f"/stats/{name} has the shape")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("labels", "f8"),
        ("split", "S1"),
        ("origin", "f4"),
        ("copy", "S2"),
        ("stats/sum", "S8"),
        ("stats/std", "S8"),
        ("stats/n_pixels", "f8"),
        ("classes", "i4"),
        ("sources/path", "i8"),
        ("sources/sha256", "u8"),
    ],
)
def test_a_column_of_another_kind_is_named(name: str, kind: str) -> None:
    tables = tables_of(copies=1)
    tables[name] = np.zeros(tables[name].shape, kind)
    assert misshapen(tables, len(tables["labels"]), 3).startswith(f"/{name} is ")


def said_of(found: Moments, kind: type[Any]) -> Tables:
    mean, std = found.mean_std()
    return {
        "stats/mean": mean,
        "stats/std": std,
        "stats/n_pixels": np.array([found.n], np.uint64),
        "stats/sum": np.array(found.sums, kind),
        "stats/sum_of_squares": np.array(found.squares, kind),
    }


def noise(dtype: type[Any], seed: int = 0, shape: tuple[int, ...] = (40, 9, 7, 3)) -> npt.NDArray[Any]:
    rng = np.random.default_rng(seed)
    if dtype is np.float32:
        return rng.normal(0, 1, shape).astype(np.float32)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


Nudge = Callable[[Tables], None]


def nudged(name: str, by: float) -> Nudge:
    def nudge(tables: Tables) -> None:
        tables[name] = tables[name].copy()
        tables[name][-1] += type(tables[name][-1])(by)

    return nudge


@pytest.mark.parametrize("name", ["n_pixels", "sum", "sum_of_squares"])
def test_sums_of_bytes_are_exact(name: str) -> None:
    found = block_moments(noise(np.uint8))
    said = said_of(found, np.uint64)
    assert differing_stats(said, found, "uint8") == ""
    nudged(f"stats/{name}", 1)(said)
    assert differing_stats(said, found, "uint8").startswith(f"/stats/{name} ")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("name", ["mean", "std"])
def test_mean_and_deviation_that_are_not_those_of_the_sums(dtype: type[Any], name: str) -> None:
    found = block_moments(noise(dtype))
    said = said_of(found, np.uint64 if dtype is np.uint8 else np.float64)
    said[f"stats/{name}"] *= 1 + 1e-15
    assert differing_stats(said, found, np.dtype(dtype).name) == ""
    said[f"stats/{name}"] *= 1 + 1e-6
    assert differing_stats(said, found, np.dtype(dtype).name).startswith(f"/stats/{name} ")


def in_another_order(patches: npt.NDArray[Any], seed: int, step: int) -> Moments:
    shuffled = np.random.default_rng(seed).permutation(patches)
    total = block_moments(shuffled[:step])
    for start in range(step, len(shuffled), step):
        total += block_moments(shuffled[start : start + step])
    return total


@given(st.sampled_from([np.uint8, np.uint16, np.float32]), st.integers(0, 99), st.integers(1, 40))
def test_sums_in_another_order_agree(dtype: type[Any], seed: int, step: int) -> None:
    patches = noise(dtype, seed)
    said = said_of(block_moments(patches), np.uint64 if dtype is np.uint8 else np.float64)
    assert differing_stats(said, in_another_order(patches, seed, step), np.dtype(dtype).name) == ""


@given(st.sampled_from([np.uint8, np.uint16, np.float32]), st.integers(0, 99), st.integers(0, 40 * 9 * 7 * 3 - 1))
def test_one_changed_pixel_does_not_agree(dtype: type[Any], seed: int, at: int) -> None:
    patches = noise(dtype, seed)
    said = said_of(block_moments(patches), np.uint64 if dtype is np.uint8 else np.float64)
    before = patches.reshape(-1)[at]
    patches.reshape(-1)[at] = before + 1 if dtype is np.float32 else before // 2
    assume(patches.reshape(-1)[at] != before)
    assert differing_stats(said, block_moments(patches), np.dtype(dtype).name)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_not_taken_for_equal(value: float) -> None:
    patches = noise(np.float32)
    said = said_of(block_moments(patches), np.float64)
    patches[3, 2, 1, 0] = value
    found = block_moments(patches)
    assert differing_stats(said, found, "float32")
    assert differing_stats(said_of(found, np.float64), found, "float32") == ""


def test_no_patches_have_no_statistics() -> None:
    nothing = {f"stats/{name}": np.full(3, np.nan) for name in ("mean", "std")}
    nothing |= {"stats/n_pixels": np.zeros(1), "stats/sum": np.zeros(3), "stats/sum_of_squares": np.zeros(3)}
    assert differing_stats(nothing, Moments(0, (), ()), "uint8") == ""
