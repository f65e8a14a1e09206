"""Extract end to end on real images: pixels, bytes, restarts, damage, conflicts, errors."""

from __future__ import annotations

import os
import shutil
import stat
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xxhash
from click.testing import CliRunner
from demo_images import packaged
from photos import bytes_of, copied, crops, leftovers, shards
from PIL import Image

import patchcli
from patchcli.cli import main
from patchcli.errors import NotEnoughSpace, OutputConflict, UnreadableInputs, UsageError
from patchcli.records import Progress

SMALL: dict[str, Any] = {"patch": 64, "overlap": 0.5, "shard_size": "900kB"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return crops(tmp_path_factory.mktemp("photos") / "data")


@pytest.fixture(scope="module")
def made(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "out.h5"
    summary = patchcli.extract(tree, out, executor="serial", **SMALL)
    assert summary.state == "made"
    assert summary.shards >= 4
    return out


def pillow_rgb(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(("executor", "workers"), [("process", 1), ("process", 2), ("process", 3), ("serial", None)])
def test_bytes_do_not_depend_on_who_works(tree: Path, made: Path, tmp_path: Path, executor: Any, workers: Any) -> None:
    patchcli.extract(tree, tmp_path / "out.h5", executor=executor, workers=workers, **SMALL)
    assert bytes_of(tmp_path / "out.h5") == bytes_of(made)
    assert leftovers(tmp_path) == []


def test_bytes_do_not_depend_on_place_or_time(tree: Path, made: Path, tmp_path: Path) -> None:
    time.sleep(1.1)
    elsewhere = tmp_path / "a very different place"
    shutil.copytree(tree, elsewhere)
    patchcli.extract(elsewhere, tmp_path / "out.h5", executor="serial", **SMALL)
    assert bytes_of(tmp_path / "out.h5") == bytes_of(made)


def test_every_patch_is_the_slice_that_pillow_gives(tree: Path, made: Path) -> None:
    ps = patchcli.open(made)
    images = {path: pillow_rgb(tree / os.fsdecode(path)) for path in ps.sources.path}
    for row in range(len(ps)):
        (x, y), path = ps.coords[row], ps.sources.path[ps.source[row]]
        np.testing.assert_array_equal(ps[row], images[path][y : y + 64, x : x + 64])
        assert ps.classes[ps.labels[row]] == os.fsdecode(path).split("/")[0]


def test_rows_are_complete_and_in_order(tree: Path, made: Path) -> None:
    ps = patchcli.open(made)
    expected = []
    for path in sorted(p.relative_to(tree) for p in tree.rglob("*.*")):
        with Image.open(tree / path) as image:
            w, h = image.size
        expected += [(str(path), x, y) for y in range(0, h - 63, 32) for x in range(0, w - 63, 32)]
    rows = [(os.fsdecode(ps.sources.path[s]), int(x), int(y)) for s, (x, y) in zip(ps.source, ps.coords, strict=True)]
    assert rows == expected


def test_shards_follow_the_contract(made: Path) -> None:
    with h5py.File(made) as index:
        plan_id = index.attrs["plan_id"].decode()
    for number, path in enumerate(shards(made)):
        assert path.name == f"{plan_id[:8]}-{number:05d}.h5"
        with h5py.File(path) as file:
            n = len(file["labels"])
            patches = file["patches"]
            assert patches.shape == (n, 64, 64, 3)
            assert patches.dtype == np.uint8
            assert patches.chunks is None
            assert patches.id.get_offset() % 4096 == 0
            assert patches.attrs["CLASS"] == b"IMAGE"
            assert patches.attrs["order"] == b"n,y,x,c"
            kinds = {"labels": "i8", "digest": "u8", "coords": "i4", "source": "i4"}
            for name, kind in kinds.items():
                assert file[name].dtype == kind
                assert file[name].fletcher32
                assert file[name].chunks
            coords = file["coords"]
            assert coords.shape == (n, 2)
            assert coords.attrs["order"] == b"x,y"
            assert coords.attrs["anchor"] == b"top-left"
            assert [coords.attrs[k] for k in ("patch_size", "stride", "overlap", "patch_level")] == [64, 32, 32, 0]
            digests = [xxhash.xxh3_64_intdigest(patch.tobytes()) for patch in patches]
            assert digests == file["digest"][:].tolist()
            assert set(file["sources"]) == {"path", "width", "height", "sha256", "label", "group"}
            assert file.attrs["encoding-type"] == b"patchset"
            assert file.attrs["encoding-version"] == b"1.0"
            assert file.attrs["role"] == b"shard"
            assert (file.attrs["shard"], file.attrs["n_shards"]) == (number, len(shards(made)))
            assert "split" not in file


def test_the_index_lists_its_shards(made: Path) -> None:
    with h5py.File(made) as file:
        assert file.attrs["role"] == b"index"
        assert "patches" not in file
        names = [name.decode() for name in file["shards/name"][:]]
        assert names == [f"out.shards/{path.name}" for path in shards(made)]
        assert file["shards/bytes"][:].tolist() == [path.stat().st_size for path in shards(made)]
        digests = [xxhash.xxh3_128_hexdigest(path.read_bytes()) for path in shards(made)]
        assert [digest.decode() for digest in file["shards/digest"][:]] == digests
        for name in ("labels", "digest", "coords"):
            parts = []
            for path in shards(made):
                with h5py.File(path) as shard:
                    parts.append(shard[name][:])
            np.testing.assert_array_equal(file[name][:], np.concatenate(parts))
        starts = file["shards/row_start"][:]
        assert len(starts) == len(names) + 1
        assert starts[-1] == len(file["labels"])
        pixels = patchcli.open(made)[:].reshape(-1, 3).astype(float)
        np.testing.assert_allclose(file["stats/mean"][:], pixels.mean(axis=0))
        np.testing.assert_allclose(file["stats/std"][:], pixels.std(axis=0))
        assert b"patchcli.open" in file.attrs["README"]


def test_one_shard_is_the_data_set_itself(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    summary = patchcli.extract(tree, out, patch=64)
    assert summary.shards == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.h5"]
    with h5py.File(out) as file:
        assert file.attrs["role"] == b"single"
        assert len(file["patches"]) == summary.patches
    assert patchcli.extract(tree, out, patch=64).state == "already done"


def test_the_same_command_again_touches_nothing(tree: Path, made: Path, tmp_path: Path) -> None:
    out = copied(made, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in [out, *shards(out)]}
    assert patchcli.extract(tree, out, executor="serial", **SMALL).state == "already done"
    assert {path: path.stat().st_mtime_ns for path in [out, *shards(out)]} == before


@pytest.mark.parametrize("damage", ["deleted", "flipped pixel", "flipped metadata", "truncated", "swapped", "empty"])
def test_restart_mends_exactly_the_damaged_shard(tree: Path, made: Path, tmp_path: Path, damage: str) -> None:
    out = copied(made, tmp_path)
    victim, other = shards(out)[1], shards(out)[2]
    content = bytearray(victim.read_bytes())
    if damage == "deleted":
        victim.unlink()
    elif damage == "swapped":
        victim.write_bytes(other.read_bytes())
    else:
        at = {"flipped pixel": len(content) // 2, "flipped metadata": len(content) - 40}.get(damage, 0)
        content[at] ^= 4 * damage.startswith("flipped")
        kept = {"truncated": len(content) - 5000, "empty": 0}.get(damage, len(content))
        victim.write_bytes(content[:kept])
    before = {path: path.stat().st_mtime_ns for path in [out, *shards(out)] if path != victim}
    summary = patchcli.extract(tree, out, executor="serial", **SMALL)
    assert summary.shards_kept == summary.shards - 1
    assert bytes_of(out) == bytes_of(made)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_without_an_index_good_shards_are_kept_and_bad_ones_found(tree: Path, made: Path, tmp_path: Path) -> None:
    out = copied(made, tmp_path)
    out.unlink()
    victim = shards(out)[0]
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    summary = patchcli.extract(tree, out, executor="serial", **SMALL)
    assert summary.shards_kept == summary.shards - 1
    assert bytes_of(out) == bytes_of(made)


@pytest.mark.parametrize("damage", ["flipped pixel", "truncated"])
def test_a_damaged_single_file_is_made_again(tree: Path, tmp_path: Path, damage: str) -> None:
    out = tmp_path / "out.h5"
    patchcli.extract(tree, out, patch=64, executor="serial")
    before = bytes_of(out)
    content = bytearray(out.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 1
    out.write_bytes(content)
    assert patchcli.extract(tree, out, patch=64, executor="serial").state == "made"
    assert bytes_of(out) == before


def test_a_damaged_index_is_made_again(tree: Path, made: Path, tmp_path: Path) -> None:
    out = copied(made, tmp_path)
    content = bytearray(out.read_bytes())
    content[-60] ^= 1
    out.write_bytes(content[:-50])
    patchcli.extract(tree, out, executor="serial", **SMALL)
    assert bytes_of(out) == bytes_of(made)


def test_other_settings_are_refused_and_named(tree: Path, made: Path, tmp_path: Path) -> None:
    out = copied(made, tmp_path)
    with pytest.raises(OutputConflict, match=r"patch_size: 64 -> 128"):
        patchcli.extract(tree, out, **{**SMALL, "patch": 128})
    assert bytes_of(out) == bytes_of(made)


def test_unfinished_shards_of_other_settings_are_refused(tree: Path, made: Path, tmp_path: Path) -> None:
    out = copied(made, tmp_path)
    out.unlink()
    with pytest.raises(OutputConflict, match=r"edge: drop -> shift"):
        patchcli.extract(tree, out, **SMALL, edge="shift")


def test_other_inputs_are_refused_and_named(tree: Path, made: Path, tmp_path: Path) -> None:
    changed = tmp_path / "data"
    shutil.copytree(tree, changed)
    out = copied(made, tmp_path)
    shutil.copy(changed / "brick/0.jpg", changed / "grass/new.jpg")
    (changed / "ihc/1.png").unlink()
    with Image.open(changed / "retina/3.png") as image:
        flipped = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    flipped.save(changed / "retina/3.png")
    with pytest.raises(OutputConflict) as caught:
        patchcli.extract(changed, out, **SMALL)
    message = str(caught.value)
    assert "images added: grass/new.jpg" in message
    assert "images gone: ihc/1.png" in message
    assert "images changed: retina/3.png" in message


def test_overwrite_replaces_and_removes_the_old_shards(tree: Path, made: Path, tmp_path: Path) -> None:
    out = copied(made, tmp_path)
    old = set(shards(out))
    patchcli.extract(tree, out, executor="serial", overwrite=True, **{**SMALL, "overlap": 0.25})
    assert not old & set(shards(out))
    patchcli.extract(tree, out, patch=64, executor="serial", overwrite=True)
    assert not out.with_suffix(".shards").exists()
    assert len(patchcli.open(out)) > 0


@pytest.mark.parametrize("content", [b"my thesis", b"\x89HDF\r\n\x1a\n broken"])
def test_a_foreign_file_is_never_replaced(tree: Path, tmp_path: Path, content: bytes) -> None:
    out = tmp_path / "out.h5"
    out.write_bytes(content)
    for overwrite in (False, True):
        with pytest.raises(OutputConflict, match="not replaced"):
            patchcli.extract(tree, out, patch=64, overwrite=overwrite)
    assert out.read_bytes() == content


def broken_tree(tree: Path, tmp_path: Path) -> Path:
    """One image with a broken header, and one that only fails when it is decoded."""
    broken = tmp_path / "broken"
    shutil.copytree(tree, broken)
    (broken / "brick/header.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    content = (broken / "retina/1.png").read_bytes()
    (broken / "retina/1.png").write_bytes(content[: len(content) // 2])
    return broken


def test_stop_lists_all_bad_images_and_keeps_good_shards(tree: Path, tmp_path: Path) -> None:
    broken, out = broken_tree(tree, tmp_path), tmp_path / "out.h5"
    with pytest.raises(UnreadableInputs) as caught:
        patchcli.extract(broken, out, **SMALL)
    assert caught.value.exit_code == 3
    assert "brick/header.png: " in str(caught.value)
    assert "retina/1.png: cannot be decoded" in str(caught.value)
    assert not out.exists()
    kept = len(shards(out))
    summary = patchcli.extract(broken, out, on_error="skip", **SMALL)
    assert summary.shards == kept + 1 == summary.shards_kept + 1
    ps = patchcli.open(out)
    assert b"retina/1.png" not in ps.sources.path
    assert {one.path for one in ps.skipped if one.kind == "unreadable"} == {b"brick/header.png", b"retina/1.png"}
    fresh = tmp_path / "fresh.h5"
    patchcli.extract(broken, fresh, on_error="skip", executor="serial", **SMALL)
    assert len(patchcli.open(fresh)) == len(ps) == summary.patches
    with pytest.raises(UnreadableInputs):
        patchcli.extract(broken, out, **SMALL)


def test_skip_in_a_single_file(tree: Path, tmp_path: Path) -> None:
    broken, out = broken_tree(tree, tmp_path), tmp_path / "out.h5"
    summary = patchcli.extract(broken, out, patch=64, on_error="skip", executor="serial")
    ps = patchcli.open(out)
    assert len(ps) == summary.patches
    assert {one.path for one in ps.skipped} == {b"brick/header.png", b"retina/1.png"}
    assert patchcli.extract(broken, out, patch=64, on_error="skip", executor="serial").state == "already done"


def test_stop_publishes_nothing_even_when_one_file_would_hold_all(tree: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tree, broken)
    (broken / "brick/header.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    (broken / "ihc/1.png").write_bytes((broken / "ihc/1.png").read_bytes()[:5000])
    with pytest.raises(UnreadableInputs, match=r"2 files.*no data set was made:\n") as caught:
        patchcli.extract(broken, tmp_path / "out.h5", patch=64, executor="serial")
    assert "brick/header.png" in str(caught.value)
    assert "ihc/1.png" in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken"]


@pytest.mark.parametrize("shard_size", ["900kB", "256MiB"])
def test_an_image_that_was_mended_is_taken_in(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard_size: str
) -> None:
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 1000)  # the run's own limit holds at every look, not Pillow's
    broken, out = tmp_path / "broken", tmp_path / "out.h5"
    shutil.copytree(tree, broken)
    good = (broken / "ihc/1.png").read_bytes()
    (broken / "ihc/1.png").write_bytes(good[:5000] + b"\xff" * (len(good) - 5000))
    options = {**SMALL, "shard_size": shard_size, "executor": "serial"}
    before = patchcli.extract(broken, out, on_error="skip", **options)
    assert patchcli.extract(broken, out, on_error="skip", **options).state == "already done"
    (broken / "ihc/1.png").write_bytes(good)
    after = patchcli.extract(broken, out, **options)
    assert (after.state, after.images) == ("made", before.images + 1)
    (tmp_path / "fresh").mkdir()
    patchcli.extract(tree, tmp_path / "fresh/out.h5", **options)
    assert bytes_of(out) == bytes_of(tmp_path / "fresh/out.h5")


def test_an_interrupted_overwrite_leaves_no_index_over_other_shards(tmp_path: Path) -> None:
    for label in "abcd":
        (tmp_path / "data" / label).mkdir(parents=True)
        Image.new("RGB", (64, 64), "black").save(tmp_path / "data" / label / "a.bmp")
    out = tmp_path / "out.h5"
    options: dict[str, Any] = {"patch": 64, "executor": "serial", "shard_size": 64 * 64 * 3}
    patchcli.extract(tmp_path / "data", out, **options)
    for label in "abcd":
        Image.new("RGB", (64, 64), "white").save(tmp_path / "data" / label / "a.bmp")
    reports = 0

    def stop(progress: Progress) -> None:
        nonlocal reports
        reports += progress.phase == "cut" and not out.exists()
        if reports > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        patchcli.extract(tmp_path / "data", out, overwrite=True, progress=stop, **options)
    assert not out.exists()
    assert patchcli.extract(tmp_path / "data", out, overwrite=True, **options).state == "made"
    assert patchcli.open(out)[:].min() == 255


def test_tiny_patches_make_smaller_shards(tmp_path: Path) -> None:
    """A row costs more than a patch of some bytes, so what bounds a worker's memory is the number of rows."""
    (tmp_path / "data/a").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(3):
        image = Image.fromarray(rng.integers(0, 256, (600, 600), np.uint8))
        image.save(tmp_path / f"data/a/{number}.png")
    planned = patchcli.extract(tmp_path / "data", tmp_path / "out.h5", patch=2, stride=1, dry_run=True)
    assert planned.shards > 1
    assert planned.patches / planned.shards < 600_000


def test_nothing_readable_is_not_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "data/a").mkdir(parents=True)
    (tmp_path / "data/a/x.png").write_bytes(b"")
    for on_error in ("stop", "skip"):
        with pytest.raises(UnreadableInputs, match="empty file"):
            patchcli.extract(tmp_path / "data", tmp_path / "out.h5", on_error=on_error)
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize("compression", ["gzip", "lzf", "lz4", "zstd"])
def test_compressed_pixels_are_the_same(tree: Path, made: Path, tmp_path: Path, compression: Any) -> None:
    one, two = tmp_path / "1/out.h5", tmp_path / "2/out.h5"
    one.parent.mkdir()
    two.parent.mkdir()
    patchcli.extract(tree, one, compression=compression, executor="serial", **SMALL)
    patchcli.extract(tree, two, compression=compression, workers=2, **SMALL)
    assert bytes_of(one) == bytes_of(two)
    plain, packed = patchcli.open(made), patchcli.open(one)
    np.testing.assert_array_equal(packed[:], plain[:])
    np.testing.assert_array_equal(packed.digest, plain.digest)
    with h5py.File(shards(one)[0]) as file:
        assert file["patches"].fletcher32
        assert file["patches"].chunks
    assert patchcli.extract(tree, one, compression=compression, executor="serial", **SMALL).state == "already done"


@pytest.mark.parametrize("edge", ["shift", "pad", "reflect"])
def test_edges_on_real_images(tree: Path, tmp_path: Path, edge: Any) -> None:
    out = tmp_path / "out.h5"
    summary = patchcli.extract(tree, out, patch="96x64", stride="50x40", edge=edge, pad_value=7, executor="serial")
    assert summary.pixels_uncovered == 0
    ps = patchcli.open(out)
    assert ps.patch_shape == (64, 96, 3)
    for row in range(0, len(ps), 7):
        (x, y), path = ps.coords[row], ps.sources.path[ps.source[row]]
        image = pillow_rgb(tree / os.fsdecode(path))
        h, w = image.shape[:2]
        room = ((0, max(0, y + 64 - h)), (0, max(0, x + 96 - w)), (0, 0))
        padded = np.pad(image, room, constant_values=7) if edge == "pad" else np.pad(image, room, mode="reflect")
        np.testing.assert_array_equal(ps[row], padded[y : y + 64, x : x + 96])


def test_split_folders_become_splits(tree: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        shutil.copytree(tree, tmp_path / "data" / split)
    out = tmp_path / "out.h5"
    summary = patchcli.extract(tmp_path / "data", out, patch=64, executor="serial")
    assert summary.splits == ("train", "val")
    ps = patchcli.open(out)
    assert ps.splits == ("train", "val")
    assert ps.split is not None
    for row in range(0, len(ps), 11):
        assert os.fsdecode(ps.sources.path[ps.source[row]]).startswith(ps.splits[ps.split[row]])
    assert len(ps.subset(split="val")) == len(ps) // 2


def test_an_image_is_split_over_shards_only_beyond_four_targets(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    patch_bytes = 64 * 64 * 3
    for target, splits in ((patch_bytes * 4, True), (patch_bytes * 6, False)):
        patchcli.extract(tree, out, patch=64, overlap=0.5, shard_size=target, executor="serial", overwrite=True)
        holders: dict[bytes, int] = {}
        for path in shards(out):
            with h5py.File(path) as file:
                for name in file["sources/path"][:]:
                    holders[name] = holders.get(name, 0) + 1
        assert (max(holders.values()) > 1) is splits
    assert len(set(patchcli.open(out).sources.path)) == len(patchcli.open(out).sources.path)


def test_shuffle_mixes_classes_and_keeps_every_patch(tree: Path, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    patchcli.extract(tree, out, shuffle=True, seed=3, executor="serial", **SMALL)
    mixed, plain = patchcli.open(out), patchcli.open(made)
    assert sorted(mixed.digest.tolist()) == sorted(plain.digest.tolist())
    with h5py.File(shards(out)[0]) as file:
        assert len(np.unique(file["labels"][:])) > 1


def test_dry_run_writes_nothing_and_tells_the_truth(tree: Path, made: Path, tmp_path: Path) -> None:
    planned = patchcli.extract(tree, tmp_path / "out.h5", dry_run=True, **SMALL)
    assert list(tmp_path.iterdir()) == []
    assert planned.state == "planned"
    assert planned.patches == len(patchcli.open(made))
    assert planned.shards == len(shards(made))


def test_numbers_that_cannot_be_are_said_before_any_decode(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="larger than every image"):
        patchcli.extract(tree, tmp_path / "out.h5", patch=500)
    with pytest.raises(UsageError, match="does not exist"):
        patchcli.extract(tree, tmp_path / "no/out.h5")
    with pytest.raises(UsageError, match="among the images"):
        patchcli.extract(tree, tree / "brick/out.h5")
    monkeypatch.setattr("patchcli.io.room.available_memory", lambda: 150 << 20)
    with pytest.raises(NotEnoughSpace, match="2 workers need"):
        patchcli.extract(tree, tmp_path / "out.h5", **SMALL, workers=2)
    monkeypatch.setattr("patchcli.io.room.free_bytes", lambda _: 1 << 20)
    with pytest.raises(NotEnoughSpace, match="are free in"):
        patchcli.extract(tree, tmp_path / "out.h5", **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_the_output_may_stand_beside_the_classes(tree: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(tree, data)
    assert patchcli.extract(data, data / "out.h5", executor="serial", **SMALL).state == "made"
    assert patchcli.extract(data, data / "out.h5", executor="serial", **SMALL).state == "already done"
    assert patchcli.open(data / "out.h5").classes == ("brick", "grass", "ihc", "retina")


def test_read_only_sources_and_odd_names(tree: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    odd = data / "class with spaces é"
    odd.mkdir(parents=True)
    for name in (b"new\nline.jpg", b"\xff\xfe undecodable.jpg", "日本 🛰.jpg".encode(), b"-dash;$(x)'\".jpg"):
        shutil.copy(os.fsencode(tree / "brick/0.jpg"), os.fsencode(odd) + b"/" + name)
        os.chmod(os.fsencode(odd) + b"/" + name, stat.S_IRUSR)
    out = tmp_path / "out é.h5"
    summary = patchcli.extract(data, out, patch=64, executor="serial")
    assert summary.images == 4
    ps = patchcli.open(out)
    assert b"class with spaces \xc3\xa9/\xff\xfe undecodable.jpg" in ps.sources.path
    assert ps.classes == ("class with spaces é",)


def test_progress_reports_all_patches_and_can_stop(tree: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    patchcli.extract(tree, tmp_path / "out.h5", executor="serial", progress=seen.append, **SMALL)
    phases = [one.phase for one in seen]
    assert phases == sorted(phases, key=["scan", "cut", "index"].index)
    cut = [one.done for one in seen if one.phase == "cut"]
    assert cut == sorted(cut)

    def stop(progress: Progress) -> None:
        if progress.phase == "cut" and progress.done:
            raise KeyboardInterrupt

    for executor in ("serial", "process"):
        out = tmp_path / f"{executor}.h5"
        with pytest.raises(KeyboardInterrupt):
            patchcli.extract(tree, out, executor=executor, workers=1, progress=stop, **SMALL)
        assert not out.exists()
        assert leftovers(tmp_path) == []


def test_real_photos(shared_data: Path, tmp_path: Path) -> None:
    tree = shared_data / "clothing10/data"
    summary = patchcli.extract(tree, tmp_path / "out.h5", patch=64, overlap=0.5, shard_size="64MiB")
    assert (summary.images, len(summary.classes)) == (120, 10)
    ps = patchcli.open(tmp_path / "out.h5")
    rng = np.random.default_rng(0)
    for row in rng.choice(len(ps), 300, replace=False):
        (x, y), path = ps.coords[row], os.fsdecode(ps.sources.path[ps.source[row]])
        np.testing.assert_array_equal(ps[int(row)], pillow_rgb(tree / path)[y : y + 64, x : x + 64])


@pytest.mark.parametrize("mode", ["gray", "rgb", "rgba"])
def test_modes_and_background(tmp_path: Path, mode: Any) -> None:
    """Colour, gray and half-transparent images under each mode, against Pillow's own conversions."""
    (tmp_path / "data/a").mkdir(parents=True)
    with Image.open(packaged("ihc.png")) as image:
        colour = image.convert("RGB").crop((0, 0, 80, 70))
    faded = colour.convert("RGBA")
    faded.putalpha(Image.linear_gradient("L").resize((80, 70)))
    images = {"c.png": colour, "f.png": faded, "g.png": colour.convert("L")}
    for name, one in images.items():
        one.save(tmp_path / "data/a" / name)
    out = tmp_path / "out.h5"
    patchcli.extract(tmp_path / "data", out, patch=64, mode=mode, background="#204060", executor="serial")
    ps = patchcli.open(out)
    for row, one in enumerate(images.values()):
        if mode != "rgba":
            ground = Image.new("RGBA", one.size, "#204060")
            ground.alpha_composite(one.convert("RGBA"))
            one = ground
        expected = np.asarray(one.convert({"gray": "L", "rgb": "RGB", "rgba": "RGBA"}[mode]))
        np.testing.assert_array_equal(ps[row], expected[:64, :64].reshape(64, 64, -1))


def test_layout_can_be_forced_and_large_images_refused(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "data/train")
    made = patchcli.extract(tmp_path / "data", tmp_path / "a.h5", layout="classes", dry_run=True)
    assert [one.name for one in made.classes] == ["train"]
    made = patchcli.extract(tmp_path / "data", tmp_path / "a.h5", layout="splits", dry_run=True)
    assert len(made.classes) == 4
    with pytest.raises(UnreadableInputs, match="is more than 39,000 px"):
        patchcli.extract(tree, tmp_path / "a.h5", max_pixels=39_000, executor="serial")


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_each_hostile_class_alone(shared_data: Path, tmp_path: Path, on_error: str) -> None:
    """Never a traceback, and an exit code that is the truth."""
    for folder in sorted((shared_data / "formats/data").iterdir()):
        (tmp_path / folder.name).mkdir()
        (tmp_path / folder.name / "data").mkdir()
        shutil.copytree(folder, tmp_path / folder.name / "data" / folder.name)
        out = tmp_path / folder.name / "out.h5"
        arguments = ["extract", str(tmp_path / folder.name / "data"), str(out), "--patch", "32", "--executor", "serial"]
        done = CliRunner().invoke(main, [*arguments, "--on-error", on_error], prog_name="patchcli")
        assert "bug in patchcli" not in done.output, done.output
        assert (done.exit_code == 0) == out.exists(), folder
        if "could not be read" in done.stderr:
            assert done.exit_code == 3
        elif "larger than every image" in done.stderr:
            assert done.exit_code == 2
        else:
            assert done.exit_code == 0, done.output
            assert len(patchcli.open(out)) > 0


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_the_hostile_folder(shared_data: Path, tmp_path: Path, on_error: Any) -> None:
    tree, out = shared_data / "formats/data", tmp_path / "out.h5"
    if on_error == "stop":
        with pytest.raises(UnreadableInputs, match=r"bomb/reallybig\.bmp: more than"):
            patchcli.extract(tree, out, patch=64)
        return
    summary = patchcli.extract(tree, out, patch=32, on_error="skip")
    assert summary.patches == len(patchcli.open(out))
    assert sum(group.files for group in summary.left_out if group.kind == "unreadable") == 41
    assert any("CMYK" in note for note in summary.notes)


@pytest.mark.parametrize("sealed", [True, False], ids=["index", "no index"])
def test_an_image_replaced_by_one_of_the_same_size_is_noticed(tmp_path: Path, sealed: bool) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "data" / label).mkdir(parents=True)
        Image.new("RGB", (64, 64), "black").save(tmp_path / "data" / label / "a.bmp")
    out = tmp_path / "out.h5"
    options: dict[str, Any] = {"patch": 64, "executor": "serial", "shard_size": 64 * 64 * 3}
    assert patchcli.extract(tmp_path / "data", out, **options).shards == 2
    if not sealed:
        out.unlink()
    Image.new("RGB", (64, 64), "white").save(tmp_path / "data/dog/a.bmp")
    with pytest.raises(OutputConflict, match=r"images changed: dog/a\.bmp"):
        patchcli.extract(tmp_path / "data", out, **options)
    again = patchcli.extract(tmp_path / "data", out, overwrite=True, **options)
    assert (again.state, again.shards_kept) == ("made", 1)
    assert patchcli.open(out)[1].min() == 255


def test_missing_file_handles_are_not_the_images_fault(tree: Path, tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used - 1, hard))
    try:
        with pytest.raises((OSError, NotEnoughSpace), match="Too many open files"):
            patchcli.extract(tree, tmp_path / "out.h5", on_error="skip", executor="serial", **SMALL)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not (tmp_path / "out.h5").exists()
