"""What an index says again of its shards, against what these say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from patchcli.consistency import differing_stats
from patchcli.io.checking import REPEATED, Checked, column_digest
from patchcli.io.listed import ListedShard
from patchcli.io.patchfile import read_names
from patchcli.stats import NOTHING

Array = npt.NDArray[Any]


def disagreements(
    tables: Mapping[str, Array], dtype: str, shards: Sequence[ListedShard], checked: Mapping[int, Checked]
) -> Iterator[str]:
    """Tables and statistics of an index that its shards contradict, in words.

    Parameters
    ----------
    tables : mapping of str to array
        Of the index.
    checked : mapping of int to Checked
        By shard; those in which something was found are not asked.
    """
    rows_of = {path: row for row, path in enumerate(read_names(tables["sources/path"]))}
    sound = {number: one for number, one in checked.items() if not one.findings}
    for shard in shards:
        if shard.number in sound:
            yield from _columns(tables, shard, sound[shard.number], rows_of)
    if len(sound) == len(shards):
        total = sum((sound[shard.number].moments for shard in shards), NOTHING)
        wrong = differing_stats(tables, total, dtype)
        if wrong:
            yield wrong


def _columns(
    tables: Mapping[str, Array], shard: ListedShard, checked: Checked, rows_of: Mapping[bytes, int]
) -> Iterator[str]:
    start, stop = shard.row_start, shard.row_start + shard.n_rows
    for name in REPEATED:
        said = ""
        if name in tables:
            column = tables[name][start:stop]
            if name == "source":
                column = _as_in_shard(column, [rows_of.get(path, -1) for path in checked.sources])
            said = column_digest(column)
        if said != checked.columns.get(name, ""):
            yield f"/{name} differs from that of shard {shard.number:05d} (rows {start} to {stop - 1})"


def _as_in_shard(column: Array, rows: Sequence[int]) -> Array:
    """Rows of the index's sources as the rows that a shard has for them; -1 where it has none."""
    places = {row: place for place, row in enumerate(rows)}
    distinct, which = np.unique(column, return_inverse=True)
    return np.array([places.get(row, -1) for row in distinct.tolist()], column.dtype)[which.reshape(-1)]
