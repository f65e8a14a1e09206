"""Standardising: what Keras' ImageDataGenerator gives for the same patches, and the same in any blocks and threads."""

from __future__ import annotations

import json
import time
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from demo_images import packaged
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from threadpoolctl import threadpool_limits

from patchcli.errors import UsageError
from patchcli.pipeline.standardize import EPSILON, Standard, Statistics, fit, standardize

Array = npt.NDArray[Any]

WAYS: dict[str, dict[str, Any]] = {
    "rescale": {"rescale": 1 / 255},
    "samplewise_center": {"samplewise_center": True},
    "samplewise_std": {"samplewise_center": True, "samplewise_std_normalization": True},
    "samplewise, rescaled": {"rescale": 1 / 255, "samplewise_center": True, "samplewise_std_normalization": True},
    "featurewise_center": {"featurewise_center": True},
    "featurewise_std": {"featurewise_center": True, "featurewise_std_normalization": True},
    "featurewise, rescaled": {"rescale": 1 / 255, "featurewise_center": True, "featurewise_std_normalization": True},
    "negative": {"rescale": -0.5, "featurewise_center": True},
}
WHITENING: dict[str, dict[str, Any]] = {
    "as it is": {},
    "rescaled": {"rescale": 1 / 255},
    "large epsilon": {"zca_epsilon": 1.0},
    "large epsilon, rescaled": {"rescale": 1 / 255, "zca_epsilon": 0.1},
}


def tissue(n: int, size: int = 8, n_channels: int = 3, dtype: str = "uint8") -> Array:
    """Patches (n, size, size, n_channels) of stained tissue; a fourth channel and more are other places."""
    with Pillow.open(packaged("ihc.png")) as image:
        photo = np.asarray(image.convert("RGB"))
    wide = np.concatenate([np.roll(photo, 64 * k, axis=0) for k in range(-(-n_channels // 3))], axis=2)
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 512 - size, (n, 2))
    patches: Array = np.stack([wide[y : y + size, x : x + size, :n_channels] for y, x in corners])
    if dtype == "float32":
        return patches.astype(np.float32) / np.float32(255)
    return patches if dtype == "uint8" else patches.astype(np.uint16) * np.uint16(257)


def by_keras(keras: Any, patches: Array, options: dict[str, Any]) -> tuple[Array, Any]:
    """The patches as Keras standardises them in double precision, and its generator."""
    generator = keras.ImageDataGenerator(**options, dtype="float64")
    if options.get("featurewise_center") or options.get("zca_whitening"):
        generator.fit(patches.astype(np.float64))
    return np.stack([generator.standardize(patch.astype(np.float64)) for patch in patches]), generator


def ours(patches: Array, options: dict[str, Any]) -> tuple[Array, Statistics | None]:
    standard = Standard.of(**options)
    statistics = fit([patches], standard) if standard.needs_statistics else None
    return np.stack([standardize(patch, standard, statistics) for patch in patches]), statistics


# Keras


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("n_channels", [1, 3, 4])
@pytest.mark.parametrize("way", WAYS)
def test_is_what_keras_gives(keras: Any, way: str, n_channels: int, dtype: str) -> None:
    patches = tissue(20, 12, n_channels, dtype)
    found, statistics = ours(patches, WAYS[way])
    expected, generator = by_keras(keras, patches, WAYS[way])
    assert (found.dtype.name, found.shape) == ("float32", patches.shape)
    # float32 holds 24 bits of the largest number that is on the way
    scale = max(
        np.abs(expected).max(), float(patches.max()) * abs(WAYS[way].get("rescale", 1)) / max(1, expected.std())
    )
    assert np.abs(found - expected).max() <= 2e-6 * scale
    if statistics is not None:
        # exact but for the factor, which is rounded to float32 as in Keras' own precision
        digits = 1e-12 if "rescale" not in WAYS[way] or WAYS[way]["rescale"] == -0.5 else 1e-6
        assert statistics.mean == pytest.approx(np.ravel(generator.mean), rel=digits)
        if generator.std is not None:
            assert statistics.std == pytest.approx(np.ravel(generator.std), rel=max(digits, 1e-9))


@pytest.mark.parametrize("way", WHITENING)
def test_whitens_as_keras(keras: Any, way: str) -> None:
    patches = tissue(500)
    options = {"featurewise_center": True, "zca_whitening": True, **WHITENING[way]}
    found, statistics = ours(patches, options)
    expected, generator = by_keras(keras, patches, options)
    assert statistics is not None
    assert statistics.whitening is not None
    assert (statistics.whitening.dtype.name, statistics.whitening.shape) == ("float32", (192, 192))
    largest = np.abs(generator.zca_whitening_matrix).max()
    assert np.abs(statistics.whitening - generator.zca_whitening_matrix).max() < 1e-5 * largest
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_keras_in_its_own_precision(keras: Any) -> None:
    patches = tissue(40, 16)
    options = WAYS["featurewise, rescaled"]
    generator = keras.ImageDataGenerator(**options)
    generator.fit(patches.astype(np.float32))
    expected = np.stack([generator.standardize(patch.astype(np.float32)) for patch in patches])
    assert np.abs(ours(patches, options)[0] - expected).max() < 1e-4


# by itself


def test_featurewise_gives_mean_0_and_deviation_1_in_every_channel() -> None:
    found, _ = ours(tissue(60, 16, 4), {"featurewise_std_normalization": True})
    assert np.abs(found.mean(axis=(0, 1, 2), dtype=np.float64)).max() < 1e-5
    assert np.abs(found.std(axis=(0, 1, 2), dtype=np.float64) - 1).max() < 1e-5


def test_samplewise_gives_mean_0_and_deviation_1_in_every_patch() -> None:
    found, _ = ours(tissue(60, 16, 4), {"samplewise_std_normalization": True})
    assert np.abs(found.mean(axis=(1, 2, 3), dtype=np.float64)).max() < 1e-5
    assert np.abs(found.std(axis=(1, 2, 3), dtype=np.float64) - 1).max() < 1e-5


def test_whitened_patches_are_white() -> None:
    found, _ = ours(tissue(1500), {"zca_whitening": True})
    flat = found.reshape(len(found), -1).astype(np.float64)
    covariance = flat.T @ flat / len(flat)
    assert np.abs(covariance - np.eye(192)).max() < 0.02


def test_whitening_changes_patches_as_little_as_can_be() -> None:
    """The matrix is symmetric and positive: ZCA, not another whitening, which would turn the px into others."""
    statistics = fit([tissue(500)], Standard.of(zca_whitening=True))
    assert statistics.whitening is not None
    matrix = statistics.whitening.astype(np.float64)
    assert np.abs(matrix - matrix.T).max() < 1e-6 * np.abs(matrix).max()
    assert np.linalg.eigvalsh((matrix + matrix.T) / 2).min() > 0


def test_flat_patches_do_not_divide_by_zero() -> None:
    flat = np.full((5, 4, 4, 3), 7, np.uint8)
    for options in ({"samplewise_std_normalization": True}, {"featurewise_std_normalization": True}):
        assert (ours(flat, options)[0] == 0).all()
    found, _ = ours(flat, {"zca_whitening": True})
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 1e-6


def test_statistics_are_those_of_patches_when_it_comes_to_them() -> None:
    patches = tissue(30, 8)
    rescaled = fit([patches], Standard.of(rescale="1/255", featurewise_center=True))
    plain = fit([patches], Standard.of(featurewise_center=True))
    assert rescaled.mean * 255 == pytest.approx(plain.mean, rel=1e-6)
    assert rescaled.std * 255 == pytest.approx(plain.std, rel=1e-6)
    centred = fit([patches], Standard.of(samplewise_std_normalization=True, featurewise_center=True))
    assert np.abs(centred.mean.mean()) < 1e-6
    own = np.stack([Standard.of(samplewise_std_normalization=True).of_its_own(patch) for patch in patches])
    assert centred.mean == pytest.approx(own.mean(axis=(0, 1, 2), dtype=np.float64), abs=1e-9)


def test_statistics_are_exact_for_large_numbers_with_small_deviations() -> None:
    rng = np.random.default_rng(0)
    patches = (65000 + rng.integers(0, 3, (400, 8, 8, 2))).astype(np.uint16)
    found = fit([patches], Standard.of(featurewise_std_normalization=True))
    assert found.mean == pytest.approx(patches.mean(axis=(0, 1, 2)), rel=1e-12)
    assert found.std == pytest.approx(patches.std(axis=(0, 1, 2)), rel=1e-6)


@pytest.mark.parametrize("way", [*WAYS, "zca"])
def test_the_input_stays_as_it_is(way: str) -> None:
    options = WAYS.get(way, {"zca_whitening": True})
    for dtype in ("uint8", "uint16", "float32"):
        patches = tissue(20, 4, 3, dtype)
        before = patches.copy()
        patches.flags.writeable = False
        found, _ = ours(patches, options)
        assert np.array_equal(patches, before)
        assert not np.shares_memory(found, patches)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous


def test_nothing_is_a_copy_in_float32() -> None:
    patch = tissue(1)[0]
    found = standardize(patch, Standard(), None)
    assert (found.dtype.name, found.tolist()) == ("float32", patch.tolist())
    floats = patch.astype(np.float32)
    assert not np.shares_memory(standardize(floats, Standard(), None), floats)


# blocks and threads


@pytest.mark.parametrize("options", [{"featurewise_std_normalization": True}, {"zca_whitening": True}])
def test_blocks_of_any_size_give_the_same_statistics(options: dict[str, Any]) -> None:
    patches, standard = tissue(300), Standard.of(rescale="1/255", **options)
    whole = fit([patches], standard)
    for size in (1, 7, 64, 299):
        parts = fit((patches[k : k + size] for k in range(0, len(patches), size)), standard)
        assert parts.mean == pytest.approx(whole.mean, rel=1e-12)
        assert parts.std == pytest.approx(whole.std, rel=1e-9)
        if whole.whitening is not None and parts.whitening is not None:
            difference = np.abs(parts.whitening - whole.whitening).max()
            assert difference <= 1e-6 * np.abs(whole.whitening).max()
    again = fit([patches], standard)
    assert (again.mean.tobytes(), again.std.tobytes()) == (whole.mean.tobytes(), whole.std.tobytes())


def test_the_number_of_threads_changes_no_bit() -> None:
    patches, standard = tissue(600, 12), Standard.of(zca_whitening=True, rescale="1/255")
    found = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            statistics = fit([patches[:300], patches[300:]], standard)
            assert statistics.whitening is not None
            made = standardize(patches[0], standard, statistics)
        found.append((statistics.mean.tobytes(), statistics.whitening.tobytes(), made.tobytes()))
    assert found[0] == found[1]


# what users write


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1/255", 1 / 255),
        ("1 / 255", 1 / 255),
        ("0.5", 0.5),
        ("1e-3", 1e-3),
        (" -2 ", -2.0),
        (2, 2.0),
        (1 / 255, 1 / 255),
        (Fraction(1, 65535), 1 / 65535),
        (np.float32(0.25), 0.25),
    ],
)
def test_factors_are_numbers_or_fractions(written: object, value: float) -> None:
    assert Standard.of(rescale=written).rescale == value


def test_scaling_implies_centring_as_in_keras() -> None:
    assert Standard.of(samplewise_std_normalization=True) == Standard(
        samplewise_center=True, samplewise_std_normalization=True
    )
    assert Standard.of(featurewise_std_normalization=True) == Standard(
        featurewise_center=True, featurewise_std_normalization=True
    )
    assert Standard.of(zca_whitening=True, featurewise_center=False) == Standard(
        featurewise_center=True, zca_whitening=True
    )


@pytest.mark.parametrize("way", [*WAYS, "zca"])
def test_keras_implies_the_same(keras: Any, way: str) -> None:
    options = {name: value for name, value in WAYS.get(way, {"zca_whitening": True}).items() if "center" not in name}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it implies something
        generator = keras.ImageDataGenerator(**options)
    found = Standard.of(**options)
    for name in Standard.names():
        assert getattr(found, name) == getattr(generator, name)


def test_what_is_nothing_and_what_needs_statistics() -> None:
    nothings: list[dict[str, Any]] = [{}, {"zca_epsilon": 1e-6}, {"rescale": None, "featurewise_center": False}]
    for nothing in nothings:
        assert Standard.of(**nothing).is_nothing
        assert not Standard.of(**nothing).needs_statistics
    for way, options in WAYS.items():
        assert not Standard.of(**options).is_nothing
        assert Standard.of(**options).needs_statistics == ("featurewise_center" in options), way
    assert Standard.of(zca_whitening=True).needs_statistics


factors = st.none() | st.floats(-1e6, 1e6).filter(lambda factor: abs(factor) >= 1e-30)


@given(factors, st.floats(1e-12, 10), st.dictionaries(st.sampled_from(Standard.names()[1:-1]), st.booleans()))
def test_settings_say_it_all(rescale: float | None, epsilon: float, switches: dict[str, bool]) -> None:
    if switches.get("zca_whitening") and switches.get("featurewise_std_normalization"):
        with pytest.raises(UsageError, match="leave out featurewise_std_normalization"):
            Standard.of(rescale=rescale, zca_epsilon=epsilon, **switches)
        return
    if not switches.get("zca_whitening"):
        with pytest.raises(UsageError, match="zca_epsilon has no effect"):
            Standard.of(rescale=rescale, zca_epsilon=0.5, **switches)
        epsilon = 1e-6
    standard = Standard.of(rescale=rescale, zca_epsilon=epsilon, **switches)
    said = standard.settings()
    assert Standard.of(**json.loads(json.dumps(said))) == standard
    assert (said == {}) == (standard == Standard())


def test_defaults_are_those_of_keras(keras: Any) -> None:
    generator = keras.ImageDataGenerator()
    for name in Standard.names():
        assert getattr(Standard(), name) == (getattr(generator, name) or getattr(Standard(), name))
    assert Standard().zca_epsilon == generator.zca_epsilon == EPSILON


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"rescale": "1/0"}, "rescale is '1/0': expected a number, or a fraction such as 1/255"),
        ({"rescale": "one"}, "rescale is 'one': expected a number"),
        ({"rescale": ""}, "rescale is '': expected a number"),
        ({"rescale": True}, "rescale is True: expected a number"),
        ({"rescale": [1]}, r"rescale is \[1\]: expected a number"),
        ({"rescale": "1/2/3"}, "rescale is '1/2/3': expected a number"),
        ({"rescale": "nan"}, "rescale is 'nan': expected a number"),
        ({"rescale": "1e400"}, "rescale is inf: expected a factor"),
        ({"rescale": float("inf")}, "rescale is inf: expected a"),
        ({"rescale": 0}, "rescale is 0: expected a factor such as 1/255"),
        ({"rescale": "0/7"}, "rescale is 0: expected a factor such as 1/255"),
        ({"zca_epsilon": 0}, "zca_epsilon is 0.0: expected a small number above 0, such as 1e-6"),
        ({"zca_epsilon": -1e-6}, "zca_epsilon is -1e-06: expected a small number above 0"),
        ({"zca_epsilon": "x"}, "zca_epsilon is 'x': expected a number"),
        ({"zca_whitening": True, "featurewise_std_normalization": True}, "zca_whitening scales too: leave out"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(UsageError, match=f"^{expected}"):
        Standard.of(**options)


@pytest.mark.parametrize("written", ["1" * 5000, "1e9999999", "1e-9999999", "1/" + "9" * 5000, "1/1e9999999"])
def test_endless_numbers_end_at_once(written: str) -> None:
    begin = time.process_time()
    with pytest.raises(UsageError, match=r"^rescale is ") as caught:
        Standard.of(rescale=written)
    assert time.process_time() - begin < 1
    assert len(str(caught.value)) < 200


def test_no_patches_have_no_statistics() -> None:
    with pytest.raises(UsageError, match="no patches to take statistics of"):
        fit([], Standard.of(featurewise_center=True))
