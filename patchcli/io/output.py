"""What stands where the output should go: nothing, parts of this plan, or something else that must not be lost."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from patchcli.errors import DamagedFile, OutputConflict
from patchcli.io.names import shard_path, shards_folder
from patchcli.io.publish import Draft, identity, sync_folder
from patchcli.plan import Plan
from patchcli.records import Identity, Progress, ProgressCallback, Recipe, show
from patchcli.summaries import setting_text

if TYPE_CHECKING:
    from patchcli.io.patchfile import Facts

# patchcli.io.patchfile brings h5py, a tenth of a second: imported where there is a file to read.

_SHARD: Final = re.compile(rb"[0-9a-f]{8}-\d{5,}\.h5")
_NAMED: Final = 3

Difference = Callable[[Any, "Facts"], list[str]]
"""How the inputs of an open file differ from today's, line by line."""


@dataclass(frozen=True)
class ExistingOutput:
    """What is there already.

    Attributes
    ----------
    missing : tuple of int
        Shards of this plan without a file; the others may still turn out to be damaged.
    digests : dict
        What the index says each shard's digest is.
    conflict : str
        Why writing here would replace something of other settings or inputs; empty when it would not.
    foreign : bool
        Whether that something is not patchcli's, and is never replaced.
    old : tuple of bytes
        Shards of other plans, to be removed when the new data set stands.
    seen : Identity or None
        The file that was looked at, so that another in its place is noticed.
    """

    missing: tuple[int, ...]
    digests: dict[int, str]
    conflict: str
    foreign: bool
    old: tuple[bytes, ...]
    seen: Identity | None

    @property
    def n_kept(self) -> int:
        """Shards of this plan that the index lists."""
        return len(self.digests)

    def refuse_unless(self, *, overwrite: bool) -> None:
        """Raise `OutputConflict` when something would be replaced that the user did not give up."""
        if self.foreign or (self.conflict and not overwrite):
            raise OutputConflict(self.conflict)

    def remove_old(self) -> None:
        """Remove the shards of other plans: nothing refers to them any more."""
        for path in self.old:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        if self.old:
            folder = os.path.dirname(self.old[0])
            with contextlib.suppress(OSError):
                sync_folder(folder)
                os.rmdir(folder)


def look_at_output(out: bytes, recipe: Recipe, different: Difference) -> ExistingOutput:
    """Compare what is there with what is to be made; nothing is changed.

    Parameters
    ----------
    different : callable
        Says how the inputs of an existing file differ, line by line, when its settings do not.
    """
    seen = identity(out)  # before it is read: what comes later is no longer this
    paths = [shard_path(out, recipe.plan_id, k, recipe.n_shards) for k in range(recipe.n_shards)]
    missing = tuple(k for k, path in enumerate(paths) if not os.path.isfile(path))
    old = tuple(_old_shards(out, recipe.plan_id, recipe.n_shards))
    conflict, foreign, digests = "", False, dict[int, str]()
    if os.path.lexists(out):
        conflict, foreign, digests = _look_at_file(out, recipe, len(missing) < len(paths) > 1, different)
    elif old:
        conflict = _conflict(out, old[0], recipe, "unfinished shards", different)
    return ExistingOutput(missing, digests, conflict, foreign, old, seen)


def publish_data_set(draft: Draft, recipe: Recipe, seen: Identity | None) -> None:
    """Publish the file that is the data set itself, unless another run has put another one there since it was `seen`.

    Raises
    ------
    OutputConflict
        That file stays. One of the same plan has the same content, and is no conflict.
    OSError
    """
    draft.sync()  # may take long, and nothing should come between the look and the rename
    while True:
        there = identity(draft.path)
        try:
            if there not in (None, seen):
                _refuse_other(draft.path, recipe)
            draft.publish(replacing=there is not None)
            return
        except FileExistsError:
            continue  # another run was faster by a moment: look at what it made


def publish_shard(draft: Draft, recipe: Recipe, seen: Identity | None) -> None:
    """Publish a shard; one that is the whole data set as `publish_data_set` does."""
    if recipe.n_shards == 1:
        publish_data_set(draft, recipe, seen)
    else:
        draft.publish()


def _refuse_other(out: bytes, recipe: Recipe) -> None:
    from patchcli.io.patchfile import opened

    try:
        with opened(out) as (_, facts):
            if facts.plan_id == recipe.plan_id:
                return
            lines = _different_settings(facts, recipe) or ["  other inputs"]
    except FileNotFoundError:
        return  # gone again
    except (DamagedFile, OSError) as error:
        lines = [f"  ({error})"]
    raise OutputConflict(
        f"{os.fsdecode(out)}: another run made it meanwhile, with other settings or inputs, and it was not replaced:\n"
        + "\n".join(lines)
        + "\nReplace it with --overwrite, or choose another output."
    )


def refuse_changed(out: bytes, changed: list[bytes]) -> None:
    """Raise `OutputConflict` when images are no longer those that the shards were cut from."""
    if changed:
        raise OutputConflict(
            f"{os.fsdecode(out)}: holds a data set made with other inputs:\n{_named('changed', changed)}\n"
            f"Replace it with --overwrite, or choose another output."
        )


def _old_shards(out: bytes, plan_id: str, n_shards: int) -> Iterator[bytes]:
    folder = shards_folder(out)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in sorted(os.listdir(folder)):
            if _SHARD.fullmatch(name) and (n_shards == 1 or not name.startswith(plan_id[:8].encode())):
                yield os.path.join(folder, name)


def _look_at_file(
    out: bytes, recipe: Recipe, has_shards: bool, different: Difference
) -> tuple[str, bool, dict[int, str]]:
    from patchcli.io.patchfile import holds_mark, opened, read_names, read_tables

    shown = os.fsdecode(out)
    try:
        with opened(out) as (file, facts):
            if facts.plan_id != recipe.plan_id:
                return _conflict(out, out, recipe, "a data set", different), False, {}
            tables = read_tables(file)
            if facts.role != "index":
                return "", False, {}
            return "", False, dict(enumerate(name.decode() for name in read_names(tables["shards/digest"])))
    except DamagedFile as error:
        beside_shards = has_shards and (os.path.getsize(out) == 0 or holds_mark(out, b"\x89HDF"))
        if beside_shards or holds_mark(out, recipe.plan_id.encode()):
            return "", False, {}  # of this plan, damaged: it is made again
        if holds_mark(out, b"patchset"):
            return f"{error}\nReplace it with --overwrite.", False, {}
        return f"{error}\nIt is not replaced, not even with --overwrite: choose another name or remove it.", True, {}
    except OSError as error:
        return f"{shown}: {error.strerror}", True, {}


def _conflict(out: bytes, there: bytes, recipe: Recipe, what: str, different: Difference) -> str:
    from patchcli.io.patchfile import opened

    lines: list[str]
    try:
        with opened(there) as (file, facts):
            lines = _different_settings(facts, recipe) or different(file, facts)
    except (DamagedFile, OSError) as error:
        lines = [f"  ({error})"]
    return (
        f"{os.fsdecode(out)}: holds {what} made with other settings or inputs:\n"
        + "\n".join(lines)
        + "\nReplace it with --overwrite, or choose another output."
    )


def _different_settings(facts: Facts, recipe: Recipe) -> list[str]:
    old, new = dict(_flat(facts.settings)), dict(_flat(json.loads(recipe.settings)))
    keys = sorted(new.keys() | old.keys())
    return [
        f"  {key}: {setting_text(old[key]) if key in old else '-'} -> {setting_text(new[key]) if key in new else '-'}"
        for key in keys
        if old.get(key) != new.get(key) or (key in old) != (key in new)
    ]


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by path, so that a difference deep in a pipeline is said alone: `augment.pipeline.2.GaussNoise.p`."""
    nested = isinstance(value, list) and any(isinstance(one, dict) for one in value)
    if not isinstance(value, dict) and not nested:
        yield name, value
        return
    for key, one in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _flat(one, f"{name}.{key}" if name else str(key))


def different_inputs(plan: Plan, progress: ProgressCallback, file: Any, facts: Facts) -> list[str]:
    """Which images came, went or changed; the shards of an unfinished data set do not list them all."""
    from patchcli.io.images import file_sha256
    from patchcli.io.patchfile import read_names, read_tables

    if facts.role == "shard":
        return ["  the list of images changed (names, sizes in bytes or px)"]
    tables = read_tables(file)
    sha256 = dict(zip(read_names(tables["sources/path"]), read_names(tables["sources/sha256"]), strict=True))
    sizes = dict(
        zip(sha256, zip(tables["sources/width"].tolist(), tables["sources/height"].tolist(), strict=True), strict=True)
    )
    left_out = set(read_names(tables["skipped/path"])) | {one.path for one in plan.skipped}
    now = {image.path: image for image in plan.images}
    changed = [path for path in now if path in sizes and sizes[path] != (now[path].width, now[path].height)]
    added = [path for path in now if path not in sha256 and path not in left_out]
    gone = [path for path in sha256 if path not in now and path not in left_out]
    for n, path in enumerate(now):
        progress(Progress("scan", n, len(now), "files"))
        if path in sha256 and path not in changed and file_sha256(os.path.join(plan.root, path)) != sha256[path]:
            changed.append(path)
        if len(changed) > _NAMED:
            break
    lines = [
        _named("added", added),
        _named("gone", gone),
        _named("changed", changed),
        _named("readable or large enough now, or no longer", [p for p in left_out if (p in now) != (p in sha256)]),
    ]
    return [line for line in lines if line] or ["  the list of images or classes changed"]


def _named(what: str, paths: list[bytes]) -> str:
    if not paths:
        return ""
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return f"  images {what}: {', '.join(map(show, sorted(paths)[:_NAMED]))}{more}"
