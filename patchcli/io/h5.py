"""HDF5 as patchcli writes and reads it: the only place that knows the library's rules.

Writing: HDF5 lays a file out, we write its bytes. The library works on an object that looks like a file and keeps the
few pieces that it writes, so a full disk is an ordinary error of ours and never one inside HDF5, which can end the
process. Fixed `libver`, fixed order, no times, no links, no variable-length strings: same content, same bytes, and
every byte of metadata under a checksum.

Reading: fixed names only, hard links only, and nothing that leads out of the file or promises more than it holds.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from patchcli.errors import DamagedFile, UsageError

Array = npt.NDArray[Any]

LIBVER: Final = ("v110", "v110")
ALIGNMENT: Final = 4096
_CHUNK_BYTES: Final = 1 << 18
_MOST_BYTES: Final = 1 << 34
_FILTERS: Final[dict[str, dict[str, Any]]] = {
    "none": {},
    "gzip": {"compression": "gzip", "compression_opts": 4},
    "lzf": {"compression": "lzf"},
    "lz4": {"compression": 32004, "compression_opts": (0,)},
    "zstd": {"compression": 32015, "compression_opts": (3,)},
}
_TABLE_FILTERS: Final = frozenset({h5py.h5z.FILTER_FLETCHER32})
PIXEL_FILTERS: Final = {1: "gzip", 32000: "lzf", 32004: "lz4", 32015: "zstd"}


class Pixels(NamedTuple):
    """A data set of pixels to be laid out: name, shape, dtype, attributes."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: Mapping[str, Any]


class Layout(NamedTuple):
    """Where HDF5 put things: the pixels' offset, the pieces of metadata by offset, the size of the file."""

    offset: int
    pieces: dict[int, bytes]
    n_bytes: int

    @property
    def head(self) -> bytes:
        """The bytes before the pixels."""
        return self._span(0, self.offset)

    def tail(self, start: int) -> bytes:
        """The bytes from the end of the pixels on."""
        return self._span(start, self.n_bytes)

    def _span(self, start: int, stop: int) -> bytes:
        span = bytearray(stop - start)
        for at, piece in self.pieces.items():
            low, high = max(at, start), min(at + len(piece), stop)
            if low < high:
                span[low - start : high - start] = piece[low - at : high - at]
        return bytes(span)


class Sink(io.RawIOBase):
    """What HDF5 takes for a file; what becomes of the bytes is said by `write` and `readinto`."""

    def __init__(self) -> None:
        self.position = 0
        self.size = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.size}[whence]
        return self.position

    def tell(self) -> int:
        return self.position

    def truncate(self, size: int | None = None) -> int:
        self.size = self.position if size is None else size
        return self.size

    def _advance(self, n_bytes: int) -> None:
        self.position += n_bytes
        self.size = max(self.size, self.position)


class _Pieces(Sink):
    """Keeps what is written in memory, piece by piece, gaps left out."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: dict[int, bytes] = {}

    def write(self, block: Any) -> int:
        piece = bytes(block)
        self.pieces[self.position] = piece
        self._advance(len(piece))
        return len(piece)

    def readinto(self, block: Any) -> int:
        span = Layout(0, self.pieces, 0)._span(self.position, self.position + len(block))
        block[:] = span
        self.position += len(span)
        return len(span)


def lay_out(attributes: Mapping[str, Any], pixels: Pixels | None, tables: Mapping[str, Array]) -> Layout:
    """Lay out a file with contiguous, unwritten pixels at an aligned offset.

    Parameters
    ----------
    attributes : mapping
        Of the root, in the order in which they are written.
    pixels : Pixels, optional
        Left out of an index.
    tables : mapping of str to array
        Data sets by path, in order; a path may name one group: `sources/path`. Attributes of a table are given with
        the key `sources/path@name`.
    """
    sink = _Pieces()
    # Everything is aligned, not the pixels alone: HDF5 would put small data into the gap before them, and the bytes
    # there would depend on values that are only known when the pixels are.
    interval = 1 if pixels is None else ALIGNMENT
    with h5py.File(sink, "w", libver=LIBVER, alignment_threshold=1, alignment_interval=interval) as file:
        _write_attributes(file, attributes)
        offset = 0
        if pixels is not None:
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_layout(h5py.h5d.CONTIGUOUS)
            properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            properties.set_obj_track_times(False)
            space = h5py.h5s.create_simple(pixels.shape)
            kind = h5py.h5t.py_create(pixels.dtype, logical=True)
            dataset = h5py.Dataset(h5py.h5d.create(file.id, pixels.name.encode(), kind, space, properties))
            offset = dataset.id.get_offset() or 0
            _write_attributes(dataset, pixels.attributes)
        write_tables(file, tables)
    return Layout(offset, sink.pieces, sink.size)


def create_chunked(sink: Any, attributes: Mapping[str, Any], pixels: Pixels, compression: str) -> h5py.File:
    """Open a file for compressed pixels in chunks with `fletcher32`; `write_tables` and `close` complete it."""
    load_plugins(compression)
    file = h5py.File(sink, "w", libver=LIBVER)
    _write_attributes(file, attributes)
    chunk = (chunk_rows(pixels), *pixels.shape[1:])
    dataset = file.create_dataset(
        pixels.name, pixels.shape, pixels.dtype, chunks=chunk, fletcher32=True, **_FILTERS[compression]
    )
    _write_attributes(dataset, pixels.attributes)
    return file


def chunk_rows(pixels: Pixels) -> int:
    """Patches in a chunk: about 256 KiB, since a random read decompresses a whole one."""
    row = int(np.prod(pixels.shape[1:])) * pixels.dtype.itemsize
    return max(1, min(pixels.shape[0], _CHUNK_BYTES // max(1, row)))


def load_plugins(compression: str) -> None:
    """Make lz4 and zstd known to HDF5; nothing for the others.

    Raises
    ------
    UsageError
        The package hdf5plugin is not installed.
    """
    if compression not in ("lz4", "zstd"):
        return
    try:
        import hdf5plugin  # noqa: F401 - importing it registers the filters
    except ImportError:
        raise UsageError(f"{compression} needs the package hdf5plugin: pip install 'patchcli[compression]'") from None


def write_tables(file: h5py.File, tables: Mapping[str, Array]) -> None:
    """Write small tables, chunked and checksummed, and their attributes (`path@name`), in the order given."""
    for path, values in tables.items():
        if "@" in path:
            name, attribute = path.split("@")
            _write_attributes(file[name], {attribute: values})
            continue
        group, _, name = path.rpartition("/")
        place = file.require_group(group) if group else file
        if len(values) == 0:
            place.create_dataset(name, data=values)
            continue
        row = max(1, values.itemsize * int(np.prod(values.shape[1:])))
        rows = max(1, min(len(values), _CHUNK_BYTES // row))
        place.create_dataset(name, data=values, chunks=(rows, *values.shape[1:]), fletcher32=True)


def _write_attributes(place: Any, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        fixed = np.bytes_(value.encode()) if isinstance(value, str) else value
        if isinstance(fixed, np.bytes_):
            kind = h5py.string_dtype("utf-8", max(1, len(fixed)))
            place.attrs.create(name, fixed, dtype=kind)
        else:
            place.attrs.create(name, fixed)


def names(values: list[bytes] | tuple[bytes, ...], *, text: bool = False) -> Array:
    """A fixed-length table of names: bytes, or UTF-8 as HDF5 marks it (`text`)."""
    width = max([1, *map(len, values)])
    table = np.array(values, dtype=f"S{width}") if values else np.empty(0, f"S{width}")
    return table.astype(h5py.string_dtype("utf-8", width)) if text else table


def open_file(path: bytes) -> h5py.File:
    """Open for reading; tolerate file systems without locks.

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
        try:
            return h5py.File(path, "r", rdcc_nbytes=0)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in (5, 11, 37, 524):  # no locks here: Lustre, DVS, some NFS
                raise
            return h5py.File(path, "r", rdcc_nbytes=0, locking=False)
    except PermissionError as error:
        raise DamagedFile(f"{shown}: {os.strerror(error.errno or 13)}") from None
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


def canonical_json(value: object) -> str:
    """JSON with one spelling for a value: sorted keys, no blanks, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
