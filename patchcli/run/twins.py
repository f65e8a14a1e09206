"""What stands in two splits or two classes, in words; and which patches show too little to count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from patchcli.inspected import FindingKind
from patchcli.io.dataset import Dataset
from patchcli.io.readable import readable
from patchcli.leaks import Twin
from patchcli.records import show

Rows = npt.NDArray[np.int64]
Tables = Mapping[str, npt.NDArray[Any]]

_BLANK: Final = 0.05  # of the data set's own standard deviation, so that dark 16-bit images are not all blank


class Viewer:
    """What patches show: nearly nothing, where every channel's deviation is below a twentieth of the data set's.

    Parameters
    ----------
    path : bytes
    std : float64 (C,)
        Of the data set.
    """

    def __init__(self, path: bytes, std: npt.NDArray[np.float64]) -> None:
        self._path, self._most = path, _BLANK * std

    def __call__(self, rows: Rows) -> npt.NDArray[np.int8]:
        """Of rows (k,), ascending, int8 (k,): 1 something, 0 nearly nothing, -1 where they cannot be read."""
        shown = np.full(len(rows), -1, np.int8)
        for row, patch in readable(Dataset(self._path), rows):
            deviation = patch.reshape(-1, patch.shape[-1]).std(axis=0, dtype=np.float64)
            shown[np.searchsorted(rows, row)] = (deviation > self._most).any()
        return shown


def describe_twin(twin: Twin, tables: Tables) -> tuple[FindingKind, Rows, str, str]:
    """A pair of images: kind of finding, rows, what was found, what to do."""
    first, second = (int(row) for row in twin.rows[0])
    names = "splits" if twin.kind == "leak" else "classes"
    column = "split" if twin.kind == "leak" else "labels"
    places = [show(bytes(tables[names][int(tables[column][row])])) for row in (first, second)]
    one, other = (show(bytes(tables["sources/path"][int(tables["source"][row])])) for row in (first, second))
    what = {"leak": "splits", "conflict": "classes"}[twin.kind]
    where = f"{places[0]} and {places[1]}"
    if one == other:
        said = f"{one} stands in two {what}, {where}"
    elif twin.whole:
        said = f"{one} and {other} are the same file, in two {what}: {where}"
    else:
        n = len(twin.rows)
        patches = f"{n:,} patches are" if n > 1 else "1 patch is"
        said = f"{patches} the same in {one} and {other}, in two {what}: {where}"
    return twin.kind, twin.rows.reshape(-1), said, "leave one of them out, or put both into one, and cut again"
