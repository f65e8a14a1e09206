"""Extract: from a source folder to a data set, restartable at any moment."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from patchcli.account import summarise
from patchcli.errors import UnreadableInputs
from patchcli.io import publish
from patchcli.io.headers import parse_color
from patchcli.io.output import ExistingOutput, different_inputs, look_at_output, refuse_changed
from patchcli.io.scan import scan
from patchcli.plan import Plan, check_not_empty, plan
from patchcli.records import CutTask, ProgressCallback, ShardRecord, Skipped, no_progress, show
from patchcli.run.engine import Crew
from patchcli.run.executors import warm_up
from patchcli.run.making import Making, Records
from patchcli.run.preflight import (
    check_disk,
    check_memory,
    check_place,
    check_plugin,
    check_source,
    count_workers,
    hidden_names,
    largest_image,
)
from patchcli.specs import (
    MAX_PIXELS,
    SHARD_BYTES,
    Compression,
    Edge,
    ExecutorName,
    ExtractSpec,
    Layout,
    Mode,
    OnError,
    RunSpec,
)
from patchcli.summaries import ExtractSummary


def extract(
    src: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    patch: int | str | tuple[int, int] = 64,
    overlap: float | str | None = None,
    stride: int | str | tuple[int, int] | None = None,
    edge: Edge = "drop",
    pad_value: int = 0,
    layout: Layout = "auto",
    classes: str | Sequence[str] | None = None,
    mode: Mode = "auto",
    background: str | tuple[int, int, int] = "white",
    shuffle: bool = False,
    seed: int = 0,
    shard_size: int | str = SHARD_BYTES,
    compression: Compression = "none",
    workers: int | None = None,
    executor: ExecutorName = "process",
    on_error: OnError = "stop",
    max_pixels: int = MAX_PIXELS,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: ProgressCallback = no_progress,
) -> ExtractSummary:
    """Cut the images of a class tree into patches and write them to HDF5.

    Parameters
    ----------
    src : path
        `src/<class>/**/image`, or `src/{train,val,test}/<class>/**/image`.
    out : path
        The data set, `out.h5`; shards, when there are several, stand in `out.shards` beside it.
    patch, overlap, stride, edge, ...
        As the options of `patchcli extract`; sizes in px, `(width, height)` or `"64x48"`.
    progress : callable
        Called with a `Progress` about ten times a second; what it raises stops the run, which can be resumed.

    Returns
    -------
    ExtractSummary

    Raises
    ------
    PatchcliError
        See `patchcli.errors`.
    """
    spec = ExtractSpec.of(
        patch=patch,
        overlap=overlap,
        stride=stride,
        edge=edge,
        pad_value=pad_value,
        layout=layout,
        classes=classes,
        mode=mode,
        background=parse_color(background),
        shuffle=shuffle,
        seed=seed,
        shard_size=shard_size,
        compression=compression,
    )
    run = RunSpec(
        workers=workers,
        executor=executor,
        on_error=on_error,
        max_pixels=max_pixels,
        overwrite=overwrite,
        dry_run=dry_run,
    )
    return _Extraction(os.fsencode(src), os.fsencode(out), spec, run, progress).summary()


class _Extraction:
    """One run of `extract`; its steps in the order in which `summary` takes them."""

    def __init__(self, src: bytes, out: bytes, spec: ExtractSpec, run: RunSpec, progress: ProgressCallback) -> None:
        self.src, self.out = src, publish.behind_link(out)
        self.spec, self.run = spec, run
        self.progress = progress
        self.name = publish.new_run()
        self.began = time.monotonic()
        self.n_workers = 1

    def summary(self) -> ExtractSummary:
        """Scan, plan, look at what is there, check the room, make, account."""
        check_source(self.src, self.out)
        check_place(self.out)
        check_plugin(self.spec.compression)
        if self.run.executor == "process" and not self.run.dry_run:
            warm_up("patchcli.run.build")
        found = scan(
            self.src,
            layout=self.spec.layout,
            classes=self.spec.classes,
            max_pixels=self.run.max_pixels,
            hidden=hidden_names(self.src, self.out),
            progress=self.progress,
        )
        made = plan(found, self.spec)
        unreadable = [one for one in made.skipped if one.kind == "unreadable"]
        check_not_empty(made, len(unreadable))
        existing = look_at_output(self.out, made.recipe, partial(different_inputs, made, self.progress))
        existing.refuse_unless(overwrite=self.run.overwrite)
        self.n_workers = count_workers(made.recipe.n_shards, made.worker_bytes, self.run)
        check_memory(made.worker_bytes, self.n_workers, partial(largest_image, made))
        if made.recipe.compression == "none":  # what compressed shards come to is only known afterwards
            check_disk(self.out, [made.rows(shard) * made.recipe.patch_bytes for shard in existing.missing])
        if self.run.dry_run:
            return self._account(made, "planned", made.skipped, 0, made.n_bytes)
        if not made.n_patches:
            raise self._unreadable(unreadable, existing.n_kept)
        making = Making(
            out=self.out,
            recipe=made.recipe,
            name=self.name,
            phase="cut",
            work=_work,
            executor=self.run.executor,
            n_workers=self.n_workers,
            progress=self.progress,
            existing=existing,
        )
        done = making.make(list(self._tasks(made, making.paths, existing)), partial(self._settle, made))
        existing.remove_old()
        return self._account(made, done.state, done.skipped, done.n_kept, done.n_bytes)

    def _settle(
        self, made: Plan, crew: Crew[CutTask, ShardRecord], tasks: Sequence[CutTask], records: Records
    ) -> tuple[Skipped, ...]:
        self._rebuild(crew, tasks, records)
        return self._account_for_unreadable(made, list(records.values()))

    def _rebuild(self, crew: Crew[CutTask, ShardRecord], tasks: Sequence[CutTask], records: Records) -> None:
        """Build whole shards again whose images can be read by now, or are others and that was asked for.

        The index goes first: it must never stand over shards that it does not describe.
        """
        if not self.run.overwrite:
            refuse_changed(self.out, [path for record in records.values() for path in record.changed])
        again = [record.shard for record in records.values() if record.changed or record.mended]
        if again and len(tasks) > 1:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.out)
        for record in crew.run([replace(tasks[shard], rebuild=True) for shard in again]):
            records[record.shard] = record

    def _tasks(self, made: Plan, paths: Sequence[bytes], existing: ExistingOutput) -> Iterator[CutTask]:
        unreadable = any(one.kind == "unreadable" for one in made.skipped)
        withheld = len(paths) == 1 and unreadable and self.run.on_error == "stop"
        for k, path in enumerate(paths):
            yield CutTask(
                shard=k,
                path=path,
                n_rows=made.rows(k),
                recipe=made.recipe,
                run=self.name,
                digest=existing.digests.get(k, ""),
                skipped=made.skipped if len(paths) == 1 else (),
                root=made.root,
                portions=made.shards[k],
                spec=self.spec,
                max_pixels=self.run.max_pixels,
                withheld=withheld,
                keep_going=self.run.on_error == "skip",
            )

    def _account_for_unreadable(self, made: Plan, records: Sequence[ShardRecord]) -> tuple[Skipped, ...]:
        """All files left out; raises `UnreadableInputs` where that is not to be borne."""
        skipped = tuple(sorted({*made.skipped, *(one for r in records for one in r.skipped)}, key=lambda one: one.path))
        unreadable = [one for one in skipped if one.kind == "unreadable"]
        none_left = len({one.path for one in unreadable} & {image.path for image in made.images}) == len(made.images)
        if unreadable and (self.run.on_error == "stop" or none_left):
            raise self._unreadable(unreadable, sum(record.state != "stopped" for record in records))
        return skipped

    def _unreadable(self, unreadable: Sequence[Skipped], n_shards: int) -> UnreadableInputs:
        listed = "\n".join(f"  {show(one.path)}: {one.reason}" for one in unreadable)
        files = f"{len(unreadable)} file{'s' * (len(unreadable) != 1)}"
        kept = f"; {n_shards} finished shard{'s are' if n_shards > 1 else ' is'} kept" if n_shards else ""
        return UnreadableInputs(
            f"{files} in {os.fsdecode(self.src)} could not be read, so no data set was made{kept}:\n{listed}\n"
            f"Mend or remove them, or leave them out with --on-error skip."
        )

    def _account(
        self,
        made: Plan,
        state: Literal["made", "already done", "planned"],
        skipped: Sequence[Skipped],
        n_kept: int,
        n_bytes: int,
    ) -> ExtractSummary:
        return summarise(
            made,
            output=self.out,
            state=state,
            skipped=skipped,
            shards_kept=n_kept,
            n_bytes=n_bytes,
            workers=self.n_workers,
            seconds=time.monotonic() - self.began,
        )


def _work(task: CutTask, note: Callable[[int], None]) -> ShardRecord:
    from patchcli.run.build import keep_or_build  # there already: the fork server has it; this process need not

    return keep_or_build(task, note)
