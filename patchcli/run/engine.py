"""Where and when: hands tasks to an executor, one a worker, and survives the death of workers."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from typing import Any, Generic, Protocol, TypeVar

from patchcli.errors import WorkerDied
from patchcli.run.executors import SerialExecutor, WorkerPool, note
from patchcli.specs import ExecutorName

_TICK_SECONDS = 0.1
_BROKEN = (BrokenExecutor, ConnectionError, EOFError)
_GRACE_SECONDS = 0.5
_NOT_BEGUN = -1
_MOST_STILLBORN = 3

A = TypeVar("A")


class Job(Protocol):
    """What a worker is given: it travels there, and says where its worker was when that died."""

    @property
    def path(self) -> bytes:
        """The file that it is about."""

    def ready(self: A) -> A:
        """What travels."""

    def place(self, noted: int) -> str:
        """What a worker was at, from what it noted last."""


T = TypeVar("T", bound=Job)
T_contra = TypeVar("T_contra", bound=Job, contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Tick = Callable[[Sequence[tuple[T, int]]], None]
"""Called with the tasks at work and what the worker of each has noted last."""


class Work(Protocol[T_contra, R_co]):
    """What is done with a task: a function of a module, for it travels to workers by its name."""

    def __call__(self, task: T_contra, note: Callable[[int], None]) -> R_co:
        """Do it; `note` is called often, with how far it is."""


class Crew(Generic[T, R]):
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
        self, executor: ExecutorName, n_workers: int, work: Work[T, R], tick: Tick[T], clean: Callable[[], None]
    ) -> None:
        self._n_workers = 0 if executor == "serial" else n_workers
        self._work = work
        self._tick, self._clean = tick, clean
        self._pool: WorkerPool | None = None
        self._signals: set[int] = set()

    def __enter__(self) -> Crew[T, R]:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_pool()
        self._clean()

    def run(self, tasks: Sequence[T]) -> Iterator[R]:
        """Run all tasks; records come in the order in which they are done.

        A worker that dies takes its whole pool with it, so every task at work is then tried once more, alone in a new
        pool; one that kills its worker again is reported after all others are done. A task that was not begun goes back
        to those that wait; when that has happened to several pools, workers cannot live here.

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
        n_stillborn = 0
        while waiting:
            n_waiting = len(waiting)
            suspects: list[tuple[T, int]] = []
            yield from self._run_pool(waiting, self._n_workers, suspects)
            n_stillborn += len(waiting) == n_waiting
            for suspect, _ in suspects:
                alone, again = deque([suspect]), list[tuple[T, int]]()
                self._end_pool()
                yield from self._run_pool(alone, 1, again)
                died.extend(_obituary(task, noted) for task, noted in again)
                n_stillborn += len(alone)
                waiting.extend(alone)
            if suspects:
                self._end_pool()
            if n_stillborn >= _MOST_STILLBORN:
                raise WorkerDied(_stillborn(self._signals))
        if died:
            raise WorkerDied("\n".join(died))

    def call(self, fn: Callable[..., A], *args: Any) -> A:
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

    def _run_serial(self, tasks: Sequence[T]) -> Iterator[R]:
        for task in tasks:

            def report(noted: int, task: T = task) -> None:
                self._tick([(task, noted)])

            yield SerialExecutor().submit(self._work, task.ready(), report).result()

    def _run_pool(self, waiting: deque[T], n_workers: int, suspects: list[tuple[T, int]]) -> Iterator[R]:
        """Run tasks until none waits or the pool breaks; `suspects` are then those begun, with their notes."""
        pool = self._pool = self._pool or WorkerPool(n_workers)
        at_work: dict[Future[R], tuple[T, int]] = {}
        free = list(range(n_workers))
        try:
            while waiting or at_work:
                while waiting and free:
                    task, slot = waiting[0], free[-1]
                    pool.board[slot] = _NOT_BEGUN
                    at_work[pool.submit(_in_slot, self._work, task.ready(), slot)] = (task, slot)
                    waiting.popleft()
                    free.pop()
                done, _ = wait(at_work, _TICK_SECONDS, FIRST_COMPLETED)
                self._tick([(task, max(0, pool.board[slot])) for task, slot in at_work.values()])
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
                elif pool.board[slot] == _NOT_BEGUN:
                    waiting.appendleft(task)
                else:
                    suspects.append((task, pool.board[slot]))
            self._signals |= pool.fatal_signals()
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


def _in_slot(work: Work[T, R], task: T, slot: int) -> R:
    note(slot, 0)
    return work(task, lambda noted: note(slot, noted))


def _obituary(task: Job, noted: int) -> str:
    return (
        f"{os.fsdecode(task.path)}: its worker died twice, the second time at {task.place(noted)}: memory ran out, "
        f"or a library crashed there"
    )


def _stillborn(signals: set[int]) -> str:
    if not signals:
        return "worker processes cannot be started here: try --executor serial"
    said = ", ".join(f"signal {number}" for number in sorted(signals))
    return (
        f"workers were killed ({said}) before they could begin: memory may have run out; use fewer --workers, or "
        f"--executor serial"
    )
