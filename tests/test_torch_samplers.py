"""`ShuffleWindow` and `WeightedSampler`: which patches a DataLoader asks for, in which epoch, on which rank."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distinct import distinct
from scipy import stats

import patchcli
from patchcli import order
from patchcli.errors import UsageError

torch = pytest.importorskip("torch", reason="torch is not installed")

FLIP = {"horizontal_flip": True, "rotation_range": 30}


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return distinct(tmp_path_factory.mktemp("samplers"))


@pytest.fixture(scope="module")
def ps(sharded: Path) -> patchcli.PatchSet:
    return patchcli.open(sharded)


def samplers(source: Any, **options: Any) -> list[Any]:
    """One of each kind."""
    return [
        patchcli.torch.ShuffleWindow(source, block=4, window=5, **options),
        patchcli.torch.WeightedSampler(source, **options),
    ]


# Orders


def test_every_patch_once(ps: patchcli.PatchSet) -> None:
    sampler = patchcli.torch.ShuffleWindow(ps, seed=3, block=4, window=5)
    epochs = [list(sampler) for _ in range(3)]
    assert all(sorted(epoch) == list(range(len(ps))) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert {type(index) for index in epochs[0]} == {int}
    assert len(sampler) == len(ps)


def test_windows_hold_a_few_blocks(ps: patchcli.PatchSet) -> None:
    blocks = np.diff(order.runs([0, len(ps)], 4))
    block_of = np.repeat(np.arange(len(blocks)), blocks)
    rows = list(patchcli.torch.ShuffleWindow(ps, block=4, window=5))
    spans = {block: [at for at, row in enumerate(rows) if block_of[row] == block] for block in range(len(blocks))}
    assert max(max(at) - min(at) for at in spans.values()) < 20
    assert np.mean(np.abs(np.diff(rows)) == 1) < 0.2
    alone = np.array(list(patchcli.torch.ShuffleWindow(ps, block=4, window=1)))
    assert (np.ptp(alone.reshape(-1, 4), axis=1) == 3).all()


def test_blocks_are_about_a_mebibyte(ps: patchcli.PatchSet) -> None:
    assert patchcli.torch.ShuffleWindow(ps).block == 2**20 // (32 * 32 * 3)


def test_epochs_go_on_by_themselves(sharded: Path) -> None:
    ds = patchcli.torch.PatchDataset(sharded, augment=FLIP)
    for one, said in zip(samplers(ds, seed=3), samplers(sharded, seed=3), strict=True):
        loader = torch.utils.data.DataLoader(ds, batch_size=64, sampler=one)
        shown = []
        for epoch in range(3):
            assert one.epoch == epoch
            shown.append(torch.cat([x for x, _ in loader]))
            assert ds.epoch == epoch
            said.set_epoch(epoch)
            expected = patchcli.torch.PatchDataset(sharded, augment=FLIP)
            expected.set_epoch(epoch)
            assert torch.equal(shown[-1], torch.stack([x for x, _ in expected.__getitems__(list(said))]))
        one.set_epoch(1)
        assert torch.equal(torch.cat([x for x, _ in loader]), shown[1])
        next(iter(loader))  # an epoch that was left is over
        assert one.epoch == 3


def test_an_iterator_that_nobody_took_from_is_no_epoch(ps: patchcli.PatchSet) -> None:
    """Loaders with workers ask for two and use one."""
    for mine, said in zip(samplers(ps), samplers(ps), strict=True):
        for _ in range(2):
            iter(mine)
            assert list(mine) == list(said)


def test_as_frameworks_call_it(ps: patchcli.PatchSet) -> None:
    """Lightning and accelerate call `set_epoch(epoch)` before each epoch."""
    for mine, said in zip(samplers(ps), samplers(ps), strict=True):
        for epoch in (0, 1, 2, 2):
            said.set_epoch(epoch)
            mine.set_epoch(min(epoch, 1))
            if epoch < 2:
                assert list(said) == list(mine)
            else:
                assert list(said) != list(mine)


def test_order_is_of_seed_and_epoch_alone(ps: patchcli.PatchSet) -> None:
    before = pickle.dumps(np.random.get_state())  # noqa: NPY002 - the state that must not move
    torch.manual_seed(0)
    first = [list(sampler) for sampler in samplers(ps, seed=7)]
    torch.manual_seed(1)
    assert [list(sampler) for sampler in samplers(ps, seed=7)] == first
    assert all(list(sampler) != rows for sampler, rows in zip(samplers(ps, seed=8), first, strict=True))
    assert pickle.dumps(np.random.get_state()) == before  # noqa: NPY002


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_few_patches(ps: patchcli.PatchSet, n: int) -> None:
    part = ps.subset(list(range(n)))
    assert sorted(patchcli.torch.ShuffleWindow(part)) == list(range(n))
    assert sorted(patchcli.torch.WeightedSampler(part)) == list(range(n))
    assert len(list(torch.utils.data.DataLoader(patchcli.torch.PatchDataset(part), batch_size=2))) == -(-n // 2)
    assert list(patchcli.torch.WeightedSampler(part, n_samples=0)) == []


# Ranks


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_ranks_share_an_epoch(ps: patchcli.PatchSet, world: int) -> None:
    n, left_out = len(ps), []
    for epoch in range(3):
        even, every = (
            [
                patchcli.torch.ShuffleWindow(ps, block=4, window=5, rank=rank, world=world, even=is_even)
                for rank in range(world)
            ]
            for is_even in (True, False)
        )
        for sampler in (*even, *every):
            sampler.set_epoch(epoch)
        rows = [list(sampler) for sampler in even]
        assert [len(one) for one in rows] == [len(sampler) for sampler in even] == [n // world] * world
        taken = list(itertools.chain(*rows))
        assert len(set(taken)) == len(taken) == n - n % world
        left_out.append(set(range(n)) - set(taken))
        rows = [list(sampler) for sampler in every]
        assert [len(one) for one in rows] == [len(sampler) for sampler in every]
        assert sorted(itertools.chain(*rows)) == list(range(n))
    if world == 7:
        assert len({frozenset(one) for one in left_out}) > 1


def test_more_ranks_than_patches_are_refused_unless_some_may_go_without(ps: patchcli.PatchSet) -> None:
    with pytest.raises(UsageError, match="too few for 500 ranks"):
        patchcli.torch.ShuffleWindow(ps, rank=0, world=500)
    assert len(patchcli.torch.ShuffleWindow(ps, rank=499, world=500, even=False)) == 0
    assert list(patchcli.torch.ShuffleWindow(ps.subset([]))) == []


def test_ranks_of_weighted_samples(ps: patchcli.PatchSet) -> None:
    whole = list(patchcli.torch.WeightedSampler(ps, n_samples=90))
    parts = [list(patchcli.torch.WeightedSampler(ps, n_samples=90, rank=rank, world=3)) for rank in range(3)]
    assert [len(part) for part in parts] == [30, 30, 30]
    assert Counter(itertools.chain(*parts)) == Counter(whole)


# Weights


def test_classes_come_out_even(ps: patchcli.PatchSet) -> None:
    sampler = patchcli.torch.WeightedSampler(ps, n_samples=120)
    for _ in range(3):
        rows = list(sampler)
        assert np.bincount(ps.labels[rows]).tolist() == [40, 40, 40]
        times = np.bincount(rows, minlength=len(ps))
        for label in range(3):
            assert np.ptp(times[ps.labels == label]) <= 1
    assert len(patchcli.torch.WeightedSampler(ps)) == len(ps)


@pytest.mark.parametrize(
    "weights",
    [{0: 3, 2: 1}, [3, 0, 1], np.array([3.0, 0, 1]), (1.5e300, 0, 0.5e300)],
    ids=["dict", "list", "array", "huge"],
)
def test_weights_by_label(ps: patchcli.PatchSet, weights: Any) -> None:
    counts = np.bincount(ps.labels)
    shares = np.array([3, 0, 1]) * counts
    n_samples = 10 * int(shares.sum())
    rows = list(patchcli.torch.WeightedSampler(ps, weights=weights, n_samples=n_samples))
    np.testing.assert_allclose(np.bincount(ps.labels[rows], minlength=3), shares * 10, atol=1)


def test_weights_of_a_tensor(ps: patchcli.PatchSet) -> None:
    sampler = patchcli.torch.WeightedSampler(ps, weights=patchcli.torch.class_weights(ps), n_samples=90)
    assert np.bincount(ps.labels[list(sampler)]).tolist() == [30, 30, 30]


def test_labels_come_in_no_order(ps: patchcli.PatchSet) -> None:
    labels = ps.labels[list(patchcli.torch.WeightedSampler(ps, n_samples=3000))]
    pairs = Counter(itertools.pairwise(labels.tolist()))
    assert len(pairs) == 9
    assert stats.chisquare(list(pairs.values())).pvalue > 1e-6


# Going on in the middle


@pytest.mark.parametrize("taken", [0, 1, 64, 155, 156])
def test_going_on(ps: patchcli.PatchSet, taken: int) -> None:
    for number, sampler in enumerate(samplers(ps, seed=4)):
        epochs = [list(sampler) for _ in range(3)]
        sampler.set_epoch(1)
        first = list(itertools.islice(sampler, taken))
        for state in (sampler.state_dict(), sampler.state_dict(taken=taken)):
            other = samplers(ps, seed=4)[number]
            other.load_state_dict(json.loads(json.dumps(state)))
            rest = list(other)
            if taken < len(ps):
                assert first + rest == epochs[1]
                assert list(other) == epochs[2]
            else:
                assert rest == epochs[2]


def test_start_counts_once(ps: patchcli.PatchSet) -> None:
    for sampler in samplers(ps):
        whole = list(sampler)
        sampler.set_epoch(0, start=100)
        assert list(sampler) == whole[100:]
        assert sampler.epoch == 1
        assert len(list(sampler)) == len(ps)
        sampler.set_epoch(0, start=10**6)
        assert list(sampler) == []


def test_going_on_on_ranks(ps: patchcli.PatchSet) -> None:
    for rank in range(2):
        sampler = patchcli.torch.ShuffleWindow(ps, block=4, rank=rank, world=2)
        whole = list(sampler)
        other = patchcli.torch.ShuffleWindow(ps, block=4, rank=rank, world=2)
        other.load_state_dict(patchcli.torch.ShuffleWindow(ps, block=4, rank=rank, world=2).state_dict(taken=20))
        assert list(other) == whole[20:]


def test_the_state_of_something_else(ps: patchcli.PatchSet, cut: Path) -> None:
    own = patchcli.torch.ShuffleWindow(ps, block=4)
    others = [
        patchcli.torch.ShuffleWindow(ps, block=4, seed=1),
        patchcli.torch.ShuffleWindow(ps, block=5),
        patchcli.torch.ShuffleWindow(ps, block=4, window=3),
        patchcli.torch.ShuffleWindow(cut, block=4),
        patchcli.torch.ShuffleWindow(ps, block=4, rank=0, world=2),
        patchcli.torch.WeightedSampler(ps),
        patchcli.torch.PatchIterable(ps),
    ]
    for state in (*(other.state_dict() for other in others), {}, None, "state", {"epoch": 0, "start": 0}, [1]):
        with pytest.raises(UsageError):
            own.load_state_dict(state)
    with pytest.raises(UsageError):
        own.load_state_dict({**own.state_dict(), "epoch": -1})


def test_the_state_of_other_weights(ps: patchcli.PatchSet) -> None:
    own = patchcli.torch.WeightedSampler(ps, n_samples=50)
    for other in ({"n_samples": 60}, {"n_samples": 50, "weights": [1, 2, 3]}, {"n_samples": 50, "seed": 2}):
        with pytest.raises(UsageError, match="another order"):
            own.load_state_dict(patchcli.torch.WeightedSampler(ps, **other).state_dict())


def test_pickled_and_copied(ps: patchcli.PatchSet) -> None:
    for number, sampler in enumerate(samplers(ps, seed=4)):
        list(sampler)
        for other in (pickle.loads(pickle.dumps(sampler)), copy.deepcopy(sampler)):
            fresh = samplers(ps, seed=4)[number]
            fresh.set_epoch(1)
            assert list(other) == list(fresh)
        assert sampler.epoch == 1


# What is wrong


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"block": 0}, "block is 0"),
        ({"window": -1}, "window is -1"),
        ({"window": 1.5}, r"window is 1\.5"),
        ({"even": None}, "even is None"),
        ({"seed": "x"}, "seed is 'x'"),
        ({"rank": 1}, "rank is 1, world is None"),
        ({"world": 2}, "rank is None, world is 2"),
        ({"rank": 2, "world": 2}, "rank is 2"),
        ({"rank": 0, "world": 0}, "world is 0"),
    ],
    ids=str,
)
def test_wrong_arguments_of_windows(ps: patchcli.PatchSet, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        patchcli.torch.ShuffleWindow(ps, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": [1, 2]}, "labels from? 0 to 2|label from 0 to 2"),
        ({"weights": {3: 1}}, "label from 0 to 2"),
        ({"weights": {"grass": 1}}, "label from 0 to 2"),
        ({"weights": [1, -1, 1]}, "weights are"),
        ({"weights": [1, float("nan"), 1]}, "weights are"),
        ({"weights": [1, float("inf"), 1]}, "weights are"),
        ({"weights": [0, 0, 0]}, "nothing to take"),
        ({"weights": {}}, "nothing to take"),
        ({"weights": 1.0}, "weights are"),
        ({"weights": {0: None}}, "weights are"),
        ({"weights": [[1], [2], [3]]}, "weights are"),
        ({"weights": ["a", "b", "c"]}, "weights are"),
        ({"n_samples": -1}, "n_samples is -1"),
        ({"n_samples": 1.5}, r"n_samples is 1\.5"),
    ],
    ids=str,
)
def test_wrong_weights(ps: patchcli.PatchSet, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        patchcli.torch.WeightedSampler(ps, **options)


def test_saying_the_epoch_that_was_loaded_keeps_its_start(ps: patchcli.PatchSet) -> None:
    """Frameworks say the epoch before each; another epoch, or a start, is what it says."""
    for one, other in zip(samplers(ps), samplers(ps), strict=True):
        one.set_epoch(3)
        whole = list(one)
        for start, expected in ((None, whole[7:]), (0, whole), (9, whole[9:])):
            other.set_epoch(3, start=7)
            other.load_state_dict(other.state_dict())
            other.set_epoch(3, start=start)
            assert list(other) == expected
        other.set_epoch(3, start=7)
        other.set_epoch(4)
        assert len(list(other)) == len(whole)


def test_what_is_no_data_set_of_ours(ps: patchcli.PatchSet) -> None:
    subset = torch.utils.data.Subset(patchcli.torch.PatchDataset(ps), [1, 2])
    for ask in (patchcli.torch.ShuffleWindow, patchcli.torch.WeightedSampler, patchcli.torch.class_weights):
        with pytest.raises(UsageError, match=r"Subset: expected a PatchDataset.*ps\.subset\(indices\)"):
            ask(subset)


@pytest.mark.parametrize("block", [1, 4])
@pytest.mark.parametrize("extra", [0, 1, 2, 5])
def test_batches_mix_classes_to_the_end_of_an_epoch(ps: patchcli.PatchSet, extra: int, block: int) -> None:
    """However few blocks are left over by the windows: they are about equal."""
    n = 32 * block + extra * block
    rows = list(patchcli.torch.ShuffleWindow(ps.subset(np.arange(n)), block=block, window=32))
    labels = np.repeat(np.arange(4), -(-n // 4))[:n]  # class after class, as extract writes them
    assert {len(set(labels[rows[start : start + 16]].tolist())) for start in range(0, n - 15, 8)} <= {3, 4}


@pytest.mark.parametrize("said", [{"epoch": -1}, {"epoch": 0.5}, {"epoch": 0, "start": -1}, {"epoch": 0, "start": "1"}])
def test_wrong_epochs(ps: patchcli.PatchSet, said: dict[str, Any]) -> None:
    for sampler in samplers(ps):
        with pytest.raises(UsageError):
            sampler.set_epoch(**said)
