"""Times `patchcli inspect --verify` beside programs that only read the same files: `make bench`.

Runs alternate (floor, patchcli, floor, patchcli, ...), because a shared machine is faster now and slower then; ratios
are taken within a pair.
"""

from __future__ import annotations

import argparse
import glob
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.measure import PATCHCLI, remove, say, spread, timed
from bench.photos import copy_photos

CUTS = ((64, "0.5"), (256, "0.5"))
"""Patch and overlap."""
BLOCK = 1 << 20
NOTE = """
floor     processes that only read the same files, in blocks of 1 MiB, into the same memory; their start is not counted.
work      what patchcli itself counts: every byte, patch, table and sum, with the start of its workers.
command   the whole command, with the start of Python.
of floor  bandwidth as a part of the floor's: median of the ratios within a pair of runs, and their range.
warm: the files are in the page cache. cold: they are not, and come from the disk. MB are 10^6 bytes."""


@dataclass(frozen=True)
class Case:
    """What is measured: files, by how many processes, from where."""

    name: str
    out: str
    n_workers: int
    is_cold: bool

    @property
    def files(self) -> list[str]:
        """The index and its shards."""
        return [self.out, *sorted(glob.glob(f"{self.out.removesuffix('.h5')}.shards/*"))]


def main() -> None:
    """Measure, print the table, leave nothing behind."""
    options = _options()
    os.makedirs("bench", exist_ok=True)
    with tempfile.TemporaryDirectory(dir="bench") as folder:
        for patch, overlap in CUTS:
            # an overlap of a half writes each px about three times
            photos = copy_photos(options.photos, folder, int(options.megabytes * 1e6 / 3))
            out = os.path.join(folder, "out.h5")
            timed([PATCHCLI, "extract", photos.tree, out, "--patch", str(patch), "--overlap", overlap])
            for is_cold in (False, True):
                for n_workers in (1, options.workers):
                    _measure(Case(f"{patch} px", out, n_workers, is_cold), options.pairs)
            remove(out.removesuffix(".h5"))
    print(NOTE)
    if not os.listdir("bench"):
        os.rmdir("bench")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.verify", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=5, help="runs of each program (default: 5)")
    parser.add_argument("--megabytes", type=float, default=2400, help="size of a data set, about (default: 2400)")
    parser.add_argument("--workers", type=int, default=2, help="most processes of each program (default: 2)")
    parser.add_argument("--photos", metavar="TREE", help="class folders with photos of your own")
    parser.add_argument("--quick", action="store_true", help="one pair on 100 MB: whether it runs, not how fast")
    options = parser.parse_args()
    if options.quick:
        options.pairs, options.megabytes = 1, 100
    return options


def _measure(case: Case, n_pairs: int) -> None:
    """Print one line of the table."""
    n_bytes = sum(map(os.path.getsize, case.files))
    runs = []
    for number in range(n_pairs):
        say(f"{case.name}, {case.n_workers} processes: pair {number + 1} of {n_pairs}")
        _prepare(case)
        least = floor(case.files, case.n_workers)
        _prepare(case)
        command, printed = timed(
            [PATCHCLI, "inspect", case.out, "--verify", "--json", "--workers", str(case.n_workers)]
        )
        found = json.loads(printed)["verification"]
        if not found["ok"] or found["bytes"] != n_bytes:
            raise SystemExit(f"patchcli read {found['bytes']} bytes of {n_bytes}: not comparable")
        runs.append((least, float(found["seconds"]), command))
    say("")
    floors, work, command_ = (list(column) for column in zip(*runs, strict=True))
    where = "cold" if case.is_cold else "warm"
    print(f"{case.name}, {n_bytes / 1e6:,.0f} MB, {where}, {case.n_workers} process{'es' * (case.n_workers > 1)}")
    print(f"  {'floor':9}{_rate(n_bytes, floors)}")
    print(f"  {'work':9}{_rate(n_bytes, work)}   {spread(floors, work)} of floor")
    print(f"  {'command':9}{_rate(n_bytes, command_)}   {spread(floors, command_)} of floor", flush=True)


def _rate(n_bytes: int, seconds: Sequence[float]) -> str:
    median = statistics.median(seconds)
    return f"{median:6.2f} s {n_bytes / median / 1e6:8,.0f} MB/s"


def _prepare(case: Case) -> None:
    """Bring the files into the page cache, or out of it."""
    os.sync()
    for path in case.files:
        with open(path, "rb", buffering=0) as file:
            if case.is_cold:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                while file.read(BLOCK):
                    pass


def floor(paths: Sequence[str], n_workers: int) -> float:
    """Wall seconds from the moment when all processes are ready until the last has read its last file."""
    context = multiprocessing.get_context("forkserver")
    queue: Any = context.Queue()
    gate = context.Barrier(n_workers + 1)
    team = [context.Process(target=_read, args=(queue, gate)) for _ in range(n_workers)]
    for worker in team:
        worker.start()
    for path in [*paths, *[None] * n_workers]:
        queue.put(path)
    gate.wait(60)
    began = time.perf_counter()
    for worker in team:
        worker.join()
    return time.perf_counter() - began


def _read(queue: Any, gate: Any) -> None:
    block = memoryview(bytearray(BLOCK))
    gate.wait(60)
    while (path := queue.get()) is not None:
        file = os.open(path, os.O_RDONLY)
        at = 0
        while n := os.preadv(file, [block], at):
            at += n
        os.close(file)


if __name__ == "__main__":
    main()
