"""From a scan and a spec to tasks: what will be cut, into which shard, decided before any pixel is decoded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import xxhash

from patchcli.errors import UsageError
from patchcli.grid import Grid, plan_grid
from patchcli.records import Image, Portion, Recipe, Scan, Skipped, show, too_small
from patchcli.specs import IN_MEMORY_BYTES, ExtractSpec, Layout, Size

SPLIT_ABOVE = 4
"""An image is split over shards when its patches alone exceed this many shard sizes."""

MOST_ROWS = 1 << 19
"""Shards of tiny patches are smaller than asked for: a worker holds about 150 bytes for each row."""

_WORKER_BYTES = 100 << 20
_ROW_BYTES = 150


@dataclass(frozen=True)
class Plan:
    """What will be cut.

    Attributes
    ----------
    recipe : Recipe
        What all shards share.
    spec : ExtractSpec
        How they are cut.
    images : tuple of Image
        The sources with patches, in the order of their rows.
    shards : tuple of tuple of Portion
        What each shard holds.
    skipped : tuple of Skipped
        All files left out so far, sorted by path.
    n_patches : int
    """

    root: bytes
    recipe: Recipe
    spec: ExtractSpec
    images: tuple[Image, ...]
    shards: tuple[tuple[Portion, ...], ...]
    skipped: tuple[Skipped, ...]
    n_patches: int

    @property
    def n_bytes(self) -> int:
        """Bytes of all patches, uncompressed."""
        return self.n_patches * self.recipe.patch_bytes

    @cached_property
    def worker_bytes(self) -> int:
        """Memory that a worker needs at most: its largest image as file, as decoder and upright, and a fixed part."""

        def need(image: Image) -> int:
            pixels = image.width * image.height
            return pixels * (4 + 2 * self.recipe.channels) + min(image.n_bytes, IN_MEMORY_BYTES)

        most_rows = max(map(self.rows, range(len(self.shards))), default=0)
        return _WORKER_BYTES + most_rows * _ROW_BYTES + max(map(need, self.images), default=0)

    def rows(self, shard: int) -> int:
        """Patches of a shard."""
        return sum(_n_rows(portion, self.spec) for portion in self.shards[shard])


def plan(scan: Scan, spec: ExtractSpec) -> Plan:
    """Decide what is cut.

    Raises
    ------
    UsageError
        No images, or a patch larger than every image.
    """
    channels = _channels(scan.images, spec)
    layout: Layout = "splits" if scan.splits else "classes"
    settings = replace(spec, layout=layout).settings()
    plan_id = _plan_id(settings, channels, scan)
    images: list[Image] = []
    grids: list[Grid] = []
    small: list[Skipped] = []
    for image in scan.images:
        grid = plan_grid(image.size, spec.patch_size, spec.stride, spec.edge)
        if grid.n_patches:
            images.append(image)
            grids.append(grid)
        else:
            small.append(too_small(image.path, image.size, spec.patch_size))
    order = _order(images, spec)
    ordered, ordered_grids = [images[i] for i in order], [grids[i] for i in order]
    height, width = spec.patch_size.height, spec.patch_size.width
    patch_bytes = height * width * channels
    shards = list(_deal(ordered, ordered_grids, patch_bytes, min(spec.shard_size, MOST_ROWS * patch_bytes)))
    recipe = Recipe(
        patch_shape=(height, width, channels),
        dtype="uint8",
        stride=spec.stride,
        compression=spec.compression,
        classes=scan.classes,
        splits=scan.splits,
        plan_id=plan_id,
        settings=canonical(settings),
        n_shards=len(shards),
    )
    skipped = tuple(sorted([*scan.skipped, *small], key=lambda one: one.path))
    n_patches = sum(grid.n_patches for grid in grids)
    return Plan(scan.root, recipe, spec, tuple(ordered), tuple(map(tuple, shards)), skipped, n_patches)


def check_not_empty(made: Plan, n_unreadable: int) -> None:
    """Raise `UsageError` when there is nothing to cut and no unreadable image to blame."""
    if made.n_patches or n_unreadable:
        return
    small = [one for one in made.skipped if one.kind == "small"]
    if not small:
        raise UsageError("no images: there is no image file below the class folders")
    patch = made.spec.patch_size
    raise UsageError(
        f"patch {patch} is larger than every image ({len(small)} images, such as {show(small[0].path)}: "
        f"{small[0].reason}); choose a smaller --patch, or --edge pad"
    )


def canonical(value: object) -> str:
    """Plain values as JSON in the one way that is hashed and stored."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _channels(images: Iterable[Image], spec: ExtractSpec) -> int:
    if spec.mode != "auto":
        return {"gray": 1, "rgb": 3, "rgba": 4}[spec.mode]
    gray_ground = len(set(spec.background)) == 1
    gray = [image.is_gray and (gray_ground or not image.alpha) for image in images]
    return 1 if gray and all(gray) else 3


def _plan_id(settings: dict[str, object], channels: int, scan: Scan) -> str:
    """SHA-256 of the settings that matter and of the sources (path, size in bytes, pixel size, label, split)."""
    digest = hashlib.sha256(canonical([settings, channels]).encode())
    for name in (*scan.classes, b"", *scan.splits, b""):
        digest.update(name + b"\0")
    for image in scan.images:
        numbers = (image.n_bytes, image.width, image.height, image.label, image.split, image.orientation)
        digest.update(b"%b\0%d,%d,%d,%d,%d,%d\n" % (image.path, *numbers))
    return digest.hexdigest()[:32]


def _order(images: Sequence[Image], spec: ExtractSpec) -> list[int]:
    """Positions in the order of rows: by path, or by a hash of the seed and the path."""
    if not spec.shuffle:
        return list(range(len(images)))
    return sorted(
        range(len(images)),
        key=lambda i: (xxhash.xxh3_64_intdigest(images[i].path, seed=spec.seed), images[i].path),
    )


def _deal(
    images: Sequence[Image], grids: Sequence[Grid], patch_bytes: int, shard_bytes: int
) -> Iterator[list[Portion]]:
    """Portions of each shard, in order. Only images beyond `SPLIT_ABOVE` shard sizes are cut into parts."""
    run: list[tuple[Portion, int]] = []
    for source, (image, grid) in enumerate(zip(images, grids, strict=True)):
        n_bytes = grid.n_patches * patch_bytes
        if n_bytes <= SPLIT_ABOVE * shard_bytes:
            run.append((Portion(source, image, 0, grid.y.n), n_bytes))
            continue
        yield from _level(run, shard_bytes)
        run = []
        n_parts = min(grid.y.n, -(-n_bytes // shard_bytes))
        for part in range(n_parts):
            start, stop = part * grid.y.n // n_parts, (part + 1) * grid.y.n // n_parts
            yield [Portion(source, image, start, stop)]
    yield from _level(run, shard_bytes)


def _level(run: Sequence[tuple[Portion, int]], shard_bytes: int) -> Iterator[list[Portion]]:
    """Deal whole images to shards of about equal size, at most about the target.

    Their number is even (from two), so that two workers finish together: with three shards one would idle for a third
    of the run. It depends on the bytes alone, never on the workers.
    """
    total = sum(n_bytes for _, n_bytes in run)
    n_shards = -(-total // shard_bytes)
    n_shards += n_shards > 1 and n_shards % 2
    shard: list[Portion] = []
    number = done = 0
    for portion, n_bytes in run:
        middle = (2 * done + n_bytes) * n_shards // (2 * total)
        if middle > number and shard:
            yield shard
            shard = []
        number = middle
        shard.append(portion)
        done += n_bytes
    if shard:
        yield shard


def _n_rows(portion: Portion, spec: ExtractSpec) -> int:
    grid = portion_grid(portion, spec)
    return len(portion.rows) * grid.x.n


def portion_grid(portion: Portion, spec: ExtractSpec) -> Grid:
    """The grid of a portion's whole image."""
    return plan_grid(Size(portion.image.width, portion.image.height), spec.patch_size, spec.stride, spec.edge)
