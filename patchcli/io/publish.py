"""Files that are whole or not there: written beside their final name, synced, renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Final

from patchcli.errors import NotEnoughSpace, OutputConflict, PatchcliError
from patchcli.io.room import free_bytes
from patchcli.records import Identity

_FLUSH_BYTES: Final = 8 << 20
_NAME_BYTES: Final = 120  # of the final name in the temporary one, which may have 255
_STALE_SECONDS: Final = 24 * 3600
_TEMP: Final = re.compile(rb"\.(?P<name>.+)\.(?P<host>[^.]+)-(?P<pid>\d+)-[0-9a-f]{8}\.tmp", re.DOTALL)


def new_run() -> str:
    """A name for this run's temporary files: where it runs, process and eight random hex digits."""
    return f"{_where()}-{os.getpid()}-{os.urandom(4).hex()}"


def behind_link(out: bytes) -> bytes:
    """The file to write for an output: a link stays one, and what it leads to is written, shards beside that."""
    return os.path.realpath(out) if os.path.islink(out) else out


def _where() -> str:
    """Where process numbers mean something: the host, and on Linux the container."""
    host = re.sub(r"[^A-Za-z0-9_]", "_", socket.gethostname())[:40] or "host"
    with contextlib.suppress(OSError):
        host += "_" + re.sub(r"\D", "", os.readlink("/proc/self/ns/pid"))
    return host


class Draft:
    """A file in the making under a temporary name in the folder where it will stand.

    Leaving the `with` block without `publish` removes it. While it is written, a thread asks the kernel to send what is
    there to the disk, so that little is left to wait for at the end.

    Parameters
    ----------
    path : bytes
        Final name.
    run : str
        From `new_run`; part of the temporary name, so that a run can remove what its killed workers left.

    Raises
    ------
    OSError
        From any method: disk full, no permission, quota.
    """

    def __init__(self, path: bytes, run: str) -> None:
        folder, name = os.path.split(path)
        self.path = path
        self.temp = os.path.join(folder, b"." + name[-_NAME_BYTES:] + b"." + run.encode() + b".tmp")
        self.fd = os.open(self.temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        self._unflushed = 0
        self._flusher: threading.Thread | None = None

    def __enter__(self) -> Draft:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.fd < 0:
            return
        with contextlib.suppress(OSError):
            os.unlink(self.temp)
        self._close()

    def write(self, block: memoryview, offset: int) -> None:
        """Write all bytes of a block at an offset."""
        n = len(block)
        while block:
            done = os.pwrite(self.fd, block, offset)
            block, offset = block[done:], offset + done
        self._unflushed += n
        if self._unflushed >= _FLUSH_BYTES and not (self._flusher and self._flusher.is_alive()):
            self._unflushed = 0
            self._flusher = threading.Thread(target=_flush, args=(self.fd,), daemon=True)
            self._flusher.start()

    def sync(self) -> None:
        """Wait until all that was written is on the disk."""
        if self._flusher:
            self._flusher.join()
        os.fsync(self.fd)

    def publish(self, *, replacing: bool = True) -> None:
        """Sync, rename to the final name, sync the folder.

        Raises
        ------
        FileExistsError
            Something stands under the final name and is not to be replaced; the draft may still be published.
        """
        self.sync()
        if replacing or not self._linked():
            os.replace(self.temp, self.path)
        with contextlib.suppress(FileNotFoundError):  # a rename does nothing where both names are the same file's
            os.unlink(self.temp)
        self._close()
        sync_folder(os.path.dirname(self.path))

    def _linked(self) -> bool:
        """Take the final name as a link does, which never replaces; False where the file system has no hard links."""
        try:
            os.link(self.temp, self.path)
        except FileExistsError:
            raise
        except OSError:  # EPERM, ENOTSUP, EMLINK, ENOSYS, ...: what is wrong with the disk comes again from the rename
            if os.path.lexists(self.path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.path) from None
            return False
        return True

    def _close(self) -> None:
        if self._flusher:
            self._flusher.join()
        fd, self.fd = self.fd, -1
        os.close(fd)


def _flush(fd: int) -> None:
    with contextlib.suppress(OSError):  # an error comes again from the fsync before the rename
        getattr(os, "fdatasync", os.fsync)(fd)  # macOS has no fdatasync


def identity(path: bytes) -> Identity | None:
    """Which file stands under a name, told from one that takes its place later; None when there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def sync_folder(folder: bytes) -> None:
    """Make renames within a folder durable, where the file system can."""
    with contextlib.suppress(OSError):  # EINVAL, ENOTSUP: some network file systems cannot; EACCES: not listable
        fd = os.open(folder or b".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def write_error(path: bytes, error: OSError, needed: int) -> PatchcliError:
    """An error of the disk in words: which file, what was needed, what to do."""
    shown = os.fsdecode(path)
    if error.errno in (errno.EFBIG, errno.ENOSPC, errno.EDQUOT):
        limit = ", beyond the limit on file size (ulimit -f)" if error.errno == errno.EFBIG else ""
        room = free_bytes(os.path.dirname(path))
        return NotEnoughSpace(
            f"{shown}: {os.strerror(error.errno)}{limit}: about {needed:,} bytes were needed, {room:,} are "
            f"free; nothing half-written was left, make room and run the same command again"
        )
    said = error.strerror or str(error)
    at = os.fsencode(error.filename2 or error.filename or path)  # of a rename, the final name is to blame
    if _TEMP.fullmatch(os.path.basename(at)):
        folder = os.fsdecode(os.path.dirname(at)) or "."
        return OutputConflict(
            f"{shown}: cannot be written: the folder {folder} takes no files: {said}; make it writable and run the "
            f"same command again, or choose another output"
        )
    where = "" if at == path else f"{os.fsdecode(at)}: "
    return OutputConflict(
        f"{shown}: cannot be written: {where}{said}; remove what stands there or make it writable, then run the same "
        f"command again"
    )


def remove_drafts(folders: Iterable[bytes], run: str) -> None:
    """Remove the temporary files of one run: what workers that were killed have left."""
    for folder, name, _ in _drafts(folders):
        if name.endswith(b"." + run.encode() + b".tmp"):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, name))


def remove_stale_drafts(folders: Iterable[bytes], names: Iterable[bytes], now: float) -> None:
    """Remove temporary files of runs that are over, for the given final names only.

    A run is over when its process is gone from this host; of other hosts, when the file is a day old.
    """
    host = _where().encode()
    wanted = {name[-_NAME_BYTES:] for name in names}
    for folder, name, match in _drafts(folders):
        if match["name"] not in wanted:
            continue
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError):
            here = match["host"] == host
            if not _alive(int(match["pid"])) if here else now - os.lstat(path).st_mtime > _STALE_SECONDS:
                os.unlink(path)


def _drafts(folders: Iterable[bytes]) -> Iterable[tuple[bytes, bytes, re.Match[bytes]]]:
    for folder in folders:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for name in os.listdir(folder or b"."):
                match = _TEMP.fullmatch(name)
                if match:
                    yield folder, name, match


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
