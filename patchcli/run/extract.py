"""Extract: from a source folder to a data set, restartable at any moment."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from patchcli.account import summarise
from patchcli.errors import UnreadableInputs
from patchcli.io import publish
from patchcli.io.headers import parse_color
from patchcli.io.names import shard_path, shards_folder
from patchcli.io.output import ExistingOutput, look_at_output, refuse_changed
from patchcli.io.scan import scan
from patchcli.plan import Plan, check_not_empty, plan
from patchcli.records import (
    Progress,
    ProgressCallback,
    ShardRecord,
    Skipped,
    Task,
    no_progress,
    show,
)
from patchcli.run.engine import Crew
from patchcli.run.executors import warm_up
from patchcli.run.preflight import check_disk, check_memory, check_place, check_plugin, count_workers, hidden_names
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
        # a link stays one: what it leads to is written, and shards stand beside that
        self.src, self.out = src, os.path.realpath(out) if os.path.islink(out) else out
        self.spec, self.run = spec, run
        self.progress = progress
        self.name = publish.new_run()
        self.began = time.monotonic()
        self.n_workers = 1

    def summary(self) -> ExtractSummary:
        """Scan, plan, look at what is there, check the room, make, account."""
        check_place(self.src, self.out)
        check_plugin(self.spec)
        if self.run.executor == "process" and not self.run.dry_run:
            warm_up()
        found = scan(
            self.src,
            layout=self.spec.layout,
            classes=self.spec.classes,
            max_pixels=self.run.max_pixels,
            hidden=hidden_names(self.src, self.out),
            progress=self.progress,
        )
        made = plan(found, self.spec, max_pixels=self.run.max_pixels)
        unreadable = [one for one in made.skipped if one.kind == "unreadable"]
        check_not_empty(made, len(unreadable))
        existing = look_at_output(self.out, made, self.progress)
        existing.refuse_unless(overwrite=self.run.overwrite)
        self.n_workers = count_workers(made, self.run)
        check_memory(made, self.n_workers)
        check_disk(self.out, made, existing.missing)
        if self.run.dry_run:
            return self._account(made, "planned", made.skipped, 0, made.n_bytes)
        if not made.n_patches:
            raise self._unreadable(unreadable, existing.n_kept)
        publish.remove_stale_drafts(*self._draft_places(made), time.time())
        records, skipped, fresh = self._make(made, existing)
        existing.remove_old()
        kept = sum(record.state == "kept" for record in records)
        state: Literal["made", "already done"] = "made" if fresh else "already done"
        n_bytes = sum(record.n_bytes for record in records) + (os.path.getsize(self.out) if len(records) > 1 else 0)
        return self._account(made, state, skipped, kept, n_bytes)

    def _draft_places(self, made: Plan) -> tuple[list[bytes], list[bytes]]:
        folder = os.path.dirname(self.out) or b"."
        shards = [os.path.basename(path) for path in self._paths(made)]
        return [folder, shards_folder(self.out)], [os.path.basename(self.out), *shards]

    def _paths(self, made: Plan) -> list[bytes]:
        recipe = made.recipe
        return [shard_path(self.out, recipe.plan_id, k, recipe.n_shards) for k in range(recipe.n_shards)]

    def _make(self, made: Plan, existing: ExistingOutput) -> tuple[list[ShardRecord], tuple[Skipped, ...], bool]:
        """Build or keep all shards and write the index: records, files left out, and whether anything was written."""
        folders, _ = self._draft_places(made)
        tasks = list(self._tasks(made, existing))
        records: dict[int, ShardRecord] = {}
        done = 0

        def tick(at_work: Sequence[tuple[Task, int]]) -> None:
            begun = sum(task.n_rows * max(0, n - 1) // len(task.portions) for task, n in at_work)
            self.progress(Progress("cut", done + begun, made.n_patches, "patches"))

        def clean() -> None:
            publish.remove_drafts(folders, self.name)

        try:
            if len(tasks) > 1:
                os.makedirs(shards_folder(self.out), exist_ok=True)
            with Crew(self.run.executor, self.n_workers, tick, clean) as crew:
                for record in crew.run(tasks):
                    records[record.shard] = record
                    done += tasks[record.shard].n_rows
                self._rebuild(crew, tasks, records)
                listed = [records[k] for k in range(len(tasks))]
                skipped = self._account_for_unreadable(made, listed)
                fresh = any(record.state == "built" for record in listed)
                if len(tasks) > 1:
                    self.progress(Progress("index", 0, 1, "files"))
                    fresh |= crew.call(_seal, self.out, made, listed, skipped, self.name)
                return listed, skipped, fresh
        except OSError as error:
            raise publish.write_error(self.out, error, made.n_bytes) from error
        finally:
            with contextlib.suppress(OSError):
                os.rmdir(shards_folder(self.out))  # goes only when it is empty

    def _rebuild(self, crew: Crew, tasks: Sequence[Task], records: dict[int, ShardRecord]) -> None:
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

    def _tasks(self, made: Plan, existing: ExistingOutput) -> Iterator[Task]:
        paths = self._paths(made)
        unreadable = any(one.kind == "unreadable" for one in made.skipped)
        withheld = len(paths) == 1 and unreadable and self.run.on_error == "stop"
        for k, path in enumerate(paths):
            yield Task(
                shard=k,
                path=path,
                root=made.root,
                portions=made.shards[k],
                n_rows=made.rows(k),
                recipe=made.recipe,
                run=self.name,
                digest=existing.digests.get(k, ""),
                withheld=withheld,
                keep_going=self.run.on_error == "skip",
                skipped=made.skipped if len(paths) == 1 else (),
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


def _seal(out: bytes, made: Plan, records: Sequence[ShardRecord], skipped: Sequence[Skipped], run: str) -> bool:
    from patchcli.io.index import seal  # brings h5py: a worker has it, this process does without

    return seal(out, made, records, skipped, run)
