"""Where and when: hands tasks to an executor, one a worker, and survives the death of workers."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait

from patchcli.errors import WorkerDied
from patchcli.records import ShardRecord, Task
from patchcli.run.executors import SerialExecutor, WorkerPool, note
from patchcli.specs import ExecutorName

_TICK_SECONDS = 0.1
_GRACE_SECONDS = 0.5

Records = Generator[ShardRecord, None, None]
Tick = Callable[[Sequence[tuple[Task, int]]], None]
"""Called with the tasks at work and how many images each has begun."""


def run_tasks(
    tasks: Sequence[Task],
    *,
    executor: ExecutorName,
    n_workers: int,
    tick: Tick,
    clean: Callable[[], None],
) -> Records:
    """Run all tasks; records come in the order in which they are done.

    A worker that dies takes its whole pool with it, so every task at work is then tried once more, alone in a new
    pool; one that kills its worker again is reported after all others are done.

    Parameters
    ----------
    tasks : sequence of Task
    executor, n_workers
        Who works.
    tick : callable
        Called about ten times a second; what it raises stops the run.
    clean : callable
        Removes the drafts of killed workers.

    Raises
    ------
    PatchcliError
        What a task raised: no other task is begun, those at work are ended.
    WorkerDied
    """
    if executor == "serial":
        yield from _run_serial(tasks, tick, clean)
        return
    waiting = deque(tasks)
    died: list[str] = []
    while waiting:
        suspects: list[tuple[Task, int]] = []
        n_waiting = len(waiting)
        yield from _run_pool(waiting, n_workers, tick, clean, suspects)
        if len(waiting) == n_waiting:
            raise WorkerDied("worker processes cannot be started here: try --executor serial")
        for suspect, _ in suspects:
            again: list[tuple[Task, int]] = []
            yield from _run_pool(deque([suspect]), 1, tick, clean, again)
            died.extend(_obituary(task, n_images) for task, n_images in again)
    if died:
        raise WorkerDied("\n".join(died))


def _run_serial(tasks: Sequence[Task], tick: Tick, clean: Callable[[], None]) -> Records:
    from patchcli.run.build import keep_or_build

    try:
        for task in tasks:

            def report(n_images: int, task: Task = task) -> None:
                tick([(task, n_images)])

            yield SerialExecutor().submit(keep_or_build, task, report).result()
    finally:
        clean()


def _run_pool(
    waiting: deque[Task], n_workers: int, tick: Tick, clean: Callable[[], None], suspects: list[tuple[Task, int]]
) -> Records:
    """Run tasks until none waits or the pool breaks; then `suspects` are those at work and their images begun."""
    pool = WorkerPool(n_workers)
    at_work: dict[Future[ShardRecord], tuple[Task, int]] = {}
    free = list(range(n_workers))
    try:
        while waiting or at_work:
            while waiting and free:
                task, slot = waiting[0], free[-1]
                pool.board[slot] = 0
                at_work[pool.submit(_work, task, slot)] = (task, slot)
                waiting.popleft()
                free.pop()
            done, _ = wait(at_work, _TICK_SECONDS, FIRST_COMPLETED)
            tick([(task, pool.board[slot]) for task, slot in at_work.values()])
            for future in done:
                record = future.result()
                _, slot = at_work.pop(future)
                free.append(slot)
                yield record
        pool.shutdown()
    except (BrokenExecutor, ConnectionError, EOFError):
        # A signal to the whole process group reaches workers before we act on ours: give it a moment to be seen.
        end = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < end:
            tick([])
            time.sleep(_TICK_SECONDS / 2)
        for future, (task, slot) in at_work.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                yield future.result()
            else:
                suspects.append((task, pool.board[slot]))
    finally:
        pool.kill()
        clean()


def _work(task: Task, slot: int) -> ShardRecord:
    from patchcli.run.build import keep_or_build  # there already: the fork server has it; this process need not

    return keep_or_build(task, lambda n_images: note(slot, n_images))


def _obituary(task: Task, n_images: int) -> str:
    images = [os.fsdecode(portion.image.path) for portion in task.portions]
    last = max(0, min(n_images, len(images)) - 1)
    return (
        f"{os.fsdecode(task.path)}: its worker died twice, the second time at {images[last]} (image {last + 1} of "
        f"{len(images)} in this shard, {images[0]} to {images[-1]}): memory ran out, or a decoder crashed on that image"
    )
