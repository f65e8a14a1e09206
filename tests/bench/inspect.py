"""Times `patchcli inspect` on indexes of a million rows beside a program that only reads their tables: `make bench`.

Runs alternate, as those of `bench.extract`; ratios are taken within a pair.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from large_index import write_index

from bench.measure import PATCHCLI, observed, say, spread, timed

INDEXES = {
    "20,000 images": (20_000, 50, 0),
    "100,000 images, each of another size": (100_000, 10, 0),
    "1,000,000 images": (1_000_000, 1, 0),
    "400,000 patches, two copies of each": (20_000, 20, 2),
}
"""Images, patches of each and copies of these."""

FLOOR = """
import sys, h5py
def read(name, place):
    if isinstance(place, h5py.Dataset):
        place[...]
with h5py.File(sys.argv[1]) as file:
    file.visititems(read)
"""

NOTE = """
seconds   wall time of whole commands, start of Python included. floor: a program that reads all tables with h5py and
          does nothing with them.
x floor   median of the ratios within a pair of runs next to each other, and their range.
peak MB   resident memory, sampled every 10 ms in a run of its own. MB are 10^6 bytes.
where     inspect --where 'class=class 03|class 04,split!=val,source=*/image 00*'
The indexes are in the page cache, each with 40 shards of the right size, 50 classes and three splits."""


def main() -> None:
    """Measure, print the table, leave nothing behind."""
    parser = argparse.ArgumentParser(prog="python -m bench.inspect", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=5, help="runs of each program (default: 5)")
    parser.add_argument("--quick", action="store_true", help="one pair: whether it runs, not how fast")
    pairs = 1 if parser.parse_args().quick else parser.parse_args().pairs
    print(f"pairs of runs: {pairs}; medians\n\n{'':38}{'program':10}{'seconds':>8}  {'x floor':18}{'peak MB':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, (images, patches, copies)) in enumerate(INDEXES.items()):
            index = Path(folder) / f"{number}.h5"
            write_index(index, images=images, patches=patches, copies=copies)
            print("\n".join(_measure(name, str(index), pairs)), flush=True)
            os.unlink(index)
    print(NOTE)


def _measure(name: str, index: str, pairs: int) -> list[str]:
    floor = [sys.executable, "-c", FLOOR, index]
    where = ["--where", "class=class 03|class 04,split!=val,source=*/image 00*"]
    ours = {"inspect": [PATCHCLI, "inspect", index], "where": [PATCHCLI, "inspect", index, *where]}
    least, lines = list[float](), list[str]()
    for program, command in ours.items():
        timed(command)
        runs = []
        for number in range(pairs):
            say(f"{name}: {program} {number + 1} of {pairs}")
            runs.append((timed(floor)[0], timed(command)[0]))
        say("")
        least, seconds = ([pair[side] for pair in runs] for side in (0, 1))
        lines.append(_line("", program, seconds, spread(seconds, least), command))
    return [_line(name, "floor", least, "1", floor), *lines]


def _line(name: str, program: str, seconds: Sequence[float], ratio: str, command: Sequence[str]) -> str:
    _, peak = observed(command)
    return f"{name:38}{program:10}{statistics.median(seconds):8.2f}  {ratio:18}{peak / 1e6:8,.0f}"


if __name__ == "__main__":
    main()
