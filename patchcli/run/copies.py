"""One task from start to end: read patches, augment, digest and write one shard. Runs in a worker."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from patchcli.cut import BLOCK_BYTES
from patchcli.errors import DamagedFile, PatchcliError, UsageError
from patchcli.io.output import publish_shard
from patchcli.io.patchfile import Facts
from patchcli.io.publish import Draft, write_error
from patchcli.io.shard import digests, new_writer, root_attributes
from patchcli.io.stored import Shards
from patchcli.io.tables import RowColumns, SourceColumns, file_tables
from patchcli.io.whole import whole_shard
from patchcli.pipeline.augmenter import Augmenter
from patchcli.pipeline.seeding import befores
from patchcli.pipeline.standardize import Standard, Statistics
from patchcli.pipeline.tree import Array, Group
from patchcli.records import ShardRecord, Task, show
from patchcli.stats import NOTHING, block_moments

LISTING: Final = ("shards/name", "shards/bytes", "shards/digest", "shards/row_start")
"""Tables of an index that say where its patches are."""


class Columns(NamedTuple):
    """What the rows of a shard of copies are.

    Attributes
    ----------
    rows : RowColumns
        The digests are still empty.
    sources : SourceColumns
    expected : uint64 (n,)
        Digest of the input's patch that each row is made of.
    copy_before : int16 (n,) or None
        Its copy number, where it is a copy already.
    """

    rows: RowColumns
    sources: SourceColumns
    expected: npt.NDArray[np.uint64]
    copy_before: npt.NDArray[np.int16] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class CopyTask(Task):
    """A shard of copies; its worker notes the number of rows begun.

    Attributes
    ----------
    facts, listing
        Of the input, as it was looked at when this was planned.
    columns : Columns or callable
        What the rows are; a callable until it travels, for those of all shards would fill the memory.
    """

    facts: Facts
    listing: dict[str, Array]
    columns: Columns | Callable[[], Columns]
    pipeline: Group
    seed: int
    standard: Standard
    statistics: Statistics | None

    @property
    def known(self) -> Columns:
        """What the rows are."""
        return self.columns() if callable(self.columns) else self.columns

    def ready(self) -> CopyTask:
        """The task with its columns."""
        return replace(self, columns=self.known)

    def place(self, noted: int) -> str:
        """The row that was being made, and its source."""
        row, known = min(noted, self.n_rows - 1), self.known
        x, y = known.rows.coords[row].tolist()
        image = show(known.sources.path[known.rows.source[row]])
        return f"row {row} of this shard, a copy of the patch at ({x}, {y}) of {image}"


def keep_or_build(task: CopyTask, note: Callable[[int], None]) -> ShardRecord:
    """Keep the shard if it is there, whole and of this plan; otherwise build it and publish it.

    Raises
    ------
    DamagedFile
        The input is not as it was written, or was replaced.
    NotEnoughSpace, OutputConflict
        The disk is full, or the folder refuses the file.
    """
    whole = whole_shard(task, beat=lambda: note(0))
    if whole is not None:
        return ShardRecord(task.shard, "kept", whole.n_bytes, whole.digest)
    if multiprocessing.parent_process() is not None:
        cv2.setNumThreads(1)  # workers are the parallelism
    try:
        return _build(task, note)
    except OSError as error:
        raise write_error(task.path, error, task.n_rows * task.recipe.patch_bytes) from error


def _build(task: CopyTask, note: Callable[[int], None]) -> ShardRecord:
    recipe, known = task.recipe, task.known
    rows, sources = known.rows, known.sources
    augmenter = Augmenter(
        task.pipeline,
        task.seed,
        task.facts.patch_shape,
        task.facts.dtype,
        standard=task.standard,
        statistics=task.statistics,
    )
    more = None if task.statistics is None else task.statistics.tables(whole=recipe.n_shards == 1)
    total = NOTHING
    with Draft(task.path, task.run) as draft:
        foreseen = file_tables(rows, sources, recipe, task.skipped, NOTHING, more)
        writer = new_writer(draft, root_attributes(recipe.shard_role, recipe, task.shard), recipe, len(rows), foreseen)
        with contextlib.closing(writer):
            for span, patches in _copies(task, known, augmenter, note):
                rows.digest[span.start : span.stop] = digests(patches)
                total += block_moments(patches)
                writer.add(patches)
            n_bytes, digest = writer.finish(file_tables(rows, sources, recipe, task.skipped, total, more))
            publish_shard(draft, recipe, task.seen)
    return ShardRecord(task.shard, "built", n_bytes, digest)


def _copies(
    task: CopyTask, known: Columns, augmenter: Augmenter, note: Callable[[int], None]
) -> Iterator[tuple[range, Array]]:
    """The rows in blocks of about 1 MiB, which the next step overwrites."""
    with _reading(task):
        stored = Shards(task.facts, task.listing)
    rows, origin, copy = known.rows, known.rows.origin, known.rows.copy
    if origin is None or copy is None:
        raise TypeError("a task for copies says what they are copies of")
    coords, copies, source = rows.coords.tolist(), copy.tolist(), rows.source.tolist()
    paths, before = known.sources.path, befores(known.expected, known.copy_before)
    step = max(1, BLOCK_BYTES // task.recipe.patch_bytes)
    block = np.empty((min(step, len(rows)), *task.recipe.patch_shape), augmenter.dtype)
    originals = np.empty((len(block), *task.facts.patch_shape), task.facts.dtype)  # fresh memory costs time each time
    for start in range(0, len(rows), step):
        span = range(start, min(start + step, len(rows)))
        wanted, first, place = np.unique(origin[start : span.stop], return_index=True, return_inverse=True)
        with _reading(task):
            patches = stored.read(wanted, originals[: len(wanted)])
        stored.compare(patches, wanted, known.expected[start + first])
        note(start)
        row = start
        try:
            for row in span:
                patch = patches[place[row - start]]
                block[row - start] = augmenter.copy(
                    patch, paths[source[row]], coords[row], copies[row], before=before[row]
                )
        except UsageError as error:  # it went well on made-up patches before the run: this one is special
            raise PatchcliError(f"copy {copies[row]} cannot be made: {error}: {task.place(row)}") from error
        yield span, block[: len(span)]
    stored.close()


@contextlib.contextmanager
def _reading(task: CopyTask) -> Iterator[None]:
    """An error of the disk in here is about the input: `write_error` would blame the output."""
    try:
        yield
    except OSError as error:
        shown = os.fsdecode(error.filename or task.facts.path)
        raise DamagedFile(
            f"{shown}: the input cannot be read any more: {error.strerror or error}; when it is there again, run the "
            f"same command again"
        ) from error
