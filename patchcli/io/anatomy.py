"""How a file is put together, looked at before HDF5 follows it: the library trusts the trees and heaps of a file.

Names follow "HDF5 File Format Specification Version 3.0". Groups and objects with many attributes keep them in a tree
and a fractal heap. HDF5 writes these with fixed parameters and reads them with any: a node of no bytes ends the
process, a large one takes all memory. Here the fixed ones alone pass.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from patchcli.errors import DamagedFile
from patchcli.records import show

_NOWHERE: Final = (1 << 64) - 1
_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
_MOST_OBJECTS: Final = 512
_MOST_MESSAGES: Final = 512
_MOST_CHUNK: Final = 1 << 24
_LINK_INFO, _LINK, _LAYOUT, _CONTINUATION, _OLD_GROUP, _ATTRIBUTE_INFO = 0x02, 0x06, 0x08, 0x10, 0x11, 0x15

_SUPERBLOCK: Final = Struct("<8sBBBBQQQQ")
_TREE: Final = Struct("<4sBBIHHBBQHQ")
_HEAP: Final = Struct("<4sBHHBIQQQQQQQQQQQQHQQHHQH")
_ARRAY: Final = Struct("<4sBBBBQQ")
_NODE_BYTES: Final = 512
_ONE_CHUNK, _FIXED_ARRAY = 1, 3
_WIDTH, _LARGEST_BLOCK, _LARGEST_OBJECT = 4, 1 << 16, 4096


class _Kind(NamedTuple):
    """What HDF5 keeps in a tree and a heap, with its fixed parameters."""

    name: str
    trees: dict[int, int]  # type of the tree: bytes of a record
    id_at: dict[int, int]  # where a record has the id of its object
    id_bytes: int
    first_block: int
    offset_bytes: int


_LINKS: Final = _Kind("links", {5: 11, 6: 15}, {5: 4, 6: 8}, 7, 512, 4)
_ATTRIBUTES: Final = _Kind("attributes", {8: 17, 9: 13}, {8: 0, 9: 0}, 8, 1024, 5)
_LARGE: Final = _Kind("large attributes", {1: 24}, {}, 8, 1024, 5)


class _Framing(NamedTuple):
    """How a version of object headers frames messages and continuations."""

    kind_bytes: int
    head_bytes: int
    mark: bytes
    tail_bytes: int


class _Strange(Exception):
    """What no file of patchcli has."""


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
        if os.pread(fd, len(_SIGNATURE), 0) != _SIGNATURE:
            raise DamagedFile(f"{shown}: not an HDF5 file")
        _Structure(fd).check()
    except _Strange as error:
        raise DamagedFile(f"{shown}: damaged HDF5 file, or not made by patchcli: {error}") from None
    finally:
        os.close(fd)


class _Structure:
    """A file's bytes, and the objects that were found in it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = os.fstat(fd).st_size
        self._seen: set[int] = set()

    def check(self) -> None:
        """Follow all hard links from the root."""
        head = self._read(0, _SUPERBLOCK.size, "superblock")
        _, version, offsets, lengths, _, base, extension, end, root = _SUPERBLOCK.unpack(head)
        if version not in (2, 3):
            raise _Strange(f"superblock of version {version}, expected 3")
        if end > self._size:
            raise _Strange(f"truncated: holds {self._size:,} bytes, expected {end:,}")
        if (offsets, lengths, base, extension) != (8, 8, 0, _NOWHERE):
            raise _Strange("superblock with unusual sizes, or with an extension")
        waiting = [(root, "/")]
        while waiting:
            at, name = waiting.pop()
            if at in self._seen:
                continue
            if len(self._seen) == _MOST_OBJECTS:
                raise _Strange(f"more than {_MOST_OBJECTS} objects")
            self._seen.add(at)
            waiting += [(place, f"{name.rstrip('/')}/{child}") for child, place in self._children(at, name)]

    def _children(self, at: int, name: str) -> Iterator[tuple[str, int]]:
        """Check one object's header; names and places of what it links to."""
        for kind, body in self._messages(at, name):
            if kind == _OLD_GROUP:
                raise _Strange(f"{name} is a group of the format before HDF5 1.8")
            if kind == _ATTRIBUTE_INFO:
                for _ in self._dense(body, 2, _ATTRIBUTES, name):
                    pass
            elif kind == _LINK_INFO:
                for message in self._dense(body, 8, _LINKS, name):
                    yield from _hard_link(message, name)
            elif kind == _LINK:
                yield from _hard_link(body, name)
            elif kind == _LAYOUT and body[:2] == b"\4\2":
                self._chunk_index(body, name)

    def _chunk_index(self, layout: bytes, name: str) -> None:
        """Check how chunks are found: one of them, or an array of fixed length, as where shapes are fixed."""
        at = 5 + _number(layout, 3, 1) * _number(layout, 4, 1)
        kind = _number(layout, at, 1)
        if kind == _ONE_CHUNK:
            return
        array = _number(layout, at + 2, 8)
        if kind != _FIXED_ARRAY:
            raise _Strange(f"{name} has an index of chunks of type {kind}, which patchcli never writes")
        if array == _NOWHERE:
            return
        head = self._read(array, 24, f"index of chunks of {name}")
        signature, version, client, entry_bytes, page_bits, n, block = _ARRAY.unpack(head)
        if (signature, version, page_bits) != (b"FAHD", 0, 10) or client > 1 or entry_bytes > 20:
            raise _Strange(f"{name} has an index of chunks with unusual parameters")
        if block != _NOWHERE:
            self._read(block, 4, f"index of chunks of {name}", n * entry_bytes)

    def _messages(self, at: int, name: str) -> Iterator[tuple[int, bytes]]:
        """All messages of an object header with their type, through all its continuations."""
        head = self._read(at, 16, f"header of {name}")
        if head[:5] == b"OHDR\2":
            flags = head[5]
            start = at + 6 + 16 * bool(flags & 0x20) + 4 * bool(flags & 0x10)
            width = 1 << (flags & 3)
            first = start + width, _number(self._read(start, width, name), 0, width)
            shape = _Framing(1, 6 if flags & 4 else 4, b"OCHK", 4)
        elif head[:2] == b"\1\0":  # as h5py adds tables to a file that is there
            first, shape = (at + 16, _number(head, 8, 4)), _Framing(2, 8, b"", 0)
        else:
            raise _Strange(f"{name} has no object header")
        spans, n_messages = [first], 0
        while spans:
            chunk, position = self._read(*spans.pop(0), f"header of {name}"), 0
            while position + shape.head_bytes <= len(chunk):
                kind, size = _number(chunk, position, shape.kind_bytes), _number(chunk, position + shape.kind_bytes, 2)
                position += shape.head_bytes
                body = chunk[position : position + size]
                position += size
                n_messages += 1
                if n_messages > _MOST_MESSAGES:
                    raise _Strange(f"{name} has more than {_MOST_MESSAGES} messages in its header")
                if kind == _CONTINUATION:
                    begin, length = _number(body, 0, 8), _number(body, 8, 8)
                    mark = len(shape.mark)
                    if length < mark + shape.tail_bytes or self._read(begin, mark, name) != shape.mark:
                        raise _Strange(f"{name} has a header that goes on nowhere")
                    spans.append((begin + mark, length - mark - shape.tail_bytes))
                else:
                    yield kind, body

    def _dense(self, info: bytes, index_bytes: int, kind: _Kind, name: str) -> Iterator[bytes]:
        """Check what a link info or attribute info names; the links, or nothing of attributes."""
        if len(info) < 2:
            raise _Strange(f"{name} has a broken description of its {kind.name}")
        at = 2 + index_bytes * (info[1] & 1)
        heap, tree = _number(info, at, 8), _number(info, at + 8, 8)
        by_order = _number(info, at + 16, 8) if info[1] & 2 else _NOWHERE
        if heap == tree == by_order == _NOWHERE:
            return
        blocks = self._heap_blocks(heap, kind, name)
        for place in (tree, by_order):
            for record_kind, record in self._records(place, kind, name) if place != _NOWHERE else ():
                start = kind.id_at[record_kind]
                identity = record[start : start + kind.id_bytes]
                found = self._in_heap(identity, blocks, kind, name)
                if kind is _LINKS:
                    yield found

    def _records(self, at: int, kind: _Kind, name: str) -> Iterator[tuple[int, bytes]]:
        """The records of a tree of one node, with its type."""
        what = f"tree of {kind.name} of {name}"
        signature, version, tree, node, size, depth, split, merge, root, n, total = _TREE.unpack(
            self._read(at, _TREE.size, what)
        )
        if (signature, version, node, split, merge) != (b"BTHD", 0, _NODE_BYTES, 100, 40):
            raise _Strange(f"{what} at byte {at} is none")
        if kind.trees.get(tree) != size:
            raise _Strange(f"{what} is of type {tree} with records of {size} bytes")
        if depth or n != total or 10 + n * size > _NODE_BYTES:
            raise _Strange(f"{what} has {total} records in {depth + 1} levels, more than patchcli writes")
        if not n:
            return
        leaf = self._read(root, 6 + n * size, what)
        if leaf[:6] != b"BTLF\0" + bytes([tree]):
            raise _Strange(f"{what} has no leaf at byte {root}")
        for start in range(6, len(leaf), size):
            yield tree, leaf[start : start + size]

    def _heap_blocks(self, at: int, kind: _Kind, name: str) -> dict[int, tuple[int, int]]:
        """Check a fractal heap: its blocks by where they begin in the heap: place in the file, and size."""
        what = f"heap of {kind.name} of {name}"
        said = _HEAP.unpack(self._read(at, _HEAP.size, what))
        huge_id, huge_tree, n_huge, tiny, n_tiny = said[6], said[7], said[15], said[16], said[17]
        bits, start_rows, root, rows = said[21:]
        usual = (b"FRHP", 0, kind.id_bytes, 0, _LARGEST_OBJECT, _WIDTH, kind.first_block, _LARGEST_BLOCK)
        if (*said[:4], said[5], *said[18:21]) != usual or (bits, start_rows) != (8 * kind.offset_bytes, 1):
            raise _Strange(f"{what} at byte {at} has unusual parameters")
        if tiny or n_tiny or said[4] & ~3 or (kind is _LINKS and huge_tree != _NOWHERE):
            raise _Strange(f"{what} holds what it never holds")
        if huge_tree == _NOWHERE and (n_huge or huge_id):
            raise _Strange(f"{what} has large objects, and no tree of them")
        if huge_tree != _NOWHERE:
            for _, record in self._records(huge_tree, _LARGE, name):
                self._read(_number(record, 0, 8), 0, what, _number(record, 8, 8))
        if root == _NOWHERE:
            return {}
        places = [root] if rows == 0 else self._indirect(root, rows, at, kind, what)
        return dict(self._direct(places, at, kind, what))

    def _indirect(self, root: int, rows: int, heap: int, kind: _Kind, what: str) -> list[int]:
        """Places of the blocks that the heap's one table lists."""
        if rows > (_LARGEST_BLOCK // kind.first_block).bit_length() + 1:
            raise _Strange(f"{what} is larger than patchcli writes")
        head = 13 + kind.offset_bytes
        table = self._read(root, head + 8 * _WIDTH * rows, what)
        if table[:head] != b"FHIB\0" + heap.to_bytes(8, "little") + bytes(kind.offset_bytes):
            raise _Strange(f"{what} has no table at byte {root}")
        return [_number(table, start, 8) for start in range(head, len(table), 8)]

    def _direct(self, places: list[int], heap: int, kind: _Kind, what: str) -> Iterator[tuple[int, tuple[int, int]]]:
        offset = 0
        for number, place in enumerate(places):
            size = kind.first_block << max(0, number // _WIDTH - 1)
            if place != _NOWHERE:
                head = self._read(place, 13 + kind.offset_bytes, what, size)
                if head != b"FHDB\0" + heap.to_bytes(8, "little") + offset.to_bytes(kind.offset_bytes, "little"):
                    raise _Strange(f"{what} has no block at byte {place}")
                yield offset, (place, size)
            offset += size

    def _in_heap(self, identity: bytes, blocks: dict[int, tuple[int, int]], kind: _Kind, name: str) -> bytes:
        """The object of an id; nothing of one that is kept outside the heap."""
        if identity[0] == 0x10 and kind is _ATTRIBUTES:
            return b""
        offset = _number(identity, 1, kind.offset_bytes)
        length = _number(identity, 1 + kind.offset_bytes, 2)
        start = max((begin for begin in blocks if begin <= offset), default=0)
        place, size = blocks.get(start, (0, 0))
        if identity[0] != 0 or not length or offset - start + length > size:
            raise _Strange(f"{kind.name} of {name} lead out of their heap")
        return self._read(place + offset - start, length, name)

    def _read(self, at: int, n_bytes: int, what: str, n_there: int = 0) -> bytes:
        """Bytes of the file; `n_there` of them must be there, though they are not read."""
        if at < 0 or n_bytes > _MOST_CHUNK or at + max(n_bytes, n_there) > self._size:
            raise _Strange(f"{what} is said to be at byte {at}, beyond the file's {self._size:,}")
        return os.pread(self._fd, n_bytes, at)


def _hard_link(message: bytes, group: str) -> Iterator[tuple[str, int]]:
    """Name and place that a link message leads to; nothing for links of other kinds, which are never followed."""
    if len(message) < 4 or message[0] != 1:
        raise _Strange(f"a link in {group} cannot be read")
    flags, at = message[1], 2
    if flags & 8:
        if message[at] != 0:
            return
        at += 1
    at += 8 * bool(flags & 4) + bool(flags & 0x10)
    width = 1 << (flags & 3)
    length = _number(message, at, width)
    name = message[at + width : at + width + length]
    yield name.decode(errors="backslashreplace"), _number(message, at + width + length, 8)


def _number(content: bytes, at: int, n_bytes: int) -> int:
    """A number of some bytes, the least significant first."""
    piece = content[at : at + n_bytes]
    if len(piece) < n_bytes:
        raise _Strange("a number ends before its last byte")
    return int.from_bytes(piece, "little")
