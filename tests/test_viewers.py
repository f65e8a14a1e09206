"""Programs of others open our files and show the patches: H5Web's engine, h5dump and h5ls, PyTables, h5py."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from conftest import Tree
from photos import shards

import patchcli
from patchcli.specs import Compression, Mode

H5WASM: Final = "h5wasm@0.10.3"
_INSTALL_SECONDS: Final = 90
_CHANNELS: Final[dict[Mode, int]] = {"gray": 1, "rgb": 3, "rgba": 4}
_COMPRESSIONS: Final[tuple[Compression, ...]] = ("none", "gzip")
_SUBCLASS: Final = {1: "IMAGE_GRAYSCALE", 3: "IMAGE_TRUECOLOR", 4: "IMAGE_TRUECOLOR"}
_INTERPRETATION: Final = {1: "image", 3: "rgb-image", 4: "rgba-image"}

# What H5Web does with the files that are named: it opens them by h5wasm and reads attributes and slices, nothing else.
# `shows_rgb` is its rule for offering its view of images in colour (packages/app/src/vis-packs/core: visualizations.ts,
# rgb/RgbVisContainer.tsx): a data set of class IMAGE, numeric, of three axes or more, the last of length 3, and true
# colour when a subclass is given. All axes before the last two of an image get a slider.
SCRIPT: Final = """
import { createHash } from "node:crypto";
import h5wasm from "h5wasm/node";
await h5wasm.ready;

function shows_rgb(set, said) {
  const numeric = [0, 1].includes(set.metadata.type);
  const subclass = said.IMAGE_SUBCLASS;
  return said.CLASS === "IMAGE" && numeric && set.shape.length >= 3 && set.shape.at(-1) === 3
    && (!subclass || subclass === "IMAGE_TRUECOLOR");
}

const simple = (x) => typeof x === "bigint" ? Number(x) : ArrayBuffer.isView(x) ? Array.from(x) : x;
const values = (attributes) => Object.fromEntries(Object.entries(attributes).map(([name, one]) => [name, one.value]));
const found = {};
for (const path of process.argv.slice(2)) {
  const file = new h5wasm.File(path, "r");
  const one = { names: file.keys(), root: values(file.attrs) };
  for (const name of ["classes", "labels", "coords", "source", "sources/path"]) {
    one[name] = Array.from(file.get(name).value);
  }
  one.coords_said = values(file.get("coords").attrs);
  const set = file.get("patches");
  if (set) {
    const said = values(set.attrs);
    const [n, height, width, channels] = set.shape;
    const last = set.slice([[n - 1, n], [0, height], [0, width], [0, channels]]);  // as behind its slider
    one.patches = {
      shape: set.shape, said, rgb: shows_rgb(set, said), last: Array.from(last),
      sha256: createHash("sha256").update(set.value).digest("hex"),
    };
  }
  found[path] = one;
  file.close();
}
console.log(JSON.stringify(found, (_, value) => simple(value)));
"""


@pytest.fixture(scope="module")
def views(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One data set of real images for each number of channels, uncompressed and compressed."""
    folder, made = tmp_path_factory.mktemp("views"), {}
    for mode in _CHANNELS:
        for compression in _COMPRESSIONS:
            path = made[f"{mode}-{compression}"] = folder / f"{mode}-{compression}.h5"
            patchcli.extract(root, path, patch=(32, 16), mode=mode, compression=compression, executor="serial")
    return made


def pixels(path: Path) -> npt.NDArray[Any]:
    """All patches as we read them."""
    with patchcli.open(path) as ps:
        return np.asarray(ps[:])


def sha256(values: npt.NDArray[Any]) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()


# --- attributes


@pytest.mark.parametrize("mode", _CHANNELS)
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_the_attributes_are_those_of_the_image_specification(
    views: dict[str, Path], mode: Mode, compression: str
) -> None:
    """Tables 1 and 2 of the HDF5 Image and Palette Specification 1.2: what subclasses require and exclude."""
    channels = _CHANNELS[mode]
    with h5py.File(views[f"{mode}-{compression}"]) as file:
        said = {
            name: value.decode() if isinstance(value, bytes) else value for name, value in file["patches"].attrs.items()
        }
        kinds = {name: file["patches"].attrs.get_id(name).get_type() for name in said}
    assert (said["CLASS"], said["IMAGE_VERSION"], said["IMAGE_SUBCLASS"]) == ("IMAGE", "1.2", _SUBCLASS[channels])
    assert said["interpretation"] == _INTERPRETATION[channels]  # NeXus
    if channels == 1:
        assert kinds["IMAGE_WHITE_IS_ZERO"].equal(h5py.h5t.NATIVE_UINT8)
        assert said["IMAGE_WHITE_IS_ZERO"] == 0
        assert "INTERLACE_MODE" not in said
    else:
        assert said["INTERLACE_MODE"] == "INTERLACE_PIXEL"
        assert "IMAGE_WHITE_IS_ZERO" not in said
    for name, kind in kinds.items():  # HDFView reads as many bytes as the type has
        assert name == "IMAGE_WHITE_IS_ZERO" or not kind.is_variable_str()


# --- H5Web


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `node_modules` with h5wasm: from NODE_PATH, or installed once into the user's cache."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    for folder in filter(None, os.environ.get("NODE_PATH", "").split(os.pathsep)):
        if Path(folder, "h5wasm").is_dir():
            return Path(folder)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "patchcli-tests" / H5WASM
    if not (cache / "done").exists():
        _install(cache)
    return cache / "node_modules"


def _install(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed: set NODE_PATH to a folder with h5wasm")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        quick = ["--fetch-retries=0", "--ignore-scripts", "--no-audit", "--no-fund"]
        command = [npm, "install", "--prefix", str(folder), *quick, H5WASM]
        run = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"{H5WASM} cannot be installed: {error}")
    if run.returncode:
        said = [line for line in run.stderr.splitlines() if " code " in line] or ["npm failed"]
        pytest.skip(f"{H5WASM} cannot be installed: {said[0]}")
    (folder / "done").touch()


def by_h5wasm(modules: Path, folder: Path, *paths: Path) -> list[dict[str, Any]]:
    """What H5Web's engine reads of files."""
    (folder / "script.mjs").write_text(SCRIPT)
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(modules)
    run = subprocess.run(["node", "script.mjs", *paths], cwd=folder, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    return [found[str(path)] for path in paths]


def test_h5web_reads_our_pixels_and_shows_colour(modules: Path, views: dict[str, Path], tmp_path: Path) -> None:
    for (name, path), seen in zip(views.items(), by_h5wasm(modules, tmp_path, *views.values()), strict=True):
        ours = pixels(path)
        assert tuple(seen["patches"]["shape"]) == ours.shape
        assert seen["patches"]["sha256"] == sha256(ours)
        assert seen["patches"]["last"] == ours[-1].ravel().tolist()
        assert seen["patches"]["rgb"] == name.startswith("rgb-")
        with patchcli.open(path) as ps:
            assert seen["classes"] == list(ps.classes)
            assert seen["labels"] == ps.labels.tolist()
            assert seen["coords"] == ps.coords.ravel().tolist()
            assert seen["sources/path"] == [os.fsdecode(one) for one in ps.sources.path]
        assert seen["coords_said"]["order"] == "x,y"
        assert seen["coords_said"]["patch_size"] == [32, 16]
        assert json.loads(seen["root"]["settings"])["patch_size"] == [32, 16]


def test_h5web_reads_shards_and_their_index(modules: Path, cut_sharded: Path, tmp_path: Path) -> None:
    paths = shards(cut_sharded)
    index, *seen = by_h5wasm(modules, tmp_path, cut_sharded, *paths)
    assert "patches" not in index["names"]
    assert {one["patches"]["rgb"] for one in seen} == {True}
    assert [one["patches"]["sha256"] for one in seen] == [sha256(pixels(path)) for path in paths]
    assert [label for one in seen for label in one["labels"]] == index["labels"]
    assert index["root"]["role"] == "index"


def test_names_that_are_no_utf8(tree: Tree, modules: Path, tmp_path: Path) -> None:
    """Bytes stay as they are; a viewer that takes them for text shows that some are not."""
    source = tree(b"gr\xfcn/a\xff.png", "caf\u00e9/b\nc.png", size=(32, 32))
    patchcli.extract(source, tmp_path / "out.h5", patch=32, executor="serial")
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["classes"][:].tolist() == ["caf\u00e9".encode(), b"gr\xfcn"]
        assert file["sources/path"][:].tolist() == ["caf\u00e9/b\nc.png".encode(), b"gr\xfcn/a\xff.png"]
    (seen,) = by_h5wasm(modules, tmp_path, tmp_path / "out.h5")
    assert seen["classes"] == ["caf\u00e9", "gr\ufffdn"]
    assert seen["sources/path"] == ["caf\u00e9/b\nc.png", "gr\ufffdn/a\ufffd.png"]


# --- h5dump, h5ls, PyTables, h5py


@pytest.mark.skipif(shutil.which("h5dump") is None, reason="h5dump is not installed")
def test_h5dump_reads_our_pixels(views: dict[str, Path], cut_sharded: Path, tmp_path: Path) -> None:
    for path in (*views.values(), *shards(cut_sharded)[:1]):
        ours = pixels(path)
        part = ",".join(map(str, (1, *ours.shape[1:])))
        command = ["h5dump", "-d", "/patches", "-s", f"{len(ours) - 1},0,0,0", "-c", part]
        run = subprocess.run([*command, "-b", "LE", "-o", tmp_path / "last", path], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert (tmp_path / "last").read_bytes() == ours[-1].tobytes()
    run = subprocess.run(["h5dump", "-H", cut_sharded], capture_output=True, text=True)
    assert run.returncode == 0
    assert "/patches" not in run.stdout
    assert run.stdout.count("DATASET") == len(h5_paths(cut_sharded))


@pytest.mark.skipif(shutil.which("h5ls") is None, reason="h5ls is not installed")
def test_h5ls_lists_all_tables(views: dict[str, Path], cut_sharded: Path) -> None:
    for path in (*views.values(), cut_sharded, *shards(cut_sharded)[:1]):
        run = subprocess.run(["h5ls", "-r", path], capture_output=True, text=True)
        lines = [line.split(maxsplit=2) for line in run.stdout.splitlines()]
        listed = {line[0][1:]: line[2] for line in lines if line[1] == "Dataset"}
        expected = {name: "{" + ", ".join(map(str, shape)) + "}" for name, shape in h5_paths(path).items()}
        assert listed == expected


def h5_paths(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of all data sets of a file, by path."""
    found: dict[str, tuple[int, ...]] = {}

    def note(name: str, place: Any) -> None:
        if isinstance(place, h5py.Dataset):
            found[name] = place.shape

    with h5py.File(path) as file:
        file.visititems(note)
    return found


def test_pytables_knows_images(views: dict[str, Path], cut_sharded: Path) -> None:
    tables = pytest.importorskip("tables")
    for path in (*views.values(), *shards(cut_sharded)[:1]):
        with tables.open_file(path) as file, patchcli.open(path) as ps:
            assert type(file.root.patches).__name__ == "ImageArray"
            np.testing.assert_array_equal(file.root.patches[:], pixels(path))
            assert [name.decode() for name in file.root.classes[:]] == list(ps.classes)
            np.testing.assert_array_equal(file.root.coords[:], ps.coords)
            assert file.root.sources.path[:].tolist() == list(ps.sources.path)


def test_h5py_reads_our_pixels(views: dict[str, Path], cut_sharded: Path) -> None:
    for path in (*views.values(), *shards(cut_sharded)):
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file["patches"][:], pixels(path))
            assert file["classes"].asstr()[:].tolist() == ["brick", "grass", "ihc", "retina"]
