"""Reading patchcli files: what a file says about itself, and whether every byte of it is as it was written."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import h5py
import numpy as np
import numpy.typing as npt

from patchcli.errors import DamagedFile
from patchcli.io import h5
from patchcli.io.anatomy import check_structure
from patchcli.records import SkipKind, Skipped

_HEAD_BYTES = 1 << 16
_ROWS_BYTES = 1 << 20
_MOST_CHUNK_BYTES = 1 << 26
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
        return int(np.prod(self.patch_shape)) * self.dtype.itemsize

    @property
    def remedy(self) -> str:
        """What to do about a damaged shard."""
        verb = "augment" if "augment" in self.settings else "extract"
        return f"run the same {verb} command again, it rebuilds that shard"


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
    shown = os.fsdecode(path)
    said = h5.read_attributes(file, shown)
    if said.get("encoding-type") != "patchset":
        raise DamagedFile(f"{shown}: an HDF5 file, but not made by patchcli (no encoding-type=patchset)")
    version = str(said.get("encoding-version"))
    if version.split(".")[0] != "1":
        raise DamagedFile(f"{shown}: has encoding-version {version}, this patchcli reads 1.x: use a later patchcli")
    try:
        role: Role = said["role"]
        if role not in ("single", "index", "shard"):
            raise ValueError(role)
        settings = json.loads(said["settings"])
        n_rows = len(h5.dataset(file, "labels"))
        shape, kind, offset, compression = _pixels(file, said, n_rows, shown)
        facts = Facts(
            path=path,
            role=role,
            plan_id=str(said["plan_id"]),
            shard=int(said["shard"]),
            n_shards=int(said["n_shards"]),
            settings=dict(settings),
            n_rows=n_rows,
            patch_shape=shape,
            dtype=kind,
            offset=offset,
            compression=compression,
        )
    except (KeyError, ValueError, TypeError) as error:
        raise DamagedFile(f"{shown}: what the file says of itself is not consistent ({error!r})") from None
    return facts


def _pixels(
    file: h5py.File, said: dict[str, Any], n_rows: int, shown: str
) -> tuple[tuple[int, int, int], np.dtype[Any], int | None, str]:
    if said["role"] == "index":
        height, width, channels = (int(length) for length in said["patch_shape"])
        kind = np.dtype(said["patch_dtype"])
        if kind not in _KINDS or min(height, width, channels) < 1:
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
    properties = pixels.id.get_create_plist()
    if properties.get_layout() != h5py.h5d.CHUNKED:
        offset = pixels.id.get_offset() or 0
        n_bytes = n_rows * int(np.prod(shape, dtype=object)) * pixels.dtype.itemsize
        if offset + n_bytes > os.path.getsize(file.filename):
            raise DamagedFile(f"{shown}: truncated: /patches ends beyond the end of the file")
        return shape, pixels.dtype, offset, "none"
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    codecs = [h5.PIXEL_FILTERS.get(number, "") for number in filters if number != h5py.h5z.FILTER_FLETCHER32]
    if len(codecs) != 1 or not codecs[0]:
        raise DamagedFile(f"{shown}: /patches has filters {filters}, expected one known codec and fletcher32")
    if int(np.prod(pixels.chunks, dtype=object)) * pixels.dtype.itemsize > max(
        _MOST_CHUNK_BYTES, 2 * int(np.prod(shape, dtype=object)) * pixels.dtype.itemsize
    ):
        raise DamagedFile(f"{shown}: /patches has chunks of {pixels.chunks}, larger than patchcli writes")
    return shape, pixels.dtype, None, codecs[0]


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
    if h5.read_attributes(file, os.fsdecode(file.filename)).get("role") == "index":
        wanted += [f"shards/{name}" for name in ("name", "bytes", "digest", "row_start")]
    tables = {name: h5.read_table(file, name) for name in wanted}
    _check_lengths(tables, os.fsdecode(file.filename))
    return tables


def _check_lengths(tables: dict[str, h5.Array], shown: str) -> None:
    """Columns of one table are of one length, and numbers where numbers belong."""
    for group in ("sources", "skipped"):
        lengths = {len(values) for name, values in tables.items() if name.startswith(group + "/")}
        if len(lengths) > 1:
            raise DamagedFile(f"{shown}: the columns of /{group} are of different lengths")
    for name in ("labels", "coords", "source", "digest", "sources/label", "sources/width", "sources/height"):
        if tables[name].dtype.kind not in "iu":
            raise DamagedFile(f"{shown}: /{name} is {tables[name].dtype}, expected whole numbers")


def iterate_patches(fd: int, file: h5py.File, facts: Facts) -> Iterator[tuple[range, npt.NDArray[Any]]]:
    """All patches in blocks of about 1 MiB: rows, and patches (k, H, W, C) that the next step overwrites."""
    h5.load_plugins(facts.compression)
    step = max(1, _ROWS_BYTES // facts.patch_bytes)
    block = np.empty((min(step, facts.n_rows), *facts.patch_shape), facts.dtype)
    for start in range(0, facts.n_rows, step):
        rows = range(start, min(start + step, facts.n_rows))
        patches = block[: len(rows)]
        if facts.offset is None:
            try:
                file["patches"].read_direct(patches, np.s_[rows.start : rows.stop])
            except Exception as error:
                raise DamagedFile(
                    f"{os.fsdecode(facts.path)}: patches {rows.start} to {rows.stop - 1}: {error}"
                ) from None
        else:
            read_exactly(
                fd, patches.reshape(-1).view(np.uint8).data, facts.offset + start * facts.patch_bytes, facts.path
            )
        yield rows, patches


def read_rows(file: h5py.File, facts: Facts, rows: Sequence[int]) -> npt.NDArray[Any]:
    """Compressed patches by ascending row, duplicates allowed: (k, H, W, C). Each chunk is decompressed once.

    Raises
    ------
    DamagedFile
        A checksum fails, or the codec's package is missing.
    """
    h5.load_plugins(facts.compression)
    pixels = file["patches"]
    patches = np.empty((len(rows), *facts.patch_shape), facts.dtype)
    done = 0
    for _, group in itertools.groupby(rows, lambda row: row // pixels.chunks[0]):
        wanted = list(group)
        try:
            span = pixels[wanted[0] : wanted[-1] + 1]
        except Exception as error:
            raise DamagedFile(
                f"{os.fsdecode(facts.path)}: patches {wanted[0]} to {wanted[-1]} cannot be read: {error}"
            ) from None
        patches[done : done + len(wanted)] = span[np.subtract(wanted, wanted[0])]
        done += len(wanted)
    return patches


def read_exactly(fd: int, buffer: memoryview, offset: int, path: bytes) -> None:
    """Fill a buffer from a file, past HDF5 and past any lock or cache of it."""
    while buffer:
        n = os.preadv(fd, [buffer], offset)
        if n == 0:
            raise DamagedFile(f"{os.fsdecode(path)}: truncated: patches are missing at its end")
        buffer, offset = buffer[n:], offset + n


def is_foreign(path: bytes) -> bool:
    """Whether a file is HDF5 and nothing in it says that patchcli made it."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n" and not holds_mark(path, b"patchset")


def holds_mark(path: bytes, mark: bytes) -> bool:
    """Whether the first bytes of a file, damaged or not, hold a mark: a plan's id, or `patchset`."""
    with open(path, "rb") as file:
        return mark in file.read(_HEAD_BYTES)
