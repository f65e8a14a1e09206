"""Fixtures that several tests share: the real images beside the repository, and class folders drawn by code."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from hypothesis import settings
from photos import crops
from PIL import Image as Pillow

import patchcli

settings.register_profile("patchcli", deadline=None, database=None)
settings.load_profile("patchcli")


class Tree(Protocol):
    """Draws images and answers with the folder that holds them; may be called again to add more."""

    def __call__(self, *names: str | bytes, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> Path: ...


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images, as `<set>/data/<class>/<file>`."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real images are not there: ../shared/data")
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Folders with noise in the images: `tree("cat/a.png", "dog/b.jpg", size=(40, 30), mode="RGB")`."""
    root = tmp_path / "tree"

    def draw(*names: str | bytes, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> Path:
        root.mkdir(exist_ok=True)
        for name in map(os.fsencode, names):
            path = os.path.join(os.fsencode(root), name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            kind = {b".jpg": "JPEG", b".bmp": "BMP", b".tif": "TIFF"}.get(os.path.splitext(name)[1], "PNG")
            noise = np.random.default_rng(zlib.crc32(name)).integers(0, 256, (size[1], size[0], 4), np.uint8)
            with open(path, "wb") as file:
                Pillow.fromarray(noise).convert(mode).save(file, kind)
        return root

    return draw


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return crops(tmp_path_factory.mktemp("photos") / "data", per_class=2, size=(128, 96))


@pytest.fixture(scope="session")
def cut(root: Path) -> Path:
    """80 patches of 32 px in four classes, one file."""
    patchcli.extract(root, root.parent / "in.h5", patch=32, executor="serial")
    return root.parent / "in.h5"


@pytest.fixture(scope="session")
def cut_sharded(root: Path) -> Path:
    """The same patches in several compressed shards."""
    out = root.parent / "sharded.h5"
    assert patchcli.extract(root, out, patch=32, executor="serial", shard_size="70kB", compression="gzip").shards > 3
    return out


@pytest.fixture(scope="session")
def cut_splits(root: Path) -> Path:
    """Patches in train and val; classes of different sizes."""
    for number, (label, file) in enumerate((path.parent.name, path.name) for path in sorted(root.rglob("*.*"))):
        folder = root.parent / "splits" / ("val" if number % 2 else "train") / label
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / label / file, folder / file)
        if label == "ihc":
            shutil.copy(root / label / file, folder / f"again{file}")
    out = root.parent / "splits.h5"
    patchcli.extract(root.parent / "splits", out, patch=32, executor="serial")
    return out


@pytest.fixture(scope="session")
def keras() -> Any:
    """Keras' own ImageDataGenerator and its functions: a module."""
    os.environ.setdefault("KERAS_BACKEND", "numpy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports, whichever backend
        pytest.importorskip("keras", reason="Keras itself cannot be imported: there is nothing to compare with")
        return importlib.import_module("keras.src.legacy.preprocessing.image")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 30 MB that a test may fill."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
