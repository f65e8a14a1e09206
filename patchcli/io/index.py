"""The index: one file that lists all shards and holds their small tables; written last, by rename."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import numpy as np

from patchcli.errors import DamagedFile
from patchcli.io import h5, layout, publish
from patchcli.io.names import shard_path
from patchcli.io.patchfile import opened, read_names
from patchcli.io.shard import coords_attributes, root_attributes
from patchcli.io.tables import closing_tables
from patchcli.plan import Plan
from patchcli.records import ShardRecord, Skipped
from patchcli.stats import NOTHING, Moments

_README: Final = """\
The patches are in the files that /shards/name lists, relative to this file's folder: /patches (n, H, W, C) there.
Row i of the tables here is row i - row_start[k] of shard k, where row_start[k] <= i < row_start[k + 1].
Open all of it as one array with Python: import patchcli; ps = patchcli.open("{name}"); ps[0]; ps.labels; ps.coords.
/coords are (x, y) of the top-left px in the upright image. /labels are rows of /classes, /source rows of /sources/*.
"""


def seal(out: bytes, plan: Plan, records: Sequence[ShardRecord], skipped: Sequence[Skipped], run: str) -> bool:
    """Write the index of finished shards; False when exactly those bytes are there already.

    Parameters
    ----------
    records : sequence of ShardRecord
        One for each shard, in order.
    skipped : sequence of Skipped
        All files that were left out, sorted by path.

    Raises
    ------
    DamagedFile
        A shard went away or changed in the meantime.
    OSError
    """
    laid = _lay_out(out, plan, records, skipped)
    content = laid.tail(0)
    try:
        with open(out, "rb") as there:
            if there.read() == content:
                return False
    except (FileNotFoundError, IsADirectoryError):
        pass
    with publish.Draft(out, run) as draft:
        draft.write(memoryview(content), 0)
        draft.publish()
    return True


def _lay_out(out: bytes, plan: Plan, records: Sequence[ShardRecord], skipped: Sequence[Skipped]) -> layout.Layout:
    recipe = plan.recipe
    unreadable = {one.path for one in skipped if one.kind == "unreadable"}
    images = [image for image in plan.images if image.path not in unreadable]
    row_of = {image.path: row for row, image in enumerate(images)}
    sha256 = np.zeros(len(images), "S64")
    columns: dict[str, list[h5.Array]] = {name: [] for name in ("labels", "digest", "coords", "source")}
    if recipe.splits:
        columns["split"] = []
    wanted = [*columns, "sources/path", "sources/sha256", "stats/n_pixels", "stats/sum", "stats/sum_of_squares"]
    total, counts = NOTHING, [0]
    paths = [shard_path(out, recipe.plan_id, record.shard, recipe.n_shards) for record in records]
    for path, record in zip(paths, records, strict=True):
        with opened(path) as (file, facts):
            if (facts.plan_id, facts.shard) != (recipe.plan_id, record.shard):
                raise DamagedFile(
                    f"{os.fsdecode(path)}: changed while the data set was made: run the same command again"
                )
            tables = {name: h5.read_table(file, name) for name in wanted}
        rows = np.array([row_of[name] for name in read_names(tables["sources/path"])], np.int32)
        sha256[rows] = tables["sources/sha256"]
        for name in columns:
            columns[name].append(rows[tables[name]] if name == "source" else tables[name])
        total += _moments(tables)
        counts.append(facts.n_rows)
    folder = os.path.dirname(out)
    tables = {name: np.concatenate(parts) for name, parts in columns.items()}
    tables |= coords_attributes(recipe)
    tables |= closing_tables(recipe, images, sha256, skipped, total)
    tables |= {
        "shards/name": layout.names_table([os.path.relpath(path, folder or b".") for path in paths]),
        "shards/bytes": np.array([record.n_bytes for record in records], np.int64),
        "shards/digest": np.array([record.digest.encode() for record in records], "S32"),
        "shards/row_start": np.cumsum(counts, dtype=np.int64),
    }
    attributes = root_attributes("index", recipe, 0) | {
        "patch_shape": np.array(recipe.patch_shape, np.int64),
        "patch_dtype": "uint8",
        "README": _README.format(name=os.fsdecode(os.path.basename(out)).encode("utf-8", "replace").decode()),
    }
    return layout.lay_out(attributes, None, tables)


def _moments(tables: dict[str, h5.Array]) -> Moments:
    return Moments(
        int(tables["stats/n_pixels"][0]),
        tuple(map(int, tables["stats/sum"])),
        tuple(map(int, tables["stats/sum_of_squares"])),
    )
