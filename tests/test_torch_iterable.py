"""`PatchIterable`: one order of batches for each seed and epoch, whoever takes them and wherever he begins."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distinct import RowOf, distinct

import patchcli
from patchcli.errors import UsageError

torch = pytest.importorskip("torch", reason="torch is not installed")

FLIP = {"horizontal_flip": True, "rotation_range": 30}


@pytest.fixture(scope="module")
def ps(tmp_path_factory: pytest.TempPathFactory) -> patchcli.PatchSet:
    return patchcli.open(distinct(tmp_path_factory.mktemp("iterable")))


@pytest.fixture(scope="module")
def row_of(ps: patchcli.PatchSet) -> RowOf:
    return RowOf(ps)


def iterable(source: Any, **options: Any) -> Any:
    return patchcli.torch.PatchIterable(source, **{"batch_size": 16, "buffer": 32, **options})


def rows_in(row_of: RowOf, batches: Any) -> list[list[int]]:
    return [row_of(x.numpy()) for x, _ in batches]


def flat(batches: list[list[int]]) -> list[int]:
    return list(itertools.chain(*batches))


# One order


def test_batches(ps: patchcli.PatchSet, row_of: RowOf) -> None:
    it = iterable(ps)
    epochs = []
    for epoch in range(3):
        it.set_epoch(epoch)
        assert it.epoch == epoch
        batches = list(it)
        rows = rows_in(row_of, batches)
        assert [len(batch) for batch in rows] == [16] * 9 + [12]
        assert len(it) == len(batches) == 10
        assert sorted(flat(rows)) == list(range(len(ps)))
        for (x, y), batch in zip(batches, rows, strict=True):
            assert (x.dtype, tuple(x.shape)) == (torch.uint8, (len(batch), 3, 32, 32))
            assert (y.dtype, y.tolist()) == (torch.int64, ps.labels[batch].tolist())
        epochs.append(rows)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    it.set_epoch(1)
    assert rows_in(row_of, it) == rows_in(row_of, it) == epochs[1]
    assert rows_in(row_of, iterable(ps, seed=1)) != epochs[0]
    for batch in epochs[0][:9]:  # neighbours in the file are spread
        assert np.mean(np.abs(np.diff(batch)) == 1) < 0.5


def test_single_patches(ps: patchcli.PatchSet, row_of: RowOf) -> None:
    it = iterable(ps, batch_size=None)
    rows = [row_of(x.numpy()[None])[0] for x, _ in it]
    assert len(it) == len(rows)
    assert sorted(rows) == list(range(len(ps)))
    assert [y for _, y in it] == ps.labels[rows].tolist()
    assert {type(y) for _, y in it} == {int}
    loader = torch.utils.data.DataLoader(it, batch_size=20)
    assert rows_in(row_of, loader) == [rows[start : start + 20] for start in range(0, len(rows), 20)]


def test_batches_mix_classes_that_stand_class_after_class_in_many_shards(ps: patchcli.PatchSet) -> None:
    """About as well as a full shuffle, however the shards begin and end."""
    labels = np.repeat(np.arange(4), len(ps) // 4)

    def entropy(batches: list[list[int]]) -> float:
        counts = [np.bincount(labels[[row for row in batch if row < len(labels)]], minlength=4) for batch in batches]
        shares = [count[count > 0] / count.sum() for count in counts]
        return float(np.mean([-(share * np.log2(share)).sum() for share in shares]))

    assert len(set(ps.whole.shards.of_rows(ps.rows_at(np.arange(len(ps)))).tolist())) > 16
    its = entropy(iterable(ps, buffer=128)._batches(0, 16))
    full = np.random.default_rng(0).permutation(len(ps))
    assert its > 0.9 * entropy([full[start : start + 16].tolist() for start in range(0, len(full), 16)])


def test_not_shuffled(ps: patchcli.PatchSet, row_of: RowOf) -> None:
    it = iterable(ps, shuffle=False)
    assert flat(rows_in(row_of, it)) == list(range(len(ps)))
    assert [row_of(x.numpy()[None])[0] for x, _ in iterable(ps, shuffle=False, batch_size=None)] == list(range(len(ps)))


def test_layout_transforms_and_augmentation(ps: patchcli.PatchSet) -> None:
    plain, upright = iterable(ps, augment=FLIP), iterable(ps, augment=FLIP, layout="hwc")
    pairs = iterable(ps, augment=FLIP, transform=lambda x: x.float() / 255, target_transform=lambda y: y + 10)
    of_map = patchcli.torch.PatchDataset(ps, augment=FLIP)
    still = iterable(ps)
    for epoch in (0, 1):
        for one in (plain, upright, pairs, of_map, still):
            one.set_epoch(epoch)
        for (x, y), (z, _), (w, v), (original, _) in zip(plain, upright, pairs, still, strict=True):
            assert torch.equal(x, z.permute(0, 3, 1, 2))
            assert torch.equal(w, x.float() / 255)
            assert torch.equal(v, y + 10)
            rows = RowOf(ps)(original.numpy())
            assert torch.equal(x, torch.stack([one for one, _ in of_map.__getitems__(rows)]))


def test_parts_and_splits(ps: patchcli.PatchSet, row_of: RowOf, cut_splits: Path) -> None:
    order = np.random.default_rng(0).permutation(len(ps))
    for chosen in (order, order[::-1][:50], np.arange(len(ps))[::-1], np.array([5]), np.array([], int), order % 40):
        rows = flat(rows_in(row_of, iterable(ps.subset(chosen))))
        assert sorted(rows) == sorted(chosen.tolist())
    for split in ("train", "val"):
        part = patchcli.open(cut_splits).subset(split=split)
        labels = torch.cat([y for _, y in iterable(cut_splits, split=split)])
        assert torch.bincount(labels).tolist() == list(part.class_counts().values())


def test_what_was_read_stays(ps: patchcli.PatchSet) -> None:
    for options in ({}, {"layout": "hwc"}, {"batch_size": None}, {"transform": lambda x: x}):
        kept = list(iterable(ps, **options))
        again = iterable(ps, **options)
        assert all(torch.equal(x, y) for (x, _), (y, _) in zip(kept, again, strict=True))


# Ranks


@pytest.mark.parametrize("world", [2, 3, 5])
@pytest.mark.parametrize("drop_last", [False, True])
def test_ranks_take_batches_in_turn(ps: patchcli.PatchSet, row_of: RowOf, world: int, drop_last: bool) -> None:
    whole = rows_in(row_of, iterable(ps, drop_last=drop_last))
    assert len(whole) == 10 - drop_last
    for even in (True, False):
        parts = [iterable(ps, rank=rank, world=world, even=even, drop_last=drop_last) for rank in range(world)]
        found = [rows_in(row_of, part) for part in parts]
        assert [len(one) for one in found] == [len(part) for part in parts]
        n = len(whole) // world * world if even else len(whole)
        assert found == [whole[rank:n:world] for rank in range(world)]


def test_more_ranks_than_batches_are_refused_unless_some_may_go_without(ps: patchcli.PatchSet) -> None:
    with pytest.raises(UsageError, match="too few for 11 ranks"):
        iterable(ps, rank=0, world=11)
    assert sum(len(iterable(ps, rank=rank, world=11, even=False)) for rank in range(11)) == 10
    with pytest.raises(UsageError, match="drop_last has no effect without batch_size"):
        iterable(ps, batch_size=None, drop_last=True)


def test_ranks_of_single_patches(ps: patchcli.PatchSet, row_of: RowOf) -> None:
    whole = [row_of(x.numpy()[None])[0] for x, _ in iterable(ps, batch_size=None)]
    for rank in range(3):
        it = iterable(ps, batch_size=None, rank=rank, world=3)
        assert [row_of(x.numpy()[None])[0] for x, _ in it] == whole[rank::3]
        assert len(it) == len(ps) // 3


# Going on in the middle


@pytest.mark.parametrize("batch_size", [16, None])
@pytest.mark.parametrize("taken", [0, 1, 7, 10])
def test_going_on(ps: patchcli.PatchSet, row_of: RowOf, taken: int, batch_size: int | None) -> None:
    def fresh() -> Any:
        return iterable(ps, batch_size=batch_size, rank=1, world=2, even=False)

    def rows(batches: Any) -> list[list[int]]:
        return [row_of(x.numpy() if batch_size else x.numpy()[None]) for x, _ in batches]

    it = fresh()
    epochs = []
    for epoch in (4, 5):
        it.set_epoch(epoch)
        epochs.append(rows(it))
    taken = min(taken, len(epochs[0]))
    it.set_epoch(4)
    first = rows(itertools.islice(it, taken))
    for state in (it.state_dict(), it.state_dict(taken=taken)):
        other = fresh()
        other.load_state_dict(json.loads(json.dumps(state)))
        assert other.epoch == 4 + (taken == len(epochs[0]))  # all of it was taken: the next one
        if taken < len(epochs[0]):
            for _ in range(2):
                other.set_epoch(4)  # says nothing new
            assert first + rows(other) == epochs[0]
            other.set_epoch(5)
        assert rows(other) == epochs[1]


def test_a_start_counts_once(ps: patchcli.PatchSet, row_of: RowOf) -> None:
    it = iterable(ps)
    whole = rows_in(row_of, it)
    it.set_epoch(0, start=4)
    assert rows_in(row_of, it) == whole[4:]
    assert rows_in(row_of, it) == whole
    it.set_epoch(0, start=400)
    assert list(it) == []


def test_the_state_of_something_else(ps: patchcli.PatchSet, cut: Path) -> None:
    own = iterable(ps)
    others = [
        iterable(ps, seed=1),
        iterable(cut),
        iterable(ps, batch_size=8),
        iterable(ps, batch_size=None),
        iterable(ps, buffer=33),
        iterable(ps, shuffle=False),
        iterable(ps, rank=0, world=2),
        patchcli.torch.ShuffleWindow(ps),
    ]
    for state in (*(other.state_dict() for other in others), {}, None, 3, {"epoch": 1}):
        with pytest.raises(UsageError):
            own.load_state_dict(state)


def test_pickled_and_copied(ps: patchcli.PatchSet) -> None:
    it = iterable(ps, augment=FLIP)
    it.set_epoch(2)
    expected = [x for x, _ in it]
    for other in (pickle.loads(pickle.dumps(it)), copy.deepcopy(it)):
        assert all(torch.equal(x, y) for (x, _), y in zip(other, expected, strict=True))
        other.set_epoch(3)
        assert it.epoch == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2.0}, r"batch_size is 2\.0"),
        ({"buffer": 0}, "buffer is 0"),
        ({"shuffle": 1}, "shuffle is 1"),
        ({"even": "no"}, "even is 'no'"),
        ({"drop_last": None}, "drop_last is None"),
        ({"rank": 0}, "rank is 0, world is None"),
        ({"rank": -1, "world": 2}, "rank is -1"),
    ],
    ids=str,
)
def test_wrong_arguments(ps: patchcli.PatchSet, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        iterable(ps, **options)
    with pytest.raises(UsageError, match="start is -1"):
        iterable(ps).set_epoch(0, start=-1)
