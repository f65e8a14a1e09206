"""Patches cut again from the images, and compared with those that a data set holds. Runs in a worker."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from patchcli.choice import patch_ranks
from patchcli.cut import BLOCK_BYTES, window
from patchcli.errors import UsageError
from patchcli.inspected import Finding
from patchcli.io.headers import NotAnImage, Unreadable
from patchcli.io.originals import decode_file, stays_inside
from patchcli.io.patchfile import Facts, read_names
from patchcli.io.shard import digests
from patchcli.records import show
from patchcli.specs import Edge, Size
from patchcli.summaries import made_by


@dataclass(frozen=True, slots=True, eq=False)
class RecutTask:
    """Patches of one image, to be cut again.

    Attributes
    ----------
    path : bytes
        Relative to `root`.
    size : Size
        Of the image, as the data set has it.
    sha256 : bytes
        Of the image's file, hex digits, as the data set has it.
    rows : int64 (k,)
        Of the data set.
    coords : int32 (k, 2)
    digest : uint64 (k,)
        What the data set holds.
    shown : str
        Name of the data set.
    again : str
        What to do about pixels that differ.
    """

    root: bytes
    path: bytes
    size: Size
    sha256: bytes
    rows: npt.NDArray[np.int64]
    coords: npt.NDArray[np.int32]
    digest: npt.NDArray[np.uint64]
    patch: Size
    channels: int
    background: tuple[int, int, int]
    edge: Edge
    pad_value: int
    max_pixels: int
    shown: str
    again: str

    def ready(self) -> RecutTask:
        """What travels to a worker."""
        return self

    @property
    def n_rows(self) -> int:
        """How many patches."""
        return len(self.rows)

    def place(self, _: int) -> str:
        """What its worker was at."""
        return show(self.path)


@dataclass(frozen=True, slots=True)
class Recut:
    """What came of it: patches that were compared, and what is wrong with the image or with them."""

    path: bytes
    n_patches: int
    finding: Finding | None


class Choice(NamedTuple):
    """Which patches are cut again: all, or so many by a seed; images up to a size."""

    sample: int | None
    seed: int
    max_pixels: int


def check_root(root: bytes, tables: Mapping[str, npt.NDArray[Any]]) -> None:
    """Refuse a folder that holds none of the images: it is another one.

    Raises
    ------
    UsageError
    """
    paths = tables["sources/path"].tolist()
    if paths and not any(os.path.lexists(os.path.join(root, path)) for path in paths if stays_inside(path)):
        raise UsageError(
            f"{show(root)}: holds none of the {len(paths):,} images; expected the folder that the data set was cut "
            f"from, with {show(os.path.join(root, paths[0]))}"
        )


def recut_tasks(
    facts: Facts, tables: Mapping[str, npt.NDArray[Any]], root: bytes, choice: Choice, shown: str
) -> tuple[list[RecutTask], str]:
    """The work for a data set: one task an image; and what is left out, in words."""
    settings = facts.settings
    done = settings.get("augment", {})
    if facts.dtype != np.uint8:
        return [], "the patches were standardized after they were cut: they cannot be compared with the images"
    if "before" in done:
        return [], "the patches were augmented twice: which are as they were cut is not known, none was compared"
    rows = np.flatnonzero(tables["copy"] == 0) if "copy" in tables else np.arange(facts.n_rows)
    n_copies = facts.n_rows - len(rows)
    note = f"{n_copies:,} copies made by augment were not compared with the images" if n_copies else ""
    if choice.sample is not None and choice.sample < len(rows):
        _, ranks = patch_ranks(tables, read_names(tables["sources/path"]), rows, seed=choice.seed)
        rows = np.sort(rows[np.argsort(ranks, kind="stable")[: choice.sample]])
    if not rows.size:
        return [], note
    source = tables["source"][rows]
    order = np.argsort(source, kind="stable")
    numbers, starts = np.unique(source[order], return_index=True)
    paths, sha256 = read_names(tables["sources/path"]), read_names(tables["sources/sha256"])
    maker = made_by(settings)
    widths, heights = tables["sources/width"].astype(np.int64), tables["sources/height"].astype(np.int64)
    tasks = [
        RecutTask(
            root=root,
            path=paths[number],
            size=Size(int(widths[number]), int(heights[number])),
            sha256=sha256[number],
            rows=rows[part],
            coords=tables["coords"][rows[part]],
            digest=tables["digest"][rows[part]],
            patch=Size(facts.patch_shape[1], facts.patch_shape[0]),
            channels=facts.patch_shape[2],
            background=tuple(settings.get("background", (255, 255, 255))),
            edge=settings["edge"],
            pad_value=settings.get("pad_value", 0),
            max_pixels=max(choice.max_pixels, int(widths[number]) * int(heights[number])),  # of this size it was read
            shown=shown,
            again=f"give the images as they were, or let the same {maker} command make it again with --overwrite",
        )
        for number, part in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True)
    ]
    return tasks, note


def recut(task: RecutTask, note: Callable[[int], None] = lambda _: None) -> Recut:
    """Cut the patches of an image again, and compare their digests."""
    note(0)
    try:
        pixels, sha256 = decode_file(
            task.root,
            task.path,
            channels=task.channels,
            background=task.background,
            max_pixels=task.max_pixels,
        )
    except (Unreadable, NotAnImage) as error:
        return _differs(task, f"{show(task.path)}: {error}")
    height, width = pixels.shape[:2]
    if (width, height) != task.size:
        return _differs(task, f"{show(task.path)}: is {width}x{height} px, was {task.size.width}x{task.size.height} px")
    wrong: list[int] = []
    step = max(1, BLOCK_BYTES // (task.patch.width * task.patch.height * task.channels))
    for start in range(0, len(task.rows), step):
        note(start)
        part = slice(start, start + step)
        patches = np.stack([_window(task, pixels, x, y) for x, y in task.coords[part].tolist()])
        wrong += task.rows[part][digests(patches) != task.digest[part]].tolist()
    if sha256 != task.sha256:
        also = f", and {len(wrong):,} of {len(task.rows):,} patches differ from it" if wrong else ""
        return _differs(task, f"{show(task.path)}: is no longer the file that was cut{also}", rows=wrong)
    if wrong:
        what = f"{show(task.path)}: {len(wrong):,} of {len(task.rows):,} patches differ from the image's px"
        return _differs(task, what, rows=wrong)
    return Recut(task.path, len(task.rows), None)


def _window(task: RecutTask, pixels: npt.NDArray[np.uint8], x: int, y: int) -> npt.NDArray[Any]:
    return window(pixels, (x, y), task.patch, edge=task.edge, pad_value=task.pad_value)


def _differs(task: RecutTask, what: str, remedy: str = "", rows: list[int] | None = None) -> Recut:
    listed = rows or []
    finding = Finding("source", task.shown, tuple(listed[:10]), len(listed), what, remedy or task.again)
    return Recut(task.path, len(task.rows) if rows is not None else 0, finding)
