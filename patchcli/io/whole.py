"""Whether a shard is, byte by byte, as it was written."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from patchcli.errors import DamagedFile
from patchcli.io.patchfile import digests, iterate_patches, opened, read_names, read_skipped, read_tables
from patchcli.io.shard import file_digest
from patchcli.records import Skipped


class WholeShard(NamedTuple):
    """A shard that is as it was written: its digest, what it was built without, and its images' SHA-256 by path."""

    digest: str
    skipped: tuple[Skipped, ...]
    sha256: dict[bytes, bytes]


def whole_shard(path: bytes, plan_id: str, shard: int, n_rows: int, expected: str) -> WholeShard | None:
    """A shard if it is there, whole, and that shard of that plan; otherwise None.

    Parameters
    ----------
    n_rows : int
        Patches that the plan foresees; fewer are fine when the shard names the images that it was built without.
    expected : str
        XXH3-128 by the index. Where there is no index yet, every table is read by its checksums and every patch by its
        digest.
    """
    try:
        if not os.path.isfile(path):
            return None
        with open(path, "rb", buffering=0) as raw:
            digest = file_digest(raw.fileno())
            if expected and digest != expected:
                return None
            with opened(path) as (file, facts):
                if (facts.plan_id, facts.shard) != (plan_id, shard) or facts.role == "index":
                    return None
                tables, skipped = read_tables(file), read_skipped(file)
                sha256 = dict(
                    zip(read_names(tables["sources/path"]), read_names(tables["sources/sha256"]), strict=True)
                )
                if expected:
                    return WholeShard(digest, skipped, sha256)
                if facts.n_rows != n_rows and not any(one.kind == "unreadable" for one in skipped):
                    return None
                for rows, patches in iterate_patches(raw.fileno(), file, facts):
                    if not np.array_equal(digests(patches), tables["digest"][rows.start : rows.stop]):
                        return None
        return WholeShard(digest, skipped, sha256)
    except (DamagedFile, OSError):
        return None
