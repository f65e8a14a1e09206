"""What one writes after a look at albumentations' tutorial: one Compose, a seed for each copy, a row in, a row out.

    naive_augment.py IN.h5 OUT.h5 PIPELINE COPIES [COMPRESSION]

`IN.h5` is a data set of one file. The seed makes each copy repeatable, as patchcli promises too. That it also
makes all transforms of a pipeline draw the same numbers is albumentations' doing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # or it asks the network, which would be held against it

import albumentations as A  # noqa: N812 - as everybody does
import cv2
import h5py


def flips() -> list[Any]:
    """Nothing that costs anything: how much is spent around the transforms."""
    return [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)]


def keras() -> list[Any]:
    """ImageDataGenerator's rotation 20, shifts 0.1, shear 0.2, zoom 0.2 and horizontal flip, as nearly as can be."""
    affine = A.Affine(
        rotate=(-20, 20),
        translate_percent={"x": (-0.1, 0.1), "y": (-0.1, 0.1)},
        shear={"x": (-0.2, 0.2), "y": (0, 0)},
        scale={"x": (1 / 1.2, 1 / 0.8), "y": (1 / 1.2, 1 / 0.8)},
        border_mode=cv2.BORDER_REPLICATE,
        interpolation=cv2.INTER_LINEAR,
        p=1.0,
    )
    return [affine, A.HorizontalFlip(p=0.5)]


def five() -> list[Any]:
    """Five that are often seen together."""
    return [
        A.HorizontalFlip(p=0.5),
        A.RandomRotate90(p=0.5),
        A.RandomBrightnessContrast(p=0.3),
        A.HueSaturationValue(p=0.3),
        A.GaussianBlur(p=0.3),
    ]


PIPELINES: dict[str, Callable[[], list[Any]]] = {"flips": flips, "keras": keras, "five": five}


def main() -> None:
    """Write copies of all patches of one file into another."""
    source, out, name, n_copies = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    compression = sys.argv[5] if len(sys.argv) > 5 else None
    pipeline = A.Compose(PIPELINES[name]())
    with h5py.File(source, "r") as given, h5py.File(out, "w") as made:
        patches, labels = given["patches"], given["labels"]
        shape = (len(patches) * n_copies, *patches.shape[1:])
        chunks = (1, *patches.shape[1:]) if compression else None
        copies = made.create_dataset("patches", shape, patches.dtype, chunks=chunks, compression=compression)
        classes = made.create_dataset("labels", shape[:1], labels.dtype)
        for row in range(len(patches)):
            patch = patches[row]
            for copy in range(n_copies):
                at = row * n_copies + copy
                pipeline.set_random_seed(at)
                copies[at] = pipeline(image=patch)["image"]
                classes[at] = labels[row]


if __name__ == "__main__":
    main()
