"""Uses of files that may be hostile, each in a process of its own with limits on memory and time.

As a program it is a server, warmed up once: it takes jobs as lines of JSON and forks a child for each of them. A fork
takes some milliseconds, so thousands of files can be tried, and what dies is the child alone.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

MOST_SECONDS = 5.0
MOST_BYTES = 500 << 20
EXIT_CODES = (0, 1, 2, 3, 4)
_MOST_LINES = 12
_STACK_BYTES = 64 << 20  # of address space for threads and libraries that are loaded late, not counted as memory


class Outcome(NamedTuple):
    """How a use of a file ended.

    Attributes
    ----------
    exit_code : int
        Negative: of which signal the process died.
    seconds, n_bytes
        Wall time, and the memory that the process took beyond what it began with, at its peak.
    stdout, stderr : str
        The first 64 kB.
    """

    use: str
    exit_code: int
    seconds: float
    n_bytes: int
    stdout: str
    stderr: str

    @property
    def wrong(self) -> str:
        """What no file may lead to: death, a hang, a traceback, too much memory, an unknown exit code; else empty."""
        said = self.stderr.strip()
        if self.seconds > MOST_SECONDS:
            return f"hung for {self.seconds:.1f} s"
        if self.exit_code < 0:
            return f"died of signal {-self.exit_code}"
        if self.n_bytes > MOST_BYTES or "MemoryError" in said or "Unable to allocate" in said:
            return f"took {self.n_bytes:,} bytes"
        if self.exit_code not in EXIT_CODES:
            return f"ended with {self.exit_code}"
        if "Traceback" in said or "unexpected" in said or "a bug in" in said:
            return "was not foreseen"
        if self.exit_code in (1, 2, 3) and not said:
            return "failed without a word"
        if said.count("\n") >= _MOST_LINES or len(said) > 8000:
            return f"said {len(said):,} characters"
        return ""


# --- what is done with a file


def _inspect(path: str, *options: str) -> None:
    _command("inspect", path, *options)


def _open(path: str, _: str = "") -> None:
    """Open it in Python and read all patches, a few at a time."""
    import patchcli
    from patchcli.errors import PatchcliError

    try:
        with patchcli.open(path) as ps:
            ps.class_counts(), ps.class_weight(), repr(ps), [ps.subset(split=name) for name in ps.splits]
            for _patches in ps:
                pass
    except (PatchcliError, FileNotFoundError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(1)


def _augment(path: str, out: str) -> None:
    _command("augment", path, out, "--executor", "serial", "--copies", "1", "--horizontal-flip", "--overwrite")


def _plain_h5py(path: str, _: str = "") -> None:
    """What a program does that is not careful: the control, which shows that a trap is one."""
    import h5py

    with h5py.File(path) as file:
        file.visititems(lambda _name, place: place[...] if isinstance(place, h5py.Dataset) else None)
        for name in file:
            file[name][...]


def _command(*arguments: str) -> None:
    from patchcli.cli import main

    main(list(arguments), prog_name="patchcli")


USES: dict[str, Callable[..., None]] = {
    "inspect": lambda path, _: _inspect(path),
    "inspect --json": lambda path, _: _inspect(path, "--json"),
    "inspect --verify": lambda path, _: _inspect(path, "--verify", "--executor", "serial"),
    "inspect --html": lambda path, out: _inspect(path, "--html", out + ".html", "--overlay", "1"),
    "inspect --sheet": lambda path, out: _inspect(path, "--sheet", out + ".png"),
    "inspect --where": lambda path, _: _inspect(path, "--where", "row=0-5"),
    "open": _open,
    "augment": _augment,
    "h5py": _plain_h5py,
}


# --- the side of the tests


class Server:
    """A process that is warm and tries files, one at a time; a context."""

    def __init__(self) -> None:
        environment = {**os.environ, "HDF5_USE_FILE_LOCKING": "FALSE", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
            env=environment,
        )

    def run(
        self, use: str, path: str | os.PathLike[str], out: str = "", *, seconds: float = MOST_SECONDS + 0.5
    ) -> Outcome:
        """One of `USES` of a file, in a child that is killed after some seconds."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([use, os.fspath(path), out, seconds]) + "\n")
        self._process.stdin.flush()
        return Outcome(*json.loads(self._process.stdout.readline()))

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:
            self._process.kill()


# --- the side of the server


def main() -> None:
    """Take jobs from standard input until it ends."""
    _warm_up()
    for line in sys.stdin:
        print(json.dumps(_try(*json.loads(line))), flush=True)


def _warm_up() -> None:
    import h5py
    import hdf5plugin  # noqa: F401

    import patchcli
    import patchcli.cli.augment
    import patchcli.cli.inspect
    import patchcli.report.page
    import patchcli.report.summary
    import patchcli.report.text
    import patchcli.run.augment
    import patchcli.run.verify

    with h5py.File.in_memory() as file:
        file["a"] = [1]
    patchcli.open, patchcli.cli.main


def _try(use: str, path: str, out: str, seconds: float) -> list[Any]:
    outputs = [os.memfd_create(name) for name in ("stdout", "stderr", "memory")]
    began = time.monotonic()
    pid = os.fork()
    if not pid:
        _child(use, path, out, outputs)
    done = os.pidfd_open(pid)
    killed = not select.select([done], [], [], seconds)[0]
    if killed:
        os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    os.close(done)
    took = time.monotonic() - began if not killed else MOST_SECONDS + 1
    texts = [os.pread(fd, 1 << 16, 0).decode(errors="replace") for fd in outputs]
    for fd in outputs:
        os.close(fd)
    n_bytes = usage.ru_maxrss * 1024 - int(texts.pop() or 0)
    return [use, os.waitstatus_to_exitcode(status), round(took, 3), n_bytes, *texts]


def _child(use: str, path: str, out: str, outputs: list[int]) -> None:
    code = 99
    try:
        os.pwrite(outputs[2], b"%d" % _memory("VmRSS"), 0)
        os.dup2(outputs[0], 1)
        os.dup2(outputs[1], 2)
        os.close(0)
        faulthandler.enable()
        limit = _memory("VmSize") + MOST_BYTES + _STACK_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, MOST_BYTES))
        warnings.simplefilter("error")
        try:
            USES[use](path, out)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            traceback.print_exc()
            code = 98
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _memory(kind: str) -> int:
    """One of this process' sizes, bytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(kind + ":"))


if __name__ == "__main__":
    main()
