"""One patch or a selection with its facts, from the tables of a data set: where it comes from."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from patchcli.errors import UsageError
from patchcli.inspected import PatchFacts, Selection, Written
from patchcli.io.canvas import write_png
from patchcli.io.dataset import Dataset
from patchcli.io.h5 import Array
from patchcli.io.listed import ListedShard, files_with_pixels
from patchcli.io.publish import new_run
from patchcli.records import show
from patchcli.report.drawing.levels import for_the_eye
from patchcli.report.preview import check_sheet
from patchcli.selection import Columns, rows
from patchcli.specs import PLUGGED
from patchcli.where import Where


def select(data: Dataset, *, where: Sequence[str] = (), patch: int | None = None, most: int = 20) -> Selection:
    """The patches that are asked for, and the facts of the first of them.

    Parameters
    ----------
    where : sequence of str
        Conditions as `patchcli.where` reads them, all of which hold; no px is read.
    patch : int, optional
        Instead: one row, from 0; below 0 from the end, as in Python. Its px are read.
    most : int
        Patches to give facts of.

    Raises
    ------
    UsageError
        Conditions that cannot be, or a row that is not there.
    DamagedFile
        The patch is not as it was written.
    """
    if patch is not None and where:
        raise UsageError("a patch by its number and a selection were asked for: give one of them")
    if patch is not None:
        row = _row(data, patch)
        return Selection(f"row={row}", True, 1, (_Facts(data).of(row, read=True),))
    found, facts = selected_rows(data, where), _Facts(data)
    said = show(str(Where.of(where)))
    return Selection(said, False, len(found), tuple(facts.of(row) for row in found[:most].tolist()))


def selected_rows(data: Dataset, where: Sequence[str]) -> npt.NDArray[np.int64]:
    """All rows for which some conditions hold, as `select` takes them: int64 (k,), ascending."""
    return rows(Where.of(where), _columns(data))


def write_patch(data: Dataset, row: int, path: str) -> Written:
    """Write one patch as PNG, without loss where PNG can hold it: uint8 gray, RGB and RGBA, uint16 gray.

    Others are written as they are shown to the eye, which the result says.

    Parameters
    ----------
    row : int
        As `patch` of `select`.
    path : str
        Replaced when patchcli drew it, and only then.

    Raises
    ------
    UsageError
        No such row, or something else stands there.
    DamagedFile
        The patch is not as it was written.
    PatchcliError
        The file cannot be written.
    """
    row = _row(data, row)
    check_sheet(path)
    patch = data.read(np.array([row]))[0]
    height, width, channels = patch.shape
    what = f"patch {row:,}, {width}x{height} px"
    if (channels, patch.dtype.name) in ((1, "uint8"), (3, "uint8"), (4, "uint8"), (1, "uint16")):
        pixels, note = patch[..., 0] if channels == 1 else patch, f"as stored, {patch.dtype}"
    else:
        (pixels,), note = for_the_eye([patch])
    write_png(pixels, os.fsencode(path), new_run())
    return Written(path, f"{what}, {note}")


def _row(data: Dataset, patch: int) -> int:
    n = data.facts.n_rows
    if not -n <= patch < n:
        there = f"expected 0 to {n - 1:,}, or -1 to -{n:,} from the end" if n else "there are none"
        raise UsageError(f"{os.fsdecode(data.path)}: no patch {patch:,}: it has {n:,} patches: {there}")
    return patch % n


def _columns(data: Dataset) -> Columns:
    tables, shards = data.tables, files_with_pixels(data.facts, data.tables)
    nothing = np.empty(0, "S1")
    return Columns(
        labels=tables["labels"],
        source=tables["source"],
        coords=tables["coords"],
        digest=tables["digest"],
        classes=tables["classes"],
        splits=tables.get("splits", nothing),
        paths=tables["sources/path"],
        groups=tables["sources/group"],
        row_start=np.array([*(shard.row_start for shard in shards), data.facts.n_rows], np.int64),
        shards=tuple((shard.number, shard.name) for shard in shards),
        split=tables.get("split"),
        copy=tables.get("copy"),
        origin=tables.get("origin"),
    )


class _Facts:
    """Looks up what is known of rows."""

    def __init__(self, data: Dataset) -> None:
        self._data, self._shards = data, files_with_pixels(data.facts, data.tables)
        self._starts = np.array([shard.row_start for shard in self._shards], np.int64)

    def of(self, row: int, *, read: bool = False) -> PatchFacts:
        """The facts of a row, with those of its px when they are to be read."""
        data, tables = self._data, self._data.tables
        shard = self._shards[int(np.searchsorted(self._starts, row, side="right")) - 1]
        source = tables["source"][row]
        x, y = map(int, tables["coords"][row])
        width, height = (int(tables[f"sources/{name}"][source]) for name in ("width", "height"))
        label = int(tables["labels"][row])
        return PatchFacts(
            row=row,
            file=self._file(shard),
            file_row=row - shard.row_start,
            pixels=self._python(shard, row - shard.row_start),
            class_name=show(data.classes[label]),
            label=label,
            split=show(data.splits[tables["split"][row]]) if "split" in tables else None,
            source=show(bytes(tables["sources/path"][source])),
            group=show(bytes(tables["sources/group"][source])),
            source_size=(width, height),
            source_sha256=show(bytes(tables["sources/sha256"][source])),
            xy=(x, y),
            pixels_outside=_outside(data.facts.patch_shape, x, y, width, height),
            digest=f"{int(tables['digest'][row]):016x}",
            origin=int(tables["origin"][row]) if "origin" in tables else None,
            copy=int(tables["copy"][row]) if "copy" in tables else None,
            mean=self._mean(row) if read else (),
        )

    def _mean(self, row: int) -> tuple[float, ...]:
        patch: Array = self._data.read(np.array([row]))[0]
        means = patch.mean(axis=(0, 1), dtype=np.float64)
        return tuple(round(mean, 6) for mean in means.tolist()) if np.isfinite(means).all() else ()

    def _file(self, shard: ListedShard) -> str:
        """Name of a file as the user would say it: beside the one that was named, unless that is a link."""
        path = self._data.path
        beside = os.path.join(os.path.dirname(path), shard.name)
        return os.fsdecode(shard.path if os.path.islink(path) else beside)

    def _python(self, shard: ListedShard, row: int) -> str:
        modules = "h5py, hdf5plugin" if self._data.facts.settings.get("compression") in PLUGGED else "h5py"
        return f'import {modules}; h5py.File({self._file(shard)!r})["patches"][{row}]'


def _outside(patch_shape: tuple[int, int, int], x: int, y: int, width: int, height: int) -> int:
    """Px of a patch that lie outside its image."""
    patch_height, patch_width, _ = patch_shape
    inside_x = max(0, min(x + patch_width, width) - max(x, 0))
    inside_y = max(0, min(y + patch_height, height) - max(y, 0))
    return patch_width * patch_height - inside_x * inside_y
