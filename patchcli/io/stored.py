"""The shards of a data set: opened when they are needed, validated then, and read by row past HDF5."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from patchcli.errors import DamagedFile
from patchcli.io.kept_chunks import WINDOW_BYTES, KeptChunks
from patchcli.io.listed import ListedShard, files_with_pixels
from patchcli.io.patchfile import Facts, opened, read_exactly, read_rows
from patchcli.io.shard import digests
from patchcli.records import show

Rows = npt.NDArray[np.int64]

_MOST_OPEN: Final = 32
_NOWHERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_MOST_BUFFERS: Final = 256  # for one read; systems may refuse more than 1024


class Shards:
    """Patches of a data set by row, wherever they are.

    Safe for many threads, and in children after fork, which open the shards anew.

    Parameters
    ----------
    whole : Facts
        Of the file that the user named.
    tables : mapping of str to array
        Its tables; those of an index list the shards.

    Raises
    ------
    DamagedFile
        The list of shards contradicts itself, or leads out of the index's folder.
    """

    def __init__(self, whole: Facts, tables: dict[str, npt.NDArray[Any]]) -> None:
        self._whole = whole
        self._places = files_with_pixels(whole, tables)
        self._row_start = np.array([place.row_start for place in self._places], np.int64)
        self._budget = 0
        self._open = _Open(0)
        self._seen: dict[int, tuple[tuple[int, ...], Facts]] = {}

    def read(self, rows: Rows, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Patches of rows (k,), in any order and with duplicates: array (k, H, W, C), `out` where it is given.

        Raises
        ------
        DamagedFile
            A shard is missing, foreign or truncated.
        OSError
            The shard cannot be read for another reason; its name is with the error.
        """
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        shards = self.of_rows(ascending)
        if len(rows):
            # a shard that has such patches, before memory is taken for the shape that an index alone claims
            self._using(int(shards[0]), lambda _: None)
        patches = np.empty((len(rows), *self._whole.patch_shape), self._whole.dtype) if out is None else out
        within = ascending - self._row_start[shards]
        changes = (np.flatnonzero(np.diff(shards)) + 1).tolist() if len(rows) and shards[0] != shards[-1] else []
        bounds = [0, *changes, len(rows)] if len(rows) else []
        # hardly any have neighbours in the file: there are no runs to be looked for
        scattered = bool(2 * np.count_nonzero(np.diff(ascending) != 1) + 2 > len(rows))
        for start, stop in itertools.pairwise(bounds):
            reads = partial(
                _Shard.read, rows=within[start:stop], targets=order[start:stop], patches=patches, scattered=scattered
            )
            self._using(int(shards[start]), reads)
        return patches

    def compare(self, patches: npt.NDArray[Any], rows: Rows, expected: npt.NDArray[np.uint64]) -> None:
        """Raise DamagedFile, naming shard and row, unless all patches (k, H, W, C) have the digests (k,) expected."""
        found = digests(patches)
        if np.array_equal(found, expected):
            return
        self.close()
        at = int(np.flatnonzero(found != expected)[0])
        k = int(self.of_rows(rows[at]))
        raise DamagedFile(
            f"{show(self._places[k].path)}: patch {rows[at] - self._row_start[k]} is not as it was written: "
            f"its XXH3-64 is {found[at]:016x}, expected {expected[at]:016x}: {self._whole.remedy}"
        )

    def keep_chunks(self) -> None:
        """Keep compressed chunks for a while, for who reads in windows: 96 MiB of them in each process."""
        if not self._budget:
            self._budget = WINDOW_BYTES
            self.close()

    def bring(self, rows: Rows, n: int) -> None:
        """Ask the system to read `n` consecutive rows from each of these on by and by; nothing happens where it cannot.

        Those of the next shard are not.
        """
        if not hasattr(os, "posix_fadvise"):
            return
        shards = self.of_rows(rows)
        for k in np.unique(shards).tolist():
            with contextlib.suppress(OSError, DamagedFile):  # said when it is read
                self._shard(k).bring((rows[shards == k] - self._row_start[k]).tolist(), n)

    def close(self) -> None:
        """Close all shards, each when its last reader is done; the next read opens what stands there then."""
        self._open, self._seen = _Open(self._budget), {}

    def of_rows(self, rows: Any) -> Rows:
        """Number of the shard of each row, in the order of the list of shards; int64, of the shape of `rows`."""
        return np.asarray(np.searchsorted(self._row_start, rows, side="right") - 1)

    def starts_of(self, rows: Rows) -> Rows:
        """First row of the shard of each row, int64 (k,)."""
        starts: Rows = self._row_start[self.of_rows(rows)]
        return starts

    def _using(self, k: int, use: Callable[[_Shard], None], *, again: bool = True) -> None:
        """Do something with an open shard; what goes wrong names it."""
        try:
            use(self._shard(k))
        except DamagedFile:
            self.close()
            raise
        except OSError as error:
            self.close()
            if error.errno != errno.ESTALE or not again:  # NFS: the file was replaced on the server
                raise OSError(error.errno, error.strerror or str(error), os.fsdecode(self._places[k].path)) from error
            self._using(k, use, again=False)

    def _shard(self, k: int) -> _Shard:
        here = self._open
        if here.pid != os.getpid():  # the lock may be held by a thread that fork left behind
            here = self._open = _Open(self._budget)
        with here.lock:
            shard = here.shards.pop(k, None) or self._opened(k)
            shard.kept = here.kept
            here.shards[k] = shard
            if len(here.shards) > _MOST_OPEN:
                here.shards.pop(next(iter(here.shards)))
        return shard

    def _opened(self, k: int) -> _Shard:
        # HDF5 takes a millisecond to open a file. One that has not changed since is opened without it, or random reads
        # from more shards than stay open would take a hundred times as long.
        if k in self._seen:
            identity, facts = self._seen[k]
            with contextlib.suppress(OSError):
                shard = _past_hdf5(facts)
                if shard.identity == identity:
                    return shard
        shard = _open_shard(self._places[k], self._whole)
        if shard.file is None:
            self._seen[k] = shard.identity, shard.facts
        return shard


class _Open:
    """The shards that are open in one process, the least recently used first."""

    def __init__(self, budget: int) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.shards: dict[int, _Shard] = {}
        self.kept = KeptChunks(budget)


@dataclass(eq=False)
class _Shard:
    """An open shard. Who reads holds a reference, and the last to let go closes it: never under a reader."""

    facts: Facts
    closing: contextlib.ExitStack
    file: Any = None
    fd: int = -1
    identity: tuple[int, ...] = ()
    kept: KeptChunks = field(default_factory=lambda: KeptChunks(0))

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.closing.close()

    def bring(self, rows: list[int], n: int) -> None:
        """Ask for some consecutive rows; those in compressed chunks are not known to be anywhere."""
        if self.facts.offset is not None:
            size, most = self.facts.patch_bytes, self.facts.n_rows
            for row in rows:
                at, n_bytes = self.facts.offset + row * size, min(n, most - row) * size
                os.posix_fadvise(self.fd, at, n_bytes, os.POSIX_FADV_WILLNEED)

    def read(self, rows: Rows, targets: Rows, patches: npt.NDArray[Any], *, scattered: bool) -> None:
        """Read ascending rows into `patches[targets]`."""
        try:
            if self.facts.offset is None:
                patches[targets] = read_rows(self.file, self.facts, rows.tolist(), self.kept)
            else:
                size, flat = self.facts.patch_bytes, patches.reshape(-1).view(np.uint8).data
                places, begins = (self.facts.offset + rows * size).tolist(), (targets * size).tolist()
                (self._read_one_by_one if scattered else self._read_runs)(places, begins, flat)
        except DamagedFile as error:
            raise DamagedFile(f"{error}: {self.facts.remedy}") from None

    def _read_one_by_one(self, places: list[int], begins: list[int], flat: memoryview) -> None:
        size, fd, preadv = self.facts.patch_bytes, self.fd, os.preadv
        for begin, place in zip(begins, places, strict=True):
            n = preadv(fd, (flat[begin : begin + size],), place)
            if n < size:
                read_exactly(fd, flat[begin + n : begin + size], place + n, self.facts.path)

    def _read_runs(self, places: list[int], begins: list[int], flat: memoryview) -> None:
        # Neighbours in the file take one read, which puts each of them where it was asked for.
        size, fd, start = self.facts.patch_bytes, self.fd, 0
        while start < len(places):
            stop, most = start + 1, min(len(places), start + _MOST_BUFFERS)
            while stop < most and places[stop] == places[stop - 1] + size:
                stop += 1
            buffers = [flat[begin : begin + size] for begin in begins[start:stop]]
            n = os.preadv(fd, buffers, places[start])
            if n < size * len(buffers):  # a signal, 2 GiB, or the end of the file
                for i, buffer in enumerate(buffers):
                    done = min(size, max(0, n - i * size))
                    read_exactly(fd, buffer[done:], places[start] + i * size + done, self.facts.path)
            start = stop


def _open_shard(place: ListedShard, whole: Facts) -> _Shard:
    """Open a shard that is the one expected; DamagedFile names it otherwise."""
    shown = show(place.path)
    wanted = f"expected shard {place.number} of plan {whole.plan_id}"
    with contextlib.ExitStack() as stack:
        try:
            n_bytes = os.stat(place.path).st_size
            file, facts = stack.enter_context(opened(place.path))
        except OSError as error:
            if error.errno not in _NOWHERE:
                raise
            raise DamagedFile(f"{shown}: missing, {wanted}: {whole.remedy}") from None
        except DamagedFile as error:
            if n_bytes < place.n_bytes and os.path.isfile(place.path):
                raise DamagedFile(_wrong_size(shown, n_bytes, place.n_bytes, whole.remedy)) from None
            raise DamagedFile(f"{error}, {wanted}: {whole.remedy}") from None
        if facts.role == "index" or (facts.plan_id, facts.shard) != (whole.plan_id, place.number):
            raise DamagedFile(
                f"{shown}: is {facts.role} {facts.shard} of plan {facts.plan_id}, {wanted}: {whole.remedy}"
            )
        if n_bytes != place.n_bytes:
            raise DamagedFile(_wrong_size(shown, n_bytes, place.n_bytes, whole.remedy))
        if (facts.n_rows, facts.patch_shape, facts.dtype) != (place.n_rows, whole.patch_shape, whole.dtype):
            raise DamagedFile(
                f"{shown}: has {facts.n_rows} patches {facts.patch_shape} {facts.dtype}, expected {place.n_rows} "
                f"{whole.patch_shape} {whole.dtype}: {whole.remedy}"
            )
        if facts.offset is None:
            return _Shard(facts, stack.pop_all(), file=file)
    return _past_hdf5(facts)  # HDF5 has said where the pixels are, and is closed


def _past_hdf5(facts: Facts) -> _Shard:
    with contextlib.ExitStack() as stack:
        fd = os.open(facts.path, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, fd)
        status = os.fstat(fd)
        identity = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        return _Shard(facts, stack.pop_all(), fd=fd, identity=identity)


def _wrong_size(shown: str, n_bytes: int, expected: int, remedy: str) -> str:
    what = "truncated" if n_bytes < expected else "has grown"
    return f"{shown}: {what}: holds {n_bytes:,} bytes, expected {expected:,}: {remedy}"
