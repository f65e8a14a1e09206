"""HDF5 files as patchcli reads them: fixed names only, hard links only, nothing that leads out of the file."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt

from patchcli.errors import DamagedFile, UsageError
from patchcli.specs import NO_PLUGIN, PLUGGED

Array = npt.NDArray[Any]

_MOST_BYTES: Final = 1 << 34
_TABLE_FILTERS: Final = frozenset({h5py.h5z.FILTER_FLETCHER32})
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
    shown = os.fsdecode(path)
    if os.path.isdir(path):
        raise DamagedFile(f"{shown}: is a folder; expected an HDF5 file")
    if not os.path.exists(path):
        raise FileNotFoundError(2, "No such file", shown)
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
            signature = file.read(8)
        what = "not an HDF5 file" if signature != b"\x89HDF\r\n\x1a\n" else f"damaged HDF5 file ({_short(error)})"
        raise DamagedFile(f"{shown}: {what}") from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def dataset(file: h5py.File, path: str) -> h5py.Dataset:
    """A data set by a fixed name, refused when it leads out of the file or is none of our kinds."""
    shown = os.fsdecode(file.filename)
    try:
        return _dataset(file, path, shown)
    except (KeyError, OSError, RuntimeError, ValueError, TypeError) as error:
        raise DamagedFile(f"{shown}: /{path} cannot be opened ({_short(error)})") from None


def _dataset(file: h5py.File, path: str, shown: str) -> h5py.Dataset:
    place: Any = file
    for part in path.split("/"):
        link = place.get(part, getlink=True) if isinstance(place, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            what = "missing" if link is None else "a link, which is never followed"
            raise DamagedFile(f"{shown}: /{path} is {what}")
        place = place[part]
    if not isinstance(place, h5py.Dataset):
        raise DamagedFile(f"{shown}: /{path} is not a data set")
    properties = place.id.get_create_plist()
    if properties.get_external_count() or place.is_virtual:
        raise DamagedFile(f"{shown}: /{path} is stored outside the file, which is never followed")
    if place.dtype.kind not in "iufS" or place.shape is None:
        raise DamagedFile(f"{shown}: /{path} has type {place.dtype}, expected numbers or fixed-length text")
    return place


def read_table(file: h5py.File, path: str) -> Array:
    """A small table, checked by its checksums, into memory.

    Raises
    ------
    DamagedFile
        Missing, of a foreign kind, larger than the file can hold, or failing its checksum.
    """
    table = dataset(file, path)
    shown = os.fsdecode(file.filename)
    declared = int(np.prod(table.shape, dtype=object)) * table.dtype.itemsize
    if declared > min(_MOST_BYTES, os.path.getsize(file.filename)):
        raise DamagedFile(f"{shown}: /{path} declares {declared:,} bytes, more than the file holds")
    properties = table.id.get_create_plist()
    filters = {properties.get_filter(i)[0] for i in range(properties.get_nfilters())}
    if filters - _TABLE_FILTERS:
        raise DamagedFile(f"{shown}: /{path} has filters {sorted(filters)}, expected fletcher32 alone")
    if declared and table.id.get_storage_size() < declared:
        raise DamagedFile(f"{shown}: /{path} is not written in full")
    try:
        values: Array = table[...]
    except Exception as error:
        raise DamagedFile(f"{shown}: /{path} fails its checksum ({_short(error)})") from None
    return values


def has(file: h5py.File, path: str) -> bool:
    """Whether a fixed name is there."""
    return path in file


def read_attributes(place: Any, shown: str) -> dict[str, Any]:
    """All attributes as plain values: text, numbers or arrays."""
    try:
        return dict(_plain(place.attrs))
    except Exception as error:
        raise DamagedFile(f"{shown}: attributes cannot be read ({_short(error)})") from None


def _plain(attributes: Any) -> Iterator[tuple[str, Any]]:
    for name, value in attributes.items():
        if isinstance(value, bytes):
            yield name, value.decode(errors="surrogateescape")
        elif isinstance(value, np.generic):
            yield name, value.item()
        else:
            yield name, value
