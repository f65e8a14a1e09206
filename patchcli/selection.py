"""The rows of a data set that are meant: conditions applied to columns, a million rows at once."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from patchcli.errors import UsageError
from patchcli.records import show
from patchcli.where import Condition, Name, Span, Where, nearest

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Columns:
    """What is known of the rows of a data set.

    Attributes
    ----------
    labels, source : int (n,)
        Rows of `classes`, and of `paths` and `groups`.
    coords : int (n, 2)
        (x, y).
    digest : uint64 (n,)
    classes, splits, paths, groups : S (m,)
    row_start : int64 (k + 1,)
        First row of each shard, and `n`.
    shards : tuple of (int, bytes)
        Number and name of each.
    split : int (n,), optional
        Row of `splits`.
    copy, origin : int (n,), optional
    """

    labels: npt.NDArray[Any]
    source: npt.NDArray[Any]
    coords: npt.NDArray[Any]
    digest: npt.NDArray[np.uint64]
    classes: npt.NDArray[np.bytes_]
    splits: npt.NDArray[np.bytes_]
    paths: npt.NDArray[np.bytes_]
    groups: npt.NDArray[np.bytes_]
    row_start: npt.NDArray[np.int64]
    shards: tuple[tuple[int, bytes], ...]
    split: npt.NDArray[Any] | None = None
    copy: npt.NDArray[Any] | None = None
    origin: npt.NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.labels)


def rows(where: Where, columns: Columns) -> npt.NDArray[np.int64]:
    """The rows for which all conditions hold, ascending: int64 (k,).

    Raises
    ------
    UsageError
        A class or a split that is not there, with the nearest that is; a split, copy or origin where there are none.
    """
    holds = np.ones(len(columns), np.bool_)
    for condition in where.conditions:
        found = _FINDERS[condition.key](condition, columns)
        holds &= ~found if condition.negated else found
    return np.flatnonzero(holds).astype(np.int64)


def _are_called(names: npt.NDArray[np.bytes_] | Sequence[bytes], wanted: Sequence[Name]) -> Mask:
    """Which of some names (m,) are wanted: as they are shown, or as the file system spells them."""
    exact = frozenset(name.text for name in wanted if name.pattern is None)
    patterns = [fnmatch.translate(name.pattern) for name in wanted if name.pattern is not None]
    match = re.compile("|".join(patterns) or r"(?!)").match

    def is_wanted(name: bytes) -> bool:
        text = os.fsdecode(name)
        if text in exact or match(text):
            return True
        return not text.isprintable() and (show(name) in exact or bool(match(show(name))))

    listed = names.tolist() if isinstance(names, np.ndarray) else names
    return np.fromiter(map(is_wanted, listed), np.bool_, len(listed))


def _are_within(values: npt.NDArray[Any], spans: Sequence[Span]) -> Mask:
    """Which of some whole numbers (n,) lie in any of the spans: one search, however many there are."""
    if len(spans) == 1:
        return np.asarray((values >= spans[0].start) & (values < spans[0].stop))
    bounds: list[int] = []
    for start, stop in sorted(spans):
        if bounds and start <= bounds[-1]:
            bounds[-1] = max(bounds[-1], stop)
        else:
            bounds += [start, stop]
    return np.asarray(np.searchsorted(np.array(bounds, np.int64), values, side="right") % 2 == 1)


def _of_named(condition: Condition, names: npt.NDArray[np.bytes_], which: npt.NDArray[Any] | None) -> Mask:
    """Rows by the name of their class or split; an unknown name is a slip."""
    shown = [show(name) for name in names.tolist()]
    if which is None:
        raise UsageError(f"where {condition.text!r}: the data set has no {condition.key}s")
    known = {*shown, *map(os.fsdecode, names.tolist())}
    for name in condition.names:
        if name.text not in known:
            raise UsageError(f"where {condition.text!r}: no {condition.key} {name.text!r}: {nearest(name.text, shown)}")
    return np.asarray(_are_called(names, condition.names)[which])


def _of_shard(condition: Condition, columns: Columns) -> Mask:
    numbers = np.array([number for number, _ in columns.shards], np.int64)
    names = [name for _, name in columns.shards]
    found = _are_called(names, condition.names) | _are_called(
        [os.path.basename(name) for name in names], condition.names
    )
    if condition.spans:
        found |= _are_within(numbers, condition.spans)
    return np.repeat(found, np.diff(columns.row_start))


def _of_row(condition: Condition, columns: Columns) -> Mask:
    found = np.zeros(len(columns), np.bool_)
    for start, stop in condition.spans:
        found[start:stop] = True
    return found


def _of_number(condition: Condition, values: npt.NDArray[Any] | None) -> Mask:
    if values is None:
        raise UsageError(
            f"where {condition.text!r}: the data set has no {condition.key}: only what augment made has one"
        )
    return _are_within(values, condition.spans)


def _of_digest(condition: Condition, columns: Columns) -> Mask:
    wanted = np.array([span.start for span in condition.spans], np.uint64)
    return np.isin(columns.digest, wanted)


_FINDERS: Final[dict[str, Callable[[Condition, Columns], Mask]]] = {
    "class": lambda condition, columns: _of_named(condition, columns.classes, columns.labels),
    "split": lambda condition, columns: _of_named(condition, columns.splits, columns.split),
    "label": lambda condition, columns: _of_number(condition, columns.labels),
    "source": lambda condition, columns: _are_called(columns.paths, condition.names)[columns.source],
    "group": lambda condition, columns: _are_called(columns.groups, condition.names)[columns.source],
    "shard": _of_shard,
    "row": _of_row,
    "x": lambda condition, columns: _of_number(condition, columns.coords[:, 0]),
    "y": lambda condition, columns: _of_number(condition, columns.coords[:, 1]),
    "copy": lambda condition, columns: _of_number(condition, columns.copy),
    "origin": lambda condition, columns: _of_number(condition, columns.origin),
    "digest": _of_digest,
}
