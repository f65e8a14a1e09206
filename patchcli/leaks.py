"""What stands in two splits or in two classes: the same image file, or the same patch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
Tables = Mapping[str, npt.NDArray[Any]]
Kind = Literal["leak", "conflict"]
Shown = Callable[[Rows], npt.NDArray[np.int8]]
"""What patches of some rows show: 1 something, 0 nearly nothing, -1 that is not known, for they cannot be read."""
_MOST_TRIED = 8  # rows of identical patches, where the first cannot be read


class Twin(NamedTuple):
    """Two images that share something across splits (`leak`) or across classes (`conflict`).

    Attributes
    ----------
    sources : (int, int)
        Rows of `/sources`; the same row twice where one image stands in two splits.
    whole : bool
        The files are the same; otherwise patches of them are.
    rows : int64 (k, 2)
        Pairs of rows that are the same; where files are, the first row of each.
    """

    kind: Kind
    sources: tuple[int, int]
    whole: bool
    rows: Rows


class Twins(NamedTuple):
    """All of them; how many identical patches are exempt, showing nearly nothing, and how many are unreadable."""

    found: tuple[Twin, ...]
    n_blank: int
    n_unread: int


def find_twins(tables: Tables, shown: Shown) -> Twins:
    """Images and patches that stand in two splits or in two classes.

    Parameters
    ----------
    tables : mapping of str to array
        `labels`, `source`, `digest`, `sources/sha256` and, where there are splits, `split`; rows that lead somewhere.
    shown : callable
        Given rows int64 (k,), ascending: what their patches show, int8 (k,).
    """
    source = tables["source"].astype(np.int64)
    split = tables["split"].astype(np.int64) if "split" in tables else np.zeros(len(source), np.int64)
    labels = tables["labels"].astype(np.int64)
    files = _files(tables["sources/sha256"])
    found = list(_same_files(source, split, labels, files))
    reported = {(twin.kind, *twin.sources) for twin in found}
    pairs, n_blank, n_unread = _same_patches(tables["digest"], source, split, labels, shown)
    grouped: dict[tuple[Kind, int, int], list[tuple[int, int]]] = defaultdict(list)
    for kind, first, second in pairs:
        a, b = sorted((int(source[first]), int(source[second])))
        if (kind, a, b) not in reported:
            grouped[kind, a, b].append((first, second))
    found += [Twin(kind, (a, b), False, np.array(rows)) for (kind, a, b), rows in grouped.items()]
    return Twins(tuple(found), n_blank, n_unread)


def _files(sha256: npt.NDArray[Any]) -> Rows:
    """A number for each source, the same for the same file; those of unknown content are all different."""
    _, files = np.unique(sha256, return_inverse=True)
    unknown = np.flatnonzero(sha256 == b"")
    files = files.reshape(-1).astype(np.int64)
    files[unknown] = len(files) + unknown
    return files


def _same_files(source: Rows, split: Rows, labels: Rows, files: Rows) -> Iterator[Twin]:
    """A file's first appearance with each other image in another split or class."""
    if not len(source):
        return
    # one line for each way in which a source appears
    _, firsts = np.unique(np.stack([source, split, labels]), axis=1, return_index=True)
    firsts = np.sort(firsts)
    seen: dict[int, list[int]] = defaultdict(list)
    for row in firsts.tolist():
        seen[int(files[source[row]])].append(row)
    for rows in seen.values():
        for kind, column in _kinds(split, labels):
            for first, second in _differing(rows, column, source):
                a, b = sorted((int(source[first]), int(source[second])))
                yield Twin(kind, (a, b), True, np.array([[first, second]]))


def _kinds(split: Rows, labels: Rows) -> Sequence[tuple[Kind, Rows]]:
    return (("leak", split), ("conflict", labels))


def _differing(rows: Sequence[int], column: Rows, source: Rows) -> Iterator[tuple[int, int]]:
    """The first row, and the first of each image for each other value that a column has."""
    own = int(column[rows[0]])
    seen = set[tuple[int, int]]()
    for row in rows[1:]:
        value, image = int(column[row]), int(source[row])
        if value != own and (value, image) not in seen:
            seen.add((value, image))
            yield rows[0], row


def _same_patches(
    digest: npt.NDArray[Any], source: Rows, split: Rows, labels: Rows, shown: Shown
) -> tuple[list[tuple[Kind, int, int]], int, int]:
    """Pairs of rows with the same patch and another split or class; rows that are exempt, and that are unreadable."""
    order = np.argsort(digest, kind="stable")
    ordered = digest[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(order) else np.empty(0, int)
    if not len(starts):
        return [], 0, 0
    lengths = np.diff(np.append(starts, len(order)))
    differs = np.zeros(len(starts), np.bool_)
    for column in (split, labels):
        values = column[order]
        differs |= np.minimum.reduceat(values, starts) != np.maximum.reduceat(values, starts)
    picked = np.flatnonzero(differs)
    starts, lengths = starts[picked], lengths[picked]
    shows = _tried(order, starts, lengths, shown)
    pairs: list[tuple[Kind, int, int]] = []
    for group in np.flatnonzero(shows == 1).tolist():
        rows = order[starts[group] : starts[group] + lengths[group]].tolist()
        for kind, column in _kinds(split, labels):
            pairs += [(kind, first, second) for first, second in _differing(rows, column, source)]
    return pairs, int(lengths[shows == 0].sum()), int(lengths[shows == -1].sum())


def _tried(order: Rows, starts: Rows, lengths: Rows, shown: Shown) -> npt.NDArray[np.int8]:
    """What identical patches show, by the first of them that can be read."""
    shows = np.full(len(starts), -1, np.int8)
    for number in range(_MOST_TRIED):
        asked = np.flatnonzero((shows == -1) & (lengths > number))
        if not len(asked):
            break
        rows = order[starts[asked] + number]
        ascending = np.argsort(rows)
        shows[asked[ascending]] = shown(rows[ascending])
    return shows
