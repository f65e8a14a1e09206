"""`patchcli.keras.PatchSequence`: batches of a data set that depend on seed, epoch and their number alone."""

from __future__ import annotations

import copy
import importlib
import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from distinct import RowOf, distinct
from photos import crops, retyped, shards

import patchcli
from patchcli.errors import DamagedFile, PatchcliError, UsageError

Array = npt.NDArray[Any]
Make = Callable[..., Any]

CONFIGS = Path(__file__).parents[1] / "configs"
MOVED: dict[str, Any] = {"rotation_range": 25, "zoom_range": 0.2, "horizontal_flip": True, "fill_mode": "reflect"}
FEATUREWISE: dict[str, Any] = {"featurewise_center": True, "featurewise_std_normalization": True}
BATCH = 16
SEED = 3


@pytest.fixture
def make(keras: Any) -> Make:
    """Makes a PatchSequence; batches of 16 when nothing else is said."""
    module = importlib.import_module("patchcli.keras")
    return lambda patches, batch_size=BATCH, **options: module.PatchSequence(patches, batch_size, **options)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return distinct(tmp_path_factory.mktemp("sequence"))


@pytest.fixture(scope="module")
def ps(stored: Path) -> patchcli.PatchSet:
    return patchcli.open(stored)


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory: pytest.TempPathFactory) -> patchcli.PatchSet:
    folder = tmp_path_factory.mktemp("two")
    root = crops(folder / "data", per_class=2, size=(96, 64))
    for label in ("retina", "grass"):
        shutil.rmtree(root / label)
    patchcli.extract(root, folder / "two.h5", patch=32, executor="serial")
    return patchcli.open(folder / "two.h5")


def epoch_of(sequence: Any) -> list[Any]:
    """All batches of the present epoch, in order."""
    return [sequence[k] for k in range(len(sequence))]


def rows_of(ps: patchcli.PatchSet, batches: list[Any]) -> list[list[int]]:
    """Rows of the patches of batches that were not augmented, by their pixels."""
    row_of = RowOf(ps)
    return [row_of(x.transpose(0, 3, 1, 2)) for x, _ in batches]


def flat(batches: list[list[int]]) -> list[int]:
    return list(itertools.chain(*batches))


def arrays(batch: Any) -> list[Array]:
    return list(batch) if isinstance(batch, tuple) else [batch]


def same(one: Any, other: Any) -> bool:
    """Whether two batches hold the same arrays, of the same types."""
    ones, others = arrays(one), arrays(other)
    return len(ones) == len(others) and all(
        x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(ones, others, strict=True)
    )


def all_same(ones: list[Any], others: list[Any]) -> bool:
    return len(ones) == len(others) > 0 and all(map(same, ones, others))


# x and y


@pytest.mark.parametrize("class_mode", ["sparse", "categorical", "input", None])
def test_batches_of_the_data_set(make: Make, ps: patchcli.PatchSet, class_mode: str | None) -> None:
    sequence = make(ps, class_mode=class_mode, shuffle=False)
    assert len(sequence) == -(-len(ps) // BATCH) == 10
    for k in range(len(sequence)):
        span = slice(k * BATCH, (k + 1) * BATCH)
        patches, labels = ps[span], ps.labels[span]
        expected: dict[str | None, Any] = {
            "sparse": (patches, labels),
            "categorical": (patches, np.eye(3, dtype=np.float32)[labels]),
            "input": (patches, patches),
            None: patches,
        }
        assert same(sequence[k], expected[class_mode])
    assert same(sequence[-1], sequence[9])
    assert same(sequence[np.int64(2)], sequence[2])


def test_two_classes_as_numbers(make: Make, two_classes: patchcli.PatchSet) -> None:
    (batch,) = epoch_of(make(two_classes, 99, class_mode="binary", shuffle=False))
    assert same(batch, (two_classes[:], two_classes.labels.astype(np.float32)))
    assert set(batch[1].tolist()) == {0.0, 1.0}


def test_an_input_as_target_is_a_copy(make: Make, ps: patchcli.PatchSet) -> None:
    sequence = make(ps, class_mode="input")
    x, y = sequence[0]
    x[:] = 0
    assert y.any()
    assert sequence[0][0].any()  # batches may be changed in place


@pytest.mark.parametrize("stored_as", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("dtype", [None, "float32", "float16"])
def test_dtypes(make: Make, cut: Path, tmp_path: Path, stored_as: str, dtype: str | None) -> None:
    path = cut
    if stored_as != "uint8":
        path = retyped(cut, tmp_path / "in.h5", lambda patches: (patches * np.float32(7.0)).astype(stored_as))
    patches = patchcli.open(path)
    x, y = make(path, shuffle=False, dtype=dtype)[1]
    assert same(x, patches[16:32].astype(stored_as if dtype is None else dtype))
    assert y.dtype == np.int64
    onehot = make(path, class_mode="categorical", dtype=dtype)[0][1]
    assert onehot.dtype == ("float32" if dtype is None else dtype)


@pytest.mark.parametrize("augment", [None, MOVED])
def test_channels_first(make: Make, ps: patchcli.PatchSet, augment: Any) -> None:
    last = make(ps, seed=SEED, augment=augment)
    first = make(ps, seed=SEED, augment=augment, data_format="channels_first")
    assert (last.image_shape, first.image_shape) == ((32, 32, 3), (3, 32, 32))
    for (x, y), (moved, labels) in zip(epoch_of(last), epoch_of(first), strict=True):
        assert same((moved, labels), (np.ascontiguousarray(x.transpose(0, 3, 1, 2)), y))
        assert moved.flags.c_contiguous


def test_keras_setting_is_the_data_format(make: Make, ps: patchcli.PatchSet) -> None:
    config = importlib.import_module("keras").config
    before = config.image_data_format()
    try:
        config.set_image_data_format("channels_first")
        assert make(ps)[0][0].shape == (16, 3, 32, 32)
    finally:
        config.set_image_data_format(before)
    assert make(ps)[0][0].shape == (16, 32, 32, 3)


def test_what_is_known_of_the_patches(make: Make, ps: patchcli.PatchSet, stored: Path) -> None:
    sequence = make(stored)
    assert isinstance(sequence, importlib.import_module("keras").utils.PyDataset)
    assert (sequence.n, sequence.samples, sequence.batch_size, sequence.num_classes) == (len(ps), len(ps), BATCH, 3)
    assert sequence.class_indices == {"brick": 0, "grass": 1, "ihc": 2}
    assert sequence.classes.tolist() == ps.labels.tolist()
    assert sequence.coords.tolist() == ps.coords.tolist()
    assert [os.fsencode(name) for name in sequence.filenames] == [ps.sources.path[k] for k in ps.source.tolist()]
    assert len(sequence.patches) == len(ps)


def test_class_weight(make: Make, ps: patchcli.PatchSet, cut_splits: Path) -> None:
    counts = np.bincount(ps.labels)
    assert len(set(counts.tolist())) == 3
    assert make(ps).class_weight() == pytest.approx({k: len(ps) / (3 * n) for k, n in enumerate(counts.tolist())})
    part = patchcli.open(cut_splits).subset(split="train")
    assert make(cut_splits, split="train").class_weight() == part.class_weight()
    assert make(ps.subset(ps.labels > 0)).class_weight().keys() == {1, 2}


# Order


def test_every_patch_once_in_another_order_each_epoch(make: Make, ps: patchcli.PatchSet) -> None:
    sequence = make(ps, seed=SEED)
    epochs = []
    for epoch in range(3):
        assert sequence.epoch == epoch
        batches = epoch_of(sequence)
        rows = rows_of(ps, batches)
        assert [len(batch) for batch in rows] == [16] * 9 + [12]
        assert sorted(flat(rows)) == list(range(len(ps)))
        assert [y.tolist() for _, y in batches] == [ps.labels[batch].tolist() for batch in rows]
        assert np.mean(np.abs(np.diff(flat(rows))) == 1) < 0.1
        epochs.append(flat(rows))
        sequence.on_epoch_end()
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    sequence.set_epoch(1)
    assert flat(rows_of(ps, epoch_of(sequence))) == epochs[1]
    assert flat(rows_of(ps, epoch_of(make(ps, seed=SEED + 1)))) != epochs[0]
    assert flat(rows_of(ps, epoch_of(make(ps, BATCH * 2, seed=SEED)))) == epochs[0]


def test_not_shuffled(make: Make, ps: patchcli.PatchSet) -> None:
    sequence = make(ps, shuffle=False)
    for _ in range(2):
        assert flat(rows_of(ps, epoch_of(sequence))) == list(range(len(ps)))
        sequence.on_epoch_end()


def test_order_is_drawn_from_nothing_else(make: Make, ps: patchcli.PatchSet) -> None:
    before = pickle.dumps(np.random.get_state())  # noqa: NPY002 - the state that must not move
    first = epoch_of(make(ps, augment=MOVED))
    np.random.seed(1)  # noqa: NPY002
    assert all_same(epoch_of(make(ps, augment=MOVED)), first)
    np.random.set_state(pickle.loads(before))  # noqa: NPY002


@pytest.mark.parametrize("batch_size", [1, 7, 12, 13, 156, 157])
def test_the_last_batch_may_be_left_out(make: Make, ps: patchcli.PatchSet, batch_size: int) -> None:
    n, rest = divmod(len(ps), batch_size)
    whole = make(ps, batch_size)
    assert [len(whole[k][1]) for k in range(len(whole))] == [batch_size] * n + [rest] * (rest > 0)
    if not n:
        with pytest.raises(UsageError, match="156 patches are no whole batch of 157: nothing is left"):
            make(ps, batch_size, drop_last=True)
        return
    dropped = make(ps, batch_size, drop_last=True)
    assert len(dropped) == n
    assert all_same(epoch_of(dropped), epoch_of(whole)[:n])
    with pytest.raises(IndexError):
        dropped[n]


def test_parts(make: Make, ps: patchcli.PatchSet) -> None:
    rows = [30, 2, 2, 17, 155]
    x, y = make(ps.subset(rows), shuffle=False)[0]
    assert same((x, y), (ps[rows], ps.labels[rows]))
    assert sorted(flat(rows_of(ps, epoch_of(make(ps.subset(rows), 2))))) == sorted(rows)
    assert list(epoch_of(make(ps.subset([])))) == []


@pytest.mark.parametrize("split", ["train", "val"])
def test_splits(make: Make, cut_splits: Path, split: str) -> None:
    part = patchcli.open(cut_splits).subset(split=split)
    sequence = make(cut_splits, split=split, shuffle=False)
    assert sequence.n == len(part) < len(patchcli.open(cut_splits))
    assert same(
        tuple(map(np.concatenate, zip(*epoch_of(sequence), strict=True))),
        (part[:], part.labels),
    )


# Augmentation


AUGMENTS: list[Any] = [
    MOVED,
    CONFIGS / "keras.yaml",
    CONFIGS / "histology.yaml",
    {**MOVED, "rescale": "1/255", "samplewise_center": True},
    {**MOVED, **FEATUREWISE},
    {"config": [{"VerticalFlip": {"p": 0.5}}], **FEATUREWISE},
]


@pytest.mark.parametrize("said", AUGMENTS, ids=range(len(AUGMENTS)))
@pytest.mark.parametrize("has_splits", [False, True])
def test_epoch_e_is_copy_e_plus_1(
    make: Make, cut: Path, cut_splits: Path, tmp_path: Path, said: Any, has_splits: bool
) -> None:
    path = cut_splits if has_splits else cut
    options = said if isinstance(said, dict) else {"config": said}
    patchcli.augment(path, tmp_path / "out.h5", executor="serial", seed=SEED, copies=2, **options)
    out, ps = patchcli.open(tmp_path / "out.h5"), patchcli.open(path)
    assert out.origin is not None
    assert out.copy is not None
    made = out[:]
    place = {(row, copy): at for at, (row, copy) in enumerate(zip(out.origin.tolist(), out.copy.tolist(), strict=True))}
    is_copied = {row for row, copy in place if copy == 2}
    assert is_copied == {row for row in range(len(ps)) if ps.split is None or ps.splits[ps.split[row]] == "train"}
    sequence = make(path, seed=SEED, augment=said, shuffle=False)
    epochs = []
    for epoch in (1, 0):
        sequence.set_epoch(epoch)
        expected = made[[place[row, epoch + 1 if row in is_copied else 0] for row in range(len(ps))]]
        found = np.concatenate([x for x, _ in epoch_of(sequence)])
        assert same(found, expected)
        epochs.append(found)
    differs = (epochs[0] != epochs[1]).any(axis=(1, 2, 3))
    assert not differs[[row for row in range(len(ps)) if row not in is_copied]].any()
    assert differs[sorted(is_copied)].mean() > 0.3  # a flip is as often made as not, and some patches are blank
    if has_splits:
        val = make(path, seed=SEED, augment=said, split="val", shuffle=False)
        is_val = np.array([row not in is_copied for row in range(len(ps))])
        assert same(np.concatenate([x for x, _ in epoch_of(val)]), epochs[1][is_val])


def test_augmented_in_any_order(make: Make, ps: patchcli.PatchSet) -> None:
    """Which copy of a patch is shown depends on neither batch nor place; what is predicted is what is shown."""
    ordered = make(ps, seed=SEED, augment=MOVED, shuffle=False)
    mixed = make(ps, 11, seed=SEED, augment=MOVED, class_mode="input")
    rows = flat(rows_of(ps, epoch_of(make(ps, 11, seed=SEED))))
    by_row = np.concatenate([x for x, _ in epoch_of(ordered)])
    for k, (x, y) in enumerate(epoch_of(mixed)):
        assert same(x, by_row[rows[11 * k : 11 * (k + 1)]])
        assert same(x, y)


def test_a_dtype_of_what_is_standardised(make: Make, ps: patchcli.PatchSet) -> None:
    options: dict[str, Any] = {"augment": {"rescale": "1/255"}, "shuffle": False}
    x, _ = make(ps, **options)[0]
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, ps[:BATCH] / np.float32(255), rtol=1e-6)
    assert same(make(ps, dtype="float16", **options)[0][0], x.astype(np.float16))


# Going on


def test_next_goes_on_epoch_after_epoch(make: Make, ps: patchcli.PatchSet) -> None:
    sequence = make(ps, seed=SEED)
    expected = []
    for _ in range(3):
        expected += epoch_of(sequence)
        sequence.on_epoch_end()
    sequence = make(ps, seed=SEED)
    assert all_same(list(itertools.islice(sequence, 30)), expected)
    assert (sequence.epoch, sequence.batch_index) == (3, 0)


@pytest.mark.parametrize("taken", [0, 1, 9, 10, 23])
def test_going_on_where_it_stood(make: Make, ps: patchcli.PatchSet, taken: int) -> None:
    def fresh() -> Any:
        return make(ps, seed=SEED, augment=MOVED)

    expected = list(itertools.islice(fresh(), 31))
    first = fresh()
    shown = list(itertools.islice(first, taken))
    state = json.loads(json.dumps(first.state_dict()))
    for says_epoch in (False, True):
        second = fresh()
        second.load_state_dict(state)
        assert second.epoch == taken // 10
        if says_epoch:
            second.set_epoch(second.epoch)  # as a loop does before each epoch: says nothing new
        assert all_same(shown + list(itertools.islice(second, 31 - taken)), expected)


def test_another_epoch_begins_at_its_first_batch(make: Make, ps: patchcli.PatchSet) -> None:
    sequence = make(ps)
    sequence.load_state_dict({**sequence.state_dict(), "epoch": 2, "start": 4})
    assert (sequence.epoch, sequence.batch_index) == (2, 4)
    sequence.set_epoch(3)
    assert (sequence.epoch, sequence.batch_index) == (3, 0)
    sequence.set_epoch(3, start=5)
    assert same(next(sequence), sequence[5])
    sequence.on_epoch_end()
    assert (sequence.epoch, sequence.batch_index) == (4, 0)
    next(sequence)
    sequence.set_epoch(4)  # not loaded, but looked at
    assert same(next(sequence), sequence[0])
    sequence.set_epoch(4, start=2)
    sequence.reset()
    assert same(next(sequence), sequence[0])


def test_the_state_of_something_else(make: Make, ps: patchcli.PatchSet, cut: Path) -> None:
    own = make(ps)
    others = [
        make(ps, seed=1),
        make(ps, 15),
        make(ps, shuffle=False),
        make(cut),
        make(ps.subset(np.arange(len(ps))[::-1])),
        make(ps.subset(slice(0, 100))),
    ]
    for state in (*(other.state_dict() for other in others), {}, None, 3, {"epoch": 1}):
        with pytest.raises(UsageError):
            own.load_state_dict(state)
    own.load_state_dict(make(ps).state_dict())


# Whoever reads


def test_pickled_and_copied(make: Make, ps: patchcli.PatchSet) -> None:
    sequence = make(ps, seed=SEED, augment={**MOVED, **FEATUREWISE}, class_mode="categorical")
    sequence.set_epoch(2)
    expected = epoch_of(sequence)
    assert len(pickle.dumps(sequence)) < 20_000 + sequence.classes.nbytes * 20  # no pixels
    for other in (pickle.loads(pickle.dumps(sequence)), copy.deepcopy(sequence)):
        assert all_same(epoch_of(other), expected)
        other.set_epoch(3)
        assert sequence.epoch == 2


def test_many_threads_ask_at_once(make: Make, ps: patchcli.PatchSet) -> None:
    sequence, expected = make(ps, 5, augment=MOVED), epoch_of(make(ps, 5, augment=MOVED))
    order = np.random.default_rng(0).permutation(np.arange(len(sequence)).repeat(3)).tolist()
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(sequence.__getitem__, order))
    assert all_same(found, [expected[k] for k in order])


@pytest.mark.parametrize("workers", [0, 2, 4])
def test_threads_of_keras_get_the_same_batches(make: Make, ps: patchcli.PatchSet, workers: int) -> None:
    adapters = importlib.import_module("keras.src.trainers.data_adapters.py_dataset_adapter")
    sequence = make(ps, seed=SEED, augment=MOVED, workers=workers, max_queue_size=3)
    adapter = adapters.PyDatasetAdapter(sequence, shuffle=False)
    assert (adapter.enqueuer is not None) == (workers > 1)
    known = make(ps, seed=SEED, augment=MOVED)
    for epoch in range(3):
        known.set_epoch(epoch)
        adapter.on_epoch_begin()
        found = list(itertools.islice(adapter._get_iterator(), len(sequence)))
        adapter.on_epoch_end()
        assert all_same(found, epoch_of(known))


ENQUEUED = """
import hashlib, json, sys
import numpy as np
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter
from patchcli.keras import PatchSequence

def digests(path, workers, processes):
    sequence = PatchSequence(
        path, 16, seed=3, augment={"rotation_range": 25, "horizontal_flip": True, "rescale": "1/255"},
        workers=workers, use_multiprocessing=processes, max_queue_size=3,
    )
    adapter = PyDatasetAdapter(sequence, shuffle=False)
    assert (adapter.enqueuer is not None) == (workers > 1 or processes and workers > 0)
    found = []
    for _ in range(2):
        adapter.on_epoch_begin()
        batches = adapter._get_iterator()
        for _ in range(len(sequence)):
            said = b"".join(np.ascontiguousarray(part).tobytes() for part in next(batches))
            found.append(hashlib.sha256(said).hexdigest())
        adapter.on_epoch_end()
    return found

if __name__ == "__main__":
    ways = [(0, False), (2, False), (1, True), (2, True), (4, True)]
    print(json.dumps({str(way): digests(sys.argv[1], *way) for way in ways}))
"""


def test_processes_of_keras_get_the_same_batches(keras: Any, stored: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(ENQUEUED)
    done = subprocess.run(
        [sys.executable, script, stored],
        env=os.environ | {"KERAS_BACKEND": "numpy"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    expected = found.pop("(0, False)")
    assert len(set(expected)) == len(expected) == 20
    assert len(found) == 4
    for way, digests in found.items():
        assert digests == expected, way


# What goes wrong


def test_a_damaged_shard_is_named(make: Make, tmp_path: Path) -> None:
    path = distinct(tmp_path)
    victim = shards(path)[5]
    row = int(np.flatnonzero(patchcli.open(path).whole.shards.of_rows(np.arange(156)) == 5)[0])
    content = bytearray(victim.read_bytes())
    at = content.find(patchcli.open(path)[row].tobytes())
    assert at > 0
    content[at + 100] ^= 1
    victim.write_bytes(content)
    sequence = make(path, 1, shuffle=False)
    with pytest.raises(DamagedFile, match=victim.name):
        sequence[row]
    assert len(sequence[0][0]) == 1  # other shards can be read
    victim.unlink()
    with pytest.raises(DamagedFile, match=victim.name):
        make(path, 1, shuffle=False)[row]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2.5}, r"batch_size is 2\.5"),
        ({"class_mode": "many"}, "class_mode is 'many': expected one of 'categorical'"),
        ({"class_mode": "binary"}, "class_mode is 'binary', and there are 3 classes"),
        ({"shuffle": 1}, "shuffle is 1"),
        ({"drop_last": "no"}, "drop_last is 'no'"),
        ({"dtype": "foo"}, "dtype is 'foo'"),
        ({"max_queue_size": "x"}, "max_queue_size is 'x'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": None}, "seed is None"),
        ({"split": "val"}, "no split 'val': the data set has no splits"),
        ({"data_format": "chw"}, "data_format is 'chw': expected one of channels_last, channels_first"),
        ({"workers": -1}, "workers is -1"),
        ({"workers": "2"}, "workers is '2'"),
        ({"augment": {"rotation": 3}}, "augment has no option rotation"),
        ({"augment": 3}, "a pipeline is a list of transforms"),
        ({"augment": "nowhere.yaml"}, "nowhere.yaml: cannot be read"),
        ({"augment": {**MOVED, "seed": 4}}, "seed is 0, and 4 within augment"),
        ({"drop_last": True, "batch_size": 157}, "nothing is left"),
    ],
    ids=str,
)
def test_wrong_arguments(make: Make, ps: patchcli.PatchSet, options: dict[str, Any], said: str) -> None:
    with pytest.raises(PatchcliError, match=said):
        make(ps, **options)


def test_wrong_numbers_of_batches_and_epochs(make: Make, ps: patchcli.PatchSet) -> None:
    sequence = make(ps)
    for wrong in (10, -11):
        with pytest.raises(IndexError, match=f"batch {wrong} is out of range: an epoch has 10"):
            sequence[wrong]
    for epoch, start in ((-1, 0), (0.5, 0), (0, -1), (0, 10), (0, "1")):
        with pytest.raises(UsageError):
            sequence.set_epoch(epoch, start=start)
    assert (sequence.epoch, sequence.batch_index) == (0, 0)


def test_what_is_no_data_set(make: Make, root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make(tmp_path / "nowhere.h5")
    with pytest.raises(DamagedFile):
        make(next(root.rglob("*.png")))
