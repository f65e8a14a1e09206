"""What must hold before the first px is decoded: a place for the output, memory, disk, plugins."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from typing import Final

from patchcli.errors import NotEnoughSpace, UsageError
from patchcli.io import room
from patchcli.io.names import SUFFIXES, shards_folder
from patchcli.plan import Plan
from patchcli.records import show
from patchcli.specs import NO_PLUGIN, PLUGGED, Compression, RunSpec

_SPARE_BYTES: Final = 16 << 20


def check_place(out: bytes) -> None:
    """Raise `UsageError` when the output cannot stand where it is asked for."""
    folder, shown = os.path.dirname(out) or b".", os.fsdecode(out)
    if os.path.isdir(out):
        raise UsageError(f"{shown}: is a folder; expected the name of a file to write, such as out.h5")
    if not out.endswith(SUFFIXES):
        raise UsageError(f"{shown}: expected a name that ends in {' or '.join(map(os.fsdecode, SUFFIXES))}")
    if not os.path.isdir(folder):
        raise UsageError(f"{shown}: the folder {os.fsdecode(folder)} does not exist: create it first")


def check_source(src: bytes, out: bytes) -> None:
    """Raise `UsageError` when the output would stand among the images."""
    if os.path.realpath(os.path.dirname(out) or b".").startswith(os.path.join(os.path.realpath(src), b"")):
        raise UsageError(f"{os.fsdecode(out)}: stands among the images of {os.fsdecode(src)}: write it elsewhere")


def hidden_names(src: bytes, out: bytes) -> frozenset[bytes]:
    """Names of the output within the source folder, should it stand there."""
    if os.path.realpath(os.path.dirname(out) or b".") != os.path.realpath(src):
        return frozenset()
    return frozenset(map(os.path.basename, (out, shards_folder(out))))


def check_plugin(compression: Compression) -> None:
    """Raise `UsageError` when the compression needs a package that is not there."""
    if compression in PLUGGED and importlib.util.find_spec("hdf5plugin") is None:
        raise UsageError(NO_PLUGIN.format(compression))


def count_workers(n_shards: int, worker_bytes: int, run: RunSpec) -> int:
    """As asked for; otherwise one a processor, as many as memory allows. Never more than there are shards."""
    if run.executor == "serial":
        return 1
    n = run.workers or room.n_cpus()
    memory = room.available_memory()
    if run.workers is None and memory is not None:
        n = min(n, max(1, memory // worker_bytes))
    return max(1, min(n, n_shards))


def check_memory(worker_bytes: int, n_workers: int, advice: Callable[[], str]) -> None:
    """Raise `NotEnoughSpace`, with advice, when the workers need more memory than there is."""
    memory = room.available_memory()
    if memory is not None and n_workers * worker_bytes > memory:
        raise NotEnoughSpace(
            f"{n_workers} workers need {n_workers * worker_bytes:,} bytes of memory, {memory:,} are available: use "
            f"fewer --workers, {advice()}"
        )


def largest_image(plan: Plan) -> str:
    """What to do about an image that is too large for the memory."""
    largest = max(plan.images, key=lambda image: image.width * image.height)
    return (
        f"or --max-pixels below {largest.width * largest.height:,} "
        f"(the largest image is {show(largest.path)}, {largest.width}x{largest.height})"
    )


def check_disk(out: bytes, sizes: Sequence[int]) -> None:
    """Raise `NotEnoughSpace` when files of these sizes do not fit on the disk, or beyond the limit on a file's size."""
    if not sizes:
        return
    folder, shown = os.path.dirname(out) or b".", os.fsdecode(out)
    needed, free = sum(sizes) + _SPARE_BYTES, room.free_bytes(folder)
    if needed > free:
        raise NotEnoughSpace(f"{shown}: needs {needed:,} bytes on disk, {free:,} are free in {os.fsdecode(folder)}")
    limit = room.largest_file()
    if limit is not None and max(sizes) > limit:
        raise NotEnoughSpace(
            f"{shown}: a file of {max(sizes):,} bytes is needed, the limit on file size (ulimit -f) is {limit:,} "
            f"bytes: raise it, or use a smaller --shard-size"
        )
