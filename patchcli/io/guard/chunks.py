"""Compressed pixels, chunk by chunk: each is looked at before it is decompressed, since its sizes may be lies."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt

from patchcli.errors import DamagedFile
from patchcli.io import h5

_MOST_CHUNK_BYTES: Final = 1 << 26
_MOST_RATIO: Final = 100  # of chunks larger than that: photos come to 10, a bomb to 1,000
_CHECKSUM_BYTES: Final = 4
_SKIPPED_CODEC: Final = 1  # the bit of a chunk that was left as it is, since it would have become larger
_LZF_SIZE_AT: Final = 2


def codec_of(pixels: h5py.Dataset, shown: str) -> str:
    """The codec of compressed pixels.

    Raises
    ------
    DamagedFile
        Unknown or several codecs, no `fletcher32` after it, or chunks that patchcli does not write.
    """
    filters, chunk = h5.filters_of(pixels), pixels.chunks
    codec = h5.PIXEL_FILTERS.get(filters[0], "") if filters else ""
    if filters[1:] != [h5py.h5z.FILTER_FLETCHER32] or not codec:
        raise DamagedFile(f"{shown}: /patches has filters {filters[:8]}, expected one known codec and fletcher32")
    chunk_bytes = math.prod(chunk) * pixels.dtype.itemsize
    patch_bytes = chunk_bytes // chunk[0]
    if chunk[1:] != pixels.shape[1:] or chunk_bytes > max(_MOST_CHUNK_BYTES, 2 * patch_bytes):
        raise DamagedFile(f"{shown}: /patches has chunks of {chunk}, which patchcli does not write")
    if codec == "lzf":
        values = pixels.id.get_create_plist().get_filter(0)[2]
        if len(values) <= _LZF_SIZE_AT or values[_LZF_SIZE_AT] != chunk_bytes:
            raise DamagedFile(f"{shown}: /patches has chunks of other sizes than its codec says")
    stored, declared = pixels.id.get_storage_size(), len(pixels) * patch_bytes
    if chunk_bytes > _MOST_CHUNK_BYTES and declared > _MOST_RATIO * stored:
        raise DamagedFile(
            f"{shown}: /patches declares {declared:,} bytes in {stored:,}: refused, as it would take all memory"
        )
    return codec


def read_chunk(pixels: h5py.Dataset, codec: str, start: int) -> npt.NDArray[Any]:
    """The patches of the chunk that begins with row `start`: (k, H, W, C).

    Raises
    ------
    ValueError
        The chunk is not of the size that it should have.
    OSError
        Its checksum fails.
    """
    rows = min(pixels.chunks[0], len(pixels) - start)
    n_bytes = math.prod(pixels.chunks) * pixels.dtype.itemsize
    place = (start, *[0] * (pixels.ndim - 1))
    chunk = pixels.id.get_chunk_info_by_coord(place)
    if chunk.byte_offset is None or chunk.size < _CHECKSUM_BYTES:
        raise ValueError("they were never written")
    if chunk.filter_mask & ~_SKIPPED_CODEC or chunk.size > n_bytes + n_bytes // 16 + 1024:
        raise ValueError(f"their chunk is of {chunk.size:,} bytes, expected at most {n_bytes:,} under a checksum")
    if chunk.filter_mask:
        if chunk.size != n_bytes + _CHECKSUM_BYTES:
            raise ValueError(f"their chunk is of {chunk.size:,} bytes, expected {n_bytes + _CHECKSUM_BYTES:,}")
    elif codec in _SIZES:
        content = pixels.id.read_direct_chunk(place)[1]
        said = _SIZES[codec](content)
        if said != n_bytes:
            raise ValueError(f"their chunk decompresses to {said:,} bytes, expected {n_bytes:,}")
    elif codec == "gzip":
        return _inflated(pixels.id.read_direct_chunk(place)[1], pixels, n_bytes)[:rows]
    patches: npt.NDArray[Any] = pixels[start : start + rows]
    return patches


def _inflated(content: bytes, pixels: h5py.Dataset, n_bytes: int) -> npt.NDArray[Any]:
    """A chunk of gzip: HDF5's own filter takes as much memory as the chunk asks for. zlib has a checksum of its own."""
    inflating = zlib.decompressobj()
    try:
        inflated = inflating.decompress(content[:-_CHECKSUM_BYTES], n_bytes + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(inflated) != n_bytes or not inflating.eof or inflating.unused_data:
        raise ValueError(f"their chunk does not decompress to {n_bytes:,} bytes")
    return np.frombuffer(inflated, pixels.dtype).reshape(pixels.chunks)


def _lz4_size(content: bytes) -> int:
    return int.from_bytes(content[:8], "big")


def _zstd_size(content: bytes) -> int:
    """The size in the header of a frame (RFC 8878); 0 where it says none, and HDF5's filter would guess."""
    if len(content) < 18 or content[:4] != b"\x28\xb5\x2f\xfd":
        return 0
    flags = content[4]
    single = flags >> 5 & 1
    width = (single, 2, 4, 8)[flags >> 6]
    start = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
    size = int.from_bytes(content[start : start + width], "little")
    return size + 256 * (width == 2)


_SIZES: Final[dict[str, Callable[[bytes], int]]] = {"lz4": _lz4_size, "zstd": _zstd_size}
