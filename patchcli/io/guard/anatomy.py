"""How a file is put together, looked at before HDF5 follows it: the library was not made for files from anyone.

Names follow "HDF5 File Format Specification Version 3.0".
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from patchcli.errors import DamagedFile
from patchcli.io.guard.heaps import ATTRIBUTES, LINKS, NOWHERE, Raw, Strange, dense_objects, number
from patchcli.io.h5 import SIGNATURE
from patchcli.records import show

_MOST_OBJECTS: Final = 512
_MOST_MESSAGES: Final = 512
_LINK_INFO, _LINK, _LAYOUT, _CONTINUATION, _OLD_GROUP, _ATTRIBUTE_INFO = 0x02, 0x06, 0x08, 0x10, 0x11, 0x15

_SUPERBLOCK: Final = Struct("<8sBBBBQQQQ")
_ARRAY: Final = Struct("<4sBBBBQQ")
_CHUNKED = 2
_ONE_CHUNK, _FIXED_ARRAY = 1, 3


class _Framing(NamedTuple):
    """How a version of object headers frames messages and continuations."""

    kind_bytes: int
    head_bytes: int
    mark: bytes
    tail_bytes: int


def check_structure(path: bytes) -> None:
    """Look at superblock, object headers, trees and heaps of a regular file, all that can be reached from its root.

    Raises
    ------
    DamagedFile
        They are not as HDF5 writes them for patchcli. A file that passes may still be damaged.
    OSError
    """
    shown = show(path)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.pread(fd, len(SIGNATURE), 0) != SIGNATURE:
            raise DamagedFile(f"{shown}: not an HDF5 file")
        _Structure(Raw(fd)).check()
    except Strange as error:
        raise DamagedFile(f"{shown}: damaged HDF5 file, or not made by patchcli: {error}") from None
    finally:
        os.close(fd)


class _Structure:
    """The objects of a file."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw
        self._seen: set[int] = set()

    def check(self) -> None:
        """Follow all hard links from the root."""
        head = self._raw.read(0, _SUPERBLOCK.size, "superblock")
        _, version, offsets, lengths, _, base, extension, end, root = _SUPERBLOCK.unpack(head)
        if version not in (2, 3):
            raise Strange(f"superblock of version {version}, expected 3")
        if end > self._raw.size:
            raise Strange(f"truncated: holds {self._raw.size:,} bytes, expected {end:,}")
        if (offsets, lengths, base, extension) != (8, 8, 0, NOWHERE):
            raise Strange("superblock with unusual sizes, or with an extension")
        waiting = [(root, "/")]
        while waiting:
            at, name = waiting.pop()
            if at in self._seen:
                continue
            if len(self._seen) == _MOST_OBJECTS:
                raise Strange(f"more than {_MOST_OBJECTS} objects")
            self._seen.add(at)
            waiting += [(place, f"{name.rstrip('/')}/{child}") for child, place in self._children(at, name)]

    def _children(self, at: int, name: str) -> Iterator[tuple[str, int]]:
        """Check one object's header; names and places of what it links to."""
        for kind, body in self._messages(at, name):
            if kind == _OLD_GROUP:
                raise Strange(f"{name} is a group of the format before HDF5 1.8")
            if kind == _ATTRIBUTE_INFO:
                for _ in dense_objects(self._raw, body, 2, ATTRIBUTES, name):
                    pass
            elif kind == _LINK_INFO:
                for message in dense_objects(self._raw, body, 8, LINKS, name):
                    yield from _hard_link(message, name)
            elif kind == _LINK:
                yield from _hard_link(body, name)
            elif kind == _LAYOUT:
                self._check_layout(body, name)

    def _check_layout(self, layout: bytes, name: str) -> None:
        """Check how the values of a data set are stored; of chunks, their shape and how they are found."""
        version, kind = number(layout, 0, 1), number(layout, 1, 1)
        if version not in (3, 4):
            raise Strange(f"{name} has a layout of version {version}")
        if kind != _CHUNKED:
            return
        if version == 3:  # as h5py adds tables to a file that is there
            self._check_chunk(layout, 11, number(layout, 2, 1), 4, name)
        else:
            n, width = number(layout, 3, 1), number(layout, 4, 1)
            self._check_chunk(layout, 5, n, width, name)
            self._check_index(layout, 5 + n * width, name)

    def _check_chunk(self, layout: bytes, at: int, n: int, width: int, name: str) -> None:
        shape = [number(layout, at + k * width, width) for k in range(n)]
        if n < 2 or not 1 <= width <= 8 or not 1 <= math.prod(shape) < 1 << 32:
            raise Strange(f"{name} has chunks of {shape}")

    def _check_index(self, layout: bytes, at: int, name: str) -> None:
        """One chunk, or an array of fixed length, as where shapes are fixed."""
        kind = number(layout, at, 1)
        if kind == _ONE_CHUNK:
            return
        array = number(layout, at + 2, 8)
        if kind != _FIXED_ARRAY:
            raise Strange(f"{name} has an index of chunks of type {kind}, which patchcli never writes")
        if array == NOWHERE:
            return
        head = self._raw.read(array, 24, f"index of chunks of {name}")
        signature, version, client, entry_bytes, page_bits, n, block = _ARRAY.unpack(head)
        if (signature, version, page_bits) != (b"FAHD", 0, 10) or client > 1 or entry_bytes > 20:
            raise Strange(f"{name} has an index of chunks with unusual parameters")
        if block != NOWHERE:
            self._raw.read(block, 4, f"index of chunks of {name}", n * entry_bytes)

    def _messages(self, at: int, name: str) -> Iterator[tuple[int, bytes]]:
        """All messages of an object header with their type, through all its continuations."""
        head = self._raw.read(at, 16, f"header of {name}")
        if head[:5] == b"OHDR\2":
            flags = head[5]
            start = at + 6 + 16 * bool(flags & 0x20) + 4 * bool(flags & 0x10)
            width = 1 << (flags & 3)
            first = start + width, number(self._raw.read(start, width, name), 0, width)
            shape = _Framing(1, 6 if flags & 4 else 4, b"OCHK", 4)
        elif head[:2] == b"\1\0":  # as h5py adds tables to a file that is there
            first, shape = (at + 16, number(head, 8, 4)), _Framing(2, 8, b"", 0)
        else:
            raise Strange(f"{name} has no object header")
        spans, n_messages = [first], 0
        while spans:
            chunk, position = self._raw.read(*spans.pop(0), f"header of {name}"), 0
            while position + shape.head_bytes <= len(chunk):
                kind, size = number(chunk, position, shape.kind_bytes), number(chunk, position + shape.kind_bytes, 2)
                position += shape.head_bytes
                body = chunk[position : position + size]
                position += size
                n_messages += 1
                if n_messages > _MOST_MESSAGES:
                    raise Strange(f"{name} has more than {_MOST_MESSAGES} messages in its header")
                if kind == _CONTINUATION:
                    begin, length = number(body, 0, 8), number(body, 8, 8)
                    mark = len(shape.mark)
                    if length < mark + shape.tail_bytes or self._raw.read(begin, mark, name) != shape.mark:
                        raise Strange(f"{name} has a header that goes on nowhere")
                    spans.append((begin + mark, length - mark - shape.tail_bytes))
                else:
                    yield kind, body


def _hard_link(message: bytes, group: str) -> Iterator[tuple[str, int]]:
    """Name and place that a link message leads to; nothing for links of other kinds, which are never followed."""
    if len(message) < 4 or message[0] != 1:
        raise Strange(f"a link in {group} cannot be read")
    flags, at = message[1], 2
    if flags & 8:
        if message[at] != 0:
            return
        at += 1
    at += 8 * bool(flags & 4) + bool(flags & 0x10)
    width = 1 << (flags & 3)
    length = number(message, at, width)
    name = message[at + width : at + width + length]
    yield name.decode(errors="backslashreplace"), number(message, at + width + length, 8)
