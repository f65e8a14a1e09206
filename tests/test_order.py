"""Orders of an epoch: every row once, windows and buffers that hold what they may, and shuffles that are fair."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from patchcli import order

Rows = npt.NDArray[np.int64]

seeds = st.integers(0, 2**63 - 1)
epochs = st.integers(0, 2**31 - 1)
lengths = st.lists(st.integers(0, 12), max_size=25)
LEAST_P = 1e-6  # a fair shuffle fails so rarely that nobody sees it; seeds are fixed besides


def bounds_of(lengths: Sequence[int]) -> Rows:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


# One row after the other


@given(n=st.integers(0, 300), seed=seeds, epoch=epochs)
def test_shuffled_has_every_row_once(n: int, seed: int, epoch: int) -> None:
    rows = order.shuffled(n, seed=seed, epoch=epoch)
    assert rows.dtype == np.int64
    assert sorted(rows.tolist()) == list(range(n))
    np.testing.assert_array_equal(rows, order.shuffled(n, seed=seed, epoch=epoch))


def test_seed_epoch_and_purpose_decide() -> None:
    said = {
        order.chances(64, seed=seed, epoch=epoch, what=what).tobytes()
        for seed, epoch, what in itertools.product((0, 1, 2**63 - 1), (0, 1, 11), ("row", "run"))
    }
    assert len(said) == 18
    assert len(set(order.chances(10_000, seed=0, epoch=0, what="row").tolist())) == 10_000


def test_chances_of_more_things_begin_with_those_of_fewer() -> None:
    few, many = (order.chances(n, seed=3, epoch=1, what="row") for n in (5, 50))
    np.testing.assert_array_equal(many[:5], few)


# Windows


@given(lengths=lengths, most=st.integers(1, 40), seed=seeds, epoch=epochs, data=st.data())
def test_windows_against_the_obvious(lengths: list[int], most: int, seed: int, epoch: int, data: st.DataObject) -> None:
    n_runs = len(lengths)
    weights = data.draw(st.lists(st.integers(0, 15), min_size=n_runs, max_size=n_runs))
    found = order.Windows(bounds_of(lengths), np.array(weights, np.int64), most, seed=seed, epoch=epoch)[:]
    assert sorted(found.tolist()) == list(range(sum(lengths)))

    chance = order.chances(n_runs, seed=seed, epoch=epoch, what="run").tolist()
    in_order = sorted(range(n_runs), key=lambda run: chance[run])
    chance_of_row = order.chances(sum(lengths), seed=seed, epoch=epoch, what="row").tolist()

    in_turn = order.Windows(bounds_of(lengths), np.array(weights, np.int64), most, seed=seed, epoch=epoch)
    windows: list[list[int]] = []
    rest = list(in_order)
    for start, stop in zip(in_turn._run_starts.tolist(), in_turn._run_stops.tolist(), strict=True):
        assert start < stop
        windows.append(rest[start:stop])
    assert [run for window in windows for run in window] == in_order
    place = 0
    for window in windows:
        assert len(window) == 1 or sum(weights[run] for run in window) <= most
        rows = [row for run in window for row in range(*bounds_of(lengths)[[run, run + 1]].tolist())]
        assert found[place : place + len(rows)].tolist() == sorted(rows, key=lambda row: chance_of_row[row])
        place += len(rows)
    assert place == len(found)


@given(n=st.integers(1, 9000), most=st.integers(1, 80))
def test_windows_of_equal_runs_are_equal(n: int, most: int) -> None:
    sizes = np.bincount(order._windows(np.ones(n, np.int64), most))
    assert sizes.max() <= most
    assert sizes.max() - sizes.min() <= 1
    assert len(sizes) == -(-n // most)


def test_a_window_of_everything_is_a_shuffle_and_one_of_a_run_keeps_neighbours() -> None:
    bounds, ones = order.runs([0, 1000], 10), np.ones(100, np.int64)
    everywhere = order.Windows(bounds, ones, 100, seed=1, epoch=2)[:]
    np.testing.assert_array_equal(everywhere, order.shuffled(1000, seed=1, epoch=2))
    one = order.Windows(bounds, ones, 1, seed=1, epoch=2)[:].reshape(100, 10)
    assert (np.ptp(one, axis=1) == 9).all()
    assert len(set((one[:, 0] // 10).tolist())) == 100
    assert not np.array_equal(one[:, 0] // 10, np.arange(100))


# Runs


@given(lengths=lengths, length=st.integers(1, 15))
def test_runs_cover_spans_evenly(lengths: list[int], length: int) -> None:
    spans = bounds_of(lengths)
    bounds = order.runs(spans, length)
    found = np.diff(bounds)
    assert bounds[0] == 0
    assert bounds[-1] == spans[-1]
    assert ((found >= 1) & (found <= length)).all()
    assert set(spans.tolist()) <= set(bounds.tolist())
    for start, stop in itertools.pairwise(spans.tolist()):
        within = np.diff(bounds[(bounds >= start) & (bounds <= stop)])
        assert len(within) == -(-(stop - start) // length)
        assert not len(within) or np.ptp(within) <= 1


@given(spans=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 6)), max_size=10))
def test_concatenated(spans: list[tuple[int, int]]) -> None:
    starts = np.array([start for start, _ in spans], np.int64)
    stops = starts + np.array([length for _, length in spans], np.int64)
    expected = [row for start, stop in zip(starts, stops, strict=True) for row in range(start, stop)]
    assert order.concatenated(starts, stops).tolist() == expected


@given(lengths=lengths, most=st.integers(1, 40), seed=seeds, epoch=epochs, data=st.data())
def test_any_part_of_windows_is_that_of_the_whole(
    lengths: list[int], most: int, seed: int, epoch: int, data: st.DataObject
) -> None:
    bounds = bounds_of(lengths)
    weights = np.array([max(1, length) for length in lengths], np.int64)
    whole = order.Windows(bounds, weights, most, seed=seed, epoch=epoch)[:]
    asked = order.Windows(bounds, weights, most, seed=seed, epoch=epoch)
    assert len(asked) == len(whole) == bounds[-1]
    for _ in range(4):
        start, stop = (data.draw(st.integers(0, int(bounds[-1]) + 3)) for _ in range(2))
        np.testing.assert_array_equal(asked[start:stop], whole[start:stop])


# Lanes


@st.composite
def dealt_to_lanes(draw: st.DrawFn) -> dict[str, Any]:
    lengths = draw(st.lists(st.integers(1, 8), max_size=30))
    return {
        "bounds": bounds_of(lengths),
        "n_lanes": draw(st.integers(1, 9)),
        "seed": draw(seeds),
        "epoch": draw(epochs),
        "buffer": draw(st.integers(1, 60)),
    }


@given(said=dealt_to_lanes())
def test_lanes_have_every_row_once_and_whole_runs(said: dict[str, Any]) -> None:
    found = order.lanes(**said)
    assert len(found) == said["n_lanes"]
    assert sorted(np.concatenate(found).tolist()) == list(range(said["bounds"][-1]))
    run_of = np.repeat(np.arange(len(said["bounds"]) - 1), np.diff(said["bounds"]))
    runs_of_lane = [set(run_of[rows].tolist()) for rows in found]
    assert sum(map(len, runs_of_lane)) == len(said["bounds"]) - 1  # no run stands in two lanes
    assert max(map(len, runs_of_lane)) - min(map(len, runs_of_lane)) <= 1


@given(said=dealt_to_lanes(), more=st.integers(1, 60))
def test_rows_stay_within_the_buffer(said: dict[str, Any], more: int) -> None:
    still = order.lanes(**{**said, "buffer": 1})  # nothing comes before what stands a whole place ahead
    moved = order.lanes(**{**said, "buffer": more})
    for rows, others in zip(still, moved, strict=True):
        assert set(rows.tolist()) == set(others.tolist())  # the buffer moves no row to another lane
        place = dict(zip(rows.tolist(), itertools.count()))
        apart = [abs(place[row] - at) for at, row in enumerate(others.tolist())]
        assert all(min(one, len(rows) - one) <= 2 * more for one in apart)  # lanes are rings
        for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
            assert np.all(np.diff(run) == 1)


@pytest.mark.parametrize("buffer", [1, 2, 20, 4096])
def test_a_buffer_against_the_obvious(buffer: int) -> None:
    (lane,) = order.lanes(np.array([0, 5000]), 1, seed=3, epoch=2, buffer=buffer)
    chance = order.chances(5000, seed=3, epoch=2, what="row").tolist()
    assert lane.tolist() == sorted(range(5000), key=lambda row: (row + chance[row] / 2**64 * buffer) % 5000)


def test_lanes_depend_on_seed_and_epoch() -> None:
    said: dict[str, Any] = {"bounds": order.runs([0, 640], 10), "n_lanes": 16}
    found = {
        tuple(tuple(lane.tolist()) for lane in order.lanes(**said, seed=seed, epoch=epoch, buffer=8))
        for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))
    }
    assert len(found) == 4


def test_a_large_buffer_shuffles_a_lane() -> None:
    (lane,) = order.lanes(order.runs([0, 2000], 50), 1, seed=0, epoch=0, buffer=2**31 - 1)
    assert abs(stats.spearmanr(np.arange(2000), lane).statistic) < 0.1
    assert (np.abs(np.diff(lane)) == 1).sum() < 20


@given(lengths=st.lists(st.integers(0, 20), max_size=6), size=st.integers(1, 7))
def test_braided_batches(lengths: list[int], size: int) -> None:
    bounds = bounds_of(lengths)
    lanes = [np.arange(start, stop) for start, stop in itertools.pairwise(bounds.tolist())]
    expected: list[list[int]] = []
    left = [lane.tolist() for lane in lanes]
    while any(len(lane) >= size for lane in left):
        for number, lane in enumerate(left):
            if len(lane) >= size:
                expected.append(lane[:size])
                left[number] = lane[size:]
    rest = [row for lane in left for row in lane]
    expected += [rest[start : start + size] for start in range(0, len(rest), size)]
    batches = [np.asarray(batch).tolist() for batch in order.braided(lanes, size)]
    assert batches == expected
    assert all(len(batch) == size for batch in batches[:-1])


# Weights


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    shares=st.lists(st.floats(0, 100), min_size=5, max_size=5),
    n=st.integers(0, 200),
    seed=seeds,
    epoch=epochs,
)
def test_weighted_shares(labels: list[int], shares: list[float], n: int, seed: int, epoch: int) -> None:
    counts = np.bincount(labels, minlength=5)
    there = np.where(counts > 0, np.array(shares), 0)
    if not there.sum() > 1e-6:
        return
    found = order.weighted(np.array(labels), np.array(shares), n, seed=seed, epoch=epoch)
    assert len(found) == n
    taken = np.bincount(np.array(labels)[found], minlength=5)
    assert (np.abs(taken - there / there.sum() * n) < 1 + 1e-6).all()
    assert (taken[there == 0] == 0).all()
    times = np.bincount(found, minlength=len(labels))
    for label in np.flatnonzero(taken):
        of_class = times[np.array(labels) == label]
        assert np.ptp(of_class) <= 1, "a row was taken again before all of its class were"


def test_equal_remainders_fall_to_each_label_in_turn() -> None:
    labels = np.arange(3).repeat(10)
    favoured = Counter(
        int(np.bincount(labels[order.weighted(labels, np.ones(3), 4, seed=0, epoch=epoch)]).argmax())
        for epoch in range(600)
    )
    assert stats.chisquare([favoured[label] for label in range(3)]).pvalue > LEAST_P


# Fairness


def test_every_order_is_as_likely() -> None:
    seen = Counter(tuple(order.shuffled(4, seed=5, epoch=epoch).tolist()) for epoch in range(4800))
    assert len(seen) == 24
    assert stats.chisquare(list(seen.values())).pvalue > LEAST_P
    seen = Counter(tuple(order.shuffled(4, seed=seed, epoch=0).tolist()) for seed in range(4800))
    assert stats.chisquare(list(seen.values())).pvalue > LEAST_P


BOUNDS = order.runs([0, 60], 5)
WAYS: dict[str, Callable[[int], Rows]] = {
    "windowed": lambda epoch: order.Windows(BOUNDS, np.ones(12, np.int64), 4, seed=2, epoch=epoch)[:],
    "lanes": lambda epoch: np.concatenate(order.braided(order.lanes(BOUNDS, 4, seed=2, epoch=epoch, buffer=20), 3)),
    "weighted": lambda epoch: order.weighted(np.arange(60) % 3, np.ones(3), 60, seed=2, epoch=epoch),
    "shuffled": lambda epoch: order.shuffled(60, seed=2, epoch=epoch),
}


@pytest.mark.parametrize("way", sorted(WAYS))
def test_every_row_is_as_likely_at_every_place(way: str) -> None:
    n_epochs = 6000
    first, middle, last = (Counter[int]() for _ in range(3))
    place_of_a_row = Counter[int]()
    for epoch in range(n_epochs):
        rows = WAYS[way](epoch)
        first[int(rows[0])] += 1
        middle[int(rows[29])] += 1
        last[int(rows[-1])] += 1
        place_of_a_row[int(np.flatnonzero(rows == 37)[0])] += 1
    if way == "lanes":  # within a buffer the first of a run comes first more often: runs are as likely, rows are not
        first, middle, last = (Counter({run: sum(seen[run * 5 + k] for k in range(5)) for run in range(12)})
                               for seen in (first, middle, last))  # fmt: skip
    for seen, n in ((first, len(first)), (middle, len(middle)), (last, len(last))):
        assert n == (12 if way == "lanes" else 60)
        assert stats.chisquare(list(seen.values())).pvalue > LEAST_P
    if way != "lanes":
        assert stats.chisquare([place_of_a_row[place] for place in range(60)]).pvalue > LEAST_P


def test_epochs_do_not_resemble_each_other() -> None:
    one, two = (order.shuffled(5000, seed=0, epoch=epoch) for epoch in (0, 1))
    assert abs(stats.spearmanr(one, two).statistic) < 0.06
    assert (one == two).sum() < 10


# Ranks


@given(n=st.integers(0, 100), world=st.integers(1, 12))
def test_dealt_counts(n: int, world: int) -> None:
    uneven = [order.dealt(n, rank=rank, world=world, even=False) for rank in range(world)]
    assert uneven == [len(range(rank, n, world)) for rank in range(world)]
    even = {order.dealt(n, rank=rank, world=world, even=True) for rank in range(world)}
    assert even == {n // world}
