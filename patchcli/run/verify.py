"""Verify: whether a data set is whole, agrees with itself and with its images, and leaks nothing between splits."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from patchcli.consistency import broken_rules, misshapen
from patchcli.errors import DamagedFile, UsageError
from patchcli.inspected import Depth, Finding, FindingKind, Verification
from patchcli.io.checking import Checked, CheckTask, check_file, check_index
from patchcli.io.foreign.look import is_foreign, is_ours
from patchcli.io.listed import ListedShard, listed_shards
from patchcli.io.names import shards_folder
from patchcli.io.patchfile import Facts, opened, read_tables
from patchcli.leaks import find_twins
from patchcli.records import ProgressCallback, no_progress, show
from patchcli.run.agreement import disagreements
from patchcli.run.checkers import Checkers
from patchcli.run.recut import Choice, check_root, recut, recut_tasks
from patchcli.run.twins import Viewer, describe_twin
from patchcli.specs import MAX_PIXELS, ExecutorName, Size, check_choice, check_whole
from patchcli.summaries import made_by

Rows = npt.NDArray[np.int64]
Tables = dict[str, npt.NDArray[Any]]

_MOST_FINDINGS: Final = 1000
_INSPECT: Final = "without --verify, inspect says what it holds"
_REMOVE: Final = "if a data set stood here: remove this file, then the command that made it makes it again"
_DIED: Final = "its worker died twice over it: memory ran out, or a library crashed there"


def verify(
    path: str | os.PathLike[str],
    *,
    depth: Depth = "deep",
    source: str | os.PathLike[str] | None = None,
    sample: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    executor: ExecutorName = "process",
    max_pixels: int = MAX_PIXELS,
    progress: ProgressCallback = no_progress,
) -> Verification:
    """Check a data set: every byte, every patch, what its tables say, and what stands in two splits or classes.

    Parameters
    ----------
    path : path
        An index, a data set in one file, or a shard.
    depth : {"deep", "quick"}
        `quick` only looks whether every shard is there, with the right size, identity and number of patches.
    source : path, optional
        The folder that the data set was cut from: every patch is cut again and compared.
    sample, seed : int, optional
        Cut only so many patches again, chosen by the seed.
    workers, executor, max_pixels, progress
        As for `patchcli.extract`.

    Returns
    -------
    Verification
        What is wrong is an answer here, and never an error. It is the same for any number of workers, but for its
        seconds.

    Raises
    ------
    FileNotFoundError
    UsageError
        The options contradict each other, or the source is no folder, or holds none of the images.
    WorkerDied
        Worker processes cannot be started here.
    """
    check_choice("verify", depth, ("quick", "deep"))
    check_choice("executor", executor, ("process", "serial"))
    check_whole("seed", seed, 0, 2**63 - 1)
    if workers is not None:
        check_whole("workers", workers, 1, 2**31 - 1)
    if sample is not None:
        check_whole("sample", sample, 1, 2**63 - 1)
    check_whole("max_pixels", max_pixels, 1, 2**63 - 1)
    check_whole("seed", seed, 0, 2**63 - 1)
    if sample is not None and source is None:
        raise UsageError("sample: says how many patches to cut again; give the folder of images as source too")
    if source is not None and not os.path.isdir(source):
        raise UsageError(f"{os.fspath(source)}: is no folder; expected the one that the data set was cut from")
    if source is not None and depth == "quick":
        raise UsageError("verify quick reads no patch: leave source out, or verify deep")
    root = None if source is None else os.fsencode(source)
    checkers = Checkers(executor, workers, progress)
    return _Verifying(os.fsencode(path), depth, checkers).verification(root, Choice(sample, seed, max_pixels))


class _Verifying:
    """One verification; its steps in the order in which `verification` takes them."""

    def __init__(self, path: bytes, depth: Depth, checkers: Checkers) -> None:
        self.path, self.shown = path, show(path)
        self.depth, self.checkers = depth, checkers
        self.began = time.monotonic()
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.n_files = 1
        self.n_bytes = self.n_patches = self.n_recut = 0
        self.maker = "the command that made it"

    def verification(self, root: bytes | None, choice: Choice) -> Verification:
        """Look at the file that was named, at all its shards, at what their tables say, at the images."""
        read = self._read()
        if read is not None:
            facts, tables, shards = read
            if root is not None:
                check_root(root, tables)
            checked = self._check_files(facts, shards)
            if self.depth == "deep":
                self._check_content(facts, tables, shards, checked, root, choice)
            else:
                self.notes.append("patches, tables, statistics and leaks were not looked at: --verify deep does")
        return Verification(
            depth=self.depth,
            ok=not self.findings,
            files=self.n_files,
            bytes=self.n_bytes,
            patches=self.n_patches,
            recut=self.n_recut,
            findings=tuple(self.findings[:_MOST_FINDINGS]),
            n_findings=len(self.findings),
            notes=tuple(self.notes),
            seconds=round(time.monotonic() - self.began, 3),
        )

    def _add(self, kind: FindingKind, what: str, rows: Sequence[int] | Rows = (), remedy: str = "") -> None:
        listed = tuple(int(row) for row in rows[:10])
        remedy = remedy or f"{self.maker} writes it again"
        self.findings.append(Finding(kind, self.shown, listed, len(rows), what, remedy))

    def _read(self) -> tuple[Facts, Tables, tuple[ListedShard, ...]] | None:
        """What the named file says; None when it cannot be read or followed, which is a finding."""
        kind: FindingKind = "damaged"
        try:
            with opened(self.path) as (file, facts):
                self.maker = f"the same {made_by(facts.settings)} command"
                tables = read_tables(file)
                if facts.role == "index" and self.depth == "deep":
                    self.n_bytes += os.path.getsize(self.path)
                    altered = check_index(self.path, file)
                    if altered:
                        self._add(kind, altered)
                kind = "contradiction"
                wrong = misshapen(tables, facts.n_rows, facts.patch_shape[2])
                if wrong:
                    self._add(kind, wrong)
                    return None
            return facts, tables, listed_shards(facts, tables)
        except DamagedFile as error:
            what = str(error).removeprefix(f"{os.fsdecode(self.path)}: ")
            if is_foreign(self.path):
                self._add("foreign", "an HDF5 file that patchcli did not make", remedy=_INSPECT)
            elif not is_ours(self.path):
                empty = os.path.getsize(self.path) == 0
                self._add("damaged" if empty else "foreign", what, remedy=_REMOVE)
            else:
                self._add(kind, what)
            if os.path.isdir(shards_folder(self.path)):
                self.notes.append("its shards were not looked at: mend this file first, then verify again")
        return None

    def _check_files(self, facts: Facts, shards: Sequence[ListedShard]) -> dict[int, Checked]:
        """Each file with patches by itself; what came of it by shard."""
        self._note_strays(shards)
        if facts.role == "index":
            tasks = [self._listed_task(facts, shard) for shard in shards]
        else:
            tasks = [self._own_task(facts)]
        self.n_files = len(tasks) + (facts.role == "index")
        if self.depth == "deep":
            outcome = self.checkers.read(tasks, check_file, "verify", facts.patch_bytes)
        else:
            outcome = self.checkers.look(tasks, check_file)
        checked = {one.shard: one for one in outcome.done}
        for task in outcome.died:
            checked[task.shard] = Checked(task.shard, (Finding("damaged", task.shown, (), 0, _DIED, task.remedy),))
        for _, one in sorted(checked.items()):
            self.findings += one.findings
            self.n_bytes += one.n_bytes
            self.n_patches += one.n_patches
        return checked

    def _note_strays(self, shards: Sequence[ListedShard]) -> None:
        """Files beside the shards that belong to no data set, or to another: no reader opens them."""
        known = {shard.path for shard in shards}
        for folder in sorted(
            {os.path.dirname(path) for path in known} - {os.path.dirname(os.path.realpath(self.path))}
        ):
            try:
                strays = sorted(name for name in os.listdir(folder) if os.path.join(folder, name) not in known)
            except OSError:
                continue
            if strays:
                files = f"{len(strays):,} file{'s' * (len(strays) != 1)}"
                self.notes.append(f"{show(folder)} holds {files} that no index lists: {show(strays[0])}")

    def _own_task(self, facts: Facts) -> CheckTask:
        """The named file itself, which holds patches."""
        return CheckTask(
            path=self.path,
            shown=self.shown,
            plan_id=facts.plan_id,
            shard=facts.shard,
            n_rows=facts.n_rows,
            patch_shape=facts.patch_shape,
            dtype=str(facts.dtype),
            n_bytes=None,
            digest="",
            remedy=self._rebuilds(facts.shard if facts.role == "shard" else None),
            deep=self.depth == "deep",
        )

    def _listed_task(self, facts: Facts, listed: ListedShard) -> CheckTask:
        """A file that the index lists."""
        return CheckTask(
            path=listed.path,
            shown=show(os.path.join(os.path.dirname(self.path), listed.name)),
            plan_id=facts.plan_id,
            shard=listed.number,
            n_rows=listed.n_rows,
            patch_shape=facts.patch_shape,
            dtype=str(facts.dtype),
            n_bytes=listed.n_bytes,
            digest=listed.digest,
            remedy=self._rebuilds(listed.number),
            deep=self.depth == "deep",
        )

    def _rebuilds(self, shard: int | None) -> str:
        return f"{self.maker} {'makes it again' if shard is None else f'rebuilds {shard:05d}'}"

    def _check_content(
        self,
        facts: Facts,
        tables: Tables,
        shards: Sequence[ListedShard],
        checked: dict[int, Checked],
        root: bytes | None,
        choice: Choice,
    ) -> None:
        """What the tables say: whether rows lead somewhere, agree with the shards, stand twice, show the images."""
        height, width, _ = facts.patch_shape
        broken = list(broken_rules(tables, Size(width, height), facts.settings["edge"]))
        for rule in broken:
            self._add("contradiction", rule.what, rule.rows)
        if facts.role == "index":
            for what in disagreements(tables, str(facts.dtype), shards, checked):
                self._add("contradiction", what)
        if broken:
            return
        self._look_for_twins(tables)
        if root is not None:
            self._cut_again(facts, tables, root, choice)

    def _look_for_twins(self, tables: Tables) -> None:
        found, n_blank, n_unread = find_twins(tables, Viewer(self.path, tables["stats/std"]))
        for twin in found:
            kind, rows, what, remedy = describe_twin(twin, tables)
            self._add(kind, what, rows, remedy)
        if n_blank:
            patches = f"{n_blank:,} identical patches"
            self.notes.append(f"{patches} in several splits or classes show nearly nothing, and are exempt")
        if n_unread:
            patches = f"{n_unread:,} identical patches"
            self.notes.append(f"{patches} in several splits or classes cannot be read, and were not judged")
        if "split" not in tables:
            self.notes.append("no splits: images and patches were compared between classes alone")

    def _cut_again(self, facts: Facts, tables: Tables, root: bytes, choice: Choice) -> None:
        tasks, note = recut_tasks(facts, tables, root, choice, self.shown)
        if note:
            self.notes.append(note)
        outcome = self.checkers.read(tasks, recut, "compare", facts.patch_bytes)
        self.n_recut = sum(one.n_patches for one in outcome.done)
        found = [(one.path, one.finding) for one in outcome.done if one.finding is not None]
        found += [
            (task.path, Finding("source", self.shown, (), 0, f"{show(task.path)}: {_DIED}", task.again))
            for task in outcome.died
        ]
        self.findings += [finding for _, finding in sorted(found, key=lambda one: one[0])]
