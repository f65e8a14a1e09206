"""Times PatchImageDataGenerator beside only decoding its photos, and beside Keras' own on patches in PNG files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "numpy")

import keras
import simplejpeg
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from PIL import Image, ImageOps

import patchcli.keras as ours
from bench.photos import copy_photos
from bench.race import Program, race

PATCH, BATCH = 64, 64
"""In px, of the side, and patches."""
MEGAPIXELS = (1, 2, 4, 8, 12)
CLASSES = ("one", "two")
TILE = 400
RANGES: dict[str, Any] = {
    "rotation_range": 20,
    "width_shift_range": 0.1,
    "height_shift_range": 0.1,
    "zoom_range": 0.2,
    "horizontal_flip": True,
}
DECODING, PNG = "only decoding", "Keras, PNG files"


def measure(source: str | None, folder: str, *, n_rounds: int, is_quick: bool) -> None:
    """Print two tables: patches as they are, and augmented.

    Parameters
    ----------
    source : str or None
        Class folders with photos, as for `copy_photos`; they are put together to photos of some megapixels.
    """
    megapixels = MEGAPIXELS[:2] if is_quick else MEGAPIXELS
    tree, files = os.path.join(folder, "large"), os.path.join(folder, "png")
    paths = _compose(copy_photos(source, os.path.join(folder, "small"), 0).paths, tree, megapixels)
    n = _cut(paths, files)
    print(f"\nKeras, backend {keras.backend.backend()}: {len(paths)} photos of {megapixels} MP, {n:,} patches")
    generator, theirs = ours.PatchImageDataGenerator(patch_size=PATCH), ImageDataGenerator()
    programs = [
        Program(DECODING, lambda: _decode(paths, n)),
        Program(PNG, _epoch(_keras_flow(theirs, files))),
        Program("ours, first epoch", lambda: _epoch(_our_flow(generator, tree))(), DECODING),
        Program("ours, later epochs", _epoch(_our_flow(generator, tree)), PNG),
    ]
    race("Keras generators, one worker", programs, n_rounds)
    most = 4 if is_quick else 60
    changing, their_changing = ours.PatchImageDataGenerator(**RANGES, patch_size=PATCH), ImageDataGenerator(**RANGES)
    programs = [
        Program(PNG, _epoch(_keras_flow(their_changing, files), most)),
        Program("ours, later epochs", _epoch(_our_flow(changing, tree), most), PNG),
    ]
    race("Keras generators, one worker, augmenting", programs, n_rounds)


def _compose(small: Sequence[str], tree: str, megapixels: Sequence[int]) -> list[str]:
    """A photo of each size in each class, mosaics of small ones: what a camera sees at the scale of a pixel."""
    found, number = [], 0
    for label in CLASSES:
        os.makedirs(os.path.join(tree, label))
        for size in megapixels:
            height = round((size * 1e6 * 3 / 4) ** 0.5)
            width = height * 4 // 3
            large = Image.new("RGB", (width, height))
            for y in range(0, height, TILE):
                for x in range(0, width, TILE):
                    with Image.open(small[number % len(small)]) as image:
                        large.paste(ImageOps.fit(image.convert("RGB"), (TILE, TILE)), (x, y))
                    number += 1
            found.append(os.path.join(tree, label, f"{size:02}.jpg"))
            large.save(found[-1], quality=90)
    return found


def _cut(paths: Sequence[str], folder: str) -> int:
    """Save the patches of photos as PNG files in class folders; how many."""
    n = 0
    for path in paths:
        label, stem = os.path.basename(os.path.dirname(path)), os.path.splitext(os.path.basename(path))[0]
        os.makedirs(os.path.join(folder, label), exist_ok=True)
        with Image.open(path) as image:
            for y in range(0, image.height - PATCH + 1, PATCH):
                for x in range(0, image.width - PATCH + 1, PATCH):
                    patch = image.crop((x, y, x + PATCH, y + PATCH))
                    patch.save(os.path.join(folder, label, f"{stem}-{x}-{y}.png"))
                    n += 1
    return n


def _decode(paths: Sequence[str], n: int) -> int:
    for path in paths:
        with open(path, "rb") as file:
            simplejpeg.decode_jpeg(file.read(), "RGB", fastdct=False, fastupsample=False)  # as Pillow does, bit for bit
    return n


def _our_flow(generator: Any, tree: str) -> Any:
    return generator.flow_from_directory(tree, class_mode="sparse", batch_size=BATCH, seed=0)


def _keras_flow(theirs: Any, tree: str) -> Any:
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):  # it says what it found
        return theirs.flow_from_directory(
            tree, target_size=(PATCH, PATCH), class_mode="sparse", batch_size=BATCH, seed=0
        )


def _epoch(flow: Any, most: int | None = None) -> Callable[[], int]:
    """An epoch of a flow, or some batches of one; how many patches it shows."""

    def run() -> int:
        n = 0
        for k in range(len(flow))[:most]:
            x, y = flow[k]
            if x.shape[1:] != (PATCH, PATCH, 3) or x.dtype != "float32" or len(x) != len(y):
                raise SystemExit(f"a batch of {x.dtype} {x.shape}: not comparable")
            n += len(x)
        flow.on_epoch_end()
        return n

    return run
