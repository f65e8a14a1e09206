"""Whether a shard is, byte by byte, as it was written."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from patchcli.errors import DamagedFile
from patchcli.io.patchfile import iterate_patches, opened, read_names, read_tables, skipped_in
from patchcli.io.shard import digests, file_digest
from patchcli.records import Skipped, Task


class WholeShard(NamedTuple):
    """A shard that is as it was written: size, digest, what it was built without, and its images' SHA-256 by path."""

    n_bytes: int
    digest: str
    skipped: tuple[Skipped, ...]
    sha256: dict[bytes, bytes]


def whole_shard(task: Task, *, beat: Callable[[], None]) -> WholeShard | None:
    """A task's shard if it is there, whole, and that shard of that plan; otherwise None.

    Where an index gives the file's digest, that is compared; where there is none yet, every table is read by its
    checksums and every patch by its digest. `beat` is called at least once in 64 MiB.
    """
    try:
        if not os.path.isfile(task.path):
            return None
        with open(task.path, "rb", buffering=0) as raw:
            digest = file_digest(raw.fileno(), beat)
            if task.digest and digest != task.digest:
                return None
            with opened(task.path) as (file, facts):
                if (facts.plan_id, facts.shard) != (task.recipe.plan_id, task.shard) or facts.role == "index":
                    return None
                tables = read_tables(file)
                skipped = skipped_in(tables)
                sources = read_names(tables["sources/path"]), read_names(tables["sources/sha256"])
                whole = WholeShard(os.path.getsize(task.path), digest, skipped, dict(zip(*sources, strict=True)))
                if task.digest:
                    return whole
                if facts.n_rows != task.n_rows and not any(one.kind == "unreadable" for one in skipped):
                    return None  # fewer are fine when the shard names the images that it was built without
                for rows, patches in iterate_patches(raw.fileno(), file, facts):
                    beat()
                    if not np.array_equal(digests(patches), tables["digest"][rows.start : rows.stop]):
                        return None
        return whole
    except (DamagedFile, OSError):
        return None
