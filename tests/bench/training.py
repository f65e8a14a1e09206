"""Times the readers for training beside h5py, albumentations and Keras: `make bench`.

Programs take turns within a round, because a shared machine is faster now and slower then; ratios are taken within a
round. Everything runs in this process, on one core but for the workers that are named.
"""

from __future__ import annotations

import argparse
import glob
import itertools
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import h5py
import numpy as np
import psutil
import torch
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler

import patchcli
import patchcli.torch as ours
from bench.measure import PATCHCLI, say, timed
from bench.naive_training import PIPELINES, Composed, SingleRows
from bench.photos import copy_photos
from bench.race import Program, race

PATCH, OVERLAP, BATCH = 64, "0.5", 64
"""In px, of the side, and patches."""
EPOCHS, SETTLED = 20, 3
"""Of the measurement of memory, and after how many its growth counts."""
BLOCK = 1 << 20
KERAS = {
    "rotation_range": 20,
    "width_shift_range": 0.1,
    "height_shift_range": 0.1,
    "shear_range": "0.2rad",
    "zoom_range": 0.2,
    "horizontal_flip": True,
}
FLIPS = [{"HorizontalFlip": {"p": 0.5}}, {"VerticalFlip": {"p": 0.5}}]
AUGMENT: dict[str, Any] = {"flips": FLIPS, "keras": KERAS, "photos": os.path.join("configs", "photos.yaml")}
PARTS = ("random", "order", "memory", "augment", "keras")
NOTE = """
patches/s  median of the rounds; batches of 64. A DataLoader of several workers keeps them, and its first pass is not
           counted.
x          times as fast as the program that is named: median of the ratios within a round, and their range.
wanted     at least.
h5py rows  a data set that opens the file in each process and reads one row at a time by h5py, as uint8 tensors.
fancy      h5py indexed with the sorted rows of a batch.
warm: the files are in the page cache. cold: they are not, and come from the disk. MB are 10^6 bytes.
decoding   of each photo once, from the page cache: the first epoch does it too, later ones have the pixels.
patchcli reads shards of the default size and checks every patch that it reads; h5py reads the same patches in one file.
"""


@dataclass(frozen=True)
class Files:
    """The same patches in one file, for programs that know no shards, and as patchcli writes them."""

    one: str
    sharded: str

    @property
    def parts(self) -> list[str]:
        """The index and its shards."""
        return [self.sharded, *sorted(glob.glob(f"{self.sharded.removesuffix('.h5')}.shards/*"))]


def main() -> None:
    """Measure, print the tables, leave nothing behind."""
    options = _options()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    os.makedirs("bench", exist_ok=True)
    with tempfile.TemporaryDirectory(dir="bench") as folder:
        if set(options.parts) - {"keras"}:
            files = _cut(options, folder)
            measure = {"random": _random, "order": _order, "memory": _memory, "augment": _augment}
            for part in options.parts:
                if part in measure:
                    measure[part](files, options)
        if "keras" in options.parts:
            from bench import training_keras  # after all forks: it starts threads

            training_keras.measure(options.photos, folder, n_rounds=options.rounds, is_quick=options.quick)
    print(NOTE)
    if not os.listdir("bench"):
        os.rmdir("bench")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.training", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--rounds", type=int, default=7, help="turns of each program (default: 7; short ones three times as many)"
    )
    parser.add_argument("--megabytes", type=float, default=500, help="size of the data set, about (default: 500)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="only these")
    parser.add_argument("--photos", metavar="TREE", help="class folders with photos of your own")
    parser.add_argument(
        "--quick", action="store_true", help="one round, each photo once: whether it runs, not how fast"
    )
    options = parser.parse_args()
    options.augmented, options.turn = 100 * BATCH, 150 * BATCH
    if options.quick:
        options.rounds, options.megabytes, options.augmented, options.turn = 1, 0, 4 * BATCH, 20 * BATCH
    return options


def _cut(options: argparse.Namespace, folder: str) -> Files:
    # an overlap of a half writes each px about three times
    photos = copy_photos(options.photos, folder, int(options.megabytes * 1e6 / 3))
    files = Files(os.path.join(folder, "one.h5"), os.path.join(folder, "sharded.h5"))
    size = ["--patch", str(PATCH), "--overlap", OVERLAP]
    timed([PATCHCLI, "extract", photos.tree, files.one, *size, "--shard-size", "64GiB"])
    timed([PATCHCLI, "extract", photos.tree, files.sharded, *size])
    n, n_bytes = len(patchcli.open(files.sharded)), sum(map(os.path.getsize, files.parts))
    print(f"{photos.story}\n{PATCH} px, overlap {OVERLAP}: {n:,} patches, {n_bytes / 1e6:,.0f} MB")
    print(f"rounds: {options.rounds}; medians", flush=True)
    return files


def _random(files: Files, options: argparse.Namespace) -> None:
    """Random batches, warm."""
    _prepare([files.one, *files.parts], is_cold=False)
    whole = patchcli.open(files.sharded)
    seeds = itertools.count()

    def batches() -> list[Any]:
        shuffled = np.random.default_rng(next(seeds)).permutation(len(whole))
        return [shuffled[start : start + BATCH] for start in range(0, min(len(shuffled), options.turn), BATCH)]

    with h5py.File(files.one) as file:
        stored = file["patches"]
        arrays = (
            Program("h5py fancy", lambda: sum(len(stored[np.sort(rows)]) for rows in batches())),
            Program("ps[rows]", lambda: sum(len(whole[rows]) for rows in batches()), "h5py fancy", 10),
        )
        race("random batches, warm: arrays", arrays, 3 * options.rounds)
    for layout, n_workers, wanted in (("chw", 0, 3), ("hwc", 0, None), ("chw", 2, 3)):
        patches = _dataset(files, layout=layout)
        programs = (
            Program("h5py rows", _shuffled(SingleRows(files.one, layout), n_workers, options.turn)),
            Program("PatchDataset", _shuffled(patches, n_workers, options.turn), "h5py rows", wanted),
        )
        race(f"random batches, warm: DataLoader, {layout}, {n_workers} workers", programs, 3 * options.rounds)


def _order(files: Files, options: argparse.Namespace) -> None:
    """What the order of batches costs, warm and cold."""
    patches = _dataset(files)
    whole = ours.PatchIterable(files.sharded, batch_size=BATCH)
    for is_cold in (False, True):
        sequential = "SequentialSampler"
        programs = (
            Program(sequential, _pass(_loader(patches, SequentialSampler(patches)))),
            Program("ShuffleWindow", _pass(_loader(patches, ours.ShuffleWindow(patches))), sequential, 0.8),
            Program("PatchIterable", _pass(DataLoader(whole, batch_size=None)), sequential),
            Program("RandomSampler", _shuffled(patches, 0), sequential),
            Program("only reading", lambda: _read(files.parts, len(patches)), sequential),
        )
        what = f"order of batches, {'cold' if is_cold else 'warm'}: DataLoader, 0 workers"
        race(what, programs, options.rounds, before=partial(_prepare, files.parts, is_cold=is_cold))


def _memory(files: Files, _: argparse.Namespace) -> None:
    """Memory of this process and of two persistent workers, epoch by epoch."""
    print(f"\nmemory (Pss) over {EPOCHS} epochs with 2 persistent workers, MB\n{'':38}{'parent':>10}{'workers':>10}")
    for name, augment in (("ShuffleWindow", None), ("ShuffleWindow, flips", FLIPS)):
        patches = _dataset(files, augment=augment)
        loader = _loader(patches, ours.ShuffleWindow(patches), 2)
        found = []
        for epoch in range(EPOCHS):
            say(f"{name}: epoch {epoch + 1} of {EPOCHS}")
            _count(loader)
            team = psutil.Process().children(recursive=True)
            found.append((_pss([psutil.Process()]), _pss(team)))
        say("")
        for epoch in (1, SETTLED, EPOCHS):
            parent, workers = found[epoch - 1]
            print(f"  {f'{name}, epoch {epoch}':36}{parent:10,.1f}{workers:10,.1f}")
        parent, workers = (found[-1][side] - found[SETTLED - 1][side] for side in (0, 1))
        print(f"  {'growth':36}{parent:+10,.1f}{workers:+10,.1f}", flush=True)
        del loader


def _augment(files: Files, options: argparse.Namespace) -> None:
    """Online augmentation beside one Compose."""
    _prepare([files.one, *files.parts], is_cold=False)
    for name, augment in AUGMENT.items():
        for n_workers in (0, 2):
            naive = SingleRows(files.one, change=Composed(PIPELINES[name]()))
            patches, n = _dataset(files, augment=augment), options.augmented * (1 + n_workers)
            programs = (
                Program("h5py rows, Compose", _shuffled(naive, n_workers, n)),
                Program("PatchDataset, augment", _shuffled(patches, n_workers, n), "h5py rows, Compose"),
            )
            race(f"online augmentation, {name}: {n_workers} workers", programs, min(options.rounds, 5))


def _dataset(files: Files, **said: Any) -> Any:
    return ours.PatchDataset(files.sharded, **said)


def _loader(patches: Any, sampler: Any, n_workers: int = 0) -> Any:
    return DataLoader(
        patches, batch_size=BATCH, sampler=sampler, num_workers=n_workers, persistent_workers=n_workers > 0
    )


def _shuffled(patches: Any, n_workers: int, n: int | None = None) -> Callable[[], int]:
    """A pass over patches in random order, or over some of them."""
    n = None if n is None else min(n, len(patches))
    return _pass(_loader(patches, RandomSampler(patches, num_samples=n), n_workers))


def _pass(loader: Any) -> Callable[[], int]:
    return lambda: _count(loader)


def _count(loader: Any) -> int:
    """Patches that a loader shows, once over; they are what a network takes."""
    n = 0
    for x, y in loader:
        if x.dtype != torch.uint8 or x.ndim != 4 or y.dtype != torch.int64 or len(x) != len(y):
            raise SystemExit(f"a batch of {x.dtype} {tuple(x.shape)}, {y.dtype} {tuple(y.shape)}: not comparable")
        n += len(x)
    return n


def _prepare(paths: Sequence[str], *, is_cold: bool) -> None:
    """Bring the files into the page cache, or out of it."""
    os.sync()
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            if is_cold:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                while file.read(BLOCK):
                    pass


def _read(paths: Sequence[str], n_patches: int) -> int:
    """Read the files from end to end, into the same memory; as many patches as were passed over."""
    block = memoryview(bytearray(BLOCK))
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(block):
                pass
    return n_patches


def _pss(team: Sequence[psutil.Process]) -> float:
    """Memory of some processes in MB, what they share counted once."""
    return float(sum(one.memory_full_info().pss for one in team) / 1e6)


if __name__ == "__main__":
    main()
