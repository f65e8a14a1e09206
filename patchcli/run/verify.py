"""Verify: whether a data set is whole, agrees with itself and with its images, and leaks nothing between splits."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from patchcli.consistency import broken_rules, differing_stats, misshapen
from patchcli.errors import DamagedFile, UsageError, WorkerDied
from patchcli.inspected import Depth, Finding, FindingKind, Verification
from patchcli.io import room
from patchcli.io.checking import REPEATED, Checked, CheckTask, check_file, check_index, column_digest
from patchcli.io.listed import ListedShard, listed_shards
from patchcli.io.patchfile import Facts, is_foreign, opened, read_names, read_tables
from patchcli.leaks import find_twins
from patchcli.records import Progress, ProgressCallback, no_progress, show
from patchcli.run.engine import Crew
from patchcli.run.executors import warm_up
from patchcli.run.recut import Choice, RecutTask, recut, recut_tasks
from patchcli.run.twins import BlankFinder, describe_twin
from patchcli.specs import MAX_PIXELS, ExecutorName, Size, check_choice, check_whole
from patchcli.stats import NOTHING

Rows = npt.NDArray[np.int64]
Tables = dict[str, npt.NDArray[Any]]

_MOST_FINDINGS: Final = 1000
_ALONE_BYTES: Final = 1 << 28  # as long as workers take to start, this process has read so much


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
    sample : int, optional
        Cut only so many patches again, chosen by `seed`.
    workers, executor, max_pixels, progress
        As for `patchcli.extract`.

    Returns
    -------
    Verification
        What is wrong is an answer here, and never an error.

    Raises
    ------
    FileNotFoundError
    UsageError
        The options contradict each other, or the source is no folder.
    """
    check_choice("verify", depth, ("quick", "deep"))
    check_choice("executor", executor, ("process", "serial"))
    if workers is not None:
        check_whole("workers", workers, 1, 2**31 - 1)
    if sample is not None:
        check_whole("sample", sample, 1, 2**63 - 1)
    if sample is not None and source is None:
        raise UsageError("sample: says how many patches to cut again; give the folder of images as source too")
    if source is not None and not os.path.isdir(source):
        raise UsageError(f"{os.fspath(source)}: is no folder; expected the one that the data set was cut from")
    if source is not None and depth == "quick":
        raise UsageError("verify quick reads no patch: leave source out, or verify deep")
    pool = _Pool(executor, workers, progress)
    return _Verifying(os.fsencode(path), depth, pool).verification(source, Choice(sample, seed, max_pixels))


class _Pool(NamedTuple):
    """Who works, and whom it tells."""

    executor: ExecutorName
    workers: int | None
    progress: ProgressCallback

    def crew(self, n_tasks: int, n_bytes: int, work: Any, tick: Any) -> Crew[Any, Any]:
        """As many workers as there is work for; none for what is done before they have started."""
        few = self.workers is None and n_bytes < _ALONE_BYTES
        n = 1 if self.executor == "serial" else min(self.workers or room.n_cpus(), max(1, n_tasks))
        executor: ExecutorName = "serial" if few or n_tasks < 1 else self.executor
        if executor == "process":
            warm_up("patchcli.io.checking", "patchcli.run.recut")
        return Crew(executor, n, work, tick, _nothing_to_clean)


def _nothing_to_clean() -> None:
    """Checking leaves no drafts."""


class _Verifying:
    """One verification; its steps in the order in which `verification` takes them."""

    def __init__(self, path: bytes, depth: Depth, pool: _Pool) -> None:
        self.path, self.shown = path, os.fsdecode(path)
        self.depth, self.pool = depth, pool
        self.began = time.monotonic()
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.checked: dict[int, Checked] = {}
        self.n_bytes = self.n_recut = 0
        self.remedy = "the same extract command writes it again"

    def verification(self, source: str | os.PathLike[str] | None, choice: Choice) -> Verification:
        """Look at the file that was named, at all its shards, at what their tables say, at the images."""
        read = self._read()
        if read is None:
            return self._result(1)
        facts, tables = read
        shards = self._listed(facts, tables)
        if shards is None:
            return self._result(1)
        self._check_files(facts, shards)
        if self.depth == "deep":
            sound = not self._break_rules(facts, tables)
            self._compare(facts, tables, shards)
            if sound:
                self._look_for_twins(tables)
                if source is not None:
                    self._cut_again(facts, tables, os.fsencode(source), choice)
        else:
            self.notes.append("patches, tables, statistics and leaks were not looked at: --verify deep does")
        return self._result(len(shards) + 1)

    def _result(self, n_files: int) -> Verification:
        return Verification(
            depth=self.depth,
            ok=not self.findings,
            files=n_files,
            bytes=self.n_bytes,
            patches=sum(one.n_patches for one in self.checked.values()),
            recut=self.n_recut,
            findings=tuple(self.findings[:_MOST_FINDINGS]),
            n_findings=len(self.findings),
            notes=tuple(self.notes),
            seconds=round(time.monotonic() - self.began, 3),
        )

    def _add(self, kind: FindingKind, what: str, rows: Sequence[int] | Rows = (), remedy: str | None = None) -> None:
        listed = tuple(int(row) for row in rows[:10])
        self.findings.append(
            Finding(kind, self.shown, listed, len(rows), what, self.remedy if remedy is None else remedy)
        )

    def _read(self) -> tuple[Facts, Tables] | None:
        """What the named file says; None when it cannot be read, which is a finding."""
        try:
            with opened(self.path) as (file, facts):
                verb = "augment" if "augment" in facts.settings else "extract"
                self.remedy = f"the same {verb} command writes it again"
                tables = read_tables(file)
                if facts.role == "index" and self.depth == "deep":
                    self.n_bytes += os.path.getsize(self.path)
                    altered = check_index(self.path, file)
                    if altered:
                        self._add("damaged", altered)
                wrong = misshapen(tables, facts.n_rows)
                if not wrong:
                    return facts, tables
                self._add("contradiction", wrong)
        except DamagedFile as error:
            what = str(error).removeprefix(f"{self.shown}: ")
            if is_foreign(self.path):
                self._add("foreign", what, remedy="")
            else:
                self._add("damaged", what)
        return None

    def _listed(self, facts: Facts, tables: Tables) -> tuple[ListedShard, ...] | None:
        try:
            shards = listed_shards(facts, tables)
        except DamagedFile as error:
            self._add("contradiction", str(error).removeprefix(f"{self.shown}: "))
            return None
        if shards:
            self._note_strays(shards)
        return shards

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
                self.notes.append(f"{os.fsdecode(folder)} holds {files} that no index lists: {show(strays[0])}")

    def _check_files(self, facts: Facts, shards: Sequence[ListedShard]) -> None:
        tasks = [self._task(facts, shard) for shard in shards] or [self._task(facts, None)]
        total, done = facts.n_rows, 0

        def tick(at_work: Sequence[tuple[CheckTask, int]]) -> None:
            self.pool.progress(Progress("verify", done + sum(noted for _, noted in at_work), total, "patches"))

        with self.pool.crew(len(tasks), total * facts.patch_bytes, check_file, tick) as crew:
            try:
                for checked in crew.run(tasks):
                    self.checked[checked.shard] = checked
                    self.n_bytes += checked.n_bytes
                    done += checked.n_patches
            except WorkerDied as error:
                for line in str(error).splitlines():
                    self._add("damaged", line)
        for shard in sorted(self.checked):
            self.findings += self.checked[shard].findings

    def _task(self, facts: Facts, listed: ListedShard | None) -> CheckTask:
        """A file to be checked: one that the index lists, or the named one itself."""
        verb = "augment" if "augment" in facts.settings else "extract"
        number = facts.shard if listed is None else listed.number
        of_many = listed is not None or facts.role == "shard"
        folder = os.path.dirname(self.path)
        return CheckTask(
            path=self.path if listed is None else listed.path,
            shown=self.shown if listed is None else os.fsdecode(os.path.join(folder, listed.name)),
            plan_id=facts.plan_id,
            shard=number,
            n_rows=facts.n_rows if listed is None else listed.n_rows,
            patch_shape=facts.patch_shape,
            dtype=str(facts.dtype),
            n_bytes=None if listed is None else listed.n_bytes,
            digest="" if listed is None else listed.digest,
            remedy=f"the same {verb} command {f'rebuilds {number:05d}' if of_many else 'makes it again'}",
            deep=self.depth == "deep",
        )

    def _break_rules(self, facts: Facts, tables: Tables) -> bool:
        """Look whether tables contradict each other."""
        found = list(broken_rules(tables, Size(*facts.settings["patch_size"]), facts.settings["edge"]))
        for rule in found:
            self._add("contradiction", rule.what, rule.rows)
        return bool(found)

    def _compare(self, facts: Facts, tables: Tables, shards: Sequence[ListedShard]) -> None:
        """What an index says again of its shards, against what these say; statistics of all against all px."""
        rows_of = {path: row for row, path in enumerate(read_names(tables["sources/path"]))} if shards else {}
        for shard in shards:
            checked = self.checked.get(shard.number)
            if checked is None or checked.findings or checked.columns is None:
                continue
            rows = slice(shard.row_start, shard.row_start + shard.n_rows)
            for name in REPEATED:
                column = tables[name][rows] if name in tables else None
                if name == "source" and column is not None:
                    column = _as_in_shard(column, [rows_of.get(path, -1) for path in checked.sources])
                if (None if column is None else column_digest(column)) != checked.columns.get(name):
                    last = shard.row_start + shard.n_rows - 1
                    what = f"/{name} differs from that of shard {shard.number:05d} (rows {shard.row_start} to {last})"
                    self._add("contradiction", what)
        whole = len(self.checked) == len(shards) and not any(one.findings for one in self.checked.values())
        if shards and whole:
            total = sum((self.checked[shard.number].moments for shard in shards), NOTHING)
            wrong = differing_stats(tables, total, str(facts.dtype))
            if wrong:
                self._add("contradiction", wrong)

    def _look_for_twins(self, tables: Tables) -> None:
        found, n_blank = find_twins(tables, BlankFinder(self.path, tables["stats/std"]))
        for twin in found:
            kind, rows, what, remedy = describe_twin(twin, tables)
            self._add(kind, what, rows, remedy)
        if n_blank:
            rows_ = f"{n_blank:,} identical patches" if n_blank > 1 else "1 identical patch"
            self.notes.append(f"{rows_} in several splits or classes show nearly nothing, and are exempt")
        if "split" not in tables:
            self.notes.append("no splits: images and patches were compared between classes alone")

    def _cut_again(self, facts: Facts, tables: Tables, root: bytes, choice: Choice) -> None:
        tasks, note = recut_tasks(facts, tables, root, choice, self.shown)
        if note:
            self.notes.append(note)
        total, done = sum(len(task.rows) for task in tasks), 0

        def tick(at_work: Sequence[tuple[RecutTask, int]]) -> None:
            self.pool.progress(Progress("compare", done + sum(noted for _, noted in at_work), total, "patches"))

        found: dict[bytes, Finding] = {}
        with self.pool.crew(len(tasks), total * facts.patch_bytes, recut, tick) as crew:
            for one in crew.run(tasks):
                done += one.n_patches
                if one.finding is not None:
                    found[one.path] = one.finding
        self.n_recut = done
        self.findings += [found[path] for path in sorted(found)]


def _as_in_shard(column: npt.NDArray[Any], rows: Sequence[int]) -> npt.NDArray[Any]:
    """Rows of the index's sources as the rows that a shard has for them; -1 where it has none."""
    places = {row: place for place, row in enumerate(rows)}
    distinct, which = np.unique(column, return_inverse=True)
    return np.array([places.get(row, -1) for row in distinct.tolist()], column.dtype)[which.reshape(-1)]
