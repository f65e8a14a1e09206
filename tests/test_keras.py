"""Keras' way: ranges as users write them, parameters drawn as Keras draws them, pixels as Keras makes them."""

from __future__ import annotations

import json
import math
import random
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from demo_images import packaged
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from patchcli.errors import UsageError
from patchcli.pipeline.keras_affine import KerasDraw, KerasTransform, affine_matrix
from patchcli.pipeline.keras_ranges import FillMode, KerasRanges
from patchcli.pipeline.seeding import Streams
from patchcli.pipeline.warp import warp

Array = npt.NDArray[Any]
FILL_MODES: tuple[FillMode, ...] = ("nearest", "reflect", "constant", "wrap")
LEVELS = {"uint8": 255, "uint16": 65535, "float32": 1}
USUAL: dict[str, object] = {
    "rotation_range": 20,
    "width_shift_range": 0.1,
    "height_shift_range": 0.1,
    "shear_range": 0.2,
    "zoom_range": 0.2,
    "horizontal_flip": True,
}


def keras_parameters(drawn: KerasDraw) -> dict[str, Any]:
    """The same for Keras' `apply_transform`: there, too, tx moves columns, and zx is for columns."""
    return {
        "theta": drawn.theta,
        "tx": drawn.tx,
        "ty": drawn.ty,
        "shear": drawn.shear,
        "zx": drawn.zx,
        "zy": drawn.zy,
        "flip_horizontal": drawn.flip_horizontal,
        "flip_vertical": drawn.flip_vertical,
        "channel_shift_intensity": drawn.channel_shift,
        "brightness": drawn.brightness,
    }


def keras_pixels(keras: Any, image: Array, drawn: KerasDraw, fill_mode: FillMode, cval: float) -> Array:
    """What Keras makes of an image, float32, as it does everything."""
    generator = keras.ImageDataGenerator(fill_mode=fill_mode, cval=cval, data_format="channels_last", dtype="float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # scipy.ndimage.interpolation, Pillow's mode
        return np.asarray(generator.apply_transform(image.astype(np.float32), keras_parameters(drawn)))


def our_pixels(image: Array, drawn: KerasDraw, fill_mode: FillMode = "nearest", cval: float = 0.0) -> Array:
    # a zoom, so that the fill mode counts
    ranges = KerasRanges.of(fill_mode=fill_mode, cval=cval, zoom_range=0.5)
    assert image.ndim == 3
    before = image.copy()
    image.flags.writeable = False
    out = KerasTransform(ranges, Streams(), (image.shape[0], image.shape[1], image.shape[2]), image.dtype).apply(
        image, drawn
    )
    assert np.array_equal(image, before, equal_nan=image.dtype.kind == "f")
    assert (out.shape, out.dtype) == (image.shape, image.dtype)
    assert out.flags.c_contiguous
    return out


def noise(shape: tuple[int, int, int], dtype: str, *, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        return rng.random(shape, np.float32)
    whole: Array = rng.integers(0, LEVELS[dtype], shape, dtype, endpoint=True)
    return whole


def photo(channels: int, size: int, dtype: str) -> Array:
    """A crop of a real image; its last of four channels is one of another image."""
    with Pillow.open(packaged("ihc.png")) as opened:
        colour = np.asarray(opened.convert("RGB"))[100 : 100 + size, 60 : 60 + size]
    with Pillow.open(packaged("brick.png")) as opened:
        gray = np.asarray(opened.convert("L"))[7 : 7 + size, 9 : 9 + size, np.newaxis]
    pixels = np.concatenate([gray if channels == 1 else colour, gray], axis=2)[..., :channels]
    scaled = pixels.astype(np.float64) * (LEVELS[dtype] / 255)
    return np.ascontiguousarray(scaled.astype(dtype))


def doubtful(drawn: KerasDraw, size: tuple[int, int], fill_mode: FillMode) -> Array:
    """Pixels that come from the very border (H, W): there rounding decides whether they lie outside."""
    height, width = size
    if fill_mode not in ("constant", "wrap"):
        return np.zeros(size, bool)
    x, y = sources(affine_matrix(drawn, size), size)
    on_border = [
        np.isclose(np.rint(turn), turn, rtol=0, atol=1e-9) for turn in (x / max(width - 1, 1), y / max(height - 1, 1))
    ]
    return on_border[0] | on_border[1]


def sources(matrix: Array, size: tuple[int, int]) -> tuple[Array, Array]:
    """Coordinates x and y of where each pixel comes from, each (H, W)."""
    row, column = np.indices(size)
    (xx, xy, x), (yx, yy, y) = matrix
    return xx * column + xy * row + x, yx * column + yy * row + y


def difference(ours: Array, theirs: Array, doubt: Array) -> float:
    apart = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    return float(apart[~doubt].max(initial=0))


def some_angle(most: float) -> st.SearchStrategy[float]:
    return st.just(0.0) | st.floats(-most, most).filter(lambda angle: abs(angle) > 1e-6)


@st.composite
def draws(draw: st.DrawFn, *, size: int, lit: float = 0) -> KerasDraw:
    """Parameters of all kinds; with channel shifts up to `lit` and brightness when `lit` is not 0."""
    factors = st.just(1.0) | st.floats(0.3, 2.5)
    shifts = st.just(0.0) | st.integers(-size, size).map(float) | st.floats(-size, size)
    return KerasDraw(
        theta=draw(some_angle(180)),
        tx=draw(shifts),
        ty=draw(shifts),
        shear=draw(some_angle(60)),
        zx=draw(factors),
        zy=draw(factors),
        flip_horizontal=draw(st.booleans()),
        flip_vertical=draw(st.booleans()),
        channel_shift=draw(st.none() | st.floats(-lit, lit)) if lit else None,
        brightness=draw(st.none() | st.floats(0, 3)) if lit else None,
    )


# --- ranges


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"rotation_range": "20"}, {"rotation_range": 20.0}),
        ({"rotation_range": 20}, {"rotation_range": 20.0}),
        ({"shear_range": "0.2"}, {"shear_range": 0.2}),
        ({"shear_range": 0.2}, {"shear_range": 0.2}),
        ({"shear_range": "0.2rad"}, {"shear_range": math.degrees(0.2)}),
        ({"shear_range": " 0.2 deg"}, {"shear_range": 0.2}),
        ({"zoom_range": "0.2"}, {"zoom_range": [0.8, 1.2]}),
        ({"zoom_range": 0.9}, {"zoom_range": [0.1, 1.9]}),
        ({"zoom_range": "0.8,1.2"}, {"zoom_range": [0.8, 1.2]}),
        ({"zoom_range": "0.8 1.2"}, {"zoom_range": [0.8, 1.2]}),
        ({"zoom_range": " [ 0.8  1.2 ] "}, {"zoom_range": [0.8, 1.2]}),
        ({"brightness_range": "(0.8 , 1.2)"}, {"brightness_range": [0.8, 1.2]}),
        ({"width_shift_range": "-4 0 4"}, {"width_shift_range": [0.0, 4.0, 4.0]}),
        ({"zoom_range": [1.2, 0.8]}, {"zoom_range": [0.8, 1.2]}),
        ({"zoom_range": [1, 1]}, {}),
        ({"width_shift_range": "0.1"}, {"width_shift_range": 0.1}),
        ({"width_shift_range": "3"}, {"width_shift_range": 3}),
        ({"width_shift_range": np.int64(3)}, {"width_shift_range": 3}),
        ({"width_shift_range": "3.0"}, {"width_shift_range": 3.0}),
        ({"width_shift_range": np.float32(3)}, {"width_shift_range": 3.0}),
        ({"width_shift_range": "1.0"}, {"width_shift_range": 1.0}),
        ({"width_shift_range": "-4,0,4"}, {"width_shift_range": [0.0, 4.0, 4.0]}),
        ({"width_shift_range": [4, 0, 4, 0, 4, 4]}, {"width_shift_range": [0.0, 4.0, 4.0]}),
        ({"height_shift_range": [-0.1, 0.1]}, {"height_shift_range": [0.1]}),
        ({"height_shift_range": "[-0.0, 0]"}, {}),
        ({"channel_shift_range": "1e1"}, {"channel_shift_range": 10.0}),
        ({"brightness_range": "0.8, 1.2"}, {"brightness_range": [0.8, 1.2]}),
        ({"brightness_range": [1, 1.0]}, {}),
        ({"horizontal_flip": True, "vertical_flip": "false"}, {"horizontal_flip": True}),
        ({"rotation_range": 5, "fill_mode": "constant", "cval": "255"},) * 2,
        ({"rotation_range": 5, "fill_mode": "nearest", "cval": 255}, {"rotation_range": 5.0}),
        ({"horizontal_flip": True, "fill_mode": "constant", "cval": 7}, {"horizontal_flip": True}),
        (dict.fromkeys(KerasRanges.names()), {}),
        ({"rotation_range": -0.0, "cval": "-0"}, {}),
    ],
)
def test_what_is_written_has_one_meaning(written: dict[str, object], meant: dict[str, object]) -> None:
    if "cval" in meant:
        meant = {"rotation_range": 5.0, "fill_mode": "constant", "cval": 255.0}
    ranges = KerasRanges.of(**written)
    assert json.dumps(ranges.settings()) == json.dumps(meant)
    assert ranges.is_nothing is (not meant)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"rotation_rang": 5}, "did you mean rotation_range"),
        ({"q": 5}, "there are rotation_range, width_shift_range"),
        ({"rotation_range": -5}, "rotation_range is -5: expected degrees from 0 to 360"),
        ({"rotation_range": "361"}, "rotation_range is '361': expected"),
        ({"rotation_range": "nan"}, "rotation_range is 'nan': expected"),
        ({"rotation_range": math.inf}, "rotation_range is inf, larger than 1e.09: expected"),
        ({"rotation_range": True}, "rotation_range is True: expected degrees"),
        ({"rotation_range": "5,6"}, "rotation_range is '5,6': expected"),
        ({"rotation_range": [5]}, r"rotation_range is \[5\]: expected"),
        ({"rotation_range": "0.2rad"}, "rotation_range is '0.2rad': expected degrees"),
        ({"rotation_range": "1_0"}, "rotation_range is '1_0'"),
        ({"rotation_range": "9" * 5000}, "expected degrees"),
        ({"rotation_range": "٣"}, "expected degrees"),
        ({"shear_range": 90}, "shear_range is 90: expected degrees from 0 to below 90, or radians such as 0.2rad"),
        ({"shear_range": "2rad"}, "shear_range is '2rad': expected"),
        ({"shear_range": "xrad"}, "shear_range is 'xrad': expected"),
        ({"width_shift_range": 1}, "width_shift_range is 1: whole px below 1 are none"),
        ({"zoom_range": 1}, "zoom_range is 1, which gives factors from 0 to 2: expected"),
        ({"zoom_range": "1.5"}, "zoom_range is '1.5', which gives factors from -0.5 to 2.5: expected"),
        ({"zoom_range": "0,1"}, "zoom_range is '0,1': expected .* above 0"),
        ({"zoom_range": [0.8, 1, 1.2]}, "3 values: expected .* two factors"),
        ({"zoom_range": "0.8 1 1.2"}, "is '0.8 1 1.2', 3 values: expected .* such as 0.8,1.2"),
        ({"brightness_range": "0.8"}, "is '0.8', 1 value: expected .* such as 0.8,1.2"),
        ({"rotation_range": "5 6"}, "rotation_range is '5 6': expected degrees"),
        ({"width_shift_range": -0.1}, "width_shift_range is -0.1: expected a fraction.* the sign is drawn"),
        ({"width_shift_range": []}, r"width_shift_range is \[\]: expected"),
        ({"width_shift_range": "1,,2"}, "width_shift_range is '1,,2': expected"),
        ({"height_shift_range": [[1]]}, "height_shift_range is"),
        ({"channel_shift_range": -1}, "channel_shift_range is -1: expected pixel values, 0 or more"),
        ({"channel_shift_range": "1e999"}, "channel_shift_range is '1e999', larger than"),
        ({"brightness_range": 0.5}, "brightness_range is 0.5, 1 value: expected two factors"),
        ({"brightness_range": "-0.1,1"}, "brightness_range is '-0.1,1': expected two factors from 0"),
        ({"horizontal_flip": 1}, "horizontal_flip is 1: expected true or false"),
        ({"fill_mode": "mirror"}, "fill_mode is 'mirror': expected one of nearest, reflect, constant, wrap"),
        ({"fill_mode": ["wrap"]}, "fill_mode is"),
        ({"cval": "white"}, "cval is 'white': expected a pixel value"),
    ],
)
def test_what_cannot_be_is_said(written: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        KerasRanges.of(**written)


def is_taken(name: str, value: object) -> bool:
    """Whether it is; a UsageError says why not, and nothing else is ever raised."""
    try:
        KerasRanges.of(**{name: value})
    except UsageError:
        return False
    return True


NUMBERS = st.integers(-5, 400) | st.floats(-2, 100) | st.sampled_from([0, 1, 0.2, -0.0, 1e-300, 0.9999999999999999])
WRITTEN = NUMBERS | st.lists(NUMBERS, max_size=4) | NUMBERS.map(str) | NUMBERS.map("{}rad".format)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            **{name: WRITTEN for name in KerasRanges.names() if name.endswith("_range")},
            "horizontal_flip": st.booleans(),
            "vertical_flip": st.booleans(),
            "fill_mode": st.sampled_from(FILL_MODES),
            "cval": NUMBERS,
        },
    )
)
def test_settings_come_back_as_the_same_ranges(written: dict[str, object]) -> None:
    good = {name: value for name, value in written.items() if is_taken(name, value)}
    ranges = KerasRanges.of(**good)
    text = json.dumps(ranges.settings(), allow_nan=False)
    again = KerasRanges.of(**json.loads(text))
    assert again == ranges
    assert json.dumps(again.settings()) == text
    assert hash(again) == hash(ranges)
    assert ranges.is_nothing is (text == "{}")


@pytest.mark.parametrize(
    ("written", "dtype", "words"),
    [
        ({"width_shift_range": 24.0}, "uint8", "width_shift_range is up to 24 px: .* 24 px wide"),
        ({"height_shift_range": [3, -16]}, "uint8", "height_shift_range is up to 16 px: .* 16 px high"),
        ({"height_shift_range": 10**9}, "uint8", "height_shift_range is up to 1e.09 px"),
        ({"height_shift_range": 18}, "uint8", "height_shift_range is up to 17 px"),
        ({"rotation_range": 1, "fill_mode": "constant", "cval": 256}, "uint8", "cval is 256: expected 0 to 255"),
        ({"rotation_range": 1, "fill_mode": "constant", "cval": -1}, "uint16", "cval is -1: expected 0 to 65535"),
        ({}, "float64", "patches are float64: expected uint8, uint16 or float32"),
    ],
)
def test_what_does_not_fit_the_patches_is_said(written: dict[str, object], dtype: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        KerasTransform(KerasRanges.of(**written), Streams(), (16, 24, 3), dtype)


# --- drawing


def drawn_often(ranges: KerasRanges, *, size: tuple[int, int] = (64, 64), n: int = 3000) -> list[KerasDraw]:
    image = np.zeros((*size, 3), np.uint8)
    streams = Streams()
    transform = KerasTransform(ranges, streams, (*size, 3), np.uint8)
    numbers = random.Random(7)
    out = []
    for _ in range(n):
        streams.begin(numbers.getrandbits(128))
        out.append(transform.draw(image))
    return out


ONE_IN_A_THOUSAND = 0.001  # of some fifty comparisons one in a hundred would fail by chance alone
KERAS_NAMES = {"tx": "ty", "ty": "tx", "channel_shift": "channel_shift_intensity"}
"""Keras draws tx, which moves columns, from the range of the height: it swaps when it draws, not when it warps."""


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ({"rotation_range": 20}, ["theta"]),
        ({"width_shift_range": 0.1, "height_shift_range": 0.3}, ["tx", "ty"]),
        ({"width_shift_range": 3.0, "height_shift_range": 1.5}, ["tx", "ty"]),
        ({"width_shift_range": 4, "height_shift_range": 2}, ["tx", "ty"]),
        ({"width_shift_range": [-4, 0, 4], "height_shift_range": [1, 2, 7]}, ["tx", "ty"]),
        ({"width_shift_range": [0.1, 0.25], "height_shift_range": [0.5]}, ["tx", "ty"]),
        ({"width_shift_range": 2, "height_shift_range": 0.99}, ["tx", "ty"]),
        ({"shear_range": 0.2}, ["shear"]),
        ({"zoom_range": 0.2}, ["zx", "zy"]),
        ({"zoom_range": [0.5, 3.0]}, ["zx", "zy"]),
        ({"channel_shift_range": 30.0}, ["channel_shift"]),
        ({"brightness_range": [0.3, 1.4]}, ["brightness"]),
        ({"horizontal_flip": True, "vertical_flip": True}, ["flip_horizontal", "flip_vertical"]),
        ({}, [name for name in KerasDraw._fields if name not in ("channel_shift", "brightness")]),
    ],
    ids=str,
)
def test_parameters_are_drawn_from_keras_distributions(keras: Any, written: dict[str, Any], names: list[str]) -> None:
    stats = pytest.importorskip("scipy.stats")
    size = (64, 48)
    generator = keras.ImageDataGenerator(**written, data_format="channels_last")
    theirs = [generator.get_random_transform((*size, 3), seed=11)]
    theirs += [generator.get_random_transform((*size, 3)) for _ in range(2999)]
    ours = drawn_often(KerasRanges.of(**written), size=size)
    for name in KerasDraw._fields:
        of_keras = np.array([one[KERAS_NAMES.get(name, name)] for one in theirs])
        of_us = np.array([getattr(one, name) for one in ours])
        if name not in names:  # off in both
            assert set(of_keras) == set(of_us)
            continue
        of_keras, of_us = of_keras.astype(np.float64), of_us.astype(np.float64)
        assert stats.ks_2samp(of_keras, of_us, method="asymp").pvalue > ONE_IN_A_THOUSAND
        if len(set(of_keras)) < 20:  # KS is blind to small shares: the same values, each equally often
            values = sorted(set(of_keras))
            assert sorted(set(of_us)) == pytest.approx(values)
            table = [[np.isclose(of, value).sum() for value in values] for of in (of_keras, of_us)]
            assert len(values) == 1 or stats.chi2_contingency(table).pvalue > ONE_IN_A_THOUSAND


def test_flips_are_independent_of_each_other_and_of_all_else() -> None:
    ranges = KerasRanges.of(**USUAL, vertical_flip=True, channel_shift_range=5, brightness_range=[0.5, 1.5])
    table = np.array(drawn_often(ranges), np.float64)
    both = table[:, 6] + 2 * table[:, 7]
    assert all(650 < np.count_nonzero(both == case) < 850 for case in range(4))
    close = np.abs(np.corrcoef(table.T) - np.eye(table.shape[1]))
    assert close.max() < 0.08  # 4.4 standard deviations of 3,000 draws


def test_a_further_range_changes_nothing_of_what_the_others_draw() -> None:
    few, many = KerasRanges.of(zoom_range=0.2), KerasRanges.of(**USUAL, brightness_range=[0.5, 1.5])
    for one, other in zip(drawn_often(few, n=20), drawn_often(many, n=20), strict=True):
        assert (one.zx, one.zy) == (other.zx, other.zy)


def test_a_result_depends_on_the_number_that_it_began_with_only() -> None:
    ranges = KerasRanges.of(**USUAL, brightness_range=[0.5, 1.5], channel_shift_range=9)
    image = noise((20, 24, 3), "uint8")

    def results(numbers: list[int]) -> dict[int, bytes]:
        streams = Streams()
        transform = KerasTransform(ranges, streams, (20, 24, 3), np.uint8)
        out = {}
        for number in numbers:
            streams.begin(number)
            out[number] = transform.apply(image, transform.draw(image)).tobytes()
        return out

    one = results([5, 2**127, 9, 1])
    assert one == results([1, 9, 5, 5, 2**127])
    assert len(set(one.values())) == 4


# --- pixels


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("real", [True, False], ids=["photo", "noise"])
def test_warped_pixels_are_those_of_keras(keras: Any, dtype: str, fill_mode: FillMode, real: bool) -> None:
    bound = 1e-5 if dtype == "float32" else 1
    cval = 0.37 * LEVELS[dtype]
    images = [photo(n, 32, dtype) if real else noise((32, 32, n), dtype) for n in (1, 3, 4)]

    @given(draws(size=32))
    @settings(max_examples=25)
    def check(drawn: KerasDraw) -> None:
        doubt = doubtful(drawn, (32, 32), fill_mode)
        for image in images:
            theirs = keras_pixels(keras, image, drawn, fill_mode, cval)
            assert difference(our_pixels(image, drawn, fill_mode, cval), theirs, doubt) <= bound

    check()


@pytest.mark.parametrize("real", [True, False], ids=["photo", "noise"])
@pytest.mark.parametrize("fill_mode", FILL_MODES)
def test_warped_shifted_and_brightened_bytes_are_those_of_keras(keras: Any, real: bool, fill_mode: FillMode) -> None:
    images = [photo(n, 24, "uint8") if real else noise((24, 24, n), "uint8") for n in (1, 3, 4)]
    images.append(np.full((24, 24, 3), 200, np.uint8))  # a truncated 199.99999 would be seen

    @given(draws(size=24, lit=80))
    @settings(max_examples=60)
    @example(KerasDraw(brightness=1.0))
    @example(KerasDraw(brightness=0.0, channel_shift=10.7))
    @example(KerasDraw(theta=13, brightness=3.0))
    @example(KerasDraw(theta=13, channel_shift=10.7, brightness=2.9))
    @example(KerasDraw(theta=13, channel_shift=10.7))
    def check(drawn: KerasDraw) -> None:
        doubt = doubtful(drawn, (24, 24), fill_mode)
        if doubt.any():  # a doubtful pixel may be the darkest or brightest, to which all others are clipped
            drawn = drawn._replace(channel_shift=None)
        for image in images:
            theirs = keras_pixels(keras, image, drawn, fill_mode, 77.0)
            assert difference(our_pixels(image, drawn, fill_mode, 77.0), theirs, doubt) <= 1

    check()


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@given(drawn=draws(size=24, lit=0.4))
@settings(max_examples=30)
def test_channel_shifts_of_deeper_pixels_are_those_of_keras(keras: Any, dtype: str, drawn: KerasDraw) -> None:
    shift = None if drawn.channel_shift is None else drawn.channel_shift * LEVELS[dtype]
    drawn = drawn._replace(brightness=None, channel_shift=shift)
    for image in (photo(3, 24, dtype), noise((24, 24, 3), dtype)):
        theirs = keras_pixels(keras, image, drawn, "nearest", 0)
        assert difference(our_pixels(image, drawn), theirs, np.zeros((24, 24), bool)) <= (
            1e-5 if dtype == "float32" else 1
        )


@pytest.mark.parametrize(("dtype", "bound"), [("uint8", 1), ("uint16", 1), ("float32", 1e-5)])
@pytest.mark.parametrize("fill_mode", FILL_MODES)
def test_large_white_noise_is_as_exact(keras: Any, dtype: str, bound: float, fill_mode: FillMode) -> None:
    image = noise((256, 256, 3), dtype)
    for drawn in (
        KerasDraw(theta=33.3, tx=20.2, ty=-31.7, shear=11, zx=1.31, zy=0.77, flip_horizontal=True),
        KerasDraw(theta=-171.3, tx=3.3, zx=90, zy=40),  # coordinates far outside
    ):
        theirs = keras_pixels(keras, image, drawn, fill_mode, 0)
        assert difference(our_pixels(image, drawn, fill_mode), theirs, doubtful(drawn, (256, 256), fill_mode)) <= bound


def test_deeper_pixels_are_made_brighter_where_keras_destroys_them(keras: Any) -> None:
    drawn = KerasDraw(brightness=1.5)
    fine, deep = noise((8, 8, 3), "float32"), noise((8, 8, 3), "uint16")
    assert not keras_pixels(keras, fine, drawn, "nearest", 0).any()  # black
    assert len(np.unique(keras_pixels(keras, deep, drawn, "nearest", 0))) < 170  # of 65,536 levels
    assert np.allclose(our_pixels(fine, drawn), fine * 1.5, atol=1e-6)
    assert np.abs(our_pixels(deep, drawn) - np.minimum(deep * 1.5, 65535)).max() <= 0.5


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_alpha_stays_as_it_is(dtype: str) -> None:
    image = noise((8, 8, 4), dtype)
    out = our_pixels(image, KerasDraw(brightness=0.5))
    assert np.array_equal(out[..., 3], image[..., 3])
    assert out[..., :3].max() <= 0.5 * LEVELS[dtype]
    out = our_pixels(image, KerasDraw(theta=20, brightness=0.5))
    alone = our_pixels(np.ascontiguousarray(image[..., 3:]), KerasDraw(theta=20))
    assert np.array_equal(out[..., 3:], alone)


def slow_warp(image: Array, drawn: KerasDraw, fill_mode: FillMode, cval: float) -> Array:
    """The definition, pixel by pixel: where it comes from, what is there, and flips afterwards."""
    height, width, channels = image.shape
    theta, shear = np.deg2rad(drawn.theta), np.deg2rad(drawn.shear)
    cos, sin = np.cos(theta), np.sin(theta)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    shift = np.array([[1, 0, drawn.tx], [0, 1, drawn.ty], [0, 0, 1]])
    lean = np.array([[1, -np.sin(shear), 0], [0, np.cos(shear), 0], [0, 0, 1]])
    zoom = np.diag([drawn.zx, drawn.zy, 1])
    centre = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])
    matrix = centre @ turn @ shift @ lean @ zoom @ np.linalg.inv(centre)

    def beyond(at: int, n: int) -> int:
        if fill_mode == "reflect":
            return min(at % (2 * n), 2 * n - 1 - at % (2 * n))
        return min(max(at, 0), n - 1)

    out = np.empty(image.shape)
    for row in range(height):
        for column in range(width):
            x, y, _ = matrix @ (column, row, 1)
            if fill_mode == "constant" and not (0 <= x <= width - 1 and 0 <= y <= height - 1):
                out[row, column] = cval
                continue
            if fill_mode == "wrap":
                x, y = (at % (n - 1) if n > 1 else 0 for at, n in ((x, width), (y, height)))
            out[row, column] = np.zeros(channels)
            for i, part_x in ((math.floor(x), 1 - x % 1), (math.floor(x) + 1, x % 1)):
                for j, part_y in ((math.floor(y), 1 - y % 1), (math.floor(y) + 1, y % 1)):
                    out[row, column] += part_x * part_y * image[beyond(j, height), beyond(i, width)].astype(float)
    out = out[:, ::-1] if drawn.flip_horizontal else out
    return out[::-1] if drawn.flip_vertical else out


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 2, 3, 4, 5, 6, 12])),
    draws(size=9),
    st.sampled_from(FILL_MODES),
    st.sampled_from(["uint8", "uint16", "float32"]),
)
@settings(max_examples=200)
def test_patches_of_any_shape_are_warped_by_the_definition(
    shape: tuple[int, int, int], drawn: KerasDraw, fill_mode: FillMode, dtype: str
) -> None:
    image = noise(shape, dtype)
    cval = 0.25 * LEVELS[dtype]
    slow = slow_warp(image, drawn, fill_mode, cval)
    doubt = doubtful(drawn, shape[:2], fill_mode)
    assert difference(our_pixels(image, drawn, fill_mode, cval), slow, doubt) <= (1e-5 if dtype == "float32" else 0.51)


@given(draws(size=20), st.sampled_from(FILL_MODES))
def test_masks_can_be_warped_without_new_values(drawn: KerasDraw, fill_mode: FillMode) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    mask = noise((17, 20, 1), "uint8")
    matrix = affine_matrix(drawn, (17, 20))
    swapped = matrix[::-1][:, [1, 0, 2]]
    theirs = ndimage.affine_transform(mask[..., 0], swapped[:, :2], swapped[:, 2], order=0, mode=fill_mode, cval=9)
    ours = warp(mask, matrix, fill_mode=fill_mode, cval=9, interpolation="nearest")
    x, y = sources(matrix, (17, 20))
    half = (np.abs(x % 1 - 0.5) < 1e-9) | (np.abs(y % 1 - 0.5) < 1e-9)  # rounding decides, here too
    assert difference(ours[..., 0], theirs, half | doubtful(drawn, (17, 20), fill_mode)) == 0


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 12])
def test_channels_never_mix(n: int) -> None:
    image = noise((16, 16, n), "uint8")
    for drawn in (KerasDraw(theta=20, flip_vertical=True), KerasDraw(flip_horizontal=True, flip_vertical=True)):
        alone = [our_pixels(np.ascontiguousarray(image[..., i : i + 1]), drawn) for i in range(n)]
        assert np.array_equal(our_pixels(image, drawn), np.concatenate(alone, axis=2))


def test_what_is_no_number_spreads_as_in_keras_and_in_silence(keras: Any) -> None:
    image = noise((16, 16, 3), "float32")
    image[3:5, 4], image[9, 9, 1], image[12, 3] = np.inf, np.nan, -np.inf
    for drawn in (KerasDraw(theta=20, zx=0.8), KerasDraw(tx=2.5), KerasDraw(channel_shift=0.5)):
        with np.errstate(all="ignore"):
            theirs = keras_pixels(keras, image.copy(), drawn, "nearest", 0)
        assert np.allclose(our_pixels(image.copy(), drawn), theirs, atol=1e-5, equal_nan=True)


def test_views_are_taken_as_they_are() -> None:
    image = noise((16, 16, 6), "uint8")[::-1, ::2, 1:4]
    for drawn in (KerasDraw(), KerasDraw(theta=5), KerasDraw(flip_vertical=True), KerasDraw(brightness=0.5)):
        assert np.array_equal(our_pixels(image, drawn), our_pixels(np.ascontiguousarray(image), drawn))


# --- where Keras is wrong


def test_width_moves_columns_though_not_in_keras(keras: Any) -> None:
    across = np.tile(np.arange(16, dtype=np.float32)[np.newaxis, :, np.newaxis], (16, 1, 1))
    down = across.transpose(1, 0, 2).copy()
    for name, moved, kept in (("width_shift_range", across, down), ("height_shift_range", down, across)):
        drawn = drawn_often(KerasRanges.of(**{name: [3]}), size=(16, 16), n=1)[0]
        assert not np.array_equal(our_pixels(moved, drawn), moved)
        assert np.array_equal(our_pixels(kept, drawn), kept)

        generator = keras.ImageDataGenerator(**{name: [3]}, data_format="channels_last")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            assert np.array_equal(generator.random_transform(moved, seed=1), moved)
            assert not np.array_equal(generator.random_transform(kept, seed=1), kept)


def test_rectangles_turn_about_their_centre_though_not_in_keras(keras: Any) -> None:
    columns = np.tile(np.arange(60, dtype=np.float32)[np.newaxis, :, np.newaxis], (40, 1, 1))
    drawn = KerasDraw(zx=0.5, zy=0.5)
    assert our_pixels(columns, drawn).mean() == pytest.approx(29.5)
    assert keras_pixels(keras, columns, drawn, "nearest", 0).mean() == pytest.approx(24.5)


def test_a_rectangle_upside_down_is_turned_by_180_degrees() -> None:
    image = noise((8, 12, 3), "float32")
    assert np.allclose(our_pixels(image, KerasDraw(theta=180)), image[::-1, ::-1], atol=1e-6)


# --- end


def test_nothing_drawn_changes_nothing() -> None:
    image = noise((9, 7, 3), "uint8")
    assert KerasTransform(KerasRanges(), Streams(), (9, 7, 3), np.uint8).apply(image, KerasDraw()) is image
    assert drawn_often(KerasRanges(), n=3) == [KerasDraw()] * 3
