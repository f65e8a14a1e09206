"""Who checks files and images: workers where there is much to read, this process where there is little."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, NamedTuple, Protocol, TypeVar

from patchcli.errors import WorkerDied
from patchcli.io import room
from patchcli.records import Progress, ProgressCallback
from patchcli.run.engine import Crew, Job, Work
from patchcli.run.executors import warm_up
from patchcli.specs import ExecutorName

_ALONE_BYTES: Final = 1 << 28  # as long as workers take to start, this process has read so much
_FILE_BYTES: Final = 1 << 20  # that could be read while a file is opened


class Sized(Job, Protocol):
    """Work on some patches."""

    @property
    def n_rows(self) -> int:
        """How many."""


class Counted(Protocol):
    """What came of it."""

    @property
    def n_patches(self) -> int:
        """Patches that were read."""


T = TypeVar("T", bound=Sized)
R = TypeVar("R", bound=Counted)


@dataclass(frozen=True)
class Outcome(Generic[T, R]):
    """What came of the tasks, in the order in which they were done, and those that killed their worker twice."""

    done: list[R]
    died: list[T]


class Checkers(NamedTuple):
    """Who works, and whom it tells."""

    executor: ExecutorName
    workers: int | None
    progress: ProgressCallback

    def look(self, tasks: Sequence[T], work: Work[T, R]) -> Outcome[T, R]:
        """Do what takes no patch into the hand: progress is in files."""
        return self._run(tasks, work, "verify", len(tasks) * _FILE_BYTES, "files")

    def read(
        self, tasks: Sequence[T], work: Work[T, R], phase: Literal["verify", "compare"], patch_bytes: int
    ) -> Outcome[T, R]:
        """Do what reads or makes every patch: progress is in patches."""
        return self._run(tasks, work, phase, sum(task.n_rows for task in tasks) * patch_bytes, "patches")

    def _run(
        self,
        tasks: Sequence[T],
        work: Work[T, R],
        phase: Literal["verify", "compare"],
        n_bytes: int,
        unit: Literal["files", "patches"],
    ) -> Outcome[T, R]:
        total = len(tasks) if unit == "files" else sum(task.n_rows for task in tasks)
        n_done, done = 0, list[R]()

        def tick(at_work: Sequence[tuple[T, int]]) -> None:
            noted = 0 if unit == "files" else sum(number for _, number in at_work)
            self.progress(Progress(phase, n_done + noted, total, unit))

        with self._crew(len(tasks), n_bytes, work, tick) as crew:
            try:
                for one in crew.run(tasks):
                    done.append(one)
                    n_done += 1 if unit == "files" else one.n_patches
            except WorkerDied as error:
                said = f"\n{error}"
                died = [task for task in tasks if f"\n{os.fsdecode(task.path)}: its worker died" in said]
                if not died:  # no worker could begin: nothing is known of the files
                    raise
                return Outcome(done, died)
        return Outcome(done, [])

    def _crew(
        self, n_tasks: int, n_bytes: int, work: Work[T, R], tick: Callable[[Sequence[tuple[T, int]]], None]
    ) -> Crew[T, R]:
        """As many workers as there is work for; none for what is done before they have started."""
        few = n_tasks < 1 or (self.workers is None and (n_tasks == 1 or n_bytes < _ALONE_BYTES))
        executor: ExecutorName = "serial" if few else self.executor
        if executor == "process":
            warm_up("cv2", "patchcli.io.checking", "patchcli.run.recut")
        return Crew(executor, min(self.workers or room.n_cpus(), max(1, n_tasks)), work, tick, _nothing_to_clean)


def _nothing_to_clean() -> None:
    """Checking leaves no drafts."""
