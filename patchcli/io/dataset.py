"""A data set as it stands on disk: its tables, checked against each other, and its patches by row."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from patchcli.errors import DamagedFile
from patchcli.io.patchfile import opened, read_names, read_tables, skipped_in
from patchcli.io.stored import Rows, Shards
from patchcli.records import show

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Sources:
    """The images of a data set, one a row.

    Attributes
    ----------
    path : tuple of bytes
        Relative to the source folder.
    width, height : int32 (m,)
        Upright, px.
    sha256 : S64 (m,)
        Of the file, hex digits.
    label : int64 (m,)
        Row of the classes.
    """

    path: tuple[bytes, ...]
    width: npt.NDArray[np.int32]
    height: npt.NDArray[np.int32]
    sha256: npt.NDArray[np.bytes_]
    label: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.path)


class Dataset:
    """A data set as it stands on disk: small tables in memory, patches by row. PatchSets and their subsets share one.

    Parameters
    ----------
    path : bytes
        An index, a data set in one file, or a shard.
    check : bool
        Whether each patch that is read is compared with its digest.

    Attributes
    ----------
    facts : Facts
    tables : dict of str to array
        By path; each row leads somewhere in the others.
    skipped : tuple of Skipped
    classes, splits : tuple of str
    sources : Sources
    shards : Shards

    Raises
    ------
    FileNotFoundError
    DamagedFile
        Not a patchcli file, or its tables are broken or contradict each other.
    """

    def __init__(self, path: bytes, *, check: bool = True) -> None:
        self.path, self.check = path, check
        with opened(path) as (file, facts):
            tables = read_tables(file)
        self.facts, self.tables, self.skipped = facts, tables, skipped_in(tables)
        self.classes = tuple(map(os.fsdecode, read_names(tables["classes"])))
        self.splits = tuple(map(os.fsdecode, read_names(tables["splits"]))) if "splits" in tables else ()
        self._check_tables()
        self.shards = Shards(facts, tables)

    @cached_property
    def sources(self) -> Sources:
        # a million names take 90 MB as values of Python: only who asks for them pays
        columns = (self.tables[f"sources/{name}"] for name in ("width", "height", "sha256", "label"))
        return Sources(read_names(self.tables["sources/path"]), *columns)

    def read(self, rows: Rows, out: Array | None = None) -> Array:
        """Patches of rows (k,), in any order and with duplicates: array (k, H, W, C).

        Raises
        ------
        DamagedFile
            A shard is missing, foreign or truncated, or a patch is not as it was written.
        """
        patches = self.shards.read(rows, out)
        if self.check:
            self.shards.compare(patches, rows, self.tables["digest"][rows])
        return patches

    def _check_tables(self) -> None:
        # Every row must lead somewhere: no look-up may fail later, or give a neighbour's class.
        tables, n = self.tables, self.facts.n_rows
        ends = {"labels": len(self.classes), "source": len(tables["sources/path"]), "split": len(self.splits)}
        # of coordinates the far corner too is a number of 32 bits
        ends |= {"coords": 2**31 - max(self.facts.patch_shape[:2]), "origin": 2**62, "copy": 2**15}
        for name in [*ends, "digest"]:
            table = tables.get(name, np.zeros(n, int))
            fits = table.shape == ((n, 2) if name == "coords" else (n,))
            if fits and n and name in tables and name in ends:
                fits = table.min() >= 0 and table.max() < ends[name]
            if not fits:
                raise DamagedFile(f"{show(self.path)}: /{name} does not fit the other tables")
