"""The index: one file that lists all shards and holds their small tables; written last, by rename."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xxhash

from patchcli.errors import DamagedFile
from patchcli.io import h5, layout, publish
from patchcli.io.names import shard_path
from patchcli.io.output import publish_data_set
from patchcli.io.patchfile import opened
from patchcli.io.shard import root_attributes
from patchcli.io.tables import RowColumns, SourceColumns, file_tables
from patchcli.records import Identity, Recipe, ShardRecord, Skipped
from patchcli.stats import NOTHING, Moments

Tables = Mapping[str, h5.Array]

_SOURCES: Final = tuple(f"sources/{name}" for name in ("path", "width", "height", "sha256", "label", "group"))
_SUMS: Final = ("stats/n_pixels", "stats/sum", "stats/sum_of_squares")
_README: Final = """\
The patches are in the files that /shards/name lists, relative to this file's folder: /patches (n, H, W, C) there.
Row i of the tables here is row i - row_start[k] of shard k, where row_start[k] <= i < row_start[k + 1].
Open all of it as one array with Python: import patchcli; ps = patchcli.open("{name}"); ps[0]; ps.labels; ps.coords.
/coords are (x, y) of the top-left px in the upright image. /labels are rows of /classes, /source rows of /sources/*.
"""


def seal(
    out: bytes,
    recipe: Recipe,
    records: Sequence[ShardRecord],
    skipped: Sequence[Skipped],
    run: str,
    more: Tables,
    seen: Identity | None,
) -> bool:
    """Write the index of finished shards; False when exactly those bytes are there already.

    Parameters
    ----------
    records : sequence of ShardRecord
        One for each shard, in order.
    skipped : sequence of Skipped
        All files that were left out, sorted by path.
    more : mapping of str to array
        Tables that this kind of data set has besides.
    seen : Identity or None
        What stood there when the run began, and may be replaced.

    Raises
    ------
    OutputConflict
        Another run has put another data set there meanwhile.
    DamagedFile
        A shard went away or changed in the meantime.
    OSError
    """
    laid = _lay_out(out, recipe, records, skipped, more)
    content = layout.with_self_digest(laid.tail(0), 0, laid.digest_at, xxhash.xxh3_128())
    try:
        with open(out, "rb") as there:
            if there.read() == content:
                return False
    except (FileNotFoundError, IsADirectoryError):
        pass
    with publish.Draft(out, run) as draft:
        draft.write(memoryview(content), 0)
        publish_data_set(draft, recipe, seen)
    return True


def _lay_out(
    out: bytes, recipe: Recipe, records: Sequence[ShardRecord], skipped: Sequence[Skipped], more: Tables
) -> layout.Layout:
    columns: dict[str, list[h5.Array]] = {name: [] for name in RowColumns.names(recipe)}
    sources = _Sources()
    total, counts = NOTHING, [0]
    paths = [shard_path(out, recipe.plan_id, record.shard, recipe.n_shards) for record in records]
    for path, record in zip(paths, records, strict=True):
        tables, n_rows = _read_back(path, recipe, record, (*columns, *_SOURCES, *_SUMS))
        rows = sources.add(tables)
        for name in columns:
            columns[name].append(rows[tables[name]] if name == "source" else tables[name])
        total += _moments(tables)
        counts.append(n_rows)
    row_columns = RowColumns(**{name: np.concatenate(parts) for name, parts in columns.items()})
    tables = file_tables(row_columns, sources.columns(), recipe, skipped, total, more)
    tables |= {
        "shards/name": layout.names_table([os.path.relpath(path, os.path.dirname(out) or b".") for path in paths]),
        "shards/bytes": np.array([record.n_bytes for record in records], np.int64),
        "shards/digest": np.array([record.digest.encode() for record in records], "S32"),
        "shards/row_start": np.cumsum(counts, dtype=np.int64),
    }
    attributes = root_attributes("index", recipe, 0) | {
        "patch_shape": np.array(recipe.patch_shape, np.int64),
        "patch_dtype": recipe.dtype,
        "README": _README.format(name=os.fsdecode(os.path.basename(out)).encode("utf-8", "replace").decode()),
    }
    return layout.lay_out(attributes, None, tables)


def _read_back(
    path: bytes, recipe: Recipe, record: ShardRecord, names: Sequence[str]
) -> tuple[dict[str, h5.Array], int]:
    """Tables of a finished shard, and its number of rows."""
    what = "changed"
    try:
        with opened(path) as (file, facts):
            if (facts.plan_id, facts.shard) == (recipe.plan_id, record.shard):
                return {name: h5.read_table(file, name) for name in names}, facts.n_rows
    except OSError as error:  # of reading a shard: the index is not to blame
        what = f"cannot be read any more ({error.strerror or error}), it went away"
    raise DamagedFile(f"{os.fsdecode(path)}: {what} while the data set was made: run the same command again")


class _Sources:
    """Sources of several shards, each once, in the order of first appearance: that in which shards are filled."""

    def __init__(self) -> None:
        self._rows: dict[bytes, int] = {}
        self._columns: list[list[Any]] = [[] for _ in _SOURCES]

    def add(self, tables: dict[str, h5.Array]) -> npt.NDArray[np.int32]:
        """Take in the sources of one shard: the row of each, int32 (m,)."""
        rows = []
        for values in zip(*(tables[name].tolist() for name in _SOURCES), strict=True):
            row = self._rows.setdefault(values[0], len(self._rows))
            rows.append(row)
            if row == len(self._columns[0]):
                for column, value in zip(self._columns, values, strict=True):
                    column.append(value)
        return np.array(rows, np.int32)

    def columns(self) -> SourceColumns:
        """All of them."""
        path, width, height, sha256, label, group = self._columns
        return SourceColumns(
            path=tuple(path),
            width=np.array(width, np.int32),
            height=np.array(height, np.int32),
            sha256=np.array(sha256, "S64"),
            label=np.array(label, np.int64),
            group=tuple(group),
        )


def _moments(tables: dict[str, h5.Array]) -> Moments:
    return Moments(
        int(tables["stats/n_pixels"][0]),
        tuple(tables["stats/sum"].tolist()),
        tuple(tables["stats/sum_of_squares"].tolist()),
    )
