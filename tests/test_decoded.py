"""Images decoded on the fly: the right pixels, each decoded once, within the budget, whatever else goes wrong."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Tree
from PIL import Image as Pillow
from processes import wait_for

from patchcli.errors import UnreadableInputs, UsageError
from patchcli.io.decoded import Decoded
from patchcli.io.headers import Unreadable, quiet_pillow
from patchcli.io.images import Decoder
from patchcli.io.quiet import quiet_for_threads
from patchcli.io.resize import INTERPOLATIONS
from patchcli.io.scan import scan
from patchcli.records import Image
from patchcli.specs import MAX_PIXELS, Size

WHITE = (255, 255, 255)
PLENTY = 1 << 30


def images_of(root: Path) -> tuple[Image, ...]:
    return scan(os.fsencode(root), max_pixels=MAX_PIXELS).images


def decoded(root: Path, *, channels: int = 3, budget: int = PLENTY, **others: Any) -> Decoded:
    return Decoded(
        os.fsencode(root),
        images_of(root),
        channels=channels,
        background=WHITE,
        max_pixels=MAX_PIXELS,
        budget=budget,
        **others,
    )


def expected(root: Path, channels: int = 3) -> list[Any]:
    """Pixels as `extract` takes them."""
    return [Decoder(channels, WHITE).decode(os.fsencode(root), image)[0] for image in images_of(root)]


def in_memory(one: Decoded) -> int:
    return sum(pixels.nbytes for pixels in one._memory().images.values())


def files(folder: Path) -> dict[str, int]:
    """Name and bytes of what stands in the only shared folder."""
    (made,) = folder.glob("patchcli-*")
    return {path.name: path.stat().st_size for path in (made / "pixels").iterdir()}


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def in_child(work: Callable[[], bool]) -> int:
    """Fork; the child ends with 0 when the work says so."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitpid(pid, 0)[1]


# pixels


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("shared", [False, True])
def test_pixels_are_those_of_extract(root: Path, scratch: Path, channels: int, shared: bool) -> None:
    one = decoded(root, channels=channels)
    if shared:
        one.share()
    other = pickle.loads(pickle.dumps(one))
    wanted = expected(root, channels)
    for images in (one, other, one):
        for number, pixels in enumerate(wanted):
            found = images.get(number)
            np.testing.assert_array_equal(found, pixels)
            assert found.dtype == np.uint8
            assert found.flags.c_contiguous
            assert not found.flags.writeable
    assert (one.n_decoded, other.n_decoded) == (8, 0 if shared else 8)


def test_turned_transparent_and_broken_images(shared_data: Path) -> None:
    for name, channels in (("exif_orientation", 3), ("formats", 3), ("formats", 4)):
        one = decoded(shared_data / name / "data", channels=channels)
        for number, image in enumerate(one._images):
            try:
                with quiet_pillow(MAX_PIXELS):
                    pixels, _ = Decoder(channels, WHITE).decode(one._root, image)
            except Unreadable as error:
                with pytest.raises(UnreadableInputs, match=re.escape(str(error))):
                    one.get(number)
                continue
            np.testing.assert_array_equal(one.get(number), pixels)
            assert one.get(number).flags.c_contiguous
        assert one.n_decoded > 15


def test_numbers_count_as_in_a_list(root: Path) -> None:
    one = decoded(root)
    assert one.get(-1) is one.get(np.int64(7))  # type: ignore[arg-type]
    assert one.n_decoded == 1
    for wrong in (8, -9):
        with pytest.raises(IndexError):
            one.get(wrong)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("keep_aspect_ratio", [False, True])
def test_resized_as_keras_does(root: Path, keras: Any, interpolation: str, keep_aspect_ratio: bool) -> None:
    load = importlib.import_module("keras").utils.load_img
    options: dict[str, Any] = {"interpolation": interpolation, "keep_aspect_ratio": keep_aspect_ratio}
    for mode, channels in (("grayscale", 1), ("rgb", 3), ("rgba", 4)):
        for size in (Size(64, 64), Size(50, 121), Size(301, 77), Size(128, 96), Size(1, 9)):
            one = decoded(root, channels=channels, size=size, **options)
            for number, image in enumerate(images_of(root)):
                path = root / os.fsdecode(image.path)
                keras_pixels = np.asarray(load(path, color_mode=mode, target_size=(size.height, size.width), **options))
                found = one.get(number)
                assert found.shape == (size.height, size.width, channels)
                assert found.flags.c_contiguous
                assert not found.flags.writeable
                np.testing.assert_array_equal(found, keras_pixels.reshape(found.shape))


def test_transparency_is_resized_as_keras_does(tree: Tree, keras: Any) -> None:
    load = importlib.import_module("keras").utils.load_img
    root = tree("cat/a.png", mode="RGBA")
    for name in INTERPOLATIONS:
        wanted = np.asarray(load(root / "cat/a.png", color_mode="rgba", target_size=(17, 33), interpolation=name))
        np.testing.assert_array_equal(decoded(root, channels=4, size=Size(33, 17), interpolation=name).get(0), wanted)


def test_a_strip_of_which_less_than_a_px_would_be_left(tree: Tree) -> None:
    root = tree("cat/a.png", size=(1, 500))
    one = decoded(root, size=Size(300, 2), keep_aspect_ratio=True)
    np.testing.assert_array_equal(one.get(0), np.broadcast_to(decoded(root).get(0)[249], (2, 300, 3)))


def test_unknown_interpolation_is_refused(root: Path) -> None:
    with pytest.raises(UsageError, match=r"interpolation is 'cubic'.*nearest.*lanczos"):
        decoded(root, interpolation="cubic")


# what goes wrong with images


@pytest.mark.parametrize("shared", [False, True])
def test_unreadable_images_are_named(tree: Tree, scratch: Path, shared: bool) -> None:
    root = tree("cat/a.png", "cat/b.png", "cat/c\n.png")
    one = decoded(root)
    if shared:
        one.share()
    broken = bytearray((root / "cat/a.png").read_bytes())
    broken[60:90] = bytes(30)
    (root / "cat/a.png").write_bytes(broken)
    (root / "cat/b.png").write_bytes(b"short")
    (root / "cat/c\n.png").unlink()
    for number, said in enumerate((r"cat/a\.png: cannot be decoded: .+", r"cat/b\.png: .*has changed", r"c\\x0a\.png")):
        for _ in range(2):
            with pytest.raises(UnreadableInputs, match=rf"{said}.*; mend or remove it"):
                one.get(number)
    assert one.n_decoded == 0
    tree("cat/b.png")
    np.testing.assert_array_equal(one.get(1), expected(tree("cat/a.png", "cat/c\n.png"))[1])


def test_warnings_and_limits_of_pillow_stay_as_they_were(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree("cat/a.png", "cat/b.png", "cat/c.png")
    one = decoded(root)
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 1000)  # of 1200: a warning, which is an error in tests
    before = list(warnings.filters)
    one.get(0)
    Pillow.MAX_IMAGE_PIXELS = 100  # an error
    one.get(1)
    assert Pillow.MAX_IMAGE_PIXELS == 100
    assert list(warnings.filters) == before
    outer, inner, caught = (quiet_for_threads(5000), quiet_for_threads(7000), warnings.catch_warnings())
    outer.__enter__()
    caught.__enter__()  # as another thread may at any moment
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert Pillow.MAX_IMAGE_PIXELS == 7000
    assert in_child(lambda: Pillow.MAX_IMAGE_PIXELS == 100 and list(warnings.filters) == before) == 0
    inner.__exit__(None, None, None)
    caught.__exit__(None, None, None)
    assert Pillow.MAX_IMAGE_PIXELS == 100
    assert list(warnings.filters) == before


# memory


def test_memory_keeps_what_was_used_last(root: Path) -> None:
    size = Size(64, 64)
    one = decoded(root, size=size, budget=3 * 64 * 64 * 3)
    for number in (0, 1, 2, 0, 3, 0, 2, 3):
        one.get(number)
        assert in_memory(one) == one._memory().n_bytes <= 3 * 64 * 64 * 3
    assert one.n_decoded == 4  # 1 made room for 3
    one.get(1)
    assert one.n_decoded == 5
    one.close()
    assert in_memory(one) == 0
    one.get(1)
    assert one.n_decoded == 6


def test_an_image_beyond_the_budget(root: Path) -> None:
    one = decoded(root, budget=1)
    for number in (0, 0, 1, 1, 0):
        np.testing.assert_array_equal(one.get(number), expected(root)[number])
        assert list(one._memory().images) == [number]
    assert one.n_decoded == 3


# threads


@pytest.mark.parametrize("shared", [False, True])
def test_threads_decode_each_image_once(root: Path, scratch: Path, shared: bool) -> None:
    one = decoded(root)
    if shared:
        one.share()
    together = threading.Barrier(8)

    def read(_: int) -> list[Any]:
        found = []
        for number in range(8):
            together.wait(60)
            found.append(one.get(number))
        return found

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(read, range(8)))
    assert one.n_decoded == 8
    for number, pixels in enumerate(expected(root)):
        np.testing.assert_array_equal(found[0][number], pixels)
        assert all(each[number] is found[0][number] for each in found)


def test_threads_with_little_memory(root: Path) -> None:
    one = decoded(root, budget=100_000)
    wanted = expected(root)

    def read(seed: int) -> bool:
        order = np.random.default_rng(seed).integers(0, 8, 200).tolist()
        return all(np.array_equal(one.get(number), wanted[number]) for number in order)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))
    assert in_memory(one) == one._memory().n_bytes <= 100_000
    assert one._memory().flights == {}


def test_nobody_waits_for_an_image_of_others_nor_inherits_their_failure(root: Path, tmp_path: Path) -> None:
    one = decoded(shutil.copytree(root, tmp_path / "data"))
    path = tmp_path / "data" / os.fsdecode(one._images[0].path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    aside = path.rename(tmp_path / "aside")
    path.symlink_to(pipe)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(one.get, 0)  # waits for someone to write
        wait_for(lambda: one._memory().flights)
        np.testing.assert_array_equal(one.get(1), expected(root)[1])
        second = pool.submit(one.get, 0)
        aside.rename(path)
        pipe.write_bytes(b"")  # returns when the first has opened it
        with pytest.raises(UnreadableInputs, match="has changed"):
            first.result(60)
        np.testing.assert_array_equal(second.result(60), expected(root)[0])


# processes


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_children_have_locks_and_counts_of_their_own(root: Path) -> None:
    one = decoded(root)
    wanted = expected(root)
    one.get(0)
    with one._memory().lock:  # as a thread may hold it at the moment of the fork
        status = in_child(lambda: one.n_decoded == 0 and np.array_equal(one.get(0), wanted[0]) and one.n_decoded == 1)
    assert status == 0
    assert one.n_decoded == 1
    assert in_child(lambda: one.n_decoded == 0 and list(one._memories) == [os.getpid()]) == 0  # not the parent's pixels


def test_pickles_carry_no_pixels(root: Path) -> None:
    one = decoded(root)
    before = len(pickle.dumps(one))
    for number in range(8):
        one.get(number)
    assert len(pickle.dumps(one)) == before < 4000


SCRIPT = """
import json, multiprocessing, os, signal, sys
from patchcli.io.decoded import Decoded
from patchcli.io.scan import scan

def work(one, together, answers, n_rounds):
    signal.alarm(100)
    digests = {}
    for _ in range(n_rounds):
        for number in range(8):
            together.wait(60)
            digests[number] = one.get(number).tobytes().hex()
        one._memory().images.clear()
    answers.put((one.n_decoded, digests))

if __name__ == "__main__":
    root, method, budget, n_rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    images = scan(os.fsencode(root), max_pixels=10**8).images
    one = Decoded(os.fsencode(root), images, channels=3, background=(255, 255, 255), max_pixels=10**8, budget=budget)
    one.share()
    one.share()
    context = multiprocessing.get_context(method)
    together, answers = context.Barrier(3), context.Queue()
    workers = [context.Process(target=work, args=(one, together, answers, n_rounds)) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = [answers.get(timeout=100) for _ in workers]
    for worker in workers:
        worker.join()
    if os.fork() == 0:
        one.get(0)
        sys.exit(0)  # runs what is to be done at exit
    assert os.wait()[1] == 0
    folder = one._folder.path if one._folder else ""
    there = os.listdir(folder + "/pixels") if folder else []
    n_bytes = sum(os.path.getsize(f"{folder}/pixels/{name}") for name in there)
    print(json.dumps({"found": found, "folder": folder, "there": there, "n_bytes": n_bytes, "own": one.n_decoded}))
"""


def run(root: Path, scratch: Path, method: str, *, budget: int = PLENTY, n_rounds: int = 2) -> dict[str, Any]:
    """What three processes say that read all images, each image at the same moment."""
    script = scratch.parent / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run(
        [sys.executable, script, root, method, str(budget), str(n_rounds)],
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    said: dict[str, Any] = json.loads(done.stdout)
    wanted = {str(number): pixels.tobytes().hex() for number, pixels in enumerate(expected(root))}
    assert [digests for _, digests in said["found"]] == [wanted] * 3
    assert list(scratch.glob("patchcli-*")) == []  # removed at exit, and not before
    return said


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_decode_each_image_once_together(root: Path, scratch: Path, method: str) -> None:
    said = run(root, scratch, method)
    assert sum(n for n, _ in said["found"]) == 8
    assert sorted(said["there"]) == list("01234567")
    assert said["own"] == 0
    assert Path(said["folder"]).parent == scratch


def test_processes_with_little_room(root: Path, scratch: Path) -> None:
    said = run(root, scratch, "fork", budget=100_000)
    assert 0 < said["n_bytes"] <= 100_000
    assert sum(n for n, _ in said["found"]) >= 16  # two images fit, eight are read in turn, twice


def test_the_folder_keeps_what_was_used_last(root: Path, scratch: Path) -> None:
    image = 64 * 64 * 3
    one = decoded(root, size=Size(64, 64), budget=3 * image)
    one.share()
    other = pickle.loads(pickle.dumps(one))
    for number in (0, 1, 2):
        one.get(number)
    one.get(0)  # from memory
    one.get(3)
    assert files(scratch) == dict.fromkeys("023", image)
    other.get(2)  # from the folder
    other.get(4)
    assert files(scratch) == dict.fromkeys("234", image)
    assert (one.n_decoded, other.n_decoded) == (4, 1)


def test_a_folder_of_many_small_images_keeps_to_the_budget(tree: Tree, scratch: Path) -> None:
    image = 4 * 3 * 3
    root = tree(*(f"cat/{number:02d}.png" for number in range(90)), size=(4, 3))
    one = decoded(root, budget=40 * image)
    one.share()
    for number in range(90):
        one.get(number)
        there = files(scratch)
        assert str(number) in there
        assert sum(there.values()) <= 40 * image
    assert len(there) > 30


def test_an_image_beyond_the_budget_is_shared_until_the_next(root: Path, scratch: Path) -> None:
    one = decoded(root, budget=1)
    one.share()
    other = pickle.loads(pickle.dumps(one))
    for number in (0, 1):
        for images in (one, other):
            images.get(number)
            assert list(files(scratch)) == [str(number)]
    assert (one.n_decoded, other.n_decoded) == (2, 0)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_lock_of_a_worker_that_died_is_free(root: Path, scratch: Path) -> None:
    one = decoded(root)
    one.share()
    folder = one._folder
    assert folder is not None
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        with folder.alone(0):
            Path(folder.path, "pixels", "0.tmp").write_bytes(b"begun")
            os.write(told, b".")
            signal.pause()
    os.read(ready, 1)
    os.close(ready)
    os.close(told)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(one.get, 0)
        one.get(1)
        assert not waiting.done()
        os.kill(pid, signal.SIGKILL)
        np.testing.assert_array_equal(waiting.result(60), expected(root)[0])
    os.waitpid(pid, 0)
    assert sorted(files(scratch)) == ["0", "1"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_while_a_lock_is_held_does_not_hold_it(root: Path, scratch: Path) -> None:
    one = decoded(root)
    one.share()
    folder = one._folder
    assert folder is not None
    with folder.alone(0):
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            signal.pause()
    try:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(one.get, 0)
            try:
                np.testing.assert_array_equal(waiting.result(20), expected(root)[0])
            finally:
                os.kill(pid, signal.SIGKILL)
    finally:
        os.waitpid(pid, 0)


# the folder


def test_who_made_the_folder_removes_it(root: Path, scratch: Path) -> None:
    one = decoded(root)
    one.share()
    one.share()
    assert len(list(scratch.iterdir())) == 1
    other = pickle.loads(pickle.dumps(one))
    other.get(0)

    for each in (other, one):
        assert in_child(partial(is_there_when_closed, each, scratch)) == 0
    del each
    other.close()
    del other
    assert list(files(scratch)) == ["0"]
    one.close()
    assert list(scratch.iterdir()) == []
    np.testing.assert_array_equal(one.get(0), expected(root)[0])
    one.share()
    one.get(1)
    assert list(files(scratch)) == ["1"]
    del one
    assert list(scratch.iterdir()) == []


def test_folders_of_processes_that_were_killed_go_with_the_next(root: Path, scratch: Path) -> None:
    one = decoded(root)
    one.share()
    (mine,) = scratch.iterdir()
    child = os.fork()
    if not child:
        other = decoded(root)
        other.share()
        other.get(0)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    left = set(scratch.iterdir()) - {mine}
    assert len(left) == 1
    (scratch / "patchcli-of-somebody").mkdir()
    (scratch / mine.name.replace(str(os.getpid()), str(os.getppid()))).mkdir()  # of one that runs
    another = decoded(root)
    another.share()
    assert mine.is_dir()
    assert not next(iter(left)).exists()
    assert len(list(scratch.iterdir())) == 4


def is_there_when_closed(one: Decoded, scratch: Path) -> bool:
    one.close()
    return len(files(scratch)) == 1


def test_a_folder_that_vanishes_only_costs_speed(root: Path, scratch: Path) -> None:
    one = decoded(root, budget=1)
    one.share()
    one.get(0)
    (made,) = scratch.iterdir()
    made.rename(scratch / "elsewhere")
    for number in (0, 1, 0):
        np.testing.assert_array_equal(one.get(number), expected(root)[number])
    (scratch / "elsewhere").rename(made)
    one.get(2)
    assert list(files(scratch)) == ["2"]


def test_files_that_are_cut_short_are_not_used(root: Path, scratch: Path) -> None:
    one = decoded(root)
    one.share()
    one.get(0)
    (made,) = scratch.iterdir()
    os.truncate(made / "pixels" / "0", 5000)
    other = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(other.get(0), expected(root)[0])
    assert other.n_decoded == 1
    assert files(scratch)["0"] == expected(root)[0].nbytes


def test_no_room_for_the_folder(root: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(scratch / "nowhere"))
    one = decoded(root)
    one.share()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(one)).get(0), expected(root)[0])


def fill(disk: Path, free: int) -> None:
    """Fill a small disk to all but some bytes."""
    state = os.statvfs(disk)
    (disk / "full").write_bytes(bytes(state.f_bavail * state.f_frsize - free))


@pytest.mark.parametrize("free", [0, 20_000, 100_000])
def test_a_full_disk_only_costs_speed(root: Path, small_disk: Path, free: int) -> None:
    fill(small_disk, free)
    run(root, small_disk, "fork", n_rounds=1)


def test_a_disk_smaller_than_the_budget_holds_what_was_used_last(
    root: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    one = decoded(root)
    one.share()
    fill(small_disk, 100_000)
    seen: set[str] = set()
    for number in range(8):
        np.testing.assert_array_equal(one.get(number), expected(root)[number])
        seen.update(files(small_disk))
        assert not any(name.endswith(".tmp") for name in files(small_disk))
    assert 3 < len(seen) < 8  # every other one makes room
    assert len(files(small_disk)) <= 2
    one.close()
    assert [path.name for path in small_disk.iterdir()] == ["full"]
