"""What the benchmarks share: running whole commands, their seconds, their memory, and ratios within pairs of runs."""

from __future__ import annotations

import contextlib
import glob
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

import psutil

PATCHCLI = os.path.join(os.path.dirname(sys.executable), "patchcli")
"""The command of this interpreter."""


def timed(command: Sequence[str]) -> tuple[float, str]:
    """Wall seconds of a whole command, and what it printed; what others have left to write is on the disk before."""
    os.sync()
    began = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if run.returncode:
        raise SystemExit(f"{' '.join(command)} exited with {run.returncode}:\n{run.stderr}")
    return seconds, run.stdout


def observed(command: Sequence[str]) -> tuple[str, int]:
    """What a command prints (a few lines at most), and the resident memory of its largest process in bytes.

    Looking takes time of its own: this run is for memory only.
    """
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        top = psutil.Process(started.pid)
        while started.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):  # ended between two looks
                peak = max(peak, *(one.memory_info().rss for one in [top, *top.children(recursive=True)]))
            time.sleep(0.01)
        printed = started.stdout.read() if started.stdout else ""
    if started.returncode:
        raise SystemExit(f"{' '.join(command)} exited with {started.returncode}")
    return printed, peak


def spread(above: Sequence[float], below: Sequence[float]) -> str:
    """Median of the ratios within pairs of runs next to each other, and their range."""
    ratios = sorted(a / b for a, b in zip(above, below, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"


def remove(stem: str) -> None:
    """Remove a data set, `stem` being its path without `.h5`."""
    for path in [f"{stem}.h5", *glob.glob(f"{stem}.shards/*")]:
        os.remove(path)
    if os.path.isdir(f"{stem}.shards"):
        os.rmdir(f"{stem}.shards")


def say(text: str) -> None:
    """One line that the next one replaces; on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
