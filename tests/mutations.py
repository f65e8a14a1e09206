"""Mutations of HDF5 files: blind ones, and clever ones that leave every checksum of HDF5 right.

A mutation is a function of a file's bytes and a number, so that a failure can be made again from its number alone.
"""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import h5py
import numpy as np

SUPERBLOCK: Final = b"\x89HDF\r\n\x1a\n"
_MASK: Final = 0xFFFFFFFF
_UNDEFINED: Final = (1 << 64) - 1
_VALUES: Final = (0, 1, 2, 3, 4, 7, 8, 16, 127, 128, 255, 256, 1000, 4096, 32767, 32768, 65535, 65536)
_VALUES_WIDE: Final = (
    *_VALUES,
    *((1 << bits) + more for bits in (20, 24, 30, 31, 32, 33, 40, 48, 62, 63) for more in (-1, 0, 1)),
    _UNDEFINED - 1,
    _UNDEFINED,
)


# --- checksums of HDF5


def lookup3(key: bytes, initial: int = 0) -> int:
    """Bob Jenkins' `hashlittle`, the checksum of HDF5's metadata; a number of 32 bits."""
    length = len(key)
    a = b = c = (0xDEADBEEF + length + initial) & _MASK
    n_blocks = max(0, (length - 1) // 12)
    words = struct.unpack_from(f"<{3 * n_blocks}I", key)
    for at in range(0, 3 * n_blocks, 3):
        a, b, c = (a + words[at]) & _MASK, (b + words[at + 1]) & _MASK, (c + words[at + 2]) & _MASK
        a = (a - c) & _MASK ^ _turned(c, 4)
        c = (c + b) & _MASK
        b = (b - a) & _MASK ^ _turned(a, 6)
        a = (a + c) & _MASK
        c = (c - b) & _MASK ^ _turned(b, 8)
        b = (b + a) & _MASK
        a = (a - c) & _MASK ^ _turned(c, 16)
        c = (c + b) & _MASK
        b = (b - a) & _MASK ^ _turned(a, 19)
        a = (a + c) & _MASK
        c = (c - b) & _MASK ^ _turned(b, 4)
        b = (b + a) & _MASK
    if not length:
        return c
    more = struct.unpack("<3I", key[12 * n_blocks :].ljust(12, b"\0"))
    a, b, c = (a + more[0]) & _MASK, (b + more[1]) & _MASK, (c + more[2]) & _MASK
    c = ((c ^ b) - _turned(b, 14)) & _MASK
    a = ((a ^ c) - _turned(c, 11)) & _MASK
    b = ((b ^ a) - _turned(a, 25)) & _MASK
    c = ((c ^ b) - _turned(b, 16)) & _MASK
    a = ((a ^ c) - _turned(c, 4)) & _MASK
    b = ((b ^ a) - _turned(a, 14)) & _MASK
    result: int = ((c ^ b) - _turned(b, 24)) & _MASK
    return result


def _turned(value: int, bits: int) -> int:
    return (value << bits | value >> (32 - bits)) & _MASK


def fletcher32(content: bytes) -> int:
    """The checksum of the filter `fletcher32`: of 16-bit words, most significant byte first; a number of 32 bits."""
    words = np.frombuffer(content.ljust(len(content) + len(content) % 2, b"\0"), ">u2").astype(np.uint64)
    low = high = 0
    for start in range(0, len(words), 360):
        some = words[start : start + 360]
        sums = np.cumsum(some) + np.uint64(low)
        high = _folded(high + int(sums.sum()))
        low = _folded(int(sums[-1]))
    return high << 16 | low


def _folded(value: int) -> int:
    while value >> 16:
        value = (value & 0xFFFF) + (value >> 16)
    return value


class Block(NamedTuple):
    """A piece of metadata under a checksum: where it begins and ends, and where its checksum stands in it."""

    start: int
    stop: int
    checksum: int

    def right(self, content: bytes | bytearray) -> bytes:
        """The checksum that belongs there."""
        piece = bytearray(content[self.start : self.stop])
        at = self.checksum - self.start
        if self.checksum + 4 == self.stop:
            piece = piece[:at]
        else:
            piece[at : at + 4] = bytes(4)  # of fractal heaps, which cover what follows too
        return lookup3(bytes(piece)).to_bytes(4, "little")

    def mend(self, content: bytearray) -> None:
        """Make the checksum right again."""
        content[self.checksum : self.checksum + 4] = self.right(content)


def checked_blocks(content: bytes) -> tuple[Block, ...]:
    """All metadata of a file that is under a checksum of its own, by its place."""
    found = {}
    for signature, measure in _MEASURES.items():
        at = content.find(signature)
        while at >= 0:
            for block in measure(content, at):
                if block.stop <= len(content) and content[block.checksum : block.checksum + 4] == block.right(content):
                    found[block.start] = block
            at = content.find(signature, at + 1)
    return tuple(found[start] for start in sorted(found))


def _whole(start: int, n_bytes: int) -> Block:
    return Block(start, start + n_bytes, start + n_bytes - 4)


def _superblock(content: bytes, at: int) -> Iterator[Block]:
    if content[at + 8] in (2, 3):
        yield _whole(at, 48)


def _object_header(content: bytes, at: int) -> Iterator[Block]:
    """A header of version 2, and the continuations that its messages name."""
    flags = content[at + 5]
    head = 6 + 16 * bool(flags & 0x20) + 4 * bool(flags & 0x10)
    width = 1 << (flags & 3)
    n_bytes = int.from_bytes(content[at + head : at + head + width], "little")
    if n_bytes > len(content):
        return
    block = _whole(at, head + width + n_bytes + 4)
    yield block
    waiting = [(at + head + width, block.checksum)]
    while waiting and len(waiting) < 100:
        position, end = waiting.pop()
        while position + 4 <= end:
            kind, size = content[position], int.from_bytes(content[position + 1 : position + 3], "little")
            body = position + 4 + 2 * bool(flags & 4)
            if kind == 0x10 and size >= 16 and body + 16 <= len(content):
                start, length = struct.unpack_from("<QQ", content, body)
                if length >= 8 and start + length <= len(content):
                    yield _whole(start, length)
                    waiting.append((start + 4, start + length - 4))
            position = body + size


def _fixed_array(content: bytes, at: int) -> Iterator[Block]:
    """The header of an index of chunks, and its data block with all pages."""
    yield _whole(at, 28)
    size, page_bits = content[at + 6], content[at + 7]
    n, block_at = struct.unpack_from("<QQ", content, at + 8)
    if block_at >= len(content) or n > len(content):
        return
    per_page = 1 << page_bits
    if n <= per_page:
        yield _whole(block_at, 14 + n * size + 4)
        return
    n_pages = -(-n // per_page)
    head = 14 + -(-n_pages // 8) + 4
    yield _whole(block_at, head)
    position = block_at + head
    for page in range(n_pages):
        n_bytes = min(per_page, n - page * per_page) * size + 4
        yield _whole(position, n_bytes)
        position += n_bytes


def _heap_block(content: bytes, at: int) -> Iterator[Block]:
    """A direct block of a fractal heap, whose header says how large it may be."""
    head_at = int.from_bytes(content[at + 5 : at + 13], "little")
    if content[head_at : head_at + 4] != b"FRHP":
        return
    _, start_bytes, most_bytes, bits = struct.unpack_from("<HQQH", content, head_at + 110)
    n_bytes = start_bytes
    while n_bytes <= most_bytes and n_bytes <= len(content):
        yield Block(at, at + n_bytes, at + 13 + (bits + 7) // 8)
        n_bytes *= 2


def _indirect_block(content: bytes, at: int) -> Iterator[Block]:
    head_at = int.from_bytes(content[at + 5 : at + 13], "little")
    if content[head_at : head_at + 4] != b"FRHP":
        return
    width, _, _, bits = struct.unpack_from("<HQQH", content, head_at + 110)
    for rows in range(1, 20):
        yield _whole(at, 13 + (bits + 7) // 8 + rows * width * 8 + 4)


def _tree_node(content: bytes, at: int) -> Iterator[Block]:
    """A node of a B-tree of version 2: how many records it has is said elsewhere, so all numbers are tried."""
    header = next((k for k in _finds(content, b"BTHD") if content[k + 5] == content[at + 5]), None)
    if header is None:
        return
    for tree in _finds(content, b"BTHD"):
        size = int.from_bytes(content[tree + 10 : tree + 12], "little")
        if content[tree + 5] == content[at + 5]:
            for n in range(60):
                yield _whole(at, 6 + n * size + 4)


def _finds(content: bytes, signature: bytes) -> Iterator[int]:
    at = content.find(signature)
    while at >= 0:
        yield at
        at = content.find(signature, at + 1)


_MEASURES: Final[dict[bytes, Callable[[bytes, int], Iterator[Block]]]] = {
    SUPERBLOCK: _superblock,
    b"OHDR": _object_header,
    b"FAHD": _fixed_array,
    b"FRHP": lambda _, at: iter([_whole(at, 146)]),
    b"FHDB": _heap_block,
    b"FHIB": _indirect_block,
    b"BTHD": lambda _, at: iter([_whole(at, 38)]),
    b"BTLF": _tree_node,
    b"BTIN": _tree_node,
    b"EAHD": lambda _, at: iter([_whole(at, 72)]),
}


# --- mutations


@dataclass(frozen=True)
class Subject:
    """A file to be mutated: its bytes, its metadata under checksums, all places of metadata, values under checksums."""

    name: str
    content: bytes
    blocks: tuple[Block, ...]
    places: tuple[tuple[int, int], ...]
    chunks: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, name: str, content: bytes) -> Subject:
        """Look at a file once, before it is mutated many times."""
        blocks = checked_blocks(content)
        places = [(block.start, block.stop) for block in blocks]
        places += [
            (at, min(at + 512, len(content)))
            for signature in (SUPERBLOCK, b"TREE", b"SNOD", b"HEAP", b"GCOL")
            for at in _finds(content, signature)
        ]
        if not blocks:  # of the old format, whose headers have no signature
            places += [(at, min(at + 64, len(content))) for at in range(0, min(len(content), 8192), 64)]
        return cls(name, content, blocks, tuple(sorted(places)), _checked_chunks(content))


def _checked_chunks(content: bytes) -> tuple[tuple[int, int], ...]:
    """Where chunks of values begin and end that have their `fletcher32` as the last four bytes."""
    found: list[tuple[int, int]] = []

    def visit(_: str, place: object) -> None:
        if isinstance(place, h5py.Dataset) and place.fletcher32:
            chunks = [place.id.get_chunk_info(k) for k in range(place.id.get_num_chunks())]
            found.extend((chunk.byte_offset, chunk.byte_offset + chunk.size) for chunk in chunks)

    with h5py.File(io.BytesIO(content)) as file:
        file.visititems(visit)
    return tuple(found)


def mutated(subject: Subject, number: int, others: Sequence[Subject]) -> tuple[bytes, str]:
    """The mutation of that number: bytes, and what was done in a few words."""
    draw = random.Random(f"{subject.name} {number}")
    content = bytearray(subject.content)
    kind = draw.random()
    if subject.blocks and kind < 0.4:
        said = _clever(content, subject, draw)
    elif subject.chunks and kind < 0.6:
        said = _clever_values(content, subject, draw)
    else:
        mutate = draw.choice(_BLIND)
        said = f"{mutate.__name__.strip('_')} {mutate(content, subject, draw, others)}"
    return bytes(content), f"{subject.name} {number}: {said}"


def _clever(content: bytearray, subject: Subject, draw: random.Random) -> str:
    """Change some fields within metadata, and make the checksums right."""
    said = []
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        block = draw.choice(subject.blocks)
        low, high = block.start + 4, block.checksum
        if high <= low:
            continue
        at = draw.randrange(low, high)
        kind = draw.randrange(6)
        if kind == 0:
            content[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            content[at] = draw.choice((0, 1, 2, 3, 4, 5, 8, 16, 17, 64, 127, 128, 254, 255, draw.randrange(256)))
        elif kind == 2:
            width = draw.choice((2, 4, 8))
            value = draw.choice(_VALUES_WIDE) & ((1 << 8 * width) - 1)
            _put(content, at, high, value.to_bytes(width, "little"))
        elif kind == 3:  # the place of another object, or a place within it: rings, and what is not what it should be
            other = draw.choice(subject.blocks)
            _put(content, at, high, (other.start + draw.choice((0, 0, 0, 1, 4, 8))).to_bytes(8, "little"))
        elif kind == 4:
            n = draw.randrange(1, min(64, high - at) + 1)
            other = draw.choice(subject.blocks)
            piece = content[other.start + 4 : other.checksum][: n + draw.randrange(40)][-n:]
            _put(content, at, high, bytes(piece))
        else:
            n = draw.randrange(1, min(16, high - at) + 1)
            _put(content, at, high, draw.choice((bytes(n), b"\xff" * n, draw.randbytes(n))))
        block.mend(content)
        said.append(f"{bytes(subject.content[block.start : block.start + 4])!r}+{at - block.start}")
    return f"clever {', '.join(said)}"


def _clever_values(content: bytearray, subject: Subject, draw: random.Random) -> str:
    """Change values of a table, or compressed pixels, and make their checksum right."""
    start, stop = draw.choice(subject.chunks)
    end = stop - 4
    for _ in range(draw.choice((1, 1, 2, 8))):
        at = draw.randrange(start, end)
        if draw.random() < 0.3:
            content[at] ^= 1 << draw.randrange(8)
        elif draw.random() < 0.5:
            width = draw.choice((4, 8))
            at -= (at - start) % width
            value = draw.choice(_VALUES_WIDE) & ((1 << 8 * width) - 1)
            _put(content, at, end, value.to_bytes(width, "little"))
        else:
            piece = draw.choice((bytes(64), b"\xff" * 64, b"\x1b[2J\n../", bytes(content[start:end])))
            _put(content, at, end, piece[: draw.randrange(1, 65)])
    content[end:stop] = fletcher32(bytes(content[start:end])).to_bytes(4, "little")
    return f"values of {start} to {stop}"


def _put(content: bytearray, at: int, end: int, piece: bytes) -> None:
    piece = piece[: max(0, end - at)]
    content[at : at + len(piece)] = piece


def _somewhere(content: bytearray, subject: Subject, draw: random.Random) -> int:
    """A place: of metadata two times in three."""
    if subject.places and draw.random() < 0.67:
        start, stop = draw.choice(subject.places)
        return min(draw.randrange(start, max(start + 1, stop)), len(content) - 1)
    return draw.randrange(len(content))


def _flips(content: bytearray, subject: Subject, draw: random.Random, others: Sequence[Subject]) -> str:
    places = [_somewhere(content, subject, draw) for _ in range(draw.choice((1, 1, 2, 8, 64)))]
    for at in places:
        content[at] ^= 1 << draw.randrange(8)
    return str(places[:4])


def _values(content: bytearray, subject: Subject, draw: random.Random, others: Sequence[Subject]) -> str:
    at, width = _somewhere(content, subject, draw), draw.choice((1, 2, 4, 8))
    value = draw.choice(_VALUES_WIDE) & ((1 << 8 * width) - 1)
    _put(content, at, len(content), value.to_bytes(width, "little"))
    return f"{at}: {value}"


def _zeros(content: bytearray, subject: Subject, draw: random.Random, others: Sequence[Subject]) -> str:
    at, n = _somewhere(content, subject, draw), draw.choice((1, 8, 64, 512, 4096, 65536))
    _put(content, at, len(content), draw.choice((b"\0", b"\xff")) * n)
    return f"{at}: {n}"


def _swapped(content: bytearray, subject: Subject, draw: random.Random, others: Sequence[Subject]) -> str:
    n = draw.choice((8, 64, 512, 4096))
    first, second = (min(_somewhere(content, subject, draw), max(0, len(content) - n)) for _ in range(2))
    one, other = bytes(content[first : first + n]), bytes(content[second : second + n])
    _put(content, first, len(content), other)
    _put(content, second, len(content), one)
    return f"{first}, {second}: {n}"


def _duplicated(content: bytearray, subject: Subject, draw: random.Random, others: Sequence[Subject]) -> str:
    at, n = _somewhere(content, subject, draw), draw.choice((1, 8, 64, 512, 4096))
    if draw.random() < 0.5:
        content[at:at] = content[at : at + n]
        return f"{at}: {n} inserted"
    _put(content, _somewhere(content, subject, draw), len(content), bytes(content[at : at + n]))
    return f"{at}: {n} copied"


def _cut_out(content: bytearray, subject: Subject, draw: random.Random, others: Sequence[Subject]) -> str:
    at, n = _somewhere(content, subject, draw), draw.choice((1, 4, 8, 64, 512, 4096))
    del content[at : at + n]
    return f"{at}: {n}"


def _truncated(content: bytearray, subject: Subject, draw: random.Random, others: Sequence[Subject]) -> str:
    at = draw.choice((_somewhere(content, subject, draw), len(content) - 1, len(content) // 2, 0, 8, 48, 96))
    del content[at:]
    return str(at)


def _extended(content: bytearray, subject: Subject, draw: random.Random, others: Sequence[Subject]) -> str:
    n = draw.choice((1, 100, 4096, 100_000))
    content += draw.choice((bytes(n), draw.randbytes(n), bytes(content[:n])))
    return str(n)


def _spliced(content: bytearray, subject: Subject, draw: random.Random, others: Sequence[Subject]) -> str:
    other = draw.choice(list(others) or [subject])
    at = _somewhere(content, subject, draw)
    if draw.random() < 0.5:
        content[at:] = other.content[at:]
        return f"{at}: the rest of {other.name}"
    n = draw.choice((64, 512, 4096, 65536))
    _put(content, at, len(content), other.content[at : at + n])
    return f"{at}: {n} of {other.name}"


_BLIND: Final[tuple[Callable[[bytearray, Subject, random.Random, Sequence[Subject]], str], ...]] = (
    _flips, _flips, _values, _values, _zeros, _swapped, _duplicated, _cut_out, _truncated, _extended, _spliced,
)  # fmt: skip
