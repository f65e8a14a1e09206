"""Shards: pixels written by ordinary writes, metadata laid out by HDF5, digests taken on the way."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import xxhash

from patchcli.io import h5, layout
from patchcli.io.publish import Draft
from patchcli.records import Recipe

ENCODING: Final = {"encoding-type": "patchset", "encoding-version": "1.0"}
_READ_BYTES: Final = 1 << 20


def root_attributes(role: str, recipe: Recipe, shard: int) -> dict[str, Any]:
    """Attributes of a file's root, in their fixed order; nothing about time, place or program."""
    return {
        **ENCODING,
        "role": role,
        "plan_id": recipe.plan_id,
        "shard": np.int64(shard),
        "n_shards": np.int64(recipe.n_shards),
        "settings": recipe.settings,
    }


def coords_attributes(recipe: Recipe) -> dict[str, Any]:
    """What `/coords` says about itself: names as CLAM and TRIDENT use them, a pair (x, y) where the axes differ."""
    overlap = [max(0, patch - step) for patch, step in zip(recipe.patch_size, recipe.stride, strict=True)]
    return {
        "coords@order": "x,y",
        "coords@anchor": "top-left",
        "coords@patch_size": _one_or_pair(recipe.patch_size),
        "coords@stride": _one_or_pair(recipe.stride),
        "coords@overlap": _one_or_pair(overlap),
        "coords@patch_level": np.int64(0),
    }


def _one_or_pair(values: Any) -> Any:
    first, second = values
    return np.int64(first) if first == second else np.array([first, second], np.int64)


def _pixels_of(recipe: Recipe, n_rows: int) -> layout.PixelLayout:
    """How `/patches` is laid out: attributes of the HDF5 image specification and of NeXus, and the order of axes."""
    viewers: dict[str, Any] = {"CLASS": "IMAGE", "IMAGE_VERSION": "1.2"}
    if recipe.channels == 1:
        gray = {"IMAGE_SUBCLASS": "IMAGE_GRAYSCALE", "IMAGE_WHITE_IS_ZERO": np.uint8(0)}
        viewers |= {**gray, "interpretation": "image"}
    elif recipe.channels in (3, 4):
        colour = {"IMAGE_SUBCLASS": "IMAGE_TRUECOLOR", "INTERLACE_MODE": "INTERLACE_PIXEL"}
        viewers |= {**colour, "interpretation": "rgb-image" if recipe.channels == 3 else "rgba-image"}
    return layout.PixelLayout(
        "patches", (n_rows, *recipe.patch_shape), np.dtype(recipe.dtype), {**viewers, "order": "n,y,x,c"}
    )


class PixelWriter(Protocol):
    """Takes blocks of patches in the order of their rows; `finish` completes the file within its draft."""

    def add(self, block: h5.Array) -> None:
        """Write patches (k, H, W, C), C-contiguous."""

    def finish(self, tables: Mapping[str, h5.Array]) -> tuple[int, str]:
        """Write the tables; size of the file in bytes, and its XXH3-128 as 32 hex digits."""

    def close(self) -> None:
        """Let go of everything, finished or not; before the draft goes away."""


def new_writer(
    draft: Draft, attributes: Mapping[str, Any], recipe: Recipe, n_rows: int, shapes: Mapping[str, h5.Array]
) -> PixelWriter:
    """The writer for a recipe's compression; `shapes` are the tables to come, as far as they are known."""
    pixels = _pixels_of(recipe, n_rows)
    if recipe.compression == "none" or not n_rows:
        return ContiguousWriter(draft, attributes, pixels, shapes)
    return ChunkedWriter(draft, attributes, pixels, recipe.compression)


class ContiguousWriter:
    """Uncompressed pixels at a fixed aligned offset.

    The file's digest runs along with the writes. It begins with the bytes before the pixels, which are written last but
    depend on the shapes alone, so they are foreseen by laying out a file of the same shapes; should they ever come out
    differently, the file is read once more.
    """

    def __init__(
        self, draft: Draft, attributes: Mapping[str, Any], pixels: layout.PixelLayout, shapes: Mapping[str, h5.Array]
    ) -> None:
        self._draft, self._attributes, self._pixels = draft, attributes, pixels
        foreseen = layout.lay_out(attributes, pixels, shapes)
        self._head, self._position = foreseen.head, foreseen.offset
        self._digest = xxhash.xxh3_128(self._head)

    def add(self, block: h5.Array) -> None:
        view = block.reshape(-1).view(np.uint8).data
        self._digest.update(view)
        self._draft.write(view, self._position)
        self._position += len(view)

    def finish(self, tables: Mapping[str, h5.Array]) -> tuple[int, str]:
        laid = layout.lay_out(self._attributes, self._pixels, tables)
        tail = laid.tail(self._position)
        self._draft.write(memoryview(laid.head), 0)
        if laid.head != self._head:
            self._draft.write(memoryview(tail), self._position)
            return laid.n_bytes, _digest_itself(self._draft, laid.digest_at)
        tail = layout.with_self_digest(tail, self._position, laid.digest_at, self._digest)
        self._draft.write(memoryview(tail), self._position)
        self._digest.update(tail)
        return laid.n_bytes, self._digest.hexdigest()

    def close(self) -> None:
        """Nothing is held."""


class ChunkedWriter:
    """Compressed pixels: whole chunks of some patches, through HDF5's own filters, onto our draft."""

    def __init__(
        self, draft: Draft, attributes: Mapping[str, Any], pixels: layout.PixelLayout, compression: str
    ) -> None:
        self._draft = draft
        self._sink = _DraftSink(draft)
        self._file = layout.create_chunked(self._sink, attributes, pixels, compression)
        self._dataset = self._file[pixels.name]
        rows = layout.chunk_rows(pixels)
        self._chunk = np.empty((rows, *pixels.shape[1:]), pixels.dtype)
        self._filled = self._row = 0

    def add(self, block: h5.Array) -> None:
        while len(block):
            n = min(len(block), len(self._chunk) - self._filled)
            self._chunk[self._filled : self._filled + n] = block[:n]
            self._filled += n
            block = block[n:]
            if self._filled == len(self._chunk):
                self._flush()

    def _flush(self) -> None:
        self._dataset[self._row : self._row + self._filled] = self._chunk[: self._filled]
        self._row += self._filled
        self._filled = 0
        self._sink.check()

    def finish(self, tables: Mapping[str, h5.Array]) -> tuple[int, str]:
        if self._filled:
            self._flush()
        layout.write_tables(self._file, tables)
        digest_at = layout.add_self_digest(self._file)
        self._file.close()
        self._sink.check()
        return self._sink.size, _digest_itself(self._draft, digest_at)

    def close(self) -> None:
        # HDF5 must not be left with an open file: it would write to it at exit, and crash where it cannot
        self._sink.forget()
        self._file.close()


class _DraftSink(layout.Sink):
    """Hands HDF5's writes on to a draft and never fails: the first error is kept and raised by `check`."""

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._draft = draft
        self._error: OSError | None = None
        self._forgotten = False

    def write(self, block: Any) -> int:
        piece = memoryview(block).cast("B")
        try:
            if self._error is None and not self._forgotten:
                self._draft.write(piece, self.position)
        except OSError as error:
            self._error = error
        self._advance(len(piece))
        return len(piece)

    def readinto(self, block: Any) -> int:
        piece = os.pread(self._draft.fd, len(block), self.position)
        block[: len(piece)] = piece
        block[len(piece) :] = bytes(len(block) - len(piece))
        self.position += len(block)
        return len(block)

    def forget(self) -> None:
        """Write nothing from now on."""
        self._forgotten = True

    def check(self) -> None:
        """Raise what went wrong on the way."""
        if self._error is not None:
            raise self._error


def _digest_itself(draft: Draft, digest_at: range) -> str:
    """Fill in the `/self_digest` of a file that is written but for it; the digest of the whole file."""
    stored = layout.stored_digest(file_digest(draft.fd))
    draft.write(memoryview(stored), digest_at.start)
    return file_digest(draft.fd)


def file_digest(fd: int) -> str:
    """XXH3-128 of a whole file, 32 hex digits, as `xxhsum -H2` prints it."""
    digest = xxhash.xxh3_128()
    buffer = memoryview(bytearray(_READ_BYTES))
    offset = 0
    while n := os.preadv(fd, [buffer], offset):
        digest.update(buffer[:n])
        offset += n
    return digest.hexdigest()


def digests(patches: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """XXH3-64 of each patch (k, H, W, C), C order; uint64 (k,)."""
    flat = patches.reshape(-1).view(np.uint8).data
    size = len(flat) // max(1, len(patches))
    digest = xxhash.xxh3_64_intdigest
    return np.array([digest(flat[at : at + size]) for at in range(0, len(flat), size)] if len(flat) else [], np.uint64)
