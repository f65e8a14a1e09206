"""In which order an epoch shows its patches: pure functions of seed and epoch, whoever asks and wherever he begins.

    rows       0 1 2 3 | 4 5 6 7 | 8 9 10 11 | 12 13 14 15      runs of neighbours, in the order of the file
    permuted   8 9 10 11 | 0 1 2 3 | 12 13 14 15 | 4 5 6 7      runs in the order of the epoch
    windows    2 9 0 8 3 11 1 10 | 5 14 12 7 4 15 6 13          shuffled among as many runs as fit a window

Nearly random, while all that is read at a time stands in a few places.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import xxhash

from patchcli.choice import Ranks, row_ranks

Rows = npt.NDArray[np.int64]

_UNIT: Final = 2.0**-64


def chances(n: int, *, seed: int, epoch: int, what: str) -> Ranks:
    """A random number for each of n things in an epoch, uint64 (n,): the same whenever it is asked for.

    Parameters
    ----------
    what : str
        For what: numbers for another purpose are others.
    """
    return chances_of(np.arange(n), seed=seed, epoch=epoch, what=what)


def chances_of(things: Rows, *, seed: int, epoch: int, what: str) -> Ranks:
    """What `chances` gives for some of the things, uint64 (k,)."""
    said = xxhash.xxh3_64_intdigest(f"{what}\0{seed}\0{epoch}".encode())
    return row_ranks(np.full(len(things), said, np.uint64), [things])


def shuffled(n: int, *, seed: int, epoch: int) -> Rows:
    """Rows 0 to n - 1 in the order of an epoch, every order as likely: int64 (n,)."""
    return np.argsort(chances(n, seed=seed, epoch=epoch, what="row"), kind="stable")


class Windows:
    """Rows in the order of an epoch: runs of rows permuted, and shuffled within windows of several runs.

    Any part of the order can be had, `windows[start:stop]`, without the rest.

    Parameters
    ----------
    bounds : int64 (m + 1,)
        First row of each run, and one past the last: ascending, from 0 to n.
    weights : int64 (m,)
        What a run costs to be held, in any unit.
    most : int
        What the runs of a window weigh at most, unless one alone weighs more; windows are about equal.
    """

    def __init__(self, bounds: Rows, weights: npt.NDArray[np.int64], most: int, *, seed: int, epoch: int) -> None:
        self._bounds, self._seed, self._epoch = bounds, seed, epoch
        self._runs = np.argsort(chances(len(weights), seed=seed, epoch=epoch, what="run"), kind="stable")
        lengths = np.diff(bounds)[self._runs]
        windows = _windows(weights[self._runs], most)
        firsts = np.flatnonzero(np.diff(windows, prepend=-1))
        self._run_stops = np.append(firsts[1:], len(windows))[: len(firsts)]
        self._run_starts = firsts
        ends = np.cumsum(lengths)
        self._stops = ends[self._run_stops - 1] if len(windows) else np.empty(0, np.int64)
        self._latest: dict[int, Rows] = {}

    def __len__(self) -> int:
        return int(self._bounds[-1])

    def __getitem__(self, span: slice) -> Rows:
        """Rows of a part of the order, int64 (k,); `span` has no step."""
        start, stop, _ = span.indices(len(self))
        if stop <= start:
            return np.empty(0, np.int64)
        first, last = np.searchsorted(self._stops, (start, stop - 1), side="right").tolist()
        begin = int(self._stops[first - 1]) if first else 0
        if first == last:  # mostly: a window may be all there is
            return self._window(first)[start - begin : stop - begin]
        rows = np.concatenate([self._window(window) for window in range(first, last + 1)])
        return rows[start - begin : stop - begin]

    def _window(self, window: int) -> Rows:
        latest = self._latest
        if window in latest:
            return latest[window]
        runs = self._runs[self._run_starts[window] : self._run_stops[window]]
        rows = np.sort(concatenated(self._bounds[runs], self._bounds[runs + 1]))
        ranks = chances_of(rows, seed=self._seed, epoch=self._epoch, what="row")
        rows = rows[np.argsort(ranks, kind="stable")]
        # one after the other is asked for, and by several threads: the last few are kept
        self._latest = {**dict(list(latest.items())[-2:]), window: rows}
        return rows


def _windows(weights: npt.NDArray[np.int64], most: int) -> Rows:
    """The window of each of some runs in their order: about equal, and none heavier than `most` but for a single run.

    Were they filled one after the other, the last might hold a single run, of a single class.
    """
    ends = np.cumsum(weights)
    begins = _begins(ends, most)
    total = max(1, int(ends[-1])) if len(ends) else 1
    n = len(begins)
    while 0 < n <= 2 * len(begins):
        windows: Rows = (2 * ends - weights) * n // (2 * total)  # by the middle of each run
        held = np.bincount(windows, weights=weights)
        if ((held <= most) | (np.bincount(windows) == 1)).all():
            return windows
        n += max(1, n // 16)
    filled = np.zeros(len(weights), np.int64)
    filled[begins[1:]] = 1
    return np.cumsum(filled)


def _begins(ends: Rows, most: int) -> list[int]:
    """First run of each window, when each takes runs as long as they weigh at most so much; `ends` add up weights."""
    begins: list[int] = []
    begin = held = 0
    while begin < len(ends):
        begins.append(begin)
        begin = max(begin + 1, int(np.searchsorted(ends, held + most, side="right")))
        held = int(ends[begin - 1])
    return begins


def runs(bounds: Sequence[int] | Rows, length: int) -> Rows:
    """Cut spans into runs of at most `length` rows, about equal within a span: bounds, int64 (m + 1,).

    Parameters
    ----------
    bounds : int (k + 1,)
        First row of each span, and one past the last row.
    """
    cuts = [np.zeros(1, np.int64)]
    for start, stop in itertools.pairwise(map(int, bounds)):
        n = -(-(stop - start) // length)
        cuts.append(start + np.arange(1, n + 1, dtype=np.int64) * (stop - start) // max(1, n))
    return np.concatenate(cuts)


def lanes(bounds: Rows, n_lanes: int, *, seed: int, epoch: int, buffer: int) -> list[Rows]:
    """Deal runs of rows to lanes, each of which goes through a shuffle buffer: rows of each lane in their order.

    A lane is what one reader goes through from end to end. Who reads several lanes, or one of them in turn with others,
    sees the same order: lanes do not depend on readers.

    Parameters
    ----------
    bounds : int64 (m + 1,)
        Of the runs.
    buffer : int
        Rows are moved by up to so many places among those of their lane. Lanes are rings: the buffer is never empty,
        so that the first and the last rows are as well mixed as others.
    """
    n_runs = len(bounds) - 1
    order = np.argsort(chances(n_runs, seed=seed, epoch=epoch, what="run"), kind="stable")
    later = chances(int(bounds[-1]), seed=seed, epoch=epoch, what="row").astype(np.float64) * (_UNIT * buffer)
    found = []
    for lane in range(n_lanes):
        mine = order[lane::n_lanes]
        rows = concatenated(bounds[mine], bounds[mine + 1])
        n = max(1, len(rows))
        found.append(rows[np.argsort((np.arange(len(rows)) + later[rows] * min(1, n / buffer)) % n, kind="stable")])
    return found


def concatenated(starts: Rows, stops: Rows) -> Rows:
    """The rows of some runs (k,), one run after the other: int64 (n,)."""
    lengths = stops - starts
    ends = np.cumsum(lengths)
    rows: Rows = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)
    return rows


def braided(lanes: Sequence[Rows], size: int) -> list[Rows]:
    """Batches of `size` rows, one of each lane in turn; what lanes have left over comes last, together.

    Returns
    -------
    list of int64 (size,)
        The last one may be smaller.
    """
    whole = [len(lane) // size for lane in lanes]
    batches = [
        lane[turn * size : (turn + 1) * size]
        for turn in range(max(whole, default=0))
        for lane, n in zip(lanes, whole, strict=True)
        if turn < n
    ]
    rest = np.concatenate([lane[n * size :] for lane, n in zip(lanes, whole, strict=True)] or [np.empty(0, np.int64)])
    return batches + [rest[start : start + size] for start in range(0, len(rest), size)]


def interleaved(lanes: Sequence[Rows]) -> Rows:
    """The rows of all lanes, one of each in turn: int64 (n,); batches of one row, as `braided` would make them."""
    turns = np.concatenate([np.arange(len(lane)) for lane in lanes] or [np.empty(0, np.int64)])
    rows: Rows = np.concatenate([*lanes, np.empty(0, np.int64)])[np.argsort(turns, kind="stable")]
    return rows


def weighted(labels: npt.NDArray[np.int64], shares: npt.NDArray[np.float64], n: int, *, seed: int, epoch: int) -> Rows:
    """Some rows of each label, as many as its share says: all rows of a label come before any comes again.

    Parameters
    ----------
    labels : int64 (m,)
    shares : float64 (n_labels,)
        0 or more; those of labels without rows count for nothing.
    n : int
        Rows in all.

    Returns
    -------
    int64 (n,)
    """
    if not n:
        return np.empty(0, np.int64)
    counts = np.bincount(labels, minlength=len(shares))
    wanted = _apportioned(np.where(counts > 0, shares, 0.0), n, seed=seed, epoch=epoch)
    by_label = np.lexsort((chances(len(labels), seed=seed, epoch=epoch, what="row"), labels))
    starts = np.cumsum(counts) - counts
    picked = [
        by_label[start + np.arange(want) % count]
        for start, count, want in zip(starts.tolist(), counts.tolist(), wanted.tolist(), strict=True)
        if want
    ]
    rows = np.concatenate(picked) if picked else np.empty(0, np.int64)
    order: Rows = rows[np.argsort(chances(n, seed=seed, epoch=epoch, what="place"), kind="stable")]
    return order


def _apportioned(shares: npt.NDArray[np.float64], n: int, *, seed: int, epoch: int) -> Rows:
    """Whole numbers in proportion to shares that come to n: largest remainders first, chance where they are equal."""
    exact = shares / shares.sum() * n
    numbers: Rows = np.floor(exact).astype(np.int64)
    chance = chances(len(shares), seed=seed, epoch=epoch, what="label")
    order = np.lexsort((chance, -np.round(exact - numbers, 9), shares == 0))
    numbers[order[: n - int(numbers.sum())]] += 1
    return numbers


def dealt(n: int, *, rank: int, world: int, even: bool) -> int:
    """How many of n things are for one rank of some, when thing k is for rank `k % world`.

    `even`: all ranks have equally many, and what is left over is for none.
    """
    return n // world if even else (n - rank + world - 1) // world
