"""What the files of a data set are called."""

from __future__ import annotations

import os

SUFFIXES = (b".h5", b".hdf5")


def shards_folder(out: bytes) -> bytes:
    """Where the shards of an index stand: `out.shards` beside `out.h5`, `out.hdf5.shards` beside `out.hdf5`."""
    return out.removesuffix(SUFFIXES[0]) + b".shards"


def shard_path(out: bytes, plan_id: str, shard: int, n_shards: int) -> bytes:
    """Final name of a shard; a data set of one shard is the output itself."""
    if n_shards == 1:
        return out
    return os.path.join(shards_folder(out), b"%b-%05d.h5" % (plan_id[:8].encode(), shard))
