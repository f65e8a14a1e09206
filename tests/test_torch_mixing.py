"""How well batches mix classes by default, where the file has class after class, as `extract` writes it.

Entropy of the classes of a batch against that of a full shuffle. No patch is read: indexes are made up, and an order
can be had without pixels; what stands where is said by labels of our own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import large_index
import numpy as np
import numpy.typing as npt
import pytest

import patchcli

pytest.importorskip("torch", reason="torch is not installed")

Rows = npt.NDArray[np.int64]
Order = Callable[..., list[Rows]]

BATCH: Final = 64
GOOD: Final = 0.9
"""Of the entropy of a full shuffle."""
EPOCHS: Final = 3
ENDS: Final = 10
RANKS: Final = 8


@dataclass(frozen=True)
class Made:
    """A made-up data set: `n` patches of some side, px, in some shards."""

    n: int
    side: int
    shards: int = 1

    def opened(self, folder: Path) -> patchcli.PatchSet:
        with pytest.MonkeyPatch.context() as changed:
            changed.setattr(large_index, "SIDE", self.side)
            changed.setattr(large_index, "_SHARDS", self.shards)
            large_index.write_index(folder / "made.h5", images=-(-self.n // 100), patches=100)
        return patchcli.open(folder / "made.h5").subset(np.arange(self.n))


SMALL: Final = [Made(1_500, 32), Made(2_000, 128), Made(3_000, 64), Made(5_000, 64), Made(5_000, 224)]
LARGE: Final = [Made(200_000, 64, 40), Made(60_000, 64, 16), Made(60_000, 320, 40)]
TAILS: Final = [Made(64 * 85 + 85 * more, 64) for more in (1, 2, 5)]
"""Of 64 blocks, and a few more."""


@pytest.fixture
def make(tmp_path: Path) -> Callable[[Made], patchcli.PatchSet]:
    return lambda made: made.opened(tmp_path)


def windowed(ps: patchcli.PatchSet, epoch: int, **options: Any) -> list[Rows]:
    """Batches that a DataLoader makes of what `ShuffleWindow` says."""
    sampler = patchcli.torch.ShuffleWindow(ps, **options)
    sampler.set_epoch(epoch)
    order = np.fromiter(sampler, np.int64)
    return [order[start : start + BATCH] for start in range(0, len(order), BATCH)]


def iterated(ps: patchcli.PatchSet, epoch: int, **options: Any) -> list[Rows]:
    """Batches of a `PatchIterable`."""
    it = patchcli.torch.PatchIterable(ps, batch_size=BATCH, **options)
    return [*it._batches(epoch, BATCH)][it.rank :: it.world]


def entropies(batches: list[Rows], n: int, n_classes: int) -> npt.NDArray[np.float64]:
    """Of the classes of each whole batch, in units of what a full shuffle gives, when rows are sorted by class."""
    labels = np.arange(n) * n_classes // n
    full = np.random.default_rng(0).permutation(n)
    shuffled = [full[start : start + BATCH] for start in range(0, n, BATCH)]
    relative: npt.NDArray[np.float64] = _bits(batches, labels, n_classes) / _bits(shuffled, labels, n_classes).mean()
    return relative


def _bits(batches: list[Rows], labels: Rows, n_classes: int) -> npt.NDArray[np.float64]:
    whole = labels[np.stack([batch for batch in batches if len(batch) == BATCH])]
    shares = (whole[:, :, None] == np.arange(n_classes)).mean(axis=1)
    bits: npt.NDArray[np.float64] = -(shares * np.log2(np.where(shares > 0, shares, 1.0))).sum(axis=1)
    return bits


both = pytest.mark.parametrize("order", [windowed, iterated])


@both
@pytest.mark.parametrize("n_classes", [3, 10])
@pytest.mark.parametrize("made", [*SMALL, *TAILS], ids=str)
def test_small_sets_are_mixed_from_the_begin_to_the_end(
    make: Callable[[Made], patchcli.PatchSet], made: Made, n_classes: int, order: Order
) -> None:
    ps = make(made)
    for epoch in range(EPOCHS):
        found = entropies(order(ps, epoch), len(ps), n_classes)
        assert found.mean() > GOOD
        assert found[:ENDS].mean() > GOOD
        assert found[-ENDS:].mean() > GOOD
        assert found.min() > 0.7  # no batch of one class, or of two


@both
@pytest.mark.parametrize("made", LARGE, ids=str)
def test_many_shards_are_mixed_from_the_begin_to_the_end(
    make: Callable[[Made], patchcli.PatchSet], made: Made, order: Order
) -> None:
    ps = make(made)
    for epoch, n_classes in ((0, 3), (1, 10)):
        found = entropies(order(ps, epoch), len(ps), n_classes)
        assert found.mean() > GOOD
        assert found[:ENDS].mean() > GOOD
        assert found[-ENDS:].mean() > GOOD


@both
@pytest.mark.parametrize("made", [SMALL[-2], SMALL[-1], TAILS[0], LARGE[0]], ids=str)
def test_every_rank_sees_every_class_all_the_time(
    make: Callable[[Made], patchcli.PatchSet], made: Made, order: Order
) -> None:
    ps = make(made)
    for rank in range(RANKS):
        batches = order(ps, 1, rank=rank, world=RANKS)
        assert len(batches) >= len(ps) // BATCH // RANKS
        found = entropies(batches, len(ps), 10)
        assert found.mean() > GOOD
        assert found.min() > 0.6
        assert len(set((np.concatenate(batches) * 10 // len(ps)).tolist())) == 10


@both
def test_these_tests_can_fail(make: Callable[[Made], patchcli.PatchSet], order: Order) -> None:
    """Were the default window one block, or the buffer one patch."""
    ps = make(LARGE[0])
    none = {"window": 1} if order is windowed else {"buffer": 1}
    assert entropies(order(ps, 1, **none), len(ps), 10).mean() < 0.5
