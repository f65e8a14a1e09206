"""Where and when: hands tasks to an executor, one a worker, and survives the death of workers."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from typing import Any, Generic, Protocol, TypeVar

from patchcli.errors import WorkerDied
from patchcli.records import ShardRecord, Task
from patchcli.run.executors import SerialExecutor, WorkerPool, note
from patchcli.specs import ExecutorName

_TICK_SECONDS = 0.1
_BROKEN = (BrokenExecutor, ConnectionError, EOFError)
_GRACE_SECONDS = 0.5

R = TypeVar("R")
T = TypeVar("T", bound=Task)
T_contra = TypeVar("T_contra", bound=Task, contravariant=True)
Tick = Callable[[Sequence[tuple[T, int]]], None]
"""Called with the tasks at work and what the worker of each has noted last."""


class Work(Protocol[T_contra]):
    """What is done with a task: a function of a module, for it travels to workers by its name."""

    def __call__(self, task: T_contra, note: Callable[[int], None]) -> ShardRecord:
        """Keep or build the task's shard; `note` is called often, with how far it is."""


class Crew(Generic[T]):
    """Workers for one run; leaving the `with` block ends them and removes what they left half-done.

    Parameters
    ----------
    executor, n_workers
        Who works.
    work : Work
        What is done with a task.
    tick : callable
        Called about ten times a second; what it raises stops the run.
    clean : callable
        Removes the drafts of killed workers.
    """

    def __init__(
        self, executor: ExecutorName, n_workers: int, work: Work[T], tick: Tick[T], clean: Callable[[], None]
    ) -> None:
        self._n_workers = 0 if executor == "serial" else n_workers
        self._work = work
        self._tick, self._clean = tick, clean
        self._pool: WorkerPool | None = None

    def __enter__(self) -> Crew[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_pool()
        self._clean()

    def run(self, tasks: Sequence[T]) -> Iterator[ShardRecord]:
        """Run all tasks; records come in the order in which they are done.

        A worker that dies takes its whole pool with it, so every task at work is then tried once more, alone in a new
        pool; one that kills its worker again is reported after all others are done.

        Raises
        ------
        PatchcliError
            What a task raised: no other task is begun.
        WorkerDied
        """
        if not self._n_workers:
            yield from self._run_serial(tasks)
            return
        waiting = deque(tasks)
        died: list[str] = []
        while waiting:
            n_waiting = len(waiting)
            suspects: list[tuple[T, int]] = []
            yield from self._run_pool(waiting, self._n_workers, suspects)
            if len(waiting) == n_waiting:
                raise WorkerDied("worker processes cannot be started here: try --executor serial")
            for suspect, _ in suspects:
                again: list[tuple[T, int]] = []
                self._end_pool()
                yield from self._run_pool(deque([suspect]), 1, again)
                died.extend(_obituary(task, noted) for task, noted in again)
            if suspects:
                self._end_pool()
        if died:
            raise WorkerDied("\n".join(died))

    def call(self, fn: Callable[..., R], *args: Any) -> R:
        """Call a function where everything is imported already: in a worker, if there is one."""
        if self._pool is not None:
            try:
                future = self._pool.submit(fn, *args)
                while not wait([future], _TICK_SECONDS).done:
                    self._tick([])
                return future.result()
            except _BROKEN:
                self._wait_for_a_signal()
                self._end_pool()
                self._clean()
        return fn(*args)

    def _run_serial(self, tasks: Sequence[T]) -> Iterator[ShardRecord]:
        for task in tasks:

            def report(noted: int, task: T = task) -> None:
                self._tick([(task, noted)])

            yield SerialExecutor().submit(self._work, task.ready(), report).result()

    def _run_pool(self, waiting: deque[T], n_workers: int, suspects: list[tuple[T, int]]) -> Iterator[ShardRecord]:
        """Run tasks until none waits or the pool breaks; `suspects` are then those at work, with their notes."""
        pool = self._pool = self._pool or WorkerPool(n_workers)
        at_work: dict[Future[ShardRecord], tuple[T, int]] = {}
        free = list(range(n_workers))
        try:
            while waiting or at_work:
                while waiting and free:
                    task, slot = waiting[0], free[-1]
                    pool.board[slot] = 0
                    at_work[pool.submit(_in_slot, self._work, task.ready(), slot)] = (task, slot)
                    waiting.popleft()
                    free.pop()
                done, _ = wait(at_work, _TICK_SECONDS, FIRST_COMPLETED)
                self._tick([(task, pool.board[slot]) for task, slot in at_work.values()])
                for future in done:
                    record = future.result()
                    _, slot = at_work.pop(future)
                    free.append(slot)
                    yield record
        except _BROKEN:
            self._wait_for_a_signal()
            for future, (task, slot) in at_work.items():
                if future.done() and not future.cancelled() and future.exception() is None:
                    yield future.result()
                else:
                    suspects.append((task, pool.board[slot]))
            self._end_pool()
            self._clean()

    def _wait_for_a_signal(self) -> None:
        """A signal to the whole process group may reach workers before ours is seen: then it is no death to retry."""
        end = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < end:
            self._tick([])
            time.sleep(_TICK_SECONDS / 2)

    def _end_pool(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.kill()


def _in_slot(work: Work[T], task: T, slot: int) -> ShardRecord:
    return work(task, lambda noted: note(slot, noted))


def _obituary(task: Task, noted: int) -> str:
    return (
        f"{os.fsdecode(task.path)}: its worker died twice, the second time at {task.place(noted)}: memory ran out, "
        f"or a library crashed there"
    )
