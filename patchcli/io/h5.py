"""HDF5 files as patchcli reads them: fixed names only, hard links only, nothing that leads out of the file."""

from __future__ import annotations

import errno
import itertools
import math
import os
from collections.abc import Callable, Iterator
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt

from patchcli.errors import DamagedFile, UsageError
from patchcli.records import show
from patchcli.specs import NO_PLUGIN, PLUGGED

Array = npt.NDArray[Any]

SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
_MOST_BYTES: Final = 1 << 34
_MOST_ATTRIBUTE_BYTES: Final = 1 << 22
_CHECKSUM_BYTES: Final = 4
_FEWEST_BYTES: Final = 4096  # in a chunk of a table that has many
PIXEL_FILTERS: Final = {1: "gzip", 32000: "lzf", 32004: "lz4", 32015: "zstd"}


def load_plugins(compression: str) -> None:
    """Make lz4 and zstd known to HDF5; nothing for the others.

    Raises
    ------
    UsageError
        The package hdf5plugin is not installed.
    """
    if compression not in PLUGGED:
        return
    try:
        import hdf5plugin  # noqa: F401 - importing it registers the filters
    except ImportError:
        raise UsageError(NO_PLUGIN.format(compression)) from None


def open_file(path: bytes, *, check: Callable[[bytes], None] = lambda _: None) -> h5py.File:
    """Open for reading; tolerate file systems without locks.

    Parameters
    ----------
    path : bytes
    check : callable
        Looks at a regular file before HDF5 does, and raises DamagedFile for what HDF5 should not see.

    Raises
    ------
    FileNotFoundError
    DamagedFile
        Not HDF5, truncated, or unreadable.
    """
    shown = show(path)
    if os.path.isdir(path):
        raise DamagedFile(f"{shown}: is a folder; expected an HDF5 file")
    if not os.path.exists(path):
        raise FileNotFoundError(2, "No such file", os.fsdecode(path))
    if not os.path.isfile(path):
        raise DamagedFile(f"{shown}: not a regular file; expected an HDF5 file")
    try:
        check(path)
        try:
            return h5py.File(path, "r", rdcc_nbytes=0)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EAGAIN, errno.ENOLCK, 524):  # no locks: Lustre, DVS, some NFS
                raise
            return h5py.File(path, "r", rdcc_nbytes=0, locking=False)
    except PermissionError as error:
        raise DamagedFile(f"{shown}: {os.strerror(error.errno or 13)}") from None
    except DamagedFile:
        raise
    except Exception as error:
        with open(path, "rb") as file:
            signature = file.read(len(SIGNATURE))
        what = "not an HDF5 file" if signature != SIGNATURE else f"damaged HDF5 file ({_short(error)})"
        raise DamagedFile(f"{shown}: {what}") from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def dataset(file: h5py.File, path: str) -> h5py.Dataset:
    """A data set by a fixed name, refused when it leads out of the file or is none of our kinds."""
    shown = show(file.filename)
    try:
        return _dataset(file, path, shown)
    except DamagedFile:
        raise
    except Exception as error:  # whatever h5py makes of what HDF5 says about a broken object
        raise DamagedFile(f"{shown}: /{path} cannot be opened ({_short(error)})") from None


def _dataset(file: h5py.File, path: str, shown: str) -> h5py.Dataset:
    place: Any = file
    for part in path.split("/"):
        link = _link(place, part)
        if not isinstance(link, h5py.HardLink):
            what = "missing" if link is None else "a link, which is never followed"
            raise DamagedFile(f"{shown}: /{path} is {what}")
        place = place[part]
    if not isinstance(place, h5py.Dataset):
        raise DamagedFile(f"{shown}: /{path} is not a data set")
    properties = place.id.get_create_plist()
    if properties.get_external_count() or place.is_virtual:
        raise DamagedFile(f"{shown}: /{path} is stored outside the file, which is never followed")
    if not _is_plain(place.dtype) or place.shape is None or place.id.get_type().committed():
        raise DamagedFile(f"{shown}: /{path} has type {str(place.dtype)[:80]}, expected numbers or fixed-length text")
    if place.maxshape != place.shape:
        raise DamagedFile(f"{shown}: /{path} has a shape that may grow, which patchcli never writes")
    return place


def _link(place: Any, name: str) -> Any:
    """What a name in a group is, not followed; None where there is none."""
    return place.get(name, getlink=True) if isinstance(place, h5py.Group) else None


def _is_plain(kind: np.dtype[Any]) -> bool:
    if kind.kind == "S":
        return h5py.check_string_dtype(kind).length is not None
    return kind.kind in "iuf" and kind.isnative and kind.itemsize <= 8 and not kind.metadata


def read_table(file: h5py.File, path: str, *, checked: bool = False) -> Array:
    """A small table, checked by its checksums, into memory; with `checked`, one without them is refused.

    Raises
    ------
    DamagedFile
        Missing, of a foreign kind, larger than the file can hold, or failing its checksum.
    """
    table = dataset(file, path)
    shown = show(file.filename)
    try:
        strange = _strange_table(table, os.path.getsize(file.filename), checked)
    except Exception as error:
        strange = f"cannot be read ({_short(error)})"
    if strange:
        raise DamagedFile(f"{shown}: /{path} {strange}")
    try:
        values: Array = table[...]
    except Exception as error:
        raise DamagedFile(f"{shown}: /{path} fails its checksum ({_short(error)})") from None
    return values


def _strange_table(table: h5py.Dataset, file_bytes: int, checked: bool) -> str:
    """Why a table must not be read; empty when it may."""
    declared = int(np.prod(table.shape, dtype=object)) * table.dtype.itemsize
    if declared > min(_MOST_BYTES, file_bytes):
        return f"declares {declared:,} bytes, more than the file holds"
    filters = filters_of(table)
    if set(filters) - {h5py.h5z.FILTER_FLETCHER32} or len(filters) > 1:
        return f"has filters {filters[:8]}, expected fletcher32 alone"
    if declared and checked and not filters:
        return "is under no checksum"
    if declared and table.id.get_storage_size() < declared:
        return "is not written in full"
    if declared and filters:
        expected = int(np.prod(table.chunks, dtype=object)) * table.dtype.itemsize + _CHECKSUM_BYTES
        n_chunks = math.prod(-(-length // chunk) for length, chunk in zip(table.shape, table.chunks, strict=True))
        if expected > 2 * file_bytes or n_chunks > 16 + declared // _FEWEST_BYTES:
            return f"has {n_chunks:,} chunks of {expected:,} bytes, which patchcli never writes"
        # HDF5 takes the rest of a chunk that is too short from the memory behind it
        for start in itertools.product(*map(range, [0] * table.ndim, table.shape, table.chunks)):
            chunk = table.id.get_chunk_info_by_coord(start)
            if chunk.size != expected or chunk.filter_mask or chunk.byte_offset is None:
                return f"has a chunk of {chunk.size:,} bytes, expected {expected:,}"
    return ""


def filters_of(table: h5py.Dataset) -> list[int]:
    """Numbers of a data set's filters, in the order in which they are applied."""
    properties = table.id.get_create_plist()
    return [properties.get_filter(number)[0] for number in range(properties.get_nfilters())]


def has(file: h5py.File, path: str) -> bool:
    """Whether a fixed name is there, whatever it is; nothing is followed.

    Raises
    ------
    DamagedFile
    """
    try:
        return _link(file, path) is not None
    except Exception as error:
        raise DamagedFile(f"{show(file.filename)}: /{path} cannot be looked for ({_short(error)})") from None


def read_attributes(place: Any, shown: str) -> dict[str, Any]:
    """All attributes that patchcli could have written as plain values: text, numbers or arrays.

    Others, of variable length for one, are left out: they are those of another program, or of none.
    """
    try:
        return dict(_plain(place.attrs, shown))
    except DamagedFile:
        raise
    except Exception as error:
        raise DamagedFile(f"{shown}: attributes cannot be read ({_short(error)})") from None


def _plain(attributes: Any, shown: str) -> Iterator[tuple[str, Any]]:
    for name in attributes:
        there = attributes.get_id(name)
        if there.get_storage_size() > _MOST_ATTRIBUTE_BYTES:
            raise DamagedFile(f"{shown}: attribute {name!r:.80} is larger than patchcli writes")
        if not _is_plain(there.dtype) or there.shape is None:
            continue
        value = attributes[name]
        if isinstance(value, bytes):
            yield name, value.decode(errors="surrogateescape")
        elif isinstance(value, np.generic):
            yield name, value.item()
        else:
            yield name, value
