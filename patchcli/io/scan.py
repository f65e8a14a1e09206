"""The class tree: which images stand in it, how large they are, and what is left out and why. Headers only."""

from __future__ import annotations

import itertools
import os
import stat
import time
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from typing import Final, NamedTuple

from patchcli.errors import UsageError
from patchcli.io.headers import NotAnImage, Unreadable, quiet_pillow, read_header
from patchcli.records import Image, Progress, ProgressCallback, Scan, Skipped, no_progress, show
from patchcli.specs import Layout

SPLIT_NAMES: Final = (b"train", b"val", b"test")
_BATCH: Final = 256
_THREADS: Final = 16


class _Found(NamedTuple):
    path: bytes
    n_bytes: int


def scan(
    root: bytes,
    *,
    layout: Layout = "auto",
    classes: tuple[bytes, ...] | None = None,
    max_pixels: int,
    hidden: frozenset[bytes] = frozenset(),
    follow_links: bool = False,
    progress: ProgressCallback = no_progress,
) -> Scan:
    """List the images of `root/<class>/**` or `root/{train,val,test}/<class>/**`.

    Parameters
    ----------
    root : bytes
        Source folder.
    layout : {"auto", "classes", "splits"}
        `auto` takes `splits` when every folder of `root` is called train, val or test and holds folders.
    classes : tuple of bytes, optional
        Only these, labelled in this order. By default all folders, in byte order, those without images too: labels
        then equal those of Keras and torchvision.
    max_pixels : int
        Larger images are unreadable.
    hidden : frozenset of bytes
        Names in `root` that do not exist for us: the output, when it stands there too.
    follow_links : bool
        Follow links to folders, and to files outside the tree. By default links are followed only to files within it.
    progress : callable

    Returns
    -------
    Scan
        Images sorted by path, byte by byte.

    Raises
    ------
    UsageError
        No class folder, a class that is not there, two classes that only differ in Unicode normalisation.
    """
    if not os.path.isdir(root):
        raise UsageError(f"{os.fsdecode(root)}: not a folder; expected one folder for each class in it")
    skipped: list[Skipped] = []
    splits = _find_splits(_folders(root, hidden, follow_links), root, layout)
    parents = [os.path.join(root, split) for split in splits] or [root]
    names = sorted(
        set(
            itertools.chain.from_iterable(
                _folders(parent, frozenset() if splits else hidden, follow_links) for parent in parents
            )
        )
    )
    chosen = _choose(root, names, classes)
    found: list[tuple[_Found, int, int]] = []
    for split, base in enumerate(split + b"/" for split in splits) if splits else [(-1, b"")]:
        for file, label in _walk_classes(
            root, base, chosen, frozenset() if splits else hidden, skipped, follow_links=follow_links
        ):
            found.append((file, label, split))
            if len(found) % _BATCH == 0:
                progress(Progress("scan", 0, len(found), "files"))
    if splits:
        skipped.extend(_outside_splits(root, splits, hidden))
    found.sort()
    images = list(_read_headers(root, found, max_pixels, skipped, progress))
    skipped.sort(key=lambda one: one.path)
    return Scan(root, chosen, splits, tuple(images), tuple(skipped))


def _walk_classes(
    root: bytes,
    base: bytes,
    chosen: tuple[bytes, ...],
    hidden: frozenset[bytes],
    skipped: list[Skipped],
    *,
    follow_links: bool,
) -> Iterator[tuple[_Found, int]]:
    """Files below the class folders of `base`, each with its label; to `skipped` goes what else stands there."""
    for entry in _listing(root, base, skipped):
        if entry.name in hidden:
            continue
        if not entry.is_dir(follow_symlinks=follow_links):
            skipped.append(Skipped(base + entry.name, _why_not_folder(entry), "ignored"))
        elif entry.name.startswith(b"."):
            skipped.append(Skipped(base + entry.name + b"/", "hidden folder", "ignored"))
        elif entry.name not in chosen:
            skipped.append(Skipped(base + entry.name + b"/", "class not asked for", "ignored"))
        else:
            label = chosen.index(entry.name)
            for file in _walk(root, base + entry.name + b"/", skipped, follow_links=follow_links):
                yield file, label


def _folders(parent: bytes, hidden: frozenset[bytes], follow_links: bool = False) -> list[bytes]:
    with os.scandir(parent) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=follow_links)]
    return [name for name in names if not name.startswith(b".") and name not in hidden]


def _find_splits(folders: list[bytes], root: bytes, layout: Layout) -> tuple[bytes, ...]:
    splits = tuple(name for name in SPLIT_NAMES if name in folders)
    if layout == "classes":
        return ()
    if layout == "splits":
        if not splits:
            raise UsageError(f"{os.fsdecode(root)}: --layout splits, but none of train, val and test is a folder in it")
        return splits
    alone = bool(splits) and len(splits) == len(folders)
    return splits if alone and all(_folders(os.path.join(root, split), frozenset()) for split in splits) else ()


def _outside_splits(root: bytes, splits: tuple[bytes, ...], hidden: frozenset[bytes]) -> Iterator[Skipped]:
    for entry in _listing(root, b"", []):
        if entry.name not in splits and entry.name not in hidden:
            folder = entry.is_dir(follow_symlinks=False)
            yield Skipped(entry.name + (b"/" if folder else b""), "not in train, val or test", "ignored")


def _choose(root: bytes, names: list[bytes], classes: tuple[bytes, ...] | None) -> tuple[bytes, ...]:
    if not names:
        raise UsageError(f"{os.fsdecode(root)}: no class folders; expected one folder for each class in it")
    for name in classes or ():
        if name not in names:
            close = get_close_matches(os.fsdecode(name), [os.fsdecode(n) for n in names], 1)
            hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(map(show, names[:20]))}"
            raise UsageError(f"classes: {os.fsdecode(name)} is not a folder of {os.fsdecode(root)}{hint}")
    chosen = tuple(names) if classes is None else classes
    spelled: dict[str, bytes] = {}
    for name in chosen:
        twin = spelled.setdefault(unicodedata.normalize("NFC", os.fsdecode(name)), name)
        if twin != name:
            raise UsageError(
                f"classes {os.fsdecode(name)!r} and {os.fsdecode(twin)!r} look the same and differ in Unicode "
                f"normalisation ({twin!r}, {name!r}): rename one of the folders"
            )
    return chosen


def _listing(root: bytes, base: bytes, skipped: list[Skipped]) -> list[os.DirEntry[bytes]]:
    try:
        with os.scandir(os.path.join(root, base)) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        skipped.append(Skipped(base, f"folder cannot be listed: {error.strerror}", "unreadable"))
        return []


def _why_not_folder(entry: os.DirEntry[bytes]) -> str:
    if entry.name.startswith(b"."):
        return "hidden file"
    return "link to a folder" if entry.is_symlink() and entry.is_dir() else "not in a class folder"


def _walk(root: bytes, base: bytes, skipped: list[Skipped], *, follow_links: bool) -> Iterator[_Found]:
    """Regular files below a folder; links only when they lead to a regular file of the same tree, or all of them."""
    real_root = b"/" if follow_links else os.path.realpath(root)
    folders, seen = [base], {os.path.realpath(os.path.join(root, base))}
    while folders:
        folder = folders.pop()
        for entry in _listing(root, folder, skipped):
            path = folder + entry.name
            if entry.name.startswith(b"."):
                skipped.append(Skipped(path, "hidden file", "ignored"))
            elif entry.is_dir(follow_symlinks=follow_links):
                real = os.path.realpath(entry.path)
                if entry.is_symlink() and real in seen:  # a link to a folder above would lead round and round
                    skipped.append(Skipped(path, "link to a folder that was listed already", "ignored"))
                    continue
                seen.add(real)
                folders.append(path + b"/")
            else:
                reason = _refusal(entry, real_root)
                if reason:
                    skipped.append(Skipped(path, reason, "ignored"))
                    continue
                try:
                    yield _Found(path, entry.stat().st_size)
                except OSError as error:
                    skipped.append(Skipped(path, f"cannot be read: {error.strerror}", "unreadable"))


def _refusal(entry: os.DirEntry[bytes], real_root: bytes) -> str:
    """Why a directory entry is not opened; empty when it is a file of the tree, or of what links lead to."""
    if entry.is_symlink():
        target = os.path.realpath(entry.path)
        try:
            mode = os.stat(target).st_mode
        except OSError:
            return "broken link"
        if os.path.commonpath([real_root, target]) != real_root:
            return "link out of the tree"
        return "" if stat.S_ISREG(mode) else "link to a folder or device"
    return "" if entry.is_file(follow_symlinks=False) else "not a regular file"


def _read_headers(
    root: bytes,
    found: Sequence[tuple[_Found, int, int]],
    max_pixels: int,
    skipped: list[Skipped],
    progress: ProgressCallback,
) -> Iterator[Image]:
    """Headers in order. Where reading them is mostly waiting (a network file system), 16 threads wait together."""

    def look(item: tuple[_Found, int, int]) -> Image | Skipped:
        (path, n_bytes), label, split = item
        try:
            header = read_header(os.path.join(root, path), max_pixels)
        except NotAnImage as error:
            return Skipped(path, str(error), "ignored")
        except Unreadable as error:
            return Skipped(path, str(error), "unreadable")
        return Image(path, label, split, n_bytes, *header)

    pool: ThreadPoolExecutor | None = None
    with quiet_pillow(max_pixels):
        try:
            for start in range(0, len(found), _BATCH):
                batch = found[start : start + _BATCH]
                began, worked = time.perf_counter(), time.thread_time()
                for result in map(look, batch) if pool is None else pool.map(look, batch):
                    if isinstance(result, Image):
                        yield result
                    else:
                        skipped.append(result)
                waited = time.perf_counter() - began - (time.thread_time() - worked)
                if pool is None and waited > 0.5 * (time.perf_counter() - began):
                    pool = ThreadPoolExecutor(_THREADS)
                progress(Progress("scan", min(start + _BATCH, len(found)), len(found), "files"))
        finally:
            if pool is not None:
                pool.shutdown(cancel_futures=True)
