"""Trains one small network in torch and in Keras on patches of textures: `python tests/demo_train.py FOLDER`.

Brick, grass and gravel, of which regions are held out. It trains through `patchcli.torch`, through
`patchcli.keras.PatchSequence`, and straight from the images through `patchcli.keras.PatchImageDataGenerator`.

The exit code is 0 when each recognises 95 % of the held-out patches, and 1 when one does not or nothing is installed to
train with. What is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from demo_images import SETS
from demo_regions import HELD_OUT, RASTER, SIDE, cut

import patchcli

PATCH = 32
BATCH = 32
WIDTH = 16  # channels of the first convolution; the next have twice and four times as many
RATE = 4e-3  # falls to zero along a cosine
SEED = 0
WORKERS = 2
CLASSES = sorted(SETS["textures"])
BACKENDS = ("torch", "jax", "tensorflow")
AUGMENT = {"rescale": "1/255", "horizontal_flip": True}


@dataclass(frozen=True)
class Task:
    """What is learned: the regions, the patches that were cut from them, and how long."""

    regions: str
    patches: str
    overlap: float
    epochs: int


@dataclass
class Course:
    """One training as it is told: a line an epoch, and what the table at the end says."""

    name: str
    by: str
    accuracy: float = 0.0
    n_seen: int = 0
    training: float = 0.0
    whole: float = 0.0
    _started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        print(f"\n{self.name}: {self.by}\n  epoch    loss   held out", flush=True)
        self._n_epochs = 0

    def tell(self, loss: float, accuracy: float, *, n_seen: int, seconds: float) -> None:
        """An epoch is over: `seconds` were spent on training alone."""
        self._n_epochs += 1
        self.accuracy, self.whole = accuracy, time.perf_counter() - self._started
        self.n_seen += n_seen
        self.training += seconds
        print(f"  {self._n_epochs:5}   {loss:.3f}    {accuracy:6.1%}", flush=True)


def with_torch(task: Task) -> Course:
    """`patchcli.torch`: a data set, its sampler and two worker processes."""
    torch: Any = importlib.import_module("torch")
    from torch.utils.data import DataLoader

    from patchcli.torch import PatchDataset, ShuffleWindow

    course = Course(f"torch {release(torch)}", f"PatchDataset, ShuffleWindow, {WORKERS} workers")
    torch.manual_seed(SEED)
    train = PatchDataset(task.patches, split="train", augment=AUGMENT, seed=SEED)
    held_out = PatchDataset(task.patches, split="val", augment=AUGMENT)
    order = ShuffleWindow(train, seed=SEED)
    batches: Any = DataLoader(train, BATCH, sampler=order, num_workers=WORKERS, persistent_workers=True)

    network = torch_network(torch, channels=train.patches.patch_shape[2])
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, task.epochs * len(batches))
    for _ in range(task.epochs):
        started, total = time.perf_counter(), 0.0
        for x, y in batches:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(x * 4 - 2), y)
            loss.backward()
            optimizer.step()
            falling.step()
            total += loss.item() * len(y)
        seconds = time.perf_counter() - started
        with torch.no_grad():
            right = sum(int((network(x * 4 - 2).argmax(1) == y).sum()) for x, y in DataLoader(held_out, 256))
        course.tell(total / len(train), right / len(held_out), n_seen=len(train), seconds=seconds)
    return course


def with_keras(task: Task) -> Course:
    """`PatchSequence`: the same data set for `model.fit`."""
    from patchcli.keras import PatchSequence

    course = Course(keras_name(), "PatchSequence")
    train = PatchSequence(task.patches, BATCH, split="train", augment=AUGMENT, seed=SEED)
    held_out = PatchSequence(task.patches, 256, split="val", augment=AUGMENT, shuffle=False)
    fit(task, course, train, held_out, loss="sparse_categorical_crossentropy")
    return course


def with_images(task: Task) -> Course:
    """`PatchImageDataGenerator`: no data set at all, patches are cut from the images while it trains."""
    from patchcli.keras import PatchImageDataGenerator

    course = Course(keras_name(), "PatchImageDataGenerator, from the images")
    images = PatchImageDataGenerator(rescale=1 / 255, horizontal_flip=True, patch_size=PATCH, overlap=task.overlap)
    train = images.flow_from_directory(f"{task.regions}/train", seed=SEED)
    plain = PatchImageDataGenerator(rescale=1 / 255, patch_size=PATCH, overlap=task.overlap)
    held_out = plain.flow_from_directory(f"{task.regions}/val", batch_size=256, shuffle=False, seed=SEED)
    fit(task, course, train, held_out, loss="categorical_crossentropy")
    return course


def torch_network(torch: Any, *, channels: int) -> Any:
    """Three convolutions for float32 (N, C, H, W) of -2 to 2; the numbers it gives are before softmax."""
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(channels, WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(WIDTH, 2 * WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(2 * WIDTH, 4 * WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * WIDTH, len(CLASSES)),
    )


def keras_network(shape: tuple[int, ...]) -> Any:
    """The same network for patches of a shape, of 0 to 1."""
    keras = keras_module()
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Rescaling(4, -2),
            layers.Conv2D(WIDTH, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(2 * WIDTH, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(4 * WIDTH, 3, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(len(CLASSES), activation="softmax"),
        ]
    )


def fit(task: Task, course: Course, train: Any, held_out: Any, *, loss: str) -> None:
    """Let Keras train, and tell each epoch."""
    keras = keras_module()
    keras.utils.set_random_seed(SEED)

    clock = {}

    def begin(epoch: int, logs: Any) -> None:
        clock["begun"] = time.perf_counter()

    def trained(logs: Any) -> None:
        clock["seconds"] = time.perf_counter() - clock["begun"]

    def end(epoch: int, logs: Any) -> None:
        course.tell(logs["loss"], logs["val_accuracy"], n_seen=train.n, seconds=clock["seconds"])

    told = keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_test_begin=trained, on_epoch_end=end)
    network = keras_network(train[0][0].shape[1:])
    falling = keras.optimizers.schedules.CosineDecay(RATE, task.epochs * len(train))
    network.compile(optimizer=keras.optimizers.Adam(falling), loss=loss, metrics=["accuracy"])
    # the readers shuffle by themselves, and in this order each image is decoded once an epoch
    network.fit(train, validation_data=held_out, epochs=task.epochs, callbacks=[told], shuffle=False, verbose=0)


def keras_module() -> Any:
    return importlib.import_module("keras")


def keras_name() -> str:
    keras = keras_module()
    return f"keras {release(keras)} on {keras.backend.backend()}"


def release(module: Any) -> str:
    """Its version without what was built into it."""
    return str(module.__version__).partition("+")[0]


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def trainings() -> list[Callable[[Task], Course]]:
    """What can be run here; what cannot is named. Settles which backend Keras takes."""
    found: list[Callable[[Task], Course]] = []
    if installed("torch"):
        torch: Any = importlib.import_module("torch")
        torch.set_num_threads(1)  # on two cores a second thread waits, spinning, for the one that the workers have
        found.append(with_torch)
    else:
        print("torch is not installed: left out")
    # Keras' numpy backend, which may be asked for around here, cannot train
    backends = sorted(filter(installed, BACKENDS), key=lambda name: name != os.environ.get("KERAS_BACKEND"))
    if not installed("keras"):
        print("keras is not installed: left out")
    elif not backends:
        print(f"keras has none of {', '.join(BACKENDS)} to train with: left out")
    else:
        os.environ["KERAS_BACKEND"] = backends[0]
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        found += [with_keras, with_images]
    return found


def prepared(folder: str, *, overlap: float, epochs: int) -> Task:
    """Cut the regions and their patches, and say how many there are."""
    regions, patches = cut(folder), os.path.join(folder, "regions.h5")
    patchcli.extract(regions, patches, patch=PATCH, overlap=overlap, overwrite=True)
    with patchcli.open(patches) as cut_patches:
        n_train, n_held_out = (len(cut_patches.subset(split=split)) for split in ("train", "val"))
    n_regions, n_kept = RASTER**2 * len(CLASSES), len(HELD_OUT) * len(CLASSES)
    print(f"textures   {', '.join(CLASSES)}: an image each, cut into {RASTER**2} regions of {SIDE}x{SIDE} px")
    print(f"train      {n_regions - n_kept} regions, {n_train:,} patches of {PATCH}x{PATCH} px")
    print(f"held out   {n_kept} regions, {n_held_out:,} patches, which share no pixel with those")
    return Task(regions, patches, overlap, epochs)


def main() -> int:
    """Train with all that is installed; 0 when each reaches the goal."""
    parser = argparse.ArgumentParser(
        description="Trains one small network in torch and in Keras on patches of textures."
    )
    parser.add_argument("folder", help="takes regions/ and regions.h5")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--overlap", type=float, default=0.5, help="of patches")
    parser.add_argument(
        "--goal", type=float, default=0.95, help="share of the held-out patches that must be recognised"
    )
    asked = parser.parse_args()

    started = time.perf_counter()
    task = prepared(asked.folder, overlap=asked.overlap, epochs=asked.epochs)
    courses = [training(task) for training in trainings()]
    if not courses:
        print("\nThere is nothing to train with: python -m pip install torch keras", file=sys.stderr)
        return 1
    print_table(courses)
    print(f"{time.perf_counter() - started:.0f} s in all", flush=True)
    missed = [course for course in courses if course.accuracy < asked.goal]
    for course in missed:
        print(
            f"{course.name}, {course.by}: {course.accuracy:.1%} of the held-out patches were recognised, "
            f"expected {asked.goal:.0%} at least",
            file=sys.stderr,
        )
    return 1 if missed else 0


def print_table(courses: list[Course]) -> None:
    """What was reached, a line each."""
    frameworks, readers = (max(map(len, names)) for names in zip(*((c.name, c.by) for c in courses), strict=True))
    print(f"\n{'framework':{frameworks}}  {'read by':{readers}}  patches/s  held out  seconds")
    for course in courses:
        speed = course.n_seen / course.training
        told = f"{course.name:{frameworks}}  {course.by:{readers}}"
        print(f"{told}  {speed:9,.0f}  {course.accuracy:8.1%}  {course.whole:7.1f}")


if __name__ == "__main__":
    sys.exit(main())
