"""HDF5 files as patchcli writes them: HDF5 lays them out, we write their bytes.

The library works on an object that looks like a file and keeps the few pieces that it writes, so a full disk is an
ordinary error of ours and never one inside HDF5, which can end the process. Fixed `libver`, fixed order, no times, no
links, no variable-length strings: same content, same bytes, and every byte of metadata under a checksum.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import h5py
import numpy as np

from patchcli.io.h5 import Array, load_plugins

SELF_DIGEST: Final = "self_digest"
"""Table with the XXH3-128 of its own file, 32 hex digits: taken with the bytes that HDF5 stores for it as zeros.

Checksums of HDF5 leave out padding and gaps; this leaves out nothing.
"""
ALIGNMENT: Final = 4096
_CHUNK_BYTES: Final = 1 << 18
_FILTERS: Final[dict[str, dict[str, Any]]] = {
    "gzip": {"compression": "gzip", "compression_opts": 4},
    "lzf": {"compression": "lzf"},
    "lz4": {"compression": 32004, "compression_opts": (0,)},
    "zstd": {"compression": 32015, "compression_opts": (3,)},
}


class PixelLayout(NamedTuple):
    """A data set of pixels to be laid out: name, shape, dtype, attributes."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: Mapping[str, Any]


class Layout(NamedTuple):
    """Where HDF5 put things: the pixels' offset, the pieces by offset, the size of the file, and its digest's bytes."""

    offset: int
    pieces: dict[int, bytes]
    n_bytes: int
    digest_at: range

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
        span = Layout(0, self.pieces, 0, range(0))._span(self.position, self.position + len(block))
        block[:] = span
        self.position += len(span)
        return len(span)


def lay_out(attributes: Mapping[str, Any], pixels: PixelLayout | None, tables: Mapping[str, Array]) -> Layout:
    """Lay out a file with contiguous, unwritten pixels at an aligned offset.

    Parameters
    ----------
    attributes : mapping
        Of the root, in the order in which they are written.
    pixels : PixelLayout, optional
        Left out of an index.
    tables : mapping of str to array
        Data sets by path, in order; a path may name one group: `sources/path`. Attributes of a table are given with
        the key `sources/path@name`.
    """
    sink = _Pieces()
    # Everything is aligned, not the pixels alone: HDF5 would put small data into the gap before them, and the bytes
    # there would depend on values that are only known when the pixels are.
    interval = 1 if pixels is None else ALIGNMENT
    with _new_file(sink, interval) as file:
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
        digest_at = add_self_digest(file)
    return Layout(offset, sink.pieces, sink.size, digest_at)


def create_chunked(sink: Any, attributes: Mapping[str, Any], pixels: PixelLayout, compression: str) -> h5py.File:
    """Open a file for compressed pixels in chunks with `fletcher32`.

    `write_tables`, `add_self_digest` and `close` complete it.
    """
    load_plugins(compression)
    file = _new_file(sink, 1)
    _write_attributes(file, attributes)
    chunk = (chunk_rows(pixels), *pixels.shape[1:])
    dataset = file.create_dataset(
        pixels.name, pixels.shape, pixels.dtype, chunks=chunk, fletcher32=True, **_FILTERS[compression]
    )
    _write_attributes(dataset, pixels.attributes)
    return file


def chunk_rows(pixels: PixelLayout) -> int:
    """Patches in a chunk: about 256 KiB, since a random read decompresses a whole one."""
    row = int(np.prod(pixels.shape[1:])) * pixels.dtype.itemsize
    return max(1, min(pixels.shape[0], _CHUNK_BYTES // max(1, row)))


def write_tables(file: h5py.File, tables: Mapping[str, Array]) -> None:
    """Write small tables, chunked and checksummed, and their attributes (`path@name`), in the order given."""
    for path, values in tables.items():
        if "@" in path:
            name, attribute = path.split("@")
            _write_attributes(file[name], {attribute: values})
            continue
        group, _, name = path.rpartition("/")
        place = _group(file, group) if group else file
        if len(values) == 0:  # HDF5 makes no chunks of nothing, and there is nothing to check
            place.create_dataset(name, data=values)
            continue
        row = max(1, values.itemsize * int(np.prod(values.shape[1:])))
        rows = max(1, min(len(values), _CHUNK_BYTES // row))
        place.create_dataset(name, data=values, chunks=(rows, *values.shape[1:]), fletcher32=True)


def _new_file(sink: Any, alignment: int) -> h5py.File:
    """An empty file, without the times that HDF5 before 2.0 puts into the root."""
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    creation.set_obj_track_times(False)
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    if alignment > 1:
        access.set_alignment(1, alignment)
    access.set_fileobj_driver(h5py.h5fd.fileobj_driver, sink)
    return h5py.File(h5py.h5f.create(repr(sink).encode(), h5py.h5f.ACC_TRUNC, creation, access))


def _group(file: h5py.File, name: str) -> h5py.Group:
    """A group, made when it is not there: without times, too."""
    if name not in file:
        creation = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
        creation.set_obj_track_times(False)
        h5py.h5g.create(file.id, name.encode(), None, creation)
    return file[name]


def add_self_digest(file: h5py.File) -> range:
    """Add the last table, still of zeros: where its bytes are in the file, to be replaced by `stored_digest`."""
    table = _digest_table(file, "")
    return self_digest_at(table)


def self_digest_at(table: h5py.Dataset) -> range:
    """Where the bytes of `/self_digest` are in its file."""
    table.file.flush()
    chunk = table.id.get_chunk_info(0)
    return range(chunk.byte_offset, chunk.byte_offset + chunk.size)


def stored_digest(digits: str) -> bytes:
    """What HDF5 stores for a digest of 32 hex digits: these, and their checksum."""
    with _new_file(_Pieces(), 1) as file:
        table = _digest_table(file, digits)
        file.flush()
        return bytes(table.id.read_direct_chunk((0,))[1])


def with_self_digest(laid: bytes, start: int, digest_at: range, before: Any) -> bytes:
    """The last bytes of a file, from `start` on, with `/self_digest` filled in.

    Parameters
    ----------
    laid : bytes
        As laid out, the digest's bytes still zeros.
    before : xxhash.xxh3_128
        State after all bytes before `start`; it is not changed.
    """
    state = before.copy()
    state.update(laid)
    low, high = digest_at.start - start, digest_at.stop - start
    return laid[:low] + stored_digest(state.hexdigest()) + laid[high:]


def _digest_table(file: h5py.File, digits: str) -> h5py.Dataset:
    return file.create_dataset(SELF_DIGEST, data=np.array([digits.encode()], "S32"), chunks=(1,), fletcher32=True)


def _write_attributes(place: Any, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        fixed = np.bytes_(value.encode()) if isinstance(value, str) else value
        if isinstance(fixed, np.bytes_):
            kind = h5py.string_dtype("utf-8", max(1, len(fixed)))
            place.attrs.create(name, fixed, dtype=kind)
        else:
            place.attrs.create(name, fixed)


def names_table(values: list[bytes] | tuple[bytes, ...]) -> Array:
    """A fixed-length table of names: their bytes as they are, marked as UTF-8, which is what viewers take them for."""
    width = max([1, *map(len, values)])
    table = np.array(values, dtype=f"S{width}") if values else np.empty(0, f"S{width}")
    return table.astype(h5py.string_dtype("utf-8", width))
