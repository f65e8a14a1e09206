"""`patchcli.torch.PatchDataset`: the pixels of the data set as tensors, and the copies that `augment` would write."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distinct import distinct
from photos import retyped

import patchcli
from patchcli.errors import DamagedFile, UsageError
from patchcli.readers.planes import channels_first

torch = pytest.importorskip("torch", reason="torch is not installed")

CONFIGS = Path(__file__).parents[1] / "configs"
KERAS: dict[str, Any] = {
    "rotation_range": 25,
    "width_shift_range": 0.1,
    "zoom_range": 0.2,
    "channel_shift_range": 12,
    "horizontal_flip": True,
    "fill_mode": "reflect",
}
SEED = 5


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return distinct(tmp_path_factory.mktemp("torch"))


def as_type(dtype: str) -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """Pixels of another dtype, floats from 0 to 1."""
    factor = {"uint8": 1, "uint16": 257, "float32": np.float32(1 / 255)}[dtype]
    return lambda patches: (patches * np.asarray(factor, dtype)).astype(dtype)


# What is read


@pytest.mark.parametrize("layout", ["chw", "hwc"])
@pytest.mark.parametrize("kind", ["one file", "shards", "compressed"])
def test_pixels_and_labels(cut: Path, cut_sharded: Path, sharded: Path, kind: str, layout: str) -> None:
    path = {"one file": cut, "shards": sharded, "compressed": cut_sharded}[kind]
    ps = patchcli.open(path)
    ds = patchcli.torch.PatchDataset(path, layout=layout)
    assert len(ds) == len(ps)
    assert ds.classes == ps.classes
    np.testing.assert_array_equal(ds.labels, ps.labels)
    assert ds.class_weight() == ps.class_weight()
    axes = (2, 0, 1) if layout == "chw" else (0, 1, 2)
    wanted = [*np.random.default_rng(0).permutation(len(ps))[:20].tolist(), 3, 3, -1, 0]
    for index, (x, y) in zip(wanted, ds.__getitems__(wanted), strict=True):
        assert (x.dtype, type(y)) == (torch.uint8, int)
        assert x.is_contiguous()
        np.testing.assert_array_equal(x.numpy(), ps[index].transpose(axes))
        assert y == ps.labels[index]
        one, label = ds[index]
        assert torch.equal(one, x)
        assert label == y
    assert list(ds.__getitems__([])) == []
    assert torch.equal(ds[np.int64(3)][0], ds[3][0])
    assert torch.equal(ds[torch.tensor(3)][0], ds[3][0])


def test_what_was_read_stays(sharded: Path) -> None:
    for layout in ("chw", "hwc"):
        ds = patchcli.torch.PatchDataset(sharded, layout=layout)
        first = ds.__getitems__(range(8))
        kept = [x.clone() for x, _ in first]
        alone = ds[9][0]
        alone_kept = alone.clone()
        ds.__getitems__(range(50, 58)), ds[70]
        assert all(torch.equal(x, one) for (x, _), one in zip(first, kept, strict=True))
        assert torch.equal(alone, alone_kept)
        first[0][0].zero_()  # a transform may work in place: neighbours and later reads do not see it
        assert torch.equal(first[1][0], kept[1])
        assert torch.equal(ds[0][0], kept[0])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("n_channels", [1, 2, 3, 5])
def test_other_pixels(cut: Path, tmp_path: Path, dtype: str, n_channels: int) -> None:
    convert = as_type(dtype)
    path = retyped(cut, tmp_path / "in.h5", lambda patches: convert(np.tile(patches, 2)[..., :n_channels]))
    ps = patchcli.open(path)
    for layout, axes in (("chw", (0, 3, 1, 2)), ("hwc", (0, 1, 2, 3))):
        ds = patchcli.torch.PatchDataset(path, layout=layout)
        loader = torch.utils.data.DataLoader(ds, batch_size=32)
        batches = [(x.clone(), y) for x, y in loader]
        assert {x.dtype for x, _ in batches} == {getattr(torch, dtype)}
        assert {y.dtype for _, y in batches} == {torch.int64}
        np.testing.assert_array_equal(np.concatenate([x.numpy() for x, _ in batches]), ps[:].transpose(axes))
        np.testing.assert_array_equal(np.concatenate([y.numpy() for _, y in batches]), ps.labels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_channels_first(dtype: str) -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 1, 1, 3), (0, 4, 5, 3), (3, 4, 5, 1), (3, 5, 4, 2), (2, 7, 3, 6), (2, 3, 3, 128), (2, 3, 3, 200)):
        patches = rng.integers(0, 255, shape).astype(dtype)
        moved = channels_first(patches)
        assert moved.flags.c_contiguous
        assert moved.dtype == patches.dtype
        np.testing.assert_array_equal(moved, patches.transpose(0, 3, 1, 2))


def test_transforms(sharded: Path) -> None:
    ps = patchcli.open(sharded)
    plain = patchcli.torch.PatchDataset(ps)
    ds = patchcli.torch.PatchDataset(
        ps, transform=lambda x: x.float().mean((1, 2)), target_transform=lambda y: (y, ps.classes[y])
    )
    for (x, _), (mean, (label, name)) in zip(plain.__getitems__([4, 150]), ds.__getitems__([4, 150]), strict=True):
        assert torch.equal(mean, x.float().mean((1, 2)))
        assert name == ps.classes[label]
    means, (labels, names) = next(iter(torch.utils.data.DataLoader(ds, batch_size=10)))
    assert means.shape == (10, 3)
    assert [ps.classes[label] for label in labels.tolist()] == list(names)


def test_split(cut_splits: Path) -> None:
    ps = patchcli.open(cut_splits)
    for split in ps.splits:
        part = ps.subset(split=split)
        ds = patchcli.torch.PatchDataset(cut_splits, split=split)
        assert len(ds) == len(part) < len(ps)
        np.testing.assert_array_equal(ds.labels, part.labels)
        last = len(part) - 1
        np.testing.assert_array_equal(ds[last][0].numpy(), part[last].transpose(2, 0, 1))
    with pytest.raises(UsageError, match="no split 'test': the splits are train, val"):
        patchcli.torch.PatchDataset(cut_splits, split="test")


def test_torch_own_ways_to_take_parts(sharded: Path) -> None:
    ds = patchcli.torch.PatchDataset(sharded)
    expected = [ds[index] for index in (7, 3, 99, 3)]
    subset = torch.utils.data.Subset(ds, [7, 3, 99, 3])
    both = torch.utils.data.ConcatDataset([subset, ds])
    for batch in (
        next(iter(torch.utils.data.DataLoader(subset, batch_size=4))),
        next(iter(torch.utils.data.DataLoader(both, batch_size=4))),
    ):
        assert torch.equal(batch[0], torch.stack([x for x, _ in expected]))
        assert batch[1].tolist() == [y for _, y in expected]


def test_batches_that_were_changed_in_place_are_collated_as_they_are(sharded: Path) -> None:
    ds = patchcli.torch.PatchDataset(sharded)

    def collate(batch: list[Any]) -> Any:
        batch[3] = (torch.zeros_like(batch[3][0]), 9)
        batch.append(batch[0])
        del batch[8:-1]
        return torch.utils.data.default_collate(batch)

    x, y = next(iter(torch.utils.data.DataLoader(ds, batch_size=16, collate_fn=collate)))
    assert x.shape[0] == len(y) == 9
    assert not x[3].any()
    assert y.tolist() == [*ds.labels[:3].tolist(), 9, *ds.labels[4:8].tolist(), ds.labels[0]]
    assert torch.equal(x[8], x[0])
    x, y = torch.utils.data.default_collate(ds.__getitems__(range(10))[2:5])
    assert torch.equal(x, torch.stack([ds[index][0] for index in (2, 3, 4)]))


def test_on_another_default_device(cut: Path) -> None:
    with torch.device("meta"):
        ds = patchcli.torch.PatchDataset(cut, augment=KERAS)
        ds.set_epoch(3)
        assert ds.epoch == 3
        assert ds[0][0].device.type == "cpu"


# Augmentation


@pytest.fixture(scope="module")
def inputs(cut: Path, cut_splits: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data sets to be augmented."""
    folder = tmp_path_factory.mktemp("inputs")
    patchcli.extract(root, folder / "tiny.h5", patch=8, executor="serial")
    patchcli.augment(cut, folder / "once.h5", executor="serial", copies=1, seed=2, **KERAS)
    deep = retyped(cut, folder / "deep.h5", as_type("uint16"))
    floats = retyped(cut, folder / "floats.h5", as_type("float32"))
    return {
        "plain": cut,
        "splits": cut_splits,
        "tiny": folder / "tiny.h5",
        "augmented": folder / "once.h5",
        "deep": deep,
        "floats": floats,
    }


FEATUREWISE = {"featurewise_center": True, "featurewise_std_normalization": True}
CASES: list[tuple[str, Any]] = [
    ("plain", KERAS),
    ("plain", CONFIGS / "histology.yaml"),
    ("plain", CONFIGS / "keras.yaml"),
    ("plain", [{"HorizontalFlip": {"p": 0.5}}, {"OneOf": [{"GaussNoise": {}}, {"Blur": {"p": 0.2}}]}]),
    ("plain", {**KERAS, "rescale": "1/255", "samplewise_center": True, "samplewise_std_normalization": True}),
    ("plain", {"rescale": "1/255"}),
    ("plain", {"config": [{"VerticalFlip": {"p": 0.5}}], **FEATUREWISE}),
    ("splits", KERAS),
    ("splits", {**KERAS, **FEATUREWISE}),
    ("splits", {**KERAS, "only_split": "val"}),
    ("splits", {**KERAS, "only_split": "all"}),
    ("tiny", {"horizontal_flip": True, "zca_whitening": True}),
    ("augmented", KERAS),
    ("deep", {**KERAS, "channel_shift_range": 900}),
    ("floats", KERAS),
    ("floats", [{"RandomBrightnessContrast": {"p": 1}}]),
]


@pytest.mark.parametrize(("name", "said"), CASES, ids=[f"{name}{number}" for number, (name, _) in enumerate(CASES)])
def test_epoch_e_is_copy_e_plus_1(inputs: dict[str, Path], tmp_path: Path, name: str, said: Any) -> None:
    options = dict(said) if isinstance(said, dict) else {"config": said}
    is_still = options.keys() <= {"rescale"}
    patchcli.augment(
        inputs[name], tmp_path / "out.h5", executor="serial", seed=SEED, copies=0 if is_still else 2, **options
    )
    out, ps = patchcli.open(tmp_path / "out.h5"), patchcli.open(inputs[name])
    assert out.origin is not None
    assert out.copy is not None
    made = out[:]
    place = {(row, copy): at for at, (row, copy) in enumerate(zip(out.origin.tolist(), out.copy.tolist(), strict=True))}
    is_copied = {row for row, copy in place if copy == 2}  # not those of the other split
    assert (len(is_copied) == 0) == is_still
    assert (len(is_copied) < len(ps)) == (is_still or (name == "splits" and options.get("only_split") != "all"))
    ds = patchcli.torch.PatchDataset(inputs[name], augment=said, seed=SEED, layout="hwc")
    positions = np.random.default_rng(1).permutation(len(ps))[:300].tolist()
    for epoch in (1, 0):
        ds.set_epoch(epoch)
        expected = made[[place[row, epoch + 1 if row in is_copied else 0] for row in positions]]
        found = torch.stack([x for x, _ in ds.__getitems__(positions)]).numpy()
        assert found.dtype == out.dtype
        np.testing.assert_array_equal(found, expected)
    if not is_still:
        ds.set_epoch(2**31 - 1)
        assert (torch.stack([x for x, _ in ds.__getitems__(positions)]).numpy() != found).any()


def test_subsets_are_augmented_as_the_whole_is(cut_splits: Path) -> None:
    whole = patchcli.torch.PatchDataset(cut_splits, augment={**KERAS, **FEATUREWISE})
    ps = patchcli.open(cut_splits)
    assert ps.split is not None
    for split in ps.splits:
        rows = np.flatnonzero(ps.split == ps.splits.index(split))
        part = patchcli.torch.PatchDataset(cut_splits, split=split, augment={**KERAS, **FEATUREWISE})
        for index in (0, len(part) - 1):
            assert torch.equal(part[index][0], whole[int(rows[index])][0])
    order = [30, 2, 2, 17]
    part = patchcli.torch.PatchDataset(ps.subset(order), augment={**KERAS, **FEATUREWISE})
    assert all(torch.equal(part[at][0], whole[row][0]) for at, row in enumerate(order))


def test_validation_is_not_augmented(cut_splits: Path) -> None:
    val = patchcli.open(cut_splits).subset(split="val")
    ds = patchcli.torch.PatchDataset(cut_splits, split="val", augment=KERAS, layout="hwc")
    for epoch in range(2):
        ds.set_epoch(epoch)
        np.testing.assert_array_equal(torch.stack([x for x, _ in ds.__getitems__(range(len(val)))]).numpy(), val[:])
    train = patchcli.torch.PatchDataset(cut_splits, split="train", augment=KERAS)
    first = torch.stack([x for x, _ in train.__getitems__(range(len(train)))])
    train.set_epoch(1)
    second = torch.stack([x for x, _ in train.__getitems__(range(len(train)))])
    assert (first != second).flatten(1).any(1).float().mean() > 0.8  # some are blank


def test_how_many_copies_changes_nothing(cut: Path) -> None:
    one = patchcli.torch.PatchDataset(cut, augment=KERAS)
    other = patchcli.torch.PatchDataset(cut, augment={**KERAS, "copies": 7, "balance": True, "shard_size": "1MB"})
    assert all(torch.equal(one[index][0], other[index][0]) for index in range(0, 80, 9))


def test_showing_the_same_copies_again_and_again_is_warned_of_once(cut: Path) -> None:
    ps = patchcli.open(cut)
    ds = patchcli.torch.PatchDataset(ps, augment=KERAS)
    for _ in range(2):
        ds.__getitems__(range(len(ds)))
    ds[0]
    with pytest.warns(UserWarning, match="epoch 0 is shown again and again, with the same copies: call set_epoch"):
        ds.__getitems__(range(len(ds)))
    ds.__getitems__(range(len(ds)))
    said = patchcli.torch.PatchDataset(ps, augment=KERAS)
    said.set_epoch(0)  # who says it knows, however many he takes
    for _ in range(4):
        said.__getitems__(range(len(ds)))
    plain = patchcli.torch.PatchDataset(ps, augment={"rescale": "1/255"})
    for _ in range(4):
        plain.__getitems__(range(len(ds)))


FORKED = """
import os, sys, time
import torch
from patchcli.torch import PatchDataset

path = sys.argv[1]
first = PatchDataset(path)
children = []
for rank in range(2):
    child = os.fork()
    if not child:
        own = PatchDataset(path)
        own.set_epoch(rank + 5)
        time.sleep(0.5)
        os._exit(own.epoch)
    children.append(child)
assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [5, 6]
assert (first.epoch, PatchDataset(path).epoch) == (0, 0)
with torch.inference_mode():
    made = PatchDataset(path)
made.set_epoch(3)
assert (made.epoch, PatchDataset(path).epoch) == (3, 0)
many = [PatchDataset(path) for _ in range(200)]
many[7].set_epoch(9)
assert sum(one.epoch for one in many) == 9
assert len(os.listdir("/proc/self/fd")) < 40
"""


def test_data_sets_of_forked_ranks_are_their_own(cut: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FORKED, cut], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_several_indices_are_a_batch(cut: Path) -> None:
    ds = patchcli.torch.PatchDataset(cut)
    for several in ([3, 1, 1], np.array([3, 1, 1]), torch.tensor([3, 1, 1])):
        x, y = ds[several]
        assert torch.equal(x, torch.stack([ds[3][0], ds[1][0], ds[1][0]]))
        assert y.tolist() == [ds[3][1], ds[1][1], ds[1][1]]
    for wrong in ([True, False], torch.zeros(3, dtype=torch.bool), [], slice(3), [1.5], [[1, 2]], "1"):
        with pytest.raises(TypeError, match="indexed by numbers and lists of numbers"):
            ds[wrong]
    batches = torch.utils.data.BatchSampler(range(len(ds)), 7, drop_last=False)
    loader = torch.utils.data.DataLoader(ds, sampler=batches, batch_size=None)
    assert sum(len(y) for _, y in loader) == len(ds)


@pytest.mark.filterwarnings("ignore:epoch 0 is shown again")
@pytest.mark.parametrize("augment", [KERAS, CONFIGS / "histology.yaml"], ids=["keras", "albumentations"])
@pytest.mark.parametrize("kind", ["shards", "compressed"])
def test_threads_read_as_one_does(sharded: Path, cut_sharded: Path, kind: str, augment: object) -> None:
    ds = patchcli.torch.PatchDataset(sharded if kind == "shards" else cut_sharded, augment=augment)
    asked = [np.random.default_rng(number).integers(0, len(ds), 12).tolist() for number in range(40)]

    def read(indices: list[int]) -> Any:
        return torch.stack([x for x, _ in ds.__getitems__(indices)])

    alone = [read(indices) for indices in asked]
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(*pair) for pair in zip(pool.map(read, asked), alone, strict=True))


@pytest.mark.parametrize(
    "augment",
    [None, KERAS, {**KERAS, **FEATUREWISE}, "histology.yaml", "keras.yaml", "photos.yaml"],
    ids=["nothing", "keras", "featurewise", "histology", "options of a file", "photos"],
)
def test_pickled_and_copied(cut_splits: Path, augment: Any) -> None:
    said = CONFIGS / augment if isinstance(augment, str) else augment
    ds = patchcli.torch.PatchDataset(cut_splits, split="train", augment=said, seed=SEED)
    ds.set_epoch(2)
    others = [pickle.loads(pickle.dumps(ds, protocol)) for protocol in (2, pickle.HIGHEST_PROTOCOL)]
    others.append(copy.deepcopy(ds))
    expected = torch.stack([x for x, _ in ds.__getitems__(range(9))])
    for other in others:
        assert (other.epoch, len(other)) == (2, len(ds))
        assert torch.equal(torch.stack([x for x, _ in other.__getitems__(range(9))]), expected)
        other.set_epoch(5)
        assert ds.epoch == 2


# What is wrong


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layout": "nchw"}, "layout is 'nchw'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 1.5}, r"seed is 1\.5"),
        ({"split": "train"}, "the data set has no splits"),
        ({"augment": {"rotation_rang": 20}}, "did you mean rotation_range"),
        ({"augment": {**KERAS, "seed": 3}}, "seed is 0, and 3"),
        ({"augment": {**KERAS, "config": ["HorizontalFlip"]}}, "Keras' ranges"),
        ({"augment": {**KERAS, "only_split": "train"}}, "no split 'train'"),
        ({"augment": [{"HorizontalFlop": {}}]}, "HorizontalFlop"),
        ({"augment": "none.yaml"}, "none.yaml"),
        ({"augment": 3}, "a pipeline is a list"),
        ({"augment": []}, "nothing to do"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_at_once(cut: Path, options: dict[str, Any], said: str) -> None:
    for kind in (patchcli.torch.PatchDataset, patchcli.torch.PatchIterable):
        with pytest.raises(UsageError, match=said):
            kind(cut, **options)


def test_seed_of_a_file(cut: Path, tmp_path: Path) -> None:
    (tmp_path / "aug.yaml").write_text("rotation_range: 20\nseed: 7\n")
    with pytest.raises(UsageError, match="seed is 0, and 7"):
        patchcli.torch.PatchDataset(cut, augment=tmp_path / "aug.yaml")
    one = patchcli.torch.PatchDataset(cut, augment=tmp_path / "aug.yaml", seed=7)
    other = patchcli.torch.PatchDataset(cut, augment={"rotation_range": 20}, seed=7)
    assert torch.equal(one[0][0], other[0][0])


@pytest.mark.parametrize("index", [80, -81, 10**6])
def test_no_such_patch(cut: Path, index: int) -> None:
    ds = patchcli.torch.PatchDataset(cut)
    with pytest.raises(IndexError, match="out of range for 80 patches"):
        ds[index]
    with pytest.raises(IndexError, match="out of range for 80 patches"):
        ds.__getitems__([0, index])


@pytest.mark.parametrize("index", [1.5, "a", slice(0, 2), None])
def test_no_index(cut: Path, index: Any) -> None:
    ds = patchcli.torch.PatchDataset(cut)
    with pytest.raises(TypeError):
        ds[index]
    with pytest.raises(TypeError):
        ds.__getitems__([index])


@pytest.mark.parametrize("epoch", [-1, 1.5, None, 2**31])
def test_no_epoch(cut: Path, epoch: Any) -> None:
    for one in (patchcli.torch.PatchDataset(cut), patchcli.torch.PatchIterable(cut)):
        with pytest.raises(UsageError, match="epoch is"):
            one.set_epoch(epoch)
        assert one.epoch == 0


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("augment", [None, KERAS], ids=["plain", "augmented"])
def test_a_truncated_shard_is_named(root: Path, tmp_path: Path, compression: Any, augment: Any) -> None:
    patchcli.extract(root, tmp_path / "in.h5", patch=32, executor="serial", shard_size="70kB", compression=compression)
    victim = sorted((tmp_path / "in.shards").iterdir())[1]
    content = victim.read_bytes()
    ds = patchcli.torch.PatchDataset(tmp_path / "in.h5", augment=augment)
    ds[0]
    victim.write_bytes(content[:900])
    with pytest.raises(DamagedFile, match=victim.name):
        list(torch.utils.data.DataLoader(ds, batch_size=16))
    with pytest.raises(DamagedFile, match=victim.name):
        list(patchcli.torch.PatchIterable(tmp_path / "in.h5", augment=augment, batch_size=16))
    victim.write_bytes(content)
    assert len(list(torch.utils.data.DataLoader(ds, batch_size=16))) == 5


def test_a_flipped_bit_is_found(root: Path, tmp_path: Path) -> None:
    patchcli.extract(root, tmp_path / "in.h5", patch=32, executor="serial")
    ds = patchcli.torch.PatchDataset(tmp_path / "in.h5")
    content = bytearray((tmp_path / "in.h5").read_bytes())
    content[content.index(ds.patches[40].tobytes()) + 7] ^= 4
    (tmp_path / "in.h5").write_bytes(content)
    with pytest.raises(DamagedFile, match="not as it was written"):
        list(torch.utils.data.DataLoader(ds, batch_size=16))


# Class weights


def test_class_weights(cut_splits: Path, sharded: Path) -> None:
    for path in (cut_splits, sharded):
        ps = patchcli.open(path)
        counts = np.bincount(ps.labels)
        expected = len(ps) / (len(counts) * counts)  # sklearn.utils.class_weight, "balanced"
        for source in (path, ps, patchcli.torch.PatchDataset(ps), patchcli.torch.PatchIterable(ps)):
            weights = patchcli.torch.class_weights(source)
            assert weights.dtype == torch.float32
            np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)


def test_class_weights_of_classes_without_patches(sharded: Path) -> None:
    ps = patchcli.open(sharded)
    part = ps.subset(np.flatnonzero(ps.labels != 1))
    counts = np.bincount(part.labels)
    expected = [len(part) / (2 * counts[0]), 0, len(part) / (2 * counts[2])]
    np.testing.assert_allclose(patchcli.torch.class_weights(part).numpy(), expected, rtol=1e-6)
    loss = torch.nn.CrossEntropyLoss(weight=patchcli.torch.class_weights(part))
    assert torch.isfinite(loss(torch.zeros(4, 3), torch.tensor([0, 0, 2, 0])))
