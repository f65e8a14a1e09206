"""Who works: this process, or a few others, each a `concurrent.futures.Executor`; serial is the oracle in the tests."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.context
import multiprocessing.forkserver
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class SerialExecutor(Executor):
    """Does each call at once, in this process."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call now; the future is done when this returns."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


def warm_up(*modules: str) -> None:
    """Start the server that worker processes are forked from, so that it imports these modules while the parent plans.

    A fork of this process would inherit its threads' locks; a fresh interpreter for each worker would import everything
    again. numpy's thread pool is switched off in it: workers are the parallelism.
    """
    multiprocessing.set_forkserver_preload(list(modules))
    # A signal to the whole process group is ours to act on: what we start here inherits the mask and lives on.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1})
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    try:
        with _hidden_main():
            multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if before is None:
            del os.environ["OPENBLAS_NUM_THREADS"]
        else:
            os.environ["OPENBLAS_NUM_THREADS"] = before


class _Context(multiprocessing.context.ForkServerContext):
    """A forkserver context that remembers the processes it made, so that they can be killed."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[multiprocessing.context.ForkServerProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]  # noqa: N802 - multiprocessing's name
        process = multiprocessing.context.ForkServerProcess(*args, **kwargs)
        self.made.append(process)
        return process


class WorkerPool(ProcessPoolExecutor):
    """Worker processes with a board on which each notes how far its task is.

    Parameters
    ----------
    n_workers : int
    """

    def __init__(self, n_workers: int) -> None:
        self._context = _Context()
        self.board: Any = self._context.RawArray("q", n_workers)  # no lock: one killed in it would hang all
        super().__init__(n_workers, mp_context=self._context, initializer=_begin_worker, initargs=(self.board,))

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As in the base class; a worker started by it does not import the user's main script."""
        with _hidden_main():
            return super().submit(fn, *args, **kwargs)

    def fatal_signals(self) -> set[int]:
        """Signals that workers died of, but for SIGTERM, with which concurrent.futures ends those that are left."""
        found = set[int]()
        for process in self._context.made:
            with contextlib.suppress(ValueError, OSError, AttributeError):
                found.add(-min(process.exitcode or 0, 0))
        return found - {0, signal.SIGTERM}

    def kill(self) -> None:
        """End all workers at once, whatever they are doing. Their drafts are the caller's to remove."""
        for process in self._context.made:
            with contextlib.suppress(ValueError, OSError, AttributeError):
                process.kill()
        self.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _hidden_main() -> Iterator[None]:
    """While a process starts, hide `__main__`: multiprocessing would run the user's script again in every worker.

    Workers only call functions of this package, so scripts need no `if __name__ == "__main__"`.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


_board: Any = None


def note(slot: int, noted: int) -> None:
    """In a worker: write how far its task is."""
    _board[slot] = noted


def _begin_worker(board: Any) -> None:
    """Signals are the parent's business; when it is gone, so are we. Decoders' complaints are not for a terminal."""
    global _board
    _board = board
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    os.close(devnull)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
