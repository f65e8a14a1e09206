"""The process that looks into an HDF5 file which patchcli did not make: it may crash, hang or run out of memory.

HDF5 trusts what old formats say, which have no checksums. `foreign.py` starts this program and tells how it ended.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

import h5py
import numpy as np
from h5py import h5s

from patchcli.errors import DamagedFile
from patchcli.foreign.advice import findings, missing, use
from patchcli.foreign.conventions import Values, facts_of, kind_of, tables_wanted
from patchcli.foreign.records import ForeignDataset, ForeignFile
from patchcli.io.foreign.walk import Walk, is_builtin, short
from patchcli.io.h5 import open_file

_MORE_BYTES: Final = 320 << 20  # of address space, on top of what Python, numpy and HDF5 take themselves
_MOST_SECONDS: Final = 5  # of work; whoever started this waits less long
_READ_SECONDS: Final = 1.5
_BLOCK_NUMBERS: Final = 1 << 15
_MOST_NUMBERS: Final = 1 << 22
_MOST_CHUNKS: Final = 100_000  # CLAM and TRIDENT write a chunk for each row
_MOST_CHUNK_BYTES: Final = 64 << 20


def main() -> None:
    """Look into the file named by the last argument; one JSON object on stdout, `found` or `failed`."""
    path = os.fsencode(sys.argv[-1])
    _limit()
    try:
        file = open_file(path)  # never closed: HDF5 can crash over a damaged file even then
        said: dict[str, Any] = {"found": dataclasses.asdict(found_in(file, path))}
    except DamagedFile as error:
        said = {"failed": str(error)}
    except MemoryError:
        said = {"failed": f"{os.fsdecode(path)}: takes too much memory to look at: damaged, or made to do harm"}
    except Exception as error:  # whatever the library raises over the root; over the rest it is said and passed by
        said = {"failed": f"{os.fsdecode(path)}: damaged HDF5 file ({short(error)})"}
    json.dump(said, sys.stdout)
    sys.stdout.flush()
    os._exit(0)


def _limit() -> None:
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_CPU, _MOST_SECONDS)
    with contextlib.suppress(OSError, ValueError), open("/proc/self/statm", encoding="ascii") as file:
        _lower(resource.RLIMIT_AS, int(file.read().split()[0]) * resource.getpagesize() + _MORE_BYTES)


def _lower(which: int, most: int) -> None:
    """Set a limit, unless a lower one is set already."""
    limits = [most, *(limit for limit in resource.getrlimit(which) if limit != resource.RLIM_INFINITY)]
    resource.setrlimit(which, (min(limits), min(limits)))


def found_in(file: h5py.File, path: bytes) -> ForeignFile:
    """What an open file holds; it may crash, hang or take all memory."""
    walk = Walk(file)
    notes = list(walk.notes)
    values = _read_tables(file, walk, notes)
    kind = kind_of(walk.datasets, walk.groups, walk.attributes)
    facts = facts_of(kind, walk.datasets, walk.attributes, values)
    return ForeignFile(
        path=os.fsdecode(path),
        kind=kind,
        bytes=os.path.getsize(path),
        groups=len(walk.groups),
        attributes=walk.attributes,
        datasets=tuple(walk.datasets.values()),
        left_alone=tuple(walk.left_alone),
        facts=facts,
        findings=findings(facts, walk.datasets),
        missing=missing(facts, walk.datasets),
        use=use(kind, facts),
        notes=tuple(notes),
    )


def _read_tables(file: h5py.File, walk: Walk, notes: list[str]) -> Mapping[str, Values]:
    """The values of the tables that matter, as far as the budgets go; what was not read is noted."""
    found = {}
    deadline = time.monotonic() + _READ_SECONDS
    for path in tables_wanted(walk.datasets):
        one = walk.datasets[path]
        why_not = _why_not(one)
        if not why_not:
            try:
                found[path] = _read(file, walk.names[path], one, deadline)
            except Exception as error:  # whatever the library raises, the rest can be told
                why_not = short(error)
        if why_not:
            notes.append(f"the values of {path} were not read: {why_not}")
        elif len(found[path].read) < found[path].rows:
            notes.append(f"of {found[path].rows:,} rows of {path} the first {len(found[path].read):,} were read")
    return found


def _why_not(one: ForeignDataset) -> str:
    """Why values are better not read; empty when there is no reason."""
    if one.layout not in ("contiguous", "chunked", "compact"):
        return f"they are {one.layout}"
    if not is_builtin(one.filters):
        return f"they are compressed by {one.compression}, for which no plugin is loaded here"
    if one.declared_bytes and not one.bytes:
        return "none were ever written"
    if one.chunks and int(np.prod(one.chunks, dtype=object)) * 8 > _MOST_CHUNK_BYTES:
        return "their chunks are too large"
    return ""


def _read(file: h5py.File, name: bytes, one: ForeignDataset, deadline: float) -> Values:
    """The first rows as whole numbers (k, ...), block by block."""
    shape = one.shape or (0,)
    width = max(1, int(np.prod(shape[1:], dtype=object)))
    if width > _BLOCK_NUMBERS:
        raise ValueError(f"a row of it has {width:,} numbers")
    most = min(shape[0], _MOST_NUMBERS // width)
    if one.chunks:
        most = min(most, _MOST_CHUNKS * one.chunks[0])
    dataset = h5py.h5d.open(file.id, name)
    blocks, start = [np.empty((0, *shape[1:]), np.int64)], 0
    while start < most and time.monotonic() < deadline:
        block = np.empty((min(most - start, max(1, _BLOCK_NUMBERS // width)), *shape[1:]), np.int64)
        space = dataset.get_space()
        space.select_hyperslab((start, *[0] * len(shape[1:])), block.shape)
        dataset.read(h5s.create_simple(block.shape), space, block)
        blocks.append(block)
        start += len(block)
    return Values(shape[0], np.concatenate(blocks))
