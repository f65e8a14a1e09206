"""What becomes of every image and px: the account that summaries and inspection give."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from patchcli.grid import plan_grid
from patchcli.plan import Plan
from patchcli.records import Skipped, show
from patchcli.specs import Edge, Size
from patchcli.summaries import ClassSummary, ExtractSummary, group_left_out


def account_classes(
    classes: Sequence[bytes], images: Iterable[tuple[int, int, int]], patch: Size, stride: Size, edge: Edge
) -> tuple[ClassSummary, ...]:
    """Count patches and px of each class, from the sizes of images alone.

    Parameters
    ----------
    classes : sequence of bytes
    images : iterable of (label, width, height)
        With at least one patch each.
    patch, stride, edge
        As in `plan_grid`.
    """
    totals = [[0] * 5 for _ in classes]
    for label, width, height in images:
        grid = plan_grid(Size(width, height), patch, stride, edge)
        counts = (1, grid.n_patches, width * height, grid.n_uncovered, grid.n_padded)
        totals[label] = [total + count for total, count in zip(totals[label], counts, strict=True)]
    return tuple(ClassSummary(show(name), *counts) for name, counts in zip(classes, totals, strict=True))


def summarise(
    plan: Plan,
    *,
    output: bytes,
    state: Literal["made", "already done", "planned"],
    skipped: Sequence[Skipped],
    shards_kept: int,
    n_bytes: int,
    workers: int,
    seconds: float,
) -> ExtractSummary:
    """The account of a run: of the plan, less what turned out to be unreadable."""
    recipe, spec = plan.recipe, plan.spec
    unreadable = {one.path for one in skipped if one.kind == "unreadable"}
    images = [image for image in plan.images if image.path not in unreadable]
    sizes = ((image.label, image.width, image.height) for image in images)
    classes = account_classes(recipe.classes, sizes, spec.patch_size, spec.stride, spec.edge)
    return ExtractSummary(
        output=os.fsdecode(output),
        state=state,
        plan_id=recipe.plan_id,
        patches=sum(one.patches for one in classes),
        patch_shape=recipe.patch_shape,
        stride=(spec.stride.width, spec.stride.height),
        edge=spec.edge,
        images=len(images),
        classes=classes,
        splits=tuple(map(show, recipe.splits)),
        shards=recipe.n_shards,
        shards_kept=shards_kept,
        bytes=n_bytes,
        pixels=sum(one.pixels for one in classes),
        pixels_uncovered=sum(one.pixels_uncovered for one in classes),
        pixels_padded=sum(one.pixels_padded for one in classes),
        notes=tuple(_notes(plan, Counter(image.model for image in images), sum(image.alpha for image in images))),
        left_out=group_left_out(skipped),
        workers=workers,
        worker_bytes=plan.worker_bytes,
        seconds=round(seconds, 3),
    )


def _notes(plan: Plan, models: Counter[str], n_alpha: int) -> Iterator[str]:
    """Conversions, each with its count."""
    channels = plan.recipe.channels
    target = {1: "gray", 3: "RGB", 4: "RGBA"}[channels]
    gray = sum(models.pop(model, 0) for model in ("1", "L", "LA", "La"))
    for model, n in sorted(models.items()):
        if channels == 1 or model in ("CMYK", "YCbCr", "LAB"):
            yield f"{_count(n, 'image')} from {model} to {target}"
    if channels != 1 and gray:
        yield f"{_count(gray, 'image')} from gray to {target}"
    if channels != 4 and n_alpha:
        color = "#{:02x}{:02x}{:02x}".format(*plan.spec.background)
        yield f"{_count(n_alpha, 'image')} with transparency composited on {color}"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"
