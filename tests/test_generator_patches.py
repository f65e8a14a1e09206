"""The generator over real patches: what `extract` and `augment` make, from folders, arrays and data sets."""

from __future__ import annotations

import importlib
import itertools
import pickle
import shutil
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from demo_images import packaged
from photos import crops, retyped
from PIL import Image as Pillow

import patchcli
from patchcli.errors import DamagedFile, PatchcliError, UnreadableInputs, UsageError

Array = npt.NDArray[Any]
Make = Callable[..., Any]
Place = tuple[str, int, int]

MOVED: dict[str, Any] = {
    "rotation_range": 30,
    "width_shift_range": 0.1,
    "height_shift_range": 0.2,
    "shear_range": 5,
    "zoom_range": 0.2,
    "channel_shift_range": 20,
    "brightness_range": (0.7, 1.3),
    "fill_mode": "reflect",
    "horizontal_flip": True,
    "vertical_flip": True,
}


@pytest.fixture
def make(keras: Any) -> Make:
    """Makes a PatchImageDataGenerator; patches of 32 px when nothing else is said."""
    module = importlib.import_module("patchcli.keras")
    return lambda **options: module.PatchImageDataGenerator(**{"patch_size": 32} | options)


@pytest.fixture(scope="session")
def cut_rgb(root: Path) -> Path:
    """The patches of 32 px of `root`, all in colour."""
    patchcli.extract(root, root.parent / "rgb.h5", patch=32, mode="rgb", executor="serial")
    return root.parent / "rgb.h5"


def epoch_of(flow: Any) -> list[Any]:
    """All batches of an epoch, in order."""
    return [flow[k] for k in range(len(flow))]


def images_of(flow: Any) -> Array:
    return np.concatenate([batch[0] if isinstance(batch, tuple) else batch for batch in epoch_of(flow)])


def places(flow: Any) -> list[Place]:
    """Image, x and y of each patch of a flow, in the order of its tables."""
    assert len(flow.filenames) == len(flow.coords) == len(flow.classes) == flow.n
    return [(name, *xy) for name, xy in zip(flow.filenames, flow.coords.tolist(), strict=True)]


def places_in(ps: patchcli.PatchSet) -> list[Place]:
    return [
        (ps.sources.path[source].decode(), x, y) for source, (x, y) in zip(ps.source, ps.coords.tolist(), strict=True)
    ]


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(np.array_equal(one, other))


def all_equal(ones: list[Any], others: list[Any]) -> bool:
    return len(ones) == len(others) and all(map(equal, ones, others))


def assert_same_patches(flow: Any, ps: patchcli.PatchSet) -> None:
    """That an unshuffled flow shows the patches of a data set, each with its label."""
    found = dict(zip(places(flow), zip(images_of(flow), flow.classes, strict=True), strict=True))
    expected = dict(zip(places_in(ps), zip(ps, ps.labels, strict=True), strict=True))
    assert len(found) == flow.n == len(ps)
    assert found.keys() == expected.keys()
    for place, (patch, label) in expected.items():
        shown, its_label = found[place]
        assert its_label == label, place
        np.testing.assert_array_equal(shown, patch.astype(np.float32), err_msg=str(place))


# --- which patches


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "half": {"overlap": 0.5},
    "overlap in px": {"overlap": 9},
    "gaps": {"stride": 45},
    "shift": {"edge": "shift", "stride": 27},
    "pad": {"edge": "pad", "pad_value": 7},
    "reflect": {"edge": "reflect", "overlap": 0.25},
    "larger than every image": {"edge": "pad"},
}


@pytest.mark.parametrize("way", SETTINGS)
def test_patches_are_those_of_extract(make: Make, root: Path, tmp_path: Path, way: str) -> None:
    size = 150 if way == "larger than every image" else 40
    patchcli.extract(root, tmp_path / "o.h5", patch=size, mode="rgb", executor="serial", **SETTINGS[way])
    flow = make(patch_size=size, **SETTINGS[way]).flow_from_directory(
        root, class_mode="sparse", shuffle=False, batch_size=7
    )
    assert flow.image_shape == (size, size, 3)
    ps = patchcli.open(tmp_path / "o.h5")
    assert flow.class_indices == {name: number for number, name in enumerate(ps.classes)}
    assert_same_patches(flow, ps)
    assert np.concatenate([y for _, y in epoch_of(flow)]).tolist() == flow.classes.tolist()


def test_rectangles_are_width_by_height_as_for_extract(make: Make, root: Path, tmp_path: Path) -> None:
    patchcli.extract(root, tmp_path / "o.h5", patch="48x20", stride="30x10", mode="rgb", executor="serial")
    flow = make(patch_size=(48, 20), stride=(30, 10)).flow_from_directory(root, shuffle=False)
    assert flow.image_shape == (20, 48, 3)
    assert_same_patches(flow, patchcli.open(tmp_path / "o.h5"))


def test_strange_images_come_as_extract_reads_them(make: Make, tree: Any, tmp_path: Path) -> None:
    root = tree("a/rgb.png", "b/photo.jpg", "b/deep/er/scan.tif")
    for number, mode in enumerate(("1", "L", "LA", "P", "RGBA", "CMYK")):
        tree(f"{'ab'[number % 2]}/{mode}.{'tif' if mode == 'CMYK' else 'png'}", mode=mode, size=(50, 41))
    tree("a/small.png", size=(9, 90))
    turned = Pillow.open(root / "a" / "rgb.png")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(root / "b" / "turned.jpg", exif=exif)
    (root / "a" / "notes.txt").write_text("no image")
    options: dict[str, Any] = {"overlap": 0.5, "background": "black"}
    patchcli.extract(root, tmp_path / "o.h5", patch=16, mode="rgb", executor="serial", **options)
    flow = make(patch_size=16, **options).flow_from_directory(root, shuffle=False)
    assert_same_patches(flow, patchcli.open(tmp_path / "o.h5"))
    assert "a/small.png" not in flow.filenames


@pytest.mark.parametrize(("color_mode", "mode", "channels"), [("grayscale", "gray", 1), ("rgba", "rgba", 4)])
def test_colour_modes_are_those_of_extract(
    make: Make, tree: Any, tmp_path: Path, color_mode: str, mode: str, channels: int
) -> None:
    root = tree("a/1.png", "b/2.jpg")
    tree("a/3.png", mode="RGBA")
    tree("b/4.png", mode="L")
    patchcli.extract(root, tmp_path / "o.h5", patch=16, mode=mode, executor="serial")  # type: ignore[arg-type]
    flow = make(patch_size=16).flow_from_directory(root, shuffle=False, color_mode=color_mode)
    assert flow.image_shape == (16, 16, channels)
    assert_same_patches(flow, patchcli.open(tmp_path / "o.h5"))


def test_shuffled_epochs_show_each_patch_once_with_its_label(make: Make, root: Path, cut_rgb: Path) -> None:
    ps = patchcli.open(cut_rgb)
    in_rows = [(patch.astype(np.float32).tobytes(), int(label)) for patch, label in zip(ps, ps.labels, strict=True)]
    flow = make().flow_from_directory(root, class_mode="sparse", seed=3, batch_size=9)
    orders = []
    for _ in range(3):
        seen = [(patch.tobytes(), int(label)) for x, y in epoch_of(flow) for patch, label in zip(x, y, strict=True)]
        assert Counter(seen) == Counter(in_rows)
        orders.append(seen)
        flow.on_epoch_end()
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert in_rows not in orders


def test_shuffling_mixes_classes(make: Make, root: Path) -> None:
    # all images fit into the cache, and so into one window
    flow = make().flow_from_directory(root, class_mode="sparse", seed=0, batch_size=20)
    assert all(len(set(y.tolist())) > 1 for _, y in epoch_of(flow))


def test_patches_of_a_target_size(make: Make, root: Path) -> None:
    flow = make(patch_size=16, stride=20).flow_from_directory(
        root, target_size=(40, 72), interpolation="bilinear", shuffle=False, class_mode=None
    )
    assert flow.n == 8 * 2 * 3
    shown = dict(zip(places(flow), images_of(flow), strict=True))
    for name in set(flow.filenames):
        with Pillow.open(root / name) as image:
            whole = np.asarray(image.convert("RGB").resize((72, 40), Pillow.Resampling.BILINEAR), np.float32)
        for y, x in itertools.product((0, 20), (0, 20, 40)):
            np.testing.assert_array_equal(shown[(name, x, y)], whole[y : y + 16, x : x + 16], err_msg=name)


def test_whole_images_must_have_one_size(make: Make, root: Path, tree: Any) -> None:
    with pytest.raises(UsageError, match=r"128x9[36]"):
        make(patch_size=None).flow_from_directory(root)
    flow = make(patch_size=None).flow_from_directory(tree("a/1.png", "b/2.png"), shuffle=False)
    assert (flow.n, flow.image_shape) == (2, (30, 40, 3))


WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "overlap and stride": ({"overlap": 0.5, "stride": 8}, {}, "stride"),
    "edge": ({"edge": "fold"}, {}, "fold"),
    "overlap": ({"overlap": 1}, {}, "overlap"),
    "no size": ({"patch_size": 0}, {}, "0"),
    "words": ({"patch_size": "large"}, {}, "large"),
    "three numbers": ({"patch_size": (3, 4, 5)}, {}, "patch"),
    "pad value": ({"pad_value": 256, "edge": "pad"}, {}, "256"),
    "background": ({"background": "no colour"}, {}, "no colour"),
    "larger than every image": ({"patch_size": 4000}, {}, "4000"),
    "batch of none": ({}, {"batch_size": 0}, "batch_size"),
    "negative batch": ({}, {"batch_size": -3}, "batch_size"),
    "seed": ({}, {"seed": -1}, "seed"),
    "cache": ({}, {"cache": "much"}, "much"),
    "on_error": ({}, {"on_error": "ignore"}, "ignore"),
    "split without fraction": ({}, {"subset": "validation"}, "validation_split"),
    "save format": ({}, {"save_to_dir": ".", "save_format": "docx"}, "docx"),
    "target size": ({}, {"target_size": (64,)}, "target_size"),
    "one target size": ({}, {"target_size": 64}, "target_size"),
    "no target size": ({}, {"target_size": (0, 64)}, "target_size"),
    "words for a size": ({}, {"target_size": ("a", 64)}, "target_size"),
    "part of a pixel": ({}, {"target_size": (64.5, 64)}, "target_size"),
    "dtype": ({"dtype": "foo"}, {}, "foo"),
    "no image for validation": ({"validation_split": 0.1}, {"subset": "validation"}, "validation"),
    "class mode": ({}, {"class_mode": "raw"}, "raw"),
    "class twice": ({}, {"classes": ["brick", "brick"]}, "brick"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_is_said_before_the_first_batch(make: Make, root: Path, what: str) -> None:
    options, arguments, words = WRONG[what]
    with pytest.raises(PatchcliError, match=words):
        make(**options).flow_from_directory(root, **arguments)


def test_binary_needs_two_classes(make: Make, root: Path) -> None:
    with pytest.raises(UsageError, match="binary"):
        make().flow_from_directory(root, class_mode="binary")
    flow = make().flow_from_directory(root, class_mode="binary", classes=["ihc", "brick"], shuffle=False)
    y = np.concatenate([y for _, y in epoch_of(flow)])
    assert y.tolist() == [float(name.startswith("brick")) for name in flow.filenames]


def test_damaged_images_stop_or_are_skipped(make: Make, root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "data")
    (tmp_path / "data" / "grass" / "0.jpg").write_bytes(b"\xff\xd8\xff\xe0 not the rest of it")
    with pytest.raises((UnreadableInputs, PatchcliError), match=r"grass/0\.jpg"):
        epoch_of(make().flow_from_directory(tmp_path / "data", shuffle=False))
    flow = make().flow_from_directory(tmp_path / "data", shuffle=False, on_error="skip")
    assert "grass/0.jpg" not in flow.filenames
    assert len(images_of(flow)) == flow.n > 0


# --- augmented


def copies_of(cut: Path, out: Path, n: int, **options: Any) -> dict[tuple[Place, int], Array]:
    """What `patchcli augment` writes: pixels by place and copy."""
    patchcli.augment(cut, out, copies=n, executor="serial", **options)
    ps = patchcli.open(out)
    assert ps.copy is not None
    return dict(zip(zip(places_in(ps), ps.copy.tolist(), strict=True), ps, strict=True))


AUGMENTING: dict[str, dict[str, Any]] = {
    "everything": MOVED,
    "flips": {"horizontal_flip": True, "vertical_flip": True},
    "filled": {"rotation_range": 45, "fill_mode": "constant", "cval": 200},
    "rescaled": {**MOVED, "rescale": 1 / 255},
    "samplewise": {"zoom_range": [0.5, 0.9], "samplewise_center": True, "samplewise_std_normalization": True},
}


@pytest.mark.parametrize("source", ["folder", "data set"])
@pytest.mark.parametrize("way", AUGMENTING)
def test_epochs_are_the_copies_of_augment(
    make: Make, root: Path, cut_rgb: Path, tmp_path: Path, way: str, source: str
) -> None:
    expected = copies_of(cut_rgb, tmp_path / "more.h5", 3, seed=11, **AUGMENTING[way])
    generator = make(**AUGMENTING[way])
    options = {"class_mode": None, "shuffle": False, "seed": 11, "batch_size": 9}
    flow = (
        generator.flow_from_directory(root, **options)
        if source == "folder"
        else generator.flow_from_hdf5(cut_rgb, **options)
    )
    for epoch in range(3):
        assert flow.epoch == epoch
        shown = images_of(flow)
        assert shown.dtype == np.float32
        for place, patch in zip(places(flow), shown, strict=True):
            np.testing.assert_array_equal(patch, expected[place, epoch + 1].astype(np.float32), err_msg=str(place))
        flow.on_epoch_end()


def test_shuffling_changes_no_pixel(make: Make, root: Path) -> None:
    generator = make(**MOVED)
    flows = [
        generator.flow_from_directory(root, class_mode=None, seed=4, shuffle=shuffle, batch_size=batch_size)
        for shuffle, batch_size in ((False, 80), (True, 7))
    ]
    for flow in flows:
        flow.set_epoch(2)
    one, other = (sorted(patch.tobytes() for patch in images_of(flow)) for flow in flows)
    assert one == other


@pytest.mark.parametrize("source", ["folder", "data set"])
def test_channels_first_are_the_same_pixels_turned(make: Make, root: Path, cut_rgb: Path, source: str) -> None:
    last, first = (make(**MOVED, rescale=1 / 255, data_format=f"channels_{where}") for where in ("last", "first"))
    flows = [
        generator.flow_from_directory(root, class_mode=None, seed=4)
        if source == "folder"
        else generator.flow_from_hdf5(cut_rgb, class_mode=None, seed=4)
        for generator in (last, first)
    ]
    assert flows[1].image_shape == (3, 32, 32)
    np.testing.assert_array_equal(images_of(flows[1]), np.moveaxis(images_of(flows[0]), 3, 1))


def test_a_patch_is_drawn_alike_whatever_else_is_in_the_folder(make: Make, root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "ihc", tmp_path / "ihc")
    all_of_them, few = (
        make(**MOVED).flow_from_directory(place, class_mode=None, seed=4, shuffle=False) for place in (root, tmp_path)
    )
    shown = dict(zip(places(all_of_them), images_of(all_of_them), strict=True))
    assert few.n < all_of_them.n
    for place, patch in zip(places(few), images_of(few), strict=True):
        np.testing.assert_array_equal(patch, shown[place])


def test_preprocessing_gets_each_moved_patch(make: Make, root: Path, cut_rgb: Path, tmp_path: Path) -> None:
    expected = copies_of(cut_rgb, tmp_path / "more.h5", 1, seed=2, **MOVED)
    seen = []

    def inverted(x: Array) -> Array:
        seen.append((x.shape, x.dtype.name))
        return 255 - x

    flow = make(**MOVED, rescale=1 / 255, preprocessing_function=inverted).flow_from_directory(
        root, class_mode=None, shuffle=False, seed=2
    )
    for place, patch in zip(places(flow), images_of(flow), strict=True):
        np.testing.assert_allclose(patch, (255 - expected[place, 1].astype(np.float32)) / 255, atol=1e-6)
    assert set(seen) == {((32, 32, 3), "float32")}


def test_images_and_masks_move_alike(make: Make, root: Path, tmp_path: Path) -> None:
    for path in root.rglob("*.*"):
        (tmp_path / "masks" / path.parent.name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / path.parent.name).mkdir(parents=True, exist_ok=True)
        name = Path(path.parent.name) / path.stem  # suffixes differ, as they often do
        with Pillow.open(path) as image:
            Pillow.fromarray(np.asarray(image.convert("RGB"))).save(tmp_path / "images" / f"{name}.bmp")
            Pillow.fromarray(255 - np.asarray(image.convert("RGB"))).save(tmp_path / "masks" / f"{name}.png")
    geometry = {name: MOVED[name] for name in MOVED if name not in ("channel_shift_range", "brightness_range")}
    flows = [
        make(**geometry, overlap=0.5).flow_from_directory(tmp_path / name, class_mode=None, seed=8, batch_size=33)
        for name in ("images", "masks")
    ]
    n_batches = 2 * len(flows[0]) + 1
    for x, mask in itertools.islice(zip(*flows, strict=True), n_batches):
        np.testing.assert_allclose(x, 255 - mask, atol=1.01)


# --- validation


@pytest.mark.parametrize("split", [0.25, 0.5])
def test_validation_is_of_other_images_and_not_augmented(make: Make, tmp_path: Path, split: float) -> None:
    root = crops(tmp_path / "data", per_class=4, size=(80, 70))
    patchcli.extract(root, tmp_path / "o.h5", patch=32, mode="rgb", executor="serial")
    ps = patchcli.open(tmp_path / "o.h5")
    plain = dict(zip(places_in(ps), ps, strict=True))
    generator = make(**MOVED, validation_split=split)
    training, validation = (
        generator.flow_from_directory(root, subset=subset, shuffle=False, class_mode=None, seed=1)
        for subset in ("training", "validation")
    )
    names = set(training.filenames), set(validation.filenames)
    assert not names[0] & names[1]
    assert len(names[1]) == 16 * split
    assert len(names[0]) == 16 * (1 - split)
    assert {name.split("/")[0] for name in names[1]} == {"brick", "grass", "ihc", "retina"}
    assert sorted(places(training) + places(validation)) == sorted(plain)
    for _ in range(2):
        for place, patch in zip(places(validation), images_of(validation), strict=True):
            np.testing.assert_array_equal(patch, plain[place])
        validation.on_epoch_end()
    moved = [
        not np.array_equal(patch, plain[place])
        for place, patch in zip(places(training), images_of(training), strict=True)
    ]
    assert np.mean(moved) > 0.9


def test_validation_is_standardised_as_training_is(make: Make, root: Path) -> None:
    generator = make(**MOVED, validation_split=0.5, rescale=1 / 255, samplewise_center=True)
    flow = generator.flow_from_directory(root, subset="validation", class_mode=None)
    x = images_of(flow)
    assert -1 <= x.min() < x.max() <= 1
    np.testing.assert_allclose(x.mean(axis=(1, 2, 3)), 0, atol=1e-5)


def test_validation_of_a_data_set_is_by_image(make: Make, cut_rgb: Path, root: Path) -> None:
    generator = make(**MOVED, validation_split=0.5)
    options = {"shuffle": False, "class_mode": "sparse", "seed": 0}
    for subset in ("training", "validation"):
        cut = generator.flow_from_hdf5(cut_rgb, subset=subset, **options)
        folder = generator.flow_from_directory(root, subset=subset, **options)
        assert len(set(cut.filenames)) == 4
        assert places(cut) == places(folder)
        assert all_equal(epoch_of(cut), epoch_of(folder))


# --- data sets


@pytest.mark.parametrize("class_mode", ["categorical", "sparse", "input", None])
def test_data_set_and_folder_give_the_same_batches(
    make: Make, root: Path, cut_rgb: Path, class_mode: str | None
) -> None:
    generator = make(**MOVED, rescale=1 / 255)
    options = {"shuffle": False, "class_mode": class_mode, "seed": 5, "batch_size": 13}
    folder, cut = generator.flow_from_directory(root, **options), generator.flow_from_hdf5(cut_rgb, **options)
    assert (cut.n, len(cut), cut.image_shape) == (folder.n, len(folder), folder.image_shape)
    assert cut.class_indices == folder.class_indices
    assert places(cut) == places(folder)
    assert cut.classes.tolist() == folder.classes.tolist()
    for _ in range(2):
        assert all_equal(epoch_of(cut), epoch_of(folder))
        cut.on_epoch_end()
        folder.on_epoch_end()


def test_shards_and_open_sets_give_what_one_file_gives(make: Make, cut: Path, cut_sharded: Path) -> None:
    options = {"seed": 5, "batch_size": 13, "shuffle": False}
    expected = epoch_of(make(**MOVED).flow_from_hdf5(cut, **options))
    for source in (cut_sharded, str(cut), patchcli.open(cut), patchcli.open(cut_sharded)):
        assert all_equal(epoch_of(make(**MOVED).flow_from_hdf5(source, **options)), expected)
    part = patchcli.open(cut).subset(slice(10, 50))
    assert all_equal(
        list(np.concatenate([x for x, _ in epoch_of(make(**MOVED).flow_from_hdf5(part, **options))])),
        list(np.concatenate([x for x, _ in expected])[10:50]),
    )


def test_splits_of_a_data_set(make: Make, cut_splits: Path) -> None:
    whole = patchcli.open(cut_splits)
    generator = make(**MOVED)
    for split, is_moved in (("train", True), ("val", False)):
        ps = whole.subset(split=split)
        flow = generator.flow_from_hdf5(cut_splits, split=split, class_mode="sparse", shuffle=False, seed=0)
        assert places(flow) == places_in(ps)
        assert flow.classes.tolist() == ps.labels.tolist()
        differ = [not np.array_equal(shown, patch) for shown, patch in zip(images_of(flow), ps, strict=True)]
        assert np.mean(differ) > 0.9 if is_moved else not any(differ)
    with pytest.raises(UsageError, match="nowhere"):
        generator.flow_from_hdf5(cut_splits, split="nowhere")
    for ps in (whole, whole.subset(split="val")):  # whichever way they come together, rows of val are left alone
        flow = generator.flow_from_hdf5(ps, class_mode=None, shuffle=False, seed=0)
        same = [np.array_equal(shown, patch) for shown, patch in zip(images_of(flow), ps, strict=True)]
        assert ps.split is not None
        is_val = ps.split == ps.splits.index("val")
        assert np.all(np.asarray(same)[is_val])
        assert is_val.all() or np.mean(np.asarray(same)[~is_val]) < 0.2


def test_validation_takes_no_copies(make: Make, cut_rgb: Path, tmp_path: Path) -> None:
    patchcli.augment(cut_rgb, tmp_path / "more.h5", copies=2, executor="serial", **MOVED)
    ps = patchcli.open(tmp_path / "more.h5")
    assert ps.copy is not None
    generator = make(validation_split=0.5)
    flow = generator.flow_from_hdf5(ps, subset="validation", class_mode=None, shuffle=False)
    plain = generator.flow_from_hdf5(cut_rgb, subset="validation", class_mode=None, shuffle=False)
    np.testing.assert_array_equal(images_of(flow), images_of(plain))
    training = generator.flow_from_hdf5(ps, subset="training")
    assert training.n == 3 * generator.flow_from_hdf5(cut_rgb, subset="training").n


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_patches_of_other_dtypes_keep_their_levels(make: Make, cut_rgb: Path, tmp_path: Path, dtype: str) -> None:
    factor = {"uint16": 257, "float32": 1 / 255}[dtype]
    deep = retyped(cut_rgb, tmp_path / "deep.h5", lambda patches: (patches * np.float64(factor)).astype(dtype))
    options = {name: MOVED[name] for name in MOVED if name != "channel_shift_range"}
    expected = copies_of(deep, tmp_path / "more.h5", 1, seed=6, **options)
    flow = make(**options).flow_from_hdf5(deep, class_mode=None, shuffle=False, seed=6)
    for place, patch in zip(places(flow), images_of(flow), strict=True):
        np.testing.assert_array_equal(patch, expected[place, 1].astype(np.float32), err_msg=str(place))


def test_copies_of_copies_are_those_of_augment(make: Make, cut_rgb: Path, tmp_path: Path) -> None:
    patchcli.augment(cut_rgb, tmp_path / "once.h5", rotation_range=30, copies=1, executor="serial", seed=1)
    patchcli.augment(tmp_path / "once.h5", tmp_path / "twice.h5", copies=2, executor="serial", seed=2, **MOVED)
    twice = patchcli.open(tmp_path / "twice.h5")
    assert twice.origin is not None
    assert twice.copy is not None
    rows = {pair: row for row, pair in enumerate(zip(twice.origin.tolist(), twice.copy.tolist(), strict=True))}
    flow = make(**MOVED).flow_from_hdf5(tmp_path / "once.h5", class_mode=None, shuffle=False, seed=2)
    for epoch in range(2):
        for row, patch in enumerate(images_of(flow)):
            np.testing.assert_array_equal(patch, twice[rows[row, epoch + 1]])
        flow.on_epoch_end()


def test_a_data_set_of_other_patches(make: Make, cut: Path) -> None:
    with pytest.raises(UsageError, match="32"):
        make(patch_size=16).flow_from_hdf5(cut)
    assert make(patch_size=None).flow_from_hdf5(cut).image_shape == (32, 32, 3)


def test_no_data_set(make: Make, tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(DamagedFile, match=r"text\.h5"):
        make().flow_from_hdf5(tmp_path / "text.h5")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        make().flow_from_hdf5(tmp_path / "nowhere.h5")


# --- arrays


def test_arrays_are_cut_too(make: Make) -> None:
    with Pillow.open(packaged("ihc.png")) as image:
        whole = np.asarray(image.convert("RGB"))
    images = np.stack([whole[:70, :100], whole[100:170, 40:140]])
    flow = make(stride=20).flow(images, np.array([5, 7]), sample_weight=[0.5, 2.0], shuffle=False, batch_size=6)
    corners = list(itertools.product((0, 20), (0, 20, 40, 60)))
    assert (flow.n, len(flow)) == (2 * len(corners), 3)
    x, y, w = (np.concatenate(parts) for parts in zip(*epoch_of(flow), strict=True))
    expected = [whole[row : row + 32, column : column + 32] for whole in images for row, column in corners]
    np.testing.assert_array_equal(x, np.stack(expected))
    assert y.tolist() == [5] * 8 + [7] * 8
    assert w.tolist() == [0.5] * 8 + [2.0] * 8
    (x, ages), y = make(stride=20).flow((images, np.array([30, 40])), np.array([5, 7]), batch_size=16, seed=0)[0]
    assert np.array_equal(ages, np.where(y == 5, 30, 40))
    assert y.tolist() != sorted(y.tolist())


@pytest.mark.parametrize("dtype", ["int16", "float64", "bool"])
def test_arrays_of_other_dtypes_are_converted_image_by_image(make: Make, tmp_path: Path, dtype: str) -> None:
    x = np.random.default_rng(0).integers(0, 2, (40, 256, 256, 3)).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    tracemalloc.start()
    flow = make(patch_size=64).flow(mapped, np.arange(40), batch_size=8, shuffle=False)
    batch, labels = flow[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6  # all of it as float32 would be 31 MB
    np.testing.assert_array_equal(batch, [x[0, y : y + 64, x_ : x_ + 64] for y in (0, 64) for x_ in range(0, 256, 64)])
    assert labels.tolist() == [0] * 8


def test_arrays_smaller_than_a_patch(make: Make) -> None:
    with pytest.raises(UsageError, match="32"):
        make().flow(np.zeros((3, 31, 40, 3)))


def test_fit_on_other_patches_is_told(make: Make) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), np.uint8)
    for options, fitted in (({"zca_whitening": True}, images[:, :8, :8]), ({}, images[..., :1])):
        generator = make(**{"featurewise_center": True} | options)
        generator.fit(fitted)
        with pytest.raises(UsageError, match="fit"):
            generator.flow(images)[0]


# --- what is decoded, held and repeated


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("cache", ["256MiB", "40kB", "1kB"])
def test_each_image_is_decoded_once_an_epoch(make: Make, root: Path, shuffle: bool, cache: str) -> None:
    # 36 kB each
    flow = make(overlap=0.5).flow_from_directory(root, shuffle=shuffle, seed=0, batch_size=5, cache=cache)
    n_images = len(set(flow.filenames))
    assert n_images == 8
    epoch_of(flow)
    assert decoded(flow) == n_images
    flow.on_epoch_end()
    epoch_of(flow)
    assert decoded(flow) <= 2 * n_images
    if cache != "256MiB":
        assert decoded(flow) >= 2 * n_images - 1


def decoded(flow: Any) -> int:
    return int(flow.n_decoded)


def test_a_batch_is_a_function_of_seed_epoch_and_number(make: Make, root: Path) -> None:
    def fresh() -> Any:
        return make(**MOVED, overlap=0.5).flow_from_directory(root, seed=3, batch_size=11, cache="100kB")

    flow = fresh()
    expected = {}
    for epoch in range(2):
        expected.update({(epoch, k): flow[k] for k in range(len(flow))})
        flow.on_epoch_end()
    other = fresh()
    order = [list(expected)[k] for k in np.random.default_rng(0).permutation(len(expected))]
    for epoch, k in order:
        other.set_epoch(epoch)
        assert other.epoch == epoch
        assert equal(other[k], expected[epoch, k])
    copy = pickle.loads(pickle.dumps(flow))
    copy.set_epoch(1)
    assert equal(copy[2], expected[1, 2])


def test_next_goes_through_the_epochs(make: Make, root: Path) -> None:
    def fresh() -> Any:
        return make(**MOVED).flow_from_directory(root, seed=3, batch_size=30)

    by_number: list[Any] = []
    flow = fresh()
    for _ in range(3):
        by_number += epoch_of(flow)
        flow.on_epoch_end()
    flow = fresh()
    assert all_equal([next(flow) for _ in by_number], by_number)
    flow = fresh()
    assert iter(flow) is flow
    assert all_equal(list(itertools.islice(flow, len(by_number))), by_number)


@pytest.mark.parametrize("taken", [0, 2, 3, 5])
def test_a_stopped_flow_goes_on_where_it_was(make: Make, root: Path, taken: int) -> None:
    def fresh() -> Any:
        return make(**MOVED).flow_from_directory(root, seed=3, batch_size=30)

    flow = fresh()
    assert len(flow) == 3
    for _ in range(taken):
        next(flow)
    state = pickle.loads(pickle.dumps(flow.state_dict()))
    expected = [next(flow) for _ in range(4)]
    other = fresh()
    next(other)
    other.load_state_dict(state)
    assert all_equal([next(other) for _ in range(4)], expected)
    epoch, start = divmod(taken, 3)
    other = fresh()
    other.set_epoch(epoch, start=start)
    assert all_equal([next(other) for _ in range(4)], expected)


def test_the_state_of_another_flow_is_refused(make: Make, root: Path) -> None:
    state = make().flow_from_directory(root, seed=3).state_dict()
    with pytest.raises(UsageError, match="seed"):
        make().flow_from_directory(root, seed=4).load_state_dict(state)
    for other in ({"cache": "64KiB"}, {"classes": ["brick", "grass"]}, {"batch_size": 5}, {"shuffle": False}):
        with pytest.raises(UsageError, match="another order"):
            make().flow_from_directory(root, seed=3, **other).load_state_dict(state)
    make().flow_from_directory(root, seed=3).load_state_dict(state)


def test_saved_pictures_are_patches(make: Make, root: Path, tmp_path: Path) -> None:
    flow = make().flow_from_directory(
        root, save_to_dir=tmp_path, save_prefix="p", shuffle=False, batch_size=4, class_mode=None
    )
    x = flow[0]
    saved = sorted(tmp_path.iterdir())
    assert len(saved) == 4
    for path in saved:
        with Pillow.open(path) as image:
            assert (image.size, image.mode) == ((32, 32), "RGB")
    assert x.shape == (4, 32, 32, 3)


# --- Keras' own workers


@pytest.mark.parametrize("workers", [2, 4])
def test_threads_of_keras_get_the_same_batches(keras: Any, make: Make, root: Path, workers: int) -> None:
    adapters = importlib.import_module("keras.src.trainers.data_adapters.py_dataset_adapter")

    def two_epochs(workers: int) -> Iterator[Any]:
        flow = make(**MOVED).flow_from_directory(root, seed=3, batch_size=9, cache="80kB", workers=workers)
        adapter = adapters.PyDatasetAdapter(flow, shuffle=False)
        assert (adapter.enqueuer is not None) == (workers > 1)
        for _ in range(2):
            adapter.on_epoch_begin()
            yield from itertools.islice(adapter._get_iterator(), len(flow))
            adapter.on_epoch_end()

    assert all_equal(list(two_epochs(workers)), list(two_epochs(0)))
