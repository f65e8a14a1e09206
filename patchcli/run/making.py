"""A data set in the making: shards by a crew, the index last, nothing left behind; whatever the shards hold."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from patchcli.io import publish
from patchcli.io.names import shard_path, shards_folder
from patchcli.io.output import ExistingOutput
from patchcli.records import Identity, Progress, ProgressCallback, Recipe, ShardRecord, Skipped, Task
from patchcli.run.engine import Crew, Work
from patchcli.specs import ExecutorName

T = TypeVar("T", bound=Task)
Records = dict[int, ShardRecord]


class Made(NamedTuple):
    """What came of it: a record of each shard, files left out, whether anything was written, bytes on disk."""

    records: tuple[ShardRecord, ...]
    skipped: tuple[Skipped, ...]
    fresh: bool
    n_bytes: int

    @property
    def n_kept(self) -> int:
        """Shards that were there and whole."""
        return sum(record.state == "kept" for record in self.records)

    @property
    def state(self) -> Literal["made", "already done"]:
        """For the summary."""
        return "made" if self.fresh else "already done"


@dataclass(frozen=True)
class Making(Generic[T]):
    """How a data set is made.

    Attributes
    ----------
    name : str
        This run's, from `publish.new_run`.
    phase : {"cut", "augment"}
    work : callable
        Keeps or builds the shard of a task; called in a worker, with something to note progress with.
    existing : ExistingOutput
        What was looked at before: another run's data set that has come since is not replaced.
    more : mapping of str to array
        Tables of the index that only this kind of data set has.
    """

    out: bytes
    recipe: Recipe
    name: str
    phase: Literal["cut", "augment"]
    work: Work[T, ShardRecord]
    executor: ExecutorName
    n_workers: int
    progress: ProgressCallback
    existing: ExistingOutput
    more: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def paths(self) -> list[bytes]:
        """Final names of the shards; of the data set itself where there is one."""
        recipe = self.recipe
        return [shard_path(self.out, recipe.plan_id, k, recipe.n_shards) for k in range(recipe.n_shards)]

    @property
    def _folders(self) -> list[bytes]:
        return [os.path.dirname(self.out) or b".", shards_folder(self.out)]

    def make(
        self, tasks: Sequence[T], settle: Callable[[Crew[T, ShardRecord], Sequence[T], Records], tuple[Skipped, ...]]
    ) -> Made:
        """Build or keep all shards and write the index.

        Parameters
        ----------
        tasks : sequence of Task
            One for each shard, in order.
        settle : callable
            Called when all shards have a record: may run some tasks again and change their records, may refuse by
            raising; gives the files left out.

        Raises
        ------
        PatchcliError
        """
        seen = self.existing.seen
        tasks = [replace(task, seen=seen) for task in tasks]
        names = [os.path.basename(path) for path in (self.out, *self.paths)]
        publish.remove_stale_drafts(self._folders, names, time.time())
        n_rows = sum(task.n_rows for task in tasks)
        records: Records = {}
        done = 0

        def tick(at_work: Sequence[tuple[T, int]]) -> None:
            begun = sum(task.rows_begun(noted) for task, noted in at_work)
            self.progress(Progress(self.phase, done + begun, n_rows, "patches"))

        def clean() -> None:
            publish.remove_drafts(self._folders, self.name)

        try:
            if len(tasks) > 1:
                os.makedirs(shards_folder(self.out), exist_ok=True)
            with Crew(self.executor, self.n_workers, self.work, tick, clean) as crew:
                for record in crew.run(tasks):
                    records[record.shard] = record
                    done += tasks[record.shard].n_rows
                skipped = settle(crew, tasks, records)
                listed = tuple(records[k] for k in range(len(tasks)))
                fresh = any(record.state == "built" for record in listed)
                n_bytes = sum(record.n_bytes for record in listed)
                if len(tasks) > 1:
                    self.progress(Progress("index", 0, 1, "files"))
                    fresh |= crew.call(_seal, self.out, self.recipe, listed, skipped, self.name, self.more, seen)
                    n_bytes += os.path.getsize(self.out)
                return Made(listed, skipped, fresh, n_bytes)
        except OSError as error:
            raise publish.write_error(self.out, error, n_rows * self.recipe.patch_bytes) from error
        finally:
            with contextlib.suppress(OSError):
                os.rmdir(shards_folder(self.out))  # goes only when it is empty


def _seal(
    out: bytes,
    recipe: Recipe,
    records: Sequence[ShardRecord],
    skipped: Sequence[Skipped],
    run: str,
    more: Mapping[str, Any],
    seen: Identity | None,
) -> bool:
    from patchcli.io.index import seal  # brings h5py: a worker has it, this process may do without

    return seal(out, recipe, records, skipped, run, more, seen)
