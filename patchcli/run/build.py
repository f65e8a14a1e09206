"""One task from start to end: read, cut, digest and write one shard. Runs in a worker, which owns that file alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence

from patchcli.cut import cut, new_block
from patchcli.io.headers import Unreadable, quiet_pillow
from patchcli.io.images import Decoder, file_sha256
from patchcli.io.output import publish_shard
from patchcli.io.publish import Draft, write_error
from patchcli.io.shard import digests, new_writer, root_attributes
from patchcli.io.tables import cut_columns, file_tables
from patchcli.io.whole import whole_shard
from patchcli.plan import portion_grid
from patchcli.records import CutTask, Portion, ShardRecord, Skipped
from patchcli.stats import NOTHING, moments


def keep_or_build(task: CutTask, note: Callable[[int], None] = lambda _: None) -> ShardRecord:
    """Keep the shard if it is there, whole and of this plan; otherwise build it.

    Every byte is looked at, of the shard and of its images: a shard with one flipped bit is built again, an image that
    was replaced by another of the same size is noticed.
    """
    whole = whole_shard(task, beat=lambda: note(0))
    if whole is not None:
        planned = {portion.image.path: portion for portion in task.portions}
        unreadable = tuple(one for one in whole.skipped if one.path in planned and one.kind == "unreadable")
        changed = tuple(p for p, digest in whole.sha256.items() if file_sha256(os.path.join(task.root, p)) != digest)
        same = set(whole.skipped) - set(unreadable) == set(task.skipped)
        mended = len(_look(task, [planned[one.path] for one in unreadable], note)) < len(unreadable)
        if same and not (task.rebuild and (changed or mended)):
            return ShardRecord(task.shard, "kept", whole.n_bytes, whole.digest, unreadable, changed, mended)
    return build_shard(task, note)


def build_shard(task: CutTask, note: Callable[[int], None] = lambda _: None) -> ShardRecord:
    """Build a shard and publish it under its final name.

    Parameters
    ----------
    task : CutTask
    note : callable
        Called at each image with the number of images begun.

    Returns
    -------
    ShardRecord
        `stopped`, with the reasons, when an image is unreadable and `task.keep_going` is off, or the file is withheld.

    Raises
    ------
    NotEnoughSpace, OutputConflict
        The disk is full, or the folder refuses the file.
    """
    if task.withheld:
        return ShardRecord(task.shard, "stopped", skipped=tuple(_look(task, task.portions, note).values()))
    bad: dict[int, Skipped] = {}
    while True:
        portions = [portion for portion in task.portions if portion.source not in bad]
        try:
            with quiet_pillow(task.max_pixels):
                record, found = _attempt(task, portions, tuple(bad.values()), note)
        except OSError as error:
            raise write_error(task.path, error, task.n_rows * task.recipe.patch_bytes) from error
        if record is not None:
            return record
        bad |= found
        if not task.keep_going:
            return ShardRecord(task.shard, "stopped", skipped=tuple(bad.values()))


def _look(
    task: CutTask, portions: Sequence[Portion], note: Callable[[int], None], begun: int = 0
) -> dict[int, Skipped]:
    """Decode images only to see which of them are unreadable: those, by source."""
    bad: dict[int, Skipped] = {}
    decoder = Decoder(task.recipe.channels, task.spec.background)
    with quiet_pillow(task.max_pixels):
        for number, portion in enumerate(portions):
            note(begun + number + 1)
            try:
                decoder.decode(task.root, portion.image)
            except Unreadable as error:
                bad[portion.source] = Skipped(portion.image.path, str(error), "unreadable")
    return bad


def _attempt(
    task: CutTask, portions: Sequence[Portion], skipped: tuple[Skipped, ...], note: Callable[[int], None]
) -> tuple[ShardRecord | None, dict[int, Skipped]]:
    """Write the shard from these portions; at the first unreadable image only look at the rest.

    The number of rows has to be known before the first byte is written, so a shard with unreadable images is begun
    again without them.
    """
    recipe, spec = task.recipe, task.spec
    attributes = root_attributes(recipe.shard_role, recipe, task.shard)
    rows, sources = cut_columns(portions, spec, recipe)
    left_out = sorted([*task.skipped, *skipped], key=lambda one: one.path)
    decoder = Decoder(recipe.channels, spec.background)
    block = new_block(recipe.patch_bytes)
    total, done = NOTHING, 0
    with Draft(task.path, task.run) as draft:
        foreseen = file_tables(rows, sources, recipe, left_out, NOTHING)
        writer = new_writer(draft, attributes, recipe, len(rows), foreseen)
        with contextlib.closing(writer), contextlib.closing(decoder):
            for number, portion in enumerate(portions):
                note(number + 1)
                if number + 1 < len(portions):
                    decoder.expect(task.root, portions[number + 1].image)
                try:
                    image, sha256 = decoder.decode(task.root, portion.image)
                except Unreadable:
                    return None, _look(task, portions[number:], note, number)
                grid = portion_grid(portion, spec)
                # while the image is in the cache of the core
                total += moments(image, grid, rows=portion.rows, edge=spec.edge, pad_value=spec.pad_value)
                for patches in cut(
                    image, grid, rows=portion.rows, block=block, edge=spec.edge, pad_value=spec.pad_value
                ):
                    rows.digest[done : done + len(patches)] = digests(patches)
                    writer.add(patches)
                    done += len(patches)
                sources.sha256[number] = sha256
            n_bytes, digest = writer.finish(file_tables(rows, sources, recipe, left_out, total))
            publish_shard(draft, recipe, task.seen)
    return ShardRecord(task.shard, "built", n_bytes, digest, skipped), {}
