"""Randomness by identity: what is drawn for a patch depends on the seed and on which patch it is, on nothing else.

Not on the worker, the order, the shard, the other patches, the time or a restart. albumentations' own seeding gives
each transform the same stream, so that two flips of a pipeline always agree; here one pair of generators serves the
whole pipeline, and is set anew in place before each patch.
"""

from __future__ import annotations

import random
import re
from typing import Final

import numpy as np
import numpy.typing as npt
import xxhash

_STREAM: Final = 0xDA3E39CB94B95BDB2B992DDFA23249D7  # any odd number: which of PCG64's sequences, one for all
_WORDS: Final = 2**64 - 1
_SUFFIX: Final = re.compile(
    rb"(?<=[^/])\.(?:jpe?g?|jfif|png|tiff?|bmp|dib|webp|gif|p[bgnp]m|jp2|jpx|j2[kc])\Z", re.IGNORECASE
)

Before = tuple[int, int] | tuple[()]


def identity(seed: int, path: bytes, xy: tuple[int, int], copy: int, *, before: Before = ()) -> int:
    """The number from which everything is drawn that happens to one copy of one patch.

    Parameters
    ----------
    seed : int
        At least 0, below 2^63.
    path : bytes
        Of the source image, as the data set has it. The suffix of an image file does not count: `cat/a.png` may be the
        mask of `cat/a.jpg`, and is to be turned as that is.
    xy : (int, int)
        Top-left corner of the patch, px.
    copy : int
        From 1.
    before : tuple of int
        What tells a patch from others of the same place where it is a copy already: its digest and its copy number.

    Returns
    -------
    int
        128 bits: XXH3-128 of all that, as text. XXH3's own seed is no key: with short texts it can be undone by them.
    """
    said = b"%b\0%b" % (_SUFFIX.sub(b"", path), ",".join(map(str, (seed, xy[0], xy[1], copy, *before))).encode())
    return xxhash.xxh3_128_intdigest(said)


def befores(digest: npt.NDArray[np.uint64], copy: npt.NDArray[np.int16] | None) -> list[Before]:
    """What `identity` takes as `before`, for some rows (k,); `copy` is None where patches are no copies yet."""
    if copy is None:
        return [()] * len(digest)
    return list(zip(digest.tolist(), copy.tolist(), strict=True))


class Streams:
    """The two generators that a pipeline draws from: numpy's for arrays, Python's for single numbers.

    Attributes
    ----------
    generator : numpy.random.Generator
    random : random.Random
    """

    def __init__(self) -> None:
        self._bits = np.random.PCG64(0)
        self.generator = np.random.Generator(self._bits)
        self.random = random.Random(0)  # noqa: S311 - augmentation is no secret

    def begin(self, number: int) -> None:
        """Set both generators from an `identity`: in place, for the transforms hold them. About 8 microseconds."""
        self._bits.state = {
            "bit_generator": "PCG64",
            "state": {"state": number, "inc": _STREAM},
            "has_uint32": 0,
            "uinteger": 0,
        }
        # numbers near each other begin near each other in PCG64's sequence; a hash makes sure that none are
        self.random.seed((number ^ (number >> 64)) & _WORDS)
