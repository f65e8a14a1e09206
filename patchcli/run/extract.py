"""Extract: from a source folder to a data set, restartable at any moment."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import time
from collections.abc import Iterator, Sequence
from typing import Literal

from patchcli.account import summarise
from patchcli.errors import NotEnoughSpace, UnreadableInputs, UsageError
from patchcli.io import publish, room
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

_SPARE_BYTES = 16 << 20


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
    background: str = "white",
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
    run = RunSpec(workers, executor, on_error, max_pixels, overwrite, dry_run)
    return _Extraction(os.fsencode(src), os.fsencode(out), spec, run, progress).summary()


class _Extraction:
    """One run of `extract`; its steps in the order in which `summary` takes them."""

    def __init__(self, src: bytes, out: bytes, spec: ExtractSpec, run: RunSpec, progress: ProgressCallback) -> None:
        self.src, self.out, self.spec, self.run = src, out, spec, run
        self.progress = progress
        self.name = publish.new_run()
        self.began = time.monotonic()

    def summary(self) -> ExtractSummary:
        self._check_output_place()
        self._check_plugin()
        if self.run.executor == "process" and not self.run.dry_run:
            warm_up()
        found = scan(
            self.src,
            layout=self.spec.layout,
            classes=self.spec.classes,
            max_pixels=self.run.max_pixels,
            hidden=self._hidden(),
            progress=self.progress,
        )
        made = plan(found, self.spec, max_pixels=self.run.max_pixels)
        unreadable = [one for one in made.skipped if one.kind == "unreadable"]
        check_not_empty(made, len(unreadable))
        existing = look_at_output(self.out, made)
        existing.refuse_unless(overwrite=self.run.overwrite)
        self._check_room(made, existing)
        if self.run.dry_run:
            return self._account(made, "planned", made.skipped, 0, made.n_bytes)
        if not made.n_patches:
            raise self._unreadable(unreadable, existing.n_kept)
        publish.remove_stale_drafts(*self._draft_places(made), time.time())
        records, skipped, fresh = self._make(made, existing)
        existing.remove_old()
        kept = sum(record.state == "kept" for record in records)
        state: Literal["made", "already done"] = "made" if fresh else "already done"
        return self._account(made, state, skipped, kept, sum(record.n_bytes for record in records))

    def _check_output_place(self) -> None:
        folder = os.path.dirname(self.out) or b"."
        shown = os.fsdecode(self.out)
        if os.path.isdir(self.out):
            raise UsageError(f"{shown}: is a folder; expected the name of a file to write, such as out.h5")
        if not os.path.isdir(folder):
            raise UsageError(f"{shown}: the folder {os.fsdecode(folder)} does not exist: create it first")
        inside, source = os.path.realpath(folder), os.path.realpath(self.src)
        if inside.startswith(os.path.join(source, b"")):
            raise UsageError(f"{shown}: stands among the images of {os.fsdecode(self.src)}: write it elsewhere")

    def _check_plugin(self) -> None:
        if self.spec.compression in ("lz4", "zstd") and importlib.util.find_spec("hdf5plugin") is None:
            raise UsageError(
                f"compression {self.spec.compression} needs the package hdf5plugin: pip install 'patchcli[compression]'"
            )

    def _hidden(self) -> frozenset[bytes]:
        """Names of the output within the source folder, should it stand there."""
        if os.path.realpath(os.path.dirname(self.out) or b".") != os.path.realpath(self.src):
            return frozenset()
        return frozenset(map(os.path.basename, (self.out, shards_folder(self.out))))

    def _workers(self, made: Plan) -> int:
        """As asked for; otherwise one a processor, as many as memory allows. Never more than there are shards."""
        if self.run.executor == "serial":
            return 1
        n = self.run.workers or room.n_cpus()
        memory = room.available_memory()
        if self.run.workers is None and memory is not None:
            n = min(n, max(1, memory // made.worker_bytes))
        return max(1, min(n, len(made.shards)))

    def _check_room(self, made: Plan, existing: ExistingOutput) -> None:
        """Memory and disk, before the first decode."""
        n, memory = self._workers(made), room.available_memory()
        if memory is not None and n * made.worker_bytes > memory:
            largest = max(made.images, key=lambda image: image.width * image.height)
            raise NotEnoughSpace(
                f"{n} workers need {n * made.worker_bytes:,} bytes of memory, {memory:,} are available: use fewer "
                f"--workers, or --max-pixels below {largest.width * largest.height:,} "
                f"(the largest image is {os.fsdecode(largest.path)}, {largest.width}x{largest.height})"
            )
        if self.spec.compression != "none":  # what it comes to is only known afterwards
            return
        missing = [made.rows(shard) * made.recipe.patch_bytes for shard in existing.missing]
        folder = os.path.dirname(self.out) or b"."
        needed, free = sum(missing) + _SPARE_BYTES * bool(missing), room.free_bytes(folder)
        if needed > free:
            raise NotEnoughSpace(
                f"{os.fsdecode(self.out)}: needs {needed:,} bytes on disk, {free:,} are free in {os.fsdecode(folder)}"
            )
        limit = room.largest_file()
        if limit is not None and missing and max(missing) > limit:
            raise NotEnoughSpace(
                f"{os.fsdecode(self.out)}: a file of {max(missing):,} bytes is needed, the limit on file size "
                f"(ulimit -f) is {limit:,} bytes: raise it, or use a smaller --shard-size"
            )

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
            with Crew(self.run.executor, self._workers(made), tick, clean) as crew:
                for record in crew.run(tasks):
                    records[record.shard] = record
                    done += tasks[record.shard].n_rows
                listed = [records[k] for k in range(len(tasks))]
                refuse_changed(self.out, [path for record in listed for path in record.changed])
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

    def _tasks(self, made: Plan, existing: ExistingOutput) -> Iterator[Task]:
        paths = self._paths(made)
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
                overwrite=self.run.overwrite,
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
            workers=self._workers(made),
            seconds=time.monotonic() - self.began,
        )


def _seal(out: bytes, made: Plan, records: Sequence[ShardRecord], skipped: Sequence[Skipped], run: str) -> bool:
    from patchcli.io.index import seal  # brings h5py: a worker has it, this process does without

    return seal(out, made, records, skipped, run)
