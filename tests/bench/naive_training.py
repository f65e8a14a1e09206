"""What one writes to train on an HDF5 file before looking for anything better: rows by h5py, albumentations on each."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # or it asks the network, which would be held against it

import albumentations as A  # noqa: N812 - as everybody does
import cv2
import h5py
import numpy as np
import numpy.typing as npt
import torch

from bench.naive_augment import flips, keras

Array = npt.NDArray[Any]


class SingleRows:
    """A data set for a DataLoader: each process opens the file when it reads its first row.

    Parameters
    ----------
    path : str
        A data set of one file.
    layout : {"chw", "hwc"}
    change : callable, optional
        Of a patch (H, W, C).
    """

    def __init__(self, path: str, layout: str = "chw", change: Callable[[Array], Array] | None = None) -> None:
        self._path, self._layout, self._change = path, layout, change
        self._file: Any = None
        with h5py.File(path) as file:
            self._n = len(file["labels"])

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> tuple[Any, int]:
        if self._file is None:
            self._file = h5py.File(self._path)
            self._patches, self._labels = self._file["patches"], self._file["labels"]
        patch = self._patches[index]
        if self._change is not None:
            patch = self._change(patch)
        x = torch.from_numpy(patch)
        return x.permute(2, 0, 1) if self._layout == "chw" else x, int(self._labels[index])


class Composed:
    """One albumentations.Compose, as a change of a patch."""

    def __init__(self, transforms: list[Any]) -> None:
        self._pipeline = A.Compose(transforms)

    def __call__(self, patch: Array) -> Array:
        return np.ascontiguousarray(self._pipeline(image=patch)["image"])


def photos() -> list[Any]:
    """The transforms of configs/photos.yaml, for patches of 64 px."""
    return [
        A.HorizontalFlip(p=0.5),
        A.RandomResizedCrop(size=(64, 64), scale=(0.5, 1.0), ratio=(0.8, 1.25), p=0.8),
        A.Rotate(limit=(-10, 10), border_mode=cv2.BORDER_REFLECT_101, p=0.5),
        A.ColorJitter(brightness=(0.8, 1.2), contrast=(0.8, 1.2), saturation=(0.8, 1.2), hue=(-0.02, 0.02), p=0.8),
        A.OneOf(
            [
                A.GaussianBlur(blur_limit=0, sigma_limit=(0.3, 1.0), p=1),
                A.ImageCompression(quality_range=(40, 90), p=1),
            ],
            p=0.2,
        ),
    ]


PIPELINES: dict[str, Callable[[], list[Any]]] = {"flips": flips, "keras": keras, "photos": photos}
