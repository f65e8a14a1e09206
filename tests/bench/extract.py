"""Times `patchcli extract` on real photos beside its floor and a naive script: `make bench`.

Runs alternate (floor, patchcli, floor, patchcli, ...), because a shared machine is faster now and slower then; ratios
are taken within a pair.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from bench import floor, naive
from bench.measure import PATCHCLI, observed, remove, say, spread, timed
from bench.photos import Photos, copy_photos

CUTS = ((64, "0.5", 32), (256, "0", 256))
"""Patch, overlap and the stride that they come to, px."""

NOTE = """
seconds   wall time. patchcli: the whole command, start of Python and fsync included. floor: a program that only decodes
          each photo once (simplejpeg), writes as many bytes as the patches take and fsyncs. naive: Pillow, a loop, a
          list, np.stack, h5py with gzip, in one process; run on a part of the photos (*), its seconds multiplied up.
          The start of floor and naive is not counted.
x floor   median of the ratios within a pair of runs next to each other, and their range; naive: of its one run.
MB/s      of patch bytes. MB are 10^6 bytes.
peak MB   resident memory of the largest process, sampled every 10 ms in a run of its own.
The photos are in the page cache; all files are on the same disk."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    cut: str
    program: str
    seconds: float
    ratio: str
    rate: float
    peak: str


def main() -> None:
    """Measure, print the table, leave nothing behind."""
    options = _options()
    os.makedirs("bench", exist_ok=True)
    with tempfile.TemporaryDirectory(dir="bench") as folder:
        photos = copy_photos(options.photos, folder, int(options.megabytes * 1e6))
        print(f"{photos.story}\n{options.workers} workers; pairs of runs: {options.pairs}; medians\n", flush=True)
        rows = [row for cut in CUTS for row in _measure(photos, cut, options, folder)]
        print(_table(rows))
        share = f"1/{photos.n_copies}" if photos.n_copies > 1 else "all"
        print(f"* one run on {share} of the photos" + NOTE)
    if not os.listdir("bench"):
        os.rmdir("bench")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.extract", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=5, help="runs of each program (default: 5)")
    parser.add_argument("--megabytes", type=float, default=1000, help="decoded volume, at least (default: 1000)")
    parser.add_argument("--workers", type=int, default=2, help="processes of each program (default: 2)")
    parser.add_argument("--photos", metavar="TREE", help="class folders with photos of your own")
    parser.add_argument("--quick", action="store_true", help="one pair on 100 MB: whether it runs, not how fast")
    options = parser.parse_args()
    if options.quick:
        options.pairs, options.megabytes = 1, 100
    return options


def _measure(photos: Photos, cut: tuple[int, str, int], options: argparse.Namespace, folder: str) -> list[Row]:
    patch, overlap, stride = cut
    name = f"{patch} px, overlap {overlap}"
    jobs = floor.plan(photos.paths, patch, stride)
    n_bytes = sum(job.n_bytes for job in jobs)
    command = _command(photos.tree, patch, overlap, options.workers)
    _extract(command, folder, n_bytes)  # warms the page cache, and checks that both sides write the same amount
    pairs = []
    for number in range(options.pairs):
        say(f"{name}: pair {number + 1} of {options.pairs}")
        os.sync()
        least = floor.run(jobs, options.workers, folder)
        pairs.append((least, _extract(command, folder, n_bytes)))
    say(f"{name}: memory, and the naive script")
    least, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = spread([ours for _, ours in pairs], [least for least, _ in pairs])
    slow, large = _naive(photos, patch, stride, folder)
    _, peak = observed([*command, os.path.join(folder, "peak.h5")])
    remove(os.path.join(folder, "peak"))
    say("")
    return [
        Row(name, "floor", least, "1", n_bytes / least, ""),
        Row("", "patchcli", ours, ratio, n_bytes / ours, f"{peak / 1e6:,.0f}"),
        Row("", "naive *", slow, f"{slow / least:,.0f}", n_bytes / slow, f"{large / 1e6:,.0f}*"),
    ]


def _command(tree: str, patch: int, overlap: str, n_workers: int) -> list[str]:
    """`patchcli extract` of this interpreter, but for its output, which comes last."""
    settings = ["--patch", str(patch), "--overlap", overlap, "--workers", str(n_workers)]
    return [PATCHCLI, "extract", "--json", *settings, tree]


def _extract(command: Sequence[str], folder: str, n_bytes: int) -> float:
    """Wall seconds of the whole command; what it made is removed."""
    seconds, printed = timed([*command, os.path.join(folder, "out.h5")])
    summary = json.loads(printed)
    height, width, channels = summary["patch_shape"]
    if summary["patches"] * height * width * channels != n_bytes:
        raise SystemExit(f"patchcli wrote {summary['patches']} patches, the floor {n_bytes} bytes: not comparable")
    remove(os.path.join(folder, "out"))
    return seconds


def _naive(photos: Photos, patch: int, stride: int, folder: str) -> tuple[float, int]:
    """Wall seconds for all photos, from a run on a part of them; bytes of memory of that run."""
    out = os.path.join(folder, "naive.h5")
    printed, peak = observed([sys.executable, naive.__file__, photos.part, out, str(patch), str(stride)])
    os.remove(out)
    return float(printed) * photos.n_copies, peak


def _table(rows: Sequence[Row]) -> str:
    lines = [f"{'':22}{'program':10}{'seconds':>9}  {'x floor':18}{'MB/s':>7}{'peak MB':>9}"]
    for row in rows:
        figures = f"{row.seconds:9.2f}  {row.ratio:18}{row.rate / 1e6:7,.0f}{row.peak:>9}"
        lines.append(f"{row.cut:22}{row.program:10}{figures}".rstrip())
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
