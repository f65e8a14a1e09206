"""The presets in `configs/`: they say why, they use options that exist, and they run on real images."""

from __future__ import annotations

import filecmp
import glob
import inspect
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from demo_images import SETS, arrange

import patchcli

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


@pytest.mark.parametrize("preset", PRESETS)
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
