"""Augment: from a data set to one of its copies, restartable at any moment."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from patchcli.copies import MOST_COPIES, AugmentSpec, Copies, deal, n_repeated, plan_copies
from patchcli.errors import UsageError
from patchcli.io import publish
from patchcli.io.fitted import MOST_FITTED
from patchcli.io.h5 import read_table
from patchcli.io.names import shards_folder
from patchcli.io.output import ExistingOutput, look_at_output
from patchcli.io.patchfile import opened, read_names
from patchcli.io.pipelines import spec_of
from patchcli.io.prepared import Prepared, prepare
from patchcli.io.tables import RowColumns, SourceColumns
from patchcli.pipeline.augmenter import names_albumentations
from patchcli.pipeline.standardize import Statistics
from patchcli.pipeline.tree import Array
from patchcli.records import Progress, ProgressCallback, Recipe, no_progress, show
from patchcli.run.copies import LISTING, Columns, CopyTask, keep_or_build
from patchcli.run.executors import warm_up
from patchcli.run.making import Making
from patchcli.run.preflight import check_disk, check_memory, check_place, check_plugin, count_workers
from patchcli.specs import ExecutorName, RunSpec
from patchcli.summaries import AugmentSummary, CopiedClass

_WORKER_BYTES: Final = 160 << 20
_ROW_BYTES: Final = 200
_MATRICES_HELD: Final = 6  # of float64, while the whitening matrix is worked out, before the workers begin
_PATCHES_HELD: Final = 24  # arrays of a patch's shape, float64, that a transform may need at once


def augment(
    src: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    config: object = None,
    workers: int | None = None,
    executor: ExecutorName | None = None,
    overwrite: bool | None = None,
    dry_run: bool | None = None,
    progress: ProgressCallback = no_progress,
    **options: Any,
) -> AugmentSummary:
    """Make augmented copies of the patches of a data set, each drawn from what it is a copy of.

    Parameters
    ----------
    src : path
        A patchcli file: an index, a data set in one file, or a shard.
    out : path
        The data set to be made; shards, when there are several, stand in `out.shards` beside it.
    config : path, list or mapping, optional
        A YAML file or a pipeline: `[{"HorizontalFlip": {"p": 0.5}}]`, or as albumentations saves it. A file may hold
        options too; what is given here is stronger.
    workers, executor, overwrite, dry_run, progress
        As in `extract`.
    **options
        The options of `patchcli augment --help` under their names: `copies`, `seed`, `keep_original`, `balance`,
        `only_split`, `shard_size`, `compression`; `rotation_range` and the other ranges of ImageDataGenerator;
        `rescale` and the other ways to standardise.

    Returns
    -------
    AugmentSummary

    Raises
    ------
    UsageError
        Options, pipeline or splits that cannot be; nothing was written.
    OutputConflict, NotEnoughSpace, DamagedFile, WorkerDied
    """
    spec, said = spec_of(config, options)
    given = {"workers": workers, "executor": executor, "overwrite": overwrite, "dry_run": dry_run}
    run = RunSpec(**{**said, **{name: value for name, value in given.items() if value is not None}})
    return _Augmentation(os.fsencode(src), os.fsencode(out), spec, run, progress).summary()


class _Augmentation:
    """One run of `augment`; its steps in the order in which `summary` takes them."""

    def __init__(self, src: bytes, out: bytes, spec: AugmentSpec, run: RunSpec, progress: ProgressCallback) -> None:
        self.src, self.out = src, publish.behind_link(out)
        self.spec, self.run, self.progress = spec, run, progress
        self.name = publish.new_run()
        self.began = time.monotonic()

    def summary(self) -> AugmentSummary:
        """Look at the input, plan, look at what is there, check the room, make, account."""
        check_place(self.out)
        _check_apart(self.src, self.out)
        check_plugin(self.spec.compression)
        if self.run.executor == "process" and not self.run.dry_run:
            warm_up("patchcli.run.copies", *["patchcli.pipeline.transforms"] * names_albumentations(self.spec.pipeline))
        prepared = prepare(self.src, self.spec, self._beat)
        tables, facts = prepared.dataset.tables, prepared.dataset.facts
        copies = plan_copies(self.spec, tables["labels"], prepared.chosen, prepared.ranks)
        kind = prepared.augmenter(None).dtype
        patch_bytes = int(np.prod(facts.patch_shape)) * kind.itemsize
        spans = deal(len(copies.origin), patch_bytes, self.spec.shard_size)
        recipe = prepared.recipe(kind, len(spans))
        existing = look_at_output(self.out, recipe, lambda *_: [f"  the patches of {show(self.src)} changed"])
        existing.refuse_unless(overwrite=self.run.overwrite)
        worker_bytes = _worker_bytes(recipe, max(map(len, spans)), prepared)
        n_workers = count_workers(len(spans), worker_bytes, self.run)
        check_memory(worker_bytes, n_workers, lambda: "or a smaller --shard-size")
        if recipe.compression == "none":
            check_disk(self.out, [len(spans[k]) * recipe.patch_bytes for k in existing.missing])
        account = partial(self._account, prepared, copies, recipe, n_workers, worker_bytes)
        if self.run.dry_run:
            return account("planned", 0, len(copies.origin) * recipe.patch_bytes, 0)
        statistics = prepared.statistics(self._beat)
        making = Making(
            out=self.out,
            recipe=recipe,
            name=self.name,
            phase="augment",
            work=keep_or_build,
            executor=self.run.executor,
            n_workers=n_workers,
            progress=self.progress,
            existing=existing,
            more={} if statistics is None else statistics.tables(whole=True),
        )
        tasks = list(self._tasks(prepared, copies, spans, making, existing, statistics))
        done = making.make(tasks, lambda *_: prepared.dataset.skipped)
        existing.remove_old()
        with opened(self.out) as (file, _):
            repeated = n_repeated(copies.origin, read_table(file, "digest"))
        return account(done.state, done.n_kept, done.n_bytes, repeated)

    def _beat(self, done: int, total: int) -> None:
        self.progress(Progress("scan", done, total, "patches"))

    def _tasks(
        self,
        prepared: Prepared,
        copies: Copies,
        spans: Sequence[range],
        making: Making[CopyTask],
        existing: ExistingOutput,
        statistics: Statistics | None,
    ) -> Iterator[CopyTask]:
        dataset = prepared.dataset
        for k, span in enumerate(spans):
            yield CopyTask(
                shard=k,
                path=making.paths[k],
                n_rows=len(span),
                recipe=making.recipe,
                run=self.name,
                digest=existing.digests.get(k, ""),
                skipped=dataset.skipped if len(spans) == 1 else (),
                facts=dataset.facts,
                listing={name: dataset.tables[name] for name in LISTING if name in dataset.tables},
                columns=partial(_columns, dataset.tables, copies, span),
                pipeline=prepared.pipeline,
                seed=self.spec.seed,
                standard=self.spec.standard,
                statistics=statistics,
            )

    def _account(
        self,
        prepared: Prepared,
        copies: Copies,
        recipe: Recipe,
        n_workers: int,
        worker_bytes: int,
        state: Any,
        n_kept: int,
        n_bytes: int,
        repeated: int,
    ) -> AugmentSummary:
        said = json.loads(recipe.settings)["augment"]
        return AugmentSummary(
            output=os.fsdecode(self.out),
            input=os.fsdecode(self.src),
            state=state,
            plan_id=recipe.plan_id,
            patches=len(copies.origin),
            repeated=repeated,
            originals=int(np.sum(copies.copy == 0)),
            copies=int(np.sum(copies.copy > 0)),
            patch_shape=recipe.patch_shape,
            dtype=recipe.dtype,
            classes=tuple(_classes(prepared, copies)),
            split=prepared.split,
            balance=self.spec.balance,
            seed=self.spec.seed,
            pipeline=said["pipeline"],
            standardize=said["standardize"],
            shards=recipe.n_shards,
            shards_kept=n_kept,
            bytes=n_bytes,
            notes=tuple(_notes(prepared)),
            workers=n_workers,
            worker_bytes=worker_bytes,
            seconds=round(time.monotonic() - self.began, 3),
        )


def _check_apart(src: bytes, out: bytes) -> None:
    """Raise `UsageError` when the output would replace the input or its shards."""
    here = os.path.realpath(src)
    if here == os.path.realpath(out) or (os.path.exists(out) and os.path.exists(src) and os.path.samefile(src, out)):
        raise UsageError(f"{os.fsdecode(out)}: is the input too: write to another file")
    if os.path.dirname(here) == os.path.realpath(shards_folder(out)):
        raise UsageError(f"{os.fsdecode(out)}: its shards would stand beside the input, a shard: write to another file")


def _columns(tables: dict[str, Array], copies: Copies, span: range) -> Columns:
    """What each row of a shard is."""
    origin, copy = copies.origin[span.start : span.stop], copies.copy[span.start : span.stop]
    used, source = np.unique(tables["source"][origin], return_inverse=True)
    columns = {name: tables[f"sources/{name}"][used] for name in ("width", "height", "sha256", "label")}
    rows = RowColumns(
        labels=tables["labels"][origin],
        digest=np.zeros(len(origin), np.uint64),
        coords=tables["coords"][origin],
        source=source.astype(np.int32),
        split=tables["split"][origin] if "split" in tables else None,
        origin=origin,
        copy=copy,
    )
    names = (read_names(tables[f"sources/{name}"][used]) for name in ("path", "group"))
    path, group = names
    return Columns(
        rows=rows,
        sources=SourceColumns(path=path, group=group, **columns),
        expected=tables["digest"][origin],
        copy_before=tables["copy"][origin] if "copy" in tables else None,
    )


def _worker_bytes(recipe: Recipe, most_rows: int, prepared: Prepared) -> int:
    size = int(np.prod(recipe.patch_shape))
    whitening = _MATRICES_HELD * 8 * size * size if prepared.spec.standard.zca_whitening else 0
    return _WORKER_BYTES + most_rows * _ROW_BYTES + _PATCHES_HELD * size * 8 + whitening


def _classes(prepared: Prepared, copies: Copies) -> Iterator[CopiedClass]:
    tables = prepared.dataset.tables
    n_copies = np.bincount(copies.origin[copies.copy > 0], minlength=len(tables["labels"]))
    labels = tables["labels"][copies.origin]
    for label, name in enumerate(read_names(tables["classes"])):
        chosen = n_copies[prepared.chosen & (tables["labels"] == label)]
        yield CopiedClass(
            name=show(name),
            patches_in=int(np.sum(tables["labels"] == label)),
            augmented=len(chosen),
            copies=(int(chosen.min(initial=MOST_COPIES)), int(chosen.max())) if len(chosen) else (0, 0),
            patches=int(np.sum(labels == label)),
        )


def _notes(prepared: Prepared) -> Iterator[str]:
    spec, n = prepared.spec, int(prepared.chosen.sum())
    if spec.standard.zca_whitening and n > MOST_FITTED:
        yield f"the whitening matrix is worked out from {MOST_FITTED:,} of {n:,} patches"
    size = int(np.prod(prepared.dataset.facts.patch_shape))
    if spec.standard.zca_whitening and n < size:
        yield (
            f"whitening from {n:,} patches of {size:,} values: what they do not show is blown up by 1 / zca_epsilon; "
            f"take more patches, smaller ones, or a larger --zca-epsilon"
        )
    if not spec.standard.is_nothing:
        yield "every patch is standardised, originals and all splits too: float32"
