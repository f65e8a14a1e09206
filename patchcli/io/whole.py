"""Whether a file is, byte by byte, as it was written."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import h5py
import xxhash

from patchcli.errors import DamagedFile
from patchcli.io import h5, layout
from patchcli.io.patchfile import opened, read_names, read_tables, skipped_in
from patchcli.io.spans import spans
from patchcli.records import Skipped, Task

_READ_BYTES = 1 << 20


class FileDigests:
    """XXH3-128 of a file that is read from its start: as it is, and as its `/self_digest` has it.

    Parameters
    ----------
    file : h5py.File

    Attributes
    ----------
    said : str
        What the file says that its digest is; empty where it says nothing.
    """

    def __init__(self, file: h5py.File) -> None:
        self._blank, self.said = range(0), ""
        if h5.has(file, layout.SELF_DIGEST):
            table = h5.read_table(file, layout.SELF_DIGEST)
            self.said = bytes(table[0]).decode("ascii", "replace") if table.shape == (1,) else "?"
            self._blank = layout.self_digest_at(file[layout.SELF_DIGEST])
        self._whole = xxhash.xxh3_128()
        self._itself: Any = None
        self._position = 0

    def update(self, block: Any) -> None:
        """Take the next bytes."""
        start, stop = self._position, self._position + len(block)
        if self._itself is None and self._blank and stop > self._blank.start:
            self._itself = self._whole.copy()
        self._whole.update(block)
        if self._itself is not None:
            low, high = max(start, self._blank.start), min(stop, self._blank.stop)
            if low < high:
                block = bytearray(block)
                block[low - start : high - start] = bytes(high - low)
            self._itself.update(block)
        self._position = stop

    @property
    def whole(self) -> str:
        """Of all bytes, as an index lists it: 32 hex digits."""
        return self._whole.hexdigest()

    @property
    def wrong(self) -> str:
        """How the file differs from what it says itself; empty where it does not."""
        if self._itself is None:
            return f"has no /{layout.SELF_DIGEST}"
        itself = self._itself.hexdigest()
        return f"its XXH3-128 is {itself}, /{layout.SELF_DIGEST} says {self.said}" if itself != self.said else ""


def feed(digests: FileDigests, fd: int, start: int, stop: int, path: bytes, beat: Callable[[], None]) -> None:
    """Hand a span of a file on; `beat` is called at each MiB."""
    for span in spans(fd, start, stop, _READ_BYTES, path):
        digests.update(span)
        beat()


class WholeShard(NamedTuple):
    """A shard that is as it was written: size, digest, what it was built without, and its images' SHA-256 by path."""

    n_bytes: int
    digest: str
    skipped: tuple[Skipped, ...]
    sha256: dict[bytes, bytes]


def whole_shard(task: Task, *, beat: Callable[[], None]) -> WholeShard | None:
    """A task's shard if it is there, whole, and that shard of that plan; otherwise None.

    Every byte is read: the file's digest has to be what the index says it is, or what the file itself says where there
    is no index yet. `beat` is called at least once in 64 MiB.
    """
    try:
        if not os.path.isfile(task.path):
            return None
        with open(task.path, "rb", buffering=0) as raw, opened(task.path) as (file, facts):
            if (facts.plan_id, facts.shard) != (task.recipe.plan_id, task.shard) or facts.role == "index":
                return None
            digests, n_bytes = FileDigests(file), os.path.getsize(task.path)
            feed(digests, raw.fileno(), 0, n_bytes, task.path, beat)
            if digests.wrong or (task.digest or digests.whole) != digests.whole:
                return None
            tables = read_tables(file)
            skipped = skipped_in(tables)
            if facts.n_rows != task.n_rows and not any(one.kind == "unreadable" for one in skipped):
                return None  # fewer are fine when the shard names the images that it was built without
            sources = read_names(tables["sources/path"]), read_names(tables["sources/sha256"])
            return WholeShard(n_bytes, digests.whole, skipped, dict(zip(*sources, strict=True)))
    except (DamagedFile, OSError):
        return None
