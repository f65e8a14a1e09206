"""The presets in `configs/`: they say why, they use options that exist, and they run on real images."""

from __future__ import annotations

import filecmp
import glob
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from demo_images import SETS, arrange, packaged
from photos import retyped
from PIL import Image

import patchcli
from patchcli.errors import UsageError
from patchcli.io.pipelines import spec_of
from patchcli.pipeline.augmenter import Augmenter
from patchcli.pipeline.tree import Group

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NEIGHBOUR = os.path.join(ROOT, os.pardir, "shared", "data")
PRESETS = [os.path.basename(path) for path in sorted(glob.glob(os.path.join(ROOT, "configs", "*.toml")))]

SUBJECTS: dict[str, tuple[str, list[str] | None]] = {
    "textures.toml": ("clothing10", ["hat", "pants", "skirt"]),
    "histology-tiles.toml": ("histology", None),
    "remote-sensing-scenes.toml": ("geotiff", ["uint8_gray", "uint8_jpeg_cog", "uint8_rgb", "uint8_rgba"]),
}
"""For each preset a set of real images beside the repository that is of its kind, and the classes to take."""

PIPELINES = [os.path.basename(path) for path in sorted(glob.glob(os.path.join(ROOT, "configs", "*.yaml")))]

EIGHT = ("uint8",)
ALL = ("uint8", "uint16", "float32")
ANY = (1, 3, 4, 6, 13)
CLAIMS: dict[str, tuple[tuple[str, ...], tuple[int, ...], bool]] = {
    "histology.yaml": (EIGHT, (3,), False),
    "keras.yaml": (ALL, ANY, True),
    "microscopy.yaml": (ALL, ANY, False),
    "photos.yaml": (EIGHT, (1, 3), True),
    "remote-sensing.yaml": (ALL, ANY, False),
}
"""For each pipeline the dtypes and numbers of channels that its first lines name, and whether any rectangle will do."""

CLAIMED = [(name, dtype, n) for name, (dtypes, channels, _) in CLAIMS.items() for dtype in dtypes for n in channels]
COPIES = 30


def path_of(preset: str) -> str:
    return os.path.join(ROOT, "configs", preset)


def read(preset: str) -> dict[str, Any]:
    with open(path_of(preset), "rb") as file:
        return tomllib.load(file)


def check(out: str, settings: dict[str, Any]) -> None:
    """What the preset promises is what the file holds."""
    patches = patchcli.open(out)
    assert len(patches) > 0
    height, width, channels = patches[0].shape
    assert height == width == settings["patch"]
    assert channels == {"gray": 1, "rgb": 3}[settings["mode"]]


def test_each_preset_has_a_subject() -> None:
    assert sorted(SUBJECTS) == PRESETS


@pytest.mark.parametrize("preset", PRESETS)
def test_keys_are_options_each_with_a_reason(preset: str) -> None:
    assert set(read(preset)) <= set(inspect.signature(patchcli.extract).parameters)
    with open(path_of(preset), encoding="utf-8") as file:
        lines = [line for line in file if re.match(r"\w+ =", line)]
    assert len(lines) == len(read(preset))
    assert [line for line in lines if " # " not in line] == []


@pytest.mark.parametrize("preset", PRESETS + PIPELINES)
def test_the_readme_lists_it(preset: str) -> None:
    with open(os.path.join(ROOT, "configs", "README.md"), encoding="utf-8") as file:
        assert f"]({preset})" in file.read()


@pytest.mark.parametrize("images", sorted(SETS))
@pytest.mark.parametrize("preset", PRESETS)
def test_runs_on_packaged_images(preset: str, images: str, tmp_path: Any) -> None:
    settings, out = read(preset), str(tmp_path / "out.h5")
    summary = patchcli.extract(arrange(str(tmp_path), images), out, executor="serial", **settings)
    assert [one.name for one in summary.classes] == sorted(SETS[images])
    check(out, settings)


@pytest.mark.parametrize("preset", PRESETS)
def test_runs_on_its_own_kind_of_images(preset: str, tmp_path: Any) -> None:
    name, classes = SUBJECTS[preset]
    tree = os.path.join(NEIGHBOUR, name, "data")
    if not os.path.isdir(tree):
        pytest.skip(f"the image set {name} is not beside the repository")
    settings, out = read(preset), str(tmp_path / "out.h5")
    summary = patchcli.extract(tree, out, executor="serial", **settings, classes=classes)
    assert all(one.patches for one in summary.classes)
    check(out, settings)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_command_makes_the_same_bytes_as_the_function(preset: str, tmp_path: Any) -> None:
    tree = arrange(str(tmp_path), "medical")
    outs = [str(tmp_path / name) for name in ("command.h5", "function.h5")]
    program = os.path.join(os.path.dirname(sys.executable), "patchcli")
    command = [program, "extract", tree, outs[0], "--config", path_of(preset)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    patchcli.extract(tree, outs[1], executor="serial", **read(preset))
    assert filecmp.cmp(outs[0], outs[1], shallow=False)


def scene(n_channels: int, dtype: str = "uint8", *, height: int = 64, width: int = 64) -> npt.NDArray[Any]:
    """A part of stained tissue; more channels are other parts of it."""
    with Image.open(packaged("ihc.png")) as image:
        tissue = np.asarray(image.convert("RGB"))
    parts = [tissue[60 * k : 60 * k + height, 90 : 90 + width] for k in range(5)]
    patch = np.ascontiguousarray(np.concatenate(parts, axis=2)[..., :n_channels])
    if dtype == "float32":
        return patch.astype(np.float32) / np.float32(255)
    return patch if dtype == "uint8" else patch.astype(np.uint16) * np.uint16(257)


def pipeline_of(preset: str) -> Group:
    spec, _ = spec_of(path_of(preset), {})
    return spec.pipeline


def copies_of(preset: str, patch: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Copies of a patch by a preset, as levels from 0 to 255."""
    height, width, n_channels = patch.shape
    maker = Augmenter(pipeline_of(preset), 0, (height, width, n_channels), patch.dtype)
    made = np.stack([maker.copy(patch, b"ihc.png", (90, 0), copy) for copy in range(1, COPIES + 1)])
    assert (made.shape[1:], made.dtype) == (patch.shape, patch.dtype)
    full = {"uint8": 255, "uint16": 65535, "float32": 1}[str(patch.dtype)]
    return made.astype(np.float64) * 255 / full


def test_each_pipeline_has_its_claims() -> None:
    assert sorted(CLAIMS) == PIPELINES


@pytest.mark.parametrize("preset", PIPELINES)
def test_every_line_of_a_pipeline_with_a_value_has_a_reason(preset: str) -> None:
    with open(path_of(preset), encoding="utf-8") as file:
        lines = file.read().splitlines()
    assert max(map(len, lines)) <= 120
    said = [line for line in lines if re.match(r"[ -]*\w+: *[^ #]", line)]
    assert len(said) >= 5
    assert [line for line in said if " # " not in line] == []
    assert any(f"--config configs/{preset}" in line for line in lines[:5])


@pytest.mark.parametrize("preset", PIPELINES)
def test_the_first_lines_and_the_readme_say_for_which_patches(preset: str) -> None:
    dtypes, channels, any_shape = CLAIMS[preset]
    with open(path_of(preset), encoding="utf-8") as file:
        head = " ".join(line[1:].strip() for line in file.readlines()[:4])
    with open(os.path.join(ROOT, "configs", "README.md"), encoding="utf-8") as file:
        row = next(line for line in file if f"]({preset})" in line).rpartition(" | ")[2]
    for text in (head, row):
        assert {one for one in ALL if one in text} == set(dtypes)
        assert ("square" in text) != any_shape
        assert ("any" in text) == (channels == ANY)


@pytest.mark.parametrize(("preset", "dtype", "n_channels"), CLAIMED)
def test_is_right_for_the_patches_it_claims(preset: str, dtype: str, n_channels: int) -> None:
    patch = scene(n_channels, dtype)
    made, original = copies_of(preset, patch), scene(n_channels).astype(np.float64)
    assert len({one.tobytes() for one in made}) > COPIES * 0.8
    # labels stay: neither brightness nor contrast of any copy is far from the original's
    brightness, contrast = made.mean(axis=(1, 2, 3)) / original.mean(), made.std(axis=(1, 2, 3)) / original.std()
    assert brightness.min() > 0.55
    assert brightness.max() < 1.5
    assert contrast.min() > 0.5
    assert contrast.max() < 1.6
    # no black corners
    assert np.mean(made < 2) < np.mean(original < 2) + 0.01


@pytest.mark.parametrize(("preset", "n_channels"), [(name, n) for name, dtype, n in CLAIMED if dtype == "uint16"])
def test_all_depths_see_the_same(preset: str, n_channels: int) -> None:
    eight, sixteen, floats = (copies_of(preset, scene(n_channels, dtype)) for dtype in ALL)
    assert np.abs(eight - sixteen).mean() < 2
    assert np.abs(sixteen - floats).max() < 0.1


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_photos_refuses_other_depths(dtype: str) -> None:
    with pytest.raises(UsageError, match=r"photos\.yaml, line \d+: ImageCompression takes uint8 patches"):
        copies_of("photos.yaml", scene(3, dtype))


@pytest.mark.parametrize("preset", PIPELINES)
def test_refuses_channels_and_shapes_it_does_not_claim(preset: str) -> None:
    _, channels, any_shape = CLAIMS[preset]
    pipeline = pipeline_of(preset)
    for n_channels in () if channels == ANY else sorted({1, 2, 4} - set(channels)):
        with pytest.raises(UsageError, match=rf"{preset}, line \d+: \w+ takes .*, these are uint8 with"):
            Augmenter(pipeline, 0, (64, 64, n_channels), np.uint8)
    if any_shape:
        copies_of(preset, scene(3, height=48, width=72))
    else:
        with pytest.raises(UsageError, match=rf"{preset}, line \d+: D4 takes square patches, these are 72x48 px"):
            Augmenter(pipeline, 0, (48, 72, 3), np.uint8)


def test_histology_leaves_the_glass_white_and_the_tissue_coloured() -> None:
    glass = np.full((64, 64, 3), 243, np.uint8)
    glass[::7, ::5] = (242, 244, 243)  # JPEG's traces, which must not come out in colours
    made = copies_of("histology.yaml", glass)
    assert made.min() > 225
    assert np.ptp(made, axis=3).max() < 14
    tissue = copies_of("histology.yaml", scene(3))
    red, green, blue = np.moveaxis(tissue.mean(axis=(1, 2)), 1, 0)
    assert (green <= np.maximum(red, blue)).all()


@pytest.mark.parametrize("preset", ["microscopy.yaml", "photos.yaml", "remote-sensing.yaml", "keras.yaml"])
def test_colours_stay_as_they_were(preset: str) -> None:
    """Channels keep their proportions, up to what white balance or a change of the view does."""
    tissue = scene(3)
    shares = copies_of(preset, tissue).mean(axis=(1, 2))
    shares /= shares.sum(axis=1, keepdims=True)
    original = tissue.mean(axis=(0, 1)) / tissue.mean(axis=(0, 1)).sum()
    assert np.abs(shares - original).max() < 0.06


@pytest.mark.parametrize("preset", ["microscopy.yaml", "remote-sensing.yaml"])
def test_strength_is_relative_to_the_signal(preset: str) -> None:
    """12 bits in a file of 16 are nearly black: noise and brightness by the full scale would drown them."""
    dark = scene(1, "uint16") // np.uint16(16)
    made, original = copies_of(preset, dark), dark.astype(np.float64) * 255 / 65535
    ratio = made.mean(axis=(1, 2, 3)) / original.mean()
    assert ratio.min() > 0.4
    assert ratio.max() < 1.8
    spread = made.std(axis=(1, 2, 3)) / original.std()
    assert spread.min() > 0.35
    assert spread.max() < 1.8


@pytest.mark.parametrize("preset", PIPELINES)
def test_the_command_augments_real_images(preset: str, tmp_path: Path) -> None:
    cut, out = str(tmp_path / "cut.h5"), str(tmp_path / "out.h5")
    patchcli.extract(arrange(str(tmp_path), "medical"), cut, patch=96, stride=400, mode="rgb", executor="serial")
    if preset == "microscopy.yaml":
        cut = str(retyped(Path(cut), tmp_path / "deep.h5", lambda pixels: pixels.astype(np.uint16) * 16))
    program = os.path.join(os.path.dirname(sys.executable), "patchcli")
    command = [program, "augment", cut, out, "--config", path_of(preset), "--copies", "2", "--executor", "serial"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    before, after = patchcli.open(cut), patchcli.open(out)
    assert len(after) == 3 * len(before) > 0
    assert after[0].tobytes() == before[0].tobytes()
    assert after.dtype == before.dtype
