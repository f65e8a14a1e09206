"""Augment through Python, end to end on real images: which copies, of what, with which pixels, whatever the storage."""

from __future__ import annotations

import os
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from photos import by_identity, bytes_of, copied, crops, leftovers, retyped, shards, table

import patchcli
from patchcli.errors import DamagedFile, OutputConflict, UsageError

KERAS: dict[str, Any] = {
    "rotation_range": 25,
    "width_shift_range": 0.1,
    "zoom_range": 0.2,
    "channel_shift_range": 12,
    "horizontal_flip": True,
    "fill_mode": "reflect",
}
PIPELINE: list[Any] = [
    {"HorizontalFlip": {"p": 0.5}},
    {"OneOf": {"p": 0.7, "transforms": [{"GaussNoise": {}}, {"Blur": {"p": 0.2}}]}},
    {"RandomBrightnessContrast": {"p": 0.8}},
    {"Keras": {"rotation_range": 10}},
]
SHARDED: dict[str, Any] = {**KERAS, "copies": 3, "seed": 5, "shard_size": "220kB"}
TABLES = ("labels", "coords", "source", "digest", "origin", "copy")


@pytest.fixture(scope="module")
def made(cut: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "out.h5"
    summary = patchcli.augment(cut, out, executor="serial", **SHARDED)
    assert summary.state == "made"
    assert summary.shards >= 4
    return out


def augmented(src: Path, out: Path, **options: Any) -> Path:
    patchcli.augment(src, out, executor="serial", **options)
    return out


# Same bytes, restarts, conflicts


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_bytes_do_not_depend_on_who_works(cut: Path, made: Path, tmp_path: Path, workers: int) -> None:
    patchcli.augment(cut, tmp_path / "out.h5", workers=workers, **SHARDED)
    assert bytes_of(tmp_path / "out.h5") == bytes_of(made)
    assert leftovers(tmp_path) == []


@pytest.mark.slow
def test_workers_give_the_same_bytes_with_albumentations_too(cut: Path, tmp_path: Path) -> None:
    for name, more in (("serial", {"executor": "serial"}), ("process", {"workers": 2})):
        (tmp_path / name).mkdir()
        done = patchcli.augment(cut, tmp_path / name / "o.h5", config=PIPELINE, copies=2, shard_size="200kB", **more)
        assert done.shards > 2
    assert bytes_of(tmp_path / "serial/o.h5") == bytes_of(tmp_path / "process/o.h5")


def test_the_same_command_again_touches_nothing(cut: Path, made: Path, tmp_path: Path) -> None:
    out = copied(made, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in [out, *shards(out)]}
    again = patchcli.augment(cut, out, executor="serial", **SHARDED)
    assert (again.state, again.shards_kept) == ("already done", again.shards)
    assert {path: path.stat().st_mtime_ns for path in [out, *shards(out)]} == before


def test_bytes_do_not_depend_on_place_or_time(cut: Path, made: Path, tmp_path: Path) -> None:
    time.sleep(1.1)
    elsewhere = tmp_path / "a very different place"
    elsewhere.mkdir()
    shutil.copy(cut, elsewhere / "other name.h5")
    (elsewhere / "out.h5").symlink_to(tmp_path / "out.h5")
    augmented(elsewhere / "other name.h5", elsewhere / "out.h5", **SHARDED)
    assert (elsewhere / "out.h5").is_symlink()
    assert bytes_of(tmp_path / "out.h5") == bytes_of(made)


def test_names_of_any_bytes(root: Path, tmp_path: Path) -> None:
    folders = [b"\xff\xfe", "\u00e4 b\nc".encode()]
    for folder, name in zip(folders, (b"\xfd.png", b"a\n.png"), strict=True):
        place = tmp_path / "data" / os.fsdecode(folder)
        place.mkdir(parents=True)
        shutil.copy(root / "grass/1.png", place / os.fsdecode(name))
    patchcli.extract(tmp_path / "data", tmp_path / "in.h5", patch=32, executor="serial")
    for number, size in enumerate(("1GB", "20kB")):
        done = patchcli.augment(tmp_path / "in.h5", tmp_path / f"{number}.h5", workers=2, shard_size=size, **KERAS)
        src, out = patchcli.open(tmp_path / "in.h5"), patchcli.open(tmp_path / f"{number}.h5")
        assert (out.classes, out.sources.path) == (src.classes, src.sources.path)
        assert [one.name for one in done.classes] == ["\u00e4 b\\x0ac", "\\xff\\xfe"]
    assert by_identity(tmp_path / "0.h5") == by_identity(tmp_path / "1.h5")


@pytest.mark.parametrize("damage", ["deleted", "flipped pixel", "flipped metadata", "truncated", "swapped", "no index"])
def test_restart_mends_exactly_what_is_damaged(cut: Path, made: Path, tmp_path: Path, damage: str) -> None:
    out = copied(made, tmp_path)
    victim, other = (out, out) if damage == "no index" else shards(out)[1:3]
    content = bytearray(victim.read_bytes())
    victim.unlink()
    if damage == "swapped":
        victim.write_bytes(other.read_bytes())
    elif damage not in ("deleted", "no index"):
        at = {"flipped pixel": 100_000, "flipped metadata": len(content) - 40}.get(damage, 0)
        content[at] ^= 4 * damage.startswith("flipped")
        victim.write_bytes(content[: -5000 if damage == "truncated" else None])
    before = {path: path.stat().st_mtime_ns for path in [out, *shards(out)] if path != victim and path.exists()}
    done = patchcli.augment(cut, out, executor="serial", **SHARDED)
    assert done.state == "made"
    assert done.shards_kept == done.shards - (damage != "no index")
    assert bytes_of(out) == bytes_of(made)
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 6}, "seed"),
        ({"rotation_range": 26}, "rotation_range"),
        ({"copies": 4}, "copies"),
        ({"keep_original": False}, "keep_original"),
        ({"balance": True}, "balance"),
        ({"rescale": "1/255"}, "rescale"),
        ({"shard_size": "100kB"}, "shard_size"),
        ({"compression": "gzip"}, "compression"),
    ],
)
def test_other_settings_are_refused_by_name_until_overwritten(
    cut: Path, made: Path, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    out = copied(made, tmp_path)
    with pytest.raises(OutputConflict, match=named):
        patchcli.augment(cut, out, executor="serial", **{**SHARDED, **change})
    assert bytes_of(out) == bytes_of(made)
    patchcli.augment(cut, out, executor="serial", overwrite=True, **{**SHARDED, **change})
    (tmp_path / "fresh").mkdir()
    fresh = augmented(cut, tmp_path / "fresh/out.h5", **{**SHARDED, **change})
    assert bytes_of(out) == bytes_of(fresh)


def test_another_input_is_refused(cut: Path, root: Path, made: Path, tmp_path: Path) -> None:
    out = copied(made, tmp_path)
    other = tmp_path / "other.h5"
    patchcli.extract(root, other, patch=32, stride=31, executor="serial")
    with pytest.raises(OutputConflict, match="stride"):
        patchcli.augment(other, out, executor="serial", **SHARDED)
    changed = retyped(cut, tmp_path / "changed.h5", lambda patches: patches ^ 1)
    with pytest.raises(OutputConflict, match="changed"):
        patchcli.augment(changed, out, executor="serial", **SHARDED)
    assert bytes_of(out) == bytes_of(made)


def test_the_input_is_never_the_output(cut: Path, cut_sharded: Path, tmp_path: Path) -> None:
    before = bytes_of(cut), bytes_of(cut_sharded)
    link = tmp_path / "link.h5"
    link.symlink_to(cut)
    shard = shards(cut_sharded)[0]
    for src, out in ((cut, cut), (link, cut), (cut, link), (cut_sharded, cut_sharded), (shard, shard)):
        with pytest.raises(UsageError, match="another file"):
            patchcli.augment(src, out, executor="serial", overwrite=True, **KERAS)
    with pytest.raises(UsageError, match="another file"):
        patchcli.augment(shard, cut_sharded, executor="serial", overwrite=True, **KERAS)
    assert (bytes_of(cut), bytes_of(cut_sharded)) == before


@pytest.mark.parametrize("executor", ["serial", "process"])
def test_a_damaged_input_is_named_and_nothing_is_made(cut_sharded: Path, tmp_path: Path, executor: Any) -> None:
    root = cut_sharded.parent / "data"
    src = tmp_path / "in.h5"
    patchcli.extract(root, src, patch=32, executor="serial", shard_size="70kB")
    starts = table(src, "shards/row_start").tolist()
    victim = shards(src)[1]
    content = bytearray(victim.read_bytes())
    pixel = patchcli.open(src)[starts[1] + 2].tobytes()
    at = content.index(pixel)
    content[at + 7] ^= 16
    victim.write_bytes(content)
    with pytest.raises(DamagedFile) as caught:
        patchcli.augment(src, tmp_path / "out.h5", executor=executor, workers=None, **KERAS)
    assert victim.name in str(caught.value)
    assert "patch 2 " in f"{caught.value} "
    victim.unlink()
    with pytest.raises(DamagedFile, match=victim.name):
        patchcli.augment(src, tmp_path / "out.h5", executor=executor, **KERAS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5", "in.shards"]


def test_no_input_and_no_patchcli_file(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("not HDF5")
    for name in ("none.h5", "text.h5"):
        with pytest.raises(DamagedFile, match=name):
            patchcli.augment(tmp_path / name, tmp_path / "out.h5", executor="serial", **KERAS)
    assert not (tmp_path / "out.h5").exists()


# What a copy is depends on what it is a copy of, and on nothing else


def test_storage_makes_no_difference_patch_by_patch(cut: Path, cut_sharded: Path, made: Path, tmp_path: Path) -> None:
    expected = {name: table(made, name) for name in TABLES}
    ways: list[tuple[Path, dict[str, Any]]] = [
        (cut, {"shard_size": "1GB"}),
        (cut, {"shard_size": "90kB"}),
        (cut, {"compression": "gzip"}),
        (cut_sharded, {"compression": "zstd"}),
        (cut_sharded, {"shard_size": "40kB", "compression": "lzf"}),
    ]
    for number, (src, more) in enumerate(ways):
        out = augmented(src, tmp_path / f"{number}.h5", **{**SHARDED, **more})
        for name in TABLES:
            np.testing.assert_array_equal(table(out, name), expected[name])
        assert (patchcli.open(out)[:] == patchcli.open(made)[:]).all()


def test_a_shard_alone_gives_the_copies_of_its_patches(cut_sharded: Path, made: Path, tmp_path: Path) -> None:
    whole = by_identity(made)
    part = by_identity(augmented(shards(cut_sharded)[1], tmp_path / "part.h5", **SHARDED))
    assert 0 < len(part) < len(whole)
    assert part.items() <= whole.items()


def test_more_images_and_another_order_change_no_copy(root: Path, made: Path, tmp_path: Path) -> None:
    whole = by_identity(made)
    more = crops(tmp_path / "data", per_class=3, size=(128, 96))
    patchcli.extract(more, tmp_path / "more.h5", patch=32, executor="serial")
    assert whole.items() < by_identity(augmented(tmp_path / "more.h5", tmp_path / "o1.h5", **SHARDED)).items()
    patchcli.extract(root, tmp_path / "mixed.h5", patch=32, executor="serial", shuffle=True, seed=3)
    mixed = augmented(tmp_path / "mixed.h5", tmp_path / "o2.h5", **SHARDED)
    assert (table(mixed, "labels") != table(made, "labels")).any()
    assert by_identity(mixed) == whole


def test_more_copies_keep_the_first_ones(cut: Path, made: Path, tmp_path: Path) -> None:
    more = augmented(cut, tmp_path / "more.h5", **{**SHARDED, "copies": 5, "keep_original": False})
    kept = {key: digest for key, digest in by_identity(made).items() if key[-1] > 0}
    assert kept.items() < by_identity(more).items()


def test_seeds_and_copies_differ(cut: Path, made: Path, tmp_path: Path) -> None:
    other = by_identity(augmented(cut, tmp_path / "o.h5", **{**SHARDED, "seed": 6}))
    whole = by_identity(made)
    changed = [key for key in whole if whole[key] != other[key]]
    assert all(key[-1] > 0 for key in changed)
    assert len(changed) > 0.7 * sum(key[-1] > 0 for key in whole)  # a black patch stays black
    patches = patchcli.open(made)[:].reshape(80, 4, -1)
    lively = patches[patches[:, 0].std(axis=1) > 10]
    for first in range(4):
        for second in range(first):
            assert (lively[:, first] != lively[:, second]).any(axis=1).all()


@pytest.mark.parametrize(
    "options",
    [
        KERAS,
        {"config": PIPELINE},
        {**KERAS, "rescale": "1/255", "samplewise_center": True},
        {"config": PIPELINE, "featurewise_std_normalization": True},
        {"rotation_range": 9, "featurewise_center": True, "samplewise_std_normalization": True},
    ],
    ids=["keras", "pipeline", "own", "features", "both"],
)
def test_one_copy_alone(cut: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    out = patchcli.open(augmented(cut, tmp_path / "o.h5", copies=2, seed=3, **options))
    alone = patchcli.Augmented(cut, seed=3, **options)
    assert len(alone) == 80
    origin, copy = table(tmp_path / "o.h5", "origin"), table(tmp_path / "o.h5", "copy")
    for row in [*range(239, 0, -17), 0, 1, 2]:
        one = alone.copy(int(origin[row]), int(copy[row]))
        assert one.dtype == out.dtype
        np.testing.assert_array_equal(one, out[row])
    with pytest.raises(IndexError):
        alone.copy(80, 1)


def test_flips_are_independent_and_fair(tmp_path: Path) -> None:
    """albumentations' own seeding draws both flips or neither."""
    crops(tmp_path / "data", per_class=2, size=(128, 96))
    patchcli.extract(tmp_path / "data", tmp_path / "in.h5", patch=16, executor="serial")
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    src = retyped(tmp_path / "in.h5", tmp_path / "ramp.h5", lambda patches: np.zeros_like(patches) + ramp[:, :, None])
    ways: tuple[dict[str, Any], ...] = (
        {"horizontal_flip": True, "vertical_flip": True},
        {"config": ["HorizontalFlip", "VerticalFlip"]},
    )
    for number, way in enumerate(ways):
        out = augmented(src, tmp_path / f"{number}.h5", copies=8, keep_original=False, seed=1, **way)
        patches = patchcli.open(out)[:]
        n = len(patches)
        assert n > 2500
        first = patches[:, 0, 0, 0]
        counts = [int((first == corner).sum()) for corner in (0, 15, 240, 255)]
        assert sum(counts) == n
        assert max(abs(count - n / 4) for count in counts) < 4 * (n * 3 / 16) ** 0.5


def test_equal_transforms_draw_unequal_values(cut: Path, tmp_path: Path) -> None:
    """Equal draws would add up to twice the spread of one; drawn apart they spread as a sum does."""
    grey = np.full((32, 32, 3), 100, np.uint8)
    grey[-1, :2] = [[0], [255]]  # a shift stays within what the patch holds, as in Keras
    src = retyped(cut, tmp_path / "grey.h5", lambda patches: np.zeros_like(patches) + grey)
    shift = {"Keras": {"channel_shift_range": 20}}
    levels = {}
    for n, config in ((1, [shift]), (2, [shift, shift])):
        out = augmented(src, tmp_path / f"{n}.h5", config=config, copies=30, keep_original=False)
        levels[n] = patchcli.open(out)[:][:, 0, 0, 0].astype(float) - 100
    assert abs(levels[1].mean()) < 1
    assert abs(levels[1].std() / (40 / 12**0.5) - 1) < 0.06
    assert np.histogram(levels[1], 8, (-20, 20))[0].min() > 0.8 * 2400 / 8
    assert abs(levels[2].std() / levels[1].std() / 2**0.5 - 1) < 0.06  # equal draws: 2, not 1.41


# What stands in the tables


def test_tables_say_what_each_row_is(cut: Path, made: Path) -> None:
    src, out = patchcli.open(cut), patchcli.open(made)
    origin, copy = table(made, "origin"), table(made, "copy")
    assert (origin.dtype, copy.dtype) == (np.dtype("int64"), np.dtype("int16"))
    assert origin.tolist() == np.repeat(np.arange(80), 4).tolist()
    assert copy.tolist() == [0, 1, 2, 3] * 80
    for name in ("labels", "coords", "source"):
        np.testing.assert_array_equal(getattr(out, name), getattr(src, name)[origin])
    assert out.sources.path == src.sources.path
    for name in ("path", "width", "height", "sha256", "label", "group"):
        np.testing.assert_array_equal(table(made, f"sources/{name}"), table(cut, f"sources/{name}"))
    assert (out.classes, out.splits, out.skipped) == (src.classes, src.splits, src.skipped)
    np.testing.assert_array_equal(out.digest[copy == 0], src.digest)
    patches = out[:]
    assert [xxhash.xxh3_64_intdigest(patch.tobytes()) for patch in patches] == out.digest.tolist()
    np.testing.assert_allclose(out.mean, patches.reshape(-1, 3).mean(axis=0))
    start = 0
    for shard in shards(made):
        part = patchcli.open(shard)
        np.testing.assert_array_equal(part[:], patches[start : start + len(part)])
        np.testing.assert_array_equal(table(shard, "origin"), origin[start : start + len(part)])
        paths = [part.sources.path[source] for source in part.source]
        assert paths == [src.sources.path[src.source[row]] for row in table(shard, "origin")]
        start += len(part)
    assert start == len(out)
    said = out.settings["augment"]
    assert (said["seed"], said["copies"], said["input"], said["only_split"]) == (5, 3, src.plan_id, None)
    assert said["pipeline"][0]["Keras"]["rotation_range"] == 25


def test_skipped_files_are_carried_over(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "data")
    (tmp_path / "data/brick/bad.jpg").write_text("<!DOCTYPE html>")
    patchcli.extract(tmp_path / "data", tmp_path / "in.h5", patch=32, executor="serial", on_error="skip")
    src = patchcli.open(tmp_path / "in.h5")
    assert [one.path for one in src.skipped] == [b"brick/bad.jpg"]
    for name, size in (("one.h5", "1GB"), ("some.h5", "100kB")):
        out = augmented(tmp_path / "in.h5", tmp_path / name, shard_size=size, **KERAS)
        assert patchcli.open(out).skipped == src.skipped


def test_augmenting_what_was_augmented(cut: Path, tmp_path: Path) -> None:
    once = augmented(cut, tmp_path / "once.h5", rotation_range=40, copies=2, seed=1)
    twice = augmented(once, tmp_path / "twice.h5", channel_shift_range=50, copies=1, seed=1)
    out, origin, copy = patchcli.open(twice), table(twice, "origin"), table(twice, "copy")
    assert origin.tolist() == np.repeat(np.arange(240), 2).tolist()
    assert copy.tolist() == [0, 1] * 240
    before, after = out[copy == 0].astype(int), out[copy == 1].astype(int)
    middle = (before > 60) & (before < 190)
    shifts = [int(np.median((b - a)[m])) for a, b, m in zip(before, after, middle, strict=True) if m.mean() > 0.2]
    assert len(shifts) > 100
    assert len(set(shifts)) > 40
    said = out.settings["augment"]
    assert (said["pipeline"][0]["Keras"]["channel_shift_range"], said["input"]) == (50, patchcli.open(once).plan_id)
    assert said["before"]["pipeline"][0]["Keras"]["rotation_range"] == 40


def test_equal_copies_of_one_patch_are_augmented_apart(cut: Path, tmp_path: Path) -> None:
    """Half of the flipped copies are not flipped; a second augmentation tells them from each other all the same."""
    once = augmented(cut, tmp_path / "once.h5", horizontal_flip=True, copies=4)
    twice = augmented(once, tmp_path / "twice.h5", channel_shift_range=60, keep_original=False)
    patches = patchcli.open(twice)[:].reshape(80, 5, -1)
    lively = [patch for patch in patches if 60 < patch[0].mean() < 190]
    assert len(lively) > 20
    assert sum(len(np.unique(of_one, axis=0)) for of_one in lively) > 4.7 * len(lively)


# Choices


@pytest.mark.parametrize(("copies", "keep"), [(1, True), (3, False), (2, True)])
def test_copies_and_originals(cut: Path, tmp_path: Path, copies: int, keep: bool) -> None:
    done = patchcli.augment(cut, tmp_path / "o.h5", executor="serial", copies=copies, keep_original=keep, **KERAS)
    assert (done.originals, done.copies, done.patches) == (80 * keep, 80 * copies, 80 * (copies + keep))
    expected = list(range(not keep, copies + 1)) * 80
    assert table(tmp_path / "o.h5", "copy").tolist() == expected


def test_only_train_is_augmented_and_the_rest_passes(cut_splits: Path, tmp_path: Path) -> None:
    src = patchcli.open(cut_splits)
    assert src.split is not None
    assert src.splits == ("train", "val")
    train = src.split == 0
    for keep in (True, False):
        out = augmented(cut_splits, tmp_path / f"{keep}.h5", copies=2, keep_original=keep, **KERAS)
        ps, origin, copy = patchcli.open(out), table(out, "origin"), table(out, "copy")
        assert ps.splits == src.splits
        np.testing.assert_array_equal(ps.split, src.split[origin])
        passed = ~train[origin]
        assert (copy[passed] == 0).all()
        np.testing.assert_array_equal(origin[passed], np.flatnonzero(~train))
        np.testing.assert_array_equal(ps.digest[passed], src.digest[~train])
        np.testing.assert_array_equal(ps.subset(split="val")[:], src.subset(split="val")[:])
        assert sorted(np.unique(copy[~passed])) == list(range(not keep, 3))
        assert ps.settings["augment"]["only_split"] == "train"


def test_other_splits_on_demand(cut_splits: Path, cut: Path, tmp_path: Path) -> None:
    src = patchcli.open(cut_splits)
    assert src.split is not None
    for name, chosen in (("val", src.split == 1), ("all", src.split >= 0)):
        done = patchcli.augment(cut_splits, tmp_path / f"{name}.h5", executor="serial", only_split=name, **KERAS)
        assert (done.copies, done.originals) == (chosen.sum(), len(src))
        assert chosen[table(tmp_path / f"{name}.h5", "origin")[table(tmp_path / f"{name}.h5", "copy") > 0]].all()
    with pytest.raises(UsageError, match=r"no split 'test'.*train, val"):
        patchcli.augment(cut_splits, tmp_path / "o.h5", only_split="test", **KERAS)
    with pytest.raises(UsageError, match="no splits"):
        patchcli.augment(cut, tmp_path / "o.h5", only_split="train", **KERAS)
    assert patchcli.augment(cut, tmp_path / "o.h5", executor="serial", only_split="all", **KERAS).copies == 80


def test_balance_on_real_classes(cut_splits: Path, tmp_path: Path) -> None:
    for keep in (True, False):
        done = patchcli.augment(
            cut_splits, tmp_path / f"{keep}.h5", executor="serial", balance=True, copies=2, keep_original=keep, **KERAS
        )
        ps = patchcli.open(tmp_path / f"{keep}.h5")
        train = patchcli.open(cut_splits).subset(split="train").class_counts()
        assert len(set(train.values())) > 1
        assert set(ps.subset(split="train").class_counts().values()) == {max(train.values()) * (2 + keep)}
        assert ps.subset(split="val").class_counts() == patchcli.open(cut_splits).subset(split="val").class_counts()
        assert done.balance
    zero = patchcli.augment(cut_splits, tmp_path / "0.h5", executor="serial", balance=True, copies=0, **KERAS)
    assert [min(one.copies) for one in zero.classes].count(0) == 1  # the largest class has none
    assert len({one.copies for one in zero.classes}) > 1


def _at(ranks: list[int], numbers: list[int], rows: Any) -> list[int]:
    return [ranks[numbers[row]] for row in rows.tolist()]


@hypothesis_settings(max_examples=60)
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any),
    passing=st.lists(st.integers(0, 4), max_size=4),
    copies=st.integers(0, 4),
    keep=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
    order=st.randoms(use_true_random=False),
)
def test_balance_follows_its_rule(
    counts: list[int], passing: list[int], copies: int, keep: bool, seed: int, order: Any
) -> None:
    """Against the rule, read aloud: as many patches in every class, as many copies of each patch but for one."""
    from patchcli.copies import AugmentSpec, plan_copies

    if not copies and not keep:
        return
    spec = AugmentSpec.of(rotation_range=1, copies=copies, keep_original=keep, balance=True, seed=seed)
    rows = [(label, True) for label, count in enumerate(counts) for _ in range(count)]
    rows += [(label % len(counts), False) for label in passing]
    ranks = [order.randrange(2**63) for _ in rows]
    planned: list[dict[int, int]] = []
    for numbers in (list(range(len(rows))), order.sample(range(len(rows)), len(rows))):
        labels = np.array([rows[number][0] for number in numbers])
        chosen = np.array([rows[number][1] for number in numbers], bool)
        of_rows = partial(_at, ranks, numbers)
        found = plan_copies(spec, labels, chosen, of_rows)
        of_each: dict[int, list[int]] = {row: [] for row in range(len(rows))}
        for origin, copy in zip(found.origin.tolist(), found.copy.tolist(), strict=True):
            of_each[origin].append(copy)
        assert sorted(found.origin.tolist()) == found.origin.tolist()
        for row, made_of in of_each.items():
            first = 0 if keep or not chosen[row] else 1
            assert made_of == list(range(first, first + len(made_of)))
            assert chosen[row] or made_of == [0]
        for label, count in enumerate(counts):
            n_copies = [len(of_each[row]) for row in range(len(rows)) if chosen[row] and labels[row] == label]
            assert sum(n_copies) == (max(counts) * (copies + keep) if count else 0)
            assert not n_copies or max(n_copies) - min(n_copies) <= 1
        planned.append({numbers[row]: len(made_of) for row, made_of in of_each.items()})
    assert planned[0] == planned[1]


def test_balance_of_equal_patches_does_not_depend_on_their_order(root: Path, tmp_path: Path) -> None:
    """Blank tiles: equal digests tell no patch from another."""
    for label, names in {"rare": "abc", "often": "defghijk"}.items():
        (tmp_path / "data" / label).mkdir(parents=True)
        for name in names:
            shutil.copy(root / "grass/1.png", tmp_path / "data" / label / f"{name}.png")
    found = []
    for seed in range(4):
        src = tmp_path / f"{seed}.h5"
        patchcli.extract(tmp_path / "data", src, patch=64, executor="serial", shuffle=seed > 0, seed=seed)
        found.append(by_identity(augmented(src, tmp_path / f"o{seed}.h5", balance=True, **KERAS)))
    assert all(one == found[0] for one in found)


def test_real_sets(shared_data: Path, tmp_path: Path) -> None:
    for name in ("histology", "microscopy", "wbc"):
        if not (shared_data / name / "data").is_dir():
            continue
        src = tmp_path / f"{name}.h5"
        patchcli.extract(shared_data / name / "data", src, patch=64, overlap=0, executor="serial", on_error="skip")
        ps = patchcli.open(src)
        out = augmented(src, tmp_path / f"{name}-out.h5", copies=1, balance=True, **KERAS)
        counts = [count for count in patchcli.open(out).class_counts().values() if count]
        assert set(counts) == {2 * max(ps.class_counts().values())}
        np.testing.assert_array_equal(patchcli.open(out).digest[table(out, "copy") == 0], ps.digest)
