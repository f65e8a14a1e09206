"""`patchcli.open` gives the pixels that Pillow gives, in any order and any process, or names the shard that cannot."""

from __future__ import annotations

import errno
import multiprocessing
import operator
import os
import pickle
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

import patchcli
from patchcli.errors import DamagedFile, UsageError
from patchcli.io import patchfile, stored
from patchcli.specs import Compression

Array = npt.NDArray[Any]
SIDE, STRIDE = 16, 8
KINDS = {
    "single": {},
    "index": {"shard_size": "40kB"},
    "gzip": {"shard_size": "200kB", "compression": "gzip"},
    "lzf": {"shard_size": "40kB", "compression": "lzf"},
    "zstd": {"compression": "zstd"},
}
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc")


class Made(NamedTuple):
    """A data set, and what must be in it by numpy and Pillow alone."""

    path: Path
    pixels: Array
    labels: Array
    coords: Array
    split: Array
    sources: list[bytes]


def pixels_of(file: Path) -> Array:
    with Pillow.open(file) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def src(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two splits of three classes with 2, 3 and 4 images; 36 images would be too few to need more than one shard."""
    root = tmp_path_factory.mktemp("src")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label, name in enumerate(("birch", "oak", "żółw")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(6 + 2 * label):
                height, width = rng.integers(64, 90, 2)
                noise = rng.integers(0, 256, (height, width, 3), np.uint8)
                Pillow.fromarray(noise).save(folder / f"{number}.png")
    (root / "train" / "oak" / "notes.txt").write_text("not an image")
    return root


def made(src: Path, out: Path, **options: Any) -> Made:
    patchcli.extract(src, out, patch=SIDE, stride=STRIDE, executor="serial", **options)
    files = sorted(src.rglob("*.png"), key=lambda file: os.fsencode(file.relative_to(src)))
    patches, labels, coords, split, sources = [], [], [], [], []
    for file in files:
        pixels = pixels_of(file)
        name = file.relative_to(src)
        for y in range(0, pixels.shape[0] - SIDE + 1, STRIDE):
            for x in range(0, pixels.shape[1] - SIDE + 1, STRIDE):
                patches.append(pixels[y : y + SIDE, x : x + SIDE])
                coords.append((x, y))
                labels.append(["birch", "oak", "żółw"].index(name.parts[1]))
                split.append(["train", "val"].index(name.parts[0]))
                sources.append(os.fsencode(name))
    return Made(out, np.stack(patches), np.array(labels), np.array(coords), np.array(split), sources)


@pytest.fixture(scope="module", params=KINDS)
def whole(request: pytest.FixtureRequest, src: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(src, tmp_path_factory.mktemp(request.param) / "out.h5", **KINDS[request.param])


@pytest.fixture(scope="module")
def sharded(src: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """One shard for each of 48 images: more than stay open at a time."""
    return made(src, tmp_path_factory.mktemp("sharded") / "out.h5", shard_size="40kB")


@pytest.fixture
def copy(sharded: Made, tmp_path: Path) -> Made:
    """The same, to be damaged."""
    shutil.copytree(sharded.path.parent, tmp_path / "copy")
    return sharded._replace(path=tmp_path / "copy" / "out.h5")


def shard_files(path: Path) -> list[Path]:
    return sorted(path.with_suffix(".shards").iterdir())


def open_shards(path: Path) -> int:
    """How many files of a data set this process holds open."""
    names = (os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd"))
    return sum(name.startswith(str(path.parent.resolve())) for name in names)


def test_every_patch_and_table_is_what_pillow_and_numpy_say(whole: Made) -> None:
    ps = patchcli.open(whole.path)
    assert len(ps) == len(whole.pixels)
    assert ps[:].dtype == ps.dtype == np.uint8
    np.testing.assert_array_equal(ps[:], whole.pixels)
    np.testing.assert_array_equal(ps.labels, whole.labels)
    np.testing.assert_array_equal(ps.coords, whole.coords)
    np.testing.assert_array_equal(ps.split, whole.split)
    assert [ps.sources.path[row] for row in ps.source] == whole.sources
    assert [ps.labels.dtype, ps.coords.dtype, ps.source.dtype] == [np.int64, np.int32, np.int32]
    assert (ps.classes, ps.splits, ps.patch_shape) == (("birch", "oak", "żółw"), ("train", "val"), (SIDE, SIDE, 3))
    assert [(one.path, one.kind) for one in ps.skipped] == [(b"train/oak/notes.txt", "ignored")]
    np.testing.assert_allclose(ps.mean, whole.pixels.mean((0, 1, 2)))
    np.testing.assert_allclose(ps.std, whole.pixels.std((0, 1, 2)))
    for patch, expected in zip(ps, whole.pixels, strict=True):
        np.testing.assert_array_equal(patch, expected)


@given(drawn=st.data())
def test_indexing_is_that_of_an_array_in_memory(whole: Made, drawn: st.DataObject) -> None:
    n = len(whole.pixels)
    rows = st.integers(-n, n - 1)
    kinds = st.sampled_from([np.int16, np.int32, np.int64])
    index = drawn.draw(
        st.one_of(
            rows,
            st.builds(np.int32, rows),
            st.slices(n),
            st.lists(rows, max_size=40),
            st.builds(np.array, st.lists(rows, min_size=1, max_size=40), kinds),
            st.builds(np.array, st.lists(st.integers(0, n - 1), min_size=1, max_size=40), st.just(np.uint64)),
            st.builds(lambda seed: np.random.default_rng(seed).random(n) < 0.02, st.integers(0, 99)),
            st.builds(lambda seed: (np.random.default_rng(seed).random(n) < 0.02).tolist(), st.integers(0, 9)),
        )
    )
    found = patchcli.open(whole.path)[index]
    expected = whole.pixels[np.array(index, int) if isinstance(index, list) and not index else index]
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


def test_an_index_that_is_none_is_refused(sharded: Made) -> None:
    ps = patchcli.open(sharded.path)
    n = len(ps)
    for wrong in (n, -n - 1, 10**30, [0, n], np.array([-n - 1, 0]), np.array([2**64 - 1], np.uint64)):
        with pytest.raises(IndexError, match=rf"index -?\d+ is out of range for {n} patches"):
            ps[wrong]
    with pytest.raises(IndexError, match=f"mask of length 3, expected {n}"):
        ps[[True, False, True]]
    for nothing in (1.0, [0.5], "0", None, True, (0, 1), [[0, 1]]):
        with pytest.raises(TypeError, match="patches are indexed by"):
            ps[nothing]


def test_a_subset_has_its_own_rows_and_tables(whole: Made) -> None:
    ps = patchcli.open(whole.path)
    val = ps.subset(split="val")
    of_val = np.flatnonzero(whole.split == 1)
    np.testing.assert_array_equal(val[:], whole.pixels[of_val])
    np.testing.assert_array_equal(val.labels, whole.labels[of_val])
    np.testing.assert_array_equal(val.coords, whole.coords[of_val])
    chosen = [5, -1, 5, 0]
    part = val.subset(chosen)
    np.testing.assert_array_equal(part[[3, 0]], whole.pixels[of_val][chosen][[3, 0]])
    np.testing.assert_array_equal(part.digest, ps.digest[of_val][chosen])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(part))[:], whole.pixels[of_val][chosen])
    np.testing.assert_array_equal(ps.subset(whole.labels == 1)[-1], whole.pixels[whole.labels == 1][-1])
    assert f"4 of {len(ps):,} patches 16x16x3 uint8, 3 classes" in repr(part)
    with pytest.raises(UsageError, match="no split 'test': the splits are train, val"):
        ps.subset(split="test")
    for options in ({}, {"indices": [0], "split": "val"}):
        with pytest.raises(UsageError, match="either indices or split"):
            ps.subset(**options)  # type: ignore[arg-type]


def test_counts_and_weights_balance_the_classes(sharded: Made) -> None:
    ps = patchcli.open(sharded.path)
    counts = np.bincount(sharded.labels).tolist()
    assert ps.class_counts() == dict(zip(ps.classes, counts, strict=True))
    assert ps.class_weight() == {k: len(ps) / (3 * count) for k, count in enumerate(counts)}
    two = ps.subset(np.r_[np.flatnonzero(ps.labels == 0)[:3], np.flatnonzero(ps.labels == 2)[:1]])
    assert two.class_counts() == {"birch": 3, "oak": 0, "żółw": 1}
    assert two.class_weight() == {0: 4 / (2 * 3), 2: 4 / (2 * 1)}


def test_a_shard_alone_is_a_data_set(sharded: Made) -> None:
    alone = [patchcli.open(file) for file in shard_files(sharded.path)]
    assert len(alone) == 48
    np.testing.assert_array_equal(np.concatenate([shard[:] for shard in alone]), sharded.pixels)
    np.testing.assert_array_equal(np.concatenate([shard.labels for shard in alone]), sharded.labels)


@needs_proc
def test_shards_are_opened_late_and_few_at_a_time(copy: Made) -> None:
    ps = patchcli.open(copy.path)
    assert open_shards(copy.path) == 0
    np.testing.assert_array_equal(ps[:], copy.pixels)
    assert 1 < open_shards(copy.path) <= 32
    part = ps.subset([0, -1])
    ps.close()
    assert open_shards(copy.path) == 0
    with part:
        np.testing.assert_array_equal(part[:], copy.pixels[[0, -1]])
        assert open_shards(copy.path) == 2
    ps[0]
    del ps, part
    assert open_shards(copy.path) == 0
    shutil.rmtree(copy.path.with_suffix(".shards"))
    np.testing.assert_array_equal(patchcli.open(copy.path).labels, copy.labels)


def test_hdf5_opens_a_shard_once_and_again_when_the_file_is_another(
    copy: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    ps, opened, names = patchcli.open(copy.path), patchfile.opened, []

    def counted(path: bytes) -> Any:
        names.append(os.fsdecode(path))
        return opened(path)

    monkeypatch.setattr(stored, "opened", counted)
    files = [str(file) for file in shard_files(copy.path)]
    for _ in range(2):  # 48 shards, of which 32 stay open
        np.testing.assert_array_equal(ps[:], copy.pixels)
    assert names == files
    shutil.copy(files[1], copy.path.with_name("twin"))
    copy.path.with_name("twin").rename(files[1])
    os.replace(files[3], files[2])
    assert np.array_equal(ps[ps.source == 1], copy.pixels[ps.source == 1])
    assert names == [*files, files[1]]
    with pytest.raises(DamagedFile, match=f"{files[2]}: is shard 3"):
        ps[ps.source == 2]


def test_a_data_set_may_move_and_be_reached_by_a_link(
    copy: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy.path.parent.rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link.h5").symlink_to(tmp_path / "moved" / "out.h5")
    monkeypatch.chdir(tmp_path / "elsewhere")
    ps = patchcli.open("link.h5")
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(ps[[0, -1]], copy.pixels[[0, -1]])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ps))[[0, -1]], copy.pixels[[0, -1]])


@needs_proc
def test_many_threads_read_more_shards_than_stay_open(sharded: Made) -> None:
    ps = patchcli.open(sharded.path)

    def is_right(seed: int) -> bool:
        rows = np.random.default_rng(seed).integers(0, len(ps), 48)
        if seed % 7 == 0:
            ps.close()
        return np.array_equal(ps[rows], sharded.pixels[rows])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(is_right, range(150)))
    assert open_shards(sharded.path) <= 32


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_children_read_while_the_parent_does(whole: Made) -> None:
    ps = patchcli.open(whole.path)
    rows = np.random.default_rng(1).integers(0, len(ps), 200)
    ps[rows]  # the children inherit open shards
    children = []
    with ps._whole.shards._open.lock:  # as a thread may hold it at the moment of the fork
        for _ in range(3):
            children.append(pid := os.fork())
            if pid == 0:
                signal.alarm(60)
                os._exit(0 if all(np.array_equal(ps[rows], whole.pixels[rows]) for _ in range(8)) else 1)
    for _ in range(8):
        np.testing.assert_array_equal(ps[rows], whole.pixels[rows])
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]


@pytest.mark.parametrize("kind", ["index", "zstd"])
def test_spawned_children_read_while_the_parent_does(kind: str, src: Path, tmp_path: Path) -> None:
    whole = made(src, tmp_path / "out.h5", **KINDS[kind])
    ps = patchcli.open(whole.path).subset(split="val")
    pixels = whole.pixels[whole.split == 1]
    ps[0]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        waiting = [pool.apply_async(operator.getitem, (ps, rows)) for rows in ([5, 0, 5], slice(-9, None))]
        np.testing.assert_array_equal(ps[::7], pixels[::7])
        np.testing.assert_array_equal(waiting[0].get(60), pixels[[5, 0, 5]])
        np.testing.assert_array_equal(waiting[1].get(60), pixels[-9:])


def delete(shard: Path, other: Path) -> None:
    shard.unlink()


def swap(shard: Path, other: Path) -> None:
    third = shard.with_name("third")
    shard.rename(third)
    other.rename(shard)
    third.rename(other)


def truncate(shard: Path, other: Path) -> None:
    os.truncate(shard, shard.stat().st_size - 5000)


def truncate_by_a_byte(shard: Path, other: Path) -> None:
    os.truncate(shard, shard.stat().st_size - 1)


def empty(shard: Path, other: Path) -> None:
    os.truncate(shard, 0)


def lengthen(shard: Path, other: Path) -> None:
    os.truncate(shard, shard.stat().st_size + 1)


def change_plan(shard: Path, other: Path) -> None:
    with h5py.File(shard, "r+") as file:
        file.attrs["plan_id"] = np.bytes_(b"0" * len(file.attrs["plan_id"]))


def replace_by_folder(shard: Path, other: Path) -> None:
    shard.unlink()
    shard.mkdir()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (delete, "missing, expected shard 3 of plan"),
        (swap, "is shard 5 of plan .*, expected shard 3 of plan"),
        (truncate, "truncated: holds .* bytes, expected"),
        (truncate_by_a_byte, "truncated: holds .* bytes, expected"),
        (empty, "truncated: holds 0 bytes, expected"),
        (lengthen, "has grown: holds .* bytes, expected"),
        (change_plan, "is shard 3 of plan 0000.*, expected shard 3 of plan"),
        (replace_by_folder, "is a folder"),
    ],
)
def test_a_damaged_shard_is_named_and_the_others_are_read(
    copy: Made, damage: Callable[[Path, Path], None], says: str
) -> None:
    files = shard_files(copy.path)
    bounds = np.cumsum([0, *(len(patchcli.open(file)) for file in files)])
    damage(files[3], files[5])
    ps = patchcli.open(copy.path)
    with pytest.raises(DamagedFile, match=f"{files[3]}: {says}.*: run the same extract command again"):
        ps[:]
    np.testing.assert_array_equal(ps[: bounds[3]], copy.pixels[: bounds[3]])
    with pytest.raises(DamagedFile, match=f"{files[3]}: "):
        ps[[0, bounds[4] - 1]]


def flip(file: Path, offset: int) -> None:
    with file.open("r+b") as raw:
        raw.seek(offset)
        byte = raw.read(1)[0]
        raw.seek(offset)
        raw.write(bytes([byte ^ 4]))


def test_a_flipped_bit_is_named_by_shard_and_row_and_mended_by_the_same_command(copy: Made, src: Path) -> None:
    files = shard_files(copy.path)
    first = sum(len(patchcli.open(file)) for file in files[:2])
    ps = patchcli.open(copy.path)
    ps[:]
    with h5py.File(files[2]) as file:
        offset = file["patches"].id.get_offset()
    flip(files[2], offset + 4 * SIDE * SIDE * 3 + 100)
    for index in (first + 4, slice(None), [first + 4, 0, first + 4]):
        with pytest.raises(DamagedFile, match=f"{files[2]}: patch 4 is not as it was written: .* expected [0-9a-f]"):
            ps[index]
    patchcli.open(copy.path)[[first + 3, first + 5]]  # the patches beside it are whole
    unchecked = patchcli.open(copy.path, check=False)
    for reader in (unchecked, pickle.loads(pickle.dumps(unchecked))):
        assert np.argwhere(reader[first + 4].reshape(-1) != copy.pixels[first + 4].reshape(-1)).tolist() == [[100]]
    patchcli.extract(src, copy.path, patch=SIDE, stride=STRIDE, executor="serial", shard_size="40kB")
    np.testing.assert_array_equal(ps[:], copy.pixels)


@pytest.mark.parametrize("compression", ["gzip", "lzf", "zstd"])
def test_a_flipped_bit_among_compressed_patches_is_named(src: Path, tmp_path: Path, compression: Compression) -> None:
    whole = made(src, tmp_path / "out.h5", shard_size="40kB", compression=compression)
    file = shard_files(whole.path)[1]
    first = len(patchcli.open(shard_files(whole.path)[0]))
    with h5py.File(file) as there:
        chunk = there["patches"].id.get_chunk_info(0)
    flip(file, chunk.byte_offset + chunk.size // 2)
    ps = patchcli.open(whole.path)
    with pytest.raises(DamagedFile, match=f"{file}: patches 2 to 7 cannot be read: .*run the same extract command"):
        ps[[first + 7, first + 2]]
    patchcli.extract(
        src, whole.path, patch=SIDE, stride=STRIDE, executor="serial", shard_size="40kB", compression=compression
    )
    np.testing.assert_array_equal(ps[:], whole.pixels)


@pytest.mark.parametrize("name", [b"../out.h5", b"/etc/passwd", b"out.shards/../../x.h5", b""])
def test_a_name_that_leads_out_of_the_folder_is_refused(copy: Made, name: bytes) -> None:
    with h5py.File(copy.path, "r+") as file:
        file["shards/name"][1] = name
    with pytest.raises(DamagedFile, match=f"{copy.path}: .*leads out of"):
        patchcli.open(copy.path)


@pytest.mark.parametrize("table", ["labels", "source", "split"])
def test_tables_that_lead_nowhere_are_refused(copy: Made, table: str) -> None:
    with h5py.File(copy.path, "r+") as file:
        file[table][7] = 100
    with pytest.raises(DamagedFile, match=f"{copy.path}: /{table} does not fit"):
        patchcli.open(copy.path)


def test_a_data_set_replaced_by_another_is_no_longer_the_pickled_one(copy: Made, src: Path) -> None:
    pickled = pickle.dumps(patchcli.open(copy.path).subset([3]))
    patchcli.extract(src, copy.path, patch=32, executor="serial", overwrite=True)
    with pytest.raises(DamagedFile, match=f"{copy.path}: was replaced"):
        pickle.loads(pickled)
    with pytest.raises(FileNotFoundError, match=r"nothing\.h5"):
        patchcli.open(copy.path.with_name("nothing.h5"))


def test_a_stale_handle_is_opened_anew_once(sharded: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    ps, preadv, failures = patchcli.open(sharded.path), os.preadv, [errno.ESTALE]

    def stale(*args: Any) -> int:
        if failures:
            raise OSError(failures.pop(), "said the server")
        return preadv(*args)

    monkeypatch.setattr(os, "preadv", stale)
    np.testing.assert_array_equal(ps[[7, 900]], sharded.pixels[[7, 900]])
    for again in ([errno.ESTALE] * 2, [errno.EIO]):
        failures[:] = again
        with pytest.raises(OSError, match="said the server") as caught:
            ps[0]
        assert caught.value.errno == again[0]
        assert caught.value.filename == str(shard_files(sharded.path)[0])


def test_neighbours_take_one_read_and_short_reads_are_completed(sharded: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    ps, preadv, reads = patchcli.open(shard_files(sharded.path)[0]), os.preadv, []

    def counted(fd: int, buffers: Any, offset: int) -> int:
        reads.append(offset)
        return preadv(fd, buffers, offset)

    def short(fd: int, buffers: Any, offset: int) -> int:
        some = len(buffers) // 2
        return preadv(fd, [*buffers[:some], buffers[some][:100]], offset)

    monkeypatch.setattr(os, "preadv", counted)
    ps[[4, 3, 2, 9, 10]]
    assert len(reads) == 2
    monkeypatch.setattr(os, "preadv", short)
    np.testing.assert_array_equal(ps[[9, 3, 2, 4, 4]], sharded.pixels[[9, 3, 2, 4, 4]])


def test_real_images_come_back_as_pillow_decodes_them(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "clothing10" / "data"
    patchcli.extract(root, tmp_path / "out.h5", patch=64, overlap=0.5, shard_size="2MB", workers=2)
    ps = patchcli.open(tmp_path / "out.h5")
    images = [pixels_of(root / os.fsdecode(path)) for path in ps.sources.path]
    rows = np.random.default_rng(2).permutation(len(ps))[:2000]
    for row, patch in zip(rows, ps[rows], strict=True):
        (x, y), source = ps.coords[row], ps.source[row]
        np.testing.assert_array_equal(patch, images[source][y : y + 64, x : x + 64])
        assert os.fsdecode(ps.sources.path[source]).split("/")[0] == ps.classes[ps.labels[row]]
    assert len(ps.classes) == 10
