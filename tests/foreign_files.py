"""HDF5 files as other programs write them: the same calls with the same arguments as in their own writers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def grid(left: int, top: int, columns: int, rows: int, step: int) -> Array:
    """Coordinates (n, 2) of a grid, x in the outer loop as CLAM has it: int64."""
    x, y = np.meshgrid(left + step * np.arange(columns), top + step * np.arange(rows), indexing="ij")
    return np.array([x.flatten(), y.flatten()]).transpose()


def _save(path: Path, assets: Mapping[str, Array], attributes: Mapping[str, Any], mode: str, rows: int = 1) -> None:
    """CLAM's `save_hdf5` and TRIDENT's `save_h5`: chunks of one row (32 in CLAM's features), resized to append."""
    with h5py.File(path, mode) as file:
        for key, values in assets.items():
            if key in file:
                dataset = file[key]
                dataset.resize(len(dataset) + values.shape[0], axis=0)
                dataset[-values.shape[0] :] = values
                continue
            rest = values.shape[1:]
            chunks = (rows, *rest)
            dataset = file.create_dataset(
                key, shape=values.shape, maxshape=(None, *rest), chunks=chunks, dtype=values.dtype
            )
            dataset[:] = values
            for name, value in attributes.get(key, {}).items():
                dataset.attrs[name] = "None" if value is None else value


def clam_coords(path: Path, *contours: Array, level: int = 1, dims: tuple[int, int] = (20_000, 15_000)) -> Path:
    """`create_patches_fp.py`: one write for each piece of tissue, the attributes with the first."""
    attributes = {
        "patch_size": 256,
        "patch_level": level,
        "downsample": (4.0**level, 4.0**level),
        "downsampled_level_dim": tuple(np.array(dims)),
        "level_dim": dims,
        "name": "TCGA-A1",
        "save_path": "RESULTS/patches",
    }
    for number, coords in enumerate(contours):
        _save(path, {"coords": coords}, {} if number else {"coords": attributes}, "a" if number else "w")
    return path


def clam_patches(path: Path, patches: Array, coords: Array, *, level: int = 1) -> Path:
    """`create_patches.py`, the older way: a first patch, the others appended one by one."""
    with h5py.File(path, "w") as file:
        imgs = file.create_dataset(
            "imgs",
            shape=(1, *patches.shape[1:]),
            maxshape=(None, *patches.shape[1:]),
            chunks=(1, *patches.shape[1:]),
            dtype=patches.dtype,
        )
        imgs[:] = patches[:1]
        imgs.attrs["patch_level"] = level
        imgs.attrs["wsi_name"] = "TCGA-A1"
        imgs.attrs["downsample"] = (4.0, 4.0)
        imgs.attrs["level_dim"] = (20_000, 15_000)
        imgs.attrs["downsampled_level_dim"] = (20_000, 15_000)
        table = file.create_dataset("coords", shape=(1, 2), maxshape=(None, 2), chunks=(1, 2), dtype=np.int32)
        table[:] = coords[0]
    for patch, place in zip(patches[1:], coords[1:], strict=True):
        with h5py.File(path, "a") as file:
            for name, value in (("imgs", patch), ("coords", place)):
                file[name].resize(len(file[name]) + 1, axis=0)
                file[name][-1:] = value
    return path


def clam_features(path: Path, coords: Array, *, length: int = 1024) -> Path:
    """`extract_features_fp.py`: batches appended, no attributes at all."""
    for number, start in enumerate(range(0, len(coords), 100)):
        batch = coords[start : start + 100].astype(np.int32)
        features = np.ones((len(batch), length), np.float32)
        _save(path, {"features": features, "coords": batch}, {}, "a" if number else "w", rows=32)
    return path


def trident_attributes() -> dict[str, Any]:
    """What `coords_to_h5` writes for 256 px at 20x with 64 px overlap of a slide scanned at 40x."""
    return {
        "patch_size": 256,
        "patch_size_level0": 256 * 40 // 20,
        "level0_magnification": 40,
        "target_magnification": 20,
        "overlap": 64,
        "name": "TCGA-A1",
        "savetodir": "trident/20x_256px_64px_overlap",
        "level0_width": 60_000,
        "level0_height": 40_000,
    }


def trident_coords(path: Path, coords: Array, **changed: Any) -> Path:
    """`IO.py: coords_to_h5`."""
    coords = np.asarray(coords, dtype=np.int64).reshape(-1, 2)
    _save(path, {"coords": coords}, {"coords": trident_attributes() | changed}, "w")
    return path


def trident_features(path: Path, coords: Array, *, length: int = 1536, whole_slide: bool = False) -> Path:
    """`WSI.py: extract_patch_features`, or `extract_slide_features` with one vector for the slide."""
    features = np.ones(length if whole_slide else (len(coords), length), np.float32)
    about = {"features": {"name": "TCGA-A1", "savetodir": "features", "encoder": "uni_v2"}}
    _save(path, {"features": features, "coords": coords}, {**about, "coords": trident_attributes()}, "w")
    return path


def atlaspatch(path: Path, coords: Array) -> Path:
    """AtlasPatch: x, y, width, height, level, and its attributes on the file."""
    about = {"patch_size": 256, "patch_size_level0": 512, "level0_magnification": 40, "target_magnification": 20}
    about |= {"overlap": 0, "level0_width": 60_000, "level0_height": 40_000}
    rest = np.broadcast_to([512, 512, 0], (len(coords), 3))
    with h5py.File(path, "w") as file:
        file.create_dataset("coords", data=np.hstack([coords, rest]).astype(np.int32))
        file.create_dataset("features/uni_v2", data=np.ones((len(coords), 1536), np.float32))
        for name, value in {**about, "wsi_path": "slides/TCGA-A1.svs"}.items():
            file.attrs[name] = value
    return path


def wsinfer(path: Path, coords: Array) -> Path:
    """wsinfer's `save_hdf5`: gzip, chunks as h5py chooses them."""
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("/coords", data=coords, compression="gzip")
        dataset.attrs["patch_size"] = 700
        dataset.attrs["patch_level"] = 0
        dataset.attrs["patch_spacing_um_px"] = 0.25
    return path


def patchcamelyon(folder: Path, n: int, *, chunks: bool = False) -> dict[str, Path]:
    """The three files of a split: images, labels and masks, by the names of their data sets."""
    random = np.random.default_rng(0)
    arrays = {
        "x": random.integers(0, 256, (n, 96, 96, 3), np.uint8),
        "y": (np.arange(n) % 3 == 0).astype(np.uint8).reshape(n, 1, 1, 1),
        "mask": np.zeros((n, 96, 96, 1), np.uint8),
    }
    paths = {}
    for name, values in arrays.items():
        paths[name] = folder / f"camelyonpatch_level_2_split_valid_{name}.h5"
        with h5py.File(paths[name], "w") as file:
            file.create_dataset(name, data=values, chunks=(1, *values.shape[1:]) if chunks else None)
    return paths


def old(path: Path) -> Path:
    """A file of the oldest format with groups, attributes, chunks and filters: its metadata has no checksums."""
    random = np.random.default_rng(1)
    with h5py.File(path, "w", libver="earliest") as file:
        file.attrs["made"] = "by hand"
        coords = file.create_dataset("coords", data=grid(0, 0, 40, 30, 256), chunks=(8, 2), maxshape=(None, 2))
        coords.attrs["patch_size"], coords.attrs["patch_level"] = 256, 0
        file.create_dataset("images", data=random.integers(0, 9, (20, 16, 16, 3), np.uint8), compression="gzip")
        file.create_dataset("labels", data=np.arange(20) % 3, chunks=(4,), shuffle=True, fletcher32=True)
        file["group/deeper/table"] = np.arange(100)
        file["group/text"] = ["a", "bc"]
        file["group/soft"] = h5py.SoftLink("/coords")
        for number in range(20):
            file[f"many/{number}"] = number
    return path


def fifo(path: Path) -> Path:
    """A pipe that nobody writes to: whoever opens it waits for ever."""
    os.mkfifo(path)
    return path
