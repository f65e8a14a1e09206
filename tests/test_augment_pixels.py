"""Augment's pixels: standardised as asked for, right for whatever depth and channels, refused where they cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from photos import crops, retyped, table
from PIL import Image

import patchcli
from patchcli.cli import main
from patchcli.errors import UsageError

KERAS: dict[str, Any] = {
    "rotation_range": 25,
    "width_shift_range": 0.1,
    "zoom_range": 0.2,
    "channel_shift_range": 12,
    "horizontal_flip": True,
    "fill_mode": "reflect",
}
GEOMETRIC = [{"D4": {"p": 1}}, {"Rotate": {"limit": 30, "p": 1}}]


def augmented(src: Path, out: Path, **options: Any) -> Path:
    patchcli.augment(src, out, executor="serial", **options)
    return out


# Standardising


def test_rescale_is_of_every_patch(cut_splits: Path, tmp_path: Path) -> None:
    plain = patchcli.open(augmented(cut_splits, tmp_path / "plain.h5", copies=2, **KERAS))
    scaled = patchcli.open(augmented(cut_splits, tmp_path / "scaled.h5", copies=2, rescale="1/255", **KERAS))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[:], plain[:].astype(np.float64) / 255, atol=1e-6)
    only = patchcli.augment(cut_splits, tmp_path / "only.h5", executor="serial", rescale=1 / 255)
    assert only.copies == 0
    expected = patchcli.open(cut_splits)[:].astype(np.float64) / 255
    np.testing.assert_allclose(patchcli.open(tmp_path / "only.h5")[:], expected, atol=1e-6)


def test_samplewise(cut: Path, tmp_path: Path) -> None:
    for name in ("samplewise_center", "samplewise_std_normalization"):
        patches = patchcli.open(augmented(cut, tmp_path / f"{name}.h5", **{name: True}, **KERAS))[:].astype(np.float64)
        assert abs(patches.mean(axis=(1, 2, 3))).max() < 1e-3
        if name == "samplewise_std_normalization":
            std = patches.std(axis=(1, 2, 3))
            assert ((abs(std - 1) < 1e-3) | (std < 1e-3)).all()  # a blank patch is all zeros
            assert (std > 0.9).sum() > 100


def test_featurewise_is_that_of_train(cut: Path, cut_splits: Path, tmp_path: Path) -> None:
    out = augmented(cut, tmp_path / "o.h5", featurewise_std_normalization=True, rescale="1/255")
    patches = patchcli.open(out)[:].astype(np.float64).reshape(-1, 3)
    np.testing.assert_allclose(patches.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(patches.std(axis=0), 1, atol=1e-3)
    out = augmented(cut_splits, tmp_path / "s.h5", featurewise_std_normalization=True)
    ps, src = patchcli.open(out), patchcli.open(cut_splits)
    train = src.subset(split="train")[:].reshape(-1, 3).astype(np.float64)
    expected = (src[:] - train.mean(axis=0)) / train.std(axis=0)
    np.testing.assert_allclose(ps[:], expected, atol=1e-3)
    assert abs(ps.subset(split="val")[:].reshape(-1, 3).mean(axis=0)).max() > 1e-3


def test_whitening(tmp_path: Path) -> None:
    crops(tmp_path / "data", per_class=3, size=(128, 96))
    patchcli.extract(tmp_path / "data", tmp_path / "in.h5", patch=4, stride=7, executor="serial")
    out = augmented(tmp_path / "in.h5", tmp_path / "o.h5", zca_whitening=True)
    flat = patchcli.open(out)[:].reshape(-1, 48).astype(np.float64)
    assert len(flat) > 2000
    covariance = flat.T @ flat / len(flat)
    np.testing.assert_allclose(np.diag(covariance), 1, atol=0.05)
    assert abs(covariance - np.diag(np.diag(covariance))).max() < 0.05
    two = augmented(tmp_path / "in.h5", tmp_path / "two.h5", zca_whitening=True, shard_size="200kB", compression="gzip")
    np.testing.assert_array_equal(table(two, "digest"), table(out, "digest"))
    patchcli.extract(tmp_path / "data", tmp_path / "large.h5", patch=40, executor="serial")
    with pytest.raises(UsageError, match=r"4,800 values.*at most"):
        patchcli.augment(tmp_path / "large.h5", tmp_path / "no.h5", executor="serial", zca_whitening=True)
    assert not (tmp_path / "no.h5").exists()


# Other pixels than 8-bit RGB


@pytest.mark.parametrize("n_channels", [1, 3, 4, 6])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_deep_patches(cut: Path, tmp_path: Path, dtype: str, n_channels: int) -> None:
    def deep(patches: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        channels = np.concatenate([patches, patches[..., ::-1]], axis=3)[..., :n_channels]
        return (
            (channels.astype(np.float64) * (257 if dtype == "uint16" else 3.7) - 3 * (dtype == "float32"))
            .clip(0 if dtype == "uint16" else -9, None)
            .astype(dtype)
        )

    src = retyped(cut, tmp_path / "in.h5", deep)
    wide = patchcli.open(src)[:]
    keras: dict[str, Any] = {
        "rotation_range": 20,
        "zoom_range": 0.1,
        "brightness_range": (0.5, 1.5),
        "horizontal_flip": True,
    }
    for number, options in enumerate(({"config": GEOMETRIC}, keras)):
        out = patchcli.open(augmented(src, tmp_path / f"{number}.h5", copies=1, **options))
        assert (out.dtype, out.patch_shape) == (np.dtype(dtype), (32, 32, n_channels))
        patches = out[:]
        np.testing.assert_array_equal(patches[::2], wide)
        copies = patches[1::2].astype(np.float64)
        assert (copies != wide).reshape(80, -1).any(axis=1).sum() > 50
        top = copies.max()
        assert top > 0.8 * wide.max()
        if dtype == "float32":
            assert copies.min() < 0
    flipped = augmented(src, tmp_path / "flip.h5", config=[{"HorizontalFlip": {"p": 1}}], keep_original=False)
    np.testing.assert_array_equal(patchcli.open(flipped)[:], wide[:, :, ::-1])
    scaled = augmented(src, tmp_path / "scaled.h5", rescale=2)
    np.testing.assert_allclose(patchcli.open(scaled)[:], wide.astype(np.float64) * 2, rtol=1e-6)


def test_float_levels_are_looked_at_before_the_first_patch(cut: Path, tmp_path: Path) -> None:
    def levels(patches: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        out = patches.astype(np.float32) / 255
        out[41, 3, 4, 1] = 1.5
        return out

    src = retyped(cut, tmp_path / "in.h5", levels)
    with pytest.raises(UsageError, match=r"config: GaussNoise takes float .*, patch 41 of .*1\.5"):
        patchcli.augment(src, tmp_path / "out.h5", executor="serial", config=["GaussNoise", "RandomBrightnessContrast"])
    assert not (tmp_path / "out.h5").exists()
    half = np.float32(0.5)
    nan = retyped(cut, tmp_path / "nan.h5", lambda patches: np.where(levels(patches) > 1, np.float32("nan"), half))
    with pytest.raises(UsageError, match="patch 41 of"):
        patchcli.augment(nan, tmp_path / "out.h5", executor="serial", config=["GaussNoise", "RandomBrightnessContrast"])
    assert not (tmp_path / "out.h5").exists()
    augmented(src, tmp_path / "out.h5", config=GEOMETRIC)
    augmented(src, tmp_path / "keras.h5", **KERAS)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"HueSaturationValue": {}}, "HueSaturationValue takes uint8 patches of 3 channels, these are uint16 with 1"),
        ({"ChannelShuffle": {}}, "2 or more channels"),
        ({"CLAHE": {}}, "takes uint8"),
    ],
)
def test_what_is_not_for_such_patches_is_refused(cut: Path, tmp_path: Path, step: dict[str, Any], said: str) -> None:
    src = retyped(cut, tmp_path / "in.h5", lambda patches: patches[..., :1].astype(np.uint16) * 257)
    with pytest.raises(UsageError, match=said):
        patchcli.augment(src, tmp_path / "out.h5", executor="serial", config=[step])
    assert not (tmp_path / "out.h5").exists()


def test_rectangles(root: Path, tmp_path: Path) -> None:
    patchcli.extract(root, tmp_path / "in.h5", patch="32x16", executor="serial")
    with pytest.raises(UsageError, match=r"config: RandomRotate90 takes square patches, these are 32x16 px"):
        patchcli.augment(tmp_path / "in.h5", tmp_path / "o.h5", executor="serial", config=[{"RandomRotate90": {}}])
    with pytest.raises(UsageError, match="square"):
        patchcli.augment(
            tmp_path / "in.h5", tmp_path / "o.h5", executor="serial", config=[{"OneOf": [{"Rotate": {}}, {"D4": {}}]}]
        )
    out = patchcli.open(augmented(tmp_path / "in.h5", tmp_path / "o.h5", config=[{"Rotate": {"p": 1}}, "VerticalFlip"]))
    assert out.patch_shape == (16, 32, 3)
    assert patchcli.open(augmented(tmp_path / "in.h5", tmp_path / "k.h5", **KERAS)).patch_shape == (16, 32, 3)


@pytest.mark.parametrize(
    ("dtype", "n_channels"), [("uint16", 1), ("float32", 3), ("uint8", 2), ("uint8", 4), ("uint8", 6)]
)
def test_previews_of_other_pixels(cut: Path, tmp_path: Path, dtype: str, n_channels: int) -> None:
    scale = {"uint8": 1.0, "uint16": 257.0, "float32": 1 / 255}[dtype]
    src = retyped(
        cut, tmp_path / "in.h5", lambda patches: (patches.repeat(2, 3)[..., :n_channels] * scale).astype(dtype)
    )
    found = CliRunner().invoke(
        main, ["augment", str(src), "--rotation-range", "20", "--preview", str(tmp_path / "s.png")]
    )
    assert found.exit_code == 0, found.output
    with Image.open(tmp_path / "s.png") as image:
        assert np.asarray(image.convert("L")).std() > 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5", "s.png"]
