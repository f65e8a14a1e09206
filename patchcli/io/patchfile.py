"""Reading patchcli files: what a file says about itself, and whether every byte of it is as it was written."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import h5py
import numpy as np
import numpy.typing as npt

from patchcli.errors import DamagedFile
from patchcli.io import h5
from patchcli.io.guard.anatomy import check_structure
from patchcli.io.guard.chunks import codec_of, read_chunk
from patchcli.io.guard.settings import checked_settings
from patchcli.io.kept_chunks import KeptChunks
from patchcli.records import SkipKind, Skipped, show
from patchcli.summaries import made_by

_HEAD_BYTES = 1 << 16
_MOST_PATCH_BYTES = 1 << 36
_MOST_SHARDS = 10_000_000
_NAMES = frozenset(
    [
        *("classes", "splits", "sources/path", "sources/sha256", "sources/group", "shards/name", "shards/digest"),
        *("skipped/path", "skipped/reason", "skipped/kind"),
    ]
)
_KINDS = (np.uint8, np.uint16, np.float32)

Role = Literal["single", "index", "shard"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file says about itself.

    Attributes
    ----------
    role : {"single", "index", "shard"}
    plan_id : str
    shard, n_shards : int
    settings : dict
        As `ExtractSpec.settings` gave them.
    n_rows : int
    patch_shape : (int, int, int)
        Height, width, channels.
    dtype : numpy.dtype
        Of the pixels.
    offset : int or None
        Where contiguous pixels begin in the file, None for chunks and in an index.
    compression : str
    """

    path: bytes
    role: Role
    plan_id: str
    shard: int
    n_shards: int
    settings: dict[str, Any]
    n_rows: int
    patch_shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    offset: int | None
    compression: str

    @property
    def patch_bytes(self) -> int:
        """Bytes of the pixels of a patch."""
        return math.prod(self.patch_shape) * self.dtype.itemsize

    @property
    def remedy(self) -> str:
        """What to do about a damaged shard."""
        return f"run the same {made_by(self.settings)} command again, it rebuilds that shard"


@contextlib.contextmanager
def opened(path: bytes) -> Iterator[tuple[h5py.File, Facts]]:
    """Open a patchcli file for reading.

    Raises
    ------
    FileNotFoundError
    DamagedFile
        Not HDF5, not a patchcli file, of a later version, or inconsistent.
    """
    with h5.open_file(path, check=check_structure) as file:
        yield file, _facts(file, path)


def _facts(file: h5py.File, path: bytes) -> Facts:
    shown = show(path)
    said = h5.read_attributes(file, shown)
    if said.get("encoding-type") != "patchset":
        raise DamagedFile(f"{shown}: an HDF5 file, but not made by patchcli (no encoding-type=patchset)")
    version = said.get("encoding-version")
    if not isinstance(version, str) or version.split(".")[0] != "1":
        raise DamagedFile(
            f"{shown}: has encoding-version {version!r:.40}, this patchcli reads 1.x: use a later patchcli"
        )
    try:
        role: Role = said["role"]
        if role not in ("single", "index", "shard"):
            raise ValueError(role)
        if not re.fullmatch("[0-9a-f]{32}", said["plan_id"]):
            raise ValueError(f"plan_id {said['plan_id']!r:.60}")
        shard, n_shards = said["shard"], said["n_shards"]
        if not (type(shard) is type(n_shards) is int and 0 <= shard < n_shards <= _MOST_SHARDS):
            raise ValueError(f"shard {shard!r:.40} of {n_shards!r:.40}")
        labels = h5.dataset(file, "labels")
        if labels.ndim != 1:
            raise ValueError(f"/labels of shape {labels.shape}")
        n_rows = len(labels)
        shape, kind, offset, compression = _pixels(file, said, n_rows, shown)
        facts = Facts(
            path=path,
            role=role,
            plan_id=said["plan_id"],
            shard=shard,
            n_shards=n_shards,
            settings=checked_settings(said["settings"], shape),
            n_rows=n_rows,
            patch_shape=shape,
            dtype=kind,
            offset=offset,
            compression=compression,
        )
    except (LookupError, ArithmeticError, ValueError, TypeError, RuntimeError) as error:  # the last is HDF5's own
        raise DamagedFile(f"{shown}: what the file says of itself is not consistent ({error!r:.200})") from None
    return facts


def _pixels(
    file: h5py.File, said: dict[str, Any], n_rows: int, shown: str
) -> tuple[tuple[int, int, int], np.dtype[Any], int | None, str]:
    if said["role"] == "index":
        height, width, channels = (int(length) for length in said["patch_shape"])
        kind = np.dtype(said["patch_dtype"])
        n_bytes = height * width * channels * kind.itemsize
        if kind not in _KINDS or min(height, width, channels) < 1 or n_bytes > _MOST_PATCH_BYTES:
            raise DamagedFile(
                f"{shown}: its patches are {kind} {(height, width, channels)}, which patchcli does not make"
            )
        return (height, width, channels), kind, None, "none"
    pixels = h5.dataset(file, "patches")
    if pixels.ndim != 4 or len(pixels) != n_rows or pixels.dtype not in _KINDS:
        raise DamagedFile(
            f"{shown}: /patches is {pixels.dtype} {pixels.shape}, expected (n, H, W, C) for {n_rows} labels"
        )
    shape = (int(pixels.shape[1]), int(pixels.shape[2]), int(pixels.shape[3]))
    patch_bytes = math.prod(shape) * pixels.dtype.itemsize
    if min(shape) < 1 or patch_bytes > _MOST_PATCH_BYTES:
        raise DamagedFile(f"{shown}: its patches are {pixels.dtype} {shape}, which patchcli does not make")
    if pixels.chunks is None:
        offset, n_bytes = pixels.id.get_offset() or 0, n_rows * patch_bytes
        if offset + n_bytes > os.path.getsize(file.filename):
            raise DamagedFile(f"{shown}: truncated: /patches ends beyond the end of the file")
        if n_bytes and not offset:
            raise DamagedFile(f"{shown}: /patches was never written")
        return shape, pixels.dtype, offset, "none"
    return shape, pixels.dtype, None, codec_of(pixels, shown)


def read_names(table: h5.Array) -> tuple[bytes, ...]:
    """A fixed-length table of names as bytes."""
    return tuple(bytes(name) for name in table.tolist())


def skipped_in(tables: dict[str, h5.Array]) -> tuple[Skipped, ...]:
    """The files that were left out, with kind and reason, from a file's tables."""
    columns = [read_names(tables[f"skipped/{column}"]) for column in ("path", "reason", "kind")]
    known = {kind.encode(): kind for kind in get_args(SkipKind)}
    return tuple(
        Skipped(path, reason.decode(errors="replace"), known.get(kind, "ignored"))
        for path, reason, kind in zip(*columns, strict=True)
    )


def read_tables(file: h5py.File) -> dict[str, h5.Array]:
    """All small tables of a file by path; those that only some files have are left out where they are not."""
    wanted = ["labels", "digest", "coords", "source", "classes"]
    wanted += [f"sources/{name}" for name in ("path", "width", "height", "sha256", "label", "group")]
    wanted += [f"skipped/{name}" for name in ("path", "reason", "kind")]
    wanted += [f"stats/{name}" for name in ("mean", "std", "n_pixels", "sum", "sum_of_squares")]
    wanted += [name for name in ("split", "splits", "origin", "copy") if h5.has(file, name)]
    if h5.read_attributes(file, show(file.filename)).get("role") == "index":
        wanted += [f"shards/{name}" for name in ("name", "bytes", "digest", "row_start")]
    tables = {name: h5.read_table(file, name, checked=True) for name in wanted}
    _check_kinds(tables, show(file.filename))
    return tables


def _check_kinds(tables: dict[str, h5.Array], shown: str) -> None:
    """Names where names belong and numbers where numbers do; columns of one table are of one length."""
    for name, table in tables.items():
        kinds = "S" if name in _NAMES else "iuf" if name.startswith("stats/") else "iu"
        if table.dtype.kind not in kinds or table.ndim != (2 if name == "coords" else 1):
            what = "names" if kinds == "S" else "numbers" if "f" in kinds else "whole numbers"
            raise DamagedFile(f"{shown}: /{name} is {table.dtype} {table.shape}, expected {what}")
    for group in ("sources", "skipped"):
        lengths = {len(values) for name, values in tables.items() if name.startswith(group + "/")}
        if len(lengths) > 1:
            raise DamagedFile(f"{shown}: the columns of /{group} are of different lengths")


def iterate_chunks(file: h5py.File, facts: Facts) -> Iterator[tuple[range, npt.NDArray[Any]]]:
    """All compressed patches chunk by chunk: rows, and patches (k, H, W, C)."""
    h5.load_plugins(facts.compression)
    pixels = h5.dataset(file, "patches")
    for start in range(0, facts.n_rows, pixels.chunks[0]):
        rows = range(start, min(start + pixels.chunks[0], facts.n_rows))
        yield rows, _chunk(pixels, facts, start, rows)


def read_rows(file: h5py.File, facts: Facts, rows: Sequence[int], kept: KeptChunks) -> npt.NDArray[Any]:
    """Compressed patches by ascending row, duplicates allowed: (k, H, W, C). Each chunk is decompressed once at most.

    Raises
    ------
    DamagedFile
        A checksum fails, or the codec's package is missing.
    """
    h5.load_plugins(facts.compression)
    pixels = h5.dataset(file, "patches")
    patches = np.empty((len(rows), *facts.patch_shape), facts.dtype)
    done, n = 0, pixels.chunks[0]
    for number, group in itertools.groupby(rows, lambda row: row // n):
        wanted = list(group)
        chunk = kept.get((facts.path, number), partial(_chunk, pixels, facts, number * n, wanted))
        patches[done : done + len(wanted)] = chunk[np.subtract(wanted, number * n)]
        done += len(wanted)
    return patches


def _chunk(pixels: h5py.Dataset, facts: Facts, start: int, wanted: Sequence[int]) -> npt.NDArray[Any]:
    """The patches of the chunk that begins with row `start`; those wanted are named when it cannot be read."""
    try:
        return read_chunk(pixels, facts.compression, start)
    except Exception as error:
        what = f"{show(facts.path)}: patches {wanted[0]} to {wanted[-1]} cannot be read"
        raise DamagedFile(f"{what}: {' '.join(str(error).split())[:200]}") from None


def read_exactly(fd: int, buffer: memoryview, offset: int, path: bytes) -> None:
    """Fill a buffer from a file, past HDF5 and past any lock or cache of it."""
    while buffer:
        n = os.preadv(fd, [buffer], offset)
        if n == 0:
            raise DamagedFile(f"{show(path)}: truncated: patches are missing at its end")
        buffer, offset = buffer[n:], offset + n


def holds_mark(path: bytes, mark: bytes) -> bool:
    """Whether the first or the last bytes of a file, damaged or not, hold a mark: a plan's id, or `patchset`.

    HDF5 puts the attributes of an index, which has more than eight, at its end.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
        file.seek(max(len(head), os.fstat(file.fileno()).st_size - _HEAD_BYTES))
        return mark in head or mark in file.read(_HEAD_BYTES)
