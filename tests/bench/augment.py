"""Times `patchcli augment` on patches of real photos beside a naive script: `make bench`.

Runs alternate (naive, one worker, two workers, naive, ...), because a shared machine is faster now and slower then;
ratios are taken between runs next to each other.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import patchcli
from bench import naive_augment
from bench.measure import PATCHCLI, observed, remove, say, spread, timed
from bench.photos import Photos, copy_photos

CUTS = ((64, "0", 140), (256, "0.5", 220))
"""Patch in px, overlap, and MB of decoded photos to cut: some 11,000 patches of the first kind, 2,000 of the second."""

COPIES = 2
SHARD = "64MiB"
"""The default, said."""

FLIPS = "- HorizontalFlip: {p: 0.5}\n- VerticalFlip: {p: 0.5}\n"
FIVE = """\
- HorizontalFlip: {p: 0.5}
- RandomRotate90: {p: 0.5}
- RandomBrightnessContrast: {p: 0.3}
- HueSaturationValue: {p: 0.3}
- GaussianBlur: {p: 0.3}
"""
KERAS = (
    *("--rotation-range", "20", "--width-shift-range", "0.1", "--height-shift-range", "0.1"),
    *("--shear-range", "0.2", "--zoom-range", "0.2", "--horizontal-flip"),
)
WANTED = {"flips": 2.5, "keras": 3.0, "five": 1.4}
"""Times the speed of the naive script, at least; of two workers over one, 1.8."""

HEAD = (
    f"{'':13}{'program':13}{'seconds':>8}{'net':>8}  {'x naive':18}{'net':>6}  {'x one':18}{'wanted':13}"
    f"{'patches/s':>10}{'peak MB':>9}"
)
NOTE = """
seconds   median wall time of the whole command, start of Python and fsync included; the naive script does no fsync.
net       without what the same program takes for a file of one patch (the least of three).
x naive   median of the ratios of seconds within a pair of runs next to each other, and their range; the same of net.
x one     one worker's seconds to two workers', likewise.
wanted    at least.
patches/s copies written, by seconds.
peak MB   resident memory of the largest process, sampled every 10 ms in a run of its own.
naive     one albumentations.Compose, set_random_seed for each copy, h5py row in, h5py row out (naive_augment.py).
gzip      h5py's, one patch a chunk, on both sides; one run each. Not in --quick.
The patches are in the page cache; all files are on the same disk."""


@dataclass(frozen=True)
class Job:
    """What is measured: copies of the patches of one file by one pipeline.

    Attributes
    ----------
    source, single : str
        The file; one with a single patch of the same size, which shows what starting takes.
    pipeline : str
    options : tuple of str
        The pipeline as patchcli's options.
    n_copies : int
        That come out in all.
    folder : str
        Where outputs stand for the time of a run.
    """

    source: str
    single: str
    pipeline: str
    options: tuple[str, ...]
    n_copies: int
    folder: str

    @property
    def out(self) -> str:
        """Path of the output."""
        return os.path.join(self.folder, "out.h5")

    def commands(self, source: str, *, gzip: bool = False) -> dict[str, list[str]]:
        """The naive script, and patchcli with one worker and with two."""
        naive = [sys.executable, naive_augment.__file__, source, self.out, self.pipeline, str(COPIES)]
        settings = ["--copies", str(COPIES), "--no-keep-original", "--seed", "0", "--shard-size", SHARD]
        ours = [PATCHCLI, "augment", source, self.out, *self.options, *settings]
        if gzip:
            naive, ours = [*naive, "gzip"], [*ours, "--compression", "gzip"]
        return {"naive": naive, "one worker": [*ours, "--workers", "1"], "two workers": [*ours, "--workers", "2"]}

    def seconds(self, command: Sequence[str]) -> float:
        """Wall seconds of a command, whose output is removed."""
        seconds, _ = timed(command)
        remove(self.out[: -len(".h5")])
        return seconds


def main() -> None:
    """Measure, print the table, leave nothing behind."""
    options = _options()
    os.makedirs("bench", exist_ok=True)
    with tempfile.TemporaryDirectory(dir="bench") as folder:
        for patch, overlap, megabytes in CUTS:
            n_bytes = 1 if options.quick else megabytes * 1_000_000
            photos = copy_photos(options.photos, os.path.join(folder, str(patch)), n_bytes)
            source, single = _cut(photos, patch, overlap, folder)
            n_patches = len(patchcli.open(source))
            print(f"{photos.story}\n{patch} px, overlap {overlap}: {n_patches:,} patches, {COPIES} copies of each")
            print(f"pairs of runs: {options.pairs}; medians\n\n{HEAD}", flush=True)
            for name, settings in _pipelines(folder).items():
                job = Job(source, single, name, settings, n_patches * COPIES, folder)
                for line in _measure(job, options):
                    print(line, flush=True)
            print()
        print(NOTE.lstrip("\n"))
    if not os.listdir("bench"):
        os.rmdir("bench")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.augment", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=5, help="runs of each program (default: 5)")
    parser.add_argument("--photos", metavar="TREE", help="class folders with photos of your own")
    parser.add_argument("--quick", action="store_true", help="one pair on few patches: whether it runs, not how fast")
    options = parser.parse_args()
    if options.quick:
        options.pairs = 1
    return options


def _cut(photos: Photos, patch: int, overlap: str, folder: str) -> tuple[str, str]:
    """A file with the patches of all photos, and one with a single patch."""
    one = os.path.join(folder, f"single-{patch}", "photo")
    os.makedirs(one)
    os.link(photos.paths[0], os.path.join(one, os.path.basename(photos.paths[0])))
    source, single = (os.path.join(folder, f"{name}-{patch}.h5") for name in ("all", "one"))
    size = ["--patch", str(patch), "--shard-size", "64GiB"]  # one file: the naive script knows no shards
    timed([PATCHCLI, "extract", photos.tree, source, *size, "--overlap", overlap])
    timed([PATCHCLI, "extract", os.path.dirname(one), single, *size, "--stride", "100000"])
    return source, single


def _pipelines(folder: str) -> dict[str, tuple[str, ...]]:
    """Options of patchcli by the names that the naive script gives to the same pipelines."""
    options = {"keras": tuple(KERAS)}
    for name, text in (("flips", FLIPS), ("five", FIVE)):
        path = os.path.join(folder, f"{name}.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        options[name] = ("--config", path)
    return {name: options[name] for name in WANTED}


def _measure(job: Job, options: argparse.Namespace) -> Iterator[str]:
    say(f"{job.pipeline}: memory, and the start")
    commands = job.commands(job.source)
    peaks = {name: _peak(job, command) for name, command in commands.items()}  # and warms the page cache
    starts = {name: min(seconds) for name, seconds in _race(job, job.commands(job.single), 3).items()}
    yield from _lines(job, job.pipeline, _race(job, commands, options.pairs), starts, peaks)
    if not options.quick:
        yield from _lines(job, f"{job.pipeline}, gzip", _race(job, job.commands(job.source, gzip=True), 1), starts, {})


def _peak(job: Job, command: Sequence[str]) -> str:
    """Memory of a run in MB; that it made all copies is checked."""
    _, peak = observed(command)
    if command[0] == PATCHCLI and (n := len(patchcli.open(job.out))) != job.n_copies:
        raise SystemExit(f"patchcli made {n} copies, the naive script {job.n_copies}: not comparable")
    remove(job.out[: -len(".h5")])
    return f"{peak / 1e6:,.0f}"


def _race(job: Job, commands: dict[str, list[str]], n_pairs: int) -> dict[str, list[float]]:
    """Seconds of each run of each program."""
    took: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(n_pairs):
        for name, command in commands.items():
            say(f"{job.pipeline}: run {number + 1} of {n_pairs}: {name}")
            took[name].append(job.seconds(command))
    say("")
    return took


def _lines(
    job: Job, what: str, took: dict[str, list[float]], starts: dict[str, float], peaks: dict[str, str]
) -> Iterator[str]:
    """Lines of the table; without `peaks` these are figures for the record, of which nothing is wanted."""
    middles = {name: statistics.median(seconds) for name, seconds in took.items()}
    nets = {name: max(0.01, middle - starts[name]) for name, middle in middles.items()}
    for name, seconds in took.items():
        naive = net = one = wanted = ""
        if name != "naive":
            naive, net = spread(took["naive"], seconds), f"{nets['naive'] / nets[name]:.2f}"
        if name == "one worker":
            wanted = f"x naive {WANTED[job.pipeline]}"
        if name == "two workers":
            one, wanted = spread(took["one worker"], seconds), "x one 1.8"
        label = f"{what if name == 'naive' else '':13}{name:13}{middles[name]:8.2f}{nets[name]:8.2f}"
        ratios = f"  {naive:18}{net:>6}  {one:18}{wanted if peaks else '':13}"
        yield f"{label}{ratios}{job.n_copies / middles[name]:10,.0f}{peaks.get(name, ''):>9}".rstrip()


if __name__ == "__main__":
    main()
