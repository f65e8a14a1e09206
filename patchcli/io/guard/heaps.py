"""Trees and fractal heaps of an HDF5 file, looked at before HDF5 follows them.

Groups and objects with many attributes keep them there. HDF5 writes both with fixed parameters and reads them with any:
a node of no bytes ends the process, a large one takes all memory. Here the fixed ones alone pass. Names follow "HDF5
File Format Specification Version 3.0".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

NOWHERE: Final = (1 << 64) - 1
_MOST_READ: Final = 1 << 24
_MOST_IN_ALL: Final = 1 << 25
_TREE: Final = Struct("<4sBBIHHBBQHQ")
_HEAP: Final = Struct("<4sBHHBIQQQQQQQQQQQQHQQHHQH")
_NODE_BYTES: Final = 512
_WIDTH, _LARGEST_BLOCK, _LARGEST_OBJECT = 4, 1 << 16, 4096


class Strange(Exception):
    """What no file of patchcli has."""


class Raw:
    """The bytes of an open file, past HDF5."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.size = os.fstat(fd).st_size
        self._left = _MOST_IN_ALL

    def read(self, at: int, n_bytes: int, what: str, n_there: int = 0) -> bytes:
        """Bytes of the file; `n_there` of them must be there, though they are not read."""
        if at < 0 or n_bytes > _MOST_READ or at + max(n_bytes, n_there) > self.size:
            raise Strange(f"{what} is said to be at byte {at}, beyond the file's {self.size:,}")
        self._left -= n_bytes
        if self._left < 0:  # the same place may be named many times
            raise Strange(f"more than {_MOST_IN_ALL:,} bytes say how it is put together")
        content = os.pread(self._fd, n_bytes, at)
        if len(content) < n_bytes:
            raise Strange(f"{what} ends before its last byte")
        return content


def number(content: bytes, at: int, n_bytes: int) -> int:
    """A number of some bytes, the least significant first."""
    piece = content[at : at + n_bytes]
    if len(piece) < n_bytes:
        raise Strange("a number ends before its last byte")
    return int.from_bytes(piece, "little")


class Kind(NamedTuple):
    """What HDF5 keeps in a tree and a heap, with its fixed parameters."""

    name: str
    trees: dict[int, int]  # type of the tree: bytes of a record
    id_at: dict[int, int]  # where a record has the id of its object
    id_bytes: int
    first_block: int
    offset_bytes: int


LINKS: Final = Kind("links", {5: 11, 6: 15}, {5: 4, 6: 8}, 7, 512, 4)
ATTRIBUTES: Final = Kind("attributes", {8: 17, 9: 13}, {8: 0, 9: 0}, 8, 1024, 5)
_LARGE: Final = Kind("large attributes", {1: 24}, {}, 8, 1024, 5)


def dense_objects(raw: Raw, info: bytes, index_bytes: int, kind: Kind, name: str) -> Iterator[bytes]:
    """Check what a link info or attribute info names; the links, or nothing of attributes."""
    if len(info) < 2:
        raise Strange(f"{name} has a broken description of its {kind.name}")
    at = 2 + index_bytes * (info[1] & 1)
    heap, tree = number(info, at, 8), number(info, at + 8, 8)
    by_order = number(info, at + 16, 8) if info[1] & 2 else NOWHERE
    if heap == tree == by_order == NOWHERE:
        return
    blocks = _heap_blocks(raw, heap, kind, name)
    for place in (tree, by_order):
        for record_kind, record in _records(raw, place, kind, name) if place != NOWHERE else ():
            start = kind.id_at[record_kind]
            identity = record[start : start + kind.id_bytes]
            found = _in_heap(raw, identity, blocks, kind, name)
            if kind is LINKS:
                yield found


def _records(raw: Raw, at: int, kind: Kind, name: str) -> Iterator[tuple[int, bytes]]:
    """The records of a tree of one node, with its type."""
    what = f"tree of {kind.name} of {name}"
    signature, version, tree, node, size, depth, split, merge, root, n, total = _TREE.unpack(
        raw.read(at, _TREE.size, what)
    )
    if (signature, version, node, split, merge) != (b"BTHD", 0, _NODE_BYTES, 100, 40):
        raise Strange(f"{what} at byte {at} is none")
    if kind.trees.get(tree) != size:
        raise Strange(f"{what} is of type {tree} with records of {size} bytes")
    if depth or n != total or 10 + n * size > _NODE_BYTES:
        raise Strange(f"{what} has {total} records in {depth + 1} levels, more than patchcli writes")
    if not n:
        return
    leaf = raw.read(root, 6 + n * size, what)
    if leaf[:6] != b"BTLF\0" + bytes([tree]):
        raise Strange(f"{what} has no leaf at byte {root}")
    for start in range(6, len(leaf), size):
        yield tree, leaf[start : start + size]


def _heap_blocks(raw: Raw, at: int, kind: Kind, name: str) -> dict[int, tuple[int, int]]:
    """Check a fractal heap: its blocks by where they begin in the heap: place in the file, and size."""
    what = f"heap of {kind.name} of {name}"
    said = _HEAP.unpack(raw.read(at, _HEAP.size, what))
    huge_id, huge_tree, n_huge, tiny, n_tiny = said[6], said[7], said[15], said[16], said[17]
    bits, start_rows, root, rows = said[21:]
    usual = (b"FRHP", 0, kind.id_bytes, 0, _LARGEST_OBJECT, _WIDTH, kind.first_block, _LARGEST_BLOCK)
    if (*said[:4], said[5], *said[18:21]) != usual or (bits, start_rows) != (8 * kind.offset_bytes, 1):
        raise Strange(f"{what} at byte {at} has unusual parameters")
    if tiny or n_tiny or said[4] & ~3 or (kind is LINKS and huge_tree != NOWHERE):
        raise Strange(f"{what} holds what it never holds")
    if huge_tree == NOWHERE and (n_huge or huge_id):
        raise Strange(f"{what} has large objects, and no tree of them")
    if huge_tree != NOWHERE:
        for _, record in _records(raw, huge_tree, _LARGE, name):
            raw.read(number(record, 0, 8), 0, what, number(record, 8, 8))
    if root == NOWHERE:
        return {}
    places = [root] if rows == 0 else _indirect(raw, root, rows, at, kind, what)
    return dict(_direct(raw, places, at, kind, what))


def _indirect(raw: Raw, root: int, rows: int, heap: int, kind: Kind, what: str) -> list[int]:
    """Places of the blocks that the heap's one table lists."""
    if rows > (_LARGEST_BLOCK // kind.first_block).bit_length() + 1:
        raise Strange(f"{what} is larger than patchcli writes")
    head = 13 + kind.offset_bytes
    table = raw.read(root, head + 8 * _WIDTH * rows, what)
    if table[:head] != b"FHIB\0" + heap.to_bytes(8, "little") + bytes(kind.offset_bytes):
        raise Strange(f"{what} has no table at byte {root}")
    return [number(table, start, 8) for start in range(head, len(table), 8)]


def _direct(raw: Raw, places: list[int], heap: int, kind: Kind, what: str) -> Iterator[tuple[int, tuple[int, int]]]:
    offset = 0
    for row, place in enumerate(places):
        size = kind.first_block << max(0, row // _WIDTH - 1)
        if place != NOWHERE:
            head = raw.read(place, 13 + kind.offset_bytes, what, size)
            if head != b"FHDB\0" + heap.to_bytes(8, "little") + offset.to_bytes(kind.offset_bytes, "little"):
                raise Strange(f"{what} has no block at byte {place}")
            yield offset, (place, size)
        offset += size


def _in_heap(raw: Raw, identity: bytes, blocks: dict[int, tuple[int, int]], kind: Kind, name: str) -> bytes:
    """The object of an id; nothing of one that is kept outside the heap."""
    if identity[0] == 0x10 and kind is ATTRIBUTES:
        return b""
    offset = number(identity, 1, kind.offset_bytes)
    length = number(identity, 1 + kind.offset_bytes, 2)
    start = max((begin for begin in blocks if begin <= offset), default=0)
    place, size = blocks.get(start, (0, 0))
    if identity[0] != 0 or not length or offset - start + length > size:
        raise Strange(f"{kind.name} of {name} lead out of their heap")
    return raw.read(place + offset - start, length, name)
