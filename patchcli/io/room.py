"""What room the machine has: processors, memory, disk."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path


def n_cpus() -> int:
    """Processors that this process may use: its affinity (which SLURM and taskset set) and the container's quota."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _cgroups():
        with contextlib.suppress(OSError, ValueError):
            quota, period = (group / "cpu.max").read_text().split()
            n = min(n, max(1, int(quota) // int(period)))
    return n


def _cgroups() -> list[Path]:
    """Control groups (v2) of this process, from its own up to the root: SLURM and systemd set limits on inner ones."""
    root = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        own = root / next(line for line in lines if line.startswith("0::")).removeprefix("0::").lstrip("/")
        return [group for group in (own, *own.parents) if group == root or root in group.parents]
    return [root]


def available_memory() -> int | None:
    """Bytes that new processes can still take, or None where the system does not tell."""
    bounds: list[int] = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        bounds.append(int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024)
    for group in _cgroups():
        with contextlib.suppress(OSError, ValueError):
            limit = int((group / "memory.max").read_text())
            statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            used = int((group / "memory.current").read_text()) - int(statistics.get("inactive_file", 0))
            bounds.append(limit - used)
    return min(bounds, default=None)


def free_bytes(folder: bytes) -> int:
    """Bytes that an ordinary user can still write to the file system of a folder."""
    state = os.statvfs(folder or b".")
    return state.f_bavail * state.f_frsize


def largest_file() -> int | None:
    """The limit on the size of a file (`ulimit -f`) in bytes, or None."""
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if soft == resource.RLIM_INFINITY else soft
