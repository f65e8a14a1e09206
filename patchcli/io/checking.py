"""Whether one file is, byte by byte and patch by patch, as it was written; runs in a worker."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt
import xxhash

from patchcli.consistency import differing_stats, misshapen
from patchcli.cut import BLOCK_BYTES
from patchcli.errors import DamagedFile
from patchcli.inspected import Finding, FindingKind
from patchcli.io.patchfile import Facts, iterate_chunks, opened, read_names, read_tables
from patchcli.io.shard import digests
from patchcli.io.spans import spans
from patchcli.io.whole import FileDigests, feed
from patchcli.stats import NOTHING, Moments, block_moments

Array = npt.NDArray[Any]

REPEATED: Final = ("labels", "digest", "coords", "source", "split", "origin", "copy")
"""Tables of a shard that its index repeats."""


@dataclass(frozen=True, slots=True)
class CheckTask:
    """A file with patches that is to be checked, and what is known of it from elsewhere.

    Attributes
    ----------
    shown : str
        What the user knows it as.
    plan_id, shard, n_rows, patch_shape, dtype
        What it has to say of itself; `n_rows` None where nothing else says it.
    n_bytes, digest
        Of the whole file, from the index; None and empty where there is none.
    remedy : str
    deep : bool
        Whether it is read as a whole.
    """

    path: bytes
    shown: str
    plan_id: str
    shard: int
    n_rows: int
    patch_shape: tuple[int, int, int]
    dtype: str
    n_bytes: int | None
    digest: str
    remedy: str
    deep: bool

    def ready(self) -> CheckTask:
        """What travels to a worker."""
        return self

    def place(self, noted: int) -> str:
        """What its worker was at."""
        return f"row {noted:,} of {self.n_rows:,} in this file"


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found in one file.

    Attributes
    ----------
    findings : tuple of Finding
    n_bytes, n_patches : int
        That were read.
    moments : Moments
        Sums over all its patches.
    columns : dict of str to str
        Digest of each table that an index repeats, by name; empty when they were not read.
    sources : tuple of bytes
        Paths of its images in their order.
    """

    shard: int
    findings: tuple[Finding, ...]
    n_bytes: int = 0
    n_patches: int = 0
    moments: Moments = NOTHING
    columns: dict[str, str] = field(default_factory=dict)
    sources: tuple[bytes, ...] = ()


def check_file(task: CheckTask, note: Callable[[int], None] = lambda _: None) -> Checked:
    """Check a file with patches; what is wrong with it is an answer, not an error."""
    found = _Found(task)
    try:
        n_bytes = os.stat(task.path).st_size
        if not os.path.isfile(task.path):
            return found.only("foreign", "is no regular file")
    except FileNotFoundError:
        return found.only("missing", "is not there")
    except OSError as error:
        return found.only("missing", f"cannot be looked at: {error.strerror}")
    size = _wrong_size(n_bytes, task.n_bytes)
    try:
        with open(task.path, "rb", buffering=0) as raw, opened(task.path) as (file, facts):
            other = _other_than_expected(task, facts)
            if other:
                return found.only("foreign", other)
            if size:
                return found.only("damaged", size)
            if not task.deep:
                return found.checked()
            reading = _Reading(task, raw.fileno(), file, facts, n_bytes)
            wrong = misshapen(reading.tables, facts.n_rows, facts.patch_shape[2])
            if wrong:
                return found.only("contradiction", wrong)
            reading.run(note)
            reading.judge(found)
            return found.checked(
                n_bytes=n_bytes,
                n_patches=facts.n_rows,
                moments=reading.total,
                columns=reading.columns(),
                sources=read_names(reading.tables["sources/path"]),
            )
    except (DamagedFile, OSError) as error:
        return found.only("damaged", size or str(error).removeprefix(f"{os.fsdecode(task.path)}: "))


class _Found:
    """The findings in one file."""

    def __init__(self, task: CheckTask) -> None:
        self._task = task
        self._findings: list[Finding] = []

    def add(self, kind: FindingKind, what: str, rows: Sequence[int] = ()) -> None:
        task = self._task
        self._findings.append(Finding(kind, task.shown, tuple(rows[:10]), len(rows), what, task.remedy))

    def only(self, kind: FindingKind, what: str) -> Checked:
        """The answer for a file that is not read."""
        self.add(kind, what)
        return self.checked()

    def checked(self, **others: Any) -> Checked:
        """The answer."""
        return Checked(self._task.shard, tuple(self._findings), **others)


def _wrong_size(n_bytes: int, expected: int | None) -> str:
    if expected is None or n_bytes == expected:
        return ""
    return f"{'truncated' if n_bytes < expected else 'has grown'}: holds {n_bytes:,} bytes, expected {expected:,}"


def _other_than_expected(task: CheckTask, facts: Facts) -> str:
    """What a file says of itself, where it is another than the one expected."""
    if facts.role == "index" or (facts.plan_id, facts.shard) != (task.plan_id, task.shard):
        return (
            f"is {facts.role} {facts.shard} of plan {facts.plan_id}, expected shard {task.shard} of plan {task.plan_id}"
        )
    if (facts.n_rows, facts.patch_shape, str(facts.dtype)) != (task.n_rows, task.patch_shape, task.dtype):
        return (
            f"has {facts.n_rows:,} patches {facts.patch_shape} {facts.dtype}, expected {task.n_rows:,} "
            f"{task.patch_shape} {task.dtype}"
        )
    return ""


class _Reading:
    """One pass over a file: its digests, each patch's digest, and the sums of all."""

    def __init__(self, task: CheckTask, fd: int, file: h5py.File, facts: Facts, n_bytes: int) -> None:
        self.task, self.facts = task, facts
        self.fd, self.file, self.n_bytes = fd, file, n_bytes
        self.tables = read_tables(file)
        self.digests = FileDigests(file)
        self.total = NOTHING
        self.damaged: list[int] = []

    def run(self, note: Callable[[int], None]) -> None:
        """Read everything once; of pixels that are not compressed each block while it is in the cache."""
        facts = self.facts
        if facts.offset is None:
            self._feed(0, self.n_bytes, note)
            for rows, patches in iterate_chunks(self.file, facts):
                note(rows.start)
                self._take(rows, patches)
            return
        self._feed(0, facts.offset, note)
        stop = facts.offset + facts.n_rows * facts.patch_bytes
        n_rows = max(1, BLOCK_BYTES // facts.patch_bytes)
        row = 0
        for span in spans(self.fd, facts.offset, stop, n_rows * facts.patch_bytes, self.task.path):
            note(row)
            self.digests.update(span)
            patches = np.frombuffer(span, facts.dtype).reshape(-1, *facts.patch_shape)
            self._take(range(row, row + len(patches)), patches)
            row += len(patches)
        self._feed(stop, self.n_bytes, note)

    def _feed(self, start: int, stop: int, note: Callable[[int], None]) -> None:
        feed(self.digests, self.fd, start, stop, self.task.path, lambda: note(0))

    def _take(self, rows: range, patches: Array) -> None:
        wrong = np.flatnonzero(digests(patches) != self.tables["digest"][rows.start : rows.stop])
        self.damaged += (wrong + rows.start).tolist()
        self.total += block_moments(patches)

    def judge(self, found: _Found) -> None:
        """Say what is not as it should be, the closest cause alone."""
        task, digests = self.task, self.digests
        if self.damaged:
            found.add("damaged", "the patches are not as written: they differ from /digest", self.damaged)
        elif task.digest and digests.whole != task.digest:
            found.add("damaged", f"is not as written: its XXH3-128 is {digests.whole}, the index says {task.digest}")
        elif digests.wrong:
            found.add("damaged", _altered(digests))
        wrong = differing_stats(self.tables, self.total, task.dtype)
        if wrong and not self.damaged:
            found.add("contradiction", wrong)

    def columns(self) -> dict[str, str]:
        """Digests of the tables that an index repeats."""
        return {name: column_digest(self.tables[name]) for name in REPEATED if name in self.tables}


def check_index(path: bytes, file: h5py.File) -> str:
    """What is wrong with the bytes of an index, whose tables were read; empty when nothing is."""
    digests = FileDigests(file)
    with open(path, "rb", buffering=0) as raw:
        feed(digests, raw.fileno(), 0, os.path.getsize(path), path, lambda: None)
    return _altered(digests)


def _altered(digests: FileDigests) -> str:
    return digests.wrong and f"is not as written: {digests.wrong}"


def column_digest(column: Array) -> str:
    """XXH3-128 of a table's values."""
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(column).view(np.uint8).data)
