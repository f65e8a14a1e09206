"""Class trees of real images for the tests: crops of what scikit-image's wheel brings."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash
from demo_images import packaged
from PIL import Image

import patchcli

FILES = {"brick": "brick.png", "grass": "grass.png", "ihc": "ihc.png", "retina": "retina.jpg"}


def crops(root: Path, *, per_class: int = 6, size: tuple[int, int] = (230, 170)) -> Path:
    """Make `root/<class>/<n>.<suffix>`: crops of different places, PNG and JPEG in turn, gray and RGB."""
    for label, file in FILES.items():
        (root / label).mkdir(parents=True, exist_ok=True)
        with Image.open(packaged(file)) as image:
            for number in range(per_class):
                left, top = 31 * number % (image.width - size[0]), 17 * number % (image.height - size[1])
                crop = image.crop((left, top, left + size[0], top + size[1] - 3 * (number % 3)))
                crop.save(root / label / f"{number}.{'png' if number % 2 else 'jpg'}")
    return root


def many(root: Path, n: int) -> Path:
    """Make a tree of `n` names for one 1,411 px JPEG photo, in two classes: quick to make, seconds to extract."""
    for number in range(n):
        folder = root / ("left" if number % 2 else "right")
        folder.mkdir(parents=True, exist_ok=True)
        first = root / "right" / "000.jpg"
        if number == 0:
            first.write_bytes(Path(packaged("retina.jpg")).read_bytes())
        else:
            os.link(first, folder / f"{number:03d}.jpg")
    return root


def bytes_of(out: Path) -> dict[str, str]:
    """SHA-256 of a data set's files by name: the output and all that stands beside it under its name."""
    folder = out.with_suffix(".shards")
    files = [out, *sorted(folder.iterdir())] if folder.is_dir() else [out]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def leftovers(folder: Path) -> list[str]:
    """Temporary files below a folder."""
    return [str(path) for path in folder.rglob(".*") if path.is_file()]


def table(path: Path, name: str) -> np.ndarray[Any, np.dtype[Any]]:
    """One table of a patchcli file, read by h5py."""
    with h5py.File(path) as file:
        return np.asarray(file[name][:])


def by_identity(out: Path) -> dict[tuple[bytes, int, int, int], int]:
    """Digest of each patch of an augmented data set by path, x, y and copy: what no order or storage may change."""
    ps = patchcli.open(out)
    rows = zip(ps.source, ps.coords.tolist(), table(out, "copy").tolist(), ps.digest.tolist(), strict=True)
    found = {(ps.sources.path[source], x, y, copy): digest for source, (x, y), copy, digest in rows}
    assert len(found) == len(ps)
    return found


def retyped(
    single: Path, out: Path, convert: Callable[[np.ndarray[Any, np.dtype[Any]]], np.ndarray[Any, np.dtype[Any]]]
) -> Path:
    """A data set in one file with other pixels, of another dtype: `convert` gets all patches and gives new ones."""
    with h5py.File(single) as file, h5py.File(out, "w", libver=("v110", "v110")) as new:
        for name, value in file.attrs.items():
            new.attrs.create(name, value)
        for name in file:
            if name not in ("patches", "digest", "stats"):
                file.copy(name, new)
        patches = np.ascontiguousarray(convert(file["patches"][:]))
        new["patches"] = patches
        digests = [xxhash.xxh3_64_intdigest(patch.tobytes()) for patch in patches]
        new.create_dataset("digest", data=np.array(digests, np.uint64), chunks=True, fletcher32=True)
        wide = patches.reshape(-1, patches.shape[-1]).astype(np.float64)
        sums = {"n_pixels": np.array([len(wide)]), "sum": wide.sum(0), "sum_of_squares": (wide**2).sum(0)}
        for name, values in {**sums, "mean": wide.mean(0), "std": wide.std(0)}.items():
            new.create_dataset(f"stats/{name}", data=values, chunks=values.shape, fletcher32=True)
    return out


def shards(out: Path) -> list[Path]:
    """The shards of a data set, in order."""
    return sorted(out.with_suffix(".shards").iterdir())


def copied(made: Path, folder: Path) -> Path:
    """A private copy of a finished data set, to be damaged."""
    shutil.copy2(made, folder / "out.h5")
    shutil.copytree(made.with_suffix(".shards"), folder / "out.shards")
    return folder / "out.h5"
