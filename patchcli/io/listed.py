"""The shards that an index lists: names are checked, since a file may come from anywhere."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from patchcli.errors import DamagedFile
from patchcli.io.h5 import Array
from patchcli.io.patchfile import Facts
from patchcli.records import show


class ListedShard(NamedTuple):
    """A shard as an index describes it."""

    number: int
    name: bytes
    path: bytes
    n_bytes: int
    digest: str
    row_start: int
    n_rows: int


def files_with_pixels(facts: Facts, tables: dict[str, Array]) -> tuple[ListedShard, ...]:
    """Shards by number; of a file that is not an index the file itself, as an index would list it.

    Raises
    ------
    DamagedFile
        As for `listed_shards`.
    """
    name = os.path.basename(facts.path)
    return listed_shards(facts, tables) or (
        ListedShard(facts.shard, name, facts.path, os.path.getsize(facts.path), "", 0, facts.n_rows),
    )


def listed_shards(facts: Facts, tables: dict[str, Array]) -> tuple[ListedShard, ...]:
    """Shards by number; none for a file that is not an index.

    Raises
    ------
    DamagedFile
        A name that leads out of the index's folder, or tables that do not fit each other.
    """
    if facts.role != "index":
        return ()
    shown = show(facts.path)
    columns = [tables[f"shards/{name}"].tolist() for name in ("name", "bytes", "digest")]
    starts = tables["shards/row_start"].tolist()
    if len(starts) != facts.n_shards + 1 or starts[0] != 0 or starts[-1] != facts.n_rows or sorted(starts) != starts:
        raise DamagedFile(f"{shown}: /shards/row_start does not fit {facts.n_shards} shards and {facts.n_rows} patches")
    if any(len(column) != facts.n_shards for column in columns):
        raise DamagedFile(f"{shown}: /shards lists other than {facts.n_shards} shards")
    whole = os.path.realpath(facts.path)
    folder = os.path.dirname(whole)
    found: list[ListedShard] = []
    seen: dict[bytes, int] = {}
    for number, (name, n_bytes, digest) in enumerate(zip(*columns, strict=True)):
        parts = name.split(b"/")
        if not name or name.startswith(b"/") or b".." in parts or b"\0" in name:
            raise DamagedFile(f"{shown}: shard {number} is called {name!r:.200}, which leads out of the index's folder")
        path = os.path.normpath(os.path.join(folder, name))
        if path == whole or seen.setdefault(path, number) != number:
            other = "the index itself" if path == whole else f"shard {seen[path]} too"
            raise DamagedFile(f"{shown}: shard {number} is called {name!r:.200}, which is {other}")
        if n_bytes < 0 or not re.fullmatch(rb"[0-9a-f]{32}", digest):
            raise DamagedFile(
                f"{shown}: /shards says of shard {number} what cannot be: {n_bytes} bytes, {digest!r:.80}"
            )
        start, stop = starts[number], starts[number + 1]
        found.append(ListedShard(number, name, path, n_bytes, digest.decode(), start, stop - start))
    return tuple(found)
