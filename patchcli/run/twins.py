"""What stands in two splits or two classes, in words; and which patches show too little to count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from patchcli.errors import DamagedFile
from patchcli.inspected import FindingKind
from patchcli.io.dataset import Dataset
from patchcli.leaks import Twin
from patchcli.records import show

Rows = npt.NDArray[np.int64]
Tables = Mapping[str, npt.NDArray[Any]]

_BLANK: Final = 0.05  # of the data set's own standard deviation, so that dark 16-bit images are not all blank
_BLOCK_BYTES: Final = 1 << 20


class BlankFinder:
    """Which patches show nearly nothing: every channel's deviation is below a twentieth of the whole data set's.

    Parameters
    ----------
    path : bytes
    std : float64 (C,)
        Of the data set.
    """

    def __init__(self, path: bytes, std: npt.NDArray[np.float64]) -> None:
        self._path, self._most = path, _BLANK * std

    def __call__(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Of rows (k,), bool (k,); those that cannot be read count as patches that show something."""
        blank = np.zeros(len(rows), np.bool_)
        try:
            data = Dataset(self._path, check=False)
        except DamagedFile:
            return blank
        step = max(1, _BLOCK_BYTES // data.facts.patch_bytes)
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            try:
                patches = data.read(part)
            except (DamagedFile, OSError):
                continue
            deviation = patches.reshape(len(part), -1, patches.shape[-1]).std(axis=1, dtype=np.float64)
            blank[start : start + len(part)] = (deviation <= self._most).all(axis=1)
        return blank


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
