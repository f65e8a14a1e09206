"""Which patches and images are shown: a seeded choice by what they are, whatever their order, shards and workers.

Like `patchcli.pipeline.seeding`, for all rows of a table at once: a million rows take a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xxhash

Ranks = npt.NDArray[np.uint64]
Numbers = npt.NDArray[Any]

_STEP: Final = np.uint64(0x9E3779B97F4A7C15)  # SplitMix64: the golden ratio, and Stafford's thirteenth mix
_MIXES: Final = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST: Final = np.uint64(31)


def name_ranks(seed: int, names: Sequence[bytes]) -> Ranks:
    """A random number for each name, uint64 (n,): the same wherever the name stands."""
    said = b"%d\0" % seed
    return np.fromiter((xxhash.xxh3_64_intdigest(said + name) for name in names), np.uint64, len(names))


def row_ranks(names: Ranks, columns: Sequence[Numbers]) -> Ranks:
    """A random number for each row, uint64 (n,), of all that tells it from others.

    Parameters
    ----------
    names : uint64 (n,)
        Of what the row belongs to, from `name_ranks`.
    columns : sequence of int (n,)
        Whole numbers of up to 64 bits, such as its coordinates.
    """
    ranks = names
    for column in columns:
        ranks = ranks + column.astype(np.uint64) * _STEP
        for shift, factor in _MIXES:
            ranks = (ranks ^ (ranks >> shift)) * factor
        ranks ^= ranks >> _LAST
    return ranks


def patch_ranks(
    tables: Mapping[str, Numbers], paths: Sequence[bytes], rows: Numbers, *, seed: int
) -> tuple[Ranks, Ranks]:
    """Groups and ranks for some patches (k,) of a data set's tables: by their image, and by what they are.

    Patches are told apart by image and coordinates; those that `augment` made also by copy number and digest.
    """
    groups = name_ranks(seed, paths)[tables["source"][rows]]
    columns = [tables["coords"][rows, 0], tables["coords"][rows, 1]]
    if "copy" in tables:
        columns += [tables["copy"][rows], tables["digest"][rows]]
    return groups, row_ranks(groups, columns)


def spread(labels: Numbers, groups: Ranks, ranks: Ranks, n_each: int) -> npt.NDArray[np.int64]:
    """Some rows of each label, taken from its groups in turn.

    Parameters
    ----------
    labels : int (n,)
    groups : uint64 (n,)
        `name_ranks` of what rows come from: one row of each group is taken, in the order of these numbers, then a
        second one of each, and so on.
    ranks : uint64 (n,)
        Which row of a group is taken first: the lowest.
    n_each : int
        At most so many of each label.

    Returns
    -------
    int64 (k,)
        Rows by label, each label's in the order in which they are taken: with a larger `n_each` others follow.
    """
    order = np.lexsort((ranks, groups, labels))
    turns = _places_in_runs(labels[order], groups[order])
    order = order[turns < n_each]  # what comes later in its group is not taken anyway: mostly few are left
    turns = turns[turns < n_each]
    again = np.lexsort((groups[order], turns, labels[order]))
    order = order[again]
    chosen: npt.NDArray[np.int64] = order[_places_in_runs(labels[order]) < n_each]
    return chosen


def in_turn(labels: Numbers, groups: Ranks, ranks: Ranks, n: int) -> npt.NDArray[np.int64]:
    """At most `n` rows in all: one of each label, then a second one of each, and so on; int64 (k,), by label.

    Where not all labels give as many, chance says which give more. Parameters are those of `spread`.
    """
    by_label = spread(labels, groups, ranks, n)
    turns = _places_in_runs(labels[by_label])
    chosen: npt.NDArray[np.int64] = by_label[np.sort(np.lexsort((ranks[by_label], turns))[:n])]
    return chosen


def _places_in_runs(*columns: Numbers) -> npt.NDArray[np.int64]:
    """0, 1, 2, ... within each run of rows that are equal in all columns."""
    n = len(columns[0])
    begins = np.ones(n, bool)
    begins[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    numbers = np.arange(n)
    return numbers - np.maximum.accumulate(np.where(begins, numbers, 0))
