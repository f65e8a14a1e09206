"""The shards that an index lists: names are checked, since a file may come from anywhere."""

from __future__ import annotations

import os
from typing import NamedTuple

from patchcli.errors import DamagedFile
from patchcli.io.h5 import Array
from patchcli.io.patchfile import Facts


class ListedShard(NamedTuple):
    """A shard as an index describes it."""

    number: int
    name: bytes
    path: bytes
    n_bytes: int
    digest: str
    row_start: int
    n_rows: int


def listed_shards(facts: Facts, tables: dict[str, Array]) -> tuple[ListedShard, ...]:
    """Shards by number; none for a file that is not an index.

    Raises
    ------
    DamagedFile
        A name that leads out of the index's folder, or tables that do not fit each other.
    """
    if facts.role != "index":
        return ()
    shown = os.fsdecode(facts.path)
    columns = [tables[f"shards/{name}"].tolist() for name in ("name", "bytes", "digest")]
    starts = tables["shards/row_start"].tolist()
    if len(starts) != facts.n_shards + 1 or starts[0] != 0 or starts[-1] != facts.n_rows or sorted(starts) != starts:
        raise DamagedFile(f"{shown}: /shards/row_start does not fit {facts.n_shards} shards and {facts.n_rows} patches")
    if any(len(column) != facts.n_shards for column in columns):
        raise DamagedFile(f"{shown}: /shards lists other than {facts.n_shards} shards")
    folder = os.path.dirname(os.path.realpath(facts.path))
    found = []
    for number, (name, n_bytes, digest) in enumerate(zip(*columns, strict=True)):
        parts = name.split(b"/")
        if not name or name.startswith(b"/") or b".." in parts:
            raise DamagedFile(f"{shown}: shard {number} is called {name!r}, which leads out of the index's folder")
        path = os.path.join(folder, name)
        start, stop = starts[number], starts[number + 1]
        found.append(ListedShard(number, name, path, n_bytes, digest.decode(), start, stop - start))
    return tuple(found)
