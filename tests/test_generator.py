"""Keras' tests of its ImageDataGenerator, asked of ours with patches as large as the images.

Each test with the fixture `make` runs for Keras' own generator too, so that it is known to ask what Keras does.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from demo_images import packaged
from PIL import Image as Pillow

from patchcli.errors import PatchcliError

Array = npt.NDArray[Any]
Make = Callable[..., Any]

SIDE = 20
SIZE = (SIDE, SIDE)
N_ARRAYS = 8
CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
COLOR_MODES = {"grayscale": 1, "rgb": 3, "rgba": 4}
REFUSED = (ValueError, PatchcliError)

MOVED: dict[str, Any] = {
    "rotation_range": 90.0,
    "width_shift_range": 0.1,
    "height_shift_range": 0.1,
    "shear_range": 0.5,
    "zoom_range": 0.2,
    "channel_shift_range": 0.0,
    "brightness_range": (1, 5),
    "fill_mode": "nearest",
    "cval": 0.5,
    "horizontal_flip": True,
    "vertical_flip": True,
    "interpolation_order": 1,
}
EVERYTHING: dict[str, Any] = MOVED | {
    "featurewise_center": True,
    "samplewise_center": True,
    "samplewise_std_normalization": True,
    "zca_whitening": True,
}


@pytest.fixture
def ours(keras: Any) -> Make:
    """Our generator, for images that are patches themselves."""
    module = importlib.import_module("patchcli.keras")
    return lambda **options: module.PatchImageDataGenerator(**{"patch_size": SIZE} | options)


# the warnings are scipy's and Pillow's, of what Keras calls
@pytest.fixture(params=[pytest.param("keras", marks=pytest.mark.filterwarnings("ignore")), "patchcli"])
def make(request: pytest.FixtureRequest, keras: Any) -> Make:
    """Makes a generator from the parameters of ImageDataGenerator: Keras' own, or ours."""
    if request.param == "keras":
        made: Make = keras.ImageDataGenerator
        return made
    own: Make = request.getfixturevalue("ours")
    return own


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four images of one size in two classes, at several depths; RGB and gray in turn."""
    root = tmp_path_factory.mktemp("generator") / "images"
    pictures = [picture for pair in zip(photos("RGB", 12), photos("L", 12), strict=True) for picture in pair]
    places = ["", "sub-1", "sub-2", "sub-1/deeper"]
    for number, pixels in enumerate(pictures):
        place = root / f"class-{number % 2}" / places[number // 2 % 4]
        place.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(pixels.squeeze()).save(place / f"image-{number}.png")
    return root


def photos(mode: str, n: int = N_ARRAYS, size: tuple[int, int] = SIZE) -> Array:
    """Crops of a real image, all different: uint8 (n, height, width, channels)."""
    with Pillow.open(packaged("ihc.png")) as image:
        whole = np.asarray(image.convert(mode)).reshape(image.height, image.width, -1).copy()
    if mode == "RGBA":
        whole[..., 3] = np.arange(image.width) % 256
    height, width = size
    corners = [(23 * k % (512 - height), 41 * k % (512 - width)) for k in range(n)]
    return np.stack([whole[y : y + height, x : x + width] for y, x in corners])


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))


def first_axes(x: Array) -> Array:
    """(n, H, W, C) as (n, C, H, W)."""
    return np.ascontiguousarray(np.moveaxis(x, 3, 1))


def pairs(batch: Any) -> list[Any]:
    """The arrays of a batch, in order, lists opened."""
    return [array for part in (batch if isinstance(batch, tuple | list) else [batch]) for array in leaves(part)]


def leaves(part: Any) -> list[Any]:
    return [leaf for one in part for leaf in leaves(one)] if isinstance(part, tuple | list) else [part]


def same(one: Any, other: Any) -> bool:
    """Whether two batches hold the same arrays."""
    ones, others = pairs(one), pairs(other)
    return len(ones) == len(others) and all(map(np.array_equal, ones, others))


def epoch_of(flow: Any) -> list[Any]:
    return [flow[k] for k in range(len(flow))]


# --- options


@pytest.mark.parametrize(
    "options",
    [
        {"validation_split": 5},
        {"validation_split": 1},
        {"validation_split": -0.1},
        {"brightness_range": 0.1},
        {"brightness_range": (0.1, 0.2, 0.3)},
        {"zoom_range": (0.1, 0.2, 0.3)},
        {"zoom_range": ("a", "b")},
        {"data_format": "channels_middle"},
    ],
)
def test_options_that_cannot_be(make: Make, options: dict[str, Any]) -> None:
    with pytest.raises(REFUSED, match=next(iter(options))):
        make(**options)


def test_has_the_parameters_of_keras_in_their_order(keras: Any) -> None:
    module = importlib.import_module("patchcli.keras")
    theirs = inspect.signature(keras.ImageDataGenerator).parameters
    own = inspect.signature(module.PatchImageDataGenerator).parameters
    assert list(own)[: len(theirs)] == list(theirs)
    assert [own[name].default for name in theirs] == [parameter.default for parameter in theirs.values()]
    assert all(own[name].kind == own[name].KEYWORD_ONLY for name in list(own)[len(theirs) :])
    for method, left_out in (("flow", set()), ("flow_from_directory", {"target_size"}), ("fit", set())):
        theirs = inspect.signature(getattr(keras.ImageDataGenerator, method)).parameters
        own = inspect.signature(getattr(module.PatchImageDataGenerator, method)).parameters
        assert list(own)[: len(theirs)] == list(theirs), method
        for name in set(theirs) - left_out:
            assert own[name].default == theirs[name].default, (method, name)


@pytest.mark.parametrize("mode", CHANNELS)
def test_all_options_at_once(make: Make, mode: str) -> None:
    images = photos(mode)
    generator = make(**EVERYTHING)
    generator.fit(images)
    flow = generator.flow(images, np.arange(N_ARRAYS), shuffle=False, batch_size=3)
    x, y = next(flow)
    assert (x.shape, x.dtype.name, list(y)) == ((3, SIDE, SIDE, CHANNELS[mode]), "float32", [0, 1, 2])
    assert np.isfinite(x).all()
    assert x.std() > 0


# --- flow: arrays


@pytest.mark.parametrize("mode", CHANNELS)
def test_flow_of_arrays(make: Make, mode: str) -> None:
    images = photos(mode)
    flow = make(**MOVED).flow(images, np.arange(N_ARRAYS), shuffle=False, batch_size=3)
    assert (len(flow), flow.n, flow.batch_size) == (3, N_ARRAYS, 3)
    x, y = next(flow)
    assert x.shape == images[:3].shape
    assert list(y) == [0, 1, 2]
    assert [len(x) for x, _ in epoch_of(flow)] == [3, 3, 2]
    assert not np.array_equal(x, images[:3])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("mode", CHANNELS)
def test_without_options_arrays_come_as_they_are(make: Make, mode: str, dtype: str) -> None:
    images = photos(mode).astype(dtype)
    images = images / np.float32(255) if dtype == "float32" else images
    flow = make().flow(images, np.arange(N_ARRAYS), shuffle=False, batch_size=3)
    x = np.concatenate([x for x, _ in epoch_of(flow)])
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, images.astype(np.float32))


def test_sample_weights_come_third(make: Make) -> None:
    images, weights = photos("RGB"), np.arange(N_ARRAYS) + 1
    flow = make(**MOVED).flow(images, np.arange(N_ARRAYS), shuffle=False, sample_weight=weights, batch_size=3)
    x, y, w = next(flow)
    assert x.shape == images[:3].shape
    assert (list(y), list(w)) == ([0, 1, 2], [1, 2, 3])
    flow = make().flow(images, np.arange(N_ARRAYS), shuffle=True, sample_weight=weights, batch_size=3)
    for x, y, w in epoch_of(flow):
        assert np.array_equal(w, y + 1)
        assert np.array_equal(x, images[y])


def test_shuffle_shows_everything_once_and_every_epoch_anew(make: Make) -> None:
    images = photos("RGB", 12)
    flow = make().flow(images, np.arange(12), batch_size=5, seed=123)
    epochs = []
    for _ in range(3):
        shown = np.concatenate([y for _, y in epoch_of(flow)])
        assert sorted(shown) == list(range(12))
        epochs.append(shown.tolist())
        flow.on_epoch_end()
    assert list(range(12)) not in epochs
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_labels_are_those_of_their_images_when_shuffled(make: Make) -> None:
    images = photos("RGB", 12)
    labels = np.eye(12)[::-1]
    for x, y in epoch_of(make().flow(images, labels, batch_size=5, seed=7)):
        assert y.shape == (len(x), 12)
        np.testing.assert_array_equal(x, images[::-1][y.argmax(axis=1)].astype(np.float32))


@pytest.mark.parametrize("dtype", ["int64", "float64", "uint8", "<U1", "bool"])
def test_labels_keep_their_dtype(make: Make, dtype: str) -> None:
    labels = np.array([0, 1] * (N_ARRAYS // 2)).astype(dtype)
    _, y = next(make().flow(photos("L"), labels, shuffle=False, batch_size=3))
    assert (y.dtype, y.tolist()) == (labels.dtype, labels[:3].tolist())


def test_without_labels_a_batch_is_an_array(make: Make) -> None:
    images = photos("RGB")
    for shuffle in (True, False):
        x = next(make(**MOVED).flow(images, None, shuffle=shuffle, batch_size=3))
        assert type(x) is np.ndarray
        assert x.shape == images[:3].shape


def test_other_inputs_go_with_their_images(make: Make) -> None:
    images = photos("RGB")
    ages, maps = np.linspace(0, 1, N_ARRAYS), np.random.default_rng(0).random((N_ARRAYS, 3, 3))
    for misc in (ages, [ages], [ages, maps]):
        others = misc if isinstance(misc, list) else [misc]
        flow = make(**MOVED).flow((images, misc), np.arange(N_ARRAYS), shuffle=False, batch_size=2)
        for k, (x, y) in enumerate(itertools.islice(flow, 3)):
            assert x[0].shape == images[:2].shape
            assert list(y) == [2 * k, 2 * k + 1]
            assert same(x[1:], [other[2 * k : 2 * k + 2] for other in others])
        flow = make(**MOVED).flow([images, misc], None, shuffle=False, batch_size=3)
        x = next(flow)
        x = x[0] if len(x) == 1 else x  # a pair alone, Keras takes for inputs and targets
        assert x[0].shape == images[:3].shape
        assert same(x[1:], [other[:3] for other in others])
    for (x, age), y in epoch_of(make().flow((images, ages), np.arange(N_ARRAYS), shuffle=True, batch_size=3)):
        assert np.array_equal(age, ages[y])
        assert np.array_equal(x, images[y])


def test_lengths_that_differ(make: Make) -> None:
    images, labels, generator = photos("RGB"), np.arange(N_ARRAYS), make()
    longer = np.zeros((N_ARRAYS + 1, 3))
    with pytest.raises(REFUSED, match=r"9"):
        generator.flow((images, longer), labels)
    with pytest.raises(REFUSED, match=r"9"):
        generator.flow((images, [labels, longer]), labels)
    with pytest.raises(REFUSED, match=r"9"):
        generator.flow((images, labels), np.arange(N_ARRAYS + 1))
    with pytest.raises(REFUSED, match="sample_weight"):
        generator.flow(images, labels, sample_weight=np.arange(N_ARRAYS + 1))


@pytest.mark.parametrize("shape", [(32, 10, 10), (10,), (2, 3, 10, 10, 3)])
def test_arrays_of_another_rank(make: Make, shape: tuple[int, ...]) -> None:
    with pytest.raises(REFUSED, match="shape"):
        make().flow(np.zeros(shape))
    with pytest.raises(REFUSED, match="shape"):
        make(featurewise_center=True).fit(np.zeros(shape))


def test_flow_as_a_sequence(make: Make) -> None:
    images = photos("RGB")
    flow = make().flow(images, np.arange(N_ARRAYS), shuffle=False, batch_size=3)
    assert len(flow) == 3
    for _ in range(2):
        x, y = flow[2]
        assert x.shape == images[:2].shape
        assert list(y) == [6, 7]
        flow.on_epoch_end()
    for k in (3, 100):
        with pytest.raises((*REFUSED, IndexError), match=str(k)):
            flow[k]


def test_interpolation_of_order_0_makes_no_new_labels(make: Make) -> None:
    # with an array of labels for an image
    labels = np.array([[2, 2, 0, 2, 2], [1, 3, 2, 3, 1], [2, 1, 0, 1, 2], [3, 1, 0, 2, 0], [3, 1, 3, 2, 1]])
    generator = make(rotation_range=90.0, interpolation_order=0, **({} if is_keras(make) else {"patch_size": (5, 5)}))
    seen = [next(generator.flow(labels[np.newaxis, ..., np.newaxis], seed=seed)) for seed in range(5)]
    for x in seen:
        assert set(np.unique(x)) <= {0, 1, 2, 3}
    assert any(not np.array_equal(x[0, ..., 0], labels) for x in seen)


def is_keras(make: Make) -> bool:
    return isinstance(make, type)


def test_seeds_and_epochs_decide_the_order_alone(make: Make) -> None:
    def order(seed: int) -> list[int]:
        flow = make().flow(photos("L", 30), np.arange(30), batch_size=8, seed=seed)
        return [int(label) for _, y in epoch_of(flow) for label in y]

    assert order(1) == order(1) != order(2)


def test_numbers_of_numpy_are_numbers(make: Make) -> None:
    flow = make().flow(photos("L"), np.arange(N_ARRAYS), batch_size=np.int64(3), seed=np.int32(1), shuffle=False)
    assert (len(flow), flow[np.int64(1)][1].tolist()) == (3, [3, 4, 5])


@pytest.mark.parametrize("batch_size", [1, 32])
def test_one_batch_or_as_many_as_images(make: Make, batch_size: int) -> None:
    flow = make().flow(photos("L"), np.arange(N_ARRAYS), batch_size=batch_size, seed=0)
    assert len(flow) == -(-N_ARRAYS // batch_size)
    assert sorted(np.concatenate([y for _, y in epoch_of(flow)])) == list(range(N_ARRAYS))


def test_next_goes_on_for_ever_and_reset_begins_again(make: Make) -> None:
    flow = make().flow(photos("L"), np.arange(N_ARRAYS), shuffle=False, batch_size=3)
    shown = [list(y) for _, y in itertools.islice(flow, 8)]
    assert shown == [[0, 1, 2], [3, 4, 5], [6, 7]] * 2 + [[0, 1, 2], [3, 4, 5]]
    flow.reset()
    assert [list(y) for _, y in itertools.islice(flow, 3)] == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_threads_that_share_a_flow_get_each_batch_once(make: Make) -> None:
    flow = make(**MOVED).flow(photos("RGB", 12), np.arange(12), batch_size=5, seed=0)
    with ThreadPoolExecutor(4) as threads:
        labels = list(threads.map(lambda _: next(flow)[1].tolist(), range(4 * len(flow))))
    assert sorted(itertools.chain(*labels)) == sorted(list(range(12)) * 4)
    assert len(set(map(tuple, labels))) > len(flow)


# --- subsets of arrays


@pytest.mark.parametrize("mode", CHANNELS)
def test_subsets_of_arrays(make: Make, mode: str) -> None:
    images = photos(mode)
    generator = make(validation_split=0.5)
    with pytest.raises(REFUSED, match=r"classes|values"):  # sorted by label: one class each
        generator.flow(images, np.repeat([0, 1], N_ARRAYS // 2), subset="validation")
    flow = generator.flow(images, np.repeat([0, 1], 4), subset="validation", ignore_class_split=True, shuffle=False)
    assert list(flow[0][1]) == [0] * 4
    labels = np.repeat([0, 1, 0, 1], 2)
    validation = generator.flow(images, labels, shuffle=False, batch_size=10, subset="validation")
    training = generator.flow(images, labels, shuffle=False, batch_size=10, subset="training")
    assert (validation.n, training.n, generator.flow(images, labels).n) == (4, 4, 8)
    np.testing.assert_array_equal(validation[0][0], images[:4])
    np.testing.assert_array_equal(training[0][0], images[4:])
    assert list(validation[0][1]) == list(training[0][1]) == [0, 0, 1, 1]
    with pytest.raises(REFUSED, match="foo"):
        generator.flow(images, labels, subset="foo")


@pytest.mark.parametrize("split", [0.2, 0.29, 0.7])
def test_subsets_divide_everything_that_belongs_to_an_image(make: Make, split: float) -> None:
    n = 100
    images = photos("L", 1).repeat(n, axis=0)
    images[:, 0, 0, 0] = np.arange(n)
    labels, misc = np.arange(n) % 2, np.arange(n) * 10
    found = {
        subset: make(validation_split=split).flow((images, misc), labels, subset=subset, shuffle=False, batch_size=n)
        for subset in ("validation", "training")
    }
    held_out = int(n * split)
    for subset, which in (("validation", np.arange(held_out)), ("training", np.arange(held_out, n))):
        (x, numbers), y = found[subset][0]
        assert np.array_equal(x[:, 0, 0, 0], which), subset
        assert np.array_equal(numbers, which * 10)
        assert np.array_equal(y, which % 2)


def test_sample_weights_of_a_subset_are_those_of_its_images(ours: Make) -> None:
    # Keras leaves them whole, and gives the weights of other images
    labels = np.arange(N_ARRAYS) % 2
    generator = ours(validation_split=0.5)
    flow = generator.flow(photos("L"), labels, sample_weight=np.arange(N_ARRAYS), subset="training", shuffle=False)
    assert list(flow[0][2]) == [4, 5, 6, 7]


# --- seeds


def test_one_seed_gives_the_same_batches(make: Make) -> None:
    images = photos("RGB")
    flows = [make(**MOVED).flow(images, np.arange(N_ARRAYS), batch_size=3, seed=seed) for seed in (42, 42, 43)]
    one, again, other = ([next(flow) for _ in range(5)] for flow in flows)
    assert all(map(same, one, again))
    assert not any(map(same, one, other))


def test_without_a_seed_numpys_decides(make: Make) -> None:
    def batches(seed: int) -> list[Any]:
        np.random.seed(seed)  # noqa: NPY002 - the one that Keras takes
        flow = make(**MOVED).flow(photos("RGB"), np.arange(N_ARRAYS), batch_size=3)
        return [next(flow) for _ in range(3)]

    one, again, other = batches(1), batches(1), batches(2)
    assert all(map(same, one, again))
    assert not any(map(same, one, other))


GEOMETRY: dict[str, Any] = {name: MOVED[name] for name in MOVED if name not in ("brightness_range", "zoom_range")}


def test_two_generators_with_one_seed_move_images_and_masks_alike(make: Make) -> None:
    # the idiom of Keras' documentation
    images = photos("RGB")
    masks = 255 - images[..., :1]
    generators = make(**GEOMETRY), make(**GEOMETRY)
    for generator, arrays in zip(generators, (images, masks), strict=True):
        generator.fit(arrays, augment=True, seed=1)
    flows = [
        generator.flow(arrays, seed=1, batch_size=3)
        for generator, arrays in zip(generators, (images, masks), strict=True)
    ]
    for x, mask in itertools.islice(zip(*flows, strict=True), 5):
        assert x.shape[:3] == mask.shape[:3]
        np.testing.assert_allclose(x[..., :1], 255 - mask, atol=1.01)


def test_two_folders_with_the_same_names_move_alike(make: Make, folder: Path, tmp_path: Path) -> None:
    for name in names_in(folder):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        with Pillow.open(folder / name) as image:
            Pillow.fromarray(255 - np.asarray(image)).save(tmp_path / name)
    flows = [
        make(**GEOMETRY).flow_from_directory(
            str(place), target_size=SIZE, class_mode=None, color_mode="rgb", seed=5, batch_size=7
        )
        for place in (folder, tmp_path)
    ]
    for image, mask in itertools.islice(zip(*flows, strict=True), 8):
        assert image.shape == mask.shape
        np.testing.assert_allclose(image, 255 - mask, atol=1.01)


# --- what a generator does to one array


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_fit_takes_colour_gray_and_more_samples_than_values(make: Make, data_format: str) -> None:
    turned = first_axes if data_format == "channels_first" else np.asarray
    rng = np.random.default_rng(0)
    # random numbers of 0 to 1: a brightness for them would depend on the range of the dtype
    options = EVERYTHING | {"data_format": data_format, "brightness_range": None}
    for shape, augment in (((32, 10, 10, 3), True), ((32, 10, 10, 1), False), ((32, 4, 4, 1), False)):
        generator = make(**options)
        generator.fit(turned(rng.random(shape)), augment=augment)
        n_values = int(np.prod(shape[1:]))
        assert generator.zca_whitening_matrix.shape == (n_values, n_values)


FITTED: dict[str, dict[str, Any]] = {
    "center": {"featurewise_center": True},
    "std": {"featurewise_center": True, "featurewise_std_normalization": True},
    "std, rescaled": {"featurewise_center": True, "featurewise_std_normalization": True, "rescale": 1 / 255},
    "zca, rescaled": {"featurewise_center": True, "zca_whitening": True, "rescale": 1 / 255, "zca_epsilon": 1e-2},
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("way", FITTED)
def test_fit_and_standardize_give_what_keras_gives(keras: Any, ours: Make, way: str, data_format: str) -> None:
    images = photos("RGB", 200, (6, 6)).astype(np.float32)
    images = first_axes(images) if data_format == "channels_first" else images
    own = ours(**FITTED[way], data_format=data_format, patch_size=(6, 6))
    theirs = keras.ImageDataGenerator(**FITTED[way], data_format=data_format, dtype="float64")
    own.fit(images)
    theirs.fit(images)
    for name in ("mean", "std", "zca_whitening_matrix"):
        expected = getattr(theirs, name)
        # whose rows are those of Keras' axes
        turned = name == "zca_whitening_matrix" and data_format == "channels_first"
        if expected is not None and not turned:
            np.testing.assert_allclose(getattr(own, name), expected, rtol=1e-3, atol=2e-3, err_msg=name)
    for one in (images[0], images[:5]):
        np.testing.assert_allclose(
            own.standardize(one.copy()), theirs.standardize(one.astype(np.float64)), rtol=1e-3, atol=2e-3
        )
    shown = own.flow(images, shuffle=False, batch_size=5)[0]
    np.testing.assert_allclose(shown, theirs.standardize(images[:5].astype(np.float64)), rtol=1e-3, atol=2e-3)


def test_whitening_fitted_on_few_images_leaves_others_in_bounds(make: Make) -> None:
    # there are more values in an image than images: nothing is known of most directions
    images = photos("RGB", 60)
    generator = make(featurewise_center=True, zca_whitening=True, rescale=1 / 255)
    generator.fit(images[:30])
    seen, other = (np.abs(generator.standardize(part.astype(np.float32))).max() for part in (images[:30], images[30:]))
    assert 0.5 < seen < 10
    assert 0.5 < other < 100


@pytest.mark.parametrize("mode", CHANNELS)
def test_fit_rescales_first(make: Make, mode: str) -> None:
    images = photos(mode)
    generator = make(rescale=1 / 255, featurewise_center=True, featurewise_std_normalization=True)
    generator.fit(images)
    x = next(generator.flow(images, batch_size=8))
    assert abs(np.mean(x)) < 1e-3
    assert abs(1 - np.std(x)) < 1e-3
    generator = make(rescale=1 / 255, featurewise_center=True, zca_whitening=True)
    generator.fit(images)
    x = next(generator.flow(images, batch_size=8))
    assert np.max(np.abs(x)) < 3  # of variance 1


def test_fit_of_augmented_arrays(make: Make) -> None:
    images = photos("RGB")
    fitted = []
    for seed, rounds in ((1, 3), (1, 3), (2, 3), (1, 1)):
        generator = make(featurewise_center=True, rotation_range=90, zoom_range=0.3, fill_mode="constant")
        generator.fit(images, augment=True, rounds=rounds, seed=seed)
        fitted.append(np.ravel(generator.mean))
    plain = make(featurewise_center=True)
    plain.fit(images)
    assert np.array_equal(fitted[0], fitted[1])
    assert not np.array_equal(fitted[0], fitted[2])
    assert not np.array_equal(fitted[0], fitted[3])
    assert (fitted[0] < np.ravel(plain.mean) - 1).all()  # black came in at the corners


def test_fit_leaves_the_arrays_as_they_were(make: Make) -> None:
    images = photos("RGB").astype(np.float32)
    before = images.copy()
    generator = make(rescale=1 / 255, featurewise_center=True, featurewise_std_normalization=True)
    generator.fit(images)
    flow = generator.flow(images, shuffle=False)
    flow[0]
    assert np.array_equal(images, before)


def test_standardize_takes_a_batch_of_moved_arrays(make: Make) -> None:
    images = photos("RGB")
    generator = make(**EVERYTHING)
    generator.fit(images, augment=True, seed=0)
    moved = np.stack([generator.random_transform(image.astype(np.float32)) for image in images])
    assert moved.shape == images.shape
    white = generator.standardize(moved.copy())
    assert white.shape == images.shape
    assert np.isfinite(white).all()


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_random_transform_takes_a_seed(make: Make, data_format: str) -> None:
    image = photos("RGB", 1, (30, 24))[0].astype(np.float32)
    image = np.moveaxis(image, 2, 0) if data_format == "channels_first" else image
    size = {} if is_keras(make) else {"patch_size": None}
    # Keras' brightness knows only the data format of its settings
    generator = make(**MOVED | {"brightness_range": None}, **size, data_format=data_format)
    before = image.copy()
    one, again, other = (generator.random_transform(image, seed=seed) for seed in (1, 1, 2))
    assert one.shape == image.shape
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert np.array_equal(image, before)
    assert not np.array_equal(generator.random_transform(image), generator.random_transform(image))
    assert np.array_equal(make(**size, data_format=data_format).random_transform(image, seed=1), image)


@pytest.mark.parametrize(("option", "axis"), [("horizontal_flip", 1), ("vertical_flip", 0)])
def test_flips_flip(make: Make, option: str, axis: int) -> None:
    image = photos("RGB", 1)[0].astype(np.float32)
    generator = make(**{option: True})
    seen = {
        tuple(
            np.array_equal(generator.random_transform(image, seed=seed), way) for way in (image, np.flip(image, axis))
        )
        for seed in range(20)
    }
    assert seen == {(True, False), (False, True)}


def test_preprocessing_comes_after_the_moves_and_before_rescale(make: Make) -> None:
    seen = []

    def remember(x: Array) -> Array:
        assert type(x) is np.ndarray
        seen.append(x.copy())
        return x + 1

    images = photos("RGB")
    generator = make(preprocessing_function=remember, rescale=1 / 255, **GEOMETRY)
    x = generator.flow(images, shuffle=False, batch_size=4, seed=3)[0]
    assert [(one.shape, one.dtype.name) for one in seen] == [((SIDE, SIDE, 3), "float32")] * 4
    np.testing.assert_allclose(x, (np.stack(seen) + 1) / 255, rtol=1e-5)
    assert not np.array_equal(np.stack(seen), images[:4])
    standardised = generator.standardize(np.full((SIDE, SIDE, 3), 9, np.float32))
    np.testing.assert_allclose(standardised, 10 / 255, rtol=1e-5)


@pytest.mark.parametrize("mode", CHANNELS)
def test_samplewise_centres_each_image(make: Make, mode: str) -> None:
    generator = make(samplewise_center=True, samplewise_std_normalization=True, **GEOMETRY)
    x = next(generator.flow(photos(mode), batch_size=5))
    np.testing.assert_allclose(x.mean(axis=(1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(x.std(axis=(1, 2, 3)), 1, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_batches_have_the_dtype_asked_for(make: Make, folder: Path, dtype: str) -> None:
    generator = make(rescale=1 / 255, dtype=dtype)
    assert next(generator.flow(photos("RGB"), batch_size=4)).dtype == dtype
    x, y = next(generator.flow_from_directory(str(folder), target_size=SIZE))
    assert (x.dtype, y.dtype) == (dtype, dtype)


def test_unfitted_statistics_are_not_passed_over(make: Make) -> None:
    def first() -> Any:
        return next(make(featurewise_center=True).flow(photos("RGB"), shuffle=False))

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        with pytest.raises((*REFUSED, UserWarning), match="fit"):
            first()


# --- folders


def test_flow_from_directory(make: Make, folder: Path) -> None:
    flow = make().flow_from_directory(str(folder), target_size=SIZE, batch_size=5)
    assert flow.class_indices == {"class-0": 0, "class-1": 1}
    assert (flow.num_classes, flow.samples, flow.n, len(flow), flow.batch_size) == (2, 24, 24, 5, 5)
    assert flow.classes.dtype == np.int32
    assert flow.image_shape == (*SIZE, 3)
    assert sorted(flow.filenames) == names_in(folder)
    assert [str(folder / name) for name in flow.filenames] == list(flow.filepaths)
    assert [f"class-{label}" for label in flow.classes] == [name.split("/")[0] for name in flow.filenames]
    x, y = next(flow)
    assert (x.shape, x.dtype.name) == ((5, *SIZE, 3), "float32")
    assert (y.shape, y.dtype.name) == ((5, 2), "float32")
    assert len(epoch_of(flow)[-1][0]) == 4


def test_flow_from_directory_takes_a_path_too(make: Make, folder: Path) -> None:
    assert make().flow_from_directory(folder, target_size=SIZE).samples == 24


@pytest.mark.parametrize(
    "wrong",
    [
        {"color_mode": "cmyk"},
        {"class_mode": "output"},
        {"subset": "foo"},
        {"interpolation": "foo"},
    ],
)
def test_arguments_that_cannot_be(make: Make, folder: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(REFUSED, match="|".join(map(str, wrong.values())) + "|Interpolation"):
        next(make().flow_from_directory(str(folder), **{"target_size": (9, 9)} | wrong))


def test_no_folder(make: Make, tmp_path: Path) -> None:
    with pytest.raises((*REFUSED, OSError), match="nowhere"):
        make().flow_from_directory(str(tmp_path / "nowhere"), target_size=SIZE)


def test_class_modes(make: Make, folder: Path) -> None:
    def first(class_mode: str | None) -> Any:
        flow = make().flow_from_directory(
            str(folder), target_size=SIZE, class_mode=class_mode, shuffle=False, batch_size=24
        )
        assert flow.class_mode == class_mode
        return next(flow)

    labels = [0] * 12 + [1] * 12
    x, y = first("categorical")
    assert (y.shape, y.dtype.name, y.argmax(axis=1).tolist()) == ((24, 2), "float32", labels)
    assert np.array_equal(y.sum(axis=1), np.ones(24))
    for class_mode in ("sparse", "binary"):
        other, y = first(class_mode)
        assert (y.shape, y.tolist()) == ((24,), labels)
        assert np.array_equal(other, x)
    alone = first(None)
    assert type(alone) is np.ndarray
    assert np.array_equal(alone, x)


def test_class_mode_input_gives_the_images_twice(make: Make, folder: Path) -> None:
    flow = make(**MOVED).flow_from_directory(str(folder), target_size=SIZE, class_mode="input")
    x, y = next(flow)
    assert np.array_equal(x, y)
    y[0, 0, 0, 0] += 1
    assert x[0, 0, 0, 0] != y[0, 0, 0, 0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("color_mode", COLOR_MODES)
def test_unshuffled_folders_come_as_keras_gives_them(
    keras: Any, ours: Make, folder: Path, color_mode: str, data_format: str
) -> None:
    own, theirs = (
        generator(data_format=data_format, rescale=1 / 255).flow_from_directory(
            str(folder), target_size=SIZE, color_mode=color_mode, shuffle=False, batch_size=7
        )
        for generator in (ours, keras.ImageDataGenerator)
    )
    channels = COLOR_MODES[color_mode]
    assert own.image_shape == theirs.image_shape
    assert own.image_shape == ((*SIZE, channels) if data_format == "channels_last" else (channels, *SIZE))
    shown, expected = (
        dict(zip(flow.filenames, np.concatenate([x for x, _ in epoch_of(flow)]), strict=True)) for flow in (own, theirs)
    )
    assert shown.keys() == expected.keys()
    for name in shown:
        np.testing.assert_array_equal(shown[name], expected[name], err_msg=name)


@pytest.mark.parametrize("subset", [None, "training", "validation"])
def test_order_and_subsets_are_those_of_keras(keras: Any, ours: Make, tree: Any, subset: str | None) -> None:
    root = tree(
        *(f"{label}/{name}.png" for label in "aBc" for name in ("10", "9", "a b", "B", "_", "é", "z.1")), size=SIZE
    )
    tree("a/deep/er/1.png", "a/deep/2.png", "a/deep-er/3.png", "a/Deep/4.png", "B/0/1.png", size=SIZE)
    own, theirs = (
        generator(validation_split=0.3).flow_from_directory(str(root), target_size=SIZE, shuffle=False, subset=subset)
        for generator in (ours, keras.ImageDataGenerator)
    )
    assert own.class_indices == theirs.class_indices
    assert list(own.filenames) == list(theirs.filenames)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("keep_aspect_ratio", [False, True])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
def test_images_are_resized_as_keras_resizes_them(
    keras: Any, ours: Make, folder: Path, interpolation: str, keep_aspect_ratio: bool
) -> None:
    # by Pillow, of which only the version decides
    asked = {"interpolation": interpolation, "keep_aspect_ratio": keep_aspect_ratio, "target_size": (13, 26)}
    options = {"shuffle": True, "seed": 0, "batch_size": 24, "color_mode": "rgb", "class_mode": None}
    own, theirs = (
        generator.flow_from_directory(str(folder), **{**options, "shuffle": False}, **asked)
        for generator in (ours(patch_size=None), keras.ImageDataGenerator())
    )
    assert own.image_shape == (13, 26, 3)
    shown, expected = (dict(zip(flow.filenames, flow[0], strict=True)) for flow in (own, theirs))
    for name in expected:
        np.testing.assert_array_equal(shown[name], expected[name], err_msg=name)


def test_preprocessing_sees_each_resized_image(make: Make, folder: Path) -> None:
    seen = []

    def blank(x: Array) -> Array:
        assert type(x) is np.ndarray
        seen.append(x.shape)
        return np.zeros_like(x)

    size = {} if is_keras(make) else {"patch_size": None}
    flow = make(preprocessing_function=blank, **size).flow_from_directory(
        str(folder), target_size=(26, 26), batch_size=3
    )
    assert len(flow) == 8
    x, y = flow[5]
    assert (x.shape, y.shape) == ((3, 26, 26, 3), (3, 2))
    assert (x == 0).all()
    assert seen == [(26, 26, 3)] * 3
    with pytest.raises((*REFUSED, IndexError), match="8"):
        flow[8]


def test_classes_in_the_order_given(make: Make, folder: Path) -> None:
    flow = make().flow_from_directory(
        str(folder), target_size=SIZE, classes=["class-1", "class-0"], shuffle=False, class_mode="sparse", batch_size=24
    )
    assert flow.class_indices == {"class-1": 0, "class-0": 1}
    assert [name.split("/")[0] for name in flow.filenames] == [f"class-{1 - label}" for label in flow.classes]
    assert flow[0][1].tolist() == flow.classes.tolist()
    flow = make().flow_from_directory(str(folder), target_size=SIZE, classes=["class-1"])
    assert (flow.samples, flow.class_indices, next(flow)[1].shape) == (12, {"class-1": 0}, (12, 1))


def test_a_class_without_images_keeps_its_number(make: Make, tree: Any) -> None:
    root = tree("a/1.png", "c/2.png", size=SIZE)
    (root / "b").mkdir()
    flow = make().flow_from_directory(str(root), target_size=SIZE)
    assert flow.class_indices == {"a": 0, "b": 1, "c": 2}
    assert (flow.samples, next(flow)[1].shape) == (2, (2, 3))


def test_a_class_that_is_not_there(ours: Make, folder: Path) -> None:
    # Keras finds no images in it and says nothing
    with pytest.raises(REFUSED, match="class-7"):
        ours().flow_from_directory(str(folder), target_size=SIZE, classes=["class-1", "class-7"])


@pytest.mark.parametrize("split", [0.25, 0.5, 0.75])
def test_subsets_of_a_folder(make: Make, folder: Path, split: float) -> None:
    generator = make(validation_split=split)
    training, validation = (
        generator.flow_from_directory(str(folder), target_size=SIZE, subset=subset, seed=0)
        for subset in ("training", "validation")
    )
    assert (training.samples, validation.samples) == (24 * (1 - split), 24 * split)
    assert training.class_indices == validation.class_indices == {"class-0": 0, "class-1": 1}
    assert np.bincount(validation.classes).tolist() == [12 * split] * 2
    assert sorted([*training.filenames, *validation.filenames]) == names_in(folder)
    shown = np.concatenate([x for flow in (training, validation) for x, _ in epoch_of(flow)])
    assert len(np.unique(shown.reshape(24, -1), axis=0)) == 24


def test_links_to_folders_are_followed_when_asked(make: Make, tree: Any, tmp_path: Path) -> None:
    root = tree("a/1.png", "b/2.png", size=SIZE)
    (tmp_path / "elsewhere").mkdir()
    (root / "a" / "1.png").rename(tmp_path / "elsewhere" / "1.png")
    (root / "a" / "link").symlink_to(tmp_path / "elsewhere")
    flows = [make().flow_from_directory(str(root), target_size=SIZE, follow_links=follow) for follow in (False, True)]
    assert [flow.samples for flow in flows] == [1, 2]
    assert sorted(flows[1].filenames) == ["a/link/1.png", "b/2.png"]


def test_an_index_outside_is_refused_and_next_never_ends(make: Make, folder: Path) -> None:
    flow = make().flow_from_directory(str(folder), target_size=SIZE, batch_size=10, shuffle=False, class_mode="sparse")
    with pytest.raises((*REFUSED, IndexError), match="3"):
        flow[3]
    sizes = [len(x) for x, _ in itertools.islice(flow, 7)]
    assert sizes == [10, 10, 4, 10, 10, 4, 10]


# --- pictures


@pytest.mark.parametrize(("save_format", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("bmp", "BMP")])
@pytest.mark.parametrize("source", ["arrays", "folder"])
def test_what_is_shown_is_saved(
    make: Make, folder: Path, tmp_path: Path, source: str, save_format: str, kind: str
) -> None:
    generator = make(**MOVED, rescale=1 / 255)
    options = {"save_to_dir": str(tmp_path), "save_prefix": "seen", "save_format": save_format, "batch_size": 3}
    if source == "arrays":
        flow = generator.flow(photos("RGB"), np.arange(N_ARRAYS), **options)
    else:
        flow = generator.flow_from_directory(str(folder), target_size=SIZE, **options)
    assert not names_in(tmp_path)
    next(flow)
    flow[1]
    saved = sorted(tmp_path.iterdir())
    assert len(saved) == 6
    for path in saved:
        assert path.name.startswith("seen_")
        assert path.suffix == f".{save_format}"
        with Pillow.open(path) as image:
            image.load()
            assert (image.format, image.size, image.mode) == (kind, SIZE, "RGB")


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("mode", CHANNELS)
def test_saved_pictures_show_the_batch(make: Make, tmp_path: Path, mode: str, data_format: str) -> None:
    images = photos(mode)
    images[:, 0, 0], images[:, 1, 1] = 0, 255  # Keras stretches the levels of each picture to all of these
    arrays = first_axes(images) if data_format == "channels_first" else images
    flow = make(data_format=data_format, rescale=1 / 255).flow(
        arrays, shuffle=False, save_to_dir=str(tmp_path), batch_size=4
    )
    flow[1]
    saved = sorted(tmp_path.iterdir(), key=lambda path: int(path.name.split("_")[1]))
    assert [path.name.split("_")[1] for path in saved] == ["4", "5", "6", "7"]
    for path, expected in zip(saved, images[4:], strict=True):
        with Pillow.open(path) as image:
            shown = np.asarray(image).reshape(*SIZE, -1)
        assert shown.shape == expected.shape
        assert np.abs(shown.astype(int) - expected).max() <= 1


def test_a_folder_for_pictures_that_is_not_there(make: Make, tmp_path: Path) -> None:
    with pytest.raises((*REFUSED, OSError), match="missing"):
        next(make().flow(photos("RGB"), save_to_dir=str(tmp_path / "missing")))


# --- data formats


@pytest.mark.parametrize("mode", CHANNELS)
def test_channels_first_is_the_same_turned(make: Make, mode: str) -> None:
    images = photos(mode)
    last, first = (
        make(**GEOMETRY, data_format=data_format).flow(arrays, np.arange(N_ARRAYS), seed=9, batch_size=3)
        for data_format, arrays in (("channels_last", images), ("channels_first", first_axes(images)))
    )
    for (x, y), (turned, z) in itertools.islice(zip(last, first, strict=True), 5):
        assert turned.shape == (len(x), CHANNELS[mode], *SIZE)
        np.testing.assert_allclose(turned, first_axes(x), atol=1e-3)
        assert list(y) == list(z)


# --- nothing at all


def test_an_empty_array_or_folder_is_an_error_or_no_batch(make: Make, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    generator = make()
    makers: list[Callable[[], Any]] = [
        lambda: generator.flow(np.zeros((0, *SIZE, 3)), np.zeros(0)),
        lambda: generator.flow_from_directory(os.fspath(tmp_path), target_size=SIZE),
    ]
    for maker in makers:
        try:
            flow = maker()
        except REFUSED:
            continue
        assert (flow.n, len(flow)) == (0, 0)
