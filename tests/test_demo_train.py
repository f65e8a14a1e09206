"""The demo of training: what is held out is held out, and each framework learns from the readers."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import demo_regions
import numpy as np
import pytest
from demo_images import SETS, packaged
from PIL import Image

import patchcli

SCRIPT = Path(__file__).parent / "demo_train.py"
BACKENDS = ("torch", "jax", "tensorflow")
REDUCED = ("--epochs", "1", "--overlap", "0")
ROW = re.compile(r"^(torch|keras) .*?  +[\d,]+  +([\d.]+)%  +[\d.]+$", re.MULTILINE)
EPOCH = re.compile(r"^ +\d+   \d+\.\d{3}    [ \d]+\.\d%$", re.MULTILINE)


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(demo_regions.cut(str(tmp_path_factory.mktemp("demo"))))


def place(region: Path) -> tuple[int, int]:
    """(x, y) in the image that a region was cut from, by its name."""
    row, column = map(int, region.stem.removeprefix("region-").split("-"))
    return column * demo_regions.SIDE, row * demo_regions.SIDE


@pytest.mark.parametrize("label", SETS["textures"])
def test_regions_are_disjoint_and_complete(regions: Path, label: str) -> None:
    with Image.open(packaged(SETS["textures"][label])) as image:
        whole = np.asarray(image)
    rebuilt, covered = np.zeros_like(whole), np.zeros(whole.shape, int)
    for path in regions.glob(f"*/{label}/*"):
        x, y = place(path)
        with Image.open(path) as region:
            rebuilt[y : y + region.height, x : x + region.width] = np.asarray(region)
            covered[y : y + region.height, x : x + region.width] += 1
    assert (covered == 1).all()
    assert np.array_equal(rebuilt, whole)


def test_no_patch_of_training_shares_a_pixel_with_one_that_is_held_out(regions: Path, tmp_path: Path) -> None:
    patchcli.extract(regions, tmp_path / "out.h5", patch=32, overlap=0.5, executor="serial")
    n_px = demo_regions.RASTER * demo_regions.SIDE
    seen = np.zeros((2, len(SETS["textures"]), n_px, n_px), bool)
    with patchcli.open(tmp_path / "out.h5") as patches:
        assert patches.split is not None
        assert patches.splits[:2] == ("train", "val")
        assert sorted(patches.classes) == sorted(SETS["textures"])
        for split, label, source, (x, y) in zip(
            patches.split, patches.labels, patches.source, patches.coords, strict=True
        ):
            left, top = place(Path(patches.sources.path[source].decode()))
            seen[split, label, top + y : top + y + 32, left + x : left + x + 32] = True
    train, held_out = seen
    assert not (train & held_out).any()
    assert (train | held_out).all()
    assert held_out.mean() == len(demo_regions.HELD_OUT) / demo_regions.RASTER**2


def test_regions_of_another_raster_do_not_stay(tmp_path: Path) -> None:
    stale = tmp_path / "regions/train/brick/region-9-9.png"
    stale.parent.mkdir(parents=True)
    stale.touch()
    demo_regions.cut(str(tmp_path))
    assert len(list(tmp_path.rglob("*.png"))) == 48
    assert not stale.exists()


def train(folder: Path, *options: str, without: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the demo in a process of its own, in which some packages cannot be imported."""
    lines = ["import runpy, sys", f"sys.modules.update(dict.fromkeys({without!r}))"]
    lines += [f"sys.path.insert(0, {str(SCRIPT.parent)!r})", f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"]
    command = [sys.executable, "-c", "\n".join(lines)] if without else [sys.executable, str(SCRIPT)]
    command += [str(folder / "demo"), *options]
    environment = {**os.environ, "KERAS_BACKEND": "numpy"}  # which cannot train: another is found
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)


def need(*names: str) -> None:
    if not any(map(importlib.util.find_spec, names)):
        pytest.skip(f"not installed: {', '.join(names)}")


def test_torch_alone(tmp_path: Path) -> None:
    need("torch")
    done = train(tmp_path, *REDUCED, "--goal", "0.34", without=("keras",))
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "train      36 regions, 576 patches of 32x32 px\nheld out   12 regions, 192 patches" in done.stdout
    assert "keras is not installed: left out" in done.stdout
    assert [row[0] for row in ROW.findall(done.stdout)] == ["torch"]
    assert len(EPOCH.findall(done.stdout)) == 1


def test_keras_alone(tmp_path: Path) -> None:
    need("keras")
    need(*BACKENDS[1:])
    done = train(tmp_path, *REDUCED, "--goal", "0.34", without=("torch",))
    assert done.returncode == 0, done.stderr  # where tensorflow is installed it talks there
    assert "torch is not installed: left out" in done.stdout
    assert [row[0] for row in ROW.findall(done.stdout)] == ["keras", "keras"]
    assert len(EPOCH.findall(done.stdout)) == 2


def test_what_has_not_learned_enough_is_named(tmp_path: Path) -> None:
    need("torch")
    done = train(tmp_path, *REDUCED, "--goal", "1.01", without=("keras",))
    assert done.returncode == 1
    assert re.fullmatch(
        r"torch \S+, PatchDataset.*: [\d.]+% of the held-out patches were recognised, expected 101% at least\n",
        done.stderr,
    )


def test_without_a_framework_there_is_nothing_to_show(tmp_path: Path) -> None:
    done = train(tmp_path, *REDUCED, without=("keras", "torch"))
    assert done.returncode == 1
    assert done.stdout.endswith("torch is not installed: left out\nkeras is not installed: left out\n")
    assert done.stderr == "\nThere is nothing to train with: python -m pip install torch keras\n"


def test_keras_without_a_backend_is_left_out(tmp_path: Path) -> None:
    need("keras")
    done = train(tmp_path, *REDUCED, without=BACKENDS)
    assert done.returncode == 1
    assert "keras has none of torch, jax, tensorflow to train with: left out\n" in done.stdout


@pytest.mark.slow
def test_each_framework_recognises_what_was_held_out(tmp_path: Path) -> None:
    need("torch", "keras")
    done = train(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = ROW.findall(done.stdout)
    n_keras = 2 if importlib.util.find_spec("keras") and any(map(importlib.util.find_spec, BACKENDS)) else 0
    assert len(rows) == n_keras + (importlib.util.find_spec("torch") is not None)
    assert all(float(accuracy) >= 95 for _, accuracy in rows)
