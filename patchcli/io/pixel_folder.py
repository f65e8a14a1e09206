"""A folder of decoded images that the processes of one job share; whatever goes wrong with it only costs speed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator

import numpy as np

from patchcli.io.images import Pixels
from patchcli.io.publish import new_run

_SUM = "sum"
_SUM_DIGITS = 20


def make_folder() -> str:
    """Make a folder for pixels, empty; OSError where there is no room for it.

    Those of processes that were killed go first: nobody else knows of them.
    """
    where = new_run().rpartition("-")[0]  # host and process
    host = where.rpartition("-")[0]
    for name in os.listdir(tempfile.gettempdir()):
        match = re.fullmatch(rf"patchcli-{re.escape(host)}-(\d+)-\w+(?:-gone)?", name)
        if match and not _is_running(int(match[1])):
            shutil.rmtree(os.path.join(tempfile.gettempdir(), name), ignore_errors=True)
    path = tempfile.mkdtemp(prefix=f"patchcli-{where}-")
    try:
        for name in ("locks", "pixels"):
            os.mkdir(os.path.join(path, name))
    except OSError:
        shutil.rmtree(path, ignore_errors=True)
        raise
    return path


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def remove_folder(path: str, maker: int) -> None:
    """Remove a folder of pixels, in the process that made it and in no other."""
    if os.getpid() != maker:
        return
    gone = f"{path}-gone"  # first out of the way of those who still write into it
    with contextlib.suppress(OSError):
        os.rename(path, gone)
    shutil.rmtree(gone, ignore_errors=True)


class PixelFolder:
    """Pixels of images by number, one file for each, raw.

    Parameters
    ----------
    path : str
        As `make_folder` gave it.
    budget : int
        Bytes that the files may take. The oldest go when there are more; the newest stays, however large.
    """

    def __init__(self, path: str, budget: int) -> None:
        self.path = path
        self.budget = budget

    def read(self, number: int, shape: tuple[int, int, int]) -> Pixels | None:
        """Pixels (height, width, C), not writeable; None when they are not there, or not all of them."""
        try:
            # not mapped into memory: a file that shrinks under a mapping kills the process
            with open(self._place(number), "rb", buffering=0) as file:
                pixels = np.empty(shape, np.uint8)
                rest = pixels.reshape(-1).data
                while len(rest) and (n := file.readinto(rest)):  # at most 2 GiB at once
                    rest = rest[n:]
        except OSError:
            return None
        if len(rest):
            return None
        self.touch(number)
        pixels.setflags(write=False)
        return pixels

    def touch(self, number: int) -> None:
        """Note that an image has been used."""
        now = time.time_ns()  # finer than the time that the system itself would note
        with contextlib.suppress(OSError):
            os.utime(self._place(number), ns=(now, now))

    @contextlib.contextmanager
    def alone(self, name: int | str) -> Iterator[int | None]:
        """Hold the lock of an image among all processes: its file descriptor, or None where there can be no lock.

        The lock of a process that dies is free.
        """
        with contextlib.ExitStack() as stack:
            fd: int | None
            try:
                fd = os.open(os.path.join(self.path, "locks", str(name)), os.O_RDWR | os.O_CREAT, 0o600)
                stack.callback(os.close, fd)
                fcntl.flock(fd, fcntl.LOCK_EX)
                stack.callback(fcntl.flock, fd, fcntl.LOCK_UN)  # a child that was forked meanwhile has it open too
            except OSError:
                fd = None
            yield fd

    def write(self, number: int, pixels: Pixels) -> None:
        """Leave the pixels (height, width, C) of an image, whose lock is held, and remove the oldest for them."""
        draft = self._place(number) + ".tmp"  # what a process that died has left is written over, or grows old
        try:
            with open(draft, "wb", buffering=0) as file:
                rest = pixels.reshape(-1).data
                while len(rest):
                    rest = rest[file.write(rest) :]
            os.rename(draft, self._place(number))
            self.touch(number)
            self._count(pixels.nbytes)
        except OSError:  # no room: neither is there for what was used longest ago
            with contextlib.suppress(OSError):
                os.unlink(draft)
            with contextlib.suppress(OSError):
                _remove_oldest(self._oldest_first(), pixels.nbytes)

    def _place(self, number: int) -> str:
        return os.path.join(self.path, "pixels", str(number))

    def _count(self, n_bytes: int) -> None:
        """Keep the sum in a file of its own: listing all files for every small image would take longer than decoding.

        The sum may be too large for a while, which the next listing mends.
        """
        with self.alone(_SUM) as fd:
            if fd is None:
                return
            total = int(os.pread(fd, _SUM_DIGITS, 0) or 0) + n_bytes
            if total > self.budget:
                files = self._oldest_first()
                total = sum(size for _, size, _ in files)
                total -= _remove_oldest(files, total - self.budget)
            os.pwrite(fd, b"%*d" % (_SUM_DIGITS, total), 0)

    def _oldest_first(self) -> list[tuple[int, int, str]]:
        """Time of last use in ns, bytes and path of all files."""
        files = []
        with os.scandir(os.path.join(self.path, "pixels")) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # another process has removed it
                    status = entry.stat()
                    files.append((status.st_mtime_ns, status.st_size, entry.path))
        return sorted(files)


def _remove_oldest(files: list[tuple[int, int, str]], n_bytes: int) -> int:
    """Remove the first files, never the last, until so many bytes are free, and answers how many are.

    Where there are many files, an eighth more of them goes, so that they need not be listed again at once.
    """
    free, more = 0, len(files) // 8
    for _, size, path in files[:-1] if n_bytes > 0 else ():
        if free >= n_bytes:
            if not more:
                break
            more -= 1
        with contextlib.suppress(OSError):
            os.unlink(path)
        free += size
    return free
