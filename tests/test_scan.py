"""What stands in a class tree, what is left out and why: real folders, real links, real pipes."""

from __future__ import annotations

import os
import signal
import time
import tracemalloc
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Tree

from patchcli.errors import UsageError
from patchcli.io import scan as scan_module
from patchcli.io.headers import Header, read_header
from patchcli.io.scan import scan
from patchcli.records import Progress, Scan
from patchcli.specs import MAX_PIXELS

BYTES_PER_FILE = 1200
"""Memory that a scan may need for each file, at its highest."""


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """Who opens a pipe waits for ever for somebody to write into it."""

    def give_up(number: int, frame: object) -> None:
        pytest.fail("waited too long: was a pipe opened?")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(100)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def look(root: Path, **options: Any) -> Scan:
    return scan(os.fsencode(root), **{"max_pixels": MAX_PIXELS, **options})


def paths(found: Scan) -> list[bytes]:
    return [image.path for image in found.images]


def reasons(found: Scan) -> dict[bytes, tuple[str, str]]:
    return {one.path: (one.kind, one.reason) for one in found.skipped}


def test_a_class_tree(tree: Tree) -> None:
    tree("dog/b.jpg", "cat/deep/er/c.bmp", size=(7, 5))
    found = look(tree("cat/a.png"))
    assert found.classes == (b"cat", b"dog")
    assert found.splits == ()
    assert paths(found) == [b"cat/a.png", b"cat/deep/er/c.bmp", b"dog/b.jpg"]
    assert [image.label for image in found.images] == [0, 0, 1]
    assert {image.split for image in found.images} == {-1}
    assert [(image.width, image.height) for image in found.images] == [(40, 30), (7, 5), (7, 5)]
    assert [image.n_bytes for image in found.images] == [
        os.path.getsize(os.path.join(found.root, path)) for path in paths(found)
    ]
    assert found.skipped == ()


def test_a_split_tree_is_found_by_itself(tree: Tree) -> None:
    found = look(tree("test/dog/a.png", "train/cat/b.png", "train/dog/c.png", "val/cat/d.png"))
    assert found.splits == (b"train", b"val", b"test")
    assert found.classes == (b"cat", b"dog")
    labels = {image.path: (image.label, image.split) for image in found.images}
    assert labels == {
        b"test/dog/a.png": (1, 2),
        b"train/cat/b.png": (0, 0),
        b"train/dog/c.png": (1, 0),
        b"val/cat/d.png": (0, 1),
    }
    assert paths(found) == sorted(labels)


def test_a_split_tree_may_lack_a_split(tree: Tree) -> None:
    found = look(tree("train/cat/b.png", "test/cat/d.png"))
    assert found.splits == (b"train", b"test")
    assert [image.split for image in found.images] == [1, 0]


def test_a_class_named_train_next_to_others_is_a_class(tree: Tree) -> None:
    found = look(tree("train/fast/a.png", "bus/b.png", "test/c/c.png"))
    assert found.splits == ()
    assert found.classes == (b"bus", b"test", b"train")
    assert paths(found) == [b"bus/b.png", b"test/c/c.png", b"train/fast/a.png"]


def test_classes_named_like_splits_that_hold_images_are_classes(tree: Tree) -> None:
    found = look(tree("train/a.png", "test/b.png"))
    assert (found.classes, found.splits) == ((b"test", b"train"), ())


def test_layouts_can_be_forced(tree: Tree) -> None:
    root = tree("train/cat/a.png", "val/cat/b.png")
    found = look(root, layout="classes")
    assert (found.classes, found.splits) == ((b"train", b"val"), ())
    tree("other/cat/c.png", "loose.png")
    found = look(root, layout="splits")
    assert (found.classes, found.splits) == ((b"cat",), (b"train", b"val"))
    assert paths(found) == [b"train/cat/a.png", b"val/cat/b.png"]
    assert reasons(found) == {
        b"other/": ("ignored", "not in train, val or test"),
        b"loose.png": ("ignored", "not in train, val or test"),
    }


def test_a_forced_split_layout_without_splits_is_a_usage_error(tree: Tree) -> None:
    with pytest.raises(UsageError, match="--layout splits, but none of train, val and test"):
        look(tree("cat/a.png"), layout="splits")


def test_hidden_files_and_folders_are_counted_and_not_opened(tree: Tree) -> None:
    root = tree("cat/.a.png", "cat/.git/b.png", "cat/c.png", ".thumbnails/d.png", ".e.png", "cat/._c.png")
    found = look(root)
    assert found.classes == (b"cat",)
    assert paths(found) == [b"cat/c.png"]
    assert set(reasons(found)) == {b"cat/.a.png", b"cat/.git", b"cat/._c.png", b".thumbnails/", b".e.png"}
    assert all(kind == "ignored" and "hidden" in reason for kind, reason in reasons(found).values())


def test_files_beside_the_class_folders_are_counted(tree: Tree) -> None:
    root = tree("cat/a.png", "loose.png")
    (root / "README.md").write_text("about")
    assert reasons(look(root)) == {
        b"README.md": ("ignored", "not in a class folder"),
        b"loose.png": ("ignored", "not in a class folder"),
    }


def test_what_is_hidden_from_the_scan_does_not_exist(tree: Tree) -> None:
    root = tree("cat/a.png", "out.shards/b.png", "out.h5")
    found = look(root, hidden=frozenset([b"out.h5", b"out.shards"]))
    assert (found.classes, paths(found), found.skipped) == ((b"cat",), [b"cat/a.png"], ())


def test_what_is_hidden_in_the_source_folder_is_not_hidden_below_it(tree: Tree) -> None:
    root = tree("train/cat/a.png", "train/dog/b.png", "cat.shards/c.png", "cat.png")
    (root / "cat.png").rename(root / "cat")
    found = look(root, hidden=frozenset([b"cat", b"cat.shards"]))
    assert (found.classes, found.splits, found.skipped) == ((b"cat", b"dog"), (b"train",), ())
    assert paths(found) == [b"train/cat/a.png", b"train/dog/b.png"]


def test_classes_in_the_order_asked_for(tree: Tree) -> None:
    root = tree("a/1.png", "b/2.png", "c/3.png")
    found = look(root, classes=(b"c", b"a"))
    assert found.classes == (b"c", b"a")
    assert [(image.path, image.label) for image in found.images] == [(b"a/1.png", 1), (b"c/3.png", 0)]
    assert reasons(found) == {b"b/": ("ignored", "class not asked for")}


def test_an_unknown_class_names_the_nearest(tree: Tree) -> None:
    root = tree("outwear/1.png", "shoes/2.png")
    with pytest.raises(UsageError, match=r"classes: outwaer is not a folder .*; did you mean outwear\?"):
        look(root, classes=(b"shoes", b"outwaer"))
    with pytest.raises(UsageError, match=r"classes: zzz .*there are outwear, shoes"):
        look(root, classes=(b"zzz",))


def test_an_empty_class_folder_keeps_its_label(tree: Tree) -> None:
    root = tree("a/1.png", "c/3.png")
    (root / "b").mkdir()
    found = look(root)
    assert found.classes == (b"a", b"b", b"c")
    assert [image.label for image in found.images] == [0, 2]


@pytest.mark.parametrize("name", ["missing", "file.txt"])
def test_a_source_that_is_no_folder_is_a_usage_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(UsageError, match=f"{name}: not a folder"):
        look(tmp_path / name)


def test_a_source_without_class_folders_is_a_usage_error(tree: Tree) -> None:
    with pytest.raises(UsageError, match="no class folders"):
        look(tree("loose.png", ".hidden/a.png"))


def test_pipes_and_folders_with_image_names_are_not_opened(tree: Tree) -> None:
    root = tree("cat/b.png", "cat/folder.png/c.png")
    os.mkfifo(root / "cat" / "a.png")
    os.mkfifo(root / "loose.png")
    found = look(root)
    assert paths(found) == [b"cat/b.png", b"cat/folder.png/c.png"]
    assert reasons(found) == {
        b"cat/a.png": ("ignored", "not a regular file"),
        b"loose.png": ("ignored", "not in a class folder"),
    }


def test_links_lead_to_regular_files_of_the_tree_or_nowhere(tree: Tree, tmp_path: Path) -> None:
    root = tree("cat/real.png", "dog/deep/also.png")
    (tmp_path / "outside.png").write_bytes((root / "cat/real.png").read_bytes())
    (tmp_path / "tree2").mkdir()  # shares its first letters with the root
    (tmp_path / "tree2" / "a.png").write_bytes((root / "cat/real.png").read_bytes())
    os.mkfifo(root / "cat" / "pipe")
    for name, target in {
        "cat/inside.png": "../dog/deep/also.png",
        "cat/absolute.png": str(root / "dog/deep/also.png"),
        "cat/outside.png": "../../outside.png",
        "cat/neighbour.png": str(tmp_path / "tree2/a.png"),
        "cat/twice.png": "outside.png",
        "cat/broken.png": "nothing",
        "cat/loop.png": "loop.png",
        "cat/folder": "../dog",
        "cat/pipe.png": "pipe",
        "cat/device.png": "/dev/zero",
        "bird": "dog",
        "fish": "/etc",
    }.items():
        os.symlink(target, root / name)
    found = look(root)
    assert found.classes == (b"cat", b"dog")
    assert paths(found) == [b"cat/absolute.png", b"cat/inside.png", b"cat/real.png", b"dog/deep/also.png"]
    assert {path: reason for path, (_, reason) in reasons(found).items()} == {
        b"bird": "link to a folder",
        b"cat/broken.png": "broken link",
        b"cat/device.png": "link out of the tree",
        b"cat/folder": "link to a folder or device",
        b"cat/loop.png": "broken link",
        b"cat/neighbour.png": "link out of the tree",
        b"cat/outside.png": "link out of the tree",
        b"cat/pipe": "not a regular file",
        b"cat/pipe.png": "link to a folder or device",
        b"cat/twice.png": "link out of the tree",
        b"fish": "link to a folder",
    }
    assert {kind for kind, _ in reasons(found).values()} == {"ignored"}


def test_a_source_that_is_itself_a_link(tree: Tree, tmp_path: Path) -> None:
    root = tree("cat/a.png")
    os.symlink("a.png", root / "cat" / "b.png")
    os.symlink(root, tmp_path / "link")
    assert paths(look(tmp_path / "link")) == [b"cat/a.png", b"cat/b.png"]


def test_names_that_shells_and_text_do_not_like(tree: Tree) -> None:
    names: list[str | bytes] = [
        b"cat/\xff.png",
        b"\xfe\xff/x.png",
        "cat/new\nline.png",
        "cat/tab\t.png",
        "cat/ blanks .png",
        "cat/-dash.png",
        "cat/$(x);'\".png",
        "cat/\u2028\U0001f6f0.png",
        "cat/" + "n" * 240 + ".png",
        "cat/UPPER.PNG",
        "cat/none",
    ]
    found = look(tree(*names))
    assert paths(found) == sorted(map(os.fsencode, names))
    assert found.classes == (b"cat", b"\xfe\xff")
    assert found.skipped == ()


def test_order_is_that_of_bytes(tree: Tree) -> None:
    names: list[str | bytes] = [
        "a/10.png",
        "a/9.png",
        "a/B.png",
        "a/b.png",
        "a/b/c.png",
        "a/b-c.png",
        "a/é.png",
        "a-b/x.png",
        "B/x.png",
        b"a/\xff.png",
    ]
    root = tree(*names)
    for name in ("z.txt", "b.jpg", "a.txt", "a.jpg"):
        (root / "a" / name).write_bytes(b"text")
    found = look(root)
    assert paths(found) == sorted(map(os.fsencode, names))
    assert found.classes == (b"B", b"a", b"a-b")
    assert [one.path for one in found.skipped] == [b"a/a.jpg", b"a/a.txt", b"a/b.jpg", b"a/z.txt"]


def test_classes_that_differ_in_normalisation_alone_are_refused(tree: Tree) -> None:
    twins = [unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD")]
    root = tree(*(f"{name}/a.png" for name in twins))
    with pytest.raises(UsageError, match="normalisation") as error:
        look(root)
    assert all(repr(os.fsencode(name)) in str(error.value) for name in twins)
    assert look(root, classes=(os.fsencode(twins[1]),)).classes == (os.fsencode(twins[1]),)


def test_file_names_that_differ_in_normalisation_alone_are_two_images(tree: Tree) -> None:
    twins = [unicodedata.normalize(form, "cat/caf\u00e9.png") for form in ("NFC", "NFD")]
    assert len(look(tree(*twins)).images) == 2


def test_what_is_not_an_image_is_ignored_and_what_claims_to_be_one_is_unreadable(tree: Tree) -> None:
    root = tree("cat/good.png", "cat/cut.png")
    (root / "cat" / "cut.png").write_bytes((root / "cat" / "good.png").read_bytes()[:20])
    for name, content in {
        "notes.txt": b"text",
        "empty": b"",
        "Thumbs.db": b"\xd0\xcf\x11\xe0",
        "BM.txt": b"BMW, and other cars",
        "P5.dat": b"P5 is a plan",
        "text.jpg": b"text",
        "zero.png": b"",
        "page.jpg": b"<!DOCTYPE html><html>404</html>",
        "page2.JPG": b" \n<HTML>",
        "pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "photo.heic": b"\0\0\0\x18ftypheic",
        "drawing.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "drawing.png": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "paper.pdf": b"%PDF-1.7",
    }.items():
        (root / "cat" / name).write_bytes(content)
    found = look(root)
    assert paths(found) == [b"cat/good.png"]
    left_out = {path.removeprefix(b"cat/").decode(): reason for path, reason in reasons(found).items()}
    ignored = {name for name, (kind, _) in left_out.items() if kind == "ignored"}
    assert ignored == {"notes.txt", "empty", "Thumbs.db", "BM.txt", "P5.dat", "drawing.eps", "paper.pdf"}
    assert {left_out[name][1] for name in ignored} == {"not an image"}
    for name, word in {
        "cut.png": "cannot be decoded",
        "text.jpg": "no image format",
        "drawing.png": "no image format",
        "zero.png": "empty file",
        "page.jpg": "HTML page",
        "page2.JPG": "HTML page",
        "pointer.png": "Git LFS pointer",
        "photo.heic": "HEIF",
    }.items():
        assert left_out[name][0] == "unreadable"
        assert word in left_out[name][1]
    assert all("\n" not in reason and str(root) not in reason for _, reason in left_out.values())


def test_a_file_or_folder_that_may_not_be_read_is_unreadable(tree: Tree) -> None:
    root = tree("cat/a.png", "cat/b.png", "cat/closed/c.png")
    os.chmod(root / "cat" / "a.png", 0)
    os.chmod(root / "cat" / "closed", 0)
    try:
        if os.access(root / "cat" / "a.png", os.R_OK):
            pytest.skip("this user may read everything")
        found = look(root)
    finally:
        os.chmod(root / "cat" / "closed", 0o700)
    assert paths(found) == [b"cat/b.png"]
    assert reasons(found) == {
        b"cat/a.png": ("unreadable", "cannot be read: Permission denied"),
        b"cat/closed/": ("unreadable", "folder cannot be listed: Permission denied"),
    }


def test_images_beyond_the_limit_are_unreadable(tree: Tree) -> None:
    found = look(tree("cat/a.png", "cat/b.jpg", "cat/c.tif"), max_pixels=40 * 30 - 1)
    assert paths(found) == []
    assert {kind for kind, _ in reasons(found).values()} == {"unreadable"}
    assert all("1,199 px, see --max-pixels" in reason for _, reason in reasons(found).values())
    assert len(look(tree(), max_pixels=40 * 30).images) == 3


def test_slow_file_systems_are_read_by_threads_with_the_same_result(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree("cat/a.png", "dog/b.jpg")
    for number in range(700):
        os.link(root / "cat/a.png", root / f"cat/{number:04d}.png")
        if number % 7 == 0:
            (root / f"dog/{number:04d}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
            (root / f"dog/{number:04d}.txt").write_bytes(b"text")
    pools: list[int] = []
    expected = look(root)

    class CountedPool(scan_module.ThreadPoolExecutor):  # type: ignore[name-defined,misc]
        def __init__(self, n: int) -> None:
            pools.append(n)
            super().__init__(n)

    def slow(path: bytes, max_pixels: int) -> Header:
        time.sleep(0.003)
        return read_header(path, max_pixels)

    monkeypatch.setattr(scan_module, "ThreadPoolExecutor", CountedPool)
    monkeypatch.setattr(scan_module, "read_header", slow)
    began = time.perf_counter()
    assert look(root) == expected
    assert len(pools) == 1
    assert time.perf_counter() - began < 0.7 * 0.003 * (len(expected.images) + len(expected.skipped))


def test_progress_counts_files_and_what_it_raises_stops_the_scan(tree: Tree) -> None:
    root = tree("cat/a.png", "dog/b.jpg", "dog/c.jpg")
    seen: list[Progress] = []
    look(root, progress=seen.append)
    assert {(one.phase, one.unit) for one in seen} == {("scan", "files")}
    assert (seen[-1].done, seen[-1].total) == (3, 3)

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look(root, progress=stop)


@pytest.fixture(params=[20_000, pytest.param(100_000, marks=pytest.mark.slow)])
def many_files(request: pytest.FixtureRequest, tree: Tree, tmp_path: Path) -> tuple[Path, int]:
    """One tiny image under many names, in two classes."""
    n: int = request.param
    root = tree("cat/a.png", "dog/a.png", size=(2, 2))
    for number in range(2, n):
        folder = ("cat", "dog")[number % 2]
        if number % 10_000 == 2:  # a file has not always room for more names
            (root / f"original{number}.png").write_bytes((root / "cat/a.png").read_bytes())
            original = root / f"original{number}.png"
        os.link(original, root / folder / f"some_longer_name_{number:06d}.png")
    return root, n


def test_memory_for_each_file_is_bounded(many_files: tuple[Path, int]) -> None:
    root, n = many_files
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        found = look(root)
        after, highest = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.images) == n
    assert (highest - before) / n < BYTES_PER_FILE
    assert (after - before) / n < BYTES_PER_FILE / 4


def test_links_may_lead_anywhere_when_they_are_followed(tree: Tree, tmp_path: Path) -> None:
    root = tree("cat/real.png", "dog/deep/also.png")
    (tmp_path / "far/below").mkdir(parents=True)
    (tmp_path / "far/below/a.png").write_bytes((root / "cat/real.png").read_bytes())
    os.mkfifo(tmp_path / "far" / "pipe")
    for name, target in {
        "cat/file.png": "../../far/below/a.png",
        "cat/folder": "../../far",
        "cat/round": "../cat",
        "cat/broken.png": "nothing",
        "bird": "../far",
    }.items():
        os.symlink(target, root / name)
    found = scan(os.fsencode(root), max_pixels=MAX_PIXELS, follow_links=True)
    assert found.classes == (b"bird", b"cat", b"dog")
    assert paths(found) == [
        b"bird/below/a.png",
        b"cat/file.png",
        b"cat/folder/below/a.png",
        b"cat/real.png",
        b"dog/deep/also.png",
    ]
    left_out = {path: reason for path, (_, reason) in reasons(found).items()}
    assert left_out[b"cat/round"] == "link to a folder that was listed already"
    assert left_out[b"cat/broken.png"] == "broken link"
    assert left_out[b"bird/pipe"] == left_out[b"cat/folder/pipe"] == "not a regular file"
